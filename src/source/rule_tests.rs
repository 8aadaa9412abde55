//! The rules of feed order, one case each: what the bucket lists, what the ledger has, the plan. The words of a rule are the
//! design's; the second table has what goes wrong for other loaders.

use super::tests::{AT_0900, AT_0901, LOAD1, LOAD2, entry, lines, listed};
use super::*;
use crate::source::Status;
use Status::Loaded;

/// A rule, the bucket's files with etag and time, the ledger's loaded files with etag, time and generation, the plan.
type Rule<'a> = (&'a str, &'a [(&'a str, &'a str, i64)], &'a [(&'a str, &'a str, i64, i32)], &'a [&'a str]);

const COPIED: i64 = 3 * 86_400;

fn check(rules: &[Rule<'_>], order: Order) {
    for (rule, bucket, ledger, wanted) in rules {
        let bucket: Vec<Listed> = bucket.iter().map(|(file, etag, at)| listed(file, etag, *at)).collect();
        let row = |(index, (file, etag, at, generation)): (usize, &(&str, &str, i64, i32))| Entry {
            generation: *generation,
            ..entry(index as i64 + 1, file, etag, *at, Loaded)
        };
        let ledger: Vec<Entry> = ledger.iter().enumerate().map(row).collect();
        assert_eq!(lines(&bucket, &ledger, order), *wanted, "{rule}");
    }
}

#[test]
fn files_and_generations_are_as_designed() {
    let held = format!("2 held (mixed reload: data/dbo/{LOAD2} not rewritten with the other parts): {LOAD1} ={LOAD2}");
    let fewer = format!("2 held (maybe incomplete: 1 of the 2 parts that the load before had): {LOAD1}");
    let rules: &[Rule<'_>] = &[
        (
            "a part rewritten with the same bytes is a new delivery",
            &[(LOAD1, "a", 9)],
            &[(LOAD1, "a", 0, 1)],
            &[&format!("2 replace: {LOAD1}")],
        ),
        (
            "a change file is its key and its etag: another time is the same file",
            &[(AT_0900, "a", 9)],
            &[(AT_0900, "a", 0, 0)],
            &[],
        ),
        (
            "a new part after a change file was applied begins a generation",
            &[(LOAD1, "a2", 9), (LOAD2, "b", 9)],
            &[(LOAD1, "a", 0, 1), (AT_0900, "c", 1, 1)],
            &[&format!("2 replace: {LOAD1} {LOAD2}")],
        ),
        (
            "parts are loaded as they come while the first load grows",
            &[(LOAD1, "a", 0), (LOAD2, "b", 9)],
            &[(LOAD1, "a", 0, 1)],
            &[&format!("1 append: {LOAD2}")],
        ),
        (
            "a full load after change files is diffed at once",
            &[(LOAD1, "a", 5), (LOAD2, "b", 5)],
            &[(AT_0900, "c", 1, 0)],
            &[&format!("1 replace: {LOAD1} {LOAD2}")],
        ),
        ("parts rewritten and parts not are held", &[(LOAD1, "a2", 9), (LOAD2, "b", 0)], &TWO, &[&held]),
        ("fewer parts than before are held", &[(LOAD1, "a2", 9)], &TWO, &[&fewer]),
        (
            "fewer parts with a newer change file are a load",
            &[(LOAD1, "a2", 9), (AT_0900, "c", 10)],
            &TWO,
            &[&format!("2 replace: {LOAD1}"), &format!("2 changes: {AT_0900}")],
        ),
    ];
    check(rules, Order::Auto);
}

#[test]
fn order_inside_a_table_and_between_tables_is_as_designed() {
    let rules: &[Rule<'_>] = &[
        (
            "parts by segment and hex number, then change files by the time in their names",
            &[
                (AT_0901, "d", 9),
                (AT_0900, "c", 9),
                ("e/LOAD0000000A.csv", "b", 9),
                ("e/LOAD00000009.csv", "a", 9),
                ("e/segment1/LOAD00000001.csv", "e", 9),
            ],
            &[],
            &[
                "1 append first: e/LOAD00000009.csv",
                "1 append: e/LOAD0000000A.csv",
                "1 append: e/segment1/LOAD00000001.csv",
                &format!("1 changes: {AT_0900}"),
                &format!("1 changes: {AT_0901}"),
            ],
        ),
        (
            "a change file older than the earliest part is contained; a tie counts as after",
            &[(LOAD1, "a", 9), (LOAD2, "b", 20), (AT_0900, "c", 8), (AT_0901, "d", 9)],
            &[],
            &[
                &format!("1 append first: {LOAD1}"),
                &format!("1 append: {LOAD2}"),
                &format!("1 skip (contained in snapshot 1): {AT_0900}"),
                &format!("1 changes: {AT_0901}"),
            ],
        ),
        (
            "copied change files come after a table's first snapshot",
            &[(LOAD1, "a", COPIED + 9), (AT_0900, "c", COPIED)],
            &[],
            &[&format!("1 append first: {LOAD1}"), &format!("1 changes: {AT_0900}")],
        ),
        (
            "across tables by the time of the first pending object, then by key",
            &[("c/LOAD00000001.csv", "a", 9), ("b/LOAD00000001.csv", "a", 9), ("a/LOAD00000001.csv", "a", 10)],
            &[],
            &[
                "1 append first: b/LOAD00000001.csv",
                "1 append first: c/LOAD00000001.csv",
                "1 append first: a/LOAD00000001.csv",
            ],
        ),
    ];
    check(rules, Order::Auto);
}

#[test]
fn what_is_late_is_as_designed() {
    let late = format!("1 late (data/dbo/{AT_0901} was loaded before it, and comes after it): {AT_0900}");
    let again = format!("1 late (another version of this change file was loaded before): {AT_0900}");
    let before = format!(
        "2 late (another version of this change file was loaded in generation 1 by an older version of the loader, which did not \
         note its content, so it is not known whether this is the same): {AT_0900}"
    );
    let rules: &[Rule<'_>] = &[
        (
            "a change file that sorts before one already loaded is late",
            &[(AT_0900, "c", 9), (AT_0901, "d", 5)],
            &[(LOAD1, "a", 0, 1), (AT_0901, "d", 5, 1)],
            &[&late],
        ),
        (
            "a loaded change file with a new etag is late",
            &[(AT_0900, "c2", 9)],
            &[(LOAD1, "a", 0, 1), (AT_0900, "c", 5, 1)],
            &[&again],
        ),
        (
            "whatever was loaded since",
            &[(LOAD1, "a2", 6), (AT_0900, "c2", 9)],
            &[(LOAD1, "a", 0, 1), (AT_0900, "c", 5, 1), (LOAD1, "a2", 6, 2)],
            &[&before],
        ),
        (
            "and a full load that is pending does not make it new",
            &[(LOAD1, "a2", 6), (AT_0900, "c2", 9)],
            &[(LOAD1, "a", 0, 1), (AT_0900, "c", 5, 1)],
            &[&format!("2 replace: {LOAD1}"), &before],
        ),
        (
            "unless that contains it",
            &[(LOAD1, "a2", 9), (AT_0900, "c2", 8)],
            &[(LOAD1, "a", 0, 1), (AT_0900, "c", 5, 1)],
            &[&format!("2 replace: {LOAD1}"), &format!("2 skip (contained in snapshot 2): {AT_0900}")],
        ),
        (
            "of its generation: what was loaded before a reload makes nothing late",
            &[(LOAD1, "a2", 6), (AT_0900, "c", 9), (AT_0901, "d", 5)],
            &[(LOAD1, "a", 0, 1), (AT_0901, "d", 5, 1), (LOAD1, "a2", 6, 2)],
            &[&format!("2 changes: {AT_0900}")],
        ),
    ];
    check(rules, Order::Auto);
}

/// A full load in two parts.
const TWO: [(&str, &str, i64, i32); 2] = [(LOAD1, "a", 0, 1), (LOAD2, "b", 0, 1)];

#[test]
fn what_goes_wrong_for_others_goes_right() {
    let rules: &[Rule<'_>] = &[
        (
            "CDC applied before the full load",
            &[(AT_0900, "c", 9), (LOAD1, "a", 0)],
            &[],
            &[&format!("1 append first: {LOAD1}"), &format!("1 changes: {AT_0900}")],
        ),
        (
            "same-second files missed by a watermark",
            &[
                ("e/20220922-090000.csv", "c", 0),
                ("e/20220922-0900001.csv", "d", 0),
                ("e/20220922-09000005.csv", "e", 0),
            ],
            &[("e/20220922-090000.csv", "c", 0, 0)],
            &["0 changes: e/20220922-09000005.csv", "0 changes: e/20220922-0900001.csv"],
        ),
        (
            "files with one time in their names, in two folders",
            &[("e/20220922/20220922-090000.csv", "c", 0), ("e/segment1/20220922-090000.csv", "d", 0)],
            &[],
            &["0 changes: e/20220922/20220922-090000.csv", "0 changes: e/segment1/20220922-090000.csv"],
        ),
        (
            "an overwritten file skipped",
            &[(LOAD1, "a2", 9), (LOAD2, "b2", 9)],
            &TWO,
            &[&format!("2 replace: {LOAD1} {LOAD2}")],
        ),
        (
            "the basename taken for the identity",
            &[("e/segment1/LOAD00000001.csv", "a", 0), ("e/segment2/LOAD00000001.csv", "a", 0)],
            &[("e/segment1/LOAD00000001.csv", "a", 0, 1)],
            &["1 append: e/segment2/LOAD00000001.csv"],
        ),
        ("a deleted table's files taken for an empty table", &[], &[(LOAD1, "a", 0, 1), (AT_0900, "c", 5, 1)], &[]),
        (
            "date folders that do not sort by time",
            &[("e/31_12_2021/20211231-090000.csv", "c", 0), ("e/01_01_2022/20220101-090000.csv", "d", 0)],
            &[],
            &["0 changes: e/31_12_2021/20211231-090000.csv", "0 changes: e/01_01_2022/20220101-090000.csv"],
        ),
    ];
    check(rules, Order::Auto);
}

#[test]
fn a_failed_file_is_not_passed_over() {
    let bucket = [listed(AT_0900, "c", 0), listed(AT_0901, "d", 0)];
    assert_eq!(lines(&bucket, &[entry(4, AT_0900, "c", 0, Status::Failed)], Order::Auto), ["stopped by 4 failed"]);
}
