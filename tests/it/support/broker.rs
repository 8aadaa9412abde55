//! A NATS server of a test's own, and what a subscriber hears.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;

pub const SUBJECT: &str = "paper-engine.meta.orders.change";

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

pub struct Broker {
    pub port: u16,
    server: Option<Child>,
    store: Option<tempfile::TempDir>,
}

/// What a subscriber heard: payload and message id.
pub type Heard = Arc<Mutex<Vec<(String, String)>>>;

impl Broker {
    /// A server without JetStream.
    pub async fn core() -> Self {
        let mut broker = Self { port: free_port(), server: None, store: None };
        broker.start().await;
        broker
    }

    /// A server with JetStream.
    pub async fn jetstream() -> Self {
        let store = tempfile::tempdir().expect("a folder");
        let mut broker = Self { port: free_port(), server: None, store: Some(store) };
        broker.start().await;
        broker
    }

    /// A server without JetStream, with a configuration of its own.
    pub fn with_config(config: &str) -> Self {
        let store = tempfile::tempdir().expect("a folder");
        let file = store.path().join("nats.conf");
        std::fs::write(&file, config).expect("written");
        let port = free_port();
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-c"]).arg(file);
        let server = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn();
        Self { port, server: Some(server.expect("nats-server; run the tests with ./justw test")), store: Some(store) }
    }

    pub async fn start(&mut self) {
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &self.port.to_string()]).stderr(Stdio::null()).stdout(Stdio::null());
        if let Some(store) = &self.store {
            command.arg("-js").arg("-sd").arg(store.path());
        }
        self.server = Some(command.spawn().expect("nats-server; run the tests with ./justw test"));
        self.client().await;
    }

    /// Waits until it takes connections, whoever may log in.
    pub async fn listens(&self) {
        for _ in 0..100 {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nats-server does not listen");
    }

    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().and_then(|()| server.wait()).expect("stopped");
        }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub async fn client(&self) -> async_nats::Client {
        self.client_with(async_nats::ConnectOptions::new).await
    }

    async fn client_with(&self, options: impl Fn() -> async_nats::ConnectOptions) -> async_nats::Client {
        for _ in 0..100 {
            match options().connect(self.url()).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        panic!("nats-server does not answer");
    }

    /// Listens from now on.
    pub async fn listen(&self) -> Heard {
        listen(self.client().await).await
    }

    /// The same, as a user of the server.
    pub async fn listen_as(&self, user: &str, password: &str) -> Heard {
        let (user, password) = (user.to_owned(), password.to_owned());
        let login = || async_nats::ConnectOptions::with_user_and_password(user.clone(), password.clone());
        listen(self.client_with(login).await).await
    }
}

async fn listen(client: async_nats::Client) -> Heard {
    let mut messages = client.subscribe(SUBJECT).await.expect("subscribed");
    client.flush().await.expect("flushed");
    let heard = Heard::default();
    let ears = heard.clone();
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
            let id = id.map(|id| id.as_str().to_owned()).unwrap_or_default();
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            ears.lock().expect("ears").push((payload, id));
        }
    });
    heard
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits until so many messages were heard, and a little longer for one too many.
pub async fn heard(heard: &Heard, count: usize) -> Vec<(String, String)> {
    for _ in 0..100 {
        if heard.lock().expect("ears").len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let all = heard.lock().expect("ears").clone();
    assert_eq!(all.len(), count, "{all:#?}");
    all
}
