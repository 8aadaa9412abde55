//! The quarantine: rows that cannot be loaded are kept in `loader_rejects`, and the rest of their file is loaded.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::delta::copy_spool;
use super::settings::Share;
use super::spool::Spool;
use super::{Error, Place, tuple};
use crate::pg::Tx;

/// Treatment of rows that cannot be loaded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BadRows {
    /// Fails the delivery.
    Stop,
    /// Stores the row in `loader_rejects`, up to this share or number of a delivery's rows.
    Quarantine { most: Share },
}

/// The rejected rows of one delivery, filled from the threads that find them.
#[derive(Clone)]
pub struct Rejects(Arc<Mutex<Kept>>);

struct Kept {
    most: Share,
    /// `true` for each part whose rejects are recorded; those of the other parts were recorded when the parts were
    /// loaded.
    new: Vec<bool>,
    /// Tuples of part, line, column, reason and bytes.
    rows: Spool,
    tally: Tally,
    /// Reused.
    tuple: Vec<u8>,
}

/// Number of rejected rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of rejected rows of each part.
    pub parts: Vec<u64>,
    /// Number of rejected rows whose key cannot be read, so that the table's rows with the same keys are unknown.
    pub blind: u64,
    /// The first, in words.
    pub first: Option<String>,
}

impl Tally {
    pub fn total(&self) -> u64 {
        self.parts.iter().sum()
    }
}

/// One rejected row.
#[derive(Debug, Clone, Copy)]
pub struct Reject<'a> {
    pub at: Place,
    pub column: Option<&'a str>,
    pub reason: &'a str,
    /// The row's bytes as in the file.
    pub raw: &'a [u8],
    /// `true` if the row's key cannot be read.
    pub blind: bool,
}

impl Rejects {
    /// Creates an empty set of rejects. `new` says for each part whether its rejects are recorded; `most` is the
    /// limit.
    pub fn new(new: Vec<bool>, most: Share) -> Self {
        let (rows, tally) = (Spool::default(), Tally::default());
        Self(Arc::new(Mutex::new(Kept { most, new, rows, tally, tuple: Vec::new() })))
    }

    pub fn add(&self, reject: &Reject<'_>) -> io::Result<()> {
        self.kept().add(reject)
    }

    /// Records that the key of a row that was added before cannot be read.
    pub fn blind(&self) {
        self.kept().tally.blind += 1;
    }

    pub fn tally(&self) -> Tally {
        self.kept().tally.clone()
    }

    /// Fails if more than the allowed part of `read` rows were rejected. If some keys cannot be read, returns a
    /// sentence about it; then no row may be removed.
    pub fn check(&self, read: u64) -> Result<Option<String>, Error> {
        let kept = self.kept();
        let (rejected, first) = (kept.tally.total(), kept.tally.first.clone().unwrap_or_default());
        if kept.most.is_less_than(rejected, read) {
            let most = kept.most;
            return Err(Error::TooManyRejects { rejected, read, most, first });
        }
        let blind = kept.tally.blind;
        Ok((blind > 0).then(|| {
            format!(
                "the keys of {blind} rejected rows cannot be read, so these may be among them; rejected was {first}"
            )
        }))
    }

    /// Writes them: `deliveries` are the ids and keys of the parts.
    pub async fn write(&self, tx: &Tx, deliveries: &[(usize, i64, &str)]) -> Result<(), Error> {
        let rows = std::mem::take(&mut self.kept().rows);
        let mut reader = rows.into_reader()?;
        let (mut named, mut row) = (Spool::default(), Vec::new());
        while tuple::read(&mut reader, &mut row)? {
            let mut cells = tuple::cells(&row);
            let part = cells.next().map(|cell| tuple::integer(cell.value()));
            let Some((_, id, key)) = deliveries.iter().find(|(place, ..)| part == Some(*place as i64)) else {
                continue;
            };
            let mut out = Vec::new();
            tuple::begin(6, &mut out);
            tuple::value(&id.to_be_bytes(), &mut out);
            tuple::value(key.as_bytes(), &mut out);
            cells.for_each(|cell| out.extend_from_slice(cell.0));
            named.push(&out)?;
        }
        let sql = "copy public.loader_rejects (delivery_id, object_key, line, column_name, reason, raw)
            from stdin (format binary)";
        copy_spool(tx, sql, &named).await.map(drop)
    }

    /// Locks the rejects. A thread that panicked left a whole row or none, so a poisoned lock is safe to use.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Rejects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rejects").field(&self.tally().total()).finish()
    }
}

impl Kept {
    fn add(&mut self, reject: &Reject<'_>) -> io::Result<()> {
        let Reject { at, column, reason, raw, blind } = *reject;
        self.tally.blind += u64::from(blind);
        if !self.new.get(at.part).is_some_and(|new| *new) {
            return Ok(());
        }
        if self.tally.parts.len() <= at.part {
            self.tally.parts.resize(at.part + 1, 0);
        }
        self.tally.parts[at.part] += 1;
        self.tally.first.get_or_insert_with(|| match column {
            Some(column) => format!("{at}, column {column}: {reason}"),
            None => format!("{at}: {reason}"),
        });
        self.tuple.clear();
        let out = &mut self.tuple;
        tuple::begin(5, out);
        tuple::value(&(at.part as i64).to_be_bytes(), out);
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

    fn rejects(most: Share) -> Rejects {
        let rejects = Rejects::new(vec![true, true, false], most);
        for (part, line, column, blind) in [(0, 3, Some("price"), false), (1, 1, None, true), (2, 1, None, false)] {
            let at = Place { part, line };
            rejects.add(&Reject { at, column, reason: "not a number", raw: b"x", blind }).expect("added");
        }
        rejects
    }

    #[test]
    fn the_tally_names_the_first_and_counts_the_new_parts() {
        let tally = rejects(Share::Rows(9)).tally();
        assert_eq!((tally.parts.as_slice(), tally.blind, tally.total()), (&[1, 1][..], 1, 2));
        assert_eq!(tally.first.as_deref(), Some("line 3, column price: not a number"));
    }

    #[test]
    fn there_is_a_limit() {
        assert!(rejects(Share::Percent(1.0)).check(200).is_ok());
        assert!(rejects(Share::Percent(1.0)).check(199).is_err());
        assert!(rejects(Share::Rows(2)).check(2).expect("two may be").is_some(), "one is blind");
        assert!(rejects(Share::Rows(1)).check(1_000_000).is_err());
        assert_eq!(Rejects::new(vec![true], Share::Rows(0)).check(0).expect("there are none"), None);
    }
}
