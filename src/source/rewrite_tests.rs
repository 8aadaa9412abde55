//! Files that were rewritten in place: same bytes, with the same etags or with others, all at once or one after the other.

use proptest::prelude::*;

use super::tests::{AT_0900, AT_0901, LOAD1, LOAD2, entry, lines, listed, plan, whole_plan};
use super::*;
use crate::source::{Content, IfSame, Request, Status, Step};

fn content(number: u8) -> Option<Content> {
    Some([number; 32])
}

/// Returns the rows of a full load in two parts and two change files, all loaded.
fn loaded() -> Vec<Entry> {
    let row = |id, file, etag, modified| Entry {
        content: content(id as u8),
        ..entry(id, file, etag, modified, Status::Loaded)
    };
    vec![row(1, LOAD1, "a", 0), row(2, LOAD2, "b", 0), row(3, AT_0900, "c", 30), row(4, AT_0901, "d", 90)]
}

/// Returns the bucket after some files were rewritten ten minutes later, in key order, with or without other etags.
fn rewritten(which: [bool; 4], etags: bool) -> Vec<Listed> {
    let place = [2, 3, 0, 1];
    let file = |(index, row): (usize, Entry)| {
        let file = row.key.trim_start_matches("data/dbo/").to_owned();
        match which[index] {
            true => listed(&file, &format!("{}{}", row.etag, if etags { "2" } else { "" }), 600 + place[index]),
            false => Listed { etag: row.etag, modified: row.modified, ..listed(&file, "", 0) },
        }
    };
    loaded().into_iter().enumerate().map(file).collect()
}

#[test]
fn all_rewritten_with_the_same_etags_are_noted() {
    let bucket = rewritten([true; 4], false);
    assert_eq!(plan(&bucket, &loaded()), [format!("1 same: {LOAD1} {LOAD2}")]);
    // and that is all: what follows follows the full load as it was
    let mut ledger = loaded();
    ledger.push(Entry { same: true, ..entry(5, LOAD1, "a", 602, Status::Loaded) });
    ledger.push(Entry { same: true, ..entry(6, LOAD2, "b", 603, Status::Loaded) });
    assert!(plan(&bucket, &ledger).is_empty());
    let next = listed("e/20220922-090500.csv.gz", "e", 310);
    assert_eq!(plan(&[&bucket[..], &[next]].concat(), &ledger), ["1 changes: e/20220922-090500.csv.gz"]);
}

#[test]
fn parts_alone_are_held_until_the_change_files_follow() {
    let words = |bucket: &[Listed], ledger: &[Entry]| plan(bucket, ledger);
    let parts = rewritten([true, true, false, false], false);
    assert!(words(&parts, &loaded())[0].starts_with("2 held (rewritten with the same bytes: comparing"));
    let mut ledger = loaded();
    let held = |id, file, etag, at| Entry { generation: 2, ..entry(id, file, etag, at, Status::Held) };
    ledger.extend([held(5, LOAD1, "a", 602), held(6, LOAD2, "b", 603)]);
    assert_eq!(words(&parts, &ledger), ["stopped by 5 held"]);
    let more = rewritten([true, true, true, false], false);
    assert_eq!(words(&more, &ledger), ["stopped by 5 held"]);
    assert_eq!(words(&rewritten([true; 4], false), &ledger), [format!("1 same: {LOAD1} {LOAD2}")]);
}

#[test]
fn with_other_etags_the_content_decides() {
    let bucket = rewritten([true; 4], true);
    let plan = whole_plan(&bucket, &loaded(), Order::Auto);
    let first = &plan.tables[0].pending[0];
    assert_eq!((&first.step, first.if_same.clone()), (&Step::Replace, Some(IfSame { generation: 1, held: None })));
    let parts = whole_plan(&rewritten([true, true, false, false], true), &loaded(), Order::Auto);
    assert!(parts.tables[0].pending[0].if_same.as_ref().is_some_and(|same| same.held.is_some()));
    // the parts are noted, then each change file is compared
    let mut ledger = loaded();
    let noted = |id, file, etag, at| Entry {
        same: true,
        content: content(id as u8 - 4),
        ..entry(id, file, etag, at, Status::Loaded)
    };
    ledger.extend([noted(5, LOAD1, "a2", 602), noted(6, LOAD2, "b2", 603)]);
    assert_eq!(
        lines(&bucket, &ledger, Order::Auto),
        [format!("1 compare: {AT_0900}"), format!("1 compare: {AT_0901}")]
    );
    ledger.extend([noted(7, AT_0900, "c2", 600), noted(8, AT_0901, "d2", 601)]);
    assert!(lines(&bucket, &ledger, Order::Auto).is_empty());
    // another size is another content
    let mut other = bucket.clone();
    other[0].size += 1;
    let plan = whole_plan(&other, &loaded(), Order::Auto);
    assert_eq!(plan.tables[0].pending[0].if_same, None);
}

#[test]
fn without_a_known_content_it_is_held_or_late() {
    let ledger: Vec<Entry> = loaded().into_iter().map(|row| Entry { content: None, ..row }).collect();
    let first = |which| lines(&rewritten(which, true), &ledger, Order::Auto)[0].clone();
    assert!(first([true; 4]).starts_with("2 held (rewritten with as many bytes as before"), "{}", first([true; 4]));
    assert!(first([false, false, true, false]).starts_with("1 late"));
    // of a generation before, it would be applied again
    let reloaded = [&ledger[..2], &[Entry { generation: 0, ..ledger[2].clone() }]].concat();
    let bucket = rewritten([false, false, true, false], true);
    assert!(
        lines(&bucket[..3], &reloaded, Order::Auto)[0]
            .starts_with("1 late (another version of this change file was loaded in")
    );
}

#[test]
fn another_version_of_a_contained_file_is_contained() {
    let ledger = [
        entry(1, LOAD1, "a", 60, Status::Loaded),
        Entry { contained: true, ..entry(2, AT_0900, "c", 30, Status::Skipped) },
    ];
    let mut bucket = [listed(LOAD1, "a", 60), listed(AT_0900, "c2", 600)];
    assert_eq!(
        plan(&bucket, &ledger),
        [format!("1 skip (contained in snapshot 1, as its other version is): {AT_0900}")]
    );
    bucket[1].size += 1;
    assert!(plan(&bucket, &ledger)[0].starts_with("1 late (another version of this change file is contained"));
}

#[test]
fn what_a_full_load_contains_is_contained_in_the_later_ones() {
    let ledger = [
        entry(1, LOAD1, "a", 60, Status::Loaded),
        Entry { contained: true, ..entry(2, AT_0900, "c", 30, Status::Skipped) },
        Entry { generation: 2, ..entry(3, LOAD1, "a2", 300, Status::Loaded) },
    ];
    let mut bucket = [listed(LOAD1, "a2", 300), listed(AT_0900, "c2", 600)];
    assert_eq!(
        plan(&bucket, &ledger),
        [format!("2 skip (contained in snapshot 1, as its other version is): {AT_0900}")]
    );
    bucket[1].size += 1;
    assert!(plan(&bucket, &ledger)[0].starts_with("2 late (another version of this change file is contained"));
    // also while the later one is pending
    assert!(plan(&bucket, &ledger[..2])[1].starts_with("2 late (another version of this change file is contained"));
}

#[test]
fn a_retry_folds_another_version_in_after_a_later_full_load() {
    let ledger = [
        entry(1, LOAD1, "a", 0, Status::Loaded),
        entry(2, AT_0900, "c", 30, Status::Loaded),
        Entry { generation: 2, ..entry(3, LOAD1, "a2", 60, Status::Loaded) },
        Entry { generation: 2, ..entry(4, AT_0901, "d", 90, Status::Loaded) },
        Entry { generation: 2, requested: Some(Request::Retry), ..entry(5, AT_0900, "c2", 95, Status::Late) },
    ];
    let other = Listed { size: 11, ..listed(AT_0900, "c2", 95) };
    let bucket = [listed(LOAD1, "a2", 60), other, listed(AT_0901, "d", 90)];
    assert_eq!(plan(&bucket, &ledger), [format!("2 refold: {AT_0900} ={AT_0901}")]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Rewrites any part of a loaded bucket: nothing is applied unread, and nothing that was applied is undone.
    #[test]
    fn a_rewrite_in_place_never_applies_nor_undoes_anything(which in prop::array::uniform4(any::<bool>()), etags in any::<bool>()) {
        let plan = whole_plan(&rewritten(which, etags), &loaded(), Order::Auto);
        for pending in plan.tables.iter().flat_map(|table| &table.pending) {
            let harmless = match &pending.step {
                Step::Same | Step::Compare(_) | Step::Stop(..) | Step::Skip(_) => true,
                Step::Replace => pending.if_same.is_some(),
                // what comes behind parts that are only found to be the same when they are read: stock is taken again then
                Step::Changes => plan.tables[0].pending[0].step == Step::Replace,
                _ => false,
            };
            prop_assert!(harmless, "{pending:?}");
        }
        let untouched = !which.contains(&true) || (!etags && !which[0] && !which[1]);
        prop_assert_eq!(plan.tables.is_empty(), untouched);
    }

    /// Whatever generation loaded or contains a change file, and whether another full load is pending: with other bytes it is
    /// not applied unless somebody asks for it.
    #[test]
    fn other_bytes_of_a_known_change_file_are_never_applied_unasked(
        known in prop::collection::vec((1..4, any::<bool>(), prop::option::of((400i64..900, any::<bool>()))), 1..6),
        renewed in prop::option::of(400i64..900),
    ) {
        let file = |place: usize| format!("e/20220922-09000{place}000.csv.gz");
        let mut ledger: Vec<Entry> = (1..4)
            .map(|generation| Entry { generation, ..entry(generation.into(), LOAD1, &format!("a{generation}"), 100 * i64::from(generation), Status::Loaded) })
            .collect();
        let mut bucket = vec![renewed.map_or_else(|| listed(LOAD1, "a3", 300), |at| listed(LOAD1, "b", at))];
        for (place, (generation, contained, again)) in known.iter().enumerate() {
            let written = 100 * i64::from(*generation) + if *contained { -10 } else { 10 };
            let status = if *contained { Status::Skipped } else { Status::Loaded };
            let row = entry(place as i64 + 4, &file(place), "c", written, status);
            ledger.push(Entry { generation: *generation, contained: *contained, content: content(9), ..row });
            let shown = again.map_or_else(
                || listed(&file(place), "c", written),
                |(at, same_size)| Listed { size: 10 + u64::from(!same_size), ..listed(&file(place), "c2", at) },
            );
            bucket.push(shown);
        }
        let plan = whole_plan(&bucket, &ledger, Order::Auto);
        for pending in plan.tables.iter().flat_map(|table| &table.pending) {
            let step = match &pending.step {
                Step::Compare(other) => other,
                step => step,
            };
            prop_assert!(*step != Step::Changes && *step != Step::Refold, "{pending:?}");
        }
    }
}
