//! Parses records: RFC 4180, strictly, or without quotes; one record in memory at a time.
//!
//! The `csv` crate is not used because it does not report two things: whether a field was quoted (an unquoted `NULL`
//! is null, a quoted one is text), and where a quote is wrong (an open quote must not swallow a million lines).

use std::io::{self, Read};

use memchr::memchr_iter;

use super::cut::{self, Cut, Field, Many, Next, One, Quoted};
use super::limits::{Bytes, Limits};

/// Error in the form of a record. The line is the one at which the record starts.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    #[error("line {line}: a quote is opened in field {field} and never closed")]
    OpenQuote { line: u64, field: usize },
    #[error("line {line}: a quote inside field {field}, which does not start with one")]
    StrayQuote { line: u64, field: usize },
    #[error("line {line}: text after the closing quote of field {field}")]
    AfterQuote { line: u64, field: usize },
    #[error(
        "line {line}: too large: the row is longer than LIMITS max_row={limit}; a quote may be open. If it is right, raise \
         it, then `deliveries retry`"
    )]
    TooLong { line: u64, limit: Bytes },
    #[error(
        "line {line}: too large: the row has more fields than LIMITS max_fields={limit}; the delimiter may be another (FEED \
         delimiter=). If it is right, raise it, then `deliveries retry`"
    )]
    TooWide { line: u64, limit: usize },
    #[error(transparent)]
    Read(#[from] io::Error),
}

const FIRST_BUFFER: usize = 64 << 10;

/// Form of the records.
#[derive(Debug, Clone)]
pub struct Form {
    /// Delimiter between two fields; not empty.
    pub delimiter: Vec<u8>,
    /// A field may be quoted; otherwise a quote is a byte like any other.
    pub quotes: bool,
    /// `true` if the records' bytes as in the file are kept.
    pub keep_raw: bool,
    pub limits: Limits,
}

/// Reads records one by one from plain bytes.
pub struct Reader<R> {
    input: R,
    form: Form,
    buffer: Vec<u8>,
    /// The unread part of the buffer.
    start: usize,
    end: usize,
    eof: bool,
    /// The line on which the next record starts, from 1.
    next_line: u64,
    fields: Vec<Field>,
    /// Start of the current record in the buffer, its length with the line end, and its line number.
    record: usize,
    length: usize,
    line: u64,
    /// The current record as it stood in the file, where undoing `""` changed the buffer.
    raw: Vec<u8>,
    /// The first record ends with LF alone, so a CR before another's end is a part of its last cell.
    keeps_cr: bool,
}

/// Current record of a `Reader`.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    bytes: &'a [u8],
    fields: &'a [Field],
    /// The line, from 1, on which it starts.
    pub line: u64,
    /// Bytes of the record as in the file, without the line end; empty unless they are kept.
    pub raw: &'a [u8],
}

impl<'a> Record<'a> {
    /// No record at all.
    pub const NONE: Self = Self { bytes: &[], fields: &[], line: 0, raw: &[] };

    pub fn width(&self) -> usize {
        self.fields.len()
    }

    /// Returns the text of a field, and `true` if it was quoted.
    pub fn field(&self, index: usize) -> (&'a [u8], bool) {
        let field = self.fields[index];
        (&self.bytes[field.start..field.end], field.quoted)
    }

    /// Returns the text of a field, and `true` if it was quoted, or `None` if there is no such field.
    pub fn get(&self, index: usize) -> Option<(&'a [u8], bool)> {
        let field = self.fields.get(index)?;
        Some((&self.bytes[field.start..field.end], field.quoted))
    }
}

impl<R: Read> Reader<R> {
    pub fn new(input: R, form: Form) -> Self {
        let buffer = vec![0; FIRST_BUFFER.min(form.limits.row())];
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
            keeps_cr: false,
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

    /// Returns the current record.
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
            [line @ .., b'\r', b'\n'] if !self.keeps_cr => line,
            [line @ .., b'\n'] => line,
            line => line,
        }
    }

    /// Returns `true` if the current record is a blank line behind which nothing comes.
    pub fn is_last_blank(&mut self) -> Result<bool, Flaw> {
        let is_blank = matches!(self.fields[..], [only] if only.start == only.end && !only.quoted);
        if !is_blank || self.line == 1 {
            return Ok(false);
        }
        while self.start == self.end && !self.eof {
            // what is read moves the buffer, and of a blank line nothing is left to keep but its fields
            (self.record, self.length) = (0, 0);
            self.refill()?;
        }
        Ok(self.start == self.end)
    }

    fn take(&mut self, length: usize, quoted: bool) {
        (self.record, self.length) = (self.start, length);
        if self.line == 1 {
            let record = &self.buffer[self.start..self.start + length];
            self.keeps_cr = record.ends_with(b"\n") && !record.ends_with(b"\r\n");
        }
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
        let most = self.form.limits.max_fields;
        let (eof, line, keeps_cr) = (self.eof, self.line, self.keeps_cr);
        let scan = Scan { bytes, eof, line, fields: &mut self.fields, most, keeps_cr };
        match (self.form.quotes, &self.form.delimiter[..]) {
            // the first buffer has no room for more fields than can be held; in a larger one they are counted
            (true, [only]) if self.buffer.len() <= FIRST_BUFFER => scan.record(One(*only)),
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
            let longest = self.form.limits.row();
            if self.buffer.len() >= longest {
                return Err(Flaw::TooLong { line: self.line, limit: self.form.limits.max_row });
            }
            self.buffer.resize(longest.min(self.buffer.len() * 2), 0);
        }
        self.fill()?;
        // a long row is looked at anew only when there is much more of it, or all
        while self.buffer.len() > FIRST_BUFFER && self.end < self.buffer.len() && !self.eof {
            self.fill()?;
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<(), Flaw> {
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

/// State of the search for one record's fields.
struct Scan<'a> {
    bytes: &'a [u8],
    eof: bool,
    line: u64,
    fields: &'a mut Vec<Field>,
    /// Maximum number of fields, if they are counted.
    most: usize,
    keeps_cr: bool,
}

impl Scan<'_> {
    fn record<C: Cut>(mut self, cut: C) -> Result<Option<(usize, bool)>, Flaw> {
        let (bytes, eof) = (self.bytes, self.eof);
        self.fields.clear();
        let (mut at, mut quoted) = (0, false);
        loop {
            if C::COUNTED && self.fields.len() >= self.most {
                return Err(Flaw::TooWide { line: self.line, limit: self.most });
            }
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

    /// Parses the quoted field at `at`, and returns how the record continues behind it.
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

    /// Removes the CR of a CR LF from the last field if it is unquoted and rows end with CR LF.
    fn finish(&mut self, length: usize) -> usize {
        if let Some(last) = self.fields.last_mut().filter(|_| !self.keeps_cr)
            && last.end > last.start
            && self.bytes[last.end - 1] == b'\r'
        {
            last.end -= 1;
        }
        length
    }
}

/// A record that is kept while the reader moves on; its buffer is reused.
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
#[path = "csv_tests.rs"]
mod tests;
