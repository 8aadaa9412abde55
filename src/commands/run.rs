//! `run`: the main job.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::boot;
use crate::config::{Config, Overrides};
use crate::loader::Book;
use crate::loader::agreed::Agreed;
use crate::loader::service::End;

#[derive(Debug, Default, clap::Args)]
#[command(after_help = "Example: paper-engine-orders run --once --dry-run")]
pub(super) struct Args {
    /// One iteration, draining everything pending, then exit (RUN_AS_SERVICE=False)
    #[arg(long, conflicts_with = "service")]
    once: bool,
    /// Poll for ever (RUN_AS_SERVICE=True)
    #[arg(long)]
    service: bool,
    /// Do everything in one transaction and roll it back: the numbers of a real run, and nothing else (DRY_RUN=True)
    #[arg(long)]
    dry_run: bool,
    /// Leave a reload pending whose parts are not quiet yet, instead of waiting for it
    #[arg(long)]
    no_wait: bool,
    /// Do what `plan --out FILE` wrote, once, and nothing else; or refuse, if bucket or tables moved since
    #[arg(long, value_name = "FILE", conflicts_with_all = ["service", "no_wait"])]
    plan: Option<PathBuf>,
}

pub(super) async fn run(args: Args) -> anyhow::Result<End> {
    let once = (args.once || args.service || args.plan.is_some()).then_some(!args.service);
    // read first: a file that is no plan is no reason to ask anybody anything
    let book = args.plan.as_deref().map(agreed).transpose()?.map_or(Book::Closed, Book::keep);
    let overrides = Overrides { once, dry_run: args.dry_run.then_some(true), ..Overrides::default() };
    // boxed, like the corridor: futures within futures are deeper than the compiler likes
    Box::pin(boot::start(Config::from_env(overrides)?)?.run(!args.no_wait, book)).await
}

/// The plan that a file holds.
fn agreed(file: &Path) -> anyhow::Result<Agreed> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the plan {shown}"))?;
    Agreed::parse(&text).with_context(|| format!("the plan {shown}"))
}
