//! What an operator reads of the ledger and may change in it: ask for another try, release what is held, skip.
//!
//! A retry or a release is only asked for here; the next iteration acts, under the lease, as for any other delivery.

use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};

use super::{Error, Target};
use crate::source::{Request, Status};

/// The delivery `$1`, and of a held snapshot all parts: they are one.
const WHICH: &str = include_str!("steering_which.sql");

/// Which rows of the ledger to show.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub status: Option<Status>,
    /// the table's name as the feed has it
    pub entity: Option<String>,
    pub limit: u32,
}

impl Request {
    fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Release => "release",
        }
    }

    /// The states in which it can be asked for.
    fn states(self) -> &'static [&'static str] {
        match self {
            Self::Retry => &["failed", "held", "late"],
            Self::Release => &["held"],
        }
    }
}

impl Target {
    /// Rows of the ledger as JSON objects, newest first.
    pub async fn deliveries(&self, filter: &Filter) -> Result<Vec<Value>, Error> {
        let sql = "select row_to_json(l)::text from public.loader_deliveries l
            where bucket = $1 and ($2 is null or status = $2) and ($3 is null or entity = $3)
            order by id desc limit $4";
        let (status, limit) = (filter.status.map(Status::as_str), i64::from(filter.limit));
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&self.feed.bucket, Type::TEXT),
            (&status, Type::TEXT),
            (&filter.entity, Type::TEXT),
            (&limit, Type::INT8),
        ];
        self.read(sql, &parameters).await
    }

    /// One row of the ledger as a JSON object.
    pub async fn delivery(&self, id: i64) -> Result<Value, Error> {
        let sql = "select row_to_json(l)::text from public.loader_deliveries l where id = $1";
        self.read(sql, &[(&id, Type::INT8)]).await?.pop().ok_or(Error::NoDelivery { id })
    }

    /// Asks for a retry or a release; the next iteration acts.
    pub async fn request(&self, id: i64, wish: Request) -> Result<(), Error> {
        let (word, states) = (wish.word(), wish.states());
        let sql = format!("update public.loader_deliveries l set requested = $2\n{WHICH} and l.status = any($3)");
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&id, Type::INT8), (&word, Type::TEXT), (&states, Type::TEXT_ARRAY)];
        self.change(id, &sql, &parameters, word, states).await
    }

    /// Gives a delivery up for good: its table goes on without it.
    pub async fn skip(&self, id: i64, actor: &str, reason: &str) -> Result<(), Error> {
        let sql = format!(
            "update public.loader_deliveries l
             set status = 'skipped', requested = null, actor = $2, reason = $3, committed_at = clock_timestamp()
             {WHICH} and l.status = any($4)"
        );
        let states: &[&str] = &["failed", "held", "late"];
        let parameters: [(&(dyn ToSql + Sync), Type); 4] =
            [(&id, Type::INT8), (&actor, Type::TEXT), (&reason, Type::TEXT), (&states, Type::TEXT_ARRAY)];
        self.change(id, &sql, &parameters, "skip", states).await
    }

    async fn read(&self, sql: &str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Value>, Error> {
        let tx = self.pg.begin("read the ledger").await?;
        let rows = tx.query_typed(sql, parameters).await.map_err(|error| tx.error(error))?;
        let values = rows.iter().map(|row| serde_json::from_str(row.get(0)).map_err(|_| Error::Garbled)).collect();
        tx.rollback().await?;
        values
    }

    async fn change(
        &self,
        id: i64,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
        wish: &'static str,
        states: &[&str],
    ) -> Result<(), Error> {
        let tx = self.pg.begin("steer").await?;
        let changed = tx.execute_typed(sql, parameters).await.map_err(|error| tx.error(error))?;
        tx.commit().await?;
        if changed > 0 {
            return Ok(());
        }
        let status = self.delivery(id).await?["status"].as_str().unwrap_or_default().to_owned();
        Err(Error::NotInState { id, status, wish, states: states.join(" or ") })
    }
}
