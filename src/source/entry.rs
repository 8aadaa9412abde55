//! The two sides of taking stock: an object as the bucket lists it, and a row as the ledger has it.

use crate::decode::File;

/// An object as the bucket lists it, ordered by its key. `etag` has no quotes, `modified` is in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    pub key: String,
    pub etag: String,
    pub size: u64,
    pub modified: i64,
}

/// What the ledger says of one version of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: i64,
    pub key: String,
    pub etag: String,
    pub modified: i64,
    pub file: File,
    pub generation: i32,
    pub status: Status,
    /// what an operator asked for: it is pending again
    pub requested: Option<Request>,
    /// closed because its version was no longer listed: pending again if it is listed after all
    pub superseded: bool,
    /// it was loaded, and is to be loaded again with its generation
    pub reload: bool,
    /// the row of the version that came in its place
    pub superseded_by: Option<i64>,
    /// it only added rows: nothing amended, removed or found unchanged
    pub only_added: bool,
}

impl Entry {
    /// Whether nothing is left to do for this version.
    pub(super) fn is_accounted(&self) -> bool {
        matches!(self.status, Status::Loaded | Status::Skipped) && !self.superseded
    }

    /// Whether a newer version's row can come in the place of this one.
    pub(super) fn is_replaceable(&self) -> bool {
        let ends = self.status == Status::Loaded || self.superseded || self.status.stops();
        ends && self.superseded_by.is_none()
    }
}

/// What an operator may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// another try
    Retry,
    /// let a held snapshot go on
    Release,
}

/// The states of a ledger row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Loaded,
    Failed,
    Held,
    Late,
    Skipped,
    Gone,
}

impl Status {
    pub const ALL: [Self; 6] = [Self::Loaded, Self::Failed, Self::Held, Self::Late, Self::Skipped, Self::Gone];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Failed => "failed",
            Self::Held => "held",
            Self::Late => "late",
            Self::Skipped => "skipped",
            Self::Gone => "gone",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether a row in this state stops its table.
    pub fn stops(self) -> bool {
        matches!(self, Self::Failed | Self::Held | Self::Late)
    }
}

/// A state as the end of a sentence about a delivery: `failed`, `is held`.
pub fn stands(status: &str) -> String {
    if status == Status::Failed.as_str() { status.to_owned() } else { format!("is {status}") }
}
