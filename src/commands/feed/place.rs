//! Destination of the files: a folder, or the bucket in SOURCE.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use tempfile::NamedTempFile;
use time::PrimitiveDateTime;

use super::args::Args;
use super::busy::Busy;
use crate::config::Config;
use crate::decode::dialect::Order;
use crate::feed::{self, Written};
use crate::source::Source;

pub(super) enum Place {
    Folder(PathBuf),
    Bucket(Source),
}

impl Place {
    pub(super) async fn open(args: &Args) -> anyhow::Result<Self> {
        if let Some(folder) = &args.out {
            return Ok(Self::Folder(folder.clone()));
        }
        let source = Source::connect(&Config::source_from_env()?, Order::default()).await?;
        if args.create_bucket {
            source.create_bucket().await?;
        }
        Ok(Self::Bucket(source))
    }

    pub(super) fn path(&self) -> &str {
        match self {
            Self::Folder(_) => "",
            Self::Bucket(source) => source.path(),
        }
    }

    /// Writes a file whole, or not at all. In a folder it gets the time `modified`; in a bucket the store's.
    pub(super) async fn put<W>(&self, key: &str, modified: PrimitiveDateTime, write: W) -> anyhow::Result<Written>
    where
        W: FnOnce(&File) -> Result<Written, feed::Error>,
    {
        let folder = match self {
            Self::Folder(folder) => folder.clone(),
            Self::Bucket(_) => std::env::temp_dir(),
        };
        let target = folder.join(key);
        if let (Self::Folder(_), Some(parent)) = (self, target.parent()) {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
        }
        let file = NamedTempFile::new_in(&folder).with_context(|| format!("cannot write in {}", folder.display()))?;
        let _busy = Busy::start(key, file.as_file());
        let written = write(file.as_file()).with_context(|| format!("cannot write {key}"))?;
        match self {
            Self::Folder(_) => persist(file, modified, &target)?,
            Self::Bucket(source) => source.put(key, file.path()).await?,
        }
        Ok(written)
    }
}

fn persist(file: NamedTempFile, modified: PrimitiveDateTime, target: &Path) -> anyhow::Result<()> {
    let modified = SystemTime::from(modified.assume_utc());
    file.as_file().set_modified(modified).with_context(|| format!("cannot write {}", target.display()))?;
    file.persist(target).with_context(|| format!("cannot write {}", target.display()))?;
    Ok(())
}
