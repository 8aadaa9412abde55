//! `rejects`: the rows that were kept aside, with place and reason.

use std::io::Write;

use serde_json::{Value, json};

use super::term_format;
use crate::load::{Filter, Rejected};
use crate::loader::Error;
use crate::loader::service::End;
use crate::visible;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List rejected rows: the newest delivery's first, in the order of its lines
    #[command(after_help = "Example: paper-engine-orders rejects list 7 --limit 100")]
    List(List),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only rows of this delivery
    delivery: Option<i64>,
    /// Only rows of this table: its name, or schema.table
    #[arg(long, value_name = "TABLE")]
    entity: Option<String>,
    /// Maximum number of rows to print
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// One JSON object per line, with the whole row: `raw` as text, or `raw_hex` if it is not UTF-8
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: &Command) -> anyhow::Result<End> {
    let Command::List(list) = command;
    let (_, target, _) = super::ledger(crate::config::LOOKS).await?;
    if let Some(id) = list.delivery {
        // to say so if there is none
        target.delivery(id).await.map_err(Error::from)?;
    }
    let filter = Filter { delivery: list.delivery, entity: list.entity.clone(), limit: list.limit, status: None };
    let rows = target.rejects(&filter).await.map_err(Error::from)?;
    let mut out = std::io::stdout().lock();
    if list.json {
        rows.iter().try_for_each(|row| writeln!(out, "{}", visible::json(&as_json(row))))?;
    } else if rows.is_empty() {
        writeln!(out, "No rejected rows.")?;
    } else {
        print(&rows, &mut out)?;
        if rows.len() == list.limit as usize {
            writeln!(out, "The first {}; --limit shows more.", list.limit)?;
        }
    }
    Ok(End::Done)
}

fn print(rows: &[Rejected], out: &mut impl Write) -> std::io::Result<()> {
    let mut before = None;
    for row in rows {
        if before.replace((row.delivery, &row.key)) != Some((row.delivery, &row.key)) {
            writeln!(out, "Delivery {}, {}", row.delivery, term_format::line(&row.key, usize::MAX))?;
        }
        let column = row.column.as_ref().map(|column| format!(", column {column}")).unwrap_or_default();
        let place = format!("line {}{column}: {}", row.line, row.reason);
        writeln!(out, "  {}", term_format::line(&place, term_format::WIDTH - 2))?;
        writeln!(out, "    {}", term_format::bytes(&row.raw, term_format::WIDTH - 4))?;
    }
    Ok(())
}

fn as_json(row: &Rejected) -> Value {
    let mut object = json!({
        "delivery_id": row.delivery,
        "object_key": row.key,
        "line": row.line,
        "column_name": row.column,
        "reason": row.reason,
    });
    match std::str::from_utf8(&row.raw) {
        Ok(text) => object["raw"] = text.into(),
        Err(_) => object["raw_hex"] = row.raw.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
    }
    object
}
