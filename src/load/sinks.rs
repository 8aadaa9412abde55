//! Sinks for encoded rows on the pipeline's thread: a batch, the sorter, the fold of rows that move, or a draft.

use super::batch::{Batch, RowAction};
use super::moves::Moves;
use super::row_pipeline::{BATCH, BatchSender, Draft, Stopped};
use super::sort::{Mark, Record, Sorter};
use super::{Error, Place};

/// Takes rows one by one.
pub trait Sink {
    /// Returns the buffers to which the next row's tuple and key are appended.
    fn room(&mut self) -> (&mut Vec<u8>, &mut Vec<u8>);

    /// Completes the row; `raw` are its bytes in the file.
    fn end(&mut self, mark: Mark, raw: &[u8]) -> Result<(), Stopped>;
}

/// Sink that writes batches as rows come; it checks their key order if required.
pub struct Straight<'a> {
    outlet: &'a mut BatchSender<Batch>,
    in_order: bool,
    before: Vec<u8>,
    before_at: Place,
    before_leaves: bool,
}

impl<'a> Straight<'a> {
    pub fn new(outlet: &'a mut BatchSender<Batch>, in_order: bool) -> Self {
        Self { outlet, in_order, before: Vec::new(), before_at: Place::default(), before_leaves: false }
    }
}

impl Sink for Straight<'_> {
    #[inline]
    fn room(&mut self) -> (&mut Vec<u8>, &mut Vec<u8>) {
        (&mut self.outlet.batch.tuples, &mut self.outlet.batch.keys)
    }

    #[inline]
    fn end(&mut self, mark: Mark, _: &[u8]) -> Result<(), Stopped> {
        self.outlet.batch.end_row(mark.wish, mark.holes);
        if self.in_order {
            let (at, key) = (mark.into(), self.outlet.batch.last_key());
            let leaves = mark.wish == RowAction::Leave;
            check_order(&self.before, key, self.before_at, at, leaves || self.before_leaves)?;
            self.before.clear();
            self.before.extend_from_slice(key);
            (self.before_at, self.before_leaves) = (at, leaves);
        }
        self.outlet.flush(BATCH)
    }
}

/// Checks that a row's key is greater than the one before. If one of two rows with the same key was rejected
/// (`leaves`), they are no duplicates: the rows are read again through the sorter, whose fold handles that case.
fn check_order(before: &[u8], now: &[u8], before_at: Place, at: Place, leaves: bool) -> Result<(), Error> {
    match before.cmp(now) {
        _ if before_at == Place::default() => Ok(()),
        std::cmp::Ordering::Less => Ok(()),
        std::cmp::Ordering::Equal if leaves => Err(Error::OutOfOrder),
        std::cmp::Ordering::Equal => Err(Error::Duplicate { first: before_at, second: at }),
        std::cmp::Ordering::Greater => Err(Error::OutOfOrder),
    }
}

/// Room for one row, used again for the next.
#[derive(Default)]
struct Scratch {
    tuple: Vec<u8>,
    key: Vec<u8>,
}

impl Scratch {
    fn room(&mut self) -> (&mut Vec<u8>, &mut Vec<u8>) {
        self.tuple.clear();
        self.key.clear();
        (&mut self.tuple, &mut self.key)
    }

    fn record(&self, mark: Mark) -> Record<'_> {
        Record { mark, key: &self.key, tuple: &self.tuple }
    }
}

/// Into the sorter.
pub struct Sorting<'a> {
    pub sorter: Sorter,
    outlet: &'a BatchSender<Batch>,
    row: Scratch,
}

impl<'a> Sorting<'a> {
    pub fn new(outlet: &'a BatchSender<Batch>) -> Self {
        Self { sorter: Sorter::default(), outlet, row: Scratch::default() }
    }
}

impl Sink for Sorting<'_> {
    fn room(&mut self) -> (&mut Vec<u8>, &mut Vec<u8>) {
        self.row.room()
    }

    fn end(&mut self, mark: Mark, _: &[u8]) -> Result<(), Stopped> {
        // sorting sends nothing, so the closed channel must be checked explicitly
        if self.outlet.is_closed() {
            return Err(Stopped::Hangup);
        }
        if mark.wish == RowAction::Away {
            return Err(Error::Moving.into());
        }
        Ok(self.sorter.push(self.row.record(mark))?)
    }
}

/// Into the fold of rows that move.
pub struct Chaining<'a> {
    pub moves: Moves,
    outlet: &'a BatchSender<Batch>,
    row: Scratch,
}

impl<'a> Chaining<'a> {
    pub fn new(moves: Moves, outlet: &'a BatchSender<Batch>) -> Self {
        Self { moves, outlet, row: Scratch::default() }
    }
}

impl Sink for Chaining<'_> {
    fn room(&mut self) -> (&mut Vec<u8>, &mut Vec<u8>) {
        self.row.room()
    }

    fn end(&mut self, mark: Mark, _: &[u8]) -> Result<(), Stopped> {
        if self.outlet.is_closed() {
            return Err(Stopped::Hangup);
        }
        self.moves.take(&self.row.record(mark));
        Ok(())
    }
}

/// Into drafts, with the places of the rows.
pub struct Drafting {
    pub outlet: BatchSender<Draft>,
    keep_raw: bool,
}

impl Drafting {
    pub fn new(outlet: BatchSender<Draft>, keep_raw: bool) -> Self {
        Self { outlet, keep_raw }
    }
}

impl Sink for Drafting {
    fn room(&mut self) -> (&mut Vec<u8>, &mut Vec<u8>) {
        let rows = &mut self.outlet.batch.rows;
        (&mut rows.tuples, &mut rows.keys)
    }

    fn end(&mut self, mark: Mark, raw: &[u8]) -> Result<(), Stopped> {
        let draft = &mut self.outlet.batch;
        draft.rows.end_row(mark.wish, mark.holes);
        draft.marks.push(mark);
        if self.keep_raw {
            draft.raw.push(raw.to_vec());
        }
        // both records of a row that moves are kept or rejected together
        if mark.wish == RowAction::Away { Ok(()) } else { self.outlet.flush(BATCH) }
    }
}
