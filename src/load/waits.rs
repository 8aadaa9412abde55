//! Deliveries that wait for rows of another table: their ledger rows stay pending, and say for what they wait since when, so
//! that it is known to later runs and to `status`.

use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};

use super::{Error, Target};

impl Target {
    /// Notes for what a delivery waits. Returns how long it has waited, which a dry run does not know.
    pub async fn note_wait(&self, id: i64, words: &str) -> Result<Duration, Error> {
        if self.is_rehearsal() {
            return Ok(Duration::ZERO);
        }
        // of a row that failed before and is tried again, the time of the first try counts
        let sql = "update public.loader_deliveries
            set error = case when status = 'pending' then $2 else error end,
                started_at = case when status = 'pending' and error is null then clock_timestamp() else started_at end
            where id = $1
            returning greatest(extract(epoch from clock_timestamp() - started_at), 0)::float8";
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&id, Type::INT8), (&words, Type::TEXT)];
        let tx = self.pg.begin("note what a delivery waits for").await?;
        let rows = tx.query_typed(sql, &parameters).await.map_err(|error| tx.error(error))?;
        tx.commit().await?;
        Ok(Duration::from_secs_f64(rows.first().map_or(0.0, |row| row.get(0))))
    }
}
