//! Layout of every page, and its small elements: marks, times, steps. Text from outside is escaped (`seen`) before a
//! template escapes it for HTML.

use std::sync::LazyLock;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::status::words;
use crate::visible;

/// Content around the page itself.
#[derive(Debug)]
pub struct Layout {
    pub title: String,
    pub bucket: String,
    pub path: String,
    pub host: String,
    pub dry_run: bool,
    pub now: Time,
    /// Path of the current page.
    pub here: &'static str,
    pub style: &'static str,
    pub script: &'static str,
    pub icon: &'static str,
}

/// A state with its colour, sign and word. The sign shows the state without colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub class: &'static str,
    pub sign: &'static str,
    pub word: String,
}

/// A time: for programs, for people, and as an age.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Time {
    pub iso: String,
    pub shown: String,
    pub age: String,
}

/// A part of a sentence; some are commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    pub command: bool,
}

impl Mark {
    pub fn new(class: &'static str, sign: &'static str, word: impl Into<String>) -> Self {
        Self { class, sign, word: word.into() }
    }

    /// Returns the mark for a delivery's status.
    pub fn of(status: &str) -> Self {
        match status {
            "pending" => Self::new("mute", "…", "pending"),
            "loaded" => Self::new("good", "✓", "loaded"),
            "failed" => Self::new("bad", "✕", "failed"),
            "held" => Self::new("bad", "‖", "held"),
            "late" => Self::new("bad", "↶", "late"),
            "emptied" => Self::new("bad", "∅", "emptied"),
            "changed" => Self::new("bad", "≠", "changed"),
            "moved" => Self::new("bad", "⇄", "moved"),
            "misread" => Self::new("bad", "?", "misread"),
            "skipped" => Self::new("mute", "↷", "skipped"),
            "gone" => Self::new("mute", "∅", "gone"),
            other => Self::new("mute", "?", seen(other)),
        }
    }
}

impl Time {
    /// Returns the time for seconds since 1970.
    pub fn at(seconds: i64, now: i64) -> Self {
        let iso = words::written(seconds);
        Self { shown: shown(&iso), age: ago(seconds, now), iso }
    }

    /// Parses a time from JSON, or returns `None` if it is invalid.
    pub fn read(text: &str, now: i64) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        Some(Self::at(at.unix_timestamp(), now))
    }
}

/// Returns `2026-11-21 14:02:37`.
fn shown(iso: &str) -> String {
    iso.trim_end_matches('Z').replace('T', " ")
}

fn ago(seconds: i64, now: i64) -> String {
    match now - seconds {
        age if age < 0 => format!("in {}", words::span(-age)),
        age => format!("{} ago", words::span(age)),
    }
}

/// Returns text from outside with invisible characters escaped.
pub fn seen(words: &str) -> String {
    visible::text(words).into_owned()
}

/// Returns the beginning of a text from outside, with invisible characters escaped.
pub fn cut(words: &str, most: usize) -> String {
    let words = seen(words);
    if words.chars().count() <= most { words } else { words.chars().take(most - 1).chain(['…']).collect() }
}

/// Returns beginning and end of a text from outside, with invisible characters escaped. The end of a key is its file
/// name.
pub fn middle(words: &str, most: usize) -> String {
    let words = seen(words);
    let length = words.chars().count();
    if length <= most {
        return words;
    }
    let tail = words.chars().skip(length - most * 2 / 3);
    words.chars().take(most / 3 - 1).chain(['…']).chain(tail).collect()
}

/// Returns `1 494 474`, with narrow spaces that do not break.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push('\u{202f}');
        }
        shown.push(digit);
    }
    shown
}

/// Returns the text with its first letter in upper case.
pub fn capital(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase()).into_iter();
    first.chain(letters).collect()
}

/// Splits an action from `status` into text and commands, which are in backquotes.
pub fn step(words: &str) -> Vec<Piece> {
    let words = capital(words);
    let pieces = words.split('`').enumerate().filter(|(_, text)| !text.is_empty());
    let piece = |(place, text): (usize, &str)| match place % 2 {
        1 => Piece { text: format!("paper-engine-orders {text}"), command: true },
        _ => Piece { text: text.to_owned(), command: false },
    };
    pieces.map(piece).collect()
}

/// A file that pages refer to by an address with a hash of its bytes, so that it may be cached forever.
pub struct Asset {
    pub path: &'static str,
    pub content_type: &'static str,
    pub body: &'static [u8],
    address: LazyLock<String>,
}

pub static STYLE: Asset = Asset {
    path: "/style.css",
    content_type: "text/css; charset=utf-8",
    body: include_bytes!("style.css"),
    address: LazyLock::new(|| STYLE.named()),
};
pub static SCRIPT: Asset = Asset {
    path: "/refresh.js",
    content_type: "text/javascript; charset=utf-8",
    body: include_bytes!("refresh.js"),
    address: LazyLock::new(|| SCRIPT.named()),
};
pub static ICON: Asset = Asset {
    path: "/icon.svg",
    content_type: "image/svg+xml",
    body: include_bytes!("icon.svg"),
    address: LazyLock::new(|| ICON.named()),
};

impl Asset {
    pub fn all() -> [&'static Self; 3] {
        [&STYLE, &SCRIPT, &ICON]
    }

    /// Returns the path and query with which pages refer to the file.
    pub fn address(&'static self) -> &'static str {
        &self.address
    }

    /// Returns path and hash (FNV-1a) of the file; the hash only has to differ from version to version.
    fn named(&self) -> String {
        let hash = self
            .body
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{}?v={hash:016x}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_an_age_on_either_side_of_now() {
        let time = Time::at(1_763_733_757, 1_763_733_769);
        assert_eq!((time.iso.as_str(), time.shown.as_str()), ("2025-11-21T14:02:37Z", "2025-11-21 14:02:37"));
        assert_eq!((time.age.as_str(), Time::at(100, 40).age.as_str()), ("12s ago", "in 60s"));
        let read = Time::read("2025-11-21T14:02:37.123456+00:00", 1_763_733_769).expect("a time");
        assert_eq!(read, time);
        assert_eq!(Time::read("<b>", 0), None);
    }

    #[test]
    fn commands_in_a_step_are_whole() {
        let pieces = step("mend it, then `deliveries retry 7`");
        let pieces: Vec<_> = pieces.iter().map(|piece| (piece.text.as_str(), piece.command)).collect();
        assert_eq!(pieces, [("Mend it, then ", false), ("paper-engine-orders deliveries retry 7", true)]);
        assert!(step("`deliveries skip 1`, and on")[0].command);
    }

    #[test]
    fn numbers_are_in_threes_and_keys_keep_their_ends() {
        let numbers = [0, 999, 1_000, 1_494_474].map(number);
        assert_eq!(numbers, ["0", "999", "1\u{202f}000", "1\u{202f}494\u{202f}474"]);
        assert_eq!(middle(&format!("{}end", "k".repeat(1000)), 60).chars().count(), 60);
        assert!(middle(&format!("{}end", "k".repeat(1000)), 60).ends_with("kend"));
        assert_eq!((cut("abc\n", 9), cut("abcdef", 4)), ("abc\\n".to_owned(), "abc…".to_owned()));
    }

    #[test]
    fn an_asset_has_an_address_of_its_own() {
        let addresses: Vec<_> = Asset::all().iter().map(|asset| asset.address()).collect();
        assert!(addresses.iter().zip(Asset::all()).all(|(address, asset)| address.starts_with(asset.path)));
        assert_ne!(addresses[0].split_once("?v=").map(|(_, v)| v), addresses[1].split_once("?v=").map(|(_, v)| v));
    }
}
