//! Holds what was released until its destination takes it: in memory first, then in a file.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::pacer::Release;
use crate::spill::Spill;
use crate::timestamp;

/// What happens when a queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLag {
    /// The replay waits, and every destination with it.
    #[default]
    Queue,
    /// Rows are left out for this destination only, and a gap record says which.
    Skip,
}

impl std::str::FromStr for OnLag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "queue" => Ok(Self::Queue),
            "skip" => Ok(Self::Skip),
            _ => Err("is neither queue nor skip".to_owned()),
        }
    }
}

/// How much a queue may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub memory: usize,
    pub disk: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 4 << 20, disk: 256 << 20 }
    }
}

/// A row, or a record that says which rows were left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub release: Release,
    pub is_gap: bool,
}

/// The queue of one destination.
pub struct Queue {
    inner: Mutex<Inner>,
    filled: Notify,
    on_lag: OnLag,
    limits: Limits,
    tables: Vec<String>,
}

#[derive(Default)]
struct Inner {
    memory: VecDeque<Entry>,
    memory_bytes: usize,
    spill: Option<Spill>,
    /// Entries that were handed out and are not settled yet.
    in_hand: usize,
    closed: bool,
    gap: Option<Gap>,
    marks: Marks,
    fault: Option<String>,
}

/// Rows that were left out, from the first to the last.
struct Gap {
    first: Release,
    last: Release,
    rows: u64,
}

/// What the queue has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    pub rows: usize,
    pub bytes: u64,
    /// The most that ever waited.
    pub rows_max: usize,
    pub bytes_max: u64,
    pub skipped: u64,
    pub gaps: u64,
}

/// What an entry takes besides its payload.
const ENTRY_OVERHEAD: usize = 256;

fn weight(release: &Release) -> usize {
    release.payload.len() + ENTRY_OVERHEAD
}

impl Queue {
    /// Makes an empty queue. `tables` are the names that gap records use.
    pub fn new(on_lag: OnLag, limits: Limits, tables: Vec<String>) -> Self {
        Self { inner: Mutex::default(), filled: Notify::new(), on_lag, limits, tables }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a row. Returns `false` if the queue is full and rows may not be left out.
    pub fn push(&self, release: &Release) -> bool {
        let mut inner = self.lock();
        if let Some(gap) = &inner.gap {
            let record = self.gap_record(gap);
            if !inner.put(&record, self.limits) {
                return self.leave_out(&mut inner, release);
            }
            inner.gap = None;
            inner.marks.gaps += 1;
        }
        let entry = Entry { release: release.clone(), is_gap: false };
        let taken = inner.put(&entry, self.limits) || self.leave_out(&mut inner, release);
        drop(inner);
        if taken {
            self.filled.notify_one();
        }
        taken
    }

    /// Notes that a row is left out. Returns `false` where that must not be.
    fn leave_out(&self, inner: &mut Inner, release: &Release) -> bool {
        if self.on_lag == OnLag::Queue {
            return false;
        }
        match &mut inner.gap {
            Some(gap) => (gap.last, gap.rows) = (release.clone(), gap.rows + 1),
            None => {
                tracing::warn!("A destination's queue is full: rows are left out for it.");
                inner.gap = Some(Gap { first: release.clone(), last: release.clone(), rows: 1 });
            }
        }
        inner.marks.skipped += 1;
        true
    }

    fn gap_record(&self, gap: &Gap) -> Entry {
        let table = |release: &Release| self.tables.get(release.place.table).cloned().unwrap_or_default();
        let words = serde_json::json!({"gap": {
            "rows": gap.rows,
            "from": {"table": table(&gap.first), "time": timestamp::show(gap.first.place.time), "key": gap.first.place.key},
            "to": {"table": table(&gap.last), "time": timestamp::show(gap.last.place.time), "key": gap.last.place.key},
            "why": "the destination's queue was full",
        }});
        Entry { release: Release { payload: Bytes::from(words.to_string()), ..gap.last.clone() }, is_gap: true }
    }

    /// Waits for entries and hands out some, in order. Returns none once the queue is closed and empty. What was handed out
    /// must be given to [`Queue::settle`].
    pub async fn pop(&self, rows: usize, bytes: usize) -> Vec<Entry> {
        loop {
            {
                let mut inner = self.lock();
                let entries = inner.take(rows, bytes, self.limits);
                if !entries.is_empty() || inner.closed {
                    inner.in_hand += entries.len();
                    return entries;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Notes that so many entries that were handed out need nothing more.
    pub fn settle(&self, entries: usize) {
        let mut inner = self.lock();
        inner.in_hand = inner.in_hand.saturating_sub(entries);
    }

    /// Takes no more rows. A gap that is still open gets its record, whatever the limits.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        if let Some(gap) = inner.gap.take() {
            let record = self.gap_record(&gap);
            inner.put(&record, Limits { memory: usize::MAX, disk: u64::MAX });
            inner.marks.gaps += 1;
        }
        drop(inner);
        self.filled.notify_one();
    }

    /// Returns `true` if the destination has everything that came here.
    pub fn is_drained(&self) -> bool {
        let inner = self.lock();
        inner.in_hand == 0 && inner.waiting() == 0
    }

    /// Returns what the queue has come to.
    pub fn marks(&self) -> Marks {
        let inner = self.lock();
        let mut marks = inner.marks;
        (marks.rows, marks.bytes) = (inner.waiting() + inner.in_hand, inner.bytes());
        marks
    }

    /// Returns why entries of the queue's file are lost, if they are.
    pub fn fault(&self) -> Option<String> {
        self.lock().fault.clone()
    }
}

impl Inner {
    fn waiting(&self) -> usize {
        self.memory.len() + self.spill.as_ref().map_or(0, Spill::len)
    }

    fn bytes(&self) -> u64 {
        self.memory_bytes as u64 + self.spill.as_ref().map_or(0, Spill::bytes)
    }

    /// Puts an entry behind all others. Returns `false` if there is no room.
    fn put(&mut self, entry: &Entry, limits: Limits) -> bool {
        let size = weight(&entry.release);
        let on_disk = self.spill.as_ref().is_some_and(|spill| spill.len() > 0);
        // one entry always has a place, however large it is
        if !on_disk && (self.memory.is_empty() || self.memory_bytes.saturating_add(size) <= limits.memory) {
            self.memory_bytes += size;
            self.memory.push_back(entry.clone());
        } else if !self.put_on_disk(entry, limits) {
            return false;
        }
        self.marks.rows_max = self.marks.rows_max.max(self.waiting());
        self.marks.bytes_max = self.marks.bytes_max.max(self.bytes());
        true
    }

    fn put_on_disk(&mut self, entry: &Entry, limits: Limits) -> bool {
        if limits.disk == 0 {
            return false;
        }
        if self.spill.is_none() {
            self.spill = Spill::new(limits.disk)
                .map_err(|error| tracing::warn!("A queue has no file, so it is in memory only: {error}."))
                .ok();
        }
        let Some(spill) = &mut self.spill else { return false };
        match spill.push(&entry.release, entry.is_gap) {
            Ok(put) => put,
            Err(error) => {
                tracing::warn!("A queue's file cannot be written, so the queue counts as full: {error}.");
                false
            }
        }
    }

    fn take(&mut self, rows: usize, bytes: usize, limits: Limits) -> Vec<Entry> {
        let (mut entries, mut size) = (Vec::new(), 0);
        while entries.len() < rows && size < bytes {
            if self.memory.is_empty() {
                self.refill(limits);
            }
            let Some(entry) = self.memory.pop_front() else { break };
            self.memory_bytes -= weight(&entry.release);
            size += weight(&entry.release);
            entries.push(entry);
        }
        entries
    }

    /// Reads entries back from the file.
    fn refill(&mut self, limits: Limits) {
        let Some(spill) = &mut self.spill else { return };
        while self.memory_bytes < limits.memory.min(1 << 20) {
            match spill.pop() {
                Ok(Some((release, is_gap))) => {
                    self.memory_bytes += weight(&release);
                    self.memory.push_back(Entry { release, is_gap });
                }
                Ok(None) => return,
                Err(error) => {
                    self.fault = Some(format!("the queue's file cannot be read: {error}"));
                    self.spill = None;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;
    use std::sync::Arc;

    fn release(number: i64) -> Release {
        let place = Place { pass: 0, time: number, table: 0, key: vec![number.to_string()] };
        let payload = Bytes::from(format!("{number:0100}"));
        Release { place, published: number, payload, group: Arc::from(""), due: 0 }
    }

    fn queue(on_lag: OnLag, memory: usize, disk: u64) -> Queue {
        Queue::new(on_lag, Limits { memory, disk }, vec!["t".to_owned()])
    }

    fn times(entries: &[Entry]) -> Vec<i64> {
        entries.iter().map(|entry| entry.release.place.time).collect()
    }

    #[tokio::test]
    async fn order_holds_through_memory_and_disk() {
        let queue = queue(OnLag::Queue, 1_000, 1 << 20);
        let mut seen = Vec::new();
        for number in 0..500 {
            assert!(queue.push(&release(number)));
            if number % 7 == 0 {
                let entries = queue.pop(3, usize::MAX).await;
                queue.settle(entries.len());
                seen.extend(times(&entries));
            }
        }
        queue.close();
        loop {
            let entries = queue.pop(50, usize::MAX).await;
            queue.settle(entries.len());
            if entries.is_empty() {
                break;
            }
            seen.extend(times(&entries));
        }
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        assert!(queue.is_drained() && queue.marks().rows_max > 3);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_rows_and_takes_them_again_once_there_is_room() {
        let queue = queue(OnLag::Queue, 800, 0);
        let taken = (0..).take_while(|number| queue.push(&release(*number))).count();
        assert!(taken > 1);
        assert!(!queue.push(&release(99)));
        queue.pop(1, usize::MAX).await;
        assert!(queue.push(&release(99)));
        assert!(!queue.is_drained());
    }

    #[tokio::test]
    async fn a_gap_record_says_what_was_left_out() {
        let queue = queue(OnLag::Skip, 1_200, 0);
        for number in 0..10 {
            assert!(queue.push(&release(number)));
        }
        let skipped = queue.marks().skipped;
        let first = queue.pop(100, usize::MAX).await;
        assert_eq!(first.len() as u64 + skipped, 10);
        assert!(queue.push(&release(10)));
        let then = queue.pop(100, usize::MAX).await;
        assert_eq!(then.len(), 2);
        assert!(then[0].is_gap && !then[1].is_gap);
        let words: serde_json::Value = serde_json::from_slice(&then[0].release.payload).expect("JSON");
        assert_eq!(words["gap"]["rows"], skipped);
        assert_eq!(words["gap"]["from"]["key"][0], first.len().to_string());
        assert_eq!(words["gap"]["to"]["key"][0], "9");
        // and at the end too
        for number in 11..20 {
            queue.push(&release(number));
        }
        queue.close();
        let last = queue.pop(100, usize::MAX).await;
        assert!(last.last().expect("entries").is_gap);
        assert_eq!(queue.marks().gaps, 2);
    }
}
