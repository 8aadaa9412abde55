//! The exit codes, and which one it is where two apply: 78 over 69 over 1 over 75 over 0.

use std::process::Command;

use crate::support::World;
use crate::support::broker::free_port;
use crate::support::program::{program, run, run_once, start};

const LOAD: &str = "e/LOAD00000001.csv.gz";

/// With a broker that is away: messages wait.
fn unheard(world: &World) -> Command {
    let mut command = program(world);
    command.env("NOTIFICATIONS", "True").env("NATS", format!("nats://127.0.0.1:{}", free_port()));
    command
}

/// Holds the lease of `dbo.e`, as another loader would.
async fn lease(world: &World) {
    let sql = "select pg_advisory_lock(x'70656f'::int, 'dbo.e'::regclass::oid::int)";
    world.sql(sql).await;
}

#[track_caller]
fn ends(ended: &crate::support::program::Ended, code: i32) {
    assert_eq!(ended.code, code, "{}", ended.log);
}

#[tokio::test]
async fn nothing_left_to_do_is_0_and_a_busy_table_75() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    lease(&world).await;
    ends(&run_once(&world).await, 75);
    world.sql("select pg_advisory_unlock_all()").await;
    ends(&run_once(&world).await, 0);
    ends(&run_once(&world).await, 0);
}

#[tokio::test]
async fn a_stopped_table_is_1_old_or_new_and_over_a_busy_one() {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key)").await;
    world.bucket.put("f/LOAD00000001.csv.gz", "bad\n").await;
    ends(&run_once(&world).await, 1);
    ends(&run_once(&world).await, 1);
    world.bucket.put(LOAD, "1,a,1\n").await;
    lease(&world).await;
    ends(&run_once(&world).await, 1);
}

#[tokio::test]
async fn waiting_messages_are_69_over_a_stopped_table() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    ends(&run(unheard(&world)).await, 69);
    world.bucket.put("e/20991231-235900.csv.gz", "U,1,a,bad\n").await;
    ends(&run(unheard(&world)).await, 69);
    ends(&run_once(&world).await, 1);
}

#[tokio::test]
async fn a_server_that_is_away_is_69_for_every_command() {
    let world = World::with_table().await;
    let port = free_port().to_string();
    for args in [&["run", "--once"][..], &["status"], &["deliveries", "list"], &["rejects", "list"]] {
        let mut command = program(&world);
        command.args(args).env("TARGET", world.target_at(&port));
        ends(&run(command).await, 69);
    }
    run_once(&world).await.ok();
    let mut command = program(&world);
    command.arg("status").env("SOURCE", world.bucket.source_at(&port));
    ends(&run(command).await, 69);
}

#[tokio::test]
async fn a_wrong_bucket_is_78_over_messages_that_wait_and_a_stopped_table() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    world.bucket.put("e/20991231-235900.csv.gz", "U,1,a,bad\n").await;
    ends(&run(unheard(&world)).await, 69);
    for args in [&["run"][..], &["status"]] {
        let mut command = unheard(&world);
        command.args(args).env("SOURCE", world.bucket.source().replace("bucket_name=tests", "bucket_name=missing"));
        ends(&run(command).await, 78);
    }
}

#[tokio::test]
async fn a_wrong_role_or_database_is_78_at_a_start() {
    let world = World::with_table().await;
    let wrong =
        [world.target().replace("dbname=", "dbname=missing-"), world.target().replace("user=", "user=missing-")];
    for target in wrong {
        for args in [&["run", "--once"][..], &["run", "--service"], &["run", "--dry-run"], &["status"], &["migrate"]] {
            let mut command = program(&world);
            command.args(args).env("TARGET", &target).env("METRICS", "");
            let ended = run(command).await;
            ends(&ended, 78);
            assert!(ended.log.contains("Check user, password and dbname in TARGET"), "{}", ended.log);
        }
    }
}

#[tokio::test]
async fn a_service_that_runs_waits_for_its_role_to_come_back() {
    let world = World::with_table().await;
    run_once(&world).await.ok();
    let user = format!("moody-{}", world.database);
    world.sql(&format!("create role \"{user}\" superuser login")).await;
    let mut command = program(&world);
    command.env("TARGET", world.target_as(&user));
    command.env("RUN_AS_SERVICE", "True").env("MIN_SLEEP", "0.1").env("MAX_SLEEP", "0.2").env("METRICS", "");
    let service = start(command);
    service.says("0 deliveries pending").await;
    world.sql(&format!("alter role \"{user}\" nologin")).await;
    world.sql(&format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{user}'")).await;
    service.says("Postgres refuses the connection").await;
    world.sql(&format!("alter role \"{user}\" login")).await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    service.says("persisted to postgres").await;
    service.signal("TERM");
    ends(&service.ends().await, 0);
    world.sql(&format!("drop role \"{user}\"")).await;
}
