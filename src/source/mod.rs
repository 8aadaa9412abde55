//! The S3 Source: what is there, in feed order, and its bytes.
//!
//! `pending` lists the bucket against what the ledger knows and plans what to load next (`order`, pure); `open` downloads
//! a pending delivery, pinned to the version that was listed.

mod again;
mod changes;
mod client;
mod copied;
mod entry;
mod error;
mod generation;
mod head;
mod history;
pub mod key;
mod listing;
mod object;
mod partition;
mod parts;
mod plan;
mod planner;
mod probe;
pub mod settings;
mod sorter;
mod table;
mod unrecorded;

use std::cmp::Ordering::{Greater, Less};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use futures_util::{Stream, StreamExt};

pub use again::Again;
use client::Bucket;
pub use entry::{Content, Entry, Listed, Request, Status, stands};
pub use error::Error;
pub use history::{Loaded, MissingVersion};
pub use key::{Entity, IgnoredCounts};
use listing::Listing;
pub use object::{Contents, Download};
pub use plan::{Before, IfSame, Later, Likeness, Object, Pending, Plan, Step, Stop, TablePlan};
pub use planner::{PlanOptions, Planner};
pub use probe::{FileKinds, Magic, Probe};
use settings::Settings;
pub use unrecorded::{Unrecorded, Waiting};

use crate::decode::dialect::Order;

/// Ledger rows of this bucket and path, in key order (byte by byte), provided by the target.
pub struct Known<E> {
    pub entries: Pin<Box<dyn Stream<Item = Result<Entry, E>> + Send>>,
}

/// Taking stock failed on one of its two sides.
#[derive(Debug, thiserror::Error)]
pub enum PlannerError<E> {
    #[error(transparent)]
    Source(Error),
    #[error(transparent)]
    Ledger(E),
}

/// The bucket and the path of the feed in it.
#[derive(Clone)]
pub struct Source {
    bucket: Bucket,
    path: String,
    order: Order,
    /// The store was seen to list in another order than by key.
    unordered: Arc<AtomicBool>,
}

impl Source {
    /// Connects to the source. `order` decides the order of change files.
    pub async fn connect(settings: &Settings, order: Order) -> Result<Self, Error> {
        let unordered = Arc::default();
        Ok(Self { bucket: Bucket::connect(settings).await?, path: settings.path.clone(), order, unordered })
    }

    pub fn bucket(&self) -> &str {
        &self.bucket.name
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// Plans what to load next: the listing and the ledger are merged in key order. `Error::Unordered` comes once,
    /// from a store that does not list in key order; from then on its listing is sorted here. `asked` has the options
    /// from the last plan. Files without a ledger row that do not fit into the plan are returned beside it.
    pub async fn pending<E>(
        &self,
        known: Known<E>,
        asked: &PlanOptions,
    ) -> Result<(Plan, Unrecorded), PlannerError<E>> {
        let listing = match self.unordered.load(Ordering::Relaxed) {
            false => Listing::new(&self.bucket, &self.path),
            true => Listing::sorted(&self.bucket, &self.path).await.map_err(PlannerError::Source)?,
        };
        let stock = self.walk(listing, known, asked).await;
        stock.map(Planner::finish).inspect_err(|error| {
            if matches!(error, PlannerError::Source(Error::Unordered)) {
                self.unordered.store(true, Ordering::Relaxed);
            }
        })
    }

    async fn walk<'a, E>(
        &self,
        mut listing: Listing,
        mut known: Known<E>,
        asked: &'a PlanOptions,
    ) -> Result<Planner<'a>, PlannerError<E>> {
        let mut stock = Planner::new(&self.path, self.order, asked);
        let mut object = listing.next().await.map_err(PlannerError::Source)?;
        let mut entry = next_entry(&mut known).await?;
        let mut rows = Vec::new();
        loop {
            let order = match (&object, &entry) {
                (Some(object), Some(entry)) => object.key.cmp(&entry.key),
                (Some(_), None) => Less,
                (None, Some(_)) => Greater,
                (None, None) => return Ok(stock),
            };
            rows.clear();
            if order.is_ge() {
                rows.extend(entry.take());
            }
            while let Some(row) = rows.last() {
                entry = next_entry(&mut known).await?;
                match entry.take_if(|entry| entry.key == row.key) {
                    Some(next) => rows.push(next),
                    None => break,
                }
            }
            let listed = object.take_if(|_| order.is_le());
            if listed.is_some() {
                object = listing.next().await.map_err(PlannerError::Source)?;
            }
            stock.see(listed, &rows);
        }
    }

    /// Opens a pending delivery, pinned to the versions that were listed.
    pub async fn open(&self, pending: &Pending) -> Result<Download, Error> {
        Download::open(&self.bucket, pending.objects.iter().map(|object| object.listed.clone())).await
    }

    /// Reads an object for its content alone, pinned to the version that was listed.
    pub async fn content(&self, object: &Object) -> Result<Content, Error> {
        object::content(&self.bucket, &object.listed).await
    }

    /// Makes the bucket, unless it is there: for `feed make`.
    pub async fn create_bucket(&self) -> Result<(), Error> {
        let request = self.bucket.client.create_bucket().bucket(&self.bucket.name);
        match request.send().await {
            Err(answer) if answer.code() == Some("BucketAlreadyOwnedByYou") => Ok(()),
            other => other.map(|_| ()).map_err(|answer| error::of_bucket(answer, &self.bucket)),
        }
    }

    /// Puts a file at a key below the path: for `feed make`.
    pub async fn put(&self, key: &str, file: &Path) -> Result<(), Error> {
        let body = ByteStream::from_path(file).await.map_err(|error| Error::Unreadable(error.to_string()))?;
        let request = self.bucket.client.put_object().bucket(&self.bucket.name).key(key).body(body);
        request.send().await.map_err(|answer| error::of_bucket(answer, &self.bucket))?;
        Ok(())
    }
}

async fn next_entry<E>(known: &mut Known<E>) -> Result<Option<Entry>, PlannerError<E>> {
    known.entries.next().await.transpose().map_err(PlannerError::Ledger)
}
