//! Settings of the target: database, schema, and the limits for snapshots.

use std::fmt;
use std::str::FromStr;

pub use super::rejects::BadRows;
use crate::per_table::PerTable;
use crate::pg::settings as postgres;
use crate::source::Entity;

/// Settings of the target.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub postgres: postgres::Settings,
    /// Schema for all entities; `None` is the feed's own.
    pub schema: Option<String>,
    /// Maximum share of a table that a snapshot may remove before it is held.
    pub max_remove: Share,
    /// Treatment of rows that cannot be loaded.
    pub bad_rows: BadRows,
    /// The column whose highest value is a delivery's `max_event_id`.
    pub event_id: String,
    /// `true` if the embedded migrations are applied at start.
    pub migrate: bool,
    /// Number of days for which published messages are kept.
    pub keep_messages_days: u32,
    /// `true` if FEED says how null is written, so that no evidence decides it.
    pub nulls_given: bool,
    /// `true` for tables to which only the loader writes.
    pub sole_writer: PerTable<bool>,
}

impl Settings {
    /// Returns `true` if only the loader writes to the entity's table.
    pub fn is_sole_writer(&self, entity: &Entity) -> bool {
        *self.sole_writer.of(&entity.schema, &entity.name)
    }
}

/// Share or number of a table's or a file's rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Share {
    /// Percentage from 0 to 100.
    Percent(f64),
    Rows(u64),
}

impl Share {
    /// Returns `true` if the share is less than `part` of `whole`.
    pub fn is_less_than(self, part: u64, whole: u64) -> bool {
        match self {
            Self::Percent(percent) => part as f64 > whole as f64 * percent / 100.0,
            Self::Rows(most) => part > most,
        }
    }
}

/// Formats the share as in a setting.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Rows(rows) => write!(f, "{rows}"),
        }
    }
}

/// Error for a text that is neither a share nor a number of rows.
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
