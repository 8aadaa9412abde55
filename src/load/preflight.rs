//! Queries of the command `check` about the target: the server's version, the loader's rights, and whether the feed's
//! tables can be loaded. Each query runs in a read-only transaction.

use tokio_postgres::types::{ToSql, Type};

use super::catalog::{Refused, Table};
use super::{Error, Target, encoder};
use crate::decode::File;
use crate::pg::Tx;
use crate::source::Entity;

/// The server and the role, as the connection has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Version as the server reports it, like `18.6`.
    pub version: String,
    pub role: String,
    pub superuser: bool,
    /// `true` if the server is a standby.
    pub standby: bool,
    /// Transactions may not write.
    pub read_only: bool,
    /// The protocol that the server sees, like `TLSv1.3`; none for plain text. Behind a pooler it is the pooler's.
    pub tls: Option<String>,
    /// `true` if the role may create tables in `public`.
    pub creates: bool,
    /// The same as a number, like 180006.
    pub number: i32,
    /// Reason for which no table of the database can be kept equal to a feed.
    pub unfit: Option<Unfit>,
}

/// A setting under which a table could not be kept equal to its feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the database's encoding is {0}, not UTF8; create one with encoding UTF8")]
    Encoding(String),
    #[error(
        "session_replication_role is {0}, under which triggers and foreign keys do nothing; set it to origin for the role and \
         the database"
    )]
    ReplicationRole(String),
}

impl Unfit {
    fn read(encoding: String, replication_role: String) -> Option<Self> {
        match (encoding.as_str(), replication_role.as_str()) {
            ("UTF8", "origin") => None,
            ("UTF8", _) => Some(Self::ReplicationRole(replication_role)),
            _ => Some(Self::Encoding(encoding)),
        }
    }
}

/// Rights that the role lacks on one of the loader's own tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// Name with its schema, quoted if necessary.
    pub object: String,
    /// The statement that would grant it; none if nothing is missing.
    pub wants: Option<String>,
}

/// A table of the feed as the target has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    pub oid: u32,
    pub schema: String,
    /// Name with its schema, quoted if necessary.
    pub object: String,
    pub keyless: bool,
    /// Reason for which the table cannot be loaded.
    pub refused: Option<Refused>,
    /// Reason for which the table's deliveries have no `max_event_id`.
    pub no_event_id: Option<String>,
    /// The statement that would grant what the role lacks.
    pub wants: Option<String>,
}

/// The oldest server that has all that our statements name: the type `xid8`.
const OLDEST: i32 = 130_000;

impl Server {
    /// Returns `true` if the server's version supports the loader's statements.
    pub fn is_supported(&self) -> bool {
        self.number >= OLDEST
    }
}

impl Target {
    /// Connects and returns the server's properties.
    pub async fn server(&self) -> Result<Server, Error> {
        let tx = self.pg.begin("look at the server").await?;
        let row =
            tx.query_typed_one(include_str!("preflight_server.sql"), &[]).await.map_err(|error| tx.error(error))?;
        tx.commit().await?;
        Ok(Server {
            version: row.get("version"),
            number: row.get("number"),
            role: row.get("role"),
            superuser: row.get("superuser"),
            standby: row.get("standby"),
            read_only: row.get("read_only"),
            tls: row.get("tls"),
            creates: row.get("creates"),
            unfit: Unfit::read(row.get("encoding"), row.get("replication_role")),
        })
    }

    /// Returns the rights that the role lacks on the loader's own tables and sequences, as far as they exist.
    pub async fn own_grants(&self) -> Result<Vec<Grants>, Error> {
        let tx = self.looking().await?;
        let rows = tx.query_typed(include_str!("preflight_own.sql"), &[]).await.map_err(|error| tx.error(error))?;
        tx.rollback().await?;
        Ok(rows.iter().map(|row| Grants { object: row.get("object"), wants: row.get("wants") }).collect())
    }

    /// Returns the table for an entity, checked as before a delivery; `file` is the most demanding kind of file that
    /// is expected.
    pub async fn mapped(&self, entity: &Entity, file: File) -> Result<Option<Mapped>, Error> {
        let tx = self.looking().await?;
        let found = Table::find_even_reserved(&tx, None, entity, self.settings.schema.as_deref()).await?;
        let Some(table) = found else { return Ok(None) };
        let row = tx.query_typed_one(include_str!("preflight_table.sql"), &[(&table.oid, Type::OID)]).await;
        let row = row.map_err(|error| tx.error(error))?;
        tx.rollback().await?;
        let refused = match table.check(file) {
            Err(Error::Table { why, .. }) => Some(why),
            _ => None,
        };
        Ok(Some(Mapped {
            oid: table.oid,
            object: row.get("object"),
            wants: row.get("wants"),
            keyless: table.is_keyless(),
            no_event_id: encoder::no_event_id(&table, &self.settings.event_id),
            schema: table.schema,
            refused,
        }))
    }

    /// Returns the tables of these schemas for which the feed has no folder; `fed` lists those that have one.
    pub async fn unfed(&self, schemas: &[String], fed: &[u32]) -> Result<Vec<String>, Error> {
        let tx = self.looking().await?;
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&schemas, Type::TEXT_ARRAY), (&fed, Type::OID_ARRAY)];
        let rows = tx.query_typed(include_str!("preflight_unfed.sql"), &parameters).await;
        let rows = rows.map_err(|error| tx.error(error))?;
        tx.rollback().await?;
        Ok(rows.iter().map(|row| row.get("object")).collect())
    }

    /// Begins a transaction that cannot write and has a short statement timeout.
    async fn looking(&self) -> Result<Tx, Error> {
        let tx = self.pg.begin("look at the tables").await?;
        let sql = "set local transaction_read_only = on; set local statement_timeout = '10s'";
        tx.batch_execute(sql).await.map_err(|error| tx.error(error))?;
        Ok(tx)
    }
}
