//! The Postgres target: turns rows into changes of tables, and records them in the ledger.
//!
//! `known` returns the ledger's entries. `begin` opens a delivery (`delivery_tx`): lease, re-check, lock. Rows are
//! encoded (`row_pipeline`, `encode`; by Postgres itself in `server_cast`), folded (`fold`, `chain`), loaded or
//! merged (`snapshot`, `changes`, `delta`), guarded, and committed together with their ledger row and message. Bad
//! rows go to `rejects`.

mod account;
mod arrivals;
mod batch;
mod careful;
mod catalog;
mod chain;
mod change_report;
mod changes;
mod collisions;
mod column;
mod compare;
mod constraints;
mod delivery_record;
mod delivery_tx;
mod delta;
pub mod encode;
mod encoder;
mod fold;
#[cfg(test)]
mod fold_tests;
mod guard;
mod in_hand;
mod key_display;
mod lease;
mod ledger;
mod ledger_admin;
mod ledger_query;
mod lock_wait;
mod migrate;
mod moves;
mod null_rule;
mod outbox;
mod parts;
mod plan_fingerprint;
mod pooler;
mod preflight;
mod references;
mod referrers;
mod refold;
mod refused;
mod rejects;
mod repeated_key;
mod reserved;
mod row_pipeline;
mod same;
mod scope;
mod server_cast;
pub mod settings;
mod sinks;
mod snapshot;
mod sort;
mod spool;
mod sql;
mod table_cursor;
mod tables;
mod tables_admin;
mod tables_unnoted;
mod tuple;
mod unnest;
mod verify;
mod waits;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::clock::Clock;
use crate::decode::Row;
use crate::pg::{self, Pg};
use crate::source::{self, Entity, Known};
use catalog::Catalog;
pub use catalog::Refused;
pub use change_report::Seen;
pub use compare::{Comparison, Different};
pub use delivery_tx::{BeginOutcome, Changes, DeliveryTx, Receipt, Why};
pub use encoder::CellFault;
pub use in_hand::Process;
pub use key_display::Key;
pub use ledger::Sign;
pub use ledger_admin::{Acted, Filter, Rejected, Rest, StopRow, TableState};
pub use ledger_query::{Delivery, DeliveryDetails, Listing, Message, Overview, Reader, Reject, Start, Wanted};
use lock_wait::LockWaits;
pub use null_rule::{Basis, NullDecision};
pub use outbox::{News, Republished, Turn, Waiting};
pub use plan_fingerprint::digest;
pub use pooler::Pooler;
pub use preflight::{Grants, Mapped, Server, Unfit};
pub use references::Missing;
pub use row_pipeline::{Order, Summary};
pub use scope::Feed;
use settings::Settings;
pub use tables::{Reloaded, TableStatus, TableStop, Wish};
pub use verify::{Found, Verification};

/// The class of our advisory locks: "peo" in ASCII. The second number is a table's oid.
const LEASE_CLASS: i32 = 0x70_65_6f;

/// Number of a table's rows that were changed, by kind of change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub create: u64,
    pub amend: u64,
    pub remove: u64,
    pub unchanged: u64,
    /// Rows of the file that could not be loaded and were kept aside.
    pub rejected: u64,
}

impl Counts {
    /// Returns `true` if any row was changed.
    pub fn any(&self) -> bool {
        self.create + self.amend + self.remove > 0
    }
}

/// Position of a row: its part (from 0) and line (from 1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    pub part: usize,
    pub line: u64,
}

impl Place {
    fn of(row: &Row<'_>) -> Self {
        Self { part: row.part, line: row.line }
    }
}

impl From<sort::Mark> for Place {
    fn from(mark: sort::Mark) -> Self {
        Self { part: mark.part as usize, line: mark.line }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.part {
            0 => write!(f, "line {}", self.line),
            part => write!(f, "line {} of part {}", self.line, part + 1),
        }
    }
}

/// An error of the Target.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Pg(#[from] pg::Error),
    #[error(transparent)]
    Rows(#[from] crate::decode::Error),
    #[error("{at}, column {column}: {fault}")]
    Cell { at: Place, column: String, fault: CellFault },
    #[error("{second}: the same key as {first}; a snapshot must have each key once")]
    Duplicate { first: Place, second: Place },
    /// No fault of the file: it is read again, through the sorter.
    #[error("the rows are not in key order")]
    OutOfOrder,
    /// A first load found rows: the whole generation must be diffed.
    #[error("the table is not empty")]
    NotEmpty,
    /// `why` begins with what joins it to the number
    #[error("would remove {removes} of {rows} rows{why}")]
    Held { removes: u64, rows: u64, why: String },
    /// No fault of the file: it is read again, in file order.
    #[error("rows move from key to key")]
    Moving,
    /// A late file moves a row, and a file that was loaded overwrote what the row has to keep.
    #[error(
        "cannot be folded in: it moves a row to another key without supplying column {column}, and files that are loaded \
         already overwrote or removed the row's value; load the table again from a full load, or skip the file with a reason"
    )]
    Overwritten { column: String },
    /// rows are moved at once that cannot be moved one after the other
    #[error(
        "{at} moves a row to a key under which another row stands, which no line before it removes or moves away{later}. One \
         statement of the source seems to have changed several keys at once (id = id + 1, or a swap); the lines do not tell which \
         row is which, so nothing was applied. What to do: put a new full load of the table into the bucket; if others wrote \
         that row into the table, remove it and retry"
    )]
    Displaced { at: Place, later: collisions::Later },
    /// No fault of the file: it is read again.
    #[error("table {table} was altered while its file was read")]
    Altered { table: String },
    /// No fault of the file: the table is looked up again.
    #[error("the table is not what it was when it was loaded last")]
    Outdated,
    /// No fault of the file: the next iteration inspects the table.
    #[error("table {table} is not what the last delivery left")]
    NotAsLeft { table: String },
    #[error("{rejected} of {read} rows are bad, more than MAX_REJECTS={most}; the first: {first}")]
    TooManyRejects { rejected: u64, read: u64, most: settings::Share, first: String },
    #[error("table {table}: {why}")]
    Table { table: String, why: Refused },
    /// No fault of the file: the delivery is repeated under a lock that blocks other writers.
    #[error("{lost} of {wanted} rows were not {how}")]
    Disturbed { lost: u64, wanted: u64, how: &'static str },
    #[error(
        "null is an empty cell in {empty}, and the word NULL in {word}: what an empty text and a text NULL are cannot be told. \
         Write FEED null='' or null=NULL, or both (null='' null=NULL), then `deliveries retry`"
    )]
    NullsMixed { empty: String, word: String },
    #[error(
        "this table was loaded as if null were the word NULL, since nothing showed it, but {contrary} shows that the feed writes null \
         as an empty cell: empty texts of this table may be nulls. If they are, skip this file and load the table again from the \
         source; if they are empty texts, write FEED null=NULL, then `deliveries retry`"
    )]
    NullsAssumed { contrary: String },
    #[error("{found} tables of the target match {entity} if case is ignored; name one of them exactly so")]
    Ambiguous { entity: Entity, found: usize },
    #[error("no room for temporary data: {0}")]
    Spill(#[from] io::Error),
    #[error(
        "the loader's tables lack {missing} migrations; run `paper-engine-orders migrate` as their owner, or `run --once` \
         with MIGRATE=True"
    )]
    SchemaMissing { missing: usize },
    #[error("the loader's tables are of version {found}, newer than this program, which knows {known}; upgrade it")]
    SchemaNewer { found: i32, known: i32 },
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("the ledger has no delivery {id}")]
    NoDelivery { id: i64 },
    #[error("delivery {id} belongs to another feed: {feed}")]
    OtherFeed { id: i64, feed: String },
    #[error("delivery {id} {}; {only}. {possible}. Nothing was changed", source::stands(.status))]
    NotInState { id: i64, status: String, only: &'static str, possible: &'static str },
    #[error("{}; {only}. Nothing was changed", .bad.join("; "))]
    NotThese { bad: Vec<String>, only: &'static str },
    #[error("{name} is no table that this feed has loaded{known}")]
    NoTable { name: String, known: String },
    #[error("table {table} is stopped by nothing of its own; there is nothing to accept. Nothing was changed")]
    NotStopped { table: String },
    #[error("the feed's tables {one} and {other} are one table of the target; a table takes one feed")]
    Clash { one: Entity, other: Entity },
    #[error("Postgres answered in a form that this program does not know")]
    Garbled,
    #[error("the decoding thread panicked; this is a fault of the program")]
    Panicked,
}

impl Error {
    /// Returns `true` if a lock held by another session was not released in time.
    fn is_lock_timeout(&self) -> bool {
        matches!(self, Self::Pg(error) if error.code() == Some("55P03"))
    }

    /// Returns `true` if it may come from rows that others wrote to the table while it was loaded.
    fn may_come_from_other_writers(&self) -> bool {
        match self {
            Self::Disturbed { .. } => true,
            Self::Pg(error) => error.code().is_some_and(|code| code.starts_with("23")),
            _ => false,
        }
    }

    /// Returns the faulty part of the delivery, if the error is about one.
    pub fn part(&self) -> Option<usize> {
        match self {
            Self::Rows(error) => Some(error.part),
            Self::Cell { at, .. } => Some(at.part),
            Self::Duplicate { second, .. } => Some(second.part),
            _ => None,
        }
    }
}

/// The target database, with the ledger of one feed.
#[derive(Clone)]
pub struct Target {
    pg: Pg,
    settings: Settings,
    feed: Feed,
    host: String,
    clock: Clock,
    /// Cache of table definitions.
    catalog: Catalog,
    lock_waits: LockWaits,
    /// `true` once the tables of an older ledger were recorded.
    adopted: Arc<AtomicBool>,
    /// Number of sample keys of each kind in a change report.
    look: Option<usize>,
}

impl Target {
    /// Makes ready to connect; the first use connects.
    pub fn new(settings: &Settings, feed: Feed, host: &str, clock: Clock) -> Result<Self, Error> {
        let pg = Pg::new(&settings.postgres)?;
        let (settings, host, catalog) = (settings.clone(), host.to_owned(), Catalog::default());
        let lock_waits = LockWaits::new(clock.clone());
        Ok(Self { pg, settings, feed, host, clock, catalog, lock_waits, adopted: Arc::default(), look: None })
    }

    /// Returns the same target for a dry run: everything happens in one transaction that is never committed.
    pub async fn rehearse(&self) -> Result<Self, Error> {
        Ok(Self { pg: self.pg.rehearse().await?, ..self.clone() })
    }

    /// Returns the same target with change reports that have up to `keys` sample keys of each kind.
    pub fn with_look(self, keys: usize) -> Self {
        Self { look: Some(keys), ..self }
    }

    /// Ends a dry run by rolling everything back.
    pub async fn end_rehearsal(self) -> Result<(), Error> {
        Ok(self.pg.end_rehearsal().await?)
    }

    pub fn is_rehearsal(&self) -> bool {
        self.pg.is_rehearsal()
    }

    /// Updates the loader's own tables, or reports what is missing. Returns the number of applied migrations.
    pub async fn prepare(&self) -> Result<usize, Error> {
        if let Some(unfit) = self.server().await?.unfit {
            return Err(Error::Unfit(unfit));
        }
        Ok(migrate::bring_up_to_date(&self.pg, self.settings.migrate).await?.applied)
    }

    /// Runs a script in one transaction: for what an operator brings (roles, a model's tables).
    pub async fn execute(&self, script: &str) -> Result<(), Error> {
        let tx = self.pg.begin("script").await?;
        tx.batch_execute(script).await.map_err(|error| tx.error(error))?;
        Ok(tx.commit().await?)
    }

    /// Returns the ledger entries of this feed.
    pub async fn known(&self) -> Result<Known<Error>, Error> {
        let tx = self.pg.begin("read the ledger").await?;
        let entries = ledger::entries(tx, &self.feed).await?;
        Ok(Known { entries: Box::pin(entries) })
    }

    /// Acquires the publisher's lock, or returns `None` if another process holds it.
    pub async fn take_turn(&self) -> Result<Option<Turn>, Error> {
        outbox::take_turn(&self.pg, &self.feed).await
    }

    /// Returns the number of messages that are not yet published.
    pub async fn messages_waiting(&self) -> Result<u64, Error> {
        Ok(u64::try_from(outbox::count_waiting(&self.pg, &self.feed).await?).unwrap_or(0))
    }

    /// Deletes messages that were published long ago.
    pub async fn prune_messages(&self) -> Result<u64, Error> {
        outbox::prune(&self.pg, &self.feed, self.settings.keep_messages_days).await
    }
}
