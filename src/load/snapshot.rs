//! Loads a snapshot: straight into an empty table, or merged with the table's rows.

use super::batch::Batch;
use super::catalog::Table;
use super::change_report::ChangeReport;
use super::delta::{Delta, Rows};
use super::guard::Guard;
use super::rejects::Rejects;
use super::row_pipeline::RowPipeline;
use super::table_cursor::TableCursor;
use super::{Counts, Error, sql};
use crate::pg::Tx;

/// Adds the rows to a table that has none of them.
pub async fn load(
    tx: &Tx,
    table: &Table,
    intake: &mut RowPipeline,
    mut look: Option<&mut ChangeReport>,
) -> Result<Counts, Error> {
    // the first batch may fail because the file is not in key order; nothing has been written by then
    let mut next = intake.next().await?;
    // a file lacks the same columns in all its rows, except in rejected ones
    while next.as_ref().is_some_and(Batch::puts_nothing) {
        next = intake.next().await?;
    }
    if next.as_ref().is_some_and(|batch| batch.holes) {
        return load_parts(tx, table, intake, next, look).await;
    }
    let all: Vec<usize> = (0..table.columns.len()).collect();
    let (mut rows, mut sent) = (Rows::open(tx, &sql::copy_in(table, &all)).await?, 0);
    while let Some(batch) = next {
        sent += batch.puts();
        look.iter_mut().for_each(|look| look.load(&batch, table));
        rows.send(batch.into_tuples()).await?;
        next = intake.next().await?;
    }
    let create = rows.finish().await?;
    table.check_written("created", sent, create)?;
    Ok(Counts { create, ..Counts::default() })
}

/// Loads rows that lack some columns, which get their defaults.
async fn load_parts(
    tx: &Tx,
    table: &Table,
    intake: &mut RowPipeline,
    first: Option<Batch>,
    look: Option<&mut ChangeReport>,
) -> Result<Counts, Error> {
    let (mut delta, mut next) = (Delta::default(), first);
    while let Some(batch) = next {
        batch.rows().try_for_each(|wanted| delta.miss(wanted))?;
        next = intake.next().await?;
    }
    delta.write(tx, table, look).await
}

/// Returns the first batch and a cursor of the table. If rows are sorted here, the server prepares the cursor
/// meanwhile. Otherwise the rows may turn out to be out of order, and the table would be read in vain, so the cursor
/// is opened afterwards.
async fn first<'a>(
    tx: &'a Tx,
    table: &'a Table,
    intake: &mut RowPipeline,
) -> Result<(Option<Batch>, TableCursor<'a>), Error> {
    if intake.sorts {
        let (next, current) = tokio::join!(intake.next(), TableCursor::whole(tx, table));
        return Ok((next?, current?));
    }
    let next = intake.next().await?;
    Ok((next, TableCursor::whole(tx, table).await?))
}

/// Makes the table equal to the rows: creates, amends and removes what differs. Returns also the number of rows that the
/// table had before.
pub async fn replace(
    tx: &Tx,
    table: &Table,
    intake: &mut RowPipeline,
    guard: &Guard,
    rejects: Option<&Rejects>,
    look: Option<&mut ChangeReport>,
) -> Result<(Counts, u64), Error> {
    let (mut next, mut current) = first(tx, table, intake).await?;
    let mut delta = Delta::default();
    while let Some(batch) = next {
        for wanted in batch.rows() {
            delta.want(wanted, &mut current, table).await?;
        }
        next = intake.next().await?;
    }
    delta.remove_rest(&mut current, table).await?;
    drop(current);
    let empty = intake.rows_read() == 0;
    let blind = rejects.map(|rejects| rejects.check(intake.rows_read())).transpose()?.flatten();
    let before = delta.rows_met();
    guard.check(delta.removes(), before, empty, blind.as_deref())?;
    Ok((delta.write(tx, table, look).await?, before))
}
