//! Serves `/metrics`, `/healthz` while the process lives, `/readyz` while rows are released, and `POST /control/…`.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use time::UtcOffset;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::control::{Command, RATE_MAX, RATE_MIN, State};
use crate::engine::Handle;
use crate::metrics::Metrics;
use crate::timestamp;

const CONNECTIONS_MAX: usize = 64;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_MAX_BYTES: usize = 16 << 10;
const BODY_MAX_BYTES: usize = 256;
const PATHS: &str = "there are /metrics, /healthz, /readyz, and POST /control/pause, /control/resume, /control/rate and \
                     /control/seek\n";

/// A bound listener that does not answer yet.
pub struct Ops {
    listener: TcpListener,
    shown: Arc<Shown>,
}

struct Shown {
    handle: Handle,
    metrics: Metrics,
    zone: UtcOffset,
}

impl Ops {
    /// Listens at an address.
    ///
    /// # Errors
    /// Fails if the address is taken.
    pub async fn bind(address: SocketAddr, handle: Handle, zone: UtcOffset) -> io::Result<Self> {
        let metrics = Metrics::new(handle.clone());
        Ok(Self { listener: TcpListener::bind(address).await?, shown: Arc::new(Shown { handle, metrics, zone }) })
    }

    /// Returns where it listens: the port is known even if 0 was asked for.
    ///
    /// # Errors
    /// Fails if the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is dropped. A client has ten seconds, and there are a few connections for all of them together.
    pub async fn serve(self) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let shown = self.shown.clone();
                    tokio::spawn(async move {
                        talk(stream, shown).await;
                        drop(place);
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

async fn talk(stream: TcpStream, shown: Arc<Shown>) {
    let service = service_fn(|request: Request<Incoming>| {
        let shown = shown.clone();
        async move { Ok::<_, Infallible>(answer(request, &shown).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(REQUEST_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(REQUEST_TIMEOUT, connection).await;
}

async fn answer(request: Request<Incoming>, shown: &Shown) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    if let Some(act) = path.strip_prefix("/control/") {
        return control(act, request, shown).await;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
    }
    let state = shown.handle.status.shown().0;
    match path.as_str() {
        "/metrics" => text(StatusCode::OK, shown.metrics.text()),
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if matches!(state, State::Running | State::Paused) => {
            text(StatusCode::OK, format!("{}\n", state.as_str()))
        }
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", state.as_str())),
        _ => text(StatusCode::NOT_FOUND, PATHS.to_owned()),
    }
}

/// Carries out a command. A page in a browser cannot send one: it would come with an Origin.
async fn control(act: &str, request: Request<Incoming>, shown: &Shown) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n".to_owned());
    }
    if request.headers().contains_key(hyper::header::ORIGIN) {
        return text(StatusCode::FORBIDDEN, "not from a page in a browser\n".to_owned());
    }
    let body = match Limited::new(request.into_body(), BODY_MAX_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long\n".to_owned()),
    };
    match command(act, String::from_utf8_lossy(&body).trim(), shown.zone) {
        Some(Ok(command)) => {
            shown.handle.send(command);
            text(StatusCode::ACCEPTED, "ok\n".to_owned())
        }
        Some(Err(fault)) => text(StatusCode::BAD_REQUEST, format!("{fault}\n")),
        None => text(StatusCode::NOT_FOUND, PATHS.to_owned()),
    }
}

fn command(act: &str, value: &str, zone: UtcOffset) -> Option<Result<Command, String>> {
    Some(match act {
        "pause" => Ok(Command::Pause),
        "resume" => Ok(Command::Resume),
        "rate" => {
            let rate = value.parse().ok().filter(|rate: &f64| (RATE_MIN..=RATE_MAX).contains(rate));
            rate.map(Command::Rate).ok_or_else(|| "the body must be a rate, such as 60".to_owned())
        }
        "seek" => timestamp::parse(value, zone).map(Command::Seek).map_err(|fault| format!("the body {fault}")),
        _ => return None,
    })
}

fn text(status: StatusCode, words: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(words)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
