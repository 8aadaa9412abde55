//! Tests what can be asked of a replay while it runs, and the clock that it publishes.

use futures_util::StreamExt;
use serde_json::Value;

use crate::support::{Bench, end, env, free_port, http, lines, signal, until};

const MINUTES: &str = "create table t (id int primary key, at timestamp not null);
    insert into t select n, timestamp '2020-05-17 13:00' + n * interval '1 minute' from generate_series(0, 9) n;";

#[tokio::test]
async fn pause_seek_rate_and_metrics() {
    let bench = Bench::new(MINUTES).await;
    let (port, out) = (free_port(), bench.path("out"));
    let (to, metrics) = (format!("file:{}", out.display()), format!("127.0.0.1:{port}"));
    let child = bench
        .command(&["--table", "t:at", "--to", &to, "--pace", "event", "--metrics", &metrics])
        .spawn()
        .expect("starts");
    until("the first row", async || lines(&out).len() == 1).await;
    assert!(http(port, "GET /readyz", "").await.contains("running"));
    assert!(http(port, "POST /control/pause", "").await.starts_with("HTTP/1.1 202"));
    until("a pause", async || http(port, "GET /readyz", "").await.contains("paused")).await;
    assert!(http(port, "POST /control/rate", "nonsense").await.starts_with("HTTP/1.1 400"));
    assert!(http(port, "POST /control/dance", "").await.starts_with("HTTP/1.1 404"));
    assert!(http(port, "GET /control/pause", "").await.starts_with("HTTP/1.1 405"));
    assert!(http(port, "POST /control/resume", "\r\n").await.starts_with("HTTP/1.1 202"));
    assert!(http(port, "POST /control/seek", "2020-05-17T13:05:00").await.starts_with("HTTP/1.1 202"));
    until("the row at five past", async || lines(&out).len() == 2).await;
    assert!(http(port, "POST /control/seek", "2020-05-17T13:00:00").await.starts_with("HTTP/1.1 202"));
    assert!(http(port, "POST /control/rate", "6000").await.starts_with("HTTP/1.1 202"));
    until("the second pass", async || lines(&out).len() == 12).await;
    let ended = end(child).await;
    let ids: Vec<i64> = lines(&out)
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_i64().expect("an id"))
        .collect();
    assert_eq!(ids, [vec![0, 5], (0..10).collect()].concat());
    assert_eq!((ended.code, &ended.summary()["passes"]), (0, &Value::from(2)));
}

#[tokio::test]
async fn metrics_say_what_was_released() {
    let bench = Bench::new(MINUTES).await;
    let (port, out) = (free_port(), bench.path("out"));
    let (to, metrics) = (format!("file:{}", out.display()), format!("127.0.0.1:{port}"));
    let child = bench.command(&["--table", "t:at", "--to", &to, "--metrics", &metrics]).spawn().expect("starts");
    until("a delivery", async || http(port, "GET /metrics", "").await.contains("outcome=\"delivered\"} 1")).await;
    let text = http(port, "GET /metrics", "").await;
    assert!(
        text.contains("paper_engine_replay_rows_released_total 1") && text.contains("paper_engine_replay_rate 1"),
        "{text}"
    );
    signal(&child, "TERM");
    let ended = end(child).await;
    assert_eq!((ended.code, &ended.summary()["end"]), (0, &Value::from("stopped")));
}

#[tokio::test]
async fn the_clock_is_published_ten_times_a_second_and_at_each_change() {
    let bench = Bench::new(MINUTES).await;
    let server = format!("127.0.0.1:{}", env("PEO_NATS_PORT"));
    let client = async_nats::connect(&server).await.expect("connected");
    let subject = format!("clock.{}", std::process::id());
    let mut ticks = client.subscribe(subject.clone()).await.expect("subscribed");
    client.flush().await.expect("flushed");
    let (clock, port) = (format!("nats://{server}/{subject}"), free_port());
    let metrics = format!("127.0.0.1:{port}");
    let child = bench
        .command(&[
            "--table",
            "t:at",
            "--to",
            "console:",
            "--pace",
            "event",
            "--rate",
            "60",
            "--clock",
            &clock,
            "--metrics",
            &metrics,
        ])
        .spawn()
        .expect("starts");
    let mut next =
        async || -> Value { serde_json::from_slice(&ticks.next().await.expect("a tick").payload).expect("JSON") };
    let first = loop {
        let tick = next().await;
        if tick["state"] == "running" {
            break tick;
        }
    };
    assert_eq!(first["rate"], 60.0);
    assert!(first["source_time"].as_str().expect("a time").starts_with("2020-05-17T13:0"), "{first}");
    assert!(http(port, "POST /control/pause", "").await.starts_with("HTTP/1.1 202"));
    let mut seen = vec![first];
    while seen.last().expect("ticks")["state"] != "paused" {
        seen.push(next().await);
    }
    for pair in seen.windows(2) {
        assert_eq!(pair[1]["seq"].as_u64(), pair[0]["seq"].as_u64().map(|seq| seq + 1));
        assert!(pair[1]["source_time"].as_str() >= pair[0]["source_time"].as_str(), "{pair:?}");
        assert_eq!(pair[1]["run"], pair[0]["run"]);
    }
    let standing = (next().await, next().await);
    assert_eq!(standing.0["source_time"], standing.1["source_time"]);
    signal(&child, "TERM");
    let mut last = standing.1;
    while last["state"] != "ended" {
        last = next().await;
    }
    assert_eq!(end(child).await.code, 0);
}
