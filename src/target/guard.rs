//! The guard: a snapshot that would remove too much of a table is held, and nothing is applied.

use super::Error;
use super::settings::MaxRemove;

/// What a snapshot may remove.
#[derive(Debug, Clone)]
pub struct Guard {
    pub max_remove: MaxRemove,
    /// an operator released the snapshot when it would have removed so many rows: as many it may
    pub released: Option<u64>,
}

/// Below so many removed rows a percentage says nothing.
const FEW: u64 = 100;

impl Guard {
    /// `removes` of the table's `rows` would go; `empty` is a snapshot without a row.
    pub fn check(&self, removes: u64, rows: u64, empty: bool) -> Result<(), Error> {
        if let Some(shown) = self.released {
            return if removes <= shown { Ok(()) } else { Err(held(removes, rows, "more than when it was released")) };
        }
        let too_many = match self.max_remove {
            MaxRemove::Percent(percent) => removes >= FEW && removes as f64 > rows as f64 * percent / 100.0,
            MaxRemove::Rows(most) => removes > most,
        };
        match () {
            () if empty && rows > 0 => Err(held(removes, rows, "the snapshot is empty")),
            () if too_many => Err(held(removes, rows, "more than MAX_REMOVE")),
            () => Ok(()),
        }
    }
}

fn held(removes: u64, rows: u64, why: &'static str) -> Error {
    Error::Held { removes, rows, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(max_remove: MaxRemove, released: Option<u64>, removes: u64, rows: u64) -> bool {
        Guard { max_remove, released }.check(removes, rows, false).is_ok()
    }

    #[test]
    fn half_a_table_may_go_and_not_more() {
        let half = || MaxRemove::Percent(50.0);
        assert!(verdict(half(), None, 500, 1000));
        assert!(!verdict(half(), None, 501, 1000));
        assert!(verdict(half(), None, 99, 99), "few rows");
        assert!(!verdict(half(), None, 100, 100));
        assert!(!verdict(MaxRemove::Rows(10), None, 11, 1000));
        assert!(verdict(MaxRemove::Rows(10), None, 10, 10));
    }

    #[test]
    fn an_empty_snapshot_is_held_however_few_rows_there_are() {
        let guard = Guard { max_remove: MaxRemove::Percent(100.0), released: None };
        assert!(guard.check(3, 3, true).is_err());
        assert!(guard.check(0, 0, true).is_ok());
    }

    #[test]
    fn a_release_lets_pass_what_was_shown_and_not_more() {
        let none = || MaxRemove::Percent(0.0);
        assert!(verdict(none(), Some(900), 900, 1000));
        assert!(!verdict(none(), Some(900), 901, 1000));
    }
}
