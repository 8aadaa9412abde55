//! Files that are too large, and honest ones that are only large: under a limit of the kernel on the memory of the process,
//! with its highest use looked up.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use flate2::{Compression, write::GzEncoder};

use crate::kill::number;
use crate::support::program::{Ended, program};
use crate::support::{World, gz, gz_bytes};

/// What the process may have at all, and what it may use, in MiB.
const ALLOWED: u64 = 256;

/// Bytes again and again: packed once, repeated as members of one gzip.
fn bomb(plain: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("write");
    encoder.finish().expect("finish").repeat(times)
}

/// The program of a world under a limit on its memory (`RLIMIT_DATA`) that the kernel holds.
pub fn bounded(world: &World, mebibytes: u64) -> Command {
    let (program, mut bounded) = (program(world), Command::new("/bin/sh"));
    bounded.args(["-c", r#"ulimit -d "$0" && exec "$@""#, &(mebibytes << 10).to_string()]).arg(program.get_program());
    bounded.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    bounded
}

/// Runs it to its end; the most memory that it had in use, in MiB.
pub async fn run_measured(mut command: Command) -> (Ended, u64) {
    let run = move || {
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let status = format!("/proc/{}/status", child.id());
        let watch = thread::spawn(move || {
            let mut peak = 0;
            // gone, or dead and not yet buried
            while let Some(now) = fs::read_to_string(&status).ok().and_then(|status| high_water(&status)) {
                peak = now;
                thread::sleep(Duration::from_millis(2));
            }
            peak >> 10
        });
        let out = child.wait_with_output().expect("it ends");
        let log = String::from_utf8_lossy(&out.stderr).into_owned();
        (Ended { code: out.status.code().unwrap_or(-1), log }, watch.join().expect("watched"))
    };
    tokio::task::spawn_blocking(run).await.expect("joined")
}

/// Whatever the memory was at its highest, in KiB.
fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Puts a file for each case into a table of its own, and a good one behind them all.
async fn put_all(world: &World, files: &[(&str, Vec<u8>)]) {
    let mut script = "create schema dbo; create table dbo.zz_good (id bigint primary key);".to_owned();
    for (table, bytes) in files {
        script += &format!("create table dbo.{table} (id bigint primary key, name text, price numeric(12, 2));");
        world.bucket.put_bytes(&format!("{table}/20240101-120000000.csv.gz"), bytes.clone()).await;
    }
    world.sql(&script).await;
    world.bucket.put("zz_good/20240101-120000000.csv.gz", "1\n").await;
}

/// Every file but the good one fails with its words.
async fn all_fail(world: &World, ended: &Ended, cases: &[(&str, &str)]) {
    assert_eq!(ended.code, 1, "{}", ended.log);
    for (table, words) in cases {
        let sql = format!("select status || ' ' || error from loader_deliveries where entity = '{table}'");
        let (said, rows) = (world.value(&sql).await, world.value(&format!("select count(*) from dbo.{table}")).await);
        assert!(said.starts_with("failed ") && said.contains(words) && rows == "0", "{table}: {said:.400}");
        assert!(said.contains("deliveries retry"), "what to do: {said:.400}");
    }
    assert_eq!(world.value("select count(*) from dbo.zz_good").await, "1", "{}", ended.log);
}

/// 2 GB in 2 MB (20 GB in the long run), lines of 1 GB and rows without number: each is given up where that shows.
#[tokio::test]
async fn a_bomb_is_given_up_in_little_memory_and_the_next_table_goes_on() {
    let (zeros, line, fields) = (vec![0; 10 << 20], vec![b'x'; 10 << 20], vec![b','; 10 << 20]);
    let quoted = [gz("I,1,\""), bomb(b"\n", 1), bomb(&line, 100), gz("\",1\n")].concat();
    let files = [
        ("zeros", bomb(&zeros, number("PEO_HUGE", 200) as usize)),
        ("line", [gz("I,1,"), bomb(&line, 100)].concat()),
        ("quoted", quoted),
        ("field", [gz("I,1,"), bomb(&line, 10), gz(",1\n")].concat()),
        ("fields", [gz("I,1,"), bomb(&fields, 100)].concat()),
        ("columns", gz(&("I".to_owned() + &",1".repeat(9_999) + "\n"))),
        ("rows", bomb(format!("I,1,{},1\n", "x".repeat(1 << 20)).repeat(10).as_bytes(), 20)),
    ];
    assert!(files[0].1.len() < 30 << 20, "it is small in the bucket");
    let world = World::new().await;
    put_all(&world, &files).await;
    let (ended, peak) = run_measured(bounded(&world, ALLOWED)).await;
    let (row, fields) = ("LIMITS max_row=16MiB", "LIMITS max_fields=4096");
    let cases = [
        ("zeros", row),
        ("line", row),
        ("quoted", row),
        ("field", row),
        ("fields", fields),
        ("columns", fields),
        ("rows", "LIMITS max_ratio=900"),
    ];
    all_fail(&world, &ended, &cases).await;
    eprintln!("peak {peak} MiB");
    assert!((1..100).contains(&peak), "{peak} MiB");
}

/// What looks honest row by row is bounded by what the operator says.
#[tokio::test]
async fn limits_are_the_operators_to_lower_and_to_raise() {
    let plain: String = (0..20_000).map(|id| format!("I,{id},{:x},1\n", id * 2_654_435_761_u64)).collect();
    let files = [("plain", gz(&plain)), ("row", gz(&format!("I,1,{},1\n", "x".repeat(2000))))];
    let world = World::new().await;
    put_all(&world, &files).await;
    let mut command = bounded(&world, ALLOWED);
    command.env("LIMITS", "max_plain=100KiB max_row=1KiB");
    all_fail(&world, &run_measured(command).await.0, &[("plain", "max_plain=100KiB"), ("row", "max_row=1KiB")]).await;
    let mut command = bounded(&world, ALLOWED);
    command.env("LIMITS", "max_object=100KiB");
    let mut retry = program(&world);
    retry.args(["deliveries", "retry", "1", "2"]);
    crate::support::program::run(retry).await.ok();
    let (ended, _) = run_measured(command).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    let states = world.rows("select entity, status, error from loader_deliveries order by 1").await;
    assert!(
        states[0].starts_with("plain|failed|too large: the object has ") && states[0].contains("max_object=100KiB")
    );
    assert_eq!(states[1], "row|loaded|∅");
}

/// Rows that are as large as they may be, one after the other.
#[tokio::test]
async fn rows_as_large_as_they_may_be_are_loaded() {
    let world = World::with_table().await;
    let rows: String = (0..6).map(|id| format!("{id},{},1\n", "x".repeat((16 << 20) - 5))).collect();
    world.bucket.put("e/LOAD00000001.csv.gz", &rows).await;
    let (ended, peak) = run_measured(bounded(&world, ALLOWED)).await;
    ended.ok();
    eprintln!("peak {peak} MiB");
    assert_eq!(world.value("select count(*) || '/' || min(length(name)) from dbo.e").await, "6/16777211");
}

/// Writes an honest file as a stream; how many rows.
pub fn write_honest(mebibytes: u64, row: impl Fn(u64) -> String) -> (Vec<u8>, u64) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let (mut written, mut rows) = (0, 0);
    while written < mebibytes << 20 {
        let line = row(rows);
        encoder.write_all(line.as_bytes()).expect("write");
        written += line.len() as u64;
        rows += 1;
    }
    (encoder.finish().expect("finish"), rows)
}

/// More than the process may have: read in key order, and sorted. `PEO_HUGE` is its size in MiB (`just kill-loop`).
#[tokio::test]
async fn a_huge_honest_file_is_loaded_in_little_memory() {
    let size = number("PEO_HUGE", 72);
    let allowed = if size > ALLOWED { ALLOWED } else { 64 };
    let world = World::with_table().await;
    let filler = "honest ".repeat(140);
    let (load, rows) = write_honest(size, |row| format!("{row},{filler},1.00\n"));
    world.bucket.put_bytes("e/LOAD00000001.csv.gz", load).await;
    let (ended, peak) = run_measured(bounded(&world, allowed)).await;
    ended.ok();
    // the same rows the other way round, each changed
    let (changes, changed) = write_honest(size, |row| format!("U,{},{filler},2.00\n", rows.saturating_sub(row + 1)));
    world.bucket.put_bytes("e/20991231-120000000.csv.gz", changes).await;
    let (ended, sorted) = run_measured(bounded(&world, allowed)).await;
    ended.ok();
    let ledger = world.ledger().await;
    assert_eq!(ledger[0], format!("LOAD00000001.csv.gz|loaded|{rows}/0/0/0"));
    assert_eq!(ledger[1], format!("20991231-120000000.csv.gz|loaded|0/{}/0/0", changed.min(rows)));
    eprintln!("{size} MiB, {rows} rows: peaks {peak} and {sorted} MiB of {allowed}");
    assert!(peak.max(sorted) < allowed, "{peak} and {sorted} MiB");
}

/// A small file that moves rows whose large column it does not supply. `PEO_MOVES` is how many rows of 640 kB move.
#[tokio::test]
async fn large_rows_that_move_take_little_memory() {
    let (moves, allowed) = (number("PEO_MOVES", 150), 72);
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, a text, b text)").await;
    let rows = format!(
        "insert into dbo.e select n, 'a', repeat(n::text || '-', 640000 / length(n::text || '-')) from generate_series(1, {moves}) n"
    );
    world.sql(&rows).await;
    let lines: String = (1..=moves).map(|n| format!("U,{},b,??,{n}\n", n + 100_000)).collect();
    world.bucket.put("e/20991231-120000000.csv.gz", &lines).await;
    let mut command = bounded(&world, allowed);
    command.env("FEED", "columns=Op,id,a,b,BI_id before_image_prefix=BI_ no_supply=??");
    let (ended, peak) = run_measured(command).await;
    assert_eq!(ended.ok().effects(), [format!("e (create: {moves}, amend: 0, remove: {moves}).")]);
    eprintln!("{moves} moves of 640 kB, {} bytes of text: peak {peak} MiB of {allowed}", lines.len());
    assert!(peak < allowed, "{peak} MiB");
    let kept = "select count(*) from dbo.e where a = 'b' and b like (id - 100000)::text || '-%' and length(b) > 600000";
    assert_eq!(world.value(kept).await, moves.to_string());
}

/// Each row supplies other columns.
#[tokio::test]
async fn thousands_of_sets_of_supplied_columns_take_little_memory() {
    let (sets, allowed) = (3_000, 64);
    let world = World::new().await;
    let columns: Vec<String> = (0..12).map(|n| format!("c{n} text default 'd{n}'")).collect();
    world.sql(&format!("create schema dbo; create table dbo.e (id int primary key, {})", columns.join(", "))).await;
    let line = |set: u32| {
        let cells = (0..12).map(|n| if set >> n & 1 == 1 { "x" } else { "??" });
        format!("I,{set},{}\n", cells.collect::<Vec<_>>().join(","))
    };
    world.bucket.put("e/20991231-120000000.csv.gz", &(0..sets).map(line).collect::<String>()).await;
    let mut command = bounded(&world, allowed);
    command.env("FEED", "no_supply=??");
    let (ended, peak) = run_measured(command).await;
    assert_eq!(ended.ok().effects(), [format!("e (create: {sets}, amend: 0, remove: 0).")]);
    eprintln!("{sets} sets of supplied columns: peak {peak} MiB of {allowed}");
    assert!(peak < allowed, "{peak} MiB");
    let wrong = "select count(*) from dbo.e where c3 <> case when id & 8 = 8 then 'x' else 'd3' end";
    assert_eq!(world.value(wrong).await, "0");
}

/// `Content-Encoding: gzip` says that whoever reads may unpack: nobody does but the decoder, and it does once.
#[tokio::test]
async fn an_object_that_says_it_is_encoded_is_decoded_once() {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key); create table dbo.g (id int primary key)").await;
    world.bucket.put_encoded("e/LOAD00000001.csv.gz", gz("1,a,1\n2,b,2\n")).await;
    world.bucket.put_encoded("f/LOAD00000001.csv", gz("1\n")).await;
    world.bucket.put_encoded("g/LOAD00000001.csv.gz", gz_bytes(&gz("1\n"))).await;
    assert_eq!(world.bucket.encoding_of("e/LOAD00000001.csv.gz").await.as_deref(), Some("gzip"), "the store keeps it");
    let (ended, _) = run_measured(bounded(&world, ALLOWED)).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    let states = world.rows("select entity, status, rows_create, error from loader_deliveries order by 1").await;
    assert_eq!(states[..2], ["e|loaded|2|∅", "f|loaded|1|∅"]);
    assert!(states[2].starts_with("g|failed|") && states[2].contains("compressed twice"), "{}", states[2]);
}
