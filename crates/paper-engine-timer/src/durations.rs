//! Reads and prints durations as people write them: `750ms`, `90s`, `5m`, `2h`, `7d`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// A hundred years: longer ones do not fit into what databases call an interval.
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

/// Reads a duration with its unit.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "is no duration. Write a number with a unit, like 750ms, 90s, 5m, 2h or 7d".to_owned();
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(end);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = number * f64::from(u32::try_from(*millis).unwrap_or(u32::MAX)) / 1000.0;
    if seconds > LONGEST.as_secs_f64() {
        return Err("is longer than 100 years".to_owned());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// Prints a duration with the largest unit that leaves no rest.
pub fn show(duration: Duration) -> String {
    let millis = duration.as_millis();
    let unit = UNITS.iter().rev().find(|(_, unit)| millis.is_multiple_of(u128::from(*unit)) && millis > 0);
    unit.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", millis / u128::from(*unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse(" 1.5h "), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("750ms"), Ok(Duration::from_millis(750)));
        for bad in ["", "5", "s", "-5s", "5y", "1e9d", "99999999d", "1..2s"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_duration_is_shown_as_it_was_written() {
        for text in ["750ms", "90s", "5m", "7d", "0s"] {
            assert_eq!(show(parse(text).expect("duration")), text);
        }
    }
}
