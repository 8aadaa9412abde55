//! Serves the status page, `/metrics`, `/healthz` while the process lives, and `/readyz` while the database answers.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::metrics::Metrics;
use crate::page::{ASSETS, Board};

const CONNECTIONS_MAX: usize = 64;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_MAX_BYTES: usize = 16 << 10;
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A bound listener that does not answer yet.
pub struct Probes {
    listener: TcpListener,
    shown: Shown,
}

/// What is shown.
#[derive(Clone)]
pub struct Shown {
    pub metrics: Arc<Metrics>,
    pub ready: Arc<AtomicBool>,
    pub board: Arc<Board>,
}

/// The pages hold nothing but this program's own style, script and icon. Holds for every answer.
const ALWAYS: [(HeaderName, &str); 5] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
         form-action 'self'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

impl Probes {
    /// Listens at an address.
    pub async fn bind(address: SocketAddr, shown: Shown) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, shown })
    }

    /// Returns where it listens: the port is known even if 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is dropped. A client has ten seconds, and there are a few connections for all of them together.
    pub async fn serve(self) {
        let is_local = self.listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let shown = self.shown.clone();
                    tokio::spawn(async move {
                        talk(stream, shown, is_local).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("Metrics and probes: cannot accept a connection: {error}.");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn talk(stream: TcpStream, shown: Shown, is_local: bool) {
    let service = service_fn(|request: Request<Incoming>| {
        let shown = shown.clone();
        async move { Ok::<_, Infallible>(answer(&request, &shown, is_local).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(REQUEST_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(REQUEST_TIMEOUT, connection).await;
}

async fn answer(request: &Request<Incoming>, shown: &Shown, is_local: bool) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    let is_ready = shown.ready.load(Ordering::Relaxed);
    match request.uri().path() {
        "/metrics" => respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", shown.metrics.text()),
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" if is_ready => text(StatusCode::OK, "ok\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n"),
        _ if is_local && !is_here(request) => text(StatusCode::MISDIRECTED_REQUEST, MISDIRECTED),
        "/" => respond(StatusCode::OK, "text/html; charset=utf-8", shown.board.page(&shown.metrics, is_ready).await),
        path => match ASSETS.iter().find(|asset| asset.path == path) {
            Some(asset) => respond(StatusCode::OK, asset.content_type, asset.body),
            None => text(StatusCode::NOT_FOUND, "there are /, /metrics, /healthz and /readyz\n"),
        },
    }
}

const MISDIRECTED: &str =
    "METRICS listens to this machine only, so the page is shown only under localhost or an IP address.\n";

/// Returns `true` if the request is for an IP address or for localhost: a web site whose name points to this machine must not
/// read the page through a browser here.
fn is_here(request: &Request<Incoming>) -> bool {
    let mut names = request.headers().get_all(HOST).iter();
    names.all(|name| name.to_str().ok().and_then(|name| name.parse().ok()).is_some_and(|name| is_ours(&name)))
}

fn is_ours(name: &Authority) -> bool {
    let bare = name.host().trim_matches(['[', ']']);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

fn text(status: StatusCode, words: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", words)
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().extend(ALWAYS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}
