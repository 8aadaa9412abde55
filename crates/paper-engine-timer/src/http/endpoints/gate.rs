//! Counts what is under way at one server or endpoint, and says if one more request can start.

use std::time::{Duration, Instant};

use super::breaker::{Breaker, Verdict};

/// What a gate lets through at once and in a second. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    pub concurrency: Option<usize>,
    pub rate: Option<f64>,
}

/// The requests of one server or endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gate {
    in_flight: usize,
    breaker: Breaker,
    /// the earliest time at which the rate lets the next request start
    next_start: Option<Instant>,
}

impl Gate {
    /// Returns `true` if a request can start at `now`.
    pub fn admits(&self, limits: Limits, now: Instant) -> bool {
        let free = limits.concurrency.is_none_or(|most| self.in_flight < most);
        free && self.breaker.admits(now) && self.next_start.is_none_or(|at| at <= now)
    }

    /// Returns when the gate opens by itself, if time is all that it waits for.
    pub fn opens_at(&self) -> Option<Instant> {
        self.breaker.opens_at().into_iter().chain(self.next_start).max()
    }

    /// Returns `true` while the breaker keeps requests back.
    pub fn is_broken(&self, now: Instant) -> bool {
        !self.breaker.admits(now)
    }

    /// Counts a request that starts.
    pub fn start(&mut self, limits: Limits, now: Instant) {
        self.in_flight += 1;
        self.breaker.start();
        if let Some(rate) = limits.rate {
            // a request that comes late does not lend its time to the next ones, but for a tick of the scheduler
            let from = self.next_start.unwrap_or(now).max(now.checked_sub(SLACK).unwrap_or(now));
            self.next_start = Some(from + Duration::from_secs_f64(1.0 / rate));
        }
    }

    /// Notes what came of a request that was started.
    pub fn finish(&mut self, verdict: Verdict, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.breaker.finish(verdict, now);
    }

    /// Returns `true` if forgetting the gate changes nothing.
    pub fn is_blank(&self, now: Instant) -> bool {
        self.in_flight == 0 && self.breaker.is_clean() && self.next_start.is_none_or(|at| at <= now)
    }

    /// Returns `true` if nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.in_flight == 0
    }
}

/// How much lateness a rate makes up for.
const SLACK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "an Instant can only be had from now()")]
    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn concurrency_is_the_most_that_is_under_way() {
        let (now, limits) = (now(), Limits { concurrency: Some(2), rate: None });
        let mut gate = Gate::default();
        for _ in 0..2 {
            assert!(gate.admits(limits, now));
            gate.start(limits, now);
        }
        assert!(!gate.admits(limits, now));
        gate.finish(Verdict::Unknown, now);
        assert!(gate.admits(limits, now) && !gate.is_blank(now));
        gate.finish(Verdict::Alive, now);
        assert!(gate.is_blank(now));
    }

    #[test]
    fn a_rate_spaces_requests_and_pauses_are_not_saved_up() {
        let (begun, limits) = (now(), Limits { concurrency: None, rate: Some(100.0) });
        let mut gate = Gate::default();
        let mut started = 0;
        for ms in (0..1000).chain(5000..6000) {
            let at = begun + Duration::from_millis(ms);
            while gate.admits(limits, at) {
                gate.start(limits, at);
                gate.finish(Verdict::Alive, at);
                started += 1;
            }
        }
        assert!((199..=206).contains(&started), "{started}");
    }
}
