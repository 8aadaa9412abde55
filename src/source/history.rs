//! Finds the files that made a table, in feed order, so that they can be read again, and checks that the bucket still
//! has each of them as it was.

use std::collections::HashMap;

use super::changes::FeedPosition;
use super::entry::Listed;
use super::key::{self, ParsedKey, Part};
use super::listing::Listing;
use super::object::Download;
use super::{Error, Source};
use crate::decode::File;
use crate::decode::dialect::Order;

/// A file that was loaded, with what the ledger has of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub id: i64,
    pub file: File,
    pub listed: Listed,
    pub rows_read: u64,
    pub rows_rejected: u64,
    /// Inserts, updates and deletes that it claimed; none if it had no op.
    pub claimed: Option<[u64; 3]>,
    pub attempts: i32,
    /// Time of the commit, in microseconds since 1970.
    pub committed: i64,
}

/// A version that the bucket no longer shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MissingVersion {
    #[error("{0} is gone from the bucket")]
    Gone(String),
    #[error("{0} was replaced in the bucket since it was loaded")]
    Replaced(String),
}

/// Position in feed order. Parts come before changes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Part(Part, String),
    Changes(FeedPosition),
    /// A key that names no file of a table below this path.
    Nowhere(String),
}

impl Source {
    /// Sorts files of one table in feed order. If two files were loaded the other way round, although neither was
    /// folded in late, returns their keys: another order was configured then.
    pub fn in_feed_order(&self, files: &mut [Loaded]) -> Option<(String, String)> {
        sort(files, &self.path, self.order)
    }

    /// Looks whether the bucket still has these versions; the first that it has not. A change file is what its bytes are: its
    /// time may be another one by now, and is taken over.
    pub async fn find_again(&self, files: &mut [Loaded]) -> Result<Option<MissingVersion>, Error> {
        let folder = common_folder(files.iter().map(|file| file.listed.key.as_str())).to_owned();
        let shown = match shown(Listing::new(&self.bucket, &folder), files).await {
            Err(Error::Unordered) => shown(Listing::sorted(&self.bucket, &folder).await?, files).await?,
            other => other?,
        };
        Ok(files.iter_mut().find_map(|file| compare(file, shown.get(&file.listed.key))))
    }

    /// Opens a file that was loaded, pinned to the version that was found again.
    pub async fn reopen(&self, file: &Loaded) -> Result<Download, Error> {
        Download::open(&self.bucket, std::iter::once(file.listed.clone())).await
    }
}

fn sort(files: &mut [Loaded], path: &str, order: Order) -> Option<(String, String)> {
    files.sort_by_cached_key(|file| {
        let Listed { key, modified, .. } = &file.listed;
        match key::parse(path, key) {
            ParsedKey::Snapshot { part, .. } => Place::Part(part, key.clone()),
            ParsedKey::Changes { time, .. } => Place::Changes(FeedPosition::of(order, time, *modified, key)),
            ParsedKey::Ignored(_) => Place::Nowhere(key.clone()),
        }
    });
    // the earliest commit of all that come behind
    let mut behind: Option<&Loaded> = None;
    for file in files.iter().rev().filter(|file| file.file == File::Changes) {
        match behind {
            Some(later) if later.committed < file.committed => {
                if file.attempts == 1 {
                    return Some((later.listed.key.clone(), file.listed.key.clone()));
                }
            }
            _ => behind = Some(file),
        }
    }
    None
}

/// Returns the listed objects with the files' keys.
async fn shown(mut listing: Listing, files: &[Loaded]) -> Result<HashMap<String, Listed>, Error> {
    let wanted: std::collections::HashSet<&str> = files.iter().map(|file| file.listed.key.as_str()).collect();
    let mut shown = HashMap::new();
    while let Some(listed) = listing.next().await? {
        if wanted.contains(listed.key.as_str()) {
            shown.insert(listed.key.clone(), listed);
        }
    }
    Ok(shown)
}

fn compare(file: &mut Loaded, shown: Option<&Listed>) -> Option<MissingVersion> {
    let key = file.listed.key.clone();
    let Some(shown) = shown else { return Some(MissingVersion::Gone(key)) };
    let same_time = file.file == File::Changes || shown.modified == file.listed.modified;
    if shown.etag != file.listed.etag || !same_time {
        return Some(MissingVersion::Replaced(key));
    }
    file.listed = shown.clone();
    None
}

/// Returns the folder that contains all keys, without the slash at its end.
fn common_folder<'a>(mut keys: impl Iterator<Item = &'a str>) -> &'a str {
    let first = keys.next().unwrap_or_default();
    let folder = |key: &'a str| key.rsplit_once('/').map_or("", |(folder, _)| folder);
    keys.fold(folder(first), |mut common, key| {
        while !common.is_empty() && !key.strip_prefix(common).is_some_and(|rest| rest.starts_with('/')) {
            common = folder(common);
        }
        common
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(key: &str, modified: i64, committed: i64, attempts: i32) -> Loaded {
        let listed = Listed { key: key.to_owned(), etag: "e".to_owned(), size: 1, modified };
        let file = if key.contains("LOAD") { File::Snapshot } else { File::Changes };
        Loaded { id: 1, file, listed, rows_read: 0, rows_rejected: 0, claimed: None, attempts, committed }
    }

    #[test]
    fn parts_come_before_changes_and_changes_by_their_time() {
        let (a, b) = ("d/s/e/20220101-000000.csv.gz", "d/s/e/20220102-000000.csv.gz");
        let mut files = [loaded(b, 1, 3, 1), loaded(a, 2, 2, 1), loaded("d/s/e/LOAD00000001.csv.gz", 0, 1, 1)];
        let keys = |files: &[Loaded]| files.iter().map(|file| file.listed.modified).collect::<Vec<_>>();
        assert_eq!(sort(&mut files, "d", Order::Name), None);
        assert_eq!(keys(&files), [0, 2, 1]);
        let other = sort(&mut files, "d", Order::Modified).expect("they were loaded the other way round");
        assert_eq!((keys(&files), other), (vec![0, 1, 2], (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_file_that_was_folded_in_late_is_no_other_order() {
        let (a, b) = ("d/s/e/20220101-000000.csv.gz", "d/s/e/20220102-000000.csv.gz");
        assert_eq!(sort(&mut [loaded(a, 1, 9, 2), loaded(b, 1, 3, 1)], "d", Order::Auto), None);
        assert!(sort(&mut [loaded(a, 1, 9, 1), loaded(b, 1, 3, 1)], "d", Order::Auto).is_some());
    }

    #[test]
    fn the_folder_of_all_keys() {
        let folder = |keys: &[&'static str]| common_folder(keys.iter().copied());
        assert_eq!(folder(&["d/s/e/a", "d/s/e/2022/b"]), "d/s/e");
        assert_eq!(folder(&["d/s/e/a", "d/s/e__ct/b"]), "d/s");
        assert_eq!(folder(&["s/e/a", "t/e/a"]), "");
    }

    #[test]
    fn a_version_is_found_or_lost() {
        let part = "d/s/e/LOAD00000001.csv.gz";
        let lost = |key: &str, shown: Option<(&str, i64)>| {
            let listed =
                |(etag, modified): (&str, i64)| Listed { etag: etag.into(), modified, ..loaded(key, 0, 0, 1).listed };
            compare(&mut loaded(key, 5, 0, 1), shown.map(listed).as_ref())
        };
        assert_eq!(lost(part, Some(("e", 5))), None);
        assert_eq!(lost(part, Some(("e", 6))), Some(MissingVersion::Replaced(part.into())));
        assert_eq!(lost("c", Some(("e", 6))), None, "a change file is what its bytes are");
        assert_eq!(lost("c", Some(("f", 5))), Some(MissingVersion::Replaced("c".into())));
        assert_eq!(lost("c", None), Some(MissingVersion::Gone("c".into())));
    }
}
