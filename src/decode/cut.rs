//! Where a field ends: at a delimiter of one byte, the usual and fast case, or of several; with quotes or without.

use memchr::{memchr, memchr2, memchr3};

/// A field of a record: where it lies, and whether it was quoted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub start: usize,
    pub end: usize,
    pub quoted: bool,
    /// has `""` inside that still reads as two quotes
    pub doubled: bool,
}

/// What a look for a field's end gives.
pub(super) enum Found {
    /// the field, and where it ends (behind the closing quote)
    Field(Field, usize),
    /// the buffer ends before the field does
    More,
    /// a quote that is never closed
    Open,
    /// a quote inside an unquoted field
    Stray,
}

/// What follows a field.
pub(super) enum Next {
    Field(usize),
    Record(usize),
    More,
    /// something that must not be there
    Wrong,
}

/// Whether a delimiter stands at a place, and how long it is.
pub(super) enum Delimiter {
    Here(usize),
    Elsewhere,
    More,
}

/// How a record is cut into fields. `eof`: nothing comes behind `bytes`.
pub(super) trait Cut: Copy {
    const QUOTES: bool;

    /// The unquoted field at `at`.
    fn plain(self, bytes: &[u8], at: usize, eof: bool) -> Found;

    fn delimiter(self, bytes: &[u8], at: usize, eof: bool) -> Delimiter;

    fn field(self, bytes: &[u8], at: usize, eof: bool) -> Found {
        if Self::QUOTES && bytes.get(at) == Some(&b'"') { quoted(bytes, at, eof) } else { self.plain(bytes, at, eof) }
    }

    fn next(self, bytes: &[u8], at: usize, eof: bool) -> Next {
        match self.delimiter(bytes, at, eof) {
            Delimiter::Here(length) => Next::Field(at + length),
            Delimiter::More => Next::More,
            Delimiter::Elsewhere => record_end(bytes, at, eof),
        }
    }
}

/// One byte between two fields, and quotes.
#[derive(Clone, Copy)]
pub(super) struct One(pub u8);

impl Cut for One {
    const QUOTES: bool = true;

    fn plain(self, bytes: &[u8], at: usize, eof: bool) -> Found {
        match memchr3(self.0, b'\n', b'"', &bytes[at..]) {
            Some(length) if bytes[at + length] == b'"' => Found::Stray,
            Some(length) => unquoted(at, at + length),
            None if eof => unquoted(at, bytes.len()),
            None => Found::More,
        }
    }

    fn delimiter(self, bytes: &[u8], at: usize, eof: bool) -> Delimiter {
        match bytes.get(at) {
            Some(&byte) if byte == self.0 => Delimiter::Here(1),
            None if !eof => Delimiter::More,
            _ => Delimiter::Elsewhere,
        }
    }
}

/// Any number of bytes between two fields; without `QUOTES` a quote is a byte like any other.
#[derive(Clone, Copy)]
pub(super) struct Many<'a, const QUOTES: bool>(pub &'a [u8]);

impl<const QUOTES: bool> Cut for Many<'_, QUOTES> {
    const QUOTES: bool = QUOTES;

    fn plain(self, bytes: &[u8], at: usize, eof: bool) -> Found {
        let mut from = at;
        loop {
            let Some(end) = self.candidate(&bytes[from..]).map(|length| from + length) else {
                return if eof { unquoted(at, bytes.len()) } else { Found::More };
            };
            match bytes[end] {
                b'\n' => return unquoted(at, end),
                b'"' if QUOTES => return Found::Stray,
                _ => {}
            }
            match self.delimiter(bytes, end, eof) {
                Delimiter::Here(_) => return unquoted(at, end),
                Delimiter::More => return Found::More,
                Delimiter::Elsewhere => from = end + 1,
            }
        }
    }

    fn delimiter(self, bytes: &[u8], at: usize, eof: bool) -> Delimiter {
        let rest = &bytes[at..];
        if rest.starts_with(self.0) {
            Delimiter::Here(self.0.len())
        } else if !eof && self.0.starts_with(rest) {
            Delimiter::More
        } else {
            Delimiter::Elsewhere
        }
    }
}

impl<const QUOTES: bool> Many<'_, QUOTES> {
    /// The first place where a field might end.
    fn candidate(self, bytes: &[u8]) -> Option<usize> {
        let first = self.0[0];
        if QUOTES { memchr3(first, b'\n', b'"', bytes) } else { memchr2(first, b'\n', bytes) }
    }
}

fn unquoted(start: usize, end: usize) -> Found {
    Found::Field(Field { start, end, quoted: false, doubled: false }, end)
}

fn quoted(bytes: &[u8], at: usize, eof: bool) -> Found {
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

fn record_end(bytes: &[u8], at: usize, eof: bool) -> Next {
    match bytes.get(at) {
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
