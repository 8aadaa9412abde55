//! A web server that webhooks go to: it records what arrives, and answers as the path says.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running server.
pub struct Target {
    pub address: SocketAddr,
    hits: Arc<Mutex<Vec<String>>>,
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

    /// Returns the paths that were posted to, in their order.
    pub fn paths(&self) -> Vec<String> {
        self.hits.lock().unwrap().clone()
    }

    /// Returns how often each id arrived.
    pub fn times(&self) -> HashMap<String, usize> {
        let mut times = HashMap::new();
        for path in self.paths() {
            let id = path.rsplit('/').next().unwrap_or_default().to_owned();
            *times.entry(id).or_insert(0) += 1;
        }
        times
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    hits: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().to_string();
    let _ = request.into_body().collect().await;
    hits.lock().unwrap().push(path.clone());
    if path.starts_with("/slow") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = if path.starts_with("/missing") { StatusCode::NOT_FOUND } else { StatusCode::NO_CONTENT };
    Ok(response)
}
