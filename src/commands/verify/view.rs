//! Text form of a verified table: one line, and below it the differences, the rows that could not be compared, and
//! what to do next.

use std::io::{Result, Write};

use super::report::{Outcome, Table};
use crate::commands::term_format;
use crate::load::{Comparison, Key};
use crate::source;

pub(super) fn print(table: &Table, out: &mut impl Write) -> Result<()> {
    lines(table).iter().try_for_each(|line| writeln!(out, "{line}"))
}

fn lines(table: &Table) -> Vec<String> {
    let name = term_format::line(&table.table, usize::MAX);
    let mut lines = match &table.outcome {
        Outcome::Compared { generation, files, comparison, .. } => {
            let of = format!("{} of generation {generation}", counted(*files as u64, "file"));
            let rows = match comparison.is_equal() {
                true => format!("equal, {}", counted(comparison.compared(), "row")),
                false => {
                    let wrong = comparison.missing + comparison.extra + comparison.different;
                    format!("differs, {} of {}", grouped(wrong), counted(comparison.compared(), "row"))
                }
            };
            [vec![term_format::wrapped(&format!("{name}: {rows}, {of}"), 0)], differences(comparison)].concat()
        }
        Outcome::Unverified { why, .. } => vec![format!("{name}: cannot be verified"), term_format::wrapped(why, 2)],
        Outcome::NothingLoaded => vec![format!("{name}: nothing is loaded, so there is nothing to compare")],
    };
    lines.extend(notes(table).iter().map(|note| term_format::wrapped(note, 2)));
    lines.extend(table.next().map(|next| term_format::wrapped(next, 2)));
    lines
}

fn differences(found: &Comparison) -> Vec<String> {
    let mut lines = Vec::new();
    let keys = |keys: &[Key]| keys.iter().map(|key| key_line(found, key, "")).collect::<Vec<_>>();
    if found.missing > 0 {
        lines.push(format!("  missing in the table: {}", counted(found.missing, "row")));
        lines.extend(keys(&found.some_missing));
        lines.extend(more(found.missing, found.some_missing.len(), !found.key.is_empty()));
    }
    if found.extra > 0 {
        lines.push(format!("  not in the feed: {}", counted(found.extra, "row")));
        lines.extend(keys(&found.some_extra));
        lines.extend(more(found.extra, found.some_extra.len(), true));
    }
    if found.different > 0 {
        let rows = counted(found.different, "row");
        lines.push(term_format::wrapped(&format!("other values: {rows}, in {}", by_name(&found.columns)), 2));
        let rows = found.some_different.iter();
        lines.extend(rows.map(|row| key_line(found, &row.key, &format!(": {}", row.columns.join(", ")))));
        lines.extend(more(found.different, found.some_different.len(), true));
    }
    lines
}

fn key_line(found: &Comparison, key: &Key, behind: &str) -> String {
    let names: Vec<&str> = match found.key.as_slice() {
        [] => vec!["ctid"],
        names => names.iter().map(String::as_str).collect(),
    };
    let cells: Vec<String> = names.iter().zip(key).map(|(name, cell)| format!("{name}={cell}")).collect();
    // the columns are what is asked for: a long key makes room for them
    let behind = term_format::line(behind, term_format::WIDTH - 24);
    let room = term_format::WIDTH - 4 - behind.chars().count();
    format!("    {}{behind}", term_format::line(&cells.join(", "), room))
}

fn more(all: u64, shown: usize, can_be_shown: bool) -> Option<String> {
    let rest = all.saturating_sub(shown as u64);
    let way = if can_be_shown { "; --keys shows more" } else { "; without a key nothing tells them apart" };
    (rest > 0 && (shown > 0 || !can_be_shown)).then(|| format!("    … {} more{way}", grouped(rest)))
}

/// Returns the notes about rows that were not compared, and about pending files.
fn notes(table: &Table) -> Vec<String> {
    let mut notes = Vec::new();
    if let Outcome::Compared { skipped, blind, comparison, .. } = &table.outcome {
        let untold: u64 = comparison.untold.iter().map(|(_, count)| count).sum();
        let left_out = [
            (untold, "cell", format!("no file supplies ({})", by_name(&comparison.untold))),
            (comparison.rejected, "row", "only a rejected row names".to_owned()),
            (comparison.unnamed, "row", "no file names, and there is no full load that would".to_owned()),
        ];
        let left_out = left_out.into_iter().filter(|(count, ..)| *count > 0);
        notes
            .extend(left_out.map(|(count, what, why)| format!("not compared: {}, which {why}.", counted(count, what))));
        if *blind > 0 && comparison.extra > 0 {
            let rows = counted(*blind, "rejected row");
            notes.push(format!("The keys of {rows} cannot be read, so these may be among what is not in the feed."));
        }
        if *skipped > 0 {
            notes.push(format!("left out, as the loader did: {}, skipped by an operator.", counted(*skipped, "file")));
        }
    }
    match (&table.stopped, table.pending) {
        (None, 0) => {}
        (None, files) => notes.push(format!("not loaded yet, and not compared: {}.", counted(files, "file"))),
        (Some(state), files) => {
            notes.push(format!(
                "not loaded, and not compared: {}; a delivery {}, see `status`.",
                counted(files, "file"),
                source::stands(state)
            ));
        }
    }
    notes
}

fn by_name(counts: &[(String, u64)]) -> String {
    counts.iter().map(|(name, count)| format!("{name} {}", grouped(*count))).collect::<Vec<_>>().join(", ")
}

fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{} {what}s", grouped(number)) }
}

/// Returns `1,499,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Different;
    use crate::loader::service::End;

    fn table(comparison: Comparison) -> Table {
        let comparison = Box::new(comparison);
        let outcome = Outcome::Compared { generation: 3, files: 12, skipped: 0, blind: 0, comparison };
        Table { table: "dbo.entity_1".into(), outcome, pending: 0, stopped: None }
    }

    #[test]
    fn an_equal_table_is_one_line() {
        let equal = table(Comparison { rows: 1_499_000, ..Comparison::default() });
        assert_eq!(lines(&equal), ["dbo.entity_1: equal, 1,499,000 rows, 12 files of generation 3"]);
    }

    #[test]
    fn what_differs_is_listed_and_fits() {
        let key = |cell: &str| vec![cell.to_owned()];
        let differs = table(Comparison {
            key: vec!["id".into()],
            rows: 1000,
            missing: 3,
            some_missing: vec![key("5"), key(&"x".repeat(200))],
            extra: 1,
            some_extra: vec![key("a\u{1b}[31m")],
            different: 1,
            columns: vec![("price".into(), 1)],
            some_different: vec![Different { key: key(&"y".repeat(100)), columns: vec!["price".into()] }],
            ..Comparison::default()
        });
        let lines = lines(&differs);
        assert_eq!(lines[0], "dbo.entity_1: differs, 5 of 1,000 rows, 12 files of generation 3");
        assert_eq!(lines[1..3], ["  missing in the table: 3 rows", "    id=5"]);
        assert_eq!(lines[4], "    … 1 more; --keys shows more");
        assert_eq!(lines[6], "    id=a\\u{1b}[31m");
        assert!(lines[8].ends_with("y…: price"), "{}", lines[8]);
        assert!(
            lines.iter().flat_map(|line| line.lines()).all(|line| line.chars().count() <= term_format::WIDTH),
            "{lines:#?}"
        );
    }

    #[test]
    fn what_cannot_be_verified_never_looks_equal() {
        let unverified = Outcome::Unverified { why: "k is gone from the bucket".into(), next: "n", end: End::Stopped };
        for outcome in [unverified, Outcome::NothingLoaded] {
            let table = Table { table: "dbo.e".into(), outcome, pending: 2, stopped: Some("failed".into()) };
            let words = lines(&table).join("\n");
            assert!(!words.contains("equal") && words.contains("2 files; a delivery failed"), "{words}");
        }
    }
}
