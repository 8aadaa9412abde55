//! Converts between microseconds and the types of time columns in Postgres, without text and without loss.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::Unit;
use crate::timestamp::Micros;

/// The expression of a table's time, by its type in Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeKind {
    /// Without zone: what it shows is in `--time-zone`.
    Stamp,
    StampTz,
    Date,
    /// A `bigint` of this unit, or an expression that makes one.
    Number(Unit),
}

/// 2000-01-01 in microseconds since 1970.
const POSTGRES_EPOCH: Micros = 946_684_800_000_000;
const DAY: Micros = 86_400_000_000;

impl TimeKind {
    /// Returns what Postgres calls the type.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Stamp => "timestamp",
            Self::StampTz => "timestamptz",
            Self::Date => "date",
            Self::Number(_) => "bigint",
        }
    }

    /// Returns what is on the wire as microseconds since 1970. `zone` is what local time is ahead of UTC.
    pub fn to_micros(self, raw: i64, zone: Micros) -> Micros {
        match self {
            Self::Stamp => raw.saturating_add(POSTGRES_EPOCH - zone),
            Self::StampTz => raw.saturating_add(POSTGRES_EPOCH),
            Self::Date => raw.saturating_mul(DAY).saturating_add(POSTGRES_EPOCH - zone),
            Self::Number(unit) => raw.saturating_mul(unit.micros()),
        }
    }

    /// Returns what is on the wire for a time: the first value that is not before it.
    pub fn from_micros(self, time: Micros, zone: Micros) -> PgTime {
        let ceil = |time: Micros, unit: Micros| time.div_euclid(unit) + i64::from(time.rem_euclid(unit) > 0);
        PgTime(match self {
            Self::Stamp => time.saturating_add(zone).saturating_sub(POSTGRES_EPOCH),
            Self::StampTz => time.saturating_sub(POSTGRES_EPOCH),
            Self::Date => ceil(time.saturating_add(zone).saturating_sub(POSTGRES_EPOCH), DAY),
            Self::Number(unit) => ceil(time, unit.micros()),
        })
    }
}

/// The number that stands on the wire for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PgTime(pub i64);

impl<'a> FromSql<'a> for PgTime {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(match raw.len() {
            8 => i64::from_be_bytes(raw.try_into()?),
            4 => i64::from(i32::from_be_bytes(raw.try_into()?)),
            _ => i64::from(i16::from_be_bytes(raw.try_into()?)),
        }))
    }

    fn accepts(ty: &Type) -> bool {
        [Type::TIMESTAMP, Type::TIMESTAMPTZ, Type::DATE, Type::INT8, Type::INT4, Type::INT2].contains(ty)
    }
}

impl ToSql for PgTime {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        if *ty == Type::DATE {
            // dates beyond what Postgres knows are as good as its last ones
            out.put_i32(i32::try_from(self.0.clamp(-2_451_507, 2_145_031_948))?);
        } else {
            out.put_i64(self.0);
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        [Type::TIMESTAMP, Type::TIMESTAMPTZ, Type::DATE, Type::INT8].contains(ty)
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// `value >= from_micros(t)` says the same as `to_micros(value) >= t`.
        #[test]
        fn a_bound_on_the_wire_is_the_bound_in_time(time in -10_000_000_000_000_000_i64..10_000_000_000_000_000, zone in -12_i64..14, off in -2_i64..3) {
            let zone = zone * 3_600_000_000;
            for kind in [TimeKind::Stamp, TimeKind::StampTz, TimeKind::Date, TimeKind::Number(Unit::Seconds), TimeKind::Number(Unit::Millis), TimeKind::Number(Unit::Micros)] {
                let bound = kind.from_micros(time, zone).0;
                let raw = bound + off;
                prop_assert_eq!(raw >= bound, kind.to_micros(raw, zone) >= time, "{:?}", kind);
            }
        }
    }
}
