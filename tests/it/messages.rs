//! The messages: byte for byte, after the commit, at least once, and none lost while the broker is away.

use crate::support::World;
use crate::support::broker::{Broker, SUBJECT, heard};
use crate::support::program::{program, run};

const LOAD1: &str = "e/LOAD00000001.csv.gz";

fn notifying(world: &World, broker: &Broker) -> std::process::Command {
    let mut command = program(world);
    command.env("NOTIFICATIONS", "True").env("NATS", broker.url());
    command
}

#[tokio::test]
async fn core_nats_hears_the_missions_json_once_per_delivery_that_changed_something() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, event_id bigint)").await;
    let broker = Broker::core().await;
    let ears = broker.listen().await;
    world.bucket.put(LOAD1, "1,1020487673\n2,5\n").await;
    world.bucket.put("e/20991231-235900.csv.gz", "U,2,5\n").await;
    let log = run(notifying(&world, &broker)).await.ok().log;
    let messages = heard(&ears, 1).await;
    let payload = &messages[0].0;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    let start = format!(r#"{{"v":1,"ds":"paper-engine","id":"orders","host":"{}","utcts":""#, host.trim());
    let end = r#"","stats":{"e":{"AMEND":0,"CREATE":2,"REMOVE":0}},"max_event_id":1020487673}"#;
    assert!(payload.starts_with(&start) && payload.ends_with(end), "{payload}");
    assert_eq!(payload.len(), start.len() + "2021-12-09T08:31:04.824890".len() + end.len(), "{payload}");
    assert_eq!(world.value("select payload from loader_notifications").await, *payload);
    assert!(log.contains("Delivery 1: messages published."), "{log}");
    assert!(!log.contains("Delivery 2: messages published."), "{log}");
    assert!(log.contains("Delivery 2: persisted {}."), "{log}");
}

#[tokio::test]
async fn jetstream_acks_and_drops_a_repeat() {
    let world = World::with_table().await;
    let broker = Broker::jetstream().await;
    let context = async_nats::jetstream::new(broker.client().await);
    let config = async_nats::jetstream::stream::Config {
        name: "orders".into(),
        subjects: vec![SUBJECT.into()],
        ..Default::default()
    };
    context.create_stream(config).await.expect("a stream");
    let count = async || context.get_stream("orders").await.expect("stream").cached_info().state.messages;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    run(notifying(&world, &broker)).await.ok();
    assert_eq!(count().await, 1);
    // as if the program had died between the ack and its note of it
    world.sql("update loader_notifications set published_at = null").await;
    let log = run(notifying(&world, &broker)).await.ok().log;
    assert!(log.contains("Delivery 1: messages published."), "{log}");
    assert_eq!(count().await, 1, "the stream knows the message by its id");
}

#[tokio::test]
async fn a_broker_that_is_down_stops_nothing_and_hears_everything_when_it_is_back() {
    let world = World::with_table().await;
    let mut broker = Broker::core().await;
    broker.stop();
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put("e/20991231-235900.csv.gz", "U,1,b,1\n").await;
    let ended = run(notifying(&world, &broker)).await;
    assert_eq!(ended.code, 69, "messages still wait: {}", ended.log);
    assert!(ended.log.contains("cannot reach NATS"), "{}", ended.log);
    assert_eq!(world.rows("select name from dbo.e").await, ["b"], "loading went on");
    assert_eq!(world.value("select count(*) from loader_notifications where published_at is null").await, "2");

    broker.start().await;
    let ears = broker.listen().await;
    run(notifying(&world, &broker)).await.ok();
    let messages = heard(&ears, 2).await;
    assert!(messages[0].0.contains(r#""CREATE":1"#) && messages[1].0.contains(r#""AMEND":1"#), "{messages:#?}");
    assert_ne!(messages[0].1, messages[1].1, "each has its own id");
    assert_eq!(world.value("select count(*) from loader_notifications where published_at is null").await, "0");
}

#[tokio::test]
async fn with_notifications_off_nothing_is_kept_for_anybody() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    run(program(&world)).await.ok();
    assert_eq!(world.value("select count(*) from loader_notifications").await, "0");
}

#[tokio::test]
async fn what_waits_from_before_does_not_matter_with_notifications_off() {
    let world = World::with_table().await;
    let mut broker = Broker::core().await;
    broker.stop();
    world.bucket.put(LOAD1, "1,a,1\n").await;
    assert_eq!(run(notifying(&world, &broker)).await.code, 69);
    run(program(&world)).await.ok();
}

#[tokio::test]
async fn a_user_that_may_publish_and_nothing_else_is_enough() {
    let world = World::with_table().await;
    let broker = Broker::with_config(
        r#"authorization { users = [
            { user: "reader", password: "r" },
            { user: "loader", password: "l", permissions: { publish: ["paper-engine.>"], subscribe: ["_INBOX.>"] } }
        ] }"#,
    );
    let ears = broker.listen_as("reader", "r").await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let mut command = program(&world);
    let url = broker.url().replace("nats://", "nats://loader:l@");
    command.env("NOTIFICATIONS", "True").env("NATS", url);
    run(command).await.ok();
    heard(&ears, 1).await;
}
