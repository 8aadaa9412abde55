//! Compares bucket and tables with what a plan file was made for: one sentence for each difference. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::plan_file::{Counts, Delivery, File, PlanFile, Table};
use crate::source::{Pending, TablePlan};

/// Scope and settings of a run, with which those of the plan file are compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub bucket: String,
    pub path: String,
    pub database: String,
    pub settings: BTreeMap<String, String>,
}

/// Returns the differences of scope and settings.
pub fn place(agreed: &PlanFile, now: &Place) -> Vec<String> {
    let places = [
        ("bucket", &agreed.bucket, &now.bucket, "SOURCE"),
        ("path", &agreed.path, &now.path, "SOURCE"),
        ("database", &agreed.database, &now.database, "TARGET"),
    ];
    let places = places.into_iter().filter(|(_, planned, now, _)| planned != now);
    let places = places.map(|(what, planned, now, variable)| {
        format!("the plan is for {what} {planned:?}, and {variable} names {now:?}")
    });
    let names = agreed.settings.keys().chain(now.settings.keys().filter(|name| !agreed.settings.contains_key(*name)));
    let settings = names.filter_map(|name| {
        let (planned, now) = (agreed.settings.get(name), now.settings.get(name));
        (planned != now).then(|| setting(name, planned, now))
    });
    places.chain(settings).collect()
}

fn setting(name: &str, planned: Option<&String>, now: Option<&String>) -> String {
    match (planned, now) {
        // these are shown as digests
        (Some(planned), Some(now)) if name != "FEED" && name != "LIMITS" => {
            format!("{name} was {planned:?} when the plan was made, and is {now:?}")
        }
        _ => format!("{name} is not what it was when the plan was made"),
    }
}

/// State of one table, with which that of the plan file is compared.
#[derive(Debug, Clone, Default)]
pub struct Found<'a> {
    /// Number of the table's planned deliveries that this run has done.
    pub done: usize,
    /// Pending deliveries of the table.
    pub now: Option<&'a TablePlan>,
    /// A digest of its shape; none without a table.
    pub definition: Option<&'a str>,
    /// Planned files that are not pending, with their delivery and its status.
    pub accounted: BTreeMap<String, String>,
}

/// Returns the differences of one table.
pub fn table(planned: &Table, found: &Found<'_>) -> Vec<String> {
    let Found { done, now, definition, accounted } = found;
    let (name, rest) = (planned.name(), rest(planned, *done));
    if rest.is_empty() {
        return Vec::new();
    }
    let mut words = Vec::new();
    match *definition {
        None if planned.definition.is_some() => words.push(format!("{name}: the table is gone")),
        now if now != planned.definition.as_deref() => words.push(format!("{name}: the table was altered")),
        _ => {}
    }
    if let Some(stop) = now.and_then(|now| now.stopped.as_ref()) {
        let (id, status, key) = (stop.id, stop.status.as_str(), &stop.key);
        words.push(format!("{name}: delivery {id}, {status}, stops the table now: {key}"));
        return words;
    }
    let pending = now.map_or(&[][..], |now| now.pending.as_slice());
    let after = pending.first().map(|pending| pending.after);
    let elsewhere = after.filter(|after| *done == 0 && *after != planned.last_delivery);
    if let Some(after) = elsewhere {
        let before = planned.last_delivery;
        words.push(format!(
            "{name}: its last delivery in the ledger was {before} when the plan was made, and is {after}"
        ));
    }
    words.extend(files(rest, pending, accounted));
    words
}

/// Returns the planned deliveries that are not done yet.
fn rest(planned: &Table, done: usize) -> &[Delivery] {
    &planned.deliveries[done.min(planned.deliveries.len())..]
}

/// Returns the planned files that are not pending, as (key, etag).
pub fn missing<'a>(planned: &'a Table, done: usize, now: Option<&TablePlan>) -> HashSet<(&'a str, &'a str)> {
    let pending = now.iter().flat_map(|now| &now.pending).flat_map(|pending| &pending.objects);
    let pending: BTreeSet<&str> = pending.map(|object| object.listed.key.as_str()).collect();
    let files = rest(planned, done).iter().flat_map(|delivery| &delivery.files);
    let missing = files.filter(|file| !pending.contains(file.key.as_str()));
    missing.map(|file| (file.key.as_str(), file.etag.as_str())).collect()
}

/// Returns the differences between the pending files and those of the plan. Files that come after all of the plan's
/// are ignored.
fn files(rest: &[Delivery], pending: &[Pending], accounted: &BTreeMap<String, String>) -> Vec<String> {
    let pending: Vec<Delivery> = pending.iter().map(Delivery::of).collect();
    let all = |deliveries: &[Delivery]| -> BTreeMap<String, File> {
        deliveries.iter().flat_map(|one| &one.files).map(|file| (file.key.clone(), file.clone())).collect()
    };
    let (planned, now) = (all(rest), all(&pending));
    let mut words = Vec::new();
    for (key, file) in &planned {
        match now.get(key) {
            None => words.push(match accounted.get(key) {
                Some(what) => format!("{key} is accounted for since the plan: {what}"),
                None => format!("{key} is gone from the bucket since the plan"),
            }),
            Some(now) if (&now.etag, now.modified) != (&file.etag, file.modified) => {
                words.push(format!("{key} was written again since the plan"));
            }
            Some(_) => {}
        }
    }
    let among = pending.iter().rposition(|one| one.files.iter().any(|file| planned.contains_key(&file.key)));
    let before = pending.iter().take(among.map_or(0, |last| last + 1)).flat_map(|one| &one.files);
    for file in before.filter(|file| !planned.contains_key(&file.key)) {
        words.push(format!("{} came since the plan, and is to be loaded before or with files of it", file.key));
    }
    if words.is_empty() {
        let pairs = rest.iter().zip(&pending).filter(|(planned, now)| !planned.is_same_work(now));
        words.extend(pairs.map(|(planned, now)| {
            let (key, was, is) = (planned.file(), way(planned), way(now));
            format!("{key} was planned as {was}, and is {is} now")
        }));
    }
    words
}

/// Describes what a delivery does.
fn way(delivery: &Delivery) -> String {
    let generation = delivery.generation;
    match delivery.step.as_str() {
        "append" => "rows for an empty table".to_owned(),
        "replace" => format!("full load {generation}, compared with the table"),
        "changes" => format!("changes after full load {generation}"),
        "refold" => "a late file that is folded in".to_owned(),
        "same" | "compare" => "a file that was written again".to_owned(),
        "skip" => "a file to be skipped".to_owned(),
        _ => "a file that stops its table".to_owned(),
    }
}

/// Returns the difference if a delivery's result is not the planned one.
pub fn effect(planned: &Delivery, found: &Delivery) -> Option<String> {
    let key = found.file();
    if planned.status != found.status {
        let why = found.why.as_ref().filter(|_| found.status != "loaded").map(|why| format!(" ({why})"));
        let (now, then) = (&found.status, &planned.status);
        return Some(format!("{key} would now be {now}{}, planned {then}", why.unwrap_or_default()));
    }
    if planned.would_remove != found.would_remove {
        let rows = |removes: Option<u64>| removes.unwrap_or(0);
        let (now, then) = (rows(found.would_remove), rows(planned.would_remove));
        return Some(format!("{key} would now remove {now} rows and be held, planned {then}"));
    }
    let changed = counted(found.counts).into_iter().zip(counted(planned.counts)).filter(|(now, then)| now != then);
    let changed: Vec<String> = changed.map(|((what, now), (_, then))| told(what, now, then)).collect();
    if !changed.is_empty() {
        return Some(format!("{key} would now {}", changed.join(", and ")));
    }
    // the same number of rows was changed by hand in both directions
    let same = (&planned.effect, &planned.columns) == (&found.effect, &found.columns);
    (!same).then(|| format!("{key} would now change other rows, or other columns, though as many"))
}

fn counted(counts: Counts) -> [(&'static str, u64); 5] {
    let Counts { create, amend, remove, unchanged, rejected } = counts;
    [("create", create), ("amend", amend), ("remove", remove), ("find", unchanged), ("reject", rejected)]
}

/// Returns `amend 5 rows, planned 3`.
fn told(what: &str, now: u64, then: u64) -> String {
    let rows = if now == 1 { "row" } else { "rows" };
    let unchanged = if what == "find" { " unchanged" } else { "" };
    format!("{what} {now} {rows}{unchanged}, planned {then}")
}

/// Returns the sentence about a delivery that is not in the plan.
pub fn unknown(pending: &Pending) -> String {
    format!("{} is not in the plan", pending.objects[0].listed.key)
}

#[cfg(test)]
#[path = "plan_drift_tests.rs"]
mod tests;
