//! Loop around iterations: once, or forever with a random sleep. Services that cannot be reached are tried again.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;

use super::error_policy::{self, ErrorPolicy};
use super::run_summary::RunSummary;
use super::{Error, Loader, Outcome, events};
use crate::retry::Backoff;

/// Time of the next iteration of a one-shot run.
enum Round {
    /// After the delay of the backoff.
    Later,
    After(Duration),
}

/// Result of a run, with its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Done,
    /// Pending work is another loader's.
    Busy,
    /// A table is stopped.
    Stopped,
    /// A service cannot be reached, or messages still wait.
    Unreachable,
    /// A setting is wrong.
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

    /// Returns the result as a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Busy => "busy",
            Self::Stopped => "stopped",
            Self::Unreachable => "unreachable",
            Self::Misconfigured => "misconfigured",
        }
    }

    fn of(outcome: &Outcome) -> Self {
        match outcome {
            _ if outcome.messages > 0 || outcome.error.is_some() || outcome.relist => Self::Unreachable,
            _ if !outcome.stopped.is_empty() || !outcome.reserved.is_empty() || outcome.refused > 0 => Self::Stopped,
            _ if outcome.busy > 0 => Self::Busy,
            _ => Self::Done,
        }
    }
}

/// A plan that is not true any more is made again after this.
const RELIST: Duration = Duration::from_millis(200);
/// Number of attempts of a one-shot run to reach a service that does not answer.
const TRIES: u32 = 5;
const TABLE_TRIES: u32 = 3;
/// Maximum number of new plans that a one-shot run makes because the last one no longer holds.
const ROUNDS: u32 = 20;

impl Loader {
    /// Repeats iterations until nothing is pending. With `wait`, waits for reloads whose parts have changed recently.
    pub async fn once(&mut self, wait: bool) -> Result<End, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
        let mut tries = 0;
        // over all rounds
        let (mut stopped, mut loaded, mut refused) = (BTreeMap::new(), 0, 0);
        loop {
            tries += 1;
            let pause = match self.iterate().await {
                Err(error) if !self.may_try_again(&error, tries) => {
                    events::moved(&error);
                    return Err(error);
                }
                Err(error) => {
                    self.corridor.metrics.retry(error_policy::reason(&error));
                    tracing::warn!("{}. Trying again.", events::sentence(&error));
                    backoff.next()
                }
                Ok(mut outcome) => {
                    // a delivery that failed because of another table may have been retried
                    stopped.retain(|entity, _| !outcome.revisions.contains_key(entity));
                    stopped.append(&mut outcome.stopped);
                    loaded += outcome.loaded;
                    refused += outcome.refused;
                    match self.another_round(&outcome, wait, tries) {
                        Some(Round::Later) => backoff.next(),
                        Some(Round::After(pause)) => pause,
                        None => {
                            self.tally.stopped.clone_from(&stopped);
                            (outcome.stopped, outcome.loaded, outcome.refused) = (stopped, loaded, refused);
                            events::ended(&outcome, self.corridor.target.is_rehearsal());
                            if outcome.error.is_none() {
                                self.corridor.metrics.success(self.corridor.clock.utc());
                            }
                            return Ok(End::of(&outcome));
                        }
                    }
                }
            };
            self.sleep(pause).await;
        }
    }

    /// Returns `true` if the iteration may be tried again after this error. A dry run has one transaction, and so
    /// only one attempt.
    fn may_try_again(&self, error: &Error, tries: u32) -> bool {
        let retried =
            matches!(error_policy::of(error), ErrorPolicy::Retry | ErrorPolicy::RetryTable | ErrorPolicy::Settle);
        retried && tries < TRIES && !self.corridor.target.is_rehearsal() && !self.stopper.requested()
    }

    /// Returns when a one-shot run needs another iteration, or `None` if it is done.
    fn another_round(&self, outcome: &Outcome, wait: bool, tries: u32) -> Option<Round> {
        if self.stopper.requested() {
            return None;
        }
        let rehearsal = self.corridor.target.is_rehearsal();
        match outcome.settling {
            _ if outcome.relist && tries < ROUNDS => Some(Round::After(RELIST)),
            _ if (outcome.error.is_some() || outcome.busy > 0) && tries < TABLE_TRIES && !rehearsal => {
                Some(Round::Later)
            }
            Some(quiet) if wait => {
                events::waits(quiet);
                Some(Round::After(quiet))
            }
            Some(_) => {
                tracing::info!("A reload is not quiet yet; it stays pending.");
                None
            }
            None => None,
        }
    }

    /// Runs iterations until a stop is requested, with a random sleep between `least` and `most`.
    pub async fn serve(&mut self, least: Duration, most: Duration) -> Result<End, Error> {
        let mut backoff = Backoff::new(Duration::from_secs(1), most.max(Duration::from_secs(30)));
        let mut trouble: Option<String> = None;
        while !self.stopper.requested() {
            let pause = match self.iterate().await {
                Ok(outcome) => {
                    self.corridor.metrics.ended(End::of(&outcome).code());
                    if trouble.take().is_some() {
                        tracing::info!("Source and target are reached again.");
                    }
                    if outcome.error.is_none() {
                        self.corridor.metrics.success(self.corridor.clock.utc());
                    }
                    let random = rand::rng().random_range(least.as_secs_f64()..=most.as_secs_f64());
                    // plans that never hold must not become a loop without a pause
                    if outcome.relist {
                        backoff.next().max(RELIST)
                    } else {
                        backoff.reset();
                        Duration::from_secs_f64(random)
                    }
                }
                Err(error) if error_policy::of(&error) == ErrorPolicy::Abort => return Err(error),
                Err(error) => {
                    self.corridor.metrics.ended(end_of(&error).code());
                    self.corridor.metrics.retry(error_policy::reason(&error));
                    let words = events::sentence(&error);
                    if trouble.as_ref() != Some(&words) {
                        tracing::warn!("{words}. Trying again until it is back.");
                    }
                    trouble = Some(words);
                    backoff.next()
                }
            };
            if let Some(file) = &self.metrics_file {
                file.keep(&self.corridor.metrics);
            }
            // the summary is for one-shot runs; in a service it would only grow
            self.tally = RunSummary::default();
            self.sleep(pause).await;
        }
        tracing::info!("Stopped.");
        Ok(End::Done)
    }

    /// Sleeps until the pause is over or a stop is requested.
    async fn sleep(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.stopper.wait() => {}
        }
    }
}

/// Returns the result of a run that could not continue.
pub fn end_of(error: &Error) -> End {
    match error_policy::of(error) {
        ErrorPolicy::Abort => End::Misconfigured,
        _ if error_policy::is_refusal(error) => End::Misconfigured,
        ErrorPolicy::Stop(_) | ErrorPolicy::Refuse => End::Stopped,
        _ => End::Unreachable,
    }
}
