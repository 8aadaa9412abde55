//! Reads tables ahead of the replay, one task each, and merges their rows in time order.

use std::sync::Arc;
use std::time::Duration;

use pe_runtime::backoff::Backoff;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Receiver, error::TryRecvError};
use tokio::task::JoinHandle;

use crate::pacer::{Head, Rows};
use crate::place::{Place, Row};
use crate::source::outlet::Message;
use crate::source::{Cursor, Error, Facts, Outlet, Page, Source, TableReader, TableSpec};
use crate::timestamp::Micros;

/// Rows of one table that wait ahead.
const AHEAD_ROWS: usize = 4_096;
/// Bytes of all tables that wait ahead.
const AHEAD_BYTES: usize = 12 << 20;
/// A page is about this large.
const PAGE_BYTES: u64 = 2 << 20;
const PAGE_ROWS: (u64, u64) = (16, 8_192);
const FIRST_PAGE_ROWS: usize = 64;

/// A table as it was asked for and found.
#[derive(Clone, Debug)]
pub struct Table {
    pub spec: TableSpec,
    pub facts: Facts,
}

/// What is read.
#[derive(Clone)]
pub struct Range {
    pub source: Arc<dyn Source>,
    pub tables: Arc<[Table]>,
    /// Exclusive.
    pub end: Micros,
    pub snapshot: bool,
}

/// The rows of all tables in the order of time and table.
pub struct Readers {
    runtime: Handle,
    range: Range,
    streams: Vec<Stream>,
    next: Option<usize>,
}

struct Stream {
    rows: Receiver<Message>,
    head: Option<Message>,
    ended: bool,
    task: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Readers {
    /// Begins to read at a time, or behind a place up to which everything is published.
    pub fn start(runtime: Handle, range: Range, from: Micros, behind: Option<&Place>, shift: Micros) -> Self {
        let mut readers = Self { runtime, range, streams: Vec::new(), next: None };
        readers.open(from, behind, shift);
        readers
    }

    fn open(&mut self, from: Micros, behind: Option<&Place>, shift: Micros) {
        self.next = None;
        self.streams.clear();
        for (number, table) in self.range.tables.iter().enumerate() {
            let cursor = behind.map_or(Cursor::From(from), |place| cursor_behind(place, number, table));
            let (sender, rows) = mpsc::channel(AHEAD_ROWS);
            let room = u32::try_from(AHEAD_BYTES / self.range.tables.len()).unwrap_or(u32::MAX);
            let label = (self.range.tables.len() > 1).then_some(table.facts.name.as_str());
            let mut outlet = Outlet::new(number, label, sender, room, cursor);
            if table.facts.is_keyless {
                outlet.number_ties(behind.filter(|place| place.table == number).and_then(ordinal_of));
            }
            let task = self.runtime.spawn(read_table(self.range.clone(), table.clone(), outlet, shift));
            self.streams.push(Stream { rows, head: None, ended: false, task });
        }
    }
}

/// Returns where a table goes on behind a place of the merged order.
fn cursor_behind(place: &Place, number: usize, table: &Table) -> Cursor {
    match number.cmp(&place.table) {
        std::cmp::Ordering::Less => Cursor::From(place.time.saturating_add(1)),
        std::cmp::Ordering::Greater => Cursor::From(place.time),
        std::cmp::Ordering::Equal if table.facts.is_keyless => Cursor::From(place.time),
        std::cmp::Ordering::Equal => Cursor::After(place.time, place.key.clone()),
    }
}

fn ordinal_of(place: &Place) -> Option<(Micros, u64)> {
    Some((place.time, place.key.first()?.parse().ok()?))
}

impl Rows for Readers {
    fn head(&mut self) -> Head {
        if let Some(Message::Row(row, _)) = self.next.and_then(|next| self.streams[next].head.as_ref()) {
            return Head::Time(row.time);
        }
        let (mut first, mut waiting): (Option<(Micros, usize)>, bool) = (None, false);
        for (number, stream) in self.streams.iter_mut().enumerate() {
            if stream.head.is_none() && !stream.ended {
                match stream.rows.try_recv() {
                    Ok(Message::Failed(why)) => return Head::Failed(why),
                    Ok(Message::End) => stream.ended = true,
                    Ok(row) => stream.head = Some(row),
                    Err(TryRecvError::Empty) => waiting = true,
                    Err(TryRecvError::Disconnected) => return Head::Failed("reading ended without a word".to_owned()),
                }
            }
            if let Some(Message::Row(row, _)) = &stream.head
                && first.is_none_or(|(time, _)| row.time < time)
            {
                first = Some((row.time, number));
            }
        }
        match first {
            _ if waiting => Head::Waiting,
            None => Head::End,
            Some((time, number)) => {
                self.next = Some(number);
                Head::Time(time)
            }
        }
    }

    fn take(&mut self) -> Option<Row> {
        let next = self.next.take()?;
        match self.streams[next].head.take()? {
            Message::Row(row, _room) => Some(row),
            _ => None,
        }
    }

    fn seek(&mut self, from: Micros, shift: Micros) {
        self.open(from, None, shift);
    }
}

/// Reads a table to the end of the range. A lost connection is made anew, behind the last row.
async fn read_table(range: Range, table: Table, mut outlet: Outlet, shift: Micros) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let (mut reader, mut told) = (None, false);
    let ended = loop {
        match read_on(&range, &table, &mut reader, &mut outlet, shift).await {
            Ok(()) => break Ok(()),
            Err(Error::Unreachable(why)) if !range.snapshot => {
                if !told {
                    tracing::warn!("{why}. Reading goes on as soon as the database answers.");
                }
                (reader, told) = (None, true);
                tokio::time::sleep(backoff.next()).await;
            }
            Err(Error::Unreachable(why)) => {
                break Err(Error::Failed(format!("{why}. What was to be read in one snapshot cannot be read on")));
            }
            Err(error) => break Err(error),
        }
    };
    outlet.end(ended).await;
}

async fn read_on(
    range: &Range,
    table: &Table,
    reader: &mut Option<Box<dyn TableReader>>,
    outlet: &mut Outlet,
    shift: Micros,
) -> Result<(), Error> {
    let reader = match reader {
        Some(open) => open,
        None => reader.insert(range.source.open(&table.spec).await?),
    };
    loop {
        let rows = match outlet.row_bytes() {
            0 => FIRST_PAGE_ROWS,
            bytes => usize::try_from((PAGE_BYTES / bytes).clamp(PAGE_ROWS.0, PAGE_ROWS.1)).unwrap_or(FIRST_PAGE_ROWS),
        };
        let page = Page { cursor: outlet.cursor().clone(), end: range.end, rows, shift };
        if reader.read(&page, outlet).await? < rows {
            return Ok(());
        }
    }
}
