//! Tests the cadence against the clock of this machine: what is told is how late rows were, not how long a test took.

use std::process::Stdio;

use crate::support::{Bench, lines, until};

const SECONDS: &str = "create table t (id int primary key, at timestamp not null);
    insert into t select n, timestamp '2020-05-17 13:00' + n * interval '1 second' from generate_series(0, 7) n;";

#[tokio::test]
async fn windows_are_files_and_empty_ones_are_counted() {
    let bench = Bench::new(SECONDS).await;
    let out = bench.path("out");
    let to = format!("file:{}", out.display());
    let range = ["--end", "2020-05-17T13:00:12"];
    let ended = bench
        .replay(&[&["--table", "t:at", "--to", &to, "--rate", "40", "--window", "100ms"], &range[..]].concat())
        .await;
    let summary = ended.summary();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!((&summary["rows"], &summary["windows"], &summary["empty_windows"]), (&8.into(), &3.into(), &1.into()));
    let mut names: Vec<String> = std::fs::read_dir(&out)
        .expect("the folder")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["000001-2020-05-17T13-00-00.000000.ndjson", "000002-2020-05-17T13-00-04.000000.ndjson"]);
    assert_eq!(lines(&out).len(), 8);
    assert!(summary["seconds"].as_f64().expect("seconds") >= 0.2, "the last, empty window is waited for");
}

#[tokio::test]
async fn a_destination_that_nobody_reads_delays_no_other() {
    let bench = Bench::new(
        "create table t (id int primary key, at timestamp not null, x text);
         insert into t select n, timestamp '2020-05-17 13:00' + n * interval '10 ms', repeat('x', 5000) from generate_series(0, 199) n;",
    )
    .await;
    let out = bench.path("out");
    let to = format!("file:{}", out.display());
    let mut command =
        bench.command(&["--table", "t:at", "--to", &to, "--to", "console:", "--pace", "event", "--rate", "2"]);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("starts");
    // stdout is a pipe of 64 KiB that holds a dozen of rows
    until("all rows are in files", async || lines(&out).len() == 200).await;
    assert!(child.try_wait().expect("a state").is_none(), "the console still waits");
    let ended = crate::support::end(child).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(ended.out.lines().filter(|line| line.starts_with("{\"id\"")).count(), 200);
}

#[tokio::test]
async fn what_is_later_than_allowed_is_a_failure() {
    let bench = Bench::new(SECONDS).await;
    let fast = ["--table", "t:at", "--to", "console:", "--rate", "1000"];
    let missed = bench.replay(&[&fast[..], &["--max-lateness", "0ms@max"]].concat()).await;
    assert!(missed.code == 1 && missed.err.contains("--max-lateness"), "{missed:?}");
    let met = bench.replay(&[&fast[..], &["--max-lateness", "1h@max"]].concat()).await;
    assert_eq!(met.code, 0, "{}", met.err);
}
