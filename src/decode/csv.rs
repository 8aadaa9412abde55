//! Plain bytes become records: RFC 4180, strictly, or without any quotes; one record in memory at a time.
//!
//! Written here because the loader must know two things that the `csv` crate does not tell: whether a field was
//! quoted (an unquoted `NULL` is null, a quoted one is text) and where a quote went wrong (a quote left open must not
//! swallow a million lines).

use std::io::{self, Read};

use memchr::memchr_iter;

use super::cut::{self, Cut, Field, Many, Next, One, Quoted};

/// What can be wrong with a record's form. The line is where the record starts.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    #[error("line {line}: a quote is opened in field {field} and never closed")]
    OpenQuote { line: u64, field: usize },
    #[error("line {line}: a quote inside field {field}, which does not start with one")]
    StrayQuote { line: u64, field: usize },
    #[error("line {line}: text after the closing quote of field {field}")]
    AfterQuote { line: u64, field: usize },
    #[error("line {line}: the record is longer than {limit} bytes")]
    TooLong { line: u64, limit: usize },
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// A record is held in memory; an open quote would otherwise read the whole file into it.
const LONGEST_RECORD: usize = 16 << 20;
const FIRST_BUFFER: usize = 64 << 10;

/// How records are written.
#[derive(Debug, Clone)]
pub struct Form {
    /// what stands between two fields; not empty
    pub delimiter: Vec<u8>,
    /// a field may be quoted; otherwise a quote is a byte like any other
    pub quotes: bool,
    /// a record can be had as it stood in the file
    pub keep_raw: bool,
}

/// Reads records one by one from plain bytes.
pub struct Reader<R> {
    input: R,
    form: Form,
    buffer: Vec<u8>,
    /// the unread part of the buffer
    start: usize,
    end: usize,
    eof: bool,
    /// the line on which the next record starts, from 1
    next_line: u64,
    fields: Vec<Field>,
    /// where the current record starts in the buffer, its length with the line end, and its line
    record: usize,
    length: usize,
    line: u64,
    /// the current record as it stood in the file, where undoing `""` changed the buffer
    raw: Vec<u8>,
}

/// The record a `Reader` stands on.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    bytes: &'a [u8],
    fields: &'a [Field],
    /// the line, from 1, on which it starts
    pub line: u64,
    /// its bytes as they stand in the file, without the line end; empty unless they are kept
    pub raw: &'a [u8],
}

impl<'a> Record<'a> {
    /// No record at all.
    pub const NONE: Self = Self { bytes: &[], fields: &[], line: 0, raw: &[] };

    pub fn width(&self) -> usize {
        self.fields.len()
    }

    /// The text of a field and whether it was quoted.
    pub fn field(&self, index: usize) -> (&'a [u8], bool) {
        let field = self.fields[index];
        (&self.bytes[field.start..field.end], field.quoted)
    }

    /// The same; none if there is no such field.
    pub fn get(&self, index: usize) -> Option<(&'a [u8], bool)> {
        let field = self.fields.get(index)?;
        Some((&self.bytes[field.start..field.end], field.quoted))
    }
}

impl<R: Read> Reader<R> {
    pub fn new(input: R, form: Form) -> Self {
        let buffer = vec![0; FIRST_BUFFER];
        Self {
            input,
            form,
            buffer,
            start: 0,
            end: 0,
            eof: false,
            next_line: 1,
            fields: Vec::new(),
            record: 0,
            length: 0,
            line: 1,
            raw: Vec::new(),
        }
    }

    /// Steps to the next record; false after the last.
    pub fn advance(&mut self) -> Result<bool, Flaw> {
        if self.next_line == 1 && self.start == 0 && self.end == 0 {
            self.pass_over_bom()?;
        }
        self.line = self.next_line;
        loop {
            if self.start < self.end || !self.eof {
                if let Some((length, quoted)) = self.scan()? {
                    self.take(length, quoted);
                    return Ok(true);
                }
            } else {
                return Ok(false);
            }
            self.refill()?;
        }
    }

    /// The record that `advance` stepped to.
    pub fn record(&self) -> Record<'_> {
        Record { bytes: &self.buffer[self.record..], fields: &self.fields, line: self.line, raw: self.raw() }
    }

    fn raw(&self) -> &[u8] {
        let raw = match self.raw.is_empty() {
            _ if !self.form.keep_raw => return &[],
            true => &self.buffer[self.record..self.record + self.length],
            false => &self.raw,
        };
        match raw {
            [line @ .., b'\r', b'\n'] | [line @ .., b'\n'] => line,
            line => line,
        }
    }

    fn take(&mut self, length: usize, quoted: bool) {
        (self.record, self.length) = (self.start, length);
        self.start += length;
        self.raw.clear();
        // only a quoted field can hold a line end of its own, or two quotes for one
        if !quoted {
            self.next_line += 1;
            return;
        }
        let bytes = &mut self.buffer[self.record..self.start];
        self.next_line += memchr_iter(b'\n', bytes).count() as u64;
        if self.form.keep_raw {
            self.raw.extend_from_slice(bytes);
        }
        for field in self.fields.iter_mut().filter(|field| field.doubled) {
            field.end = field.start + undouble(&mut bytes[field.start..field.end]);
        }
    }

    /// Finds the fields of the record at `start`: its length, and whether one is quoted; none if the buffer ends before the
    /// record does.
    fn scan(&mut self) -> Result<Option<(usize, bool)>, Flaw> {
        let bytes = &self.buffer[self.start..self.end];
        let scan = Scan { bytes, eof: self.eof, line: self.line, fields: &mut self.fields };
        match (self.form.quotes, &self.form.delimiter[..]) {
            (true, [only]) => scan.record(One(*only)),
            (true, many) => scan.record(Many::<true>(many)),
            (false, many) => scan.record(Many::<false>(many)),
        }
    }

    fn refill(&mut self) -> Result<(), Flaw> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            if self.buffer.len() >= LONGEST_RECORD {
                return Err(Flaw::TooLong { line: self.line, limit: LONGEST_RECORD });
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        match self.input.read(&mut self.buffer[self.end..]) {
            // an interrupted read is no end: the caller comes back
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
            Ok(0) => self.eof = true,
            Ok(count) => self.end += count,
        }
        Ok(())
    }

    fn pass_over_bom(&mut self) -> Result<(), Flaw> {
        while self.end < 3 && !self.eof {
            self.refill()?;
        }
        if self.buffer[..self.end].starts_with(b"\xef\xbb\xbf") {
            self.start = 3;
        }
        Ok(())
    }
}

/// The look for one record's fields.
struct Scan<'a> {
    bytes: &'a [u8],
    eof: bool,
    line: u64,
    fields: &'a mut Vec<Field>,
}

impl Scan<'_> {
    fn record<C: Cut>(mut self, cut: C) -> Result<Option<(usize, bool)>, Flaw> {
        let (bytes, eof) = (self.bytes, self.eof);
        self.fields.clear();
        let (mut at, mut quoted) = (0, false);
        loop {
            if C::QUOTES && bytes.get(at) == Some(&b'"') {
                quoted = true;
                match self.quoted(cut, at)? {
                    Next::Field(next) => at = next,
                    Next::Record(length) => return Ok(Some((length, true))),
                    _ => return Ok(None),
                }
                continue;
            }
            let Some(end) = cut.end(bytes, at) else {
                self.fields.push(Field::plain(at, bytes.len()));
                return Ok(eof.then_some((bytes.len(), quoted)));
            };
            self.fields.push(Field::plain(at, end));
            match bytes[end] {
                b'\n' => return Ok(Some((self.finish(end + 1), quoted))),
                b'"' if C::QUOTES => return Err(Flaw::StrayQuote { line: self.line, field: self.fields.len() }),
                _ => at = end + cut.length(),
            }
        }
    }

    /// Takes the quoted field at `at`; where it goes on behind it.
    fn quoted<C: Cut>(&mut self, cut: C, at: usize) -> Result<Next, Flaw> {
        let (line, field) = (self.line, self.fields.len() + 1);
        match cut::quoted(self.bytes, at, self.eof) {
            Quoted::More => Ok(Next::More),
            Quoted::Open => Err(Flaw::OpenQuote { line, field }),
            Quoted::Field(parsed, after) => {
                self.fields.push(parsed);
                match cut.after_quote(self.bytes, after, self.eof) {
                    Next::Wrong => Err(Flaw::AfterQuote { line, field }),
                    next => Ok(next),
                }
            }
        }
    }

    /// The last field, unquoted, gives back the CR of a CR LF.
    fn finish(&mut self, length: usize) -> usize {
        if let Some(last) = self.fields.last_mut()
            && last.end > last.start
            && self.bytes[last.end - 1] == b'\r'
        {
            last.end -= 1;
        }
        length
    }
}

/// A record that outlives the step to the next; its room is used again.
#[derive(Debug, Default)]
pub struct Kept {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    line: u64,
    raw: Vec<u8>,
}

impl Kept {
    pub fn keep(&mut self, record: Record<'_>) {
        let end = record.fields.last().map_or(0, |field| field.end);
        self.bytes.clear();
        self.bytes.extend_from_slice(&record.bytes[..end]);
        self.fields.clear();
        self.fields.extend_from_slice(record.fields);
        self.line = record.line;
        self.raw.clear();
        self.raw.extend_from_slice(record.raw);
    }

    pub fn record(&self) -> Record<'_> {
        Record { bytes: &self.bytes, fields: &self.fields, line: self.line, raw: &self.raw }
    }
}

/// Turns `""` into `"` in place; the new length.
fn undouble(bytes: &mut [u8]) -> usize {
    let (mut read, mut write) = (0, 0);
    while read < bytes.len() {
        bytes[write] = bytes[read];
        read += if bytes[read] == b'"' { 2 } else { 1 };
        write += 1;
    }
    write
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its bytes in pieces of a given size, so that every record meets the end of the buffer somewhere.
    struct Drip<'a>(&'a [u8], usize);
    impl Read for Drip<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(self.1).min(into.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    type Rows = Vec<(u64, Vec<(String, bool)>)>;

    fn read(text: &[u8], piece: usize) -> Result<Rows, String> {
        read_as(&form(",", true), text, piece)
    }

    fn form(delimiter: &str, quotes: bool) -> Form {
        Form { delimiter: delimiter.into(), quotes, keep_raw: true }
    }

    fn read_as(form: &Form, text: &[u8], piece: usize) -> Result<Rows, String> {
        let mut reader = Reader::new(Drip(text, piece), form.clone());
        let mut rows = Vec::new();
        while reader.advance().map_err(|flaw| flaw.to_string())? {
            let record = reader.record();
            let fields = (0..record.width()).map(|index| record.field(index));
            let fields = fields.map(|(text, quoted)| (String::from_utf8_lossy(text).into_owned(), quoted));
            rows.push((record.line, fields.collect()));
        }
        Ok(rows)
    }

    fn row(line: u64, fields: &[(&str, bool)]) -> (u64, Vec<(String, bool)>) {
        (line, fields.iter().map(|(text, quoted)| ((*text).to_owned(), *quoted)).collect())
    }

    #[test]
    fn reads_rfc_4180_whatever_the_pieces() {
        let text = b"1,plain,NULL\n2,\"a,b\",\"NULL\"\r\n3,\"say \"\"hi\"\"\",\n4,\"two\nlines\",\"\"\n5,lone\rcr,x";
        let wanted = vec![
            row(1, &[("1", false), ("plain", false), ("NULL", false)]),
            row(2, &[("2", false), ("a,b", true), ("NULL", true)]),
            row(3, &[("3", false), ("say \"hi\"", true), ("", false)]),
            row(4, &[("4", false), ("two\nlines", true), ("", true)]),
            row(6, &[("5", false), ("lone\rcr", false), ("x", false)]),
        ];
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(read(text, piece).expect("good"), wanted, "pieces of {piece}");
        }
    }

    #[test]
    fn passes_over_a_bom_and_takes_empty_for_no_record() {
        assert_eq!(read(b"\xef\xbb\xbf1,x\n", 1).expect("bom"), vec![row(1, &[("1", false), ("x", false)])]);
        assert!(read(b"", 1).expect("empty").is_empty());
        assert_eq!(read(b"1,\n", 1).expect("trailing"), vec![row(1, &[("1", false), ("", false)])]);
    }

    #[test]
    fn names_the_line_where_a_quote_goes_wrong() {
        let open = read(b"1,a\n2,\"b\n3,c\n4,d\n", 5).expect_err("open");
        assert_eq!(open, "line 2: a quote is opened in field 2 and never closed");
        assert_eq!(
            read(b"1,a\"b\n", 5).expect_err("stray"),
            "line 1: a quote inside field 2, which does not start with one"
        );
        assert_eq!(read(b"1,\"a\"b\n", 5).expect_err("after"), "line 1: text after the closing quote of field 2");
    }

    #[test]
    fn a_record_longer_than_the_buffer_is_read_whole() {
        let long = "x".repeat(3 * FIRST_BUFFER);
        let text = format!("1,\"{long}\"\"\"\n2,y\n");
        let rows = read(text.as_bytes(), 10_000).expect("long");
        assert_eq!(rows[0].1[1].0.len(), long.len() + 1);
        assert_eq!(rows[1].1[1].0, "y");
    }

    proptest! {
        /// What the csv crate writes reads back the same, quoted or not.
        #[test]
        fn reads_what_the_csv_crate_writes(
            rows in prop::collection::vec(prop::collection::vec("[a,\"\r\n é]{0,6}", 2..4), 0..8),
            always in any::<bool>(), piece in 1usize..9,
        ) {
            let style = if always { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
            let mut writer = csv::WriterBuilder::new().quote_style(style).flexible(true).from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).expect("write");
            }
            let text = writer.into_inner().expect("flush");
            let got = read(&text, piece).expect("good csv");
            let got: Vec<Vec<String>> =
                got.into_iter().map(|(_, fields)| fields.into_iter().map(|(text, _)| text).collect()).collect();
            prop_assert_eq!(got, rows);
        }

        /// A delimiter of any length and a writer that quotes where it must, or never.
        #[test]
        fn reads_back_any_delimiter(
            rows in prop::collection::vec(prop::collection::vec("[a|\\x01,\"\r\n é]{0,6}", 2..4), 0..8),
            delimiter in prop::sample::select(vec![",", "|", "||", "\u{1}\u{2}", "|,|", "é", "\t", "||||||||"]),
            quotes in any::<bool>(), always in any::<bool>(), piece in 1usize..9,
        ) {
            let rows: Vec<Vec<String>> = match quotes {
                true => rows,
                false => rows.iter().map(|row| row.iter().map(|cell| bare(cell, delimiter)).collect()).collect(),
            };
            let text: String = rows.iter().map(|row| written(row, delimiter, quotes, always)).collect();
            let got = read_as(&form(delimiter, quotes), text.as_bytes(), piece).expect("good csv");
            let texts: Vec<Vec<&str>> =
                got.iter().map(|(_, fields)| fields.iter().map(|(text, _)| text.as_str()).collect()).collect();
            prop_assert_eq!(texts, rows);
            prop_assert!(quotes || got.iter().all(|(_, fields)| fields.iter().all(|(_, quoted)| !quoted)));
        }

        /// The csv crate reads the same of whatever it is that we do not refuse.
        #[test]
        fn reads_as_the_csv_crate_does(
            text in "([a\"]{0,2}[;\t]){0,3}[a\"]{0,3}(\r?\n([a\"]{1,2}[;\t]){0,3}[a\"]{1,3}){0,4}",
            delimiter in prop::sample::select(vec![";", "\t"]), quotes in any::<bool>(), piece in 1usize..9,
        ) {
            let mut peer = csv::ReaderBuilder::new();
            peer.has_headers(false).flexible(true).quoting(quotes).delimiter(delimiter.as_bytes()[0]);
            let peer = peer.from_reader(text.as_bytes()).into_records();
            let peer = peer.map(|row| row.expect("utf-8").iter().map(str::to_owned).collect());
            let peer: Vec<Vec<String>> = peer.filter(|row: &Vec<_>| row != &[""]).collect();
            if let Ok(got) = read_as(&form(delimiter, quotes), text.as_bytes(), piece) {
                let texts = |(_, fields): (u64, Vec<(String, bool)>)| fields.into_iter().map(|(text, _)| text).collect();
                // the csv crate passes over empty lines
                let got: Vec<Vec<String>> = got.into_iter().map(texts).filter(|row: &Vec<_>| row != &[""]).collect();
                prop_assert_eq!(got, peer);
            } else {
                prop_assert!(quotes, "without quotes there is nothing to refuse");
            }
        }
    }

    /// What a cell may hold where nothing is quoted.
    fn bare(cell: &str, delimiter: &str) -> String {
        let kept = |c: &char| !delimiter.contains(*c) && !"\r\n".contains(*c);
        cell.chars().filter(kept).collect()
    }

    fn written(row: &[String], delimiter: &str, quotes: bool, always: bool) -> String {
        let first = delimiter.chars().next().expect("a delimiter");
        let cell = |cell: &String| match quotes && (always || cell.contains(['"', '\r', '\n', first])) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        };
        row.iter().map(cell).collect::<Vec<_>>().join(delimiter) + "\n"
    }

    #[test]
    fn several_bytes_between_fields_whatever_the_pieces() {
        let text = b"1||a|b||\"x||y\"\r\n2|||\"|||\n3||||z";
        let wanted = vec![
            row(1, &[("1", false), ("a|b", false), ("x||y", true)]),
            row(2, &[("2", false), ("|\"", false), ("|", false)]),
            row(3, &[("3", false), ("", false), ("z", false)]),
        ];
        for piece in [1, 2, 3, 1000] {
            let quoted = read_as(&form("||", true), text, piece).expect_err("a quote inside a field");
            assert_eq!(quoted, "line 2: a quote inside field 2, which does not start with one");
            let text = String::from_utf8_lossy(text).replace("|\"|", "|q|");
            let mut wanted = wanted.clone();
            wanted[1] = row(2, &[("2", false), ("|q", false), ("|", false)]);
            assert_eq!(read_as(&form("||", true), text.as_bytes(), piece).expect("good"), wanted, "pieces of {piece}");
        }
    }

    #[test]
    fn without_quotes_a_line_end_ends_the_row() {
        let wanted = vec![row(1, &[("1", false), ("\"a", false)]), row(2, &[("b\"", false), ("\"\"", false)])];
        assert_eq!(read_as(&form(",", false), b"1,\"a\r\nb\",\"\"\n", 2), Ok(wanted));
    }

    #[test]
    fn a_record_can_be_had_as_it_stood() {
        let text = b"\xef\xbb\xbf1,\"say \"\"hi\"\"\"\r\n2,\"two\nlines\"\n3,x";
        for piece in [1, 5, 1000] {
            let mut reader = Reader::new(Drip(text, piece), form(",", true));
            let (mut raw, mut kept) = (Vec::new(), Kept::default());
            while reader.advance().expect("good") {
                raw.push(String::from_utf8_lossy(reader.record().raw).into_owned());
                kept.keep(reader.record());
            }
            assert_eq!(raw, ["1,\"say \"\"hi\"\"\"", "2,\"two\nlines\"", "3,x"]);
            let last = kept.record();
            assert_eq!((last.line, last.field(1), last.raw), (4, (&b"x"[..], false), &b"3,x"[..]));
        }
        let mut reader = Reader::new(&b"1,x\n"[..], Form { keep_raw: false, ..form(",", true) });
        assert!(reader.advance().expect("good") && reader.record().raw.is_empty(), "not asked for");
    }
}
