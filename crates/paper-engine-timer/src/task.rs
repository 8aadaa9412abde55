//! Defines what the engine and the stores say to each other about tasks: a claimed task, how it ended, and how it is shown.

use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::attempt::{Join, Reason, Request};

/// A lease on one task: only its holder may fire and complete the task, and only while the token is the row's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    pub id: Uuid,
    pub token: i64,
}

/// A task that this pod has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    pub lease: Lease,
    pub url: String,
    /// Attempts that were made before.
    pub attempts: u32,
    /// Time until the task is due, measured by the database's clock when it answered. Negative: how late the task is already.
    pub due_in_micros: i64,
    /// Whether a refusal to start gives the task back to `timers` as `waiting`: it was never attempted.
    pub fresh: bool,
    pub headers: Vec<(String, String)>,
    pub body: Option<Bytes>,
    /// Whether `timer_requests` has a row for the task: headers, a body, or only the wish for the clean form of the URL.
    pub has_request: bool,
}

impl Claimed {
    /// Returns the request of the next attempt.
    pub fn request(&self) -> Request {
        Request {
            task_id: self.lease.id.to_string(),
            url: self.url.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            attempt: self.attempts + 1,
            join: if self.has_request { Join::Clean } else { Join::Verbatim },
        }
    }
}

/// What is written about a claimed task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    pub lease: Lease,
    /// The stored name of the endpoint: see [`stored_endpoint`].
    pub endpoint: String,
    pub end: End,
}

/// How the hold on a claimed task ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Fired with success.
    Done { status: u16 },
    /// The attempt failed; the next one is due after `delay`.
    Retry { delay: Duration, reason: Reason },
    /// Ended without success.
    Failed { reason: Reason },
    /// Ended because a rule forbids the request.
    Refused { reason: Reason },
    /// Not attempted: waits in the queue of its endpoint until that has room.
    Parked,
}

impl End {
    /// Returns the word that `timer_attempts.state` has for it.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Retry { .. } => "retry",
            Self::Failed { .. } => "failed",
            Self::Refused { .. } => "refused",
            Self::Parked => "parked",
        }
    }

    /// Returns the state that `timers` gets, or `None` while the task is not ended.
    pub fn timer_status(&self) -> Option<&'static str> {
        match self {
            Self::Done { .. } => Some("done"),
            Self::Failed { .. } | Self::Refused { .. } => Some("failed"),
            Self::Retry { .. } | Self::Parked => None,
        }
    }

    /// Returns `true` if an attempt was made.
    pub fn attempted(&self) -> bool {
        !matches!(self, Self::Parked)
    }

    /// Returns the HTTP status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Done { status } => Some(*status),
            _ => self.reason().and_then(|reason| reason.status),
        }
    }

    /// Returns why the attempt did not succeed.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Retry { reason, .. } | Self::Failed { reason } | Self::Refused { reason } => Some(reason),
            Self::Done { .. } | Self::Parked => None,
        }
    }

    /// Returns the time until the row is looked at again, for states that are not final.
    pub fn delay(&self) -> Duration {
        match self {
            Self::Retry { delay, .. } => *delay,
            _ => Duration::ZERO,
        }
    }
}

/// A new task, as `add` inserts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    pub id: Uuid,
    pub url: String,
    pub at: When,
    pub headers: Vec<(String, String)>,
    pub body: Option<Bytes>,
}

/// When a new task is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At an instant.
    At(OffsetDateTime),
    /// At a local time of TIMER_ZONE.
    Local(time::PrimitiveDateTime),
    /// So long after the database's present time.
    In(Duration),
}

/// A task as `list` and `show` print it. Times are text in the database's form, in UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    pub id: String,
    pub url: String,
    /// The word of `timer_attempts` where it has a row, else that of `timers`.
    pub state: String,
    pub due: String,
    pub attempts: i64,
    /// When a retry is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Further rows of `timers` with the same id, which were not fired.
    pub duplicates: i64,
}

/// What became of a command on one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steered {
    /// The task is what was asked for.
    Done,
    /// There is no such task.
    Unknown,
    /// A pod holds the task.
    Claimed,
    /// The task is in a state that the command does not apply to.
    Not(&'static str),
}

impl Steered {
    /// Says why a command did not apply to a task in a state.
    pub fn of_state(state: &str) -> Self {
        match state {
            "leased" | "executing" | "locked" => Self::Claimed,
            "waiting" => Self::Not("waiting"),
            "retry" => Self::Not("waiting for a retry"),
            "parked" => Self::Not("parked until its endpoint has room"),
            "done" => Self::Not("done"),
            "refused" => Self::Not("refused"),
            "cancelled" => Self::Not("cancelled"),
            _ => Self::Not("failed"),
        }
    }
}

/// The longest endpoint name that the tables take.
const ENDPOINT_MAX_BYTES: usize = 255;

/// Returns the name under which an endpoint is stored: its own, or where that is too long its beginning and a hash of it all.
pub fn stored_endpoint(name: &str) -> String {
    if name.len() <= ENDPOINT_MAX_BYTES {
        return name.to_owned();
    }
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut end = ENDPOINT_MAX_BYTES - 17;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}#{hash:016x}", &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_endpoint_names_stay_apart_and_fit() {
        let long = |end: &str| format!("https://h/{}é{end}", "p".repeat(300));
        let (a, b) = (stored_endpoint(&long("a")), stored_endpoint(&long("b")));
        assert!(a != b && a.len() <= ENDPOINT_MAX_BYTES && b.len() <= ENDPOINT_MAX_BYTES);
        assert_eq!(stored_endpoint("https://h/p"), "https://h/p");
    }
}
