//! Tests of the API over real connections, with a table in memory.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const TOKEN: &str = "a-token-of-enough-bytes";

/// Tasks in memory. One whose URL ends in `down` cannot be added.
#[derive(Default)]
struct Table(Mutex<HashMap<Uuid, FoundTimer>>);

impl Timers for Table {
    async fn add(&self, id: Uuid, task: NewTimer) -> Result<Duration, Unavailable> {
        if task.url.ends_with("down") {
            return Err(Unavailable("gone".to_owned()));
        }
        let Due::In(left) = task.due else { return Ok(Duration::ZERO) };
        let found =
            FoundTimer { status: "waiting".to_owned(), seconds_left: i64::try_from(left.as_secs()).expect("small") };
        self.0.lock().expect("table").insert(id, found);
        Ok(left)
    }

    async fn find(&self, id: Uuid) -> Result<Option<FoundTimer>, Unavailable> {
        Ok(self.0.lock().expect("table").get(&id).cloned())
    }

    async fn cancel(&self, id: Uuid) -> Result<Cancelled, Unavailable> {
        Ok(match self.0.lock().expect("table").get_mut(&id) {
            Some(found) if found.status == "waiting" => {
                "failed".clone_into(&mut found.status);
                Cancelled::Cancelled
            }
            Some(_) => Cancelled::TooLate,
            None => Cancelled::NotFound,
        })
    }
}

async fn start() -> SocketAddr {
    let token = ApiToken::new(TOKEN).expect("a token");
    let api = Api::bind("127.0.0.1:0".parse().expect("an address"), token, Table::default()).await.expect("a port");
    let address = api.address().expect("an address");
    tokio::spawn(api.serve());
    address
}

/// Sends a request and returns status and document.
async fn ask(address: SocketAddr, line: &str, authorization: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let head = format!(
        "{line} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{authorization}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let _ = stream.write_all(body.as_bytes()).await;
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text).await;
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{text:?}"));
    let document = text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    (status, serde_json::from_str(document).unwrap_or(Value::Null))
}

async fn authorized(address: SocketAddr, line: &str, body: &str) -> (u16, Value) {
    ask(address, line, &format!("authorization: Bearer {TOKEN}\r\n"), body).await
}

#[tokio::test]
async fn a_task_is_added_shown_and_cancelled_as_the_originals_sibling_does() {
    let api = start().await;
    let (status, added) =
        authorized(api, "POST /timer/", r#"{"hours":25,"minutes":1,"seconds":2,"url":"http://h/x"}"#).await;
    assert_eq!((status, added["time_left"].as_u64()), (200, Some(25 * 3600 + 62)));
    let id = added["id"].as_str().expect("an id").to_owned();
    let (status, shown) = authorized(api, &format!("GET /timer/{id}"), "").await;
    assert_eq!((status, shown), (200, json!({ "id": id, "status": "waiting", "time_left": 25 * 3600 + 62 })));
    let (status, cancelled) = authorized(api, &format!("DELETE /timer/{id}"), "").await;
    assert_eq!((status, cancelled["status"].as_str()), (200, Some("cancelled")));
    assert_eq!(authorized(api, &format!("DELETE /timer/{id}"), "").await.0, 409);
    let (_, shown) = authorized(api, &format!("GET /timer/{id}"), "").await;
    assert_eq!((shown["status"].as_str(), shown["time_left"].as_i64()), (Some("failed"), Some(0)));
}

#[tokio::test]
async fn without_a_time_a_task_is_due_in_a_second() {
    let (status, added) = authorized(start().await, "POST /timer/", r#"{"url":"http://h/x"}"#).await;
    assert_eq!((status, added["time_left"].as_u64()), (200, Some(1)));
}

#[tokio::test]
async fn nothing_is_answered_without_the_token() {
    let api = start().await;
    for header in [
        "",
        "authorization: Bearer \r\n",
        "authorization: Bearer a-token-of-enough-byteS\r\n",
        "authorization: Basic a-token-of-enough-bytes\r\n",
    ] {
        for line in ["POST /timer/", "GET /timer/0f8fad5b-d9cb-469f-a165-70867728950e", "GET /"] {
            let (status, document) = ask(api, line, header, r#"{"url":"http://h/x"}"#).await;
            assert_eq!((status, document["detail"].as_str()), (401, Some("Not authenticated")), "{line} {header}");
        }
    }
    assert!(ApiToken::new("short").is_err() && ApiToken::new("").is_err());
}

#[tokio::test]
async fn faults_have_the_statuses_of_the_originals_sibling() {
    let api = start().await;
    for (line, status, detail) in [
        ("GET /timer/nonsense", 400, "Illegal UUID"),
        ("GET /timer/0f8fad5bd9cb469fa16570867728950e", 400, "Illegal UUID"),
        ("DELETE /timer/%27;drop", 400, "Illegal UUID"),
        ("GET /timer/0f8fad5b-d9cb-469f-a165-70867728950e", 404, "Task was not found"),
        ("DELETE /timer/0f8fad5b-d9cb-469f-a165-70867728950e", 404, "Task was not found"),
        ("GET /elsewhere", 404, "Not Found"),
        ("GET /timer/", 405, "Method Not Allowed"),
        ("PUT /timer/0f8fad5b-d9cb-469f-a165-70867728950e", 405, "Method Not Allowed"),
    ] {
        let (answered, document) = authorized(api, line, "").await;
        assert_eq!((answered, document["detail"].as_str()), (status, Some(detail)), "{line}");
    }
    let (status, _) = authorized(api, "POST /timer/", r#"{"url":"http://h/down"}"#).await;
    assert_eq!(status, 503);
}

#[tokio::test]
async fn documents_that_cannot_be_tasks_are_refused_with_every_reason() {
    let api = start().await;
    for (document, reason) in [
        ("", "EOF"),
        ("[]", "invalid"),
        ("{}", "url"),
        (r#"{"url":null}"#, "invalid type: null"),
        (r#"{"url":"ftp://h/"}"#, "neither http nor https"),
        (r#"{"url":"http://h/","second":1}"#, "unknown field"),
        (r#"{"url":"http://h/","seconds":-1}"#, "invalid value"),
        (r#"{"url":"http://h/","hours":18446744073709551615}"#, "hundred years"),
        (r#"{"url":"http://h/","at":"tomorrow"}"#, "no time with a zone"),
        (r#"{"url":"http://h/","at":"2026-12-01T12:00:00Z","seconds":1}"#, "either at"),
        (r#"{"url":"http://h/","headers":{"a":1}}"#, "object of texts"),
        (r#"{"url":"http://h/","headers":{"Host":"x"}}"#, "cannot be set"),
    ] {
        let (status, answered) = authorized(api, "POST /timer/", document).await;
        assert_eq!(status, 422, "{document}");
        assert!(answered["detail"].to_string().contains(reason), "{document}: {answered}");
    }
    let both = authorized(api, "POST /timer/", r#"{"url":"","at":"x","headers":{"Host":"x"}}"#).await.1;
    assert_eq!(both["detail"].as_array().map(Vec::len), Some(3), "{both}");
}

#[tokio::test]
async fn a_document_beyond_all_measure_is_refused() {
    let api = start().await;
    let mut stream = TcpStream::connect(api).await.expect("a connection");
    let head = format!(
        "POST /timer/ HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 99999999\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.expect("an answer without waiting for the document");
    assert_eq!(&line, b"HTTP/1.1 413");
    let body = format!(r#"{{"url":"http://h/","body":"{}"}}"#, "x".repeat(crate::http::BODY_MAX_BYTES + 1));
    assert_eq!(authorized(api, "POST /timer/", &body).await.0, 422);
}
