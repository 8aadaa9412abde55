//! Counts of the bucket's files that are not loaded: a plan without its files.

use std::collections::BTreeMap;

use crate::decode::File;
use crate::source::{Entity, IgnoredCounts, Pending, Plan, Status, Stop, TablePlan};

/// Result of a listing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Backlog {
    /// Time of the listing, in seconds since 1970.
    pub at: i64,
    pub tables: BTreeMap<Entity, TableBacklog>,
    /// Objects that are no files of a table.
    pub foreign: IgnoredCounts,
    /// Some keys of those that are of no kind that we know.
    pub strange: Vec<String>,
    /// All objects that the bucket shows below the path.
    pub listed: u64,
}

/// One table's part of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableBacklog {
    pub files: Files,
    /// Ledger rows that no longer stop the table, because their version is no longer in the bucket.
    pub superseded: Vec<i64>,
    /// Change file that is gone and stops the table, whether or not the ledger has recorded it.
    pub gone: Option<Stop>,
    /// A part is there that was never tried: what is held stops nothing then.
    pub part_more: bool,
    /// Delivery that is being loaded now.
    pub in_hand: Option<InProgress>,
    /// Reason for which the table's files wait, beside that of the ledger.
    pub remark: Option<WaitReason>,
}

/// Files that wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Files {
    pub objects: u64,
    pub bytes: u64,
    /// Modification time of the oldest file, in seconds since 1970.
    pub oldest: Option<i64>,
}

/// A delivery on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InProgress {
    pub key: String,
    /// Seconds since 1970.
    pub since: i64,
}

/// Reason for which a table's files wait although the ledger has no stop for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitReason {
    /// The target has no such table.
    NoTable,
    /// The folder names a table of the target that is never loaded.
    Reserved,
    /// Another loader has its lease.
    Busy,
    /// A reload that is not quiet yet.
    Settling,
    /// A temporary failure, with the error.
    Trouble(String),
}

impl Backlog {
    /// Returns the counts of a plan that was made `at` this time, in seconds since 1970.
    pub fn of(plan: &Plan, at: i64) -> Self {
        Self {
            at,
            tables: plan.tables.iter().map(|table| (table.entity.clone(), TableBacklog::of(table))).collect(),
            foreign: plan.foreign,
            strange: plan.strange.iter().cloned().collect(),
            listed: plan.listed,
        }
    }
}

impl TableBacklog {
    fn of(plan: &TablePlan) -> Self {
        let untried = |pending: &Pending| pending.objects.iter().any(|part| part.new && part.untried);
        let mut snapshots = plan.pending.iter().filter(|pending| pending.file == File::Snapshot);
        Self {
            files: Files::of(plan, 0),
            superseded: [&plan.superseded[..], &plan.revived, &plan.contained].concat(),
            gone: plan.stopped.clone().filter(|stop| stop.status == Status::Gone),
            part_more: snapshots.any(untried),
            in_hand: None,
            remark: None,
        }
    }
}

impl Files {
    /// Returns the counts of a table's files without the first `done` deliveries of its plan.
    pub fn of(plan: &TablePlan, done: usize) -> Self {
        let left = plan.pending.iter().skip(done).flat_map(|pending| &pending.objects);
        let listed: Vec<_> = left.filter(|object| object.new).map(|object| &object.listed).collect();
        let counted = [plan.later, plan.stuck];
        let oldest = counted.iter().filter_map(|counted| counted.oldest);
        Self {
            objects: listed.len() as u64 + counted.iter().map(|counted| counted.objects).sum::<u64>(),
            bytes: listed.iter().map(|listed| listed.size).chain(counted.iter().map(|counted| counted.bytes)).sum(),
            oldest: listed.iter().map(|listed| listed.modified).chain(oldest).min(),
        }
    }
}
