//! The clock of a replay: one pair of anchors (source time, monotonic time) and a rate. Pause, resume, seek and a change of
//! rate set the anchors anew; between them nothing is summed up, so nothing drifts.

use crate::timestamp::Micros;

/// Nanoseconds of the monotonic clock.
pub type Nanos = u64;

/// Maps source times to monotonic times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplayClock {
    source: Micros,
    monotonic: Nanos,
    rate: f64,
    paused: bool,
}

/// Nanoseconds per microsecond.
const NANOS: f64 = 1_000.0;

impl ReplayClock {
    /// Starts a clock that shows `source` at `monotonic` and runs `rate` times as fast as time.
    pub fn start(source: Micros, monotonic: Nanos, rate: f64) -> Self {
        Self { source, monotonic, rate, paused: false }
    }

    /// Returns the source time at a monotonic time.
    pub fn source_at(&self, now: Nanos) -> Micros {
        if self.paused {
            return self.source;
        }
        let passed = nanos_between(self.monotonic, now) * self.rate / NANOS;
        self.source.saturating_add(passed.floor() as i64)
    }

    /// Returns when a source time comes, or `None` while the clock is paused before it.
    pub fn due(&self, source: Micros) -> Option<Nanos> {
        let ahead = source.saturating_sub(self.source);
        if self.paused && ahead > 0 {
            return None;
        }
        let nanos = ahead as f64 * NANOS / self.rate;
        Some(if nanos >= 0.0 {
            self.monotonic.saturating_add(nanos.ceil() as u64)
        } else {
            self.monotonic.saturating_sub((-nanos).floor() as u64)
        })
    }

    /// Returns how many source seconds pass in a second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Returns `true` while the clock stands.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Stops the clock where it is.
    pub fn pause(&mut self, now: Nanos) {
        self.anchor(now);
        self.paused = true;
    }

    /// Lets the clock go on from where it was stopped.
    pub fn resume(&mut self, now: Nanos) {
        self.anchor(now);
        self.paused = false;
    }

    /// Changes the rate from now on.
    pub fn set_rate(&mut self, rate: f64, now: Nanos) {
        self.anchor(now);
        self.rate = rate;
    }

    /// Sets the clock to a source time at a monotonic time.
    pub fn seek(&mut self, source: Micros, now: Nanos) {
        self.source = source;
        self.monotonic = now;
    }

    fn anchor(&mut self, now: Nanos) {
        self.source = self.source_at(now);
        self.monotonic = now;
    }
}

/// Returns the signed distance; the clock may be anchored ahead of now.
fn nanos_between(from: Nanos, to: Nanos) -> f64 {
    if to >= from { (to - from) as f64 } else { -((from - to) as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn rates_map_source_seconds_to_seconds() {
        for (rate, n_th) in [(0.5, 2 * SECOND), (1.0, SECOND), (2.0, SECOND / 2), (8.0, SECOND / 8)] {
            let clock = ReplayClock::start(0, 5, rate);
            assert_eq!(clock.due(1_000_000), Some(5 + n_th), "{rate}");
        }
    }

    #[test]
    fn a_pause_takes_no_source_time() {
        let mut clock = ReplayClock::start(0, 0, 1.0);
        clock.pause(SECOND);
        assert_eq!(clock.source_at(9 * SECOND), 1_000_000);
        assert_eq!(clock.due(2_000_000), None);
        assert_eq!(clock.due(1_000_000), Some(SECOND), "what was due before the pause is due");
        clock.resume(10 * SECOND);
        assert_eq!(clock.due(2_000_000), Some(11 * SECOND));
    }

    #[derive(Clone, Debug)]
    enum Act {
        Pause,
        Resume,
        Rate(f64),
        Seek(i64),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            Just(Act::Pause),
            Just(Act::Resume),
            prop_oneof![Just(0.5), Just(1.0), Just(2.0), Just(8.0), Just(3600.0)].prop_map(Act::Rate),
            (-1_000_000_000_i64..1_000_000_000).prop_map(Act::Seek),
        ]
    }

    proptest! {
        /// Whatever happens to the clock, source time is continuous but for seeks, never runs backwards, and `due` is the
        /// inverse of `source_at`.
        #[test]
        fn acts_leave_the_clock_continuous(acts in proptest::collection::vec((1_u64..100_000, act()), 0..20)) {
            let (mut clock, mut now) = (ReplayClock::start(0, 0, 1.0), 0);
            for (wait, act) in acts {
                now += wait * 1_000_000;
                let before = clock.source_at(now);
                match act {
                    Act::Pause => clock.pause(now),
                    Act::Resume => clock.resume(now),
                    Act::Rate(rate) => clock.set_rate(rate, now),
                    Act::Seek(to) => clock.seek(to, now),
                }
                match act {
                    Act::Seek(to) => prop_assert_eq!(clock.source_at(now), to),
                    _ => prop_assert_eq!(clock.source_at(now), before),
                }
                let later = now + 1_000_000;
                prop_assert!(clock.source_at(later) >= clock.source_at(now));
                let ahead = clock.source_at(now) + 12_345_678;
                if let Some(due) = clock.due(ahead) {
                    prop_assert!((clock.source_at(due) - ahead).abs() <= 4, "{} {}", clock.source_at(due), ahead);
                } else {
                    prop_assert!(clock.is_paused());
                }
            }
        }
    }
}
