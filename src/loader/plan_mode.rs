//! Modes of recording deliveries in a plan. An ordinary run records nothing; `plan` records each delivery; `run
//! --plan` checks before each commit that the delivery does what the plan file says.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::plan_file::{Counts, Delivery, Keys, PlanFile, Stop, Table};
use super::{Error, error_policy, plan_drift};
use crate::load::{self, Changes, Seen, Why};
use crate::source::{Entity, Pending, Status, TablePlan};

/// Plan mode of a run.
#[derive(Debug, Default)]
pub enum PlanMode {
    #[default]
    Off,
    Record(Mutex<Record>),
    Enforce(Box<Enforce>),
}

/// A plan in the making.
#[derive(Debug, Default)]
pub struct Record {
    tables: Vec<Table>,
    /// Reasons for which a table's files could not be tried.
    troubles: BTreeMap<Entity, String>,
}

/// A plan that the run is held to.
#[derive(Debug)]
pub struct Enforce {
    pub agreed: PlanFile,
    /// Number of each table's deliveries that are done.
    done: Mutex<BTreeMap<Entity, usize>>,
}

/// Result of a delivery.
#[derive(Clone, Copy)]
pub enum DeliveryEnd<'a> {
    Loaded(&'a Changes),
    Noted(Status, &'a Why),
}

impl PlanMode {
    pub fn draft() -> Self {
        Self::Record(Mutex::default())
    }

    pub fn keep(agreed: PlanFile) -> Self {
        Self::Enforce(Box::new(Enforce { agreed, done: Mutex::default() }))
    }

    pub fn kept(&self) -> Option<&Enforce> {
        match self {
            Self::Enforce(kept) => Some(kept),
            _ => None,
        }
    }

    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Off)
    }

    /// Checks before the commit that the result is the planned one.
    pub fn weigh(&self, pending: &Pending, end: DeliveryEnd<'_>) -> Result<(), Error> {
        let Self::Enforce(kept) = self else { return Ok(()) };
        let (found, done) = (delivery(pending, 0, end), kept.done(&pending.entity));
        let planned = kept.agreed.table(&pending.entity).and_then(|table| table.deliveries.get(done));
        match planned.map_or_else(|| Some(plan_drift::unknown(pending)), |planned| plan_drift::effect(planned, &found))
        {
            None => Ok(()),
            Some(words) => {
                let words = format!("{} moved since the plan: {words}", pending.entity);
                Err(Error::Moved { words: vec![words], done: kept.all_done() })
            }
        }
    }

    /// Records after the commit that the delivery is done.
    pub fn enter(&self, pending: &Pending, id: i64, end: DeliveryEnd<'_>) {
        match self {
            Self::Off => {}
            Self::Enforce(kept) => *locked(&kept.done).entry(pending.entity.clone()).or_default() += 1,
            Self::Record(draft) => {
                let mut draft = locked(draft);
                let table = draft.table(&pending.entity);
                if table.deliveries.is_empty() {
                    table.last_delivery = pending.after;
                }
                if let DeliveryEnd::Loaded(changes) = end {
                    table.key = changes.seen().map(|seen| seen.key.clone()).unwrap_or_default();
                }
                table.add(delivery(pending, id, end));
            }
        }
    }

    /// Records a table of the plan with its definition and notes.
    pub fn see(&self, plan: &TablePlan, definition: Option<String>, notes: Vec<String>) {
        let Self::Record(draft) = self else { return };
        let mut draft = locked(draft);
        let table = draft.table(&plan.entity);
        (table.definition, table.notes) = (definition, notes);
        table.stopped = plan.stopped.as_ref().map(|stop| Stop {
            delivery: stop.id,
            status: stop.status.as_str().to_owned(),
            object_key: stop.key.clone(),
        });
    }

    /// Returns `true` if the recorded plan has this table.
    pub fn has(&self, entity: &Entity) -> bool {
        match self {
            Self::Record(draft) => locked(draft).find(entity).is_some(),
            _ => false,
        }
    }

    /// Returns the tables whose first load is planned to be compared with the table as a whole.
    pub fn whole_tables(&self) -> HashSet<Entity> {
        let tables = self.kept().into_iter().flat_map(|kept| &kept.agreed.tables);
        tables.filter(|table| table.whole).map(Table::entity).collect()
    }

    /// Records that the table's first load is compared with the table as a whole.
    pub fn whole(&self, entity: &Entity) {
        if let Self::Record(draft) = self {
            locked(draft).table(entity).whole = true;
        }
    }

    /// Records the reason for which a table's files could not be tried.
    pub fn trouble(&self, entity: &Entity, words: &str) {
        if let Self::Record(draft) = self {
            locked(draft).troubles.insert(entity.clone(), words.to_owned());
        }
    }

    /// Returns the recorded tables, and the reasons for which other tables' files could not be tried.
    pub fn drafted(&self) -> (Vec<Table>, BTreeMap<Entity, String>) {
        match self {
            Self::Record(draft) => {
                let Record { tables, troubles } = std::mem::take(&mut *locked(draft));
                let says = |table: &Table| !table.deliveries.is_empty() || table.stopped.is_some();
                (tables.into_iter().filter(says).collect(), troubles)
            }
            _ => Default::default(),
        }
    }
}

impl Record {
    fn find(&self, entity: &Entity) -> Option<usize> {
        self.tables.iter().position(|table| table.schema == entity.schema && table.entity == entity.name)
    }

    fn table(&mut self, entity: &Entity) -> &mut Table {
        let at = self.find(entity).unwrap_or(self.tables.len());
        if at == self.tables.len() {
            let (schema, entity) = (entity.schema.clone(), entity.name.clone());
            self.tables.push(Table { schema, entity, ..Table::default() });
        }
        &mut self.tables[at]
    }
}

impl Enforce {
    pub fn done(&self, entity: &Entity) -> usize {
        locked(&self.done).get(entity).copied().unwrap_or(0)
    }

    pub fn all_done(&self) -> usize {
        locked(&self.done).values().sum()
    }
}

/// Returns a delivery with its result.
fn delivery(pending: &Pending, id: i64, end: DeliveryEnd<'_>) -> Delivery {
    let (work, file) = (Delivery { id, ..Delivery::of(pending) }, pending.file);
    match end {
        DeliveryEnd::Loaded(changes) => {
            let seen = changes.seen().cloned().unwrap_or_default();
            let status = Status::Loaded.as_str().to_owned();
            seen_in(Delivery { status, counts: Counts::from(changes.counts()), ..work }, seen)
        }
        DeliveryEnd::Noted(status, why) => Delivery {
            status: status.as_str().to_owned(),
            why: Some(why.words.trim_end_matches('.').to_owned()),
            would_remove: why.removes,
            next: error_policy::foreseen(status, file),
            ..work
        },
    }
}

fn seen_in(delivery: Delivery, seen: Seen) -> Delivery {
    let load::Seen { columns, created, amended, removed, digest, .. } = seen;
    let columns = columns.into_iter().map(|(name, rows)| super::plan_file::Column { name, rows });
    let keys = Keys { create: created, amend: amended, remove: removed };
    Delivery { columns: columns.collect(), keys, effect: digest, ..delivery }
}

fn locked<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
