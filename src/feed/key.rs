//! Names that DMS gives to its files: a full load's part has a number in hex, a change file its time. Segment and
//! date folders, other fractions of a second, and Qlik's names are options.

use super::Entity;
use std::str::FromStr;
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

/// Returns `data/dbo/entity_1/LOAD00000001.csv.gz`. `path` may be empty; `part` counts from 1.
pub fn snapshot_key(path: &str, entity: Entity, part: u32) -> String {
    Names::new(path, entity).snapshot(None, part)
}

/// Returns `data/dbo/entity_1/20220922-095853123.csv.gz`: the time in UTC, cut to three decimal places.
pub fn changes_key(path: &str, entity: Entity, time: OffsetDateTime) -> String {
    let time = time.to_offset(UtcOffset::UTC);
    Names::new(path, entity).changes(PrimitiveDateTime::new(time.date(), time.time()))
}

/// Names of one table's files.
#[derive(Clone, Debug)]
pub struct Names {
    /// Path before the schema; may be empty.
    pub path: String,
    /// The schema's folder.
    pub schema: String,
    /// The table's folder.
    pub table: String,
    /// Position of a segment's number.
    pub segments: Segments,
    /// Folders of dates for change files.
    pub partition: Option<Partition>,
    /// Places of a second in the names of change files, at most six.
    pub fraction: u32,
    /// `true` for names of Qlik Replicate: `LOAD_1_00000001.csv.gz`, and change files in `table__ct`.
    pub qlik: bool,
    /// `.csv` and no `.gz`.
    pub plain: bool,
}

/// Position of a segment's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segments {
    /// `segment2/LOAD00000001.csv.gz`
    Folder,
    /// `SEGMENT2_LOAD00000001.csv.gz`
    Prefix,
}

/// Folders of dates: `YYYY/MM/DD`, `YYYYMMDDHH`, `DD-MM-YYYY` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition(Vec<Piece>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Year,
    Month,
    Day,
    Hour,
    Mark(char),
}

/// A form of dates that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a partition is made of YYYY, MM, DD and HH, each at most once, with / or - or _ between them or nothing, like YYYY/MM/DD"
)]
pub struct PartitionError;

impl Names {
    /// Returns the names that DMS uses without settings.
    pub fn new(path: &str, entity: Entity) -> Self {
        Self {
            path: path.to_owned(),
            schema: Entity::SCHEMA.to_owned(),
            table: entity.name().to_owned(),
            segments: Segments::Folder,
            partition: None,
            fraction: 3,
            qlik: false,
            plain: false,
        }
    }

    /// Returns the key of a part; the number restarts in every segment.
    pub fn snapshot(&self, segment: Option<u32>, part: u32) -> String {
        let (folder, ending) = (self.folder(""), self.ending());
        if self.qlik {
            return format!("{folder}LOAD_{}_{part:08}{ending}", segment.unwrap_or(1));
        }
        let segment = match (segment, self.segments) {
            (None, _) => String::new(),
            (Some(number), Segments::Folder) => format!("segment{number}/"),
            (Some(number), Segments::Prefix) => format!("SEGMENT{number}_"),
        };
        format!("{folder}{segment}LOAD{part:08X}{ending}")
    }

    /// Returns the key of a change file.
    pub fn changes(&self, time: PrimitiveDateTime) -> String {
        let (year, month, day) = time.to_calendar_date();
        let (hour, minute, second, micro) = time.as_hms_micro();
        let (places, month) = (self.fraction.min(6), u8::from(month));
        let fraction = match places {
            0 => String::new(),
            _ => format!("{:0width$}", micro / 10_u32.pow(6 - places), width = places as usize),
        };
        let folder = self.folder(if self.qlik { "__ct" } else { "" });
        let partition = self.partition.as_ref().map_or(String::new(), |partition| partition.folder(time));
        let stamp = format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}{fraction}");
        format!("{folder}{partition}{stamp}{}", self.ending())
    }

    fn folder(&self, suffix: &str) -> String {
        let path = self.path.trim_matches('/');
        let slash = if path.is_empty() { "" } else { "/" };
        format!("{path}{slash}{}/{}{suffix}/", self.schema, self.table)
    }

    fn ending(&self) -> &'static str {
        if self.plain { ".csv" } else { ".csv.gz" }
    }
}

impl Partition {
    fn folder(&self, time: PrimitiveDateTime) -> String {
        let mut folder = String::new();
        for piece in &self.0 {
            folder.push_str(&match piece {
                Piece::Year => format!("{:04}", time.year()),
                Piece::Month => format!("{:02}", u8::from(time.month())),
                Piece::Day => format!("{:02}", time.day()),
                Piece::Hour => format!("{:02}", time.hour()),
                Piece::Mark(mark) => mark.to_string(),
            });
        }
        folder.push('/');
        folder
    }
}

impl FromStr for Partition {
    type Err = PartitionError;

    fn from_str(text: &str) -> Result<Self, PartitionError> {
        const DATES: [(&str, Piece); 4] =
            [("YYYY", Piece::Year), ("MM", Piece::Month), ("DD", Piece::Day), ("HH", Piece::Hour)];
        let mut pieces = Vec::new();
        let mut left = text;
        while let Some(next) = left.chars().next() {
            let date = DATES.iter().find(|(name, piece)| left.starts_with(name) && !pieces.contains(piece));
            let (piece, length) = match date {
                Some((name, piece)) => (*piece, name.len()),
                None if matches!(next, '/' | '-' | '_') => (Piece::Mark(next), 1),
                None => return Err(PartitionError),
            };
            pieces.push(piece);
            left = &left[length..];
        }
        let is_mark = |piece: Option<&Piece>| matches!(piece, None | Some(Piece::Mark(_)));
        let doubled = pieces.windows(2).any(|pair| pair.iter().all(|piece| is_mark(Some(piece))));
        if is_mark(pieces.first()) || is_mark(pieces.last()) || doubled {
            return Err(PartitionError);
        }
        Ok(Self(pieces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn names() -> Names {
        Names::new("data", Entity::Orders)
    }

    #[test]
    fn parts_count_in_upper_case_hex() {
        let key = |part| snapshot_key("data", Entity::Orders, part);
        assert_eq!(key(1), "data/dbo/entity_1/LOAD00000001.csv.gz");
        assert_eq!(key(9), "data/dbo/entity_1/LOAD00000009.csv.gz");
        assert_eq!(key(10), "data/dbo/entity_1/LOAD0000000A.csv.gz");
        assert_eq!(key(16), "data/dbo/entity_1/LOAD00000010.csv.gz");
        assert_eq!(key(u32::MAX), "data/dbo/entity_1/LOADFFFFFFFF.csv.gz");
    }

    #[test]
    fn change_files_carry_their_time_in_utc() {
        let key = |time| changes_key("data", Entity::Events, time);
        let name = "data/dbo/entity_2/20220922-095853123.csv.gz";
        assert_eq!(key(datetime!(2022-09-22 09:58:53.123999 UTC)), name);
        assert_eq!(key(datetime!(2022-09-22 11:58:53.123 +2)), name);
        assert!(key(datetime!(2022-01-02 03:04:05 UTC)).ends_with("/20220102-030405000.csv.gz"));
    }

    #[test]
    fn a_path_may_be_empty_deep_or_slashed() {
        let key = |path| snapshot_key(path, Entity::Strategies, 1);
        assert_eq!(key(""), "dbo/entity_3/LOAD00000001.csv.gz");
        assert_eq!(key("/a/b/"), "a/b/dbo/entity_3/LOAD00000001.csv.gz");
    }

    #[test]
    fn names_as_they_are_set() {
        let names = Names { schema: "Shop".to_owned(), table: "Orders".to_owned(), plain: true, ..names() };
        assert_eq!(names.snapshot(Some(2), 10), "data/Shop/Orders/segment2/LOAD0000000A.csv");
        let names = Names { segments: Segments::Prefix, plain: false, ..names };
        assert_eq!(names.snapshot(Some(2), 1), "data/Shop/Orders/SEGMENT2_LOAD00000001.csv.gz");
        let names = Names { qlik: true, ..names };
        assert_eq!(names.snapshot(Some(2), 1), "data/Shop/Orders/LOAD_2_00000001.csv.gz");
        assert_eq!(names.snapshot(None, 12), "data/Shop/Orders/LOAD_1_00000012.csv.gz");
        let time = datetime!(2022-09-22 09:58:53.123456);
        assert_eq!(names.changes(time), "data/Shop/Orders__ct/20220922-095853123.csv.gz");
    }

    #[test]
    fn fractions_have_the_places_asked_for() {
        let name = |fraction| {
            let names = Names { fraction, ..names() };
            names.changes(datetime!(2022-09-22 09:58:53.023456)).replace("data/dbo/entity_1/20220922-0958", "")
        };
        assert_eq!([0, 1, 4, 6].map(name), ["53.csv.gz", "530.csv.gz", "530234.csv.gz", "53023456.csv.gz"]);
    }

    #[test]
    fn partitions() {
        let folder = |form: &str| {
            let names = Names { partition: Some(form.parse().unwrap()), ..names() };
            let key = names.changes(datetime!(2022-09-02 07:58:53));
            key.replace("data/dbo/entity_1/", "").replace("/20220902-075853000.csv.gz", "")
        };
        let forms = ["YYYY/MM/DD", "YYYYMMDDHH", "YYYY-MM", "DD-MM-YYYY", "MMYYYYDD", "YYYY_MM_DD_HH", "DDMMYYYY"];
        let wanted = ["2022/09/02", "2022090207", "2022-09", "02-09-2022", "09202202", "2022_09_02_07", "02092022"];
        assert_eq!(forms.map(folder), wanted);
        for wrong in ["", "YYY", "YYYY//MM", "/YYYY", "YYYY-", "YYYYYYYY", "YYYY.MM", "day"] {
            assert_eq!(wrong.parse::<Partition>(), Err(PartitionError), "{wrong}");
        }
    }
}
