//! Formats of numbers and times for people, the same in the terminal and on the status page.

use time::OffsetDateTime;

/// Returns `2026-11-21T14:02:37Z`, the format for programs.
pub fn written(seconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!("{}Z", &crate::clock::stamp(at)[..19])
}

/// Returns a duration as one number: `40s`, `12m`, `3h`, `9d`.
pub fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// Returns a size like `24.5 MB`.
pub fn size(bytes: u64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    match units.iter().find(|(_, unit)| bytes as f64 >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit),
        None => format!("{bytes} B"),
    }
}

/// Returns a number with its noun: `1 message`, `2 messages`.
pub fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let spans = [-5, 0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(span);
        assert_eq!(spans, ["0s", "0s", "119s", "2m", "119m", "2h", "47h", "2d"]);
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(
            [0, 999, 1_000, 24_500_000, 3_000_000_000].map(size),
            ["0 B", "999 B", "1.0 kB", "24.5 MB", "3.0 GB"]
        );
        assert_eq!([count(1, "message"), count(0, "message")], ["1 message", "0 messages"]);
    }
}
