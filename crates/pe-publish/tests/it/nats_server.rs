//! A NATS server of one test, which it can stop and start again on the same port and data.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

/// A server that is killed when it is dropped.
pub struct NatsServer {
    pub port: u16,
    arguments: Vec<String>,
    data: TempDir,
    child: Option<Child>,
}

fn program() -> PathBuf {
    let tools = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/nats-server");
    if tools.exists() { tools } else { PathBuf::from("nats-server") }
}

impl NatsServer {
    pub async fn start(arguments: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address").port();
        let data = tempfile::tempdir().expect("folder");
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut server = Self { port, arguments, data, child: None };
        server.go_on().await;
        server
    }

    /// Starts the server again with what it has stored.
    pub async fn go_on(&mut self) {
        let mut command = Command::new(program());
        command.args(["-a", "127.0.0.1", "-p", &self.port.to_string()]).args(&self.arguments);
        if self.arguments.iter().any(|argument| argument == "-js") {
            command.arg("-sd").arg(self.data.path());
        }
        let child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nats-server: ./justw brings it");
        self.child = Some(child);
        for _ in 0..1_000 {
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nats-server does not listen");
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killed");
            child.wait().expect("ended");
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}
