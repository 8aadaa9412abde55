//! Download of a pending delivery, pinned by etag. Bytes are counted, and a short or stalled body is never taken for
//! a complete one.
//!
//! A `Download` is read on a thread of its own and requests each piece from the runtime. Failures of the download are
//! temporary and pass through the reader as a `source::Error`.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Buf, Bytes};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::client::Bucket;
use super::entry::{Content, Listed};
use super::{Error, error};
use crate::decode::Parts;
use crate::failpoint;

/// Maximum time for which the bucket may send nothing while more is requested. Time in which nothing is requested
/// does not count.
const STALL: Duration = Duration::from_secs(60);

/// The objects of one delivery, opened one after the other.
pub struct Download {
    bucket: Bucket,
    runtime: Handle,
    first: Option<PartBytes>,
    rest: VecDeque<Listed>,
    read: Arc<AtomicU64>,
    contents: Contents,
    /// Size of the object that was opened last.
    size: Option<u64>,
}

/// The content of each object that was read to its end, in their order.
pub type Contents = Arc<Mutex<Vec<Content>>>;

/// Reads an object to its end, for its content alone.
pub(super) async fn content(bucket: &Bucket, listed: &Listed) -> Result<Content, Error> {
    let read = Arc::new(AtomicU64::new(0));
    let mut part = PartBytes::open(bucket, listed.clone(), Handle::current(), read, Contents::default()).await?;
    let mut digest = Sha256::new();
    while let Some(piece) = part.next_piece().await? {
        digest.update(&piece);
    }
    Ok(digest.finalize().into())
}

impl Download {
    /// Opens the first object now, so that a change since the listing shows before any work is done.
    pub(super) async fn open(bucket: &Bucket, objects: impl Iterator<Item = Listed>) -> Result<Self, Error> {
        let mut rest: VecDeque<Listed> = objects.collect();
        let read = Arc::new(AtomicU64::new(0));
        let (runtime, contents) = (Handle::current(), Contents::default());
        let first = match rest.pop_front() {
            Some(listed) => {
                Some(PartBytes::open(bucket, listed, runtime.clone(), read.clone(), contents.clone()).await?)
            }
            None => None,
        };
        Ok(Self { bucket: bucket.clone(), runtime, first, rest, read, contents, size: None })
    }

    /// Returns the hashes of the objects that were read to their end so far.
    pub fn contents(&self) -> Contents {
        self.contents.clone()
    }

    /// Returns the counter of compressed bytes, which is updated while they are read.
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        self.read.clone()
    }
}

impl Parts for Download {
    type Bytes = PartBytes;

    fn next_part(&mut self) -> io::Result<Option<(PartBytes, bool)>> {
        let part = match self.first.take() {
            Some(first) => first,
            None => {
                let Some(listed) = self.rest.pop_front() else { return Ok(None) };
                let (runtime, read, contents) = (self.runtime.clone(), self.read.clone(), self.contents.clone());
                let open = PartBytes::open(&self.bucket, listed, runtime, read, contents);
                self.runtime.block_on(open).map_err(io::Error::other)?
            }
        };
        let must_be_gzip = part.listed.key.ends_with(".gz");
        self.size = Some(part.listed.size);
        Ok(Some((part, must_be_gzip)))
    }

    fn size(&self) -> Option<u64> {
        self.size
    }
}

/// The bytes of one object.
pub struct PartBytes {
    listed: Listed,
    body: ByteStream,
    piece: Bytes,
    /// Bytes of this object received so far.
    received: u64,
    runtime: Handle,
    read: Arc<AtomicU64>,
    /// Hash of what was read so far; `None` once the object was read to its end.
    digest: Option<Sha256>,
    contents: Contents,
}

impl PartBytes {
    async fn open(
        bucket: &Bucket,
        listed: Listed,
        runtime: Handle,
        read: Arc<AtomicU64>,
        contents: Contents,
    ) -> Result<Self, Error> {
        let request = bucket.client.get_object().bucket(&bucket.name).key(&listed.key);
        let answer = request.if_match(format!("\"{}\"", listed.etag)).send().await;
        let output = answer.map_err(|answer| error::of_object(answer, bucket, &listed.key))?;
        check_version(&output, &listed)?;
        let (body, digest) = (output.body, Some(Sha256::new()));
        Ok(Self { listed, body, piece: Bytes::new(), received: 0, runtime, read, digest, contents })
    }

    /// Returns the next piece of the body, or `None` at its end, which must be at the listed size.
    async fn next_piece(&mut self) -> Result<Option<Bytes>, Error> {
        let stalled = || Error::Stalled { key: self.listed.key.clone(), seconds: STALL.as_secs() };
        match tokio::time::timeout(STALL, self.body.next()).await.map_err(|_| stalled())? {
            Some(Ok(piece)) => {
                failpoint::reach("mid_download");
                self.received += piece.len() as u64;
                Ok(Some(piece))
            }
            Some(Err(cut)) => {
                Err(Error::Cut { key: self.listed.key.clone(), at: self.received, what: cut.to_string() })
            }
            None if self.received != self.listed.size => {
                Err(Error::Short { key: self.listed.key.clone(), received: self.received, expected: self.listed.size })
            }
            None => Ok(None),
        }
    }
}

impl Read for PartBytes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let runtime = self.runtime.clone();
            match runtime.block_on(self.next_piece()).map_err(io::Error::other)? {
                Some(piece) => {
                    if let Some(digest) = &mut self.digest {
                        digest.update(&piece);
                    }
                    self.piece = piece;
                }
                None => {
                    if let Some(digest) = self.digest.take() {
                        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
                        contents.push(digest.finalize().into());
                    }
                    return Ok(0);
                }
            }
        }
        let count = into.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut into[..count]);
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Checks that the answer is for the listed version. `If-Match` pins the bytes, but some stores ignore it. The time
/// must match too, because it is part of a snapshot part's identity.
pub(super) fn check_version(output: &GetObjectOutput, listed: &Listed) -> Result<(), Error> {
    let modified = output.last_modified().map(aws_sdk_s3::primitives::DateTime::secs);
    // something between us and the store may call it weak
    let etag = output.e_tag().map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
    if modified.is_some_and(|modified| modified != listed.modified) || etag.is_some_and(|etag| etag != listed.etag) {
        return Err(Error::Changed { key: listed.key.clone() });
    }
    Ok(())
}
