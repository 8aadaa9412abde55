//! The Loader: one iteration plans and runs every pending delivery.
//!
//! `iterate` makes the plan, `table` runs one table's deliveries in their order (`delivery`); `outbox_publisher` publishes the
//! messages. `service` repeats iterations; `error_policy` decides what an error means.

mod contradictions;
mod delivery;
mod emptied;
pub mod error_policy;
mod events;
mod in_hand;
mod nulls;
mod outbox_publisher;
mod plan_drift;
pub mod plan_file;
mod plan_mode;
mod plan_precheck;
mod progress;
mod quiet_period;
mod repeated_key;
pub mod run_summary;
pub mod service;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::decode::dialect::Dialect;
use crate::failpoint;
use crate::health::{Health, Part};
use crate::load::{Process, TableStop, Target};
use crate::metrics::{Metrics, Stage};
use crate::metrics_file::MetricsFile;
use crate::notifier::Notifier;
use crate::source::{self, Download, Entity, Pending, Plan, PlanOptions, Source, Step, TablePlan, Unrecorded};
use crate::status::{Backlog, Files, InProgress, SharedBacklog, WaitReason};
use crate::stop::Stopper;
use crate::terminal::Screen;
use delivery::{DeliveryRunner, Loaded, Next};
pub use error_policy::Error;
use error_policy::ErrorPolicy;
use nulls::NullEvidence;
use outbox_publisher::OutboxPublisher;
pub use plan_drift::Place;
pub use plan_mode::PlanMode;
use quiet_period::QuietPeriod;
use run_summary::RunSummary;
use waiting::Waiting;

/// Parts from which a loader is made.
pub struct Parts {
    pub source: Source,
    pub target: Target,
    pub notifier: Notifier,
    pub dialect: Dialect,
    /// Time for which a reload's parts must not have changed.
    pub settle: Duration,
    pub metrics: Arc<Metrics>,
    pub health: Health,
    /// Store for what is pending, shared with the status page.
    pub noted: SharedBacklog,
    pub stopper: Stopper,
    pub clock: Clock,
    /// A plan to be made or to be held to, if there is one.
    pub book: PlanMode,
    /// Terminal on which progress is drawn, if there is one.
    pub screen: Screen,
    /// File to which a service writes its metrics after each iteration.
    pub metrics_file: Option<MetricsFile>,
}

/// Moves deliveries from the Source into the Target.
pub struct Loader {
    corridor: DeliveryRunner,
    herald: OutboxPublisher,
    health: Health,
    noted: SharedBacklog,
    /// Time at which a table's waiting files were last counted.
    counted: Option<Instant>,
    stopper: Stopper,
    settling: QuietPeriod,
    /// Tables that are not what was loaded, or for which there is a request.
    stops: BTreeMap<Entity, TableStop>,
    /// Tables for which the records of other feeds were searched.
    looked_for: BTreeSet<Entity>,
    /// Options of the next plan.
    asked: PlanOptions,
    /// State of what has been logged, so that it is not repeated until it changes.
    said: events::Said,
    metrics_file: Option<MetricsFile>,
    tally: RunSummary,
    /// Tables that wait for others.
    waiting: Waiting,
}

/// Result of an iteration.
#[derive(Debug, Default)]
pub struct Outcome {
    pub loaded: u64,
    /// Number of each table's deliveries that are loaded or recorded.
    pub done: BTreeMap<Entity, usize>,
    /// The revision of each of these tables.
    revisions: BTreeMap<Entity, i64>,
    /// A table was left in the middle, because another one waited for what it loaded.
    paused: Option<Entity>,
    /// Tables that need attention.
    pub stopped: BTreeMap<Entity, &'static str>,
    /// Tables that another loader has, with work pending.
    pub busy: u64,
    /// The longest that a reload still has to be quiet.
    pub settling: Option<Duration>,
    /// Feed tables without a table in the target.
    pub unmapped: BTreeSet<Entity>,
    /// Feed tables that name a table of the target that is never loaded.
    pub reserved: BTreeSet<Entity>,
    /// Reasons for which other files wait.
    pub remarks: BTreeMap<Entity, WaitReason>,
    /// how many tables could not be loaded again, though an operator asked for it
    pub refused: u64,
    /// The plan is not true any more: take stock again.
    pub relist: bool,
    /// Messages that still wait for the broker.
    pub messages: u64,
    /// Temporary failure of one table; other tables continued.
    pub error: Option<Error>,
}

impl Outcome {
    /// Records the outcome of a delivery. Returns the table's revision if the table can continue.
    fn take(&mut self, entity: &Entity, next: Next) -> Option<i64> {
        match next {
            Next::Loaded(Loaded { revision, .. }) | Next::Noted { revision, .. } => {
                self.loaded += u64::from(matches!(next, Next::Loaded(_)));
                *self.done.entry(entity.clone()).or_default() += 1;
                self.revisions.insert(entity.clone(), revision);
                return Some(revision);
            }
            Next::Stopped(status) => _ = self.stopped.insert(entity.clone(), status.as_str()),
            Next::Busy => {
                self.busy += 1;
                self.remarks.insert(entity.clone(), WaitReason::Busy);
            }
            Next::NoTable => {
                self.unmapped.insert(entity.clone());
                self.remarks.insert(entity.clone(), WaitReason::NoTable);
            }
            Next::Reserved => {
                self.reserved.insert(entity.clone());
                self.remarks.insert(entity.clone(), WaitReason::Reserved);
            }
            Next::Waits(words) => _ = self.remarks.insert(entity.clone(), WaitReason::Trouble(words)),
            Next::Relist | Next::Whole => self.relist = true,
            Next::Blocked(_) => {}
        }
        None
    }
}

/// Maximum size of a file that is opened before its turn, in bytes.
const SMALL: u64 = 1 << 20;
/// Maximum number of small deliveries whose messages are published together.
const TOGETHER: usize = 8;
/// Minimum time between two counts of a table's waiting files for the status page.
const COUNT: Duration = Duration::from_secs(1);
/// Time that an iteration has left after a stop was requested.
const GRACE: Duration = Duration::from_secs(20);

impl Loader {
    pub fn new(parts: Parts) -> Self {
        let Parts {
            source,
            target,
            notifier,
            dialect,
            settle,
            metrics,
            health,
            noted,
            stopper,
            clock,
            book,
            screen,
            metrics_file,
        } = parts;
        let settling = QuietPeriod::new(settle, clock.clone());
        let asked = PlanOptions { all: !book.is_closed(), whole: book.whole_tables(), ..PlanOptions::default() };
        let nulls = NullEvidence::default();
        let process = Process::default();
        let corridor =
            DeliveryRunner { source, target, notifier, dialect, nulls, metrics, clock, book, screen, process };
        let herald = OutboxPublisher::new(&corridor, health.clone());
        let said = events::Said::default();
        let (tally, waiting) = (RunSummary::default(), Waiting::default());
        Self {
            corridor,
            herald,
            health,
            noted,
            counted: None,
            stopper,
            settling,
            stops: BTreeMap::new(),
            looked_for: BTreeSet::new(),
            asked,
            said,
            metrics_file,
            tally,
            waiting,
        }
    }

    /// Returns the summary of the run.
    pub fn tally(self) -> RunSummary {
        self.tally
    }

    /// Runs one iteration: loads what is pending now. If a stop was requested and the grace period is over, the
    /// delivery in progress is rolled back.
    pub async fn iterate(&mut self) -> Result<Outcome, Error> {
        let stopper = self.stopper.clone();
        tokio::select! {
            outcome = Box::pin(self.load_pending()) => outcome,
            () = stopper.overdue(GRACE) => {
                events::given_up();
                Ok(Outcome::default())
            }
        }
    }

    /// Repeats planning and loading while files were left out of a plan for lack of memory and each round makes
    /// progress.
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
        if outcome.relist {
            self.looked_for.clear();
        }
        outcome.messages = self.herald.catch_up().await?;
        self.tally.messages = outcome.messages;
        events::stock(&mut self.said, &self.corridor.metrics, &outcome);
        self.end_care(&outcome).await?;
        Ok(outcome)
    }

    /// Loads what fits into one plan. Returns the number of files that are left for the next plan, of tables whose
    /// planned deliveries are all done.
    async fn load_planned(&mut self, outcome: &mut Outcome) -> Result<u64, Error> {
        self.inspect_tables().await?;
        let plan = match self.take_stock_or_stop().await {
            Err(error) if error_policy::of(&error) == ErrorPolicy::Relist => {
                tracing::info!("{error}; it is sorted here, in temporary files.");
                self.take_stock_or_stop().await?
            }
            other => other?,
        };
        let Some((mut plan, mut unrecorded)) = plan else { return Ok(0) };
        let wait = self.hold(&mut plan).await?;
        self.account(&mut plan, &mut unrecorded).await?;
        if let Some(wait) = wait {
            outcome.settling = Some(wait);
            return Ok(0);
        }
        self.see_stops(&plan, outcome).await?;
        let DeliveryRunner { source, target, dialect, nulls, .. } = &self.corridor;
        nulls.look(source, target, dialect, &plan).await?;
        self.tables(&plan, outcome).await?;
        let (metrics, now) = (&self.corridor.metrics, self.corridor.clock.utc());
        self.tally.pending = events::pending(metrics, &plan, &outcome.done, &outcome.unmapped, now);
        let done = plan.tables.iter().filter(|table| outcome.done.get(&table.entity) == Some(&table.pending.len()));
        Ok(done.map(|table| table.later.objects).sum())
    }

    /// Returns the plan, or `None` if a stop is requested meanwhile.
    async fn take_stock_or_stop(&mut self) -> Result<Option<(Plan, Unrecorded)>, Error> {
        let stopper = self.stopper.clone();
        tokio::select! {
            plan = Box::pin(self.take_stock()) => plan.map(Some),
            () = stopper.wait() => Ok(None),
        }
    }

    /// Makes the plan, and makes it again where a table needs more than is remembered: what was loaded, to fold a late file in,
    /// or the times of all its change files.
    async fn take_stock(&mut self) -> Result<(Plan, Unrecorded), Error> {
        let stock = self.look_again().await;
        self.asked.history.clear();
        self.asked.times.clear();
        let (plan, unrecorded) = stock?;
        for (one, other) in &plan.twins {
            self.corridor.target.tell_apart(one, other).await?;
        }
        events::watches(&mut self.said, &self.corridor.source, &plan);
        events::plan(&mut self.said, &plan);
        let now = self.corridor.clock.utc();
        let (metrics, unmapped) = (&self.corridor.metrics, &self.said.unmapped);
        self.tally.pending = events::pending(metrics, &plan, &BTreeMap::new(), unmapped, now);
        self.noted.taken(Backlog::of(&plan, now.unix_timestamp()));
        Ok((plan, unrecorded))
    }

    /// Gives every listed file of a table its row in the ledger.
    async fn account(&self, plan: &mut Plan, unrecorded: &mut Unrecorded) -> Result<(), Error> {
        let recorded = self.corridor.target.account(plan, unrecorded, &self.said.unmapped).await;
        failpoint::reach("after_account");
        Ok(recorded?)
    }

    async fn look_again(&mut self) -> Result<(Plan, Unrecorded), Error> {
        let (mut plan, mut unrecorded) = self.look().await?;
        // the times decide which files are late
        for _ in 0..2 {
            let wants = |which: fn(&TablePlan) -> bool| {
                let tables = plan.tables.iter().filter(move |table| which(table));
                tables.map(|table| table.entity.clone()).collect::<Vec<_>>()
            };
            let (history, times) = (wants(|table| table.wants_history), wants(|table| table.wants_times));
            if history.is_empty() && times.is_empty() {
                break;
            }
            self.asked.history.extend(history);
            self.asked.times.extend(times);
            (plan, unrecorded) = self.look().await?;
        }
        Ok((plan, unrecorded))
    }

    async fn look(&self) -> Result<(Plan, Unrecorded), Error> {
        let known = self.corridor.target.known().await;
        self.health.reached(Part::Target, known.as_ref().map(|_| ()).map_err(ToString::to_string));
        let plan = self.corridor.source.pending(known?, &self.asked).await.map_err(Error::from);
        failpoint::reach("after_list");
        let plan = plan.inspect_err(|error| match error {
            Error::Source(source::Error::Unordered) | Error::Moved { .. } => {}
            Error::Source(error) => self.health.reached(Part::Source, Err(error.to_string())),
            Error::Target(error) => self.health.reached(Part::Target, Err(error.to_string())),
        })?;
        self.health.reached(Part::Source, Ok(()));
        Ok(plan)
    }

    /// Runs the deliveries of one table, in feed order, as far as possible.
    async fn table(&mut self, table: &TablePlan, plan: &Plan, outcome: &mut Outcome) -> Result<(), Error> {
        if table.closes() && self.corridor.target.close(table).await? {
            events::closed(table, self.corridor.target.is_rehearsal());
        }
        if let Some(stop) = &table.stopped {
            outcome.stopped.entry(table.entity.clone()).or_insert(stop.status.as_str());
        }
        if !self.may_load(table, outcome).await? {
            return Ok(());
        }
        let mut untold = Vec::new();
        let walked = self.deliveries((table, plan), outcome, &mut untold).await;
        let told = self.herald.tell(untold).await;
        walked.and(told)
    }

    /// Runs the deliveries of one table. The messages of finished deliveries are published beside the next ones;
    /// `untold` are deliveries whose messages are still to be published.
    async fn deliveries(
        &mut self,
        (table, plan): (&TablePlan, &Plan),
        outcome: &mut Outcome,
        untold: &mut Vec<Loaded>,
    ) -> Result<(), Error> {
        if self.grows_in_parts(table).await? {
            self.load_whole(&table.entity);
            outcome.relist = true;
            return Ok(());
        }
        let mut after = table.pending.first().map_or(0, |pending| pending.after);
        let mut opened = None;
        for (place, pending) in table.pending.iter().enumerate() {
            if self.stopper.requested() {
                return Ok(());
            }
            if let Some(wait) = self.settling.wait(pending) {
                outcome.settling = outcome.settling.max(Some(wait));
                outcome.remarks.insert(table.entity.clone(), WaitReason::Settling);
                return Ok(());
            }
            self.note_begin(pending);
            let ahead = open_ahead(&self.corridor.source, pending, table.pending.get(place + 1));
            // boxed, because the runner's future is large and deeply nested
            let wait = opened.is_some() && untold.len() < TOGETHER;
            let tell = self.herald.tell(if wait { Vec::new() } else { std::mem::take(untold) });
            let walk = Box::pin(self.corridor.walk(pending, after, opened.take()));
            let (next, ahead, told) = tokio::join!(walk, ahead, tell);
            self.note_end(table, place + 1);
            opened = ahead;
            untold.extend(next.as_ref().ok().and_then(Next::loaded));
            let next = match next? {
                Next::Blocked(missing) => self.blocked(pending, after, missing, plan, outcome).await?,
                next => next,
            };
            match next {
                Next::Whole => self.load_whole(&table.entity),
                Next::Busy => self.corridor.book.trouble(&table.entity, "another loader has the table in hand"),
                _ => {}
            }
            self.tally.take(pending, &next);
            let taken = outcome.take(&table.entity, next);
            told?;
            match taken {
                Some(revision) => after = revision,
                None => return Ok(()),
            }
            if self.waiting.loaded(&table.entity) {
                outcome.paused = (place + 1 < table.pending.len()).then(|| table.entity.clone());
                return Ok(());
            }
        }
        // A retry of a late file was requested, or a file arrived, since the listing.
        outcome.relist |= table.wants_history || table.wants_times;
        Ok(())
    }

    /// Returns `true` for a first load of several parts whose rows may refer to rows of other parts: it goes into one transaction.
    async fn grows_in_parts(&self, table: &TablePlan) -> Result<bool, Error> {
        let parts = table.pending.iter().take(2).filter(|pending| matches!(pending.step, Step::Append { .. })).count();
        let first = table.pending.first().is_some_and(|pending| pending.step == Step::Append { first: true });
        Ok(first && parts == 2 && self.corridor.target.refers_to_itself(&table.entity).await?)
    }

    /// Has the next plan compare the table's full load with the table as a whole.
    fn load_whole(&mut self, entity: &Entity) {
        self.corridor.book.whole(entity);
        self.asked.whole.insert(entity.clone());
    }

    fn note_begin(&self, pending: &Pending) {
        let (key, since) = (pending.objects[0].listed.key.clone(), self.corridor.clock.utc().unix_timestamp());
        self.noted.begins(&pending.entity, InProgress { key, since });
    }

    /// Records that a delivery ended. The waiting files are counted once per second at most, because a plan may be
    /// long and its files small.
    fn note_end(&mut self, table: &TablePlan, done: usize) {
        let now = self.corridor.clock.monotonic();
        let due = self.counted.is_none_or(|at| now - at >= COUNT) && !self.corridor.target.is_rehearsal();
        if due {
            self.counted = Some(now);
        }
        self.noted.ends(&table.entity, due.then(|| Files::of(table, done)));
    }

    /// Returns the number of a table's deliveries that are committed; 0 in a dry run.
    fn done_of(&self, table: &TablePlan, outcome: &Outcome) -> usize {
        let done = outcome.done.get(&table.entity).copied().unwrap_or(0);
        if self.corridor.target.is_rehearsal() { 0 } else { done }
    }
}

/// Opens the next delivery's object while this delivery runs, because for small files the bucket's answer takes
/// longer than all the rest. A large file's connection would be open for too long. Errors are reported when the next
/// delivery begins.
async fn open_ahead(source: &Source, now: &Pending, next: Option<&Pending>) -> Option<Download> {
    let unread = |step: &Step| step.note().is_some() || matches!(step, Step::Same | Step::Compare(_));
    let small = |pending: &&Pending| pending.bytes() <= SMALL && !unread(&pending.step);
    let next = next.filter(|next| small(&now) && small(next))?;
    source.open(next).await.ok()
}

async fn timed<T>(metrics: &Metrics, clock: &Clock, stage: Stage, work: impl Future<Output = T>) -> T {
    let begun = clock.monotonic();
    let done = work.await;
    metrics.stage(stage, clock.monotonic() - begun);
    done
}
