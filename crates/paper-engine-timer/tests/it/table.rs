//! Tests the original's table: without key or index, with rights that allow neither, with whole seconds and without a zone.

use std::time::Duration;

use paper_engine_timer::engine::Options;
use paper_engine_timer::store::{Prepare, Store};
use paper_engine_timer::task::{NewTask, When};
use time::macros::datetime;
use uuid::Uuid;

use crate::support::database::{Database, Who};
use crate::support::{Pod, claim, on_both};

on_both!(
    the_originals_table_works_without_rights_to_change_it,
    two_pods_share_a_table_without_an_index,
    an_id_that_stands_there_twice_is_fired_once,
    inserts_by_others_are_not_held_up,
    inserts_into_our_own_table_are_not_held_up,
    a_time_without_zone_is_read_in_timer_zone,
    whole_seconds_are_rounded_up,
    indexes_are_added_where_the_user_may,
    a_table_that_cannot_work_is_refused_by_name,
    pods_that_start_together_make_the_tables_once,
    null_cells_stop_nothing,
);

/// Makes the original's table, and returns a store of a user who may not change it.
async fn poor<D: Database>(db: &D) -> D::Store {
    db.run(D::original_table()).await;
    db.grant_least().await;
    let store = db.store_in("UTC", Who::Poor);
    store.prepare(Prepare::Create).await.expect("prepared");
    store
}

async fn the_originals_table_works_without_rights_to_change_it<D: Database>(db: D) {
    let store = poor(&db).await;
    let facts = store.facts();
    assert!(!facts.has_key && !facts.has_due_index && !facts.has_id_index, "{facts:?}");
    assert_eq!((facts.precision, facts.zoneless), (0, true));
    assert_eq!(facts.warnings.len(), 3, "{facts:?}");
    let ids = db.insert("http://h/p", &[-5000; 50]).await;
    let pod = Pod::start(store, Options { batch: 10, ..Options::default() });
    db.await_count("select count(*) from timers where timer_status = 'done'", ids.len()).await;
    assert_eq!(pod.stop().await.times().len(), ids.len());
}

/// A claim that sorts without an index locks every row, and the other pod finds nothing; one that does not skip locked rows lets
/// the other pod wait. So claims are made to last: one and a half seconds for ten rows, while another pod asks for one.
async fn two_pods_share_a_table_without_an_index<D: Database>(db: D) {
    let first = poor(&db).await;
    let second = db.store_in("UTC", Who::Poor);
    second.prepare(Prepare::Create).await.unwrap();
    db.slow_down_leases(Duration::from_millis(150)).await;
    db.insert("http://h/p", &[-5000; 11]).await;
    let claiming = first.clone();
    let ten = tokio::spawn(async move { claiming.claim(claim(10, Duration::from_secs(30))).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let one = second.claim(claim(1, Duration::from_secs(30))).await.unwrap();
    assert!(!ten.is_finished(), "the second claim waited for the first");
    assert_eq!((one.len(), ten.await.unwrap().unwrap().len()), (1, 10), "of 11 rows, by two claims at once");
    db.slow_down_leases(Duration::from_millis(20)).await;

    let options = || Options { batch: 10, ..Options::default() };
    let pods = [Pod::start(first, options()), Pod::start(second, options())];
    for pod in &pods {
        pod.await_ready().await;
    }
    let ids = db.insert("http://h/q", &[-5000; 240]).await;
    db.await_count("select count(*) from timers where timer_status = 'done'", ids.len()).await;
    let mut shares = Vec::new();
    for pod in pods {
        shares.push(pod.stop().await.ids().len());
    }
    assert_eq!(shares[0] + shares[1], ids.len());
    assert!(shares.iter().all(|share| *share >= ids.len() / 4), "shares: {shares:?}");
}

async fn an_id_that_stands_there_twice_is_fired_once<D: Database>(db: D) {
    let store = poor(&db).await;
    let id = Uuid::new_v4();
    let row = |due: i64| {
        let (id, due) = (D::id(id), D::now_plus(due));
        format!(
            "insert into timers (timer_id, timer_url, timer_status, timer_invoke_time) values ({id}, 'http://h/p', 'waiting', {due})"
        )
    };
    db.run(&row(-9000)).await;
    db.run(&row(-8000)).await;
    let pod = Pod::start(store.clone(), Options::default());
    db.await_count("select count(*) from timers where timer_status = 'done'", 2).await;
    // one more, when the first has ended
    db.run(&row(-7000)).await;
    db.await_count("select count(*) from timers where timer_status = 'done'", 3).await;
    assert_eq!(pod.stop().await.fired().len(), 1);
    assert_eq!(store.show(id).await.unwrap().unwrap().duplicates, 2);
}

async fn inserts_by_others_are_not_held_up<D: Database>(db: D) {
    let store = poor(&db).await;
    insert_while_claims_last(&db, store, None).await;
}

async fn inserts_into_our_own_table_are_not_held_up<D: Database>(db: D) {
    let store = db.ready().await;
    insert_while_claims_last(&db, store, Some(Duration::from_secs(3600))).await;
}

/// Inserts rows while everything that a pod does goes on, and while its claims hold their locks for half a second each.
async fn insert_while_claims_last<D: Database>(db: &D, store: D::Store, keep: Option<Duration>) {
    db.slow_down_leases(Duration::from_millis(50)).await;
    let ids = db.insert("http://h/p", &[-5000; 60]).await;
    let adopt_after = Some(Duration::from_secs(1));
    let pod = Pod::start(store, Options { batch: 10, adopt_after, keep, ..Options::default() });
    let all_fired = async || pod.recorder.fired().len() >= ids.len();
    let inserted = db.insert_impatiently("http://h/q", all_fired).await;
    assert!(inserted >= 100, "only {inserted} inserts while {} tasks were claimed", ids.len());
    pod.stop().await;
}

async fn a_time_without_zone_is_read_in_timer_zone<D: Database>(db: D) {
    db.run(D::original_table()).await;
    let store = db.store_in("+02:00", Who::Owner);
    store.prepare(Prepare::Create).await.unwrap();
    let hour = 3_600_000;
    let due = db.insert("http://h/due", &[2 * hour - 60_000]).await[0];
    db.insert("http://h/later", &[2 * hour + 60_000]).await;
    let taken = store.claim(claim(10, Duration::from_secs(30))).await.unwrap();
    assert_eq!(taken.iter().map(|task| task.lease.id).collect::<Vec<_>>(), [due]);
    assert!((-62_000_000..=-58_000_000).contains(&taken[0].due_in_micros), "{}", taken[0].due_in_micros);
    let added = |at, id| NewTask { id, url: "http://h/p".to_owned(), at, headers: vec![], body: None };
    let (instant, local) = (Uuid::new_v4(), Uuid::new_v4());
    store.add(&added(When::At(datetime!(2026-03-01 10:00 UTC)), instant)).await.unwrap();
    store.add(&added(When::Local(datetime!(2026-03-01 12:00)), local)).await.unwrap();
    for id in [instant, local] {
        let sql = format!("select timer_invoke_time from timers where timer_id = {}", D::id(id));
        assert_eq!(db.column(&sql).await, ["2026-03-01 12:00:00"]);
        assert!(store.show(id).await.unwrap().unwrap().due.starts_with("2026-03-01 10:00:00"));
    }
}

async fn whole_seconds_are_rounded_up<D: Database>(db: D) {
    let store = poor(&db).await;
    let id = Uuid::new_v4();
    let at = When::At(datetime!(2026-03-01 09:59:59.000_001 UTC));
    store.add(&NewTask { id, url: "http://h/p".to_owned(), at, headers: vec![], body: None }).await.unwrap();
    assert_eq!(db.column("select timer_invoke_time from timers").await, ["2026-03-01 10:00:00"]);
}

async fn indexes_are_added_where_the_user_may<D: Database>(db: D) {
    db.run(D::original_table()).await;
    let facts = db.ready().await.facts();
    assert!(facts.has_due_index && facts.has_id_index && !facts.has_key, "{facts:?}");
}

async fn a_table_that_cannot_work_is_refused_by_name<D: Database>(db: D) {
    db.run("create table timers (timer_id int, timer_url text, timer_status text, timer_invoke_time text)").await;
    let error = db.store().prepare(Prepare::Create).await.expect_err("refused").to_string();
    assert!(error.contains("timer_id") && !error.contains("panicked"), "{error}");
}

async fn pods_that_start_together_make_the_tables_once<D: Database>(db: D) {
    let stores: Vec<D::Store> = (0..6).map(|_| db.store()).collect();
    let made = futures_util::future::join_all(stores.iter().map(|store| store.prepare(Prepare::Create))).await;
    for made in made {
        assert!(made.expect("prepared").has_key);
    }
}

async fn null_cells_stop_nothing<D: Database>(db: D) {
    let store = poor(&db).await;
    let id = D::id(Uuid::new_v4());
    let insert = "insert into timers (timer_id, timer_url, timer_status, timer_invoke_time) values";
    let past = "'2022-01-01 00:00:00'";
    for row in [
        format!("(null, 'http://h/p', 'waiting', {past})"),
        format!("({id}, null, 'waiting', {past})"),
        format!("({}, 'http://h/p', 'waiting', null)", D::id(Uuid::new_v4())),
        format!("({}, 'http://h/p', null, {past})", D::id(Uuid::new_v4())),
        format!("({}, 'http://h/p', 'waiting', {past})", D::id(Uuid::new_v4())),
    ] {
        db.run(&format!("{insert} {row}")).await;
    }
    let pod = Pod::start(store.clone(), Options::default());
    db.await_count("select count(*) from timers where timer_status = 'done'", 2).await;
    pod.stop().await;
    assert_eq!(store.list(None, 10).await.unwrap().len(), 5);
}
