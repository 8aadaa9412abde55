//! Runs graphile_worker with one kind of job: post an empty body to a URL. `graphile-peer DATABASE_URL CONCURRENCY`.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use graphile_worker::{IntoTaskHandlerResult, LocalQueueConfig, TaskHandler, WorkerContext, WorkerOptions};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};

static CLIENT: LazyLock<Client<HttpConnector, Full<Bytes>>> =
    LazyLock::new(|| Client::builder(TokioExecutor::new()).build_http());

/// A job of the benchmark.
#[derive(Deserialize, Serialize)]
struct Hook {
    url: String,
}

impl TaskHandler for Hook {
    const IDENTIFIER: &'static str = "hook";

    async fn run(self, _: WorkerContext) -> impl IntoTaskHandlerResult {
        post(&self.url).await
    }
}

async fn post(url: &str) -> Result<(), String> {
    let request = hyper::Request::post(url).body(Full::default()).map_err(|error| error.to_string())?;
    let sent = tokio::time::timeout(Duration::from_secs(15), CLIENT.request(request)).await;
    let answer = sent.map_err(|_| "timed out".to_owned())?.map_err(|error| error.to_string())?;
    let status = answer.status();
    answer.into_body().collect().await.map_err(|error| error.to_string())?;
    if status.is_success() { Ok(()) } else { Err(status.to_string()) }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let concurrency = arguments[2].parse()?;
    // the fastest that its manual offers: jobs are fetched and completed in batches
    let queue = LocalQueueConfig::default().with_size(500);
    let worker = WorkerOptions::default().database_url(&arguments[1]).concurrency(concurrency).max_pg_conn(16);
    let worker = worker.local_queue(queue).complete_job_batch_delay(Duration::from_millis(5));
    worker.define_job::<Hook>().init().await?.run().await?;
    Ok(())
}
