//! One table, while a plan is made: its loaded files, its parts and its change files, and the plan for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::again::LoadedRows;
use super::changes::{Base, FeedPosition, PendingChanges};
use super::copied::Verdict;
use super::entry::{Entry, Listed, Request, Status, row_of_listed};
use super::generation::Generation;
use super::key::{Entity, NameTime, Part};
use super::parts::{self, Gap};
use super::plan::{IfSame, Later, Likeness, Object, Pending, Step, Stop, TablePlan};
use super::unrecorded::Unrecorded;
use crate::decode::File;
use crate::decode::dialect::Order;

/// Files and ledger rows of one table, collected for a plan.
#[derive(Debug)]
pub(super) struct TableStock {
    /// `true` if the bucket has an object of the table.
    pub shown: bool,
    /// `true` if the ledger has a row of a part.
    knows_parts: bool,
    /// `true` if the ledger has a row of a change file.
    knows_changes: bool,
    last_revision: i64,
    stops: Vec<Stop>,
    /// Snapshot parts that are held: they stop the table until a part more comes.
    held_parts: Vec<Stop>,
    /// Change files that are held because their order is unclear: they stop the table until `FEED order` decides.
    held_changes: Vec<Stop>,
    /// Rows of versions that another one took the place of.
    superseded: Vec<i64>,
    /// Rows of files that are not listed any more and were never loaded.
    gone: Vec<i64>,
    /// Change files among them, and those already recorded as gone, in feed order.
    gone_changes: BTreeMap<FeedPosition, Object>,
    /// Ids of those that follow a full load that is loaded again, which does not contain them.
    gone_behind: BTreeSet<i64>,
    /// Rows that were closed and whose version is listed again.
    revived: Vec<i64>,
    /// The newest generation that the ledger has.
    now: Generation,
    /// All listed parts.
    parts: BTreeMap<(Part, String), Shown>,
    changes: PendingChanges,
    /// Loaded rows, if the table is to be loaded again.
    loaded: Option<LoadedRows>,
    /// A released part is no longer listed as it was when it was released.
    released_lost: bool,
}

/// A part that is listed, and what an operator did with it.
#[derive(Debug)]
struct Shown {
    object: Object,
    released: bool,
    /// `true` if the part was skipped; it is not read together with the others either.
    skipped: bool,
}

impl TableStock {
    /// Creates an empty stock. `keeps` and `times` collect loaded change files, and the times of all of them.
    pub(super) fn new(order: Order, keeps: bool, times: bool) -> Self {
        Self {
            shown: false,
            knows_parts: false,
            knows_changes: false,
            last_revision: 0,
            stops: Vec::new(),
            held_parts: Vec::new(),
            superseded: Vec::new(),
            gone: Vec::new(),
            gone_changes: BTreeMap::new(),
            gone_behind: BTreeSet::new(),
            revived: Vec::new(),
            now: Generation::default(),
            parts: BTreeMap::new(),
            held_changes: Vec::new(),
            changes: PendingChanges::new(order, keeps, times),
            loaded: None,
            released_lost: false,
        }
    }

    /// Keeps what was loaded in mind, to have it loaded again.
    pub(super) fn for_reload(self) -> Self {
        Self { loaded: Some(LoadedRows::default()), ..self }
    }

    pub(super) fn see_part(&mut self, part: Part, listed: Option<Listed>, rows: &[Entry]) {
        let same = |row: &Entry, listed: &Listed| row.etag == listed.etag && row.modified == listed.modified;
        let row = listed.as_ref().and_then(|listed| row_of_listed(rows, |row| same(row, listed)));
        self.shown |= listed.is_some();
        self.knows_parts |= !rows.is_empty();
        self.note(listed.is_some(), rows, row);
        self.loaded.iter_mut().for_each(|loaded| loaded.see(listed.as_ref(), rows, same));
        for row in rows.iter().filter(|row| row.status == Status::Loaded || row.reload) {
            if let Some(now) = self.now.reach(row.generation) {
                let modified = now.parts.entry((part, parts::unpacked(&row.key).to_owned())).or_insert(row.modified);
                // with the same bytes it is as old as what was loaded
                if !row.same {
                    *modified = row.modified;
                }
                now.not_only_added |= !row.only_added;
            }
        }
        let is_released = |row: &Entry| row.requested == Some(Request::Release) && row.is_open();
        self.released_lost |= rows.iter().any(|one| is_released(one) && row.is_none_or(|row| row.id != one.id));
        let Some(listed) = listed else { return };
        let released = row.is_some_and(|row| row.requested == Some(Request::Release) || row.reload);
        let skipped = row.is_some_and(|row| row.status == Status::Skipped && !row.superseded);
        let object = Object::of(listed, row, rows, same);
        self.parts.insert((part, object.listed.key.clone()), Shown { object, released, skipped });
    }

    /// Returns `true` if the folder has a full load of its own. The ledger takes precedence over the listing, because
    /// a folder must remain what it was when its first file was loaded.
    pub(super) fn has_load(&self) -> bool {
        self.knows_parts || (!self.knows_changes && !self.parts.is_empty())
    }

    /// Takes over this table's changes from their own folder. Returns the number of its parts, which are ignored.
    pub(super) fn join(&mut self, other: Self) -> usize {
        self.shown |= other.shown;
        self.last_revision = self.last_revision.max(other.last_revision);
        self.stops.extend(other.stops);
        self.held_changes.extend(other.held_changes);
        self.superseded.extend(other.superseded);
        self.gone.extend(other.gone);
        self.gone_changes.extend(other.gone_changes);
        self.gone_behind.extend(other.gone_behind);
        self.revived.extend(other.revived);
        self.now.join(other.now);
        self.changes.join(other.changes);
        if let (Some(loaded), Some(others)) = (&mut self.loaded, other.loaded) {
            loaded.join(others);
        }
        other.parts.len()
    }

    /// Keeps only the first `room` change files. Returns the number of kept files.
    pub(super) fn keep_first(&mut self, room: usize, rest: &mut Unrecorded) -> usize {
        self.changes.keep_first(room, rest)
    }

    pub(super) fn see_changes(&mut self, time: NameTime, listed: Option<Listed>, rows: &[Entry]) {
        self.shown |= listed.is_some();
        self.knows_changes |= !rows.is_empty();
        let same = |row: &Entry, listed: &Listed| row.etag == listed.etag;
        let row = listed.as_ref().and_then(|listed| row_of_listed(rows, |row| same(row, listed)));
        self.note(listed.is_some(), rows, row);
        self.loaded.iter_mut().for_each(|loaded| loaded.see(listed.as_ref(), rows, same));
        rows.iter().filter(|row| row.reload).for_each(|row| _ = self.now.reach(row.generation));
        if let Some(last) = rows.last().filter(|last| listed.is_none() && (last.is_open() || last.reload)) {
            self.gone_behind.extend(last.reload.then_some(last.id));
            let turn = self.changes.turn(time, last.modified, &last.key);
            self.changes.see_gone(time, last.modified);
            self.gone_changes.insert(turn, Object::gone(last));
        }
        for row in rows.iter().filter(|row| row.status == Status::Loaded) {
            let Some(now) = self.now.reach(row.generation) else { continue };
            let turn = self.changes.turn(time, row.modified, &row.key);
            now.change_files += 1;
            if self.changes.keeps && row.superseded_by.is_none() {
                let as_loaded = listed.clone().filter(|listed| listed.etag == row.etag);
                now.loaded.insert(turn.clone(), (row.id, as_loaded));
            }
            now.last_change = now.last_change.take().max(Some(turn));
        }
        self.see_rewritten(listed.as_ref(), rows);
        self.changes.see_accounted(time, rows);
        if let Some(listed) = listed {
            self.changes.see(time, listed, row, rows);
        }
    }

    /// Counts a loaded change file that is listed, by whether it was rewritten since.
    fn see_rewritten(&mut self, listed: Option<&Listed>, rows: &[Entry]) {
        let loaded = rows.iter().filter(|row| row.status == Status::Loaded).max_by_key(|row| (row.generation, row.id));
        let (Some(row), Some(listed)) = (loaded, listed) else { return };
        let Some(now) = self.now.reach(row.generation) else { return };
        match row.same || listed.etag != row.etag || listed.modified > row.modified {
            true => now.rewritten += 1,
            false => now.untouched += 1,
        }
    }

    /// Notes the rows of one key: those that stop the table, and those whose version is not, or is again, what is listed.
    fn note(&mut self, is_listed: bool, rows: &[Entry], listed_row: Option<&Entry>) {
        let newest = rows.last().map(|row| row.id);
        for row in rows {
            self.last_revision = self.last_revision.max(row.revision);
            if listed_row.is_some_and(|listed| listed.id == row.id) {
                if (row.superseded && !row.reload) || row.status == Status::Gone {
                    self.revived.push(row.id);
                } else if row.stops() && row.requested.is_none() {
                    self.stop(row);
                }
            } else if row.is_open() && (is_listed || newest != Some(row.id)) {
                self.superseded.push(row.id);
            } else if (row.is_open() && row.status != Status::Gone)
                || (row.reload && row.file == File::Changes && !is_listed)
            {
                self.gone.push(row.id);
            }
        }
    }

    fn stop(&mut self, row: &Entry) {
        let stops = match (row.status, row.file) {
            (Status::Held, File::Snapshot) => &mut self.held_parts,
            (Status::Held, File::Changes) => &mut self.held_changes,
            _ => &mut self.stops,
        };
        stops.push(Stop { id: row.id, status: row.status, key: row.key.clone() });
    }

    pub(super) fn plan(mut self, entity: Entity, label: String, whole: bool) -> TablePlan {
        let part_more = self.parts.values().any(|part| part.object.untried);
        let noted = matches!(self.rewritten(), Some((Likeness::Same, None)));
        if !part_more && !noted {
            self.stops.append(&mut self.held_parts);
        }
        // a part that is loaded before them would be stopped by them
        if self.changes.is_auto() || self.parts.values().any(|part| part.object.new) {
            self.stops.append(&mut self.held_changes);
        }
        self.stops.sort_by_key(|stop| stop.id);
        let mut plan = self.blank(entity, label);
        plan.stopped = self.stops.first().cloned();
        if let Some(loaded) = &self.loaded {
            let new_parts = self.parts.values().any(|part| part.object.new);
            plan.again = loaded.judge(self.now.number, new_parts);
        }
        if plan.stopped.is_none() {
            match self.snapshot(&plan, whole) {
                Some(pending) => plan.pending = pending,
                None => {
                    plan.wants_times = true;
                    return plan;
                }
            }
            let base = self.base(&plan.pending);
            plan.stopped = self.pass_what_is_contained(&mut plan, base);
            if plan.stopped.is_none() {
                self.changes.add_to(&mut plan, &self.now, base, self.last_revision);
            }
        }
        if plan.stopped.is_some() {
            plan.pending.clear();
            plan.stuck = self.changes.counted();
            let new = self.parts.values().map(|part| &part.object).filter(|object| object.new);
            new.for_each(|object| plan.stuck.join(Later::one(&object.listed, object.untried)));
            plan.behind = plan.stuck.untried;
        }
        plan
    }

    /// Returns the plan without its deliveries.
    fn blank(&mut self, entity: Entity, label: String) -> TablePlan {
        let sorted = |rows: &mut Vec<i64>| {
            rows.sort_unstable();
            std::mem::take(rows)
        };
        let parts = self.parts.values().map(|part| (File::Snapshot, &part.object));
        let all = parts.chain(self.changes.objects().map(|object| (File::Changes, object)));
        let unrecorded = all.filter(|(_, object)| object.new && object.entry.is_none());
        TablePlan {
            unrecorded: unrecorded.map(|(file, object)| (file, object.clone())).collect(),
            superseded: sorted(&mut self.superseded),
            gone: sorted(&mut self.gone),
            revived: sorted(&mut self.revived),
            generation: self.now.number,
            regression: self.changes.regression(),
            ..TablePlan::empty(entity, label)
        }
    }

    /// Records contained change files that are gone as skipped. Returns the stop for the first other one.
    fn pass_what_is_contained(&self, plan: &mut TablePlan, base: Base) -> Option<Stop> {
        if self.gone_changes.is_empty() {
            return None;
        }
        let Some(verdict) = self.changes.judge(&self.now, base) else {
            plan.wants_times = true;
            return None;
        };
        let behind = |object: &Object| object.entry.is_some_and(|id| self.gone_behind.contains(&id));
        let contains = |gone: &Object| !behind(gone) && self.changes.is_contained(gone.listed.modified, base, verdict);
        let gone = self.gone_changes.iter();
        let (contained, missing): (Vec<_>, Vec<_>) = gone.partition(|(_, object)| contains(object));
        if let Some((_, object)) = missing.first() {
            let id = object.entry.unwrap_or_default();
            return Some(Stop { id, status: Status::Gone, key: object.listed.key.clone() });
        }
        plan.contained = contained.iter().filter_map(|(_, object)| object.entry).collect();
        let reason = format!("contained in snapshot {}; it is gone from the bucket", base.number);
        let skip = |(_, object): (&FeedPosition, &Object)| {
            plan.pending(base.number, Step::Skip(reason.clone()), vec![object.clone()], self.last_revision)
        };
        let skipped: Vec<Pending> = contained.into_iter().map(skip).collect();
        plan.pending.extend(skipped);
        let passes = self.passes(&plan.contained);
        plan.pending.iter_mut().for_each(|pending| pending.passes = passes.clone());
        None
    }

    /// Returns the deliveries of new parts, singly while a first load grows. `None` if times must be collected.
    fn snapshot(&self, table: &TablePlan, whole: bool) -> Option<Vec<Pending>> {
        let new = self.parts.iter().filter(|(_, part)| part.object.new);
        let new: Vec<(Part, &Object)> = new.map(|((part, _), shown)| (*part, &shown.object)).collect();
        if new.is_empty() {
            return Some(Vec::new());
        }
        let pending = |generation, step, objects: Vec<Object>| Pending {
            file: File::Snapshot,
            ..table.pending(generation, step, objects, self.last_revision)
        };
        let stop = |reason| Step::Stop(Status::Held, reason);
        let only_new = || -> Vec<Object> { new.iter().map(|(_, object)| (*object).clone()).collect() };
        if let Some(twice) = self.twice() {
            return Some(vec![pending(self.now.number + 1, stop(twice), only_new())]);
        }
        let first_load = self.now.parts.is_empty() && self.now.last_change.is_none() && !whole;
        let is_loaded = |part, object: &Object| {
            self.now.parts.contains_key(&(part, parts::unpacked(&object.listed.key).to_owned()))
        };
        let rewritten = new.iter().any(|(part, object)| is_loaded(*part, object));
        let grows = !self.now.parts.is_empty() && !rewritten && self.now.last_change.is_none();
        if first_load || (grows && !self.now.not_only_added) {
            let number = self.now.number.max(1);
            let gap = self.gap_beside_loaded();
            let step = |index, part| match &gap {
                Some(gap) if part > gap.behind => stop(gap.words.clone()),
                _ => Step::Append { first: first_load && index == 0 },
            };
            let passes = self.passes(&[]);
            let one = |(index, (part, object)): (usize, &(Part, &Object))| Pending {
                passes: passes.clone(),
                ..pending(number, step(index, *part), vec![(*object).clone()])
            };
            return Some(new.iter().enumerate().map(one).collect());
        }
        let wanted = self.parts.values().filter(|part| !part.skipped);
        let all = wanted.map(|part| part.object.clone()).collect();
        let number = self.now.number;
        let mut if_same = None;
        match self.rewritten() {
            Some((Likeness::Same, None)) => {
                return Some(vec![pending(number, Step::Same, only_new())]);
            }
            Some((Likeness::Same | Likeness::Untold, Some(reason))) => {
                return Some(vec![pending(number + 1, stop(reason), all)]);
            }
            Some((Likeness::Unread, held)) => if_same = Some(IfSame { generation: number, held }),
            _ => {}
        }
        let (step, remark) = self.reload()?;
        let if_same = if_same.filter(|_| step == Step::Replace);
        Some(vec![Pending { remark, if_same, ..pending(number + 1, step, all) }])
    }

    /// Returns how parts compare that were all rewritten, and the reason for which they are held if they are the
    /// same. `None` if not all were rewritten, or if there are no change files.
    fn rewritten(&self) -> Option<(Likeness, Option<String>)> {
        let changed = self.now.change_files > 0 || self.changes.are_pending();
        let whole = self.parts.len() >= self.now.parts.len() && !self.now.parts.is_empty();
        if !changed || !whole || self.is_released() || self.parts.values().any(|part| !part.object.new) {
            return None;
        }
        let of = |likeness| self.parts.values().any(|part| part.object.likeness() == likeness);
        let files = self.now.change_files;
        let held = format!(
            "rewritten with the same bytes: comparing the table with it would undo the {files} change files loaded since, and \
             not all of them were rewritten with it"
        );
        let kept = files == 0 || (self.now.rewritten > 0 && self.now.untouched == 0);
        match () {
            () if of(Likeness::Other) => None,
            () if of(Likeness::Untold) => Some((
                Likeness::Untold,
                Some(format!(
                    "rewritten with as many bytes as before, and the ledger does not know whether they are the same, for it was \
                     loaded by an older version; if they are, comparing the table with it would undo the {files} change files \
                     loaded since"
                )),
            )),
            () if of(Likeness::Unread) => Some((Likeness::Unread, (!kept).then_some(held))),
            () => Some((Likeness::Same, (!kept).then_some(held))),
        }
    }

    /// Returns the step for a reload and a note for the ledger. Incomplete or mixed reloads are held.
    fn reload(&self) -> Option<(Step, Option<String>)> {
        let flaw = self.mixed().or_else(|| parts::gap(self.listed_parts(), |_| false).map(|gap| gap.words));
        if self.is_released() {
            return Some((Step::Replace, flaw.map(|flaw| format!("released: {flaw}"))));
        }
        let reason = match flaw.or_else(|| self.incomplete()) {
            None => self.undone()?,
            reason => reason,
        };
        Some(match reason {
            Some(reason) => (Step::Stop(Status::Held, reason), None),
            None => (Step::Replace, None),
        })
    }

    /// Returns the reason for which a first full load after loaded change files is held: if they were copied, it would undo
    /// them. The outer `None` means that the times must be collected first.
    fn undone(&self) -> Option<Option<String>> {
        let earliest = self.parts.values().map(|part| part.object.listed.modified).min();
        let Some(earliest) = earliest.filter(|_| self.now.number == 0 && self.now.change_files > 0) else {
            return Some(None);
        };
        let files = self.now.change_files;
        let why = "which came before this full load, may have been copied, and then it does not contain them: comparing the \
                   table with it would undo them. FEED order=modified, then `deliveries retry`, says that it contains them";
        Some(match self.changes.judge_loaded(earliest)? {
            Verdict::Genuine => None,
            Verdict::Copied | Verdict::Unsure(_) => Some(format!("the {files} change files that were loaded, {why}")),
        })
    }

    /// Returns the reason for which a partly rewritten reload is held, with what a release would take back.
    fn mixed(&self) -> Option<String> {
        let old = |skipped: bool| {
            let old = self.parts.values().filter(move |part| !part.object.new && part.skipped == skipped);
            old.map(|part| part.object.listed.key.as_str()).collect::<Vec<_>>()
        };
        let (loaded, skipped) = (old(false), old(true));
        let names = [&loaded[..], &skipped[..]].concat().join(", ");
        let mut words = format!("mixed reload: {names} not rewritten with the other parts");
        if !loaded.is_empty() && self.now.change_files > 0 {
            let files = self.now.change_files;
            words.push_str(&format!(
                "; a release takes back what the {files} change files loaded since did to the rows of what was not rewritten"
            ));
        }
        if !skipped.is_empty() {
            let names = skipped.join(", ");
            words.push_str(&format!(
                "; {names} was skipped, so a release leaves it out and removes the rows that it had"
            ));
        }
        (!names.is_empty()).then_some(words)
    }

    /// Returns the rows that do not stop what is planned: these, and parts that are held, for a part more is there.
    fn passes(&self, rows: &[i64]) -> Arc<[i64]> {
        rows.iter().copied().chain(self.held_parts.iter().map(|stop| stop.id)).collect()
    }

    /// Returns `true` if an operator released what is there: all parts that are new, and no part less than then.
    fn is_released(&self) -> bool {
        let mut new = self.parts.values().filter(|part| part.object.new).peekable();
        new.peek().is_some() && !self.released_lost && new.all(|part| part.released)
    }

    fn listed_parts(&self) -> impl Iterator<Item = (Part, &str)> {
        self.parts.keys().map(|(part, key)| (*part, key.as_str()))
    }

    /// Returns the first gap that was not released among the parts that are loaded, which may be deleted, and the listed ones.
    fn gap_beside_loaded(&self) -> Option<Gap> {
        let loaded = self.now.parts.keys().map(|(part, key)| (*part, key.as_str()));
        let all: BTreeSet<(Part, &str)> = loaded.chain(self.listed_parts()).collect();
        let released: BTreeSet<&str> =
            self.parts.iter().filter(|(_, part)| part.released).map(|((_, key), _)| key.as_str()).collect();
        parts::gap(all.into_iter(), |behind| released.contains(behind))
    }

    /// Says that a part is listed twice. What was skipped is not read.
    fn twice(&self) -> Option<String> {
        let wanted = self.parts.iter().filter(|(_, part)| !part.skipped);
        parts::twice(wanted.map(|((_, key), _)| key.as_str()))
    }

    fn incomplete(&self) -> Option<String> {
        let newest = self.parts.values().map(|part| part.object.listed.modified).max();
        let (found, before) = (self.parts.len(), self.now.parts.len());
        let incomplete = found < before && !self.changes.any_newer_than(newest);
        incomplete.then(|| format!("maybe incomplete: {found} of the {before} parts that the load before had"))
    }

    /// Returns the generation to which change files belong, and the time of its earliest part.
    fn base(&self, snapshot: &[Pending]) -> Base {
        let renewed = snapshot.first().is_some_and(|pending| pending.generation > self.now.number);
        let number = snapshot.first().map_or(self.now.number, |pending| pending.generation);
        let planned = snapshot.iter().flat_map(|pending| &pending.objects).map(|object| object.listed.modified);
        let loaded = self.now.parts.values().copied().filter(|_| !renewed);
        Base { number, earliest: planned.chain(loaded).min(), renewed }
    }
}
