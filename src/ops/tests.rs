//! The ops listener's tests: a real client on a real socket, well behaved and not.

use super::*;
use crate::clock::Clock;
use crate::health::Part;
use crate::load::{Feed, Reader};
use crate::status::SharedBacklog;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);

/// A running listener and what it shows.
struct Running {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    health: Health,
    stopper: Stopper,
    server: JoinHandle<()>,
}

/// Returns the sources of a loader that has done nothing yet, with a database that cannot be reached.
fn sources() -> Sources {
    let feed = Feed::of(["aws", "feed", "data", ""].map(str::to_owned));
    let postgres = "host=127.0.0.1 port=1 user=x dbname=x sslmode=disable".parse().expect("settings");
    let reader = Reader::new(&postgres, feed.clone()).ok();
    let (noted, clock, host) = (SharedBacklog::default(), Clock::system(), "h".to_owned());
    Sources { feed, reader, noted, clock, host, dry_run: false, notifies: true }
}

async fn run(limits: Limits) -> Running {
    let mut ops = Ops::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("bound");
    ops.limits = limits;
    let address = ops.address().expect("address");
    let (metrics, health, stopper) = (Arc::new(Metrics::new("1.2.3")), Health::default(), Stopper::new());
    let server = tokio::spawn(ops.serve(metrics.clone(), health.clone(), sources(), stopper.clone()));
    Running { address, metrics, health, stopper, server }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    /// Returns status line, headers and body of an answer.
    async fn ask(&self, request_line: &str) -> (String, String, String) {
        self.ask_as("127.0.0.1:9464", request_line).await
    }

    /// Returns the answer to a request under another host name.
    async fn ask_as(&self, host: &str, request_line: &str) -> (String, String, String) {
        let mut stream = self.connect().await;
        let request = format!("{request_line} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut answer = String::new();
        let read = timeout(SOON, stream.read_to_string(&mut answer)).await;
        read.expect("in time").expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let (status, headers) = head.split_once("\r\n").expect("headers");
        (status.to_owned(), headers.to_lowercase(), body.to_owned())
    }
}

#[tokio::test]
async fn metrics_are_served_as_they_are_now() {
    let running = run(LIMITS).await;
    running.metrics.bytes(42);
    let (status, headers, body) = running.ask("GET /metrics").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(headers.contains("content-type: text/plain; version=0.0.4"), "{headers}");
    assert!(body.lines().any(|line| line == "paper_engine_bytes_total 42"), "{body}");
}

#[tokio::test]
async fn ready_is_what_the_last_iteration_reached_and_alive_is_always() {
    let running = run(LIMITS).await;
    let ready = || async {
        assert_eq!(running.ask("GET /healthz").await.0, "HTTP/1.1 200 OK");
        let (status, _, body) = running.ask("GET /readyz?verbose").await;
        (status.split(' ').nth(1).unwrap_or_default().to_owned(), body)
    };
    let answer = |status: &str, body: &str| (status.to_owned(), body.to_owned());
    assert_eq!(ready().await, answer("503", "starting\n"));
    running.health.reached(Part::Source, Ok(()));
    running.health.reached(Part::Target, Err("no\nroute".to_owned()));
    assert_eq!(ready().await, answer("503", "target: no\\nroute\n"));
    running.health.reached(Part::Target, Ok(()));
    running.health.reached(Part::Notifier, Err("down".to_owned()));
    assert_eq!(ready().await, answer("200", "ready\nnotifier: down\n"));
}

#[tokio::test]
async fn head_has_no_body_and_the_rest_is_refused() {
    let running = run(LIMITS).await;
    let (status, headers, body) = running.ask("HEAD /healthz").await;
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", ""));
    assert!(headers.contains("content-length: 6"), "{headers}");
    let (status, headers, _) = running.ask("DELETE /metrics").await;
    assert!(status.contains("405") && headers.contains("allow: get, head"), "{status} {headers}");
    for path in ["/x", "/metrics/", "/healthz/x", "/deliveries/x", "*"] {
        let (status, ..) = running.ask(&format!("GET {path}")).await;
        assert!(status.contains("404"), "{path}: {status}");
    }
}

#[tokio::test]
async fn under_the_name_of_a_web_site_this_machine_shows_no_page() {
    let running = run(LIMITS).await;
    for path in ["/", "/deliveries", "/deliveries/1", "/refresh.js", "/none"] {
        let (status, headers, body) = running.ask_as("evil.example:9464", &format!("GET {path}")).await;
        assert_eq!(status, "HTTP/1.1 421 Misdirected Request", "{path}");
        assert!(body.starts_with("METRICS listens to this machine only") && headers.contains("no-store"), "{body}");
        assert!(!running.ask_as("localhost:1", &format!("GET {path}")).await.0.contains("421"), "{path}");
    }
    // who scrapes and who probes may come under any name
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert!(!running.ask_as("loader.example", &format!("GET {path}")).await.0.contains("421"), "{path}");
    }
}

#[tokio::test]
async fn only_the_metrics_tell_the_version() {
    let running = run(LIMITS).await;
    for line in ["GET /healthz", "GET /readyz", "GET /", "POST /metrics", "HEAD /metrics"] {
        let (status, headers, body) = running.ask(line).await;
        assert!(!headers.contains("server:") && !headers.contains("paper-engine"), "{line}: {headers}");
        assert!(!format!("{status}{headers}{body}").contains("1.2.3"), "{line}: {body}");
    }
    assert!(running.ask("GET /metrics").await.2.contains(r#"version="1.2.3""#));
}

#[tokio::test]
async fn a_request_that_is_too_long_is_refused() {
    let running = run(LIMITS).await;
    for (long, wanted) in [(1 << 10, Some("HTTP/1.1 200")), (32 << 10, None)] {
        let mut stream = running.connect().await;
        let request = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(long));
        // it may hang up before it has heard all
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("in time");
        let answer = String::from_utf8_lossy(&answer);
        let status = wanted.unwrap_or("HTTP/1.1 431");
        assert!(answer.starts_with(status) || wanted.is_none() && answer.is_empty(), "{long}: {answer}");
    }
}

#[tokio::test]
async fn a_taken_port_names_metrics() {
    let running = run(LIMITS).await;
    let error = Ops::bind(running.address).await.err().expect("taken");
    let said = error.to_string();
    assert!(said.starts_with("METRICS: ") && said.contains(&running.address.to_string()), "{said}");
}

/// No client is cut off by the time that it may take, only by those that come after it.
const PATIENT: Limits = Limits { head: Duration::from_secs(3600), time: Duration::from_secs(3600), connections: 64 };

#[tokio::test]
async fn a_probe_is_answered_while_hundreds_of_clients_hold_half_a_request_each() {
    let running = run(PATIENT).await;
    let mut halfway = Vec::new();
    for _ in 0..300 {
        let mut stream = running.connect().await;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHos").await.expect("begun");
        halfway.push(stream);
    }
    for probe in ["GET /healthz", "GET /healthz", "GET /metrics"] {
        assert_eq!(running.ask(probe).await.0, "HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn the_client_that_has_not_asked_makes_room_before_one_that_reads_its_answer() {
    let running = run(Limits { connections: 2, ..PATIENT }).await;
    // enough for the answer not to fit into the buffers of the connection
    let long = "e".repeat(4000);
    (0..5000).for_each(|entity| running.metrics.rows(&format!("{long}{entity}"), crate::metrics::RowOp::Create, 1));
    let mut slow = running.connect().await;
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.expect("asked");
    let mut begun = [0; 12];
    slow.read_exact(&mut begun).await.expect("the answer has begun");
    let mut silent = running.connect().await;
    assert_eq!(running.ask("GET /healthz").await.0, "HTTP/1.1 200 OK");
    let mut rest = Vec::new();
    timeout(SOON, silent.read_to_end(&mut rest)).await.expect("cut off").ok();
    timeout(SOON, slow.read_to_end(&mut rest)).await.expect("in time").expect("the whole answer");
    assert!(String::from_utf8_lossy(&rest).contains("e4999\""));
}

#[tokio::test]
async fn clients_that_dawdle_are_cut_off_after_a_while() {
    // The time for the request has its own limit; reading the answer may take longer.
    let head = Duration::from_millis(300);
    let running = run(Limits { head, ..LIMITS }).await;
    let mut silent = running.connect().await;
    let mut halfway = running.connect().await;
    halfway.write_all(b"GET /metrics HTTP/1.1\r\nHos").await.expect("begun");
    for stream in [&mut silent, &mut halfway] {
        let mut rest = Vec::new();
        let end = timeout(SOON, stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "still connected");
    }
}

#[tokio::test]
async fn one_answer_and_the_connection_ends() {
    let running = run(LIMITS).await;
    let mut stream = running.connect().await;
    let twice = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
    stream.write_all(twice.as_bytes()).await.expect("asked");
    let mut answer = Vec::new();
    // The second question makes the end of the connection a reset on some systems.
    let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("in time");
    assert_eq!(String::from_utf8_lossy(&answer).matches("HTTP/1.1").count(), 1);
}

#[tokio::test]
async fn a_stop_ends_it_at_once_with_its_connections() {
    let running = run(LIMITS).await;
    let mut open = running.connect().await;
    assert_eq!(running.ask("GET /healthz").await.0, "HTTP/1.1 200 OK");
    running.stopper.request();
    timeout(SOON, running.server).await.expect("in time").expect("no panic");
    let mut rest = Vec::new();
    let end = timeout(SOON, open.read_to_end(&mut rest)).await.expect("cut off");
    assert!(end.is_err() || rest.is_empty());
    assert!(TcpStream::connect(running.address).await.is_err());
}
