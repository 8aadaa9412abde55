//! The outbox, `loader_notifications`. A message is written in the transaction of the rows that it describes. A
//! publisher sends the waiting messages in the order in which they were written; there is one publisher at a time.

use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};

use super::{Error, Feed, Target};
use crate::pg::{self, Call, Parameter, Pg, Tx, calls};

/// A message about a delivery, as it will be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    pub subject: String,
    /// Stable over repeats: a hash of the delivery's identity and generation. What is written to the outbox is a hash of this
    /// and the identity of the database.
    pub message_id: String,
    /// The exact bytes.
    pub payload: String,
}

/// A message that waits.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub id: i64,
    pub delivery_id: i64,
    pub news: News,
}

/// Publisher's lock of one scope: no other process publishes its messages while it is held.
pub struct Turn {
    tx: Tx,
    scope: i64,
}

/// The class of the publishers' advisory locks: "pep" in ASCII. The second number is the low half of the scope's id: two
/// scopes that share it wait for each other, which costs time only.
const PUBLISHER_CLASS: i32 = 0x70_65_70;

/// Acquires the publisher's lock of a scope, or returns `None` if another process holds it.
pub async fn take_turn(pg: &Pg, feed: &Feed) -> Result<Option<Turn>, Error> {
    let tx = pg.begin("publish").await?;
    let (scope, number) = (feed.id(), feed.id() as i32);
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&PUBLISHER_CLASS, Type::INT4), (&number, Type::INT4)];
    // after a crash, messages that were published may be sent again, with the same id
    let sql = format!(
        "select pg_try_advisory_xact_lock($1, $2), set_config('synchronous_commit', 'off', true), {}",
        pg::IDLE_TIMEOUT
    );
    let row = tx.query_typed_one(&sql, &parameters).await;
    if row.map_err(|error| tx.error(error))?.get(0) {
        return Ok(Some(Turn { tx, scope }));
    }
    tx.rollback().await?;
    Ok(None)
}

impl Turn {
    /// Returns the scope's messages that wait and have higher ids than `after`, oldest first, at most `most`.
    pub async fn waiting(&self, after: i64, most: i64) -> Result<Vec<Waiting>, Error> {
        let sql = "select id, delivery_id, subject, message_id, payload from public.loader_notifications
            where scope = $1 and id > $2 and published_at is null order by id limit $3";
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&self.scope, Type::INT8), (&after, Type::INT8), (&most, Type::INT8)];
        let rows = self.tx.query_typed(sql, &parameters).await;
        let rows = rows.map_err(|error| self.tx.error(error))?;
        let waiting = rows.iter().map(|row| Waiting {
            id: row.get("id"),
            delivery_id: row.get("delivery_id"),
            news: News { subject: row.get("subject"), message_id: row.get("message_id"), payload: row.get("payload") },
        });
        Ok(waiting.collect())
    }

    /// Records that these messages were acknowledged, and releases the lock.
    pub async fn published(self, ids: &[i64]) -> Result<(), Error> {
        let sql = "update public.loader_notifications set published_at = clock_timestamp() where id = any($1)";
        self.tx.execute_typed(sql, &[(&ids, Type::INT8_ARRAY)]).await.map_err(|error| self.tx.error(error))?;
        Ok(self.tx.commit().await?)
    }
}

/// Writes a message, in the transaction of its delivery.
pub async fn write(tx: &Tx, delivery_id: i64, feed: &Feed, news: &News) -> Result<(), Error> {
    let (scope, draws) = (feed.id(), !tx.is_rehearsal());
    let (sql, parameters) = calls(vec![call(&delivery_id, &scope, news, &draws)]);
    tx.execute_typed(&sql, &parameters).await.map_err(|error| tx.error(error))?;
    Ok(())
}

/// Returns the call of the SQL function that writes the message. A dry run draws no id from the sequence.
pub fn call<'a>(delivery_id: &'a i64, scope: &'a i64, news: &'a News, draws: &'a bool) -> Call<'a> {
    let News { subject, message_id, payload } = news;
    let parameters: Vec<Parameter<'a>> = vec![
        (delivery_id, Type::INT8),
        (subject, Type::TEXT),
        (message_id, Type::TEXT),
        (payload, Type::TEXT),
        (scope, Type::INT8),
        (draws, Type::BOOL),
    ];
    ("loader_write_message", parameters)
}

/// Returns the number of the scope's messages that wait.
pub async fn count_waiting(pg: &Pg, feed: &Feed) -> Result<i64, Error> {
    let tx = pg.begin("count messages").await?;
    let sql = "select count(*) from public.loader_notifications where scope = $1 and published_at is null";
    let row = tx.query_typed_one(sql, &[(&feed.id(), Type::INT8)]).await.map_err(|error| tx.error(error))?;
    let count = row.get(0);
    tx.rollback().await?;
    Ok(count)
}

/// Deletes messages of the scope that were published more than `days` days ago.
pub async fn prune(pg: &Pg, feed: &Feed, days: u32) -> Result<u64, Error> {
    let tx = pg.begin("prune messages").await?;
    let sql = "delete from public.loader_notifications
        where scope = $1 and published_at < now() - make_interval(days => $2)";
    let days = i32::try_from(days).unwrap_or(i32::MAX);
    let pruned = tx
        .execute_typed(sql, &[(&feed.id(), Type::INT8), (&days, Type::INT4)])
        .await
        .map_err(|error| tx.error(error))?;
    tx.commit().await?;
    Ok(pruned)
}

/// Number of messages in a period of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Republished {
    /// Published once, and now waiting again.
    pub again: u64,
    /// Waiting already.
    pub waiting: u64,
}

/// The scope's messages that were written from `$2` on and before `$3`.
const WITHIN: &str = "n.scope = $1 and n.created_at >= to_timestamp($2) and n.created_at < to_timestamp($3)";

impl Target {
    /// Marks published messages as waiting, so that they are sent once more, unchanged. `since` and `until` are
    /// seconds since 1970. With `dry_run` the messages are only counted.
    pub async fn republish(&self, since: f64, until: f64, dry_run: bool) -> Result<Republished, Error> {
        let scope = self.feed.id();
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&scope, Type::INT8), (&since, Type::FLOAT8), (&until, Type::FLOAT8)];
        let tx = self.pg.begin("republish").await?;
        let sql = format!(
            "select count(*) filter (where n.published_at is not null), count(*) filter (where n.published_at is null)
             from public.loader_notifications n where {WITHIN}"
        );
        let row = tx.query_typed_one(&sql, &parameters).await.map_err(|error| tx.error(error))?;
        let count = |column: usize| u64::try_from(row.get::<_, i64>(column)).unwrap_or(0);
        let mut found = Republished { again: count(0), waiting: count(1) };
        if !dry_run {
            let sql = format!(
                "update public.loader_notifications n set published_at = null where {WITHIN} and n.published_at is not null"
            );
            found.again = tx.execute_typed(&sql, &parameters).await.map_err(|error| tx.error(error))?;
        }
        tx.commit().await?;
        Ok(found)
    }

    /// Returns the feed's messages as JSON objects, newest first.
    pub async fn messages(&self, waiting: bool, limit: u32) -> Result<Vec<Value>, Error> {
        let sql = "select row_to_json(n)::text from public.loader_notifications n
            where n.scope = $1 and (not $2 or n.published_at is null)
            order by n.id desc limit $3";
        let (scope, limit) = (self.feed.id(), i64::from(limit));
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&scope, Type::INT8), (&waiting, Type::BOOL), (&limit, Type::INT8)];
        self.read(sql, &parameters).await
    }
}
