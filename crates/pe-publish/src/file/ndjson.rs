//! Writes a line per record into one file per group. Files are numbered as they are begun, so that everything after a
//! checkpoint can be removed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::sync_folder;
use crate::record::Record;
use crate::template::Template;

const ENDING: &str = ".ndjson";

/// The state of all folders: one, or one per table.
pub(super) struct Ndjson {
    template: Template,
    folders: BTreeMap<PathBuf, Folder>,
}

/// One folder and the file that is being written.
struct Folder {
    group: String,
    at: Place,
    file: Option<File>,
    unsynced: bool,
}

/// A file by its number and name, and how many bytes of it count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    number: u64,
    name: String,
    length: u64,
}

impl Ndjson {
    pub(super) fn new(template: Template) -> Self {
        Self { template, folders: BTreeMap::new() }
    }

    /// Opens the folders of these tables.
    pub(super) fn prepare(&mut self, tables: &[Arc<str>]) -> io::Result<()> {
        for table in tables {
            let path = PathBuf::from(self.template.render(table));
            if let Entry::Vacant(new) = self.folders.entry(path.clone()) {
                new.insert(Folder::open(&path)?);
            }
        }
        Ok(())
    }

    /// Writes records in their order. Returns how many are written whole.
    pub(super) fn write(&mut self, records: &[Record]) -> (usize, Option<io::Error>) {
        let mut done = 0;
        for run in records.chunk_by(|one, next| one.group == next.group && one.table == next.table) {
            match self.write_run(run) {
                Ok(()) => done += run.len(),
                Err(error) => return (done, Some(error)),
            }
        }
        (done, None)
    }

    /// Writes records of one group and table: all of them, or none.
    fn write_run(&mut self, run: &[Record]) -> io::Result<()> {
        let path = PathBuf::from(self.template.render(&run[0].table));
        let folder = match self.folders.entry(path.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Folder::open(&path)?),
        };
        let mut lines = Vec::with_capacity(run.iter().map(|record| record.payload.len() + 1).sum());
        for record in run {
            lines.extend_from_slice(&record.payload);
            lines.push(b'\n');
        }
        folder.append(&path, &run[0].group, &lines)
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        for folder in self.folders.values_mut() {
            folder.sync()?;
        }
        Ok(())
    }

    pub(super) fn position(&self) -> String {
        let places: BTreeMap<String, &Place> =
            self.folders.iter().map(|(path, folder)| (path.display().to_string(), &folder.at)).collect();
        serde_json::to_string(&places).unwrap_or_default()
    }

    /// Cuts the file of the position to its length, and removes the files that were begun after it.
    pub(super) fn resume_at(&mut self, position: &str) -> io::Result<()> {
        let places: BTreeMap<String, Place> = serde_json::from_str(position)?;
        for (path, place) in places {
            let path = PathBuf::from(path);
            for (number, name) in numbered(&path)? {
                if number > place.number {
                    fs::remove_file(path.join(name))?;
                }
            }
            let unwritten = Folder { group: String::new(), at: place.clone(), file: None, unsynced: false };
            self.folders.insert(path.clone(), unwritten);
            if place.name.is_empty() {
                continue;
            }
            let file = OpenOptions::new().write(true).open(path.join(&place.name))?;
            if file.metadata()?.len() < place.length {
                return Err(io::Error::other(format!(
                    "{} is shorter than the checkpoint says: was it written to, or another run's?",
                    path.join(&place.name).display()
                )));
            }
            file.set_len(place.length)?;
        }
        Ok(())
    }
}

impl Folder {
    /// Makes the folder if it is missing. Files of earlier runs stay: numbers go on behind theirs.
    fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let number = numbered(path)?.into_iter().map(|(number, _)| number).max().unwrap_or(0);
        let at = Place { number, ..Place::default() };
        Ok(Self { group: String::new(), at, file: None, unsynced: false })
    }

    fn append(&mut self, path: &Path, group: &str, lines: &[u8]) -> io::Result<()> {
        if self.file.is_none() || self.group != group {
            self.turn_to(path, group)?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write_all(lines) {
            // a torn line must not stay; what cannot be cut is opened and cut the next time
            let _ = file.set_len(self.at.length);
            self.file = None;
            return Err(error);
        }
        self.at.length += lines.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    /// Opens the file of a group: that of the checkpoint or of a failed write again, or a new one.
    fn turn_to(&mut self, path: &Path, group: &str) -> io::Result<()> {
        let again = !self.at.name.is_empty() && self.at.name == file_name(self.at.number, group);
        if !again {
            self.sync()?;
            self.file = None;
            let number = self.at.number + 1;
            let name = file_name(number, group);
            let file = OpenOptions::new().append(true).create_new(true).open(path.join(&name))?;
            sync_folder(path)?;
            self.at = Place { number, name, length: 0 };
            self.file = Some(file);
        } else {
            let file = OpenOptions::new().append(true).open(path.join(&self.at.name))?;
            file.set_len(self.at.length)?;
            self.file = Some(file);
        }
        group.clone_into(&mut self.group);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.as_ref().filter(|_| self.unsynced) {
            file.sync_data()?;
            self.unsynced = false;
        }
        Ok(())
    }
}

/// Returns the name of a group's file. A group is a time or a word of the program's own; what a file system may not like is
/// replaced.
fn file_name(number: u64, group: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '-' };
    format!("{number:06}-{}{ENDING}", group.chars().map(plain).collect::<String>())
}

/// Lists our files of a folder with their numbers.
fn numbered(path: &Path) -> io::Result<Vec<(u64, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = name.split_once('-').and_then(|(number, _)| number.parse().ok());
        if let Some(number) = number.filter(|_| name.ends_with(ENDING)) {
            found.push((number, name));
        }
    }
    Ok(found)
}
