//! Loading a table again: which ledger rows of its newest generation are to be pending again, and why that may not be possible.
//! Pure.

use super::entry::{Entry, Listed, Status};
use crate::decode::File;

/// Outcome of a request to load a table again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    /// These ledger rows are to be pending again, all at once.
    Rows(Vec<i64>),
    /// The request cannot be carried out, with the reason.
    Refused(String),
}

/// A loaded ledger row of a table that is to be loaded again.
#[derive(Debug)]
struct Kept {
    generation: i32,
    id: i64,
    file: File,
    /// The key, if the bucket does not show the version that was loaded.
    lost: Option<String>,
}

/// The loaded ledger rows of a table that is to be loaded again.
#[derive(Debug, Default)]
pub(super) struct LoadedRows(Vec<Kept>);

impl LoadedRows {
    pub(super) fn see(&mut self, listed: Option<&Listed>, rows: &[Entry], same: impl Fn(&Entry, &Listed) -> bool) {
        for row in rows.iter().filter(|row| row.status == Status::Loaded && row.superseded_by.is_none()) {
            let shown = listed.is_some_and(|listed| same(row, listed));
            let lost = (!shown).then(|| row.key.clone());
            self.0.push(Kept { generation: row.generation, id: row.id, file: row.file, lost });
        }
    }

    pub(super) fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns what is to be done first; none if the plan begins with a full load already. `new_parts` is true if parts of a full
    /// load are pending.
    pub(super) fn judge(&self, generation: i32, new_parts: bool) -> Option<Again> {
        let rows = || self.0.iter().filter(|row| row.generation == generation);
        let shows_load = rows().any(|row| row.file == File::Snapshot && row.lost.is_none());
        match rows().find_map(|row| row.lost.as_ref()) {
            _ if !shows_load && new_parts => None,
            _ if !shows_load => {
                Some(Again::Refused("the bucket does not have its full load any more; put a new one".to_owned()))
            }
            Some(key) => Some(Again::Refused(format!(
                "{key} was loaded into it and is not in the bucket any more as it was; put a new full load into the bucket"
            ))),
            None => Some(Again::Rows(rows().map(|row| row.id).collect())),
        }
    }
}
