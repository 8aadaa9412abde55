//! Copied buckets: the results from their times, and that no feed is split, whatever the files' ages and the order of
//! the copy.

use proptest::prelude::*;

use super::tests::{LOAD1, NINE, entity, entry, lines, listed, looked_again, plan_of};
use super::*;
use crate::source::copied::{DAY, PROMPT};
use crate::source::{Request, Status, Step};

const HOUR: i64 = 3600;

/// Returns the name of a change file that was made `age` seconds before the copy at `NINE + COPY`.
fn name(age: i64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(NINE + COPY - age).expect("a time");
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    format!("e/{year:04}{month:02}{day:02}-{:02}{:02}{:02}.csv.gz", at.hour(), at.minute(), at.second())
}

/// Ten days after the hour of the other tests.
const COPY: i64 = 10 * DAY;

/// Returns a file of that age, written `after` seconds after the copy began.
fn copied(age: i64, after: i64) -> Listed {
    listed(&name(age), "c", COPY + after)
}

fn ages() -> Vec<i64> {
    vec![3 * DAY, 2 * DAY, 20 * HOUR, 2 * HOUR, 600]
}

/// Returns the step of each change file, in feed order.
fn steps(bucket: &[Listed], ledger: &[Entry], order: Order) -> Vec<String> {
    let lines = lines(bucket, ledger, order);
    lines
        .iter()
        .filter(|line| !line.contains("LOAD"))
        .map(|line| line.split([':', '(']).next().unwrap_or("").trim().into())
        .collect()
}

#[test]
fn a_bucket_that_was_copied_in_key_order_follows_the_snapshot_as_a_whole() {
    let mut bucket: Vec<Listed> = ages().into_iter().map(|age| copied(age, 1)).collect();
    bucket.push(listed(LOAD1, "a", COPY + 2));
    assert_eq!(steps(&bucket, &[], Order::Auto), ["1 changes"; 5]);
    let plan = looked_again(|asked| plan_of(&bucket, &[], Order::Auto, asked));
    assert_eq!(plan.tables[0].assumed, 5, "and it is said of all");
    // what was written after the copying follows it as well
    bucket.push(listed(&name(-600), "n", COPY + 660));
    assert_eq!(steps(&bucket, &[], Order::Auto), ["1 changes"; 6]);
}

#[test]
fn what_was_loaded_already_and_what_there_is_no_room_for_decide_with_the_rest() {
    let bucket: Vec<Listed> =
        ages().into_iter().map(|age| copied(age, 1)).chain([listed(LOAD1, "a", COPY + 2)]).collect();
    let mut ledger = vec![entry(1, LOAD1, "a", COPY + 2, Status::Loaded)];
    for (id, age) in [(2, 3 * DAY), (3, 2 * DAY)] {
        ledger.push(entry(id, &name(age), "c", COPY + 1, Status::Loaded));
    }
    assert_eq!(steps(&bucket, &ledger, Order::Auto), ["1 changes"; 3], "those that follow are younger than a day");
}

#[test]
fn files_that_disagree_are_held_until_the_order_is_set() {
    // files that were written when they were made, and one that was written again long after
    let mut bucket: Vec<Listed> = [6, 4, 2].map(|days| listed(&name(days * DAY), "c", COPY - days * DAY + 60)).into();
    bucket.push(listed(&name(7 * DAY), "c", COPY - DAY));
    bucket.push(listed(LOAD1, "a", COPY));
    let held = steps(&bucket, &[], Order::Auto);
    assert!(held.iter().all(|step| step == "1 held"), "{held:?}");
    let words = &lines(&bucket, &[], Order::Auto)[1];
    assert!(words.contains("FEED order=name if all change files follow it, FEED order=modified"), "{words}");
    assert_eq!(steps(&bucket, &[], Order::Name), ["1 changes"; 4]);
    assert_eq!(steps(&bucket, &[], Order::Modified), ["1 skip"; 4]);
    // the row stops the table, and the order lifts it
    let mut ledger = vec![entry(1, LOAD1, "a", COPY, Status::Loaded)];
    ledger.push(entry(2, &name(7 * DAY), "c", COPY - DAY, Status::Held));
    assert_eq!(lines(&bucket, &ledger, Order::Auto), ["stopped by 2 held"]);
    assert_eq!(steps(&bucket, &ledger, Order::Name), ["1 changes"; 4]);
    assert_eq!(steps(&bucket, &ledger, Order::Modified), ["1 skip"; 4]);
    ledger[1].requested = Some(Request::Release);
    assert_eq!(steps(&bucket, &ledger, Order::Auto), ["1 changes"; 4], "released, they follow");
}

#[test]
fn files_that_were_copied_within_a_day_are_held_however_few_and_near_they_are() {
    let with_load = |files: &[Listed]| [files, &[listed(LOAD1, "a", COPY + 2)]].concat();
    let bucket = with_load(&[20 * HOUR, 2 * HOUR, 600].map(|age| copied(age, 1)));
    assert_eq!(steps(&bucket, &[], Order::Auto), ["1 held"; 3]);
    let words = &lines(&bucket, &[], Order::Auto)[1];
    assert!(words.contains("written up to 1200 minutes apart from the times in their names"), "{words}");
    // their names span less than an hour, and one has no span
    let near: Vec<Listed> = (0..8).map(|place| copied(5 * HOUR - place * 180, 1)).collect();
    assert_eq!(steps(&with_load(&near), &[], Order::Auto), ["1 held"; 8]);
    assert_eq!(steps(&with_load(&near[..1]), &[], Order::Auto), ["1 held"]);
    // copied side by side, one before the full load and one after it
    let beside = with_load(&[copied(3 * HOUR, 1), copied(2 * HOUR, 3)]);
    assert_eq!(steps(&beside, &[], Order::Auto), ["1 held"; 2]);
    assert_eq!(steps(&beside, &[], Order::Name), ["1 changes"; 2]);
    assert_eq!(steps(&beside, &[], Order::Modified), ["1 skip", "1 changes"]);
}

#[test]
fn a_feed_that_is_synced_every_hour_is_held_though_a_file_was_made_shortly_before() {
    let ledger: Vec<Entry> = (0..12)
        .map(|place| entry(place + 2, &name(9 * HOUR - place * 300), "c", COPY - 8 * HOUR + 1, Status::Loaded))
        .chain([entry(1, LOAD1, "a", COPY - 9 * HOUR, Status::Loaded)])
        .collect();
    let bucket = [copied(120, 1), listed(LOAD1, "b", COPY + 2)];
    assert_eq!(steps(&bucket, &ledger, Order::Auto), ["2 held"]);
}

#[test]
fn a_copied_file_that_is_gone_stops_the_table_before_a_full_load_of_the_same_copying() {
    let bucket = [listed(LOAD1, "a", COPY + 2)];
    let gone = |age, after| [entry(7, &name(age), "c", COPY + after, Status::Pending)];
    assert_eq!(lines(&bucket, &gone(3 * HOUR, 1), Order::Auto), ["gone 7", "stopped by 7 gone"]);
    let written = lines(&bucket, &gone(3 * HOUR, 60 - 3 * HOUR), Order::Auto);
    assert!(written[2].contains("contained in snapshot 1; it is gone"), "{written:?}");
}

#[test]
fn delays_zones_and_names_of_the_future_are_no_copies() {
    for zone in [-12 * HOUR, 0, 14 * HOUR] {
        // one upload took five hours
        let written = |age: i64| COPY - age + zone + if age == 8 * HOUR { 5 * HOUR } else { 60 };
        let ages = [9 * HOUR, 8 * HOUR, 7 * HOUR, HOUR];
        let mut bucket: Vec<Listed> = ages.map(|age| listed(&name(age), "c", written(age))).into();
        bucket.push(listed(LOAD1, "a", COPY + zone));
        assert_eq!(steps(&bucket, &[], Order::Auto), ["1 skip"; 4], "{zone}");
    }
    let bucket =
        [listed("e/20991231-120100.csv.gz", "c", 1), listed("e/20991231-230100.csv.gz", "c", 2), listed(LOAD1, "a", 3)];
    assert_eq!(steps(&bucket, &[], Order::Auto), ["1 skip"; 2]);
}

#[test]
fn made_in_the_course_of_the_copying_is_unsure() {
    let mut bucket = vec![copied(3 * DAY, 0), copied(-HOUR, HOUR + 60), listed(LOAD1, "a", COPY + 2 * HOUR)];
    assert_eq!(steps(&bucket, &[], Order::Auto), ["1 held"; 2]);
    bucket.remove(1);
    assert_eq!(steps(&bucket, &[], Order::Auto), ["1 changes"]);
}

#[test]
fn a_copy_at_a_later_full_load_is_held() {
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded)];
    let bucket = [listed(LOAD1, "b", COPY + 2), copied(3 * DAY, 1), copied(600, 1)];
    let lines = lines(&bucket, &ledger, Order::Auto);
    assert!(lines[0].starts_with("2 replace") && lines[1].starts_with("2 held"), "{lines:?}");
    assert_eq!(steps(&bucket[..2], &ledger, Order::Auto), ["2 held"], "also if all of it is old");
    assert_eq!(steps(&bucket[..2], &ledger, Order::Modified), ["2 skip"]);
    assert_eq!(steps(&bucket[..2], &ledger, Order::Name), ["2 changes"]);
    // what was copied for an earlier generation says nothing of this one
    let old = Entry { generation: 1, ..entry(2, &name(9 * DAY), "c", COPY - DAY, Status::Loaded) };
    let bucket = [bucket[0].clone(), listed(&name(9 * DAY), "c", COPY - DAY), copied(120, -60)];
    assert_eq!(steps(&bucket, &[ledger[0].clone(), old], Order::Auto), ["2 skip"]);
}

#[test]
fn a_full_load_that_is_copied_behind_loaded_change_files_is_held() {
    let files = ages().into_iter().enumerate();
    let row = |(place, age): (usize, i64)| Entry {
        generation: 0,
        ..entry(place as i64 + 1, &name(age), "c", COPY + 1, Status::Loaded)
    };
    let ledger: Vec<Entry> = files.map(row).collect();
    let mut bucket: Vec<Listed> = ages().into_iter().map(|age| copied(age, 1)).collect();
    bucket.push(listed(LOAD1, "a", COPY + 2));
    assert!(lines(&bucket, &ledger, Order::Auto)[0].starts_with("1 held (the 5 change files that were loaded"));
    assert!(lines(&bucket, &ledger, Order::Modified)[0].starts_with("1 replace"));
    // written when they were made, they are contained
    let ledger: Vec<Entry> =
        ledger.into_iter().map(|row| Entry { modified: NINE + COPY - 60 * row.id, ..row }).collect();
    let ledger: Vec<Entry> =
        ledger.iter().map(|row| Entry { key: format!("data/dbo/{}", name(60 * row.id)), ..row.clone() }).collect();
    assert_eq!(lines(&bucket[5..], &ledger, Order::Auto), [format!("1 replace: {LOAD1}")]);
}

/// A change file of the generator: its age at the copying in seconds, and when it was written after the copying; none if it was
/// written when it was made.
type Age = (i64, Option<i64>);

fn bucket_of(files: &[Age], load: i64) -> Vec<Listed> {
    let file = |(age, after): &Age| listed(&name(*age), "c", after.map_or(COPY - age + 30, |after| COPY + after));
    let mut bucket: Vec<Listed> = files.iter().map(file).collect();
    bucket.push(listed(LOAD1, "a", COPY + load));
    bucket.sort_by(|a, b| a.key.cmp(&b.key));
    bucket.dedup_by(|a, b| a.key == b.key);
    bucket
}

fn plan_with(bucket: &[Listed], generation: i32, room: usize) -> Plan {
    let before = (generation > 1).then(|| entry(1, LOAD1, "before", -COPY, Status::Loaded));
    looked_again(|asked: &PlanOptions| {
        let mut stock = Planner::with_room("data", Order::Auto, asked, room);
        for listed in bucket {
            let rows: Vec<Entry> = before.iter().filter(|row| row.key == listed.key).cloned().collect();
            stock.see(Some(listed.clone()), &rows);
        }
        stock.plan()
    })
}

/// The age of a file at the copying: of any day, of the same day, of the same hour.
fn age() -> impl Strategy<Value = i64> {
    prop_oneof![7200i64..20 * DAY, 0i64..DAY, 0i64..7200]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    /// A bucket that was copied whole, in any order and at any speed up to two hours, at a table's first full load or a later
    /// one: no file of it is skipped, and if one is loaded, all are.
    #[test]
    fn no_file_of_a_copied_bucket_is_skipped(
        files in prop::collection::vec((age(), (0i64..7200).prop_map(Some)), 1..12),
        load in 0i64..7200, generation in 1..3, room in 1usize..20,
    ) {
        let oldest = files.iter().map(|(age, _)| *age).max().unwrap_or_default();
        // copied as soon as they were made: nobody can tell
        prop_assume!(oldest > PROMPT);
        let bucket = bucket_of(&files, load);
        let plan = plan_with(&bucket, generation, room);
        let steps: Vec<&Step> = plan.tables[0].pending.iter().skip(1).map(|pending| &pending.step).collect();
        prop_assert!(!steps.iter().any(|step| matches!(step, Step::Skip(_))), "{steps:?}");
        let held = steps.iter().filter(|step| matches!(step, Step::Stop(Status::Held, _))).count();
        prop_assert!(held == 0 || held == steps.len(), "{steps:?}");
        prop_assert_eq!(plan.tables[0].entity.clone(), entity());
    }

    /// A feed that goes on as it is written, its names in UTC or in any time zone: it is never held. The full load contains what
    /// was written before it, and nothing else.
    #[test]
    fn a_feed_that_was_not_copied_is_never_held(
        delays in prop::collection::vec(0i64..240, 4..12), zone in prop_oneof![Just(0i64), (-48i64..56).prop_map(|zone| zone * 900)],
        few in 1usize..12, slow in prop::option::of(1usize..12), load in -15 * HOUR..HOUR, generation in 1..3,
    ) {
        let mut files: Vec<Age> = Vec::new();
        for (place, delay) in delays.iter().enumerate() {
            let age = 14 * HOUR - place as i64 * 4000;
            // one upload took three hours
            let delay = if slow == Some(place) { 3 * HOUR } else { *delay };
            files.push((age, Some(delay - age + zone)));
        }
        if zone == 0 && slow.is_none() {
            files.truncate(few);
        }
        let plan = plan_with(&bucket_of(&files, load), generation, 100);
        for pending in plan.tables[0].pending.iter().skip(1) {
            let contained = pending.objects[0].listed.modified < NINE + COPY + load;
            let wanted = if contained { "skip" } else { "changes" };
            prop_assert!(super::tests::line(pending).contains(wanted), "{pending:?}");
        }
    }

    /// Files that were written when they were made are loaded or skipped by their times, beside any that were copied; or the
    /// table is held. What was written after the full load is never skipped.
    #[test]
    fn a_genuine_file_is_never_applied_if_it_is_contained_nor_skipped_if_it_is_not(
        genuine in prop::collection::vec((-DAY..9 * DAY, Just(None)), 1..8),
        copies in prop::collection::vec((DAY + 7200..20 * DAY, (0i64..7200).prop_map(Some)), 0..4),
        load in -DAY..DAY, generation in 1..3,
    ) {
        let files: Vec<Age> = genuine.iter().chain(&copies).copied().collect();
        let bucket = bucket_of(&files, load);
        let plan = plan_with(&bucket, generation, 100);
        for pending in plan.tables[0].pending.iter().skip(1) {
            let listed = &pending.objects[0].listed;
            let is_copy = copies.iter().any(|(age, _)| listed.key.ends_with(&name(*age)));
            if is_copy {
                continue;
            }
            let contained = listed.modified < NINE + COPY + load;
            match &pending.step {
                Step::Changes => {
                    // No decision is possible within the few minutes in which copies begin.
                    let near = copies.iter().any(|_| (listed.modified - NINE - COPY).abs() < 2 * 7200);
                    prop_assert!(!contained || near, "{listed:?}");
                }
                Step::Skip(_) => prop_assert!(contained),
                Step::Stop(status, _) => prop_assert_eq!(*status, Status::Held),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
