//! Cells that a file does not supply, and rows that move from key to key.

use std::process::Command;

use crate::support::World;
use crate::support::program::{Ended, program, run};

const LOAD: &str = "LOAD00000001.csv.gz";

fn with(world: &World, feed: &str) -> Command {
    let mut command = program(world);
    command.env("FEED", feed);
    command
}

async fn load(world: &World, feed: &str) -> Ended {
    run(with(world, feed)).await
}

async fn change(world: &World, minute: u32, text: &str) {
    world.bucket.put(&format!("e/20991231-23{minute:02}00000.csv.gz"), text).await;
}

async fn table(world: &World) -> Vec<String> {
    world.rows("select * from dbo.e order by id").await
}

/// `dbo.e (id, a default 'x', b default 7)` with the rows 1 and 2.
async fn loaded() -> World {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, a text default 'x', b int default 7)").await;
    world.bucket.put(&format!("e/{LOAD}"), "1,one,1\n2,two,2\n").await;
    run(program(&world)).await.ok();
    world
}

const NO_SUPPLY: &str = "no_supply=??";

#[tokio::test]
async fn a_cell_that_is_not_supplied_keeps_what_the_table_has_or_gets_the_columns_default() {
    let world = loaded().await;
    change(&world, 1, "U,1,??,5\nU,2,NULL,??\nI,3,??,??\nI,4,four,??\n").await;
    let ended = load(&world, NO_SUPPLY).await.ok();
    assert_eq!(ended.effects(), ["e (create: 2, amend: 2, remove: 0)."]);
    assert_eq!(table(&world).await, ["1|one|5", "2|∅|2", "3|x|7", "4|four|7"]);
    change(&world, 2, "U,1,??,5\nU,4,??,??\n").await;
    assert_eq!(load(&world, NO_SUPPLY).await.ok().effects(), ["e (create: 0, amend: 0, remove: 0)."]);
}

#[tokio::test]
async fn what_happens_to_a_key_in_one_file_is_folded_cell_by_cell() {
    let world = loaded().await;
    let text =
        "U,1,a,??\nU,1,??,8\nU,1,??,9\nD,2,,\nI,2,??,3\nI,3,c,3\nU,3,??,4\nI,5,e,5\nD,5,,\nI,6,f,6\nD,6,,\nI,6,??,1\n";
    change(&world, 1, text).await;
    load(&world, NO_SUPPLY).await.ok();
    // what was deleted in between has no old cells: 2 and 6 get the default
    assert_eq!(table(&world).await, ["1|a|9", "2|x|3", "3|c|4", "6|x|1"]);
    let claimed = world.value("select claimed from loader_deliveries where kind = 'changes'").await;
    assert_eq!(claimed, r#"{"I":5,"U":4,"D":3}"#);
}

#[tokio::test]
async fn a_key_must_be_supplied_and_so_must_every_cell_of_a_full_load() {
    let world = loaded().await;
    change(&world, 1, "U,??,a,1\n").await;
    let ended = load(&world, NO_SUPPLY).await;
    assert_eq!(ended.code, 1);
    assert!(ended.log.contains("line 1, column id: not supplied"), "{}", ended.log);
    world.bucket.delete("e/20991231-230100000.csv.gz").await;
    world.bucket.put_later(&format!("e/{LOAD}"), "1,??,1\n2,two,2\n").await;
    let ended = load(&world, NO_SUPPLY).await;
    assert_eq!(ended.code, 1);
    assert!(ended.log.contains("not supplied"), "{}", ended.log);
    assert_eq!(table(&world).await, ["1|one|1", "2|two|2"]);
}

#[tokio::test]
async fn columns_that_the_file_does_not_have_keep_their_values_and_new_rows_get_defaults() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, a text default 'x', b int default 7)").await;
    let feed = "columns=b,id";
    world.bucket.put(&format!("e/{LOAD}"), "1,1\n2,2\n").await;
    assert_eq!(load(&world, feed).await.ok().effects(), ["e (create: 2, amend: 0, remove: 0)."]);
    assert_eq!(table(&world).await, ["1|x|1", "2|x|2"]);
    world.sql("update dbo.e set a = 'mine' where id = 1").await;
    world.bucket.put_later(&format!("e/{LOAD}"), "3,1\n2,2\n9,9\n").await;
    assert_eq!(load(&world, feed).await.ok().effects(), ["e (create: 1, amend: 1, remove: 0)."]);
    assert_eq!(table(&world).await, ["1|mine|3", "2|x|2", "9|x|9"]);
    change(&world, 1, "U,4,1\nI,5,10\nD,2,2\n").await;
    assert_eq!(load(&world, feed).await.ok().effects(), ["e (create: 1, amend: 1, remove: 1)."]);
    assert_eq!(table(&world).await, ["1|mine|4", "9|x|9", "10|x|5"]);
}

const MOVES: &str = "columns=Op,id,a,b,BI_id before_image_prefix=BI_ no_supply=??";

#[tokio::test]
async fn a_row_that_moves_to_another_key_is_removed_and_created() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, a text default 'x', b int default 7)").await;
    world.sql("insert into dbo.e values (1, 'one', 1), (2, 'two', 2), (3, 'three', 3)").await;
    change(&world, 1, "U,10,uno,1,1\nU,2,zwei,2,2\nI,4,four,4,??\nU,3,drei,3,NULL\n").await;
    let ended = load(&world, MOVES).await.ok();
    assert_eq!(ended.effects(), ["e (create: 2, amend: 2, remove: 1)."]);
    assert_eq!(table(&world).await, ["2|zwei|2", "3|drei|3", "4|four|4", "10|uno|1"]);
}

#[tokio::test]
async fn a_moved_row_carries_its_cells_along_through_chains_swaps_and_returns() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, a text default 'x', b int default 7)").await;
    world.sql("insert into dbo.e values (1, 'one', 1), (2, 'two', 2), (3, 'three', 3), (4, 'four', 4)").await;
    // 1 → 11 → 12, its b set on the way; 2 and 3 change places by way of 99; 4 goes and comes back; 77 was never there
    let text = "U,11,??,??,1\nU,11,??,21,11\nU,12,??,??,11\n\
        U,99,??,??,2\nU,2,??,??,3\nU,3,??,??,99\n\
        U,40,??,??,4\nU,40,vier,??,40\nU,4,??,??,40\n\
        U,78,new,??,77\n";
    change(&world, 1, text).await;
    let ended = load(&world, MOVES).await.ok();
    assert_eq!(table(&world).await, ["2|three|3", "3|two|2", "4|vier|4", "12|one|21", "78|new|7"]);
    assert_eq!(ended.effects(), ["e (create: 2, amend: 3, remove: 1)."]);
}

#[tokio::test]
async fn a_row_that_moves_after_it_was_made_or_deleted_in_the_same_file() {
    let world = loaded().await;
    let text = "I,5,five,5,??\nU,6,??,??,5\nD,1,,,\nU,7,??,8,1\n";
    change(&world, 1, text).await;
    load(&world, MOVES).await.ok();
    assert_eq!(table(&world).await, ["2|two|2", "6|five|5", "7|x|8"]);
}

#[tokio::test]
async fn moves_and_missing_cells_work_for_types_that_only_postgres_reads() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id inet primary key, a int[] default '{0}', b text)").await;
    world.sql("insert into dbo.e values ('10.0.0.1', '{1}', 'one'), ('10.0.0.2', '{2}', 'two')").await;
    change(&world, 1, "U,10.0.0.9,??,nine,10.0.0.1\nU,10.0.0.2,??,zwei,??\nI,10.0.0.3,??,three,??\n").await;
    load(&world, MOVES).await.ok();
    assert_eq!(table(&world).await, ["10.0.0.2|{2}|zwei", "10.0.0.3|{0}|three", "10.0.0.9|{1}|nine"]);
}
