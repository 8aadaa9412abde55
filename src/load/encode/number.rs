//! Booleans, integers and floats. Surrounding spaces are accepted, as in Postgres; forms that only people write in
//! SQL (`0x1F`, `1_000`, `+NaN`) are not. An integer may be a decimal number (`101.0000000000`, `+5.0656e+05`), as
//! written by sources whose numbers are all decimals.

use std::fmt::LowerExp;
use std::str::FromStr;

use super::Refusal;
use super::digits::{self, without_leading_zeros};

pub(super) fn int8(cell: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    out.extend_from_slice(&integer(cell, "bigint")?.to_be_bytes());
    Ok(())
}

pub(super) fn int4(cell: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let value = i32::try_from(integer(cell, "integer")?).map_err(|_| Refusal::Range("integer"))?;
    out.extend_from_slice(&value.to_be_bytes());
    Ok(())
}

pub(super) fn int2(cell: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let value = i16::try_from(integer(cell, "smallint")?).map_err(|_| Refusal::Range("smallint"))?;
    out.extend_from_slice(&value.to_be_bytes());
    Ok(())
}

#[inline]
fn integer(cell: &[u8], kind: &'static str) -> Result<i64, Refusal> {
    let (negative, digits) = digits::sign(cell.trim_ascii());
    let size = magnitude(digits, kind)?;
    let value = if negative { 0i64.checked_sub_unsigned(size) } else { i64::try_from(size).ok() };
    value.ok_or(Refusal::Range(kind))
}

#[inline]
fn magnitude(digits: &[u8], kind: &'static str) -> Result<u64, Refusal> {
    match digits.len() {
        0 => Err(Refusal::Not("an integer")),
        1..=19 => digits::value(digits).map_or_else(|| decimal(digits, kind), Ok),
        _ => long_magnitude(digits, kind),
    }
}

#[cold]
fn long_magnitude(digits: &[u8], kind: &'static str) -> Result<u64, Refusal> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return decimal(digits, kind);
    }
    let digits = without_leading_zeros(digits);
    if digits.len() > 19 {
        return Err(Refusal::Range(kind));
    }
    digits::value(digits).ok_or(Refusal::Not("an integer"))
}

/// Reads a decimal number, without its sign, that is exactly an integer. Never by way of a float.
#[cold]
fn decimal(text: &[u8], kind: &'static str) -> Result<u64, Refusal> {
    const NOT: Refusal = Refusal::Not("an integer");
    let (whole, rest) = digits::run(text);
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => digits::run(rest),
        _ => (&[][..], rest),
    };
    let exponent = match rest {
        [] => 0,
        [b'e' | b'E', tail @ ..] => exponent(tail).ok_or(NOT)?,
        _ => return Err(NOT),
    };
    let all = [whole, fraction].concat();
    if all.is_empty() {
        return Err(NOT);
    }
    let point = whole.len() as i64 + exponent;
    let kept = usize::try_from(point).unwrap_or(0).min(all.len());
    if !digits::all_zeros(&all[kept..]) {
        return Err(NOT);
    }
    let mut value = without_leading_zeros(&all[..kept]).to_vec();
    let zeros = (point - all.len() as i64).max(0) as usize;
    match value.len() + zeros {
        _ if value.is_empty() => Ok(0),
        0..=19 => {
            value.resize(value.len() + zeros, b'0');
            digits::value(&value).ok_or(NOT)
        }
        _ => Err(Refusal::Range(kind)),
    }
}

/// Reads a signed exponent of at most four digits: no number of a source needs more, and Postgres takes hardly more.
fn exponent(tail: &[u8]) -> Option<i64> {
    let (negative, size) = digits::sign(tail);
    if size.is_empty() || !size.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = without_leading_zeros(size);
    let size = if size.len() > 4 { None } else { digits::value(size) }? as i64;
    Some(if negative { -size } else { size })
}

/// Encodes a boolean in the forms that Postgres accepts: the words below or any unambiguous prefix of them, in any
/// case.
pub(super) fn boolean(cell: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let value = match cell {
        b"1" | b"t" | b"true" => true,
        b"0" | b"f" | b"false" => false,
        _ => spelled(cell.trim_ascii()).ok_or(Refusal::Not("a boolean"))?,
    };
    out.push(value.into());
    Ok(())
}

fn spelled(word: &[u8]) -> Option<bool> {
    // The shortest beginning that is taken: "o" alone could be either.
    const WORDS: [(&[u8], usize, bool); 8] = [
        (b"true", 1, true),
        (b"false", 1, false),
        (b"yes", 1, true),
        (b"no", 1, false),
        (b"on", 2, true),
        (b"off", 2, false),
        (b"1", 1, true),
        (b"0", 1, false),
    ];
    let begins = |whole: &[u8], least: usize| {
        word.len() >= least && whole.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
    };
    WORDS.iter().find(|(whole, least, _)| begins(whole, *least)).map(|(.., value)| *value)
}

pub(super) fn float8(cell: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let text = cell.trim_ascii();
    let value = match word(text) {
        Some(value) => value,
        None => finite(text, "double precision")?,
    };
    out.extend_from_slice(&value.to_be_bytes());
    Ok(())
}

pub(super) fn float4(cell: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let text = cell.trim_ascii();
    let value = match word(text) {
        Some(value) => value as f32,
        // Parsed as f32 at once: by way of f64 it would be rounded twice.
        None => finite(text, "real")?,
    };
    out.extend_from_slice(&value.to_be_bytes());
    Ok(())
}

/// Parses `NaN` and the infinities, in any case; `NaN` has no sign.
#[inline]
fn word(text: &[u8]) -> Option<f64> {
    let (negative, bare) = digits::sign(text);
    if bare.first().is_none_or(|first| first.is_ascii_digit()) {
        return None;
    }
    if bare.eq_ignore_ascii_case(b"inf") || bare.eq_ignore_ascii_case(b"infinity") {
        return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    text.eq_ignore_ascii_case(b"nan").then_some(f64::NAN)
}

/// Parses a decimal number. Like Postgres, refuses a number that only fits as an infinity or as zero.
#[inline]
fn finite<F: FromStr + Copy + Into<f64>>(text: &[u8], kind: &'static str) -> Result<F, Refusal> {
    let value = parsed::<F>(text).ok_or(Refusal::Not("a number"))?;
    let size: f64 = value.into();
    let vanished = size == 0.0 && mantissa(text).iter().any(|byte| matches!(byte, b'1'..=b'9'));
    if size.is_infinite() || vanished {
        return Err(Refusal::Range(kind));
    }
    Ok(value)
}

/// Parses a number with Rust's parser, which rounds correctly, like strtod. Words, which it would accept too, are
/// handled before.
#[inline]
fn parsed<F: FromStr>(text: &[u8]) -> Option<F> {
    let (_, bare) = digits::sign(text);
    let numeric = bare.first().is_some_and(|first| first.is_ascii_digit() || *first == b'.');
    std::str::from_utf8(text).ok().filter(|_| numeric)?.parse().ok()
}

/// Refuses a number that the type cannot keep to its last digit: it would be read as another number, which has other digits.
pub(super) fn unrounded<F: FromStr + LowerExp>(cell: &[u8], kind: &'static str) -> Result<(), Refusal> {
    let text = cell.trim_ascii();
    let digits: Vec<u8> = mantissa(text).iter().copied().filter(u8::is_ascii_digit).collect();
    let digits = without_leading_zeros(&digits);
    let digits = &digits[..digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1)];
    // What is no number, or zero, is not rounded.
    let (Some(value), Some(places)) = (parsed::<F>(text), digits.len().checked_sub(1)) else { return Ok(()) };
    let kept = format!("{value:.places$e}");
    let kept = mantissa(kept.as_bytes()).iter().filter(|byte| byte.is_ascii_digit());
    if kept.eq(digits) { Ok(()) } else { Err(Refusal::Digits(kind)) }
}

fn mantissa(text: &[u8]) -> &[u8] {
    text.split(|byte| byte.eq_ignore_ascii_case(&b'e')).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::load::encode::{ColumnEncoding, Refusal};

    fn encoded(wire: &ColumnEncoding, cell: &str) -> Result<Vec<u8>, Refusal> {
        let mut out = Vec::new();
        wire.encode(cell.as_bytes(), &mut out).map(|()| out)
    }

    #[test]
    fn integers_fill_their_range_and_no_more() {
        for value in [i64::MIN, i64::MIN + 1, -1, 0, 1, 12_345_678, 123_456_789, i64::MAX] {
            assert_eq!(encoded(&ColumnEncoding::Int8, &value.to_string()), Ok(value.to_be_bytes().to_vec()));
        }
        let range = |kind| Err(Refusal::Range(kind));
        assert_eq!(encoded(&ColumnEncoding::Int8, "9223372036854775808"), range("bigint"));
        assert_eq!(encoded(&ColumnEncoding::Int8, "-9223372036854775809"), range("bigint"));
        assert_eq!(encoded(&ColumnEncoding::Int8, "100000000000000000000"), range("bigint"));
        assert_eq!(encoded(&ColumnEncoding::Int4, "2147483648"), range("integer"));
        assert_eq!(encoded(&ColumnEncoding::Int2, "-32769"), range("smallint"));
        assert_eq!(encoded(&ColumnEncoding::Int2, "-32768"), Ok(vec![0x80, 0]));
    }

    #[test]
    fn integers_take_a_sign_blanks_and_leading_zeros() {
        for cell in ["7", "+7", " 7 ", "0000000000000000000000007", "\t7\n"] {
            assert_eq!(encoded(&ColumnEncoding::Int2, cell), Ok(vec![0, 7]), "{cell:?}");
        }
        for cell in ["", " ", "-", "+-7", "1,000", "0x7", "7 7", "１", "."] {
            assert_eq!(encoded(&ColumnEncoding::Int2, cell), Err(Refusal::Not("an integer")), "{cell:?}");
        }
    }

    #[test]
    fn integers_may_come_as_decimals_that_are_exactly_integers() {
        for (cell, value) in [
            ("101.0000000000", 101),
            ("+5.0656e+05", 506_560),
            ("5.0656000000000000e+05", 506_560),
            ("-7.", -7),
            ("7e0", 7),
            ("120E-1", 12),
            ("0e9999", 0),
            ("-0.000", 0),
            (".0", 0),
            ("0.0000000000000000000000000007e28", 7),
            ("9223372036854775807.000", i64::MAX),
            ("-9.223372036854775808e18", i64::MIN),
            ("00000000000000000000000000000012.0", 12),
        ] {
            assert_eq!(encoded(&ColumnEncoding::Int8, cell), Ok(value.to_be_bytes().to_vec()), "{cell:?}");
        }
        for cell in [
            "101.5",
            "0.0000000000000000000000000001",
            "1e-1",
            "5.0656e3",
            "1e",
            "1e+",
            "1.0.0",
            "e5",
            "1e1.0",
            "1.0 0",
            "0e99999",
        ] {
            assert_eq!(encoded(&ColumnEncoding::Int8, cell), Err(Refusal::Not("an integer")), "{cell:?}");
        }
        for cell in ["9223372036854775808.0", "1e19", "1e9999"] {
            assert_eq!(encoded(&ColumnEncoding::Int8, cell), Err(Refusal::Range("bigint")), "{cell:?}");
        }
        assert_eq!(encoded(&ColumnEncoding::Int4, "3e9"), Err(Refusal::Range("integer")));
    }

    #[test]
    fn booleans_are_what_postgres_takes() {
        for cell in ["t", "true", "TRUE", "tr", "1", "yes", "Y", "on", " true "] {
            assert_eq!(encoded(&ColumnEncoding::Bool, cell), Ok(vec![1]), "{cell:?}");
        }
        for cell in ["f", "false", "False", "0", "no", "N", "off", "of"] {
            assert_eq!(encoded(&ColumnEncoding::Bool, cell), Ok(vec![0]), "{cell:?}");
        }
        for cell in ["", "o", "2", "truee", "10", "wahr"] {
            assert_eq!(encoded(&ColumnEncoding::Bool, cell), Err(Refusal::Not("a boolean")), "{cell:?}");
        }
    }

    #[test]
    fn a_float_of_a_key_keeps_all_digits() {
        let (four, eight) = (&ColumnEncoding::Float4, &ColumnEncoding::Float8);
        let kept = [
            (eight, "0.1"),
            (eight, "-0.100"),
            (eight, "+5.0656000000000000e+05"),
            (eight, "1.0000000000000001e-01"),
            (eight, "9007199254740992"),
            (eight, "9007199254740994.000"),
            (eight, "1e300"),
            (eight, "0"),
            (eight, "-0.00"),
            (eight, "NaN"),
            (eight, "-Infinity"),
            (eight, "5e-324"),
            (four, "0.1"),
            (four, "16777216"),
            (four, "1.0000000149011612e-01"),
            (four, "3.4028235e38"),
        ];
        for (wire, cell) in kept {
            assert_eq!(wire.check_key(cell.as_bytes()), Ok(()), "{cell}");
        }
        let rounded = [
            (eight, "9007199254740993", "double precision"),
            (eight, "0.1000000000000000000001", "double precision"),
            (eight, "1234567890.12345678901", "double precision"),
            (four, "16777217", "real"),
            (four, "0.123456789", "real"),
        ];
        for (wire, cell, kind) in rounded {
            assert_eq!(wire.check_key(cell.as_bytes()), Err(Refusal::Digits(kind)), "{cell}");
        }
    }

    #[test]
    fn floats_neither_overflow_nor_vanish() {
        let eight = |cell| encoded(&ColumnEncoding::Float8, cell);
        for (cell, value) in [("1.5", 1.5), ("-0", -0.0), (".5", 0.5), ("5.", 5.0), ("1E3", 1e3), ("0e-999", 0.0)] {
            assert_eq!(eight(cell), Ok(f64::to_be_bytes(value).to_vec()), "{cell}");
        }
        assert_eq!(eight("5e-324"), Ok(f64::from_bits(1).to_be_bytes().to_vec()));
        assert_eq!(eight("-infinity"), Ok(f64::NEG_INFINITY.to_be_bytes().to_vec()));
        assert_eq!(eight("1e400"), Err(Refusal::Range("double precision")));
        assert_eq!(eight("1e-400"), Err(Refusal::Range("double precision")));
        assert_eq!(encoded(&ColumnEncoding::Float4, "1e39"), Err(Refusal::Range("real")));
        assert_eq!(encoded(&ColumnEncoding::Float4, "nan"), Ok(f32::NAN.to_be_bytes().to_vec()));
        for cell in ["", "1,5", "+nan", "0x1p3", "1e", ".", "1_0", "infin"] {
            assert_eq!(eight(cell), Err(Refusal::Not("a number")), "{cell:?}");
        }
    }
}
