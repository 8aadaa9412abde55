//! What stops a table, what it says, and how it goes on.

use crate::support::program::{Ended, as_owner, program, run, run_once};
use crate::support::{World, gz, template};

const LOAD1: &str = "e/LOAD00000001.csv.gz";
const CHANGE: &str = "e/20991231-235900000.csv.gz";

async fn fails(world: &World, words: &str) -> Ended {
    let ended = run_once(world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains(words), "{words:?} is not in\n{}", ended.log);
    ended
}

/// A bad file, what the loader says of it; nothing of it may be in the table.
async fn refuses(text: &str, words: &str) {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, text).await;
    fails(&world, words).await;
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|failed|0/0/0/0"], "{text:?}");
    assert!(world.value("select error from loader_deliveries").await.contains(words));
    assert_eq!(world.value("select count(*) from dbo.e").await, "0", "nothing is applied");
}

#[tokio::test]
async fn bad_rows_are_named_by_line_and_column_and_never_by_their_value() {
    refuses("1,a,1\n2,b,two\n", "line 2, column price: ").await;
    refuses("1,a,1\nx2,b,2\n", "line 2, column id: ").await;
    refuses("1,a,1\nNULL,b,2\n", "line 2, column id: null, and the column is not null").await;
    refuses("1,a,1.239\n", "line 1, column price: ").await;
    refuses("1,a,1\n2,b\n", "line 2: 2 fields where 3 were expected").await;
    refuses("1,a\n", "line 1: 2 fields, but the table has 3 columns to fill").await;
    refuses("1,a,1\n2,\"b,2\n3,c,3\n", "line 2: a quote is opened in field 2 and never closed").await;
    refuses("1,a,1\n2,b,2\n1,c,3\n", "line 3: the same key as line 1").await;
    refuses("1,a,1\n1,a,1\n", "line 2: the same key as line 1").await;
}

#[tokio::test]
async fn bad_bytes_are_named() {
    let whole = gz("1,a,1\n2,b,2\n");
    let mut flipped = whole.clone();
    let crc = flipped.len() - 7;
    flipped[crc] ^= 1;
    let cases: [(Vec<u8>, &str); 6] = [
        (whole[..whole.len() - 3].to_vec(), "truncated gzip at byte"),
        (flipped, "corrupt gzip at byte"),
        (b"1,a,1\n".to_vec(), "not gzip (starts with 31 2c)"),
        ([whole.clone(), b"garbage after it".to_vec()].concat(), "bytes after the last gzip member"),
        (gz("1,\u{0},1\n"), "line 1, column name: "),
        ([whole.clone(), gz("3,c\n")].concat(), "line 3: 2 fields"),
    ];
    for (bytes, words) in cases {
        let world = World::with_table().await;
        world.bucket.put_bytes(LOAD1, bytes).await;
        fails(&world, words).await;
        assert_eq!(world.value("select count(*) from dbo.e").await, "0", "{words}");
    }
}

#[tokio::test]
async fn a_failed_file_stops_its_table_and_no_other_until_it_is_mended() {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key)").await;
    world.bucket.put(LOAD1, "1,a,broken\n").await;
    world.bucket.put(CHANGE, "I,2,b,2\n").await;
    world.bucket.put("f/LOAD00000001.csv.gz", "1\n").await;
    fails(&world, &format!("failed: {}", world.bucket.key(LOAD1))).await;
    assert_eq!(world.value("select count(*) from dbo.f").await, "1", "the other table goes on");
    fails(&world, "dbo.e: stopped by delivery").await;
    assert_eq!(world.value("select count(*) from dbo.e").await, "0", "the change file waits");
    assert_eq!(world.value("select attempts from loader_deliveries where status = 'failed'").await, "1");

    world.bucket.put_later(LOAD1, "1,a,1\n").await;
    let ended = run_once(&world).await.ok();
    assert_eq!(ended.effects().len(), 1, "{}", ended.log);
    let states = world
        .rows("select status, actor, reason from loader_deliveries where object_key like '%/e/%' order by revision");
    let states = states.await;
    assert!(states[0].starts_with("skipped|loader|superseded"), "{states:?}");
    // the change file was made before the mended snapshot: it is in it
    assert_eq!(states[1..], ["loaded|∅|∅", "skipped|loader|contained in snapshot 1"]);
}

#[tokio::test]
async fn a_change_file_that_fails_is_applied_whole_or_not_at_all() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put(CHANGE, "U,1,changed,1\nX,2,b,2\n").await;
    fails(&world, "line 2: the first field is not an op").await;
    assert_eq!(world.rows("select name from dbo.e").await, ["a"]);
}

#[tokio::test]
async fn what_postgres_refuses_is_the_files_fault() {
    let world = World::with_table().await;
    world.sql("alter table dbo.e add constraint cheap check (price < 100)").await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,100\n").await;
    fails(&world, "constraint cheap").await;
    assert_eq!(world.value("select count(*) from dbo.e").await, "0");
}

#[tokio::test]
async fn a_constraint_that_is_checked_at_the_commit_fails_the_delivery() {
    let world = World::with_deferred_constraint().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    fails(&world, "violates foreign key constraint").await;
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|failed|0/0/0/0"]);
    assert_eq!(world.value("select count(*) from dbo.e").await, "0");
}

#[tokio::test]
async fn a_snapshot_that_removes_too_much_is_held() {
    let world = World::with_table().await;
    let rows: String = (0..300).map(|id| format!("{id},n,1\n")).collect();
    world.bucket.put(LOAD1, &rows).await;
    run_once(&world).await.ok();
    let few: String = (0..140).map(|id| format!("{id},n,1\n")).collect();
    world.bucket.put_later(LOAD1, &few).await;
    fails(
        &world,
        &format!("held: {}: would remove 160 of 300 rows (53.4 %), more than MAX_REMOVE=50%", world.bucket.key(LOAD1)),
    )
    .await;
    assert_eq!(world.value("select count(*) from dbo.e").await, "300");
    assert_eq!(world.ledger().await[1], "LOAD00000001.csv.gz|held|0/0/160/0");

    world.bucket.put_later(LOAD1, "").await;
    fails(&world, "would remove 300 of 300 rows: the snapshot is empty").await;
    let enough: String = (0..150).map(|id| format!("{id},n,1\n")).collect();
    world.bucket.put_later(LOAD1, &enough).await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 0, remove: 150)."]);
}

#[tokio::test]
async fn a_late_change_file_stops_its_table() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put(CHANGE, "U,1,new,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put("e/20991231-235859999.csv.gz", "U,1,old,1\n").await;
    let (late, loaded) = (world.bucket.key("e/20991231-235859999.csv.gz"), world.bucket.key(CHANGE));
    fails(&world, &format!("late: {late}: {loaded} was loaded before it, and comes after it")).await;
    assert_eq!(world.rows("select name from dbo.e").await, ["new"]);
}

#[tokio::test]
async fn a_schema_newer_than_the_program_is_refused_and_a_missing_one_named() {
    let world = World::empty_with_table().await;
    let mut command = program(&world);
    command.env("MIGRATE", "False");
    let ended = run(command).await;
    assert_eq!(ended.code, 78);
    let all = std::fs::read_dir("db/migrations").expect("migrations").count();
    assert!(ended.log.contains(&format!("lack {all} migrations")), "{}", ended.log);
    run_once(&world).await.ok();
    world.sql("insert into loader_schema_history values (999, 'later', '', '')").await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 78);
    assert!(ended.log.contains("newer than this program"), "{}", ended.log);
}

#[tokio::test]
async fn the_loader_role_needs_no_ddl() {
    let world = World::with_table().await;
    assert!(world.target().contains("user=it_loader ") && world.migrate() == "False", "as all tests do");
    let may = "select rolsuper or rolcreatedb or rolcreaterole or rolbypassrls
                      or has_schema_privilege(rolname, 'public', 'create')
                      or has_schema_privilege(rolname, 'dbo', 'create')
                      or has_database_privilege(rolname, current_database(), 'create')
               from pg_roles where rolname = 'it_loader'";
    assert_eq!(world.value(may).await, "f", "it may make nothing");
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put(CHANGE, "U,1,b,1\nI,2,c,1\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows("select name from dbo.e order by id").await, ["b", "c"]);
    // with nothing to migrate it may be told to
    let mut command = program(&world);
    command.env("MIGRATE", "True");
    run(command).await.ok();
}

/// What `roles.sql` grants by itself: here no default privileges help.
#[tokio::test]
async fn the_roles_are_granted_what_the_tables_that_are_there_need() {
    let world = World::empty_with_table().await;
    template::ready().await;
    world.sql("alter table dbo.e add seen bigserial").await;
    let mut migrate = as_owner(&world);
    migrate.args(["migrate", "--roles"]);
    run(migrate).await.ok();
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put(CHANGE, "U,1,b,1\nI,2,c,1\n").await;
    let mut command = program(&world);
    command
        .env("TARGET", world.target_as(template::LOADER))
        .env("MIGRATE", "False")
        .env("FEED", "columns=id,name,price");
    run(command).await.ok();
    assert_eq!(world.rows("select name, seen from dbo.e order by id").await, ["b|1", "c|2"]);
}

async fn steer(world: &World, args: &[&str]) -> Ended {
    let mut command = program(world);
    command.arg("deliveries").args(args).env("USER", "operator");
    run(command).await
}

#[tokio::test]
async fn a_fault_of_the_table_is_mended_and_the_delivery_tried_again() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id interval primary key)").await;
    world.bucket.put(LOAD1, "1\n2\n").await;
    fails(&world, "interval cannot be a key").await;
    world.sql("alter table dbo.e alter id type int using 0").await;
    fails(&world, "stopped by delivery 1, failed").await;
    steer(&world, &["retry", "1"]).await.ok();
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 2, amend: 0, remove: 0)."]);
    let row = world.value("select id, status, attempts, requested, error from loader_deliveries").await;
    assert_eq!(row, "1|loaded|2|∅|∅", "a retry keeps its row");
    let refused = steer(&world, &["retry", "1"]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.log.contains("delivery 1 is loaded\n"), "{}", refused.log);
    assert!(
        refused.log.contains("why:   only a delivery that failed, is held or is late can be retried\n"),
        "{}",
        refused.log
    );
    assert!(steer(&world, &["retry", "7"]).await.log.contains("no delivery 7"));
}

#[tokio::test]
async fn a_held_snapshot_is_released_and_may_remove_what_was_shown() {
    let world = World::with_table().await;
    let rows = |count: u32| (0..count).map(|id| format!("{id},n,1\n")).collect::<String>();
    world.bucket.put(LOAD1, &rows(300)).await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, &rows(100)).await;
    fails(&world, "would remove 200 of 300 rows").await;
    // somebody else's rows came after it was shown: more would be removed now
    world.sql("insert into dbo.e values (1000, 'x', 1)").await;
    assert!(steer(&world, &["release", "2"]).await.ok().log.contains("may remove up to 200 rows"));
    fails(&world, "would remove 201 of 301 rows: more than the 200 when it was released").await;
    steer(&world, &["release", "2"]).await.ok();
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 0, remove: 201)."]);
    assert_eq!(world.value("select attempts from loader_deliveries where id = 2").await, "3");
}

#[tokio::test]
async fn what_is_skipped_says_who_and_why_and_the_table_goes_on() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put(CHANGE, "U,1,b,broken\n").await;
    world.bucket.put("e/20991231-235901000.csv.gz", "U,1,c,1\n").await;
    fails(&world, "line 1, column price").await;
    assert_ne!(steer(&world, &["skip", "2"]).await.code, 0, "a reason is needed");
    steer(&world, &["skip", "2", "--reason", "sent by mistake"]).await.ok();
    run_once(&world).await.ok();
    assert_eq!(world.value("select name from dbo.e").await, "c");
    let row = world.value("select status, reason, actor like 'operator@%' from loader_deliveries where id = 2").await;
    assert_eq!(row, "skipped|sent by mistake|t");
    let list = steer(&world, &["list", "--status", "skipped"]).await.ok().log;
    assert!(list.contains(" skipped ") && list.contains(": sent by mistake"), "{list}");
    let json = steer(&world, &["list", "--json", "--limit", "1"]).await.ok().log;
    assert!(json.contains(r#""status":"loaded""#), "{json}");
    let one = steer(&world, &["show", "2"]).await.ok().log;
    assert!(one.contains("object_key") && one.contains("line 1, column price"), "{one}");
}

const LOAD2: &str = "e/LOAD00000002.csv.gz";

async fn two_parts(world: &World, one: &str, two: &str) {
    world.bucket.put(LOAD1, one).await;
    world.bucket.put(LOAD2, two).await;
}

#[tokio::test]
async fn a_mixed_reload_is_held_and_goes_on_when_the_other_part_comes() {
    let world = World::with_table().await;
    two_parts(&world, "1,a,1\n", "2,b,2\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "1,x,1\n").await;
    fails(&world, "mixed reload").await;
    fails(&world, "stopped by delivery 3, held").await;
    world.bucket.put(LOAD2, "2,y,2\n").await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 2, remove: 0)."]);
    assert_eq!(world.value("select count(*) from loader_deliveries where status = 'loaded'").await, "4");
}

#[tokio::test]
async fn a_released_mixed_reload_takes_the_old_part_as_it_is() {
    let world = World::with_table().await;
    two_parts(&world, "1,a,1\n", "2,b,2\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "3,c,3\n").await;
    fails(&world, "mixed reload").await;
    assert!(steer(&world, &["retry", "3"]).await.ok().log.contains("tried again"));
    fails(&world, "mixed reload").await;
    steer(&world, &["release", "3"]).await.ok();
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 1, amend: 0, remove: 1)."]);
    assert_eq!(world.rows("select id from dbo.e order by id").await, ["2", "3"]);
    let generations = "select string_agg(generation || status, ' ' order by id) from loader_deliveries";
    assert_eq!(world.value(generations).await, "1loaded 2loaded 2loaded");
}

#[tokio::test]
async fn a_reload_with_fewer_parts_is_held_and_skipping_it_lets_the_table_go_on() {
    let world = World::with_table().await;
    two_parts(&world, "1,a,1\n", "2,b,2\n").await;
    run_once(&world).await.ok();
    world.bucket.delete(LOAD2).await;
    world.bucket.put_later(LOAD1, "1,x,1\n").await;
    fails(&world, "maybe incomplete: 1 of the 2 parts").await;
    steer(&world, &["skip", "3", "--reason", "not a whole load"]).await.ok();
    world.bucket.put("e/20991231-235900.csv.gz", "I,5,e,5\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows("select id, name from dbo.e order by id").await, ["1|a", "2|b", "5|e"]);
}

#[tokio::test]
async fn a_held_reload_of_several_parts_is_one_thing_to_the_operator() {
    let world = World::with_table().await;
    let rows = |from: u32, to: u32| (from..to).map(|id| format!("{id},n,1\n")).collect::<String>();
    two_parts(&world, &rows(0, 200), &rows(200, 400)).await;
    run_once(&world).await.ok();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    two_parts(&world, &rows(0, 10), &rows(200, 210)).await;
    fails(&world, "would remove 380 of 400 rows").await;
    assert_eq!(world.value("select count(*) from loader_deliveries where status = 'held'").await, "2");
    steer(&world, &["skip", "3", "--reason", "wrong"]).await.ok();
    assert_eq!(world.value("select count(*) from loader_deliveries where status = 'skipped'").await, "2");
    assert!(run_once(&world).await.ok().effects().is_empty());
}

#[tokio::test]
async fn a_failed_file_that_went_away_and_came_back_is_pending_again() {
    let world = World::with_table().await;
    world.sql("alter table dbo.e add constraint cheap check (price < 100)").await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put(CHANGE, "U,1,b,100\n").await;
    fails(&world, "constraint cheap").await;
    world.bucket.delete(CHANGE).await;
    fails(&world, "stopped by delivery 2, gone").await;
    world.sql("alter table dbo.e drop constraint cheap").await;
    world.bucket.put(CHANGE, "U,1,b,100\n").await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 1, remove: 0)."]);
    assert_eq!(world.value("select status from loader_deliveries where id = 2").await, "loaded");
}

#[tokio::test]
async fn a_change_file_that_was_copied_before_a_reload_is_held_until_somebody_decides() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put("e/20200101-000000.csv.gz", "U,1,stale,1\n").await;
    world.bucket.put_later(LOAD1, "1,fresh,1\n").await;
    fails(&world, "FEED order=modified if it contains what was written before it").await;
    assert_eq!(world.value("select name from dbo.e").await, "fresh");
    let mut command = program(&world);
    command.env("FEED", "order=modified");
    assert!(run(command).await.ok().log.contains("contained in snapshot 2"));
    assert_eq!(world.value("select name from dbo.e").await, "fresh");
}

#[tokio::test]
async fn a_change_file_before_the_first_snapshot_makes_none_after_it_late() {
    let world = World::with_table().await;
    world.bucket.put("e/20991231-235901.csv.gz", "I,1,a,1\n").await;
    run_once(&world).await.ok();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    world.bucket.put(LOAD1, "1,b,1\n").await;
    world.bucket.put("e/20991231-235900.csv.gz", "U,1,c,1\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.value("select name from dbo.e").await, "c");
}

#[tokio::test]
async fn ops_are_never_taken_for_a_column() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (code text primary key, name text, extra text)").await;
    world.bucket.put(CHANGE, "I,abc,foo\nD,xyz,foo\n").await;
    fails(&world, "the first field is an op, but there are only 3 fields for 3 columns and an op").await;
    assert_eq!(world.value("select count(*) from dbo.e").await, "0");
}

#[tokio::test]
async fn no_words_of_postgres_show_a_cell() {
    let raise =
        "create function dbo.no() returns trigger language plpgsql as $$ begin raise exception 'not today'; end $$;
        create trigger no before insert on dbo.e for each row execute function dbo.no()";
    for (table, words) in [
        ("n int generated always as (name::int) stored", "a value is not of its type (22P02, row 1 of the COPY)"),
        ("n int generated always as (1 / (length(name) - 7)) stored", "division by zero (22012, row 1 of the COPY)"),
        ("n text unique default 'x' check (name <> 'hunter2')", "violates check constraint"),
        ("n text references dbo.f default 'hunter2'", "violates foreign key constraint"),
        ("n text default 'hunter2', unique (n)", "duplicate key value violates unique constraint"),
        ("n text", "not today (P0001, row 1 of the COPY)"),
    ] {
        let world = World::new().await;
        world.sql("create schema dbo; create table dbo.f (id text primary key)").await;
        world.sql(&format!("create table dbo.e (id int primary key, name text, {table})")).await;
        if words.starts_with("not today") {
            world.sql(raise).await;
        }
        world.bucket.put("e/LOAD00000001.csv.gz", "1,hunter2\n2,hunter2\n").await;
        let mut command = program(&world);
        command.env("FEED", "columns=id,name");
        let ended = run(command).await;
        let error = world.value("select error from loader_deliveries").await;
        assert!(error.contains(words), "{error}");
        assert!(!ended.log.contains("hunter2") && !error.contains("hunter2"), "{}\n{error}", ended.log);
    }
}
