//! Fingerprints of the target for a plan file: the database, the definitions of its tables, and the settings that
//! decide how a file changes them.

use std::fmt::Write;

use sha2::{Digest, Sha256};
use tokio_postgres::types::Type;

use super::rejects::BadRows;
use super::settings::Settings;
use super::{Error, Target};
use crate::source::Entity;

impl Target {
    /// Returns a short digest of the table's definition, which changes if the table is altered or recreated; `None`
    /// without a table.
    pub async fn definition(&self, entity: &Entity) -> Result<Option<String>, Error> {
        let tx = self.pg.begin("look a table up").await?;
        let table = self.table(&tx, entity).await;
        tx.rollback().await?;
        Ok(table?.map(|table| digest(&format!("{};{};{}", table.oid, table.quoted(), table.fingerprint()))))
    }

    /// Returns the name of the database.
    pub async fn database(&self) -> Result<String, Error> {
        let tx = self.pg.begin("name the database").await?;
        let row = tx.query_typed_one("select current_database()::text", &[]).await;
        let name = row.map_err(|error| tx.error(error)).map(|row| row.get(0));
        tx.rollback().await?;
        Ok(name?)
    }

    /// Returns key, etag, delivery id and status of each ledger row for these keys that is not pending.
    pub async fn accounted(&self, keys: &[&str]) -> Result<Vec<(String, String, i64, String)>, Error> {
        let sql = "select object_key, etag, id, status from public.loader_deliveries
            where scope = $1 and object_key = any($2) and status <> 'pending' order by id";
        let tx = self.pg.begin("look files up").await?;
        let rows = tx.query_typed(sql, &[(&self.feed.id(), Type::INT8), (&keys, Type::TEXT_ARRAY)]).await;
        let rows = rows.map_err(|error| tx.error(error));
        tx.rollback().await?;
        Ok(rows?.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect())
    }

    /// Returns the settings that decide how a file changes its table, each with its variable.
    pub fn terms(&self) -> Vec<(&'static str, String)> {
        terms(&self.settings)
    }
}

fn terms(settings: &Settings) -> Vec<(&'static str, String)> {
    let Settings { schema, max_remove, bad_rows, event_id, .. } = settings;
    let bad_rows = match bad_rows {
        BadRows::Stop => "stop".to_owned(),
        BadRows::Quarantine { most } => format!("quarantine, MAX_REJECTS={most}"),
    };
    vec![
        ("TARGET_SCHEMA", schema.clone().unwrap_or_default()),
        ("MAX_REMOVE", max_remove.to_string()),
        ("ON_BAD_ROW", bad_rows),
        ("EVENT_ID", event_id.clone()),
    ]
}

/// Returns a short hash of a text.
pub fn digest(text: &str) -> String {
    short(&Sha256::digest(text.as_bytes()))
}

/// Returns the first 16 hexadecimal digits of a hash, which are enough to detect a change.
pub fn short(hash: &[u8]) -> String {
    hash.iter().take(8).fold(String::new(), |mut digits, byte| {
        // writing to a String cannot fail
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn a_digest_is_short_and_tells_texts_apart() {
        assert_eq!(digest(""), "e3b0c44298fc1c14");
        assert_ne!(digest("a;1"), digest("a;2"));
    }
}
