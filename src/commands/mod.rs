//! The command line: one file per subcommand.
//!
//! Without arguments the program does what the environment configures, as in the container.

mod backlog;
mod check;
mod completions;
mod deliveries;
mod error_report;
mod feed;
mod man;
mod migrate;
mod notifications;
mod number;
mod plan;
mod rejects;
mod run;
mod status;
mod tables;
mod term_format;
mod verify;
mod when;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::{self, App};
use crate::config::{Config, Faults, Overrides};
use crate::load::Target;
use crate::loader::Error;
use crate::loader::service::End;

/// Keeps Postgres tables identical to a feed of gzip CSV files in S3, and reports what each file changed.
///
/// Configured by environment variables (see config.env.sample); flags override them.
#[derive(Debug, Parser)]
#[command(name = "paper-engine-orders", version, max_term_width = 100, subcommand_value_name = "COMMAND", after_help = after_help())]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "Examples:
  paper-engine-orders check              check everything that a run needs
  paper-engine-orders plan               show what a run would do
  paper-engine-orders run --once         load what is pending
  paper-engine-orders status             show the state of each table, and what to do
  paper-engine-orders deliveries show 7  show one delivery
  paper-engine-orders verify             compare the tables with the loaded files";

/// Exit codes and their meanings.
const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "done, or stopped as asked"),
    ("1", "a table is stopped, or a command failed"),
    ("2", "the command line is invalid"),
    ("69", "a service cannot be reached, or messages still wait to be published"),
    ("75", "another loader is loading what is pending"),
    ("78", "the configuration is wrong"),
    ("130", "ended at once by a second signal"),
];

fn after_help() -> String {
    let codes = EXIT_CODES.iter().map(|(code, meaning)| format!("\n  {code:>3}  {meaning}")).collect::<String>();
    format!("{EXAMPLES}\n\nExit codes, the highest that applies (78, 69, 1, 75, 0):{codes}")
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load what is pending, once or as a service.
    Run(run::Args),
    /// Show what a run would do, table by table, without doing it; write a plan file for `run --plan`.
    Plan(plan::Args),
    /// Check everything that a run needs: configuration, bucket, database, broker. Changes nothing.
    Check(check::Args),
    /// Show the state of each table, what stops it, and what to do next. Changes nothing.
    Status(status::Args),
    /// Read the loaded files again and compare them with the tables, row by row. Changes nothing.
    Verify(verify::Args),
    /// Update the loader's own tables.
    Migrate(migrate::Args),
    /// List deliveries, and retry, release or skip those that stop a table.
    #[command(subcommand)]
    Deliveries(deliveries::Command),
    /// List the loaded tables, and reload or accept tables that are no longer what was loaded.
    #[command(subcommand)]
    Tables(tables::Command),
    /// List the rows that were quarantined because they cannot be loaded (ON_BAD_ROW=quarantine).
    #[command(subcommand)]
    Rejects(rejects::Command),
    /// List the messages about deliveries, and send them again.
    #[command(subcommand)]
    Notifications(notifications::Command),
    /// Generate a feed for trials and tests.
    #[command(subcommand)]
    Feed(feed::Command),
    /// Generate shell completions.
    Completions(completions::Args),
    /// Generate the manual page.
    Man(man::Args),
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // where descriptors are short, tokio panics instead of saying so
    match std::panic::catch_unwind(|| tokio::runtime::Builder::new_multi_thread().enable_all().build()) {
        Ok(Ok(runtime)) => {
            let code = runtime.block_on(run(cli));
            // a thread that still waits for the network is not waited for
            runtime.shutdown_background();
            code
        }
        failed => {
            let why = failed.ok().and_then(Result::err).map(|error| format!(": {error}")).unwrap_or_default();
            error_report::say(&anyhow::anyhow!(
                "cannot start the runtime{why}. Raise what this process may have of files and threads (ulimit -n, -u)"
            ));
            ExitCode::from(69)
        }
    }
}

/// Runs the command and returns its exit code.
async fn run(cli: Cli) -> ExitCode {
    let command = cli.command.unwrap_or(Command::Run(run::Args::default()));
    // a feed that is not made to its end is no success
    let writes = matches!(command, Command::Feed(_));
    let done = match command {
        Command::Run(args) => run::run(args).await,
        Command::Plan(args) => Box::pin(plan::run(&args)).await,
        Command::Check(args) => Box::pin(check::run(&args)).await,
        Command::Status(args) => Box::pin(status::run(&args)).await,
        Command::Verify(args) => Box::pin(verify::run(&args)).await,
        Command::Migrate(args) => migrate::run(&args).await,
        Command::Deliveries(command) => Box::pin(deliveries::run(&command)).await,
        Command::Tables(command) => tables::run(&command).await,
        Command::Rejects(command) => rejects::run(&command).await,
        Command::Notifications(command) => notifications::run(&command).await,
        Command::Feed(command) => feed::run(&command).await,
        Command::Completions(args) => completions::run(&args),
        Command::Man(_) => man::run(),
    };
    match done {
        Ok(end) => ExitCode::from(end.code()),
        Err(error) if !writes && is_closed(&error) => ExitCode::from(End::Done.code()),
        Err(error) => {
            error_report::say(&error);
            ExitCode::from(code_of(&error))
        }
    }
}

/// Returns `true` if the reader of our output has closed it, like `head`.
fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Returns the exit code of an error. Configuration errors and an unusable listen address have the same one.
fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<Faults>() || error.is::<crate::ops::BindError>() {
        return End::Misconfigured.code();
    }
    match error.downcast_ref::<Error>() {
        Some(error) => crate::loader::service::end_of(error).code(),
        None => End::Stopped.code(),
    }
}

/// Opens the ledger for a read-only command: notifications are off, the version of the loader's tables is checked and
/// returned, and only the variables in `uses` are validated.
async fn ledger(uses: &'static [&'static str]) -> anyhow::Result<(App, Target, i32)> {
    let overrides = Overrides { silent: true, only: Some(uses), ..Overrides::default() };
    let boot = app::start(Config::from_env(overrides)?)?;
    let target = boot.target()?;
    let version = target.schema_version().await.map_err(Error::from)?;
    Ok((boot, target, version))
}
