//! The Loader: one iteration takes stock and walks every pending delivery through the corridor.
//!
//! `iterate` asks what is pending, `table` takes one table's deliveries in their order, `deliver` is the corridor itself.
//! `service` repeats iterations; `verdict` decides what an error means.

mod progress;
mod say;
pub mod service;
mod settling;
pub mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use time::OffsetDateTime;

use crate::clock::Clock;
use crate::decode::dialect::Dialect;
use crate::decode::{self, File};
use crate::health::{Health, Part};
use crate::metrics::{Metrics, RowOp, Stage};
use crate::notifier::Notifier;
use crate::retry::Backoff;
use crate::source::{self, Asked, Download, Entity, Pending, Plan, Source, Status, Step, TablePlan};
use crate::stop::Stopper;
use crate::target::{Begun, Changes, Order, Receipt, Target, Why, Work};
use progress::Progress;
use settling::Settling;
pub use verdict::Error;
use verdict::Verdict;

/// Everything an iteration needs, handed in.
pub struct Parts {
    pub source: Source,
    pub target: Target,
    pub notifier: Notifier,
    pub dialect: Dialect,
    /// how long a reload's parts must be quiet
    pub settle: Duration,
    pub metrics: Arc<Metrics>,
    pub health: Health,
    pub stopper: Stopper,
    pub clock: Clock,
}

/// Moves deliveries from the Source into the Target.
pub struct Loader {
    source: Source,
    target: Target,
    notifier: Notifier,
    dialect: Dialect,
    metrics: Arc<Metrics>,
    health: Health,
    stopper: Stopper,
    clock: Clock,
    settling: Settling,
    /// what the next stock-taking must heed
    asked: Asked,
    /// the broker did not answer in this iteration
    broker_down: bool,
    /// what was said already and is not said again until it changes
    said: say::Said,
}

/// What an iteration came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub loaded: u64,
    /// how many deliveries of each table are loaded or noted
    pub done: BTreeMap<Entity, usize>,
    /// tables that wait for somebody
    pub stopped: BTreeMap<Entity, Status>,
    /// tables that another loader has, with work pending
    pub busy: u64,
    /// the longest that a reload still has to be quiet
    pub settling: Option<Duration>,
    /// feed tables without a table in the target
    pub unmapped: Vec<Entity>,
    /// the plan is not true any more: take stock again
    pub relist: bool,
    /// messages that still wait for the broker
    pub messages: u64,
    /// one table's trouble with the world; others went on
    pub error: Option<Error>,
}

impl Outcome {
    /// Notes what came of a delivery: its ledger id if the table can go on.
    fn take(&mut self, entity: &Entity, next: Next) -> Option<i64> {
        match next {
            Next::Loaded(id) | Next::Noted(id) => {
                self.loaded += u64::from(matches!(next, Next::Loaded(_)));
                *self.done.entry(entity.clone()).or_default() += 1;
                return Some(id);
            }
            Next::Stopped(status) => _ = self.stopped.insert(entity.clone(), status),
            Next::Busy => self.busy += 1,
            Next::NoTable => self.unmapped.push(entity.clone()),
            Next::Relist => self.relist = true,
        }
        None
    }
}

/// What came of one delivery.
enum Next {
    Loaded(i64),
    /// written down without loading: skipped or gone
    Noted(i64),
    Stopped(Status),
    Busy,
    NoTable,
    Relist,
}

/// Files up to so many bytes are opened ahead of their turn.
const SMALL: u64 = 1 << 20;
/// How long an iteration may go on after a stop was asked for.
const GRACE: Duration = Duration::from_secs(20);
/// How often the ledger is asked about a commit whose answer was lost: for about a minute.
const SETTLE_TRIES: u32 = 15;

impl Loader {
    pub fn new(parts: Parts) -> Self {
        let Parts { source, target, notifier, dialect, settle, metrics, health, stopper, clock } = parts;
        Self {
            settling: Settling::new(settle, clock.clone()),
            asked: Asked::default(),
            broker_down: false,
            said: say::Said::default(),
            source,
            target,
            notifier,
            dialect,
            metrics,
            health,
            stopper,
            clock,
        }
    }

    /// One iteration: what is pending now, loaded. Given up, and so rolled back, if a stop was asked for and the grace is
    /// over.
    pub async fn iterate(&mut self) -> Result<Outcome, Error> {
        let stopper = self.stopper.clone();
        tokio::select! {
            outcome = Box::pin(self.load_pending()) => outcome,
            () = stopper.overdue(GRACE) => {
                say::given_up();
                Ok(Outcome::default())
            }
        }
    }

    /// Plan after plan, as long as there was no room for all and less is left each time.
    async fn load_pending(&mut self) -> Result<Outcome, Error> {
        let (mut outcome, mut before) = (Outcome::default(), u64::MAX);
        loop {
            let left = self.load_planned(&mut outcome).await?;
            outcome.relist |= left > 0 && left >= before;
            if left == 0 || outcome.relist || self.stopper.requested() {
                break;
            }
            before = left;
            outcome = Outcome { loaded: outcome.loaded, ..Outcome::default() };
        }
        self.announce(&mut outcome).await?;
        say::stock(&mut self.said, &self.metrics, &outcome);
        Ok(outcome)
    }

    /// What is pending now, as far as there is room for it in a plan. How many files are left for the next plan, of tables of
    /// which everything planned is done.
    async fn load_planned(&mut self, outcome: &mut Outcome) -> Result<u64, Error> {
        let plan = match self.take_stock_or_stop().await {
            Err(error) if verdict::of(&error) == Verdict::Relist => {
                tracing::info!("{error}; it is sorted here, in temporary files.");
                self.take_stock_or_stop().await?
            }
            other => other?,
        };
        let Some(plan) = plan else { return Ok(0) };
        for table in &plan.tables {
            if self.stopper.requested() {
                break;
            }
            match self.table(table, outcome).await {
                Err(error) if verdict::of(&error) == Verdict::RetryTable => {
                    say::table_waits(&mut self.said, &table.entity, &error);
                    outcome.error = Some(error);
                }
                other => other?,
            }
        }
        say::pending(&self.metrics, &plan, &outcome.done, self.clock.utc());
        let done = plan.tables.iter().filter(|table| outcome.done.get(&table.entity) == Some(&table.pending.len()));
        Ok(done.map(|table| table.later.objects).sum())
    }

    /// The plan; none if a stop is asked for meanwhile, for nothing is in hand then.
    async fn take_stock_or_stop(&mut self) -> Result<Option<Plan>, Error> {
        let stopper = self.stopper.clone();
        tokio::select! {
            plan = Box::pin(self.take_stock()) => plan.map(Some),
            () = stopper.wait() => Ok(None),
        }
    }

    /// Stock, taken twice if a late file is to be folded in: which loaded files that takes is kept in mind for its table only.
    async fn take_stock(&mut self) -> Result<Plan, Error> {
        let mut plan = self.look().await?;
        let late = plan.tables.iter().filter(|table| table.wants_history).map(|table| table.entity.clone());
        self.asked.history = late.collect();
        if !self.asked.history.is_empty() {
            let again = self.look().await;
            self.asked.history.clear();
            plan = again?;
        }
        for (one, other) in &plan.twins {
            self.target.tell_apart(one, other).await?;
        }
        say::watches(&mut self.said, &self.source, &plan);
        say::plan(&mut self.said, &plan);
        say::pending(&self.metrics, &plan, &BTreeMap::new(), self.clock.utc());
        Ok(plan)
    }

    async fn look(&self) -> Result<Plan, Error> {
        let known = self.target.known().await;
        self.health.reached(Part::Target, known.as_ref().map(|_| ()).map_err(ToString::to_string));
        let plan = self.source.pending(known?, &self.asked).await.map_err(Error::from);
        let plan = plan.inspect_err(|error| match error {
            Error::Source(source::Error::Unordered) => {}
            Error::Source(error) => self.health.reached(Part::Source, Err(error.to_string())),
            Error::Target(error) => self.health.reached(Part::Target, Err(error.to_string())),
        })?;
        self.health.reached(Part::Source, Ok(()));
        Ok(plan)
    }

    /// The deliveries of one table, in feed order, as far as they go.
    async fn table(&mut self, table: &TablePlan, outcome: &mut Outcome) -> Result<(), Error> {
        if !table.superseded.is_empty() {
            self.target.supersede(&table.entity, &table.superseded).await?;
        }
        if let Some(stop) = &table.stopped {
            outcome.stopped.insert(table.entity.clone(), stop.status);
        }
        let mut last_id = table.pending.first().map_or(0, |pending| pending.after);
        let mut opened = None;
        for (place, pending) in table.pending.iter().enumerate() {
            if self.stopper.requested() {
                return Ok(());
            }
            if let Some(wait) = self.settling.wait(pending) {
                outcome.settling = outcome.settling.max(Some(wait));
                return Ok(());
            }
            let ahead = open_ahead(self.source.clone(), pending, table.pending.get(place + 1));
            // boxed: the corridor's future is large, and deeper than the compiler likes
            let (next, ahead) = tokio::join!(Box::pin(self.deliver(pending, last_id, opened.take())), ahead);
            opened = ahead;
            match outcome.take(&table.entity, next?) {
                Some(id) => last_id = last_id.max(id),
                None => return Ok(()),
            }
        }
        // somebody asked for a late file between the two looks
        outcome.relist |= table.wants_history;
        Ok(())
    }

    /// The corridor: one delivery from the bucket to its signed ledger row, and the news of it.
    /// The object may be open already.
    async fn deliver(&mut self, pending: &Pending, last_id: i64, opened: Option<Download>) -> Result<Next, Error> {
        let mut work = match self.timed(Stage::Begin, self.target.begin(pending, last_id)).await? {
            Begun::Work(work) => *work,
            Begun::Busy => return Ok(Next::Busy),
            Begun::Moved => return Ok(Next::Relist),
            Begun::NoTable => return Ok(Next::NoTable),
        };
        if let Some((status, reason)) = pending.step.note() {
            return self.note(work, pending, status, &Why::of(reason)).await;
        }
        let (id, started) = (work.id(), work.started());
        say::begins(id, pending);
        let changes = match self.apply(&mut work, pending, opened).await {
            Ok(changes) => changes,
            Err(error) => return self.give_up(work, pending, error).await,
        };
        say::applied(id, &changes, self.target.is_rehearsal());
        let news = self.notifier.compose(&changes);
        let receipt = match self.timed(Stage::Seal, work.seal(&changes, news.as_ref())).await {
            Ok(receipt) => receipt,
            Err(error) => match self.unsealed(pending, last_id, id, &changes, error.into()).await? {
                Some(receipt) => receipt,
                None => return Ok(Next::Stopped(Status::Failed)),
            },
        };
        say::persisted(&receipt, &changes, self.target.is_rehearsal());
        // what is committed is counted, whatever becomes of the message
        let published = if news.is_some() { self.publish().await } else { Ok(()) };
        self.count(&receipt, pending);
        published?;
        let took = self.clock.monotonic() - started;
        self.metrics.stage(Stage::Total, took);
        say::processed(id, took);
        Ok(Next::Loaded(id))
    }

    /// Downloads, decodes and applies; a file whose rows are in another order than hoped for is read again.
    async fn apply(&self, work: &mut Work, pending: &Pending, mut opened: Option<Download>) -> Result<Changes, Error> {
        let mut order = Order::ByKey;
        loop {
            match self.timed(Stage::Apply, self.read(work, pending, order, opened.take())).await {
                Err(error) => match verdict::of(&error) {
                    Verdict::Again(other) if other != order => {
                        work.again().await?;
                        order = other;
                    }
                    _ => return Err(error),
                },
                done => return done,
            }
        }
    }

    async fn read(
        &self,
        work: &mut Work,
        pending: &Pending,
        order: Order,
        opened: Option<Download>,
    ) -> Result<Changes, Error> {
        let object = match opened {
            Some(opened) => opened,
            None => self.source.open(pending).await?,
        };
        let bytes = object.bytes_read();
        let rows = decode::rows(object, work.shape(&self.dialect));
        let _progress = Progress::start(work.id(), rows.counted(), bytes.clone(), pending.bytes());
        let changes = work.apply(rows, order).await;
        self.metrics.bytes(bytes.load(Ordering::Relaxed));
        Ok(changes?)
    }

    /// A delivery that could not be applied: written down, or left for another try.
    async fn give_up(&mut self, work: Work, pending: &Pending, error: Error) -> Result<Next, Error> {
        match verdict::of(&error) {
            Verdict::Stop(status) => self.note(work, pending, status, &verdict::why(&error, pending)).await,
            // what is gone may be a file that was loaded long ago: the new listing tells
            Verdict::Gone if pending.step == Step::Refold => {
                work.leave().await?;
                Ok(Next::Relist)
            }
            Verdict::Gone => {
                let noted = self.note(work, pending, Status::Gone, &verdict::why(&error, pending)).await?;
                // what follows was planned for a table that has this snapshot
                Ok(if pending.file == File::Snapshot { Next::Relist } else { noted })
            }
            Verdict::Relist => {
                work.leave().await?;
                Ok(Next::Relist)
            }
            Verdict::Whole => {
                self.asked.whole.insert(pending.entity.clone());
                work.leave().await?;
                Ok(Next::Relist)
            }
            Verdict::Retry | Verdict::RetryTable | Verdict::Again(_) | Verdict::Settle | Verdict::Abort => Err(error),
        }
    }

    /// A commit that failed, or of which nobody knows whether it did: the ledger tells.
    async fn unsealed(
        &mut self,
        pending: &Pending,
        last_id: i64,
        id: i64,
        changes: &Changes,
        error: Error,
    ) -> Result<Option<Receipt>, Error> {
        match verdict::of(&error) {
            Verdict::Settle => self.settle(pending, id, changes).await?.map(Some).ok_or(error),
            // a constraint that Postgres checks at the commit only
            Verdict::Stop(status) => match self.target.begin(pending, last_id).await? {
                Begun::Work(work) => {
                    self.note(*work, pending, status, &verdict::why(&error, pending)).await?;
                    Ok(None)
                }
                _ => Err(error),
            },
            _ => Err(error),
        }
    }

    /// Asks the ledger whether a commit took place. A lost answer mostly means a server that restarts: it is waited for.
    async fn settle(&self, pending: &Pending, id: i64, changes: &Changes) -> Result<Option<Receipt>, Error> {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
        for _ in 0..SETTLE_TRIES {
            match self.target.settle(pending, id, changes).await.map_err(Error::from) {
                Err(error) if verdict::of(&error) == Verdict::Retry => say::settles(id, &error),
                other => return other,
            }
            tokio::time::sleep(backoff.next()).await;
        }
        Ok(self.target.settle(pending, id, changes).await?)
    }

    /// Writes down that a delivery was not loaded, and why.
    async fn note(&mut self, work: Work, pending: &Pending, status: Status, why: &Why) -> Result<Next, Error> {
        let id = work.note(status, why).await?;
        if !self.target.is_rehearsal() {
            self.metrics.delivery(&pending.label, pending.file.as_str(), status.as_str());
        }
        say::noted(id, pending, status, why, self.target.is_rehearsal());
        Ok(if status.stops() { Next::Stopped(status) } else { Next::Noted(id) })
    }

    /// Publishes what waits. A broker that is down is asked once in an iteration, and stops nothing.
    async fn publish(&mut self) -> Result<(), Error> {
        if self.broker_down {
            return Ok(());
        }
        let announced = self.timed(Stage::Announce, self.notifier.announce(&self.target)).await?;
        announced.deliveries.iter().for_each(|id| say::published(*id));
        self.broker_down = announced.error.is_some();
        let reached = announced.error.as_ref().map_or(Ok(()), |error| Err(error.to_string()));
        say::broker(&mut self.said, &reached);
        self.health.reached(Part::Notifier, reached);
        Ok(())
    }

    /// At the end of an iteration: what still waits for the broker is tried again, what is old is pruned.
    async fn announce(&mut self, outcome: &mut Outcome) -> Result<(), Error> {
        if self.target.is_rehearsal() {
            return Ok(());
        }
        self.broker_down = false;
        self.publish().await?;
        if self.notifier.is_on() {
            outcome.messages = self.target.messages_waiting().await?;
        }
        self.metrics.outbox(outcome.messages);
        self.target.prune_messages().await?;
        Ok(())
    }

    /// Counts what everybody can see; a rehearsal's is seen by nobody.
    fn count(&self, receipt: &Receipt, pending: &Pending) {
        if self.target.is_rehearsal() {
            return;
        }
        let counts = receipt.counts;
        let ops = [
            (RowOp::Create, counts.create),
            (RowOp::Amend, counts.amend),
            (RowOp::Remove, counts.remove),
            (RowOp::Unchanged, counts.unchanged),
            (RowOp::Rejected, counts.rejected),
        ];
        ops.iter().for_each(|(op, rows)| self.metrics.rows(&pending.label, *op, *rows));
        self.metrics.delivery(&pending.label, pending.file.as_str(), Status::Loaded.as_str());
        let modified = pending.objects.iter().map(|object| object.listed.modified).max();
        if let Some(Ok(modified)) = modified.map(OffsetDateTime::from_unix_timestamp) {
            self.metrics.newest_loaded(&pending.label, modified);
        }
        say::counted(receipt.id);
    }

    async fn timed<T>(&self, stage: Stage, work: impl Future<Output = T>) -> T {
        let begun = self.clock.monotonic();
        let done = work.await;
        self.metrics.stage(stage, self.clock.monotonic() - begun);
        done
    }
}

/// The next delivery's object, opened while this one is at work: for small files the bucket's answer takes longer than the
/// rest. A large one would wait too long with its connection open. What goes wrong shows when its turn has come.
async fn open_ahead(source: Source, now: &Pending, next: Option<&Pending>) -> Option<Download> {
    let small = |pending: &&Pending| pending.bytes() <= SMALL && pending.step.note().is_none();
    let next = next.filter(|next| small(&now) && small(next))?;
    source.open(next).await.ok()
}
