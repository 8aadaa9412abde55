//! Settings of SOURCE: the bucket, the path in it, and the credentials.

use std::str::FromStr;

use crate::pairs::{Faults, Pairs};
use crate::secret::Secret;

/// A path in a bucket. Without `id` and `key` the AWS default credential chain is used, and without an `endpoint` AWS
/// itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Endpoint with its scheme and without a slash at the end.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub id: Option<String>,
    pub key: Option<Secret>,
    pub bucket: String,
    /// Path without a slash at either end; empty for the whole bucket.
    pub path: String,
}

const KEYS: [&str; 6] = ["bucket_endpoint", "bucket_id", "bucket_key", "bucket_name", "bucket_path", "bucket_region"];

impl FromStr for Settings {
    type Err = Faults;

    fn from_str(text: &str) -> Result<Self, Faults> {
        let mut pairs = Pairs::read(text);
        let settings = Self {
            endpoint: endpoint(&mut pairs),
            region: pairs.take_filled("bucket_region"),
            id: pairs.take_filled("bucket_id"),
            key: pairs.take_filled("bucket_key").map(Secret::from),
            bucket: bucket(&mut pairs),
            path: path(&mut pairs),
        };
        match (&settings.id, &settings.key) {
            (Some(_), None) => {
                pairs.fault("bucket_id has no bucket_key. Write both, or neither for the AWS default credential chain")
            }
            (None, Some(_)) => {
                pairs.fault("bucket_key has no bucket_id. Write both, or neither for the AWS default credential chain")
            }
            _ => {}
        }
        pairs.finish(&KEYS)?;
        Ok(settings)
    }
}

fn endpoint(pairs: &mut Pairs) -> Option<String> {
    let given = pairs.take_filled("bucket_endpoint")?;
    let (scheme, place) = match given.split_once("://") {
        Some((scheme, place)) => (scheme.to_ascii_lowercase(), place),
        None => ("https".to_owned(), given.as_str()),
    };
    let place = place.trim_end_matches('/');
    if !["http", "https"].contains(&scheme.as_str()) {
        pairs.fault("bucket_endpoint is neither http nor https. Write it like https://s3.example.com:9000");
    } else if place.is_empty() || place.starts_with([':', '/']) || place.contains(char::is_whitespace) {
        pairs.fault("bucket_endpoint has no host. Write it like https://s3.example.com:9000");
    } else if place.contains(['@', '?', '#']) {
        pairs.fault("bucket_endpoint is more than scheme, host and port. Credentials go into bucket_id and bucket_key");
    }
    Some(format!("{scheme}://{place}"))
}

fn bucket(pairs: &mut Pairs) -> String {
    let name = pairs.take_filled("bucket_name").unwrap_or_default();
    if name.is_empty() {
        pairs.fault("bucket_name is missing. Write the bucket's name, like bucket_name=my-feed");
    } else if name.contains('/') {
        pairs.fault("bucket_name has a slash in it. Write the bucket alone, the rest goes into bucket_path, like bucket_name=my-feed bucket_path=data");
    }
    name
}

fn path(pairs: &mut Pairs) -> String {
    let path = pairs.take("bucket_path").unwrap_or_default();
    path.trim_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        text.parse::<Settings>().expect_err(text).0
    }

    #[test]
    fn the_missions_form() {
        let settings: Settings = "bucket_endpoint=s3.example.com:9000 bucket_id=me bucket_key='hunter 2' \
             bucket_name=feed bucket_path=/data/in/ bucket_region=eu-west-1"
            .parse()
            .expect("settings");
        assert_eq!(settings.endpoint.as_deref(), Some("https://s3.example.com:9000"));
        assert_eq!(settings.region.as_deref(), Some("eu-west-1"));
        assert_eq!(settings.id.as_deref(), Some("me"));
        assert_eq!(settings.key.as_ref().expect("key").expose(), "hunter 2");
        assert_eq!((settings.bucket.as_str(), settings.path.as_str()), ("feed", "data/in"));
        assert!(!format!("{settings:?}").contains("hunter"));
    }

    #[test]
    fn only_the_bucket_is_needed_and_empty_is_unset() {
        let settings: Settings =
            "bucket_endpoint= bucket_id= bucket_key='' bucket_name=feed bucket_path=/".parse().expect("settings");
        assert_eq!((settings.endpoint, settings.region, settings.id, settings.key), (None, None, None, None));
        assert_eq!(settings.path, "");
    }

    #[test]
    fn an_endpoint_keeps_its_scheme() {
        let settings: Settings = "bucket_name=feed bucket_endpoint=HTTP://127.0.0.1:9000/".parse().expect("settings");
        assert_eq!(settings.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
    }

    #[test]
    fn every_fault_is_told_at_once_without_the_key() {
        let all = faults(
            "bucket_endpoint=ftp://x bucket_key=hunter2 bucket_name=a/b buckt=hunter2 bucket_path=x bucket_path=y",
        );
        for part in ["http nor https", "no bucket_id", "a slash", "word 4 (buckt)", "words 5 and 6"] {
            assert!(all.iter().any(|fault| fault.contains(part)), "{part}: {all:#?}");
        }
        assert_eq!(all.len(), 5);
        assert!(!all.concat().contains("hunter2"));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(faults("bucket_path=x")[0].contains("bucket_name is missing"));
        assert!(faults("bucket_name=x bucket_id=me")[0].contains("no bucket_key"));
        assert!(faults("bucket_name=x bucket_endpoint=https://")[0].contains("no host"));
        assert!(faults("bucket_name=x bucket_endpoint=https://a:b@c")[0].contains("more than"));
    }
}
