//! Finds the other place of a key that Postgres refused in a later part of a first load. The parts that are loaded are read once
//! more, together with the refused one.

use tokio_postgres::types::Type;

use super::batch::RowAction;
use super::delivery_tx::DeliveryTx;
use super::row_pipeline::{Draft, Order, RowPipeline};
use super::table_cursor::TableCursor;
use super::unnest::UnnestParams;
use super::{Error, Place, tuple};
use crate::decode::{Parts, Rows};
use crate::pg::{self, Parameter};
use crate::source::{Listed, Object};

impl DeliveryTx {
    /// Undoes what a failed delivery did, and returns true if Postgres refused a key of the table that is there already.
    pub async fn is_repeated_key(&self, error: &pg::Error) -> Result<bool, Error> {
        let pg::Error::Query { source, .. } = error else { return Ok(false) };
        let Some(db) = source.as_db_error().filter(|db| db.code().code() == "23505") else { return Ok(false) };
        let (Some(schema), Some(name)) = (db.schema(), db.constraint()) else { return Ok(false) };
        self.again().await?;
        let table = self.table();
        let mut key: Vec<&str> = table.key.iter().map(|column| table.columns[*column].name.as_str()).collect();
        key.sort_unstable();
        // a partition has an index of its own, over columns of the same names
        let sql = "select array(
                select a.attname::text from pg_catalog.pg_attribute a
                where a.attrelid = i.indrelid and a.attnum = any (i.indkey[0 : i.indnkeyatts - 1])
                order by a.attname::text collate \"C\"
            ) = $3 and i.indpred is null
            from pg_catalog.pg_index i
            join pg_catalog.pg_class c on c.oid = i.indexrelid
            join pg_catalog.pg_namespace n on n.oid = c.relnamespace
            where n.nspname = $1 and c.relname = $2";
        let parameters: [Parameter<'_>; 3] = [(&schema, Type::TEXT), (&name, Type::TEXT), (&key, Type::TEXT_ARRAY)];
        let row = self.tx().query_typed_opt(sql, &parameters).await.map_err(|error| self.tx().error(error))?;
        Ok(row.is_some_and(|row| row.get(0)))
    }

    /// Returns the parts of the delivery's full load that are loaded, in their order, as they were listed then.
    pub async fn loaded_parts(&self) -> Result<Vec<Object>, Error> {
        let (_, scope, _) = self.place();
        let (entity, generation) = (&self.docket.pending.entity, self.docket.pending.generation);
        let parameters: [Parameter<'_>; 4] =
            [(&scope, Type::INT8), (&entity.schema, Type::TEXT), (&entity.name, Type::TEXT), (&generation, Type::INT4)];
        let sql = "select id, object_key, etag, size_bytes, extract(epoch from last_modified)::bigint, occurrence
            from public.loader_deliveries
            where scope = $1 and schema_name = $2 and entity = $3 and kind = 'snapshot' and generation = $4
              and status = 'loaded' and superseded_by is null
            order by revision";
        let rows = self.tx().query_typed(sql, &parameters).await.map_err(|error| self.tx().error(error))?;
        let part = |row: &tokio_postgres::Row| {
            let size = u64::try_from(row.get::<_, i64>(3)).unwrap_or(0);
            let listed = Listed { key: row.get(1), etag: row.get(2), size, modified: row.get(4) };
            Object {
                listed,
                entry: Some(row.get(0)),
                occurrence: row.get(5),
                untried: false,
                new: false,
                replaces: Vec::new(),
                before: None,
                content: None,
            }
        };
        Ok(rows.iter().map(part).collect())
    }

    /// Reads rows, to no other end than to refuse a key that comes twice with `Error::Duplicate`.
    pub async fn refuse_duplicates<P>(&self, rows: Rows<P>) -> Result<(), Error>
    where
        P: Parts + Send + 'static,
        P::Bytes: Send,
    {
        let rejects = self.rejects();
        let mut intake = match self.table().asks() {
            true => self.ask(rows, Order::Any, rejects.as_ref()).await?,
            false => self.intake(rows, Order::Any, rejects.as_ref(), false),
        };
        while intake.next().await?.is_some() {}
        Ok(())
    }

    /// Returns the place of a row whose key the table has, as far as keys can be compared without Postgres.
    pub async fn place_of_known_key<P>(&self, rows: Rows<P>) -> Result<Option<Place>, Error>
    where
        P: Parts + Send + 'static,
        P::Bytes: Send,
    {
        if self.table().asks() {
            return Ok(None);
        }
        let rejects = self.rejects();
        let mut drafts = RowPipeline::drafts(rows, &self.plan(rejects.as_ref()));
        while let Some(draft) = drafts.next().await? {
            if let Some(place) = self.known_key_of(&draft).await? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    async fn known_key_of(&self, draft: &Draft) -> Result<Option<Place>, Error> {
        let table = self.table();
        let mut keys = UnnestParams::new(table, table.key.iter().copied());
        let mut key = Vec::new();
        let good = || draft.rows.rows().zip(&draft.marks).filter(|(row, _)| row.wish == RowAction::Put);
        for (row, _) in good() {
            key.clear();
            tuple::pick(row.tuple, &table.key, &mut key);
            keys.push(&key);
        }
        if keys.is_empty() {
            return Ok(None);
        }
        let current = TableCursor::of_keys(self.tx(), table, &keys).await?;
        let Some((known, _)) = current.row() else { return Ok(None) };
        let found = good().find(|(row, _)| {
            key.clear();
            table.sort_key(row.tuple, &mut key);
            key == known
        });
        Ok(found.map(|(_, mark)| (*mark).into()))
    }
}
