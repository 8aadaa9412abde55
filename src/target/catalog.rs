//! The target table as the Postgres catalog has it: its columns, their types, its key. They decide everything; adding an
//! entity to the feed is a `create table`.

use tokio_postgres::types::Type;

use super::encode::Wire;
use super::{Error, tuple};
use crate::pg::{Tx, quote};
use crate::source::Entity;

/// A table that a feed table is loaded into.
#[derive(Debug, Clone)]
pub struct Table {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// the columns that a file fills, in their order; generated ones are not among them
    pub columns: Vec<Column>,
    /// which of them are the key, in the key's order
    pub key: Vec<usize>,
    /// a column, and its type, that cannot be loaded
    unloadable: Option<(String, String)>,
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub wire: Wire,
    pub not_null: bool,
    /// the type of an array of its values, for parameters
    pub array: Type,
    pub type_oid: u32,
    /// texts that differ may be equal, by a collation that says so
    pub loose: bool,
}

impl Table {
    /// A table as a test imagines it.
    #[cfg(test)]
    pub(super) fn of(schema: &str, name: &str, columns: Vec<Column>, key: &[usize]) -> Self {
        Self { oid: 0, schema: schema.into(), name: name.into(), columns, key: key.to_vec(), unloadable: None }
    }

    /// Looks the entity up: exactly, else by a unique match that ignores case. None if the target has no such table.
    pub(super) async fn find(tx: &Tx, entity: &Entity, schema: Option<&str>) -> Result<Option<Self>, Error> {
        let schema = schema.unwrap_or(&entity.schema);
        let rows = tx
            .query_typed(include_str!("catalog_table.sql"), &[(&schema, Type::TEXT), (&entity.name, Type::TEXT)])
            .await
            .map_err(|error| tx.error(error))?;
        let exact = rows.iter().position(|row| row.get::<_, bool>("exact"));
        let row = match (exact, rows.len()) {
            (Some(exact), _) => &rows[exact],
            (None, 0) => return Ok(None),
            (None, 1) => &rows[0],
            (None, found) => return Err(Error::Ambiguous { entity: entity.clone(), found }),
        };
        let mut table = Self {
            oid: row.get("oid"),
            schema: row.get("schema"),
            name: row.get("name"),
            columns: Vec::new(),
            key: Vec::new(),
            unloadable: None,
        };
        table.read_columns(tx).await?;
        Ok(Some(table))
    }

    async fn read_columns(&mut self, tx: &Tx) -> Result<(), Error> {
        let rows = tx
            .query_typed(include_str!("catalog_columns.sql"), &[(&self.oid, Type::OID)])
            .await
            .map_err(|error| tx.error(error))?;
        let mut key: Vec<(i32, usize)> = Vec::new();
        for row in &rows {
            if let Some(position) = row.get::<_, Option<i32>>("key_position") {
                key.push((position, self.columns.len()));
            }
            let (type_oid, typmod) = (row.get("type_oid"), row.get("typmod"));
            let name: String = row.get("name");
            let wire = Wire::of(type_oid, typmod);
            let array = Type::from_oid(row.get("array_oid"));
            let (Some(wire), Some(array)) = (wire, array) else {
                self.unloadable.get_or_insert((name, row.get("type_name")));
                continue;
            };
            let (not_null, loose) = (row.get("not_null"), row.get("loose"));
            self.columns.push(Column { name, wire, not_null, array, type_oid, loose });
        }
        key.sort_unstable();
        self.key = key.into_iter().map(|(_, column)| column).collect();
        Ok(())
    }

    /// `"schema"."name"`.
    pub fn quoted(&self) -> String {
        quote::qualified(&self.schema, &self.name)
    }

    pub fn column_named(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Appends the sort key of a tuple that holds all columns.
    pub(super) fn sort_key(&self, row: &[u8], out: &mut Vec<u8>) {
        let mut cells = tuple::cells(row).enumerate();
        // a key of one column, the usual case, is found in one walk
        if let [only] = self.key[..] {
            if let Some((_, cell)) = cells.nth(only) {
                self.cell_key(only, cell, out);
            }
            return;
        }
        let all: Vec<_> = cells.map(|(_, cell)| cell).collect();
        self.key.iter().for_each(|column| self.cell_key(*column, all[*column], out));
    }

    fn cell_key(&self, column: usize, cell: tuple::Framed<'_>, out: &mut Vec<u8>) {
        // a key's columns are never null, and a type without an order is refused as a key
        let _ = self.columns[column].wire.sort_key(cell.value(), out);
    }

    /// Refuses a table that cannot be loaded, or whose rows cannot be told apart.
    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |column: &str, type_name: &str| Error::Type {
            table: self.quoted(),
            column: column.to_owned(),
            type_name: type_name.to_owned(),
        };
        if let Some((column, type_name)) = &self.unloadable {
            return Err(refuse(column, type_name));
        }
        if self.key.is_empty() {
            return Err(Error::NoKey { table: self.quoted() });
        }
        let mut key = self.key.iter().map(|column| &self.columns[*column]);
        match key.find(|column| column.loose || matches!(column.wire, Wire::Json | Wire::Jsonb)) {
            Some(column) if column.loose => {
                Err(refuse(&column.name, "text with a nondeterministic collation as a key"))
            }
            Some(column) => Err(refuse(&column.name, "json as a key")),
            None => Ok(()),
        }
    }
}
