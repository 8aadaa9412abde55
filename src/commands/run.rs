//! `run`: the main job.

use crate::boot;
use crate::config::{Config, Overrides};
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
}

pub(super) async fn run(args: Args) -> anyhow::Result<End> {
    let once = (args.once || args.service).then_some(args.once);
    let overrides = Overrides { once, dry_run: args.dry_run.then_some(true), ..Overrides::default() };
    // boxed, like the corridor: futures within futures are deeper than the compiler likes
    Box::pin(boot::start(Config::from_env(overrides)?)?.run(!args.no_wait)).await
}
