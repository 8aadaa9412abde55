//! The feed's tables in the target: is each there, can it be loaded, may we write to it; and tables that no folder feeds.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{Part, Report};
use super::within;
use crate::decode::File;
use crate::load::settings::Settings;
use crate::load::{Mapped, NullDecision, Refused, Target};
use crate::loader::service::End;
use crate::per_table::Pattern;
use crate::source::{Entity, FileKinds, Probe};

/// Maximum number of names in one line.
const NAMES: usize = 10;

/// Checks every table that has a folder, or those in the ledger if the bucket could not be listed.
pub(super) async fn check(
    target: &Target,
    (settings, patterns): (&Settings, &[Pattern]),
    feed: Option<&Probe>,
    report: &mut Report,
) {
    let tables = match feed {
        Some(feed) => feed.tables.clone(),
        None => remembered(target).await,
    };
    if tables.is_empty() {
        let why = "The bucket shows no table, and the ledger knows none";
        return report.unknown(Part::Target, "tables", why);
    }
    let rules = within(target.null_rules()).await.unwrap_or_default();
    let mut fed: BTreeMap<u32, (Entity, Mapped)> = BTreeMap::new();
    for (entity, holds) in tables.clone() {
        let told = Told { nulls: rules.get(&entity), sole_writer: settings.is_sole_writer(&entity) };
        let Some(table) = one(target, &entity, holds, told, report).await else { continue };
        match fed.get(&table.oid) {
            Some((other, _)) => clash(&entity, other, &table, report),
            None => _ = fed.insert(table.oid, (entity, table)),
        }
    }
    if feed.is_some() {
        unfed(target, settings.schema.as_deref(), &tables, &fed, report).await;
    }
    for pattern in patterns {
        let matches = |entity: &Entity| pattern.matches(&format!("{}.{}", entity.schema, entity.name));
        if !tables.keys().any(matches) {
            let hint = "Write schema and table as the bucket's folders have them, in upper and lower case";
            report.warn(Part::Target, "TABLES", format!("no table of the feed matches {pattern}"), hint);
        }
    }
}

/// Data about a table beside its definition.
struct Told<'a> {
    nulls: Option<&'a NullDecision>,
    sole_writer: bool,
}

async fn remembered(target: &Target) -> BTreeMap<Entity, FileKinds> {
    let states = within(target.tables()).await.unwrap_or_default();
    let entity = |schema, name| (Entity { schema, name }, FileKinds::default());
    states.into_iter().map(|state| entity(state.schema, state.entity)).collect()
}

async fn one(
    target: &Target,
    entity: &Entity,
    holds: FileKinds,
    told: Told<'_>,
    report: &mut Report,
) -> Option<Mapped> {
    let name = entity.to_string();
    let file = if holds.changes { File::Changes } else { File::Snapshot };
    let table = match within(target.mapped(entity, file)).await {
        Ok(Some(table)) => table,
        Ok(None) => {
            let hint = "Create it, named as its folder; its files wait until then";
            report.warn(Part::Target, &name, "no such table in the target", hint);
            return None;
        }
        Err(trouble) => {
            report.trouble(Part::Target, &name, &trouble, "Name one of them exactly as the folder");
            return None;
        }
    };
    judge(&name, &table, told, report);
    Some(table)
}

fn judge(name: &str, table: &Mapped, told: Told<'_>, report: &mut Report) {
    if let Some(why) = &table.refused {
        let words = why.to_string();
        let (found, hint) = match why {
            Refused::Type { .. } => (words.as_str(), "Give the column another type"),
            Refused::NoKey => ("has no key, but change files", "Give it a primary key"),
            _ => words.split_once("; ").unwrap_or((&words, "Alter the table")),
        };
        report.fail(Part::Target, name, found, hint, End::Stopped);
    }
    if let Some(wants) = &table.wants {
        report.fail(Part::Target, name, "the role lacks a grant", wants, End::Stopped);
    }
    // said where it is another than the folder's name
    let other = if table.object == name { String::new() } else { format!("{} ", table.object) };
    match (&table.refused, &table.wants) {
        (None, None) if table.keyless => {
            let hint = "Give it a primary key before its first change file comes";
            report.warn(Part::Target, name, format!("{other}has no key: it takes full loads only"), hint);
        }
        (None, None) => {
            let event_id = table.no_event_id.as_ref().map(|why| format!("; {why}, so max_event_id stays null"));
            let event_id = event_id.unwrap_or_default();
            let nulls = told.nulls.map(|rule| format!("; null in text columns is {rule}")).unwrap_or_default();
            let sole = if told.sole_writer { "; sole_writer: it is loaded beside an autovacuum too" } else { "" };
            report.ok(Part::Target, name, format!("{other}can be loaded{event_id}{nulls}{sole}"));
        }
        _ => {}
    }
}

fn clash(entity: &Entity, other: &Entity, table: &Mapped, report: &mut Report) {
    let found = format!("{}, which is the table of {other} too", table.object);
    let hint = "A table takes one feed: rename a folder or the table, or set TARGET_SCHEMA for one loader each";
    report.fail(Part::Target, &entity.to_string(), found, hint, End::Misconfigured);
}

/// Reports tables in the feed's schemas that have no folder in the feed.
async fn unfed(
    target: &Target,
    schema: Option<&str>,
    tables: &BTreeMap<Entity, FileKinds>,
    fed: &BTreeMap<u32, (Entity, Mapped)>,
    report: &mut Report,
) {
    let schemas: BTreeSet<&str> = match schema {
        Some(schema) => [schema].into(),
        None => tables.keys().map(|entity| entity.schema.as_str()).collect(),
    };
    let schemas: Vec<String> = schemas.into_iter().map(str::to_owned).collect();
    let oids: Vec<u32> = fed.keys().copied().collect();
    match within(target.unfed(&schemas, &oids)).await {
        Ok(names) if names.is_empty() => {}
        Ok(names) => {
            let more = names.len().saturating_sub(NAMES);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let names: Vec<_> = names.into_iter().take(NAMES).collect();
            let hint = "Nothing to do if they are not the feed's; else check the names of the folders";
            report.warn(Part::Target, "no folder feeds", format!("{}{more}", names.join(", ")), hint);
        }
        Err(trouble) => report.trouble(Part::Target, "other tables", &trouble, "Try again"),
    }
}
