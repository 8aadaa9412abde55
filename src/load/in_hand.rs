//! Records which file was being loaded when a loader died.
//!
//! A loader writes a row when it starts and deletes the row at its orderly end. A loader that finds another loader's
//! row commits a mark that names the file before each delivery, until all pending files are loaded. An ordinary run
//! pays two short transactions for this, and its deliveries pay nothing.

use std::collections::BTreeSet;

use tokio_postgres::types::Type;

use super::{Error, Target};
use crate::pg::{self, Parameter};
use crate::source::{Entity, Pending};

/// A loader that began, and what it found.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// Id in `loader_processes`.
    id: i64,
    /// Loaders that began before and have not ended: they run, or they died.
    others: Vec<i64>,
    /// Tables of which another loader was loading a file.
    suspects: BTreeSet<Entity>,
}

impl Process {
    /// Returns `true` if another loader may have died.
    pub fn is_careful(&self) -> bool {
        !self.others.is_empty()
    }

    /// Returns `true` if a loader may have died of a file of this table.
    pub fn suspects(&self, entity: &Entity) -> bool {
        self.suspects.contains(entity)
    }
}

impl Target {
    /// Writes down that a loader begins, and reads what loaders before it left.
    pub async fn begin_process(&self) -> Result<Process, Error> {
        let (scope, version) = (self.feed.id(), env!("CARGO_PKG_VERSION"));
        let of_scope: [Parameter<'_>; 1] = [(&scope, Type::INT8)];
        let row: [Parameter<'_>; 3] = [(&scope, Type::INT8), (&self.host, Type::TEXT), (&version, Type::TEXT)];
        let ask = async |tx: &pg::Tx| {
            let others = "select id from public.loader_processes where scope = $1 order by id";
            let marked = "select schema_name, entity from public.loader_in_hand where scope = $1";
            let begin = "insert into public.loader_processes (scope, host, version) values ($1, $2, $3) returning id";
            let asked = tokio::try_join!(
                tx.query_typed(others, &of_scope),
                tx.query_typed(marked, &of_scope),
                tx.query_typed_one(begin, &row),
            );
            asked.map_err(|error| tx.error(error))
        };
        let (tx, answers) = self.pg.begin_with("begin to load", ask).await?;
        let (others, marked, begun) = answers?;
        tx.commit().await?;
        let suspects = marked.iter().map(|row| Entity { schema: row.get(0), name: row.get(1) }).collect();
        Ok(Process { id: begun.get(0), others: others.iter().map(|row| row.get(0)).collect(), suspects })
    }

    /// Writes down that a loader ended in an orderly way: it died of no file.
    pub async fn end_process(&self, process: &Process) -> Result<(), Error> {
        self.forget(&[process.id]).await
    }

    /// Forgets the loaders that had not ended when this one began, after an iteration in which it was careful.
    pub async fn end_care(&self, process: &mut Process) -> Result<(), Error> {
        self.forget(&process.others).await?;
        process.others.clear();
        process.suspects.clear();
        Ok(())
    }

    /// Deletes the rows of loaders, and their marks.
    async fn forget(&self, ids: &[i64]) -> Result<(), Error> {
        let ids: [Parameter<'_>; 1] = [(&ids, Type::INT8_ARRAY)];
        let ask = async |tx: &pg::Tx| {
            let marks = "delete from public.loader_in_hand where process = any ($1)";
            let rows = "delete from public.loader_processes where id = any ($1)";
            tokio::try_join!(tx.execute_typed(marks, &ids), tx.execute_typed(rows, &ids))
                .map_err(|error| tx.error(error))
        };
        let (tx, forgotten) = self.pg.begin_with("forget loaders", ask).await?;
        forgotten?;
        Ok(tx.commit().await?)
    }

    /// Marks the file of a delivery as being loaded, in a transaction of its own. The delivery holds the table's
    /// lease, so a mark of another loader belongs to a loader that has died or lost its connection. Returns how many
    /// times in a row that has happened with this version of the file.
    pub async fn take_in_hand(&self, process: &Process, pending: &Pending) -> Result<u32, Error> {
        let carrier = &pending.carrier().listed;
        let (scope, entity) = (self.feed.id(), &pending.entity);
        let parameters: [Parameter<'_>; 7] = [
            (&scope, Type::INT8),
            (&entity.schema, Type::TEXT),
            (&entity.name, Type::TEXT),
            (&carrier.key, Type::TEXT),
            (&carrier.etag, Type::TEXT),
            (&self.host, Type::TEXT),
            (&process.id, Type::INT8),
        ];
        let sql = "insert into public.loader_in_hand as h (scope, schema_name, entity, object_key, etag, host, process, times)
            values ($1, $2, $3, $4, $5, $6, $7, 1)
            on conflict (scope, schema_name, entity) do update set
                times = case when h.object_key <> $4 or h.etag <> $5 then 1 when h.process = $7 then h.times else h.times + 1 end,
                object_key = $4, etag = $5, host = $6, process = $7, since = clock_timestamp()
            returning times";
        let ask = async |tx: &pg::Tx| tx.query_typed_one(sql, &parameters).await.map_err(|error| tx.error(error));
        let (tx, marked) = self.pg.begin_with("mark what is in hand", ask).await?;
        let times: i32 = marked?.get(0);
        tx.commit().await?;
        Ok(u32::try_from(times - 1).unwrap_or(0))
    }

    /// Takes this loader's mark of a table back: the loader has survived the file.
    pub async fn put_down(&self, process: &Process, entity: &Entity) -> Result<(), Error> {
        let scope = self.feed.id();
        let parameters: [Parameter<'_>; 4] =
            [(&scope, Type::INT8), (&entity.schema, Type::TEXT), (&entity.name, Type::TEXT), (&process.id, Type::INT8)];
        let sql = "delete from public.loader_in_hand
            where scope = $1 and schema_name = $2 and entity = $3 and process = $4";
        let ask = async |tx: &pg::Tx| tx.execute_typed(sql, &parameters).await.map_err(|error| tx.error(error));
        let (tx, deleted) = self.pg.begin_with("take back what is in hand", ask).await?;
        deleted?;
        Ok(tx.commit().await?)
    }
}
