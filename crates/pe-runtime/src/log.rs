//! Sets up the log: to stderr, one line per event, in the mission's form or as JSON. A message reads alone, so its fields are
//! printed only in JSON; on a terminal the level has a colour, and lines come above what is drawn there. A closed or full
//! stderr loses lines but never stops the loader.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::clock::{Clock, stamp};
use crate::sanitize;
use crate::terminal::{Colour, Screen, Stream};

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `2022-09-22 09:58:53 INFO [loader/mod.rs:370]: message`
    #[default]
    Text,
    /// `{"ts":…,"level":…,"file":…,"line":…,"message":…}` and the event's fields.
    Json,
}

/// Sets up the log. `RUST_LOG` sets the level, INFO by default; a second call changes nothing. Returns the screen on
/// which progress can be drawn, below the lines of text.
pub fn init(format: LogFormat) -> Screen {
    init_at(format, "info")
}

/// Sets up the log with another default level if `RUST_LOG` is not set.
#[allow(clippy::disallowed_methods, reason = "RUST_LOG belongs to the log alone, as everywhere in Rust")]
pub fn init_at(format: LogFormat, level: &str) -> Screen {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let (filter, understood) = filter(if wanted.trim().is_empty() { level } else { &wanted });
    let text = format == LogFormat::Text;
    let screen = if text { Screen::of_stderr() } else { Screen::default() };
    let lines = Lines { format, clock: Clock::system(), coloured: text && Stream::Err.is_coloured() };
    let writer = Above(screen.clone());
    let begun = subscriber(lines, filter, move || writer.clone()).try_init();
    if begun.is_ok() && !understood {
        tracing::warn!(
            "RUST_LOG is not understood, logging at INFO. Write it like RUST_LOG=debug or RUST_LOG=info,hyper=debug."
        );
    }
    screen
}

/// Writes above what is drawn at the lower end of a terminal. An event comes as one piece.
#[derive(Clone)]
struct Above(Screen);

impl io::Write for Above {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn subscriber<W>(lines: Lines, filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        // It would report a closed stderr on stderr, with a macro that panics when stderr is closed.
        .log_internal_errors(false)
        .event_format(lines)
        .with_env_filter(filter)
        .with_writer(writer)
        .finish()
}

/// Crates whose INFO messages matter only to their authors.
const NOISY: &str =
    "aws=warn,async_nats=warn,hyper=warn,h2=warn,rustls=warn,tokio_postgres=warn,deadpool=error,refinery=warn";

/// Returns the filter for `wanted`, and `true` if it could be parsed.
fn filter(wanted: &str) -> (EnvFilter, bool) {
    let level = if wanted.trim().is_empty() { "info" } else { wanted };
    // who wants nothing wants nothing of others either
    let others = if level == "off" { "" } else { NOISY };
    match EnvFilter::try_new(format!("{others},{level}")) {
        Ok(filter) => (filter, true),
        Err(_) => (EnvFilter::new(format!("{NOISY},info")), false),
    }
}

impl FromStr for LogFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text.to_ascii_lowercase().as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownFormat),
        }
    }
}

/// Error for an unknown log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither text nor json")]
pub struct UnknownFormat;

struct Lines {
    format: LogFormat,
    clock: Clock,
    coloured: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if tells_credentials(event.metadata()) {
            return Ok(());
        }
        let mut said = Said::default();
        event.record(&mut said);
        let at = stamp(self.clock.utc());
        match self.format {
            LogFormat::Text => writeln!(writer, "{}", text(&at, event.metadata(), &said.message, self.coloured)),
            LogFormat::Json => writeln!(writer, "{}", sanitize::json(&json(&at, event.metadata(), said))),
        }
    }
}

/// Returns `true` for events of the AWS SDK below WARN, which contain key ids and session tokens. They are never
/// logged, whatever `RUST_LOG` says.
fn tells_credentials(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("aws") && *metadata.level() > Level::WARN
}

fn text(at: &str, metadata: &Metadata<'_>, message: &str, coloured: bool) -> String {
    let second = at[..19].replace('T', " ");
    let (level, file) = (level(*metadata.level(), coloured), short(metadata.file().unwrap_or("?")));
    let line = metadata.line().unwrap_or_default();
    format!("{second} {level} [{file}:{line}]: {}", sanitize::text(message))
}

fn level(level: Level, coloured: bool) -> String {
    let colour = match level {
        _ if !coloured => return level.to_string(),
        Level::ERROR => Colour::Red,
        Level::WARN => Colour::Yellow,
        Level::INFO => Colour::Green,
        Level::DEBUG => Colour::Blue,
        Level::TRACE => Colour::Faint,
    };
    colour.paint(level.as_str())
}

fn json(at: &str, metadata: &Metadata<'_>, said: Said) -> Value {
    let mut object = Map::new();
    object.insert("ts".into(), format!("{at}Z").into());
    object.insert("level".into(), metadata.level().as_str().into());
    object.insert("file".into(), short(metadata.file().unwrap_or("?")).into());
    object.insert("line".into(), metadata.line().into());
    object.insert("message".into(), said.message.into());
    for (name, value) in said.fields {
        object.entry(name).or_insert(value);
    }
    Value::Object(object)
}

/// Returns `loader/mod.rs` for our own files, and `hyper-1.0.0/proto/mod.rs` for those of another crate.
fn short(file: &str) -> String {
    if let Some(own) = file.strip_prefix("src/") {
        return own.to_owned();
    }
    match file.rsplit_once("/src/") {
        Some((root, path)) => format!("{}/{path}", root.rsplit('/').next().unwrap_or_default()),
        None => file.to_owned(),
    }
}

/// Message of an event, and its other fields in order.
#[derive(Default)]
struct Said {
    message: String,
    fields: Map<String, Value>,
}

impl Said {
    fn note(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.note(field, value.to_string().into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.note(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use time::macros::datetime;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("paper").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closed;

    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    /// Returns the lines that `say` logs in `format` if RUST_LOG is `wanted`.
    fn logged(format: LogFormat, wanted: &str, say: impl FnOnce()) -> String {
        painted(format, wanted, false, say)
    }

    fn painted(format: LogFormat, wanted: &str, coloured: bool, say: impl FnOnce()) -> String {
        let paper = Paper::default();
        let copy = paper.clone();
        let clock = Clock::fixed(datetime!(2022-09-22 09:58:53.824890 UTC));
        let subscriber = subscriber(Lines { format, clock, coloured }, filter(wanted).0, move || copy.clone());
        tracing::subscriber::with_default(subscriber, say);
        let bytes = paper.0.lock().expect("paper").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn text_is_the_missions_line_without_fields() {
        let line = line!() + 2;
        let text = logged(LogFormat::Text, "", || {
            tracing::info!(delivery = 26, "Delivery {}: persisted to postgres.", 26);
        });
        let wanted =
            format!("2022-09-22 09:58:53 INFO [pe-runtime/log.rs:{line}]: Delivery 26: persisted to postgres.\n");
        assert_eq!(text, wanted);
    }

    #[test]
    fn only_the_level_has_a_colour() {
        let text = painted(LogFormat::Text, "", true, || {
            tracing::error!("a\u{1b}[31mb");
            tracing::warn!("c");
            tracing::info!("d");
        });
        let place = |line: &str| line.split_once(" [").map(|(head, _)| head[20..].to_owned()).unwrap_or_default();
        let levels: Vec<String> = text.lines().map(place).collect();
        assert_eq!(levels, ["\u{1b}[31mERROR\u{1b}[0m", "\u{1b}[33mWARN\u{1b}[0m", "\u{1b}[32mINFO\u{1b}[0m"]);
        assert_eq!(text.matches('\u{1b}').count(), 6, "{text}");
    }

    #[test]
    fn json_has_the_fields_in_order() {
        let line = line!() + 3;
        let text = logged(LogFormat::Json, "", || {
            let error: &(dyn std::error::Error + 'static) = &UnknownFormat;
            tracing::warn!(delivery = 26, entity = "a\"b", share = 0.5, ok = true, error, file = "x", "Said.");
        });
        let head =
            format!(r#"{{"ts":"2022-09-22T09:58:53.824890Z","level":"WARN","file":"pe-runtime/log.rs","line":{line}"#);
        let tail = r#","message":"Said.","delivery":26,"entity":"a\"b","share":0.5,"ok":true,"error":"neither text nor json"}"#;
        assert_eq!(text, format!("{head}{tail}\n"));
    }

    #[test]
    fn a_message_cannot_forge_a_line() {
        let text = logged(LogFormat::Text, "", || tracing::info!("a\n2022 b\u{1b}[1m é"));
        assert_eq!(text.lines().count(), 1);
        assert!(text.ends_with("]: a\\n2022 b\\u{1b}[1m é\n"), "{text}");
    }

    #[test]
    fn info_is_the_default_and_noisy_crates_only_warn() {
        let say = || {
            tracing::debug!("ours, debug");
            tracing::info!("ours, info");
            tracing::info!(target: "hyper::proto", "theirs, info");
            tracing::warn!(target: "hyper::proto", "theirs, warn");
        };
        let said = |wanted: &str| {
            let text = logged(LogFormat::Text, wanted, say);
            let lines = text.lines().map(|line| line.rsplit(": ").next().unwrap_or_default().to_owned());
            lines.collect::<Vec<_>>()
        };
        let default = ["ours, info", "theirs, warn"];
        assert_eq!(said(""), default);
        assert_eq!(said("no=such=level"), default);
        assert_eq!(said("debug"), ["ours, debug", "ours, info", "theirs, warn"]);
        assert_eq!(said("error,hyper=info"), ["theirs, info", "theirs, warn"]);
        assert!(!filter("no=such=level").1);
    }

    #[test]
    fn what_the_aws_sdk_says_of_credentials_is_not_shown() {
        let say = || {
            tracing::trace!(target: "aws_sigv4::http_request::sign", token = "hunter2", "hunter2");
            tracing::info!(target: "aws_config::profile", "hunter2");
            tracing::warn!(target: "aws_config::profile", "said");
            tracing::trace!(target: "hyper::proto", "said");
        };
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, "trace,aws=trace,aws_sigv4::http_request=trace,hyper=trace", say);
            assert_eq!((text.lines().count(), text.matches("said").count()), (2, 2), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_closed_stderr_is_no_reason_to_panic() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let lines = Lines { format, clock: Clock::system(), coloured: false };
            let subscriber = subscriber(lines, filter("").0, || Closed);
            tracing::subscriber::with_default(subscriber, || tracing::error!("into the void"));
        }
    }

    #[test]
    fn files_are_short_and_say_whose_they_are() {
        assert_eq!(short("src/loader/mod.rs"), "loader/mod.rs");
        assert_eq!(short("/r/index/hyper-1.2.3/src/proto/mod.rs"), "hyper-1.2.3/proto/mod.rs");
        assert_eq!(short("odd.rs"), "odd.rs");
    }

    #[test]
    fn formats_are_read_in_any_case() {
        assert_eq!("JSON".parse(), Ok(LogFormat::Json));
        assert_eq!("text".parse(), Ok(LogFormat::Text));
        assert_eq!("xml".parse::<LogFormat>(), Err(UnknownFormat));
    }
}
