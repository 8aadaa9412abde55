//! A file that kills the program at every start: other tables go on, and in the end the ledger names the file.

use crate::limits::bounded;
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
    assert!(
        error.starts_with(&format!("{key}: loaders died 5 times in a row while they had this file in hand.")),
        "{error}"
    );
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

#[tokio::test]
async fn a_file_that_takes_all_memory_is_named_and_other_tables_go_on() {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key)").await;
    world.bucket.put("e/LOAD00000001.csv.gz", &format!("1,{},1\n", "x".repeat(160 << 20))).await;
    world.bucket.put_later("f/LOAD00000001.csv.gz", "1\n").await;
    let start = async |mebibytes| {
        let mut command = bounded(&world, mebibytes);
        command.env("LIMITS", "max_row=512MiB max_ratio=100000");
        run(command).await
    };
    let mut deaths = 0;
    let ended = loop {
        let ended = start(64).await;
        if ended.code != -1 {
            break ended;
        }
        deaths += 1;
        assert!(deaths < 8, "{}", ended.log);
        world.bucket.put(&format!("f/20991231-23000000{deaths}.csv.gz"), &format!("I,{}\n", deaths + 1)).await;
    };
    assert_eq!((ended.code, deaths), (1, 6), "{}", ended.log);
    let error = world.value("select error from loader_deliveries where status = 'failed'").await;
    assert!(error.contains("/e/LOAD00000001.csv.gz: loaders died 5 times in a row"), "{error}");
    assert_eq!(world.value("select count(*) from dbo.f").await, "7", "{}", ended.log);
    // with more memory the file is as good as any
    let mut retry = program(&world);
    retry.args(["deliveries", "retry", &world.value("select id from loader_deliveries where status = 'failed'").await]);
    run(retry).await.ok();
    start(4096).await.ok();
    assert_eq!(world.value("select length(name) from dbo.e").await, (160 << 20).to_string());
}

#[tokio::test]
async fn another_version_of_the_file_begins_anew() {
    let world = World::with_table().await;
    let times = "select coalesce(max(times), 0) from loader_in_hand";
    world.bucket.put("e/LOAD00000001.csv.gz", "1,a,1\n").await;
    for wanted in ["0", "1", "2", "3"] {
        killed(&world, 1).await;
        assert_eq!(world.value(times).await, wanted);
    }
    world.bucket.put_later("e/LOAD00000001.csv.gz", "1,a,1\n2,b,1\n").await;
    killed(&world, 1).await;
    assert_eq!(world.value(times).await, "1");
    once(&world).await.ok();
    assert_eq!(world.value(MARKS).await, "0 0");
}

/// Who finds another loader at the file does not take it for dead.
#[tokio::test]
async fn loaders_that_run_at_the_same_time_are_not_taken_for_dead() {
    let world = World::with_table().await;
    world.bucket.put("e/LOAD00000001.csv.gz", "1,a,1\n").await;
    killed(&world, 1).await;
    for n in 0..20 {
        world.bucket.put(&format!("e/20991231-2300000{n:02}.csv.gz"), &format!("I,{},a,1\n", n + 2)).await;
    }
    let mut together = tokio::task::JoinSet::new();
    for _ in 0..8 {
        together.spawn(run(program(&world)));
    }
    while let Some(ended) = together.join_next().await {
        let ended = ended.expect("it ran");
        assert!([0, 75].contains(&ended.code) && !ended.log.contains("when a loader died"), "{}", ended.log);
    }
    once(&world).await.ok();
    assert_eq!(world.value("select count(*) from dbo.e").await, "21");
    assert_eq!(world.value(MARKS).await, "0 0");
}
