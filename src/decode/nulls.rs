//! Evidence of how a feed writes null. Only columns that are not text provide it, because neither an empty cell nor
//! `NULL` can be a value there. The evidence decides how the same cells are read in text columns.

use std::io::{self, Cursor, Read};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::dialect::Dialect;
use super::limits::Bytes;
use super::{Parts, Shape};

/// The unquoted cells of text columns that are null.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NullRule {
    /// `NULL` is null, an empty cell is the empty text
    #[default]
    Words,
    /// An empty cell is null where the column may be null; `NULL` is a text.
    Empty,
    /// The words that FEED null= names.
    Given(Vec<Vec<u8>>),
}

impl NullRule {
    /// Returns the rule of FEED, or `None` if the evidence decides.
    pub fn given(dialect: &Dialect) -> Option<Self> {
        (!dialect.null.is_empty()).then(|| Self::Given(dialect.null.clone()))
    }

    /// Returns the words that are null in columns other than texts, beside the empty cell.
    pub(super) fn words(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Words | Self::Empty => vec![WORD.to_vec()],
            Self::Given(words) => words.clone(),
        }
    }

    /// Returns `true` if an empty cell is null in a text column that may be null.
    pub(super) fn empty_is_null(&self) -> bool {
        match self {
            Self::Words => false,
            Self::Empty => true,
            Self::Given(words) => words.iter().any(Vec::is_empty),
        }
    }
}

/// The word for null that DMS documents.
const WORD: &[u8] = b"NULL";

/// Reading of cells that may be null.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nulls {
    pub rule: NullRule,
    pub watch: Watching,
}

/// Use of nulls in columns that are not text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Watching {
    /// They are not counted.
    #[default]
    Off,
    /// They are counted as evidence.
    Count,
    /// A null that is written in another way than the rule expects is refused.
    Refuse,
}

/// Counts of nulls in columns that are not text, by spelling.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Number of empty cells.
    pub empty: u64,
    /// Number of words `NULL`.
    pub word: u64,
    /// Position of the first of each: file, line and column.
    pub empty_at: Option<String>,
    pub word_at: Option<String>,
}

impl Evidence {
    /// Returns `true` if it shows nothing.
    pub fn is_none(&self) -> bool {
        self.empty == 0 && self.word == 0
    }

    /// Adds what another file shows.
    pub fn join(&mut self, other: &Self) {
        self.empty += other.empty;
        self.word += other.word;
        self.empty_at = self.empty_at.take().or_else(|| other.empty_at.clone());
        self.word_at = self.word_at.take().or_else(|| other.word_at.clone());
    }
}

/// Counts nulls as they are read. Rows are read by one thread.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub empty: Seen,
    pub word: Seen,
}

/// Count and first position of one spelling of null.
#[derive(Debug, Default)]
pub(super) struct Seen {
    count: AtomicU64,
    line: AtomicU64,
    column: AtomicUsize,
}

impl Watch {
    /// Records an unquoted cell that is null.
    pub fn see(&self, field: &[u8], line: u64, column: usize) {
        match field {
            [] => self.empty.add(line, column),
            WORD => self.word.add(line, column),
            _ => {}
        }
    }
}

impl Seen {
    fn add(&self, line: u64, column: usize) {
        let count = self.count.load(Ordering::Relaxed);
        if count == 0 {
            self.line.store(line, Ordering::Relaxed);
            self.column.store(column, Ordering::Relaxed);
        }
        self.count.store(count + 1, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns line and column of the first; none if there is none.
    pub fn first(&self) -> Option<(u64, usize)> {
        (self.count() > 0).then(|| (self.line.load(Ordering::Relaxed), self.column.load(Ordering::Relaxed)))
    }
}

/// The first bytes of a file.
#[derive(Debug, Clone)]
pub struct Head {
    pub key: String,
    pub bytes: Vec<u8>,
    /// `true` if the head is the whole file.
    pub whole: bool,
}

/// Number of rows of a head that are examined.
const ROWS: usize = 20_000;
/// Maximum size of a row in the head; a longer one ends the examination.
const ROW: Bytes = Bytes(1 << 20);

/// Returns the evidence of a file's first rows. An error ends the examination silently, because loading the file will
/// report it.
pub fn evidence(head: Head, shape: Shape) -> Evidence {
    let key = head.key.clone();
    let mut shape = Shape { nulls: Nulls { rule: NullRule::Words, watch: Watching::Count }, keep_raw: false, ..shape };
    shape.had_op = None;
    shape.dialect.limits.max_row = shape.dialect.limits.max_row.min(ROW);
    let columns = shape.columns.len();
    let names: Vec<String> = shape.columns.iter().map(|column| column.name.clone()).collect();
    let mut rows = super::rows(Only(Some(head)), shape);
    for _ in 0..ROWS {
        match rows.next_row() {
            Ok(Some(row)) => (0..columns).for_each(|column| _ = row.cell(column)),
            Err(error) if error.of_the_row() => {}
            Ok(None) | Err(_) => break,
        }
    }
    let place = |seen: &Seen| {
        let (line, column) = seen.first()?;
        Some(format!("{key}, line {line}, column {}", names[column]))
    };
    let watch = rows.watch();
    let (empty_at, word_at) = (place(&watch.empty), place(&watch.word));
    Evidence { empty: watch.empty.count(), word: watch.word.count(), empty_at, word_at }
}

/// A delivery of one head.
struct Only(Option<Head>);

/// Bytes of a head. If the file continues, they end with an error, so that the last cell is not taken for complete.
struct HeadBytes {
    bytes: Cursor<Vec<u8>>,
    whole: bool,
}

impl Parts for Only {
    type Bytes = HeadBytes;

    fn next_part(&mut self) -> io::Result<Option<(HeadBytes, bool)>> {
        let part = |Head { key, bytes, whole }: Head| {
            let gzip = key.ends_with(".gz");
            (HeadBytes { bytes: Cursor::new(bytes), whole }, gzip)
        };
        Ok(self.0.take().map(part))
    }
}

impl Read for HeadBytes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.bytes.read(into)? {
            0 if !self.whole && !into.is_empty() => Err(io::Error::other("the head ends here")),
            count => Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell::Cell;
    use super::super::tests::shape;
    use super::super::{File, rows};
    use super::*;

    fn seen_as(file: File, feed: &str, text: &str, whole: bool) -> (u64, u64) {
        let head = Head { key: "e.csv".into(), bytes: text.into(), whole };
        let found = evidence(head, shape(file, feed, "id*,a!',b',c,d!"));
        assert_eq!((found.empty > 0, found.word > 0), (found.empty_at.is_some(), found.word_at.is_some()));
        (found.empty, found.word)
    }

    fn seen(text: &str) -> (u64, u64) {
        seen_as(File::Snapshot, "", text, true)
    }

    #[test]
    fn only_columns_other_than_texts_that_may_be_null_are_evidence() {
        assert_eq!(seen("1,,,,4\n"), (1, 0));
        assert_eq!(seen("1,NULL,NULL,NULL,4\n2,,,NULL,4\n"), (0, 2));
        assert_eq!(seen("1,NULL,,3,\n2,,NULL,3,NULL\n"), (0, 0), "neither texts nor columns that are not null");
        assert_eq!(seen("1,a,b,\"\",4\n1,a,b,\"NULL\",4\n1,a,b,null,4\n"), (0, 0), "neither quoted nor another word");
        assert_eq!(seen("1,a,b,,4\n2,a,b,NULL,4\n"), (1, 1));
        assert_eq!(seen_as(File::Changes, "", "D,1,,,,\nI,2,a,b,NULL,4\nD,3,NULL,NULL,NULL,NULL\n", true), (0, 1));
        assert_eq!(seen_as(File::Snapshot, "header=True", "c,id,a,b,d\n,1,a,b,4\n", true), (1, 0));
        assert_eq!(seen_as(File::Changes, "no_supply=-", "U,1,-,-,-,-\n", true), (0, 0));
    }

    #[test]
    fn a_cell_that_is_cut_is_no_evidence() {
        let text = "1,a,b,3,4\n2,a,b,33,44\n";
        for end in 0..=text.len() {
            assert_eq!(seen_as(File::Snapshot, "", &text[..end], false), (0, 0), "{end}");
        }
        assert_eq!(seen_as(File::Snapshot, "", "1,a,b,,4\n2,a,b,", false), (1, 0));
        assert_eq!(seen("1,a,b,,4\nbad\n2,a,b,,4\n\"open"), (2, 0), "and what is wrong says nothing");
        assert_eq!(seen(""), (0, 0));
    }

    fn read(rule: NullRule, text: &'static str) -> Result<Vec<String>, String> {
        let shape =
            Shape { nulls: Nulls { rule, watch: Watching::Refuse }, ..shape(File::Changes, "", "id*,a!',b',c,d!") };
        let head = Head { key: "e.csv".into(), bytes: text.into(), whole: true };
        let mut rows = rows(Only(Some(head)), shape);
        let mut seen = Vec::new();
        while let Some(row) = rows.next_row().map_err(|error| error.to_string())? {
            let cell = |column| match row.cell(column) {
                Cell::Null => "∅".to_owned(),
                Cell::NotSupplied => "–".to_owned(),
                Cell::Value(text) => String::from_utf8_lossy(text).into_owned(),
            };
            seen.push((0..5).map(cell).collect::<Vec<_>>().join("|"));
        }
        Ok(seen)
    }

    #[test]
    fn the_rule_says_what_is_null_in_texts() {
        let text = "I,1,,,,4\nI,2,NULL,NULL,3,4\nI,3,\"\",\"\",3,4\nI,4,\"NULL\",\"NULL\",3,4\n";
        assert_eq!(
            read(NullRule::Empty, text),
            Ok(["1||∅|∅|4", "2|NULL|NULL|3|4", "3|||3|4", "4|NULL|NULL|3|4"].map(String::from).to_vec())
        );
        let text = "I,1,,,NULL,4\nI,2,a,NULL,3,4\nI,3,\"\",\"\",3,4\nI,4,\"NULL\",\"NULL\",3,4\n";
        assert_eq!(
            read(NullRule::Words, text),
            Ok(["1|||∅|4", "2|a|∅|3|4", "3|||3|4", "4|NULL|NULL|3|4"].map(String::from).to_vec())
        );
    }

    #[test]
    fn what_contradicts_the_rule_is_refused_to_the_last_row() {
        let words = read(NullRule::Words, "I,1,a,b,3,4\nI,2,a,b,,4\n").expect_err("an empty cell");
        assert!(words.starts_with("line 2, column c: an empty cell is null here"), "{words}");
        let words = read(NullRule::Empty, "I,1,a,b,,4\nI,2,a,b,NULL,4\nI,3,a,b,3,4\n").expect_err("a word");
        assert!(words.starts_with("line 2, column c: the word NULL is null here"), "{words}");
        // what a delete does not log says nothing
        assert!(read(NullRule::Words, "D,1,,,,\nI,2,a,b,NULL,4\n").is_ok());
        assert!(read(NullRule::Empty, "D,1,NULL,NULL,NULL,NULL\nI,2,a,b,,4\n").is_ok());
        let given = NullRule::Given(vec![b"-".to_vec()]);
        assert!(read(given, "I,1,a,b,,4\nI,2,a,b,-,4\n").is_ok());
    }
}
