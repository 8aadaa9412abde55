//! `uuid` and `bytea`: hexadecimal to bytes. A feed writes binary bare, as `0x…` or as `\x…`;
//! Postgres' own escape format is not taken, for bare hexadecimal would be valid in it and mean
//! something else.

use super::Refusal;

pub(super) fn bytea(cell: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let digits = match cell {
        [b'\\', b'x', digits @ ..] | [b'0', b'x' | b'X', digits @ ..] => digits,
        _ => cell,
    };
    let (pairs, rest) = digits.as_chunks();
    let mut seen = 0;
    out.extend(pairs.iter().map(|pair| both(pair, &mut seen)));
    if seen > 0xf || !rest.is_empty() { Err(Refusal::Not("hexadecimal")) } else { Ok(()) }
}

/// Encodes a UUID in the forms that Postgres accepts: with or without braces, with or without a hyphen after each
/// group of four digits.
pub(super) fn uuid(cell: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let bytes = usual(cell).or_else(|| unusual(cell)).ok_or(Refusal::Not("a uuid"))?;
    out.extend_from_slice(&bytes);
    Ok(())
}

/// Groups of 8, 4, 4, 4 and 12 digits, as nearly every feed writes them.
#[inline]
fn usual(cell: &[u8]) -> Option<[u8; 16]> {
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let cell: &[u8; 36] = cell.try_into().ok()?;
    let mut seen = 0;
    let bytes = PLACES.map(|place| both(&[cell[place], cell[place + 1]], &mut seen));
    let hyphens = [8, 13, 18, 23].iter().all(|place| cell[*place] == b'-');
    (hyphens && seen <= 0xf).then_some(bytes)
}

#[cold]
fn unusual(cell: &[u8]) -> Option<[u8; 16]> {
    let mut rest = match cell {
        [b'{', inner @ .., b'}'] => inner,
        _ => cell,
    };
    let (mut bytes, mut seen) = ([0; 16], 0);
    for (place, byte) in bytes.iter_mut().enumerate() {
        if place % 2 == 0 && place > 0 {
            rest = rest.strip_prefix(b"-").unwrap_or(rest);
        }
        let (pair, after) = rest.split_first_chunk()?;
        *byte = both(pair, &mut seen);
        rest = after;
    }
    (rest.is_empty() && seen <= 0xf).then_some(bytes)
}

/// Returns the byte of two hexadecimal digits. `seen` collects the looked-up values: above 15, one of them was not a
/// digit.
#[inline]
fn both(pair: &[u8; 2], seen: &mut u8) -> u8 {
    let [high, low] = pair.map(|digit| VALUES[usize::from(digit)]);
    *seen |= high | low;
    high << 4 | low
}

/// The value of a hexadecimal digit; 255 for any other byte.
static VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut values = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        values[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_is_read_in_its_three_spellings() {
        for cell in ["00ff7F", "0x00ff7f", "0X00FF7F", "\\x00ff7f"] {
            let mut out = Vec::new();
            assert_eq!(bytea(cell.as_bytes(), &mut out), Ok(()), "{cell}");
            assert_eq!(out, [0, 0xff, 0x7f], "{cell}");
        }
        let mut out = Vec::new();
        assert_eq!(bytea(b"", &mut out), Ok(()));
        assert!(out.is_empty());
        for cell in ["0", "0x0", "\\x0", "0g", "\\X00", "00 11", "x00"] {
            assert_eq!(bytea(cell.as_bytes(), &mut Vec::new()), Err(Refusal::Not("hexadecimal")), "{cell}");
        }
    }

    #[test]
    fn uuids_are_read_as_postgres_reads_them() {
        for cell in [
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            let mut out = Vec::new();
            assert_eq!(uuid(cell.as_bytes(), &mut out), Ok(()), "{cell}");
            assert_eq!(out[..5], [0xa0, 0xee, 0xbc, 0x99, 0x9c], "{cell}");
        }
        for cell in [
            "",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1100",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0-eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            " a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ] {
            assert_eq!(uuid(cell.as_bytes(), &mut Vec::new()), Err(Refusal::Not("a uuid")), "{cell}");
        }
    }
}
