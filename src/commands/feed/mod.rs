//! `feed make`: writes a realistic feed to a folder or into the bucket that SOURCE names, in any of the forms
//! that DMS can be set to, and with what can be wrong with it.

mod args;
mod busy;
mod place;
mod plan;

use std::io::Write;

use serde_json::{Value, json};

use self::args::Args;
use self::place::Place;
use self::plan::{File, What};
use crate::clock::Clock;
use crate::feed::{self, Changes, Claims, Spot, Style, Written};
use crate::loader::service::End;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Write full loads, reloads and change files of the example entities, as DMS writes them
    ///
    /// Rows are made up, but always the same for the same seed.
    #[command(after_help = EXAMPLES)]
    Make(Box<Args>),
}

const EXAMPLES: &str = r"Examples:
  A small feed with a header, semicolons and folders of dates:
    paper-engine-orders feed make --out /tmp/feed --scale 0.01 --changes 3 \
      --header --delimiter ';' --partition YYYY/MM/DD \
      --time '2022-09-22 09:58:53.123' --every 60
  A change file with a row that cannot be loaded, into the bucket:
    paper-engine-orders feed make --bucket --entity entity_1 --scale 0.01 \
      --no-snapshot --changes 1 --anomaly bad-row

Ends with 1 if a file could not be written whole.";

pub(super) async fn run(command: &Command) -> anyhow::Result<End> {
    let Command::Make(args) = command;
    args.check()?;
    let place = Place::open(args).await?;
    let files = plan::files(args, place.path(), Clock::system().utc())?;
    for file in &files {
        make(args, file, &place).await?;
    }
    if !args.json {
        advise(args)?;
    }
    Ok(End::Done)
}

async fn make(args: &Args, file: &File, place: &Place) -> anyhow::Result<()> {
    let dialect = args.dialect();
    let style = Style { dialect, packing: args.packing(), time: file.time, anomalies: file.anomalies.clone() };
    let key = &file.key;
    let mut written = match &file.what {
        What::Missing => None,
        What::Part(edition, layout) => {
            let write = |out: &std::fs::File| feed::snapshot_in(&style, edition, *layout, out);
            Some(place.put(key, file.modified, write).await?)
        }
        What::Changes(changes) => {
            Some(place.put(key, file.modified, |out| feed::changes_in(&style, changes, out)).await?)
        }
    };
    if let Some(written) = &mut written {
        written.spots.extend(file.spot.clone());
    }
    let said = match args.json {
        true => as_json(file, written.as_ref()).to_string(),
        false => as_text(file, written.as_ref()),
    };
    writeln!(std::io::stdout(), "{said}")?;
    Ok(())
}

fn as_text(file: &File, written: Option<&Written>) -> String {
    let key = &file.key;
    let Some(Written { rows, csv_bytes, gz_bytes, spots, .. }) = written else {
        let spots = file.spot.iter().map(|spot| format!("{key}: {spot}"));
        return spots.collect::<Vec<_>>().join("\n");
    };
    let spots = spots.iter().map(|spot| format!("\n  {spot}")).collect::<String>();
    format!("{key}: {rows} rows, {gz_bytes} bytes ({csv_bytes} as CSV){spots}")
}

fn as_json(file: &File, written: Option<&Written>) -> Value {
    let spots = written.map_or_else(|| file.spot.iter().collect(), |written| written.spots.iter().collect::<Vec<_>>());
    let claims = match &file.what {
        What::Changes(changes) => claims(changes),
        _ => Value::Null,
    };
    json!({
        "key": file.key,
        "rows": written.map(|written| written.rows),
        "bytes": written.map(|written| written.gz_bytes),
        "anomalies": spots.into_iter().map(anomaly).collect::<Vec<_>>(),
        "max_event_id": written.and_then(|written| written.max_event_id),
        "claims": claims,
    })
}

fn claims(changes: &Changes) -> Value {
    let Claims { inserts, updates, deletes } = changes.claims();
    json!({"I": inserts, "U": updates, "D": deletes})
}

fn anomaly(spot: &Spot) -> Value {
    json!({"anomaly": spot.anomaly.name(), "line": spot.line, "key": spot.key, "what": spot.what})
}

/// Says how a loader has to be set to read the files.
fn advise(args: &Args) -> anyhow::Result<()> {
    let (dialect, entities) = (args.dialect(), args.entities());
    let Some(setting) = dialect.setting(&entities) else { return Ok(()) };
    let quote = if setting.contains('\'') { '"' } else { '\'' };
    let mut out = std::io::stdout().lock();
    writeln!(out, "Read it with FEED={quote}{setting}{quote}")?;
    if dialect.before_image.is_some() && !dialect.header && entities.len() > 1 {
        writeln!(out, "and columns=… of each table; or make one entity, or a --header.")?;
    }
    Ok(())
}
