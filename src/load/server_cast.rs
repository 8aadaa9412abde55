//! Cells that only Postgres can read: their texts are sent to it, and their binary forms come back.
//!
//! `json_to_recordset` runs each text through the input function of the column's type with the column's modifier, which
//! is what `COPY` and a literal do too. What is refused is found by halving, so that a reason can name line and column.
//! This happens before the table is locked: afterwards the connection is busy with rows.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_postgres::Row as Answer;
use tokio_postgres::types::{FromSql, Type};

use super::batch::{Batch, RowAction, Wanted};
use super::catalog::{Column, Table};
use super::encode::{ColumnEncoding, ServerCast};
use super::encoder::{CellFault, event_column, event_value};
use super::fold::Fold;
use super::moves::Moves;
use super::rejects::{Reject, Rejects};
use super::row_pipeline::{
    BatchSender, Draft, Message, Plan, RowPipeline, Stopped, Summary, Way, fold_all, send_moves,
};
use super::sort::{Mark, Record, Sorter};
use super::unnest::Bytes;
use super::{Error, Place, tuple};
use crate::decode::File;
use crate::pg::quote;
use crate::pg::{self, Tx};

const JSONB: &str = "jsonb";

/// Turns drafts into batches in key order; all of them are read when this returns.
pub async fn convert(
    tx: &Tx,
    plan: &Plan<'_>,
    drafts: RowPipeline<Draft>,
    order: (File, Way),
) -> Result<RowPipeline, Error> {
    let (sender, intake) = RowPipeline::channel();
    let (whole, rows) = mpsc::channel(1);
    let sorting = Ordering { table: plan.table.clone(), loaded: plan.loaded.to_vec(), file: order.0, way: order.1 };
    tokio::task::spawn_blocking(move || sorting.run(rows, BatchSender::new(sender)));
    let summary = convert_into(tx, plan, drafts, &whole).await?;
    // if the thread is gone, it has sent its error to the pipeline
    let _ = whole.send(Message::End(summary)).await;
    Ok(intake)
}

/// Converts the drafts and sends whole rows on, with their positions in the file.
pub async fn convert_into(
    tx: &Tx,
    plan: &Plan<'_>,
    drafts: RowPipeline<Draft>,
    whole: &mpsc::Sender<Message<Whole>>,
) -> Result<Summary, Error> {
    let table = plan.table.as_ref();
    let event = event_column(table, plan.event_id);
    let asking = Asking { tx, table, columns: asked_columns(table), rejects: plan.rejects, leaves: plan.leaves, event };
    asking.all(drafts, whole).await
}

fn asked_columns(table: &Table) -> Vec<usize> {
    (0..table.columns.len())
        .filter(|column| matches!(table.columns[*column].wire, ColumnEncoding::ServerCast(_)))
        .collect()
}

/// The thread that puts whole rows into order.
struct Ordering {
    table: Arc<Table>,
    loaded: Vec<bool>,
    file: File,
    way: Way,
}

impl Ordering {
    fn run(self, mut rows: mpsc::Receiver<Message<Whole>>, mut outlet: BatchSender<Batch>) {
        let (mut sorter, mut key) = (Sorter::default(), Vec::new());
        let mut moves = Moves::new(self.table.clone(), &self.loaded);
        let mut take = |whole: Whole| -> Result<(), Stopped> {
            for (row, mark) in whole.rows.rows().zip(whole.marks) {
                key.clear();
                self.table.sort_key(row.tuple, &mut key);
                let record = Record { mark, key: &key, tuple: row.tuple };
                match (self.way, mark.wish) {
                    (Way::Chained, _) => moves.take(&record),
                    (_, RowAction::Away) => return Err(Error::Moving.into()),
                    _ => sorter.push(record)?,
                }
            }
            Ok(())
        };
        let mut done = Ok(());
        let summary = loop {
            match rows.blocking_recv() {
                Some(Message::Batch(whole)) => done = done.and_then(|()| take(whole)),
                Some(Message::End(summary)) => break summary,
                // the delivery was given up
                Some(Message::Failed(_)) | None => return,
            }
        };
        let fold = Fold::new(self.file, self.table.is_keyless());
        let done = done.and_then(|()| match self.way {
            Way::Chained => send_moves(moves, &mut outlet),
            _ => fold_all(sorter, fold, &mut outlet),
        });
        let done = done.and_then(|()| outlet.flush(0));
        outlet.end(done, summary);
    }
}

/// Rows whose cells are all binary.
#[derive(Default)]
pub struct Whole {
    pub rows: Batch,
    pub marks: Vec<Mark>,
    /// Index of each row in its draft.
    places: Vec<usize>,
}

impl Whole {
    /// Returns the highest value of the event column among the rows that are not deletes.
    fn max_event_id(&self, event: Option<(usize, &ColumnEncoding)>) -> Option<i64> {
        let (event, wire) = event?;
        let counted = self.rows.rows().filter(|row| matches!(row.wish, RowAction::Put | RowAction::Here));
        counted.filter_map(|row| event_value(wire, tuple::cells(row.tuple).nth(event)?.get()?)).max()
    }

    /// Returns the rows without those that move and whose other half was refused.
    fn without_halves(self, refused: &HashSet<usize>) -> Self {
        let mut rest = Self::default();
        for ((row, mark), place) in self.rows.rows().zip(self.marks).zip(self.places) {
            let half = match mark.wish {
                RowAction::Away => refused.contains(&(place + 1)),
                RowAction::Here => refused.contains(&(place - 1)),
                _ => false,
            };
            if !half {
                rest.rows.push(row);
                rest.marks.push(mark);
                rest.places.push(place);
            }
        }
        rest
    }
}

impl Draft {
    /// Returns one row of nulls, with which a query that is itself refused can be told from a refused value.
    fn of_nulls(table: &Table) -> Self {
        let (mut tuple, mut draft) = (Vec::new(), Self::default());
        tuple::begin(table.columns.len(), &mut tuple);
        table.columns.iter().for_each(|_| tuple::null(&mut tuple));
        draft.rows.push(Wanted { key: &[], tuple: &tuple, wish: RowAction::Put, holes: false });
        draft
    }
}

/// Data of the queries that convert cells.
struct Asking<'a> {
    tx: &'a Tx,
    table: &'a Table,
    columns: Vec<usize>,
    rejects: Option<&'a Rejects>,
    leaves: bool,
    /// The column whose highest value is the delivery's `max_event_id`.
    event: Option<usize>,
}

impl Asking<'_> {
    async fn all(
        &self,
        mut drafts: RowPipeline<Draft>,
        whole: &mpsc::Sender<Message<Whole>>,
    ) -> Result<Summary, Error> {
        let event = self.event.map(|column| (column, &self.table.columns[column].wire));
        let mut max_event_id = None;
        while let Some(draft) = drafts.next().await? {
            let rows = self.draft(&draft).await?;
            max_event_id = max_event_id.max(rows.max_event_id(event));
            if whole.send(Message::Batch(rows)).await.is_err() {
                break;
            }
        }
        Ok(Summary { max_event_id, ..drafts.into_summary() })
    }

    /// Converts all rows of a draft. If Postgres refuses some, the draft is halved again and again until the faulty
    /// row is found.
    async fn draft(&self, draft: &Draft) -> Result<Whole, Error> {
        let (mut whole, mut refused) = (Whole::default(), HashSet::new());
        let mut pieces = vec![(0, draft.rows.len())];
        while let Some((from, to)) = pieces.pop() {
            match self.ask(draft, from, to, &self.columns).await {
                Ok(answers) => self.take(draft, from, &answers, &mut whole)?,
                Err(error) if !is_of_a_cell(&error) => return Err(error.into()),
                Err(error) if to - from == 1 => {
                    // a row that moves is two records, which are refused together
                    let told = draft.marks[from].wish == RowAction::Here && refused.contains(&(from - 1));
                    refused.insert(from);
                    self.bad(draft, from, &error, &mut whole, told).await?;
                }
                Err(_) => {
                    self.tx.back_to_mark().await?;
                    let middle = from + (to - from) / 2;
                    pieces.extend([(middle, to), (from, middle)]);
                }
            }
        }
        Ok(if refused.is_empty() { whole } else { whole.without_halves(&refused) })
    }

    /// Requests the binary forms of some columns of some rows.
    async fn ask(&self, draft: &Draft, from: usize, to: usize, columns: &[usize]) -> Result<Vec<Answer>, pg::Error> {
        if from == to || columns.is_empty() {
            return Ok(Vec::new());
        }
        let texts = Bytes(Some(json_of(draft, from, to, columns)));
        let answers = self.tx.query_typed(&question(self.table, columns), &[(&texts, Type::JSON)]).await;
        answers.map_err(|error| self.tx.error(error))
    }

    fn take(&self, draft: &Draft, from: usize, answers: &[Answer], whole: &mut Whole) -> Result<(), Error> {
        for (place, answer) in answers.iter().enumerate() {
            let row = draft.rows.row(from + place);
            self.splice(row, answer, &mut whole.rows.tuples).map_err(|error| self.tx.error(error))?;
            whole.rows.end_row(row.wish, row.holes);
            whole.marks.push(draft.marks[from + place]);
            whole.places.push(from + place);
        }
        Ok(())
    }

    /// Appends the row with its texts replaced by the answer's values.
    fn splice(&self, row: Wanted<'_>, answer: &Answer, out: &mut Vec<u8>) -> Result<(), tokio_postgres::Error> {
        tuple::begin(self.table.columns.len(), out);
        let mut next = 0;
        for (column, cell) in tuple::cells(row.tuple).enumerate() {
            if self.columns.get(next) != Some(&column) {
                out.extend_from_slice(cell.0);
                continue;
            }
            match (cell.get(), answer.try_get::<_, Option<Raw<'_>>>(next)?) {
                (Some(_), Some(Raw(value))) => tuple::value(value, out),
                _ => out.extend_from_slice(cell.0),
            }
            next += 1;
        }
        Ok(())
    }

    /// Handles one row that Postgres refuses: finds the column, and fails the delivery or quarantines the row, unless
    /// that has been done before (`told`).
    async fn bad(
        &self,
        draft: &Draft,
        place: usize,
        refusal: &pg::Error,
        whole: &mut Whole,
        told: bool,
    ) -> Result<(), Error> {
        self.tx.back_to_mark().await?;
        self.ask(&Draft::of_nulls(self.table), 0, 1, &self.columns).await?;
        let (column, code, blind) = self.blame(draft, place, refusal).await?;
        let column = &self.table.columns[column];
        let ColumnEncoding::ServerCast(ServerCast { type_name, .. }) = &column.wire else { return Ok(()) };
        let fault = CellFault::ServerCast { type_name: type_name.clone(), code };
        let at: Place = draft.marks[place].into();
        let Some(rejects) = self.rejects else {
            return Err(Error::Cell { at, column: column.name.clone(), fault });
        };
        let raw = draft.raw.get(place).map_or(&[][..], Vec::as_slice);
        match draft.marks[place].wish {
            // the row was rejected before; now its key is refused too
            RowAction::Leave => rejects.blind(),
            _ if told => {}
            _ => rejects.add(&Reject { at, column: Some(&column.name), reason: &fault.to_string(), raw, blind })?,
        }
        if !blind && self.leaves {
            self.leave(draft, place, whole).await?;
        }
        Ok(())
    }

    /// Returns the faulty column, the SQLSTATE, and `true` if the row's key cannot be read.
    async fn blame(&self, draft: &Draft, place: usize, refusal: &pg::Error) -> Result<(usize, String, bool), Error> {
        let mut blamed = (self.columns[0], code_of(refusal));
        let mut blind = self.table.is_keyless();
        for column in &self.columns {
            match self.ask(draft, place, place + 1, &[*column]).await {
                Ok(_) => {}
                Err(error) if !is_of_a_cell(&error) => return Err(error.into()),
                Err(error) => {
                    self.tx.back_to_mark().await?;
                    blamed = (*column, code_of(&error));
                    blind |= self.table.key.contains(column);
                }
            }
        }
        Ok((blamed.0, blamed.1, blind))
    }

    /// Adds a row of the key alone, so that a snapshot keeps the table's row with this key.
    async fn leave(&self, draft: &Draft, place: usize, whole: &mut Whole) -> Result<(), Error> {
        let row = draft.rows.row(place);
        let mut key_only = Vec::new();
        tuple::begin(self.table.columns.len(), &mut key_only);
        for (column, cell) in tuple::cells(row.tuple).enumerate() {
            match self.table.key.contains(&column) {
                true => key_only.extend_from_slice(cell.0),
                false => tuple::null(&mut key_only),
            }
        }
        let mut alone = Draft::default();
        alone.rows.push(Wanted { key: &[], tuple: &key_only, wish: RowAction::Leave, holes: false });
        alone.marks.push(Mark { wish: RowAction::Leave, holes: false, ..draft.marks[place] });
        let answers = self.ask(&alone, 0, 1, &self.columns).await?;
        self.take(&alone, 0, &answers, whole)
    }
}

/// Returns a statement like `select inet_send(c1), array_send(c2) from json_to_recordset($1) as v (c1 inet, c2
/// integer[])`. Values are requested as bytes, because the driver would look up an unknown type and wait forever
/// behind this very answer.
fn question(table: &Table, columns: &[usize]) -> String {
    let names = |column: &usize| match &table.columns[*column] {
        // a JSON text is passed as text, because `jsonb` would be read as a JSON string
        Column { wire: ColumnEncoding::ServerCast(asked), send, .. } if asked.type_name == JSONB => {
            format!("{send}(c{column}::jsonb)")
        }
        of => of.sent(&format!("c{column}")),
    };
    let typed = |column: &usize| match &table.columns[*column].wire {
        ColumnEncoding::ServerCast(asked) if asked.type_name == JSONB => format!("c{column} text"),
        ColumnEncoding::ServerCast(asked) => format!("c{column} {}", asked.type_name),
        _ => quote::ident(&table.columns[*column].name),
    };
    let list = |each: &dyn Fn(&usize) -> String| columns.iter().map(each).collect::<Vec<_>>().join(", ");
    format!("select {} from json_to_recordset($1) as v ({})", list(&names), list(&typed))
}

/// Returns a JSON array with one object per row that has the texts of the columns.
fn json_of(draft: &Draft, from: usize, to: usize, columns: &[usize]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 * (to - from));
    for place in from..to {
        out.extend_from_slice(if place == from { b"[{" } else { b",{" });
        let cells: Vec<_> = tuple::cells(draft.rows.row(place).tuple).collect();
        let mut first = true;
        for column in columns {
            let Some(text) = cells[*column].get() else { continue };
            let comma = if std::mem::take(&mut first) { "" } else { "," };
            // writing to memory cannot fail, and the encoder has seen that it is text
            let _ = write!(out, "{comma}\"c{column}\":");
            let _ = serde_json::to_writer(&mut out, &String::from_utf8_lossy(text));
        }
        out.push(b'}');
    }
    out.push(b']');
    out
}

/// Returns `true` if Postgres refuses a value; some input functions call that a syntax error.
fn is_of_a_cell(error: &pg::Error) -> bool {
    !error.is_world() && error.code().is_some()
}

fn code_of(error: &pg::Error) -> String {
    error.code().unwrap_or_default().to_owned()
}

/// A value of any type as its bytes.
pub struct Raw<'a>(pub &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
