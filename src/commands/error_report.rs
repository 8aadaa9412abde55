//! Report of an error for people: what is wrong, where, why, and what to do. On a terminal the lines are wrapped to
//! its width; elsewhere each part is one line.

use std::io::Write;

use super::term_format;
use crate::config::{Config, Faults};
use crate::loader::Error;
use crate::ops::BindError;
use crate::terminal::{Colour, Stream};
use crate::{load, pg, source};

/// Parts of an error; unknown parts are empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorReport {
    what: String,
    place: String,
    why: String,
    next: String,
    /// Errors of the configuration: the variable, what is wrong with it, and the correct form.
    faults: Vec<(String, String, String)>,
}

/// Says it on stderr, whether or not the log has begun. A closed stderr is no reason to panic.
pub(super) fn say(error: &anyhow::Error) {
    let shape = Shape { width: Stream::Err.width().unwrap_or(usize::MAX), coloured: Stream::Err.is_coloured() };
    drop(std::io::stderr().write_all(ErrorReport::of(error).lines(&shape).as_bytes()));
}

/// Format of the report.
struct Shape {
    width: usize,
    coloured: bool,
}

impl ErrorReport {
    fn of(error: &anyhow::Error) -> Self {
        if let Some(faults) = error.downcast_ref::<Faults>() {
            return Self::of_faults(faults);
        }
        if let Some(BindError { address, source }) = error.downcast_ref() {
            let next = "Write another address or port into METRICS, or METRICS= to do without.";
            return Self::new("cannot listen for the page, /metrics, /healthz and /readyz")
                .at(address)
                .why(source)
                .next(next);
        }
        match error.downcast_ref::<Error>() {
            // The context of the error, such as a file, comes first.
            Some(inner) if inner.to_string() != error.to_string() => Self::of_loader(inner).with(error),
            Some(inner) => Self::of_loader(inner),
            None => Self::of_chain(error),
        }
    }

    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    fn at(self, place: impl ToString) -> Self {
        Self { place: place.to_string(), ..self }
    }

    fn why(self, why: impl ToString) -> Self {
        Self { why: why.to_string(), ..self }
    }

    fn next(self, next: impl Into<String>) -> Self {
        Self { next: next.into(), ..self }
    }

    fn of_faults(Faults(faults): &Faults) -> Self {
        let count = term_format::count(faults.len() as u64, "fault");
        let split = |message: &str| match message.split_once(". ") {
            Some((wrong, next)) => (wrong.to_owned(), ended(next)),
            None => (message.to_owned(), String::new()),
        };
        let faults = faults.iter().map(|fault| {
            let (wrong, next) = split(&fault.message);
            (fault.variable.to_owned(), wrong, next)
        });
        Self { faults: faults.collect(), ..Self::new(format!("the configuration has {count}")) }
    }

    /// Adds the context of an error, such as a file.
    fn with(self, error: &anyhow::Error) -> Self {
        let context = error.to_string();
        match self.place.as_str() {
            "" => Self { place: context, ..self },
            place => Self { place: format!("{context}, {place}"), ..self },
        }
    }

    /// Splits an error without parts: the first message says what is wrong, its causes why, without repetition.
    fn of_chain(error: &anyhow::Error) -> Self {
        let mut said = error.to_string();
        let mut why = Vec::new();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !said.contains(&cause) {
                said.push_str(&cause);
                why.push(cause);
            }
        }
        let what = error.to_string();
        let (what, next) = match what.split_once(". ") {
            Some((what, next)) => (what.to_owned(), ended(next)),
            None => {
                let file = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
                (what, file.map_or("", |file| of_file(file.kind())).to_owned())
            }
        };
        Self::new(what).why(why.join(": ")).next(next)
    }

    fn of_loader(error: &Error) -> Self {
        match error {
            Error::Source(error) => Self::of_source(error),
            Error::Target(error) => Self::of_target(error),
            Error::Moved { .. } => Self::new(error.to_string()),
        }
    }

    fn of_source(error: &source::Error) -> Self {
        use source::Error::*;
        match error {
            Unreachable { bucket, endpoint, what } => Self::new("cannot reach the bucket")
                .at(format!("bucket {bucket} at {endpoint} (SOURCE)"))
                .why(what)
                .next("Is bucket_endpoint in SOURCE right, and does it answer from this machine? Then try again."),
            Refused { bucket, endpoint, what, hint } => Self::new("the bucket refuses")
                .at(format!("bucket {bucket} at {endpoint} (SOURCE)"))
                .why(what)
                .next(*hint),
            Authorities(why) => Self::new("cannot read the certificates of the authorities that this machine trusts")
                .why(why)
                .next("Install the package ca-certificates, or set SSL_CERT_FILE."),
            Spill(why) => Self::new("no room to sort the listing in")
                .at(std::env::temp_dir().display())
                .why(why)
                .next("Make room there, or set TMPDIR to a folder that has some."),
            other => Self::new(other.to_string()),
        }
    }

    fn of_target(error: &load::Error) -> Self {
        use load::Error::*;
        match error {
            Pg(error) => Self::of_pg(error),
            SchemaMissing { missing } => Self::new("the loader's tables are missing, or old")
                .at(postgres())
                .why(format!("{} not applied", term_format::count(*missing as u64, "migration")))
                .next("Run `paper-engine-orders migrate` as their owner, or `run --once` with MIGRATE=True."),
            SchemaNewer { found, known } => Self::new("the loader's tables are newer than this program")
                .at(postgres())
                .why(format!("they are of version {found}, it knows {known}"))
                .next("Upgrade it: use the version that the other loaders of this database are of."),
            NoDelivery { id } => Self::new(format!("the ledger has no delivery {id}"))
                .at(postgres())
                .next("`deliveries list` shows those there are. Nothing was changed."),
            OtherFeed { id, feed } => Self::new(format!("delivery {id} belongs to another feed"))
                .at(postgres())
                .why(feed)
                .next("Run the command with the SOURCE and TARGET_SCHEMA of that feed. Nothing was changed."),
            NotInState { id, status, only, possible } => Self::new(format!("delivery {id} {}", source::stands(status)))
                .at(postgres())
                .why(only)
                .next(format!("{possible}. Nothing was changed.")),
            NotThese { bad, only } => Self::new(bad.join("; "))
                .at(postgres())
                .why(only)
                .next("Leave these out; `deliveries list` shows how each stands. Nothing was changed."),
            Spill(why) => Self::new("no room for temporary data")
                .at(std::env::temp_dir().display())
                .why(why)
                .next("Make room there, or set TMPDIR to a folder that has some."),
            other => Self::new(other.to_string()),
        }
    }

    fn of_pg(error: &pg::Error) -> Self {
        match error {
            pg::Error::Connect { place, why } => {
                Self::new("cannot reach Postgres").at(format!("{place} (TARGET)")).why(why).next(of_road(why))
            }
            pg::Error::Refused(why) => Self::new("Postgres refuses the connection")
                .at(postgres())
                .why(why)
                .next("Check user, password and dbname in TARGET."),
            pg::Error::Query { door, source } => Self::new("Postgres refuses a statement")
                .at(format!("{}, {door}", postgres()))
                .why(pg::describe(source))
                .next(of_code(error.code().unwrap_or_default(), door)),
            pg::Error::UnknownCommit { .. } => Self::new("the connection was lost while committing")
                .at(postgres())
                .next("Nobody knows whether it was done: look (`deliveries list`), then try again."),
            pg::Error::Tls(why) => Self::new("cannot make ready for TLS")
                .at(postgres())
                .why(why)
                .next("Check sslmode and sslrootcert in TARGET."),
        }
    }

    /// Returns `what`, and below it the other parts.
    fn lines(&self, shape: &Shape) -> String {
        let paint = |colour: Colour, word: &str| if shape.coloured { colour.paint(word) } else { word.to_owned() };
        let what = term_format::wrapped_to(&format!("{NAME}: {}", self.what), 0, 2, shape.width);
        let mut lines = vec![what.replacen(NAME, &paint(Colour::Red, NAME), 1)];
        for (label, words) in [("where:", &self.place), ("why:  ", &self.why), ("next: ", &self.next)] {
            if !words.is_empty() {
                lines.push(part(&paint(Colour::Faint, label), words, 2, shape.width));
            }
        }
        for (variable, wrong, next) in &self.faults {
            let fault = term_format::wrapped_to(&format!("{variable}: {wrong}"), 2, 4, shape.width);
            lines.push(fault.replacen(variable, &paint(Colour::Yellow, variable), 1));
            if !next.is_empty() {
                lines.push(part(&paint(Colour::Faint, "next: "), next, 4, shape.width));
            }
        }
        lines.join("\n") + "\n"
    }
}

const NAME: &str = "paper-engine-orders";
/// Width of `where: `.
const LABEL: usize = 7;

/// Returns a label with text beside it.
fn part(label: &str, words: &str, indent: usize, width: usize) -> String {
    let beside = term_format::wrapped_to(words, indent + LABEL, indent + LABEL, width);
    format!("{:indent$}{label} {}", "", beside.trim_start())
}

fn ended(words: &str) -> String {
    format!("{}.", words.trim_end_matches('.'))
}

/// Returns the database, without user and password.
fn postgres() -> String {
    Config::database_from_env().map(|database| format!("{database} (TARGET)")).unwrap_or_default()
}

/// Returns the advice for a server that cannot be reached.
fn of_road(why: &str) -> &'static str {
    if why.contains("TLS") {
        "Check sslmode and sslrootcert in TARGET against what the server offers."
    } else {
        "Are host and port in TARGET right, and does the server run? Then try again."
    }
}

/// Returns the advice for an error of a file or folder.
fn of_file(kind: std::io::ErrorKind) -> &'static str {
    use std::io::ErrorKind::*;
    match kind {
        NotFound | NotADirectory | IsADirectory => "Is the path right? Write another.",
        PermissionDenied | ReadOnlyFilesystem => "Whoever runs this may not: write another path, or use another user.",
        StorageFull | QuotaExceeded => "Make room there, or write another path.",
        _ => "",
    }
}

/// Returns the advice for an error of Postgres, by its code.
fn of_code(code: &str, door: &str) -> &'static str {
    match code {
        _ if door == "script" && !pg::sqlstate::is_world(code) => "Mend it; nothing of it was applied.",
        "42501" => "`check` names the statement that gives it; or use another role in TARGET.",
        "42P01" | "42703" => "Run `paper-engine-orders migrate` as the owner of the loader's tables.",
        "55P03" => "Somebody holds a lock on it: wait, or end that session, then try again.",
        "53100" => "The disk of the server is full: make room there.",
        "53300" => "The server has no connection left for this role: end some, or raise its limit.",
        code if pg::sqlstate::is_world(code) => "Try again; if it stays so, the server's log says more.",
        _ => "The server's log says more.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Fault;

    fn said(error: impl Into<anyhow::Error>, width: usize) -> String {
        ErrorReport::of(&error.into()).lines(&Shape { width, coloured: false })
    }

    fn refused() -> Error {
        let (bucket, endpoint) = ("missing".to_owned(), "https://s3.example.com".to_owned());
        let what = "NoSuchBucket: The specified bucket does not exist".to_owned();
        source::Error::Refused { bucket, endpoint, what, hint: "Check bucket_name in SOURCE." }.into()
    }

    #[test]
    fn an_error_is_what_where_why_and_what_to_do() {
        let wanted = "paper-engine-orders: the bucket refuses\n  \
                      where: bucket missing at https://s3.example.com (SOURCE)\n  \
                      why:   NoSuchBucket: The specified bucket does not exist\n  \
                      next:  Check bucket_name in SOURCE.\n";
        assert_eq!(said(refused(), usize::MAX), wanted);
    }

    #[test]
    fn every_line_fits_a_terminal() {
        let fault = |variable, message: &str| Fault { variable, message: message.repeat(8) };
        let faults = Faults(vec![fault("NATS", "empty it is. Write "), fault("SOURCE", "no good ")]);
        for text in [said(refused(), 40), said(faults, 40)] {
            assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
            assert!(text.lines().count() > 5, "{text}");
        }
    }

    #[test]
    fn colour_is_for_labels_only() {
        let painted = ErrorReport::of(&refused().into()).lines(&Shape { width: 40, coloured: true });
        let plain = painted.replace("\u{1b}[31m", "").replace("\u{1b}[2m", "").replace("\u{1b}[0m", "");
        assert_eq!(plain, said(refused(), 40));
        assert!(painted.starts_with("\u{1b}[31mpaper-engine-orders\u{1b}[0m: "), "{painted}");
    }

    #[test]
    fn an_error_of_others_tells_each_cause_once_and_what_was_at_hand() {
        let error = anyhow::anyhow!("disk is full").context("cannot write x").context("cannot write x");
        assert_eq!(said(error, 80), "paper-engine-orders: cannot write x\n  why:   disk is full\n");
        let error = anyhow::Error::from(refused()).context("db/model/e.sql");
        assert!(said(error, 200).contains("\n  where: db/model/e.sql, bucket missing at https"));
    }

    #[test]
    fn nothing_in_it_moves_the_cursor() {
        let error = anyhow::anyhow!("a\u{1b}[2Jb\nc");
        assert_eq!(said(error, 80), "paper-engine-orders: a\\u{1b}[2Jb\\nc\n");
    }
}
