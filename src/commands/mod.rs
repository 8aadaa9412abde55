//! The command line: one file per subcommand, each of which wires a wing and runs it.
//!
//! Without arguments the program does what the environment says, as the container runs it.

mod check;
mod deliveries;
mod feed;
mod migrate;
mod notifications;
mod plan;
mod rejects;
mod run;
mod show;
mod status;
mod stock;
mod when;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::boot::{self, Boot};
use crate::config::{Config, Faults, Overrides};
use crate::loader::Error;
use crate::loader::service::End;
use crate::target::Target;
use crate::visible;

/// Keeps Postgres tables identical to a feed of gzip CSV files in S3, and tells what each file changed.
///
/// Configured by environment variables (see config.env.sample); flags override them.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "Examples:
  paper-engine-orders check             whether all is there that a run needs
  paper-engine-orders plan              what a run would do
  paper-engine-orders run --once        load what is pending
  paper-engine-orders status            how it stands, and what to do
  paper-engine-orders deliveries show 7 all about one delivery

Exit codes: 0 all is well, 1 a table is stopped, 69 something cannot be reached,
75 another loader has the work in hand, 78 the configuration is wrong.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Load what is pending: once or as a service, as the environment or the flags say.
    Run(run::Args),
    /// Show what a run would do, table by table, without doing it; write a plan for `run --plan`.
    Plan(plan::Args),
    /// Try all that a run needs: configuration, bucket, database, broker. Changes nothing.
    Check(check::Args),
    /// Say how each table of the feed stands, what stops it, and what to do next. Changes nothing.
    Status(status::Args),
    /// Bring the loader's own tables up to date.
    Migrate(migrate::Args),
    /// See what the ledger says of deliveries, and steer those that stop a table.
    #[command(subcommand)]
    Deliveries(deliveries::Command),
    /// See the rows that were kept aside because they cannot be loaded (ON_BAD_ROW=quarantine).
    #[command(subcommand)]
    Rejects(rejects::Command),
    /// See the messages about deliveries, and have them sent again.
    #[command(subcommand)]
    Notifications(notifications::Command),
    /// Make a feed to try things with.
    #[command(subcommand)]
    Feed(feed::Command),
}

/// Reads the command line and does what it says.
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
            complain(&anyhow::anyhow!("cannot start the runtime{why}"));
            ExitCode::from(69)
        }
    }
}

/// Runs what was asked for. The exit code tells a script how it ended.
async fn run(cli: Cli) -> ExitCode {
    let command = cli.command.unwrap_or(Command::Run(run::Args::default()));
    // a feed that is not made to its end is no success
    let writes = matches!(command, Command::Feed(_));
    let done = match command {
        Command::Run(args) => run::run(args).await,
        Command::Plan(args) => Box::pin(plan::run(&args)).await,
        Command::Check(args) => Box::pin(check::run(&args)).await,
        Command::Status(args) => Box::pin(status::run(&args)).await,
        Command::Migrate(args) => migrate::run(&args).await,
        Command::Deliveries(command) => Box::pin(deliveries::run(&command)).await,
        Command::Rejects(command) => rejects::run(&command).await,
        Command::Notifications(command) => notifications::run(&command).await,
        Command::Feed(command) => feed::run(&command).await,
    };
    match done {
        Ok(end) => ExitCode::from(end.code()),
        Err(error) if !writes && is_closed(&error) => ExitCode::from(End::Done.code()),
        Err(error) => {
            complain(&error);
            ExitCode::from(code_of(&error))
        }
    }
}

/// Errors go to stderr, whether or not the log has begun.
fn complain(error: &anyhow::Error) {
    use std::io::Write;
    let said = match error.downcast_ref::<Faults>() {
        Some(faults) => writeln!(std::io::stderr(), "paper-engine-orders: the configuration has faults:\n{faults}"),
        None => writeln!(std::io::stderr(), "paper-engine-orders: {}", visible::text(&chain(error))),
    };
    // a closed stderr is no reason to panic
    drop(said);
}

/// An error and its causes, each once: some say their cause themselves.
fn chain(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        match words.as_str() {
            "" => words = cause,
            said if said.contains(&cause) => {}
            _ => words = format!("{words}: {cause}"),
        }
    }
    words
}

/// Whoever read our output has seen enough, like `head`.
fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Faults of the configuration, and an address that cannot be listened on, are for whoever wrote it.
fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<Faults>() || error.is::<crate::ops::BindError>() {
        return End::Misconfigured.code();
    }
    match error.downcast_ref::<Error>() {
        Some(error) => crate::loader::service::end_of(error).code(),
        None => End::Stopped.code(),
    }
}

/// What a command that looks at the ledger needs: nobody is told anything, and the loader's tables must be there, in a
/// version that it gives.
async fn ledger() -> anyhow::Result<(Boot, Target, i32)> {
    let boot = boot::start(Config::from_env(Overrides { silent: true, ..Overrides::default() })?)?;
    let target = boot.target()?;
    let version = target.schema_version().await.map_err(Error::from)?;
    Ok((boot, target, version))
}
