//! Tests the HTTP API of the program itself: what is added there is fired, shown and cancelled.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::database::Database;
use crate::support::on_both;
use crate::support::process::{Process, run};
use crate::support::target::Target;

on_both!(a_task_of_the_api_is_fired_shown_and_cancelled, an_api_without_a_token_does_not_start);

const TOKEN: &str = "a-token-of-enough-bytes";

/// Sends a request, as soon as somebody listens, and returns status and document.
async fn ask(port: u16, line: &str, body: &str) -> (u16, Value) {
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    };
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nhost: h\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, document) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(document).unwrap())
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

async fn a_task_of_the_api_is_fired_shown_and_cancelled<D: Database>(db: D) {
    db.ready().await;
    let (target, url, port) = (Target::start().await, db.url(), free_port().await);
    let api = format!("127.0.0.1:{port}");
    let environment = [
        ("TIMER_DB", url.as_str()),
        ("METRICS", ""),
        ("ALLOW_PRIVATE", "127.0.0.0/8"),
        ("API", api.as_str()),
        ("API_TOKEN", TOKEN),
    ];
    let pod = Process::start(&environment);
    let soon = format!(r#"{{"seconds":0,"url":"{}"}}"#, target.url("soon"));
    let (status, added) = ask(port, "POST /timer/", &soon).await;
    assert_eq!((status, added["time_left"].as_i64()), (200, Some(0)), "{added}");
    db.await_count("select count(*) from timers where timer_status = 'done'", 1).await;
    let id = added["id"].as_str().unwrap().to_owned();
    assert_eq!(target.paths(), [format!("/soon/{id}")]);
    let (_, shown) = ask(port, &format!("GET /timer/{id}"), "").await;
    assert_eq!((shown["status"].as_str(), shown["time_left"].as_i64()), (Some("done"), Some(0)), "{shown}");

    let later = format!(r#"{{"hours":25,"url":"{}"}}"#, target.url("later"));
    let (_, added) = ask(port, "POST /timer/", &later).await;
    let id = added["id"].as_str().unwrap().to_owned();
    let (_, shown) = ask(port, &format!("GET /timer/{id}"), "").await;
    let left = shown["time_left"].as_i64().unwrap();
    assert!(shown["status"] == "waiting" && (25 * 3600 - 120..=25 * 3600).contains(&left), "{shown}");
    assert_eq!(ask(port, &format!("DELETE /timer/{id}"), "").await.0, 200);
    assert_eq!(ask(port, &format!("DELETE /timer/{id}"), "").await.0, 409);
    db.await_count("select count(*) from timers where timer_status = 'failed'", 1).await;
    assert_eq!(target.paths().len(), 1);
    pod.signal("TERM");
    assert_eq!(pod.end().await, Some(0));
}

async fn an_api_without_a_token_does_not_start<D: Database>(db: D) {
    let url = db.url();
    for token in ["", "short"] {
        let environment = [("TIMER_DB", url.as_str()), ("METRICS", ""), ("API", "127.0.0.1:0"), ("API_TOKEN", token)];
        let (code, _, log) = run(&["run"], &environment).await;
        assert!(code == 78 && log.contains("API_TOKEN"), "{code}: {log}");
    }
}
