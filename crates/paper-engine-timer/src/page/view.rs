//! Makes what the template shows from a reading: words, numbers and marks.

use askama::Template;
use pe_runtime::sanitize;

use super::{Board, Reading};
use crate::metrics::Metrics;
use crate::store::{COUNTED_MAX, EndpointCounts, Failure, Overview};

/// The whole page.
#[derive(Template)]
#[template(path = "page.html")]
pub(super) struct View {
    place: String,
    pod: String,
    /// The present time in UTC.
    now: String,
    headline: Mark,
    /// Why the database could not be read, if it could not.
    trouble: Option<String>,
    facts: Vec<Fact>,
    endpoints: Vec<Line>,
    failures: Vec<Failure>,
}

/// A state: how it looks, and its word. The sign tells it without colour.
struct Mark {
    class: &'static str,
    sign: &'static str,
    word: String,
}

/// A number with its name.
struct Fact {
    label: &'static str,
    value: String,
    note: String,
    stands_out: bool,
}

/// An endpoint.
struct Line {
    name: String,
    mark: Mark,
    why: String,
    counts: EndpointCounts,
}

impl View {
    pub(super) fn new(board: &Board, reading: Option<&Reading>, metrics: &Metrics, is_ready: bool) -> Self {
        let overview = reading.and_then(|reading| reading.read.as_ref().ok()).cloned().unwrap_or_default();
        let trouble = match reading {
            None => Some("the database has not answered yet".to_owned()),
            Some(reading) => reading.read.as_ref().err().cloned(),
        };
        let now = reading.map_or_else(|| board.clock.utc(), |reading| reading.at);
        Self {
            place: seen(&board.place),
            pod: seen(&board.pod),
            now: pe_runtime::clock::stamp(now).chars().take(19).collect::<String>().replace('T', " "),
            headline: headline(&overview, trouble.is_none() && is_ready),
            trouble: trouble.as_deref().map(seen),
            facts: facts(&overview, metrics),
            endpoints: lines(&overview),
            failures: overview.failures.iter().map(harmless).collect(),
        }
    }
}

fn headline(overview: &Overview, is_reached: bool) -> Mark {
    match overview.late {
        _ if !is_reached => Mark { class: "bad", sign: "✕", word: "The database does not answer".to_owned() },
        0 => Mark { class: "good", sign: "✓", word: "No task is late".to_owned() },
        1 => Mark { class: "warn", sign: "!", word: "1 task is late".to_owned() },
        late => Mark { class: "warn", sign: "!", word: format!("{} tasks are late", counted(late)) },
    }
}

fn facts(overview: &Overview, metrics: &Metrics) -> Vec<Fact> {
    let fact = |label, number: u64| Fact { label, value: counted(number), note: String::new(), stands_out: false };
    let failed = overview.endpoints.iter().map(|endpoint| endpoint.failed).sum::<u64>();
    let oldest = match overview.late {
        0 => String::new(),
        _ => format!("the oldest by {}", crate::durations::show(whole_seconds(overview.latest))),
    };
    vec![
        fact("Waiting", overview.open_in("waiting")),
        Fact { note: oldest, stands_out: overview.late > 0, ..fact("Late", overview.late) },
        fact("Held by pods", overview.open_in("leased")),
        fact("Under way in this pod", u64::try_from(metrics.in_flight.get()).unwrap_or(0)),
        fact("To be retried", overview.open_in("retry")),
        fact("Parked", overview.open_in("parked")),
        Fact { stands_out: failed > 0, ..fact("Failed in the last hour", failed) },
        fact("Done by this pod", metrics.ended_as("done")),
    ]
}

fn whole_seconds(duration: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_secs(duration.as_secs().max(1))
}

/// Returns the endpoints of the counts, and those that are disabled and have none.
fn lines(overview: &Overview) -> Vec<Line> {
    let disabled = |name: &str| overview.disabled.iter().find(|disabled| disabled.endpoint == name);
    let line = |counts: &EndpointCounts| Line {
        name: if counts.endpoint.is_empty() { "(not known yet)".to_owned() } else { seen(&counts.endpoint) },
        mark: mark(counts, disabled(&counts.endpoint).is_some()),
        why: disabled(&counts.endpoint).map(|disabled| seen(&disabled.reason)).unwrap_or_default(),
        counts: counts.clone(),
    };
    let is_counted = |name: &str| overview.endpoints.iter().any(|counts| counts.endpoint == name);
    let idle = overview.disabled.iter().filter(|disabled| !is_counted(&disabled.endpoint));
    let idle = idle.map(|disabled| EndpointCounts { endpoint: disabled.endpoint.clone(), ..EndpointCounts::default() });
    idle.collect::<Vec<_>>().iter().chain(&overview.endpoints).map(line).collect()
}

fn mark(counts: &EndpointCounts, is_disabled: bool) -> Mark {
    let mark = |class, sign, word: &str| Mark { class, sign, word: word.to_owned() };
    match counts {
        _ if is_disabled => mark("bad", "‖", "disabled"),
        EndpointCounts { parked: 1.., .. } => mark("warn", "…", "no room"),
        EndpointCounts { failed: 1.., done: 0, .. } => mark("bad", "✕", "failing"),
        EndpointCounts { failed: 1.., .. } => mark("warn", "!", "some failed"),
        EndpointCounts { retry: 1.., .. } => mark("warn", "↻", "retrying"),
        _ => mark("good", "✓", "good"),
    }
}

fn harmless(failure: &Failure) -> Failure {
    let Failure { id, endpoint, state, reason, at } = failure;
    let at = at.chars().take(19).collect();
    Failure { id: seen(id), endpoint: seen(endpoint), state: seen(state), reason: seen(reason), at }
}

/// Returns text of others with its control characters escaped.
fn seen(words: &str) -> String {
    sanitize::text(words).into_owned()
}

/// Returns a number in groups of three. At the limit of counting it is a least number.
fn counted(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    if number == COUNTED_MAX { format!("≥ {shown}") } else { shown }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pe_runtime::clock::Clock;
    use time::macros::datetime;

    use super::*;
    use crate::store::DisabledEndpoint;

    fn page(read: Result<Overview, String>) -> String {
        let clock = Clock::fixed(datetime!(2026-03-01 10:00 UTC));
        let board = Board::new("db:5432/timers".to_owned(), clock.clone());
        let reading = Reading { at: clock.utc(), taken: clock.monotonic(), read };
        View::new(&board, Some(&reading), &Metrics::new(), true).render().expect("a page")
    }

    fn endpoint(endpoint: &str, done: u64, failed: u64) -> EndpointCounts {
        EndpointCounts { endpoint: endpoint.to_owned(), done, failed, ..EndpointCounts::default() }
    }

    #[test]
    fn late_tasks_failures_and_disabled_endpoints_are_shown() {
        let overview = Overview {
            open: vec![("waiting".to_owned(), 1_500_000)],
            late: 3,
            latest: Duration::from_secs(90),
            endpoints: vec![endpoint("https://h/bad", 0, 2), endpoint("https://h/good", 7, 0)],
            failures: vec![Failure { reason: "status: 404".to_owned(), ..Failure::default() }],
            disabled: vec![DisabledEndpoint { endpoint: "https://h/gone".to_owned(), ..DisabledEndpoint::default() }],
        };
        let page = page(Ok(overview));
        for part in [
            "3 tasks are late",
            "1,500,000",
            "90s",
            "https://h/bad",
            "failing",
            "status: 404",
            "https://h/gone",
            "disabled",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }

    #[test]
    fn what_others_wrote_is_text_and_nothing_else() {
        let reason = "<script>alert(1)</script>\u{1b}[31m".to_owned();
        let failure = Failure { reason, endpoint: "<b>".to_owned(), ..Failure::default() };
        let page = page(Ok(Overview { failures: vec![failure], ..Overview::default() }));
        assert!(!page.contains("<script>alert") && !page.contains("<b>") && !page.contains('\u{1b}'), "{page}");
        assert!(page.contains("No task is late"), "{page}");
    }

    #[test]
    fn a_database_that_does_not_answer_is_the_headline() {
        let page = page(Err("cannot reach db:5432/timers: refused".to_owned()));
        assert!(page.contains("The database does not answer") && page.contains("refused"), "{page}");
    }
}
