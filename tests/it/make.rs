//! `feed make` as a user runs it: what it says it wrote, against the files and against what the loader says.

use std::path::Path;

use serde_json::Value;

use crate::support::World;
use crate::support::program::{program, run};

/// Runs `feed make` and gives back what it printed.
async fn make(world: &World, words: &[&str]) -> String {
    let mut command = program(world);
    command.args(["feed", "make"]).args(words);
    run(command).await.ok().log
}

async fn make_json(world: &World, words: &[&str]) -> Vec<Value> {
    let words: Vec<_> = words.iter().chain(&["--json"]).copied().collect();
    let said = make(world, &words).await;
    said.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Each anomaly is found by the loader, at the line where it was put.
#[tokio::test]
async fn the_loader_finds_what_was_spoiled_where_it_was_spoiled() {
    let cases = [
        ("wide-values", "column strategy_id: out of range for integer"),
        ("bad-row", "column quantity: not a number"),
        ("ragged-row", "11 fields where 12 were expected"),
        ("duplicate-key", "the same key as line"),
        ("truncated", "truncated gzip"),
        ("crc", "corrupt gzip"),
        ("empty", "the object is empty (0 bytes)"),
        ("open-quote", "field 12"),
    ];
    let world = World::with_model().await;
    for (anomaly, words) in cases {
        let flag = format!("--anomaly={anomaly}");
        let files = make_json(&world, &["--bucket", "--entity=entity_1", "--scale=0.002", &flag]).await;
        let [file] = &files[..] else { panic!("one file: {files:?}") };
        let spot = &file["anomalies"][0];
        assert_eq!(spot["anomaly"], anomaly);
        // a file that is put into the bucket again within the same second is no other version for a full load
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        let ended = run(program(&world)).await;
        assert_eq!(ended.code, 1, "{}", ended.log);
        let failed = ended.log.lines().find(|line| line.contains(": failed: ")).expect(&ended.log);
        assert!(failed.contains(words), "{anomaly}: {failed}");
        if let Some(line) = spot["line"].as_u64().filter(|_| anomaly != "open-quote") {
            assert!(failed.contains(&format!("line {line}")), "{spot}: {failed}");
        }
    }
}

#[tokio::test]
async fn what_is_said_is_what_was_written() {
    let world = World::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_str().expect("a path");
    let words = ["--out", out, "--entity=entity_3", "--changes=2", "--ops=20", "--parts=2", "--plain"];
    let more = ["--time=2022-09-22 09:58:53", "--every=60", "--schema=shop", "--table=Plans", "--anomaly=missing-part"];
    let files = make_json(&world, &[&words[..], &more].concat()).await;
    let names = ["LOAD00000001", "LOAD00000002", "20220922-095853000", "20220922-095953000"];
    assert_eq!(files.len(), names.len());
    for (file, name) in files.iter().zip(names) {
        let key = format!("shop/Plans/{name}.csv");
        assert_eq!(file["key"], key);
        let path = Path::new(out).join(key);
        let Ok(text) = std::fs::read_to_string(&path) else {
            assert_eq!((&file["rows"], &file["anomalies"][0]["anomaly"]), (&Value::Null, &"missing-part".into()));
            continue;
        };
        assert_eq!(file["bytes"], text.len());
        assert_eq!(file["rows"], text.lines().count());
        let claims = ["I", "U", "D"].map(|op| text.lines().filter(|line| line.starts_with(op)).count());
        let wanted = serde_json::json!({"I": claims[0], "U": claims[1], "D": claims[2]});
        assert!(file["claims"] == wanted || (file["claims"].is_null() && name.starts_with("LOAD")));
        assert!(file["max_event_id"].is_u64());
    }
    let modified = std::fs::metadata(folder.path().join("shop/Plans/20220922-095953000.csv"));
    let modified = modified.and_then(|file| file.modified()).expect("a time");
    let seconds = modified.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    assert_eq!(seconds, 1_663_840_793, "2022-09-22 09:59:53 UTC");
}

#[tokio::test]
async fn the_setting_that_is_told_reads_what_was_written() {
    let world = World::with_model().await;
    let words = ["--bucket", "--scale=0.002", "--changes=1", "--ops=50", r"--delimiter=\x01", r"--null=\N", "--crlf"];
    let said = make(&world, &words).await;
    let setting = said.lines().last().and_then(|line| line.strip_prefix("Read it with FEED='")).expect(&said);
    let mut command = program(&world);
    command.env("FEED", setting.trim_end_matches('\''));
    let ended = run(command).await.ok();
    assert!(ended.effects().contains(&"entity_1 (create: 320, amend: 0, remove: 0).".to_owned()), "{}", ended.log);
    let odd = world.rows("select count(*) from dbo.entity_1 where note is null or terms is null").await;
    assert_ne!(odd, ["0"]);
    let plain = make(&world, &["--bucket", "--entity=entity_3", "--crlf"]).await;
    assert!(!plain.contains("FEED"), "{plain}");
}

#[tokio::test]
async fn what_does_not_go_together_is_said() {
    let world = World::new().await;
    let mut command = program(&world);
    command.args(["feed", "make", "--out", "/nowhere", "--anomaly=missing-part"]);
    let ended = run(command).await;
    assert_eq!(ended.code, 1);
    assert!(ended.log.contains("missing-part wants a full load with --parts 2 or more"), "{}", ended.log);
}
