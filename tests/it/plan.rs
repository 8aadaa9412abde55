//! `plan` shows what the run then does, and leaves nothing; `run --plan` does what it shows, or nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::World;
use crate::support::program::{Ended, program, run, run_once, start};

const LOAD: &str = "e/LOAD00000001.csv.gz";
const CHANGE: &str = "e/20991231-235900.csv.gz";

/// A file of this world's own.
fn file(world: &World, name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{}-{name}", world.database))
}

async fn plan_with(mut command: Command, args: &[&str]) -> (i32, Value) {
    let ended = run({
        command.arg("plan").arg("--json").args(args);
        command
    })
    .await;
    (ended.code, serde_json::from_str(&ended.log).unwrap_or_else(|_| panic!("no JSON: {}", ended.log)))
}

async fn plan(world: &World) -> Value {
    let (code, plan) = plan_with(program(world), &["--keys", "1000"]).await;
    assert_eq!(plan["exit_code"], code, "{plan:#}");
    plan
}

/// Makes a plan, as a file.
async fn planned(world: &World) -> PathBuf {
    let file = file(world, "plan.json");
    plan_with(program(world), &["--out", &file.to_string_lossy()]).await;
    file
}

async fn run_plan(world: &World, file: &PathBuf) -> Ended {
    let mut command = program(world);
    command.args(["run", "--plan"]).arg(file);
    run(command).await
}

/// The plan is refused with these words, and nothing is done.
#[track_caller]
fn is_refused(ended: Ended, words: &str) {
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains(words), "{words:?} is not in {}", ended.log);
    assert!(ended.log.contains("the plan does not hold any more; nothing was done."), "{}", ended.log);
    assert!(!ended.log.contains("persisted") && ended.effects().is_empty(), "{}", ended.log);
}

fn table<'a>(plan: &'a Value, name: &str) -> &'a Value {
    let tables = plan["tables"].as_array().expect("tables");
    tables.iter().find(|table| table["entity"] == name).unwrap_or_else(|| panic!("no {name} in {plan:#}"))
}

/// The counts of each planned delivery, as the ledger will have them.
fn foretold(plan: &Value) -> BTreeSet<String> {
    let tables = plan["tables"].as_array().expect("tables").iter();
    let deliveries = tables.flat_map(|table| table["deliveries"].as_array().expect("deliveries"));
    let line = |delivery: &Value| {
        let counts = &delivery["counts"];
        let names = ["create", "amend", "remove", "unchanged", "rejected"];
        let counts: Vec<String> = names.map(|name| counts[name].to_string()).into();
        let key = delivery["files"].as_array().expect("files").last().expect("a file")["key"].clone();
        format!(
            "{} {} {}",
            key.as_str().unwrap_or_default(),
            delivery["status"].as_str().unwrap_or_default(),
            counts.join("/")
        )
    };
    deliveries.map(line).collect()
}

/// The same from the ledger, since `begin`.
async fn came(world: &World) -> BTreeSet<String> {
    let sql = "select object_key || ' ' || status || ' ' || concat_ws('/', rows_create, rows_amend, rows_remove,
        rows_unchanged, rows_rejected) from loader_deliveries
        where status <> 'pending' and id not in (select id from public.before_plan)";
    world.rows(sql).await.into_iter().collect()
}

/// What the ledger has by now is no work of the plan.
async fn begin(world: &World) {
    world.sql("create table public.before_plan as select id from loader_deliveries").await;
}

/// In how many rows each column differs, by Postgres, from what the table was before.
async fn differing(world: &World, name: &str, key: &str, columns: &[&str]) -> Value {
    let mut differing = Vec::new();
    for column in columns {
        let sql = format!(
            "select count(*) from dbo.{name} t join public.{name}_before b using ({key})
             where t.{column} is distinct from b.{column}"
        );
        let rows: u64 = world.value(&sql).await.parse().expect("a number");
        if rows > 0 {
            differing.push(serde_json::json!({ "name": column, "rows": rows }));
        }
    }
    Value::Array(differing)
}

/// The keys that are in one of the two and not in the other, or differ, by Postgres.
async fn keys(world: &World, sql: &str) -> BTreeSet<String> {
    world.rows(sql).await.into_iter().collect()
}

fn keys_of(delivery: &Value, kind: &str) -> BTreeSet<String> {
    let keys = delivery["keys"][kind].as_array().expect("keys").iter();
    let joined = |key: &Value| {
        let values = key.as_array().expect("a key").iter().map(|value| value.as_str().expect("text"));
        values.collect::<Vec<_>>().join("|")
    };
    keys.map(joined).collect()
}

#[tokio::test]
async fn a_plan_shows_what_the_run_then_does() {
    let world = World::with_table().await;
    world
        .sql(
            "create table dbo.c (a int, b text, v text default 'unset', w numeric default 7, primary key (b, a));
             create table dbo.k (a int, b text)",
        )
        .await;
    let rows = |change: fn(u32) -> String| (0..50).map(change).collect::<String>();
    world.bucket.put(LOAD, &rows(|id| format!("{id},n{id},{id}.5\n"))).await;
    world.bucket.put("c/LOAD00000001.csv.gz", &rows(|id| format!("{id},b,v,{id}\n"))).await;
    world.bucket.put("k/LOAD00000001.csv.gz", "1,x\n1,x\n2,y\n").await;
    run_once(&world).await.ok();
    begin(&world).await;
    for name in ["e", "c"] {
        world.sql(&format!("create table public.{name}_before as select * from dbo.{name}")).await;
    }
    // a reload in which equal values look different, and that is not in key order
    let reload = (5..60).rev().map(|id| match id % 5 {
        0 => format!("{id},n{id},{id}.50\n"),
        1 => format!("{id},other,{id}.5\n"),
        2 => format!("{id},other,9\n"),
        _ => format!("{id},n{id},{id}.5\n"),
    });
    world.bucket.put_later(LOAD, &reload.collect::<String>()).await;
    // amended, equal, deleted and made anew with a default, new twice, gone
    let changes = "U,1,b,changed,1\nU,2,b,v,2.0\nD,3,b,v,3\nI,3,b,again,~\nD,6,b,v,6\nI,6,b,v,~\nU,77,b,v,4\nI,88,b,v,1\nD,5,b,v,5\n";
    world.bucket.put("c/20991231-235900.csv.gz", changes).await;
    world.bucket.put("k/LOAD00000001.csv.gz", "1,x\n3,z\n").await;
    let mut command = program(&world);
    command.env("FEED", "no_supply=~");
    let (code, plan) = plan_with(command, &["--keys", "1000"]).await;
    assert_eq!(code, 0, "{plan:#}");
    let mut real = program(&world);
    real.env("FEED", "no_supply=~");
    run(real).await.ok();
    assert_eq!(foretold(&plan), came(&world).await);
    let e = &table(&plan, "e");
    assert_eq!(e["columns"], differing(&world, "e", "id", &["name", "price"]).await);
    assert_eq!(table(&plan, "c")["columns"], differing(&world, "c", "b, a", &["v", "w"]).await);
    assert!(table(&plan, "c")["columns"][1]["rows"].as_u64() > Some(0), "{plan:#}");
    assert_eq!(table(&plan, "c")["key"], serde_json::json!(["b", "a"]));
    for (name, key) in [("e", "id"), ("c", "b, a")] {
        let delivery = &table(&plan, name)["deliveries"][0];
        let columns = if name == "e" {
            "(t.name, t.price) is distinct from (o.name, o.price)"
        } else {
            "(t.v, t.w) is distinct from (o.v, o.w)"
        };
        let made = format!("select {key} from dbo.{name} except select {key} from public.{name}_before");
        let gone = format!("select {key} from public.{name}_before except select {key} from dbo.{name}");
        let amended =
            format!("select {key} from dbo.{name} t join public.{name}_before o using ({key}) where {columns}");
        assert_eq!(keys_of(delivery, "create"), keys(&world, &made).await);
        assert_eq!(keys_of(delivery, "amend"), keys(&world, &amended).await);
        assert_eq!(keys_of(delivery, "remove"), keys(&world, &gone).await);
        assert!(!keys_of(delivery, "amend").is_empty());
    }
    assert_eq!(table(&plan, "k")["key"], serde_json::json!([]), "whole rows have no key to show");
}

#[tokio::test]
async fn a_plan_leaves_nothing_even_where_nothing_was() {
    let world = World::empty_with_table().await;
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n").await;
    world.bucket.put(CHANGE, "U,1,x,1\n").await;
    let before = world.dump();
    let shown = plan(&world).await;
    assert_eq!(before, world.dump());
    assert_eq!(table(&shown, "e")["deliveries"][0]["keys"]["create"], serde_json::json!([["1"], ["2"]]));
    let (_, few) = plan_with(program(&world), &["--keys", "1"]).await;
    assert_eq!(table(&few, "e")["deliveries"][0]["keys"]["create"], serde_json::json!([["1"]]));
    let (_, none) = plan_with(program(&world), &["--keys", "0"]).await;
    assert_eq!(table(&none, "e")["deliveries"][0]["keys"]["create"], serde_json::json!([]));
    let file = planned(&world).await;
    run_plan(&world, &file).await.ok();
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|loaded|2/0/0/0", "20991231-235900.csv.gz|loaded|0/1/0/0"]);
}

#[tokio::test]
async fn what_would_stop_and_what_is_not_in_it_is_told_with_what_to_do() {
    let world = World::with_table().await;
    world.sql("create table dbo.s (id int primary key); create table dbo.h (id int primary key)").await;
    world.bucket.put("s/LOAD00000001.csv.gz", "1\nx\n").await;
    world.bucket.put("h/LOAD00000001.csv.gz", &(0..300).map(|id| format!("{id}\n")).collect::<String>()).await;
    assert_eq!(run_once(&world).await.code, 1);
    begin(&world).await;
    world.bucket.put("s/20991231-235900.csv.gz", "I,2\n").await;
    world.bucket.put_later("h/LOAD00000001.csv.gz", "1\n").await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    world.bucket.put(CHANGE, "U,1,a,broken\n").await;
    world.bucket.put("e/20991231-235901.csv.gz", "U,1,b,1\n").await;
    world.bucket.put("nowhere/LOAD00000001.csv.gz", "1\n").await;
    let shown = plan(&world).await;
    assert_eq!(shown["exit_code"], 1);
    let failed = &table(&shown, "e")["deliveries"][1];
    assert_eq!(
        (failed["status"].as_str(), failed["why"].as_str()),
        (Some("failed"), Some("line 1, column price: not a number"))
    );
    assert_eq!(failed["next"][0], "put a mended file into the bucket");
    let held = &table(&shown, "h")["deliveries"][0];
    assert_eq!((held["status"].as_str(), held["would_remove"].as_u64()), (Some("held"), Some(299)));
    assert_eq!(table(&shown, "s")["stopped"]["status"], "failed");
    let left = |name: &str| {
        let all = shown["left"].as_array().expect("left");
        all.iter().find(|left| left["table"] == name).unwrap_or_else(|| panic!("no {name} in {shown:#}")).clone()
    };
    assert_eq!(left("dbo.nowhere")["why"], "no such table in the target; create it");
    assert_eq!((left("dbo.e")["files"].as_u64(), left("dbo.s")["files"].as_u64()), (Some(1), Some(1)));
    let behind = format!("behind {}, which would fail", world.bucket.key(CHANGE));
    assert_eq!(left("dbo.e")["why"], behind);
    let why = left("dbo.s")["why"].to_string();
    assert!(why.starts_with("\"behind delivery ") && why.contains(", which is failed; `deliveries show "), "{why}");
    assert_eq!(left("dbo.s")["examples"], serde_json::json!([world.bucket.key("s/20991231-235900.csv.gz")]));
    // the plan is kept to the letter: what was shown to stop is written down
    let file = planned(&world).await;
    let ended = run_plan(&world, &file).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert_eq!(foretold(&shown).len(), came(&world).await.len());
    let stopped = world.rows(
        "select entity || ' ' || status from loader_deliveries where status not in ('loaded', 'pending') order by 1",
    );
    assert_eq!(stopped.await, ["e failed", "h held", "s failed"]);
}

#[tokio::test]
async fn a_run_does_what_its_plan_shows_and_leaves_what_came_since() {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key)").await;
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n").await;
    // more files than are taken stock of at once
    for number in 0..12 {
        world.bucket.put(&format!("e/20991231-2359{number:02}.csv.gz"), &format!("U,1,n{number},1\n")).await;
    }
    let (file, shown) = (planned(&world).await, plan(&world).await);
    assert_eq!(table(&shown, "e")["deliveries"].as_array().map(Vec::len), Some(13));
    world.bucket.put("e/20991231-235959.csv.gz", "U,1,later,1\n").await;
    world.bucket.put("f/LOAD00000001.csv.gz", "1\n").await;
    begin(&world).await;
    let ended = run_plan(&world, &file).await.ok();
    assert!(
        ended.log.contains("2 files pending that the plan does not have, left for the next run, like"),
        "{}",
        ended.log
    );
    assert_eq!(came(&world).await, foretold(&shown));
    assert_eq!(world.value("select name from dbo.e where id = 1").await, "n11");
    run_once(&world).await.ok();
    assert_eq!(world.value("select name from dbo.e where id = 1").await, "later");
    is_over(run_plan(&world, &file).await);
}

#[track_caller]
fn is_over(ended: Ended) {
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains("is accounted for since the plan: delivery 1, loaded"), "{}", ended.log);
    assert!(ended.effects().is_empty(), "{}", ended.log);
}

/// A table with a row, and a change file for it that is not loaded.
async fn changing() -> World {
    let world = World::with_table().await;
    world.sql("create table dbo.a (id int primary key)").await;
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n").await;
    run_once(&world).await.ok();
    world.bucket.put(CHANGE, "U,1,x,1\nU,2,y,2\n").await;
    world.bucket.put("a/LOAD00000001.csv.gz", "1\n").await;
    world
}

#[tokio::test]
async fn a_plan_is_refused_when_the_bucket_moved() {
    let world = changing().await;
    let plan = planned(&world).await;
    world.bucket.put("e/20991231-235800.csv.gz", "U,1,y,1\n").await;
    let between = format!("{} came since the plan", world.bucket.key("e/20991231-235800.csv.gz"));
    is_refused(run_plan(&world, &plan).await, &between);
    world.bucket.delete("e/20991231-235800.csv.gz").await;
    world.bucket.put(CHANGE, "U,1,y,1\n").await;
    let again = format!("{} was written again since the plan", world.bucket.key(CHANGE));
    is_refused(run_plan(&world, &plan).await, &again);
    world.bucket.delete(CHANGE).await;
    let gone = format!("{} is gone from the bucket since the plan", world.bucket.key(CHANGE));
    is_refused(run_plan(&world, &plan).await, &gone);
    assert_eq!(world.value("select count(*) from dbo.a").await, "0", "no other table was touched");
}

#[tokio::test]
async fn a_plan_is_refused_when_table_ledger_setting_or_place_moved() {
    let world = changing().await;
    let plan = planned(&world).await;
    let mut other = program(&world);
    other.env("MAX_REMOVE", "10%").env("FEED", "null=x").args(["run", "--plan"]).arg(&plan);
    let ended = run(other).await;
    assert!(ended.log.contains("FEED is not what it was when the plan was made"), "{}", ended.log);
    is_refused(ended, "MAX_REMOVE was \"50%\" when the plan was made, and is \"10%\"");
    let mut other = program(&world);
    let source = world.bucket.source().replace(&format!("bucket_path={}", world.bucket.path), "bucket_path=elsewhere");
    other.env("SOURCE", source).args(["run", "--plan"]).arg(&plan);
    is_refused(run(other).await, "and SOURCE names \"elsewhere\"");
    world.sql("alter table dbo.e alter name type varchar(9)").await;
    is_refused(run_plan(&world, &plan).await, "dbo.e: the table was altered");
    let plan = planned(&world).await;
    let before = world.value("select max(id) from loader_deliveries").await;
    run_once(&world).await.ok();
    let ended = run_plan(&world, &plan).await;
    assert!(
        ended.log.contains(&format!("{} is accounted for since the plan: delivery", world.bucket.key(CHANGE))),
        "{}",
        ended.log
    );
    assert_eq!(ended.code, 1);
    assert_ne!(before, world.value("select max(id) from loader_deliveries").await);
    // a table of which the plan has nothing may do what it likes
    world.bucket.put("a/20991231-235900.csv.gz", "I,2\n").await;
    let plan = planned(&world).await;
    world.sql("alter table dbo.e add other int").await;
    run_plan(&world, &plan).await.ok();
    world.bucket.put("a/20991231-235901.csv.gz", "I,3\n").await;
    let plan = planned(&world).await;
    world.sql("drop table dbo.a").await;
    is_refused(run_plan(&world, &plan).await, "dbo.a: the table is gone");
}

#[tokio::test]
async fn as_many_other_rows_are_not_what_was_planned() {
    let world = changing().await;
    world.bucket.put(CHANGE, "U,1,x,1\nU,2,b,2\n").await;
    let plan = planned(&world).await;
    world.sql("update dbo.e set name = case id when 1 then 'x' else 'zz' end").await;
    let ended = run_plan(&world, &plan).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    let words = format!("{} would now change other rows, or other columns, though as many", world.bucket.key(CHANGE));
    assert!(ended.log.contains(&words), "{}", ended.log);
    assert_eq!(world.rows("select name from dbo.e order by id").await, ["x", "zz"]);
}

#[tokio::test]
async fn a_plan_for_another_database_makes_no_tables_there() {
    let (world, other) = (changing().await, World::empty().await);
    let (plan, before) = (planned(&world).await, other.dump());
    let mut command = program(&world);
    command.env("TARGET", other.target()).env("MIGRATE", "True").args(["run", "--plan"]).arg(&plan);
    is_refused(run(command).await, &format!("and TARGET names \"{}\"", other.database));
    assert_eq!(other.dump(), before);
}

#[tokio::test]
async fn what_a_release_would_do_can_be_looked_at() {
    let world = World::with_table().await;
    let rows = |most: u32| (1..=most).map(|id| format!("{id},n,1\n")).collect::<String>();
    world.bucket.put(LOAD, &rows(300)).await;
    run_once(&world).await.ok();
    world.bucket.put(LOAD, &(rows(100) + "301,new,1\n")).await;
    let released = async || plan_with(program(&world), &["--released", "--keys", "2"]).await.1;
    // before anybody tried to load it, and when it is held
    for _ in 0..2 {
        let before = world.dump();
        let e = table(&released().await, "e").clone();
        assert_eq!((&e["counts"]["remove"], &e["counts"]["create"]), (&200.into(), &1.into()), "{e:#}");
        let delivery = e["deliveries"][0].clone();
        assert_eq!(keys_of(&delivery, "remove"), ["101".to_owned(), "102".to_owned()].into(), "{delivery:#}");
        assert_eq!(world.dump(), before);
        assert_eq!(run_once(&world).await.code, 1);
    }
    assert_eq!(world.value("select status, requested from loader_deliveries order by id desc limit 1").await, "held|∅");
    assert_eq!(world.value("select count(*) from dbo.e").await, "300");
}

#[tokio::test]
async fn a_delivery_that_comes_to_something_else_is_rolled_back_and_ends_the_run() {
    let world = changing().await;
    let plan = planned(&world).await;
    world.sql("update dbo.e set name = 'x' where id = 1; insert into dbo.a values (7)").await;
    let of_e =
        "select object_key, status from loader_deliveries where entity = 'e' and status <> 'pending' order by id";
    let ledger = world.rows(of_e).await;
    let ended = run_plan(&world, &plan).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    let key = world.bucket.key(CHANGE);
    let words = format!(
        "dbo.e moved since the plan: {key} would now amend 1 row, planned 2, and find 1 row unchanged, planned 0."
    );
    assert!(ended.log.contains(&words), "{}", ended.log);
    assert_eq!(ended.log.matches("ERROR").count(), 2, "{}", ended.log);
    assert_eq!(world.rows(of_e).await, ledger);
    assert_eq!(world.rows("select name from dbo.e order by id").await, ["x", "b"]);
    // it would fail now, and was to be loaded
    world.sql("update dbo.e set name = 'a' where id = 1; truncate dbo.a; alter table dbo.e add unique (name)").await;
    let plan = planned(&world).await;
    world.sql("insert into dbo.e values (3, 'x', 3)").await;
    let ended = run_plan(&world, &plan).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains(&format!("{key} would now be failed (deliver: duplicate key value")), "{}", ended.log);
    assert_eq!(world.rows(of_e).await, ledger, "a failure that was not planned is not written down");
    // and the other way round
    let plan = planned(&world).await;
    world.sql("delete from dbo.e where id = 3").await;
    let ended = run_plan(&world, &plan).await;
    assert!(
        ended.code == 1 && ended.log.contains(&format!("{key} would now be loaded, planned failed")),
        "{}",
        ended.log
    );
}

#[tokio::test]
async fn a_table_that_was_empty_and_is_not_any_more_is_refused() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    let plan = planned(&world).await;
    world.sql("insert into dbo.e values (9, 'own', 1)").await;
    let ended = run_plan(&world, &plan).await;
    let words = "was planned as rows for an empty table, and is full load 1, compared with the table now";
    is_refused(ended, words);
    // planned so, it is done so
    let plan = planned(&world).await;
    run_plan(&world, &plan).await.ok();
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|loaded|1/0/1/0"]);
}

#[tokio::test]
async fn with_a_reload_in_the_plan_nothing_is_done_before_it_is_quiet() {
    let world = changing().await;
    world.bucket.put_later(LOAD, "1,r,1\n").await;
    let plan = planned(&world).await;
    let mut command = program(&world);
    command.env("SETTLE", "3").args(["run", "--plan"]).arg(&plan);
    let running = start(command);
    running.says("waiting 3 s for its parts to be quiet").await;
    assert_eq!(
        world.value("select count(*) from loader_deliveries where status <> 'pending'").await,
        "1",
        "not even of another table"
    );
    world.bucket.put("e/LOAD00000002.csv.gz", "2,r,1\n").await;
    let ended = running.ends().await;
    let words = format!("{} came since the plan", world.bucket.key("e/LOAD00000002.csv.gz"));
    is_refused(ended, &words);
    let plan = planned(&world).await;
    let mut command = program(&world);
    command.env("SETTLE", "1").args(["run", "--plan"]).arg(&plan);
    run(command).await.ok();
    assert_eq!(world.value("select count(*) from loader_deliveries where status = 'loaded'").await, "4");
}

#[tokio::test]
async fn what_another_loader_has_in_hand_is_told_and_waited_for() {
    let world = changing().await;
    let plan = planned(&world).await;
    world.sql("begin; select pg_advisory_xact_lock(7365999, 'dbo.e'::regclass::oid::int)").await;
    let ended = run_plan(&world, &plan).await;
    let (code, shown) = plan_with(program(&world), &[]).await;
    world.sql("rollback").await;
    assert_eq!((ended.code, code), (75, 75), "{}", ended.log);
    assert_eq!(shown["left"][0]["why"], "another loader has the table in hand");
    assert_eq!(world.value("select count(*) from dbo.a").await, "1", "the other table was loaded");
}

#[tokio::test]
async fn a_rehearsal_can_be_held_to_a_plan_too() {
    let world = changing().await;
    let plan = planned(&world).await;
    let rehearsed = async || {
        let mut command = program(&world);
        command.args(["run", "--dry-run", "--plan"]).arg(&plan);
        run(command).await
    };
    let before = world.dump();
    rehearsed().await.ok();
    assert_eq!(before, world.dump());
    world.sql("update dbo.e set name = 'x' where id = 1").await;
    let ended = rehearsed().await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains("would now amend 1 row, planned 2"), "{}", ended.log);
}

#[tokio::test]
async fn a_file_that_is_no_plan_is_refused_before_anybody_is_asked() {
    let world = changing().await;
    let plan = planned(&world).await;
    let text = std::fs::read_to_string(&plan).expect("the plan");
    let cases = [
        (text.replacen("\"v\": 1", "\"v\": 2", 1), "it is of version 2, made by a newer program"),
        (text[..text.len() / 2].to_owned(), "it is no plan: line"),
        ("hello".to_owned(), "it is no plan: line 1, column 1: not JSON. `plan --out FILE` writes one"),
    ];
    for (text, words) in cases {
        std::fs::write(&plan, text).expect("written");
        let ended = run_plan(&world, &plan).await;
        assert_eq!(ended.code, 1, "{}", ended.log);
        assert!(ended.log.contains(words), "{words:?} is not in {}", ended.log);
    }
    let ended = run_plan(&world, &plan.with_extension("none")).await;
    assert!(ended.code == 1 && ended.log.contains("cannot read the plan"), "{}", ended.log);
}

#[tokio::test]
async fn keys_are_in_the_plan_and_never_in_the_log() {
    let world = World::with_table().await;
    world.sql("create table dbo.t (name text primary key)").await;
    let long = "long".repeat(100);
    world.bucket.put("t/LOAD00000001.csv.gz", &format!("\"<b>\u{202e}whisper\"\n{long}\n")).await;
    let mut command = program(&world);
    let page = file(&world, "plan.html");
    command.env("RUST_LOG", "debug").args(["plan", "--html"]).arg(&page).stdout(Stdio::null());
    let ended = run(command).await;
    assert!(ended.log.contains("Delivery 1: t (create: 2") && !ended.log.contains("whisper"), "{}", ended.log);
    let page = std::fs::read_to_string(page).expect("the page");
    assert!(page.contains("&#60;b&#62;\\u{202e}whisper"), "{page}");
    assert!(page.contains(&format!("{}…", &long[..120])) && !page.contains(&long[..121]), "{page}");
    let shown = plan(&world).await;
    assert_eq!(shown["tables"][0]["deliveries"][0]["keys"]["create"][0][0], "<b>\u{202e}whisper");
    let text = run({
        let mut command = program(&world);
        command.arg("plan");
        command
    })
    .await
    .ok();
    assert!(text.log.contains("<b>\\u{202e}whisper"), "{}", text.log);
    let wide = text.log.lines().filter(|line| line.chars().count() > 80 && !line.contains("long"));
    assert_eq!(wide.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// A row that moves is one that is gone and one that is new, wherever its cells come from.
#[tokio::test]
async fn a_row_that_moves_is_shown_as_removed_and_created() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n").await;
    run_once(&world).await.ok();
    world.bucket.put(CHANGE, "U,9,??,??,1\nU,2,c,??,2\n").await;
    let feed = "columns=Op,id,name,price,BI_id before_image_prefix=BI_ no_supply=??";
    let mut command = program(&world);
    command.env("FEED", feed);
    let (_, shown) = plan_with(command, &[]).await;
    let keys = &table(&shown, "e")["deliveries"][0]["keys"];
    assert_eq!(*keys, serde_json::json!({ "create": [["9"]], "amend": [["2"]], "remove": [["1"]] }));
    assert_eq!(table(&shown, "e")["columns"], serde_json::json!([{ "name": "name", "rows": 1 }]));
}

/// A browser says what a page may not do: nothing is said of this one, and its style is allowed.
#[tokio::test]
async fn the_page_of_a_plan_is_whole_in_a_browser() {
    let world = changing().await;
    let page = file(&world, "page.html");
    plan_with(program(&world), &["--html", &page.to_string_lossy()]).await;
    let own = std::env::temp_dir().join(format!("{}-chromium", world.database));
    let browse = async |page: &PathBuf| {
        let mut command =
            Command::new(std::env::var("PEO_CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned()));
        command.args("--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking".split(' '));
        command.args("--disable-component-update --disable-sync --enable-logging=stderr --dump-dom".split(' '));
        command.arg(format!("--user-data-dir={}", own.display())).arg(format!("file://{}", page.display()));
        run(command).await
    };
    let ended = browse(&page).await.ok();
    assert!(ended.log.contains("<h2>dbo.e</h2>"), "{}", ended.log);
    assert!(!ended.log.contains("CONSOLE"), "{}", ended.log);
    let text = std::fs::read_to_string(&page).expect("the page");
    let forged = file(&world, "forged.html");
    std::fs::write(&forged, text.replace("<h2>", "<h2><script>document.title = 1</script>")).expect("written");
    let ended = browse(&forged).await;
    assert!(ended.log.contains("Executing inline script violates"), "{}", ended.log);
    std::fs::remove_dir_all(own).expect("removed");
}

/// What is to be done with a file that was written again is known once it is read: the plan has read it, the listing has not.
#[tokio::test]
async fn a_plan_with_a_change_file_that_was_written_again_holds() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n").await;
    world.bucket.put(CHANGE, "U,1,x,1\n").await;
    run_once(&world).await.ok();
    for (etag, rest) in [(true, "e/20991231-235901.csv.gz"), (false, "e/20991231-235902.csv.gz")] {
        world.bucket.rewrite(CHANGE, etag).await;
        world.bucket.put(rest, "U,2,y,2\n").await;
        let file = planned(&world).await;
        run_plan(&world, &file).await.ok();
        assert!(run_once(&world).await.ok().effects().is_empty());
    }
    let left = "select count(*) from loader_deliveries where status <> 'loaded'";
    assert_eq!(world.value(left).await, "0");
}
