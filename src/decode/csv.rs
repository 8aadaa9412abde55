//! Plain bytes become records: RFC 4180, strictly, one record in memory at a time.
//!
//! Written here because the loader must know two things that the `csv` crate does not tell: whether a field was
//! quoted (an unquoted `NULL` is null, a quoted one is text) and where a quote went wrong (a quote left open must not
//! swallow a million lines).

use std::io::{self, Read};

use memchr::{memchr, memchr_iter, memchr3};

/// A field of the current record: where it lies in the buffer, and whether it was quoted.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    start: usize,
    end: usize,
    quoted: bool,
    /// has `""` inside that still reads as two quotes
    doubled: bool,
}

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

/// Reads records one by one from plain bytes.
pub struct Reader<R> {
    input: R,
    delimiter: u8,
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
    /// whether the current record can be had as it stood in the file; a copy, where undoing `""` changed the buffer
    keep_raw: bool,
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
    pub fn width(&self) -> usize {
        self.fields.len()
    }

    /// The text of a field and whether it was quoted.
    pub fn field(&self, index: usize) -> (&'a [u8], bool) {
        let field = self.fields[index];
        (&self.bytes[field.start..field.end], field.quoted)
    }
}

impl<R: Read> Reader<R> {
    pub fn new(input: R, delimiter: u8, keep_raw: bool) -> Self {
        let buffer = vec![0; FIRST_BUFFER];
        Self {
            input,
            delimiter,
            buffer,
            start: 0,
            end: 0,
            eof: false,
            next_line: 1,
            fields: Vec::new(),
            record: 0,
            length: 0,
            line: 1,
            keep_raw,
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
                if let Some(length) = self.scan()? {
                    self.take(length);
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
            _ if !self.keep_raw => return &[],
            true => &self.buffer[self.record..self.record + self.length],
            false => &self.raw,
        };
        match raw {
            [line @ .., b'\r', b'\n'] | [line @ .., b'\n'] => line,
            line => line,
        }
    }

    fn take(&mut self, length: usize) {
        (self.record, self.length) = (self.start, length);
        self.start += length;
        let bytes = &mut self.buffer[self.record..self.start];
        // only a quoted field can hold a line end of its own
        let quoted = self.fields.iter().any(|field| field.quoted);
        self.next_line += if quoted { memchr_iter(b'\n', bytes).count() as u64 } else { 1 };
        self.raw.clear();
        if quoted && self.keep_raw {
            self.raw.extend_from_slice(bytes);
        }
        for field in self.fields.iter_mut().filter(|field| field.doubled) {
            field.end = field.start + undouble(&mut bytes[field.start..field.end]);
        }
    }

    /// Finds the fields of the record at `start`: its length, or none if the buffer ends before the record does.
    fn scan(&mut self) -> Result<Option<usize>, Flaw> {
        let bytes = &self.buffer[self.start..self.end];
        self.fields.clear();
        let mut at = 0;
        loop {
            let field = self.fields.len() + 1;
            let found = if bytes.get(at) == Some(&b'"') {
                quoted_field(bytes, at, self.eof)
            } else {
                plain_field(bytes, at, self.delimiter, self.eof)
            };
            let (parsed, after) = match found {
                Found::Field(parsed, after) => (parsed, after),
                Found::More => return Ok(None),
                Found::Open => return Err(Flaw::OpenQuote { line: self.line, field }),
                Found::Stray => return Err(Flaw::StrayQuote { line: self.line, field }),
            };
            self.fields.push(parsed);
            match field_end(bytes, after, self.delimiter, self.eof) {
                Next::Field(next) => at = next,
                Next::Record(next) => return Ok(self.finish(next)),
                Next::More => return Ok(None),
                Next::Wrong => return Err(Flaw::AfterQuote { line: self.line, field }),
            }
        }
    }

    /// An unquoted last field gives back the CR of a CR LF.
    fn finish(&mut self, length: usize) -> Option<usize> {
        let bytes = &self.buffer[self.start..self.start + length];
        if let Some(last) = self.fields.last_mut().filter(|field| !field.quoted)
            && last.end > last.start
            && bytes[last.end - 1] == b'\r'
            && bytes.get(last.end) == Some(&b'\n')
        {
            last.end -= 1;
        }
        Some(length)
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

enum Found {
    /// the field, and where it ends (behind the closing quote)
    Field(Field, usize),
    More,
    Open,
    Stray,
}

enum Next {
    Field(usize),
    Record(usize),
    More,
    Wrong,
}

fn plain_field(bytes: &[u8], at: usize, delimiter: u8, eof: bool) -> Found {
    let field = |end| Field { start: at, end, quoted: false, doubled: false };
    match memchr3(delimiter, b'\n', b'"', &bytes[at..]) {
        Some(length) if bytes[at + length] == b'"' => Found::Stray,
        Some(length) => Found::Field(field(at + length), at + length),
        None if eof => Found::Field(field(bytes.len()), bytes.len()),
        None => Found::More,
    }
}

fn quoted_field(bytes: &[u8], at: usize, eof: bool) -> Found {
    let (start, mut from, mut doubled) = (at + 1, at + 1, false);
    loop {
        let Some(quote) = memchr(b'"', &bytes[from..]).map(|found| from + found) else {
            return if eof { Found::Open } else { Found::More };
        };
        match bytes.get(quote + 1) {
            Some(b'"') => (from, doubled) = (quote + 2, true),
            None if !eof => return Found::More,
            _ => return Found::Field(Field { start, end: quote, quoted: true, doubled }, quote + 1),
        }
    }
}

/// What follows a field: the next one, the end of the record, or something that must not be there.
fn field_end(bytes: &[u8], at: usize, delimiter: u8, eof: bool) -> Next {
    match bytes.get(at) {
        Some(&byte) if byte == delimiter => Next::Field(at + 1),
        Some(b'\n') => Next::Record(at + 1),
        Some(b'\r') => match bytes.get(at + 1) {
            Some(b'\n') => Next::Record(at + 2),
            None if !eof => Next::More,
            None => Next::Record(at + 1),
            Some(_) => Next::Wrong,
        },
        Some(_) => Next::Wrong,
        None if eof => Next::Record(at),
        None => Next::More,
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
        let mut reader = Reader::new(Drip(text, piece), b',', false);
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
    }
}
