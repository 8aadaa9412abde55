//! Plans for more change files than fit: such a plan is the beginning of the whole one, and the rest is counted.

use proptest::prelude::*;

use super::tests::{LOAD1, NINE, Seen, entity, entry, listed, seen};
use super::*;
use crate::source::{Later, Status, Step};

fn plan_in(room: usize, seen: &[Seen]) -> Plan {
    let tables = HashSet::from([entity(), Entity { schema: "dbo".into(), name: "f".into() }]);
    let asked = PlanOptions { history: HashSet::from([entity()]), times: tables, ..PlanOptions::default() };
    let mut stock = Planner::with_room("data", Order::Auto, &asked, room);
    seen.iter().for_each(|(listed, rows)| stock.see(listed.clone(), rows));
    stock.plan()
}

/// Returns a change file that was made in that minute after nine, in the folder of a table.
fn change(table: &str, minute: i64) -> Seen {
    (Some(listed(&format!("{table}/20220922-09{minute:02}00.csv.gz"), "a", minute * 60)), Vec::new())
}

fn times(table: &TablePlan) -> Vec<i64> {
    let objects = table.pending.iter().flat_map(|pending| &pending.objects);
    objects.map(|object| (object.listed.modified - NINE) / 60).collect()
}

#[test]
fn the_first_files_are_planned_and_the_rest_is_counted() {
    let seen: Vec<Seen> = [3, 1, 5, 2, 4].map(|minute| change("e", minute)).into();
    let table = &plan_in(2, &seen).tables[0];
    assert_eq!(times(table), [1, 2]);
    let later = Later { objects: 3, bytes: 30, oldest: Some(NINE + 180), untried: 3, copied: 0 };
    assert_eq!(table.later, later);
}

#[test]
fn tables_share_the_room_and_each_has_a_turn() {
    let two = |table| [1, 2].map(|minute| change(table, minute));
    let seen: Vec<Seen> = ["a", "b", "c", "d", "e"].into_iter().flat_map(two).collect();
    let plan = plan_in(4, &seen);
    assert!(plan.tables.iter().all(|table| times(table) == [1] && table.later.objects == 1), "{plan:?}");
    assert_eq!(plan.tables.len(), 5, "one each, even if that is more than there is room for");
    // a table that has all the room to itself
    let (mut seen, many) = (Vec::new(), [1, 2, 3, 4].map(|minute| change("e", minute)));
    seen.extend(many);
    assert_eq!(times(&plan_in(4, &seen).tables[0]), [1, 2, 3, 4]);
    seen.push(change("f", 1));
    assert_eq!(times(&plan_in(4, &seen).tables[0]), [1, 2], "half as many when there is another");
}

#[test]
fn a_folder_of_changes_is_joined_in_their_order() {
    let seen: Vec<Seen> =
        [("e", 1), ("e", 3), ("e", 4), ("e__ct", 2), ("e__ct", 5)].map(|(table, minute)| change(table, minute)).into();
    let table = &plan_in(2, &seen).tables[0];
    // half of the room each while the folder may be a table
    assert_eq!((times(table), table.later.objects), (vec![1], 4));
}

#[test]
fn what_there_is_no_room_for_counts_as_behind_a_stop_and_as_newer() {
    let mut seen: Vec<Seen> = (1..=4).map(|minute| change("e", minute)).collect();
    seen[0].1 = vec![entry(1, "e/20220922-090100.csv.gz", "a", 60, Status::Failed)];
    let table = &plan_in(1, &seen).tables[0];
    let stuck = (table.stuck.objects, table.stuck.bytes, table.stuck.oldest);
    let oldest = seen.iter().flat_map(|(listed, _)| listed).map(|listed| listed.modified).min();
    assert_eq!((table.behind, stuck), (3, (4, 40, oldest)));
    // one of two parts, and a change file after it that shows that it is all
    let old = |id, file| (None, vec![entry(id, file, "a", 0, Status::Loaded)]);
    let part = (Some(listed(LOAD1, "b", 150)), vec![entry(2, LOAD1, "a", 0, Status::Loaded)]);
    let seen = [part, old(3, "e/LOAD00000002.csv.gz"), change("e", 1), change("e", 9)];
    let plan = plan_in(1, &seen);
    assert_eq!(plan.tables[0].pending[0].step, Step::Replace);
    assert_eq!(plan.tables[0].later.objects, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Holds whatever states the rows are in; only files that are folded together are fewer.
    #[test]
    fn a_plan_with_little_room_is_the_beginning_of_the_whole(seen in seen(), room in 1usize..4) {
        let (whole, little) = (plan_in(100, &seen), plan_in(room, &seen));
        prop_assert_eq!(whole.tables.len(), little.tables.len());
        for one in &little.tables {
            let all = whole.tables.iter().find(|all| all.entity == one.entity).expect("the same tables");
            prop_assert_eq!((&one.stopped, one.behind, &one.superseded), (&all.stopped, all.behind, &all.superseded));
            let folds = all.pending.iter().any(|pending| pending.step == Step::Refold) || all.wants_history;
            if folds || one.stopped.is_some() {
                continue;
            }
            prop_assert_eq!(one.assumed, all.assumed);
            prop_assert_eq!(&all.pending[..one.pending.len()], &one.pending[..]);
            prop_assert_eq!(one.later.objects, (all.pending.len() - one.pending.len()) as u64);
        }
    }
}
