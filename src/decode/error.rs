//! Errors in a delivery's bytes and rows, with position and advice. They never contain a cell's value.

use std::io;

use super::{csv, gunzip};

/// Position of an error, as the part of the delivery (from 0), and the error.
#[derive(Debug, thiserror::Error)]
#[error("{flaw}")]
pub struct Error {
    pub part: usize,
    #[source]
    pub(super) flaw: Flaw,
}

impl Error {
    /// Returns the I/O error if the failure is temporary, such as a cut connection, and not a fault of the file.
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

    /// Returns `true` if only one row is faulty: the next call of `next_row` continues with the record behind it.
    pub fn of_the_row(&self) -> bool {
        matches!(
            &self.flaw,
            Flaw::Width { .. }
                | Flaw::Op { .. }
                | Flaw::OpInSnapshot { .. }
                | Flaw::NotSupplied { .. }
                | Flaw::LoneBefore { .. }
        )
    }

    /// Returns `true` for a null that is an empty cell although the table's rule is the word.
    pub fn is_empty_null(&self) -> bool {
        matches!(&self.flaw, Flaw::EmptyNull { .. })
    }

    /// Returns the line of a null that is written in another way than the table's rule expects.
    pub fn line(&self) -> Option<u64> {
        match &self.flaw {
            Flaw::EmptyNull { line, .. } | Flaw::WordNull { line, .. } => Some(*line),
            _ => None,
        }
    }

    /// Returns the column that the error names.
    pub fn column(&self) -> Option<&str> {
        match &self.flaw {
            Flaw::NotSupplied { column, .. } | Flaw::EmptyNull { column, .. } | Flaw::WordNull { column, .. } => {
                Some(column)
            }
            _ => None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Flaw {
    #[error(transparent)]
    Open(io::Error),
    #[error(transparent)]
    Csv(#[from] csv::Flaw),

    // one row's
    #[error(
        "line {line}: {found} fields where {expected} were expected ({columns} columns{op}); a cell may \
         hold a delimiter or a line end that is not quoted, or the feed's columns changed on the way"
    )]
    Width { line: u64, found: usize, expected: usize, columns: usize, op: &'static str },
    #[error("line {line}: {field} is not an op ({ops})")]
    Op { line: u64, field: String, ops: &'static str },
    #[error("line {line}: an op other than I in a full load")]
    OpInSnapshot { line: u64 },
    #[error(
        "line {line}, column {column}: not supplied, in a full load; a full load must have every cell, so make the \
         feed write it, or another word with FEED no_supply="
    )]
    NotSupplied { line: u64, column: String },
    #[error("line {line}: a before-image (op B) that no update (op U) follows")]
    LoneBefore { line: u64 },

    // the file's: its nulls
    #[error(
        "line {line}, column {column}: an empty cell is null here, but for this table null is the word NULL, and an empty text is \
         no null. Write FEED null=NULL if empty texts are meant in text columns, null='' if they are nulls, or null='' null=NULL \
         if both words are, then `deliveries retry`; what was loaded before is read by it only once the table is loaded again"
    )]
    EmptyNull { line: u64, column: String },
    #[error(
        "line {line}, column {column}: the word NULL is null here, but for this table null is an empty cell, and NULL is a text in \
         text columns. Write FEED null='' if it is one, null=NULL if empty texts are meant, or null='' null=NULL if both words \
         are null, then `deliveries retry`; what was loaded before is read by it only once the table is loaded again"
    )]
    WordNull { line: u64, column: String },

    // the file's: its width
    #[error("line {line}: {found} fields, but {wanted}. {advice}")]
    Misfit { line: u64, found: usize, wanted: String, advice: String },
    #[error(
        "line {line}: the first field is not an op (I, U or D), and without an op there is one field too many: \
         {wanted}. {advice}"
    )]
    FirstOp { line: u64, wanted: String, advice: String },
    #[error(
        "line {line}: the first field is an op, but there are only {fields} fields for {columns} columns and an op; \
         the table has a column that the feed does not have ({span}). Drop it from the table (alter table), then \
         `deliveries retry`; or name the file's columns with FEED columns=; or, if it is no op, write FEED op=never"
    )]
    NoRoomForOp { line: u64, fields: usize, columns: usize, span: String },
    #[error("line {line}: no op in front, but the {files} before it had one; if that is right, write FEED op={rule}")]
    OpLost { line: u64, files: &'static str, rule: &'static str },
    #[error("line {line}: an op in front, but the {files} before it had none; if that is right, write FEED op={rule}")]
    OpGained { line: u64, files: &'static str, rule: &'static str },

    // the file's: its columns' names
    #[error("line {line} looks like a header; write FEED header=True (or header=False if it is a row)")]
    LooksLikeHeader { line: u64 },
    #[error(
        "line {line}: the header differs from table {table}: {differences}. Add or drop the columns (alter table), or \
         name the file's columns with FEED columns=, then `deliveries retry`"
    )]
    Drift { line: u64, table: String, differences: String },
    #[error(
        "line {line}: no header: no column of table {table} ({span}) is named in it. Write FEED header=False if the files have \
         no header, or name their columns with FEED columns="
    )]
    NoHeader { line: u64, table: String, span: String },
    #[error("line {line}: the header has {names} twice. Name the file's columns with FEED columns=")]
    Twice { line: u64, names: String },
    #[error("line {line}: the header differs from that of the delivery's first file: {differences}")]
    OtherHeader { line: u64, differences: String },
    #[error("line {line}: the header has no op column (Op), but FEED op={rule} says that it has one")]
    NoOpInHeader { line: u64, rule: &'static str },
    #[error("line {line}: the header has an op column ({name}), but FEED op={rule} says that it has none")]
    OpInHeader { line: u64, name: String, rule: &'static str },
    #[error("FEED columns= does not fit table {table} ({span}): {faults}. Mend it, then `deliveries retry`")]
    Listed { table: String, span: String, faults: String },
    #[error(
        "FEED timestamp_column= has no place in the files of table {table}. Write NAME:first or NAME:last, or an item \
         of columns= for the table, then `deliveries retry`"
    )]
    NoPlace { table: String },
}
