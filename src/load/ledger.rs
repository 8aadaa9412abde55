//! The ledger: `loader_deliveries`, one row for every version of every file that the bucket ever showed.

use futures_util::{Stream, StreamExt};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, RowStream};

use super::outbox::{self, News};
use super::tables::Left;
use super::{Counts, Error, Feed};
use crate::decode::File;
use crate::pg::{Parameter, Tx, calls};
use crate::source::{Entry, Object, Pending, Request, Status, TablePlan};

/// One ledger row to write: an object of a delivery and its outcome.
#[derive(Debug)]
pub struct Line<'a> {
    pub id: i64,
    pub revision: i64,
    pub feed: &'a Feed,
    pub pending: &'a Pending,
    pub object: &'a Object,
    pub status: Status,
    pub rows_read: u64,
    pub counts: Counts,
    pub claimed: Option<serde_json::Value>,
    pub max_event_id: Option<i64>,
    /// Seconds since 1970.
    pub started_at: f64,
    pub host: &'a str,
    pub error: Option<&'a str>,
    pub actor: Option<&'a str>,
    pub reason: Option<&'a str>,
    /// The object's content, if it was read.
    pub content: Option<&'a [u8]>,
}

/// Writes a row; one that is there already is updated in place and counts one attempt more.
pub async fn write(tx: &Tx, line: &Line<'_>) -> Result<(), Error> {
    let columns = Columns::of(line);
    let (sql, parameters) = calls(vec![(WRITE, columns.parameters(line))]);
    tx.execute_typed(&sql, &parameters).await.map_err(|error| tx.error(error))?;
    if line.object.replaces.is_empty() { Ok(()) } else { replace(tx, line).await }
}

/// Writes a row that replaces none together with what is left in the table and the delivery's message, and commits.
pub async fn write_and_commit(tx: Tx, line: &Line<'_>, news: Option<&News>, left: &Left<'_>) -> Result<(), Error> {
    let columns = Columns::of(line);
    let row = (WRITE, columns.parameters(line));
    let draws = !tx.is_rehearsal();
    let message = news.map(|news| outbox::call(&line.id, &columns.scope, news, &draws));
    let last = calls([row, left.call()].into_iter().chain(message).collect());
    Ok(tx.commit_after(&last).await?)
}

/// The function that writes a row.
const WRITE: &str = "loader_write_delivery";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A line's values, as the ledger's columns have them.
struct Columns {
    size: i64,
    modified: f64,
    scope: i64,
    kind: &'static str,
    status: &'static str,
    counts: [i64; 6],
}

impl Columns {
    fn of(line: &Line<'_>) -> Self {
        let listed = &line.object.listed;
        let Counts { create, amend, remove, unchanged, rejected } = line.counts;
        Self {
            size: listed.size as i64,
            modified: listed.modified as f64,
            scope: line.feed.id(),
            kind: line.pending.file.as_str(),
            status: line.status.as_str(),
            counts: [line.rows_read, create, amend, remove, unchanged, rejected].map(|count| count as i64),
        }
    }

    fn parameters<'a>(&'a self, line: &'a Line<'_>) -> Vec<Parameter<'a>> {
        let (listed, entity, counts) = (&line.object.listed, &line.pending.entity, &self.counts);
        vec![
            (&line.id, Type::INT8),
            (&line.feed.bucket, Type::TEXT),
            (&listed.key, Type::TEXT),
            (&listed.etag, Type::TEXT),
            (&self.size, Type::INT8),
            (&self.modified, Type::FLOAT8),
            (&entity.schema, Type::TEXT),
            (&entity.name, Type::TEXT),
            (&self.kind, Type::TEXT),
            (&line.pending.generation, Type::INT4),
            (&self.status, Type::TEXT),
            (&counts[0], Type::INT8),
            (&counts[1], Type::INT8),
            (&counts[2], Type::INT8),
            (&counts[3], Type::INT8),
            (&counts[4], Type::INT8),
            (&counts[5], Type::INT8),
            (&line.claimed, Type::JSON),
            (&line.max_event_id, Type::INT8),
            (&line.started_at, Type::FLOAT8),
            (&line.host, Type::TEXT),
            (&VERSION, Type::TEXT),
            (&line.error, Type::TEXT),
            (&line.actor, Type::TEXT),
            (&line.reason, Type::TEXT),
            (&self.scope, Type::INT8),
            (&line.revision, Type::INT8),
            (&line.content, Type::BYTEA),
        ]
    }
}

/// Records in the rows of older versions of the object that this row replaces them.
async fn replace(tx: &Tx, line: &Line<'_>) -> Result<(), Error> {
    let sql = "update public.loader_deliveries set superseded_by = $1
        where id = any($2) and superseded_by is null and (status = 'skipped' or (status = 'loaded' and $3))";
    let loaded = line.status == Status::Loaded;
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&line.id, Type::INT8), (&line.object.replaces, Type::INT8_ARRAY), (&loaded, Type::BOOL)];
    tx.execute_typed(sql, &parameters).await.map_err(|error| tx.error(error))?;
    Ok(())
}

/// Returns all ledger rows of a feed, in key order.
pub async fn entries(tx: Tx, feed: &Feed) -> Result<impl Stream<Item = Result<Entry, Error>> + use<>, Error> {
    let parameters: [(i64, Type); 1] = [(feed.id(), Type::INT8)];
    let rows = tx.query_typed_raw(include_str!("ledger_entries.sql"), parameters).await;
    let rows = Box::pin(rows.map_err(|error| tx.error(error))?);
    Ok(futures_util::stream::unfold(Some((tx, rows)), step))
}

type Open = (Tx, std::pin::Pin<Box<RowStream>>);

/// Returns the next row and ends the transaction after the last one.
async fn step(open: Option<Open>) -> Option<(Result<Entry, Error>, Option<Open>)> {
    let (tx, mut rows) = open?;
    match rows.next().await {
        Some(Ok(row)) => Some((entry(&row), Some((tx, rows)))),
        Some(Err(error)) => Some((Err(tx.error(error).into()), None)),
        None => {
            drop(rows);
            tx.rollback().await.err().map(|error| (Err(error.into()), None))
        }
    }
}

/// Parses a row of `ledger_entries.sql`, by column position, because there may be a million rows.
fn entry(row: &Row) -> Result<Entry, Error> {
    let status: &str = row.get(6);
    Ok(Entry {
        id: row.get(0),
        key: row.get(1),
        etag: row.get(2),
        modified: row.get(3),
        file: if row.get::<_, &str>(4) == "snapshot" { File::Snapshot } else { File::Changes },
        generation: row.get(5),
        status: Status::parse(status).ok_or(Error::Garbled)?,
        requested: match row.get::<_, Option<&str>>(7) {
            Some("release") => Some(Request::Release),
            other => other.map(|_| Request::Retry),
        },
        superseded_by: row.get(8),
        superseded: row.get(9),
        reload: row.get(10),
        only_added: row.get(11),
        revision: row.get(12),
        occurrence: row.get(13),
        size: row.get::<_, i64>(14) as u64,
        content: row.get::<_, Option<&[u8]>>(15).and_then(|content| content.try_into().ok()),
        same: row.get(16),
        contained: row.get(17),
    })
}

/// Identity of one attempt at a delivery.
#[derive(Debug, Clone, Copy)]
pub struct Sign {
    pub id: i64,
    pub revision: i64,
    /// Seconds since 1970.
    pub started_at: f64,
}

/// Returns `true` if the last loaded file of the delivery's kind had an operation column.
pub async fn had_op(tx: &Tx, feed: &Feed, pending: &Pending) -> Result<Option<bool>, Error> {
    let (scope, kind) = (feed.id(), pending.file.as_str());
    let mut parameters = one_table(&scope, pending);
    parameters.push((&kind, Type::TEXT));
    let row = tx.query_typed_opt(include_str!("ledger_had_op.sql"), &parameters).await;
    Ok(row.map_err(|error| tx.error(error))?.and_then(|row| row.get(0)))
}

/// Returns the parameters that select the ledger rows of one table: `$1` to `$3`.
fn one_table<'a>(scope: &'a i64, pending: &'a Pending) -> Vec<Parameter<'a>> {
    let entity = &pending.entity;
    vec![(scope, Type::INT8), (&entity.schema, Type::TEXT), (&entity.name, Type::TEXT)]
}

/// Returns `true` if the ledger has the delivery as loaded by this very try, and not by another loader's.
pub async fn is_loaded(tx: &Tx, sign: &Sign, host: &str) -> Result<bool, Error> {
    let sql = "select exists (
        select from public.loader_deliveries
        where id = $1 and status = 'loaded' and revision = $2 and host = $3 and started_at = to_timestamp($4)
    )";
    let parameters: [(&(dyn ToSql + Sync), Type); 4] =
        [(&sign.id, Type::INT8), (&sign.revision, Type::INT8), (&host, Type::TEXT), (&sign.started_at, Type::FLOAT8)];
    let row = tx.query_typed_one(sql, &parameters).await;
    Ok(row.map_err(|error| tx.error(error))?.get(0))
}

/// Copies counts and commit time from the row of the loaded version that has the same bytes.
pub async fn take_over(tx: &Tx, id: i64, before: i64) -> Result<(), Error> {
    let sql = "update public.loader_deliveries n
        set rows_read = o.rows_read, rows_rejected = o.rows_rejected, claimed = o.claimed, committed_at = o.committed_at,
            content_hash = coalesce(n.content_hash, o.content_hash)
        from public.loader_deliveries o where n.id = $1 and o.id = $2";
    let taken = tx.execute_typed(sql, &[(&id, Type::INT8), (&before, Type::INT8)]).await;
    taken.map_err(|error| tx.error(error))?;
    Ok(())
}

/// Moves a part of an older generation, which was not rewritten, into the new generation.
pub async fn carry_over(tx: &Tx, id: i64, generation: i32) -> Result<(), Error> {
    let sql = "update public.loader_deliveries set generation = $2 where id = $1 and generation <> $2";
    let carried = tx.execute_typed(sql, &[(&id, Type::INT8), (&generation, Type::INT4)]).await;
    carried.map_err(|error| tx.error(error))?;
    Ok(())
}

/// Notes which rows' versions are not listed any more, or are again.
pub async fn close(tx: &Tx, table: &TablePlan) -> Result<(), Error> {
    let statements = [
        (include_str!("ledger_supersede.sql"), &table.superseded),
        (include_str!("ledger_gone.sql"), &table.gone),
        (include_str!("ledger_revive.sql"), &table.revived),
    ];
    for (sql, ids) in statements.into_iter().filter(|(_, ids)| !ids.is_empty()) {
        tx.execute_typed(sql, &[(ids, Type::INT8_ARRAY)]).await.map_err(|error| tx.error(error))?;
    }
    Ok(())
}

/// Returns the number of rows that a held snapshot would have removed, if its release was requested. Returns `None`
/// if the snapshot was held before its rows were compared; it is then guarded like any other.
pub async fn released(tx: &Tx, pending: &Pending) -> Result<Option<u64>, Error> {
    let ids: Vec<i64> = pending.objects.iter().filter_map(|object| object.entry).collect();
    if ids.is_empty() || pending.file == File::Changes {
        return Ok(None);
    }
    let sql = "select max(rows_remove) from public.loader_deliveries where id = any($1) and requested = 'release'";
    let row = tx.query_typed_one(sql, &[(&ids, Type::INT8_ARRAY)]).await.map_err(|error| tx.error(error))?;
    Ok(row.get::<_, Option<i64>>(0).and_then(|shown| u64::try_from(shown).ok()).filter(|shown| *shown > 0))
}
