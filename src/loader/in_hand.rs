//! What a loader does about files that loaders died of: it knows which file was in hand, takes that file's table last, and
//! after some deaths fails the file.

use super::corridor::Next;
use super::{Error, Loader, Outcome, say};
use crate::source::{Entity, Pending};
use crate::target::Why;

/// So often loaders may die with a file in hand before the file fails.
const MOST_DEATHS: u32 = 5;

impl Loader {
    /// Notes in the ledger that this loader begins. A target that cannot be reached now will be tried again for its work; then
    /// only the note is missing.
    pub async fn begin_process(&mut self) {
        match self.corridor.target.begin_process().await {
            Ok(process) => self.process = process,
            Err(error) => tracing::warn!("{}. So nobody will know if this loader dies.", say::sentence(&error.into())),
        }
        if self.process.is_careful() {
            tracing::info!(
                "Another loader runs or has died: until all that is pending is loaded, each file is noted before it is read."
            );
        }
    }

    /// Notes that this loader ends in an orderly way.
    pub async fn end_process(&self) {
        if let Err(error) = self.corridor.target.end_process(&self.process).await {
            tracing::warn!("{}. The next loader will take this one for dead.", say::sentence(&error.into()));
        }
    }

    /// Marks a file as in hand, where a loader may have died. Returns how its delivery ends if loaders died of it too often.
    pub(super) async fn take_in_hand(&self, pending: &Pending, last_id: i64) -> Result<Option<Next>, Error> {
        if !self.process.is_careful() || pending.step.note().is_some() {
            return Ok(None);
        }
        let deaths = self.corridor.target.take_in_hand(&self.process, pending).await?;
        if deaths == 0 {
            return Ok(None);
        }
        let key = &pending.carrier().listed.key;
        tracing::warn!("{key}: in hand when a loader died, {deaths} times so far; other tables are loaded first.");
        if deaths < MOST_DEATHS {
            return Ok(None);
        }
        let words = format!(
            "{key}: loaders died {deaths} times while they had this file in hand. Look for the reason in the log of the system \
             (often too little memory), then retry the delivery"
        );
        let next = self.corridor.fail(pending, last_id, &Why::of(&words)).await?;
        self.put_down(&pending.entity).await;
        Ok(Some(next))
    }

    /// Takes the mark of a table's file back. One that stays names this loader, for which it does not count.
    pub(super) async fn put_down(&self, entity: &Entity) {
        if !self.process.is_careful() {
            return;
        }
        if let Err(error) = self.corridor.target.put_down(entity).await {
            tracing::warn!("{}. {entity} stays noted as in hand.", say::sentence(&error.into()));
        }
    }

    /// After an iteration that left nothing to be tried again, this loader need not be careful any more.
    pub(super) async fn end_care(&mut self, outcome: &Outcome) -> Result<(), Error> {
        let left = outcome.relist || outcome.settling.is_some() || outcome.error.is_some() || outcome.busy > 0;
        if self.process.is_careful() && !left && !self.stopper.requested() {
            self.corridor.target.end_care(&mut self.process).await?;
        }
        Ok(())
    }
}
