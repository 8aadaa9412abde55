//! `verify` with feeds of any form: whatever is loaded is equal, whatever is changed by hand is found; beside a loader that
//! goes on, and in little memory.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::kill::{number, seed};
use crate::limits::{bounded, run_measured, write_honest};
use crate::support::program::{program, run, run_once, start};
use crate::support::store::{Act, before};
use crate::support::{World, setting};
use crate::verify::{CHANGES, LOAD, flat, is_equal, judged, with};

/// The generator's feeds, in whatever form, and then somebody who writes where he should not. `PEO_VERIFY` worlds.
#[tokio::test]
async fn any_feed_is_equal_and_any_meddling_is_found() {
    let mut rng = StdRng::seed_from_u64(seed());
    for _ in 0..number("PEO_VERIFY", 2) {
        let world = World::with_model().await;
        let feed = make_any(&world, &mut rng).await;
        let look = async |arguments: &[&str]| {
            let mut command = program(&world);
            command.env("FEED", &feed);
            with(command, arguments).await
        };
        look(&["run", "--once"]).await.ok();
        let ended = look(&["verify"]).await.ok();
        assert_eq!(ended.log.matches(": equal, ").count(), 3, "{}", ended.log);
        let column = meddle(&world, &mut rng).await;
        let ended = look(&["verify"]).await;
        let other = format!("other values: 1 row, in {column} 1");
        let lines = ["entity_1: differs, 1 of", "entity_2: differs, 2 of", "missing in the table: 1 row"];
        for words in lines.into_iter().chain([other.as_str(), "not in the feed: 1 row\n    event_id=1\n"]) {
            assert!(ended.log.contains(words), "{words}: {}", ended.log);
        }
    }
}

/// Writes a feed with any flags; the FEED that reads it.
async fn make_any(world: &World, rng: &mut StdRng) -> String {
    let (parts, changes, rows) = (rng.random_range(1..4), rng.random_range(0..4), rng.random_range(0..100_000));
    let mut words: Vec<String> = ["feed", "make", "--bucket", "--scale=0.003", "--ops=200"].map(String::from).into();
    words.extend([format!("--parts={parts}"), format!("--changes={changes}"), format!("--seed={rows}")]);
    let flags =
        ["--shuffled", "--header", "--full-load-op", "--no-supply=~", "--key-only-deletes", "--crlf", "--delimiter=;"];
    words.extend(flags.iter().filter(|_| rng.random_bool(0.4)).map(|flag| (*flag).to_owned()));
    if rng.random_bool(0.5) && changes > 0 {
        words.retain(|word| word != "--header");
        words.extend(["--header", "--before-image-prefix=BI_", "--anomaly=key-change"].map(String::from));
    }
    eprintln!("{words:?}");
    let mut make = program(world);
    make.args(&words);
    let said = run(make).await.ok().log;
    let feed = said.lines().find_map(|line| line.strip_prefix("Read it with FEED='"));
    feed.map_or(String::new(), |feed| feed.trim_end_matches('\'').to_owned())
}

/// One cell of one row, one row too few, one too many; the column of the cell.
async fn meddle(world: &World, rng: &mut StdRng) -> &'static str {
    let cells = [
        ("strategy_id", "strategy_id + 1"),
        ("reference", "gen_random_uuid()"),
        ("side", "case side when 'B' then 'S' else 'B' end"),
        ("quantity", "quantity + 0.0001"),
        ("is_open", "not is_open"),
        ("placed_at", "placed_at + interval '1 microsecond'"),
        ("amended_at", "coalesce(amended_at, now()) + interval '1 microsecond'"),
        ("note", "case when note is null then '' end"),
        ("terms", "case when terms is null then '1'::jsonb end"),
        ("event_id", "-event_id - 1"),
    ];
    let (column, value) = cells[rng.random_range(0..cells.len())];
    let mut pick =
        |table: &str| format!("(select ctid from dbo.{table} order by 1 offset {} limit 1)", rng.random_range(0..80));
    let (first, second) = (pick("entity_1"), pick("entity_2"));
    world
        .sql(&format!(
            "update dbo.entity_1 set {column} = {value} where ctid = {first};
             create temporary table one as select * from dbo.entity_2 where ctid = {second};
             delete from dbo.entity_2 where event_id in (select event_id from one);
             update one set event_id = 1; insert into dbo.entity_2 select * from one"
        ))
        .await;
    column
}

/// A loader goes on meanwhile: it is not locked out, and whatever moment is looked at, the table is what was loaded by then.
#[tokio::test]
async fn a_loader_may_go_on_meanwhile() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, &(0..20_000).map(|id| format!("{id},n,1\n")).collect::<String>()).await;
    run_once(&world).await.ok();
    let mut service = program(&world);
    service.env("RUN_AS_SERVICE", "True").env("MIN_SLEEP", "0").env("MAX_SLEEP", "0.01").env("METRICS", "");
    let running = start(service);
    let loaded = "select count(*) from loader_deliveries where status = 'loaded'";
    let put = async {
        for n in 0..60 {
            let two = |row: u32| format!("U,{},m{n},{n}\nD,{},NULL,NULL\n", row * 7, n * 50 + row);
            let rows: String = (0..50).map(two).collect();
            world.bucket.put(&format!("e/20991231-0000{n:02}000.csv.gz"), &rows).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let look = async {
        let mut between = 0;
        for _ in 0..8 {
            let before = world.value(loaded).await;
            is_equal(&judged(&world).await);
            between += u32::from(world.value(loaded).await != before);
        }
        between
    };
    let ((), between) = tokio::join!(put, look);
    assert!(between > 3, "the loader went on {between} times");
    running.signal("TERM");
    running.ends().await.ok();
    run_once(&world).await.ok();
    is_equal(&judged(&world).await);
}

/// More rows than it may have memory for.
#[tokio::test]
async fn it_takes_little_memory_however_large_a_table_is() {
    let world = World::with_table().await;
    let filler = "honest ".repeat(140);
    let (load, rows) = write_honest(72, |row| format!("{row},{filler},1.00\n"));
    world.bucket.put_bytes(LOAD, load).await;
    let (changes, _) = write_honest(30, |row| format!("U,{},{filler},2.00\n", rows - row - 1));
    world.bucket.put_bytes(CHANGES[0], changes).await;
    run_once(&world).await.ok();
    let look = async || {
        let mut command = bounded(&world, 64);
        command.args(["verify"]);
        run_measured(command).await
    };
    let (ended, peak) = look().await;
    ended.ok();
    world.sql("update dbo.e set price = 3; delete from dbo.e where id % 3 = 0").await;
    let (ended, differs) = look().await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    eprintln!("peaks {peak} and {differs} MiB");
    assert!(peak.max(differs) < 64, "{peak} and {differs} MiB");
}

/// Few keys, to which everything happens: rows move onto each other, leave cells out, go and come back, in any order. The
/// loader takes file by file, and here all are taken together.
#[tokio::test]
async fn whatever_happens_to_few_keys_is_folded_as_the_loader_folded_it() {
    let mut rng = StdRng::seed_from_u64(seed());
    for _ in 0..number("PEO_VERIFY", 3) {
        let world = World::with_table().await;
        let mut live = BTreeSet::new();
        if rng.random_bool(0.8) {
            live.extend(1..=8);
            let rows: String = (1..=8).map(|id| format!("{id},n{id},{id}\n")).collect();
            world.bucket.put(LOAD, &format!("id,name,price\n{rows}")).await;
        }
        for file in 0..rng.random_range(1..6) {
            let rows: String = (0..rng.random_range(1..60)).map(|at| anything(&mut rng, at, &mut live)).collect();
            let file = format!("e/20991231-0000{file:02}000.csv.gz");
            world.bucket.put(&file, &format!("Op,id,name,price,BI_id\n{rows}")).await;
        }
        let mut load = program(&world);
        load.env("FEED", "header=True no_supply=~ before_image_prefix=BI_");
        run(load).await.ok();
        let mut look = program(&world);
        look.env("FEED", "header=True no_supply=~ before_image_prefix=BI_");
        let ended = with(look, &["verify"]).await.ok();
        assert!(ended.log.contains("dbo.e: equal, "), "{}", ended.log);
    }
}

/// A row of a change file. Rows move to free keys only: others are refused.
fn anything(rng: &mut StdRng, at: u32, live: &mut BTreeSet<u32>) -> String {
    let (id, other) = (rng.random_range(1..13), rng.random_range(1..13));
    let name = if rng.random_bool(0.4) { "~".to_owned() } else { format!("m{at}") };
    let price = if rng.random_bool(0.4) { "~".to_owned() } else { format!("{at}.5") };
    let is_free = live.insert(id);
    match rng.random_range(0..10) {
        0 | 1 => format!("I,{id},{name},{price},NULL\n"),
        5..=7 if is_free => {
            live.remove(&other);
            live.insert(id);
            format!("U,{id},{name},{price},{other}\n")
        }
        2..=7 => format!("U,{id},{name},{price},{id}\n"),
        _ => {
            live.remove(&id);
            format!("D,{id},NULL,NULL,{id}\n")
        }
    }
}

/// The program behind a store whose full load of `e` comes slowly, and whether it is asked for by now.
async fn slow(world: &World) -> (Command, Arc<AtomicBool>) {
    let asked = Arc::new(AtomicBool::new(false));
    let seen = asked.clone();
    let port = before(&setting("PEO_S3_PORT"), move |request, _| match request.contains("/e/LOAD") {
        true => {
            seen.store(true, Ordering::SeqCst);
            Act::Drip(100, Duration::from_millis(100))
        }
        false => Act::Pass,
    })
    .await;
    (verify_at(world, &port).await, asked)
}

/// Returns the command that verifies what was loaded, with the store at another port. That is another feed: it takes the
/// ledger's rows like one that starts after an upgrade.
async fn verify_at(world: &World, port: &str) -> Command {
    world.leave_ledger_to_next_feed().await;
    let mut start = program(world);
    start.env("SOURCE", world.bucket.source_at(port));
    run(start).await.ok();
    let mut command = program(world);
    command.arg("verify").env("SOURCE", world.bucket.source_at(port));
    command
}

async fn until(asked: &AtomicBool) {
    while !asked.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// About a second and a half of dripping, and a table beside it.
async fn two_tables() -> World {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key)").await;
    let rows: String =
        (0..150_u64).map(|id| format!("{id},{:x},1\n", id.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    world.bucket.put(LOAD, &rows).await;
    world.bucket.put(CHANGES[0], "U,1,a,1\n").await;
    world.bucket.put("f/LOAD00000001.csv.gz", "1\n").await;
    run_once(&world).await.ok();
    world
}

#[tokio::test]
async fn a_table_that_is_rewritten_meanwhile_is_not_taken_for_empty() {
    let world = two_tables().await;
    let (command, asked) = slow(&world).await;
    let (ended, ()) = tokio::join!(run(command), async {
        until(&asked).await;
        world.sql("alter table dbo.e alter price type numeric(14, 3)").await;
    });
    assert!(ended.code == 1 && ended.log.contains("the table was rewritten while it was compared"), "{}", ended.log);
    assert!(ended.log.contains("dbo.f: equal"), "{}", ended.log);
}

/// A partitioned table has no file of its own; and whoever rewrites a partition does not wait for the proof.
#[tokio::test]
async fn a_partition_that_is_rewritten_meanwhile_is_not_taken_for_empty() {
    let world = two_tables().await;
    world
        .sql(
            "alter table dbo.e rename to old;
             create table dbo.e (id bigint primary key, name text, price numeric(12, 2)) partition by range (id);
             create table dbo.e_low partition of dbo.e for values from (minvalue) to (100);
             create table dbo.e_high partition of dbo.e for values from (100) to (maxvalue);
             insert into dbo.e select * from dbo.old; drop table dbo.old",
        )
        .await;
    let (ended, ()) = {
        let (command, asked) = slow(&world).await;
        tokio::join!(run(command), async {
            until(&asked).await;
            world.sql("vacuum full dbo.e_high").await;
        })
    };
    assert!(ended.code == 1 && ended.log.contains("the table was rewritten while it was compared"), "{}", ended.log);
    world.leave_ledger_to_next_feed().await;
    run_once(&world).await.ok();
    let (said, code) = with_json(&world, "e").await;
    assert_eq!((said["verdict"].as_str(), code), (Some("equal"), 0), "{said:#}");
}

#[tokio::test]
async fn where_no_row_was_compared_nothing_is_called_equal() {
    let world = World::with_table().await;
    world.sql("insert into dbo.e select n, 'by hand', 1 from generate_series(1, 1000) n").await;
    world.bucket.put(CHANGES[0], "D,5000,NULL,NULL\n").await;
    run_once(&world).await.ok();
    let (said, code) = judged(&world).await;
    assert_eq!((said["verdict"].as_str(), code), (Some("unverified"), 1), "{said:#}");
    assert_eq!(said["why"], "there never was a full load, and no row of the table is named by a file");
    world.bucket.put(CHANGES[1], "U,7,c,7\nI,5000,d,4\n").await;
    run_once(&world).await.ok();
    let mut command = program(&world);
    command.arg("verify");
    let ended = run(command).await.ok();
    assert!(ended.log.contains("dbo.e: equal, 2 rows, 2 files of generation 0\n"), "{}", ended.log);
    assert!(flat(&ended).contains("not compared: 999 rows, which no file names"), "{}", ended.log);
    world.sql("update dbo.e set name = 'x' where id = 7").await;
    let mut command = program(&world);
    command.arg("verify");
    let ended = run(command).await;
    assert!(ended.code == 1 && ended.log.contains("dbo.e: differs, 1 of 2 rows"), "{}", ended.log);
}

#[tokio::test]
async fn keys_are_few_and_short() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id text primary key, v int)").await;
    let long = "k".repeat(2000);
    world.bucket.put(LOAD, &format!("{long}-1,1\n{long}-2,1\n{long}-3,1\n")).await;
    run_once(&world).await.ok();
    world.sql("delete from dbo.e where id like '%-1'; insert into dbo.e select repeat('z', 2000), 1").await;
    world.sql("update dbo.e set v = 2 where id like '%-2'").await;
    let (said, _) = judged(&world).await;
    for (kind, letter) in [("missing", "k"), ("not_in_feed", "z")] {
        assert_eq!(said[kind]["keys"], serde_json::json!([{"id": format!("{}…", letter.repeat(120))}]));
    }
    assert_eq!(said["different"]["keys"][0]["key"]["id"], format!("{}…", "k".repeat(120)));
    let mut command = program(&world);
    command.args(["verify", "--keys", "1001"]);
    let ended = run(command).await;
    assert!(ended.code != 0 && ended.log.contains("at most 1000"), "{} {}", ended.code, ended.log);
}

#[tokio::test]
async fn tables_with_nothing_to_compare_need_no_new_connection() {
    let world = World::with_table().await;
    for n in 0..20 {
        world.sql(&format!("create table dbo.t{n} (id int primary key)")).await;
        world.bucket.put(&format!("t{n}/LOAD00000001.csv.gz"), "1\n").await;
    }
    let sessions = async || {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let sql = "select sessions from pg_stat_database where datname = current_database()";
        world.value(sql).await.parse::<i64>().expect("a number")
    };
    let before = sessions().await;
    let mut command = program(&world);
    command.arg("verify");
    let ended = run(command).await;
    assert_eq!(ended.log.matches("nothing is loaded, so there is nothing to compare").count(), 20, "{}", ended.log);
    let made = sessions().await - before;
    assert!((1..10).contains(&made), "{made} sessions for 20 tables");
}

/// The answer for one table, and the exit code.
async fn with_json(world: &World, table: &'static str) -> (serde_json::Value, i32) {
    let ended = with(program(world), &["verify", table, "--json"]).await;
    let line = ended.log.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{}", ended.log));
    (serde_json::from_str(line).expect("JSON"), ended.code)
}

#[tokio::test]
async fn a_file_that_is_replaced_while_others_are_read_is_noticed() {
    let world = two_tables().await;
    let (command, asked) = slow(&world).await;
    let (ended, ()) = tokio::join!(run(command), async {
        until(&asked).await;
        world.bucket.put(CHANGES[0], "U,1,b,1\n").await;
    });
    assert!(ended.code == 1 && flat(&ended).contains("changed since it was listed"), "{}", ended.log);
    assert!(ended.log.contains("dbo.f: equal"), "{}", ended.log);
}

#[tokio::test]
async fn a_signal_ends_it_and_proves_nothing() {
    let world = two_tables().await;
    let (command, asked) = slow(&world).await;
    let running = start(command);
    until(&asked).await;
    running.signal("TERM");
    let ended = running.ends().await;
    assert_eq!(ended.code, 1);
    assert!(ended.log.contains("Stopped: 2 of 2 tables are not compared."), "{}", ended.log);
}

#[tokio::test]
async fn a_download_that_is_cut_is_tried_again_and_is_no_difference() {
    let world = two_tables().await;
    for (times, code, words) in [(1, 0, "dbo.e: equal"), (99, 69, "dbo.e: cannot be verified")] {
        let cuts = AtomicUsize::new(0);
        let cut = move |answer: Vec<u8>| answer[..answer.len() - 9].to_vec();
        let port = before(&setting("PEO_S3_PORT"), move |request, _| {
            let now = request.contains("/e/LOAD") && cuts.fetch_add(1, Ordering::SeqCst) < times;
            if now { Act::edit(cut) } else { Act::Pass }
        })
        .await;
        let ended = run(verify_at(&world, &port).await).await;
        assert!(ended.code == code && ended.log.contains(words), "{}", ended.log);
        assert!(ended.log.contains("dbo.f: equal"), "{}", ended.log);
    }
    for (variable, value, code) in [("SOURCE", world.bucket.source_at("9"), 69), ("TARGET", world.target_at("9"), 69)] {
        let mut command = program(&world);
        command.arg("verify").env(variable, value);
        let ended = run(command).await;
        assert!(ended.code == code && !ended.log.contains("equal"), "{}", ended.log);
    }
}
