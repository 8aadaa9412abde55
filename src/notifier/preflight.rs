//! Questions of the command `check` about the broker: whether it can be reached, whether a stream stores our
//! messages, and whether we may publish. Nothing is published on our subject: the server itself reports the user's
//! permissions, if the user may ask.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::nats::Broker;
use super::{Error, Notifier, SUBJECT};

/// Answers of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub version: String,
    pub streams: Streams,
    /// `true` if the user may publish on our subject, if the server reports it.
    pub publishes: Option<bool>,
}

/// Streams that cover our subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Streams {
    By(Vec<String>),
    None,
    /// The user has no permission to ask, so messages are published without an ack.
    Unknown,
}

/// Maximum time for the server's answer about permissions; a server that does not allow the question sends no answer.
const PATIENCE: Duration = Duration::from_secs(2);

impl Notifier {
    /// Connects and asks, or returns `None` if notifications are off.
    pub async fn examine(&self) -> Option<Result<Found, Error>> {
        let broker = self.broker.as_ref()?;
        Some(examine(broker).await)
    }
}

async fn examine(broker: &Broker) -> Result<Found, Error> {
    let client = broker.client().await?;
    let names = broker.streams_over(SUBJECT).await?;
    let streams = match names.is_empty() {
        true if broker.may_not_ask() => Streams::Unknown,
        true => Streams::None,
        false => Streams::By(names),
    };
    let asked = client.request("$SYS.REQ.USER.INFO", Bytes::new());
    let publishes = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => may_publish(&answer.payload),
        _ => None,
    };
    Ok(Found { version: client.server_info().version, streams, publishes })
}

/// Answer of the server about a user.
#[derive(Deserialize)]
struct Answer {
    data: User,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    permissions: Option<Permissions>,
}

#[derive(Default, Deserialize)]
struct Permissions {
    #[serde(default)]
    publish: Option<Rules>,
}

#[derive(Default, Deserialize)]
struct Rules {
    #[serde(default)]
    allow: Option<Vec<String>>,
    #[serde(default)]
    deny: Option<Vec<String>>,
}

/// Returns `true` if the answer allows our subject, or `None` if it cannot be parsed.
fn may_publish(answer: &[u8]) -> Option<bool> {
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let rules = answer.data.permissions.unwrap_or_default().publish.unwrap_or_default();
    let covers = |list: &[String]| list.iter().any(|pattern| covers(pattern, SUBJECT));
    let allowed = rules.allow.as_deref().is_none_or(|list| list.is_empty() || covers(list));
    Some(allowed && !covers(rules.deny.as_deref().unwrap_or_default()))
}

/// Returns `true` if a NATS pattern matches the subject: `*` is one word, `>` all following words.
fn covers(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(wanted), Some(word)) if wanted == "*" || wanted == word => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_may_publish_is_read_as_the_server_does() {
        let may = |publish: &str| may_publish(format!(r#"{{"data":{{"permissions":{publish}}}}}"#).as_bytes());
        assert_eq!(may("null"), Some(true));
        assert_eq!(may(r#"{"subscribe":{"deny":[">"]}}"#), Some(true));
        assert_eq!(may(r#"{"publish":{"allow":["paper-engine.*.orders.>"]}}"#), Some(true));
        assert_eq!(may(r#"{"publish":{"allow":["other.>","paper-engine.*"]}}"#), Some(false));
        assert_eq!(may(r#"{"publish":{"deny":["paper-engine.>"]}}"#), Some(false));
        assert_eq!(may(r#"{"publish":{"allow":["paper-engine.meta.orders.change.>"]}}"#), Some(false));
        assert_eq!(may_publish(br#"{"data":{"user":"u","account":"$G"}}"#), Some(true));
        assert_eq!(may_publish(b"no"), None);
        assert_eq!(may_publish(b"{}"), None, "an error is no leave");
    }
}
