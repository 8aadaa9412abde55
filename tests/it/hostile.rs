//! Names that others chose: a key, a folder, a header may hold what moves a cursor, ends a line or turns the direction of
//! writing. Nothing that we say repeats such characters, so nobody can forge a line of a log or hide a part of one.

use serde_json::Value;

use crate::support::World;
use crate::support::broker::{Broker, free_port, heard};
use crate::support::program::{Ended, program, run, start};

/// Clears the screen, colours (both ways to say so), turns around, ends a line (three ways), and says something of its own.
const NAME: &str = "e\u{1b}[2J\u{9b}31m\u{202e}\u{2028}\u{85}\n2099 ERROR forged\"\\{x=\"1\"}";

/// A folder with controls in its name is no table's; what else it may hold is not less hostile.
const TABLE: &str = "t\u{202e}\u{2028}\u{200b} forged\"{x=\"1\"}";

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table, a folder without a table and an object that is no file of a table, all named so; a header and a cell.
async fn hostile() -> World {
    let world = World::with_table().await;
    world.sql(&format!("create table dbo.{} (id int primary key, name text)", quoted(TABLE))).await;
    world.bucket.put(&format!("{TABLE}/LOAD00000001.csv.gz"), "id,name\n1,a\n").await;
    world.bucket.put(&format!("{NAME}/LOAD00000001.csv.gz"), "id,name\n1,a\n").await;
    world.bucket.put(&format!("{TABLE}-unmapped/LOAD00000001.csv.gz"), "id,name\n1,a\n").await;
    world.bucket.put(&format!("e/{NAME}.txt"), "").await;
    world.bucket.put("e/LOAD00000001.csv.gz", &format!("id,name,{}\n1,a,1\n", quoted(NAME))).await;
    world.sql("create table dbo.r (id int primary key, name text)").await;
    world.bucket.put("r/LOAD00000001.csv.gz", &format!("id,name\n1,a\n{},b\n", quoted(NAME))).await;
    world
}

fn hides(c: char) -> bool {
    let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\n') || turns
}

#[track_caller]
fn is_harmless(text: &str, when: &str) {
    let found = text.chars().find(|c| hides(*c));
    assert!(found.is_none(), "{when} says {found:?}:\n{}", text.escape_debug());
    let forged = text.lines().find(|line| line.trim_start().starts_with("2099"));
    assert!(forged.is_none(), "{when} has a forged line: {forged:?}");
}

async fn asked(world: &World, words: &str, format: &str) -> Ended {
    let mut command = program(world);
    command.env("FEED", "header=True").env("LOG_FORMAT", format).env("ON_BAD_ROW", "quarantine");
    command.env("MAX_REJECTS", "50%").args(words.split(' '));
    run(command).await
}

#[tokio::test]
async fn no_name_moves_the_cursor_or_forges_a_line() {
    let world = hostile().await;
    let ended = asked(&world, "run --once", "text").await;
    assert!(ended.log.contains("forged"), "{}", ended.log);
    is_harmless(&ended.log, "run --once");
    let stopped = world.value("select id from loader_deliveries where entity = 'e'").await;
    let show = format!("deliveries show {stopped}");
    let skip = format!("deliveries skip {stopped} --reason \u{1b}[31m\u{202e}");
    for (words, says) in [
        ("run --dry-run", "stopped by delivery"),
        ("check", "forged"),
        ("status", "forged"),
        ("deliveries list", "forged"),
        (show.as_str(), "forged"),
        ("deliveries show 1", "object_key"),
        ("deliveries show 2", "object_key"),
        ("deliveries show 3", "object_key"),
        ("rejects list", "forged"),
        ("notifications list", "No messages"),
        (skip.as_str(), "skipped"),
        (show.as_str(), "skipped"),
    ] {
        let ended = asked(&world, words, "text").await;
        assert!(ended.log.contains(says), "{words}: {}", ended.log);
        is_harmless(&ended.log, words);
    }
}

#[tokio::test]
async fn json_is_whole_and_as_harmless() {
    let world = hostile().await;
    let first = asked(&world, "run --once", "json").await;
    assert!(first.log.contains("Done: "), "{}", first.log);
    // which of the files came first hangs on the second in which they were put
    let show = async |entity: &str| {
        let id = format!("select id from loader_deliveries where entity {entity}");
        format!("deliveries show {} --json", world.value(&id).await)
    };
    for words in [
        "run --once",
        "check --json",
        "status --json",
        "deliveries list --json",
        &show("= 'e'").await,
        &show("not in ('e', 'r')").await,
        "rejects list --json",
        "notifications list --json",
    ] {
        let ended = asked(&world, words, "json").await;
        is_harmless(&ended.log, words);
        for line in ended.log.lines() {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{words}: {error}: {line}"));
            assert!(value.is_object(), "{words}: {line}");
        }
        let whole: Vec<Value> = ended.log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let names = |value: &Value| value.to_string().contains('\u{202e}');
        assert!(words.starts_with("notif") || whole.iter().any(names), "{words} has the name as it is: {}", ended.log);
    }
}

#[tokio::test]
async fn messages_and_metrics_keep_their_form() {
    let world = hostile().await;
    let broker = Broker::core().await;
    let ears = broker.listen().await;
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = program(&world);
    command.env("FEED", "header=True").env("NOTIFICATIONS", "True").env("NATS", broker.url()).env("METRICS", &address);
    command.args(["run", "--service"]).env("MIN_SLEEP", "0.1").env("MAX_SLEEP", "0.1");
    let running = start(command);
    running.says("messages published").await;
    let messages = heard(&ears, 1).await;
    let message: Value = serde_json::from_str(&messages[0].0).expect("JSON");
    assert_eq!(message["stats"][TABLE]["CREATE"], 1, "{message}");
    for path in ["metrics", "readyz"] {
        let asked = std::process::Command::new("curl").args(["-s", &format!("http://{address}/{path}")]).output();
        let answer = String::from_utf8_lossy(&asked.expect("curl").stdout).into_owned();
        assert!(!answer.is_empty(), "{path}");
        let ours = ["# ", "paper_engine_", "process_", "ready", "notifier: "];
        let foreign = answer.lines().find(|line| !ours.iter().any(|start| line.starts_with(start)));
        assert_eq!(foreign, None, "{path}: {answer}");
    }
    running.signal("TERM");
    is_harmless(&running.ends().await.log, "a service");
}
