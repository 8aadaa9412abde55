//! The bucket's listing as a stream of objects in key order, page by page; the next page is requested while the
//! present one is read.
//!
//! Some stores list folder by folder, which is not key order; for them the whole listing is read and sorted
//! (`sorter`).

use std::collections::HashSet;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::list_objects_v2::{ListObjectsV2Error, ListObjectsV2Output};
use aws_sdk_s3::types::{EncodingType, Object};
use tokio_util::task::AbortOnDropHandle;

use super::client::Bucket;
use super::entry::Listed;
use super::sorter::{Sorted, Sorter};
use super::{Error, error};
use crate::url;

/// Number of consecutive pages that begin like an earlier page, after which the listing is taken for an endless loop.
const STALE_PAGES: u32 = 3;

/// Objects below a path. The next page is requested while one is read; no more than these two are in memory.
pub(super) struct Listing {
    bucket: Bucket,
    prefix: String,
    page: std::vec::IntoIter<Listed>,
    /// Page that was requested; `None` after the last one.
    ahead: Option<Answer>,
    token: Option<String>,
    /// Instead of pages: what is sorted already.
    sorted: Option<Sorted>,
    last_key: String,
}

/// Request for a page. It is aborted when dropped.
type Answer = AbortOnDropHandle<Result<ListObjectsV2Output, SdkError<ListObjectsV2Error>>>;

impl Listing {
    /// Asks for the first page.
    pub(super) fn new(bucket: &Bucket, path: &str) -> Self {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let (bucket, ahead, page) = (bucket.clone(), None, Vec::new().into_iter());
        let mut listing = Self { bucket, prefix, page, ahead, token: None, sorted: None, last_key: String::new() };
        listing.ask(None);
        listing
    }

    /// Opens a listing of a store that does not list in key order: the whole listing is read and sorted first.
    pub(super) async fn sorted(bucket: &Bucket, path: &str) -> Result<Self, Error> {
        let mut listing = Self::new(bucket, path);
        let (mut sorter, mut begun, mut stale) = (Sorter::default(), HashSet::new(), 0);
        while listing.turn().await? {
            let new = listing.page.as_slice().first().is_none_or(|first| begun.insert(first.key.clone()));
            stale = if new { 0 } else { stale + 1 };
            if stale == STALE_PAGES {
                return Err(Error::Circle);
            }
            listing.page.by_ref().try_for_each(|listed| sorter.push(listed)).map_err(Error::Spill)?;
        }
        listing.sorted = Some(sorter.into_sorted().map_err(Error::Spill)?);
        Ok(listing)
    }

    /// Returns the next object, or `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Listed>, Error> {
        let Some(listed) = self.pull().await? else { return Ok(None) };
        if listed.key <= self.last_key && !self.last_key.is_empty() {
            return Err(Error::Unordered);
        }
        self.last_key.clone_from(&listed.key);
        Ok(Some(listed))
    }

    async fn pull(&mut self) -> Result<Option<Listed>, Error> {
        if let Some(sorted) = &mut self.sorted {
            loop {
                match sorted.pull_next().map_err(Error::Spill)? {
                    // what two pages show is one object
                    Some(listed) if listed.key == self.last_key => {}
                    next => return Ok(next),
                }
            }
        }
        loop {
            match self.page.next() {
                None if self.turn().await? => {}
                next => return Ok(next),
            }
        }
    }

    /// Takes the requested page, and requests the one after it. Returns `false` if there is none.
    async fn turn(&mut self) -> Result<bool, Error> {
        let Some(ahead) = self.ahead.take() else { return Ok(false) };
        let answer = ahead.await.map_err(|lost| error::of_task(&lost, &self.bucket))?;
        let page = answer.map_err(|answer| error::of_bucket(answer, &self.bucket))?;
        if let Some(next) = page.next_continuation_token.filter(|_| page.is_truncated == Some(true)) {
            if self.token.as_ref() == Some(&next) {
                return Err(Error::Circle);
            }
            self.ask(Some(next));
        }
        // Some stores ignore the requested encoding, and say so.
        let encoded = page.encoding_type == Some(EncodingType::Url);
        let objects = page.contents.unwrap_or_default().into_iter();
        self.page = objects.filter_map(|object| listed(object, encoded)).collect::<Vec<_>>().into_iter();
        Ok(true)
    }

    /// Asks for the page after a continuation token; the first has none.
    fn ask(&mut self, token: Option<String>) {
        let request = self.bucket.client.list_objects_v2().bucket(&self.bucket.name).prefix(&self.prefix);
        // a key may have characters that XML may not
        let request = request.encoding_type(EncodingType::Url).set_continuation_token(token.clone());
        self.token = token;
        self.ahead = Some(AbortOnDropHandle::new(tokio::spawn(request.send())));
    }
}

/// Returns an object, or `None` if it lacks a key, an etag or a time.
pub(super) fn listed(object: Object, encoded: bool) -> Option<Listed> {
    let key = object.key?;
    Some(Listed {
        // most keys have nothing to decode
        key: if encoded && key.contains(['%', '+']) { decoded(&key) } else { key },
        etag: object.e_tag?.trim_matches('"').to_owned(),
        size: u64::try_from(object.size?).ok()?,
        modified: object.last_modified?.secs(),
    })
}

/// Decodes a key as the store encodes it: like a form, in which a plus is a space.
pub(super) fn decoded(key: &str) -> String {
    url::decode(&key.replace('+', " ")).unwrap_or_else(|_| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn an_encoded_key_is_decoded() {
        assert_eq!(decoded("data/a+b%2Bc%25/%01%C3%A9.csv"), "data/a b+c%/\u{1}é.csv");
        assert_eq!(decoded("data/100%"), "data/100%", "which is not encoded after all");
    }
}
