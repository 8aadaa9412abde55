//! The guard: a snapshot that would remove too much of a table is held, and nothing is applied.

use super::Error;
use super::settings::Share;

/// What a snapshot may remove.
#[derive(Debug, Clone)]
pub struct Guard {
    pub max_remove: Share,
    /// an operator released the snapshot when it would have removed so many rows: as many it may
    pub released: Option<u64>,
}

/// Below so many removed rows a percentage says nothing.
const FEW: u64 = 100;

impl Guard {
    /// `removes` of the table's `rows` would go; `empty` is a snapshot without a row; `blind` says which of its rows
    /// were rejected although nobody knows their keys.
    pub fn check(&self, removes: u64, rows: u64, empty: bool, blind: Option<&str>) -> Result<(), Error> {
        if let Some(shown) = self.released {
            return if removes <= shown { Ok(()) } else { Err(held(removes, rows, "more than when it was released")) };
        }
        let few = matches!(self.max_remove, Share::Percent(_)) && removes < FEW;
        let too_many = !few && self.max_remove.is_less_than(removes, rows);
        match () {
            () if empty && rows > 0 => Err(held(removes, rows, "the snapshot is empty")),
            () if blind.is_some() && removes > 0 => Err(held(removes, rows, blind.unwrap_or_default())),
            () if too_many => Err(held(removes, rows, "more than MAX_REMOVE")),
            () => Ok(()),
        }
    }
}

fn held(removes: u64, rows: u64, why: &str) -> Error {
    Error::Held { removes, rows, why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(max_remove: Share, released: Option<u64>, removes: u64, rows: u64) -> bool {
        Guard { max_remove, released }.check(removes, rows, false, None).is_ok()
    }

    #[test]
    fn half_a_table_may_go_and_not_more() {
        let half = || Share::Percent(50.0);
        assert!(verdict(half(), None, 500, 1000));
        assert!(!verdict(half(), None, 501, 1000));
        assert!(verdict(half(), None, 99, 99), "few rows");
        assert!(!verdict(half(), None, 100, 100));
        assert!(!verdict(Share::Rows(10), None, 11, 1000));
        assert!(verdict(Share::Rows(10), None, 10, 10));
    }

    #[test]
    fn an_empty_snapshot_is_held_however_few_rows_there_are() {
        let guard = Guard { max_remove: Share::Percent(100.0), released: None };
        assert!(guard.check(3, 3, true, None).is_err());
        assert!(guard.check(0, 0, true, None).is_ok());
    }

    #[test]
    fn rows_whose_key_nobody_can_read_let_nothing_be_removed() {
        let guard = |released| Guard { max_remove: Share::Percent(100.0), released };
        assert!(guard(None).check(0, 9, false, Some("x")).is_ok());
        assert!(guard(None).check(1, 9, false, Some("x")).is_err());
        assert!(guard(Some(1)).check(1, 9, false, Some("x")).is_ok(), "an operator looked at it");
    }

    #[test]
    fn a_release_lets_pass_what_was_shown_and_not_more() {
        let none = || Share::Percent(0.0);
        assert!(verdict(none(), Some(900), 900, 1000));
        assert!(!verdict(none(), Some(900), 901, 1000));
    }
}
