//! Holds the time zone in which a `timer_invoke_time` without zone is to be read.

use std::fmt;
use std::str::FromStr;

/// The name of a time zone, as databases take it: `UTC`, `+02:00` or `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(String);

impl Zone {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `true` if local time is UTC.
    pub fn is_utc(&self) -> bool {
        matches!(self.0.as_str(), "UTC" | "+00:00" | "-00:00")
    }

    /// Returns `true` if a server's name for its zone means this one.
    pub(crate) fn is_same(&self, server: &str) -> bool {
        let utc = |name: &str| {
            ["utc", "etc/utc", "gmt", "etc/gmt", "+00:00", "zulu", "uct"].contains(&name.to_ascii_lowercase().as_str())
        };
        self.0.eq_ignore_ascii_case(server) || (utc(&self.0) && utc(server))
    }

    /// Returns the zone for Postgres, where a bare offset has the sign of POSIX: an interval has not.
    pub(crate) fn postgres(&self) -> String {
        if self.0.starts_with(['+', '-']) { format!("interval '{}'", self.0) } else { format!("'{}'", self.0) }
    }

    /// Returns the zone for MySQL, whose tables of names may be empty.
    pub(crate) fn mysql(&self) -> &str {
        if self.is_utc() { "+00:00" } else { &self.0 }
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self("UTC".to_owned())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("utc") || text.eq_ignore_ascii_case("z") {
            return Ok(Self::default());
        }
        let named = text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "/_+-".contains(c));
        if named || is_offset(text) {
            return Ok(Self(text.to_owned()));
        }
        Err("is no time zone. Write UTC, an offset like +02:00, or a name like Europe/Berlin".to_owned())
    }
}

/// Returns `true` for `+HH:MM` and `-HH:MM` up to 14 hours.
fn is_offset(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(['+', '-']) else { return false };
    let Some((hours, minutes)) = rest.split_once(':') else { return false };
    let number = |text: &str, most: u8| {
        text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u8>().is_ok_and(|n| n <= most)
    };
    number(hours, 13) && number(minutes, 59)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_names_or_offsets_and_nothing_that_sql_would_read_otherwise() {
        for good in ["UTC", "utc", "+02:00", "-09:30", "Europe/Berlin", "Etc/GMT+5"] {
            assert!(good.parse::<Zone>().is_ok(), "{good}");
        }
        for bad in ["", "'", "+2", "+25:00", "+02:60", "a'b", "Europe Berlin", "2"] {
            assert!(bad.parse::<Zone>().is_err(), "{bad}");
        }
        assert!("utc".parse::<Zone>().is_ok_and(|zone| zone.is_utc()));
    }

    #[test]
    fn an_offset_has_the_same_sign_on_both_databases() {
        let zone: Zone = "+02:00".parse().expect("zone");
        assert_eq!(zone.postgres(), "interval '+02:00'");
        assert_eq!(zone.mysql(), "+02:00");
    }
}
