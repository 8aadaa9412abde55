//! Core NATS: the server of `scripts/services.py`, and one that goes and comes back.

use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use pe_publish::conformance::{self, Bench, Taken};
use pe_publish::nats::{Nats, Settings};
use pe_publish::publisher::{Outcome, Publisher};
use tokio::sync::Mutex;

use crate::nats_server::NatsServer;

struct Core {
    url: String,
    subscriber: Mutex<Subscriber>,
}

fn port() -> String {
    std::env::var("PEO_NATS_PORT").expect("PEO_NATS_PORT: run ./justw test-replay")
}

impl Core {
    async fn new(subject: &str) -> Self {
        let url = format!("nats://127.0.0.1:{}/core.{subject}.{{table}}", port());
        let client = async_nats::connect(format!("127.0.0.1:{}", port())).await.expect("connected");
        let subscriber = client.subscribe(format!("core.{subject}.t")).await.expect("subscribed");
        client.flush().await.expect("flushed");
        Self { url, subscriber: Mutex::new(subscriber) }
    }
}

impl Bench for Core {
    async fn open(&self) -> Box<dyn Publisher> {
        Box::new(Nats::new(Settings::from_url(&self.url).expect("settings")))
    }

    async fn taken(self) -> Vec<Taken> {
        let (mut taken, mut subscriber) = (Vec::new(), self.subscriber.into_inner());
        // whatever the server took is on its way: it answers the publisher after it has passed it on
        while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(300), subscriber.next()).await {
            let id = message.headers.and_then(|headers| headers.get("Nats-Msg-Id").map(ToString::to_string));
            taken.push(Taken { id, payload: message.payload });
        }
        taken
    }
}

#[tokio::test]
async fn check_publishes_nothing() {
    conformance::check_publishes_nothing(Core::new("check").await).await;
}

#[tokio::test]
async fn order_is_kept() {
    conformance::order_is_kept(Core::new("order").await).await;
}

#[tokio::test]
async fn a_repeat_keeps_its_id() {
    conformance::a_repeat_keeps_its_id(Core::new("repeat").await).await;
}

#[tokio::test]
async fn one_too_large_takes_no_neighbour_along() {
    conformance::one_too_large_takes_no_neighbour_along(Core::new("large").await, 1 << 20).await;
}

#[tokio::test]
async fn what_was_flushed_is_there() {
    conformance::what_was_flushed_is_there(Core::new("flushed").await).await;
}

#[tokio::test]
async fn nothing_is_delivered_while_the_server_is_away() {
    let mut server = NatsServer::start(&[]).await;
    let url = format!("nats://127.0.0.1:{}/away", server.port);
    let mut nats = Nats::new(Settings::from_url(&url).expect("settings"));
    assert!(conformance::deliver(&mut nats, &conformance::records(0, 10)).await.is_empty());
    server.kill();
    let outcomes = nats.publish(&conformance::records(10, 20)).await.expect("not lost");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry(_))), "{outcomes:?}");
    assert!(nats.check().await.is_err());
    server.go_on().await;
    assert!(conformance::deliver(&mut nats, &conformance::records(10, 20)).await.is_empty());
}

#[tokio::test]
async fn a_user_who_may_not_publish_has_delivered_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let config = folder.path().join("nats.conf");
    let rights = "authorization { users = [ { user: u, password: p, permissions: { publish: [\"free\", \"$JS.API.>\", \
                  \"_INBOX.>\", \"paper-engine.nobody\"], subscribe: [\"_INBOX.>\"] } } ] }";
    std::fs::write(&config, rights).expect("file");
    let server = NatsServer::start(&["-c", &config.display().to_string()]).await;
    let of = |subject: &str| {
        Nats::new(Settings::from_url(&format!("nats://u:p@127.0.0.1:{}/{subject}", server.port)).expect("settings"))
    };
    assert!(conformance::deliver(&mut of("free"), &conformance::records(0, 3)).await.is_empty());
    let outcomes = of("secret").publish(&conformance::records(0, 3)).await.expect("not lost");
    assert!(!outcomes.contains(&Outcome::Delivered), "{outcomes:?}");
    let url = format!("nats://u:wrong@127.0.0.1:{}/free", server.port);
    let fault = Nats::new(Settings::from_url(&url).expect("settings")).check().await.expect_err("refused").to_string();
    assert!(fault.contains("authorization") && !fault.contains("wrong"), "{fault}");
}
