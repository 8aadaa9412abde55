//! What to load next: the bucket's listing against the ledger, as a plan in feed order. Pure.
//!
//! `Stock` sees each key once, with what the bucket lists and what the ledger has for it, in any order; `plan` gives the
//! pending deliveries of every table. Only what is not accounted for is kept, so memory follows the work, not history.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::key::{self, Entity, NameTime, Named, Part};
use crate::decode::File;

/// An object as the bucket lists it. `etag` has no quotes, `modified` is in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// it only added rows: nothing amended, removed or found unchanged
    pub only_added: bool,
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

/// What there is to do, table by table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// in the order in which to take them
    pub tables: Vec<TablePlan>,
    /// objects that are no file of a table
    pub foreign: u64,
}

/// What there is to do for one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePlan {
    pub entity: Entity,
    pub label: String,
    /// in feed order
    pub pending: Vec<Pending>,
    /// the ledger row that stops the table: nothing is pending then
    pub stopped: Option<Stop>,
    /// ledger rows that stopped the table for a version that the bucket no longer shows
    pub superseded: Vec<i64>,
    /// change files whose `LastModified` says nothing, because they were copied: assumed to follow the snapshot
    pub assumed: usize,
}

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
    /// the table's name in messages and metrics: the schema is told only where two schemas have the name
    pub label: String,
    pub file: File,
    pub generation: i32,
    pub step: Step,
    /// in feed order, at least one
    pub objects: Vec<Object>,
    /// the table's highest ledger id when this was planned: more by now means that somebody else was here
    pub after: i64,
}

/// An object to load, with the id of its ledger row if it has one already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub listed: Listed,
    pub entry: Option<i64>,
    /// whether it is to be accounted for; a part that was loaded before is read again only with the others
    pub new: bool,
}

/// What a pending delivery does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// a part of a first load: added as it comes. The first one asks for an empty table.
    Append { first: bool },
    /// a whole generation, diffed against the table
    Replace,
    /// a change file
    Changes,
    /// nothing to load: written down with a reason
    Skip(String),
    /// not to be loaded as it is: the table stops
    Stop(Status, String),
}

impl Step {
    /// What is written down instead of loading: a status and a reason.
    pub fn note(&self) -> Option<(Status, &str)> {
        match self {
            Self::Skip(reason) => Some((Status::Skipped, reason)),
            Self::Stop(status, reason) => Some((*status, reason)),
            Self::Append { .. } | Self::Replace | Self::Changes => None,
        }
    }
}

impl Pending {
    /// The last object: the one whose ledger row carries the delivery's effects.
    pub fn last(&self) -> &Object {
        self.objects.last().expect("a pending delivery has at least one object")
    }

    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.listed.size).sum()
    }

    /// The places of the objects that are to be accounted for.
    pub fn new_objects(&self) -> impl Iterator<Item = usize> {
        self.objects.iter().enumerate().filter(|(_, object)| object.new).map(|(place, _)| place)
    }
}

/// Takes stock: what the bucket shows against what the ledger knows.
#[derive(Debug)]
pub struct Stock {
    path: String,
    tables: BTreeMap<Entity, TableStock>,
    foreign: u64,
}

impl Stock {
    pub fn new(path: &str) -> Self {
        Self { path: path.to_owned(), tables: BTreeMap::new(), foreign: 0 }
    }

    /// One key: the object the bucket lists there, if any, and the ledger's rows of all its versions.
    pub fn see(&mut self, listed: Option<Listed>, rows: &[Entry]) {
        let Some(key) = listed.as_ref().map(|listed| &listed.key).or_else(|| rows.first().map(|row| &row.key)) else {
            return;
        };
        match key::parse(&self.path, key) {
            Named::Foreign => self.foreign += u64::from(listed.is_some()),
            Named::Snapshot { entity, part } => self.table(entity).see_part(part, listed, rows),
            Named::Changes { entity, time } => self.table(entity).see_changes(time, listed, rows),
        }
    }

    /// The plan. `whole` names the tables whose first load must be diffed at once, because they were not empty.
    pub fn plan(self, whole: &HashSet<Entity>) -> Plan {
        let mut names: HashMap<String, u32> = HashMap::new();
        self.tables.keys().for_each(|entity| *names.entry(entity.name.clone()).or_default() += 1);
        let tables = self.tables.into_iter().map(|(entity, stock)| {
            let clash = names.get(&entity.name).is_some_and(|count| *count > 1);
            let label = if clash { entity.to_string() } else { entity.name.clone() };
            let at_once = whole.contains(&entity);
            stock.plan(entity, label, at_once)
        });
        let mut tables: Vec<_> = tables.filter(TablePlan::says_something).collect();
        tables.sort_by(|a, b| a.order().cmp(&b.order()));
        Plan { tables, foreign: self.foreign }
    }

    fn table(&mut self, entity: Entity) -> &mut TableStock {
        self.tables.entry(entity).or_default()
    }
}

impl TablePlan {
    fn says_something(&self) -> bool {
        !self.pending.is_empty() || self.stopped.is_some() || !self.superseded.is_empty()
    }

    /// Across tables: by the first pending object's time, then its key.
    fn order(&self) -> (i64, &str, &Entity) {
        let first = self.pending.first().map(|pending| &pending.objects[0].listed);
        (first.map_or(i64::MAX, |listed| listed.modified), first.map_or("", |listed| &listed.key), &self.entity)
    }
}

/// What is known of one table while stock is taken.
#[derive(Debug, Default)]
struct TableStock {
    last_id: i64,
    stops: Vec<Stop>,
    /// snapshot parts that are held: they stop the table until a part more comes
    held_parts: Vec<Stop>,
    superseded: Vec<i64>,
    /// the newest generation that the ledger has
    now: Generation,
    /// all listed parts, and whether an operator released each
    parts: BTreeMap<(Part, String), (Object, bool)>,
    /// the change files that are not accounted for, and the generation in which another version was loaded
    changes: BTreeMap<(NameTime, String), (Object, Option<i32>)>,
}

/// What the ledger has loaded of a table's newest generation.
#[derive(Debug, Default)]
struct Generation {
    number: i32,
    /// key → LastModified
    parts: BTreeMap<String, i64>,
    not_only_added: bool,
    last_change: Option<(NameTime, String)>,
}

impl Generation {
    /// Rows of older generations say nothing any more; a row of a newer one begins it.
    fn reach(&mut self, number: i32) -> Option<&mut Self> {
        if number > self.number {
            *self = Self { number, ..Self::default() };
        }
        (number == self.number).then_some(self)
    }
}

impl TableStock {
    fn see_part(&mut self, part: Part, listed: Option<Listed>, rows: &[Entry]) {
        self.note(listed.as_ref(), rows, |row, listed| row.etag == listed.etag && row.modified == listed.modified);
        for row in rows.iter().filter(|row| row.status == Status::Loaded) {
            if let Some(now) = self.now.reach(row.generation) {
                now.parts.insert(row.key.clone(), row.modified);
                now.not_only_added |= !row.only_added;
            }
        }
        let Some(listed) = listed else { return };
        let row = rows.iter().find(|row| row.etag == listed.etag && row.modified == listed.modified);
        let released = row.is_some_and(|row| row.requested == Some(Request::Release));
        let object = Object { entry: row.map(|row| row.id), new: !row.is_some_and(accounted), listed };
        self.parts.insert((part, object.listed.key.clone()), (object, released));
    }

    fn see_changes(&mut self, time: NameTime, listed: Option<Listed>, rows: &[Entry]) {
        self.note(listed.as_ref(), rows, |row, listed| row.etag == listed.etag);
        let loaded = rows.iter().filter(|row| row.status == Status::Loaded);
        for row in loaded.clone() {
            if let Some(now) = self.now.reach(row.generation) {
                now.last_change = now.last_change.take().max(Some((time, row.key.clone())));
            }
        }
        let Some(listed) = listed else { return };
        let row = rows.iter().find(|row| row.etag == listed.etag);
        if row.is_some_and(accounted) {
            return;
        }
        let rewritten_in = loaded.map(|row| row.generation).max();
        let object = Object { entry: row.map(|row| row.id), new: true, listed };
        self.changes.insert((time, object.listed.key.clone()), (object, rewritten_in));
    }

    /// Rows that stop the table, and rows that would if the bucket still showed their version.
    fn note(&mut self, listed: Option<&Listed>, rows: &[Entry], same: impl Fn(&Entry, &Listed) -> bool) {
        for row in rows {
            self.last_id = self.last_id.max(row.id);
            if !row.status.stops() {
                continue;
            }
            if !listed.is_some_and(|listed| same(row, listed)) {
                self.superseded.push(row.id);
            } else if row.requested.is_none() {
                let held_part = row.status == Status::Held && row.file == File::Snapshot;
                let stops = if held_part { &mut self.held_parts } else { &mut self.stops };
                stops.push(Stop { id: row.id, status: row.status, key: row.key.clone() });
            }
        }
    }

    fn plan(mut self, entity: Entity, label: String, whole: bool) -> TablePlan {
        let part_more = self.parts.values().any(|(object, _)| object.new && object.entry.is_none());
        if !part_more {
            self.stops.append(&mut self.held_parts);
        }
        self.superseded.sort_unstable();
        self.stops.sort_by_key(|stop| stop.id);
        let superseded = std::mem::take(&mut self.superseded);
        let stopped = self.stops.first().cloned();
        let mut plan = TablePlan { entity, label, pending: Vec::new(), stopped, superseded, assumed: 0 };
        if plan.stopped.is_none() {
            let snapshot = self.snapshot(&plan, whole);
            let base = self.base(&snapshot);
            plan.pending = snapshot;
            self.add_changes(&mut plan, base);
        }
        plan
    }

    /// The deliveries of the parts that are new: one by one while a first load grows, else a generation at once.
    fn snapshot(&self, table: &TablePlan, whole: bool) -> Vec<Pending> {
        let new: Vec<&Object> = self.parts.values().map(|(object, _)| object).filter(|object| object.new).collect();
        if new.is_empty() {
            return Vec::new();
        }
        let pending = |generation, step, objects: Vec<Object>| Pending {
            entity: table.entity.clone(),
            label: table.label.clone(),
            file: File::Snapshot,
            generation,
            step,
            objects,
            after: self.last_id,
        };
        let first_load = self.now.parts.is_empty() && self.now.last_change.is_none() && !whole;
        let rewritten = new.iter().any(|object| self.now.parts.contains_key(&object.listed.key));
        let grows = !self.now.parts.is_empty() && !rewritten && self.now.last_change.is_none();
        if first_load || (grows && !self.now.not_only_added) {
            let number = self.now.number.max(1);
            let step = |index| Step::Append { first: first_load && index == 0 };
            let one = |(index, object): (usize, &Object)| pending(number, step(index), vec![object.clone()]);
            return new.into_iter().cloned().collect::<Vec<_>>().iter().enumerate().map(one).collect();
        }
        let all = self.parts.values().map(|(object, _)| object.clone()).collect();
        vec![pending(self.now.number + 1, self.reload(), all)]
    }

    /// A reload is diffed, unless its parts do not look like one whole load.
    fn reload(&self) -> Step {
        let old = self.parts.values().filter(|(object, _)| !object.new).map(|(object, _)| object.listed.key.as_str());
        let old: Vec<&str> = old.collect();
        if self.parts.values().any(|(_, released)| *released) {
            return Step::Replace;
        }
        if !old.is_empty() {
            let reason = format!("mixed reload: {} not rewritten with the other parts", old.join(", "));
            return Step::Stop(Status::Held, reason);
        }
        let newest = self.parts.values().map(|(object, _)| object.listed.modified).max();
        let newer_change = self.changes.values().any(|(object, _)| Some(object.listed.modified) > newest);
        let (found, before) = (self.parts.len(), self.now.parts.len());
        if found < before && !newer_change {
            let reason = format!("maybe incomplete: {found} of the {before} parts that the load before had");
            return Step::Stop(Status::Held, reason);
        }
        Step::Replace
    }

    /// The generation that change files belong to, and the time of its earliest part.
    fn base(&self, snapshot: &[Pending]) -> Base {
        let renewed = snapshot.first().is_some_and(|pending| pending.generation > self.now.number);
        let number = snapshot.first().map_or(self.now.number, |pending| pending.generation);
        let planned = snapshot.iter().flat_map(|pending| &pending.objects).map(|object| object.listed.modified);
        let loaded = self.now.parts.values().copied().filter(|_| !renewed);
        Base { number, earliest: planned.chain(loaded).min(), renewed }
    }

    fn add_changes(&self, plan: &mut TablePlan, base: Base) {
        for ((time, key), (object, rewritten_in)) in &self.changes {
            // for a later snapshot there is no such guess: the times are all there is
            let copied = base.number <= 1 && is_copied(*time, object.listed.modified);
            plan.assumed += usize::from(copied && base.earliest.is_some());
            let contained = !copied && base.earliest.is_some_and(|earliest| object.listed.modified < earliest);
            let after = self.now.last_change.as_ref().filter(|_| !base.renewed);
            let late = after.is_some_and(|last| (time, key) < (&last.0, &last.1))
                || (!base.renewed && *rewritten_in == Some(self.now.number));
            let step = match () {
                () if contained => Step::Skip(format!("contained in snapshot {}", base.number)),
                () if late => Step::Stop(Status::Late, late_reason(after, key)),
                () => Step::Changes,
            };
            plan.pending.push(Pending {
                entity: plan.entity.clone(),
                label: plan.label.clone(),
                file: File::Changes,
                generation: base.number,
                step,
                objects: vec![object.clone()],
                after: self.last_id,
            });
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Base {
    number: i32,
    earliest: Option<i64>,
    /// a new generation is pending, so what was loaded before it says nothing about order
    renewed: bool,
}

fn accounted(row: &Entry) -> bool {
    matches!(row.status, Status::Loaded | Status::Skipped) && !row.superseded
}

fn late_reason(after: Option<&(NameTime, String)>, key: &str) -> String {
    match after {
        Some((_, last)) if last != key => format!("{last} was loaded before it, and comes after it"),
        _ => "another version of this change file was loaded before".to_owned(),
    }
}

/// A change file that was modified more than a day after the time in its name was evidently copied.
fn is_copied(time: NameTime, modified: i64) -> bool {
    const DAY: i64 = 86_400;
    time.unix_seconds().is_some_and(|named| modified - named > DAY)
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
