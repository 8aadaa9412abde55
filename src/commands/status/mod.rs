//! `status`: the state of each table of the feed, the cause of a stop, and what to do next. Lists the bucket as the
//! loader does, takes no lease and writes nothing.

mod view;

use std::io::Write;

use crate::decode::NullRule;
use crate::load::NullDecision;
use crate::loader::Error;
use crate::loader::service::End;
use crate::status::{Backlog, Report};
use crate::visible;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  paper-engine-orders status\n  \
                        paper-engine-orders status --json | jq '.tables[] | select(.stopped)'\n\n\
                        Ends with 1 if a table is stopped.")]
pub(super) struct Args {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<End> {
    let (boot, target, schema_version) = super::ledger(crate::config::LOOKS).await?;
    let plan = super::backlog::take(&boot, &target).await?;
    let states = target.tables().await.map_err(Error::from)?;
    let now = boot.clock.utc().unix_timestamp();
    let mut report = Report::new(&boot.feed(), &Backlog::of(&plan, now), &states, now);
    report.stop_tables(&target.table_stops().await.map_err(Error::from)?);
    report.schema_version = schema_version;
    report.messages_waiting = target.messages_waiting().await.map_err(Error::from)?;
    let others = target.other_scopes().await.map_err(Error::from)?;
    report.other_feeds = others.iter().map(ToString::to_string).collect();
    let given = NullRule::given(&boot.config.dialect).map(NullDecision::given);
    report.tell_nulls(&target.null_rules().await.map_err(Error::from)?, given.as_ref());
    for table in &plan.tables {
        if let Some(why) = target.lacks(&table.entity).await.map_err(Error::from)? {
            report.unmap(&table.entity, why);
        }
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", visible::json(&serde_json::to_string(&report)?))?;
    } else {
        view::print(&report, super::term_format::OutputStyle::of_stdout(), &mut out)?;
    }
    Ok(if report.is_stopped() { End::Stopped } else { End::Done })
}
