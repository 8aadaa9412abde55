//! A table's change files while stock is taken: whose turn it is, what a full load contains already, what comes late.
//!
//! A late file is folded in together with everything that was loaded after it, in feed order, so that later values win.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::{Entry, Listed, Request, Status};
use super::key::NameTime;
use super::plan::{Later, Object, Step, TablePlan};
use super::table::Generation;
use crate::decode::dialect::Order;

/// When it is a change file's turn: by the time in its name, unless `LastModified` was set to go before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    /// `LastModified` if it decides, else 0
    modified: i64,
    time: NameTime,
    key: String,
}

impl Turn {
    pub(super) fn of(order: Order, time: NameTime, modified: i64, key: &str) -> Self {
        Self { modified: if order == Order::Modified { modified } else { 0 }, time, key: key.to_owned() }
    }
}

/// The change files that are not accounted for: the first of them in feed order, as many as there is room for.
#[derive(Debug)]
pub(super) struct ChangeStock {
    order: Order,
    /// loaded change files are kept in mind, to fold a late one in
    pub keeps: bool,
    files: BTreeMap<Turn, Change>,
    later: Later,
    /// when the newest of all was modified
    newest: Option<i64>,
}

#[derive(Debug)]
struct Change {
    object: Object,
    /// the generation in which another version of it was loaded
    rewritten_in: Option<i32>,
    /// an operator asked for another try
    again: bool,
}

/// What change files stand on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base {
    /// the generation that they belong to
    pub number: i32,
    /// when its earliest part was written
    pub earliest: Option<i64>,
    /// a new generation is pending, so what was loaded before it says nothing about order
    pub renewed: bool,
}

impl ChangeStock {
    pub(super) fn new(order: Order, keeps: bool) -> Self {
        Self { order, keeps, files: BTreeMap::new(), later: Later::default(), newest: None }
    }

    /// Takes in what another folder of the same table has.
    pub(super) fn join(&mut self, other: Self) {
        self.files.extend(other.files);
        self.later.join(other.later);
        self.newest = self.newest.max(other.newest);
    }

    /// Leaves all but the first `room` files for a later plan; how many are left.
    pub(super) fn keep_first(&mut self, room: usize) -> usize {
        while self.files.len() > room
            && let Some((turn, change)) = self.files.pop_last()
        {
            self.later.join(change.later(turn.time));
        }
        self.files.len()
    }

    pub(super) fn turn(&self, time: NameTime, modified: i64, key: &str) -> Turn {
        Turn::of(self.order, time, modified, key)
    }

    pub(super) fn see(&mut self, time: NameTime, listed: Listed, rows: &[Entry]) {
        let row = rows.iter().find(|row| row.etag == listed.etag);
        if row.is_some_and(Entry::is_accounted) {
            return;
        }
        let turn = self.turn(time, listed.modified, &listed.key);
        let loaded = rows.iter().filter(|row| row.status == Status::Loaded);
        let rewritten_in = loaded.map(|row| row.generation).max();
        let again = row.is_some_and(|row| row.requested == Some(Request::Retry));
        self.newest = self.newest.max(Some(listed.modified));
        self.files.insert(turn, Change { object: Object::of(listed, row, rows), rewritten_in, again });
    }

    /// Whether a change file was written after that, as far as `LastModified` says anything.
    pub(super) fn any_newer_than(&self, modified: Option<i64>) -> bool {
        self.order != Order::Name && self.newest.is_some_and(|newest| Some(newest) > modified)
    }

    /// All of them, counted.
    pub(super) fn counted(&self) -> Later {
        let mut all = self.later;
        self.files.iter().for_each(|(turn, change)| all.join(change.later(turn.time)));
        all
    }

    /// Two files whose names and times contradict each other, by more than the clocks of writers may.
    pub(super) fn regression(&self) -> Option<(String, String)> {
        const SLACK: i64 = 300;
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

    /// Adds the deliveries of the change files to a table's plan, in feed order. `after` is the table's last ledger id.
    pub(super) fn add_to(&self, plan: &mut TablePlan, now: &Generation, base: Base, after: i64) {
        let mut folded = false;
        plan.later = self.later;
        if self.may_assume(base) {
            plan.assumed = self.later.copied;
        }
        for (turn, change) in &self.files {
            plan.assumed += usize::from(self.is_assumed(turn, change, base));
            let late = is_late(turn, change, now, base);
            let mut objects = vec![change.object.clone()];
            let step = match () {
                () if self.is_contained(turn, change, base) => {
                    Step::Skip(format!("contained in snapshot {}", base.number))
                }
                () if late && change.again && folded => continue,
                () if late && change.again && !self.keeps => {
                    plan.wants_history = true;
                    return;
                }
                () if late && change.again => {
                    folded = true;
                    self.refold(turn, now, base, &mut objects)
                }
                () if late => Step::Stop(Status::Late, late_reason(now, change)),
                () => Step::Changes,
            };
            plan.pending.push(plan.pending(base.number, step, objects, after));
        }
    }

    /// Whether a file's `LastModified` says nothing, so that it is assumed to follow the snapshot. For a later snapshot
    /// there is no such guess: the times are all there is.
    fn is_assumed(&self, turn: &Turn, change: &Change, base: Base) -> bool {
        self.may_assume(base) && is_copied(turn.time, change.object.listed.modified)
    }

    fn may_assume(&self, base: Base) -> bool {
        self.order == Order::Auto && base.number <= 1 && base.earliest.is_some()
    }

    fn is_contained(&self, turn: &Turn, change: &Change, base: Base) -> bool {
        let older = base.earliest.is_some_and(|earliest| change.object.listed.modified < earliest);
        older && self.order != Order::Name && !self.is_assumed(turn, change, base)
    }

    /// All late files that are asked for, and what was loaded of the generation after the `first` of them, in feed order.
    /// Of a file that is among the late ones the older version is left out.
    fn refold(&self, first: &Turn, now: &Generation, base: Base, objects: &mut Vec<Object>) -> Step {
        let asked = self.files.iter().filter(|(turn, change)| {
            change.again && is_late(turn, change, now, base) && !self.is_contained(turn, change, base)
        });
        let asked: BTreeMap<&Turn, Object> = asked.map(|(turn, change)| (turn, change.object.clone())).collect();
        let keys: BTreeSet<&str> = asked.keys().map(|turn| turn.key.as_str()).collect();
        let mut all = asked.clone();
        for (turn, (id, listed)) in now.loaded.range(first..).filter(|(turn, _)| !keys.contains(turn.key.as_str())) {
            let Some(listed) = listed.clone() else { return lost(&turn.key) };
            all.insert(turn, Object { listed, entry: Some(*id), new: false, replaces: Vec::new() });
        }
        *objects = all.into_values().collect();
        Step::Refold
    }
}

impl Change {
    fn later(&self, time: NameTime) -> Later {
        let listed = &self.object.listed;
        Later { copied: is_copied(time, listed.modified).into(), ..Later::one(listed, self.object.is_untried()) }
    }
}

/// A file that sorts before one that is loaded, or of which another version is.
fn is_late(turn: &Turn, change: &Change, now: &Generation, base: Base) -> bool {
    let before = now.last_change.as_ref().is_some_and(|last| turn < last);
    !base.renewed && (before || change.rewritten_in == Some(now.number))
}

fn late_reason(now: &Generation, change: &Change) -> String {
    match &now.last_change {
        Some(last) if change.rewritten_in != Some(now.number) => {
            format!("{} was loaded before it, and comes after it", last.key)
        }
        _ => "another version of this change file was loaded before".to_owned(),
    }
}

fn lost(key: &str) -> Step {
    let reason = format!(
        "cannot be folded in: {key} was loaded after it and is not in the bucket any more; skip it with a reason"
    );
    Step::Stop(Status::Late, reason)
}

/// A change file that was modified more than a day after the time in its name was evidently copied.
fn is_copied(time: NameTime, modified: i64) -> bool {
    const DAY: i64 = 86_400;
    time.unix_seconds().is_some_and(|named| modified - named > DAY)
}
