//! Checks everything that a replay needs before anything is published.

use std::io;
use std::sync::Arc;

use pe_publish::Publisher;

use crate::checkpoint::{Checkpoint, Replay};
use crate::config::{Config, Database, Faults, To};
use crate::reader::Table;
use crate::source::postgres::Postgres;
use crate::source::{self, Options, Source};
use crate::timestamp;

/// Why a replay does not take place, or does not end well.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// 1: it could not do what was asked.
    #[error("{0}")]
    Failed(String),
    /// 69: something cannot be reached.
    #[error("{0}")]
    Unavailable(String),
    /// 78: the configuration is wrong.
    #[error("{0}")]
    Misconfigured(String),
    /// 0: nobody reads the output any more, like `head`.
    #[error("the output was closed")]
    Closed,
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Misconfigured(faults.to_string())
    }
}

impl From<source::Error> for Failure {
    fn from(error: source::Error) -> Self {
        match error {
            source::Error::Unreachable(why) => Self::Unavailable(why),
            source::Error::Failed(why) => Self::Failed(why),
        }
    }
}

impl From<pe_publish::Error> for Failure {
    fn from(error: pe_publish::Error) -> Self {
        match error {
            pe_publish::Error::Setting(why) => Self::Misconfigured(why),
            pe_publish::Error::Unreachable(why) | pe_publish::Error::Fatal(why) => Self::Unavailable(why),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Failed(error.to_string()) }
    }
}

/// What was found to be sound.
pub struct Prepared {
    pub source: Arc<dyn Source>,
    pub tables: Arc<[Table]>,
    pub publishers: Vec<(String, Box<dyn Publisher>)>,
    pub replay: Replay,
    /// Where an earlier run ended, if it is to go on.
    pub checkpoint: Option<Checkpoint>,
}

/// Checks source, range and destinations, and says of each that it is sound. Publishes nothing.
///
/// # Errors
/// Returns the first that is not.
pub async fn check(config: &Config, mut say: impl FnMut(&str, String)) -> Result<Prepared, Failure> {
    let options = Options {
        condition: config.condition.clone(),
        zone: config.zone,
        snapshot: config.snapshot,
        retime: config.retime,
    };
    let source: Arc<dyn Source> = match &config.from {
        Database::Postgres(settings) => Arc::new(Postgres::new(settings.as_ref().clone(), options)),
    };
    let mut tables = Vec::new();
    for spec in &config.tables {
        let facts = source.inspect(spec).await?;
        let times = facts.times.map_or_else(String::new, |(first, last)| {
            format!(", from {} to {}", timestamp::show(first), timestamp::show(last))
        });
        say("ok", format!("table {} by {}{times}", facts.name, spec.time));
        facts.notes.iter().for_each(|note| say("note", note.clone()));
        if facts.is_keyless {
            say(
                "note",
                format!("{} is read in one transaction, which holds back VACUUM until the replay ends", facts.name),
            );
        }
        tables.push(Table { spec: spec.clone(), facts });
    }
    let checkpoint = match &config.checkpoint {
        Some(path) if config.resume => Checkpoint::read(path).map_err(Failure::Misconfigured)?,
        _ => None,
    };
    let replay = range(config, source.as_ref(), &tables, checkpoint.as_ref())?;
    has_rows(source.as_ref(), &tables, &replay, config.condition.is_some()).await?;
    say("ok", format!("range from {} to before {}", timestamp::show(replay.start), timestamp::show(replay.end)));
    let publishers = open(config, checkpoint.as_ref(), &mut say).await?;
    Ok(Prepared { source, tables: tables.into(), publishers, replay, checkpoint })
}

/// Determines the range. Without a start it is the first row's time; without an end the last row is in it.
fn range(
    config: &Config,
    source: &dyn Source,
    tables: &[Table],
    checkpoint: Option<&Checkpoint>,
) -> Result<Replay, Failure> {
    let spec = |table: &Table| format!("{}:{}:{}", table.facts.name, table.spec.time, table.spec.key.join(","));
    let first = tables.iter().filter_map(|table| table.facts.times).map(|(first, _)| first).min();
    let last = tables.iter().filter_map(|table| table.facts.times).map(|(_, last)| last).max();
    let empty = || {
        Failure::Failed(
            "no row of the tables has a time, or meets the condition: there is nothing to replay".to_owned(),
        )
    };
    let known =
        checkpoint.map(|checkpoint| (checkpoint.replay.start, checkpoint.replay.end, checkpoint.replay.end_given));
    let start = config.start.or(known.map(|known| known.0)).or(first).ok_or_else(empty)?;
    let (end, end_given) = match (config.end, known) {
        (Some(end), _) => (end, true),
        (None, Some((_, end, given))) => (end, given),
        (None, None) => (last.ok_or_else(empty)?.saturating_add(1), false),
    };
    if start >= end {
        return Err(Failure::Failed(format!(
            "the start {} is not before the end {}",
            timestamp::show(start),
            timestamp::show(end)
        )));
    }
    let replay = Replay {
        source: format!("{}/{}", source.place(), source.name()),
        tables: tables.iter().map(spec).collect(),
        condition: config.condition.clone(),
        start,
        end,
        end_given,
    };
    if let Some(other) = checkpoint.map(|checkpoint| &checkpoint.replay).filter(|other| **other != replay) {
        return Err(Failure::Misconfigured(format!(
            "the checkpoint is of another replay: it has {}, and this one is {}. Give it the same source, tables, condition and \
             range, or another --checkpoint file",
            serde_json::to_string(other).unwrap_or_default(),
            serde_json::to_string(&replay).unwrap_or_default()
        )));
    }
    Ok(replay)
}

async fn has_rows(source: &dyn Source, tables: &[Table], replay: &Replay, has_condition: bool) -> Result<(), Failure> {
    for table in tables {
        if source.has_rows(&table.spec, replay.start, replay.end).await? {
            return Ok(());
        }
    }
    let times = |table: &Table| {
        let (first, last) = table.facts.times?;
        Some(format!("{} has rows from {} to {}", table.facts.name, timestamp::show(first), timestamp::show(last)))
    };
    let there: Vec<String> = tables.iter().filter_map(times).collect();
    let condition = if has_condition { " that meets the condition" } else { "" };
    Err(Failure::Failed(format!(
        "no row{condition} lies in the range from {} to before {}. {}",
        timestamp::show(replay.start),
        timestamp::show(replay.end),
        if there.is_empty() { "No row has a time".to_owned() } else { there.join("; ") }
    )))
}

async fn open(
    config: &Config,
    checkpoint: Option<&Checkpoint>,
    say: &mut impl FnMut(&str, String),
) -> Result<Vec<(String, Box<dyn Publisher>)>, Failure> {
    let mut publishers = Vec::new();
    for to in &config.to {
        let name = to.to_string();
        if checkpoint.is_some_and(|checkpoint| !checkpoint.destinations.contains_key(&name)) {
            return Err(Failure::Misconfigured(format!(
                "the checkpoint knows no destination {name}: start it without --resume"
            )));
        }
        let mut publisher: Box<dyn Publisher> = match to {
            To::Plain(destination) => destination.open().await?,
        };
        let line = publisher.check().await?;
        say("ok", format!("destination {line}"));
        publishers.push((name, publisher));
    }
    Ok(publishers)
}
