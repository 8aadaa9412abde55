//! Reads tables in Postgres. Rows are rendered by the server's own `row_to_json`, which keeps every value exact: numbers as
//! their digits, `bytea` as hex, intervals in ISO form, arrays as arrays.

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use pe_postgres::settings::Settings;
use pe_postgres::tls;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::postgres_catalog::{self as catalog, Layout, failed, zone_micros};
use super::postgres_time::PgTime;
use super::{Cursor, Error, Facts, Options, Outlet, Page, Source, TableReader, TableSpec};
use crate::timestamp::Micros;

/// A Postgres database.
pub struct Postgres {
    settings: Settings,
    options: Options,
}

/// Values are written the same way whatever the server's or the role's settings are, and nothing can be changed.
const SESSION: &str = "set datestyle = 'ISO, YMD'; set intervalstyle = 'iso_8601'; set bytea_output = 'hex'; \
    set extra_float_digits = 1; set xmloption = 'content'; set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; \
    set default_transaction_read_only = on;";

impl Postgres {
    /// Reads from the database of these settings.
    pub fn new(settings: Settings, options: Options) -> Self {
        Self { settings, options }
    }

    async fn connect(&self) -> Result<Client, Error> {
        let place = self.place();
        let unreachable =
            |why: &dyn std::fmt::Display| Error::Unreachable(format!("cannot reach Postgres at {place}: {why}"));
        let connector = tls::connector(&self.settings).map_err(|error| Error::Failed(error.to_string()))?;
        let connected = self.settings.config().connect(connector).await;
        let (client, connection) = connected.map_err(|error| unreachable(&pe_postgres::describe(&error)))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("A connection to Postgres ended: {error}.");
            }
        });
        let zone = self.options.zone;
        let (hours, minutes, _) = zone.as_hms();
        let sign = if zone.is_negative() { '-' } else { '+' };
        let zone = format!(
            "set time zone interval '{sign}{:02}:{:02}' hour to minute",
            hours.unsigned_abs(),
            minutes.unsigned_abs()
        );
        let zone = if self.options.zone.is_utc() { "set time zone 'UTC'".to_owned() } else { zone };
        client
            .batch_execute(&format!("{SESSION} {zone}"))
            .await
            .map_err(|error| failed("settings of the session", &error))?;
        Ok(client)
    }
}

impl Source for Postgres {
    fn name(&self) -> String {
        let config = self.settings.config();
        config.get_dbname().or(config.get_user()).unwrap_or("postgres").to_owned()
    }

    fn place(&self) -> String {
        self.settings.to_string()
    }

    fn inspect<'a>(&'a self, table: &'a TableSpec) -> BoxFuture<'a, Result<Facts, Error>> {
        Box::pin(async move {
            let client = self.connect().await?;
            let layout = catalog::layout(&client, table, &self.options).await?;
            let times = catalog::times(&client, &layout, &self.options).await?;
            Ok(Facts { times, ..layout.facts })
        })
    }

    fn has_rows<'a>(&'a self, table: &'a TableSpec, start: Micros, end: Micros) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let client = self.connect().await?;
            let layout = catalog::layout(&client, table, &self.options).await?;
            let sql = format!(
                "select exists (select from {} x where {time} >= $1::{kind} and {time} < $2::{kind}{})",
                layout.relation,
                catalog::condition(&self.options),
                time = layout.time,
                kind = layout.kind.sql(),
            );
            let zone = zone_micros(&self.options);
            let (start, end) = (layout.kind.from_micros(start, zone), layout.kind.from_micros(end, zone));
            let row =
                client.query_one(&sql, &[&start, &end]).await.map_err(|error| failed("rows of the range", &error))?;
            Ok(row.get(0))
        })
    }

    fn open<'a>(&'a self, table: &'a TableSpec) -> BoxFuture<'a, Result<Box<dyn TableReader>, Error>> {
        Box::pin(async move {
            let client = self.connect().await?;
            let layout = catalog::layout(&client, table, &self.options).await?;
            if self.options.snapshot {
                let begin = "begin isolation level repeatable read, read only";
                client.batch_execute(begin).await.map_err(|error| failed("snapshot", &error))?;
            }
            let reader = Reader::prepare(client, layout, self.options.clone()).await?;
            Ok(Box::new(reader) as Box<dyn TableReader>)
        })
    }
}

/// Reads one table over a connection of its own.
struct Reader {
    client: Client,
    from: Statement,
    after: Statement,
    layout: Layout,
    options: Options,
}

impl Reader {
    async fn prepare(client: Client, layout: Layout, options: Options) -> Result<Self, Error> {
        let prepare = async |is_after| {
            let sql = page_sql(&layout, &options, is_after);
            client.prepare(&sql).await.map_err(|error| failed("a page of rows", &error))
        };
        let (from, after) = (prepare(false).await?, prepare(true).await?);
        Ok(Self { client, from, after, layout, options })
    }
}

/// Returns the statement for a page: `$1` the time to begin at, `$2` the end, `$3` the number of rows, `$4` the shift, and behind
/// them the key to begin after.
fn page_sql(layout: &Layout, options: &Options, is_after: bool) -> String {
    let Layout { relation, time, kind, order, shifted, .. } = layout;
    let kind = kind.sql();
    let order: Vec<(String, String)> = match order.is_empty() {
        true => vec![("ctid".to_owned(), "tid".to_owned())],
        false => order.clone(),
    };
    let keys: Vec<String> = order.iter().map(|(name, _)| format!("x.{name}")).collect();
    let texts: Vec<String> = keys.iter().map(|key| format!("{key}::text")).collect();
    let begin = if is_after {
        let key = order.iter().enumerate().map(|(at, (_, kind))| format!("${}::text::{kind}", at + 5));
        let key = key.collect::<Vec<_>>().join(", ");
        format!("({time}, {}) > ($1::{kind}, {key})", keys.join(", "))
    } else {
        format!("{time} >= $1::{kind}")
    };
    let row = match options.retime {
        true => format!("(select \"$row\" from (select {}) \"$row\")", shifted.replace("$shift", "$4")),
        // with the star, or a column of the same name would be meant
        false => "x.*".to_owned(),
    };
    format!(
        "select ({time})::{kind}, array[{texts}]::text[], row_to_json({row})::text from {relation} x \
         where {begin} and {time} < $2::{kind} and $4::bigint is not null{condition} order by {time}, {keys} limit $3::bigint",
        texts = texts.join(", "),
        keys = keys.join(", "),
        condition = catalog::condition(options),
    )
}

impl TableReader for Reader {
    fn read<'a>(&'a mut self, page: &'a Page, out: &'a mut Outlet) -> BoxFuture<'a, Result<usize, Error>> {
        Box::pin(async move {
            let (kind, zone) = (self.layout.kind, zone_micros(&self.options));
            let (statement, begin, key) = match &page.cursor {
                Cursor::From(time) => (&self.from, *time, [].as_slice()),
                Cursor::After(time, key) => (&self.after, *time, key.as_slice()),
            };
            let (begin, end) = (kind.from_micros(begin, zone), kind.from_micros(page.end, zone));
            let limit = i64::try_from(page.rows).unwrap_or(i64::MAX);
            let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&begin, &end, &limit, &page.shift];
            parameters.extend(key.iter().map(|part| part as &(dyn ToSql + Sync)));
            let rows = self.client.query_raw(statement, parameters).await;
            let rows = rows.map_err(|error| failed("a page of rows", &error))?;
            let mut rows = std::pin::pin!(rows);
            let mut number = 0;
            while let Some(row) = rows.try_next().await.map_err(|error| failed("a page of rows", &error))? {
                let unreadable = |error: tokio_postgres::Error| Error::Failed(format!("a row: {error}"));
                let raw: PgTime = row.try_get(0).map_err(unreadable)?;
                let key: Vec<String> = row.try_get(1).map_err(unreadable)?;
                let json: &str = row.try_get(2).map_err(unreadable)?;
                out.row(kind.to_micros(raw.0, zone), key, json).await?;
                number += 1;
            }
            Ok(number)
        })
    }
}
