//! Reads the ledger for the status page, on a connection of its own and in short read-only transactions, so that page
//! views do not disturb a loader. Only committed data are read, also in a dry run.

use serde::Deserialize;
use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};

use super::ledger_admin::values;
use super::tables::TableStop;
use super::tables_admin;
use super::{Error, Feed, TableState};
use crate::decode::File;
use crate::pg::settings::Settings;
use crate::pg::{Pg, Tx};
use crate::source::Status;

/// Read-only access to the ledger of one feed.
#[derive(Clone)]
pub struct Reader {
    pg: Pg,
    feed: Feed,
}

/// State of the whole ledger.
#[derive(Debug)]
pub struct Overview {
    pub tables: Vec<TableState>,
    pub newest: Vec<Delivery>,
    pub messages_waiting: u64,
    /// Tables that are not what was loaded, as recorded by the loader.
    pub table_stops: Vec<TableStop>,
}

/// Selection of the deliveries to list, at most `limit`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub status: Option<Status>,
    pub kind: Option<File>,
    /// The table's name as the feed has it, with or without its schema.
    pub table: Option<String>,
    pub page: Start,
    pub limit: u32,
}

/// Position at which a page of the list begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    #[default]
    Newest,
    /// The newest of those with a lower id.
    Before(i64),
    /// The oldest of those with a higher id.
    After(i64),
}

/// One page of the list of deliveries, newest first; `newer` and `older` say whether there are other pages.
#[derive(Debug)]
pub struct Listing {
    pub deliveries: Vec<Delivery>,
    pub newer: bool,
    pub older: bool,
    /// Names of all tables in the ledger, as `schema.entity`.
    pub tables: Vec<String>,
}

/// One delivery with its rejected rows and its message.
#[derive(Debug)]
pub struct DeliveryDetails {
    pub delivery: Delivery,
    /// The first rejected rows, without their content.
    pub rejects: Vec<Reject>,
    pub message: Option<Message>,
}

/// A row of the ledger. Times are UTC, as Postgres writes them in JSON.
#[derive(Debug, Clone, Deserialize)]
pub struct Delivery {
    pub id: i64,
    pub bucket: String,
    pub object_key: String,
    pub etag: String,
    pub size_bytes: u64,
    pub last_modified: String,
    pub schema_name: String,
    pub entity: String,
    pub kind: String,
    pub generation: i32,
    pub status: String,
    pub rows_read: u64,
    pub rows_create: u64,
    pub rows_amend: u64,
    pub rows_remove: u64,
    pub rows_unchanged: u64,
    pub rows_rejected: u64,
    pub claimed: Option<Value>,
    pub max_event_id: Option<i64>,
    pub started_at: String,
    pub committed_at: String,
    pub host: String,
    pub version: String,
    pub attempts: i32,
    pub requested: Option<String>,
    pub superseded_by: Option<i64>,
    pub error: Option<String>,
    pub actor: Option<String>,
    pub reason: Option<String>,
}

/// Position of a rejected row, and the reason for its rejection.
#[derive(Debug, Clone, Deserialize)]
pub struct Reject {
    pub line: i64,
    pub column_name: Option<String>,
    pub reason: String,
}

/// The message about a delivery.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    pub subject: String,
    pub message_id: String,
    pub payload: String,
    pub created_at: String,
    pub published_at: Option<String>,
}

/// Maximum number of rejected rows to show.
const REJECTS: i64 = 100;

type Parameters<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

impl Reader {
    /// Creates the reader; the first query connects.
    pub fn new(settings: &Settings, feed: Feed) -> Result<Self, Error> {
        Ok(Self { pg: Pg::onlooker(settings)?, feed })
    }

    /// Returns the state of each table, and the newest deliveries.
    pub async fn overview(&self, newest: u32) -> Result<Overview, Error> {
        let scope = self.feed.id();
        let feed: [(&(dyn ToSql + Sync), Type); 1] = [(&scope, Type::INT8)];
        let waiting =
            "select count(*)::text from public.loader_notifications where scope = $1 and published_at is null";
        let wanted = Wanted { limit: newest, ..Wanted::default() };
        let tx = self.pg.begin("show how it stands").await?;
        let (tables, newest, waiting, stops) = tokio::join!(
            typed(&tx, include_str!("ledger_query_overview.sql"), &feed),
            self.deliveries(&tx, &wanted),
            typed(&tx, waiting, &feed),
            tables_admin::recorded(&tx, &self.feed),
        );
        tx.rollback().await?;
        let messages_waiting = waiting?.pop().unwrap_or(0);
        Ok(Overview { tables: tables?, newest: newest?, messages_waiting, table_stops: stops? })
    }

    /// Returns one page of the list of deliveries, newest first.
    pub async fn list(&self, wanted: &Wanted) -> Result<Listing, Error> {
        let more = Wanted { limit: wanted.limit + 1, ..wanted.clone() };
        let scope = self.feed.id();
        let feed: [(&(dyn ToSql + Sync), Type); 1] = [(&scope, Type::INT8)];
        let tx = self.pg.begin("list deliveries").await?;
        let (found, tables) =
            tokio::join!(self.deliveries(&tx, &more), typed(&tx, include_str!("ledger_query_tables.sql"), &feed));
        tx.rollback().await?;
        let (mut deliveries, limit) = (found?, wanted.limit as usize);
        let more = deliveries.len() > limit;
        // one row more than the limit shows that there is another page; it is the last one in reading direction
        let (newer, older) = match wanted.page {
            Start::Newest => (false, more),
            Start::Before(_) => (true, more),
            Start::After(_) => (more, true),
        };
        match wanted.page {
            Start::After(_) if more => _ = deliveries.remove(0),
            _ => deliveries.truncate(limit),
        }
        Ok(Listing { deliveries, newer, older, tables: tables? })
    }

    /// Returns one delivery of the feed with all its details, or `None` if the feed has no such delivery.
    pub async fn dossier(&self, id: i64) -> Result<Option<DeliveryDetails>, Error> {
        let scope = self.feed.id();
        let row = "select row_to_json(l)::text from public.loader_deliveries l where id = $1 and scope = $2";
        let feed: [(&(dyn ToSql + Sync), Type); 2] = [(&id, Type::INT8), (&scope, Type::INT8)];
        let rejects = "select json_build_object('line', line, 'column_name', column_name, 'reason', reason)::text
            from public.loader_rejects where delivery_id = $1 order by object_key, line limit $2";
        let message = "select row_to_json(n)::text from public.loader_notifications n
            where delivery_id = $1 order by id limit 1";
        let first: [(&(dyn ToSql + Sync), Type); 2] = [(&id, Type::INT8), (&REJECTS, Type::INT8)];
        let tx = self.pg.begin("show a delivery").await?;
        let (delivery, rejects, message) =
            tokio::join!(typed(&tx, row, &feed), typed(&tx, rejects, &first), typed(&tx, message, &first[..1]),);
        tx.rollback().await?;
        let (rejects, message): (Vec<Reject>, Vec<Message>) = (rejects?, message?);
        let found = delivery?.pop();
        Ok(found.map(|delivery| DeliveryDetails { delivery, rejects, message: message.into_iter().next() }))
    }

    async fn deliveries(&self, tx: &Tx, wanted: &Wanted) -> Result<Vec<Delivery>, Error> {
        let scope = self.feed.id();
        let (bound, order) = match wanted.page {
            Start::Newest => (i64::MAX, "id <= $5 order by id desc"),
            Start::Before(id) => (id, "id < $5 order by id desc"),
            Start::After(id) => (id, "id > $5 order by id"),
        };
        let sql = format!(
            "select row_to_json(l)::text from public.loader_deliveries l
             where scope = $1 and ($2 is null or status = $2) and ($3 is null or kind = $3)
               and ($4 is null or $4 in (entity, schema_name || '.' || entity))
               and {order} limit $6"
        );
        let (status, kind) = (wanted.status.map(Status::as_str), wanted.kind.map(File::as_str));
        let limit = i64::from(wanted.limit);
        let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
            (&scope, Type::INT8),
            (&status, Type::TEXT),
            (&kind, Type::TEXT),
            (&wanted.table, Type::TEXT),
            (&bound, Type::INT8),
            (&limit, Type::INT8),
        ];
        let mut found: Vec<Delivery> = typed(tx, &sql, &parameters).await?;
        found.sort_by_key(|delivery| std::cmp::Reverse(delivery.id));
        Ok(found)
    }
}

/// Deserialises the only column of an answer, which is JSON.
async fn typed<T: for<'de> Deserialize<'de>>(tx: &Tx, sql: &str, parameters: Parameters<'_>) -> Result<Vec<T>, Error> {
    let rows = values(tx, sql, parameters).await?;
    rows.into_iter().map(|row| serde_json::from_value(row).map_err(|_| Error::Garbled)).collect()
}
