//! What a server cannot do to this program: hold an attempt, fill its memory, or take the places of others.

use super::*;
use crate::http::endpoints::Breaking;

/// A sender whose attempts last at most `ms`.
fn impatient(ms: u64) -> HttpSender {
    let limits = AttemptLimits { attempt: Duration::from_millis(ms), ..AttemptLimits::default() };
    HttpSender::new(SenderParts { limits, ..parts() })
}

#[tokio::test]
async fn a_server_that_says_nothing_or_never_ends_its_headers_is_a_time_out_and_is_left() {
    for reply in [Reply::Silence, Reply::Trickle("HTTP/1.1 200 OK\r\nx: ".into()), Reply::Trickle("HTTP/1.1 1".into())]
    {
        let script = reply.clone();
        let server = Server::start(move |_| script.clone()).await;
        // the deadline that the engine gives is a day away
        let sender = impatient(100);
        let deadline = sender.clock.monotonic() + Duration::from_secs(86_400);
        let sending = sender.send(request(&server.url("/")), deadline);
        let outcome = tokio::time::timeout(Duration::from_secs(60), sending).await.expect("ended by its own limit");
        assert!(matches!(retried(outcome), ReasonKind::Timeout | ReasonKind::BadAnswer), "{reply:?}");
        server.connection_closed().await;
    }
}

#[tokio::test]
async fn informational_answers_without_end_are_a_time_out() {
    let again = "HTTP/1.1 102 Processing\r\n\r\n".to_owned();
    let server = Server::start(move |_| Reply::Endless(String::new(), again.clone())).await;
    assert_eq!(retried(send(&impatient(200), request(&server.url("/"))).await), ReasonKind::Timeout);
    server.connection_closed().await;
}

#[tokio::test]
async fn the_deadline_of_the_lease_ends_an_attempt_too() {
    // an attempt of its own would take an hour
    let (server, sender) = (Server::start(|_| Reply::Silence).await, impatient(3_600_000));
    let deadline = sender.clock.monotonic() + Duration::from_millis(50);
    let sending = sender.send(request(&server.url("/")), deadline);
    let outcome = tokio::time::timeout(Duration::from_secs(60), sending).await.expect("ended by its deadline");
    assert_eq!(retried(outcome), ReasonKind::Timeout);
}

#[tokio::test]
async fn a_body_that_never_ends_changes_no_outcome_and_closes_the_connection() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    let plain = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_owned();
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    for reply in
        [Reply::Endless(chunked.clone(), chunk), Reply::Endless(plain.clone(), "x".repeat(1024)), Reply::Trickle(plain)]
    {
        let server = Server::start(move |_| reply.clone()).await;
        assert_eq!(send(&sender(), request(&server.url("/"))).await, DONE);
        server.connection_closed().await;
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_read_to_its_limit_whatever_the_time() {
    let limits = AttemptLimits { drain: Duration::from_secs(86_400), ..AttemptLimits::default() };
    let sender = HttpSender::new(SenderParts { limits, ..parts() });
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_owned();
    let server = Server::start(move |_| Reply::Endless(head.clone(), "x".repeat(1024))).await;
    assert_eq!(send(&sender, request(&server.url("/"))).await, DONE);
    server.connection_closed().await;
}

#[tokio::test]
async fn headers_without_measure_are_refused() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(ANSWER_HEADERS_MAX + 1));
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(2 * ANSWER_HEADERS_MAX_BYTES));
    for text in [many, long] {
        let server = Server::start(move |_| Reply::Answer(text.clone())).await;
        assert_eq!(retried(send(&sender(), request(&server.url("/"))).await), ReasonKind::BadAnswer);
    }
    let server = Server::start(|_| Reply::Endless("HTTP/1.1 200 OK\r\nx: ".into(), "y".repeat(1024))).await;
    assert_eq!(retried(send(&sender(), request(&server.url("/"))).await), ReasonKind::BadAnswer);
    server.connection_closed().await;
}

#[tokio::test]
async fn a_small_answer_is_read_and_its_connection_is_used_again() {
    let body = "x".repeat(ANSWER_MAX_BYTES);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (server, sender) = (Server::start(move |_| Reply::Answer(answer.clone())).await, sender());
    for _ in 0..3 {
        assert_eq!(send(&sender, request(&server.url("/"))).await, DONE);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_old_connection_is_not_used_again() {
    let limits = AttemptLimits { connection_age: Duration::ZERO, ..AttemptLimits::default() };
    let (server, sender) = (Server::start(|_| status(200)).await, HttpSender::new(SenderParts { limits, ..parts() }));
    for _ in 0..3 {
        assert_eq!(send(&sender, request(&server.url("/"))).await, DONE);
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_connection_that_the_server_closes_under_the_request_is_replaced_once() {
    let close = || Reply::AnswerAndClose(String::new());
    let script = move |number| if number == 1 { close() } else { status(200) };
    let (server, sender) = (Server::start(script).await, sender());
    for _ in 0..2 {
        assert_eq!(send(&sender, request(&server.url("/"))).await, DONE);
    }
    // answered; closed, and sent again
    assert_eq!((server.requests().len(), server.connections()), (3, 2));
    let server = Server::start(move |number| if number == 0 { status(200) } else { close() }).await;
    assert_eq!(send(&sender, request(&server.url("/"))).await, DONE);
    assert_eq!(retried(send(&sender, request(&server.url("/"))).await), ReasonKind::Reset);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn requests_beyond_the_hosts_places_wait_and_others_do_not() {
    let slow = || Reply::Slow(Duration::from_millis(30), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into());
    let (busy, other) = (Server::start(move |_| slow()).await, Server::start(|_| status(200)).await);
    let concurrency = Concurrency { total: 100, per_host: 2, breaker: Breaking::On };
    let sender =
        HttpSender::new(SenderParts { endpoints: Endpoints::new(EndpointGroups::default(), concurrency), ..parts() });
    let (busy_url, other_url) = (busy.url("/"), other.url("/"));
    let sent: Vec<_> = (0..7)
        .map(|number| {
            let (sender, url) = (sender.clone(), format!("{busy_url}{number}"));
            tokio::spawn(async move { send(&sender, request(&url)).await })
        })
        .collect();
    assert_eq!(send(&sender, request(&other_url)).await, DONE);
    for one in sent {
        assert_eq!(one.await.expect("sent"), DONE);
    }
    assert_eq!((busy.most_at_once(), sender.endpoints().in_flight()), (2, 0));
}

#[tokio::test]
async fn an_attempt_that_is_given_up_gives_its_place_back() {
    let server = Server::start(|_| Reply::Silence).await;
    let concurrency = Concurrency { total: 1, per_host: 1, breaker: Breaking::On };
    let sender =
        HttpSender::new(SenderParts { endpoints: Endpoints::new(EndpointGroups::default(), concurrency), ..parts() });
    let endpoint = sender.endpoint_of(&server.url("/"));
    let sending = tokio::spawn({
        let (sender, url) = (sender.clone(), server.url("/"));
        async move { send(&sender, request(&url)).await }
    });
    while sender.has_room(&endpoint) {
        tokio::task::yield_now().await;
    }
    let woken = tokio::spawn({
        let sender = sender.clone();
        async move { sender.room_changed().await }
    });
    tokio::task::yield_now().await;
    sending.abort();
    woken.await.expect("woken");
    assert!(sender.has_room(&endpoint));
}
