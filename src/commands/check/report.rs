//! Findings of `check`, one line each. The first failure decides the exit code.

use serde::Serialize;

use super::Trouble;
use crate::loader::service::End;

/// All lines, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub lines: Vec<Line>,
    end: Option<End>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub part: Part,
    pub thing: String,
    pub mark: Mark,
    pub found: String,
    /// Advice about the finding.
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Part {
    Configuration,
    Source,
    Target,
    Broker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mark {
    Ok,
    Warn,
    Fail,
}

/// Complete answer of `check --json`.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    checks: &'a [Line],
    failed: usize,
    warned: usize,
    exit_code: u8,
}

impl Report {
    pub(super) fn ok(&mut self, part: Part, thing: &str, found: impl Into<String>) {
        self.add(Mark::Ok, part, thing, found.into(), None);
    }

    pub(super) fn warn(&mut self, part: Part, thing: &str, found: impl Into<String>, hint: &str) {
        self.add(Mark::Warn, part, thing, found.into(), Some(hint));
    }

    /// Adds a failure; `end` is the result of a run that meets it.
    pub(super) fn fail(&mut self, part: Part, thing: &str, found: impl Into<String>, hint: &str, end: End) {
        self.end.get_or_insert(end);
        self.add(Mark::Fail, part, thing, found.into(), Some(hint));
    }

    /// Adds an error. Its last sentence is the advice, or else `hint`.
    pub(super) fn trouble(&mut self, part: Part, thing: &str, trouble: &Trouble, hint: &str) {
        let (found, hint) = trouble.words.rsplit_once(". ").unwrap_or((&trouble.words, hint));
        self.fail(part, thing, found, hint, trouble.end);
    }

    /// Adds something that could not be checked because something else failed.
    pub(super) fn unknown(&mut self, part: Part, thing: &str, why: &str) {
        self.warn(part, thing, "not looked at", why);
    }

    pub(super) fn count(&self, mark: Mark) -> usize {
        self.lines.iter().filter(|line| line.mark == mark).count()
    }

    pub(super) fn end(&self) -> End {
        self.end.unwrap_or(End::Done)
    }

    pub(super) fn document(&self) -> Document<'_> {
        let (failed, warned) = (self.count(Mark::Fail), self.count(Mark::Warn));
        Document { checks: &self.lines, failed, warned, exit_code: self.end().code() }
    }

    fn add(&mut self, mark: Mark, part: Part, thing: &str, found: String, hint: Option<&str>) {
        let hint = hint.map(|hint| hint.trim_end_matches('.').to_owned());
        let found = found.trim_end_matches('.').to_owned();
        self.lines.push(Line { part, thing: thing.to_owned(), mark, found, hint });
    }
}

impl Part {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Source => "source",
            Self::Target => "target",
            Self::Broker => "broker",
        }
    }
}

impl Mark {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_decides() {
        let mut report = Report::default();
        report.warn(Part::Source, "list", "empty", "wait");
        assert_eq!(report.end(), End::Done);
        report.fail(Part::Source, "get", "no", "do", End::Unreachable);
        report.fail(Part::Target, "connect", "no", "do", End::Misconfigured);
        assert_eq!(report.end(), End::Unreachable);
        assert_eq!((report.count(Mark::Warn), report.count(Mark::Fail)), (1, 2));
    }

    #[test]
    fn an_error_brings_its_own_hint_or_gets_one() {
        let mut report = Report::default();
        let trouble = |words: &str| Trouble { words: words.to_owned(), end: End::Unreachable };
        report.trouble(Part::Source, "list", &trouble("refuses: x. y. Check bucket_name in SOURCE."), "wait");
        report.trouble(Part::Source, "list", &trouble("no answer in 15 s"), "wait.");
        let lines: Vec<_> =
            report.lines.iter().map(|line| (line.found.as_str(), line.hint.as_deref().unwrap_or_default())).collect();
        assert_eq!(lines, [("refuses: x. y", "Check bucket_name in SOURCE"), ("no answer in 15 s", "wait")]);
    }
}
