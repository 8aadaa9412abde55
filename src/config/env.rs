//! The environment as it is: one field per variable, all of them text, with the defaults as one would write them.
//! Nothing is judged here; that is the rich config's work. Quotes around a value, which some env-file readers keep and
//! others take off, are taken off.

use serde::Deserialize;

/// Each variable's text. There is no `Debug`: three of them hold passwords.
#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub struct Env {
    pub run_as_service: String,
    pub min_sleep: String,
    pub max_sleep: String,
    pub dry_run: String,
    pub notifications: String,
    pub nats: String,
    pub source: String,
    pub target: String,
    pub target_schema: String,
    pub tables: String,
    pub feed: String,
    pub limits: String,
    pub settle: String,
    pub max_remove: String,
    pub on_bad_row: String,
    pub max_rejects: String,
    pub event_id: String,
    pub metrics: String,
    pub metrics_file: String,
    pub log_format: String,
    pub migrate: String,
    pub keep_messages: String,
    /// `true` if METRICS was given, even if empty.
    #[serde(skip)]
    pub metrics_given: bool,
}

impl Default for Env {
    fn default() -> Self {
        let text = str::to_owned;
        Self {
            run_as_service: text("True"),
            min_sleep: text("15"),
            max_sleep: text("30"),
            dry_run: text("False"),
            notifications: text("True"),
            nats: text(""),
            source: text(""),
            target: text(""),
            target_schema: text(""),
            tables: text(""),
            feed: text(""),
            limits: text(""),
            settle: text("60"),
            max_remove: text("50%"),
            on_bad_row: text("stop"),
            max_rejects: text("1%"),
            event_id: text("event_id"),
            metrics: text("127.0.0.1:9464"),
            metrics_file: text(""),
            log_format: text("text"),
            migrate: text("True"),
            keep_messages: text("30"),
            metrics_given: false,
        }
    }
}

impl Env {
    /// Reads the variables in `pairs`; absent and empty ones get their defaults. Names in lower case are ignored.
    /// Only METRICS may be given empty, which has a meaning of its own.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, envy::Error> {
        let mut metrics_given = false;
        let pairs = pairs.into_iter().filter(|(name, _)| !name.contains(char::is_lowercase));
        let pairs = pairs.map(|(name, value)| {
            metrics_given |= name == METRICS;
            let value = plain(&value).to_owned();
            (name, value)
        });
        let given = pairs.filter(|(name, value)| name == METRICS || !value.is_empty());
        let env: Self = envy::from_iter(given)?;
        Ok(Self { metrics_given, ..env })
    }
}

const METRICS: &str = "METRICS";

/// Returns the variables of this process. Those that are not UTF-8 cannot be ours, so they may be mangled.
#[allow(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub fn of_this_process() -> impl Iterator<Item = (String, String)> {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (text(name), text(value)))
}

/// Returns the user of this machine, for the ledger's `actor`.
pub fn user() -> String {
    let named = |wanted: &str| of_this_process().find(|(name, _)| name == wanted).map(|(_, value)| value);
    named("USER").or_else(|| named("LOGNAME")).filter(|name| !name.is_empty()).unwrap_or_else(|| "operator".to_owned())
}

fn plain(value: &str) -> &str {
    let value = value.trim();
    let within = |quote| value.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    within('"').or_else(|| within('\'')).unwrap_or(value).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Env::from_pairs(pairs).expect("env")
    }

    #[test]
    fn what_is_given_wins_and_what_is_empty_or_foreign_does_not() {
        let env = env(&[("MIN_SLEEP", "3"), ("MAX_SLEEP", " "), ("PATH", "/bin"), ("settle", "9"), ("Settle", "9")]);
        assert_eq!(env.min_sleep, "3");
        assert_eq!(env.max_sleep, "30");
        assert_eq!(env.settle, "60");
    }

    #[test]
    fn empty_metrics_are_given() {
        let unset = env(&[]);
        assert_eq!((unset.metrics.as_str(), unset.metrics_given), ("127.0.0.1:9464", false));
        let empty = env(&[("METRICS", "")]);
        assert_eq!((empty.metrics.as_str(), empty.metrics_given), ("", true));
    }

    #[test]
    fn quotes_around_a_value_are_not_its_own() {
        assert_eq!(env(&[("TARGET", "\"user=u password='p w'\"\r")]).target, "user=u password='p w'");
        assert_eq!(env(&[("FEED", "'null=NULL'")]).feed, "null=NULL");
        assert_eq!(env(&[("FEED", "null='x'")]).feed, "null='x'");
        assert_eq!(env(&[("FEED", "\"")]).feed, "\"");
        assert_eq!(env(&[("MIN_SLEEP", "\"\"")]).min_sleep, "15");
    }

    #[test]
    fn this_process_has_an_environment() {
        assert!(of_this_process().any(|(name, value)| name == "PATH" && !value.is_empty()));
    }
}
