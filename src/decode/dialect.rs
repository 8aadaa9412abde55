//! What FEED says: how the files' writer separates cells and what it writes for null. Everything else about
//! the files is fixed by what AWS DMS does.

use std::str::FromStr;

use crate::pairs::{Faults, Pairs};

/// How cells are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The byte between two cells.
    pub delimiter: u8,
    /// The unquoted cell that means null. `None` = the default: an unquoted `NULL` is null, and an unquoted
    /// empty cell is, except in a text column.
    pub null: Option<Vec<u8>>,
    /// What decides the order of change files.
    pub order: Order,
}

/// What decides the order of change files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The time in their names; against a full load, `LastModified`.
    #[default]
    Auto,
    /// The time in their names; `LastModified` says nothing.
    Name,
    /// `LastModified`, then the time in their names.
    Modified,
}

const KEYS: [&str; 3] = ["delimiter", "null", "order"];

/// Keys that have a meaning in the design but none in this version. One that is understood moves to `KEYS`.
const LATER: [&str; 6] = ["no_supply", "header", "op", "columns", "timestamp_column", "before_image_prefix"];

impl Default for Dialect {
    fn default() -> Self {
        Self { delimiter: b',', null: None, order: Order::Auto }
    }
}

impl FromStr for Dialect {
    type Err = Faults;

    fn from_str(text: &str) -> Result<Self, Faults> {
        let mut pairs = Pairs::read(text);
        for key in LATER {
            if pairs.take(key).is_some() {
                pairs.fault(format!("{key} is not understood by this version. Leave it out"));
            }
        }
        let delimiter = delimiter(&mut pairs);
        let null = null(&mut pairs, delimiter);
        let order = order(&mut pairs);
        pairs.finish(&KEYS)?;
        Ok(Self { delimiter, null, order })
    }
}

fn delimiter(pairs: &mut Pairs) -> u8 {
    let default = Dialect::default().delimiter;
    let Some(given) = pairs.take("delimiter") else {
        return default;
    };
    match one_byte(&given) {
        // A byte of a longer character, or one that ends cells and lines by itself, would cut rows to pieces.
        Some(byte) if byte.is_ascii() && ![0, b'"', b'\r', b'\n'].contains(&byte) => byte,
        _ => {
            pairs.fault(r"delimiter is not one ASCII character other than quote and line end. Write it like delimiter=; or delimiter=\t or delimiter=\x01");
            default
        }
    }
}

fn one_byte(text: &str) -> Option<u8> {
    match (text, text.as_bytes()) {
        (r"\t" | "tab", _) => Some(b'\t'),
        (_, [byte]) => Some(*byte),
        (_, [b'\\', b'x', high, low]) => Some(hex(*high)? << 4 | hex(*low)?),
        _ => None,
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn null(pairs: &mut Pairs, delimiter: u8) -> Option<Vec<u8>> {
    let null = pairs.take("null")?.into_bytes();
    let never = [delimiter, b'"', b'\r', b'\n'];
    if null.iter().any(|byte| never.contains(byte)) {
        pairs.fault(r"null holds a delimiter, quote or line end, so no cell could ever be it. Write it like null=NULL or null=\N or null=''");
    }
    Some(null)
}

fn order(pairs: &mut Pairs) -> Order {
    match pairs.take("order").as_deref() {
        None | Some("auto") => Order::Auto,
        Some("name") => Order::Name,
        Some("modified") => Order::Modified,
        Some(_) => {
            pairs.fault("order is neither auto, name nor modified. Write it like order=modified");
            Order::Auto
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delimiter(text: &str) -> u8 {
        text.parse::<Dialect>().expect(text).delimiter
    }

    fn null(text: &str) -> Option<Vec<u8>> {
        text.parse::<Dialect>().expect(text).null
    }

    #[test]
    fn nothing_said_is_the_default() {
        let default = Dialect { delimiter: b',', null: None, order: Order::Auto };
        assert_eq!("".parse(), Ok(default.clone()));
        assert_eq!(Dialect::default(), default);
    }

    #[test]
    fn ways_to_write_a_delimiter() {
        assert_eq!(delimiter("delimiter=;"), b';');
        assert_eq!(delimiter("delimiter='|'"), b'|');
        assert_eq!(delimiter("delimiter=' '"), b' ');
        assert_eq!(delimiter(r"delimiter=\t"), b'\t');
        assert_eq!(delimiter("delimiter=tab"), b'\t');
        assert_eq!(delimiter(r"delimiter=\x01"), 1);
        assert_eq!(delimiter(r"delimiter='\x1F'"), 0x1f);
    }

    #[test]
    fn null_is_taken_as_written() {
        assert_eq!(null("delimiter=;"), None);
        assert_eq!(null(r"null=\N"), Some(br"\N".to_vec()));
        assert_eq!(null("null=''"), Some(vec![]));
        assert_eq!(null("null= delimiter=;"), Some(vec![]));
        assert_eq!(null("null='not there'"), Some(b"not there".to_vec()));
    }

    #[test]
    fn the_order_is_one_of_three() {
        let order = |text: &str| text.parse::<Dialect>().expect(text).order;
        assert_eq!(order("order=auto"), Order::Auto);
        assert_eq!(order("order=name delimiter=;"), Order::Name);
        assert_eq!(order("order=modified"), Order::Modified);
        let faults = "order=time".parse::<Dialect>().expect_err("a fault").0;
        assert!(faults[0].contains("neither auto, name nor modified"), "{faults:?}");
    }

    #[test]
    fn what_could_never_work_is_refused() {
        for text in [
            "delimiter=",
            "delimiter=ab",
            "delimiter='\"'",
            "delimiter=é",
            r"delimiter=\n\n",
            r"delimiter=\x0A",
            r"delimiter=\x00",
            r"delimiter=\xe9",
            r"delimiter=\xzz",
            "null='a,b'",
            "delimiter=; null=a;b",
            "null=a\"",
        ] {
            assert_eq!(text.parse::<Dialect>().expect_err(text).0.len(), 1, "{text}");
        }
    }

    #[test]
    fn later_keys_are_refused_by_name_and_unknown_ones_by_place() {
        let text = "header=1 op=no delimiter=ab colums=x";
        let faults = text.parse::<Dialect>().expect_err("faults").0;
        let wanted = ["header is not understood by this version", "op is not", "delimiter is not", "word 4"];
        assert_eq!(faults.len(), wanted.len(), "{faults:#?}");
        for (fault, wanted) in faults.iter().zip(wanted) {
            assert!(fault.contains(wanted), "{fault}");
        }
    }
}
