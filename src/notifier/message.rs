//! The wire form of the news: the mission's JSON, byte for byte.

use std::fmt::Write;

use serde::Serialize;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::SUBJECT;
use crate::clock;
use crate::decode::File;
use crate::load::{Changes, Counts, Feed, News};
use crate::source::Pending;

/// The keys in their order.
#[derive(Serialize)]
struct Message<'a> {
    v: u8,
    ds: &'static str,
    id: &'static str,
    host: &'a str,
    utcts: String,
    stats: serde_json::Map<String, serde_json::Value>,
    max_event_id: Option<i64>,
}

pub(super) fn compose(changes: &Changes, host: &str, at: OffsetDateTime) -> News {
    let message = Message {
        v: 1,
        ds: "paper-engine",
        id: "orders",
        host,
        utcts: clock::stamp(at),
        stats: stats(&changes.pending().label, changes.counts()),
        max_event_id: changes.max_event_id(),
    };
    News {
        subject: SUBJECT.to_owned(),
        message_id: message_id(changes.feed(), changes.pending()),
        payload: serde_json::to_string(&message).expect("strings and numbers are JSON"),
    }
}

/// Returns the counts by the table's name, empty for a delivery that changed nothing.
pub fn stats(label: &str, counts: Counts) -> serde_json::Map<String, serde_json::Value> {
    let mut stats = serde_json::Map::new();
    if counts.any() {
        let ops = serde_json::json!({"AMEND": counts.amend, "CREATE": counts.create, "REMOVE": counts.remove});
        stats.insert(label.to_owned(), ops);
    }
    stats
}

/// Returns the message id, which is the same for every attempt at a delivery: a hash of the schema, the delivery's
/// identity in the ledger and its generation. A version that came back is another delivery with another id.
fn message_id(feed: &Feed, pending: &Pending) -> String {
    let carrier = pending.carrier();
    let listed = &carrier.listed;
    let modified = if pending.file == File::Snapshot { listed.modified } else { 0 };
    let schema = if feed.target_schema.is_empty() { &pending.entity.schema } else { &feed.target_schema };
    let (scope, generation) = (feed.id(), pending.generation);
    let mut identity = format!("{schema}\n{scope}\n{}\n{}\n{modified}\n{generation}", listed.key, listed.etag);
    if carrier.occurrence > 1 {
        let _ = write!(identity, "\n{}", carrier.occurrence);
    }
    Sha256::digest(identity.as_bytes()).iter().take(16).fold(String::new(), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::source::{Entity, Listed, Object, Step};

    #[test]
    fn the_missions_example_byte_for_byte() {
        let counts = Counts { create: 159_967, ..Counts::default() };
        let message = Message {
            v: 1,
            ds: "paper-engine",
            id: "orders",
            host: "hostname",
            utcts: clock::stamp(datetime!(2021-12-09 08:31:04.82489 UTC)),
            stats: stats("entity_1", counts),
            max_event_id: Some(1_020_487_673),
        };
        let wanted = concat!(
            r#"{"v":1,"ds":"paper-engine","id":"orders","host":"hostname","utcts":"2021-12-09T08:31:04.824890","#,
            r#""stats":{"entity_1":{"AMEND":0,"CREATE":159967,"REMOVE":0}},"max_event_id":1020487673}"#
        );
        assert_eq!(serde_json::to_string(&message).expect("json"), wanted);
    }

    #[test]
    fn a_version_that_comes_back_has_a_message_of_its_own() {
        let listed = Listed { key: "data/dbo/e/20220101-000000.csv.gz".into(), etag: "a".into(), size: 1, modified: 9 };
        let pending = |occurrence| Pending {
            entity: Entity { schema: "dbo".into(), name: "e".into() },
            label: "e".into(),
            file: File::Changes,
            generation: 1,
            step: Step::Changes,
            objects: vec![Object { occurrence, ..Object::unknown(listed.clone()) }],
            after: 0,
            passes: [].into(),
            remark: None,
            if_same: None,
        };
        let id = |occurrence| message_id(&Feed::default(), &pending(occurrence));
        assert_eq!(id(1), id(1));
        assert!(id(1) != id(2) && id(2) != id(3));
    }

    #[test]
    fn nothing_changed_is_an_empty_object() {
        let counts = Counts { unchanged: 7, ..Counts::default() };
        assert_eq!(serde_json::Value::Object(stats("entity_1", counts)).to_string(), "{}");
    }
}
