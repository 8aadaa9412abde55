//! Reads tables in time order. A source finds out what a table is like ([`Facts`]), and opens a [`TableReader`] for each,
//! which reads page after page behind a cursor.

pub mod outlet;
pub mod postgres;
pub mod postgres_catalog;
pub mod postgres_time;
pub mod spec;

use futures_util::future::BoxFuture;

use crate::timestamp::Micros;

pub use outlet::Outlet;
pub use spec::{TableSpec, Unit};

/// Why rows cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers; trying again may help.
    #[error("{0}")]
    Unreachable(String),
    /// The table is not as it was said to be, or the statement fails.
    #[error("{0}")]
    Failed(String),
}

/// What a source needs to know beyond its URL.
#[derive(Clone, Debug)]
pub struct Options {
    /// A condition in SQL that rows must meet.
    pub condition: Option<String>,
    /// The zone of times without one.
    pub zone: time::UtcOffset,
    /// Read everything as it is now, in one transaction.
    pub snapshot: bool,
    /// Times in the rows themselves are shifted too.
    pub retime: bool,
}

/// What a table is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The name as the source writes it.
    pub name: String,
    /// The first and the last time, if any row has one.
    pub times: Option<(Micros, Micros)>,
    /// How many columns at the front of the order's key make a record's key.
    pub key_columns: usize,
    /// Rows have no key: they are told apart by their ordinal in a tie.
    pub is_keyless: bool,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// At this time or later.
    From(Micros),
    /// Behind the row with this time and key.
    After(Micros, Vec<String>),
}

/// A page to be read.
#[derive(Clone, Debug)]
pub struct Page {
    pub cursor: Cursor,
    /// Exclusive.
    pub end: Micros,
    pub rows: usize,
    /// How much later times are published than they were.
    pub shift: Micros,
}

/// A database with tables.
pub trait Source: Send + Sync {
    /// Returns the name of the source in ids: the database, without host and login.
    fn name(&self) -> String;

    /// Returns where it is, without the login.
    fn place(&self) -> String;

    /// Finds out what a table is like.
    fn inspect<'a>(&'a self, table: &'a TableSpec) -> BoxFuture<'a, Result<Facts, Error>>;

    /// Returns `true` if a table has a row in `[start, end)`.
    fn has_rows<'a>(&'a self, table: &'a TableSpec, start: Micros, end: Micros) -> BoxFuture<'a, Result<bool, Error>>;

    /// Opens a connection of its own for a table.
    fn open<'a>(&'a self, table: &'a TableSpec) -> BoxFuture<'a, Result<Box<dyn TableReader>, Error>>;
}

/// Reads one table.
pub trait TableReader: Send {
    /// Reads a page in the order of time and key, and returns how many rows it had: fewer than asked for if the range ends.
    fn read<'a>(&'a mut self, page: &'a Page, out: &'a mut Outlet) -> BoxFuture<'a, Result<usize, Error>>;
}
