//! Publishes to NATS: with acknowledgements where a JetStream stream covers the subject, else to core NATS, where a flush
//! shows that the server has taken everything. The record's id is the message id, by which a stream drops repeats.

mod settings;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, ConnectOptions, HeaderMap};
use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::publisher::{Capabilities, Error, Outcome, Publisher, in_order};
use crate::record::Record;

pub use settings::{Login, Settings};

/// How long the server may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A refusal of the server to a publish comes before its answer to a flush, but to another task of ours.
const REFUSAL_DELAY: Duration = Duration::from_millis(20);
/// Acknowledgements that are waited for at once.
const IN_FLIGHT_MAX: usize = 512;
/// The client would connect again by itself and then send what it still holds, out of order with what is tried again. So a
/// lost connection is given up, and this wait never ends in practice.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// A NATS server or cluster, and a subject.
pub struct Nats {
    settings: Settings,
    connection: Option<Connection>,
    record_max_bytes: Option<usize>,
}

/// A connection and what it has shown so far.
struct Connection {
    client: Client,
    /// Whether a stream covers a subject.
    streams: HashMap<String, bool>,
    /// The server said that this user may not publish.
    forbidden: Arc<AtomicBool>,
    /// The server said that this user may not ask about streams.
    may_not_ask: Arc<AtomicBool>,
    /// Core NATS took messages without a word.
    trusted: bool,
}

impl Nats {
    /// Publishes to the server and subject of the settings. Connects when it is needed.
    pub fn new(settings: Settings) -> Self {
        Self { settings, connection: None, record_max_bytes: None }
    }

    /// Returns the connection: made if there is none or the last one was lost.
    async fn connection(&mut self) -> Result<&mut Connection, String> {
        let lost = self.connection.as_ref().is_some_and(|known| known.client.connection_state() != State::Connected);
        if lost {
            self.connection = None;
        }
        if self.connection.is_none() {
            let made = Connection::open(&self.settings).await.map_err(|why| self.unreachable(&why))?;
            self.record_max_bytes = Some(made.client.server_info().max_payload);
            self.connection = Some(made);
        }
        self.connection.as_mut().ok_or_else(|| "no connection".to_owned())
    }

    fn unreachable(&self, why: &dyn std::fmt::Display) -> String {
        format!("nats: {}: {why}", self.settings)
    }

    /// Publishes a part of a batch that is small enough to be in flight at once.
    async fn publish_part(&mut self, records: &[Record], outcomes: &mut Vec<Outcome>) -> Result<(), String> {
        let settings = self.settings.clone();
        let connection = self.connection().await?;
        let max = connection.client.server_info().max_payload;
        let mut sent = Vec::with_capacity(records.len());
        for record in records {
            let message = Message::of(record, &settings);
            sent.push(match message.flaw(max) {
                Some(flaw) => Sent::Flawed(flaw),
                None => connection.send(message).await?,
            });
        }
        let core = match sent.iter().any(|sent| matches!(sent, Sent::Core)) {
            true => connection.flush().await,
            false => Outcome::Delivered,
        };
        for sent in sent {
            outcomes.push(match sent {
                Sent::Flawed(why) => Outcome::Rejected(why),
                Sent::Core => core.clone(),
                Sent::Stream(ack) => acknowledged(ack.await),
            });
        }
        Ok(())
    }
}

/// What a record becomes.
struct Message {
    subject: String,
    headers: HeaderMap,
    size: usize,
    payload: Bytes,
}

/// How a message was sent.
enum Sent {
    Flawed(String),
    Core,
    Stream(PublishAckFuture),
}

impl Message {
    fn of(record: &Record, settings: &Settings) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(async_nats::header::NATS_MESSAGE_ID, one_line(&record.id).as_str());
        // NATS/1.0, the header's name and the ends of lines
        let mut size = record.payload.len() + record.id.len() + 32;
        for (name, value) in &record.headers {
            headers.insert(*name, one_line(value).as_str());
            size += name.len() + value.len() + 4;
        }
        Self { subject: settings.subject.render(&record.table), headers, size, payload: record.payload.clone() }
    }

    /// Returns why no server can take the message, if it is so.
    fn flaw(&self, max_payload: usize) -> Option<String> {
        (self.size > max_payload)
            .then(|| format!("it has {} bytes, and the server takes {max_payload} (max_payload)", self.size))
    }
}

/// Replaces line ends, which no header can hold.
fn one_line(value: &str) -> String {
    value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Connection {
    async fn open(settings: &Settings) -> Result<Self, String> {
        let (forbidden, may_not_ask, connected) = (Arc::default(), Arc::default(), Arc::new(AtomicBool::new(false)));
        let (no_publish, no_question): (Arc<AtomicBool>, Arc<AtomicBool>) =
            (Arc::clone(&forbidden), Arc::clone(&may_not_ask));
        let was_connected = connected.clone();
        let options = login(&settings.login).await?;
        let options = options
            .name("paper-engine")
            .require_tls(settings.servers.iter().any(|server| server.starts_with("tls://")))
            .connection_timeout(ANSWER_TIMEOUT)
            .request_timeout(Some(ANSWER_TIMEOUT))
            .reconnect_delay_callback(
                move |_| if was_connected.load(Ordering::Relaxed) { NEVER } else { Duration::ZERO },
            )
            .event_callback(move |event| {
                let words = event.to_string().to_lowercase();
                if words.contains("permissions violation") {
                    let about = if words.contains("$js.api") { &no_question } else { &no_publish };
                    about.store(true, Ordering::Relaxed);
                }
                async {}
            });
        let connect = tokio::time::timeout(ANSWER_TIMEOUT, options.connect(settings.servers.as_slice()));
        let client = connect.await.map_err(|_| "no answer in 5 s".to_owned())?.map_err(|error| error.to_string())?;
        connected.store(true, Ordering::Relaxed);
        Ok(Self { client, streams: HashMap::new(), forbidden, may_not_ask, trusted: false })
    }

    async fn send(&mut self, message: Message) -> Result<Sent, String> {
        let Message { subject, headers, payload, .. } = message;
        let client = self.client.clone();
        if self.is_stream(&subject).await? {
            let mut context = jetstream::new(client);
            context.set_timeout(ANSWER_TIMEOUT);
            let ack = context.publish_with_headers(subject, headers, payload).await;
            return ack.map(Sent::Stream).map_err(|error| error.to_string());
        }
        client.publish_with_headers(subject, headers, payload).await.map_err(|error| error.to_string())?;
        Ok(Sent::Core)
    }

    /// Waits until the server has taken all that was sent.
    async fn flush(&mut self) -> Outcome {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.client.flush()).await {
            Err(_) => return Outcome::Retry("nats: no answer to a flush in 5 s".to_owned()),
            Ok(Err(error)) => return Outcome::Retry(format!("nats: {error}")),
            Ok(Ok(())) => {}
        }
        // a flush ends when the bytes are with the system; only an answer shows that the server has read them
        if let Err(why) = self.round_trip().await {
            return Outcome::Retry(why);
        }
        if !self.trusted {
            tokio::time::sleep(REFUSAL_DELAY).await;
        }
        if self.forbidden.swap(false, Ordering::Relaxed) {
            self.trusted = false;
            return Outcome::Retry("nats: this user may not publish on the subject".to_owned());
        }
        self.trusted = true;
        Outcome::Delivered
    }

    /// Asks for something that nobody answers: the server itself says so, after it has read what came before.
    async fn round_trip(&self) -> Result<(), String> {
        let asked = self.client.request("paper-engine.nobody", Bytes::new());
        match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
            Ok(Err(error)) => Err(format!("nats: {error}")),
            Err(_) => Err("nats: no answer in 5 s".to_owned()),
        }
    }

    /// Returns `true` if a stream covers the subject. A server without JetStream has none, and one that does not let us ask is
    /// taken to have none.
    async fn is_stream(&mut self, subject: &str) -> Result<bool, String> {
        if let Some(known) = self.streams.get(subject) {
            return Ok(*known);
        }
        let question = serde_json::json!({ "subject": subject }).to_string();
        let asked = self.client.request("$JS.API.STREAM.NAMES", Bytes::from(question));
        let is_stream = match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            Ok(Ok(answer)) => {
                let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
                answer["streams"].as_array().is_some_and(|names| !names.is_empty())
            }
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => false,
            _ if self.may_not_ask.load(Ordering::Relaxed) => false,
            Ok(Err(error)) => return Err(format!("nats: {error}")),
            Err(_) => return Err("nats: no answer in 5 s".to_owned()),
        };
        self.streams.insert(subject.to_owned(), is_stream);
        Ok(is_stream)
    }
}

async fn login(login: &Login) -> Result<ConnectOptions, String> {
    Ok(match login {
        Login::Anonymous => ConnectOptions::new(),
        Login::Password { user, password } => {
            ConnectOptions::with_user_and_password(user.clone(), password.expose().to_owned())
        }
        Login::Token(token) => ConnectOptions::with_token(token.expose().to_owned()),
        Login::Credentials(file) => {
            let options = ConnectOptions::with_credentials_file(file).await;
            options.map_err(|error| format!("{}: {error}", file.display()))?
        }
    })
}

/// Says what a stream's answer means. Only a message that is too large for the stream will never be taken.
fn acknowledged(ack: Result<jetstream::publish::PublishAck, PublishError>) -> Outcome {
    let Err(error) = ack else { return Outcome::Delivered };
    let code = std::error::Error::source(&error)
        .and_then(|source| source.downcast_ref::<jetstream::Error>())
        .map(jetstream::Error::error_code);
    if error.kind() == PublishErrorKind::Other && code == Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM) {
        return Outcome::Rejected(format!("nats: the stream does not take it: {error}"));
    }
    Outcome::Retry(format!("nats: {error}"))
}

impl Publisher for Nats {
    fn capabilities(&self) -> Capabilities {
        let drops_repeats = self
            .connection
            .as_ref()
            .is_some_and(|known| !known.streams.is_empty() && known.streams.values().all(|is| *is));
        Capabilities { drops_repeats, record_max_bytes: self.record_max_bytes }
    }

    fn check(&mut self) -> BoxFuture<'_, Result<String, Error>> {
        Box::pin(async {
            let subject = self.settings.subject.render("table");
            let shown = self.settings.to_string();
            let connection = self.connection().await.map_err(Error::Unreachable)?;
            let stream = connection.is_stream(&subject).await.map_err(Error::Unreachable)?;
            let kind = if stream { "a stream covers it: repeats are dropped" } else { "core NATS, no stream" };
            Ok(format!("NATS {shown} ({kind})"))
        })
    }

    fn publish<'a>(&'a mut self, records: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Error>> {
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(records.len());
            for part in records.chunks(IN_FLIGHT_MAX) {
                let failed = match self.publish_part(part, &mut outcomes).await {
                    Ok(()) => outcomes.iter().any(|outcome| matches!(outcome, Outcome::Retry(_))),
                    Err(why) => {
                        outcomes.push(Outcome::Retry(why));
                        true
                    }
                };
                if failed {
                    // what may still be buffered must not come after what is tried again
                    self.connection = None;
                    outcomes.resize(records.len(), Outcome::Retry("nats: a record before it failed".to_owned()));
                    break;
                }
            }
            in_order(&mut outcomes);
            Ok(outcomes)
        })
    }
}
