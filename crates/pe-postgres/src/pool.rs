//! Transactions: each has a name and a connection of the pool.
//!
//! A `Tx` that is dropped before its end closes its connection, so that no unfinished transaction returns to the
//! pool. In a dry run, which has only one connection, the unfinished work is rolled back before the next transaction
//! begins.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, QueueMode, RecyclingMethod};
use tokio_postgres::types::{ToSql, Type};

use super::settings::Settings;
use super::{Error, sqlstate, tls};

/// Settings of every transaction, whatever those of the role, the database or the server are: settings that change
/// the meaning of values, and `synchronous_commit`, without which a crash could undo a commit whose message was
/// published. No query is among them, because the isolation level cannot be set after one. Read committed suffices
/// because of the table lock.
const BEGIN: &str = "begin isolation level read committed;
set local timezone = 'UTC';
set local datestyle = 'ISO, YMD';
set local intervalstyle = 'postgres';
set local lc_monetary = 'C';
set local array_nulls = on;
set local transform_null_equals = off;
set local xmloption = content;
set local standard_conforming_strings = on;
set local extra_float_digits = 1;
set local synchronous_commit = on";
/// Raises `idle_in_transaction_session_timeout` to ten minutes for the rest of the transaction, if role, database or
/// server set less. A term of a select list, for the first statement of a transaction that may wait for a download or
/// the broker: a download may stall for a minute before it is given up. The timeout is never switched off, because it
/// frees the locks of a loader that hangs.
pub const IDLE_TIMEOUT: &str = "set_config('idle_in_transaction_session_timeout', (
    select case when asked::interval > interval '0' and asked::interval < interval '10 minutes' then '10min' else asked end
    from current_setting('idle_in_transaction_session_timeout') asked), true)";
/// Maximum time to wait for a lock that another session holds.
pub const LOCK_TIMEOUT: &str = "set local lock_timeout = '10s'";
/// Rows are looked up by an index, though the planner would rather read a small table; and nothing is compiled for that.
pub const BY_INDEX: &str = "set local enable_seqscan = off; set local jit = off";
/// The planner decides again.
pub const AS_PLANNED: &str = "set local enable_seqscan to default; set local jit to default";

/// Settings with which queries use the index: without statistics the planner would scan and sort the whole ledger.
const IN_ORDER: &str = "set local enable_sort = off; set local enable_bitmapscan = off";

/// Beginning of a read-only transaction: one snapshot, no writes, and timeouts for long statements and abandoned
/// transactions.
const LOOK: &str = "begin isolation level repeatable read, read only;
set local timezone = 'UTC';
set local datestyle = 'ISO, YMD';
set local statement_timeout = '2s';
set local lock_timeout = '1s';
set local idle_in_transaction_session_timeout = '5s';
set local max_parallel_workers_per_gather = 0";
const GLANCE: Duration = Duration::from_secs(2);

const CONNECTIONS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause before a server without a free connection is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// The database, reached through a pool or through the one transaction of a dry run.
#[derive(Clone)]
pub struct Pg {
    door: Connections,
    /// Address of the server for errors: host, port and database.
    place: Arc<str>,
}

#[derive(Clone)]
enum Connections {
    /// The pool, and what begins a transaction.
    Pool(Pool, String),
    DryRunSession(DryRunSession),
}

/// The one connection of a dry run, while no transaction uses it.
#[derive(Clone)]
struct DryRunSession(Arc<Mutex<Option<DryRunClient>>>);

struct DryRunClient {
    client: Object,
    /// `true` if a transaction was dropped unfinished: it is rolled back before the next one begins.
    interrupted: bool,
}

impl DryRunSession {
    fn put(&self, client: Object, interrupted: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(DryRunClient { client, interrupted });
    }

    fn take(&self) -> Option<DryRunClient> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

const BEGIN_ACT: &str = "savepoint act";
const UNDO_ACT: &str = "rollback to savepoint act; release savepoint act";
/// Ends an act as a commit would: deferred constraints are checked too.
const END_ACT: &str = "set constraints all immediate; set constraints all deferred; release savepoint act";

/// A statement's parameter: a value and the type it travels as.
pub type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// A call of a function of the loader: its name and its parameters.
pub type Call<'a> = (&'static str, Vec<Parameter<'a>>);

/// Returns one statement that calls all these functions.
pub fn calls(calls: Vec<Call<'_>>) -> (String, Vec<Parameter<'_>>) {
    let (mut sql, mut all) = (String::from("select"), Vec::new());
    for (number, (name, parameters)) in calls.into_iter().enumerate() {
        let places = (all.len() + 1..=all.len() + parameters.len()).map(|place| format!("${place}"));
        let (comma, places) = (if number == 0 { "" } else { "," }, places.collect::<Vec<_>>().join(", "));
        sql += &format!("{comma} public.{name}({places})");
        all.extend(parameters);
    }
    (sql, all)
}

/// An open transaction. Ends by `commit` or `rollback`; dropped, it is rolled back and its connection closed.
pub struct Tx {
    name: &'static str,
    client: Option<Object>,
    stage: Option<DryRunSession>,
}

impl Pg {
    /// Makes the pool; the first `begin` connects.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let pool = pool(settings, CONNECTIONS, PATIENCE)?;
        let begin = format!("{BEGIN}; {LOCK_TIMEOUT}{}", watch(settings.config()));
        Ok(Self { door: Connections::Pool(pool, begin), place: settings.to_string().into() })
    }

    /// Returns a read-only pool for the same database: one connection, no writes, and a limit for the duration of
    /// statements.
    pub fn onlooker(settings: &Settings) -> Result<Self, Error> {
        let door = Connections::Pool(pool(settings, 1, GLANCE)?, format!("{LOOK}; {BY_INDEX}; {IN_ORDER}"));
        Ok(Self { door, place: settings.to_string().into() })
    }

    /// Opens a transaction for `name`, which its errors will carry.
    pub async fn begin(&self, name: &'static str) -> Result<Tx, Error> {
        let (tx, sql) = self.enter(name).await?;
        tx.run(&sql).await?;
        Ok(tx)
    }

    /// Begins a transaction and sends first queries along, without waiting for the answer to the beginning.
    pub async fn begin_with<T>(&self, name: &'static str, ask: impl AsyncFnOnce(&Tx) -> T) -> Result<(Tx, T), Error> {
        let (tx, sql) = self.enter(name).await?;
        let (begun, answers) = tokio::join!(tx.run(&sql), ask(&tx));
        begun?;
        Ok((tx, answers))
    }

    /// Returns a connection, and the statement that begins the transaction on it.
    async fn enter(&self, name: &'static str) -> Result<(Tx, String), Error> {
        match &self.door {
            Connections::Pool(pool, begin) => {
                let client = connection(pool).await.map_err(|error| unreached(&self.place, &error))?;
                Ok((Tx { name, client: Some(client), stage: None }, begin.clone()))
            }
            Connections::DryRunSession(stage) => {
                let lost = || silent(&self.place, "the rehearsal's connection was lost");
                let DryRunClient { client, interrupted } = stage.take().ok_or_else(lost)?;
                let sql = if interrupted { format!("{UNDO_ACT}; {BEGIN_ACT}") } else { BEGIN_ACT.to_owned() };
                Ok((Tx { name, client: Some(client), stage: Some(stage.clone()) }, sql))
            }
        }
    }

    /// Returns a pool for a dry run: everything happens in one transaction that is never committed.
    pub async fn rehearse(&self) -> Result<Self, Error> {
        let mut tx = self.begin("rehearse").await?;
        let stage = DryRunSession(Arc::default());
        if let Some(client) = tx.client.take() {
            stage.put(client, false);
        }
        Ok(Self { door: Connections::DryRunSession(stage), place: self.place.clone() })
    }

    pub fn is_rehearsal(&self) -> bool {
        matches!(self.door, Connections::DryRunSession(_))
    }

    /// Ends a dry run by rolling everything back.
    pub async fn end_rehearsal(self) -> Result<(), Error> {
        let Connections::DryRunSession(stage) = self.door else { return Ok(()) };
        match stage.take() {
            Some(DryRunClient { client, .. }) => {
                Tx { name: "rehearse", client: Some(client), stage: None }.rollback().await
            }
            None => Ok(()),
        }
    }
}

impl Tx {
    async fn run(&self, sql: &str) -> Result<(), Error> {
        self.batch_execute(sql).await.map_err(|source| self.error(source))
    }

    /// Ends the transaction and keeps what it did.
    pub async fn commit(self) -> Result<(), Error> {
        let committed = self.batch_execute(self.commit_sql()).await;
        self.committed(committed).await
    }

    /// Commits after a last statement without waiting for its answer first. If the statement fails, Postgres turns
    /// the commit into a rollback.
    pub async fn commit_after(self, (sql, parameters): &(String, Vec<Parameter<'_>>)) -> Result<(), Error> {
        let last = self.execute_typed(sql, parameters);
        let (last, committed) = tokio::join!(last, self.batch_execute(self.commit_sql()));
        self.committed(last.and(committed)).await
    }

    fn commit_sql(&self) -> &'static str {
        if self.stage.is_some() { END_ACT } else { "commit" }
    }

    async fn committed(mut self, committed: Result<(), tokio_postgres::Error>) -> Result<(), Error> {
        match committed {
            Ok(()) => {
                self.put_back();
                Ok(())
            }
            Err(source) if source.code().is_none() => Err(Error::UnknownCommit { door: self.name }),
            Err(source) => {
                let error = self.error(source);
                // the server says no before it lets go of the locks: its next answer comes when it has
                let _ = self.rollback().await;
                Err(error)
            }
        }
    }

    /// Ends the transaction and undoes what it did.
    pub async fn rollback(mut self) -> Result<(), Error> {
        let sql = match &self.stage {
            Some(_) => UNDO_ACT,
            None => "rollback",
        };
        self.run(sql).await?;
        self.put_back();
        Ok(())
    }

    /// Sets a savepoint.
    pub async fn mark(&self) -> Result<(), Error> {
        self.run("savepoint mark").await
    }

    pub async fn back_to_mark(&self) -> Result<(), Error> {
        self.run("rollback to savepoint mark").await
    }

    /// Returns an error of a statement in this transaction.
    pub fn error(&self, source: tokio_postgres::Error) -> Error {
        Error::Query { door: self.name, source }
    }

    /// Returns `true` if the transaction is part of a dry run.
    pub fn is_rehearsal(&self) -> bool {
        self.stage.is_some()
    }

    /// Returns the connection to the pool or to the dry run.
    fn put_back(&mut self) {
        let Some(client) = self.client.take() else { return };
        if let Some(stage) = &self.stage {
            stage.put(client, false);
        }
    }
}

impl Deref for Tx {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &Self::Target {
        self.client.as_ref().expect("a transaction holds its connection until its end")
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        match (self.client.take(), &self.stage) {
            (Some(client), Some(stage)) => stage.put(client, true),
            (Some(client), None) => drop(Object::take(client)),
            (None, _) => {}
        }
    }
}

/// Applies our TCP keepalive settings to the server's side too. With its defaults, the server notices only after two
/// hours that a client is gone, and keeps the client's locks until then.
fn watch(config: &tokio_postgres::Config) -> String {
    let (Some(every), Some(times)) = (config.get_keepalives_interval(), config.get_keepalives_retries()) else {
        return String::new();
    };
    if !config.get_keepalives() {
        return String::new();
    }
    let (idle, every) = (config.get_keepalives_idle().as_secs(), every.as_secs());
    let patience = config.get_tcp_user_timeout().map(|patience| patience.as_millis());
    let patience = patience.map(|patience| format!(";\nset local tcp_user_timeout = {patience}")).unwrap_or_default();
    format!(
        ";\nset local tcp_keepalives_idle = {idle};\nset local tcp_keepalives_interval = {every};
set local tcp_keepalives_count = {times}{patience}"
    )
}

/// Creates a pool of at most `connections` connections; `patience` is the maximum time to wait for a free one.
fn pool(settings: &Settings, connections: usize, patience: Duration) -> Result<Pool, Error> {
    let connector = tls::connector(settings).map_err(|error| Error::Tls(error.to_string()))?;
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(settings.config().clone(), connector, recycling);
    // the connection that was used last knows the plans of what is asked next
    let pool = Pool::builder(manager).max_size(connections).wait_timeout(Some(patience)).queue_mode(QueueMode::Lifo);
    let pool = pool.runtime(deadpool_postgres::Runtime::Tokio1).build();
    pool.map_err(|error| silent(&settings.to_string(), error))
}

/// Returns a connection of the pool. If the server refuses another one, waits for one that we have.
async fn connection(pool: &Pool) -> Result<Object, PoolError> {
    let mut patience = PATIENCE;
    loop {
        match pool.get().await {
            Err(error) if is_full(&error) && pool.status().size > 0 && !patience.is_zero() => {
                tokio::time::sleep(PAUSE).await;
                patience = patience.saturating_sub(PAUSE);
            }
            other => return other,
        }
    }
}

/// Returns `true` if the server has no free connection: in total, for the database or for the role.
fn is_full(error: &PoolError) -> bool {
    let PoolError::Backend(error) = error else { return false };
    error.code().is_some_and(|code| code.code() == "53300")
}

/// Returns the error for a server that cannot be reached, or that refuses the login. The cause of the pool's error
/// has the details.
fn unreached(place: &str, error: &PoolError) -> Error {
    let PoolError::Backend(error) = error else { return silent(place, error) };
    if error.code().is_some_and(|code| sqlstate::is_refusal(code.code())) {
        Error::Refused(super::describe(error))
    } else {
        silent(place, super::describe(error))
    }
}

fn silent(place: &str, why: impl ToString) -> Error {
    Error::Connect { place: place.to_owned(), why: why.to_string() }
}
