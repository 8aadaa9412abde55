//! Publishes the messages of deliveries and logs their end.
//!
//! This happens beside the next delivery, and for small deliveries several at once, because the broker's answer takes
//! as long as loading a small file. After any error the messages wait in the outbox.

use std::sync::Arc;
use std::time::Duration;

use super::delivery::{DeliveryRunner, Loaded};
use super::{Error, events, timed};
use crate::clock::Clock;
use crate::failpoint;
use crate::health::{Health, Part};
use crate::load::Target;
use crate::metrics::{Metrics, Stage};
use crate::notifier::Notifier;

/// Number of attempts to acquire the publisher's lock at the end while another loader holds it: five seconds.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Publishes what the outbox holds.
pub struct OutboxPublisher {
    target: Target,
    notifier: Notifier,
    metrics: Arc<Metrics>,
    health: Health,
    clock: Clock,
    /// The broker did not answer in this iteration.
    down: bool,
    said: events::Said,
}

/// Outcome of one attempt to publish the outbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// All waiting messages were acknowledged.
    Done,
    /// Another loader is publishing.
    Busy,
    /// The broker is down, or refused a message.
    Failed,
}

impl OutboxPublisher {
    pub fn new(corridor: &DeliveryRunner, health: Health) -> Self {
        let DeliveryRunner { target, notifier, metrics, clock, .. } = corridor;
        let (target, notifier) = (target.clone(), notifier.clone());
        let (metrics, clock) = (metrics.clone(), clock.clone());
        Self { target, notifier, metrics, health, clock, down: false, said: events::Said::default() }
    }

    /// Publishes the messages of deliveries, if there are any, and logs that the deliveries are done.
    pub async fn tell(&mut self, loaded: Vec<Loaded>) -> Result<(), Error> {
        if loaded.iter().any(|loaded| loaded.news) {
            self.publish().await?;
        }
        loaded.iter().for_each(|loaded| events::processed(loaded.id, loaded.took));
        Ok(())
    }

    /// Publishes at the end of an iteration what still waits, and prunes old messages. Returns how many messages wait now. A
    /// message that another loader committed meanwhile is published too: it is no failure of this one's.
    pub async fn catch_up(&mut self) -> Result<u64, Error> {
        if self.target.is_rehearsal() {
            return Ok(0);
        }
        self.down = false;
        let mut tries = TRIES;
        let waiting = loop {
            let round = self.publish().await?;
            failpoint::reach("before_waiting_count");
            let waiting = if self.notifier.is_on() { self.target.messages_waiting().await? } else { 0 };
            if waiting == 0 || round == Round::Failed || tries == 0 {
                break waiting;
            }
            tries -= 1;
            if round == Round::Busy {
                tokio::time::sleep(PAUSE).await;
            }
        };
        self.metrics.outbox(waiting);
        self.target.prune_messages().await?;
        Ok(waiting)
    }

    /// Publishes the waiting messages. A broker that is down is tried once per iteration and stops nothing; a refused
    /// message does not stop the others.
    async fn publish(&mut self) -> Result<Round, Error> {
        if self.down {
            return Ok(Round::Failed);
        }
        let announce = self.notifier.announce(&self.target);
        let announced = timed(&self.metrics, &self.clock, Stage::Announce, announce).await?;
        announced.deliveries.iter().for_each(|id| events::published(*id));
        self.down = announced.down;
        let reached = announced.error.as_ref().map_or(Ok(()), |error| Err(error.to_string()));
        events::broker(&mut self.said, &reached);
        let failed = reached.is_err();
        self.health.reached(Part::Notifier, reached);
        Ok(match (announced.busy, failed) {
            (_, true) => Round::Failed,
            (true, _) => Round::Busy,
            (false, _) => Round::Done,
        })
    }
}
