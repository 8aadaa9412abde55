//! Reads the command line and does what it says. Flags and environment variables name the same things; flags win.

mod add;
mod check;
mod failure;
mod run;
mod show;
mod steer;

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use pe_runtime::shutdown::Stopper;

use crate::config::{Config, Database, Env};
use crate::store::mysql::MySql;
use crate::store::postgres::Postgres;
use crate::store::{Prepare, Store};

pub(crate) use failure::Failure;

/// Fires a webhook for each due task of a database table, on time, from any number of pods.
///
/// Configured by environment variables; flags override them. Without a command it does what `run` does.
#[derive(Debug, Parser)]
#[command(name = "paper-engine-timer", version, max_term_width = 100, subcommand_value_name = "COMMAND", after_help = HELP)]
pub struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Option<Command>,
}

const HELP: &str = "Examples:
  paper-engine-timer check                                     whether everything is there that a run needs
  paper-engine-timer run                                       fire what is due, until stopped
  paper-engine-timer add --in 90s --url https://example.org/x  add a task
  paper-engine-timer list --state failed                       the tasks that failed, and why
  paper-engine-timer retry --failed                            try them again

The database: TIMER_DB=postgres://user:password@host/name or mysql://…, or DB_HOST, DB_USER, DB_PASSWORD and DB_NAME.

Exit codes:
    0  done, or stopped as asked
    1  the command could not do what was asked
    2  the command line is not understood
   69  the database cannot be reached
   78  the configuration is wrong
  130  a second signal: what was under way was not waited for";

/// What every command takes.
#[derive(Args, Clone, Debug, Default)]
struct Shared {
    /// Host of the MySQL server [env: DB_HOST]
    #[arg(long, value_name = "HOST", global = true)]
    db_host: Option<String>,
    /// Port of the MySQL server [env: DB_PORT] [default: 3306]
    #[arg(long, value_name = "PORT", global = true)]
    db_port: Option<String>,
    /// User; the password comes from DB_PASSWORD or DB_PASSWORD_FILE [env: DB_USER]
    #[arg(long, value_name = "USER", global = true)]
    db_user: Option<String>,
    /// Database [env: DB_NAME] [default: timer_db]
    #[arg(long, value_name = "NAME", global = true)]
    db_name: Option<String>,
    /// What a timer_invoke_time without zone means [env: TIMER_ZONE] [default: UTC]
    #[arg(long, value_name = "ZONE", global = true)]
    timer_zone: Option<String>,
    /// text or json [env: LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT", global = true)]
    log_format: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fire what is due, until SIGTERM or SIGINT.
    Run(run::Args),
    /// Add a task, and print its id.
    Add(add::Args),
    /// List tasks, the latest due first.
    List(show::ListArgs),
    /// Show one task: its state, its attempts, and why it failed.
    Show(show::ShowArgs),
    /// Cancel a task that no pod holds.
    Cancel(steer::CancelArgs),
    /// Make tasks that failed due now.
    Retry(steer::RetryArgs),
    /// Remove tasks that ended some time ago.
    Purge(steer::PurgeArgs),
    /// Try all that a run needs: configuration, endpoints, database, table, rights. Changes nothing.
    Check(run::Args),
    /// Create database, tables and indexes, where they are missing.
    Migrate,
    /// See and enable endpoints that answered 410 Gone.
    #[command(subcommand)]
    Endpoints(steer::EndpointsCommand),
    /// Write a script with which a shell completes commands and flags.
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Write the manual page.
    Man,
}

impl Shared {
    fn set(&self, env: &mut Env) {
        let flags = [
            ("DB_HOST", &self.db_host),
            ("DB_PORT", &self.db_port),
            ("DB_USER", &self.db_user),
            ("DB_NAME", &self.db_name),
            ("TIMER_ZONE", &self.timer_zone),
            ("LOG_FORMAT", &self.log_format),
        ];
        for (name, value) in flags {
            value.iter().for_each(|value| env.set(name, value));
        }
    }
}

/// Lookups of host names at once; each blocks a thread. Dead names may take many without delaying the others.
const LOOKUPS_MAX: usize = 2048;

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().max_blocking_threads(LOOKUPS_MAX).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return Failure::Unavailable(format!("cannot start the runtime: {error}")).report(),
        };
    let done = runtime.block_on(execute(cli));
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn execute(cli: Cli) -> Result<(), Failure> {
    let mut env = Env::of_this_process();
    cli.shared.set(&mut env);
    match cli.command.unwrap_or(Command::Run(run::Args::default())) {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "paper-engine-timer", &mut std::io::stdout());
            Ok(())
        }
        Command::Man => Ok(clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?),
        Command::Run(args) => run::run(&args, env).await,
        Command::Check(args) => check::check(&args, env).await,
        command => {
            let config = Config::read(&env)?;
            pe_runtime::log::init_at(config.log_format, "warn");
            match config.database {
                Database::Postgres(settings) => with_store(command, Postgres::new(*settings, config.zone)).await,
                Database::MySql(settings) => with_store(command, MySql::new(settings, config.zone)).await,
            }
        }
    }
}

/// Does what a command asks of a database.
async fn with_store<S: Store>(command: Command, store: S) -> Result<(), Failure> {
    let stopper = Stopper::on_signals(|| ())?;
    let asked = async {
        match command {
            Command::Migrate => return check::migrate(&store).await,
            _ => store.prepare(Prepare::Look).await?,
        };
        match command {
            Command::Add(args) => add::run(&args, &store).await,
            Command::List(args) => show::list(&args, &store).await,
            Command::Show(args) => show::show(&args, &store).await,
            Command::Cancel(args) => steer::cancel(&args, &store).await,
            Command::Retry(args) => steer::retry(&args, &store).await,
            Command::Purge(args) => steer::purge(&args, &store).await,
            Command::Endpoints(command) => steer::endpoints(&command, &store).await,
            _ => Ok(()),
        }
    };
    tokio::select! {
        done = asked => done,
        () = stopper.wait() => Err(Failure::Failed("stopped by a signal".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
