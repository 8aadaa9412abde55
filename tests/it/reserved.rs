//! Folders of the bucket that name a table of the system or of the loader itself: whoever may write to the bucket must not
//! become a superuser, publish messages or change the ledger.

use crate::support::World;
use crate::support::program::{Ended, as_owner, run, run_once};

/// The loader with the rights of a superuser, whose tables are made.
async fn world() -> World {
    let world = World::empty_with_table().await;
    run(as_owner(&world)).await.ok();
    world.bucket.put("e/LOAD00000001.csv.gz", "1,a,1\n").await;
    world
}

async fn with(world: &World, args: &[&str], schema: &str) -> Ended {
    let mut command = as_owner(world);
    command.args(args).env("TARGET_SCHEMA", schema);
    run(command).await
}

const REFUSED: &str = "is reserved: tables of the system schemas and of the loader itself are never loaded";

#[tokio::test]
async fn a_file_for_a_system_catalog_makes_no_superuser() {
    let world = world().await;
    let name = &world.database;
    let role = format!("424242,{name},t,t,t,t,t,t,t,-1,NULL,NULL\n");
    world.bucket.put_in("pg_catalog", "pg_authid/20991231-120000000.csv.gz", &format!("I,{role}")).await;
    for schema in ["PG_CATALOG", "Pg_Catalog"] {
        world.bucket.put_in(schema, "PG_AUTHID/20991231-120000000.csv.gz", &format!("I,{role}")).await;
    }
    let ended = run(as_owner(&world)).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains(&format!("pg_catalog.pg_authid: the table {REFUSED}")), "{}", ended.log);
    assert_eq!(world.value(&format!("select count(*) from pg_authid where rolname = '{name}'")).await, "0");
    assert_eq!(world.value("select count(*) from dbo.e").await, "1", "other tables go on");
    assert_eq!(world.value("select count(*) from loader_deliveries where entity ilike 'pg_authid'").await, "0");
    let checked = with(&world, &["check"], "").await;
    assert_ne!(checked.code, 0, "{}", checked.log);
    let words = checked.log.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("is reserved") && !words.contains("pg_authid can be loaded"), "{}", checked.log);
}

#[tokio::test]
async fn a_file_for_the_outbox_publishes_nothing() {
    let world = world().await;
    let (broker, heard) = crate::kill::stage().await;
    let row = "99,1,paper-engine.meta.orders.change,forged,{},2022-01-01,NULL\n";
    world.bucket.put_in("public", "loader_notifications/20991231-120000000.csv.gz", &format!("I,{row}")).await;
    world.bucket.put("Loader_Notifications/20991231-120000000.csv.gz", &format!("I,{row}")).await;
    for schema in ["", "public"] {
        let mut command = as_owner(&world);
        command.env("TARGET_SCHEMA", schema).env("NOTIFICATIONS", "True").env("NATS", broker.url());
        let ended = run(command).await;
        assert_eq!(ended.code, 1, "{}", ended.log);
        assert!(ended.log.contains(REFUSED), "{}", ended.log);
    }
    assert_eq!(world.value("select count(*) from loader_notifications where message_id = 'forged'").await, "0");
    assert!(heard.lock().expect("ears").iter().all(|(_, id)| id != "forged"));
}

#[tokio::test]
async fn a_file_for_the_ledger_leaves_the_ledger_alone() {
    let world = world().await;
    run(as_owner(&world)).await.ok();
    let before = world.rows("select id, object_key, status from loader_deliveries").await;
    assert_eq!(before.len(), 1);
    let id = before[0].split('|').next().expect("an id");
    world.bucket.put_in("public", "loader_deliveries/20991231-120000000.csv.gz", &format!("D,{id}\n")).await;
    for args in [["run", "--once"], ["run", "--dry-run"]] {
        let ended = with(&world, &args, "").await;
        assert_eq!(ended.code, 1, "{}", ended.log);
        assert!(ended.log.contains(&format!("public.loader_deliveries: the table {REFUSED}")), "{}", ended.log);
        assert_eq!(world.rows("select id, object_key, status from loader_deliveries").await, before);
    }
    let status = with(&world, &["status"], "").await;
    assert!(status.log.split_whitespace().collect::<Vec<_>>().join(" ").contains(REFUSED), "{}", status.log);
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 1, "whatever the rights of the role: {}", ended.log);
}
