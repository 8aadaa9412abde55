//! Plans what the bucket has beyond the ledger, for read-only commands. Stops are ignored, so that the files that
//! wait behind a stop are in the plan too.

use futures_util::StreamExt;

use crate::app::App;
use crate::decode::File;
use crate::load::Target;
use crate::loader::Error;
use crate::source::{self, Entry, Known, Plan, PlanOptions, Request, Source};

/// Takes stock. Nothing is written, no lease is taken.
pub(super) async fn take(boot: &App, target: &Target) -> Result<Plan, Error> {
    let source = Source::connect(&boot.config.source, boot.config.dialect.order).await?;
    match look(&source, target).await {
        // a store that does not list in key order; the source knows it by now
        Err(Error::Source(source::Error::Unordered)) => look(&source, target).await,
        other => other,
    }
}

async fn look(source: &Source, target: &Target) -> Result<Plan, Error> {
    let known = target.known().await?;
    let entries = known.entries.map(|entry| entry.map(lifted));
    let (plan, _) = source.pending(Known { entries: Box::pin(entries) }, &PlanOptions::default()).await?;
    Ok(plan)
}

/// Returns the entry without its stop. A late file stays as it is, because the plan would end before a file that is
/// folded in.
fn lifted(mut entry: Entry) -> Entry {
    if entry.stops() {
        entry.requested = Some(match entry.file {
            File::Snapshot => Request::Retry,
            File::Changes => Request::Release,
        });
    }
    entry
}
