//! FEED order, late files and how they are folded in, regressions, and which row comes in the place of which.

use super::tests::{AT_0900, AT_0901, LOAD1, LOAD2, entity, entry, lines, listed, plan, plan_of, whole_plan};
use super::*;
use crate::source::{Request, Status, Step};

const AT_0902: &str = "e/20220922-090200000.csv.gz";
const AT_0903: &str = "e/20220922-090300000.csv.gz";

fn asked(row: Entry) -> Entry {
    Entry { requested: Some(Request::Retry), ..row }
}

/// Returns a bucket and ledger with a full load at 0, and 09:01 and 09:03 loaded after it.
fn loaded() -> (Vec<Listed>, Vec<Entry>) {
    let bucket = vec![listed(LOAD1, "a", 0), listed(AT_0901, "c", 61), listed(AT_0903, "e", 181)];
    let ledger = vec![
        entry(1, LOAD1, "a", 0, Status::Loaded),
        entry(2, AT_0901, "c", 61, Status::Loaded),
        entry(3, AT_0903, "e", 181, Status::Loaded),
    ];
    (bucket, ledger)
}

#[test]
fn a_late_file_that_is_asked_for_is_folded_with_all_that_was_loaded_after_it() {
    let (mut bucket, mut ledger) = loaded();
    bucket.push(listed(AT_0902, "d", 200));
    ledger.push(asked(entry(4, AT_0902, "d", 200, Status::Late)));
    assert_eq!(plan(&bucket, &ledger), [format!("1 refold: {AT_0902} ={AT_0903}")]);
    let whole = whole_plan(&bucket, &ledger, Order::Auto);
    let pending = &whole.tables[0].pending[0];
    assert_eq!(pending.file.as_str(), "changes");
    assert_eq!(pending.objects.iter().map(|object| object.entry).collect::<Vec<_>>(), [Some(4), Some(3)]);
    assert_eq!(pending.carrier().entry, Some(4), "the counts are the late row's");
}

#[test]
fn loaded_files_are_kept_in_mind_only_for_a_table_that_asks_for_them() {
    let (mut bucket, mut ledger) = loaded();
    assert!(
        !plan_of(&bucket, &ledger, Order::Auto, &PlanOptions::default()).tables.iter().any(|table| table.wants_history)
    );
    bucket.extend([listed(AT_0902, "d", 200), listed("e/20220922-090400.csv.gz", "f", 300)]);
    ledger.push(asked(entry(4, AT_0902, "d", 200, Status::Late)));
    let first = plan_of(&bucket, &ledger, Order::Auto, &PlanOptions::default());
    assert!(first.tables[0].wants_history && first.tables[0].pending.is_empty(), "{first:?}");
    let history = HashSet::from([entity()]);
    let second = plan_of(&bucket, &ledger, Order::Auto, &PlanOptions { history, ..PlanOptions::default() });
    assert!(!second.tables[0].wants_history);
    assert_eq!(second.tables[0].pending.len(), 2, "what comes after follows");
}

#[test]
fn several_late_files_are_folded_at_once() {
    let (mut bucket, mut ledger) = loaded();
    bucket.extend([listed(AT_0902, "d", 200), listed(AT_0900, "b", 200)]);
    ledger.push(asked(entry(4, AT_0902, "d", 200, Status::Late)));
    ledger.push(asked(entry(5, AT_0900, "b", 200, Status::Late)));
    assert_eq!(plan(&bucket, &ledger), [format!("1 refold: {AT_0900} ={AT_0901} {AT_0902} ={AT_0903}")]);
    ledger[4].requested = None;
    assert_eq!(plan(&bucket, &ledger), ["stopped by 5 late"], "one that is not asked for stops the table");
}

#[test]
fn a_new_version_of_a_loaded_file_is_folded_without_the_old_one() {
    let (mut bucket, mut ledger) = loaded();
    bucket[1] = listed(AT_0901, "c2", 300);
    ledger.push(asked(entry(4, AT_0901, "c2", 300, Status::Late)));
    assert_eq!(plan(&bucket, &ledger), [format!("1 refold: {AT_0901} ={AT_0903}")]);
    // once it is loaded its older version is not folded in any more either
    ledger[3] = entry(4, AT_0901, "c2", 300, Status::Loaded);
    ledger[1].superseded_by = Some(4);
    bucket.push(listed(AT_0900, "b", 400));
    ledger.push(asked(entry(5, AT_0900, "b", 400, Status::Late)));
    assert_eq!(plan(&bucket, &ledger), [format!("1 refold: {AT_0900} ={AT_0901} ={AT_0903}")]);
    // by time written the two versions have two turns
    (bucket[3], ledger[4].modified) = (listed(AT_0900, "b", 60), bucket[0].modified + 60);
    let wanted = [format!("1 refold: {AT_0900} ={AT_0903} ={AT_0901}")];
    assert_eq!(lines(&bucket, &ledger, Order::Modified), wanted);
}

#[test]
fn a_late_file_is_not_folded_in_when_a_later_one_is_not_there_any_more() {
    let (mut bucket, mut ledger) = loaded();
    bucket.push(listed(AT_0902, "d", 200));
    ledger.push(asked(entry(4, AT_0902, "d", 200, Status::Late)));
    let wanted = [format!(
        "1 late (cannot be folded in: data/dbo/{AT_0903} was loaded after it and is not in the bucket any more; skip it with \
         a reason): {AT_0902}"
    )];
    let without = [bucket[0].clone(), bucket[1].clone(), bucket[3].clone()];
    assert_eq!(plan(&without, &ledger), wanted, "deleted");
    bucket[2] = listed(AT_0903, "e2", 300);
    assert_eq!(plan(&bucket, &ledger)[0], wanted[0], "written again");
    // one that comes before it is not needed
    let without = [listed(LOAD1, "a", 0), listed(AT_0902, "d", 200), listed(AT_0903, "e", 181)];
    assert_eq!(plan(&without, &ledger), [format!("1 refold: {AT_0902} ={AT_0903}")]);
}

#[test]
fn what_a_generation_before_loaded_is_not_folded_in() {
    let (mut bucket, mut ledger) = loaded();
    bucket[0] = listed(LOAD1, "a2", 190);
    ledger.push(Entry { generation: 2, ..entry(4, LOAD1, "a2", 190, Status::Loaded) });
    bucket.extend([listed(AT_0902, "d", 200), listed("e/20220922-090400.csv.gz", "f", 300)]);
    ledger.push(Entry { generation: 2, ..entry(5, "e/20220922-090400.csv.gz", "f", 300, Status::Loaded) });
    ledger.push(Entry { generation: 2, ..asked(entry(6, AT_0902, "d", 200, Status::Late)) });
    assert_eq!(plan(&bucket, &ledger), [format!("2 refold: {AT_0902} =e/20220922-090400.csv.gz")]);
}

#[test]
fn by_name_no_change_file_is_contained_and_none_is_assumed() {
    let bucket = [listed(LOAD1, "a", 30), listed(AT_0900, "b", 29), listed(AT_0901, "c", 30)];
    let wanted = [format!("1 append first: {LOAD1}"), format!("1 changes: {AT_0900}"), format!("1 changes: {AT_0901}")];
    assert_eq!(lines(&bucket, &[], Order::Name), wanted);
    assert_eq!(lines(&bucket, &[], Order::Auto)[1], format!("1 skip (contained in snapshot 1): {AT_0900}"));
    let copied = [listed(LOAD1, "a", 200_000), listed(AT_0900, "b", 190_000)];
    assert_eq!(lines(&copied, &[], Order::Name)[1], format!("1 changes: {AT_0900}"));
    assert_eq!(whole_plan(&copied, &[], Order::Name).tables[0].assumed, 0);
}

#[test]
fn by_name_a_short_reload_is_held_whatever_was_written_after_it() {
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, LOAD2, "b", 0, Status::Loaded)];
    let bucket = [listed(LOAD1, "a2", 100), listed(AT_0901, "c", 200)];
    assert!(lines(&bucket, &ledger, Order::Name)[0].starts_with("2 held (maybe incomplete"));
    assert!(lines(&bucket, &ledger, Order::Modified)[0].starts_with("2 replace"));
}

#[test]
fn by_time_written_change_files_are_ordered_and_contained_even_if_copied() {
    let bucket = [
        listed(LOAD1, "a", 200_000),
        listed(AT_0900, "b", 200_009),
        listed(AT_0901, "c", 200_007),
        listed(AT_0902, "d", 200_007),
        listed(AT_0903, "e", 199_999),
    ];
    let wanted = [
        format!("1 append first: {LOAD1}"),
        format!("1 skip (contained in snapshot 1): {AT_0903}"),
        format!("1 changes: {AT_0901}"),
        format!("1 changes: {AT_0902}"),
        format!("1 changes: {AT_0900}"),
    ];
    assert_eq!(lines(&bucket, &[], Order::Modified), wanted);
    let names: Vec<String> = lines(&bucket, &[], Order::Auto).split_off(1);
    assert_eq!(names, [AT_0900, AT_0901, AT_0902, AT_0903].map(|file| format!("1 changes: {file}")), "copied");
}

#[test]
fn by_time_written_a_file_is_late_that_was_written_before_a_loaded_one() {
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, AT_0901, "c", 61, Status::Loaded)];
    let bucket = |modified| [listed(LOAD1, "a", 0), listed(AT_0901, "c", 61), listed(AT_0900, "b", modified)];
    assert_eq!(lines(&bucket(62), &ledger, Order::Modified), [format!("1 changes: {AT_0900}")]);
    assert!(lines(&bucket(61), &ledger, Order::Modified)[0].starts_with("1 late"), "a tie goes by the name");
    assert!(lines(&bucket(60), &ledger, Order::Modified)[0].starts_with("1 late"));
    assert!(lines(&bucket(62), &ledger, Order::Name)[0].starts_with("1 late"));
    let late = [ledger[0].clone(), ledger[1].clone(), asked(entry(3, AT_0900, "b", 60, Status::Late))];
    assert_eq!(lines(&bucket(60), &late, Order::Modified), [format!("1 refold: {AT_0900} ={AT_0901}")]);
}

#[test]
fn names_that_contradict_the_times_are_noted() {
    let regression = |first: i64, second: i64, order| {
        let bucket = [listed(LOAD1, "a", 0), listed(AT_0900, "b", first), listed(AT_0901, "c", second)];
        whole_plan(&bucket, &[], order).tables[0].regression.clone()
    };
    let pair = Some((format!("data/dbo/{AT_0900}"), format!("data/dbo/{AT_0901}")));
    assert_eq!(regression(1000, 699, Order::Auto), pair);
    assert_eq!(regression(1000, 699, Order::Name), pair);
    assert_eq!(regression(1000, 700, Order::Auto), None, "five minutes are the clocks'");
    assert_eq!(regression(699, 1000, Order::Auto), None);
    assert_eq!(regression(1000, 699, Order::Modified), None, "the times decide");
    assert_eq!(regression(200_000, 90, Order::Auto), None, "a copied file's time says nothing");
}

/// Returns the ledger rows that the pending objects replace.
fn replaces(bucket: &[Listed], ledger: &[Entry]) -> Vec<Vec<i64>> {
    let plan = whole_plan(bucket, ledger, Order::Auto);
    let pending = plan.tables.into_iter().flat_map(|table| table.pending);
    pending.flat_map(|pending| pending.objects).map(|object| object.replaces).collect()
}

#[test]
fn a_new_version_comes_in_the_place_of_loaded_and_superseded_ones() {
    let bucket = [listed(LOAD1, "b", 100)];
    let row = |id, status| entry(id, LOAD1, "a", id, status);
    assert_eq!(replaces(&bucket, &[row(1, Status::Loaded)]), [[1]]);
    assert_eq!(replaces(&bucket, &[row(1, Status::Failed)]), [[1]], "it is closed in the same iteration");
    let superseded = Entry { superseded: true, ..row(2, Status::Skipped) };
    assert_eq!(replaces(&bucket, &[row(1, Status::Loaded), superseded.clone()]), [[1, 2]]);
    assert_eq!(replaces(&bucket, &[row(1, Status::Skipped)]), [Vec::<i64>::new()], "an operator's word stands");
    let told = Entry { superseded_by: Some(9), ..superseded };
    assert_eq!(replaces(&bucket, &[told, row(9, Status::Gone)]), [[9]], "so is what is gone");
}

#[test]
fn a_mixed_reload_says_what_a_release_takes_back() {
    let bucket = [listed(LOAD1, "a2", 100), listed(LOAD2, "b", 0), listed(AT_0901, "c", 61)];
    let mut ledger = vec![entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, LOAD2, "b", 0, Status::Loaded)];
    ledger.push(entry(3, AT_0901, "c", 61, Status::Loaded));
    let reason = format!(
        "mixed reload: data/dbo/{LOAD2} not rewritten with the other parts; a release takes back what the 1 change files \
         loaded since did to the rows of what was not rewritten"
    );
    assert_eq!(plan(&bucket, &ledger), [format!("2 held ({reason}): {LOAD1} ={LOAD2}")]);
    let held = Entry { generation: 2, ..entry(4, LOAD1, "a2", 100, Status::Held) };
    ledger.push(Entry { requested: Some(Request::Release), ..held });
    let released = whole_plan(&bucket, &ledger, Order::Auto);
    let pending = &released.tables[0].pending[0];
    assert_eq!((&pending.step, pending.remark.clone()), (&Step::Replace, Some(format!("released: {reason}"))));
}

/// The key of a file without the ending that says that it is packed.
const UNPACKED: &str = "e/20220922-090000000.csv";

#[test]
fn a_change_file_that_lies_there_unpacked_and_packed_is_applied_once() {
    let load = entry(1, LOAD1, "a", 0, Status::Loaded);
    let bucket = [listed(LOAD1, "a", 0), listed(UNPACKED, "u", 10), listed(AT_0900, "p", 10)];
    let both = plan(&bucket, std::slice::from_ref(&load));
    assert!(both[0].starts_with("1 late (data/dbo/e/20220922-090000000.csv and data/dbo/e/2022"), "{both:?}");
    assert!(both[1].starts_with("1 late (data/dbo/e/20220922-090000000.csv.gz and"), "{both:?}");
    // asked for again while both are there
    let again = Entry { requested: Some(Request::Retry), ..entry(2, UNPACKED, "u", 10, Status::Late) };
    assert!(plan(&bucket, &[load.clone(), again])[0].starts_with("1 late"));
    // one is skipped
    let skipped = entry(2, UNPACKED, "u", 10, Status::Skipped);
    assert_eq!(plan(&bucket, &[load.clone(), skipped]), [format!("1 changes: {AT_0900}")]);
    // one was loaded, whether it is still there or not, and in whichever generation
    for (loaded, other) in [(UNPACKED, AT_0900), (AT_0900, UNPACKED)] {
        let row = entry(2, loaded, "l", 10, Status::Loaded);
        let words = format!(
            "1 late (data/dbo/{loaded} is the same change file, unpacked or packed, and was applied before): {other}"
        );
        for listed_files in [&[loaded, other][..], &[other]] {
            let files = listed_files.iter().map(|file| listed(file, if *file == loaded { "l" } else { "o" }, 10));
            let bucket: Vec<Listed> = files.chain([listed(LOAD1, "a", 0)]).collect();
            assert_eq!(plan(&bucket, &[load.clone(), row.clone()]), std::slice::from_ref(&words));
        }
        // folded in, it comes in the place of the other
        let asked = Entry { requested: Some(Request::Retry), ..entry(3, other, "o", 10, Status::Late) };
        let bucket = [listed(LOAD1, "a", 0), listed(loaded, "l", 10), listed(other, "o", 10)];
        assert_eq!(plan(&bucket, &[load.clone(), row, asked]), [format!("1 refold: {other}")]);
    }
}
