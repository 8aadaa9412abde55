//! A change file says what happened to some rows: its last word on each key is compared with the row that the table has.

use std::collections::HashMap;

use super::arrays::Arrays;
use super::batch::{Batch, Wanted};
use super::catalog::Table;
use super::current::Current;
use super::delta::Delta;
use super::intake::Intake;
use super::look::Look;
use super::{Counts, Error, tuple};
use crate::pg::Tx;

/// Applies the folded changes. What is counted is the effect, not the claim. All rows are read before the table is locked by
/// `enter`, and the rows of the first keys are asked for together with the lock.
pub async fn apply<T>(
    tx: &Tx,
    table: &Table,
    intake: &mut Intake,
    enter: impl Future<Output = Result<T, Error>>,
    look: Option<&mut Look>,
) -> Result<Counts, Error> {
    let mut delta = Delta::default();
    let mut keys = Arrays::new(table, table.key.iter().copied());
    let first = intake.next().await;
    let (entered, current) = tokio::join!(enter, first_rows(tx, table, &first, &mut keys));
    // a table that is another one by now explains whatever else went wrong
    entered?;
    let (mut next, mut current) = (first?, current?);
    while let Some(mut batch) = next {
        if !batch.elsewhere.is_empty() {
            batch = fetch(tx, table, batch, &mut keys).await?;
        }
        let current = match current.take() {
            Some(current) => current,
            None => rows_of(tx, table, &batch, &mut keys).await?,
        };
        merge(table, &batch, current, &mut delta).await?;
        next = intake.next().await?;
    }
    delta.write(tx, table, look).await
}

/// The rows that the first keys have, if they can be asked for already.
async fn first_rows<'a>(
    tx: &'a Tx,
    table: &'a Table,
    first: &Result<Option<Batch>, Error>,
    keys: &mut Arrays,
) -> Result<Option<Current<'a>>, Error> {
    match first {
        Ok(Some(batch)) if batch.elsewhere.is_empty() => rows_of(tx, table, batch, keys).await.map(Some),
        _ => Ok(None),
    }
}

async fn rows_of<'a>(tx: &'a Tx, table: &'a Table, batch: &Batch, keys: &mut Arrays) -> Result<Current<'a>, Error> {
    take_keys(table, batch.rows().map(|wanted| wanted.tuple), keys);
    Current::of_keys(tx, table, keys).await
}

/// Compares one batch with the rows that its keys have now.
async fn merge(table: &Table, batch: &Batch, mut current: Current<'_>, delta: &mut Delta) -> Result<(), Error> {
    for wanted in batch.rows() {
        delta.want(wanted, &mut current, table).await?;
    }
    delta.remove_rest(&mut current, table).await
}

/// Fills the holes of rows that moved here from what the table has under their old keys. Nothing was written yet, so it is
/// all still there.
async fn fetch(tx: &Tx, table: &Table, batch: Batch, keys: &mut Arrays) -> Result<Batch, Error> {
    let mut sources: Vec<&[u8]> = batch.elsewhere.iter().map(|(_, from)| from.as_slice()).collect();
    sources.sort_unstable();
    sources.dedup();
    take_keys(table, sources.into_iter(), keys);
    let mut rows: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut current = Current::of_keys(tx, table, keys).await?;
    while let Some((key, row)) = current.row() {
        rows.insert(key.to_vec(), row.to_vec());
        current.advance().await?;
    }
    let mut filled = Batch::like(&batch);
    let mut elsewhere = batch.elsewhere.iter().peekable();
    let mut row = Vec::new();
    for (place, wanted) in batch.rows().enumerate() {
        let Some((_, from)) = elsewhere.next_if(|(moved, _)| *moved == place) else {
            filled.push(wanted);
            continue;
        };
        let mut key = Vec::new();
        table.sort_key(from, &mut key);
        row.clear();
        match rows.get(&key) {
            Some(old) => tuple::fill(wanted.tuple, old, &mut row),
            // it moved long ago: what is under the new key is what it was
            None => row.extend_from_slice(wanted.tuple),
        }
        filled.push(Wanted { tuple: &row, holes: tuple::has_hole(&row), ..wanted });
    }
    Ok(filled)
}

fn take_keys<'a>(table: &Table, tuples: impl Iterator<Item = &'a [u8]>, keys: &mut Arrays) {
    keys.clear();
    let mut key = Vec::new();
    for tuple in tuples {
        key.clear();
        tuple::pick(tuple, &table.key, &mut key);
        keys.push(&key);
    }
}
