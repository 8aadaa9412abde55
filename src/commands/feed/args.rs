//! The flags of `feed make`, and what they mean to the library.

use std::path::PathBuf;

use anyhow::ensure;
use clap::ValueEnum;
use time::macros::format_description;
use time::{Duration, PrimitiveDateTime};

use crate::feed::{Anomaly, Dialect, Entity, Names, Packing, Partition, Segments, Shape, Timestamp};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Where and what", group = clap::ArgGroup::new("place").required(true).args(["out", "bucket"]))]
pub(in crate::commands) struct Args {
    /// Write below this folder; a file's time is that of its name
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Write into the bucket that SOURCE names; S3 sets the time of an object itself
    #[arg(long)]
    pub(super) bucket: bool,
    /// Create the bucket first
    #[arg(long, requires = "bucket")]
    pub(super) create_bucket: bool,
    /// Write only this entity; may be given more than once
    #[arg(long, value_name = "ENTITY")]
    entity: Vec<Name>,
    /// Size of the feed: 1 is 159,967, 1,494,975 and 90 rows
    #[arg(long, default_value_t = 1.0)]
    pub(super) scale: f64,
    /// Random seed
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Write no full load
    #[arg(long)]
    pub(super) no_snapshot: bool,
    /// Write the full load of a later day: shares of the rows that are removed, changed and new, like 0.01,0.01,0.01
    #[arg(long, value_name = "GONE,CHANGED,NEW", value_parser = shape)]
    pub(super) reload: Option<Shape>,
    /// Number of parts of a full load, or of each of its segments
    #[arg(long, default_value_t = 1)]
    pub(super) parts: u32,
    /// Shuffle rows instead of writing them in key order
    #[arg(long)]
    pub(super) shuffled: bool,
    /// Number of change files to write
    #[arg(long, default_value_t = 0)]
    pub(super) changes: u32,
    /// Operations in each change file
    #[arg(long, default_value_t = 1000)]
    pub(super) ops: u64,
    /// Number of the first change file; other numbers give other changes
    #[arg(long, default_value_t = 1)]
    pub(super) number: u32,
    /// Print JSON, one object for each file written
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    rows: Rows,
    #[command(flatten)]
    bytes: Bytes,
    #[command(flatten)]
    names: NameArgs,
    #[command(flatten)]
    wrong: Wrong,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Rows")]
struct Rows {
    /// Delimiter between cells: one or more characters; \t and \x01 are understood
    #[arg(long, default_value = ",", value_parser = unescape, hide_default_value = true)]
    delimiter: String,
    /// Word for null
    #[arg(long, value_name = "WORD", default_value = "NULL", value_parser = unescape)]
    null: String,
    /// Begin with the names of the columns (AddColumnName)
    #[arg(long)]
    header: bool,
    /// Write an operation column in full loads too (IncludeOpForFullLoad)
    #[arg(long)]
    full_load_op: bool,
    /// Write only inserts in change files, without an operation column unless full loads have one (cdcInsertsOnly)
    #[arg(long)]
    inserts_only: bool,
    /// Add a column with the time of each row, as the first or the last column (TimestampColumnName)
    #[arg(long, value_name = "NAME[:first|:last]", value_parser = timestamp)]
    timestamp_column: Option<Timestamp>,
    /// Add a last column with the old key of an update, named like BI_order_id
    #[arg(long, value_name = "PREFIX")]
    before_image_prefix: Option<String>,
    /// Write this word for cells that an update does not change (CsvNoSupValue)
    #[arg(long, value_name = "WORD")]
    no_supply: Option<String>,
    /// Write only the key in deletes
    #[arg(long)]
    key_only_deletes: bool,
    /// Write no quotes (Rfc4180 = false); line ends and delimiters in texts become spaces
    #[arg(long)]
    no_quotes: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Bytes")]
struct Bytes {
    /// End rows with CR LF
    #[arg(long)]
    crlf: bool,
    /// Begin with a byte order mark
    #[arg(long)]
    bom: bool,
    /// Write no line end after the last row
    #[arg(long)]
    no_last_newline: bool,
    /// Write plain CSV without gzip and without .gz
    #[arg(long, conflicts_with = "members")]
    plain: bool,
    /// Number of gzip members of each file
    #[arg(long, default_value_t = 1)]
    members: u32,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Names and times")]
struct NameArgs {
    /// Name of the schema's folder
    #[arg(long, value_name = "NAME", default_value = Entity::SCHEMA, value_parser = folder)]
    schema: String,
    /// Name of the table's folder; needs one --entity
    #[arg(long, value_name = "NAME", value_parser = folder)]
    table: Option<String>,
    /// Number of segments of a full load; part numbers restart in each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    segments: Option<u32>,
    /// Position of a segment's number: segment2/LOAD… or SEGMENT2_LOAD…
    #[arg(long, value_name = "WHERE", default_value = "folder", requires = "segments")]
    segment_names: Where,
    /// Write change files into date folders, like YYYY/MM/DD, YYYYMMDDHH, DD-MM-YYYY
    #[arg(long, value_name = "FORM")]
    partition: Option<Partition>,
    /// Time in the name of the first change file; now by default
    #[arg(long, value_name = "YYYY-MM-DD HH:MM:SS[.ffffff]", value_parser = moment)]
    pub(super) time: Option<PrimitiveDateTime>,
    /// Seconds from one change file to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 0.001)]
    every: f64,
    /// Number of decimal places of a second in the names of change files
    #[arg(long, value_name = "DIGITS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=6))]
    fraction: u32,
    /// Use the names of Qlik Replicate: LOAD_1_00000001, and change files in TABLE__ct
    #[arg(long)]
    qlik: bool,
    /// Write the files of all tables by their keys, forward or backward, instead of full loads before changes
    #[arg(long, value_name = "ORDER")]
    upload_order: Option<UploadOrder>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Anomalies")]
struct Wrong {
    /// Damage each table's last file at one position, and report it; may be given more than once
    ///
    /// missing-part and duplicate-key damage the full load, key-change the last change file; late-file is a change
    /// file dated before the others and written after them.
    #[arg(long, value_name = "ANOMALY", value_enum)]
    anomaly: Vec<Anomaly>,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Where {
    Folder,
    Prefix,
}

/// Order in which files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum UploadOrder {
    Name,
    Reverse,
}

impl ValueEnum for Anomaly {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

impl Args {
    /// Refuses what does not go together.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.dialect().check()?;
        let (names, wrong) = (&self.names, |anomaly| self.wrong.anomaly.contains(&anomaly));
        ensure!(names.table.is_none() || self.entity.len() == 1, "--table wants one --entity");
        let shortest = 0.1_f64.powi(names.fraction.min(6) as i32) * 0.999;
        ensure!(
            names.every.is_finite() && names.every >= shortest && names.every < 1e9,
            "--every is too short for names with {} places of a second, or too long; write --every 1",
            names.fraction
        );
        let parts = u64::from(self.parts) * u64::from(names.segments.unwrap_or(1));
        ensure!(parts <= u32::MAX.into(), "there are more parts than a full load has numbers for");
        let snapshot = if self.no_snapshot { 0 } else { parts };
        ensure!(!wrong(Anomaly::MissingPart) || snapshot > 1, "missing-part wants a full load with --parts 2 or more");
        ensure!(!wrong(Anomaly::DuplicateKey) || snapshot > 0, "duplicate-key wants a full load");
        ensure!(!wrong(Anomaly::KeyChange) || self.changes > 0, "key-change wants a change file: --changes 1");
        ensure!(!wrong(Anomaly::KeyChange) || !self.rows.inserts_only, "inserts only: no update changes a key");
        let cut = wrong(Anomaly::Truncated) || wrong(Anomaly::Crc);
        ensure!(!cut || !self.bytes.plain, "truncated and crc want gzip, so no --plain");
        ensure!(!wrong(Anomaly::OpenQuote) || !self.rows.no_quotes, "open-quote wants quotes, so no --no-quotes");
        let in_one = self.wrong.anomaly.iter().filter(|anomaly| anomaly.is_in_last_file()).count();
        ensure!(in_one == 0 || snapshot > 0 || self.changes > 0, "an anomaly wants a file to be in");
        ensure!(in_one < 2 || !wrong(Anomaly::Empty), "empty leaves no room for another anomaly in the file");
        Ok(())
    }

    pub(super) fn entities(&self) -> Vec<Entity> {
        let all = [Name::Entity3, Name::Entity1, Name::Entity2];
        let names = if self.entity.is_empty() { &all[..] } else { &self.entity[..] };
        let entity = |name: &Name| match name {
            Name::Entity1 => Entity::Orders,
            Name::Entity2 => Entity::Events,
            Name::Entity3 => Entity::Strategies,
        };
        names.iter().map(entity).collect()
    }

    pub(super) fn dialect(&self) -> Dialect {
        let (rows, bytes) = (&self.rows, &self.bytes);
        Dialect {
            delimiter: rows.delimiter.clone(),
            null: rows.null.clone(),
            header: rows.header,
            full_load_op: rows.full_load_op,
            inserts_only: rows.inserts_only,
            timestamp: rows.timestamp_column.clone(),
            before_image: rows.before_image_prefix.clone(),
            no_supply: rows.no_supply.clone(),
            quotes: !rows.no_quotes,
            crlf: bytes.crlf,
            bom: bytes.bom,
            last_newline: !bytes.no_last_newline,
        }
    }

    pub(super) fn packing(&self) -> Packing {
        Packing { members: self.bytes.members, plain: self.bytes.plain, ..Packing::default() }
    }

    pub(super) fn names(&self, path: &str, entity: Entity) -> Names {
        let names = &self.names;
        let segments = if names.segment_names == Where::Prefix { Segments::Prefix } else { Segments::Folder };
        let usual = Names::new(path, entity);
        Names {
            schema: names.schema.clone(),
            table: names.table.clone().unwrap_or(usual.table),
            segments,
            partition: names.partition.clone(),
            fraction: names.fraction,
            qlik: names.qlik,
            plain: self.bytes.plain,
            ..usual
        }
    }

    pub(super) fn segments(&self) -> Option<u32> {
        self.names.segments
    }

    pub(super) fn time(&self) -> Option<PrimitiveDateTime> {
        self.names.time
    }

    pub(super) fn every(&self) -> Duration {
        Duration::microseconds((self.names.every * 1e6).round() as i64)
    }

    pub(super) fn upload_order(&self) -> Option<UploadOrder> {
        self.names.upload_order
    }

    pub(super) fn key_only_deletes(&self) -> bool {
        self.rows.key_only_deletes
    }

    pub(super) fn anomalies(&self) -> &[Anomaly] {
        &self.wrong.anomaly
    }
}

fn shape(text: &str) -> Result<Shape, String> {
    let shares: Result<Vec<f64>, _> = text.split(',').map(|share| share.trim().parse::<f64>()).collect();
    match shares.as_deref() {
        Ok([gone, changed, new]) => Ok(Shape { gone: *gone, changed: *changed, new: *new }),
        _ => Err("three shares are needed, like 0.01,0.01,0.01".to_owned()),
    }
}

fn timestamp(text: &str) -> Result<Timestamp, String> {
    let (name, place) = text.split_once(':').unwrap_or((text, "first"));
    match place {
        "first" | "last" => Ok(Timestamp { name: name.to_owned(), last: place == "last" }),
        _ => Err("after the name comes :first or :last, or nothing".to_owned()),
    }
}

fn moment(text: &str) -> Result<PrimitiveDateTime, String> {
    let form =
        format_description!(version = 2, "[year]-[month]-[day] [hour]:[minute]:[second][optional [.[subsecond]]]");
    PrimitiveDateTime::parse(text, form).map_err(|_| "write it like '2022-09-22 09:58:53.123'".to_owned())
}

fn folder(text: &str) -> Result<String, String> {
    match text {
        "" | "." | ".." => Err("a folder needs a name".to_owned()),
        _ if text.contains('/') => Err("a folder's name has no slash".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// Replaces `\t`, `\x01` and the like; any other backslash is kept, as in `\N`.
fn unescape(text: &str) -> Result<String, String> {
    let (mut out, mut left) = (String::new(), text);
    while let Some(letter) = left.chars().next() {
        let hex = left.strip_prefix(r"\x").and_then(|rest| rest.get(..2));
        let code = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(u8::is_ascii);
        let (letter, length) = match code {
            Some(code) => (char::from(code), 4),
            None if left.starts_with(r"\t") => ('\t', 2),
            None if left.starts_with(r"\x") => return Err(r"after \x come two digits, 00 to 7f".to_owned()),
            None => (letter, letter.len_utf8()),
        };
        out.push(letter);
        left = &left[length..];
    }
    Ok(out)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    pub(in crate::commands::feed) fn args(words: &[&str]) -> Args {
        let words = ["make", "--out", "x"].iter().chain(words);
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).args
    }

    #[test]
    fn no_flags_are_the_default() {
        let args = args(&[]);
        assert_eq!(args.dialect(), Dialect::default());
        assert_eq!(args.names("data", Entity::Orders).snapshot(None, 1), "data/dbo/entity_1/LOAD00000001.csv.gz");
        assert_eq!((args.every(), args.anomalies()), (Duration::MILLISECOND, &[][..]));
        args.check().unwrap();
    }

    #[test]
    fn flags_become_a_dialect() {
        let words = [r"--delimiter=\x01|\t", r"--null=\N", "--timestamp-column=at:last", "--no-quotes", "--crlf"];
        let dialect = args(&words).dialect();
        assert_eq!((dialect.delimiter.as_str(), dialect.null.as_str()), ("\u{1}|\t", r"\N"));
        assert_eq!(dialect.timestamp, Some(Timestamp { name: "at".to_owned(), last: true }));
        assert!(!dialect.quotes && dialect.crlf && dialect.last_newline);
        assert_eq!(timestamp("at"), Ok(Timestamp { name: "at".to_owned(), last: false }));
    }

    #[test]
    fn words_that_mean_nothing_are_refused() {
        for word in [
            "--timestamp-column=a:b",
            r"--delimiter=\xzz",
            "--time=today",
            "--schema=a/b",
            "--table=",
            "--partition=day",
            "--segments=0",
            "--fraction=7",
            "--anomaly=worse",
        ] {
            assert!(Cli::try_parse_from(["make", "--out", "x", word]).is_err(), "{word}");
        }
        assert!(moment("2022-09-22 09:58:53").is_ok() && moment("2022-09-22 09:58:53.123456").is_ok());
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let cases: [(&[&str], &str); 12] = [
            (&["--table=x"], "--table wants"),
            (&["--every=0.0001"], "--every"),
            (&["--every=0.1", "--fraction=0"], "--every"),
            (&["--anomaly=missing-part"], "missing-part wants"),
            (&["--anomaly=duplicate-key", "--no-snapshot"], "duplicate-key wants"),
            (&["--anomaly=key-change"], "key-change wants"),
            (&["--anomaly=key-change", "--changes=1", "--inserts-only"], "inserts only"),
            (&["--anomaly=crc", "--plain"], "want gzip"),
            (&["--anomaly=open-quote", "--no-quotes", "--delimiter=|"], "open-quote wants"),
            (&["--anomaly=empty", "--no-snapshot"], "wants a file"),
            (&["--anomaly=empty", "--anomaly=crc"], "no room"),
            (&["--no-quotes"], "without quotes"),
        ];
        for (words, wanted) in cases {
            let error = args(words).check().unwrap_err().to_string();
            assert!(error.contains(wanted), "{words:?}: {error}");
        }
        args(&["--anomaly=missing-part", "--segments=2"]).check().unwrap();
        args(&["--every=0.0001", "--fraction=4"]).check().unwrap();
    }
}
