//! Tables that are never loaded, whatever the rights of the loader's role: those of the system schemas and the
//! loader's own. A file for `pg_authid` could create a superuser, and a file for the outbox could publish any
//! message.

use super::Target;
use crate::source::Entity;

/// The schema of the loader's own tables.
const OWN_SCHEMA: &str = "public";
/// The names of the loader's own tables begin with this.
const OWN_PREFIX: &str = "loader_";

/// Returns `true` for a table that is never loaded. Case is ignored: a quoted name that differs in case only may be meant to
/// be mistaken for the other.
pub(super) fn is_reserved(schema: &str, name: &str) -> bool {
    let (schema, name) = (schema.to_lowercase(), name.to_lowercase());
    schema.starts_with("pg_")
        || schema == "information_schema"
        || (schema == OWN_SCHEMA && name.starts_with(OWN_PREFIX))
}

impl Target {
    /// Returns `true` if a folder of the feed names a table that is never loaded.
    pub fn is_reserved(&self, entity: &Entity) -> bool {
        is_reserved(self.settings.schema.as_deref().unwrap_or(&entity.schema), &entity.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_schemas_and_the_loaders_own_tables_are_reserved() {
        let reserved = [
            ("public", "loader_deliveries"),
            ("PUBLIC", "Loader_Notifications"),
            ("public", "loader_of_a_later_version"),
            ("pg_catalog", "pg_authid"),
            ("PG_CATALOG", "pg_authid"),
            ("pg_toast", "pg_toast_1"),
            ("pg_temp_3", "t"),
            ("information_schema", "sql_features"),
        ];
        for (schema, name) in reserved {
            assert!(is_reserved(schema, name), "{schema}.{name}");
        }
        for (schema, name) in [("public", "loader"), ("dbo", "loader_deliveries"), ("public", "orders"), ("pgx", "t")] {
            assert!(!is_reserved(schema, name), "{schema}.{name}");
        }
    }
}
