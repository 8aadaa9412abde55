//! The difference between what a delivery wants and what the table holds: what to create, to amend and to remove.
//!
//! Both sides come in key order and are merged row by row; only what differs is kept, and nothing is written until all of
//! it is known. Postgres has the last word on "differs": a row sent as amended that is equal by its types' equality
//! (`1.0` and `1.00`) is not written and counts as unchanged.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::Read;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::Row;

use super::batch::{RowAction, Wanted};
use super::catalog::Table;
use super::change_report::ChangeReport;
use super::collisions::{Arrival, There};
use super::parts::Parts;
use super::referrers::{self, Event};
use super::spool::Spool;
use super::table_cursor::TableCursor;
use super::unnest::{UnnestParams, each};
use super::{Counts, Error, careful, sql, tuple};
use crate::failpoint;
use crate::pg::Tx;

/// Rows to be written to a table, in spools.
#[derive(Default)]
pub struct Delta {
    pub(super) creates: Spool,
    /// Rows to create whose holes are the columns' defaults.
    pub(super) partial: Parts,
    /// Rows to reset: the columns that they do not have get their defaults.
    pub(super) resets: Parts,
    pub(super) amends: Spool,
    pub(super) removes: Spool,
    unchanged: u64,
    /// Number of the table's rows that are kept because the file's row with the same key was rejected.
    left: u64,
    arrivals: Vec<Arrival>,
    /// what the table has under the keys of `arrivals`
    there: BTreeMap<Vec<u8>, There>,
    /// Reused.
    scratch: Vec<u8>,
}

impl Delta {
    pub fn removes(&self) -> u64 {
        self.removes.count()
    }

    /// Returns the number of the table's rows that were compared.
    pub fn rows_met(&self) -> u64 {
        self.removes.count() + self.amends.count() + self.resets.count() + self.unchanged + self.left
    }

    /// Looks out for the rows onto which others are moved.
    pub fn expect(&mut self, arrivals: Vec<Arrival>) {
        self.there.extend(arrivals.iter().flat_map(Arrival::keys).map(|key| (key.clone(), There::Nothing)));
        self.arrivals.extend(arrivals);
    }

    /// Fails if a row was moved onto another one.
    pub fn check_arrivals(&self) -> Result<(), Error> {
        let there = |key: &[u8]| self.there.get(key).copied().unwrap_or(There::Nothing);
        match self.arrivals.iter().find(|arrival| arrival.displaces(there)) {
            Some(arrival) => Err(arrival.refused()),
            None => Ok(()),
        }
    }

    /// Takes one wanted row. Rows of the table that come before it are not wanted any more.
    pub async fn want(
        &mut self,
        wanted: Wanted<'_>,
        current: &mut TableCursor<'_>,
        table: &Table,
    ) -> Result<(), Error> {
        while let Some((key, row)) = current.row() {
            match key.cmp(wanted.key) {
                Ordering::Greater => break,
                Ordering::Less => self.remove(row, current.address(), table)?,
                Ordering::Equal => {
                    let unchanged = self.unchanged;
                    self.meet(wanted, row, current.address(), table)?;
                    if let Some(there) = self.there.get_mut(key) {
                        *there = if self.unchanged > unchanged { There::Same } else { There::Other };
                    }
                    return current.advance().await;
                }
            }
            current.advance().await?;
        }
        self.miss(wanted)
    }

    /// Takes one wanted row that the table does not have.
    pub fn miss(&mut self, wanted: Wanted<'_>) -> Result<(), Error> {
        match wanted.wish {
            RowAction::Gone | RowAction::Leave | RowAction::Away => Ok(()),
            RowAction::Put | RowAction::Fresh | RowAction::Here => self.create(wanted),
        }
    }

    /// Removes the table's rows behind the last key of the batch stream.
    pub async fn remove_rest(&mut self, current: &mut TableCursor<'_>, table: &Table) -> Result<(), Error> {
        while let Some((_, row)) = current.row() {
            self.remove(row, current.address(), table)?;
            current.advance().await?;
        }
        Ok(())
    }

    fn meet(&mut self, wanted: Wanted<'_>, row: &[u8], address: &[u8], table: &Table) -> Result<(), Error> {
        match wanted.wish {
            RowAction::Leave => self.left += 1,
            RowAction::Gone | RowAction::Away => self.remove(row, address, table)?,
            RowAction::Fresh if wanted.holes => self.resets.push(wanted.tuple)?,
            // rows without a key are matched only if they are equal
            _ if table.is_keyless() => self.unchanged += 1,
            RowAction::Put | RowAction::Here if wanted.holes => {
                self.scratch.clear();
                tuple::fill(wanted.tuple, row, &mut self.scratch);
                match self.scratch == row {
                    true => self.unchanged += 1,
                    false => self.amends.push(&self.scratch)?,
                }
            }
            _ if wanted.tuple == row || table.key.len() == table.columns.len() => self.unchanged += 1,
            RowAction::Put | RowAction::Fresh | RowAction::Here => self.amends.push(wanted.tuple)?,
        }
        Ok(())
    }

    fn create(&mut self, wanted: Wanted<'_>) -> Result<(), Error> {
        if !wanted.holes {
            return Ok(self.creates.push(wanted.tuple)?);
        }
        Ok(self.partial.push(wanted.tuple)?)
    }

    fn remove(&mut self, row: &[u8], address: &[u8], table: &Table) -> Result<(), Error> {
        if table.is_keyless() {
            return Ok(self.removes.push(address)?);
        }
        self.scratch.clear();
        tuple::pick(row, &table.key, &mut self.scratch);
        Ok(self.removes.push(&self.scratch)?)
    }

    /// Writes the delta, and adds it to `look` if a change report was requested.
    pub async fn write(mut self, tx: &Tx, table: &Table, look: Option<&mut ChangeReport>) -> Result<Counts, Error> {
        self.partial.settle()?;
        self.resets.settle()?;
        let Some(look) = look else { return self.put(tx, table).await };
        look.before(tx, table, &self).await?;
        let counts = self.put(tx, table).await?;
        look.after(tx, table).await?;
        Ok(counts)
    }

    /// Writes the delta in the usual order of statements, or in a more careful way if rows collide. Fails if the
    /// number of written rows differs from the plan, that is if a trigger kept rows from being written.
    async fn put(self, tx: &Tx, table: &Table) -> Result<Counts, Error> {
        let counts = self.put_somehow(tx, table).await?;
        let creates = self.creates.count() + self.partial.count();
        table.check_written("created", creates, counts.create)?;
        Ok(counts)
    }

    async fn put_somehow(&self, tx: &Tx, table: &Table) -> Result<Counts, Error> {
        if !table.refers_to_itself && !table.constrained {
            return self.put_in_order(tx, table).await;
        }
        let (saved, done) = tokio::join!(careful::begin(tx), self.put_in_order(tx, table));
        saved?;
        match done {
            Err(error) if careful::may_help(&error, table) => careful::put(self, tx, table, error).await,
            done => done,
        }
    }

    /// Removes first, so that what they free (a unique value) can be taken by the rest. Where rows of the table
    /// refer to each other, creates come first, for amended rows may refer to them, and removes last: by then nothing refers
    /// to them any more.
    pub(super) async fn put_in_order(&self, tx: &Tx, table: &Table) -> Result<Counts, Error> {
        // futures do nothing until they are awaited
        let (create, amend, remove) =
            (self.put_creates(tx, table), self.put_amends(tx, table), self.put_removes(tx, table));
        let (create, (amend, reset), remove) = if table.refers_to_itself {
            (create.await?, amend.await?, remove.await?)
        } else {
            let (remove, amend) = (remove.await?, amend.await?);
            (create.await?, amend, remove)
        };
        Ok(self.counts(create, (amend, reset), remove))
    }

    /// Returns the counts. Rows that were sent as amended and turned out to be equal count as unchanged.
    pub(super) fn counts(&self, create: u64, (amend, reset): (u64, u64), remove: u64) -> Counts {
        let unchanged = self.unchanged + self.amends.count() - amend;
        Counts { create, amend: amend + reset, remove, unchanged, rejected: 0 }
    }

    /// Removes all rows that are to be removed; their number.
    pub(super) async fn put_removes(&self, tx: &Tx, table: &Table) -> Result<u64, Error> {
        self.check_referrers(tx, table, Event::Remove).await?;
        let removed = run(tx, |source| sql::delete(table, source), &self.removes, self.addresses(table)).await?;
        self.check_removed(tx, table, removed).await
    }

    /// Fails if a foreign key would change or remove rows of which no file says anything.
    pub(super) async fn check_referrers(&self, tx: &Tx, table: &Table, event: Event) -> Result<(), Error> {
        let (removes, amends) = ((&self.removes, Event::Remove), (&self.amends, Event::Amend));
        match event {
            Event::Remove => referrers::check(tx, table, &[removes]).await,
            Event::Amend => referrers::check(tx, table, &[removes, amends]).await,
        }
    }

    /// Returns the number of removed rows, all that were to be removed. Where rows refer to each other, those that are removed first
    /// may take others with them: there only rows that are left are missing.
    pub(super) async fn check_removed(&self, tx: &Tx, table: &Table, removed: u64) -> Result<u64, Error> {
        let planned = self.removes.count();
        let mut lost = planned.saturating_sub(removed);
        if lost > 0 && table.refers_to_itself && !table.is_shared() {
            lost = 0;
            each(&self.removes, self.addresses(table), async |arrays| {
                let row = tx.query_typed_one(&sql::count_there(table, &arrays.source()), &arrays.parameters()).await;
                lost += number(&row.map_err(|error| tx.error(error))?, 0);
                Ok(())
            })
            .await?;
        }
        table.check_written("removed", planned, planned - lost)?;
        Ok(planned)
    }

    /// UnnestParams for what names a row of the table: its key, or where there is none its address.
    fn addresses(&self, table: &Table) -> UnnestParams {
        match table.is_keyless() {
            true => UnnestParams::of_addresses(),
            false => UnnestParams::new(table, table.key.iter().copied()),
        }
    }

    /// Writes whole rows, and rows whose holes are reset. Where rows may be kept from being written, each statement's rows are
    /// counted together with it: those that differ by their types' equality, and those that are not there any more.
    pub(super) async fn put_amends(&self, tx: &Tx, table: &Table) -> Result<(u64, u64), Error> {
        self.check_referrers(tx, table, Event::Amend).await?;
        let (mut planned, mut amended) = (0, 0);
        each(&self.amends, UnnestParams::new(table, 0..table.columns.len()), async |arrays| {
            let source = arrays.source();
            let count = sql::count_differing(table, &source).filter(|_| table.is_watched());
            let count = async {
                let Some(count) = count else { return Ok(None) };
                let row = tx.query_typed_one(&count, &arrays.parameters()).await?;
                Ok::<_, tokio_postgres::Error>(Some((number(&row, 0), number(&row, 1))))
            };
            let (update, parameters) = (sql::update(table, &source), arrays.parameters());
            let (counts, written) = tokio::join!(count, tx.execute_typed(&update, &parameters));
            let (counts, written) =
                counts.and_then(|counts| Ok((counts, written?))).map_err(|error| tx.error(error))?;
            planned += counts.map_or(written, |(differing, there)| differing + arrays.rows().saturating_sub(there));
            amended += written;
            failpoint::reach("mid_copy");
            Ok(())
        })
        .await?;
        table.check_written("amended", planned, amended)?;
        Ok((amended, self.put_resets(tx, table).await?))
    }

    pub(super) async fn put_resets(&self, tx: &Tx, table: &Table) -> Result<u64, Error> {
        let (mut reset, mut groups) = (0, self.resets.groups()?);
        while let Some((columns, rows)) = groups.next_group()? {
            let arrays = UnnestParams::new(table, columns.iter().copied());
            reset += run(tx, |source| sql::reset(table, &columns, source), &rows, arrays).await?;
        }
        table.check_written("amended", self.resets.count(), reset)?;
        Ok(reset)
    }

    pub(super) async fn put_creates(&self, tx: &Tx, table: &Table) -> Result<u64, Error> {
        let all: Vec<usize> = (0..table.columns.len()).collect();
        let mut created = copy_spool(tx, &sql::copy_in(table, &all), &self.creates).await?;
        let mut groups = self.partial.groups()?;
        while let Some((columns, rows)) = groups.next_group()? {
            created += copy_spool(tx, &sql::copy_in(table, &columns), &rows).await?;
        }
        Ok(created)
    }
}

/// Runs a statement for all tuples of a spool, thousands at a time; the rows it affected.
async fn run(tx: &Tx, statement: impl Fn(&str) -> String, spool: &Spool, arrays: UnnestParams) -> Result<u64, Error> {
    let mut affected = 0;
    each(spool, arrays, async |arrays| {
        let done = tx.execute_typed(&statement(&arrays.source()), &arrays.parameters()).await;
        affected += done.map_err(|error| tx.error(error))?;
        failpoint::reach("mid_copy");
        Ok(())
    })
    .await?;
    Ok(affected)
}

/// Returns a count from a row of an answer.
fn number(row: &Row, place: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(place)).unwrap_or(0)
}

pub(super) async fn send(tx: &Tx, statement: &str, arrays: &mut UnnestParams) -> Result<u64, Error> {
    if arrays.is_empty() {
        return Ok(0);
    }
    let affected = tx.execute_typed(statement, &arrays.parameters()).await.map_err(|error| tx.error(error))?;
    arrays.clear();
    failpoint::reach("mid_copy");
    Ok(affected)
}

/// Runs a binary `COPY … from stdin` with a spool's tuples; the rows that arrived.
pub async fn copy_spool(tx: &Tx, statement: &str, spool: &Spool) -> Result<u64, Error> {
    if spool.count() == 0 {
        return Ok(0);
    }
    let mut rows = Rows::open(tx, statement).await?;
    let mut reader = spool.reader()?;
    loop {
        let mut piece = vec![0; 64 << 10];
        match reader.read(&mut piece)? {
            0 => return rows.finish().await,
            count => piece.truncate(count),
        }
        rows.send(piece).await?;
    }
}

/// A binary `COPY` into a table.
pub struct Rows<'a> {
    tx: &'a Tx,
    sink: std::pin::Pin<Box<tokio_postgres::CopyInSink<Bytes>>>,
}

impl<'a> Rows<'a> {
    pub async fn open(tx: &'a Tx, statement: &str) -> Result<Self, Error> {
        let sink = tx.copy_in(statement).await.map_err(|error| tx.error(error))?;
        let mut rows = Self { tx, sink: Box::pin(sink) };
        rows.send(tuple::HEADER.to_vec()).await?;
        Ok(rows)
    }

    pub async fn send(&mut self, tuples: Vec<u8>) -> Result<(), Error> {
        self.sink.send(tuples.into()).await.map_err(|error| self.tx.error(error))?;
        failpoint::reach("mid_copy");
        Ok(())
    }

    pub async fn finish(mut self) -> Result<u64, Error> {
        self.send(tuple::TRAILER.to_vec()).await?;
        self.sink.as_mut().finish().await.map_err(|error| self.tx.error(error).into())
    }
}
