//! Signals and panics at every stage of a delivery: it is finished or undone, and what comes next finds all in order.

use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::kill::{holds_at_rest, once, seed, service, stage};
use crate::support::World;
use crate::support::oracle;
use crate::support::program::{program, run, run_once, start};
use crate::support::story::Story;

const LOAD1: &str = "e/LOAD00000001.csv.gz";

/// A service stands at a point; it is asked to stop; it does, in order.
async fn asked_to_stop_at(point: &str, signal: &str) {
    let (world, (broker, heard)) = (World::new().await, stage().await);
    let mut story = Story::begin(&world, seed()).await;
    story.go_on(&world).await;
    let mut command = service(&world, &broker);
    command.env("FAILPOINTS", format!("{point}=sleep(800)"));
    let running = start(command);
    running.says(&format!("Failpoint {point}")).await;
    running.signal(signal);
    let ended = running.ends().await;
    assert_eq!(ended.code, 0, "{point}: {}", ended.log);
    assert!(ended.log.contains("Stopped."), "{point}: {}", ended.log);
    story.catch_up(&world).await;
    holds_at_rest(&world, &broker, &heard, &story).await;
}

#[tokio::test]
async fn asked_to_stop_at_any_stage_it_ends_in_order() {
    let points = [
        ("after_list", "TERM"),
        ("after_claim", "INT"),
        ("mid_download", "TERM"),
        ("mid_copy", "INT"),
        ("after_diff", "TERM"),
        ("before_commit", "INT"),
        ("after_commit", "TERM"),
        ("before_publish", "INT"),
        ("after_puback", "TERM"),
    ];
    join_all(points.map(|(point, signal)| asked_to_stop_at(point, signal))).await;
}

#[tokio::test]
async fn asked_twice_it_ends_at_once_and_leaves_nothing() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let mut command = program(&world);
    command.env("FAILPOINTS", "before_commit=sleep(15000)");
    let running = start(command);
    running.says("Failpoint before_commit").await;
    let begun = Instant::now();
    running.signal("INT");
    running.says("SIGINT").await;
    running.signal("INT");
    assert_eq!(running.ends().await.code, 130);
    assert!(begun.elapsed() < Duration::from_secs(5), "at once");
    assert_eq!(world.value("select count(*) from dbo.e").await, "0");
    run_once(&world).await.ok();
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|loaded|1/0/0/0"]);
}

#[tokio::test]
async fn a_panic_is_never_swallowed_and_loses_nothing() {
    let (world, (broker, heard)) = (World::new().await, stage().await);
    let mut story = Story::begin(&world, seed()).await;
    for point in ["after_claim", "before_commit", "after_commit", "before_outbox_mark"] {
        story.change_all(&world).await;
        let mut command = service(&world, &broker);
        command.env("FAILPOINTS", format!("{point}=panic"));
        let ended = start(command).ends().await;
        assert_eq!(ended.code, 101, "{point}: {}", ended.log);
        assert!(ended.log.contains(&format!("failpoint {point}")), "{}", ended.log);
        run(once(&world, &broker)).await.ok();
        oracle::holds(&world, &story.sources(), Some(&heard)).await;
    }
}

/// While a file is read, it may be the file that brings the fault to light: other tables go on.
#[tokio::test]
async fn a_panic_while_a_file_is_read_stops_its_table_and_no_other() {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key)").await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put("f/LOAD00000001.csv.gz", "1\n").await;
    let mut command = program(&world);
    command.env("FAILPOINTS", "mid_download=panic");
    let ended = run(command).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    let states = world.rows("select status, count(*) from loader_deliveries group by 1 order by 1").await;
    assert_eq!(states, ["failed|1", "loaded|1"]);
    let mut retry = program(&world);
    retry.args(["deliveries", "retry", &world.value("select id from loader_deliveries where status = 'failed'").await]);
    run(retry).await.ok();
    run_once(&world).await.ok();
    assert_eq!(world.value("select (select count(*) from dbo.e) + (select count(*) from dbo.f)").await, "2");
}

/// A server that is gone without a word is noticed, because its connections are asked now and then.
#[tokio::test]
async fn connections_to_postgres_are_kept_under_watch() {
    let world = World::with_table().await;
    let mut command = program(&world);
    command.env("RUN_AS_SERVICE", "True").env("METRICS", "").env("MIN_SLEEP", "30").env("MAX_SLEEP", "30");
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let running = start(command);
    running.says("processed (").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ports = world
        .rows("select client_port from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
        .await;
    assert!(!ports.is_empty());
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    for port in ports {
        let local = format!(":{:04X} ", port.parse::<u16>().expect("a port"));
        let mine: Vec<&str> = sockets.lines().filter(|line| line[..22.min(line.len())].contains(&local)).collect();
        // the kind of its timer: 2 is that of keep-alives
        let watched = |line: &&&str| line.split_whitespace().nth(5).is_some_and(|timer| timer.starts_with("02:"));
        assert!(mine.iter().any(|line| watched(&line)), "{mine:?}");
    }
    running.signal("TERM");
    running.ends().await.ok();
}

/// Too few descriptors for what it needs: it says so and ends, or gets along.
#[tokio::test]
async fn without_descriptors_it_ends_with_a_word_and_loses_nothing() {
    let world = World::with_table().await;
    run_once(&world).await.ok();
    let mut few = 0;
    for limit in [6, 9, 18, 24, 40] {
        world.bucket.put(&format!("e/20991231-1200{limit:02}000.csv.gz"), &format!("I,{limit},n,1\n")).await;
        let plain = program(&world);
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n $1; exec \"$0\""]).arg(plain.get_program()).arg(limit.to_string()).env_clear();
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("PATH", "/usr/bin:/bin");
        let ended = run(command).await;
        assert!([0, 69].contains(&ended.code), "{limit}: {} {}", ended.code, ended.log);
        assert!(ended.code == 0 || ended.log.to_lowercase().contains("open files"), "{limit}: {}", ended.log);
        few += u64::from(ended.code == 69);
    }
    assert!(few > 0, "that was enough for it");
    run_once(&world).await.ok();
    assert_eq!(world.value("select count(*) from dbo.e").await, "5");
    assert_eq!(world.value("select count(*) from loader_deliveries where status <> 'loaded'").await, "0");
}
