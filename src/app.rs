//! Start, service and shutdown of every command.
//!
//! `start` creates the state that all commands share; `loader` creates the loader; `run` runs it as configured and
//! returns the exit code.

use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use crate::clock::Clock;
use crate::config::Config;
use crate::health::Health;
use crate::load::{self, Feed, Reader, Target};
use crate::loader::run_summary::{Run, RunSummary};
use crate::loader::service::{self, End};
use crate::loader::{Error, Loader, Parts, Place, PlanMode};
use crate::metrics::Metrics;
use crate::notifier::Notifier;
use crate::ops::{Ops, Sources};
use crate::retry::Backoff;
use crate::source::Source;
use crate::status::SharedBacklog;
use crate::stop::Stopper;
use crate::terminal::Screen;

/// State that all commands share.
pub struct App {
    pub config: Config,
    pub clock: Clock,
    pub stopper: Stopper,
    pub metrics: Arc<Metrics>,
    pub health: Health,
    pub noted: SharedBacklog,
    pub host: String,
    /// Terminal on which progress is drawn, if there is one.
    pub screen: Screen,
}

/// Begins to log and to listen for signals.
pub fn start(config: Config) -> std::io::Result<App> {
    start_at(config, "info")
}

/// Starts a command that prints its own output: nothing is logged unless RUST_LOG says so.
pub fn start_quietly(config: Config) -> std::io::Result<App> {
    start_at(config, "off")
}

fn start_at(config: Config, level: &str) -> std::io::Result<App> {
    let screen = crate::log::init_at(config.log_format, level);
    let left = screen.clone();
    Ok(App {
        screen,
        config,
        clock: Clock::system(),
        stopper: Stopper::on_signals(move || left.leave())?,
        metrics: Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))),
        health: Health::default(),
        noted: SharedBacklog::default(),
        host: hostname(),
    })
}

impl App {
    /// Returns the target, not yet connected.
    pub fn target(&self) -> Result<Target, Error> {
        Ok(Target::new(&self.config.target, self.feed(), &self.host, self.clock.clone())?)
    }

    /// Returns the scope of the ledger.
    pub fn feed(&self) -> Feed {
        Feed::new(&self.config.source, self.config.target.schema.as_deref())
    }

    /// Runs the loader as configured: once, as a service, or as a dry run. Returns how it ended, and the summary
    /// except for a service. `book` may enforce a plan.
    pub async fn run(self, wait: bool, book: PlanMode) -> anyhow::Result<(End, Option<serde_json::Value>)> {
        self.recall();
        let books = RunRecorder::open(&self);
        let (drained, serving) = self.serve_ops().await.inspect_err(|_| books.note(End::Misconfigured))?;
        let mut tally = RunSummary::default();
        let end = Box::pin(self.load(wait, book, &mut tally)).await;
        drained.request();
        if let Some(serving) = serving {
            serving.await?;
        }
        if let Err(error) = &end {
            tracing::error!("{}.", error.to_string().trim_end_matches('.'));
        }
        Ok(books.close(&tally, &end))
    }

    /// Restores the metrics that an earlier run left in METRICS_FILE, and warns if no collector will read the file.
    fn recall(&self) {
        let Some(file) = self.config.metrics_file.as_ref().filter(|_| !self.config.dry_run) else { return };
        if !file.is_collected() {
            tracing::warn!("METRICS_FILE does not end with .prom; node-exporter's textfile collector passes it over.");
        }
        file.recall(&self.metrics);
    }

    /// Metrics and health, until what is returned with them is requested: they outlive the loader's drain.
    async fn serve_ops(&self) -> anyhow::Result<(Stopper, Option<tokio::task::JoinHandle<()>>)> {
        let drained = Stopper::new();
        let Some(address) = self.config.listen() else { return Ok((drained, None)) };
        let ops = Ops::bind(address).await?;
        tracing::info!("Status page, metrics and health are served at http://{}.", ops.address()?);
        let serving = ops.serve(self.metrics.clone(), self.health.clone(), self.sources(), drained.clone());
        Ok((drained, Some(tokio::spawn(serving))))
    }

    /// Returns the data sources of the status page. The page reads the ledger on a connection of its own, never on
    /// the loader's.
    fn sources(&self) -> Sources {
        let feed = self.feed();
        Sources {
            reader: Reader::new(&self.config.target.postgres, feed.clone()).ok(),
            feed,
            noted: self.noted.clone(),
            clock: self.clock.clone(),
            host: self.host.clone(),
            dry_run: self.config.dry_run,
            notifies: self.config.notifier.is_some(),
        }
    }

    async fn load(self, wait: bool, book: PlanMode, tally: &mut RunSummary) -> Result<End, Error> {
        let target = self.target()?;
        if self.config.dry_run {
            return self.rehearse(target, book, tally).await;
        }
        if let Some(kept) = book.kept() {
            // a plan for another database must not create tables here
            let Feed { bucket, path, .. } = self.feed();
            kept.begin(&Place::find(&bucket, &path, &self.config.dialect, &target).await?)?;
        }
        self.prepare(&target).await?;
        let (least, most) = self.config.sleep;
        let service = self.config.run_as_service;
        let mut loader = self.loader(target, book).await?;
        loader.begin_process().await;
        let end = if service { loader.serve(least, most).await } else { loader.once(wait).await };
        loader.end_process().await;
        *tally = loader.tally();
        end
    }

    /// Runs a dry run: one iteration in a transaction that is never committed. Reloads are not waited for: the
    /// transaction would stay open all the while, and the result would be the same.
    async fn rehearse(mut self, target: Target, book: PlanMode, tally: &mut RunSummary) -> Result<End, Error> {
        tracing::info!("Dry run: everything is done in one transaction, which is then rolled back.");
        self.config.settle = Duration::ZERO;
        let stage = target.rehearse().await?;
        ready(&stage).await?;
        let mut loader = self.loader(stage.clone(), book).await?;
        let end = loader.once(true).await;
        *tally = loader.tally();
        stage.end_rehearsal().await?;
        end
    }

    /// Updates the loader's tables. A service waits for a target that cannot be reached.
    async fn prepare(&self, target: &Target) -> Result<(), Error> {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let mut said = false;
        loop {
            match ready(target).await.map_err(Error::from) {
                Ok(()) => return Ok(()),
                Err(error) if !self.config.run_as_service || service::end_of(&error) != End::Unreachable => {
                    return Err(error);
                }
                Err(error) => {
                    self.health.reached(crate::health::Part::Target, Err(error.to_string()));
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!("{}. Trying again until it is back.", error.to_string().trim_end_matches('.'));
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next()) => {}
                () = self.stopper.wait() => return Ok(()),
            }
        }
    }

    /// Creates the loader from its parts.
    pub async fn loader(&self, target: Target, book: PlanMode) -> Result<Loader, Error> {
        // `run --plan` needs the same change report as `plan`
        let target = if book.kept().is_some() { target.with_look(0) } else { target };
        Ok(Loader::new(Parts {
            source: Source::connect(&self.config.source, self.config.dialect.order).await?,
            target,
            notifier: Notifier::new(self.config.notifier.as_ref(), &self.host, self.clock.clone()),
            dialect: self.config.dialect.clone(),
            settle: self.config.settle,
            metrics: self.metrics.clone(),
            health: self.health.clone(),
            noted: self.noted.clone(),
            stopper: self.stopper.clone(),
            clock: self.clock.clone(),
            book,
            screen: self.screen.clone(),
            metrics_file: self.config.metrics_file.clone(),
        }))
    }
}

/// Updates the loader's tables and registers the scope of the ledger.
pub async fn ready(target: &Target) -> Result<(), load::Error> {
    let applied = target.prepare().await?;
    if applied > 0 && !target.is_rehearsal() {
        tracing::info!("Applied {applied} migrations to the loader's tables.");
    }
    let claimed = target.start_scope().await?;
    if claimed > 0 {
        tracing::info!(
            "{claimed} ledger rows from before there were scopes belong to this feed now: {}.",
            target.feed()
        );
    }
    Ok(())
}

/// Recorder of a run's summary and metrics.
struct RunRecorder {
    host: String,
    clock: Clock,
    metrics: Arc<Metrics>,
    config: Config,
    started: OffsetDateTime,
    began: Instant,
}

impl RunRecorder {
    fn open(boot: &App) -> Self {
        let (clock, metrics) = (boot.clock.clone(), boot.metrics.clone());
        let (started, began) = (clock.utc(), clock.monotonic());
        Self { host: boot.host.clone(), clock, metrics, config: boot.config.clone(), started, began }
    }

    fn close(self, tally: &RunSummary, end: &Result<End, Error>) -> (End, Option<serde_json::Value>) {
        let (error, dry_run) = (end.as_ref().err(), self.config.dry_run);
        let end = end.as_ref().map_or_else(service::end_of, |end| *end);
        let service = self.config.run_as_service && !dry_run;
        if !service || error.is_some() {
            self.note(end);
        }
        let run = Run {
            version: env!("CARGO_PKG_VERSION"),
            host: &self.host,
            dry_run,
            started: self.started,
            ended: self.clock.utc(),
            seconds: (self.clock.monotonic() - self.began).as_secs_f64(),
            end,
            error: error.map(ToString::to_string),
        };
        (end, (!service).then(|| tally.summary(&run)))
    }

    /// Leaves the metrics and how it ended for who collects them; a dry run leaves nothing.
    fn note(&self, end: End) {
        if !self.config.dry_run {
            self.metrics.ended(end.code());
            self.config.metrics_file.iter().for_each(|file| file.keep(&self.metrics));
        }
    }
}

/// Returns the name of this machine, as used in messages and ledger rows.
pub fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}
