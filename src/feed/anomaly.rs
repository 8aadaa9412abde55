//! Defects of a generated feed. Each is at one position that is the same for the same file, so that a loader's report
//! can be compared with it.

use std::fmt;

use super::{Entity, record::Record};

/// A fault to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// A change file that is dated before the others and written after them.
    LateFile,
    /// A full load without one of its parts.
    MissingPart,
    /// A row of a full load twice, with other values.
    DuplicateKey,
    /// Updates that change the key, one of them twice: no fault, but hard.
    KeyChange,
    /// Values that are too long, or out of range, for their columns.
    WideValues,
    /// A word where a number belongs.
    BadRow,
    /// A row with a cell too few.
    RaggedRow,
    /// A file that ends before its end.
    Truncated,
    /// A checksum that is not that of the rows.
    Crc,
    /// A file of no bytes.
    Empty,
    /// A quote that is never closed.
    OpenQuote,
}

/// Position of an anomaly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Kind of the anomaly.
    pub anomaly: Anomaly,
    /// The line, as an editor counts it; none if it is the file as a whole.
    pub line: Option<u64>,
    /// The key of the row.
    pub key: Option<u64>,
    /// The columns that were spoiled, or in words what was done to the file.
    pub what: String,
}

impl Anomaly {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::LateFile,
        Self::MissingPart,
        Self::DuplicateKey,
        Self::KeyChange,
        Self::WideValues,
        Self::BadRow,
        Self::RaggedRow,
        Self::Truncated,
        Self::Crc,
        Self::Empty,
        Self::OpenQuote,
    ];

    /// Returns its name: `bad-row`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LateFile => "late-file",
            Self::MissingPart => "missing-part",
            Self::DuplicateKey => "duplicate-key",
            Self::KeyChange => "key-change",
            Self::WideValues => "wide-values",
            Self::BadRow => "bad-row",
            Self::RaggedRow => "ragged-row",
            Self::Truncated => "truncated",
            Self::Crc => "crc",
            Self::Empty => "empty",
            Self::OpenQuote => "open-quote",
        }
    }

    /// Returns `true` if it damages the bytes of a table's last file.
    pub const fn is_in_last_file(self) -> bool {
        !matches!(self, Self::LateFile | Self::MissingPart | Self::DuplicateKey | Self::KeyChange)
    }

    /// Returns the row of `slots` that it damages, or `None` if it does not damage a row. Each anomaly has its own
    /// row.
    pub(super) fn slot(self, slots: u64) -> Option<u64> {
        let eighth = match self {
            Self::WideValues => 2,
            Self::DuplicateKey => 3,
            Self::BadRow => 4,
            Self::RaggedRow => 5,
            Self::OpenQuote => 6,
            _ => return None,
        };
        Some(slots * eighth / 8)
    }

    /// Damages a row and describes the damage.
    pub(super) fn spoil(self, entity: Entity, record: &mut Record) -> String {
        let columns = match self {
            Self::WideValues => wide(entity),
            Self::BadRow => &[(measure(entity), "many")],
            Self::OpenQuote => {
                record.open_quote(entity.columns().len() - 1);
                return "the last cell begins with a quote that is not closed".to_owned();
            }
            Self::RaggedRow => {
                record.shorten();
                return "the last cell is missing".to_owned();
            }
            Self::DuplicateKey => return "the same key as the row before".to_owned(),
            _ => return String::new(),
        };
        for &(column, value) in columns {
            record.set(place(entity, column), value.as_bytes());
        }
        let names: Vec<_> = columns.iter().map(|(column, _)| *column).collect();
        let plural = if names.len() > 1 { "s" } else { "" };
        format!("column{plural} {}", names.join(" and "))
    }
}

/// Damage to the last bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    Truncated,
    Crc,
}

impl Damage {
    pub(super) fn of(anomalies: &[Anomaly]) -> Option<Self> {
        anomalies.iter().find_map(|anomaly| match anomaly {
            Anomaly::Truncated => Some(Self::Truncated),
            Anomaly::Crc => Some(Self::Crc),
            _ => None,
        })
    }

    pub(super) fn spot(self) -> Spot {
        match self {
            Self::Truncated => Spot::file(Anomaly::Truncated, "the last bytes of the file are missing"),
            Self::Crc => Spot::file(Anomaly::Crc, "the checksum of the last gzip member is wrong"),
        }
    }
}

impl Spot {
    /// Returns the position of an anomaly of a whole file.
    pub fn file(anomaly: Anomaly, what: &str) -> Self {
        Self { anomaly, line: None, key: None, what: what.to_owned() }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.anomaly.name())?;
        if let Some(line) = self.line {
            write!(f, "line {line}, ")?;
        }
        if let Some(key) = self.key {
            write!(f, "key {key}, ")?;
        }
        f.write_str(&self.what)
    }
}

/// Returns columns of `db/model` with values that do not fit into them.
fn wide(entity: Entity) -> &'static [(&'static str, &'static str)] {
    match entity {
        Entity::Orders => &[("strategy_id", "99999999999"), ("symbol", LONG)],
        Entity::Events => &[("kind", LONG), ("quantity", "123456789012345678901.5")],
        Entity::Strategies => &[("broker", LONG), ("capital", "123456789012345678901.5")],
    }
}

const LONG: &str = "a name that is longer than its column has room for, however wide";

/// Returns a column of numbers that is not null.
fn measure(entity: Entity) -> &'static str {
    if entity == Entity::Strategies { "capital" } else { "quantity" }
}

fn place(entity: Entity, column: &str) -> usize {
    entity.columns().iter().position(|name| *name == column).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_named_here_is_there() {
        for entity in Entity::ALL {
            let named = wide(entity).iter().map(|(column, _)| *column).chain([measure(entity)]);
            named.for_each(|column| assert!(place(entity, column) > 0, "{column}"));
        }
    }

    #[test]
    fn each_has_a_row_and_a_name_of_its_own() {
        let mut slots: Vec<_> = Anomaly::ALL.iter().filter_map(|anomaly| anomaly.slot(80)).collect();
        slots.sort_unstable();
        assert_eq!(slots, [20, 30, 40, 50, 60]);
        let names: std::collections::BTreeSet<_> = Anomaly::ALL.iter().map(|anomaly| anomaly.name()).collect();
        assert_eq!(names.len(), Anomaly::ALL.len());
    }
}
