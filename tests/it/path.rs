//! The path of a delivery: first loads, reloads, change files, order, counts, and what the ledger says of them.

use crate::support::World;
use crate::support::program::{program, run, run_once};
use paper_engine_orders::feed::{self, Changes, Edition, Entity, Expected, Layout, Packing, Shape};

const LOAD1: &str = "e/LOAD00000001.csv.gz";

#[tokio::test]
async fn a_first_load_a_change_file_and_a_reload() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,one,1.50\n2,two,2.00\n3,NULL,3\n").await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 3, amend: 0, remove: 0)."]);
    assert_eq!(world.rows("select * from dbo.e order by id").await, ["1|one|1.50", "2|two|2.00", "3|∅|3.00"]);

    world.bucket.put("e/20991231-235900000.csv.gz", "U,1,uno,1.50\nD,2,two,2.00\nI,4,four,4\n").await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 1, amend: 1, remove: 1)."]);
    assert_eq!(world.rows("select * from dbo.e order by id").await, ["1|uno|1.50", "3|∅|3.00", "4|four|4.00"]);

    world.bucket.put_later(LOAD1, "1,uno,1.5\n3,drei,3\n5,five,5\n").await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 1, amend: 1, remove: 1)."]);
    assert_eq!(world.rows("select * from dbo.e order by id").await, ["1|uno|1.50", "3|drei|3.00", "5|five|5.00"]);

    let wanted = [
        "LOAD00000001.csv.gz|loaded|3/0/0/0",
        "20991231-235900000.csv.gz|loaded|1/1/1/0",
        "LOAD00000001.csv.gz|loaded|1/1/1/1",
    ];
    assert_eq!(world.ledger().await, wanted);
    assert_eq!(
        world.value("select string_agg(generation::text, ',' order by id) from loader_deliveries").await,
        "1,1,2"
    );
    assert!(run_once(&world).await.ok().effects().is_empty(), "nothing is left to do");
    let locks = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
                 where locktype = 'advisory' and datname = current_database()";
    assert_eq!(world.value(locks).await, "0", "no lease is left");
}

#[tokio::test]
async fn the_log_says_the_missions_lines_in_their_order() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,one,1.50\n").await;
    let ended = run_once(&world).await.ok();
    let said: Vec<String> = ended.said().into_iter().filter(|line| line.starts_with("Delivery 1")).collect();
    let (last, lines) = said.split_last().expect("lines");
    let wanted = [
        &format!("Delivery 1: process_dbo {}.", world.bucket.key(LOAD1)),
        "Delivery 1: e (create: 1, amend: 0, remove: 0).",
        "Delivery 1: persisted to postgres.",
        r#"Delivery 1: persisted {"e":{"AMEND":0,"CREATE":1,"REMOVE":0}}."#,
        "Delivery 1: prometheus counters incremented.",
    ];
    assert_eq!(lines, wanted);
    assert!(last.starts_with("Delivery 1: processed (0:00:0") && last.ends_with(" seconds)."), "{last}");
    let first = ended.log.lines().find(|line| line.contains("process_dbo")).expect("a line");
    let (time, rest) = first.split_at(19);
    assert!(time.chars().all(|c| c.is_ascii_digit() || "- :".contains(c)), "{first}");
    assert!(rest.starts_with(" INFO [loader/events.rs:"), "{first}");
}

/// The generator's own model, which shares no code with the loader, says what each file of a mixed feed does.
#[tokio::test]
async fn a_mixed_feed_has_the_effects_that_the_generator_expects() {
    for entity in Entity::ALL {
        let world = World::with_model().await;
        let base = Edition::base(entity, 900.min(entity.full_size()), 7);
        let reload = base.reload(Shape { gone: 0.1, changed: 0.2, new: 0.1 }).expect("a shape");
        let changes = Changes::new(&base, 1, 300);
        let file = |key: String| key.trim_start_matches("data/dbo/").to_owned();
        let load = file(feed::snapshot_key("data", entity, 1));
        let mut model = Expected::empty(&base);
        let mut wanted = Vec::new();
        for step in 0..3 {
            let mut bytes = Vec::new();
            let packing = Packing { members: 3, ..Packing::default() };
            let (key, counts) = match step {
                0 => {
                    feed::snapshot(&base, Layout::default(), packing, &mut bytes).expect("written");
                    (load.clone(), model.reload(&base))
                }
                1 => {
                    feed::changes(&changes, packing, &mut bytes).expect("written");
                    let at = time::OffsetDateTime::now_utc();
                    (file(feed::changes_key("data", entity, at)), model.change(&changes))
                }
                _ => {
                    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
                    // not in key order: the sorter's turn
                    let layout = Layout { shuffled: true, ..Layout::default() };
                    feed::snapshot(&reload, layout, packing, &mut bytes).expect("written");
                    (load.clone(), model.reload(&reload))
                }
            };
            world.bucket.put_bytes(&key, bytes).await;
            run_once(&world).await.ok();
            wanted.push(format!("{}/{}/{}/{}", counts.create, counts.amend, counts.remove, counts.unchanged));
        }
        let seen: Vec<String> =
            world.ledger().await.iter().map(|line| line.rsplit('|').next().unwrap_or_default().to_owned()).collect();
        assert_eq!(seen, wanted, "{}", entity.name());
        let rows = world.value(&format!("select count(*) from dbo.{}", entity.name())).await;
        assert_eq!(rows, model.size().to_string(), "{}", entity.name());
    }
}

#[tokio::test]
async fn full_loads_come_first_and_parts_in_hex_order() {
    let world = World::with_table().await;
    world.bucket.put("e/LOAD0000000A.csv.gz", "20,a,1\n").await;
    world.bucket.put("e/LOAD00000009.csv.gz", "10,nine,1\n").await;
    world.bucket.put("e/20991231-235901.csv.gz", "D,10,NULL,NULL\n").await;
    world.bucket.put("e/20991231-235900.csv.gz", "U,10,changed,1\n").await;
    world.bucket.put("e/notes.txt", "not a file of the feed").await;
    run_once(&world).await.ok();
    let wanted = [
        "LOAD00000009.csv.gz|loaded|1/0/0/0",
        "LOAD0000000A.csv.gz|loaded|1/0/0/0",
        "20991231-235900.csv.gz|loaded|0/1/0/0",
        "20991231-235901.csv.gz|loaded|0/0/1/0",
    ];
    assert_eq!(world.ledger().await, wanted);
    assert_eq!(world.rows("select id from dbo.e").await, ["20"]);
}

#[tokio::test]
async fn what_happened_to_one_key_is_folded_and_the_effect_counted() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,one,1\n2,two,2\n3,three,3\n4,four,4\n").await;
    run_once(&world).await.ok();
    let changes = "U,1,a,1\nU,1,b,1\n\
                   D,2,NULL,NULL\nI,2,two,2\n\
                   I,3,three,3.00\n\
                   D,4,NULL,NULL\nD,99,NULL,NULL\n\
                   U,7,seven,7\nI,8,eight,8\nD,8,NULL,NULL\n";
    world.bucket.put("e/20991231-235900000.csv.gz", changes).await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 1, amend: 1, remove: 1)."]);
    assert_eq!(world.rows("select id, name from dbo.e order by id").await, ["1|b", "2|two", "3|three", "7|seven"]);
    let ledger = world.rows("select rows_read, rows_unchanged, claimed from loader_deliveries where kind = 'changes'");
    assert_eq!(ledger.await, [r#"10|2|{"I":3,"U":3,"D":4}"#]);
}

#[tokio::test]
async fn values_are_compared_by_their_type() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, n numeric, j jsonb, d json, f float8)").await;
    world.bucket.put(LOAD1, "1,1.0,\"{\"\"a\"\":1,\"\"b\"\":2}\",[1],0\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "1,1.00,\"{\"\"b\"\": 2, \"\"a\"\": 1}\",[1],0.0\n").await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 0, remove: 0)."]);
    world.bucket.put_later(LOAD1, "1,1.00,\"{\"\"b\"\": 2, \"\"a\"\": 1}\",[2],0\n").await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 1, remove: 0)."]);
    let versions = world.ledger().await;
    assert_eq!(versions[1], "LOAD00000001.csv.gz|loaded|0/0/0/1");
}

#[tokio::test]
async fn composite_text_keys_in_any_order() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.\"E\" (a text, b int, v text, primary key (b, a))").await;
    world.bucket.put(LOAD1, "x,2,one\nX,1,two\n\"ä\",1,three\nab,1,four\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "ab,1,four\n\"ä\",1,3\nx,2,one\n\"y,\n\"\"z\"\"\",2,five\n").await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 1, amend: 1, remove: 1)."]);
    let rows = world.rows("select b, a, v from dbo.\"E\" order by b, a collate \"C\"").await;
    assert_eq!(rows, ["1|ab|four", "1|ä|3", "2|x|one", "2|y,\n\"z\"|five"]);
}

#[tokio::test]
async fn the_highest_event_id_of_the_rows_read_is_kept() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, event_id bigint)").await;
    world.bucket.put(LOAD1, "1,77\n2,NULL\n3,12\n").await;
    world.bucket.put("e/20991231-235900000.csv.gz", "U,1,5\nD,3,99\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows("select max_event_id from loader_deliveries order by id").await, ["77", "5"]);
}

#[tokio::test]
async fn all_parts_of_a_reload_are_one_transaction() {
    let world = World::with_table().await;
    let part = |number: u32| format!("e/LOAD0000000{number}.csv.gz");
    for (number, text) in [(1, "1,a,1\n2,b,2\n"), (2, "3,c,3\n")] {
        world.bucket.put(&part(number), text).await;
    }
    run_once(&world).await.ok();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    for (number, text) in [(1, "3,c,3\n"), (2, "1,z,1\n4,d,4\n")] {
        world.bucket.put(&part(number), text).await;
    }
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 1, amend: 1, remove: 1)."]);
    assert_eq!(world.rows("select id, name from dbo.e order by id").await, ["1|z", "3|c", "4|d"]);
    let ledger = world.rows(
        "select substring(object_key from '[^/]*$'), rows_read, rows_create, rows_amend, rows_remove from loader_deliveries
         where generation = 2 order by object_key",
    );
    let wanted = ["LOAD00000001.csv.gz|1|0|0|0", "LOAD00000002.csv.gz|2|1|1|1"];
    assert_eq!(ledger.await, wanted);
}

#[tokio::test]
async fn a_first_load_over_a_table_with_rows_is_diffed_at_once() {
    let world = World::with_table().await;
    world.sql("insert into dbo.e values (1, 'one', 1), (9, 'old', 9)").await;
    world.bucket.put("e/LOAD00000001.csv.gz", "1,one,1\n").await;
    world.bucket.put("e/LOAD00000002.csv.gz", "2,two,2\n").await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 1, amend: 0, remove: 1)."]);
    assert_eq!(world.rows("select id from dbo.e order by id").await, ["1", "2"]);
}

#[tokio::test]
async fn a_folder_without_a_table_waits_and_says_so_once() {
    let world = World::with_table().await;
    world.bucket.put("other/LOAD00000001.csv.gz", "1\n").await;
    let ended = run_once(&world).await.ok();
    assert!(ended.log.contains("dbo.other: no such table in the target"), "{}", ended.log);
    assert!(world.ledger().await.is_empty());
    world.sql("create table dbo.\"OTHER\" (id int primary key)").await;
    assert_eq!(run_once(&world).await.ok().effects(), ["other (create: 1, amend: 0, remove: 0)."]);
}

#[tokio::test]
async fn all_entities_can_go_into_one_schema() {
    let world = World::with_table().await;
    world.sql("create schema mine; create table mine.e (id bigint primary key, name text, price numeric)").await;
    world.bucket.put(LOAD1, "1,one,1\n").await;
    let mut command = program(&world);
    command.env("TARGET_SCHEMA", "mine");
    run(command).await.ok();
    assert_eq!(world.value("select count(*) from mine.e").await, "1");
    assert_eq!(world.value("select count(*) from dbo.e").await, "0");
}

#[tokio::test]
async fn a_feed_that_moves_to_another_path_is_another_feed() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,one,1\n").await;
    world.bucket.put("moved/dbo/e/LOAD00000001.csv.gz", "1,uno,1\n").await;
    run_once(&world).await.ok();
    let mut command = program(&world);
    let source = world.bucket.source();
    command.env("SOURCE", format!("{source}/dbo/moved"));
    let ended = run(command).await;
    assert!(ended.code != 0 && ended.log.contains("another feed loaded dbo.e last"), "{}", ended.log);
    assert_eq!(world.value("select name from dbo.e").await, "one", "one feed does not change what another loads");
}

/// SeaweedFS lists folder by folder: `e` before `e-x`, though `-` comes before `/`.
#[tokio::test]
async fn a_store_that_does_not_list_in_key_order_is_sorted_here() {
    let world = World::with_table().await;
    world.sql("create table dbo.\"e-x\" (id int primary key)").await;
    world.bucket.put(LOAD1, "1,one,1\n").await;
    world.bucket.put("e-x/LOAD00000001.csv.gz", "1\n").await;
    let ended = run_once(&world).await.ok();
    assert!(ended.log.contains("the listing is not in key order; it is sorted here"), "{}", ended.log);
    assert_eq!(ended.effects().len(), 2);
    assert!(run_once(&world).await.ok().effects().is_empty());
}

#[tokio::test]
async fn a_key_may_hold_what_xml_may_not() {
    let world = World::with_table().await;
    // U+FFFE is nothing that XML can have; of two such keys a store that does not encode them makes one
    let name = "a+b c%41é&<\u{fffe}";
    world.sql(&format!("create table dbo.\"{name}\" (id int primary key)")).await;
    world.bucket.put("e/LOAD00000001.csv.gz", "1,a,1\n").await;
    world.bucket.put(&format!("{name}/LOAD00000001.csv.gz"), "1\n").await;
    world.bucket.put("e/\u{1}.csv.gz", "1,b,1\n").await;
    world.bucket.put("e/\u{2}.csv.gz", "1,b,1\n").await;
    let ended = run_once(&world).await.ok();
    assert_eq!(ended.effects().len(), 2, "{}", ended.log);
    assert!(ended.log.contains("2 objects that are no files of a table"), "{}", ended.log);
    assert_eq!(world.value(&format!("select count(*) from dbo.\"{name}\"")).await, "1");
    assert!(run_once(&world).await.ok().effects().is_empty(), "the ledger knows it by its key");
}
