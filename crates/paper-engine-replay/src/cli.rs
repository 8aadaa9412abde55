//! Reads the command line and does what it says. Flags and environment variables name the same things; flags win.

mod check;
mod live;
mod run;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use pe_runtime::sanitize;

use crate::config::Env;
use crate::engine::Failure;

/// Publishes the rows of database tables at the pace at which they happened.
#[derive(Debug, Parser)]
#[command(name = "paper-engine-replay", version, max_term_width = 100, subcommand_value_name = "COMMAND", after_help = HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = "Examples:
  paper-engine-replay run --from postgresql://me@db/shop --table orders:created_at --to console:
      the rows as they happened, a second per second
  paper-engine-replay run --from … --table orders:created_at --start 2020-05-17 --end 2020-05-18 --rate 3600 \\
      --to nats://localhost:4222/orders --to file:out --checkpoint replay.json --resume
      a day in 24 seconds, to two places; after a kill it goes on where it was
  paper-engine-replay check --from … --table orders:created_at --to nats://localhost:4222/orders
      whether everything is there that a run needs

Each flag can be a variable too: --from is REPLAY_FROM (or REPLAY_FROM_FILE), --rate is REPLAY_RATE, and so on.

Exit codes:
    0  done, or stopped as asked
    1  the replay could not do what was asked, or was later than --max-lateness
    2  the command line is not understood
   69  the database or a destination cannot be reached
   78  the configuration is wrong
  130  a second signal: what was under way was not waited for";

#[derive(Debug, Subcommand)]
enum Command {
    /// Replay, until the end or SIGTERM.
    Run(Box<Flags>),
    /// Try all that a run needs: configuration, database, table, range, destinations. Publishes nothing.
    Check(Box<Flags>),
    /// Write a script with which a shell completes commands and flags.
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Write the manual page.
    Man,
}

/// What is replayed, how, and to where.
#[derive(Args, Debug, Default)]
struct Flags {
    /// The database: postgresql://user@host/database; SQLAlchemy's +driver is dropped [env: REPLAY_FROM]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// A table, its time column and its key: orders:created_at:id, events:at@ms. Several are merged in time order
    #[arg(long, value_name = "TABLE:TIME[:KEY]")]
    table: Vec<String>,
    /// A condition in SQL that rows must meet
    #[arg(long, value_name = "SQL")]
    r#where: Option<String>,
    /// The first time [default: the first row's]
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// The time before which the range ends [default: behind the last row]
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// The zone of times without one, in the table and here: UTC or +02:00 [default: UTC]
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true)]
    time_zone: Option<String>,
    /// A destination: console:, file:DIR, nats://host:4222/subject, ws://127.0.0.1:9000/path
    #[arg(long, value_name = "DESTINATION")]
    to: Vec<String>,
    /// Source seconds per second [default: 1]
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,
    /// window: the rows of a window together; event: each row at its time; flat: as fast as they are taken [default: window]
    #[arg(long, value_name = "PACE")]
    pace: Option<String>,
    /// How long a window lasts here [default: 1s]
    #[arg(long, value_name = "DURATION")]
    window: Option<String>,
    /// If a destination's queue is full: queue makes all wait, skip leaves rows out for it [default: queue]
    #[arg(long, value_name = "POLICY")]
    on_lag: Option<String>,
    /// Cut longer waits to this
    #[arg(long, value_name = "DURATION")]
    max_gap: Option<String>,
    /// Begin anew at the end, for ever
    #[arg(long)]
    r#loop: bool,
    /// When to release the first row [default: at once]
    #[arg(long, value_name = "TIME")]
    start_at: Option<String>,
    /// now: shift times so that the first is now
    #[arg(long, value_name = "now")]
    retime: Option<String>,
    /// Publish the replay's clock there: nats://host:4222/paper-engine.clock
    #[arg(long, value_name = "DESTINATION")]
    clock: Option<String>,
    /// Remember in this file how far each destination is
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<String>,
    /// Go on where the checkpoint says
    #[arg(long)]
    resume: bool,
    /// Read everything as it is now, in one transaction; for tables without a key
    #[arg(long)]
    snapshot: bool,
    /// End with 1 if rows were released later than this: 50ms@p99
    #[arg(long, value_name = "LIMIT")]
    max_lateness: Option<String>,
    /// How files are written: ndjson, or legacy: a file per row [default: ndjson]
    #[arg(long, value_name = "LAYOUT")]
    layout: Option<String>,
    /// Serve metrics, probes and controls at this address, such as 127.0.0.1:9466 [env: METRICS]
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<String>,
    /// text or json [env: LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Flags {
    fn env(&self) -> Env {
        let mut env = Env::of_this_process();
        let flags = [
            ("from", &self.from),
            ("where", &self.r#where),
            ("start", &self.start),
            ("end", &self.end),
            ("time-zone", &self.time_zone),
            ("rate", &self.rate),
            ("pace", &self.pace),
            ("window", &self.window),
            ("on-lag", &self.on_lag),
            ("max-gap", &self.max_gap),
            ("start-at", &self.start_at),
            ("retime", &self.retime),
            ("clock", &self.clock),
            ("checkpoint", &self.checkpoint),
            ("max-lateness", &self.max_lateness),
            ("layout", &self.layout),
            ("metrics", &self.metrics),
            ("log-format", &self.log_format),
        ];
        for (name, value) in flags {
            value.iter().for_each(|value| env.set(name, value));
        }
        for (name, is_set) in [("loop", self.r#loop), ("resume", self.resume), ("snapshot", self.snapshot)] {
            if is_set {
                env.set(name, true);
            }
        }
        self.table.iter().for_each(|table| env.set("table", table));
        self.to.iter().for_each(|to| env.set("to", to));
        env
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::Unavailable(format!("cannot start the runtime: {error}"))),
    };
    let done = runtime.block_on(execute(cli));
    // whoever blocks on a pipe that nobody reads is not waited for
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

async fn execute(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "paper-engine-replay", &mut io::stdout());
            Ok(())
        }
        Command::Man => Ok(clap_mangen::Man::new(Cli::command()).render(&mut io::stdout())?),
        Command::Run(flags) => run::run(&flags.env()).await,
        Command::Check(flags) => check::run(&flags.env()).await,
    }
}

/// Says on stderr what is wrong, and returns the exit code.
fn report(failure: &Failure) -> ExitCode {
    let code = match failure {
        Failure::Closed => return ExitCode::SUCCESS,
        Failure::Failed(_) => 1,
        Failure::Unavailable(_) => 69,
        Failure::Misconfigured(_) => 78,
    };
    for line in failure.to_string().lines() {
        let _ = writeln!(io::stderr(), "paper-engine-replay: {}", sanitize::text(line));
    }
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
