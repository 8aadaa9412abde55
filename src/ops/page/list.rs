//! Deliveries as lines of a table, and the page that lists them. Pure.

use askama::Template;

use super::asked::{address, of_table};
use super::layout::{Layout, Mark, Time, cut, middle, number, seen};
use crate::decode::File;
use crate::load::{Delivery, Listing, Start, Wanted};
use crate::source::Status;

/// `/deliveries`
#[derive(Template)]
#[template(path = "deliveries.html")]
pub struct Page {
    frame: Layout,
    tables: Vec<Choice>,
    statuses: Vec<Choice>,
    kinds: Vec<Choice>,
    filtered: bool,
    paged: bool,
    deliveries: Vec<Line>,
    /// Addresses; empty if there is no such page.
    first: String,
    newer: String,
    older: String,
}

/// One of a filter's.
struct Choice {
    value: String,
    shown: String,
    chosen: bool,
}

/// A delivery in a table.
pub struct Line {
    pub id: i64,
    pub mark: Mark,
    pub written: Time,
    pub table: String,
    pub file: String,
    pub kind: String,
    pub counts: Vec<Count>,
    pub took: String,
    pub why: String,
}

/// Number of rows with its label.
pub struct Count {
    pub label: &'static str,
    pub shown: String,
}

impl Page {
    pub fn new(frame: Layout, wanted: &Wanted, listing: &Listing, now: i64) -> Self {
        let at = |page| address(&Wanted { page, ..wanted.clone() });
        let (newest, oldest) = (listing.deliveries.first(), listing.deliveries.last());
        let newer = newest.filter(|_| listing.newer).map(|first| at(Start::After(first.id)));
        let older = oldest.filter(|_| listing.older).map(|last| at(Start::Before(last.id)));
        // beyond the last page the way back is known all the same
        let back = (listing.newer && newest.is_none()).then(|| at(Start::Newest));
        Self {
            frame,
            tables: tables(wanted, listing),
            statuses: choices(&Status::ALL.map(Status::as_str), wanted.status.map(Status::as_str)),
            kinds: choices(&["snapshot", "changes"], wanted.kind.map(File::as_str)),
            filtered: wanted.table.is_some() || wanted.status.is_some() || wanted.kind.is_some(),
            paged: wanted.page != Start::Newest,
            deliveries: listing.deliveries.iter().map(|delivery| Line::of(delivery, now)).collect(),
            first: at(Start::Newest),
            newer: newer.or(back).unwrap_or_default(),
            older: older.unwrap_or_default(),
        }
    }
}

/// Returns the tables to choose from, with the requested one even if the ledger does not have it.
fn tables(wanted: &Wanted, listing: &Listing) -> Vec<Choice> {
    let chosen = |table: &str| {
        let name = table.split_once('.').map_or(table, |(_, name)| name);
        wanted.table.as_deref().is_some_and(|wanted| wanted == table || wanted == name)
    };
    let known = listing.tables.iter().map(String::as_str);
    let asked = wanted.table.as_deref().filter(|_| !listing.tables.iter().any(|table| chosen(table)));
    let choice = |table: &str| Choice { value: table.to_owned(), shown: middle(table, 60), chosen: chosen(table) };
    known.chain(asked).map(choice).collect()
}

fn choices(all: &[&str], chosen: Option<&str>) -> Vec<Choice> {
    let choice =
        |word: &&str| Choice { value: (*word).to_owned(), shown: (*word).to_owned(), chosen: Some(*word) == chosen };
    all.iter().map(choice).collect()
}

impl Line {
    pub fn of(delivery: &Delivery, now: i64) -> Self {
        Self {
            id: delivery.id,
            mark: Mark::of(&delivery.status),
            written: Time::read(&delivery.committed_at, now).unwrap_or_default(),
            table: seen(&table(delivery)),
            file: middle(file(delivery), 60),
            kind: seen(&delivery.kind),
            counts: counts(delivery),
            took: took(delivery).unwrap_or_else(|| "–".to_owned()),
            why: cut(why(delivery), 160),
        }
    }
}

pub fn table(delivery: &Delivery) -> String {
    format!("{}.{}", delivery.schema_name, delivery.entity)
}

pub fn table_address(delivery: &Delivery) -> String {
    of_table(&table(delivery))
}

/// Returns the key below the table's folder.
fn file(delivery: &Delivery) -> &str {
    let folder = format!("{}/{}/", delivery.schema_name, delivery.entity);
    delivery.object_key.split_once(&folder).map_or(&delivery.object_key, |(_, file)| file)
}

/// Returns the counts, or dashes if the file was not loaded, because its effect is unknown.
fn counts(delivery: &Delivery) -> Vec<Count> {
    let Delivery { rows_create, rows_amend, rows_remove, rows_unchanged, .. } = *delivery;
    let counts =
        [("Create", rows_create), ("Amend", rows_amend), ("Remove", rows_remove), ("Unchanged", rows_unchanged)];
    let loaded = delivery.status == "loaded";
    let shown = |count| if loaded { number(count) } else { "–".to_owned() };
    counts.map(|(label, count)| Count { label, shown: shown(count) }).into()
}

/// Returns the time from lease to commit, or nothing for deliveries that were not loaded in one go.
pub fn took(delivery: &Delivery) -> Option<String> {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    let at = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    let span = at(&delivery.committed_at)? - at(&delivery.started_at)?;
    if ["pending", "skipped", "gone"].contains(&delivery.status.as_str()) || span.is_negative() {
        return None;
    }
    Some(match span.as_seconds_f64() {
        seconds if seconds < 1.0 => format!("{:.0}\u{202f}ms", seconds * 1e3),
        seconds if seconds < 120.0 => format!("{seconds:.1}\u{202f}s"),
        seconds => {
            let (minutes, rest) = ((seconds / 60.0).floor(), seconds % 60.0);
            format!("{minutes:.0}\u{202f}min {rest:02.0}\u{202f}s")
        }
    })
}

/// Returns the first line of the explanation.
fn why(delivery: &Delivery) -> &str {
    let error = delivery.error.as_deref().filter(|error| !error.is_empty() && delivery.status != "loaded");
    let why = error.or(delivery.reason.as_deref()).unwrap_or_default();
    why.lines().next().unwrap_or_default()
}
