//! Gives each test a database of its own, and runs the program.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_postgres::{Client, NoTls};

const PROGRAM: &str = env!("CARGO_BIN_EXE_paper-engine-replay");

/// A database with a connection, and a folder for what is written.
pub struct Bench {
    pub url: String,
    pub client: Client,
    pub folder: TempDir,
}

pub fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name}: run ./justw test-replay"))
}

impl Bench {
    /// Makes an empty database and runs statements in it.
    pub async fn new(sql: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("replay_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let server = format!("postgresql://{}@{}:{}", env("PEO_PG_USER"), env("PEO_PG_HOST"), env("PEO_PG_PORT"));
        let admin = connect(&format!("{server}/postgres")).await;
        admin.batch_execute(&format!("create database {name}")).await.expect("a database");
        let url = format!("{server}/{name}");
        let client = connect(&url).await;
        client.batch_execute(sql).await.expect("the test's statements");
        Self { url, client, folder: tempfile::tempdir().expect("a folder") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns a command that replays from this database.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--from", &self.url]).args(arguments).env_clear().kill_on_drop(true);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Replays to the end.
    pub async fn replay(&self, arguments: &[&str]) -> Ended {
        end(self.command(arguments).spawn().expect("starts")).await
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("Postgres");
    tokio::spawn(connection);
    client
}

/// What a program left behind.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Returns the summary: the last line of stdout, or of stderr.
    pub fn summary(&self) -> Value {
        let line = self.out.lines().chain(self.err.lines()).rfind(|line| line.starts_with("{\"program\""));
        serde_json::from_str(line.unwrap_or_else(|| panic!("no summary: {self:?}"))).expect("JSON")
    }

    /// Returns the rows on stdout.
    pub fn rows(&self) -> Vec<Value> {
        assert_eq!(self.code, 0, "{self:?}");
        self.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Returns one number of each row on stdout.
    pub fn numbers(&self, name: &str) -> Vec<i64> {
        self.rows().iter().map(|row| row[name].as_i64().expect("a number")).collect()
    }
}

/// Waits for a program's end.
pub async fn end(child: Child) -> Ended {
    let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
    let Output { status, stdout, stderr } = output.expect("ends within a minute").expect("runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}

/// Sends a signal, by its name.
pub fn signal(child: &Child, name: &str) {
    let id = child.id().expect("runs").to_string();
    let sent = std::process::Command::new("kill").args([&format!("-{name}"), &id]).status();
    assert!(sent.expect("kill").success());
}

/// Returns the lines of all files of a folder, in the order of their names.
pub fn lines(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    let text = |path: &PathBuf| std::fs::read_to_string(path).expect("text");
    paths.iter().flat_map(|path| text(path).lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Sends a request and returns the answer.
pub async fn http(port: u16, request: &str, body: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return String::new() };
    let text =
        format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits until something is so.
pub async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    for _ in 0..3_000 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address").port()
}
