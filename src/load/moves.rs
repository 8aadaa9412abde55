//! Folds a delivery in which rows move from key to key: a change file, or late change files together with the files
//! that were loaded after them.
//!
//! The table already has the effect of the loaded files. A row that the files look for under its original key may
//! therefore have been moved by a loaded file. So the loaded files are folded a second time, alone, which shows where
//! each row is now. If a moved row needs a cell that a loaded file overwrote, the delivery is refused.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Error;
use super::batch::Batch;
use super::catalog::Table;
use super::chain::{Chain, Step, Value, key_alone};
use super::collisions::Collisions;
use super::row_pipeline::Stopped;
use super::sort::Record;
use super::tuple;

/// Takes the records of all files, in feed order.
pub struct Moves {
    table: Arc<Table>,
    all: Chain,
    /// Moves of the loaded files, which the table holds already.
    loaded: Chain,
    collisions: Collisions,
    /// `true` for each part of the delivery that was loaded before.
    parts: Vec<bool>,
}

impl Moves {
    pub fn new(table: Arc<Table>, parts: &[bool]) -> Self {
        let (all, loaded) = (Chain::new(&table.key), Chain::new(&table.key));
        Self { table, all, loaded, collisions: Collisions::default(), parts: parts.to_vec() }
    }

    pub fn take(&mut self, record: &Record<'_>) {
        self.collisions.take(record, self.all.wish_of(record.key));
        self.all.take(record);
        if self.parts.get(record.mark.part as usize) == Some(&true) {
            self.loaded.take(record);
        }
    }

    /// Sends all keys on in their order: `each` is called with what puts one into a batch. The first batch has what is to be
    /// judged by the rows of the table.
    pub fn end(self, mut each: impl FnMut(&dyn Fn(&mut Batch)) -> Result<(), Stopped>) -> Result<(), Stopped> {
        let arrivals = Cell::new(self.collisions.end(&self.loaded, &self.parts)?);
        each(&|batch| batch.arrivals = arrivals.take())?;
        let now = Now::of(&self.table, &self.all, &self.loaded);
        self.all.iter().try_for_each(|(key, value)| {
            let moved = now.look_for(key, value)?;
            let value = moved.as_ref().unwrap_or(value);
            each(&|batch| value.push(key, batch))
        })
    }
}

/// Present positions of rows that the table had before the loaded files.
struct Now<'a> {
    table: &'a Table,
    all: &'a Chain,
    /// Result of the loaded files for each key that they name.
    loaded: BTreeMap<&'a [u8], Cow<'a, Value>>,
    /// The key under which a row is now, by the key under which it was.
    keys: HashMap<Vec<u8>, &'a [u8]>,
}

impl<'a> Now<'a> {
    fn of(table: &'a Table, all: &'a Chain, loaded: &'a Chain) -> Self {
        let found = |value: &'a Value| match value.steps.is_empty() {
            true => Cow::Borrowed(value),
            // a free key has no row of its own
            false => {
                let steps = value.steps.iter().filter(|step| !is_free(table, all, step));
                Cow::Owned(Value::with_steps(value.word.clone(), steps.cloned().collect()))
            }
        };
        let loaded: BTreeMap<_, _> = loaded.iter().map(|(key, value)| (key, found(value))).collect();
        let was = |(key, value): (&&'a [u8], &Cow<'a, Value>)| match value.steps.first() {
            Some(Step::Row(row)) => Some((sort_key(table, row), *key)),
            Some(Step::Cells(_)) => None,
            None => value.looks().then(|| (key.to_vec(), *key)),
        };
        let keys = loaded.iter().filter_map(was).collect();
        Self { table, all, loaded, keys }
    }

    /// Returns the value with steps that lead to the rows' present positions, or `None` if the value stays as it is.
    fn look_for(&self, key: &[u8], value: &Value) -> Result<Option<Value>, Error> {
        if !value.looks() || value.steps.is_empty() && !self.loaded.contains_key(key) {
            return Ok(None);
        }
        let steps = value.all_steps(|| key_alone(&value.word.tuple, &self.table.key));
        let mut needs = value.word.clone();
        let mut found = Vec::new();
        for (place, step) in steps.iter().enumerate() {
            match step {
                Step::Cells(cells) => {
                    needs = needs.filled(cells);
                    found.push(step.clone());
                }
                Step::Row(was) => {
                    let was_key = sort_key(self.table, was);
                    if !self.loaded.contains_key(was_key.as_slice()) {
                        found.push(step.clone());
                        continue;
                    }
                    if self.all.was_free(&was_key) {
                        continue;
                    }
                    found.extend(self.row_of(&was_key, &needs.tuple, &steps[place + 1..])?);
                    break;
                }
            }
        }
        Ok(Some(Value::with_steps(value.word.clone(), found)))
    }

    /// Returns the step to the present position of a row that a loaded file names. Fails if one of the cells that are
    /// unset in `needs` was overwritten. Whether the table had that row is known only if it moved; otherwise the
    /// steps in `after` must be the same as those of the loaded file.
    fn row_of(&self, was: &[u8], needs: &[u8], after: &[Step]) -> Result<Option<Step>, Error> {
        let mut needed = holes(needs).into_iter().peekable();
        let Some(first) = needed.peek().copied() else { return Ok(None) };
        let refused = |column: usize| Error::Overwritten { column: self.table.columns[column].name.clone() };
        let key = self.keys.get(was).ok_or_else(|| refused(first))?;
        let now = self.loaded.get(*key).ok_or_else(|| refused(first))?;
        let kept = holes(&now.word.tuple);
        if let Some(lost) = needed.find(|column| !kept.contains(column)) {
            return Err(refused(lost));
        }
        let mut rows = now.steps.iter().skip_while(|step| !matches!(step, Step::Row(row) if self.sort_key(row) == was));
        rows.next();
        let after = after.iter().filter(|step| !is_free(self.table, self.all, step));
        if !self.all.was_taken(was) && !after.eq(rows) {
            return Err(refused(first));
        }
        Ok(Some(Step::Row(key_alone(&now.word.tuple, &self.table.key))))
    }

    fn sort_key(&self, row: &[u8]) -> Vec<u8> {
        sort_key(self.table, row)
    }
}

/// Returns `true` if a step looks for a row that the table did not have.
fn is_free(table: &Table, all: &Chain, step: &Step) -> bool {
    matches!(step, Step::Row(row) if all.was_free(&sort_key(table, row)))
}

fn sort_key(table: &Table, row: &[u8]) -> Vec<u8> {
    let mut key = Vec::new();
    table.sort_key(row, &mut key);
    key
}

fn holes(row: &[u8]) -> Vec<usize> {
    tuple::cells(row).enumerate().filter(|(_, cell)| cell.is_hole()).map(|(column, _)| column).collect()
}
