//! A web server that webhooks go to: it records what arrives, and answers as the path says.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request that arrived.
#[derive(Clone)]
pub struct Hit {
    pub path: String,
    pub headers: HeaderMap,
    pub at: Instant,
}

impl Hit {
    /// Returns the task's id: the last segment of the path.
    pub fn id(&self) -> String {
        self.path.rsplit('/').next().unwrap_or_default().to_owned()
    }
}

/// A running server.
pub struct Target {
    pub address: SocketAddr,
    hits: Arc<Mutex<Vec<Hit>>>,
    serving: JoinHandle<()>,
}

impl Target {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, hits) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let shared = hits.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let hits = shared.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, hits.clone()));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, hits, serving }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Returns what has arrived, in its order.
    pub fn hits(&self) -> Vec<Hit> {
        self.hits.lock().unwrap().clone()
    }

    /// Returns the paths that were posted to, in their order.
    pub fn paths(&self) -> Vec<String> {
        self.hits().into_iter().map(|hit| hit.path).collect()
    }

    /// Returns how often each id arrived.
    pub fn times(&self) -> HashMap<String, usize> {
        let mut times = HashMap::new();
        for hit in self.hits() {
            *times.entry(hit.id()).or_insert(0) += 1;
        }
        times
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(request: Request<Incoming>, hits: Arc<Mutex<Vec<Hit>>>) -> Result<Response<Full<Bytes>>, Infallible> {
    #[allow(clippy::disallowed_methods, reason = "the receiver notes when a request arrived")]
    let at = Instant::now();
    let (path, headers) = (request.uri().to_string(), request.headers().clone());
    let _ = request.into_body().collect().await;
    hits.lock().unwrap().push(Hit { path: path.clone(), headers, at });
    if path.starts_with("/slow") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = if path.starts_with("/missing") { StatusCode::NOT_FOUND } else { StatusCode::NO_CONTENT };
    Ok(response)
}
