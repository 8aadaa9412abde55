//! Decodes bytes into rows: gunzip, CSV, operation, cells. Synchronous, over any `Read`, with its own `Shape` and
//! `Dialect`; independent of S3, Postgres and the async runtime.
//!
//! `rows(parts, shape)` returns the rows of one delivery, part after part, each with its width checked. The last row
//! is returned only after the last byte of the last gzip member has been verified.

pub mod cell;
mod csv;
mod cut;
pub mod dialect;
mod error;
mod gunzip;
mod head;
mod layout;
pub mod limits;
pub mod listed;
mod nulls;
pub mod op;

use std::io::{self, Read};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cell::{Cell, Words};
use csv::{Form, Kept, Reader, Record};
use dialect::Dialect;
pub use error::Error;
use error::Flaw;
use gunzip::Gunzip;
use layout::{Claim, First, Layout, Plan};
use nulls::Watch;
pub use nulls::{Evidence, Head, NullRule, Nulls, Watching, evidence};
pub use op::Op;

/// The objects of one delivery, opened one after the other.
pub trait Parts {
    type Bytes: Read;

    /// Returns the next object's bytes, and `true` if its key says that they are gzip, or `None` after the last one.
    fn next_part(&mut self) -> io::Result<Option<(Self::Bytes, bool)>>;

    /// Returns the size of that object, if it is known beforehand.
    fn size(&self) -> Option<u64> {
        None
    }
}

/// Expected format of a delivery's rows.
#[derive(Debug, Clone)]
pub struct Shape {
    pub file: File,
    /// The table's columns that a file may fill, in the table's order.
    pub columns: Vec<Column>,
    /// The table's columns that no file may fill, because the table computes them.
    pub generated: Vec<String>,
    /// Schema and table as the feed names them.
    pub table: (String, String),
    pub dialect: Dialect,
    /// `true` if the last loaded file of this kind had an operation column; `None` if there was no such file.
    pub had_op: Option<bool>,
    /// `true` if the rows' bytes are needed.
    pub keep_raw: bool,
    /// Rule for null in text columns.
    pub nulls: Nulls,
}

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// An empty field is the empty text and not null.
    pub text: bool,
    pub key: bool,
    pub not_null: bool,
    /// The table fills it where no file does.
    pub has_default: bool,
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

/// Returns the rows of the delivery whose objects are `parts`.
pub fn rows<P: Parts>(parts: P, shape: Shape) -> Rows<P> {
    let dialect = &shape.dialect;
    let words = Words::new(shape.nulls.rule.words(), dialect.no_supply.as_deref());
    Rows {
        parts,
        shape,
        words,
        watch: Watch::default(),
        plan: None,
        header: None,
        layout: None,
        part: 0,
        open: None,
        at_head: false,
        begun: false,
        before: Before::default(),
        count: Arc::default(),
    }
}

/// The rows of one delivery, a stream to be walked once.
pub struct Rows<P: Parts> {
    parts: P,
    shape: Shape,
    words: Words,
    /// Evidence of nulls, if it is collected.
    watch: Watch,
    /// Roles of the fields before the first row; `None` if headers name them.
    plan: Option<Plan>,
    /// The names in the first part's header.
    header: Option<Vec<String>>,
    layout: Option<Layout>,
    /// Number of parts that were opened.
    part: usize,
    open: Option<Reader<Gunzip<P::Bytes>>>,
    /// The first record of a part comes next.
    at_head: bool,
    /// A row was met.
    begun: bool,
    before: Before,
    /// Rows given so far.
    count: Arc<AtomicU64>,
}

/// A before-image in a record of its own, in front of its update.
#[derive(Default)]
struct Before {
    kept: Kept,
    /// The row at hand has it.
    of_the_row: bool,
    /// The before-image lacks its update, and the stream is positioned at it.
    alone: bool,
    /// The record behind it was read and is still to be given.
    again: bool,
}

/// One row, on loan until the next.
pub struct Row<'a> {
    /// Index of the object in the delivery, from 0.
    pub part: usize,
    /// The line of that object on which the row starts, from 1.
    pub line: u64,
    /// Operation that the row claims; a snapshot's rows are inserts.
    pub op: Op,
    record: Record<'a>,
    before: Option<&'a Kept>,
    layout: &'a Layout,
    words: &'a Words,
    /// Store for evidence of nulls; `None` for deletes, because sources need not log their cells.
    watch: Option<&'a Watch>,
}

impl<'a> Row<'a> {
    /// Returns the cell of a column.
    pub fn cell(&self, column: usize) -> Cell<'a> {
        let cell = self.layout.cell(column, self.record, self.words);
        if matches!(cell, Cell::Null)
            && let Some(watch) = self.watch
            && let Some(field) = self.layout.evidence(column, self.record)
        {
            watch.see(field, self.record.line, column);
        }
        cell
    }

    /// Returns the before-image of a column, if the file has one and the cell is supplied.
    pub fn before(&self, column: usize) -> Option<Cell<'a>> {
        match self.before {
            Some(kept) => {
                Some(self.layout.cell(column, kept.record(), self.words)).filter(|cell| *cell != Cell::NotSupplied)
            }
            None => self.layout.before(column, self.record, self.words),
        }
    }

    /// Returns the row's bytes as in the file, without the line end; needs `keep_raw`.
    pub fn raw(&self) -> &'a [u8] {
        self.record.raw
    }
}

impl<P: Parts> Rows<P> {
    pub fn file(&self) -> File {
        self.shape.file
    }

    /// Returns the counter of rows, which is updated as they are read.
    pub fn counted(&self) -> Arc<AtomicU64> {
        self.count.clone()
    }

    /// Returns the next row, or `None` after the last one of the last part. After an error of one row, the next call
    /// continues behind it.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, Error> {
        match self.step() {
            Ok(Some(op)) => {
                self.count.fetch_add(1, Ordering::Relaxed);
                Ok(self.row(op))
            }
            Ok(None) => Ok(None),
            Err(flaw) => Err(Error { part: self.part.saturating_sub(1), flaw }),
        }
    }

    /// Returns the current part, from 0, and line.
    pub fn place(&self) -> (usize, u64) {
        (self.part.saturating_sub(1), self.stands_on().line)
    }

    /// Returns the bytes of the current record, without the line end; needs `keep_raw`.
    pub fn raw(&self) -> &[u8] {
        self.stands_on().raw
    }

    /// Returns `true` if the rows have an operation, and `None` before the first row.
    pub fn has_op(&self) -> Option<bool> {
        self.layout.as_ref().filter(|_| self.begun).map(Layout::has_op)
    }

    fn stands_on(&self) -> Record<'_> {
        if self.before.alone { self.before.kept.record() } else { record_of(&self.open) }
    }

    fn row(&self, op: Op) -> Option<Row<'_>> {
        let (record, layout) = (self.open.as_ref()?.record(), self.layout.as_ref()?);
        let before = self.before.of_the_row.then_some(&self.before.kept);
        let part = self.part - 1;
        let watch = (self.shape.nulls.watch != Watching::Off && op != Op::Delete).then_some(&self.watch);
        Some(Row { part, line: record.line, op, record, before, layout, words: &self.words, watch })
    }

    /// Steps to the next row. A before-image is kept for the update behind it.
    fn step(&mut self) -> Result<Option<Op>, Flaw> {
        self.check_nulls()?;
        let mut kept = false;
        (self.before.of_the_row, self.before.alone) = (false, false);
        loop {
            if !self.advance(kept)? {
                return Ok(None);
            }
            match self.claim() {
                Ok(Claim::Op(op)) if !kept => return Ok(Some(op)),
                Ok(Claim::Op(Op::Update)) => {
                    self.before.of_the_row = true;
                    return Ok(Some(Op::Update));
                }
                // the record behind it is looked at again, also if it is bad
                _ if kept => {
                    self.before.again = true;
                    return Err(self.lone_before());
                }
                Err(flaw) => return Err(flaw),
                Ok(_) => self.before.kept.keep(record_of(&self.open)),
            }
            kept = true;
        }
    }

    /// Refuses a null in the previous row that is written in another way than the table's rule expects.
    fn check_nulls(&self) -> Result<(), Flaw> {
        let name = |column: usize| self.shape.columns[column].name.clone();
        match (self.shape.nulls.watch, &self.shape.nulls.rule) {
            (Watching::Refuse, NullRule::Words) => match self.watch.empty.first() {
                Some((line, column)) => Err(Flaw::EmptyNull { line, column: name(column) }),
                None => Ok(()),
            },
            (Watching::Refuse, NullRule::Empty) => match self.watch.word.first() {
                Some((line, column)) => Err(Flaw::WordNull { line, column: name(column) }),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Returns the evidence of nulls.
    fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Steps to the next record, into the next part where one ends.
    fn advance(&mut self, kept: bool) -> Result<bool, Flaw> {
        if mem::take(&mut self.before.again) {
            return Ok(true);
        }
        loop {
            if let Some(reader) = &mut self.open {
                if reader.advance()? {
                    // One blank line at the end is ignored, unless rows have only one cell.
                    let may_be_blank = self.layout.as_ref().is_some_and(|layout| layout.width() > 1);
                    let is_row = match self.at_head {
                        false => !(may_be_blank && reader.is_last_blank()?),
                        true => self.is_row()?,
                    };
                    if is_row {
                        return Ok(true);
                    }
                    continue;
                }
                if kept {
                    return Err(self.lone_before());
                }
            }
            if !self.open_next()? {
                return Ok(false);
            }
        }
    }

    fn open_next(&mut self) -> Result<bool, Flaw> {
        self.open = None;
        let Some((bytes, must_be_gzip)) = self.parts.next_part().map_err(Flaw::Open)? else { return Ok(false) };
        self.part += 1;
        if self.part == 1 {
            self.plan = layout::plan(&self.shape)?;
        }
        let dialect = &self.shape.dialect;
        let limit = dialect.limits.max_object;
        if let Some(size) = self.parts.size().filter(|size| *size > limit.0) {
            return Err(Flaw::Open(gunzip::Flaw::Object { size, limit }.into()));
        }
        let plain = Gunzip::open(bytes, must_be_gzip, dialect.limits).map_err(Flaw::Open)?;
        let (delimiter, quotes, keep_raw) = (dialect.delimiter.clone(), dialect.rfc4180, self.shape.keep_raw);
        self.open = Some(Reader::new(plain, Form { delimiter, quotes, keep_raw, limits: dialect.limits }));
        self.at_head = true;
        Ok(true)
    }

    /// Returns `true` if the first record of a part is a row. A header is parsed here.
    fn is_row(&mut self) -> Result<bool, Flaw> {
        self.at_head = false;
        let record = record_of(&self.open);
        let (found, limit) = (record.width(), self.shape.dialect.limits.max_fields);
        if found > limit {
            return Err(csv::Flaw::TooWide { line: record.line, limit }.into());
        }
        match self.shape.dialect.header {
            Some(false) => Ok(true),
            Some(true) => {
                if self.plan.is_none() {
                    let (line, names) = (record.line, names(record));
                    self.take_header(line, names)?;
                }
                Ok(false)
            }
            None if head::looks_like_header(&self.shape, &names(record)) => {
                Err(Flaw::LooksLikeHeader { line: record.line })
            }
            None => Ok(true),
        }
    }

    fn take_header(&mut self, line: u64, names: Vec<String>) -> Result<(), Flaw> {
        let layout = Layout::of(&head::from_header(&self.shape, line, &names)?, &self.shape);
        layout::check_habit(&self.shape, line, layout.has_op())?;
        self.layout = Some(layout);
        let first = self.header.get_or_insert_with(|| names.clone());
        match head::differences(first, &names) {
            Some(differences) => Err(Flaw::OtherHeader { line, differences }),
            None => Ok(()),
        }
    }

    /// Returns the operation of the current record after checking its width, which the first row decides.
    fn claim(&mut self) -> Result<Claim, Flaw> {
        let record = record_of(&self.open);
        if let (None, Some(plan)) = (&self.layout, &self.plan) {
            self.layout = Some(plan.layout(&self.shape, First::of(record))?);
        }
        self.begun = true;
        // before a first record there is neither layout nor row
        let Some(layout) = &self.layout else { return Ok(Claim::Op(Op::Insert)) };
        layout.check_width(record)?;
        layout.check_supply(record, &self.words, &self.shape)?;
        layout.claim(record, self.shape.file)
    }

    fn lone_before(&mut self) -> Flaw {
        self.before.alone = true;
        Flaw::LoneBefore { line: self.before.kept.record().line }
    }
}

/// Returns the current record of a reader.
fn record_of<R: Read>(open: &Option<Reader<R>>) -> Record<'_> {
    open.as_ref().map_or(Record::NONE, Reader::record)
}

/// Returns the texts of a header's fields.
fn names(record: Record<'_>) -> Vec<String> {
    (0..record.width()).map(|field| String::from_utf8_lossy(record.field(field).0).into_owned()).collect()
}

#[cfg(test)]
mod tests;
