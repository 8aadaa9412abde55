//! The status page of a pod: what is due, firing, late and failed, per endpoint. It only reads, and the database at most once a
//! second however many look at it.

mod view;

use std::sync::Arc;
use std::time::{Duration, Instant};

use askama::Template;
use pe_runtime::clock::Clock;
use tokio::sync::{Notify, watch};

use crate::metrics::Metrics;
use crate::store::{Overview, Store};

use view::View;

/// How old a reading may be that is shown.
const FRESH: Duration = Duration::from_secs(1);
/// How long a request waits for a fresh reading before it gets an older one.
const PATIENCE: Duration = Duration::from_secs(3);

/// A file that the page names.
pub(crate) struct Asset {
    pub(crate) path: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) body: &'static [u8],
}

pub(crate) const ASSETS: [Asset; 3] = [
    Asset { path: "/style.css", content_type: "text/css; charset=utf-8", body: include_bytes!("style.css") },
    Asset { path: "/refresh.js", content_type: "text/javascript; charset=utf-8", body: include_bytes!("refresh.js") },
    Asset { path: "/icon.svg", content_type: "image/svg+xml", body: include_bytes!("icon.svg") },
];

/// What was read of the database, and when.
struct Reading {
    at: time::OffsetDateTime,
    taken: Instant,
    read: Result<Overview, String>,
}

/// Reads the database for the page when somebody looks at it.
pub struct Board {
    /// Where the database is, for the page's head.
    place: String,
    pod: String,
    clock: Clock,
    wanted: Notify,
    readings: watch::Sender<Option<Arc<Reading>>>,
}

impl Board {
    /// Builds the board of a pod on the database at `place`.
    pub fn new(place: String, clock: Clock) -> Self {
        let pod = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { place, pod, clock, wanted: Notify::new(), readings: watch::Sender::new(None) }
    }

    /// Reads whenever somebody looks, until it is aborted.
    pub async fn keep<S: Store>(&self, store: S) {
        loop {
            self.wanted.notified().await;
            let read = store.overview().await.map_err(|error| error.to_string());
            let reading = Reading { at: self.clock.utc(), taken: self.clock.monotonic(), read };
            self.readings.send_replace(Some(Arc::new(reading)));
            tokio::time::sleep(FRESH).await;
        }
    }

    /// Returns the page as HTML.
    pub async fn page(&self, metrics: &Metrics, is_ready: bool) -> String {
        let reading = self.reading().await;
        let view = View::new(self, reading.as_deref(), metrics, is_ready);
        view.render().unwrap_or_else(|error| format!("<!doctype html><title>{error}</title>"))
    }

    /// Returns a reading that is fresh, or after a while the last one that there is.
    async fn reading(&self) -> Option<Arc<Reading>> {
        let mut readings = self.readings.subscribe();
        let is_fresh = |reading: &Arc<Reading>| self.clock.monotonic().saturating_duration_since(reading.taken) < FRESH;
        let last = readings.borrow_and_update().clone();
        if last.as_ref().is_some_and(is_fresh) {
            return last;
        }
        self.wanted.notify_one();
        let _ = tokio::time::timeout(PATIENCE, readings.changed()).await;
        readings.borrow().clone()
    }
}
