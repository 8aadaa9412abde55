//! Postgres on a bad day: it restarts, fails over, is full, read-only, out of connections, or breaks a deadlock at our
//! cost. Nothing is applied by half, and everything once it is well again.

use std::time::{Duration, Instant};

use crate::support::World;
use crate::support::oracle;
use crate::support::program::{Ended, Running, program, run, run_once, start};
use crate::support::server::Server;

const LOAD1: &str = "e/LOAD00000001.csv.gz";
const TABLE: &str = "create schema dbo; create table dbo.e (id bigint primary key, name text, price numeric(12, 2))";

fn service(world: &World) -> std::process::Command {
    let mut command = program(world);
    command.env("RUN_AS_SERVICE", "True").env("METRICS", "").env("MIN_SLEEP", "0.05").env("MAX_SLEEP", "0.1");
    command
}

async fn ends(running: Running) -> String {
    running.signal("TERM");
    running.ends().await.ok().log
}

async fn becomes(world: &World, query: &str, value: &str, running: &Running) {
    let begun = Instant::now();
    while world.value(query).await != value {
        assert!(begun.elapsed() < Duration::from_secs(60), "{query} is not {value}:\n{}", running.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An insert fails with this code, so often; the sequence remembers what is rolled back.
async fn fails_with(world: &World, code: &str, times: u32) {
    world
        .sql(&format!(
            "create sequence dbo.tries;
             create function dbo.fail() returns trigger language plpgsql as
               $$ begin if nextval('dbo.tries') <= {times} then raise exception 'on a bad day' using errcode = '{code}'; end if;
               return null; end $$;
             create trigger fail after insert on dbo.e for each statement execute function dbo.fail()"
        ))
        .await;
}

async fn nothing_is_left(world: &World) {
    // of the whole oracle, what does not depend on the tables
    oracle::holds(world, &[], None).await;
}

#[tokio::test]
async fn what_is_the_worlds_fault_is_tried_again_whole_and_leaves_no_row() {
    for code in ["40001", "40P01", "53100", "53200", "53400", "57014", "55P03", "58030"] {
        let world = World::with_table().await;
        fails_with(&world, code, 2).await;
        world.bucket.put(LOAD1, "1,a,1\n2,b,2\n").await;
        world.bucket.put("e/20991231-120000000.csv.gz", "I,3,c,3\n").await;
        let ended = run_once(&world).await.ok();
        assert!(ended.log.contains("Trying again") || ended.log.contains("on a bad day"), "{code}: {}", ended.log);
        let ledger = world.ledger().await;
        let loaded = ["LOAD00000001.csv.gz|loaded|2/0/0/0", "20991231-120000000.csv.gz|loaded|1/0/0/0"];
        assert_eq!(ledger, loaded, "{code}: {}", ended.log);
        assert_eq!(world.value("select count(*) from dbo.e").await, "3", "{code}");
        nothing_is_left(&world).await;
    }
}

/// A full disk: a service waits for room, and nobody has to start it again.
#[tokio::test]
async fn a_service_on_a_full_disk_goes_on_when_there_is_room() {
    let world = World::with_table().await;
    fails_with(&world, "53100", 1_000_000).await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let running = start(service(&world));
    running.says("on a bad day").await;
    assert_eq!(world.value("select count(*) from dbo.e").await, "0");
    assert_eq!(
        world.value("select count(*) from loader_deliveries where status <> 'pending'").await,
        "0",
        "it is not the file's fault"
    );
    world.sql("drop trigger fail on dbo.e").await;
    becomes(&world, "select count(*) from dbo.e", "1", &running).await;
    ends(running).await;
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|loaded|1/0/0/0"]);
}

#[tokio::test]
async fn a_service_outlives_a_target_that_is_read_only_for_a_while() {
    let world = World::with_table().await;
    run(program(&world)).await.ok();
    let name = &world.database;
    world.sql(&format!("alter database \"{name}\" set default_transaction_read_only = on")).await;
    let mut command = service(&world);
    command.env("MIGRATE", "False");
    let running = start(command);
    world.bucket.put(LOAD1, "1,a,1\n").await;
    running.says("read-only").await;
    let mine = "set default_transaction_read_only = off";
    world.sql(&format!("{mine}; alter database \"{name}\" set default_transaction_read_only = off")).await;
    // a session keeps what held when it began; where a primary changes, sessions end
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid()";
    world.value(end).await;
    becomes(&world, "select count(*) from dbo.e", "1", &running).await;
    ends(running).await;
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|loaded|1/0/0/0"]);
}

/// Somebody locks our rows in the other order; Postgres breaks the deadlock at our cost.
#[tokio::test]
async fn a_deadlock_is_tried_again() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,2\n").await;
    run_once(&world).await.ok();
    // ours is the session that notices first
    world.sql("set deadlock_timeout = '60s'; begin; select from dbo.e where id = 2 for update").await;
    world.bucket.put("e/20991231-120000000.csv.gz", "U,1,x,1\nU,2,y,2\n").await;
    let mut command = service(&world);
    command.env("METRICS", "127.0.0.1:0");
    let running = start(command);
    let waits = "select count(*)::int from pg_locks where not granted and pid <> pg_backend_pid()";
    becomes(&world, waits, "1", &running).await;
    world.sql("update dbo.e set price = 9 where id = 1; commit").await;
    becomes(&world, "select string_agg(name, ',' order by id) from dbo.e", "x,y", &running).await;
    let metrics = crate::service::get(crate::service::ops_port(&running).await, "/metrics").await;
    assert!(metrics.contains("paper_engine_retries_total{reason=\"deadlock\"} 1\n"), "{metrics}");
    let log = ends(running).await;
    assert!(log.contains("deadlock detected"), "{log}");
    assert_eq!(world.value("select count(*) from loader_deliveries where status <> 'loaded'").await, "0");
}

#[tokio::test]
async fn a_statement_that_is_cancelled_in_the_middle_is_tried_again() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world
        .sql(
            "create sequence dbo.tries;
             create function dbo.slow() returns trigger language plpgsql as
               $$ begin if nextval('dbo.tries') = 1 then perform pg_sleep(30); end if; return new; end $$;
             create trigger slow before insert on dbo.e for each row execute function dbo.slow()",
        )
        .await;
    let running = start(service(&world));
    let cancel = "select count(pg_cancel_backend(pid)) from pg_stat_activity
                  where datname = current_database() and wait_event = 'PgSleep'";
    becomes(&world, cancel, "1", &running).await;
    becomes(&world, "select count(*) from dbo.e", "1", &running).await;
    let log = ends(running).await;
    assert!(log.contains("canceling statement"), "{log}");
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|loaded|1/0/0/0"]);
}

/// A role that may have so few connections: the work goes on with what there is.
#[tokio::test]
async fn one_connection_or_two_are_enough() {
    for limit in [1, 2] {
        let world = World::empty_with_table().await;
        let (broker, _heard) = crate::kill::stage().await;
        let name = world.database.clone();
        world
            .sql(&format!(
                "create role \"{name}\" login connection limit {limit};
                 alter database \"{name}\" owner to \"{name}\"; alter schema dbo owner to \"{name}\";
                 alter table dbo.e owner to \"{name}\""
            ))
            .await;
        world.bucket.put(LOAD1, "1,a,1\n").await;
        for number in 10..30 {
            world.bucket.put(&format!("e/20991231-1200{number}000.csv.gz"), &format!("I,{number},n,1\n")).await;
        }
        let mut command = crate::kill::once(&world, &broker);
        command.env("TARGET", world.target_as(&name)).env("MIGRATE", "True");
        let ended = run(command).await;
        let count = world.value("select count(*) from dbo.e").await;
        world
            .sql(&format!(
                "reassign owned by \"{name}\" to current_user; drop owned by \"{name}\"; drop role \"{name}\""
            ))
            .await;
        assert_eq!((ended.code, count.as_str()), (0, "21"), "{limit}: {}", ended.log);
        assert!(!ended.log.contains("WARN"), "{limit}: {}", ended.log);
    }
}

#[tokio::test]
async fn a_server_that_crashes_in_the_middle_of_a_load_gets_all_of_it_afterwards() {
    let (world, server) = (World::empty().await, Server::new().await);
    server.client().await.batch_execute(TABLE).await.expect("a table");
    world.bucket.put(LOAD1, "1,a,1\n2,b,2\n").await;
    let mut command = service(&world);
    command.env("TARGET", format!("user=postgres host=127.0.0.1 port={} dbname=postgres", server.port));
    command.env("FAILPOINTS", "before_commit=sleep(1500)");
    let running = start(command);
    running.says("Failpoint before_commit").await;
    server.stop("immediate");
    tokio::time::sleep(Duration::from_millis(1700)).await;
    server.start().await;
    let loaded =
        "select count(*) || '/' || (select count(*) from loader_deliveries where status = 'loaded') from dbo.e";
    let begun = Instant::now();
    while server.value(loaded).await != "2/1" {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", running.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ends(running).await;
}

/// Primary and standby, both in TARGET. The primary goes, the standby is promoted; what it never got is loaded again.
#[tokio::test]
async fn after_a_failover_the_new_primary_gets_what_it_lacks() {
    let (world, primary) = (World::empty().await, Server::new().await);
    primary.client().await.batch_execute(TABLE).await.expect("a table");
    let standby = primary.standby().await;
    let mut command = service(&world);
    let hosts = format!("host=127.0.0.1,127.0.0.1 port={},{}", primary.port, standby.port);
    command.env("TARGET", format!("user=postgres {hosts} dbname=postgres target_session_attrs=read-write"));
    world.bucket.put(LOAD1, "1,a,1\n2,b,2\n").await;
    let running = start(command);
    running.says("processed (0:").await;
    wait_for(&standby, "select count(*) from loader_deliveries where status = 'loaded'", "1", &running).await;
    // from now on the standby hears nothing, so it will lack what comes
    let deaf = standby.client().await;
    deaf.batch_execute("alter system set primary_conninfo = ''").await.expect("set");
    deaf.batch_execute("select pg_reload_conf()").await.expect("read again");
    wait_for(&standby, "select count(*) from pg_stat_wal_receiver", "0", &running).await;
    world.bucket.put("e/20991231-120000000.csv.gz", "U,1,x,1\nI,3,c,3\n").await;
    wait_for(&primary, "select count(*) from loader_deliveries where status = 'loaded'", "2", &running).await;
    assert_eq!(
        standby.value("select count(*) from loader_deliveries where status = 'loaded'").await,
        "1",
        "it lacks the second"
    );
    primary.stop("immediate");
    standby.promote();
    world.bucket.put("e/20991231-120100000.csv.gz", "D,2,NULL,NULL\n").await;
    wait_for(&standby, "select count(*) from loader_deliveries where status = 'loaded'", "3", &running).await;
    assert_eq!(standby.value("select string_agg(id || name, ' ' order by id) from dbo.e").await, "1x 3c");
    ends(running).await;
}

async fn wait_for(server: &Server, query: &str, value: &str, running: &Running) {
    let begun = Instant::now();
    while server.value(query).await != value {
        assert!(begun.elapsed() < Duration::from_secs(60), "{query}:\n{}", running.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What waits for a spool that cannot be written is no fault of the file.
#[tokio::test]
async fn a_spool_that_cannot_be_written_is_no_fault_of_the_file() {
    let world = World::with_table().await;
    let rows: String = (0..200_000).map(|id| format!("I,{id},name of row {id},1.25\n")).collect();
    world.bucket.put("e/20991231-120000000.csv.gz", &rows).await;
    let mut command = program(&world);
    command.env("TMPDIR", "/nowhere");
    let ended: Ended = run(command).await;
    assert_eq!(ended.code, 69, "{}", ended.log);
    assert_eq!(world.value("select status, attempts from loader_deliveries").await, "pending|0");
    assert_eq!(world.value("select count(*) from dbo.e").await, "0");
    nothing_is_left(&world).await;
    let place = tempfile::tempdir().expect("a folder");
    let mut command = program(&world);
    command.env("TMPDIR", place.path());
    run(command).await.ok();
    assert_eq!(world.value("select count(*) from dbo.e").await, "200000");
    assert_eq!(std::fs::read_dir(place.path()).expect("a folder").count(), 0, "no spool is left");
}

#[tokio::test]
async fn while_a_table_is_loaded_others_read_and_do_not_write() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put("e/20991231-120000000.csv.gz", "I,2,b,2\n").await;
    let mut command = program(&world);
    command.env("FAILPOINTS", "before_commit=sleep(2000)");
    let running = start(command);
    running.says("Failpoint before_commit").await;
    assert_eq!(world.value("select count(*) from dbo.e").await, "1", "readers see what was");
    let write = "set lock_timeout = '300ms'; update dbo.e set price = 7 where id = 1";
    let refused = world.db.batch_execute(write).await.expect_err("writers wait");
    assert_eq!(refused.code().map(|code| code.code()), Some("55P03"), "{refused:?}");
    running.ends().await.ok();
    world.sql(write).await;
    assert_eq!(world.value("select count(*) from dbo.e").await, "2");
}

/// An autovacuum that takes long, of a table that changes all the time: it is waited for, not cancelled.
#[tokio::test]
async fn an_autovacuum_is_not_cancelled_by_the_loads_of_its_table() {
    let slow = "autovacuum = off\nautovacuum_naptime = 1s\nautovacuum_vacuum_cost_delay = 100ms\nautovacuum_vacuum_cost_limit = 1\n\
                log_autovacuum_min_duration = 0\n";
    let server = Server::prepared(|_| {}, Vec::new(), slow).await;
    let (world, db) = (World::new().await, server.client().await);
    db.batch_execute(TABLE).await.expect("a table");
    let load: String = (0..20_000).map(|id| format!("{id},name of row {id},1\n")).collect();
    world.bucket.put(LOAD1, &load).await;
    let command = |once: bool| {
        let mut command = service(&world);
        command.env("RUN_AS_SERVICE", if once { "False" } else { "True" }).env("MIGRATE", "True");
        command.env("TARGET", format!("user=postgres host=127.0.0.1 port={} dbname=postgres", server.port));
        command
    };
    run(command(true)).await.ok();
    let change: String = (0..10_000).map(|id| format!("U,{id},another name,2\n")).collect();
    world.bucket.put("e/20991231-120000000.csv.gz", &change).await;
    run(command(true)).await.ok();
    db.batch_execute("alter system set autovacuum = on").await.expect("set");
    db.batch_execute("select pg_reload_conf()").await.expect("reloaded");
    let works =
        "select count(*) from pg_stat_activity where backend_type = 'autovacuum worker' and query like '%dbo.e%'";
    let vacuums = async || db.query_one(works, &[]).await.expect("activity").get::<_, i64>(0);
    let begun = Instant::now();
    while vacuums().await == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no autovacuum began");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.bucket.put("e/20991231-120001000.csv.gz", "U,1,waits,3\n").await;
    let running = start(command(false));
    running.says("canceling statement due to lock timeout").await;
    let log = std::fs::read_to_string(server.log()).expect("the server's log");
    assert!(!log.contains("canceling autovacuum task"), "{log}");
    assert!(vacuums().await > 0, "it goes on");
    // it would go on for minutes
    db.batch_execute("alter system set autovacuum = off").await.expect("set");
    db.batch_execute("select pg_reload_conf()").await.expect("reloaded");
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'autovacuum worker'";
    db.batch_execute(end).await.expect("ended");
    let loaded = "select count(*) from public.loader_deliveries where status = 'loaded'";
    while db.query_one(loaded, &[]).await.expect("the ledger").get::<_, i64>(0) < 3 {
        assert!(begun.elapsed() < Duration::from_secs(120), "{}", running.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ends(running).await;
    let log = std::fs::read_to_string(server.log()).expect("the server's log");
    assert!(!log.contains("canceling autovacuum task"), "{log}");
}
