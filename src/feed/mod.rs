//! Generates files like those of DMS: full loads and change files, gzip and CSV, of any size. A row is a pure
//! function of entity, seed, row number and version, so the same call writes the same bytes, and every file's effect
//! on a table is known before it is loaded. The caller decides where the bytes go.

mod anomaly;
mod cells;
mod changes;
mod dialect;
mod edition;
mod entity;
mod expected;
mod gzip;
mod key;
mod mix;
mod record;
mod rows;
mod text;
mod write;

pub use anomaly::{Anomaly, Spot};
pub use changes::{Changes, Claims, KeyChanges, Op};
pub use dialect::{Dialect, DialectError, Timestamp};
pub use edition::{Edition, Shape};
pub use entity::Entity;
pub use expected::{Counts, Expected};
pub use gzip::Packing;
pub use key::{Names, Partition, PartitionError, Segments, changes_key, snapshot_key};
pub use rows::MAX_EVENT_ID;

use changes::Content;
use std::io::{self, Write};
use time::PrimitiveDateTime;
use time::macros::datetime;
use write::{Line, Page};

/// Writes one part of `edition` as DMS writes a full load: no op column, no header.
pub fn snapshot(edition: &Edition, layout: Layout, packing: Packing, out: impl Write) -> Result<Written, Error> {
    snapshot_in(&Style { packing, ..Style::default() }, edition, layout, out)
}

/// Writes a change file: the op letter, then the columns of `snapshot`, in the order of the changes.
pub fn changes(changes: &Changes, packing: Packing, out: impl Write) -> Result<Written, Error> {
    changes_in(&Style { packing, ..Style::default() }, changes, out)
}

/// Writes one part of `edition` in a style of its own.
pub fn snapshot_in(style: &Style, edition: &Edition, layout: Layout, out: impl Write) -> Result<Written, Error> {
    style.dialect.check()?;
    let places = layout.places(edition.reach())?;
    let (first, slots) = (places.start, places.end - places.start);
    let lines = places.filter_map(|place| {
        let row = if layout.shuffled { edition.shuffle(place) } else { place };
        let content = Content { row, version: edition.version_of(row)? };
        Some(Line { slot: place - first, op: None, key_only: false, row, content, from: None, leaves_out: false })
    });
    let page = Page { edition, style, slots, has_op: style.dialect.full_load_op, moves: false };
    write::write(&page, lines, out)
}

/// Writes a change file in a style of its own; `changes` should be what `in_dialect` makes of them.
pub fn changes_in(style: &Style, changes: &Changes, out: impl Write) -> Result<Written, Error> {
    style.dialect.check()?;
    let lines = changes.iter().zip(0..).map(|(change, slot)| Line {
        slot,
        op: Some(change.op),
        key_only: changes.key_only_deletes && change.op == Op::Delete,
        row: change.row,
        content: change.content,
        from: change.from,
        leaves_out: change.leaves_out,
    });
    let has_op = !style.dialect.inserts_only || style.dialect.full_load_op;
    let (slots, moves) = (changes.len(), changes.key_changes.is_some());
    let page = Page { edition: &changes.edition, style, slots, has_op, moves };
    let mut written = write::write(&page, lines, out)?;
    if moves && slots == changes.ops {
        let why = "not done, its row is not in the full load; another --number takes another";
        written.spots.push(Spot::file(Anomaly::KeyChange, why));
    }
    Ok(written)
}

/// Style of a file. The default is that of DMS without settings.
#[derive(Clone, Debug)]
pub struct Style {
    /// The form of its rows.
    pub dialect: Dialect,
    /// Compression of the bytes.
    pub packing: Packing,
    /// The time in a timestamp column.
    pub time: PrimitiveDateTime,
    /// Anomalies to put in; those that do not concern a single file's bytes are ignored.
    pub anomalies: Vec<Anomaly>,
}

impl Default for Style {
    fn default() -> Self {
        let (dialect, packing) = (Dialect::default(), Packing::default());
        Self { dialect, packing, time: datetime!(2022-09-22 09:58:53.123), anomalies: Vec::new() }
    }
}

/// Distribution of a full load over its files.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Rows in a fixed disorder instead of in key order.
    pub shuffled: bool,
    /// Part to write, from 1: the number in its `LOAD` name.
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
    /// Returns the rows of this part out of `reach`.
    fn places(self, reach: u64) -> Result<std::ops::Range<u64>, Error> {
        let (part, parts) = (u64::from(self.part), u64::from(self.parts));
        if part == 0 || part > parts {
            return Err(Error::Part { part: self.part, parts: self.parts });
        }
        Ok(reach * (part - 1) / parts..reach * part / parts)
    }
}

/// Content of a written file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Lines of CSV in the sense of records, the header aside; a quoted newline does not count.
    pub rows: u64,
    /// Bytes before compression.
    pub csv_bytes: u64,
    /// Bytes of the file.
    pub gz_bytes: u64,
    /// The highest `event_id` among the rows, deletes aside; none if there is no such row.
    pub max_event_id: Option<u64>,
    /// Anomalies in the file.
    pub spots: Vec<Spot>,
}

impl Written {
    fn add(&mut self, event_id: Option<u64>) {
        self.rows += 1;
        self.max_event_id = self.max_event_id.max(event_id);
    }
}

/// Reason for which a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The writer that was handed in refused.
    #[error("cannot write the file")]
    Write(#[from] io::Error),
    /// A part that the load does not have.
    #[error("there is no part {part} of {parts}")]
    Part {
        /// Requested part.
        part: u32,
        /// Into how many parts the load was to be cut.
        parts: u32,
    },
    /// Shares that are no shares.
    #[error("gone, changed and new must not be negative, and gone and changed together at most 1: {0:?}")]
    Shape(Shape),
    /// The dialect's rows could not be read back.
    #[error(transparent)]
    Dialect(#[from] DialectError),
}

#[cfg(test)]
mod style_tests;
#[cfg(test)]
mod tests;
