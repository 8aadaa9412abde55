//! Publishes the replay's clock, so that other programs can live in source time: ten times a second and at each change.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pe_publish::{Destination, Publisher, Record};
use serde::Serialize;

use crate::control::{State, Status};
use crate::timekeeper::SystemTime;
use crate::timestamp;

/// How often the clock is published.
const EVERY: Duration = Duration::from_millis(100);
/// How soon a change is.
const LOOK: Duration = Duration::from_millis(5);

/// What followers are told.
#[derive(Clone, Debug, Serialize)]
pub struct Tick {
    pub run: String,
    pub source_time: Option<String>,
    pub rate: f64,
    pub state: &'static str,
    pub seq: u64,
}

/// Publishes to one destination, and never waits for it longer than for one message.
pub struct ClockFeed {
    pub destination: Destination,
    pub status: Arc<Status>,
    pub run: String,
}

impl ClockFeed {
    /// Publishes until the replay has ended.
    pub async fn run(self) {
        let mut publisher = match self.destination.open().await {
            Ok(publisher) => publisher,
            Err(error) => {
                tracing::error!("The clock is not published: {error}.");
                return;
            }
        };
        let (mut seq, mut failed) = (0, false);
        loop {
            let (changes, tick) = (self.status.changes(), self.tick(seq));
            let ended = self.status.shown().0 == State::Ended;
            let sent = self.send(publisher.as_mut(), &tick).await;
            match sent {
                Err(why) if !failed => {
                    tracing::warn!("The clock is not published: {why}.");
                    failed = true;
                }
                Ok(()) => failed = false,
                Err(_) => {}
            }
            if ended {
                publisher.close().await;
                return;
            }
            seq += 1;
            let change = async {
                while self.status.changes() == changes {
                    tokio::time::sleep(LOOK).await;
                }
            };
            let _ = tokio::time::timeout(EVERY, change).await;
        }
    }

    fn tick(&self, seq: u64) -> Tick {
        let (state, clock) = self.status.shown();
        let at = clock.map(|clock| timestamp::show(clock.source_at(SystemTime::monotonic())));
        let rate = clock.map_or(1.0, |clock| clock.rate());
        Tick { run: self.run.clone(), source_time: at, rate, state: state.as_str(), seq }
    }

    async fn send(&self, publisher: &mut dyn Publisher, tick: &Tick) -> Result<(), String> {
        let payload = serde_json::to_vec(tick).map(Bytes::from).map_err(|error| error.to_string())?;
        let record = Record {
            id: format!("clock/{}/{}", tick.run, tick.seq),
            key: None,
            time: 0,
            table: "clock".into(),
            group: "clock".into(),
            headers: Vec::new(),
            payload,
        };
        match publisher.publish(std::slice::from_ref(&record)).await.map_err(|error| error.to_string())?.pop() {
            Some(pe_publish::Outcome::Retry(why) | pe_publish::Outcome::Rejected(why)) => Err(why),
            _ => Ok(()),
        }
    }
}
