//! Long lives: one service that loads file after file, and a loader that meets every fault there is, from one seed. The suite
//! has short ones; `just soak` and `just kill-loop` have long ones.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::kill::{come_to_rest, number, seed, service, stage, the_stream_has_each_once};
use crate::service::{get, ops_port};
use crate::stream::kept;
use crate::support::broker::Heard;
use crate::support::program::{Running, start};
use crate::support::store::{Act, before};
use crate::support::story::Story;
use crate::support::{World, oracle, setting};

/// What a service takes, as it says and as Postgres sees it.
#[derive(Debug, Clone, Copy)]
struct Taken {
    deliveries: u64,
    kilobytes: u64,
    descriptors: u64,
    connections: u64,
    /// for stock-taking's question to the ledger, the best of some
    micros: u128,
}

async fn taken(world: &World, running: &Running) -> Taken {
    let metrics = get(ops_port(running).await, "/metrics").await;
    let metric = |name: &str| {
        let line =
            metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {metrics}"));
        line.trim().parse::<f64>().expect("a number") as u64
    };
    let connections = "select count(*)::int from pg_stat_activity
                       where datname = current_database() and application_name = 'paper-engine-orders'";
    let number = async |query: &str| world.value(query).await.parse::<u64>().expect("a number");
    let mut micros = u128::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        world.value("select id from loader_deliveries order by object_key desc limit 1").await;
        micros = micros.min(begun.elapsed().as_micros());
    }
    Taken {
        deliveries: number("select count(*) from loader_deliveries where status = 'loaded'").await,
        kilobytes: metric("process_resident_memory_bytes ") >> 10,
        descriptors: metric("process_open_fds "),
        connections: number(connections).await,
        micros,
    }
}

/// `PEO_DELIVERIES` of them. What a service takes after the first tenth is what it takes at the end.
#[tokio::test]
async fn a_service_takes_no_more_after_many_deliveries_than_after_few() {
    let (world, (broker, _heard)) = (World::with_table().await, stage().await);
    let wanted = number("PEO_DELIVERIES", 200);
    let mut command = service(&world, &broker);
    command.env("METRICS", "127.0.0.1:0");
    let (running, begun) = (start(command), Instant::now());
    put(&world, 0..wanted / 10).await;
    let early = at_rest(&world, &running, wanted / 10).await;
    eprintln!("{early:?} after {:?}", begun.elapsed());
    for tenth in 1..10 {
        put(&world, wanted * tenth / 10..wanted * (tenth + 1) / 10).await;
        at_rest(&world, &running, wanted * (tenth + 1) / 10).await;
    }
    let late = at_rest(&world, &running, wanted).await;
    eprintln!("{late:?} after {:?}", begun.elapsed());
    assert!(late.kilobytes < early.kilobytes + (16 << 10), "{early:?} {late:?}");
    assert!(late.descriptors <= early.descriptors + 8, "{early:?} {late:?}");
    assert!(late.connections <= 4, "{late:?}");
    assert!(late.micros < early.micros * 5 + 5_000, "{early:?} {late:?}");
    running.signal("TERM");
    running.ends().await.ok();
    let sums = world.value("select count(*) || ' ' || sum(price) || ' ' || max(price) from dbo.e").await;
    assert_eq!(sums, format!("{wanted} {}.00 2.00", 2 * wanted - 1), "each row came, and all but the last changed");
    assert_eq!(world.value("select count(*) from loader_notifications").await, wanted.to_string());
    oracle::holds(&world, &[], None).await;
}

/// Change files, each with a new row and a change of the one before.
async fn put(world: &World, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let file = format!("e/20991231-{:02}{:02}{:02}000.csv.gz", n / 3600, n / 60 % 60, n % 60);
        let text =
            format!("I,{n},new,1\n{}", n.checked_sub(1).map(|last| format!("U,{last},old,2\n")).unwrap_or_default());
        world.bucket.put(&file, &text).await;
    }
}

/// What it takes when so many deliveries are loaded and nothing is in hand.
async fn at_rest(world: &World, running: &Running, deliveries: u64) -> Taken {
    let begun = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = taken(world, running).await;
        let told = world.value("select count(*) from loader_notifications where published_at is not null").await;
        if now.deliveries == deliveries && told == deliveries.to_string() {
            return now;
        }
        assert!(begun.elapsed() < Duration::from_secs(60 + deliveries), "{now:?}: {}", running.log());
    }
}

/// Sometimes the store is overloaded, closes the door or stops in the middle.
fn moody(seed: u64) -> impl Fn(&str, usize) -> Act + Send + Sync + 'static {
    move |_, number| {
        let mut rng = StdRng::seed_from_u64(seed ^ number as u64);
        match rng.random_range(0..12) {
            0 => Act::error(503, "SlowDown"),
            1 => Act::Reset,
            2 => Act::edit(|mut answer| {
                answer.truncate(answer.len() - answer.len().min(9));
                answer
            }),
            _ => Act::Pass,
        }
    }
}

/// A story, and meanwhile all that may befall a loader, its store, its database and its broker. `PEO_CHAOS` acts.
#[tokio::test]
async fn whatever_happens_in_whatever_order_nothing_is_lost() {
    let (world, (mut broker, _ears)) = (World::new().await, stage().await);
    let (seed, acts) = (seed(), number("PEO_CHAOS", 25));
    let mut rng = StdRng::seed_from_u64(seed ^ 0xc4a0);
    let mut story = Story::begin(&world, seed).await;
    let port = before(&setting("PEO_S3_PORT"), moody(seed)).await;
    let source = world.bucket.source_at(&port);
    let begin = |broker: &_| {
        let mut command = service(&world, broker);
        command.env("SOURCE", &source);
        start(command)
    };
    let mut running = vec![begin(&broker), begin(&broker)];
    for act in 1..=acts {
        story.go_on(&world).await;
        tokio::time::sleep(story.pause(200)).await;
        let one = rng.random_range(0..running.len());
        match rng.random_range(0..9) {
            0 => running[one].signal("KILL"),
            1 => {
                running[one].signal("STOP");
                tokio::time::sleep(story.pause(500)).await;
                running[one].signal("CONT");
            }
            2 => say_to_sessions(&world, "pg_terminate_backend").await,
            3 => say_to_sessions(&world, "pg_cancel_backend").await,
            4 => {
                broker.stop();
                tokio::time::sleep(story.pause(400)).await;
                broker.start().await;
            }
            5 => hold_a_table(&world, story.pause(400)).await,
            6 => running[one].signal("TERM"),
            _ => {}
        }
        if [0, 6].contains(&(act % 7)) {
            running[one].signal("KILL");
            running[one] = begin(&broker);
        }
    }
    for one in &running {
        one.signal("KILL");
    }
    drop(running);
    story.catch_up(&world).await;
    world.leave_ledger_to_next_feed().await;
    come_to_rest(&world, &broker).await;
    // the stream heard what others missed while the broker was away
    let heard = kept(&async_nats::jetstream::new(broker.client().await)).await;
    oracle::holds(&world, &story.sources(), Some(&Heard::new(Mutex::new(heard)))).await;
    the_stream_has_each_once(&world, &broker).await;
    eprintln!("seed {seed}: {acts} acts, {} deliveries", world.value("select count(*) from loader_deliveries").await);
}

async fn say_to_sessions(world: &World, what: &str) {
    let sessions =
        "from pg_stat_activity where datname = current_database() and application_name = 'paper-engine-orders'";
    world.value(&format!("select count({what}(pid)) {sessions}")).await;
}

async fn hold_a_table(world: &World, long: Duration) {
    world.sql("begin; lock table dbo.b in access exclusive mode").await;
    tokio::time::sleep(long).await;
    world.sql("rollback").await;
}
