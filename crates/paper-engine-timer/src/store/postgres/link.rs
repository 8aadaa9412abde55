//! Keeps one connection to Postgres: opened when it is needed, opened anew after it was lost, with its prepared statements.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, Row, Statement};

use crate::store::Error;

/// Settings of the session. Plans must not depend on statistics, which a new table has not; where there is an index it is used.
const SESSION: &str = "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set synchronous_commit = on; set jit = off;
set enable_seqscan = off; set statement_timeout = '30s'; set lock_timeout = '5s'; set idle_in_transaction_session_timeout = '30s';
set default_transaction_isolation = 'read committed'; set client_min_messages = warning";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One connection, shared by its clones.
#[derive(Clone)]
pub(super) struct Link {
    target: Arc<Target>,
    open: Arc<tokio::sync::Mutex<Option<Arc<Open>>>>,
    /// Statements for every new connection, and who is told of notifications.
    listen: Option<(&'static str, Arc<Heard>)>,
}

/// Where the database is.
pub(super) struct Target {
    pub(super) settings: pe_postgres::settings::Settings,
    /// The driver's settings, with the name that sessions have in `pg_stat_activity`.
    pub(super) config: Config,
    pub(super) place: String,
}

/// The name of a session whose settings give none, and the one that the shared settings put there.
const APPLICATION_NAME: &str = "paper-engine-timer";
const SHARED_APPLICATION_NAME: &str = "paper-engine-orders";

impl Target {
    /// Takes the settings as they are; a session without a name of its own gets this program's.
    pub(super) fn new(settings: pe_postgres::settings::Settings) -> Self {
        let (mut config, place) = (settings.config().clone(), settings.to_string());
        if config.get_application_name() == Some(SHARED_APPLICATION_NAME) {
            config.application_name(APPLICATION_NAME);
        }
        Self { settings, config, place }
    }
}

/// Notifications that arrived.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) due: Notify,
    /// Whether one of them spoke of a task that was due long ago.
    pub(super) past: std::sync::atomic::AtomicBool,
}

/// An open connection.
pub(super) struct Open {
    pub(super) client: Client,
    statements: Mutex<HashMap<String, Statement>>,
    place: String,
}

impl Link {
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self { target, open: Arc::default(), listen: None }
    }

    /// Makes every connection listen.
    pub(super) fn listening(mut self, statement: &'static str, heard: Arc<Heard>) -> Self {
        self.listen = Some((statement, heard));
        self
    }

    /// Returns the connection, opened if need be.
    pub(super) async fn get(&self) -> Result<Arc<Open>, Error> {
        let mut open = self.open.lock().await;
        if let Some(open) = open.as_ref().filter(|open| !open.client.is_closed()) {
            return Ok(open.clone());
        }
        let fresh = Arc::new(self.connect().await?);
        *open = Some(fresh.clone());
        Ok(fresh)
    }

    async fn connect(&self) -> Result<Open, Error> {
        let heard = self.listen.as_ref().map(|(_, heard)| heard);
        let client = connect_to(&self.target, &self.target.config, heard).await?;
        let open = Open { client, statements: Mutex::default(), place: self.target.place.clone() };
        open.batch("prepare the session", SESSION).await?;
        if let Some((statement, _)) = self.listen {
            open.batch("listen", statement).await?;
        }
        Ok(open)
    }

    /// Runs a statement on the connection and returns its rows.
    pub(super) async fn query(
        &self,
        what: &'static str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.get().await?.query(what, sql, parameters).await
    }

    /// Runs a statement on the connection and returns how many rows it touched.
    pub(super) async fn execute(
        &self,
        what: &'static str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let open = self.get().await?;
        let statement = open.prepare(what, sql).await?;
        open.client.execute(&statement, parameters).await.map_err(|error| open.error(what, &error))
    }
}

impl Open {
    async fn prepare(&self, what: &'static str, sql: &str) -> Result<Statement, Error> {
        let known = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await.map_err(|error| self.error(what, &error))?;
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    pub(super) async fn query(
        &self,
        what: &'static str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let statement = self.prepare(what, sql).await?;
        self.client.query(&statement, parameters).await.map_err(|error| self.error(what, &error))
    }

    /// Runs statements without parameters.
    pub(super) async fn batch(&self, what: &'static str, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await.map_err(|error| self.error(what, &error))
    }

    fn error(&self, what: &'static str, error: &tokio_postgres::Error) -> Error {
        match error.code() {
            None => Error::Unreachable { place: self.place.clone(), why: pe_postgres::describe(error) },
            Some(code) => Error::Statement {
                what,
                why: pe_postgres::describe(error),
                temporary: pe_postgres::sqlstate::is_world(code.code()),
            },
        }
    }
}

/// Opens a connection with `config`, encrypted as the target's settings say; `heard` is told of its notifications.
pub(super) async fn connect_to(target: &Target, config: &Config, heard: Option<&Arc<Heard>>) -> Result<Client, Error> {
    let unreachable = |why: String| Error::Unreachable { place: target.place.clone(), why };
    let tls = pe_postgres::tls::connector(&target.settings).map_err(|error| Error::Setting(error.to_string()))?;
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, config.connect(tls)).await;
    let connected = connecting.map_err(|_| unreachable("no answer within 10 s".to_owned()))?;
    let (client, mut connection) = connected.map_err(|error| match error.code() {
        Some(code) if pe_postgres::sqlstate::is_refusal(code.code()) => {
            Error::Denied { place: target.place.clone(), why: pe_postgres::describe(&error) }
        }
        _ => unreachable(pe_postgres::describe(&error)),
    })?;
    let heard = heard.cloned();
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let (AsyncMessage::Notification(note), Some(heard)) = (message, &heard) {
                heard.past.fetch_or(note.payload() == "past", std::sync::atomic::Ordering::Relaxed);
                heard.due.notify_one();
            }
        }
    });
    Ok(client)
}
