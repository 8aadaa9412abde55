//! A Postgres of a test's own, which may be killed, started again and followed by a standby.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use super::broker::free_port;
use super::{own, setting};

pub struct Server {
    pub port: u16,
    place: tempfile::TempDir,
    /// where its programs are
    bin: PathBuf,
    /// what stands before the command of each of them
    via: Vec<String>,
}

impl Server {
    pub async fn new() -> Self {
        Self::prepared(|_| {}, Vec::new(), "").await
    }

    /// One whose programs were built with TLS: the machine's own, where it has one, for ours are not.
    pub async fn with_tls() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let bins = versions.map(|version| version.expect("a folder").path().join("bin"));
        let bin = bins.filter(|bin| bin.join("initdb").exists()).last()?;
        Some(Self::of(Self::empty(bin), |_| {}, "").await)
    }

    /// A server whose place, with its folders `data`, `wal` and `scratch`, is prepared first: what is on which disk. WAL comes in small
    /// pieces. `via` says how its programs are run, `more` are settings of its own.
    pub async fn prepared(prepare: impl FnOnce(&Path), via: Vec<String>, more: &str) -> Self {
        let mut server = Self::empty(setting("PEO_PG_BIN").into());
        server.via = via;
        Self::of(server, prepare, more).await
    }

    async fn of(server: Self, prepare: impl FnOnce(&Path), more: &str) -> Self {
        let folders = ["data", "wal", "scratch"];
        for folder in folders {
            std::fs::create_dir(server.place().join(folder)).expect("a folder");
        }
        prepare(server.place());
        server.owned(&folders);
        let mut make = server.tool("initdb");
        make.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--wal-segsize=1", "-X"]);
        finished(make.arg(server.place().join("wal")).arg("-D").arg(server.data()));
        // as the tests' own: what is tested is the program, not the disk
        let settings = "fsync = off\nlisten_addresses = '127.0.0.1'\nmax_connections = 30\nshared_buffers = 16MB\n\
                        include_if_exists = 'tls.conf'\n";
        server.append("postgresql.conf", &format!("{settings}{more}"));
        server.append("pg_hba.conf", "host all all 10.99.0.0/24 trust\n");
        server.start().await;
        server
    }

    fn append(&self, file: &str, more: &str) {
        let file = self.data().join(file);
        let text = std::fs::read_to_string(&file).expect("a configuration") + more;
        std::fs::write(&file, text).expect("written");
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
        let server = Self { port: free_port(), place, bin, via: Vec::new() };
        server.owned(&[""]);
        server
    }

    /// Folders of the place become the server's.
    fn owned(&self, folders: &[&str]) {
        let Some((user, group)) = nobody() else { return };
        for folder in folders {
            chown(self.place().join(folder), Some(user), Some(group)).expect("root may");
        }
    }

    /// Where all that it has is.
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    fn data(&self) -> PathBuf {
        self.place().join("data")
    }

    /// Where its log is.
    pub fn log(&self) -> PathBuf {
        self.place().join("log")
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
        let own = own::nobody().into_iter().flatten().map(str::to_owned);
        let mut words: Vec<String> = self.via.iter().cloned().chain(own).collect();
        words.push(self.bin.join(name).display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        if let Some((user, group)) = nobody() {
            command.uid(user).gid(group);
        }
        command.current_dir(self.place()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    pub async fn start(&self) {
        let mut command = self.tool("pg_ctl");
        command.args(["start", "-w", "-t", "60", "-l"]).arg(self.log()).arg("-D").arg(self.data());
        command.arg("-o").arg(format!("-p {} -k {}", self.port, self.place().display()));
        finished(&mut command);
    }

    /// `fast`, or `immediate`: as after a crash.
    pub fn stop(&self, how: &str) {
        let mut command = self.tool("pg_ctl");
        finished(command.args(["stop", "-w", "-m", how, "-D"]).arg(self.data()));
    }

    /// Down, if it is not down already, and up.
    pub async fn restart(&self) {
        self.kill();
        self.start().await;
    }

    fn kill(&self) {
        let mut command = self.tool("pg_ctl");
        let _ = command.args(["stop", "-w", "-m", "immediate", "-D"]).arg(self.data()).status();
    }

    pub fn promote(&self) {
        finished(self.tool("pg_ctl").args(["promote", "-w", "-D"]).arg(self.data()));
    }

    pub async fn client(&self) -> Client {
        let mut config = tokio_postgres::Config::new();
        // not by the network, which may be cut
        config.host_path(self.place()).port(self.port).user("postgres").dbname("postgres");
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
        self.kill();
    }
}

#[track_caller]
fn finished(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// Whom a server of root's runs as.
fn nobody() -> Option<(u32, u32)> {
    if own::nobody().is_some() {
        return None;
    }
    let number = |args: &[&str]| {
        let out = Command::new("id").args(args).output().ok().filter(|out| out.status.success())?;
        String::from_utf8_lossy(&out.stdout).trim().parse::<u32>().ok()
    };
    if number(&["-u"])? != 0 {
        return None;
    }
    Some((number(&["-u", "nobody"])?, number(&["-g", "nobody"])?))
}
