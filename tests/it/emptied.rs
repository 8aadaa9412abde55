//! Tables that are no longer what was loaded: emptied, dropped, renamed, rewritten, restored, or loaded by another feed.

use crate::support::World;
use crate::support::program::{Ended, program, run, run_once};

const LOAD: &str = "e/LOAD00000001.csv.gz";
const CHANGES: [&str; 3] =
    ["e/20991231-000001000.csv.gz", "e/20991231-000002000.csv.gz", "e/20991231-000003000.csv.gz"];

async fn ask(world: &World, arguments: &[&str]) -> Ended {
    let mut command = program(world);
    command.args(arguments);
    run(command).await
}

/// What was said, however its lines are broken.
fn flat(ended: &Ended) -> String {
    ended.log.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn says(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, code, "{}", ended.log);
    let said = flat(ended);
    words.iter().for_each(|words| assert!(said.contains(words), "{words:?} is not in\n{}", ended.log));
}

/// Three rows, one of them amended by a change file.
async fn loaded() -> World {
    let world = World::with_table().await;
    load(&world).await;
    world
}

async fn load(world: &World) {
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n").await;
    world.bucket.put(CHANGES[0], "U,2,later,2\nI,3,c,3\n").await;
    run_once(world).await.ok();
    assert_eq!(world.value("select rows_left from loader_tables").await, "3");
}

const ALL: &str = "select * from dbo.e order by id";

#[tokio::test]
async fn status_says_that_a_table_is_gone_also_while_a_file_of_it_waits() {
    let world = loaded().await;
    world.sql("drop table dbo.e").await;
    world.bucket.put(CHANGES[1], "U,1,z,1\n").await;
    says(&run_once(&world).await, 1, &["emptied"]);
    let status = ask(&world, &["status"]).await;
    says(&status, 1, &["dbo.e: the table is emptied", "there is no table dbo.e any more"]);
    assert!(!flat(&status).contains("create it"), "{}", status.log);
}

#[tokio::test]
async fn an_emptied_table_stops_before_anything_is_applied_and_a_reload_makes_it_whole() {
    let world = loaded().await;
    world.sql("truncate dbo.e").await;
    let status = ask(&world, &["status"]).await;
    says(
        &status,
        1,
        &["dbo.e: the table is emptied", "holds no row, though 3 rows were left", "`tables reload dbo.e`"],
    );
    let ended = run_once(&world).await;
    says(&ended, 1, &["dbo.e: dbo.e holds no row, though 3 rows were left", "1 table stopped"]);

    world.bucket.put(CHANGES[1], "U,1,z,1\n").await;
    says(&run_once(&world).await, 1, &["emptied"]);
    assert_eq!(world.value("select count(*) from dbo.e").await, "0", "nothing is applied to it");
    says(&ask(&world, &["status"]).await, 1, &["emptied", "`tables accept dbo.e --reason …`"]);
    says(&ask(&world, &["verify"]).await, 1, &["If the table was emptied or restored, `tables reload`"]);
    says(&ask(&world, &["tables", "list"]).await, 0, &["emptied dbo.e"]);

    let asked = ask(&world, &["tables", "reload", "e", "--actor", "ann"]).await;
    says(&asked, 0, &["dbo.e: reload requested by ann; the next iteration loads the table again."]);
    assert_eq!(world.value("select count(*) from dbo.e").await, "0", "it is only asked for");
    says(&ask(&world, &["status"]).await, 0, &["reload requested"]);
    let ended = run_once(&world).await.ok();
    let effects = [
        "e (create: 2, amend: 0, remove: 0).",
        "e (create: 1, amend: 1, remove: 0).",
        "e (create: 0, amend: 1, remove: 0).",
    ];
    assert_eq!(ended.effects(), effects, "{}", ended.log);
    assert_eq!(world.rows(ALL).await, ["1|z|1.00", "2|later|2.00", "3|c|3.00"]);
    let ledger = world.rows("select status, count(*), min(generation) from loader_deliveries group by status").await;
    assert_eq!(ledger, ["loaded|3|2"]);
    assert_eq!(world.rows("select status, requested, rows_left, actor from loader_tables").await, ["∅|∅|3|ann"]);
    says(&ask(&world, &["status"]).await, 0, &[]);
    says(&ask(&world, &["verify"]).await, 0, &["dbo.e: equal, 3 rows"]);
    assert!(run_once(&world).await.ok().effects().is_empty(), "nothing is left to do");
}

#[tokio::test]
async fn a_dropped_or_renamed_table_is_said_without_a_file_that_waits_and_goes_on_once_it_is_back() {
    let world = loaded().await;
    world.sql("alter table dbo.e rename to f").await;
    says(&run_once(&world).await, 1, &["there is no table dbo.e any more", "dropped or renamed"]);
    says(&ask(&world, &["status"]).await, 1, &["emptied", "there is no table dbo.e any more"]);
    world.sql("alter table dbo.f rename to e").await;
    says(&run_once(&world).await, 0, &["is what was left in it again"]);

    world.sql("alter table dbo.e rename to f; create table dbo.e (like dbo.f including all)").await;
    world.bucket.put(CHANGES[1], "I,9,new,9\n").await;
    says(&run_once(&world).await, 1, &["another table than the one that was loaded"]);
    assert_eq!(world.value("select count(*) from dbo.e").await, "0");
    world.sql("drop table dbo.e").await;
    says(&run_once(&world).await, 1, &["there is no table dbo.e any more"]);
    world.sql("create table dbo.e (like dbo.f including all)").await;
    says(&run_once(&world).await, 1, &["holds no row"]);
    says(&ask(&world, &["tables", "reload", "dbo.e"]).await, 0, &[]);
    run_once(&world).await.ok();
    assert_eq!(world.rows(ALL).await, ["1|a|1.00", "2|later|2.00", "3|c|3.00", "9|new|9.00"]);
}

#[tokio::test]
async fn a_rewritten_or_restored_table_with_its_rows_goes_on_and_one_with_others_stops() {
    let world = loaded().await;
    world.sql("vacuum full dbo.e").await;
    world.bucket.put(CHANGES[1], "I,4,d,4\n").await;
    says(&run_once(&world).await.ok(), 0, &["storage was replaced by others; it holds 3 rows as before"]);
    assert_eq!(world.value("select rows_left from loader_tables").await, "4");
    // as a backup brings it back: the same rows in another table
    let copy = "create table dbo.f (like dbo.e including all); insert into dbo.f select * from dbo.e;
        drop table dbo.e; alter table dbo.f rename to e";
    world.sql(copy).await;
    says(&run_once(&world).await.ok(), 0, &["it holds 4 rows as before"]);
    assert!(!run_once(&world).await.ok().log.contains("as before"), "it is said once");

    world.sql("truncate dbo.e; insert into dbo.e values (1, 'a', 1)").await;
    world.bucket.put(CHANGES[2], "I,5,e,5\n").await;
    says(&run_once(&world).await, 1, &["holds 1 rows, though 4 rows were left", "changed"]);
    assert_eq!(world.value("select count(*) from dbo.e").await, "1");
    says(&ask(&world, &["tables", "accept", "e"]).await, 2, &["--reason"]);
    let accept = ["tables", "accept", "e", "--reason", "pruned", "--actor", "bob"];
    says(&ask(&world, &accept).await, 0, &["accepted by bob"]);
    let ended = run_once(&world).await.ok();
    says(&ended, 0, &["accepted with 1 rows by bob: pruned"]);
    assert_eq!(world.rows("select id from dbo.e order by id").await, ["1", "5"]);
    assert_eq!(world.rows("select actor, reason, rows_left from loader_tables").await, ["bob|pruned|2"]);
    says(&ask(&world, &accept).await, 1, &["there is nothing to accept"]);
    says(&ask(&world, &["tables", "reload", "x"]).await, 1, &["no table that this feed has loaded", "dbo.e"]);
}

#[tokio::test]
async fn a_table_that_is_restored_after_it_was_emptied_goes_on() {
    let world = loaded().await;
    world.sql("create table kept as select * from dbo.e; truncate dbo.e").await;
    says(&run_once(&world).await, 1, &["emptied"]);
    world.sql("insert into dbo.e select * from kept").await;
    says(&run_once(&world).await, 0, &["is what was left in it again, with 3 rows"]);
}

/// Another table under the same name: only the number of its rows tells.
#[tokio::test]
async fn a_table_swapped_for_another_of_its_shape_stops_if_its_rows_are_more_or_fewer() {
    let world = loaded().await;
    let other = "create table dbo.f (like dbo.e including all); insert into dbo.f values (7, 'g', 7), (8, 'h', 8)";
    let swap = "alter table dbo.e rename to x; alter table dbo.f rename to e; alter table dbo.x rename to f";
    world.sql(other).await;
    world.sql(swap).await;
    world.bucket.put(CHANGES[1], "I,9,n,9\n").await;
    says(&run_once(&world).await, 1, &["dbo.e was rewritten by others and holds 2 rows", "changed"]);
    assert_eq!(world.rows("select id from dbo.e order by id").await, ["7", "8"], "nothing is applied to it");
    world.sql(swap).await;
    says(&run_once(&world).await, 0, &["is what was left in it again, with 3 rows"]);
    assert_eq!(world.rows("select id from dbo.e order by id").await, ["1", "2", "3", "9"]);

    world.sql("insert into dbo.f values (10, 'i', 1), (11, 'j', 1)").await;
    world.sql(swap).await;
    says(&run_once(&world).await, 0, &["it holds 4 rows as before", "`verify dbo.e` tells whether"]);
    says(&ask(&world, &["verify"]).await, 1, &["dbo.e: differs"]);
}

/// Table, ledger and notes come from one older backup: what was loaded since is loaded again, and nothing else.
#[tokio::test]
async fn a_backup_with_its_ledger_gets_what_it_lacks() {
    let world = loaded().await;
    let own = ["loader_deliveries", "loader_notifications", "loader_tables"];
    world.sql("create table dbo.kept (like dbo.e including all); insert into dbo.kept select * from dbo.e").await;
    for table in own {
        world.sql(&format!("create table kept_{table} as table {table}")).await;
    }
    world.bucket.put(CHANGES[1], "U,1,z,1\nD,3,,\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.value("select rows_left from loader_tables").await, "2");
    world.sql("drop table dbo.e; alter table dbo.kept rename to e").await;
    for table in own.iter().rev() {
        world.sql(&format!("delete from {table}")).await;
    }
    for table in own {
        let restore = format!("insert into {table} overriding system value select * from kept_{table}");
        world.sql(&restore).await;
    }
    let ended = run_once(&world).await.ok();
    says(&ended, 0, &["it holds 3 rows as before"]);
    assert_eq!(ended.effects(), ["e (create: 0, amend: 1, remove: 1)."], "{}", ended.log);
    assert_eq!(world.rows(ALL).await, ["1|z|1.00", "2|later|2.00"]);
    says(&ask(&world, &["verify"]).await, 0, &["dbo.e: equal, 2 rows"]);
}

#[tokio::test]
async fn a_reload_needs_the_files_that_made_the_table() {
    let world = loaded().await;
    world.bucket.put(CHANGES[1], "U,1,z,1\n").await;
    run_once(&world).await.ok();
    world.bucket.delete(CHANGES[0]).await;
    world.sql("truncate dbo.e").await;
    says(&run_once(&world).await, 1, &["emptied"]);
    says(&ask(&world, &["tables", "reload", "e"]).await, 0, &[]);
    says(&run_once(&world).await, 1, &["cannot be loaded again", "20991231-000001000.csv.gz"]);
    says(&ask(&world, &["status"]).await, 1, &["cannot be loaded again", "put a new full load"]);
    assert_eq!(world.value("select count(*) from dbo.e").await, "0");
    world.bucket.put_later(LOAD, "7,g,7\n").await;
    says(&run_once(&world).await, 1, &["emptied"]);
    says(&ask(&world, &["tables", "reload", "e"]).await, 0, &[]);
    run_once(&world).await.ok();
    assert_eq!(world.rows(ALL).await, ["7|g|7.00"]);
}

/// A change file goes away after its table was made ready to be loaded again, and before it is: as a run that is killed in
/// between leaves it.
#[tokio::test]
async fn a_change_file_that_goes_before_its_table_is_loaded_again_stops_it() {
    let world = loaded().await;
    world.bucket.put(CHANGES[1], "U,1,z,1\n").await;
    run_once(&world).await.ok();
    world.sql("truncate dbo.e").await;
    says(&ask(&world, &["tables", "reload", "e"]).await, 0, &[]);
    let marked = "update loader_deliveries set status = 'skipped', actor = 'loader',
        reason = 'superseded: to be loaded again by `tables reload`'";
    world.sql(marked).await;
    world.bucket.delete(CHANGES[0]).await;
    says(&run_once(&world).await, 1, &["1 table stopped"]);
    let gone = world.rows("select id, error from loader_deliveries where status = 'gone'").await;
    assert_eq!(gone, ["2|gone from the bucket before it was loaded again"]);
    assert_eq!(world.value("select count(*) from dbo.e").await, "0", "nothing is loaded over the hole");
    says(&ask(&world, &["deliveries", "skip", "2", "--reason", "lost"]).await, 0, &[]);
    run_once(&world).await.ok();
    assert_eq!(world.rows(ALL).await, ["1|z|1.00", "2|b|2.00"]);
}

#[tokio::test]
async fn a_table_of_an_older_ledger_is_noted_as_it_is_and_stopped_if_it_lost_its_rows() {
    let world = loaded().await;
    world.sql("delete from loader_tables").await;
    run_once(&world).await.ok();
    assert_eq!(world.value("select rows_left from loader_tables").await, "3");
    world.sql("delete from loader_tables; truncate dbo.e").await;
    world.bucket.put(CHANGES[1], "I,4,d,4\n").await;
    says(&run_once(&world).await, 1, &["emptied"]);
    assert_eq!(world.value("select count(*) from dbo.e").await, "0");
    world.sql("delete from loader_tables; drop table dbo.e").await;
    says(&run_once(&world).await, 1, &["there is no table dbo.e any more"]);
}

#[tokio::test]
async fn a_table_without_a_key_and_one_in_partitions_are_watched_and_loaded_again() {
    let world = World::new().await;
    world
        .sql(
            "create schema dbo; create table dbo.k (a int, b text);
             create table dbo.e (id int primary key, v text) partition by range (id);
             create table dbo.e1 partition of dbo.e for values from (0) to (10);
             create table dbo.e2 partition of dbo.e for values from (10) to (20)",
        )
        .await;
    world.bucket.put("k/LOAD00000001.csv.gz", "1,x\n1,x\n").await;
    world.bucket.put(LOAD, "1,a\n11,b\n").await;
    run_once(&world).await.ok();
    world.sql("create table dbo.e3 partition of dbo.e for values from (20) to (30)").await;
    says(&run_once(&world).await, 0, &["dbo.e: its storage was replaced by others; it holds 2 rows as before"]);
    world.sql("alter table dbo.e detach partition dbo.e2").await;
    says(&run_once(&world).await, 1, &["dbo.e was rewritten by others and holds 1 rows"]);
    world.sql("alter table dbo.e attach partition dbo.e2 for values from (10) to (20)").await;
    says(&run_once(&world).await, 0, &["dbo.e: is what was left in it again"]);
    world.sql("truncate dbo.k, dbo.e1").await;
    says(
        &run_once(&world).await,
        1,
        &["dbo.k holds no row", "dbo.e was rewritten by others and holds 1 rows", "2 tables stopped"],
    );
    for table in ["k", "e"] {
        says(&ask(&world, &["tables", "reload", table]).await, 0, &[]);
    }
    run_once(&world).await.ok();
    assert_eq!(world.rows("select * from dbo.k").await, ["1|x", "1|x"]);
    assert_eq!(world.rows("select * from dbo.e order by id").await, ["1|a", "11|b"]);
}

#[tokio::test]
async fn a_table_that_another_feed_loaded_waits_until_it_is_accepted() {
    let world = loaded().await;
    let elsewhere = |world: &World| {
        let mut command = program(world);
        command.env("TARGET_SCHEMA", "dbo");
        command
    };
    world.bucket.put(CHANGES[1], "U,1,z,1\n").await;
    let ended = run(elsewhere(&world)).await;
    says(&ended, 1, &["another feed loaded dbo.e last", "moved"]);
    assert_eq!(world.rows(ALL).await[0], "1|a|1.00", "nothing is applied");
    let mut accept = elsewhere(&world);
    accept.args(["tables", "accept", "e", "--reason", "it is the same feed"]);
    run(accept).await.ok();
    run(elsewhere(&world)).await.ok();
    assert_eq!(world.rows(ALL).await, ["1|z|1.00", "2|later|2.00", "3|c|3.00"]);
    world.bucket.put(CHANGES[2], "U,1,y,1\n").await;
    says(&run_once(&world).await, 1, &["another feed loaded dbo.e last"]);
}

#[tokio::test]
async fn a_dry_run_finds_it_and_leaves_nothing() {
    let world = loaded().await;
    world.sql("truncate dbo.e").await;
    world.bucket.put(CHANGES[1], "U,1,z,1\n").await;
    let before = world.dump();
    let mut rehearsal = program(&world);
    rehearsal.env("DRY_RUN", "True");
    says(&run(rehearsal).await, 1, &["holds no row", "In a real run this table would stop"]);
    assert_eq!(before, world.dump());
}

#[tokio::test]
async fn a_load_that_is_rolled_back_leaves_the_numbers_as_they_were() {
    let world = loaded().await;
    let before = world.value("select t::text from loader_tables t").await;
    world.bucket.put(CHANGES[1], "I,8,ok,8\nI,9,bad,x\n").await;
    says(&run_once(&world).await, 1, &["line 2"]);
    assert_eq!(world.value("select t::text from loader_tables t").await, before);
}

const REFUSED: &str = "cannot be loaded again: the bucket does not have its full load any more";

/// Asks for a healthy table to be loaded again, and has its files made pending by a run that does not wait until it is quiet.
async fn asked_and_not_quiet() -> World {
    let world = loaded().await;
    world.bucket.put(CHANGES[1], "U,1,z,1\nD,3,,\nI,3,new,3\n").await;
    run_once(&world).await.ok();
    says(&ask(&world, &["tables", "reload", "e"]).await, 0, &[]);
    not_quiet(&world).await;
    assert_eq!(world.value("select count(*) from loader_deliveries where status = 'loaded'").await, "0");
    world
}

async fn not_quiet(world: &World) -> Ended {
    let mut command = program(world);
    command.args(["run", "--once", "--no-wait"]).env("SETTLE", "60");
    run(command).await
}

const LEDGER: &str =
    "select status, generation, rows_create, rows_amend, rows_remove from loader_deliveries order by id";

/// What was asked for cannot be done any more: ledger and table are as if it had not been asked for, and it is said.
#[tokio::test]
async fn a_reload_that_is_refused_after_its_files_were_made_pending_leaves_the_ledger_as_it_was() {
    for stops in [false, true] {
        let world = asked_and_not_quiet().await;
        let before = world.rows(ALL).await;
        world.bucket.delete(LOAD).await;
        if stops {
            world.sql("truncate dbo.e").await;
        }
        for _ in 0..3 {
            let ended = not_quiet(&world).await;
            assert!(ended.effects().is_empty(), "{}", ended.log);
        }
        let ledger = world.rows(LEDGER).await;
        assert_eq!(ledger, ["loaded|1|2|0|0", "loaded|1|1|1|0", "loaded|1|0|2|0"]);
        if stops {
            assert_eq!(world.value("select count(*) from dbo.e").await, "0");
            says(&ask(&world, &["status"]).await, 1, &["emptied"]);
            continue;
        }
        assert_eq!(world.rows(ALL).await, before);
        // what comes next is applied, once
        world.bucket.put(CHANGES[2], "U,2,last,2\n").await;
        let ended = run_once(&world).await.ok();
        assert_eq!(ended.effects(), ["e (create: 0, amend: 1, remove: 0)."], "{}", ended.log);
        assert_eq!(world.rows(ALL).await, ["1|z|1.00", "2|last|2.00", "3|new|3.00"]);
    }
}

#[tokio::test]
async fn a_refused_reload_ends_the_run_with_an_error_and_status_says_why() {
    let world = asked_and_not_quiet().await;
    world.bucket.delete(LOAD).await;
    says(&not_quiet(&world).await, 1, &[REFUSED, "its files count as loaded, as before"]);
    says(
        &ask(&world, &["tables", "list"]).await,
        0,
        &["it cannot be loaded again: the bucket does not have its full load"],
    );
    says(&ask(&world, &["status"]).await, 0, &[]);
    says(&not_quiet(&world).await, 0, &[]);
    // a healthy table of which nothing was made pending yet
    says(&ask(&world, &["tables", "reload", "e"]).await, 0, &[]);
    says(&not_quiet(&world).await, 1, &[REFUSED]);
    assert_eq!(world.rows("select distinct status from loader_deliveries").await, ["loaded"]);
}

/// What was made pending is not loaded again if the table is accepted meanwhile.
#[tokio::test]
async fn a_table_that_is_accepted_before_it_is_loaded_again_keeps_what_it_holds() {
    let world = asked_and_not_quiet().await;
    let before = world.rows(ALL).await;
    world.sql("create table dbo.f (like dbo.e including all); insert into dbo.f select * from dbo.e").await;
    world.sql("insert into dbo.f values (7, 'g', 7); drop table dbo.e; alter table dbo.f rename to e").await;
    world.sql("update loader_tables set requested = null").await;
    says(&not_quiet(&world).await, 1, &["changed"]);
    says(&ask(&world, &["tables", "accept", "e", "--reason", "mine"]).await, 0, &[]);
    world.bucket.delete(LOAD).await;
    let ended = not_quiet(&world).await.ok();
    assert!(ended.effects().is_empty(), "{}", ended.log);
    assert_eq!(world.rows(ALL).await, [before, vec!["7|g|7.00".to_owned()]].concat());
    assert_eq!(world.rows(LEDGER).await, ["loaded|1|2|0|0", "loaded|1|1|1|0", "loaded|1|0|2|0"]);
}

/// A change file that is not there any more counts as loaded again, too.
#[tokio::test]
async fn a_change_file_that_went_too_is_loaded_as_before() {
    let world = asked_and_not_quiet().await;
    world.bucket.delete(LOAD).await;
    world.bucket.delete(CHANGES[0]).await;
    not_quiet(&world).await;
    says(&not_quiet(&world).await, 0, &[]);
    assert_eq!(world.rows(LEDGER).await, ["loaded|1|2|0|0", "loaded|1|1|1|0", "loaded|1|0|2|0"]);
    says(&ask(&world, &["status"]).await, 0, &[]);
}
