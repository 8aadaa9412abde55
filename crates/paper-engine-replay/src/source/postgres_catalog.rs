//! Finds out in Postgres' catalog what a table is like: its time column, its key, its first and last time.

use tokio_postgres::Client;

use super::postgres_time::{PgTime, TimeKind};
use super::{Error, Facts, Options, TableSpec, Unit};
use crate::timestamp::{self, Micros};
use pe_postgres::quote::{ident, literal, qualified};

/// How a table is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The quoted name with its schema.
    pub relation: String,
    /// The expression of the time, on the table as `x`.
    pub time: String,
    pub kind: TimeKind,
    /// The columns that order rows of one time, with their types; none for a table without a key.
    pub order: Vec<(String, String)>,
    /// What a row is rendered from: `x`, or a selection in which the time is shifted.
    pub shifted: String,
    pub facts: Facts,
}

struct Column {
    name: String,
    kind: String,
    sql_type: String,
    not_null: bool,
}

const COLUMNS: &str = "select a.attname, t.typname, format_type(a.atttypid, a.atttypmod), a.attnotnull \
    from pg_attribute a join pg_type t on t.oid = a.atttypid \
    where a.attrelid = $1::oid and a.attnum > 0 and not a.attisdropped order by a.attnum";

/// The unique indexes without a condition, the primary key first, each with its columns.
const KEYS: &str = "select i.indisprimary, array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality k (number, place) \
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number \
    where k.place <= i.indnkeyatts order by k.place), 0 <> all (i.indkey::int2[]) \
    from pg_index i where i.indrelid = $1::oid and i.indisunique and i.indpred is null and i.indisvalid order by not i.indisprimary";

const HAS_INDEX: &str = "select exists (select from pg_index i join pg_attribute a on a.attrelid = i.indrelid \
    and a.attnum = i.indkey[0] where i.indrelid = $1::oid and a.attname = $2 and i.indisvalid and i.indpred is null)";

/// Reads the layout of a table.
pub(super) async fn layout(client: &Client, spec: &TableSpec, options: &Options) -> Result<Layout, Error> {
    let (oid, relation, name) = relation(client, spec).await?;
    let columns = columns(client, oid).await?;
    let column = columns.iter().find(|column| column.name == spec.time).ok_or_else(|| {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        Error::Failed(format!("{name} has no column {:?}. Its columns are {}", spec.time, names.join(", ")))
    })?;
    let (time, kind) = time_of(&name, column, spec.unit)?;
    let (order, key_columns) = order_of(client, oid, &name, spec, &columns, options).await?;
    let mut facts = Facts { name, key_columns, is_keyless: order.is_empty(), ..Facts::default() };
    let indexed = client.query_one(HAS_INDEX, &[&oid, &spec.time]).await.map_err(|error| failed("index", &error))?;
    if !indexed.get::<_, bool>(0) || !time.ends_with(&ident(&spec.time)) {
        facts.notes.push(index_note(&relation, spec, kind, &time));
    }
    let shifted = shifted(&columns, spec, kind, column);
    Ok(Layout { relation, time, kind, order, shifted, facts })
}

fn index_note(relation: &str, spec: &TableSpec, kind: TimeKind, time: &str) -> String {
    if time.ends_with(&ident(&spec.time)) {
        return format!(
            "{relation} has no index on its time, so every page reads the whole table: create index on {relation} ({})",
            ident(&spec.time)
        );
    }
    format!(
        "{relation}: its time is computed from {:?} as {}, so every page reads the whole table",
        spec.time,
        kind.sql()
    )
}

async fn relation(client: &Client, spec: &TableSpec) -> Result<(u32, String, String), Error> {
    let wanted = match &spec.schema {
        Some(schema) => qualified(schema, &spec.table),
        None => ident(&spec.table),
    };
    let sql = "select c.oid, n.nspname::text, c.relname::text, has_table_privilege(c.oid, 'select') \
               from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass($1)";
    let found = client.query_opt(sql, &[&wanted]).await.map_err(|error| failed("catalog", &error))?;
    let Some(row) = found else {
        return Err(Error::Failed(format!(
            "there is no table {} in this database, or its schema is not to be seen",
            spec.name()
        )));
    };
    let (schema, table): (String, String) = (row.get(1), row.get(2));
    if !row.get::<_, bool>(3) {
        return Err(Error::Failed(format!("this user may not read {schema}.{table}: grant select on it")));
    }
    Ok((row.get(0), qualified(&schema, &table), format!("{schema}.{table}")))
}

async fn columns(client: &Client, oid: u32) -> Result<Vec<Column>, Error> {
    let rows = client.query(COLUMNS, &[&oid]).await.map_err(|error| failed("catalog", &error))?;
    let column = |row: &tokio_postgres::Row| Column {
        name: row.get(0),
        kind: row.get(1),
        sql_type: row.get(2),
        not_null: row.get(3),
    };
    Ok(rows.iter().map(column).collect())
}

fn time_of(table: &str, column: &Column, unit: Option<Unit>) -> Result<(String, TimeKind), Error> {
    let name = format!("x.{}", ident(&column.name));
    let with_unit = |unit: Unit| match column.kind.as_str() {
        "int2" | "int4" | "int8" => Some((name.clone(), TimeKind::Number(unit))),
        // through text, because a cast of a float drops digits
        "numeric" | "float4" | "float8" => {
            Some((format!("floor({name}::text::numeric * {})::bigint", unit.micros()), TimeKind::Number(Unit::Micros)))
        }
        _ => None,
    };
    let known = match (column.kind.as_str(), unit) {
        (_, Some(unit)) => with_unit(unit),
        ("timestamp", None) => Some((name, TimeKind::Stamp)),
        ("timestamptz", None) => Some((name, TimeKind::StampTz)),
        ("date", None) => Some((name, TimeKind::Date)),
        ("text" | "varchar" | "bpchar", None) => Some((format!("{name}::timestamptz"), TimeKind::StampTz)),
        _ => None,
    };
    known.ok_or_else(|| {
        let (name, kind) = (&column.name, &column.sql_type);
        Error::Failed(match unit {
            Some(_) => format!("{table}: {name} is {kind}; @s, @ms and @us are for numbers"),
            None if ["int2", "int4", "int8", "numeric", "float4", "float8"].contains(&column.kind.as_str()) => {
                format!("{table}: {name} is {kind}: say what it counts, as {name}@s, {name}@ms or {name}@us")
            }
            None => format!("{table}: {name} is {kind}, which is no time"),
        })
    })
}

/// Returns the columns that order rows of one time, and how many of them make a record's key.
async fn order_of(
    client: &Client,
    oid: u32,
    table: &str,
    spec: &TableSpec,
    columns: &[Column],
    options: &Options,
) -> Result<(Vec<(String, String)>, usize), Error> {
    let rows = client.query(KEYS, &[&oid]).await.map_err(|error| failed("catalog", &error))?;
    let not_null = |names: &[String]| {
        names.iter().all(|name| columns.iter().any(|column| column.name == *name && column.not_null))
    };
    let keys: Vec<(bool, Vec<String>)> =
        rows.iter().filter(|row| row.get::<_, bool>(2)).map(|row| (row.get(0), row.get(1))).collect();
    let keys: Vec<Vec<String>> =
        keys.into_iter().filter(|(primary, names)| *primary || not_null(names)).map(|(_, names)| names).collect();
    if let Some(missing) = spec.key.iter().find(|name| columns.iter().all(|column| column.name != **name)) {
        return Err(Error::Failed(format!("{table} has no column {missing:?}, which its key names")));
    }
    if !options.snapshot && !not_null(&spec.key) {
        let key = spec.key.join(", ");
        return Err(Error::Failed(format!(
            "{table}: a column of the key {key} may be null, and null has no order: leave it out"
        )));
    }
    let mut names = spec.key.clone();
    let is_proven =
        |names: &[String]| keys.iter().any(|key| key.iter().all(|part| names.contains(part) || *part == spec.time));
    if names.is_empty() || !is_proven(&names) || !not_null(&names) {
        match keys.first() {
            // rows that the key does not tell apart, the table's own key does
            Some(key) if names.is_empty() || not_null(&names) => {
                names.extend(key.iter().filter(|part| !spec.key.contains(part)).cloned());
            }
            _ if options.snapshot => names.clear(),
            _ => return Err(Error::Failed(no_key(table, spec))),
        }
    }
    let key_columns = if spec.key.is_empty() { names.len() } else { spec.key.len() };
    let typed = |name: String| {
        let column = columns.iter().find(|column| column.name == name);
        (ident(&name), column.map_or_else(|| "text".to_owned(), |column| column.sql_type.clone()))
    };
    Ok((names.into_iter().map(typed).collect(), key_columns))
}

fn no_key(table: &str, spec: &TableSpec) -> String {
    let why = match spec.key.is_empty() {
        true => "has neither a primary key nor a unique index on columns that are not null".to_owned(),
        false => format!(
            "has no unique index that shows that {} tells its rows apart, and no primary key",
            spec.key.join(", ")
        ),
    };
    format!("{table} {why}: name a key as {}:{}:KEY, or read it as it is now, with --snapshot", spec.name(), spec.time)
}

/// Returns a selection of all columns in which the time is `$shift` later.
fn shifted(columns: &[Column], spec: &TableSpec, kind: TimeKind, time: &Column) -> String {
    let expression = |column: &Column| {
        let name = format!("x.{}", ident(&column.name));
        if column.name != spec.time {
            return name;
        }
        let interval = "make_interval(secs => $shift::bigint::numeric / 1000000)";
        let later = match kind {
            TimeKind::Stamp | TimeKind::StampTz if time.kind.starts_with("timestamp") => format!("{name} + {interval}"),
            TimeKind::Number(unit) if time.kind.starts_with("int") => {
                format!("{name} + $shift::bigint / {}", unit.micros())
            }
            _ => return name,
        };
        format!("{later} as {}", ident(&column.name))
    };
    columns.iter().map(expression).collect::<Vec<_>>().join(", ")
}

/// Reads the first and the last time of the rows that meet the condition.
pub(super) async fn times(
    client: &Client,
    layout: &Layout,
    options: &Options,
) -> Result<Option<(Micros, Micros)>, Error> {
    let finite = match layout.kind {
        TimeKind::Number(_) => format!("{} is not null", layout.time),
        kind => format!(
            "{0} > {1}::{2} and {0} < {3}::{2}",
            layout.time,
            literal("-infinity"),
            kind.sql(),
            literal("infinity")
        ),
    };
    let condition = condition(options);
    let sql = format!(
        "select min({time})::{kind}, max({time})::{kind} from {relation} x where {finite}{condition}",
        time = layout.time,
        kind = layout.kind.sql(),
        relation = layout.relation
    );
    let row = client.query_one(&sql, &[]).await.map_err(|error| failed("the first and last time", &error))?;
    let zone = zone_micros(options);
    let time = |at: usize| row.get::<_, Option<PgTime>>(at).map(|raw| layout.kind.to_micros(raw.0, zone));
    Ok(time(0).zip(time(1)))
}

/// Returns ` and (…)` with the condition of `--where`.
pub(super) fn condition(options: &Options) -> String {
    options.condition.as_ref().map_or_else(String::new, |condition| format!(" and ({condition}\n)"))
}

/// Returns what local time is ahead of UTC.
pub(super) fn zone_micros(options: &Options) -> Micros {
    i64::from(options.zone.whole_seconds()) * timestamp::SECOND
}

/// Returns an error with what Postgres says.
pub(super) fn failed(what: &str, error: &tokio_postgres::Error) -> Error {
    let words = format!("{what}: {}", pe_postgres::describe(error));
    match error.code() {
        Some(code) if !pe_postgres::sqlstate::is_world(code.code()) => Error::Failed(words),
        _ => Error::Unreachable(words),
    }
}
