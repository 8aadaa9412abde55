//! Decode: bytes become rows. Gunzip, CSV, op, cells — synchronous, over any `Read`, with a `Shape` and a `Dialect`
//! of its own; it knows no S3, no Postgres and no runtime.
//!
//! `rows(parts, shape)` gives the rows of one delivery, part after part, each checked for its width. The last row is
//! given only after the last byte of the last gzip member was checked.

pub mod cell;
mod csv;
pub mod dialect;
mod error;
mod gunzip;
pub mod op;

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cell::{Cell, Nulls};
use csv::{Reader, Record};
use dialect::Dialect;
pub use error::Error;
use error::Flaw;
use gunzip::Gunzip;
pub use op::Op;

/// The objects of one delivery, opened one after the other.
pub trait Parts {
    type Bytes: Read;

    /// The next object's bytes, and whether its key says that they are gzip; none after the last.
    fn next_part(&mut self) -> io::Result<Option<(Self::Bytes, bool)>>;
}

/// What the rows of a delivery must look like.
#[derive(Debug, Clone)]
pub struct Shape {
    pub file: File,
    /// the table's columns that a file may fill, in the table's order
    pub columns: Vec<Column>,
    /// schema and table as the feed names them
    pub table: (String, String),
    pub dialect: Dialect,
    /// whether the last loaded file of this kind had an op in front; none: there was none
    pub had_op: Option<bool>,
    /// rows can be asked for their bytes
    pub keep_raw: bool,
}

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// an empty field is the empty text and not null
    pub text: bool,
    pub key: bool,
}

/// The two kinds of file that DMS writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    Snapshot,
    Changes,
}

impl File {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Changes => "changes",
        }
    }
}

/// Rows of the delivery whose objects are `parts`.
pub fn rows<P: Parts>(parts: P, shape: Shape) -> Rows<P> {
    let nulls = Nulls::new(shape.dialect.null.as_deref());
    Rows { parts, shape, nulls, part: 0, open: None, width: None, count: Arc::default() }
}

/// The rows of one delivery, a stream to be walked once.
pub struct Rows<P: Parts> {
    parts: P,
    shape: Shape,
    nulls: Nulls,
    /// how many parts were opened
    part: usize,
    open: Option<Reader<Gunzip<P::Bytes>>>,
    /// the fields of each row, decided by the first
    width: Option<usize>,
    /// rows given so far
    count: Arc<AtomicU64>,
}

/// One row, on loan until the next.
pub struct Row<'a> {
    /// which object of the delivery, from 0
    pub part: usize,
    /// the line of that object on which the row starts, from 1
    pub line: u64,
    /// what the row claims; a snapshot's rows are inserts
    pub op: Op,
    record: Record<'a>,
    skip: usize,
    nulls: &'a Nulls,
    columns: &'a [Column],
}

impl<'a> Row<'a> {
    /// The cell of a column of the shape.
    pub fn cell(&self, column: usize) -> Cell<'a> {
        let (field, quoted) = self.record.field(column + self.skip);
        self.nulls.cell(field, quoted, self.columns[column].text)
    }

    /// The before-image of a column, if the file has one and the cell is supplied.
    pub fn before(&self, _column: usize) -> Option<Cell<'a>> {
        None
    }

    /// The row's bytes as they stand in the file, without the line end; needs `keep_raw`.
    pub fn raw(&self) -> &'a [u8] {
        self.record.raw
    }
}

impl<P: Parts> Rows<P> {
    pub fn file(&self) -> File {
        self.shape.file
    }

    /// How many rows were given so far, counted as they are given.
    pub fn counted(&self) -> Arc<AtomicU64> {
        self.count.clone()
    }

    /// The next row; none after the last one of the last part.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, Error> {
        if !self.step().map_err(|flaw| self.at(flaw))? {
            return Ok(None);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let part = self.part - 1;
        let width = self.width;
        let Some(reader) = &self.open else { return Ok(None) };
        let record = reader.record();
        let columns = self.shape.columns.len();
        let row = check_width(record, columns, width).and_then(|skip| {
            if skip == 0
                && width.is_none()
                && self.shape.file == File::Changes
                && Op::parse(record.field(0).0).is_some()
            {
                return Err(Flaw::NoRoomForOp { line: record.line, columns });
            }
            let op = op_of(record, skip, self.shape.file)?;
            self.width = Some(record.width());
            Ok(Row { part, line: record.line, op, record, skip, nulls: &self.nulls, columns: &self.shape.columns })
        });
        row.map(Some).map_err(|flaw| Error { part, flaw })
    }

    /// The part, from 0, and the line that the stream stands on.
    pub fn place(&self) -> (usize, u64) {
        let line = self.open.as_ref().map_or(0, |reader| reader.record().line);
        (self.part.saturating_sub(1), line)
    }

    /// The bytes of the record that the stream stands on, without the line end; needs `keep_raw`.
    pub fn raw(&self) -> &[u8] {
        self.open.as_ref().map_or(&[], |reader| reader.record().raw)
    }

    /// Whether the rows have an op; none before the first row.
    pub fn has_op(&self) -> Option<bool> {
        self.width.map(|width| width > self.shape.columns.len())
    }

    /// Steps to the next record, into the next part where one ends.
    fn step(&mut self) -> Result<bool, Flaw> {
        loop {
            if let Some(reader) = &mut self.open
                && reader.advance()?
            {
                return Ok(true);
            }
            self.open = None;
            let Some((bytes, must_be_gzip)) = self.parts.next_part().map_err(Flaw::Open)? else { return Ok(false) };
            self.part += 1;
            let plain = Gunzip::open(bytes, must_be_gzip).map_err(Flaw::Open)?;
            self.open = Some(Reader::new(plain, self.shape.dialect.delimiter, self.shape.keep_raw));
        }
    }

    fn at(&self, flaw: Flaw) -> Error {
        Error { part: self.part.saturating_sub(1), flaw }
    }
}

/// How many fields stand before the first column: none, or the op.
fn check_width(record: Record<'_>, columns: usize, decided: Option<usize>) -> Result<usize, Flaw> {
    let (line, found) = (record.line, record.width());
    match decided {
        Some(expected) if found != expected => {
            let op = if expected > columns { " and the op" } else { "" };
            Err(Flaw::Width { line, found, expected, columns, op })
        }
        _ if found == columns || found == columns + 1 => Ok(found - columns),
        _ => Err(Flaw::FirstWidth { line, found, columns, with_op: columns + 1 }),
    }
}

fn op_of(record: Record<'_>, skip: usize, file: File) -> Result<Op, Flaw> {
    if skip == 0 {
        return Ok(Op::Insert);
    }
    match (Op::parse(record.field(0).0), file) {
        (None, _) => Err(Flaw::Op { line: record.line }),
        (Some(Op::Update | Op::Delete), File::Snapshot) => Err(Flaw::OpInSnapshot { line: record.line }),
        (Some(op), _) => Ok(op),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Texts(std::vec::IntoIter<&'static str>);
    impl Parts for Texts {
        type Bytes = &'static [u8];
        fn next_part(&mut self) -> io::Result<Option<(Self::Bytes, bool)>> {
            Ok(self.0.next().map(|text| (text.as_bytes(), false)))
        }
    }

    fn read(file: File, parts: Vec<&'static str>) -> Result<Vec<String>, String> {
        let shape = Shape {
            file,
            columns: vec![
                Column { name: "id".into(), text: false, key: true },
                Column { name: "name".into(), text: true, key: false },
            ],
            table: ("dbo".into(), "e".into()),
            dialect: Dialect::default(),
            had_op: None,
            keep_raw: false,
        };
        let mut rows = rows(Texts(parts.into_iter()), shape);
        let mut seen = Vec::new();
        while let Some(row) = rows.next_row().map_err(|error| format!("part {}: {error}", error.part))? {
            let cells: Vec<_> = (0..2).map(|column| row.cell(column)).collect();
            let cells = cells.iter().map(|cell| match cell {
                Cell::Null => "∅".to_owned(),
                Cell::NotSupplied => "–".to_owned(),
                Cell::Value(text) => String::from_utf8_lossy(text).into_owned(),
            });
            seen.push(format!("{}:{} {:?} {}", row.part, row.line, row.op, cells.collect::<Vec<_>>().join("|")));
        }
        Ok(seen)
    }

    #[test]
    fn a_snapshot_has_n_columns_or_an_i_in_front() {
        assert_eq!(read(File::Snapshot, vec!["1,a\n2,\n"]), Ok(vec!["0:1 Insert 1|a".into(), "0:2 Insert 2|".into()]));
        assert_eq!(read(File::Snapshot, vec!["I,1,a\n"]), Ok(vec!["0:1 Insert 1|a".into()]));
        assert!(read(File::Snapshot, vec!["U,1,a\n"]).expect_err("op").contains("full load"));
    }

    #[test]
    fn a_change_file_has_an_op_in_front() {
        let seen = read(File::Changes, vec!["I,1,a\nU,1,NULL\nD,1,\"NULL\"\n"]);
        let wanted = ["0:1 Insert 1|a", "0:2 Update 1|∅", "0:3 Delete 1|NULL"];
        assert_eq!(seen, Ok(wanted.map(String::from).to_vec()));
        assert_eq!(read(File::Changes, vec!["1,a\n"]), Ok(vec!["0:1 Insert 1|a".into()]), "inserts only");
        assert!(read(File::Changes, vec!["X,1,a\n"]).expect_err("op").contains("line 1: the first field is not an op"));
    }

    #[test]
    fn a_row_of_another_width_is_named() {
        assert!(read(File::Snapshot, vec!["1,a\n2\n"]).expect_err("few").starts_with("part 0: line 2: 1 fields"));
        assert!(read(File::Snapshot, vec!["1,a\nI,2,b\n"]).expect_err("many").starts_with("part 0: line 2: 3 fields"));
        assert!(read(File::Snapshot, vec!["1,a,b,c\n"]).expect_err("first").contains("2 columns to fill"));
    }

    #[test]
    fn parts_follow_each_other_and_lines_begin_anew() {
        let seen = read(File::Snapshot, vec!["1,a\n2,b\n", "", "3,c\n"]);
        assert!(seen.is_err(), "an object of no bytes is a fault");
        let seen = read(File::Snapshot, vec!["1,a\n2,b\n", "3,c\n"]);
        let wanted = ["0:1 Insert 1|a", "0:2 Insert 2|b", "1:1 Insert 3|c"];
        assert_eq!(seen, Ok(wanted.map(String::from).to_vec()));
        assert!(read(File::Snapshot, vec!["1,a\n", "2\n"]).expect_err("few").starts_with("part 1: line 1"));
    }
}
