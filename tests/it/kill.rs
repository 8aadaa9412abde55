//! The process is killed: at every point where something was done and not yet noted, and at any time at all. Afterwards the
//! oracle must find nothing lost, doubled or left over.
//!
//! `PEO_SEED` tells the story of a run that failed once more; `PEO_SEEDS` and `PEO_KILLS` make the loops longer (`just kill-loop`).

use std::process::Command;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::service::{get, ops_port};
use crate::support::World;
use crate::support::broker::{Broker, Heard, SUBJECT};
use crate::support::oracle;
use crate::support::program::{program, run, start};
use crate::support::story::{Story, TABLES};

/// A number of the long loops, or what the suite has time for.
pub fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |number| number.parse().expect("a number"))
}

pub fn seed() -> u64 {
    let seed = number("PEO_SEED", rand::random_range(0..1_000_000));
    eprintln!("PEO_SEED={seed}");
    seed
}

/// A broker that keeps what it gets, and somebody who hears it all.
pub async fn stage() -> (Broker, Heard) {
    let broker = Broker::jetstream().await;
    let stream = async_nats::jetstream::stream::Config {
        name: "ORDERS".into(),
        subjects: vec![SUBJECT.into()],
        ..Default::default()
    };
    async_nats::jetstream::new(broker.client().await).create_stream(stream).await.expect("a stream");
    let heard = broker.listen().await;
    (broker, heard)
}

pub fn once(world: &World, broker: &Broker) -> Command {
    let mut command = program(world);
    command.env("NOTIFICATIONS", "True").env("NATS", broker.url());
    command
}

pub fn service(world: &World, broker: &Broker) -> Command {
    let mut command = once(world, broker);
    command.env("RUN_AS_SERVICE", "True").env("METRICS", "").env("MIN_SLEEP", "0.02").env("MAX_SLEEP", "0.1");
    command
}

/// Lets everything be loaded, as an operator does who folds in what is late and skips a full load that was only rewritten.
pub async fn come_to_rest(world: &World, broker: &Broker) {
    for _ in 0..20 {
        let ended = run(once(world, broker)).await;
        if ended.code == 0 {
            return;
        }
        let late = world.rows("select id from loader_deliveries where status = 'late' and requested is null").await;
        for id in &late {
            let mut retry = program(world);
            retry.args(["deliveries", "retry", id]);
            run(retry).await.ok();
        }
        let rewritten = "select min(id) from loader_deliveries where status = 'held' and requested is null
            and error like '%rewritten with the same bytes%' group by entity";
        for id in &world.rows(rewritten).await {
            let mut skip = program(world);
            skip.args(["deliveries", "skip", id, "--reason", "rewritten in place", "--actor", "operator"]);
            run(skip).await.ok();
        }
        assert!(ended.code != 78, "{}", ended.log);
    }
    panic!("does not come to rest: {:#?}", world.ledger().await);
}

/// Lets everything be loaded, and compares all there is with the model.
pub async fn holds_at_rest(world: &World, broker: &Broker, heard: &Heard, story: &Story) {
    come_to_rest(world, broker).await;
    oracle::holds(world, &story.sources(), Some(heard)).await;
}

/// Each message is in the stream once, however often it was sent.
pub async fn the_stream_has_each_once(world: &World, broker: &Broker) {
    let context = async_nats::jetstream::new(broker.client().await);
    let mut stream = context.get_stream("ORDERS").await.expect("the stream");
    let kept = stream.info().await.expect("its state").state.messages;
    assert_eq!(kept.to_string(), world.value("select count(*) from loader_notifications").await);
}

/// The program dies when it comes to a point for the nth time, and a story goes on over such deaths.
async fn killed_at(point: &str) {
    let (world, (broker, heard)) = (World::new().await, stage().await);
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
    let mut story = Story::begin(&world, seed).await;
    let seeds = number("PEO_SEEDS", 2);
    let mut killed = 0;
    for round in 0..seeds {
        for _ in 0..rng.random_range(3..9) {
            story.go_on(&world).await;
        }
        // it may not be reached so often, and then it is at once
        let mut times = rng.random_range(1..5);
        while dies_at(&world, &broker, point, times).await != -1 {
            assert!(times > 0, "{point} is not reached");
            times = times.min(2) - 1;
            story.change_all(&world).await;
        }
        killed += 1;
        story.catch_up(&world).await;
        holds_at_rest(&world, &broker, &heard, &story).await;
        if round % 2 == 0 {
            story.reload(&world).await;
        }
    }
    the_stream_has_each_once(&world, &broker).await;
    eprintln!("{point}: {killed} kills in {seeds} rounds, seed {seed}");
}

/// Runs the program, which shall die at a point when it comes there so often; how it ended.
async fn dies_at(world: &World, broker: &Broker, point: &str, times: u32) -> i32 {
    let mut command = once(world, broker);
    command.env("FAILPOINTS", format!("{point}=kill@{}", times.max(1)));
    run(command).await.code
}

#[tokio::test]
async fn killed_after_the_listing_it_loses_nothing() {
    killed_at("after_list").await;
}

#[tokio::test]
async fn killed_with_the_rows_of_waiting_files_written_it_loses_nothing() {
    killed_at("after_account").await;
}

#[tokio::test]
async fn killed_with_the_lease_taken_it_loses_nothing() {
    killed_at("after_claim").await;
}

#[tokio::test]
async fn killed_in_the_middle_of_a_download_it_loses_nothing() {
    killed_at("mid_download").await;
}

#[tokio::test]
async fn killed_in_the_middle_of_a_copy_it_loses_nothing() {
    killed_at("mid_copy").await;
}

#[tokio::test]
async fn killed_with_all_rows_written_it_loses_nothing() {
    killed_at("after_diff").await;
}

#[tokio::test]
async fn killed_before_the_commit_it_loses_nothing() {
    killed_at("before_commit").await;
}

#[tokio::test]
async fn killed_after_the_commit_it_loses_nothing() {
    killed_at("after_commit").await;
}

#[tokio::test]
async fn killed_before_it_publishes_it_loses_nothing() {
    killed_at("before_publish").await;
}

#[tokio::test]
async fn killed_after_the_brokers_ack_it_says_nothing_else() {
    killed_at("after_puback").await;
}

#[tokio::test]
async fn killed_before_it_notes_what_was_published_it_says_nothing_else() {
    killed_at("before_outbox_mark").await;
}

#[tokio::test]
async fn killed_at_any_time_again_and_again_it_loses_nothing() {
    let (world, (broker, heard)) = (World::new().await, stage().await);
    let (seed, kills) = (seed(), number("PEO_KILLS", 10));
    let mut rng = StdRng::seed_from_u64(seed ^ 0xdead);
    let mut story = Story::begin(&world, seed).await;
    let (mut killed, begun) = (0, Instant::now());
    while killed < kills {
        let lives: Vec<Duration> = (0..rng.random_range(4..8)).map(|_| a_life(&mut rng)).collect();
        let together: Duration = lives.iter().sum();
        tokio::join!(tell(&mut story, &world, together), live(&world, &broker, &lives));
        killed += lives.len() as u64;
        story.catch_up(&world).await;
        holds_at_rest(&world, &broker, &heard, &story).await;
        story.reload(&world).await;
    }
    holds_at_rest(&world, &broker, &heard, &story).await;
    the_stream_has_each_once(&world, &broker).await;
    let deliveries = world.value("select count(*) from loader_deliveries").await;
    let repeats = heard.lock().expect("ears").len();
    eprintln!("seed {seed}: {killed} kills, {deliveries} deliveries, {repeats} messages heard, {:?}", begun.elapsed());
}

#[tokio::test]
async fn what_a_process_counts_is_what_the_ledger_says() {
    let (world, (broker, heard)) = (World::new().await, stage().await);
    let mut story = Story::begin(&world, seed()).await;
    let mut command = service(&world, &broker);
    command.env("METRICS", "127.0.0.1:0");
    let running = start(command);
    for _ in 0..3 {
        story.change_all(&world).await;
    }
    story.reload(&world).await;
    story.change_all(&world).await;
    let begun = Instant::now();
    while !oracle::is_at_rest(&world, &TABLES).await {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", running.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // what is committed is counted and told a moment later
    while world.value("select count(*) from loader_notifications where published_at is null").await != "0" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let metrics = get(ops_port(&running).await, "/metrics").await;
    running.signal("TERM");
    running.ends().await.ok();
    oracle::holds(&world, &story.sources(), Some(&heard)).await;
    oracle::counted(&world, &TABLES, &metrics).await;
}

/// Short lives are more than long ones: 30 ms to 1 s.
fn a_life(rng: &mut StdRng) -> Duration {
    Duration::from_secs_f64(0.03 * 33f64.powf(rng.random_range(0.0..1.0)))
}

/// Things happen for about so long.
async fn tell(story: &mut Story, world: &World, long: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < long {
        story.go_on(world).await;
        tokio::time::sleep(story.pause(120)).await;
    }
}

/// One service after the other, each killed after its time.
async fn live(world: &World, broker: &Broker, lives: &[Duration]) {
    for life in lives {
        let running = start(service(world, broker));
        tokio::time::sleep(*life).await;
        running.signal("KILL");
        assert_eq!(running.ends().await.code, -1);
    }
}
