//! State in which the loader left its tables: after each delivery, `loader_tables` records which table it was, its
//! storage and its number of rows. A table that was emptied, dropped or replaced since is stopped before anything is
//! applied to it.

use std::sync::atomic::Ordering;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::catalog::Table;
use super::{Counts, Error, Feed, Target};
use super::{lease, null_rule};
use crate::pg::{self, Call, Parameter, Tx, calls};
use crate::source::Entity;

/// Reason for which a table itself is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableStatus {
    /// The table lost all its rows, or it no longer exists.
    Emptied,
    /// The table has another number of rows than the last delivery left in it.
    Changed,
    /// Another feed loaded the table last.
    Moved,
    /// its nulls were read by an assumption that another table of the feed contradicts
    Misread,
}

impl TableStatus {
    pub const ALL: [Self; 4] = [Self::Emptied, Self::Changed, Self::Moved, Self::Misread];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Emptied => "emptied",
            Self::Changed => "changed",
            Self::Moved => "moved",
            Self::Misread => "misread",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// Operator's request for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Load it again from the newest full load.
    Reload,
    /// Go on from what it holds.
    Accept,
}

impl Wish {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Accept => "accept",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Reload, Self::Accept].into_iter().find(|wish| wish.as_str() == text)
    }
}

/// A table that is stopped, or for which there is a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableStop {
    pub entity: Entity,
    /// Cause of the stop; `None` if only a reload was requested.
    pub status: Option<TableStatus>,
    pub why: String,
    pub requested: Option<Wish>,
    /// Operator who made the last request.
    pub actor: Option<String>,
}

/// Outcome of a request to load a table again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reloaded {
    /// The table's files are pending again.
    Pending,
    /// Another loader holds the table's lease.
    Busy,
}

/// State in which a delivery leaves its table, recorded in the delivery's transaction.
pub struct Left<'a> {
    scope: i64,
    entity: &'a Entity,
    table: &'a Table,
    rows: Option<i64>,
    more: i64,
}

impl<'a> Left<'a> {
    /// Creates the state; `before` is the number of rows that the table had, if they were counted.
    pub fn new(feed: &Feed, entity: &'a Entity, table: &'a Table, counts: Counts, before: Option<u64>) -> Self {
        let more = counts.create as i64 - counts.remove as i64;
        let rows = before.map(|before| before as i64 + more);
        Self { scope: feed.id(), entity, table, rows, more }
    }

    /// Returns the call of the SQL function that records the state.
    pub fn call(&self) -> Call<'_> {
        let parameters: Vec<Parameter<'_>> = vec![
            (&self.scope, Type::INT8),
            (&self.entity.schema, Type::TEXT),
            (&self.entity.name, Type::TEXT),
            (&self.table.oid, Type::OID),
            (&self.table.schema, Type::TEXT),
            (&self.table.name, Type::TEXT),
            (&self.rows, Type::INT8),
            (&self.more, Type::INT8),
        ];
        ("loader_table_left", parameters)
    }

    pub async fn write(&self, tx: &Tx) -> Result<(), Error> {
        let (sql, parameters) = calls(vec![self.call()]);
        tx.execute_typed(&sql, &parameters).await.map_err(|error| tx.error(error))?;
        Ok(())
    }
}

/// A row of `loader_tables` whose table must be inspected.
struct Noted {
    entity: Entity,
    oid: Option<u32>,
    storage: Option<String>,
    rows_left: Option<i64>,
    status: Option<TableStatus>,
    why: String,
    judged: Option<String>,
    requested: Option<Wish>,
    actor: Option<String>,
    reason: Option<String>,
    name: String,
    /// The other feed that loaded the table last.
    taken_by: Option<String>,
    /// what another table shows to the contrary of how its nulls were read: file, line and column
    contrary: Option<String>,
}

impl Noted {
    fn read(row: &Row) -> Self {
        let text = |name: &str| row.get::<_, Option<String>>(name);
        Self {
            entity: Entity { schema: row.get("schema_name"), name: row.get("entity") },
            oid: row.get("table_oid"),
            storage: text("storage"),
            rows_left: row.get("rows_left"),
            status: text("status").as_deref().and_then(TableStatus::parse),
            why: text("stop_reason").unwrap_or_default(),
            judged: text("judged_storage"),
            requested: text("requested").as_deref().and_then(Wish::parse),
            actor: text("actor"),
            reason: text("reason"),
            name: format!("{}.{}", row.get::<_, String>("target_schema"), row.get::<_, String>("target_table")),
            taken_by: text("taken_by"),
            contrary: text("contrary"),
        }
    }

    /// Returns the recorded stop, or `None` if the table is not stopped and nothing was requested.
    fn stop(&self) -> Option<TableStop> {
        let wanted = self.status.is_some() || self.requested.is_some();
        wanted.then(|| TableStop {
            entity: self.entity.clone(),
            status: self.status,
            why: self.why.clone(),
            requested: self.requested,
            actor: self.actor.clone(),
        })
    }

    /// Returns `true` if this is what stops the table already.
    fn says(&self, status: TableStatus, why: &str) -> bool {
        self.status == Some(status) && self.why.starts_with(why) && self.requested.is_none()
    }

    fn rows(&self) -> String {
        match self.rows_left {
            Some(1) => "1 row was left by the last delivery".to_owned(),
            Some(rows) => format!("{rows} rows were left by the last delivery"),
            None => "rows were left by the last delivery".to_owned(),
        }
    }
}

/// A table as it is now.
struct Now {
    oid: u32,
    storage: Option<String>,
    empty: bool,
}

impl Now {
    /// Returns the key of a cached judgement.
    fn judged(&self) -> String {
        format!("{}/{}/{}", self.oid, self.storage.as_deref().unwrap_or_default(), self.empty)
    }
}

/// Result of comparing a table with its recorded state.
enum Judgement {
    /// The recorded state still holds.
    Unchanged,
    /// The table is what was left, or can be accepted as such; with its number of rows if it is known.
    Fine(Option<i64>),
    Stop(TableStatus, String),
    /// The table's rows must be counted to decide.
    Uncounted,
}

impl Target {
    /// Finds the tables that are not what the last delivery left, records them, and carries out `tables accept`.
    /// Takes one statement if nothing has changed.
    pub async fn inspect(&self) -> Result<Vec<TableStop>, Error> {
        if !self.adopted.swap(true, Ordering::Relaxed)
            && let Err(error) = self.adopt().await
        {
            self.adopted.store(false, Ordering::Relaxed);
            return Err(error);
        }
        let mut stops = Vec::new();
        for noted in self.notable().await? {
            stops.extend(self.look_into(noted).await?);
        }
        Ok(stops)
    }

    /// Returns the stopped tables for a read-only command: nothing is recorded, no lease is taken and no row is
    /// counted.
    pub async fn table_stops(&self) -> Result<Vec<TableStop>, Error> {
        let mut stops = Vec::new();
        for noted in self.notable().await? {
            let tx = self.pg.begin("look into a table").await?;
            let judged = match self.now(&tx, &noted).await {
                Err(error) if is_in_the_way(&error) => Judgement::Unchanged,
                Err(error) => return Err(error),
                Ok(now) => judge(&tx, &noted, now.as_ref(), false).await?,
            };
            tx.rollback().await?;
            stops.extend(match judged {
                Judgement::Stop(status, why) => Some(TableStop {
                    status: Some(status),
                    why,
                    entity: noted.entity.clone(),
                    requested: noted.requested,
                    actor: noted.actor.clone(),
                }),
                _ => noted.stop(),
            });
        }
        Ok(stops)
    }

    async fn notable(&self) -> Result<Vec<Noted>, Error> {
        let (scope, nulls_given) = (self.feed.id(), self.settings.nulls_given);
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&scope, Type::INT8), (&nulls_given, Type::BOOL)];
        let ask = async |tx: &Tx| tx.query_typed(include_str!("tables_notable.sql"), &parameters).await;
        let (tx, rows) = self.pg.begin_with("look at the tables", ask).await?;
        let rows = rows.map_err(|error| tx.error(error))?;
        tx.commit().await?;
        Ok(rows.iter().map(Noted::read).collect())
    }

    async fn look_into(&self, noted: Noted) -> Result<Option<TableStop>, Error> {
        if noted.requested == Some(Wish::Reload) {
            return Ok(noted.stop());
        }
        let tx = self.pg.begin("look into a table").await?;
        let now = match self.now(&tx, &noted).await {
            Err(error) if is_in_the_way(&error) => {
                tx.rollback().await?;
                return Ok(noted.stop());
            }
            now => now?,
        };
        if let Some((table, _)) = &now
            && !lease::take(&tx, table).await?
        {
            tx.rollback().await?;
            return Ok(noted.stop());
        }
        if let (Some(example), Some((table, _))) = (&noted.contrary, &now)
            && (noted.requested == Some(Wish::Accept) || !table.has_texts())
        {
            null_rule::follow(&tx, &self.feed, &noted.entity, example).await?;
        }
        let judged = match (noted.requested, &now) {
            (Some(Wish::Accept), Some((table, _))) => Judgement::Fine(Some(count(&tx, table).await?)),
            _ => judge(&tx, &noted, now.as_ref(), true).await?,
        };
        let stop = self.note_table(&tx, &noted, now.as_ref(), judged).await?;
        tx.commit().await?;
        Ok(stop)
    }

    /// Returns the table as it is now, or `None` if there is none. No session can rewrite it until the transaction
    /// ends.
    async fn now(&self, tx: &Tx, noted: &Noted) -> Result<Option<(Table, Now)>, Error> {
        let Some(table) = self.table(tx, &noted.entity).await? else { return Ok(None) };
        let lock = format!("lock table {} in access share mode", table.quoted());
        tx.batch_execute(&lock).await.map_err(|error| tx.error(error))?;
        let sql = format!("select public.loader_storage($1), not exists (select from {})", table.quoted());
        let row = tx.query_typed_one(&sql, &[(&table.oid, Type::OID)]).await.map_err(|error| tx.error(error))?;
        let now = Now { oid: table.oid, storage: row.get(0), empty: row.get(1) };
        Ok(Some((table, now)))
    }

    /// Writes down what was found; the stop, if the table is stopped now.
    async fn note_table(
        &self,
        tx: &Tx,
        noted: &Noted,
        now: Option<&(Table, Now)>,
        judged: Judgement,
    ) -> Result<Option<TableStop>, Error> {
        match (judged, now) {
            (Judgement::Fine(rows), Some((table, _))) => {
                // it goes on from what it holds, so what was to be loaded again is not
                self.take_back_reload(tx, &noted.entity).await?;
                self.take_as_it_is(tx, noted, table, rows).await?;
                say_fine(noted, rows);
                Ok(None)
            }
            (Judgement::Stop(status, why), _) if noted.says(status, &why) => Ok(noted.stop()),
            (Judgement::Stop(status, why), now) => {
                let judged = now.map_or("gone".to_owned(), |(_, now)| now.judged());
                let (scope, word) = (self.feed.id(), status.as_str());
                let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
                    (&scope, Type::INT8),
                    (&noted.entity.schema, Type::TEXT),
                    (&noted.entity.name, Type::TEXT),
                    (&word, Type::TEXT),
                    (&why, Type::TEXT),
                    (&judged, Type::TEXT),
                ];
                let sql = "update public.loader_tables
                    set status = $4, stop_reason = $5, judged_storage = $6, requested = null,
                        stopped_at = coalesce(stopped_at, pg_catalog.clock_timestamp())
                    where scope = $1 and schema_name = $2 and entity = $3";
                tx.execute_typed(sql, &parameters).await.map_err(|error| tx.error(error))?;
                let (entity, actor) = (noted.entity.clone(), noted.actor.clone());
                Ok(Some(TableStop { entity, status: Some(status), why, requested: None, actor }))
            }
            _ => Ok(noted.stop()),
        }
    }

    async fn take_as_it_is(&self, tx: &Tx, noted: &Noted, table: &Table, rows: Option<i64>) -> Result<(), Error> {
        let left = Left { scope: self.feed.id(), entity: &noted.entity, table, rows, more: 0 };
        left.write(tx).await
    }
}

/// Decides what became of a table. `counts` allows to count its rows.
async fn judge(tx: &Tx, noted: &Noted, now: Option<&(Table, Now)>, counts: bool) -> Result<Judgement, Error> {
    let Some((table, now)) = now else {
        let why =
            format!("there is no table {} any more, though {}; it was dropped or renamed", noted.name, noted.rows());
        return Ok(Judgement::Stop(TableStatus::Emptied, why));
    };
    if let Some(other) = &noted.taken_by {
        let why = format!("another feed loaded {} last: {other}", noted.name);
        return Ok(Judgement::Stop(TableStatus::Moved, why));
    }
    if let Some(contrary) = noted.contrary.as_ref().filter(|_| table.has_texts()) {
        let why = format!(
            "nothing in its files showed how null is written, so it was assumed that an empty cell is an empty text; \
             {contrary} shows that the feed writes null as an empty cell. If its empty texts are right, write FEED null=NULL"
        );
        return Ok(Judgement::Stop(TableStatus::Misread, why));
    }
    if noted.status == Some(TableStatus::Misread) && noted.oid == Some(now.oid) && noted.storage == now.storage {
        return Ok(Judgement::Fine(noted.rows_left));
    }
    if noted.status.is_some() && noted.judged.as_ref() == Some(&now.judged()) {
        return Ok(Judgement::Unchanged);
    }
    if noted.oid == Some(now.oid) && noted.storage == now.storage {
        return Ok(Judgement::Fine(noted.rows_left));
    }
    match (now.empty, noted.rows_left) {
        (true, Some(0)) => Ok(Judgement::Fine(Some(0))),
        (true, _) => {
            let how = match noted.oid == Some(now.oid) {
                true => "it was truncated, or lost its rows in a crash",
                false => "it is another table than the one that was loaded: dropped or renamed, and created again",
            };
            let why = format!("{} holds no row, though {}; {how}", noted.name, noted.rows());
            Ok(Judgement::Stop(TableStatus::Emptied, why))
        }
        (false, _) if !counts => Ok(Judgement::Uncounted),
        (false, left) => {
            let rows = count(tx, table).await?;
            if left.is_none_or(|left| left == rows) {
                return Ok(Judgement::Fine(Some(rows)));
            }
            let why = format!("{} was rewritten by others and holds {rows} rows, though {}", noted.name, noted.rows());
            Ok(Judgement::Stop(TableStatus::Changed, why))
        }
    }
}

/// Says why a table goes on that was not as it was left.
fn say_fine(noted: &Noted, rows: Option<i64>) {
    let Noted { entity, actor, reason, .. } = noted;
    let rows = rows.map_or("its rows".to_owned(), |rows| format!("{rows} rows"));
    match (noted.requested, noted.status) {
        (Some(Wish::Accept), _) => {
            let (actor, reason) = (actor.as_deref().unwrap_or("?"), reason.as_deref().unwrap_or("no reason given"));
            tracing::info!("{entity}: accepted with {rows} by {actor}: {reason}. It goes on from there.");
        }
        (_, Some(_)) => tracing::info!("{entity}: is what was left in it again, with {rows}, and goes on."),
        _ => tracing::info!(
            "{entity}: its storage was replaced by others; it holds {rows} as before, and goes on. \
             `verify {entity}` tells whether they are the same."
        ),
    }
}

async fn count(tx: &Tx, table: &Table) -> Result<i64, Error> {
    let sql = format!("select count(*) from {}", table.quoted());
    Ok(tx.query_typed_one(&sql, &[]).await.map_err(|error| tx.error(error))?.get(0))
}

/// Returns `true` if the table is locked by another session, has just vanished, may not be read or has an ambiguous
/// name. It is then left for the next inspection.
fn is_in_the_way(error: &Error) -> bool {
    match error {
        Error::Pg(error @ pg::Error::Query { .. }) => {
            matches!(error.code(), Some("55P03" | "42P01" | "42501" | "3F000" | "40P01"))
        }
        Error::Ambiguous { .. } => true,
        _ => false,
    }
}
