//! Loaded files of a table's newest full load, and of the change files after it.

use std::collections::BTreeMap;

use super::changes::FeedPosition;
use super::entry::Listed;
use super::key::Part;

/// Loaded files of a table's newest generation.
#[derive(Debug, Default)]
pub(super) struct Generation {
    pub number: i32,
    /// The unpacked key of each part, with its LastModified.
    pub parts: BTreeMap<(Part, String), i64>,
    pub not_only_added: bool,
    /// Number of change files.
    pub change_files: u64,
    /// Numbers of listed change files that were rewritten since they were loaded, and of those that were not.
    pub rewritten: u64,
    pub untouched: u64,
    pub last_change: Option<FeedPosition>,
    /// Change files, if they are collected: their ledger rows, and the objects that are unchanged since.
    pub loaded: BTreeMap<FeedPosition, (i64, Option<Listed>)>,
}

impl Generation {
    /// Moves on to a newer generation. Returns `None` for rows of older generations, which no longer matter.
    pub fn reach(&mut self, number: i32) -> Option<&mut Self> {
        if number > self.number {
            *self = Self { number, ..Self::default() };
        }
        (number == self.number).then_some(self)
    }

    /// Takes in what was loaded from another folder of the same table.
    pub fn join(&mut self, other: Self) {
        let Some(now) = self.reach(other.number) else { return };
        now.parts.extend(other.parts);
        now.not_only_added |= other.not_only_added;
        now.change_files += other.change_files;
        now.rewritten += other.rewritten;
        now.untouched += other.untouched;
        now.last_change = now.last_change.take().max(other.last_change);
        now.loaded.extend(other.loaded);
    }
}
