//! Result of verifying one table.

use serde_json::{Value, json};

use super::counts;
use crate::load::{Comparison, Key};
use crate::loader::service::End;
use crate::source::Entity;

/// Outcome for one table.
pub(super) enum Outcome {
    Compared { generation: i32, files: usize, skipped: u64, blind: u64, comparison: Box<Comparison> },
    Unverified { why: String, next: &'static str, end: End },
    NothingLoaded,
}

impl Outcome {
    pub fn end(&self) -> End {
        match self {
            Self::Compared { comparison, .. } if comparison.is_equal() => End::Done,
            Self::Compared { .. } => End::Stopped,
            Self::Unverified { end, .. } => *end,
            Self::NothingLoaded => End::Done,
        }
    }

    pub fn verdict(&self) -> &'static str {
        match self {
            Self::Compared { comparison, .. } if comparison.is_equal() => "equal",
            Self::Compared { .. } => "differs",
            Self::Unverified { .. } => "unverified",
            Self::NothingLoaded => "nothing_loaded",
        }
    }
}

/// One table, with what waits for it.
pub(super) struct Table {
    pub table: String,
    pub outcome: Outcome,
    /// Files that are not loaded yet.
    pub pending: u64,
    /// The state of the delivery that stops it.
    pub stopped: Option<String>,
}

impl Table {
    pub fn new(entity: &Entity, outcome: Outcome, pending: u64, stopped: Option<String>) -> Self {
        Self { table: entity.to_string(), outcome, pending, stopped }
    }

    pub fn as_json(&self) -> Value {
        let Self { table, outcome, pending, stopped } = self;
        let verdict = outcome.verdict();
        let mut all = json!({"table": table, "verdict": verdict, "pending": pending, "stopped": stopped});
        match outcome {
            Outcome::Compared { generation, files, skipped, blind, comparison } => {
                all["generation"] = (*generation).into();
                all["files"] = (*files).into();
                all["files_skipped"] = (*skipped).into();
                describe(&mut all, comparison);
                all["not_compared"]["rejected_rows_without_key"] = (*blind).into();
            }
            Outcome::Unverified { why, .. } => all["why"] = why.as_str().into(),
            Outcome::NothingLoaded => {}
        }
        if let Some(next) = self.next() {
            all["next"] = next.into();
        }
        all
    }

    /// Returns what to do about the outcome.
    pub fn next(&self) -> Option<&'static str> {
        match &self.outcome {
            Outcome::Compared { comparison, .. } if comparison.is_equal() => None,
            Outcome::Compared { .. } => Some(
                "Find out who else writes to this table, or whether FEED or its columns changed since its files were loaded. \
                 Where the feed is right, a full load in the bucket puts all of it right: the next run makes the table equal to it. If the \
                 table was emptied or restored, `tables reload` loads it again from the files in the bucket.",
            ),
            Outcome::Unverified { next, .. } => Some(next),
            Outcome::NothingLoaded => None,
        }
    }
}

fn describe(all: &mut Value, comparison: &Comparison) {
    let keyed = |key: &Key| -> Value {
        let names: Vec<&str> = match comparison.key.as_slice() {
            [] => vec!["ctid"],
            names => names.iter().map(String::as_str).collect(),
        };
        names
            .into_iter()
            .zip(key)
            .map(|(name, cell)| (name.to_owned(), Value::from(cell.as_str())))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let keys = |keys: &[Key]| keys.iter().map(keyed).collect::<Vec<_>>();
    let different = comparison.some_different.iter();
    let different: Vec<_> = different.map(|row| json!({"key": keyed(&row.key), "columns": row.columns})).collect();
    all["rows"] = comparison.rows.into();
    all["rows_compared"] = comparison.compared().into();
    all["missing"] = json!({"rows": comparison.missing, "keys": keys(&comparison.some_missing)});
    all["not_in_feed"] = json!({"rows": comparison.extra, "keys": keys(&comparison.some_extra)});
    all["different"] = json!({
        "rows": comparison.different,
        "columns": counts(&comparison.columns),
        "keys": different,
    });
    all["not_compared"] = json!({
        "cells_not_supplied": counts(&comparison.untold),
        "rows_rejected": comparison.rejected,
        "rows_without_full_load": comparison.unnamed,
    });
}
