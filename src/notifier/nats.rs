//! The broker: NATS, with JetStream where a stream covers the subject.
//!
//! With a stream each message waits for the stream's ack and carries its id, so that the stream drops repeats. Without
//! one the messages are published and followed by a question that the server must answer: it has then taken them all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::{Client, ConnectOptions, HeaderMap};
use bytes::Bytes;
use tokio::sync::Mutex;

use super::Error;
use super::settings::{Login, Settings};
use crate::failpoint;
use crate::load::{News, Waiting};

/// Maximum time for one answer of the broker.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time to wait for a permission error after a core-NATS publish. The server sends the error before its next reply,
/// but async-nats delivers it on another task.
const NO_COMES_LATE: Duration = Duration::from_millis(20);
/// Time to wait for a permission error if there is no following request whose reply would come after it.
const NO_COMES_ALONE: Duration = Duration::from_secs(1);

/// The broker and, once it was reached, the connection to it.
pub(super) struct Broker {
    settings: Settings,
    client: Mutex<Option<Client>>,
    /// `true` if the server refused the permission to ask about streams.
    may_not_ask: Arc<AtomicBool>,
    /// `true` if the server refused the permission to publish.
    may_not_publish: Arc<AtomicBool>,
    /// Result of the last publishing to a subject.
    last: Mutex<Option<Subject>>,
}

/// Knowledge about a subject from publishing to it.
struct Subject {
    name: String,
    /// `true` if a stream covers the subject.
    stream: bool,
    /// `true` if core NATS accepted messages on the subject without an error.
    trusted: bool,
}

/// Result of publishing several messages. Messages that are neither taken nor refused were not tried.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Ids of the messages that the broker has for sure.
    pub taken: Vec<i64>,
    /// Errors of refused messages; the messages after them were tried nevertheless.
    pub refused: Vec<Error>,
    /// Reason for which publishing ended early.
    pub stopped: Option<Error>,
}

impl Broker {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            client: Mutex::new(None),
            may_not_ask: Arc::default(),
            may_not_publish: Arc::default(),
            last: Mutex::new(None),
        }
    }

    /// Publishes messages in their order. One that the broker refuses takes no other along.
    pub(super) async fn publish(&self, waiting: &[Waiting]) -> Outcome {
        let mut outcome = Outcome::default();
        for messages in waiting.chunk_by(|one, next| one.news.subject == next.news.subject) {
            if let Err(error) = self.publish_on(&messages[0].news.subject, messages, &mut outcome).await {
                outcome.stopped = Some(error);
                break;
            }
        }
        outcome
    }

    /// Publishes messages of one subject. Fails if the broker cannot be reached; the messages that it accepted before
    /// that are recorded.
    async fn publish_on(&self, subject: &str, messages: &[Waiting], outcome: &mut Outcome) -> Result<(), Error> {
        let max_payload = self.client().await?.server_info().max_payload;
        let (sound, unsound): (Vec<_>, Vec<_>) =
            messages.iter().map(|message| (message, flaw(message, max_payload))).partition(|(_, flaw)| flaw.is_none());
        let refusals = unsound.into_iter().filter_map(|(message, flaw)| Some(refused(message, &flaw?)));
        outcome.refused.extend(refusals);
        let sound: Vec<&Waiting> = sound.into_iter().map(|(message, _)| message).collect();
        if sound.is_empty() {
            return Ok(());
        }
        // the answer to the last question holds until publishing shows that it does not
        let known = self.last.lock().await.take().filter(|last| last.name == subject);
        let stream = match &known {
            Some(last) => last.stream,
            None => self.stream_over(subject).await?,
        };
        let trusted = known.is_some_and(|last| last.trusted);
        let mut last = Subject { name: subject.to_owned(), stream, trusted };
        if !last.stream {
            self.publish_to_core(&mut last, &sound, outcome).await?;
        }
        // one that was made meanwhile may have missed them: only its ack counts
        if last.stream {
            self.publish_to_stream(&sound, outcome).await?;
        }
        *self.last.lock().await = Some(last);
        Ok(())
    }

    /// Publishes without acks, and finds out whether a stream covers the subject by now. If one does, no message counts as taken.
    async fn publish_to_core(
        &self,
        subject: &mut Subject,
        messages: &[&Waiting],
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        // The permission may have been granted since. A server that refuses late is not trusted again.
        if self.may_not_publish.swap(false, Ordering::Relaxed) {
            subject.trusted = false;
        }
        let client = self.client().await?;
        for message in messages {
            let sent = client.publish_with_headers(subject.name.clone(), id_header(message), payload(message));
            sent.await.map_err(|error| self.unreachable(&error))?;
        }
        client.flush().await.map_err(|error| self.unreachable(&error))?;
        // The server answers this request after it has taken the messages, or after it has refused them.
        subject.stream = self.stream_over(&subject.name).await?;
        if !subject.trusted {
            tokio::time::sleep(if self.may_not_ask() { NO_COMES_ALONE } else { NO_COMES_LATE }).await;
        }
        if self.may_not_publish.load(Ordering::Relaxed) {
            let forbidden = "the user of NATS may not publish on its subject";
            outcome.refused.extend(messages.iter().map(|message| refused(message, &forbidden)));
            subject.stream = false;
            return Ok(());
        }
        subject.trusted = true;
        if !subject.stream {
            outcome.taken.extend(messages.iter().map(|message| message.id));
        }
        Ok(())
    }

    /// Publishes each message and waits for the stream's ack.
    async fn publish_to_stream(&self, messages: &[&Waiting], outcome: &mut Outcome) -> Result<(), Error> {
        let mut context = async_nats::jetstream::new(self.client().await?);
        context.set_timeout(PATIENCE);
        for message in messages {
            let subject = message.news.subject.clone();
            let ack = context.publish_with_headers(subject, id_header(message), payload(message)).await;
            match ack.map_err(|error| refused(message, &error))?.await {
                Ok(_) => outcome.taken.push(message.id),
                // the stream's own answer: it does not want this message
                Err(error) if error.kind() == PublishErrorKind::Other => outcome.refused.push(refused(message, &error)),
                Err(error) => return Err(refused(message, &error)),
            }
            failpoint::reach("after_puback");
        }
        Ok(())
    }

    /// Returns `true` if a stream covers the subject. Without JetStream, or without the permission to ask, the answer
    /// is `false`.
    pub(super) async fn stream_over(&self, subject: &str) -> Result<bool, Error> {
        Ok(!self.streams_over(subject).await?.is_empty())
    }

    /// Returns `true` if asking the server about streams failed for lack of permission.
    pub(super) fn may_not_ask(&self) -> bool {
        self.may_not_ask.load(Ordering::Relaxed)
    }

    /// Returns the names of the streams that cover the subject.
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

    /// Returns the connection, which is made if there is none. A lost connection is an error; the client reconnects
    /// by itself.
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

/// Returns why no broker can take the message, if it is so. `max_payload` counts bytes of headers and payload.
fn flaw(message: &Waiting, max_payload: usize) -> Option<String> {
    let News { subject, message_id, payload } = &message.news;
    let is_literal = |token: &str| {
        !token.is_empty() && !token.contains(|c: char| "*>".contains(c) || c.is_whitespace() || c.is_control())
    };
    // NATS/1.0, the header's name and the ends of lines
    let size = payload.len() + message_id.len() + 32;
    if !subject.split('.').all(is_literal) {
        Some(format!("{subject:?} is no subject to publish on"))
    } else if message_id.contains(['\r', '\n']) {
        Some("its message_id has more than one line".to_owned())
    } else if size > max_payload {
        Some(format!("it has {size} bytes, and the server takes {max_payload} (max_payload)"))
    } else {
        None
    }
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
