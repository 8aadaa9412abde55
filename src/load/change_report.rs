//! Reports in detail what a delivery does to its table, for `plan` and `run --plan`: the columns that change and how
//! often, sample keys, and a digest of all that is written.
//!
//! The report is collected only on request; an ordinary run does not pay for it. Rows and cells differ if Postgres
//! says so, as when they are written.

use std::io;

use sha2::{Digest, Sha256};

use super::batch::{Batch, RowAction};
use super::catalog::Table;
use super::delta::Delta;
use super::parts::Parts;
use super::spool::Spool;
use super::table_cursor::TableCursor;
use super::unnest::UnnestParams;
use super::{Error, key_display, plan_fingerprint, sql, tuple};
use crate::pg::Tx;

/// Result of the report. Keys are the key columns' values as Postgres prints them, in the key's order; long values
/// are truncated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The key's columns; none in a table without one.
    pub key: Vec<String>,
    /// Columns that change, in the table's order, and in how many of the amended rows.
    pub columns: Vec<(String, u64)>,
    pub created: Vec<Vec<String>>,
    pub amended: Vec<Vec<String>>,
    pub removed: Vec<Vec<String>>,
    /// The same if the same is written: rows and keys, in their order.
    pub digest: String,
}

/// Looks while a delivery is applied.
pub struct ChangeReport {
    /// Maximum number of sample keys of each kind.
    most: usize,
    /// Number of changed rows for each column of the table.
    columns: Vec<u64>,
    created: Vec<Vec<u8>>,
    removed: Vec<Vec<u8>>,
    amended: Vec<Vec<String>>,
    /// Rows that get defaults, as they were: what they become is known when it is done.
    reset: Spool,
    digest: Sha256,
}

impl ChangeReport {
    pub fn new(most: usize) -> Self {
        let (columns, created, removed, amended) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { most, columns, created, removed, amended, reset: Spool::default(), digest: Sha256::new() }
    }

    /// Adds rows that are copied straight into an empty table.
    pub fn load(&mut self, batch: &Batch, table: &Table) {
        batch.rows().for_each(|wanted| self.digest.update(wanted.tuple));
        let room = self.most.saturating_sub(self.created.len());
        if room == 0 || table.is_keyless() {
            return;
        }
        let put = batch.rows().filter(|wanted| wanted.wish == RowAction::Put);
        self.created.extend(put.take(room).map(|wanted| picked(wanted.tuple, &table.key)));
    }

    /// Adds the delta that is about to be written.
    pub async fn before(&mut self, tx: &Tx, table: &Table, delta: &Delta) -> Result<(), Error> {
        self.digest(table, delta)?;
        if table.is_keyless() {
            return Ok(());
        }
        self.created.extend(first(&delta.creates, self.most)?.iter().map(|row| picked(row, &table.key)));
        let mut groups = delta.partial.groups()?;
        while let Some((columns, rows)) = groups.next_group()? {
            let key = places(table, &columns);
            let room = self.most.saturating_sub(self.created.len());
            self.created.extend(first(&rows, room)?.iter().map(|row| picked(row, &key)));
        }
        drop(groups);
        self.removed = first(&delta.removes, self.most)?;
        self.compare(tx, table, &delta.amends).await?;
        let mut groups = delta.resets.groups()?;
        while let Some((columns, rows)) = groups.next_group()? {
            self.keep(tx, table, &rows, &places(table, &columns)).await?;
        }
        Ok(())
    }

    /// Adds the delta to the digest. The removed rows of a table without a key are located by address, which is
    /// another one in a dry run, so only their number counts.
    fn digest(&mut self, table: &Table, delta: &Delta) -> Result<(), Error> {
        let (whole, parts) = ([&delta.creates, &delta.amends], [&delta.partial, &delta.resets]);
        let removes = Some(&delta.removes).filter(|_| !table.is_keyless());
        for (kind, rows) in whole.into_iter().chain(removes).enumerate() {
            self.note(kind, &[], rows)?;
        }
        parts.into_iter().enumerate().try_for_each(|(kind, parts)| self.note_parts(kind, parts))
    }

    fn note_parts(&mut self, kind: usize, parts: &Parts) -> Result<(), Error> {
        let mut groups = parts.groups()?;
        while let Some((columns, rows)) = groups.next_group()? {
            self.note(kind, &columns, &rows)?;
        }
        Ok(())
    }

    fn note(&mut self, kind: usize, columns: &[usize], rows: &Spool) -> Result<(), Error> {
        self.digest.update(format!("{kind}{columns:?}"));
        let (mut tuples, mut row) = (rows.reader()?, Vec::new());
        while tuple::read(&mut tuples, &mut row)? {
            self.digest.update(&row);
        }
        Ok(())
    }

    /// Adds what has been written. How rows that got defaults differ is known only afterwards.
    pub async fn after(&mut self, tx: &Tx, table: &Table) -> Result<(), Error> {
        let reset = std::mem::take(&mut self.reset);
        self.compare(tx, table, &reset).await
    }

    /// Asks Postgres how its rows differ from these.
    async fn compare(&mut self, tx: &Tx, table: &Table, rows: &Spool) -> Result<(), Error> {
        let mut arrays = UnnestParams::new(table, 0..table.columns.len());
        let (mut tuples, mut row) = (rows.reader()?, Vec::new());
        while tuple::read(&mut tuples, &mut row)? {
            arrays.push(&row);
            if arrays.is_full() {
                self.ask(tx, table, &mut arrays).await?;
            }
        }
        self.ask(tx, table, &mut arrays).await
    }

    async fn ask(&mut self, tx: &Tx, table: &Table, rows: &mut UnnestParams) -> Result<(), Error> {
        let source = rows.source();
        let Some(sql) = sql::differing(table, &source).filter(|_| !rows.is_empty()) else { return Ok(()) };
        let counts = tx.query_typed_one(&sql, &rows.parameters()).await.map_err(|error| tx.error(error))?;
        self.columns.resize(table.columns.len(), 0);
        let others = (0..table.columns.len()).filter(|column| !table.key.contains(column));
        for (place, column) in others.enumerate() {
            self.columns[column] += u64::try_from(counts.get::<_, i64>(place)).unwrap_or(0);
        }
        let room = self.most.saturating_sub(self.amended.len());
        if room > 0 {
            let keys = tx.query_typed(&sql::differing_keys(table, &source, room), &rows.parameters()).await;
            self.amended
                .extend(keys.map_err(|error| tx.error(error))?.iter().map(|row| key_display::key(row, row.len())));
        }
        rows.clear();
        Ok(())
    }

    /// Keeps the table's rows that have the keys of these rows.
    async fn keep(&mut self, tx: &Tx, table: &Table, rows: &Spool, key: &[usize]) -> Result<(), Error> {
        let mut keys = UnnestParams::new(table, table.key.iter().copied());
        let (mut tuples, mut row) = (rows.reader()?, Vec::new());
        while tuple::read(&mut tuples, &mut row)? {
            keys.push(&picked(&row, key));
            if keys.is_full() {
                self.fetch(tx, table, &mut keys).await?;
            }
        }
        self.fetch(tx, table, &mut keys).await
    }

    async fn fetch(&mut self, tx: &Tx, table: &Table, keys: &mut UnnestParams) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut current = TableCursor::of_keys(tx, table, keys).await?;
        while let Some((_, row)) = current.row() {
            self.reset.push(row)?;
            current.advance().await?;
        }
        keys.clear();
        Ok(())
    }

    /// Returns the whole report as text.
    pub async fn finish(self, tx: &Tx, table: &Table) -> Result<Seen, Error> {
        let named = table.columns.iter().map(|column| column.name.clone()).zip(self.columns);
        Ok(Seen {
            key: table.key.iter().map(|column| table.columns[*column].name.clone()).collect(),
            columns: named.filter(|(_, rows)| *rows > 0).collect(),
            created: key_display::keys(tx, table, &self.created).await?,
            amended: self.amended,
            removed: key_display::keys(tx, table, &self.removed).await?,
            digest: plan_fingerprint::short(&self.digest.finalize()),
        })
    }
}

/// Returns the positions of the key's columns in `columns`.
fn places(table: &Table, columns: &[usize]) -> Vec<usize> {
    table.key.iter().filter_map(|key| columns.iter().position(|column| column == key)).collect()
}

fn picked(row: &[u8], columns: &[usize]) -> Vec<u8> {
    let mut key = Vec::new();
    tuple::pick(row, columns, &mut key);
    key
}

/// Returns the first rows of a spool.
fn first(rows: &Spool, most: usize) -> io::Result<Vec<Vec<u8>>> {
    let (mut tuples, mut row, mut found) = (rows.reader()?, Vec::new(), Vec::new());
    while found.len() < most && tuple::read(&mut tuples, &mut row)? {
        found.push(row.clone());
    }
    Ok(found)
}
