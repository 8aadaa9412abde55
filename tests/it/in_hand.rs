//! A file that kills the program at every start: other tables go on, and in the end the ledger names the file.

use crate::support::World;
use crate::support::program::{Ended, program, run};

const MARKS: &str = "select (select count(*) from loader_processes) || ' ' || (select count(*) from loader_in_hand)";

/// A start that is killed when it begins to work at its `nth` delivery.
async fn killed(world: &World, nth: u32) {
    let mut command = program(world);
    command.env("FAILPOINTS", format!("after_claim=kill@{nth}"));
    let ended = run(command).await;
    assert_eq!(ended.code, -1, "{}", ended.log);
}

async fn once(world: &World) -> Ended {
    run(program(world)).await
}

#[tokio::test]
async fn a_file_that_kills_every_start_is_named_and_other_tables_go_on() {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key)").await;
    world.bucket.put("e/LOAD00000001.csv.gz", "1,a,1\n").await;
    world.bucket.put_later("f/LOAD00000001.csv.gz", "1\n").await;
    // nobody knows yet; then the file is noted
    killed(&world, 1).await;
    assert_eq!(world.value(MARKS).await, "1 0");
    killed(&world, 1).await;
    let hand = "select object_key || ' ' || times from loader_in_hand";
    let key = world.bucket.key("e/LOAD00000001.csv.gz");
    assert_eq!(world.value(hand).await, format!("{key} 1"));
    // from now on the other table comes first
    killed(&world, 2).await;
    assert_eq!(world.rows("select * from dbo.f").await, ["1"]);
    for times in 3..=5 {
        killed(&world, 1).await;
        assert_eq!(world.value(hand).await, format!("{key} {times}"));
    }
    world.bucket.put("f/20991231-230000000.csv.gz", "I,2\n").await;
    let ended = once(&world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    let error = world.value("select error from loader_deliveries where status = 'failed'").await;
    assert!(error.starts_with(&format!("{key}: loaders died 5 times while they had this file in hand.")), "{error}");
    assert_eq!(world.rows("select * from dbo.f order by id").await, ["1", "2"], "{}", ended.log);
    assert_eq!(world.value(MARKS).await, "0 0");
    let mut retry = program(&world);
    retry.args(["deliveries", "retry", &world.value("select id from loader_deliveries where status = 'failed'").await]);
    run(retry).await.ok();
    once(&world).await.ok();
    assert_eq!(world.value("select count(*) from dbo.e").await, "1");
    assert_eq!(world.value(MARKS).await, "0 0");
}

#[tokio::test]
async fn what_is_loaded_after_a_death_is_forgotten() {
    let world = World::with_table().await;
    world.bucket.put("e/LOAD00000001.csv.gz", "1,a,1\n").await;
    killed(&world, 1).await;
    let ended = once(&world).await.ok();
    assert!(ended.log.contains("Another loader runs or has died"), "{}", ended.log);
    assert_eq!(world.value(MARKS).await, "0 0");
    let ended = once(&world).await.ok();
    assert!(!ended.log.contains("Another loader"), "{}", ended.log);
}
