//! Creates database, tables and indexes in MySQL where they are missing, and finds out how `timers` is made.

use std::collections::BTreeMap;

use crate::store::{Error, Facts, Prepare, Zone};

use super::link::{Link, in_transaction};
use super::settings::Settings;
use super::sql::Shape;
use super::{integer, optional_string, string, text};

const TIMERS: &str = include_str!("../../../../../db/timer/mysql/timers.sql");
const MIGRATIONS: [(i32, &str); 1] = [(1, include_str!("../../../../../db/timer/mysql/V1__attempts.sql"))];

/// Held while tables are made, so that pods that start together do it once. DDL commits, so that no transaction can do it.
const LOCK: &str = "select get_lock(concat('paper-engine-timer.', database()), 60)";

const UNLOCK: &str = "select release_lock(concat('paper-engine-timer.', database()))";
const TABLES: &str = "select table_name from information_schema.tables where table_schema = database()
    and table_name in ('timers', 'timer_migrations')";
const COLUMNS: &str =
    "select column_name, data_type, coalesce(character_maximum_length, 0), coalesce(datetime_precision, 0)
    from information_schema.columns where table_schema = database() and table_name = 'timers'";
const INDEXES: &str = "select index_name, column_name, non_unique from information_schema.statistics
    where table_schema = database() and table_name = 'timers' order by index_name, seq_in_index";
const SERVER: &str = "select version(), if(@@global.time_zone = 'SYSTEM', @@system_time_zone, @@global.time_zone)";
const CREATE_MIGRATIONS: &str = "create table if not exists timer_migrations (version int not null primary key,
    applied_at datetime(6) not null default current_timestamp(6)) engine = InnoDB";

/// Makes what is missing, if `mode` lets it, and describes what is there.
pub(super) async fn prepare(
    settings: &Settings,
    link: &Link,
    zone: &Zone,
    mode: Prepare,
) -> Result<(Facts, Shape), Error> {
    if mode == Prepare::Create {
        match link.query("look for tables", "select 1").await {
            Err(Error::Denied { .. }) => create_database(settings).await?,
            other => drop(other?),
        }
        create_tables(link).await?;
        create_indexes(link).await;
    }
    describe(link, zone).await
}

async fn create_database(settings: &Settings) -> Result<(), Error> {
    let create = format!("create database if not exists {} character set utf8mb4", text::name(&settings.name));
    // what goes wrong is told by the next connection
    if Link::new(settings, false).execute("create the database", &create).await.is_ok() {
        tracing::info!("Created the database {}.", settings.name);
    }
    Ok(())
}

/// Returns whether `timers` and the table of migrations are there.
async fn has_tables(link: &Link) -> Result<(bool, bool), Error> {
    let names: Vec<String> = link.query("look for tables", TABLES).await?.iter().map(|row| string(row, 0)).collect();
    let has = |name: &str| names.iter().any(|found| found.eq_ignore_ascii_case(name));
    Ok((has("timers"), has("timer_migrations")))
}

async fn applied(link: &Link) -> Result<usize, Error> {
    if !has_tables(link).await?.1 {
        return Ok(0);
    }
    let rows = link.query("look for migrations", "select coalesce(max(version), 0) from timer_migrations").await?;
    Ok(rows.first().and_then(|row| usize::try_from(integer(row, 0)).ok()).unwrap_or(0))
}

async fn create_tables(link: &Link) -> Result<(), Error> {
    if has_tables(link).await?.0 && applied(link).await? >= MIGRATIONS.len() {
        return Ok(());
    }
    // the lock belongs to the connection of this transaction, which stays open meanwhile
    let made = in_transaction!(link, "create tables", LOCK, |tx, _sets| {
        let made = create_under_lock(link).await;
        tx.run(UNLOCK).await.map(|_| made)
    })?;
    made.map_err(|error| match error {
        Error::Statement { why, temporary: false, .. } => Error::Table(format!(
            "the tables of the timer are not there, and cannot be created: {why}. Run `paper-engine-timer migrate` as a user that may"
        )),
        other => other,
    })
}

async fn create_under_lock(link: &Link) -> Result<(), Error> {
    if !has_tables(link).await?.0 {
        link.execute("create the table timers", TIMERS).await?;
        tracing::info!("Created the table timers.");
    }
    link.execute("create tables", CREATE_MIGRATIONS).await?;
    let applied = applied(link).await?;
    for (version, sql) in MIGRATIONS.iter().skip(applied) {
        link.execute("create tables", sql).await?;
        link.execute("create tables", &format!("insert into timer_migrations (version) values ({version})")).await?;
    }
    Ok(())
}

/// Adds the indexes that a table made by somebody else lacks, where the user may.
async fn create_indexes(link: &Link) {
    let Ok(found) = indexes(link).await else { return };
    let wanted = [
        (found.due.is_some(), "timers_waiting (timer_status, timer_invoke_time, timer_id)"),
        (found.id, "timers_id (timer_id)"),
    ];
    for (_, index) in wanted.iter().filter(|(there, _)| !there) {
        let add = format!("alter table timers add index {index}, algorithm = inplace, lock = none");
        if let Err(error) = link.execute("create an index", &add).await {
            tracing::debug!("The table timers gets no index: {error}.");
        }
    }
}

/// Which indexes `timers` has.
#[derive(Default)]
struct Indexes {
    key: bool,
    id: bool,
    due: Option<String>,
}

async fn indexes(link: &Link) -> Result<Indexes, Error> {
    let mut columns: BTreeMap<String, (Vec<String>, bool)> = BTreeMap::new();
    for row in link.query("look at indexes", INDEXES).await? {
        let index = columns.entry(string(&row, 0)).or_insert((Vec::new(), integer(&row, 2) == 0));
        index.0.push(string(&row, 1).to_ascii_lowercase());
    }
    let mut found = Indexes::default();
    for (name, (columns, unique)) in columns {
        found.key |= unique && columns == ["timer_id"];
        found.id |= columns.first().is_some_and(|first| first == "timer_id");
        if columns.starts_with(&["timer_status".to_owned(), "timer_invoke_time".to_owned()]) {
            found.due = Some(name);
        }
    }
    Ok(found)
}

async fn describe(link: &Link, zone: &Zone) -> Result<(Facts, Shape), Error> {
    let (timers, migrations) = has_tables(link).await?;
    if !timers || !migrations || applied(link).await? < MIGRATIONS.len() {
        let missing = if timers { "timer_attempts" } else { "timers" };
        return Err(Error::Table(format!(
            "the table {missing} is not there, or too old. Run `paper-engine-timer migrate`"
        )));
    }
    let mut facts = columns(link).await?;
    let found = indexes(link).await?;
    let mut shape = Shape { zone: None, due_index: found.due.clone() };
    if facts.zoneless && !zone.is_utc() {
        check_zone(link, zone).await?;
        shape.zone = Some(zone.clone());
    }
    (facts.has_key, facts.has_id_index, facts.has_due_index) = (found.key, found.id, found.due.is_some());
    if let Some(row) = link.query("ask for the version", SERVER).await?.first() {
        let version = string(row, 0);
        let name = if version.contains("MariaDB") { "MariaDB" } else { "MySQL" };
        (facts.server, facts.server_zone) = (format!("{name} {version}"), string(row, 1));
    }
    rights(link).await?;
    facts.warn(zone);
    Ok((facts, shape))
}

async fn columns(link: &Link) -> Result<Facts, Error> {
    let rows = link.query("look at the table timers", COLUMNS).await?;
    let column = |name: &str| {
        let row = rows.iter().find(|row| string(row, 0).eq_ignore_ascii_case(name));
        row.ok_or_else(|| Error::Table(format!("the table timers has no column {name}")))
    };
    let wrong = |name: &str, kind: &str, good: &str| {
        Err(Error::Table(format!("the column {name} of timers is of type {kind}; it must be {good}")))
    };
    let id = column("timer_id")?;
    if string(id, 1) != "binary" || integer(id, 2) != 16 {
        return wrong("timer_id", &format!("{}({})", string(id, 1), integer(id, 2)), "binary(16)");
    }
    column("timer_url")?;
    column("timer_status")?;
    let time = column("timer_invoke_time")?;
    let zoneless = match string(time, 1).as_str() {
        "datetime" => true,
        "timestamp" => false,
        other => return wrong("timer_invoke_time", other, "datetime or timestamp"),
    };
    let precision = u8::try_from(integer(time, 3)).unwrap_or(0);
    Ok(Facts { zoneless, precision, ..Facts::default() })
}

async fn check_zone(link: &Link, zone: &Zone) -> Result<(), Error> {
    let sql = format!("select convert_tz('2026-01-01 00:00:00', '+00:00', '{}')", zone.mysql());
    let rows = link.query("look up TIMER_ZONE", &sql).await?;
    match rows.first().and_then(|row| optional_string(row, 0)) {
        Some(_) => Ok(()),
        None => Err(Error::Setting(format!(
            "TIMER_ZONE: the server knows no time zone {zone}. Load its table of zones (mysql_tzinfo_to_sql), or write an offset like +02:00"
        ))),
    }
}

/// Says which right on `timers` is missing. No row is touched.
async fn rights(link: &Link) -> Result<(), Error> {
    for (right, sql) in [
        ("select", "select timer_id, timer_url, timer_status, timer_invoke_time from timers limit 0"),
        ("update", "update timers set timer_status = timer_status where false"),
    ] {
        if let Err(Error::Statement { temporary: false, .. }) = link.query("look at rights", sql).await {
            return Err(Error::Table(format!(
                "the user may not {right} the table timers. Grant it: grant select, update on timers to …"
            )));
        }
    }
    Ok(())
}
