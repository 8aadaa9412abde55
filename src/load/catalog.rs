//! The target table as the Postgres catalog has it: its columns, their types, its key. They decide everything; adding an
//! entity to the feed is a `create table`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Kind, ToSql, Type};

use super::encode::{ColumnEncoding, ServerCast};
use super::lock_wait::LockWait;
pub use super::refused::Refused;
use super::{Error, reserved, tuple};
use crate::decode::{self, File};
use crate::pg::{AS_PLANNED, Tx, quote};
use crate::source::{Entity, Pending};

/// A table that a feed table is loaded into.
#[derive(Debug, Clone)]
pub struct Table {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// The columns that a file may fill, in their order; generated ones are not among them.
    pub columns: Vec<Column>,
    /// The names of the others.
    pub generated: Vec<String>,
    /// Indexes of the key columns, in the key's order; empty for a table without a key.
    pub key: Vec<usize>,
    /// Rows of it may refer to other rows of it.
    pub refers_to_itself: bool,
    /// a foreign key would change or remove rows that refer to its rows
    pub referred_with_action: bool,
    /// `true` if the table has a unique index beside its primary key.
    pub constrained: bool,
    /// The names of its triggers that run before each row is written, and may keep it from being written.
    pub row_triggers: Option<String>,
    /// Changes with every change of its columns or its indexes.
    fingerprint: String,
    /// Reason for which no file can be loaded into the table.
    refused: Option<Refused>,
    /// `true` if the definition is that of an earlier delivery and was not looked up now.
    remembered: bool,
    /// Others may write to it while it is loaded.
    shared: bool,
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub wire: ColumnEncoding,
    pub not_null: bool,
    /// The column has a default or is filled by the table if no value is given.
    pub has_default: bool,
    /// The type that travels: the one below a domain.
    pub base: Type,
    /// The type of an array of its values, if there is one.
    pub array: Option<Type>,
    /// The function that writes the type's binary form, as SQL calls it.
    pub send: String,
    /// `true` if the column's collation may treat different texts as equal.
    pub loose: bool,
    /// The type below the domain that the column has, as SQL writes it, where values must be cast to it: functions and
    /// operators for any enum or any range do not take a domain over one.
    pub cast: Option<String>,
}

impl Table {
    /// Builds a table for a test.
    #[cfg(test)]
    pub(super) fn of(schema: &str, name: &str, columns: Vec<Column>, key: &[usize]) -> Self {
        let (schema, name, key) = (schema.into(), name.into(), key.to_vec());
        let (oid, fingerprint, refused) = (0, String::new(), None);
        let (refers_to_itself, constrained, remembered, row_triggers) = (false, false, false, None);
        Self {
            oid,
            schema,
            name,
            columns,
            generated: Vec::new(),
            key,
            refers_to_itself,
            referred_with_action: false,
            constrained,
            row_triggers,
            fingerprint,
            refused,
            remembered,
            shared: false,
        }
    }

    /// Looks up the table that the entity is loaded into: exactly, else by a unique match that ignores case. Returns none if the
    /// target has no such table, or a reserved one. Without a catalog the table is for looking at only, and the loader's own
    /// functions need not be there.
    pub(super) async fn find(
        tx: &Tx,
        catalog: Option<&Catalog>,
        entity: &Entity,
        schema: Option<&str>,
    ) -> Result<Option<Self>, Error> {
        let found = Self::find_even_reserved(tx, catalog, entity, schema).await?;
        Ok(found.filter(|table| table.refused != Some(Refused::Reserved)))
    }

    /// Looks up a table as `find` does; a reserved one is refused with that reason.
    pub(super) async fn find_even_reserved(
        tx: &Tx,
        catalog: Option<&Catalog>,
        entity: &Entity,
        schema: Option<&str>,
    ) -> Result<Option<Self>, Error> {
        let schema = schema.unwrap_or(&entity.schema);
        let fingerprint = catalog.map_or("''", |_| "public.loader_fingerprint(c.oid)");
        let Some(row) = find_row(tx, entity, schema, fingerprint).await? else { return Ok(None) };
        let (oid, fingerprint): (u32, String) = (row.get("oid"), row.get("fingerprint"));
        let known = catalog.and_then(|catalog| catalog.get(oid, &fingerprint));
        let shape = match (known, catalog) {
            (Some(shape), _) => shape,
            (None, Some(catalog)) => catalog.put(oid, &fingerprint, Shape::read(tx, oid).await?),
            (None, None) => Arc::new(Shape::read(tx, oid).await?),
        };
        let reserved = reserved::is_reserved(row.get("schema"), row.get("name")).then_some(Refused::Reserved);
        let hidden = row.get::<_, bool>("row_security").then_some(Refused::RowSecurity);
        Ok(Some(Self {
            oid,
            schema: row.get("schema"),
            name: row.get("name"),
            columns: shape.columns.clone(),
            generated: shape.generated.clone(),
            key: shape.key.clone(),
            refers_to_itself: row.get("refers_to_itself"),
            referred_with_action: row.get("referred_with_action"),
            constrained: row.get("constrained"),
            row_triggers: row.get("triggers"),
            fingerprint,
            refused: reserved.or_else(|| unfit(&row)).or(hidden).or_else(|| shape.refused.clone()),
            remembered: false,
            shared: false,
        }))
    }

    /// Locks the table: readers continue, other writers wait, so that the counts are exact. Returns `true` if the
    /// table has no row and a full load is pending. Fails if the table is no longer the one that was looked up. With
    /// `few`, rows are looked up by the key's index, even if the planner would scan a small table.
    pub(super) async fn enter(
        &self,
        tx: &Tx,
        (pending, scope): (&Pending, i64),
        few: bool,
        wait: LockWait,
    ) -> Result<bool, Error> {
        let asks_for_rows = pending.file == File::Snapshot;
        let (entity, kind) = (&pending.entity, pending.file.as_str());
        let (name, word) = (self.quoted(), wait.as_str());
        let parameters: [(&(dyn ToSql + Sync), Type); 9] = [
            (&self.oid, Type::OID),
            (&name, Type::TEXT),
            (&self.fingerprint, Type::TEXT),
            (&word, Type::TEXT),
            (&asks_for_rows, Type::BOOL),
            (&scope, Type::INT8),
            (&entity.schema, Type::TEXT),
            (&entity.name, Type::TEXT),
            (&kind, Type::TEXT),
        ];
        let sql = match wait {
            LockWait::Shared => include_str!("catalog_enter_shared.sql").replace("$name", &name),
            _ => "select is_same, stands, is_empty from public.loader_lock_table($1, $2, $3, $4, $5, $6, $7, $8, $9)"
                .into(),
        };
        let first: Vec<_> = (!few).then(|| AS_PLANNED.to_owned()).into_iter().chain(wait.before(&name)).collect();
        let first = first.join("; ");
        let planned = async { if first.is_empty() { Ok(()) } else { tx.batch_execute(&first).await } };
        // pipelined: sent one after the other without waiting for the answers
        let (planned, row) = tokio::join!(planned, tx.query_typed_one(&sql, &parameters));
        match planned.and(row) {
            Ok(row) if !row.get::<_, bool>(0) => Err(self.altered()),
            Ok(row) if !row.get::<_, bool>(1) => Err(Error::NotAsLeft { table: name }),
            Ok(row) => Ok(row.get::<_, Option<bool>>(2).unwrap_or(false)),
            // the remembered table may have been dropped
            Err(error) if self.remembered && error.code().is_some_and(is_unknown_name) => Err(self.altered()),
            Err(error) => Err(tx.error(error).into()),
        }
    }

    fn altered(&self) -> Error {
        match self.remembered {
            true => Error::Outdated,
            false => Error::Altered { table: self.quoted() },
        }
    }

    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Returns the name as `"schema"."name"`.
    pub fn quoted(&self) -> String {
        quote::qualified(&self.schema, &self.name)
    }

    pub fn column_named(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Returns `true` if the table has no key, so that only whole rows can be compared.
    pub fn is_keyless(&self) -> bool {
        self.key.is_empty()
    }

    /// Returns `true` if a column holds texts, in which an empty cell may be an empty text.
    pub(super) fn has_texts(&self) -> bool {
        self.columns.iter().any(|column| column.wire.is_text())
    }

    /// Returns the columns in the form that the decoder needs.
    pub(super) fn shape(&self) -> Vec<decode::Column> {
        let column = |(index, column): (usize, &Column)| decode::Column {
            name: column.name.clone(),
            text: column.wire.is_text(),
            key: self.key.contains(&index),
            not_null: column.not_null,
            has_default: column.has_default,
        };
        self.columns.iter().enumerate().map(column).collect()
    }

    /// Returns `true` if some column's binary form must be requested from Postgres.
    pub fn asks(&self) -> bool {
        self.columns.iter().any(|column| matches!(column.wire, ColumnEncoding::ServerCast(_)))
    }

    /// Appends the sort key of a tuple that holds all columns.
    pub(super) fn sort_key(&self, row: &[u8], out: &mut Vec<u8>) {
        let mut cells = tuple::cells(row).enumerate();
        // a key of one column, the usual case, is found in one walk
        if let [only] = self.key[..] {
            if let Some((_, cell)) = cells.nth(only) {
                self.cell_key(only, cell, out);
            }
        } else if self.is_keyless() {
            cells.for_each(|(column, cell)| self.whole_row_key(column, cell, out));
        } else {
            let all: Vec<_> = cells.map(|(_, cell)| cell).collect();
            self.key.iter().for_each(|column| self.cell_key(*column, all[*column], out));
        }
    }

    /// Appends the sort key of a cell of a table without a key. Null sorts before any value, and equal values that
    /// are spelled differently get different keys.
    fn whole_row_key(&self, column: usize, cell: tuple::Framed<'_>, out: &mut Vec<u8>) {
        out.push(u8::from(!cell.is_null()));
        if !cell.is_null() {
            self.cell_key(column, cell, out);
            if self.columns[column].wire.reads_apart() {
                let _ = ColumnEncoding::Bytea.sort_key(cell.value(), out);
            }
        }
    }

    fn cell_key(&self, column: usize, cell: tuple::Framed<'_>, out: &mut Vec<u8>) {
        // a key's columns are never null, and a type without an order is refused as a key
        let _ = self.columns[column].wire.sort_key(cell.value(), out);
    }

    /// Returns `true` if rows may be kept from being written, so that written rows must be counted.
    pub(super) fn is_watched(&self) -> bool {
        self.shared || self.row_triggers.is_some()
    }

    /// Returns `true` if others may write to the table while it is loaded.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Returns the table as it is loaded under a lock that lets others write, or under the one that does not.
    pub(super) fn shared(self, shared: bool) -> Self {
        Self { shared, ..self }
    }

    /// Fails if fewer rows were written than were sent, which only a trigger or another session can cause.
    pub(super) fn check_written(&self, how: &'static str, wanted: u64, written: u64) -> Result<(), Error> {
        let lost = wanted.saturating_sub(written);
        if lost == 0 {
            return Ok(());
        }
        if self.shared {
            return Err(Error::Disturbed { lost, wanted, how });
        }
        let triggers = self.row_triggers.clone().unwrap_or_else(|| "it is not known which".to_owned());
        Err(Error::Table { table: self.quoted(), why: Refused::Swallowed { lost, wanted, how, triggers } })
    }

    /// Fails if the table cannot be loaded, or its rows cannot be distinguished.
    pub(super) fn check(&self, file: File) -> Result<(), Error> {
        let no_key = (self.is_keyless() && file == File::Changes).then_some(Refused::NoKey);
        match self.refused.clone().or(no_key) {
            Some(why) => Err(Error::Table { table: self.quoted(), why }),
            None => Ok(()),
        }
    }
}

/// Returns why what was found is no table whose rows are what is written to it.
fn unfit(row: &Row) -> Option<Refused> {
    let text = |name: &str| row.get::<_, Option<String>>(name);
    let kind = text("kind").map(|kind| Refused::Kind { kind });
    let child = || text("child").map(|child| Refused::Inherited { child });
    let part = || text("foreign_part").map(|part| Refused::ForeignPartition { part });
    kind.or_else(child).or_else(part).or_else(|| text("rule").map(|rule| Refused::Rule { rule }))
}

async fn find_row(tx: &Tx, entity: &Entity, schema: &str, fingerprint: &str) -> Result<Option<Row>, Error> {
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&schema, Type::TEXT), (&entity.name, Type::TEXT)];
    for which in ["n.nspname = $1 and c.relname = $2", "lower(n.nspname) = lower($1) and lower(c.relname) = lower($2)"]
    {
        let sql = include_str!("catalog_table.sql").replace("$fingerprint", fingerprint).replace("$which", which);
        let mut rows = tx.query_typed(&sql, &parameters).await.map_err(|error| tx.error(error))?;
        match rows.len() {
            0 => {}
            1 => return Ok(rows.pop()),
            found => return Err(Error::Ambiguous { entity: entity.clone(), found }),
        }
    }
    Ok(None)
}

/// Cache of table definitions. Reading a definition costs more than loading a small file, and the definition cannot
/// have changed while the table's fingerprint is the same.
#[derive(Clone, Default)]
pub(super) struct Catalog {
    shapes: Arc<Mutex<HashMap<u32, Known>>>,
    /// Tables that were loaded, for as long as they are as they were then.
    tables: Arc<Mutex<HashMap<Entity, Arc<Table>>>>,
    /// Tables whose missing event id has been logged.
    said: Arc<Mutex<HashSet<u32>>>,
}

/// A table's fingerprint and what was read of it then.
type Known = (String, Arc<Shape>);

impl Catalog {
    /// Returns the table as it was when it was last looked up or loaded. `enter` checks whether the definition still
    /// holds.
    pub fn recall(&self, entity: &Entity) -> Option<Arc<Table>> {
        locked(&self.tables).get(entity).cloned()
    }

    /// Keeps a table for its next delivery. Only what can be found again by its name alone.
    pub fn remember(&self, entity: &Entity, table: &Arc<Table>) {
        let exact = table.name == entity.name && table.refused.is_none() && !table.asks();
        if exact && !table.remembered {
            let table = Table { remembered: true, shared: false, ..Table::clone(table) };
            locked(&self.tables).insert(entity.clone(), Arc::new(table));
        }
    }

    /// Returns `true` when it is called for the first time for a table.
    pub fn first_time(&self, oid: u32) -> bool {
        locked(&self.said).insert(oid)
    }

    pub fn forget(&self, entity: &Entity) {
        locked(&self.tables).remove(entity);
    }

    fn get(&self, oid: u32, fingerprint: &str) -> Option<Arc<Shape>> {
        locked(&self.shapes).get(&oid).filter(|(print, _)| print == fingerprint).map(|(_, shape)| shape.clone())
    }

    fn put(&self, oid: u32, fingerprint: &str, shape: Shape) -> Arc<Shape> {
        let shape = Arc::new(shape);
        locked(&self.shapes).insert(oid, (fingerprint.to_owned(), shape.clone()));
        shape
    }
}

/// Returns `true` if Postgres does not know a table or a schema.
fn is_unknown_name(code: &SqlState) -> bool {
    [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME].contains(code)
}

fn locked<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The columns of a table and its key.
#[derive(Default)]
struct Shape {
    columns: Vec<Column>,
    generated: Vec<String>,
    key: Vec<usize>,
    refused: Option<Refused>,
}

impl Shape {
    async fn read(tx: &Tx, oid: u32) -> Result<Self, Error> {
        let rows = tx.query_typed(include_str!("catalog_columns.sql"), &[(&oid, Type::OID)]).await;
        let rows = rows.map_err(|error| tx.error(error))?;
        let mut shape = Self::default();
        let mut key: Vec<(i32, usize)> = Vec::new();
        for row in &rows {
            let position: Option<i32> = row.get("key_position");
            let column = Column::read(row);
            if let Some(refused) = column.refused(row, position.is_some()) {
                shape.refused.get_or_insert(refused);
            }
            key.extend(position.map(|position| (position, shape.columns.len())));
            shape.columns.push(column);
        }
        let generated = rows.first().and_then(|row| row.get::<_, Option<Vec<String>>>("generated"));
        shape.generated = generated.unwrap_or_default();
        key.sort_unstable();
        shape.key = key.into_iter().map(|(_, column)| column).collect();
        let width = rows.first().and_then(|row| row.get::<_, Option<i32>>("key_width")).unwrap_or(0);
        if shape.key.len() < width as usize {
            shape.refused.get_or_insert(Refused::GeneratedKey);
        } else if shape.key.is_empty() {
            shape.columns.iter_mut().for_each(Column::compare_as_stored);
        }
        Ok(shape)
    }
}

impl Column {
    fn read(row: &Row) -> Self {
        let (type_oid, typmod) = (row.get("type_oid"), row.get("typmod"));
        let asked = || ServerCast {
            type_name: row.get("base_name"),
            text: row.get("text"),
            scaled: row.get("scaled"),
            canonical: row.get("canonical"),
        };
        let array: u32 = row.get("array_oid");
        Self {
            name: row.get("name"),
            wire: ColumnEncoding::of(type_oid, typmod).unwrap_or_else(|| ColumnEncoding::ServerCast(asked())),
            not_null: row.get("not_null"),
            has_default: row.get("has_default"),
            base: type_of(type_oid),
            array: (array != 0).then(|| type_of(array)),
            send: row.get::<_, Option<String>>("send").unwrap_or_default(),
            loose: row.get("loose"),
            cast: row.get::<_, bool>("is_domain").then(|| row.get("bare_name")),
        }
    }

    /// Makes a jsonb column of a table without a key compare the stored bytes, which only Postgres can compute.
    fn compare_as_stored(&mut self) {
        if self.wire == ColumnEncoding::Jsonb {
            let type_name = "jsonb".to_owned();
            self.wire =
                ColumnEncoding::ServerCast(ServerCast { type_name, text: false, scaled: true, canonical: true });
        }
    }

    fn refused(&self, row: &Row, key: bool) -> Option<Refused> {
        let column = || self.name.clone();
        let kind = match &self.wire {
            _ if !row.get::<_, bool>("travels") => {
                return Some(Refused::Type { column: column(), type_name: row.get("type_name") });
            }
            _ if !key => {
                return row.get::<_, bool>("always").then(|| Refused::Identity { column: column() });
            }
            _ if self.loose => "text with a nondeterministic collation".to_owned(),
            ColumnEncoding::Json | ColumnEncoding::Jsonb => "json".to_owned(),
            ColumnEncoding::ServerCast(asked) if !asked.canonical => asked.type_name.clone(),
            _ => return None,
        };
        Some(Refused::Key { column: column(), kind })
    }
}

/// Returns the type with this oid. The name does not matter for the binary protocol.
fn type_of(oid: u32) -> Type {
    Type::from_oid(oid).unwrap_or_else(|| Type::new(String::new(), oid, Kind::Simple, String::new()))
}
