//! Writes a delta whose rows collide while they are written: unique values that move between rows, or rows that refer
//! to each other.
//!
//! This module is used after the usual order of statements has failed and was rolled back. The table's constraints
//! decide which other ways are tried, one after the other, until one succeeds. A row whose key survives is deleted
//! only if no reference and no trigger can notice that. Otherwise the row is parked: its values are set to null or to
//! a free value, and to their final values afterwards. No way changes another table, and the counts are those of the
//! usual order.

use super::catalog::Table;
use super::constraints::{Constraints, Extremes, Kind, Parking};
use super::delta::{Delta, copy_spool, send};
use super::referrers::Event;
use super::spool::Spool;
use super::unnest::UnnestParams;
use super::{Counts, Error, sql, tuple};
use crate::pg::Tx;

/// One way to write a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The usual order, with deferrable constraints deferred.
    Deferred,
    /// Rows that are in the way are parked first.
    Parked(Kind),
    /// The same, and rows go before others come, also where rows refer to each other.
    RemovedFirst,
    /// Rows that are in the way are deleted and inserted again.
    Replaced,
}

const SAVE: &str = "savepoint written";
const UNDO: &str = "rollback to savepoint written";
const DEFER: &str = "set constraints all deferred";
/// Statement that checks the deferred constraints now, so that an error fails the delivery and not its commit.
const CHECK: &str = "set constraints all immediate";

/// Marks the point to come back to.
pub(super) async fn begin(tx: &Tx) -> Result<(), Error> {
    run(tx, SAVE).await
}

/// Returns `true` if another order of the same writes may not fail like this.
pub(super) fn may_help(error: &Error, table: &Table) -> bool {
    match code(error) {
        Some("23505" | "23P01" | "23503" | "23001") => !table.is_keyless() || table.refers_to_itself,
        // the foreign key's action on the referring row
        Some(code) => table.refers_to_itself && code.starts_with("23"),
        None => false,
    }
}

/// Returns `true` for an error about a value or a constraint, after which other ways may still succeed.
fn is_of_rows(error: &Error) -> bool {
    code(error).is_some_and(crate::pg::sqlstate::is_of_rows)
}

fn code(error: &Error) -> Option<&str> {
    match error {
        Error::Pg(error) => error.code(),
        _ => None,
    }
}

async fn run(tx: &Tx, statement: &str) -> Result<(), Error> {
    tx.batch_execute(statement).await.map_err(|error| tx.error(error).into())
}

/// Tries one way after the other. If none succeeds, returns the first error that occurred after all parking was done,
/// or else `first`, the error of the usual order.
pub(super) async fn put(delta: &Delta, tx: &Tx, table: &Table, first: Error) -> Result<Counts, Error> {
    run(tx, UNDO).await?;
    let constraints = Constraints::read(tx, table).await?;
    let careful = Careful { delta, tx, table, constraints };
    let amends = careful.count_amends().await?;
    let wanted = careful.extremes().await?;
    let mut told = None;
    for way in careful.ways(&first) {
        let mut arrived = false;
        match careful.put(way, amends, &wanted, &mut arrived).await {
            Err(error) if is_of_rows(&error) => {
                run(tx, UNDO).await?;
                if arrived {
                    told.get_or_insert(error);
                }
            }
            other => return other,
        }
    }
    Err(told.unwrap_or(first))
}

struct Careful<'a> {
    delta: &'a Delta,
    tx: &'a Tx,
    table: &'a Table,
    constraints: Constraints,
}

impl Careful<'_> {
    /// Returns the ways that may succeed, least invasive first. No order of statements helps if a row is missing in
    /// another table.
    fn ways(&self, first: &Error) -> Vec<Way> {
        let Constraints { deferrable, replaceable, acts, .. } = self.constraints;
        let keyed = !self.table.is_keyless();
        let mut ways = Vec::new();
        ways.extend(deferrable.then_some(Way::Deferred));
        if !self.table.refers_to_itself && matches!(code(first), Some("23503" | "23001")) {
            return ways;
        }
        ways.extend([Kind::Null, Kind::Above, Kind::Below].map(Way::Parked).into_iter().filter(|_| keyed));
        ways.extend((self.table.refers_to_itself && !acts).then_some(Way::RemovedFirst));
        ways.extend((replaceable && keyed).then_some(Way::Replaced));
        ways
    }

    /// Says in `arrived` that nothing is in anybody's way any more: what fails from then on is the end itself.
    async fn put(&self, way: Way, amends: u64, wanted: &Extremes, arrived: &mut bool) -> Result<Counts, Error> {
        let (delta, tx, table) = (self.delta, self.tx, self.table);
        run(tx, DEFER).await?;
        let (create, reset) = match way {
            Way::Deferred => {
                let counts = delta.put_in_order(tx, table).await?;
                run(tx, CHECK).await?;
                return Ok(counts);
            }
            Way::Replaced => self.replace(amends, arrived).await?,
            Way::Parked(kind) => {
                let parking = self.constraints.parking(tx, table, kind, wanted).await?;
                self.park(&parking, table.refers_to_itself).await?;
                *arrived = true;
                self.write(!table.refers_to_itself).await?
            }
            Way::RemovedFirst => {
                let parking = self.constraints.parking(tx, table, Kind::Null, wanted).await?;
                self.park(&parking, false).await?;
                self.write(true).await?
            }
        };
        run(tx, CHECK).await?;
        Ok(delta.counts(create, (amends, reset), delta.removes()))
    }

    /// Writes what there is, in one of two orders; the rows created and reset.
    async fn write(&self, removes_first: bool) -> Result<(u64, u64), Error> {
        let (delta, tx, table) = (self.delta, self.tx, self.table);
        if removes_first {
            self.remove().await?;
            let (_, reset) = delta.put_amends(tx, table).await?;
            return Ok((delta.put_creates(tx, table).await?, reset));
        }
        let create = delta.put_creates(tx, table).await?;
        let (_, reset) = delta.put_amends(tx, table).await?;
        self.remove().await?;
        Ok((create, reset))
    }

    /// Removes all rows in one statement, if they are not very many: they may refer to each other.
    async fn remove(&self) -> Result<(), Error> {
        let (delta, tx, table) = (self.delta, self.tx, self.table);
        if !table.refers_to_itself || table.is_keyless() {
            return delta.put_removes(tx, table).await.map(drop);
        }
        delta.check_referrers(tx, table, Event::Remove).await?;
        let mut keys = UnnestParams::new(table, table.key.iter().copied());
        let (mut tuples, mut row, mut removed) = (delta.removes.reader()?, Vec::new(), 0);
        while tuple::read(&mut tuples, &mut row)? {
            keys.push(&row);
            if keys.is_overfull() {
                removed += send(tx, &sql::delete(table, &keys.source()), &mut keys).await?;
            }
        }
        removed += send(tx, &sql::delete(table, &keys.source()), &mut keys).await?;
        delta.check_removed(tx, table, removed).await.map(drop)
    }

    /// Deletes the rows that change, `amends` of them, and inserts them again after those that go and before those that come.
    async fn replace(&self, amends: u64, arrived: &mut bool) -> Result<(u64, u64), Error> {
        let (delta, tx, table) = (self.delta, self.tx, self.table);
        let mut again = Spool::default();
        self.batches(&delta.amends, &(0..table.columns.len()).collect::<Vec<_>>(), async |arrays, rows| {
            let deleted = tx.query_typed(&sql::delete_differing(table, &arrays.source()), &arrays.parameters()).await;
            for row in deleted.map_err(|error| tx.error(error))? {
                let number: i64 = row.get(0);
                let place = usize::try_from(number - 1).unwrap_or(0);
                again.push(rows.get(place).map_or(&[][..], Vec::as_slice))?;
            }
            Ok(())
        })
        .await?;
        self.remove().await?;
        *arrived = delta.resets.is_empty();
        table.check_written("amended", amends, again.count())?;
        // Rows with defaults are updated in place.
        let reset = delta.put_resets(tx, table).await?;
        let all: Vec<usize> = (0..table.columns.len()).collect();
        let inserted = copy_spool(tx, &sql::copy_in(table, &all), &again).await?;
        table.check_written("amended", again.count(), inserted)?;
        Ok((delta.put_creates(tx, table).await?, reset))
    }

    /// Moves all rows out of the way whose values change; with `removes` also those that go.
    async fn park(&self, parking: &Parking, removes: bool) -> Result<(), Error> {
        let (delta, all) = (self.delta, (0..self.table.columns.len()).collect::<Vec<_>>());
        let mut number = 0;
        let Parking { values, watched } = parking;
        if !values.is_empty() && !watched.is_empty() {
            self.park_rows(&delta.amends, &all, parking, &mut number).await?;
            let parking = Parking { values: values.clone(), watched: Vec::new() };
            let mut groups = delta.resets.groups()?;
            while let Some((columns, rows)) = groups.next_group()? {
                self.park_rows(&rows, &columns, &parking, &mut number).await?;
            }
        }
        if removes {
            let mut parking = Parking { values: values.clone(), watched: Vec::new() };
            let loosened = self.constraints.loosened.iter().map(|column| (*column, "null".to_owned()));
            parking.values.extend(loosened);
            if !parking.values.is_empty() {
                self.park_rows(&delta.removes, &self.table.key, &parking, &mut number).await?;
            }
        }
        Ok(())
    }

    async fn park_rows(
        &self,
        rows: &Spool,
        columns: &[usize],
        parking: &Parking,
        number: &mut u64,
    ) -> Result<(), Error> {
        let Parking { values, watched } = parking;
        self.batches(rows, columns, async |arrays, rows| {
            let park = sql::park(self.table, columns, &arrays.source(), (values, watched, *number));
            *number += rows.len() as u64;
            let done = self.tx.execute_typed(&park, &arrays.parameters()).await;
            done.map(drop).map_err(|error| self.tx.error(error).into())
        })
        .await
    }

    /// Returns the number of rows sent as amended that differ from the table's by their types' equality.
    async fn count_amends(&self) -> Result<u64, Error> {
        let (all, mut amends) = ((0..self.table.columns.len()).collect::<Vec<_>>(), 0);
        self.batches(&self.delta.amends, &all, async |arrays, _| {
            let Some(count) = sql::count_differing(self.table, &arrays.source()) else { return Ok(()) };
            let row = self.tx.query_typed_one(&count, &arrays.parameters()).await;
            let count: i64 = row.map_err(|error| self.tx.error(error))?.get(0);
            amends += u64::try_from(count).unwrap_or(0);
            Ok(())
        })
        .await?;
        Ok(amends)
    }

    /// Returns the highest and lowest new values of the columns in which rows may be parked.
    async fn extremes(&self) -> Result<Extremes, Error> {
        let (delta, all) = (self.delta, (0..self.table.columns.len()).collect::<Vec<_>>());
        let (measured, mut extremes) = (self.constraints.measured(self.table), Extremes::default());
        for rows in [&delta.amends, &delta.creates] {
            self.measure(rows, &all, &measured, &mut extremes).await?;
        }
        for parts in [&delta.resets, &delta.partial] {
            let mut groups = parts.groups()?;
            while let Some((columns, rows)) = groups.next_group()? {
                self.measure(&rows, &columns, &measured, &mut extremes).await?;
            }
        }
        Ok(extremes)
    }

    /// Adds the extremes of rows of some columns.
    async fn measure(
        &self,
        rows: &Spool,
        columns: &[usize],
        measured: &[usize],
        extremes: &mut Extremes,
    ) -> Result<(), Error> {
        let there = measured.iter().filter_map(|column| Some((*column, columns.iter().position(|at| at == column)?)));
        let (there, places): (Vec<usize>, Vec<usize>) = there.unzip();
        if there.is_empty() {
            return Ok(());
        }
        self.batches(rows, columns, async |arrays, _| {
            let row = self.tx.query_typed_one(&sql::extremes(&places, &arrays.source()), &arrays.parameters()).await;
            let row = row.map_err(|error| self.tx.error(error))?;
            for (place, column) in there.iter().enumerate() {
                let both = [row.get::<_, Option<String>>(place * 2), row.get(place * 2 + 1)];
                extremes.0.entry(*column).or_default().extend(both.into_iter().flatten());
            }
            Ok(())
        })
        .await
    }

    /// Calls `each` with thousands of rows at a time: as parameters and as tuples.
    async fn batches(
        &self,
        rows: &Spool,
        columns: &[usize],
        mut each: impl AsyncFnMut(&UnnestParams, &[Vec<u8>]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut arrays = UnnestParams::new(self.table, columns.iter().copied());
        let (mut tuples, mut row, mut held) = (rows.reader()?, Vec::new(), Vec::new());
        while tuple::read(&mut tuples, &mut row)? {
            arrays.push(&row);
            held.push(row.clone());
            if arrays.is_full() {
                each(&arrays, &held).await?;
                arrays.clear();
                held.clear();
            }
        }
        if arrays.is_empty() { Ok(()) } else { each(&arrays, &held).await }
    }
}
