//! Reads the configuration: flags, and environment variables of the same names with `REPLAY_` before them. All faults are
//! reported at once.

pub mod duration;
mod env;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use pe_publish::Destination;
use pe_publish::file::Layout;
use pe_runtime::log::LogFormat;
use time::UtcOffset;

use crate::control::{RATE_MAX, RATE_MIN};
use crate::queue::OnLag;
use crate::report::MaxLateness;
use crate::schedule::Pace;
use crate::source::TableSpec;
use crate::timestamp::{self, Micros};

pub use env::Env;

/// Everything that is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is wrong:\n{}", .0.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n"))]
pub struct Faults(pub Vec<String>);

/// The database that rows come from.
#[derive(Clone, Debug)]
pub enum Database {
    Postgres(Box<pe_postgres::settings::Settings>),
}

/// Where records go.
#[derive(Clone, Debug)]
pub enum To {
    Plain(Destination),
}

/// What a replay needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    pub from: Database,
    pub tables: Vec<TableSpec>,
    pub condition: Option<String>,
    pub start: Option<Micros>,
    pub end: Option<Micros>,
    pub zone: UtcOffset,
    pub to: Vec<To>,
    pub rate: f64,
    pub pace: Pace,
    pub window: Duration,
    pub on_lag: OnLag,
    pub max_gap: Option<Duration>,
    pub repeat: bool,
    pub start_at: Option<Micros>,
    pub retime: bool,
    pub clock: Option<Destination>,
    pub checkpoint: Option<PathBuf>,
    pub resume: bool,
    pub snapshot: bool,
    pub max_lateness: Option<MaxLateness>,
    pub metrics: Option<SocketAddr>,
    pub log_format: LogFormat,
}

impl std::fmt::Display for To {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(destination) => destination.fmt(f),
        }
    }
}

/// Reads values one after the other and collects what is wrong with them.
struct Reader<'a> {
    env: &'a Env,
    faults: Vec<String>,
}

impl Reader<'_> {
    fn fault(&mut self, name: &str, fault: impl std::fmt::Display) {
        self.faults.push(format!("--{name}: {fault}"));
    }

    /// Reads a value in the form that `read` knows; `None` if it is not given or wrong.
    fn optional<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.env.get(name)?.to_owned();
        read(&text).map_err(|fault| self.fault(name, format!("{text:?} {fault}"))).ok()
    }

    fn value<T>(&mut self, name: &str, default: T, read: impl Fn(&str) -> Result<T, String>) -> T {
        self.optional(name, read).unwrap_or(default)
    }

    fn flag(&mut self, name: &str) -> bool {
        self.value(name, false, |text| match text {
            "true" | "1" | "yes" => Ok(true),
            "false" | "0" | "no" => Ok(false),
            _ => Err("is neither true nor false".to_owned()),
        })
    }

    /// Reads a list; values are not repeated in faults, for they may hold passwords.
    fn list<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let texts = self.env.list(name).unwrap_or_else(|fault| {
            self.fault(name, fault);
            Vec::new()
        });
        let mut values = Vec::new();
        for (number, text) in (1..).zip(&texts) {
            match read(text) {
                Ok(value) => values.push(value),
                Err(fault) => self.fault(name, format!("the {number}. is wrong: {fault}")),
            }
        }
        values
    }
}

impl Config {
    /// Reads everything.
    ///
    /// # Errors
    /// Returns all faults.
    pub fn read(env: &Env) -> Result<Self, Faults> {
        let mut reader = Reader { env, faults: Vec::new() };
        let zone = reader.value("time-zone", UtcOffset::UTC, timestamp::zone);
        let at = |text: &str| timestamp::parse(text, zone);
        let from = from(&mut reader);
        let (tables, to) = (reader.list("table", TableSpec::from_str), destinations(&mut reader));
        let config =
            Self {
                tables,
                condition: reader.env.get("where").map(str::to_owned),
                start: reader.optional("start", at),
                end: reader.optional("end", at),
                zone,
                to,
                rate: reader.value("rate", 1.0, rate),
                pace: reader.value("pace", Pace::Window, Pace::from_str),
                window: reader.value("window", Duration::from_secs(1), duration::parse_positive),
                on_lag: reader.value("on-lag", OnLag::Queue, OnLag::from_str),
                max_gap: reader.optional("max-gap", duration::parse),
                repeat: reader.flag("loop"),
                start_at: reader.optional("start-at", at),
                retime: reader
                    .value("retime", false, |text| if text == "now" { Ok(true) } else { Err("is not now".to_owned()) }),
                clock: reader.list("clock", Destination::from_str).pop(),
                checkpoint: reader.env.get("checkpoint").map(PathBuf::from),
                resume: reader.flag("resume"),
                snapshot: reader.flag("snapshot"),
                max_lateness: reader.optional("max-lateness", MaxLateness::from_str),
                metrics: reader.optional("metrics", address),
                log_format: reader.value("log-format", LogFormat::Text, |text| {
                    text.parse().map_err(|_| "is neither text nor json".to_owned())
                }),
                // a fault is reported if there is none
                from: match from {
                    Some(from) => from,
                    None => return Err(Faults(reader.faults)),
                },
            };
        config.check(&mut reader);
        if reader.faults.is_empty() { Ok(config) } else { Err(Faults(reader.faults)) }
    }

    /// Checks what values have to do with each other.
    fn check(&self, reader: &mut Reader<'_>) {
        if self.tables.is_empty() && !reader.faults.iter().any(|fault| fault.starts_with("--table")) {
            reader.fault("table", "not given. Write --table TABLE:TIME_COLUMN");
        }
        if self.to.is_empty() && !reader.faults.iter().any(|fault| fault.starts_with("--to")) {
            reader.fault("to", "not given. Write --to console: to see the rows");
        }
        if self.start.zip(self.end).is_some_and(|(start, end)| start >= end) {
            reader.fault("start", "must be before --end");
        }
        if self.resume && self.checkpoint.is_none() {
            reader.fault("resume", "needs --checkpoint FILE");
        }
        let mut names: Vec<String> = self.to.iter().map(ToString::to_string).collect();
        names.sort();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            reader.fault("to", "a destination is given twice");
        }
    }

    /// Returns `true` if stdout belongs to the rows.
    pub fn has_console(&self) -> bool {
        self.to.iter().any(|to| matches!(to, To::Plain(Destination::Console)))
    }
}

/// Reads the database. SQLAlchemy's names of drivers (`postgresql+psycopg2://`) are dropped.
fn from(reader: &mut Reader<'_>) -> Option<Database> {
    let url = match reader.env.secret("from") {
        Ok(Some(url)) => url,
        Ok(None) => {
            reader.fault(
                "from",
                "not given. Write --from postgresql://user@host/database; a password is safer in REPLAY_FROM",
            );
            return None;
        }
        Err(fault) => {
            reader.fault("from", fault);
            return None;
        }
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        reader.fault("from", "the URL has no scheme://");
        return None;
    };
    let scheme = scheme.split_once('+').map_or(scheme, |(scheme, _)| scheme);
    match scheme {
        "postgres" | "postgresql" => {
            let settings = format!("postgresql://{rest}").parse();
            settings
                .map(|settings| Database::Postgres(Box::new(settings)))
                .map_err(|faults: pe_runtime::key_value::Faults| reader.fault("from", faults))
                .ok()
        }
        _ => {
            reader.fault("from", "the URL must begin with postgresql://");
            None
        }
    }
}

fn destinations(reader: &mut Reader<'_>) -> Vec<To> {
    let layout = reader.value("layout", Layout::Ndjson, |text| match text {
        "ndjson" => Ok(Layout::Ndjson),
        "legacy" => Ok(Layout::Legacy),
        _ => Err("is neither ndjson nor legacy".to_owned()),
    });
    reader.list("to", |text| {
        let destination: Destination = text.parse()?;
        Ok(To::Plain(match destination {
            Destination::Files { folder, .. } => Destination::Files { folder, layout },
            other => other,
        }))
    })
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok().filter(|rate: &f64| (RATE_MIN..=RATE_MAX).contains(rate));
    rate.ok_or_else(|| "is no rate: 1 is as it happened, 60 is a minute per second".to_owned())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "is no address. Write it like 127.0.0.1:9466".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        let mut env = Env::from_pairs([]);
        pairs.iter().for_each(|(name, value)| env.set(name, value));
        env
    }

    const LEAST: [(&str, &str); 3] =
        [("from", "postgresql+psycopg2://u:hunter2@h:1/d"), ("table", "t:at"), ("to", "console:")];

    #[test]
    fn defaults_are_the_originals() {
        let config = Config::read(&env(&LEAST)).expect("configuration");
        let Database::Postgres(settings) = &config.from;
        assert_eq!(settings.to_string(), "h:1/d");
        assert_eq!((config.rate, config.pace, config.window), (1.0, Pace::Window, Duration::from_secs(1)));
        assert!(config.has_console() && config.start.is_none() && !config.repeat && config.metrics.is_none());
    }

    #[test]
    fn all_faults_are_reported_at_once_and_no_password_among_them() {
        let wrong = [
            ("from", "oracle://u:hunter2@h/d"),
            ("table", "t"),
            ("to", "nats://u:hunter2@h"),
            ("rate", "-1"),
            ("pace", "slow"),
            ("window", "0s"),
            ("on-lag", "wait"),
            ("start", "yesterday"),
            ("time-zone", "Mars"),
            ("retime", "later"),
            ("max-lateness", "1"),
        ];
        let faults = Config::read(&env(&wrong)).expect_err("faults").to_string();
        assert!(faults.contains("--from") && faults.contains("--to"), "{faults}");
        assert!(!faults.contains("hunter2"), "{faults}");
        let mut sound_from = wrong.to_vec();
        sound_from[0] = LEAST[0];
        let faults = Config::read(&env(&sound_from)).expect_err("faults").to_string();
        for (name, _) in &wrong[1..] {
            assert!(faults.contains(&format!("--{name}")), "{name}: {faults}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_said() {
        let with = |more: &[(&str, &str)]| {
            let mut pairs = LEAST.to_vec();
            pairs.extend_from_slice(more);
            Config::read(&env(&pairs)).expect_err("faults").to_string()
        };
        assert!(with(&[("resume", "true")]).contains("--checkpoint"));
        assert!(with(&[("start", "2020-01-02"), ("end", "2020-01-02")]).contains("before --end"));
    }
}
