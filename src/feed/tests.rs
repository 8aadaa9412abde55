//! The room as its callers see it, judged by readers that are not ours: flate2's and the csv crate's.
//! Effects are counted here a second time, from the written text alone.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "not our own readers")]

use super::*;
use flate2::{Crc, bufread::GzDecoder, read::MultiGzDecoder};
use std::collections::BTreeMap;
use std::io::Read;

/// The rows of a table by key.
type Table = BTreeMap<String, Vec<String>>;

const SHAPE: Shape = Shape { gone: 0.02, changed: 0.05, new: 0.03 };

fn base(entity: Entity, rows: u64) -> Edition {
    Edition::base(entity, rows, 1)
}

fn file(edition: &Edition, layout: Layout, packing: Packing) -> (Written, Vec<u8>) {
    let mut out = Vec::new();
    (snapshot(edition, layout, packing, &mut out).unwrap(), out)
}

fn load(edition: &Edition) -> (Written, Vec<u8>) {
    file(edition, Layout::default(), Packing::default())
}

fn change_file(of: &Changes) -> (Written, Vec<u8>) {
    let mut out = Vec::new();
    (changes(of, Packing::default(), &mut out).unwrap(), out)
}

fn unzip(file: &[u8]) -> Vec<u8> {
    let mut csv = Vec::new();
    MultiGzDecoder::new(file).read_to_end(&mut csv).unwrap();
    csv
}

/// Returns the number of gzip members of the file.
pub(super) fn members(mut file: &[u8]) -> u32 {
    let mut members = 0;
    while !file.is_empty() {
        let mut member = GzDecoder::new(file);
        io::copy(&mut member, &mut io::sink()).unwrap();
        file = member.into_inner();
        members += 1;
    }
    members
}

fn records(file: &[u8]) -> Vec<Vec<String>> {
    let csv = unzip(file);
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&csv[..]);
    reader.deserialize().map(|record| record.unwrap()).collect()
}

fn table(file: &[u8]) -> Table {
    records(file).into_iter().map(|record| (record[0].clone(), record)).collect()
}

fn compare(before: &Table, after: &Table) -> Counts {
    let kept = || after.iter().filter(|(key, _)| before.contains_key(*key));
    let unchanged = kept().filter(|(key, row)| before[*key] == **row).count() as u64;
    let kept = kept().count() as u64;
    Counts { create: after.len() as u64 - kept, amend: kept - unchanged, remove: before.len() as u64 - kept, unchanged }
}

#[test]
fn the_mission_counts_its_rows() {
    for entity in [Entity::Orders, Entity::Strategies] {
        let (written, file) = load(&base(entity, entity.full_size()));
        assert_eq!(written.rows, entity.full_size());
        assert_eq!(written.gz_bytes, file.len() as u64);
        assert_eq!(written.csv_bytes, unzip(&file).len() as u64);
        let records = records(&file);
        assert_eq!(records.len() as u64, entity.full_size());
        assert!(records.iter().all(|record| record.len() == entity.columns().len()));
        assert_eq!(table(&file).len() as u64, entity.full_size());
    }
}

#[test]
fn sizes_and_bytes_are_exact() {
    let sums = Entity::ALL.map(|entity| {
        let (written, file) = load(&base(entity, entity.full_size().min(20_000)));
        let mut crc = Crc::new();
        crc.update(&unzip(&file));
        (written.csv_bytes, crc.sum())
    });
    assert_eq!(sums, [(3_552_182, 208_588_515), (1_923_584, 392_172_577), (12_845, 3_281_702_731)]);
}

#[test]
fn events_are_as_long_and_as_dense_as_the_missions() {
    let (written, _) = load(&base(Entity::Events, 20_000));
    let row = written.csv_bytes as f64 / written.rows as f64;
    let share = written.gz_bytes as f64 / written.csv_bytes as f64;
    assert!((95.0..97.0).contains(&row), "{row} bytes a row");
    assert!((0.15..0.20).contains(&share), "gzip leaves {share}");
}

#[test]
fn the_full_load_of_events() {
    let edition = base(Entity::Events, Entity::Events.full_size());
    let written =
        snapshot(&edition, Layout::default(), Packing { level: 0, ..Packing::default() }, io::sink()).unwrap();
    assert_eq!((written.rows, written.csv_bytes), (1_494_975, 143_794_553));
    assert_eq!(written.max_event_id, Some(MAX_EVENT_ID));
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for entity in Entity::ALL {
        let of = |seed| load(&Edition::base(entity, 500, seed)).1;
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        let changes = |seed| change_file(&Changes::new(&Edition::base(entity, 50, seed), 3, 99)).1;
        assert_eq!(changes(1), changes(1));
        assert_ne!(changes(1), changes(2));
    }
}

#[test]
fn keys_rise_unless_shuffled() {
    let edition = base(Entity::Orders, 3_000).reload(SHAPE).unwrap();
    let shuffled = Layout { shuffled: true, ..Layout::default() };
    let in_order = records(&load(&edition).1);
    let mut shuffled = records(&file(&edition, shuffled, Packing::default()).1);
    assert!(in_order.is_sorted());
    let rising = shuffled.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!((1_400..1_700).contains(&rising), "{rising} of 3030 pairs rise");
    shuffled.sort_unstable();
    assert_eq!(shuffled, in_order);
}

#[test]
fn parts_are_the_whole() {
    let edition = base(Entity::Events, 1_000).reload(SHAPE).unwrap();
    for shuffled in [false, true] {
        let part = |part, parts| {
            let layout = Layout { shuffled, part, parts };
            file(&edition, layout, Packing::default())
        };
        let parts: Vec<_> = (1..=3).map(|number| part(number, 3)).collect();
        let joined: Vec<u8> = parts.iter().flat_map(|(_, file)| unzip(file)).collect();
        assert_eq!(joined, unzip(&part(1, 1).1));
        assert_eq!(parts.iter().map(|(written, _)| written.rows).sum::<u64>(), edition.size());
        assert!(parts.iter().all(|(written, _)| (300..380).contains(&written.rows)));
    }
}

#[test]
fn members_cut_through_rows_and_lose_none() {
    let edition = base(Entity::Events, 1_000);
    let (whole, one) = load(&edition);
    for count in [2, 7, 3_000] {
        let packing = Packing { members: count, ..Packing::default() };
        let (written, file) = file(&edition, Layout::default(), packing);
        assert_eq!(members(&file), count);
        assert_eq!(unzip(&file), unzip(&one));
        assert_eq!((written.csv_bytes, written.gz_bytes), (whole.csv_bytes, file.len() as u64));
        let mut first = Vec::new();
        GzDecoder::new(&file[..]).read_to_end(&mut first).unwrap();
        assert_ne!(first.last(), Some(&b'\n'), "a member ends within a row");
    }
}

#[test]
fn null_empty_and_quoted_null_all_occur() {
    for entity in [Entity::Orders, Entity::Events] {
        let csv = String::from_utf8(unzip(&load(&base(entity, 20_000)).1)).unwrap();
        let note = |text: &str| match entity {
            Entity::Orders => csv.contains(&format!(",{text},")),
            _ => csv.contains(&format!(",{text}\n")),
        };
        let wanted = ["NULL", "", "\"NULL\"", "null", "\"stop, then limit\"", "\"\"\"\""];
        for text in wanted.iter().chain(&["\"first line\nsecond line\"", "größer als üblich 📈"]) {
            assert!(note(text), "{entity:?} has no {text}");
        }
    }
}

#[test]
fn a_reload_does_what_it_says() {
    for entity in Entity::ALL {
        let base = base(entity, 2_000);
        let reload = base.reload(SHAPE).unwrap();
        let next = reload.reload(SHAPE).unwrap();
        let tables = [&base, &reload, &next].map(|edition| table(&load(edition).1));
        assert_eq!(compare(&tables[0], &tables[1]), reload.counts());
        assert_eq!(compare(&tables[0], &tables[2]), next.counts());
        let between = compare(&tables[1], &tables[2]);
        assert_eq!(Expected::holding(reload).reload(&next), between);
    }
}

/// Applies a change file as text and counts; an independent second opinion on `Expected`.
fn apply(table: &mut Table, file: &[u8]) -> (Counts, Claims) {
    let (before, mut claims) = (table.clone(), Claims::default());
    let mut named = std::collections::BTreeSet::new();
    for mut record in records(file) {
        let op = record.remove(0);
        named.insert(record[0].clone());
        match op.as_str() {
            "D" => claims.deletes += 1,
            "I" => claims.inserts += 1,
            _ => claims.updates += 1,
        }
        let key = record[0].clone();
        if op == "D" {
            table.remove(&key)
        } else {
            table.insert(key, record)
        };
    }
    let of = |table: &Table| -> Table {
        let rows = named.iter().filter_map(|key| table.get_key_value(key));
        rows.map(|(key, row)| (key.clone(), row.clone())).collect()
    };
    (compare(&of(&before), &of(table)), claims)
}

#[test]
fn change_files_do_what_is_expected_one_after_the_other() {
    for entity in Entity::ALL {
        let base = base(entity, 800);
        let (mut text, mut expected) = (table(&load(&base).1), Expected::holding(base.clone()));
        for number in 0..5 {
            let changes = Changes::new(&base, number, 300);
            let (written, file) = change_file(&changes);
            let (counts, claims) = apply(&mut text, &file);
            assert_eq!(written.rows, 300);
            assert_eq!((expected.change(&changes), changes.claims()), (counts, claims));
            assert_eq!(expected.size(), text.len() as u64);
        }
        let reload = base.reload(SHAPE).unwrap();
        let counts = compare(&text, &table(&load(&reload).1));
        assert_eq!(expected.reload(&reload), counts);
    }
}

#[test]
fn deletes_can_give_the_key_only() {
    let mut of = Changes::new(&base(Entity::Events, 800), 0, 300);
    let full = change_file(&of);
    of.key_only_deletes = true;
    let (written, file) = change_file(&of);
    assert_eq!(written.max_event_id, full.0.max_event_id);
    let deletes = records(&file).into_iter().filter(|record| record[0] == "D");
    let deletes: Vec<_> = deletes.collect();
    assert_eq!(deletes.len() as u64, of.claims().deletes);
    assert!(deletes.iter().all(|delete| delete[2..].iter().all(|cell| cell == "NULL")));
    assert!(records(&full.1).iter().all(|record| record.len() == 8 && record[3] != "NULL"));
}

#[test]
fn the_highest_event_id_is_of_the_rows_written() {
    for entity in Entity::ALL {
        let column = entity.columns().iter().position(|&name| name == "event_id").unwrap();
        let (written, file) = change_file(&Changes::new(&base(entity, 80), 0, 50));
        let rows = records(&file).into_iter().filter(|record| record[0] != "D");
        let highest = rows.map(|record| record[column + 1].parse::<u64>().unwrap()).max();
        assert_eq!(written.max_event_id, highest);
    }
    assert_eq!(load(&base(Entity::Orders, 0)).0.max_event_id, None);
}

#[test]
fn an_empty_load_is_a_file() {
    let (written, file) = load(&base(Entity::Orders, 0));
    assert_eq!((written.rows, written.csv_bytes), (0, 0));
    assert_eq!((members(&file), unzip(&file).len()), (1, 0));
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let edition = base(Entity::Orders, 100);
    for (part, parts) in [(0, 1), (2, 1), (1, 0)] {
        let layout = Layout { part, parts, ..Layout::default() };
        let error = snapshot(&edition, layout, Packing::default(), io::sink()).unwrap_err();
        assert_eq!(error.to_string(), format!("there is no part {part} of {parts}"));
    }
    let mut small = [0; 10];
    let error = snapshot(&edition, Layout::default(), Packing::default(), &mut small[..]);
    assert!(matches!(error, Err(Error::Write(_))));
}
