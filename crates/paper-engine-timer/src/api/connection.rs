//! Accepts the connections of the API: a few at once, small requests, no patience.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{Answer, ApiToken, Timers, answer, fault};
use crate::http::BODY_MAX_BYTES;

const CONNECTIONS_MAX: usize = 256;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const HEAD_MAX_BYTES: usize = 16 << 10;
/// The document around a body of the largest size, whose characters may be escaped.
const DOCUMENT_MAX_BYTES: usize = 2 * BODY_MAX_BYTES;
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A bound listener that does not answer yet.
pub struct Api<T> {
    listener: TcpListener,
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    timers: Arc<T>,
    token: ApiToken,
}

impl<T: Timers> Api<T> {
    /// Listens at an address.
    pub async fn bind(address: SocketAddr, token: ApiToken, timers: T) -> io::Result<Self> {
        let shared = Arc::new(Shared { timers: Arc::new(timers), token });
        Ok(Self { listener: TcpListener::bind(address).await?, shared })
    }

    /// Returns where it listens: the port is known even if 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is dropped.
    pub async fn serve(self) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let shared = Arc::clone(&self.shared);
                    tokio::spawn(async move {
                        talk(stream, shared).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("API: cannot accept a connection: {error}.");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn talk<T: Timers>(stream: TcpStream, shared: Arc<Shared<T>>) {
    let service = service_fn(|request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(request, &shared).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .keep_alive(true)
        .max_buf_size(HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let _ = connection.await;
}

async fn respond<T: Timers>(request: Request<Incoming>, shared: &Shared<T>) -> Response<Full<Bytes>> {
    let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if !shared.token.accepts(authorization) {
        let mut response = document(fault(StatusCode::UNAUTHORIZED, "Not authenticated"));
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    if request.body().size_hint().lower() > DOCUMENT_MAX_BYTES as u64 {
        return document(fault(StatusCode::PAYLOAD_TOO_LARGE, "The document is too large"));
    }
    let (head, body) = request.into_parts();
    let read = tokio::time::timeout(REQUEST_TIMEOUT, Limited::new(body, DOCUMENT_MAX_BYTES).collect()).await;
    match read {
        Ok(Ok(body)) => document(answer(&shared.timers, &head.method, head.uri.path(), &body.to_bytes()).await),
        Ok(Err(_)) => document(fault(StatusCode::PAYLOAD_TOO_LARGE, "The document is too large or was cut off")),
        Err(_) => document(fault(StatusCode::REQUEST_TIMEOUT, "The document did not come in time")),
    }
}

fn document((status, value): Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
