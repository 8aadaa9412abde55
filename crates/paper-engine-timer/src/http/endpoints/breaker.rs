//! Leaves a failing server alone for a while: after some failures in a row nothing is sent, then one probe at a time, until one
//! succeeds.

use std::time::{Duration, Instant};

/// So many failures in a row open a breaker.
pub const FAILURES_TO_OPEN: u32 = 5;
/// How long a breaker is open the first time. It doubles with each failed probe.
pub const OPEN_FIRST: Duration = Duration::from_secs(2);
/// The longest time that a breaker is open.
pub const OPEN_MAX: Duration = Duration::from_secs(60);

/// The state of one server or endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    failures: u32,
    /// how often it has opened since the last success
    opened: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    /// Nothing is sent before this instant; then one probe.
    Open(Instant),
    /// The probe is under way.
    Probing,
}

/// What an attempt says about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Alive,
    Failing,
    /// The request was not sent, or was given up by this program.
    Unknown,
}

impl Breaker {
    /// Returns `true` if a request can start at `now`.
    pub fn admits(&self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open(until) => until <= now,
            State::Probing => false,
        }
    }

    /// Returns when the breaker lets a probe through, if it is open.
    pub fn opens_at(&self) -> Option<Instant> {
        match self.state {
            State::Open(until) => Some(until),
            State::Closed | State::Probing => None,
        }
    }

    /// Returns `true` if nothing is known against the server.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// Notes that a request starts; an open breaker waits for this one.
    pub fn start(&mut self) {
        if matches!(self.state, State::Open(_)) {
            self.state = State::Probing;
        }
    }

    /// Notes what came of a request that was started.
    pub fn finish(&mut self, verdict: Verdict, now: Instant) {
        match (verdict, self.state) {
            (Verdict::Alive, _) => *self = Self::default(),
            (Verdict::Failing, State::Closed) if self.failures + 1 < FAILURES_TO_OPEN => self.failures += 1,
            (Verdict::Failing, State::Closed | State::Probing) => self.open(now),
            // the probe said nothing: the next one may start at once
            (Verdict::Unknown, State::Probing) => self.state = State::Open(now),
            // requests that had begun before it opened change nothing
            (Verdict::Failing, State::Open(_)) | (Verdict::Unknown, _) => {}
        }
    }

    fn open(&mut self, now: Instant) {
        let wait = OPEN_FIRST.saturating_mul(1 << self.opened.min(16)).min(OPEN_MAX);
        (self.state, self.failures, self.opened) = (State::Open(now + wait), FAILURES_TO_OPEN, self.opened + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "an Instant can only be had from now()")]
    fn now() -> Instant {
        Instant::now()
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES_TO_OPEN {
            assert!(breaker.admits(now));
            breaker.start();
            breaker.finish(Verdict::Failing, now);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_does_not() {
        let now = now();
        let mut breaker = Breaker::default();
        for verdict in [Verdict::Failing; 4].into_iter().chain([Verdict::Alive]).chain([Verdict::Failing; 4]) {
            breaker.finish(verdict, now);
        }
        assert!(breaker.admits(now));
        breaker.finish(Verdict::Unknown, now);
        assert!(breaker.admits(now));
        breaker.finish(Verdict::Failing, now);
        assert!(!breaker.admits(now));
    }

    #[test]
    fn one_probe_is_let_through_and_its_success_closes() {
        let now = now();
        let mut breaker = opened(now);
        let until = breaker.opens_at().expect("open");
        assert!(!breaker.admits(until - Duration::from_millis(1)) && breaker.admits(until));
        breaker.start();
        assert!(!breaker.admits(until + OPEN_MAX), "a second probe beside the first");
        breaker.finish(Verdict::Alive, until);
        assert!(breaker.is_clean() && breaker.admits(until));
    }

    #[test]
    fn each_failed_probe_doubles_the_wait_up_to_the_most() {
        let mut at = now();
        let mut breaker = opened(at);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let until = breaker.opens_at().expect("open");
            waits.push((until - at).as_secs());
            at = until;
            breaker.start();
            breaker.finish(Verdict::Failing, at);
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_probe_that_says_nothing_gives_its_place_to_the_next() {
        let now = now();
        let mut breaker = opened(now);
        let until = breaker.opens_at().expect("open");
        breaker.start();
        breaker.finish(Verdict::Unknown, until);
        assert!(breaker.admits(until));
        breaker.start();
        assert!(!breaker.admits(until));
    }

    #[test]
    fn requests_from_before_it_opened_do_not_prolong_it() {
        let now = now();
        let mut breaker = opened(now);
        let until = breaker.opens_at();
        breaker.finish(Verdict::Failing, now + Duration::from_secs(1));
        assert_eq!(breaker.opens_at(), until);
    }
}
