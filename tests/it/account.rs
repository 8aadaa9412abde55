//! Every file that the bucket showed has a row in the ledger, whatever became of it.

use crate::support::World;
use crate::support::program::{Ended, program, run, run_once};

const LOAD1: &str = "e/LOAD00000001.csv.gz";
const C1: &str = "e/20991231-235901000.csv.gz";
const C2: &str = "e/20991231-235902000.csv.gz";
const C3: &str = "e/20991231-235903000.csv.gz";

async fn fails(world: &World, words: &str) -> Ended {
    let ended = run_once(world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains(words), "{words:?} is not in\n{}", ended.log);
    ended
}

async fn command(world: &World, args: &[&str]) -> Ended {
    let mut command = program(world);
    command.args(args).env("USER", "operator");
    run(command).await
}

/// The ledger by id: the file's name without its ending, and its status.
async fn states(world: &World) -> Vec<String> {
    let sql = "select split_part(split_part(object_key, '/e/', 2), '.', 1) || ' ' || status
               from loader_deliveries order by id";
    world.rows(sql).await
}

/// A table with rows 1 to 3, a change file that fails and two that wait behind it.
async fn behind_a_stop() -> World {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,2\n3,c,3\n").await;
    run_once(&world).await.ok();
    world.bucket.put(C1, "U,bad,x,1\n").await;
    world.bucket.put(C2, "U,2,lost,2\n").await;
    world.bucket.put(C3, "U,3,kept,3\n").await;
    fails(&world, "line 1, column id").await;
    world
}

#[tokio::test]
async fn what_waits_behind_a_stop_has_a_row_and_stops_the_table_when_it_is_gone() {
    let world = behind_a_stop().await;
    let name = |file: &str| file.trim_start_matches("e/").trim_end_matches(".csv.gz").to_owned();
    let wanted = |states: [&str; 3]| {
        let files = [C1, C2, C3].into_iter().zip(states).map(|(file, status)| format!("{} {status}", name(file)));
        std::iter::once("LOAD00000001 loaded".to_owned()).chain(files).collect::<Vec<_>>()
    };
    assert_eq!(states(&world).await, wanted(["failed", "pending", "pending"]));
    world.bucket.delete(C1).await;
    world.bucket.delete(C2).await;
    let ended = fails(&world, "stopped by delivery 2, gone").await;
    assert!(ended.log.contains("Delivery 3: dbo.e: gone from the bucket before it was loaded."), "{}", ended.log);
    assert_eq!(states(&world).await, wanted(["gone", "gone", "pending"]));
    assert_eq!(world.rows("select name from dbo.e order by id").await, ["a", "b", "c"], "nothing over the hole");
    // it stays so, everywhere
    fails(&world, "stopped by delivery 2, gone").await;
    let status = command(&world, &["status"]).await;
    assert_eq!(status.code, 1);
    assert!(status.log.contains("dbo.e: delivery 2 is gone:"), "{}", status.log);
    assert!(status.log.contains("put the file into the bucket again"), "{}", status.log);
    // one comes back, the other is given up
    world.bucket.put(C2, "U,2,lost,2\n").await;
    let back = fails(&world, "stopped by delivery 2, gone").await;
    assert!(back.log.contains("Delivery 3: dbo.e: listed again, and pending."), "{}", back.log);
    command(&world, &["deliveries", "skip", "2", "--reason", "a test row"]).await.ok();
    run_once(&world).await.ok();
    assert_eq!(world.rows("select name from dbo.e order by id").await, ["a", "lost", "kept"]);
    assert_eq!(states(&world).await, wanted(["skipped", "loaded", "loaded"]));
}

#[tokio::test]
async fn what_is_replaced_behind_a_stop_keeps_its_row() {
    let world = behind_a_stop().await;
    world.bucket.put(C2, "U,2,other,2\n").await;
    fails(&world, "stopped by delivery 2, failed").await;
    let rows =
        world.rows("select id, status, reason like 'superseded%' from loader_deliveries where id > 2 order by id");
    assert_eq!(rows.await, ["3|skipped|t", "4|pending|∅", "5|pending|∅"]);
    world.bucket.put(C1, "U,1,good,1\n").await;
    let ended = run_once(&world).await.ok();
    assert!(ended.log.contains("Delivery 2: dbo.e: superseded by the version"), "{}", ended.log);
    assert_eq!(world.rows("select name from dbo.e order by id").await, ["good", "other", "kept"]);
}

#[tokio::test]
async fn a_full_load_that_contains_what_is_gone_ends_the_stop() {
    let world = behind_a_stop().await;
    world.bucket.delete(C1).await;
    world.bucket.delete(C2).await;
    fails(&world, "stopped by delivery 2, gone").await;
    world.bucket.put_later(LOAD1, "1,A,1\n2,B,2\n3,C,3\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows("select name from dbo.e order by id").await, ["A", "B", "C"]);
    let skipped = "select count(*) from loader_deliveries
                   where status = 'skipped' and actor = 'loader' and reason like 'contained in snapshot 2%'";
    assert_eq!(world.value(skipped).await, "3", "what is gone, and what is older and still there");
}

#[tokio::test]
async fn rows_are_written_for_files_that_there_is_no_room_for_and_for_none_without_a_table() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put("e/20991231-235800000.csv.gz", "U,bad,x,1\n").await;
    for minute in 10..40 {
        world.bucket.put(&format!("e/20991231-2359{minute}000.csv.gz"), "U,1,b,1\n").await;
    }
    world.bucket.put("nowhere/LOAD00000001.csv.gz", "1\n").await;
    fails(&world, "line 1, column id").await;
    let counts = "select status, count(*) from loader_deliveries group by status order by status";
    assert_eq!(world.rows(counts).await, ["failed|1", "loaded|1", "pending|30"]);
    assert_eq!(world.value("select count(*) from loader_deliveries where entity <> 'e'").await, "0");
    let ids =
        "select id from loader_deliveries order by object_key = (select min(object_key) from loader_deliveries), id";
    assert_eq!(world.rows(ids).await.len(), 32);
    let order = "select count(*) from (select id, lag(id) over (order by object_key) before from loader_deliveries
                 where kind = 'changes') l where before > id";
    assert_eq!(world.value(order).await, "0", "ids grow in load order");
}

#[tokio::test]
async fn a_version_that_comes_back_is_late_and_not_ignored() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put(C1, "U,1,first,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put(C1, "U,1,second,1\n").await;
    fails(&world, "late: ").await;
    command(&world, &["deliveries", "retry", "3"]).await.ok();
    run_once(&world).await.ok();
    assert_eq!(world.value("select name from dbo.e").await, "second");
    world.bucket.put(C1, "U,1,first,1\n").await;
    fails(&world, "late: ").await;
    command(&world, &["deliveries", "retry", "4"]).await.ok();
    run_once(&world).await.ok();
    assert_eq!(world.value("select name from dbo.e").await, "first");
    let rows = "select status, occurrence from loader_deliveries where kind = 'changes' order by id";
    assert_eq!(world.rows(rows).await, ["loaded|1", "loaded|1", "loaded|2"]);
    assert!(run_once(&world).await.ok().effects().is_empty());
}

/// A table with two rows that was loaded, and then got out of the loader's sight. A change file comes and goes meanwhile.
async fn out_of_sight(folder: &str, away: &str, back: &str) -> World {
    let world = World::with_table().await;
    let file = |name: &str| format!("{folder}/{name}");
    world.bucket.put(&file("LOAD00000001.csv.gz"), "1,a,1\n2,b,2\n").await;
    run_once(&world).await.ok();
    world.sql(away).await;
    world.bucket.put(&file("20991231-235901000.csv.gz"), "U,1,lost,1\n").await;
    run_once(&world).await;
    // a table that others inherit from is refused by name, and the file fails
    let unloaded = "select count(*) from loader_deliveries where status in ('pending', 'failed')";
    assert_eq!(world.value(unloaded).await, "1", "{away}");
    world.bucket.delete(&file("20991231-235901000.csv.gz")).await;
    world.bucket.put(&file("20991231-235902000.csv.gz"), "U,2,kept,2\n").await;
    world.sql(back).await;
    let ended = fails(&world, "stopped by delivery 2, gone").await;
    assert_eq!(world.rows("select name from dbo.e order by id").await, ["a", "b"], "{away}: {}", ended.log);
    world
}

#[tokio::test]
async fn what_comes_while_a_table_is_out_of_sight_is_not_forgotten() {
    let away = [
        ("e", "alter table dbo.e rename to away", "alter table dbo.away rename to e"),
        ("E", "create schema \"DBO\"; create table \"DBO\".e (x int)", "drop schema \"DBO\" cascade"),
        ("e", "alter schema dbo rename to away", "alter schema away rename to dbo"),
        ("e", "create table dbo.child () inherits (dbo.e)", "drop table dbo.child"),
    ];
    for (folder, away, back) in away {
        let world = out_of_sight(folder, away, back).await;
        command(&world, &["deliveries", "skip", "2", "--reason", "a test row"]).await.ok();
        run_once(&world).await.ok();
        assert_eq!(world.rows("select name from dbo.e order by id").await, ["a", "kept"]);
    }
}

#[tokio::test]
async fn a_dropped_table_keeps_the_rows_of_its_files() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    run_once(&world).await.ok();
    world.sql("drop table dbo.e").await;
    world.bucket.put(C1, "U,1,b,1\n").await;
    for _ in 0..2 {
        run_once(&world).await;
        assert_eq!(states(&world).await, ["LOAD00000001 loaded", "20991231-235901000 pending"]);
    }
    world.bucket.delete(C1).await;
    run_once(&world).await;
    assert_eq!(states(&world).await, ["LOAD00000001 loaded", "20991231-235901000 gone"]);
}

#[tokio::test]
async fn a_change_file_that_lies_there_unpacked_and_packed_is_applied_once() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let text = "U,1,b,1\n";
    world.bucket.put(C1, text).await;
    world.bucket.put_bytes(C1.trim_end_matches(".gz"), text.as_bytes().to_vec()).await;
    fails(&world, "are one change file, unpacked and packed, which must be applied once").await;
    assert_eq!(world.value("select name from dbo.e").await, "a");
    let late = world.value("select id from loader_deliveries where status = 'late'").await;
    command(&world, &["deliveries", "skip", &late, "--reason", "the packed one is right"]).await.ok();
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 1, remove: 0)."]);
    // loaded, and unpacked again
    world.bucket.put(C2, "U,1,c,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put_bytes(C2.trim_end_matches(".gz"), b"U,1,c,1\n".to_vec()).await;
    fails(&world, "is the same change file, unpacked or packed, and was applied before").await;
}
