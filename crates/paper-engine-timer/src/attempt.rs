//! Defines the seam between the engine and whatever delivers a request: what one attempt sends and what came of it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// One attempt at one task, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The task's id: a UUID in lower case with dashes. The same on every attempt.
    pub task_id: String,
    /// The URL as it stands in the table, without the id.
    pub url: String,
    /// Headers of the task, as they stand in the table. The sender refuses those that a task may not set.
    pub headers: Vec<(String, String)>,
    /// The body of the task. `None`: the original's request, with an empty body of `application/octet-stream`.
    pub body: Option<Bytes>,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// How the id is appended to the URL.
    pub join: Join,
}

/// How a task's id is appended to its URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// The original's concatenation of `url`, `/` and the id, whatever the URL ends with.
    #[default]
    Verbatim,
    /// The id becomes the last segment of the path: a query stays behind it, and a slash at the end is not doubled.
    Clean,
}

impl Request {
    /// Returns the URL that the request is posted to.
    pub fn target(&self) -> String {
        match self.join {
            Join::Verbatim => format!("{}/{}", self.url, self.task_id),
            Join::Clean => {
                let end = self.url.find(['?', '#']).unwrap_or(self.url.len());
                let (path, rest) = self.url.split_at(end);
                format!("{}/{}{rest}", path.trim_end_matches('/'), self.task_id)
            }
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint answered with a status from 200 to 299.
    Done { status: u16 },
    /// A temporary failure. `after` is the bounded `Retry-After` of the answer; without it the schedule of retries decides.
    Retry { reason: Reason, after: Option<Duration> },
    /// A final failure: another attempt would end the same way.
    Failed { reason: Reason },
    /// The guard against request forgery forbids the address. Final, and no fault of the endpoint.
    Refused { reason: Reason },
    /// The endpoint answered 410: the task has failed and the endpoint gets no further requests until it is enabled again.
    EndpointGone { reason: Reason },
}

/// Why an attempt did not succeed: a kind for programs, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub kind: ReasonKind,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// One sentence without secrets, user info or query, control characters escaped.
    pub text: String,
}

impl Reason {
    /// Builds a reason without a status.
    pub fn new(kind: ReasonKind, text: impl Into<String>) -> Self {
        Self { kind, status: None, text: text.into() }
    }

    /// Builds the reason of an answer with `status`.
    pub fn of_status(kind: ReasonKind, status: u16, text: impl Into<String>) -> Self {
        Self { kind, status: Some(status), text: text.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.text)
    }
}

/// The machine-readable kinds of reasons; [`ReasonKind::as_str`] is what the database, the log and the metrics show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReasonKind {
    /// An answer with a status that is not 2xx.
    Status,
    /// A redirect, which is never followed.
    Redirect,
    /// A URL that cannot be parsed, or that has no host.
    BadUrl,
    /// A scheme other than `http`, `https` and `queue`.
    Scheme,
    /// User name or password in the URL.
    UserInfo,
    /// A header that cannot be sent or that a task may not set.
    BadHeader,
    /// A body that is too large to be sent.
    BadBody,
    /// An address that the guard against request forgery forbids.
    PrivateAddress,
    /// A name that cannot be resolved.
    Dns,
    /// A connection that was refused or that there is no route for.
    Connect,
    /// A connection that was reset or closed before the answer was complete.
    Reset,
    /// A TLS handshake that failed.
    Tls,
    /// A time-out while connecting, sending, or waiting for the answer.
    Timeout,
    /// An answer that is not HTTP or that is larger than allowed.
    BadAnswer,
    /// The circuit breaker of the endpoint is open.
    Breaker,
    /// The endpoint answered 410, now or before.
    EndpointGone,
    /// A `queue:` destination that is not configured.
    Queue,
}

impl ReasonKind {
    /// Returns the word by which databases, logs and metrics know the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Redirect => "redirect",
            Self::BadUrl => "bad_url",
            Self::Scheme => "scheme",
            Self::UserInfo => "user_info",
            Self::BadHeader => "bad_header",
            Self::BadBody => "bad_body",
            Self::PrivateAddress => "private_address",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::BadAnswer => "bad_answer",
            Self::Breaker => "breaker",
            Self::EndpointGone => "endpoint_gone",
            Self::Queue => "queue",
        }
    }
}

/// The name under which requests share concurrency, breaker and secrets: scheme, host, port and path, or a configured group.
/// Never holds user info or a query, so that it can be logged and stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint(Arc<str>);

impl Endpoint {
    /// Names an endpoint.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Delivers requests. One sender serves the whole process, from many tasks at once.
pub trait Sender: Send + Sync + 'static {
    /// Sends one request and returns what came of it, at the latest at `deadline` (monotonic). Never panics, and never answers
    /// `Retry` because the endpoint has no room: [`Sender::has_room`] was asked before.
    fn send(&self, request: Request, deadline: Instant) -> impl Future<Output = Outcome> + Send;

    /// Returns the endpoint that a task's URL (as it stands in the table) belongs to. A URL that cannot be parsed has an
    /// endpoint too: its requests fail at once.
    fn endpoint_of(&self, url: &str) -> Endpoint;

    /// Returns `true` if a request to the endpoint can start now: a place of its concurrency is free and its breaker lets it
    /// through. The engine asks before it claims and before it starts a request; tasks without room wait without holding others
    /// up.
    fn has_room(&self, endpoint: &Endpoint) -> bool;

    /// Resolves when some endpoint may have got room, as a hint to ask again. May resolve without reason.
    fn room_changed(&self) -> impl Future<Output = ()> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, join: Join) -> String {
        let request = Request { task_id: "ID".into(), url: url.into(), headers: vec![], body: None, attempt: 1, join };
        request.target()
    }

    #[test]
    fn the_verbatim_target_is_the_originals_concatenation() {
        assert_eq!(target("http://h/", Join::Verbatim), "http://h//ID");
        assert_eq!(target("http://h/p?x=1", Join::Verbatim), "http://h/p?x=1/ID");
    }

    #[test]
    fn the_clean_target_puts_the_id_behind_the_path() {
        assert_eq!(target("http://h", Join::Clean), "http://h/ID");
        assert_eq!(target("http://h/", Join::Clean), "http://h/ID");
        assert_eq!(target("http://h/p/?x=1/2", Join::Clean), "http://h/p/ID?x=1/2");
    }
}
