//! Cancels tasks, tries them again, removes old ones, and enables endpoints.

use std::io::Write;
use std::time::Duration;

use uuid::Uuid;

use crate::durations;
use crate::store::Store;
use crate::task::{Steered, stored_endpoint};

use super::Failure;

/// Tasks that one statement removes.
const PURGE_ROWS: usize = 1_000;

#[derive(clap::Args, Debug)]
pub(super) struct CancelArgs {
    /// The id of the task
    id: Uuid,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct RetryArgs {
    /// The id of a task that failed, was refused or cancelled
    id: Option<Uuid>,
    /// All tasks that failed
    #[arg(long)]
    failed: bool,
    /// All tasks that were refused
    #[arg(long)]
    refused: bool,
}

#[derive(clap::Args, Debug)]
pub(super) struct PurgeArgs {
    /// How long ago a task must have ended: 7d
    #[arg(long, value_name = "DURATION", value_parser = durations::parse)]
    older: Duration,
}

#[derive(clap::Subcommand, Debug)]
pub(super) enum EndpointsCommand {
    /// List endpoints that answered 410 Gone and get no requests.
    List,
    /// Let an endpoint get requests again. Its failed tasks stay failed: see `retry --failed`.
    Enable {
        /// As `endpoints list` shows it
        endpoint: String,
    },
}

pub(super) async fn cancel<S: Store>(args: &CancelArgs, store: &S) -> Result<(), Failure> {
    answer(args.id, store.cancel(args.id).await?, "is cancelled", "too late: a pod executes it")
}

pub(super) async fn retry<S: Store>(args: &RetryArgs, store: &S) -> Result<(), Failure> {
    if let Some(id) = args.id {
        return answer(id, store.retry(id).await?, "is due now", "not needed: a pod executes it");
    }
    let state = if args.failed { "failed" } else { "refused" };
    let number = store.retry_all(state).await?;
    writeln!(std::io::stdout(), "{number} {state} tasks are due now.")?;
    Ok(())
}

/// Says what became of a command on one task; only what was asked for is a success.
fn answer(id: Uuid, steered: Steered, done: &str, claimed: &str) -> Result<(), Failure> {
    match steered {
        Steered::Done => {
            writeln!(std::io::stdout(), "Task {id} {done}.")?;
            Ok(())
        }
        Steered::Unknown => Err(Failure::Failed(format!("there is no task {id}"))),
        Steered::Claimed => Err(Failure::Failed(format!("task {id}: {claimed}"))),
        Steered::Not(state) => Err(Failure::Failed(format!("task {id} is {state}"))),
    }
}

pub(super) async fn purge<S: Store>(args: &PurgeArgs, store: &S) -> Result<(), Failure> {
    let mut total = 0;
    loop {
        let removed = store.purge(args.older, PURGE_ROWS).await?;
        total += removed;
        if removed == 0 {
            break;
        }
    }
    writeln!(
        std::io::stdout(),
        "{total} tasks that ended more than {} ago were removed.",
        durations::show(args.older)
    )?;
    Ok(())
}

pub(super) async fn endpoints<S: Store>(command: &EndpointsCommand, store: &S) -> Result<(), Failure> {
    match command {
        EndpointsCommand::List => {
            for found in store.disabled_endpoints().await? {
                writeln!(std::io::stdout(), "{}  since {} UTC  {}", found.endpoint, found.since, found.reason)?;
            }
        }
        EndpointsCommand::Enable { endpoint } => {
            if !store.enable_endpoint(&stored_endpoint(endpoint)).await? {
                return Err(Failure::Failed(format!("{endpoint} is not disabled: see `endpoints list`")));
            }
            writeln!(std::io::stdout(), "{endpoint} gets requests again, within 10 s.")?;
        }
    }
    Ok(())
}
