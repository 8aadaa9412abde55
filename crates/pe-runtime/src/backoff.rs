//! Delays between attempts. The limit doubles from a first value to a cap, and each delay is drawn at random below
//! the limit ("full jitter"), so that many loaders that lost the same server do not return in step.

use std::time::Duration;

/// The waits between tries at one thing. [`Backoff::reset`] once it worked.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Waits of up to `first`, then up to twice that, and so on, never more than `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        let ceiling = first.min(cap);
        Self { first, cap, ceiling }
    }

    /// Returns the next delay: a random time up to the present limit, which then doubles.
    #[allow(clippy::should_implement_trait, reason = "an Iterator would wrap what never ends in an Option")]
    pub fn next(&mut self) -> Duration {
        let wait = self.ceiling.mul_f64(rand::random_range(0.0..=1.0));
        self.ceiling = self.ceiling.saturating_mul(2).min(self.cap);
        wait
    }

    /// Begins again at the first wait.
    pub fn reset(&mut self) {
        self.ceiling = self.first.min(self.cap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Returns the longest delays of many runs at each of the first six attempts.
    fn longest(first: Duration, cap: Duration) -> Vec<Duration> {
        let mut longest = vec![Duration::ZERO; 6];
        for _ in 0..400 {
            let mut backoff = Backoff::new(first, cap);
            for slot in &mut longest {
                *slot = backoff.next().max(*slot);
            }
        }
        longest
    }

    #[test]
    fn ceilings_double_up_to_the_cap() {
        let ceilings = [100, 200, 400, 800, 1000, 1000].map(|ms| MS * ms);
        for (seen, ceiling) in longest(100 * MS, 1000 * MS).iter().zip(ceilings) {
            assert!(*seen <= ceiling, "{seen:?} > {ceiling:?}");
            assert!(*seen > ceiling.mul_f64(0.9), "{seen:?} far below {ceiling:?}");
        }
    }

    #[test]
    fn waits_are_spread_over_the_whole_range() {
        let mut backoff = Backoff::new(1000 * MS, 1000 * MS);
        let waits: Vec<_> = (0..200).map(|_| backoff.next()).collect();
        assert!(waits.iter().any(|wait| *wait < 200 * MS));
        assert!(waits.iter().any(|wait| *wait > 800 * MS));
    }

    #[test]
    fn reset_begins_again_and_nothing_overflows() {
        let mut backoff = Backoff::new(MS, Duration::MAX / 2);
        for _ in 0..200 {
            backoff.next();
        }
        backoff.reset();
        assert!(backoff.next() <= MS);
    }

    #[test]
    fn a_first_wait_above_the_cap_is_cut() {
        assert!(Backoff::new(Duration::from_secs(9), MS).next() <= MS);
    }
}
