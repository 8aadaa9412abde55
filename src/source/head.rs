//! The first bytes of an object, for who wants to see how a file is written before it is loaded.

use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;

use super::object::check_version;
use super::{Error, Listed, Source, error};
use crate::decode::Head;

/// Maximum time to wait for the answer, which is optional.
const PATIENCE: Duration = Duration::from_secs(15);

impl Source {
    /// Gets at most `most` bytes of an object, pinned to the version that was listed.
    pub async fn head(&self, listed: &Listed, most: usize) -> Result<Head, Error> {
        let whole = listed.size <= most as u64;
        if listed.size == 0 {
            return Ok(Head { key: listed.key.clone(), bytes: Vec::new(), whole });
        }
        let stalled = |_| Error::Stalled { key: listed.key.clone(), seconds: PATIENCE.as_secs() };
        let bytes = tokio::time::timeout(PATIENCE, self.first_bytes(listed, most)).await.map_err(stalled)??;
        let (received, expected) = (bytes.len() as u64, listed.size.min(most as u64));
        match received == expected {
            true => Ok(Head { key: listed.key.clone(), bytes, whole }),
            false => Err(Error::Short { key: listed.key.clone(), received, expected }),
        }
    }

    async fn first_bytes(&self, listed: &Listed, most: usize) -> Result<Vec<u8>, Error> {
        let request = self.bucket.client.get_object().bucket(&self.bucket.name).key(&listed.key);
        let request = request.if_match(format!("\"{}\"", listed.etag)).range(format!("bytes=0-{}", most - 1));
        let answer = request.send().await.map_err(|answer| error::of_object(answer, &self.bucket, &listed.key))?;
        check_version(&answer, listed)?;
        let GetObjectOutput { mut body, .. } = answer;
        let mut bytes = Vec::new();
        // a store that does not know ranges sends all of it
        while bytes.len() < most {
            let Some(piece) = body.next().await else { break };
            let cut = |what: String| Error::Cut { key: listed.key.clone(), at: bytes.len() as u64, what };
            let piece = piece.map_err(|error| cut(error.to_string()))?;
            bytes.extend_from_slice(&piece[..piece.len().min(most - bytes.len())]);
        }
        Ok(bytes)
    }
}
