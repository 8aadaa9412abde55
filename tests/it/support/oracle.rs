//! What must have happened: a model of the loader's promise that shares no code with it. It reads files with `flate2` and
//! `csv`, orders them by their names, folds them into tables, and holds tables, ledger, outbox and broker against that.
//!
//! It knows tables of the form `STORY`, keys `…/dbo/<table>/LOAD<hex>.csv.gz` and `…/dbo/<table>/<time>.csv.gz`, and the default
//! dialect without quoted `NULL`s.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::World;
use super::broker::Heard;
use super::bucket::Shown;

/// The columns of every table that the oracle knows.
pub const STORY: &str = "(id bigint primary key, name text, price numeric(12, 2), event_id bigint)";

type Cells = Vec<Option<String>>;
/// The rows of a table by their key.
type Rows = BTreeMap<i64, Cells>;
/// An op (`L` in a full load) and the cells behind it.
type Record = (char, Cells);

/// Create, amend, remove, unchanged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Effect([u64; 4]);

/// A row of the ledger, as far as the oracle looks at it.
#[derive(Debug, Clone)]
struct Entry {
    id: i64,
    key: String,
    etag: String,
    status: String,
    generation: i32,
    read: u64,
    effect: Effect,
    event: Option<i64>,
    began: String,
    modified: i64,
    /// the delivery whose bytes these are, if the ledger says that nothing was applied for that
    repeats: Option<i64>,
}

impl Entry {
    /// A part that is written again is another one, even with the same bytes.
    fn is_of(&self, shown: &Shown) -> bool {
        let same = self.key == shown.key && self.etag == shown.etag;
        same && (!is_part(&shown.key) || self.modified == shown.modified)
    }
}

/// One table as the ledger's rows make it, one delivery after the other.
#[derive(Default)]
struct Replay {
    rows: Rows,
    /// the change files of this generation, by name
    changes: BTreeMap<String, Vec<Record>>,
    generation: i32,
    /// each delivery that changed something, in the order of their commits: id, effect, event
    news: Vec<(i64, Effect, Option<i64>)>,
}

/// A table's name, and the rows of its source as the lines of a full load.
pub type Told = (&'static str, String);

/// Asserts that nothing is lost, doubled or left over: each table is what its source has. `heard` is what a subscriber heard
/// since the beginning.
pub async fn holds(world: &World, sources: &[Told], heard: Option<&Heard>) {
    for (table, source) in sources {
        let entries = ledger(world, table).await;
        accounted_for(world, table, &entries).await;
        let replay = replayed(world, &entries);
        let actual = actual(world, table).await;
        let mut expected = Rows::new();
        fold(&mut expected, &parse(source.as_bytes(), true));
        same(table, "the ledger's files, one after the other", &replay.rows, &actual);
        same(table, "the rows of the source", &expected, &actual);
        told(world, table, &replay, heard).await;
    }
    nothing_is_left(world).await;
}

/// Whether everything that the bucket shows was loaded or skipped.
pub async fn is_at_rest(world: &World, tables: &[&str]) -> bool {
    let shown = world.bucket.shown().await;
    for table in tables {
        let entries = ledger(world, table).await;
        let settled = |entry: &Entry| ["loaded", "skipped"].contains(&entry.status.as_str());
        let done = |shown: &Shown| entries.iter().any(|entry| entry.is_of(shown) && settled(entry));
        if !shown.iter().filter(|shown| table_of(&shown.key) == *table).all(done) {
            return false;
        }
    }
    true
}

/// Asserts that each file that the bucket shows has a row, and that no row waits. A version that came back has one row for
/// each time it came: no more than it was put.
async fn accounted_for(world: &World, table: &str, entries: &[Entry]) {
    for shown in world.bucket.shown().await.iter().filter(|shown| table_of(&shown.key) == table) {
        let rows: Vec<&Entry> = entries.iter().filter(|entry| entry.is_of(shown)).collect();
        let newest = rows.iter().max_by_key(|entry| entry.id).unwrap_or_else(|| panic!("{shown:?} has no row"));
        let versions = world.bucket.put_times(&shown.key, &shown.etag);
        assert!(rows.len() <= versions, "{shown:?} was put {versions} times: {rows:#?}");
        assert!(["loaded", "skipped"].contains(&newest.status.as_str()), "{rows:#?}");
    }
    for entry in entries {
        assert!(["loaded", "skipped", "gone"].contains(&entry.status.as_str()), "{entry:#?}");
        assert!(entry.status == "loaded" || entry.effect == Effect::default(), "{entry:#?}");
    }
}

/// Walks through what was loaded in the order of the commits; each delivery's counts must be what its files do.
fn replayed(world: &World, entries: &[Entry]) -> Replay {
    let (loaded, repeated): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().filter(|entry| entry.status == "loaded").partition(|entry| entry.repeats.is_none());
    for entry in repeated {
        let first = entries.iter().find(|first| Some(first.id) == entry.repeats).expect("a row");
        assert_eq!((&first.key, first.status.as_str()), (&entry.key, "loaded"), "{entry:#?}");
        assert_eq!(records(world, first), records(world, entry), "{entry:#?}");
        assert_eq!((entry.effect, entry.event), (Effect::default(), None), "{entry:#?}");
    }
    let mut replay = Replay::default();
    for delivery in loaded.chunk_by(|one, other| one.began == other.began) {
        let mut delivery = delivery.to_vec();
        delivery.sort_by_key(|entry| place(&entry.key));
        let last = *delivery.last().expect("not empty");
        let (effect, event) = replay.take(world, &delivery);
        for entry in &delivery {
            let expected = if entry.id == last.id { effect } else { Effect::default() };
            assert_eq!(entry.effect, expected, "{entry:#?}");
            assert_eq!(entry.read, records(world, entry).len() as u64, "{entry:#?}");
        }
        assert_eq!(last.event, event, "{last:#?}");
        if effect.0[..3] != [0, 0, 0] {
            replay.news.push((last.id, effect, event));
        }
    }
    replay
}

impl Replay {
    fn take(&mut self, world: &World, delivery: &[&Entry]) -> (Effect, Option<i64>) {
        let (first, before) = (delivery[0], self.rows.clone());
        if first.generation != self.generation {
            self.changes.clear();
            self.generation = first.generation;
        }
        let mut touched = BTreeSet::new();
        let records: Vec<Record> = if is_part(&first.key) {
            let records: Vec<Record> = delivery.iter().flat_map(|entry| records(world, entry)).collect();
            if first.generation > 1 {
                touched.extend(std::mem::take(&mut self.rows).into_keys());
            }
            records
        } else {
            for entry in delivery {
                self.changes.insert(place(&entry.key), records(world, entry));
            }
            // what was loaded after a late file is folded once more
            self.changes.range(place(&first.key)..).flat_map(|(_, records)| records.clone()).collect()
        };
        touched.extend(fold(&mut self.rows, &records));
        let read = records.iter().filter(|(op, _)| *op != 'D');
        let event = read.filter_map(|(_, cells)| cells[3].as_ref()?.parse().ok()).max();
        (effect(&touched, &before, &self.rows), event)
    }
}

/// What the rows do to a table, one after the other; the keys that they name.
fn fold(rows: &mut Rows, records: &[Record]) -> BTreeSet<i64> {
    let mut touched = BTreeSet::new();
    for (op, cells) in records {
        let key: i64 = cells[0].as_ref().expect("a key").parse().expect("a number");
        touched.insert(key);
        match op {
            'D' => rows.remove(&key),
            _ => rows.insert(key, cells.clone()),
        };
    }
    touched
}

fn effect(touched: &BTreeSet<i64>, before: &Rows, after: &Rows) -> Effect {
    let mut effect = Effect::default();
    for key in touched {
        let kind = match (before.get(key), after.get(key)) {
            (None, Some(_)) => 0,
            (Some(old), Some(new)) if old != new => 1,
            (Some(_), None) => 2,
            (Some(_), Some(_)) => 3,
            (None, None) => continue,
        };
        effect.0[kind] += 1;
    }
    effect
}

/// Every delivery that changed something has its message, and no other has one; who listens heard them all, in order.
async fn told(world: &World, table: &str, replay: &Replay, heard: Option<&Heard>) {
    let kept = world
        .rows(&format!(
            "select n.delivery_id, n.message_id, n.payload, n.published_at is not null from loader_notifications n
             join loader_deliveries d on d.id = n.delivery_id where d.entity = '{table}' order by n.id"
        ))
        .await;
    let Some(heard) = heard else { return assert!(kept.is_empty(), "nobody is to be told: {kept:?}") };
    let kept: Vec<Vec<&str>> = kept.iter().map(|row| row.split('|').collect()).collect();
    assert_eq!(kept.len(), replay.news.len(), "{table}: {kept:#?} for {:#?}", replay.news);
    let first = first_heard(heard);
    let mut last_place = None;
    for (row, (id, effect, event)) in kept.iter().zip(&replay.news) {
        assert_eq!((row[0], row[3]), (id.to_string().as_str(), "t"), "{table}: {row:?}");
        let said: serde_json::Value = serde_json::from_str(row[2]).expect("JSON");
        let [create, amend, remove, _] = effect.0;
        let stats = serde_json::json!({table: {"AMEND": amend, "CREATE": create, "REMOVE": remove}});
        assert_eq!((&said["stats"], said["max_event_id"].as_i64()), (&stats, *event), "{row:?}");
        let place = first.iter().position(|(id, payload)| id == row[1] && payload == row[2]);
        assert!(place.is_some() && place > last_place, "{table}: {row:?} was not heard, or out of order: {first:#?}");
        last_place = place;
    }
}

/// What was heard, without repeats, which must say the same.
fn first_heard(heard: &Heard) -> Vec<(String, String)> {
    let mut first: Vec<(String, String)> = Vec::new();
    for (payload, id) in heard.lock().expect("ears").iter() {
        match first.iter().find(|(known, _)| known == id) {
            Some((_, said)) => assert_eq!(said, payload, "a repeat of {id} says something else"),
            None => first.push((id.clone(), payload.clone())),
        }
    }
    first
}

/// A process that loaded all that the ledger has counted just that. `metrics` is what it says.
pub async fn counted(world: &World, tables: &[&str], metrics: &str) {
    for table in tables {
        let loaded = ledger(world, table).await.into_iter().filter(|entry| entry.status == "loaded");
        let sum = loaded.fold([0; 4], |sum, entry| std::array::from_fn(|kind| sum[kind] + entry.effect.0[kind]));
        assert!(sum[0] > 0, "{table}: nothing was loaded");
        for (op, rows) in ["create", "amend", "remove", "unchanged"].iter().zip(sum) {
            let line = format!("paper_engine_rows_total{{entity=\"{table}\",op=\"{op}\"}} {rows}");
            assert!(metrics.lines().any(|counted| counted == line), "{line} is not in\n{metrics}");
        }
    }
}

/// No session, no lock, no temporary table. A server takes a moment to see that a process is gone.
async fn nothing_is_left(world: &World) {
    let left = "select 'session ' || state || ' ' || query from pg_stat_activity
                  where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
                union all select 'advisory lock ' || objid from pg_locks
                  where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())
                union all select 'table ' || relname from pg_class where relpersistence = 't'
                union all select 'prepared ' || gid from pg_prepared_xacts where database = current_database()";
    let mut last = Vec::new();
    for _ in 0..100 {
        last = world.rows(left).await;
        if last.is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("left over: {last:#?}");
}

async fn ledger(world: &World, table: &str) -> Vec<Entry> {
    let sql = format!(
        "select id, object_key, etag, status, generation, rows_read, rows_create, rows_amend, rows_remove,
                rows_unchanged, max_event_id, started_at, extract(epoch from last_modified)::bigint,
                substring(reason from '^rewritten with the same bytes as delivery ([0-9]+)')
         from loader_deliveries where entity = '{table}' order by committed_at, id"
    );
    world.rows(&sql).await.iter().map(|row| entry(&row.split('|').collect::<Vec<_>>())).collect()
}

fn entry(cells: &[&str]) -> Entry {
    let number = |place: usize| cells[place].parse::<u64>().expect("a number");
    Entry {
        id: cells[0].parse().expect("an id"),
        key: cells[1].to_owned(),
        etag: cells[2].to_owned(),
        status: cells[3].to_owned(),
        generation: cells[4].parse().expect("a number"),
        read: number(5),
        effect: Effect([number(6), number(7), number(8), number(9)]),
        event: cells[10].parse().ok(),
        began: cells[11].to_owned(),
        modified: cells[12].parse().expect("a time"),
        repeats: cells[13].parse().ok(),
    }
}

async fn actual(world: &World, table: &str) -> Rows {
    let sql = format!("select id, coalesce('=' || name, '∅'), price, event_id from dbo.{table}");
    let null = |cell: &str| (cell != "∅").then(|| cell.trim_start_matches('=').to_owned());
    let rows = world.rows(&sql).await;
    let cells = rows.iter().map(|row| row.split('|').map(null).collect::<Cells>());
    cells.map(|cells| (cells[0].as_ref().and_then(|id| id.parse().ok()).expect("an id"), cells)).collect()
}

#[track_caller]
fn same(table: &str, what: &str, expected: &Rows, actual: &Rows) {
    let differ = |key: &&i64| expected.get(key) != actual.get(key);
    let keys: BTreeSet<&i64> = expected.keys().chain(actual.keys()).filter(differ).collect();
    let shown: Vec<_> = keys.iter().take(5).map(|key| (key, expected.get(key), actual.get(key))).collect();
    assert!(keys.is_empty(), "{table} is not what {what} say: {} rows, (key, expected, found): {shown:#?}", keys.len());
}

fn records(world: &World, entry: &Entry) -> Vec<Record> {
    read(&bytes(world, &entry.key, &entry.etag), is_part(&entry.key))
}

fn bytes(world: &World, key: &str, etag: &str) -> Vec<u8> {
    let versions = world.bucket.versions.lock().expect("versions");
    versions.get(&(key.to_owned(), etag.to_owned())).unwrap_or_else(|| panic!("{key} {etag} was never put")).clone()
}

fn read(bytes: &[u8], full: bool) -> Vec<Record> {
    let mut text = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut text).expect("what was loaded is whole");
    parse(&text, full)
}

fn parse(text: &[u8], full: bool) -> Vec<Record> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
    let mut records = Vec::new();
    for record in reader.records() {
        let record = record.expect("CSV");
        let mut cells: Vec<&str> = record.iter().collect();
        let op = if full { 'L' } else { cells.remove(0).chars().next().expect("an op") };
        assert_eq!(cells.len(), 4, "what was loaded has four columns");
        let cells = cells.iter().enumerate().map(|(column, cell)| value(column, cell)).collect();
        records.push((op, cells));
    }
    records
}

/// A cell as Postgres prints it.
fn value(column: usize, cell: &str) -> Option<String> {
    match (column, cell) {
        (_, "NULL") => None,
        (1, text) => Some(text.to_owned()),
        (_, "") => None,
        (2, number) => {
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            Some(format!("{whole}.{fraction:0<2.2}"))
        }
        (_, number) => Some(number.to_owned()),
    }
}

fn table_of(key: &str) -> &str {
    key.rsplit('/').nth(1).unwrap_or_default()
}

fn is_part(key: &str) -> bool {
    key.rsplit('/').next().is_some_and(|name| name.starts_with("LOAD"))
}

/// Where a file stands among its kind: hexadecimal numbers of one width and times sort as their texts do.
fn place(key: &str) -> String {
    key.rsplit('/').next().unwrap_or_default().to_owned()
}
