//! `check`: reports each thing that a run needs in one line, in the order configuration, source, target, broker, with
//! a hint about each problem. It continues after a failure as far as possible, and changes nothing.

mod broker;
mod configuration;
mod report;
mod source;
mod tables;
mod target;
mod view;

use std::io::Write;
use std::time::Duration;

use crate::loader::Error;
use crate::loader::service::End;
use crate::visible;
use report::Report;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  paper-engine-orders check\n  \
                  paper-engine-orders check --json | jq '.checks[] | select(.mark == \"fail\")'\n\n\
                  Ends with 0 if nothing failed, warnings aside, else with the code of the \
                  first failure: the one that a run would end with.")]
pub(super) struct Args {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Maximum time for one answer.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) async fn run(args: &Args) -> anyhow::Result<End> {
    let mut report = Report::default();
    let settings = configuration::check(&mut report);
    let feed = source::check(settings.source.as_ref(), &mut report).await;
    target::check(&settings, feed.as_ref(), &mut report).await;
    broker::check(settings.notifier.as_ref(), &mut report).await;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", visible::json(&serde_json::to_string(&report.document())?))?;
    } else {
        view::print(&report, super::term_format::OutputStyle::of_stdout(), &mut out)?;
    }
    Ok(report.end())
}

/// Returns the answer, or an error if it does not come in time.
async fn within<T, E: Into<Error>>(answer: impl Future<Output = Result<T, E>>) -> Result<T, Trouble> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(|error| Trouble::of(&error.into())),
        Err(_) => Err(Trouble { words: format!("no answer in {} s", PATIENCE.as_secs()), end: End::Unreachable }),
    }
}

/// Reason for a missing answer, and the result of a run without it.
struct Trouble {
    words: String,
    end: End,
}

impl Trouble {
    fn of(error: &Error) -> Self {
        Self { words: error.to_string(), end: crate::loader::service::end_of(error) }
    }
}
