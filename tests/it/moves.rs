//! Rows that move to another key, with cells that the file does not supply: one file, and late files folded in.

use crate::support::World;
use crate::support::program::{Ended, program, run};

const MOVES: &str = "columns=Op,id,a,b,BI_id before_image_prefix=BI_ no_supply=??";
const WITHOUT_B: &str = "columns=Op,id,a,BI_id before_image_prefix=BI_ no_supply=??";

async fn load(world: &World, feed: &str) -> Ended {
    let mut command = program(world);
    command.env("FEED", feed);
    run(command).await
}

async fn change(world: &World, minute: u32, text: &str) {
    world.bucket.put(&format!("e/20991231-23{minute:02}00000.csv.gz"), text).await;
}

async fn retry(world: &World, id: &str) {
    let mut command = program(world);
    command.args(["deliveries", "retry", id]);
    run(command).await.ok();
}

async fn table(world: &World) -> Vec<String> {
    world.rows("select * from dbo.e order by id").await
}

async fn with_rows(rows: &str) -> World {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, a text default 'x', b int default 7)").await;
    world.sql(&format!("insert into dbo.e values {rows}")).await;
    world
}

#[tokio::test]
async fn a_row_that_moves_onto_a_deleted_key_gets_nothing_of_what_was_there() {
    let world = with_rows("(6, 'old', 99)").await;
    change(&world, 1, "D,6,??,??,NULL\nI,5,new,??,NULL\nU,6,new,??,5\n").await;
    let ended = load(&world, MOVES).await.ok();
    assert_eq!(table(&world).await, ["6|new|7"], "{}", ended.log);
    assert_eq!(ended.effects(), ["e (create: 0, amend: 1, remove: 0)."], "{}", ended.log);
}

#[tokio::test]
async fn nor_in_a_column_that_the_feed_does_not_have() {
    let world = with_rows("(4, 'four', 44), (6, 'old', 99)").await;
    change(&world, 1, "D,6,??,NULL\nI,5,new,NULL\nU,6,new,5\nU,9,??,4\n").await;
    let ended = load(&world, WITHOUT_B).await;
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert_eq!(table(&world).await, ["6|new|7", "9|four|44"], "{}", ended.log);
}

#[tokio::test]
async fn what_moved_before_a_late_file_came_keeps_its_cells() {
    let world = with_rows("(1, 'A', 2), (4, 'B', 4), (7, 'C', 6)").await;
    change(&world, 2, "U,9,??,??,4\nU,4,??,??,1\n").await;
    load(&world, MOVES).await.ok();
    assert_eq!(table(&world).await, ["4|A|2", "7|C|6", "9|B|4"]);
    change(&world, 1, "U,7,late,??,7\n").await;
    assert_eq!(load(&world, MOVES).await.code, 1);
    retry(&world, "2").await;
    let ended = load(&world, MOVES).await.ok();
    assert_eq!(table(&world).await, ["4|A|2", "7|late|6", "9|B|4"], "{}", ended.log);
    assert_eq!(ended.effects(), ["e (create: 0, amend: 1, remove: 0)."], "{}", ended.log);
}

#[tokio::test]
async fn a_late_file_that_moves_what_was_overwritten_since_is_refused() {
    let world = with_rows("(1, 'A', 2)").await;
    change(&world, 2, "I,1,new,1,NULL\n").await;
    load(&world, MOVES).await.ok();
    change(&world, 1, "U,3,??,5,1\n").await;
    assert_eq!(load(&world, MOVES).await.code, 1);
    retry(&world, "2").await;
    let ended = load(&world, MOVES).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(
        ended.log.contains("cannot be folded in: it moves a row to another key without supplying column a"),
        "{}",
        ended.log
    );
    assert_eq!(table(&world).await, ["1|new|1"], "nothing is applied");
    let row = "select status, requested from loader_deliveries where id = 2";
    assert_eq!(world.value(row).await, "late|∅");
}

#[tokio::test]
async fn many_rows_move_and_fill_their_cells_from_where_they_were() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, a text, b text)").await;
    let rows = "insert into dbo.e select n, n::text, repeat(n::text || '-', 2000) from generate_series(1, 3000) n";
    world.sql(rows).await;
    let moves: String = (1..=3000).map(|n| format!("U,{},{n}!,??,{n}\n", n + 10_000)).collect();
    change(&world, 1, &moves).await;
    let ended = load(&world, MOVES).await.ok();
    assert_eq!(ended.effects(), ["e (create: 3000, amend: 0, remove: 3000)."], "{}", ended.log);
    let wrong = "select count(*) from dbo.e
        where a <> (id - 10000) || '!' or b <> repeat((id - 10000)::text || '-', 2000)";
    assert_eq!(world.value(wrong).await, "0");
}

/// Rows of the table, a change file, and the line that moves a row onto another one.
const ONTO_ANOTHER: &[(&str, &str, &str)] = &[
    // update e set id = id + 1
    ("(1, 'a', 1), (2, 'b', 2), (3, 'c', 3)", "U,2,a,1,1\nU,3,b,2,2\nU,4,c,3,3\n", "line 1"),
    ("(1, 'a', 1), (2, 'b', 2), (3, 'c', 3)", "U,4,c,3,3\nU,2,a,1,1\nU,3,b,2,2\n", "line 2"),
    // update e set id = 3 - id
    ("(1, 'a', 1), (2, 'b', 2)", "U,2,a,1,1\nU,1,b,2,2\n", "line 1"),
    // a circle of three
    ("(1, 'a', 1), (2, 'b', 2), (3, 'c', 3)", "U,2,a,1,1\nU,3,b,2,2\nU,1,c,3,3\n", "line 1"),
    // cells that the file does not supply
    ("(1, 'a', 1), (2, 'b', 2)", "U,2,??,??,1\nU,3,??,??,2\n", "line 1"),
    // the other half of the statement is in the next file
    ("(1, 'a', 1), (2, 'b', 2)", "U,2,a,1,1\n", "line 1"),
    ("(1, 'a', 1), (2, 'b', 2)", "U,1,z,1,1\nU,2,z,1,1\n", "line 2"),
    // the file itself says that a row is there
    ("(1, 'a', 1)", "I,2,b,2,NULL\nU,2,a,1,1\nU,3,b,2,2\n", "line 2"),
    ("(5, 'e', 5)", "I,1,a,1,NULL\nI,2,b,2,NULL\nU,2,a,1,1\nU,3,b,2,2\n", "line 3"),
];

#[tokio::test]
async fn a_row_that_moves_onto_another_one_is_refused_by_name() {
    for (rows, text, line) in ONTO_ANOTHER {
        let world = with_rows(rows).await;
        let before = table(&world).await;
        change(&world, 1, text).await;
        let ended = load(&world, MOVES).await;
        assert_eq!(ended.code, 1, "{text}{}\n{:?}", ended.log, table(&world).await);
        let words = format!("{line} moves a row to a key under which another row stands");
        assert!(ended.log.contains(&words), "{text}{}", ended.log);
        assert_eq!(table(&world).await, before, "{text}: nothing is applied");
        let row =
            "select status, error like '%put a new full load of the table into the bucket%' from loader_deliveries";
        assert_eq!(world.rows(row).await, ["failed|t"], "{text}{}", ended.log);
    }
}

/// Rows of the table, a change file that can be done row by row or was applied before, and the rows then.
const ROW_BY_ROW: &[(&str, &str, &[&str])] = &[
    // a shift from its far end
    (
        "(1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
        "U,4,c,3,3\nU,3,b,2,2\nU,2,a,1,1\nI,1,new,0,NULL\n",
        &["1|new|0", "2|a|1", "3|b|2", "4|c|3"],
    ),
    // a swap by way of a free key
    ("(1, 'a', 1), (2, 'b', 2)", "U,9,a,1,1\nU,1,b,2,2\nU,2,a,1,9\n", &["1|b|2", "2|a|1"]),
    // by free keys
    ("(1, 'a', 1), (5, 'e', 5)", "U,2,??,??,1\nU,3,??,??,2\nU,4,??,??,3\nD,5,,,\nU,5,??,??,4\n", &["5|a|1"]),
    // the full load was read after the row had moved, and after its old key was used again
    ("(2, 'a', 1)", "U,2,a,1,1\n", &["2|a|1"]),
    ("(1, 'c', 3), (2, 'a', 1)", "U,2,a,1,1\nI,1,c,3,NULL\n", &["1|c|3", "2|a|1"]),
    ("(3, 'a', 1)", "I,1,a,1,NULL\nU,2,a,1,1\nU,3,a,1,2\n", &["3|a|1"]),
    ("(3, 'a', 1)", "U,2,a,1,1\nU,3,a,1,2\nU,2,a,1,1\nU,3,a,1,2\n", &["3|a|1"]),
];

#[tokio::test]
async fn a_row_that_moves_to_a_free_key_or_moved_before_is_loaded() {
    for (rows, text, wanted) in ROW_BY_ROW {
        let world = with_rows(rows).await;
        change(&world, 1, text).await;
        let ended = load(&world, MOVES).await;
        assert_eq!(ended.code, 0, "{text}{}", ended.log);
        assert_eq!(table(&world).await, *wanted, "{text}{}", ended.log);
    }
}
