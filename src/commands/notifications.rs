//! `notifications`: the messages about deliveries, and having them sent again.

use std::io::Write;

use serde_json::{Value, json};

use super::number;
use super::term_format::{self, count};
use super::when::{self, When};
use crate::load::{Republished, Target};
use crate::loader::Error;
use crate::loader::service::End;
use crate::visible;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List messages, newest first
    #[command(after_help = "Example: paper-engine-orders notifications list --waiting")]
    List(List),
    /// Send published messages again, with the same ids and bytes, in their order
    ///
    /// The next iteration sends them. Messages that were pruned (KEEP_MESSAGES) cannot be sent again, and a JetStream
    /// stream drops a repeat within its duplicate window.
    #[command(after_help = "Examples:\n  paper-engine-orders notifications republish --since 2h --dry-run\n  \
                            paper-engine-orders notifications republish --since '2026-11-21 14:00'")]
    Republish(Republish),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only messages that are not published yet
    #[arg(long)]
    waiting: bool,
    /// Maximum number of messages to print
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = number::parse::<u32>)]
    limit: u32,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Republish {
    /// Messages written at or after this time: 2026-11-21T14:02:37Z, '2026-11-21 14:02' (UTC), 2026-11-21, 2h or 3d
    /// (ago)
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: When,
    /// Messages written before this time; now by default
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<When>,
    /// Only count the messages
    #[arg(long)]
    dry_run: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: &Command) -> anyhow::Result<End> {
    let (boot, target, _) = super::ledger(crate::config::LOOKS).await?;
    match command {
        Command::List(list) => print_list(list, &target).await?,
        Command::Republish(wish) => republish(wish, &target, boot.clock.utc()).await?,
    }
    Ok(End::Done)
}

async fn republish(wish: &Republish, target: &Target, now: time::OffsetDateTime) -> anyhow::Result<()> {
    let (since, until) = (wish.since.at(now), wish.until.map_or(now, |until| until.at(now)));
    let (from, to) = (when::shown(since), when::shown(until));
    anyhow::ensure!(since < until, "--since ({from}) is not before --until ({to}). Swap them, or leave --until out");
    let seconds = |at: time::OffsetDateTime| at.unix_timestamp_nanos() as f64 / 1e9;
    let found = target.republish(seconds(since), seconds(until), wish.dry_run).await.map_err(Error::from)?;
    let Republished { again, waiting } = found;
    let mut out = std::io::stdout().lock();
    let span = format!("written from {} to {} UTC", when::shown(since), when::shown(until));
    let next = next(found, wish.dry_run);
    if wish.json {
        let (since, until) = (when::written(since.unix_timestamp()), when::written(until.unix_timestamp()));
        let said = json!({"since": since, "until": until, "dry_run": wish.dry_run, "republished": again,
                          "waiting_already": waiting, "next": next});
        writeln!(out, "{said}")?;
        return Ok(());
    }
    let verb = if wish.dry_run { "would be sent again" } else { "will be sent again" };
    let already = if waiting > 0 { format!(" ({waiting} more wait already)") } else { String::new() };
    writeln!(out, "{} {verb}{already}, {span}.", count(again, "message"))?;
    writeln!(out, "{next}")?;
    Ok(())
}

fn next(found: Republished, dry_run: bool) -> &'static str {
    match (found.again, dry_run) {
        (0, _) => "No published message lies there; older ones than KEEP_MESSAGES days are gone.",
        (_, true) => "Nothing was changed; without --dry-run they wait again.",
        (_, false) => {
            "The next iteration of a loader with NOTIFICATIONS=True sends them in their order, with the same ids and bytes."
        }
    }
}

async fn print_list(list: &List, target: &Target) -> anyhow::Result<()> {
    let rows = target.messages(list.waiting, list.limit).await.map_err(Error::from)?;
    let mut out = std::io::stdout().lock();
    if list.json {
        rows.iter().try_for_each(|row| writeln!(out, "{}", visible::json(row)))?;
        return Ok(());
    }
    if rows.is_empty() {
        writeln!(out, "No messages.")?;
        return Ok(());
    }
    writeln!(out, "{:>6} {:>8}  {:16}  {:16}  rows", "id", "delivery", "written", "published")?;
    for row in &rows {
        let time = |key: &str| row[key].as_str().map_or("waits".to_owned(), |at| at.chars().take(16).collect());
        let (id, delivery) = (row["id"].to_string(), row["delivery_id"].to_string());
        let (written, published) = (time("created_at").replace('T', " "), time("published_at").replace('T', " "));
        let start = format!("{id:>6} {delivery:>8}  {written:16}  {published:16}  ");
        writeln!(out, "{start}{}", stats(row, term_format::WIDTH - start.chars().count().min(term_format::WIDTH)))?;
    }
    Ok(())
}

/// Formats the counts of a message: `entity_1 +3 ~1 -0`. A long table name is truncated, the counts are not.
fn stats(row: &Value, width: usize) -> String {
    let payload: Value = serde_json::from_str(row["payload"].as_str().unwrap_or_default()).unwrap_or_default();
    let tables = payload["stats"].as_object().into_iter().flatten();
    let words = tables.map(|(table, ops)| {
        let counts = format!(" +{} ~{} -{}", ops["CREATE"], ops["AMEND"], ops["REMOVE"]);
        term_format::middle(&term_format::line(table, usize::MAX), width.saturating_sub(counts.len()).max(4)) + &counts
    });
    words.collect::<Vec<_>>().join(", ")
}
