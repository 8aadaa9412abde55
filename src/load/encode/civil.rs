//! The calendar: from year, month and day to days since 2000-01-01, as Postgres counts them, in the
//! Gregorian calendar carried back before its time. Also reads the date part of a cell.

use super::digits;

/// Parses the date at the beginning of `text` (`YYYY-MM-DD`). Returns the days since 2000-01-01 and the rest of the
/// text, or `None` if there is no such day. `before_christ` is `true` if the cell ended in `BC`.
#[inline]
pub(super) fn day(text: &[u8], before_christ: bool) -> Option<(i32, &[u8])> {
    let (year, month, day, rest) = parts(text)?;
    let year = if before_christ { 1 - year } else { year };
    let exists = day >= 1 && (1..=12).contains(&month) && (day <= 28 || day <= days_in(year, month));
    exists.then(|| (days(year, month, day), rest))
}

/// Parses year, month and day, and returns them with the rest of the text. There is no year 0.
#[inline]
fn parts(text: &[u8]) -> Option<(i32, u32, u32, &[u8])> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, rest @ ..] = text else { return far_parts(text) };
    let all = digits::eight([*y1, *y2, *y3, *y4, *m1, *m2, *d1, *d2])? as u32;
    let year = (all / 10_000) as i32;
    (year > 0).then_some((year, all / 100 % 100, all % 100, rest))
}

/// Parses a date with a year beyond 9999: five to seven digits, without leading zeros.
#[cold]
fn far_parts(text: &[u8]) -> Option<(i32, u32, u32, &[u8])> {
    let (year, rest) = digits::run(text);
    let [b'-', m1, m2, b'-', d1, d2, rest @ ..] = rest else { return None };
    let far = (5..=7).contains(&year.len()) && year[0] != b'0';
    let year = if far { digits::value(year)? as i32 } else { return None };
    let (month, day) = (digits::two(*m1, *m2)?, digits::two(*d1, *d2)?);
    (year <= LAST_YEAR).then_some((year, month, day, rest))
}

/// The last year of Postgres' dates; days up to it fit an `i32`.
const LAST_YEAR: i32 = 5_874_897;

#[inline]
fn days_in(year: i32, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Years that begin in March have the leap day at their end, and months of 31 and 30 days in a
/// pattern of five.
#[inline]
fn days(year: i32, month: u32, day: u32) -> i32 {
    const CYCLES: i64 = 14_700; // of 400 years and 146,097 days: enough to divide only what is positive
    const TO_2000: i64 = 730_425; // from 0000-03-01
    let year = (i64::from(year) + CYCLES * 400 - i64::from(month <= 2)) as u64;
    let leap_days = year / 4 - year / 100 + year / 400;
    let of_year = ((month + 9) % 12 * 153 + 2) / 5 + day - 1;
    let count = year * 365 + leap_days + u64::from(of_year);
    (count as i64 - CYCLES * 146_097 - TO_2000) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day_of(text: &str) -> Option<i32> {
        day(text.as_bytes(), false).map(|(day, _)| day)
    }

    #[test]
    fn days_are_counted_from_2000() {
        for (text, expected) in [
            ("2000-01-01", 0),
            ("1999-12-31", -1),
            ("2000-02-29", 59),
            ("2020-01-01", 7305),
            ("1970-01-01", -10957),
            ("0001-01-01", -730_119),
            ("5874897-12-31", 0x7fda_970c),
        ] {
            assert_eq!(day_of(text), Some(expected), "{text}");
        }
        assert_eq!(day(b"4714-11-24", true), Some((0xffda_97a7_u32 as i32, &b""[..])));
    }

    #[test]
    fn days_follow_one_another_without_gap() {
        let mut expected = day_of("1599-12-31").expect("a day");
        for year in 1600..2401 {
            for month in 1..=12 {
                for day in 1..=days_in(year, month) {
                    expected += 1;
                    assert_eq!(days(year, month, day), expected, "{year}-{month}-{day}");
                }
            }
        }
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in ["0000-00-00", "0000-01-01", "2023-02-29", "1900-02-29", "2020-13-01", "2020-04-31", "2020-01-00"] {
            assert_eq!(day_of(text), None, "{text}");
        }
        for text in [
            "",
            "20-01-01",
            "2020-1-1",
            "2020/01/01",
            "02020-01-01",
            "-2020-01-01",
            "2020-01",
            "12345678-01-01",
            "5874898-01-01",
        ] {
            assert_eq!(day_of(text), None, "{text}");
        }
    }
}
