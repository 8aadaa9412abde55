//! A broker on a bad day: its ack is lost, its memory of repeats is short, it takes nothing. What it does not have for sure
//! waits, and what it gets twice is the same.

use std::time::{Duration, Instant};

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use futures_util::StreamExt;

use crate::support::World;
use crate::support::broker::{Broker, SUBJECT, heard};
use crate::support::program::{program, run, start};
use crate::support::proxy::{Fault, before};

const LOAD1: &str = "e/LOAD00000001.csv.gz";
const WAITING: &str = "select count(*) from loader_notifications where published_at is null";

fn notifying(world: &World, url: &str) -> std::process::Command {
    let mut command = program(world);
    command.env("NOTIFICATIONS", "True").env("NATS", url);
    command
}

async fn with_stream(config: Config) -> (Broker, async_nats::jetstream::Context) {
    let broker = Broker::jetstream().await;
    let context = async_nats::jetstream::new(broker.client().await);
    context
        .create_stream(Config { name: "ORDERS".into(), subjects: vec![SUBJECT.into()], ..config })
        .await
        .expect("made");
    (broker, context)
}

/// Payload and id of all that the stream keeps.
/// What the stream has, in its order.
pub async fn kept(context: &async_nats::jetstream::Context) -> Vec<(String, String)> {
    let stream = context.get_stream("ORDERS").await.expect("the stream");
    let count = stream.cached_info().state.messages as usize;
    let config = async_nats::jetstream::consumer::pull::OrderedConfig::default();
    let messages = stream.create_consumer(config).await.expect("a consumer").messages().await.expect("messages");
    let messages: Vec<_> = messages.take(count).collect().await;
    let both = |message: async_nats::jetstream::Message| {
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id")).expect("an id").to_string();
        (String::from_utf8_lossy(&message.payload).into_owned(), id)
    };
    messages.into_iter().map(|message| both(message.expect("a message"))).collect()
}

#[tokio::test]
async fn a_message_whose_ack_is_lost_is_sent_again_and_kept_once() {
    let world = World::with_table().await;
    let (broker, context) = with_stream(Config::default()).await;
    let fault = Fault::cut_before("\"stream\":\"ORDERS\"");
    let port = before(&broker.port.to_string(), fault.clone()).await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let first = run(notifying(&world, &format!("nats://127.0.0.1:{port}"))).await;
    assert!(fault.happened(), "{}", first.log);
    assert_eq!(kept(&context).await.len(), 1, "the broker has it");
    assert_eq!(world.value("select count(*) from dbo.e").await, "1", "{}", first.log);
    run(notifying(&world, &broker.url())).await.ok();
    assert_eq!(world.value(WAITING).await, "0");
    assert_eq!(kept(&context).await.len(), 1, "and knows it by its id");
}

/// The rule for who listens: a message with an id that was seen is a repeat, word for word.
#[tokio::test]
async fn a_repeat_after_the_brokers_memory_has_the_same_id_and_bytes() {
    let world = World::with_table().await;
    let window = Duration::from_millis(100);
    let (broker, context) = with_stream(Config { duplicate_window: window, ..Default::default() }).await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    run(notifying(&world, &broker.url())).await.ok();
    tokio::time::sleep(window * 5).await;
    // as if the program had died between the ack and its note of it
    world.sql("update loader_notifications set published_at = null").await;
    run(notifying(&world, &broker.url())).await.ok();
    let kept = kept(&context).await;
    assert_eq!(kept.len(), 2, "the broker forgot: {kept:?}");
    assert_eq!(kept[0], kept[1]);
    // as if the database came from a backup that lacks the delivery: it is another message about the same thing
    world.sql("truncate loader_deliveries, loader_notifications, loader_rejects, loader_tables, dbo.e").await;
    tokio::time::sleep(window * 5).await;
    run(notifying(&world, &broker.url())).await.ok();
    let kept = self::kept(&context).await;
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert_eq!(kept[0].1, kept[2].1);
}

#[tokio::test]
async fn what_a_stream_does_not_take_waits_and_the_reason_is_said() {
    let refusals = [
        ("maximum message", Config { max_message_size: 10, ..Default::default() }),
        (
            "maximum messages",
            Config { max_messages: 0, max_bytes: 20, discard: DiscardPolicy::New, ..Default::default() },
        ),
        ("sealed", Config { sealed: true, ..Default::default() }),
    ];
    for (reason, config) in refusals {
        let world = World::with_table().await;
        let (broker, context) = with_stream(Config { sealed: false, ..config.clone() }).await;
        if config.sealed {
            let sealed = Config { name: "ORDERS".into(), subjects: vec![SUBJECT.into()], ..config };
            context.update_stream(sealed).await.expect("sealed");
        }
        world.bucket.put(LOAD1, "1,a,1\n").await;
        let ended = run(notifying(&world, &broker.url())).await;
        assert_eq!(ended.code, 69, "{reason}: {}", ended.log);
        assert!(ended.log.contains("NATS did not take message"), "{reason}: {}", ended.log);
        assert_eq!(world.value("select count(*) from dbo.e").await, "1", "loading went on");
        assert_eq!(world.value(WAITING).await, "1", "{reason}");
        context.delete_stream("ORDERS").await.expect("deleted");
        let taken = Config { name: "ORDERS".into(), subjects: vec![SUBJECT.into()], ..Default::default() };
        context.create_stream(taken).await.expect("made");
        run(notifying(&world, &broker.url())).await.ok();
        assert_eq!((world.value(WAITING).await.as_str(), kept(&context).await.len()), ("0", 1), "{reason}");
    }
}

/// A server says no to a core publish in a message of its own, behind which nobody waits.
#[tokio::test]
async fn what_a_user_may_not_publish_is_not_taken_for_published() {
    for more in ["\"$JS.API.>\", ", ""] {
        let world = World::with_table().await;
        let broker = Broker::with_config(&format!(
            r#"authorization {{ users = [
                {{ user: "reader", password: "r" }},
                {{ user: "loader", password: "l", permissions: {{ publish: [{more}"other.>"], subscribe: ["_INBOX.>"] }} }}
            ] }}"#
        ));
        let ears = broker.listen_as("reader", "r").await;
        world.bucket.put(LOAD1, "1,a,1\n").await;
        world.bucket.put("e/20991231-120000000.csv.gz", "I,2,b,1\n").await;
        let ended = run(notifying(&world, &broker.url().replace("nats://", "nats://loader:l@"))).await;
        assert_eq!(ended.code, 69, "{}", ended.log);
        assert!(ended.log.contains("NATS did not take message 1"), "{}", ended.log);
        assert_eq!(world.value(WAITING).await, "2");
        heard(&ears, 0).await;
        run(notifying(&world, &broker.url().replace("nats://", "nats://reader:r@"))).await.ok();
        heard(&ears, 2).await;
    }
}

/// While somebody else publishes, a loader goes on; at its end it waits for its turn, for somebody may have died in theirs.
#[tokio::test]
async fn at_the_end_the_publishers_turn_is_waited_for() {
    let (world, broker) = (World::with_table().await, Broker::core().await);
    let ears = broker.listen().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.sql("begin; select pg_advisory_xact_lock(7365999, -1)").await;
    let running = start(notifying(&world, &broker.url()));
    running.says("prometheus counters incremented").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.sql("rollback").await;
    running.ends().await.ok();
    heard(&ears, 1).await;
}

/// Whoever accepts and says nothing is not waited for by any load.
#[tokio::test]
async fn a_broker_that_says_nothing_delays_no_load() {
    let world = World::with_table().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("nats://127.0.0.1:{}", silent.local_addr().expect("bound").port());
    run(program(&world)).await.ok();
    world.bucket.put(LOAD1, "1,a,1\n").await;
    for number in 10..20 {
        world.bucket.put(&format!("e/20991231-1200{number}000.csv.gz"), &format!("I,{number},n,1\n")).await;
    }
    let begun = Instant::now();
    let running = start(notifying(&world, &url));
    while world.value("select count(*) from dbo.e").await != "11" {
        // the first of them asks the broker, beside the second; nobody asks again in this iteration
        assert!(begun.elapsed() < Duration::from_secs(9), "{}", running.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended = running.ends().await;
    assert_eq!(ended.code, 69, "{}", ended.log);
    assert!(begun.elapsed() < Duration::from_secs(25), "a bounded wait");
    assert_eq!(world.value(WAITING).await, "11");
}
