//! What the tests stand on: a database, a bucket and a broker of their own for each test, all real, and the real binary.
//!
//! The servers are started by `just test`; a test finds them through `PEO_*` variables.

pub mod broker;
pub mod browser;
pub mod bucket;
pub mod canary;
pub mod certificates;
pub mod front;
pub mod oracle;
pub mod own;
pub mod pooler;
pub mod program;
pub mod proxy;
pub mod screen;
pub mod server;
pub mod store;
pub mod story;
pub mod template;
pub mod wire;

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use bucket::Bucket;
use flate2::{Compression, write::GzEncoder};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A variable that `just test` sets.
pub fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run the tests with ./justw test"))
}

/// One test's own world.
pub struct World {
    pub database: String,
    pub bucket: Bucket,
    /// a superuser's: who makes the tables and looks at them is not who loads them
    pub db: Client,
    /// who the program is, and whether it may migrate
    user: String,
    migrate: bool,
}

impl World {
    /// A new database and a new path, both empty but for the loader's own tables. The program is the user that `db/`
    /// makes, which may load and nothing else.
    pub async fn new() -> Self {
        let template = template::ready().await;
        Self::made(&format!("template \"{template}\""), template::LOADER.to_owned(), false).await
    }

    /// Without the loader's own tables: the program is the owner, and makes them.
    pub async fn empty() -> Self {
        Self::made("", setting("PEO_PG_USER"), true).await
    }

    async fn made(how: &str, user: String, migrate: bool) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // the bucket outlives a run, and process numbers come round
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
        let database = format!("it-{}-{since:x}-{number}", std::process::id());
        let admin = connect("postgres").await;
        admin.batch_execute(&format!("drop database if exists \"{database}\" with (force)")).await.expect("drop");
        admin.batch_execute(&format!("create database \"{database}\" {how}")).await.expect("create");
        let db = connect(&database).await;
        Self { bucket: Bucket::at(&database).await, db, database, user, migrate }
    }

    /// The same, with the example model's tables.
    pub async fn with_model() -> Self {
        let world = Self::new().await;
        for file in ["entity_1", "entity_2", "entity_3"] {
            let path = format!("{}/db/model/{file}.sql", env!("CARGO_MANIFEST_DIR"));
            world.sql(&std::fs::read_to_string(path).expect("a model file")).await;
        }
        world
    }

    /// The same, with a table `dbo.e (id bigint primary key, name text, price numeric(12, 2))`.
    pub async fn with_table() -> Self {
        let world = Self::new().await;
        world.sql(TABLE).await;
        world
    }

    /// That table, and nothing of the loader's: see [`World::empty`].
    pub async fn empty_with_table() -> Self {
        let world = Self::empty().await;
        world.sql(TABLE).await;
        world
    }

    /// The same, whose rows need a parent that is not there; Postgres asks for it at the commit only.
    pub async fn with_deferred_constraint() -> Self {
        let world = Self::with_table().await;
        world
            .sql(
                "create table dbo.parent (id bigint primary key);
                 alter table dbo.e add foreign key (id) references dbo.parent deferrable initially deferred",
            )
            .await;
        world
    }

    pub async fn sql(&self, script: &str) {
        self.db.batch_execute(script).await.unwrap_or_else(|error| panic!("{script}: {error:?}"));
    }

    /// The rows of a query as text, cells joined by `|`.
    pub async fn rows(&self, query: &str) -> Vec<String> {
        let messages = self.db.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        rows.map(|row| (0..row.len()).map(|cell| row.get(cell).unwrap_or("∅")).collect::<Vec<_>>().join("|")).collect()
    }

    pub async fn value(&self, query: &str) -> String {
        self.rows(query).await.into_iter().next().unwrap_or_default()
    }

    /// Leaves the ledger to the feed that starts next, as an upgrade does: a store at another port is another feed.
    pub async fn leave_ledger_to_next_feed(&self) {
        let tables = "update loader_deliveries set scope = null; update loader_notifications set scope = null";
        self.sql(&format!("{tables}; delete from loader_tables")).await;
    }

    /// The ledger, shortly: file, status, counts create/amend/remove/unchanged.
    pub async fn ledger(&self) -> Vec<String> {
        self.rows(
            "select substring(object_key from '[^/]*$'), status,
                    rows_create || '/' || rows_amend || '/' || rows_remove || '/' || rows_unchanged
             from loader_deliveries order by id",
        )
        .await
    }

    /// What a dump of the whole database looks like, without what every dump has differently.
    pub fn dump(&self) -> String {
        let out = std::process::Command::new(format!("{}/pg_dump", setting("PEO_PG_BIN")))
            .args(["-h", &setting("PEO_PG_HOST"), "-p", &setting("PEO_PG_PORT"), "-U", &setting("PEO_PG_USER")])
            .arg(&self.database)
            .output()
            .expect("pg_dump");
        assert!(out.status.success(), "pg_dump: {}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.lines().filter(|line| !line.contains("restrict")).collect::<Vec<_>>().join("\n")
    }

    /// TARGET, straight to the server or through something that stands before it.
    pub fn target_at(&self, port: &str) -> String {
        self.target_of(&self.user, port)
    }

    pub fn target(&self) -> String {
        self.target_at(&setting("PEO_PG_PORT"))
    }

    /// TARGET for another user.
    pub fn target_as(&self, user: &str) -> String {
        self.target_of(user, &setting("PEO_PG_PORT"))
    }

    fn target_of(&self, user: &str, port: &str) -> String {
        format!("user={user} host=127.0.0.1 port={port} dbname={}", self.database)
    }

    /// MIGRATE, as belongs to the user.
    pub fn migrate(&self) -> &'static str {
        if self.migrate { "True" } else { "False" }
    }
}

const TABLE: &str = "create schema dbo; create table dbo.e (id bigint primary key, name text, price numeric(12, 2))";

async fn connect(database: &str) -> Client {
    let mut config = tokio_postgres::Config::new();
    config.host(setting("PEO_PG_HOST")).user(setting("PEO_PG_USER")).dbname(database);
    config.port(setting("PEO_PG_PORT").parse().expect("a port"));
    let (client, connection) = config.connect(NoTls).await.expect("Postgres");
    tokio::spawn(connection);
    client
}

/// Text as one gzip member.
pub fn gz(text: &str) -> Vec<u8> {
    gz_bytes(text.as_bytes())
}

/// The same for bytes that are no text.
pub fn gz_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("write");
    encoder.finish().expect("finish")
}
