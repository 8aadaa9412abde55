//! JetStream: the server of `scripts/services.py`, and one that goes and comes back with its streams.

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Stream};
use futures_util::StreamExt;
use pe_publish::conformance::{self, Bench, Taken};
use pe_publish::nats::{Nats, Settings};
use pe_publish::publisher::{Outcome, Publisher};

use crate::nats_server::NatsServer;

struct Js {
    name: &'static str,
    port: u16,
    server: Option<NatsServer>,
}

fn config(name: &str) -> Config {
    Config { name: name.to_owned(), subjects: vec![format!("js.{name}.>")], ..Config::default() }
}

async fn context(port: u16) -> jetstream::Context {
    jetstream::new(async_nats::connect(format!("127.0.0.1:{port}")).await.expect("connected"))
}

impl Js {
    async fn new(name: &'static str) -> Self {
        let port = std::env::var("PEO_NATS_JS_PORT").expect("PEO_NATS_JS_PORT: run ./justw test-replay");
        Self::on(name, port.parse().expect("a port"), config(name)).await
    }

    async fn on(name: &'static str, port: u16, config: Config) -> Self {
        context(port).await.create_stream(config).await.expect("a stream");
        Self { name, port, server: None }
    }

    async fn stream(&self) -> Stream {
        context(self.port).await.get_stream(self.name).await.expect("the stream")
    }

    fn nats(&self) -> Nats {
        let url = format!("nats://127.0.0.1:{}/js.{}.{{table}}", self.port, self.name);
        Nats::new(Settings::from_url(&url).expect("settings"))
    }
}

impl Bench for Js {
    async fn open(&self) -> Box<dyn Publisher> {
        Box::new(self.nats())
    }

    async fn taken(self) -> Vec<Taken> {
        let mut stream = self.stream().await;
        let stored = usize::try_from(stream.info().await.expect("info").state.messages).expect("a number");
        let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
        let consumer = stream.create_consumer(config).await.expect("a consumer");
        let messages = consumer.messages().await.expect("messages").take(stored).collect::<Vec<_>>().await;
        messages
            .into_iter()
            .map(|message| {
                let message = message.expect("a message").message;
                let id = message.headers.and_then(|headers| headers.get("Nats-Msg-Id").map(ToString::to_string));
                Taken { id, payload: message.payload }
            })
            .collect()
    }

    async fn stop(&mut self) -> bool {
        let Some(server) = &mut self.server else { return false };
        server.kill();
        true
    }

    async fn start(&mut self) {
        if let Some(server) = &mut self.server {
            server.go_on().await;
        }
    }
}

#[tokio::test]
async fn check_publishes_nothing() {
    conformance::check_publishes_nothing(Js::new("check").await).await;
}

#[tokio::test]
async fn order_is_kept() {
    conformance::order_is_kept(Js::new("order").await).await;
}

#[tokio::test]
async fn a_repeat_keeps_its_id() {
    conformance::a_repeat_keeps_its_id(Js::new("repeat").await).await;
}

#[tokio::test]
async fn one_too_large_takes_no_neighbour_along() {
    conformance::one_too_large_takes_no_neighbour_along(Js::new("large").await, 1 << 20).await;
}

#[tokio::test]
async fn what_was_flushed_is_there() {
    conformance::what_was_flushed_is_there(Js::new("flushed").await).await;
}

#[tokio::test]
async fn a_server_may_go_and_come_back() {
    let server = NatsServer::start(&["-js"]).await;
    let mut bench = Js::on("away", server.port, config("away")).await;
    bench.server = Some(server);
    conformance::a_server_may_go_and_come_back(bench).await;
}

#[tokio::test]
async fn a_streams_own_limit_rejects_only_what_is_too_large() {
    let config = Config { max_message_size: 1_000, ..config("limit") };
    let port = std::env::var("PEO_NATS_JS_PORT").expect("port").parse().expect("a port");
    let bench = Js::on("limit", port, config).await;
    conformance::one_too_large_takes_no_neighbour_along(bench, 5_000).await;
}

#[tokio::test]
async fn a_full_stream_is_waited_for() {
    let config = Config { max_messages: 5, discard: DiscardPolicy::New, ..config("full") };
    let port = std::env::var("PEO_NATS_JS_PORT").expect("port").parse().expect("a port");
    let bench = Js::on("full", port, config).await;
    let mut nats = bench.nats();
    let outcomes = nats.publish(&conformance::records(0, 8)).await.expect("not lost");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Delivered).count(), 5);
    assert!(matches!(outcomes[5..], [Outcome::Retry(_), Outcome::Retry(_), Outcome::Retry(_)]), "{outcomes:?}");
    bench.stream().await.purge().await.expect("purged");
    assert!(conformance::deliver(&mut nats, &conformance::records(5, 8)).await.is_empty());
}
