//! Operators' requests for a table that is no longer what was loaded, and what the loader does to carry them out.

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::lease;
use super::tables::{Reloaded, TableStatus, TableStop, Wish};
use super::{Error, Feed, Target};
use crate::pg::Tx;
use crate::source::Entity;

impl Target {
    /// Makes what was loaded of a table pending again; the next plan loads it as one generation.
    pub async fn load_again(&self, entity: &Entity, ids: &[i64]) -> Result<Reloaded, Error> {
        let tx = self.pg.begin("load a table again").await?;
        if let Some(table) = self.table(&tx, entity).await?
            && !lease::take(&tx, &table).await?
        {
            tx.rollback().await?;
            return Ok(Reloaded::Busy);
        }
        let marked = tx.execute_typed(include_str!("reload_mark.sql"), &[(&ids, Type::INT8_ARRAY)]).await;
        marked.map_err(|error| tx.error(error))?;
        tx.commit().await?;
        Ok(Reloaded::Pending)
    }

    /// Notes that a table cannot be loaded again, and why. What was made pending for it counts as loaded again. Returns how many
    /// ledger rows those are; none if another loader has the table.
    pub async fn refuse_reload(&self, entity: &Entity, why: &str) -> Result<Option<u64>, Error> {
        let tx = self.pg.begin("refuse a reload").await?;
        if let Some(table) = self.table(&tx, entity).await?
            && !lease::take(&tx, &table).await?
        {
            tx.rollback().await?;
            return Ok(None);
        }
        let given_back = self.take_back_reload(&tx, entity).await?;
        let scope = self.feed.id();
        let parameters: [(&(dyn ToSql + Sync), Type); 4] =
            [(&scope, Type::INT8), (&entity.schema, Type::TEXT), (&entity.name, Type::TEXT), (&why, Type::TEXT)];
        let sql = "update public.loader_tables
            set requested = null,
                stop_reason = case when status is null then ''
                                   else pg_catalog.split_part(stop_reason, '; it cannot be loaded again: ', 1) || '; ' end
                              || 'it cannot be loaded again: ' || $4
            where scope = $1 and schema_name = $2 and entity = $3";
        tx.execute_typed(sql, &parameters).await.map_err(|error| tx.error(error))?;
        tx.commit().await?;
        Ok(Some(given_back))
    }

    /// Makes what `load_again` made pending of a table loaded as it was; how many ledger rows. What has been loaded again since
    /// stays so, and what follows that stays pending.
    pub(super) async fn take_back_reload(&self, tx: &Tx, entity: &Entity) -> Result<u64, Error> {
        let scope = self.feed.id();
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&scope, Type::INT8), (&entity.schema, Type::TEXT), (&entity.name, Type::TEXT)];
        let given_back = tx.execute_typed(include_str!("reload_take_back.sql"), &parameters).await;
        given_back.map_err(|error| tx.error(error).into())
    }

    /// Asks for a table, named as the feed has it with or without its schema, to be loaded again or accepted as it is; the
    /// next iteration acts. Returns the table.
    pub async fn ask_for_table(&self, name: &str, wish: Wish, actor: &str, reason: &str) -> Result<Entity, Error> {
        let tx = self.pg.begin("steer").await?;
        let (scope, word) = (self.feed.id(), wish.as_str());
        let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
            (&scope, Type::INT8),
            (&name, Type::TEXT),
            (&word, Type::TEXT),
            (&actor, Type::TEXT),
            (&reason, Type::TEXT),
        ];
        let sql = "update public.loader_tables set requested = $3, actor = $4, reason = nullif($5, '')
            where scope = $1 and $2 in (entity, schema_name || '.' || entity)
            returning schema_name, entity, status";
        let rows = tx.query_typed(sql, &parameters).await.map_err(|error| tx.error(error))?;
        match rows.as_slice() {
            [row] if wish == Wish::Accept && row.get::<_, Option<&str>>(2).is_none() => {
                let table = format!("{}.{}", row.get::<_, &str>(0), row.get::<_, &str>(1));
                tx.rollback().await?;
                Err(Error::NotStopped { table })
            }
            [row] => {
                let entity = Entity { schema: row.get(0), name: row.get(1) };
                tx.commit().await?;
                Ok(entity)
            }
            _ => {
                tx.rollback().await?;
                let known: Vec<String> = self.noted_tables().await?.iter().map(|row| word_of(row, "table")).collect();
                let known = if known.is_empty() { String::new() } else { format!("; it knows {}", known.join(", ")) };
                Err(Error::NoTable { name: name.to_owned(), known })
            }
        }
    }

    /// Returns the recorded state of each table as JSON objects.
    pub async fn noted_tables(&self) -> Result<Vec<serde_json::Value>, Error> {
        let sql = "select json_build_object(
                'table', schema_name || '.' || entity, 'target', target_schema || '.' || target_table,
                'rows_left', rows_left, 'left_at', left_at, 'dialect', dialect, 'null_rule', null_rule,
                'null_evidence', null_evidence, 'status', status, 'stop_reason', stop_reason, 'stopped_at', stopped_at,
                'requested', requested, 'actor', actor, 'reason', reason)::text
            from public.loader_tables where scope = $1 order by schema_name, entity";
        self.read(sql, &[(&self.feed.id(), Type::INT8)]).await
    }
}

fn word_of(row: &serde_json::Value, key: &str) -> String {
    row[key].as_str().unwrap_or_default().to_owned()
}

/// Returns the recorded tables that are stopped or for which something was requested.
pub async fn recorded(tx: &Tx, feed: &Feed) -> Result<Vec<TableStop>, Error> {
    let sql = "select schema_name, entity, status, stop_reason, requested, actor from public.loader_tables
        where scope = $1 and (status is not null or requested is not null) order by schema_name, entity";
    let rows = tx.query_typed(sql, &[(&feed.id(), Type::INT8)]).await.map_err(|error| tx.error(error))?;
    let stop = |row: &Row| {
        let text = |place: usize| row.get::<_, Option<&str>>(place);
        TableStop {
            entity: Entity { schema: row.get(0), name: row.get(1) },
            status: text(2).and_then(TableStatus::parse),
            why: text(3).unwrap_or_default().to_owned(),
            requested: text(4).and_then(Wish::parse),
            actor: row.get(5),
        }
    };
    Ok(rows.iter().map(stop).collect())
}
