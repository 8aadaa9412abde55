//! `deliveries`: shows the ledger, and retries, releases or skips deliveries.

use std::io::Write;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};

use super::term_format::{self, OutputStyle};
use super::{backlog, number};
use crate::app::App;
use crate::config::env;
use crate::decode::File;
use crate::load::{self, Acted, Filter, Rest, Target};
use crate::loader::Error;
use crate::loader::service::End;
use crate::source::{Pending, Request, Status, Step};
use crate::status;
use crate::visible;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List deliveries of the feed, newest first
    #[command(after_help = "Example: paper-engine-orders deliveries list --status failed --entity dbo.orders")]
    List(List),
    /// Show everything that the ledger has about one delivery
    #[command(after_help = "Example: paper-engine-orders deliveries show 6")]
    Show {
        /// Delivery id, as in the log and in `deliveries list`
        #[arg(value_parser = number::parse::<i64>)]
        id: i64,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Request another try of failed, held or late deliveries; the next iteration carries it out
    ///
    /// A late file is folded in, together with everything of its table that was loaded after it.
    #[command(after_help = "Example: paper-engine-orders deliveries retry 3 4 5")]
    Retry(Ids),
    /// Release held snapshots; the next iteration loads them
    ///
    /// A released snapshot may remove as many rows as were shown when it was held; if none were shown, MAX_REMOVE
    /// still applies. The id of any part of a snapshot stands for the whole snapshot.
    #[command(after_help = "Example: paper-engine-orders deliveries release 6")]
    Release(Ids),
    /// Give up failed, held, late or gone deliveries for good; their tables continue without them
    ///
    /// The id of any part of a reload stands for the whole reload.
    #[command(after_help = "Example: paper-engine-orders deliveries skip 6 --reason 'half an export'")]
    Skip {
        #[command(flatten)]
        ids: Ids,
        /// Reason, which is kept in the ledger
        #[arg(long, value_parser = reason)]
        reason: String,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only deliveries with this status
    #[arg(long, value_parser = status())]
    status: Option<Status>,
    /// Only deliveries of this table: its name, or schema.table
    #[arg(long, value_name = "TABLE")]
    entity: Option<String>,
    /// Maximum number of deliveries to print
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = number::parse::<u32>)]
    limit: u32,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

/// All of them or, if it cannot be done to one, none.
#[derive(Debug, clap::Args)]
pub(super) struct Ids {
    /// Delivery ids, as in the log and in `deliveries list`
    #[arg(required = true, value_name = "ID", value_parser = number::parse::<i64>)]
    ids: Vec<i64>,
    /// Name of the operator, which is kept in the ledger; by default user and host
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: &Command) -> anyhow::Result<End> {
    let (boot, target, _) = super::ledger(crate::config::LOOKS).await?;
    match command {
        Command::List(list) => print_list(list, &target).await?,
        Command::Show { id, json } => print_one(&target.delivery(*id).await.map_err(Error::from)?, *json)?,
        Command::Retry(ids) => {
            let acted = target.request(&ids.ids, Request::Retry, &ids.actor(&boot)).await.map_err(Error::from)?;
            say(&acted, "retry", ids.json, retried)?;
        }
        Command::Release(ids) => {
            let acted = target.request(&ids.ids, Request::Release, &ids.actor(&boot)).await.map_err(Error::from)?;
            say(&acted, "release", ids.json, released)?;
        }
        Command::Skip { ids, reason } => {
            let actor = ids.actor(&boot);
            let rest = rest(&boot, &target, &ids.ids).await?;
            let acted = target.skip(&ids.ids, &actor, reason, &rest).await.map_err(Error::from)?;
            say(&acted, "skip", ids.json, |one| skipped(one, &actor))?;
        }
    }
    Ok(End::Done)
}

impl Ids {
    fn actor(&self, boot: &App) -> String {
        actor(self.actor.as_deref(), boot)
    }
}

/// Returns the given name of the operator, or user and host.
pub(super) fn actor(named: Option<&str>, boot: &App) -> String {
    named.map_or_else(|| format!("{}@{}", env::user(), boot.host), str::to_owned)
}

/// Returns what the ledger does not know of a failed reload: the parts beside the faulty one. Skipping one part skips
/// all of them.
async fn rest(boot: &App, target: &Target, ids: &[i64]) -> anyhow::Result<Vec<Rest>> {
    let mut failed = Vec::new();
    for id in ids {
        let row = match target.delivery(*id).await {
            // it is said of all that are not there, at once
            Err(load::Error::NoDelivery { .. } | load::Error::OtherFeed { .. }) => continue,
            row => row.map_err(Error::from)?,
        };
        if row["kind"] == "snapshot" && row["status"] == "failed" {
            failed.push(*id);
        }
    }
    if failed.is_empty() {
        return Ok(Vec::new());
    }
    let plan = backlog::take(boot, target).await?;
    let pending: Vec<&Pending> = plan.tables.iter().flat_map(|table| &table.pending).collect();
    Ok(failed.into_iter().filter_map(|id| rest_of(id, &pending)).collect())
}

fn rest_of(id: i64, pending: &[&Pending]) -> Option<Rest> {
    let whole = |step: &Step| matches!(step, Step::Replace | Step::Stop(..));
    let reload =
        pending.iter().find(|one| whole(&one.step) && one.objects.iter().any(|part| part.entry == Some(id)))?;
    let others = reload.objects.iter().filter(|part| part.new && part.entry != Some(id));
    Some(Rest { of: id, parts: others.cloned().collect() })
}

/// Says of each delivery what was done, and what happens next.
fn say(acted: &[Acted], action: &str, as_json: bool, next: impl Fn(&Acted) -> String) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for one in acted {
        let next = next(one);
        if as_json {
            let row = own(one);
            let table = format!("{}.{}", word(row, "schema_name"), word(row, "entity"));
            let all: Vec<&Value> = one.rows.iter().map(|row| &row["id"]).collect();
            let said = json!({"id": one.id, "action": action, "table": table, "object_key": row["object_key"],
                              "status": row["status"], "acts_on": all, "next": next});
            writeln!(out, "{}", visible::json(&said))?;
        } else {
            let parts = match one.rows.len() {
                1 => String::new(),
                parts => format!(" (with all {parts} parts)"),
            };
            writeln!(out, "Delivery {}{parts}: {}", one.id, visible::text(&next))?;
        }
    }
    Ok(())
}

fn own(acted: &Acted) -> &Value {
    acted.rows.iter().find(|row| row["id"] == acted.id).unwrap_or(&Value::Null)
}

fn retried(acted: &Acted) -> String {
    match word(own(acted), "status") {
        "late" => "will be folded in by the next iteration, with all that was loaded after it.".to_owned(),
        "held" => "will be tried again in the next iteration, and is held again if it is still as it was.".to_owned(),
        _ => "will be tried again in the next iteration.".to_owned(),
    }
}

fn released(acted: &Acted) -> String {
    let shown = acted.rows.iter().filter_map(|row| row["rows_remove"].as_u64()).max().unwrap_or(0);
    match shown {
        0 => "released; the next iteration compares it, and holds it with the number if it would remove more than MAX_REMOVE."
            .to_owned(),
        _ => format!(
            "released; the next iteration may remove up to {shown} rows, and holds it again with the number if it would remove more."
        ),
    }
}

fn skipped(acted: &Acted, actor: &str) -> String {
    match own(acted)["kind"].as_str() {
        Some("snapshot") => {
            format!("skipped by {actor}; its table stays as it is and goes on in the next iteration.")
        }
        _ => format!(
            "skipped by {actor}; its table goes on in the next iteration, without these changes until the next full load."
        ),
    }
}

async fn print_list(list: &List, target: &Target) -> anyhow::Result<()> {
    let filter = Filter { status: list.status, entity: list.entity.clone(), limit: list.limit, delivery: None };
    let rows = target.deliveries(&filter).await.map_err(Error::from)?;
    let mut out = std::io::stdout().lock();
    if list.json {
        rows.iter().try_for_each(|row| writeln!(out, "{}", visible::json(row)))?;
        return Ok(());
    }
    if rows.is_empty() {
        writeln!(out, "{}", nothing(list, target).await?)?;
        return Ok(());
    }
    let head = ["id", "written", "status", "create", "amend", "remove", "table/file"].map(str::to_owned);
    let look = OutputStyle::of_stdout();
    writeln!(out, "{}", cells(&head, look))?;
    rows.iter().flat_map(|row| entry(row, look)).try_for_each(|line| writeln!(out, "{line}"))?;
    if rows.len() == list.limit as usize {
        writeln!(out, "The newest {}; --limit shows more. Times are UTC.", list.limit)?;
    }
    Ok(())
}

/// Returns the message for an empty list: the table's name may be misspelt.
async fn nothing(list: &List, target: &Target) -> anyhow::Result<String> {
    let states = target.tables().await.map_err(Error::from)?;
    let unknown = |name: &&String| {
        !states.iter().any(|state| **name == state.entity || **name == format!("{}.{}", state.schema, state.entity))
    };
    let Some(name) = list.entity.as_ref().filter(unknown) else {
        let others = target.other_scopes().await.map_err(Error::from)?;
        let others: Vec<String> = others.iter().map(ToString::to_string).collect();
        return Ok(OutputStyle::of_stdout().wrapped(&format!("No deliveries.{}", status::other_feeds(&others)), 0));
    };
    let known: Vec<String> = states.iter().take(20).map(|state| format!("{}.{}", state.schema, state.entity)).collect();
    let known = if known.is_empty() { "no table yet".to_owned() } else { known.join(", ") };
    Ok(OutputStyle::of_stdout().wrapped(&format!("No deliveries of {name}; the ledger knows: {known}."), 0))
}

/// Formats a line of the list. The key gets the remaining width, because `show` prints it in full.
fn cells([id, at, status, create, amend, remove, file]: &[String; 7], look: OutputStyle) -> String {
    let (start, counts) = (format!("{id:>6} {at:11} "), format!(" {create:>7} {amend:>7} {remove:>7}  "));
    let status = format!("{status:7}");
    let taken = [&start, &status, &counts].map(|part| part.chars().count()).iter().sum();
    let left = look.width.saturating_sub(taken).max(16);
    start + &look.status(&status) + &counts + &term_format::middle(&term_format::line(file, usize::MAX), left)
}

/// Formats a delivery of the list: its line, the reason for its status, and a request.
fn entry(row: &Value, look: OutputStyle) -> Vec<String> {
    let at = word(row, "committed_at").get(5..16).unwrap_or_default().replace('T', " ");
    let [create, amend, remove] = ["rows_create", "rows_amend", "rows_remove"].map(|key| known(row, key));
    let (status, key) = (word(row, "status").to_owned(), short(row));
    let mut lines = vec![cells(&[row["id"].to_string(), at, status, create, amend, remove, key], look)];
    let reason = match (word(row, "actor"), word(row, "reason")) {
        (_, "") => String::new(),
        ("", reason) => reason.to_owned(),
        (actor, reason) => format!("{actor}: {reason}"),
    };
    let why = [word(row, "error"), &reason].map(|words| term_format::line(words, usize::MAX));
    lines.extend(why.iter().filter(|words| !words.is_empty()).map(|words| look.wrapped(words, 7)));
    if let Some(wish) = row["requested"].as_str() {
        let (word, comes) = status::asked(wish);
        lines.push(look.wrapped(&format!("{word}: {comes}"), 7));
    }
    lines
}

/// Returns the key from the table on, without its extension.
fn short(row: &Value) -> String {
    let (key, table) = (word(row, "object_key"), word(row, "entity"));
    let below = key.split_once(&format!("{}/{table}/", word(row, "schema_name")));
    let short = below.map_or(key.to_owned(), |(_, file)| format!("{table}/{file}"));
    short.trim_end_matches(".gz").trim_end_matches(".csv").to_owned()
}

/// Returns the count, or a dash if the file was not loaded, because its effect is unknown.
fn known(row: &Value, key: &str) -> String {
    if word(row, "status") == "loaded" { row[key].to_string() } else { "–".to_owned() }
}

fn print_one(row: &Value, as_json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", visible::json(row))?;
        return Ok(());
    }
    let look = OutputStyle::of_stdout();
    for (key, value) in row.as_object().into_iter().flatten() {
        let Some(label) = label(row, key).filter(|_| !value.is_null()) else { continue };
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        writeln!(out, "{label:15} {}", look.beside(&shown, 16, 16))?;
    }
    let file = if word(row, "kind") == "snapshot" { File::Snapshot } else { File::Changes };
    if row["requested"].is_null() && Status::parse(word(row, "status")).is_some_and(|status| status.stops(file)) {
        let id = row["id"].as_i64().unwrap_or_default();
        writeln!(out, "\nNext, one of")?;
        status::next(word(row, "status"), file, id)
            .iter()
            .try_for_each(|step| writeln!(out, "    {}", look.beside(step, 4, 6)))?;
    }
    Ok(())
}

/// Returns the label of a ledger column, or `None` if it has no meaning for this status.
fn label<'a>(row: &Value, key: &'a str) -> Option<&'a str> {
    match (word(row, "status"), key) {
        ("held", "rows_remove") => (row[key] != 0).then_some("would remove"),
        ("loaded", _) => Some(key),
        (_, key) => (!key.starts_with("rows_")).then_some(key),
    }
}

fn word<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

/// Returns a parser for statuses that shells can complete.
fn status() -> impl TypedValueParser<Value = Status> {
    let words = PossibleValuesParser::new(Status::ALL.map(Status::as_str));
    words.try_map(|word| Status::parse(&word).ok_or_else(|| format!("{word} is no state")))
}

pub(super) fn reason(words: &str) -> Result<String, String> {
    match words.trim() {
        "" => Err("say why, for whoever reads the ledger later".to_owned()),
        words => Ok(words.to_owned()),
    }
}
