//! Reads `Retry-After`, in both of its forms, into a wait that is never negative and never longer than a day.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// The longest wait that an endpoint can ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the wait that the answer asks for, counted from `now`. A value of neither form is ignored.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // more digits than a u64 holds are more than a day
        value.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn read(value: &str, now: SystemTime) -> Option<u64> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().expect("a header"))]);
        retry_after(&headers, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_the_three_forms_of_dates_are_read() {
        let now = NOW + Duration::from_secs(784_111_777 - 60);
        for (value, wait) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(60)),
            ("Sun Nov  6 08:49:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ] {
            assert_eq!(read(value, now), wait, "{value}");
        }
    }

    #[test]
    fn a_wait_is_bounded_and_nonsense_is_ignored() {
        let day = RETRY_AFTER_MAX.as_secs();
        for value in ["86401", "99999999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(read(value, NOW), Some(day), "{value}");
        }
        for value in ["", "-1", "+5", "1.5", "soon", "1e3", "0x10", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(read(value, NOW), None, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), NOW), None);
    }
}
