//! Times on the command line: a date, a time, or a duration before now.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, PrimitiveDateTime};

pub(super) use crate::status::words::{span, written};

/// A time; a duration before now is resolved when it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    At(OffsetDateTime),
    Ago(Duration),
}

impl When {
    pub(super) fn at(self, now: OffsetDateTime) -> OffsetDateTime {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(OffsetDateTime::UNIX_EPOCH),
        }
    }
}

/// Parses a time for clap.
pub(super) fn parse(text: &str) -> Result<When, String> {
    let text = text.trim();
    let at = ago(text).map(When::Ago).or_else(|| moment(text).map(When::At));
    at.ok_or_else(|| "write it like 2026-11-21T14:02:37Z, '2026-11-21 14:02' (UTC), 2026-11-21, 2h or 3d".to_owned())
}

/// Parses `2h` as a duration before now.
fn ago(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number: u32 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    Some(Duration::seconds(i64::from(number) * seconds))
}

fn moment(text: &str) -> Option<OffsetDateTime> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(at);
    }
    let text = text.replacen('T', " ", 1);
    let date = format_description!("[year]-[month]-[day]");
    let minutes = format_description!("[year]-[month]-[day] [hour]:[minute]");
    let seconds = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let day = Date::parse(&text, &date).map(Date::midnight);
    let at = day.or_else(|_| PrimitiveDateTime::parse(&text, &minutes));
    at.or_else(|_| PrimitiveDateTime::parse(&text, &seconds)).ok().map(PrimitiveDateTime::assume_utc)
}

/// Returns `2026-11-21 14:02:37`, UTC.
pub(super) fn shown(at: OffsetDateTime) -> String {
    crate::clock::stamp(at)[..19].replace('T', " ")
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = datetime!(2026-11-21 14:02:37 UTC);
        let cases = [
            ("2026-11-21T14:02:37Z", now),
            ("2026-11-21T16:02:37+02:00", now),
            ("2026-11-21 14:02:37", now),
            ("2026-11-21T14:02:37", now),
            ("2026-11-21 14:02", datetime!(2026-11-21 14:02 UTC)),
            ("2026-11-21", datetime!(2026-11-21 00:00 UTC)),
            ("2h", datetime!(2026-11-21 12:02:37 UTC)),
            ("3d", datetime!(2026-11-18 14:02:37 UTC)),
            ("90m", datetime!(2026-11-21 12:32:37 UTC)),
        ];
        for (text, at) in cases {
            assert_eq!(parse(text).map(|when| when.at(now)), Ok(at), "{text}");
        }
        for text in ["", "h", "2", "yesterday", "2026-13-01", "2026-11-21 25:00", "2 weeks", "-2h", "2ü"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
