//! `text`, `varchar` and `bpchar`: the bytes as they are, once it is certain that Postgres will take
//! them: valid UTF-8, no U+0000, not too long. Lengths count characters.

use super::Refusal;

pub(super) fn text(cell: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    check(cell)?;
    out.extend_from_slice(cell);
    Ok(())
}

pub(super) fn varchar(cell: &[u8], max: Option<u32>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    check(cell)?;
    let kept = match max {
        Some(max) if cell.len() > max as usize => cut(cell, max, "varchar")?.0,
        _ => cell,
    };
    out.extend_from_slice(kept);
    Ok(())
}

/// Encodes a text padded with spaces to the column's length.
pub(super) fn bpchar(cell: &[u8], len: Option<u32>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    check(cell)?;
    let Some(len) = len else {
        out.extend_from_slice(cell);
        return Ok(());
    };
    let (kept, chars) = cut(cell, len, "char")?;
    out.extend_from_slice(kept);
    out.resize(out.len() + (len as usize - chars), b' ');
    Ok(())
}

/// Refuses what a type of a fixed length would cut without a word.
pub(super) fn uncut(cell: &[u8], type_name: &str) -> Result<(), Refusal> {
    match type_name {
        "name" if cell.len() > 63 => Err(Refusal::Long { kind: "name", max: 63 }),
        "\"char\"" if cell.len() > 1 => Err(Refusal::Long { kind: "\"char\"", max: 1 }),
        _ => Ok(()),
    }
}

/// Refuses a text that is longer than a column, though only by blanks.
pub(super) fn unshortened(cell: &[u8], max: u32) -> Result<(), Refusal> {
    let chars = cell.iter().filter(|byte| begins_a_char(**byte)).count();
    if chars > max as usize { Err(Refusal::Long { kind: "varchar", max }) } else { Ok(()) }
}

/// Checks that Postgres can store the cell as text.
#[inline]
pub(super) fn check(cell: &[u8]) -> Result<(), Refusal> {
    if is_plain(cell) {
        return Ok(());
    }
    std::str::from_utf8(cell).map_err(|fault| Refusal::Utf8(fault.valid_up_to() + 1))?;
    match memchr::memchr(0, cell) {
        Some(at) => Err(Refusal::Nul(at + 1)),
        None => Ok(()),
    }
}

/// Returns `true` if all bytes are ASCII and none is U+0000, which is the usual case and fast to check. Subtracting 1
/// turns 0, and no other ASCII byte, into a byte above 0x7f.
#[inline]
fn is_plain(cell: &[u8]) -> bool {
    let (words, rest) = cell.as_chunks();
    let strange = words.iter().fold(0, |strange, word| {
        let word = u64::from_le_bytes(*word);
        strange | word | word.wrapping_sub(0x0101_0101_0101_0101)
    });
    strange & 0x8080_8080_8080_8080 == 0 && rest.iter().all(|byte| (1..0x80).contains(byte))
}

/// Returns the text cut to at most `max` characters, and its number of characters. Only spaces may be cut off, as in
/// Postgres.
#[inline]
fn cut<'a>(text: &'a [u8], max: u32, kind: &'static str) -> Result<(&'a [u8], usize), Refusal> {
    let limit = max as usize;
    let chars = text.iter().filter(|byte| begins_a_char(**byte)).count();
    if chars <= limit {
        return Ok((text, chars));
    }
    let mut starts = text.iter().enumerate().filter(|(_, byte)| begins_a_char(**byte));
    let end = starts.nth(limit).map_or(text.len(), |(end, _)| end);
    let (kept, excess) = text.split_at(end);
    if excess.iter().all(|byte| *byte == b' ') { Ok((kept, limit)) } else { Err(Refusal::Long { kind, max }) }
}

/// Returns `true` unless the byte is a continuation byte of UTF-8.
#[inline]
fn begins_a_char(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(encode: impl Fn(&mut Vec<u8>) -> Result<(), Refusal>) -> Result<String, Refusal> {
        let mut out = Vec::new();
        encode(&mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn what_is_not_text_is_refused_with_its_place() {
        let refused = |cell: &[u8]| text(cell, &mut Vec::new()).expect_err("not text");
        assert_eq!(refused(b"ab\xff"), Refusal::Utf8(3));
        assert_eq!(refused(b"ab\xe2\x82"), Refusal::Utf8(3)); // cut
        assert_eq!(refused(b"\xed\xa0\x80"), Refusal::Utf8(1)); // a surrogate
        assert_eq!(refused(b"\xc0\x80"), Refusal::Utf8(1)); // U+0000, overlong
        assert_eq!(refused(b"ab\0c"), Refusal::Nul(3));
    }

    #[test]
    fn varchar_counts_characters_and_cuts_only_blanks() {
        let varchar = |cell: &str| written(|out| varchar(cell.as_bytes(), Some(3), out));
        let long = Err(Refusal::Long { kind: "varchar", max: 3 });
        for (cell, expected) in [("", ""), ("äöü", "äöü"), ("ab   ", "ab "), ("äöü  ", "äöü")] {
            assert_eq!(varchar(cell).as_deref(), Ok(expected), "{cell:?}");
        }
        for cell in ["abcd", "äöüß", "abc d", "abc\t", "abc\u{a0}"] {
            assert_eq!(varchar(cell), long, "{cell:?}");
        }
    }

    #[test]
    fn bpchar_pads_to_its_characters() {
        let bpchar = |cell: &str, len| written(|out| bpchar(cell.as_bytes(), len, out));
        assert_eq!(bpchar("ä", Some(3)).as_deref(), Ok("ä  "));
        assert_eq!(bpchar("abc  ", Some(3)).as_deref(), Ok("abc"));
        assert_eq!(bpchar("abcd", Some(3)), Err(Refusal::Long { kind: "char", max: 3 }));
        assert_eq!(bpchar("a  ", None).as_deref(), Ok("a  "));
    }
}
