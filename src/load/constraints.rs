//! Reads the constraints of a table beyond its key from the catalog, and finds values with which rows can be parked,
//! that is values that no other row has or will get. Used only if rows collide while they are written.

use std::collections::BTreeMap;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::catalog::{Column, Table};
use super::encode::ColumnEncoding;
use super::{Error, sql};
use crate::pg::{Tx, quote};

/// Constraints of a table beyond its key.
pub(super) struct Constraints {
    indexes: Vec<Index>,
    /// `true` if some constraint can be deferred.
    pub deferrable: bool,
    /// A row of the table can be deleted and inserted again without any reference or trigger noticing.
    pub replaceable: bool,
    /// Deleting a row of the table changes other rows of it.
    pub acts: bool,
    /// Columns that refer to the table itself and can be null.
    pub loosened: Vec<usize>,
}

/// An index in which no two rows may be alike.
struct Index {
    columns: Vec<Candidate>,
    nulls_alike: bool,
}

/// A column of an index.
struct Candidate {
    column: usize,
    /// The column refers to a table, so only null is free.
    refers: bool,
    /// `true` if a foreign key refers to the column, so that it must not be changed.
    referred_to: bool,
}

/// Kind of value with which rows are parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Null where the column can be null.
    Null,
    /// A value above all others.
    Above,
    /// A value below all others.
    Below,
}

/// Values to write into the rows that are to be parked.
pub(super) struct Parking {
    /// SQL for the value of a column; `v.n` is the row's number
    pub values: BTreeMap<usize, String>,
    /// The columns whose change means that a row has to move out of the way.
    pub watched: Vec<usize>,
}

impl Constraints {
    pub async fn read(tx: &Tx, table: &Table) -> Result<Self, Error> {
        let of_table = [(&table.oid as _, Type::OID)];
        let columns = tx.query_typed(include_str!("constraints.sql"), &of_table);
        let more = tx.query_typed_one(include_str!("constraints_table.sql"), &of_table);
        let (columns, more) = tokio::join!(columns, more);
        let (columns, more) = (columns.map_err(|error| tx.error(error))?, more.map_err(|error| tx.error(error))?);
        let mut indexes: BTreeMap<u32, Index> = BTreeMap::new();
        for row in &columns {
            let index = indexes.entry(row.get("index_oid"));
            let index = index.or_insert_with(|| Index { columns: Vec::new(), nulls_alike: row.get("nulls_alike") });
            index.columns.extend(Candidate::read(row, table));
        }
        let loosened: Vec<String> = more.get("loosened");
        Ok(Self {
            indexes: indexes.into_values().collect(),
            deferrable: more.get("deferrable"),
            replaceable: !more.get::<_, bool>("referred_to") && !more.get::<_, bool>("triggers"),
            acts: more.get("acts"),
            loosened: loosened.iter().filter_map(|name| free_column(table, name)).collect(),
        })
    }

    /// Returns the values with which rows can be parked. They are empty if no index beside the key has a column that
    /// can be used.
    pub async fn parking(&self, tx: &Tx, table: &Table, kind: Kind, wanted: &Extremes) -> Result<Parking, Error> {
        let mut parking = Parking { values: BTreeMap::new(), watched: Vec::new() };
        for index in &self.indexes {
            parking.watched.extend(index.columns.iter().map(|candidate| candidate.column));
            let free = |candidate: &&Candidate| !candidate.referred_to;
            let can_be_null = |candidate: &&Candidate| !table.columns[candidate.column].not_null;
            let null = index.columns.iter().filter(free).find(can_be_null);
            if let (Kind::Null, false, Some(candidate)) = (kind, index.nulls_alike, null) {
                parking.values.entry(candidate.column).or_insert_with(|| "null".to_owned());
                continue;
            }
            let (mut others, below) = (index.columns.iter().filter(free), kind == Kind::Below);
            let other =
                others.find(|candidate| !candidate.refers && Form::of(&table.columns[candidate.column]).is_some());
            if let Some(Candidate { column, .. }) = other
                && !parking.values.contains_key(column)
            {
                let value = free_value(tx, table, *column, below, wanted).await?;
                parking.values.insert(*column, value);
            }
        }
        parking.watched.sort_unstable();
        parking.watched.dedup();
        Ok(parking)
    }

    /// Returns the columns whose highest and lowest new values must be known before a free value can be found.
    pub fn measured(&self, table: &Table) -> Vec<usize> {
        let columns = self.indexes.iter().flat_map(|index| &index.columns).map(|candidate| candidate.column);
        let mut columns: Vec<usize> =
            columns.filter(|column| Form::of(&table.columns[*column]).is_some_and(Form::is_measured)).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }
}

impl Candidate {
    fn read(row: &Row, table: &Table) -> Option<Self> {
        let column = free_column(table, row.get("name"))?;
        Some(Self { column, refers: row.get("refers"), referred_to: row.get("referred_to") })
    }
}

/// Returns the index of a column that is not part of the table's key.
fn free_column(table: &Table, name: &str) -> Option<usize> {
    table.column_named(name).filter(|column| !table.key.contains(column))
}

/// The highest and the lowest wanted value of some columns, as literals.
#[derive(Default)]
pub(super) struct Extremes(pub BTreeMap<usize, Vec<String>>);

/// Kind of type, which decides how a free value is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Number,
    Day,
    Moment,
    Text,
    Uuid,
    /// An empty range overlaps nothing.
    Range,
}

impl Form {
    fn of(column: &Column) -> Option<Self> {
        Some(match column.base {
            Type::INT2 | Type::INT4 | Type::INT8 | Type::NUMERIC => Self::Number,
            Type::DATE => Self::Day,
            Type::TIMESTAMP | Type::TIMESTAMPTZ => Self::Moment,
            Type::UUID => Self::Uuid,
            Type::INT4_RANGE
            | Type::INT8_RANGE
            | Type::NUM_RANGE
            | Type::TS_RANGE
            | Type::TSTZ_RANGE
            | Type::DATE_RANGE => Self::Range,
            _ if column.wire.is_text() => Self::Text,
            _ => return None,
        })
    }

    fn is_measured(self) -> bool {
        matches!(self, Self::Number | Self::Day | Self::Moment)
    }
}

/// Returns SQL for a value of a column that no row of the table has or will get; it differs for each number `v.n`.
async fn free_value(tx: &Tx, table: &Table, column: usize, below: bool, wanted: &Extremes) -> Result<String, Error> {
    let Some(form) = Form::of(&table.columns[column]) else { return Ok("null".to_owned()) };
    let sign = if below { '-' } else { '+' };
    let step = match form {
        Form::Number | Form::Day => "v.n::int",
        Form::Moment => "v.n * interval '1 day'",
        Form::Text => return Ok(text(&table.columns[column], below)),
        Form::Uuid => return Ok("gen_random_uuid()".to_owned()),
        Form::Range => return Ok("'empty'".to_owned()),
    };
    let none = Vec::new();
    let literals = wanted.0.get(&column).unwrap_or(&none);
    let row = tx.query_typed_one(&sql::extreme(table, column, below, literals), &[]).await;
    let extreme: Option<String> = row.map_err(|error| tx.error(error))?.get(0);
    let type_name = table.columns[column].base.name();
    let base = extreme.unwrap_or_else(|| if form == Form::Number { "0" } else { "2000-01-01" }.to_owned());
    Ok(format!("({}::pg_catalog.{type_name} {sign} {step})", quote::literal(&base)))
}

/// Returns SQL for a text that hardly any row has: 32 digits, or one private-use character if the column is short.
fn text(column: &Column, below: bool) -> String {
    let most = match column.wire {
        ColumnEncoding::Varchar { max } => max,
        ColumnEncoding::Bpchar { len } => len,
        _ => None,
    };
    let (first, salt) = if below { (0xf000, "below") } else { (0xe000, "above") };
    match most {
        Some(most) if most < 8 => format!("chr({first} + (v.n % 2048)::int)"),
        Some(most) => format!("left(md5(v.n || '{salt}' || random()), {most})"),
        None => format!("md5(v.n || '{salt}' || random())"),
    }
}
