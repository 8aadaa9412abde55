//! The ledger's states: a row in one state and what the bucket lists, and the plan that comes of it. One test an arrow.

use super::tests::{AT_0900, AT_0901, LOAD1, LOAD2, entry, listed, plan, whole_plan};
use super::*;
use crate::source::{Request, Status};

/// Returns the plan for a change file that was loaded as version `b`, with a ledger row in that state, after a loaded
/// full load.
fn change(status: Status, requested: Option<Request>, etag: Option<&str>) -> Vec<String> {
    let row = Entry { requested, ..entry(7, AT_0900, "b", 10, status) };
    let listed_now = etag.map(|etag| listed(AT_0900, etag, 10));
    let bucket: Vec<Listed> = [listed(LOAD1, "a", 0)].into_iter().chain(listed_now).collect();
    plan(&bucket, &[entry(1, LOAD1, "a", 0, Status::Loaded), row])
}

/// Returns the plan for a part of a first load.
fn part(status: Status, requested: Option<Request>, modified: Option<i64>) -> Vec<String> {
    let row = Entry { requested, ..entry(7, LOAD1, "a", 0, status) };
    let bucket: Vec<Listed> = modified.map(|modified| listed(LOAD1, "a", modified)).into_iter().collect();
    plan(&bucket, &[row])
}

const NOTHING: [&str; 0] = [];

#[test]
fn from_no_row_to_pending() {
    assert_eq!(plan(&[listed(LOAD1, "a", 0)], &[]), [format!("1 append first: {LOAD1}")]);
    assert_eq!(plan(&[listed(AT_0900, "b", 0)], &[]), [format!("0 changes: {AT_0900}")]);
}

#[test]
fn loaded_is_final() {
    for etag in [Some("b"), None] {
        assert_eq!(change(Status::Loaded, None, etag), NOTHING, "{etag:?}");
    }
    for modified in [Some(0), None] {
        assert_eq!(part(Status::Loaded, None, modified), NOTHING, "{modified:?}");
    }
}

#[test]
fn from_loaded_to_a_generation_when_a_part_is_written_again() {
    assert_eq!(part(Status::Loaded, None, Some(50)), [format!("2 replace: {LOAD1}")]);
}

#[test]
fn from_loaded_to_late_when_a_change_file_is_written_again() {
    let reason = "another version of this change file was loaded before";
    assert_eq!(change(Status::Loaded, None, Some("b2")), [format!("1 late ({reason}): {AT_0900}")]);
}

#[test]
fn failed_stops_its_table() {
    assert_eq!(change(Status::Failed, None, Some("b")), ["stopped by 7 failed"]);
    assert_eq!(part(Status::Failed, None, Some(0)), ["stopped by 7 failed"]);
}

#[test]
fn from_failed_to_pending_when_a_retry_is_asked_for() {
    assert_eq!(change(Status::Failed, Some(Request::Retry), Some("b")), [format!("1 changes: {AT_0900}")]);
    assert_eq!(part(Status::Failed, Some(Request::Retry), Some(0)), [format!("1 append first: {LOAD1}")]);
}

#[test]
fn from_failed_to_superseded_when_a_new_version_comes() {
    let wanted = ["superseded 7".to_owned(), format!("1 changes: {AT_0900}")];
    assert_eq!(change(Status::Failed, None, Some("b2")), wanted);
    let wanted = ["superseded 7".to_owned(), format!("1 append first: {LOAD1}")];
    assert_eq!(part(Status::Failed, None, Some(50)), wanted);
}

#[test]
fn from_any_stop_and_from_pending_to_gone_when_the_object_is_deleted() {
    for status in [Status::Pending, Status::Failed, Status::Late] {
        for requested in [None, Some(Request::Retry)] {
            assert_eq!(change(status, requested, None), ["gone 7", "stopped by 7 gone"], "{status:?}");
        }
        assert_eq!(part(status, None, None), ["gone 7"], "{status:?}: a part that is gone stops nothing");
    }
    assert_eq!(part(Status::Held, Some(Request::Release), None), ["gone 7"]);
}

#[test]
fn from_pending_to_superseded_when_it_is_written_again() {
    assert_eq!(change(Status::Pending, None, Some("b")), [format!("1 changes: {AT_0900}")]);
    assert_eq!(change(Status::Pending, None, Some("b2")), ["superseded 7".into(), format!("1 changes: {AT_0900}")]);
    assert_eq!(part(Status::Pending, None, Some(0)), [format!("1 append first: {LOAD1}")]);
    assert_eq!(part(Status::Pending, None, Some(50)), ["superseded 7".into(), format!("1 append first: {LOAD1}")]);
}

#[test]
fn nothing_is_applied_over_a_hole() {
    let rows = [entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, AT_0900, "b", 10, Status::Pending)];
    let bucket = [listed(LOAD1, "a", 0), listed(AT_0901, "c", 70)];
    assert_eq!(plan(&bucket, &rows), ["gone 2", "stopped by 2 gone"]);
    let whole = whole_plan(&bucket, &rows, Order::Auto);
    assert_eq!((whole.tables[0].behind, whole.tables[0].unrecorded.len()), (1, 1), "what waits gets a row");
}

#[test]
fn nothing_is_loaded_again_over_a_hole() {
    let again = |id, key, modified| {
        let row = entry(id, key, "a", modified, Status::Skipped);
        Entry { reload: true, superseded: true, ..row }
    };
    let rows = [again(1, LOAD1, 50), again(2, AT_0900, 10), again(3, AT_0901, 70)];
    let bucket = [listed(LOAD1, "a", 50), listed(AT_0901, "a", 70)];
    assert_eq!(
        plan(&bucket, &rows),
        ["gone 2", "stopped by 2 gone"],
        "whatever the times say, the full load does not contain it"
    );
}

#[test]
fn from_gone_to_skipped_when_a_full_load_contains_it() {
    let gone = |modified| entry(2, AT_0900, "b", modified, Status::Gone);
    let reload = [listed(LOAD1, "a2", 60), listed(AT_0901, "c", 70)];
    let first = entry(1, LOAD1, "a", 0, Status::Loaded);
    let contained = format!("2 skip (contained in snapshot 2; it is gone from the bucket): {AT_0900}");
    let wanted = [format!("2 replace: {LOAD1}"), contained, format!("2 changes: {AT_0901}")];
    assert_eq!(plan(&reload, &[first.clone(), gone(10)]), wanted);
    let all = whole_plan(&reload, &[first.clone(), gone(10)], Order::Auto);
    let passes = all.tables[0].pending.iter().map(|pending| pending.passes.to_vec());
    assert_eq!(passes.collect::<Vec<_>>(), [vec![2], vec![2], vec![]], "it stops nothing until it is skipped");
    // a tie counts as after
    assert_eq!(plan(&reload, &[first, gone(60)]), ["stopped by 2 gone"]);
}

#[test]
fn a_version_that_comes_back_is_a_version_of_its_own() {
    let rows = [
        entry(1, LOAD1, "a", 0, Status::Loaded),
        Entry { superseded_by: Some(3), ..entry(2, AT_0900, "b", 10, Status::Loaded) },
        entry(3, AT_0900, "b2", 20, Status::Loaded),
    ];
    let bucket = [listed(LOAD1, "a", 0), listed(AT_0900, "b", 30)];
    let reason = "another version of this change file was loaded before";
    assert_eq!(plan(&bucket, &rows), [format!("1 late ({reason}): {AT_0900}")]);
    let whole = whole_plan(&bucket, &rows, Order::Auto);
    let object = &whole.tables[0].pending[0].objects[0];
    assert_eq!((object.entry, object.occurrence, &object.replaces[..]), (None, 2, &[3][..]));
    // what came in between and was never loaded changed nothing
    let never =
        [rows[0].clone(), entry(2, AT_0900, "b", 10, Status::Loaded), entry(3, AT_0900, "b2", 20, Status::Failed)];
    assert_eq!(plan(&bucket, &never), ["superseded 3"]);
}

#[test]
fn held_stops_its_table() {
    assert_eq!(part(Status::Held, None, Some(0)), ["stopped by 7 held"]);
}

/// Returns the plan for the second part of a two-part reload whose first part is held.
fn held(requested: Option<Request>, second: Listed) -> Vec<String> {
    let held = Entry { requested, generation: 2, ..entry(7, LOAD1, "a2", 50, Status::Held) };
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, LOAD2, "b", 0, Status::Loaded), held];
    plan(&[listed(LOAD1, "a2", 50), second], &ledger)
}

#[test]
fn from_held_to_pending_when_it_is_released() {
    let released = held(Some(Request::Release), listed(LOAD2, "b", 0));
    assert_eq!(released, [format!("2 replace: {LOAD1} ={LOAD2}")]);
}

#[test]
fn from_held_to_held_when_a_retry_finds_it_as_it_was() {
    assert!(held(Some(Request::Retry), listed(LOAD2, "b", 0))[0].starts_with("2 held (mixed reload"));
}

#[test]
fn from_held_to_pending_when_the_missing_part_comes() {
    assert_eq!(held(None, listed(LOAD2, "b", 0)), ["stopped by 7 held"]);
    assert_eq!(held(None, listed(LOAD2, "b", 50)), [format!("2 replace: {LOAD1} {LOAD2}")]);
}

#[test]
fn from_held_to_superseded_when_it_is_written_again() {
    let held = Entry { generation: 2, ..entry(7, LOAD1, "a2", 50, Status::Held) };
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded), held];
    let wanted = ["superseded 7".to_owned(), format!("2 replace: {LOAD1}")];
    assert_eq!(plan(&[listed(LOAD1, "a3", 90)], &ledger), wanted);
}

/// Returns the plan for a change file before a loaded one.
fn late(requested: Option<Request>, bucket: &[Listed]) -> Vec<String> {
    let late = Entry { requested, ..entry(7, AT_0900, "b", 90, Status::Late) };
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, AT_0901, "c", 61, Status::Loaded), late];
    plan(bucket, &ledger)
}

#[test]
fn late_stops_its_table() {
    let bucket = [listed(LOAD1, "a", 0), listed(AT_0901, "c", 61), listed(AT_0900, "b", 90)];
    assert_eq!(late(None, &bucket), ["stopped by 7 late"]);
}

#[test]
fn from_late_to_pending_when_a_retry_is_asked_for() {
    let bucket = [listed(LOAD1, "a", 0), listed(AT_0901, "c", 61), listed(AT_0900, "b", 90)];
    assert_eq!(late(Some(Request::Retry), &bucket), [format!("1 refold: {AT_0900} ={AT_0901}")]);
}

#[test]
fn from_failed_to_pending_with_what_was_loaded_after_it_when_folding_it_in_failed() {
    let bucket = [listed(LOAD1, "a", 0), listed(AT_0901, "c", 61), listed(AT_0900, "b", 90)];
    let failed = Entry { requested: Some(Request::Retry), ..entry(7, AT_0900, "b", 90, Status::Failed) };
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, AT_0901, "c", 61, Status::Loaded), failed];
    assert_eq!(plan(&bucket, &ledger), [format!("1 refold: {AT_0900} ={AT_0901}")]);
}

#[test]
fn from_late_to_late_when_it_cannot_be_folded_in() {
    let bucket = [listed(LOAD1, "a", 0), listed(AT_0900, "b", 90)];
    assert!(late(Some(Request::Retry), &bucket)[0].starts_with("1 late (cannot be folded in"));
}

#[test]
fn from_late_to_pending_when_a_reload_comes_and_a_retry_is_asked_for() {
    let bucket = [listed(LOAD1, "a2", 70), listed(AT_0901, "c", 61), listed(AT_0900, "b", 90)];
    let wanted = [format!("2 replace: {LOAD1}"), format!("2 changes: {AT_0900}")];
    assert_eq!(late(Some(Request::Retry), &bucket), wanted);
}

#[test]
fn skipped_is_final() {
    for etag in [Some("b"), None] {
        assert_eq!(change(Status::Skipped, None, etag), NOTHING, "{etag:?}");
    }
    assert_eq!(part(Status::Skipped, None, Some(0)), NOTHING);
}

#[test]
fn from_skipped_to_pending_when_a_new_version_comes() {
    assert_eq!(change(Status::Skipped, None, Some("b2")), [format!("1 changes: {AT_0900}")]);
    assert_eq!(part(Status::Skipped, None, Some(50)), [format!("1 append first: {LOAD1}")]);
}

#[test]
fn from_superseded_to_pending_when_its_version_is_listed_again() {
    let superseded = Entry { superseded: true, ..entry(7, AT_0900, "b", 10, Status::Skipped) };
    let bucket = [listed(AT_0900, "b", 10)];
    assert_eq!(whole_plan(&bucket, std::slice::from_ref(&superseded), Order::Auto).tables[0].revived, [7]);
    let whole = whole_plan(&bucket, std::slice::from_ref(&superseded), Order::Auto);
    assert_eq!(whole.tables[0].pending[0].objects[0].entry, Some(7), "its row is updated");
    assert_eq!(plan(&[], &[superseded]), NOTHING);
}

#[test]
fn a_change_file_that_is_gone_stops_its_table_and_a_part_does_not() {
    assert_eq!(change(Status::Gone, None, None), ["stopped by 7 gone"]);
    assert_eq!(part(Status::Gone, None, None), NOTHING);
}

#[test]
fn from_gone_to_pending_when_it_is_listed_again() {
    assert_eq!(change(Status::Gone, None, Some("b")), ["revived 7".into(), format!("1 changes: {AT_0900}")]);
    assert_eq!(change(Status::Gone, None, Some("b2")), ["superseded 7".into(), format!("1 changes: {AT_0900}")]);
    assert_eq!(part(Status::Gone, None, Some(0)), ["revived 7".into(), format!("1 append first: {LOAD1}")]);
}
