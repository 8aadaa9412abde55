//! Counts what the timer does, in the form that Prometheus reads.

use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::task::End;

const PREFIX: &str = "paper_engine_timer";
/// Lateness, from what a person cannot notice to what is an outage.
const LATE_BUCKETS: [f64; 13] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0, 3600.0];
const CALL_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];

/// The metrics of one process.
pub struct Metrics {
    registry: Registry,
    pub claimed: IntCounter,
    pub overdue: IntCounter,
    pub lost_leases: IntCounter,
    pub duplicates: Total,
    pub purged: IntCounter,
    pub in_flight: IntGauge,
    pub claim_seconds: Histogram,
    pub complete_seconds: Histogram,
    late: Histogram,
    ended: IntCounterVec,
    failures: IntCounterVec,
    tasks: IntGaugeVec,
}

/// A counter whose total is counted elsewhere.
pub struct Total(IntCounter);

impl Total {
    /// Raises the counter to a total.
    pub fn reset_to(&self, total: u64) {
        self.0.inc_by(total.saturating_sub(self.0.get()));
    }
}

impl Metrics {
    /// Registers all metrics.
    pub fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| {
            register(&registry, IntCounter::with_opts(Opts::new(format!("{PREFIX}_{name}"), help)))
        };
        let counters = |name: &str, help: &str, label: &str| {
            register(&registry, IntCounterVec::new(Opts::new(format!("{PREFIX}_{name}"), help), &[label]))
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(format!("{PREFIX}_{name}"), help).buckets(buckets.to_vec());
            register(&registry, Histogram::with_opts(options))
        };
        let info = Opts::new(format!("{PREFIX}_build_info"), "1, with the version as label.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        register(&registry, IntGauge::with_opts(info)).set(1);
        Self {
            claimed: counter("claimed_total", "Tasks that this pod has claimed."),
            overdue: counter("overdue_total", "Tasks that were past due when they were claimed."),
            lost_leases: counter(
                "lost_leases_total",
                "Tasks whose lease was lost before they were fired or completed.",
            ),
            duplicates: Total(counter("duplicates_total", "Rows of timers whose id stands there more than once.")),
            purged: counter("purged_total", "Ended tasks that were removed."),
            in_flight: register(
                &registry,
                IntGauge::new(format!("{PREFIX}_in_flight"), "Requests that are under way."),
            ),
            claim_seconds: histogram("claim_seconds", "Duration of claims.", &CALL_BUCKETS),
            complete_seconds: histogram("complete_seconds", "Duration of writing a batch of ends.", &CALL_BUCKETS),
            late: histogram("late_seconds", "How late tasks were fired.", &LATE_BUCKETS),
            ended: counters("attempts_total", "Attempts and refusals by what they came to.", "outcome"),
            failures: counters("failures_total", "Attempts that did not succeed, by reason.", "reason"),
            tasks: register(
                &registry,
                IntGaugeVec::new(Opts::new(format!("{PREFIX}_tasks"), "Open tasks in the database."), &["state"]),
            ),
            registry,
        }
    }

    /// Notes how late a task is fired: after its time in this pod, and already when it was claimed.
    pub fn fired(&self, after: Duration, due_in_micros: i64) {
        let before =
            Duration::from_micros(due_in_micros.checked_neg().and_then(|late| u64::try_from(late).ok()).unwrap_or(0));
        self.late.observe((after + before).as_secs_f64());
    }

    /// Counts how a claimed task ended.
    pub fn ended(&self, end: &End) {
        self.ended.with_label_values(&[end.state()]).inc();
        if let Some(reason) = end.reason() {
            self.failures.with_label_values(&[reason.kind.as_str()]).inc();
        }
    }

    /// Returns how many tasks this pod has brought to an end.
    pub fn ended_as(&self, state: &str) -> u64 {
        self.ended.with_label_values(&[state]).get()
    }

    /// Shows how many tasks are open.
    pub fn count(&self, counts: &[(String, u64)]) {
        self.tasks.reset();
        for (state, number) in counts {
            self.tasks.with_label_values(&[state]).set(i64::try_from(*number).unwrap_or(i64::MAX));
        }
    }

    /// Returns all metrics as text.
    pub fn text(&self) -> String {
        let mut bytes = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut bytes);
        encoded.map_or_else(|_| String::new(), |()| String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn register<M: prometheus::core::Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<M>) -> M {
    let metric = made.expect("the name and the labels of a metric are constants");
    registry.register(Box::new(metric.clone())).expect("each metric has its own name");
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_counts_from_the_due_time() {
        let metrics = Metrics::new();
        metrics.fired(Duration::from_millis(1), -2_000_000);
        metrics.fired(Duration::from_millis(1), 500_000);
        metrics.ended(&End::Done { status: 204 });
        let text = metrics.text();
        assert!(text.contains("paper_engine_timer_late_seconds_sum 2.002"), "{text}");
        assert!(text.contains("paper_engine_timer_attempts_total{outcome=\"done\"} 1"), "{text}");
    }
}
