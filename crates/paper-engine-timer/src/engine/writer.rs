//! Writes how tasks ended, in batches: what arrives while one batch is written makes the next.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pe_runtime::backoff::Backoff;
use tokio::sync::mpsc;

use crate::attempt::Sender;
use crate::store::{Error, Store};
use crate::task::{Completion, Lease};

use super::{Shared, Write};

const BATCH_MAX: usize = 500;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Writes until the dispatcher has ended.
pub(super) async fn run<S: Store, X: Sender>(shared: Arc<Shared<S, X>>, mut writes: mpsc::UnboundedReceiver<Write>) {
    let mut waiting = Vec::new();
    while writes.recv_many(&mut waiting, BATCH_MAX).await > 0 {
        let mut ends = Vec::new();
        for write in waiting.drain(..) {
            match write {
                Write::Complete(end) => ends.push(end),
                Write::GiveBack(leases) => give_back(&shared, &leases).await,
            }
        }
        if !ends.is_empty() {
            complete(&shared, &ends).await;
        }
        if shared.starved.swap(false, Ordering::SeqCst) {
            shared.wake.notify_one();
        }
    }
}

async fn complete<S: Store, X: Sender>(shared: &Shared<S, X>, ends: &[Completion]) {
    let began = tokio::time::Instant::now();
    let mut persistence = Persistence::new();
    let ours = loop {
        match shared.store.complete(shared.holder, ends).await {
            Ok(ours) => break ours,
            Err(error) => persistence.wait(&error).await,
        }
    };
    shared.metrics.complete_seconds.observe(began.elapsed().as_secs_f64());
    let ours: std::collections::HashSet<Lease> = ours.into_iter().collect();
    for Completion { lease, end, .. } in ends {
        shared.held.remove(*lease);
        if ours.contains(lease) {
            shared.metrics.ended(end);
        } else {
            shared.metrics.lost_leases.inc();
            tracing::warn!(task = %lease.id, "Task {}: the lease was lost before its end could be written.", lease.id);
        }
    }
}

async fn give_back<S: Store, X: Sender>(shared: &Shared<S, X>, held: &[(Lease, Duration)]) {
    let mut persistence = Persistence::new();
    let given = loop {
        match shared.store.give_back(shared.holder, held).await {
            Ok(given) => break given,
            Err(error) => persistence.wait(&error).await,
        }
    };
    held.iter().for_each(|(lease, _)| shared.held.remove(*lease));
    tracing::info!("Gave back {given} tasks that were not started.");
}

/// Keeps trying until the database answers: what came of an attempt is not thrown away.
struct Persistence {
    backoff: Backoff,
    told: bool,
}

impl Persistence {
    fn new() -> Self {
        Self { backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE), told: false }
    }

    /// Waits before the next try.
    async fn wait(&mut self, error: &Error) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!("{error}. Trying to write it until the database takes it.");
        }
        tokio::time::sleep(self.backoff.next()).await;
    }
}
