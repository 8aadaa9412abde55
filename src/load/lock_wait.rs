//! Decides how long a delivery waits for the lock of its table.
//!
//! A wait that is longer than the server's `deadlock_timeout` makes Postgres cancel an autovacuum that holds the
//! table, so waits are shorter than that. Only a table whose lock was unavailable for ten minutes is waited for
//! longer, once. A table that only the loader writes to is loaded beside an autovacuum, under a weaker lock
//! (`delivery_tx/lock.rs`).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::types::Type;

use super::Error;
use crate::clock::Clock;
use crate::pg::{LOCK_TIMEOUT, Tx};

/// Time without the lock after which one attempt waits as long as for any other lock.
const SHORT_WAITS_FOR: Duration = Duration::from_secs(600);

/// Sets the lock timeout to four fifths of `deadlock_timeout`, but not above our own timeout.
const SHORT: &str = "select set_config('lock_timeout', \
    least(10000, ceil(extract(epoch from current_setting('deadlock_timeout')::interval) * 800))::int::text, true)";

/// Time that the next attempt waits for a table's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockWait {
    /// Shorter than `deadlock_timeout`: never cancels an autovacuum.
    Short,
    /// `LOCK_TIMEOUT`: cancels an autovacuum that holds the table.
    Long,
    /// No wait: an autovacuum had the table a moment ago.
    NoWait,
    /// Same wait as `Short`, for a lock that is compatible with an autovacuum's and does not block other writers.
    Shared,
}

impl LockWait {
    /// Returns the word that `loader_lock_table` takes.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Long | Self::NoWait | Self::Shared => "long",
        }
    }

    /// Returns the statements that lock a table before `loader_lock_table`, or instead of it, where it is not to wait for the lock
    /// itself.
    pub(super) fn before(self, table: &str) -> Option<String> {
        match self {
            Self::Short | Self::Long => None,
            Self::NoWait => Some(format!("lock table {table} in share row exclusive mode nowait")),
            Self::Shared => Some(format!("{SHORT}; lock table {table} in row exclusive mode; {LOCK_TIMEOUT}")),
        }
    }
}

/// Returns `true` if only autovacuum workers hold locks that keep others from locking the table.
pub(super) async fn is_held_by_autovacuum(tx: &Tx, table: u32) -> Result<bool, Error> {
    let row = tx.query_typed_one(include_str!("lock_wait_autovacuum.sql"), &[(&table, Type::OID)]).await;
    Ok(row.map_err(|error| tx.error(error))?.get("vacuumed"))
}

/// The tables whose locks could not be acquired, by oid. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct LockWaits {
    clock: Clock,
    tables: Arc<Mutex<Tables>>,
}

#[derive(Debug, Default)]
struct Tables {
    /// The time of the first attempt.
    refused_since: HashMap<u32, Instant>,
    /// Tables that an autovacuum held at the last attempt and that only the loader writes to.
    vacuumed: HashSet<u32>,
    /// Tables that others wrote to, although `TABLES` says that only the loader writes to them.
    disturbed: HashSet<u32>,
}

impl LockWaits {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, tables: Arc::default() }
    }

    /// Returns how long the next attempt at this table's lock waits. A long wait begins the ten minutes anew.
    pub(super) fn next(&self, table: u32) -> LockWait {
        let now = self.clock.monotonic();
        let mut tables = self.tables();
        let vacuumed = tables.vacuumed.contains(&table);
        match tables.refused_since.get_mut(&table) {
            Some(since) if now - *since >= SHORT_WAITS_FOR => {
                *since = now;
                LockWait::Long
            }
            _ if vacuumed => LockWait::NoWait,
            _ => LockWait::Short,
        }
    }

    /// Notes that an attempt timed out.
    pub(super) fn refused(&self, table: u32) {
        let now = self.clock.monotonic();
        self.tables().refused_since.entry(table).or_insert(now);
    }

    /// Notes that an attempt succeeded, at the strong lock or at the one that lets others write.
    pub(super) fn acquired(&self, table: u32, shared: bool) {
        let mut tables = self.tables();
        tables.refused_since.remove(&table);
        if !shared {
            tables.vacuumed.remove(&table);
            tables.disturbed.remove(&table);
        }
    }

    /// Notes whether an autovacuum has a table that only the loader writes to.
    pub(super) fn vacuumed(&self, table: u32, vacuumed: bool) {
        let mut tables = self.tables();
        if vacuumed {
            tables.vacuumed.insert(table)
        } else {
            tables.vacuumed.remove(&table)
        };
    }

    /// Notes that others wrote to a table that only the loader writes to: the strong lock comes first from now on.
    pub(super) fn disturbed(&self, table: u32) {
        let mut tables = self.tables();
        tables.vacuumed.remove(&table);
        tables.disturbed.insert(table);
    }

    /// Returns `true` if the table may be loaded under the weaker lock: no other writer was noticed since the
    /// stronger lock was last acquired.
    pub(super) fn may_share(&self, table: u32) -> bool {
        !self.tables().disturbed.contains(&table)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const TABLE: u32 = 16_384;

    #[test]
    fn one_attempt_in_ten_minutes_without_the_lock_waits_long() {
        let clock = Clock::fixed(datetime!(2022-01-01 00:00 UTC));
        let waits = LockWaits::new(clock.clone());
        let minute = Duration::from_secs(60);
        let mut long_at = Vec::new();
        for at in 0..25 {
            if waits.next(TABLE) == LockWait::Long {
                long_at.push(at);
            }
            waits.refused(TABLE);
            assert_eq!(waits.next(TABLE + 1), LockWait::Short, "each table for itself");
            clock.advance(minute);
        }
        assert_eq!(long_at, [10, 20]);
    }

    #[test]
    fn a_table_that_an_autovacuum_had_is_not_waited_for_until_others_wrote_to_it() {
        let waits = LockWaits::new(Clock::fixed(datetime!(2022-01-01 00:00 UTC)));
        waits.refused(TABLE);
        waits.vacuumed(TABLE, true);
        waits.acquired(TABLE, true);
        assert_eq!((waits.next(TABLE), waits.may_share(TABLE)), (LockWait::NoWait, true));
        waits.disturbed(TABLE);
        assert_eq!((waits.next(TABLE), waits.may_share(TABLE)), (LockWait::Short, false));
        waits.acquired(TABLE, false);
        assert_eq!((waits.next(TABLE), waits.may_share(TABLE)), (LockWait::Short, true));
        waits.vacuumed(TABLE, true);
        waits.vacuumed(TABLE, false);
        assert_eq!(waits.next(TABLE), LockWait::Short, "somebody else has it");
    }

    #[test]
    fn a_lock_that_was_acquired_begins_the_ten_minutes_anew() {
        let clock = Clock::fixed(datetime!(2022-01-01 00:00 UTC));
        let waits = LockWaits::new(clock.clone());
        waits.refused(TABLE);
        clock.advance(SHORT_WAITS_FOR);
        waits.acquired(TABLE, false);
        assert_eq!(waits.next(TABLE), LockWait::Short);
        waits.refused(TABLE);
        assert_eq!(waits.next(TABLE), LockWait::Short);
    }
}
