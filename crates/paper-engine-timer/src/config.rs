//! Reads the configuration: environment variables, which flags override. All faults are reported at once.

mod database;
mod env;

use std::net::SocketAddr;
use std::time::Duration;

use pe_runtime::log::LogFormat;

use crate::api::ApiToken;
use crate::durations;
use crate::engine::Options;
use crate::http::{Breaking, Concurrency, SenderSettings};
use crate::schedule::Schedule;
use crate::store::Zone;

pub use database::Database;
pub use env::Env;

/// Everything that is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is wrong:\n{}", .0.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n"))]
pub struct Faults(pub Vec<String>);

/// What every command needs.
#[derive(Clone, Debug)]
pub struct Config {
    pub database: Database,
    pub zone: Zone,
    pub log_format: LogFormat,
}

/// What `run` needs beyond it.
#[derive(Clone, Debug)]
pub struct RunConfig {
    pub options: Options,
    pub sender: SenderSettings,
    pub metrics: Option<SocketAddr>,
    /// Where the HTTP API listens, and its token.
    pub api: Option<(SocketAddr, ApiToken)>,
}

/// Tasks per claim where the original's variables are used, and where TIMER_DB is.
const BATCH_OF_ORIGINAL: &str = "10";
const BATCH: &str = "100";
/// Retries where the original's variables are used, and where TIMER_DB is.
const RETRIES_OF_ORIGINAL: &str = "none";
const RETRIES: &str = "5s,5m,30m,2h,5h,10h";
const METRICS: &str = "127.0.0.1:9465";

/// Reads values one after the other and collects what is wrong with them.
pub(crate) struct Reader<'a> {
    env: &'a Env,
    faults: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(env: &'a Env) -> Self {
        Self { env, faults: Vec::new() }
    }

    /// Returns the text of a variable.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.env.get(name).map(str::to_owned)
    }

    /// Returns the text of a variable that may stand in a file named by `NAME_FILE`.
    pub(crate) fn secret(&mut self, name: &str) -> Option<String> {
        match self.env.secret(name) {
            Ok(secret) => secret,
            Err(fault) => {
                self.faults.push(fault);
                None
            }
        }
    }

    /// Reads a value, or the default, in the form that `read` knows.
    pub(crate) fn value<T>(
        &mut self,
        name: &str,
        default: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(name).unwrap_or_else(|| default.to_owned());
        match read(&text) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.faults.push(format!("{name}: {text:?} {fault}"));
                None
            }
        }
    }

    pub(crate) fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    pub(crate) fn finish<T>(self, made: Option<T>) -> Result<T, Faults> {
        match made {
            Some(made) if self.faults.is_empty() => Ok(made),
            _ => Err(Faults(self.faults)),
        }
    }
}

impl Config {
    /// Reads what every command needs.
    pub fn read(env: &Env) -> Result<Self, Faults> {
        let mut reader = Reader::new(env);
        let made = Self::read_with(&mut reader);
        reader.finish(made)
    }

    fn read_with(reader: &mut Reader<'_>) -> Option<Self> {
        let database = Database::read(reader);
        let zone = reader.value("TIMER_ZONE", "UTC", str::parse);
        let format = |text: &str| text.parse().map_err(|_| "is neither text nor json".to_owned());
        let log_format = reader.value("LOG_FORMAT", "text", format);
        Some(Self { database: database?, zone: zone?, log_format: log_format? })
    }
}

impl RunConfig {
    /// Reads what `run` needs, all faults of all parts together, those in the files of ENDPOINTS and CA_FILE among them.
    pub fn read(env: &Env) -> Result<(Config, Self), Faults> {
        let mut reader = Reader::new(env);
        let config = Config::read_with(&mut reader);
        let original = env.get("TIMER_DB").is_none() && env.get("TIMER_DB_FILE").is_none();
        let sender = Self::sender(&reader);
        reader.faults.extend(sender.faults());
        let run = Self::read_with(&mut reader, original, sender);
        reader.finish(config.zip(run))
    }

    /// Takes the settings of everything that is sent; limits are added when they are known.
    fn sender(reader: &Reader<'_>) -> SenderSettings {
        SenderSettings {
            allow_private: reader.env.get("ALLOW_PRIVATE").unwrap_or_default().to_owned(),
            endpoints: reader.env.get("ENDPOINTS").map(Into::into),
            ca_file: reader.env.get("CA_FILE").map(Into::into),
            concurrency: Concurrency::default(),
        }
    }

    fn read_with(reader: &mut Reader<'_>, original: bool, sender: SenderSettings) -> Option<Self> {
        let batch = reader.value("BATCH_SIZE", if original { BATCH_OF_ORIGINAL } else { BATCH }, number(1, 10_000));
        let tries = reader.value("RETRY_NUMBER", "10", number(0, u32::MAX));
        let pause = reader.value("RECONNECT_WAIT_TIME", "1", seconds);
        let retries = if original { RETRIES_OF_ORIGINAL } else { RETRIES };
        let schedule = reader.value("RETRIES", retries, str::parse::<Schedule>);
        let adopt_after = reader.value("ADOPT_AFTER", "", optional(durations::parse));
        let keep = reader.value("KEEP", "", optional(durations::parse));
        let in_flight_max = reader.value("MAX_IN_FLIGHT", "1024", number(1, 65_536));
        let (lease, attempt_timeout) = Self::times(reader);
        let metrics = match reader.env.given("METRICS") {
            Some("") => Some(None),
            _ => reader.value("METRICS", METRICS, address).map(Some),
        };
        let api = Self::api(reader);
        let options = Options {
            batch: usize::try_from(batch?).unwrap_or(usize::MAX),
            schedule: schedule?,
            adopt_after: adopt_after?,
            keep: keep?,
            in_flight_max: usize::try_from(in_flight_max?).unwrap_or(usize::MAX),
            reconnect: (tries?, pause?),
            lease: lease?,
            attempt_timeout: attempt_timeout?,
            ..Options::default()
        };
        // without retries a breaker would keep tasks open that the original fails at once
        let breaker = if options.schedule.is_none() { Breaking::Off } else { Breaking::On };
        let concurrency = Concurrency { total: options.in_flight_max, breaker, ..Concurrency::default() };
        Some(Self { options, sender: SenderSettings { concurrency, ..sender }, metrics: metrics?, api: api? })
    }

    /// Reads the address and the token of the HTTP API, which is off without an address.
    fn api(reader: &mut Reader<'_>) -> Option<Option<(SocketAddr, ApiToken)>> {
        let address = reader.value("API", "", optional(api_address))?;
        let Some(address) = address else { return Some(None) };
        match ApiToken::new(&reader.secret("API_TOKEN").unwrap_or_default()) {
            Ok(token) => Some(Some((address, token))),
            Err(fault) => {
                reader.fault(fault);
                None
            }
        }
    }
}

impl RunConfig {
    /// Reads how long a lease and an attempt last. A lease must outlast the time ahead, the attempt and a missed heartbeat.
    fn times(reader: &mut Reader<'_>) -> (Option<Duration>, Option<Duration>) {
        let lease = reader.value("LEASE", "30s", durations::parse);
        let timeout = reader.value("TIMEOUT", "15s", durations::parse);
        let (Some(lease), Some(timeout)) = (lease, timeout) else { return (None, None) };
        if timeout.is_zero() || timeout > Duration::from_secs(60) {
            reader.fault("TIMEOUT: an attempt may take up to 60s, and not 0s");
        } else if lease < timeout * 3 / 2 + Duration::from_secs(1) || lease > Duration::from_secs(3600) {
            let least = durations::show(timeout * 3 / 2 + Duration::from_secs(1));
            reader.fault(format!("LEASE: with this TIMEOUT it must last from {least} to 1h"));
        }
        (Some(lease), Some(timeout))
    }
}

fn number(least: u32, most: u32) -> impl Fn(&str) -> Result<u32, String> {
    move |text| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("is no whole number from {least} to {most}"))
    }
}

/// Reads the original's number of seconds, or a duration with a unit.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds) => Ok(Duration::from_secs(u64::from(seconds))),
        Err(_) => durations::parse(text),
    }
}

fn optional<T>(read: impl Fn(&str) -> Result<T, String>) -> impl Fn(&str) -> Result<Option<T>, String> {
    move |text| if text.is_empty() { Ok(None) } else { read(text).map(Some) }
}

fn api_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "is no address. Write it like 127.0.0.1:5000, or API= to do without".to_owned())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "is no address. Write it like 127.0.0.1:9465, or METRICS= to do without".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        Env::from_pairs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    const ORIGINAL: [(&str, &str); 3] = [("DB_HOST", "db"), ("DB_USER", "root"), ("DB_PASSWORD", "1234")];

    #[test]
    fn the_originals_variables_have_the_originals_defaults() {
        let (config, run) = RunConfig::read(&env(&ORIGINAL)).expect("configuration");
        assert_eq!(config.database.to_string(), "db:3306/timer_db");
        assert_eq!(run.options.batch, 10);
        assert_eq!(run.options.reconnect, (10, Duration::from_secs(1)));
        assert_eq!(run.options.schedule.to_string(), "none");
        assert_eq!(run.options.keep, None);
    }

    #[test]
    fn a_url_brings_retries() {
        let (config, run) = RunConfig::read(&env(&[("TIMER_DB", "postgres://u:p@h/d")])).expect("configuration");
        assert_eq!(config.database.to_string(), "h:5432/d");
        assert_eq!(run.options.schedule.to_string(), RETRIES);
    }

    #[test]
    fn all_faults_are_reported_at_once_and_no_password_among_them() {
        let wrong = [
            ("TIMER_DB", "oracle://u:hunter2@h/d"),
            ("BATCH_SIZE", "many"),
            ("RETRIES", "soon"),
            ("KEEP", "7"),
            ("TIMER_ZONE", "here and there"),
            ("LOG_FORMAT", "xml"),
            ("METRICS", "9465"),
            ("ALLOW_PRIVATE", "everything"),
            ("ENDPOINTS", "/nowhere/endpoints.toml"),
            ("CA_FILE", "/nowhere/ca.pem"),
        ];
        let faults = RunConfig::read(&env(&wrong)).expect_err("faults").to_string();
        for (name, _) in wrong {
            assert!(faults.contains(name), "{name}: {faults}");
        }
        assert!(!faults.contains("hunter2"), "{faults}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let faults = Config::read(&env(&[])).expect_err("faults").to_string();
        for name in ["TIMER_DB", "DB_HOST", "DB_USER", "DB_PASSWORD"] {
            assert!(faults.contains(name), "{faults}");
        }
    }
}
