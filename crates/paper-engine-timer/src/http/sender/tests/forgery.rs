//! The table of request forgery, row by row: what a task may try, and that no connection comes of it.

use super::*;
use crate::http::resolve::fake::Answers;

fn refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { reason } if reason.kind == ReasonKind::PrivateAddress)
}

/// A sender with an `ALLOW_PRIVATE` and an answer for every name.
fn guarded(allowed: &str, answers: &[Option<&[&str]>]) -> HttpSender {
    let policy = Arc::new(allowed.parse().expect("networks"));
    HttpSender::new(SenderParts { policy, resolver: Answers::new(answers), ..parts() })
}

/// Every way to write this machine's address reaches the server if it is allowed, and does not even connect if it is not.
#[tokio::test]
async fn literals_of_this_machine_are_refused_however_they_are_written() {
    let server = Server::start(|_| status(200)).await;
    let port = server.address.port();
    let private: &[Option<&[&str]>] = &[Some(&["127.0.0.1"])];
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0X7F.1",
        "127.0.0.1.",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "%3127.0.0.1",
        "１２７.0.0.1",
        "0.0.0.0",
        "0",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "127.0.0.1.nip.io",
        "evil.example",
        "EVIL.example.",
        "bücher.example",
    ] {
        let url = format!("http://{host}:{port}/x");
        let outcome = send(&guarded("", private), request(&url)).await;
        assert!(refused(&outcome), "{url}: {outcome:?}");
        assert_eq!(server.connections(), 0, "{url}");
    }
    for host in ["127.1", "0x7f000001", "[::ffff:127.0.0.1]", "0.0.0.0", "localhost", "evil.example", "bücher.example"]
    {
        let url = format!("http://{host}:{port}/x");
        assert_eq!(send(&guarded("127.0.0.0/8,0.0.0.0/8", private), request(&url)).await, DONE, "{url}");
    }
}

#[tokio::test]
async fn every_private_answer_of_a_name_server_is_refused() {
    for address in [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:a00:1::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "4000::1",
    ] {
        let alone = send(&guarded("", &[Some(&[address])]), request("http://h.example/")).await;
        assert!(refused(&alone), "{address}: {alone:?}");
        let mixed = send(&guarded("", &[Some(&["127.0.0.9", address])]), request("http://h.example/")).await;
        assert!(refused(&mixed), "{address}: {mixed:?}");
    }
}

#[tokio::test]
async fn one_private_address_among_allowed_ones_is_enough_to_refuse() {
    let server = Server::start(|_| status(200)).await;
    let url = format!("http://h.example:{}/", server.address.port());
    for answer in [&["127.0.0.1", "10.0.0.1"], &["10.0.0.1", "127.0.0.1"]] {
        assert!(refused(&send(&guarded("127.0.0.0/8", &[Some(answer)]), request(&url)).await));
    }
    assert_eq!(send(&guarded("127.0.0.0/8", &[Some(&["127.0.0.1"])]), request(&url)).await, DONE);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn the_name_is_looked_up_and_judged_again_for_each_connection() {
    let server = Server::start(|_| {
        Reply::AnswerAndClose("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into())
    })
    .await;
    let url = format!("http://h.example:{}/", server.address.port());
    let answers: &[Option<&[&str]>] = &[Some(&["127.0.0.1"]), Some(&["10.0.0.1"]), None, Some(&["127.0.0.1"])];
    let sender = guarded("127.0.0.0/8", answers);
    assert_eq!(send(&sender, request(&url)).await, DONE);
    assert!(refused(&send(&sender, request(&url)).await));
    assert_eq!(retried(send(&sender, request(&url)).await), ReasonKind::Dns);
    // one lookup for one connection: a second one would have moved on to another answer
    assert_eq!(send(&sender, request(&url)).await, DONE);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_refusal_names_the_address_and_the_setting_and_does_not_open_the_breaker() {
    let sender = guarded("", &[Some(&["10.1.2.3"])]);
    for _ in 0..20 {
        let Outcome::Refused { reason } = send(&sender, request("http://h.example/?token=hunter2")).await else {
            panic!("not refused")
        };
        let text =
            "the address 10.1.2.3 is not public (private use, 10.0.0.0/8); ALLOW_PRIVATE=10.0.0.0/8 would allow it.";
        assert_eq!(reason.text, text);
    }
    assert!(sender.has_room(&sender.endpoint_of("http://h.example/")));
    let metadata = send(&guarded("", &[None]), request("http://169.254.169.254/latest")).await;
    assert!(refused(&metadata) && !format!("{metadata:?}").contains("ALLOW_PRIVATE"));
}

#[tokio::test]
async fn an_ipv6_literal_of_this_machine_is_refused_too() {
    for url in
        ["http://[::1]:1/", "http://[0:0:0:0:0:0:0:1]:1/", "http://[::]:1/", "http://[fe80::1]/", "https://[::1]:1/"]
    {
        assert!(refused(&send(&guarded("", &[None]), request(url)).await), "{url}");
    }
    assert_eq!(retried(send(&guarded("::1", &[None]), request("http://[::1]:1/")).await), ReasonKind::Connect);
}
