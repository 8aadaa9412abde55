//! The quarantine: rows that cannot be loaded are kept in `loader_rejects`, and the rest of their file is loaded.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::delta::copy_spool;
use super::settings::Share;
use super::spool::Spool;
use super::{Error, Place, tuple};
use crate::pg::Tx;

/// What becomes of a row that cannot be loaded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BadRows {
    /// it fails its delivery
    Stop,
    /// it is kept aside, and so are as many as this of a delivery's rows
    Quarantine { most: Share },
}

/// The rejected rows of one delivery, filled from the threads that find them.
#[derive(Clone)]
pub struct Rejects(Arc<Mutex<Kept>>);

struct Kept {
    delivery: i64,
    /// the keys of the delivery's objects
    objects: Vec<String>,
    rows: Spool,
    tally: Tally,
    /// reused
    tuple: Vec<u8>,
}

/// How many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// of each part
    pub parts: Vec<u64>,
    /// rows whose key cannot be read, so that nobody knows which row of the table they speak of
    pub blind: u64,
    /// the first, in words
    pub first: Option<String>,
}

impl Tally {
    pub fn total(&self) -> u64 {
        self.parts.iter().sum()
    }

    /// Whether so many of `read` rows may be rejected.
    pub fn check(&self, read: u64, most: Share) -> Result<(), Error> {
        if self.total() == 0 || !most.is_less_than(self.total(), read) {
            return Ok(());
        }
        let first = self.first.clone().unwrap_or_default();
        Err(Error::TooManyRejects { rejected: self.total(), read, first })
    }
}

/// One bad row.
#[derive(Debug, Clone, Copy)]
pub struct Reject<'a> {
    pub at: Place,
    pub column: Option<&'a str>,
    pub reason: &'a str,
    /// as it stands in the file
    pub raw: &'a [u8],
    /// whether its key can be read
    pub blind: bool,
}

impl Rejects {
    pub fn new(delivery: i64, objects: Vec<String>) -> Self {
        let (rows, tally) = (Spool::default(), Tally::default());
        Self(Arc::new(Mutex::new(Kept { delivery, objects, rows, tally, tuple: Vec::new() })))
    }

    pub fn add(&self, reject: &Reject<'_>) -> io::Result<()> {
        self.kept().add(reject)
    }

    pub fn tally(&self) -> Tally {
        self.kept().tally.clone()
    }

    /// Writes them; the foreign key to the ledger is checked at the commit, when its row is there.
    pub async fn write(self, tx: &Tx) -> Result<(), Error> {
        let rows = std::mem::take(&mut self.kept().rows);
        let sql = "copy public.loader_rejects (delivery_id, object_key, line, column_name, reason, raw)
            from stdin (format binary)";
        copy_spool(tx, sql, rows).await.map(drop)
    }

    /// A thread that panicked in between left a whole row or none.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, reject: &Reject<'_>) -> io::Result<()> {
        let Reject { at, column, reason, raw, blind } = *reject;
        if self.tally.parts.len() <= at.part {
            self.tally.parts.resize(at.part + 1, 0);
        }
        self.tally.parts[at.part] += 1;
        self.tally.blind += u64::from(blind);
        self.tally.first.get_or_insert_with(|| match column {
            Some(column) => format!("{at}, column {column}: {reason}"),
            None => format!("{at}: {reason}"),
        });
        let object = self.objects.get(at.part).map_or("", String::as_str);
        self.tuple.clear();
        let out = &mut self.tuple;
        tuple::begin(6, out);
        tuple::value(&self.delivery.to_be_bytes(), out);
        tuple::value(object.as_bytes(), out);
        tuple::value(&at.line.to_be_bytes(), out);
        match column {
            Some(column) => tuple::value(column.as_bytes(), out),
            None => tuple::null(out),
        }
        tuple::value(reason.as_bytes(), out);
        tuple::value(raw, out);
        self.rows.push(&self.tuple)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tally_names_the_first_and_knows_the_limit() {
        let rejects = Rejects::new(7, vec!["a".into(), "b".into()]);
        let reject = |part, line, column, blind| Reject {
            at: Place { part, line },
            column,
            reason: "not a number",
            raw: b"x",
            blind,
        };
        rejects.add(&reject(0, 3, Some("price"), false)).expect("added");
        rejects.add(&reject(1, 1, None, true)).expect("added");
        let tally = rejects.tally();
        assert_eq!((tally.parts.as_slice(), tally.blind, tally.total()), (&[1, 1][..], 1, 2));
        assert_eq!(tally.first.as_deref(), Some("line 3, column price: not a number"));
        assert!(tally.check(200, Share::Percent(1.0)).is_ok());
        assert!(tally.check(199, Share::Percent(1.0)).is_err());
        assert!(tally.check(2, Share::Rows(2)).is_ok());
        assert!(tally.check(1_000_000, Share::Rows(1)).is_err());
        assert!(Tally::default().check(0, Share::Rows(0)).is_ok());
    }
}
