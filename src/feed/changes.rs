//! Change files: short scripts over one row each, woven into one another as a busy source weaves them.
//! Plain changes are the most; the rest is what loaders get wrong: several operations on one key, an
//! insert of a row that the full load had, an update or a delete of a row that it had not.

use super::{Dialect, Edition, mix::Draws};

/// A change file over an edition.
#[derive(Clone, Debug)]
pub struct Changes {
    /// Edition on which the file is based; most of its rows belong to it.
    pub edition: Edition,
    /// Number of the file among the edition's change files; it decides rows and values. Files of the same size never
    /// insert the same row, but sometimes change the same ones.
    pub number: u32,
    /// Operations in the file.
    pub ops: u64,
    /// `true` if deletes have only the key and NULL for the rest, like those of a source without full logging.
    pub key_only_deletes: bool,
    /// The file has inserts only.
    pub inserts_only: bool,
    /// Updates leave out lasting cells of rows that are there, whichever of the edition's change files
    /// were loaded before.
    pub no_supply: bool,
    /// Kind of the three updates at the end of the file that change a key: one row's once, another's twice.
    pub key_changes: Option<KeyChanges>,
}

/// Information that a file has about a changed key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChanges {
    /// The old key is in a before-image column.
    Shown,
    /// None: a reader cannot know that the old row is gone.
    Hidden,
}

impl KeyChanges {
    /// Returns the information that the dialect can express.
    pub fn in_dialect(dialect: &Dialect) -> Self {
        if dialect.before_image.is_some() { Self::Shown } else { Self::Hidden }
    }
}

/// One operation: afterwards `row` exists with `content`, or no longer exists. The content of a delete is its
/// before-image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) op: Op,
    pub(super) row: u64,
    pub(super) content: Content,
    /// The row that it was before its key changed.
    pub(super) from: Option<u64>,
    /// Lasting cells are not supplied.
    pub(super) leaves_out: bool,
}

/// The values of a row, its key aside: those of `row` in `version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
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

/// Operations that a change file claims, by letter. They differ from its effect.
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
    /// Creates a file of `ops` operations; deletes carry the full row.
    pub fn new(edition: &Edition, number: u32, ops: u64) -> Self {
        Self {
            edition: edition.clone(),
            number,
            ops,
            key_only_deletes: false,
            inserts_only: false,
            no_supply: false,
            key_changes: None,
        }
    }

    /// Returns the same file, limited to what the dialect can express.
    pub fn in_dialect(self, dialect: &Dialect) -> Self {
        Self {
            inserts_only: dialect.inserts_only,
            no_supply: dialect.no_supply.is_some(),
            key_changes: self.key_changes.map(|_| KeyChanges::in_dialect(dialect)),
            ..self
        }
    }

    /// Returns the claims of the file.
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

    /// Returns the operations in file order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Change> {
        let weave = |first| move |step| (first..first + ABREAST).map(move |script| (script, step));
        (0..)
            .step_by(ABREAST as usize)
            .flat_map(move |first| (0..LONGEST).flat_map(weave(first)))
            .filter_map(|(script, step)| self.step(script, step))
            .filter(|change| !self.inserts_only || change.op == Op::Insert)
            .take(self.ops as usize)
            .chain(self.moves())
    }

    /// Returns the number of operations.
    pub(super) fn len(&self) -> u64 {
        self.ops + self.moves().count() as u64
    }

    /// Returns a step of a script, if the script has that many.
    fn step(&self, script: u64, step: u64) -> Option<Change> {
        let mut draws = Draws::new(&[self.edition.seed(), self.edition.entity() as u64, self.number.into(), script]);
        let (found, steps) = draws.pick(SCRIPTS);
        let (op, same) = *steps.get(step as usize)?;
        let row = match found {
            Found::Yes => self.apart(draws.below(self.edition.reach().max(1)), steps),
            Found::No => self.edition.reach() + u64::from(self.number) * self.stride() + script,
        };
        let known = self.edition.version_of(row);
        let fresh = FIRST_VERSION + u64::from(self.number) * LONGEST + step;
        let version = if same || op == Op::Delete { known.unwrap_or(0) } else { fresh };
        let is_there = match steps[..step as usize].last() {
            Some((before, _)) => *before != Op::Delete,
            None => known.is_some() && row & 1 == 0,
        };
        let leaves_out = self.no_supply && self.reserves() && op == Op::Update && is_there;
        Some(Change { op, row, content: Content { row, version }, from: None, leaves_out })
    }

    /// Returns the number of rows that a file may insert. With inserts only, fewer rows need as many scripts.
    fn stride(&self) -> u64 {
        self.ops * if self.inserts_only { 16 } else { 1 }
    }

    /// Returns `true` if rows are reserved: of four, one for deletes, one for changes of the key, two for the rest.
    /// So a cell is left out only if its row exists, whatever other files did.
    fn reserves(&self) -> bool {
        (self.no_supply || self.key_changes.is_some()) && self.edition.reach() >= 8
    }

    /// Returns the row, or one beside it that is reserved for the script's operations.
    fn apart(&self, row: u64, steps: &[Step]) -> u64 {
        if !self.reserves() {
            return row;
        }
        let deletes = steps.iter().any(|(op, _)| *op == Op::Delete);
        let reserved = row & !3 | if deletes { 1 } else { row & 2 };
        if reserved < self.edition.reach() { reserved } else { reserved - 4 }
    }

    /// Returns the updates that change a key, or none if the edition has too few rows.
    fn moves(&self) -> impl Iterator<Item = Change> {
        let new = |place| NEW_KEYS + u64::from(self.number) * 2 + place;
        let quarters = self.edition.reach() / 4;
        let first = u64::from(self.number) * 2;
        let row = move |place: u64| (first + place) % quarters.max(1) * 4 + 3;
        let version = |place| self.edition.version_of(row(place));
        let versions = self.key_changes.filter(|_| quarters >= 2).and_then(|_| version(0).zip(version(1)));
        // Once round, a row may have been moved away by another file.
        let leaves_out = self.no_supply && self.key_changes == Some(KeyChanges::Shown) && first + 1 < quarters;
        let moved = move |content, from, to| Change { op: Op::Update, row: to, content, from: Some(from), leaves_out };
        versions.into_iter().flat_map(move |(once, twice)| {
            let once = Content { row: row(0), version: once };
            let twice = Content { row: row(1), version: twice };
            [moved(once, once.row, new(0)), moved(twice, twice.row, new(1)), moved(twice, new(1), new(1) + MOVED_AGAIN)]
        })
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

/// `Yes` if a script's row belongs to the edition.
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

/// Possible scripts of a row; each line is equally likely.
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

/// First of the new keys, above all rows of an edition and within the range of `integer`.
const NEW_KEYS: u64 = 1_000_000_000;

/// The second new key of a row that is moved twice, counted from the first.
const MOVED_AGAIN: u64 = 500_000_000;

/// First version number above those of reloads.
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

    /// Returns the operations' letters of each row, in order.
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
