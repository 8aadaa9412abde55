//! The plan as a page: one file that fetches nothing, reads in light and dark, on a phone and on paper. Words of others are
//! escaped by the template, and what cannot be seen is made visible before.

use askama::Template;
use sha2::{Digest, Sha256};

use super::text;
use crate::commands::term_format;
use crate::loader::plan_file::{Counts, Delivery, Left, PlanFile, Table};
use crate::visible;

const STYLE: &str = include_str!("plan.css");

/// Returns the page as HTML, with up to `keys` keys of each kind for a table.
pub(super) fn html(plan: &PlanFile, keys: usize) -> Result<String, askama::Error> {
    Page::of(plan, keys).render()
}

#[derive(Template)]
#[template(path = "plan.html")]
struct Page {
    style: &'static str,
    /// The only style that the page allows itself.
    style_hash: String,
    made_at: String,
    made_by: String,
    bucket: String,
    path: String,
    database: String,
    exit_code: u8,
    deliveries: String,
    sums: Vec<(&'static str, String)>,
    stops: Vec<Halt>,
    tables: Vec<Part>,
    left: Vec<Rest>,
    settings: Vec<(String, String)>,
}

/// Cause of a table's stop, present or predicted.
struct Halt {
    table: String,
    head: String,
    why: String,
    next: Vec<String>,
}

/// One table's part.
struct Part {
    name: String,
    key: String,
    rows: Vec<Line>,
    sum: Option<Vec<String>>,
    columns: Vec<Bar>,
    keys: Vec<(&'static str, Vec<String>, bool)>,
    notes: Vec<String>,
    settles: bool,
}

/// One delivery's line.
struct Line {
    file: String,
    folder: String,
    more: usize,
    kind: String,
    would: String,
    /// None if it is not loaded.
    counts: Option<Vec<String>>,
    why: String,
}

/// A column that changes; `share` is the per cent of the amended rows.
struct Bar {
    name: String,
    rows: String,
    share: u64,
}

struct Rest {
    table: String,
    words: String,
    examples: Vec<String>,
}

impl Page {
    fn of(plan: &PlanFile, keys: usize) -> Self {
        Self {
            style: STYLE,
            style_hash: base64(&Sha256::digest(STYLE.as_bytes())),
            made_at: text::minute(plan),
            made_by: seen(&plan.made_by),
            bucket: seen(&plan.bucket),
            path: seen(&plan.path),
            database: seen(&plan.database),
            exit_code: plan.exit_code,
            deliveries: grouped(plan.deliveries() as u64),
            sums: OPS.into_iter().zip(counts(plan.counts)).collect(),
            stops: plan.tables.iter().flat_map(halts).collect(),
            tables: plan
                .tables
                .iter()
                .filter(|table| !table.deliveries.is_empty())
                .map(|table| Part::of(table, keys))
                .collect(),
            left: plan.left.iter().map(Rest::of).collect(),
            settings: plan.settings.iter().map(|(name, value)| (seen(name), seen(value))).collect(),
        }
    }
}

const OPS: [&str; 5] = ["create", "amend", "remove", "unchanged", "rejected"];

fn halts(table: &Table) -> Vec<Halt> {
    let already = table.stopped.iter().map(|stop| Halt {
        table: seen(&table.name()),
        head: format!("stopped by delivery {}, {}: {}", stop.delivery, stop.status, seen(&stop.object_key)),
        why: String::new(),
        next: vec![format!("deliveries show {} says why and what to do", stop.delivery)],
    });
    let foreseen = table.deliveries.iter().filter(|delivery| !delivery.next.is_empty()).map(|delivery| Halt {
        table: seen(&table.name()),
        head: format!("{}: {}", text::would(&delivery.status), seen(delivery.file())),
        why: seen(delivery.why.as_deref().unwrap_or_default()),
        next: delivery.next.iter().map(|step| step.replace('`', "")).collect(),
    });
    already.chain(foreseen).collect()
}

impl Part {
    fn of(table: &Table, most: usize) -> Self {
        let amended = table.counts.amend.max(1);
        let bar = |column: &crate::loader::plan_file::Column| Bar {
            name: seen(&column.name),
            rows: grouped(column.rows),
            share: (column.rows * 100 / amended).clamp(1, 100),
        };
        let found = table.keys(most);
        let kinds = [
            ("create", found.create, table.counts.create),
            ("amend", found.amend, table.counts.amend),
            ("remove", found.remove, table.counts.remove),
        ];
        let keys = kinds.into_iter().filter(|(_, keys, _)| !keys.is_empty()).map(|(kind, keys, rows)| {
            let more = rows > keys.len() as u64;
            (kind, keys.iter().map(|key| seen(&text::shown(key))).collect(), more)
        });
        Self {
            name: seen(&table.name()),
            key: seen(&table.key.join(", ")),
            rows: table.deliveries.iter().map(Line::of).collect(),
            sum: (table.deliveries.len() > 1).then(|| counts(table.counts)),
            columns: table.columns.iter().map(bar).collect(),
            keys: keys.collect(),
            notes: table.notes.iter().map(|note| seen(note)).collect(),
            settles: table.deliveries.iter().any(|delivery| delivery.settles),
        }
    }
}

impl Line {
    fn of(delivery: &Delivery) -> Self {
        let (folder, file) = delivery.file().rsplit_once('/').unwrap_or(("", delivery.file()));
        Self {
            file: seen(file),
            folder: seen(folder),
            more: delivery.files.len() - 1,
            kind: delivery.kind.clone(),
            would: text::would(&delivery.status),
            counts: (delivery.status == "loaded").then(|| counts(delivery.counts)),
            why: seen(delivery.why.as_deref().unwrap_or_default()),
        }
    }
}

impl Rest {
    fn of(left: &Left) -> Self {
        let (files, size) = (term_format::count(left.files, "file"), term_format::size(left.bytes));
        Self {
            table: seen(&left.table),
            words: seen(&format!("{files}, {size}: {}", left.why.replace('`', ""))),
            examples: left.examples.iter().map(|key| seen(key)).collect(),
        }
    }
}

fn seen(words: &str) -> String {
    visible::text(words).into_owned()
}

fn counts(counts: Counts) -> Vec<String> {
    let Counts { create, amend, remove, unchanged, rejected } = counts;
    [create, amend, remove, unchanged, rejected].map(grouped).into()
}

/// Returns `1 234 567`, with spaces that do not break.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push('\u{202f}');
        }
        shown.push(digit);
    }
    shown
}

/// Encodes a hash as the content security policy needs it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |place: usize| u32::from(chunk.get(place).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_written_as_browsers_read_it() {
        assert_eq!(base64(b"Man"), "TWFu");
        assert_eq!(base64(b"Ma"), "TWE=");
        assert_eq!(base64(b"M"), "TQ==");
        assert_eq!(base64(&Sha256::digest(b"")), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
    }
}
