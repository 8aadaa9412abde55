//! Format of a generated file's rows: delimiter, null, and columns beside those of the table. The default is that of
//! DMS without settings. `setting` returns the same as a value of FEED.

use super::Entity;

/// The form of all rows of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Delimiter between two cells: one or more ASCII characters, control characters included.
    pub delimiter: String,
    /// The bare word for null. A text that reads the same is quoted.
    pub null: String,
    /// The first line has the names of the columns (`AddColumnName`); the op's is `Op`.
    pub header: bool,
    /// Full loads have an op too, always `I` (`IncludeOpForFullLoad`).
    pub full_load_op: bool,
    /// Change files hold inserts only (`cdcInsertsOnly`), with an op only if full loads have one.
    pub inserts_only: bool,
    /// A column with the time of each row (`TimestampColumnName`).
    pub timestamp: Option<Timestamp>,
    /// One more column at the end, the old key of an update; null in all other rows.
    pub before_image: Option<String>,
    /// The bare word for a cell that an update or a key-only delete does not supply (`CsvNoSupValue`).
    pub no_supply: Option<String>,
    /// RFC 4180 quotes. Without them line ends and delimiters within texts become blanks.
    pub quotes: bool,
    /// Rows end with CR LF.
    pub crlf: bool,
    /// The file begins with a byte order mark.
    pub bom: bool,
    /// The last row ends like the others.
    pub last_newline: bool,
}

/// The column with the time of the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// Name of the column in a header.
    pub name: String,
    /// `true` if the column comes after the table's columns.
    pub last: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            delimiter: ",".to_owned(),
            null: "NULL".to_owned(),
            header: false,
            full_load_op: false,
            inserts_only: false,
            timestamp: None,
            before_image: None,
            no_supply: None,
            quotes: true,
            crlf: false,
            bom: false,
            last_newline: true,
        }
    }
}

/// A dialect in which nothing could be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialectError {
    /// The delimiter is empty, or has characters that end cells and rows by themselves.
    #[error(
        "a delimiter is one ASCII character or more, none of them a quote, a line end or U+0000; write it like ';' or '||' or '\\t' or '\\x01'"
    )]
    Delimiter,
    /// A delimiter that bare values hold.
    #[error(
        "without quotes the delimiter must be one that numbers, times and JSON do not hold; try --delimiter '\\x01'"
    )]
    Bare,
    /// A word for null, or for what is not supplied, that holds what ends a cell.
    #[error("the word for {0} holds a delimiter, a quote or a line end, so it could not be told from a value")]
    Word(&'static str),
    /// One word for two things.
    #[error("null and what is not supplied need two words")]
    SameWord,
    /// A name that a header cannot contain.
    #[error("a column's name and a prefix must not be empty, nor hold a delimiter, a quote or a line end")]
    Name,
}

/// Characters of numbers, times, ids and JSON, letters and digits aside.
const BARE: &[u8] = b"{}[]\":,.+-/ ";

impl Dialect {
    /// Checks that files of this dialect can be read back.
    pub fn check(&self) -> Result<(), DialectError> {
        let sound = |byte: u8| byte.is_ascii() && !matches!(byte, 0 | b'"' | b'\r' | b'\n');
        if self.delimiter.is_empty() || !self.delimiter.bytes().all(sound) {
            return Err(DialectError::Delimiter);
        }
        if !self.quotes && self.delimiter.bytes().any(|byte| byte.is_ascii_alphanumeric() || BARE.contains(&byte)) {
            return Err(DialectError::Bare);
        }
        self.check_words()
    }

    fn check_words(&self) -> Result<(), DialectError> {
        let no_supply = self.no_supply.as_deref();
        for (word, what) in [(Some(self.null.as_str()), "null"), (no_supply, "what is not supplied")] {
            if word.is_some_and(|word| self.is_special(word.as_bytes())) {
                return Err(DialectError::Word(what));
            }
        }
        if no_supply == Some(self.null.as_str()) {
            return Err(DialectError::SameWord);
        }
        let names = [self.timestamp.as_ref().map(|column| &column.name), self.before_image.as_ref()];
        let wrong = |name: &&String| name.is_empty() || self.is_special(name.as_bytes());
        if names.iter().flatten().any(wrong) { Err(DialectError::Name) } else { Ok(()) }
    }

    /// Returns `true` if the cell contains a character that would end it.
    pub(super) fn is_special(&self, cell: &[u8]) -> bool {
        cell.iter().any(|&byte| matches!(byte, b'"' | b'\n' | b'\r') || self.delimits(byte))
    }

    /// Returns `true` if the byte occurs in the delimiter: at the end of a cell it would be taken for the delimiter's
    /// beginning.
    pub(super) fn delimits(&self, byte: u8) -> bool {
        self.delimiter.as_bytes().contains(&byte)
    }

    /// Returns the value of FEED that is needed to read files of these entities, or `None` if the defaults suffice.
    pub fn setting(&self, entities: &[Entity]) -> Option<String> {
        let usual = Self::default();
        let mut pairs = Vec::new();
        let mut add = |key: &str, value: &str| pairs.push(format!("{key}={}", quoted(value)));
        if self.delimiter != usual.delimiter {
            add("delimiter", &self.delimiter);
        }
        if self.header {
            add("header", "True");
        }
        match (self.full_load_op, self.inserts_only) {
            (true, _) => add("op", "always"),
            (false, true) => add("op", "never"),
            (false, false) => {}
        }
        if self.null != usual.null {
            add("null", &self.null);
        }
        if let Some(word) = &self.no_supply {
            add("no_supply", word);
        }
        if let Some(Timestamp { name, last }) = &self.timestamp {
            add("timestamp_column", &format!("{name}:{}", if *last { "last" } else { "first" }));
        }
        if let Some(prefix) = &self.before_image {
            add("before_image_prefix", prefix);
        }
        if !self.quotes {
            add("rfc4180", "False");
        }
        if let (Some(prefix), false, [entity]) = (&self.before_image, self.header, entities) {
            let (key, columns) = (entity.columns()[0], entity.columns().join(","));
            add("columns", &format!("{columns},{prefix}{key}"));
        }
        (!pairs.is_empty()).then(|| pairs.join(" "))
    }
}

/// Quotes a value for FEED: control characters as `\t` or `\x01`, quotes only where needed.
fn quoted(value: &str) -> String {
    let mut text = String::new();
    let mut letters = value.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if matches!(letters.peek(), None | Some('\\' | '\'' | ' ')) => text.push_str(r"\\"),
            '\t' => text.push_str(r"\t"),
            _ if letter.is_ascii_control() => text.push_str(&format!(r"\x{:02x}", u32::from(letter))),
            '\'' => text.push_str(r"\'"),
            _ => text.push(letter),
        }
    }
    if text.contains([' ', '\'']) { format!("'{text}'") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_back_is_refused() {
        let usual = Dialect::default;
        let delimiter = |text: &str| Dialect { delimiter: text.to_owned(), ..usual() };
        for text in ["", "\"", "|\n", "é", "\0"] {
            assert_eq!(delimiter(text).check(), Err(DialectError::Delimiter), "{text:?}");
        }
        for text in [",", "1", " ", "-"] {
            assert_eq!(Dialect { quotes: false, ..delimiter(text) }.check(), Err(DialectError::Bare), "{text:?}");
        }
        assert_eq!(Dialect { null: "a,b".to_owned(), ..usual() }.check(), Err(DialectError::Word("null")));
        let same = Dialect { no_supply: Some("NULL".to_owned()), ..usual() };
        assert_eq!(same.check(), Err(DialectError::SameWord));
        assert_eq!(Dialect { before_image: Some(String::new()), ..usual() }.check(), Err(DialectError::Name));
        for text in [",", "||", "\t", "\u{1}", "a", ".-"] {
            assert_eq!(delimiter(text).check(), Ok(()), "{text:?}");
        }
        assert_eq!(Dialect { quotes: false, ..delimiter("\t;") }.check(), Ok(()));
    }

    #[test]
    fn a_backslash_escapes_nothing_by_accident() {
        for (value, wanted) in [(r"\N", r"\N"), (r"\", r"\\"), (r"\ ", r"'\\ '"), (r"a\\b", r"a\\\b")] {
            assert_eq!(quoted(value), wanted);
            let mut read = crate::pairs::Pairs::read(&format!("null={wanted} header=True"));
            assert_eq!(read.take("null").as_deref(), Some(value), "{wanted}");
        }
    }

    #[test]
    fn the_setting_says_what_differs() {
        let usual = Dialect::default;
        assert_eq!(usual().setting(&Entity::ALL), None);
        let bytes_only = Dialect { crlf: true, bom: true, last_newline: false, ..usual() };
        assert_eq!(bytes_only.setting(&Entity::ALL), None, "the loader sees these by itself");
        let control = Dialect {
            delimiter: "\u{1}".to_owned(),
            null: r"\N".to_owned(),
            header: true,
            full_load_op: true,
            ..usual()
        };
        let wanted = r"delimiter=\x01 header=True op=always null=\N";
        assert_eq!(control.setting(&Entity::ALL).as_deref(), Some(wanted));
        let rest = Dialect {
            delimiter: "'| ".to_owned(),
            inserts_only: true,
            timestamp: Some(Timestamp { name: "at".to_owned(), last: true }),
            no_supply: Some("?".to_owned()),
            before_image: Some("BI_".to_owned()),
            quotes: false,
            ..usual()
        };
        let wanted =
            r"delimiter='\'| ' op=never no_supply=? timestamp_column=at:last before_image_prefix=BI_ rfc4180=False";
        assert_eq!(rest.setting(&Entity::ALL).as_deref(), Some(wanted));
        let columns = "columns=event_id,order_id,kind,quantity,price,happened_at,note,BI_event_id";
        assert!(rest.setting(&[Entity::Events]).is_some_and(|setting| setting.ends_with(columns)));
    }
}
