//! The plan of an iteration, a table's part of it, a pending delivery and its objects.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::again::Again;
use super::entry::{Content, Entry, Listed, Status};
use super::key::{Entity, IgnoredCounts};
use crate::decode::File;

/// Work of an iteration, table by table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Tables in the order in which they are loaded.
    pub tables: Vec<TablePlan>,
    /// Objects that are no file of a table.
    pub foreign: IgnoredCounts,
    /// The first keys of those that are of no kind that we know, as examples.
    pub strange: BTreeSet<String>,
    /// Number of objects in the bucket.
    pub listed: u64,
    /// Folders that the target may map to the same table.
    pub twins: Vec<(Entity, Entity)>,
}

/// Work of an iteration for one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePlan {
    pub entity: Entity,
    pub label: String,
    /// Pending deliveries in feed order.
    pub pending: Vec<Pending>,
    /// The ledger row that stops the table: nothing is pending then.
    pub stopped: Option<Stop>,
    /// Objects that were never tried, because the table is stopped.
    pub behind: usize,
    /// All that waits while the table is stopped, what stops it included: counted only.
    pub stuck: Later,
    /// Ledger rows of versions in whose place the bucket shows another one.
    pub superseded: Vec<i64>,
    /// Ledger rows of files that were never loaded and are no longer in the bucket, not yet recorded as gone.
    pub gone: Vec<i64>,
    /// Ledger rows that were closed and whose version is listed again.
    pub revived: Vec<i64>,
    /// Change files that are gone and that the full load contains, so that they stop nothing.
    pub contained: Vec<i64>,
    /// Listed files without a ledger row, in feed order; those that do not fit are in `Unrecorded`.
    pub unrecorded: Vec<(File, Object)>,
    /// The newest generation that the ledger has.
    pub generation: i32,
    /// Number of change files whose `LastModified` proves nothing because they were copied: assumed to follow the
    /// snapshot.
    pub assumed: usize,
    /// Two change files, the first of which comes first by its name and was written long after the other.
    pub regression: Option<(String, String)>,
    /// A change file whose name is older than the full load but that was written after it, with the difference in
    /// minutes.
    pub named_before: Option<(String, i64)>,
    /// A late file is to be folded in, for which stock must be taken again with this table in `PlanOptions::history`: what is
    /// pending ends before it.
    pub wants_history: bool,
    /// `true` if it must be decided whether change files were copied, for which a new plan with this table in
    /// `PlanOptions::times` is needed. The pending deliveries end before those files.
    pub wants_times: bool,
    /// Rows to be set to pending first, for a table that is to be loaded again.
    pub again: Option<Again>,
    /// Change files behind all pending ones, for a later plan.
    pub later: Later,
}

/// Counts of change files that do not fit into the plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Later {
    pub objects: u64,
    pub bytes: u64,
    /// Modification time of the oldest of them.
    pub oldest: Option<i64>,
    /// Number of files that were never tried.
    pub(super) untried: usize,
    /// Number of files whose `LastModified` proves nothing because they were copied.
    pub(super) copied: usize,
}

/// The row that stops a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    pub id: i64,
    pub status: Status,
    pub key: String,
}

/// One delivery to load: a change file, a part of a first load, or all parts of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub entity: Entity,
    /// Name of the table in messages and metrics, with the schema only if two schemas have the name.
    pub label: String,
    pub file: File,
    pub generation: i32,
    pub step: Step,
    /// Objects in feed order, at least one.
    pub objects: Vec<Object>,
    /// Highest revision of the table at the time of planning. A higher one now means that another process changed the
    /// table's ledger.
    pub after: i64,
    /// Rows that do not stop it, beside its own.
    pub passes: Arc<[i64]>,
    /// Note for the ledger once the delivery is loaded.
    pub remark: Option<String>,
    /// Alternative if each object turns out to have the bytes of its loaded version.
    pub if_same: Option<IfSame>,
}

/// Action for parts that were rewritten with the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfSame {
    /// The generation that their loaded versions belong to.
    pub generation: i32,
    /// Reason for which the parts are held; `None` if they are recorded without being applied.
    pub held: Option<String>,
}

/// The version of an object that was loaded, when another is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    pub id: i64,
    pub generation: i32,
    pub etag: String,
    pub size: u64,
    pub content: Option<Content>,
}

/// Result of comparing an object's bytes with those of the version that was loaded before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    Same,
    /// Other bytes, or nothing was loaded before.
    Other,
    /// The object must be read to decide.
    Unread,
    /// The ledger does not know the content of the loaded version.
    Untold,
}

/// An object to load, with the id of its ledger row if it has one already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub listed: Listed,
    pub entry: Option<i64>,
    /// Number of times that this version has been listed anew, from 1, for a row that is to be written.
    pub occurrence: i32,
    /// `true` if the object was never tried and no operator decided about it.
    pub untried: bool,
    /// `true` if the object needs a ledger row. Objects that were loaded before are only read again together with
    /// others.
    pub new: bool,
    /// The rows of other versions of the key, in whose place this one comes.
    pub replaces: Vec<i64>,
    /// The version that was loaded last.
    pub before: Option<Before>,
    /// Content of the object itself, if it was read before.
    pub content: Option<Content>,
}

/// Action of a pending delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A part of a first load, appended as it comes. The first one requires an empty table.
    Append { first: bool },
    /// A whole generation, diffed against the table.
    Replace,
    /// A change file.
    Changes,
    /// Late change files, and with them what was loaded of the generation and comes after the first of them.
    Refold,
    /// The bytes of what was loaded already: written down as loaded, and nothing is applied.
    Same,
    /// Another version of a loaded change file: ignored if its bytes are the same, else the inner step.
    Compare(Box<Step>),
    /// Nothing to load: recorded with a reason.
    Skip(String),
    /// Not to be loaded as it is: the table stops.
    Stop(Status, String),
}

impl Later {
    /// Returns the counts of one waiting object.
    pub(super) fn one(listed: &Listed, untried: bool) -> Self {
        Self { objects: 1, bytes: listed.size, oldest: Some(listed.modified), untried: untried.into(), copied: 0 }
    }

    pub(super) fn join(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
        self.untried += other.untried;
        self.copied += other.copied;
    }
}

impl Object {
    /// Compares the object with the version that was loaded before, as far as possible without reading it.
    pub fn likeness(&self) -> Likeness {
        let Some(before) = &self.before else { return Likeness::Other };
        match (self.content, before.content) {
            _ if before.size != self.listed.size => Likeness::Other,
            _ if before.etag == self.listed.etag => Likeness::Same,
            (Some(own), Some(before)) if own == before => Likeness::Same,
            (Some(_), Some(_)) => Likeness::Other,
            (None, Some(_)) => Likeness::Unread,
            (_, None) => Likeness::Untold,
        }
    }

    /// Returns `true` if these are the bytes of the loaded version.
    pub fn has_content_of_before(&self, content: Content) -> bool {
        self.before.as_ref().is_some_and(|before| before.content == Some(content))
    }
}

impl Step {
    /// Returns the status and reason that are recorded instead of loading.
    pub fn note(&self) -> Option<(Status, &str)> {
        match self {
            Self::Skip(reason) => Some((Status::Skipped, reason)),
            Self::Stop(status, reason) => Some((*status, reason)),
            Self::Append { .. } | Self::Replace | Self::Changes | Self::Refold | Self::Same | Self::Compare(_) => None,
        }
    }
}

impl Pending {
    /// Returns the object whose ledger row carries the delivery's effects: the last one that needs a ledger row.
    pub fn carrier(&self) -> &Object {
        let new = self.objects.iter().rev().find(|object| object.new);
        new.or(self.objects.last()).expect("a pending delivery has at least one object")
    }

    /// Returns the index of the object whose ledger row reports an error of a part: the part itself if it needs a
    /// ledger row, else the carrier.
    pub fn blamed(&self, part: Option<usize>) -> usize {
        let own = part.filter(|part| self.objects.get(*part).is_some_and(|object| object.new));
        own.or(self.new_objects().last()).unwrap_or(self.objects.len() - 1)
    }

    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.listed.size).sum()
    }

    /// Returns the indexes of the objects that need a ledger row.
    pub fn new_objects(&self) -> impl Iterator<Item = usize> {
        self.objects.iter().enumerate().filter(|(_, object)| object.new).map(|(place, _)| place)
    }
}

impl Object {
    /// Returns a listed version with its ledger row. `rows` are those of all versions of its key, and `same` finds
    /// those of this version.
    pub(super) fn of(
        listed: Listed,
        row: Option<&Entry>,
        rows: &[Entry],
        same: impl Fn(&Entry, &Listed) -> bool,
    ) -> Self {
        let entry = row.map(|row| row.id);
        let new = !row.is_some_and(Entry::is_accounted);
        let others = rows.iter().filter(|row| new && Some(row.id) != entry && row.is_replaceable());
        // An object that is to be loaded again is applied, whatever was loaded before it.
        let compares = new && !row.is_some_and(|row| row.reload);
        let loaded = rows.iter().filter(|row| compares && row.status == Status::Loaded && Some(row.id) != entry);
        let before = loaded.max_by_key(|row| (row.superseded_by.is_none(), row.id)).map(|row| Before {
            id: row.id,
            generation: row.generation,
            etag: row.etag.clone(),
            size: row.size,
            content: row.content,
        });
        let last_time = rows.iter().filter(|row| same(row, &listed)).map(|row| row.occurrence).max();
        Self {
            replaces: others.map(|row| row.id).collect(),
            entry,
            occurrence: row.map_or(last_time.unwrap_or(0) + 1, |row| row.occurrence),
            untried: new && !row.is_some_and(Entry::was_tried),
            new,
            before,
            content: row.and_then(|row| row.content),
            listed,
        }
    }

    /// Returns a file that is no longer in the bucket, as its ledger row describes it.
    pub(super) fn gone(row: &Entry) -> Self {
        let (key, etag, modified) = (row.key.clone(), row.etag.clone(), row.modified);
        let listed = Listed { key, etag, size: row.size, modified };
        Self { entry: Some(row.id), occurrence: row.occurrence, untried: false, ..Self::unknown(listed) }
    }

    /// Returns a listed object without a ledger row.
    pub fn unknown(listed: Listed) -> Self {
        Self {
            listed,
            entry: None,
            occurrence: 1,
            untried: true,
            new: true,
            replaces: Vec::new(),
            before: None,
            content: None,
        }
    }
}

impl TablePlan {
    /// Returns a plan without any work.
    pub fn empty(entity: Entity, label: String) -> Self {
        Self {
            entity,
            label,
            pending: Vec::new(),
            stopped: None,
            behind: 0,
            stuck: Later::default(),
            superseded: Vec::new(),
            gone: Vec::new(),
            revived: Vec::new(),
            contained: Vec::new(),
            unrecorded: Vec::new(),
            generation: 0,
            assumed: 0,
            regression: None,
            again: None,
            named_before: None,
            wants_history: false,
            wants_times: false,
            later: Later::default(),
        }
    }

    /// Returns a delivery of change files; that of a snapshot differs only in its kind.
    pub(super) fn pending(&self, generation: i32, step: Step, objects: Vec<Object>, after: i64) -> Pending {
        let (entity, label) = (self.entity.clone(), self.label.clone());
        let (file, passes) = (File::Changes, Arc::default());
        Pending { entity, label, file, generation, step, objects, after, passes, remark: None, if_same: None }
    }

    pub(super) fn says_something(&self) -> bool {
        let waits = self.wants_history || self.wants_times || self.again.is_some() || !self.unrecorded.is_empty();
        !self.pending.is_empty() || self.stopped.is_some() || self.closes() || waits
    }

    /// Returns `true` if the ledger has rows of versions that the bucket no longer has, or has again.
    pub fn closes(&self) -> bool {
        !(self.superseded.is_empty() && self.gone.is_empty() && self.revived.is_empty())
    }

    /// Across tables: by the first pending object's time, then its key.
    pub(super) fn order(&self) -> (i64, &str, &Entity) {
        let first = self.pending.first().map(|pending| &pending.objects[0].listed);
        (first.map_or(i64::MAX, |listed| listed.modified), first.map_or("", |listed| &listed.key), &self.entity)
    }
}
