//! The monitoring pack and the program agree: what the dashboard and the alerts name is what a real run exports, and a
//! real Prometheus that scrapes it sees what they are for.
//!
//! Tests that begin with `prom` want Debian's prometheus; where there is none, `just test` leaves them out and says so.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::service::{get, ops_port};
use crate::support::World;
use crate::support::broker::free_port;
use crate::support::program::{Running, program, start};

/// Exported, and not shown on purpose: name and reason.
const LEFT_OUT: [(&str, &str); 0] = [];

/// Labels that come from the scrape, or from outside.
const OPEN: [&str; 5] = ["job", "instance", "entity", "version", "alertname"];

/// What a ledger row can be; those that did not occur are not exported.
const STATUSES: [&str; 7] = ["pending", "loaded", "failed", "held", "late", "skipped", "gone"];

fn pack(file: &str) -> String {
    let path = format!("{}/deploy/monitoring/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A service that has loaded one table and holds the other, whose new full load is empty.
struct Scene {
    _running: Running,
    port: u16,
}

impl Scene {
    async fn new() -> Self {
        let world = World::with_table().await;
        world.sql("create table dbo.f (id int primary key)").await;
        world.bucket.put("e/LOAD00000001.csv.gz", "1,a,1\n2,b,2\n").await;
        world.bucket.put("f/LOAD00000001.csv.gz", "1\n2\n").await;
        let mut command = program(&world);
        command.env("RUN_AS_SERVICE", "True").env("METRICS", "127.0.0.1:0");
        command.env("MIN_SLEEP", "0.2").env("MAX_SLEEP", "0.4");
        let running = start(command);
        running.says("Delivery 2: processed (").await;
        world.bucket.put("f/LOAD00000001.csv.gz", "").await;
        running.says("held: ").await;
        let port = ops_port(&running).await;
        Self { _running: running, port }
    }

    async fn metrics(&self) -> String {
        let answer = get(self.port, "/metrics").await;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).expect("a body")
    }
}

/// Words of this text that may be metrics of ours or of the process.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words
        .filter(|word| ["paper_engine_", "process_"].iter().any(|of| word.len() > of.len() && word.starts_with(of)));
    ours.map(str::to_owned).collect()
}

/// `name{label="value"}` as (name, label, value), one for each of `a|b`; what a variable or the scrape gives is left out.
fn matched(text: &str) -> BTreeSet<(String, String, String)> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices('{') {
        let name = text[..at].rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        let Some((labels, _)) = text[at + 1..].split_once('}') else { continue };
        for pair in labels.split(',').filter(|_| name.starts_with("paper_engine_")) {
            let Some((label, value)) = pair.split_once('=') else { continue };
            let (label, value) = (label.trim(), value.trim_start_matches('~').trim().trim_matches('"'));
            if !OPEN.contains(&label) && !value.contains('$') {
                let each = value.split('|').map(|value| (name.to_owned(), label.to_owned(), value.to_owned()));
                found.extend(each);
            }
        }
    }
    found
}

/// All strings under this key, at any depth.
fn strings<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, inner)| match inner {
            Value::String(text) if name == key => found.push(text),
            _ => strings(inner, key, found),
        }),
        Value::Array(items) => items.iter().for_each(|item| strings(item, key, found)),
        _ => {}
    }
}

fn dashboard() -> Value {
    serde_json::from_str(&pack("dashboard.json")).expect("dashboard.json is JSON")
}

/// All that the pack asks Prometheus for, as PromQL.
fn asked() -> String {
    let dashboard = dashboard();
    let mut exprs = Vec::new();
    strings(&dashboard, "expr", &mut exprs);
    strings(&dashboard, "query", &mut exprs);
    exprs.join("\n") + &pack("alerts.yml") + &pack("alerts_test.yml")
}

#[tokio::test]
async fn what_the_pack_names_is_exported_and_what_is_exported_is_shown() {
    let metrics = Scene::new().await.metrics().await;
    let samples = || metrics.lines().filter(|line| !line.starts_with('#'));
    let exported: BTreeSet<&str> = samples().filter_map(|line| line.split(['{', ' ']).next()).collect();
    let asked = asked();
    for name in named(&asked) {
        assert!(exported.contains(name.as_str()), "the pack names {name}, which is not exported:\n{metrics}");
    }
    let values: String = samples().collect::<Vec<_>>().join("\n");
    let values = matched(&values);
    for (name, label, value) in matched(&asked) {
        let ledger = name == "paper_engine_deliveries_total" && label == "status" && STATUSES.contains(&value.as_str());
        let known = values.contains(&(name.clone(), label.clone(), value.clone()));
        assert!(known || ledger, "the pack asks for {name}{{{label}={value:?}}}, which is not exported");
    }
    let shown = named(&pack("dashboard.json"));
    let families = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE paper_engine_"));
    for family in families.filter_map(|line| line.split(' ').next()) {
        let name = format!("paper_engine_{family}");
        let is_shown = shown.contains(&name) || shown.contains(&format!("{name}_bucket"));
        let left_out = LEFT_OUT.iter().any(|(left, _)| *left == name);
        assert!(is_shown != left_out, "{name} is exported: show it in dashboard.py, or say in LEFT_OUT why not");
    }
}

/// The anchor that a code host gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_alert_says_what_to_do_and_leads_to_a_section_that_is_there() {
    let alerts = pack("alerts.yml");
    let each: Vec<&str> = alerts.split("- alert: ").skip(1).collect();
    assert!(each.len() > 10, "{alerts}");
    for alert in each {
        for part in ["severity: ", "summary: ", "description: ", "runbook: "] {
            assert!(alert.contains(part), "{part} is not in\n{alert}");
        }
        let (_, runbook) = alert.split_once("runbook: ").expect("a runbook");
        let (file, place) = runbook.lines().next().and_then(|line| line.split_once('#')).expect("file and place");
        let text = std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).expect("the runbook");
        let there = text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == place);
        assert!(there, "{file} has no section {place}");
    }
}

#[test]
fn panels_have_their_own_ids_and_places_and_say_what_they_show() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    let mut taken = BTreeMap::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its id is another panel's");
        let about = panel["description"].as_str().is_some_and(|about| about.len() > 20);
        assert!(about || panel["type"] == "row", "{title} says nothing about itself");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} is beside the grid");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert_eq!(taken.insert(place, title), None, "{title} lies over another panel at {place:?}");
        }
    }
}

#[test]
fn the_dashboard_is_what_its_script_writes() {
    let script = format!("{}/deploy/monitoring/dashboard.py", env!("CARGO_MANIFEST_DIR"));
    let out = Command::new("python3").args([&script, "--check"]).output().expect("python3");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

fn promtool(args: &[&str], input: Option<&str>) {
    let mut command = Command::new("promtool");
    command.current_dir(format!("{}/deploy/monitoring", env!("CARGO_MANIFEST_DIR"))).args(args);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's prometheus");
    let mut stdin = child.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, input.unwrap_or_default().as_bytes()).expect("told");
    drop(stdin);
    let out = child.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "promtool {args:?}: {said}");
}

#[test]
fn promtool_accepts_the_rules_and_their_unit_tests() {
    promtool(&["check", "rules", "alerts.yml"], None);
    promtool(&["check", "config", "prometheus.yml"], None);
    promtool(&["test", "rules", "alerts_test.yml"], None);
}

#[tokio::test]
async fn promtool_accepts_the_metrics_of_a_real_run() {
    let metrics = Scene::new().await.metrics().await;
    promtool(&["check", "metrics"], Some(&metrics));
}

/// A Prometheus with our rules that scrapes every second.
struct Prometheus {
    child: Child,
    port: u16,
    _home: tempfile::TempDir,
}

impl Prometheus {
    async fn of(scene: &Scene) -> Self {
        let (home, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let rules = format!("{}/deploy/monitoring/alerts.yml", env!("CARGO_MANIFEST_DIR"));
        let target = scene.port;
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: ['{rules}']\n\
             scrape_configs:\n\
             - {{ job_name: paper-engine-orders, static_configs: [{{ targets: ['127.0.0.1:{target}'] }}] }}\n"
        );
        let (file, data) = (home.path().join("prometheus.yml"), home.path().join("data"));
        std::fs::write(&file, config).expect("written");
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", data.display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("prometheus, of Debian");
        Self { child, port, _home: home }
    }

    /// What its API answers; none if it does not, or not yet.
    async fn ask(&self, path: &str) -> Option<Value> {
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        // of HTTP 1.0, so that the answer comes in one piece
        socket.write_all(format!("GET /api/v1/{path} HTTP/1.0\r\n\r\n").as_bytes()).await.ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    async fn query(&self, expr: &str) -> Option<Value> {
        let hex = |byte: u8| format!("%{byte:02X}");
        let escaped: String = expr.bytes().map(hex).collect();
        self.ask(&format!("query?query={escaped}")).await
    }

    /// Waits until `found` says so of what the API answers.
    async fn shows(&self, path: &str, found: impl Fn(&Value) -> bool) {
        let mut last = None;
        for _ in 0..120 {
            last = self.ask(path).await;
            if last.as_ref().is_some_and(&found) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("{path}: {last:?}");
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a panel asks, with its variables as Grafana fills them in.
fn filled(expr: &str) -> String {
    let expr = expr.replace("$__rate_interval", "10s").replace("$__range", "30s");
    expr.replace("$job", ".*").replace("$entity", ".*")
}

#[tokio::test]
async fn prometheus_raises_the_alarm_of_a_held_table_and_answers_every_panel() {
    let scene = Scene::new().await;
    let prometheus = Prometheus::of(&scene).await;
    let alarm = |alerts: &Value, name: &str| {
        let alerts = alerts["data"]["alerts"].as_array().cloned().unwrap_or_default();
        alerts.iter().any(|alert| alert["labels"]["alertname"] == name && alert["state"] == "pending")
    };
    prometheus.shows("alerts", |alerts| alarm(alerts, "PaperEngineTableHeld")).await;
    // two scrapes for what is a rate
    prometheus
        .shows("query?query=paper_engine_build_info[1m]", |seen| {
            seen["data"]["result"][0]["values"].as_array().is_some_and(|values| values.len() > 3)
        })
        .await;
    let dashboard = dashboard();
    let mut exprs = Vec::new();
    strings(&dashboard["panels"], "expr", &mut exprs);
    assert!(exprs.len() > 30, "{exprs:?}");
    for expr in exprs.into_iter().map(filled) {
        let answer = prometheus.query(&expr).await.expect("an answer");
        let some = answer["data"]["result"].as_array().is_some_and(|series| !series.is_empty());
        assert!(answer["status"] == "success" && some, "{expr}\ngives {answer}");
    }
    let alerts = prometheus.ask("alerts").await.expect("alerts");
    for quiet in ["PaperEngineTableFailed", "PaperEngineTableLate", "PaperEngineAbsent", "PaperEngineNoSuccess"] {
        assert!(!alarm(&alerts, quiet), "{quiet}: {alerts}");
    }
}
