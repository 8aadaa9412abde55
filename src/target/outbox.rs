//! The outbox: `loader_notifications`. A message is written with the rows it speaks of; whoever publishes takes what
//! waits, in the order in which it was written, one publisher at a time.

use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};

use super::{Error, Feed, Target};
use crate::pg::{Parameter, Pg, Tx};

/// A message about a delivery, as it will be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    pub subject: String,
    /// stable over repeats: a hash of the delivery's identity and generation
    pub message_id: String,
    /// the exact bytes
    pub payload: String,
}

/// A message that waits.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub id: i64,
    pub delivery_id: i64,
    pub news: News,
}

/// The publisher's turn: nobody else publishes while it is held.
pub struct Turn {
    tx: Tx,
}

/// The advisory lock of the publisher: class and number.
const PUBLISHER: (i32, i32) = (super::LEASE_CLASS, -1);

/// Takes the publisher's turn; none if somebody else has it.
pub async fn take_turn(pg: &Pg) -> Result<Option<Turn>, Error> {
    let tx = pg.begin("publish").await?;
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&PUBLISHER.0, Type::INT4), (&PUBLISHER.1, Type::INT4)];
    // a crash may forget that messages were published; then they are sent again, with the same id
    let sql = "select pg_try_advisory_xact_lock($1, $2), set_config('synchronous_commit', 'off', true)";
    let row = tx.query_typed_one(sql, &parameters).await;
    if row.map_err(|error| tx.error(error))?.get(0) {
        return Ok(Some(Turn { tx }));
    }
    tx.rollback().await?;
    Ok(None)
}

impl Turn {
    /// What waits, oldest first, at most `most`.
    pub async fn waiting(&self, most: i64) -> Result<Vec<Waiting>, Error> {
        let sql = "select id, delivery_id, subject, message_id, payload from public.loader_notifications
            where published_at is null order by id limit $1";
        let rows = self.tx.query_typed(sql, &[(&most, Type::INT8)]).await;
        let rows = rows.map_err(|error| self.tx.error(error))?;
        let waiting = rows.iter().map(|row| Waiting {
            id: row.get("id"),
            delivery_id: row.get("delivery_id"),
            news: News { subject: row.get("subject"), message_id: row.get("message_id"), payload: row.get("payload") },
        });
        Ok(waiting.collect())
    }

    /// Notes that these messages were acknowledged, and ends the turn.
    pub async fn published(self, ids: &[i64]) -> Result<(), Error> {
        let sql = "update public.loader_notifications set published_at = clock_timestamp() where id = any($1)";
        self.tx.execute_typed(sql, &[(&ids, Type::INT8_ARRAY)]).await.map_err(|error| self.tx.error(error))?;
        Ok(self.tx.commit().await?)
    }
}

/// Writes a message, in the transaction of its delivery.
pub async fn write(tx: &Tx, delivery_id: i64, news: &News) -> Result<(), Error> {
    let (sql, parameters) = insert(tx, &delivery_id, news);
    tx.execute_typed(&sql, &parameters).await.map_err(|error| tx.error(error))?;
    Ok(())
}

/// The statement that writes it, with its parameters.
pub fn insert<'a>(tx: &Tx, delivery_id: &'a i64, news: &'a News) -> (String, Vec<Parameter<'a>>) {
    // a rehearsal draws no number
    let (column, id) = match tx.is_rehearsal() {
        true => ("id, ", "(select coalesce(max(id), 0) + 1 from public.loader_notifications), "),
        false => ("", ""),
    };
    let sql = format!(
        "insert into public.loader_notifications ({column}delivery_id, subject, message_id, payload)
         values ({id}$1, $2, $3, $4)"
    );
    let News { subject, message_id, payload } = news;
    let texts = [subject, message_id, payload].map(|text| (text as _, Type::TEXT));
    (sql, [(delivery_id as _, Type::INT8)].into_iter().chain(texts).collect())
}

/// How many messages wait.
pub async fn count_waiting(pg: &Pg) -> Result<i64, Error> {
    let tx = pg.begin("count messages").await?;
    let sql = "select count(*) from public.loader_notifications where published_at is null";
    let row = tx.query_typed_one(sql, &[]).await.map_err(|error| tx.error(error))?;
    let count = row.get(0);
    tx.rollback().await?;
    Ok(count)
}

/// Deletes messages that were published more than `days` days ago.
pub async fn prune(pg: &Pg, days: u32) -> Result<u64, Error> {
    let tx = pg.begin("prune messages").await?;
    let sql = "delete from public.loader_notifications where published_at < now() - make_interval(days => $1)";
    let days = i32::try_from(days).unwrap_or(i32::MAX);
    let pruned = tx.execute_typed(sql, &[(&days, Type::INT4)]).await.map_err(|error| tx.error(error))?;
    tx.commit().await?;
    Ok(pruned)
}

/// How many messages lie in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Republished {
    /// published once, and now waiting again
    pub again: u64,
    /// waiting already
    pub waiting: u64,
}

/// The feed's messages that were written from `$4` on and before `$5`.
const WITHIN: &str = "from public.loader_deliveries l
    where l.id = n.delivery_id and l.bucket = $1 and l.object_key >= $2 and ($3 is null or l.object_key < $3)
      and n.created_at >= to_timestamp($4) and n.created_at < to_timestamp($5)";

impl Target {
    /// Lets messages that were published wait again, so that they are sent once more, as they were; `since` and `until` are
    /// seconds since 1970. With `dry_run` they are only counted.
    pub async fn republish(&self, since: f64, until: f64, dry_run: bool) -> Result<Republished, Error> {
        let (from, to) = self.feed.keys();
        let parameters = span(&self.feed, &from, &to, &since, &until);
        let tx = self.pg.begin("republish").await?;
        let sql = format!(
            "select count(*) filter (where n.published_at is not null), count(*) filter (where n.published_at is null)
             from public.loader_notifications n where exists (select {WITHIN})"
        );
        let row = tx.query_typed_one(&sql, &parameters).await.map_err(|error| tx.error(error))?;
        let count = |column: usize| u64::try_from(row.get::<_, i64>(column)).unwrap_or(0);
        let mut found = Republished { again: count(0), waiting: count(1) };
        if !dry_run {
            let sql = format!(
                "update public.loader_notifications n set published_at = null {WITHIN} and n.published_at is not null"
            );
            found.again = tx.execute_typed(&sql, &parameters).await.map_err(|error| tx.error(error))?;
        }
        tx.commit().await?;
        Ok(found)
    }

    /// The feed's messages as JSON objects, newest first.
    pub async fn messages(&self, waiting: bool, limit: u32) -> Result<Vec<Value>, Error> {
        let sql = "select row_to_json(n)::text from public.loader_notifications n
            join public.loader_deliveries l on l.id = n.delivery_id
            where l.bucket = $1 and l.object_key >= $2 and ($3 is null or l.object_key < $3)
              and (not $4 or n.published_at is null)
            order by n.id desc limit $5";
        let ((from, to), limit) = (self.feed.keys(), i64::from(limit));
        let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
            (&self.feed.bucket, Type::TEXT),
            (&from, Type::TEXT),
            (&to, Type::TEXT),
            (&waiting, Type::BOOL),
            (&limit, Type::INT8),
        ];
        self.read(sql, &parameters).await
    }
}

fn span<'a>(
    feed: &'a Feed,
    from: &'a String,
    to: &'a Option<String>,
    since: &'a f64,
    until: &'a f64,
) -> [(&'a (dyn ToSql + Sync), Type); 5] {
    [(&feed.bucket, Type::TEXT), (from, Type::TEXT), (to, Type::TEXT), (since, Type::FLOAT8), (until, Type::FLOAT8)]
}
