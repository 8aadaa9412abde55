//! Widths become layouts, or sentences that say what to do.

use super::*;
use crate::decode::tests::shape;

const ID_TO_PRICE: &str = "id*,name',price";

fn layout(file: File, feed: &str, columns: &str, width: usize, starts_with_op: bool) -> Result<Layout, String> {
    let shape = shape(file, feed, columns);
    let plan = plan(&shape).map_err(|flaw| flaw.to_string())?.expect("no header");
    plan.layout(&shape, First { line: 1, width, starts_with_op }).map_err(|flaw| flaw.to_string())
}

#[track_caller]
fn says(file: File, feed: &str, (width, starts_with_op): (usize, bool), wanted: &str) {
    let error = layout(file, feed, ID_TO_PRICE, width, starts_with_op).expect_err(wanted);
    assert_eq!(error, wanted);
}

/// Checks the widths that each rule accepts, and whether it finds an operation, for three columns and first rows with
/// and without one.
#[test]
fn a_rule_takes_its_widths_and_no_other() {
    use File::{Changes, Snapshot};
    for (file, feed, without, with) in [
        (Snapshot, "", Some(3), Some(4)),
        (Changes, "", Some(3), Some(4)),
        (Snapshot, "op=always", None, Some(4)),
        (Changes, "op=always", None, Some(4)),
        (Snapshot, "op=changes", Some(3), None),
        (Changes, "op=changes", None, Some(4)),
        (Snapshot, "op=never", Some(3), None),
        (Changes, "op=never", Some(3), None),
        (Snapshot, "timestamp_column=ts:last", Some(4), Some(5)),
        (Changes, "columns=Op,id,-,name,- op=changes", None, Some(5)),
        (Snapshot, "columns=Op,id,-,name,- op=changes", Some(4), None),
        (Snapshot, "columns=Op,id,-,name,-", None, Some(5)),
        (Changes, "columns=id", Some(1), Some(2)),
    ] {
        for width in 1..7 {
            let got = (layout(file, feed, ID_TO_PRICE, width, false), layout(file, feed, ID_TO_PRICE, width, true));
            let has_op = |layout: &Result<Layout, String>| layout.as_ref().ok().map(Layout::has_op);
            let plain = (without == Some(width)).then_some(false);
            // where a rule says that there is an op, a first row without one is refused as a row
            let said = (with == Some(width) && without.is_none()).then_some(true);
            assert_eq!(has_op(&got.0), plain.or(said), "{file:?} {feed}, {width} fields, no op");
            let guesses = !feed.contains("op=") && file == Changes;
            let front = (with == Some(width)).then_some(true);
            assert_eq!(has_op(&got.1), front.or(plain.filter(|_| !guesses)), "{file:?} {feed}, {width} fields, an op");
        }
    }
}

#[test]
fn a_misfit_says_how_many_there_are_which_and_what_to_do() {
    let retry = "then `deliveries retry`; or name the file's columns with FEED columns=";
    says(
        File::Snapshot,
        "",
        (2, false),
        &format!(
            "line 1: 2 fields, but the table has 3 columns to fill (3 fields, or 4 with an op in front): id … price. The file lacks \
             1 column: drop it from the table (alter table), {retry}"
        ),
    );
    says(
        File::Changes,
        "",
        (6, true),
        &format!(
            "line 1: 6 fields, but the table has 3 columns to fill (3 fields, or 4 with an op in front): id … price. The file has 2 \
             columns more: add the columns to the table (alter table), {retry}"
        ),
    );
    says(
        File::Changes,
        "",
        (4, false),
        &format!(
            "line 1: the first field is not an op (I, U or D), and without an op there is one field too many: the table has 3 \
             columns to fill: id … price. The file has 1 column more: add the column to the table (alter table), {retry}"
        ),
    );
    says(
        File::Snapshot,
        "",
        (4, false),
        &format!(
            "line 1: 4 fields, but the table has 3 columns to fill (3 fields, or 4 with an op in front, which the first field is \
             not): id … price. The file has 1 column more: add the column to the table (alter table), {retry}"
        ),
    );
}

#[test]
fn a_misfit_knows_what_feed_says() {
    let retry = "then `deliveries retry`; or name the file's columns with FEED columns=";
    says(
        File::Snapshot,
        "op=never",
        (1, false),
        &format!(
            "line 1: 1 fields, but the table has 3 columns to fill (3 fields without an op): id … price. The file lacks 2 columns: \
             drop them from the table (alter table), {retry}. With one field only, the delimiter may be another: FEED delimiter="
        ),
    );
    says(
        File::Changes,
        "",
        (3, true),
        "line 1: the first field is an op, but there are only 3 fields for 3 columns and an op; the table has a column that the feed \
         does not have (id … price). Drop it from the table (alter table), then `deliveries retry`; or name the file's columns with \
         FEED columns=; or, if it is no op, write FEED op=never",
    );
    says(
        File::Snapshot,
        "columns=Op,id,-",
        (2, false),
        "line 1: 2 fields, but FEED columns= names 3 (3 fields with the op). The file lacks 1 column: take it out there, then \
         `deliveries retry`. If these files have no op, leave Op out of it or write FEED op=changes",
    );
}

#[test]
fn a_short_table_is_named_in_full() {
    let error = layout(File::Snapshot, "", "id*", 3, false).expect_err("three");
    assert!(
        error.contains("has 1 columns to fill (1 fields, or 2 with an op in front): id. The file has 2 columns more"),
        "{error}"
    );
    let error = layout(File::Snapshot, "op=always", "id*,name'", 4, true).expect_err("four");
    assert!(error.contains("(3 fields with the op in front): id, name. The file has 1 column more"), "{error}");
}
