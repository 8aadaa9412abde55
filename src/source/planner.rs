//! Plans what to load next from the bucket's listing and the ledger, in feed order. Pure.
//!
//! `Planner` is given each key once, in any order, with the listed object and the ledger's rows; `plan` returns the
//! pending deliveries of every table (`table`, and `changes` for its change files). Only objects without a final
//! ledger row are kept, and of change files only the first ones of each table, so memory grows neither with history
//! nor with the backlog.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::entry::{Entry, Listed};
use super::key::{self, Entity, Ignored, IgnoredCounts, ParsedKey};
use super::plan::{Plan, TablePlan};
use super::table::TableStock;
use super::unrecorded::Unrecorded;
use crate::decode::dialect::Order;

/// Options of a plan, learned from the previous one.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// Tables whose first load must be diffed at once, because they were not empty.
    pub whole: HashSet<Entity>,
    /// Tables with a late file to fold in: their loaded change files are collected.
    pub history: HashSet<Entity>,
    /// Tables of which the times of all change files are collected, to decide whether they were copied.
    pub times: HashSet<Entity>,
    /// Tables that are to be loaded again from their newest full load.
    pub reload: HashSet<Entity>,
    /// `true` if all pending files are planned at once, however many they are: for a plan file.
    pub all: bool,
}

/// Takes stock: what the bucket shows against what the ledger knows.
#[derive(Debug)]
pub struct Planner<'a> {
    path: String,
    order: Order,
    asked: &'a PlanOptions,
    tables: BTreeMap<Entity, TableStock>,
    foreign: IgnoredCounts,
    strange: BTreeSet<String>,
    listed: u64,
    /// Files without a ledger row that do not fit into the plan.
    unrecorded: Unrecorded,
    room: usize,
    /// Maximum number of change files that are kept for each table, and number of those kept for all.
    share: usize,
    kept: usize,
}

/// Maximum number of change files in a plan; more are left for later plans. Each takes about a kilobyte. Tests use a
/// small number, so that they need several plans.
const ROOM: usize = if cfg!(debug_assertions) { 8 } else { 16 * 1024 };
/// Number of unrecognised keys that are kept as examples.
const EXAMPLES: usize = 5;

impl<'a> Planner<'a> {
    pub fn new(path: &str, order: Order, asked: &'a PlanOptions) -> Self {
        Self::with_room(path, order, asked, if asked.all { usize::MAX } else { ROOM })
    }

    fn with_room(path: &str, order: Order, asked: &'a PlanOptions, room: usize) -> Self {
        Self {
            path: path.to_owned(),
            order,
            asked,
            tables: BTreeMap::new(),
            foreign: IgnoredCounts::default(),
            strange: BTreeSet::new(),
            listed: 0,
            unrecorded: Unrecorded::new(path),
            room,
            share: room,
            kept: 0,
        }
    }

    /// Adds one key: the listed object, if any, and the ledger's rows of all its versions, ordered by id.
    pub fn see(&mut self, listed: Option<Listed>, rows: &[Entry]) {
        let Some(key) = listed.as_ref().map(|listed| &listed.key).or_else(|| rows.first().map(|row| &row.key)) else {
            return;
        };
        self.listed += u64::from(listed.is_some());
        match key::parse(&self.path, key) {
            ParsedKey::Ignored(_) if listed.is_none() => {}
            ParsedKey::Ignored(foreign) => {
                self.foreign.count(foreign);
                if foreign == Ignored::Other {
                    self.keep(key);
                }
            }
            ParsedKey::Snapshot { entity, part } => self.table(entity).see_part(part, listed, rows),
            ParsedKey::Changes { entity, time } => {
                let (share, mut rest) = (self.share, std::mem::take(&mut self.unrecorded));
                let table = self.table(entity);
                let before = table.keep_first(share, &mut rest);
                table.see_changes(time, listed, rows);
                self.kept += table.keep_first(share, &mut rest) - before;
                self.unrecorded = rest;
                self.make_room();
            }
        }
    }

    /// Halves the number of change files that each table keeps, until they fit. At least one is kept, so that every
    /// table makes progress.
    fn make_room(&mut self) {
        while self.kept > self.room && self.share > 1 {
            let share = self.share / 2;
            self.share = share;
            let rest = &mut self.unrecorded;
            self.kept = self.tables.values_mut().map(|table| table.keep_first(share, rest)).sum();
        }
    }

    /// Returns the plan alone, for read-only commands.
    #[cfg(test)]
    pub fn plan(self) -> Plan {
        self.finish().0
    }

    /// Returns the plan, and the files without a ledger row that do not fit into it.
    pub fn finish(mut self) -> (Plan, Unrecorded) {
        self.join_changes();
        let mut names: HashMap<String, u32> = HashMap::new();
        self.tables.keys().for_each(|entity| *names.entry(entity.name.clone()).or_default() += 1);
        let twins = self.twins();
        let tables = self.tables.into_iter().map(|(entity, stock)| {
            let clash = names.get(&entity.name).is_some_and(|count| *count > 1);
            let label = if clash { entity.to_string() } else { entity.name.clone() };
            let at_once = self.asked.whole.contains(&entity);
            stock.plan(entity, label, at_once)
        });
        let mut tables: Vec<_> = tables.filter(TablePlan::says_something).collect();
        tables.sort_by(|a, b| a.order().cmp(&b.order()));
        let plan = Plan { tables, foreign: self.foreign, strange: self.strange, listed: self.listed, twins };
        (plan, self.unrecorded)
    }

    fn keep(&mut self, key: &str) {
        self.strange.insert(key.to_owned());
        if self.strange.len() > EXAMPLES {
            self.strange.pop_last();
        }
    }

    /// Folders that may be meant for one table: their names differ in case only, or in the schema only.
    fn twins(&self) -> Vec<(Entity, Entity)> {
        let shown = self.tables.iter().filter(|(_, stock)| stock.shown).map(|(entity, _)| entity);
        let mut names: BTreeMap<String, Vec<&Entity>> = BTreeMap::new();
        shown.for_each(|entity| names.entry(entity.name.to_lowercase()).or_default().push(entity));
        let pairs = |same: &Vec<&Entity>| {
            let others = |(place, one): (usize, &&Entity)| {
                let one = (*one).clone();
                same[place + 1..].iter().map(move |other| (one.clone(), (*other).clone())).collect::<Vec<_>>()
            };
            same.iter().enumerate().flat_map(others).collect::<Vec<_>>()
        };
        names.values().flat_map(pairs).collect()
    }

    /// Moves the change files of a folder `orders__ct` to the table `orders`, unless the folder has a full load: then
    /// it is a table itself.
    fn join_changes(&mut self) {
        let folders: Vec<Entity> = self.tables.keys().filter(|entity| entity.changes_of().is_some()).cloned().collect();
        for folder in folders {
            let Some(stock) = self.tables.remove(&folder) else { continue };
            match folder.changes_of().filter(|_| !stock.has_load()) {
                Some(table) => {
                    let (share, mut rest) = (self.share, std::mem::take(&mut self.unrecorded));
                    let table = self.table(table);
                    let parts = table.join(stock);
                    table.keep_first(share, &mut rest);
                    rest.join(folder);
                    self.unrecorded = rest;
                    self.foreign.other += parts as u64;
                }
                None => _ = self.tables.insert(folder, stock),
            }
        }
    }

    fn table(&mut self, entity: Entity) -> &mut TableStock {
        let (asked, order) = (self.asked, self.order);
        self.tables.entry(entity).or_insert_with_key(|entity| {
            let asks = |set: &HashSet<Entity>| {
                set.contains(entity) || entity.changes_of().is_some_and(|table| set.contains(&table))
            };
            let stock = TableStock::new(order, asks(&asked.history), asks(&asked.times));
            if asks(&asked.reload) { stock.for_reload() } else { stock }
        })
    }
}

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "room_tests.rs"]
mod room_tests;

#[cfg(test)]
#[path = "late_tests.rs"]
mod late_tests;

#[cfg(test)]
#[path = "rule_tests.rs"]
mod rule_tests;

#[cfg(test)]
#[path = "arrow_tests.rs"]
mod arrow_tests;

#[cfg(test)]
#[path = "copied_tests.rs"]
mod copied_tests;

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod rewrite_tests;

#[cfg(test)]
#[path = "parts_tests.rs"]
mod parts_tests;
