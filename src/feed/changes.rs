//! Change files: short scripts over one row each, woven into one another as a busy source weaves them.
//! Plain changes are the most; the rest is what loaders get wrong: several operations on one key, an
//! insert of a row that the full load had, an update or a delete of a row that it had not.

use super::{Edition, mix::Draws};

/// A change file over an edition.
#[derive(Clone, Debug)]
pub struct Changes {
    /// What the file was made over; most of its rows are of this edition.
    pub edition: Edition,
    /// Which of the edition's change files: other numbers, other rows and values. Files of one size
    /// never insert the same row; they do change the same ones now and then.
    pub number: u32,
    /// Operations in the file.
    pub ops: u64,
    /// Deletes give only the key and NULL for the rest, as a source without full logging does.
    pub key_only_deletes: bool,
}

/// One operation: `row` is there in `version` afterwards, or is there no more. A delete's version is
/// the one in its before-image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) op: Op,
    pub(super) row: u64,
    pub(super) version: u64,
}

/// The letter before the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `I`
    Insert,
    /// `U`
    Update,
    /// `D`
    Delete,
}

/// What a change file says of itself: operations by letter. Its effect is another matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Lines with `I`.
    pub inserts: u64,
    /// Lines with `U`.
    pub updates: u64,
    /// Lines with `D`.
    pub deletes: u64,
}

impl Changes {
    /// A file of `ops` operations; deletes carry the full row.
    pub fn new(edition: &Edition, number: u32, ops: u64) -> Self {
        Self { edition: edition.clone(), number, ops, key_only_deletes: false }
    }

    /// What the file claims.
    pub fn claims(&self) -> Claims {
        let mut claims = Claims::default();
        for change in self.iter() {
            match change.op {
                Op::Insert => claims.inserts += 1,
                Op::Update => claims.updates += 1,
                Op::Delete => claims.deletes += 1,
            }
        }
        claims
    }

    /// The operations in file order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Change> {
        let weave = |first| move |step| (first..first + ABREAST).map(move |script| (script, step));
        (0..)
            .step_by(ABREAST as usize)
            .flat_map(move |first| (0..LONGEST).flat_map(weave(first)))
            .filter_map(|(script, step)| self.step(script, step))
            .take(self.ops as usize)
    }

    /// The step of a script, if it has so many.
    fn step(&self, script: u64, step: u64) -> Option<Change> {
        let mut draws = Draws::new(&[self.edition.seed(), self.edition.entity() as u64, self.number.into(), script]);
        let (found, steps) = draws.pick(SCRIPTS);
        let (op, same) = *steps.get(step as usize)?;
        let row = match found {
            Found::Yes => draws.below(self.edition.reach().max(1)),
            Found::No => self.edition.reach() + u64::from(self.number) * self.ops + script,
        };
        let known = self.edition.version_of(row).unwrap_or(0);
        let fresh = FIRST_VERSION + u64::from(self.number) * LONGEST + step;
        Some(Change { op, row, version: if same || op == Op::Delete { known } else { fresh } })
    }
}

impl Op {
    pub(super) const fn letter(self) -> &'static str {
        match self {
            Self::Insert => "I",
            Self::Update => "U",
            Self::Delete => "D",
        }
    }
}

/// Whether a script's row is of the edition.
#[derive(Clone, Copy)]
enum Found {
    Yes,
    No,
}

/// An operation, and whether it has the values that the edition has.
type Step = (Op, bool);

const I: Step = (Op::Insert, false);
const U: Step = (Op::Update, false);
const D: Step = (Op::Delete, false);
const I_SAME: Step = (Op::Insert, true);
const U_SAME: Step = (Op::Update, true);

/// What can happen to a row, each line as likely as the next.
const SCRIPTS: &[(Found, &[Step])] = &[
    (Found::Yes, &[U]),
    (Found::Yes, &[U]),
    (Found::Yes, &[U]),
    (Found::Yes, &[U]),
    (Found::No, &[I]),
    (Found::No, &[I]),
    (Found::No, &[I]),
    (Found::Yes, &[D]),
    (Found::Yes, &[U, U]),
    (Found::Yes, &[U, D]),
    (Found::Yes, &[D, I]),
    (Found::Yes, &[D, I_SAME]),
    (Found::Yes, &[U, U_SAME]),
    (Found::Yes, &[I_SAME]),
    (Found::Yes, &[U_SAME]),
    (Found::No, &[I, U]),
    (Found::No, &[I, D]),
    (Found::No, &[I, D, I]),
    (Found::No, &[U]),
    (Found::No, &[D]),
];

const LONGEST: u64 = 3;

/// Scripts that run side by side.
const ABREAST: u64 = 8;

/// Above the versions that reloads give.
const FIRST_VERSION: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{Counts, Entity, Expected, Shape};
    use std::collections::HashMap;

    fn edition() -> Edition {
        let base = Edition::base(Entity::Orders, 5_000, 1);
        base.reload(Shape { gone: 0.05, changed: 0.05, new: 0.05 }).unwrap()
    }

    /// The letters of each row, in order.
    fn scripts(changes: &Changes) -> HashMap<u64, String> {
        let mut scripts: HashMap<u64, String> = HashMap::new();
        for change in changes.iter() {
            scripts.entry(change.row).or_default().push_str(change.op.letter());
        }
        scripts
    }

    #[test]
    fn a_file_has_the_operations_asked_for() {
        for ops in [0, 1, 7, 1_000] {
            let changes = Changes::new(&edition(), 0, ops);
            let Claims { inserts, updates, deletes } = changes.claims();
            assert_eq!(inserts + updates + deletes, ops);
            assert_eq!(changes.iter().count() as u64, ops);
        }
    }

    #[test]
    fn the_hard_sequences_all_occur() {
        let scripts = scripts(&Changes::new(&edition(), 0, 1_000));
        for wanted in ["I", "U", "D", "IU", "UU", "UD", "DI", "ID", "IDI"] {
            assert!(scripts.values().any(|script| script == wanted), "no {wanted}");
        }
    }

    #[test]
    fn operations_on_one_row_do_not_always_touch() {
        let changes: Vec<_> = Changes::new(&edition(), 0, 1_000).iter().collect();
        let next = |row, from: usize| changes[from..].iter().position(|change| change.row == row);
        let apart = changes.iter().enumerate().filter_map(|(at, change)| next(change.row, at + 1));
        assert!(apart.filter(|&between| between > 0).count() > 100);
    }

    #[test]
    fn effect_and_claim_differ_and_all_four_counts_occur() {
        let changes = Changes::new(&edition(), 0, 1_000);
        let counts = Expected::holding(edition()).change(&changes);
        let Counts { create, amend, remove, unchanged } = counts;
        assert!([create, amend, remove, unchanged].iter().all(|&count| count > 30), "{counts:?}");
        let claims = changes.claims();
        assert!(claims.inserts != create && claims.updates != amend && claims.deletes != remove);
    }

    #[test]
    fn numbers_make_other_files_and_new_rows_of_their_own() {
        let new = |number| {
            let changes = Changes::new(&edition(), number, 500);
            let rows = changes.iter().map(|change| change.row);
            rows.filter(|&row| row >= edition().reach()).collect::<std::collections::HashSet<_>>()
        };
        assert!(new(0).is_disjoint(&new(1)));
        assert!(!new(0).is_empty());
    }
}
