//! Encodes one row of a file as a tuple of the table with its sort key, or returns the reason for which it cannot be
//! loaded.

use std::sync::Arc;

use super::catalog::{Catalog, Table};
use super::encode::{self, ColumnEncoding, Refusal};
use super::tuple;
use crate::decode::cell::Cell;
use crate::decode::{Op, Row};

/// Reason for which a cell cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CellFault {
    #[error("null, and the column is not null")]
    Null,
    #[error("not supplied, and it is part of the key")]
    NoKey,
    #[error("not supplied; a table without a key takes whole rows")]
    NotWhole,
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The type's own input function refused it.
    #[error("no value of {type_name} ({code})")]
    ServerCast { type_name: String, code: String },
}

/// The column that is to blame, and why.
#[derive(Debug)]
pub struct Fault {
    pub column: usize,
    pub fault: CellFault,
}

/// Encodes rows for a table.
pub struct Encoder {
    table: Arc<Table>,
    is_key: Vec<bool>,
    /// `true` if Postgres must convert some cells, so that the sort key is not known yet.
    asks: bool,
    /// The column whose highest value is the delivery's `max_event_id`.
    event: Option<usize>,
    /// Start of each cell of the current row; the buffer is reused.
    starts: Vec<usize>,
}

impl Encoder {
    pub fn new(table: Arc<Table>, event_id: &str) -> Self {
        let is_key = (0..table.columns.len()).map(|column| table.key.contains(&column)).collect();
        Self { is_key, asks: table.asks(), event: event_column(&table, event_id), starts: Vec::new(), table }
    }

    pub fn column(&self, column: usize) -> &str {
        &self.table.columns[column].name
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    pub fn shared_table(&self) -> Arc<Table> {
        self.table.clone()
    }

    /// Appends the row's tuple and its sort key; whether the tuple has holes. After an error, nothing is appended.
    #[inline]
    pub fn row(&mut self, row: &Row<'_>, out: &mut Vec<u8>, key: &mut Vec<u8>) -> Result<bool, Fault> {
        let start = out.len();
        let holes = self.cells(row, out).inspect_err(|_| out.truncate(start))?;
        self.sort_key(out, start, key);
        Ok(holes)
    }

    fn cells(&mut self, row: &Row<'_>, out: &mut Vec<u8>) -> Result<bool, Fault> {
        tuple::begin(self.table.columns.len(), out);
        self.starts.clear();
        let (gone, mut holes) = (row.op == Op::Delete, false);
        for index in 0..self.table.columns.len() {
            self.starts.push(out.len());
            // a delete needs only its key; many sources log nothing else
            if gone && !self.is_key[index] {
                tuple::null(out);
            } else {
                holes |= self.cell(index, row.cell(index), out)?;
            }
        }
        Ok(holes)
    }

    /// Appends the tuple of the row's key alone, as it is or as it was before, and its sort key.
    pub fn key_of(&mut self, row: &Row<'_>, old: bool, out: &mut Vec<u8>, key: &mut Vec<u8>) -> Result<(), Fault> {
        let start = out.len();
        tuple::begin(self.table.columns.len(), out);
        self.starts.clear();
        for index in 0..self.table.columns.len() {
            self.starts.push(out.len());
            if !self.is_key[index] {
                tuple::null(out);
                continue;
            }
            let cell = before(row, index).filter(|_| old).unwrap_or_else(|| row.cell(index));
            self.cell(index, cell, out).inspect_err(|_| out.truncate(start))?;
        }
        self.sort_key(out, start, key);
        Ok(())
    }

    /// Returns `true` if the before-image shows that the row had another key.
    pub fn moves(&self, row: &Row<'_>) -> bool {
        let moved = |column: &usize| before(row, *column).is_some_and(|before| before != row.cell(*column));
        row.op == Op::Update && self.table.key.iter().any(moved)
    }

    /// Appends one cell; whether it is a hole.
    #[inline]
    fn cell(&self, index: usize, cell: Cell<'_>, out: &mut Vec<u8>) -> Result<bool, Fault> {
        let column = &self.table.columns[index];
        let fault = |fault| Fault { column: index, fault };
        match cell {
            Cell::Null if column.not_null => return Err(fault(CellFault::Null)),
            Cell::Null => tuple::null(out),
            Cell::NotSupplied if self.is_key[index] => return Err(fault(CellFault::NoKey)),
            Cell::NotSupplied if self.table.is_keyless() => return Err(fault(CellFault::NotWhole)),
            Cell::NotSupplied => {
                tuple::hole(out);
                return Ok(true);
            }
            Cell::Value(text) => {
                let uncut = if self.is_key[index] { column.wire.check_key(text) } else { Ok(()) };
                let encoded = uncut.and_then(|()| tuple::cell(out, |out| column.wire.encode(text, out)));
                encoded.map_err(|refusal| fault(CellFault::Refused(refusal)))?;
            }
        }
        Ok(false)
    }

    #[inline]
    fn sort_key(&self, out: &[u8], start: usize, key: &mut Vec<u8>) {
        if self.asks {
            return;
        }
        if self.table.is_keyless() {
            return self.table.sort_key(&out[start..], key);
        }
        for column in &self.table.key {
            let cell = tuple::at(out, self.starts[*column]);
            let _ = self.table.columns[*column].wire.sort_key(cell, key);
        }
    }

    /// Returns the event id of the row that was just encoded, or `None` for a delete.
    #[inline]
    pub fn event_id(&self, row: &Row<'_>, out: &[u8]) -> Option<i64> {
        let column = self.event.filter(|_| row.op != Op::Delete)?;
        let cell = tuple::at(out, self.starts[column]);
        if cell.is_empty() { None } else { event_value(&self.table.columns[column].wire, cell) }
    }
}

/// Returns the key cell of the before-image. A key is never null, so a null there is ignored.
fn before<'a>(row: &Row<'a>, column: usize) -> Option<Cell<'a>> {
    row.before(column).filter(|cell| *cell != Cell::Null)
}

/// Returns the column of that name if its type has integers.
pub fn event_column(table: &Table, name: &str) -> Option<usize> {
    table.column_named(name).filter(|column| table.columns[*column].wire.has_integers())
}

/// Returns why deliveries of the table have no `max_event_id`; none if they have.
pub fn no_event_id(table: &Table, name: &str) -> Option<String> {
    match (table.column_named(name), event_column(table, name)) {
        (None, _) => Some(format!("has no column {name} (EVENT_ID)")),
        (Some(_), None) => Some(format!("column {name} (EVENT_ID) is of a type without integers")),
        _ => None,
    }
}

/// Logs once that a column with the event id's name cannot provide one. A table without such a column is normal.
pub fn say_no_event_id(catalog: &Catalog, table: &Table, name: &str) {
    let why = table.column_named(name).and_then(|_| no_event_id(table, name));
    if let Some(why) = why.filter(|_| catalog.first_time(table.oid)) {
        tracing::warn!("Table {}: {why}; its messages have no max_event_id.", table.quoted());
    }
}

/// Returns the event id in a cell that is not null; none for a number that is no integer or too large for a `bigint`.
pub fn event_value(wire: &ColumnEncoding, cell: &[u8]) -> Option<i64> {
    if matches!(wire, ColumnEncoding::Numeric { .. }) {
        encode::numeric_as_integer(cell)
    } else {
        Some(tuple::integer(cell))
    }
}
