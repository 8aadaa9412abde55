//! Many loaders on one bucket and one database, some of which are killed or stand still: each delivery is applied once, in
//! its table's order, and no table waits long.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::kill::{holds_at_rest, number, once, seed, service, stage, the_stream_has_each_once};
use crate::support::World;
use crate::support::bucket::Bucket;
use crate::support::program::{Running, as_owner, program, run, start};
use crate::support::story::Story;

const LOAD1: &str = "e/LOAD00000001.csv.gz";

#[tokio::test]
async fn many_loaders_that_die_and_stand_still_load_each_file_once() {
    let (world, (broker, heard)) = (World::new().await, stage().await);
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed ^ 0x3a27);
    let mut story = Story::begin(&world, seed).await;
    // the long loops have every number of them
    let crowds = if number("PEO_SEEDS", 0) > 0 { vec![2, 3, 4, 5, 6, 7, 8] } else { vec![2, 5] };
    for count in crowds {
        let mut loaders: Vec<Running> = (0..count).map(|_| start(service(&world, &broker))).collect();
        for _ in 0..12 {
            story.go_on(&world).await;
            tokio::time::sleep(story.pause(150)).await;
            let one = rng.random_range(0..loaders.len());
            match rng.random_range(0..4) {
                0 => {
                    loaders[one].signal("KILL");
                    loaders[one] = start(service(&world, &broker));
                }
                1 => {
                    loaders[one].signal("STOP");
                    tokio::time::sleep(story.pause(400)).await;
                    loaders[one].signal("CONT");
                }
                _ => {}
            }
        }
        story.catch_up(&world).await;
        for loader in &loaders {
            loader.signal("TERM");
        }
        for loader in loaders {
            let ended = loader.ends().await;
            assert!([0, -1].contains(&ended.code), "{}", ended.log);
        }
        holds_at_rest(&world, &broker, &heard, &story).await;
        story.reload(&world).await;
    }
    holds_at_rest(&world, &broker, &heard, &story).await;
    the_stream_has_each_once(&world, &broker).await;
}

/// Two loaders, of which the first has the table's lease and stands still or dies.
async fn holder_and_heir(point: &str) -> (World, Running, Running) {
    let world = World::with_table().await;
    run(program(&world)).await.ok();
    world.bucket.put(LOAD1, "1,a,1\n2,b,2\n").await;
    let mut holder = program(&world);
    holder.env("FAILPOINTS", format!("{point}=sleep(60000)"));
    let holder = start(holder);
    holder.says(&format!("Failpoint {point}")).await;
    let mut heir = program(&world);
    heir.env("RUN_AS_SERVICE", "True").env("METRICS", "").env("MIN_SLEEP", "0.05").env("MAX_SLEEP", "0.1");
    (world, holder, start(heir))
}

async fn loaded_within(world: &World, most: Duration) -> Duration {
    let begun = Instant::now();
    while world.value("select count(*) from dbo.e").await != "2" {
        assert!(begun.elapsed() < most, "nobody took over: {:?}", world.ledger().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

#[tokio::test]
async fn when_the_loader_that_has_a_table_dies_another_takes_over_in_seconds() {
    let (world, holder, heir) = holder_and_heir("before_commit").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.value("select count(*) from dbo.e").await, "0", "the lease keeps the other one away");
    assert!(!heir.log().contains("process_dbo"), "it does not even begin: {}", heir.log());
    holder.signal("KILL");
    let took = loaded_within(&world, Duration::from_secs(5)).await;
    eprintln!("taken over after {took:?}");
    heir.signal("TERM");
    heir.ends().await.ok();
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|loaded|2/0/0/0"]);
}

#[tokio::test]
async fn a_loader_that_stood_still_too_long_writes_nothing_stale() {
    let world = World::with_table().await;
    run(program(&world)).await.ok();
    world.bucket.put(LOAD1, "1,a,1\n2,b,2\n").await;
    let mut frozen = program(&world);
    frozen.env("FAILPOINTS", "before_commit=sleep(4000)");
    let frozen = start(frozen);
    frozen.says("Failpoint before_commit").await;
    frozen.signal("STOP");
    let mut other = program(&world);
    other.env("RUN_AS_SERVICE", "True").env("METRICS", "").env("MIN_SLEEP", "0.05").env("MAX_SLEEP", "0.1");
    let other = start(other);
    // what idle_in_transaction_session_timeout does, once the ten minutes are over that it is raised to
    world
        .sql(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and state = 'idle in transaction'",
        )
        .await;
    loaded_within(&world, Duration::from_secs(8)).await;
    world.bucket.put("e/20991231-120000000.csv.gz", "U,1,newer,1\n").await;
    while world.value("select count(*) from loader_deliveries where status = 'loaded'").await != "2" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    frozen.signal("CONT");
    let ended = frozen.ends().await.ok();
    assert!(ended.log.contains("Trying again"), "{}", ended.log);
    other.signal("TERM");
    other.ends().await.ok();
    assert_eq!(world.rows("select name from dbo.e order by id").await, ["newer", "b"]);
    let states = world.rows("select status, count(*) from loader_deliveries group by status").await;
    assert_eq!(states, ["loaded|2"], "each once");
}

#[tokio::test]
async fn a_run_once_beside_a_service_loads_nothing_twice_and_a_dry_run_leaves_nothing() {
    let (world, (broker, heard)) = (World::new().await, stage().await);
    let mut story = Story::begin(&world, seed()).await;
    let running = start(service(&world, &broker));
    for round in 0..6 {
        story.go_on(&world).await;
        let mut beside = once(&world, &broker);
        if round % 2 == 0 {
            beside.env("DRY_RUN", "True");
        }
        let ended = run(beside).await;
        assert!([0, 1, 69, 75].contains(&ended.code), "{}", ended.log);
    }
    story.catch_up(&world).await;
    running.signal("TERM");
    running.ends().await.ok();
    holds_at_rest(&world, &broker, &heard, &story).await;
}

/// Migrations are one transaction: killed after the first of them, or after the last, there is none.
#[tokio::test]
async fn killed_in_the_middle_of_the_migrations_it_leaves_nothing_of_them() {
    let world = World::empty_with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    for times in [1, 2, 3] {
        let mut command = as_owner(&world);
        command.env("FAILPOINTS", format!("mid_migration=kill@{times}"));
        assert_eq!(run(command).await.code, -1);
        let left = "select count(*) from pg_class where relname like 'loader%'";
        assert_eq!(world.value(left).await, "0", "killed after {times}");
    }
    run(as_owner(&world)).await.ok();
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|loaded|1/0/0/0"]);
}

/// Two feeds in one database, each with a configuration of its own: neither takes the other's files for its own or for gone.
#[tokio::test]
async fn two_configurations_on_one_ledger_leave_each_others_rows_alone() {
    let (world, other) = (World::with_table().await, Bucket::at(&format!("other-{}", std::process::id())).await);
    world.sql("create table dbo.f (id int primary key)").await;
    let beside = || {
        let mut command = program(&world);
        command.env("SOURCE", other.source());
        command
    };
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put("e/20991231-120000000.csv.gz", "I,two,b,2\n").await;
    other.put("f/LOAD00000001.csv.gz", "1\n2\n").await;
    assert_eq!(run(program(&world)).await.code, 1, "its second file is at fault");
    run(beside()).await.ok();
    let states = [
        "LOAD00000001.csv.gz|loaded|1/0/0/0",
        "20991231-120000000.csv.gz|failed|0/0/0/0",
        "LOAD00000001.csv.gz|loaded|2/0/0/0",
    ];
    for _ in 0..2 {
        assert_eq!(world.ledger().await, states);
        assert_eq!(run(program(&world)).await.code, 1);
        run(beside()).await.ok();
    }
    // each sees its own, as it changes and goes
    other.delete("f/LOAD00000001.csv.gz").await;
    world.bucket.put("e/20991231-120000000.csv.gz", "I,2,b,2\n").await;
    run(beside()).await.ok();
    run(program(&world)).await.ok();
    assert_eq!(world.value("select (select count(*) from dbo.e) || '/' || (select count(*) from dbo.f)").await, "2/2");
    let stopped = "select count(*) from loader_deliveries where status not in ('loaded', 'skipped')";
    assert_eq!(world.value(stopped).await, "0");
}
