//! Defines what a destination does: take records in order, and say of each what became of it.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::record::Record;

/// What a destination can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// A record that comes again with the same id is dropped.
    pub drops_repeats: bool,
    /// The largest payload in bytes, if the destination says one.
    pub record_max_bytes: Option<usize>,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has it.
    Delivered,
    /// The destination does not have it for sure, and trying again may help. Whatever stood behind it in the same batch is
    /// `Retry` or `Rejected`, so that the order holds.
    Retry(String),
    /// The destination never takes this record.
    Rejected(String),
}

/// Why a destination cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The setting is wrong.
    #[error("{0}")]
    Setting(String),
    /// Nobody answers, or the answer is a refusal.
    #[error("{0}")]
    Unreachable(String),
    /// The destination is lost for this process, for example a closed pipe.
    #[error("{0}")]
    Fatal(String),
}

/// A destination. One lane publishes to it: in order, a batch at a time.
pub trait Publisher: Send {
    /// Returns what the destination can do. Known for sure after [`Publisher::check`] or the first delivery.
    fn capabilities(&self) -> Capabilities;

    /// Reaches the destination without publishing anything, and returns a line that describes it.
    fn check(&mut self) -> BoxFuture<'_, Result<String, Error>>;

    /// Prepares the destination for records of these tables, so that its position is known before the first record.
    fn prepare<'a>(&'a mut self, _tables: &'a [Arc<str>]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    /// Publishes records in their order and returns one outcome for each, in the same order.
    ///
    /// # Errors
    /// Fails only if no later call can succeed.
    fn publish<'a>(&'a mut self, records: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Error>>;

    /// Makes what was delivered durable, where the destination does not by itself.
    fn flush(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    /// Returns where the destination stands after a flush, if it can be set back to that with [`Publisher::resume_at`].
    fn position(&self) -> Option<String> {
        None
    }

    /// Removes whatever was written after a position.
    fn resume_at<'a>(&'a mut self, _position: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    /// Says goodbye to clients, where there are any.
    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// Marks everything behind the first `Retry` as `Retry`, so that what is tried again keeps its order.
pub fn in_order(outcomes: &mut [Outcome]) {
    let Some(first) = outcomes.iter().position(|outcome| matches!(outcome, Outcome::Retry(_))) else { return };
    let Outcome::Retry(why) = outcomes[first].clone() else { return };
    for outcome in &mut outcomes[first..] {
        if *outcome == Outcome::Delivered {
            *outcome = Outcome::Retry(why.clone());
        }
    }
}
