//! Finds the end of a field: at a delimiter of one byte, which is the usual and fast case, or of several, with quotes
//! or without.

use memchr::{memchr, memchr2, memchr3};

/// Position of a field in its record, and whether it was quoted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub start: usize,
    pub end: usize,
    pub quoted: bool,
    /// `true` if the field contains `""`, which stands for one quote.
    pub doubled: bool,
}

impl Field {
    pub fn plain(start: usize, end: usize) -> Self {
        Self { start, end, quoted: false, doubled: false }
    }
}

/// Method of cutting a record into fields. `eof` is `true` if nothing follows `bytes`.
pub(super) trait Cut: Copy {
    const QUOTES: bool;
    /// `true` if fields are counted as they are cut, to enforce their maximum number.
    const COUNTED: bool;

    /// Returns the end of the unquoted field at `at`: a delimiter, a line end or, with `QUOTES`, an invalid quote.
    /// `None` if `bytes` end before.
    fn end(self, bytes: &[u8], at: usize) -> Option<usize>;

    /// Returns the length of the delimiter.
    fn length(self) -> usize;

    /// Returns what follows a quoted field that ends before `at`.
    fn after_quote(self, bytes: &[u8], at: usize, eof: bool) -> Next;
}

/// Continuation after a quoted field.
pub(super) enum Next {
    Field(usize),
    Record(usize),
    More,
    /// An invalid character.
    Wrong,
}

/// One byte between two fields, and quotes.
#[derive(Clone, Copy)]
pub(super) struct One(pub u8);

impl Cut for One {
    const QUOTES: bool = true;
    const COUNTED: bool = false;

    #[inline]
    fn end(self, bytes: &[u8], at: usize) -> Option<usize> {
        memchr3(self.0, b'\n', b'"', &bytes[at..]).map(|length| at + length)
    }

    #[inline]
    fn length(self) -> usize {
        1
    }

    fn after_quote(self, bytes: &[u8], at: usize, eof: bool) -> Next {
        if bytes.get(at) == Some(&self.0) { Next::Field(at + 1) } else { record_end(bytes, at, eof) }
    }
}

/// Any number of bytes between two fields; without `QUOTES` a quote is a byte like any other.
#[derive(Clone, Copy)]
pub(super) struct Many<'a, const QUOTES: bool>(pub &'a [u8]);

impl<const QUOTES: bool> Cut for Many<'_, QUOTES> {
    const QUOTES: bool = QUOTES;
    const COUNTED: bool = true;

    fn end(self, bytes: &[u8], at: usize) -> Option<usize> {
        let mut from = at;
        loop {
            let end = from + self.candidate(&bytes[from..])?;
            let rest = &bytes[end..];
            if rest[0] == b'\n' || (QUOTES && rest[0] == b'"') || rest.starts_with(self.0) {
                return Some(end);
            }
            // a delimiter that the buffer cuts holds no other candidate: the search ends, and begins again with more
            from = end + 1;
        }
    }

    fn length(self) -> usize {
        self.0.len()
    }

    fn after_quote(self, bytes: &[u8], at: usize, eof: bool) -> Next {
        let rest = &bytes[at..];
        if rest.starts_with(self.0) {
            Next::Field(at + self.0.len())
        } else if self.may_begin(rest, eof) {
            Next::More
        } else {
            record_end(bytes, at, eof)
        }
    }
}

impl<const QUOTES: bool> Many<'_, QUOTES> {
    /// Returns the first position at which a field might end.
    fn candidate(self, bytes: &[u8]) -> Option<usize> {
        let first = self.0[0];
        if QUOTES { memchr3(first, b'\n', b'"', bytes) } else { memchr2(first, b'\n', bytes) }
    }

    /// Returns `true` if the last bytes of the buffer may be the beginning of a delimiter.
    fn may_begin(self, rest: &[u8], eof: bool) -> bool {
        !eof && self.0.starts_with(rest)
    }
}

/// Result of the search for a quoted field's end.
pub(super) enum Quoted {
    /// The field, and the place behind its quote.
    Field(Field, usize),
    /// The buffer ends before the field does.
    More,
    /// The quote is never closed.
    Open,
}

/// Returns the field whose opening quote is at `at`.
pub(super) fn quoted(bytes: &[u8], at: usize, eof: bool) -> Quoted {
    let (start, mut from, mut doubled) = (at + 1, at + 1, false);
    loop {
        let Some(end) = memchr(b'"', &bytes[from..]).map(|found| from + found) else {
            return if eof { Quoted::Open } else { Quoted::More };
        };
        match bytes.get(end + 1) {
            Some(b'"') => (from, doubled) = (end + 2, true),
            None if !eof => return Quoted::More,
            _ => return Quoted::Field(Field { start, end, quoted: true, doubled }, end + 1),
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
