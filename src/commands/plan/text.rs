//! Text form of a plan: a table of 80 columns, then for each table the changes, the predicted stops, and the files
//! that are not in the plan.

use std::io::{Result, Write};
use std::path::Path;

use crate::commands::term_format;
use crate::loader::plan_file::{Column, Counts, Delivery, Left, PlanFile, Stop, Table};
use crate::visible;

/// Maximum number of a table's deliveries that are shown one by one.
const MANY: usize = 20;
/// Maximum number of a table's columns that are named.
const COLUMNS: usize = 24;

pub(super) fn print(plan: &PlanFile, keys: usize, file: Option<&Path>, out: &mut impl Write) -> Result<()> {
    let place = if plan.path.is_empty() { String::new() } else { format!(", path {}", plan.path) };
    let at = minute(plan);
    let head = format!("Plan of {at} for bucket {}{place}, database {}.", plan.bucket, plan.database);
    writeln!(out, "{}", term_format::wrapped(&head, 0))?;
    if plan.deliveries() == 0 {
        writeln!(out, "\nNothing would be loaded.")?;
    } else {
        writeln!(out, "\n{}", row("table/file", "kind", ["create", "amend", "remove", "unchanged", "rejected"]))?;
        for line in plan.tables.iter().flat_map(lines) {
            writeln!(out, "{line}")?;
        }
    }
    let details = plan.tables.iter().filter_map(|table| detail(table, keys));
    for part in details.chain(stops(plan)).chain(plan.left.iter().map(left)) {
        writeln!(out, "\n{part}")?;
    }
    writeln!(out, "\n{}", term_format::wrapped(&last_words(plan, file), 0))
}

/// Returns the time as `2026-11-21 14:02 UTC`.
pub(super) fn minute(plan: &PlanFile) -> String {
    format!("{} UTC", plan.made_at.get(..16).unwrap_or_default().replace('T', " "))
}

fn row(name: &str, kind: &str, [create, amend, remove, unchanged, rejected]: [&str; 5]) -> String {
    let line = format!("{name:25} {kind:8} {create:>8} {amend:>8} {remove:>8} {unchanged:>9} {rejected:>8}");
    line.trim_end().to_owned()
}

fn counted(name: &str, kind: &str, counts: Counts) -> String {
    let Counts { create, amend, remove, unchanged, rejected } = counts;
    let texts = [create, amend, remove, unchanged, rejected].map(|count| count.to_string());
    row(name, kind, texts.each_ref().map(String::as_str))
}

/// Returns a table's lines: its name, with the sums if there are several deliveries, and one line for each delivery.
fn lines(table: &Table) -> Vec<String> {
    let mut lines = match table.deliveries.len() {
        0 => return Vec::new(),
        1 => vec![term_format::line(&table.name(), term_format::WIDTH)],
        _ => vec![counted(&term_format::line(&table.name(), 25), "", table.counts)],
    };
    lines.extend(table.deliveries.iter().take(MANY).map(delivery));
    if let Some(more) = table.deliveries.len().checked_sub(MANY).filter(|more| *more > 0) {
        lines.push(format!("  and {more} more, which --json and --html show"));
    }
    lines
}

fn delivery(delivery: &Delivery) -> String {
    let key = delivery.file();
    let file = key.rsplit('/').next().unwrap_or(key);
    let file = visible::text(file.strip_suffix(".csv.gz").unwrap_or(file)).into_owned();
    let others = delivery.files.len() - 1;
    let more = if others > 0 { format!(" +{others}") } else { String::new() };
    let name = format!("  {}{more}", term_format::middle(&file, 23 - more.len()));
    match delivery.status.as_str() {
        "loaded" => counted(&name, &delivery.kind, delivery.counts),
        _ => {
            // what stops is said in full below
            let why = delivery.why.as_deref().filter(|_| delivery.next.is_empty()).map(|why| format!(": {why}"));
            let line = format!("{name:25} {:8} {}{}", delivery.kind, would(&delivery.status), why.unwrap_or_default());
            term_format::line(&line, term_format::WIDTH)
        }
    }
}

/// Returns `would fail` or the like.
pub(super) fn would(status: &str) -> String {
    if status == "failed" { "would fail".to_owned() } else { format!("would be {status}") }
}

/// Returns the details of a table beside its counts.
fn detail(table: &Table, most: usize) -> Option<String> {
    let mut lines = Vec::new();
    lines.extend(columns(&table.columns).map(|columns| labelled("changes", &columns)));
    let keys = table.keys(most);
    let kinds = [
        ("create", &keys.create, table.counts.create),
        ("amend", &keys.amend, table.counts.amend),
        ("remove", &keys.remove, table.counts.remove),
    ];
    for (label, keys, rows) in kinds.into_iter().filter(|(_, keys, _)| !keys.is_empty()) {
        let more = if rows > keys.len() as u64 { ", …" } else { "" };
        let keys = keys.iter().map(|key| shown(key)).collect::<Vec<_>>().join(", ");
        lines.push(labelled(label, &format!("{keys}{more}")));
    }
    lines.extend(table.notes.iter().map(|note| labelled("note", note)));
    if table.deliveries.iter().any(|delivery| delivery.settles) {
        lines.push(labelled("waits", "the run waits until the full load was quiet for SETTLE seconds"));
    }
    let key = if table.key.is_empty() { String::new() } else { format!(", key {}", table.key.join(", ")) };
    let head = term_format::wrapped(&format!("{}{key}", table.name()), 0);
    (!lines.is_empty()).then(|| format!("{head}\n{}", lines.join("\n")))
}

/// Returns `price ×120, quantity ×14`.
fn columns(columns: &[Column]) -> Option<String> {
    let named = columns.iter().take(COLUMNS).map(|column| format!("{} ×{}", column.name, column.rows));
    let more = columns.len().checked_sub(COLUMNS).filter(|more| *more > 0).map(|more| format!("{more} more"));
    let all: Vec<String> = named.chain(more).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Returns a key as text: in quotes if it is not one word, in parentheses if it has several columns.
pub(super) fn shown(key: &[String]) -> String {
    let plain = |value: &String| !value.is_empty() && !value.contains([' ', ',', '(', ')', '\'']);
    let value = |value: &String| if plain(value) { value.clone() } else { format!("'{value}'") };
    match key {
        [one] => value(one),
        many => format!("({})", many.iter().map(value).collect::<Vec<_>>().join(", ")),
    }
}

/// Returns wrapped text behind a label.
fn labelled(label: &str, words: &str) -> String {
    let text = term_format::wrapped(words, 11);
    format!("  {label:8} {}", &text[11..])
}

/// Returns the causes of stopped tables, present and predicted.
fn stops(plan: &PlanFile) -> Vec<String> {
    let already = plan.tables.iter().filter_map(|table| Some(stopped(table, table.stopped.as_ref()?)));
    let foreseen = plan.tables.iter().flat_map(|table| {
        let stops = table.deliveries.iter().filter(|delivery| !delivery.next.is_empty());
        stops.map(|delivery| stop(table, delivery))
    });
    already.chain(foreseen).collect()
}

fn stopped(table: &Table, stop: &Stop) -> String {
    let (table, id, status, key) = (table.name(), stop.delivery, &stop.status, &stop.object_key);
    let head = term_format::wrapped(&format!("{table}: stopped by delivery {id}, {status}: {key}"), 0);
    format!("{head}\n  `deliveries show {id}` says why and what to do")
}

fn stop(table: &Table, delivery: &Delivery) -> String {
    let head = format!("{}: {}: {}", table.name(), would(&delivery.status), delivery.file());
    let why = term_format::wrapped(delivery.why.as_deref().unwrap_or_default(), 2);
    let next = delivery.next.iter().map(|step| term_format::wrapped(step, 4)).collect::<Vec<_>>().join("\n");
    format!("{}\n{why}\n  Next, one of\n{next}", term_format::wrapped(&head, 0))
}

fn left(left: &Left) -> String {
    let verb = if left.files == 1 { "is" } else { "are" };
    let (files, size) = (term_format::count(left.files, "file"), term_format::size(left.bytes));
    let head =
        term_format::wrapped(&format!("{}: {files} ({size}) {verb} not in the plan: {}.", left.table, left.why), 0);
    let examples = left
        .examples
        .iter()
        .map(|key| term_format::middle(&term_format::line(key, usize::MAX), term_format::WIDTH - 2));
    examples.fold(head, |words, key| format!("{words}\n  {key}"))
}

fn last_words(plan: &PlanFile, file: Option<&Path>) -> String {
    let end = format!("Nothing was changed. A run would end with {}.", plan.exit_code);
    match file.map(|file| file.display()) {
        Some(file) => format!("{end} `run --plan {file}` does this and nothing else, or refuses if anything moved."),
        None => end,
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
