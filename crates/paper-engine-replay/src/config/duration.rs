//! Reads durations as people write them: `500us`, `750ms`, `90s`, `5m`, `2h`, `7d`.

use std::time::Duration;

const UNITS: [(&str, f64); 6] =
    [("us", 0.000_001), ("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0)];
/// Ten years.
const LONGEST: f64 = 3_652.0 * 86_400.0;

/// Reads a duration with its unit.
///
/// # Errors
/// Returns what is wrong with the text.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "is no duration. Write a number with a unit, like 500ms, 90s, 5m or 2h".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(end);
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let seconds = number.parse::<f64>().map_err(|_| wrong())? * seconds;
    if seconds > LONGEST {
        return Err("is longer than ten years".to_owned());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// Reads a duration that is longer than nothing.
///
/// # Errors
/// Returns what is wrong with the text.
pub fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        duration if duration < Duration::from_micros(1) => Err("must be longer than that".to_owned()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse("1.5h"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse("500us"), Ok(Duration::from_micros(500)));
        for bad in ["", "5", "s", "-5s", "5y", "99999d", "1..2s"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse_positive("0ms").is_err());
    }
}
