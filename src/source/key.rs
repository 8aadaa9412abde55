//! The grammar of keys: what an object's key says about it. Pure.
//!
//! `[path/] schema / table / [partition folders /] file`, as the DMS user guide (S3 target) has it. The load counter is
//! hexadecimal and restarts in every segment, so an object's identity is its full key, never its basename.

use std::fmt;

/// A table of the feed, as its folder names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entity {
    pub schema: String,
    pub name: String,
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// What a key says its object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    Snapshot {
        entity: Entity,
        part: Part,
    },
    Changes {
        entity: Entity,
        time: NameTime,
    },
    /// recognised, counted, never loaded: transaction files, temporary files, folder markers, anything else
    Foreign,
}

/// Where a part stands in a full load: its segment folder or prefix (0 without one), then the hex counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    segment: u32,
    number: u32,
}

/// The time in a change file's name, as `YYYYMMDDHHMMSS` and microseconds. Its zone is the feed's own affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameTime {
    second: u64,
    micros: u32,
}

/// Reads a key below `path` (which has no slash at either end, and may be empty).
pub fn parse(path: &str, key: &str) -> Named {
    parse_below(path, key).unwrap_or(Named::Foreign)
}

fn parse_below(path: &str, key: &str) -> Option<Named> {
    let below = if path.is_empty() { key } else { key.strip_prefix(path)?.strip_prefix('/')? };
    let mut segments = below.split('/');
    let (schema, name) = (segments.next()?, segments.next()?);
    let rest: Vec<&str> = segments.collect();
    let (file, folders) = rest.split_last()?;
    if schema.is_empty() || name.is_empty() || !folders.iter().all(|folder| is_partition(folder)) {
        return None;
    }
    let entity = Entity { schema: schema.to_owned(), name: name.to_owned() };
    let stem = file.strip_suffix(".gz").unwrap_or(file).strip_suffix(".csv")?;
    if let Some(part) = parse_part(folders, stem) {
        return Some(Named::Snapshot { entity, part });
    }
    parse_time(stem).map(|time| Named::Changes { entity, time })
}

/// `LOAD0000000A`, or `SEGMENT3_LOAD0000000A`, or the first below a folder `segment3`.
fn parse_part(folders: &[&str], stem: &str) -> Option<Part> {
    let (prefix, number) = stem.split_once("LOAD")?;
    let in_name = match prefix {
        "" => None,
        _ => Some(segment_number(prefix.strip_suffix('_')?)?),
    };
    let in_folder = folders.iter().find_map(|folder| segment_number(folder));
    let is_hex = number.len() == 8 && number.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    let number = u32::from_str_radix(number, 16).ok().filter(|_| is_hex)?;
    Some(Part { segment: in_name.or(in_folder).unwrap_or(0), number })
}

fn segment_number(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("SEGMENT").or_else(|| text.strip_prefix("segment"))?;
    digits.parse().ok()
}

/// `20220922-095853123`: a date, a time, and up to six digits of a fraction.
fn parse_time(stem: &str) -> Option<NameTime> {
    let (date, time) = stem.split_once('-')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if date.len() != 8 || !(6..=12).contains(&time.len()) || !digits(date) || !digits(time) {
        return None;
    }
    let (clock, fraction) = time.split_at(6);
    let second = format!("{date}{clock}").parse().ok()?;
    let micros = format!("{fraction:0<6}").parse().ok()?;
    NameTime { second, micros }.checked()
}

impl NameTime {
    fn checked(self) -> Option<Self> {
        self.unix_seconds().map(|_| self)
    }

    /// Seconds since 1970 if the name's time is UTC.
    pub fn unix_seconds(self) -> Option<i64> {
        let field = |divisor: u64, modulus: u64| u8::try_from(self.second / divisor % modulus).ok();
        let month = time::Month::try_from(field(100_000_000, 100)?).ok()?;
        let year = i32::try_from(self.second / 10_000_000_000).ok()?;
        let date = time::Date::from_calendar_date(year, month, field(1_000_000, 100)?).ok()?;
        let time = time::Time::from_hms(field(10_000, 100)?, field(100, 100)?, field(1, 100)?).ok()?;
        Some(time::PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp())
    }
}

/// A date partition (`2022`, `20220922`, `2022-09-22`, `2022_09_22_23`) or a segment folder.
fn is_partition(folder: &str) -> bool {
    let date = folder.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b'_');
    (date && folder.bytes().any(|byte| byte.is_ascii_digit())) || segment_number(folder).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(key: &str) -> Option<Part> {
        match parse("data", key) {
            Named::Snapshot { part, .. } => Some(part),
            _ => None,
        }
    }

    fn time(key: &str) -> Option<NameTime> {
        match parse("data", key) {
            Named::Changes { time, .. } => Some(time),
            _ => None,
        }
    }

    #[test]
    fn a_load_file_has_a_hex_number() {
        let at = |segment, number| Some(Part { segment, number });
        assert_eq!(part("data/dbo/entity_1/LOAD00000001.csv.gz"), at(0, 1));
        assert_eq!(part("data/dbo/entity_1/LOAD0000000A.csv"), at(0, 10));
        assert_eq!(part("data/dbo/entity_1/SEGMENT2_LOAD0000000A.csv.gz"), at(2, 10));
        assert_eq!(part("data/dbo/entity_1/segment3/LOAD00000001.csv.gz"), at(3, 1));
        assert!(part("data/dbo/e/LOAD00000009.csv.gz") < part("data/dbo/e/LOAD0000000A.csv.gz"));
    }

    #[test]
    fn a_change_file_has_a_time() {
        let seen = time("data/dbo/entity_1/20220922-095853123.csv.gz").expect("a change file");
        assert_eq!(seen, NameTime { second: 20_220_922_095_853, micros: 123_000 });
        assert_eq!(seen.unix_seconds(), Some(1_663_840_733));
        assert_eq!(time("data/dbo/e/2022/09/22/20220922-095853.csv"), Some(NameTime { micros: 0, ..seen }));
        assert_eq!(time("data/dbo/e/20220922-0958531234.csv.gz"), Some(NameTime { micros: 123_400, ..seen }));
    }

    #[test]
    fn everything_else_is_foreign() {
        for key in [
            "data/dbo/entity_1/LOAD1.csv.gz",
            "data/dbo/entity_1/LOAD0000000a.csv.gz",
            "data/dbo/entity_1/LOAD00000001.csv.gz.tmp",
            "data/dbo/entity_1/LOAD00000001.parquet",
            "data/dbo/entity_1/20221322-095853123.csv.gz",
            "data/dbo/entity_1/20220922-256161.csv.gz",
            "data/dbo/entity_1/",
            "data/dbo/LOAD00000001.csv.gz",
            "data/dbo/entity_1/notes/LOAD00000001.csv.gz",
            "data//entity_1/LOAD00000001.csv.gz",
            "data/cdc/CDC_TXN-20220922095853123.csv.gz",
            "database/dbo/entity_1/LOAD00000001.csv.gz",
            "README.md",
        ] {
            assert_eq!(parse("data", key), Named::Foreign, "{key}");
        }
    }

    #[test]
    fn names_are_taken_literally() {
        let key = "data/dbo/orders\"; drop table x;--/LOAD00000001.csv.gz";
        let Named::Snapshot { entity, .. } = parse("data", key) else { panic!("a snapshot") };
        assert_eq!(entity.name, "orders\"; drop table x;--");
        assert!(matches!(parse("", "dbo/e/LOAD00000001.csv"), Named::Snapshot { .. }));
    }
}
