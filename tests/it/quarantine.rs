//! `ON_BAD_ROW=quarantine`: bad rows are kept aside, the rest of their file is loaded, and nothing is removed for them.

use std::process::Command;

use crate::support::World;
use crate::support::program::{Ended, program, run};

const LOAD: &str = "e/LOAD00000001.csv.gz";
const CHANGE: &str = "e/20991231-235900000.csv.gz";

fn lenient(world: &World, most: &str) -> Command {
    let mut command = program(world);
    command.env("ON_BAD_ROW", "quarantine").env("MAX_REJECTS", most);
    command
}

async fn load(world: &World) -> Ended {
    run(lenient(world, "100")).await
}

async fn rejects(world: &World) -> Vec<String> {
    world
        .rows(
            "select delivery_id, line, column_name, split_part(reason, ' (3', 1), encode(raw, 'escape') from loader_rejects
             order by delivery_id, object_key, line",
        )
        .await
}

#[tokio::test]
async fn bad_rows_are_kept_with_place_reason_and_bytes_and_the_rest_is_loaded() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n2,b,two\n3,c\n4,\"d \"\"x\"\"\",\"4.123\"\n5,\u{0},5\n6,f,6\n").await;
    let ended = load(&world).await.ok();
    assert_eq!(ended.effects(), ["e (create: 2, amend: 0, remove: 0)."]);
    assert!(ended.log.contains("4 rows were rejected"), "{}", ended.log);
    assert_eq!(
        rejects(&world).await,
        [
            "1|2|price|not a number|2,b,two",
            "1|3|∅|2 fields where 3 were expected|3,c",
            "1|4|price|more than 2 decimal places|4,\"d \"\"x\"\"\",\"4.123\"",
            "1|5|name|U+0000 at byte 1|5,\\000,5",
        ]
    );
    let row = world.value("select rows_read, rows_create, rows_rejected, status from loader_deliveries").await;
    assert_eq!(row, "6|2|4|loaded");
}

#[tokio::test]
async fn more_than_max_rejects_fails_the_delivery_and_keeps_nothing() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n2,b,two\n3,c,three\n").await;
    let ended = run(lenient(&world, "50%")).await;
    assert_eq!(ended.code, 1);
    let words = "2 of 3 rows are bad, more than MAX_REJECTS=50%; the first: line 2, column price: not a number";
    assert!(ended.log.contains(words), "{}", ended.log);
    assert_eq!(world.value("select count(*) from dbo.e").await, "0");
    assert_eq!(rejects(&world).await, Vec::<String>::new());
    let mut retry = program(&world);
    retry.args(["deliveries", "retry", "1"]);
    run(retry).await.ok();
    assert_eq!(run(lenient(&world, "2")).await.ok().effects(), ["e (create: 1, amend: 0, remove: 0)."]);
    assert_eq!(rejects(&world).await.len(), 2);
}

#[tokio::test]
async fn a_snapshot_leaves_alone_what_a_rejected_row_spoke_of() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n3,c,3\n").await;
    load(&world).await.ok();
    world.bucket.put_later(LOAD, "1,a,1\n2,b,two\n").await;
    assert_eq!(load(&world).await.ok().effects(), ["e (create: 0, amend: 0, remove: 1)."]);
    assert_eq!(world.rows("select * from dbo.e order by id").await, ["1|a|1.00", "2|b|2.00"]);
    let row =
        world.value("select rows_unchanged, rows_remove, rows_rejected from loader_deliveries where id = 2").await;
    assert_eq!(row, "1|1|1");
}

#[tokio::test]
async fn with_an_unreadable_key_a_snapshot_removes_nothing_until_it_is_released() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n3,c,3\n").await;
    load(&world).await.ok();
    world.bucket.put_later(LOAD, "1,a,1\ntwo,b,2\n3,d,3\n").await;
    let ended = load(&world).await;
    assert_eq!(ended.code, 1);
    assert!(
        ended.log.contains("would remove 1 of 3 rows: the keys of 1 rejected rows cannot be read"),
        "{}",
        ended.log
    );
    assert_eq!(world.value("select count(*) from dbo.e").await, "3");
    let mut release = program(&world);
    release.args(["deliveries", "release", "2"]);
    run(release).await.ok();
    assert_eq!(load(&world).await.ok().effects(), ["e (create: 0, amend: 1, remove: 1)."]);
    assert_eq!(rejects(&world).await, ["2|2|id|not an integer|two,b,2"]);
}

#[tokio::test]
async fn in_a_change_file_the_rejected_rows_change_nothing() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n").await;
    world.bucket.put(CHANGE, "U,1,c,x\nX,2,b,2\nD,two,,\nI,3,d,3\n").await;
    let effects = ["e (create: 2, amend: 0, remove: 0).", "e (create: 1, amend: 0, remove: 0)."];
    assert_eq!(load(&world).await.ok().effects(), effects);
    assert_eq!(world.rows("select id, name from dbo.e order by id").await, ["1|a", "2|b", "3|d"]);
    assert_eq!(rejects(&world).await.len(), 3);
}

#[tokio::test]
async fn what_only_postgres_can_read_is_rejected_row_by_row_too() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id inet primary key, tags int[], price numeric(6,2)[])").await;
    let rows: String = (0..500).map(|n| format!("10.0.{}.{},\"{{{n}}}\",\"{{1.5}}\"\n", n / 250, n % 250)).collect();
    world.bucket.put(LOAD, &rows).await;
    load(&world).await.ok();
    let bad = rows.replace("\"{7}\"", "seven").replace("\"{400}\"", "\"{4,\"").replace("10.0.0.99,", "nowhere,");
    world.bucket.put_later(LOAD, &bad).await;
    let ended = load(&world).await;
    assert!(ended.log.contains("would remove 1 of 500 rows: the keys of 1 rejected rows"), "{}", ended.log);
    world.bucket.put_later(LOAD, &bad.replace("nowhere,", "10.0.0.99,")).await;
    assert_eq!(load(&world).await.ok().effects(), ["e (create: 0, amend: 0, remove: 0)."]);
    let rejects = world.rows("select line, column_name, reason from loader_rejects order by line").await;
    assert_eq!(rejects, ["8|tags|no value of integer[] (22P02)", "401|tags|no value of integer[] (22P02)"]);
    assert_eq!(
        world.value("select rows_unchanged from loader_deliveries where status = 'loaded' and id > 1").await,
        "498"
    );
}

#[tokio::test]
async fn a_dry_run_keeps_no_rejects() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n2,b,two\n").await;
    let mut command = lenient(&world, "1");
    command.args(["run", "--dry-run"]);
    assert_eq!(run(command).await.ok().effects(), ["e (create: 1, amend: 0, remove: 0)."]);
    load(&world).await.ok();
    assert_eq!(rejects(&world).await.len(), 1);
}

#[tokio::test]
async fn the_form_of_the_file_is_no_fault_of_a_row() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n2,\"b,2\n").await;
    let ended = load(&world).await;
    assert!(ended.log.contains("line 2: a quote is opened in field 2 and never closed"), "{}", ended.log);
    assert_eq!(world.value("select count(*) from dbo.e").await, "0");
}

#[tokio::test]
async fn a_first_row_is_kept_aside_where_the_width_is_known() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a\n2,b,1\n").await;
    let ended = load(&world).await;
    assert_eq!(ended.code, 1);
    let words = "If only this row is bad: with FEED op= it is kept aside like others; without, the first row decides";
    assert!(ended.log.contains(words), "{}", ended.log);
    let mut retry = lenient(&world, "100");
    retry.args(["deliveries", "retry", "1"]);
    run(retry).await.ok();
    let mut said = lenient(&world, "100");
    said.env("FEED", "op=changes");
    run(said).await.ok();
    assert_eq!(world.value("select rows_read, rows_rejected from loader_deliveries").await, "2|1");
    // in a later part of a load it is known anyway
    world.bucket.put("e/LOAD00000002.csv.gz", "3,c,1\n").await;
    load(&world).await.ok();
    world.bucket.put_later(LOAD, "2,b,1\n").await;
    world.bucket.put("e/LOAD00000002.csv.gz", "1,a\n3,d,1\n").await;
    let ended = load(&world).await;
    assert!(ended.log.contains("rejected") && !ended.log.contains("1 fields, but"), "{}", ended.log);
    assert_eq!(world.value("select count(*) from loader_deliveries where status = 'failed'").await, "0");
}

#[tokio::test]
async fn a_before_image_before_a_bad_record_is_kept_aside_too() {
    let world = World::with_table().await;
    world.bucket.put(CHANGE, "header__change_oper,id,name,price\nB,1,one,1\nX,9,nine,9\nU,10,uno,1\n").await;
    let mut command = lenient(&world, "100");
    command.env("FEED", "header=True");
    let ended = run(command).await.ok();
    let row = world.value("select rows_read, rows_rejected, claimed from loader_deliveries").await;
    assert_eq!(row, r#"3|2|{"I":0,"U":1,"D":0}"#, "{}", ended.log);
    let lines = world.rows("select line, encode(raw, 'escape') from loader_rejects order by line").await;
    assert_eq!(lines, ["2|B,1,one,1", "3|X,9,nine,9"]);
}
