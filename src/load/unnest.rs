//! Turns rows into parameters, so that one statement handles thousands of rows without a temporary table.
//!
//! Tuples are cut into binary arrays, one per column, which `unnest` expands again. A column whose type has no array
//! type (because it is one) needs another form: each cell is a parameter in a `values` list.

use std::fmt::Write;

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::catalog::{Column, Table};
use super::spool::Spool;
use super::{Error, tuple};

/// Maximum number of rows in one statement.
const ROWS: u32 = 8_192;
const BYTES: usize = 1 << 20;
/// The same where rows should not be parted.
const MOST_BYTES: usize = 32 << 20;
/// Postgres counts parameters with 16 bits; a list of this many cells is still quickly planned.
const CELLS: usize = 8_192;

/// Rows of some columns in the making.
pub struct UnnestParams {
    form: Form,
    rows: u32,
    bytes: usize,
}

enum Form {
    UnnestParams(Vec<Array>),
    Cells { types: Vec<Type>, cells: Vec<Bytes> },
}

/// Values of one column in the binary form of a one-dimensional array, without its header.
#[derive(Debug)]
struct Array {
    array_type: Type,
    element_oid: u32,
    elements: Vec<u8>,
    has_null: bool,
    rows: u32,
}

/// Value of any type in its binary form; `None` is null.
#[derive(Debug)]
pub struct Bytes(pub Option<Vec<u8>>);

impl UnnestParams {
    /// Creates parameters for tuples of the given columns of the table, in that order.
    pub fn new(table: &Table, columns: impl Iterator<Item = usize>) -> Self {
        let columns: Vec<&Column> = columns.map(|column| &table.columns[column]).collect();
        let types = || columns.iter().map(|column| column.base.clone()).collect();
        let arrays = columns.iter().map(|column| Some(Array::new(column.array.clone()?, column.base.oid())));
        let form = match arrays.collect() {
            Some(arrays) => Form::UnnestParams(arrays),
            None => Form::Cells { types: types(), cells: Vec::new() },
        };
        Self { form, rows: 0, bytes: 0 }
    }

    /// Creates parameters for row addresses: `ctid` and the oid of the table that holds the row.
    pub fn of_addresses() -> Self {
        let (row, table) = ((Type::TID_ARRAY, Type::TID), (Type::OID_ARRAY, Type::OID));
        let arrays = [row, table].map(|(array, element)| Array::new(array, element.oid()));
        Self { form: Form::UnnestParams(arrays.into()), rows: 0, bytes: 0 }
    }

    pub fn push(&mut self, row: &[u8]) {
        match &mut self.form {
            Form::UnnestParams(arrays) => {
                arrays.iter_mut().zip(tuple::cells(row)).for_each(|(array, cell)| array.push(cell))
            }
            Form::Cells { cells, .. } => {
                cells.extend(tuple::cells(row).map(|cell| Bytes(cell.get().map(<[u8]>::to_vec))));
            }
        }
        self.rows += 1;
        self.bytes += row.len();
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u64 {
        self.rows.into()
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns `true` if a statement has enough rows to be sent.
    pub fn is_full(&self) -> bool {
        let many = match &self.form {
            Form::UnnestParams(_) => self.rows >= ROWS,
            Form::Cells { cells, .. } => cells.len() >= CELLS,
        };
        many || self.bytes >= BYTES
    }

    /// Returns `true` if the statement must be sent even though all rows should go together.
    pub fn is_overfull(&self) -> bool {
        match &self.form {
            Form::UnnestParams(_) => self.bytes >= MOST_BYTES,
            Form::Cells { .. } => self.is_full(),
        }
    }

    /// Returns the rows' source in SQL: an expression to select from, with the columns `c1`, `c2`, ….
    pub fn source(&self) -> String {
        match &self.form {
            Form::UnnestParams(arrays) => unnest(arrays.len()),
            Form::Cells { types, .. } => values(types.len(), self.rows as usize),
        }
    }

    /// Returns the parameters of a statement.
    pub fn parameters(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        match &self.form {
            Form::UnnestParams(arrays) => {
                arrays.iter().map(|array| (array as &(dyn ToSql + Sync), array.array_type.clone())).collect()
            }
            Form::Cells { types, cells } => {
                let types = types.iter().cycle().cloned();
                cells.iter().map(|cell| cell as &(dyn ToSql + Sync)).zip(types).collect()
            }
        }
    }

    pub fn clear(&mut self) {
        match &mut self.form {
            Form::UnnestParams(arrays) => arrays.iter_mut().for_each(Array::clear),
            Form::Cells { cells, .. } => cells.clear(),
        }
        (self.rows, self.bytes) = (0, 0);
    }
}

/// Returns `unnest($1, $2) as v (c1, c2)`.
pub fn unnest(columns: usize) -> String {
    let parameters: Vec<_> = (1..=columns).map(|number| format!("${number}")).collect();
    format!("unnest({}) as v ({})", parameters.join(", "), names(columns))
}

/// Returns `(values ($1, $2), ($3, $4)) as v (c1, c2)`.
pub fn values(columns: usize, rows: usize) -> String {
    let mut list = String::new();
    for number in 1..=columns * rows {
        let before = match (number - 1) % columns {
            0 if number > 1 => "), (",
            0 => "(",
            _ => ", ",
        };
        // writing to a String cannot fail
        let _ = write!(list, "{before}${number}");
    }
    format!("(values {list})) as v ({})", names(columns))
}

fn names(columns: usize) -> String {
    (1..=columns).map(|number| format!("c{number}")).collect::<Vec<_>>().join(", ")
}

impl Array {
    fn new(array_type: Type, element_oid: u32) -> Self {
        Self { array_type, element_oid, elements: Vec::new(), has_null: false, rows: 0 }
    }

    fn push(&mut self, cell: tuple::Framed<'_>) {
        self.elements.extend_from_slice(cell.0);
        self.has_null |= cell.is_null();
        self.rows += 1;
    }

    fn clear(&mut self) {
        self.elements.clear();
        (self.has_null, self.rows) = (false, 0);
    }
}

impl ToSql for Array {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let (dimensions, lower_bound) = (1u32, 1u32);
        for word in [dimensions, u32::from(self.has_null), self.element_oid, self.rows, lower_bound] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&self.elements);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl ToSql for Bytes {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(value) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(value);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Calls `act` with the tuples of a spool, thousands at a time.
pub(super) async fn each(
    spool: &Spool,
    mut arrays: UnnestParams,
    mut act: impl AsyncFnMut(&UnnestParams) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut tuples, mut row) = (spool.reader()?, Vec::new());
    while tuple::read(&mut tuples, &mut row)? {
        arrays.push(&row);
        if arrays.is_full() {
            act(&arrays).await?;
            arrays.clear();
        }
    }
    if arrays.is_empty() { Ok(()) } else { act(&arrays).await }
}
