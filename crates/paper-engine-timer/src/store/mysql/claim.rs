//! Claims tasks in MySQL.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use mysql_async::Row;
use uuid::Uuid;

use crate::store::{Claim, Error};
use crate::task::{Claimed, Lease};

use super::link::{Tx, in_transaction};
use super::sql::{self, Ask, Taken};
use super::{MySql, cell, integer, optional_string, string, uuid};

type Done<T> = Result<T, mysql_async::Error>;

/// A waiting row that was locked.
struct Waiting<'a> {
    id: Uuid,
    url: &'a [u8],
    due: String,
    due_in: i64,
    token: i64,
}

/// The record that an id has already.
struct Known {
    state: String,
    token: i64,
    /// Rows of `timers` with the id, where the record is final.
    copies: i64,
}

impl MySql {
    /// Claims waiting tasks, due retries and expired leases, in one transaction.
    pub(super) async fn claim_due(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        let bounds = self.bounds(claim.full);
        let ask = |above| Ask { limit: claim.limit, ahead: claim.ahead, above };
        let (waiting, records) = (ask(bounds.waiting.as_deref()), ask(bounds.records.as_deref()));
        let read = [self.shape().waiting(&waiting), sql::retries(&records), sql::expired(&records)].join("; ");
        in_transaction!(self.0.link, "claim tasks", &read, |tx, sets| {
            let [waiting, rest @ ..] = sets.as_slice() else { return Ok(Vec::new()) };
            let mut claimed = self.take_waiting(tx, waiting, claim, "waiting").await?;
            let records: Vec<&Row> = rest.iter().flatten().collect();
            claimed.extend(take_records(tx, &records, claim).await?);
            add_requests(tx, &mut claimed).await?;
            Ok(claimed)
        })
    }

    /// Claims what a locking read of records finds.
    pub(super) async fn claim_records(&self, claim: Claim, read: &str) -> Result<Vec<Claimed>, Error> {
        in_transaction!(self.0.link, "claim tasks", read, |tx, sets| {
            let records: Vec<&Row> = sets.iter().flatten().collect();
            let mut claimed = take_records(tx, &records, claim).await?;
            add_requests(tx, &mut claimed).await?;
            Ok(claimed)
        })
    }

    /// Claims rows that are executing without a record.
    pub(super) async fn claim_orphans(&self, claim: Claim, after: Duration) -> Result<Vec<Claimed>, Error> {
        let read = self.shape().orphans(claim.limit, after);
        in_transaction!(self.0.link, "adopt tasks", &read, |tx, sets| {
            let rows = sets.first().map(Vec::as_slice).unwrap_or_default();
            let mut claimed = self.take_waiting(tx, rows, claim, "executing").await?;
            add_requests(tx, &mut claimed).await?;
            Ok(claimed)
        })
    }

    /// Makes leases of locked rows of `timers`. Rows of an id that has a record already follow that record: into its lease, to its
    /// end, or, if the row is the only one of its id and was made `waiting` again, into a new life.
    async fn take_waiting(&self, tx: &mut Tx, rows: &[Row], claim: Claim, status: &str) -> Done<Vec<Claimed>> {
        let rows: Vec<Waiting<'_>> = rows.iter().map(waiting).collect();
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let known = known(tx, &ids).await?;
        let mut plan = Plan::default();
        for row in &rows {
            plan.add(row, known.get(&row.id));
        }
        self.0.duplicates.fetch_add(plan.duplicates, Ordering::Relaxed);
        let statements = plan.statements(claim, status);
        if !statements.is_empty() {
            tx.run(&statements.join("; ")).await?;
        }
        Ok(plan.claimed)
    }
}

/// What is done with the rows of one claim.
#[derive(Default)]
struct Plan<'a> {
    fresh: Vec<Taken<'a>>,
    again: Vec<Taken<'a>>,
    claimed: Vec<Claimed>,
    /// Rows that follow a record that is in flight.
    follow: Vec<Uuid>,
    done: Vec<Uuid>,
    failed: Vec<Uuid>,
    duplicates: u64,
}

impl<'a> Plan<'a> {
    fn add(&mut self, row: &Waiting<'a>, known: Option<&Known>) {
        let seen = self.fresh.iter_mut().chain(&mut self.again).find(|taken| taken.id == row.id);
        if let Some(taken) = seen {
            taken.duplicates += 1;
            self.duplicates += 1;
            return;
        }
        let token = known.map_or(row.token, |known| row.token.max(known.token + 1));
        let due = row.due.clone();
        let taken = Taken { id: row.id, url: row.url, due, token, duplicates: 0 };
        match known {
            None => {
                self.fresh.push(taken);
                self.claimed.push(claimed(row, token));
            }
            Some(known) if known.copies == 1 => {
                self.again.push(taken);
                self.claimed.push(claimed(row, token));
            }
            Some(known) => {
                self.duplicates += 1;
                match (known.copies, known.state.as_str()) {
                    (0, _) => self.follow.push(row.id),
                    (_, "done") => self.done.push(row.id),
                    _ => self.failed.push(row.id),
                }
            }
        }
    }

    fn statements(&self, claim: Claim, status: &str) -> Vec<String> {
        let taken = self.fresh.iter().chain(&self.again).map(|taken| taken.id);
        let executing: Vec<Uuid> = taken.chain(self.follow.iter().copied()).collect();
        let mut all: Vec<String> = Vec::new();
        if status == "waiting" {
            all.extend(sql::move_tasks(&executing, "waiting", "executing"));
            all.extend(sql::move_tasks(&self.done, "waiting", "done"));
            all.extend(sql::move_tasks(&self.failed, "waiting", "failed"));
        }
        all.extend(sql::insert_leases(&self.fresh, claim.holder, claim.lease));
        all.extend(self.again.iter().map(|taken| sql::begin_again(taken, claim.holder, claim.lease)));
        let counted = self.follow.iter().chain(&self.done).chain(&self.failed);
        all.extend(counted.map(|id| sql::count_duplicate(*id)));
        all
    }
}

fn waiting(row: &Row) -> Waiting<'_> {
    Waiting {
        id: uuid(row, 0),
        url: cell(row, 1).unwrap_or_default(),
        due: string(row, 2),
        due_in: integer(row, 3),
        token: integer(row, 4),
    }
}

fn claimed(row: &Waiting<'_>, token: i64) -> Claimed {
    Claimed {
        lease: Lease { id: row.id, token },
        url: String::from_utf8_lossy(row.url).into_owned(),
        attempts: 0,
        due_in_micros: row.due_in,
        fresh: true,
        headers: Vec::new(),
        body: None,
        has_request: false,
    }
}

async fn known(tx: &mut Tx, ids: &[Uuid]) -> Done<HashMap<Uuid, Known>> {
    let sets = tx.run(&sql::known(ids)).await?;
    let read =
        |row: &Row| (uuid(row, 0), Known { state: string(row, 1), token: integer(row, 2), copies: integer(row, 3) });
    Ok(sets.iter().flatten().map(read).collect())
}

/// Makes leases of locked records.
async fn take_records(tx: &mut Tx, rows: &[&Row], claim: Claim) -> Done<Vec<Claimed>> {
    let read = |row: &&Row| Claimed {
        lease: Lease { id: uuid(row, 0), token: integer(row, 5).max(integer(row, 4) + 1) },
        url: string(row, 1),
        attempts: u32::try_from(integer(row, 2)).unwrap_or(0),
        due_in_micros: integer(row, 3),
        fresh: false,
        headers: Vec::new(),
        body: None,
        has_request: false,
    };
    let claimed: Vec<Claimed> = rows.iter().map(read).collect();
    let leases: Vec<(Uuid, i64)> = claimed.iter().map(|task| (task.lease.id, task.lease.token)).collect();
    if let Some(statement) = sql::take_records(&leases, claim.holder, claim.lease) {
        tx.run(&statement).await?;
    }
    Ok(claimed)
}

/// Adds headers and bodies to claimed tasks.
async fn add_requests(tx: &mut Tx, claimed: &mut [Claimed]) -> Done<()> {
    if claimed.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = claimed.iter().map(|task| task.lease.id).collect();
    for row in tx.run(&sql::requests(&ids)).await?.iter().flatten() {
        let id = uuid(row, 0);
        for task in claimed.iter_mut().filter(|task| task.lease.id == id) {
            task.has_request = true;
            task.headers = crate::store::headers(optional_string(row, 1).as_deref());
            task.body = cell(row, 2).map(Bytes::copy_from_slice);
        }
    }
    Ok(())
}
