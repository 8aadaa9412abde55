//! Listed change files without a ledger row that do not fit into the plan. They are kept in an unnamed temporary
//! file, which the system removes with the process, so that memory does not grow with the bucket.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, Write};

use super::entry::Listed;
use super::key::{self, Entity, ParsedKey};
use super::sorter;

/// Files without a ledger row, in the order in which they were found not to fit.
#[derive(Debug, Default)]
pub struct Unrecorded {
    path: String,
    written: Option<BufWriter<File>>,
    read: Option<BufReader<File>>,
    /// Folders that hold the changes of another table.
    joined: BTreeSet<Entity>,
    error: Option<io::Error>,
}

/// A listed change file that needs a row.
#[derive(Debug, PartialEq, Eq)]
pub struct Waiting {
    pub entity: Entity,
    pub listed: Listed,
    pub occurrence: i32,
}

impl Unrecorded {
    pub(super) fn new(path: &str) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }

    /// Adds a file. Errors are reported when the files are read.
    pub(super) fn push(&mut self, listed: &Listed, occurrence: i32) {
        if self.error.is_none() {
            self.error = self.write(listed, occurrence).err();
        }
    }

    fn write(&mut self, listed: &Listed, occurrence: i32) -> io::Result<()> {
        if self.written.is_none() {
            self.written = Some(BufWriter::new(tempfile::tempfile()?));
        }
        let Some(file) = &mut self.written else { return Ok(()) };
        sorter::write(file, listed)?;
        file.write_all(&occurrence.to_le_bytes())
    }

    pub(super) fn join(&mut self, folder: Entity) {
        self.joined.insert(folder);
    }

    /// Returns `true` if no file was kept.
    pub fn is_empty(&self) -> bool {
        self.written.is_none() && self.read.is_none() && self.error.is_none()
    }

    /// Returns the next files, at most `most`, or none after the last.
    pub fn next(&mut self, most: usize) -> io::Result<Vec<Waiting>> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if let Some(written) = self.written.take() {
            let mut file = written.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.rewind()?;
            self.read = Some(BufReader::new(file));
        }
        let (Some(file), mut next) = (&mut self.read, Vec::new()) else { return Ok(Vec::new()) };
        while next.len() < most
            && let Some(listed) = sorter::read(file)?
        {
            let occurrence = i32::from_le_bytes(sorter::number(file)?);
            if let ParsedKey::Changes { entity, .. } = key::parse(&self.path, &listed.key) {
                let table = entity.changes_of().filter(|_| self.joined.contains(&entity));
                next.push(Waiting { entity: table.unwrap_or(entity), listed, occurrence });
            }
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_comes_back_in_batches_with_its_table() {
        let listed = |file: &str| Listed {
            key: format!("data/dbo/{file}"),
            etag: format!("etag of {file}"),
            size: 7,
            modified: -3,
        };
        let files = ["e/20220922-090000.csv", "f__ct/20220922-090000.csv", "g__ct/20220922-090000.csv"];
        let mut kept = Unrecorded::new("data");
        assert!(kept.is_empty() && kept.next(9).expect("read").is_empty());
        files.iter().zip(1..).for_each(|(file, occurrence)| kept.push(&listed(file), occurrence));
        kept.join(Entity { schema: "dbo".into(), name: "f__ct".into() });
        assert!(!kept.is_empty());
        let mut all = kept.next(2).expect("read");
        assert_eq!(all.len(), 2);
        all.extend(kept.next(2).expect("read"));
        assert!(kept.next(2).expect("read").is_empty());
        let found: Vec<_> = all.iter().map(|one| (one.entity.name.as_str(), one.occurrence)).collect();
        assert_eq!(found, [("e", 1), ("f", 2), ("g__ct", 3)]);
        assert!(all.iter().zip(files).all(|(one, file)| one.listed == listed(file)));
    }
}
