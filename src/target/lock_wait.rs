//! How long a delivery waits for the lock of its table. A wait that outlasts the server's `deadlock_timeout` makes Postgres
//! cancel an autovacuum that holds the table, so waits are shorter than that; only a table whose lock was not to be had for
//! ten minutes is waited for longer, once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Clock;

/// After this time without the lock, one attempt waits as long as for any other lock.
const SHORT_WAITS_FOR: Duration = Duration::from_secs(600);

/// How long the next attempt waits for a table's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockWait {
    /// Shorter than `deadlock_timeout`: never cancels an autovacuum.
    Short,
    /// `LOCK_TIMEOUT`: cancels an autovacuum that holds the table.
    Long,
}

impl LockWait {
    /// Returns the word that `loader_lock_table` takes.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Long => "long",
        }
    }
}

/// The tables whose locks could not be acquired, by oid, with the time of the first attempt. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct LockWaits {
    clock: Clock,
    refused_since: Arc<Mutex<HashMap<u32, Instant>>>,
}

impl LockWaits {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, refused_since: Arc::default() }
    }

    /// Returns how long the next attempt at this table's lock waits. A long wait begins the ten minutes anew.
    pub(super) fn next(&self, table: u32) -> LockWait {
        let now = self.clock.monotonic();
        match self.tables().get_mut(&table) {
            Some(since) if now - *since >= SHORT_WAITS_FOR => {
                *since = now;
                LockWait::Long
            }
            _ => LockWait::Short,
        }
    }

    /// Notes that an attempt timed out.
    pub(super) fn refused(&self, table: u32) {
        let now = self.clock.monotonic();
        self.tables().entry(table).or_insert(now);
    }

    /// Notes that an attempt succeeded.
    pub(super) fn acquired(&self, table: u32) {
        self.tables().remove(&table);
    }

    fn tables(&self) -> MutexGuard<'_, HashMap<u32, Instant>> {
        self.refused_since.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_lock_that_was_acquired_begins_the_ten_minutes_anew() {
        let clock = Clock::fixed(datetime!(2022-01-01 00:00 UTC));
        let waits = LockWaits::new(clock.clone());
        waits.refused(TABLE);
        clock.advance(SHORT_WAITS_FOR);
        waits.acquired(TABLE);
        assert_eq!(waits.next(TABLE), LockWait::Short);
        waits.refused(TABLE);
        assert_eq!(waits.next(TABLE), LockWait::Short);
    }
}
