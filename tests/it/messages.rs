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

/// Another loader may commit a message after this one has published all that waited.
#[tokio::test]
async fn a_message_that_comes_at_the_end_is_published_and_is_no_failure() {
    let world = World::with_table().await;
    let broker = Broker::core().await;
    let ears = broker.listen().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let mut command = notifying(&world, &broker);
    command.env("FAILPOINTS", "before_waiting_count=sleep(3000)");
    let running = tokio::spawn(run(command));
    let unpublish =
        "with taken as (update loader_notifications set published_at = null where published_at is not null returning 1)
        select count(*) from taken";
    while world.value(unpublish).await == "0" {
        assert!(!running.is_finished(), "it ended before the message waited again");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    running.await.expect("joined").ok();
    heard(&ears, 2).await;
    assert_eq!(world.value("select count(*) from loader_notifications where published_at is null").await, "0");
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

/// Two deliveries whose messages wait before that of a third, made unfit by `spoil`, which names the first two.
async fn is_not_blocked_by(broker: &mut Broker, spoil: &str, reason: &str) {
    let world = World::with_table().await;
    broker.stop();
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put("e/20991231-235900.csv.gz", "U,1,b,1\n").await;
    assert_eq!(run(notifying(&world, broker)).await.code, 69);
    world.sql(&format!("update loader_notifications set {spoil}")).await;
    world.bucket.put("e/20991231-235901.csv.gz", "U,1,c,1\n").await;
    broker.start().await;
    let ended = run(notifying(&world, broker)).await;
    assert_eq!(ended.code, 69, "two messages still wait: {}", ended.log);
    let waiting = "select delivery_id from loader_notifications where published_at is null order by id";
    assert_eq!(world.rows(waiting).await, ["1", "2"], "{}", ended.log);
    assert!(ended.log.contains(reason), "{reason}: {}", ended.log);
    // put right, they are published
    world.sql(&format!("update loader_notifications set subject = '{SUBJECT}', payload = '{{}}' where id < 3")).await;
    run(notifying(&world, broker)).await.ok();
    assert_eq!(world.rows(waiting).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_message_that_cannot_be_published_blocks_no_other() {
    let long = "payload = repeat('x', 3000000)";
    let reason = "NATS did not take message 1: it has 3000064 bytes, and the server takes 1048576 (max_payload)";
    is_not_blocked_by(&mut Broker::core().await, long, reason).await;
    let mut broker = Broker::core().await;
    for subject in ["", "a b", "a..b", "a.*", "a.>", "a\r\nPUB b 0\r\n"] {
        let reason = format!("NATS did not take message 1: {subject:?} is no subject to publish on");
        is_not_blocked_by(&mut broker, &format!("subject = '{subject}'"), &reason).await;
    }
}

#[tokio::test]
async fn a_message_that_its_stream_does_not_take_blocks_no_other() {
    let mut broker = Broker::jetstream().await;
    let context = async_nats::jetstream::new(broker.client().await);
    let config = async_nats::jetstream::stream::Config {
        name: "orders".into(),
        subjects: vec![SUBJECT.into()],
        max_message_size: 2_000,
        ..Default::default()
    };
    context.create_stream(config).await.expect("a stream");
    is_not_blocked_by(&mut broker, "payload = repeat('x', 3000)", "message size exceeds maximum allowed").await;
    is_not_blocked_by(&mut broker, "subject = 'a..b'", "is no subject to publish on").await;
}

#[tokio::test]
async fn more_messages_than_one_batch_that_cannot_be_published_block_no_other() {
    let world = World::with_table().await;
    let broker = Broker::core().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    run(notifying(&world, &broker)).await.ok();
    world
        .sql(
            "insert into loader_notifications (delivery_id, subject, message_id, payload, scope)
             select delivery_id, 'a b', n, payload, scope from loader_notifications, generate_series(1, 600) n",
        )
        .await;
    world.bucket.put("e/20991231-235901.csv.gz", "U,1,c,1\n").await;
    assert_eq!(run(notifying(&world, &broker)).await.code, 69);
    let waiting = "select subject, count(*) from loader_notifications where published_at is null group by 1";
    assert_eq!(world.rows(waiting).await, ["a b|600"]);
}

#[tokio::test]
async fn what_a_user_may_not_publish_on_blocks_no_other_subject() {
    let broker = Broker::with_config(
        r#"authorization { users = [
            { user: "loader", password: "l", permissions: { publish: ["paper-engine.>"], subscribe: ["_INBOX.>"] } }
        ] }"#,
    );
    broker.listens().await;
    let mut away = Broker::core().await;
    away.stop();
    let world = World::with_table().await;
    let notifying = |world: &World, broker: &Broker| {
        let mut command = program(world);
        command.env("NOTIFICATIONS", "True").env("NATS", broker.url().replace("nats://", "nats://loader:l@"));
        command
    };
    world.bucket.put(LOAD1, "1,a,1\n").await;
    assert_eq!(run(notifying(&world, &away)).await.code, 69);
    world.sql("update loader_notifications set subject = 'forbidden.subject'").await;
    world.bucket.put("e/20991231-235901.csv.gz", "U,1,c,1\n").await;
    let ended = run(notifying(&world, &broker)).await;
    assert_eq!(ended.code, 69, "{}", ended.log);
    assert!(ended.log.contains("message 1: the user of NATS may not publish on its subject"), "{}", ended.log);
    let waiting = "select delivery_id from loader_notifications where published_at is null";
    assert_eq!(world.rows(waiting).await, ["1"], "{}", ended.log);
}
