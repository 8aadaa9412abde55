//! Fires due tasks: claims them a little ahead, waits in memory for the due time, sends, and writes what came of it.
//!
//! Four loops work side by side. The *claimer* takes leases on tasks that are due soon. The *dispatcher* starts each at its
//! time, if the lease outlives the attempt and the endpoint has room. The *writer* completes tasks in batches. *Upkeep* extends
//! leases, reads which endpoints are disabled, and removes old tasks.

mod claimer;
mod dispatcher;
pub mod held;
mod leased;
mod upkeep;
mod writer;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use pe_runtime::shutdown::Stopper;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::attempt::{Endpoint, Sender};
use crate::metrics::Metrics;
use crate::schedule::Schedule;
use crate::store::{Error, Holder, Store};
use crate::task::{Claimed, Completion, Lease};

use held::Held;

/// How the engine works. Tests set short times.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tasks per claim.
    pub batch: usize,
    /// How far ahead of its due time a task is claimed.
    pub ahead: Duration,
    /// The longest pause between two claims.
    pub tick: Duration,
    /// How long a lease lasts.
    pub lease: Duration,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// Tasks that this pod holds at once.
    pub held_max: usize,
    /// Requests that are under way at once.
    pub in_flight_max: usize,
    /// Tasks that wait in memory for one endpoint; further ones wait in the database.
    pub waiting_max: usize,
    pub schedule: Schedule,
    /// `executing` rows without a lease of ours are taken over after this time.
    pub adopt_after: Option<Duration>,
    /// Ended tasks are removed after this time.
    pub keep: Option<Duration>,
    /// How often in a row the database may fail before the pod gives up, and the pause between.
    pub reconnect: (u32, Duration),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            batch: 100,
            ahead: Duration::from_millis(750),
            tick: Duration::from_millis(500),
            lease: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(15),
            held_max: 8_192,
            in_flight_max: 1_024,
            waiting_max: 512,
            schedule: Schedule::default(),
            adopt_after: None,
            keep: None,
            reconnect: (10, Duration::from_secs(1)),
        }
    }
}

/// What the loops share.
struct Shared<S, X> {
    store: S,
    sender: X,
    options: Options,
    holder: Holder,
    held: Held,
    metrics: Arc<Metrics>,
    stopper: Stopper,
    /// Wakes the claimer before its tick.
    wake: Notify,
    /// Set while the claimer waits for room: whoever makes room wakes it.
    starved: AtomicBool,
    /// Endpoints with tasks in memory that wait for them, by their stored names.
    waiting: Mutex<HashMap<String, Line>>,
    /// Stored names of endpoints that answered 410.
    disabled: RwLock<std::collections::HashSet<String>>,
    gone: mpsc::UnboundedSender<(Endpoint, String)>,
    ready: Arc<AtomicBool>,
}

impl<S, X> Shared<S, X> {
    /// Returns how many tasks wait for an endpoint, and whether a request to it was started lately.
    fn line(&self, endpoint: &str, now: Instant) -> (usize, bool) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get(endpoint).map_or((0, false), |line| (line.tasks, line.is_moving(now)))
    }

    fn is_disabled(&self, endpoint: &str) -> bool {
        self.disabled.read().unwrap_or_else(PoisonError::into_inner).contains(endpoint)
    }
}

/// The tasks that wait in memory for one endpoint.
struct Line {
    tasks: usize,
    /// When a request to the endpoint was started last, or the first task began to wait.
    moved: Instant,
}

/// An endpoint that no request was started to for so long has no room: its tasks wait in the database.
const LINE_PATIENCE: Duration = Duration::from_secs(2);

impl Line {
    fn is_moving(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.moved) < LINE_PATIENCE
    }
}

/// Tasks that were claimed with one statement.
struct Batch {
    tasks: Vec<Claimed>,
    /// When the answer arrived: due times count from here, so that latency makes late, never early.
    received: Instant,
}

/// What is to be written.
enum Write {
    Complete(Completion),
    GiveBack(Vec<(Lease, Duration)>),
}

/// A loop that ends with its engine.
struct Background<T>(JoinHandle<T>);

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An engine, ready to run.
pub struct Engine<S, X> {
    pub store: S,
    pub sender: X,
    pub options: Options,
    pub metrics: Arc<Metrics>,
    pub stopper: Stopper,
    /// Set while the database answers.
    pub ready: Arc<AtomicBool>,
}

impl<S: Store, X: Sender> Engine<S, X> {
    /// Works until the stopper is set, then gives back what it has not started, waits for what is under way, and writes how it
    /// ended. Fails when the database has failed too often.
    pub async fn run(self) -> Result<(), Error> {
        let (gone, gone_events) = mpsc::unbounded_channel();
        let (batches, batch_events) = mpsc::channel(4);
        let (writes, write_events) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            store: self.store,
            sender: self.sender,
            options: self.options,
            holder: Uuid::new_v4(),
            held: Held::default(),
            metrics: self.metrics,
            stopper: self.stopper,
            wake: Notify::new(),
            starved: AtomicBool::new(false),
            waiting: Mutex::default(),
            disabled: RwLock::default(),
            gone,
            ready: self.ready,
        });
        upkeep::read_disabled(&shared).await?;
        tracing::info!(holder = %shared.holder, "Firing due tasks.");
        let mut claimer = Background(tokio::spawn(claimer::run(shared.clone(), batches)));
        let _upkeep = Background(tokio::spawn(upkeep::run(shared.clone(), gone_events)));
        let mut writer = Background(tokio::spawn(writer::run(shared.clone(), write_events)));
        dispatcher::run(shared.clone(), batch_events, writes).await;
        let ended = (&mut claimer.0).await.unwrap_or(Ok(()));
        // what the writer still has to write is as good as lost if the database is: the leases expire
        let written = tokio::time::timeout(shared.options.attempt_timeout, &mut writer.0).await;
        if written.is_err() {
            tracing::warn!("{} tasks could not be written; they are fired again after their lease.", shared.held.len());
        }
        shared.ready.store(false, Ordering::Relaxed);
        ended
    }
}
