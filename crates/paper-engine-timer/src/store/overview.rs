//! Defines what the status page reads: open tasks, late ones, endpoints, and what failed lately.

use std::time::Duration;

use super::DisabledEndpoint;

/// Rows of one kind that are counted; with more of them the page says that there are at least so many.
pub const COUNTED_MAX: u64 = 10_000;
/// A waiting task is late when it has been due for so long: until then a pod may be about to fire it.
pub const LATE_AFTER: Duration = Duration::from_secs(1);

/// What the status page shows of the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// Open tasks by state, as `counts` returns them.
    pub open: Vec<(String, u64)>,
    /// Waiting tasks that are late, up to [`COUNTED_MAX`].
    pub late: u64,
    /// How long the oldest of them has been due.
    pub latest: Duration,
    /// Endpoints with tasks that ended within the last hour, or that are to be tried again, those with failures first.
    pub endpoints: Vec<EndpointCounts>,
    /// The newest failures of the last hour.
    pub failures: Vec<Failure>,
    pub disabled: Vec<DisabledEndpoint>,
}

/// What became of the tasks of one endpoint within the last hour, and those that are to be tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointCounts {
    pub endpoint: String,
    pub done: u64,
    pub failed: u64,
    pub retry: u64,
    pub parked: u64,
}

/// A task that failed or was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    pub id: String,
    pub endpoint: String,
    pub state: String,
    pub reason: String,
    /// When it ended, in UTC, as the database writes it.
    pub at: String,
}

impl Overview {
    /// Returns the number of open tasks in a state.
    pub fn open_in(&self, state: &str) -> u64 {
        self.open.iter().find(|(found, _)| found == state).map_or(0, |(_, number)| *number)
    }
}
