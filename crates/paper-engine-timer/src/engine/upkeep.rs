//! Does what is due now and then: extends leases, reads which endpoints are disabled, removes old tasks, counts.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::attempt::{Endpoint, Sender};
use crate::store::{Error, Store};
use crate::task::stored_endpoint;

use super::Shared;
use super::held::BootInstant;

/// Rows that retention removes with one statement, and how many statements it may send in one turn.
const PURGE_ROWS: usize = 500;
const PURGE_TURNS: usize = 20;
const SLOWLY: Duration = Duration::from_secs(10);

/// Works until it is aborted.
pub(super) async fn run<S: Store, X: Sender>(
    shared: Arc<Shared<S, X>>,
    mut gone: mpsc::UnboundedReceiver<(Endpoint, String)>,
) {
    let mut often = interval(shared.options.lease / 6);
    let mut slowly = interval(SLOWLY);
    often.set_missed_tick_behavior(MissedTickBehavior::Delay);
    slowly.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = often.tick() => told("extend leases", extend(&shared).await),
            _ = slowly.tick() => told("upkeep", slow(&shared).await),
            Some((endpoint, reason)) = gone.recv() => {
                let name = stored_endpoint(endpoint.as_str());
                told("disable the endpoint", shared.store.disable_endpoint(&name, &reason).await);
            }
        }
    }
}

/// Extends leases of which a third is over.
async fn extend<S: Store, X: Sender>(shared: &Shared<S, X>) -> Result<(), Error> {
    let lease = shared.options.lease;
    let expiring = shared.held.expiring(BootInstant::now() + lease * 2 / 3);
    if expiring.is_empty() {
        return Ok(());
    }
    let expires = BootInstant::now() + lease;
    let ours = shared.store.extend(shared.holder, &expiring, lease).await?;
    ours.iter().for_each(|lease| shared.held.extend(*lease, expires));
    Ok(())
}

async fn slow<S: Store, X: Sender>(shared: &Shared<S, X>) -> Result<(), Error> {
    read_disabled(shared).await?;
    shared.metrics.count(&shared.store.counts().await?);
    let Some(keep) = shared.options.keep else { return Ok(()) };
    for _ in 0..PURGE_TURNS {
        let removed = shared.store.purge(keep, PURGE_ROWS).await?;
        shared.metrics.purged.inc_by(removed);
        if removed < PURGE_ROWS as u64 {
            break;
        }
    }
    Ok(())
}

/// Reads which endpoints get no requests.
pub(super) async fn read_disabled<S: Store, X>(shared: &Shared<S, X>) -> Result<(), Error> {
    let found = shared.store.disabled_endpoints().await?.into_iter().map(|found| found.endpoint).collect();
    *shared.disabled.write().unwrap_or_else(PoisonError::into_inner) = found;
    Ok(())
}

fn told(what: &str, done: Result<(), Error>) {
    if let Err(error) = done {
        tracing::warn!("Upkeep ({what}) failed and is tried again: {error}.");
    }
}
