//! Foreign keys that do something to the rows that refer to a table's rows: `on delete cascade`, `on update set null` and the
//! like. What they would do is in no file and would not be counted, so a delivery does not let them do it: it fails as it does
//! where the foreign key has no action, and waits for the rows that refer or names the constraint.

use std::io;

use futures_util::StreamExt;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::batch::RowAction;
use super::catalog::Table;
use super::sort::{Mark, Record, Sorted, Sorter};
use super::spool::Spool;
use super::unnest::{self, UnnestParams};
use super::{Error, sql};
use crate::pg::{Parameter, Tx, quote};

/// What a foreign key would act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Remove,
    Amend,
}

/// A foreign key with an action.
pub(super) struct Referrer {
    schema: String,
    table: String,
    constraint: String,
    /// `true` if the rows that refer are of the table itself.
    own: bool,
    /// Pairs of a column that refers and the column to which it refers.
    pub pairs: Vec<(String, String)>,
}

impl Referrer {
    /// Returns the table whose rows refer, quoted.
    pub fn quoted(&self) -> String {
        quote::qualified(&self.schema, &self.table)
    }

    /// Reads those that an event would set off.
    async fn all(tx: &Tx, table: &Table, event: Event) -> Result<Vec<Self>, Error> {
        let removes = event == Event::Remove;
        let parameters: [Parameter<'_>; 2] = [(&table.oid, Type::OID), (&removes, Type::BOOL)];
        let rows = tx.query_typed(include_str!("referrers.sql"), &parameters).await.map_err(|error| tx.error(error))?;
        Ok(rows.iter().map(Self::read).collect())
    }

    fn read(row: &Row) -> Self {
        let (columns, referred): (Vec<String>, Vec<String>) = (row.get("columns"), row.get("referred"));
        Self {
            schema: row.get("schema"),
            table: row.get("name"),
            constraint: row.get("constraint"),
            own: row.get("own"),
            pairs: columns.into_iter().zip(referred).collect(),
        }
    }

    /// Has Postgres raise the error that it raises where the foreign key has no action.
    async fn refuse(&self, tx: &Tx, table: &Table, key: &str) -> Error {
        let Self { schema, table: referring, constraint, pairs, .. } = self;
        let referred = pairs.iter().map(|(_, column)| column.as_str()).collect::<Vec<_>>().join(", ");
        let message = format!(
            "update or delete on table \"{}\" violates foreign key constraint \"{constraint}\" on table \"{referring}\"",
            table.name
        );
        let detail = format!("Key ({referred})=({key}) is still referenced from table \"{referring}\".");
        let [message, detail, schema, referring, constraint] =
            [&message, &detail, schema, referring, constraint].map(|text| quote::literal(text));
        let raise = format!(
            "begin raise exception using errcode = '23503', message = {message}, detail = {detail}, schema = {schema}, \
             table = {referring}, constraint = {constraint}; end"
        );
        match tx.batch_execute(&format!("do {}", quote::literal(&raise))).await {
            Err(error) => tx.error(error).into(),
            Ok(()) => Error::Garbled,
        }
    }
}

/// Fails if rows refer to the given rows that are about to be removed, or to values that are about to change, and a foreign key
/// would remove or change them. The last of `spoken` are the given rows; the rows of the table itself that are in any of them may
/// refer to the given ones, for the file says what becomes of them.
pub(super) async fn check(tx: &Tx, table: &Table, spoken: &[(&Spool, Event)]) -> Result<(), Error> {
    let Some(&(rows, event)) = spoken.last() else { return Ok(()) };
    if !table.referred_with_action || rows.count() == 0 {
        return Ok(());
    }
    for referrer in Referrer::all(tx, table, event).await? {
        // a key never changes: its row is removed, and another one created
        let Some(which) = sql::referred(table, &referrer, event) else { continue };
        let found = match referrer.own {
            true => own(tx, table, &which, spoken).await?,
            false => other(tx, table, &which, (rows, event)).await?,
        };
        if let Some(key) = found {
            return Err(referrer.refuse(tx, table, &key).await);
        }
    }
    Ok(())
}

/// Returns what the first row of another table refers to.
async fn other(tx: &Tx, table: &Table, which: &sql::Referred, rows: (&Spool, Event)) -> Result<Option<String>, Error> {
    let mut found = None;
    each(table, rows, async |arrays| {
        if found.is_none() {
            let row = tx.query_typed_opt(&which.first(&arrays.source()), &arrays.parameters()).await;
            found = row.map_err(|error| tx.error(error))?.map(|row| row.get(0));
        }
        Ok(())
    })
    .await?;
    Ok(found)
}

/// Returns what the first row of the table itself refers to of which the file does not speak.
async fn own(
    tx: &Tx,
    table: &Table,
    which: &sql::Referred,
    spoken: &[(&Spool, Event)],
) -> Result<Option<String>, Error> {
    let (mut referring, mut any) = (Sorter::default(), false);
    let Some(rows) = spoken.last().copied() else { return Ok(None) };
    each(table, rows, async |arrays| {
        let found = tx.query_typed_raw(&which.own(&arrays.source()), arrays.parameters()).await;
        let mut found = Box::pin(found.map_err(|error| tx.error(error))?);
        while let Some(row) = found.next().await {
            let row = row.map_err(|error| tx.error(error))?;
            push(&mut referring, row.get(0), row.get(1))?;
            any = true;
        }
        Ok(())
    })
    .await?;
    if !any {
        return Ok(None);
    }
    let mut named = Sorter::default();
    for (rows, event) in spoken.iter().copied() {
        each(table, (rows, event), async |arrays| {
            let texts = sql::key_texts_of(table, &arrays.source(), event);
            let texts = tx.query_typed(&texts, &arrays.parameters()).await;
            texts.map_err(|error| tx.error(error))?.iter().try_for_each(|row| push(&mut named, row.get(0), ""))?;
            Ok(())
        })
        .await?;
    }
    Ok(first_unnamed(referring.sorted()?, named.sorted()?)?)
}

fn push(sorter: &mut Sorter, key: &str, refers_to: &str) -> io::Result<()> {
    let mark = Mark { part: 0, line: 0, wish: RowAction::Leave, holes: false };
    sorter.push(Record { mark, key: key.as_bytes(), tuple: refers_to.as_bytes() })
}

/// Returns what the first of some rows refers to that is not among others.
fn first_unnamed(mut referring: Sorted, mut named: Sorted) -> io::Result<Option<String>> {
    let mut at: Option<Vec<u8>> = None;
    while let Some(record) = referring.next_record()? {
        while at.as_deref().is_none_or(|at| at < record.key) {
            let Some(next) = named.next_record()? else { break };
            at = Some(next.key.to_vec());
        }
        if at.as_deref() != Some(record.key) {
            return Ok(Some(String::from_utf8_lossy(record.tuple).into_owned()));
        }
    }
    Ok(None)
}

/// Calls `act` with the rows, thousands at a time: with the keys of those that are removed, and with all of those that change.
async fn each(
    table: &Table,
    (rows, event): (&Spool, Event),
    act: impl AsyncFnMut(&UnnestParams) -> Result<(), Error>,
) -> Result<(), Error> {
    let arrays = match event {
        Event::Remove if table.is_keyless() => UnnestParams::of_addresses(),
        Event::Remove => UnnestParams::new(table, table.key.iter().copied()),
        Event::Amend => UnnestParams::new(table, 0..table.columns.len()),
    };
    unnest::each(rows, arrays, act).await
}
