//! `numeric`: digits in base 10,000 around the decimal point, never by way of a float. The display
//! scale travels with the value, so `1.0` and `1.00` differ in their bytes though not in Postgres'
//! eyes. A column with a scale gets exactly that scale, and what would need rounding is refused.

use super::Refusal;
use super::digits::{self, all_zeros, without_leading_zeros};

/// Encodes a numeric. `limit` is the column's precision and scale.
pub(super) fn numeric(cell: &[u8], limit: Option<(u16, i16)>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let text = cell.trim_ascii();
    match Decimal::read(text) {
        Some((mut number, [])) => {
            let scale = number.fit(limit)?;
            number.write(scale, out);
            Ok(())
        }
        Some((number, exponent)) => scientific(&number, exponent, limit, out),
        None => word(text, limit, out),
    }
}

/// Returns the value of a `numeric` in its binary form; none if it is no integer, or not within an `i64`.
pub fn as_integer(bytes: &[u8]) -> Option<i64> {
    let (head, digits) = bytes.split_first_chunk::<8>()?;
    let [weight, sign] = [2, 4].map(|at| i16::from_be_bytes([head[at], head[at + 1]]));
    let mut value: i128 = 0;
    let places = usize::try_from(i32::from(weight) + 1).ok();
    let mut digits = digits.chunks_exact(2).map(|digit| i128::from(u16::from_be_bytes([digit[0], digit[1]])));
    // an i64 has at most five digits of base 10,000
    for _ in 0..places.unwrap_or(0).min(6) {
        value = value * 10_000 + digits.next().unwrap_or(0);
    }
    let whole = places.unwrap_or(0) <= 6 && digits.all(|digit| digit == 0);
    let value = match sign as u16 {
        0x0000 => value,
        0x4000 => -value,
        // not a number, or infinite
        _ => return None,
    };
    i64::try_from(value).ok().filter(|_| whole)
}

const NOT: Refusal = Refusal::Not("a number");
const RANGE: Refusal = Refusal::Range("numeric");

/// Maximum number of digits that Postgres can store before and after the point.
const MAX_WHOLE: usize = 131_072;
const MAX_SCALE: usize = 16_383;

/// A decimal number as written: checked digits before and after the point.
struct Decimal<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros.
    whole: &'a [u8],
    fraction: &'a [u8],
}

impl<'a> Decimal<'a> {
    /// Parses the number at the beginning of `text` and returns it with the rest, or `None` if there is none.
    #[inline]
    fn read(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (negative, text) = digits::sign(text);
        let (whole, rest) = digits::run(text);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => digits::run(rest),
            _ => (&[][..], rest),
        };
        let some = !whole.is_empty() || !fraction.is_empty();
        some.then(|| (Decimal { negative, whole: without_leading_zeros(whole), fraction }, rest))
    }

    /// Fits the number into the column without changing its value, or refuses. Gives the display
    /// scale, which may be more than the digits after the point.
    #[inline]
    fn fit(&mut self, limit: Option<(u16, i16)>) -> Result<usize, Refusal> {
        let Some((precision, scale)) = limit else {
            let fits = self.whole.len() <= MAX_WHOLE && self.fraction.len() <= MAX_SCALE;
            return if fits { Ok(self.fraction.len()) } else { Err(RANGE) };
        };
        let places = usize::from(scale.max(0).unsigned_abs());
        if let Some((kept, excess)) = self.fraction.split_at_checked(places) {
            if !all_zeros(excess) {
                return Err(Refusal::Places(places as u16));
            }
            self.fraction = kept;
        }
        if scale < 0 && !self.is_multiple(scale.unsigned_abs()) {
            return Err(Refusal::Multiple(scale.unsigned_abs()));
        }
        if self.magnitude() > i64::from(precision) - i64::from(scale) {
            return Err(Refusal::Overflow { precision, scale });
        }
        Ok(places)
    }

    /// Returns the number of digits before the point; a negative value is the number of zeros that follow the point.
    #[inline]
    fn magnitude(&self) -> i64 {
        if !self.whole.is_empty() {
            return self.whole.len() as i64;
        }
        match self.fraction.iter().position(|digit| *digit != b'0') {
            Some(zeros) => -(zeros as i64),
            None => i64::MIN, // zero fits anywhere
        }
    }

    fn is_multiple(&self, power: u16) -> bool {
        let free = self.whole.len().saturating_sub(usize::from(power));
        all_zeros(&self.whole[free..])
    }

    /// Appends header (count of digits, weight, sign, scale) and digits. The number fits.
    #[inline]
    fn write(&self, scale: usize, out: &mut Vec<u8>) {
        let start = out.len();
        let (zeros, fraction) = self.leading_groups();
        let groups = self.whole.len().div_ceil(4) + fraction.len().div_ceil(4);
        out.resize(start + 8 + 2 * groups, 0);
        write_groups(self.whole, fraction, &mut out[start + 8..]);
        strip_zeros(start + 8, out);
        let count = (out.len() - start - 8) / 2;
        let (weight, sign) = match count {
            0 => (0, 0),
            _ => (self.whole.len().div_ceil(4) as i64 - 1 - zeros as i64, u64::from(self.negative) << 14),
        };
        let header = (count as u64) << 48 | ((weight as u16) as u64) << 32 | sign << 16 | scale as u64;
        out[start..start + 8].copy_from_slice(&header.to_be_bytes());
    }

    /// Returns the number of leading all-zero groups of a fraction without whole digits, and the digits behind them.
    #[inline]
    fn leading_groups(&self) -> (usize, &'a [u8]) {
        let mut fraction = self.fraction;
        while self.whole.is_empty() && fraction.starts_with(b"0000") {
            fraction = &fraction[4..];
        }
        ((self.fraction.len() - fraction.len()) / 4, fraction)
    }
}

/// Groups of four digits, counted from the point to both sides.
#[inline]
fn write_groups(whole: &[u8], fraction: &[u8], out: &mut [u8]) {
    let mut places = out.as_chunks_mut().0.iter_mut();
    let mut put = |group: u16| places.next().map(|place| *place = group.to_be_bytes());
    let (first, fours) = whole.as_rchunks();
    if !first.is_empty() {
        put(group(first));
    }
    fours.iter().for_each(|digits| _ = put(digits::four(*digits)));
    let (fours, last) = fraction.as_chunks();
    fours.iter().for_each(|digits| _ = put(digits::four(*digits)));
    if !last.is_empty() {
        put(group(last) * [1, 1000, 100, 10][last.len()]);
    }
}

/// Returns the value of fewer than four digits.
#[inline]
fn group(digits: &[u8]) -> u16 {
    digits.iter().fold(0, |group, digit| group * 10 + u16::from(digit - b'0'))
}

/// Groups of zeros at the end are not sent.
#[inline]
fn strip_zeros(start: usize, out: &mut Vec<u8>) {
    while out.len() > start && out.ends_with(&[0, 0]) {
        out.truncate(out.len() - 2);
    }
}

/// Encodes a number like `1.5e3` by writing it out as a plain decimal. Such numbers are rare, so this may allocate.
#[cold]
fn scientific(number: &Decimal, tail: &[u8], limit: Option<(u16, i16)>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let exponent = exponent(tail)?;
    let mut digits = [number.whole, number.fraction].concat();
    let point = number.whole.len() as i64 + exponent;
    if point < 0 {
        digits.splice(0..0, std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
    }
    let point = point.max(0) as usize;
    if digits.len() < point {
        digits.resize(point, b'0');
    }
    let (whole, fraction) = digits.split_at(point);
    let mut plain = Decimal { negative: number.negative, whole: without_leading_zeros(whole), fraction };
    let scale = plain.fit(limit)?;
    plain.write(scale, out);
    Ok(())
}

/// Parses the exponent. One that no valid number could have is refused at once, without writing out the zeros.
fn exponent(tail: &[u8]) -> Result<i64, Refusal> {
    let [b'e' | b'E', tail @ ..] = tail else { return Err(NOT) };
    let (negative, size) = digits::sign(tail);
    if size.is_empty() || !size.iter().all(u8::is_ascii_digit) {
        return Err(NOT);
    }
    let size = without_leading_zeros(size);
    let size = if size.len() > 6 { None } else { digits::value(size) };
    let size = size.filter(|size| *size <= (MAX_WHOLE + MAX_SCALE) as u64).ok_or(RANGE)? as i64;
    Ok(if negative { -size } else { size })
}

/// Encodes `NaN` and the infinities. A column with a precision accepts only `NaN`.
#[cold]
fn word(text: &[u8], limit: Option<(u16, i16)>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    if text.eq_ignore_ascii_case(b"nan") {
        out.extend_from_slice(&[0, 0, 0, 0, 0xc0, 0, 0, 0]);
        return Ok(());
    }
    let (negative, bare) = digits::sign(text);
    if !bare.eq_ignore_ascii_case(b"infinity") && !bare.eq_ignore_ascii_case(b"inf") {
        return Err(NOT);
    }
    if let Some((precision, scale)) = limit {
        return Err(Refusal::Overflow { precision, scale });
    }
    // The scale of 32 means nothing; Postgres sends it, so equal values have equal bytes.
    out.extend_from_slice(&[0, 0, 0, 0, if negative { 0xf0 } else { 0xd0 }, 0, 0, 32]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the encoded count, weight, sign, scale and digits in hexadecimal, as `numeric_send` orders them.
    fn encoded(cell: &str, limit: Option<(u16, i16)>) -> Result<String, Refusal> {
        let mut out = Vec::new();
        numeric(cell.as_bytes(), limit, &mut out)?;
        let groups: Vec<_> = out.chunks(2).map(|two| format!("{:02x}{:02x}", two[0], two[1])).collect();
        Ok(groups.join(" "))
    }

    #[test]
    fn plain_numbers_keep_their_scale() {
        for (cell, expected) in [
            ("0", "0000 0000 0000 0000"),
            ("-0.00", "0000 0000 0000 0002"),
            ("1", "0001 0000 0000 0000 0001"),
            ("+0010.", "0001 0000 0000 0000 000a"),
            ("-12345.678", "0003 0001 4000 0003 0001 0929 1a7c"),
            ("10000", "0001 0001 0000 0000 0001"),
            (".00005", "0001 fffe 0000 0005 1388"),
            (" 1.50 ", "0002 0000 0000 0002 0001 1388"),
            ("0.0000000", "0000 0000 0000 0007"),
        ] {
            assert_eq!(encoded(cell, None).as_deref(), Ok(expected), "{cell}");
        }
    }

    #[test]
    fn exponents_move_the_point() {
        for (cell, plain) in
            [("1e3", "1000"), ("1.50E-2", "0.0150"), ("12e-4", "0.0012"), ("0e-5", "0.00000"), ("1.25e1", "12.5")]
        {
            assert_eq!(encoded(cell, None), encoded(plain, None), "{cell}");
        }
        assert_eq!(encoded("1e131072", None), Err(RANGE));
        assert_eq!(encoded("1e-16384", None), Err(RANGE));
        assert_eq!(encoded("1e99999999999999999999", None), Err(RANGE));
        assert!(encoded("1e131071", None).is_ok());
    }

    #[test]
    fn a_scale_pads_but_never_rounds() {
        let limit = Some((5, 2));
        assert_eq!(encoded("1", limit), encoded("1.00", None));
        assert_eq!(encoded("1.230000", limit), encoded("1.23", None));
        assert_eq!(encoded("1.234", limit), Err(Refusal::Places(2)));
        assert_eq!(encoded("999.99", limit), encoded("999.99", None));
        assert_eq!(encoded("1000", limit), Err(Refusal::Overflow { precision: 5, scale: 2 }));
        assert_eq!(encoded("Infinity", limit), Err(Refusal::Overflow { precision: 5, scale: 2 }));
        assert_eq!(encoded("NaN", limit).as_deref(), Ok("0000 0000 c000 0000"));
    }

    #[test]
    fn unusual_scales_work() {
        assert_eq!(encoded("12300", Some((3, -2))), encoded("12300", None));
        assert_eq!(encoded("12345", Some((3, -2))), Err(Refusal::Multiple(2)));
        assert_eq!(encoded("5", Some((3, -2))), Err(Refusal::Multiple(2)));
        assert_eq!(encoded("100000", Some((3, -2))), Err(Refusal::Overflow { precision: 3, scale: -2 }));
        assert_eq!(encoded("0.0099", Some((2, 4))), encoded("0.0099", None));
        assert_eq!(encoded("0.0100", Some((2, 4))), Err(Refusal::Overflow { precision: 2, scale: 4 }));
        assert_eq!(encoded("0", Some((2, 4))), encoded("0.0000", None));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for cell in
            ["", ".", "-", "1.2.3", "1,000", "1,5", "1e", "1e+", "e5", "+NaN", "0x10", "1_0", "- 1", "1 e1", "Infinit"]
        {
            assert_eq!(encoded(cell, None), Err(NOT), "{cell:?}");
        }
    }

    #[test]
    fn a_numeric_that_is_an_integer_is_read_exactly() {
        let read = |text: &str| {
            let mut bytes = Vec::new();
            numeric(text.as_bytes(), None, &mut bytes).expect(text);
            as_integer(&bytes)
        };
        for value in
            [0, 1, -1, 9_999, 10_000, -100_000_000, (1 << 53) + 1, i64::MAX, i64::MIN, 1_000_000_000_000_000_000]
        {
            assert_eq!(read(&value.to_string()), Some(value));
            assert_eq!(read(&format!("{value}.000")), Some(value));
        }
        for text in ["0.5", "1.00001", "-7.1", "9223372036854775808", "-9223372036854775809", "1e40", "1e-9", "NaN"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
