//! A change file says what happened to some rows: its last word on each key is compared with the row that the table has.

use super::arrays::Arrays;
use super::catalog::Table;
use super::current::Current;
use super::delta::{Delta, key_of};
use super::intake::{Batch, Intake};
use super::{Counts, Error};
use crate::pg::Tx;

/// Applies the folded changes. What is counted is the effect, not the claim.
pub async fn apply(tx: &Tx, table: &Table, intake: &mut Intake) -> Result<Counts, Error> {
    let mut delta = Delta::default();
    let mut keys = Arrays::new(table, table.key.iter().copied());
    while let Some(batch) = intake.next().await? {
        merge(tx, table, &batch, &mut keys, &mut delta).await?;
    }
    delta.write(tx, table).await
}

/// Compares one batch with the rows that its keys have now.
async fn merge(tx: &Tx, table: &Table, batch: &Batch, keys: &mut Arrays, delta: &mut Delta) -> Result<(), Error> {
    keys.clear();
    let mut key = Vec::new();
    for wanted in batch.rows() {
        key.clear();
        key_of(wanted.tuple, table, &mut key);
        keys.push(&key);
    }
    let mut current = Current::of_keys(tx, table, keys).await?;
    for wanted in batch.rows() {
        delta.want(wanted, &mut current, table).await?;
    }
    delta.remove_rest(&mut current, table).await
}
