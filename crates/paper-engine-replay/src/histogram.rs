//! Counts durations so that percentiles can be told: to about three per cent of the value, in little memory.

use std::sync::atomic::{AtomicU64, Ordering};

/// Steps per doubling.
const STEPS: u32 = 32;
const STEP_BITS: u32 = 5;
const BUCKETS: usize = (64 * STEPS) as usize;

/// A histogram of nanoseconds that many may add to at once.
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    count: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Self { buckets, count: AtomicU64::new(0), max: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts a duration.
    pub fn add(&self, nanos: u64) {
        self.buckets[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.max.fetch_max(nanos, Ordering::Relaxed);
    }

    /// Returns how many durations were counted.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns the longest duration.
    pub fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// Returns the duration that so many of a thousand do not exceed; 0 if there is none.
    pub fn per_mille(&self, share: u64) -> u64 {
        let count = self.count();
        let rank = (count * share).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (bucket, number) in self.buckets.iter().enumerate() {
            seen += number.load(Ordering::Relaxed);
            if seen >= rank {
                return upper_end(bucket).min(self.max());
            }
        }
        self.max()
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < u64::from(STEPS) {
        return usize::try_from(nanos).unwrap_or(0);
    }
    let doubling = 63 - nanos.leading_zeros();
    let step = (nanos >> (doubling - STEP_BITS)) & u64::from(STEPS - 1);
    usize::try_from(u64::from((doubling - STEP_BITS + 1) * STEPS) + step).unwrap_or(BUCKETS - 1)
}

/// Returns the largest value of a bucket.
fn upper_end(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(0);
    let (doubling, step) = (bucket / u64::from(STEPS), bucket % u64::from(STEPS));
    if doubling == 0 {
        return step;
    }
    (((u64::from(STEPS) + step + 1) as u128) << (doubling - 1)).saturating_sub(1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_near_the_truth() {
        let histogram = Histogram::default();
        for nanos in 1..=100_000 {
            histogram.add(nanos);
        }
        for (share, truth) in [(500, 50_000_u64), (990, 99_000), (999, 99_900), (1_000, 100_000)] {
            let said = histogram.per_mille(share);
            assert!(said >= truth && said <= truth * 104 / 100, "{share}: {said}");
        }
        assert_eq!(Histogram::default().per_mille(500), 0);
    }

    #[test]
    fn every_value_is_in_the_bucket_that_ends_at_or_above_it() {
        for nanos in (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1, (1 << bit) + 1]) {
            let end = upper_end(bucket(nanos));
            assert!(end >= nanos && (end - nanos) <= nanos / 16 + 1, "{nanos} {end}");
        }
    }
}
