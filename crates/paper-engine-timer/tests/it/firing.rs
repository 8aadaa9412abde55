//! Tests that due tasks are fired, at their time, once, and what their outcomes lead to.

use std::time::Duration;

use paper_engine_timer::engine::Options;
use paper_engine_timer::store::Store;
use paper_engine_timer::task::{NewTask, When};
use uuid::Uuid;

use crate::support::database::Database;
use crate::support::recorder::{Fired, Recorder, micros};
use crate::support::timed::Timed;
use crate::support::{Pod, on_both};

on_both!(
    due_tasks_are_fired_once_and_done,
    no_task_is_fired_early,
    dates_long_past_are_due,
    outcomes_become_states,
    a_schedule_of_retries_is_followed,
    an_endpoint_without_room_delays_nobody,
    a_busy_endpoint_with_a_long_queue_is_never_left_idle,
    a_gone_endpoint_gets_no_further_requests,
    headers_and_body_come_with_the_task,
    ended_tasks_are_removed_after_their_time,
    a_task_that_is_set_to_waiting_again_is_fired_again,
);

fn quick(retries: &str) -> Options {
    Options { schedule: retries.parse().unwrap(), ..Options::default() }
}

async fn due_tasks_are_fired_once_and_done<D: Database>(db: D) {
    let store = db.ready().await;
    let ids = db.insert("http://h/p", &[-50; 250]).await;
    let pod = Pod::start(store, Options { batch: 20, ..Options::default() });
    db.await_count("select count(*) from timers where timer_status = 'done'", ids.len()).await;
    let recorder = pod.stop().await;
    let times = recorder.times();
    assert_eq!(times.len(), ids.len());
    assert!(ids.iter().all(|id| times.get(&id.to_string()) == Some(&1)), "each once: {times:?}");
    assert_eq!(recorder.fired()[0].request.target(), format!("http://h/p/{}", recorder.ids()[0]));
}

/// By the database's clock, twice. The answer to a claim says how far its tasks are ahead of the database's present time, and that is
/// before the answer arrives: whoever fires sooner than so long after its arrival is early, however slow the claim was. And where
/// the database's clock stands when a request is sent is known to within the shortest of many round trips.
async fn no_task_is_fired_early<D: Database>(db: D) {
    let store = Timed::new(db.ready().await);
    let pod = Pod::start(store.clone(), Options::default());
    pod.await_ready().await;
    let dues: Vec<i64> = (0..200).map(|number| 100 + number * 17).collect();
    db.insert("http://h/p", &dues).await;
    let database_is_ahead_by = db.clock_is_ahead_by().await;
    pod.recorder.await_fired(dues.len()).await;
    let fired = pod.stop().await.fired();
    let deadlines = store.deadlines();
    let early = |fired: &&Fired| fired.instant < deadlines[&fired.request.task_id];
    assert_eq!(fired.iter().filter(early).count(), 0, "fired before the deadline that the database gave");
    let due = db.dues().await;
    let early = |fired: &Fired| due[&fired.request.task_id] - (micros(fired.at) + database_is_ahead_by);
    let early: Vec<i64> = fired.iter().map(early).filter(|early| *early > 0).collect();
    assert_eq!((fired.len(), early), (dues.len(), vec![]), "microseconds too early");
}

async fn dates_long_past_are_due<D: Database>(db: D) {
    let store = db.ready().await;
    for date in ["1090-05-01 00:00:00", "2022-01-01 12:00:00"] {
        let id = D::id(Uuid::new_v4());
        db.run(&format!("insert into timers (timer_id, timer_url, timer_status, timer_invoke_time) values ({id}, 'http://h/p', 'waiting', '{date}')"))
            .await;
    }
    let pod = Pod::start(store, Options::default());
    db.await_count("select count(*) from timers where timer_status = 'done'", 2).await;
    assert_eq!(pod.stop().await.fired().len(), 2);
}

async fn outcomes_become_states<D: Database>(db: D) {
    let store = db.ready().await;
    let mut wanted = Vec::new();
    for (path, state, status) in [
        ("good", "done", "done"),
        ("bad", "failed", "failed"),
        ("down", "failed", "failed"),
        ("private", "refused", "failed"),
    ] {
        wanted.push((db.insert(&format!("http://h/{path}"), &[-10]).await[0], state, status));
    }
    let pod = Pod::start(store.clone(), quick("none"));
    db.await_count("select count(*) from timer_attempts where finished_at is not null", wanted.len()).await;
    pod.stop().await;
    for (id, state, status) in wanted {
        let shown = store.show(id).await.unwrap().unwrap();
        assert_eq!((shown.state.as_str(), shown.attempts), (state, 1), "{shown:?}");
        let found = db.column(&format!("select timer_status from timers where timer_id = {}", D::id(id))).await;
        assert_eq!(found, [status]);
        assert_eq!(shown.reason.is_some(), state != "done", "{shown:?}");
    }
}

async fn a_schedule_of_retries_is_followed<D: Database>(db: D) {
    let store = db.ready().await;
    let third = db.insert("http://h/third", &[-10]).await[0];
    let down = db.insert("http://h/down", &[-10]).await[0];
    let pod = Pod::start(store.clone(), quick("10ms,20ms,30ms"));
    db.await_count("select count(*) from timers where timer_status in ('done', 'failed')", 2).await;
    let times = pod.stop().await.times();
    let (third_shown, down_shown) =
        (store.show(third).await.unwrap().unwrap(), store.show(down).await.unwrap().unwrap());
    assert_eq!((third_shown.state.as_str(), third_shown.attempts, times[&third.to_string()]), ("done", 3, 3));
    assert_eq!((down_shown.state.as_str(), down_shown.attempts, times[&down.to_string()]), ("failed", 4, 4));
    assert_eq!(down_shown.status, Some(503));
}

async fn an_endpoint_without_room_delays_nobody<D: Database>(db: D) {
    let store = db.ready().await;
    // the dead ones are due first and are many more than one claim takes or memory holds
    db.insert("http://dead/p", &[-5000; 300]).await;
    db.insert("http://h/p", &[-100; 40]).await;
    let recorder = Recorder::default();
    recorder.fill("http://dead/p");
    let options = Options { batch: 20, waiting_max: 10, held_max: 60, ..Options::default() };
    let pod = Pod::start_with(store, options, recorder);
    db.await_count("select count(*) from timers where timer_status = 'done'", 40).await;
    assert!(pod.recorder.fired().iter().all(|fired| fired.request.url == "http://h/p"));
    db.await_count("select count(*) from timer_attempts where state = 'parked'", 300).await;
    pod.recorder.free("http://dead/p");
    db.await_count("select count(*) from timers where timer_status = 'done'", 340).await;
    let times = pod.stop().await.times();
    assert_eq!((times.len(), times.values().max()), (340, Some(&1)));
}

async fn a_busy_endpoint_with_a_long_queue_is_never_left_idle<D: Database>(db: D) {
    let store = db.ready().await;
    db.insert("http://h/narrow", &[-10; 600]).await;
    // a pod that waited for its tick would not end
    let options = Options { batch: 50, waiting_max: 16, tick: Duration::from_secs(3600), ..Options::default() };
    let pod = Pod::start(store, options);
    db.await_count("select count(*) from timers where timer_status = 'done'", 600).await;
    let times = pod.stop().await.times();
    assert_eq!((times.len(), times.values().max()), (600, Some(&1)));
}

async fn a_gone_endpoint_gets_no_further_requests<D: Database>(db: D) {
    let store = db.ready().await;
    db.insert("http://h/gone", &[-10]).await;
    let pod = Pod::start(store.clone(), quick("1h"));
    db.await_count("select count(*) from timer_endpoints", 1).await;
    // a claim that was under way when the endpoint was written down may still take the first of these, never the second
    db.insert("http://h/gone", &[-10]).await;
    db.await_count("select count(*) from timers where timer_status = 'failed'", 2).await;
    let later = db.insert("http://h/gone", &[-10]).await[0];
    db.await_count("select count(*) from timers where timer_status = 'failed'", 3).await;
    assert!(!pod.stop().await.ids().contains(&later.to_string()));
    let shown = store.show(later).await.unwrap().unwrap();
    assert_eq!(shown.reason_kind.as_deref(), Some("endpoint_gone"), "{shown:?}");
    assert!(store.enable_endpoint("http://h/gone").await.unwrap());
    assert!(!store.enable_endpoint("http://h/gone").await.unwrap());
    assert_eq!(store.retry_all("failed").await.unwrap(), 3);
    let pod = Pod::start(store, quick("1h"));
    pod.recorder.await_fired(1).await;
    pod.stop().await;
}

async fn headers_and_body_come_with_the_task<D: Database>(db: D) {
    let store = db.ready().await;
    let id = Uuid::new_v4();
    let headers = vec![("X-A".to_owned(), "b'\"\\ é".to_owned())];
    let body = Some(bytes::Bytes::from_static(b"\0'\\body"));
    let task = NewTask { id, url: "http://h/p?q=1".to_owned(), at: When::In(Duration::ZERO), headers, body };
    store.add(&task).await.unwrap();
    let pod = Pod::start(store, Options::default());
    pod.recorder.await_fired(1).await;
    let fired = pod.stop().await.fired().remove(0).request;
    assert_eq!((fired.headers.clone(), fired.body.clone()), (task.headers, task.body));
    assert_eq!(fired.target(), format!("http://h/p/{id}?q=1"));
}

async fn ended_tasks_are_removed_after_their_time<D: Database>(db: D) {
    let store = db.ready().await;
    db.insert("http://h/p", &[-10; 30]).await;
    let pod = Pod::start(store.clone(), Options::default());
    db.await_count("select count(*) from timers where timer_status = 'done'", 30).await;
    pod.stop().await;
    db.insert("http://h/p", &[3_600_000]).await;
    assert_eq!(store.purge(Duration::from_secs(3600), 1000).await.unwrap(), 0);
    let foreign = "insert into timers (timer_id, timer_url, timer_status, timer_invoke_time)";
    db.run(&format!("{foreign} values ({}, 'http://h/p', 'done', '2022-01-01 00:00:00')", D::id(Uuid::new_v4()))).await;
    let mut removed = 0;
    for _ in 0..10 {
        removed += store.purge(Duration::ZERO, 20).await.unwrap();
    }
    assert_eq!(removed, 31);
    assert_eq!(db.column("select count(*) from timers").await, ["1"]);
    assert_eq!(db.column("select count(*) from timer_attempts").await, ["0"]);
}

async fn a_task_that_is_set_to_waiting_again_is_fired_again<D: Database>(db: D) {
    let store = db.ready().await;
    db.insert("http://h/bad", &[-10]).await;
    let pod = Pod::start(store, quick("none"));
    db.await_count("select count(*) from timers where timer_status = 'failed'", 1).await;
    db.run("update timers set timer_status = 'waiting', timer_url = 'http://h/good'").await;
    db.await_count("select count(*) from timers where timer_status = 'done'", 1).await;
    assert_eq!(pod.stop().await.fired().len(), 2);
}
