//! Folds all files of a generation into the rows that the table must hold, in constant memory.
//!
//! Records go through the sorter, like those of one change file. From the first row on that moves to another key,
//! records go through a `Chain`, which is merged with the sorted records whenever it grows large.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::batch::{Batch, RowAction, Wanted};
use super::catalog::Table;
use super::chain::{Chain, Step};
use super::fold::{Fold, MergedRow};
use super::row_pipeline::{BatchSender, Message, Stopped, Summary, fold_all};
use super::server_cast::Whole;
use super::sinks::Sink;
use super::sort::{Mark, Record, Sorted, Sorter};
use crate::decode::File;

/// Maximum size of the chain in bytes. Tests use a small one, so that the chain is merged several times.
const ROOM: usize = if cfg!(debug_assertions) { 4 << 10 } else { 8 << 20 };
/// Memory of a record beside its bytes, in bytes.
const APIECE: usize = 100;

/// Takes the records of all files, in feed order.
pub struct Refold {
    table: Arc<Table>,
    sorter: Sorter,
    chain: Chain,
    /// Approximate size of the chain in bytes.
    chained: usize,
    /// Maximum size of the chain in bytes.
    room: usize,
    /// Rows move.
    moving: bool,
    /// The row that is being read, reused.
    row: (Vec<u8>, Vec<u8>),
}

impl Sink for Refold {
    fn room(&mut self) -> (&mut Vec<u8>, &mut Vec<u8>) {
        self.row.0.clear();
        self.row.1.clear();
        (&mut self.row.0, &mut self.row.1)
    }

    fn end(&mut self, mark: Mark, _: &[u8]) -> Result<(), Stopped> {
        let row = mem::take(&mut self.row);
        let taken = self.take(&Record { mark, key: &row.1, tuple: &row.0 });
        self.row = row;
        taken
    }
}

impl Refold {
    pub fn new(table: Arc<Table>) -> Self {
        Self::with_room(table, ROOM)
    }

    /// Creates a refold whose chain may take up to `room` bytes.
    pub fn with_room(table: Arc<Table>, room: usize) -> Self {
        let (sorter, chain, row) = (Sorter::default(), Chain::new(&table.key), (Vec::new(), Vec::new()));
        Self { table, sorter, chain, chained: 0, room, moving: false, row }
    }

    /// Takes rows whose cells have been converted by Postgres, until the sender closes the channel.
    pub fn take_whole(&mut self, mut rows: mpsc::Receiver<Message<Whole>>) -> Result<(), Stopped> {
        let mut key = Vec::new();
        while let Some(Message::Batch(whole)) = rows.blocking_recv() {
            for (row, mark) in whole.rows.rows().zip(whole.marks) {
                key.clear();
                self.table.sort_key(row.tuple, &mut key);
                self.take(&Record { mark, key: &key, tuple: row.tuple })?;
            }
        }
        Ok(())
    }

    /// Takes the next record, in feed order.
    pub fn take(&mut self, record: &Record<'_>) -> Result<(), Stopped> {
        self.moving |= record.mark.wish == RowAction::Away;
        // a rejected row does not undo earlier records of its key
        if !self.moving || record.mark.wish == RowAction::Leave {
            return Ok(self.sorter.push(*record)?);
        }
        self.chain.take(record);
        self.chained += record.key.len() + record.tuple.len() + APIECE;
        // a row that moves is two records
        if self.chained > self.room && record.mark.wish != RowAction::Away { self.settle() } else { Ok(()) }
    }

    /// Sends the last word on each key, in key order.
    pub fn finish(mut self, mut outlet: BatchSender<Batch>) {
        let settled = if self.moving { self.settle() } else { Ok(()) };
        let fold = Fold::new(File::Changes, self.table.is_keyless());
        let done = settled.and_then(|()| fold_all(self.sorter, fold, &mut outlet)).and_then(|()| outlet.flush(0));
        outlet.end(done, Summary::default());
    }

    /// Merges the chain with the sorted records.
    fn settle(&mut self) -> Result<(), Stopped> {
        let mut words = Batch::default();
        let chain = mem::replace(&mut self.chain, Chain::new(&self.table.key));
        chain.iter().for_each(|(key, value)| value.push(key, &mut words));
        drop(chain);
        self.chained = 0;
        let mut before = Folded::of(mem::take(&mut self.sorter).sorted()?);
        let mut moved = Moved::of(&words, &self.table);
        let mut place = 0;
        while let Some((key, word)) = before.next()? {
            moved.see(&key, &word);
            while place < words.len() && words.row(place).key < key.as_slice() {
                self.say(words.row(place), place, None, &moved)?;
                place += 1;
            }
            if place < words.len() && words.row(place).key == key.as_slice() {
                self.say(words.row(place), place, Some(word), &moved)?;
                place += 1;
            } else {
                self.keep(&key, &word)?;
            }
        }
        for place in place..words.len() {
            self.say(words.row(place), place, None, &moved)?;
        }
        moved.from.keys().try_for_each(|place| {
            let row = words.row(*place);
            self.keep(row.key, &moved.arrive(*place, row))
        })
    }

    /// Adds a row, unless it comes from another key: such a row is added once the other key has been read.
    fn say(&mut self, row: Wanted<'_>, place: usize, before: Option<MergedRow>, moved: &Moved) -> Result<(), Stopped> {
        if moved.from.contains_key(&place) {
            return Ok(());
        }
        self.keep(row.key, &upon(before, row))
    }

    fn keep(&mut self, key: &[u8], word: &MergedRow) -> Result<(), Stopped> {
        let mark = Mark { part: 0, line: 0, wish: word.wish, holes: word.holes };
        Ok(self.sorter.push(Record { mark, key, tuple: &word.tuple })?)
    }
}

fn upon(before: Option<MergedRow>, row: Wanted<'_>) -> MergedRow {
    match before {
        None => MergedRow::of(row.wish, row.tuple, row.holes),
        Some(mut word) => {
            word.then(row.wish, row.tuple, row.holes);
            word
        }
    }
}

/// Rows that came from other keys, and what was there.
struct Moved {
    /// Sources of a row's unset cells, by the row's index.
    from: HashMap<usize, Vec<Step>>,
    /// Rows that are looked for, by the key as a tuple, as far as they were found.
    there: HashMap<Vec<u8>, Option<MergedRow>>,
    /// The same tuples by their sort keys.
    keys: HashMap<Vec<u8>, Vec<u8>>,
}

impl Moved {
    fn of(words: &Batch, table: &Table) -> Self {
        let (mut there, mut keys) = (HashMap::new(), HashMap::new());
        let steps = words.elsewhere.iter().flat_map(|(_, steps)| steps);
        for row in steps.filter_map(|step| if let Step::Row(row) = step { Some(row) } else { None }) {
            let mut key = Vec::new();
            table.sort_key(row, &mut key);
            keys.insert(key, row.clone());
            there.insert(row.clone(), None);
        }
        Self { from: words.elsewhere.iter().cloned().collect(), there, keys }
    }

    fn see(&mut self, key: &[u8], word: &MergedRow) {
        if let Some(there) = self.keys.get(key).and_then(|row| self.there.get_mut(row)) {
            *there = Some(word.clone());
        }
    }

    /// Returns a moved row with its unset cells filled from its old row. The files began with an empty table, so a
    /// row that they did not write does not exist.
    fn arrive(&self, place: usize, row: Wanted<'_>) -> MergedRow {
        let mut word = MergedRow { wish: row.wish, tuple: row.tuple.to_vec(), holes: row.holes };
        for step in self.from.get(&place).into_iter().flatten() {
            match step {
                Step::Cells(cells) => word = word.filled(cells),
                Step::Row(key) => {
                    let there = self.there.get(key).and_then(Option::as_ref);
                    if let Some(there) = there.filter(|word| matches!(word.wish, RowAction::Put | RowAction::Fresh)) {
                        word = word.filled(&there.tuple);
                        break;
                    }
                }
            }
        }
        MergedRow { wish: if word.holes { RowAction::Fresh } else { RowAction::Put }, ..word }
    }
}

/// The last word on each key of sorted records, one by one.
struct Folded {
    sorted: Sorted,
    fold: Fold,
    batch: Batch,
    at_end: bool,
}

impl Folded {
    fn of(sorted: Sorted) -> Self {
        Self { sorted, fold: Fold::new(File::Changes, false), batch: Batch::default(), at_end: false }
    }

    fn next(&mut self) -> Result<Option<(Vec<u8>, MergedRow)>, Stopped> {
        while self.batch.len() == 0 && !self.at_end {
            match self.sorted.next_record()? {
                Some(record) => self.fold.take(&record, &mut self.batch)?,
                None => {
                    self.fold.end(&mut self.batch);
                    self.at_end = true;
                }
            }
        }
        let batch = mem::take(&mut self.batch);
        Ok(batch
            .rows()
            .next()
            .map(|row| (row.key.to_vec(), MergedRow { wish: row.wish, tuple: row.tuple.to_vec(), holes: row.holes })))
    }
}
