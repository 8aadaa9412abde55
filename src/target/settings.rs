//! What the Target is told: which database, which schema, and how far a snapshot may go.

use std::str::FromStr;

use crate::pg::settings as postgres;

/// Everything the Target needs to know beforehand.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub postgres: postgres::Settings,
    /// All entities go into this schema; `None` = the feed's own.
    pub schema: Option<String>,
    /// How much a snapshot may remove before it is held.
    pub max_remove: MaxRemove,
    /// The column whose highest value is a delivery's `max_event_id`.
    pub event_id: String,
    /// Whether to apply the embedded migrations at start.
    pub migrate: bool,
    /// How long published messages are kept.
    pub keep_messages_days: u32,
}

/// The most that a snapshot may remove of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxRemove {
    /// Of the table's rows, from 0 to 100.
    Percent(f64),
    Rows(u64),
}

/// It is neither a share nor a number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither a percentage from 0% to 100% nor a whole number of rows")]
pub struct NotAShare;

impl FromStr for MaxRemove {
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
        assert_eq!("50%".parse(), Ok(MaxRemove::Percent(50.0)));
        assert_eq!(" 0.5 % ".parse(), Ok(MaxRemove::Percent(0.5)));
        assert_eq!("1000".parse(), Ok(MaxRemove::Rows(1000)));
        assert_eq!("0".parse(), Ok(MaxRemove::Rows(0)));
    }

    #[test]
    fn nothing_else() {
        for text in ["", "%", "half", "-1", "-1%", "101%", "NaN%", "inf%", "1.5", "1e3"] {
            assert_eq!(text.parse::<MaxRemove>(), Err(NotAShare), "{text}");
        }
    }
}
