//! Compares a table with the content that its files define, for `verify`. Both sides come in key order and are merged
//! row by row.
//!
//! Counts are exact; only a few examples are kept. Rows whose bytes differ go to a spool, and Postgres decides which
//! of them differ by their types' equality, and in which columns. Nothing is written.

use std::cmp::Ordering;

use tokio_postgres::Row;

use super::batch::{RowAction, Wanted};
use super::catalog::Table;
use super::key_display::{self, Key};
use super::spool::Spool;
use super::table_cursor::TableCursor;
use super::unnest::UnnestParams;
use super::{Error, sql, tuple};
use crate::pg::Tx;

/// A row that both have, and the columns in which it differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Different {
    pub key: Key,
    pub columns: Vec<String>,
}

/// Result of comparing a table with its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The names of the key's columns; none for a table whose rows only count as whole rows.
    pub key: Vec<String>,
    /// Rows of the table.
    pub rows: u64,
    /// Number of rows that the files have and the table lacks.
    pub missing: u64,
    /// Number of rows that the table has and the files lack.
    pub extra: u64,
    pub different: u64,
    /// Number of rows in which a column differs, for each column that differs.
    pub columns: Vec<(String, u64)>,
    /// The first of each.
    pub some_missing: Vec<Key>,
    pub some_extra: Vec<Key>,
    pub some_different: Vec<Different>,
    /// Number of cells that no file supplied, by column. Their values are column defaults, or were written by others.
    pub untold: Vec<(String, u64)>,
    /// Rows of the table whose keys only a rejected row names.
    pub rejected: u64,
    /// Number of the table's rows that no file names. Without a full load, it is unknown whether they belong there.
    pub unnamed: u64,
}

impl Comparison {
    pub fn is_equal(&self) -> bool {
        self.missing + self.extra + self.different == 0
    }

    /// Returns the number of the table's rows that were compared with the files.
    pub fn compared(&self) -> u64 {
        self.rows.saturating_sub(self.unnamed + self.rejected)
    }

    /// Returns the reason for which an empty list of differences proves nothing: the table has rows, and none of them
    /// was compared.
    pub fn proves_nothing(&self) -> Option<&'static str> {
        if !self.is_equal() || self.rows == 0 || self.compared() > 0 {
            return None;
        }
        Some(match (self.unnamed, self.rejected) {
            (0, _) => "no row of the table is named by a file, except by rejected rows",
            (_, 0) => "there never was a full load, and no row of the table is named by a file",
            _ => "there never was a full load, and no row of the table is named by a file, except by rejected rows",
        })
    }
}

/// A comparison under way.
pub struct Compare<'a> {
    table: &'a Table,
    /// `true` if all rows of the table must be in the files.
    whole: bool,
    keep: usize,
    found: Comparison,
    missing: Vec<Vec<u8>>,
    extra: Vec<Vec<u8>>,
    /// Rows whose bytes differ.
    doubtful: Spool,
    untold: Vec<u64>,
    /// Reused.
    scratch: Vec<u8>,
}

impl<'a> Compare<'a> {
    /// Creates a comparison that keeps up to `keep` examples of each kind.
    pub fn new(table: &'a Table, whole: bool, keep: usize) -> Self {
        let key = table.key.iter().map(|column| table.columns[*column].name.clone()).collect();
        let (found, untold) = (Comparison { key, ..Comparison::default() }, vec![0; table.columns.len()]);
        let (missing, extra, doubtful, scratch) = (Vec::new(), Vec::new(), Spool::default(), Vec::new());
        Self { table, whole, keep, found, missing, extra, doubtful, untold, scratch }
    }

    /// Takes the last word on one key.
    pub async fn want(&mut self, wanted: Wanted<'_>, current: &mut TableCursor<'_>) -> Result<(), Error> {
        while let Some((key, row)) = current.row() {
            match key.cmp(wanted.key) {
                Ordering::Greater => break,
                Ordering::Less => self.unnamed(row, current.address()),
                Ordering::Equal => {
                    self.found.rows += 1;
                    self.meet(wanted, row, current.address())?;
                    return current.advance().await;
                }
            }
            self.found.rows += 1;
            current.advance().await?;
        }
        if is_there(wanted.wish) {
            self.found.missing += 1;
            if !self.table.is_keyless() && self.missing.len() < self.keep {
                self.missing.push(self.key_of(wanted.tuple));
            }
        }
        Ok(())
    }

    /// Counts the table's rows behind the last key that the files name.
    pub async fn rest(&mut self, current: &mut TableCursor<'_>) -> Result<(), Error> {
        while let Some((_, row)) = current.row() {
            self.unnamed(row, current.address());
            self.found.rows += 1;
            current.advance().await?;
        }
        Ok(())
    }

    fn meet(&mut self, wanted: Wanted<'_>, row: &[u8], address: &[u8]) -> Result<(), Error> {
        match wanted.wish {
            RowAction::Leave => self.found.rejected += 1,
            wish if !is_there(wish) => self.extra(row, address),
            _ if self.table.is_keyless() || wanted.tuple == row => {}
            _ if wanted.holes => {
                self.scratch.clear();
                tuple::fill(wanted.tuple, row, &mut self.scratch);
                let holes = self.untold.iter_mut().zip(tuple::cells(wanted.tuple));
                holes.for_each(|(count, cell)| *count += u64::from(cell.is_hole()));
                if self.scratch != row {
                    self.doubtful.push(&self.scratch)?;
                }
            }
            _ if self.table.key.len() == self.table.columns.len() => {}
            _ => self.doubtful.push(wanted.tuple)?,
        }
        Ok(())
    }

    fn unnamed(&mut self, row: &[u8], address: &[u8]) {
        match self.whole {
            true => self.extra(row, address),
            false => self.found.unnamed += 1,
        }
    }

    fn extra(&mut self, row: &[u8], address: &[u8]) {
        self.found.extra += 1;
        if self.extra.len() < self.keep {
            let which = if self.table.is_keyless() { address.to_vec() } else { self.key_of(row) };
            self.extra.push(which);
        }
    }

    fn key_of(&self, row: &[u8]) -> Vec<u8> {
        let mut key = Vec::new();
        tuple::pick(row, &self.table.key, &mut key);
        key
    }

    /// Asks Postgres about what is in doubt, and how the keys are written.
    pub async fn judge(mut self, tx: &Tx) -> Result<Comparison, Error> {
        let mut differ = vec![0; self.table.columns.len()];
        let mut rows = UnnestParams::new(self.table, 0..self.table.columns.len());
        let mut tuples = std::mem::take(&mut self.doubtful).into_reader()?;
        let mut row = Vec::new();
        while tuple::read(&mut tuples, &mut row)? {
            rows.push(&row);
            if rows.is_full() {
                self.differences(tx, &mut rows, &mut differ).await?;
            }
        }
        self.differences(tx, &mut rows, &mut differ).await?;
        let table = self.table;
        self.found.some_missing = key_display::keys(tx, table, &self.missing).await?;
        self.found.some_extra = match table.is_keyless() {
            true => key_display::addresses(tx, &self.extra).await?,
            false => key_display::keys(tx, table, &self.extra).await?,
        };
        let named = |counts: &[u64]| {
            let all = table.columns.iter().zip(counts).filter(|(_, count)| **count > 0);
            all.map(|(column, count)| (column.name.clone(), *count)).collect::<Vec<_>>()
        };
        (self.found.columns, self.found.untold) = (named(&differ), named(&self.untold));
        Ok(self.found)
    }

    async fn differences(&mut self, tx: &Tx, rows: &mut UnnestParams, differ: &mut [u64]) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let answers = tx.query_typed(&sql::differences(self.table, &rows.source()), &rows.parameters()).await;
        for answer in answers.map_err(|error| tx.error(error))? {
            self.different(&answer, differ);
        }
        rows.clear();
        Ok(())
    }

    /// Records a row of the answer to `sql::differences`.
    fn different(&mut self, answer: &Row, differ: &mut [u64]) {
        let table = self.table;
        let width = table.key.len();
        let others = (0..table.columns.len()).filter(|column| !table.key.contains(column));
        let columns: Vec<usize> = others
            .enumerate()
            .filter(|(place, _)| answer.get::<_, bool>(width + place))
            .map(|(_, column)| column)
            .collect();
        columns.iter().for_each(|column| differ[*column] += 1);
        self.found.different += 1;
        if self.found.some_different.len() < self.keep {
            let names = columns.iter().map(|column| table.columns[*column].name.clone()).collect();
            self.found.some_different.push(Different { key: key_display::key(answer, width), columns: names });
        }
    }
}

/// Returns `true` if a row with this last action exists in the table.
fn is_there(wish: RowAction) -> bool {
    matches!(wish, RowAction::Put | RowAction::Fresh | RowAction::Here)
}
