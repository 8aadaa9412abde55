//! The guard: a snapshot that would remove too much of a table is held, and nothing is applied.

use super::Error;
use super::settings::Share;

/// Limit of the rows that a snapshot may remove.
#[derive(Debug, Clone)]
pub struct Guard {
    pub max_remove: Share,
    /// Number of rows that a released snapshot may remove: as many as it would have removed when it was released.
    pub released: Option<u64>,
}

/// Number of removed rows below which a percentage is not checked.
const FEW: u64 = 100;

impl Guard {
    /// Fails if the snapshot would remove too many of the table's `rows`. `empty` is a snapshot without a row.
    /// `blind` names rejected rows of the snapshot whose keys are unknown.
    pub fn check(&self, removes: u64, rows: u64, empty: bool, blind: Option<&str>) -> Result<(), Error> {
        if let Some(shown) = self.released {
            let more = format!(": more than the {shown} when it was released");
            return if removes <= shown { Ok(()) } else { Err(held(removes, rows, more)) };
        }
        let few = matches!(self.max_remove, Share::Percent(_)) && removes < FEW;
        let too_many = !few && self.max_remove.is_less_than(removes, rows);
        match () {
            () if empty && rows > 0 => Err(held(removes, rows, ": the snapshot is empty")),
            () if blind.is_some() && removes > 0 => {
                Err(held(removes, rows, format!(": {}", blind.unwrap_or_default())))
            }
            () if too_many => {
                let (share, most) = (percent(removes, rows), self.max_remove);
                Err(held(removes, rows, format!(" ({share} %), more than MAX_REMOVE={most}")))
            }
            () => Ok(()),
        }
    }
}

fn held(removes: u64, rows: u64, why: impl Into<String>) -> Error {
    Error::Held { removes, rows, why: why.into() }
}

/// Returns the percentage with one decimal, rounded up, so that it never looks as low as a limit that it exceeds.
fn percent(part: u64, whole: u64) -> String {
    let tenths = (u128::from(part) * 1000).div_ceil(u128::from(whole.max(1)));
    match (tenths / 10, tenths % 10) {
        (percent, 0) => percent.to_string(),
        (percent, tenth) => format!("{percent}.{tenth}"),
    }
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
    fn the_limit_and_what_it_is_held_against_are_told() {
        let words = |max_remove, released, removes, rows| {
            let checked = Guard { max_remove, released }.check(removes, rows, false, None);
            checked.err().map(|error| error.to_string()).unwrap_or_default()
        };
        let half = || Share::Percent(50.0);
        assert_eq!(words(half(), None, 147, 210), "would remove 147 of 210 rows (70 %), more than MAX_REMOVE=50%");
        assert_eq!(
            words(half(), None, 500_001, 1_000_000),
            "would remove 500001 of 1000000 rows (50.1 %), more than MAX_REMOVE=50%"
        );
        assert_eq!(words(Share::Rows(9), None, 10, 90), "would remove 10 of 90 rows (11.2 %), more than MAX_REMOVE=9");
        assert_eq!(words(half(), Some(9), 10, 90), "would remove 10 of 90 rows: more than the 9 when it was released");
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
