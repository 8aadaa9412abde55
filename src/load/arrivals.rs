//! Rows whose holes are filled from rows that the table has under other keys.
//!
//! The rows that are looked for come from the table in the order of their old keys. They are sorted by where they are needed,
//! on disk if there are many, and the filled rows come in pieces: memory does not grow with the rows of the table.

use std::collections::HashMap;

use super::batch::{Batch, Wanted};
use super::catalog::Table;
use super::chain::{Step, follow};
use super::row_pipeline::BATCH;
use super::sort::{Mark, Record, Sorted, Sorter};
use super::table_cursor::TableCursor;
use super::unnest::UnnestParams;
use super::{Error, tuple};
use crate::pg::Tx;

/// A batch that is filled and given on in pieces.
pub struct Arrivals {
    batch: Batch,
    /// Rows of the table, ordered by the place and step that look for them.
    rows: Sorted,
    /// The row that was read last.
    read: Option<(Needed, Vec<u8>)>,
    /// Next place, and its index among those with other sources.
    next: (usize, usize),
}

/// Place in the batch, and step that looks for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Needed {
    place: u32,
    step: u32,
}

impl Needed {
    fn to_key(self) -> [u8; 8] {
        (u64::from(self.place) << 32 | u64::from(self.step)).to_be_bytes()
    }

    fn of_key(key: &[u8]) -> Self {
        let both = key.try_into().map_or(0, u64::from_be_bytes);
        Self { place: (both >> 32) as u32, step: both as u32 }
    }
}

impl Arrivals {
    /// Reads the rows that the batch needs. Nothing has been written yet, so the table still has all of them.
    pub async fn of(tx: &Tx, table: &Table, batch: Batch) -> Result<Self, Error> {
        let (mut needed, mut sorter) = (HashMap::new(), Sorter::default());
        let mut keys = UnnestParams::new(table, table.key.iter().copied());
        for (place, steps) in &batch.elsewhere {
            for (step, row) in steps.iter().enumerate() {
                let Step::Row(row) = row else { continue };
                let (mut key, mut sort_key) = (Vec::new(), Vec::new());
                tuple::pick(row, &table.key, &mut key);
                table.sort_key(row, &mut sort_key);
                keys.push(&key);
                let by: &mut Vec<Needed> = needed.entry(sort_key).or_default();
                by.push(Needed { place: *place as u32, step: step as u32 });
                if keys.is_full() {
                    fetch(tx, table, &mut keys, &needed, &mut sorter).await?;
                    needed.clear();
                }
            }
        }
        fetch(tx, table, &mut keys, &needed, &mut sorter).await?;
        Ok(Self { batch, rows: sorter.sorted()?, read: None, next: (0, 0) })
    }

    /// Returns the next rows with all unset cells filled, or `None` after the last one.
    pub fn next(&mut self) -> Result<Option<Batch>, Error> {
        let mut filled = Batch::default();
        while self.next.0 < self.batch.len() && filled.tuples.len() <= BATCH {
            self.fill(&mut filled)?;
        }
        Ok((filled.len() > 0).then_some(filled))
    }

    fn fill(&mut self, filled: &mut Batch) -> Result<(), Error> {
        let place = self.next.0;
        self.next.0 += 1;
        let looks = self.batch.elsewhere.get(self.next.1).is_some_and(|(looking, _)| *looking == place);
        if !looks {
            filled.push(self.batch.row(place));
            return Ok(());
        }
        let found = self.found(place as u32)?;
        let (wanted, steps) = (self.batch.row(place), &self.batch.elsewhere[self.next.1].1);
        self.next.1 += 1;
        let found = found.as_ref().map(|(step, row)| (*step, row.as_slice()));
        let word = follow(wanted.tuple, steps, found);
        filled.push(Wanted { key: wanted.key, tuple: &word.tuple, wish: word.wish, holes: word.holes });
        Ok(())
    }

    /// Returns the first row that was found for `place`, with the index of the step that looked for it.
    fn found(&mut self, place: u32) -> Result<Option<(usize, Vec<u8>)>, Error> {
        let mut found = None;
        loop {
            if self.read.is_none() {
                let record = self.rows.next_record()?;
                self.read = record.map(|record| (Needed::of_key(record.key), record.tuple.to_vec()));
            }
            match self.read.take() {
                Some((needed, row)) if needed.place == place => {
                    found.get_or_insert((needed.step as usize, row));
                }
                other => {
                    self.read = other;
                    return Ok(found);
                }
            }
        }
    }
}

async fn fetch(
    tx: &Tx,
    table: &Table,
    keys: &mut UnnestParams,
    needed: &HashMap<Vec<u8>, Vec<Needed>>,
    sorter: &mut Sorter,
) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let mut current = TableCursor::of_keys(tx, table, keys).await?;
    while let Some((key, row)) = current.row() {
        for by in needed.get(key).into_iter().flatten() {
            let mark = Mark { part: 0, line: 0, wish: super::batch::RowAction::Put, holes: false };
            sorter.push(Record { mark, key: &by.to_key(), tuple: row })?;
        }
        current.advance().await?;
    }
    keys.clear();
    Ok(())
}
