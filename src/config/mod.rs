//! The configuration: every variable of the environment, validated and converted into the modules' settings. All
//! errors are reported at once, each with its variable and the correct form.

mod check;
pub mod env;
mod tables;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::decode::dialect::Dialect;
use crate::load::settings::{BadRows, Share};
use crate::log::LogFormat;
use crate::metrics_file::MetricsFile;
use crate::{load, notifier, pg, source};

use check::{Check, told};
pub use check::{Fault, Faults};
use env::Env;
pub use tables::Tables;

/// All that can be configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `true` for a service, `false` for one iteration.
    pub run_as_service: bool,
    /// The bounds of the random sleep between two iterations.
    pub sleep: (Duration, Duration),
    pub dry_run: bool,
    /// `None`: nothing is published.
    pub notifier: Option<notifier::settings::Settings>,
    pub source: source::settings::Settings,
    pub target: load::settings::Settings,
    /// Settings of single tables, from TABLES.
    pub tables: Tables,
    pub dialect: Dialect,
    /// Time for which a reload's parts must not have changed before they are compared with the table.
    pub settle: Duration,
    /// Listen address; see [`Config::listen`].
    pub metrics: Option<SocketAddr>,
    /// `true` if METRICS was given and is not the default.
    pub metrics_given: bool,
    /// File to which the metrics are written after each iteration.
    pub metrics_file: Option<MetricsFile>,
    pub log_format: LogFormat,
}

/// Settings from the command line that override the environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Notifications are off, so NATS is not needed.
    pub silent: bool,
    /// `--once` or `--service`.
    pub once: Option<bool>,
    /// `--dry-run`.
    pub dry_run: Option<bool>,
    /// If given, only these variables are read and validated, so that `status` works even if a variable that only
    /// `run` needs is invalid.
    pub only: Option<&'static [&'static str]>,
}

/// Variables of the commands that read ledger and bucket, and change the ledger.
pub const LOOKS: &[&str] = &["SOURCE", "TARGET", "TARGET_SCHEMA", "FEED", "LOG_FORMAT"];
/// The same, if it reads files too.
pub const READS: &[&str] = &["SOURCE", "TARGET", "TARGET_SCHEMA", "FEED", "LOG_FORMAT", "LIMITS"];

impl Config {
    /// Returns the configuration from the environment of this process and the command line.
    pub fn from_env(overrides: Overrides) -> Result<Self, Faults> {
        Self::from_pairs(env::of_this_process(), overrides)
    }

    /// Returns the configuration from these variables and the command line.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>, overrides: Overrides) -> Result<Self, Faults> {
        let mut check = Check::default();
        let used = |(name, _): &(String, String)| overrides.only.is_none_or(|only| only.contains(&name.as_str()));
        let env = Env::from_pairs(pairs.into_iter().filter(used)).unwrap_or_else(|error| {
            check.fault("environment", error.to_string());
            Env::default()
        });
        let config = build(&env, overrides, &mut check);
        check.finish(config)
    }

    /// Returns the settings of SOURCE alone.
    pub fn source_from_env() -> Result<source::settings::Settings, Faults> {
        let mut check = Check::default();
        let env = Env::from_pairs(env::of_this_process()).unwrap_or_default();
        let source = check.needed("SOURCE", &env.source, SOURCE);
        check.finish(source)
    }

    /// Returns the database in TARGET, if it is valid.
    pub fn database_from_env() -> Option<pg::settings::Settings> {
        Env::from_pairs(env::of_this_process()).unwrap_or_default().target.parse().ok()
    }

    /// Returns the settings of TARGET and its related variables alone.
    pub fn target_from_env() -> Result<load::settings::Settings, Faults> {
        let mut check = Check::default();
        let env = Env::from_pairs(env::of_this_process()).unwrap_or_default();
        let target = target(&env, &Tables::default(), &mut check);
        check.finish(target)
    }

    /// Returns the settings of NATS and its related variables alone.
    pub fn notifier_from_env() -> Result<Option<notifier::settings::Settings>, Faults> {
        let mut check = Check::default();
        let env = Env::from_pairs(env::of_this_process()).unwrap_or_default();
        let notifier = notifier(&env, Overrides::default(), &mut check);
        check.finish(Some(notifier))
    }

    /// Returns the listen address for page, metrics and health. One-shot runs and dry runs listen only if METRICS is
    /// given.
    pub fn listen(&self) -> Option<SocketAddr> {
        self.metrics.filter(|_| self.metrics_given || (self.run_as_service && !self.dry_run))
    }
}

fn build(env: &Env, overrides: Overrides, check: &mut Check) -> Option<Config> {
    let once = overrides.once.map(|once| !once);
    let run_as_service = once.unwrap_or_else(|| check.flag("RUN_AS_SERVICE", &env.run_as_service));
    let dry_run = overrides.dry_run.unwrap_or_else(|| check.flag("DRY_RUN", &env.dry_run));
    let sleep = sleep(env, check);
    let notifier = notifier(env, overrides, check);
    let source = check.needed("SOURCE", &env.source, SOURCE);
    let tables = tables::read(&env.tables, check);
    let dialect: Option<Dialect> = check.room("FEED", &env.feed);
    let nulls_given = dialect.as_ref().is_some_and(|dialect| !dialect.null.is_empty());
    let target = target(env, &tables, check).map(|target| load::settings::Settings { nulls_given, ..target });
    let limits = check.room("LIMITS", &env.limits);
    let settle = check.seconds("SETTLE", &env.settle, "60");
    let metrics = metrics(env, check);
    let metrics_file = metrics_file(env, check);
    let log_format = log_format(env, check);
    Some(Config {
        run_as_service,
        sleep,
        dry_run,
        notifier,
        source: source?,
        target: target?,
        tables,
        dialect: Dialect { limits: limits?, ..dialect? },
        settle,
        metrics,
        metrics_given: env.metrics_given,
        metrics_file,
        log_format: log_format?,
    })
}

const SOURCE: &str = "Write which bucket to read, like SOURCE='bucket_endpoint=https://s3.example.com bucket_id=id \
                      bucket_key=key bucket_name=feed bucket_path=data'";

const TARGET: &str = "Write which database to load, like TARGET='user=username password=password host=localhost \
                      port=5432 dbname=paper_engine'";

const NATS: &str = "empty, but notifications are on. Write where the broker is, like \
                    NATS=nats://user:password@host:4222, or switch them off with NOTIFICATIONS=False";

fn sleep(env: &Env, check: &mut Check) -> (Duration, Duration) {
    let min = check.seconds("MIN_SLEEP", &env.min_sleep, "15");
    let max = check.seconds("MAX_SLEEP", &env.max_sleep, "30");
    if min > max {
        let (min, max) = (min.as_secs_f64(), max.as_secs_f64());
        let message = format!("{min} is more than MAX_SLEEP, which is {max}. Write at most that, or raise MAX_SLEEP");
        check.fault("MIN_SLEEP", message);
    }
    (min, max)
}

fn notifier(env: &Env, overrides: Overrides, check: &mut Check) -> Option<notifier::settings::Settings> {
    if overrides.silent || !check.flag("NOTIFICATIONS", &env.notifications) {
        return None;
    }
    if env.nats.is_empty() {
        check.fault("NATS", NATS);
        return None;
    }
    let settings: notifier::settings::Settings = check.room("NATS", &env.nats)?;
    if let notifier::settings::Login::Credentials(path) = &settings.login {
        check.readable("NATS", "credentials", Some(path));
    }
    Some(settings)
}

fn target(env: &Env, tables: &Tables, check: &mut Check) -> Option<load::settings::Settings> {
    let postgres: Option<pg::settings::Settings> = check.needed("TARGET", &env.target, TARGET);
    let root: Option<&Path> = postgres.as_ref().and_then(pg::settings::Settings::root_cert);
    check.readable("TARGET", "sslrootcert", root);
    let schema = check.name("TARGET_SCHEMA", &env.target_schema);
    let max_remove = share("MAX_REMOVE", &env.max_remove, check);
    let bad_rows = bad_rows(env, check);
    let event_id = check.name("EVENT_ID", &env.event_id);
    let migrate = check.flag("MIGRATE", &env.migrate);
    let days = check.parsed(
        "KEEP_MESSAGES",
        &env.keep_messages,
        "not a whole number of days",
        "Write it like KEEP_MESSAGES=30",
    );
    Some(load::settings::Settings {
        postgres: postgres?,
        schema: Some(schema).filter(|schema| !schema.is_empty()),
        max_remove: max_remove?,
        bad_rows: bad_rows?,
        event_id,
        migrate,
        keep_messages_days: days?,
        // FEED is not read here
        nulls_given: false,
        sole_writer: tables.sole_writer.clone(),
    })
}

fn share(variable: &'static str, text: &str, check: &mut Check) -> Option<Share> {
    let hint = format!("Write it like {variable}=50% or {variable}=1000");
    check.parsed(variable, text, &load::settings::NotAShare.to_string(), &hint)
}

fn bad_rows(env: &Env, check: &mut Check) -> Option<BadRows> {
    let most = share("MAX_REJECTS", &env.max_rejects, check);
    match env.on_bad_row.to_ascii_lowercase().as_str() {
        "stop" => Some(BadRows::Stop),
        "quarantine" => most.map(|most| BadRows::Quarantine { most }),
        _ => {
            let wrong = told(&env.on_bad_row, &["stop", "quarantine"], "neither stop nor quarantine");
            check.fault("ON_BAD_ROW", format!("{wrong}. Write ON_BAD_ROW=stop or ON_BAD_ROW=quarantine"));
            None
        }
    }
}

fn log_format(env: &Env, check: &mut Check) -> Option<LogFormat> {
    let format = env.log_format.parse();
    if let Err(wrong) = &format {
        let wrong = told(&env.log_format, &["text", "json"], &format!("{wrong}"));
        check.fault("LOG_FORMAT", format!("{wrong}. Write LOG_FORMAT=text or LOG_FORMAT=json"));
    }
    format.ok()
}

fn metrics(env: &Env, check: &mut Check) -> Option<SocketAddr> {
    if env.metrics.is_empty() {
        return None;
    }
    let hint = "Write an IP address and a port, like METRICS=127.0.0.1:9464, METRICS=0.0.0.0:9464 to listen \
                everywhere, or METRICS= to listen nowhere";
    check.parsed("METRICS", &env.metrics, "not an IP address with a port", hint)
}

fn metrics_file(env: &Env, check: &mut Check) -> Option<MetricsFile> {
    let file = Some(MetricsFile::new((&env.metrics_file).into())).filter(|_| !env.metrics_file.is_empty())?;
    let like = "METRICS_FILE=/var/lib/node_exporter/textfile/paper_engine.prom";
    if file.is_folder() {
        check.fault("METRICS_FILE", format!("a folder. Write the file in it, like {like}"));
    } else if !file.folder().is_dir() {
        check.fault("METRICS_FILE", format!("its folder is not there. Make the folder, or write another, like {like}"));
    }
    Some(file)
}

#[cfg(test)]
mod tests;
