//! Serves `/metrics`, `/healthz` while the process lives, and `/readyz` while the database answers.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::metrics::Metrics;

const CONNECTIONS_MAX: usize = 64;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_MAX_BYTES: usize = 16 << 10;
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A bound listener that does not answer yet.
pub struct Probes {
    listener: TcpListener,
    pub metrics: Arc<Metrics>,
    pub ready: Arc<AtomicBool>,
}

impl Probes {
    /// Listens at an address.
    pub async fn bind(address: SocketAddr, metrics: Arc<Metrics>, ready: Arc<AtomicBool>) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, metrics, ready })
    }

    /// Returns where it listens: the port is known even if 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is dropped. A client has ten seconds, and there are a few connections for all of them together.
    pub async fn serve(self) {
        let (places, shown) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Arc::new((self.metrics, self.ready)));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let shown = shown.clone();
                    tokio::spawn(async move {
                        talk(stream, shown).await;
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

type Shown = Arc<(Arc<Metrics>, Arc<AtomicBool>)>;

async fn talk(stream: TcpStream, shown: Shown) {
    let service = service_fn(|request: Request<Incoming>| {
        let shown = shown.clone();
        async move { Ok::<_, Infallible>(answer(&request, &shown)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(REQUEST_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(REQUEST_TIMEOUT, connection).await;
}

fn answer(request: &Request<Incoming>, shown: &Shown) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/metrics" => text(StatusCode::OK, shown.0.text()),
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if shown.1.load(Ordering::Relaxed) => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n".to_owned()),
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n".to_owned()),
    }
}

fn text(status: StatusCode, words: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(words)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
