//! Where two things meet: the quarantine and rows that move, missing cells and late files, rows that refer to each other.

use std::process::Command;

use crate::support::World;
use crate::support::program::{Ended, program, run, run_once};

const LOAD1: &str = "e/LOAD00000001.csv.gz";
const LOAD2: &str = "e/LOAD00000002.csv.gz";
const MOVES: &str = "columns=Op,id,a,b,BI_id before_image_prefix=BI_ no_supply=??";

fn lenient(world: &World, feed: &str) -> Command {
    let mut command = program(world);
    command.env("FEED", feed).env("ON_BAD_ROW", "quarantine").env("MAX_REJECTS", "100%");
    command
}

async fn with_feed(world: &World, feed: &str) -> Ended {
    let mut command = program(world);
    command.env("FEED", feed);
    run(command).await
}

async fn steer(world: &World, args: &[&str]) -> Ended {
    let mut command = program(world);
    command.arg("deliveries").args(args);
    run(command).await
}

async fn change(world: &World, minute: u32, text: &str) {
    world.bucket.put(&format!("e/20991231-23{minute:02}00000.csv.gz"), text).await;
}

async fn table(world: &World) -> Vec<String> {
    world.rows("select * from dbo.e order by id").await
}

async fn with_rows() -> World {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, a text default 'x', b int default 7)").await;
    world.sql("insert into dbo.e values (1, 'one', 1), (2, 'two', 2)").await;
    world
}

async fn asked() -> World {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id inet primary key, a int[] default '{0}', b text)").await;
    world.sql("insert into dbo.e values ('10.0.0.1', '{1}', 'one'), ('10.0.0.2', '{2}', 'two')").await;
    world
}

#[tokio::test]
async fn a_rejected_row_that_moves_changes_nothing() {
    let world = with_rows().await;
    change(&world, 1, "U,10,uno,bad,1\nU,2,zwei,2,2\n").await;
    let ended = run(lenient(&world, MOVES)).await.ok();
    assert_eq!(table(&world).await, ["1|one|1", "2|zwei|2"], "{}", ended.log);
}

#[tokio::test]
async fn a_move_to_a_key_that_is_not_supplied_deletes_nothing() {
    let world = with_rows().await;
    change(&world, 1, "U,??,uno,1,1\n").await;
    let ended = run(lenient(&world, MOVES)).await.ok();
    assert_eq!(table(&world).await, ["1|one|1", "2|two|2"], "{}", ended.log);
}

#[tokio::test]
async fn a_rejected_row_that_moves_changes_nothing_for_asked_types() {
    let world = asked().await;
    change(&world, 1, "U,10.0.0.9,seven,uno,10.0.0.1\n").await;
    let ended = run(lenient(&world, MOVES)).await.ok();
    assert_eq!(table(&world).await, ["10.0.0.1|{1}|one", "10.0.0.2|{2}|two"], "{}", ended.log);
}

#[tokio::test]
async fn a_row_in_quarantine_is_not_applied_too() {
    let world = asked().await;
    change(&world, 1, "U,10.0.0.9,\"{9}\",uno,nowhere\n").await;
    let ended = run(lenient(&world, MOVES)).await.ok();
    assert_eq!(world.value("select count(*) from loader_rejects").await, "1");
    assert_eq!(table(&world).await, ["10.0.0.1|{1}|one", "10.0.0.2|{2}|two"], "{}", ended.log);
}

#[tokio::test]
async fn a_row_goes_into_quarantine_once_when_both_keys_are_bad() {
    let world = asked().await;
    change(&world, 1, "U,there,\"{9}\",uno,nowhere\n").await;
    let ended = run(lenient(&world, MOVES)).await;
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert_eq!(world.value("select rows_rejected from loader_deliveries").await, "1");
}

#[tokio::test]
async fn a_row_goes_into_quarantine_once_when_two_of_its_cells_are_bad() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id inet primary key, price numeric(6,2))").await;
    world.bucket.put(LOAD1, "10.0.0.1,1\nnowhere,bad\n10.0.0.2,2\n").await;
    let ended = run(lenient(&world, "")).await;
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert_eq!(world.value("select rows_rejected from loader_deliveries").await, "1");
}

#[tokio::test]
async fn a_cell_not_supplied_keeps_what_the_table_has_under_the_new_key() {
    let world = with_rows().await;
    change(&world, 1, "U,2,??,5,77\n").await;
    let ended = with_feed(&world, MOVES).await.ok();
    assert_eq!(table(&world).await, ["1|one|1", "2|two|5"], "{}", ended.log);
}

#[tokio::test]
async fn folding_a_late_file_in_leaves_a_moved_row_as_it_was() {
    let world = with_rows().await;
    change(&world, 1, "U,2,zwei,2,2\n").await;
    change(&world, 4, "U,10,??,5,1\n").await;
    with_feed(&world, MOVES).await.ok();
    assert_eq!(table(&world).await, ["2|zwei|2", "10|one|5"]);
    change(&world, 2, "U,2,deux,2,2\n").await;
    assert_eq!(with_feed(&world, MOVES).await.code, 1);
    steer(&world, &["retry", "3"]).await.ok();
    let ended = with_feed(&world, MOVES).await.ok();
    assert_eq!(table(&world).await, ["2|deux|2", "10|one|5"], "{}", ended.log);
}

#[tokio::test]
async fn a_generated_column_in_the_key_is_not_forgotten() {
    let world = World::new().await;
    world
        .sql(
            "create schema dbo;
             create table dbo.e (id int, region text, g text generated always as (upper(region)) stored,
                                 primary key (id, g));
             insert into dbo.e values (1, 'a'), (1, 'b'), (2, 'a')",
        )
        .await;
    change(&world, 1, "D,1,a\n").await;
    let ended = run_once(&world).await;
    assert!(ended.log.contains("its key holds a generated column"), "{}", ended.log);
    assert_eq!(world.value("select count(*) from dbo.e").await, "3");
}

#[tokio::test]
async fn without_a_key_the_same_file_again_changes_nothing() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (a int, c jsonb)").await;
    let rows: String = (0..150).map(|n| format!("{n},\"{{\"\"k\"\":{n}}}\"\n")).collect();
    world.bucket.put(LOAD1, &rows).await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, &rows).await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert_eq!(ended.effects(), ["e (create: 0, amend: 0, remove: 0)."]);
}

#[tokio::test]
async fn rows_that_swap_a_unique_value_need_no_deferrable_constraint() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, place int unique)").await;
    world.bucket.put(LOAD1, "1,1\n2,2\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "1,2\n2,1\n").await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 2, remove: 0)."]);
}

#[tokio::test]
async fn the_ledger_and_the_quarantine_agree() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    change(&world, 4, "U,1,b,1\nU,1,c,bad\n").await;
    run(lenient(&world, "")).await.ok();
    change(&world, 2, "U,1,late,1\n").await;
    assert_eq!(run(lenient(&world, "")).await.code, 1);
    steer(&world, &["retry", "3"]).await.ok();
    let ended = run(lenient(&world, "")).await.ok();
    let rows = world
        .rows(
            "select d.id, d.rows_rejected, count(r) from loader_deliveries d left join loader_rejects r on r.delivery_id = d.id
             group by d.id order by d.id",
        )
        .await;
    assert_eq!(rows, ["1|0|0", "2|1|1", "3|0|0"], "{}", ended.log);
}

#[tokio::test]
async fn each_part_has_its_own_rejects() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put(LOAD2, "2,b,1\n").await;
    run(lenient(&world, "")).await.ok();
    world.bucket.put_later(LOAD1, "1,a,bad\n").await;
    world.bucket.put(LOAD2, "2,c,1\n").await;
    let ended = run(lenient(&world, "")).await.ok();
    let rows = world
        .rows(
            "select d.rows_rejected, count(r) from loader_deliveries d left join loader_rejects r on r.delivery_id = d.id
             where d.generation = 2 group by d.id, d.object_key order by d.object_key",
        )
        .await;
    assert_eq!(rows, ["1|1", "0|0"], "{}", ended.log);
}

#[tokio::test]
async fn many_bad_rows_at_the_start_do_not_hide_the_missing_columns() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, a text default 'x', b int default 7)").await;
    let bad: String = (0..15_000).map(|n| format!("{n},bad\n")).collect();
    let good: String = (15_000..20_000).map(|n| format!("{n},1\n")).collect();
    world.bucket.put(LOAD1, &(bad + &good)).await;
    let ended = run(lenient(&world, "columns=id,b")).await;
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert_eq!(world.value("select count(*), min(a) from dbo.e").await, "5000|x");
}

#[tokio::test]
async fn deleted_and_made_again_is_no_remove_and_create() {
    let world = with_rows().await;
    world
        .sql("create table dbo.child (id int references dbo.e on delete cascade); insert into dbo.child values (2)")
        .await;
    change(&world, 1, "D,2,,,\nI,2,zwei,??,\n").await;
    let ended = with_feed(&world, MOVES).await.ok();
    assert_eq!(table(&world).await, ["1|one|1", "2|zwei|7"]);
    assert_eq!(world.value("select count(*) from dbo.child").await, "1");
    assert_eq!(ended.effects(), ["e (create: 0, amend: 1, remove: 0)."]);
}

#[tokio::test]
async fn a_null_before_image_is_no_null_key() {
    let world = with_rows().await;
    change(&world, 1, "U,2,zwei,2,NULL\n").await;
    let ended = with_feed(&world, MOVES).await;
    assert_eq!(ended.code, 0, "{}", ended.log);
}

#[tokio::test]
async fn a_bad_row_does_not_fail_the_rest_by_its_key() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n1,b,bad\n2,c,1\n").await;
    let ended = run(lenient(&world, "")).await;
    assert_eq!(ended.code, 0, "{}", ended.log);
}

#[tokio::test]
async fn the_event_id_of_a_rejected_row_is_the_same_whoever_refuses_it() {
    let mut seen = Vec::new();
    for (kind, bad) in [("numeric", "bad"), ("int[]", "bad")] {
        let world = World::new().await;
        world.sql(&format!("create schema dbo; create table dbo.e (id int primary key, event_id int, v {kind})")).await;
        world.bucket.put(LOAD1, &format!("1,10,NULL\n2,99,{bad}\n")).await;
        run(lenient(&world, "")).await.ok();
        seen.push(world.value("select max_event_id from loader_deliveries").await);
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_row_that_changes_its_parent_is_not_lost_with_the_old_one() {
    let world = World::new().await;
    world
        .sql("create schema dbo; create table dbo.e (id int primary key, up int references dbo.e on delete cascade)")
        .await;
    world.bucket.put(LOAD1, "1,NULL\n2,1\n3,NULL\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "2,3\n3,NULL\n").await;
    let ended = run_once(&world).await;
    assert_eq!(table(&world).await, ["2|3", "3|∅"], "{}\n{:?}", ended.log, world.ledger().await);
}

#[tokio::test]
async fn a_row_may_change_its_parent_when_the_old_one_goes() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, up int references dbo.e)").await;
    world.bucket.put(LOAD1, "1,NULL\n2,1\n3,NULL\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "2,3\n3,NULL\n").await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 0, "{}", ended.log);
}

#[tokio::test]
async fn what_is_held_for_its_bad_rows_shows_them() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,2\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "1,a,1\ntwo,b,2\n").await;
    let ended = run(lenient(&world, "")).await;
    assert_eq!(ended.code, 1);
    let shown = world.value("select rows_rejected from loader_deliveries where id = 2").await;
    assert!(shown == "1" || ended.log.contains("line 2"), "{shown}\n{}", ended.log);
}

#[tokio::test]
async fn a_deferrable_key_is_a_key() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key deferrable, a text)").await;
    change(&world, 1, "I,1,a\n").await;
    change(&world, 2, "U,1,b\n").await;
    let effects = ["e (create: 1, amend: 0, remove: 0).", "e (create: 0, amend: 1, remove: 0)."];
    assert_eq!(run_once(&world).await.ok().effects(), effects);
}

#[tokio::test]
async fn without_a_key_values_are_compared_by_their_type() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (a numeric)").await;
    world.bucket.put(LOAD1, "1.0\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "1.00\n").await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 0, remove: 0)."]);
}

#[tokio::test]
async fn a_load_whose_rows_are_all_bad_is_not_called_empty() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,2\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "one,a,1\ntwo,b,2\n").await;
    let mut command = program(&world);
    command.env("ON_BAD_ROW", "quarantine");
    let ended = run(command).await;
    assert!(!ended.log.contains("the snapshot is empty"), "{}", ended.log);
    assert!(ended.log.contains("2 of 2 rows are bad"), "{}", ended.log);
}

#[tokio::test]
async fn the_row_behind_a_refused_arrival_does_not_get_its_cells() {
    let world = asked().await;
    // line 1: leaves 10.0.0.1, its arrival is refused; line 2: its leaving is refused, its arrival is not
    change(&world, 1, "U,10.0.0.8,seven,??,10.0.0.1\nU,10.0.0.9,\"{9}\",??,nowhere\n").await;
    let ended = run(lenient(&world, MOVES)).await;
    assert_eq!(table(&world).await, ["10.0.0.1|{1}|one", "10.0.0.2|{2}|two"], "{}", ended.log);
}

#[tokio::test]
async fn rows_before_and_after_add_up_for_a_row_that_comes_back_with_defaults() {
    let world = with_rows().await;
    world
        .sql(
            "create function keep() returns trigger language plpgsql as $$ begin return null; end $$;
             create trigger keep before delete on dbo.e for each row execute function keep();",
        )
        .await;
    change(&world, 1, "D,2,,,\nI,2,zwei,??,\n").await;
    let ended = with_feed(&world, MOVES).await;
    assert_eq!(ended.code, 0, "{}", ended.log);
}
