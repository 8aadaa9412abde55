//! Runs of ASCII digits, read fast: most cells of a feed are numbers and timestamps, and eight
//! digits at a time is what makes them cheap. Everything here checks; nothing skips.

/// Returns the value of up to 19 digits (more do not fit), or `None` if a byte is not a digit.
#[inline]
pub(super) fn value(digits: &[u8]) -> Option<u64> {
    match digits.split_last_chunk() {
        Some((head, last)) if !head.is_empty() => Some(upper(head)? * 100_000_000 + eight(*last)?),
        _ => short(digits),
    }
}

/// Returns the value of a long number's digits before the last eight.
#[inline]
fn upper(digits: &[u8]) -> Option<u64> {
    match digits.split_last_chunk() {
        Some((head, last)) if !head.is_empty() => Some(short(head)? * 100_000_000 + eight(*last)?),
        _ => short(digits),
    }
}

/// Returns the value of up to eight digits. From four digits on this takes one step: the first four and the last four
/// digits overlap, and zeros fill up the missing digits on the left.
#[inline]
fn short(digits: &[u8]) -> Option<u64> {
    let missing = 8usize.checked_sub(digits.len())?;
    let (Some(first), Some(last)) = (digits.first_chunk(), digits.last_chunk()) else {
        return digits.iter().try_fold(0, |value, byte| Some(value * 10 + u64::from(one(*byte)?)));
    };
    let word = u64::from(u32::from_le_bytes(*last)) << 32 | u64::from(u32::from_le_bytes(*first)) << (8 * missing);
    let zeros = ((1 << (8 * missing)) - 1) & 0x3030_3030;
    eight((word | zeros).to_le_bytes())
}

/// Returns the value of eight digits with three multiplications: pairs, then fours, then all.
#[inline]
pub(super) fn eight(chunk: [u8; 8]) -> Option<u64> {
    if foreign(chunk) != 0 {
        return None;
    }
    let word = u64::from_le_bytes(chunk) ^ 0x3030_3030_3030_3030;
    let pairs = (word.wrapping_mul(10) + (word >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff)
}

/// Marks bytes that are no digits with their high bit. Above the first such byte the marks may be
/// wrong: it can carry into the next, and nothing else can.
#[inline]
fn foreign(chunk: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(chunk) ^ 0x3030_3030_3030_3030;
    (word.wrapping_add(0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080
}

/// Returns the value of four bytes that are known to be digits.
#[inline]
pub(super) fn four(digits: [u8; 4]) -> u16 {
    let word = u32::from_le_bytes(digits) ^ 0x3030_3030;
    let pairs = (word.wrapping_mul(10) + (word >> 8)) & 0x00ff_00ff;
    (pairs.wrapping_mul(100) + (pairs >> 16)) as u16
}

#[inline]
pub(super) fn two(high: u8, low: u8) -> Option<u32> {
    Some(one(high)? * 10 + one(low)?)
}

#[inline]
fn one(byte: u8) -> Option<u32> {
    let digit = byte.wrapping_sub(b'0');
    (digit < 10).then_some(u32::from(digit))
}

/// Splits `text` behind its leading digits.
#[inline]
pub(super) fn run(text: &[u8]) -> (&[u8], &[u8]) {
    let mut length = 0;
    while let Some(chunk) = text[length..].first_chunk() {
        match foreign(*chunk) {
            0 => length += 8,
            marks => return text.split_at(length + marks.trailing_zeros() as usize / 8),
        }
    }
    let end = text[length..].iter().position(|byte| !byte.is_ascii_digit());
    text.split_at(end.map_or(text.len(), |end| length + end))
}

/// Strips the sign of a number. The first value is `true` for a minus.
#[inline]
pub(super) fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// Returns `digits` without leading zeros.
#[inline]
pub(super) fn without_leading_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros..]
}

pub(super) fn all_zeros(digits: &[u8]) -> bool {
    digits.iter().all(|digit| *digit == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_has_its_value() {
        let all = "9876543210123456789";
        for length in 1..=all.len() {
            assert_eq!(value(&all.as_bytes()[..length]), all[..length].parse().ok(), "{length} digits");
        }
    }

    #[test]
    fn every_foreign_byte_is_seen_at_every_place() {
        for byte in (0..=255u8).filter(|byte| !byte.is_ascii_digit()) {
            for place in 0..19 {
                let mut digits = *b"9999999999999999999";
                digits[place] = byte;
                assert_eq!(run(&digits).0.len(), place, "{byte} at {place}");
                for length in place + 1..=digits.len() {
                    assert_eq!(value(&digits[..length]), None, "{byte} at {place} of {length}");
                }
            }
        }
    }
}
