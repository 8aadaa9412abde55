//! A snapshot says what a table holds: its rows are loaded into an empty table as they come, or merged with what is there.

use super::catalog::Table;
use super::current::Current;
use super::delta::{Delta, Rows};
use super::guard::Guard;
use super::intake::Intake;
use super::{Counts, Error};
use crate::pg::Tx;

/// Adds the rows to a table that has none of them.
pub async fn load(tx: &Tx, table: &Table, intake: &mut Intake) -> Result<Counts, Error> {
    // the first batch may say that the file is not in order; nothing was begun then
    let mut next = intake.next().await?;
    let mut rows = Rows::open(tx, table).await?;
    while let Some(batch) = next {
        rows.send(batch.tuples).await?;
        next = intake.next().await?;
    }
    Ok(Counts { create: rows.finish().await?, ..Counts::default() })
}

/// Makes the table equal to the rows: creates, amends and removes what differs.
pub async fn replace(tx: &Tx, table: &Table, intake: &mut Intake, guard: &Guard) -> Result<Counts, Error> {
    let mut next = intake.next().await?;
    let empty = next.is_none();
    let mut current = Current::whole(tx, table).await?;
    let mut delta = Delta::default();
    while let Some(batch) = next {
        for wanted in batch.rows() {
            delta.want(wanted, &mut current, table).await?;
        }
        next = intake.next().await?;
    }
    delta.remove_rest(&mut current, table).await?;
    drop(current);
    guard.check(delta.removes(), delta.rows_met(), empty)?;
    delta.write(tx, table).await
}
