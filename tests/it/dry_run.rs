//! A dry run gives the numbers of the real run, and leaves nothing that anyone could see.

use crate::support::World;
use crate::support::broker::Broker;
use crate::support::program::{Ended, program, run, run_once};

const LOAD1: &str = "e/LOAD00000001.csv.gz";

/// Several pending deliveries of several tables: loads, changes that build on them, a reload.
async fn fill(world: &World) {
    world.sql("create table dbo.f (id int primary key, v text)").await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,2\n3,c,3\n").await;
    world.bucket.put("e/20991231-235900.csv.gz", "U,1,x,1\nD,2,NULL,NULL\nI,4,d,4\n").await;
    world.bucket.put("e/20991231-235901.csv.gz", "U,1,y,1\nD,4,NULL,NULL\nI,5,e,5\n").await;
    world.bucket.put("f/LOAD00000001.csv.gz", "2,b\n1,a\n").await;
}

/// A dry run leaves nothing: the first lines that differ say what it left.
#[track_caller]
fn same(before: &str, after: &str) {
    let differ: Vec<_> = before.lines().zip(after.lines()).filter(|(before, after)| before != after).take(5).collect();
    assert!(before == after, "a dry run leaves nothing, but this: {differ:#?}");
}

async fn rehearse(world: &World) -> Ended {
    let mut dry = program(world);
    dry.args(["run", "--dry-run"]);
    run(dry).await
}

async fn rehearse_then_load(world: &World) {
    let broker = Broker::core().await;
    let heard = broker.listen().await;
    let before = world.dump();
    let mut dry = program(world);
    dry.arg("run").arg("--dry-run").env("NOTIFICATIONS", "True").env("NATS", broker.url());
    let rehearsed = run(dry).await.ok();
    same(&before, &world.dump());
    assert!(heard.lock().expect("ears").is_empty(), "a dry run tells nobody");
    let real = run_once(world).await.ok();
    assert_eq!(rehearsed.effects(), real.effects());
    assert!(!real.effects().is_empty());
    let ids = |ended: &Ended| -> Vec<String> {
        ended.said().into_iter().filter(|line| line.contains(": process_")).collect()
    };
    assert_eq!(ids(&rehearsed), ids(&real), "the numbers of the deliveries are those to come");
}

#[tokio::test]
async fn on_an_empty_database() {
    let world = World::empty_with_table().await;
    fill(&world).await;
    rehearse_then_load(&world).await;
}

#[tokio::test]
async fn on_a_migrated_database_with_a_reload() {
    let world = World::with_table().await;
    fill(&world).await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "5,e,5\n1,z,1\n7,g,7\n").await;
    world.bucket.put("e/20991231-235902.csv.gz", "U,7,h,7\n").await;
    world.bucket.put("f/20991231-235900.csv.gz", "U,1,changed\n").await;
    rehearse_then_load(&world).await;
}

/// Each part has an id of its own, which nothing has drawn.
#[tokio::test]
async fn of_parts_that_are_written_anew() {
    let world = World::with_table().await;
    let parts = [LOAD1, "e/LOAD00000002.csv.gz", "e/LOAD00000003.csv.gz"];
    for (number, part) in parts.iter().enumerate() {
        world.bucket.put(part, &format!("{number},a,1\n")).await;
    }
    run_once(&world).await.ok();
    world.bucket.put_later(parts[0], "0,b,1\n5,e,5\n").await;
    world.bucket.put(parts[1], "1,b,1\n").await;
    world.bucket.put(parts[2], "2,b,2\n").await;
    rehearse_then_load(&world).await;
}

#[tokio::test]
async fn a_dry_run_holds_what_the_real_run_would_hold() {
    let world = World::with_table().await;
    let rows = |from: u32, to: u32| (from..to).map(|id| format!("{id},n,1\n")).collect::<String>();
    let parts = [LOAD1, "e/LOAD00000002.csv.gz"];
    world.bucket.put(parts[0], &rows(0, 200)).await;
    world.bucket.put(parts[1], &rows(200, 400)).await;
    run_once(&world).await.ok();
    world.bucket.put_later(parts[0], &rows(0, 9)).await;
    world.bucket.put(parts[1], &rows(200, 209)).await;
    let (rehearsed, real) = (rehearse(&world).await, run_once(&world).await);
    for ended in [&rehearsed, &real] {
        assert_eq!(ended.code, 1, "{}", ended.log);
        assert!(ended.log.contains("would remove 382 of 400 rows"), "{}", ended.log);
    }
}

#[tokio::test]
async fn who_may_not_migrate_is_told_so_by_a_dry_run_too() {
    let world = World::with_table().await;
    world.sql("drop function loader_head; delete from loader_schema_history where version = 4").await;
    let ended = rehearse(&world).await;
    assert_eq!(ended.code, 78, "{}", ended.log);
    assert!(ended.log.contains("the loader's tables lack 1 migrations; run"), "{}", ended.log);
}

#[tokio::test]
async fn a_dry_run_fails_where_the_real_run_would() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,broken\n").await;
    let before = world.dump();
    let ended = rehearse(&world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains("line 2, column price"), "{}", ended.log);
    same(&before, &world.dump());
}

#[tokio::test]
async fn a_lease_held_elsewhere_is_told() {
    let world = World::with_table().await;
    run_once(&world).await.ok();
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.sql("begin; select pg_advisory_xact_lock(7365999, 'dbo.e'::regclass::oid::int)").await;
    for args in [&["run", "--dry-run"][..], &["run"][..]] {
        let mut command = program(&world);
        command.args(args);
        assert_eq!(run(command).await.code, 75);
    }
    world.sql("rollback").await;
    run_once(&world).await.ok();
}

#[tokio::test]
async fn a_deferred_constraint_fails_the_dry_run_too() {
    let world = World::with_deferred_constraint().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let ended = rehearse(&world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains("violates foreign key constraint"), "{}", ended.log);
}

#[tokio::test]
async fn a_table_that_others_lock_does_not_end_the_rehearsal_of_the_rest() {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key)").await;
    run_once(&world).await.ok();
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put("f/LOAD00000001.csv.gz", "1\n").await;
    world.sql("begin; lock table dbo.e in access exclusive mode").await;
    let ended = rehearse(&world).await;
    world.sql("rollback").await;
    assert_eq!(ended.code, 69, "{}", ended.log);
    assert!(ended.log.contains("dbo.e: deliver: canceling statement due to lock timeout"), "{}", ended.log);
    assert_eq!(ended.effects(), ["f (create: 1, amend: 0, remove: 0)."]);
}
