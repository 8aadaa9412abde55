//! Full loads whose parts are not whole: gaps in their numbers, and parts that lie there packed and unpacked.

use crate::support::World;
use crate::support::program::{Ended, program, run, run_once};

const LOAD1: &str = "e/LOAD00000001.csv.gz";
const LOAD2: &str = "e/LOAD00000002.csv.gz";
const LOAD3: &str = "e/LOAD00000003.csv.gz";

fn rows(ids: std::ops::Range<u32>) -> String {
    ids.map(|id| format!("{id},n,1\n")).collect()
}

async fn is_held(world: &World, words: &str) -> Ended {
    let ended = run_once(world).await;
    assert!(ended.code == 1 && ended.log.contains(words) && ended.effects().is_empty(), "{words:?}\n{}", ended.log);
    ended
}

async fn count(world: &World) -> String {
    world.value("select count(*) from dbo.e").await
}

#[tokio::test]
async fn a_reload_in_which_a_part_is_missing_removes_nothing() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, &rows(0..500)).await;
    world.bucket.put(LOAD2, &rows(500..600)).await;
    run_once(&world).await.ok();
    world.bucket.delete(LOAD2).await;
    world.bucket.put_later(LOAD1, &rows(0..400)).await;
    world.bucket.put(LOAD3, &rows(550..620)).await;
    is_held(&world, "part 2 is missing between ").await;
    is_held(&world, "stopped by delivery ").await;
    assert_eq!(count(&world).await, "600");
    world.bucket.put(LOAD2, &rows(400..550)).await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 20, amend: 0, remove: 0)."]);
}

#[tokio::test]
async fn a_first_load_waits_for_the_part_that_is_missing() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, &rows(0..5)).await;
    world.bucket.put(LOAD3, &rows(10..15)).await;
    let ended = run_once(&world).await;
    assert!(ended.code == 1 && ended.log.contains("part 2 is missing between "), "{}", ended.log);
    assert_eq!(count(&world).await, "5", "what is in front of the gap is loaded");
    world.bucket.put(LOAD2, &rows(5..10)).await;
    run_once(&world).await.ok();
    assert_eq!(count(&world).await, "15");
}

#[tokio::test]
async fn a_part_that_lies_there_packed_and_unpacked_is_never_two() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, &rows(0..5)).await;
    world.bucket.put_bytes("e/LOAD00000001.csv", rows(0..5).into_bytes()).await;
    is_held(&world, "are one part, unpacked and packed").await;
    assert_eq!(count(&world).await, "0");
    world.bucket.delete("e/LOAD00000001.csv").await;
    let id = world.value("select id from loader_deliveries where object_key like '%.gz'").await;
    let mut retry = program(&world);
    retry.args(["deliveries", "retry", &id]);
    run(retry).await.ok();
    run_once(&world).await.ok();
    assert_eq!(count(&world).await, "5");
    // and in a table without a key, where it would double all rows
    world.sql("create table dbo.k (id int)").await;
    world.bucket.put("k/LOAD00000001.csv.gz", "1\n2\n").await;
    run_once(&world).await.ok();
    world.bucket.put_bytes("k/LOAD00000001.csv", b"1\n2\n".to_vec()).await;
    is_held(&world, "are one part, unpacked and packed").await;
    world.bucket.delete("k/LOAD00000001.csv.gz").await;
    let id = world.value("select id from loader_deliveries where object_key like '%k/LOAD00000001.csv'").await;
    let mut retry = program(&world);
    retry.args(["deliveries", "retry", &id]);
    run(retry).await.ok();
    run_once(&world).await.ok();
    assert_eq!(world.value("select count(*) from dbo.k").await, "2", "it is the same part, packed otherwise");
}
