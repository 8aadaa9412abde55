//! Folds change files in which rows move from key to key, in file order. A row that arrives under a new key keeps the
//! cells that it had under the old one, through chains of moves.
//!
//! The fold does not know the table. A cell that the file does not supply becomes a list of steps: where to look for
//! it, and what to use if nothing is found. The steps are followed once the rows of the table have been read.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::{Batch, RowAction, Wanted};
use super::fold::MergedRow;
use super::sort::Record;
use super::tuple;

/// Source of a row's unset cells. Steps are followed in order; cells that are unset after the last step get the
/// column's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The row that the table has under this key, given as a tuple; if there is one, it is the last step.
    Row(Vec<u8>),
    /// These cells.
    Cells(Vec<u8>),
}

impl Step {
    fn size(&self) -> usize {
        let (Self::Row(tuple) | Self::Cells(tuple)) = self;
        tuple.len()
    }
}

/// Result for one key. Without steps, unset cells of `RowAction::Put` are filled from the table's row with the same
/// key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    pub word: MergedRow,
    pub steps: Vec<Step>,
}

/// The last values of all keys so far.
pub struct Chain {
    values: BTreeMap<Vec<u8>, Value>,
    /// The row that left its key with the last record.
    moving: Moving,
    /// Keys at which a row arrived before the files mentioned them: the table had no row there.
    free: BTreeSet<Vec<u8>>,
    /// Keys from which a row moved before the files mentioned them: the table had a row there.
    taken: BTreeSet<Vec<u8>>,
    /// The key's columns.
    key: Vec<usize>,
}

/// A row between the key that it leaves and the key at which it arrives.
enum Moving {
    /// No row that could move.
    Nothing,
    /// The table's row of this key, if it has one.
    OfTable(Vec<u8>),
    Known(Value),
}

impl Chain {
    /// Folds rows of a table whose key has these columns.
    pub fn new(key: &[usize]) -> Self {
        Self {
            values: BTreeMap::new(),
            moving: Moving::Nothing,
            free: BTreeSet::new(),
            taken: BTreeSet::new(),
            key: key.to_vec(),
        }
    }

    /// Takes the next record, in file order.
    pub fn take(&mut self, record: &Record<'_>) {
        let Record { mark, key, tuple } = *record;
        match mark.wish {
            RowAction::Away => self.leave(key, tuple),
            RowAction::Here => self.arrive(key, tuple, mark.holes),
            wish => self.say(key, wish, tuple, mark.holes),
        }
    }

    /// Returns `true` if no source can have had a row of this key before the files: another one moved there.
    pub fn was_free(&self, key: &[u8]) -> bool {
        self.free.contains(key)
    }

    /// Returns `true` if the table must have had a row of this key before the files: it moved.
    pub fn was_taken(&self, key: &[u8]) -> bool {
        self.taken.contains(key)
    }

    /// Returns what is wanted of a key so far; none if the files have not said anything of it.
    pub fn wish_of(&self, key: &[u8]) -> Option<RowAction> {
        self.values.get(key).map(|value| value.word.wish)
    }

    /// Returns true if the files have said something of the key.
    pub fn names(&self, key: &[u8]) -> bool {
        self.values.contains_key(key)
    }

    /// Returns all keys in their order, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Value)> {
        self.values.iter().map(|(key, value)| (key.as_slice(), value))
    }

    fn say(&mut self, key: &[u8], wish: RowAction, tuple: &[u8], holes: bool) {
        match self.values.get_mut(key) {
            Some(value) => value.then(wish, tuple, holes),
            None => self.put(key, Value::of(MergedRow::of(wish, tuple, holes))),
        }
    }

    fn put(&mut self, key: &[u8], value: Value) {
        self.values.insert(key.to_vec(), value);
    }

    /// Records that the row with `key` is about to move. `tuple` holds its key and nothing else.
    fn leave(&mut self, key: &[u8], tuple: &[u8]) {
        let gone = Value::of(MergedRow::of(RowAction::Gone, tuple, false));
        self.moving = match self.values.insert(key.to_vec(), gone) {
            None => {
                self.taken.insert(key.to_vec());
                Moving::OfTable(tuple.to_vec())
            }
            Some(value) if value.word.wish == RowAction::Gone => Moving::Nothing,
            Some(mut value) => {
                value.steps = value.all_steps(|| tuple.to_vec());
                Moving::Known(value)
            }
        };
    }

    /// Records that a row arrives at `key`. If the row had no known old key, it is treated as a row that does not
    /// move.
    fn arrive(&mut self, key: &[u8], tuple: &[u8], holes: bool) {
        let moving = std::mem::replace(&mut self.moving, Moving::Nothing);
        if !matches!(moving, Moving::Nothing) && !self.values.contains_key(key) {
            self.free.insert(key.to_vec());
        }
        match moving {
            Moving::Nothing => self.say(key, RowAction::Put, tuple, holes),
            Moving::Known(mut value) => {
                value.then(RowAction::Put, tuple, holes);
                self.put(key, value);
            }
            Moving::OfTable(from) => {
                let mut value = Value::of(MergedRow::of(RowAction::Put, tuple, holes));
                if holes {
                    value.steps = vec![Step::Row(from)];
                    let own = || key_alone(tuple, &self.key);
                    match self.values.get(key) {
                        None => value.steps.push(Step::Row(own())),
                        Some(other) if other.word.wish == RowAction::Gone => {}
                        Some(other) => {
                            value.steps.push(Step::Cells(other.word.tuple.clone()));
                            value.steps.extend(other.all_steps(own));
                        }
                    }
                }
                self.put(key, value);
            }
        }
    }
}

/// Returns a copy of the tuple in which all cells outside the key are null.
pub fn key_alone(tuple: &[u8], key: &[usize]) -> Vec<u8> {
    let mut out = Vec::new();
    tuple::begin(tuple::cells(tuple).count(), &mut out);
    for (column, cell) in tuple::cells(tuple).enumerate() {
        match key.contains(&column) {
            true => out.extend_from_slice(cell.0),
            false => tuple::null(&mut out),
        }
    }
    out
}

impl Value {
    pub fn of(word: MergedRow) -> Self {
        Self { word, steps: Vec::new() }
    }

    /// Applies what comes later to the same key.
    pub fn then(&mut self, wish: RowAction, tuple: &[u8], holes: bool) {
        self.word.then(wish, tuple, holes);
        if !self.looks() {
            self.steps.clear();
        }
    }

    /// Returns `true` if cells of it are to be looked for.
    pub fn looks(&self) -> bool {
        self.word.wish == RowAction::Put && self.word.holes
    }

    /// Returns the steps; `own` provides the value's own key.
    pub fn all_steps(&self, own: impl FnOnce() -> Vec<u8>) -> Vec<Step> {
        match self.steps.is_empty() && self.looks() {
            true => vec![Step::Row(own())],
            false => self.steps.clone(),
        }
    }

    /// Returns the value with other steps. Leading steps that are cells are applied at once.
    pub fn with_steps(mut word: MergedRow, steps: Vec<Step>) -> Self {
        let mut steps = steps.into_iter().peekable();
        while let Some(Step::Cells(cells)) = steps.next_if(|step| matches!(step, Step::Cells(_))) {
            word = word.filled(&cells);
        }
        let steps: Vec<Step> = steps.collect();
        match word.holes {
            false => Self::of(word),
            true if steps.is_empty() => Self::of(MergedRow { wish: RowAction::Fresh, ..word }),
            true => Self { word, steps },
        }
    }

    /// Puts it into a batch.
    pub fn push(&self, key: &[u8], batch: &mut Batch) {
        let MergedRow { wish, ref tuple, holes } = self.word;
        if self.looks() && !self.steps.is_empty() {
            batch.elsewhere_size += self.steps.iter().map(Step::size).sum::<usize>();
            batch.elsewhere.push((batch.len(), self.steps.clone()));
        }
        batch.push(Wanted { key, tuple, wish, holes });
    }
}

/// Follows the steps of a row. `found` is the first step that found a row, and that row.
pub fn follow(tuple: &[u8], steps: &[Step], found: Option<(usize, &[u8])>) -> MergedRow {
    let before = found.map_or(steps.len(), |(step, _)| step);
    let mut word = MergedRow { wish: RowAction::Put, tuple: tuple.to_vec(), holes: true };
    for step in &steps[..before] {
        if let Step::Cells(cells) = step {
            word = word.filled(cells);
        }
    }
    match found {
        Some((_, row)) => word.filled(row),
        None if word.holes => MergedRow { wish: RowAction::Fresh, ..word },
        None => word,
    }
}
