//! What stands under a table's name: every kind of relation is loaded right, or refused by name before a row is written, and
//! `check`, `run` and `verify` say the same.

use crate::support::World;
use crate::support::program::{Ended, program, run, run_once, start};

const LOAD: &str = "e/LOAD00000001.csv.gz";
const CHANGES: &str = "e/20991231-000001000.csv.gz";

async fn ask(world: &World, arguments: &[&str]) -> Ended {
    let mut command = program(world);
    command.args(arguments);
    run(command).await
}

/// What was said, however its lines are broken.
fn flat(ended: &Ended) -> String {
    ended.log.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn says(ended: &Ended, code: i32, words: &str) {
    assert_eq!(ended.code, code, "{}", ended.log);
    assert!(flat(ended).contains(words), "{words:?} is not in\n{}", ended.log);
}

/// What is made of `dbo.e` and what it is refused with; `dbo.kept` must keep its rows.
const REFUSED: [(&str, &str); 7] = [
    ("create view dbo.e as select * from dbo.kept", "it is a view, not a table"),
    ("create materialized view dbo.e as select * from dbo.kept", "it is a materialized view, not a table"),
    (
        "create foreign data wrapper nothing; create server nowhere foreign data wrapper nothing;
         create foreign table dbo.e (id bigint, name text) server nowhere",
        "it is a foreign table, not a table",
    ),
    (
        "create table dbo.e (like dbo.kept including all); create table dbo.child () inherits (dbo.e)",
        "dbo.child inherits from it",
    ),
    (
        "create table dbo.e (like dbo.kept including all); create rule swallow as on insert to dbo.e do instead nothing",
        "rule swallow on it",
    ),
    (
        "create table dbo.e (like dbo.kept including all);
         create rule also as on update to dbo.e do also delete from dbo.kept",
        "rule also on it",
    ),
    (
        "create foreign data wrapper nothing; create server nowhere foreign data wrapper nothing;
         create table dbo.e (id bigint, name text) partition by range (id);
         create table dbo.e1 partition of dbo.e for values from (0) to (10);
         create foreign table dbo.e2 partition of dbo.e for values from (10) to (20) server nowhere",
        "its partition dbo.e2 is a foreign table",
    ),
];

#[tokio::test]
async fn what_is_no_ordinary_table_is_refused_by_name_and_check_run_and_verify_say_the_same() {
    for (made, words) in REFUSED {
        let world = World::new().await;
        world
            .sql(
                "create schema dbo; create table dbo.kept (id bigint primary key, name text);
                 insert into dbo.kept values (1, 'kept')",
            )
            .await;
        world.sql(made).await;
        world.sql("grant usage on schema dbo to public; grant all on all tables in schema dbo to public").await;
        world.bucket.put(LOAD, "1,a\n2,b\n").await;
        says(&ask(&world, &["check"]).await, 1, words);
        says(&run_once(&world).await, 1, words);
        assert_eq!(world.rows("select * from dbo.kept").await, ["1|kept"], "{made}");
        assert_eq!(
            world.rows("select status, count(*) from loader_deliveries group by 1").await,
            ["failed|1"],
            "{made}"
        );
        // as if it had been loaded before it became what it is
        world.sql("update loader_deliveries set status = 'loaded', error = null").await;
        says(&ask(&world, &["verify"]).await, 1, words);
    }
}

/// A rule, a trigger or a child that comes between two files of one process is noticed, though the table is remembered.
#[tokio::test]
async fn what_becomes_of_a_table_between_two_files_is_noticed() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n").await;
    let mut service = program(&world);
    service.env("RUN_AS_SERVICE", "True").env("METRICS", "").env("MIN_SLEEP", "0.1").env("MAX_SLEEP", "0.2");
    let running = start(service);
    running.says("Delivery 1: processed (").await;
    world.bucket.put(CHANGES, "U,1,x,1\n").await;
    running.says("Delivery 2: processed (").await;
    world.sql("create rule swallow as on update to dbo.e do instead nothing").await;
    world.bucket.put("e/20991231-000002000.csv.gz", "U,2,y,2\n").await;
    running.says("rule swallow on it").await;
    assert_eq!(world.rows("select id, name from dbo.e order by id").await, ["1|x", "2|b"]);
    running.signal("TERM");
    running.ends().await;
}

const SWALLOW: &str = "create function dbo.swallow() returns trigger language plpgsql as $$
    begin
        if coalesce(new.id, old.id) = 2 then return null; end if;
        return coalesce(new, old);
    end $$;";

#[tokio::test]
async fn a_trigger_that_takes_rows_away_fails_the_delivery_by_name() {
    for (event, file, rows, words) in [
        (
            "insert",
            LOAD,
            "1,a,1\n2,b,2\n3,c,3\n",
            "1 of 3 rows were not created, because a trigger took them away (taker)",
        ),
        ("insert", CHANGES, "I,1,a,1\nI,2,b,2\n", "1 of 2 rows were not created"),
        ("update", CHANGES, "U,2,z,2\nU,3,z,3\n", "1 of 2 rows were not amended"),
        ("delete", CHANGES, "D,2,,\nD,3,,\n", "1 of 2 rows were not removed"),
    ] {
        let world = World::with_table().await;
        if event != "insert" {
            world.bucket.put(LOAD, "2,b,2\n3,c,3\n").await;
            run_once(&world).await.ok();
        }
        let before = world.rows("select * from dbo.e order by id").await;
        world.sql(SWALLOW).await;
        world
            .sql(&format!("create trigger taker before {event} on dbo.e for each row execute function dbo.swallow()"))
            .await;
        world.bucket.put(file, rows).await;
        says(&run_once(&world).await, 1, words);
        assert_eq!(world.rows("select * from dbo.e order by id").await, before, "{event}: nothing is half done");
        world.sql("alter table dbo.e disable trigger taker").await;
        let id = world.value("select max(id) from loader_deliveries").await;
        ask(&world, &["deliveries", "retry", &id]).await.ok();
        run_once(&world).await.ok();
        assert_eq!(ask(&world, &["verify"]).await.code, 0, "{event}");
    }
}

/// A trigger that writes elsewhere and keeps the row is no fault, also where a row is found equal by its types' equality.
#[tokio::test]
async fn a_trigger_that_keeps_the_rows_is_no_fault() {
    let world = World::with_table().await;
    world
        .sql(
            "create table seen (id bigint); grant insert on seen to public;
             create function dbo.note() returns trigger language plpgsql as
                 $$ begin insert into public.seen values (coalesce(new.id, old.id)); return coalesce(new, old); end $$;
             create trigger note before insert or update or delete on dbo.e for each row execute function dbo.note()",
        )
        .await;
    world.bucket.put(LOAD, "1,a,1\n2,b,2\n").await;
    world.bucket.put(CHANGES, "U,1,x,1\nU,2,b,2.0\nI,3,c,3\nI,4,d,4\nD,4,,\nD,2,,\n").await;
    let ended = run_once(&world).await.ok();
    assert_eq!(ended.effects(), ["e (create: 2, amend: 0, remove: 0).", "e (create: 1, amend: 1, remove: 1)."]);
    assert_eq!(world.rows("select id from seen order by id").await, ["1", "1", "2", "2", "3"]);
}

#[tokio::test]
async fn an_unlogged_table_and_the_leaf_of_others_are_loaded_like_any() {
    let world = World::new().await;
    world
        .sql(
            "create schema dbo; create table dbo.parent (id bigint primary key, name text) partition by range (id);
             create table dbo.leaf partition of dbo.parent for values from (0) to (10);
             create unlogged table dbo.e (id bigint primary key, name text);
             create table dbo.above (note text); create table dbo.heir (id bigint primary key, name text) inherits (dbo.above)",
        )
        .await;
    for table in ["leaf", "e"] {
        world.bucket.put(&format!("{table}/LOAD00000001.csv.gz"), "1,a\n2,b\n").await;
        world.bucket.put(&format!("{table}/20991231-000001000.csv.gz"), "U,1,x\nD,2,\n").await;
    }
    world.bucket.put("heir/LOAD00000001.csv.gz", "n,1,a\n").await;
    run_once(&world).await.ok();
    for table in ["leaf", "e", "parent"] {
        assert_eq!(world.rows(&format!("select * from dbo.{table}")).await, ["1|x"], "{table}");
    }
    assert_eq!(world.rows("select note, id, name from dbo.heir").await, ["n|1|a"]);
    assert_eq!(ask(&world, &["verify"]).await.code, 0);
}
