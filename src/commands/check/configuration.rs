//! The environment: every fault of it, and the settings that are right in spite of the others.

use std::net::SocketAddr;

use super::report::{Part, Report};
use crate::config::{Config, Overrides};
use crate::loader::service::End;
use crate::per_table::Pattern;
use crate::{load, notifier, source};

/// Settings without errors, which can be checked further.
pub(super) struct Settings {
    pub source: Option<source::settings::Settings>,
    pub target: Option<load::settings::Settings>,
    /// The inner value is `None` if notifications are off.
    pub notifier: Option<Option<notifier::settings::Settings>>,
    /// The patterns of TABLES.
    pub patterns: Vec<Pattern>,
}

pub(super) fn check(report: &mut Report) -> Settings {
    match Config::from_env(Overrides::default()) {
        Ok(config) => {
            report.ok(Part::Configuration, "", format!("no fault; {}", way(&config)));
            let listens = config.listen().map_or("served nowhere".to_owned(), reach);
            report.ok(Part::Configuration, "METRICS", listens);
            let Config { source, target, notifier, tables, .. } = config;
            let patterns = tables.patterns;
            Settings { source: Some(source), target: Some(target), notifier: Some(notifier), patterns }
        }
        Err(faults) => {
            for fault in &faults.0 {
                let (found, hint) = fault.message.split_once(". ").unwrap_or((&fault.message, "Mend this variable"));
                report.fail(Part::Configuration, fault.variable, found, hint, End::Misconfigured);
            }
            Settings {
                source: Config::source_from_env().ok(),
                target: Config::target_from_env().ok(),
                notifier: Config::notifier_from_env().ok(),
                patterns: Vec::new(),
            }
        }
    }
}

/// Describes what a start without flags would do.
fn way(config: &Config) -> String {
    let (least, most) = config.sleep;
    match (config.dry_run, config.run_as_service) {
        (true, _) => "a start is a dry run".to_owned(),
        (_, false) => "a start loads once and ends".to_owned(),
        _ => format!("a start is a service that sleeps {} to {} s", least.as_secs_f64(), most.as_secs_f64()),
    }
}

/// Describes who can reach the status page, metrics and health.
fn reach(address: SocketAddr) -> String {
    let who = if address.ip().is_loopback() { "this machine only" } else { "whoever reaches this machine" };
    format!("page, metrics and health at http://{address}, to {who}")
}

#[cfg(test)]
mod tests {
    use super::reach;

    #[test]
    fn who_reads_the_metrics_is_said() {
        let reach = |address: &str| reach(address.parse().expect(address));
        assert_eq!(reach("127.0.0.1:9464"), "page, metrics and health at http://127.0.0.1:9464, to this machine only");
        assert_eq!(reach("[::1]:1"), "page, metrics and health at http://[::1]:1, to this machine only");
        assert_eq!(
            reach("0.0.0.0:9464"),
            "page, metrics and health at http://0.0.0.0:9464, to whoever reaches this machine"
        );
    }
}
