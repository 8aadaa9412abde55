//! The database that those of the tests are copies of. It has the loader's own tables and the roles as `migrate --roles`
//! makes them, so that the program under test is nobody who may do more than `db/` says.

use std::process::Command;

use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use tokio_postgres::Client;

use super::{connect, setting};

/// A user that can log in and is a member of `paper_engine_loader`, as `db/README.md` says.
pub const LOADER: &str = "it_loader";

/// Tests are processes of their own: the first one makes it, the others wait.
const ONE_AT_A_TIME: &str = "select pg_advisory_lock(x'7465'::int, x'6d70'::int)";

/// Its name; it is there. Another state of `db/` has another one.
pub async fn ready() -> &'static str {
    static NAME: OnceCell<String> = OnceCell::const_new();
    let name = NAME.get_or_init(|| async {
        let name = name();
        let admin = connect("postgres").await;
        admin.batch_execute(ONE_AT_A_TIME).await.expect("the lock");
        let there = "select from pg_database where datname = $1";
        if admin.query_opt(there, &[&name]).await.expect("asked").is_none() {
            make(&admin, &name).await;
        }
        name
    });
    name.await
}

fn name() -> String {
    let db = concat!(env!("CARGO_MANIFEST_DIR"), "/db");
    let folder = std::fs::read_dir(format!("{db}/migrations")).expect("migrations");
    let mut files: Vec<_> = folder.map(|entry| entry.expect("a migration").path()).collect();
    files.push(format!("{db}/roles.sql").into());
    files.sort();
    let mut hash = Sha256::new();
    files.iter().for_each(|file| hash.update(std::fs::read(file).expect("read")));
    let hash: String = hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("it-template-{hash}")
}

/// It gets its name when it is whole.
async fn make(admin: &Client, name: &str) {
    let draft = format!("{name}-draft");
    admin.batch_execute(&format!("drop database if exists \"{draft}\" with (force)")).await.expect("dropped");
    admin.batch_execute(&format!("create database \"{draft}\"")).await.expect("created");
    migrate(&draft);
    if admin.query_opt("select from pg_roles where rolname = $1", &[&LOADER]).await.expect("asked").is_none() {
        let login = format!("create role {LOADER} login in role paper_engine_loader");
        admin.batch_execute(&login).await.expect("a user");
    }
    let inside = connect(&draft).await;
    inside.batch_execute(WHAT_TESTS_MAKE).await.expect("granted");
    drop(inside);
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
    admin.query(end, &[&draft]).await.expect("ended");
    admin.batch_execute(&format!("alter database \"{draft}\" rename to \"{name}\"")).await.expect("named");
}

fn migrate(database: &str) {
    let target = format!(
        "user={} host={} port={} dbname={database}",
        setting("PEO_PG_USER"),
        setting("PEO_PG_HOST"),
        setting("PEO_PG_PORT")
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_paper-engine-orders"));
    let out = command.env_clear().env("TARGET", target).args(["migrate", "--roles"]).output().expect("it runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// `roles.sql` grants what it finds; a test's tables come later. For them the same rights, and no more: see db/README.md.
const WHAT_TESTS_MAKE: &str = "alter default privileges grant usage on schemas to paper_engine_loader;
    alter default privileges grant select, insert, update, delete on tables to paper_engine_loader;
    alter default privileges grant usage on sequences to paper_engine_loader";

/// Returns the numbers of the files in `db/migrations`.
fn versions() -> Vec<u32> {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/db/migrations")).expect("migrations");
    let names = folder.map(|entry| entry.expect("a migration").file_name().into_string().expect("a name"));
    names.filter_map(|name| name.strip_prefix('V')?.split_once("__")?.0.parse().ok()).collect()
}

/// Returns the number of the newest migration.
pub fn newest_migration() -> u32 {
    versions().into_iter().max().expect("a migration")
}

/// Returns how many migrations there are.
pub fn migrations() -> usize {
    versions().len()
}
