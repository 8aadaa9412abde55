//! Files that are not written as DMS writes them by default: what FEED says is what the tables get.

use crate::support::World;
use crate::support::program::{Ended, program, run};

const LOAD1: &str = "e/LOAD00000001.csv.gz";
const CHANGE: &str = "e/20991231-235900000.csv.gz";

async fn run_as(world: &World, feed: &str) -> Ended {
    let mut command = program(world);
    command.env("FEED", feed);
    run(command).await
}

#[track_caller]
fn stopped(ended: &Ended, words: &str) {
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains(words), "{words:?} is not in\n{}", ended.log);
}

async fn table(world: &World) -> String {
    world.rows("select * from dbo.e order by id").await.join(" ")
}

async fn retry(world: &World, id: &str) {
    let mut command = program(world);
    command.args(["deliveries", "retry", id]).env("USER", "operator");
    run(command).await.ok();
}

/// Loads a full load and a change file with the same FEED; what the table holds then.
async fn loads(feed: &str, load: &str, changes: &str) -> String {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, load).await;
    world.bucket.put(CHANGE, changes).await;
    let ended = run_as(&world, feed).await;
    assert_eq!(ended.code, 0, "{feed}: {}", ended.log);
    table(&world).await
}

#[tokio::test]
async fn a_header_names_the_columns_in_any_order() {
    let load = "price,id,name\n1,1,one\n2,2,two\n";
    let got = loads("header=True", load, "Op,NAME,id,price\nU,uno,1,1\nD,x,2,NULL\n").await;
    assert_eq!(got, "1|uno|1.00");
}

#[tokio::test]
async fn a_header_that_nobody_spoke_of_stops_the_table() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "id,name,price\n1,one,1\n").await;
    let words = "line 1 looks like a header; write FEED header=True (or header=False if it is a row)";
    stopped(&run_as(&world, "").await, words);
    assert_eq!(table(&world).await, "");
    retry(&world, "1").await;
    run_as(&world, "header=True").await.ok();
    assert_eq!(table(&world).await, "1|one|1.00");
}

#[tokio::test]
async fn a_header_that_drifts_stops_the_table_until_the_table_follows() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "id,name,price\n1,one,1\n").await;
    run_as(&world, "header=True").await.ok();
    world.bucket.put(CHANGE, "Op,id,name,colour\nI,2,two,red\n").await;
    let words = "line 1: the header differs from table dbo.e: the file has colour, which the table lacks; the table has price, which \
                 the file lacks.";
    stopped(&run_as(&world, "header=True").await, words);
    assert_eq!(table(&world).await, "1|one|1.00");

    world.sql("alter table dbo.e drop column price; alter table dbo.e add column colour text").await;
    stopped(&run_as(&world, "header=True").await, "stopped by delivery 2, failed");
    retry(&world, "2").await;
    run_as(&world, "header=True").await.ok();
    assert_eq!(table(&world).await, "1|one|∅ 2|two|red");
    assert_eq!(world.ledger().await[1], "20991231-235900000.csv.gz|loaded|1/0/0/0");
}

#[tokio::test]
async fn a_column_that_comes_without_a_header_stops_the_table_until_the_table_follows() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,one,1,red\n").await;
    let words = "line 1: 4 fields, but the table has 3 columns to fill (3 fields, or 4 with an op in front, which the first field is \
                 not): id … price. The file has 1 column more: add the column to the table (alter table), then `deliveries retry`";
    stopped(&run_as(&world, "").await, words);
    world.sql("alter table dbo.e add column colour text").await;
    retry(&world, "1").await;
    run_as(&world, "").await.ok();
    assert_eq!(table(&world).await, "1|one|1.00|red");
}

#[tokio::test]
async fn the_op_stands_where_feed_says() {
    let bare = "1,one,1\n2,two,2\n";
    let front = "I,1,one,1\nI,2,two,2\n";
    let ops = "U,1,uno,1\nD,2,x,NULL\n";
    for (feed, load) in [("", bare), ("", front), ("op=changes", bare), ("op=always", front)] {
        assert_eq!(loads(feed, load, ops).await, "1|uno|1.00", "{feed}");
    }
    for (feed, load, changes) in
        [("", bare, "3,drei,3\n"), ("op=never", bare, "3,drei,3\n"), ("", front, "I,3,drei,3\n")]
    {
        assert_eq!(loads(feed, load, changes).await, "1|one|1.00 2|two|2.00 3|drei|3.00", "{feed}");
    }
    for (feed, words) in [
        ("op=always", "line 1: 3 fields, but the table has 3 columns to fill (4 fields with the op in front)"),
        ("op=changes header=True", "line 1: no header: no column of table dbo.e (id … price) is named in it"),
    ] {
        let world = World::with_table().await;
        world.bucket.put(LOAD1, bare).await;
        stopped(&run_as(&world, feed).await, words);
        assert_eq!(table(&world).await, "", "{feed}");
    }
}

#[tokio::test]
async fn a_list_names_the_columns_and_passes_over_the_rest() {
    let feed = "op=changes columns='Op,price,-,id,name; dbo.other:Op,id'";
    assert_eq!(loads(feed, "1,x,1,one\n2,x,2,two\n", "U,1,x,1,uno\nD,2,x,2,two\n").await, "1|uno|1.00");
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,one\n").await;
    let words = "FEED columns= does not fit table dbo.e (id … price): the table lacks colour; it lacks id of the table's key. Mend it";
    stopped(&run_as(&world, "columns=name,colour").await, words);
}

#[tokio::test]
async fn fields_are_separated_as_feed_says() {
    for (feed, by) in [
        ("delimiter=;", ";"),
        (r"delimiter=\t", "\t"),
        (r"delimiter=\x01\x02", "\u{1}\u{2}"),
        ("delimiter=||", "||"),
        ("delimiter=é", "é"),
    ] {
        let write = |text: &str| text.replace('~', by);
        let load = write("1~\"o~ne\"~1\r\n2~two~2\r\n");
        assert_eq!(loads(feed, &load, &write("D~2~~\n")).await, write("1|o~ne|1.00"), "{feed}");
    }
}

#[tokio::test]
async fn without_quoting_a_quote_is_a_character() {
    let got = loads("rfc4180=False", "1,\"one,1\n2,\"NULL\",2\n3,NULL,3\n", "U,1,5\" disc,1\n").await;
    assert_eq!(got, "1|5\" disc|1.00 2|\"NULL\"|2.00 3|∅|3.00");
}

#[tokio::test]
async fn a_timestamp_column_is_passed_over_or_loaded_into_its_column() {
    let (load, changes) = ("2024-01-01 00:00:00.5,1,one,1\n", "U,2024-01-02 00:00:00.5,1,uno,1\n");
    assert_eq!(loads("timestamp_column=ts:first", load, changes).await, "1|uno|1.00");
    let world = World::with_table().await;
    world.sql("alter table dbo.e add column ts timestamp").await;
    world.bucket.put(LOAD1, load).await;
    world.bucket.put(CHANGE, changes).await;
    run_as(&world, "timestamp_column=ts:first").await.ok();
    assert_eq!(table(&world).await, "1|uno|1.00|2024-01-02 00:00:00.5");
}

#[tokio::test]
async fn a_slip_in_feed_is_told_with_every_other_one() {
    let world = World::with_table().await;
    let ended = run_as(&world, "header=perhaps op=sometimes delimiter= timestamp_column=ts colums=x").await;
    assert_eq!(ended.code, 78, "{}", ended.log);
    for words in [
        "header is not True or False next: Write header=True or header=False.",
        "op is not a known word next: Write one of op=auto, op=always, op=changes, op=never",
        "delimiter is not one to eight characters",
        "timestamp_column has no place",
        "the key of word 5 (colums) is not known",
    ] {
        let said = ended.log.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(words), "{words:?} is not in\n{}", ended.log);
    }
}

#[tokio::test]
async fn a_row_that_is_taken_for_a_header_is_not_shown() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "hunter2,name,1\n").await;
    let ended = run_as(&world, "header=True").await;
    stopped(&ended, "the file has field 1 and field 3, which the table lacks");
    assert!(!ended.log.contains("hunter2"), "{}", ended.log);
}
