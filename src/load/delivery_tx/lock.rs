//! Locks the table of a delivery, so that no other session writes to it meanwhile.
//!
//! If `TABLES` says that no other program writes to the table, and an autovacuum holds it, a weaker lock is used.
//! Each statement's row count is then checked, and if it differs from the plan, the delivery is repeated under the
//! stronger lock.

use std::sync::Arc;

use super::super::Error;
use super::super::catalog::Table;
use super::super::lock_wait::{self, LockWait};
use super::{DeliveryTx, FEW};
use crate::decode::File;
use crate::source::Step;

impl DeliveryTx {
    /// Locks the table. Returns `true` if it has no row.
    pub(super) async fn enter(&self) -> Result<bool, Error> {
        let entity = &self.docket.pending.entity;
        let (pending, scope) = (&self.docket.pending, self.docket.feed.id());
        let few = self.docket.pending.file == File::Changes && self.docket.pending.bytes() <= FEW;
        let shared = self.table.is_shared();
        let wait = if shared { LockWait::Shared } else { self.lock_waits.next(self.table.oid) };
        if wait == LockWait::Long {
            tracing::warn!(
                "Delivery {}: the lock of {entity} was not available for ten minutes; now it is waited for longer, which cancels \
                 an autovacuum of the table.",
                self.docket.id
            );
        }
        let entered = self.table.enter(&self.tx, (pending, scope), few, wait).await;
        match &entered {
            Ok(_) => self.lock_waits.acquired(self.table.oid, shared),
            Err(error) => {
                self.catalog.forget(entity);
                if error.is_lock_timeout() {
                    self.lock_waits.refused(self.table.oid);
                }
            }
        }
        let empty = entered?;
        self.catalog.remember(entity, &self.table);
        let empty = empty || matches!(self.docket.pending.step, Step::Append { first: false });
        match self.docket.pending.step {
            Step::Append { first: true } if !empty => Err(Error::NotEmpty),
            _ => Ok(empty),
        }
    }

    /// Undoes what a failed `apply` did and chooses another lock for the next try. Returns false if the error has nothing to do
    /// with the lock, or there is no other lock to try.
    pub async fn lock_otherwise(&mut self, error: &Error) -> Result<bool, Error> {
        let (oid, id, entity) = (self.table.oid, self.docket.id, self.docket.pending.entity.clone());
        if self.table.is_shared() {
            if !error.may_come_from_other_writers() {
                return Ok(false);
            }
            self.again().await?;
            self.lock_waits.disturbed(oid);
            self.share(false);
            match error {
                Error::Disturbed { .. } => tracing::warn!(
                    "Delivery {id}: another session wrote to {entity} meanwhile, though TABLES says sole_writer=true: {error}. What was \
                     done is undone, and is done again once nobody else can write to the table."
                ),
                error => tracing::info!(
                    "Delivery {id}: {error}. That may come from rows that others wrote to {entity} meanwhile, so the delivery is done \
                     again once nobody else can write to the table."
                ),
            }
            return Ok(true);
        }
        if !self.sole_writer || self.table.is_keyless() || !error.is_lock_timeout() || !self.lock_waits.may_share(oid) {
            return Ok(false);
        }
        self.again().await?;
        let vacuumed = lock_wait::is_held_by_autovacuum(&self.tx, oid).await?;
        self.lock_waits.vacuumed(oid, vacuumed);
        if vacuumed {
            self.share(true);
            tracing::info!(
                "Delivery {id}: an autovacuum has {entity}. TABLES says sole_writer=true, so the delivery goes on beside it, under \
                 a lock that lets others write, and counts what it writes."
            );
        }
        Ok(vacuumed)
    }

    fn share(&mut self, shared: bool) {
        self.table = Arc::new(Table::clone(&self.table).shared(shared));
    }

    /// Checks constraints that wait for the commit, where what they refuse may have been written by others meanwhile.
    pub(super) async fn check_deferred(&self) -> Result<(), Error> {
        if self.table.is_shared() {
            let checked = self.tx.batch_execute("set constraints all immediate").await;
            checked.map_err(|error| self.tx.error(error))?;
        }
        Ok(())
    }
}
