//! Tests the status page over HTTP: what is late, failing and disabled is shown, and nothing under another site's name.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::database::Database;
use crate::support::on_both;
use crate::support::process::Process;
use crate::support::target::Target;

on_both!(the_page_shows_what_failed_and_what_is_to_be_retried);

/// Asks for a path, as soon as somebody listens, and returns status and text.
async fn get(port: u16, host: &str, path: &str) -> (u16, String) {
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
}

async fn the_page_shows_what_failed_and_what_is_to_be_retried<D: Database>(db: D) {
    db.ready().await;
    let (target, url) = (Target::start().await, db.url());
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let metrics = format!("127.0.0.1:{port}");
    let environment = [
        ("TIMER_DB", url.as_str()),
        ("METRICS", metrics.as_str()),
        ("ALLOW_PRIVATE", "127.0.0.0/8"),
        ("RETRIES", "1h"),
    ];
    let pod = Process::start(&environment);
    db.insert(&target.url("good"), &[-10; 3]).await;
    let failed = db.insert(&target.url("missing?token=hunter2"), &[-10]).await[0];
    db.insert("http://127.0.0.1:9/refused", &[-10]).await;
    db.await_count("select count(*) from timers where timer_status in ('done', 'failed')", 4).await;
    db.await_count("select count(*) from timer_attempts where state = 'retry'", 1).await;
    // a page may be a second old
    let page = loop {
        let (status, page) = get(port, "127.0.0.1", "/").await;
        assert_eq!(status, 200, "{page}");
        if page.contains(&failed.to_string()) && page.contains("retrying") {
            break page;
        }
    };
    for part in
        ["No task is late", &target.url("good"), &target.url("missing"), "failing", "127.0.0.1:9/refused", "404"]
    {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("hunter2") && page.to_lowercase().contains("content-security-policy: default-src 'none'"));
    for path in ["/style.css", "/refresh.js", "/icon.svg"] {
        assert_eq!(get(port, "localhost", path).await.0, 200, "{path}");
    }
    assert_eq!(get(port, "evil.example", "/").await.0, 421);
    assert_eq!(get(port, "evil.example", "/healthz").await.0, 200, "probes come under any name");
    assert_eq!(get(port, "localhost", "/nothing").await.0, 404);
    pod.signal("TERM");
    assert_eq!(pod.end().await, Some(0));
}
