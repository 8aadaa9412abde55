//! What there is to report: the plan and the ledger, table by table. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::boot::Boot;
use crate::commands::when;
use crate::decode::File;
use crate::source::{Entity, Foreigners, Plan, TablePlan};
use crate::target::{StopRow, TableState};

/// The whole answer, as `--json` gives it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub tables: Vec<Table>,
    /// tables of the feed without one in the target
    pub unmapped: Vec<Unmapped>,
    pub foreign: Foreign,
    /// all objects that the bucket shows below the path
    pub listed: u64,
    pub messages_waiting: u64,
    pub generated_at: String,
    pub bucket: String,
    pub path: String,
    pub schema_version: i32,
}

/// One table of the feed. Ages are in seconds, times in UTC.
#[derive(Debug, Default, Serialize)]
pub(super) struct Table {
    pub table: String,
    /// `LastModified` of the newest loaded object
    pub last_loaded: Option<String>,
    pub last_loaded_age: Option<i64>,
    pub pending: Waiting,
    pub last_delivery: Option<i64>,
    /// in its last delivery
    pub rows_rejected: u64,
    /// in all that were loaded, until somebody deletes them
    pub rows_in_quarantine: u64,
    /// the deliveries that they are of
    pub quarantine: Vec<i64>,
    pub stopped: Option<Stopped>,
}

/// Objects that are listed and not accounted for.
#[derive(Debug, Default, Serialize)]
pub(super) struct Waiting {
    pub objects: u64,
    pub bytes: u64,
    pub oldest: Option<String>,
    pub oldest_age: Option<i64>,
}

/// What stops a table.
#[derive(Debug, Serialize)]
pub(super) struct Stopped {
    pub status: String,
    pub delivery: i64,
    pub object_key: String,
    /// the first line
    pub error: String,
    /// what an operator asked for: the next iteration acts, and the table waits for nobody
    pub requested: Option<String>,
    /// what a person can do, one of these
    pub next: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Unmapped {
    pub table: String,
    pub pending: Waiting,
    pub why: String,
}

/// Objects that are no file of a table.
#[derive(Debug, Serialize)]
pub(super) struct Foreign {
    pub transactions: u64,
    pub dfm: u64,
    pub temporary: u64,
    pub markers: u64,
    pub other: u64,
    /// some keys of the others
    pub examples: Vec<String>,
    #[serde(skip)]
    pub words: String,
}

impl Report {
    pub(super) fn new(boot: &Boot, plan: &Plan, states: Vec<TableState>) -> Self {
        let now = boot.clock.utc().unix_timestamp();
        Self {
            tables: tables(plan, states, now),
            unmapped: Vec::new(),
            foreign: Foreign::of(plan),
            listed: plan.listed,
            messages_waiting: 0,
            generated_at: when::written(now),
            bucket: boot.config.source.bucket.clone(),
            path: boot.config.source.path.clone(),
            schema_version: 0,
        }
    }

    /// Takes a table that the target does not have from those that it has.
    pub(super) fn unmap(&mut self, entity: &Entity, why: String) {
        let name = entity.to_string();
        if let Some(at) = self.tables.iter().position(|table| table.table == name) {
            let Table { table, pending, .. } = self.tables.remove(at);
            self.unmapped.push(Unmapped { table, pending, why });
        }
    }

    /// Whether a table waits for a person.
    pub(super) fn is_stopped(&self) -> bool {
        self.tables.iter().any(Table::waits)
    }
}

impl Table {
    pub(super) fn waits(&self) -> bool {
        self.stopped.as_ref().is_some_and(|stopped| stopped.requested.is_none())
    }
}

fn tables(plan: &Plan, states: Vec<TableState>, now: i64) -> Vec<Table> {
    let mut all: BTreeMap<Entity, (Option<TableState>, Option<&TablePlan>)> = BTreeMap::new();
    for state in states {
        let entity = Entity { schema: state.schema.clone(), name: state.entity.clone() };
        all.entry(entity).or_default().0 = Some(state);
    }
    for table in &plan.tables {
        all.entry(table.entity.clone()).or_default().1 = Some(table);
    }
    all.iter().map(|(entity, (state, plan))| Table::of(entity, state.as_ref(), *plan, now)).collect()
}

impl Table {
    fn of(entity: &Entity, state: Option<&TableState>, plan: Option<&TablePlan>, now: i64) -> Self {
        let last_loaded = state.and_then(|state| state.last_loaded);
        Self {
            table: entity.to_string(),
            last_loaded: last_loaded.map(when::written),
            last_loaded_age: last_loaded.map(|at| now - at),
            pending: plan.map(|plan| Waiting::of(plan, now)).unwrap_or_default(),
            last_delivery: state.and_then(|state| state.last_delivery),
            rows_rejected: state.map_or(0, |state| state.rows_rejected),
            rows_in_quarantine: state.map_or(0, |state| state.quarantined),
            quarantine: state.map(|state| state.quarantine.clone()).unwrap_or_default(),
            stopped: state.and_then(|state| stop(state, plan)).map(Stopped::of),
        }
    }
}

/// The row that stops the table: the first whose version the bucket still shows, and for which nothing was asked. A held
/// snapshot stops nothing once a part more is there.
fn stop<'a>(state: &'a TableState, plan: Option<&TablePlan>) -> Option<&'a StopRow> {
    let part_more = plan.into_iter().flat_map(|plan| &plan.pending).any(|pending| {
        pending.file == File::Snapshot && pending.objects.iter().any(|part| part.new && part.entry.is_none())
    });
    let superseded = |row: &StopRow| plan.is_some_and(|plan| plan.superseded.contains(&row.id));
    let overtaken = |row: &StopRow| part_more && row.snapshot && row.status == "held";
    let rows = || state.stops.iter().filter(|row| !superseded(row) && !overtaken(row));
    rows().find(|row| row.requested.is_none()).or_else(|| rows().next())
}

impl Stopped {
    fn of(row: &StopRow) -> Self {
        let why = row.why.as_deref().unwrap_or_default();
        Self {
            status: row.status.clone(),
            delivery: row.id,
            object_key: row.key.clone(),
            error: why.lines().next().unwrap_or_default().to_owned(),
            requested: row.requested.clone(),
            next: if row.requested.is_none() { next(&row.status, row.id) } else { Vec::new() },
        }
    }
}

/// What a person can do about a delivery that stops its table: one of these.
pub(in crate::commands) fn next(status: &str, id: i64) -> Vec<String> {
    let skip = format!("`deliveries skip {id} --reason …`, and the table goes on without it");
    match status {
        "failed" => vec![
            "put a mended file into the bucket".to_owned(),
            format!("mend the table or change the setting, then `deliveries retry {id}`"),
            skip,
        ],
        "held" => vec![
            "put a complete full load into the bucket".to_owned(),
            format!("`deliveries release {id}`, if it is right as it is"),
            skip,
        ],
        "late" => vec![
            format!("`deliveries retry {id}`, which folds it in with what was loaded after it"),
            "delete it from the bucket".to_owned(),
            skip,
        ],
        _ => Vec::new(),
    }
}

impl Waiting {
    fn of(plan: &TablePlan, now: i64) -> Self {
        let objects = plan.pending.iter().flat_map(|pending| &pending.objects).filter(|object| object.new);
        let listed: Vec<_> = objects.map(|object| &object.listed).collect();
        let oldest = listed.iter().map(|listed| listed.modified).chain(plan.later.oldest).min();
        Self {
            objects: listed.len() as u64 + plan.later.objects,
            bytes: listed.iter().map(|listed| listed.size).sum::<u64>() + plan.later.bytes,
            oldest: oldest.map(when::written),
            oldest_age: oldest.map(|at| now - at),
        }
    }
}

impl Foreign {
    fn of(plan: &Plan) -> Self {
        let Foreigners { transactions, dfm, temporary, markers, other } = plan.foreign;
        let examples = plan.strange.iter().cloned().collect();
        Self { transactions, dfm, temporary, markers, other, examples, words: plan.foreign.to_string() }
    }
}
