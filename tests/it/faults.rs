//! Faults of the network, scripted: what is cut is tried again whole, and a commit without an answer is settled.

use crate::support::program::{Ended, program, run};
use crate::support::proxy::{Fault, before};
use crate::support::{World, setting};

const LOAD1: &str = "e/LOAD00000001.csv.gz";

fn many_rows() -> String {
    // of little redundancy, so that the object is a few hundred kilobytes
    (0..60_000u64).map(|id| format!("{id},{:x},1.25\n", id.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
}

async fn loads_all_the_same(world: &World, source: String, target: String, fault: &Fault) -> String {
    let mut command = program(world);
    command.env("SOURCE", source).env("TARGET", target);
    let ended = run(command).await.ok();
    assert!(fault.happened(), "the fault did not happen:\n{}", ended.log);
    assert_eq!(world.value("select count(*) from dbo.e").await, "60000");
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|loaded|60000/0/0/0"], "{}", ended.log);
    ended.log
}

#[tokio::test]
async fn a_download_that_is_cut_is_never_taken_for_the_end() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, &many_rows()).await;
    let fault = Fault::cut_after(200_000, 2);
    let port = before(&setting("PEO_S3_PORT"), fault.clone()).await;
    let log = loads_all_the_same(&world, world.bucket.source_at(&port.to_string()), world.target(), &fault).await;
    assert!(!log.contains("failed"), "a cut is not the file's fault:\n{log}");
}

#[tokio::test]
async fn a_connection_to_postgres_that_is_cut_is_tried_again() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, &many_rows()).await;
    run(program(&world)).await.ok();
    world.bucket.put_later(LOAD1, &many_rows()).await;
    // in the middle of streaming the table out
    let fault = Fault::cut_after(1_000_000, 1);
    let port = before(&setting("PEO_PG_PORT"), fault.clone()).await;
    let mut command = program(&world);
    command.env("TARGET", world.target_at(&port.to_string()));
    let ended = run(command).await.ok();
    assert!(fault.happened(), "{}", ended.log);
    assert_eq!(world.ledger().await[1], "LOAD00000001.csv.gz|loaded|0/0/0/60000", "{}", ended.log);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_has_one_effect() {
    // the delivery's, and the one before it, that of the rows of files that wait; the first of all is of a look at the server
    let faults = [Fault::swallow_commit()].into_iter().chain((1..3).map(Fault::swallow_commit_after));
    for fault in faults {
        let world = World::with_table().await;
        run(program(&world)).await.ok();
        world.bucket.put(LOAD1, &many_rows()).await;
        let port = before(&setting("PEO_PG_PORT"), fault.clone()).await;
        let log = loads_all_the_same(&world, world.bucket.source(), world.target_at(&port.to_string()), &fault).await;
        assert_eq!(log.matches("persisted to postgres").count(), 1, "{log}");
        assert_eq!(world.value("select attempts from loader_deliveries").await, "1");
    }
}

#[tokio::test]
async fn a_session_that_is_terminated_in_the_middle_leaves_nothing_and_is_tried_again() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, &many_rows()).await;
    // the trigger makes the load slow enough to be caught
    world
        .sql(
            "create function dbo.slow() returns trigger language plpgsql as
              $$ begin if new.id % 1000 = 0 then perform pg_sleep(0.02); end if; return new; end $$;
              create trigger slow before insert on dbo.e for each row execute function dbo.slow()",
        )
        .await;
    let running = tokio::spawn(run(program(&world)));
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let killed = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                      where datname = current_database() and query like 'copy %'";
        if world.value(killed).await != "0" {
            break;
        }
    }
    let ended = running.await.expect("joined").ok();
    assert!(ended.log.contains("Trying again"), "{}", ended.log);
    assert_eq!(world.value("select count(*) from dbo.e").await, "60000");
}

#[tokio::test]
async fn a_lock_that_others_hold_delays_one_table_and_no_other() {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key)").await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put("f/LOAD00000001.csv.gz", "1\n").await;
    world.sql("begin; lock table dbo.e in access exclusive mode").await;
    let ended = run(program(&world)).await;
    assert_eq!(ended.code, 69, "{}", ended.log);
    assert!(ended.log.contains("dbo.e: deliver: canceling statement due to lock timeout"), "{}", ended.log);
    world.sql("rollback").await;
    assert_eq!(world.value("select count(*) from dbo.f").await, "1");
    run(program(&world)).await.ok();
    assert_eq!(world.value("select count(*) from dbo.e").await, "1");
}

/// Runs the program, and does something to the bucket between its listing and its first GET of the load file.
async fn between_list_and_get(world: &World, act: impl AsyncFnOnce()) -> Ended {
    before_get(world, "LOAD00000001.csv.gz", act).await
}

/// Runs the program, and does something to the bucket after its listing and before its first GET of a file.
pub async fn before_get(world: &World, file: &str, act: impl AsyncFnOnce()) -> Ended {
    let (fault, asked) = Fault::before(&format!("{file}?"));
    let port = before(&setting("PEO_S3_PORT"), fault).await;
    let mut command = program(world);
    command.env("SOURCE", world.bucket.source_at(&port.to_string()));
    let mut running = tokio::spawn(run(command));
    let go_on = tokio::select! {
        go_on = asked => go_on.expect("a GET"),
        ended = &mut running => panic!("no GET of {file}: {}", ended.expect("joined").log),
    };
    act().await;
    go_on.send(()).expect("the proxy waits");
    running.await.expect("joined")
}

#[tokio::test]
async fn an_object_that_is_deleted_after_the_listing_is_gone_and_nothing_is_concluded_from_it() {
    let world = World::with_table().await;
    world.bucket.put("e/20991231-235900.csv.gz", "I,1,contained,1\n").await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    world.bucket.put(LOAD1, "2,b,2\n").await;
    between_list_and_get(&world, async || world.bucket.delete(LOAD1).await).await.ok();
    let states = world.rows("select status from loader_deliveries order by id").await;
    assert_eq!(states, ["gone", "loaded"], "the change file is in no snapshot: it is loaded");
    assert_eq!(world.rows("select name from dbo.e").await, ["contained"]);
}

#[tokio::test]
async fn an_object_that_changes_after_the_listing_is_listed_again() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,old,1\n").await;
    between_list_and_get(&world, async || world.bucket.put(LOAD1, "1,new,1\n").await).await.ok();
    assert_eq!(world.rows("select name from dbo.e").await, ["new"]);
    let versions = ["LOAD00000001.csv.gz|skipped|0/0/0/0", "LOAD00000001.csv.gz|loaded|1/0/0/0"];
    assert_eq!(world.ledger().await, versions);
}

#[tokio::test]
async fn an_object_that_goes_away_after_it_was_loaded_is_no_error() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put("e/20991231-235900.csv.gz", "I,2,b,2\n").await;
    run(program(&world)).await.ok();
    world.bucket.delete("e/20991231-235900.csv.gz").await;
    world.bucket.delete(LOAD1).await;
    run(program(&world)).await.ok();
    assert_eq!(world.value("select count(*) from dbo.e").await, "2", "what was loaded stays");
}
