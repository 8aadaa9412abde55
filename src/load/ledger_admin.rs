//! Ledger queries and changes for operators: retry, release and skip.
//!
//! A retry or release is only requested here. The next iteration carries it out under the lease, like any other
//! delivery.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};

use super::catalog::{Refused, Table};
use super::{Error, Target, migrate};
use crate::pg::Tx;
use crate::source::{self, Entity, Object, Request, Status};

/// The delivery `$1`, and of a snapshot all parts of its generation that wait as it does: they are one.
const WHICH: &str = include_str!("ledger_admin_which.sql");

type Parameters<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

/// Filter for the ledger rows to show.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub status: Option<Status>,
    /// Id of one delivery.
    pub delivery: Option<i64>,
    /// The table's name as the feed has it, with or without its schema.
    pub entity: Option<String>,
    pub limit: u32,
}

/// Result of a request: the ledger rows that it changed, as JSON objects, at least one.
#[derive(Debug)]
pub struct Acted {
    pub id: i64,
    pub rows: Vec<Value>,
}

/// Parts of a failed generation without an own status in the ledger.
#[derive(Debug, Default)]
pub struct Rest {
    pub of: i64,
    pub parts: Vec<Object>,
}

/// State of one table of the feed in the ledger.
#[derive(Debug, Deserialize)]
pub struct TableState {
    pub schema: String,
    pub entity: String,
    /// `LastModified` of the newest loaded object, in seconds since 1970
    pub last_loaded: Option<i64>,
    /// The delivery that was committed last.
    pub last_delivery: Option<i64>,
    /// Number of rejected rows of that delivery, all parts together.
    pub rows_rejected: u64,
    /// Number of all quarantined rows; `quarantined_of` has the ids of their deliveries.
    pub quarantined: u64,
    pub quarantine: Vec<i64>,
    /// Stopped deliveries by id, including versions that the bucket no longer shows.
    pub stops: Vec<StopRow>,
    /// what its first delivery waits for, if that is a row of another table
    pub waits: Option<String>,
}

/// A ledger row that stops its table, unless there is a request for it.
#[derive(Debug, Clone, Deserialize)]
pub struct StopRow {
    pub id: i64,
    pub status: String,
    pub requested: Option<String>,
    pub key: String,
    pub snapshot: bool,
    pub why: Option<String>,
}

/// A row that was kept aside.
#[derive(Debug)]
pub struct Rejected {
    pub delivery: i64,
    pub key: String,
    pub line: i64,
    pub column: Option<String>,
    pub reason: String,
    /// The row's bytes as in the file.
    pub raw: Vec<u8>,
}

impl Request {
    pub fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Release => "release",
        }
    }

    /// Returns the SQL for the new `reason` of the ledger row.
    fn reason(self) -> &'static str {
        match self {
            Self::Retry => "null",
            Self::Release => "'released: ' || l.error",
        }
    }

    /// Returns the states in which the request is possible.
    fn states(self) -> &'static [&'static str] {
        match self {
            Self::Retry => &["failed", "held", "late"],
            Self::Release => &["held"],
        }
    }
}

/// The states of what can be skipped.
const SKIPS: &[&str] = &["failed", "held", "late", "gone"];

/// Returns the error message for a delivery in a state in which the request is not possible.
fn only(wish: &str) -> &'static str {
    match wish {
        "release" => "only a delivery that is held can be released",
        "skip" => "only a delivery that failed, is held, is late or is gone can be skipped",
        _ => "only a delivery that failed, is held or is late can be retried",
    }
}

/// Returns what an operator can do about a delivery in this state.
fn possible(status: &str) -> &'static str {
    match status {
        "failed" => "A failed delivery can be retried or skipped",
        "held" => "A held delivery can be released, retried or skipped",
        "late" => "A late delivery can be retried, which folds it in, or skipped",
        "gone" => "A delivery that is gone can be skipped, and is pending again once its file is in the bucket again",
        "pending" => "A pending delivery is loaded in its turn",
        "loaded" => "A loaded delivery is final",
        _ => "A skipped delivery is final; put the file into the bucket again to have it loaded",
    }
}

impl Target {
    /// Returns the version of the loader's own tables. Fails if this program does not know the version. Changes
    /// nothing.
    pub async fn schema_version(&self) -> Result<i32, Error> {
        Ok(migrate::bring_up_to_date(&self.pg, false).await?.version)
    }

    /// Returns ledger rows of the feed as JSON objects, newest first.
    pub async fn deliveries(&self, filter: &Filter) -> Result<Vec<Value>, Error> {
        let sql = "select row_to_json(l)::text from public.loader_deliveries l
            where scope = $1 and ($2 is null or status = $2)
              and ($3 is null or $3 in (entity, schema_name || '.' || entity))
            order by id desc limit $4";
        let scope = self.feed.id();
        let (status, limit) = (filter.status.map(Status::as_str), i64::from(filter.limit));
        let parameters: [(&(dyn ToSql + Sync), Type); 4] =
            [(&scope, Type::INT8), (&status, Type::TEXT), (&filter.entity, Type::TEXT), (&limit, Type::INT8)];
        self.read(sql, &parameters).await
    }

    /// Returns one row of the ledger as a JSON object; an error if it is of another scope.
    pub async fn delivery(&self, id: i64) -> Result<Value, Error> {
        let sql = "select row_to_json(l)::text from public.loader_deliveries l where id = $1";
        let row = self.read(sql, &[(&id, Type::INT8)]).await?.pop().ok_or(Error::NoDelivery { id })?;
        let scope = row["scope"].as_i64();
        if scope == Some(self.feed.id()) { Ok(row) } else { Err(self.of_another(id, scope).await?) }
    }

    /// Returns the ledger's state of each table of the feed.
    pub async fn tables(&self) -> Result<Vec<TableState>, Error> {
        let scope = self.feed.id();
        let rows = self.read(include_str!("ledger_admin_tables.sql"), &[(&scope, Type::INT8)]).await?;
        rows.into_iter().map(|row| serde_json::from_value(row).map_err(|_| Error::Garbled)).collect()
    }

    /// Returns the reason for which an entity has no table in the target, or `None` if it has one.
    pub async fn lacks(&self, entity: &Entity) -> Result<Option<String>, Error> {
        let tx = self.pg.begin("look a table up").await?;
        let found = Table::find(&tx, Some(&self.catalog), entity, self.settings.schema.as_deref()).await;
        tx.rollback().await?;
        match found {
            Err(error @ Error::Ambiguous { .. }) => Ok(Some(error.to_string())),
            Ok(None) if self.is_reserved(entity) => Ok(Some(Refused::Reserved.to_string())),
            found => Ok(found?.is_none().then(|| "no such table in the target; create it".to_owned())),
        }
    }

    /// Returns the rejected rows of the feed, those of the newest delivery first, in file order.
    pub async fn rejects(&self, filter: &Filter) -> Result<Vec<Rejected>, Error> {
        let sql = "select r.delivery_id, r.object_key, r.line, r.column_name, r.reason, r.raw
            from public.loader_rejects r join public.loader_deliveries l on l.id = r.delivery_id
            where l.scope = $1 and ($2 is null or l.id = $2)
              and ($3 is null or $3 in (l.entity, l.schema_name || '.' || l.entity))
            order by r.delivery_id desc, r.object_key, r.line limit $4";
        let (scope, limit) = (self.feed.id(), i64::from(filter.limit));
        let parameters: [(&(dyn ToSql + Sync), Type); 4] =
            [(&scope, Type::INT8), (&filter.delivery, Type::INT8), (&filter.entity, Type::TEXT), (&limit, Type::INT8)];
        let tx = self.pg.begin("read the rejects").await?;
        let rows = tx.query_typed(sql, &parameters).await.map_err(|error| tx.error(error))?;
        tx.rollback().await?;
        Ok(rows.iter().map(rejected).collect())
    }

    /// Requests a retry or a release of all these deliveries, or of none if one cannot be; the next iteration carries
    /// it out. The ledger records the operator, and for a release what was released.
    pub async fn request(&self, ids: &[i64], wish: Request, actor: &str) -> Result<Vec<Acted>, Error> {
        let (word, reason) = (wish.word(), wish.reason());
        let sql = format!(
            "update public.loader_deliveries l set requested = '{word}', actor = $5, reason = {reason}\n{WHICH}"
        );
        let tx = self.pg.begin("steer").await?;
        let acted = self.all(&tx, ids, &["held"], wish.states(), &sql, &[(&actor, Type::TEXT)]).await;
        self.end(tx, acted, ids, wish.word(), wish.states()).await
    }

    /// Skips all these deliveries, or none of them; their tables continue without them. The number of rows that a
    /// held one would have removed stays in its error, because as a count it would be added to real effects. `rest`
    /// names the parts of a failed generation that have no final ledger row.
    pub async fn skip(&self, ids: &[i64], actor: &str, reason: &str, rest: &[Rest]) -> Result<Vec<Acted>, Error> {
        let sql = format!(
            "update public.loader_deliveries l
             set status = 'skipped', requested = null, actor = $5, reason = $6, committed_at = clock_timestamp(),
                 rows_remove = 0
             {WHICH}"
        );
        let tx = self.pg.begin("steer").await?;
        let who: [(&(dyn ToSql + Sync), Type); 2] = [(&actor, Type::TEXT), (&reason, Type::TEXT)];
        let mut acted = self.all(&tx, ids, &["failed", "held"], SKIPS, &sql, &who).await;
        if let Ok(Ok(acted)) = &mut acted {
            for one in acted {
                for part in rest.iter().filter(|rest| rest.of == one.id).flat_map(|rest| &rest.parts) {
                    one.rows.append(&mut self.skip_part(&tx, one.id, part, actor, reason).await?);
                }
            }
        }
        self.end(tx, acted, ids, "skip", SKIPS).await
    }

    async fn skip_part(&self, tx: &Tx, id: i64, part: &Object, actor: &str, reason: &str) -> Result<Vec<Value>, Error> {
        let listed = &part.listed;
        let (size, modified, version) = (listed.size as i64, listed.modified as f64, env!("CARGO_PKG_VERSION"));
        let parameters: [(&(dyn ToSql + Sync), Type); 10] = [
            (&id, Type::INT8),
            (&listed.key, Type::TEXT),
            (&listed.etag, Type::TEXT),
            (&size, Type::INT8),
            (&modified, Type::FLOAT8),
            (&self.host, Type::TEXT),
            (&version, Type::TEXT),
            (&actor, Type::TEXT),
            (&reason, Type::TEXT),
            (&part.occurrence, Type::INT4),
        ];
        values(tx, include_str!("ledger_admin_rest.sql"), &parameters).await
    }

    /// Applies the same change to each delivery, or returns the id of one to which it cannot be applied. Rows that
    /// were changed together with an earlier delivery are not changed again.
    async fn all(
        &self,
        tx: &Tx,
        ids: &[i64],
        together: &[&str],
        states: &[&str],
        sql: &str,
        more: Parameters<'_>,
    ) -> Result<Result<Vec<Acted>, i64>, Error> {
        let scope = self.feed.id();
        let mut acted: Vec<Acted> = Vec::new();
        for id in ids {
            if acted.iter().flat_map(|one| &one.rows).any(|row| row["id"] == *id) {
                continue;
            }
            let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![
                (id, Type::INT8),
                (&together, Type::TEXT_ARRAY),
                (&scope, Type::INT8),
                (&states, Type::TEXT_ARRAY),
            ];
            parameters.extend_from_slice(more);
            let rows = values(tx, sql, &parameters).await?;
            if rows.is_empty() {
                return Ok(Err(*id));
            }
            acted.push(Acted { id: *id, rows });
        }
        Ok(Ok(acted))
    }

    /// Commits the changes to all deliveries, or rolls them back and returns the reason.
    async fn end(
        &self,
        tx: Tx,
        acted: Result<Result<Vec<Acted>, i64>, Error>,
        ids: &[i64],
        wish: &str,
        states: &[&str],
    ) -> Result<Vec<Acted>, Error> {
        match acted? {
            Ok(acted) => {
                tx.commit().await?;
                Ok(acted)
            }
            Err(id) => {
                tx.rollback().await?;
                Err(self.refusal(id, ids, only(wish), states).await?)
            }
        }
    }

    /// Returns the error for `first`, and for others of `ids`, to which the change cannot be applied.
    async fn refusal(&self, first: i64, ids: &[i64], only: &'static str, states: &[&str]) -> Result<Error, Error> {
        let mut bad = Vec::new();
        for id in ids.iter().copied().collect::<BTreeSet<i64>>() {
            match self.delivery(id).await {
                Err(error @ (Error::NoDelivery { .. } | Error::OtherFeed { .. })) => bad.push(error),
                row => {
                    let status = row?["status"].as_str().unwrap_or_default().to_owned();
                    let possible = possible(&status);
                    if id == first || !states.contains(&status.as_str()) {
                        bad.push(Error::NotInState { id, status, only, possible });
                    }
                }
            }
        }
        Ok(match (bad.pop(), bad.is_empty()) {
            (Some(alone), true) => alone,
            (last, _) => Error::NotThese { bad: bad.iter().chain(&last).map(short).collect(), only },
        })
    }

    /// Runs a query whose only column is JSON.
    pub(super) async fn read(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Value>, Error> {
        let tx = self.pg.begin("read the ledger").await?;
        let values = values(&tx, sql, parameters).await;
        tx.rollback().await?;
        values
    }
}

/// Returns a short form of an error, for a list of errors.
fn short(error: &Error) -> String {
    match error {
        Error::NotInState { id, status, .. } => format!("delivery {id} {}", source::stands(status)),
        other => other.to_string(),
    }
}

/// Returns the only column of an answer as JSON.
pub(super) async fn values(tx: &Tx, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Value>, Error> {
    let rows = tx.query_typed(sql, parameters).await.map_err(|error| tx.error(error))?;
    rows.iter().map(|row| serde_json::from_str(row.get(0)).map_err(|_| Error::Garbled)).collect()
}

fn rejected(row: &tokio_postgres::Row) -> Rejected {
    Rejected {
        delivery: row.get("delivery_id"),
        key: row.get("object_key"),
        line: row.get("line"),
        column: row.get("column_name"),
        reason: row.get("reason"),
        raw: row.get("raw"),
    }
}
