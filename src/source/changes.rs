//! Change files of a table, while a plan is made: their order, which of them a full load contains, and which are
//! late.
//!
//! A late file is folded in together with all files that were loaded after it, in feed order, so that later values
//! win.

use std::collections::{BTreeMap, BTreeSet};

use super::copied::{self, Times, Verdict};
use super::entry::{Entry, Listed, Request, Status};
use super::generation::Generation;
use super::key::NameTime;
use super::parts::unpacked;
use super::plan::{Later, Likeness, Object, Step, TablePlan};
use super::unrecorded::Unrecorded;
use crate::decode::dialect::Order;

/// Maximum difference between the clocks of the files' writers, in seconds.
const SLACK: i64 = 300;

/// Position of a change file in feed order: by the time in its name, unless the order is set to `LastModified`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FeedPosition {
    /// `LastModified` if it decides, else 0
    modified: i64,
    time: NameTime,
    key: String,
}

impl FeedPosition {
    pub(super) fn of(order: Order, time: NameTime, modified: i64, key: &str) -> Self {
        Self { modified: if order == Order::Modified { modified } else { 0 }, time, key: key.to_owned() }
    }
}

/// Change files without a final ledger row: the first ones in feed order, as many as fit.
#[derive(Debug)]
pub(super) struct PendingChanges {
    order: Order,
    /// `true` if loaded change files are collected, to fold a late one in.
    pub keeps: bool,
    files: BTreeMap<FeedPosition, Change>,
    later: Later,
    /// Modification time of the newest file.
    newest: Option<i64>,
    /// Modification time of the oldest file that was never loaded and is gone from the bucket.
    oldest_gone: Option<i64>,
    /// Times of all change files, with or without a final ledger row, if they are collected.
    times: Option<Vec<Times>>,
    /// The key that was seen last. The two keys of a file that is there unpacked and packed follow each other.
    last: Option<LastKey>,
    /// An operator released a file that was held: all of them follow the snapshot.
    released: bool,
}

/// The key of a change file that was seen last.
#[derive(Debug)]
struct LastKey {
    key: String,
    /// A version of it was loaded, or is contained in a full load.
    is_applied: bool,
    /// Its place among the pending files, if it is pending.
    turn: Option<FeedPosition>,
}

/// The same change file under its other key, unpacked or packed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Twin {
    key: String,
    is_applied: bool,
}

#[derive(Debug)]
struct Change {
    object: Object,
    /// The generation in which another version of it was loaded.
    rewritten_in: Option<i32>,
    /// `true` if an operator requested a retry.
    again: bool,
    /// `true` if the file was loaded after the full load that is loaded again, and so follows it.
    follows: bool,
    /// The generation whose full load contains another version, and that version's size.
    contained: Option<(i32, u64)>,
    twin: Option<Twin>,
}

/// Full load to which change files belong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base {
    /// The generation that they belong to.
    pub number: i32,
    /// Modification time of its earliest part.
    pub earliest: Option<i64>,
    /// `true` if a new generation is pending, so that files that were loaded before it do not matter for the order.
    pub renewed: bool,
}

impl PendingChanges {
    pub(super) fn new(order: Order, keeps: bool, times: bool) -> Self {
        let (files, later, times) = (BTreeMap::new(), Later::default(), times.then(Vec::new));
        Self { order, keeps, files, later, newest: None, oldest_gone: None, times, last: None, released: false }
    }

    pub(super) fn are_pending(&self) -> bool {
        !self.files.is_empty() || self.later.objects > 0
    }

    /// Returns `true` if neither names nor times were set to decide.
    pub(super) fn is_auto(&self) -> bool {
        self.order == Order::Auto
    }

    /// Takes in what another folder of the same table has.
    pub(super) fn join(&mut self, other: Self) {
        self.files.extend(other.files);
        self.later.join(other.later);
        self.newest = self.newest.max(other.newest);
        self.oldest_gone = self.oldest_gone.into_iter().chain(other.oldest_gone).min();
        self.released |= other.released;
        if let (Some(times), Some(others)) = (&mut self.times, other.times) {
            times.extend(others);
        }
    }

    /// Keeps only the first `room` files, and leaves the others for a later plan. Returns the number of kept files.
    /// Removed files without a ledger row are added to `rest`.
    pub(super) fn keep_first(&mut self, room: usize, rest: &mut Unrecorded) -> usize {
        while self.files.len() > room
            && let Some((turn, change)) = self.files.pop_last()
        {
            if change.object.entry.is_none() {
                rest.push(&change.object.listed, change.object.occurrence);
            }
            self.later.join(change.later(turn.time));
        }
        self.files.len()
    }

    pub(super) fn turn(&self, time: NameTime, modified: i64, key: &str) -> FeedPosition {
        FeedPosition::of(self.order, time, modified, key)
    }

    /// Keeps the times of the versions that the ledger accounts for.
    pub(super) fn see_accounted(&mut self, time: NameTime, rows: &[Entry]) {
        if let Some(row) = rows.iter().find(|row| row.status == Status::Loaded || row.contained) {
            self.meet(LastKey { key: row.key.clone(), is_applied: true, turn: None });
        }
        let Some(times) = &mut self.times else { return };
        let accounted = rows.iter().filter(|row| row.is_accounted());
        let named = time.unix_seconds().unwrap_or_default();
        times.extend(accounted.map(|row| Times { named, written: row.modified, generation: Some(row.generation) }));
    }

    /// Takes note of the key that is seen now. Returns the key before it if both are one file, unpacked and packed: keys come in
    /// their order.
    fn meet(&mut self, now: LastKey) -> Option<Twin> {
        let before = self.last.replace(now)?;
        let now =
            self.last.as_ref().filter(|now| now.key != before.key && unpacked(&now.key) == unpacked(&before.key))?;
        if let Some(change) = before.turn.and_then(|turn| self.files.get_mut(&turn)) {
            change.twin = Some(Twin { key: now.key.clone(), is_applied: now.is_applied });
        }
        Some(Twin { key: before.key, is_applied: before.is_applied })
    }

    /// Keeps the times of a file that was never loaded and is gone from the bucket.
    pub(super) fn see_gone(&mut self, time: NameTime, modified: i64) {
        self.oldest_gone = self.oldest_gone.into_iter().chain([modified]).min();
        if let Some(times) = &mut self.times {
            times.push(times_of(time, modified));
        }
    }

    /// Adds a listed file, its ledger row, and the rows of all its versions.
    pub(super) fn see(&mut self, time: NameTime, listed: Listed, row: Option<&Entry>, rows: &[Entry]) {
        if row.is_some_and(Entry::is_accounted) {
            return;
        }
        if let Some(times) = &mut self.times {
            times.push(times_of(time, listed.modified));
        }
        let turn = self.turn(time, listed.modified, &listed.key);
        let loaded = rows.iter().filter(|row| row.status == Status::Loaded);
        let rewritten_in = loaded.map(|row| row.generation).max();
        let requested = row.and_then(|row| row.requested);
        let again = requested == Some(Request::Retry);
        self.released |= requested == Some(Request::Release);
        self.newest = self.newest.max(Some(listed.modified));
        let follows = row.is_some_and(|row| row.reload);
        let contained = rows.iter().filter(|row| row.contained && row.superseded_by.is_none());
        let contained = contained.map(|row| (row.generation, row.size)).max();
        let object = Object::of(listed, row, rows, |row, listed| row.etag == listed.etag);
        let is_applied = rewritten_in.is_some() || contained.is_some();
        let twin = self.meet(LastKey { key: object.listed.key.clone(), is_applied, turn: Some(turn.clone()) });
        self.files.insert(turn, Change { object, rewritten_in, again, follows, contained, twin });
    }

    /// Returns the kept files in feed order.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.files.values().map(|change| &change.object)
    }

    /// Returns `true` if a change file was written after this time, as far as `LastModified` can be trusted.
    pub(super) fn any_newer_than(&self, modified: Option<i64>) -> bool {
        self.order != Order::Name && self.newest.is_some_and(|newest| Some(newest) > modified)
    }

    /// Returns the counts of all files.
    pub(super) fn counted(&self) -> Later {
        let mut all = self.later;
        self.files.iter().for_each(|(turn, change)| all.join(change.later(turn.time)));
        all
    }

    /// Returns two files whose names and times contradict each other by more than the clocks of their writers may
    /// differ.
    pub(super) fn regression(&self) -> Option<(String, String)> {
        if self.order == Order::Modified {
            return None;
        }
        let listed = self.files.iter().map(|(turn, change)| (turn.time, &change.object.listed));
        let mut newest: Option<&Listed> = None;
        for (_, listed) in listed.filter(|(time, listed)| !is_copied(*time, listed.modified)) {
            match newest {
                Some(before) if before.modified - listed.modified > SLACK => {
                    return Some((before.key.clone(), listed.key.clone()));
                }
                Some(before) if before.modified >= listed.modified => {}
                _ => newest = Some(listed),
            }
        }
        None
    }

    /// Returns the first file that is named before the full load was written but was written after it, and by how many minutes
    /// its name is older: it is loaded after the full load, which may have newer values.
    fn named_before(&self, base: Base) -> Option<(String, i64)> {
        let earliest = base.earliest.filter(|_| self.order != Order::Modified)?;
        self.files.iter().find_map(|(turn, change)| {
            let listed = &change.object.listed;
            let older = earliest - turn.time.unix_seconds()?;
            let late = older > SLACK && listed.modified >= earliest && !is_copied(turn.time, listed.modified);
            late.then(|| (listed.key.clone(), older / 60))
        })
    }

    /// Adds the deliveries of the change files to a table's plan, in feed order. `after` is the table's last ledger id.
    pub(super) fn add_to(&self, plan: &mut TablePlan, now: &Generation, base: Base, after: i64) {
        let mut folded = false;
        plan.later = self.later;
        let Some(verdict) = self.judge(now, base) else {
            plan.wants_times = true;
            plan.later = self.counted();
            return;
        };
        plan.assumed = self.assumed(base, verdict);
        plan.named_before = self.named_before(base).filter(|_| verdict == Verdict::Genuine);
        for (turn, change) in &self.files {
            let modified = change.object.listed.modified;
            let late = is_late(turn, change, now, base);
            let mut objects = vec![change.object.clone()];
            if change.object.likeness() == Likeness::Same
                && let Some(before) = &change.object.before
            {
                plan.pending.push(plan.pending(before.generation, Step::Same, objects, after));
                continue;
            }
            let step = match () {
                () if change.follows => Step::Changes,
                () if let Some(step) = change.of_a_contained_one() => step,
                () if let Verdict::Unsure(unsure) = verdict => Step::Stop(Status::Held, unsure.reason(base.number)),
                () if self.is_contained(modified, base, verdict) => {
                    Step::Skip(format!("contained in snapshot {}", base.number))
                }
                () if change.has_pending_twin() => Step::Stop(Status::Late, twin_reason(change)),
                () if late && change.again && folded => continue,
                () if late && change.again && !self.keeps => {
                    plan.wants_history = true;
                    return;
                }
                () if late && change.again => {
                    folded = true;
                    self.refold(turn, now, base, verdict, &mut objects)
                }
                () if late => Step::Stop(Status::Late, late_reason(now, change, base.number)),
                () => Step::Changes,
            };
            let step = match change.object.likeness() {
                Likeness::Unread if !change.again => Step::Compare(Box::new(step)),
                _ => step,
            };
            plan.pending.push(plan.pending(base.number, step, objects, after));
        }
    }

    /// Returns what the times of the change files say about the snapshot to which they belong, or `None` if the times
    /// must be collected first.
    pub(super) fn judge(&self, now: &Generation, base: Base) -> Option<Verdict> {
        let Some(earliest) = base.earliest.filter(|_| self.order == Order::Auto) else { return Some(Verdict::Genuine) };
        if self.released {
            return Some(Verdict::Copied);
        }
        let pending = self.counted();
        // what comes after a loaded change file of the generation by its name follows the snapshot as that one does
        let follows = !base.renewed && now.last_change.is_some();
        let copied = pending.copied > 0 && !follows;
        if !copied && pending.oldest.into_iter().chain(self.oldest_gone).all(|oldest| oldest >= earliest) {
            return Some(Verdict::Genuine);
        }
        Some(copied::judge(base.number, earliest, self.times.as_ref()?))
    }

    /// Returns what the times say about a first full load that comes after change files were loaded, or `None` if the
    /// times must be collected first.
    pub(super) fn judge_loaded(&self, earliest: i64) -> Option<Verdict> {
        match self.order {
            Order::Auto => Some(copied::judge(1, earliest, self.times.as_ref()?)),
            Order::Name | Order::Modified => Some(Verdict::Genuine),
        }
    }

    /// Returns the number of pending files that are assumed to follow the snapshot because they were copied.
    fn assumed(&self, base: Base, verdict: Verdict) -> usize {
        let Some(earliest) = base.earliest.filter(|_| self.order == Order::Auto && base.number <= 1) else { return 0 };
        let pending = self.times.iter().flatten().filter(|times| times.generation.is_none());
        match verdict {
            Verdict::Copied => pending.filter(|times| times.is_copied() || times.written < earliest).count(),
            Verdict::Genuine => self.counted().copied,
            Verdict::Unsure(_) => 0,
        }
    }

    /// Returns `true` if the full load contains the changes of a file that was written at this time.
    pub(super) fn is_contained(&self, modified: i64, base: Base, verdict: Verdict) -> bool {
        let older = base.earliest.is_some_and(|earliest| modified < earliest);
        older && self.order != Order::Name && verdict == Verdict::Genuine
    }

    /// Adds all late files whose retry was requested, and the loaded files of the generation after the `first` of
    /// them, in feed order. If a late file is a new version of a loaded one, the loaded version is left out.
    fn refold(
        &self,
        first: &FeedPosition,
        now: &Generation,
        base: Base,
        verdict: Verdict,
        objects: &mut Vec<Object>,
    ) -> Step {
        let asked = self.files.iter().filter(|(turn, change)| {
            let contained = self.is_contained(change.object.listed.modified, base, verdict);
            change.again && is_late(turn, change, now, base) && !contained
        });
        let asked: BTreeMap<&FeedPosition, Object> =
            asked.map(|(turn, change)| (turn, change.object.clone())).collect();
        let keys: BTreeSet<&str> = asked.keys().map(|turn| unpacked(&turn.key)).collect();
        let mut all = asked.clone();
        for (turn, (id, listed)) in now.loaded.range(first..).filter(|(turn, _)| !keys.contains(unpacked(&turn.key))) {
            let Some(listed) = listed.clone() else { return lost(&turn.key) };
            all.insert(turn, Object { entry: Some(*id), untried: false, new: false, ..Object::unknown(listed) });
        }
        *objects = all.into_values().collect();
        Step::Refold
    }
}

impl Change {
    /// Returns the step for a version of a file that a full load contains. The new version is contained too, because its
    /// name has the same time, and later full loads contain what that one does.
    fn of_a_contained_one(&self) -> Option<Step> {
        let (number, size) = self.contained?;
        if size == self.object.listed.size {
            return Some(Step::Skip(format!("contained in snapshot {number}, as its other version is")));
        }
        let reason = format!("another version of this change file is contained in snapshot {number}");
        (!self.again).then_some(Step::Stop(Status::Late, reason))
    }

    /// Returns `true` if the file is there under its other key too, and neither was applied.
    fn has_pending_twin(&self) -> bool {
        self.rewritten_in.is_none() && self.twin.as_ref().is_some_and(|twin| !twin.is_applied)
    }

    fn later(&self, time: NameTime) -> Later {
        let listed = &self.object.listed;
        Later { copied: is_copied(time, listed.modified).into(), ..Later::one(listed, self.object.untried) }
    }
}

/// Returns `true` if the file sorts before a loaded one of its generation, or is another version of a loaded one. A full load
/// that was loaded since makes no difference: it may have newer values.
fn is_late(turn: &FeedPosition, change: &Change, now: &Generation, base: Base) -> bool {
    let before = now.last_change.as_ref().is_some_and(|last| turn < last);
    (before && !base.renewed)
        || change.rewritten_in.is_some()
        || change.twin.as_ref().is_some_and(|twin| twin.is_applied)
}

/// Returns the reason for stopping a change file that is there unpacked and packed.
fn twin_reason(change: &Change) -> String {
    let key = &change.object.listed.key;
    let twin = change.twin.as_ref().map(|twin| twin.key.as_str()).unwrap_or_default();
    format!(
        "{key} and {twin} are one change file, unpacked and packed, which must be applied once: skip this one with a reason, and the \
         other is loaded"
    )
}

/// Returns the reason why a file is late in the generation with this number.
fn late_reason(now: &Generation, change: &Change, number: i32) -> String {
    if let (None, Some(twin)) = (change.rewritten_in, &change.twin) {
        return format!("{} is the same change file, unpacked or packed, and was applied before", twin.key);
    }
    match (change.rewritten_in, &now.last_change) {
        (None, last) => {
            let last = last.as_ref().map_or("another change file", |last| &last.key);
            format!("{last} was loaded before it, and comes after it")
        }
        (Some(generation), _) if generation >= number => {
            "another version of this change file was loaded before".to_owned()
        }
        (Some(generation), _) if change.object.likeness() == Likeness::Untold => format!(
            "another version of this change file was loaded in generation {generation} by an older version of the loader, which \
             did not note its content, so it is not known whether this is the same"
        ),
        (Some(generation), _) => {
            format!("another version of this change file was loaded before, in generation {generation}")
        }
    }
}

fn lost(key: &str) -> Step {
    let reason = format!(
        "cannot be folded in: {key} was loaded after it and is not in the bucket any more; skip it with a reason"
    );
    Step::Stop(Status::Late, reason)
}

fn times_of(time: NameTime, modified: i64) -> Times {
    Times { named: time.unix_seconds().unwrap_or_default(), written: modified, generation: None }
}

fn is_copied(time: NameTime, modified: i64) -> bool {
    times_of(time, modified).is_copied()
}
