//! Sort keys: bytes whose order under `memcmp` is Postgres' order of the values, and which are equal
//! where the values are. With them two streams, one of the feed and one of the table, can be merged
//! without knowing any type. A key ends itself: no key is the beginning of another.

use super::ColumnEncoding;

/// Appends the sort key of a value and returns `true`, or returns `false` if the type has no sort key.
pub(super) fn append(wire: &ColumnEncoding, binary: &[u8], out: &mut Vec<u8>) -> bool {
    match wire {
        ColumnEncoding::Bool | ColumnEncoding::Uuid => out.extend_from_slice(binary),
        ColumnEncoding::Int2 | ColumnEncoding::Int4 | ColumnEncoding::Int8 => signed(binary, out),
        ColumnEncoding::Date
        | ColumnEncoding::Time { .. }
        | ColumnEncoding::Timestamp { .. }
        | ColumnEncoding::Timestamptz { .. } => signed(binary, out),
        ColumnEncoding::Float4 => float4(binary, out),
        ColumnEncoding::Float8 => float8(binary, out),
        ColumnEncoding::Numeric { .. } => numeric(binary, out),
        ColumnEncoding::Text | ColumnEncoding::Varchar { .. } | ColumnEncoding::Json => text(binary, out),
        ColumnEncoding::Bpchar { .. } => text(without_trailing_blanks(binary), out),
        // Postgres is asked to sort these by their bytes too
        ColumnEncoding::Bytea | ColumnEncoding::ServerCast(_) => bytes(binary, out),
        ColumnEncoding::Jsonb => return false,
    }
    true
}

/// Two's complement with the sign turned: negative numbers come first.
#[inline]
fn signed(binary: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(binary);
    if let Some(first) = out.get_mut(start) {
        *first ^= 0x80;
    }
}

/// Appends a text and a zero byte. No text contains U+0000, so the zero byte marks the end and sorts before any
/// character.
#[inline]
fn text(binary: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(binary);
    out.push(0);
}

fn without_trailing_blanks(binary: &[u8]) -> &[u8] {
    let end = binary.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &binary[..end]
}

/// Appends bytes with each zero byte as `00 FF` and the end as `00 00`.
fn bytes(binary: &[u8], out: &mut Vec<u8>) {
    for part in binary.split_inclusive(|byte| *byte == 0) {
        out.extend_from_slice(part);
        if part.ends_with(&[0]) {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

/// Appends the key of a float: `-0` equals `0`, and all NaN are equal and the greatest.
fn float8(binary: &[u8], out: &mut Vec<u8>) {
    let value = binary.try_into().map_or(f64::NAN, f64::from_be_bytes);
    let bits = if value.is_nan() { f64::NAN } else { value + 0.0 }.to_bits();
    let turned = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    out.extend_from_slice(&turned.to_be_bytes());
}

fn float4(binary: &[u8], out: &mut Vec<u8>) {
    let value = binary.try_into().map_or(f32::NAN, f32::from_be_bytes);
    float8(&f64::from(value).to_be_bytes(), out);
}

/// Appends the key of a numeric: its class and sign first, then the weight, then the digits. The scale is ignored.
fn numeric(binary: &[u8], out: &mut Vec<u8>) {
    let [_, _, w1, w2, s1, _, _, _, digits @ ..] = binary else { return };
    match (s1, digits) {
        (0xf0, _) => out.push(0),
        (0x40, _) => finite(1, [*w1, *w2], digits, 0xff, out),
        (0x00, []) => out.push(2),
        (0x00, _) => finite(3, [*w1, *w2], digits, 0x00, out),
        (0xd0, _) => out.push(4),
        _ => out.push(5), // NaN
    }
}

/// Appends the key of a finite number. Digits are counted from 1, so that 0 can be their end. `turn` inverts the
/// bytes of negatives.
fn finite(rank: u8, weight: [u8; 2], digits: &[u8], turn: u8, out: &mut Vec<u8>) {
    let [high, low] = weight;
    out.extend_from_slice(&[rank, high ^ 0x80 ^ turn, low ^ turn]);
    for group in digits.as_chunks().0 {
        let counted = u16::from_be_bytes(*group).saturating_add(1);
        out.extend_from_slice(&counted.to_be_bytes().map(|byte| byte ^ turn));
    }
    out.extend_from_slice(&[turn, turn]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(wire: &ColumnEncoding, cell: &str) -> Vec<u8> {
        let (mut binary, mut key) = (Vec::new(), Vec::new());
        wire.encode(cell.as_bytes(), &mut binary).expect(cell);
        assert!(wire.sort_key(&binary, &mut key), "{wire:?}");
        key
    }

    /// Asserts that the key of each cell is less than that of the next.
    fn ascending(wire: &ColumnEncoding, cells: &[&str]) {
        for pair in cells.windows(2) {
            assert!(key(wire, pair[0]) < key(wire, pair[1]), "{wire:?}: {} < {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn keys_ascend_as_the_values_do() {
        ascending(&ColumnEncoding::Bool, &["f", "t"]);
        ascending(&ColumnEncoding::Int4, &["-2147483648", "-1", "0", "1", "256"]);
        ascending(&ColumnEncoding::Float4, &["-inf", "-1.5", "-1e-40", "0", "1e-40", "2", "inf", "nan"]);
        ascending(&ColumnEncoding::Float8, &["-inf", "-2", "-1.5", "0", "5e-324", "2", "inf", "nan"]);
        ascending(
            &ColumnEncoding::Text,
            &["", "\u{1}", "A", "a", "a\u{1}", "a b", "ab", "b", "ä", "\u{ffff}", "\u{10000}"],
        );
        ascending(&ColumnEncoding::Bytea, &["", "00", "0000", "0001", "01", "0100", "ff", "ff00"]);
        ascending(&ColumnEncoding::Date, &["-infinity", "0044-03-15 BC", "1999-12-31", "2000-01-01", "infinity"]);
        ascending(&ColumnEncoding::Uuid, &["00000000000000000000000000000001", "ffffffffffffffffffffffffffffffff"]);
    }

    #[test]
    fn numerics_ascend_through_all_their_kinds() {
        let cells = [
            "-Infinity",
            "-10000.5",
            "-10000",
            "-9999",
            "-1.0001",
            "-1",
            "-0.5",
            "-0.00001",
            "0",
            "0.00001",
            "0.5",
            "1",
            "1.00000001",
            "1.0001",
            "9999",
            "10000",
            "10000.5",
            "1e100",
            "Infinity",
            "NaN",
        ];
        ascending(&ColumnEncoding::Numeric { limit: None }, &cells);
    }

    #[test]
    fn equal_values_have_equal_keys() {
        let numeric = ColumnEncoding::Numeric { limit: None };
        assert_eq!(key(&numeric, "1.50"), key(&numeric, "1.5"));
        assert_eq!(key(&numeric, "-0.00"), key(&numeric, "0"));
        assert_eq!(key(&ColumnEncoding::Float8, "-0"), key(&ColumnEncoding::Float8, "0"));
        assert_eq!(key(&ColumnEncoding::Bpchar { len: None }, "a  "), key(&ColumnEncoding::Bpchar { len: None }, "a"));
    }

    #[test]
    fn no_key_is_the_beginning_of_another() {
        let numeric = ColumnEncoding::Numeric { limit: None };
        for (wire, cells) in [
            (&ColumnEncoding::Text, ["", "a", "ab", "b"]),
            (&ColumnEncoding::Bytea, ["", "00", "0000", "00ff"]),
            (&numeric, ["0", "1", "1.0001", "-1"]),
        ] {
            let keys = cells.map(|cell| key(wire, cell));
            let beginnings = keys.iter().map(|one| keys.iter().filter(|other| other.starts_with(one)).count());
            assert!(beginnings.clone().all(|count| count == 1), "{wire:?}");
        }
    }

    #[test]
    fn jsonb_has_no_key() {
        assert!(!ColumnEncoding::Jsonb.sort_key(b"\x01{}", &mut Vec::new()));
    }
}
