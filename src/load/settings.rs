//! What the Target is told: which database, which schema, and how far a snapshot may go.

use std::fmt;
use std::str::FromStr;

pub use super::rejects::BadRows;
use crate::per_table::PerTable;
use crate::pg::settings as postgres;
use crate::source::Entity;

/// Everything the Target needs to know beforehand.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub postgres: postgres::Settings,
    /// All entities go into this schema; `None` = the feed's own.
    pub schema: Option<String>,
    /// How much a snapshot may remove before it is held.
    pub max_remove: Share,
    /// What becomes of a row that cannot be loaded.
    pub bad_rows: BadRows,
    /// The column whose highest value is a delivery's `max_event_id`.
    pub event_id: String,
    /// Whether to apply the embedded migrations at start.
    pub migrate: bool,
    /// How long published messages are kept.
    pub keep_messages_days: u32,
    /// True where nobody but the loader writes to the table.
    pub sole_writer: PerTable<bool>,
}

impl Settings {
    /// Returns true if nobody but the loader writes to the entity's table.
    pub fn is_sole_writer(&self, entity: &Entity) -> bool {
        *self.sole_writer.of(&entity.schema, &entity.name)
    }
}

/// Some of a table's or a file's rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Share {
    /// From 0 to 100.
    Percent(f64),
    Rows(u64),
}

impl Share {
    /// Whether it is less than `part` of `whole`.
    pub fn is_less_than(self, part: u64, whole: u64) -> bool {
        match self {
            Self::Percent(percent) => part as f64 > whole as f64 * percent / 100.0,
            Self::Rows(most) => part > most,
        }
    }
}

/// As one writes it in a setting.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Rows(rows) => write!(f, "{rows}"),
        }
    }
}

/// It is neither a share nor a number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither a percentage from 0% to 100% nor a whole number of rows")]
pub struct NotAShare;

impl FromStr for Share {
    type Err = NotAShare;

    fn from_str(text: &str) -> Result<Self, NotAShare> {
        match text.trim().strip_suffix('%') {
            Some(number) => percent(number).map(Self::Percent),
            None => text.trim().parse().map(Self::Rows).map_err(|_| NotAShare),
        }
    }
}

fn percent(number: &str) -> Result<f64, NotAShare> {
    let percent: f64 = number.trim().parse().map_err(|_| NotAShare)?;
    if (0.0..=100.0).contains(&percent) { Ok(percent) } else { Err(NotAShare) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_or_a_number() {
        assert_eq!("50%".parse(), Ok(Share::Percent(50.0)));
        assert_eq!(" 0.5 % ".parse(), Ok(Share::Percent(0.5)));
        assert_eq!("1000".parse(), Ok(Share::Rows(1000)));
        assert_eq!("0".parse(), Ok(Share::Rows(0)));
        assert_eq!(
            [Share::Percent(50.0), Share::Percent(0.5), Share::Rows(9)].map(|share| share.to_string()),
            ["50%", "0.5%", "9"]
        );
    }

    #[test]
    fn nothing_else() {
        for text in ["", "%", "half", "-1", "-1%", "101%", "NaN%", "inf%", "1.5", "1e3"] {
            assert_eq!(text.parse::<Share>(), Err(NotAShare), "{text}");
        }
    }
}
