//! `verify`: what was loaded is read again and compared; equal is equal, and each kind of difference is found.

use std::process::Command;

use serde_json::Value;

use crate::support::World;
use crate::support::program::{Ended, program, run, run_once};

pub const LOAD: &str = "e/LOAD00000001.csv.gz";
pub const CHANGES: [&str; 3] =
    ["e/20991231-000001000.csv.gz", "e/20991231-000002000.csv.gz", "e/20991231-000003000.csv.gz"];

pub async fn with(mut command: Command, arguments: &[&str]) -> Ended {
    command.args(arguments);
    run(command).await
}

async fn verify(world: &World) -> Ended {
    with(program(world), &["verify"]).await
}

/// The answer for the only table, and the exit code.
pub async fn judged(world: &World) -> (Value, i32) {
    let ended = with(program(world), &["verify", "--json"]).await;
    let line = ended.log.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{}", ended.log));
    (serde_json::from_str(line).expect("JSON"), ended.code)
}

/// What was said, however its lines are broken.
pub fn flat(ended: &Ended) -> String {
    ended.log.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
pub fn is_equal((said, code): &(Value, i32)) {
    assert_eq!((said["verdict"].as_str(), *code), (Some("equal"), 0), "{said:#}");
}

#[track_caller]
fn is_unverified((said, code): &(Value, i32), words: &str) {
    assert_eq!((said["verdict"].as_str(), *code), (Some("unverified"), 1), "{said:#}");
    assert!(said["why"].as_str().is_some_and(|why| why.contains(words)), "{said:#}");
}

#[tokio::test]
async fn what_was_loaded_is_equal_load_by_load() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "3,c,3\n1,a,1\n2,NULL,2.5\n").await;
    world.bucket.put("e/LOAD00000002.csv.gz", "7,g,7\n").await;
    run_once(&world).await.ok();
    let ended = verify(&world).await.ok();
    assert!(ended.log.contains("dbo.e: equal, 4 rows, 2 files of generation 1\n"), "{}", ended.log);
    world.bucket.put(CHANGES[0], "U,1,b,9\nD,3,NULL,NULL\nI,4,d,4\nU,9,new,9\n").await;
    world.bucket.put(CHANGES[1], "D,4,NULL,NULL\nI,3,again,3\nU,1,c,9\n").await;
    run_once(&world).await.ok();
    let judged_now = judged(&world).await;
    is_equal(&judged_now);
    assert_eq!((&judged_now.0["rows"], &judged_now.0["files"]), (&5.into(), &4.into()), "{:#}", judged_now.0);
    world.bucket.put_later(LOAD, "5,e,5\n1,z,1\n").await;
    world.bucket.put("e/LOAD00000002.csv.gz", "8,g,7\n").await;
    run_once(&world).await.ok();
    let judged_now = judged(&world).await;
    is_equal(&judged_now);
    assert_eq!(judged_now.0["generation"], 2);
    assert_eq!(judged_now.0["files"], 2, "the changes are of the generation before");
}

#[tokio::test]
async fn each_kind_of_difference_is_found_with_its_key_and_columns() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, &(1..=40).map(|id| format!("{id},n,1\n")).collect::<String>()).await;
    world.bucket.put(CHANGES[0], "U,5,m,2\nD,6,NULL,NULL\n").await;
    run_once(&world).await.ok();
    is_equal(&judged(&world).await);
    world.sql("update dbo.e set price = 7, name = null where id = 5; update dbo.e set name = 'x' where id > 38").await;
    world.sql("delete from dbo.e where id in (1, 20); insert into dbo.e values (6, 'n', 1), (99, 'n', 1)").await;
    let before = world.dump();
    let (said, code) = judged(&world).await;
    assert_eq!((said["verdict"].as_str(), code), (Some("differs"), 1));
    assert_eq!(said["missing"], serde_json::json!({"rows": 2, "keys": [{"id": "1"}, {"id": "20"}]}));
    assert_eq!(said["not_in_feed"], serde_json::json!({"rows": 2, "keys": [{"id": "6"}, {"id": "99"}]}));
    let columns = |id: &str, columns: &[&str]| serde_json::json!({"key": {"id": id}, "columns": columns});
    let keys = [columns("5", &["name", "price"]), columns("39", &["name"]), columns("40", &["name"])];
    let different = serde_json::json!({"rows": 3, "columns": {"name": 3, "price": 1}, "keys": keys});
    assert_eq!(said["different"], different);
    let few = with(program(&world), &["verify", "e", "--keys", "1"]).await;
    assert_eq!(few.code, 1, "{}", few.log);
    let lines = [
        "dbo.e: differs, 7 of 39 rows, 2 files of generation 1",
        "  missing in the table: 2 rows",
        "    id=1",
        "    … 1 more; --keys shows more",
        "  other values: 3 rows, in name 3, price 1",
        "    id=5: name, price",
    ];
    lines.iter().for_each(|line| assert!(few.log.lines().any(|said| said == *line), "{line}\n{}", few.log));
    assert!(flat(&few).contains("a full load in the bucket puts all of it right"), "{}", few.log);
    assert!(world.dump() == before, "it changes nothing");
    // as it says; with the same bytes it would be a file that was only rewritten
    world.bucket.put_later(LOAD, &(1..=41).map(|id| format!("{id},n,1\n")).collect::<String>()).await;
    run_once(&world).await.ok();
    is_equal(&judged(&world).await);
}

#[tokio::test]
async fn values_are_equal_by_their_type() {
    let world = World::new().await;
    world
        .sql(
            "create schema dbo; create domain dbo.amount as numeric;
             create table dbo.e (id numeric primary key, a dbo.amount, j json, b jsonb, f float8, c char(5), t timestamptz)",
        )
        .await;
    let row = "1.0,1.50,\"{\"\"a\"\": 1}\",\"{\"\"a\"\": 1}\",0,ab,2020-01-01 00:00:00+00\n";
    world.bucket.put(LOAD, &format!("{row}{}", row.replace("1.0,", "2,"))).await;
    run_once(&world).await.ok();
    is_equal(&judged(&world).await);
    world
        .sql(
            "update dbo.e set a = 1.5, b = '{\"a\":1.0}', id = 1.000, t = '2020-01-01 01:00+01'
             where id = 1; update dbo.e set j = '{\"a\":  1}' where id = 2",
        )
        .await;
    let (said, _) = judged(&world).await;
    assert_eq!(said["different"]["columns"], serde_json::json!({"j": 1}), "{said:#}");
    assert_eq!(said["different"]["keys"][0]["key"]["id"], "2");
}

#[tokio::test]
async fn cells_that_no_file_supplied_are_not_compared_and_counted() {
    let world = World::with_table().await;
    world.sql("alter table dbo.e alter price set default 42").await;
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n").await;
    world.bucket.put(CHANGES[0], "U,1,~,5\nI,3,c,~\nD,2,NULL,NULL\nI,2,~,7\nU,2,~,8\n").await;
    let feed = ("FEED", "no_supply=~");
    let mut command = program(&world);
    command.env(feed.0, feed.1);
    run(command).await.ok();
    assert_eq!(world.rows("select * from dbo.e order by id").await, ["1|a|5.00", "2|∅|8.00", "3|c|42.00"]);
    let look = async || {
        let mut command = program(&world);
        command.env(feed.0, feed.1);
        with(command, &["verify"]).await
    };
    let ended = look().await.ok();
    assert!(ended.log.contains("dbo.e: equal, 3 rows"), "{}", ended.log);
    assert!(ended.log.contains("not compared: 2 cells, which no file supplies (name 1, price 1)."), "{}", ended.log);
    world.sql("update dbo.e set price = 43 where id = 3").await;
    look().await.ok();
    world.sql("update dbo.e set name = 'x' where id = 1").await;
    assert!(look().await.log.contains("    id=1: name\n"));
}

/// Rows that move from key to key, in chains, over files: the chain is settled many times.
#[tokio::test]
async fn rows_that_moved_are_followed() {
    let world = World::with_table().await;
    let rows: String = (1..=400).map(|id| format!("{id},n{id},{id}\n")).collect();
    world.bucket.put(LOAD, &format!("id,name,price\n{rows}")).await;
    let header = "Op,id,name,price,BI_id\n";
    let up = |by: i64| {
        let one = |id: i64| format!("U,{},~,{id},{}\n", id + by, id + by - 1000);
        header.to_owned() + &(1..=300).map(one).collect::<String>()
    };
    world.bucket.put(CHANGES[0], &up(1000)).await;
    let back =
        "U,7,~,7,1007\nU,8,~,8,7\nD,1008,NULL,NULL,1008\nI,7,new,~,7\nU,1009,~,~,1009\nU,5,~,1,2005\nU,9,~,9,8\n";
    world.bucket.put(CHANGES[1], &(header.to_owned() + back)).await;
    world.bucket.put(CHANGES[2], &(header.to_owned() + "U,400,last,~,400\nU,2000,~,~,1100\nU,2001,~,~,399\n")).await;
    let load = || {
        let mut command = program(&world);
        command.env("FEED", "header=True no_supply=~ before_image_prefix=BI_");
        command
    };
    run(load()).await.ok();
    assert_eq!(
        world.rows("select id, name from dbo.e where id in (9, 2000, 2001) order by id").await,
        ["9|n7", "2000|n100", "2001|n399"]
    );
    let ended = with(load(), &["verify"]).await.ok();
    assert!(ended.log.contains("dbo.e: equal, "), "{}", ended.log);
    world.sql("update dbo.e set name = 'n' where id = 2000; update dbo.e set id = 3000 where id = 1050").await;
    let ended = with(load(), &["verify"]).await;
    for words in
        ["    id=2000: name\n", "missing in the table: 1 row\n    id=1050\n", "not in the feed: 1 row\n    id=3000\n"]
    {
        assert!(ended.log.contains(words), "{words}{}", ended.log);
    }
}

#[tokio::test]
async fn what_rejected_rows_spoke_of_is_left_out() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n3,c,3\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD, "1,a,1\n2,b,two\n4,d\nfive,e,5\n3,c,3\n").await;
    world.bucket.put(CHANGES[0], "U,1,x,one\nU,3,y,3\n").await;
    let mut lenient = program(&world);
    lenient.env("ON_BAD_ROW", "quarantine").env("MAX_REJECTS", "9");
    run(lenient).await.ok();
    let (said, code) = judged(&world).await;
    assert_eq!((said["verdict"].as_str(), code), (Some("equal"), 0), "whatever ON_BAD_ROW is now: {said:#}");
    assert_eq!(said["not_compared"]["rows_rejected"], 1);
    assert_eq!(said["not_compared"]["rejected_rows_without_key"], 2);
    world.sql("update dbo.e set name = 'z' where id = 2").await;
    is_equal(&judged(&world).await);
    world.sql("insert into dbo.e values (5, 'e', 5)").await;
    let ended = verify(&world).await;
    assert!(ended.log.contains("not in the feed: 1 row\n    id=5\n"), "{}", ended.log);
    assert!(flat(&ended).contains("may be among what is not in the feed"), "{}", ended.log);
}

#[tokio::test]
async fn a_late_file_and_a_skipped_one_are_taken_as_the_loader_took_them() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n").await;
    world.bucket.put(CHANGES[0], "U,1,zero,0\n").await;
    world.bucket.put(CHANGES[2], "U,1,three,3\n").await;
    run_once(&world).await.ok();
    world.bucket.put(CHANGES[1], "U,1,two,2\nU,2,two,2\n").await;
    assert_eq!(run_once(&world).await.code, 1);
    let (said, code) = judged(&world).await;
    assert_eq!((said["verdict"].as_str(), code), (Some("equal"), 0), "{said:#}");
    assert_eq!((&said["pending"], &said["stopped"]), (&1.into(), &"late".into()));
    with(program(&world), &["deliveries", "retry", "4"]).await.ok();
    run_once(&world).await.ok();
    is_equal(&judged(&world).await);
    world.bucket.put("e/20991231-000004000.csv.gz", "U,1,no price,none\n").await;
    assert_eq!(run_once(&world).await.code, 1);
    with(program(&world), &["deliveries", "skip", "5", "--reason", "no"]).await.ok();
    world.bucket.put("e/20991231-000005000.csv.gz", "U,2,five,5\n").await;
    run_once(&world).await.ok();
    let ended = verify(&world).await.ok();
    assert!(ended.log.contains("dbo.e: equal, 2 rows, 5 files of generation 1"), "{}", ended.log);
    assert!(ended.log.contains("left out, as the loader did: 1 file, skipped by an operator."), "{}", ended.log);
}

#[tokio::test]
async fn a_table_without_a_key_is_a_multiset() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (a int, b text)").await;
    world.bucket.put(LOAD, "1,x\n1,x\nNULL,y\n").await;
    world.bucket.put("e/LOAD00000002.csv.gz", "1,x\n").await;
    run_once(&world).await.ok();
    is_equal(&judged(&world).await);
    world.sql("delete from dbo.e where ctid = (select ctid from dbo.e where a = 1 limit 1)").await;
    world.sql("insert into dbo.e values (null, 'y')").await;
    let (said, code) = judged(&world).await;
    assert_eq!((&said["missing"]["rows"], &said["not_in_feed"]["rows"], code), (&1.into(), &1.into(), 1), "{said:#}");
    let place = said["not_in_feed"]["keys"][0]["ctid"].as_str().expect("a place");
    assert_eq!(world.value(&format!("select b from dbo.e where ctid = '{place}'")).await, "y");
}

#[tokio::test]
async fn types_that_only_postgres_can_read() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id inet primary key, tags int[])").await;
    let rows: String = (0..500).map(|n| format!("10.0.{}.{},\"{{{n}}}\"\n", n / 250, n % 250)).collect();
    world.bucket.put(LOAD, &rows.replace("\"{9}\"", "none")).await;
    world.bucket.put(CHANGES[0], "U,10.0.0.1,\"{7,8}\"\nD,10.0.0.2,NULL\n").await;
    let mut lenient = program(&world);
    lenient.env("ON_BAD_ROW", "quarantine").env("MAX_REJECTS", "9");
    run(lenient).await.ok();
    is_equal(&judged(&world).await);
    world.sql("update dbo.e set tags = '{7}' where id = '10.0.0.1'; insert into dbo.e values ('10.0.0.2', null)").await;
    let (said, _) = judged(&world).await;
    assert_eq!(said["different"]["keys"][0], serde_json::json!({"key": {"id": "10.0.0.1/32"}, "columns": ["tags"]}));
    assert_eq!(said["not_in_feed"]["keys"][0]["id"], "10.0.0.2/32");
}

/// A row that somebody put right by hand: only the rejected row named its key.
#[tokio::test]
async fn what_a_rejected_change_spoke_of_may_be_put_right_by_hand() {
    for (columns, rows) in
        [("name text, price numeric", ["2,b,two", "2,b,2"]), ("name inet, price numeric", ["2,b,2", "2,::1,2"])]
    {
        let world = World::new().await;
        world.sql(&format!("create schema dbo; create table dbo.e (id int primary key, {columns})")).await;
        world.bucket.put(LOAD, "1,NULL,1\n").await;
        world.bucket.put(CHANGES[0], &format!("I,{}\nU,1,::1,one\n", rows[0])).await;
        let mut lenient = program(&world);
        lenient.env("ON_BAD_ROW", "quarantine").env("MAX_REJECTS", "9");
        run(lenient).await.ok();
        assert_eq!(world.rows("select id from dbo.e").await, ["1"]);
        is_equal(&judged(&world).await);
        let cells: Vec<String> = rows[1].split(',').map(|cell| format!("'{cell}'")).collect();
        world.sql(&format!("insert into dbo.e values ({})", cells.join(","))).await;
        let judged_now = judged(&world).await;
        is_equal(&judged_now);
        assert_eq!(judged_now.0["not_compared"]["rows_rejected"], 1, "{:#}", judged_now.0);
        world.sql("update dbo.e set price = 7 where id = 1").await;
        assert_eq!(
            judged(&world).await.0["different"]["columns"],
            serde_json::json!({"price": 1}),
            "it was loaded once"
        );
    }
}

#[tokio::test]
async fn a_file_that_is_deleted_or_replaced_leaves_its_table_unverified_and_others_go_on() {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key, v text)").await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    world.bucket.put(CHANGES[0], "U,1,b,1\n").await;
    world.bucket.put("f/LOAD00000001.csv.gz", "1,a\n").await;
    run_once(&world).await.ok();
    // the same bytes are the same change file
    world.bucket.put_later(CHANGES[0], "U,1,b,1\n").await;
    is_equal(&judged(&world).await);
    world.bucket.delete(CHANGES[0]).await;
    let ended = verify(&world).await;
    let gone = format!("dbo.e: cannot be verified {} is gone from the bucket", world.bucket.key(CHANGES[0]));
    assert!(ended.code == 1 && flat(&ended).contains(&gone), "{}", ended.log);
    assert!(ended.log.contains("dbo.f: equal, 1 row, 1 file of generation 1"), "{}", ended.log);
    world.bucket.put(CHANGES[0], "U,1,c,1\n").await;
    is_unverified(&judged(&world).await, "was replaced in the bucket since it was loaded");
    world.bucket.put(CHANGES[0], "U,1,b,1\n").await;
    is_equal(&judged(&world).await);
    world.bucket.put_later(LOAD, "1,a,1\n").await;
    let (said, code) = judged(&world).await;
    is_unverified(&(said.clone(), code), "LOAD00000001.csv.gz was replaced");
    assert_eq!(said["pending"], 1, "{said:#}");
}

#[tokio::test]
async fn what_is_not_loaded_yet_makes_no_difference() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    let (said, code) = judged(&world).await;
    assert_eq!((said["verdict"].as_str(), code, &said["pending"]), (Some("nothing_loaded"), 1, &1.into()));
    run_once(&world).await.ok();
    world.bucket.put(CHANGES[0], "U,1,b,1\n").await;
    let ended = verify(&world).await.ok();
    assert!(ended.log.contains("not loaded yet, and not compared: 1 file."), "{}", ended.log);
    world.bucket.delete(CHANGES[0]).await;
    world.bucket.put(CHANGES[0], "U,1,b,none\n").await;
    assert_eq!(run_once(&world).await.code, 1);
    assert_eq!(judged(&world).await.0["stopped"], "failed");
    world.bucket.delete(CHANGES[0]).await;
    let (said, _) = judged(&world).await;
    assert_eq!((&said["stopped"], &said["pending"]), (&"gone".into(), &0.into()), "{said:#}");
    let ended = with(program(&world), &["verify", "dbo.nowhere"]).await;
    assert!(ended.code == 1 && ended.log.contains("no table dbo.nowhere; the ledger and the bucket know: dbo.e"));
}

/// Qlik Replicate has changes in a folder of their own.
#[tokio::test]
async fn changes_from_another_folder() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    world.bucket.put("e__ct/20991231-000001000.csv.gz", "U,1,b,1\n").await;
    run_once(&world).await.ok();
    let ended = verify(&world).await.ok();
    assert!(ended.log.contains("dbo.e: equal, 1 row, 2 files of generation 1"), "{}", ended.log);
}

#[tokio::test]
async fn without_a_full_load_only_what_files_name_is_compared() {
    let world = World::with_table().await;
    world.sql("insert into dbo.e values (1, 'old', 1), (2, 'old', 2)").await;
    world.bucket.put(CHANGES[0], "U,1,new,1\nI,3,c,3\nI,4,d,4\nD,4,NULL,NULL\n").await;
    run_once(&world).await.ok();
    let (said, code) = judged(&world).await;
    assert_eq!((said["verdict"].as_str(), code), (Some("equal"), 0), "{said:#}");
    assert_eq!(said["not_compared"]["rows_without_full_load"], 1);
    world.sql("insert into dbo.e values (4, 'd', 4)").await;
    let (said, _) = judged(&world).await;
    assert_eq!(said["not_in_feed"]["keys"], serde_json::json!([{"id": "4"}]), "it was deleted: {said:#}");
}

#[tokio::test]
async fn files_that_are_read_otherwise_now_are_not_compared() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n").await;
    run_once(&world).await.ok();
    let otherwise = async |feed: &str| {
        let mut command = program(&world);
        command.env("FEED", feed);
        with(command, &["verify"]).await
    };
    let ended = otherwise("header=True columns=id,name,price").await;
    assert!(ended.code == 1 && flat(&ended).contains("2 rows and 0 rejected then, 1 and 0"), "{}", ended.log);
    let ended = otherwise("delimiter=;").await;
    assert!(
        ended.code == 1 && flat(&ended).contains("cannot be read as it was when it was loaded: line 1: 1 fields"),
        "{}",
        ended.log
    );
    world.sql("alter table dbo.e add venue text").await;
    is_unverified(&judged(&world).await, "the table has 4 columns to fill");
    world.sql("drop table dbo.e").await;
    is_unverified(&judged(&world).await, "no such table");
}

#[tokio::test]
async fn another_order_than_the_one_that_was_loaded_in_is_noticed() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    world.bucket.put(CHANGES[1], "U,1,two,2\n").await;
    world.bucket.put_later(CHANGES[0], "U,1,one,1\n").await;
    run_once(&world).await.ok();
    is_equal(&judged(&world).await);
    let mut command = program(&world);
    command.env("FEED", "order=modified");
    let ended = with(command, &["verify"]).await;
    assert!(ended.code == 1 && flat(&ended).contains("FEED order= says the reverse"), "{}", ended.log);
}

/// Parts that were not written again with the others are read as the released reload read them.
#[tokio::test]
async fn a_released_mixed_reload() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    world.bucket.put("e/LOAD00000002.csv.gz", "2,b,2\n").await;
    world.bucket.put(CHANGES[0], "U,2,c,2\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD, "1,z,1\n").await;
    assert_eq!(run_once(&world).await.code, 1);
    is_unverified(&judged(&world).await, "LOAD00000001.csv.gz was replaced");
    with(program(&world), &["deliveries", "release", "4"]).await.ok();
    run_once(&world).await.ok();
    assert_eq!(world.rows("select name from dbo.e order by id").await, ["z", "b"], "the change is taken back");
    let judged_now = judged(&world).await;
    is_equal(&judged_now);
    assert_eq!((&judged_now.0["generation"], &judged_now.0["files"]), (&2.into(), &2.into()));
}

/// Headers name the columns, so each file may have its own order of them.
#[tokio::test]
async fn each_file_is_read_by_its_own_header() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "name,price,id\na,1,1\nb,2,2\n").await;
    world.bucket.put(CHANGES[0], "Op,price,id,name\nU,3,2,c\n").await;
    let load = || {
        let mut command = program(&world);
        command.env("FEED", "header=True");
        command
    };
    run(load()).await.ok();
    let ended = with(load(), &["verify"]).await.ok();
    assert!(ended.log.contains("dbo.e: equal, 2 rows, 2 files"), "{}", ended.log);
}

/// A column that FEED does not name is left to its default, and to whoever writes it.
#[tokio::test]
async fn a_column_that_no_file_has_is_not_compared() {
    let world = World::with_table().await;
    world.sql("alter table dbo.e alter price set default 5").await;
    world.bucket.put(LOAD, "1,a\n2,b\n").await;
    world.bucket.put(CHANGES[0], "U,2,c\n").await;
    let load = || {
        let mut command = program(&world);
        command.env("FEED", "columns=id,name");
        command
    };
    run(load()).await.ok();
    world.sql("update dbo.e set price = 6 where id = 1").await;
    let ended = with(load(), &["verify"]).await.ok();
    assert!(ended.log.contains("dbo.e: equal, 2 rows, 2 files"), "{}", ended.log);
    assert!(flat(&ended).contains("not compared: 2 cells, which no file supplies (price 2)"), "{}", ended.log);
}

/// It needs no right beyond what a loader has, and its keys are said to who asks and not to the log.
#[tokio::test]
async fn keys_stand_in_the_answer_and_never_in_the_log() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n777777,b,2\n").await;
    run_once(&world).await.ok();
    world.sql("update dbo.e set name = 'secret' where id = 777777").await;
    let split = async |arguments: &'static [&'static str]| {
        let mut command = program(&world);
        command.args(arguments);
        let out = tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("joined");
        (String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (answer, log) = split(&["verify"]).await;
    assert!(answer.contains("id=777777: name") && !log.contains("777777"), "{answer}{log}");
    assert!(!answer.contains("secret"), "{answer}");
    let (answer, _) = split(&["verify", "--keys", "0"]).await;
    assert!(answer.contains("other values: 1 row, in name 1") && !answer.contains("777777"), "{answer}");
}
