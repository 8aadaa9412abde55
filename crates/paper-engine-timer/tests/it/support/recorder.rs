//! A sender that sends nothing: it records what it is given, and answers as the URL says.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use paper_engine_timer::attempt::{Endpoint, Outcome, Reason, ReasonKind, Request, Sender};
use time::OffsetDateTime;
use tokio::sync::Notify;

/// Records requests. Clones share the record.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Inner>);

#[derive(Default)]
struct Inner {
    fired: Mutex<Vec<Fired>>,
    full: Mutex<HashSet<String>>,
    /// Requests under way at URLs that end with `narrow`, which take four at once.
    narrow: AtomicUsize,
    fired_one: Notify,
    room: Notify,
}

/// A request, and when it was to be sent.
#[derive(Clone, Debug)]
pub struct Fired {
    pub request: Request,
    pub at: OffsetDateTime,
    pub instant: Instant,
}

impl Recorder {
    pub fn fired(&self) -> Vec<Fired> {
        self.0.fired.lock().expect("record").clone()
    }

    pub fn ids(&self) -> Vec<String> {
        self.fired().into_iter().map(|fired| fired.request.task_id).collect()
    }

    /// Returns how often each task was fired.
    pub fn times(&self) -> HashMap<String, usize> {
        let mut times = HashMap::new();
        self.ids().into_iter().for_each(|id| *times.entry(id).or_insert(0) += 1);
        times
    }

    /// Waits until so many requests were recorded.
    pub async fn await_fired(&self, number: usize) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let next = self.0.fired_one.notified();
                if self.fired().len() >= number {
                    return;
                }
                let _ = tokio::time::timeout(Duration::from_millis(100), next).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{} of {number} requests after 30 s", self.fired().len()));
    }

    /// Lets an endpoint have no room.
    pub fn fill(&self, endpoint: &str) {
        self.0.full.lock().expect("rooms").insert(endpoint.to_owned());
    }

    /// Lets an endpoint have room again.
    pub fn free(&self, endpoint: &str) {
        self.0.full.lock().expect("rooms").remove(endpoint);
        self.0.room.notify_waiters();
    }
}

#[allow(clippy::disallowed_methods, reason = "the recorder notes when a request would have gone out")]
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

#[allow(clippy::disallowed_methods, reason = "the recorder notes when a request would have gone out")]
pub fn instant() -> Instant {
    Instant::now()
}

/// Returns an instant in microseconds since 1970.
pub fn micros(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1000).expect("a present time")
}

impl Sender for Recorder {
    async fn send(&self, request: Request, _: Instant) -> Outcome {
        let (url, attempt) = (request.url.clone(), request.attempt);
        self.0.fired.lock().expect("record").push(Fired { request, at: now(), instant: instant() });
        self.0.fired_one.notify_waiters();
        let reason = |kind, status| Reason::of_status(kind, status, "as the URL says");
        match url.rsplit('/').next().unwrap_or_default() {
            "slow" => tokio::time::sleep(Duration::from_millis(20)).await,
            "narrow" => {
                self.0.narrow.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
                self.0.narrow.fetch_sub(1, Ordering::SeqCst);
            }
            "stuck" => std::future::pending::<()>().await,
            "bad" => return Outcome::Failed { reason: reason(ReasonKind::Status, 404) },
            "down" => return Outcome::Retry { reason: reason(ReasonKind::Status, 503), after: None },
            "third" if attempt < 3 => {
                return Outcome::Retry { reason: reason(ReasonKind::Status, 503), after: None };
            }
            "private" => return Outcome::Refused { reason: Reason::new(ReasonKind::PrivateAddress, "private") },
            "gone" => return Outcome::EndpointGone { reason: reason(ReasonKind::EndpointGone, 410) },
            _ => {}
        }
        Outcome::Done { status: 204 }
    }

    fn endpoint_of(&self, url: &str) -> Endpoint {
        Endpoint::new(url)
    }

    fn has_room(&self, endpoint: &Endpoint) -> bool {
        let busy = endpoint.as_str().ends_with("narrow") && self.0.narrow.load(Ordering::SeqCst) >= 4;
        !busy && !self.0.full.lock().expect("rooms").contains(endpoint.as_str())
    }

    async fn room_changed(&self) {
        self.0.room.notified().await;
    }
}
