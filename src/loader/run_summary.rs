//! Summary of a one-shot run over all its iterations, as one line of JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::delivery::Next;
use super::service::End;
use crate::clock::stamp;
use crate::decode::File;
use crate::source::{Entity, Pending};

/// Counts of what a run has done so far.
#[derive(Debug, Default)]
pub struct RunSummary {
    tables: BTreeMap<String, Table>,
    /// Tables that need attention, with the status of the stop.
    pub stopped: BTreeMap<Entity, &'static str>,
    /// Objects that are listed and not loaded.
    pub pending: u64,
    /// Messages that still wait for the broker.
    pub messages: u64,
}

/// Counts of what was done to one table.
#[derive(Debug, Default, Serialize)]
struct Table {
    /// Deliveries that were loaded, by their kind.
    snapshots: u64,
    changes: u64,
    /// Written down without loading: skipped or gone.
    noted: u64,
    create: u64,
    amend: u64,
    remove: u64,
    unchanged: u64,
    rejected: u64,
    /// Size of the objects as listed, in bytes.
    bytes: u64,
    /// Delivery ids as ranges: first and last.
    deliveries: Vec<(i64, i64)>,
}

/// Data of the run that only its caller knows.
pub struct Run<'a> {
    pub version: &'a str,
    pub host: &'a str,
    pub dry_run: bool,
    pub started: OffsetDateTime,
    pub ended: OffsetDateTime,
    pub seconds: f64,
    pub end: End,
    /// Reason for which the run could not continue.
    pub error: Option<String>,
}

impl RunSummary {
    /// Notes what came of a delivery.
    pub fn take(&mut self, pending: &Pending, next: &Next) {
        let id = match next {
            Next::Loaded(loaded) => loaded.id,
            Next::Noted { id, .. } => *id,
            _ => return,
        };
        let table = self.tables.entry(pending.entity.to_string()).or_default();
        table.note(id);
        let Next::Loaded(loaded) = next else {
            table.noted += 1;
            return;
        };
        match pending.file {
            File::Snapshot => table.snapshots += 1,
            File::Changes => table.changes += 1,
        }
        let counts = loaded.counts;
        table.create += counts.create;
        table.amend += counts.amend;
        table.remove += counts.remove;
        table.unchanged += counts.unchanged;
        table.rejected += counts.rejected;
        table.bytes += pending.bytes();
    }

    /// Returns the summary as a JSON object.
    pub fn summary(&self, run: &Run<'_>) -> Value {
        let tables = || self.tables.values();
        let stopped: BTreeMap<String, &str> =
            self.stopped.iter().map(|(entity, status)| (entity.to_string(), *status)).collect();
        json!({
            "summary": if run.dry_run { "dry run" } else { "run once" },
            "version": run.version,
            "host": run.host,
            "started": utc(run.started),
            "ended": utc(run.ended),
            "seconds": (run.seconds * 1e3).round() / 1e3,
            "exit_code": run.end.code(),
            "exit": run.end.word(),
            "error": run.error,
            "deliveries": tables().map(|table| table.snapshots + table.changes).sum::<u64>(),
            "bytes": tables().map(|table| table.bytes).sum::<u64>(),
            "tables": self.tables,
            "stopped": stopped,
            "pending": self.pending,
            "messages_waiting": self.messages,
        })
    }
}

impl Table {
    /// Adds a delivery id. Most ids of a table are consecutive, so ranges stay few.
    fn note(&mut self, id: i64) {
        match self.deliveries.last_mut() {
            Some((_, last)) if *last + 1 == id => *last = id,
            _ => self.deliveries.push((id, id)),
        }
    }
}

fn utc(at: OffsetDateTime) -> String {
    format!("{}Z", stamp(at))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::delivery::Loaded;
    use super::*;
    use crate::load::Counts;
    use crate::source::{Listed, Object, Step};
    use time::macros::datetime;

    fn pending(file: File) -> Pending {
        let entity = Entity { schema: "dbo".into(), name: "e".into() };
        let listed = Listed { key: "k".into(), etag: "a".into(), size: 10, modified: 0 };
        let objects = vec![Object::unknown(listed)];
        let (label, step) = ("e".to_owned(), Step::Replace);
        Pending {
            entity,
            label,
            file,
            generation: 1,
            step,
            objects,
            after: 0,
            passes: [].into(),
            remark: None,
            if_same: None,
        }
    }

    fn loaded(id: i64, create: u64, remove: u64) -> Next {
        let counts = Counts { create, remove, ..Counts::default() };
        Next::Loaded(Loaded { id, revision: id, news: true, took: Duration::ZERO, counts })
    }

    #[test]
    fn a_run_is_told_in_one_object() {
        let mut tally = RunSummary { pending: 2, messages: 1, ..RunSummary::default() };
        tally.take(&pending(File::Snapshot), &loaded(1, 5, 0));
        tally.take(&pending(File::Changes), &loaded(2, 1, 2));
        tally.take(&pending(File::Changes), &Next::Noted { id: 5, revision: 5 });
        tally.take(&pending(File::Changes), &Next::Busy);
        tally.stopped.insert(Entity { schema: "dbo".into(), name: "f".into() }, "held");
        let run = Run {
            version: "1.2.3",
            host: "h",
            dry_run: false,
            started: datetime!(2026-11-21 14:02:37.5 UTC),
            ended: datetime!(2026-11-21 14:02:39 UTC),
            seconds: 1.5,
            end: End::Stopped,
            error: None,
        };
        let wanted = concat!(
            r#"{"summary":"run once","version":"1.2.3","host":"h","started":"2026-11-21T14:02:37.500000Z","#,
            r#""ended":"2026-11-21T14:02:39.000000Z","seconds":1.5,"exit_code":1,"exit":"stopped","error":null,"#,
            r#""deliveries":2,"bytes":20,"tables":{"dbo.e":{"snapshots":1,"changes":1,"noted":1,"create":6,"amend":0,"#,
            r#""remove":2,"unchanged":0,"rejected":0,"bytes":20,"deliveries":[[1,2],[5,5]]}},"#,
            r#""stopped":{"dbo.f":"held"},"pending":2,"messages_waiting":1}"#
        );
        assert_eq!(tally.summary(&run).to_string(), wanted);
    }
}
