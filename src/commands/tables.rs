//! `tables`: shows what the loader left in each table, and takes requests for tables that are no longer what was
//! loaded.

use std::io::Write;

use clap::Subcommand;
use serde_json::{Value, json};

use super::deliveries;
use super::term_format::{self, OutputStyle};
use crate::load::{Target, Wish};
use crate::loader::Error;
use crate::loader::service::End;
use crate::status;
use crate::visible;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the loaded tables with the number of rows that were left in each, and the cause of a stop of the table
    /// itself
    #[command(after_help = "Example: paper-engine-orders tables list --json | jq 'select(.status)'")]
    List {
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Request that a table be loaded again from its newest full load and the change files after it; the next
    /// iteration carries it out
    ///
    /// The table's files must be in the bucket as they were loaded, or there must be a new full load.
    #[command(after_help = "Example: paper-engine-orders tables reload dbo.orders")]
    Reload {
        #[command(flatten)]
        one: One,
        /// Reason, which is kept in the ledger
        #[arg(long, value_parser = deliveries::reason)]
        reason: Option<String>,
    },
    /// Accept a stopped table as it is; the next iteration continues from its present rows
    ///
    /// Rows of loaded files that the table lacks remain missing until its next full load.
    #[command(after_help = "Example: paper-engine-orders tables accept dbo.orders --reason 'on purpose'")]
    Accept {
        #[command(flatten)]
        one: One,
        /// Reason, which is kept in the ledger
        #[arg(long, value_parser = deliveries::reason)]
        reason: String,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Name of the table in the feed, with or without its schema
    #[arg(value_name = "TABLE")]
    table: String,
    /// Name of the operator, which is kept in the ledger; by default user and host
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: &Command) -> anyhow::Result<End> {
    let (boot, target, _) = super::ledger(crate::config::LOOKS).await?;
    let (one, wish, reason) = match command {
        Command::List { json } => {
            list(&target, *json).await?;
            return Ok(End::Done);
        }
        Command::Reload { one, reason } => (one, Wish::Reload, reason.as_deref().unwrap_or_default()),
        Command::Accept { one, reason } => (one, Wish::Accept, reason.as_str()),
    };
    let actor = deliveries::actor(one.actor.as_deref(), &boot);
    let entity = target.ask_for_table(&one.table, wish, &actor, reason).await.map_err(Error::from)?;
    let (word, comes) = status::asked(wish.as_str());
    let mut out = std::io::stdout().lock();
    if one.json {
        let said = json!({"table": entity.to_string(), "action": wish.as_str(), "actor": actor, "next": comes});
        writeln!(out, "{}", visible::json(&said))?;
    } else {
        writeln!(out, "{}: {word} by {}; {comes}.", visible::text(&entity.to_string()), visible::text(&actor))?;
    }
    Ok(End::Done)
}

async fn list(target: &Target, as_json: bool) -> anyhow::Result<()> {
    let rows = target.noted_tables().await.map_err(Error::from)?;
    let mut out = std::io::stdout().lock();
    if as_json {
        return Ok(rows.iter().try_for_each(|row| writeln!(out, "{}", visible::json(row)))?);
    }
    if rows.is_empty() {
        return Ok(writeln!(out, "No table of this feed is loaded yet.")?);
    }
    let look = OutputStyle::of_stdout();
    writeln!(out, "{:>14} {:16}  {:16}  table", "rows left", "written", "state")?;
    for row in &rows {
        writeln!(out, "{}", line(row))?;
        if let Some(why) = row["stop_reason"].as_str() {
            writeln!(out, "{}", look.wrapped(&term_format::line(why, usize::MAX), 2))?;
        }
    }
    Ok(())
}

fn line(row: &Value) -> String {
    let word = |key: &str| row[key].as_str().unwrap_or_default();
    let rows = row["rows_left"].as_i64().map_or("not counted".to_owned(), |rows| rows.to_string());
    let at = word("left_at").get(..16).unwrap_or_default().replace('T', " ");
    let state = match word("requested") {
        "" => word("status"),
        wish => status::asked(wish).0,
    };
    format!("{rows:>14} {at:16}  {state:16}  {}", term_format::line(word("table"), usize::MAX))
}
