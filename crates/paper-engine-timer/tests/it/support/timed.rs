//! A store that notes when each claim was answered and when its tasks were due by that answer. All else is the inner store's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use paper_engine_timer::store::{Claim, DisabledEndpoint, Error, Facts, Holder, Overview, Prepare, Store};
use paper_engine_timer::task::{Claimed, Completion, Lease, NewTask, Shown, Steered};
use uuid::Uuid;

use super::recorder;

/// The store, and the earliest instant at which each of its tasks may be fired.
#[derive(Clone)]
pub struct Timed<S> {
    inner: S,
    deadlines: Arc<Mutex<HashMap<String, Instant>>>,
}

impl<S> Timed<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, deadlines: Arc::default() }
    }

    /// Returns the earliest instants by task.
    pub fn deadlines(&self) -> HashMap<String, Instant> {
        self.deadlines.lock().unwrap().clone()
    }
}

/// Writes methods that do what the inner store does.
macro_rules! forward {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self, $($argument: $kind),*) -> impl Future<Output = $answer> + Send {
            self.inner.$name($($argument),*)
        })*
    };
}

impl<S: Store> Store for Timed<S> {
    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        let claimed = self.inner.claim(claim).await?;
        let answered = recorder::instant();
        let mut deadlines = self.deadlines.lock().unwrap();
        for task in &claimed {
            let wait = Duration::from_micros(u64::try_from(task.due_in_micros).unwrap_or(0));
            deadlines.insert(task.lease.id.to_string(), answered + wait);
        }
        Ok(claimed)
    }

    fn facts(&self) -> Facts {
        self.inner.facts()
    }

    fn duplicates_seen(&self) -> u64 {
        self.inner.duplicates_seen()
    }

    fn inserted(&self) -> impl Future<Output = ()> + Send {
        self.inner.inserted()
    }

    forward! {
        prepare(mode: Prepare) -> Result<Facts, Error>;
        claim_parked(claim: Claim, endpoint: &str) -> Result<Vec<Claimed>, Error>;
        parked_endpoints() -> Result<Vec<String>, Error>;
        adopt(claim: Claim, after: Duration) -> Result<Vec<Claimed>, Error>;
        complete(holder: Holder, ends: &[Completion]) -> Result<Vec<Lease>, Error>;
        extend(holder: Holder, leases: &[Lease], by: Duration) -> Result<Vec<Lease>, Error>;
        give_back(holder: Holder, held: &[(Lease, Duration)]) -> Result<usize, Error>;
        settle_duplicates() -> Result<u64, Error>;
        find_lower_bound() -> Result<(), Error>;
        purge(older: Duration, limit: usize) -> Result<u64, Error>;
        counts() -> Result<Vec<(String, u64)>, Error>;
        overview() -> Result<Overview, Error>;
        add(task: &NewTask) -> Result<(), Error>;
        list(state: Option<&str>, limit: usize) -> Result<Vec<Shown>, Error>;
        show(id: Uuid) -> Result<Option<Shown>, Error>;
        cancel(id: Uuid) -> Result<Steered, Error>;
        retry(id: Uuid) -> Result<Steered, Error>;
        retry_all(state: &str) -> Result<u64, Error>;
        preview(limit: usize) -> Result<(Vec<String>, bool), Error>;
        disable_endpoint(endpoint: &str, reason: &str) -> Result<(), Error>;
        enable_endpoint(endpoint: &str) -> Result<bool, Error>;
        disabled_endpoints() -> Result<Vec<DisabledEndpoint>, Error>;
    }
}
