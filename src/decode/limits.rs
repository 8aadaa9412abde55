//! Limits of file sizes, set by LIMITS. A file beyond a limit is refused like any bad file. The defaults are such
//! that hardly any valid file reaches them.
//!
//! - `max_object`: DMS writes files of 1 GB at most, and hundreds of GB are allowed.
//! - `max_plain`: no table of Postgres can hold more.
//! - `max_ratio`: deflate itself ends at 1,032. The densest rows that a table can have stay below 700 (1,600 columns
//!   of `NULL`: 534; cells of 10,000 spaces: 678), and usual ones below 20. The ratio is checked only beyond the first
//!   64 MiB.
//! - `max_row`: a row is held in memory, and an open quote would read the whole file into it.
//! - `max_fields`: a table of Postgres has at most 1,600 columns, each perhaps with its before-image, and an
//!   operation.

use std::fmt;
use std::str::FromStr;

use crate::pairs::{Faults, Pairs};

/// The most that a file may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum size of an object in the bucket, in bytes.
    pub max_object: Bytes,
    /// Bytes of one object, unpacked.
    pub max_plain: Bytes,
    /// Maximum number of unpacked bytes per packed byte, beyond [`RATIO_FROM`].
    pub max_ratio: u64,
    /// Bytes of a row with its line end.
    pub max_row: Bytes,
    /// Fields of a row.
    pub max_fields: usize,
}

/// A number of bytes, as one writes it in a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Number of unpacked bytes for which the ratio is not checked.
pub(super) const RATIO_FROM: u64 = 64 << 20;

const KEYS: [&str; 5] = ["max_object", "max_plain", "max_ratio", "max_row", "max_fields"];

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Minimum and maximum of `max_row`: a row must fit in, and Postgres' longest value is the maximum.
const ROWS: [Bytes; 2] = [Bytes(1 << 10), Bytes(1 << 30)];

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_object: Bytes(1 << 40),
            max_plain: Bytes(32 << 40),
            max_ratio: 900,
            max_row: Bytes(16 << 20),
            max_fields: 4096,
        }
    }
}

impl Limits {
    /// Returns the maximum size of a row in memory.
    pub(super) fn row(&self) -> usize {
        usize::try_from(self.max_row.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Limits {
    type Err = Faults;

    fn from_str(text: &str) -> Result<Self, Faults> {
        let mut pairs = Pairs::read(text);
        let default = Self::default();
        let limits = Self {
            max_object: take(&mut pairs, "max_object", "1TiB", default.max_object),
            max_plain: take(&mut pairs, "max_plain", "32TiB", default.max_plain),
            max_ratio: take(&mut pairs, "max_ratio", "900", Count(default.max_ratio)).0,
            max_row: take(&mut pairs, "max_row", "16MiB", default.max_row),
            max_fields: take(&mut pairs, "max_fields", "4096", Count(default.max_fields as u64)).0 as usize,
        };
        let [least, most] = ROWS;
        if !(least..=most).contains(&limits.max_row) {
            pairs.fault(format!("max_row is not from {least} to {most}, the longest value that Postgres takes"));
        }
        pairs.finish(&KEYS)?;
        Ok(limits)
    }
}

fn take<T: FromStr<Err = &'static str>>(pairs: &mut Pairs, key: &'static str, example: &str, default: T) -> T {
    let Some(text) = pairs.take_filled(key) else { return default };
    text.parse().unwrap_or_else(|wrong| {
        pairs.fault(format!("{key} is not {wrong}. Write it like {key}={example}"));
        default
    })
}

impl FromStr for Bytes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
        let (number, unit) = unit.unwrap_or((text, 1));
        let number = number.parse().ok().and_then(|number: u64| number.checked_mul(unit));
        number
            .filter(|bytes| *bytes > 0)
            .map(Self)
            .ok_or("a number of bytes, alone or with KiB, MiB, GiB or TiB behind it")
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, bytes)| self.0 > 0 && self.0.is_multiple_of(*bytes)) {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A whole number from 1 up.
struct Count(u64);

impl FromStr for Count {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        text.parse().ok().filter(|number| *number > 0).map(Self).ok_or("a whole number from 1 up")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        text.parse::<Limits>().expect_err(text).to_string()
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!("".parse(), Ok(Limits::default()));
        let limits: Limits = "max_row=1GiB max_ratio=5 max_object=".parse().expect("limits");
        assert_eq!(limits, Limits { max_row: Bytes(1 << 30), max_ratio: 5, ..Limits::default() });
        let all = "max_object=1 max_plain=2KiB max_ratio=3 max_row=4MiB max_fields=5".parse();
        let wanted = Limits {
            max_object: Bytes(1),
            max_plain: Bytes(2048),
            max_ratio: 3,
            max_row: Bytes(4 << 20),
            max_fields: 5,
        };
        assert_eq!(all, Ok(wanted));
    }

    #[test]
    fn bytes_are_written_as_they_are_read() {
        for text in ["1", "1023", "1KiB", "1025", "16MiB", "3GiB", "32TiB"] {
            assert_eq!(text.parse::<Bytes>().expect(text).to_string(), text);
        }
        for text in ["", "0", "0MiB", "-1", "1.5GiB", "1 MiB", "16MB", "MiB", "16777216TiB", "99999999999999999999"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_with_what_to_write() {
        let said = faults("max_object=huge max_plain=0 max_ratio=0 max_row=2GiB max_fields=1.5 max_rows=1");
        for words in [
            "max_object is not a number of bytes, alone or with KiB, MiB, GiB or TiB behind it. Write it like max_object=1TiB",
            "Write it like max_plain=32TiB",
            "max_ratio is not a whole number from 1 up. Write it like max_ratio=900",
            "max_row is not from 1KiB to 1GiB",
            "Write it like max_fields=4096",
            "word 6 (max_rows) is not known",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(faults("max_row=1000").contains("max_row is not from 1KiB"));
    }
}
