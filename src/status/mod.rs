//! State of each table of the feed: the bucket's side (`backlog`) joined with the ledger's, the cause of a stop, and
//! what an operator can do. `status`, the status page and the log use it.

mod backlog;
mod shared_backlog;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::decode::File;
use crate::load::{Feed, NullDecision, StopRow, TableState, TableStatus, TableStop};
use crate::source::{Entity, IgnoredCounts, Stop};
pub use backlog::{Backlog, Files, InProgress, TableBacklog, WaitReason};
pub use shared_backlog::SharedBacklog;
use words::written;

/// State of all tables, as printed by `status --json`.
#[derive(Debug, Serialize)]
pub struct Report {
    pub tables: Vec<Table>,
    /// Tables of the feed without one in the target.
    pub unmapped: Vec<Unmapped>,
    pub foreign: Foreign,
    /// All objects that the bucket shows below the path.
    pub listed: u64,
    pub messages_waiting: u64,
    pub generated_at: String,
    pub bucket: String,
    pub path: String,
    /// The schema of all tables; empty for the feed's own.
    pub target_schema: String,
    /// The feeds whose ledgers are in the same database.
    pub other_feeds: Vec<String>,
    pub schema_version: i32,
}

/// One table of the feed. Ages are in seconds, times in UTC.
#[derive(Debug, Default, Serialize)]
pub struct Table {
    pub table: String,
    /// `LastModified` of the newest loaded object
    pub last_loaded: Option<String>,
    pub last_loaded_age: Option<i64>,
    pub pending: Waiting,
    pub last_delivery: Option<i64>,
    /// Number of rejected rows of the last delivery.
    pub rows_rejected: u64,
    /// Number of rejected rows of all deliveries, until they are deleted from `loader_rejects`.
    pub rows_in_quarantine: u64,
    /// The deliveries that they are of.
    pub quarantine: Vec<i64>,
    pub stopped: Option<Stopped>,
    /// The file that waits for rows of another table, and what it lacks.
    pub waits: Option<String>,
    /// Rule for null in the table's files; `None` before a file was loaded, and if it was not requested.
    pub null: Option<Null>,
}

/// Rule for null in the files of a table, with its basis.
#[derive(Debug, Serialize)]
pub struct Null {
    pub rule: &'static str,
    pub basis: &'static str,
    /// Number of empty cells in the first rows of the table's own files.
    pub empty_cells: u64,
    pub null_words: u64,
    /// The same as a sentence's end, with an example.
    pub words: String,
}

/// Objects that are listed and have no final ledger row.
#[derive(Debug, Default, Serialize)]
pub struct Waiting {
    pub objects: u64,
    pub bytes: u64,
    pub oldest: Option<String>,
    pub oldest_age: Option<i64>,
}

/// Cause of a table's stop.
#[derive(Debug, Serialize)]
pub struct Stopped {
    pub status: String,
    /// The delivery and its file; empty if the table itself is stopped.
    pub delivery: Option<i64>,
    pub object_key: String,
    /// The first line.
    pub error: String,
    /// Request of an operator, which the next iteration carries out, so that the table does not need attention.
    pub requested: Option<String>,
    /// Possible actions of an operator.
    pub next: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Unmapped {
    pub table: String,
    pub pending: Waiting,
    pub why: String,
}

/// Objects that are no file of a table.
#[derive(Debug, Serialize)]
pub struct Foreign {
    pub transactions: u64,
    pub dfm: u64,
    pub temporary: u64,
    pub markers: u64,
    pub other: u64,
    /// Some keys of the others.
    pub examples: Vec<String>,
    #[serde(skip)]
    pub words: String,
}

/// The setting that decides where change files belong whose times do not tell it.
pub const ORDER_DECIDES: &str =
    "write FEED order=name or FEED order=modified, which says where its change files belong";

/// Returns what an operator can do about a delivery that stops its table: one of these. Commands are in backquotes.
pub fn next(status: &str, file: File, id: i64) -> Vec<String> {
    let skip = format!("`deliveries skip {id} --reason …`, and the table goes on without it");
    match status {
        "failed" => vec![
            "put a mended file into the bucket".to_owned(),
            format!("mend the table or change the setting, then `deliveries retry {id}`"),
            skip,
        ],
        "held" if file == File::Changes => vec![
            ORDER_DECIDES.to_owned(),
            format!("`deliveries release {id}`, if all change files of the table follow its full load"),
            skip,
        ],
        "held" => vec![
            "put a complete full load into the bucket".to_owned(),
            format!("`deliveries release {id}`, if it is right as it is"),
            skip,
        ],
        "late" => vec![format!("`deliveries retry {id}` folds the file in with all that was loaded after it"), skip],
        "gone" => vec!["put the file into the bucket again, and it is loaded in its turn".to_owned(), skip],
        _ => Vec::new(),
    }
}

/// Returns the sentence about the other feeds whose ledgers are in the database; empty if there are none.
pub fn other_feeds(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => format!(" The database holds the ledger of another feed too: {one}."),
        many => format!(" The database holds the ledgers of {} other feeds too: {}.", many.len(), many.join("; ")),
    }
}

/// Returns what an operator can do about a table that is not what was loaded: one of these.
pub fn next_for_table(entity: &Entity) -> Vec<String> {
    vec![
        format!("`tables reload {entity}` loads it again from its newest full load"),
        format!("`tables accept {entity} --reason …`, and it goes on from what it holds"),
    ]
}

/// Returns an operator's request as text, and what it will do.
pub fn asked(wish: &str) -> (&str, &'static str) {
    match wish {
        "reload" => ("reload requested", "the next iteration loads the table again"),
        "accept" => ("accepted", "the next iteration goes on from what the table holds"),
        "release" => ("released", "the next iteration loads it, once it is quiet (SETTLE)"),
        other => (other, "the next iteration acts"),
    }
}

impl Report {
    /// Builds the report of a feed; `now` is in seconds since 1970. Messages and schema version are added by callers
    /// that need them.
    pub fn new(feed: &Feed, stock: &Backlog, states: &[TableState], now: i64) -> Self {
        Self {
            tables: tables(stock, states, now),
            unmapped: Vec::new(),
            foreign: Foreign::of(stock),
            listed: stock.listed,
            messages_waiting: 0,
            generated_at: written(now),
            bucket: feed.bucket.clone(),
            path: feed.path.clone(),
            target_schema: feed.target_schema.clone(),
            other_feeds: Vec::new(),
            schema_version: 0,
        }
    }

    /// Adds the rules for null: those in `rules`, or the one that FEED sets for all tables.
    pub fn tell_nulls(&mut self, rules: &BTreeMap<Entity, NullDecision>, given: Option<&NullDecision>) {
        let before = NullDecision::before();
        let names: BTreeMap<String, &NullDecision> =
            rules.iter().map(|(entity, rule)| (entity.to_string(), rule)).collect();
        for table in self.tables.iter_mut().filter(|table| table.last_delivery.is_some()) {
            let decided = given.or_else(|| names.get(&table.table).copied()).unwrap_or(&before);
            table.null = Some(Null {
                rule: decided.rule_word(),
                basis: decided.basis.as_str(),
                empty_cells: decided.own.empty,
                null_words: decided.own.word,
                words: decided.to_string(),
            });
        }
    }

    /// Moves a table that the target does not have to the unmapped ones. One that is stopped stays where its stop is seen.
    pub fn unmap(&mut self, entity: &Entity, why: String) {
        let name = entity.to_string();
        if let Some(at) = self.tables.iter().position(|table| table.table == name && table.stopped.is_none()) {
            let Table { table, pending, .. } = self.tables.remove(at);
            self.unmapped.push(Unmapped { table, pending, why });
        }
    }

    /// Notes which tables themselves are stopped: that comes before what their deliveries are stopped by.
    pub fn stop_tables(&mut self, stops: &[TableStop]) {
        for stop in stops {
            let name = stop.entity.to_string();
            let Some(table) = self.tables.iter_mut().find(|table| table.table == name) else { continue };
            let Some(stopped) = Stopped::of_table(stop) else { continue };
            // the cause is the stop of its full load
            if stopped.requested.is_none() || table.stopped.is_none() {
                table.stopped = Some(stopped);
            }
        }
    }

    /// Returns `true` if a table needs attention.
    pub fn is_stopped(&self) -> bool {
        self.tables.iter().any(Table::waits)
    }
}

impl Table {
    pub fn waits(&self) -> bool {
        self.stopped.as_ref().is_some_and(|stopped| stopped.requested.is_none())
    }
}

fn tables(stock: &Backlog, states: &[TableState], now: i64) -> Vec<Table> {
    let states = states.iter().map(|state| {
        let entity = Entity { schema: state.schema.clone(), name: state.entity.clone() };
        (entity, state)
    });
    let states: BTreeMap<Entity, &TableState> = states.collect();
    let all: BTreeSet<&Entity> = states.keys().chain(stock.tables.keys()).collect();
    all.into_iter()
        .map(|entity| Table::of(entity, states.get(entity).copied(), stock.tables.get(entity), now))
        .collect()
}

impl Table {
    fn of(entity: &Entity, state: Option<&TableState>, shelf: Option<&TableBacklog>, now: i64) -> Self {
        let last_loaded = state.and_then(|state| state.last_loaded);
        Self {
            table: entity.to_string(),
            last_loaded: last_loaded.map(written),
            last_loaded_age: last_loaded.map(|at| now - at),
            pending: shelf.map(|shelf| Waiting::of(shelf.files, now)).unwrap_or_default(),
            last_delivery: state.and_then(|state| state.last_delivery),
            rows_rejected: state.map_or(0, |state| state.rows_rejected),
            rows_in_quarantine: state.map_or(0, |state| state.quarantined),
            quarantine: state.map(|state| state.quarantine.clone()).unwrap_or_default(),
            stopped: stop(state, shelf).map(|row| Stopped::of(&row)),
            waits: state.and_then(|state| state.waits.clone()),
            null: None,
        }
    }
}

/// Returns the ledger row that stops the table: the first one whose version the bucket still shows and for which
/// nothing was requested. A held snapshot no longer stops the table once another part of it exists. A file that is
/// gone counts as gone, even if the ledger still says that it failed.
fn stop(state: Option<&TableState>, shelf: Option<&TableBacklog>) -> Option<StopRow> {
    let gone = shelf.and_then(|shelf| shelf.gone.as_ref());
    let stops = state.map_or(&[][..], |state| &state.stops);
    let superseded = |row: &StopRow| shelf.is_some_and(|shelf| shelf.superseded.contains(&row.id));
    let part_more = shelf.is_some_and(|shelf| shelf.part_more);
    let overtaken = |row: &StopRow| part_more && row.snapshot && row.status == "held";
    let is_gone = |row: &StopRow| gone.is_some_and(|gone| gone.id == row.id);
    let rows = || {
        stops.iter().filter(|row| {
            !superseded(row) && !overtaken(row) && !is_gone(row) && (gone.is_none() || row.status != "gone")
        })
    };
    let first = rows().find(|row| row.requested.is_none());
    let first = first.or_else(|| rows().next().filter(|_| gone.is_none()));
    first.cloned().or_else(|| gone.map(|gone| gone_row(gone, stops.iter().find(|row| is_gone(row)))))
}

/// Returns the row of a file that is gone, as the ledger will have it.
fn gone_row(gone: &Stop, row: Option<&StopRow>) -> StopRow {
    let noted = row.filter(|row| row.status == "gone").and_then(|row| row.why.clone());
    StopRow {
        id: gone.id,
        status: "gone".to_owned(),
        requested: None,
        key: gone.key.clone(),
        snapshot: false,
        why: noted.or_else(|| Some("gone from the bucket, and was never loaded".to_owned())),
    }
}

impl Stopped {
    fn of_table(stop: &TableStop) -> Option<Self> {
        let status = stop.status.map(TableStatus::as_str);
        let requested = stop.requested.map(|wish| wish.as_str().to_owned());
        Some(Self {
            status: status.or(requested.as_deref())?.to_owned(),
            delivery: None,
            object_key: String::new(),
            error: stop.why.clone(),
            next: if requested.is_none() { next_for_table(&stop.entity) } else { Vec::new() },
            requested,
        })
    }

    fn of(row: &StopRow) -> Self {
        let why = row.why.as_deref().unwrap_or_default();
        Self {
            status: row.status.clone(),
            delivery: Some(row.id),
            object_key: row.key.clone(),
            error: why.lines().next().unwrap_or_default().to_owned(),
            requested: row.requested.clone(),
            next: if row.requested.is_none() {
                next(&row.status, if row.snapshot { File::Snapshot } else { File::Changes }, row.id)
            } else {
                Vec::new()
            },
        }
    }
}

impl Waiting {
    fn of(files: Files, now: i64) -> Self {
        let Files { objects, bytes, oldest } = files;
        Self { objects, bytes, oldest: oldest.map(written), oldest_age: oldest.map(|at| now - at) }
    }
}

impl Foreign {
    fn of(stock: &Backlog) -> Self {
        let IgnoredCounts { transactions, dfm, temporary, markers, other } = stock.foreign;
        let (examples, words) = (stock.strange.clone(), stock.foreign.to_string());
        Self { transactions, dfm, temporary, markers, other, examples, words }
    }
}
