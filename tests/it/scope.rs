//! The scope of the ledger: endpoint, bucket, path and target schema. Each feed has its own rows, its own messages and its own
//! publisher, and rows from before there were scopes go on with the first that starts.

use std::process::Command;

use crate::support::World;
use crate::support::broker::{Broker, SUBJECT, heard};
use crate::support::program::{as_owner, program, run, run_once};

const LOAD1: &str = "e/LOAD00000001.csv.gz";
const FIRST: &str = "e/20991231-120000000.csv.gz";
const SECOND: &str = "e/20991231-130000000.csv.gz";

fn into_schema(world: &World, schema: &str) -> Command {
    let mut command = program(world);
    command.env("TARGET_SCHEMA", schema);
    command
}

/// The state of the ledger before there were scopes: what V1 to V4 make.
const FORGET_SCOPES: &str = "alter table loader_deliveries drop column scope;
    alter table loader_notifications drop column scope;
    drop table loader_scopes, loader_target, loader_tables;
    drop function loader_table_head, loader_table_state;
    alter table loader_deliveries drop column revision, drop column occurrence, drop column content_hash;
    delete from loader_schema_history where version in (6, 10, 11, 12, 16);
    create unique index loader_deliveries_part
        on loader_deliveries (bucket, object_key, etag, last_modified) where kind = 'snapshot';
    create unique index loader_deliveries_change
        on loader_deliveries (bucket, object_key, etag) where kind = 'changes';
    create index loader_deliveries_key on loader_deliveries (bucket, object_key, id);
    create index loader_deliveries_table on loader_deliveries (bucket, schema_name, entity, id);
    create index loader_deliveries_stops
        on loader_deliveries (bucket, schema_name, entity) where status in ('failed', 'held', 'late');
    create index loader_notifications_waiting on loader_notifications (id) where published_at is null;
    create index loader_notifications_published on loader_notifications (published_at) where published_at is not null";

#[tokio::test]
async fn another_target_schema_is_another_ledger_and_gets_everything() {
    let world = World::with_table().await;
    world.sql("create schema stage; create table stage.e (like dbo.e including all)").await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,2\n").await;
    run_once(&world).await.ok();
    world.bucket.put(FIRST, "U,2,later,2\n").await;
    let ended = run(into_schema(&world, "stage")).await.ok();
    assert_eq!(ended.effects(), ["e (create: 2, amend: 0, remove: 0).", "e (create: 0, amend: 1, remove: 0)."]);
    run_once(&world).await.ok();
    for table in ["dbo.e", "stage.e"] {
        assert_eq!(
            world.rows(&format!("select id, name from {table} order by id")).await,
            ["1|a", "2|later"],
            "{table}"
        );
    }
    assert_eq!(world.rows("select count(*) from loader_deliveries group by scope").await, ["2", "2"]);
    let scopes = "select endpoint like 'http://%', path <> '', target_schema from loader_scopes order by target_schema";
    assert_eq!(world.rows(scopes).await, ["t|t|", "t|t|stage"]);
}

#[tokio::test]
async fn an_upgraded_ledger_goes_on_without_loading_anything_again() {
    let world = World::empty_with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,2\n").await;
    world.bucket.put(FIRST, "U,2,later,2\n").await;
    run(as_owner(&world)).await.ok();
    world.sql(FORGET_SCOPES).await;
    // it stopped nothing then, and must not now
    let gone = format!(
        "insert into loader_deliveries (bucket, object_key, etag, size_bytes, last_modified, schema_name, entity, kind, generation,
             status, started_at, host, version)
         select bucket, '{}', 'x', 1, now(), schema_name, entity, 'changes', 1, 'gone', now(), 'h', '0'
         from loader_deliveries order by id limit 1",
        world.bucket.key("e/20991231-110000000.csv.gz")
    );
    world.sql(&gone).await;
    world.bucket.put(SECOND, "U,1,last,1\n").await;
    let mut rehearsal = as_owner(&world);
    rehearsal.env("DRY_RUN", "True");
    let before = world.dump();
    assert_eq!(run(rehearsal).await.ok().effects(), ["e (create: 0, amend: 1, remove: 0)."]);
    assert_eq!(before, world.dump(), "a dry run leaves the old ledger as it was");
    let ended = run(as_owner(&world)).await.ok();
    assert_eq!(ended.effects(), ["e (create: 0, amend: 1, remove: 0)."]);
    assert!(ended.log.contains("3 ledger rows from before there were scopes belong to this feed now"), "{}", ended.log);
    assert_eq!(world.value("select count(*), count(distinct scope) from loader_deliveries").await, "4|1");
    let states = "select string_agg(status || revision, ' ' order by revision) from loader_deliveries";
    assert_eq!(world.value(states).await, "loaded1 loaded2 skipped3 loaded4");
}

#[tokio::test]
async fn a_loader_of_an_earlier_version_is_refused_and_blames_no_file() {
    let world = World::with_table().await;
    let asked = "select * from loader_head('b', 's', 'e', '', null, 'changes', '{}', 0, false)";
    let error = world.db.batch_execute(asked).await.expect_err("refused");
    assert_eq!(error.code().map(|code| code.code()), Some("57P03"));
    let asked = "select * from loader_table_head(1, 's', 'e', 'changes', '{}'::bigint[], 0, false)";
    let error = world.db.batch_execute(asked).await.expect_err("refused");
    assert_eq!(error.code().map(|code| code.code()), Some("57P03"));
}

#[tokio::test]
async fn commands_show_and_steer_their_own_scope_only() {
    let world = World::with_table().await;
    world.sql("create schema stage; create table stage.e (like dbo.e including all)").await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,two\n").await;
    assert_eq!(run_once(&world).await.code, 1);
    assert_eq!(run(into_schema(&world, "stage")).await.code, 1);
    let ask = async |args: &[&str]| {
        let mut command = program(&world);
        command.args(args);
        run(command).await
    };
    let other = world.value("select max(id) from loader_deliveries").await;
    let listed = ask(&["deliveries", "list", "--json"]).await.ok();
    assert!(!listed.log.contains(&format!("\"id\":{other}")), "{}", listed.log);
    for args in [&["deliveries", "show", &other][..], &["deliveries", "skip", &other, "--reason", "r"][..]] {
        let refused = ask(args).await;
        assert_ne!(refused.code, 0, "{args:?}");
        assert!(refused.log.contains("belongs to another feed"), "{}", refused.log);
        assert!(refused.log.contains("loaded into schema stage"), "{}", refused.log);
    }
    assert_eq!(world.rows("select status from loader_deliveries").await, ["failed", "failed"]);
    let status = ask(&["status"]).await;
    assert!(status.log.contains("another feed"), "{}", status.log);
    assert!(status.log.contains("loaded into schema stage"), "{}", status.log);
}

#[tokio::test]
async fn messages_go_to_the_broker_of_their_own_feed_only() {
    let world = World::with_table().await;
    world.sql("create schema stage; create table stage.e (like dbo.e including all)").await;
    let (mut one, other) = (Broker::core().await, Broker::core().await);
    one.stop();
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let mut first = program(&world);
    first.env("NOTIFICATIONS", "True").env("NATS", one.url());
    assert_eq!(run(first).await.code, 69, "its message waits");
    let ears = other.listen().await;
    world.bucket.put(FIRST, "I,2,b,2\nI,3,c,3\n").await;
    let mut second = into_schema(&world, "stage");
    second.env("NOTIFICATIONS", "True").env("NATS", other.url());
    run(second).await.ok();
    assert_eq!(heard(&ears, 2).await.len(), 2);
    let waiting = "select target_schema, count(*) from loader_notifications n join loader_scopes s on s.id = n.scope
        where published_at is null group by 1";
    assert_eq!(world.rows(waiting).await, ["|1"], "the other broker did not get it");
    one.start().await;
    let ears = one.listen().await;
    let mut first = program(&world);
    first.env("NOTIFICATIONS", "True").env("NATS", one.url());
    run(first).await.ok();
    assert_eq!(heard(&ears, 2).await.len(), 2);
    assert_eq!(world.value("select count(*) from loader_notifications where published_at is null").await, "0");
}

/// One bucket, two databases, one stream: the stream must not take the second one's messages for repeats.
#[tokio::test]
async fn two_databases_that_load_one_feed_are_both_heard_by_one_stream() {
    let (one, other) = (World::empty_with_table().await, World::empty_with_table().await);
    let broker = Broker::jetstream().await;
    let context = async_nats::jetstream::new(broker.client().await);
    let config = async_nats::jetstream::stream::Config {
        name: "orders".into(),
        subjects: vec![SUBJECT.into()],
        ..Default::default()
    };
    context.create_stream(config).await.expect("a stream");
    let count = async || context.get_stream("orders").await.expect("stream").cached_info().state.messages;
    one.bucket.put(LOAD1, "1,a,1\n").await;
    for (world, wanted) in [(&one, 1), (&other, 2)] {
        let mut command = as_owner(world);
        command.env("SOURCE", one.bucket.source()).env("NOTIFICATIONS", "True").env("NATS", broker.url());
        run(command).await.ok();
        assert_eq!(count().await, wanted);
    }
    one.sql("update loader_notifications set published_at = null").await;
    let mut command = as_owner(&one);
    command.env("NOTIFICATIONS", "True").env("NATS", broker.url());
    run(command).await.ok();
    assert_eq!(count().await, 2, "a repeat has the same id");
}

#[tokio::test]
async fn an_event_id_may_be_numeric_and_another_type_is_named() {
    let world = World::new().await;
    world
        .sql(
            "create schema dbo; create table dbo.n (id int primary key, event_id numeric(20, 2));
             create table dbo.t (id int primary key, event_id text); create table dbo.w (id int primary key)",
        )
        .await;
    world.bucket.put("n/LOAD00000001.csv.gz", "1,9007199254740993\n2,9007199254740993.50\n3,NULL\n").await;
    world.bucket.put("t/LOAD00000001.csv.gz", "1,7\n").await;
    world.bucket.put("w/LOAD00000001.csv.gz", "1\n").await;
    let log = run_once(&world).await.ok().log;
    let ids = "select entity, max_event_id from loader_deliveries order by entity";
    assert_eq!(world.rows(ids).await, ["n|9007199254740993", "t|∅", "w|∅"]);
    assert_eq!(log.matches("column event_id (EVENT_ID) is of a type without integers").count(), 1, "{log}");
    let mut command = program(&world);
    command.arg("check");
    let checked = run(command).await.log;
    assert!(checked.contains("type without integers") && checked.contains("has no column event_id"), "{checked}");
}

/// Only one feed may load a table; the other one says which.
#[tokio::test]
async fn a_table_that_another_feed_loads_is_refused_by_name() {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key)").await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put(FIRST, "U,1,changed,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put("f/LOAD00000001.csv.gz", "1\n").await;
    let mut same = program(&world);
    same.env("TARGET_SCHEMA", "dbo");
    let ended = run(same).await;
    assert_ne!(ended.code, 0);
    assert!(ended.log.contains("another feed") && ended.log.contains(&world.bucket.path), "{}", ended.log);
    assert_eq!(world.value("select name from dbo.e").await, "changed");
    assert_eq!(world.value("select count(*) from dbo.f").await, "1", "other tables go on");
}
