//! Reads from Postgres what the status page shows.

use std::time::Duration;

use tokio_postgres::Row;

use crate::store::{EndpointCounts, Error, Failure, Overview, Store};

use super::{Postgres, sql};

impl Postgres {
    /// Reads over a connection of its own, so that no lease waits for it.
    pub(super) async fn read_overview(&self) -> Result<Overview, Error> {
        let link = &self.0.looking;
        let late_sql = &self.statements().late;
        let (open, late, endpoints, failures) = tokio::try_join!(
            link.query("count tasks", sql::COUNTS, &[]),
            link.query("count late tasks", late_sql, &[]),
            link.query("count tasks by endpoint", sql::ENDPOINT_COUNTS, &[]),
            link.query("list failures", sql::FAILURES, &[]),
        )?;
        let number = |row: &Row, at: usize| u64::try_from(row.get::<_, i64>(at)).unwrap_or(0);
        let counts = |row: &Row| EndpointCounts {
            endpoint: row.get(0),
            done: number(row, 1),
            failed: number(row, 2),
            retry: number(row, 3),
            parked: number(row, 4),
        };
        let failure = |row: &Row| Failure {
            id: row.get(0),
            endpoint: row.get(1),
            state: row.get(2),
            reason: row.get(3),
            at: row.get(4),
        };
        Ok(Overview {
            open: open.iter().map(|row| (row.get(0), number(row, 1))).collect(),
            late: late.first().map_or(0, |row| number(row, 0)),
            latest: Duration::from_micros(late.first().map_or(0, |row| number(row, 1))),
            endpoints: endpoints.iter().map(counts).collect(),
            failures: failures.iter().map(failure).collect(),
            disabled: self.disabled_endpoints().await?,
        })
    }
}
