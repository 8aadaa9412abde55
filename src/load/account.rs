//! Records every listed file of the tables that the target has, or had before, in the ledger, with the status `pending`,
//! before the first delivery begins.
//!
//! A file that is deleted before its turn is therefore not forgotten, whatever it was waiting for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio_postgres::types::{ToSql, Type};

use super::{Error, LEASE_CLASS, Target, encoder};
use crate::decode::File;
use crate::pg::{self, Tx};
use crate::source::{Entity, Listed, Plan, TablePlan, Unrecorded};

/// Number of ledger rows written by one statement. Tests use a small number, so that they need several statements.
const BATCH: usize = if cfg!(debug_assertions) { 3 } else { 8_192 };

/// The advisory lock under which rows are written: class and number. Loaders that take stock at once would write the same rows
/// in different orders, and wait for each other. A dry run, which keeps its locks to its end, does without.
const LOCK: (i32, i32) = (LEASE_CLASS, -4);

/// A file that needs a row.
struct Missing<'a> {
    entity: &'a Entity,
    listed: &'a Listed,
    file: File,
    generation: i32,
    occurrence: i32,
}

/// Tables that were looked up, and whether their files get ledger rows.
struct Lookup<'a> {
    /// Entities that are known to have no table in the target now.
    unmapped: &'a BTreeSet<Entity>,
    found: HashMap<Entity, bool>,
}

impl Target {
    /// Writes the ledger rows of the plan's files, and of those that do not fit into it, and puts their ids into the plan. A
    /// table that the target never had gets none; those in `unmapped` are not looked up in the catalog again.
    pub async fn account(
        &self,
        plan: &mut Plan,
        rest: &mut Unrecorded,
        unmapped: &BTreeSet<Entity>,
    ) -> Result<(), Error> {
        let needs = |table: &TablePlan| !table.unrecorded.is_empty();
        if rest.is_empty() && !plan.tables.iter().any(needs) {
            return Ok(());
        }
        let tx = self.pg.begin("account").await?;
        let lock = format!("; select pg_advisory_xact_lock({}, {})", LOCK.0, LOCK.1);
        let prepare = format!("{}{}", pg::BY_INDEX, if tx.is_rehearsal() { "" } else { &lock });
        tx.batch_execute(&prepare).await.map_err(|error| tx.error(error))?;
        let (mut lookup, mut ids) = (Lookup { unmapped, found: HashMap::new() }, HashMap::new());
        for table in plan.tables.iter().filter(|table| needs(table)) {
            if self.is_mapped(&tx, &table.entity, &mut lookup).await? {
                let missing: Vec<Missing<'_>> = missing(table).collect();
                for batch in missing.chunks(BATCH) {
                    self.record(&tx, batch, &mut ids).await?;
                }
            }
        }
        self.account_rest(&tx, plan, rest, &mut lookup).await?;
        tx.commit().await?;
        plan.tables.iter_mut().for_each(|table| enter(table, &ids));
        Ok(())
    }

    /// Records the files that the plan has no room for.
    async fn account_rest(
        &self,
        tx: &Tx,
        plan: &Plan,
        rest: &mut Unrecorded,
        lookup: &mut Lookup<'_>,
    ) -> Result<(), Error> {
        loop {
            let files = rest.next(BATCH)?;
            if files.is_empty() {
                return Ok(());
            }
            let mut missing = Vec::new();
            for file in &files {
                if self.is_mapped(tx, &file.entity, lookup).await? {
                    let table = plan.tables.iter().find(|table| table.entity == file.entity);
                    missing.push(Missing {
                        entity: &file.entity,
                        listed: &file.listed,
                        file: File::Changes,
                        generation: table.map_or(0, |table| table.generation),
                        occurrence: file.occurrence,
                    });
                }
            }
            self.record(tx, &missing, &mut HashMap::new()).await?;
        }
    }

    /// Returns `true` if the files of the table get rows: the target has the table and may load it, or had it before. A name that
    /// leads to no table now, or to several, may lead to the same table again.
    async fn is_mapped(&self, tx: &Tx, entity: &Entity, lookup: &mut Lookup<'_>) -> Result<bool, Error> {
        if self.is_reserved(entity) {
            return Ok(false);
        }
        if let Some(found) = lookup.found.get(entity) {
            return Ok(*found);
        }
        let found = self.catalog.recall(entity).is_some()
            || (!lookup.unmapped.contains(entity) && self.find_and_remember(tx, entity).await?)
            || self.was_mapped(tx, entity).await?;
        lookup.found.insert(entity.clone(), found);
        Ok(found)
    }

    /// Returns `true` if the ledger knows the table: files of it had rows, or were loaded.
    async fn was_mapped(&self, tx: &Tx, entity: &Entity) -> Result<bool, Error> {
        let scope = self.feed.id();
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&scope, Type::INT8), (&entity.schema, Type::TEXT), (&entity.name, Type::TEXT)];
        let sql = "select exists (select from public.loader_deliveries
                                  where scope = $1 and schema_name = $2 and entity = $3)
            or exists (select from public.loader_tables where scope = $1 and schema_name = $2 and entity = $3)";
        Ok(tx.query_typed_one(sql, &parameters).await.map_err(|error| tx.error(error))?.get(0))
    }

    /// Returns `true` if the target has the table, which its first delivery then need not look up.
    async fn find_and_remember(&self, tx: &Tx, entity: &Entity) -> Result<bool, Error> {
        let table = match self.table(tx, entity).await {
            Err(error @ Error::Pg(_)) => return Err(error),
            Err(_) | Ok(None) => return Ok(false),
            Ok(Some(table)) => Arc::new(table),
        };
        encoder::say_no_event_id(&self.catalog, &table, &self.settings.event_id);
        self.catalog.remember(entity, &table);
        Ok(true)
    }

    /// Writes the rows of these files, except for those that another loader wrote meanwhile, and enters the ids of all by key:
    /// one version of each is listed.
    async fn record(&self, tx: &Tx, files: &[Missing<'_>], ids: &mut HashMap<String, i64>) -> Result<(), Error> {
        if files.is_empty() {
            return Ok(());
        }
        let columns = Columns::of(files);
        let sql = include_str!("ledger_pending.sql").replace("$version", concat!("'", env!("CARGO_PKG_VERSION"), "'"));
        let (rehearsal, scope) = (tx.is_rehearsal(), self.feed.id());
        let parameters: [(&(dyn ToSql + Sync), Type); 13] = [
            (&self.feed.bucket, Type::TEXT),
            (&columns.keys, Type::TEXT_ARRAY),
            (&columns.etags, Type::TEXT_ARRAY),
            (&columns.sizes, Type::INT8_ARRAY),
            (&columns.modified, Type::FLOAT8_ARRAY),
            (&columns.schemas, Type::TEXT_ARRAY),
            (&columns.entities, Type::TEXT_ARRAY),
            (&columns.kinds, Type::TEXT_ARRAY),
            (&columns.generations, Type::INT4_ARRAY),
            (&columns.occurrences, Type::INT4_ARRAY),
            (&rehearsal, Type::BOOL),
            (&self.host, Type::TEXT),
            (&scope, Type::INT8),
        ];
        let rows = tx.query_typed(&sql, &parameters).await.map_err(|error| tx.error(error))?;
        ids.extend(rows.iter().map(|row| (row.get(0), row.get(1))));
        if rows.len() < files.len() { self.find_ids(tx, files, ids).await } else { Ok(()) }
    }

    /// Adds the ledger ids of `files` to `ids`, whichever loader wrote the rows.
    async fn find_ids(&self, tx: &Tx, files: &[Missing<'_>], ids: &mut HashMap<String, i64>) -> Result<(), Error> {
        let (columns, scope) = (Columns::of(files), self.feed.id());
        let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
            (&scope, Type::INT8),
            (&columns.keys, Type::TEXT_ARRAY),
            (&columns.etags, Type::TEXT_ARRAY),
            (&columns.modified, Type::FLOAT8_ARRAY),
            (&columns.kinds, Type::TEXT_ARRAY),
            (&columns.occurrences, Type::INT4_ARRAY),
        ];
        let rows = tx.query_typed(include_str!("ledger_pending_ids.sql"), &parameters).await;
        ids.extend(rows.map_err(|error| tx.error(error))?.iter().map(|row| (row.get(0), row.get(1))));
        Ok(())
    }
}

fn missing(table: &TablePlan) -> impl Iterator<Item = Missing<'_>> {
    table.unrecorded.iter().map(|(file, object)| Missing {
        entity: &table.entity,
        listed: &object.listed,
        file: *file,
        generation: table.generation,
        occurrence: object.occurrence,
    })
}

/// Puts the ids of the rows into the plan.
fn enter(table: &mut TablePlan, ids: &HashMap<String, i64>) {
    table.unrecorded.clear();
    let objects = table.pending.iter_mut().flat_map(|pending| &mut pending.objects);
    for object in objects.filter(|object| object.entry.is_none()) {
        object.entry = ids.get(&object.listed.key).copied();
    }
}

/// The files' values, as the statements take them.
#[derive(Default)]
struct Columns<'a> {
    keys: Vec<&'a str>,
    etags: Vec<&'a str>,
    sizes: Vec<i64>,
    modified: Vec<f64>,
    schemas: Vec<&'a str>,
    entities: Vec<&'a str>,
    kinds: Vec<&'static str>,
    generations: Vec<i32>,
    occurrences: Vec<i32>,
}

impl<'a> Columns<'a> {
    fn of(files: &[Missing<'a>]) -> Self {
        let mut columns = Self::default();
        for file in files {
            columns.keys.push(&file.listed.key);
            columns.etags.push(&file.listed.etag);
            columns.sizes.push(file.listed.size as i64);
            columns.modified.push(file.listed.modified as f64);
            columns.schemas.push(&file.entity.schema);
            columns.entities.push(&file.entity.name);
            columns.kinds.push(file.file.as_str());
            columns.generations.push(file.generation);
            columns.occurrences.push(file.occurrence);
        }
        columns
    }
}
