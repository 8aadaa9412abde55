//! The operator's hands: every command as a script and as a person uses it, and what becomes of what stops a table.

use serde_json::Value;

use crate::support::World;
use crate::support::broker::{Broker, heard};
use crate::support::program::{Ended, program, run, run_once};
use crate::support::template::newest_migration;

const LOAD1: &str = "e/LOAD00000001.csv.gz";
const LOAD2: &str = "e/LOAD00000002.csv.gz";
const CHANGE: &str = "e/20991231-235900000.csv.gz";
const EARLIER: &str = "e/20991231-235859999.csv.gz";

async fn ask(world: &World, args: &[&str]) -> Ended {
    let mut command = program(world);
    command.args(args).env("USER", "operator");
    run(command).await
}

/// The answer's lines, each a JSON object.
async fn json(world: &World, args: &[&str]) -> Vec<Value> {
    let log = ask(world, args).await.log;
    let object = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    log.lines().map(object).collect()
}

async fn status(world: &World) -> Value {
    let mut answer = json(world, &["status", "--json"]).await;
    assert_eq!(answer.len(), 1, "one object");
    answer.remove(0)
}

#[track_caller]
fn says(ended: &Ended, words: &[&str]) {
    for words in words {
        // lines are wrapped where they must be
        let said = ended.log.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(words), "{words:?} is not in\n{}", ended.log);
    }
}

fn rows(count: u32) -> String {
    (0..count).map(|id| format!("{id},n,1\n")).collect()
}

/// A table of 300 rows whose next full load, of 100, is held as delivery 2.
async fn held() -> World {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, &rows(300)).await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, &rows(100)).await;
    assert_eq!(run_once(&world).await.code, 1);
    world
}

#[tokio::test]
async fn held_is_released() {
    let world = held().await;
    let stopped = ask(&world, &["status"]).await;
    assert_eq!(stopped.code, 1);
    says(&stopped, &["dbo.e: delivery 2 is held", "would remove 200 of 300 rows", "`deliveries release 2`"]);
    let released = ask(&world, &["deliveries", "release", "2"]).await.ok();
    says(&released, &["Delivery 2: released; the next iteration may remove up to 200 rows"]);
    let asked = ask(&world, &["status"]).await.ok();
    let comes = "released: the next iteration loads it, once it is quiet (SETTLE)";
    says(&asked, &[comes]);
    says(&ask(&world, &["deliveries", "list"]).await.ok(), &[comes]);
    run_once(&world).await.ok();
    assert_eq!(world.value("select count(*) from dbo.e").await, "100");
    assert!(status(&world).await["tables"][0]["stopped"].is_null());
}

#[tokio::test]
async fn held_is_skipped() {
    let world = held().await;
    let skip = ["deliveries", "skip", "2", "--reason", "half an export", "--json"];
    let said = json(&world, &skip).await.remove(0);
    assert_eq!((&said["id"], &said["action"], &said["status"]), (&2.into(), &"skip".into(), &"skipped".into()));
    assert!(said["next"].as_str().is_some_and(|next| next.starts_with("skipped by operator@")), "{said}");
    let counted = "select rows_remove, error from loader_deliveries where id = 2";
    let told = "0|would remove 200 of 300 rows (66.7 %), more than MAX_REMOVE=50%";
    assert_eq!(world.value(counted).await, told, "it removed nothing, and the error says what it would have");
    run_once(&world).await.ok();
    assert_eq!(world.value("select count(*) from dbo.e").await, "300", "the table stays as it was");
    assert_eq!(ask(&world, &["status"]).await.code, 0);
    let again = ask(&world, &skip).await;
    assert_eq!(again.code, 1);
    says(
        &again,
        &[
            "delivery 2 is skipped where:",
            "why: only a delivery that failed, is held, is late or is gone can be skipped next: A skipped delivery is final",
        ],
    );
}

#[tokio::test]
async fn held_is_replaced_and_counts_as_nothing() {
    let world = held().await;
    assert_eq!(world.value("select rows_remove from loader_deliveries where id = 2").await, "200");
    world.bucket.put_later(LOAD1, &rows(299)).await;
    run_once(&world).await.ok();
    let all = "select string_agg(status || ' ' || rows_remove, ', ' order by id) from loader_deliveries";
    assert_eq!(world.value(all).await, "loaded 0, skipped 0, loaded 1");
}

#[tokio::test]
async fn failed_is_mended_and_loaded() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put(CHANGE, "U,1,b,broken\n").await;
    assert_eq!(run_once(&world).await.code, 1);
    let stopped = ask(&world, &["status"]).await;
    says(&stopped, &["delivery 2 failed", "line 1, column price: not a number", "Next, one of put a mended file"]);
    assert!(!stopped.log.contains("broken"), "no cell is shown: {}", stopped.log);
    world.bucket.put(CHANGE, "U,1,b,2\n").await;
    // the version that failed is not there any more: nobody has to do anything
    let mended = status(&world).await;
    assert!(mended["tables"][0]["stopped"].is_null(), "{mended}");
    assert_eq!(mended["tables"][0]["pending"]["objects"], 1);
    run_once(&world).await.ok();
    assert_eq!(world.rows("select name, price from dbo.e").await, ["b|2.00"]);
    let list = json(&world, &["deliveries", "list", "--json"]).await;
    let states: Vec<_> = list.iter().map(|row| row["status"].as_str().unwrap_or_default()).collect();
    assert_eq!(states, ["loaded", "skipped", "loaded"]);
    assert_eq!(list[1]["superseded_by"], list[0]["id"]);
}

#[tokio::test]
async fn late_is_retried_and_folded_in() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n2,a,1\n").await;
    world.bucket.put(CHANGE, "U,1,new,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put(EARLIER, "U,1,old,1\nU,2,old,1\n").await;
    world.bucket.put("e/20991231-235901000.csv.gz", "I,3,c,1\n").await;
    assert_eq!(run_once(&world).await.code, 1);
    let stopped = status(&world).await;
    assert_eq!(stopped["tables"][0]["stopped"]["status"], "late");
    assert_eq!(stopped["tables"][0]["stopped"]["next"].as_array().map(Vec::len), Some(2), "{stopped}");
    assert_eq!(stopped["tables"][0]["pending"]["objects"], 2, "the file behind it waits too: {stopped}");
    says(&ask(&world, &["status"]).await, &["`deliveries retry 3` folds the file in"]);
    let retried = ask(&world, &["deliveries", "retry", "3"]).await.ok();
    says(&retried, &["Delivery 3: will be folded in by the next iteration, with all that was loaded after it."]);
    run_once(&world).await.ok();
    assert_eq!(world.rows("select id, name from dbo.e order by id").await, ["1|new", "2|old", "3|c"]);
}

#[tokio::test]
async fn a_column_more_is_added_and_the_delivery_retried() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put(CHANGE, "U,1,a,1,new\n").await;
    assert_eq!(run_once(&world).await.code, 1);
    let stopped = ask(&world, &["status"]).await;
    says(
        &stopped,
        &["delivery 2 failed", "5 fields", "mend the table or change the setting, then `deliveries retry 2`"],
    );
    world.sql("alter table dbo.e add note text").await;
    let retried = ask(&world, &["deliveries", "retry", "2"]).await.ok();
    says(&retried, &["Delivery 2: will be tried again in the next iteration."]);
    run_once(&world).await.ok();
    assert_eq!(world.rows("select * from dbo.e").await, ["1|a|1.00|new"]);
}

#[tokio::test]
async fn skipping_the_bad_part_of_a_reload_skips_the_reload() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put(LOAD2, "2,b,2\n").await;
    run_once(&world).await.ok();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    world.bucket.put(LOAD1, "1,x,1\n").await;
    world.bucket.put(LOAD2, "2,y,bad\n").await;
    assert_eq!(run_once(&world).await.code, 1);
    assert_eq!(world.value("select count(*) from loader_deliveries where status = 'failed'").await, "1");
    let skipped = ask(&world, &["deliveries", "skip", "4", "--reason", "wrong"]).await.ok();
    says(&skipped, &["Delivery 4 (with all 2 parts): skipped by operator@"]);
    let ended = run_once(&world).await.ok();
    assert!(ended.effects().is_empty(), "{}", ended.log);
    assert_eq!(world.rows("select name from dbo.e order by id").await, ["a", "b"]);
    let skipped =
        "select count(distinct object_key) from loader_deliveries where status = 'skipped' and generation = 2";
    assert_eq!(world.value(skipped).await, "2");
}

#[tokio::test]
async fn several_are_retried_at_once_or_none() {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key, check (id < 2)); create table dbo.g (id int primary key)").await;
    world.bucket.put(LOAD1, "1,a,bad\n").await;
    world.bucket.put("f/LOAD00000001.csv.gz", "2\n").await;
    world.bucket.put("g/LOAD00000001.csv.gz", "1\n").await;
    assert_eq!(run_once(&world).await.code, 1);
    let ids = world.rows("select id from loader_deliveries order by status, id").await;
    let [one, two, loaded] = [&ids[0], &ids[1], &ids[2]].map(String::as_str);
    let refused = ask(&world, &["deliveries", "retry", one, loaded]).await;
    assert_eq!(refused.code, 1);
    says(
        &refused,
        &[
            "is loaded",
            "why: only a delivery that failed, is held or is late can be retried next: A loaded delivery is final. Nothing was changed.",
        ],
    );
    assert_eq!(world.value("select count(requested) from loader_deliveries").await, "0");
    let said = json(&world, &["deliveries", "retry", one, two, "--json"]).await;
    assert_eq!(said.iter().map(|said| said["id"].to_string()).collect::<Vec<_>>(), [one, two]);
    assert_eq!(said[0]["acts_on"], Value::from(vec![one.parse::<i64>().expect("an id")]));
    assert_eq!(world.value("select count(requested) from loader_deliveries").await, "2");
}

#[tokio::test]
async fn status_shows_every_table_and_writes_nothing() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,two\n").await;
    let mut lenient = program(&world);
    lenient.env("ON_BAD_ROW", "quarantine").env("MAX_REJECTS", "10");
    run(lenient).await.ok();
    world.bucket.put(CHANGE, "U,1,b,1\n").await;
    world.bucket.put("nowhere/LOAD00000001.csv.gz", "1\n").await;
    world.bucket.put("e/LOAD00000002.csv.gz.tmp", "1\n").await;
    world.bucket.put("readme.txt", "1\n").await;
    let database = &world.database;
    world.sql(&format!("alter database \"{database}\" set default_transaction_read_only = on")).await;
    let before = world.dump();
    let report = status(&world).await;
    let table = &report["tables"][0];
    assert_eq!(report["tables"].as_array().map(Vec::len), Some(1), "{report}");
    assert_eq!((&table["table"], &table["pending"]["objects"]), (&"dbo.e".into(), &1.into()));
    assert_eq!((&table["rows_rejected"], &table["last_delivery"]), (&1.into(), &1.into()));
    assert!(table["last_loaded_age"].as_i64().is_some_and(|age| (0..120).contains(&age)), "{table}");
    assert!(table["pending"]["bytes"].as_u64().is_some_and(|bytes| bytes > 20), "{table}");
    assert_eq!(report["unmapped"][0]["table"], "dbo.nowhere");
    assert_eq!((&report["foreign"]["temporary"], &report["foreign"]["other"]), (&1.into(), &1.into()));
    assert_eq!((&report["messages_waiting"], &report["schema_version"]), (&0.into(), &newest_migration().into()));
    assert!(report["generated_at"].as_str().is_some_and(|at| at.len() == 20 && at.ends_with('Z')), "{report}");
    let shown = ask(&world, &["status"]).await.ok();
    says(
        &shown,
        &[
            "dbo.e: 1 row in quarantine, delivery 1; `rejects list --entity dbo.e`.",
            "dbo.nowhere: 1 file waits: no such table in the target; create it.",
            "2 objects that are no files of a table (1 temporary file, 1 other), like",
        ],
    );
    assert!(shown.log.lines().skip(1).all(|line| line.chars().count() <= 80), "{}", shown.log);
    assert!(!shown.log.contains('\u{1b}'), "no colour");
    assert_eq!(world.dump(), before);
}

#[tokio::test]
async fn a_held_reload_whose_other_part_came_stops_nothing() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put(LOAD2, "2,b,2\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "1,x,1\n").await;
    assert_eq!(run_once(&world).await.code, 1);
    assert_eq!(status(&world).await["tables"][0]["stopped"]["status"], "held");
    world.bucket.put(LOAD2, "2,y,2\n").await;
    let report = status(&world).await;
    assert!(report["tables"][0]["stopped"].is_null(), "{report}");
    assert_eq!(report["tables"][0]["pending"]["objects"], 2, "{report}");
    assert_eq!(ask(&world, &["status"]).await.code, 0);
}

#[tokio::test]
async fn a_name_that_two_tables_have_is_told() {
    let world = World::with_table().await;
    world.sql(r#"create table dbo."NAME" (id int primary key); create table dbo."name" (id int primary key)"#).await;
    world.bucket.put("Name/LOAD00000001.csv.gz", "1\n").await;
    run_once(&world).await;
    let report = status(&world).await;
    assert_eq!(report["unmapped"][0]["table"], "dbo.Name");
    assert!(report["unmapped"][0]["why"].as_str().is_some_and(|why| why.starts_with("2 tables of the target match")));
}

#[tokio::test]
async fn a_ledger_of_another_path_is_none_of_ours() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,broken\n").await;
    assert_eq!(run_once(&world).await.code, 1);
    let elsewhere = async |args: &[&str]| {
        let mut command = program(&world);
        command.args(args).env("SOURCE", world.bucket.source() + "-elsewhere");
        run(command).await.ok().log
    };
    assert_eq!(elsewhere(&["deliveries", "list", "--json"]).await, "");
    assert!(elsewhere(&["status"]).await.contains("No table of the feed is loaded or pending."));
    assert_eq!(json(&world, &["deliveries", "list", "--json"]).await.len(), 1);
}

#[tokio::test]
async fn rejects_are_listed_as_they_stand_in_the_file() {
    let world = World::with_table().await;
    let long = "x".repeat(200);
    let file = [format!("1,a,{long}\n").as_bytes(), b"2,\xff\t,2\n", b"3,c,3\n4,\"d\ne\",four\n"].concat();
    world.bucket.put_bytes(LOAD1, crate::support::gz_bytes(&file)).await;
    let mut lenient = program(&world);
    lenient.env("ON_BAD_ROW", "quarantine").env("MAX_REJECTS", "10");
    run(lenient).await.ok();
    let shown = ask(&world, &["rejects", "list"]).await.ok().log;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], format!("Delivery 1, {}", world.bucket.key(LOAD1)));
    assert_eq!(lines[1], "  line 1, column price: not a number");
    assert!(lines[2].starts_with("    1,a,xxx") && lines[2].ends_with('…'), "{shown}");
    assert!(lines[2..].iter().all(|line| line.chars().count() <= 80), "{shown}");
    assert_eq!(lines[4], "    2,\\xff\\t,2");
    assert_eq!(lines[6], "    4,\"d\\ne\",four");
    let rows = json(&world, &["rejects", "list", "1", "--entity", "e", "--json"]).await;
    assert_eq!(rows.len(), 3);
    assert_eq!((&rows[0]["raw"], &rows[0]["line"]), (&format!("1,a,{long}").into(), &1.into()));
    assert_eq!((&rows[1]["raw_hex"], &rows[1]["raw"]), (&"322cff092c32".into(), &Value::Null));
    assert_eq!(rows[2]["raw"], "4,\"d\ne\",four");
    assert!(ask(&world, &["rejects", "list", "--limit", "1"]).await.ok().log.contains("--limit shows more"));
    assert!(ask(&world, &["rejects", "list", "--entity", "f"]).await.ok().log.contains("No rejected rows."));
    let none = ask(&world, &["rejects", "list", "9"]).await;
    assert!(none.code == 1 && none.log.contains("the ledger has no delivery 9"), "{}", none.log);
}

#[tokio::test]
async fn messages_are_sent_again_as_they_were() {
    let world = World::with_table().await;
    let broker = Broker::core().await;
    let ears = broker.listen().await;
    let notify = async || {
        let mut command = program(&world);
        command.env("NOTIFICATIONS", "True").env("NATS", broker.url());
        run(command).await.ok()
    };
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put(CHANGE, "U,1,b,1\nI,2,c,1\n").await;
    notify().await;
    let first = heard(&ears, 2).await;
    world.sql("update loader_notifications set created_at = '2020-01-02 10:00Z' where id = 1").await;
    let republish = ["notifications", "republish", "--since", "2020-01-02 10:00", "--json"];
    let one = [&republish[..], &["--until", "2020-01-02 10:00:01", "--dry-run"]].concat();
    assert_eq!(json(&world, &one).await[0]["republished"], 1);
    assert!(json(&world, &["notifications", "list", "--waiting", "--json"]).await.is_empty(), "a dry run");
    assert_eq!(json(&world, &republish).await[0]["republished"], 2);
    let again = ask(&world, &["notifications", "republish", "--since", "2020-01-01"]).await.ok();
    says(&again, &["0 messages will be sent again (2 more wait already)"]);
    assert_eq!(json(&world, &["notifications", "list", "--waiting", "--json"]).await.len(), 2);
    assert_eq!(status(&world).await["messages_waiting"], 2);
    says(&ask(&world, &["status"]).await.ok(), &["2 messages wait for the broker."]);
    let mut silent = program(&world);
    silent.env("KEEP_MESSAGES", "1");
    run(silent).await.ok();
    assert_eq!(status(&world).await["messages_waiting"], 2, "what waits is not pruned, however old");
    notify().await;
    let all = heard(&ears, 4).await;
    assert_eq!(all[..2], all[2..], "the same ids and bytes, in their order");
    assert_eq!(all[..2], first[..]);
    let list = ask(&world, &["notifications", "list"]).await.ok().log;
    assert!(list.contains("e +1 ~1 -0") && !list.contains("waits"), "{list}");
    let wrong = ask(&world, &["notifications", "republish", "--since", "1h", "--until", "2h"]).await;
    assert!(wrong.code == 1 && wrong.log.contains("is not before --until"), "{}", wrong.log);
    assert_eq!(ask(&world, &["notifications", "republish", "--since", "soon"]).await.code, 2);
}

#[tokio::test]
async fn one_delivery_is_shown_with_what_to_do() {
    let world = held().await;
    let shown = ask(&world, &["deliveries", "show", "2"]).await.ok();
    says(&shown, &["status held", "would remove 200", "`deliveries release 2`"]);
    let row = json(&world, &["deliveries", "show", "2", "--json"]).await.remove(0);
    assert_eq!((&row["status"], &row["rows_remove"]), (&"held".into(), &200.into()));
    assert!(!ask(&world, &["deliveries", "show", "1"]).await.ok().log.contains("deliveries release"));
}

#[tokio::test]
async fn every_command_has_an_example() {
    let world = World::new().await;
    for command in [
        "run",
        "migrate",
        "status",
        "deliveries list",
        "deliveries show",
        "deliveries retry",
        "deliveries release",
        "deliveries skip",
        "rejects list",
        "notifications list",
        "notifications republish",
    ] {
        let args: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = ask(&world, &args).await.ok().log;
        let examples = help.split_once("\nExample").expect(&help).1;
        assert!(examples.contains(&format!(" paper-engine-orders {command}")), "{help}");
    }
}

#[tokio::test]
async fn without_the_loaders_tables_it_says_what_to_run() {
    let world = World::empty_with_table().await;
    for args in [&["status"][..], &["deliveries", "list"], &["rejects", "list"], &["notifications", "list"]] {
        let ended = ask(&world, args).await;
        assert_eq!(ended.code, 78, "{}", ended.log);
        assert!(ended.log.contains("Run `paper-engine-orders migrate`"), "{}", ended.log);
    }
    assert_eq!(world.value("select count(*) from pg_class where relname like 'loader%'").await, "0");
}

#[tokio::test]
async fn a_part_that_was_skipped_is_not_read_when_the_others_are_released() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put(LOAD2, "2,b,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "1,a,bad\n").await;
    world.bucket.put(LOAD2, "2,c,1\n").await;
    assert_eq!(run_once(&world).await.code, 1);
    let failed = world.value("select id from loader_deliveries where status = 'failed'").await;
    ask(&world, &["deliveries", "skip", &failed, "--reason", "broken"]).await.ok();
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD2, "2,d,1\n").await;
    let left_out = format!("{} was skipped, so a release leaves it out and removes the rows", world.bucket.key(LOAD1));
    says(&run_once(&world).await, &["held", &left_out]);
    let held = world.value("select id from loader_deliveries where status = 'held'").await;
    ask(&world, &["deliveries", "release", &held]).await.ok();
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 1, remove: 1)."]);
    assert_eq!(world.rows("select id, name from dbo.e").await, ["2|d"]);
}

#[tokio::test]
async fn what_was_held_without_a_number_is_guarded_when_it_is_released() {
    for (kept, released) in [(200, true), (50, false)] {
        let world = World::with_table().await;
        world.bucket.put(LOAD1, &rows(300)).await;
        world.bucket.put(LOAD2, "1000,b,1\n").await;
        run_once(&world).await.ok();
        world.bucket.delete(LOAD2).await;
        world.bucket.put_later(LOAD1, &rows(kept)).await;
        says(&run_once(&world).await, &["maybe incomplete"]);
        let release = ask(&world, &["deliveries", "release", "3"]).await.ok();
        says(&release, &["compares it, and holds it with the number if it would remove more than MAX_REMOVE"]);
        let ended = run_once(&world).await;
        assert_eq!(ended.code, i32::from(!released), "{}", ended.log);
        if !released {
            says(&ended, &["would remove 251 of 301 rows (83.4 %), more than MAX_REMOVE=50%"]);
            let release = ask(&world, &["deliveries", "release", "3"]).await.ok();
            says(&release, &["may remove up to 251 rows"]);
            run_once(&world).await.ok();
        }
        assert_eq!(world.value("select count(*) from dbo.e").await, kept.to_string());
    }
}
