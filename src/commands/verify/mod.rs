//! `verify`: reads the files that made a table again, and compares the table with them row by row.
//!
//! Keys are cells, which are not shown elsewhere. Here they are printed on stdout, like the rows of `rejects list`,
//! but never logged; `--keys 0` omits them.

mod report;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::number;
use crate::app::App;
use crate::decode;
use crate::load::{self, Found, TableState, Target, Verification};
use crate::loader::Error;
use crate::loader::error_policy::{self, ErrorPolicy};
use crate::loader::service::{self, End};
use crate::source::{Entity, Loaded, Plan, Source, Status, TablePlan};
use crate::{pg, visible};
use report::{Outcome, Table};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    paper-engine-orders verify                        all tables of the feed\n  \
    paper-engine-orders verify dbo.orders --keys 99   one table, more of its keys\n  \
    paper-engine-orders verify --json | jq .verdict\n\n\
    Ends with 1 if a table differs or cannot be verified, or if nothing is loaded.")]
pub(super) struct Args {
    /// Tables to verify: the name, or schema.table; all tables of the feed by default
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    /// Maximum number of keys to show for each kind of difference
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = few)]
    keys: u16,
    /// One JSON object per table
    #[arg(long)]
    json: bool,
}

/// Parses the number of keys, which is limited because they are kept in memory.
fn few(text: &str) -> Result<u16, String> {
    match number::parse(text)? {
        keys @ 0..=1000 => Ok(keys),
        _ => Err("at most 1000".to_owned()),
    }
}

/// Number of attempts to verify a table after temporary failures, and the pause between them.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// Interval of progress reports.
const EVERY: Duration = Duration::from_secs(3);

pub(super) async fn run(args: &Args) -> anyhow::Result<End> {
    let (boot, target, _) = super::ledger(crate::config::READS).await?;
    let plan = super::backlog::take(&boot, &target).await?;
    let states = target.tables().await.map_err(Error::from)?;
    let tables = chosen(&args.tables, &plan, &states)?;
    let source = Source::connect(&boot.config.source, boot.config.dialect.order).await.map_err(Error::from)?;
    let verifier = Verifier { boot: &boot, source, target, keys: usize::from(args.keys) };
    let (mut end, mut done, mut proved) = (End::Done, 0, false);
    for entity in &tables {
        let verified = tokio::select! {
            verified = Box::pin(verifier.table(entity)) => verified?,
            () = boot.stopper.wait() => {
                tracing::warn!("Stopped: {} of {} tables are not compared.", tables.len() - done, tables.len());
                return Ok(end.max(End::Stopped));
            }
        };
        done += 1;
        proved |= matches!(verified, Outcome::Compared { .. });
        end = end.max(verified.end());
        let table = Table::new(entity, verified, pending(&plan, entity), stopped(&states, &plan, entity));
        say(&table, args.json)?;
    }
    if done == 0 {
        anyhow::bail!("the ledger and the bucket know no table of this feed: nothing was compared");
    }
    // Silence is not a proof.
    Ok(if proved { end } else { end.max(End::Stopped) })
}

fn say(table: &Table, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match json {
        true => writeln!(out, "{}", visible::json(&table.as_json()))?,
        false => view::print(table, &mut out)?,
    }
    Ok(out.flush()?)
}

/// Returns the tables to verify: those that are named, or all in the ledger or the bucket.
fn chosen(names: &[String], plan: &Plan, states: &[TableState]) -> anyhow::Result<BTreeSet<Entity>> {
    let known = states.iter().map(|state| Entity { schema: state.schema.clone(), name: state.entity.clone() });
    let all: BTreeSet<Entity> = known.chain(plan.tables.iter().map(|table| table.entity.clone())).collect();
    let fits = |name: &String, entity: &Entity| *name == entity.name || *name == entity.to_string();
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|entity| fits(name, entity))) {
        let all: Vec<String> = all.iter().take(20).map(ToString::to_string).collect();
        anyhow::bail!("the feed has no table {unknown}; the ledger and the bucket know: {}", all.join(", "));
    }
    Ok(all.into_iter().filter(|entity| names.is_empty() || names.iter().any(|name| fits(name, entity))).collect())
}

/// Returns the number of a table's pending files.
fn pending(plan: &Plan, entity: &Entity) -> u64 {
    let count = |table: &TablePlan| {
        let objects = table.pending.iter().flat_map(|pending| pending.new_objects()).count() as u64;
        objects + table.later.objects
    };
    plan.tables.iter().filter(|table| table.entity == *entity).map(count).sum()
}

/// Returns the status of the delivery that stops the table, if the bucket still has its version.
fn stopped(states: &[TableState], plan: &Plan, entity: &Entity) -> Option<String> {
    let state = states.iter().find(|state| state.schema == entity.schema && state.entity == entity.name)?;
    let table = plan.tables.iter().find(|table| table.entity == *entity);
    let superseded = |id: &i64| table.is_some_and(|table| table.superseded.contains(id) || table.revived.contains(id));
    let gone = table.and_then(|table| table.stopped.as_ref()).filter(|stop| stop.status == Status::Gone);
    if gone.is_some() {
        return Some(Status::Gone.as_str().to_owned());
    }
    let stop = state.stops.iter().find(|stop| stop.requested.is_none() && !superseded(&stop.id))?;
    Some(stop.status.clone())
}

struct Verifier<'a> {
    boot: &'a App,
    source: Source,
    target: Target,
    keys: usize,
}

/// Reason for which nothing was proved.
enum Obstacle {
    /// A loaded file cannot be read, or has changed.
    Doubt {
        why: String,
        next: &'static str,
    },
    Error(Error),
}

fn doubt(why: impl ToString, next: &'static str) -> Obstacle {
    Obstacle::Doubt { why: why.to_string(), next }
}

const LOST: &str = "After its next full load it can be verified again, as long as the files from then on stay in the bucket as \
                    they were loaded.";
const OTHERWISE: &str = "Verify it with the FEED, the LIMITS and the columns that its files were loaded with; or after its next \
                         full load.";
const FIRST: &str = "After a full load all of it can be verified.";
const AGAIN: &str = "Verify it again.";
const GRANT: &str = "`check` names the statement that gives it.";
const STATEMENT: &str = "Was the table altered? Then mend it. The server's log says more.";

impl<E: Into<Error>> From<E> for Obstacle {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl Verifier<'_> {
    /// Verifies one table. A service that cannot be reached is an error; a problem of the table is its outcome.
    async fn table(&self, entity: &Entity) -> Result<Outcome, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self.attempt(entity).await {
                Ok(outcome) => return Ok(outcome),
                Err(Obstacle::Doubt { why, next }) => {
                    return Ok(Outcome::Unverified { why, next, end: End::Stopped });
                }
                Err(Obstacle::Error(error)) => error,
            };
            let verdict = error_policy::of(&error);
            if matches!(verdict, ErrorPolicy::Retry | ErrorPolicy::RetryTable) && tries < TRIES {
                tracing::warn!("{entity}: {error}. Trying again.");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let (next, end) = match verdict {
                ErrorPolicy::Retry | ErrorPolicy::Abort => return Err(error),
                ErrorPolicy::Stop(_) if of_statement(&error).is_some() => return Ok(refused(&error)),
                // the bucket moved on while it was read
                ErrorPolicy::Gone | ErrorPolicy::Relist => (LOST, End::Stopped),
                ErrorPolicy::Stop(_) => ("Mend the table.", End::Stopped),
                _ => (AGAIN, service::end_of(&error)),
            };
            return Ok(Outcome::Unverified { why: error.to_string(), next, end });
        }
    }

    async fn attempt(&self, entity: &Entity) -> Result<Outcome, Obstacle> {
        let mut verification = match self.target.verification(entity).await? {
            Found::Verification(verification) => *verification,
            Found::Nothing => return Ok(Outcome::NothingLoaded),
            Found::Reserved => {
                return Err(doubt(crate::load::Refused::Reserved, "Remove the folder from the bucket."));
            }
            Found::NoTable => {
                return Err(doubt("the target has no such table", "Create it; then its files are loaded anew."));
            }
        };
        let mut files = verification.files.clone();
        if let Some((one, other)) = self.source.in_feed_order(&mut files) {
            let words = format!("{one} was loaded before {other}, and FEED order= says the reverse now");
            return Err(doubt(words, OTHERWISE));
        }
        if let Some(lost) = self.source.find_again(&mut files).await? {
            return Err(doubt(lost, LOST));
        }
        self.read(&mut verification, entity, &files).await?;
        let (generation, skipped, blind) = (verification.generation, verification.skipped, verification.blind);
        let Some(comparison) = verification.compare(self.keys).await?.map(Box::new) else {
            return Err(doubt("the table was rewritten while it was compared", AGAIN));
        };
        match comparison.proves_nothing() {
            Some(why) => Err(doubt(why, FIRST)),
            None => Ok(Outcome::Compared { generation, files: files.len(), skipped, blind, comparison }),
        }
    }

    async fn read(&self, verification: &mut Verification, entity: &Entity, files: &[Loaded]) -> Result<(), Obstacle> {
        let progress = Progress::start(entity, files.iter().map(|file| file.rows_read).sum());
        for file in files {
            let object = self.source.reopen(file).await?;
            let rows = decode::rows(object, verification.shape(file, &self.boot.config.dialect));
            progress.next(rows.counted());
            match verification.read(file, rows).await.map_err(Error::from) {
                Ok(None) => {}
                Ok(Some(unlike)) => return Err(doubt(unlike, OTHERWISE)),
                // it was loaded once, so something else is not as it was
                Err(error)
                    if matches!(error_policy::of(&error), ErrorPolicy::Stop(_)) && of_statement(&error).is_none() =>
                {
                    let (key, words) = (&file.listed.key, error.to_string());
                    let first = words.split(". ").next().unwrap_or_default();
                    let words = format!("{key} cannot be read as it was when it was loaded: {first}");
                    return Err(doubt(words, OTHERWISE));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Returns code and message of an error that Postgres reports about the statement, not about rows and not a temporary
/// one.
fn of_statement(error: &Error) -> Option<(&str, String)> {
    let Error::Target(load::Error::Pg(error @ pg::Error::Query { source, .. })) = error else { return None };
    let code = error.code().filter(|code| !error.is_world() && !pg::sqlstate::is_of_rows(code))?;
    Some((code, pg::describe(source)))
}

fn refused(error: &Error) -> Outcome {
    let (why, next) = match of_statement(error) {
        Some((code, words)) if pg::sqlstate::is_denial(code) => (format!("the role lacks a grant: {words}"), GRANT),
        Some((_, words)) => (format!("Postgres refuses a statement: {words}"), STATEMENT),
        None => (error.to_string(), STATEMENT),
    };
    Outcome::Unverified { why, next, end: End::Stopped }
}

/// Says every three seconds how far it is, until it is dropped.
struct Progress {
    /// Rows of the files before, and the counter of this one.
    rows: Arc<Mutex<(u64, Arc<AtomicU64>)>>,
    task: JoinHandle<()>,
}

impl Progress {
    fn start(entity: &Entity, total: u64) -> Self {
        let rows: Arc<Mutex<(u64, Arc<AtomicU64>)>> = Arc::default();
        let (seen, entity) = (rows.clone(), entity.to_string());
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let read = {
                    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.0 + seen.1.load(Ordering::Relaxed)
                };
                let doing = if read < total { "reading" } else { "comparing" };
                tracing::info!(rows = read, total, "{entity}: {doing}, {read}/{total} rows read...");
            }
        });
        Self { rows, task }
    }

    fn next(&self, counter: Arc<AtomicU64>) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.0 += rows.1.load(Ordering::Relaxed);
        rows.1 = counter;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns counts by name, for JSON.
fn counts(counts: &[(String, u64)]) -> BTreeMap<&str, u64> {
    counts.iter().map(|(name, count)| (name.as_str(), *count)).collect()
}
