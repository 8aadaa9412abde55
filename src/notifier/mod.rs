//! The Notifier: builds the news of a delivery and publishes what the outbox holds.
//!
//! `compose` is done before the commit, so that the message is fixed together with the rows; `announce` comes after it.
//! A broker that is down stops nothing: what waits in the outbox is sent when it is back, in its order, at least once.

mod message;
mod nats;
mod preflight;
pub mod settings;

use std::sync::Arc;

use crate::clock::Clock;
use crate::failpoint;
use crate::load::{self, Changes, News, Target, Waiting};
pub use message::stats;
use nats::{Broker, Outcome};
pub use preflight::{Found, Streams};
use settings::Settings;

/// The subject that all news of this process are published on.
pub const SUBJECT: &str = "paper-engine.meta.orders.change";

/// An error on the way to the broker. The message stays in the outbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot reach NATS at {servers}: {what}")]
    Unreachable { servers: String, what: String },
    #[error("NATS did not take message {id}: {what}")]
    Refused { id: i64, what: String },
    #[error(transparent)]
    Outbox(#[from] load::Error),
}

/// Result of publishing the outbox once.
#[derive(Debug, Default)]
pub struct Announced {
    /// The deliveries whose messages were acknowledged.
    pub deliveries: Vec<i64>,
    /// Reason for which the first unpublished message was not published.
    pub error: Option<Error>,
    /// `true` if the broker cannot be reached, so that the remaining messages were not tried.
    pub down: bool,
    /// `true` if another process holds the publisher's lock.
    pub busy: bool,
}

/// Publisher of messages, which does nothing if NOTIFICATIONS is off.
#[derive(Clone)]
pub struct Notifier {
    broker: Option<Arc<Broker>>,
    host: String,
    clock: Clock,
}

/// Maximum number of messages that are taken from the outbox at once.
const BATCH: i64 = 256;

impl Notifier {
    /// Creates the notifier. Without settings nothing is composed and nothing published. The first message connects.
    pub fn new(settings: Option<&Settings>, host: &str, clock: Clock) -> Self {
        let broker = settings.map(|settings| Arc::new(Broker::new(settings.clone())));
        Self { broker, host: host.to_owned(), clock }
    }

    /// Returns the message about a delivery, or `None` if it changed nothing or notifications are off.
    pub fn compose(&self, changes: &Changes) -> Option<News> {
        self.broker.as_ref()?;
        changes.counts().any().then(|| message::compose(changes, &self.host, self.clock.utc()))
    }

    /// Publishes what the outbox holds. Another publisher at work is as good.
    pub async fn announce(&self, target: &Target) -> Result<Announced, load::Error> {
        let mut announced = Announced::default();
        let Some(broker) = self.broker.as_ref().filter(|_| !target.is_rehearsal()) else { return Ok(announced) };
        let mut after = 0;
        loop {
            let Some(turn) = target.take_turn().await? else { return Ok(Announced { busy: true, ..announced }) };
            let waiting = turn.waiting(after, BATCH).await?;
            let outcome = publish(broker, &waiting).await;
            let taken = waiting.iter().filter(|message| outcome.taken.contains(&message.id));
            announced.deliveries.extend(taken.map(|message| message.delivery_id));
            turn.published(&outcome.taken).await?;
            announced.down |= outcome.stopped.is_some();
            announced.error = announced.error.or(outcome.refused.into_iter().next()).or(outcome.stopped);
            if announced.down || (waiting.len() as i64) < BATCH {
                return Ok(announced);
            }
            // what was refused is not tried again in this turn
            after = waiting.last().map_or(after, |message| message.id);
        }
    }

    /// Returns `true` if notifications are on.
    pub fn is_on(&self) -> bool {
        self.broker.is_some()
    }
}

/// Sends messages in their order.
async fn publish(broker: &Broker, waiting: &[Waiting]) -> Outcome {
    if waiting.is_empty() {
        return Outcome::default();
    }
    failpoint::reach("before_publish");
    let outcome = broker.publish(waiting).await;
    failpoint::reach("before_outbox_mark");
    outcome
}
