//! Several pods of one database, of which any may be killed or frozen. Each signs its requests with a secret of its own, so that
//! a receiver knows which of them sent what.

use std::time::{Duration, Instant};

use base64::Engine;
use standardwebhooks::Webhook;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::process::Process;
use super::target::{Hit, Target};

/// How long one attempt and one lease of these pods last.
pub const TIMEOUT: Duration = Duration::from_secs(2);
pub const LEASE: Duration = Duration::from_secs(5);

/// The pods, and what was done to them.
pub struct Fleet {
    url: String,
    prefix: String,
    folder: TempDir,
    pub running: Vec<Running>,
    /// What befell each pod since the start; a pod's place here is its number.
    pub fates: Vec<Fate>,
}

/// A process that was not killed yet.
pub struct Running {
    pub number: usize,
    process: Process,
    frozen: bool,
    /// Where it says whether it is ready.
    probes: String,
}

/// What befell one pod.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    pub killed: Option<Instant>,
    pub frozen: Vec<Instant>,
}

impl Fleet {
    pub fn start(url: String, target: &Target, pods: usize) -> Self {
        let (prefix, folder) = (target.url(""), TempDir::new().expect("a folder"));
        let mut fleet = Self { url, prefix, folder, running: Vec::new(), fates: Vec::new() };
        (0..pods).for_each(|_| fleet.start_one());
        fleet
    }

    fn start_one(&mut self) {
        let number = self.fates.len();
        let endpoints = self.folder.path().join(format!("{number}.toml"));
        let group = format!("[[endpoint]]\nprefix = \"{}\"\nsecrets = [\"{}\"]\n", self.prefix, secret(number));
        std::fs::write(&endpoints, group).expect("written");
        let probes = format!("127.0.0.1:{}", free_port());
        let environment = [
            ("TIMER_DB", self.url.as_str()),
            ("METRICS", probes.as_str()),
            ("ALLOW_PRIVATE", "127.0.0.0/8"),
            ("TIMEOUT", "2s"),
            ("LEASE", "5s"),
            ("RETRIES", "none"),
            ("ENDPOINTS", endpoints.to_str().expect("UTF-8")),
        ];
        let process = Process::start(&environment);
        self.running.push(Running { number, process, frozen: false, probes });
        self.fates.push(Fate::default());
    }

    /// Waits until a pod has claimed for the first time.
    pub async fn await_ready(&self, at: usize) {
        let address = &self.running[at].probes;
        for _ in 0..6000 {
            if is_ready(address).await.unwrap_or(false) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("pod {} is not ready after a minute", self.running[at].number);
    }

    /// Kills a pod that runs, and starts another in its place.
    pub async fn kill(&mut self, at: usize) {
        let victim = self.running.swap_remove(at);
        self.fates[victim.number].killed = Some(now());
        victim.process.signal("KILL");
        victim.process.end().await;
        self.start_one();
    }

    /// Freezes a pod, and returns its number.
    pub fn freeze(&mut self, at: usize) -> usize {
        let (now, victim) = (now(), &mut self.running[at]);
        victim.process.signal("STOP");
        victim.frozen = true;
        self.fates[victim.number].frozen.push(now);
        victim.number
    }

    /// Lets a pod go on that was frozen.
    pub fn thaw(&mut self, number: usize) {
        for pod in self.running.iter_mut().filter(|pod| pod.number == number) {
            pod.process.signal("CONT");
            pod.frozen = false;
        }
    }

    /// Returns the places of the pods that are not frozen.
    pub fn awake(&self) -> Vec<usize> {
        (0..self.running.len()).filter(|at| !self.running[*at].frozen).collect()
    }

    /// Stops all pods as Kubernetes does.
    pub async fn stop(self) -> Vec<Fate> {
        for at in 0..self.running.len() {
            self.await_ready(at).await;
        }
        self.running.iter().for_each(|pod| pod.process.signal("TERM"));
        for pod in self.running {
            assert_eq!(pod.process.end().await, Some(0), "pod {} after SIGTERM", pod.number);
        }
        self.fates
    }

    /// Returns the number of the pod that sent a request.
    pub fn sender_of(fates: &[Fate], hit: &Hit) -> usize {
        let signed = |number: &usize| {
            let webhook = Webhook::new(&secret(*number)).expect("a secret");
            webhook.verify(b"", &hit.headers).is_ok()
        };
        (0..fates.len()).find(signed).unwrap_or_else(|| panic!("{}: signed by no pod", hit.path))
    }
}

async fn is_ready(address: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: h\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn secret(number: usize) -> String {
    let bytes = format!("the secret of pod {number:08}");
    format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

#[allow(clippy::disallowed_methods, reason = "notes when something was done to a pod")]
fn now() -> Instant {
    Instant::now()
}
