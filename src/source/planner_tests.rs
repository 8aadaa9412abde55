//! The plan, case by case, and that no order of seeing changes it. The fixtures are those of the other tests of the plan.

use proptest::prelude::*;

use super::*;
use crate::decode::File;
use crate::source::{Object, Pending, Request, Status, Step};

/// 2022-09-22 09:00:00 UTC, the hour in which the test files were made.
pub(super) const NINE: i64 = 1_663_837_200;

pub(super) fn listed(file: &str, etag: &str, modified: i64) -> Listed {
    Listed { key: format!("data/dbo/{file}"), etag: etag.into(), size: 10, modified: NINE + modified }
}

pub(super) fn entry(id: i64, file: &str, etag: &str, modified: i64, status: Status) -> Entry {
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
        superseded_by: None,
        reload: false,
        only_added: true,
        revision: if status == Status::Pending { 0 } else { id },
        occurrence: 1,
        size: 10,
        // of parts; other versions are to be read, then
        content: file.contains("LOAD").then_some([0; 32]),
        same: false,
        contained: false,
    }
}

/// Returns the plan of a feed with this order and these options.
pub(super) fn plan_of(bucket: &[Listed], ledger: &[Entry], order: Order, asked: &PlanOptions) -> Plan {
    let mut stock = Planner::new("data", order, asked);
    let mut keys: Vec<&String> = bucket.iter().map(|l| &l.key).chain(ledger.iter().map(|e| &e.key)).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let rows: Vec<Entry> = ledger.iter().filter(|row| &row.key == key).cloned().collect();
        stock.see(bucket.iter().find(|object| &object.key == key).cloned(), &rows);
    }
    stock.plan()
}

/// Returns the plan, made again if a late file is to be folded in.
pub(super) fn whole_plan(bucket: &[Listed], ledger: &[Entry], order: Order) -> Plan {
    looked_again(|asked| plan_of(bucket, ledger, order, asked))
}

/// Returns a plan, made again with the options that its tables need.
pub(super) fn looked_again(look: impl Fn(&PlanOptions) -> Plan) -> Plan {
    let mut asked = PlanOptions::default();
    for _ in 0..2 {
        let plan = look(&asked);
        let wants = |which: fn(&TablePlan) -> bool| {
            plan.tables.iter().filter(move |table| which(table)).map(|table| table.entity.clone())
        };
        asked.history.extend(wants(|table| table.wants_history));
        asked.times.extend(wants(|table| table.wants_times));
    }
    look(&asked)
}

pub(super) fn entity() -> Entity {
    Entity { schema: "dbo".into(), name: "e".into() }
}

/// Returns the plan as one line per pending delivery: generation, step, files; `=` marks files that were loaded
/// before.
pub(super) fn plan(bucket: &[Listed], ledger: &[Entry]) -> Vec<String> {
    lines(bucket, ledger, Order::Auto)
}

pub(super) fn lines(bucket: &[Listed], ledger: &[Entry], order: Order) -> Vec<String> {
    let plan = whole_plan(bucket, ledger, order);
    let lines = plan.tables.iter().flat_map(|table| {
        let stop = table.stopped.iter().map(|stop| format!("stopped by {} {}", stop.id, stop.status.as_str()));
        let say = |word: &'static str| move |id: &i64| format!("{word} {id}");
        let superseded = table.superseded.iter().map(say("superseded")).chain(table.gone.iter().map(say("gone")));
        superseded
            .chain(table.revived.iter().map(say("revived")))
            .chain(stop)
            .chain(table.pending.iter().map(line))
            .collect::<Vec<_>>()
    });
    lines.collect()
}

pub(super) fn line(pending: &Pending) -> String {
    let file = |object: &Object| {
        let mark = if object.new { "" } else { "=" };
        format!("{mark}{}", object.listed.key.trim_start_matches("data/dbo/"))
    };
    let files = pending.objects.iter().map(file);
    let step = match &pending.step {
        Step::Append { first } => format!("append{}", if *first { " first" } else { "" }),
        Step::Replace => "replace".into(),
        Step::Changes => "changes".into(),
        Step::Refold => "refold".into(),
        Step::Same => "same".into(),
        Step::Compare(_) => "compare".into(),
        Step::Skip(reason) => format!("skip ({reason})"),
        Step::Stop(status, reason) => format!("{} ({reason})", status.as_str()),
    };
    format!("{} {step}: {}", pending.generation, files.collect::<Vec<_>>().join(" "))
}

pub(super) const LOAD1: &str = "e/LOAD00000001.csv.gz";
pub(super) const LOAD2: &str = "e/LOAD00000002.csv.gz";
pub(super) const AT_0900: &str = "e/20220922-090000000.csv.gz";
pub(super) const AT_0901: &str = "e/20220922-090100000.csv.gz";

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
    assert_eq!(whole_plan(&bucket, &[], Order::Auto).foreign.total(), 1);
    let forgotten = entry(1, "e/notes/LOAD00000001.csv", "x", 2, Status::Loaded);
    assert_eq!(whole_plan(&[], &[forgotten], Order::Auto).foreign.total(), 0, "what is listed is counted");
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
    assert_eq!(plan(&same_bytes[..1], &ledger[..1]), [format!("2 replace: {LOAD1}")]);
    assert!(plan(&same_bytes, &ledger)[0].starts_with("2 held (rewritten with the same bytes"));
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
    let whole = PlanOptions { whole: HashSet::from([entity()]), ..PlanOptions::default() };
    let plan = plan_of(&bucket, &[], Order::Auto, &whole);
    assert_eq!(line(&plan.tables[0].pending[0]), format!("1 replace: {LOAD1} {LOAD2}"));
}

#[test]
fn a_reload_with_parts_missing_or_mixed_is_held() {
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, LOAD2, "b", 0, Status::Loaded)];
    let mixed = [listed(LOAD1, "a2", 100), listed(LOAD2, "b", 0)];
    assert_eq!(
        plan(&mixed, &ledger),
        [format!("2 held (mixed reload: data/dbo/{LOAD2} not rewritten with the other parts): {LOAD1} ={LOAD2}")]
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
    assert_eq!(whole_plan(&bucket, &[], Order::Auto).tables[0].assumed, 1);
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

/// Returns the tables of a plan with the number of their pending deliveries.
fn tables(bucket: &[Listed], ledger: &[Entry]) -> Vec<String> {
    let plan = whole_plan(bucket, ledger, Order::Auto);
    plan.tables.iter().map(|table| format!("{} {}", table.entity, table.pending.len())).collect()
}

#[test]
fn a_folder_of_changes_is_its_tables_unless_it_has_a_full_load() {
    let (change, load) = ("e__ct/20220922-090100000.csv.gz", "e__ct/LOAD00000001.csv.gz");
    let both = [listed(LOAD1, "a", 0), listed(AT_0900, "c", 5), listed(change, "d", 5)];
    assert_eq!(tables(&both, &[]), ["dbo.e 3"]);
    let wanted =
        [&format!("1 append first: {LOAD1}"), &format!("1 changes: {AT_0900}"), &format!("1 changes: {change}")];
    assert_eq!(plan(&both, &[]).iter().collect::<Vec<_>>(), wanted);
    assert_eq!(tables(&[listed(change, "d", 5)], &[]), ["dbo.e 1"], "without a full load of the table too");
    let table = [listed(LOAD1, "a", 0), listed(change, "d", 5), listed(load, "f", 0)];
    assert_eq!(tables(&table, &[]), ["dbo.e 1", "dbo.e__ct 2"]);
    let gone = entry(1, load, "f", 0, Status::Loaded);
    let known = [gone, entry(2, "e__ct/20220922-090000000.csv.gz", "c", 5, Status::Loaded)];
    assert_eq!(tables(&both, &known), ["dbo.e 2", "dbo.e__ct 1"], "a full load that is not shown any more");
}

#[test]
fn a_folder_stays_what_it_was_when_its_first_file_was_loaded() {
    let (change, load) = ("e__ct/20220922-090000000.csv.gz", "e__ct/LOAD00000001.csv.gz");
    let ledger = [entry(1, LOAD1, "a", 0, Status::Loaded), entry(2, change, "c", 5, Status::Loaded)];
    let later = listed("e__ct/20220922-090100000.csv.gz", "d", 9);
    let shown = [listed(LOAD1, "a", 0), listed(change, "c", 5), listed(load, "f", 7), later];
    assert_eq!(tables(&shown, &ledger), ["dbo.e 1"]);
    let plan = whole_plan(&shown, &ledger, Order::Auto);
    assert_eq!((plan.foreign.other, plan.tables[0].pending[0].after), (1, 2), "its full load is nobody's");
    let failed = [ledger[0].clone(), entry(2, load, "f", 7, Status::Failed)];
    assert_eq!(tables(&shown, &failed), ["dbo.e__ct 0"], "a part stops it, whatever became of it");
}

#[test]
fn what_was_loaded_from_either_folder_counts_for_both() {
    let later = "e__ct/20220922-090200000.csv.gz";
    let ledger = [
        entry(1, LOAD1, "a", 0, Status::Loaded),
        entry(2, AT_0900, "c", 5, Status::Loaded),
        entry(3, later, "d", 5, Status::Loaded),
    ];
    let shown = [listed(LOAD1, "a", 0), listed(AT_0900, "c", 5), listed(later, "d", 5)];
    assert!(plan(&shown, &ledger).is_empty());
    // between the two, from the other folder
    let late = [&shown[..], &[listed(AT_0901, "e", 9)]].concat();
    let why = format!("data/dbo/{later} was loaded before it, and comes after it");
    assert_eq!(plan(&late, &ledger), [format!("1 late ({why}): {AT_0901}")]);
    let again = Entry { requested: Some(Request::Retry), ..entry(4, AT_0901, "e", 9, Status::Late) };
    let folded = plan(&late, &[&ledger[..], &[again]].concat());
    assert_eq!(folded, [format!("1 refold: {AT_0901} ={later}")]);
    // a stop in one folder stops the table
    let failed = entry(4, later, "x", 9, Status::Failed);
    let broken = [listed(LOAD1, "a", 0), listed(AT_0901, "e", 9), listed(later, "x", 9)];
    assert_eq!(plan(&broken, &[ledger[0].clone(), failed.clone()]), ["stopped by 4 failed"]);
    assert_eq!(plan(&broken[..1], &[ledger[0].clone(), failed]), ["gone 4", "stopped by 4 gone"]);
}

#[test]
fn a_part_that_was_skipped_is_not_read_with_the_others() {
    let ledger = |request| {
        [
            entry(1, LOAD1, "a", 0, Status::Loaded),
            entry(2, LOAD2, "b", 0, Status::Loaded),
            Entry { generation: 2, ..entry(3, LOAD2, "bad", 5, Status::Skipped) },
            Entry { generation: 2, requested: request, ..entry(4, LOAD1, "a2", 9, Status::Held) },
        ]
    };
    let shown = [listed(LOAD1, "a2", 9), listed(LOAD2, "bad", 5)];
    let words = format!(
        "2 held (mixed reload: data/dbo/{LOAD2} not rewritten with the other parts; data/dbo/{LOAD2} was skipped, so a release leaves \
         it out and removes the rows that it had): {LOAD1}"
    );
    assert_eq!(plan(&shown, &ledger(None)[..3]), [words]);
    assert_eq!(plan(&shown, &ledger(Some(Request::Release))), [format!("2 replace: {LOAD1}")]);
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
    assert_eq!(plan(&bucket[2..], &[failed]), [other, "gone 7".into()], "deleted");
}

#[test]
fn what_went_away_is_pending_again_when_it_is_back() {
    let gone = [entry(3, AT_0900, "b", 1, Status::Gone)];
    assert_eq!(plan(&[], &gone), ["stopped by 3 gone"]);
    let plan = whole_plan(&[listed(AT_0900, "b", 1)], &gone, Order::Auto);
    assert_eq!(plan.tables[0].pending[0].objects[0].entry, Some(3));
}

/// The states of rows that a key may have: with what an operator asked for, and whether it is closed as superseded.
const STATES: [(Status, Option<Request>, bool); 12] = [
    (Status::Pending, None, false),
    (Status::Loaded, None, false),
    (Status::Skipped, None, false),
    (Status::Skipped, None, true),
    (Status::Gone, None, false),
    (Status::Failed, None, false),
    (Status::Failed, Some(Request::Retry), false),
    (Status::Held, None, false),
    (Status::Held, Some(Request::Retry), false),
    (Status::Held, Some(Request::Release), false),
    (Status::Late, None, false),
    (Status::Late, Some(Request::Retry), false),
];

const FILES: [&str; 7] = [
    LOAD1,
    LOAD2,
    AT_0900,
    AT_0901,
    "e__ct/20220922-0900301.csv.gz",
    "f/2022/09/22/20220922-090000.csv.gz",
    "e__ct/LOAD00000001.csv.gz",
];

/// A key: what the bucket lists there, and up to three rows of its versions.
pub(super) type Seen = (Option<Listed>, Vec<Entry>);

/// A row of some version: its state by number, etag, time and generation, and whether another came in its place.
type SomeRow = (usize, String, i64, i32, bool);

pub(super) fn seen() -> impl Strategy<Value = Vec<Seen>> {
    let row = (0..STATES.len(), "[a-c]", 0i64..400, 1i32..3, any::<bool>());
    let key = (prop::option::of(("[a-c]", 0i64..400)), prop::collection::vec(row, 0..3));
    prop::collection::vec(key, FILES.len()).prop_map(|keys| {
        let see = |(place, (object, rows))| seen_at(place, object, rows);
        keys.into_iter().enumerate().map(see).collect()
    })
}

fn seen_at(place: usize, object: Option<(String, i64)>, rows: Vec<SomeRow>) -> Seen {
    let file = FILES[place];
    let row = |(index, (state, etag, modified, generation, replaced)): (usize, SomeRow)| {
        let (status, requested, superseded) = STATES[state];
        let row = entry((place * 10 + index + 1) as i64, file, &etag, modified, status);
        Entry { requested, superseded, superseded_by: replaced.then_some(99), generation, ..row }
    };
    let object = object.map(|(etag, modified)| listed(file, &etag, modified));
    (object, rows.into_iter().enumerate().map(row).collect())
}

fn plan_seen<'a>(seen: impl IntoIterator<Item = &'a Seen>, order: Order, asked: &PlanOptions) -> Plan {
    let mut stock = Planner::new("data", order, asked);
    seen.into_iter().for_each(|(listed, rows)| stock.see(listed.clone(), rows));
    stock.plan()
}

/// Returns `true` if one of the rows is that of the listed version: the newest row, or the newest loaded one.
fn has_row(listed: &Listed, rows: &[Entry]) -> bool {
    let same = |row: &Entry| row.etag == listed.etag && (row.file == File::Changes || row.modified == listed.modified);
    let loaded = rows.iter().rfind(|row| row.status == Status::Loaded);
    rows.last().into_iter().chain(loaded).any(same)
}

/// Returns `true` if the ledger rows of a key need no further work for the listed version.
fn is_accounted((listed, rows): &Seen) -> bool {
    let Some(listed) = listed else { return true };
    let same = |row: &&Entry| row.etag == listed.etag && (row.file == File::Changes || row.modified == listed.modified);
    let done = |row: &Entry| matches!(row.status, Status::Loaded | Status::Skipped) && !row.superseded;
    let loaded = rows.iter().rfind(|row| row.status == Status::Loaded);
    rows.iter().next_back().filter(same).or(loaded.filter(same)).is_some_and(done)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// The plan does not depend on the order in which keys are added, whatever states the rows are in.
    #[test]
    fn no_shuffle_changes_the_plan(
        (seen, shuffled) in seen().prop_flat_map(|seen| (Just(seen.clone()), Just(seen).prop_shuffle())),
        order in prop::sample::select(vec![Order::Auto, Order::Name, Order::Modified]),
        history in any::<bool>(),
    ) {
        let history = if history { HashSet::from([entity()]) } else { HashSet::new() };
        let asked = PlanOptions { history, ..PlanOptions::default() };
        prop_assert_eq!(plan_seen(&seen, order, &asked), plan_seen(&shuffled, order, &asked));
    }

    /// Every listed file without a final ledger row is planned, unless a row stops its table; no file with one is
    /// planned as new.
    #[test]
    fn what_is_not_accounted_for_is_planned_once(
        seen in seen(), order in prop::sample::select(vec![Order::Auto, Order::Name, Order::Modified]),
    ) {
        // without the last, whose folder may be a table
        let seen = &seen[..6];
        let plan = looked_again(|asked| plan_seen(seen, order, asked));
        let stopped = |key: &str| {
            let table = if key.contains("/f/") { "f" } else { "e" };
            // behind a late file that cannot be folded in nothing goes on
            let ends = |pending: &Pending| matches!(&pending.step, Step::Stop(Status::Late, why) if why.contains("cannot be"));
            let stops = |plan: &&TablePlan| plan.stopped.is_some() || plan.pending.iter().any(ends);
            plan.tables.iter().filter(stops).any(|plan| plan.entity.name == table)
        };
        prop_assert!(plan.tables.iter().all(|table| !table.wants_history && !table.wants_times));
        let planned = plan.tables.iter().flat_map(|table| &table.pending).flat_map(|pending| &pending.objects);
        let planned: Vec<&Object> = planned.collect();
        for key in seen {
            let Some(listed) = key.0.as_ref().filter(|listed| !stopped(&listed.key)) else { continue };
            let times = planned.iter().filter(|object| object.new && object.listed == *listed).count();
            prop_assert_eq!(times, usize::from(!is_accounted(key)), "{}", &listed.key);
        }
    }

    /// Every listed file without a ledger row is to get one, once, whatever stops its table and whether or not it
    /// fits into the plan.
    #[test]
    fn what_has_no_row_is_to_get_one(seen in seen(), room in 1usize..9) {
        let seen = &seen[..6];
        let asked = PlanOptions::default();
        let mut stock = Planner::with_room("data", Order::Auto, &asked, room);
        seen.iter().for_each(|(listed, rows)| stock.see(listed.clone(), rows));
        let (plan, mut rest) = stock.finish();
        let kept = plan.tables.iter().flat_map(|table| &table.unrecorded).map(|(_, object)| object.listed.clone());
        let mut all: Vec<Listed> = kept.collect();
        all.extend(rest.next(usize::MAX).expect("read").into_iter().map(|file| file.listed));
        for (listed, rows) in seen {
            let Some(listed) = listed else { continue };
            let times = all.iter().filter(|one| *one == listed).count();
            prop_assert_eq!(times, usize::from(!has_row(listed, rows)), "{}", &listed.key);
        }
    }

    /// A change file that was never loaded and is no longer listed stops its table, unless a full load contains it.
    #[test]
    fn nothing_is_planned_over_a_hole(
        seen in seen(), order in prop::sample::select(vec![Order::Auto, Order::Name, Order::Modified]),
    ) {
        let seen = &seen[..6];
        let plan = looked_again(|asked| plan_seen(seen, order, asked));
        for (place, (listed, rows)) in seen.iter().enumerate() {
            let Some(last) = rows.last().filter(|_| listed.is_none()) else { continue };
            let open = !matches!(last.status, Status::Loaded | Status::Skipped) && last.file == File::Changes;
            let name = if FILES[place].starts_with("f/") { "f" } else { "e" };
            let table = plan.tables.iter().find(|table| table.entity.name == name);
            let stops = |table: &TablePlan| table.stopped.is_some() || table.contained.contains(&last.id);
            prop_assert!(!open || table.is_some_and(stops), "{}", &last.key);
            prop_assert!(!open || last.status == Status::Gone || table.is_some_and(|table| table.gone.contains(&last.id)));
        }
    }
}
