//! The grammar of keys, form by form, and that no key can make it panic.

use proptest::prelude::*;

use super::*;

fn part(key: &str) -> Option<Part> {
    match parse("data", key) {
        ParsedKey::Snapshot { part, .. } => Some(part),
        _ => None,
    }
}

fn time(key: &str) -> Option<NameTime> {
    match parse("data", key) {
        ParsedKey::Changes { time, .. } => Some(time),
        _ => None,
    }
}

fn table(key: &str) -> Option<String> {
    match parse("data", key) {
        ParsedKey::Snapshot { entity, .. } | ParsedKey::Changes { entity, .. } => Some(entity.to_string()),
        ParsedKey::Ignored(_) => None,
    }
}

const fn at(segment: u32, number: u32) -> Option<Part> {
    Some(Part { segment, number })
}

#[test]
fn a_load_file_has_a_hex_number() {
    assert_eq!(part("data/dbo/entity_1/LOAD00000001.csv.gz"), at(0, 1));
    assert_eq!(part("data/dbo/entity_1/LOAD0000000A.csv"), at(0, 10));
    assert_eq!(part("data/dbo/entity_1/LOAD1.csv.gz"), at(0, 1));
    assert_eq!(part("data/dbo/entity_1/LOAD0001F.csv"), at(0, 31));
    assert!(part("data/dbo/e/LOAD00000009.csv.gz") < part("data/dbo/e/LOAD0000000A.csv.gz"));
}

#[test]
fn a_segment_is_named_by_the_file_or_its_folder() {
    assert_eq!(part("data/dbo/entity_1/SEGMENT2_LOAD0000000A.csv.gz"), at(2, 10));
    assert_eq!(part("data/dbo/entity_1/segment3/LOAD00000001.csv.gz"), at(3, 1));
    assert_eq!(part("data/dbo/entity_1/SEGMENT3/2022/09/LOAD00000001.csv.gz"), at(3, 1));
    assert_eq!(part("data/dbo/entity_1/segment3/SEGMENT4_LOAD00000001.csv.gz"), at(4, 1));
    assert!(part("data/dbo/e/segment1/LOAD000000FF.csv") < part("data/dbo/e/segment2/LOAD00000001.csv"));
    assert_eq!(part("data/dbo/e/segment+3/LOAD00000001.csv"), None);
    assert_eq!(part("data/dbo/e/segment99999999999/LOAD00000001.csv"), None);
}

#[test]
fn a_load_file_of_qlik_has_decimal_numbers() {
    assert_eq!(part("data/dbo/e/LOAD_0_1.csv"), at(0, 1));
    assert_eq!(part("data/dbo/e/LOAD_2_10.csv.gz"), at(2, 10));
    assert!(part("data/dbo/e/LOAD_1_9.csv") < part("data/dbo/e/LOAD_1_10.csv"));
    for key in ["LOAD_1.csv", "LOAD_1_A.csv", "LOAD__1.csv", "LOAD_1_2_3.csv", "LOAD_+1_2.csv", "SEGMENT1_LOAD_1_2.csv"]
    {
        assert_eq!(part(&format!("data/dbo/e/{key}")), None, "{key}");
    }
}

#[test]
fn a_folder_may_hold_the_changes_of_a_table() {
    let of =
        |name: &str| Entity { schema: "dbo".into(), name: name.into() }.changes_of().map(|table| table.to_string());
    assert_eq!(of("e__ct").as_deref(), Some("dbo.e"));
    assert_eq!(of("e__ct__ct").as_deref(), Some("dbo.e__ct"));
    for name in ["e", "__ct", "e__CT", "e__ct2"] {
        assert_eq!(of(name), None, "{name}");
    }
    // the key alone does not say which it is
    assert_eq!(table("data/dbo/e__ct/20220922-095853123.csv.gz").as_deref(), Some("dbo.e__ct"));
    assert_eq!(table("data/dbo/e__ct/LOAD00000001.csv.gz").as_deref(), Some("dbo.e__ct"));
}

#[test]
fn a_change_file_has_a_time() {
    let seen = time("data/dbo/entity_1/20220922-095853123.csv.gz").expect("a change file");
    assert_eq!(seen, NameTime { second: 20_220_922_095_853, micros: 123_000 });
    assert_eq!(seen.unix_seconds(), Some(1_663_840_733));
    assert_eq!(time("data/dbo/e/2022/09/22/20220922-095853.csv"), Some(NameTime { micros: 0, ..seen }));
    assert_eq!(time("data/dbo/e/20220922-0958531234.csv.gz"), Some(NameTime { micros: 123_400, ..seen }));
    assert_eq!(time("data/dbo/e/20220922-0958531234567.csv.gz"), None, "seven digits of a fraction");
}

#[test]
fn date_folders_may_stand_before_any_file() {
    for folders in ["2022/09/22", "2022092209", "09-2022-22", "22_09_2022", "segment1/202209", "2022/09/22/09/segment1"]
    {
        assert!(time(&format!("data/dbo/e/{folders}/20220922-095853123.csv.gz")).is_some(), "{folders}");
        assert!(part(&format!("data/dbo/e/{folders}/LOAD00000001.csv.gz")).is_some(), "{folders}");
    }
    for folders in ["2022", "notes", "2022/13", "2022/09/notes", "2022/09/", "../2022/09", "20220922 "] {
        assert!(time(&format!("data/dbo/e/{folders}/20220922-095853123.csv.gz")).is_none(), "{folders}");
    }
}

#[test]
fn what_is_foreign_is_told_apart() {
    let cases = [
        ("data/cdc/CDC_TXN-20220922095853123.csv.gz", Ignored::Transactions),
        ("data/dbo/e/cdc/CDC_TXN-20220922095853123.csv", Ignored::Transactions),
        ("data/dbo/e/LOAD00000001.csv.gz.dfm", Ignored::Dfm),
        ("data/dbo/e/LOAD00000001.dfm", Ignored::Dfm),
        ("data/dbo/e/LOAD00000001.csv.gz.tmp", Ignored::Temporary),
        ("data/dbo/entity_1/", Ignored::Marker),
        ("data/dbo/entity_1_$folder$", Ignored::Marker),
        ("data/dbo/entity_1/LOAD.csv.gz", Ignored::Other),
        ("data/dbo/entity_1/LOAD000000001.csv.gz", Ignored::Other),
        ("data/dbo/entity_1/LOAD0000000a.csv.gz", Ignored::Other),
        ("data/dbo/entity_1/LOAD0000000a.csv.gz", Ignored::Other),
        ("data/dbo/entity_1/LOAD00000001.parquet", Ignored::Other),
        ("data/dbo/entity_1/20221322-095853123.csv.gz", Ignored::Other),
        ("data/dbo/entity_1/20220922-256161.csv.gz", Ignored::Other),
        ("data/dbo/LOAD00000001.csv.gz", Ignored::Other),
        ("data/dbo/entity_1/notes/LOAD00000001.csv.gz", Ignored::Other),
        ("data/dbo/entity_1//LOAD00000001.csv.gz", Ignored::Other),
        ("data//entity_1/LOAD00000001.csv.gz", Ignored::Other),
        ("data/dbo/a\nb/LOAD00000001.csv.gz", Ignored::Other),
        ("data/dbo/a\0/LOAD00000001.csv.gz", Ignored::Other),
        ("database/dbo/entity_1/LOAD00000001.csv.gz", Ignored::Other),
        ("README.md", Ignored::Other),
        ("", Ignored::Marker),
    ];
    let mut counts = IgnoredCounts::default();
    for (key, wanted) in cases {
        assert_eq!(parse("data", key), ParsedKey::Ignored(wanted), "{key:?}");
        counts.count(wanted);
    }
    let words = "23 objects that are no files of a table \
                 (2 transaction files, 2 .dfm files, 1 temporary file, 3 folder markers, 15 others)";
    assert_eq!(counts.to_string(), words);
    let other = |other| IgnoredCounts { other, ..IgnoredCounts::default() }.to_string();
    assert_eq!(other(0), "0 objects that are no files of a table");
    assert_eq!(other(1), "1 object that is no file of a table");
    assert_eq!(other(2), "2 objects that are no files of a table");
}

#[test]
fn names_are_taken_literally() {
    let key = "data/dbo/orders\"; drop table x;--/LOAD00000001.csv.gz";
    assert_eq!(table(key).as_deref(), Some("dbo.orders\"; drop table x;--"));
    assert_eq!(table("data/dbo/заказы/LOAD00000001.csv").as_deref(), Some("dbo.заказы"));
    assert!(matches!(parse("", "dbo/e/LOAD00000001.csv"), ParsedKey::Snapshot { .. }));
}

proptest! {
    /// Any key is parsed or ignored, and its table's name breaks no line.
    #[test]
    fn no_key_panics(
        pieces in prop::collection::vec(
            prop_oneof![
                Just("/"), Just("-"), Just("_"), Just(".."), Just("dbo/e/"), Just("2022/09/22/"), Just("2022-09"), Just("LOAD"),
                Just("LOAD_"), Just("SEGMENT"), Just("segment1/"), Just("00000001"), Just("20220922-095853"), Just("123"),
                Just(".csv"), Just(".gz"), Just(".dfm"), Just("__ct"), Just("é"), Just("２０２２"), Just("\u{0}"), Just("\n"),
            ],
            0..40,
        ),
        noise in any::<String>(),
        long in 0usize..3000,
    ) {
        let key = format!("data/{}{noise}", pieces.concat());
        for key in [key.clone(), format!("{key}{}", "2022/09/".repeat(long))] {
            match parse("data", &key) {
                ParsedKey::Snapshot { entity, .. } | ParsedKey::Changes { entity, .. } => {
                    let name = entity.to_string();
                    prop_assert!(!name.contains(char::is_control), "{:?}", name);
                }
                ParsedKey::Ignored(_) => {}
            }
            prop_assert_eq!(parse("data", &key), parse("", key.strip_prefix("data/").unwrap_or_default()));
        }
    }
}
