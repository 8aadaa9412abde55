//! Answers the commands of the command line in MySQL.

use mysql_async::Row;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::store::{Error, Store, rounded_up};
use crate::task::{NewTask, Shown, Steered, When};

use super::link::{Tx, in_transaction};
use super::sql::{self, Taken};
use super::{MySql, cell, integer, optional_string, string, uuid};

/// Rows that one statement makes due.
const RETRY_ROWS: usize = 1_000;

impl MySql {
    /// Inserts a task, with its request if it has one.
    pub(super) async fn insert(&self, task: &NewTask) -> Result<(), Error> {
        let at = self.due_expression(task.at).await?;
        let insert = sql::add(task, &at);
        in_transaction!(self.0.link, "add the task", &insert, |_tx, _sets| { Ok(()) })
    }

    /// Returns the SQL expression of a new task's due time.
    async fn due_expression(&self, at: When) -> Result<String, Error> {
        let (facts, zone) = (self.facts(), self.0.zone.mysql());
        let convert = |text: &str, from: &str, to: &str| {
            if from == to { format!("'{text}'") } else { format!("convert_tz('{text}', '{from}', '{to}')") }
        };
        let column = if facts.zoneless { zone } else { "+00:00" };
        Ok(match at {
            When::Local(local) => convert(&rounded_up(local.assume_utc(), facts.precision)?, zone, column),
            When::At(at) => convert(&rounded_up(at, facts.precision)?, "+00:00", column),
            When::In(delay) => {
                let rows = self.0.link.query("ask for the time", sql::MICROS).await?;
                let now = rows.first().map_or(0, |row| integer(row, 0));
                let now = OffsetDateTime::from_unix_timestamp_nanos(i128::from(now) * 1000);
                let now = now.map_err(|error| Error::Setting(format!("the time is out of range: {error}")))?;
                convert(&rounded_up(now + delay, facts.precision)?, "+00:00", column)
            }
        })
    }

    /// Reads tasks as `list` and `show` print them.
    pub(super) async fn shown(
        &self,
        state: Option<&str>,
        only: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Shown>, Error> {
        let rows = self.0.link.query("list tasks", &self.shape().list(state, only, limit)).await?;
        Ok(rows.iter().map(shown).collect())
    }

    /// Cancels a task that nobody holds.
    pub(super) async fn cancel_task(&self, id: Uuid) -> Result<Steered, Error> {
        let read = format!("{}; {}", self.shape().lock_task(id), sql::lock_record(id));
        in_transaction!(self.0.link, "cancel the task", &read, |tx, sets| {
            let (task, record) = (first(&sets, 0), first(&sets, 1).map(|row| string(row, 0)));
            let statement = match (record.as_deref(), task.map(|row| string(row, 0)).as_deref()) {
                (Some("retry" | "parked"), _) => sql::cancel_record(id),
                (Some(state), _) => return Ok(Steered::of_state(state)),
                (None, Some("waiting")) => sql::insert_cancelled(&taken(id, task)),
                (None, Some(state)) => return Ok(Steered::of_state(state)),
                (None, None) => return exists(tx, id).await,
            };
            let ended = ["waiting", "executing"].map(|from| sql::move_tasks(&[id], from, "failed"));
            let all: Vec<String> = std::iter::once(statement).chain(ended.into_iter().flatten()).collect();
            tx.run(&all.join("; ")).await?;
            Ok(Steered::Done)
        })
    }

    /// Makes an ended task due now.
    pub(super) async fn retry_task(&self, id: Uuid) -> Result<Steered, Error> {
        let read = format!("{}; {}", self.shape().lock_task(id), sql::lock_record(id));
        in_transaction!(self.0.link, "retry the task", &read, |tx, sets| {
            let (task, record) = (first(&sets, 0), first(&sets, 1).map(|row| string(row, 0)));
            let only = format!("timer_id = {}", super::text::id(id));
            let statements = match (record.as_deref(), task.map(|row| string(row, 0)).as_deref()) {
                (Some("failed" | "refused" | "cancelled" | "retry"), _) => {
                    vec![Some(sql::retry_records(&only)), sql::move_tasks(&[id], "failed", "executing")]
                }
                (Some(state), _) => return Ok(Steered::of_state(state)),
                (None, Some("failed")) => vec![sql::move_tasks(&[id], "failed", "waiting")],
                (None, Some(state)) => return Ok(Steered::of_state(state)),
                (None, None) => return exists(tx, id).await,
            };
            tx.run(&statements.into_iter().flatten().collect::<Vec<_>>().join("; ")).await?;
            Ok(Steered::Done)
        })
    }

    /// Makes all tasks of an ended state due now.
    pub(super) async fn retry_state(&self, state: &str) -> Result<u64, Error> {
        let mut total = 0;
        loop {
            let read = sql::in_state(state, RETRY_ROWS);
            let made = in_transaction!(self.0.link, "retry tasks", &read, |tx, sets| {
                let ids: Vec<Uuid> = sets.iter().flatten().map(|row| uuid(row, 0)).collect();
                if !ids.is_empty() {
                    let these = format!("timer_id in ({})", super::text::ids(ids.iter().copied()));
                    let tasks = sql::move_tasks(&ids, "failed", "executing");
                    let all: Vec<String> = std::iter::once(sql::retry_records(&these)).chain(tasks).collect();
                    tx.run(&all.join("; ")).await?;
                }
                Ok(ids.len() as u64)
            })?;
            total += made;
            if made == 0 {
                return Ok(total);
            }
        }
    }
}

fn first(sets: &[Vec<Row>], at: usize) -> Option<&Row> {
    sets.get(at).and_then(|rows| rows.first())
}

fn taken(id: Uuid, row: Option<&Row>) -> Taken<'_> {
    let due = row.map(|row| string(row, 2)).unwrap_or_default();
    let (url, token) = (row.and_then(|row| cell(row, 1)).unwrap_or_default(), row.map_or(0, |row| integer(row, 3)));
    Taken { id, url, due, token, duplicates: 0 }
}

/// Tells a task that is locked from one that is not there.
async fn exists(tx: &mut Tx, id: Uuid) -> Result<Steered, mysql_async::Error> {
    let rows = tx.run(&format!("select 1 from timers where timer_id = {} limit 1", super::text::id(id))).await?;
    Ok(if rows.iter().flatten().next().is_some() { Steered::Claimed } else { Steered::Unknown })
}

fn shown(row: &Row) -> Shown {
    Shown {
        id: uuid(row, 0).to_string(),
        url: string(row, 1),
        state: string(row, 2),
        due: string(row, 3),
        attempts: integer(row, 4),
        next: optional_string(row, 5),
        finished: optional_string(row, 6),
        status: optional_string(row, 7).and_then(|text| text.parse().ok()),
        reason_kind: optional_string(row, 8),
        reason: optional_string(row, 9),
        duplicates: integer(row, 10),
    }
}
