//! Gives each test a database of its own on the servers that `scripts/services.py` has started.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use paper_engine_timer::store::mysql::{self, MySql};
use paper_engine_timer::store::postgres::Postgres;
use paper_engine_timer::store::{Prepare, Store, Zone};
use uuid::Uuid;

use super::recorder::{self, micros};

/// A database of either kind, as a test meets it.
pub trait Database: Sized + Send + Sync + 'static {
    type Store: Store;

    /// Creates an empty database.
    fn create() -> impl Future<Output = Self> + Send;

    /// Returns a store on it, as the owner or as a user who may only read, insert and update `timers`.
    fn store_in(&self, zone: &str, who: Who) -> Self::Store;

    /// Runs statements as the owner.
    fn run(&self, sql: &str) -> impl Future<Output = ()> + Send;

    /// Returns the first cell of each row as text.
    fn column(&self, sql: &str) -> impl Future<Output = Vec<String>> + Send;

    /// Returns the original's table, as its own programs make it: no key, no index.
    fn original_table() -> &'static str;

    /// Inserts rows one after the other over one connection, which waits for no lock longer than 100 ms, until `done` says so.
    /// Returns how many were inserted.
    fn insert_impatiently(&self, url: &str, done: impl AsyncFn() -> bool + Send + Sync) -> impl Future<Output = usize>;

    /// Makes every new lease take so long while the claim holds its locks.
    fn slow_down_leases(&self, each: Duration) -> impl Future<Output = ()> + Send;

    /// Returns how many microseconds the database's clock is ahead of this machine's at most: the least of many questions.
    fn clock_is_ahead_by(&self) -> impl Future<Output = i64> + Send;

    /// Returns when each task is due, in microseconds since 1970.
    fn dues(&self) -> impl Future<Output = HashMap<String, i64>> + Send;

    /// Returns an expression of the present time in UTC, moved by milliseconds, for a column without zone.
    fn now_plus(millis: i64) -> String;

    /// Returns an id as a literal.
    fn id(id: Uuid) -> String;

    /// Grants the poor user what it needs at least.
    fn grant_least(&self) -> impl Future<Output = ()> + Send;

    /// Returns the value of TIMER_DB.
    fn url(&self) -> String;

    fn store(&self) -> Self::Store {
        self.store_in("UTC", Who::Owner)
    }

    /// Returns a store whose tables are made.
    fn ready(&self) -> impl Future<Output = Self::Store> + Send {
        async {
            let store = self.store();
            store.prepare(Prepare::Create).await.expect("prepared");
            store
        }
    }

    /// Inserts tasks with one statement, each due so many milliseconds from now, and returns their ids.
    fn insert(&self, url: &str, dues: &[i64]) -> impl Future<Output = Vec<Uuid>> + Send {
        let ids: Vec<Uuid> = dues.iter().map(|_| Uuid::new_v4()).collect();
        let row =
            |(id, due): (&Uuid, &i64)| format!("({}, '{url}', 'waiting', {})", Self::id(*id), Self::now_plus(*due));
        let rows: Vec<String> = ids.iter().zip(dues).map(row).collect();
        let sql = format!(
            "insert into timers (timer_id, timer_url, timer_status, timer_invoke_time) values {}",
            rows.join(", ")
        );
        async move {
            self.run(&sql).await;
            ids
        }
    }

    /// Waits until a query counts what is expected.
    fn await_count(&self, sql: &str, expected: usize) -> impl Future<Output = ()> + Send {
        async move {
            let mut seen = String::new();
            for _ in 0..600 {
                seen = self.column(sql).await.pop().unwrap_or_default();
                if seen == expected.to_string() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("{sql}: {seen} after 30 s, not {expected}");
        }
    }

    fn count_of(&self, status: &str) -> impl Future<Output = usize> + Send {
        async move {
            let sql = format!("select count(*) from timers where timer_status = '{status}'");
            self.column(&sql).await.pop().and_then(|count| count.parse().ok()).unwrap_or(0)
        }
    }
}

/// Questions for the time of which the quickest counts.
const CLOCK_QUESTIONS: usize = 200;

/// Reads lines of `id=number`.
fn by_id(lines: &[String]) -> HashMap<String, i64> {
    let read = |line: &String| {
        let (id, number) = line.split_once('=').expect("id=number");
        (id.parse::<Uuid>().expect("an id").to_string(), number.parse().expect("a number"))
    };
    lines.iter().map(read).collect()
}

/// Returns the insert of one row, due long ago or in an hour.
fn insert_one<D: Database>(url: &str, number: usize) -> String {
    let (id, due) = (D::id(Uuid::new_v4()), D::now_plus(if number.is_multiple_of(2) { 3_600_000 } else { -5000 }));
    format!(
        "insert into timers (timer_id, timer_url, timer_status, timer_invoke_time) values ({id}, '{url}', 'waiting', {due})"
    )
}

/// As whom a store connects.
#[derive(Clone, Copy)]
pub enum Who {
    Owner,
    /// May read, insert and update `timers`, and no more of it.
    Poor,
}

const PASSWORD: &str = "p1w2";

fn name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("t{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Returns a variable that `scripts/services.py` sets.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests by ./justw test"))
}

fn zone(zone: &str) -> Zone {
    zone.parse().expect("zone")
}

/// A database on Postgres.
pub struct Pg {
    name: String,
}

impl Pg {
    fn url_as(name: &str, who: Who) -> String {
        let (host, port, owner) = (variable("PEO_PG_HOST"), variable("PEO_PG_PORT"), variable("PEO_PG_USER"));
        match who {
            Who::Owner => format!("postgres://{owner}@{host}:{port}/{name}"),
            Who::Poor => format!("postgres://{name}_poor:{PASSWORD}@{host}:{port}/{name}"),
        }
    }

    async fn client(name: &str) -> tokio_postgres::Client {
        let url = Self::url_as(name, Who::Owner);
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("Postgres");
        tokio::spawn(connection);
        client
    }
}

impl Database for Pg {
    type Store = Postgres;

    async fn create() -> Self {
        let name = name();
        Self::client("postgres").await.batch_execute(&format!("create database {name}")).await.expect("database");
        Self { name }
    }

    fn store_in(&self, zone_name: &str, who: Who) -> Postgres {
        Postgres::new(Self::url_as(&self.name, who).parse().expect("settings"), zone(zone_name))
    }

    async fn run(&self, sql: &str) {
        Self::client(&self.name).await.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    async fn column(&self, sql: &str) -> Vec<String> {
        let rows = Self::client(&self.name).await.simple_query(sql).await;
        let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let cell = |message: &tokio_postgres::SimpleQueryMessage| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("null").to_owned()),
            _ => None,
        };
        rows.iter().filter_map(cell).collect()
    }

    fn original_table() -> &'static str {
        "create table timers (timer_id uuid, timer_url varchar(2083), timer_status varchar(10), timer_invoke_time timestamp(0))"
    }

    async fn insert_impatiently(&self, url: &str, done: impl AsyncFn() -> bool + Send + Sync) -> usize {
        let client = Self::client(&self.name).await;
        client.batch_execute("set lock_timeout = '100ms'").await.expect("set");
        let mut inserted = 0;
        while !done().await {
            let sql = insert_one::<Self>(url, inserted);
            client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("insert {inserted}: {error:?}"));
            inserted += 1;
        }
        inserted
    }

    async fn slow_down_leases(&self, each: Duration) {
        self.run(&format!(
            "create or replace function slow() returns trigger language plpgsql as
                 'begin perform pg_sleep({}); return new; end';
             create or replace trigger slow before insert on timer_attempts for each row execute function slow()",
            each.as_secs_f64()
        ))
        .await;
    }

    async fn clock_is_ahead_by(&self) -> i64 {
        let client = Self::client(&self.name).await;
        let sql = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";
        let now = client.prepare(sql).await.expect("prepared");
        let mut least = i64::MAX;
        for _ in 0..CLOCK_QUESTIONS {
            let before = micros(recorder::now());
            let row = client.query_one(&now, &[]).await.expect("the time");
            least = least.min(row.get::<_, i64>(0) - before);
        }
        least
    }

    async fn dues(&self) -> HashMap<String, i64> {
        let sql = "select timer_id || '=' || (extract(epoch from timer_invoke_time) * 1000000)::bigint from timers";
        by_id(&self.column(sql).await)
    }

    fn now_plus(millis: i64) -> String {
        format!("(now() at time zone 'UTC' + interval '{millis} milliseconds')")
    }

    fn id(id: Uuid) -> String {
        format!("'{id}'")
    }

    async fn grant_least(&self) {
        let poor = format!("{}_poor", self.name);
        self.run(&format!(
            "create role {poor} login password '{PASSWORD}'; grant select, insert, update on timers to {poor};
             grant usage, create on schema public to {poor}"
        ))
        .await;
    }

    fn url(&self) -> String {
        Self::url_as(&self.name, Who::Owner)
    }
}

/// A database on MariaDB.
pub struct Maria {
    name: String,
}

impl Maria {
    fn url_as(name: &str, who: Who) -> String {
        let (host, port, owner) =
            (variable("PEO_MARIADB_HOST"), variable("PEO_MARIADB_PORT"), variable("PEO_MARIADB_USER"));
        match who {
            Who::Owner => format!("mysql://{owner}@{host}:{port}/{name}"),
            Who::Poor => format!("mysql://{name}_poor:{PASSWORD}@{host}:{port}/{name}"),
        }
    }

    async fn client(name: &str) -> mysql_async::Conn {
        let url = Self::url_as(name, Who::Owner);
        mysql_async::Conn::from_url(url).await.expect("MariaDB")
    }
}

impl Database for Maria {
    type Store = MySql;

    async fn create() -> Self {
        let name = name();
        let mut conn = Self::client("mysql").await;
        conn.query_drop(format!("create database {name}")).await.expect("database");
        Self { name }
    }

    fn store_in(&self, zone_name: &str, who: Who) -> MySql {
        MySql::new(mysql::Settings::from_url(&Self::url_as(&self.name, who)).expect("settings"), zone(zone_name))
    }

    async fn run(&self, sql: &str) {
        let mut conn = Self::client(&self.name).await;
        conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        conn.disconnect().await.expect("disconnected");
    }

    async fn column(&self, sql: &str) -> Vec<String> {
        let mut conn = Self::client(&self.name).await;
        let rows: Vec<mysql_async::Row> = conn.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        conn.disconnect().await.expect("disconnected");
        let cell = |row: &mysql_async::Row| match row.as_ref(0) {
            Some(mysql_async::Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            other => other.map_or_else(|| "null".to_owned(), |value| value.as_sql(true).trim_matches('\'').to_owned()),
        };
        rows.iter().map(cell).collect()
    }

    fn original_table() -> &'static str {
        "create table timers (timer_id binary(16), timer_url varchar(2083),
         timer_status enum('waiting', 'executing', 'done', 'failed'), timer_invoke_time datetime) engine = InnoDB"
    }

    /// MariaDB counts this time-out in seconds; zero means that an insert that has to wait at all is an error.
    async fn insert_impatiently(&self, url: &str, done: impl AsyncFn() -> bool + Send + Sync) -> usize {
        let mut conn = Self::client(&self.name).await;
        conn.query_drop("set innodb_lock_wait_timeout = 0, lock_wait_timeout = 1").await.expect("set");
        let mut inserted = 0;
        while !done().await {
            let sql = insert_one::<Self>(url, inserted);
            conn.query_drop(sql).await.unwrap_or_else(|error| panic!("insert {inserted}: {error}"));
            inserted += 1;
        }
        conn.disconnect().await.expect("disconnected");
        inserted
    }

    async fn slow_down_leases(&self, each: Duration) {
        let seconds = each.as_secs_f64();
        self.run(&format!(
            "create or replace trigger slow before insert on timer_attempts for each row set @slept = sleep({seconds})"
        ))
        .await;
    }

    async fn clock_is_ahead_by(&self) -> i64 {
        let mut conn = Self::client(&self.name).await;
        let now = "select timestampdiff(microsecond, '1970-01-01 00:00:00', utc_timestamp(6))";
        let mut least = i64::MAX;
        for _ in 0..CLOCK_QUESTIONS {
            let before = micros(recorder::now());
            let database: Option<i64> = conn.query_first(now).await.expect("the time");
            least = least.min(database.expect("a row") - before);
        }
        conn.disconnect().await.expect("disconnected");
        least
    }

    async fn dues(&self) -> HashMap<String, i64> {
        let sql = "select concat(hex(timer_id), '=', timestampdiff(microsecond, '1970-01-01', timer_invoke_time)) from timers";
        by_id(&self.column(sql).await)
    }

    fn now_plus(millis: i64) -> String {
        format!("(utc_timestamp(6) + interval {} microsecond)", millis * 1000)
    }

    fn id(id: Uuid) -> String {
        format!("x'{}'", id.simple())
    }

    async fn grant_least(&self) {
        let (name, poor) = (&self.name, format!("{}_poor", self.name));
        // whoever may make tables may not thereby change the one that is there
        self.run(&format!("create user '{poor}'@'%' identified by '{PASSWORD}'")).await;
        for grant in [
            format!("grant select, insert, update on {name}.timers to '{poor}'@'%'"),
            format!("grant select, insert, update, delete, create, index on {name}.timer_attempts to '{poor}'@'%'"),
            format!("grant select, insert, update, delete, create, index on {name}.timer_requests to '{poor}'@'%'"),
            format!("grant select, insert, update, delete, create, index on {name}.timer_endpoints to '{poor}'@'%'"),
            format!("grant select, insert, create on {name}.timer_migrations to '{poor}'@'%'"),
        ] {
            self.run(&grant).await;
        }
    }

    fn url(&self) -> String {
        Self::url_as(&self.name, Who::Owner)
    }
}
