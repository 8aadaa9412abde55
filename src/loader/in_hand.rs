//! Handles files with which loaders died. A loader that finds out that another one died marks each file before it
//! loads it, loads the table of a suspected file last, and fails the file after several deaths.

use super::delivery::DeliveryRunner;
use super::{Error, Loader, Outcome, events};
use crate::load::Why;
use crate::source::{Pending, Step};

/// Number of consecutive loaders that may die with one version of a file before the file fails.
const MOST_DEATHS: u32 = 5;

impl Loader {
    /// Records in the ledger that this loader starts. The loader works without that record, but its death would go
    /// unnoticed.
    pub async fn begin_process(&mut self) {
        match self.corridor.target.begin_process().await {
            Ok(process) => self.corridor.process = process,
            Err(error) => {
                tracing::warn!("{}. If this loader dies, the next one will not know.", events::sentence(&error.into()))
            }
        }
        if self.corridor.process.is_careful() {
            tracing::info!(
                "Another loader runs or has died: until all that is pending is loaded, each file is noted before it is read."
            );
        }
    }

    /// Notes that this loader ends in an orderly way.
    pub async fn end_process(&self) {
        if let Err(error) = self.corridor.target.end_process(&self.corridor.process).await {
            tracing::warn!("{}. The next loader will assume that this one died.", events::sentence(&error.into()));
        }
    }

    /// Ends the care after an iteration that left nothing to be tried again.
    pub(super) async fn end_care(&mut self, outcome: &Outcome) -> Result<(), Error> {
        let left = outcome.relist || outcome.settling.is_some() || outcome.error.is_some() || outcome.busy > 0;
        let DeliveryRunner { target, process, .. } = &mut self.corridor;
        if process.is_careful() && !left && !self.stopper.requested() {
            target.end_care(process).await?;
        }
        Ok(())
    }
}

impl DeliveryRunner {
    /// Marks a file as being loaded, if a loader may have died. Returns the reason for which the delivery fails if
    /// too many loaders died with the file. The caller must hold the table's lease.
    pub(super) async fn take_in_hand(&self, pending: &Pending) -> Option<Why> {
        if !self.process.is_careful() || pending.step.note().is_some() || pending.step == Step::Same {
            return None;
        }
        let key = &pending.carrier().listed.key;
        let deaths = match self.target.take_in_hand(&self.process, pending).await {
            Ok(deaths) => deaths,
            // Any problem with the target will fail the delivery itself.
            Err(error) => {
                tracing::warn!("{}. {key} is not noted as in hand.", events::sentence(&error.into()));
                return None;
            }
        };
        match deaths {
            0 => None,
            1..MOST_DEATHS => {
                tracing::warn!(
                    "{key} was in hand when a loader died, {deaths} of at most {MOST_DEATHS} times in a row."
                );
                None
            }
            _ => Some(Why::of(&format!(
                "{key}: loaders died {deaths} times in a row while they had this file in hand. Look for the reason in the logs of \
                 the system (often too little memory), then `deliveries retry`"
            ))),
        }
    }

    /// Takes the mark of a table's file back. One that stays names this loader, for which it does not count.
    pub(super) async fn put_down(&self, pending: &Pending) {
        if !self.process.is_careful() {
            return;
        }
        if let Err(error) = self.target.put_down(&self.process, &pending.entity).await {
            tracing::warn!(
                "{}. {} stays noted as in hand.",
                events::sentence(&error.into()),
                pending.carrier().listed.key
            );
        }
    }
}
