//! What a doctor asks of the broker: is it there, does a stream keep our messages, and may we publish? Nothing is published on
//! our subject: the server says by itself what a user may do, if the user may ask it.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::nats::Broker;
use super::{Error, Notifier, SUBJECT};

/// What the broker said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub version: String,
    pub streams: Streams,
    /// whether the user may publish our subject, if the server told
    pub publishes: Option<bool>,
}

/// Which streams cover our subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Streams {
    By(Vec<String>),
    None,
    /// the user has no permission to ask, so messages are published without an ack
    Unknown,
}

/// How long the server may take to say what the user may do; one that does not let us ask says nothing.
const PATIENCE: Duration = Duration::from_secs(2);

impl Notifier {
    /// Connects and asks; nothing if nobody is to be told.
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

/// What the server says of a user.
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

/// Whether the answer lets our subject through; nothing if it is no answer.
fn may_publish(answer: &[u8]) -> Option<bool> {
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let rules = answer.data.permissions.unwrap_or_default().publish.unwrap_or_default();
    let covers = |list: &[String]| list.iter().any(|pattern| covers(pattern, SUBJECT));
    let allowed = rules.allow.as_deref().is_none_or(|list| list.is_empty() || covers(list));
    Some(allowed && !covers(rules.deny.as_deref().unwrap_or_default()))
}

/// Whether a pattern of NATS has the subject: `*` is one word of it, `>` all that follow.
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
