//! `feed make`: writes a realistic feed to a folder or into the bucket that SOURCE names.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use time::OffsetDateTime;

use crate::clock::Clock;
use crate::config::Config;
use crate::decode::dialect::Order;
use crate::feed::{self, Changes, Edition, Entity, Layout, Packing, Shape, Written};
use crate::loader::service::End;
use crate::source::Source;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Write full loads, reloads and change files of the example entities, as DMS writes them
    ///
    /// Rows are made up, but always the same for the same seed.
    Make(Args),
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write below this folder
    #[arg(long, value_name = "DIR", required_unless_present = "bucket", conflicts_with = "bucket")]
    out: Option<PathBuf>,
    /// Write into the bucket that SOURCE names
    #[arg(long)]
    bucket: bool,
    /// Make the bucket first
    #[arg(long, requires = "bucket")]
    create_bucket: bool,
    /// Only this entity; may be given more than once
    #[arg(long, value_name = "ENTITY")]
    entity: Vec<Name>,
    /// How large: 1 is 159,967, 1,494,975 and 90 rows
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Another seed, other rows
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write no full load
    #[arg(long)]
    no_snapshot: bool,
    /// Write the full load of a later day: shares of the rows that are gone, changed and new, like 0.01,0.01,0.01
    #[arg(long, value_name = "GONE,CHANGED,NEW", value_parser = shape)]
    reload: Option<Shape>,
    /// In how many parts to write a full load
    #[arg(long, default_value_t = 1)]
    parts: u32,
    /// Not in key order
    #[arg(long)]
    shuffled: bool,
    /// Of how many gzip members each file is
    #[arg(long, default_value_t = 1)]
    members: u32,
    /// Also write so many change files
    #[arg(long, default_value_t = 0)]
    changes: u32,
    /// Operations in each change file
    #[arg(long, default_value_t = 1000)]
    ops: u64,
    /// The number of the first change file: another number, other changes
    #[arg(long, default_value_t = 1)]
    number: u32,
}

/// An entity by its name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Name {
    #[value(name = "entity_1")]
    Entity1,
    #[value(name = "entity_2")]
    Entity2,
    #[value(name = "entity_3")]
    Entity3,
}

impl Name {
    fn entity(self) -> Entity {
        match self {
            Self::Entity1 => Entity::Orders,
            Self::Entity2 => Entity::Events,
            Self::Entity3 => Entity::Strategies,
        }
    }
}

pub(super) async fn run(command: &Command) -> anyhow::Result<End> {
    let Command::Make(args) = command;
    let place = Place::open(args).await?;
    let now = Clock::system().utc();
    let all = [Name::Entity3, Name::Entity1, Name::Entity2];
    let names = if args.entity.is_empty() { &all[..] } else { &args.entity[..] };
    for name in names {
        make(args, name.entity(), &place, now).await?;
    }
    Ok(End::Done)
}

async fn make(args: &Args, entity: Entity, place: &Place, now: OffsetDateTime) -> anyhow::Result<()> {
    let rows = (entity.full_size() as f64 * args.scale).round() as u64;
    let base = Edition::base(entity, rows, args.seed);
    let edition = args.reload.map_or(Ok(base.clone()), |shape| base.reload(shape))?;
    let packing = Packing { members: args.members, ..Packing::default() };
    for part in (1..=args.parts).filter(|_| !args.no_snapshot) {
        let layout = Layout { shuffled: args.shuffled, part, parts: args.parts };
        let key = feed::snapshot_key(place.path(), entity, part);
        place.put(&key, |out| feed::snapshot(&edition, layout, packing, out)).await?;
    }
    for number in 0..args.changes {
        let changes = Changes::new(&edition, args.number + number, args.ops);
        let key = feed::changes_key(place.path(), entity, now + time::Duration::milliseconds(number.into()));
        place.put(&key, |out| feed::changes(&changes, packing, out)).await?;
    }
    Ok(())
}

/// Where the files go.
enum Place {
    Folder(PathBuf),
    Bucket(Source),
}

impl Place {
    async fn open(args: &Args) -> anyhow::Result<Self> {
        if let Some(folder) = &args.out {
            return Ok(Self::Folder(folder.clone()));
        }
        let source = Source::connect(&Config::source_from_env()?, Order::default()).await;
        if args.create_bucket {
            source.create_bucket().await?;
        }
        Ok(Self::Bucket(source))
    }

    fn path(&self) -> &str {
        match self {
            Self::Folder(_) => "",
            Self::Bucket(source) => source.path(),
        }
    }

    /// Writes a file whole, or not at all.
    async fn put<W>(&self, key: &str, write: W) -> anyhow::Result<()>
    where
        W: FnOnce(&std::fs::File) -> Result<Written, feed::Error>,
    {
        let folder = match self {
            Self::Folder(folder) => folder.clone(),
            Self::Bucket(_) => std::env::temp_dir(),
        };
        let target = folder.join(key);
        if let (Self::Folder(_), Some(parent)) = (self, target.parent()) {
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        let file = tempfile::NamedTempFile::new_in(folder)?;
        let written = write(file.as_file()).with_context(|| key.to_owned())?;
        match self {
            Self::Folder(_) => persist(file, &target)?,
            Self::Bucket(source) => source.put(key, file.path()).await?,
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "{key}: {} rows, {} bytes ({} as CSV)", written.rows, written.gz_bytes, written.csv_bytes)?;
        Ok(())
    }
}

fn persist(file: tempfile::NamedTempFile, target: &Path) -> anyhow::Result<()> {
    file.persist(target).with_context(|| target.display().to_string())?;
    Ok(())
}

fn shape(text: &str) -> Result<Shape, String> {
    let shares: Result<Vec<f64>, _> = text.split(',').map(|share| share.trim().parse::<f64>()).collect();
    match shares.as_deref() {
        Ok([gone, changed, new]) => Ok(Shape { gone: *gone, changed: *changed, new: *new }),
        _ => Err("three shares are needed, like 0.01,0.01,0.01".to_owned()),
    }
}
