//! Sends one request and says what came of it: the [`Sender`] that the engine calls.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{Connected, capture_connection};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use pe_runtime::clock::Clock;
use rustls::ClientConfig;
use tokio::time::timeout_at;

use super::address_policy::AddressPolicy;
use super::connector::{Born, WebhookConnector};
use super::endpoints::{Endpoints, NoRoom, OPEN_FIRST, Permit};
use super::resolve::{GuardedResolver, Resolve};
use super::target_url::TargetUrl;
use super::{outcome, payload, signature};
use crate::attempt::{Endpoint, Outcome, Reason, ReasonKind, Request, Sender};

/// The bounds of one attempt and of the connections that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptLimits {
    /// Name, address, TCP and TLS.
    pub connect: Duration,
    /// Everything, from the start to the end of the answer's headers.
    pub attempt: Duration,
    /// How long the rest of an answer is waited for, to use the connection again.
    pub drain: Duration,
    /// A connection is not used again after this age: its address was judged when it was made.
    pub connection_age: Duration,
    /// A connection is closed after this time without a request.
    pub connection_idle: Duration,
}

impl Default for AttemptLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            attempt: Duration::from_secs(15),
            drain: Duration::from_millis(250),
            connection_age: Duration::from_secs(60),
            // shorter than the five seconds after which many servers close
            connection_idle: Duration::from_secs(4),
        }
    }
}

/// The most bytes of an answer's body that are read.
pub const ANSWER_MAX_BYTES: usize = 16 * 1024;
/// The most bytes of an answer's headers.
const ANSWER_HEADERS_MAX_BYTES: usize = 32 * 1024;
/// The most headers of an answer.
const ANSWER_HEADERS_MAX: usize = 100;
/// What every request says about who sends it.
const AGENT: &str = concat!("paper-engine-timer/", env!("CARGO_PKG_VERSION"));

type HttpClient = Client<WebhookConnector, Full<Bytes>>;

/// Sends requests over HTTP/1.1. Clones share connections and state.
#[derive(Clone)]
pub struct HttpSender {
    pooled: HttpClient,
    /// connects anew for each request
    fresh: HttpClient,
    endpoints: Endpoints,
    limits: AttemptLimits,
    clock: Clock,
}

/// Everything that a sender is made of.
pub struct SenderParts {
    pub policy: Arc<AddressPolicy>,
    pub resolver: Arc<dyn Resolve>,
    pub tls: ClientConfig,
    pub endpoints: Endpoints,
    pub limits: AttemptLimits,
    pub clock: Clock,
}

impl HttpSender {
    /// Builds a sender. Nothing is connected to yet.
    pub fn new(parts: SenderParts) -> Self {
        let resolver = GuardedResolver::new(parts.resolver, parts.policy);
        let connector = WebhookConnector::new(resolver, parts.tls, parts.limits.connect);
        Self {
            pooled: client(connector.clone(), usize::MAX, parts.limits.connection_idle),
            fresh: client(connector, 0, parts.limits.connection_idle),
            endpoints: parts.endpoints,
            limits: parts.limits,
            clock: parts.clock,
        }
    }

    /// Returns the registry of endpoints, for the page, the metrics and the set of disabled ones.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Builds what is sent, or returns why it cannot be.
    fn compose(&self, request: &Request, endpoint: &Endpoint) -> Result<http::Request<Full<Bytes>>, Reason> {
        let target = TargetUrl::parse(&request.target())?;
        payload::check_body(request.body.as_ref())?;
        let headers = payload::check_headers(&request.headers).map_err(|faults| join(&faults))?;
        let body = request.body.clone().unwrap_or_default();
        let mut composed = http::Request::new(Full::new(body.clone()));
        *composed.method_mut() = Method::POST;
        *composed.uri_mut() = target.uri()?;
        *composed.headers_mut() = all_headers(&target, headers)?;
        // without it an empty body goes without a length, which some servers refuse
        composed.headers_mut().insert(CONTENT_LENGTH, body.len().into());
        let secrets = self.endpoints.group(endpoint).map(|group| group.secrets.as_slice()).unwrap_or_default();
        let signed = signature::headers(secrets, &request.task_id, self.clock.utc().into(), &body);
        composed.headers_mut().extend(signed.into_iter().flatten());
        Ok(composed)
    }

    /// Waits for a place at the endpoint. The engine has asked before, so there is one but for a race.
    async fn place(&self, endpoint: &Endpoint, deadline: Instant) -> Result<Permit, Outcome> {
        loop {
            let mut ended = pin!(self.endpoints.request_ended());
            ended.as_mut().enable();
            match self.endpoints.start(endpoint, self.clock.monotonic()) {
                Ok(permit) => return Ok(permit),
                Err(NoRoom::Broken(until)) => return Err(self.broken(until)),
                Err(NoRoom::Full) => {}
            }
            let opening = self.endpoints.next_opening(self.clock.monotonic()).unwrap_or(deadline);
            if timeout_at(opening.min(deadline).into(), ended).await.is_err() && deadline <= self.clock.monotonic() {
                return Err(outcome::timed_out("no place among the endpoint's requests was free"));
            }
        }
    }

    fn broken(&self, until: Option<Instant>) -> Outcome {
        let after = until.map_or(OPEN_FIRST, |until| until.saturating_duration_since(self.clock.monotonic()));
        let reason =
            Reason::new(ReasonKind::Breaker, "the endpoint has failed too often and is left alone for a while.");
        Outcome::Retry { reason, after: Some(after) }
    }

    /// Sends and returns the outcome of the answer. The status decides; the rest of the answer only frees the connection.
    async fn exchange(&self, request: http::Request<Full<Bytes>>) -> Outcome {
        match self.answer(request).await {
            Ok(answer) => {
                let outcome = outcome::of_answer(answer.status(), answer.headers(), self.clock.utc().into());
                let _ = tokio::time::timeout(self.limits.drain, drain(answer.into_body())).await;
                outcome
            }
            Err(error) => outcome::of_error(&error),
        }
    }

    /// Sends over a connection of the pool. A server may close one just when the request leaves; then, and only if no byte of an
    /// answer has come, the request is sent once more over a new connection.
    async fn answer(&self, mut request: http::Request<Full<Bytes>>) -> Result<http::Response<Incoming>, legacy::Error> {
        let begun = tokio::time::Instant::now();
        let again = request.clone();
        let connection = capture_connection(&mut request);
        let result = self.pooled.request(request).await;
        let born = connection.connection_metadata().as_ref().and_then(born);
        match (result, born) {
            (Err(error), Some(born)) if born < begun && ended_early(&error) => self.fresh.request(again).await,
            (Ok(answer), Some(born)) if born.elapsed() >= self.limits.connection_age => {
                connection.connection_metadata().as_ref().inspect(|connection| connection.poison());
                Ok(answer)
            }
            (result, _) => result,
        }
    }
}

/// Returns the sender's own headers and the task's, which may replace `accept` and `content-type`.
fn all_headers(target: &TargetUrl, of_task: HeaderMap) -> Result<HeaderMap, Reason> {
    let host = HeaderValue::from_str(&target.host_header());
    let host = host.map_err(|_| Reason::new(ReasonKind::BadUrl, "the host of the URL cannot be sent."))?;
    let text = HeaderValue::from_static;
    let own = [
        (HOST, host),
        (USER_AGENT, text(AGENT)),
        (ACCEPT, text("*/*")),
        (CONTENT_TYPE, text("application/octet-stream")),
    ];
    let mut headers = HeaderMap::from_iter(own);
    headers.extend(of_task);
    Ok(headers)
}

fn client(connector: WebhookConnector, idle_connections: usize, idle: Duration) -> HttpClient {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(idle)
        .pool_max_idle_per_host(idle_connections)
        .http1_max_headers(ANSWER_HEADERS_MAX)
        .http1_max_buf_size(ANSWER_HEADERS_MAX_BYTES)
        .build(connector)
}

fn born(connection: &Connected) -> Option<tokio::time::Instant> {
    let mut extensions = http::Extensions::new();
    connection.get_extras(&mut extensions);
    extensions.get::<Born>().map(|born| born.0)
}

/// Returns `true` if the connection ended before a byte of an answer came.
fn ended_early(error: &legacy::Error) -> bool {
    !error.is_connect()
        && matches!(outcome::of_error(error), Outcome::Retry { reason, .. } if reason.kind == ReasonKind::Reset)
}

/// Reads the rest of an answer as far as [`ANSWER_MAX_BYTES`]. What is not read to its end closes the connection.
async fn drain(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > ANSWER_MAX_BYTES {
            return;
        }
    }
}

fn join(faults: &[Reason]) -> Reason {
    let texts: Vec<&str> = faults.iter().map(|fault| fault.text.as_str()).collect();
    Reason::new(ReasonKind::BadHeader, texts.join(" "))
}

impl Sender for HttpSender {
    async fn send(&self, request: Request, deadline: Instant) -> Outcome {
        let endpoint = self.endpoint_of(&request.url);
        if self.endpoints.is_disabled(&endpoint) {
            let text =
                "the endpoint is disabled since it answered 410; `endpoints enable` lets it have requests again.";
            return Outcome::Failed { reason: Reason::new(ReasonKind::EndpointGone, text) };
        }
        let composed = match self.compose(&request, &endpoint) {
            Ok(composed) => composed,
            Err(reason) => return Outcome::Failed { reason },
        };
        let permit = match self.place(&endpoint, deadline).await {
            Ok(permit) => permit,
            Err(outcome) => return outcome,
        };
        let deadline = deadline.min(self.clock.monotonic() + self.limits.attempt);
        let exchanged = timeout_at(deadline.into(), self.exchange(composed)).await;
        let outcome = exchanged.unwrap_or_else(|_| outcome::timed_out("there was no answer"));
        if matches!(outcome, Outcome::EndpointGone { .. }) {
            self.endpoints.disable(&endpoint);
        }
        permit.finish(
            outcome::verdict_on_host(&outcome),
            outcome::verdict_on_endpoint(&outcome),
            self.clock.monotonic(),
        );
        outcome
    }

    fn endpoint_of(&self, url: &str) -> Endpoint {
        self.endpoints.endpoint_of(url)
    }

    fn has_room(&self, endpoint: &Endpoint) -> bool {
        self.endpoints.has_room(endpoint, self.clock.monotonic())
    }

    async fn room_changed(&self) {
        let ended = self.endpoints.request_ended();
        match self.endpoints.next_opening(self.clock.monotonic()) {
            Some(opening) => drop(timeout_at(opening.into(), ended).await),
            None => ended.await,
        }
    }
}

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;
