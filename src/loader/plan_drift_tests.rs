//! Each difference between a plan and what is found has its sentence.

use super::*;
use crate::source::{Entity, Listed, Object, Status, Step, Stop};

fn object(key: &str, etag: &str) -> Object {
    let listed = Listed { key: key.into(), etag: etag.into(), size: 1, modified: 9 };
    Object::unknown(listed)
}

fn pending(entity: &Entity, object: Object) -> Pending {
    let (entity, label, file) = (entity.clone(), "e".to_owned(), crate::decode::File::Changes);
    let (step, objects) = (Step::Changes, vec![object]);
    Pending {
        entity,
        label,
        file,
        generation: 1,
        step,
        objects,
        after: 3,
        passes: [].into(),
        remark: None,
        if_same: None,
    }
}

fn stock(files: &[(&str, &str)]) -> TablePlan {
    let entity = Entity { schema: "dbo".into(), name: "e".into() };
    let mut table = TablePlan::empty(entity, "e".into());
    table.pending = files.iter().map(|(key, etag)| pending(&table.entity, object(key, etag))).collect();
    table
}

fn planned(files: &[(&str, &str)]) -> Table {
    let deliveries = stock(files).pending.iter().map(Delivery::of).collect();
    let (schema, entity, definition) = ("dbo".into(), "e".into(), Some("shape".to_owned()));
    Table { schema, entity, definition, last_delivery: 3, deliveries, ..Table::default() }
}

fn found(done: usize, now: &TablePlan) -> Found<'_> {
    Found { done, now: Some(now), definition: Some("shape"), accounted: BTreeMap::new() }
}

fn words(now: &[(&str, &str)]) -> Vec<String> {
    table(&planned(&[("a", "1"), ("c", "1")]), &found(0, &stock(now)))
}

#[test]
fn what_is_as_it_was_holds_and_what_comes_after_it_does_not_matter() {
    assert!(words(&[("a", "1"), ("c", "1")]).is_empty());
    assert!(words(&[("a", "1"), ("c", "1"), ("d", "1")]).is_empty());
}

#[test]
fn files_that_are_gone_rewritten_or_come_between_are_named() {
    assert_eq!(words(&[("c", "1")]), ["a is gone from the bucket since the plan"]);
    let (plan, now) = (planned(&[("a", "1"), ("c", "1")]), stock(&[("c", "1")]));
    assert_eq!(missing(&plan, 0, Some(&now)), HashSet::from([("a", "1")]));
    assert!(missing(&plan, 1, Some(&now)).is_empty());
    let accounted = BTreeMap::from([("a".to_owned(), "delivery 4, loaded".to_owned())]);
    let elsewhere = table(&plan, &Found { accounted, ..found(0, &now) });
    assert_eq!(elsewhere, ["a is accounted for since the plan: delivery 4, loaded"]);
    assert_eq!(words(&[("a", "2"), ("c", "1")]), ["a was written again since the plan"]);
    let between = "b came since the plan, and is to be loaded before or with files of it";
    assert_eq!(words(&[("a", "1"), ("b", "1"), ("c", "1")]), [between]);
    assert_eq!(words(&[("b", "1"), ("c", "1")]).len(), 2);
}

#[test]
fn the_same_files_to_be_loaded_otherwise_are_told() {
    let mut now = stock(&[("a", "1"), ("c", "1")]);
    now.pending[1].step = Step::Skip("contained".into());
    let plan = planned(&[("a", "1"), ("c", "1")]);
    let told = table(&plan, &found(0, &now));
    assert_eq!(told, ["c was planned as changes after full load 1, and is a file to be skipped now"]);
    now.pending[1].step = Step::Changes;
    now.pending.iter_mut().for_each(|pending| pending.after = 5);
    let told = table(&plan, &found(0, &now));
    assert_eq!(told, ["dbo.e: its last delivery in the ledger was 3 when the plan was made, and is 5"]);
    now.pending.remove(0);
    let rest = table(&plan, &found(1, &now));
    assert!(rest.is_empty(), "what this run did itself is no difference: {rest:?}");
}

#[test]
fn tables_that_are_altered_gone_or_stopped_are_told() {
    let (plan, files) = (planned(&[("a", "1")]), stock(&[("a", "1")]));
    let altered = |definition| table(&plan, &Found { definition, ..found(0, &files) });
    assert_eq!(altered(Some("other")), ["dbo.e: the table was altered"]);
    assert_eq!(altered(None), ["dbo.e: the table is gone"]);
    let stop = Stop { id: 7, status: Status::Failed, key: "k".into() };
    let stopped = TablePlan { stopped: Some(stop), pending: Vec::new(), ..files.clone() };
    assert_eq!(table(&plan, &found(0, &stopped)), ["dbo.e: delivery 7, failed, stops the table now: k"]);
    assert!(table(&plan, &found(1, &stopped)).is_empty(), "nothing is left to do there");
}

#[test]
fn another_effect_is_told_with_what_was_planned() {
    let effect_of = |counts: Counts, status: &str| {
        let plan = Delivery { status: "loaded".into(), ..planned(&[("a", "1")]).deliveries.remove(0) };
        let (now, why) = (Delivery { status: status.into(), counts, ..plan.clone() }, Some("line 2".to_owned()));
        effect(&plan, &Delivery { why, ..now })
    };
    assert_eq!(effect_of(Counts::default(), "loaded"), None);
    let counts = Counts { amend: 5, unchanged: 1, ..Counts::default() };
    let words = "a would now amend 5 rows, planned 0, and find 1 row unchanged, planned 0";
    assert_eq!(effect_of(counts, "loaded").as_deref(), Some(words));
    let words = "a would now be failed (line 2), planned loaded";
    assert_eq!(effect_of(Counts::default(), "failed").as_deref(), Some(words));
    let held = |removes| Delivery { status: "held".into(), would_remove: Some(removes), ..Delivery::default() };
    let words = " would now remove 3 rows and be held, planned 2";
    assert_eq!(effect(&held(2), &held(3)).as_deref(), Some(words));
}

#[test]
fn another_place_and_other_settings_are_named() {
    let settings = |limit: &str, feed: &str| -> BTreeMap<String, String> {
        [("MAX_REMOVE", limit), ("FEED", feed)].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    };
    let agreed = PlanFile { bucket: "feed".into(), settings: settings("50%", "1"), ..PlanFile::default() };
    let same = Place { bucket: "feed".into(), settings: settings("50%", "1"), ..Place::default() };
    assert!(place(&agreed, &same).is_empty());
    let other = Place { bucket: "meal".into(), settings: settings("10%", "2"), ..Place::default() };
    let words = [
        "the plan is for bucket \"feed\", and SOURCE names \"meal\"",
        "FEED is not what it was when the plan was made",
        "MAX_REMOVE was \"50%\" when the plan was made, and is \"10%\"",
    ];
    assert_eq!(place(&agreed, &other), words);
}
