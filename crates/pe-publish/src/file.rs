//! Publishes to files: NDJSON, one file per group of records, or one file per record as the original wrote them.

mod legacy;
mod ndjson;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::publisher::{Capabilities, Error, Outcome, Publisher};
use crate::record::Record;
use crate::template::Template;

use legacy::Legacy;
use ndjson::Ndjson;

/// How records become files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// `DIR/000017-GROUP.ndjson`: a line per record, numbered in the order in which the files were begun.
    #[default]
    Ndjson,
    /// `DIR/17-05-2020_13-00-00/0.json`: the original's, one record per file.
    Legacy,
}

/// A folder that records are written to.
pub struct Files {
    folder: PathBuf,
    writer: Option<Writer>,
}

enum Writer {
    Ndjson(Ndjson),
    Legacy(Legacy),
}

impl Files {
    /// Writes below a folder, which is made when the first record comes. `{table}` may stand in its path.
    pub fn new(folder: &Template, layout: Layout) -> Self {
        let path = PathBuf::from(folder.as_str());
        let writer = match layout {
            Layout::Ndjson => Writer::Ndjson(Ndjson::new(folder.clone())),
            Layout::Legacy => Writer::Legacy(Legacy::new(folder.clone())),
        };
        let folder = if folder.has_table() { path.parent().map_or_else(PathBuf::new, Path::to_path_buf) } else { path };
        Self { folder, writer: Some(writer) }
    }

    /// Does blocking work on another thread. The writer comes back with the answer.
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Writer) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let Some(mut writer) = self.writer.take() else {
            return Err(Error::Fatal("file: an earlier call was cut off".to_owned()));
        };
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&mut writer);
            (writer, done)
        });
        let (writer, done) = done.await.map_err(|error| Error::Fatal(format!("file: {error}")))?;
        self.writer = Some(writer);
        Ok(done)
    }
}

impl Writer {
    /// Writes records and returns how many were written whole, and why no more.
    fn write(&mut self, records: &[Record]) -> (usize, Option<io::Error>) {
        match self {
            Self::Ndjson(writer) => writer.write(records),
            Self::Legacy(writer) => writer.write(records),
        }
    }
}

impl Publisher for Files {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn check(&mut self) -> BoxFuture<'_, Result<String, Error>> {
        Box::pin(async {
            let shown = self.folder.display().to_string();
            let mut existing = self.folder.as_path();
            while !existing.as_os_str().is_empty() && !existing.exists() {
                existing = existing.parent().unwrap_or(Path::new(""));
            }
            let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
            let unusable =
                |why: &dyn std::fmt::Display| Error::Unreachable(format!("file: cannot write to {shown}: {why}"));
            let known = existing.metadata().map_err(|error| unusable(&error))?;
            if !known.is_dir() {
                return Err(unusable(&format!("{} is not a folder", existing.display())));
            }
            if known.permissions().readonly() {
                return Err(unusable(&format!("{} is read-only", existing.display())));
            }
            Ok(format!("folder {shown}"))
        })
    }

    fn prepare<'a>(&'a mut self, tables: &'a [Arc<str>]) -> BoxFuture<'a, Result<(), Error>> {
        let tables = tables.to_vec();
        Box::pin(async move {
            let prepared = self.with(move |writer| match writer {
                Writer::Ndjson(writer) => writer.prepare(&tables),
                Writer::Legacy(_) => Ok(()),
            });
            prepared.await?.map_err(|error| Error::Unreachable(format!("file: cannot make a folder: {error}")))
        })
    }

    fn publish<'a>(&'a mut self, records: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Error>> {
        Box::pin(async move {
            // payloads are shared, so a copy of the records is cheap
            let batch = records.to_vec();
            let (written, error) = self.with(move |writer| writer.write(&batch)).await?;
            let mut outcomes = vec![Outcome::Delivered; written];
            let why = error.map(|error| format!("file: {error}")).unwrap_or_default();
            outcomes.resize(records.len(), Outcome::Retry(why));
            Ok(outcomes)
        })
    }

    fn flush(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let synced = self.with(|writer| match writer {
                Writer::Ndjson(writer) => writer.sync(),
                Writer::Legacy(writer) => writer.sync(),
            });
            synced.await?.map_err(|error| Error::Unreachable(format!("file: cannot sync: {error}")))
        })
    }

    fn position(&self) -> Option<String> {
        match self.writer.as_ref()? {
            Writer::Ndjson(writer) => Some(writer.position()),
            Writer::Legacy(writer) => Some(writer.position()),
        }
    }

    fn resume_at<'a>(&'a mut self, position: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        let position = position.to_owned();
        Box::pin(async move {
            let done = self.with(move |writer| match writer {
                Writer::Ndjson(writer) => writer.resume_at(&position),
                Writer::Legacy(writer) => writer.resume_at(&position),
            });
            done.await?.map_err(|error| Error::Setting(format!("file: cannot go back to the checkpoint: {error}")))
        })
    }
}

/// Makes the entries of a folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
