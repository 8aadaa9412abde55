//! Runs the program itself, as a pod or as a command.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_paper-engine-timer");

/// A pod of its own process. Killed when it is dropped.
pub struct Process(Child);

/// Builds a command in an environment of its own.
pub fn program(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_clear().envs(environment.iter().copied()).kill_on_drop(true);
    command
}

/// Runs a command to its end, and returns its exit code, stdout and stderr.
pub async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let output = tokio::time::timeout(Duration::from_secs(60), program(arguments, environment).output()).await;
    let Output { status, stdout, stderr } = output.expect("ends within a minute").expect("runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

impl Process {
    pub fn start(environment: &[(&str, &str)]) -> Self {
        let mut command = program(&["run"], environment);
        Self(command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("starts"))
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        let id = self.0.id().expect("runs").to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.expect("kill").success());
    }

    /// Waits for the end, and returns the exit code.
    pub async fn end(mut self) -> Option<i32> {
        let ended = tokio::time::timeout(Duration::from_secs(25), self.0.wait()).await;
        ended.expect("ends within 25 s").expect("ended").code()
    }
}
