//! Parses Postgres' error about a foreign key: the row that is missing in another table, or that another table still
//! refers to.

use tokio_postgres::types::Type;

use super::delivery_tx::DeliveryTx;
use super::{Error, Target};
use crate::pg::{self, Parameter};
use crate::source::Entity;

/// The other table of a reference that a delivery would violate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The table as the target has it.
    pub schema: String,
    pub table: String,
    /// The table of the feed, as far as the ledger has rows of it.
    pub entity: Option<Entity>,
    /// Time at which the newest loaded file of the table was written, in seconds since 1970.
    pub newest: Option<i64>,
    /// Description of the violation and its row.
    pub words: String,
    /// Postgres' error message.
    pub refused: String,
}

impl DeliveryTx {
    /// Rolls back a failed delivery and looks up the other table, if the error is about a missing parent row or a row
    /// that is still referred to.
    pub async fn missing(&self, error: &pg::Error) -> Result<Option<Missing>, Error> {
        let pg::Error::Query { source, .. } = error else { return Ok(None) };
        let Some(db) = source.as_db_error().filter(|db| matches!(db.code().code(), "23503" | "23001")) else {
            return Ok(None);
        };
        let (Some(schema), Some(table), Some(name)) = (db.schema(), db.table(), db.constraint()) else {
            return Ok(None);
        };
        self.again().await?;
        let (oid, scope, any_schema) = self.place();
        let parameters: [Parameter<'_>; 6] = [
            (&schema, Type::TEXT),
            (&table, Type::TEXT),
            (&name, Type::TEXT),
            (&oid, Type::OID),
            (&scope, Type::INT8),
            (&any_schema, Type::BOOL),
        ];
        let row = self.tx().query_typed_opt(include_str!("references.sql"), &parameters);
        let Some(row) = row.await.map_err(|error| self.tx().error(error))? else { return Ok(None) };
        let entity = row.get::<_, Option<String>>("schema_name").zip(row.get::<_, Option<String>>("entity"));
        let (other_schema, other): (String, String) = (row.get("schema"), row.get("name"));
        // only keys are shown
        let key = db.detail().filter(|_| row.get("by_key")).and_then(key_of).map(|key| format!(" {key}"));
        let key = key.unwrap_or_default();
        let words = match row.get::<_, bool>("lacks") {
            true => format!(
                "a row refers to the row{key} of {other_schema}.{other}, which is not there (constraint {name})"
            ),
            false => format!(
                "its row{key} is to be removed, and {other_schema}.{other} still refers to it (constraint {name})"
            ),
        };
        Ok(Some(Missing {
            schema: other_schema,
            table: other,
            entity: entity.map(|(schema, name)| Entity { schema, name }),
            newest: row.get::<_, Option<f64>>("newest").map(|newest| newest as i64),
            words,
            refused: error.to_string(),
        }))
    }
}

impl Target {
    /// Returns `true` if rows of the entity's table may refer to other rows of it.
    pub async fn refers_to_itself(&self, entity: &Entity) -> Result<bool, Error> {
        let tx = self.pg.begin("look for references").await?;
        let table = self.table(&tx, entity).await;
        tx.rollback().await?;
        match table {
            Err(Error::Ambiguous { .. }) => Ok(false),
            table => Ok(table?.is_some_and(|table| table.refers_to_itself)),
        }
    }

    /// Returns `true` if the entity is the table of that name, as far as names show.
    pub fn is_named(&self, entity: &Entity, schema: &str, table: &str) -> bool {
        let same = |name: &str, other: &str| name.to_lowercase() == other.to_lowercase();
        same(&entity.name, table) && (self.settings.schema.is_some() || same(&entity.schema, schema))
    }

    /// Asks for another try of failed deliveries whose error ends with one of these; how many there are.
    pub async fn retry_what_ends_with(&self, endings: &[String]) -> Result<u64, Error> {
        let tx = self.pg.begin("retry").await?;
        let sql = "update public.loader_deliveries set requested = 'retry', actor = 'loader'
                   where scope = $1 and status = 'failed' and requested is null
                     and exists (select from unnest($2::text[]) e where right(error, length(e)) = e)";
        let again = tx.execute_typed(sql, &[(&self.feed.id(), Type::INT8), (&endings, Type::TEXT_ARRAY)]).await;
        let again = again.map_err(|error| tx.error(error))?;
        tx.commit().await?;
        Ok(again)
    }
}

/// Returns `(id)=(5)` from `Key (id)=(5) is not present in table "p".`
fn key_of(detail: &str) -> Option<&str> {
    let from = detail.find('(')?;
    let to = from + detail.get(from..)?.rfind(") ")? + 1;
    detail.get(from..to)
}

#[cfg(test)]
mod tests {
    use super::key_of;

    #[test]
    fn the_key_is_cut_out_of_any_language() {
        assert_eq!(key_of("Key (id)=(5) is not present in table \"p\"."), Some("(id)=(5)"));
        assert_eq!(key_of("Schlüssel (a, b)=(1, (x)) ist nicht vorhanden."), Some("(a, b)=(1, (x))"));
        assert_eq!(key_of("nothing"), None);
    }
}
