//! The loop around iterations: once, or for ever with a random sleep; what cannot be reached is tried again.

use std::time::Duration;

use rand::RngExt;

use super::verdict::{self, Verdict};
use super::{Error, Loader, Outcome};
use crate::retry::Backoff;

/// How a run ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Done,
    /// pending work is another loader's
    Busy,
    /// a table is stopped
    Stopped,
    /// a service cannot be reached, or messages still wait
    Unreachable,
    /// a setting is wrong
    Misconfigured,
}

impl End {
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Busy => 75,
            Self::Stopped => 1,
            Self::Unreachable => 69,
            Self::Misconfigured => 78,
        }
    }

    fn of(outcome: &Outcome) -> Self {
        match outcome {
            _ if outcome.messages > 0 || outcome.error.is_some() => Self::Unreachable,
            _ if !outcome.stopped.is_empty() => Self::Stopped,
            _ if outcome.busy > 0 => Self::Busy,
            _ => Self::Done,
        }
    }
}

/// A plan that is not true any more is made again after this.
const RELIST: Duration = Duration::from_millis(200);
/// How often a run-once tries to reach what does not answer.
const TRIES: u32 = 5;

impl Loader {
    /// One iteration, until nothing more is to be done. `wait` for reloads that are not quiet yet.
    pub async fn once(&mut self, wait: bool) -> Result<End, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
        let mut tries = 0;
        let mut stopped = std::collections::BTreeMap::new();
        loop {
            match self.iterate().await {
                Err(error) => {
                    tries += 1;
                    let rehearsal = self.target.is_rehearsal();
                    if rehearsal || verdict::of(&error) == Verdict::Abort || tries == TRIES || self.stopper.requested()
                    {
                        return Err(error);
                    }
                    tracing::warn!("{error}. Trying again.");
                    self.sleep(backoff.next()).await;
                }
                Ok(mut outcome) => {
                    stopped.append(&mut outcome.stopped.clone());
                    let again = match outcome.settling {
                        _ if self.stopper.requested() => None,
                        _ if outcome.relist => Some(RELIST),
                        Some(quiet) if wait => Some(quiet),
                        Some(_) => {
                            tracing::info!("A reload is not quiet yet; it stays pending.");
                            None
                        }
                        None => None,
                    };
                    let Some(again) = again else {
                        outcome.stopped = stopped;
                        self.metrics.success(self.clock.utc());
                        return Ok(End::of(&outcome));
                    };
                    self.sleep(again).await;
                }
            }
        }
    }

    /// Iterations until a stop is asked for, with a random sleep between `least` and `most`.
    pub async fn serve(&mut self, least: Duration, most: Duration) -> Result<End, Error> {
        let mut backoff = Backoff::new(Duration::from_secs(1), most.max(Duration::from_secs(30)));
        let mut trouble: Option<String> = None;
        while !self.stopper.requested() {
            let pause = match self.iterate().await {
                Ok(outcome) => {
                    if trouble.take().is_some() {
                        tracing::info!("Source and target are reached again.");
                    }
                    backoff.reset();
                    self.metrics.success(self.clock.utc());
                    let random = rand::rng().random_range(least.as_secs_f64()..=most.as_secs_f64());
                    if outcome.relist { RELIST } else { Duration::from_secs_f64(random) }
                }
                Err(error) if verdict::of(&error) == Verdict::Abort => return Err(error),
                Err(error) => {
                    let words = error.to_string();
                    if trouble.as_ref() != Some(&words) {
                        tracing::warn!("{words}. Trying again until it is back.");
                    }
                    trouble = Some(words);
                    backoff.next()
                }
            };
            self.sleep(pause).await;
        }
        Ok(End::Done)
    }

    /// Sleeps, unless a stop is asked for.
    async fn sleep(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.stopper.wait() => {}
        }
    }
}

/// How a run that could not go on ends.
pub fn end_of(error: &Error) -> End {
    match verdict::of(error) {
        Verdict::Abort => End::Misconfigured,
        Verdict::Stop(_) => End::Stopped,
        _ => End::Unreachable,
    }
}
