//! Which file was in hand when a loader died. A loader writes down that it began, and takes that back at its end. One that
//! finds such a row of another loader is careful for its first iteration: before each delivery it commits a mark that names
//! the file. So an ordinary run pays for two statements, and none of its deliveries pays for anything.

use std::collections::BTreeSet;

use tokio_postgres::types::Type;

use super::work::take_lease;
use super::{Error, Target};
use crate::pg::Parameter;
use crate::source::{Entity, Pending};

/// A loader that began, and what it found.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// its number in `loader_processes`
    id: i64,
    /// loaders that began before and have not ended: they run, or they died
    others: Vec<i64>,
    /// tables of which a loader had a file in hand when it died
    pub suspects: BTreeSet<Entity>,
}

impl Process {
    /// Returns true if another loader may have died.
    pub fn is_careful(&self) -> bool {
        !self.others.is_empty()
    }
}

impl Target {
    /// Writes down that a loader begins.
    pub async fn begin_process(&self) -> Result<Process, Error> {
        let tx = self.pg.begin("begin to load").await?;
        let scope = self.feed.id();
        let sql = "select id from public.loader_processes where scope = $1 order by id";
        let others = tx.query_typed(sql, &[(&scope, Type::INT8)]).await.map_err(|error| tx.error(error))?;
        let sql = "select schema_name, entity from public.loader_in_hand where scope = $1";
        let marked = tx.query_typed(sql, &[(&scope, Type::INT8)]).await.map_err(|error| tx.error(error))?;
        let sql = "insert into public.loader_processes (scope, host, version) values ($1, $2, $3) returning id";
        let version = env!("CARGO_PKG_VERSION");
        let parameters: [Parameter<'_>; 3] = [(&scope, Type::INT8), (&self.host, Type::TEXT), (&version, Type::TEXT)];
        let id = tx.query_typed_one(sql, &parameters).await.map_err(|error| tx.error(error))?.get(0);
        tx.commit().await?;
        let suspects = marked.iter().map(|row| Entity { schema: row.get(0), name: row.get(1) }).collect();
        Ok(Process { id, others: others.iter().map(|row| row.get(0)).collect(), suspects })
    }

    /// Writes down that a loader ended in an orderly way.
    pub async fn end_process(&self, process: &Process) -> Result<(), Error> {
        self.forget_processes(&[process.id]).await
    }

    /// Forgets the loaders that had not ended when this one began, after an iteration in which it was careful.
    pub async fn end_care(&self, process: &mut Process) -> Result<(), Error> {
        self.forget_processes(&process.others).await?;
        process.others.clear();
        process.suspects.clear();
        Ok(())
    }

    async fn forget_processes(&self, ids: &[i64]) -> Result<(), Error> {
        let tx = self.pg.begin("forget loaders").await?;
        let sql = "delete from public.loader_processes where id = any ($1)";
        tx.execute_typed(sql, &[(&ids, Type::INT8_ARRAY)]).await.map_err(|error| tx.error(error))?;
        Ok(tx.commit().await?)
    }

    /// Marks a file as in hand, before a careful delivery, unless another loader has its table. Returns how often it was in
    /// hand before when a loader died.
    pub async fn take_in_hand(&self, process: &Process, pending: &Pending) -> Result<u32, Error> {
        let tx = self.pg.begin("mark what is in hand").await?;
        // whatever is wrong with the table, the delivery will tell
        let Ok(Some(table)) = self.table(&tx, &pending.entity).await else {
            tx.rollback().await?;
            return Ok(0);
        };
        if !take_lease(&tx, &table).await? {
            tx.rollback().await?;
            return Ok(0);
        }
        let first = &pending.carrier().listed;
        let (scope, entity) = (self.feed.id(), &pending.entity);
        let parameters: [Parameter<'_>; 7] = [
            (&scope, Type::INT8),
            (&entity.schema, Type::TEXT),
            (&entity.name, Type::TEXT),
            (&first.key, Type::TEXT),
            (&first.etag, Type::TEXT),
            (&self.host, Type::TEXT),
            (&process.id, Type::INT8),
        ];
        let sql = "insert into public.loader_in_hand as h (scope, schema_name, entity, object_key, etag, host, process, times)
            values ($1, $2, $3, $4, $5, $6, $7, 1)
            on conflict (scope, schema_name, entity) do update set
                times = case when h.object_key <> $4 or h.etag <> $5 then 1 when h.process = $7 then h.times else h.times + 1 end,
                object_key = $4, etag = $5, host = $6, process = $7, since = clock_timestamp()
            returning times";
        let times: i32 = tx.query_typed_one(sql, &parameters).await.map_err(|error| tx.error(error))?.get(0);
        tx.commit().await?;
        Ok(u32::try_from(times - 1).unwrap_or(0))
    }

    /// Takes the mark of a table back: the loader has survived its file.
    pub async fn put_down(&self, entity: &Entity) -> Result<(), Error> {
        let tx = self.pg.begin("take back what is in hand").await?;
        let scope = self.feed.id();
        let parameters: [Parameter<'_>; 3] =
            [(&scope, Type::INT8), (&entity.schema, Type::TEXT), (&entity.name, Type::TEXT)];
        let sql = "delete from public.loader_in_hand where scope = $1 and schema_name = $2 and entity = $3";
        tx.execute_typed(sql, &parameters).await.map_err(|error| tx.error(error))?;
        Ok(tx.commit().await?)
    }
}
