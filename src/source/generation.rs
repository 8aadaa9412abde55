//! What the ledger has loaded of a table's newest full load and of the change files after it.

use std::collections::BTreeMap;

use super::changes::FeedPosition;
use super::entry::Listed;
use super::key::Part;

/// What the ledger has loaded of a table's newest generation.
#[derive(Debug, Default)]
pub(super) struct Generation {
    pub number: i32,
    /// the unpacked key of each part, with its LastModified
    pub parts: BTreeMap<(Part, String), i64>,
    pub not_only_added: bool,
    /// how many change files
    pub change_files: u64,
    /// how many listed change files were written again since they were loaded, and how many were not
    pub rewritten: u64,
    pub untouched: u64,
    pub last_change: Option<FeedPosition>,
    /// its change files, if they are kept in mind: their rows, and the objects that are still as they were loaded
    pub loaded: BTreeMap<FeedPosition, (i64, Option<Listed>)>,
}

impl Generation {
    /// Rows of older generations say nothing any more; a row of a newer one begins it.
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
