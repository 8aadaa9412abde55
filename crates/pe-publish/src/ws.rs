//! Serves records to the clients of a websocket: each payload is a text frame. A client that does not keep up is cut, so
//! that it delays nobody.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::publisher::{Capabilities, Error, Outcome, Publisher};
use crate::record::Record;

/// What a client may be behind before it is cut, and what a frame counts besides its text.
const BEHIND_MAX_BYTES: usize = 8 << 20;
const FRAME_OVERHEAD: usize = 64;
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const CLIENTS_MAX: usize = 256;
/// How long clients may take for what is left at the end.
const CLOSE_GRACE: Duration = Duration::from_secs(5);
const RETRY: &str = "ws: fewer clients than asked for are connected";

/// Where to listen, and for whom to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub listen: SocketAddr,
    /// Clients that must be connected before the first record is published.
    pub clients: usize,
    path: String,
}

impl Settings {
    /// Reads `ws://ADDRESS:PORT/path?clients=1`.
    ///
    /// # Errors
    /// Returns what is wrong.
    pub fn from_url(text: &str) -> Result<Self, String> {
        const FORM: &str = "Write it like ws://127.0.0.1:9000/path or ws://127.0.0.1:9000/path?clients=1";
        let rest = text.strip_prefix("ws://").unwrap_or(text);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let listen = address
            .replace("localhost", "127.0.0.1")
            .parse()
            .map_err(|_| format!("{address:?} is no address to listen on. {FORM}"))?;
        let clients = match query.split_once('=') {
            None if query.is_empty() => 0,
            Some(("clients", number)) => number.parse().map_err(|_| format!("clients= needs a number. {FORM}"))?,
            _ => return Err(format!("only clients= may follow the ?. {FORM}")),
        };
        Ok(Self { listen, clients, path: format!("/{path}") })
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}{}", self.listen, self.path)
    }
}

/// A listener and its clients.
pub struct Ws {
    settings: Settings,
    clients: Clients,
    begun: bool,
    listener: JoinHandle<()>,
}

/// The clients that are connected. `Default` has none.
#[derive(Clone, Default)]
struct Clients {
    places: Arc<Mutex<Vec<Client>>>,
    connected: Arc<AtomicUsize>,
    cut: Arc<AtomicUsize>,
}

/// One client as the publisher sees it.
struct Client {
    frames: mpsc::UnboundedSender<Utf8Bytes>,
    behind: Arc<AtomicUsize>,
    cut: Arc<Notify>,
}

impl Client {
    /// Hands a frame to the client's task. Returns `false` if the client is gone or too far behind, and then cuts it.
    fn offer(&self, text: &Utf8Bytes) -> bool {
        let size = text.len() + FRAME_OVERHEAD;
        if self.behind.fetch_add(size, Ordering::AcqRel) + size > BEHIND_MAX_BYTES {
            self.cut.notify_one();
            return false;
        }
        self.frames.send(text.clone()).is_ok()
    }
}

impl Ws {
    /// Begins to listen.
    ///
    /// # Errors
    /// Fails if the address is taken.
    pub async fn bind(settings: &Settings) -> Result<Self, Error> {
        let listener = TcpListener::bind(settings.listen).await;
        let listener =
            listener.map_err(|error| Error::Setting(format!("ws: cannot listen on {}: {error}", settings.listen)))?;
        let mut settings = settings.clone();
        if let Ok(address) = listener.local_addr() {
            settings.listen = address;
        }
        let clients = Clients::default();
        let listener = tokio::spawn(accept(listener, settings.path.clone().into(), clients.clone()));
        Ok(Self { settings, clients, begun: false, listener })
    }

    /// Returns where it listens: the port is known even if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.settings.listen
    }

    /// Returns how many clients were cut because they did not keep up.
    pub fn cut(&self) -> usize {
        self.clients.cut.load(Ordering::Relaxed)
    }

    fn connected(&self) -> usize {
        self.clients.connected.load(Ordering::Acquire)
    }
}

impl Drop for Ws {
    fn drop(&mut self) {
        self.listener.abort();
        self.clients.lock().clear();
    }
}

impl Publisher for Ws {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn check(&mut self) -> BoxFuture<'_, Result<String, Error>> {
        Box::pin(async { Ok(format!("websocket listens at {}", self.settings)) })
    }

    fn publish<'a>(&'a mut self, records: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Error>> {
        Box::pin(async move {
            self.begun = self.begun || self.connected() >= self.settings.clients;
            if !self.begun {
                return Ok(vec![Outcome::Retry(RETRY.to_owned()); records.len()]);
            }
            let mut outcomes = Vec::with_capacity(records.len());
            for record in records {
                outcomes.push(match Utf8Bytes::try_from(record.payload.clone()) {
                    Ok(text) => {
                        self.clients.offer(&text);
                        Outcome::Delivered
                    }
                    Err(_) => Outcome::Rejected("ws: a text frame must be UTF-8".to_owned()),
                });
                // lets clients that keep up read what they have
                if outcomes.len().is_multiple_of(64) {
                    tokio::task::yield_now().await;
                }
            }
            Ok(outcomes)
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.listener.abort();
            self.clients.lock().clear();
            let gone = async {
                while self.connected() > 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let _ = tokio::time::timeout(CLOSE_GRACE, gone).await;
        })
    }
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, Vec<Client>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, text: &Utf8Bytes) {
        self.lock().retain(|client| client.offer(text));
    }
}

async fn accept(listener: TcpListener, path: Arc<str>, clients: Clients) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if clients.connected.load(Ordering::Relaxed) < CLIENTS_MAX => {
                tokio::spawn(serve(stream, path.clone(), clients.clone()));
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn serve(stream: TcpStream, path: Arc<str>, clients: Clients) {
    let _ = stream.set_nodelay(true);
    #[allow(clippy::result_large_err, reason = "the type is tungstenite's")]
    let judge = move |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        if request.uri().path() == &*path {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(Some(format!("the feed is at {path}\n")));
        *refusal.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::NOT_FOUND;
        Err(refusal)
    };
    let config = WebSocketConfig::default().max_message_size(Some(64 << 10)).max_frame_size(Some(64 << 10));
    let handshake = tokio_tungstenite::accept_hdr_async_with_config(stream, judge, Some(config));
    let Ok(Ok(socket)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await else { return };
    let (sender, frames) = mpsc::unbounded_channel();
    let (behind, cut) = (Arc::<AtomicUsize>::default(), Arc::new(Notify::new()));
    clients.lock().push(Client { frames: sender, behind: behind.clone(), cut: cut.clone() });
    clients.connected.fetch_add(1, Ordering::AcqRel);
    if feed(socket, frames, &behind, &cut).await == End::Cut {
        clients.cut.fetch_add(1, Ordering::Relaxed);
        tracing::warn!("ws: a client was more than {} MiB behind and was cut.", BEHIND_MAX_BYTES >> 20);
    }
    clients.connected.fetch_sub(1, Ordering::AcqRel);
}

/// Why a client is served no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client went, or the feed ended.
    Gone,
    /// The client did not keep up.
    Cut,
}

/// Sends frames to one client until it goes, is cut, or the feed ends.
async fn feed(
    socket: WebSocketStream<TcpStream>,
    mut frames: mpsc::UnboundedReceiver<Utf8Bytes>,
    behind: &AtomicUsize,
    cut: &Notify,
) -> End {
    let (mut out, mut heard) = socket.split();
    loop {
        let text = tokio::select! {
            biased;
            () = cut.notified() => return goodbye(&mut out, CloseCode::Policy, "too slow", End::Cut).await,
            // what a client says is read and thrown away: subscriptions, pings, its farewell
            said = heard.next() => match said {
                Some(Ok(message)) if !message.is_close() => continue,
                _ => return End::Gone,
            },
            text = frames.recv() => text,
        };
        let Some(text) = text else {
            return goodbye(&mut out, CloseCode::Normal, "the replay ended", End::Gone).await;
        };
        let size = text.len() + FRAME_OVERHEAD;
        let sent = tokio::select! {
            biased;
            sent = out.send(Message::Text(text)) => sent,
            () = cut.notified() => return End::Cut,
        };
        behind.fetch_sub(size, Ordering::AcqRel);
        if sent.is_err() {
            return End::Gone;
        }
    }
}

async fn goodbye(
    out: &mut SplitSink<WebSocketStream<TcpStream>, Message>,
    code: CloseCode,
    reason: &'static str,
    end: End,
) -> End {
    let farewell = out.send(Message::Close(Some(CloseFrame { code, reason: reason.into() })));
    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, farewell).await;
    end
}

/// Returns a payload as a test reads it.
#[cfg(any(test, feature = "conformance"))]
pub fn payload_of(message: Message) -> Option<bytes::Bytes> {
    match message {
        Message::Text(text) => Some(bytes::Bytes::from(text)),
        _ => None,
    }
}
