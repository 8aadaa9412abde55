//! Computes the source time at which a row is released, for each pace.

use std::time::Duration;

use crate::timestamp::{self, Micros, SECOND};

/// How rows are released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// The rows of a window `[start, end)` are released together, when the clock comes to the window's start.
    #[default]
    Window,
    /// Each row is released at its own time.
    Event,
    /// Each row is released as soon as it is read.
    Flat,
}

impl std::str::FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "window" => Ok(Self::Window),
            "event" => Ok(Self::Event),
            "flat" => Ok(Self::Flat),
            _ => Err("is none of window, event and flat".to_owned()),
        }
    }
}

/// The windows of a replay: so many source seconds from a base on.
#[derive(Clone, Debug)]
pub struct Schedule {
    pace: Pace,
    window: Duration,
    base: Micros,
    /// Microseconds of source time in a window; not a whole number at odd rates.
    width: f64,
}

impl Schedule {
    /// Begins the first window at `base`. A window lasts `window` at the given rate.
    pub fn new(pace: Pace, window: Duration, base: Micros, rate: f64) -> Self {
        let width = (window.as_secs_f64() * SECOND as f64 * rate).max(1.0);
        Self { pace, window, base, width }
    }

    /// Returns the pace.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Begins windows anew, at another time or with another rate.
    pub fn rebase(&mut self, base: Micros, rate: f64) {
        *self = Self::new(self.pace, self.window, base, rate);
    }

    /// Returns the start of the n-th window. Computed from the base, so that nothing adds up.
    pub fn start_of(&self, window: i64) -> Micros {
        self.base.saturating_add((window as f64 * self.width).floor() as i64)
    }

    /// Returns the number of the window that holds a time.
    pub fn window_of(&self, time: Micros) -> i64 {
        let mut window = ((time.saturating_sub(self.base)) as f64 / self.width).floor() as i64;
        while self.start_of(window) > time {
            window -= 1;
        }
        while self.start_of(window + 1) <= time {
            window += 1;
        }
        window
    }

    /// Returns the source time at which a row of this time is released.
    pub fn release_of(&self, time: Micros) -> Micros {
        match self.pace {
            Pace::Window => self.start_of(self.window_of(time)),
            Pace::Event | Pace::Flat => time,
        }
    }

    /// Returns the name of the group of records that a row belongs to: its window, or its day if there is no pace.
    pub fn group_of(&self, time: Micros) -> String {
        match self.pace {
            Pace::Window | Pace::Event => timestamp::file_name(self.start_of(self.window_of(time))),
            Pace::Flat => timestamp::file_name(time.div_euclid(86_400 * SECOND).saturating_mul(86_400 * SECOND))
                .chars()
                .take(10)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn windows(base: Micros, rate: f64) -> Schedule {
        Schedule::new(Pace::Window, Duration::from_secs(1), base, rate)
    }

    #[test]
    fn a_row_on_a_boundary_belongs_to_the_window_that_begins_there() {
        let schedule = windows(10, 2.0);
        assert_eq!(schedule.release_of(10 + 2 * SECOND - 1), 10);
        assert_eq!(schedule.release_of(10 + 2 * SECOND), 10 + 2 * SECOND);
        assert_eq!(schedule.window_of(9), -1);
    }

    #[test]
    fn groups_are_named_by_window_or_day() {
        assert_eq!(windows(0, 60.0).group_of(61 * SECOND), "1970-01-01T00-01-00.000000");
        let flat = Schedule::new(Pace::Flat, Duration::from_secs(1), 0, 1.0);
        assert_eq!(flat.group_of(86_400 * SECOND + 5), "1970-01-02");
    }

    proptest! {
        #[test]
        fn every_time_is_in_exactly_one_window(base in -1_000_000_i64..1_000_000, rate in 0.001_f64..100_000.0, time in -1_000_000_000_i64..1_000_000_000_000) {
            let schedule = windows(base, rate);
            let window = schedule.window_of(time);
            prop_assert!(schedule.start_of(window) <= time && time < schedule.start_of(window + 1));
        }
    }
}
