//! The bucket's listing as a stream of objects in key order, page by page.
//!
//! Some stores list folder by folder, which is not key order; for them the whole listing is read and sorted.

use std::collections::{BTreeMap, VecDeque};

use aws_sdk_s3::types::{EncodingType, Object};

use super::client::Bucket;
use super::entry::Listed;
use super::{Error, error};
use crate::url;

/// So many pages in a row that show nothing new: the listing will never end, whatever its tokens are.
const STALE_PAGES: u32 = 3;

/// The objects below a path. Holds one page at a time.
pub(super) struct Listing {
    bucket: Bucket,
    prefix: String,
    page: VecDeque<Listed>,
    next: Next,
    last_key: String,
}

enum Next {
    First,
    After(String),
    Done,
}

impl Next {
    /// The continuation token of the next page (the first has none); nothing after the last page.
    fn token(&self) -> Option<Option<String>> {
        match self {
            Self::Done => None,
            Self::First => Some(None),
            Self::After(token) => Some(Some(token.clone())),
        }
    }
}

impl Listing {
    pub(super) fn new(bucket: &Bucket, path: &str) -> Self {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        Self { bucket: bucket.clone(), prefix, page: VecDeque::new(), next: Next::First, last_key: String::new() }
    }

    /// The same, for a store that does not list in key order: all of it is held and sorted.
    pub(super) async fn sorted(bucket: &Bucket, path: &str) -> Result<Self, Error> {
        let mut listing = Self::new(bucket, path);
        let (mut all, mut stale) = (BTreeMap::new(), 0);
        while let Some(token) = listing.next.token() {
            listing.turn(token).await?;
            let (known, shown) = (all.len(), listing.page.len());
            // what two pages show is one object
            all.extend(listing.page.drain(..).map(|object| (object.key.clone(), object)));
            stale = if shown > 0 && all.len() == known { stale + 1 } else { 0 };
            if stale == STALE_PAGES {
                return Err(Error::Circle);
            }
        }
        listing.page = all.into_values().collect();
        Ok(listing)
    }

    /// The next object; none after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Listed>, Error> {
        while self.page.is_empty() {
            let Some(token) = self.next.token() else { return Ok(None) };
            self.turn(token).await?;
        }
        let Some(listed) = self.page.pop_front() else { return Ok(None) };
        if listed.key <= self.last_key && !self.last_key.is_empty() {
            return Err(Error::Unordered);
        }
        self.last_key.clone_from(&listed.key);
        Ok(Some(listed))
    }

    async fn turn(&mut self, token: Option<String>) -> Result<(), Error> {
        let request = self.bucket.client.list_objects_v2().bucket(&self.bucket.name).prefix(&self.prefix);
        // a key may have characters that XML may not
        let request = request.encoding_type(EncodingType::Url);
        let answer = request.set_continuation_token(token.clone()).send().await;
        let page = answer.map_err(|answer| error::of_bucket(answer, &self.bucket))?;
        self.next = match page.next_continuation_token {
            Some(next) if page.is_truncated == Some(true) => Next::After(next),
            _ => Next::Done,
        };
        if matches!((&self.next, &token), (Next::After(next), Some(token)) if next == token) {
            return Err(Error::Circle);
        }
        // some stores do not heed the wish, and say so
        let encoded = page.encoding_type == Some(EncodingType::Url);
        let objects = page.contents.unwrap_or_default().into_iter();
        self.page = objects.filter_map(|object| listed(object, encoded)).collect();
        Ok(())
    }
}

/// An object without a key, an etag or a time is none.
pub(super) fn listed(object: Object, encoded: bool) -> Option<Listed> {
    let key = object.key?;
    Some(Listed {
        key: if encoded { decoded(&key) } else { key },
        etag: object.e_tag?.trim_matches('"').to_owned(),
        size: u64::try_from(object.size?).ok()?,
        modified: object.last_modified?.secs(),
    })
}

/// A key as the store encodes it: like a form, in which a plus is a blank.
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
