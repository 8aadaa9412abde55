//! Record of a delivery: its identity, and the ledger rows with its outcome.

use time::OffsetDateTime;

use super::delivery_tx::{Changes, DeliveryTx};
use super::ledger::{self, Line, Sign};
use super::{Counts, Error, Feed};
use crate::pg::Tx;
use crate::source::{Content, Object, Pending, Status};

/// Data from which a delivery's ledger rows are made.
pub struct DeliveryRecord {
    pub id: i64,
    /// Revision that the ledger rows of this delivery get.
    pub revision: i64,
    pub pending: Pending,
    pub feed: Feed,
    pub host: String,
    pub started_at: OffsetDateTime,
    /// The content of each object, as far as they were read.
    pub contents: Vec<Content>,
}

impl DeliveryTx {
    /// Returns the identity of this attempt at the delivery.
    pub fn sign(&self) -> Sign {
        self.docket.sign()
    }
}

impl DeliveryRecord {
    /// Writes the rows of all parts but the last, which carries the effects; the new parts with their ids.
    pub async fn sign_others(&self, tx: &Tx, changes: &Changes) -> Result<Vec<(usize, i64)>, Error> {
        let (last, mut ids) = (self.last_new(), Vec::new());
        for (part, object) in self.pending.objects.iter().enumerate().rev().filter(|(part, _)| *part != last) {
            if let Some(id) = object.entry.filter(|_| !object.new) {
                ledger::carry_over(tx, id, self.pending.generation).await?;
                continue;
            }
            let id = self.id_of(part);
            ledger::write(tx, &self.loaded(changes, part, id)).await?;
            ids.push((part, id));
        }
        Ok(ids)
    }

    /// Returns the ledger row of a part that was loaded.
    pub fn loaded<'a>(&'a self, changes: &Changes, part: usize, id: i64) -> Line<'a> {
        let line = self.line(id, &self.pending.objects[part], Status::Loaded);
        changes.of_part(part, Line { reason: self.pending.remark.as_deref(), ..line })
    }

    /// Returns the new parts with their ids and keys.
    pub fn named(&self, others: Vec<(usize, i64)>) -> Vec<(usize, i64, &str)> {
        let all = others.into_iter().chain([(self.last_new(), self.id)]);
        all.map(|(part, id)| (part, id, self.pending.objects[part].listed.key.as_str())).collect()
    }

    /// Records the reason for which the delivery was given up, on the faulty object. A held delivery is held as a
    /// whole: all its new parts are held, and the last one has the number of rows that it would have removed.
    pub async fn note(&self, tx: &Tx, status: Status, why: &Why) -> Result<i64, Error> {
        let (last, blamed) = (self.last_new(), self.pending.blamed(why.part));
        let whole = status == Status::Held;
        let mut id = self.id;
        for part in self.pending.new_objects().filter(|part| whole || *part == blamed) {
            id = self.id_of(part);
            let mut line = self.line(id, &self.pending.objects[part], status);
            line.counts.remove = why.removes.filter(|_| part == last).unwrap_or(0);
            match status {
                Status::Skipped => (line.actor, line.reason) = (Some("loader"), Some(why.words.as_str())),
                _ => line.error = Some(&why.words),
            }
            ledger::write(tx, &line).await?;
        }
        Ok(id)
    }

    /// Writes down that the bytes are those of the versions that are loaded; the highest id.
    pub async fn note_same(&self, tx: &Tx) -> Result<i64, Error> {
        let mut last = self.id;
        for part in self.pending.new_objects() {
            let object = &self.pending.objects[part];
            let Some(before) = &object.before else { continue };
            let id = self.id_of(part);
            let reason = format!("rewritten with the same bytes as delivery {}; nothing was applied", before.id);
            let line = self.line(id, object, Status::Loaded);
            ledger::write(tx, &Line { reason: Some(&reason), ..line }).await?;
            ledger::take_over(tx, id, before.id).await?;
            last = last.max(id);
        }
        Ok(last)
    }

    /// Returns the index of the last object that needs a ledger row: its row carries the effects of the whole
    /// delivery.
    pub fn last_new(&self) -> usize {
        self.pending.new_objects().last().unwrap_or(self.pending.objects.len() - 1)
    }

    /// Returns the ledger id of a part. Every object has its ledger row before its delivery begins.
    fn id_of(&self, part: usize) -> i64 {
        self.pending.objects[part].entry.unwrap_or(self.id)
    }

    /// Returns the identity of this attempt.
    pub fn sign(&self) -> Sign {
        Sign { id: self.id, revision: self.revision, started_at: self.started() }
    }

    /// Returns the start time in seconds since 1970.
    fn started(&self) -> f64 {
        self.started_at.unix_timestamp_nanos() as f64 / 1e9
    }

    fn content_of<'a>(&'a self, object: &'a Object) -> Option<&'a [u8]> {
        let part = self.pending.objects.iter().position(|one| one.listed.key == object.listed.key);
        let read = part.and_then(|part| self.contents.get(part));
        read.or(object.content.as_ref()).map(<[u8; 32]>::as_slice)
    }

    fn line<'a>(&'a self, id: i64, object: &'a Object, status: Status) -> Line<'a> {
        Line {
            id,
            revision: self.revision,
            feed: &self.feed,
            pending: &self.pending,
            object,
            status,
            rows_read: 0,
            counts: Counts::default(),
            claimed: None,
            max_event_id: None,
            started_at: self.started(),
            host: &self.host,
            error: None,
            actor: None,
            reason: None,
            content: self.content_of(object),
        }
    }
}

/// Reason for which a delivery was given up.
#[derive(Debug, Clone, Default)]
pub struct Why {
    pub words: String,
    /// The part that is to blame.
    pub part: Option<usize>,
    /// Number of rows that the snapshot would have removed.
    pub removes: Option<u64>,
}

impl Why {
    /// Returns a reason that consists of a text alone.
    pub fn of(words: &str) -> Self {
        Self { words: words.to_owned(), ..Self::default() }
    }
}
