//! TABLES, and what `sole_writer` changes: a table that nobody else writes to is loaded beside an autovacuum, and where somebody
//! does write, the delivery is done again under the strong lock.

use std::process::Command;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::support::World;
use crate::support::program::{program, run, start};
use crate::support::server::Server;

const LOAD: &str = "e/LOAD00000001.csv.gz";
const CHANGES: [&str; 4] = [
    "e/20991231-120000000.csv.gz",
    "e/20991231-120001000.csv.gz",
    "e/20991231-120002000.csv.gz",
    "e/20991231-120003000.csv.gz",
];

/// A server with a table that an autovacuum will have for minutes, loaded by a role that may do nothing else.
struct Vacuumed {
    world: World,
    server: Server,
    db: Client,
    folder: tempfile::TempDir,
}

impl Vacuumed {
    /// Loads 20,000 rows, amends half of them and begins an autovacuum; `more` is run on the new table.
    async fn new(more: &str) -> Self {
        let slow = "autovacuum = off\nautovacuum_naptime = 1s\nautovacuum_vacuum_cost_delay = 100ms\nautovacuum_vacuum_cost_limit = 1\n";
        let server = Server::prepared(|_| {}, Vec::new(), slow).await;
        let (world, db) = (World::new().await, server.client().await);
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("tables.toml"), "[\"dbo.*\"]\nsole_writer = true\n").expect("written");
        let vacuumed = Self { world, server, db, folder };
        let table = "create schema dbo; create table dbo.e (id bigint primary key, name text, price numeric(12, 2))";
        vacuumed.sql(&format!("{table}; {more}")).await;
        let load: String = (0..20_000).map(|id| format!("{id},name of row {id},1\n")).collect();
        vacuumed.world.bucket.put(LOAD, &load).await;
        let mut owner = vacuumed.command("postgres", false);
        owner.env("MIGRATE", "True");
        run(owner).await.ok();
        let change: String = (0..10_000).map(|id| format!("U,{id},another name,2\n")).collect();
        vacuumed.world.bucket.put(CHANGES[0], &change).await;
        run(vacuumed.command("postgres", false)).await.ok();
        let grants = "create role plain login; grant usage on schema dbo to plain;
            grant select, insert, update, delete on all tables in schema public, dbo to plain;
            grant usage on all sequences in schema public to plain";
        vacuumed.sql(grants).await;
        vacuumed.begin().await;
        vacuumed
    }

    fn command(&self, user: &str, service: bool) -> Command {
        let mut command = program(&self.world);
        command.env("TARGET", format!("user={user} host=127.0.0.1 port={} dbname=postgres", self.server.port));
        command.env("MIGRATE", "False").env("TABLES", self.folder.path().join("tables.toml"));
        if service {
            command.env("RUN_AS_SERVICE", "True").env("METRICS", "").env("MIN_SLEEP", "0.05").env("MAX_SLEEP", "0.1");
        }
        command
    }

    async fn sql(&self, script: &str) {
        self.db.batch_execute(script).await.unwrap_or_else(|error| panic!("{script}: {error:?}"));
    }

    async fn count(&self, query: &str) -> i64 {
        self.db.query_one(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
    }

    async fn texts(&self, query: &str) -> Vec<String> {
        let rows = self.db.query(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn becomes(&self, query: &str, wanted: i64, log: impl Fn() -> String) {
        let begun = Instant::now();
        while self.count(query).await != wanted {
            assert!(begun.elapsed() < Duration::from_secs(90), "{query} is not {wanted}:\n{}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Lets an autovacuum begin, which has the table until `end`.
    async fn begin(&self) {
        self.sql("alter system set autovacuum = on").await;
        self.sql("select pg_reload_conf()").await;
        self.becomes(WORKERS, 1, String::new).await;
    }

    async fn end(&self) {
        self.sql("alter system set autovacuum = off").await;
        self.sql("select pg_reload_conf()").await;
        self.sql("select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'autovacuum worker'")
            .await;
        self.becomes(WORKERS, 0, String::new).await;
    }

    fn nothing_was_cancelled(&self) {
        let log = std::fs::read_to_string(self.server.log()).expect("the server's log");
        assert!(!log.contains("canceling autovacuum task"), "{log}");
    }
}

/// Autovacuum workers that have the table.
const WORKERS: &str = "select count(*) from pg_stat_activity a join pg_locks l on l.pid = a.pid and l.granted
    where a.backend_type = 'autovacuum worker' and l.relation = 'dbo.e'::regclass and l.mode = 'ShareUpdateExclusiveLock'";
const BESIDE: &str = "an autovacuum has dbo.e";
const FIRST: &str = "select id || '|' || name || '|' || price from dbo.e where id < 5 or id >= 20000 order by id";

#[tokio::test]
async fn a_table_that_only_the_loader_writes_to_is_loaded_beside_an_autovacuum() {
    let vacuumed = Vacuumed::new("").await;
    let bucket = &vacuumed.world.bucket;
    bucket.put(CHANGES[1], "U,1,beside,3\nI,20000,new,3\nD,2,,\nU,3,another name,2.0\n").await;
    bucket.put(CHANGES[2], "U,1,again,3\n").await;
    let ended = run(vacuumed.command("plain", false)).await.ok();
    let effects = ["e (create: 1, amend: 1, remove: 1).", "e (create: 0, amend: 1, remove: 0)."];
    assert_eq!(ended.effects(), effects, "{}", ended.log);
    assert_eq!(ended.log.matches(BESIDE).count(), 2, "{}", ended.log);
    assert_eq!(vacuumed.count(WORKERS).await, 1, "it goes on");
    vacuumed.nothing_was_cancelled();
    let rows = ["0|another name|2.00", "1|again|3.00", "3|another name|2.00", "4|another name|2.00", "20000|new|3.00"];
    assert_eq!(vacuumed.texts(FIRST).await, rows);

    // without the promise it waits
    bucket.put(CHANGES[3], "U,1,waits,4\n").await;
    let mut without = vacuumed.command("plain", true);
    without.env("TABLES", "");
    let running = start(without);
    running.says("canceling statement due to lock timeout").await;
    vacuumed.end().await;
    vacuumed.becomes("select count(*) from dbo.e where name = 'waits'", 1, || running.log()).await;
    assert!(!running.log().contains(BESIDE), "{}", running.log());
    vacuumed.nothing_was_cancelled();
    running.signal("TERM");
    running.ends().await.ok();
}

/// Somebody breaks the promise, between what is read of the table and what is written to it.
#[tokio::test]
async fn a_table_that_others_write_to_in_spite_of_the_promise_is_loaded_again_under_the_strong_lock() {
    // what is removed is written first, and waits there
    let wait = "create function dbo.wait() returns trigger language plpgsql as
            $$ begin perform pg_advisory_xact_lock(7); return null; end $$;
        create trigger wait before delete on dbo.e for each statement execute function dbo.wait()";
    let vacuumed = Vacuumed::new(wait).await;
    let other = vacuumed.server.client().await;
    other.batch_execute("select pg_advisory_lock(7)").await.expect("a lock");
    vacuumed.world.bucket.put(CHANGES[1], "U,1,x,3\nU,2,y,3\nD,3,,\nI,20000,new,3\n").await;
    let running = start(vacuumed.command("plain", true));
    running.says(BESIDE).await;
    let waits = "select count(*) from pg_locks where locktype = 'advisory' and objid = 7 and not granted";
    vacuumed.becomes(waits, 1, || running.log()).await;
    // the other session has that lock, so its own statement does not wait
    other.batch_execute("delete from dbo.e where id = 2; select pg_advisory_unlock(7)").await.expect("deleted");
    running.says("another session wrote to dbo.e meanwhile").await;
    running.says("canceling statement due to lock timeout").await;
    let loaded = "select count(*) from dbo.e where name in ('x', 'y', 'new')";
    assert_eq!(vacuumed.count(loaded).await, 0, "nothing of it is there before the strong lock is");
    vacuumed.end().await;
    vacuumed.becomes(loaded, 3, || running.log()).await;
    let rows = ["0|another name|2.00", "1|x|3.00", "2|y|3.00", "4|another name|2.00", "20000|new|3.00"];
    assert_eq!(vacuumed.texts(FIRST).await, rows);
    let counts = "select concat_ws('/', rows_create, rows_amend, rows_remove) from public.loader_deliveries order by id desc limit 1";
    assert_eq!(vacuumed.texts(counts).await, ["2/1/1"], "{}", running.log());
    vacuumed.nothing_was_cancelled();
    running.signal("TERM");
    running.ends().await.ok();
}

#[tokio::test]
async fn faults_of_the_file_are_told_by_run_and_check_all_at_once() {
    let world = World::with_table().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tables.toml");
    std::fs::write(&file, "[\"dbo.[e]\"]\n[\"dbo.e\"]\nmode = \"append\"\nsole_writer = \"yes\"\n").expect("written");
    let command = |arguments: &[&str]| {
        let mut command = program(&world);
        command.env("TABLES", &file).env("SETTLE", "soon").args(arguments);
        command
    };
    for arguments in [&[][..], &["check"]] {
        let ended = run(command(arguments)).await;
        assert_eq!(ended.code, 78, "{}", ended.log);
        let said = ended.log.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in [
            "line 1, dbo.[e]: `[` has no meaning in a pattern",
            "line 3, dbo.e: mode: this version does not have this setting per table yet",
            "line 4, dbo.e: sole_writer: string, neither true nor false",
            "SETTLE",
        ] {
            assert!(said.contains(words), "{words:?} is not in\n{}", ended.log);
        }
    }
    world.bucket.put(LOAD, "1,a,1\n").await;
    std::fs::write(&file, "[\"dbo.e\"]\nsole_writer = true\n[\"dbo.orders*\"]\nsole_writer = true\n").expect("written");
    let mut check = command(&["check"]);
    check.env("SETTLE", "0");
    let ended = run(check).await.ok();
    let said = ended.log.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["sole_writer: it is loaded beside an autovacuum too", "no table of the feed matches dbo.orders*"] {
        assert!(said.contains(words), "{words:?} is not in\n{}", ended.log);
    }
}
