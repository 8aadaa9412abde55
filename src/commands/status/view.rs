//! Text form of the report: a table of 80 columns, or wider for long names on a wide terminal, then the stops, then
//! what to do next.

use std::collections::BTreeMap;
use std::io::{Result, Write};

use crate::commands::term_format::{self, OutputStyle};
use crate::commands::when;
use crate::source;
use crate::status::{Report, Stopped, Table, asked, other_feeds};

pub(super) fn print(report: &Report, look: OutputStyle, out: &mut impl Write) -> Result<()> {
    let of = |what: &str, name: &str| if name.is_empty() { String::new() } else { format!(", {what} {name}") };
    let place = of("path", &report.path) + &of("into schema", &report.target_schema);
    let at = report.generated_at.replace('T', " ").replace('Z', " UTC");
    let head = format!("Bucket {}{place}, {at}, schema version {}.", report.bucket, report.schema_version);
    writeln!(out, "{}", look.wrapped(&head, 0))?;
    if report.tables.is_empty() {
        writeln!(out, "\nNo table of the feed is loaded or pending.")?;
    } else {
        let longest = report.tables.iter().map(|table| table.table.chars().count()).max().unwrap_or(0);
        let columns = Columns::of(longest, look);
        writeln!(out, "\n{}", columns.row(["table", "last loaded", "age", "pending", "size", "oldest", "state"]))?;
        report.tables.iter().try_for_each(|table| writeln!(out, "{}", table_row(table, columns, look)))?;
    }
    for line in notes(report, look) {
        writeln!(out, "\n{line}")?;
    }
    Ok(())
}

/// Width of the column of names, on a terminal of 80 columns.
const NAME: usize = 23;
/// Maximum width of a row behind the name.
const REST: usize = term_format::WIDTH - NAME;

/// Columns that fit. A narrow terminal shows the most important ones.
#[derive(Debug, Clone, Copy)]
struct Columns {
    name: usize,
    loaded: bool,
    oldest: bool,
    size: bool,
}

impl Columns {
    fn of(longest: usize, look: OutputStyle) -> Self {
        let width = look.columns.unwrap_or(look.width);
        // the age says what the time does, and then what waits is left out
        let (loaded, oldest, size) = (width >= 80, width >= 63, width >= 56);
        let without = |column: bool, width: usize| if column { 0 } else { width };
        let rest = REST - without(loaded, 17) - without(oldest, 7) - without(size, 9);
        let room = width.saturating_sub(rest).max(8);
        Self { name: longest.clamp(room.min(NAME), room), loaded, oldest, size }
    }

    fn row(self, [table, loaded, age, pending, size, oldest, state]: [&str; 7]) -> String {
        let name = self.name;
        let mut line = format!("{:name$}", term_format::line(table, name));
        if self.loaded {
            line += &format!(" {loaded:16}");
        }
        line += &format!(" {age:>5} {pending:>7}");
        if self.size {
            line += &format!(" {size:>8}");
        }
        if self.oldest {
            line += &format!(" {oldest:>6}");
        }
        format!("{line}  {state}").trim_end().to_owned()
    }
}

fn table_row(table: &Table, columns: Columns, look: OutputStyle) -> String {
    let loaded = table.last_loaded.as_ref().map_or("never".to_owned(), |at| at[..16].replace('T', " "));
    let age = |age: Option<i64>| age.map(when::span).unwrap_or_default();
    let waiting = &table.pending;
    let size = if waiting.objects > 0 { term_format::size(waiting.bytes) } else { String::new() };
    let state = match &table.stopped {
        None if table.waits.is_some() => "waits",
        None => "",
        Some(stopped) => stopped.requested.as_deref().map_or(stopped.status.as_str(), |wish| asked(wish).0),
    };
    let (last, oldest) = (age(table.last_loaded_age), age(waiting.oldest_age));
    let state = look.status(state);
    columns.row([&table.table, &loaded, &last, &waiting.objects.to_string(), &size, &oldest, &state])
}

/// Returns the notes below the table, one paragraph each.
fn notes(report: &Report, look: OutputStyle) -> Vec<String> {
    let stopped = report.tables.iter().filter_map(|table| Some((table, table.stopped.as_ref()?)));
    let mut notes: Vec<String> = stopped.map(|(table, stopped)| stop(table, stopped, look)).collect();
    notes.extend(report.tables.iter().filter_map(|table| {
        let waits = table.waits.as_ref()?;
        Some(look.wrapped(
            &format!("{}: {}. It is tried again in each run.", table.table, term_format::line(waits, usize::MAX)),
            0,
        ))
    }));
    notes
        .extend(report.tables.iter().filter(|table| table.rows_in_quarantine > 0).map(|table| quarantine(table, look)));
    notes.extend(report.unmapped.iter().map(|one| {
        let (files, verb) = (term_format::count(one.pending.objects, "file"), verb(one.pending.objects));
        look.wrapped(&format!("{}: {files} {verb}: {}.", one.table, one.why), 0)
    }));
    notes.extend(nulls(report, look));
    let foreign = &report.foreign;
    if foreign.transactions + foreign.dfm + foreign.temporary + foreign.markers + foreign.other > 0 {
        let more = if foreign.examples.is_empty() { "." } else { ", like" };
        let examples = foreign
            .examples
            .iter()
            .map(|key| term_format::middle(&term_format::line(key, usize::MAX), term_format::WIDTH - 2));
        let words = look.wrapped(&format!("{}{more}", foreign.words), 0);
        notes.push(examples.fold(words, |words, key| format!("{words}\n  {key}")));
    }
    if report.listed == 0 {
        let Report { bucket, path, .. } = report;
        notes.push(look.wrapped(&format!("There is nothing below bucket_path {path:?} in bucket {bucket}."), 0));
    }
    if report.messages_waiting > 0 {
        let (messages, verb) = (term_format::count(report.messages_waiting, "message"), verb(report.messages_waiting));
        notes.push(format!("{messages} {verb} for the broker."));
    }
    if !report.other_feeds.is_empty() {
        notes.push(look.wrapped(other_feeds(&report.other_feeds).trim_start(), 0));
    }
    notes
}

/// Returns `dbo.e: 6 rows in quarantine, deliveries 14 and 15; …`.
fn quarantine(table: &Table, look: OutputStyle) -> String {
    let (name, rows) = (&table.table, term_format::count(table.rows_in_quarantine, "row"));
    let words: Vec<String> = table.quarantine.iter().map(i64::to_string).collect();
    let of = match words.as_slice() {
        [one] => format!("delivery {one}"),
        [some @ .., last] if some.len() < 5 => format!("deliveries {} and {last}", some.join(", ")),
        many => format!("{} deliveries, the last {}", many.len(), many.last().map_or("", String::as_str)),
    };
    look.wrapped(&format!("{name}: {rows} in quarantine, {of}; `rejects list --entity {name}`."), 0)
}

/// Maximum number of table names in one line.
const NAMES: usize = 5;

/// Returns the rules for null, one paragraph for all tables with the same rule, with the first one's evidence.
fn nulls(report: &Report, look: OutputStyle) -> Vec<String> {
    let mut alike: BTreeMap<(&str, &str), Vec<(&str, &str)>> = BTreeMap::new();
    for table in &report.tables {
        if let Some(null) = &table.null {
            alike.entry((null.rule, null.basis)).or_default().push((&table.table, &null.words));
        }
    }
    let paragraph = |tables: Vec<(&str, &str)>| {
        let (names, more) = (tables.iter().take(NAMES).map(|(name, _)| *name), tables.len().saturating_sub(NAMES));
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let names = names.collect::<Vec<_>>().join(", ");
        look.wrapped(
            &term_format::line(&format!("Null in text columns is {}: {names}{more}.", tables[0].1), usize::MAX),
            0,
        )
    };
    alike.into_values().map(paragraph).collect()
}

fn verb(number: u64) -> &'static str {
    if number == 1 { "waits" } else { "wait" }
}

fn stop(table: &Table, stopped: &Stopped, look: OutputStyle) -> String {
    let Stopped { status, delivery, object_key, error, requested, next } = stopped;
    let stands = source::stands(status);
    let head = match delivery {
        Some(delivery) => format!("{}: delivery {delivery} {stands}: {object_key}", table.table),
        None => format!("{}: the table is {status}", table.table),
    };
    let head = term_format::line(&head, usize::MAX);
    let mut lines = vec![look.wrapped(&head, 0), look.wrapped(error, 2)];
    match requested {
        Some(wish) => {
            let (word, comes) = asked(wish);
            lines.push(look.wrapped(&format!("{word}: {comes}."), 2));
        }
        None => {
            lines.push("  Next, one of".to_owned());
            lines.extend(next.iter().map(|step| look.hanging(step, 4, 6)));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Waiting;

    #[test]
    fn a_row_fits_whatever_it_holds() {
        let pending = Waiting { objects: 1_234_567, bytes: 999_940_000, oldest: None, oldest_age: Some(8_639_999_999) };
        let table = Table {
            table: "a_schema_with_a_long_name.and_a_table_with_one".into(),
            last_loaded: Some("2026-11-21T14:02:37Z".into()),
            last_loaded_age: Some(172_799),
            pending,
            stopped: Some(Stopped {
                status: "failed".into(),
                delivery: Some(1),
                object_key: "k".into(),
                error: "e".into(),
                requested: Some("release".into()),
                next: Vec::new(),
            }),
            ..Table::default()
        };
        let plain = OutputStyle::PIPED;
        let shown =
            |table: &Table, look: OutputStyle| table_row(table, Columns::of(table.table.chars().count(), look), look);
        let row = shown(&table, plain);
        assert!(row.chars().count() <= term_format::WIDTH, "{row}");
        assert!(row.starts_with("a_schema_with_a_long_n… 2026-11-21 14:02   47h 1234567 999.9 MB"), "{row}");
        assert!(row.ends_with("99999d  released"), "{row}");
        assert!(shown(&Table { table: "t".into(), ..Table::default() }, plain).contains("never"));
        let wide = shown(&table, OutputStyle { width: 120, columns: Some(120), coloured: true });
        assert!(wide.starts_with("a_schema_with_a_long_name.and_a_table_with_one 2026-11-21 14:02   47h"), "{wide}");
        assert!(wide.ends_with("99999d  \u{1b}[34mreleased\u{1b}[0m"), "{wide}");
        for columns in [46, 50, 60, 70, 79] {
            let narrow = shown(&table, OutputStyle { columns: Some(columns), ..plain });
            assert!(narrow.chars().count() <= columns && narrow.ends_with("  released"), "{columns}: {narrow}");
            assert!(narrow.contains("…") && narrow.contains(" 1234567"), "{columns}: {narrow}");
        }
    }
}
