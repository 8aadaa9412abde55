//! Migrations of the loader's own tables.
//!
//! If the tables are current, nothing is written and no DDL right is needed; a schema newer than the program is
//! refused. In a dry run, missing migrations run inside its transaction and are rolled back with it.

use refinery::Migration;
use tokio_postgres::types::{ToSql, Type};

use super::Error;
use crate::failpoint;
use crate::pg::{self, Pg, Tx};

mod embedded {
    refinery::embed_migrations!("db/migrations");
}

const HISTORY: &str = "loader_schema_history";
/// Starters queue here, so that one migrates and the others find it done.
const MIGRATION_LOCK: (i32, i32) = (super::LEASE_CLASS, -2);

/// Result of `bring_up_to_date`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    pub applied: usize,
    pub version: i32,
}

/// Applies what is missing, if `allowed`; an error if something is missing and it is not.
pub async fn bring_up_to_date(pg: &Pg, allowed: bool) -> Result<Done, Error> {
    let tx = pg.begin("migrate").await?;
    if allowed && !missing(&tx).await?.is_empty() {
        wait_for_turn(&tx).await?;
    }
    let missing = missing(&tx).await?;
    if !missing.is_empty() && !allowed && !tx.is_rehearsal() {
        tx.rollback().await?;
        return Err(Error::SchemaMissing { missing: missing.len() });
    }
    for migration in &missing {
        match apply(&tx, migration).await {
            // The role of a dry run may lack the rights of the role that migrates.
            Err(Error::Pg(error)) if tx.is_rehearsal() && error.code() == Some("42501") => {
                return Err(Error::SchemaMissing { missing: missing.len() });
            }
            applied => applied?,
        }
        failpoint::reach("mid_migration");
    }
    if missing.is_empty() {
        tx.rollback().await?
    } else {
        tx.commit().await?
    }
    Ok(Done { applied: missing.len(), version: newest() })
}

async fn wait_for_turn(tx: &Tx) -> Result<(), Error> {
    // another process may migrate for longer than the usual lock timeout
    tx.batch_execute("set local lock_timeout = '5min'").await.map_err(|error| tx.error(error))?;
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&MIGRATION_LOCK.0, Type::INT4), (&MIGRATION_LOCK.1, Type::INT4)];
    let waited = tx.query_typed("select pg_advisory_xact_lock($1, $2)", &parameters).await;
    waited.map_err(|error| tx.error(error))?;
    // a dry run continues in this transaction
    Ok(tx.batch_execute(pg::LOCK_TIMEOUT).await.map_err(|error| tx.error(error))?)
}

/// Returns the migrations that the database does not have, oldest first.
async fn missing(tx: &Tx) -> Result<Vec<Migration>, Error> {
    let applied = applied(tx).await?;
    if let Some(newer) = applied.iter().copied().max().filter(|version| *version > newest()) {
        return Err(Error::SchemaNewer { found: newer, known: newest() });
    }
    let mut all = embedded::migrations::runner().get_migrations().clone();
    all.sort();
    Ok(all.into_iter().filter(|migration| !applied.contains(&version(migration))).collect())
}

async fn applied(tx: &Tx) -> Result<Vec<i32>, Error> {
    // not to_regclass: it may remember from before the wait that there is no such table
    let sql = "select exists (select from pg_class where relname = $1 and relnamespace = 'public'::regnamespace)";
    let known = tx.query_typed_one(sql, &[(&HISTORY, Type::TEXT)]).await.map_err(|error| tx.error(error))?;
    if !known.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let sql = format!("select version from public.{HISTORY}");
    let rows = tx.query_typed(&sql, &[]).await.map_err(|error| tx.error(error))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Runs one migration and writes it down, in the form that refinery's own tools read.
async fn apply(tx: &Tx, migration: &Migration) -> Result<(), Error> {
    let history = format!(
        "create table if not exists public.{HISTORY} (version integer primary key, name varchar(255), \
         applied_on varchar(255), checksum varchar(255))"
    );
    let sql = migration.sql().unwrap_or_default();
    let script = format!("set local search_path = public;\n{history};\n{sql};\nset local search_path to default");
    tx.batch_execute(&script).await.map_err(|error| tx.error(error))?;
    let insert = format!(
        "insert into public.{HISTORY} (version, name, applied_on, checksum) \
         values ($1, $2, to_char(now() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), $3)"
    );
    let (number, checksum) = (version(migration), migration.checksum().to_string());
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&number, Type::INT4), (&migration.name(), Type::TEXT), (&checksum, Type::TEXT)];
    tx.execute_typed(&insert, &parameters).await.map_err(|error| tx.error(error))?;
    Ok(())
}

fn newest() -> i32 {
    embedded::migrations::runner().get_migrations().iter().map(version).max().unwrap_or(0)
}

#[expect(clippy::unnecessary_cast, reason = "the number's type depends on a feature of refinery")]
fn version(migration: &Migration) -> i32 {
    migration.version() as i32
}
