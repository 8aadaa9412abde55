//! Hosts on a bad day: a disk that is really full, a network that swallows what it is given. Each of these tests runs in
//! namespaces of its own (`support/own.rs`).

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::kill::number;
use crate::support::own::{self, FAR, Far, Own, inside};
use crate::support::program::{Running, as_owner, program, run, start};
use crate::support::server::Server;
use crate::support::{World, gz, oracle, store};

const LOAD1: &str = "e/LOAD00000001.csv.gz";
const TABLE: &str = "create schema dbo; create table dbo.e (id bigint primary key, name text, price numeric(12, 2))";
const LOADED: &str =
    "select (select count(*) from dbo.e) || '/' || count(*) filter (where status = 'loaded') || '/' || count(*)
                      from loader_deliveries where status <> 'pending'";

fn rows(op: &str, count: u64) -> String {
    (0..count).map(|id| format!("{op}{id},{:x},1.25\n", id.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
}

fn at(server: &Server) -> String {
    format!("user=postgres host=127.0.0.1 port={} dbname=postgres", server.port)
}

/// The program before a server of the test's own.
fn before(world: &World, server: &Server) -> Command {
    let mut command = as_owner(world);
    command.env("TARGET", at(server));
    command
}

fn service(mut command: Command) -> Command {
    command.env("RUN_AS_SERVICE", "True").env("METRICS", "").env("MIN_SLEEP", "0.05").env("MAX_SLEEP", "0.1");
    command
}

async fn becomes(server: &Server, query: &str, value: &str, most: Duration, running: &Running) {
    let begun = Instant::now();
    loop {
        let found = server.value(query).await;
        if found == value {
            return;
        }
        assert!(begun.elapsed() < most, "{query} is {found}, not {value}:\n{}", running.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn stops(running: Running) -> String {
    running.signal("TERM");
    running.ends().await.ok().log
}

/// A world, and a server with one of its folders on a disk of its own.
async fn on_a_small_disk(folder: &str, size: &str, settings: &str) -> (World, Server) {
    let small = |place: &Path| own::disk(&place.join(folder), size, "");
    (World::new().await, Server::prepared(small, Vec::new(), settings).await)
}

/// A full disk is the world's fault.
async fn finds_it_full(world: &World, server: &Server) {
    let ended = run(before(world, server)).await;
    assert_eq!(ended.code, 69, "{}", ended.log);
    assert!(ended.log.contains("No space left on device (53100"), "{}", ended.log);
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_disk_that_is_full_under_the_tables_stops_nothing_for_ever() {
    if !inside(Own::Disk, "hosts::a_disk_that_is_full_under_the_tables_stops_nothing_for_ever") {
        return;
    }
    let (world, server) = on_a_small_disk("data", "64m", "").await;
    server.client().await.batch_execute(TABLE).await.expect("a table");
    run(before(&world, &server)).await.ok();
    let ballast = server.place().join("data/ballast");
    own::fill(&ballast);
    world.bucket.put(LOAD1, &rows("", 20_000)).await;
    finds_it_full(&world, &server).await;
    assert_eq!(server.value(LOADED).await, "0/0/0", "nothing is applied, and it is not the file's fault");
    let running = start(service(before(&world, &server)));
    running.says("No space left on device").await;
    std::fs::remove_file(ballast).expect("removed");
    becomes(&server, LOADED, "20000/1/1", MINUTE, &running).await;
    stops(running).await;
}

/// For Postgres that is as bad as a crash, and it may not come up before there is room.
#[tokio::test]
async fn a_disk_that_is_full_under_the_log_of_postgres_loses_nothing() {
    if !inside(Own::Disk, "hosts::a_disk_that_is_full_under_the_log_of_postgres_loses_nothing") {
        return;
    }
    // nothing of the log is used again
    let settings = "min_wal_size = 2MB\nmax_wal_size = 1GB\ncheckpoint_timeout = 1d\n";
    let (world, server) = on_a_small_disk("wal", "12m", settings).await;
    server.client().await.batch_execute(TABLE).await.expect("a table");
    run(before(&world, &server)).await.ok();
    world.bucket.put(LOAD1, &rows("", 150_000)).await;
    let running = start(service(before(&world, &server)));
    running.says("Trying again").await;
    let log = std::fs::read_to_string(server.place().join("log")).expect("a log");
    assert!(log.contains("PANIC") && log.contains("No space left on device"), "{log}\n{}", running.log());
    own::disk(&server.place().join("wal"), "256m", ",remount");
    server.restart().await;
    becomes(&server, LOADED, "150000/1/1", MINUTE, &running).await;
    stops(running).await;
}

#[tokio::test]
async fn a_disk_that_is_full_under_what_postgres_sorts_stops_nothing_for_ever() {
    if !inside(Own::Disk, "hosts::a_disk_that_is_full_under_what_postgres_sorts_stops_nothing_for_ever") {
        return;
    }
    let settings = "work_mem = 64kB\nenable_indexscan = off\nenable_bitmapscan = off\ntemp_tablespaces = scratch\n";
    let (world, server) = on_a_small_disk("scratch", "1m", settings).await;
    let place = server.place().join("scratch");
    let space = format!("create tablespace scratch location '{}'", place.display());
    server.client().await.batch_execute(&space).await.expect("a tablespace");
    server.client().await.batch_execute(TABLE).await.expect("a table");
    world.bucket.put(LOAD1, &rows("", 40_000)).await;
    run(before(&world, &server)).await.ok();
    world.bucket.put_later(LOAD1, &rows("", 40_000).replace(",1.25", ",2.5")).await;
    finds_it_full(&world, &server).await;
    assert_eq!(server.value(LOADED).await, "40000/1/1");
    let running = start(service(before(&world, &server)));
    running.says("No space left on device").await;
    own::disk(&place, "64m", ",remount");
    becomes(&server, LOADED, "40000/2/2", MINUTE, &running).await;
    stops(running).await;
    assert_eq!(server.value("select sum(price) from dbo.e").await, "100000.00");
}

/// What does not fit into memory goes to a disk that has no room, or may not be written at all.
#[tokio::test]
async fn a_disk_that_is_full_under_the_spool_is_no_fault_of_the_file() {
    if !inside(Own::Disk, "hosts::a_disk_that_is_full_under_the_spool_is_no_fault_of_the_file") {
        return;
    }
    let (world, spools) = (World::with_table().await, tempfile::tempdir().expect("a folder"));
    world.sql("create table dbo.f (id int primary key)").await;
    world.bucket.put("e/20991231-120000000.csv.gz", &rows("I,", 200_000)).await;
    world.bucket.put("f/LOAD00000001.csv.gz", "1\n").await;
    let here = || {
        let mut command = program(&world);
        command.env("TMPDIR", spools.path());
        command
    };
    let counts = "select (select count(*) from dbo.e) || '/' || (select count(*) from dbo.f) || '/' || count(*)
                  from loader_deliveries where status <> 'pending'";
    for (size, more, words) in
        [("5m", ",ro", "Read-only file system"), ("5m", ",remount,rw", "No space left on device")]
    {
        own::disk(spools.path(), size, more);
        let ended = run(here()).await;
        assert_eq!(ended.code, 69, "{words}: {}", ended.log);
        assert!(ended.log.contains(words), "{words}: {}", ended.log);
        assert_eq!(world.value(counts).await, "0/1/1", "{words}: the other table goes on: {}", ended.log);
        assert_eq!(std::fs::read_dir(spools.path()).expect("a folder").count(), 0, "{words}: nothing is left");
        oracle::holds(&world, &[], None).await;
    }
    let running = start(service(here()));
    running.says("No space left on device").await;
    own::disk(spools.path(), "64m", ",remount");
    let begun = Instant::now();
    while world.value(counts).await != "200000/1/2" {
        assert!(begun.elapsed() < MINUTE, "{}", running.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stops(running).await;
}

/// A server on another host, its one file, and the program before both. Patience is short.
async fn two_hosts(patience: &str) -> (Far, Server, Command) {
    let far = Far::new();
    let server = Server::prepared(|_| {}, far.via(), "listen_addresses = '*'\n").await;
    server.client().await.batch_execute(TABLE).await.expect("a table");
    let port = store::alone(vec![(LOAD1, gz(&rows("", 60_000)))]).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_paper-engine-orders"));
    let source = format!("bucket_endpoint=http://127.0.0.1:{port} bucket_id=i bucket_key=k bucket_name=tests");
    // the long loops have the patience that the program has by itself, but for a quarter of an hour
    let patience =
        if long() { patience.split(' ').find(|word| word.starts_with("tcp_")).unwrap_or_default() } else { patience };
    let target = format!("user=postgres host={FAR} port={} dbname=postgres {patience}", server.port);
    command.env_clear().env("SOURCE", source).env("TARGET", target);
    command.env("NOTIFICATIONS", "False").env("SETTLE", "0");
    (far, server, service(command))
}

fn long() -> bool {
    number("PEO_SEEDS", 0) > 0
}

fn long_or(short: Duration) -> Duration {
    if long() { Duration::from_secs(135) } else { short }
}

const PATIENCE: &str = "keepalives_idle=3 keepalives_interval=1 keepalives_count=3 tcp_user_timeout=4000";
const SESSIONS: &str = "select count(*)::int from pg_stat_activity where application_name = 'paper-engine-orders'";

/// The program waits for an answer that never comes. Both ends notice, each for itself, and go on when the network is back.
#[tokio::test]
async fn a_network_that_swallows_everything_is_noticed_at_both_ends() {
    if !inside(Own::Network, "hosts::a_network_that_swallows_everything_is_noticed_at_both_ends") {
        return;
    }
    let (far, server, command) = two_hosts(PATIENCE).await;
    let deadline = long_or(Duration::from_secs(9));
    let slow = "create function dbo.slow() returns trigger language plpgsql as
                  $$ begin perform pg_sleep(4); return null; end $$;
                create trigger slow after insert on dbo.e for each statement execute function dbo.slow()";
    server.client().await.batch_execute(slow).await.expect("a trigger");
    let running = start(command);
    becomes(&server, "select count(*)::int from pg_stat_activity where wait_event = 'PgSleep'", "1", MINUTE, &running)
        .await;
    far.cut();
    let begun = Instant::now();
    while !running.log().contains("Trying again") {
        assert!(begun.elapsed() < deadline, "{}", running.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let noticed = begun.elapsed();
    becomes(&server, SESSIONS, "0", deadline.saturating_sub(noticed) + Duration::from_secs(4), &running).await;
    eprintln!("noticed after {noticed:?}, the server's side after {:?}", begun.elapsed());
    assert_eq!(server.value(LOADED).await, "0/0/0");
    server.client().await.batch_execute("drop trigger slow on dbo.e").await.expect("dropped");
    far.mend();
    becomes(&server, LOADED, "60000/1/1", MINUTE, &running).await;
    stops(running).await;
}

/// The same while it sends, where no keep-alive is asked: `tcp_user_timeout` in TARGET is the deadline.
#[tokio::test]
async fn a_network_that_swallows_what_is_sent_is_noticed_too() {
    if !inside(Own::Network, "hosts::a_network_that_swallows_what_is_sent_is_noticed_too") {
        return;
    }
    let (far, server, mut command) = two_hosts(PATIENCE).await;
    command.env("FAILPOINTS", "mid_copy=sleep(1000)@2");
    let running = start(command);
    running.says("Failpoint mid_copy").await;
    far.cut();
    let begun = Instant::now();
    while !running.log().contains("Trying again") {
        assert!(begun.elapsed() < Duration::from_secs(15), "{}", running.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!("noticed after {:?}", begun.elapsed());
    assert_eq!(server.value(LOADED).await, "0/0/0");
    becomes(&server, SESSIONS, "0", long_or(MINUTE), &running).await;
    far.mend();
    becomes(&server, LOADED, "60000/1/1", MINUTE, &running).await;
    stops(running).await;
}
