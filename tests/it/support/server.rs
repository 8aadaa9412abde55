//! A Postgres of a test's own, which may be killed, started again and followed by a standby.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use super::broker::free_port;
use super::setting;

pub struct Server {
    pub port: u16,
    place: tempfile::TempDir,
    /// where its programs are
    bin: PathBuf,
}

impl Server {
    pub async fn new() -> Self {
        Self::of(setting("PEO_PG_BIN").into()).await
    }

    /// One whose programs were built with TLS: the machine's own, where it has one, for ours are not.
    pub async fn with_tls() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let bins = versions.map(|version| version.expect("a folder").path().join("bin"));
        let bin = bins.filter(|bin| bin.join("initdb").exists()).max()?;
        Some(Self::of(bin).await)
    }

    async fn of(bin: PathBuf) -> Self {
        let server = Self::empty(bin);
        let mut make = server.tool("initdb");
        make.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "-D"]);
        finished(make.arg(server.data()));
        // as the tests' own: what is tested is the program, not the disk
        let settings = "fsync = off\nlisten_addresses = '127.0.0.1'\nmax_connections = 30\nshared_buffers = 16MB\n\
                        include_if_exists = 'tls.conf'\n";
        let file = server.data().join("postgresql.conf");
        let text = std::fs::read_to_string(&file).expect("a configuration") + settings;
        std::fs::write(&file, text).expect("written");
        server.start().await;
        server
    }

    /// A copy that follows.
    pub async fn standby(&self) -> Self {
        let standby = Self::empty(self.bin.clone());
        let mut copy = standby.tool("pg_basebackup");
        copy.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-R", "--checkpoint=fast", "-D"]);
        finished(copy.arg(standby.data()));
        standby.start().await;
        standby
    }

    fn empty(bin: PathBuf) -> Self {
        let place = tempfile::tempdir().expect("a folder");
        if let Some((user, group)) = nobody() {
            chown(place.path(), Some(user), Some(group)).expect("root may");
        }
        Self { port: free_port(), place, bin }
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    /// Where its log is.
    pub fn log(&self) -> PathBuf {
        self.place.path().join("log")
    }

    /// A file in the server's folder, for its eyes only. It is read at the next start.
    pub fn write(&self, name: &str, text: &str) {
        let file = self.data().join(name);
        std::fs::write(&file, text).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("for its eyes only");
        if let Some((user, group)) = nobody() {
            chown(&file, Some(user), Some(group)).expect("root may");
        }
    }

    /// One of the server's programs. They do not run as root.
    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        if let Some((user, group)) = nobody() {
            command.uid(user).gid(group);
        }
        command.current_dir(self.place.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    pub async fn start(&self) {
        let mut command = self.tool("pg_ctl");
        command.args(["start", "-w", "-t", "60", "-l"]).arg(self.log()).arg("-D").arg(self.data());
        command.arg("-o").arg(format!("-p {} -k {}", self.port, self.place.path().display()));
        finished(&mut command);
    }

    /// `fast`, or `immediate`: as after a crash.
    pub fn stop(&self, how: &str) {
        let mut command = self.tool("pg_ctl");
        finished(command.args(["stop", "-w", "-m", how, "-D"]).arg(self.data()));
    }

    pub fn promote(&self) {
        finished(self.tool("pg_ctl").args(["promote", "-w", "-D"]).arg(self.data()));
    }

    pub async fn client(&self) -> Client {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user("postgres").dbname("postgres");
        for _ in 0..100 {
            if let Ok((client, connection)) = config.connect(NoTls).await {
                tokio::spawn(connection);
                return client;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server does not answer");
    }

    /// The one value of a query, as text.
    pub async fn value(&self, query: &str) -> String {
        let messages =
            self.client().await.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        let row = messages.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("∅").to_owned()),
            _ => None,
        });
        row.unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut command = self.tool("pg_ctl");
        let _ = command.args(["stop", "-w", "-m", "immediate", "-D"]).arg(self.data()).status();
    }
}

#[track_caller]
fn finished(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// Whom a server of root's runs as.
fn nobody() -> Option<(u32, u32)> {
    let number = |args: &[&str]| {
        let out = Command::new("id").args(args).output().ok().filter(|out| out.status.success())?;
        String::from_utf8_lossy(&out.stdout).trim().parse::<u32>().ok()
    };
    if number(&["-u"])? != 0 {
        return None;
    }
    Some((number(&["-u", "nobody"])?, number(&["-g", "nobody"])?))
}
