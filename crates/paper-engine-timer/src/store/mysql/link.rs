//! Keeps connections to MySQL, and runs statements on them.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Pool, PoolConstraints, PoolOpts, Row};

use crate::store::Error;

use super::settings::Settings;

/// Settings of every session. Locks are held for moments, so nobody needs to wait longer for one.
const SESSION: [&str; 4] = [
    "set session transaction isolation level read committed",
    "set time_zone = '+00:00', innodb_lock_wait_timeout = 5, sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'",
    "set names utf8mb4",
    "set wait_timeout = 3600",
];
const CONNECTIONS_MAX: usize = 6;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a transaction is tried that lost against another one.
pub(super) const TRIES: usize = 6;
/// Duplicate key, lock wait time-out, deadlock: another transaction was there first.
const LOST: [u16; 3] = [1062, 1205, 1213];
/// Errors that may go away by themselves, besides these.
const TEMPORARY: [u16; 12] = [1040, 1053, 1152, 1158, 1159, 1160, 1161, 1203, 1226, 1290, 1836, 1927];
const DENIED: [u16; 6] = [1044, 1045, 1049, 1130, 1251, 1698];

/// Returns `true` for what another transaction's success has caused: trying again helps.
pub(super) fn has_lost(error: &mysql_async::Error) -> bool {
    matches!(error, mysql_async::Error::Server(error) if LOST.contains(&error.code))
}

/// Runs a transaction: a locking read, then what the block makes of its rows. What loses against another transaction is tried
/// again. A macro, because a closure that borrows cannot promise that its future may move between threads.
macro_rules! in_transaction {
    ($link:expr, $what:expr, $read:expr, |$tx:ident, $sets:ident| $then:block) => {{
        let mut tried = 0;
        loop {
            tried += 1;
            let attempt = async {
                let (mut open, $sets) = $link.begin($read).await?;
                let $tx = &mut open;
                let made = $crate::store::mysql::link::typed(async { $then }.await)?;
                open.commit().await?;
                Ok(made)
            };
            match attempt.await {
                Err(error)
                    if $crate::store::mysql::link::has_lost(&error) && tried < $crate::store::mysql::link::TRIES => {}
                done => break $link.told($what, done),
            }
        }
    }};
}
pub(super) use in_transaction;

/// Returns a block's result as it is; it tells the compiler its type.
pub(super) fn typed<T>(done: Result<T, mysql_async::Error>) -> Result<T, mysql_async::Error> {
    done
}

/// The connections of one store.
#[derive(Clone)]
pub(super) struct Link {
    pool: Pool,
    place: String,
}

/// An open transaction. Dropped before its commit, it takes its connection with it.
pub(super) struct Tx {
    conn: Option<Conn>,
}

impl Link {
    pub(super) fn new(settings: &Settings, with_database: bool) -> Self {
        let constraints = PoolConstraints::new(0, CONNECTIONS_MAX).unwrap_or_default();
        // a reset would undo the session's settings
        let pool = PoolOpts::default().with_constraints(constraints).with_reset_connection(false);
        let options = settings.options(with_database).pool_opts(pool).init(SESSION.to_vec());
        Self { pool: Pool::new(options), place: settings.to_string() }
    }

    async fn connection(&self) -> Result<Conn, mysql_async::Error> {
        let unreachable = || std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer within 10 s");
        tokio::time::timeout(CONNECT_TIMEOUT, self.pool.get_conn()).await.map_err(|_| unreachable())?
    }

    /// Runs statements outside of a transaction, and returns the rows of the last.
    pub(super) async fn query(&self, what: &'static str, sql: &str) -> Result<Vec<Row>, Error> {
        let run = async {
            let mut tx = Tx { conn: Some(self.connection().await?) };
            let rows = tx.run(sql).await?.pop().unwrap_or_default();
            tx.put_back();
            Ok(rows)
        };
        self.told(what, run.await)
    }

    /// Runs a statement outside of a transaction, and returns how many rows it touched.
    pub(super) async fn execute(&self, what: &'static str, sql: &str) -> Result<u64, Error> {
        let run = async {
            let mut tx = Tx { conn: Some(self.connection().await?) };
            tx.run(sql).await?;
            let touched = tx.conn.as_ref().map_or(0, Conn::affected_rows);
            tx.put_back();
            Ok(touched)
        };
        self.told(what, run.await)
    }

    /// Begins a transaction with a locking read, and returns the rows of each of its statements.
    pub(super) async fn begin(&self, read: &str) -> Result<(Tx, Vec<Vec<Row>>), mysql_async::Error> {
        let mut tx = Tx { conn: Some(self.connection().await?) };
        let mut sets = tx.run(&format!("start transaction; {read}")).await?;
        sets.remove(0);
        Ok((tx, sets))
    }

    /// Turns an error of the driver into one that says what was tried.
    pub(super) fn told<T>(&self, what: &'static str, done: Result<T, mysql_async::Error>) -> Result<T, Error> {
        done.map_err(|error| self.error(what, &error))
    }

    fn error(&self, what: &'static str, error: &mysql_async::Error) -> Error {
        let place = self.place.clone();
        match error {
            mysql_async::Error::Server(error) if DENIED.contains(&error.code) => {
                Error::Denied { place, why: format!("{} ({})", error.message, error.code) }
            }
            mysql_async::Error::Server(error) => Error::Statement {
                what,
                why: format!("{} ({})", error.message, error.code),
                temporary: LOST.contains(&error.code) || TEMPORARY.contains(&error.code),
            },
            error => Error::Unreachable { place, why: error.to_string() },
        }
    }
}

impl Tx {
    /// Runs statements with one round trip, and returns the rows of each.
    pub(super) async fn run(&mut self, sql: &str) -> Result<Vec<Vec<Row>>, mysql_async::Error> {
        let Some(conn) = self.conn.as_mut() else { return Ok(Vec::new()) };
        let run = async {
            let mut result = conn.query_iter(sql).await?;
            let mut sets = vec![result.collect::<Row>().await?];
            while !result.is_empty() {
                sets.push(result.collect::<Row>().await?);
            }
            Ok(sets)
        };
        let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer within 60 s");
        tokio::time::timeout(STATEMENT_TIMEOUT, run).await.map_err(|_| late())?
    }

    /// Commits, and gives the connection back.
    pub(super) async fn commit(mut self) -> Result<(), mysql_async::Error> {
        self.run("commit").await?;
        self.put_back();
        Ok(())
    }

    /// Gives the connection back to the pool.
    fn put_back(mut self) {
        drop(self.conn.take());
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // nothing half done goes back to the pool
            runtime.spawn(conn.disconnect());
        }
    }
}
