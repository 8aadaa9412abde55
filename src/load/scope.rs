//! The scope of the ledger: endpoint, bucket, path and target schema. One database may hold the ledgers of several feeds;
//! every statement on `loader_deliveries` and `loader_notifications` names the scope whose rows it means.

use std::fmt;

use sha2::{Digest, Sha256};
use tokio_postgres::types::{ToSql, Type};

use super::{Error, LEASE_CLASS, Target};
use crate::pg::Tx;
use crate::source;

/// The scope of a ledger: which feed its rows are of, and which schema they were loaded into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Feed {
    /// `aws`, or scheme, host and port of another store
    pub endpoint: String,
    pub bucket: String,
    /// Path without a slash at either end.
    pub path: String,
    /// The schema of all tables; empty for the feed's own.
    pub target_schema: String,
    id: i64,
}

impl Feed {
    /// Returns the scope of a SOURCE that is loaded into TARGET_SCHEMA.
    pub fn new(source: &source::settings::Settings, target_schema: Option<&str>) -> Self {
        let endpoint = source.endpoint.as_deref().map_or_else(|| AWS.to_owned(), normal_endpoint);
        Self::of([endpoint, source.bucket.clone(), source.path.clone(), target_schema.unwrap_or_default().to_owned()])
    }

    /// Returns the scope with these names, which are taken as they are: endpoint, bucket, path and target schema.
    pub fn of([endpoint, bucket, path, target_schema]: [String; 4]) -> Self {
        let hash = Sha256::digest(format!("{endpoint}\0{bucket}\0{path}\0{target_schema}"));
        // 48 bits: a reader of JSON may keep numbers as floats
        let id = hash.iter().take(6).fold(0, |id, byte| id << 8 | i64::from(*byte));
        Self { endpoint, bucket, path, target_schema, id }
    }

    /// Returns the number by which ledger rows and messages name their scope: a hash of its four names.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Returns the first key below the path, and the first key behind all of those, if there is one. Keys below
    /// `data` lie between `data/` and `data0`, as `0` is the next character after the slash.
    fn keys(&self) -> (String, Option<String>) {
        if self.path.is_empty() {
            return (String::new(), None);
        }
        (format!("{}/", self.path), Some(format!("{}0", self.path)))
    }
}

/// The endpoint of all buckets of AWS, whose names are unique.
const AWS: &str = "aws";

/// Returns one form for all ways to write an endpoint: lower case, no default port, no slash at the end.
fn normal_endpoint(endpoint: &str) -> String {
    let (scheme, place) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let scheme = scheme.to_ascii_lowercase();
    let place = place.trim_end_matches('/');
    let (host, rest) = place.split_at(place.find('/').unwrap_or(place.len()));
    let host = host.to_ascii_lowercase();
    let default_port = if scheme == "http" { ":80" } else { ":443" };
    let host = host.strip_suffix(default_port).unwrap_or(&host);
    match host.strip_suffix('.').unwrap_or(host) {
        // AWS buckets have several endpoint names, by region
        host if host.ends_with(".amazonaws.com") => AWS.to_owned(),
        host => format!("{scheme}://{host}{rest}"),
    }
}

/// Formats the scope for people.
impl fmt::Display for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, bucket, path, target_schema, .. } = self;
        write!(f, "bucket {bucket}, path {path:?} at {endpoint}")?;
        if target_schema.is_empty() { Ok(()) } else { write!(f, ", loaded into schema {target_schema}") }
    }
}

/// The advisory lock under which a scope takes the rows from before there were scopes: class and number.
const CLAIM_LOCK: (i32, i32) = (LEASE_CLASS, -3);

impl Target {
    /// Returns the scope of this target's ledger.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Registers the scope in `loader_scopes`, and takes the ledger rows below its path that have no scope yet: they are from
    /// before there were scopes. Returns the number of these rows.
    pub async fn start_scope(&self) -> Result<u64, Error> {
        let tx = self.pg.begin("start the scope").await?;
        if is_started(&tx, &self.feed).await? {
            tx.rollback().await?;
            return Ok(0);
        }
        let claimed = claim(&tx, &self.feed).await?;
        tx.commit().await?;
        Ok(claimed)
    }

    /// Returns the other scopes of this database's ledger.
    pub async fn other_scopes(&self) -> Result<Vec<Feed>, Error> {
        let sql = "select endpoint, bucket, path, target_schema from public.loader_scopes
            where id <> $1 order by endpoint, bucket, path, target_schema";
        let tx = self.pg.begin("read the scopes").await?;
        let rows = tx.query_typed(sql, &[(&self.feed.id, Type::INT8)]).await.map_err(|error| tx.error(error));
        tx.rollback().await?;
        Ok(rows?.iter().map(|row| Feed::of([row.get(0), row.get(1), row.get(2), row.get(3)])).collect())
    }
}

impl Target {
    /// Returns the error for a ledger row of another scope than this target's.
    pub(super) async fn of_another(&self, id: i64, scope: Option<i64>) -> Result<Error, Error> {
        let others = self.other_scopes().await?;
        let feed = others.iter().find(|other| Some(other.id) == scope).map(Feed::to_string);
        Ok(Error::OtherFeed {
            id,
            feed: feed.unwrap_or_else(|| "one that has not started since the upgrade".to_owned()),
        })
    }
}

/// Returns `true` if the scope is registered and nothing is left for it to take.
async fn is_started(tx: &Tx, feed: &Feed) -> Result<bool, Error> {
    let (from, to) = feed.keys();
    let parameters: [(&(dyn ToSql + Sync), Type); 4] =
        [(&feed.id, Type::INT8), (&feed.bucket, Type::TEXT), (&from, Type::TEXT), (&to, Type::TEXT)];
    let sql = "select exists (select from public.loader_scopes where id = $1)
        and not exists (select from public.loader_deliveries
                        where scope is null and bucket = $2 and object_key >= $3 and ($4 is null or object_key < $4))";
    Ok(tx.query_typed_one(sql, &parameters).await.map_err(|error| tx.error(error))?.get(0))
}

async fn claim(tx: &Tx, feed: &Feed) -> Result<u64, Error> {
    let lock: [(&(dyn ToSql + Sync), Type); 2] = [(&CLAIM_LOCK.0, Type::INT4), (&CLAIM_LOCK.1, Type::INT4)];
    let waited = tx.query_typed("select pg_advisory_xact_lock($1, $2)", &lock).await;
    waited.map_err(|error| tx.error(error))?;
    let names: [(&(dyn ToSql + Sync), Type); 5] = [
        (&feed.id, Type::INT8),
        (&feed.endpoint, Type::TEXT),
        (&feed.bucket, Type::TEXT),
        (&feed.path, Type::TEXT),
        (&feed.target_schema, Type::TEXT),
    ];
    let sql = "insert into public.loader_scopes (id, endpoint, bucket, path, target_schema)
        values ($1, $2, $3, $4, $5) on conflict (endpoint, bucket, path, target_schema) do nothing";
    tx.execute_typed(sql, &names).await.map_err(|error| tx.error(error))?;
    let (from, to) = feed.keys();
    let rows: [(&(dyn ToSql + Sync), Type); 4] =
        [(&feed.id, Type::INT8), (&feed.bucket, Type::TEXT), (&from, Type::TEXT), (&to, Type::TEXT)];
    let sql = "update public.loader_deliveries set scope = $1
        where scope is null and bucket = $2 and object_key >= $3 and ($4 is null or object_key < $4)";
    let claimed = tx.execute_typed(sql, &rows).await.map_err(|error| tx.error(error))?;
    let sql = "update public.loader_notifications n set scope = l.scope from public.loader_deliveries l
        where n.scope is null and l.id = n.delivery_id and l.scope = $1";
    tx.execute_typed(sql, &[(&feed.id, Type::INT8)]).await.map_err(|error| tx.error(error))?;
    // the rule for null was decided with a delivery, and moves with it
    let sql = "update public.loader_null_rules r set scope = l.scope from public.loader_deliveries l
        where l.id = r.delivery_id and l.scope = $1 and r.scope <> $1
          and not exists (select from public.loader_null_rules o
                          where (o.scope, o.schema_name, o.entity) = (l.scope, r.schema_name, r.entity))";
    tx.execute_typed(sql, &[(&feed.id, Type::INT8)]).await.map_err(|error| tx.error(error))?;
    Ok(claimed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(source: &str, schema: Option<&str>) -> Feed {
        Feed::new(&source.parse().expect(source), schema)
    }

    #[test]
    fn an_endpoint_is_the_same_however_it_is_written() {
        let id = |endpoint: &str| scope(&format!("bucket_name=b bucket_path=p bucket_endpoint={endpoint}"), None).id();
        let same = |all: &[&str]| all.windows(2).all(|two| id(two[0]) == id(two[1]));
        assert!(same(&["https://S3.example.com", "s3.example.com:443/", "HTTPS://s3.EXAMPLE.com.//"]));
        assert!(same(&["http://h:80", "http://H/"]));
        assert!(same(&["", "https://s3.eu-west-1.amazonaws.com", "s3.us-east-1.amazonaws.com:443"]));
        let all = ["", "http://h", "https://h", "https://h:9000", "https://h/a", "https://h/A", "https://aws"];
        let ids: std::collections::BTreeSet<i64> = all.into_iter().map(id).collect();
        assert_eq!(ids.len(), all.len());
    }

    #[test]
    fn each_of_the_four_names_makes_another_scope() {
        let one = scope("bucket_name=b bucket_path=/p/", Some("s"));
        assert_eq!(one, scope("bucket_name=b bucket_path=p bucket_region=x bucket_id=i bucket_key=k", Some("s")));
        assert_eq!(one.to_string(), r#"bucket b, path "p" at aws, loaded into schema s"#);
        for (source, schema) in [
            ("bucket_name=c bucket_path=p", Some("s")),
            ("bucket_name=b bucket_path=p/q", Some("s")),
            ("bucket_name=b bucket_path=p", Some("S")),
            ("bucket_name=b bucket_path=p", None),
            ("bucket_name=b bucket_path=p bucket_endpoint=h", Some("s")),
        ] {
            assert_ne!(one.id(), scope(source, schema).id(), "{source} {schema:?}");
        }
        assert!((0..1 << 48).contains(&one.id()));
    }
}
