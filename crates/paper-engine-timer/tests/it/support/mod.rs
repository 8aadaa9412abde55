//! Helpers of the tests: databases, senders, pods.

pub mod database;
pub mod deaf;
pub mod fleet;
pub mod process;
pub mod recorder;
pub mod target;
pub mod timed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use paper_engine_timer::engine::{Engine, Options};
use paper_engine_timer::metrics::Metrics;
use paper_engine_timer::store::{Claim, Error, Store};
use pe_runtime::shutdown::Stopper;
use tokio::task::JoinHandle;
use uuid::Uuid;

use recorder::Recorder;

/// An engine that runs in this process.
pub struct Pod {
    pub recorder: Recorder,
    pub metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
    stopper: Stopper,
    running: JoinHandle<Result<(), Error>>,
}

impl Pod {
    pub fn start<S: Store>(store: S, options: Options) -> Self {
        Self::start_with(store, options, Recorder::default())
    }

    pub fn start_with<S: Store>(store: S, options: Options, recorder: Recorder) -> Self {
        let (stopper, metrics, ready) = (Stopper::new(), Arc::new(Metrics::new()), Arc::new(AtomicBool::new(false)));
        let engine = Engine {
            store,
            sender: recorder.clone(),
            options,
            metrics: metrics.clone(),
            stopper: stopper.clone(),
            ready: ready.clone(),
        };
        Self { recorder, metrics, ready, stopper, running: tokio::spawn(engine.run()) }
    }

    /// Waits until the engine has claimed for the first time.
    pub async fn await_ready(&self) {
        while !self.ready.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops the engine as SIGTERM does, and waits for its end.
    pub async fn stop(self) -> Recorder {
        self.stopper.request();
        let ended = tokio::time::timeout(Duration::from_secs(20), self.running).await;
        ended.expect("ends within 20 s").expect("no panic").expect("no error");
        self.recorder
    }

    /// Ends the engine without giving it a chance to clean up.
    pub async fn abort(self) -> Recorder {
        self.running.abort();
        let _ = self.running.await;
        self.recorder
    }
}

/// Returns a claim of a new holder.
pub fn claim(limit: usize, lease: Duration) -> Claim {
    Claim { holder: Uuid::new_v4(), limit, ahead: Duration::ZERO, lease, full: true }
}

/// Runs each test on both databases.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(<crate::support::database::Pg as crate::support::database::Database>::create().await).await;
            })*
        }
        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(<crate::support::database::Maria as crate::support::database::Database>::create().await).await;
            })*
        }
    };
}
pub(crate) use on_both;
