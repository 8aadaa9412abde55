//! The corridor: the way of one delivery, from the lease of its table to the signed ledger row.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use time::OffsetDateTime;

use super::book::{self, Book};
use super::progress::Progress;
use super::verdict::{self, Error, Verdict};
use super::{say, timed};
use crate::clock::Clock;
use crate::decode::dialect::Dialect;
use crate::decode::{self, File};
use crate::failpoint;
use crate::metrics::{Metrics, RowOp, Stage};
use crate::notifier::Notifier;
use crate::retry::Backoff;
use crate::source::{Download, Pending, Source, Status, Step};
use crate::target::{self, Begun, Changes, Counts, Missing, Order, Receipt, Target, Why, Work};
use crate::terminal::Screen;

/// What a delivery needs on its way.
pub struct Corridor {
    pub source: Source,
    pub target: Target,
    pub notifier: Notifier,
    pub dialect: Dialect,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub book: Book,
    pub screen: Screen,
}

/// What came of one delivery.
pub enum Next {
    Loaded(Loaded),
    /// written down without loading: skipped or gone
    Noted(i64),
    Stopped(Status),
    Busy,
    NoTable,
    /// the folder names a table that is never loaded
    Reserved,
    /// a row of another table is missing, or still refers to what is removed
    Blocked(Missing),
    /// so it waits for the other table, and why
    Waits(String),
    /// the plan is not true any more
    Relist,
    /// neither is it, and its table must be diffed as a whole
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
    /// whether it has a message
    pub news: bool,
    pub took: Duration,
    pub counts: Counts,
}

/// How often the ledger is asked about a commit whose answer was lost: for about a minute.
const SETTLE_TRIES: u32 = 15;

impl Corridor {
    /// One delivery from the bucket to its signed ledger row. The object may be open already.
    pub async fn walk(&self, pending: &Pending, last_id: i64, opened: Option<Download>) -> Result<Next, Error> {
        let mut work = match self.timed(Stage::Begin, self.target.begin(pending, last_id)).await? {
            Begun::Work(work) => *work,
            Begun::Busy => return Ok(Next::Busy),
            Begun::Moved => return Ok(Next::Relist),
            Begun::NoTable => return Ok(Next::NoTable),
            Begun::Reserved => return Ok(Next::Reserved),
        };
        failpoint::reach("after_claim");
        if let Some((status, reason)) = pending.step.note() {
            return self.note(work, pending, status, &Why::of(reason)).await;
        }
        let (id, started) = (work.id(), work.started());
        say::begins(id, pending);
        let changes = match self.apply(&mut work, pending, opened).await {
            Ok(changes) => changes,
            Err(error) => return self.give_up(work, pending, error).await,
        };
        failpoint::reach("after_diff");
        say::applied(id, &changes, self.target.is_rehearsal());
        if let Err(moved) = self.book.weigh(pending, book::End::Loaded(&changes)) {
            work.leave().await?;
            return Err(moved);
        }
        let news = self.notifier.compose(&changes);
        let receipt = match self.timed(Stage::Seal, work.seal(&changes, news.as_ref())).await {
            Ok(receipt) => receipt,
            Err(error) => match self.unsealed(pending, last_id, id, &changes, error.into()).await? {
                Ok(receipt) => receipt,
                Err(next) => return Ok(next),
            },
        };
        say::persisted(&receipt, &changes, self.target.is_rehearsal());
        self.count(&receipt, pending);
        self.book.enter(pending, id, book::End::Loaded(&changes));
        let took = self.clock.monotonic() - started;
        self.metrics.stage(Stage::Total, took);
        Ok(Next::Loaded(Loaded { id, news: news.is_some(), took, counts: receipt.counts }))
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
        let _progress = Progress::start(&self.screen, work.id(), rows.counted(), bytes.clone(), pending.bytes());
        let changes = work.apply(rows, order).await;
        self.metrics.bytes(bytes.load(Ordering::Relaxed));
        Ok(changes?)
    }

    /// A delivery that could not be applied: written down, or left for another try.
    async fn give_up(&self, work: Work, pending: &Pending, error: Error) -> Result<Next, Error> {
        match verdict::of(&error) {
            Verdict::Stop(status) => {
                if let Some(missing) = missing(&work, &error).await? {
                    work.leave().await?;
                    return Ok(Next::Blocked(missing));
                }
                let why = match self.repeated_key(&work, pending, &error).await? {
                    Some(why) => why,
                    None => verdict::why(&error, pending),
                };
                self.note(work, pending, status, &why).await
            }
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
                say::relisted(work.id(), &error);
                work.leave().await?;
                Ok(Next::Relist)
            }
            Verdict::Whole => {
                work.leave().await?;
                Ok(Next::Whole)
            }
            Verdict::Retry
            | Verdict::RetryTable
            | Verdict::Again(_)
            | Verdict::Settle
            | Verdict::Abort
            | Verdict::Refuse => Err(error),
        }
    }

    /// Returns both places of a key that comes in two parts of a first load, if that is why Postgres refused the later one.
    async fn repeated_key(&self, work: &Work, pending: &Pending, error: &Error) -> Result<Option<Why>, Error> {
        let Error::Target(target::Error::Pg(refused)) = error else { return Ok(None) };
        if refused.code() != Some("23505") || pending.step != (Step::Append { first: false }) {
            return Ok(None);
        }
        let parts = work.with_earlier_parts(pending).await?;
        // parts that cannot be read any more leave what Postgres said
        let Ok(object) = self.source.open(&parts).await else { return Ok(None) };
        match work.refuse_twice(decode::rows(object, work.shape(&self.dialect))).await {
            Err(error @ target::Error::Duplicate { .. }) => {
                let why = verdict::why(&error.into(), &parts);
                Ok(Some(Why { part: None, ..why }))
            }
            _ => Ok(None),
        }
    }

    /// A commit that failed, or of which nobody knows whether it did: the ledger tells.
    async fn unsealed(
        &self,
        pending: &Pending,
        last_id: i64,
        id: i64,
        changes: &Changes,
        error: Error,
    ) -> Result<Result<Receipt, Next>, Error> {
        match verdict::of(&error) {
            Verdict::Settle => self.settle(pending, id, changes).await?.map(Ok).ok_or(error),
            // a constraint that Postgres checks at the commit only
            Verdict::Stop(_) => match self.target.begin(pending, last_id).await? {
                Begun::Work(work) => self.give_up(*work, pending, error).await.map(Err),
                _ => Err(error),
            },
            _ => Err(error),
        }
    }

    /// Writes down that a delivery failed that was left before.
    pub async fn fail(&self, pending: &Pending, last_id: i64, why: &Why) -> Result<Next, Error> {
        match self.target.begin(pending, last_id).await? {
            Begun::Work(work) => self.note(*work, pending, Status::Failed, why).await,
            Begun::Busy => Ok(Next::Busy),
            Begun::Moved => Ok(Next::Relist),
            Begun::NoTable => Ok(Next::NoTable),
            Begun::Reserved => Ok(Next::Reserved),
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
    async fn note(&self, work: Work, pending: &Pending, status: Status, why: &Why) -> Result<Next, Error> {
        if let Err(moved) = self.book.weigh(pending, book::End::Noted(status, why)) {
            work.leave().await?;
            return Err(moved);
        }
        let id = work.note(status, why).await?;
        self.book.enter(pending, id, book::End::Noted(status, why));
        if !self.target.is_rehearsal() {
            self.metrics.delivery(&pending.label, pending.file.as_str(), status.as_str());
        }
        say::noted(id, pending, status, why, self.target.is_rehearsal());
        Ok(if status.stops() { Next::Stopped(status) } else { Next::Noted(id) })
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
        timed(&self.metrics, &self.clock, stage, work).await
    }
}

/// The other table, if a delivery failed for the sake of one.
async fn missing(work: &Work, error: &Error) -> Result<Option<Missing>, Error> {
    match error {
        Error::Target(target::Error::Pg(error)) => Ok(work.missing(error).await?),
        _ => Ok(None),
    }
}
