//! Questions of the command `check` about the bucket: whether we may list and read it, and which tables the feed has.
//! The first pages suffice for that, however long the bucket's history is.

use std::collections::BTreeMap;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::key::{self, ParsedKey};
use super::listing::{decoded, listed};
use super::{Entity, Error, IgnoredCounts, Listed, Source, error};

/// Result of reading the first pages of the listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// The objects of the first page.
    pub objects: usize,
    /// `true` if there are more objects.
    pub more: bool,
    /// The tables of the feed, by the folders that hold files of theirs.
    pub tables: BTreeMap<Entity, FileKinds>,
    /// Objects that are no file of a table.
    pub foreign: IgnoredCounts,
    /// A file of a table to try a download with.
    pub sample: Option<Listed>,
}

/// Kinds of files in a table's folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileKinds {
    pub loads: bool,
    pub changes: bool,
}

/// Kind of an object by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Magic {
    Gzip,
    Other,
    Empty,
}

/// Number of folders that are listed at the same time.
const AT_ONCE: usize = 8;
const GZIP: [u8; 2] = [0x1f, 0x8b];

impl Source {
    /// Looks at the first page, and if that is not all, at the first page of each table's folder.
    pub async fn survey(&self) -> Result<Probe, Error> {
        let prefix = if self.path.is_empty() { String::new() } else { format!("{}/", self.path) };
        let page = self.page(&prefix, From::Top).await?;
        let mut survey = Probe { objects: page.objects.len(), more: page.next.is_some(), ..Probe::default() };
        if survey.more {
            self.look(&prefix, &mut survey).await?;
        } else {
            survey.see(&self.path, page.objects);
        }
        survey.join_changes();
        Ok(survey)
    }

    /// Lists the schemas' and the tables' folders, and the objects beside them.
    async fn look(&self, prefix: &str, survey: &mut Probe) -> Result<(), Error> {
        let schemas = self.folders(prefix).await?;
        survey.see(&self.path, schemas.objects);
        for schema in schemas.folders {
            let tables = self.folders(&schema).await?;
            survey.see(&self.path, tables.objects);
            let looks = stream::iter(tables.folders).map(|table| self.files(table));
            let seen: Vec<Vec<Listed>> = looks.buffered(AT_ONCE).try_collect().await?;
            seen.into_iter().for_each(|objects| survey.see(&self.path, objects));
        }
        Ok(())
    }

    /// Gets the first bytes of an object.
    pub async fn opening(&self, listed: &Listed) -> Result<Magic, Error> {
        let request = self.bucket.client.get_object().bucket(&self.bucket.name).key(&listed.key);
        let first = (listed.size > 0).then(|| "bytes=0-1".to_owned());
        let answer = request.set_range(first).send().await;
        let mut body = answer.map_err(|answer| error::of_object(answer, &self.bucket, &listed.key))?.body;
        let mut bytes = Vec::new();
        while let Some(piece) = body.next().await.filter(|_| bytes.len() < GZIP.len()) {
            let cut = |what: String| Error::Cut { key: listed.key.clone(), at: bytes.len() as u64, what };
            let piece = piece.map_err(|error| cut(error.to_string()))?;
            bytes.extend_from_slice(&piece);
        }
        Ok(match bytes.as_slice() {
            [] => Magic::Empty,
            some if some.starts_with(&GZIP) => Magic::Gzip,
            _ => Magic::Other,
        })
    }

    /// Returns the first page of a table's folder. Change files are listed before full loads (`2` sorts before `L`),
    /// so for a long folder the first page of full loads is read as well.
    async fn files(&self, folder: String) -> Result<Vec<Listed>, Error> {
        let mut page = self.page(&folder, From::Top).await?;
        if page.next.is_some() {
            page.objects.extend(self.page(&folder, From::Behind(format!("{folder}L"))).await?.objects);
        }
        Ok(page.objects)
    }

    /// Returns all folders in a folder, and the objects beside them.
    async fn folders(&self, prefix: &str) -> Result<Page, Error> {
        let mut all = self.page(prefix, From::Folders(None)).await?;
        while let Some(token) = all.next.take() {
            let page = self.page(prefix, From::Folders(Some(token.clone()))).await?;
            if page.next.as_ref() == Some(&token) {
                return Err(Error::Circle);
            }
            all.folders.extend(page.folders);
            all.objects.extend(page.objects);
            all.next = page.next;
        }
        Ok(all)
    }

    async fn page(&self, prefix: &str, from: From) -> Result<Page, Error> {
        let request = self.bucket.client.list_objects_v2().bucket(&self.bucket.name).prefix(prefix);
        let request = match from {
            From::Top => request,
            From::Behind(key) => request.start_after(key),
            From::Folders(token) => request.delimiter("/").set_continuation_token(token),
        };
        let answer = request.encoding_type(EncodingType::Url).send().await;
        Ok(Page::of(answer.map_err(|answer| error::of_bucket(answer, &self.bucket))?))
    }
}

/// Beginning of a page.
enum From {
    Top,
    /// Behind a key.
    Behind(String),
    /// From a continuation token, with deeper levels returned as folders.
    Folders(Option<String>),
}

/// One page of a listing.
struct Page {
    objects: Vec<Listed>,
    folders: Vec<String>,
    /// Beginning of the next page.
    next: Option<String>,
}

impl Page {
    fn of(answer: ListObjectsV2Output) -> Self {
        let encoded = answer.encoding_type == Some(EncodingType::Url);
        let plain = |folder: String| if encoded { decoded(&folder) } else { folder };
        let folders = answer.common_prefixes.unwrap_or_default().into_iter();
        let objects = answer.contents.unwrap_or_default().into_iter();
        Self {
            objects: objects.filter_map(|object| listed(object, encoded)).collect(),
            folders: folders.filter_map(|folder| folder.prefix.map(plain)).collect(),
            next: answer.next_continuation_token.filter(|_| answer.is_truncated == Some(true)),
        }
    }
}

impl Probe {
    fn see(&mut self, path: &str, objects: Vec<Listed>) {
        for object in objects {
            match key::parse(path, &object.key) {
                ParsedKey::Ignored(foreign) => {
                    self.foreign.count(foreign);
                    continue;
                }
                ParsedKey::Snapshot { entity, .. } => self.tables.entry(entity).or_default().loads = true,
                ParsedKey::Changes { entity, .. } => self.tables.entry(entity).or_default().changes = true,
            }
            // the first file that is not empty is the one to try
            if self.sample.as_ref().is_none_or(|sample| sample.size == 0 && object.size > 0) {
                self.sample = Some(object);
            }
        }
    }

    /// Adds the changes of a folder `orders__ct` to the table `orders`, unless the folder has a full load of its own.
    fn join_changes(&mut self) {
        let folders: Vec<Entity> = self.tables.keys().filter(|entity| entity.changes_of().is_some()).cloned().collect();
        for folder in folders {
            let joined = folder.changes_of().filter(|_| !self.tables[&folder].loads);
            if let Some(table) = joined {
                self.tables.remove(&folder);
                self.tables.entry(table).or_default().changes = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(keys: &[(&str, u64)]) -> Probe {
        let object = |(key, size): &(&str, u64)| Listed {
            key: (*key).to_owned(),
            etag: "e".to_owned(),
            size: *size,
            modified: 0,
        };
        let mut survey = Probe::default();
        survey.see("data", keys.iter().map(object).collect());
        survey.join_changes();
        survey
    }

    #[test]
    fn a_survey_knows_tables_by_their_files() {
        let survey = survey(&[
            ("data/dbo/e/20220922-095853123.csv.gz", 0),
            ("data/dbo/e/LOAD00000001.csv.gz", 9),
            ("data/dbo/e__ct/20220922-095853123.csv.gz", 9),
            ("data/dbo/f__ct/20220922-095853123.csv.gz", 9),
            ("data/dbo/g/readme.txt", 9),
            ("data/dbo/own__ct/LOAD00000001.csv.gz", 9),
        ]);
        let tables: Vec<_> =
            survey.tables.iter().map(|(entity, holds)| (entity.name.as_str(), holds.loads, holds.changes)).collect();
        assert_eq!(tables, [("e", true, true), ("f", false, true), ("own__ct", true, false)]);
        assert_eq!(survey.foreign.total(), 1);
        assert_eq!(survey.sample.expect("a file").key, "data/dbo/e/LOAD00000001.csv.gz");
    }
}
