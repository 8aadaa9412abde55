//! Rows on their way to the table: tuples with their sort keys and what each wants, many at a time.

use super::chain::Step;
use super::collisions::Arrival;

/// Effect of one row of a batch on the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowAction {
    /// Writes the tuple; an unset cell keeps the table's value.
    Put,
    /// Writes the tuple of a row that was deleted before; an unset cell gets the column's default.
    Fresh,
    /// Deletes the row.
    Gone,
    /// Keeps the table's row with this key, because the file's row with the same key was rejected.
    Leave,
    /// Deletes the row because it moves to another key; the next record is the row under its new key.
    Away,
    /// Writes the row under its new key; an unset cell keeps the value that the row had under the old key.
    Here,
}

impl RowAction {
    const ALL: [Self; 6] = [Self::Put, Self::Fresh, Self::Gone, Self::Leave, Self::Away, Self::Here];

    pub fn as_byte(self) -> u8 {
        self as u8
    }

    pub fn from_byte(byte: u8) -> Self {
        Self::ALL.get(usize::from(byte)).copied().unwrap_or(Self::Put)
    }
}

/// One row of a batch, borrowed from it.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub key: &'a [u8],
    pub tuple: &'a [u8],
    pub wish: RowAction,
    /// `true` if the tuple has unset cells.
    pub holes: bool,
}

/// Encoded rows, in key order.
#[derive(Debug, Default)]
pub struct Batch {
    /// The tuples, one after the other.
    pub tuples: Vec<u8>,
    /// Sort keys of the rows, concatenated.
    pub keys: Vec<u8>,
    rows: Vec<Slot>,
    /// Rows (by place) whose holes are not filled from the table's row of the same key, and where they are filled from.
    pub elsewhere: Vec<(usize, Vec<Step>)>,
    /// Size of `elsewhere` in bytes.
    pub elsewhere_size: usize,
    /// of all rows of the delivery: those that must not meet another row where they arrive
    pub arrivals: Vec<Arrival>,
    /// `true` if some row has unset cells; `mixed` is `true` if some row is not to be written.
    pub holes: bool,
    pub mixed: bool,
}

/// End of a row's tuple and key in the batch's buffers, and its action.
#[derive(Debug, Clone, Copy)]
struct Slot {
    tuple_end: u32,
    key_end: u32,
    wish: RowAction,
    holes: bool,
}

impl Batch {
    /// Returns an empty batch with capacity for as much data as `like` holds.
    pub fn like(like: &Self) -> Self {
        let room = |used: usize| used + used / 8;
        Self {
            tuples: Vec::with_capacity(room(like.tuples.len())),
            keys: Vec::with_capacity(room(like.keys.len())),
            rows: Vec::with_capacity(room(like.rows.len())),
            ..Self::default()
        }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn rows(&self) -> impl Iterator<Item = Wanted<'_>> {
        (0..self.rows.len()).map(|place| self.row(place))
    }

    pub fn row(&self, place: usize) -> Wanted<'_> {
        let (tuple, key) = place.checked_sub(1).map_or((0, 0), |before| {
            let before = self.rows[before];
            (before.tuple_end as usize, before.key_end as usize)
        });
        let Slot { tuple_end, key_end, wish, holes } = self.rows[place];
        Wanted { key: &self.keys[key..key_end as usize], tuple: &self.tuples[tuple..tuple_end as usize], wish, holes }
    }

    pub fn push(&mut self, row: Wanted<'_>) {
        self.tuples.extend_from_slice(row.tuple);
        self.keys.extend_from_slice(row.key);
        self.end_row(row.wish, row.holes);
    }

    /// Ends a row whose tuple and key were just appended.
    pub fn end_row(&mut self, wish: RowAction, holes: bool) {
        let (tuple_end, key_end) = (self.tuples.len() as u32, self.keys.len() as u32);
        self.rows.push(Slot { tuple_end, key_end, wish, holes });
        self.holes |= holes;
        self.mixed |= wish != RowAction::Put;
    }

    /// Returns `true` if no row of the batch changes the table.
    pub fn puts_nothing(&self) -> bool {
        self.mixed && self.rows().all(|row| row.wish == RowAction::Leave)
    }

    /// Returns how many rows are to be put.
    pub fn puts(&self) -> u64 {
        match self.mixed {
            true => self.rows.iter().filter(|row| row.wish == RowAction::Put).count() as u64,
            false => self.rows.len() as u64,
        }
    }

    pub fn last_key(&self) -> &[u8] {
        self.rows.len().checked_sub(1).map_or(&[], |last| self.row(last).key)
    }

    /// Returns the tuples of all rows to be written, concatenated.
    pub fn into_tuples(self) -> Vec<u8> {
        if !self.mixed {
            return self.tuples;
        }
        let put = self.rows().filter(|row| row.wish == RowAction::Put);
        put.fold(Vec::with_capacity(self.tuples.len()), |mut all, row| {
            all.extend_from_slice(row.tuple);
            all
        })
    }
}
