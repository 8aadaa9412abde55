//! Reads and prints source times: microseconds since 1970 in UTC, as `2020-05-17T13:00:00.000000Z`.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, UtcOffset};

/// Microseconds since 1970-01-01 00:00 UTC.
pub type Micros = i64;

/// Microseconds in a second.
pub const SECOND: Micros = 1_000_000;

const FORM: &str = "is no time. Write it like 2020-05-17, 2020-05-17T13:00:00 or 2020-05-17T13:00:00.5+02:00";

/// Reads a date, or a date with a time, with or without an offset. Without one the time is in `zone`.
///
/// # Errors
/// Returns what is wrong with the text.
pub fn parse(text: &str, zone: UtcOffset) -> Result<Micros, String> {
    let text = text.trim().replacen(' ', "T", 1);
    let date = format_description!("[year]-[month]-[day]");
    if let Ok(date) = Date::parse(&text, date) {
        return micros(date.midnight().assume_offset(zone));
    }
    if let Ok(at) = OffsetDateTime::parse(&text, &Rfc3339) {
        return micros(at);
    }
    let whole = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let minute = format_description!("[year]-[month]-[day]T[hour]:[minute]");
    let fraction = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond]");
    let local = PrimitiveDateTime::parse(&text, whole)
        .or_else(|_| PrimitiveDateTime::parse(&text, fraction))
        .or_else(|_| PrimitiveDateTime::parse(&text, minute));
    local.map_err(|_| FORM.to_owned()).and_then(|local| micros(local.assume_offset(zone)))
}

fn micros(at: OffsetDateTime) -> Result<Micros, String> {
    Micros::try_from(at.unix_timestamp_nanos().div_euclid(1_000)).map_err(|_| FORM.to_owned())
}

/// Prints a time. What no calendar of ours holds is printed as a number of microseconds.
pub fn show(at: Micros) -> String {
    match OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000) {
        Ok(at) => format!("{}Z", pe_runtime::clock::stamp(at)),
        Err(_) => format!("{at}us"),
    }
}

/// Prints a time as part of a file's name, without colons.
pub fn file_name(at: Micros) -> String {
    show(at).trim_end_matches('Z').replace(':', "-")
}

/// Reads `UTC`, `Z` or an offset such as `+02:00`.
///
/// # Errors
/// Returns what is wrong with the text.
pub fn zone(text: &str) -> Result<UtcOffset, String> {
    if text.eq_ignore_ascii_case("utc") || text.eq_ignore_ascii_case("z") {
        return Ok(UtcOffset::UTC);
    }
    let form = format_description!("[offset_hour sign:mandatory]:[offset_minute]");
    UtcOffset::parse(text, form)
        .map_err(|_| "is no zone. Write UTC or an offset such as +02:00; names of places are not known".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_forms_that_people_write() {
        let at = 1_589_720_400 * SECOND;
        for text in ["2020-05-17T13:00:00", "2020-05-17 13:00", "2020-05-17T15:00:00+02:00", "2020-05-17T13:00:00.0Z"] {
            assert_eq!(parse(text, UtcOffset::UTC), Ok(at), "{text}");
        }
        assert_eq!(parse("2020-05-17 13:00:00.000001", UtcOffset::UTC), Ok(at + 1));
        assert_eq!(parse("2020-05-17", zone("+01:00").expect("zone")), Ok(at - 14 * 3600 * SECOND));
        for bad in ["", "now", "2020-13-01", "17-05-2020", "2020-05-17T25:00:00"] {
            assert!(parse(bad, UtcOffset::UTC).is_err(), "{bad}");
        }
        assert!(zone("Europe/Madrid").is_err());
    }

    #[test]
    fn a_time_is_printed_with_its_microseconds() {
        assert_eq!(show(1_589_720_400 * SECOND + 7), "2020-05-17T13:00:00.000007Z");
        assert_eq!(show(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(show(Micros::MAX), format!("{}us", Micros::MAX));
        assert_eq!(file_name(0), "1970-01-01T00-00-00.000000");
    }
}
