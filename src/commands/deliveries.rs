//! `deliveries`: what the ledger says, and the operator's hands on it.

use std::io::Write;

use clap::Subcommand;
use serde_json::Value;

use crate::boot;
use crate::config::env;
use crate::loader::Error;
use crate::loader::service::End;
use crate::source::{Request, Status};
use crate::target::{Filter, Target};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List deliveries, newest first
    List(List),
    /// Show all that the ledger has of one delivery
    Show { id: i64 },
    /// Ask for another try of a failed, held or late delivery; the next iteration acts
    Retry { id: i64 },
    /// Let a held snapshot go on, removing as much as was shown and not more; the next iteration acts
    Release { id: i64 },
    /// Give a failed, held or late delivery up for good; its table goes on without it
    Skip {
        id: i64,
        /// Why; it stays in the ledger
        #[arg(long)]
        reason: String,
        /// Who; the user at this machine if not given
        #[arg(long)]
        actor: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only those in this state: loaded, failed, held, late, skipped or gone
    #[arg(long, value_parser = status)]
    status: Option<Status>,
    /// Only those of this table
    #[arg(long)]
    entity: Option<String>,
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: &Command) -> anyhow::Result<End> {
    let boot = boot::start(super::environment()?)?;
    let target = boot.target()?;
    match command {
        Command::List(list) => print_list(list, &target).await?,
        Command::Show { id } => print_one(&target.delivery(*id).await.map_err(Error::from)?)?,
        Command::Retry { id } => {
            target.request(*id, Request::Retry).await.map_err(Error::from)?;
            say(&format!("Delivery {id}: will be tried again in the next iteration."))?;
        }
        Command::Release { id } => {
            let shown = target.delivery(*id).await.map_err(Error::from)?["rows_remove"].clone();
            target.request(*id, Request::Release).await.map_err(Error::from)?;
            say(&format!(
                "Delivery {id}: released; the next iteration may remove up to {shown} rows, and is held again with the number if it would remove more."
            ))?;
        }
        Command::Skip { id, reason, actor } => {
            let actor = actor.clone().unwrap_or_else(|| format!("{}@{}", env::user(), boot.host));
            target.skip(*id, &actor, reason).await.map_err(Error::from)?;
            say(&format!("Delivery {id}: skipped by {actor}; its table goes on in the next iteration."))?;
        }
    }
    Ok(End::Done)
}

async fn print_list(list: &List, target: &Target) -> anyhow::Result<()> {
    let filter = Filter { status: list.status, entity: list.entity.clone(), limit: list.limit };
    let rows = target.deliveries(&filter).await.map_err(Error::from)?;
    let mut out = std::io::stdout().lock();
    if list.json {
        for row in &rows {
            writeln!(out, "{row}")?;
        }
        return Ok(());
    }
    writeln!(out, "{:>6} {:8} {:>9} {:>9} {:>9}  file", "id", "status", "create", "amend", "remove")?;
    for row in &rows {
        let (word, number) = (|key: &str| row[key].as_str().unwrap_or_default(), |key: &str| row[key].to_string());
        let counts = ["rows_create", "rows_amend", "rows_remove"].map(number);
        let [create, amend, remove] = &counts;
        let (id, status, key) = (number("id"), word("status"), word("object_key"));
        writeln!(out, "{id:>6} {status:8} {create:>9} {amend:>9} {remove:>9}  {key}")?;
        let why: Vec<&str> = [word("error"), word("reason")].into_iter().filter(|why| !why.is_empty()).collect();
        let why = why.join("; ");
        if !why.is_empty() {
            writeln!(out, "{:>6} {why}", "")?;
        }
    }
    Ok(())
}

fn print_one(row: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (key, value) in row.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        writeln!(out, "{key:15} {shown}")?;
    }
    Ok(())
}

fn say(words: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{words}")?;
    Ok(())
}

fn status(word: &str) -> Result<Status, String> {
    Status::parse(word).ok_or_else(|| "neither loaded, failed, held, late, skipped nor gone".to_owned())
}
