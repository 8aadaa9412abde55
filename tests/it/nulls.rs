//! How null is written is what the feed itself shows: an empty cell or the word `NULL` in columns that are no texts.

use serde_json::Value;

use crate::support::World;
use crate::support::program::{Ended, program, run, run_once};

const LOAD1: &str = "t/LOAD00000001.csv.gz";
const LOAD2: &str = "t/LOAD00000002.csv.gz";
const CHANGE: &str = "t/20991231-235900000.csv.gz";
const NEXT: &str = "t/20991231-235901000.csv.gz";
const ROWS: &str = "select id, quote_nullable(a), quote_nullable(b), c from dbo.t order by id";

/// Two texts, one of which may be null, and a number that may.
async fn world() -> World {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.t (id int primary key, a text not null, b text, c int)").await;
    world
}

/// A world with a table beside it that has nothing but texts.
async fn world_with_texts() -> World {
    let world = world().await;
    world.sql("create table dbo.u (id text primary key, b text)").await;
    world
}

async fn with(world: &World, feed: &str, args: &[&str]) -> Ended {
    let mut command = program(world);
    command.args(args).env("FEED", feed).env("USER", "operator");
    run(command).await
}

/// The rule of a table and how it is known, as `status --json` has them.
async fn rule(world: &World, table: &str) -> String {
    let status = with(world, "", &["status", "--json"]).await;
    let line = status.log.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{}", status.log));
    let report: Value = serde_json::from_str(line).expect("JSON");
    let tables = report["tables"].as_array().expect("tables");
    let table = tables.iter().find(|one| one["table"] == table).unwrap_or_else(|| panic!("no {table} in {report}"));
    let null = &table["null"];
    format!("{} {}", null["rule"].as_str().unwrap_or("-"), null["basis"].as_str().unwrap_or("-"))
}

#[track_caller]
fn stopped(ended: &Ended, words: &str) {
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains(words), "{words:?} is not in\n{}", ended.log);
}

#[tokio::test]
async fn where_numbers_show_it_an_empty_cell_is_null_in_texts_too() {
    let world = world().await;
    world.bucket.put(LOAD1, "1,,,\n2,NULL,NULL,7\n3,\"\",\"\",7\n").await;
    let dry = with(&world, "", &["run", "--once", "--dry-run"]).await.ok();
    assert_eq!(world.rows("select * from loader_null_rules").await.len(), 0, "a dry run leaves nothing");
    let ended = run_once(&world).await.ok();
    assert_eq!(dry.effects(), ended.effects());
    let loaded = ["1|''|NULL|∅", "2|'NULL'|'NULL'|7", "3|''|''|7"];
    assert_eq!(world.rows(ROWS).await, loaded);
    assert_eq!(rule(&world, "dbo.t").await, "empty own");

    world.bucket.put(CHANGE, "U,3,,,\nI,4,NULL,NULL,1\nD,2,,,\n").await;
    run_once(&world).await.ok();
    let changed = ["1|''|NULL|∅", "3|''|NULL|∅", "4|'NULL'|'NULL'|1"];
    assert_eq!(world.rows(ROWS).await, changed);
    let verified = with(&world, "", &["verify"]).await.ok();
    assert!(verified.log.contains("dbo.t: equal, 3 rows"), "{}", verified.log);

    let status = with(&world, "", &["status"]).await.ok().log;
    let said = status.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("Null in text columns is an empty cell (shown by 1 nulls, like "), "{said}");
    let check = with(&world, "", &["check"]).await.log;
    let said = check.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("null in text columns is an empty cell (shown by 1 nulls, like "), "{said}");
}

#[tokio::test]
async fn where_numbers_show_the_word_an_empty_text_stays() {
    let world = world().await;
    world.bucket.put(LOAD1, "1,,,NULL\n2,x,NULL,7\n3,\"NULL\",\"NULL\",7\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows(ROWS).await, ["1|''|''|∅", "2|'x'|NULL|7", "3|'NULL'|'NULL'|7"]);
    assert_eq!(rule(&world, "dbo.t").await, "words own");
    world.bucket.put(CHANGE, "U,2,,,NULL\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows(ROWS).await[1], "2|''|''|∅");
}

#[tokio::test]
async fn a_table_that_shows_nothing_goes_by_what_others_show() {
    let world = world_with_texts().await;
    world.bucket.put("u/LOAD00000001.csv.gz", "k,\nl,NULL\n").await;
    world.bucket.put(LOAD1, "1,x,,\n").await;
    run_once(&world).await.ok();
    let texts = "select id, quote_nullable(b) from dbo.u order by id";
    assert_eq!(world.rows(texts).await, ["k|NULL", "l|'NULL'"]);
    assert_eq!(rule(&world, "dbo.u").await, "empty feed");

    // and by what they showed when they were loaded
    world.sql("create table dbo.later (id text primary key, b text)").await;
    world.bucket.put("later/LOAD00000001.csv.gz", "k,\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows("select id, quote_nullable(b) from dbo.later").await, ["k|NULL"]);
}

#[tokio::test]
async fn what_only_the_second_part_shows_counts_for_the_first() {
    let world = world().await;
    world.bucket.put(LOAD1, "1,,,5\n").await;
    world.bucket.put(LOAD2, "2,,,\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows(ROWS).await, ["1|''|NULL|5", "2|''|NULL|∅"]);
}

#[tokio::test]
async fn what_shows_only_behind_the_head_of_a_file_counts_for_all_of_it() {
    let world = world().await;
    let mut noise = 7u64;
    let mut text = String::from("0,,,5\n");
    for id in 1..20_000 {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text += &format!("{id},{noise:x},,{}\n", noise >> 40);
    }
    text += "20000,,,\n";
    world.bucket.put(LOAD1, &text).await;
    let ended = run_once(&world).await.ok();
    assert_eq!(ended.effects(), ["t (create: 20001, amend: 0, remove: 0)."]);
    assert_eq!(world.value("select count(*) from dbo.t where b is null").await, "20001");
    assert_eq!(rule(&world, "dbo.t").await, "empty own");
}

#[tokio::test]
async fn what_was_assumed_and_is_contradicted_stops_the_table_and_a_reload_puts_it_right() {
    let world = world().await;
    world.bucket.put(LOAD1, "1,,,5\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows(ROWS).await, ["1|''|''|5"]);
    assert_eq!(rule(&world, "dbo.t").await, "words assumed");
    world.bucket.put(CHANGE, "I,2,x,,6\nI,3,x,,\n").await;
    stopped(
        &run_once(&world).await,
        "line 2, column c: an empty cell is null here, but for this table null is the word NULL",
    );
    assert_eq!(world.rows(ROWS).await, ["1|''|''|5"]);

    with(&world, "", &["deliveries", "skip", "2", "--reason", "loaded again"]).await.ok();
    world.bucket.put_later(LOAD1, "1,,,5\n2,x,,6\n3,x,,\n").await;
    let ended = run_once(&world).await.ok();
    assert_eq!(ended.effects(), ["t (create: 2, amend: 1, remove: 0)."]);
    assert_eq!(world.rows(ROWS).await, ["1|''|NULL|5", "2|'x'|NULL|6", "3|'x'|NULL|∅"]);
    assert_eq!(rule(&world, "dbo.t").await, "empty own");
}

#[tokio::test]
async fn what_was_shown_and_is_contradicted_stops_the_table_until_feed_says_which() {
    let world = world().await;
    world.bucket.put(LOAD1, "1,,,\n").await;
    run_once(&world).await.ok();
    world.bucket.put(CHANGE, "I,2,,,\nI,3,,NULL,NULL\n").await;
    stopped(
        &run_once(&world).await,
        "line 2, column c: the word NULL is null here, but for this table null is an empty cell",
    );
    assert_eq!(world.value("select count(*) from dbo.t").await, "1");
    let both = "null='' null=NULL";
    with(&world, both, &["deliveries", "retry", "2"]).await.ok();
    with(&world, both, &[]).await.ok();
    assert_eq!(world.rows(ROWS).await, ["1|''|NULL|∅", "2|''|NULL|∅", "3|''|NULL|∅"]);
}

#[tokio::test]
async fn what_another_table_shows_later_stops_a_table_that_was_loaded_by_an_assumption() {
    let world = world_with_texts().await;
    world.bucket.put("u/LOAD00000001.csv.gz", "k,\n").await;
    run_once(&world).await.ok();
    assert_eq!(rule(&world, "dbo.u").await, "words assumed");
    world.bucket.put(LOAD1, "1,x,,\n").await;
    world.bucket.put("u/20991231-235900000.csv.gz", "I,l,\n").await;
    stopped(&run_once(&world).await, "shows that the feed writes null as an empty cell");
    // FEED decides, if empty texts were right
    let id = world.value("select id from loader_deliveries where status = 'failed'").await;
    with(&world, "null=NULL", &["deliveries", "retry", &id]).await.ok();
    with(&world, "null=NULL", &[]).await.ok();
    assert_eq!(world.value("select string_agg(id || quote_nullable(b), ' ' order by id) from dbo.u").await, "k'' l''");
}

/// A table with texts that was loaded by an assumption, and another one that shows the contrary, without a file that waits.
async fn contradicted() -> World {
    let world = world_with_texts().await;
    world.bucket.put("u/LOAD00000001.csv.gz", "k,\n").await;
    run_once(&world).await.ok();
    world.bucket.put(LOAD1, "1,x,,\n").await;
    run_once(&world).await.ok();
    world
}

#[tokio::test]
async fn what_was_assumed_and_is_contradicted_stops_the_table_without_a_file_that_waits() {
    let world = contradicted().await;
    let status = with(&world, "", &["status"]).await;
    stopped(&status, "dbo.u: the table is misread");
    stopped(
        &run_once(&world).await,
        "t/LOAD00000001.csv.gz, line 1, column c shows that the feed writes null as an empty cell",
    );
    // FEED decides, if empty texts were right
    with(&world, "null=NULL", &[]).await.ok();
    with(&world, "null=NULL", &["status"]).await.ok();
    assert_eq!(run_once(&world).await.code, 1);

    with(&world, "", &["tables", "reload", "dbo.u"]).await.ok();
    let ended = run_once(&world).await.ok();
    assert_eq!(ended.effects(), ["u (create: 0, amend: 1, remove: 0)."]);
    assert_eq!(world.value("select count(*) from dbo.u where b is null").await, "1");
    assert_eq!(rule(&world, "dbo.u").await, "empty feed");
    run_once(&world).await.ok();
    with(&world, "", &["status"]).await.ok();
}

#[tokio::test]
async fn a_contradicted_table_that_is_accepted_goes_on_by_what_was_shown() {
    let world = contradicted().await;
    run_once(&world).await;
    with(&world, "", &["tables", "accept", "dbo.u", "--reason", "empty texts there"]).await.ok();
    world.bucket.put("u/20991231-235900000.csv.gz", "I,l,\n").await;
    run_once(&world).await.ok();
    let texts = "select string_agg(id || coalesce(quote_nullable(b), '-'), ' ' order by id) from dbo.u";
    assert_eq!(world.value(texts).await, "k'' lNULL");
}

#[tokio::test]
async fn a_table_without_texts_takes_no_notice_of_how_null_is_written() {
    let world = world().await;
    world.sql("create table dbo.n (id int primary key, c int)").await;
    world.bucket.put("n/LOAD00000001.csv.gz", "1,1\n").await;
    run_once(&world).await.ok();
    assert_eq!(rule(&world, "dbo.n").await, "words assumed");
    world.bucket.put(LOAD1, "1,x,,\n").await;
    run_once(&world).await.ok();
    run_once(&world).await.ok();
    assert_eq!(rule(&world, "dbo.n").await, "empty feed");
}

#[tokio::test]
async fn a_feed_that_shows_both_is_not_loaded_until_feed_says_which() {
    let world = world_with_texts().await;
    world.sql("create table dbo.n (id int primary key, c int)").await;
    world.bucket.put(LOAD1, "1,x,,\n2,x,,NULL\n").await;
    world.bucket.put("n/LOAD00000001.csv.gz", "1,\n2,NULL\n").await;
    world.bucket.put("u/LOAD00000001.csv.gz", "k,\n").await;
    let ended = run_once(&world).await;
    stopped(&ended, "what an empty text and a text NULL are cannot be told. Write FEED null=''");
    assert!(ended.log.contains("t/LOAD00000001.csv.gz, line 2, column c"), "{}", ended.log);
    assert_eq!(world.rows("select * from dbo.t union all select 1, id, b, 1 from dbo.u").await.len(), 0);
    assert_eq!(world.value("select count(*) from dbo.n").await, "2", "a table without texts has no such trouble");
    for id in world.rows("select id from loader_deliveries where status = 'failed'").await {
        with(&world, "", &["deliveries", "retry", &id]).await.ok();
    }
    with(&world, "null=NULL null=''", &[]).await.ok();
    assert_eq!(world.rows(ROWS).await, ["1|'x'|NULL|∅", "2|'x'|NULL|∅"]);
    assert_eq!(rule(&world, "dbo.t").await, "given given", "what was decided is kept");
}

/// As the ledger of an earlier version is: no rule of any table.
#[tokio::test]
async fn a_table_that_was_loaded_before_keeps_its_rule_until_it_is_loaded_again() {
    let world = world().await;
    world.bucket.put(LOAD1, "1,,,5\n2,,,\n").await;
    with(&world, "null=NULL", &[]).await.ok();
    world.sql("delete from loader_null_rules").await;
    assert_eq!(rule(&world, "dbo.t").await, "words before");
    world.bucket.put(CHANGE, "I,3,,,\nI,4,,NULL,NULL\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows(ROWS).await, ["1|''|''|5", "2|''|''|∅", "3|''|''|∅", "4|''|NULL|∅"]);
    let verified = with(&world, "", &["verify"]).await.ok();
    assert!(verified.log.contains("dbo.t: equal, 4 rows"), "{}", verified.log);
    world.bucket.put_later(LOAD1, "1,,,5\n2,,,\n3,,,\n4,,,\n").await;
    let ended = run_once(&world).await.ok();
    assert_eq!(ended.effects(), ["t (create: 0, amend: 3, remove: 0)."]);
    assert_eq!(world.rows(ROWS).await, ["1|''|NULL|5", "2|''|NULL|∅", "3|''|NULL|∅", "4|''|NULL|∅"]);
    assert_eq!(rule(&world, "dbo.t").await, "empty own");
}

/// A reload is one delivery of all its parts, whichever of them shows it.
#[tokio::test]
async fn a_reload_is_read_by_what_it_shows_itself() {
    let world = world().await;
    world.bucket.put(LOAD1, "1,,,NULL\n").await;
    world.bucket.put(LOAD2, "2,,NULL,NULL\n").await;
    run_once(&world).await.ok();
    world.bucket.put(CHANGE, "I,3,x,,NULL\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "1,,,7\n").await;
    world.bucket.put_later(LOAD2, "2,,,\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows(ROWS).await, ["1|''|NULL|7", "2|''|NULL|∅"]);
    assert_eq!(rule(&world, "dbo.t").await, "empty own");
    world.bucket.put(NEXT, "I,4,,NULL,1\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows(ROWS).await[2], "4|''|'NULL'|1");
    // one that shows nothing is read as the one before
    world.bucket.put_later(LOAD1, "1,,,7\n").await;
    world.bucket.put_later(LOAD2, "2,,,3\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows(ROWS).await, ["1|''|NULL|7", "2|''|NULL|3"]);
    assert_eq!(rule(&world, "dbo.t").await, "empty own");
}

/// The rule goes with the ledger to a feed of another name.
#[tokio::test]
async fn a_rule_goes_with_its_ledger_to_another_feed() {
    let world = world().await;
    world.bucket.put(LOAD1, "1,,,\n").await;
    run_once(&world).await.ok();
    world.sql("update loader_deliveries set scope = null; update loader_scopes set id = 1").await;
    world.sql("update loader_null_rules set scope = 1; delete from loader_scopes").await;
    world.bucket.put(CHANGE, "I,2,,,\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows(ROWS).await[1], "2|''|NULL|∅");
    assert_eq!(rule(&world, "dbo.t").await, "empty own");
}
