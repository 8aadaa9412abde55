//! `plan`: the dry run as a readable report, and as a file that `run --plan` holds itself to. One transaction, rolled back:
//! nothing of it is seen afterwards.

mod left;
mod page;
mod text;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::when;
use crate::app::{self, App};
use crate::config::{Config, Overrides};
use crate::load::settings::Share;
use crate::load::{Filter, Target};
use crate::loader::plan_file::{Counts, PlanFile, VERSION};
use crate::loader::service::End;
use crate::loader::{Error, Loader, PlanMode};
use crate::source::{Request, Status};
use crate::visible;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: paper-engine-orders plan --out plan.json --html plan.html

Then `run --plan plan.json` does what it shows, or refuses. \
Ends with the code that the run would end with. The keys are data: --keys 0 shows none.")]
pub(super) struct Args {
    /// One JSON object instead of the table
    #[arg(long)]
    json: bool,
    /// Also write the plan as an HTML page: one file that loads nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the plan file for `run --plan FILE`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show what releasing all held snapshots would do, however much they remove
    #[arg(long, conflicts_with_all = ["out", "html"])]
    released: bool,
    /// Number of sample keys to show of the rows that each delivery creates, amends and removes
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=1000))]
    keys: u16,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<End> {
    let overrides = Overrides { silent: true, once: Some(true), dry_run: Some(true), ..Overrides::default() };
    let mut boot = app::start_quietly(Config::from_env(overrides)?)?;
    // Do not wait for reloads: the transaction would stay open, and the result would be the same.
    boot.config.settle = Duration::ZERO;
    if args.released {
        boot.config.target.max_remove = Share::Percent(100.0);
    }
    let (end, agreed) = Box::pin(rehearse(&boot, args)).await?;
    anyhow::ensure!(!boot.stopper.requested(), "stopped before it was done; there is no plan, and nothing was changed");
    let json = visible::json(&serde_json::to_string_pretty(&agreed)?) + "\n";
    if let Some(file) = &args.out {
        write(file, &json)?;
    }
    if let Some(file) = &args.html {
        write(file, &page::html(&agreed, usize::from(args.keys))?)?;
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        out.write_all(json.as_bytes())?;
    } else {
        if args.released {
            writeln!(out, "As if what is held were released.")?;
        }
        text::print(&agreed, usize::from(args.keys), args.out.as_deref(), &mut out)?;
    }
    Ok(end)
}

/// Does everything pending in a transaction that is rolled back, and returns the result and the plan.
async fn rehearse(boot: &App, args: &Args) -> Result<(End, PlanFile), Error> {
    let stage = boot.target()?.rehearse().await?.with_look(usize::from(args.keys));
    app::ready(&stage).await?;
    if args.released {
        release(&stage).await?;
    }
    let mut loader = boot.loader(stage.clone(), PlanMode::draft()).await?;
    let end = loader.once(true).await;
    let agreed = match &end {
        Ok(end) => Some(agreed(boot, &stage, &loader, *end).await),
        Err(_) => None,
    };
    stage.end_rehearsal().await?;
    Ok((end?, agreed.transpose()?.unwrap_or_default()))
}

/// Releases held snapshots in the dry run. As with any release, a snapshot may remove at most as many rows as were
/// shown.
async fn release(stage: &Target) -> Result<(), Error> {
    let held = Filter { status: Some(Status::Held), limit: u32::MAX, ..Filter::default() };
    let rows = stage.deliveries(&held).await?;
    let ids: Vec<i64> = rows.iter().filter_map(|row| row["id"].as_i64()).collect();
    stage.request(&ids, Request::Release, "plan").await?;
    Ok(())
}

async fn agreed(boot: &App, stage: &Target, loader: &Loader, end: End) -> Result<PlanFile, Error> {
    let (tables, troubles) = loader.drafted();
    let (left, place) = (left::of(boot, stage, &tables, &troubles).await?, loader.place().await?);
    let mut counts = Counts::default();
    tables.iter().for_each(|table| counts.add(table.counts));
    Ok(PlanFile {
        v: VERSION,
        made_at: when::written(boot.clock.utc().unix_timestamp()),
        made_by: env!("CARGO_PKG_VERSION").to_owned(),
        bucket: place.bucket,
        path: place.path,
        database: place.database,
        settings: place.settings,
        exit_code: end.code(),
        counts,
        tables,
        left,
    })
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
