//! Rows become columns: tuples are cut into binary array parameters, one array per column, so that one statement does the
//! work of thousands of rows and no temporary table is needed.

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::catalog::Table;
use super::tuple;

/// What one statement takes at most.
const ROWS: u32 = 8_192;
const BYTES: usize = 1 << 20;

/// Columns in the making.
pub struct Arrays {
    columns: Vec<Array>,
    rows: u32,
    bytes: usize,
}

/// One column's values in the binary form of a one-dimensional array, without its header.
#[derive(Debug)]
pub struct Array {
    array_type: Type,
    element_oid: u32,
    elements: Vec<u8>,
    has_null: bool,
    rows: u32,
}

impl Arrays {
    /// For tuples that hold the given columns of the table, in that order.
    pub fn new(table: &Table, columns: impl Iterator<Item = usize>) -> Self {
        let array = |column: usize| Array {
            array_type: table.columns[column].array.clone(),
            element_oid: table.columns[column].type_oid,
            elements: Vec::new(),
            has_null: false,
            rows: 0,
        };
        Self { columns: columns.map(array).collect(), rows: 0, bytes: 0 }
    }

    pub fn push(&mut self, row: &[u8]) {
        for (column, cell) in self.columns.iter_mut().zip(tuple::cells(row)) {
            column.elements.extend_from_slice(cell.0);
            column.has_null |= cell.is_null();
            column.rows += 1;
        }
        self.rows += 1;
        self.bytes += row.len();
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether it is time to send.
    pub fn is_full(&self) -> bool {
        self.rows >= ROWS || self.bytes >= BYTES
    }

    /// The parameters of a statement.
    pub fn parameters(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.columns.iter().map(|array| (array as &(dyn ToSql + Sync), array.array_type.clone())).collect()
    }

    pub fn clear(&mut self) {
        for column in &mut self.columns {
            column.elements.clear();
            (column.has_null, column.rows) = (false, 0);
        }
        (self.rows, self.bytes) = (0, 0);
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
