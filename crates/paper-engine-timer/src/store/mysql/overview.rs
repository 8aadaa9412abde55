//! Reads from MySQL what the status page shows.

use std::time::Duration;

use mysql_async::Row;

use crate::store::{EndpointCounts, Error, Failure, Overview, Store};

use super::{MySql, integer, sql, string, uuid};

impl MySql {
    pub(super) async fn read_overview(&self) -> Result<Overview, Error> {
        let link = &self.0.link;
        let late = link.query("count late tasks", &self.shape().late()).await?;
        let endpoints = link.query("count tasks by endpoint", &sql::endpoint_counts()).await?;
        let failures = link.query("list failures", &sql::failures()).await?;
        let number = |row: &Row, at: usize| u64::try_from(integer(row, at)).unwrap_or(0);
        let counts = |row: &Row| EndpointCounts {
            endpoint: string(row, 0),
            done: number(row, 1),
            failed: number(row, 2),
            retry: number(row, 3),
            parked: number(row, 4),
        };
        let failure = |row: &Row| Failure {
            id: uuid(row, 0).to_string(),
            endpoint: string(row, 1),
            state: string(row, 2),
            reason: string(row, 3),
            at: string(row, 4),
        };
        Ok(Overview {
            open: self.counts().await?,
            late: late.first().map_or(0, |row| number(row, 0)),
            latest: Duration::from_micros(late.first().map_or(0, |row| number(row, 1))),
            endpoints: endpoints.iter().map(counts).collect(),
            failures: failures.iter().map(failure).collect(),
            disabled: self.disabled_endpoints().await?,
        })
    }
}
