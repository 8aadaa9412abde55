//! Adds a task.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};
use uuid::Uuid;

use crate::durations;
use crate::http::{BODY_MAX_BYTES, check_task};
use crate::store::Store;
use crate::task::{NewTask, When};

use super::Failure;

#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// When the task is due: 2026-12-01T12:00:00Z, or without zone in TIMER_ZONE
    #[arg(long, value_name = "TIME", value_parser = time, required_unless_present = "after", conflicts_with = "after")]
    at: Option<When>,
    /// When the task is due, from now: 90s, 5m, 2h, 7d
    #[arg(long = "in", id = "after", value_name = "DURATION", value_parser = durations::parse)]
    after: Option<Duration>,
    /// What is posted to: the id of the task is appended to its path
    #[arg(long, value_name = "URL")]
    url: String,
    /// Body of the request: text, or @FILE
    #[arg(long, value_name = "TEXT|@FILE")]
    body: Option<String>,
    /// A header of the request, like 'Content-Type: application/json'; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The id, a UUID; a random one without it
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,
}

/// Reads an instant, or a local time.
fn time(text: &str) -> Result<When, String> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(When::At(at));
    }
    let local = format_description!(
        version = 2,
        "[year]-[month]-[day][first [T] [ ]][hour]:[minute][optional [:[second][optional [.[subsecond]]]]]"
    );
    PrimitiveDateTime::parse(text, local)
        .map(When::Local)
        .map_err(|_| "is no time. Write it like 2026-12-01T12:00:00Z or 2026-12-01 12:00:00".to_owned())
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("is no header. Write it like 'Name: value'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn body(text: &str) -> Result<Bytes, Failure> {
    match text.strip_prefix('@') {
        None => Ok(Bytes::from(text.to_owned())),
        Some(path) => {
            let size = std::fs::metadata(path).map_or(0, |file| file.len());
            if usize::try_from(size).is_ok_and(|size| size > BODY_MAX_BYTES) {
                return Err(Failure::Failed(format!("--body: {path} has more than {BODY_MAX_BYTES} bytes")));
            }
            let read = std::fs::read(path).map(Bytes::from);
            read.map_err(|error| Failure::Failed(format!("--body: cannot read {path}: {error}")))
        }
    }
}

pub(super) async fn run<S: Store>(args: &Args, store: &S) -> Result<(), Failure> {
    let at = match (args.at, args.after) {
        (Some(at), _) => at,
        (None, after) => When::In(after.unwrap_or_default()),
    };
    let id = args.id.unwrap_or_else(Uuid::new_v4);
    let body = args.body.as_deref().map(body).transpose()?;
    let (url, headers) = (args.url.clone(), args.headers.clone());
    let faults: Vec<String> = check_task(&url, &headers, body.as_ref()).iter().map(ToString::to_string).collect();
    if !faults.is_empty() {
        return Err(Failure::Failed(faults.join("\n")));
    }
    store.add(&NewTask { id, url, at, headers, body }).await?;
    writeln!(std::io::stdout(), "{id}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_are_instants_or_local() {
        assert_eq!(time("2026-12-01T12:00:00.5+02:00"), Ok(When::At(datetime!(2026-12-01 12:00:00.5 +2))));
        assert_eq!(time("2026-12-01T12:00:00Z"), Ok(When::At(datetime!(2026-12-01 12:00 UTC))));
        for text in ["2026-12-01 12:00", "2026-12-01T12:00", "2026-12-01 12:00:00"] {
            assert_eq!(time(text), Ok(When::Local(datetime!(2026-12-01 12:00))), "{text}");
        }
        assert_eq!(time("1090-05-01 00:00:00.25"), Ok(When::Local(datetime!(1090-05-01 00:00:00.25))));
        for bad in ["", "tomorrow", "2026-13-01 12:00", "12:00", "2026-12-01"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_header_has_a_name_and_a_value() {
        assert_eq!(header("A: b:c"), Ok(("A".to_owned(), "b:c".to_owned())));
        assert!(header("A").is_err());
    }
}
