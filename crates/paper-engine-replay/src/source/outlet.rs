//! Takes rows from a reader and hands them on, bounded in rows and bytes.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::Sender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Cursor, Error};
use crate::place::Row;
use crate::timestamp::Micros;

/// What a reader hands on.
#[derive(Debug)]
pub enum Message {
    /// A row, and the room that it takes ahead of the replay.
    Row(Row, OwnedSemaphorePermit),
    End,
    Failed(String),
}

/// Where a reader puts the rows of one table.
pub struct Outlet {
    table: usize,
    /// `{"_table":"…",`, if there is more than one table.
    label: Option<String>,
    sender: Sender<Message>,
    room: Arc<Semaphore>,
    room_bytes: u32,
    cursor: Cursor,
    /// For a table without keys: the present tie, and how many rows of it there were.
    ordinal: Option<(Micros, u64)>,
    /// Rows of this tie up to this ordinal were published before.
    skip: Option<(Micros, u64)>,
    bytes: u64,
    rows: u64,
}

/// Says that nobody takes rows any more.
const CLOSED: &str = "nobody reads on";

impl Outlet {
    /// Makes an outlet that lets `room_bytes` wait ahead.
    pub fn new(table: usize, label: Option<&str>, sender: Sender<Message>, room_bytes: u32, cursor: Cursor) -> Self {
        let label = label.map(|name| format!("{{\"_table\":{},", serde_json::Value::from(name)));
        let room = Arc::new(Semaphore::new(room_bytes as usize));
        Self { table, label, sender, room, room_bytes, cursor, ordinal: None, skip: None, bytes: 0, rows: 0 }
    }

    /// Numbers the rows of each tie instead of taking the source's own key. Rows up to `skip` were published before.
    pub fn number_ties(&mut self, skip: Option<(Micros, u64)>) {
        self.ordinal = Some((Micros::MIN, 0));
        self.skip = skip;
    }

    /// Returns the cursor behind the last row.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Returns the mean size of the rows so far, in bytes.
    pub fn row_bytes(&self) -> u64 {
        self.bytes.checked_div(self.rows).unwrap_or(0)
    }

    /// Hands on a row. `json` is one object; line ends in it are blanks between its parts, and become such.
    ///
    /// # Errors
    /// Fails if nobody takes rows any more.
    pub async fn row(&mut self, time: Micros, key: Vec<String>, json: &str) -> Result<(), Error> {
        let payload = self.payload(json);
        self.bytes += payload.len() as u64;
        self.rows += 1;
        let own_key = match &mut self.ordinal {
            None => key.clone(),
            Some((tie, number)) => {
                *number = if *tie == time { *number + 1 } else { 0 };
                *tie = time;
                vec![number.to_string()]
            }
        };
        let done = self.skip.zip(self.ordinal).is_some_and(|((tie, number), now)| now.0 == tie && now.1 <= number);
        self.cursor = Cursor::After(time, key);
        if done {
            return Ok(());
        }
        let size = u32::try_from(payload.len() + ROW_OVERHEAD).unwrap_or(u32::MAX).min(self.room_bytes);
        let closed = || Error::Failed(CLOSED.to_owned());
        let room = self.room.clone().acquire_many_owned(size).await.map_err(|_| closed())?;
        let row = Row { time, table: self.table, key: own_key, payload };
        self.sender.send(Message::Row(row, room)).await.map_err(|_| closed())
    }

    fn payload(&self, json: &str) -> Bytes {
        let mut payload = Vec::with_capacity(json.len() + self.label.as_ref().map_or(0, String::len));
        match (&self.label, json.strip_prefix('{')) {
            (Some(label), Some("}")) => {
                payload.extend_from_slice(label.trim_end_matches(',').as_bytes());
                payload.push(b'}');
            }
            (Some(label), Some(rest)) => {
                payload.extend_from_slice(label.as_bytes());
                payload.extend_from_slice(rest.as_bytes());
            }
            _ => payload.extend_from_slice(json.as_bytes()),
        }
        // inside of strings JSON escapes line ends, so these stand between tokens
        payload.iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        Bytes::from(payload)
    }

    /// Says how reading ended.
    pub async fn end(self, ended: Result<(), Error>) {
        let message = ended.map_or_else(|error| Message::Failed(error.to_string()), |()| Message::End);
        let _ = self.sender.send(message).await;
    }
}

/// What a row takes besides its payload.
const ROW_OVERHEAD: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn rows_are_labelled_numbered_and_bounded() {
        let (sender, mut receiver) = mpsc::channel(100);
        let mut outlet = Outlet::new(1, Some("a\"b"), sender, 1_000, Cursor::From(0));
        outlet.number_ties(Some((5, 0)));
        for (time, json) in [(5, "{}"), (5, "{\"x\":\n1}"), (6, "{}")] {
            outlet.row(time, vec![format!("({time})")], json).await.expect("taken");
        }
        let mut rows = Vec::new();
        while let Ok(Message::Row(row, _)) = receiver.try_recv() {
            rows.push((row.key[0].clone(), String::from_utf8_lossy(&row.payload).into_owned()));
        }
        let second = ("1".to_owned(), "{\"_table\":\"a\\\"b\",\"x\": 1}".to_owned());
        assert_eq!(rows, [second, ("0".to_owned(), "{\"_table\":\"a\\\"b\"}".to_owned())]);
        assert_eq!(outlet.cursor(), &Cursor::After(6, vec!["(6)".to_owned()]));
    }

    #[tokio::test]
    async fn a_row_larger_than_the_room_passes_alone() {
        let (sender, mut receiver) = mpsc::channel(100);
        let mut outlet = Outlet::new(0, None, sender, 1_000, Cursor::From(0));
        let json = format!("{{\"x\":\"{}\"}}", "y".repeat(5_000));
        outlet.row(1, vec![], &json).await.expect("taken");
        let next = tokio::time::timeout(std::time::Duration::from_millis(50), outlet.row(2, vec![], "{}")).await;
        assert!(next.is_err(), "there is no room");
        drop(receiver.recv().await);
        outlet.row(2, vec![], "{}").await.expect("taken");
    }
}
