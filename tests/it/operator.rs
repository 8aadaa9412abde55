//! What an operator reads: the log's advice, the lists and what the ledger keeps of a request, in words that lead on.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::World;
use crate::support::program::{Ended, program, run, run_once, start};

const LOAD1: &str = "e/LOAD00000001.csv.gz";
const CHANGE: &str = "e/20991231-235900000.csv.gz";
const LATER: &str = "e/20991231-235901000.csv.gz";

async fn ask(world: &World, args: &[&str]) -> Ended {
    let mut command = program(world);
    command.args(args).env("USER", "operator");
    run(command).await
}

async fn with(world: &World, args: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = program(world);
    command.args(args).envs(variables.iter().copied());
    run(command).await
}

#[track_caller]
fn says(ended: &Ended, words: &str) {
    let said = ended.log.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(words), "{words:?} is not in\n{}", ended.log);
}

fn rows(count: u32) -> String {
    (0..count).map(|id| format!("{id},n,1\n")).collect()
}

/// A table of 210 rows whose next full load lacks 147 of them.
async fn halved() -> World {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, &rows(210)).await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, &rows(63)).await;
    world
}

#[tokio::test]
async fn a_dry_run_listens_only_if_it_is_told_to() {
    let world = World::with_table().await;
    let service = [("RUN_AS_SERVICE", "True")];
    for (args, variables) in [(&["run", "--dry-run"][..], &service[..]), (&[][..], &[service[0], ("DRY_RUN", "True")])]
    {
        let ended = with(&world, args, variables).await.ok();
        assert!(!ended.log.contains("are served at"), "{}", ended.log);
    }
    let told = with(&world, &["run", "--dry-run"], &[("METRICS", "127.0.0.1:0")]).await.ok();
    says(&told, "Status page, metrics and health are served at");
}

#[tokio::test]
async fn an_address_in_use_says_its_cause_once() {
    let world = World::with_table().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let ended = with(&world, &[], &[("METRICS", &address)]).await;
    assert_eq!(ended.log.matches("in use").count(), 1, "{}", ended.log);
}

#[tokio::test]
async fn a_release_keeps_who_and_what_was_released() {
    let world = halved().await;
    let held = run_once(&world).await;
    let words = "would remove 147 of 210 rows (70 %), more than MAX_REMOVE=50%";
    says(&held, words);
    says(&held, "`deliveries release 2`, if it is right as it is; or `deliveries skip 2 --reason …`");
    ask(&world, &["deliveries", "release", "2"]).await.ok();
    run_once(&world).await.ok();
    let kept = world.value("select status, actor, reason, error from loader_deliveries where id = 2").await;
    assert!(kept.starts_with("loaded|operator@"), "{kept}");
    assert!(kept.ends_with(&format!("|released: {words}|∅")), "{kept}");
}

#[tokio::test]
async fn a_release_that_is_held_again_is_no_release() {
    let world = halved().await;
    run_once(&world).await;
    ask(&world, &["deliveries", "release", "2", "--actor", "night shift"]).await.ok();
    world.sql("insert into dbo.e values (999, 'n', 1)").await;
    says(&run_once(&world).await, "would remove 148 of 211 rows: more than the 147 when it was released");
    let kept = world.value("select status, actor, reason from loader_deliveries where id = 2").await;
    assert_eq!(kept, "held|night shift|∅");
}

#[tokio::test]
async fn a_release_can_be_taken_back_until_it_is_acted_on() {
    let world = halved().await;
    run_once(&world).await;
    ask(&world, &["deliveries", "release", "2"]).await.ok();
    ask(&world, &["deliveries", "retry", "2"]).await.ok();
    says(&run_once(&world).await, "Delivery 2: held:");
    assert_eq!(world.value("select reason from loader_deliveries where id = 2").await, "∅");
    ask(&world, &["deliveries", "release", "2"]).await.ok();
    ask(&world, &["deliveries", "skip", "2", "--reason", "no"]).await.ok();
    run_once(&world).await.ok();
    assert_eq!(world.value("select count(*) from dbo.e").await, "210");
}

#[tokio::test]
async fn a_retry_keeps_who_asked() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1,new\n").await;
    let failed = run_once(&world).await;
    says(&failed, "or mend the table or change the setting, then `deliveries retry 1`; or");
    world.sql("alter table dbo.e add note text").await;
    ask(&world, &["deliveries", "retry", "1"]).await.ok();
    run_once(&world).await.ok();
    let kept = world.value("select status, actor, reason from loader_deliveries").await;
    assert!(kept.starts_with("loaded|operator@") && kept.ends_with("|∅"), "{kept}");
}

#[tokio::test]
async fn what_is_not_known_is_not_counted() {
    let world = halved().await;
    run_once(&world).await;
    let shown = ask(&world, &["deliveries", "show", "2"]).await.ok();
    says(&shown, "would remove 147");
    assert!(!shown.log.contains("rows_"), "{}", shown.log);
    says(&ask(&world, &["deliveries", "show", "1"]).await.ok(), "rows_create 210 rows_amend 0");
    let list = ask(&world, &["deliveries", "list"]).await.ok();
    says(&list, "held – – –");
    says(&list, "loaded 210 0 0");
}

#[tokio::test]
async fn the_list_fits_a_terminal_and_says_when_and_who() {
    let world = World::with_table().await;
    let table = "a_table_whose_name_is_longer_than_most_others_are";
    world.sql(&format!("create table dbo.{table} (id int primary key)")).await;
    let file = format!("{table}/20991231-235900000.csv.gz");
    world.bucket.put(&file, "I,1,and,much,more\n").await;
    run_once(&world).await;
    let reason = "the team that exports it says that it was made by mistake and that nobody will ever need it";
    ask(&world, &["deliveries", "skip", "1", "--reason", reason]).await.ok();
    world.bucket.put(LOAD1, "1,a,1\n").await;
    run_once(&world).await.ok();
    world.sql("update loader_deliveries set committed_at = '2026-11-21 14:02:37Z'").await;
    let list = ask(&world, &["deliveries", "list"]).await.ok();
    assert!(list.log.lines().all(|line| line.chars().count() <= 80), "{}", list.log);
    says(&list, "1 11-21 14:02 skipped – – –");
    says(&list, ": the team that exports it says that it was made by mistake and that nobody will ever need it");
    assert!(list.log.contains("–  a_table_w…20991231-235900000\n"), "{}", list.log);
    assert!(list.log.contains("0  e/LOAD00000001\n"), "{}", list.log);
    assert!(list.log.contains("       operator@"), "{}", list.log);
}

#[tokio::test]
async fn an_entity_is_named_with_or_without_its_schema() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,two\n").await;
    let lenient = [("ON_BAD_ROW", "quarantine"), ("MAX_REJECTS", "9")];
    with(&world, &[], &lenient).await.ok();
    for name in ["e", "dbo.e"] {
        says(&ask(&world, &["deliveries", "list", "--entity", name]).await.ok(), "1 0 0");
        says(&ask(&world, &["rejects", "list", "--entity", name]).await.ok(), "line 2, column price");
    }
    for name in ["f", "other.e"] {
        says(
            &ask(&world, &["deliveries", "list", "--entity", name]).await.ok(),
            &format!("No deliveries of {name}; the ledger knows: dbo.e."),
        );
        says(&ask(&world, &["rejects", "list", "--entity", name]).await.ok(), "No rejected rows.");
    }
    says(&ask(&world, &["notifications", "list"]).await.ok(), "No messages.");
}

#[tokio::test]
async fn status_counts_the_quarantine_until_somebody_empties_it() {
    let world = World::with_table().await;
    let lenient = [("ON_BAD_ROW", "quarantine"), ("MAX_REJECTS", "9")];
    world.bucket.put(LOAD1, "1,a,1\n2,b,two\n").await;
    let first = with(&world, &[], &lenient).await.ok();
    says(&first, "Delivery 1: 1 row was rejected; `rejects list 1` shows it.");
    world.bucket.put(CHANGE, "I,3,c,three\nI,4,d,four\n").await;
    world.bucket.put(LATER, "I,5,e,5\n").await;
    with(&world, &[], &lenient).await.ok();
    let words = "dbo.e: 3 rows in quarantine, deliveries 1 and 2; `rejects list --entity dbo.e`.";
    says(&ask(&world, &["status"]).await.ok(), words);
    let json = ask(&world, &["status", "--json"]).await.ok().log;
    assert!(json.contains(r#""rows_in_quarantine":3,"quarantine":[1,2]"#), "{json}");
    world.sql("delete from loader_rejects where delivery_id = 1").await;
    says(&ask(&world, &["status"]).await.ok(), "dbo.e: 2 rows in quarantine, delivery 2;");
    world.sql("delete from loader_rejects").await;
    assert!(!ask(&world, &["status"]).await.ok().log.contains("quarantine"));
}

#[tokio::test]
async fn a_dry_run_points_to_no_delivery_that_will_not_exist() {
    let world = halved().await;
    world.sql("create table dbo.f (id int primary key)").await;
    world.bucket.put("f/LOAD00000001.csv.gz", "one\n").await;
    let ended = with(&world, &["run", "--dry-run"], &[]).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    says(&ended, "more than MAX_REMOVE=50%. In a real run this would be held.");
    says(&ended, "column id: not an integer. In a real run this would fail.");
    let lenient = [("ON_BAD_ROW", "quarantine"), ("MAX_REJECTS", "9")];
    let rejected = with(&world, &["run", "--dry-run"], &lenient).await;
    says(&rejected, "1 row would be rejected.");
    for ended in [ended, rejected] {
        assert!(!ended.log.contains("`deliveries") && !ended.log.contains("`rejects"), "{}", ended.log);
    }
}

#[tokio::test]
async fn what_stands_behind_a_stop_is_told_at_the_start() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,bad\n").await;
    run_once(&world).await;
    world.bucket.put(CHANGE, "I,3,c,3\n").await;
    world.bucket.put(LATER, "I,5,e,5\n").await;
    let ended = run_once(&world).await;
    says(&ended, "0 deliveries pending, 2 files behind a stop, 0 objects");
    says(&ended, "csv.gz. `status` says why, and what to do.");
    says(&ended, "Done: 0 deliveries, 1 table stopped, 0 messages waiting.");
}

#[tokio::test]
async fn a_path_that_holds_nothing_of_ours_is_told() {
    let world = World::with_table().await;
    let path = world.bucket.path.clone();
    let empty = run_once(&world).await.ok();
    says(&empty, &format!("There is nothing below bucket_path \"{path}\" in bucket tests; check both in SOURCE."));
    says(&ask(&world, &["status"]).await.ok(), "There is nothing below bucket_path");
    let key = world.bucket.key("e/extra/deep.csv");
    world.bucket.put("e/extra/deep.csv", "1,a,1\n").await;
    for at in 1..7 {
        world.bucket.put(&format!("e/other{at}.csv"), "1,a,1\n").await;
    }
    let foreign = run_once(&world).await.ok();
    says(
        &foreign,
        &format!("is a file of a table, like \"{key}\". Is bucket_path the folder above the schemas' folders?"),
    );
    let status = ask(&world, &["status"]).await.ok().log;
    assert!(status.contains("7 objects that are no files of a table, like\n  "), "{status}");
    assert!(status.contains("other4.csv") && !status.contains("other5.csv"), "{status}");
    world.bucket.put(LOAD1, "1,a,1\n").await;
    for _ in 0..2 {
        let found = run_once(&world).await.ok();
        assert!(!found.log.contains("Is bucket_path"), "{}", found.log);
    }
}

#[tokio::test]
async fn no_sentence_ends_twice() {
    let world = World::with_table().await;
    let source = world.bucket.source().replace("bucket_key=", "bucket_key=not");
    let ended = with(&world, &[], &[("SOURCE", &source)]).await;
    says(&ended, "Check bucket_id and bucket_key in SOURCE.");
    world
        .sql(
            "create function dbo.no() returns trigger language plpgsql as $$begin raise exception 'Not today.'; end$$;
             create trigger no before insert on dbo.e for each row execute function dbo.no()",
        )
        .await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let failed = run_once(&world).await;
    says(&failed, "Not today");
    for ended in [ended, failed] {
        assert!(!ended.log.contains(".."), "{}", ended.log);
    }
}

#[tokio::test]
async fn an_unknown_key_of_a_setting_is_named_and_no_value() {
    let world = World::with_table().await;
    let source = format!("{} bucket_pth=canary bucket_key2 canary=x", world.bucket.source());
    let ended = with(&world, &[], &[("FEED", "delimeter=canary"), ("SOURCE", &source)]).await;
    assert_eq!(ended.code, 78);
    says(&ended, "FEED: the key of word 1 (delimeter) is not known next:");
    says(&ended, "(bucket_pth) is not known next:");
    assert!(!ended.log.contains("canary"), "{}", ended.log);
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_fault() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, &(0..3_000).map(|id| format!("{id},{},x\n", "n".repeat(60))).collect::<String>()).await;
    with(&world, &[], &[("ON_BAD_ROW", "quarantine"), ("MAX_REJECTS", "100%")]).await;
    let read_one = |mut command: Command| {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut line = String::new();
        BufReader::with_capacity(64, child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let ended = child.wait_with_output().expect("ended");
        (line, ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let mut list = program(&world);
    list.args(["rejects", "list", "--limit", "3000"]);
    let (line, code, said) = tokio::task::spawn_blocking(move || read_one(list)).await.expect("joined");
    assert_eq!((line.starts_with("Delivery 1"), code, said.as_str()), (true, Some(0), ""));
    let mut feed = program(&world);
    feed.args(["feed", "make", "--bucket", "--scale", "0.001", "--changes", "2"]);
    let (_, code, _) = tokio::task::spawn_blocking(move || read_one(feed)).await.expect("joined");
    assert_eq!(code, Some(1), "a feed that is not whole is no success");
}

#[tokio::test]
async fn missing_tables_of_the_loader_say_who_makes_them() {
    let world = World::empty_with_table().await;
    let ended = ask(&world, &["deliveries", "list"]).await;
    says(&ended, "Run `paper-engine-orders migrate` as their owner, or `run --once` with MIGRATE=True");
}

#[tokio::test]
async fn a_long_name_leaves_a_messages_counts_in_sight() {
    let world = World::with_table().await;
    let table = "a_table_whose_name_is_longer_than_most_others_are";
    world.sql(&format!("create table dbo.{table} (id int primary key)")).await;
    world.bucket.put(&format!("{table}/LOAD00000001.csv.gz"), "1\n2\n").await;
    let mut command = program(&world);
    command.env("NOTIFICATIONS", "True").env("NATS", "nats://127.0.0.1:1");
    run(command).await;
    let list = ask(&world, &["notifications", "list"]).await.ok();
    says(&list, "… +2 ~0 -0".trim_start_matches('…'));
    assert!(list.log.contains('…') && list.log.lines().all(|line| line.chars().count() <= 80), "{}", list.log);
}

#[tokio::test]
async fn a_service_that_waits_names_no_delivery_twice() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,bad\n").await;
    run_once(&world).await;
    let mut command = program(&world);
    command.env("RUN_AS_SERVICE", "True").env("METRICS", "").env("MIN_SLEEP", "0.1").env("MAX_SLEEP", "0.1");
    let service = start(command);
    service.says("stopped by delivery 1, failed").await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    service.signal("TERM");
    let log = service.ends().await.log;
    assert_eq!(log.matches("stopped by delivery 1").count(), 1, "{log}");
}
