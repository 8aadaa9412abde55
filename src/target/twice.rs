//! The same key in two parts of a first load: Postgres refuses the later part, and the parts are read once more to name both places.

use tokio_postgres::types::Type;

use super::Error;
use super::intake::Order;
use super::work::Work;
use crate::decode::{Parts, Rows};
use crate::pg::Parameter;
use crate::source::{Listed, Object, Pending};

impl Work {
    /// Undoes what a failed delivery did and returns the parts of its full load: those that are loaded, then the delivery's own.
    pub async fn with_earlier_parts(&self, pending: &Pending) -> Result<Pending, Error> {
        self.again().await?;
        let (_, scope, _) = self.place();
        let (entity, generation) = (&pending.entity, pending.generation);
        let parameters: [Parameter<'_>; 4] =
            [(&scope, Type::INT8), (&entity.schema, Type::TEXT), (&entity.name, Type::TEXT), (&generation, Type::INT4)];
        let sql = "select object_key, etag, size_bytes, extract(epoch from last_modified)::bigint
            from public.loader_deliveries
            where scope = $1 and schema_name = $2 and entity = $3 and kind = 'snapshot' and generation = $4
              and status = 'loaded'
            order by id";
        let rows = self.tx.query_typed(sql, &parameters).await.map_err(|error| self.tx.error(error))?;
        let part = |row: &tokio_postgres::Row| {
            let size = u64::try_from(row.get::<_, i64>(2)).unwrap_or(0);
            let listed = Listed { key: row.get(0), etag: row.get(1), size, modified: row.get(3) };
            Object { listed, entry: None, new: false, replaces: Vec::new() }
        };
        let objects = rows.iter().map(part).chain(pending.objects.iter().cloned()).collect();
        Ok(Pending { objects, ..pending.clone() })
    }

    /// Reads rows, to no other end than to refuse a key that comes twice.
    pub async fn refuse_twice<P>(&self, rows: Rows<P>) -> Result<(), Error>
    where
        P: Parts + Send + 'static,
        P::Bytes: Send,
    {
        let rejects = self.rejects();
        let mut intake = match self.table.asks() {
            true => self.ask(rows, Order::Any, rejects.as_ref()).await?,
            false => self.intake(rows, Order::Any, rejects.as_ref(), false),
        };
        while intake.next().await?.is_some() {}
        Ok(())
    }
}
