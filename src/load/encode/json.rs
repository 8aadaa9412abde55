//! `json` and `jsonb`: the text itself (after a version byte for `jsonb`), once it is certain that
//! Postgres will take it. One bad document would else fail the whole COPY, and with it the file,
//! where the row is at fault.

use super::{Refusal, numeric, text};

pub(super) fn json(cell: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    check(cell, false)?;
    out.extend_from_slice(cell);
    Ok(())
}

/// Checks the document and appends its text unchanged; Postgres normalises it on arrival.
pub(super) fn jsonb(cell: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    check(cell, true)?;
    out.push(1);
    out.extend_from_slice(cell);
    Ok(())
}

/// Maximum nesting depth of a document. Postgres' own limit is its stack, some thousands.
const MAX_DEPTH: usize = 512;

fn check(cell: &[u8], decoded: bool) -> Result<(), Refusal> {
    text::check(cell)?;
    let mut reader = Reader { text: cell, at: 0, decoded };
    match reader.value(0) {
        Some(()) if reader.at == cell.len() => Ok(()),
        _ => Err(Refusal::Json(reader.at + 1)),
    }
}

/// Reads JSON and keeps nothing of it but the place where it went wrong.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// `jsonb` decodes strings and numbers, so they must be storable; `json` only reads them.
    decoded: bool,
}

impl Reader<'_> {
    /// Parses a value and the whitespace around it.
    fn value(&mut self, depth: usize) -> Option<()> {
        self.blanks();
        match self.peek()? {
            b'{' => self.list(depth, b'}', Self::member),
            b'[' => self.list(depth, b']', Self::value),
            b'"' => self.string(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }?;
        self.blanks();
        Some(())
    }

    /// Parses the items of an array or object up to its end; the opening bracket is the next byte.
    fn list(&mut self, depth: usize, end: u8, item: fn(&mut Self, usize) -> Option<()>) -> Option<()> {
        if depth >= MAX_DEPTH {
            return None;
        }
        self.at += 1;
        self.blanks();
        if self.take(end) {
            return Some(());
        }
        loop {
            item(self, depth + 1)?;
            if !self.take(b',') {
                return self.take(end).then_some(());
            }
        }
    }

    fn member(&mut self, depth: usize) -> Option<()> {
        self.blanks();
        if self.peek()? != b'"' {
            return None;
        }
        self.string()?;
        self.blanks();
        if self.take(b':') { self.value(depth) } else { None }
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.skip(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
            match self.peek()? {
                b'"' => break,
                b'\\' => self.escape()?,
                _ => return None, // a control character
            }
        }
        self.at += 1;
        Some(())
    }

    fn escape(&mut self) -> Option<()> {
        let code = *self.text.get(self.at + 1)?;
        if code == b'u' {
            return self.unicode();
        }
        let known = br#""\/bfnrt"#.contains(&code);
        self.at += if known { 2 } else { 0 };
        known.then_some(())
    }

    /// Parses one `\uXXXX`, or the two of a character beyond U+FFFF.
    fn unicode(&mut self) -> Option<()> {
        let unit = self.unit()?;
        match unit {
            _ if !self.decoded => Some(()),
            0 | 0xdc00..=0xdfff => None,
            0xd800..=0xdbff => matches!(self.unit()?, 0xdc00..=0xdfff).then_some(()),
            _ => Some(()),
        }
    }

    fn unit(&mut self) -> Option<u32> {
        let [b'\\', b'u', digits @ ..] = self.text.get(self.at..self.at + 6)? else { return None };
        let unit = digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))?;
        self.at += 6;
        Some(unit)
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        self.fits(start)
    }

    /// Checks that a number fits into `numeric`, which `jsonb` uses for numbers. Short plain numbers always fit.
    fn fits(&self, start: usize) -> Option<()> {
        let number = &self.text[start..self.at];
        let sure = !self.decoded || number.len() < 1000 && memchr::memchr2(b'e', b'E', number).is_none();
        if sure { Some(()) } else { numeric::numeric(number, None, &mut Vec::new()).ok() }
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        self.skip(|byte| byte.is_ascii_digit());
        (self.at > start).then_some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let here = self.text[self.at..].starts_with(word);
        self.at += if here { word.len() } else { 0 };
        here.then_some(())
    }

    fn blanks(&mut self) {
        self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    #[inline]
    fn skip(&mut self, while_true: impl Fn(u8) -> bool) {
        self.at += self.text[self.at..].iter().take_while(|byte| while_true(**byte)).count();
    }

    fn take(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_taken_as_they_are() {
        for cell in [
            "null",
            " [ ] ",
            "{}",
            r#"{"a": [1, -0.5e+3, true], "b": {"c": "\u00e4\n\ud83d\ude00"}}"#,
            "\"ä\"",
            "[[],{}]",
        ] {
            let (mut plain, mut binary) = (Vec::new(), Vec::new());
            assert_eq!(json(cell.as_bytes(), &mut plain), Ok(()), "{cell}");
            assert_eq!(jsonb(cell.as_bytes(), &mut binary), Ok(()), "{cell}");
            assert_eq!(plain, cell.as_bytes());
            assert_eq!(binary, [b"\x01", cell.as_bytes()].concat());
        }
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for (cell, place) in [
            ("", 1),
            ("tru", 1),
            ("[1,]", 4),
            ("[1 2]", 4),
            ("{\"a\" 1}", 6),
            ("{a:1}", 2),
            ("01", 2),
            ("1.", 3),
            ("-", 2),
            ("+1", 1),
            ("\"a", 3),
            ("\"\t\"", 2),
            ("\"\\x\"", 2),
            ("\"\\u12g4\"", 2),
            ("[1]]", 4),
            ("'a'", 1),
            ("1 2", 3),
            ("[1", 3),
            (".5", 1),
        ] {
            assert_eq!(json(cell.as_bytes(), &mut Vec::new()), Err(Refusal::Json(place)), "{cell}");
            assert!(jsonb(cell.as_bytes(), &mut Vec::new()).is_err(), "{cell}");
        }
    }

    #[test]
    fn jsonb_must_be_able_to_store_strings_and_numbers() {
        for cell in
            [r#""\u0000""#, r#""\ud83d""#, r#""\ude00""#, r#""\ud83dx""#, r#""\ud83d\ud83d""#, "1e999999", "1e-20000"]
        {
            assert_eq!(json(cell.as_bytes(), &mut Vec::new()), Ok(()), "{cell}");
            assert!(jsonb(cell.as_bytes(), &mut Vec::new()).is_err(), "{cell}");
        }
        assert_eq!(json(b"\"\xff\"", &mut Vec::new()), Err(Refusal::Utf8(2)));
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert_eq!(json(nested(MAX_DEPTH).as_bytes(), &mut Vec::new()), Ok(()));
        assert!(json(nested(MAX_DEPTH + 1).as_bytes(), &mut Vec::new()).is_err());
        assert!(json(nested(1_000_000).as_bytes(), &mut Vec::new()).is_err());
    }
}
