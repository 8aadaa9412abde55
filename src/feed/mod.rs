//! Writes what DMS writes: full loads and change files, gzip and CSV, of any size. Nothing is kept
//! and nothing is drawn: a row is a pure function of entity, seed, row number and version, so the same
//! call gives the same bytes and every file's effect on a table is known before it is loaded.
//! Where the bytes go is the caller's business.

mod cells;
mod changes;
mod edition;
mod entity;
mod expected;
mod gzip;
mod key;
mod mix;
mod rows;
mod text;

pub use changes::{Changes, Claims, Op};
pub use edition::{Edition, Shape};
pub use entity::Entity;
pub use expected::{Counts, Expected};
pub use gzip::Packing;
pub use key::{changes_key, snapshot_key};
pub use rows::MAX_EVENT_ID;

use cells::Cells;
use gzip::Gzip;
use std::io::{self, Write};

/// Writes one part of `edition` as DMS writes a full load: no op column, no header.
pub fn snapshot(edition: &Edition, layout: Layout, packing: Packing, out: impl Write) -> Result<Written, Error> {
    let places = layout.places(edition.reach())?;
    let (first, slots) = (places.start, places.end - places.start);
    let lines = places.filter_map(|place| {
        let row = if layout.shuffled { edition.shuffle(place) } else { place };
        let version = edition.version_of(row)?;
        Some(Line { slot: place - first, op: None, key_only: false, row, version })
    });
    write(edition, lines, slots, packing, out)
}

/// Writes a change file: the op letter, then the columns of `snapshot`, in the order of the changes.
pub fn changes(changes: &Changes, packing: Packing, out: impl Write) -> Result<Written, Error> {
    let lines = changes.iter().zip(0..).map(|(change, slot)| Line {
        slot,
        op: Some(change.op),
        key_only: changes.key_only_deletes && change.op == Op::Delete,
        row: change.row,
        version: change.version,
    });
    write(&changes.edition, lines, changes.ops, packing, out)
}

/// How a full load lies in its files.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Rows in a fixed disorder instead of in key order.
    pub shuffled: bool,
    /// Which part to write, from 1 up: the number in its `LOAD` name.
    pub part: u32,
    /// Into how many parts the load is cut. Parts are of like size; none holds a row of another.
    pub parts: u32,
}

impl Default for Layout {
    fn default() -> Self {
        Self { shuffled: false, part: 1, parts: 1 }
    }
}

impl Layout {
    /// The places of this part out of `reach`.
    fn places(self, reach: u64) -> Result<std::ops::Range<u64>, Error> {
        let (part, parts) = (u64::from(self.part), u64::from(self.parts));
        if part == 0 || part > parts {
            return Err(Error::Part { part: self.part, parts: self.parts });
        }
        Ok(reach * (part - 1) / parts..reach * part / parts)
    }
}

/// What a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Lines of CSV in the sense of records; a quoted newline does not count.
    pub rows: u64,
    /// Bytes before compression.
    pub csv_bytes: u64,
    /// Bytes of the file.
    pub gz_bytes: u64,
    /// The highest `event_id` among the rows, deletes aside; none if there is no such row.
    pub max_event_id: Option<u64>,
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The writer that was handed in refused.
    #[error("cannot write the file")]
    Write(#[from] io::Error),
    /// A part that the load does not have.
    #[error("there is no part {part} of {parts}")]
    Part {
        /// The part asked for.
        part: u32,
        /// Into how many parts the load was to be cut.
        parts: u32,
    },
    /// Shares that are no shares.
    #[error("gone, changed and new must not be negative, and gone and changed together at most 1: {0:?}")]
    Shape(Shape),
}

/// One row on its way into a file. `slot` is its place there, for cutting the file into members.
struct Line {
    slot: u64,
    op: Option<Op>,
    key_only: bool,
    row: u64,
    version: u64,
}

/// The compressor is fed in blocks: a call for each row would cost more than the row.
const BLOCK: usize = 64 * 1024;

fn write(
    edition: &Edition,
    lines: impl Iterator<Item = Line>,
    slots: u64,
    packing: Packing,
    out: impl Write,
) -> Result<Written, Error> {
    let mut gzip = Gzip::new(out, packing, slots);
    let mut written = Written::default();
    let mut block = Vec::with_capacity(BLOCK + 1024);
    for line in lines {
        let event_id = put(edition, &line, &mut block);
        written.rows += 1;
        written.max_event_id = written.max_event_id.max(event_id);
        while gzip.cuts_at(line.slot) {
            // In the middle of a row, where whoever reads member by member falls.
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
    gzip.write(&block)?;
    (written.csv_bytes, written.gz_bytes) = gzip.finish()?;
    Ok(written)
}

/// Appends one line to `block` and returns its event id if it counts.
fn put(edition: &Edition, line: &Line, block: &mut Vec<u8>) -> Option<u64> {
    let mut cells = Cells::new(block);
    if let Some(op) = line.op {
        cells.plain(op.letter());
    }
    let rows = edition.rows();
    let event_id = if line.key_only {
        rows.write_key(line.row, &mut cells);
        None
    } else {
        Some(rows.write(line.row, line.version, &mut cells))
    };
    cells.end();
    event_id.filter(|_| line.op != Some(Op::Delete))
}

#[cfg(test)]
mod tests;
