//! Reads the table's present rows as tuples in key order: all rows by binary `COPY`, or the rows with given keys by a
//! query.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio_postgres::{CopyOutStream, Row, RowStream};

use super::catalog::Table;
use super::server_cast::Raw;
use super::unnest::UnnestParams;
use super::{Error, sql, tuple};
use crate::pg::Tx;

/// The whole table, or the rows of some keys; one row at hand at a time.
pub struct TableCursor<'a> {
    tx: &'a Tx,
    table: &'a Table,
    from: From,
    /// The row at hand, its sort key, and where there is no key its address.
    row: Vec<u8>,
    key: Vec<u8>,
    address: Vec<u8>,
    at_end: bool,
}

enum From {
    Copy { stream: Pin<Box<CopyOutStream>>, rest: Bytes },
    Query(Pin<Box<RowStream>>),
}

impl<'a> TableCursor<'a> {
    /// Opens a cursor over all rows of the table.
    pub async fn whole(tx: &'a Tx, table: &'a Table) -> Result<Self, Error> {
        let stream = tx.copy_out(&sql::copy_out(table)).await.map_err(|error| tx.error(error))?;
        let mut stream = Box::pin(stream);
        // the header comes first, alone or with the first row
        let mut rest = stream.next().await.transpose().map_err(|error| tx.error(error))?.unwrap_or_default();
        if !rest.starts_with(tuple::HEADER) {
            return Err(Error::Garbled);
        }
        let rest = rest.split_off(tuple::HEADER.len());
        Self::begin(tx, table, From::Copy { stream, rest }).await
    }

    /// Opens a cursor over the rows with the given keys.
    pub async fn of_keys(tx: &'a Tx, table: &'a Table, keys: &UnnestParams) -> Result<Self, Error> {
        let rows = tx.query_typed_raw(&sql::rows_of_keys(table, &keys.source()), keys.parameters()).await;
        let rows = Box::pin(rows.map_err(|error| tx.error(error))?);
        Self::begin(tx, table, From::Query(rows)).await
    }

    async fn begin(tx: &'a Tx, table: &'a Table, from: From) -> Result<Self, Error> {
        let mut current =
            Self { tx, table, from, row: Vec::new(), key: Vec::new(), address: Vec::new(), at_end: false };
        current.advance().await?;
        Ok(current)
    }

    /// Returns key and tuple of the current row, or `None` after the last one.
    pub fn row(&self) -> Option<(&[u8], &[u8])> {
        (!self.at_end).then_some((&self.key, &self.row))
    }

    /// Returns the address of the current row as a tuple; only for a table without a key.
    pub fn address(&self) -> &[u8] {
        &self.address
    }

    /// Steps to the next row.
    pub async fn advance(&mut self) -> Result<(), Error> {
        self.row.clear();
        self.key.clear();
        self.at_end = !self.read().await?;
        if !self.at_end {
            if self.table.is_keyless() {
                split_address(&mut self.row, &mut self.address);
            }
            self.table.sort_key(&self.row, &mut self.key);
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<bool, Error> {
        match &mut self.from {
            From::Copy { stream, rest } => {
                while rest.is_empty() {
                    match stream.next().await {
                        Some(message) => *rest = message.map_err(|error| self.tx.error(error))?,
                        None => return Ok(false),
                    }
                }
                // Postgres sends a message per row; the trailer has no row
                let message = std::mem::take(rest);
                if message == tuple::TRAILER.as_slice() {
                    return Ok(false);
                }
                self.row.extend_from_slice(&message);
                Ok(true)
            }
            From::Query(rows) => match rows.next().await {
                Some(row) => {
                    let row = row.map_err(|error| self.tx.error(error))?;
                    append(&row, &mut self.row).map_err(|error| self.tx.error(error))?;
                    Ok(true)
                }
                None => Ok(false),
            },
        }
    }
}

/// Splits a row that begins with its address into two tuples.
fn split_address(row: &mut Vec<u8>, address: &mut Vec<u8>) {
    address.clear();
    tuple::begin(2, address);
    let cells = tuple::cells(row).count();
    tuple::cells(row).take(2).for_each(|cell| address.extend_from_slice(cell.0));
    row.drain(..address.len());
    let mut rest = Vec::with_capacity(row.len() + 2);
    tuple::begin(cells - 2, &mut rest);
    rest.append(row);
    *row = rest;
}

/// Appends a result row as a tuple.
pub fn append(row: &Row, out: &mut Vec<u8>) -> Result<(), tokio_postgres::Error> {
    tuple::begin(row.len(), out);
    for column in 0..row.len() {
        match row.try_get::<_, Option<Raw<'_>>>(column)? {
            None => tuple::null(out),
            Some(Raw(value)) => tuple::value(value, out),
        }
    }
    Ok(())
}
