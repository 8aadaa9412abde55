//! Verifies that a table is what its files define: the files that the ledger names are read and folded again, and the
//! table is compared with the result.
//!
//! Ledger and table are read as of one moment, in a read-only transaction; no lease is taken and no writer is
//! blocked. A file must still be as it was when it was loaded; otherwise it is reported as not comparable.

use std::mem;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::catalog::Table;
use super::compare::{Compare, Comparison};
use super::null_rule::{self, NullDecision};
use super::refold::Refold;
use super::rejects::Rejects;
use super::row_pipeline::{self, BatchSender, Plan, RowPipeline, Stopped, Summary};
use super::server_cast::convert_into;
use super::settings::Share;
use super::table_cursor::TableCursor;
use super::{Error, Target};
use crate::decode::dialect::Dialect;
use crate::decode::{File, NullRule, Nulls, Parts, Rows, Shape, Watching};
use crate::pg::Tx;
use crate::source::{Entity, Listed, Loaded};

/// Result of looking up a table to verify.
pub enum Found {
    Verification(Box<Verification>),
    /// The ledger has no loaded file of it.
    Nothing,
    /// The target has no such table.
    NoTable,
    /// The folder names a table that is never loaded.
    Reserved,
}

/// A table at one moment, and the files that made it.
pub struct Verification {
    tx: Tx,
    table: Arc<Table>,
    entity: Entity,
    pub generation: i32,
    /// Loaded files of the newest generation.
    pub files: Vec<Loaded>,
    /// Number of files of the generation that an operator skipped.
    pub skipped: u64,
    refold: Refold,
    /// Rejected rows whose keys cannot be read.
    pub blind: u64,
    /// Storage of the table and its partitions.
    stored: String,
    /// Rule for null with which the files were loaded.
    nulls: Option<NullDecision>,
}

impl Target {
    /// Opens a table and its part of the ledger as they are now.
    pub async fn verification(&self, entity: &Entity) -> Result<Found, Error> {
        let tx = self.pg.begin("verify").await?;
        // the session is idle while files are read
        let sql = "set transaction isolation level repeatable read, read only;
            set local idle_in_transaction_session_timeout = 0";
        tx.batch_execute(sql).await.map_err(|error| tx.error(error))?;
        let files = self.loaded(&tx, entity).await?;
        let Some((generation, files)) = files else { return nothing(tx, Found::Nothing).await };
        let found = Table::find(&tx, None, entity, self.settings.schema.as_deref()).await?;
        let Some(table) = found.map(Arc::new) else {
            let reserved = self.is_reserved(entity);
            return nothing(tx, if reserved { Found::Reserved } else { Found::NoTable }).await;
        };
        let changes = files.iter().any(|file| file.file == File::Changes);
        table.check(if changes { File::Changes } else { File::Snapshot })?;
        let skipped = self.skipped(&tx, entity, generation).await?;
        // savepoint for the case that Postgres refuses a value
        tx.mark().await?;
        let stored = stored(&tx, table.oid).await?;
        let refold = Refold::new(table.clone());
        let nulls = null_rule::known(&tx, &self.feed, entity).await?.decision;
        let entity = entity.clone();
        let verification =
            Verification { tx, table, entity, generation, files, skipped, refold, blind: 0, stored, nulls };
        Ok(Found::Verification(Box::new(verification)))
    }

    async fn loaded(&self, tx: &Tx, entity: &Entity) -> Result<Option<(i32, Vec<Loaded>)>, Error> {
        let scope = self.feed.id();
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&scope, Type::INT8), (&entity.schema, Type::TEXT), (&entity.name, Type::TEXT)];
        let rows = tx.query_typed(include_str!("verify_files.sql"), &parameters).await;
        let rows = rows.map_err(|error| tx.error(error))?;
        Ok(rows.first().map(|row| (row.get("generation"), rows.iter().map(loaded).collect())))
    }

    async fn skipped(&self, tx: &Tx, entity: &Entity, generation: i32) -> Result<u64, Error> {
        let sql = "select count(*) from public.loader_deliveries
            where scope = $1 and schema_name = $2 and entity = $3 and generation = $4 and status = 'skipped' and actor is distinct from 'loader'";
        let scope = self.feed.id();
        let parameters: [(&(dyn ToSql + Sync), Type); 4] =
            [(&scope, Type::INT8), (&entity.schema, Type::TEXT), (&entity.name, Type::TEXT), (&generation, Type::INT4)];
        let row = tx.query_typed_one(sql, &parameters).await.map_err(|error| tx.error(error))?;
        Ok(row.get::<_, i64>(0) as u64)
    }
}

/// Parses a row of `verify_files.sql`.
fn loaded(row: &Row) -> Loaded {
    let number = |name: &str| row.get::<_, Option<i64>>(name).unwrap_or(0) as u64;
    let has_op: bool = row.get("has_op");
    Loaded {
        id: row.get("id"),
        file: if row.get::<_, &str>("kind") == "snapshot" { File::Snapshot } else { File::Changes },
        listed: Listed {
            key: row.get("object_key"),
            etag: row.get("etag"),
            size: number("size_bytes"),
            modified: row.get("modified"),
        },
        rows_read: number("rows_read"),
        rows_rejected: number("rows_rejected"),
        claimed: has_op.then(|| [number("inserts"), number("updates"), number("deletes")]),
        attempts: row.get("attempts"),
        committed: row.get("committed"),
    }
}

/// Ends a transaction that has nothing to compare.
async fn nothing(tx: Tx, found: Found) -> Result<Found, Error> {
    tx.rollback().await?;
    Ok(found)
}

/// Returns the server's files of the table and its partitions, as they are now and not as this transaction sees them.
/// The query locks the partitions; going back to the savepoint releases the locks, so that other sessions do not
/// wait.
async fn stored(tx: &Tx, oid: u32) -> Result<String, Error> {
    let sql = "select pg_catalog.string_agg(pg_catalog.format('%s %s', part, pg_catalog.pg_relation_filenode(part)), ',' order by part)
        from (select $1 as part union select relid::oid from pg_catalog.pg_partition_tree($1)) parts";
    let row = tx.query_typed_one(sql, &[(&oid, Type::OID)]).await.map_err(|error| tx.error(error))?;
    tx.back_to_mark().await?;
    Ok(row.get(0))
}

impl Verification {
    /// Returns the format of a file's rows as it was when the file was loaded.
    pub fn shape(&self, file: &Loaded, dialect: &Dialect) -> Shape {
        let nulls = match (NullRule::given(dialect), &self.nulls) {
            (Some(rule), _) => NullDecision::given(rule).nulls(false),
            (None, Some(decision)) => Nulls { rule: decision.rule.clone(), watch: Watching::Off },
            (None, None) => Nulls::default(),
        };
        Shape {
            nulls,
            file: file.file,
            columns: self.table.shape(),
            generated: self.table.generated.clone(),
            table: (self.entity.schema.clone(), self.entity.name.clone()),
            dialect: dialect.clone(),
            had_op: (file.rows_read > 0).then_some(file.claimed.is_some()),
            keep_raw: file.rows_rejected > 0,
        }
    }

    /// Reads the next file in feed order. Gives what is not as it was when it was loaded: then nothing can be proved.
    pub async fn read<P>(&mut self, file: &Loaded, rows: Rows<P>) -> Result<Option<String>, Error>
    where
        P: Parts + Send + 'static,
        P::Bytes: Send,
    {
        let quarantine = || Rejects::new(vec![true], Share::Percent(100.0));
        let rejects = (file.rows_rejected > 0).then(quarantine);
        let summary = match self.table.asks() {
            true => self.ask(rows, rejects.as_ref()).await?,
            false => self.take(rows, rejects.clone()).await?,
        };
        let tally = rejects.as_ref().map(Rejects::tally).unwrap_or_default();
        if file.file == File::Snapshot {
            self.blind += tally.blind;
        }
        Ok(unlike(file, &summary, tally.total()))
    }

    async fn take<P>(&mut self, rows: Rows<P>, rejects: Option<Rejects>) -> Result<Summary, Error>
    where
        P: Parts + Send + 'static,
        P::Bytes: Send,
    {
        let (table, mut refold) = (self.table.clone(), self.lend());
        let reading = move || {
            let plan = Plan { table: &table, event_id: "", rejects: rejects.as_ref(), leaves: true, loaded: &[] };
            let read = row_pipeline::read_into(rows, &plan, &mut refold);
            (refold, read)
        };
        let (refold, read) = tokio::task::spawn_blocking(reading).await.map_err(|_| Error::Panicked)?;
        self.refold = refold;
        read.map_err(error_of)
    }

    /// Reads rows with cells that Postgres must convert.
    async fn ask<P>(&mut self, rows: Rows<P>, rejects: Option<&Rejects>) -> Result<Summary, Error>
    where
        P: Parts + Send + 'static,
        P::Bytes: Send,
    {
        let mut refold = self.lend();
        let plan = Plan { table: &self.table, event_id: "", rejects, leaves: true, loaded: &[] };
        let (sender, whole) = mpsc::channel(1);
        let folding = tokio::task::spawn_blocking(move || {
            let taken = refold.take_whole(whole);
            (refold, taken)
        });
        let asked = convert_into(&self.tx, &plan, RowPipeline::drafts(rows, &plan), &sender).await;
        drop(sender);
        let (refold, taken) = folding.await.map_err(|_| Error::Panicked)?;
        self.refold = refold;
        taken.map_err(error_of)?;
        asked
    }

    fn lend(&mut self) -> Refold {
        mem::replace(&mut self.refold, Refold::new(self.table.clone()))
    }

    /// Compares the table with the files' rows, keeping up to `keep` examples of each kind of difference. Returns
    /// `None` if the table was rewritten meanwhile, in which case it would look empty.
    pub async fn compare(self, keep: usize) -> Result<Option<Comparison>, Error> {
        let Self { tx, table, refold, files, stored: before, .. } = self;
        let (sender, mut intake) = RowPipeline::channel();
        tokio::task::spawn_blocking(move || refold.finish(BatchSender::new(sender)));
        let whole = files.iter().any(|file| file.file == File::Snapshot);
        let mut compare = Compare::new(&table, whole, keep);
        // the server sorts while it is sorted here
        let (next, current) = tokio::join!(intake.next(), TableCursor::whole(&tx, &table));
        let (mut next, mut current) = (next?, current?);
        while let Some(batch) = next {
            for wanted in batch.rows() {
                compare.want(wanted, &mut current).await?;
            }
            next = intake.next().await?;
        }
        compare.rest(&mut current).await?;
        drop(current);
        let comparison = compare.judge(&tx).await?;
        let after = stored(&tx, table.oid).await?;
        tx.rollback().await?;
        Ok((before == after).then_some(comparison))
    }
}

/// Describes a difference to the state of the file when it was loaded.
fn unlike(file: &Loaded, now: &Summary, rejected: u64) -> Option<String> {
    let read: u64 = now.read.iter().sum();
    let claimed = now.claimed.as_ref().and_then(|parts| parts.first().copied());
    let claims = file.file == File::Snapshot || file.rows_read == 0 || claimed == file.claimed;
    if read == file.rows_read && rejected == file.rows_rejected && claims {
        return None;
    }
    Some(format!(
        "{} is read otherwise than when it was loaded: {} rows and {} rejected then, {read} and {rejected} now; FEED or the \
         table's columns are not what they were",
        file.listed.key, file.rows_read, file.rows_rejected
    ))
}

fn error_of(halt: Stopped) -> Error {
    match halt {
        Stopped::Error(error) => error,
        Stopped::Hangup => Error::Panicked,
    }
}
