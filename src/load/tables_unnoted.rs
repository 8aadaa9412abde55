//! Tables without a recorded state: those that an earlier version of the program loaded, and those that another feed
//! loaded before.

use tokio_postgres::types::{ToSql, Type};

use super::catalog::Table;
use super::tables::TableStop;
use super::{Error, Target};
use crate::pg::Tx;
use crate::source::Entity;

impl Target {
    /// Records the present state of the tables that an earlier version of the program loaded. A table that is empty
    /// although the ledger says that it has rows is stopped, because it is unknown when it lost them.
    pub(super) async fn adopt(&self) -> Result<(), Error> {
        let tx = self.pg.begin("note the tables").await?;
        let scope = self.feed.id();
        let rows = tx.query_typed(include_str!("tables_unnoted.sql"), &[(&scope, Type::INT8)]).await;
        let rows = rows.map_err(|error| tx.error(error))?;
        tx.commit().await?;
        for row in &rows {
            let entity = Entity { schema: row.get(0), name: row.get(1) };
            let rows_left: Option<i64> = row.get::<_, Option<i64>>(2).filter(|rows| *rows >= 0);
            self.adopt_one(&entity, rows_left, row.get(3)).await?;
        }
        Ok(())
    }

    async fn adopt_one(&self, entity: &Entity, rows_left: Option<i64>, has_rows: bool) -> Result<(), Error> {
        let tx = self.pg.begin("note a table").await?;
        let table = match self.table(&tx, entity).await {
            Err(Error::Ambiguous { .. }) => return Ok(tx.rollback().await?),
            table => table?,
        };
        let rows_left = if has_rows { rows_left.filter(|rows| *rows > 0) } else { rows_left };
        let named = table.as_ref().map(|table| (table.schema.clone(), table.name.clone()));
        let schema = || self.settings.schema.clone().unwrap_or_else(|| entity.schema.clone());
        let (schema, name) = named.unwrap_or_else(|| (schema(), entity.name.clone()));
        let (scope, oid) = (self.feed.id(), table.as_ref().map(|table| table.oid));
        let empty = match &table {
            Some(table) if has_rows => is_empty(&tx, table).await?,
            _ => false,
        };
        // an emptied table is recorded with a storage that it does not have, so that the next inspection finds it
        let parameters: [(&(dyn ToSql + Sync), Type); 8] = [
            (&scope, Type::INT8),
            (&entity.schema, Type::TEXT),
            (&entity.name, Type::TEXT),
            (&schema, Type::TEXT),
            (&name, Type::TEXT),
            (&oid, Type::OID),
            (&empty, Type::BOOL),
            (&rows_left, Type::INT8),
        ];
        let sql = "insert into public.loader_tables
                (scope, schema_name, entity, target_schema, target_table, table_oid, storage, rows_left, status, stop_reason)
            values ($1, $2, $3, $4, $5, $6, case when $7 then 'unknown' else public.loader_storage($6) end, $8,
                    case when $6 is null then 'emptied' end, case when $6 is null then '' end)
            on conflict do nothing";
        tx.execute_typed(sql, &parameters).await.map_err(|error| tx.error(error))?;
        Ok(tx.commit().await?)
    }

    /// Stops tables that were never loaded by this feed but by another one. `pending` are the tables about to be loaded.
    pub async fn inspect_new(&self, pending: &[Entity]) -> Result<Vec<TableStop>, Error> {
        let tx = self.pg.begin("look for other feeds").await?;
        let scope = self.feed.id();
        let sql = "select exists (select from public.loader_tables where scope <> $1),
            array(select schema_name || '.' || entity from public.loader_tables where scope = $1)";
        let row = tx.query_typed_one(sql, &[(&scope, Type::INT8)]).await.map_err(|error| tx.error(error))?;
        let (others, known): (bool, Vec<String>) = (row.get(0), row.get(1));
        let mut found = false;
        for entity in pending.iter().filter(|entity| others && !known.contains(&entity.to_string())) {
            let table = match self.table(&tx, entity).await {
                Err(Error::Ambiguous { .. }) => continue,
                table => table?,
            };
            let Some(table) = table else { continue };
            let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
                (&scope, Type::INT8),
                (&entity.schema, Type::TEXT),
                (&entity.name, Type::TEXT),
                (&table.schema, Type::TEXT),
                (&table.name, Type::TEXT),
                (&table.oid, Type::OID),
            ];
            let sql = "insert into public.loader_tables
                    (scope, schema_name, entity, target_schema, target_table, table_oid, left_at)
                select $1, $2, $3, $4, $5, $6, '-infinity'
                where exists (select from public.loader_tables where table_oid = $6 and scope <> $1)
                on conflict do nothing";
            found |= tx.execute_typed(sql, &parameters).await.map_err(|error| tx.error(error))? > 0;
        }
        tx.commit().await?;
        if found { self.inspect().await } else { Ok(Vec::new()) }
    }
}

async fn is_empty(tx: &Tx, table: &Table) -> Result<bool, Error> {
    let sql = format!("select not exists (select from {})", table.quoted());
    Ok(tx.query_typed_one(&sql, &[]).await.map_err(|error| tx.error(error))?.get(0))
}
