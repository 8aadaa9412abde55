//! Turns the text of one CSV cell into the binary form that Postgres takes for the column's type,
//! in `COPY … (format binary)` and in parameters. Exact or refused: nothing is shifted, rounded or
//! cut unless Postgres itself would do it to that very text, and some of that is refused too (see
//! [`Refusal`]). Postgres is the oracle: `tests/it/encode.rs` compares byte by byte. A type without an
//! encoder of its own goes by Postgres' own text input ([`ServerCast`]).

mod civil;
mod datetime;
mod digits;
mod hex;
mod json;
mod key;
mod number;
mod numeric;
mod refusal;
mod text;

pub use numeric::as_integer as numeric_as_integer;
pub use refusal::Refusal;

/// Encoding of a column: its Postgres type with the type modifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnEncoding {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// `limit` is (precision, scale); the scale may be negative or above the precision (Postgres 15).
    Numeric {
        limit: Option<(u16, i16)>,
    },
    Text,
    /// `max` counts characters, not bytes.
    Varchar {
        max: Option<u32>,
    },
    /// `len` counts characters; `None` is `bpchar` without a length, which does not pad.
    Bpchar {
        len: Option<u32>,
    },
    Date,
    /// `precision` is the number of fractional digits that the column keeps; `None` is all six.
    Time {
        precision: Option<u8>,
    },
    Timestamp {
        precision: Option<u8>,
    },
    Timestamptz {
        precision: Option<u8>,
    },
    Uuid,
    Bytea,
    Json,
    Jsonb,
    /// Any other type: the cell stays text, and its binary form is requested from Postgres.
    ServerCast(ServerCast),
}

/// Description of a type that only Postgres can parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCast {
    /// Name of the type with its modifier, as in SQL.
    pub type_name: String,
    /// `true` if an empty cell is the empty text.
    pub text: bool,
    /// Equal values read the same, but for the scale of numbers in them.
    pub scaled: bool,
    /// Equal values have equal bytes, so that a key can be of it.
    pub canonical: bool,
}

impl ServerCast {
    /// Returns how many decimal places the type keeps; `None` if it keeps all, or has none.
    fn places(&self) -> Option<u8> {
        const OF_TIME: [&str; 7] =
            ["timestamp", "time", "interval", "tsrange", "tstzrange", "tsmultirange", "tstzmultirange"];
        if self.type_name == "money" {
            return Some(2);
        }
        let of_time = OF_TIME.iter().any(|name| self.type_name.starts_with(name));
        of_time.then(|| self.type_name.bytes().find(u8::is_ascii_digit).map_or(6, |digit| digit - b'0'))
    }
}

/// Kind of comparison of two values of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// By the type's `=`.
    Equality,
    /// By the binary forms.
    Bytes,
    /// By `=`, with `0` and `-0` distinguished.
    Float,
    /// By the values' texts.
    Text,
}

/// The name of the type whose binary form leaves out a part of the text.
pub(super) const XML: &str = "xml";

impl ColumnEncoding {
    /// Returns the encoding of a type, given as `pg_attribute.atttypid` and `atttypmod` (the caller resolves domains
    /// to their base types), or `None` for a type that has no encoder here.
    pub fn of(type_oid: u32, typmod: i32) -> Option<ColumnEncoding> {
        Some(match type_oid {
            16 => ColumnEncoding::Bool,
            17 => ColumnEncoding::Bytea,
            20 => ColumnEncoding::Int8,
            21 => ColumnEncoding::Int2,
            23 => ColumnEncoding::Int4,
            25 => ColumnEncoding::Text,
            114 => ColumnEncoding::Json,
            700 => ColumnEncoding::Float4,
            701 => ColumnEncoding::Float8,
            1042 => ColumnEncoding::Bpchar { len: length(typmod) },
            1043 => ColumnEncoding::Varchar { max: length(typmod) },
            1082 => ColumnEncoding::Date,
            1083 => ColumnEncoding::Time { precision: precision(typmod) },
            1114 => ColumnEncoding::Timestamp { precision: precision(typmod) },
            1184 => ColumnEncoding::Timestamptz { precision: precision(typmod) },
            1700 => ColumnEncoding::Numeric { limit: limit(typmod) },
            2950 => ColumnEncoding::Uuid,
            3802 => ColumnEncoding::Jsonb,
            _ => return None,
        })
    }

    /// Returns `true` if the type has integers that a column of event ids may hold.
    pub fn has_integers(&self) -> bool {
        matches!(self, Self::Int2 | Self::Int4 | Self::Int8 | Self::Numeric { .. })
    }

    /// Appends the binary form of `cell`, without a length before it. After an `Err`, `out` is as
    /// it was.
    pub fn encode(&self, cell: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let start = out.len();
        let written = self.write(cell, out);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    #[inline]
    fn write(&self, cell: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        match *self {
            ColumnEncoding::ServerCast(ref asked) => {
                text::uncut(cell, &asked.type_name)?;
                text::text(cell, out)
            }
            ColumnEncoding::Bool => number::boolean(cell, out),
            ColumnEncoding::Int2 => number::int2(cell, out),
            ColumnEncoding::Int4 => number::int4(cell, out),
            ColumnEncoding::Int8 => number::int8(cell, out),
            ColumnEncoding::Float4 => number::float4(cell, out),
            ColumnEncoding::Float8 => number::float8(cell, out),
            ColumnEncoding::Numeric { limit } => numeric::numeric(cell, limit, out),
            ColumnEncoding::Text => text::text(cell, out),
            ColumnEncoding::Varchar { max } => text::varchar(cell, max, out),
            ColumnEncoding::Bpchar { len } => text::bpchar(cell, len, out),
            ColumnEncoding::Date => datetime::date(cell, out),
            ColumnEncoding::Time { precision } => datetime::time(cell, precision, out),
            ColumnEncoding::Timestamp { precision } => datetime::timestamp(cell, precision, out),
            ColumnEncoding::Timestamptz { precision } => datetime::timestamptz(cell, precision, out),
            ColumnEncoding::Uuid => hex::uuid(cell, out),
            ColumnEncoding::Bytea => hex::bytea(cell, out),
            ColumnEncoding::Json => json::json(cell, out),
            ColumnEncoding::Jsonb => json::jsonb(cell, out),
        }
    }

    /// Refuses the cell of a key that would be another one in the table: cut, or rounded. Two keys of the source must never
    /// become one.
    pub fn check_key(&self, cell: &[u8]) -> Result<(), Refusal> {
        match self {
            ColumnEncoding::Varchar { max: Some(max) } => text::unshortened(cell, *max),
            ColumnEncoding::Time { precision }
            | ColumnEncoding::Timestamp { precision }
            | ColumnEncoding::Timestamptz { precision } => datetime::unrounded(cell, precision.unwrap_or(6)),
            ColumnEncoding::Float4 => number::unrounded::<f32>(cell, "real"),
            ColumnEncoding::Float8 => number::unrounded::<f64>(cell, "double precision"),
            ColumnEncoding::ServerCast(asked) => match asked.places() {
                Some(places) => datetime::unrounded(cell, places),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Returns `true` if an unquoted empty cell is `''` (text, varchar, bpchar) rather than null.
    pub fn is_text(&self) -> bool {
        match self {
            ColumnEncoding::ServerCast(asked) => asked.text,
            _ => matches!(self, ColumnEncoding::Text | ColumnEncoding::Varchar { .. } | ColumnEncoding::Bpchar { .. }),
        }
    }

    /// Returns how two values of the column are compared. The type's equality is used only if equal values look the
    /// same (numbers of another scale count as the same); otherwise their binary forms are compared.
    pub fn comparison(&self) -> Comparison {
        match self {
            ColumnEncoding::Json => Comparison::Text,
            ColumnEncoding::Float4 | ColumnEncoding::Float8 => Comparison::Float,
            ColumnEncoding::Bpchar { len: None } => Comparison::Bytes,
            ColumnEncoding::ServerCast(asked) if asked.type_name == XML => Comparison::Text,
            ColumnEncoding::ServerCast(asked) if !asked.scaled => Comparison::Bytes,
            _ => Comparison::Equality,
        }
    }

    /// Returns `true` if equal values may have binary forms, and readings, that differ: `0` and `-0`, `'a'` and `'a '`.
    pub fn reads_apart(&self) -> bool {
        matches!(self, ColumnEncoding::Float4 | ColumnEncoding::Float8 | ColumnEncoding::Bpchar { len: None })
    }

    /// Returns `true` if two values of the column are equal only if their binary forms are: false where one
    /// value has several forms (`1.0` and `1.00`, `0` and `-0`, JSON with other blanks).
    pub fn is_canonical(&self) -> bool {
        match self {
            ColumnEncoding::Json | ColumnEncoding::Jsonb => false,
            ColumnEncoding::ServerCast(asked) => asked.canonical,
            ColumnEncoding::Numeric { limit } => limit.is_some(), // the column's scale is every value's scale
            _ => !self.reads_apart(),
        }
    }

    /// Appends a byte string whose order under `memcmp` is the order of [`ColumnEncoding::order_by`] in
    /// Postgres, and which is equal exactly where the values are. It ends itself, so the key of
    /// several columns is their keys in a row. `binary` is what [`ColumnEncoding::encode`] or Postgres wrote.
    /// False, and nothing appended, for `jsonb`, whose order is not worth copying.
    #[must_use]
    pub fn sort_key(&self, binary: &[u8], out: &mut Vec<u8>) -> bool {
        key::append(self, binary, out)
    }

    /// Returns the SQL expression that sorts like [`ColumnEncoding::sort_key`]. `column` is quoted; `sent` is the
    /// expression for the column's binary form. Wherever possible this is the plain column, so that the primary key's
    /// index can be used.
    pub fn order_by(&self, column: &str, sent: &str) -> String {
        match self {
            ColumnEncoding::ServerCast(_) => sent.to_owned(),
            ColumnEncoding::Text | ColumnEncoding::Varchar { .. } | ColumnEncoding::Bpchar { .. } => {
                format!(r#"{column} collate "C""#)
            }
            ColumnEncoding::Json => format!(r#"{column}::text collate "C""#),
            _ => column.to_owned(),
        }
    }
}

/// Returns the length in a type modifier, which counts a header of four bytes (`VARHDRSZ`).
fn length(typmod: i32) -> Option<u32> {
    u32::try_from(typmod.checked_sub(4)?).ok()
}

fn precision(typmod: i32) -> Option<u8> {
    u8::try_from(typmod).ok().filter(|digits| *digits <= 6)
}

/// Returns precision and scale of a numeric. The modifier holds the precision in its upper half and the signed scale
/// in its lower eleven bits.
fn limit(typmod: i32) -> Option<(u16, i16)> {
    let packed = length(typmod)?;
    let scale = ((packed & 0x7ff) ^ 0x400) as i16 - 0x400;
    Some(((packed >> 16) as u16, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_modifiers_are_read() {
        let numeric = |p: i32, s: i32| ColumnEncoding::of(1700, ((p << 16) | (s & 0x7ff)) + 4);
        assert_eq!(numeric(18, 2), Some(ColumnEncoding::Numeric { limit: Some((18, 2)) }));
        assert_eq!(numeric(5, -2), Some(ColumnEncoding::Numeric { limit: Some((5, -2)) }));
        assert_eq!(numeric(1000, 1000), Some(ColumnEncoding::Numeric { limit: Some((1000, 1000)) }));
        assert_eq!(ColumnEncoding::of(1700, -1), Some(ColumnEncoding::Numeric { limit: None }));
        assert_eq!(ColumnEncoding::of(1043, 20), Some(ColumnEncoding::Varchar { max: Some(16) }));
        assert_eq!(ColumnEncoding::of(1042, -1), Some(ColumnEncoding::Bpchar { len: None }));
        assert_eq!(ColumnEncoding::of(1114, 3), Some(ColumnEncoding::Timestamp { precision: Some(3) }));
        assert_eq!(ColumnEncoding::of(1114, -1), Some(ColumnEncoding::Timestamp { precision: None }));
        assert_eq!(ColumnEncoding::of(600, -1), None);
    }

    #[test]
    fn a_refused_cell_leaves_no_trace() {
        for wire in [
            ColumnEncoding::Int4,
            ColumnEncoding::Numeric { limit: None },
            ColumnEncoding::Date,
            ColumnEncoding::Uuid,
            ColumnEncoding::Bytea,
            ColumnEncoding::Jsonb,
        ] {
            let mut out = vec![7];
            assert!(wire.encode(b"12345z", &mut out).is_err());
            assert_eq!(out, [7], "{wire:?}");
        }
    }

    #[test]
    fn refusals_never_show_the_cell() {
        let secret = b"hunter2\xff";
        for oid in [16, 17, 20, 21, 23, 25, 114, 700, 701, 1042, 1043, 1082, 1083, 1114, 1184, 1700, 2950, 3802] {
            let wire = ColumnEncoding::of(oid, -1).expect("listed above");
            let refusal = wire.encode(secret, &mut Vec::new()).expect_err("not a value of any type");
            assert!(!refusal.to_string().contains("hunter"), "{wire:?}: {refusal}");
        }
    }
}
