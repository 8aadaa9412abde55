//! Tests of single attempts against real servers on this machine.

mod forgery;
mod limits;
mod outcomes;
mod wire;

use std::time::{Duration, Instant};

use super::server::{Reply, Server, status};
use super::*;
use crate::attempt::Join;
use crate::http::address_policy::loopback;
use crate::http::endpoints::{Concurrency, EndpointGroups};
use crate::http::resolve::SystemResolver;
use crate::http::tls::client_config;

const ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

/// What a sender is made of, for tests that change one thing.
fn parts() -> SenderParts {
    SenderParts {
        policy: Arc::new(loopback()),
        resolver: Arc::new(SystemResolver),
        tls: client_config(None).expect("TLS"),
        endpoints: Endpoints::new(EndpointGroups::default(), Concurrency::default()),
        limits: AttemptLimits::default(),
        clock: Clock::system(),
    }
}

fn sender() -> HttpSender {
    HttpSender::new(parts())
}

fn request(url: &str) -> Request {
    Request { task_id: ID.into(), url: url.into(), headers: vec![], body: None, attempt: 1, join: Join::Verbatim }
}

/// Sends a request that has a minute.
async fn send(sender: &HttpSender, request: Request) -> Outcome {
    sender.send(request, soon(sender)).await
}

fn soon(sender: &HttpSender) -> Instant {
    sender.clock.monotonic() + Duration::from_secs(60)
}

/// Returns the kind of a temporary failure.
fn retried(outcome: Outcome) -> ReasonKind {
    match outcome {
        Outcome::Retry { reason, .. } => reason.kind,
        other => panic!("not a temporary failure: {other:?}"),
    }
}

const DONE: Outcome = Outcome::Done { status: 200 };
