//! Defines what is published.

use std::sync::Arc;

use bytes::Bytes;

/// One record on its way to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Stays the same across retries, resumes and destinations; one line of visible ASCII.
    pub id: String,
    /// Keeps records of one thing together where the destination has partitions.
    pub key: Option<Bytes>,
    /// When the record happened, in microseconds since 1970.
    pub time: i64,
    /// The table that the record comes from; it may stand in a destination's path as `{table}`.
    pub table: Arc<str>,
    /// The records that belong together, such as those of one window: a file destination writes each group to a file of
    /// its own.
    pub group: Arc<str>,
    /// Names and values, one line each.
    pub headers: Vec<(&'static str, String)>,
    /// What is published, usually one JSON object without a line end.
    pub payload: Bytes,
}

impl Record {
    /// Returns roughly how much memory the record takes.
    pub fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        size_of::<Self>() + self.id.len() + self.key.as_ref().map_or(0, Bytes::len) + headers + self.payload.len()
    }
}
