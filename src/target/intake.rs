//! Rows become encoded batches in key order, on a thread beside the runtime, behind a bounded channel.
//!
//! A snapshot that is in key order goes straight through; the first row out of order ends the attempt with `OutOfOrder`,
//! and the delivery is read again through the sorter. A change file always goes through the sorter, where all that
//! happened to one key meets and is folded into its last word.

use tokio::sync::mpsc;

use super::catalog::Table;
use super::encode::{Refusal, Wire};
use super::sort::{Mark, Record, Sorter};
use super::{Error, Place, tuple};
use crate::decode::cell::Cell;
use crate::decode::{File, Op, Parts, Row, Rows};

/// Encoded rows, in key order.
#[derive(Debug, Default)]
pub struct Batch {
    /// the tuples, one after the other
    pub tuples: Vec<u8>,
    /// their sort keys, one after the other
    keys: Vec<u8>,
    /// where each row's tuple and key end, and whether the row is to be there (or to be gone)
    rows: Vec<(u32, u32, bool)>,
}

/// One row of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub key: &'a [u8],
    pub tuple: &'a [u8],
    /// whether the row is to be there, as the tuple says, or to be gone
    pub put: bool,
}

/// What was read, all in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// rows of each part
    pub read: Vec<u64>,
    /// the highest value of the event column among the rows read
    pub max_event_id: Option<i64>,
    /// inserts, updates and deletes that a change file claims
    pub claimed: [u64; 3],
}

/// In which order the rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// expected in key order, refused otherwise
    ByKey,
    /// any: they are sorted here
    Any,
}

const BATCH: usize = 192 << 10;
/// batches between the thread and the runtime
const AHEAD: usize = 3;

/// The receiving end.
pub struct Intake {
    batches: mpsc::Receiver<Message>,
    summary: Summary,
}

enum Message {
    Batch(Batch),
    End(Summary),
    Failed(Error),
}

impl Intake {
    /// Starts to decode and encode `rows`.
    pub fn start<P>(rows: Rows<P>, table: &Table, event_id: &str, order: Order) -> Self
    where
        P: Parts + Send + 'static,
        P::Bytes: Send,
    {
        let (sender, batches) = mpsc::channel(AHEAD);
        let work = Work::new(table.clone(), event_id, sender);
        let order = if rows.file() == File::Changes { Order::Any } else { order };
        tokio::task::spawn_blocking(move || work.run(rows, order));
        Self { batches, summary: Summary::default() }
    }

    /// The next batch; none after the last one, when every byte was checked.
    pub async fn next(&mut self) -> Result<Option<Batch>, Error> {
        match self.batches.recv().await {
            Some(Message::Batch(batch)) => Ok(Some(batch)),
            Some(Message::End(summary)) => {
                self.summary = summary;
                Ok(None)
            }
            Some(Message::Failed(error)) => Err(error),
            // the thread ended without a word: it panicked
            None => Err(Error::Panicked),
        }
    }

    /// What was read; complete after the last batch.
    pub fn into_summary(self) -> Summary {
        self.summary
    }
}

impl Batch {
    pub fn rows(&self) -> impl Iterator<Item = Wanted<'_>> {
        let starts = std::iter::once((0, 0)).chain(self.rows.iter().map(|(tuple, key, _)| (*tuple, *key)));
        starts.zip(&self.rows).map(|((tuple, key), (tuple_end, key_end, put))| Wanted {
            key: &self.keys[key as usize..*key_end as usize],
            tuple: &self.tuples[tuple as usize..*tuple_end as usize],
            put: *put,
        })
    }

    fn push(&mut self, row: Wanted<'_>) {
        self.tuples.extend_from_slice(row.tuple);
        self.keys.extend_from_slice(row.key);
        self.end_row(row.put);
    }

    /// Ends a row whose tuple and key were just appended.
    fn end_row(&mut self, put: bool) {
        self.rows.push((self.tuples.len() as u32, self.keys.len() as u32, put));
    }

    fn last_key(&self) -> &[u8] {
        let start = self.rows.len().checked_sub(2).map_or(0, |before| self.rows[before].1);
        &self.keys[start as usize..]
    }
}

/// Nobody listens any more: the delivery was given up.
struct Hangup;

/// Why the thread ends early.
enum Halt {
    Error(Error),
    Hangup,
}

impl<E: Into<Error>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl From<Hangup> for Halt {
    fn from(_: Hangup) -> Self {
        Self::Hangup
    }
}

/// The thread's side.
struct Work {
    encoder: Encoder,
    sender: mpsc::Sender<Message>,
    batch: Batch,
    summary: Summary,
}

impl Work {
    fn new(table: Table, event_id: &str, sender: mpsc::Sender<Message>) -> Self {
        let encoder = Encoder { event: integer_column(&table, event_id), starts: Vec::new(), table };
        Self { encoder, sender, batch: Batch::default(), summary: Summary::default() }
    }

    fn run<P: Parts>(mut self, rows: Rows<P>, order: Order) {
        let done = match order {
            Order::ByKey => self.straight(rows),
            Order::Any => self.through_sorter(rows),
        };
        let last = match done.and_then(|()| self.flush(0)) {
            Ok(()) => Message::End(self.summary),
            Err(Halt::Error(error)) => Message::Failed(error),
            Err(Halt::Hangup) => return,
        };
        // nobody listens: the delivery was given up, and so is this
        let _ = self.sender.blocking_send(last);
    }

    fn straight<P: Parts>(&mut self, mut rows: Rows<P>) -> Result<(), Halt> {
        let (mut before, mut before_at) = (Vec::new(), Place::default());
        while let Some(row) = rows.next_row()? {
            let at = Place::of(&row);
            self.encoder.row(&row, &mut self.batch.tuples, &mut self.batch.keys, &mut self.summary)?;
            self.batch.end_row(true);
            check_order(&before, self.batch.last_key(), before_at, at)?;
            before.clear();
            before.extend_from_slice(self.batch.last_key());
            before_at = at;
            self.flush(BATCH)?;
        }
        Ok(())
    }

    fn through_sorter<P: Parts>(&mut self, mut rows: Rows<P>) -> Result<(), Halt> {
        let (mut sorter, file) = (Sorter::default(), rows.file());
        let (mut row_tuple, mut key) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next_row()? {
            // sorting sends nothing, so it would not notice that the delivery was given up
            if self.sender.is_closed() {
                return Err(Halt::Hangup);
            }
            row_tuple.clear();
            key.clear();
            self.encoder.row(&row, &mut row_tuple, &mut key, &mut self.summary)?;
            let mark = Mark { part: row.part as u32, line: row.line, put: row.op != Op::Delete };
            sorter.push(Record { mark, key: &key, tuple: &row_tuple })?;
        }
        let mut sorted = sorter.sorted()?;
        let mut folded: Option<(Mark, Vec<u8>, Vec<u8>)> = None;
        while let Some(record) = sorted.next_record()? {
            if let Some((mark, key, tuple)) = &folded {
                if key != record.key {
                    self.batch.push(Wanted { key, tuple, put: mark.put });
                } else if file == File::Snapshot {
                    return Err(Error::Duplicate { first: (*mark).into(), second: record.mark.into() }.into());
                }
            }
            self.flush(BATCH)?;
            let (mark, key, tuple) = folded.get_or_insert_with(|| (record.mark, Vec::new(), Vec::new()));
            *mark = record.mark;
            key.clear();
            key.extend_from_slice(record.key);
            tuple.clear();
            tuple.extend_from_slice(record.tuple);
        }
        if let Some((mark, key, tuple)) = &folded {
            self.batch.push(Wanted { key, tuple, put: mark.put });
        }
        Ok(())
    }

    /// Sends the batch if it holds more than `beyond` bytes.
    fn flush(&mut self, beyond: usize) -> Result<(), Halt> {
        if self.batch.tuples.len() <= beyond {
            return Ok(());
        }
        let (bytes, keys, rows) = (self.batch.tuples.len(), self.batch.keys.len(), self.batch.rows.len());
        let room = |used: usize| used + used / 8;
        let next = Batch {
            tuples: Vec::with_capacity(room(bytes)),
            keys: Vec::with_capacity(room(keys)),
            rows: Vec::with_capacity(room(rows)),
        };
        let batch = std::mem::replace(&mut self.batch, next);
        Ok(self.sender.blocking_send(Message::Batch(batch)).map_err(|_| Hangup)?)
    }
}

fn check_order(before: &[u8], now: &[u8], before_at: Place, at: Place) -> Result<(), Error> {
    match before.cmp(now) {
        _ if before_at == Place::default() => Ok(()),
        std::cmp::Ordering::Less => Ok(()),
        std::cmp::Ordering::Equal => Err(Error::Duplicate { first: before_at, second: at }),
        std::cmp::Ordering::Greater => Err(Error::OutOfOrder),
    }
}

/// Encodes rows for a table.
struct Encoder {
    table: Table,
    /// the column whose highest value is the delivery's `max_event_id`
    event: Option<usize>,
    /// where each cell of the row at hand starts, reused
    starts: Vec<usize>,
}

impl Encoder {
    /// Appends the row's tuple and its sort key.
    fn row(&mut self, row: &Row<'_>, out: &mut Vec<u8>, key: &mut Vec<u8>, summary: &mut Summary) -> Result<(), Error> {
        tuple::begin(self.table.columns.len(), out);
        self.starts.clear();
        let gone = row.op == Op::Delete;
        for index in 0..self.table.columns.len() {
            self.starts.push(out.len());
            // a delete needs its key and nothing else: sources log no more
            if gone && !self.table.key.contains(&index) {
                tuple::null(out);
            } else {
                self.cell(row, index, out)?;
            }
        }
        for column in &self.table.key {
            let cell = tuple::at(out, self.starts[*column]);
            let _ = self.table.columns[*column].wire.sort_key(cell, key);
        }
        self.count(row, out, summary);
        Ok(())
    }

    fn cell(&self, row: &Row<'_>, index: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let column = &self.table.columns[index];
        let fault = |fault| Error::Cell { at: Place::of(row), column: column.name.clone(), fault };
        match row.cell(index) {
            Cell::Null if column.not_null => Err(fault(CellFault::Null)),
            Cell::Null => {
                tuple::null(out);
                Ok(())
            }
            Cell::NotSupplied => Err(fault(CellFault::NotSupplied)),
            Cell::Value(text) => tuple::cell(out, |out| column.wire.encode(text, out))
                .map_err(|refusal| fault(CellFault::Refused(refusal))),
        }
    }

    fn count(&self, row: &Row<'_>, out: &[u8], summary: &mut Summary) {
        if summary.read.len() <= row.part {
            summary.read.resize(row.part + 1, 0);
        }
        summary.read[row.part] += 1;
        summary.claimed[row.op as usize] += 1;
        if let Some(column) = self.event.filter(|_| row.op != Op::Delete) {
            let value = integer(tuple::at(out, self.starts[column]));
            summary.max_event_id = summary.max_event_id.max(value);
        }
    }
}

/// The column of that name, if it holds integers.
fn integer_column(table: &Table, name: &str) -> Option<usize> {
    table.column_named(name).filter(|column| {
        let wire = &table.columns[*column].wire;
        matches!(wire, Wire::Int2 | Wire::Int4 | Wire::Int8)
    })
}

/// The value of a binary integer of two, four or eight bytes.
fn integer(bytes: &[u8]) -> Option<i64> {
    match *bytes {
        [a, b] => Some(i16::from_be_bytes([a, b]).into()),
        [a, b, c, d] => Some(i32::from_be_bytes([a, b, c, d]).into()),
        _ => bytes.try_into().ok().map(i64::from_be_bytes),
    }
}

/// Why a cell cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CellFault {
    #[error("null, and the column is not null")]
    Null,
    #[error("not supplied, and this version needs every cell")]
    NotSupplied,
    #[error(transparent)]
    Refused(Refusal),
}
