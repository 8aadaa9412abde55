//! `date`, `time`, `timestamp` and `timestamptz`, from ISO text to days or microseconds since
//! 2000-01-01. A text without a zone is UTC for `timestamptz`; a text with one is refused where the
//! column has none. Seven and more fractional digits round to six, as Postgres does.

use super::digits;
use super::{Refusal, civil};

pub(super) fn timestamp(cell: &[u8], precision: Option<u8>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let micros = instant(cell, precision, "timestamp", |rest| match zone(rest) {
        Some(_) => Err(Refusal::Zone),
        None => Err(Refusal::Not("a timestamp")),
    })?;
    out.extend_from_slice(&micros.to_be_bytes());
    Ok(())
}

pub(super) fn timestamptz(cell: &[u8], precision: Option<u8>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let offset = |rest: &[u8]| zone(rest).ok_or(Refusal::Not("a timestamp"));
    let micros = instant(cell, precision, "timestamp with time zone", offset)?;
    out.extend_from_slice(&micros.to_be_bytes());
    Ok(())
}

/// Encodes a date. A time of day other than midnight is refused, because Postgres would drop it silently.
pub(super) fn date(cell: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let text = cell.trim_ascii();
    let days = match infinity(text) {
        Some(true) => i32::MIN,
        Some(false) => i32::MAX,
        None => plain_date(text)?,
    };
    out.extend_from_slice(&days.to_be_bytes());
    Ok(())
}

pub(super) fn time(cell: &[u8], precision: Option<u8>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let not = Refusal::Not("a time");
    let (micros, rest) = clock(cell.trim_ascii()).ok_or(not.clone())?;
    if !rest.is_empty() {
        return Err(if zone(rest).is_some() { Refusal::Zone } else { not });
    }
    out.extend_from_slice(&rounded(micros, precision).to_be_bytes());
    Ok(())
}

/// Refuses decimal places that are more than the column keeps, unless they are zeros. A range has two numbers.
pub(super) fn unrounded(cell: &[u8], precision: u8) -> Result<(), Refusal> {
    let places = cell.split(|byte| *byte == b'.').skip(1).map(|behind| digits::run(behind).0);
    let mut excess = places.map(|places| places.get(usize::from(precision)..).unwrap_or_default());
    if excess.all(digits::all_zeros) { Ok(()) } else { Err(Refusal::Places(precision.into())) }
}

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// 4714-11-24 BC, the first day of the Julian count, and the first instant of the year 294277.
const FIRST_DAY: i32 = -2_451_545;
const FIRST: i64 = FIRST_DAY as i64 * DAY;
const END: i64 = 9_223_371_331_200_000_000;

/// Parses microseconds since 2000-01-01 UTC. `offset` parses the text after the time.
#[inline]
fn instant(
    cell: &[u8],
    precision: Option<u8>,
    kind: &'static str,
    offset: impl FnOnce(&[u8]) -> Result<i64, Refusal>,
) -> Result<i64, Refusal> {
    let text = cell.trim_ascii();
    if let Some(negative) = infinity(text) {
        return Ok(if negative { i64::MIN } else { i64::MAX });
    }
    let not = || Refusal::Not("a timestamp");
    let (text, before_christ) = era(text);
    let (day, rest) = civil::day(text, before_christ).ok_or_else(not)?;
    let (time, rest) = match rest {
        [] => (0, rest),
        [b' ' | b'T' | b't', rest @ ..] => clock(rest).ok_or_else(not)?,
        _ => return Err(not()),
    };
    let offset = if rest.is_empty() { 0 } else { offset(rest)? };
    within_range(day, time - offset * SECOND, precision).ok_or(Refusal::Range(kind))
}

/// Returns the instant, rounded to the column's precision, or `None` if it is out of range. The result is never an
/// infinity.
#[inline]
fn within_range(day: i32, micros: i64, precision: Option<u8>) -> Option<i64> {
    let micros = i64::from(day).checked_mul(DAY)?.checked_add(micros)?;
    let range = FIRST..END;
    let kept = range.contains(&micros).then(|| rounded(micros, precision))?;
    range.contains(&kept).then_some(kept)
}

fn plain_date(text: &[u8]) -> Result<i32, Refusal> {
    let (text, before_christ) = era(text);
    let (day, rest) = civil::day(text, before_christ).ok_or(Refusal::Not("a date"))?;
    match rest {
        [] => {}
        [b' ' | b'T' | b't', rest @ ..] => midnight(rest)?,
        _ => return Err(Refusal::Not("a date")),
    }
    if day < FIRST_DAY { Err(Refusal::Range("date")) } else { Ok(day) }
}

fn midnight(text: &[u8]) -> Result<(), Refusal> {
    match clock(text) {
        Some((0, [])) => Ok(()),
        Some((_, [])) => Err(Refusal::TimeOfDay),
        Some((_, rest)) if zone(rest).is_some() => Err(Refusal::Zone),
        _ => Err(Refusal::Not("a date")),
    }
}

/// Parses `HH:MM[:SS[.f…]]` and returns the microseconds and the rest of the text. 24:00:00 and a second 60 are
/// valid, as in Postgres, as long as the sum stays within the day.
#[inline]
fn clock(text: &[u8]) -> Option<(i64, &[u8])> {
    let (all, rest) = match text {
        [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] => {
            (digits::eight([b'0', b'0', *h1, *h2, *m1, *m2, *s1, *s2])? as u32, rest)
        }
        [h1, h2, b':', m1, m2, rest @ ..] => (digits::two(*h1, *h2)? * 10_000 + digits::two(*m1, *m2)? * 100, rest),
        _ => return None,
    };
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] if text[5] == b':' => fraction(rest)?,
        _ => (0, rest),
    };
    let (hours, minutes, seconds) = (all / 10_000, all / 100 % 100, all % 100);
    let micros = i64::from(hours * 3600 + minutes * 60 + seconds) * SECOND + fraction;
    (minutes < 60 && seconds <= 60 && micros <= DAY).then_some((micros, rest))
}

/// Microseconds of a fraction of one to fifteen digits, and the rest.
#[inline]
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    if let Some(micros) = six(text) {
        return Some((micros, &[]));
    }
    let (digits, rest) = digits::run(text);
    let micros = match digits.len() {
        1..=6 => digits::value(digits)? as i64 * [0, 100_000, 10_000, 1000, 100, 10, 1][digits.len()],
        7..=15 => nearest_micros(digits)?,
        _ => return None,
    };
    Some((micros, rest))
}

/// Parses a fraction of exactly six digits, the usual form.
#[inline]
fn six(text: &[u8]) -> Option<i64> {
    let [a, b, c, d, e, f] = text else { return None };
    digits::eight([b'0', b'0', *a, *b, *c, *d, *e, *f]).map(|micros| micros as i64)
}

/// Parses a fraction in floating point, because Postgres rounds so: half to even of the nearest double.
fn nearest_micros(digits: &[u8]) -> Option<i64> {
    let fraction = digits::value(digits)? as f64 / 10f64.powi(digits.len() as i32);
    Some((fraction * 1e6).round_ties_even() as i64)
}

/// Parses an offset from UTC into seconds: `Z`, `±HH`, `±HHMM`, `±HH:MM` or `±HH:MM:SS`, possibly after a space.
fn zone(text: &[u8]) -> Option<i64> {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let (minutes, seconds) = match text {
        b"Z" | b"z" => return Some(0),
        [b'+' | b'-', _, _] => (0, 0),
        [b'+' | b'-', _, _, m1, m2] | [b'+' | b'-', _, _, b':', m1, m2] => (digits::two(*m1, *m2)?, 0),
        [b'+' | b'-', _, _, b':', m1, m2, b':', s1, s2] => (digits::two(*m1, *m2)?, digits::two(*s1, *s2)?),
        _ => return None,
    };
    let hours = digits::two(text[1], text[2])?;
    let size = i64::from(hours * 3600 + minutes * 60 + seconds);
    let exists = hours <= 15 && minutes < 60 && seconds < 60; // what Postgres allows
    exists.then_some(if text[0] == b'-' { -size } else { size })
}

/// Strips ` BC` from the end of the text. The second value is `true` if it was there.
#[inline]
fn era(text: &[u8]) -> (&[u8], bool) {
    match text {
        [rest @ .., b' ', b'B' | b'b', b'C' | b'c'] => (rest, true),
        _ => (text, false),
    }
}

/// Returns `Some(true)` for negative infinity, `Some(false)` for infinity, and `None` for any other text.
#[inline]
fn infinity(text: &[u8]) -> Option<bool> {
    if text.first().is_none_or(u8::is_ascii_digit) {
        return None;
    }
    let (negative, word) = digits::sign(text);
    word.eq_ignore_ascii_case(b"infinity").then_some(negative)
}

/// Rounds to the column's precision, halves away from 2000-01-01.
#[inline]
fn rounded(micros: i64, precision: Option<u8>) -> i64 {
    let unit = match precision {
        Some(digits @ 0..=5) => 10i64.pow(6 - u32::from(digits)),
        _ => return micros,
    };
    (micros + micros.signum() * (unit / 2)) / unit * unit
}

#[cfg(test)]
mod tests {
    use crate::load::encode::{ColumnEncoding, Refusal};

    const TIMESTAMP: ColumnEncoding = ColumnEncoding::Timestamp { precision: None };
    const TIMESTAMPTZ: ColumnEncoding = ColumnEncoding::Timestamptz { precision: None };
    const TIME: ColumnEncoding = ColumnEncoding::Time { precision: None };

    fn encoded(wire: &ColumnEncoding, cell: &str) -> Result<i64, Refusal> {
        let mut out = Vec::new();
        wire.encode(cell.as_bytes(), &mut out)?;
        Ok(match out.try_into() {
            Ok(eight) => i64::from_be_bytes(eight),
            Err(four) => i32::from_be_bytes(four.try_into().expect("four bytes")).into(),
        })
    }

    #[test]
    fn timestamps_are_microseconds_since_2000() {
        for (cell, micros) in [
            ("2000-01-01", 0),
            ("2000-01-01 00:00", 0),
            ("2000-01-01T00:00:01", 1_000_000),
            (" 2000-01-01 00:00:00.5 ", 500_000),
            ("1999-12-31 23:59:59.999999", -1),
            ("2000-01-01 24:00:00", 86_400_000_000),
            ("2000-01-01 00:00:60.25", 60_250_000),
            ("infinity", i64::MAX),
            ("-Infinity", i64::MIN),
            ("4714-11-24 00:00:00 BC", -211_813_488_000_000_000),
            ("294276-12-31 23:59:59.999999", 9_223_371_331_199_999_999),
        ] {
            assert_eq!(encoded(&TIMESTAMP, cell), Ok(micros), "{cell}");
            assert_eq!(encoded(&TIMESTAMPTZ, cell), Ok(micros), "{cell}");
        }
    }

    #[test]
    fn more_than_six_digits_round_to_even_as_in_postgres() {
        for (cell, micros) in [
            ("00:00:00.1234567", 123_457),
            ("00:00:00.0000005", 0),
            ("00:00:00.0000015", 2),
            ("00:00:00.000000500000001", 1),
            ("23:59:59.9999999", 86_400_000_000),
        ] {
            assert_eq!(encoded(&TIME, cell), Ok(micros), "{cell}");
        }
    }

    #[test]
    fn a_precision_rounds_halves_away_from_2000() {
        let at = |precision| ColumnEncoding::Timestamp { precision: Some(precision) };
        assert_eq!(encoded(&at(0), "2000-01-01 00:00:00.5"), Ok(1_000_000));
        assert_eq!(encoded(&at(0), "1999-12-31 23:59:59.5"), Ok(-1_000_000));
        assert_eq!(encoded(&at(3), "2000-01-01 00:00:00.0014999"), Ok(2000));
        assert_eq!(encoded(&at(6), "2000-01-01 00:00:00.001499"), Ok(1499));
        assert_eq!(encoded(&ColumnEncoding::Time { precision: Some(0) }, "23:59:59.5"), Ok(86_400_000_000));
        assert_eq!(encoded(&at(0), "infinity"), Ok(i64::MAX));
    }

    #[test]
    fn a_zone_shifts_where_the_column_has_one_and_is_refused_elsewhere() {
        for (suffix, seconds) in [
            ("Z", 0),
            (" Z", 0),
            ("+00", 0),
            ("+05:30", -19_800),
            (" +0530", -19_800),
            ("-08", 28_800),
            ("-00:30", 1800),
            ("+15:59:59", -57_599),
            (".00 +05", -18_000),
        ] {
            let cell = format!("2000-01-01 00:00:00{suffix}");
            assert_eq!(encoded(&TIMESTAMPTZ, &cell), Ok(seconds * 1_000_000), "{cell}");
            assert_eq!(encoded(&TIMESTAMP, &cell), Err(Refusal::Zone), "{cell}");
            assert_eq!(encoded(&ColumnEncoding::Date, &cell), Err(Refusal::Zone), "{cell}");
            assert_eq!(encoded(&TIME, &format!("00:00:00{suffix}")), Err(Refusal::Zone), "{cell}");
        }
        for suffix in ["+16", "+5", "+05:60", "+", " UTC", " Europe/Berlin", "+05:3", "  Z", "ZZ"] {
            let cell = format!("2000-01-01 00:00:00{suffix}");
            assert_eq!(encoded(&TIMESTAMPTZ, &cell), Err(Refusal::Not("a timestamp")), "{cell}");
        }
    }

    #[test]
    fn dates_take_midnight_but_no_other_time() {
        for (cell, days) in [
            ("2000-01-02", 1),
            ("2000-01-02 00:00:00.000000", 1),
            ("2000-01-02T00:00", 1),
            ("infinity", i32::MAX.into()),
            ("4714-11-24 BC", -2_451_545),
        ] {
            assert_eq!(encoded(&ColumnEncoding::Date, cell), Ok(days), "{cell}");
        }
        assert_eq!(encoded(&ColumnEncoding::Date, "2000-01-02 00:00:01"), Err(Refusal::TimeOfDay));
        assert_eq!(encoded(&ColumnEncoding::Date, "2000-01-02 24:00:00"), Err(Refusal::TimeOfDay));
        assert_eq!(encoded(&ColumnEncoding::Date, "4714-11-23 BC"), Err(Refusal::Range("date")));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for cell in [
            "",
            "24:00:01",
            "25:00:00",
            "10:60",
            "10:00:61",
            "23:59:60.5",
            "1:00",
            "10:00:",
            "10:00:00.",
            "10",
            "10:00:0",
            "10:00:00,5",
            "10:00:00.1234567890123456",
            "10:00 pm",
            "infinity",
            "-1:00:00",
        ] {
            assert_eq!(encoded(&TIME, cell), Err(Refusal::Not("a time")), "{cell}");
            let cell = format!("2000-01-01 {cell}x");
            assert_eq!(encoded(&TIMESTAMP, &cell), Err(Refusal::Not("a timestamp")), "{cell}");
        }
        for cell in [
            "",
            "0000-00-00 00:00:00",
            "2023-02-29",
            "2000-01-01T",
            "2000-01-01  10:00",
            "epoch",
            "now",
            "20000101",
            "01/02/2000",
        ] {
            assert_eq!(encoded(&TIMESTAMP, cell), Err(Refusal::Not("a timestamp")), "{cell}");
        }
        assert_eq!(encoded(&TIMESTAMP, "294277-01-01"), Err(Refusal::Range("timestamp")));
        assert_eq!(encoded(&TIMESTAMP, "4714-11-23 BC"), Err(Refusal::Range("timestamp")));
        // In microseconds, this is the number that stands for infinity.
        assert_eq!(encoded(&TIMESTAMP, "294277-01-09 04:00:54.775807"), Err(Refusal::Range("timestamp")));
    }
}
