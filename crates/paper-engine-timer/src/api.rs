//! Serves the HTTP API: `POST /timer/`, `GET /timer/{id}` and `DELETE /timer/{id}`, the first two as the original's sibling has them.
//! Whoever may add a task makes this program send requests, so nothing is answered without the bearer token.

mod connection;
mod new_task;
mod stored;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

pub use connection::Api;
pub use new_task::{Due, NewTimer};
pub use stored::StoredTimers;

/// The tasks that the API adds and shows. The store of the engine implements it.
pub trait Timers: Send + Sync + 'static {
    /// Adds a task that has been checked, and returns the time until it is due.
    fn add(&self, id: Uuid, task: NewTimer) -> impl Future<Output = Result<Duration, Unavailable>> + Send;

    /// Returns a task, or `None` if there is none with the id.
    fn find(&self, id: Uuid) -> impl Future<Output = Result<Option<FoundTimer>, Unavailable>> + Send;

    /// Cancels a task that no pod holds.
    fn cancel(&self, id: Uuid) -> impl Future<Output = Result<Cancelled, Unavailable>> + Send;
}

/// A task as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTimer {
    /// `waiting`, `executing`, `done` or `failed`.
    pub status: String,
    /// Seconds until it is due; negative for a task that is overdue.
    pub seconds_left: i64,
}

/// What came of a wish to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    Cancelled,
    /// A pod holds the task, or it has ended.
    TooLate,
    NotFound,
}

/// The database does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database does not answer: {0}")]
pub struct Unavailable(pub String);

/// A token that clients present, compared without telling how much of it is right.
#[derive(Clone)]
pub struct ApiToken(ring::digest::Digest);

/// The shortest token that is accepted, in bytes.
pub const TOKEN_MIN_BYTES: usize = 16;

impl std::fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl ApiToken {
    /// Takes a token of at least [`TOKEN_MIN_BYTES`].
    pub fn new(text: &str) -> Result<Self, String> {
        match text.trim() {
            short if short.len() < TOKEN_MIN_BYTES => {
                Err(format!("API_TOKEN has {} bytes; at least {TOKEN_MIN_BYTES} are needed.", short.len()))
            }
            token => Ok(Self(digest(token))),
        }
    }

    /// Returns `true` if the value of an `Authorization` header is `Bearer` and the token.
    fn accepts(&self, header: Option<&str>) -> bool {
        let given = header.and_then(|header| header.split_once(' '));
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        given.is_some_and(|token| digest(token).as_ref() == self.0.as_ref())
    }
}

fn digest(text: &str) -> ring::digest::Digest {
    ring::digest::digest(&ring::digest::SHA256, text.as_bytes())
}

/// A status and a document.
type Answer = (StatusCode, Value);

/// Answers one request whose token has been checked.
async fn answer<T: Timers>(timers: &Arc<T>, method: &Method, path: &str, body: &[u8]) -> Answer {
    let answered = match (method, path.strip_prefix("/timer/")) {
        (&Method::POST, Some("")) => add(timers, body).await,
        (_, Some("")) | (&Method::POST, Some(_)) => return fault(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
        (_, None) => return fault(StatusCode::NOT_FOUND, "Not Found"),
        (method, Some(id)) => match (method, Uuid::try_parse(id).ok().filter(|_| id.len() == 36)) {
            (_, None) => return fault(StatusCode::BAD_REQUEST, "Illegal UUID"),
            (&Method::GET, Some(id)) => show(timers, id).await,
            (&Method::DELETE, Some(id)) => cancel(timers, id).await,
            _ => return fault(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
        },
    };
    answered.unwrap_or_else(|unavailable| {
        tracing::warn!("API: {unavailable}.");
        fault(StatusCode::SERVICE_UNAVAILABLE, "The database does not answer")
    })
}

async fn add<T: Timers>(timers: &Arc<T>, body: &[u8]) -> Result<Answer, Unavailable> {
    let task = match NewTimer::parse(body) {
        Ok(task) => task,
        Err(faults) => return Ok((StatusCode::UNPROCESSABLE_ENTITY, json!({ "detail": faults }))),
    };
    let id = Uuid::new_v4();
    let left = timers.add(id, task).await?;
    Ok((StatusCode::OK, json!({ "id": id.to_string(), "time_left": left.as_secs() })))
}

async fn show<T: Timers>(timers: &Arc<T>, id: Uuid) -> Result<Answer, Unavailable> {
    Ok(match timers.find(id).await? {
        Some(found) => {
            let left = if found.status == "waiting" { found.seconds_left } else { 0 };
            (StatusCode::OK, json!({ "id": id.to_string(), "status": found.status, "time_left": left }))
        }
        None => fault(StatusCode::NOT_FOUND, "Task was not found"),
    })
}

async fn cancel<T: Timers>(timers: &Arc<T>, id: Uuid) -> Result<Answer, Unavailable> {
    Ok(match timers.cancel(id).await? {
        Cancelled::Cancelled => (StatusCode::OK, json!({ "id": id.to_string(), "status": "cancelled" })),
        Cancelled::TooLate => fault(StatusCode::CONFLICT, "Too late: the task is executing or has ended"),
        Cancelled::NotFound => fault(StatusCode::NOT_FOUND, "Task was not found"),
    })
}

fn fault(status: StatusCode, detail: &str) -> Answer {
    (status, json!({ "detail": detail }))
}

#[cfg(test)]
mod tests;
