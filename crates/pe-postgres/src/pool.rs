//! The one door to the database: a transaction with a name, on a connection of the pool.
//!
//! A `Tx` that is dropped before its end takes its connection with it, so that nothing half done can go back to the pool;
//! in a rehearsal, where there is only one, it is undone before the next one begins.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, QueueMode, RecyclingMethod};
use tokio_postgres::types::{ToSql, Type};

use super::settings::Settings;
use super::{Error, sqlstate, tls};

/// Settings of every transaction of ours, whatever the role, the database or the server has: those that change what a value
/// means, and `synchronous_commit`, without which a crash could undo a commit whose message was published. No query is among
/// them, for after one the isolation level cannot be set. The isolation level is ours, because the table lock makes it enough.
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
/// Raises `idle_in_transaction_session_timeout` to ten minutes for the rest of the transaction, where role, database or server
/// ask for less. A term of a select list, for the statement that begins what may wait for a download or the broker: a download
/// may stall for a minute before it is given up. It is never switched off, for it frees the locks of a loader that stands still.
pub const IDLE_TIMEOUT: &str = "set_config('idle_in_transaction_session_timeout', (
    select case when asked::interval > interval '0' and asked::interval < interval '10 minutes' then '10min' else asked end
    from current_setting('idle_in_transaction_session_timeout') asked), true)";
/// How long a lock of somebody else's is waited for.
pub const LOCK_TIMEOUT: &str = "set local lock_timeout = '10s'";
/// Rows are looked up by an index, though the planner would rather read a small table; and nothing is compiled for that.
pub const BY_INDEX: &str = "set local enable_seqscan = off; set local jit = off";
/// The planner decides again.
pub const AS_PLANNED: &str = "set local enable_seqscan to default; set local jit to default";

/// Who looks takes a few rows from the end of an index, also where the planner, not knowing the table, would read all of them
/// and sort.
const IN_ORDER: &str = "set local enable_sort = off; set local enable_bitmapscan = off";

/// What holds for who only looks: one moment is shown, nothing is written, and the server ends what takes long, or what we
/// left in the middle.
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
/// How long after a server without a connection for us is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// The database, reached through a pool, or through the one transaction of a rehearsal.
#[derive(Clone)]
pub struct Pg {
    door: Connections,
    /// where the server is, for errors: host, port and database
    place: Arc<str>,
}

#[derive(Clone)]
enum Connections {
    /// the pool, and what begins a transaction
    Pool(Pool, String),
    DryRunSession(DryRunSession),
}

/// The one connection of a rehearsal, when nobody is using it.
#[derive(Clone)]
struct DryRunSession(Arc<Mutex<Option<DryRunClient>>>);

struct DryRunClient {
    client: Object,
    /// whether an act was left in the middle: it is undone before the next one
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

    /// The same database for who only looks: one connection, nothing can be written, and a statement that takes long is given
    /// up.
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

    /// The same, with first questions that are sent along without waiting for the beginning.
    pub async fn begin_with<T>(&self, name: &'static str, ask: impl AsyncFnOnce(&Tx) -> T) -> Result<(Tx, T), Error> {
        let (tx, sql) = self.enter(name).await?;
        let (begun, answers) = tokio::join!(tx.run(&sql), ask(&tx));
        begun?;
        Ok((tx, answers))
    }

    /// A connection, and what begins the transaction on it.
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

    /// The same database, where everything happens in one transaction that is never committed.
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

    /// Ends a rehearsal: nothing of it is left.
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

    /// The same after a last statement, whose answer is not waited for before the commit is sent: if it fails, Postgres makes of
    /// the commit a rollback.
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

    /// A point inside the transaction to come back to.
    pub async fn mark(&self) -> Result<(), Error> {
        self.run("savepoint mark").await
    }

    pub async fn back_to_mark(&self) -> Result<(), Error> {
        self.run("rollback to savepoint mark").await
    }

    /// An error of a statement in this transaction.
    pub fn error(&self, source: tokio_postgres::Error) -> Error {
        Error::Query { door: self.name, source }
    }

    /// Whether the transaction is part of a rehearsal.
    pub fn is_rehearsal(&self) -> bool {
        self.stage.is_some()
    }

    /// Gives the connection back, to the stage or to the pool.
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

/// Gives the server the patience with us that we have with it. Left to itself it notices after two hours that a network swallows
/// everything, and for so long it holds lease and lock of whoever is gone.
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

/// A pool of at most so many connections, one of which is waited for so long.
fn pool(settings: &Settings, connections: usize, patience: Duration) -> Result<Pool, Error> {
    let connector = tls::connector(settings).map_err(|error| Error::Tls(error.to_string()))?;
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(settings.config().clone(), connector, recycling);
    // the connection that was used last knows the plans of what is asked next
    let pool = Pool::builder(manager).max_size(connections).wait_timeout(Some(patience)).queue_mode(QueueMode::Lifo);
    let pool = pool.runtime(deadpool_postgres::Runtime::Tokio1).build();
    pool.map_err(|error| silent(&settings.to_string(), error))
}

/// A connection of the pool. Where the server gives no more of them, one of those that we have is waited for.
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

/// Whether the server has no connection left for us: of its own, the database's or the role's.
fn is_full(error: &PoolError) -> bool {
    let PoolError::Backend(error) = error else { return false };
    error.code().is_some_and(|code| code.code() == "53300")
}

/// Nobody answered, or somebody who says no; the cause below the pool's error says more.
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
