//! The loader's latest backlog, shared with the status page. The loader updates it, the page reads it, and neither
//! waits for the other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::backlog::{Backlog, Files, InProgress, TableBacklog, WaitReason};
use crate::source::{Entity, TablePlan};

/// The latest backlog, shared by all clones; empty until the bucket has been listed once.
#[derive(Clone, Debug, Default)]
pub struct SharedBacklog(Arc<Mutex<Option<Backlog>>>);

impl SharedBacklog {
    pub fn stock(&self) -> Option<Backlog> {
        self.lock().clone()
    }

    /// Stores a new backlog. The reason for which a table waits is kept until the table's turn.
    pub fn taken(&self, mut stock: Backlog) {
        let mut noted = self.lock();
        let before = noted.take().map(|stock| stock.tables).unwrap_or_default();
        for (entity, shelf) in before {
            if let Some(now) = stock.tables.get_mut(&entity) {
                now.remark = shelf.remark;
            }
        }
        *noted = Some(stock);
    }

    /// Records that a delivery of a table begins.
    pub fn begins(&self, entity: &Entity, in_hand: InProgress) {
        self.change(entity, |shelf| shelf.in_hand = Some(in_hand));
    }

    /// Records that a delivery of a table has ended. `left` is what waits now, if it was counted.
    pub fn ends(&self, entity: &Entity, left: Option<Files>) {
        self.change(entity, |shelf| {
            shelf.in_hand = None;
            shelf.files = left.unwrap_or(shelf.files);
        });
    }

    /// Records that a table's turn is over: what is left of it, and why.
    pub fn left(&self, table: &TablePlan, done: usize, remarks: &BTreeMap<Entity, WaitReason>) {
        let (files, remark) = (Files::of(table, done), remarks.get(&table.entity).cloned());
        self.change(&table.entity, |shelf| {
            (shelf.files, shelf.remark, shelf.in_hand) = (files, remark, None);
        });
    }

    fn change(&self, entity: &Entity, change: impl FnOnce(&mut TableBacklog)) {
        let mut noted = self.lock();
        if let Some(shelf) = noted.as_mut().and_then(|stock| stock.tables.get_mut(entity)) {
            change(shelf);
        }
    }

    /// Locks the backlog, which is held only while a few lines are copied.
    fn lock(&self) -> MutexGuard<'_, Option<Backlog>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(name: &str) -> Entity {
        Entity { schema: "dbo".into(), name: name.into() }
    }

    fn stock(at: i64, tables: &[&str]) -> Backlog {
        let tables = tables.iter().map(|name| (entity(name), TableBacklog::default()));
        Backlog { at, tables: tables.collect(), ..Backlog::default() }
    }

    #[test]
    fn a_remark_holds_until_the_turn_comes_and_a_table_that_is_gone_is_gone() {
        let noted = SharedBacklog::default();
        assert_eq!(noted.stock(), None);
        noted.begins(&entity("e"), InProgress { key: "k".into(), since: 1 });
        assert_eq!(noted.stock(), None, "nothing is known yet");
        noted.taken(stock(1, &["e", "f"]));
        noted.change(&entity("e"), |shelf| shelf.remark = Some(WaitReason::NoTable));
        noted.taken(stock(2, &["e"]));
        let now = noted.stock().expect("noted");
        assert_eq!((now.at, now.tables.len()), (2, 1));
        assert_eq!(now.tables[&entity("e")].remark, Some(WaitReason::NoTable));
    }

    #[test]
    fn what_is_in_hand_is_in_hand_until_it_ends() {
        let (noted, files) = (SharedBacklog::default(), Files { objects: 3, bytes: 30, oldest: Some(9) });
        noted.taken(stock(1, &["e"]));
        noted.ends(&entity("e"), Some(files));
        noted.begins(&entity("e"), InProgress { key: "k".into(), since: 7 });
        let shelf = || noted.stock().expect("noted").tables[&entity("e")].clone();
        assert_eq!((shelf().files, shelf().in_hand.map(|one| one.since)), (files, Some(7)));
        noted.ends(&entity("e"), None);
        assert_eq!((shelf().files, shelf().in_hand), (files, None));
    }
}
