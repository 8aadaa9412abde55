//! `run`: the main job.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::app;
use crate::config::{Config, Overrides};
use crate::loader::PlanMode;
use crate::loader::plan_file::PlanFile;
use crate::loader::service::End;
use crate::terminal::Stream;
use crate::visible;

#[derive(Debug, Default, clap::Args)]
#[command(after_help = "Examples:
  paper-engine-orders run --once --dry-run       what a run would do
  paper-engine-orders run --plan plan.json       what a plan showed
  paper-engine-orders run --once | tail -n1 | jq .tables

Exit codes, the highest that applies: 78 the configuration is wrong, \
69 something cannot be reached or messages still wait, 1 a table is stopped, \
75 another loader has the work in hand, 0 done.")]
pub(super) struct Args {
    /// Run one iteration, load everything pending, and exit (RUN_AS_SERVICE=False)
    #[arg(long, conflicts_with = "service")]
    once: bool,
    /// Poll forever (RUN_AS_SERVICE=True)
    #[arg(long)]
    service: bool,
    /// Do everything in one transaction and roll it back: same numbers as a real run, no changes (DRY_RUN=True)
    #[arg(long)]
    dry_run: bool,
    /// Leave a reload pending if its parts changed recently, instead of waiting
    #[arg(long)]
    no_wait: bool,
    /// Do exactly what the plan file of `plan --out FILE` says, once; refuse if bucket or tables have changed since
    #[arg(long, value_name = "FILE", conflicts_with_all = ["service", "no_wait"])]
    plan: Option<PathBuf>,
    /// Print a summary of the run as one line of JSON on stdout, also on a terminal; elsewhere a one-shot run always
    /// prints it
    #[arg(long, conflicts_with = "service")]
    summary: bool,
}

pub(super) async fn run(args: Args) -> anyhow::Result<End> {
    let once = (args.once || args.service || args.plan.is_some()).then_some(!args.service);
    // read first: a file that is no plan is no reason to ask anybody anything
    let book = args.plan.as_deref().map(agreed).transpose()?.map_or(PlanMode::Off, PlanMode::keep);
    let overrides = Overrides { once, dry_run: args.dry_run.then_some(true), ..Overrides::default() };
    // boxed, like the corridor: futures within futures are deeper than the compiler likes
    let run = app::start(Config::from_env(overrides)?)?.run(!args.no_wait, book);
    let (end, summary) = Box::pin(run).await?;
    if let Some(summary) = summary.filter(|_| args.summary || !Stream::Out.is_terminal()) {
        // The work is done, whether or not the summary can be written.
        drop(writeln!(std::io::stdout(), "{}", visible::json(&summary)));
    }
    Ok(end)
}

/// Reads a plan file.
fn agreed(file: &Path) -> anyhow::Result<PlanFile> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the plan {shown}"))?;
    PlanFile::parse(&text).with_context(|| format!("cannot read the plan {shown}"))
}
