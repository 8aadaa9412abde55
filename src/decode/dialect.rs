//! Parses FEED: how the files are written where they differ from the defaults of AWS DMS. All errors are reported at
//! once, each with the correct form.

use std::str::FromStr;

use super::limits::Limits;
use super::listed::{self, Listed};
use crate::pairs::{Faults, Pairs};

/// Format of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Delimiter between two cells: one to eight characters.
    pub delimiter: Vec<u8>,
    /// Cells may be quoted; otherwise a quote is a byte like any other and a line end always ends the row.
    pub rfc4180: bool,
    /// The unquoted cells that mean null. None = the default: what the feed shows decides (`NullRule`). An unquoted empty cell is
    /// null outside text columns always; in a text column that may be null it is if the empty word is given.
    pub null: Vec<Vec<u8>>,
    /// Unquoted cell of a change file for a value that the feed did not supply.
    pub no_supply: Option<Vec<u8>>,
    /// `true` if each file begins with its columns' names. `None` is as `false`, but a first row of names is refused.
    pub header: Option<bool>,
    pub op: OpRule,
    /// The files' columns by name; empty = as the table has them.
    pub columns: Vec<Listed>,
    pub timestamp: Option<Timestamp>,
    /// Prefix of the name of a column that holds another column's old value.
    pub before_image_prefix: Option<String>,
    pub order: Order,
    /// Maximum sizes of the files; set by LIMITS, not by FEED.
    pub limits: Limits,
}

/// Rule for the files that have an operation in each row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpRule {
    /// The first row's width, or the header, decides.
    #[default]
    Auto,
    /// Full loads too.
    Always,
    /// Change files only.
    Changes,
    /// None: change files hold inserts.
    Never,
}

/// Rule for the order of change files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The time in their names; against a full load, `LastModified`.
    #[default]
    Auto,
    /// The time in their names; `LastModified` is ignored.
    Name,
    /// `LastModified`, then the time in their names.
    Modified,
}

/// The column that DMS adds to each row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timestamp {
    pub name: String,
    /// Position of the column in files without column names.
    pub place: Option<Edge>,
}

/// An end of the row: behind the op, or behind the last column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    First,
    Last,
}

const KEYS: [&str; 10] = [
    "delimiter",
    "rfc4180",
    "null",
    "no_supply",
    "header",
    "op",
    "columns",
    "timestamp_column",
    "before_image_prefix",
    "order",
];

const MOST_CHARACTERS: usize = 8;

impl Default for Dialect {
    fn default() -> Self {
        Self {
            delimiter: b",".to_vec(),
            rfc4180: true,
            null: Vec::new(),
            no_supply: None,
            header: None,
            op: OpRule::Auto,
            columns: Vec::new(),
            timestamp: None,
            before_image_prefix: None,
            order: Order::Auto,
            limits: Limits::default(),
        }
    }
}

impl FromStr for Dialect {
    type Err = Faults;

    fn from_str(text: &str) -> Result<Self, Faults> {
        let mut pairs = Pairs::read_lists(text, &["null"]);
        let rfc4180 = flag(&mut pairs, "rfc4180").unwrap_or(true);
        let delimiter = delimiter(&mut pairs, rfc4180);
        let never = Never { delimiter: &delimiter, quotes: rfc4180 };
        let (null, no_supply) = words(&mut pairs, &never);
        let header = flag(&mut pairs, "header");
        let ops = [
            ("auto", OpRule::Auto),
            ("always", OpRule::Always),
            ("changes", OpRule::Changes),
            ("never", OpRule::Never),
        ];
        let op = choice(&mut pairs, "op", &ops);
        let columns = columns(&mut pairs);
        let orders = [("auto", Order::Auto), ("name", Order::Name), ("modified", Order::Modified)];
        let dialect = Self {
            null,
            no_supply,
            rfc4180,
            header,
            op,
            timestamp: timestamp(&mut pairs),
            before_image_prefix: before_image_prefix(&mut pairs),
            order: choice(&mut pairs, "order", &orders),
            columns: columns.clone().unwrap_or_default(),
            delimiter,
            limits: Limits::default(),
        };
        // what columns= names is known only if it could be read
        if columns.is_some() {
            dialect.check_together(&mut pairs);
        }
        pairs.finish(&KEYS)?;
        Ok(dialect)
    }
}

impl Dialect {
    fn check_together(&self, pairs: &mut Pairs) {
        let named = self.header == Some(true) || !self.columns.is_empty();
        if !named && self.timestamp.as_ref().is_some_and(|timestamp| timestamp.place.is_none()) {
            pairs.fault(
                "timestamp_column has no place. Write timestamp_column=NAME:first (behind the op) or \
                 timestamp_column=NAME:last, or name the files' columns with header=True or columns=",
            );
        }
        if !named && self.before_image_prefix.is_some() {
            pairs.fault(
                "before_image_prefix says nothing about files whose columns have no names. Write header=True, or \
                 columns= with the before-images in it",
            );
        }
        if self.op == OpRule::Never && self.columns.iter().any(|item| item.names[0] == "Op") {
            pairs.fault("columns has an Op, but op=never. Leave one of them out, or write op=changes");
        }
    }
}

/// Characters that an unquoted cell cannot contain.
struct Never<'a> {
    delimiter: &'a [u8],
    quotes: bool,
}

impl Never<'_> {
    fn can_be_a_cell(&self, text: &[u8]) -> bool {
        let ends = |byte: &u8| matches!(byte, b'\r' | b'\n') || (self.quotes && *byte == b'"');
        !text.iter().any(ends) && !text.windows(self.delimiter.len()).any(|window| window == self.delimiter)
    }
}

fn delimiter(pairs: &mut Pairs, quotes: bool) -> Vec<u8> {
    let default = Dialect::default().delimiter;
    let Some(given) = pairs.take("delimiter") else {
        return default;
    };
    match unescape(&given).and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| separates(text, quotes)) {
        Some(text) => text.into_bytes(),
        None => {
            pairs.fault(
                r"delimiter is not one to eight characters other than quote, line end and U+0000. Write it like delimiter=; or delimiter=|| or delimiter=\t or delimiter=\x01\x02",
            );
            default
        }
    }
}

/// Returns `true` if the text can be a delimiter: whole characters that neither end cells nor lines by themselves.
fn separates(text: &str, quotes: bool) -> bool {
    let wrong = |c: char| matches!(c, '\0' | '\r' | '\n') || (quotes && c == '"');
    (1..=MOST_CHARACTERS).contains(&text.chars().count()) && !text.contains(wrong)
}

/// Undoes `\t` and `\x01`; a backslash before anything else is one.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = if text == "tab" { b"\t" } else { text.as_bytes() };
    while let [first, behind @ ..] = rest {
        let (byte, after) = match rest {
            [b'\\', b't', after @ ..] => (b'\t', after),
            [b'\\', b'x', high, low, after @ ..] => (hex(*high)? << 4 | hex(*low)?, after),
            _ => (*first, behind),
        };
        bytes.push(byte);
        rest = after;
    }
    Some(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Parses `null` and `no_supply`.
fn words(pairs: &mut Pairs, never: &Never<'_>) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let mut null: Vec<_> = std::iter::from_fn(|| pairs.take("null")).map(String::into_bytes).collect();
    if null.iter().any(|word| word == b"auto") {
        if null.len() > 1 {
            pairs.fault(
                "null is auto and a word. Write null=auto, or all the words that are null, like null='' null=NULL",
            );
        }
        null.clear();
    }
    if null.iter().any(|null| !never.can_be_a_cell(null)) {
        pairs.fault(r"null holds a delimiter, quote or line end, so no cell could ever be it. Write it like null=NULL or null=\N or null=''");
    }
    let no_supply = pairs.take("no_supply").map(String::into_bytes);
    match &no_supply {
        None => {}
        Some(word) if word.is_empty() || !never.can_be_a_cell(word) => pairs.fault(
            "no_supply is empty or holds a delimiter, quote or line end. Write the word that CsvNoSupValue is, like no_supply=NOSUP",
        ),
        Some(word) if null.contains(word) || (null.is_empty() && word == b"NULL") => pairs.fault(
            "no_supply is the word for null, too. Let the feed write two different words, and name them with null= and no_supply=",
        ),
        Some(_) => {}
    }
    (null, no_supply)
}

fn flag(pairs: &mut Pairs, key: &str) -> Option<bool> {
    let value = pairs.take(key)?;
    let found = match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    };
    if found.is_none() {
        pairs.fault(format!("{key} is not True or False. Write {key}=True or {key}=False"));
    }
    found
}

/// Parses one of a few words; the first is the default.
fn choice<T: Copy>(pairs: &mut Pairs, key: &str, words: &[(&str, T)]) -> T {
    let default = words[0].1;
    let Some(value) = pairs.take(key) else { return default };
    match words.iter().find(|(word, _)| value.eq_ignore_ascii_case(word)) {
        Some((_, choice)) => *choice,
        None => {
            let all: Vec<String> = words.iter().map(|(word, _)| format!("{key}={word}")).collect();
            pairs.fault(format!("{key} is not a known word. Write one of {}", all.join(", ")));
            default
        }
    }
}

/// Parses `columns`, or returns `None` after an error.
fn columns(pairs: &mut Pairs) -> Option<Vec<Listed>> {
    let Some(text) = pairs.take("columns") else { return Some(Vec::new()) };
    listed::parse(&text).map_err(|faults| faults.into_iter().for_each(|fault| pairs.fault(fault))).ok()
}

fn timestamp(pairs: &mut Pairs) -> Option<Timestamp> {
    let text = pairs.take("timestamp_column")?;
    let (name, place) = match text.split_once(':') {
        None => (text.as_str(), Some(None)),
        Some((name, "first")) => (name, Some(Some(Edge::First))),
        Some((name, "last")) => (name, Some(Some(Edge::Last))),
        Some((name, _)) => (name, None),
    };
    match place.filter(|_| !name.is_empty()) {
        Some(place) => Some(Timestamp { name: name.to_owned(), place }),
        None => {
            pairs.fault("timestamp_column is not a name with or without a place. Write it like timestamp_column=ts, timestamp_column=ts:first or timestamp_column=ts:last");
            None
        }
    }
}

fn before_image_prefix(pairs: &mut Pairs) -> Option<String> {
    let prefix = pairs.take("before_image_prefix")?;
    if prefix.is_empty() {
        pairs.fault("before_image_prefix is empty. Write it like before_image_prefix=BI_");
        return None;
    }
    Some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect(text: &str) -> Dialect {
        text.parse().unwrap_or_else(|faults| panic!("{text}: {faults}"))
    }

    #[test]
    fn nothing_said_is_the_default() {
        assert_eq!("".parse(), Ok(Dialect::default()));
        let said = "delimiter=, rfc4180=True op=auto order=auto";
        assert_eq!(dialect(said), Dialect::default());
    }

    #[test]
    fn ways_to_write_a_delimiter() {
        let cases: [(&str, &[u8]); 14] = [
            ("delimiter=;", b";"),
            ("delimiter='|'", b"|"),
            ("delimiter=' '", b" "),
            (r"delimiter=\t", b"\t"),
            ("delimiter=tab", b"\t"),
            (r"delimiter=\x01", b"\x01"),
            (r"delimiter='\x1F'", b"\x1f"),
            ("delimiter=||", b"||"),
            (r"delimiter=\x01\x02", b"\x01\x02"),
            (r"delimiter=a\tb", b"a\tb"),
            (r"delimiter=\n", br"\n"),
            ("delimiter=é", "é".as_bytes()),
            (r"delimiter=\xc3\xa9", "é".as_bytes()),
            ("delimiter=é||||||é", "é||||||é".as_bytes()),
        ];
        for (text, wanted) in cases {
            assert_eq!(dialect(text).delimiter, wanted, "{text}");
        }
        assert_eq!(dialect("rfc4180=no delimiter='\"'").delimiter, b"\"", "without quoting a quote is a byte");
    }

    #[test]
    fn null_is_taken_as_written() {
        let null = |text| dialect(text).null.first().cloned();
        let several = dialect("null='' null='0000-00-00 00:00:00' delimiter=; null=NULL").null;
        assert_eq!(several, [&b""[..], b"0000-00-00 00:00:00", b"NULL"]);
        assert_eq!(null("delimiter=;"), None);
        assert_eq!(null("null=auto"), None);
        assert_eq!(null(r"null=\N"), Some(br"\N".to_vec()));
        assert_eq!(null("null=''"), Some(vec![]));
        assert_eq!(null("null= delimiter=;"), Some(vec![]));
        assert_eq!(null("null='not there'"), Some(b"not there".to_vec()));
        assert_eq!(null("delimiter=|| null=|"), Some(b"|".to_vec()));
        assert_eq!(null("rfc4180=0 null=\"\""), Some(b"\"\"".to_vec()));
    }

    #[test]
    fn every_other_setting_arrives() {
        let text = "no_supply=NOSUP header=True op=changes columns='Op,id,-;e:id,BI_id' timestamp_column=ts:last \
                    before_image_prefix=BI_ order=modified rfc4180=False";
        let wanted = Dialect {
            rfc4180: false,
            no_supply: Some(b"NOSUP".to_vec()),
            header: Some(true),
            op: OpRule::Changes,
            columns: listed::parse("Op,id,-;e:id,BI_id").expect("columns"),
            timestamp: Some(Timestamp { name: "ts".into(), place: Some(Edge::Last) }),
            before_image_prefix: Some("BI_".into()),
            order: Order::Modified,
            ..Dialect::default()
        };
        assert_eq!(dialect(text), wanted);
        assert_eq!(dialect("header=no").header, Some(false));
        assert_eq!(dialect("op=Always").op, OpRule::Always);
        let first = Timestamp { name: "ts".into(), place: Some(Edge::First) };
        assert_eq!(dialect("timestamp_column=ts:first").timestamp, Some(first));
        assert_eq!(dialect("timestamp_column=ts header=1").timestamp.map(|timestamp| timestamp.place), Some(None));
        assert!(dialect("timestamp_column=ts columns=id,ts").timestamp.is_some());
        assert_eq!(dialect("before_image_prefix=BI_ columns=id,BI_id").before_image_prefix.as_deref(), Some("BI_"));
    }

    #[test]
    fn what_could_never_work_is_refused() {
        for (text, words) in [
            ("delimiter=", "delimiter=||"),
            ("delimiter=123456789", "delimiter=||"),
            ("delimiter='\"'", "delimiter=||"),
            ("delimiter='a\nb'", "delimiter=||"),
            (r"delimiter=\x0A", "delimiter=||"),
            (r"delimiter=\x00", "delimiter=||"),
            (r"delimiter=\xe9", "delimiter=||"),
            (r"delimiter=\xzz", "delimiter=||"),
            ("null='a,b'", "null=NULL"),
            ("null=auto null=''", "null=auto"),
            ("delimiter=|| null=a||b", "null=NULL"),
            ("null=a\"", "null=NULL"),
            ("no_supply=", "no_supply=NOSUP"),
            ("no_supply=a,b", "no_supply=NOSUP"),
            ("no_supply=NULL", "null= and no_supply="),
            ("null=X no_supply=X", "null= and no_supply="),
            ("header=maybe", "header=True or header=False"),
            ("rfc4180=2", "rfc4180=True or rfc4180=False"),
            ("op=no", "op=auto, op=always, op=changes, op=never"),
            ("order=time", "order=auto, order=name, order=modified"),
            ("columns=", "columns=Op,id,name"),
            ("columns=a;b", "items 1 and 2"),
            ("columns=Op,id op=never", "op=changes"),
            ("timestamp_column=", "timestamp_column=ts:last"),
            ("timestamp_column=ts:middle", "timestamp_column=ts:last"),
            ("timestamp_column=ts", "timestamp_column=NAME:first"),
            ("timestamp_column=ts header=False", "timestamp_column=NAME:first"),
            ("before_image_prefix=", "before_image_prefix=BI_"),
            ("before_image_prefix=BI_", "header=True"),
        ] {
            let faults = text.parse::<Dialect>().expect_err(text).0;
            assert!(faults.len() == 1 && faults[0].contains(words), "{text}: {faults:?}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let text = "header=maybe op=no delimiter= null=a\" no_supply= order=x columns= timestamp_column= \
                    before_image_prefix= rfc4180=x colums=x";
        let faults = text.parse::<Dialect>().expect_err("faults").0;
        assert_eq!(faults.len(), 11, "{faults:#?}");
        for key in KEYS {
            assert!(faults.iter().any(|fault| fault.starts_with(key)), "{key}: {faults:#?}");
        }
        assert!(faults[10].starts_with("the key of word 11 (colums) is not known"), "{}", faults[10]);
    }
}
