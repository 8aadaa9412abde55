//! The real binary, run as a user runs it: with an environment, watched by its output and its exit code.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::World;

/// A run that ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub log: String,
}

impl Ended {
    /// The log's messages without time, level and place.
    pub fn said(&self) -> Vec<String> {
        self.log.lines().map(|line| line.split_once("]: ").map_or(line, |(_, said)| said).to_owned()).collect()
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.log);
        self
    }

    /// What each delivery did, without its number: `e (create: 2, amend: 0, remove: 0).`
    pub fn effects(&self) -> Vec<String> {
        let effect =
            |line: String| line.contains("(create: ").then(|| line.split_once(": ").map(|(_, e)| e.to_owned()));
        self.said().into_iter().filter_map(effect).flatten().collect()
    }
}

/// The binary with the world's variables, ready to run.
pub fn program(world: &World) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paper-engine-orders"));
    command.env_clear().env("SOURCE", world.bucket.source());
    command.env("TARGET", world.target()).env("MIGRATE", world.migrate());
    command.env("RUN_AS_SERVICE", "False").env("NOTIFICATIONS", "False").env("SETTLE", "0");
    command
}

/// The same for who owns the database: to migrate, and for what is not the loader's to do.
pub fn as_owner(world: &World) -> Command {
    let mut command = program(world);
    command.env("TARGET", world.target_as(&super::setting("PEO_PG_USER"))).env("MIGRATE", "True");
    command
}

/// Runs it to its end.
pub async fn run(mut command: Command) -> Ended {
    let out = tokio::task::spawn_blocking(move || command.output().expect("the program runs")).await.expect("joined");
    let log = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    Ended { code: out.status.code().unwrap_or(-1), log }
}

pub async fn run_once(world: &World) -> Ended {
    run(program(world)).await
}

/// A run that goes on.
pub struct Running {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

pub fn start(mut command: Command) -> Running {
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the program starts");
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let (lines, kept) = (BufReader::new(child.stderr.take().expect("piped")).lines(), log.clone());
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| kept.lock().expect("log").push(line)));
    Running { child, log }
}

impl Running {
    pub fn log(&self) -> String {
        self.log.lock().expect("log").join("\n")
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the log says something.
    pub async fn says(&self, words: &str) {
        for _ in 0..400 {
            if self.log().contains(words) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never said {words:?}:\n{}", self.log());
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
    }

    /// Waits for its end: the exit code, -1 if a signal killed it.
    pub async fn ends(mut self) -> Ended {
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait().expect("a child") {
                // the last lines may still be on their way
                tokio::time::sleep(Duration::from_millis(50)).await;
                return Ended { code: status.code().unwrap_or(-1), log: self.log() };
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("does not end:\n{}", self.log());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
