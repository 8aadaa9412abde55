//! The names that DMS gives its files: a full load's part has a number in hex, a change file its time.

use super::Entity;
use time::{OffsetDateTime, UtcOffset};

/// `data/dbo/entity_1/LOAD00000001.csv.gz`. `path` may be empty; `part` counts from 1.
pub fn snapshot_key(path: &str, entity: Entity, part: u32) -> String {
    format!("{}LOAD{part:08X}.csv.gz", folder(path, entity))
}

/// `data/dbo/entity_1/20220922-095853123.csv.gz`: the time in UTC, three places, the rest cut off.
pub fn changes_key(path: &str, entity: Entity, time: OffsetDateTime) -> String {
    let time = time.to_offset(UtcOffset::UTC);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, milli) = time.to_hms_milli();
    let (folder, month) = (folder(path, entity), u8::from(month));
    format!("{folder}{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}{milli:03}.csv.gz")
}

fn folder(path: &str, entity: Entity) -> String {
    let path = path.trim_matches('/');
    let slash = if path.is_empty() { "" } else { "/" };
    format!("{path}{slash}{}/", entity.folder())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

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
}
