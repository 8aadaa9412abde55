//! Clock as a value that is passed in instead of reading the system's time, so that tests can stop and advance it;
//! `clippy.toml` bans every other way to read the time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use time::{OffsetDateTime, UtcOffset};

/// The system's clock, or one that stands still until it is advanced. Clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock(Hands);

#[derive(Clone, Debug)]
enum Hands {
    System,
    Fixed { utc: OffsetDateTime, monotonic: Instant, moved: Arc<Mutex<Duration>> },
}

impl Clock {
    /// Returns the clock of this machine.
    pub fn system() -> Self {
        Self(Hands::System)
    }

    /// Returns a clock that shows `utc` until [`Clock::advance`] moves it. For tests.
    #[allow(clippy::disallowed_methods, reason = "an Instant can only be had from now()")]
    pub fn fixed(utc: OffsetDateTime) -> Self {
        Self(Hands::Fixed { utc, monotonic: Instant::now(), moved: Arc::default() })
    }

    /// Returns the time of day in UTC, for people and other programs.
    #[allow(clippy::disallowed_methods, reason = "this is where the time is read")]
    pub fn utc(&self) -> OffsetDateTime {
        match &self.0 {
            Hands::System => OffsetDateTime::now_utc(),
            Hands::Fixed { utc, moved, .. } => *utc + read(moved),
        }
    }

    /// Returns the time of a clock that never jumps, for measuring and waiting.
    #[allow(clippy::disallowed_methods, reason = "this is where the time is read")]
    pub fn monotonic(&self) -> Instant {
        match &self.0 {
            Hands::System => Instant::now(),
            Hands::Fixed { monotonic, moved, .. } => *monotonic + read(moved),
        }
    }

    /// Moves a fixed clock and all its clones on; the system's clock moves by itself.
    pub fn advance(&self, by: Duration) {
        if let Hands::Fixed { moved, .. } = &self.0 {
            *moved.lock().unwrap_or_else(PoisonError::into_inner) += by;
        }
    }
}

fn read(moved: &Mutex<Duration>) -> Duration {
    *moved.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns `2021-12-09T08:31:04.824890`: UTC, always six decimals, no zone, the format of messages.
pub fn stamp(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second, micro) = at.to_hms_micro();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_stamp_has_six_decimals_whatever_the_time() {
        let stamped = |at| stamp(at);
        assert_eq!(stamped(datetime!(2021-12-09 08:31:04.82489 UTC)), "2021-12-09T08:31:04.824890");
        assert_eq!(stamped(datetime!(0999-01-02 03:04:05 UTC)), "0999-01-02T03:04:05.000000");
        assert_eq!(stamped(datetime!(2021-12-09 23:31:04.000001 -2)), "2021-12-10T01:31:04.000001");
    }

    #[test]
    fn a_fixed_clock_stands_still_until_moved_with_its_clones() {
        let clock = Clock::fixed(datetime!(2022-09-22 09:58:53 UTC));
        let other = clock.clone();
        let begun = clock.monotonic();
        assert_eq!(clock.monotonic(), begun);
        other.advance(Duration::from_secs(60));
        assert_eq!(clock.monotonic() - begun, Duration::from_secs(60));
        assert_eq!(clock.utc(), datetime!(2022-09-22 09:59:53 UTC));
    }

    #[test]
    fn the_system_clock_goes_on() {
        let clock = Clock::system();
        let begun = clock.monotonic();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.monotonic() > begun);
        assert!(clock.utc() > datetime!(2025-01-01 00:00 UTC));
    }
}
