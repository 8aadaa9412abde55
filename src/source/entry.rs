//! The two sides of a plan: an object of the bucket's listing, and a row of the ledger.

use crate::decode::File;

/// An object as the bucket lists it, ordered by its key. `etag` has no quotes, `modified` is in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    pub key: String,
    pub etag: String,
    pub size: u64,
    pub modified: i64,
}

/// The SHA-256 of an object's bytes as they lie in the bucket.
pub type Content = [u8; 32];

/// Ledger row of one version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: i64,
    pub key: String,
    pub etag: String,
    pub modified: i64,
    pub file: File,
    pub generation: i32,
    pub status: Status,
    /// Request of an operator: the delivery is pending again.
    pub requested: Option<Request>,
    /// Closed because its version was no longer listed: pending again if it is listed after all.
    pub superseded: bool,
    /// `true` if the version was loaded and is to be loaded again with its generation.
    pub reload: bool,
    /// The row of the version that came in its place.
    pub superseded_by: Option<i64>,
    /// `true` if the delivery only created rows: none was amended, removed or unchanged.
    pub only_added: bool,
    /// The number of the delivery that wrote it, counted per table; 0 while it is only pending.
    pub revision: i64,
    /// Number of times that this version of the object has been listed anew, from 1.
    pub occurrence: i32,
    pub size: u64,
    /// None in rows from before it was kept, and of what was never downloaded.
    pub content: Option<Content>,
    /// `true` if the version has the bytes of one that was loaded before, so that nothing was applied.
    pub same: bool,
    /// `true` if the file was skipped because the full load of its generation contains it.
    pub contained: bool,
}

impl Entry {
    /// Returns `true` if nothing is left to do for this version.
    pub(super) fn is_accounted(&self) -> bool {
        matches!(self.status, Status::Loaded | Status::Skipped) && !self.superseded
    }

    /// Returns `true` if a newer version's row can replace this one.
    pub(super) fn is_replaceable(&self) -> bool {
        let open = self.status != Status::Skipped || self.superseded;
        open && self.superseded_by.is_none()
    }

    /// Returns `true` if the row waits for something: it was neither loaded nor skipped.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.status, Status::Loaded | Status::Skipped)
    }

    /// Returns `true` if the row stops its table while there is no request for it.
    pub fn stops(&self) -> bool {
        self.status.stops(self.file)
    }

    /// Returns `true` if the version was tried, or an operator decided about it.
    pub(super) fn was_tried(&self) -> bool {
        self.status != Status::Pending
    }
}

/// Finds the row of the version that is listed among the rows of its key, in the order of their ids. Only the newest version
/// counts: an older one that came back is a version of its own, unless nothing was loaded since.
pub(super) fn row_of_listed(rows: &[Entry], same: impl Fn(&Entry) -> bool) -> Option<&Entry> {
    let newest_loaded = rows.iter().rev().find(|row| row.status == Status::Loaded || row.reload);
    rows.last().filter(|row| same(row)).or(newest_loaded.filter(|row| same(row)))
}

/// Request of an operator for a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Another try.
    Retry,
    /// Load a held snapshot.
    Release,
}

/// The states of a ledger row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Listed, and not loaded yet.
    Pending,
    Loaded,
    Failed,
    Held,
    Late,
    Skipped,
    Gone,
}

impl Status {
    pub const ALL: [Self; 7] =
        [Self::Pending, Self::Loaded, Self::Failed, Self::Held, Self::Late, Self::Skipped, Self::Gone];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
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

    /// Returns `true` if a row in this state stops its table. What follows a change file that is gone would be applied over a
    /// hole; a part of a full load that is gone leaves none.
    pub fn stops(self, file: File) -> bool {
        match self {
            Self::Failed | Self::Held | Self::Late => true,
            Self::Gone => file == File::Changes,
            Self::Pending | Self::Loaded | Self::Skipped => false,
        }
    }
}

/// Returns a status as the end of a sentence about a delivery: `failed`, `is held`.
pub fn stands(status: &str) -> String {
    if status == Status::Failed.as_str() { status.to_owned() } else { format!("is {status}") }
}
