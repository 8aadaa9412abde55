//! The broker: NATS, with JetStream where a stream covers the subject.
//!
//! With a stream each message waits for the stream's ack and carries its id, so that the stream drops repeats. Without
//! one the messages are published and followed by a question that the server must answer: it has then taken them all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, HeaderMap};
use bytes::Bytes;
use tokio::sync::Mutex;

use super::Error;
use super::settings::{Login, Settings};
use crate::failpoint;
use crate::target::Waiting;

/// How long the broker may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the no of a server to a publish may take to reach us. It comes before the answer to the question that follows, but
/// to another task of ours.
const NO_COMES_LATE: Duration = Duration::from_millis(20);
/// The same where we may not ask, and so nothing comes behind it.
const NO_COMES_ALONE: Duration = Duration::from_secs(1);

/// The broker and, once it was reached, the connection to it.
pub(super) struct Broker {
    settings: Settings,
    client: Mutex<Option<Client>>,
    /// the server said that we may not ask about streams
    may_not_ask: Arc<AtomicBool>,
    /// the server said that we may not publish
    may_not_publish: Arc<AtomicBool>,
    /// it took messages and said nothing
    trusted: AtomicBool,
    /// whether a stream covered the subject when last asked
    covered: Mutex<Option<bool>>,
}

impl Broker {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            client: Mutex::new(None),
            may_not_ask: Arc::default(),
            may_not_publish: Arc::default(),
            trusted: AtomicBool::new(false),
            covered: Mutex::new(None),
        }
    }

    /// Publishes in order. On an error: how many of them the broker has for sure.
    pub(super) async fn publish(&self, waiting: &[Waiting]) -> Result<(), (usize, Error)> {
        let subject = waiting[0].news.subject.clone();
        // the answer to the last question holds until publishing shows that it does not
        let known = self.covered.lock().await.take();
        let stream = match known {
            Some(stream) => stream,
            None => self.stream_over(&subject).await.map_err(|error| (0, error))?,
        };
        let client = self.client().await.map_err(|error| (0, error))?;
        if stream {
            self.publish_to_stream(&client, waiting).await?;
            *self.covered.lock().await = Some(true);
            return Ok(());
        }
        let stream = self.publish_to_core(&client, waiting).await.map_err(|error| (0, error))?;
        *self.covered.lock().await = Some(stream);
        // one that was made meanwhile may have missed them: only its ack counts
        if stream { self.publish_to_stream(&client, waiting).await } else { Ok(()) }
    }

    /// Publishes without acks. Whether a stream covers the subject by now.
    async fn publish_to_core(&self, client: &Client, waiting: &[Waiting]) -> Result<bool, Error> {
        // it may be allowed by now; whoever said no too late is not trusted again
        if self.may_not_publish.swap(false, Ordering::Relaxed) {
            self.trusted.store(false, Ordering::Relaxed);
        }
        for message in waiting {
            let sent = client.publish_with_headers(message.news.subject.clone(), id_header(message), payload(message));
            sent.await.map_err(|error| refused(message, &error))?;
        }
        client.flush().await.map_err(|error| self.unreachable(&error))?;
        // whatever it answers, it answers after having taken the messages, or after having said that we may not publish
        let stream = self.stream_over(&waiting[0].news.subject).await?;
        if !self.trusted.load(Ordering::Relaxed) {
            tokio::time::sleep(if self.may_not_ask() { NO_COMES_ALONE } else { NO_COMES_LATE }).await;
        }
        if self.may_not_publish.load(Ordering::Relaxed) {
            return Err(refused(&waiting[0], &"the user of NATS may not publish on its subject"));
        }
        self.trusted.store(true, Ordering::Relaxed);
        Ok(stream)
    }

    async fn publish_to_stream(&self, client: &Client, waiting: &[Waiting]) -> Result<(), (usize, Error)> {
        let mut context = async_nats::jetstream::new(client.clone());
        context.set_timeout(PATIENCE);
        for (sent, message) in waiting.iter().enumerate() {
            let subject = message.news.subject.clone();
            let ack = context.publish_with_headers(subject, id_header(message), payload(message)).await;
            let ack = ack.map_err(|error| (sent, refused(message, &error)))?;
            ack.await.map_err(|error| (sent, refused(message, &error)))?;
            failpoint::reach("after_puback");
        }
        Ok(())
    }

    /// Whether a stream covers the subject. A server without JetStream has none; one that does not let us ask is taken
    /// to have none.
    pub(super) async fn stream_over(&self, subject: &str) -> Result<bool, Error> {
        Ok(!self.streams_over(subject).await?.is_empty())
    }

    /// Whether the server was asked about streams in vain: we have no permission.
    pub(super) fn may_not_ask(&self) -> bool {
        self.may_not_ask.load(Ordering::Relaxed)
    }

    /// The names of the streams that cover the subject.
    pub(super) async fn streams_over(&self, subject: &str) -> Result<Vec<String>, Error> {
        let client = self.client().await?;
        if self.may_not_ask() {
            return Ok(Vec::new());
        }
        let question = serde_json::json!({ "subject": subject }).to_string();
        let answer = client.request("$JS.API.STREAM.NAMES", Bytes::from(question));
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(streams_in(&answer.payload)),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Ok(Vec::new()),
            // the server refuses the question in a message of its own
            _ if self.may_not_ask() => Ok(Vec::new()),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(_) => Err(self.unreachable(&"no answer in 5 s")),
        }
    }

    /// The connection; made if there is none, given up if it is lost (it goes on trying by itself).
    pub(super) async fn client(&self) -> Result<Client, Error> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref() {
            return match client.connection_state() {
                State::Connected => Ok(client.clone()),
                _ => Err(self.unreachable(&"the connection was lost")),
            };
        }
        let options = self.options().await?;
        let connect = options.connect(self.settings.servers.as_slice());
        let client = match tokio::time::timeout(PATIENCE, connect).await {
            Ok(client) => client.map_err(|error| self.unreachable(&error))?,
            Err(_) => return Err(self.unreachable(&"no answer in 5 s")),
        };
        Ok(slot.insert(client).clone())
    }

    async fn options(&self) -> Result<ConnectOptions, Error> {
        let options = match &self.settings.login {
            Login::Anonymous => ConnectOptions::new(),
            Login::Password { user, password } => {
                ConnectOptions::with_user_and_password(user.clone(), password.expose().to_owned())
            }
            Login::Token(token) => ConnectOptions::with_token(token.expose().to_owned()),
            Login::Credentials(file) => {
                let options = ConnectOptions::with_credentials_file(file).await;
                options.map_err(|error| self.unreachable(&format!("{}: {error}", file.display())))?
            }
        };
        let tls = self.settings.servers.iter().any(|server| server.starts_with("tls://"));
        let options = options.name(env!("CARGO_PKG_NAME")).require_tls(tls);
        let (may_not_ask, may_not_publish) = (self.may_not_ask.clone(), self.may_not_publish.clone());
        let options = options.event_callback(move |event| {
            let words = event.to_string().to_lowercase();
            let refused = words.contains("permissions violation");
            if refused && words.contains("$js.api") {
                may_not_ask.store(true, Ordering::Relaxed);
            } else if refused && words.contains("publish") {
                may_not_publish.store(true, Ordering::Relaxed);
            }
            async {}
        });
        Ok(options.connection_timeout(PATIENCE).request_timeout(Some(PATIENCE)))
    }

    fn unreachable(&self, what: &dyn std::fmt::Display) -> Error {
        Error::Unreachable { servers: self.settings.servers.join(","), what: what.to_string() }
    }
}

fn streams_in(answer: &[u8]) -> Vec<String> {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let names = answer["streams"].as_array().into_iter().flatten();
    names.map(|name| name.as_str().unwrap_or_default().to_owned()).collect()
}

fn id_header(message: &Waiting) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, message.news.message_id.as_str());
    headers
}

fn payload(message: &Waiting) -> Bytes {
    Bytes::from(message.news.payload.clone())
}

fn refused(message: &Waiting, error: &dyn std::fmt::Display) -> Error {
    Error::Refused { id: message.id, what: error.to_string() }
}
