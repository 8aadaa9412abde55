//! The websocket, read by a client of another library's making.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use pe_publish::conformance::{self, Bench, Taken};
use pe_publish::publisher::{Outcome, Publisher};
use pe_publish::ws::{self, Settings, Ws};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Feed(Mutex<(Option<Ws>, JoinHandle<Vec<Bytes>>)>);

async fn bind(query: &str) -> Ws {
    let settings = Settings::from_url(&format!("ws://127.0.0.1:0/feed{query}")).expect("settings");
    Ws::bind(&settings).await.expect("listens")
}

async fn connect(ws: &Ws) -> Socket {
    connect_async(format!("ws://{}/feed", ws.address())).await.expect("connected").0
}

/// Reads to the end of the feed.
async fn read(mut socket: Socket) -> Vec<Bytes> {
    let mut seen = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        seen.extend(ws::payload_of(message));
    }
    seen
}

impl Feed {
    async fn new() -> Self {
        let ws = bind("?clients=1").await;
        let socket = connect(&ws).await;
        Self(Mutex::new((Some(ws), tokio::spawn(read(socket)))))
    }
}

impl Bench for Feed {
    async fn open(&self) -> Box<dyn Publisher> {
        Box::new(self.0.lock().await.0.take().expect("opened once"))
    }

    async fn taken(self) -> Vec<Taken> {
        let seen = tokio::time::timeout(Duration::from_secs(20), self.0.into_inner().1).await;
        let taken = |payload| Taken { id: None, payload };
        seen.expect("the feed ends").expect("read").into_iter().map(taken).collect()
    }
}

#[tokio::test]
async fn check_publishes_nothing() {
    conformance::check_publishes_nothing(Feed::new().await).await;
}

#[tokio::test]
async fn order_is_kept() {
    conformance::order_is_kept(Feed::new().await).await;
}

#[tokio::test]
async fn a_repeat_keeps_its_id() {
    conformance::a_repeat_keeps_its_id(Feed::new().await).await;
}

#[tokio::test]
async fn what_was_flushed_is_there() {
    conformance::what_was_flushed_is_there(Feed::new().await).await;
}

#[tokio::test]
async fn a_feed_waits_for_the_clients_it_was_told_of() {
    let mut ws = bind("?clients=1").await;
    let outcomes = ws.publish(&conformance::records(0, 1)).await.expect("not lost");
    assert!(matches!(outcomes[..], [Outcome::Retry(_)]), "{outcomes:?}");
    let reading = tokio::spawn(read(connect(&ws).await));
    conformance::deliver(&mut ws, &conformance::records(0, 5)).await;
    ws.close().await;
    assert_eq!(reading.await.expect("read").len(), 5);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_and_delays_nobody() {
    let mut ws = bind("").await;
    let mut lazy = connect(&ws).await;
    let mut keen = connect(&ws).await;
    let mut large = conformance::record(0);
    large.payload = Bytes::from("x".repeat(500_000));
    let mut sent = 0;
    while ws.cut() == 0 {
        sent += 1;
        assert!(sent < 200, "100 MB and nobody was cut");
        let outcomes = ws.publish(std::slice::from_ref(&large)).await.expect("not lost");
        assert_eq!(outcomes, [Outcome::Delivered]);
        let seen = keen.next().await.expect("a frame").expect("a frame");
        assert_eq!(ws::payload_of(seen), Some(large.payload.clone()));
    }
    let keen = tokio::spawn(read(keen));
    ws.close().await;
    assert_eq!(keen.await.expect("read").len(), 0);
    let mut last = None;
    while let Some(Ok(message)) = lazy.next().await {
        last = Some(message);
    }
    if let Some(Message::Close(Some(frame))) = last {
        assert_eq!(frame.code, CloseCode::Policy);
    }
}

#[tokio::test]
async fn another_path_is_not_found() {
    let ws = bind("").await;
    let refused = connect_async(format!("ws://{}/other", ws.address())).await.expect_err("refused");
    assert!(matches!(refused, Error::Http(ref response) if response.status() == 404), "{refused}");
}
