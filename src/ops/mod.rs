//! HTTP listener for operations: the status `page` for people, `/metrics` for Prometheus, `/healthz` while the
//! process lives, `/readyz` while it can work.
//!
//! The listener only reads the shared state of the loader and the ledger, so it never makes the loader wait. Time per
//! client and number of connections are limited. When all connections are in use, a new client replaces the one that
//! has waited longest without sending a request, so that probes are always answered.

mod answer;
mod host;
mod page;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::health::Health;
use crate::metrics::Metrics;
use crate::stop::Stopper;

use answer::{Body, PROBES, Route, route};
use page::Page;
pub use page::Sources;

/// A bound listener that does not answer yet.
pub struct Ops {
    listener: TcpListener,
    limits: Limits,
}

/// Data that the listener serves.
struct Shown {
    metrics: Arc<Metrics>,
    health: Health,
    page: Page,
    /// `true` if only this machine can reach the listener.
    private: bool,
}

/// Error for an address on which the process cannot listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "METRICS: cannot listen on {address}: {source}. Write another address or port there, or METRICS= to do without"
)]
pub struct BindError {
    pub address: SocketAddr,
    pub source: io::Error,
}

#[derive(Clone, Copy)]
struct Limits {
    /// Maximum time for a client to send its request.
    head: Duration,
    /// Maximum time for a client to send its request and read the answer.
    time: Duration,
    connections: usize,
}

const LIMITS: Limits = Limits { head: Duration::from_secs(2), time: Duration::from_secs(10), connections: 64 };

/// Maximum size of a request with its head, in bytes; bodies are not read.
const REQUEST: usize = 16 << 10;

/// Pause after a failed accept, which usually means that the process is out of file descriptors.
const PAUSE: Duration = Duration::from_millis(200);

impl Ops {
    /// Binds the address, or returns an error about METRICS.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| BindError { address, source })?;
        Ok(Self { listener, limits: LIMITS })
    }

    /// Returns the listen address, with the actual port if 0 was configured.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers requests until `stopper` is set; then connections are closed. To answer during the drain, pass a
    /// stopper that is set afterwards.
    pub async fn serve(self, metrics: Arc<Metrics>, health: Health, sources: Sources, stopper: Stopper) {
        let private = self.address().is_ok_and(|address| address.ip().to_canonical().is_loopback());
        let shown = Arc::new(Shown { metrics, health, page: Page::new(sources), private });
        let (mut tasks, mut open) = (JoinSet::new(), Vec::new());
        loop {
            tokio::select! {
                () = stopper.wait() => return,
                Some(_) = tasks.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        make_room(&mut open, self.limits.connections);
                        let asked = Arc::new(AtomicBool::new(false));
                        let task = tasks.spawn(talk(stream, shown.clone(), self.limits, asked.clone()));
                        open.push(Connection { asked, task });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "Metrics and health: cannot accept a connection: {error}.");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }
}

/// An open connection.
struct Connection {
    /// `true` once the request has arrived.
    asked: Arc<AtomicBool>,
    task: AbortHandle,
}

/// Cuts a connection if there are `most`: the oldest one whose request has not arrived yet, else the oldest of all. The
/// connections are in the order in which they were accepted.
fn make_room(open: &mut Vec<Connection>, most: usize) {
    open.retain(|connection| !connection.task.is_finished());
    if open.len() >= most {
        let oldest = open.iter().position(|connection| !connection.asked.load(Ordering::Relaxed));
        open.remove(oldest.unwrap_or(0)).task.abort();
    }
}

/// Serves one connection with one answer. Errors are ignored, because they concern only the client.
async fn talk(stream: TcpStream, shown: Arc<Shown>, limits: Limits, asked: Arc<AtomicBool>) {
    let service = service_fn(|request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let shown = shown.clone();
        async move { Ok::<_, Infallible>(shown.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .keep_alive(false)
        .max_buf_size(REQUEST)
        .serve_connection(TokioIo::new(stream), service);
    // The header's timeout alone would let a client read for ever.
    if let Ok(Err(error)) = tokio::time::timeout(limits.time, connection).await {
        tracing::debug!(%error, "Metrics and health: a connection broke: {error}.");
    }
}

impl Shown {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let uri = request.uri();
        if self.private && !PROBES.contains(&uri.path()) && !host::is_here(uri, request.headers()) {
            let (status, words) = host::MISDIRECTED;
            return answer::text(status, words.to_owned());
        }
        match route(request.method(), request.uri(), &self.metrics, &self.health) {
            Route::Done(response) => response,
            Route::Page(asked) => answer::page(self.page.show(&asked, &self.health).await),
            Route::Wrong(wrong) => answer::page(self.page.wrong(&wrong)),
        }
    }
}

#[cfg(test)]
mod tests;
