//! Full loads whose parts are not whole: gaps in their numbers, and parts that lie there packed and unpacked.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::tests::{AT_0900, LOAD1, LOAD2, entry, listed, plan, whole_plan};
use super::*;
use crate::source::{Request, Status, Step};

const LOAD3: &str = "e/LOAD00000003.csv.gz";
const UNPACKED1: &str = "e/LOAD00000001.csv";

fn loaded() -> [Entry; 2] {
    [entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, LOAD2, "b", 0, Status::Loaded)]
}

#[test]
fn a_reload_with_a_gap_is_held_and_may_be_released() {
    let bucket = [listed(LOAD1, "a2", 100), listed(LOAD3, "c", 100)];
    let words = format!("part 2 is missing between data/dbo/{LOAD1} and data/dbo/{LOAD3}");
    assert_eq!(plan(&bucket, &loaded()), [format!("2 held ({words}): {LOAD1} {LOAD3}")]);
    let held =
        |id, file, etag, requested| Entry { requested, generation: 2, ..entry(id, file, etag, 100, Status::Held) };
    let mut ledger = loaded().to_vec();
    ledger.extend([held(3, LOAD1, "a2", Some(Request::Release)), held(4, LOAD3, "c", Some(Request::Release))]);
    let released = whole_plan(&bucket, &ledger, Order::Auto);
    let first = &released.tables[0].pending[0];
    assert_eq!((&first.step, first.remark.clone()), (&Step::Replace, Some(format!("released: {words}"))));
}

#[test]
fn a_first_load_goes_as_far_as_the_gap_and_on_when_it_is_filled() {
    let bucket = [listed(LOAD1, "a", 0), listed(LOAD3, "c", 0)];
    let words = format!("part 2 is missing between data/dbo/{LOAD1} and data/dbo/{LOAD3}");
    let stopped = [format!("1 append first: {LOAD1}"), format!("1 held ({words}): {LOAD3}")];
    assert_eq!(plan(&bucket, &[]), stopped);
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, LOAD3, "c", 0, Status::Held)];
    assert_eq!(plan(&bucket, &ledger), ["stopped by 2 held"]);
    let filled = [&bucket[..], &[listed(LOAD2, "b", 9)]].concat();
    assert_eq!(plan(&filled, &ledger), [format!("1 append: {LOAD2}"), format!("1 append: {LOAD3}")]);
    let first = &whole_plan(&filled, &ledger, Order::Auto).tables[0].pending[0];
    assert_eq!(first.passes.to_vec(), [2], "what is held behind the gap stops it no more");
    let released = [ledger[0].clone(), Entry { requested: Some(Request::Release), ..ledger[1].clone() }];
    assert_eq!(plan(&bucket, &released), [format!("1 append: {LOAD3}")]);
}

#[test]
fn what_was_loaded_and_deleted_is_no_gap_while_a_first_load_grows() {
    assert_eq!(plan(&[listed(LOAD3, "c", 9)], &loaded()), [format!("1 append: {LOAD3}")]);
}

#[test]
fn a_part_that_lies_there_packed_and_unpacked_is_held() {
    let both = [listed(UNPACKED1, "p", 0), listed(LOAD1, "a", 0)];
    assert!(plan(&both, &[])[0].starts_with("1 held (data/dbo/e/LOAD00000001.csv and "), "{:?}", plan(&both, &[]));
    let one_loaded = [entry(1, LOAD1, "a", 0, Status::Loaded)];
    assert!(plan(&both, &one_loaded)[0].starts_with("2 held (data/dbo/e/LOAD00000001.csv and "));
    // one of them was skipped, or is deleted
    let skipped = [entry(1, UNPACKED1, "p", 0, Status::Skipped)];
    assert_eq!(plan(&both, &skipped), [format!("1 append first: {LOAD1}")]);
    assert!(plan(&both[1..], &one_loaded).is_empty());
}

#[test]
fn a_part_that_is_packed_in_place_is_written_again_and_no_part_more() {
    let bucket = [listed(UNPACKED1, "p", 9)];
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded)];
    assert_eq!(plan(&bucket, &ledger), [format!("2 replace: {UNPACKED1}")]);
}

#[test]
fn a_file_that_is_named_before_the_full_load_and_written_after_it_is_told() {
    let told = |order, modified| {
        let bucket = [listed(LOAD1, "a", 1200), listed(AT_0900, "b", modified)];
        whole_plan(&bucket, &[], order).tables[0].named_before.clone()
    };
    let words = Some((format!("data/dbo/{AT_0900}"), 20));
    assert_eq!(told(Order::Auto, 1300), words);
    assert_eq!(told(Order::Name, 1300), words);
    assert_eq!(told(Order::Modified, 1300), None, "the times decide");
    assert_eq!(told(Order::Auto, 1100), None, "it is contained");
    assert_eq!(told(Order::Auto, 1200 + 2 * 86_400), None, "it was copied, which is told by itself");
    let close = [listed(LOAD1, "a", 200), listed(AT_0900, "b", 300)];
    assert_eq!(whole_plan(&close, &[], Order::Auto).tables[0].named_before, None, "clocks differ");
}

/// A part by its number, packed or not: whether it is loaded, and when it is listed.
type Parts = Vec<(bool, Option<i64>)>;

fn name(place: usize) -> String {
    format!("e/LOAD{:08X}.csv{}", place / 2 + 1, if place.is_multiple_of(2) { "" } else { ".gz" })
}

fn planned(parts: &Parts, changed: bool) -> (Plan, BTreeSet<usize>) {
    let (mut bucket, mut ledger, mut loaded) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (place, (is_loaded, modified)) in parts.iter().enumerate() {
        bucket.extend(modified.map(|modified| listed(&name(place), "a", modified)));
        if *is_loaded {
            ledger.push(entry(place as i64 + 1, &name(place), "a", 0, Status::Loaded));
            loaded.insert(place / 2 + 1);
        }
    }
    if changed {
        bucket.insert(0, listed(AT_0900, "c", 1));
        ledger.push(entry(99, AT_0900, "c", 1, Status::Loaded));
    }
    (whole_plan(&bucket, &ledger, Order::Auto), loaded)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Nothing is loaded behind a gap, and no part twice, whatever was loaded and is listed.
    #[test]
    fn nothing_is_loaded_over_a_gap_and_no_part_twice(
        parts in prop::collection::vec((any::<bool>(), prop::option::of(prop::sample::select(vec![0i64, 50]))), 8),
        changed in any::<bool>(),
    ) {
        let (plan, mut there) = planned(&parts, changed);
        let twice = parts.chunks(2).any(|pair| pair.iter().all(|(_, listed)| listed.is_some()));
        for pending in plan.tables.iter().flat_map(|table| &table.pending) {
            let numbers: Vec<usize> = pending.objects.iter().map(|object| number(&object.listed.key)).collect();
            match pending.step {
                Step::Append { .. } => there.extend(&numbers),
                Step::Replace => there = numbers.iter().copied().collect(),
                _ => break,
            }
            prop_assert!(!twice, "{pending:?}");
            let span = there.last().zip(there.first()).map_or(0, |(last, first)| last - first + 1);
            prop_assert!(span == there.len() || pending.step != Step::Replace, "a gap: {there:?}");
            let highest = numbers.iter().max().copied().unwrap_or_default();
            let before: Vec<&usize> = there.range(..=highest).collect();
            let span = before.last().zip(before.first()).map_or(0, |(last, first)| **last - **first + 1);
            prop_assert_eq!(span, before.len(), "a gap: {:?}", there);
        }
    }
}

fn number(key: &str) -> usize {
    let (_, rest) = key.split_once("LOAD").expect("a part");
    usize::from_str_radix(&rest[..8], 16).expect("a number")
}

#[test]
fn a_release_lets_pass_what_was_there_and_nothing_that_comes_or_goes() {
    let released =
        |id, file| Entry { generation: 2, requested: Some(Request::Release), ..entry(id, file, "b", 60, Status::Held) };
    let shown = |files: &[&str]| files.iter().map(|file| listed(file, "b", 60)).collect::<Vec<_>>();
    // released for the rows that it would remove
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded), released(2, LOAD1)];
    assert_eq!(plan(&shown(&[LOAD1]), &ledger), [format!("2 replace: {LOAD1}")]);
    assert!(plan(&shown(&[LOAD1, LOAD3]), &ledger)[0].starts_with("2 held (part 2 is missing"));
    // a gap that was released is no other gap
    let ledger = [ledger[0].clone(), released(2, LOAD1), released(3, LOAD3)];
    assert_eq!(plan(&shown(&[LOAD1, LOAD3]), &ledger), [format!("2 replace: {LOAD1} {LOAD3}")]);
    let more = plan(&shown(&[LOAD1, LOAD3, "e/LOAD00000005.csv.gz"]), &ledger);
    assert!(more[0].starts_with("2 held (part 2 is missing"), "{more:?}");
    // of two parts that were released one goes away
    let loaded = [entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, LOAD2, "a", 0, Status::Loaded)];
    let ledger = [&loaded[..], &[released(3, LOAD1), released(4, LOAD2)]].concat();
    assert_eq!(plan(&shown(&[LOAD1, LOAD2]), &ledger), [format!("2 replace: {LOAD1} {LOAD2}")]);
    let less = plan(&shown(&[LOAD1]), &ledger);
    assert!(less.iter().any(|line| line.starts_with("2 held (maybe incomplete: 1 of the 2")), "{less:?}");
    // while a first load grows, a part that was released and is loaded says nothing of the next gap
    let first = Entry { requested: Some(Request::Release), ..entry(2, LOAD3, "b", 60, Status::Held) };
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded), first];
    let bucket = [listed(LOAD1, "a", 0), listed(LOAD3, "b", 60), listed("e/LOAD00000005.csv.gz", "c", 70)];
    let grown = plan(&bucket, &ledger);
    assert_eq!(grown[0], format!("1 append: {LOAD3}"));
    assert!(grown[1].starts_with("1 held (part 4 is missing"), "{grown:?}");
}
