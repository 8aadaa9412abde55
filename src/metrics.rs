//! All metrics in one struct with its own registry. The doc comment of a field is the metric's help text, and the
//! field's name is the metric's name after `paper_engine_`. The struct is passed as a value, never global.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use time::OffsetDateTime;

/// Makes the struct, its constructor and the registration from one list, so that no metric can be declared
/// and then forgotten.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty $([$($label:literal),+])?;)+) => {
        /// Counters and measurements of this process.
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ $field: $kind,)+
        }

        impl Metrics {
            fn register() -> Self {
                let registry = Registry::new();
                $(let $field: $kind = enrol(
                    &registry,
                    concat!("paper_engine_", stringify!($field)),
                    concat!($($help),+).trim(),
                    &[$($($label),+)?],
                );)+
                Self { registry, $($field),+ }
            }
        }
    };
}

metrics! {
    /// Rows of committed deliveries, by effect.
    rows_total: IntCounterVec["entity", "op"];
    /// Deliveries that got a ledger row, by its status.
    deliveries_total: IntCounterVec["entity", "kind", "status"];
    /// Attempts that failed temporarily and are repeated, by reason.
    retries_total: IntCounterVec["reason"];
    /// Bytes received from the bucket.
    bytes_total: IntCounter;
    /// Seconds that a delivery spent in each stage.
    delivery_seconds: HistogramVec["stage"];
    /// Unix time at which the newest loaded object was last modified.
    newest_loaded_timestamp_seconds: GaugeVec["entity"];
    /// Age of the oldest pending object in seconds, 0 if there is none. Objects behind a stop or without a table do
    /// not count.
    oldest_pending_age_seconds: GaugeVec["entity"];
    /// Objects that are listed and not loaded yet. Objects behind a stop do not count, those without a table do.
    pending_objects: IntGauge;
    /// Tables that need attention, by the status of the delivery that stops them.
    stopped_tables: IntGaugeVec["status"];
    /// Messages that wait to be published.
    outbox_messages: IntGauge;
    /// Unix time at which the last iteration ended well.
    last_success_timestamp_seconds: Gauge;
    /// Exit code of the last one-shot run; of a service, the code that its last iteration would have given.
    last_exit_code: IntGauge;
    /// Tables of the feed that have no table in the target.
    unmapped_tables: IntGauge;
    /// Constant 1; the label is the running version.
    build_info: IntGaugeVec["version"];
}

/// Makes an enum whose variants are the only values of a label.
macro_rules! label {
    ($(#[doc = $about:literal])+ $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($variant),+ }

        impl $name {
            /// Every value there is.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the label's value.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

label! {
    /// Effect on a row.
    RowOp { Create = "create", Amend = "amend", Remove = "remove", Unchanged = "unchanged", Rejected = "rejected" }
}

label! {
    /// Reason of a temporary failure: the bucket, the target (with several kinds), or the disk of temporary files.
    Reason {
        Source = "source", Target = "target", Deadlock = "deadlock", Serialization = "serialization", Lock = "lock",
        Full = "full", Spool = "spool",
    }
}

label! {
    /// A part of a delivery's way: lease and ledger, reading and applying, commit, publishing, all of it.
    Stage { Begin = "begin", Apply = "apply", Seal = "seal", Announce = "announce", Total = "total" }
}

impl Metrics {
    /// Creates the metrics, all zero. `version` is the label of `build_info`.
    pub fn new(version: &str) -> Self {
        let metrics = Self::register();
        metrics.build_info.with_label_values(&[version]).set(1);
        for stage in Stage::ALL {
            metrics.delivery_seconds.with_label_values(&[stage.as_str()]);
        }
        for reason in Reason::ALL {
            metrics.retries_total.with_label_values(&[reason.as_str()]);
        }
        for status in ["failed", "held", "late", "emptied", "changed", "moved", "misread"] {
            metrics.stopped_tables(status, 0);
        }
        enter(&metrics.registry, ProcessCollector::for_self());
        metrics
    }

    /// Counts `n` rows of `entity` that were committed as `op`.
    pub fn rows(&self, entity: &str, op: RowOp, n: u64) {
        self.rows_total.with_label_values(&[entity, op.as_str()]).inc_by(n);
    }

    /// Counts a delivery of `entity` that got its ledger row.
    pub fn delivery(&self, entity: &str, kind: &'static str, status: &'static str) {
        let labels = [entity, kind, status];
        self.deliveries_total.with_label_values(&labels).inc();
    }

    /// Counts a temporary failure.
    pub fn retry(&self, reason: Reason) {
        self.retries_total.with_label_values(&[reason.as_str()]).inc();
    }

    /// Counts `n` bytes from the bucket.
    pub fn bytes(&self, n: u64) {
        self.bytes_total.inc_by(n);
    }

    /// Measures the time that a delivery spent in `stage`.
    pub fn stage(&self, stage: Stage, took: Duration) {
        let seconds = took.as_secs_f64();
        self.delivery_seconds.with_label_values(&[stage.as_str()]).observe(seconds);
    }

    /// Records the modification time of a loaded object of `entity`. Older objects do not lower the gauge.
    pub fn newest_loaded(&self, entity: &str, modified: OffsetDateTime) {
        let newest = self.newest_loaded_timestamp_seconds.with_label_values(&[entity]);
        newest.set(newest.get().max(unix(modified)));
    }

    /// Sets the number of pending objects, and for each entity the age of its oldest. Other entities have none.
    pub fn pending(&self, objects: u64, oldest: &BTreeMap<String, Duration>) {
        self.pending_objects.set(whole(objects));
        for entity in known_entities(&self.oldest_pending_age_seconds) {
            if !oldest.contains_key(&entity) {
                self.oldest_pending_age_seconds.with_label_values(&[&entity]).set(0.0);
            }
        }
        for (entity, age) in oldest {
            self.oldest_pending_age_seconds.with_label_values(&[entity]).set(age.as_secs_f64());
        }
    }

    /// Sets the number of tables that are stopped by a delivery of this status.
    pub fn stopped_tables(&self, status: &'static str, n: u64) {
        self.stopped_tables.with_label_values(&[status]).set(whole(n));
    }

    /// Sets the number of messages that wait to be published.
    pub fn outbox(&self, n: u64) {
        self.outbox_messages.set(whole(n));
    }

    /// Records that an iteration ended well.
    pub fn success(&self, at: OffsetDateTime) {
        self.last_success_timestamp_seconds.set(unix(at));
    }

    /// Records the exit code of a one-shot run, or of an iteration of a service.
    pub fn ended(&self, code: u8) {
        self.last_exit_code.set(i64::from(code));
    }

    /// Takes from an earlier run's text what this one cannot know: when something last ended well. An alarm must not
    /// take a run that failed for one after which nothing ever succeeded.
    pub fn recall(&self, text: &str) {
        let name = format!("{LAST_SUCCESS} ");
        let found = text.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse::<f64>().ok());
        if let Some(at) = found.filter(|at| at.is_finite()) {
            self.last_success_timestamp_seconds.set(at.max(self.last_success_timestamp_seconds.get()));
        }
    }

    /// Sets the number of tables of the feed that have no table in the target.
    pub fn unmapped(&self, n: u64) {
        self.unmapped_tables.set(whole(n));
    }

    /// Returns all metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        let families = self.registry.gather();
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }

    /// Returns the metrics without those of the process, which has ended when the file is read. Node-exporter has
    /// `process_…` metrics of its own and refuses duplicates.
    pub fn render_what_stays(&self) -> String {
        let mut families = self.registry.gather();
        families.retain(|family| family.name().starts_with("paper_engine_"));
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }
}

const LAST_SUCCESS: &str = "paper_engine_last_success_timestamp_seconds";

/// The kinds of metric that the list uses, each made and registered in the same way.
trait Kind: Collector + Clone + 'static {
    fn make(opts: Opts, labels: &[&str]) -> prometheus::Result<Self>;
}

macro_rules! kinds {
    ($($plain:ty),+; $($labelled:ty),+) => {
        $(impl Kind for $plain {
            fn make(opts: Opts, _labels: &[&str]) -> prometheus::Result<Self> {
                <$plain>::with_opts(opts)
            }
        })+
        $(impl Kind for $labelled {
            fn make(opts: Opts, labels: &[&str]) -> prometheus::Result<Self> {
                <$labelled>::new(opts, labels)
            }
        })+
    };
}

kinds!(IntCounter, IntGauge, Gauge; IntCounterVec, IntGaugeVec, GaugeVec);

/// Upper bounds in seconds: an empty change file takes milliseconds, a first full load most of an hour.
const BUCKETS: [f64; 12] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0];

impl Kind for HistogramVec {
    fn make(opts: Opts, labels: &[&str]) -> prometheus::Result<Self> {
        let opts = HistogramOpts::from(opts).buckets(BUCKETS.to_vec());
        Self::new(opts, labels)
    }
}

fn enrol<K: Kind>(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> K {
    let metric = K::make(Opts::new(name, help), labels).expect("names and labels of the list are well formed");
    enter(registry, metric.clone());
    metric
}

fn enter(registry: &Registry, metric: impl Collector + 'static) {
    let entered = registry.register(Box::new(metric));
    entered.expect("each metric of the list has its own name");
}

fn known_entities(gauges: &GaugeVec) -> Vec<String> {
    let families = gauges.collect();
    let metrics = families.iter().flat_map(|family| family.get_metric());
    let labels = metrics.flat_map(|metric| metric.get_label());
    labels.map(|label| label.value().to_owned()).collect()
}

fn unix(at: OffsetDateTime) -> f64 {
    let since = at - OffsetDateTime::UNIX_EPOCH;
    since.as_seconds_f64()
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn assert_lines(metrics: &Metrics, lines: &[&str]) {
        let text = metrics.render();
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn fresh_metrics_show_their_closed_labels_help_and_version() {
        assert_lines(
            &Metrics::new("1.2.3"),
            &[
                r#"paper_engine_build_info{version="1.2.3"} 1"#,
                r#"paper_engine_stopped_tables{status="failed"} 0"#,
                r#"paper_engine_stopped_tables{status="held"} 0"#,
                r#"paper_engine_stopped_tables{status="late"} 0"#,
                r#"paper_engine_delivery_seconds_count{stage="announce"} 0"#,
                r#"paper_engine_retries_total{reason="deadlock"} 0"#,
                "paper_engine_outbox_messages 0",
                "paper_engine_last_success_timestamp_seconds 0",
                "# HELP paper_engine_bytes_total Bytes received from the bucket.",
                "# TYPE paper_engine_delivery_seconds histogram",
            ],
        );
    }

    #[test]
    fn the_process_is_measured() {
        let text = Metrics::new("x").render();
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
            assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}\n{text}");
        }
    }

    #[test]
    fn counters_add_up_by_label() {
        let metrics = Metrics::new("x");
        metrics.rows("entity_1", RowOp::Create, 159_967);
        metrics.rows("entity_1", RowOp::Create, 3);
        metrics.rows("entity_1", RowOp::Unchanged, 0);
        metrics.delivery("entity_1", "snapshot", "loaded");
        metrics.delivery("entity_1", "changes", "held");
        metrics.bytes(10);
        metrics.bytes(5);
        assert_lines(
            &metrics,
            &[
                r#"paper_engine_rows_total{entity="entity_1",op="create"} 159970"#,
                r#"paper_engine_rows_total{entity="entity_1",op="unchanged"} 0"#,
                r#"paper_engine_deliveries_total{entity="entity_1",kind="snapshot",status="loaded"} 1"#,
                r#"paper_engine_deliveries_total{entity="entity_1",kind="changes",status="held"} 1"#,
                "paper_engine_bytes_total 15",
            ],
        );
    }

    #[test]
    fn gauges_show_the_last_state() {
        let metrics = Metrics::new("x");
        metrics.stopped_tables("held", 2);
        metrics.stopped_tables("held", 1);
        metrics.outbox(7);
        metrics.unmapped(3);
        metrics.success(datetime!(2022-09-22 09:58:53.5 UTC));
        assert_lines(
            &metrics,
            &[
                r#"paper_engine_stopped_tables{status="held"} 1"#,
                "paper_engine_outbox_messages 7",
                "paper_engine_unmapped_tables 3",
                "paper_engine_last_success_timestamp_seconds 1663840733.5",
            ],
        );
    }

    #[test]
    fn the_newest_loaded_never_goes_back() {
        let metrics = Metrics::new("x");
        metrics.newest_loaded("a", datetime!(2022-09-22 09:58:53 UTC));
        metrics.newest_loaded("a", datetime!(2021-09-22 09:58:53 UTC));
        assert_lines(&metrics, &[r#"paper_engine_newest_loaded_timestamp_seconds{entity="a"} 1663840733"#]);
    }

    #[test]
    fn who_waits_no_more_shows_zero() {
        let metrics = Metrics::new("x");
        let ages = |list: &[(&str, u64)]| {
            let list = list.iter();
            list.map(|(entity, age)| ((*entity).to_owned(), Duration::from_secs(*age))).collect::<BTreeMap<_, _>>()
        };
        metrics.pending(12, &ages(&[("a", 60), ("b", 5)]));
        metrics.pending(1, &ages(&[("b", 35)]));
        assert_lines(
            &metrics,
            &[
                "paper_engine_pending_objects 1",
                r#"paper_engine_oldest_pending_age_seconds{entity="a"} 0"#,
                r#"paper_engine_oldest_pending_age_seconds{entity="b"} 35"#,
            ],
        );
    }

    #[test]
    fn stages_are_measured_in_seconds() {
        let metrics = Metrics::new("x");
        metrics.stage(Stage::Apply, Duration::from_millis(250));
        metrics.stage(Stage::Apply, Duration::from_secs(2));
        assert_lines(
            &metrics,
            &[
                r#"paper_engine_delivery_seconds_bucket{stage="apply",le="0.1"} 0"#,
                r#"paper_engine_delivery_seconds_bucket{stage="apply",le="0.3"} 1"#,
                r#"paper_engine_delivery_seconds_sum{stage="apply"} 2.25"#,
                r#"paper_engine_delivery_seconds_count{stage="apply"} 2"#,
            ],
        );
    }
}
