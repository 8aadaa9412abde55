//! Writes rows as the bytes of a file. Files of the default form are written directly from values; all others are
//! built from a `Record`, which can be rearranged and damaged.

use super::anomaly::{Anomaly, Damage, Spot};
use super::changes::Content;
use super::record::{Pen, Record};
use super::{Dialect, Edition, Entity, Error, Op, Style, Written, cells::Cells, gzip::Gzip};
use std::io::Write;
use time::Duration;

/// A file to be written.
pub(super) struct Page<'a> {
    pub(super) edition: &'a Edition,
    pub(super) style: &'a Style,
    /// Number of lines.
    pub(super) slots: u64,
    /// Rows have an op.
    pub(super) has_op: bool,
    /// Rows may have other keys than their content.
    pub(super) moves: bool,
}

/// One row on its way into a file. `slot` is its place there, for cutting the file into members.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) slot: u64,
    pub(super) op: Option<Op>,
    pub(super) key_only: bool,
    pub(super) row: u64,
    pub(super) content: Content,
    pub(super) from: Option<u64>,
    pub(super) leaves_out: bool,
}

/// The compressor is fed in blocks: a call for each row would cost more than the row.
const BLOCK: usize = 64 * 1024;

pub(super) fn write(page: &Page<'_>, lines: impl Iterator<Item = Line>, mut out: impl Write) -> Result<Written, Error> {
    let Style { packing, anomalies, .. } = page.style;
    if anomalies.contains(&Anomaly::Empty) {
        out.flush()?;
        return Ok(Written { spots: vec![Spot::file(Anomaly::Empty, "0 bytes")], ..Written::default() });
    }
    let damage = Damage::of(anomalies);
    let mut gzip = Gzip::new(out, *packing, page.slots, damage);
    let mut written = Written::default();
    let mut block = Vec::with_capacity(BLOCK + 1024);
    let mut desk = (!page.is_plain()).then(|| Desk::new(page, &mut block));
    for line in lines {
        match &mut desk {
            None => written.add(put(page.edition, &line, &mut block)),
            Some(desk) => desk.put(&line, &mut block, &mut written),
        }
        while gzip.cuts_at(line.slot) {
            // In the middle of a row, to break readers that treat each member as a file.
            let half = block.len().saturating_sub(8);
            gzip.write(&block[..half])?;
            gzip = gzip.cut()?;
            block.drain(..half);
        }
        if block.len() >= BLOCK {
            gzip.write(&block)?;
            block.clear();
        }
    }
    if let Some(desk) = desk {
        written.spots = desk.end(&mut block);
    }
    gzip.write(&block)?;
    (written.csv_bytes, written.gz_bytes) = gzip.finish()?;
    written.spots.extend(damage.map(Damage::spot));
    Ok(written)
}

/// Appends one line to `block` and returns its event id if it counts.
fn put(edition: &Edition, line: &Line, block: &mut Vec<u8>) -> Option<u64> {
    let mut cells = Cells::new(block);
    if let Some(op) = line.op {
        cells.plain(op.letter());
    }
    let event_id = values(edition, line, &mut cells);
    cells.end();
    event_id
}

/// Puts the columns.
fn values(edition: &Edition, line: &Line, cells: &mut Cells<'_>) -> Option<u64> {
    let rows = edition.rows();
    let event_id = if line.key_only {
        rows.write_key(line.row, cells);
        None
    } else {
        Some(rows.write(line.content.row, line.content.version, cells))
    };
    event_id.filter(|_| line.op != Some(Op::Delete))
}

impl Page<'_> {
    /// Returns `true` if the direct way suffices.
    fn is_plain(&self) -> bool {
        self.style.dialect == Dialect::default() && !self.moves && self.due().is_empty()
    }

    /// Returns the anomalies of rows, with the row that each one damages.
    fn due(&self) -> Vec<(Anomaly, u64)> {
        let due = |&anomaly: &Anomaly| anomaly.slot(self.slots).map(|slot| (anomaly, slot));
        let mut due: Vec<_> = self.style.anomalies.iter().filter_map(due).collect();
        due.sort_by_key(|(_, slot)| *slot);
        due.dedup();
        due
    }
}

/// The long way: takes rows apart and writes them in the dialect, spoiled where they shall be.
struct Desk<'a> {
    page: &'a Page<'a>,
    dialect: &'a Dialect,
    due: Vec<(Anomaly, u64)>,
    spots: Vec<Spot>,
    record: Record,
    text: Vec<u8>,
    /// Line ends written so far.
    line_ends: u64,
    begun: bool,
}

impl<'a> Desk<'a> {
    /// Begins the file: byte order mark and header.
    fn new(page: &'a Page<'a>, block: &mut Vec<u8>) -> Self {
        let (dialect, due) = (&page.style.dialect, page.due());
        let (record, text) = (Record::default(), Vec::new());
        let mut desk = Self { page, dialect, due, spots: Vec::new(), record, text, line_ends: 0, begun: false };
        if dialect.bom {
            block.extend_from_slice(b"\xef\xbb\xbf");
        }
        if dialect.header {
            desk.begin(block);
            desk.header(&mut Pen::new(dialect, block));
        }
        desk
    }

    fn header(&self, pen: &mut Pen<'_>) {
        let columns = self.entity().columns();
        let stamp = |last| self.dialect.timestamp.as_ref().filter(|column| column.last == last);
        if self.page.has_op {
            pen.value(b"Op");
        }
        stamp(false).into_iter().for_each(|column| pen.value(column.name.as_bytes()));
        columns.iter().for_each(|column| pen.value(column.as_bytes()));
        if let Some(prefix) = &self.dialect.before_image {
            pen.value(format!("{prefix}{}", columns[0]).as_bytes());
        }
        stamp(true).into_iter().for_each(|column| pen.value(column.name.as_bytes()));
    }

    /// Writes a line, twice if its key shall be there twice.
    fn put(&mut self, line: &Line, block: &mut Vec<u8>, written: &mut Written) {
        written.add(self.take_apart(line));
        let spoilt = self.spoil(line);
        if spoilt.as_ref().is_none_or(|(anomaly, _)| *anomaly != Anomaly::DuplicateKey) {
            return self.lay_out(line, spoilt, block);
        }
        self.lay_out(line, None, block);
        let content = Content { version: line.content.version + 1, ..line.content };
        let again = Line { content, ..*line };
        written.add(self.take_apart(&again));
        self.lay_out(&again, spoilt, block);
    }

    /// Makes the line a record, with the cells that it supplies.
    fn take_apart(&mut self, line: &Line) -> Option<u64> {
        self.text.clear();
        let mut event_id = values(self.page.edition, line, &mut Cells::new(&mut self.text));
        self.record.read(&self.text);
        if line.row != line.content.row {
            let key = self.key(line.row);
            // The key of an event is its event id.
            event_id = event_id.map(|id| if self.entity() == Entity::Events { key } else { id });
            self.number(key);
            self.record.set(0, &self.text);
        }
        if line.leaves_out {
            self.entity().lasting().iter().for_each(|&at| self.record.leave_out(at));
        }
        if line.key_only && self.dialect.no_supply.is_some() {
            self.record.leave_out_nulls();
        }
        event_id
    }

    /// Damages the record if an anomaly is due. Deletes are left unchanged, because only their key is read.
    fn spoil(&mut self, line: &Line) -> Option<(Anomaly, String)> {
        let due = self.due.first().is_some_and(|(_, slot)| *slot <= line.slot);
        if !due || line.op == Some(Op::Delete) || line.from.is_some() {
            return None;
        }
        let (entity, anomaly) = (self.entity(), self.due.remove(0).0);
        Some((anomaly, anomaly.spoil(entity, &mut self.record)))
    }

    fn lay_out(&mut self, line: &Line, spoilt: Option<(Anomaly, String)>, block: &mut Vec<u8>) {
        self.begin(block);
        let key = self.key(line.row);
        let number = Some(self.line_ends + 1);
        if let Some((anomaly, what)) = spoilt {
            self.spots.push(Spot { anomaly, line: number, key: Some(key), what });
        }
        if let Some(from) = line.from {
            let what = format!("the key was {}", self.key(from));
            self.spots.push(Spot { anomaly: Anomaly::KeyChange, line: number, key: Some(key), what });
        }
        let start = block.len();
        self.cells(line, block);
        self.line_ends += memchr::memchr_iter(b'\n', &block[start..]).count() as u64;
    }

    fn cells(&mut self, line: &Line, block: &mut Vec<u8>) {
        let mut pen = Pen::new(self.dialect, block);
        if self.page.has_op {
            pen.value(line.op.unwrap_or(Op::Insert).letter().as_bytes());
        }
        let last = self.dialect.timestamp.as_ref().map(|column| column.last);
        if last == Some(false) {
            self.stamp(line);
            pen.value(&self.text);
        }
        self.record.write(&mut pen);
        match (&self.dialect.before_image, line.op) {
            (Some(_), Some(Op::Update)) => {
                self.number(self.key(line.from.unwrap_or(line.row)));
                pen.value(&self.text);
            }
            (Some(_), _) => pen.null(),
            (None, _) => {}
        }
        if last == Some(true) {
            self.stamp(line);
            pen.value(&self.text);
        }
    }

    /// Ends the line before, if there is one.
    fn begin(&mut self, block: &mut Vec<u8>) {
        if self.begun {
            block.extend_from_slice(if self.dialect.crlf { b"\r\n" } else { b"\n" });
            self.line_ends += 1;
        }
        self.begun = true;
    }

    /// Ends the file, and returns what was damaged and what could not be.
    fn end(mut self, block: &mut Vec<u8>) -> Vec<Spot> {
        if self.dialect.last_newline {
            self.begin(block);
        }
        let left = self.due.iter().map(|(anomaly, _)| Spot::file(*anomaly, "not done, the file has no row for it"));
        self.spots.extend(left);
        self.spots
    }

    fn entity(&self) -> Entity {
        self.page.edition.entity()
    }

    fn key(&self, row: u64) -> u64 {
        self.page.edition.rows().key(row)
    }

    /// Sets the text to a number.
    fn number(&mut self, value: u64) {
        self.text.clear();
        Cells::new(&mut self.text).int(value);
    }

    /// Sets the text to the time of the row: that of the file, plus a microsecond for each row.
    fn stamp(&mut self, line: &Line) {
        self.text.clear();
        let time = self.page.style.time.saturating_add(Duration::microseconds(line.slot as i64));
        Cells::new(&mut self.text).moment(time);
    }
}
