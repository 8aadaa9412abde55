//! Defines what the timer asks of its database. Postgres and MySQL answer the same questions, each with its statements in one
//! file; one test-suite runs against both.

pub mod mysql;
mod overview;
pub mod postgres;
mod zone;

use std::future::Future;
use std::time::Duration;

use uuid::Uuid;

use crate::task::{Claimed, Completion, Lease, NewTask, Shown, Steered};

pub use overview::{COUNTED_MAX, EndpointCounts, Failure, LATE_AFTER, Overview};
pub use zone::Zone;

/// The pod's name in the lease rows; a new one for every start.
pub type Holder = Uuid;

/// What one claim asks for.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub holder: Holder,
    /// Most tasks that it takes.
    pub limit: usize,
    /// How far ahead of the database's present time it takes tasks.
    pub ahead: Duration,
    /// How long the lease lasts.
    pub lease: Duration,
    /// Whether rows below the lower bound are looked at too.
    pub full: bool,
}

/// A temporary failure, a refusal by the server, or a table that the timer cannot work with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server cannot be reached, or the connection was lost.
    #[error("cannot reach {place}: {why}")]
    Unreachable { place: String, why: String },
    /// The server does not let this user in.
    #[error("{place} refuses the connection: {why}. Check user, password and database name")]
    Denied { place: String, why: String },
    /// A statement failed.
    #[error("{what}: {why}")]
    Statement { what: &'static str, why: String, temporary: bool },
    /// The table is not one that the timer can work with.
    #[error("{0}")]
    Table(String),
    /// A setting is wrong.
    #[error("{0}")]
    Setting(String),
}

impl Error {
    /// Returns `true` if the same call may succeed later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Statement { temporary, .. } => *temporary,
            Self::Denied { .. } | Self::Table(_) | Self::Setting(_) => false,
        }
    }
}

/// What `prepare` and `check` found out about the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The server, with its version.
    pub server: String,
    /// Whether `timers` has a unique key on `timer_id`.
    pub has_key: bool,
    /// Whether an index leads to the tasks that are due.
    pub has_due_index: bool,
    /// Whether an index leads from an id to its row.
    pub has_id_index: bool,
    /// Decimal places of a second that `timer_invoke_time` keeps.
    pub precision: u8,
    /// Whether `timer_invoke_time` has no zone, so that TIMER_ZONE says what it means.
    pub zoneless: bool,
    /// The server's own time zone.
    pub server_zone: String,
    /// Faults that do not keep the timer from working, each with what to do.
    pub warnings: Vec<String>,
}

impl Facts {
    /// Adds the warnings that follow from the other facts.
    pub(crate) fn warn(&mut self, zone: &Zone) {
        let mut warn = |words: String| self.warnings.push(words);
        if !self.has_key {
            warn("timers has no unique key on timer_id: an id that stands there twice is fired once".to_owned());
        }
        if !self.has_due_index {
            warn("timers has no index for due tasks: every claim reads the whole table".to_owned());
        }
        if !self.has_id_index {
            warn("timers has no index on timer_id: every completion reads the whole table".to_owned());
        }
        if self.zoneless && !self.server_zone.is_empty() && !zone.is_same(&self.server_zone) {
            let server = &self.server_zone;
            warn(format!(
                "timer_invoke_time has no zone and is read as {zone} (TIMER_ZONE), but the server's own zone is {server}: whoever \
                 inserts now() means {server}"
            ));
        }
    }
}

/// Whether `prepare` may change the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepare {
    /// Create what is missing.
    Create,
    /// Change nothing: what is missing is an error.
    Look,
}

/// The questions that the timer asks of its database.
pub trait Store: Clone + Send + Sync + 'static {
    /// Connects, creates database, tables and indexes where they are missing, and looks at the table `timers`.
    fn prepare(&self, mode: Prepare) -> impl Future<Output = Result<Facts, Error>> + Send;

    /// Returns what `prepare` found.
    fn facts(&self) -> Facts;

    /// Claims waiting tasks, due retries and tasks whose lease has expired, in this order of need.
    fn claim(&self, claim: Claim) -> impl Future<Output = Result<Vec<Claimed>, Error>> + Send;

    /// Claims tasks that were parked for one endpoint.
    fn claim_parked(&self, claim: Claim, endpoint: &str) -> impl Future<Output = Result<Vec<Claimed>, Error>> + Send;

    /// Returns the stored names of the endpoints that have parked tasks.
    fn parked_endpoints(&self) -> impl Future<Output = Result<Vec<String>, Error>> + Send;

    /// Claims `executing` rows without a lease of this program that were due `after` ago or longer.
    fn adopt(&self, claim: Claim, after: Duration) -> impl Future<Output = Result<Vec<Claimed>, Error>> + Send;

    /// Writes how tasks ended, where the lease is still the holder's, and returns the leases that were.
    fn complete(&self, holder: Holder, ends: &[Completion]) -> impl Future<Output = Result<Vec<Lease>, Error>> + Send;

    /// Extends leases that are still the holder's, and returns them.
    fn extend(
        &self,
        holder: Holder,
        leases: &[Lease],
        by: Duration,
    ) -> impl Future<Output = Result<Vec<Lease>, Error>> + Send;

    /// Gives tasks back that were not started, each with the time until it is due: any pod can claim them at once. Returns how
    /// many were still the holder's.
    fn give_back(
        &self,
        holder: Holder,
        held: &[(Lease, Duration)],
    ) -> impl Future<Output = Result<usize, Error>> + Send;

    /// Brings further rows of an id to the state of the row that was fired. Only tables without a key have such rows.
    fn settle_duplicates(&self) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Finds the oldest open due times anew, so that claims need not step over what lies before them.
    fn find_lower_bound(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Counts the duplicates that were met since the start.
    fn duplicates_seen(&self) -> u64;

    /// Removes up to `limit` tasks that ended before `older` ago, and returns how many.
    fn purge(&self, older: Duration, limit: usize) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Counts tasks by state: those of `timers` that wait and are due, and those of `timer_attempts`.
    fn counts(&self) -> impl Future<Output = Result<Vec<(String, u64)>, Error>> + Send;

    /// Reads what the status page shows. Counts at most [`COUNTED_MAX`] rows of a kind.
    fn overview(&self) -> impl Future<Output = Result<Overview, Error>> + Send;

    /// Inserts a task.
    fn add(&self, task: &NewTask) -> impl Future<Output = Result<(), Error>> + Send;

    /// Returns up to `limit` tasks, of one state or of all, the latest due first.
    fn list(&self, state: Option<&str>, limit: usize) -> impl Future<Output = Result<Vec<Shown>, Error>> + Send;

    /// Returns one task.
    fn show(&self, id: Uuid) -> impl Future<Output = Result<Option<Shown>, Error>> + Send;

    /// Cancels a task that nobody holds.
    fn cancel(&self, id: Uuid) -> impl Future<Output = Result<Steered, Error>> + Send;

    /// Makes an ended task due now, its schedule of retries begun anew.
    fn retry(&self, id: Uuid) -> impl Future<Output = Result<Steered, Error>> + Send;

    /// Makes all tasks of an ended state due now, and returns how many.
    fn retry_all(&self, state: &str) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Returns the URLs of the next `limit` due tasks, and whether this program has ever fired anything here.
    fn preview(&self, limit: usize) -> impl Future<Output = Result<(Vec<String>, bool), Error>> + Send;

    /// Records that an endpoint gets no further requests.
    fn disable_endpoint(&self, endpoint: &str, reason: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// Lets an endpoint get requests again; returns `false` if it was not disabled.
    fn enable_endpoint(&self, endpoint: &str) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Returns the disabled endpoints, with since when and why.
    fn disabled_endpoints(&self) -> impl Future<Output = Result<Vec<DisabledEndpoint>, Error>> + Send;

    /// Resolves when somebody inserted a task that is due soon. Never resolves where the database cannot say so.
    fn inserted(&self) -> impl Future<Output = ()> + Send;
}

/// An endpoint that answered 410.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DisabledEndpoint {
    pub endpoint: String,
    pub since: String,
    pub reason: String,
}

/// Reads the headers of a task. What is not a list of pairs of text was written by somebody else: one header with an empty name,
/// which the sender refuses by name.
pub(crate) fn headers(text: Option<&str>) -> Vec<(String, String)> {
    let Some(text) = text else { return Vec::new() };
    serde_json::from_str(text).unwrap_or_else(|_| vec![(String::new(), text.chars().take(100).collect())])
}

/// Returns an instant as the databases write it, in UTC, rounded up to the column's decimal places: never early.
pub(crate) fn rounded_up(at: time::OffsetDateTime, precision: u8) -> Result<String, Error> {
    let step = 10_i128.pow(9 - u32::from(precision.min(6)));
    let nanos = at.unix_timestamp_nanos();
    let up = nanos.div_euclid(step) * step + if nanos.rem_euclid(step) == 0 { 0 } else { step };
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(up)
        .map_err(|_| Error::Setting("the due time is out of range".to_owned()))?;
    if !(1..=9999).contains(&at.year()) {
        return Err(Error::Setting("the due time is out of range: write a year from 1 to 9999".to_owned()));
    }
    Ok(pe_runtime::clock::stamp(at).replace('T', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn due_times_are_rounded_up_to_what_the_column_keeps() {
        let at = datetime!(2026-01-01 11:59:59.000_000_001 UTC);
        assert_eq!(rounded_up(at, 0).expect("time"), "2026-01-01 12:00:00.000000");
        assert_eq!(rounded_up(at, 3).expect("time"), "2026-01-01 11:59:59.001000");
        assert_eq!(rounded_up(at, 6).expect("time"), "2026-01-01 11:59:59.000001");
        let whole = datetime!(1090-05-01 00:00:00 UTC);
        assert_eq!(rounded_up(whole, 0).expect("time"), "1090-05-01 00:00:00.000000");
    }

    #[test]
    fn headers_that_somebody_else_wrote_badly_are_refused_later_by_the_sender() {
        assert_eq!(headers(Some(r#"[["a","b"]]"#)), [("a".to_owned(), "b".to_owned())]);
        assert_eq!(headers(None), []);
        assert_eq!(headers(Some("{"))[0].0, "");
    }
}
