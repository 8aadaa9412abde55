//! Health of the loader: which services were reached last. The loader records it, the ops listener reads it, and
//! neither knows the other. A broker that is down is reported but does not make the loader unready, because loading
//! continues without it.

use std::sync::{Arc, Mutex, PoisonError};

/// Services that were last reached, shared by all clones.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Seen>>);

/// A service that the loader needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Source,
    Target,
    /// Publisher; its failure is shown but does not make the loader unready.
    Notifier,
}

/// Answer to the readiness probe, with lines for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Source or target has not been tried yet.
    Starting,
    /// Source and target were reached; the notes list other problems.
    Ready { notes: Vec<String> },
    /// One line for each part that was not reached.
    Unready { lines: Vec<String> },
}

#[derive(Debug, Default)]
struct Seen {
    source: Option<Result<(), String>>,
    target: Option<Result<(), String>>,
    notifier: Option<Result<(), String>>,
}

impl Health {
    /// Records that `part` was reached, or the reason for which it was not. The reason is public: it must not contain
    /// secrets.
    pub fn reached(&self, part: Part, outcome: Result<(), String>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen.slot(part) = Some(outcome);
    }

    /// Returns the last result for one part, or `None` if it was not tried yet.
    pub fn of(&self, part: Part) -> Option<Result<(), String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).slot(part).clone()
    }

    /// Returns the readiness that follows from the last results.
    pub fn readiness(&self) -> Readiness {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let broken = [("source", &seen.source), ("target", &seen.target)];
        let lines: Vec<String> = broken.into_iter().filter_map(complaint).collect();
        let notes: Vec<String> = complaint(("notifier", &seen.notifier)).into_iter().collect();
        if !lines.is_empty() {
            Readiness::Unready { lines: [lines, notes].concat() }
        } else if seen.source.is_none() || seen.target.is_none() {
            Readiness::Starting
        } else {
            Readiness::Ready { notes }
        }
    }
}

impl Seen {
    fn slot(&mut self, part: Part) -> &mut Option<Result<(), String>> {
        match part {
            Part::Source => &mut self.source,
            Part::Target => &mut self.target,
            Part::Notifier => &mut self.notifier,
        }
    }
}

fn complaint((name, seen): (&str, &Option<Result<(), String>>)) -> Option<String> {
    match seen {
        Some(Err(reason)) => Some(format!("{name}: {reason}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> Result<(), String> {
        Err("connection refused".to_owned())
    }

    #[test]
    fn starting_until_source_and_target_were_reached_once() {
        let health = Health::default();
        assert_eq!(health.readiness(), Readiness::Starting);
        health.reached(Part::Source, Ok(()));
        health.reached(Part::Notifier, Ok(()));
        assert_eq!(health.readiness(), Readiness::Starting);
        health.reached(Part::Target, Ok(()));
        assert_eq!(health.readiness(), Readiness::Ready { notes: vec![] });
    }

    #[test]
    fn each_missing_part_has_its_line_until_it_is_back() {
        let health = Health::default();
        health.clone().reached(Part::Source, down());
        health.reached(Part::Target, down());
        let lines = vec!["source: connection refused".to_owned(), "target: connection refused".to_owned()];
        assert_eq!(health.readiness(), Readiness::Unready { lines });
        health.reached(Part::Source, Ok(()));
        health.reached(Part::Target, Ok(()));
        assert_eq!(health.readiness(), Readiness::Ready { notes: vec![] });
    }

    #[test]
    fn a_missing_broker_is_only_a_note() {
        let health = Health::default();
        health.reached(Part::Source, Ok(()));
        health.reached(Part::Target, Ok(()));
        health.reached(Part::Notifier, down());
        let notes = vec!["notifier: connection refused".to_owned()];
        assert_eq!(health.readiness(), Readiness::Ready { notes });
    }
}
