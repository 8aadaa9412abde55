//! What can be wrong with a delivery's bytes and rows, where, and whose fault it is.

use std::io;

use super::{csv, gunzip};

/// Where a fault lies: the part of the delivery (from 0) and the error.
#[derive(Debug, thiserror::Error)]
#[error("{flaw}")]
pub struct Error {
    pub part: usize,
    #[source]
    pub(super) flaw: Flaw,
}

impl Error {
    /// Whether the fault is the world's (a cut connection) and not the file's.
    pub fn of_the_world(&self) -> Option<&io::Error> {
        let error = match &self.flaw {
            Flaw::Open(error) | Flaw::Csv(csv::Flaw::Read(error)) => error,
            _ => return None,
        };
        match error.get_ref().and_then(|inner| inner.downcast_ref::<gunzip::Upstream>()) {
            Some(upstream) => Some(&upstream.0),
            None if error.get_ref().is_some_and(|inner| inner.is::<gunzip::Flaw>()) => None,
            None => Some(error),
        }
    }

    /// Whether the fault is one row's alone: the next call of `next_row` goes on behind it.
    pub fn of_the_row(&self) -> bool {
        matches!(self.flaw, Flaw::Width { .. } | Flaw::Op { .. } | Flaw::OpInSnapshot { .. })
    }

    /// The column that the fault names.
    pub fn column(&self) -> Option<&str> {
        None
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Flaw {
    #[error(transparent)]
    Open(io::Error),
    #[error(transparent)]
    Csv(#[from] csv::Flaw),
    #[error(
        "line {line}: {found} fields where {expected} were expected ({columns} columns{op}); \
         compare the table's columns with the feed's"
    )]
    Width { line: u64, found: usize, expected: usize, columns: usize, op: &'static str },
    #[error(
        "line {line}: {found} fields, but the table has {columns} columns to fill ({columns} fields, or {with_op} \
         with an op in front); compare the table's columns with the feed's"
    )]
    FirstWidth { line: u64, found: usize, columns: usize, with_op: usize },
    #[error("line {line}: the first field is not an op (I, U or D)")]
    Op { line: u64 },
    #[error(
        "line {line}: the first field is an op, but there are only {columns} fields for {columns} columns and an op; \
         the table has a column that the feed does not have"
    )]
    NoRoomForOp { line: u64, columns: usize },
    #[error("line {line}: an op other than I in a full load")]
    OpInSnapshot { line: u64 },
}
