//! The configuration's tests: what each variable does, that all faults come at once, that none tells a secret, and
//! that `config.env.sample` is true.

use std::collections::BTreeMap;

use super::*;
use crate::decode::limits::Limits;
use crate::load::settings::{BadRows, Share};
use crate::secret::Secret;
use notifier::settings::Login;

/// The least that must be given.
const LEAST: [(&str, &str); 3] = [
    ("NATS", "nats://user:hunter2@host:4222"),
    ("SOURCE", "bucket_name=feed"),
    ("TARGET", "user=u password=hunter2 host=localhost"),
];

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Reads `pairs` in addition to the mandatory variables.
fn read(pairs: &[(&str, &str)], overrides: Overrides) -> Result<Config, Faults> {
    let all: BTreeMap<_, _> = owned(&LEAST).into_iter().chain(owned(pairs)).collect();
    Config::from_pairs(all, overrides)
}

fn config(pairs: &[(&str, &str)]) -> Config {
    read(pairs, Overrides::default()).expect("config")
}

/// Returns the only error of one variable set to `value`.
fn fault(variable: &'static str, value: &str) -> String {
    let Faults(faults) = read(&[(variable, value)], Overrides::default()).expect_err(value);
    let [fault] = faults.as_slice() else { panic!("{faults:#?}") };
    assert_eq!(fault.variable, variable);
    fault.message.clone()
}

#[test]
fn the_defaults_are_the_missions_and_the_designs() {
    let config = config(&[]);
    assert!(config.run_as_service && !config.dry_run);
    assert_eq!(config.sleep, (Duration::from_secs(15), Duration::from_secs(30)));
    assert_eq!(config.settle, Duration::from_secs(60));
    assert_eq!(config.metrics, Some(SocketAddr::from(([127, 0, 0, 1], 9464))));
    assert_eq!(config.log_format, LogFormat::Text);
    assert_eq!(config.dialect, Dialect::default());
    assert_eq!(config.target.schema, None);
    assert_eq!(config.target.max_remove, Share::Percent(50.0));
    assert_eq!(config.target.event_id, "event_id");
    assert!(config.target.migrate);
    assert_eq!(config.target.keep_messages_days, 30);
}

#[test]
fn every_variable_arrives() {
    let config = config(&[
        ("RUN_AS_SERVICE", "no"),
        ("MIN_SLEEP", "0.5"),
        ("MAX_SLEEP", "0.5"),
        ("DRY_RUN", "TRUE"),
        ("NATS", "tls://h"),
        ("SOURCE", "bucket_name=b bucket_path=p"),
        ("TARGET", "host=db dbname=d"),
        ("TARGET_SCHEMA", "dbo"),
        ("FEED", r"delimiter=\t null=\N"),
        ("LIMITS", "max_ratio=7"),
        ("SETTLE", "0"),
        ("MAX_REMOVE", "1000"),
        ("EVENT_ID", "seq"),
        ("METRICS", "[::]:1"),
        ("METRICS_FILE", "/tmp/x.prom"),
        ("LOG_FORMAT", "json"),
        ("MIGRATE", "0"),
        ("KEEP_MESSAGES", "7"),
    ]);
    assert!(!config.run_as_service && config.dry_run && !config.target.migrate);
    assert_eq!(config.sleep, (Duration::from_millis(500), Duration::from_millis(500)));
    assert_eq!(config.notifier.expect("notifier").servers, ["tls://h:4222"]);
    assert_eq!((config.source.bucket.as_str(), config.source.path.as_str()), ("b", "p"));
    assert_eq!(config.target.postgres.to_string(), "db:5432/d");
    assert_eq!(config.target.schema.as_deref(), Some("dbo"));
    assert_eq!(
        config.dialect,
        Dialect {
            delimiter: b"\t".to_vec(),
            null: vec![br"\N".to_vec()],
            limits: Limits { max_ratio: 7, ..Limits::default() },
            ..Dialect::default()
        }
    );
    assert_eq!(config.settle, Duration::ZERO);
    assert_eq!(config.target.max_remove, Share::Rows(1000));
    assert_eq!(config.target.event_id, "seq");
    assert_eq!(config.metrics.map(|address| address.to_string()).as_deref(), Some("[::]:1"));
    assert_eq!(config.metrics_file, Some(MetricsFile::new("/tmp/x.prom".into())));
    assert_eq!((config.log_format, config.target.keep_messages_days), (LogFormat::Json, 7));
}

#[test]
fn an_empty_environment_names_what_is_needed() {
    let faults = Config::from_pairs([], Overrides::default()).expect_err("faults");
    let said = faults.to_string();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[0].starts_with("NATS: empty") && lines[0].contains("NOTIFICATIONS=False"), "{said}");
    assert!(lines[1].starts_with("SOURCE: empty. Write") && lines[1].contains("bucket_name="), "{said}");
    assert!(lines[2].starts_with("TARGET: empty. Write") && lines[2].contains("dbname=paper_engine"), "{said}");
}

#[test]
fn everything_wrong_is_said_at_once_and_no_secret_with_it() {
    let wrong = "hunter2=";
    let names = [
        "RUN_AS_SERVICE",
        "DRY_RUN",
        "MIN_SLEEP",
        "MAX_SLEEP",
        "NOTIFICATIONS",
        "SOURCE",
        "TARGET",
        "MAX_REMOVE",
        "MIGRATE",
        "KEEP_MESSAGES",
        "TABLES",
        "FEED",
        "LIMITS",
        "SETTLE",
        "ON_BAD_ROW",
        "MAX_REJECTS",
        "METRICS",
        "LOG_FORMAT",
    ];
    let Err(faults) = Config::from_pairs(owned(&names.map(|name| (name, wrong))), Overrides::default()) else {
        panic!("no faults");
    };
    for name in names {
        assert!(faults.0.iter().any(|fault| fault.variable == name), "{name} is missing in\n{faults}");
    }
    assert!(!faults.to_string().contains("hunter2"), "{faults}");
    assert!(!format!("{faults:?}").contains("hunter2"));
}

#[test]
fn sleeps_must_make_sense() {
    for value in ["-1", "NaN", "inf", "soon", "1e300", "15s"] {
        assert!(fault("SETTLE", value).contains("not a number of seconds"), "{value}");
        assert!(fault("MIN_SLEEP", value).contains("MIN_SLEEP=15"), "{value}");
    }
    assert!(fault("MIN_SLEEP", "30.5").contains("30.5 is more than MAX_SLEEP, which is 30"));
}

#[test]
fn flags_in_all_spellings() {
    for (text, wanted) in [("True", true), ("yes", true), ("1", true), ("fALSE", false), ("No", false), ("0", false)] {
        assert_eq!(config(&[("MIGRATE", text)]).target.migrate, wanted, "{text}");
    }
    assert!(fault("MIGRATE", "on").contains("MIGRATE=True or MIGRATE=False"));
}

#[test]
fn notifications_off_need_no_broker() {
    let off = config(&[("NOTIFICATIONS", "False"), ("NATS", "")]);
    assert_eq!(off.notifier, None);
    assert!(fault("NATS", "").contains("NOTIFICATIONS=False"));
    assert!(fault("NATS", "ws://h").contains("scheme"));
    let on = config(&[]).notifier.expect("notifier");
    let password = Secret::from("hunter2".to_owned());
    assert_eq!(on.login, Login::Password { user: "user".to_owned(), password });
}

#[test]
fn files_that_are_named_must_be_there() {
    assert!(fault("NATS", "nats://h?credentials=/no/such/file").contains("credentials cannot be read"));
    assert!(fault("TARGET", "host=h sslmode=verify-ca sslrootcert=/no/such").contains("sslrootcert cannot be read"));
}

#[test]
fn settings_of_tables_are_read_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tables.toml");
    std::fs::write(&file, "[\"dbo.*\"]\nsole_writer = true\n").expect("written");
    let path = file.to_str().expect("a path");
    let config = config(&[("TABLES", path)]);
    assert!(*config.target.sole_writer.of("dbo", "e") && !*config.target.sole_writer.of("x", "e"));
    assert!(fault("TABLES", "/no/such").starts_with("the file cannot be read: "));
    std::fs::write(&file, "[\"dbo.*\"]\nmode = \"append\"\nsole_writer = 1\n").expect("written");
    let Faults(faults) = read(&[("TABLES", path), ("SETTLE", "x")], Overrides::default()).expect_err("faults");
    let said: Vec<_> = faults.iter().map(|fault| (fault.variable, &fault.message[..8])).collect();
    assert_eq!(said, [("TABLES", "line 2, "), ("TABLES", "line 3, "), ("SETTLE", "\"x\" is n")]);
}

#[test]
fn bad_rows_stop_a_delivery_or_are_kept_aside() {
    for variable in ["MAX_REMOVE", "MAX_REJECTS"] {
        assert!(fault(variable, "101%").contains(&format!("{variable}=50%")));
    }
    assert_eq!(config(&[("MAX_REJECTS", "2"), ("ON_BAD_ROW", "Stop")]), config(&[]));
    let quarantine = config(&[("MAX_REJECTS", "2"), ("ON_BAD_ROW", "quarantine")]);
    assert_eq!(quarantine.target.bad_rows, BadRows::Quarantine { most: Share::Rows(2) });
    assert!(fault("ON_BAD_ROW", "ignore").contains("ON_BAD_ROW=quarantine"));
}

#[test]
fn names_must_fit_into_postgres() {
    assert!(fault("TARGET_SCHEMA", &"x".repeat(64)).contains("63"));
    assert!(fault("EVENT_ID", &"x".repeat(64)).contains("63"));
}

#[test]
fn the_command_line_wins() {
    let wins = Overrides { once: Some(true), dry_run: Some(true), ..Overrides::default() };
    let once = read(&[("RUN_AS_SERVICE", "True"), ("DRY_RUN", "neither")], wins).expect("config");
    assert!(!once.run_as_service && once.dry_run);
    let service = Overrides { once: Some(false), ..Overrides::default() };
    assert!(read(&[("RUN_AS_SERVICE", "False")], service).expect("config").run_as_service);
}

#[test]
fn who_only_looks_is_not_kept_from_it_by_what_only_a_run_needs() {
    let wrong = [
        ("MIN_SLEEP", "99"),
        ("MAX_REMOVE", "101%"),
        ("METRICS", "x"),
        ("METRICS_FILE", "/no/such/x.prom"),
        ("LIMITS", "x"),
        ("NATS", ""),
    ];
    let looks = Overrides { silent: true, only: Some(LOOKS), ..Overrides::default() };
    assert_eq!(read(&wrong, looks), read(&[], looks));
    let Faults(faults) = read(&wrong, Overrides { only: Some(READS), ..looks }).expect_err("LIMITS are judged");
    assert!(faults.iter().all(|fault| fault.variable == "LIMITS"), "{faults:?}");
    for name in LOOKS {
        let spoilt = if *name == "TARGET_SCHEMA" { "x".repeat(64) } else { "x".to_owned() };
        let Faults(faults) = read(&[(name, &spoilt)], looks).expect_err(name);
        assert!(faults.iter().all(|fault| fault.variable == *name), "{faults:?}");
    }
}

#[test]
fn a_slip_is_shown() {
    for (variable, value, wanted) in [
        ("ON_BAD_ROW", "quarantin", "\"quarantin\" is neither stop nor quarantine. Write ON_BAD_ROW=stop or"),
        ("LOG_FORMAT", "jsn", "\"jsn\" is neither text nor json. Write LOG_FORMAT=text or LOG_FORMAT=json"),
        ("MIGRATE", "ture", "\"ture\" is neither True nor False. Write"),
        ("SETTLE", "15s", "\"15s\" is not a number of seconds"),
        ("KEEP_MESSAGES", "1.5", "\"1.5\" is not a whole number of days. Write it like KEEP_MESSAGES=30"),
        ("METRICS", "9464", "\"9464\" is not an IP address with a port. Write"),
        ("MAX_REJECTS", "1,5%", "\"1,5%\" is neither a percentage"),
        ("KEEP_MESSAGES", "a month", "not a whole number of days"),
        ("ON_BAD_ROW", "ignore", "neither stop nor quarantine"),
    ] {
        let said = fault(variable, value);
        assert!(said.starts_with(wanted), "{variable}={value}: {said}");
    }
}

#[test]
fn a_run_once_listens_only_when_asked() {
    let address = Some(SocketAddr::from(([127, 0, 0, 1], 9464)));
    assert_eq!(config(&[]).listen(), address);
    assert_eq!(config(&[("RUN_AS_SERVICE", "0")]).listen(), None);
    assert_eq!(config(&[("RUN_AS_SERVICE", "0"), ("METRICS", "127.0.0.1:9464")]).listen(), address);
    assert_eq!(config(&[("METRICS", "")]).listen(), None);
    assert!(fault("METRICS", "9464").contains("METRICS=127.0.0.1:9464"));
}

#[test]
fn the_folder_of_the_metrics_file_must_be_there() {
    assert_eq!(config(&[]).metrics_file, None);
    assert!(fault("METRICS_FILE", "/no/such/folder/x.prom").starts_with("its folder is not there. Make"));
    assert!(fault("METRICS_FILE", "/tmp").starts_with("a folder. Write"));
}

#[test]
fn debug_shows_no_secret() {
    let config = config(&[("SOURCE", "bucket_name=b bucket_id=me bucket_key=hunter2")]);
    assert!(!format!("{config:?}").contains("hunter2"));
}

/// Returns the variables of the sample, including those that are commented out.
fn sample() -> BTreeMap<String, String> {
    let text = include_str!("../../config.env.sample");
    let lines = text.lines().map(|line| line.strip_prefix('#').unwrap_or(line));
    let pairs = lines.filter_map(|line| line.split_once('='));
    let ours = pairs.filter(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    ours.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn the_sample_shows_every_variable_with_its_default() {
    let defaults = serde_json::to_value(Env::default()).expect("defaults");
    let defaults = defaults.as_object().expect("an object").iter();
    let defaults = defaults.map(|(name, value)| (name.to_uppercase(), value.as_str().unwrap_or_default().to_owned()));
    assert_eq!(sample(), defaults.collect());
}

#[test]
fn the_sample_filled_in_is_the_least() {
    let text = include_str!("../../config.env.sample");
    let given = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    let given: Vec<_> = given.filter(|(name, _)| !LEAST.iter().any(|(least, _)| least == name)).collect();
    assert_eq!(config(&given), config(&[]));
}
