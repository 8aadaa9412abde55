//! Rows that move onto keys under which other rows stand. One statement of a source may shift or swap keys, and its rows are
//! written one after the other: read row by row, the second one would move the row that has just arrived, and the row that
//! stood there before would be lost.
//!
//! No file says whether the table has a row under a key of which it has said nothing yet. So the arrivals at such keys are
//! collected here, and judged when the rows of the table are at hand.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::RowAction;
use super::chain::Chain;
use super::sort::Record;
use super::{Error, Place};

/// A row that arrived at a key of which the files had said nothing before.
#[derive(Debug, Clone)]
pub struct Arrival {
    at: Place,
    /// Key at which it arrived.
    key: Vec<u8>,
    /// Key that it had before the files; `None` if the table, as it is now, does not tell whether it was there.
    from: Option<Vec<u8>>,
    /// `true` if the files wrote the row there before it moved.
    written: bool,
    /// Place of the row that moves it on from this key, and the key to which it moves.
    left: Option<(Place, Vec<u8>)>,
}

/// State of the table under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum There {
    Nothing,
    /// The row that the files want there.
    Same,
    /// A row that the files change or remove.
    Other,
}

/// Follows the rows of a delivery that move, in file order.
#[derive(Debug, Default)]
pub struct Collisions {
    arrivals: Vec<Arrival>,
    /// The first row that moved onto a row of which the files had spoken, and where that one moves on.
    certain: Option<(Vec<u8>, Place, Option<Place>)>,
    /// The rows that stand where they arrived.
    arrived: BTreeMap<Vec<u8>, Arrived>,
    /// Keys under which a row was written again after its row had left.
    used_again: BTreeSet<Vec<u8>>,
    /// The key that a row leaves, and the row.
    moving: Option<(Vec<u8>, Arrived)>,
}

/// Key at which a row began, before the files or with them.
#[derive(Debug, Clone)]
struct Origin {
    key: Vec<u8>,
    /// `true` if the files wrote it before it moved.
    written: bool,
}

#[derive(Debug)]
struct Arrived {
    /// `None` for a row that was nowhere.
    from: Option<Origin>,
    /// Its place among the arrivals.
    place: Option<usize>,
}

impl Collisions {
    /// Takes the next record; `before` is what the files want of its key so far.
    pub fn take(&mut self, record: &Record<'_>, before: Option<RowAction>) {
        let (key, at) = (record.key, Place::from(record.mark));
        match record.mark.wish {
            RowAction::Away => self.leave(key, before),
            RowAction::Here => self.arrive(key, at, before),
            RowAction::Gone => _ = self.arrived.remove(key),
            _ if before == Some(RowAction::Gone) => {
                self.arrived.remove(key);
                self.used_again.insert(key.to_vec());
            }
            _ => {}
        }
    }

    fn leave(&mut self, key: &[u8], before: Option<RowAction>) {
        let there = self.arrived.remove(key).unwrap_or_else(|| {
            let origin = Origin { key: key.to_vec(), written: before.is_some() };
            Arrived { from: (before != Some(RowAction::Gone)).then_some(origin), place: None }
        });
        self.moving = Some((key.to_vec(), there));
    }

    fn arrive(&mut self, key: &[u8], at: Place, before: Option<RowAction>) {
        let Some((left, there)) = self.moving.take() else { return };
        if left == key {
            self.arrived.insert(left, there);
            return;
        }
        self.moves_on(&left, there.place, key, at);
        let from = there.from;
        let mut place = None;
        match (&from, before) {
            (Some(origin), None) => {
                place = Some(self.arrivals.len());
                let (from, written) = (Some(origin.key.clone()), origin.written);
                self.arrivals.push(Arrival { at, key: key.to_vec(), from, written, left: None });
            }
            (Some(_), Some(RowAction::Gone)) | (None, _) => {}
            // a row that was nowhere is no row
            (Some(_), Some(_)) if self.arrived.get(key).is_some_and(|there| there.from.is_none()) => {}
            (Some(_), Some(_)) => _ = self.certain.get_or_insert_with(|| (key.to_vec(), at, None)),
        }
        self.arrived.insert(key.to_vec(), Arrived { from, place });
    }

    /// Notes that the row under a key has moved to another one.
    fn moves_on(&mut self, left: &[u8], arrived: Option<usize>, to: &[u8], at: Place) {
        self.used_again.remove(left);
        if let Some((_, _, later @ None)) = self.certain.as_mut().filter(|(onto, ..)| onto == left) {
            *later = Some(at);
        }
        if let Some(arrival) = arrived.and_then(|place| self.arrivals.get_mut(place)) {
            arrival.left = Some((at, to.to_vec()));
        }
    }

    /// Returns the arrivals that must be judged by the rows of the table, as it is now: `loaded` is what the files among them say
    /// that were loaded before, and `parts` which those are. Fails if a row moves onto another one whatever the table has.
    pub fn end(self, loaded: &Chain, parts: &[bool]) -> Result<Vec<Arrival>, Error> {
        if let Some((_, at, left)) = self.certain {
            return Err(Error::Displaced { at, later: Later(left) });
        }
        let was_loaded = |at: Place| parts.get(at.part) == Some(&true);
        let mut arrivals = Vec::new();
        for mut arrival in self.arrivals {
            let left = arrival.left.as_ref();
            let used_again = arrival.from.as_ref().is_some_and(|from| self.used_again.contains(from));
            // judged when it was loaded; so was a row that moved on to where this one came from, and it met none there
            let judged = was_loaded(arrival.at) || left.is_some_and(|(at, to)| was_loaded(*at) && arrival.is_from(to));
            if judged || (used_again && left.is_none()) {
                continue;
            }
            if loaded.names(&arrival.key) {
                match left {
                    Some(_) => return Err(arrival.refused()),
                    None => continue,
                }
            }
            arrival.from = arrival.from.filter(|from| !loaded.names(from));
            arrivals.push(arrival);
        }
        Ok(arrivals)
    }
}

impl Arrival {
    /// Returns the keys whose rows decide.
    pub fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.from.iter().chain([&self.key])
    }

    /// Returns true if it displaces a row, given what the table has under a key. A row that the table does not have where it is
    /// said to come from had moved before the table was read, as long as it does not move on.
    pub fn displaces(&self, there: impl Fn(&[u8]) -> There) -> bool {
        let is_there = |key: &Vec<u8>| there(key) != There::Nothing;
        match there(&self.key) {
            There::Nothing => false,
            _ if self.left.is_some() || self.from.as_ref().is_none_or(is_there) => true,
            There::Same => false,
            There::Other => self.written,
        }
    }

    pub fn refused(&self) -> Error {
        Error::Displaced { at: self.at, later: Later(self.left.as_ref().map(|(at, _)| *at)) }
    }

    fn is_from(&self, key: &[u8]) -> bool {
        self.from.as_deref() == Some(key)
    }
}

/// Place at which the row under the key moves on, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Later(Option<Place>);

impl std::fmt::Display for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(place) => write!(f, ", and {place} moves a row away from there only afterwards"),
            None => Ok(()),
        }
    }
}
