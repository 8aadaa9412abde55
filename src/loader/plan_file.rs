//! Format of a plan file: what a run will do to which table, and the state for which it was made. `plan` writes it as
//! JSON, and `run --plan` enforces it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::load;
use crate::source::{Entity, Pending, Step};

/// Version of the format. An older program cannot interpret a higher version.
pub const VERSION: u32 = 1;

/// The whole plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFile {
    pub v: u32,
    /// UTC, and the program's version
    pub made_at: String,
    pub made_by: String,
    pub bucket: String,
    pub path: String,
    pub database: String,
    /// Settings that decide what a file does, by variable; long values as a digest.
    pub settings: BTreeMap<String, String>,
    /// Exit code with which the run will end.
    pub exit_code: u8,
    pub counts: Counts,
    /// Tables to which something will happen, or which are stopped; in the order in which they are taken.
    pub tables: Vec<Table>,
    /// Files that are pending and not in the plan.
    pub left: Vec<Left>,
}

/// Plan of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub schema: String,
    pub entity: String,
    /// A digest of its columns and indexes, null without a table.
    pub definition: Option<String>,
    /// Highest delivery id of the table in the ledger, or 0.
    pub last_delivery: i64,
    /// `true` if the first load is compared with rows that were there before.
    pub whole: bool,
    /// The delivery that stops it already.
    pub stopped: Option<Stop>,
    /// Notes about the names and times of the table's files.
    pub notes: Vec<String>,
    /// The key's columns.
    pub key: Vec<String>,
    /// Over all deliveries.
    pub counts: Counts,
    pub columns: Vec<Column>,
    pub deliveries: Vec<Delivery>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub delivery: i64,
    pub status: String,
    pub object_key: String,
}

/// One delivery, as the run will make it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Id of the delivery in the plan; the run may assign another one.
    pub id: i64,
    /// `snapshot` or `changes`
    pub kind: String,
    /// `append`, `replace`, `changes`, `refold`, `skip` or `stop`
    pub step: String,
    pub generation: i32,
    /// The run waits until its parts were quiet for SETTLE seconds.
    pub settles: bool,
    pub files: Vec<File>,
    /// Status that the delivery will have in the ledger.
    pub status: String,
    pub counts: Counts,
    pub columns: Vec<Column>,
    pub keys: Keys,
    /// A digest of the rows and keys that are written.
    pub effect: String,
    /// Reason for a status other than `loaded`, or note for the ledger.
    pub why: Option<String>,
    /// Number of rows that a held snapshot would remove.
    pub would_remove: Option<u64>,
    /// Possible actions of an operator.
    pub next: Vec<String>,
}

/// A version of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    pub key: String,
    pub etag: String,
    /// Seconds since 1970.
    pub modified: i64,
    pub size: u64,
    /// False: it was loaded before, and is read again with the others.
    pub new: bool,
}

/// A column that changes, and in how many rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub rows: u64,
}

/// Some keys of each kind, each a list of the key's values as text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    pub create: Vec<Vec<String>>,
    pub amend: Vec<Vec<String>>,
    pub remove: Vec<Vec<String>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub create: u64,
    pub amend: u64,
    pub remove: u64,
    pub unchanged: u64,
    pub rejected: u64,
}

/// Files of one table that are pending and not in the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    pub table: String,
    pub files: u64,
    pub bytes: u64,
    /// The first of them.
    pub examples: Vec<String>,
    pub why: String,
}

/// Error for a file that is not a plan of a version that this program supports.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("it is no plan: line {line}, column {column}: {what}. `plan --out FILE` writes one")]
    NoPlan { line: usize, column: usize, what: &'static str },
    #[error(
        "it is of version {found}, made by a newer program ({made_by}); this one knows {VERSION}. Make a new one, or upgrade"
    )]
    Newer { found: u64, made_by: String },
}

impl PlanFile {
    /// Reads what `plan` wrote.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Head {
            v: u64,
            #[serde(default)]
            made_by: String,
        }
        let head: Head = serde_json::from_str(text).map_err(|error| no_plan(&error))?;
        if head.v > u64::from(VERSION) {
            let made_by = head.made_by.chars().take(40).collect();
            return Err(Unreadable::Newer { found: head.v, made_by });
        }
        serde_json::from_str(text).map_err(|error| no_plan(&error))
    }

    pub fn table(&self, entity: &Entity) -> Option<&Table> {
        self.tables.iter().find(|table| table.schema == entity.schema && table.entity == entity.name)
    }

    /// Returns the number of deliveries.
    pub fn deliveries(&self) -> usize {
        self.tables.iter().map(|table| table.deliveries.len()).sum()
    }
}

/// Returns the error for a file that cannot be parsed. Serde's own message is not used, because it repeats content of
/// the file.
fn no_plan(error: &serde_json::Error) -> Unreadable {
    let what = match error.classify() {
        serde_json::error::Category::Data => "something is missing, or not of its kind",
        serde_json::error::Category::Eof => "it ends too early",
        _ => "not JSON",
    };
    Unreadable::NoPlan { line: error.line(), column: error.column(), what }
}

impl Table {
    /// Returns `schema.table`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.schema, self.entity)
    }

    pub fn entity(&self) -> Entity {
        Entity { schema: self.schema.clone(), name: self.entity.clone() }
    }

    /// Returns the first keys of each kind of all deliveries, without duplicates.
    pub fn keys(&self, most: usize) -> Keys {
        let all = |of: fn(&Keys) -> &Vec<Vec<String>>| {
            let mut told = BTreeSet::new();
            let keys = self.deliveries.iter().flat_map(|delivery| of(&delivery.keys));
            keys.filter(|key| told.insert(*key)).take(most).cloned().collect()
        };
        Keys { create: all(|keys| &keys.create), amend: all(|keys| &keys.amend), remove: all(|keys| &keys.remove) }
    }

    /// Takes in one more delivery.
    pub(super) fn add(&mut self, delivery: Delivery) {
        self.counts.add(delivery.counts);
        for column in &delivery.columns {
            match self.columns.iter_mut().find(|known| known.name == column.name) {
                Some(known) => known.rows += column.rows,
                None => self.columns.push(column.clone()),
            }
        }
        self.deliveries.push(delivery);
    }
}

impl Delivery {
    /// Returns the delivery as planned, without its result.
    pub fn of(pending: &Pending) -> Self {
        let file = |object: &crate::source::Object| File {
            key: object.listed.key.clone(),
            etag: object.listed.etag.clone(),
            modified: object.listed.modified,
            size: object.listed.size,
            new: object.new,
        };
        Self {
            kind: pending.file.as_str().to_owned(),
            step: word(&pending.step).to_owned(),
            generation: pending.generation,
            settles: pending.step == Step::Replace,
            files: pending.objects.iter().map(file).collect(),
            why: pending.remark.clone(),
            ..Self::default()
        }
    }

    /// Returns `true` if both deliveries do the same with the same versions of the same files. What is to be done with a file that
    /// was written again is known only once it is read, and is compared with the plan then.
    pub fn is_same_work(&self, other: &Self) -> bool {
        if [self, other].iter().any(|delivery| delivery.step == "compare") {
            return self.files == other.files;
        }
        let work = |delivery: &Self| (delivery.step.clone(), delivery.generation, delivery.files.clone());
        work(self) == work(other)
    }

    /// Returns the key of the first new file.
    pub fn file(&self) -> &str {
        let new = self.files.iter().find(|file| file.new).or(self.files.first());
        new.map_or("", |file| file.key.as_str())
    }
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.create += other.create;
        self.amend += other.amend;
        self.remove += other.remove;
        self.unchanged += other.unchanged;
        self.rejected += other.rejected;
    }
}

impl From<load::Counts> for Counts {
    fn from(counts: load::Counts) -> Self {
        let load::Counts { create, amend, remove, unchanged, rejected } = counts;
        Self { create, amend, remove, unchanged, rejected }
    }
}

fn word(step: &Step) -> &'static str {
    match step {
        Step::Append { .. } => "append",
        Step::Replace => "replace",
        Step::Changes => "changes",
        Step::Refold => "refold",
        Step::Same => "same",
        Step::Compare(_) => "compare",
        Step::Skip(_) => "skip",
        Step::Stop(..) => "stop",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else_is() {
        let plan =
            PlanFile { v: VERSION, bucket: "feed".into(), tables: vec![Table::default()], ..PlanFile::default() };
        let text = serde_json::to_string(&plan).expect("JSON");
        assert_eq!(PlanFile::parse(&text).expect("a plan"), plan);
        let words = |text: &str| PlanFile::parse(text).expect_err("no plan").to_string();
        assert!(words("{\n\"v\": 1").starts_with("it is no plan: line 2, column 6: it ends too early."));
        assert!(words("{\"v\": \"hidden\"}").contains("something is missing, or not of its kind. `plan --out FILE`"));
        assert!(words("plan").contains("line 1, column 1: not JSON"), "{}", words("plan"));
        assert!(words("{\"v\": 1}").contains("something is missing"));
        let newer = text.replacen("\"v\":1", "\"v\":2", 1).replacen("\"made_by\":\"\"", "\"made_by\":\"9.9.9\"", 1);
        assert!(words(&newer).starts_with("it is of version 2, made by a newer program (9.9.9); this one knows 1."));
    }
}
