//! The outbox: `loader_notifications`. A message is written with the rows it speaks of; whoever publishes takes what
//! waits, in the order in which it was written, one publisher at a time.

use tokio_postgres::types::{ToSql, Type};

use super::Error;
use crate::pg::{Pg, Tx};

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
    let row = tx.query_typed_one("select pg_try_advisory_xact_lock($1, $2)", &parameters).await;
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
    // a rehearsal draws no number
    let id = if tx.is_rehearsal() {
        "(select coalesce(max(id), 0) + 1 from public.loader_notifications)"
    } else {
        "default"
    };
    let sql = format!(
        "insert into public.loader_notifications (id, delivery_id, subject, message_id, payload)
         values ({id}, $1, $2, $3, $4)"
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
        (&delivery_id, Type::INT8),
        (&news.subject, Type::TEXT),
        (&news.message_id, Type::TEXT),
        (&news.payload, Type::TEXT),
    ];
    tx.execute_typed(&sql, &parameters).await.map_err(|error| tx.error(error))?;
    Ok(())
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
