//! Log lines of the loader: the standard lines of a delivery, and what an operator must know, once per change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use time::OffsetDateTime;

use super::contradictions::{self, Warned};
use super::{Error, Outcome, error_policy};
use crate::decode::File;
use crate::load::{Changes, Receipt, Refused, TableStatus, TableStop, Why};
use crate::metrics::Metrics;
use crate::notifier;
use crate::source::{Entity, Pending, Plan, Source, Status, Step, TablePlan};
use crate::status;

/// State of what has been logged already.
#[derive(Debug, Default)]
pub struct Said {
    pub(super) unmapped: BTreeSet<Entity>,
    /// Folders that name a reserved table.
    reserved: BTreeSet<Entity>,
    stopped: BTreeMap<Entity, i64>,
    /// Reasons for which tables themselves are stopped.
    tables: BTreeMap<Entity, String>,
    assumed: BTreeSet<Entity>,
    contradictions: Warned,
    broker: Option<String>,
    /// Number of waiting files that the run's plan does not have.
    left: usize,
    watches: bool,
    /// The trouble of each table that is tried again.
    troubles: BTreeMap<Entity, String>,
}

pub fn begins(id: i64, pending: &Pending) {
    let (schema, key) = (&pending.entity.schema, &pending.objects[0].listed.key);
    let (parts, together) = (pending.objects.len(), together(pending));
    tracing::info!(delivery = id, key, parts, "Delivery {id}: process_{schema} {key}{together}.");
    if let Some(remark) = &pending.remark {
        tracing::warn!(delivery = id, "Delivery {id}: {remark}.");
    }
}

/// Returns how many other files belong to the delivery, for the end of its first line.
fn together(pending: &Pending) -> String {
    let files = |count: usize| if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
    let (all, late) = (pending.objects.len(), pending.new_objects().count());
    match (all, pending.step == Step::Refold, late) {
        (1, ..) => String::new(),
        (_, false, _) => format!(" (1 of {all} parts)"),
        (_, true, 1) => format!(" (folded in with {} loaded after it)", files(all - 1)),
        (_, true, late) if late == all => format!(" (folded in with {} that came late too)", files(all - 1)),
        (_, true, late) => {
            let (late, loaded) = (files(late - 1), files(all - late));
            format!(" (folded in with {late} that came late too, and {loaded} loaded after it)")
        }
    }
}

pub fn applied(id: i64, changes: &Changes, rehearsal: bool) {
    let (entity, counts) = (&changes.pending().label, changes.counts());
    let (create, amend, remove) = (counts.create, counts.amend, counts.remove);
    tracing::info!(
        delivery = id,
        entity,
        create,
        amend,
        remove,
        unchanged = counts.unchanged,
        "Delivery {id}: {entity} (create: {create}, amend: {amend}, remove: {remove})."
    );
    if counts.rejected > 0 {
        let (rejected, rows) = (counts.rejected, count(counts.rejected, "row"));
        match (rehearsal, rejected) {
            (true, _) => tracing::warn!(delivery = id, rejected, "Delivery {id}: {rows} would be rejected."),
            (false, 1) => {
                tracing::warn!(
                    delivery = id,
                    rejected,
                    "Delivery {id}: 1 row was rejected; `rejects list {id}` shows it."
                );
            }
            (false, _) => {
                tracing::warn!(
                    delivery = id,
                    rejected,
                    "Delivery {id}: {rows} were rejected; `rejects list {id}` shows them."
                );
            }
        }
    }
}

pub fn persisted(receipt: &Receipt, changes: &Changes, rehearsal: bool) {
    let id = receipt.id;
    let stats = serde_json::Value::Object(notifier::stats(&changes.pending().label, receipt.counts));
    if rehearsal {
        tracing::info!(delivery = id, "Delivery {id}: dry run, nothing persisted; would persist {stats}.");
        return;
    }
    tracing::info!(delivery = id, "Delivery {id}: persisted to postgres.");
    tracing::info!(delivery = id, "Delivery {id}: persisted {stats}.");
}

pub fn published(id: i64) {
    tracing::info!(delivery = id, "Delivery {id}: messages published.");
}

pub fn counted(id: i64) {
    tracing::info!(delivery = id, "Delivery {id}: prometheus counters incremented.");
}

pub fn processed(id: i64, took: Duration) {
    let (seconds, micros) = (took.as_secs(), took.subsec_micros());
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    tracing::info!(
        delivery = id,
        seconds = took.as_secs_f64(),
        "Delivery {id}: processed ({hours}:{minutes:02}:{rest:02}.{micros:06} seconds)."
    );
}

/// Logs a delivery that was recorded without being loaded.
pub fn noted(id: i64, pending: &Pending, status: Status, why: &Why, rehearsal: bool) {
    let key = &pending.objects[pending.blamed(why.part)].listed.key;
    let (entity, word, why) = (pending.entity.to_string(), status.as_str(), why.words.trim_end_matches('.'));
    if status.stops(pending.file) {
        // a dry run leaves no delivery in the ledger that an operator could act on
        let advice = if rehearsal {
            error_policy::foretold(status).to_owned()
        } else {
            error_policy::advice(status, pending.file, id)
        };
        tracing::error!(delivery = id, key, entity, status = word, "Delivery {id}: {word}: {key}: {why}. {advice}");
    } else {
        tracing::info!(delivery = id, key, entity, status = word, "Delivery {id}: {word}: {key}: {why}.");
    }
}

/// Logs the ledger rows of files that the bucket no longer shows, or shows again.
pub fn closed(table: &TablePlan, rehearsal: bool) {
    let would = if rehearsal { "would be " } else { "" };
    let entity = &table.entity;
    for id in &table.superseded {
        tracing::info!(
            delivery = id,
            "Delivery {id}: {entity}: {would}superseded by the version that the bucket shows now."
        );
    }
    for id in &table.gone {
        tracing::warn!(delivery = id, "Delivery {id}: {entity}: {would}gone from the bucket before it was loaded.");
    }
    for id in &table.revived {
        tracing::info!(delivery = id, "Delivery {id}: {entity}: {would}listed again, and pending.");
    }
}

/// Logs a delivery whose plan no longer holds.
pub fn relisted(id: i64, error: &Error) {
    tracing::info!(delivery = id, "Delivery {id}: {}; taking stock again.", sentence(error));
}

/// Logs that an iteration did not end within the grace period after a stop.
pub fn given_up() {
    tracing::warn!("Not finished in time for the stop; what is in hand is rolled back and loaded next time.");
}

/// Logs a commit whose answer was lost, while the ledger cannot be read.
pub fn settles(id: i64, error: &Error) {
    tracing::warn!(
        delivery = id,
        "Delivery {id}: {}. The ledger will tell whether it was committed; asking again.",
        sentence(error)
    );
}

/// Logs a temporary failure of a table, once for each reason.
pub fn table_waits(said: &mut Said, entity: &Entity, error: &Error) {
    let words = sentence(error);
    if said.troubles.insert(entity.clone(), words.clone()).as_ref() != Some(&words) {
        tracing::warn!(entity = entity.to_string(), "{entity}: {words}. It is tried again; other tables go on.");
    }
}

/// Logs that a table waits for another one, once for each reason.
pub fn waits_for(said: &mut Said, entity: &Entity, other: &Entity, words: &str) {
    if said.troubles.insert(entity.clone(), words.to_owned()).as_deref() != Some(words) {
        tracing::info!(entity = entity.to_string(), "{words}. It stays pending and is tried again after {other}.");
    }
}

/// Logs a change of the connection to NATS.
pub fn broker(said: &mut Said, reached: &Result<(), String>) {
    match reached {
        Err(error) if said.broker.as_ref() != Some(error) => {
            tracing::warn!("{error}. Loading goes on; messages wait in loader_notifications.");
            said.broker = Some(error.clone());
        }
        Ok(()) if said.broker.take().is_some() => tracing::info!("NATS takes messages again."),
        _ => {}
    }
}

/// Sets the gauges of what a plan still has pending, and returns the number of objects. `done` is the number of
/// finished deliveries of each table. Files of an `unmapped` folder have no age: another gauge counts such folders.
pub fn pending(
    metrics: &Metrics,
    plan: &Plan,
    done: &BTreeMap<Entity, usize>,
    unmapped: &BTreeSet<Entity>,
    now: OffsetDateTime,
) -> u64 {
    let mut oldest: BTreeMap<String, Duration> = BTreeMap::new();
    let mut objects = 0;
    for table in &plan.tables {
        let left = table.pending.iter().skip(done.get(&table.entity).copied().unwrap_or(0));
        let new = left.flat_map(|pending| &pending.objects).filter(|object| object.new);
        let listed = new.map(|object| &object.listed);
        objects += listed.clone().count() as u64 + table.later.objects;
        let first = listed.map(|listed| listed.modified).chain(table.later.oldest).min();
        if let Some(first) = first.filter(|_| !unmapped.contains(&table.entity)) {
            let age = now.unix_timestamp().saturating_sub(first);
            oldest.insert(table.label.clone(), Duration::from_secs(u64::try_from(age).unwrap_or(0)));
        }
    }
    metrics.pending(objects, &oldest);
    objects
}

/// Logs assumptions of a plan, and tables that are stopped since the last plan.
pub fn plan(said: &mut Said, plan: &Plan) {
    for table in plan.tables.iter().filter(|table| table.assumed > 0) {
        if said.assumed.insert(table.entity.clone()) {
            tracing::info!("{}", assumed(table));
        }
    }
    said.contradictions.new_of(plan).iter().for_each(|words| tracing::warn!("{words}"));
    stopped(said, plan);
}

/// Returns the notes about a table's files that a plan shows.
pub fn remarks(table: &TablePlan) -> Vec<String> {
    let assumed = (table.assumed > 0).then(|| assumed(table));
    assumed.into_iter().chain(contradictions::of(table)).collect()
}

fn assumed(table: &TablePlan) -> String {
    let (entity, files) = (&table.entity, table.assumed);
    format!(
        "{entity}: {files} change files were copied after they were made, so their times say nothing; they are assumed to \
         follow the snapshot."
    )
}

fn stopped(said: &mut Said, plan: &Plan) {
    let stops = plan.tables.iter().filter_map(|table| table.stopped.as_ref().map(|stop| (table, stop)));
    let mut now = BTreeMap::new();
    for (table, stop) in stops {
        if said.stopped.get(&table.entity) != Some(&stop.id) {
            let (entity, id, word, key) = (&table.entity, stop.id, stop.status.as_str(), &stop.key);
            tracing::warn!(
                delivery = id,
                "{entity}: stopped by delivery {id}, {word}: {key}. `status` says why, and what to do."
            );
        }
        now.insert(table.entity.clone(), stop.id);
    }
    said.stopped = now;
}

/// Maximum number of differences to a plan that are logged.
const DIFFERENCES: usize = 20;

/// Logs the differences to the plan file.
pub fn moved(error: &Error) {
    if let Error::Moved { words, .. } = error {
        words.iter().take(DIFFERENCES).for_each(|words| tracing::error!("{words}."));
        if words.len() > DIFFERENCES {
            tracing::error!("And {} more differences.", words.len() - DIFFERENCES);
        }
    }
}

/// Logs the waiting files that the run's plan does not have.
pub fn left(said: &mut Said, files: &[String]) {
    if let Some(first) = files.first().filter(|_| files.len() != said.left) {
        let (waits, files) = (count(files.len() as u64, "file"), files.len());
        tracing::info!(files, "{waits} pending that the plan does not have, left for the next run, like {first}.");
    }
    said.left = files.len();
}

/// Logs that a one-shot run waits until a reload's parts no longer change.
pub fn waits(quiet: Duration) {
    let seconds = quiet.as_secs_f64().ceil();
    tracing::info!("A reload is pending; waiting {seconds} s for its parts to be quiet (SETTLE).");
}

/// Logs where the files are looked for, once.
pub fn watches(said: &mut Said, source: &Source, plan: &Plan) {
    if !std::mem::replace(&mut said.watches, true) {
        let (bucket, path, foreigners) = (source.bucket(), source.path(), plan.foreign);
        let pending = plan.tables.iter().map(|table| table.pending.len() + table.later.objects as usize).sum::<usize>();
        let stopped = plan.tables.iter().map(|table| table.behind).sum::<usize>();
        let deliveries = deliveries(pending as u64);
        let behind =
            if stopped > 0 { format!(", {} behind a stop", count(stopped as u64, "file")) } else { String::new() };
        tracing::info!(
            bucket,
            path,
            pending,
            stopped,
            foreign = foreigners.total(),
            "Bucket {bucket}, path {path:?}: {deliveries} pending{behind}, {foreigners}."
        );
        if let Some(words) = nothing(bucket, path, plan) {
            tracing::warn!(bucket, path, "{words}");
        }
    }
}

/// Returns the sentence about a bucket path without any file of a table.
fn nothing(bucket: &str, path: &str, plan: &Plan) -> Option<String> {
    match plan.listed {
        0 => Some(format!("There is nothing below bucket_path {path:?} in bucket {bucket}; check both in SOURCE.")),
        listed if listed > plan.foreign.total() => None,
        _ => {
            let example = plan.strange.first().map(|key| format!(", like {key:?}")).unwrap_or_default();
            Some(format!(
                "Nothing below bucket_path {path:?} in bucket {bucket} is a file of a table{example}. Is bucket_path the \
                 folder above the schemas' folders?"
            ))
        }
    }
}

/// Returns a number with its noun: `1 row`, `2 rows`.
fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn deliveries(number: u64) -> String {
    if number == 1 { "1 delivery".to_owned() } else { format!("{number} deliveries") }
}

/// Returns the error's text without a full stop.
pub(super) fn sentence(error: &Error) -> String {
    error.to_string().trim_end_matches('.').to_owned()
}

/// Logs the end of a one-shot run.
pub fn ended(outcome: &Outcome, rehearsal: bool) {
    let (loaded, stopped, waiting) = (outcome.loaded, outcome.stopped.len(), outcome.messages);
    if outcome.relist {
        tracing::warn!("Bucket or ledger kept changing while they were read; what is left is for the next run.");
    }
    let end = if rehearsal { "Dry run done, nothing was kept" } else { "Done" };
    let (deliveries, tables) = (deliveries(loaded), count(stopped as u64, "table"));
    let messages = count(waiting, "message");
    tracing::info!(loaded, stopped, waiting, "{end}: {deliveries}, {tables} stopped, {messages} waiting.");
}

fn stopped_by(outcome: &Outcome, status: &str) -> u64 {
    outcome.stopped.values().filter(|stopped| **stopped == status).count() as u64
}

/// Says which tables themselves are stopped, once for each reason.
pub fn table_stops(said: &mut Said, stops: &BTreeMap<Entity, TableStop>, rehearsal: bool) {
    let mut now = BTreeMap::new();
    for (entity, stop) in stops {
        let Some(status) = stop.status else { continue };
        if said.tables.get(entity) != Some(&stop.why) {
            let next = status::next_for_table(entity).join("; or ");
            let head = if rehearsal { "In a real run this table would stop" } else { "The table is stopped" };
            tracing::warn!(entity = entity.to_string(), "{entity}: {}. {head}, {}: {next}.", stop.why, status.as_str());
        }
        now.insert(entity.clone(), stop.why.clone());
    }
    said.tables = now;
}

/// Logs that a table is loaded again, and who requested it.
pub fn loads_again(stop: &TableStop, files: usize) {
    let (entity, actor) = (&stop.entity, stop.actor.as_deref().unwrap_or("?"));
    let files = count(files as u64, "file");
    tracing::info!("{entity}: is loaded again from its newest full load, {files}, as {actor} asked.");
}

/// Says that a table cannot be loaded again, and how many files of it count as loaded again as before.
pub fn not_again(entity: &Entity, why: &str, given_back: u64) {
    match given_back {
        0 => tracing::warn!("{entity}: cannot be loaded again: {why}."),
        _ => {
            tracing::warn!("{entity}: cannot be loaded again: {why}. Until then its files count as loaded, as before.")
        }
    }
}

/// Sets the gauges after an iteration, and logs folders without a table in the target.
pub fn stock(said: &mut Said, metrics: &Metrics, outcome: &Outcome) {
    for status in Status::ALL.into_iter().filter(|status| status.stops(File::Changes)) {
        metrics.stopped_tables(status.as_str(), stopped_by(outcome, status.as_str()));
    }
    for status in TableStatus::ALL {
        metrics.stopped_tables(status.as_str(), stopped_by(outcome, status.as_str()));
    }
    metrics.unmapped(outcome.unmapped.len() as u64);
    for entity in outcome.unmapped.difference(&said.unmapped) {
        tracing::warn!(
            entity = entity.to_string(),
            "{entity}: no such table in the target; its files wait until it is created."
        );
    }
    said.unmapped.clone_from(&outcome.unmapped);
    for entity in outcome.reserved.difference(&said.reserved) {
        tracing::error!(entity = entity.to_string(), "{entity}: {}.", Refused::Reserved);
    }
    said.reserved.clone_from(&outcome.reserved);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{IgnoredCounts, Listed, Object, Step};

    fn plan() -> Plan {
        let entity = Entity { schema: "dbo".into(), name: "e".into() };
        Plan { tables: vec![TablePlan::empty(entity, "e".into())], ..Plan::default() }
    }

    fn object(key: &str, modified: i64, new: bool) -> Object {
        let listed = Listed { key: key.to_owned(), etag: "a".into(), size: 1, modified };
        Object { entry: Some(1), new, ..Object::unknown(listed) }
    }

    fn refold(objects: Vec<Object>) -> Pending {
        let entity = Entity { schema: "dbo".into(), name: "e".into() };
        let (label, file, step) = ("e".to_owned(), crate::decode::File::Changes, Step::Refold);
        Pending {
            entity,
            label,
            file,
            generation: 1,
            step,
            objects,
            after: 1,
            passes: [].into(),
            remark: None,
            if_same: None,
        }
    }

    #[test]
    fn what_a_delivery_of_several_files_is_made_of_is_said() {
        let (late, loaded) = (|| object("late", 9, true), || object("loaded", 1, false));
        assert_eq!(together(&refold(vec![late()])), "");
        assert_eq!(together(&refold(vec![late(), loaded()])), " (folded in with 1 file loaded after it)");
        assert_eq!(together(&refold(vec![late(), late(), late()])), " (folded in with 2 files that came late too)");
        let both = " (folded in with 1 file that came late too, and 2 files loaded after it)";
        assert_eq!(together(&refold(vec![late(), loaded(), late(), loaded()])), both);
        let load = Pending { step: Step::Replace, ..refold(vec![late(), late()]) };
        assert_eq!(together(&load), " (1 of 2 parts)");
    }

    #[test]
    fn what_is_read_again_for_a_late_file_is_not_pending() {
        let mut plan = plan();
        plan.tables[0].pending.push(refold(vec![object("late", 90, true), object("loaded", 10, false)]));
        let metrics = Metrics::new("1");
        let at = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(100);
        pending(&metrics, &plan, &BTreeMap::new(), &BTreeSet::new(), at);
        let text = metrics.render();
        assert!(text.contains("\npaper_engine_pending_objects 1\n"), "{text}");
        assert!(text.contains("\npaper_engine_oldest_pending_age_seconds{entity=\"e\"} 10\n"), "{text}");
        // A folder without a table waits too, but not for an operator to fix its files.
        let unmapped = std::iter::once(plan.tables[0].entity.clone()).collect();
        assert_eq!(pending(&metrics, &plan, &BTreeMap::new(), &unmapped, at), 1);
        let text = metrics.render();
        assert!(text.contains("\npaper_engine_oldest_pending_age_seconds{entity=\"e\"} 0\n"), "{text}");
    }

    #[test]
    fn a_bucket_that_shows_no_file_of_a_table_is_told() {
        assert_eq!(
            nothing("b", "strangr", &Plan::default()).as_deref(),
            Some("There is nothing below bucket_path \"strangr\" in bucket b; check both in SOURCE.")
        );
        let foreign = IgnoredCounts { other: 1, markers: 1, ..IgnoredCounts::default() };
        let strange = std::iter::once("data/e/a.csv".to_owned()).collect();
        let plan = Plan { foreign, strange, listed: 2, ..Plan::default() };
        let words = nothing("b", "data", &plan).unwrap_or_default();
        assert!(words.starts_with("Nothing below bucket_path \"data\" in bucket b is a file of a table"), "{words}");
        assert!(words.contains(", like \"data/e/a.csv\". Is bucket_path the folder above"), "{words}");
        assert_eq!(nothing("b", "data", &Plan { listed: 3, ..plan }), None, "a loaded file is not in the plan");
    }
}
