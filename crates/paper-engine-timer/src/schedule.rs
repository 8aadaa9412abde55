//! Decides when a failed task is tried again: a list of delays, each spread by a fifth in both directions so that tasks that
//! failed together do not come back together.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::durations;

/// How far a delay is spread.
const SPREAD: f64 = 0.2;

/// The delays after the first, second, … failed attempt. After the last one the task has failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule(Vec<Duration>);

impl Schedule {
    /// Returns the delay after so many failed attempts, or `None` if no further attempt is made.
    pub fn delay(&self, failed: u32) -> Option<Duration> {
        let delay = self.0.get(usize::try_from(failed).ok()?.checked_sub(1)?)?;
        Some(delay.mul_f64(rand::random_range(1.0 - SPREAD..=1.0 + SPREAD)))
    }
}

impl Schedule {
    /// Returns `true` if a failed attempt is never followed by another.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("none") {
            return Ok(Self::default());
        }
        let delays = text.split(',').map(durations::parse).collect::<Result<_, _>>();
        delays.map(Self).map_err(|_| "is no schedule. Write delays like 5s,5m,30m, or none".to_owned())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let delays: Vec<String> = self.0.iter().map(|delay| durations::show(*delay)).collect();
        f.write_str(&delays.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_follow_the_list_and_end_with_it() {
        let schedule: Schedule = "5s,5m".parse().expect("schedule");
        for _ in 0..200 {
            let first = schedule.delay(1).expect("a second attempt").as_secs_f64();
            assert!((4.0..=6.0).contains(&first), "{first}");
        }
        assert!(schedule.delay(2).is_some());
        assert_eq!(schedule.delay(3), None);
        assert_eq!("none".parse::<Schedule>().expect("schedule").delay(1), None);
        assert!("5".parse::<Schedule>().is_err());
    }

    #[test]
    fn a_schedule_is_shown_as_it_was_written() {
        for text in ["none", "5s,5m,30m,2h,5h,10h"] {
            assert_eq!(text.parse::<Schedule>().expect("schedule").to_string(), text);
        }
    }
}
