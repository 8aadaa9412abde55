//! Runs one delivery: a transaction that holds the table's lease and lock, from `begin` to the commit of its ledger
//! row.
//!
//! `apply` turns rows into changes. `seal` writes the ledger row and the message and commits; only a commit creates a
//! `Receipt`. `note` gives the delivery up and records the reason. A `DeliveryTx` that is dropped leaves nothing in
//! the database.

mod lock;
mod nulls;

use std::sync::Arc;
use std::time::Instant;

use tokio_postgres::types::{ToSql, Type};

use super::catalog::{Catalog, Table};
use super::change_report::{ChangeReport, Seen};
use super::delivery_record::DeliveryRecord;
pub use super::delivery_record::Why;
use super::guard::Guard;
use super::lease::{self, LeaseOutcome};
use super::ledger::{self, Line, Sign};
use super::lock_wait::LockWaits;
use super::null_rule::{self, NullDecision};
use super::outbox::{self, News};
use super::rejects::{BadRows, Rejects};
use super::row_pipeline::{self, Order, RowPipeline, Summary, Way};
use super::server_cast::convert;
use super::tables::Left;
use super::{Counts, Error, Feed, LEASE_CLASS, Target, changes, encoder, snapshot};
use crate::decode::{File, Parts, Rows};
use crate::failpoint;
use crate::pg::Tx;
use crate::source::{Entity, Pending, Status, Step, TablePlan};

/// Maximum size of a change file that is assumed to have few rows, in bytes.
const FEW: u64 = 64 << 10;

/// Outcome of `begin`.
pub enum BeginOutcome {
    DeliveryTx(Box<DeliveryTx>),
    /// Another loader holds the table's lease.
    Busy,
    /// The ledger moved on since the plan was made, or the table is stopped.
    Moved,
    /// The target has no such table.
    NoTable,
    /// The folder names a table that is never loaded.
    Reserved,
}

/// A delivery whose transaction is open.
pub struct DeliveryTx {
    pub(super) tx: Tx,
    table: Arc<Table>,
    catalog: Catalog,
    lock_waits: LockWaits,
    /// `true` if no other program writes to the table, as `TABLES` says.
    sole_writer: bool,
    pub(super) docket: DeliveryRecord,
    guard: Guard,
    /// `true` if the last loaded file of this kind had an operation column.
    had_op: Option<bool>,
    nulls: null_rule::Known,
    /// Rule for null, once it was decided for this delivery.
    decision: Option<NullDecision>,
    bad_rows: BadRows,
    event_id: String,
    /// `true` for each part that was loaded before, if late files are folded in.
    loaded: Vec<bool>,
    /// Number of sample keys of each kind to report, if a report was requested.
    look: Option<usize>,
    started: Instant,
}

/// Changes that a delivery made to its table, not yet committed.
#[derive(Debug, Clone)]
pub struct Changes {
    pending: Pending,
    counts: Counts,
    /// Number of rows that the table had before, if they were counted.
    before: Option<u64>,
    summary: Summary,
    /// Number of rejected rows of each part.
    rejected: Vec<u64>,
    rejects: Option<Rejects>,
    feed: Feed,
    seen: Option<Seen>,
}

/// Effect of the delivery's rows on the table.
struct Applied {
    counts: Counts,
    /// Number of rows that the table had before, if they were counted.
    before: Option<u64>,
}

/// Proof of a delivery that everybody can see.
#[derive(Debug)]
pub struct Receipt {
    pub id: i64,
    pub revision: i64,
    pub counts: Counts,
}

impl Target {
    /// Takes the table's lease and checks that this delivery is still its first pending one. `after` is the revision
    /// that the table must still have.
    pub async fn begin(&self, pending: &Pending, after: i64) -> Result<BeginOutcome, Error> {
        let started = (self.clock.utc(), self.clock.monotonic());
        let (tx, table, leased) = match self.catalog.recall(&pending.entity) {
            Some(table) => {
                let ask = async |tx: &Tx| self.take(tx, &table, pending).await;
                let (tx, leased) = self.pg.begin_with("deliver", ask).await?;
                (tx, table, leased)
            }
            None => {
                let tx = self.pg.begin("deliver").await?;
                let Some(table) = self.table(&tx, &pending.entity).await?.map(Arc::new) else {
                    tx.rollback().await?;
                    let reserved = self.is_reserved(&pending.entity);
                    return Ok(if reserved { BeginOutcome::Reserved } else { BeginOutcome::NoTable });
                };
                encoder::say_no_event_id(&self.catalog, &table, &self.settings.event_id);
                let leased = self.take(&tx, &table, pending).await;
                (tx, table, leased)
            }
        };
        let unrecorded = pending.objects.iter().any(|object| object.entry.is_none());
        let (head, nulls, id) = match (leased?, pending.carrier().entry) {
            (LeaseOutcome::Head(head, nulls), Some(id)) if !unrecorded && head.follows(after) => (head, nulls, id),
            (leased, _) => {
                tx.rollback().await?;
                // If no other loader has the lease, the table was created after the listing, or the ledger has
                // changed.
                return Ok(if matches!(leased, LeaseOutcome::Busy) { BeginOutcome::Busy } else { BeginOutcome::Moved });
            }
        };
        let released = ledger::released(&tx, pending).await?;
        let had_op = match head.had_op {
            Some(had_op) => Some(had_op),
            None => ledger::had_op(&tx, &self.feed, pending).await?,
        };
        Ok(BeginOutcome::DeliveryTx(Box::new(DeliveryTx {
            tx,
            table,
            catalog: self.catalog.clone(),
            lock_waits: self.lock_waits.clone(),
            sole_writer: self.settings.is_sole_writer(&pending.entity),
            docket: DeliveryRecord {
                id,
                revision: head.last_revision + 1,
                pending: pending.clone(),
                feed: self.feed.clone(),
                host: self.host.clone(),
                started_at: started.0,
                contents: Vec::new(),
            },
            guard: Guard { max_remove: self.settings.max_remove, released },
            had_op,
            nulls,
            decision: None,
            bad_rows: self.settings.bad_rows,
            event_id: self.settings.event_id.clone(),
            loaded: pending.objects.iter().map(|object| pending.step == Step::Refold && !object.new).collect(),
            look: self.look,
            started: started.1,
        })))
    }

    /// Returns the target table for the entity.
    pub(super) async fn table(&self, tx: &Tx, entity: &Entity) -> Result<Option<Table>, Error> {
        Table::find(tx, Some(&self.catalog), entity, self.settings.schema.as_deref()).await
    }

    /// Refuses two tables of the feed that are one table of the target: each would undo the other.
    pub async fn tell_apart(&self, one: &Entity, other: &Entity) -> Result<(), Error> {
        let tx = self.pg.begin("tell apart").await?;
        let (first, second) = (self.table(&tx, one).await?, self.table(&tx, other).await?);
        tx.rollback().await?;
        match (first, second) {
            (Some(first), Some(second)) if first.oid == second.oid => {
                Err(Error::Clash { one: one.clone(), other: other.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Takes the table's lease and reads its ledger in one round trip, because each round trip would cost a small
    /// file dearly.
    async fn take(&self, tx: &Tx, table: &Table, pending: &Pending) -> Result<LeaseOutcome, Error> {
        let (leased, marked) = tokio::join!(lease::take_for(tx, table, &self.feed, pending), tx.mark());
        // the first failure is the cause; after it, every statement fails
        let leased = leased?;
        marked?;
        Ok(leased)
    }

    /// Notes in the ledger which versions the bucket no longer shows, or shows again; left for the next time if another loader
    /// has the table. Returns `true` if it is done.
    pub async fn close(&self, plan: &TablePlan) -> Result<bool, Error> {
        let tx = self.pg.begin("close").await?;
        let leased = match &self.table(&tx, &plan.entity).await? {
            Some(table) => lease::take(&tx, table).await?,
            None => true,
        };
        if leased {
            ledger::close(&tx, plan).await?;
        }
        tx.commit().await?;
        Ok(leased)
    }

    /// Settles a COMMIT whose answer was lost: a receipt if the ledger has the delivery. Waits for the lease, which the
    /// lost session holds until the server has noticed its end.
    pub async fn settle(&self, pending: &Pending, sign: Sign, changes: &Changes) -> Result<Option<Receipt>, Error> {
        let tx = self.pg.begin("settle").await?;
        if let Some(table) = self.table(&tx, &pending.entity).await? {
            let number = table.oid as i32;
            let lease: [(&(dyn ToSql + Sync), Type); 2] = [(&LEASE_CLASS, Type::INT4), (&number, Type::INT4)];
            let waited = tx.query_typed("select pg_advisory_xact_lock($1, $2)", &lease).await;
            waited.map_err(|error| tx.error(error))?;
        }
        let committed = ledger::is_loaded(&tx, &sign, &self.host).await?;
        tx.rollback().await?;
        let Sign { id, revision, .. } = sign;
        Ok(committed.then_some(Receipt { id, revision, counts: changes.counts }))
    }
}

impl DeliveryTx {
    /// Returns the delivery's id.
    pub fn id(&self) -> i64 {
        self.docket.id
    }

    /// Returns the time at which the delivery began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Applies the rows to the table. After an error nothing of them remains; `again` allows a second attempt.
    pub async fn apply<P>(&mut self, rows: Rows<P>, order: Order) -> Result<Changes, Error>
    where
        P: Parts + Send + 'static,
        P::Bytes: Send,
    {
        self.table.check(self.docket.pending.file)?;
        let rejects = self.rejects();
        let (tx, table) = (&self.tx, self.table.as_ref());
        let (ask, mut look) = (table.asks(), self.look.map(ChangeReport::new));
        if self.docket.pending.file == File::Changes {
            let mut intake = match ask {
                true => self.ask(rows, order, rejects.as_ref()).await?,
                false => self.intake(rows, order, rejects.as_ref(), false),
            };
            let counts = changes::apply(tx, table, &mut intake, self.enter(), look.as_mut()).await?;
            return self.changes(Applied { counts, before: None }, intake.into_summary(), rejects, look).await;
        }
        let (mut intake, empty) = if ask {
            let intake = self.ask(rows, order, rejects.as_ref()).await?;
            (intake, self.enter().await?)
        } else {
            let empty = self.enter().await?;
            (self.intake(rows, order, rejects.as_ref(), empty), empty)
        };
        let applied = if empty {
            let counts = snapshot::load(tx, table, &mut intake, look.as_mut()).await?;
            let first = self.docket.pending.step != Step::Append { first: false };
            Applied { counts, before: first.then_some(0) }
        } else {
            let (guard, rejects) = (&self.guard, rejects.as_ref());
            let (counts, rows) = snapshot::replace(tx, table, &mut intake, guard, rejects, look.as_mut()).await?;
            Applied { counts, before: Some(rows) }
        };
        self.changes(applied, intake.into_summary(), rejects, look).await
    }

    /// Reads all rows and has Postgres make binary what only it can read. The table is not locked meanwhile.
    pub(super) async fn ask<P>(
        &self,
        rows: Rows<P>,
        order: Order,
        rejects: Option<&Rejects>,
    ) -> Result<RowPipeline, Error>
    where
        P: Parts + Send + 'static,
        P::Bytes: Send,
    {
        let way = if order == Order::Moving { Way::Chained } else { Way::Sorted };
        let plan = self.plan(rejects);
        let drafts = RowPipeline::drafts(rows, &plan);
        convert(&self.tx, &plan, drafts, (self.docket.pending.file, way)).await
    }

    pub(super) fn intake<P>(&self, rows: Rows<P>, order: Order, rejects: Option<&Rejects>, empty: bool) -> RowPipeline
    where
        P: Parts + Send + 'static,
        P::Bytes: Send,
    {
        let way = match (self.docket.pending.file, order) {
            (File::Changes, Order::Moving) => Way::Chained,
            (File::Changes, _) => Way::Sorted,
            (File::Snapshot, _) if self.table.is_keyless() && empty => Way::AsTheyCome,
            (File::Snapshot, Order::ByKey) if !self.table.is_keyless() => Way::Straight,
            (File::Snapshot, _) => Way::Sorted,
        };
        RowPipeline::start(rows, &self.plan(rejects), way)
    }

    pub(super) fn plan<'a>(&'a self, rejects: Option<&'a Rejects>) -> row_pipeline::Plan<'a> {
        let leaves = self.docket.pending.file == File::Snapshot;
        row_pipeline::Plan { table: &self.table, event_id: &self.event_id, rejects, leaves, loaded: &self.loaded }
    }

    /// Returns the place for rejected rows, or `None` if a bad row fails the delivery.
    pub(super) fn rejects(&self) -> Option<Rejects> {
        let BadRows::Quarantine { most } = self.bad_rows else { return None };
        Some(Rejects::new(self.docket.pending.objects.iter().map(|object| object.new).collect(), most))
    }

    async fn changes(
        &self,
        applied: Applied,
        summary: Summary,
        rejects: Option<Rejects>,
        look: Option<ChangeReport>,
    ) -> Result<Changes, Error> {
        let Applied { counts, before } = applied;
        self.check_deferred().await?;
        if let Some(rejects) = &rejects {
            rejects.check(summary.read.iter().sum())?;
        }
        let tally = rejects.as_ref().map(Rejects::tally).unwrap_or_default();
        let counts = Counts { rejected: tally.total(), ..counts };
        let (pending, feed) = (self.docket.pending.clone(), self.docket.feed.clone());
        let seen = match look {
            Some(look) => Some(look.finish(&self.tx, &self.table).await?),
            None => None,
        };
        Ok(Changes { pending, counts, before, summary, rejected: tally.parts, rejects, feed, seen })
    }

    pub(super) fn tx(&self) -> &Tx {
        &self.tx
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// Returns the table's number, the ledger's scope, and true if the feed's schemas are not those of the target.
    pub(super) fn place(&self) -> (u32, i64, bool) {
        (self.table.oid, self.docket.feed.id(), self.table.schema != self.docket.pending.entity.schema)
    }

    /// Undoes what a failed `apply` did, and keeps the lease.
    pub async fn again(&self) -> Result<(), Error> {
        Ok(self.tx.back_to_mark().await?)
    }

    /// Signs: ledger rows and message, then the commit.
    pub async fn seal(self, changes: &Changes, news: Option<&News>) -> Result<Receipt, Error> {
        let Self { tx, table, docket, decision, .. } = self;
        if let Some(decision) = &decision {
            let entity = &docket.pending.entity;
            null_rule::write(&tx, &docket.feed, entity, docket.id, decision).await?;
        }
        let left = Left::new(&docket.feed, &docket.pending.entity, &table, changes.counts, changes.before);
        let ids = docket.sign_others(&tx, changes).await?;
        let line = changes.complete(docket.loaded(changes, docket.last_new(), docket.id));
        let receipt = Receipt { id: docket.id, revision: docket.revision, counts: changes.counts };
        if changes.counts.rejected == 0 && line.object.replaces.is_empty() {
            failpoint::reach("before_commit");
            ledger::write_and_commit(tx, &line, news, &left).await?;
        } else {
            ledger::write(&tx, &line).await?;
            left.write(&tx).await?;
            if let Some(rejects) = &changes.rejects {
                rejects.write(&tx, &docket.named(ids)).await?;
            }
            if let Some(news) = news {
                outbox::write(&tx, docket.id, &docket.feed, news).await?;
            }
            failpoint::reach("before_commit");
            tx.commit().await?;
        }
        failpoint::reach("after_commit");
        Ok(receipt)
    }

    /// Gives the delivery up: nothing is applied, and the ledger records the reason on the faulty object. A held
    /// delivery is held as a whole: all its new parts are held, and the last one has the number of rows that it would
    /// have removed.
    pub async fn note(self, status: Status, why: &Why) -> Result<i64, Error> {
        self.tx.back_to_mark().await?;
        let id = self.docket.note(&self.tx, status, why).await?;
        self.tx.commit().await?;
        Ok(id)
    }

    /// Leaves without a trace.
    pub async fn leave(self) -> Result<(), Error> {
        Ok(self.tx.rollback().await?)
    }
}

impl Changes {
    pub fn pending(&self) -> &Pending {
        &self.pending
    }

    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns the change report, if one was requested.
    pub fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// Returns the highest event id among the rows that were read.
    pub fn max_event_id(&self) -> Option<i64> {
        self.summary.max_event_id
    }

    pub(super) fn of_part<'a>(&self, part: usize, line: Line<'a>) -> Line<'a> {
        let of = |parts: &[u64]| parts.get(part).copied().unwrap_or(0);
        let (rows_read, rejected) = (of(&self.summary.read), of(&self.rejected));
        let claimed = self.summary.claimed.as_ref().map(|claimed| match self.pending.file {
            // a full load without an operation column claims nothing
            File::Snapshot => serde_json::json!({"I": rows_read}),
            File::Changes => {
                let [insert, update, delete] = claimed.get(part).copied().unwrap_or_default();
                serde_json::json!({"I": insert, "U": update, "D": delete})
            }
        });
        Line { rows_read, counts: Counts { rejected, ..line.counts }, claimed, ..line }
    }

    pub(super) fn complete<'a>(&self, line: Line<'a>) -> Line<'a> {
        let counts = Counts { rejected: line.counts.rejected, ..self.counts };
        Line { counts, max_event_id: self.summary.max_event_id, ..line }
    }
}
