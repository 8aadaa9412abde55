//! Runs a replay: checks everything, starts it, and says at the end what it came to.

use std::io::{self, Write};

use pe_runtime::shutdown::Stopper;

use crate::config::{Config, Env};
use crate::engine::{self, Engine, Failure, Handle};
use crate::ops::Ops;
use crate::report::Report;
use crate::schedule::Pace;

use super::live;

pub(super) async fn run(env: &Env) -> Result<(), Failure> {
    let config = Config::read(env)?;
    let screen = pe_runtime::log::init(config.log_format);
    let stopper = Stopper::on_signals(live::restore_terminal)?;
    let prepared = tokio::select! {
        prepared = engine::check(&config, |state, line| match state {
            "note" => tracing::warn!("{line}."),
            _ => tracing::info!("Found {line}."),
        }) => prepared?,
        () = stopper.wait() => return Ok(()),
    };
    let (has_console, limit, pace) = (config.has_console(), config.max_lateness, config.pace);
    let (metrics, zone) = (config.metrics, config.zone);
    let engine = Engine::new(config, prepared, stopper.clone());
    let handle = engine.handle();
    if let Some(address) = metrics {
        serve(address, handle.clone(), zone).await?;
    }
    let live = live::start(&screen, handle.clone(), stopper);
    let ended = engine.run().await;
    drop(live);
    let (report, failure) = ended?;
    report.log();
    write_summary(&report, has_console)?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    match limit.filter(|limit| pace != Pace::Flat && !limit.is_met(&handle.late)) {
        Some(limit) => {
            Err(Failure::Failed(format!("rows were released later than --max-lateness {:?} allows", limit.most)))
        }
        None => Ok(()),
    }
}

async fn serve(address: std::net::SocketAddr, handle: Handle, zone: time::UtcOffset) -> Result<(), Failure> {
    let bound = Ops::bind(address, handle, zone).await;
    let ops =
        bound.map_err(|error| Failure::Misconfigured(format!("--metrics: cannot listen on {address}: {error}")))?;
    tracing::info!("Metrics, probes and controls are served at http://{}.", ops.address()?);
    tokio::spawn(ops.serve());
    Ok(())
}

/// Writes the summary to stdout, or to stderr if stdout has the rows.
fn write_summary(report: &Report, has_console: bool) -> Result<(), Failure> {
    let line = serde_json::to_string(report).map_err(|error| Failure::Failed(error.to_string()))?;
    let written = if has_console { writeln!(io::stderr(), "{line}") } else { writeln!(io::stdout(), "{line}") };
    match written {
        // nobody reads the summary, but the replay is done
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
