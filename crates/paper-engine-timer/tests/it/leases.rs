//! Tests that several pods share the work, and that what one of them leaves behind is fired by another.

use std::time::Duration;

use paper_engine_timer::engine::Options;
use paper_engine_timer::store::Store;
use paper_engine_timer::task::{Completion, End, Steered};
use uuid::Uuid;

use crate::support::database::Database;
use crate::support::{Pod, claim, on_both};

on_both!(
    two_pods_share_the_work,
    an_expired_lease_is_another_pods_and_the_first_can_no_longer_complete_it,
    a_pod_that_dies_loses_nothing,
    a_lease_that_ends_too_soon_fires_nothing,
    a_stopping_pod_gives_back_what_it_has_not_started,
    a_held_task_stays_held_beyond_one_lease,
    a_claimed_task_cannot_be_cancelled,
    rows_that_execute_without_a_lease_are_adopted_only_when_asked,
);

const DONE: End = End::Done { status: 200 };

fn completion(lease: paper_engine_timer::task::Lease) -> Completion {
    Completion { lease, endpoint: String::new(), end: DONE }
}

async fn two_pods_share_the_work<D: Database>(db: D) {
    let (first, second) = (db.ready().await, db.ready().await);
    let options = || Options { batch: 10, held_max: 20, ..Options::default() };
    let pods = [Pod::start(first, options()), Pod::start(second, options())];
    for pod in &pods {
        pod.await_ready().await;
    }
    let ids = db.insert("http://h/slow", &[-10; 800]).await;
    db.await_count("select count(*) from timers where timer_status = 'done'", ids.len()).await;
    let mut shares = Vec::new();
    for pod in pods {
        shares.push(pod.stop().await.ids());
    }
    let (a, b) = (shares[0].len(), shares[1].len());
    assert_eq!(a + b, ids.len(), "each once");
    assert!(a >= 200 && b >= 200, "shares: {a} and {b}");
}

async fn an_expired_lease_is_another_pods_and_the_first_can_no_longer_complete_it<D: Database>(db: D) {
    let store = db.ready().await;
    db.insert("http://h/p", &[-10]).await;
    let first = claim(10, Duration::from_millis(50));
    let taken = store.claim(first).await.unwrap();
    assert_eq!(taken.len(), 1);
    let second = claim(10, Duration::from_secs(30));
    let retaken = loop {
        let retaken = store.claim(second).await.unwrap();
        if !retaken.is_empty() {
            break retaken;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(retaken[0].lease.id, taken[0].lease.id);
    assert!(retaken[0].lease.token > taken[0].lease.token, "the token grows");
    assert!(store.complete(first.holder, &[completion(taken[0].lease)]).await.unwrap().is_empty());
    assert!(store.complete(second.holder, &[completion(taken[0].lease)]).await.unwrap().is_empty(), "an old token");
    assert!(store.extend(first.holder, &[taken[0].lease], Duration::from_secs(9)).await.unwrap().is_empty());
    assert_eq!(store.give_back(first.holder, &[(taken[0].lease, Duration::ZERO)]).await.unwrap(), 0);
    assert_eq!(db.count_of("executing").await, 1);
    assert_eq!(store.complete(second.holder, &[completion(retaken[0].lease)]).await.unwrap(), [retaken[0].lease]);
    assert_eq!(db.count_of("done").await, 1);
}

async fn a_pod_that_dies_loses_nothing<D: Database>(db: D) {
    let store = db.ready().await;
    let ids = db.insert("http://h/stuck", &[-10; 30]).await;
    let options = Options {
        lease: Duration::from_millis(1500),
        attempt_timeout: Duration::from_millis(300),
        ..Options::default()
    };
    let pod = Pod::start(store.clone(), options.clone());
    pod.recorder.await_fired(ids.len()).await;
    pod.abort().await;
    db.run("update timer_attempts set timer_url = 'http://h/p'").await;
    let pod = Pod::start(store, options);
    db.await_count("select count(*) from timers where timer_status = 'done'", ids.len()).await;
    assert_eq!(pod.stop().await.times().values().max(), Some(&1));
}

async fn a_lease_that_ends_too_soon_fires_nothing<D: Database>(db: D) {
    let store = db.ready().await;
    db.insert("http://h/p", &[-10; 5]).await;
    // each attempt may take longer than the lease lasts, as after a freeze
    let options =
        Options { lease: Duration::from_secs(1), attempt_timeout: Duration::from_secs(2), ..Options::default() };
    let pod = Pod::start(store, options);
    db.await_count("select count(*) from timer_attempts where state = 'leased'", 5).await;
    while !pod.metrics.text().contains("lost_leases_total 5") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(pod.stop().await.fired().is_empty());
}

async fn a_stopping_pod_gives_back_what_it_has_not_started<D: Database>(db: D) {
    let store = db.ready().await;
    let pod = Pod::start(store.clone(), Options { ahead: Duration::from_secs(3600), ..Options::default() });
    db.insert("http://h/p", &[600_000; 7]).await;
    db.await_count("select count(*) from timer_attempts where state = 'leased'", 7).await;
    assert!(pod.stop().await.fired().is_empty());
    assert_eq!(db.count_of("waiting").await, 7);
    assert_eq!(db.column("select count(*) from timer_attempts").await, ["0"]);
}

async fn a_held_task_stays_held_beyond_one_lease<D: Database>(db: D) {
    let store = db.ready().await;
    let options = Options {
        ahead: Duration::from_secs(10),
        lease: Duration::from_millis(900),
        attempt_timeout: Duration::from_millis(100),
        ..Options::default()
    };
    let pods = [Pod::start(store.clone(), options.clone()), Pod::start(db.ready().await, options)];
    db.insert("http://h/p", &[4000; 5]).await;
    db.await_count("select count(*) from timers where timer_status = 'done'", 5).await;
    let tokens = db.column("select max(attempts) from timer_attempts").await;
    let [first, second] = pods;
    let (first, second) = (first.stop().await.ids().len(), second.stop().await.ids().len());
    assert_eq!((first + second, tokens), (5, vec!["1".to_owned()]));
}

async fn a_claimed_task_cannot_be_cancelled<D: Database>(db: D) {
    let store = db.ready().await;
    let claimed = db.insert("http://h/p", &[-10]).await[0];
    let pod = claim(1, Duration::from_secs(30));
    let lease = store.claim(pod).await.unwrap()[0].lease;
    let waiting = db.insert("http://h/p", &[60_000]).await[0];
    assert_eq!(store.cancel(claimed).await.unwrap(), Steered::Claimed);
    assert_eq!(store.cancel(waiting).await.unwrap(), Steered::Done);
    assert_eq!(store.cancel(waiting).await.unwrap(), Steered::Not("cancelled"));
    assert_eq!(store.cancel(Uuid::new_v4()).await.unwrap(), Steered::Unknown);
    assert_eq!(store.show(waiting).await.unwrap().unwrap().state, "cancelled");
    store.complete(pod.holder, &[completion(lease)]).await.unwrap();
    assert_eq!(store.cancel(claimed).await.unwrap(), Steered::Not("done"));
    assert_eq!(store.retry(claimed).await.unwrap(), Steered::Not("done"));
    assert_eq!(store.retry(waiting).await.unwrap(), Steered::Done);
    let again = store.claim(claim(5, Duration::from_secs(30))).await.unwrap();
    assert_eq!(again.iter().map(|task| task.lease.id).collect::<Vec<_>>(), [waiting]);
}

async fn rows_that_execute_without_a_lease_are_adopted_only_when_asked<D: Database>(db: D) {
    let store = db.ready().await;
    db.insert("http://h/p", &[-60_000; 3]).await;
    db.run("update timers set timer_status = 'executing'").await;
    let pod = Pod::start(store.clone(), Options::default());
    db.insert("http://h/q", &[-10]).await;
    db.await_count("select count(*) from timers where timer_status = 'done'", 1).await;
    pod.stop().await;
    assert_eq!(db.count_of("executing").await, 3);
    let young = Options { adopt_after: Some(Duration::from_secs(3600)), ..Options::default() };
    let pod = Pod::start(store.clone(), young);
    db.insert("http://h/q", &[-10]).await;
    db.await_count("select count(*) from timers where timer_status = 'done'", 2).await;
    pod.stop().await;
    assert_eq!(db.count_of("executing").await, 3);
    let pod = Pod::start(store, Options { adopt_after: Some(Duration::from_secs(10)), ..Options::default() });
    db.await_count("select count(*) from timers where timer_status = 'done'", 5).await;
    assert_eq!(pod.stop().await.fired().len(), 3);
}
