//! Applies change files: the last action on each key is compared with the table's row.

use super::arrivals::Arrivals;
use super::batch::Batch;
use super::catalog::Table;
use super::change_report::ChangeReport;
use super::delta::Delta;
use super::row_pipeline::RowPipeline;
use super::table_cursor::TableCursor;
use super::unnest::UnnestParams;
use super::{Counts, Error, tuple};
use crate::pg::Tx;

/// Applies the folded changes and counts their effect, not their claim. The whole file is read before `enter` locks
/// the table, and the rows of the first keys are requested together with the lock.
pub async fn apply<T>(
    tx: &Tx,
    table: &Table,
    intake: &mut RowPipeline,
    enter: impl Future<Output = Result<T, Error>>,
    look: Option<&mut ChangeReport>,
) -> Result<Counts, Error> {
    let mut delta = Delta::default();
    let mut keys = UnnestParams::new(table, table.key.iter().copied());
    let first = intake.next().await;
    let (entered, current) = tokio::join!(enter, first_rows(tx, table, &first, &mut keys));
    // If the table's definition has changed, that explains any other error, so this error comes first.
    entered?;
    let (mut next, mut current) = (first?, current?);
    while let Some(mut batch) = next {
        delta.expect(std::mem::take(&mut batch.arrivals));
        if let Some(current) = current.take() {
            merge(table, &batch, current, &mut delta).await?;
        } else {
            let mut arrivals = Arrivals::of(tx, table, batch).await?;
            while let Some(filled) = arrivals.next()? {
                let current = rows_of(tx, table, &filled, &mut keys).await?;
                merge(table, &filled, current, &mut delta).await?;
            }
        }
        next = intake.next().await?;
    }
    delta.check_arrivals()?;
    delta.write(tx, table, look).await
}

/// Requests the table's rows for the first keys, if the keys are known already.
async fn first_rows<'a>(
    tx: &'a Tx,
    table: &'a Table,
    first: &Result<Option<Batch>, Error>,
    keys: &mut UnnestParams,
) -> Result<Option<TableCursor<'a>>, Error> {
    match first {
        Ok(Some(batch)) if batch.elsewhere.is_empty() => rows_of(tx, table, batch, keys).await.map(Some),
        _ => Ok(None),
    }
}

async fn rows_of<'a>(
    tx: &'a Tx,
    table: &'a Table,
    batch: &Batch,
    keys: &mut UnnestParams,
) -> Result<TableCursor<'a>, Error> {
    take_keys(table, batch.rows().map(|wanted| wanted.tuple), keys);
    TableCursor::of_keys(tx, table, keys).await
}

/// Compares one batch with the rows that its keys have now.
async fn merge(table: &Table, batch: &Batch, mut current: TableCursor<'_>, delta: &mut Delta) -> Result<(), Error> {
    for wanted in batch.rows() {
        delta.want(wanted, &mut current, table).await?;
    }
    delta.remove_rest(&mut current, table).await
}

fn take_keys<'a>(table: &Table, tuples: impl Iterator<Item = &'a [u8]>, keys: &mut UnnestParams) {
    keys.clear();
    let mut key = Vec::new();
    for tuple in tuples {
        key.clear();
        tuple::pick(tuple, &table.key, &mut key);
        keys.push(&key);
    }
}
