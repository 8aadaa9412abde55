//! The page of one delivery: all that the ledger has of it, and what to do if it stops its table. Pure.

use askama::Template;
use serde_json::Value;

use super::layout::{Layout, Mark, Piece, Time, capital, number, seen, step};
use super::list::{Count, table, table_address, took};
use crate::decode::File;
use crate::load::{Delivery, DeliveryDetails};
use crate::status::{self, words};

/// `/deliveries/7`
#[derive(Template)]
#[template(path = "delivery.html")]
pub struct Page {
    frame: Layout,
    id: i64,
    mark: Mark,
    table: String,
    table_href: String,
    kind: String,
    key: String,
    whys: Vec<Why>,
    requested: String,
    steps: Vec<Vec<Piece>>,
    /// Label of the counts.
    effect: &'static str,
    counts: Vec<Count>,
    /// Reason for which there are no counts.
    no_counts: &'static str,
    fields: Vec<Field>,
    rejects: Vec<Reject>,
    rejects_note: String,
    message: Option<Message>,
}

/// Explanation of the delivery's status.
struct Why {
    class: &'static str,
    label: &'static str,
    text: String,
}

/// A column of the ledger.
#[derive(Default)]
struct Field {
    label: &'static str,
    text: String,
    href: String,
    at: Option<Time>,
}

struct Reject {
    line: i64,
    column: String,
    reason: String,
}

struct Message {
    mark: Mark,
    published: Option<Time>,
    created: Time,
    subject: String,
    message_id: String,
    payload: String,
}

impl Page {
    pub fn new(frame: Layout, dossier: &DeliveryDetails, now: i64) -> Self {
        let DeliveryDetails { delivery, rejects, .. } = dossier;
        let counts = counts(delivery);
        Self {
            frame,
            id: delivery.id,
            mark: Mark::of(&delivery.status),
            table: seen(&table(delivery)),
            table_href: table_address(delivery),
            kind: seen(&delivery.kind),
            key: seen(&delivery.object_key),
            whys: whys(delivery),
            requested: delivery.requested.as_deref().map(asked).unwrap_or_default(),
            steps: steps(delivery),
            effect: if delivery.status == "held" { "What it would do" } else { "What it did" },
            no_counts: "Nothing: it was not loaded, and nobody knows what it would do.",
            counts,
            fields: fields(delivery, now),
            rejects: rejects.iter().map(Reject::of).collect(),
            rejects_note: note(delivery, rejects.len()),
            message: dossier.message.as_ref().map(|message| Message::of(message, now)),
        }
    }
}

/// Returns an operator's request as a sentence.
fn asked(wish: &str) -> String {
    let (word, comes) = status::asked(wish);
    format!("{}: {comes}.", capital(&seen(word)))
}

fn whys(delivery: &Delivery) -> Vec<Why> {
    let who = delivery.actor.as_deref().map(|actor| format!("{actor}: ")).unwrap_or_default();
    let reason = delivery.reason.as_deref().map(|reason| format!("{who}{reason}"));
    let stops = if delivery.status == "loaded" { "why" } else { "error" };
    let whys = [(stops, "Error", delivery.error.clone()), ("why", "Reason", reason)];
    let said = whys.into_iter().filter_map(|(class, label, text)| {
        // each line of an error stays one
        let text = text?.lines().map(seen).collect::<Vec<_>>().join("\n");
        Some(Why { class, label, text })
    });
    said.filter(|why| !why.text.is_empty()).collect()
}

fn steps(delivery: &Delivery) -> Vec<Vec<Piece>> {
    if delivery.requested.is_some() {
        return Vec::new();
    }
    let file = if delivery.kind == "snapshot" { File::Snapshot } else { File::Changes };
    status::next(&delivery.status, file, delivery.id).iter().map(|words| step(words)).collect()
}

fn counts(delivery: &Delivery) -> Vec<Count> {
    let Delivery { rows_read, rows_create, rows_amend, rows_remove, rows_unchanged, rows_rejected, .. } = *delivery;
    let counts = match delivery.status.as_str() {
        "loaded" => vec![
            ("Rows read", rows_read),
            ("Create", rows_create),
            ("Amend", rows_amend),
            ("Remove", rows_remove),
            ("Unchanged", rows_unchanged),
            ("Rejected", rows_rejected),
        ],
        "held" if rows_remove > 0 => vec![("Would remove", rows_remove)],
        _ => Vec::new(),
    };
    counts.into_iter().map(|(label, count)| Count { label, shown: number(count) }).collect()
}

/// Returns the ledger's columns that have a meaning for the delivery and are not shown above.
fn fields(delivery: &Delivery, now: i64) -> Vec<Field> {
    let text = |label, text: &str| Field { label, text: seen(text), ..Field::default() };
    let at = |label, text: &str| Field { label, text: seen(text), at: Time::read(text, now), ..Field::default() };
    let size = match delivery.size_bytes {
        bytes if bytes < 1000 => words::size(bytes),
        bytes => format!("{} ({} B)", words::size(bytes), number(bytes)),
    };
    let followed = delivery.superseded_by.map(|id| Field {
        label: "Superseded by",
        text: format!("delivery {id}"),
        href: format!("/deliveries/{id}"),
        at: None,
    });
    let mut fields = vec![
        text("Bucket", &delivery.bucket),
        text("ETag", &delivery.etag),
        text("Size", &size),
        at("Last modified", &delivery.last_modified),
        text("Generation", &delivery.generation.to_string()),
        at("Began", &delivery.started_at),
        at("Written", &delivery.committed_at),
        text("Took", took(delivery).as_deref().unwrap_or_default()),
        text("Attempts", &delivery.attempts.to_string()),
        text("Highest event id", &delivery.max_event_id.map(|id| id.to_string()).unwrap_or_default()),
        text("Claimed", &claims(delivery.claimed.as_ref())),
        text("Loader", &format!("{}, version {}", delivery.host, delivery.version)),
        text("Actor", delivery.actor.as_deref().unwrap_or_default()),
    ];
    fields.extend(followed);
    fields.retain(|field| !field.text.is_empty());
    fields
}

/// Returns the operations that the file itself claims: `I 2, U 3`.
fn claims(claimed: Option<&Value>) -> String {
    let claims = claimed.and_then(Value::as_object).into_iter().flatten();
    let claims = claims.map(|(op, count)| format!("{op} {}", count.as_u64().map_or(count.to_string(), number)));
    claims.collect::<Vec<_>>().join(", ")
}

fn note(delivery: &Delivery, shown: usize) -> String {
    match usize::try_from(delivery.rows_rejected).unwrap_or(usize::MAX) {
        all if all > shown => format!("The first {shown} of {}.", number(delivery.rows_rejected)),
        _ => String::new(),
    }
}

impl Reject {
    fn of(reject: &crate::load::Reject) -> Self {
        let column = reject.column_name.as_deref().unwrap_or("–");
        Self { line: reject.line, column: seen(column), reason: seen(&reject.reason) }
    }
}

impl Message {
    fn of(message: &crate::load::Message, now: i64) -> Self {
        let published = message.published_at.as_deref().and_then(|at| Time::read(at, now));
        let mark = match published {
            Some(_) => Mark::new("good", "✓", "published"),
            None => Mark::new("warn", "…", "waits for the broker"),
        };
        Self {
            mark,
            published,
            created: Time::read(&message.created_at, now).unwrap_or_default(),
            subject: seen(&message.subject),
            message_id: seen(&message.message_id),
            payload: seen(&message.payload),
        }
    }
}
