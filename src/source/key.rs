//! Grammar of keys. Pure.
//!
//! `[path/] schema / table / [segment and date folders /] file`, as in the DMS user guide (S3 target), and the names
//! of Qlik Replicate. The load counter restarts in every segment, so an object's identity is its full key, never its
//! basename. Any text may be a key: one that does not fit the grammar is ignored, and nothing here panics. The entity
//! is the folder's name; whether `orders__ct` is a table or holds the changes of `orders` depends on the whole
//! listing.

use std::fmt;

use super::partition;

/// A table of the feed, as its folder names it. Its changes may be in a folder of their own (`changes_of`).
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

impl Entity {
    /// Returns the table whose changes a folder of this name may hold: Qlik Replicate stores the changes of `orders`
    /// in the folder `orders__ct`.
    pub(super) fn changes_of(&self) -> Option<Self> {
        let name = self.name.strip_suffix("__ct").filter(|name| !name.is_empty())?;
        Some(Self { schema: self.schema.clone(), name: name.to_owned() })
    }
}

/// Kind of an object by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedKey {
    Snapshot {
        entity: Entity,
        part: Part,
    },
    Changes {
        entity: Entity,
        time: NameTime,
    },
    /// Recognised, counted, never loaded.
    Ignored(Ignored),
}

/// Kind of an object that is not a file of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// `CDC_TXN-…`: the changes of all tables by transaction (PreserveTransactions)
    Transactions,
    /// `.dfm`: a description of the file beside it, written by Qlik Replicate
    Dfm,
    /// `.tmp`: a file that is still being written
    Temporary,
    /// A marker of a folder: a key that ends in a slash, or in `_$folder$`.
    Marker,
    Other,
}

/// Number of objects that are not files of a table, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IgnoredCounts {
    pub transactions: u64,
    pub dfm: u64,
    pub temporary: u64,
    pub markers: u64,
    pub other: u64,
}

/// Position of a part in a full load: its segment folder or prefix (0 without one), then its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    segment: u32,
    number: u32,
}

impl Part {
    /// Returns the first and the last number that are missing between this part and a later one of its segment.
    pub(super) fn missing_before(self, later: Self) -> Option<(u32, u32)> {
        let gap = self.segment == later.segment && later.number > self.number.saturating_add(1);
        gap.then(|| (self.number + 1, later.number - 1))
    }
}

/// The time in a change file's name, as `YYYYMMDDHHMMSS` and microseconds. Its zone is the feed's own affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameTime {
    second: u64,
    micros: u32,
}

/// Reads a key below `path` (which has no slash at either end, and may be empty).
pub fn parse(path: &str, key: &str) -> ParsedKey {
    parse_below(path, key).unwrap_or_else(|| ParsedKey::Ignored(Ignored::of(key)))
}

fn parse_below(path: &str, key: &str) -> Option<ParsedKey> {
    let below = if path.is_empty() { key } else { key.strip_prefix(path)?.strip_prefix('/')? };
    let mut parts = below.splitn(3, '/');
    let (schema, name, rest) = (parts.next()?, parts.next()?, parts.next()?);
    if !is_name(schema) || !is_name(name) {
        return None;
    }
    // most tables have no folders, and there are many keys
    let (in_folder, file) = match rest.rsplit_once('/') {
        Some((folders, file)) => (segment_of(&folders.split('/').collect::<Vec<_>>())?, file),
        None => (0, rest),
    };
    let stem = file.strip_suffix(".gz").unwrap_or(file).strip_suffix(".csv")?;
    let entity = Entity { schema: schema.to_owned(), name: name.to_owned() };
    match parse_time(stem) {
        Some(time) => Some(ParsedKey::Changes { entity, time }),
        None => parse_part(in_folder, stem).map(|part| ParsedKey::Snapshot { entity, part }),
    }
}

/// Returns `true` if the text can be the name of a table. Only characters that would break log lines are excluded.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// Returns the segment that the folders below a table name, 0 without one, or `None` if a folder is neither a segment
/// nor a date.
fn segment_of(mut folders: &[&str]) -> Option<u32> {
    let mut segment = None;
    while let Some((first, rest)) = folders.split_first() {
        match segment_number(first) {
            Some(number) => {
                segment = segment.or(Some(number));
                folders = rest;
            }
            None => folders = partition::strip(folders)?,
        }
    }
    Some(segment.unwrap_or(0))
}

/// Parses `LOAD0000000A` (one to eight digits), `SEGMENT3_LOAD0000000A`, `LOAD…` below a folder `segment3`, or Qlik's
/// `LOAD_3_10`.
fn parse_part(in_folder: u32, stem: &str) -> Option<Part> {
    let (prefix, number) = stem.split_once("LOAD")?;
    if let Some(numbers) = number.strip_prefix('_').filter(|_| prefix.is_empty()) {
        let (segment, number) = numbers.split_once('_')?;
        return Some(Part { segment: decimal(segment)?, number: decimal(number)? });
    }
    let segment = match prefix {
        "" => in_folder,
        _ => segment_number(prefix.strip_suffix('_')?)?,
    };
    let is_hex =
        (1..=8).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    let number = u32::from_str_radix(number, 16).ok().filter(|_| is_hex)?;
    Some(Part { segment, number })
}

fn segment_number(text: &str) -> Option<u32> {
    decimal(text.strip_prefix("SEGMENT").or_else(|| text.strip_prefix("segment"))?)
}

/// Digits and nothing else: `parse` alone would take a plus.
fn decimal(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Parses `20220922-095853123`: a date, a time, and up to six digits of a fraction.
fn parse_time(stem: &str) -> Option<NameTime> {
    let (date, time) = stem.split_once('-')?;
    if date.len() != 8 || !(6..=12).contains(&time.len()) {
        return None;
    }
    let (clock, fraction) = time.split_at_checked(6)?;
    let second = u64::from(decimal(date)?) * 1_000_000 + u64::from(decimal(clock)?);
    let micros = if fraction.is_empty() { 0 } else { decimal(fraction)? };
    let missing = 6 - u32::try_from(fraction.len()).ok()?;
    NameTime { second, micros: micros * 10_u32.pow(missing) }.checked()
}

impl NameTime {
    fn checked(self) -> Option<Self> {
        self.unix_seconds().map(|_| self)
    }

    /// Returns seconds since 1970, if the name's time is UTC.
    pub fn unix_seconds(self) -> Option<i64> {
        let field = |divisor: u64, modulus: u64| u8::try_from(self.second / divisor % modulus).ok();
        let month = time::Month::try_from(field(100_000_000, 100)?).ok()?;
        let year = i32::try_from(self.second / 10_000_000_000).ok()?;
        let date = time::Date::from_calendar_date(year, month, field(1_000_000, 100)?).ok()?;
        let time = time::Time::from_hms(field(10_000, 100)?, field(100, 100)?, field(1, 100)?).ok()?;
        Some(time::PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp())
    }
}

impl Ignored {
    fn of(key: &str) -> Self {
        let file = key.rsplit('/').next().unwrap_or(key);
        match file {
            "" => Self::Marker,
            _ if file.ends_with("_$folder$") => Self::Marker,
            _ if file.ends_with(".tmp") => Self::Temporary,
            _ if file.ends_with(".dfm") => Self::Dfm,
            _ if file.starts_with("CDC_TXN-") => Self::Transactions,
            _ => Self::Other,
        }
    }
}

impl IgnoredCounts {
    pub fn total(&self) -> u64 {
        self.transactions + self.dfm + self.temporary + self.markers + self.other
    }

    pub(super) fn count(&mut self, foreign: Ignored) {
        *match foreign {
            Ignored::Transactions => &mut self.transactions,
            Ignored::Dfm => &mut self.dfm,
            Ignored::Temporary => &mut self.temporary,
            Ignored::Marker => &mut self.markers,
            Ignored::Other => &mut self.other,
        } += 1;
    }
}

/// `7 objects that are no files of a table (5 folder markers, 2 others)`; of one kind that is no kind, without the kinds.
impl fmt::Display for IgnoredCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.transactions, "transaction file"),
            (self.dfm, ".dfm file"),
            (self.temporary, "temporary file"),
            (self.markers, "folder marker"),
            (self.other, "other"),
        ];
        match self.total() {
            1 => write!(f, "1 object that is no file of a table")?,
            total => write!(f, "{total} objects that are no files of a table")?,
        }
        if self.total() == self.other {
            return Ok(());
        }
        let some = kinds.iter().filter(|(count, _)| *count > 0);
        let many = |count| if count == 1 { "" } else { "s" };
        let some: Vec<String> = some.map(|(count, kind)| format!("{count} {kind}{}", many(*count))).collect();
        write!(f, " ({})", some.join(", "))
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
