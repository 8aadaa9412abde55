//! Tests that what is wrong is said before anything is published, with the exit code of its kind.

use crate::support::{Bench, Ended, end};

const TABLE: &str = "create table t (id int primary key, at timestamp, n int, x text);
    insert into t values (1, '2020-05-17 13:00', 1, 'x'); create table empty (id int primary key, at timestamp);
    create table secret (id int primary key, at timestamp);";

fn assert_said(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, code, "{ended:?}");
    for word in words {
        assert!(ended.err.contains(word), "{word}: {ended:?}");
    }
    assert!(!ended.out.contains("\"id\""), "nothing is published: {ended:?}");
}

#[tokio::test]
async fn tables_columns_and_ranges_that_are_not_there() {
    let bench = Bench::new(TABLE).await;
    for (table, words) in [
        ("nowhere:at", vec!["no table nowhere"]),
        ("t:when", vec!["no column \"when\"", "id, at, n, x"]),
        ("t:at:nokey", vec!["no column \"nokey\""]),
        ("t:at:x", vec!["may be null"]),
        ("t:n", vec!["n@s"]),
        ("t:x@ms", vec!["for numbers"]),
        ("empty:at", vec!["nothing to replay"]),
    ] {
        assert_said(&bench.replay(&["--table", table, "--to", "console:"]).await, 1, &words);
    }
    let range = ["--table", "t:at", "--to", "console:", "--start", "2021-01-01", "--end", "2021-01-02"];
    assert_said(&bench.replay(&range).await, 1, &["no row", "2020-05-17T13:00:00"]);
    let condition = ["--table", "t:at", "--to", "console:", "--where", "id = 9"];
    assert_said(&bench.replay(&condition).await, 1, &["nothing to replay"]);
    let wrong = ["--table", "t:at", "--to", "console:", "--where", "nonsense("];
    assert_said(&bench.replay(&wrong).await, 1, &["42601"]);
}

#[tokio::test]
async fn servers_that_are_away_and_settings_that_are_wrong() {
    let bench = Bench::new(TABLE).await;
    let nats = bench.replay(&["--table", "t:at", "--to", "console:", "--to", "nats://me:hunter2@127.0.0.1:9/x"]).await;
    assert_said(&nats, 69, &["127.0.0.1:9"]);
    assert!(!nats.err.contains("hunter2"));
    let folder = bench.path("file");
    std::fs::write(&folder, "").expect("written");
    let to = format!("file:{}", folder.display());
    assert_said(&bench.replay(&["--table", "t:at", "--to", &to]).await, 69, &["not a folder"]);
    let wrong = bench.replay(&["--table", "t", "--to", "nowhere", "--rate", "fast"]).await;
    assert_said(&wrong, 78, &["--table", "--to", "--rate"]);
    let mut away = Bench::new("").await;
    away.url = "postgresql://me:hunter2@127.0.0.1:9/d".to_owned();
    let away = away.replay(&["--table", "t:at", "--to", "console:"]).await;
    assert_said(&away, 69, &["127.0.0.1:9/d"]);
    assert!(!away.err.contains("hunter2"));
}

#[tokio::test]
async fn check_says_the_same_and_publishes_nothing() {
    let bench = Bench::new(TABLE).await;
    let out = bench.path("out");
    let to = format!("file:{}", out.display());
    let check = async |table: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_paper-engine-replay"));
        command.args(["check", "--from", &bench.url, "--table", table, "--to", &to]).env_clear();
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        end(command.spawn().expect("starts")).await
    };
    let sound = check("t:at").await;
    assert_eq!(sound.code, 0, "{sound:?}");
    for word in [
        "ok    configuration",
        "ok    table public.t by at",
        "create index on",
        "ok    range from",
        "ok    destination folder",
    ] {
        assert!(sound.out.contains(word), "{word}: {}", sound.out);
    }
    assert!(!out.exists());
    let faulty = check("t:when").await;
    assert!(faulty.code == 1 && faulty.out.contains("FAIL"), "{faulty:?}");
}

#[tokio::test]
async fn head_may_close_the_pipe() {
    let bench = Bench::new(
        "create table t (id int primary key, at timestamp); insert into t select n, timestamp '2020-05-17' from generate_series(1, 100000) n;",
    )
    .await;
    let mut command = tokio::process::Command::new("sh");
    let program = env!("CARGO_BIN_EXE_paper-engine-replay");
    command.args([
        "-c",
        "\"$0\" run --from \"$1\" --table t:at --to console: --pace flat | head -n 3",
        program,
        &bench.url,
    ]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let ended = end(command.spawn().expect("starts")).await;
    assert_eq!(ended.out.lines().count(), 3, "{ended:?}");
}
