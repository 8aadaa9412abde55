//! The difference between what a delivery wants and what the table holds: what to create, to amend and to remove.
//!
//! Both sides come in key order and are merged row by row; only what differs is kept, and nothing is written until all of
//! it is known. Postgres has the last word on "differs": a row sent as amended that is equal by its types' equality
//! (`1.0` and `1.00`) is not written and counts as unchanged.

use std::cmp::Ordering;
use std::io::Read;

use bytes::Bytes;
use futures_util::SinkExt;

use super::arrays::Arrays;
use super::catalog::Table;
use super::current::Current;
use super::intake::Wanted;
use super::spool::Spool;
use super::{Counts, Error, sql, tuple};
use crate::pg::Tx;

/// What is to be written, in spools.
#[derive(Default)]
pub struct Delta {
    creates: Spool,
    amends: Spool,
    removes: Spool,
    unchanged: u64,
    /// the tuple of a key to remove, reused
    key_tuple: Vec<u8>,
}

impl Delta {
    pub fn removes(&self) -> u64 {
        self.removes.count()
    }

    /// How many rows of the table were met.
    pub fn rows_met(&self) -> u64 {
        self.removes.count() + self.amends.count() + self.unchanged
    }

    /// Takes one wanted row. Rows of the table that come before it are not wanted any more.
    pub async fn want(&mut self, wanted: Wanted<'_>, current: &mut Current<'_>, table: &Table) -> Result<(), Error> {
        while let Some((key, row)) = current.row() {
            match key.cmp(wanted.key) {
                Ordering::Greater => break,
                Ordering::Less => self.remove(row, table)?,
                Ordering::Equal => {
                    self.meet(wanted, row, table)?;
                    return current.advance().await;
                }
            }
            current.advance().await?;
        }
        if wanted.put {
            self.creates.push(wanted.tuple)?;
        }
        Ok(())
    }

    /// The rows of the table after the last wanted one are not wanted either.
    pub async fn remove_rest(&mut self, current: &mut Current<'_>, table: &Table) -> Result<(), Error> {
        while let Some((_, row)) = current.row() {
            self.remove(row, table)?;
            current.advance().await?;
        }
        Ok(())
    }

    fn meet(&mut self, wanted: Wanted<'_>, row: &[u8], table: &Table) -> Result<(), Error> {
        if !wanted.put {
            self.remove(row, table)?;
        } else if wanted.tuple == row || table.key.len() == table.columns.len() {
            self.unchanged += 1;
        } else {
            self.amends.push(wanted.tuple)?;
        }
        Ok(())
    }

    fn remove(&mut self, row: &[u8], table: &Table) -> Result<(), Error> {
        self.key_tuple.clear();
        key_of(row, table, &mut self.key_tuple);
        Ok(self.removes.push(&self.key_tuple)?)
    }

    /// Writes it: removes first, so that what they free (a unique value) can be taken by the rest.
    pub async fn write(self, tx: &Tx, table: &Table) -> Result<Counts, Error> {
        let amends = self.amends.count();
        let remove = run(tx, &sql::delete(table), self.removes, Arrays::new(table, table.key.iter().copied())).await?;
        let all = Arrays::new(table, 0..table.columns.len());
        let amend = run(tx, &sql::update(table), self.amends, all).await?;
        let create = copy(tx, table, self.creates).await?;
        Ok(Counts { create, amend, remove, unchanged: self.unchanged + amends - amend })
    }
}

/// Appends the tuple of a row's key cells.
pub fn key_of(row: &[u8], table: &Table, out: &mut Vec<u8>) {
    tuple::begin(table.key.len(), out);
    for column in &table.key {
        if let Some(cell) = tuple::cells(row).nth(*column) {
            out.extend_from_slice(cell.0);
        }
    }
}

/// Runs a statement for all tuples of a spool, thousands at a time; the rows it affected.
async fn run(tx: &Tx, statement: &str, spool: Spool, mut arrays: Arrays) -> Result<u64, Error> {
    let mut affected = 0;
    let mut tuples = spool.into_reader()?;
    let mut row = Vec::new();
    while tuple::read(&mut tuples, &mut row)? {
        arrays.push(&row);
        if arrays.is_full() {
            affected += send(tx, statement, &mut arrays).await?;
        }
    }
    Ok(affected + send(tx, statement, &mut arrays).await?)
}

async fn send(tx: &Tx, statement: &str, arrays: &mut Arrays) -> Result<u64, Error> {
    if arrays.is_empty() {
        return Ok(0);
    }
    let affected = tx.execute_typed(statement, &arrays.parameters()).await.map_err(|error| tx.error(error))?;
    arrays.clear();
    Ok(affected)
}

/// Copies a spool's tuples into the table; the rows that arrived.
async fn copy(tx: &Tx, table: &Table, spool: Spool) -> Result<u64, Error> {
    if spool.count() == 0 {
        return Ok(0);
    }
    let mut rows = Rows::open(tx, table).await?;
    let mut reader = spool.into_reader()?;
    loop {
        let mut piece = vec![0; 64 << 10];
        match reader.read(&mut piece)? {
            0 => return rows.finish().await,
            count => piece.truncate(count),
        }
        rows.send(piece).await?;
    }
}

/// A binary `COPY` into the table.
pub struct Rows<'a> {
    tx: &'a Tx,
    sink: std::pin::Pin<Box<tokio_postgres::CopyInSink<Bytes>>>,
}

impl<'a> Rows<'a> {
    pub async fn open(tx: &'a Tx, table: &Table) -> Result<Self, Error> {
        let sink = tx.copy_in(&sql::copy_in(table)).await.map_err(|error| tx.error(error))?;
        let mut rows = Self { tx, sink: Box::pin(sink) };
        rows.send(tuple::HEADER.to_vec()).await?;
        Ok(rows)
    }

    pub async fn send(&mut self, tuples: Vec<u8>) -> Result<(), Error> {
        self.sink.send(tuples.into()).await.map_err(|error| self.tx.error(error).into())
    }

    pub async fn finish(mut self) -> Result<u64, Error> {
        self.send(tuple::TRAILER.to_vec()).await?;
        self.sink.as_mut().finish().await.map_err(|error| self.tx.error(error).into())
    }
}
