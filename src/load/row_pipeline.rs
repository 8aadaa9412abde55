//! Turns rows into encoded batches in key order, on a thread beside the runtime, behind a bounded channel.
//!
//! A snapshot in key order goes straight through; its first row out of order ends the attempt with `OutOfOrder`, and
//! the delivery is read again through the sorter. A change file always goes through the sorter, where the records of
//! one key are folded. One in which rows move from key to key is read again, in file order (`moves`). Rows with cells
//! that only Postgres can parse remain drafts until it has converted them (`server_cast`).

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::batch::{Batch, RowAction};
use super::catalog::Table;
use super::encoder::{Encoder, Fault};
use super::fold::Fold;
use super::moves::Moves;
use super::rejects::{Reject, Rejects};
use super::sinks::{Chaining, Drafting, Sink, Sorting, Straight};
use super::sort::{Mark, Sorter};
use super::{Error, Place};
use crate::decode::{File, Op, Parts, Row, Rows};

/// Statistics of the rows that were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows of each part.
    pub read: Vec<u64>,
    /// The highest value of the event column among the rows read.
    pub max_event_id: Option<i64>,
    /// Inserts, updates and deletes that the rows of each part claim; none if they have no op.
    pub claimed: Option<Vec<[u64; 3]>>,
}

/// Order in which the rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Expected in key order, refused otherwise.
    ByKey,
    /// Any order: the rows are sorted here.
    Any,
    /// Rows move from key to key: folded in file order.
    Moving,
}

/// Method by which the rows are put into order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// No sorting: the table is empty and has no key.
    AsTheyCome,
    Straight,
    Sorted,
    Chained,
}

pub const BATCH: usize = 192 << 10;
/// Batches between the thread and the runtime.
const AHEAD: usize = 3;

/// The receiving end; of batches, or of drafts.
pub struct RowPipeline<T = Batch> {
    batches: mpsc::Receiver<Message<T>>,
    summary: Summary,
    /// `true` if the first batch comes only after all rows were read.
    pub sorts: bool,
}

pub enum Message<T> {
    Batch(T),
    End(Summary),
    Failed(Error),
}

/// Rows with cells that Postgres must convert, with the rows' positions, and their bytes in the file if they are
/// needed.
#[derive(Debug, Default)]
pub struct Draft {
    pub rows: Batch,
    pub marks: Vec<Mark>,
    pub raw: Vec<Vec<u8>>,
}

/// Settings of a row pipeline.
pub struct Plan<'a> {
    pub table: &'a Arc<Table>,
    pub event_id: &'a str,
    /// Store for bad rows; without it the first bad row fails the delivery.
    pub rejects: Option<&'a Rejects>,
    /// `true` if the table's row with a bad row's key is kept.
    pub leaves: bool,
    /// `true` for each part that was loaded before, if late files are folded in with it.
    pub loaded: &'a [bool],
}

impl RowPipeline {
    /// Starts to decode and encode `rows`, and to put them into order.
    pub fn start<P>(rows: Rows<P>, plan: &Plan<'_>, way: Way) -> Self
    where
        P: Parts + Send + 'static,
        P::Bytes: Send,
    {
        let (sender, mut intake) = Self::channel();
        intake.sorts = way == Way::Sorted;
        let reader = Reader::new(plan, rows.file());
        tokio::task::spawn_blocking(move || reader.run(rows, way, BatchSender::new(sender)));
        intake
    }
}

impl RowPipeline<Draft> {
    /// Starts to decode `rows` and to encode what can be encoded here.
    pub fn drafts<P>(rows: Rows<P>, plan: &Plan<'_>) -> Self
    where
        P: Parts + Send + 'static,
        P::Bytes: Send,
    {
        let (sender, intake) = Self::channel();
        let mut reader = Reader::new(plan, rows.file());
        tokio::task::spawn_blocking(move || {
            let mut sink = Drafting::new(BatchSender::new(sender), reader.rejects.is_some());
            let done = reader.read(rows, &mut sink).and_then(|()| sink.outlet.flush(0));
            sink.outlet.end(done, reader.summary);
        });
        intake
    }
}

impl<T> RowPipeline<T> {
    pub fn channel() -> (mpsc::Sender<Message<T>>, Self) {
        let (sender, batches) = mpsc::channel(AHEAD);
        (sender, Self { batches, summary: Summary::default(), sorts: false })
    }

    /// Returns the next batch, or `None` after the last one, when every byte has been checked.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        match self.batches.recv().await {
            Some(Message::Batch(batch)) => Ok(Some(batch)),
            Some(Message::End(summary)) => {
                self.summary = summary;
                Ok(None)
            }
            Some(Message::Failed(error)) => Err(error),
            // the thread ended without a last message: it panicked
            None => Err(Error::Panicked),
        }
    }

    /// Returns the number of rows that were read; complete after the last batch.
    pub fn rows_read(&self) -> u64 {
        self.summary.read.iter().sum()
    }

    /// Returns the statistics; complete after the last batch.
    pub fn into_summary(self) -> Summary {
        self.summary
    }
}

/// Reason for which the thread ends early.
pub enum Stopped {
    Error(Error),
    /// The receiver was dropped: the delivery was given up.
    Hangup,
}

impl<E: Into<Error>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// The sending end, and the batch that is being filled.
pub struct BatchSender<T> {
    sender: mpsc::Sender<Message<T>>,
    pub batch: T,
}

/// Unit of rows that is sent through the channel.
pub trait Chunk: Default {
    /// Returns the size in bytes.
    fn size(&self) -> usize;

    /// Returns an empty chunk with about as much capacity as this one uses.
    fn like(&self) -> Self;
}

impl<T: Chunk> BatchSender<T> {
    pub fn new(sender: mpsc::Sender<Message<T>>) -> Self {
        Self { sender, batch: T::default() }
    }

    /// Sends the batch if it holds more than `beyond` bytes.
    pub fn flush(&mut self, beyond: usize) -> Result<(), Stopped> {
        if self.batch.size() <= beyond {
            return Ok(());
        }
        let next = self.batch.like();
        let batch = std::mem::replace(&mut self.batch, next);
        self.sender.blocking_send(Message::Batch(batch)).map_err(|_| Stopped::Hangup)
    }

    /// Sends the last message: the statistics, or the error.
    pub fn end(self, done: Result<(), Stopped>, summary: Summary) {
        let last = match done {
            Ok(()) => Message::End(summary),
            Err(Stopped::Error(error)) => Message::Failed(error),
            Err(Stopped::Hangup) => return,
        };
        // The receiver is gone if the delivery was given up.
        let _ = self.sender.blocking_send(last);
    }

    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Chunk for Batch {
    fn size(&self) -> usize {
        self.tuples.len() + self.elsewhere_size
    }

    fn like(&self) -> Self {
        Batch::like(self)
    }
}

impl Chunk for Draft {
    fn size(&self) -> usize {
        self.rows.tuples.len() + self.raw.iter().map(Vec::len).sum::<usize>()
    }

    fn like(&self) -> Self {
        Self { rows: Batch::like(&self.rows), ..Self::default() }
    }
}

/// The thread's side: reads rows and encodes them.
struct Reader {
    encoder: Encoder,
    rejects: Option<Rejects>,
    leaves: bool,
    loaded: Vec<bool>,
    summary: Summary,
    claimed: Vec<[u64; 3]>,
    file: File,
}

impl Reader {
    fn new(plan: &Plan<'_>, file: File) -> Self {
        let encoder = Encoder::new(plan.table.clone(), plan.event_id);
        let (rejects, leaves, loaded) = (plan.rejects.cloned(), plan.leaves, plan.loaded.to_vec());
        Self { encoder, rejects, leaves, loaded, summary: Summary::default(), claimed: Vec::new(), file }
    }

    fn run<P: Parts>(mut self, rows: Rows<P>, way: Way, mut outlet: BatchSender<Batch>) {
        let done = match way {
            Way::AsTheyCome | Way::Straight => self.read(rows, &mut Straight::new(&mut outlet, way == Way::Straight)),
            Way::Sorted => {
                let mut sink = Sorting::new(&outlet);
                let read = self.read(rows, &mut sink);
                let (sorter, multiset) = (sink.sorter, self.encoder.table().is_keyless());
                read.and_then(|()| fold_all(sorter, Fold::new(self.file, multiset), &mut outlet))
            }
            Way::Chained => {
                let moves = Moves::new(self.encoder.shared_table(), &self.loaded);
                let mut sink = Chaining::new(moves, &outlet);
                let read = self.read(rows, &mut sink);
                let moves = sink.moves;
                read.and_then(|()| send_moves(moves, &mut outlet))
            }
        };
        let done = done.and_then(|()| outlet.flush(0));
        outlet.end(done, self.summary);
    }

    fn read<P: Parts>(&mut self, mut rows: Rows<P>, sink: &mut impl Sink) -> Result<(), Stopped> {
        loop {
            match rows.next_row() {
                Ok(None) => break,
                Ok(Some(row)) => self.row(&row, sink)?,
                Err(error) if self.rejects.is_some() && error.of_the_row() => {
                    let (part, line) = rows.place();
                    self.count_read(part);
                    self.reject(Place { part, line }, error.column(), &error.to_string(), rows.raw(), true)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.summary.claimed = rows.has_op().filter(|has| *has).map(|_| std::mem::take(&mut self.claimed));
        Ok(())
    }

    #[inline]
    fn row(&mut self, row: &Row<'_>, sink: &mut impl Sink) -> Result<(), Stopped> {
        self.count_read(row.part);
        self.claimed[row.part][row.op as usize] += 1;
        if self.encoder.moves(row) {
            return self.moving(row, sink);
        }
        let wish = if row.op == Op::Delete { RowAction::Gone } else { RowAction::Put };
        let (out, key) = sink.room();
        match self.encoder.row(row, out, key) {
            Ok(holes) => {
                self.summary.max_event_id = self.summary.max_event_id.max(self.encoder.event_id(row, out));
                sink.end(mark(row, wish, holes), row.raw())
            }
            Err(fault) => self.bad(row, fault, sink),
        }
    }

    /// Encodes a row that moves to another key as two records, or as none if it cannot be encoded.
    #[cold]
    fn moving(&mut self, row: &Row<'_>, sink: &mut impl Sink) -> Result<(), Stopped> {
        let (mut here, mut key, mut away, mut old_key) = Default::default();
        let encoded = self.encoder.key_of(row, true, &mut away, &mut old_key);
        let holes = match encoded.and_then(|()| self.encoder.row(row, &mut here, &mut key)) {
            Ok(holes) => holes,
            Err(fault) => return self.bad(row, fault, sink),
        };
        self.summary.max_event_id = self.summary.max_event_id.max(self.encoder.event_id(row, &here));
        put(sink, &away, &old_key);
        sink.end(mark(row, RowAction::Away, false), row.raw())?;
        put(sink, &here, &key);
        sink.end(mark(row, RowAction::Here, holes), row.raw())
    }

    fn count_read(&mut self, part: usize) {
        if self.summary.read.len() <= part {
            self.summary.read.resize(part + 1, 0);
            self.claimed.resize(part + 1, [0; 3]);
        }
        self.summary.read[part] += 1;
    }

    /// Handles a row that cannot be encoded: fails the delivery, or quarantines the row. A snapshot then keeps the
    /// table's row with the same key.
    #[cold]
    fn bad(&mut self, row: &Row<'_>, Fault { column, fault }: Fault, sink: &mut impl Sink) -> Result<(), Stopped> {
        let (at, column) = (Place::of(row), self.encoder.column(column).to_owned());
        if self.rejects.is_none() {
            return Err(Error::Cell { at, column, fault }.into());
        }
        let (out, key) = sink.room();
        let start = (out.len(), key.len());
        let readable = !self.encoder.table().is_keyless() && self.encoder.key_of(row, false, out, key).is_ok();
        let stays = readable && self.leaves;
        if !stays {
            out.truncate(start.0);
            key.truncate(start.1);
        }
        self.reject(at, Some(&column), &fault.to_string(), row.raw(), !readable)?;
        if stays { sink.end(mark(row, RowAction::Leave, false), row.raw()) } else { Ok(()) }
    }

    fn reject(&self, at: Place, column: Option<&str>, reason: &str, raw: &[u8], blind: bool) -> Result<(), io::Error> {
        let prefix = format!("line {}: ", at.line);
        let reason = reason.strip_prefix(&prefix).unwrap_or(reason);
        let reject = Reject { at, column, reason, raw, blind };
        self.rejects.as_ref().map_or(Ok(()), |rejects| rejects.add(&reject))
    }
}

fn put(sink: &mut impl Sink, tuple: &[u8], key: &[u8]) {
    let (out, out_key) = sink.room();
    out.extend_from_slice(tuple);
    out_key.extend_from_slice(key);
}

fn mark(row: &Row<'_>, wish: RowAction, holes: bool) -> Mark {
    Mark { part: row.part as u32, line: row.line, wish, holes }
}

/// Reads all rows into a sink, on the calling thread.
pub fn read_into<P: Parts>(rows: Rows<P>, plan: &Plan<'_>, sink: &mut impl Sink) -> Result<Summary, Stopped> {
    let mut reader = Reader::new(plan, rows.file());
    reader.read(rows, sink)?;
    Ok(reader.summary)
}

/// Sends the sorter's records on, folded.
pub fn fold_all(sorter: Sorter, mut fold: Fold, outlet: &mut BatchSender<Batch>) -> Result<(), Stopped> {
    let mut sorted = sorter.sorted()?;
    while let Some(record) = sorted.next_record()? {
        fold.take(&record, &mut outlet.batch)?;
        outlet.flush(BATCH)?;
    }
    fold.end(&mut outlet.batch);
    Ok(())
}

/// Sends the rows on that were folded in file order.
pub fn send_moves(moves: Moves, outlet: &mut BatchSender<Batch>) -> Result<(), Stopped> {
    moves.end(|word| {
        word(&mut outlet.batch);
        outlet.flush(BATCH)
    })
}
