//! Tests of the registry: what one endpoint does must not reach another.

use std::time::Duration;

use super::*;

#[allow(clippy::disallowed_methods, reason = "an Instant can only be had from now()")]
fn now() -> Instant {
    Instant::now()
}

fn endpoints(total: usize, per_host: usize) -> Endpoints {
    Endpoints::new(EndpointGroups::default(), Concurrency { total, per_host, breaker: Breaking::On })
}

fn fail(endpoints: &Endpoints, endpoint: &Endpoint, times: u32, now: Instant) {
    for _ in 0..times {
        endpoints.start(endpoint, now).expect("room").finish(Verdict::Failing, Verdict::Unknown, now);
    }
}

#[test]
fn an_endpoint_is_the_url_without_query_or_its_group() {
    let endpoints = endpoints(9, 9);
    for (url, name) in [
        ("http://H:80/a?token=1", "http://h/a"),
        ("https://h:443/a/../b#f", "https://h/b"),
        ("http://h", "http://h/"),
        ("http://u:p@h/", UNUSABLE),
        ("nonsense", UNUSABLE),
    ] {
        assert_eq!(endpoints.endpoint_of(url).as_str(), name, "{url}");
    }
    assert_eq!(origin(&Endpoint::new("https://h:81/a//b")), "https://h:81");
    assert_eq!(origin(&Endpoint::new(UNUSABLE)), UNUSABLE);
}

#[test]
fn a_full_host_leaves_room_for_others_until_the_total_is_reached() {
    let (now, endpoints) = (now(), endpoints(5, 3));
    let [one, same_host, other] = ["http://a/1", "http://a/2", "http://b/"].map(Endpoint::new);
    let held: Vec<_> = [&one, &one, &same_host].map(|endpoint| endpoints.start(endpoint, now).expect("room")).into();
    assert!(!endpoints.has_room(&one, now) && !endpoints.has_room(&same_host, now));
    let others: Vec<_> = [&other, &other].map(|endpoint| endpoints.start(endpoint, now).expect("room")).into();
    assert_eq!(endpoints.start(&other, now).err(), Some(NoRoom::Full));
    assert_eq!(endpoints.in_flight(), 5);
    drop((held, others));
    assert!(endpoints.in_flight() == 0 && endpoints.has_room(&one, now));
}

#[test]
fn a_dead_host_is_left_alone_and_its_neighbour_is_not() {
    let (begun, endpoints) = (now(), endpoints(99, 99));
    let [dead, same_host, other] = ["http://a/1", "http://a/2", "http://b/"].map(Endpoint::new);
    fail(&endpoints, &dead, FAILURES_TO_OPEN, begun);
    assert!(matches!(endpoints.start(&same_host, begun), Err(NoRoom::Broken(Some(_)))));
    assert!(endpoints.has_room(&other, begun));
    assert_eq!(endpoints.broken(begun), ["http://a"]);
    let at = endpoints.next_opening(begun).expect("an opening");
    let probe = endpoints.start(&same_host, at).expect("a probe");
    assert!(matches!(endpoints.start(&dead, at), Err(NoRoom::Broken(None))));
    probe.finish(Verdict::Alive, Verdict::Alive, at);
    assert!(endpoints.has_room(&dead, at));
}

#[test]
fn a_throttling_endpoint_does_not_close_its_host() {
    let (now, endpoints) = (now(), endpoints(99, 99));
    let [busy, same_host] = ["http://a/1", "http://a/2"].map(Endpoint::new);
    for _ in 0..FAILURES_TO_OPEN {
        endpoints.start(&busy, now).expect("room").finish(Verdict::Alive, Verdict::Failing, now);
    }
    assert!(!endpoints.has_room(&busy, now) && endpoints.has_room(&same_host, now));
}

#[test]
fn without_retries_no_breaker_keeps_a_task_back() {
    let concurrency = Concurrency { breaker: Breaking::Off, ..Concurrency::default() };
    let (now, endpoints) = (now(), Endpoints::new(EndpointGroups::default(), concurrency));
    let dead = Endpoint::new("http://a/");
    fail(&endpoints, &dead, 10 * FAILURES_TO_OPEN, now);
    assert!(endpoints.has_room(&dead, now));
}

#[test]
fn endpoints_that_work_are_forgotten_and_failing_ones_are_bounded() {
    let (now, endpoints) = (now(), endpoints(9, 9));
    for number in 0..100 {
        let endpoint = Endpoint::new(&format!("http://h/{number}"));
        endpoints.start(&endpoint, now).expect("room").finish(Verdict::Alive, Verdict::Alive, now);
    }
    assert!(endpoints.lock().endpoints.is_empty());
    assert!(endpoints.lock().hosts.is_empty());
    for number in 0..2 * REMEMBERED_MAX {
        let endpoint = Endpoint::new(&format!("http://h{number}/"));
        endpoints.start(&endpoint, now).expect("room").finish(Verdict::Failing, Verdict::Failing, now);
    }
    let state = endpoints.lock();
    assert!(state.endpoints.len() <= REMEMBERED_MAX && state.hosts.len() <= REMEMBERED_MAX);
}

#[test]
fn a_groups_concurrency_and_rate_are_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("endpoints.toml");
    std::fs::write(&path, "[[endpoint]]\nprefix = \"http://a/slow\"\nconcurrency = 1\n[[endpoint]]\nprefix = \"http://a/fast\"\nconcurrency = 5\nrate = 1000\n").expect("written");
    let groups = EndpointGroups::load(&path).expect("groups");
    let (begun, endpoints) =
        (now(), Endpoints::new(groups, Concurrency { total: 99, per_host: 2, breaker: Breaking::On }));
    let [slow, fast] = ["http://a/slow/1", "http://a/fast/1"].map(|url| endpoints.endpoint_of(url));
    let _held = endpoints.start(&slow, begun).expect("room");
    assert!(!endpoints.has_room(&slow, begun));
    let mut permits = Vec::new();
    for ms in 0..4 {
        permits.push(endpoints.start(&fast, begun + Duration::from_millis(100 * ms)).expect("room beyond the host's"));
    }
    assert!(!endpoints.has_room(&fast, begun + Duration::from_secs(9)));
}

#[tokio::test]
async fn whoever_waits_for_room_is_woken_when_a_request_ends() {
    let endpoints = endpoints(1, 1);
    let permit = endpoints.start(&Endpoint::new("http://a/"), now()).expect("room");
    let waiting = endpoints.request_ended();
    tokio::pin!(waiting);
    assert!(futures_poll(&mut waiting).await.is_none());
    drop(permit);
    waiting.await;
}

/// Polls a future once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::select! { biased; output = future => Some(output), () = std::future::ready(()) => None }
}
