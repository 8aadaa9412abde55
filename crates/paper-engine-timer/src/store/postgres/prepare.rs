//! Creates database, tables and indexes in Postgres where they are missing, and finds out how `timers` is made.

use std::sync::Arc;

use crate::store::{Error, Facts, Prepare, Zone};

use super::link::{Link, Open, Target, connect_to};
use super::sql::Shape;

const TIMERS: &str = include_str!("../../../../../db/timer/postgres/timers.sql");
const MIGRATIONS: [(i32, &str); 1] = [(1, include_str!("../../../../../db/timer/postgres/V1__attempts.sql"))];

/// Held while tables are made, so that pods that start together do it once.
const LOCK: &str = "select pg_advisory_xact_lock(hashtextextended('paper-engine-timer', 0))";
const HAS_TABLES: &str = "select to_regclass('timers') is not null, to_regclass('timer_migrations') is not null";
const APPLIED: &str = "select coalesce(max(version), 0) from timer_migrations";

/// Whether columns are there, and of which types.
const COLUMNS: &str = "select a.attname::text, format_type(a.atttypid, null), a.atttypmod, quote_ident(n.nspname) || '.' ||
    quote_ident(y.typname) from pg_attribute a join pg_type y on y.oid = a.atttypid join pg_namespace n on n.oid = y.typnamespace
    where a.attrelid = to_regclass('timers') and a.attnum > 0 and not a.attisdropped";
/// The first column of every valid index, whether the index is unique, has that column only, and has a condition.
const INDEXES: &str = "select a.attname::text, i.indisunique and i.indimmediate and i.indnkeyatts = 1 and i.indpred is null,
    pg_get_expr(i.indpred, i.indrelid) from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = to_regclass('timers') and i.indisvalid";
/// The version, and the time zone that sessions get which ask for none.
const SERVER: &str = "select 'Postgres ' || current_setting('server_version'),
    coalesce((select boot_val from pg_settings where name = 'TimeZone' and source = 'default'),
        (select reset_val from pg_settings where name = 'TimeZone'), 'UTC')";
const RIGHTS: &str = "select has_table_privilege('timers', 'select'), has_table_privilege('timers', 'update'),
    has_table_privilege('timers', 'insert')";

/// Makes what is missing, if `mode` lets it, and describes what is there.
pub(super) async fn prepare(
    target: &Arc<Target>,
    link: &Link,
    zone: &Zone,
    mode: Prepare,
) -> Result<(Facts, Shape), Error> {
    let open = match link.get().await {
        Err(Error::Denied { .. }) if mode == Prepare::Create => {
            create_database(target).await?;
            link.get().await?
        }
        other => other?,
    };
    if mode == Prepare::Create {
        create_tables(&open).await?;
        create_indexes(&open).await?;
    }
    describe(&open, zone).await
}

/// Creates the database, from one that every server has. What goes wrong is told by the next connection.
async fn create_database(target: &Target) -> Result<(), Error> {
    let Some(name) = target.config.get_dbname() else { return Ok(()) };
    let mut maintenance = target.config.clone();
    maintenance.dbname("postgres");
    let Ok(client) = connect_to(target, &maintenance, None).await else { return Ok(()) };
    let created = client.batch_execute(&format!("create database {}", pe_postgres::quote::ident(name))).await;
    if created.is_ok() {
        tracing::info!("Created the database {name}.");
    }
    Ok(())
}

async fn create_tables(open: &Open) -> Result<(), Error> {
    if applied(open).await? >= MIGRATIONS.len() && has_tables(open).await?.0 {
        return Ok(());
    }
    let begun = format!(
        "begin; {LOCK}; create table if not exists timer_migrations (version integer primary key, applied_at
        timestamptz not null default now())"
    );
    open.batch("create tables", &begun).await?;
    let made = create_in_transaction(open).await;
    open.batch("create tables", if made.is_ok() { "commit" } else { "rollback" }).await?;
    made.map_err(|error| match error {
        Error::Statement { why, temporary: false, .. } => Error::Table(format!(
            "the tables of the timer are not there, and cannot be created: {why}. Run `paper-engine-timer migrate` as a role that may"
        )),
        other => other,
    })
}

async fn create_in_transaction(open: &Open) -> Result<(), Error> {
    if !has_tables(open).await?.0 {
        open.batch("create the table timers", TIMERS).await?;
        tracing::info!("Created the table timers.");
    }
    let applied = applied(open).await?;
    for (version, sql) in MIGRATIONS.iter().skip(applied) {
        open.batch("create tables", sql).await?;
        open.batch("create tables", &format!("insert into timer_migrations (version) values ({version})")).await?;
    }
    Ok(())
}

/// Returns whether `timers` and the table of migrations are there.
async fn has_tables(open: &Open) -> Result<(bool, bool), Error> {
    let rows = open.query("look for tables", HAS_TABLES, &[]).await?;
    Ok(rows.first().map_or((false, false), |row| (row.get(0), row.get(1))))
}

async fn applied(open: &Open) -> Result<usize, Error> {
    if !has_tables(open).await?.1 {
        return Ok(0);
    }
    let rows = open.query("look for migrations", APPLIED, &[]).await?;
    Ok(rows.first().and_then(|row| usize::try_from(row.get::<_, i32>(0)).ok()).unwrap_or(0))
}

/// Adds the indexes that a table made by somebody else lacks, where the role may.
async fn create_indexes(open: &Open) -> Result<(), Error> {
    let found = indexes(open).await?;
    let wanted = [
        (
            found.due,
            "create index concurrently if not exists timers_waiting on timers (timer_invoke_time) where timer_status = 'waiting'",
        ),
        (found.id, "create index concurrently if not exists timers_id on timers (timer_id)"),
    ];
    // a large table takes longer than any other statement may
    open.batch("create an index", "set statement_timeout = 0").await?;
    for (_, sql) in wanted.iter().filter(|(there, _)| !there) {
        if let Err(error) = open.batch("create an index", sql).await {
            tracing::debug!("The table timers gets no index: {error}.");
        }
    }
    open.batch("create an index", "set statement_timeout = '30s'").await?;
    Ok(())
}

/// Which indexes `timers` has.
#[derive(Default)]
struct Indexes {
    key: bool,
    id: bool,
    due: bool,
}

async fn indexes(open: &Open) -> Result<Indexes, Error> {
    let mut found = Indexes::default();
    for row in open.query("look at indexes", INDEXES, &[]).await? {
        let (column, unique, condition): (String, bool, Option<String>) = (row.get(0), row.get(1), row.get(2));
        found.key |= column == "timer_id" && unique;
        found.id |= column == "timer_id" && condition.is_none();
        let waiting = condition
            .as_deref()
            .is_none_or(|condition| condition.contains("timer_status") && condition.contains("'waiting'"));
        found.due |= waiting && column == "timer_invoke_time" || column == "timer_status" && condition.is_none();
    }
    Ok(found)
}

async fn describe(open: &Open, zone: &Zone) -> Result<(Facts, Shape), Error> {
    let (timers, migrations) = has_tables(open).await?;
    if !timers || !migrations || applied(open).await? < MIGRATIONS.len() {
        let missing = if timers { "timer_attempts" } else { "timers" };
        return Err(Error::Table(format!(
            "the table {missing} is not there, or too old. Run `paper-engine-timer migrate`"
        )));
    }
    let (mut facts, mut shape) = (Facts::default(), Shape::default());
    columns(open, &mut facts, &mut shape).await?;
    if facts.zoneless {
        shape.zone = Some(zone.postgres());
        check_zone(open, zone).await?;
    }
    let found = indexes(open).await?;
    (facts.has_key, facts.has_id_index, facts.has_due_index) = (found.key, found.id, found.due);
    server(open, &mut facts).await?;
    rights(open).await?;
    facts.warn(zone);
    Ok((facts, shape))
}

async fn columns(open: &Open, facts: &mut Facts, shape: &mut Shape) -> Result<(), Error> {
    let rows = open.query("look at the table timers", COLUMNS, &[]).await?;
    let column = |name: &str| {
        let row = rows.iter().find(|row| row.get::<_, String>(0) == name);
        let row = row.ok_or_else(|| Error::Table(format!("the table timers has no column {name}")))?;
        Ok::<_, Error>((row.get::<_, String>(1), row.get::<_, i32>(2), row.get::<_, String>(3)))
    };
    let wrong = |name: &str, kind: &str, good: &str| {
        Err(Error::Table(format!("the column {name} of timers is of type {kind}; it must be {good}")))
    };
    let (id, ..) = column("timer_id")?;
    if id != "uuid" {
        return wrong("timer_id", &id, "uuid");
    }
    column("timer_url")?;
    let (_, _, status) = column("timer_status")?;
    shape.status_type = status;
    let (time, modifier, _) = column("timer_invoke_time")?;
    facts.zoneless = match time.as_str() {
        "timestamp with time zone" => false,
        "timestamp without time zone" => true,
        other => return wrong("timer_invoke_time", other, "timestamp with or without time zone"),
    };
    facts.precision = u8::try_from(modifier).map_or(6, |digits| digits.min(6));
    Ok(())
}

async fn check_zone(open: &Open, zone: &Zone) -> Result<(), Error> {
    let sql = format!("select now() at time zone {}", zone.postgres());
    let known = open.query("look up TIMER_ZONE", &sql, &[]).await;
    known.map(|_| ()).map_err(|error| match error {
        Error::Statement { temporary: false, .. } => {
            Error::Setting(format!("TIMER_ZONE: Postgres knows no time zone {zone}"))
        }
        other => other,
    })
}

async fn server(open: &Open, facts: &mut Facts) -> Result<(), Error> {
    let rows = open.query("ask for the version", SERVER, &[]).await?;
    if let Some(row) = rows.first() {
        (facts.server, facts.server_zone) = (row.get(0), row.get(1));
    }
    Ok(())
}

/// Says which right on `timers` is missing.
async fn rights(open: &Open) -> Result<(), Error> {
    let rows = open.query("look at rights", RIGHTS, &[]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    for (at, right) in ["select", "update"].iter().enumerate() {
        if !row.get::<_, bool>(at) {
            return Err(Error::Table(format!(
                "the role may not {right} the table timers. Grant it: grant select, update on timers to …"
            )));
        }
    }
    Ok(())
}
