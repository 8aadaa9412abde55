//! Runs the engine until it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pe_runtime::clock::Clock;
use pe_runtime::shutdown::Stopper;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::api::{Api, ApiToken, StoredTimers};
use crate::config::{Database, Env, Faults, RunConfig};
use crate::engine::{Engine, Options};
use crate::http::{AddressPolicy, HttpSender, SystemResolver, TASKS_JUDGED, judge_first_tasks};
use crate::metrics::Metrics;
use crate::page::Board;
use crate::probes::{Probes, Shown};
use crate::store::mysql::MySql;
use crate::store::postgres::Postgres;
use crate::store::{Error, Prepare, Store};

use super::Failure;

#[derive(clap::Args, Debug, Default)]
pub(super) struct Args {
    /// Tasks per claim [env: BATCH_SIZE] [default: 10 with DB_HOST, 100 with TIMER_DB]
    #[arg(long, value_name = "NUMBER")]
    batch_size: Option<String>,
    /// How often in a row the database may fail before the program ends [env: RETRY_NUMBER] [default: 10]
    #[arg(long, value_name = "NUMBER")]
    retry_number: Option<String>,
    /// Seconds between such tries [env: RECONNECT_WAIT_TIME] [default: 1]
    #[arg(long, value_name = "SECONDS")]
    reconnect_wait_time: Option<String>,
    /// When a failed task is tried again: 5s,5m,30m or none [env: RETRIES] [default: none with DB_HOST,
    /// 5s,5m,30m,2h,5h,10h with TIMER_DB]
    #[arg(long, value_name = "DELAYS")]
    retries: Option<String>,
    /// How long one attempt may take, from looking up the name to the end of the answer [env: TIMEOUT] [default: 15s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// How long a pod holds a task without extending its lease [env: LEASE] [default: 30s]
    #[arg(long, value_name = "DURATION")]
    lease: Option<String>,
    /// Take over tasks that have been executing for so long without a lease [env: ADOPT_AFTER]
    #[arg(long, value_name = "DURATION")]
    adopt_after: Option<String>,
    /// Remove tasks that ended so long ago [env: KEEP]
    #[arg(long, value_name = "DURATION")]
    keep: Option<String>,
    /// Requests under way at once [env: MAX_IN_FLIGHT] [default: 1024]
    #[arg(long, value_name = "NUMBER")]
    max_in_flight: Option<String>,
    /// Networks beyond the public internet that may be called, like 10.0.0.0/8,127.0.0.1 [env: ALLOW_PRIVATE]
    #[arg(long, value_name = "NETWORKS")]
    allow_private: Option<String>,
    /// A TOML file of endpoint groups: secrets, concurrency [env: ENDPOINTS]
    #[arg(long, value_name = "FILE")]
    endpoints: Option<String>,
    /// Certificates that are trusted beside the machine's [env: CA_FILE]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,
    /// Where metrics and probes are served; empty: nowhere [env: METRICS] [default: 127.0.0.1:9465]
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<String>,
    /// Where the HTTP API is served; the token comes from API_TOKEN or API_TOKEN_FILE [env: API] [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    api: Option<String>,
}

impl Args {
    pub(super) fn set(&self, env: &mut Env) {
        let flags = [
            ("BATCH_SIZE", &self.batch_size),
            ("RETRY_NUMBER", &self.retry_number),
            ("RECONNECT_WAIT_TIME", &self.reconnect_wait_time),
            ("RETRIES", &self.retries),
            ("TIMEOUT", &self.timeout),
            ("LEASE", &self.lease),
            ("ADOPT_AFTER", &self.adopt_after),
            ("KEEP", &self.keep),
            ("MAX_IN_FLIGHT", &self.max_in_flight),
            ("ALLOW_PRIVATE", &self.allow_private),
            ("ENDPOINTS", &self.endpoints),
            ("CA_FILE", &self.ca_file),
            ("METRICS", &self.metrics),
            ("API", &self.api),
        ];
        for (name, value) in flags {
            value.iter().for_each(|value| env.set(name, value));
        }
    }
}

pub(super) async fn run(args: &Args, mut env: Env) -> Result<(), Failure> {
    args.set(&mut env);
    let (config, run) = RunConfig::read(&env)?;
    pe_runtime::log::init(config.log_format);
    let sender = run.sender.sender(Clock::system()).map_err(Faults)?;
    let policy = run.sender.policy().map_err(|fault| Faults(vec![fault]))?;
    raise_open_files();
    let stopper = Stopper::on_signals(|| ())?;
    let (metrics, ready) = (Arc::new(Metrics::new()), Arc::new(AtomicBool::new(false)));
    let board = Arc::new(Board::new(config.database.to_string(), Clock::system()));
    let shown = Shown { metrics: metrics.clone(), ready: ready.clone(), board: board.clone() };
    serve(run.metrics, shown).await?;
    let parts = Parts { options: run.options, sender, policy, api: run.api, metrics, stopper, ready, board };
    match config.database {
        Database::Postgres(settings) => fire(Postgres::new(*settings, config.zone), parts).await,
        Database::MySql(settings) => fire(MySql::new(settings, config.zone), parts).await,
    }
}

/// Raises the limit of open files as far as this user may: each request has a connection, and 1,024 is a usual limit.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!("The limit of open files cannot be raised: {error}. Set MAX_IN_FLIGHT well below `ulimit -n`.");
    }
}

/// Serves the status page, metrics and probes, if there is an address for them.
async fn serve(address: Option<SocketAddr>, shown: Shown) -> Result<(), Failure> {
    let Some(address) = address else { return Ok(()) };
    let bound = Probes::bind(address, shown).await;
    let probes = bound.map_err(|error| {
        Failure::Misconfigured(format!(
            "METRICS: cannot listen on {address}: {error}. Write another address or port there, or METRICS= to do without"
        ))
    })?;
    tracing::info!("The status page, metrics and probes are served at http://{}/.", probes.address()?);
    tokio::spawn(probes.serve());
    Ok(())
}

/// Serves the HTTP API, if there is an address for it.
async fn serve_api<S: Store>(api: Option<(SocketAddr, ApiToken)>, store: &S) -> Result<(), Failure> {
    let Some((address, token)) = api else { return Ok(()) };
    let bound = Api::bind(address, token, StoredTimers::new(store.clone(), Clock::system())).await;
    let api = bound.map_err(|error| Failure::Misconfigured(format!("API: cannot listen on {address}: {error}.")))?;
    tracing::info!("The API is served at http://{}/timer/.", api.address()?);
    tokio::spawn(api.serve());
    Ok(())
}

struct Parts {
    options: Options,
    sender: HttpSender,
    policy: Arc<AddressPolicy>,
    api: Option<(SocketAddr, ApiToken)>,
    metrics: Arc<Metrics>,
    stopper: Stopper,
    ready: Arc<AtomicBool>,
    board: Arc<Board>,
}

async fn fire<S: Store>(store: S, parts: Parts) -> Result<(), Failure> {
    if !prepared(&store, &parts).await? {
        return Ok(());
    }
    judge(&store, &parts.policy).await?;
    let Parts { options, sender, api, metrics, stopper, ready, board, .. } = parts;
    serve_api(api, &store).await?;
    let looking = store.clone();
    tokio::spawn(async move { board.keep(looking).await });
    Engine { store, sender, options, metrics, stopper, ready }.run().await?;
    tracing::info!("Stopped.");
    Ok(())
}

/// Prepares the tables. A database that cannot be reached is tried as often as RETRY_NUMBER says. Returns `false` if the stopper
/// was set meanwhile.
async fn prepared<S: Store>(store: &S, parts: &Parts) -> Result<bool, Failure> {
    let (most, pause) = parts.options.reconnect;
    for tried in 0.. {
        match store.prepare(Prepare::Create).await {
            Ok(facts) => {
                tracing::info!("Connected to {}.", facts.server);
                facts.warnings.iter().for_each(|warning| tracing::warn!("{warning}."));
                return Ok(true);
            }
            Err(error @ Error::Unreachable { .. }) if tried < most => {
                if tried == 0 {
                    tracing::warn!("{error}. Trying again up to {most} times.");
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = parts.stopper.wait() => return Ok(false),
        }
    }
    Ok(false)
}

/// On a database where this program has never fired anything, judges the first due tasks: if the guard against request forgery
/// would refuse every one as private, ALLOW_PRIVATE is missing, and nothing is touched.
pub(super) async fn judge<S: Store>(store: &S, policy: &Arc<AddressPolicy>) -> Result<(), Failure> {
    let (urls, has_fired) = store.preview(TASKS_JUDGED).await?;
    if has_fired {
        return Ok(());
    }
    let judged = judge_first_tasks(&urls, policy, Arc::new(SystemResolver)).await;
    judged.map_err(|refused| Failure::Misconfigured(refused.to_string()))
}
