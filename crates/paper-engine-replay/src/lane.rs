//! Publishes what was released to one destination: in order, in batches, again and again until the destination takes it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pe_publish::{Outcome, Publisher, Record};
use pe_runtime::backoff::Backoff;

use crate::checkpoint::{CheckpointFile, Done};
use crate::clock::Nanos;
use crate::histogram::Histogram;
use crate::place::Place;
use crate::queue::{Entry, Queue};
use crate::timekeeper::SystemTime;
use crate::timestamp;

/// What goes into one batch.
const BATCH_ROWS: usize = 10_000;
const BATCH_BYTES: usize = 4 << 20;
/// How often the checkpoint is written, at most.
const CHECKPOINT_EVERY: Nanos = 1_000_000_000;
const IDLE: Duration = Duration::from_millis(500);

/// The names that records carry.
#[derive(Clone, Debug)]
pub struct Names {
    pub source: String,
    /// Each table, and how many columns of its key make a record's key.
    pub tables: Vec<(Arc<str>, usize)>,
}

/// What a lane has come to.
#[derive(Default)]
pub struct Tally {
    pub delivered: AtomicU64,
    pub rejected: AtomicU64,
    pub bytes: AtomicU64,
    pub retries: AtomicU64,
    pub is_away: AtomicBool,
    /// From the time at which a row was due until the destination had it.
    pub late: Histogram,
}

/// One destination and its queue.
pub struct Lane {
    pub name: String,
    pub publisher: Box<dyn Publisher>,
    pub queue: Arc<Queue>,
    pub names: Arc<Names>,
    pub tally: Arc<Tally>,
    pub checkpoint: Option<Arc<CheckpointFile>>,
    /// So many rows become one record, as a JSON array; 1 is a record per row.
    pub pack: usize,
    /// The last row that the destination has.
    pub done: Option<Place>,
    pub saved: Nanos,
    pub is_unsaved: bool,
}

impl Lane {
    /// Publishes until the queue is closed and empty.
    ///
    /// # Errors
    /// Returns why the destination is lost.
    pub async fn run(mut self) -> Result<(), String> {
        loop {
            match tokio::time::timeout(IDLE, self.queue.pop(BATCH_ROWS, BATCH_BYTES)).await {
                Err(_) => self.save().await,
                Ok(entries) if entries.is_empty() => break,
                Ok(entries) => {
                    self.deliver(entries).await?;
                    if SystemTime::monotonic() >= self.saved + CHECKPOINT_EVERY {
                        self.save().await;
                    }
                }
            }
        }
        if let Some(fault) = self.queue.fault() {
            return Err(format!("{}: {fault}", self.name));
        }
        self.save().await;
        if let Err(error) = self.publisher.flush().await {
            tracing::warn!("{}: {error}.", self.name);
        }
        self.publisher.close().await;
        Ok(())
    }

    /// Publishes entries until the destination has taken or refused each.
    async fn deliver(&mut self, entries: Vec<Entry>) -> Result<(), String> {
        let records: Vec<(Record, usize)> = self.records(&entries);
        let (records, counts): (Vec<Record>, Vec<usize>) = records.into_iter().unzip();
        let (mut done, mut settled) = (0, 0);
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        while done < records.len() {
            let outcomes = self.publisher.publish(&records[done..]).await;
            let outcomes = outcomes.map_err(|error| format!("{}: {error}", self.name))?;
            let now = SystemTime::monotonic();
            let mut again = None;
            for outcome in outcomes {
                let rows = &entries[settled..settled + counts[done]];
                match outcome {
                    Outcome::Retry(why) => {
                        again = Some(why);
                        break;
                    }
                    Outcome::Delivered => self.delivered(rows, records[done].payload.len(), now),
                    Outcome::Rejected(why) => self.rejected(&records[done].id, rows, &why),
                }
                (done, settled) = (done + 1, settled + rows.len());
            }
            match again {
                None => self.is_back(),
                Some(why) => {
                    self.is_away(&why);
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
        Ok(())
    }

    fn delivered(&mut self, rows: &[Entry], bytes: usize, now: Nanos) {
        self.tally.delivered.fetch_add(rows.len() as u64, Ordering::Relaxed);
        self.tally.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        for row in rows {
            self.tally.late.add(now.saturating_sub(row.release.due));
        }
        self.settle(rows);
    }

    fn rejected(&mut self, id: &str, rows: &[Entry], why: &str) {
        if self.tally.rejected.fetch_add(rows.len() as u64, Ordering::Relaxed) < 10 {
            tracing::error!("{}: the record {id} is left out: {why}.", self.name);
        }
        self.settle(rows);
    }

    fn settle(&mut self, rows: &[Entry]) {
        if let Some(last) = rows.last() {
            self.done = Some(last.release.place.clone());
            self.is_unsaved = true;
        }
        self.queue.settle(rows.len());
    }

    fn is_away(&self, why: &str) {
        self.tally.retries.fetch_add(1, Ordering::Relaxed);
        if !self.tally.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!("{}: {why}. It is tried again until it succeeds.", self.name);
        }
    }

    fn is_back(&self) {
        if self.tally.is_away.swap(false, Ordering::Relaxed) {
            tracing::info!("{}: it takes records again.", self.name);
        }
    }

    /// Makes what was delivered durable, and writes the checkpoint.
    async fn save(&mut self) {
        self.saved = SystemTime::monotonic();
        let Some(file) = self.checkpoint.clone().filter(|_| self.is_unsaved) else { return };
        if let Err(error) = self.publisher.flush().await {
            tracing::warn!("{}: {error}. The checkpoint stays as it was.", self.name);
            return;
        }
        let (name, done) = (self.name.clone(), Done { place: self.done.clone(), position: self.publisher.position() });
        let stored = tokio::task::spawn_blocking(move || file.store(&name, done)).await;
        match stored.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => self.is_unsaved = false,
            Err(error) => tracing::error!("The checkpoint cannot be written: {error}."),
        }
    }

    /// Makes records of entries, each with the number of entries that it holds.
    fn records(&self, entries: &[Entry]) -> Vec<(Record, usize)> {
        let mut records = Vec::with_capacity(entries.len());
        let packs = entries.chunk_by(|one, next| {
            self.pack > 1 && !one.is_gap && !next.is_gap && one.release.group == next.release.group
        });
        for run in packs {
            for pack in run.chunks(self.pack.max(1)) {
                records.push((self.record(pack), pack.len()));
            }
        }
        records
    }

    fn record(&self, pack: &[Entry]) -> Record {
        let Entry { release, is_gap } = &pack[0];
        let (table, key_columns) = self.names.tables[release.place.table].clone();
        let id = release.place.id(&self.names.source, &table);
        let mut headers = vec![("table", table.to_string()), ("time", timestamp::show(release.published))];
        if *is_gap {
            headers.push(("type", "gap".to_owned()));
        }
        let key = release.place.key.get(..key_columns).filter(|key| !key.is_empty());
        Record {
            id: if *is_gap { format!("gap/{id}") } else { id },
            key: key.map(|key| Bytes::from(key.join(","))),
            time: release.published,
            table,
            group: release.group.clone(),
            headers,
            payload: if self.pack > 1 && !is_gap { array(pack) } else { release.payload.clone() },
        }
    }
}

/// Sets rows into one JSON array.
fn array(pack: &[Entry]) -> Bytes {
    let mut payload = vec![b'['];
    for (number, entry) in pack.iter().enumerate() {
        if number > 0 {
            payload.push(b',');
        }
        payload.extend_from_slice(&entry.release.payload);
    }
    payload.push(b']');
    Bytes::from(payload)
}
