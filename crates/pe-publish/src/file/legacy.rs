//! Writes one file per record into a folder per second, as the original did: `17-05-2020_13-00-00/0.json`. Where the original
//! overwrote a folder of the same second, the name gets a suffix.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;

use super::sync_folder;
use crate::json_indent::indent;
use crate::record::Record;
use crate::template::Template;

pub(super) struct Legacy {
    template: Template,
    group: Option<(String, String)>,
    at: Place,
    unsynced: Vec<File>,
    unsynced_folders: BTreeSet<PathBuf>,
}

/// The folder of the present group, and how many files of it count.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Place {
    folder: PathBuf,
    files: u64,
}

impl Legacy {
    pub(super) fn new(template: Template) -> Self {
        let (unsynced, unsynced_folders) = (Vec::new(), BTreeSet::new());
        Self { template, group: None, at: Place::default(), unsynced, unsynced_folders }
    }

    /// Writes records in their order. Returns how many are written whole.
    pub(super) fn write(&mut self, records: &[Record]) -> (usize, Option<io::Error>) {
        for (done, record) in records.iter().enumerate() {
            if let Err(error) = self.write_one(record) {
                return (done, Some(error));
            }
        }
        (records.len(), None)
    }

    fn write_one(&mut self, record: &Record) -> io::Result<()> {
        let group = (record.group.to_string(), record.table.to_string());
        if self.group.as_ref() != Some(&group) {
            let parent = PathBuf::from(self.template.render(&record.table));
            self.at = Place { folder: new_folder(&parent, record)?, files: 0 };
            self.unsynced_folders.extend([parent, self.at.folder.clone()]);
            self.group = Some(group);
        }
        let path = self.at.folder.join(format!("{}.json", self.at.files));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all(indent(&String::from_utf8_lossy(&record.payload)).as_bytes())?;
        self.at.files += 1;
        self.unsynced.push(file);
        // each open file is a descriptor
        if self.unsynced.len() >= 64 { self.sync() } else { Ok(()) }
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        for file in self.unsynced.drain(..) {
            file.sync_data()?;
        }
        for folder in std::mem::take(&mut self.unsynced_folders) {
            sync_folder(&folder)?;
        }
        Ok(())
    }

    pub(super) fn position(&self) -> String {
        serde_json::to_string(&self.at).unwrap_or_default()
    }

    /// Removes the files of the position's folder that came after it. Later folders stay.
    pub(super) fn resume_at(&mut self, position: &str) -> io::Result<()> {
        let at: Place = serde_json::from_str(position)?;
        let mut number = at.files;
        while at.folder.join(format!("{number}.json")).exists() {
            fs::remove_file(at.folder.join(format!("{number}.json")))?;
            number += 1;
        }
        Ok(())
    }
}

/// Makes the folder for a record's second. An existing one gets company: `…_2`.
fn new_folder(parent: &Path, record: &Record) -> io::Result<PathBuf> {
    fs::create_dir_all(parent)?;
    let form = format_description!("[day]-[month]-[year]_[hour]-[minute]-[second]");
    let begin = record.group.get(..19).and_then(|text| {
        let group_form = format_description!("[year]-[month]-[day]T[hour]-[minute]-[second]");
        time::PrimitiveDateTime::parse(text, group_form).ok()
    });
    let at = begin.map(time::PrimitiveDateTime::assume_utc);
    let at = at.or_else(|| OffsetDateTime::from_unix_timestamp(record.time.div_euclid(1_000_000)).ok());
    let name = at.and_then(|at| at.format(form).ok()).unwrap_or_else(|| "unknown".to_owned());
    for number in 1_u32.. {
        let name = if number == 1 { name.clone() } else { format!("{name}_{number}") };
        match fs::create_dir(parent.join(&name)) {
            Ok(()) => return Ok(parent.join(name)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many folders of one second"))
}
