//! Keeps tasks in MySQL and MariaDB.

mod claim;
mod commands;
mod link;
mod overview;
mod prepare;
mod settings;
mod sql;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use mysql_async::{Row, Value};
use uuid::Uuid;

use crate::store::{Claim, DisabledEndpoint, Error, Facts, Holder, Overview, Prepare, Store, Zone};
use crate::task::{Claimed, Completion, Lease, NewTask, Shown, Steered};

use link::{Link, in_transaction};
use sql::Shape;

pub use settings::Settings;

/// The store for `mysql://…` and the original's variables. Clones share connections.
#[derive(Clone)]
pub struct MySql(Arc<Inner>);

struct Inner {
    settings: Settings,
    zone: Zone,
    link: Link,
    known: RwLock<(Facts, Arc<Shape>)>,
    bounds: Mutex<Bounds>,
    duplicates: AtomicU64,
}

/// Due times below which nothing is open, as text. `None`: not known.
#[derive(Clone, Default)]
struct Bounds {
    waiting: Option<String>,
    records: Option<String>,
}

impl MySql {
    /// Builds the store; the first question connects.
    pub fn new(settings: Settings, zone: Zone) -> Self {
        let link = Link::new(&settings, true);
        let (known, bounds, duplicates) = (RwLock::default(), Mutex::default(), AtomicU64::new(0));
        Self(Arc::new(Inner { settings, zone, link, known, bounds, duplicates }))
    }

    fn shape(&self) -> Arc<Shape> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    fn bounds(&self, full: bool) -> Bounds {
        if full { Bounds::default() } else { self.0.bounds.lock().unwrap_or_else(PoisonError::into_inner).clone() }
    }
}

impl Store for MySql {
    async fn prepare(&self, mode: Prepare) -> Result<Facts, Error> {
        let (facts, shape) = prepare::prepare(&self.0.settings, &self.0.link, &self.0.zone, mode).await?;
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = (facts.clone(), Arc::new(shape));
        Ok(facts)
    }

    fn facts(&self) -> Facts {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        self.claim_due(claim).await
    }

    async fn claim_parked(&self, claim: Claim, endpoint: &str) -> Result<Vec<Claimed>, Error> {
        self.claim_records(claim, &sql::parked(endpoint, claim.limit)).await
    }

    async fn parked_endpoints(&self) -> Result<Vec<String>, Error> {
        let rows = self.0.link.query("find parked tasks", sql::PARKED_ENDPOINTS).await?;
        Ok(rows.iter().map(|row| string(row, 0)).collect())
    }

    async fn adopt(&self, claim: Claim, after: Duration) -> Result<Vec<Claimed>, Error> {
        self.claim_orphans(claim, after).await
    }

    async fn complete(&self, holder: Holder, ends: &[Completion]) -> Result<Vec<Lease>, Error> {
        let read = sql::held(holder, ends.iter().map(|end| end.lease.id));
        in_transaction!(self.0.link, "complete tasks", &read, |tx, sets| {
            let locked = held(&sets);
            let ours: Vec<&Completion> = ends.iter().filter(|end| locked.contains(&end.lease)).collect();
            if ours.is_empty() {
                return Ok(Vec::new());
            }
            let with = |status: &str| -> Vec<Uuid> {
                let ended = ours.iter().filter(|end| end.end.timer_status() == Some(status));
                ended.map(|end| end.lease.id).collect()
            };
            let tasks = sql::end_tasks(&with("done"), &with("failed"));
            let all: Vec<String> = [Some(sql::write_ends(&ours)), tasks].into_iter().flatten().collect();
            tx.run(&all.join("; ")).await?;
            Ok(ours.iter().map(|end| end.lease).collect())
        })
    }

    async fn extend(&self, holder: Holder, leases: &[Lease], by: Duration) -> Result<Vec<Lease>, Error> {
        let read = sql::held(holder, leases.iter().map(|lease| lease.id));
        in_transaction!(self.0.link, "extend leases", &read, |tx, sets| {
            let mut ours = held(&sets);
            ours.retain(|lease| leases.contains(lease));
            if !ours.is_empty() {
                tx.run(&sql::extend(&ours.iter().map(|lease| lease.id).collect::<Vec<_>>(), by)).await?;
            }
            Ok(ours)
        })
    }

    async fn give_back(&self, holder: Holder, given: &[(Lease, Duration)]) -> Result<usize, Error> {
        let read = sql::held(holder, given.iter().map(|(lease, _)| lease.id));
        in_transaction!(self.0.link, "give tasks back", &read, |tx, sets| {
            let rows = sets.first().map(Vec::as_slice).unwrap_or_default();
            let (mut fresh, mut statements, mut ours) = (Vec::new(), Vec::new(), 0);
            for row in rows {
                let lease = Lease { id: uuid(row, 0), token: integer(row, 1) };
                let Some((_, delay)) = given.iter().find(|(given, _)| *given == lease) else { continue };
                ours += 1;
                if integer(row, 2) == 0 && integer(row, 3) == 0 {
                    fresh.push(lease.id);
                } else {
                    statements.push(sql::due_again(lease.id, *delay));
                }
            }
            statements.extend(sql::remove_records(&fresh));
            statements.extend(sql::move_tasks(&fresh, "executing", "waiting"));
            if !statements.is_empty() {
                tx.run(&statements.join("; ")).await?;
            }
            Ok(ours)
        })
    }

    async fn settle_duplicates(&self) -> Result<u64, Error> {
        self.0.link.execute("settle duplicates", &sql::settle_duplicates()).await
    }

    async fn find_lower_bound(&self) -> Result<(), Error> {
        let rows = self.0.link.query("find the oldest open task", &self.shape().lower_bounds()).await?;
        if let Some(row) = rows.first() {
            let bounds = Bounds { waiting: optional_string(row, 0), records: optional_string(row, 1) };
            *self.0.bounds.lock().unwrap_or_else(PoisonError::into_inner) = bounds;
        }
        Ok(())
    }

    fn duplicates_seen(&self) -> u64 {
        self.0.duplicates.load(Ordering::Relaxed)
    }

    async fn purge(&self, older: Duration, limit: usize) -> Result<u64, Error> {
        let finds = [sql::old_ends(older, limit), self.shape().foreign_ends(older, limit)];
        let mut total = 0;
        for find in finds {
            total += in_transaction!(self.0.link, "purge tasks", &find, |tx, sets| {
                let old: Vec<Uuid> = sets.iter().flatten().map(|row| uuid(row, 0)).collect();
                if !old.is_empty() {
                    tx.run(&sql::remove_tasks(&old)).await?;
                }
                Ok(old.len() as u64)
            })?;
        }
        Ok(total)
    }

    async fn counts(&self) -> Result<Vec<(String, u64)>, Error> {
        let rows = self.0.link.query("count tasks", sql::COUNTS).await?;
        Ok(rows.iter().map(|row| (string(row, 0), u64::try_from(integer(row, 1)).unwrap_or(0))).collect())
    }

    async fn overview(&self) -> Result<Overview, Error> {
        self.read_overview().await
    }

    async fn add(&self, task: &NewTask) -> Result<(), Error> {
        self.insert(task).await
    }

    async fn list(&self, state: Option<&str>, limit: usize) -> Result<Vec<Shown>, Error> {
        self.shown(state, None, limit).await
    }

    async fn show(&self, id: Uuid) -> Result<Option<Shown>, Error> {
        Ok(self.shown(None, Some(id), 1).await?.pop())
    }

    async fn cancel(&self, id: Uuid) -> Result<Steered, Error> {
        self.cancel_task(id).await
    }

    async fn retry(&self, id: Uuid) -> Result<Steered, Error> {
        self.retry_task(id).await
    }

    async fn retry_all(&self, state: &str) -> Result<u64, Error> {
        self.retry_state(state).await
    }

    async fn preview(&self, limit: usize) -> Result<(Vec<String>, bool), Error> {
        let rows = self.0.link.query("look at due tasks", &self.shape().preview(limit)).await?;
        let fired = rows.first().is_some_and(|row| integer(row, 1) != 0);
        Ok((rows.iter().map(|row| string(row, 0)).collect(), fired))
    }

    async fn disable_endpoint(&self, endpoint: &str, reason: &str) -> Result<(), Error> {
        self.0.link.execute("disable the endpoint", &sql::disable_endpoint(endpoint, reason)).await.map(|_| ())
    }

    async fn enable_endpoint(&self, endpoint: &str) -> Result<bool, Error> {
        Ok(self.0.link.execute("enable the endpoint", &sql::enable_endpoint(endpoint)).await? > 0)
    }

    async fn disabled_endpoints(&self) -> Result<Vec<DisabledEndpoint>, Error> {
        let rows = self.0.link.query("list disabled endpoints", sql::DISABLED_ENDPOINTS).await?;
        let read =
            |row: &Row| DisabledEndpoint { endpoint: string(row, 0), since: string(row, 1), reason: string(row, 2) };
        Ok(rows.iter().map(read).collect())
    }

    async fn inserted(&self) {
        std::future::pending().await
    }
}

/// Reads the leases that were locked.
fn held(sets: &[Vec<Row>]) -> Vec<Lease> {
    sets.iter().flatten().map(|row| Lease { id: uuid(row, 0), token: integer(row, 1) }).collect()
}

/// Returns the bytes of a cell, or `None` for null.
fn cell(row: &Row, at: usize) -> Option<&[u8]> {
    match row.as_ref(at) {
        Some(Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

/// Returns the text of a cell, or `None` for null.
fn optional_string(row: &Row, at: usize) -> Option<String> {
    cell(row, at).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn string(row: &Row, at: usize) -> String {
    optional_string(row, at).unwrap_or_default()
}

/// Returns the number in a cell; the text protocol writes numbers as digits.
fn integer(row: &Row, at: usize) -> i64 {
    match row.as_ref(at) {
        Some(Value::Int(number)) => *number,
        Some(Value::UInt(number)) => i64::try_from(*number).unwrap_or(i64::MAX),
        _ => optional_string(row, at).and_then(|text| text.parse().ok()).unwrap_or(0),
    }
}

/// Returns the id in a cell of sixteen bytes.
fn uuid(row: &Row, at: usize) -> Uuid {
    cell(row, at).and_then(|bytes| Uuid::from_slice(bytes).ok()).unwrap_or_default()
}
