//! Shows what a replay does, in the form that Prometheus reads.

use std::sync::atomic::Ordering;

use prometheus::{Encoder, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::control::State;
use crate::engine::Handle;
use crate::timekeeper::SystemTime;

const PREFIX: &str = "paper_engine_replay";

/// The metrics of one replay. They are read when somebody asks for them.
pub struct Metrics {
    registry: Registry,
    handle: Handle,
    released: IntCounter,
    windows: IntCounter,
    paused: IntGauge,
    rate: Gauge,
    source_time: Gauge,
    late: GaugeVec,
    records: IntCounterVec,
    queued: GaugeVec,
    destination_late: GaugeVec,
}

impl Metrics {
    /// Registers all metrics of a replay.
    pub fn new(handle: Handle) -> Self {
        let registry = Registry::new();
        let opts = |name: &str, help: &str| Opts::new(format!("{PREFIX}_{name}"), help);
        let info =
            opts("build_info", "1, with the version as label.").const_label("version", env!("CARGO_PKG_VERSION"));
        register(&registry, IntGauge::with_opts(info)).set(1);
        Self {
            released: register(
                &registry,
                IntCounter::with_opts(opts("rows_released_total", "Rows that were released.")),
            ),
            windows: register(
                &registry,
                IntCounter::with_opts(opts("windows_total", "Windows that were released, empty ones too.")),
            ),
            paused: register(&registry, IntGauge::with_opts(opts("paused", "1 while the clock stands."))),
            rate: register(&registry, Gauge::with_opts(opts("rate", "Source seconds per second."))),
            source_time: register(
                &registry,
                Gauge::with_opts(opts("source_time_seconds", "What the replay's clock shows.")),
            ),
            late: register(
                &registry,
                GaugeVec::new(opts("release_late_seconds", "How late rows were released, by quantile."), &["quantile"]),
            ),
            records: register(
                &registry,
                IntCounterVec::new(
                    opts("records_total", "Records by what became of them."),
                    &["destination", "outcome"],
                ),
            ),
            queued: register(&registry, GaugeVec::new(opts("queued_rows", "Rows that wait."), &["destination"])),
            destination_late: register(
                &registry,
                GaugeVec::new(
                    opts(
                        "acknowledged_late_seconds",
                        "How long after they were due rows were acknowledged, by quantile.",
                    ),
                    &["destination", "quantile"],
                ),
            ),
            registry,
            handle,
        }
    }

    /// Returns all metrics as text.
    pub fn text(&self) -> String {
        self.read();
        let mut bytes = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut bytes);
        encoded.map_or_else(|_| String::new(), |()| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn read(&self) {
        let status = &self.handle.status;
        let raise = |counter: &IntCounter, to: u64| counter.inc_by(to.saturating_sub(counter.get()));
        raise(&self.released, status.released.load(Ordering::Relaxed));
        raise(&self.windows, status.windows.load(Ordering::Relaxed));
        let (state, clock) = status.shown();
        self.paused.set(i64::from(state == State::Paused));
        if let Some(clock) = clock {
            self.rate.set(clock.rate());
            self.source_time.set(clock.source_at(SystemTime::monotonic()) as f64 / 1e6);
        }
        for (quantile, per_mille) in [("0.5", 500), ("0.99", 990), ("0.999", 999)] {
            let seconds = |nanos: u64| nanos as f64 / 1e9;
            self.late.with_label_values(&[quantile]).set(seconds(self.handle.late.per_mille(per_mille)));
            for (name, tally, _) in self.handle.lanes.iter() {
                let late = seconds(tally.late.per_mille(per_mille));
                self.destination_late.with_label_values(&[name.as_str(), quantile]).set(late);
            }
        }
        for (name, tally, queue) in self.handle.lanes.iter() {
            let marks = queue.marks();
            let outcome =
                |outcome: &str, to: u64| raise(&self.records.with_label_values(&[name.as_str(), outcome]), to);
            outcome("delivered", tally.delivered.load(Ordering::Relaxed));
            outcome("rejected", tally.rejected.load(Ordering::Relaxed));
            outcome("skipped", marks.skipped);
            self.queued.with_label_values(&[name.as_str()]).set(marks.rows as f64);
        }
    }
}

fn register<M: prometheus::core::Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<M>) -> M {
    let metric = made.expect("the name and the labels of a metric are constants");
    registry.register(Box::new(metric.clone())).expect("each metric has its own name");
    metric
}
