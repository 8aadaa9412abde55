//! The plan, case by case, and that no order of seeing changes it.

use proptest::prelude::*;

use super::*;

/// 2022-09-22 09:00:00 UTC, the hour in which the test files were made.
const NINE: i64 = 1_663_837_200;

fn listed(file: &str, etag: &str, modified: i64) -> Listed {
    Listed { key: format!("data/dbo/{file}"), etag: etag.into(), size: 10, modified: NINE + modified }
}

fn entry(id: i64, file: &str, etag: &str, modified: i64, status: Status) -> Entry {
    let kind = if file.contains("LOAD") { File::Snapshot } else { File::Changes };
    let key = format!("data/dbo/{file}");
    let (etag, modified) = (etag.into(), NINE + modified);
    Entry {
        id,
        key,
        etag,
        modified,
        file: kind,
        generation: 1,
        status,
        requested: None,
        superseded: false,
        only_added: true,
    }
}

fn stock(bucket: &[Listed], ledger: &[Entry]) -> Stock {
    let mut stock = Stock::new("data");
    let mut keys: Vec<&String> = bucket.iter().map(|l| &l.key).chain(ledger.iter().map(|e| &e.key)).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let rows: Vec<Entry> = ledger.iter().filter(|row| &row.key == key).cloned().collect();
        stock.see(bucket.iter().find(|object| &object.key == key).cloned(), &rows);
    }
    stock
}

/// The plan as one line per pending delivery: generation, step, files.
fn plan(bucket: &[Listed], ledger: &[Entry]) -> Vec<String> {
    let plan = stock(bucket, ledger).plan(&HashSet::new());
    let lines = plan.tables.iter().flat_map(|table| {
        let stop = table.stopped.iter().map(|stop| format!("stopped by {} {}", stop.id, stop.status.as_str()));
        let gone = table.superseded.iter().map(|id| format!("superseded {id}"));
        gone.chain(stop).chain(table.pending.iter().map(line)).collect::<Vec<_>>()
    });
    lines.collect()
}

fn line(pending: &Pending) -> String {
    let files = pending.objects.iter().map(|o| o.listed.key.trim_start_matches("data/dbo/"));
    let step = match &pending.step {
        Step::Append { first } => format!("append{}", if *first { " first" } else { "" }),
        Step::Replace => "replace".into(),
        Step::Changes => "changes".into(),
        Step::Skip(reason) => format!("skip ({reason})"),
        Step::Stop(status, reason) => format!("{} ({reason})", status.as_str()),
    };
    format!("{} {step}: {}", pending.generation, files.collect::<Vec<_>>().join(" "))
}

const LOAD1: &str = "e/LOAD00000001.csv.gz";
const LOAD2: &str = "e/LOAD00000002.csv.gz";
const AT_0900: &str = "e/20220922-090000000.csv.gz";
const AT_0901: &str = "e/20220922-090100000.csv.gz";

#[test]
fn full_loads_come_before_changes_and_parts_in_hex_order() {
    let bucket = [
        listed(AT_0900, "c", 5),
        listed("e/LOAD0000000A.csv.gz", "b", 2),
        listed("e/LOAD00000009.csv.gz", "a", 2),
        listed("e/readme.txt", "x", 2),
    ];
    let wanted =
        ["1 append first: e/LOAD00000009.csv.gz", "1 append: e/LOAD0000000A.csv.gz", &format!("1 changes: {AT_0900}")];
    assert_eq!(plan(&bucket, &[]), wanted);
    assert_eq!(stock(&bucket, &[]).plan(&HashSet::new()).foreign, 1);
}

#[test]
fn what_the_ledger_has_is_not_pending() {
    let bucket = [listed(LOAD1, "a", 0), listed(AT_0900, "b", 1), listed(AT_0901, "c", 61)];
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, AT_0900, "b", 1, Status::Skipped)];
    assert_eq!(plan(&bucket, &ledger), [format!("1 changes: {AT_0901}")]);
}

#[test]
fn tables_are_taken_by_the_time_of_their_first_pending_object() {
    let bucket = [listed("a/LOAD00000001.csv.gz", "a", 9), listed("b/LOAD00000001.csv.gz", "b", 3)];
    assert_eq!(plan(&bucket, &[]), ["1 append first: b/LOAD00000001.csv.gz", "1 append first: a/LOAD00000001.csv.gz"]);
}

#[test]
fn a_rewritten_part_begins_a_generation_even_with_the_same_bytes() {
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, AT_0900, "b", 1, Status::Loaded)];
    let same_bytes = [listed(LOAD1, "a", 100), listed(AT_0900, "b", 1)];
    assert_eq!(plan(&same_bytes, &ledger), [format!("2 replace: {LOAD1}")]);
    let rewritten_change = [listed(LOAD1, "a", 0), listed(AT_0900, "b", 50)];
    assert!(plan(&rewritten_change, &ledger).is_empty(), "a change file's identity has no time");
}

#[test]
fn a_new_part_is_added_only_while_the_first_load_grows() {
    let bucket = [listed(LOAD1, "a", 0), listed(LOAD2, "b", 5)];
    let grown = [entry(1, LOAD1, "a", 0, Status::Loaded)];
    assert_eq!(plan(&bucket, &grown), [format!("1 append: {LOAD2}")]);
    let diffed = [Entry { only_added: false, ..grown[0].clone() }];
    assert!(plan(&bucket, &diffed)[0].starts_with("2 held (mixed reload"));
    let changed = [grown[0].clone(), entry(2, AT_0900, "c", 1, Status::Loaded)];
    assert!(plan(&bucket, &changed)[0].starts_with("2 held (mixed reload"));
}

#[test]
fn a_table_that_was_not_empty_takes_its_first_load_at_once() {
    let bucket = [listed(LOAD1, "a", 0), listed(LOAD2, "b", 5)];
    let entity = Entity { schema: "dbo".into(), name: "e".into() };
    let plan = stock(&bucket, &[]).plan(&HashSet::from([entity]));
    assert_eq!(line(&plan.tables[0].pending[0]), format!("1 replace: {LOAD1} {LOAD2}"));
}

#[test]
fn a_reload_with_parts_missing_or_mixed_is_held() {
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, LOAD2, "b", 0, Status::Loaded)];
    let mixed = [listed(LOAD1, "a2", 100), listed(LOAD2, "b", 0)];
    assert_eq!(
        plan(&mixed, &ledger),
        [format!("2 held (mixed reload: data/dbo/{LOAD2} not rewritten with the other parts): {LOAD1} {LOAD2}")]
    );
    let fewer = [listed(LOAD1, "a2", 100)];
    assert!(plan(&fewer, &ledger)[0].starts_with("2 held (maybe incomplete: 1 of the 2 parts"));
    let fewer_and_on = [listed(LOAD1, "a2", 100), listed(AT_0901, "c", 200)];
    assert_eq!(plan(&fewer_and_on, &ledger), [format!("2 replace: {LOAD1}"), format!("2 changes: {AT_0901}")]);
}

#[test]
fn a_change_file_older_than_the_snapshot_is_contained_in_it_and_a_tie_is_not() {
    let bucket = [listed(LOAD1, "a", 30), listed(AT_0900, "b", 29), listed(AT_0901, "c", 30)];
    let wanted = [
        format!("1 append first: {LOAD1}"),
        format!("1 skip (contained in snapshot 1): {AT_0900}"),
        format!("1 changes: {AT_0901}"),
    ];
    assert_eq!(plan(&bucket, &[]), wanted);
}

#[test]
fn copied_change_files_follow_the_snapshot() {
    let days = 3 * 86_400;
    let bucket = [listed(LOAD1, "a", days + 9), listed(AT_0900, "b", days)];
    assert_eq!(plan(&bucket, &[]), [format!("1 append first: {LOAD1}"), format!("1 changes: {AT_0900}")]);
    assert_eq!(stock(&bucket, &[]).plan(&HashSet::new()).tables[0].assumed, 1);
}

#[test]
fn a_change_file_before_a_loaded_one_is_late() {
    let bucket = [listed(LOAD1, "a", 0), listed(AT_0900, "b", 90), listed(AT_0901, "c", 61)];
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, AT_0901, "c", 61, Status::Loaded)];
    assert!(plan(&bucket, &ledger)[0].starts_with("1 late (data/dbo/e/20220922-090100000.csv.gz"));
    let rewritten = [listed(LOAD1, "a", 0), listed(AT_0901, "c2", 99)];
    assert!(plan(&rewritten, &ledger)[0].starts_with("1 late (another version"));
    let reloaded = [listed(LOAD1, "a2", 80), listed(AT_0900, "b", 90), listed(AT_0901, "c", 61)];
    assert_eq!(plan(&reloaded, &ledger), [format!("2 replace: {LOAD1}"), format!("2 changes: {AT_0900}")]);
}

#[test]
fn a_failed_row_stops_its_table_until_its_version_is_gone_or_a_retry_is_asked_for() {
    let bucket = [listed(LOAD1, "a", 0), listed(AT_0900, "b", 1), listed("f/LOAD00000001.csv.gz", "f", 0)];
    let failed = entry(7, LOAD1, "a", 0, Status::Failed);
    let other = "1 append first: f/LOAD00000001.csv.gz".to_owned();
    assert_eq!(plan(&bucket, std::slice::from_ref(&failed)), [other.clone(), "stopped by 7 failed".into()]);
    let asked = Entry { requested: Some(Request::Retry), ..failed.clone() };
    let again = [format!("1 append first: {LOAD1}"), format!("1 changes: {AT_0900}"), other.clone()];
    assert_eq!(plan(&bucket, &[asked]), again);
    let mended = [listed(LOAD1, "a2", 50), bucket[2].clone()];
    assert_eq!(
        plan(&mended, std::slice::from_ref(&failed)),
        [other.clone(), "superseded 7".into(), format!("1 append first: {LOAD1}")]
    );
    assert_eq!(plan(&bucket[2..], &[failed]), [other, "superseded 7".into()], "deleted");
}

#[test]
fn what_went_away_is_pending_again_when_it_is_back() {
    let gone = [entry(3, AT_0900, "b", 1, Status::Gone)];
    assert!(plan(&[], &gone).is_empty());
    let plan = stock(&[listed(AT_0900, "b", 1)], &gone).plan(&HashSet::new());
    assert_eq!(plan.tables[0].pending[0].objects[0].entry, Some(3));
}

proptest! {
    /// Any order of seeing gives the same plan, and nothing that is listed is left out of it.
    #[test]
    fn no_shuffle_changes_the_plan(
        files in prop::collection::vec((0usize..5, "[a-c]", 0i64..200, 0usize..4), 1..12), seed in any::<u64>(),
    ) {
        let names = [LOAD1, LOAD2, AT_0900, AT_0901, "e/20220922-0900301.csv.gz"];
        let states = [None, Some(Status::Loaded), Some(Status::Skipped), Some(Status::Gone)];
        let mut cases: BTreeMap<&str, (Listed, Vec<Entry>)> = BTreeMap::new();
        for (index, (name, etag, modified, state)) in files.iter().enumerate() {
            let rows = states[*state].map(|state| entry(index as i64 + 1, names[*name], etag, *modified, state));
            cases.insert(names[*name], (listed(names[*name], etag, *modified), rows.into_iter().collect()));
        }
        let mut cases: Vec<_> = cases.into_values().collect();
        let plan_of = |cases: &[(Listed, Vec<Entry>)]| {
            let mut stock = Stock::new("data");
            cases.iter().for_each(|(listed, rows)| stock.see(Some(listed.clone()), rows));
            stock.plan(&HashSet::new())
        };
        let straight = plan_of(&cases);
        let length = cases.len();
        cases.rotate_left(seed as usize % length);
        cases.reverse();
        prop_assert_eq!(&straight, &plan_of(&cases));
        let open = cases.iter().filter(|(_, rows)| !rows.iter().any(accounted));
        for (object, _) in open {
            let planned = straight.tables.iter().flat_map(|table| &table.pending).flat_map(|p| &p.objects);
            prop_assert!(planned.into_iter().any(|planned| planned.listed == *object), "{} left out", object.key);
        }
    }
}
