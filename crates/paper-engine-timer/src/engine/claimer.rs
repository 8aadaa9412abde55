//! Claims tasks that are due soon, as long as this pod has room for them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pe_runtime::clock::Clock;
use tokio::sync::mpsc;
use tokio::time::{Instant as TokioInstant, sleep_until};

use crate::attempt::{Endpoint, Sender};
use crate::store::{Claim, Error, Store};
use crate::task::Claimed;

use super::held::BootInstant;
use super::{Batch, Shared};

/// How often a claim looks at everything, and the lower bound of the others is found anew.
const FULL_EVERY: Duration = Duration::from_secs(10);

/// How often adopting and settling duplicates looks at the table.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// Parked tasks that are taken for an endpoint of which it is not known whether it moves again.
const FIRST_PARKED: usize = 16;

struct Claimer<S, X> {
    shared: Arc<Shared<S, X>>,
    batches: mpsc::Sender<Batch>,
    clock: Clock,
    /// When everything was looked at last.
    full: Option<TokioInstant>,
    swept: Option<TokioInstant>,
    /// How long the last claim took: on a table without an index that is what a look at it costs.
    took: Duration,
}

/// Claims until the stopper is set. Fails when the database has failed too often in a row.
pub(super) async fn run<S: Store, X: Sender>(
    shared: Arc<Shared<S, X>>,
    batches: mpsc::Sender<Batch>,
) -> Result<(), Error> {
    let (clock, took) = (Clock::system(), Duration::ZERO);
    let mut claimer = Claimer { shared: shared.clone(), batches, clock, full: None, swept: None, took };
    let (most, pause) = shared.options.reconnect;
    let mut failures = 0;
    while !shared.stopper.requested() {
        match claimer.round().await {
            Ok(again) => {
                if failures > 0 {
                    tracing::info!("The database is back.");
                }
                failures = 0;
                shared.ready.store(true, Ordering::Relaxed);
                if !again {
                    claimer.pause().await;
                }
            }
            Err(error) => {
                shared.ready.store(false, Ordering::Relaxed);
                failures += 1;
                if failures > most || !error.is_temporary() {
                    shared.stopper.request();
                    return Err(error);
                }
                if failures == 1 {
                    tracing::warn!("{error}. Trying again up to {most} times.");
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shared.stopper.wait() => {}
                }
            }
        }
    }
    Ok(())
}

impl<S: Store, X: Sender> Claimer<S, X> {
    /// Claims once from every source, and returns whether there is likely to be more.
    async fn round(&mut self) -> Result<bool, Error> {
        let room = self.room();
        if room == 0 {
            self.shared.starved.store(true, Ordering::SeqCst);
            // somebody may have made room before the flag was set
            return Ok(self.room() > 0);
        }
        let full = is_over(&mut self.full, FULL_EVERY);
        if full {
            self.shared.store.find_lower_bound().await?;
        }
        let claim = self.claim(room.min(self.shared.options.batch), full);
        let begun = TokioInstant::now();
        let taken = self.take(self.shared.store.claim(claim)).await?;
        self.took = begun.elapsed();
        self.shared.metrics.claim_seconds.observe(self.took.as_secs_f64());
        self.claim_parked().await?;
        if is_over(&mut self.swept, SWEEP_EVERY) {
            self.sweep().await?;
        }
        Ok(taken >= claim.limit)
    }

    fn room(&self) -> usize {
        self.shared.options.held_max.saturating_sub(self.shared.held.len())
    }

    fn claim(&self, limit: usize, full: bool) -> Claim {
        let options = &self.shared.options;
        // what takes long is asked for seldom, so it has to reach further
        let ahead = options.ahead.max(3 * self.took);
        Claim { holder: self.shared.holder, limit, ahead, lease: options.lease, full }
    }

    /// Waits for a claim's answer and hands the tasks on. Returns how many.
    async fn take(&self, asked: impl Future<Output = Result<Vec<Claimed>, Error>>) -> Result<usize, Error> {
        let expires = BootInstant::now() + self.shared.options.lease;
        let tasks = asked.await?;
        let received = self.clock.monotonic();
        let taken = tasks.len();
        if taken > 0 {
            tasks.iter().for_each(|task| self.shared.held.add(task.lease, expires));
            self.shared.metrics.claimed.inc_by(taken as u64);
            // fails only when the dispatcher has ended, and then the leases expire
            let _ = self.batches.send(Batch { tasks, received }).await;
        }
        Ok(taken)
    }

    /// Takes tasks out of the queues of endpoints that have room again.
    async fn claim_parked(&self) -> Result<(), Error> {
        let options = &self.shared.options;
        for endpoint in self.shared.store.parked_endpoints().await? {
            let (waiting, is_moving) = self.shared.line(&endpoint, self.clock.monotonic());
            let endpoint_of = Endpoint::new(&endpoint);
            // an endpoint that is only busy has no room at this moment, and needs more tasks nevertheless
            let has_room = is_moving || self.shared.sender.has_room(&endpoint_of) || self.shared.is_disabled(&endpoint);
            if has_room && waiting <= options.waiting_max / 2 && self.room() > 0 {
                let most =
                    if is_moving { options.waiting_max - waiting } else { FIRST_PARKED.min(options.waiting_max) };
                let claim = self.claim(self.room().min(most), false);
                self.take(self.shared.store.claim_parked(claim, &endpoint)).await?;
            }
        }
        Ok(())
    }

    /// Adopts rows that others have left behind, and settles duplicates, where that is asked for or can be.
    async fn sweep(&self) -> Result<(), Error> {
        if !self.shared.store.facts().has_key {
            self.shared.store.settle_duplicates().await?;
            self.shared.metrics.duplicates.reset_to(self.shared.store.duplicates_seen());
        }
        if let Some(after) = self.shared.options.adopt_after {
            let claim = self.claim(self.room().min(self.shared.options.batch), true);
            let adopted = self.take(self.shared.store.adopt(claim, after)).await?;
            if adopted > 0 {
                tracing::warn!("Took over {adopted} tasks that were executing without a lease.");
            }
        }
        Ok(())
    }

    /// Waits for the next look: a tick, a notification, room, or the stop.
    async fn pause(&self) {
        let tick = self.shared.options.tick.max(2 * self.took);
        tokio::select! {
            () = sleep_until(TokioInstant::now() + tick) => {}
            () = self.shared.store.inserted() => {}
            () = self.shared.wake.notified() => {}
            () = self.shared.stopper.wait() => {}
        }
    }
}

/// Returns `true` at most once in `every`.
fn is_over(last: &mut Option<TokioInstant>, every: Duration) -> bool {
    let over = last.is_none_or(|last| last.elapsed() >= every);
    if over {
        *last = Some(TokioInstant::now());
    }
    over
}
