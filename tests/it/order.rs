//! Keys and their order: late files folded in, FEED order, the names of other writers, what comes in the place of what.

use crate::faults::before_get;
use crate::support::World;
use crate::support::broker::{Broker, heard};
use crate::support::program::{Ended, program, run, run_once, start};

const LOAD1: &str = "e/LOAD00000001.csv.gz";
const AT_1: &str = "e/20991231-120100000.csv.gz";
const AT_2: &str = "e/20991231-120200000.csv.gz";
const AT_3: &str = "e/20991231-120300000.csv.gz";
const AT_4: &str = "e/20991231-120400000.csv.gz";

async fn fails(world: &World, words: &str) {
    let ended = run_once(world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains(words), "{words:?} is not in\n{}", ended.log);
}

async fn steer(world: &World, args: &[&str]) -> Ended {
    let mut command = program(world);
    command.arg("deliveries").args(args);
    run(command).await
}

async fn run_with_feed(world: &World, feed: &str) -> Ended {
    let mut command = program(world);
    command.env("FEED", feed);
    run(command).await
}

async fn a_second() {
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
}

async fn names(world: &World) -> Vec<String> {
    world.rows("select id, name from dbo.e order by id").await
}

/// A full load, and the files of 12:01 and 12:04 after it.
async fn loaded() -> World {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,1\n3,c,1\n").await;
    world.bucket.put(AT_1, "U,1,a1,1\n").await;
    world.bucket.put(AT_4, "U,2,b4,1\nD,3,NULL,NULL\nI,9,i4,1\n").await;
    run_once(&world).await.ok();
    world
}

#[tokio::test]
async fn a_late_file_is_folded_in_and_later_values_win() {
    let world = loaded().await;
    world.bucket.put(AT_2, "U,1,a2,1\nU,2,b2,1\nU,3,c2,1\nI,8,i2,1\n").await;
    fails(&world, "` folds the file in with all that was loaded after it").await;
    assert_eq!(names(&world).await, ["1|a1", "2|b4", "9|i4"], "nothing is applied");
    let before = world.ledger().await;
    steer(&world, &["retry", "4"]).await.ok();
    let mut rehearsal = program(&world);
    rehearsal.env("DRY_RUN", "True");
    assert_eq!(run(rehearsal).await.ok().effects(), ["e (create: 1, amend: 1, remove: 0)."]);
    assert_eq!(names(&world).await, ["1|a1", "2|b4", "9|i4"], "a rehearsal leaves nothing");
    let ended = run_once(&world).await.ok();
    assert_eq!(ended.effects(), ["e (create: 1, amend: 1, remove: 0)."], "{}", ended.log);
    let begins = format!("process_dbo {} (folded in with 1 file loaded after it).", world.bucket.key(AT_2));
    assert!(ended.log.contains(&begins), "{}", ended.log);
    assert_eq!(names(&world).await, ["1|a2", "2|b4", "8|i2", "9|i4"]);
    let after = world.ledger().await;
    assert_eq!(after[..3], before[..3], "the others' counts stay");
    assert_eq!(after[3], "20991231-120200000.csv.gz|loaded|1/1/0/2");
    let row = "select rows_read, attempts, requested, generation, claimed ->> 'U' from loader_deliveries where id = 4";
    assert_eq!(world.value(row).await, "4|2|∅|1|3", "what the others claim is theirs");
    assert!(run_once(&world).await.ok().effects().is_empty(), "nothing is left to do");
}

#[tokio::test]
async fn several_late_files_are_folded_in_at_once_with_the_counts_on_the_last() {
    let world = loaded().await;
    world.bucket.put(AT_3, "U,1,a3,1\nU,2,b3,1\n").await;
    fails(&world, "late").await;
    steer(&world, &["retry", "4"]).await.ok();
    world.bucket.put(AT_2, "U,1,a2,1\nI,8,i2,1\n").await;
    fails(&world, "late").await;
    assert_eq!(
        world.value("select status || coalesce(requested, '') from loader_deliveries where id = 4").await,
        "lateretry"
    );
    steer(&world, &["retry", "5"]).await.ok();
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 1, amend: 1, remove: 0)."]);
    assert_eq!(names(&world).await, ["1|a3", "2|b4", "8|i2", "9|i4"]);
    let rows = "select id, status, rows_read, rows_create + rows_amend, claimed from loader_deliveries where id > 3 order by id";
    let claims = [r#"4|loaded|2|2|{"I":0,"U":2,"D":0}"#, r#"5|loaded|2|0|{"I":1,"U":1,"D":0}"#];
    assert_eq!(world.rows(rows).await, claims, "each its own");
}

#[tokio::test]
async fn a_late_file_cannot_be_folded_in_without_what_was_loaded_after_it() {
    let world = loaded().await;
    world.bucket.put(AT_2, "U,1,a2,1\n").await;
    fails(&world, "late").await;
    steer(&world, &["retry", "4"]).await.ok();
    world.bucket.delete(AT_4).await;
    let why = format!(
        "cannot be folded in: {} was loaded after it and is not in the bucket any more",
        world.bucket.key(AT_4)
    );
    fails(&world, &why).await;
    let row = world.value("select status, requested, error from loader_deliveries where id = 4").await;
    assert_eq!(row, format!("late|∅|{why}; skip it with a reason"));
    assert_eq!(names(&world).await, ["1|a1", "2|b4", "9|i4"]);
    steer(&world, &["skip", "4", "--reason", "too old"]).await.ok();
    assert!(run_once(&world).await.ok().effects().is_empty());
}

#[tokio::test]
async fn a_new_version_of_a_loaded_file_is_folded_in_its_place() {
    let world = loaded().await;
    world.bucket.put(AT_1, "U,1,again,1\nU,2,again,1\n").await;
    fails(&world, "another version of this change file was loaded before").await;
    let replaced = "select string_agg(coalesce(superseded_by::text, '-'), ' ' order by id) from loader_deliveries";
    assert_eq!(world.value(replaced).await, "- - - -", "what is late takes nobody's place");
    steer(&world, &["retry", "4"]).await.ok();
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 1, remove: 0)."]);
    assert_eq!(names(&world).await, ["1|again", "2|b4", "9|i4"]);
    assert_eq!(world.value(replaced).await, "- 4 - -");
}

#[tokio::test]
async fn the_message_of_what_was_folded_in_is_one_of_its_own() {
    let (world, broker) = (World::with_table().await, Broker::core().await);
    let ears = broker.listen().await;
    let told = || {
        let mut command = program(&world);
        command.env("NOTIFICATIONS", "True").env("NATS", broker.url());
        run(command)
    };
    world.bucket.put(AT_4, "I,2,b4,1\n").await;
    told().await.ok();
    world.bucket.put(AT_2, "I,8,i2,1\n").await;
    assert_eq!(told().await.code, 1);
    steer(&world, &["retry", "2"]).await.ok();
    told().await.ok();
    let heard = heard(&ears, 2).await;
    assert!(heard[1].0.contains(r#""stats":{"e":{"AMEND":0,"CREATE":1,"REMOVE":0}}"#), "{heard:?}");
    let ids =
        "select count(distinct message_id), string_agg(delivery_id::text, ' ' order by id) from loader_notifications";
    assert_eq!(world.value(ids).await, "2|1 2");
}

#[tokio::test]
async fn by_name_what_was_written_before_the_full_load_follows_it() {
    for (feed, wanted) in [("order=name", "1|changed"), ("order=auto", "1|a"), ("order=modified", "1|a")] {
        let world = World::with_table().await;
        world.bucket.put(AT_1, "U,1,changed,1\n").await;
        world.bucket.put_later(LOAD1, "1,a,1\n").await;
        run_with_feed(&world, feed).await.ok();
        assert_eq!(names(&world).await, [wanted], "{feed}");
    }
}

#[tokio::test]
async fn by_time_written_the_last_file_written_wins() {
    for (feed, wanted) in [("order=modified", "1|first"), ("order=name", "1|second")] {
        let world = World::with_table().await;
        world.bucket.put(LOAD1, "1,a,1\n").await;
        world.bucket.put(AT_2, "U,1,second,1\n").await;
        world.bucket.put_later(AT_1, "U,1,first,1\n").await;
        run_with_feed(&world, feed).await.ok();
        assert_eq!(names(&world).await, [wanted], "{feed}");
        // a name long past is late by name only
        world.bucket.put_later("e/20991231-110000000.csv.gz", "U,1,third,1\n").await;
        let ended = run_with_feed(&world, feed).await;
        assert_eq!(ended.code, i32::from(feed == "order=name"), "{}", ended.log);
    }
}

#[tokio::test]
async fn files_of_one_second_are_all_loaded_in_the_order_of_their_names() {
    for feed in ["order=auto", "order=modified"] {
        let world = World::with_table().await;
        world.bucket.put(LOAD1, "1,a,1\n").await;
        for (fraction, name) in
            [("120100009", "nine"), ("12010001", "ten"), ("120100", "none"), ("1201000095", "last?")]
        {
            world
                .bucket
                .put(&format!("e/20991231-{fraction}.csv.gz"), &format!("U,1,{name},1\nI,{fraction},x,1\n"))
                .await;
        }
        run_with_feed(&world, feed).await.ok();
        assert_eq!(world.value("select count(*) from dbo.e").await, "5", "{feed}");
        if feed == "order=auto" {
            assert_eq!(world.value("select name from dbo.e where id = 1").await, "ten");
            let order =
                "select string_agg(substring(object_key from '-(\\d+)[.]csv'), ' ' order by id) from loader_deliveries
                         where kind = 'changes'";
            assert_eq!(world.value(order).await, "120100 120100009 1201000095 12010001");
        }
    }
}

#[tokio::test]
async fn the_names_of_qlik_and_date_folders_are_understood() {
    let world = World::with_table().await;
    world.bucket.put("e/LOAD_1_9.csv.gz", "9,nine,1\n").await;
    world.bucket.put("e/LOAD_1_10.csv.gz", "10,ten,1\n").await;
    world.bucket.put("e/LOAD_1_9.csv.gz.dfm", "{}").await;
    world.bucket.put("e/LOAD_1_11.csv.gz.tmp", "x").await;
    world.bucket.put("cdc/CDC_TXN-20991231120000000.csv.gz", "x").await;
    world.bucket.put("e/notes/20991231-120000000.csv.gz", "x").await;
    world.bucket.put("e__ct/20991231-120100000.csv.gz", "U,9,first,1\n").await;
    world.bucket.put("e/2099/12/31/20991231-120200000.csv.gz", "U,9,second,1\n").await;
    world.bucket.put("e/2099123112/20991231-120300000.csv.gz", "U,9,third,1\n").await;
    world.bucket.put("e/12-2099-31/20991231-120400000.csv.gz", "U,9,fourth,1\n").await;
    world.bucket.put("e/31_12_2099/20991231-120500000.csv.gz", "U,9,fifth,1\n").await;
    let ended = run_once(&world).await.ok();
    let foreign = "4 objects that are no files of a table (1 transaction file, 1 .dfm file, 1 temporary file, 1 other)";
    assert!(ended.log.contains(foreign), "{}", ended.log);
    assert_eq!(names(&world).await, ["9|fifth", "10|ten"]);
    let ledger = world.ledger().await;
    assert_eq!(ledger[..2], ["LOAD_1_9.csv.gz|loaded|1/0/0/0", "LOAD_1_10.csv.gz|loaded|1/0/0/0"]);
    assert_eq!(ledger.len(), 7, "{ledger:?}");
    assert_eq!(world.value("select count(distinct entity) from loader_deliveries").await, "1");
}

/// Begins a run that waits for the table before it reads a second file; that file is deleted meanwhile.
async fn deleted_under_way(world: &World, file: &str) -> Ended {
    world.sql("begin; lock table dbo.e in access exclusive mode").await;
    let running = start(program(world));
    running.says("process_dbo").await;
    while world.value("select count(*) from pg_locks where relation = 'dbo.e'::regclass and not granted").await == "0" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    world.bucket.delete(file).await;
    world.sql("commit").await;
    running.ends().await
}

#[tokio::test]
async fn what_was_gone_is_loaded_when_it_is_listed_again() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put(AT_1, "U,1,b,1\n").await;
    // the next file may be open already; the one after it is not
    world.bucket.put(AT_2, "U,1,c,1\n").await;
    world.bucket.put(AT_4, "U,1,d,1\n").await;
    assert_eq!(deleted_under_way(&world, AT_4).await.code, 1, "a hole stops the table");
    assert_eq!(world.ledger().await[3], "20991231-120400000.csv.gz|gone|0/0/0/0");
    fails(&world, "stopped by delivery 4, gone").await;
    world.bucket.put(AT_4, "U,1,d,1\n").await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 1, remove: 0)."]);
    let row = world.value("select status, attempts from loader_deliveries where id = 4").await;
    assert_eq!(row, "loaded|2", "its row is the same");
}

#[tokio::test]
async fn a_loaded_file_that_goes_away_while_it_is_folded_makes_nothing_gone() {
    let world = loaded().await;
    world.bucket.put(AT_2, "U,1,a2,1\n").await;
    fails(&world, "late").await;
    steer(&world, &["retry", "4"]).await.ok();
    let file = AT_4.rsplit('/').next().expect("a name");
    world.leave_ledger_to_next_feed().await;
    let ended = before_get(&world, file, async || world.bucket.delete(AT_4).await).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    let row = world.value("select status, error like 'cannot be folded in%' from loader_deliveries where id = 4").await;
    assert_eq!(row, "late|t");
    assert_eq!(names(&world).await, ["1|a1", "2|b4", "9|i4"]);
}

#[tokio::test]
async fn each_row_says_which_version_came_in_its_place() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,broken\n").await;
    fails(&world, "column price").await;
    world.bucket.put_later(LOAD1, "1,a,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "1,b,1\n").await;
    run_once(&world).await.ok();
    let rows = "select id, status, superseded_by from loader_deliveries order by id";
    assert_eq!(world.rows(rows).await, ["1|skipped|2", "2|loaded|3", "3|loaded|∅"]);
    // what is held takes nobody's place, until it is loaded
    world.bucket.put_later(LOAD1, "").await;
    fails(&world, "the snapshot is empty").await;
    assert_eq!(world.value("select superseded_by from loader_deliveries where id = 3").await, "∅");
    steer(&world, &["release", "4"]).await.ok();
    run_once(&world).await.ok();
    assert_eq!(world.value("select superseded_by from loader_deliveries where id = 3").await, "4");
}

#[tokio::test]
async fn a_version_that_comes_back_is_in_nobodys_shadow() {
    let world = World::with_table().await;
    world.sql("alter table dbo.e add constraint cheap check (price < 100)").await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put(AT_1, "U,1,b,100\n").await;
    fails(&world, "constraint cheap").await;
    world.bucket.put(AT_1, "U,1,c,200\n").await;
    fails(&world, "constraint cheap").await;
    let rows = "select id, status, superseded_by from loader_deliveries where id > 1 order by id";
    assert_eq!(world.rows(rows).await, ["2|skipped|3", "3|failed|∅"]);
    world.sql("alter table dbo.e drop constraint cheap").await;
    world.bucket.put(AT_1, "U,1,b,100\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows(rows).await, ["2|skipped|3", "3|skipped|4", "4|loaded|∅"]);
    let said = "select coalesce(actor, reason, error) from loader_deliveries where id = 4";
    assert_eq!(world.value(said).await, "∅", "nothing of what it was before");
}

#[tokio::test]
async fn two_folders_for_one_table_are_a_fault_whatever_their_files_are() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    a_second().await;
    world.bucket.put("E__ct/20991231-120100000.csv.gz", "U,1,b,1\n").await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 78, "{}", ended.log);
    assert!(ended.log.contains("dbo.E and dbo.e are one table of the target"), "{}", ended.log);
    assert_eq!(world.value("select count(*) from loader_deliveries").await, "0", "neither is loaded");
}

#[tokio::test]
async fn two_folders_for_one_table_are_found_even_when_one_of_them_was_loaded_before() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put("E/20991231-120100000.csv.gz", "U,1,b,1\n").await;
    assert_eq!(run_once(&world).await.code, 78);
    assert_eq!(names(&world).await, ["1|a"]);
    world.sql("create table dbo.\"E\" (like dbo.e including all)").await;
    run_once(&world).await.ok();
    assert_eq!(world.value("select count(*) from dbo.\"E\"").await, "1", "two tables may differ in case only");
}

#[tokio::test]
async fn a_reload_in_eleven_parts_is_one_delivery() {
    let world = World::with_table().await;
    let parts: Vec<String> = (1..=11).map(|number| format!("e/LOAD{number:08X}.csv.gz")).collect();
    for (place, part) in parts.iter().enumerate() {
        world.bucket.put(part, &format!("{place},old,1\n")).await;
    }
    run_once(&world).await.ok();
    world.bucket.put(AT_1, "U,5,changed,1\n").await;
    run_once(&world).await.ok();
    a_second().await;
    for (place, part) in parts.iter().enumerate() {
        world.bucket.put(part, &format!("{place},new,1\n")).await;
    }
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 11, remove: 0)."]);
    let rows = "select count(*), sum(rows_read), sum(rows_amend), max(id) filter (where rows_amend > 0) = max(id)
                from loader_deliveries where generation = 2";
    assert_eq!(world.value(rows).await, "11|11|11|t", "all effects belong to the last part");
    let last = world.value("select object_key from loader_deliveries where generation = 2 and rows_amend > 0").await;
    assert!(last.ends_with("LOAD0000000B.csv.gz"), "{last}");
    assert_eq!(world.value("select count(*) from loader_deliveries where superseded_by is null").await, "12");
}

#[tokio::test]
async fn a_released_mixed_reload_says_what_it_takes_back() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put("e/LOAD00000002.csv.gz", "2,b,1\n").await;
    world.bucket.put(AT_1, "U,2,changed,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "1,x,1\n").await;
    let words = "a release takes back what the 1 change files loaded since did to the rows of what was not rewritten";
    fails(&world, words).await;
    assert_eq!(names(&world).await, ["1|a", "2|changed"]);
    let list = steer(&world, &["list", "--status", "held"]).await.ok().log;
    let list = list.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(list.contains(words), "{list}");
    steer(&world, &["release", "4"]).await.ok();
    let ended = run_once(&world).await.ok();
    assert!(ended.log.contains("Delivery 4: released: mixed reload"), "{}", ended.log);
    assert_eq!(names(&world).await, ["1|x", "2|b"], "as the parts have it");
    let row = world.value("select status, reason from loader_deliveries where id = 4").await;
    assert!(row.starts_with("loaded|released: mixed reload") && row.contains(words), "{row}");
}

#[tokio::test]
async fn of_several_files_the_one_at_fault_is_named() {
    let world = loaded().await;
    world.sql("alter table dbo.e add extra text").await;
    world.bucket.put(AT_2, "U,1,late,1,x\n").await;
    fails(&world, "late").await;
    steer(&world, &["retry", "4"]).await.ok();
    // the late file is as the table is now, the one that was loaded is not
    let words = format!("{}: line 1: 4 fields where 5 were expected", world.bucket.key(AT_4));
    fails(&world, &words).await;
    let row = world.value("select status, error from loader_deliveries where id = 4").await;
    assert!(row.starts_with(&format!("failed|{words}")), "{row}");
    // a reload: the fault stands on its own part's row, and the log says so too
    world.bucket.delete(AT_2).await;
    world.sql("alter table dbo.e drop extra").await;
    a_second().await;
    world.bucket.put(LOAD1, "1,a,bad\n").await;
    world.bucket.put("e/LOAD00000002.csv.gz", "2,b,1\n").await;
    let key = world.bucket.key(LOAD1);
    fails(&world, &format!("failed: {key}: {key}: line 1, column price: not a number.")).await;
    let failed = "select object_key from loader_deliveries where status = 'failed'";
    assert_eq!(world.value(failed).await, key);
}

#[tokio::test]
async fn a_table_that_is_called_like_a_folder_of_changes_is_a_table() {
    let world = World::with_table().await;
    world.sql("create table dbo.e__ct (id bigint primary key, name text, price numeric(12, 2))").await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put("e__ct/LOAD00000001.csv.gz", "1,x,1\n").await;
    world.bucket.put("e__ct/20991231-230100000.csv.gz", "U,1,y,1\n").await;
    let ended = run_once(&world).await;
    let both = world.rows("select 'e', name from dbo.e union all select 'e__ct', name from dbo.e__ct").await;
    assert_eq!(both, ["e|a", "e__ct|y"], "{}", ended.log);
}

/// Programs that are built for tests plan eight change files at once.
#[tokio::test]
async fn more_change_files_than_a_plan_has_room_for_are_loaded_in_one_run() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,0\n").await;
    let files: Vec<String> = (10..37).map(|minute| format!("e/20991231-12{minute}00000.csv.gz")).collect();
    for (number, file) in files.iter().enumerate() {
        world.bucket.put(file, &format!("U,1,a{number},{number}\n")).await;
    }
    run_with_feed(&world, "order=name").await.ok();
    assert_eq!(names(&world).await, ["1|a26"]);
    let ledger: Vec<String> = world.rows("select object_key from loader_deliveries order by id").await;
    let mut wanted = vec![world.bucket.key(LOAD1)];
    wanted.extend(files.iter().map(|file| world.bucket.key(file)));
    assert_eq!(ledger, wanted, "each once, in feed order");
}

#[tokio::test]
async fn what_a_plan_has_no_room_for_is_counted_and_rehearsed() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,0\n").await;
    for minute in 10..30 {
        world.bucket.put(&format!("e/20991231-12{minute}00000.csv.gz"), &format!("U,1,a{minute},1\n")).await;
    }
    let mut status = program(&world);
    status.args(["status", "--json"]);
    let report = run(status).await.log;
    assert!(report.contains(r#""pending":{"objects":21,"bytes""#), "{report}");
    let mut rehearsal = program(&world);
    rehearsal.env("DRY_RUN", "True");
    let ended = run(rehearsal).await.ok();
    assert_eq!(ended.effects().len(), 21, "{}", ended.log);
    assert!(ended.log.contains(": 21 deliveries pending"), "{}", ended.log);
    assert!(world.ledger().await.is_empty());
}

#[tokio::test]
async fn a_listing_of_several_pages_is_read_to_its_end() {
    let world = World::with_table().await;
    let notes: Vec<String> = (0..1050).map(|number| format!("e/notes/{number}.txt")).collect();
    for some in notes.chunks(50) {
        futures_util::future::join_all(some.iter().map(|note| world.bucket.put_bytes(note, Vec::new()))).await;
    }
    world.bucket.put("e/zero.txt", "").await;
    world.bucket.put("f/LOAD00000001.csv.gz", "1,a,0\n").await;
    let ended = run_once(&world).await.ok();
    assert!(ended.log.contains("1051 objects that are no files of a table"), "{}", ended.log);
    assert!(ended.log.contains("dbo.f: no such table in the target"), "{}", ended.log);
}
