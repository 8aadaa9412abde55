//! The table of outcomes: what a server does, what becomes of the task.

use tokio::net::{TcpListener, TcpSocket};

use super::*;
use crate::http::endpoints::FAILURES_TO_OPEN;
use crate::http::resolve::fake::{Answers, Silence};

#[tokio::test]
async fn every_class_of_status_has_its_outcome_and_no_redirect_is_followed() {
    let elsewhere = Server::start(|_| status(200)).await;
    let location = elsewhere.url("/there");
    for (code, expected) in [
        (101, "failed"),
        (200, "done"),
        (201, "done"),
        (204, "done"),
        (226, "done"),
        (301, "failed"),
        (302, "failed"),
        (303, "failed"),
        (304, "failed"),
        (307, "failed"),
        (308, "failed"),
        (400, "failed"),
        (401, "failed"),
        (403, "failed"),
        (404, "failed"),
        (408, "retry"),
        (409, "failed"),
        (410, "gone"),
        (422, "failed"),
        (425, "retry"),
        (429, "retry"),
        (500, "retry"),
        (501, "retry"),
        (502, "retry"),
        (503, "retry"),
        (504, "retry"),
        (599, "retry"),
        (600, "failed"),
    ] {
        let length = if code == 204 || code == 304 { "" } else { "content-length: 0\r\n" };
        let answer = format!("HTTP/1.1 {code} X\r\nlocation: {location}\r\n{length}\r\n");
        let server = Server::start(move |_| Reply::Answer(answer.clone())).await;
        let outcome = match send(&sender(), request(&server.url("/x"))).await {
            Outcome::Done { status } if status == code => "done",
            Outcome::Failed { reason } if reason.status == Some(code) => "failed",
            Outcome::Retry { reason, .. } if reason.status == Some(code) => "retry",
            Outcome::EndpointGone { reason } if reason.status == Some(code) => "gone",
            other => panic!("{code}: {other:?}"),
        };
        assert_eq!(outcome, expected, "{code}");
        assert_eq!(server.requests().len(), 1, "{code}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn informational_answers_are_passed_over() {
    let server = Server::start(|_| {
        Reply::Answer(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
                .into(),
        )
    });
    assert_eq!(send(&sender(), request(&server.await.url("/"))).await, DONE);
}

#[tokio::test]
async fn retry_after_comes_with_the_outcome() {
    let server =
        Server::start(|_| Reply::Answer("HTTP/1.1 429 X\r\nRetry-After: 17\r\ncontent-length: 0\r\n\r\n".into())).await;
    let Outcome::Retry { after, .. } = send(&sender(), request(&server.url("/"))).await else { panic!("no retry") };
    assert_eq!(after, Some(Duration::from_secs(17)));
}

#[tokio::test]
async fn a_refused_connection_is_retried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let outcome = send(&sender(), request(&format!("http://{address}/"))).await;
    assert_eq!(retried(outcome.clone()), ReasonKind::Connect);
    assert!(format!("{outcome:?}").contains("the connection was refused"));
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_is_retried_and_was_sent_once() {
    let close = |text: &str| Reply::AnswerAndClose(text.to_owned());
    for reply in [Reply::Reset, close(""), close("HTTP/1.1 200 O"), close("HTTP/1.1 200 OK\r\nx: y\r\n")] {
        let script = reply.clone();
        let server = Server::start(move |_| script.clone()).await;
        let outcome = send(&sender(), request(&server.url("/"))).await;
        assert_eq!(retried(outcome), ReasonKind::Reset, "{reply:?}");
        assert_eq!(server.requests().len(), 1, "{reply:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_retried() {
    for text in ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/2.0 200 OK\r\n\r\n", "\0\0\0\0\0\0\0\0", "HTTP/1.1 abc X\r\n\r\n"] {
        let server = Server::start(move |_| Reply::Answer(text.to_owned())).await;
        let outcome = send(&sender(), request(&server.url("/"))).await;
        assert_eq!(retried(outcome), ReasonKind::BadAnswer, "{text:?}");
    }
}

#[tokio::test]
async fn the_published_limits_are_the_contracts() {
    let limits = AttemptLimits::default();
    assert_eq!((limits.connect, limits.attempt), (Duration::from_secs(5), Duration::from_secs(15)));
    assert_eq!(ANSWER_MAX_BYTES, 16 * 1024);
}

#[tokio::test]
async fn a_name_without_an_answer_is_retried() {
    let sender = HttpSender::new(SenderParts { resolver: Answers::new(&[None]), ..parts() });
    let outcome = send(&sender, request("http://nowhere.example/")).await;
    assert_eq!(retried(outcome), ReasonKind::Dns);
    let sender = HttpSender::new(SenderParts { resolver: Answers::new(&[Some(&[])]), ..parts() });
    assert_eq!(retried(send(&sender, request("http://nowhere.example/")).await), ReasonKind::Dns);
}

#[tokio::test]
async fn a_silent_name_server_is_a_time_out() {
    let limits = AttemptLimits { connect: Duration::from_millis(50), ..AttemptLimits::default() };
    let sender = HttpSender::new(SenderParts { resolver: Arc::new(Silence), limits, ..parts() });
    let outcome = send(&sender, request("http://nowhere.example/")).await;
    assert!(format!("{outcome:?}").contains("there was no connection within 0.05 s"), "{outcome:?}");
    assert_eq!(retried(outcome), ReasonKind::Timeout);
}

#[tokio::test]
async fn a_server_that_does_not_accept_is_a_time_out() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut held = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await
    {
        held.push(connected.expect("a connection"));
    }
    let limits = AttemptLimits { connect: Duration::from_millis(100), ..AttemptLimits::default() };
    let sender = HttpSender::new(SenderParts { limits, ..parts() });
    let outcome = send(&sender, request(&format!("http://{address}/"))).await;
    assert!(format!("{outcome:?}").contains("there was no connection within 0.1 s"), "{outcome:?}");
}

#[tokio::test]
async fn a_bad_task_fails_without_a_connection() {
    let server = Server::start(|_| status(200)).await;
    let with = |headers: &[(&str, &str)], body: Option<Bytes>| Request {
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body,
        ..request(&server.url("/"))
    };
    for (request, kind) in [
        (request(""), ReasonKind::BadUrl),
        (request("h/x"), ReasonKind::BadUrl),
        (request("ftp://127.0.0.1/"), ReasonKind::Scheme),
        (request(&server.url("/").replace("http", "gopher")), ReasonKind::Scheme),
        (request(&server.url("/").replace("127", "user:pw@127")), ReasonKind::UserInfo),
        (request("queue:heavy/topic"), ReasonKind::Queue),
        (with(&[("host", "evil")], None), ReasonKind::BadHeader),
        (with(&[("x", "a\r\nhost: evil")], None), ReasonKind::BadHeader),
        (with(&[], Some(vec![0; payload::BODY_MAX_BYTES + 1].into())), ReasonKind::BadBody),
    ] {
        let Outcome::Failed { reason } = send(&sender(), request.clone()).await else { panic!("{request:?}") };
        assert_eq!(reason.kind, kind, "{request:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_endpoint_that_answered_410_gets_nothing_until_it_is_enabled() {
    let server = Server::start(|number| status(if number == 0 { 410 } else { 200 })).await;
    let (sender, url) = (sender(), server.url("/gone"));
    assert!(matches!(send(&sender, request(&url)).await, Outcome::EndpointGone { .. }));
    let Outcome::Failed { reason } = send(&sender, request(&format!("{url}?x=1"))).await else { panic!("not failed") };
    assert_eq!((reason.kind, server.requests().len()), (ReasonKind::EndpointGone, 1));
    assert_eq!(send(&sender, request(&server.url("/other"))).await, DONE);
    sender.endpoints().set_disabled([].into());
    assert_eq!(send(&sender, request(&url)).await, DONE);
}

#[tokio::test]
async fn a_dead_server_is_left_alone_and_probed_until_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let clock = Clock::fixed(time::macros::datetime!(2026-01-01 00:00 UTC));
    let sender = HttpSender::new(SenderParts { clock: clock.clone(), ..parts() });
    let url = format!("http://{address}/");
    for _ in 0..FAILURES_TO_OPEN {
        assert_eq!(retried(send(&sender, request(&url)).await), ReasonKind::Connect);
    }
    let endpoint = sender.endpoint_of(&url);
    assert!(!sender.has_room(&endpoint));
    let Outcome::Retry { reason, after } = send(&sender, request(&url)).await else { panic!("no retry") };
    assert_eq!((reason.kind, after), (ReasonKind::Breaker, Some(OPEN_FIRST)));
    let server = Server::start_at(&address, |_| status(200), None).await;
    clock.advance(OPEN_FIRST);
    assert!(sender.has_room(&endpoint));
    assert_eq!(send(&sender, request(&url)).await, DONE);
    assert_eq!((server.requests().len(), sender.has_room(&endpoint)), (1, true));
}
