//! The lease of a table: the right to load it, held until the transaction ends. A delivery acquires it and reads its
//! table's ledger in one statement, because each round trip costs a small file dearly.

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::catalog::Table;
use super::null_rule;
use super::{Error, Feed, LEASE_CLASS};
use crate::pg::{self, Tx};
use crate::source::Pending;

/// Outcome of the attempt to take a table's lease.
pub(super) enum LeaseOutcome {
    Head(Head, null_rule::Known),
    /// Another loader holds the lease.
    Busy,
}

/// State of one table's ledger, read again under the lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Highest revision, or 0 without one.
    pub last_revision: i64,
    /// True if a row stops the table.
    pub stopped: bool,
    /// `true` if a file of the delivery already has a final ledger row.
    pub taken: bool,
    /// `true` if the file of the table's last ledger row had an operation column; `None` if that row is not loaded or
    /// of another kind.
    pub had_op: Option<bool>,
}

impl Head {
    fn read(row: &Row) -> Self {
        Self {
            last_revision: row.get("last_revision"),
            stopped: row.get("stopped"),
            taken: row.get("taken"),
            had_op: row.get("had_op"),
        }
    }

    /// Returns `true` if a delivery that was planned after that revision may continue.
    pub fn follows(&self, after: i64) -> bool {
        self.last_revision == after && !self.stopped && !self.taken
    }
}

/// Acquires the table's lease until the transaction ends. Returns false if another loader has it.
pub(super) async fn take(tx: &Tx, table: &Table) -> Result<bool, pg::Error> {
    let number = table.oid as i32;
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&LEASE_CLASS, Type::INT4), (&number, Type::INT4)];
    let sql = format!("select pg_try_advisory_xact_lock($1, $2), {}", pg::IDLE_TIMEOUT);
    let row = tx.query_typed_one(&sql, &parameters).await;
    Ok(row.map_err(|error| tx.error(error))?.get(0))
}

/// Acquires the table's lease for a delivery and reads the state of its table under it. The rows of `pending` itself do not stop
/// it, nor do those that it passes.
pub(super) async fn take_for(tx: &Tx, table: &Table, feed: &Feed, pending: &Pending) -> Result<LeaseOutcome, Error> {
    let (scope, kind, number) = (feed.id(), pending.file.as_str(), table.oid as i32);
    let rows = pending.objects.iter().filter_map(|object| object.entry);
    let own: Vec<i64> = rows.chain(pending.passes.iter().copied()).collect();
    let wanted: Vec<i64> = pending.new_objects().filter_map(|place| pending.objects[place].entry).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 8] = [
        (&LEASE_CLASS, Type::INT4),
        (&number, Type::INT4),
        (&scope, Type::INT8),
        (&pending.entity.schema, Type::TEXT),
        (&pending.entity.name, Type::TEXT),
        (&kind, Type::TEXT),
        (&own, Type::INT8_ARRAY),
        (&wanted, Type::INT8_ARRAY),
    ];
    let sql = "select * from public.loader_begin_delivery($1, $2, $3, $4, $5, $6, $7, $8)";
    let row = tx.query_typed_one(sql, &parameters).await.map_err(|error| tx.error(error))?;
    Ok(match row.get("leased") {
        true => LeaseOutcome::Head(Head::read(&row), null_rule::Known::read(&row)?),
        false => LeaseOutcome::Busy,
    })
}
