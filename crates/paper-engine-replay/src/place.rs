//! Defines a row and its place in a replay.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::timestamp::{self, Micros};

/// Where a row stands: pass, time, table, key. Two rows of one replay differ in at least one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Grows with every backward seek and loop.
    pub pass: u32,
    pub time: Micros,
    pub table: usize,
    /// The key's columns as text; for a table without a key the row's ordinal in its tie.
    pub key: Vec<String>,
}

/// A row as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub time: Micros,
    pub table: usize,
    pub key: Vec<String>,
    /// The columns as one JSON object.
    pub payload: Bytes,
}

/// How a row's place compares to the place that a destination has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    Before,
    /// The same pass, time and table: only the keys tell, and their order is the database's.
    Tie,
    After,
}

impl Place {
    /// Compares this place with another.
    pub fn position_to(&self, acknowledged: &Self) -> Position {
        let of = |place: &Self| (place.pass, place.time, place.table);
        match of(self).cmp(&of(acknowledged)) {
            std::cmp::Ordering::Less => Position::Before,
            std::cmp::Ordering::Equal => Position::Tie,
            std::cmp::Ordering::Greater => Position::After,
        }
    }

    /// Returns the id of the row's record: `source/table/time/key#pass`, in visible ASCII.
    pub fn id(&self, source: &str, table: &Arc<str>) -> String {
        let key = self.key.iter().map(|part| escape(part)).collect::<Vec<_>>().join(",");
        let key = if key.len() > KEY_MAX { hash(&self.key) } else { key };
        format!("{}/{}/{}/{key}#{}", escape(source), escape(table), timestamp::show(self.time), self.pass)
    }
}

/// Longer keys are hashed: a header has its limits.
const KEY_MAX: usize = 200;

fn hash(key: &[String]) -> String {
    let mut hash = Sha256::new();
    for part in key {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes what is not a visible letter of ASCII, or has a meaning in an id, as `%41`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"%/#,".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(key: &[&str]) -> Place {
        Place { pass: 2, time: 0, table: 0, key: key.iter().map(|part| (*part).to_owned()).collect() }
    }

    #[test]
    fn an_id_is_visible_ascii_and_differs_where_keys_do() {
        let table: Arc<str> = "public.or ders".into();
        assert_eq!(
            place(&["4", "é\n"]).id("db", &table),
            "db/public.or%20ders/1970-01-01T00:00:00.000000Z/4,%C3%A9%0A#2"
        );
        let ids = [["a,b", "c"], ["a", "b,c"]].map(|key| place(&key).id("db", &table));
        assert_ne!(ids[0], ids[1]);
        let long = "x".repeat(500);
        assert!(place(&[&long]).id("db", &table).len() < 200);
        assert_ne!(place(&[&long, "1"]).id("db", &table), place(&[&long, "2"]).id("db", &table));
    }
}
