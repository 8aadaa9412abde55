//! The overview page: the overall state, what needs attention, each table, the newest deliveries. Pure.

use askama::Template;

use super::asked::of_table;
use super::layout::{Layout, Mark, Piece, Time, capital, cut, number, seen, step};
use super::list::Line;
use crate::health::Part;
use crate::load::{Feed, Overview, TableStatus};
use crate::status::{self, Backlog, Report, Table, TableBacklog, WaitReason, words};

/// Data of the overview page.
pub struct Seen<'a> {
    pub feed: &'a Feed,
    /// Latest listing of the bucket, if there was one.
    pub stock: Option<Backlog>,
    /// Last result of reaching each service.
    pub reached: [(Part, Option<Result<(), String>>); 3],
    /// `true` if messages are published at all.
    pub notifies: bool,
    /// Overview of the ledger; `None` if it was never read.
    pub ledger: Option<&'a Overview>,
    /// Reason for which the ledger cannot be read now, and the time of the last reading.
    pub trouble: Option<(String, Option<i64>)>,
    /// `true` if the only reason is that other requests are reading.
    pub busy: bool,
    pub now: i64,
}

/// `/`
#[derive(Template)]
#[template(path = "overview.html")]
pub struct Page {
    frame: Layout,
    headline: Mark,
    reach: Vec<Reach>,
    /// Reason for which the ledger cannot be read; empty if it is shown beside the database.
    trouble: Option<String>,
    busy: bool,
    read: Option<Time>,
    facts: Vec<Fact>,
    stops: Vec<Stop>,
    tables: Vec<Row>,
    nothing: &'static str,
    listed: Option<Time>,
    deliveries: Vec<Line>,
}

/// State of the connection to a service.
struct Reach {
    mark: Mark,
    why: String,
}

/// A number for the overview.
struct Fact {
    label: &'static str,
    value: String,
    note: String,
    stands_out: bool,
}

/// Cause of a table's stop.
struct Stop {
    table: String,
    mark: Mark,
    /// The delivery that stops it, unless the table itself is stopped.
    id: Option<i64>,
    key: String,
    error: String,
    steps: Vec<Vec<Piece>>,
}

/// A table of the feed.
struct Row {
    name: String,
    href: String,
    mark: Mark,
    detail: String,
    loaded: Option<Time>,
    files: String,
    size: String,
    oldest: Option<Time>,
    last: Option<i64>,
}

impl Page {
    pub fn new(mut frame: Layout, seen_now: &Seen<'_>) -> Self {
        let Seen { feed, stock, ledger, trouble, now, .. } = seen_now;
        let states = ledger.map_or(&[][..], |ledger| ledger.tables.as_slice());
        let empty = Backlog::default();
        let mut report = Report::new(feed, stock.as_ref().unwrap_or(&empty), states, *now);
        report.stop_tables(ledger.map(|ledger| ledger.table_stops.as_slice()).unwrap_or_default());
        let rows: Vec<Row> = report.tables.iter().map(|table| Row::of(table, stock.as_ref(), *now)).collect();
        let headline = headline(seen_now, &report);
        frame.title = format!("{} – {}", headline.word, frame.title);
        Self {
            frame,
            headline,
            reach: reach(seen_now),
            trouble: trouble.as_ref().map(|(why, _)| unread(seen_now, why)),
            busy: seen_now.busy,
            read: trouble.as_ref().and_then(|(_, at)| *at).map(|at| Time::at(at, *now)),
            facts: facts(seen_now, &report),
            stops: report.tables.iter().filter(|table| table.waits()).filter_map(Stop::of).collect(),
            tables: rows,
            nothing: nothing(seen_now),
            listed: stock.as_ref().map(|stock| Time::at(stock.at, *now)),
            deliveries: ledger.iter().flat_map(|ledger| &ledger.newest).map(|one| Line::of(one, *now)).collect(),
        }
    }
}

/// Returns the most important finding in one line.
fn headline(seen: &Seen<'_>, report: &Report) -> Mark {
    let down = |wanted: Part| seen.reached.iter().any(|(part, got)| *part == wanted && matches!(got, Some(Err(_))));
    let waits = report.tables.iter().filter(|table| table.waits()).count();
    let shelves = || seen.stock.iter().flat_map(|stock| stock.tables.values());
    let missing = shelves().filter(|shelf| shelf.remark == Some(WaitReason::NoTable)).count() as u64;
    let pending: u64 = report.tables.iter().map(|table| table.pending.objects).sum();
    match () {
        () if down(Part::Target) => Mark::new("bad", "✕", "The database cannot be reached"),
        () if down(Part::Source) => Mark::new("bad", "✕", "The bucket cannot be reached"),
        () if seen.busy && seen.ledger.is_none() => Mark::new("busy", "…", "Many are looking"),
        () if seen.trouble.is_some() && !seen.busy => Mark::new("bad", "✕", "The ledger cannot be read"),
        () if waits > 0 => {
            let verb = if waits == 1 { "waits" } else { "wait" };
            Mark::new("bad", "‖", format!("{} {verb} for a person", words::count(waits as u64, "table")))
        }
        () if missing > 0 => Mark::new("warn", "!", format!("{} without a table", words::count(missing, "folder"))),
        () if shelves().any(|shelf| matches!(shelf.remark, Some(WaitReason::Trouble(_)))) => {
            Mark::new("warn", "!", "Something is in the way; it is tried again")
        }
        () if seen.stock.is_none() => Mark::new("busy", "…", "Starting"),
        () if shelves().any(|shelf| shelf.in_hand.is_some()) => {
            Mark::new("busy", "▸", format!("Loading, {} pending", words::count(pending, "file")))
        }
        () if pending > 0 => Mark::new("busy", "…", format!("{} pending", words::count(pending, "file"))),
        () if report.tables.is_empty() => Mark::new("warn", "!", "No table of the feed is loaded or pending"),
        () => Mark::new("good", "✓", "All tables are up to date"),
    }
}

fn reach(seen: &Seen<'_>) -> Vec<Reach> {
    let one = |(part, reached): &(Part, Option<Result<(), String>>)| match part {
        Part::Notifier if !seen.notifies => {
            Reach { mark: Mark::new("mute", "–", "notifications are off"), why: String::new() }
        }
        part => Reach::of(*part, reached.as_ref()),
    };
    seen.reached.iter().map(one).collect()
}

impl Reach {
    fn of(part: Part, reached: Option<&Result<(), String>>) -> Self {
        let name = match part {
            Part::Source => "bucket",
            Part::Target => "database",
            Part::Notifier => "broker",
        };
        let (mark, why) = match reached {
            // where nothing waits for it, it is not asked
            Some(Ok(())) if part == Part::Notifier => {
                (Mark::new("good", "✓", "no trouble with the broker"), String::new())
            }
            Some(Ok(())) => (Mark::new("good", "✓", format!("{name} reached")), String::new()),
            Some(Err(why)) => (Mark::new("bad", "✕", format!("{name} not reached")), cut(why, 300)),
            None => (Mark::new("mute", "–", format!("{name} not tried yet")), String::new()),
        };
        Self { mark, why }
    }
}

/// Returns the reason for which the ledger cannot be read as a sentence; empty if `reach` shows the same.
fn unread(seen_now: &Seen<'_>, why: &str) -> String {
    let same = |told: &String| told.trim_end_matches('.') == why.trim_end_matches('.');
    let told = seen_now.reached.iter().any(|(_, reached)| matches!(reached, Some(Err(told)) if same(told)));
    if told { String::new() } else { format!("{}.", seen(why).trim_end_matches('.')) }
}

/// Returns the number of pending files, as counted by log, metrics and summary; files behind a stop are shown
/// separately.
fn pending(report: &Report) -> Fact {
    let (mut objects, mut bytes, mut behind) = (0, 0, 0);
    for table in &report.tables {
        let waiting = &table.pending;
        match table.waits() {
            true => behind += waiting.objects,
            false => (objects, bytes) = (objects + waiting.objects, bytes + waiting.bytes),
        }
    }
    let size = (objects > 0).then(|| words::size(bytes));
    let stopped = (behind > 0).then(|| format!("{}\u{a0}behind\u{a0}a\u{a0}stop", number(behind)));
    let note = size.into_iter().chain(stopped).collect::<Vec<_>>().join(", ");
    Fact { label: "Files pending", value: number(objects), note, stands_out: false }
}

fn facts(seen: &Seen<'_>, report: &Report) -> Vec<Fact> {
    let fact = |label, count: u64, note: String, stands_out: bool| {
        let value = number(count);
        Fact { label, value, note, stands_out: stands_out && count > 0 }
    };
    let of = |status: &str| {
        let stopped = report.tables.iter().filter_map(|table| table.stopped.as_ref());
        stopped.filter(|stopped| stopped.status == status && stopped.requested.is_none()).count() as u64
    };
    let mut facts = Vec::new();
    if let Some(stock) = &seen.stock {
        facts.push(pending(report));
        let missing = stock.tables.values().filter(|shelf| shelf.remark == Some(WaitReason::NoTable)).count();
        facts.push(fact("Without a table", missing as u64, String::new(), true));
    }
    if let Some(ledger) = seen.ledger {
        facts.push(fact("Failed", of("failed"), String::new(), true));
        facts.push(fact("Held", of("held"), String::new(), true));
        facts.push(fact("Late", of("late"), String::new(), true));
        let unlike = TableStatus::ALL.iter().map(|status| of(status.as_str())).sum();
        facts.push(fact("Not as loaded", unlike, String::new(), true));
        facts.push(fact("Messages waiting", ledger.messages_waiting, String::new(), false));
        let kept = report.tables.iter().map(|table| table.rows_in_quarantine).sum();
        facts.push(fact("Rows kept aside", kept, String::new(), false));
    }
    if let Some(stock) = &seen.stock {
        let example = stock.strange.first().map(|key| format!("like {}", super::layout::middle(key, 60)));
        facts.push(fact("Foreign objects", stock.foreign.total(), example.unwrap_or_default(), false));
    }
    facts
}

impl Stop {
    fn of(table: &Table) -> Option<Self> {
        let stopped = table.stopped.as_ref()?;
        Some(Self {
            table: seen(&table.table),
            mark: Mark::of(&stopped.status),
            id: stopped.delivery,
            key: seen(&stopped.object_key),
            error: seen(&stopped.error),
            steps: stopped.next.iter().map(|words| step(words)).collect(),
        })
    }
}

impl Row {
    fn of(table: &Table, stock: Option<&Backlog>, now: i64) -> Self {
        let shelves = stock.iter().flat_map(|stock| &stock.tables);
        let shelf = shelves.into_iter().find(|(entity, _)| entity.to_string() == table.table).map(|(_, shelf)| shelf);
        let (mark, detail) = state(table, shelf, stock.is_some(), now);
        let pending = &table.pending;
        Self {
            name: seen(&table.table),
            href: of_table(&table.table),
            mark,
            detail,
            loaded: table.last_loaded.as_deref().and_then(|at| Time::read(at, now)),
            files: if stock.is_some() { number(pending.objects) } else { "?".to_owned() },
            size: if pending.objects > 0 { words::size(pending.bytes) } else { String::new() },
            oldest: pending.oldest.as_deref().and_then(|at| Time::read(at, now)).map(waiting),
            last: table.last_delivery,
        }
    }
}

/// Returns a time as the age of something that waits.
fn waiting(mut time: Time) -> Time {
    time.age = time.age.trim_end_matches(" ago").to_owned();
    time
}

/// Returns a table's state and a note about it.
fn state(table: &Table, shelf: Option<&TableBacklog>, listed: bool, now: i64) -> (Mark, String) {
    let plain = |mark| (mark, String::new());
    match (&table.stopped, shelf) {
        (Some(stopped), _) if stopped.requested.is_none() => plain(Mark::of(&stopped.status)),
        (_, Some(TableBacklog { in_hand: Some(one), .. })) => {
            let age = words::span(now - one.since);
            (Mark::new("busy", "▸", "loading"), format!("{}, for {age}", super::layout::middle(&one.key, 60)))
        }
        (Some(stopped), _) => {
            let (word, comes) = status::asked(stopped.requested.as_deref().unwrap_or_default());
            (Mark::new("busy", "…", seen(word)), format!("{}.", capital(comes)))
        }
        (_, Some(TableBacklog { remark: Some(remark), .. })) => match remark {
            WaitReason::NoTable => {
                (Mark::new("bad", "!", "no table"), "Create it; its files wait until then.".to_owned())
            }
            WaitReason::Reserved => (
                Mark::new("bad", "!", "refused"),
                "The folder names a reserved table, which is never loaded. Remove the folder.".to_owned(),
            ),
            WaitReason::Busy => (Mark::new("busy", "…", "pending"), "Another loader has it in hand.".to_owned()),
            WaitReason::Settling => {
                (Mark::new("busy", "…", "pending"), "A reload that is not quiet yet (SETTLE).".to_owned())
            }
            WaitReason::Trouble(why) => (Mark::new("warn", "!", "tried again"), cut(why, 300)),
        },
        _ if table.pending.objects > 0 => plain(Mark::new("busy", "…", "pending")),
        _ if !listed => plain(Mark::new("mute", "?", "not looked at yet")),
        _ => plain(Mark::new("good", "✓", "up to date")),
    }
}

/// Returns the explanation for an empty list of tables.
fn nothing(seen: &Seen<'_>) -> &'static str {
    match (&seen.stock, seen.ledger) {
        (Some(stock), _) if stock.listed == 0 => {
            "There is nothing in the bucket below the path. Are bucket_name and bucket_path in SOURCE right?"
        }
        (None, _) | (_, None) => "Not known yet.",
        _ => "No table of the feed is loaded or pending.",
    }
}
