//! What a run-once leaves behind for other programs: one line of JSON on stdout, and the metrics in a file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::broker::free_port;
use crate::support::program::{program, run, run_once, start};
use crate::support::screen::on_terminal;
use crate::support::{World, gz};

const LOAD: &str = "e/LOAD00000001.csv.gz";
const CHANGE: &str = "e/20991231-235900000.csv.gz";
const LATER: &str = "e/20991231-235901000.csv.gz";

/// What it says on stdout.
async fn stdout(mut command: Command) -> String {
    command.stderr(Stdio::null());
    run(command).await.log
}

/// The one line, without what is different each time.
async fn summary(command: Command) -> Value {
    let said = stdout(command).await;
    let mut lines = said.lines();
    let mut summary: Value = serde_json::from_str(lines.next().expect("a line")).expect(&said);
    assert_eq!(lines.next(), None, "{said}");
    let object = summary.as_object_mut().expect("an object");
    for name in ["started", "ended"] {
        let at = object.remove(name).expect(name);
        assert!(at.as_str().is_some_and(|at| at.len() == 27 && at.ends_with('Z')), "{at}");
    }
    assert!(object.remove("seconds").and_then(|seconds| seconds.as_f64()).is_some_and(|seconds| seconds > 0.0));
    assert_eq!(object.remove("version").as_ref().and_then(Value::as_str), Some(env!("CARGO_PKG_VERSION")));
    assert!(object.remove("host").is_some());
    summary
}

fn rehearse(world: &World) -> Command {
    let mut command = program(world);
    command.env("DRY_RUN", "True");
    command
}

#[tokio::test]
async fn a_run_once_ends_with_one_line_that_says_what_it_did() {
    let world = World::with_table().await;
    let (load, change) = ("1,a,1\n2,b,2\n", "U,1,a,3\nD,2,,\nI,3,c,3\nI,4,d,4\n");
    world.bucket.put(LOAD, load).await;
    world.bucket.put(CHANGE, change).await;
    world.bucket.put(LATER, "U,1,a,bad\n").await;
    let bytes = gz(load).len() + gz(change).len();
    let mut wanted = json!({
        "summary": "dry run", "exit_code": 1, "exit": "stopped", "error": null, "deliveries": 2, "bytes": bytes,
        "tables": {"dbo.e": {
            "snapshots": 1, "changes": 1, "noted": 0, "create": 4, "amend": 1, "remove": 1, "unchanged": 0, "rejected": 0,
            "bytes": bytes, "deliveries": [[1, 2]],
        }},
        "stopped": {"dbo.e": "failed"}, "pending": 1, "messages_waiting": 0,
    });
    assert_eq!(summary(rehearse(&world)).await, wanted);
    wanted["summary"] = "run once".into();
    assert_eq!(summary(program(&world)).await, wanted);
    let again = summary(program(&world)).await;
    assert_eq!((&again["tables"], &again["deliveries"], &again["exit"]), (&json!({}), &json!(0), &json!("stopped")));
}

#[tokio::test]
async fn a_run_that_cannot_go_on_says_so_in_its_line_too() {
    let world = World::with_table().await;
    let mut away = program(&world);
    away.env("TARGET", world.target_at(&free_port().to_string()));
    let away = summary(away).await;
    assert_eq!(
        (&away["exit_code"], &away["exit"], &away["deliveries"]),
        (&json!(69), &json!("unreachable"), &json!(0))
    );
    assert!(away["error"].as_str().is_some_and(|why| why.starts_with("cannot reach Postgres at ")), "{away}");
    world.bucket.put(LOAD, "1,a,1\n").await;
    let mut unheard = program(&world);
    unheard.env("NOTIFICATIONS", "True").env("NATS", format!("nats://127.0.0.1:{}", free_port()));
    let unheard = summary(unheard).await;
    assert_eq!((&unheard["messages_waiting"], &unheard["exit_code"]), (&json!(1), &json!(69)));
}

#[tokio::test]
async fn a_person_and_a_service_get_no_line() {
    let world = World::with_table().await;
    let seen = on_terminal(program(&world), 200).await;
    assert!(seen.text().contains("Done: 0 deliveries") && !seen.raw.contains("\"summary\""), "{}", seen.raw);
    let mut asked = program(&world);
    asked.args(["run", "--summary"]);
    let seen = on_terminal(asked, 200).await;
    assert_eq!(seen.raw.matches("{\"summary\":\"run once\"").count(), 1, "{}", seen.raw);
    let mut service = program(&world);
    service.args(["run", "--service"]).env("METRICS", "").stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = service.spawn().expect("started");
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
    let out = child.wait_with_output().expect("ended");
    assert!(killed.success() && out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(String::from_utf8_lossy(&out.stdout), "");
}

fn writing(world: &World, file: &Path) -> Command {
    let mut command = program(world);
    command.env("METRICS_FILE", file);
    command
}

/// The value of a metric in a file.
fn metric(file: &Path, name: &str) -> f64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("paper_engine_{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().expect("a number")
}

#[tokio::test]
async fn metrics_are_left_in_a_file_that_a_collector_may_read() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n").await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("loader.prom");
    let mut rehearsal = writing(&world, &file);
    rehearsal.env("DRY_RUN", "True");
    run(rehearsal).await.ok();
    assert!(!file.exists(), "a dry run writes none");
    run(writing(&world, &file)).await.ok();
    assert_eq!(metric(&file, "rows_total{entity=\"e\",op=\"create\"}"), 2.0);
    assert_eq!(metric(&file, "last_exit_code"), 0.0);
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o644);
    let text = std::fs::read_to_string(&file).expect("text");
    let timed = |line: &str| !line.starts_with('#') && line.rsplit("} ").next().unwrap_or(line).split(' ').count() > 2;
    assert!(!text.lines().any(timed), "the collector refuses what has a time of its own\n{text}");
    let success = metric(&file, "last_success_timestamp_seconds");
    assert!(success > 1.6e9);
    let mut away = writing(&world, &file);
    away.env("TARGET", world.target_at(&free_port().to_string()));
    assert_eq!(run(away).await.code, 69);
    assert_eq!(metric(&file, "last_exit_code"), 69.0);
    assert_eq!(metric(&file, "last_success_timestamp_seconds"), success, "what succeeded once is not forgotten");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut deaf = writing(&world, &file);
    deaf.env("METRICS", taken.local_addr().expect("bound").to_string());
    assert_eq!(run(deaf).await.code, 78);
    assert_eq!(metric(&file, "last_exit_code"), 78.0);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn a_metrics_file_that_cannot_be_written_fails_no_run() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    // nobody can make a file there, root neither
    let ended = run(writing(&world, Path::new("/proc/loader.prom"))).await.ok();
    assert!(
        ended.log.contains("WARN") && ended.log.contains("METRICS_FILE: cannot write /proc/loader.prom: "),
        "{}",
        ended.log
    );
    let folder = tempfile::tempdir().expect("a folder");
    let ended = run(writing(&world, &folder.path().join("loader.txt"))).await.ok();
    assert!(ended.log.contains("METRICS_FILE does not end with .prom"), "{}", ended.log);
    assert!(folder.path().join("loader.txt").exists());
    assert!(!run_once(&world).await.ok().log.contains("METRICS_FILE"));
}

#[tokio::test]
async fn a_service_leaves_its_metrics_after_each_iteration() {
    let world = World::with_table().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("loader.prom");
    let mut command = writing(&world, &file);
    command.args(["run", "--service"]).env("METRICS", "").env("MIN_SLEEP", "0.1").env("MAX_SLEEP", "0.2");
    let service = start(command);
    service.says("0 deliveries pending").await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    service.says("persisted to postgres").await;
    world.bucket.put(CHANGE, "U,1,a,bad\n").await;
    service.says("failed: ").await;
    for _ in 0..100 {
        if std::fs::read_to_string(&file).is_ok_and(|text| text.contains("paper_engine_last_exit_code 1\n")) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(metric(&file, "last_exit_code"), 1.0);
    assert_eq!(metric(&file, "stopped_tables{status=\"failed\"}"), 1.0);
    service.signal("TERM");
    assert_eq!(service.ends().await.code, 0);
}
