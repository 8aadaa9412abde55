//! Model of one table in memory that takes reloads and change files in turn and counts the effect that a loader must
//! report. Only changed rows are stored, so the model of a large base stays small. The effect is counted, not the
//! claim.

use super::changes::{Content, KeyChanges};
use super::{Changes, Edition, Op};
use std::collections::HashMap;

/// A table as it should be.
#[derive(Clone, Debug)]
pub struct Expected {
    edition: Edition,
    touched: HashMap<u64, Option<Content>>,
}

/// Effect of a file on a table, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows that were not there before.
    pub create: u64,
    /// Rows that were there with other values.
    pub amend: u64,
    /// Rows that no longer exist.
    pub remove: u64,
    /// Rows that the file has as they were. A key that was not there, before or after, is not counted.
    pub unchanged: u64,
}

impl Expected {
    /// Creates an empty table.
    pub fn empty(edition: &Edition) -> Self {
        Self::holding(Edition::base(edition.entity(), 0, edition.seed()))
    }

    /// Creates a table that holds `edition`.
    pub fn holding(edition: Edition) -> Self {
        Self { edition, touched: HashMap::new() }
    }

    /// Loads a full load of `edition`.
    pub fn reload(&mut self, edition: &Edition) -> Counts {
        let after = Self::holding(edition.clone());
        let reach = self.edition.reach().max(edition.reach());
        let beyond = self.touched.keys().copied().filter(|&row| row >= reach);
        let mut counts = Counts::default();
        (0..reach).chain(beyond).for_each(|row| counts.add(self.content_of(row), after.content_of(row)));
        *self = after;
        counts
    }

    /// Loads a change file.
    pub fn change(&mut self, changes: &Changes) -> Counts {
        let mut folded = HashMap::new();
        for change in changes.iter() {
            if let (Some(from), Some(KeyChanges::Shown)) = (change.from, changes.key_changes) {
                folded.insert(from, None);
            }
            folded.insert(change.row, (change.op != Op::Delete).then_some(change.content));
        }
        let mut counts = Counts::default();
        folded.iter().for_each(|(&row, &after)| counts.add(self.content_of(row), after));
        self.touched.extend(folded);
        counts
    }

    /// Returns the number of rows in the table.
    pub fn size(&self) -> u64 {
        let touched = self.touched.iter();
        touched.fold(self.edition.size(), |size, (&row, now)| {
            size + u64::from(now.is_some()) - u64::from(self.edition.version_of(row).is_some())
        })
    }

    /// Returns the content of a row, if the table has it.
    fn content_of(&self, row: u64) -> Option<Content> {
        let of_edition = || self.edition.version_of(row).map(|version| Content { row, version });
        self.touched.get(&row).copied().unwrap_or_else(of_edition)
    }
}

impl Counts {
    fn add(&mut self, before: Option<Content>, after: Option<Content>) {
        match (before, after) {
            (None, None) => {}
            (None, Some(_)) => self.create += 1,
            (Some(_), None) => self.remove += 1,
            (Some(before), Some(after)) if before == after => self.unchanged += 1,
            (Some(_), Some(_)) => self.amend += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{Entity, Shape};

    const SHAPE: Shape = Shape { gone: 0.1, changed: 0.2, new: 0.3 };

    fn base() -> Edition {
        Edition::base(Entity::Orders, 1_000, 1)
    }

    #[test]
    fn a_first_load_creates_all() {
        let mut table = Expected::empty(&base());
        assert_eq!(table.reload(&base()), Counts { create: 1_000, ..Counts::default() });
        assert_eq!(table.reload(&base()), Counts { unchanged: 1_000, ..Counts::default() });
        assert_eq!(table.size(), 1_000);
    }

    #[test]
    fn over_its_base_a_reload_does_what_it_says() {
        let reload = base().reload(SHAPE).unwrap();
        let mut table = Expected::holding(base());
        assert_eq!(table.reload(&reload), reload.counts());
        assert_eq!(table.size(), reload.size());
    }

    #[test]
    fn a_reload_over_changes_undoes_them() {
        let changes = Changes::new(&base(), 1, 300);
        let mut table = Expected::holding(base());
        let there = table.change(&changes);
        let size = table.size();
        assert_eq!(size, 1_000 + there.create - there.remove);
        let back = table.reload(&base());
        assert_eq!((back.create, back.remove), (there.remove, there.create));
        assert_eq!((back.amend, table.size()), (there.amend, 1_000));
    }

    #[test]
    fn the_same_changes_twice_change_nothing() {
        let changes = Changes::new(&base(), 1, 300);
        let mut table = Expected::holding(base());
        table.change(&changes);
        let again = table.change(&changes);
        assert_eq!(Counts { unchanged: 0, ..again }, Counts::default());
    }
}
