//! Files in other forms than the default, read back by the csv crate, and files that are spoiled on purpose.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "not our own readers")]

use super::*;
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

type Table = BTreeMap<String, Vec<String>>;

const SHAPE: Shape = Shape { gone: 0.02, changed: 0.05, new: 0.03 };

fn base(entity: Entity, rows: u64) -> Edition {
    Edition::base(entity, rows, 1)
}

fn style(dialect: Dialect) -> Style {
    Style { dialect, packing: Packing { plain: true, ..Packing::default() }, ..Style::default() }
}

fn load(style: &Style, edition: &Edition) -> (Written, Vec<u8>) {
    let mut out = Vec::new();
    (snapshot_in(style, edition, Layout::default(), &mut out).unwrap(), out)
}

fn change_file(style: &Style, of: &Changes) -> (Written, Vec<u8>) {
    let mut out = Vec::new();
    (changes_in(style, of, &mut out).unwrap(), out)
}

fn text(dialect: &Dialect, edition: &Edition) -> String {
    String::from_utf8(load(&style(dialect.clone()), edition).1).unwrap()
}

fn change_text(dialect: &Dialect, of: Changes) -> String {
    String::from_utf8(change_file(&style(dialect.clone()), &of.in_dialect(dialect)).1).unwrap()
}

fn records(csv: &str, delimiter: u8) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new();
    let mut reader = reader.has_headers(false).delimiter(delimiter).from_reader(csv.as_bytes());
    reader.deserialize().map(|record| record.unwrap()).collect()
}

fn usual() -> Dialect {
    Dialect::default()
}

fn unzip(file: &[u8]) -> io::Result<Vec<u8>> {
    let mut csv = Vec::new();
    MultiGzDecoder::new(file).read_to_end(&mut csv).map(|_| csv)
}

fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares the default form with checksums from before other forms existed.
#[test]
fn the_default_form_is_what_it_always_was() {
    let wanted = [
        (Entity::Orders, ["83ba9afc8b38b849", "336082c345b4e482", "c4c994ed5b1d74a1"]),
        (Entity::Events, ["838a4442ebaed279", "c52ad1f606d86b3c", "06fb9d462c0fecb8"]),
        (Entity::Strategies, ["c3de70fb652d8fbf", "4a9ca886eacdbbb8", "75cc3478c09afa9f"]),
    ];
    let style = Style { packing: Packing { members: 3, ..Packing::default() }, ..Style::default() };
    for (entity, wanted) in wanted {
        let rows = (entity.full_size() as f64 * 0.01).round() as u64;
        let edition = base(entity, rows).reload(Shape { gone: 0.01, changed: 0.02, new: 0.03 }).unwrap();
        let mut part = Vec::new();
        let layout = Layout { shuffled: true, part: 1, parts: 3 };
        snapshot_in(&style, &edition, layout, &mut part).unwrap();
        let changes = [3, 4].map(|number| change_file(&style, &Changes::new(&edition, number, 100)).1);
        assert_eq!([sha(&part), sha(&changes[0]), sha(&changes[1])], wanted, "{entity:?}");
    }
}

/// Compares the output of both ways of writing.
#[test]
fn the_long_way_writes_what_the_short_way_writes() {
    for entity in Entity::ALL {
        let edition = base(entity, 2_000);
        let with_header = text(&Dialect { header: true, ..usual() }, &edition);
        let (header, rows) = with_header.split_once('\n').unwrap();
        assert_eq!(header, entity.columns().join(","));
        assert!(rows == text(&usual(), &edition), "{entity:?}");
    }
}

#[test]
fn any_delimiter_and_null_can_be_read_back() {
    let edition = base(Entity::Orders, 3_000);
    let wanted = records(&text(&usual(), &edition), b',');
    for (delimiter, null, byte) in
        [("\u{1}", "NULL", 1), ("\t", r"\N", b'\t'), ("|", "", b'|'), (" ", "-", b' '), ("-", "?", b'-')]
    {
        let dialect = Dialect { delimiter: delimiter.to_owned(), null: null.to_owned(), ..usual() };
        let mut seen = records(&text(&dialect, &edition), byte);
        assert!(null == "NULL" || seen.iter().flatten().any(|cell| cell == null));
        for (seen, wanted) in seen.iter_mut().flatten().zip(wanted.iter().flatten()) {
            if seen == null && wanted == "NULL" {
                *seen = "NULL".to_owned();
            }
        }
        assert!(seen == wanted, "{delimiter:?}");
    }
}

#[test]
fn a_delimiter_may_have_several_characters() {
    let edition = base(Entity::Orders, 3_000);
    let csv = text(&Dialect { delimiter: "||".to_owned(), ..usual() }, &edition);
    assert_eq!(csv.lines().next().map(|line| line.matches("||").count()), Some(11));
    assert!(csv.contains("\"a\ttab; a semicolon | a bar\""), "a piece of the delimiter is quoted");
    let one = csv.replace("||", "\u{1}");
    assert!(records(&one, 1) == records(&text(&usual(), &edition), b','));
}

#[test]
fn the_word_for_null_is_quoted_where_it_is_a_text() {
    let edition = base(Entity::Orders, 20_000);
    let csv = text(&Dialect { null: r"\N".to_owned(), ..usual() }, &edition);
    for cell in [r#"\N"#, r#""\N""#, "NULL", "null", ""] {
        assert!(csv.contains(&format!(",{cell},")), "no {cell}");
    }
    assert!(!csv.contains("\"NULL\""));
    let empty = text(&Dialect { null: String::new(), ..usual() }, &edition);
    assert!(empty.contains(",\"\",") && empty.contains(",,"));
}

#[test]
fn ops_are_where_they_are_asked_for() {
    let edition = base(Entity::Strategies, 90);
    let width = Entity::Strategies.columns().len();
    let changes = || Changes::new(&edition, 1, 200);
    let cases = [
        (false, false, width, width + 1),
        (true, false, width + 1, width + 1),
        (false, true, width, width),
        (true, true, width + 1, width + 1),
    ];
    for (full_load_op, inserts_only, load, change) in cases {
        let dialect = Dialect { full_load_op, inserts_only, ..usual() };
        let rows = records(&text(&dialect, &edition), b',');
        assert!(rows.iter().all(|row| row.len() == load && (load == width || row[0] == "I")));
        let rows = records(&change_text(&dialect, changes()), b',');
        assert_eq!(rows.len(), 200);
        assert!(rows.iter().all(|row| row.len() == change), "{dialect:?}");
        let letters: BTreeSet<_> = rows.iter().map(|row| row[0].as_str()).collect();
        assert!(change == width || letters.contains("I"));
        assert_eq!(letters.contains("U"), !inserts_only);
    }
}

#[test]
fn a_timestamp_column_stands_first_or_last() {
    let edition = base(Entity::Events, 10);
    for (last, place) in [(false, 1), (true, 8)] {
        let timestamp = Some(Timestamp { name: "written at".to_owned(), last });
        let dialect = Dialect { header: true, timestamp, ..usual() };
        let rows = records(&change_text(&dialect, Changes::new(&edition, 1, 3)), b',');
        assert_eq!((rows[0][0].as_str(), rows[0][place].as_str()), ("Op", "written at"));
        assert_eq!(rows[1][place], "2022-09-22 09:58:53.123000");
        assert_eq!(rows[3][place], "2022-09-22 09:58:53.123002");
        let rows = records(&text(&dialect, &edition), b',');
        assert_eq!((rows[0].len(), rows[0][place - 1].as_str()), (8, "written at"));
    }
}

#[test]
fn without_quotes_every_line_is_a_row() {
    let edition = base(Entity::Orders, 5_000);
    let dialect = Dialect { quotes: false, delimiter: "\t".to_owned(), ..usual() };
    let csv = text(&dialect, &edition);
    assert_eq!(csv.lines().count(), 5_000);
    assert!(csv.lines().all(|line| line.split('\t').count() == 12));
    assert!(csv.contains("\t\"fill or kill\" asked for\t") && csv.contains("\tfirst line second line\t"));
}

#[test]
fn line_ends_marks_and_the_last_row() {
    let edition = base(Entity::Strategies, 20);
    let plain = text(&usual(), &edition);
    let crlf = text(&Dialect { crlf: true, ..usual() }, &edition);
    assert_eq!(crlf, plain.replace('\n', "\r\n"));
    let bom = text(&Dialect { bom: true, ..usual() }, &edition);
    assert_eq!(bom.strip_prefix('\u{feff}'), Some(plain.as_str()));
    let open = text(&Dialect { last_newline: false, ..usual() }, &edition);
    assert_eq!(format!("{open}\n"), plain);
    assert_eq!(text(&Dialect { last_newline: false, ..usual() }, &base(Entity::Strategies, 0)), "");
}

#[test]
fn plain_is_not_gzip() {
    let edition = base(Entity::Events, 500);
    let (written, file) = load(&style(usual()), &edition);
    assert_eq!(unzip(&load(&Style::default(), &edition).1).unwrap(), file);
    assert_eq!((written.csv_bytes, written.gz_bytes), (file.len() as u64, file.len() as u64));
}

#[test]
fn a_form_that_cannot_be_read_is_not_written() {
    let wrong = style(Dialect { delimiter: String::new(), ..usual() });
    let error = snapshot_in(&wrong, &base(Entity::Orders, 1), Layout::default(), io::sink()).unwrap_err();
    assert!(matches!(error, Error::Dialect(DialectError::Delimiter)));
}

/// Applies a change file with a header as text, cell by cell; an independent second opinion on `Expected`.
fn apply(table: &mut Table, csv: &str) -> Counts {
    let before = table.clone();
    let mut named = BTreeSet::new();
    let mut rows = records(csv, b',').into_iter();
    let header = rows.next().unwrap();
    let width = header.iter().filter(|name| *name != "Op" && !name.starts_with("BI_")).count();
    for mut row in rows {
        let old = if header.len() > width + 1 { row.pop().unwrap() } else { "NULL".to_owned() };
        let op = row.remove(0);
        let key = row[0].clone();
        let source = if old == "NULL" { key.clone() } else { old };
        assert_eq!(source != key, op == "U" && source != key, "only updates change a key");
        let known = table.remove(&source);
        named.extend([source, key.clone()]);
        for (at, cell) in row.iter_mut().enumerate().filter(|_| op != "D") {
            if cell == "?" {
                *cell = known.as_ref().expect("a row to leave cells out of")[at].clone();
            }
        }
        if op != "D" {
            table.insert(key, row);
        }
    }
    let of = |table: &Table, key: &String| table.get(key).cloned();
    named.iter().fold(Counts::default(), |mut counts, key| {
        match (of(&before, key), of(table, key)) {
            (None, None) => {}
            (None, Some(_)) => counts.create += 1,
            (Some(_), None) => counts.remove += 1,
            (Some(before), Some(after)) if before == after => counts.unchanged += 1,
            (Some(_), Some(_)) => counts.amend += 1,
        }
        counts
    })
}

#[test]
fn cells_left_out_and_keys_changed_have_the_effect_that_is_expected() {
    for (no_supply, before_image, moves) in
        [(true, true, true), (true, false, false), (false, true, true), (false, false, true)]
    {
        for entity in Entity::ALL {
            let base = base(entity, 400).reload(SHAPE).unwrap();
            let no_supply = no_supply.then(|| "?".to_owned());
            let before_image = before_image.then(|| "BI_".to_owned());
            let dialect = Dialect { header: true, no_supply, before_image, ..usual() };
            let rows = records(&text(&usual(), &base), b',');
            let mut table: Table = rows.into_iter().map(|row| (row[0].clone(), row)).collect();
            let mut expected = Expected::holding(base.clone());
            for number in [1, 2, 5, 3] {
                let mut changes = Changes::new(&base, number, 300);
                changes.key_changes = moves.then_some(KeyChanges::in_dialect(&dialect));
                changes.key_only_deletes = number == 5;
                let changes = changes.in_dialect(&dialect);
                let (written, csv) = change_file(&style(dialect.clone()), &changes);
                let csv = String::from_utf8(csv).unwrap();
                assert_eq!(csv.contains(",?,"), dialect.no_supply.is_some());
                let moved = written.spots.iter().filter(|spot| spot.line.is_some()).count() as u64;
                assert_eq!((moved, written.spots.len()), (written.rows - 300, usize::from(moves) * 3));
                assert_eq!(apply(&mut table, &csv), expected.change(&changes), "{entity:?} {number} {dialect:?}");
                assert_eq!(expected.size(), table.len() as u64);
            }
        }
    }
}

#[test]
fn a_key_changes_once_and_another_twice() {
    let dialect = Dialect { before_image: Some("BI_".to_owned()), ..usual() };
    let mut changes = Changes::new(&base(Entity::Events, 100), 1, 10);
    changes.key_changes = Some(KeyChanges::Shown);
    let (written, csv) = change_file(&style(dialect), &changes);
    let rows = records(&String::from_utf8(csv).unwrap(), b',');
    assert_eq!(rows.len(), 13);
    let keys: Vec<_> = rows[10..].iter().map(|row| (row[0].as_str(), row[8].as_str(), row[1].as_str())).collect();
    let [(_, first, _), (_, second, middle), (_, from, last)] = keys[..] else { panic!("three rows") };
    assert!(keys.iter().all(|(op, old, new)| *op == "U" && old != new));
    assert!(first != second && middle == from && middle != last);
    assert_eq!(written.max_event_id, last.parse().ok(), "the key of an event is its event id");
    assert_eq!(rows[11][2..8], rows[12][2..8], "all but the key is as it was");
    assert!(written.spots.iter().zip(&keys).all(|(spot, (_, old, new))| {
        spot.key == new.parse().ok() && spot.what.ends_with(old) && spot.line.is_some()
    }));
}

#[test]
fn a_key_that_cannot_change_is_told() {
    let changes = Changes { key_changes: Some(KeyChanges::Hidden), ..Changes::new(&base(Entity::Orders, 7), 1, 10) };
    let (written, _) = change_file(&style(usual()), &changes);
    let [spot] = &written.spots[..] else { panic!("one spot: {:?}", written.spots) };
    assert_eq!((written.rows, spot.line), (10, None));
    assert!(spot.to_string().starts_with("key-change: not done"));
}

/// Checks that no cell is left out if there are so few rows that scripts collide.
#[test]
fn of_few_rows_nothing_is_left_out() {
    let dialect = Dialect { header: true, no_supply: Some("?".to_owned()), ..usual() };
    let few = |number| change_text(&dialect, Changes::new(&base(Entity::Orders, 3), number, 500));
    assert!((0..5).all(|number| !few(number).contains(",?,")));
}

fn spoiled(anomaly: Anomaly, edition: &Edition) -> (Spot, Vec<String>) {
    let style = Style { anomalies: vec![anomaly], ..style(usual()) };
    let (written, csv) = load(&style, edition);
    let [spot] = &written.spots[..] else { panic!("one spot: {:?}", written.spots) };
    let lines = String::from_utf8(csv).unwrap().split('\n').map(str::to_owned).collect();
    (spot.clone(), lines)
}

#[test]
fn a_spoiled_row_is_where_it_is_said_to_be() {
    for entity in Entity::ALL {
        let edition = base(entity, 1_000);
        for anomaly in
            [Anomaly::WideValues, Anomaly::BadRow, Anomaly::RaggedRow, Anomaly::OpenQuote, Anomaly::DuplicateKey]
        {
            let (spot, lines) = spoiled(anomaly, &edition);
            let line = &lines[spot.line.unwrap() as usize - 1];
            assert!(line.starts_with(&format!("{},", spot.key.unwrap())), "{spot}: {line}");
            let sound = text(&usual(), &edition);
            assert!(!sound.split('\n').any(|sound| sound == line), "{spot}: {line}");
            let cells = line.split(',').count();
            match anomaly {
                Anomaly::WideValues => assert!(spot.what.contains(" and "), "{spot}"),
                Anomaly::BadRow => assert!(line.contains(",many,")),
                Anomaly::RaggedRow if entity == Entity::Events => assert_eq!(cells, 6),
                Anomaly::RaggedRow => assert!(!line.ends_with(char::is_numeric), "the event id is missing: {line}"),
                Anomaly::OpenQuote => assert_eq!(line.matches('"').count() % 2, 1),
                _ => assert_eq!(
                    lines.iter().filter(|line| line.starts_with(&format!("{},", spot.key.unwrap()))).count(),
                    2
                ),
            }
        }
    }
}

#[test]
fn what_finds_no_row_says_so() {
    let (spot, _) = spoiled(Anomaly::BadRow, &base(Entity::Orders, 0));
    assert_eq!(spot.to_string(), "bad-row: not done, the file has no row for it");
}

#[test]
fn deletes_are_spared() {
    let edition = base(Entity::Orders, 500);
    let style = Style { anomalies: vec![Anomaly::BadRow, Anomaly::WideValues], ..style(usual()) };
    for number in 0..20 {
        let (written, csv) = change_file(&style, &Changes::new(&edition, number, 90));
        let lines: Vec<_> = std::str::from_utf8(&csv).unwrap().split('\n').collect();
        assert_eq!(written.spots.len(), 2);
        let line = |spot: &Spot| lines[spot.line.unwrap() as usize - 1];
        assert!(written.spots.iter().all(|spot| !line(spot).starts_with('D')));
    }
}

#[test]
fn files_are_cut_corrupt_or_empty() {
    let edition = base(Entity::Events, 300);
    let whole = load(&Style::default(), &edition).1;
    let of = |anomaly| load(&Style { anomalies: vec![anomaly], ..Style::default() }, &edition);
    let (written, cut) = of(Anomaly::Truncated);
    assert!(whole.starts_with(&cut) && cut.len() + 12 == whole.len());
    assert_eq!((written.gz_bytes, unzip(&cut).unwrap_err().kind()), (cut.len() as u64, io::ErrorKind::UnexpectedEof));
    let (_, crc) = of(Anomaly::Crc);
    let differ: Vec<_> = (0..whole.len()).filter(|&at| whole[at] != crc[at]).collect();
    assert_eq!((differ, crc.len()), (vec![whole.len() - 8], whole.len()));
    assert!(unzip(&crc).is_err());
    let (written, empty) = of(Anomaly::Empty);
    assert_eq!((written.rows, empty.len(), written.spots.len()), (0, 0, 1));
}
