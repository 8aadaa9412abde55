//! Says at the end what a replay came to: lines for a person, one line of JSON for a program.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use crate::config::duration;
use crate::histogram::Histogram;
use crate::lane::Tally;
use crate::queue::Queue;

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lateness {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Lateness {
    /// Reads the percentiles of a histogram.
    pub fn of(histogram: &Histogram) -> Self {
        let millis = |nanos: u64| (nanos as f64 / 1_000.0).round() / 1_000.0;
        Self {
            p50: millis(histogram.per_mille(500)),
            p99: millis(histogram.per_mille(990)),
            p999: millis(histogram.per_mille(999)),
            max: millis(histogram.max()),
        }
    }
}

/// What a replay came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub program: &'static str,
    pub version: &'static str,
    /// `complete`, `stopped` or `failed`.
    pub end: &'static str,
    pub error: Option<String>,
    pub source: String,
    pub tables: Vec<String>,
    pub run: String,
    pub rows: u64,
    pub passes: u64,
    pub windows: u64,
    pub empty_windows: u64,
    pub seconds: f64,
    /// Source seconds per second, over the whole run.
    pub effective_rate: f64,
    pub release_late_ms: Lateness,
    pub destinations: BTreeMap<String, Part>,
}

/// What became of one destination.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    pub delivered: u64,
    pub rejected: u64,
    pub skipped: u64,
    pub undelivered: u64,
    pub bytes: u64,
    pub retries: u64,
    pub late_ms: Lateness,
    pub queue_rows_max: usize,
    pub queue_bytes_max: u64,
}

impl Part {
    /// Reads what a destination's lane and queue have counted.
    pub fn of(tally: &Arc<Tally>, queue: &Arc<Queue>) -> Self {
        let marks = queue.marks();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            delivered: count(&tally.delivered),
            rejected: count(&tally.rejected),
            skipped: marks.skipped,
            undelivered: marks.rows as u64,
            bytes: count(&tally.bytes),
            retries: count(&tally.retries),
            late_ms: Lateness::of(&tally.late),
            queue_rows_max: marks.rows_max,
            queue_bytes_max: marks.bytes_max,
        }
    }
}

impl Report {
    /// Writes the lines for a person into the log.
    pub fn log(&self) {
        let Lateness { p50, p99, p999, max } = self.release_late_ms;
        tracing::info!(
            "{}: {} rows in {:.1} s, {} windows ({} empty), {:.2} source seconds per second. \
             Released p50 {p50} ms, p99 {p99} ms, p99.9 {p999} ms, at most {max} ms late.",
            self.end,
            self.rows,
            self.seconds,
            self.windows,
            self.empty_windows,
            self.effective_rate,
        );
        for (name, part) in &self.destinations {
            let Lateness { p50, p99, max, .. } = part.late_ms;
            tracing::info!(
                "{name}: {} delivered, {} rejected, {} skipped, {} undelivered; acknowledged p50 {p50} ms, p99 {p99} ms, at most \
                 {max} ms after it was due; its queue held up to {} rows.",
                part.delivered,
                part.rejected,
                part.skipped,
                part.undelivered,
                part.queue_rows_max,
            );
        }
    }
}

/// The lateness that a replay may have: `50ms@p99`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxLateness {
    pub most: Duration,
    per_mille: u64,
}

impl FromStr for MaxLateness {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (most, share) = text.split_once('@').unwrap_or((text, "p99"));
        let per_mille = match share {
            "p50" => 500,
            "p99" => 990,
            "p99.9" => 999,
            "max" => 1_000,
            _ => return Err("ends in none of @p50, @p99, @p99.9 and @max".to_owned()),
        };
        Ok(Self { most: duration::parse(most)?, per_mille })
    }
}

impl MaxLateness {
    /// Returns `true` if a replay was not later than that.
    pub fn is_met(self, late: &Histogram) -> bool {
        let seen = if self.per_mille == 1_000 { late.max() } else { late.per_mille(self.per_mille) };
        u128::from(seen) <= self.most.as_nanos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_on_a_percentile() {
        let late = Histogram::default();
        (0..999).for_each(|_| late.add(1_000_000));
        late.add(80_000_000);
        let met = |text: &str| text.parse::<MaxLateness>().expect(text).is_met(&late);
        assert!(met("50ms@p99") && met("50ms") && !met("50ms@max") && !met("500us@p50"));
        assert!("50ms@p98".parse::<MaxLateness>().is_err() && "fast".parse::<MaxLateness>().is_err());
    }
}
