//! Reads the document that adds a task, and checks it as `add` does.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::http::check_task;

/// The latest due time from now: a hundred years.
const LATEST_HOURS: u64 = 100 * 366 * 24;

/// A task that may be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTimer {
    pub url: String,
    pub due: Due,
    pub headers: Vec<(String, String)>,
    pub body: Option<Bytes>,
}

/// When a task is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    In(Duration),
    At(OffsetDateTime),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    hours: Option<u64>,
    minutes: Option<u64>,
    seconds: Option<u64>,
    at: Option<String>,
    url: String,
    #[serde(default)]
    headers: serde_json::Map<String, serde_json::Value>,
    body: Option<String>,
}

impl NewTimer {
    /// Reads a document, or returns everything that is wrong with it.
    pub fn parse(document: &[u8]) -> Result<Self, Vec<String>> {
        let document: Document = serde_json::from_slice(document).map_err(|error| vec![format!("{error}.")])?;
        let due = document.due();
        let headers = document.headers();
        let body = document.body.map(Bytes::from);
        let given = headers.as_deref().unwrap_or_default();
        let mut faults: Vec<String> =
            check_task(&document.url, given, body.as_ref()).into_iter().map(|reason| reason.text).collect();
        faults.extend(due.as_ref().err().cloned());
        faults.extend(headers.as_ref().err().cloned());
        match (due, headers) {
            (Ok(due), Ok(headers)) if faults.is_empty() => Ok(Self { url: document.url, due, headers, body }),
            _ => Err(faults),
        }
    }
}

impl Document {
    /// Returns when the task is due: one second from now, as the original's sibling has it, if nothing is given.
    fn due(&self) -> Result<Due, String> {
        let parts = [(self.hours, 3600), (self.minutes, 60), (self.seconds, 1)];
        match &self.at {
            Some(_) if parts.iter().any(|(part, _)| part.is_some()) => {
                Err("give either at, or hours, minutes and seconds.".to_owned())
            }
            Some(at) => OffsetDateTime::parse(at, &Rfc3339)
                .map(Due::At)
                .map_err(|_| "at is no time with a zone: write 2026-12-01T12:00:00Z.".to_owned()),
            None => {
                let part = |(part, unit): (Option<u64>, u64)| part.unwrap_or(u64::from(unit == 1)).checked_mul(unit);
                let sum = parts.into_iter().map(part).try_fold(0_u64, |sum, part| sum.checked_add(part?));
                let sum = sum.filter(|seconds| *seconds <= LATEST_HOURS * 3600);
                sum.map(|seconds| Due::In(Duration::from_secs(seconds)))
                    .ok_or("the time is more than a hundred years away.".to_owned())
            }
        }
    }

    fn headers(&self) -> Result<Vec<(String, String)>, String> {
        let texts = self.headers.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        texts.collect::<Option<_>>().ok_or("headers is an object of texts.".to_owned())
    }
}
