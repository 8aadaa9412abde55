//! Remembers how far each destination is, in a file that is replaced as a whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::place::{Place, Position};
use crate::timestamp::Micros;

const VERSION: u32 = 1;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub version: u32,
    /// Names the run for followers of its clock; a resumed replay keeps it.
    pub run: String,
    /// What is replayed: another source, table or range is another replay.
    pub replay: Replay,
    pub destinations: BTreeMap<String, Done>,
}

/// What is replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    pub source: String,
    pub tables: Vec<String>,
    pub condition: Option<String>,
    pub start: Micros,
    pub end: Micros,
    pub end_given: bool,
}

/// How far a destination is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The last row that it has for sure; none at the beginning.
    pub place: Option<Place>,
    /// Where its files stand.
    pub position: Option<String>,
}

/// The file and what it says, shared by all lanes.
#[derive(Debug)]
pub struct CheckpointFile {
    path: PathBuf,
    said: Mutex<Checkpoint>,
}

impl Checkpoint {
    /// Describes a replay that has not begun.
    pub fn new(run: String, replay: Replay) -> Self {
        Self { version: VERSION, run, replay, destinations: BTreeMap::new() }
    }

    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// Returns why the file cannot be used.
    pub fn read(path: &Path) -> Result<Option<Self>, String> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("the checkpoint {} cannot be read: {error}", path.display())),
        };
        let read: Result<Self, _> = serde_json::from_str(&text);
        let checkpoint = read.map_err(|error| format!("{} is no checkpoint of a replay: {error}", path.display()))?;
        if checkpoint.version != VERSION {
            return Err(format!("the checkpoint {} is of another version of this program", path.display()));
        }
        Ok(Some(checkpoint))
    }

    /// Returns where reading goes on, or `None` if a destination has nothing yet.
    pub fn resume(&self) -> Option<Resume> {
        let places: Vec<&Place> = self.destinations.values().map(|done| done.place.as_ref()).collect::<Option<_>>()?;
        let lowest = *places.iter().min_by_key(|place| (place.pass, place.time, place.table))?;
        let mut tied = places.iter().filter(|place| place.position_to(lowest) == Position::Tie);
        Some(match tied.all(|place| *place == lowest) {
            true => Resume::Behind(lowest.clone()),
            false => Resume::InTie(lowest.clone()),
        })
    }
}

/// Where reading goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Behind this place.
    Behind(Place),
    /// At this place's time: destinations stand at different rows of it.
    InTie(Place),
}

impl CheckpointFile {
    /// Writes the file for the first time.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn create(path: PathBuf, said: Checkpoint) -> io::Result<Self> {
        write(&path, &said)?;
        Ok(Self { path, said: Mutex::new(said) })
    }

    /// Notes how far a destination is.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn store(&self, destination: &str, done: Done) -> io::Result<()> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.destinations.insert(destination.to_owned(), done);
        write(&self.path, &said)
    }
}

/// Replaces the file as a whole, so that it is never half written.
fn write(path: &Path, said: &Checkpoint) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, said)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(time: Micros, key: &str) -> Place {
        Place { pass: 0, time, table: 0, key: vec![key.to_owned()] }
    }

    fn resume(places: &[Option<Place>]) -> Option<Resume> {
        let replay = Replay { source: "s".into(), tables: vec![], condition: None, start: 0, end: 9, end_given: false };
        let mut checkpoint = Checkpoint::new("run".to_owned(), replay);
        for (number, place) in places.iter().enumerate() {
            checkpoint.destinations.insert(number.to_string(), Done { place: place.clone(), position: None });
        }
        checkpoint.resume()
    }

    #[test]
    fn reading_goes_on_behind_the_destination_that_is_last() {
        let (a, b) = (place(1, "a"), place(2, "b"));
        assert_eq!(resume(&[Some(a.clone())]), Some(Resume::Behind(a.clone())));
        assert_eq!(resume(&[Some(b.clone()), Some(a.clone())]), Some(Resume::Behind(a.clone())));
        assert_eq!(resume(&[Some(b.clone()), Some(b.clone())]), Some(Resume::Behind(b.clone())));
        assert_eq!(resume(&[Some(b), None]), None, "from the start");
    }

    #[test]
    fn a_tie_in_which_destinations_differ_is_read_again() {
        for (low, high) in [("a", "b"), ("b", "a")] {
            assert!(
                matches!(resume(&[Some(place(1, low)), Some(place(1, high))]), Some(Resume::InTie(at)) if at.time == 1)
            );
            let places = [Some(place(3, "x")), Some(place(1, low)), Some(place(1, high))];
            assert!(matches!(resume(&places), Some(Resume::InTie(at)) if at.time == 1));
            let places = [Some(place(3, low)), Some(place(3, high)), Some(place(1, "x"))];
            assert_eq!(places.len(), 3);
            assert!(matches!(resume(&places), Some(Resume::InTie(at) | Resume::Behind(at)) if at.time == 1));
        }
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("c.json");
        assert_eq!(Checkpoint::read(&path), Ok(None));
        let replay = Replay {
            source: "s".into(),
            tables: vec!["t".into()],
            condition: None,
            start: -5,
            end: 9,
            end_given: true,
        };
        let file = CheckpointFile::create(path.clone(), Checkpoint::new("run".to_owned(), replay)).expect("written");
        let done = Done { place: Some(place(4, "k")), position: Some("{}".to_owned()) };
        file.store("d", done.clone()).expect("written");
        let read = Checkpoint::read(&path).expect("read").expect("a file");
        assert_eq!(read.destinations["d"], done);
        fs::write(&path, "{").expect("written");
        assert!(Checkpoint::read(&path).is_err());
    }
}
