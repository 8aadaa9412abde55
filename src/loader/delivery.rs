//! Runs one delivery, from the lease of its table to the commit of its ledger row.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;

use super::error_policy::{self, Error, ErrorPolicy};
use super::nulls::NullEvidence;
use super::plan_mode::{self, PlanMode};
use super::progress::Progress;
use super::{events, timed};
use crate::clock::Clock;
use crate::decode::dialect::Dialect;
use crate::decode::{self, File};
use crate::failpoint;
use crate::load::{
    self, BeginOutcome, Changes, Counts, DeliveryTx, Missing, Order, Process, Receipt, Sign, Target, Why,
};
use crate::metrics::{Metrics, RowOp, Stage};
use crate::notifier::Notifier;
use crate::retry::Backoff;
use crate::source::{Download, IfSame, Pending, Source, Status, Step};
use crate::terminal::Screen;

/// Runs deliveries, one after the other.
pub struct DeliveryRunner {
    pub source: Source,
    pub target: Target,
    pub notifier: Notifier,
    pub dialect: Dialect,
    pub nulls: NullEvidence,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub book: PlanMode,
    pub screen: Screen,
    /// Knowledge about loaders that died.
    pub process: Process,
}

/// Outcome of one delivery.
pub enum Next {
    Loaded(Loaded),
    /// Written down without loading: skipped or gone.
    Noted {
        id: i64,
        revision: i64,
    },
    Stopped(Status),
    Busy,
    NoTable,
    /// The folder names a table that is never loaded.
    Reserved,
    /// A row of another table is missing, or still refers to what is removed.
    Blocked(Missing),
    /// The delivery waits for another table, with the reason.
    Waits(String),
    /// The plan is not true any more.
    Relist,
    /// The plan no longer holds, and the table must be compared as a whole.
    Whole,
}

impl Next {
    pub fn loaded(&self) -> Option<Loaded> {
        match self {
            Self::Loaded(loaded) => Some(*loaded),
            _ => None,
        }
    }
}

/// A delivery that everybody can see.
#[derive(Debug, Clone, Copy)]
pub struct Loaded {
    pub id: i64,
    /// Revision of the table's ledger after the delivery.
    pub revision: i64,
    /// `true` if the delivery has a message.
    pub news: bool,
    pub took: Duration,
    pub counts: Counts,
}

/// Number of times that the ledger is asked about a commit whose answer was lost: for about a minute.
const SETTLE_TRIES: u32 = 15;

impl DeliveryRunner {
    /// Runs one delivery from the download to the commit of its ledger row. `opened` is the object, if its download
    /// has begun.
    pub async fn walk(&self, pending: &Pending, after: i64, opened: Option<Download>) -> Result<Next, Error> {
        let next = match &pending.step {
            Step::Compare(step) => match self.compared(pending, step).await {
                Ok(compared) => self.walk_compared(&compared, after, opened).await,
                Err(error) if matches!(error_policy::of(&error), ErrorPolicy::Gone | ErrorPolicy::Relist) => {
                    Ok(Next::Relist)
                }
                Err(error) => Err(error),
            },
            _ => self.walk_compared(pending, after, opened).await,
        };
        self.put_down(pending).await;
        next
    }

    /// Reads another version of a loaded file for its content, and returns the delivery to run.
    async fn compared(&self, pending: &Pending, step: &Step) -> Result<Pending, Error> {
        let mut compared = pending.clone();
        compared.step = step.clone();
        for object in &mut compared.objects {
            let content = self.source.content(object).await?;
            object.content = Some(content);
            if let Some(before) = object.before.as_ref().filter(|_| object.has_content_of_before(content)) {
                (compared.step, compared.generation) = (Step::Same, before.generation);
            }
        }
        Ok(compared)
    }

    async fn walk_compared(&self, pending: &Pending, after: i64, opened: Option<Download>) -> Result<Next, Error> {
        let mut work = match self.timed(Stage::Begin, self.target.begin(pending, after)).await? {
            BeginOutcome::DeliveryTx(work) => *work,
            BeginOutcome::Busy => return Ok(Next::Busy),
            BeginOutcome::Moved => return Ok(Next::Relist),
            BeginOutcome::NoTable => return Ok(Next::NoTable),
            BeginOutcome::Reserved => return Ok(Next::Reserved),
        };
        let deadly = self.take_in_hand(pending).await;
        failpoint::reach("after_claim");
        if let Some((status, reason)) = pending.step.note() {
            return self.note(work, pending, status, &Why::of(reason)).await;
        }
        if pending.step == Step::Same {
            return self.note_same(work, pending, pending.generation).await;
        }
        if let Some(why) = deadly {
            return self.note(work, pending, Status::Failed, &why).await;
        }
        let (id, sign, started) = (work.id(), work.sign(), work.started());
        events::begins(id, pending);
        let changes = match self.apply(&mut work, pending, opened).await {
            Ok(_) if pending.if_same.is_some() && work.is_same() => return self.found_same(work, pending).await,
            Ok(changes) => changes,
            Err(error) if of_the_file(&error) && pending.if_same.is_some() && work.is_same() => {
                return self.found_same(work, pending).await;
            }
            Err(error) => return self.give_up(work, pending, error).await,
        };
        failpoint::reach("after_diff");
        events::applied(id, &changes, self.target.is_rehearsal());
        if let Err(moved) = self.book.weigh(pending, plan_mode::DeliveryEnd::Loaded(&changes)) {
            work.leave().await?;
            return Err(moved);
        }
        let news = self.notifier.compose(&changes);
        let receipt = match self.timed(Stage::Seal, work.seal(&changes, news.as_ref())).await {
            Ok(receipt) => receipt,
            Err(error) => match self.unsealed(pending, after, sign, &changes, error.into()).await? {
                Ok(receipt) => receipt,
                Err(next) => return Ok(next),
            },
        };
        events::persisted(&receipt, &changes, self.target.is_rehearsal());
        self.count(&receipt, pending);
        self.book.enter(pending, id, plan_mode::DeliveryEnd::Loaded(&changes));
        let took = self.clock.monotonic() - started;
        self.metrics.stage(Stage::Total, took);
        let (revision, counts) = (receipt.revision, receipt.counts);
        Ok(Next::Loaded(Loaded { id, revision, news: news.is_some(), took, counts }))
    }

    /// Downloads, decodes and applies; a file whose rows are in another order than hoped for is read again.
    async fn apply(
        &self,
        work: &mut DeliveryTx,
        pending: &Pending,
        mut opened: Option<Download>,
    ) -> Result<Changes, Error> {
        self.nulls.decide(&self.source, &self.dialect, work, pending).await?;
        let mut order = Order::ByKey;
        loop {
            match self.timed(Stage::Apply, self.read(work, pending, order, opened.take())).await {
                Err(Error::Target(error)) if work.learn_nulls(&error) => work.again().await?,
                Err(error) => match error_policy::of(&error) {
                    ErrorPolicy::Again(other) if other != order => {
                        work.again().await?;
                        order = other;
                    }
                    _ => match &error {
                        Error::Target(target) if work.lock_otherwise(target).await? => {}
                        _ => return Err(error),
                    },
                },
                done => return done,
            }
        }
    }

    async fn read(
        &self,
        work: &mut DeliveryTx,
        pending: &Pending,
        order: Order,
        opened: Option<Download>,
    ) -> Result<Changes, Error> {
        let object = match opened {
            Some(opened) => opened,
            None => self.source.open(pending).await?,
        };
        let (bytes, contents) = (object.bytes_read(), object.contents());
        let rows = decode::rows(object, work.shape(&self.dialect));
        let _progress = Progress::start(&self.screen, work.id(), rows.counted(), bytes.clone(), pending.bytes());
        let changes = work.apply(rows, order).await;
        self.metrics.bytes(bytes.load(Ordering::Relaxed));
        work.read(std::mem::take(&mut *contents.lock().unwrap_or_else(PoisonError::into_inner)));
        Ok(changes?)
    }

    /// Handles parts that turned out to have the bytes of what is loaded: nothing is applied. The files that follow
    /// were planned as changes to a new full load, so a new plan is made.
    async fn found_same(&self, work: DeliveryTx, pending: &Pending) -> Result<Next, Error> {
        match &pending.if_same {
            Some(IfSame { held: Some(reason), .. }) => self.note(work, pending, Status::Held, &Why::of(reason)).await,
            Some(IfSame { generation, .. }) => {
                self.note_same(work, pending, *generation).await?;
                Ok(Next::Relist)
            }
            None => Ok(Next::Relist),
        }
    }

    /// Writes down that the bytes are those of what is loaded.
    async fn note_same(&self, work: DeliveryTx, pending: &Pending, generation: i32) -> Result<Next, Error> {
        let why = Why::of("rewritten with the same bytes; nothing was applied");
        if let Err(moved) = self.book.weigh(pending, plan_mode::DeliveryEnd::Noted(Status::Loaded, &why)) {
            work.leave().await?;
            return Err(moved);
        }
        let revision = work.sign().revision;
        let id = work.note_same(generation).await?;
        self.book.enter(pending, id, plan_mode::DeliveryEnd::Noted(Status::Loaded, &why));
        events::noted(id, pending, Status::Loaded, &why, self.target.is_rehearsal());
        Ok(Next::Noted { id, revision })
    }

    /// Handles a delivery that could not be applied: records the reason, or leaves the delivery for another try.
    async fn give_up(&self, work: DeliveryTx, pending: &Pending, error: Error) -> Result<Next, Error> {
        match error_policy::of(&error) {
            ErrorPolicy::Stop(status) => {
                if let Some(missing) = missing(&work, &error).await? {
                    work.leave().await?;
                    return Ok(Next::Blocked(missing));
                }
                let why = match self.repeated_key(&work, pending, &error).await? {
                    Some(why) => why,
                    None => error_policy::why(&error, pending),
                };
                self.note(work, pending, status, &why).await
            }
            // the file that is gone may have been loaded long ago: the new plan decides
            ErrorPolicy::Gone if pending.step == Step::Refold => {
                work.leave().await?;
                Ok(Next::Relist)
            }
            ErrorPolicy::Gone => {
                let noted = self.note(work, pending, Status::Gone, &error_policy::why(&error, pending)).await?;
                // the following deliveries were planned for a table that has this snapshot
                Ok(if pending.file == File::Snapshot { Next::Relist } else { noted })
            }
            ErrorPolicy::Relist => {
                events::relisted(work.id(), &error);
                work.leave().await?;
                Ok(Next::Relist)
            }
            ErrorPolicy::Whole => {
                work.leave().await?;
                Ok(Next::Whole)
            }
            ErrorPolicy::Retry
            | ErrorPolicy::RetryTable
            | ErrorPolicy::Again(_)
            | ErrorPolicy::Settle
            | ErrorPolicy::Abort
            | ErrorPolicy::Refuse => Err(error),
        }
    }

    /// Handles a commit that failed, or whose answer was lost: reads the ledger to find out.
    async fn unsealed(
        &self,
        pending: &Pending,
        after: i64,
        sign: Sign,
        changes: &Changes,
        error: Error,
    ) -> Result<Result<Receipt, Next>, Error> {
        match error_policy::of(&error) {
            ErrorPolicy::Settle => self.settle(pending, sign, changes).await?.map(Ok).ok_or(error),
            // a constraint that Postgres checks at the commit only
            ErrorPolicy::Stop(_) => match self.target.begin(pending, after).await? {
                BeginOutcome::DeliveryTx(work) => self.give_up(*work, pending, error).await.map(Err),
                _ => Err(error),
            },
            _ => Err(error),
        }
    }

    /// Writes down that a delivery failed that was left before.
    pub async fn fail(&self, pending: &Pending, after: i64, why: &Why) -> Result<Next, Error> {
        match self.target.begin(pending, after).await? {
            BeginOutcome::DeliveryTx(work) => self.note(*work, pending, Status::Failed, why).await,
            BeginOutcome::Busy => Ok(Next::Busy),
            BeginOutcome::Moved => Ok(Next::Relist),
            BeginOutcome::NoTable => Ok(Next::NoTable),
            BeginOutcome::Reserved => Ok(Next::Reserved),
        }
    }

    /// Asks the ledger whether a commit took place. A lost answer mostly means a server that restarts: it is waited for.
    async fn settle(&self, pending: &Pending, sign: Sign, changes: &Changes) -> Result<Option<Receipt>, Error> {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
        for _ in 0..SETTLE_TRIES {
            match self.target.settle(pending, sign, changes).await.map_err(Error::from) {
                Err(error) if error_policy::of(&error) == ErrorPolicy::Retry => events::settles(sign.id, &error),
                other => return other,
            }
            tokio::time::sleep(backoff.next()).await;
        }
        Ok(self.target.settle(pending, sign, changes).await?)
    }

    /// Writes down that a delivery was not loaded, and why.
    async fn note(&self, work: DeliveryTx, pending: &Pending, status: Status, why: &Why) -> Result<Next, Error> {
        if let Err(moved) = self.book.weigh(pending, plan_mode::DeliveryEnd::Noted(status, why)) {
            work.leave().await?;
            return Err(moved);
        }
        let revision = work.sign().revision;
        let id = work.note(status, why).await?;
        self.book.enter(pending, id, plan_mode::DeliveryEnd::Noted(status, why));
        if !self.target.is_rehearsal() {
            self.metrics.delivery(&pending.label, pending.file.as_str(), status.as_str());
        }
        events::noted(id, pending, status, why, self.target.is_rehearsal());
        Ok(if status.stops(pending.file) { Next::Stopped(status) } else { Next::Noted { id, revision } })
    }

    /// Updates the metrics for a committed delivery. Dry runs are not counted.
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
        events::counted(receipt.id);
    }

    async fn timed<T>(&self, stage: Stage, work: impl Future<Output = T>) -> T {
        timed(&self.metrics, &self.clock, stage, work).await
    }
}

/// Returns `true` if an error stops the delivery, and is none of the bucket or the database.
fn of_the_file(error: &Error) -> bool {
    matches!(error_policy::of(error), ErrorPolicy::Stop(_))
}

/// Returns the other table, if the delivery failed because of a reference to or from it.
async fn missing(work: &DeliveryTx, error: &Error) -> Result<Option<Missing>, Error> {
    match error {
        Error::Target(load::Error::Pg(error)) => Ok(work.missing(error).await?),
        _ => Ok(None),
    }
}
