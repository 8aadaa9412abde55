//! Bytes that are not what they should be: no wrong row is ever loaded, the file is named with its fault, other tables go on.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::kill::{number, seed};
use crate::support::program::{program, run, run_once};
use crate::support::{World, gz, gz_bytes};

const ROWS: &str = "1,one,1.00\n2,two,2.00\n3,three,3.00\n";

/// Tables of a file each: one for every case.
async fn world_of(files: &[(String, Vec<u8>)]) -> World {
    let world = World::new().await;
    let mut script = "create schema dbo;".to_owned();
    for (table, bytes) in files {
        script += &format!("create table dbo.{table} (id bigint primary key, name text, price numeric(12, 2));");
        world.bucket.put_bytes(&format!("{table}/LOAD00000001.csv.gz"), bytes.clone()).await;
    }
    world.sql(&script).await;
    world
}

/// What became of a table: its ledger row's status and error, and its rows.
async fn outcome(world: &World, table: &str) -> (String, String) {
    let sql = format!("select status || ' ' || coalesce(error, '') from loader_deliveries where entity = '{table}'");
    let rows = world.rows(&format!("select id, name, price from dbo.{table} order by id")).await;
    (world.value(&sql).await, rows.join(" "))
}

#[tokio::test]
async fn a_fault_in_the_bytes_fails_its_file_and_no_other() {
    let (good, loaded) = (gz(ROWS), "1|one|1.00 2|two|2.00 3|three|3.00");
    let mut crc = good.clone();
    let at = crc.len() - 8;
    crc[at] ^= 1;
    let bgzf = ROWS.lines().map(|line| gz(&format!("{line}\n"))).collect::<Vec<_>>();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("two_members", [gz("1,one,1.00\n"), gz("2,two,2.00\n3,three,3.00\n")].concat(), ""),
        ("cut_in_a_row", [gz("1,one,1.00\n2,tw"), gz("o,2.00\n3,three,3.00\n")].concat(), ""),
        ("empty_member", [bgzf[0].clone(), gz(""), bgzf[1].clone(), bgzf[2].clone(), gz("")].concat(), ""),
        ("cut", good[..good.len() - 3].to_vec(), "truncated gzip"),
        ("trailer", crc, "corrupt gzip"),
        ("garbage", [&good[..], b"garbage and more"].concat(), "bytes after the last"),
        ("zeros", [&good[..], &[0; 512]].concat(), "bytes after the last"),
        ("plain", ROWS.as_bytes().to_vec(), "not gzip (starts with 31 2c)"),
        ("zstd", [&[0x28, 0xb5, 0x2f, 0xfd][..], &good].concat(), "not CSV but packed with zstd"),
        ("nothing", Vec::new(), "0 bytes"),
        ("twice", gz_bytes(&good), "compressed twice"),
    ];
    let files: Vec<_> = cases.iter().map(|(table, bytes, _)| ((*table).to_owned(), bytes.clone())).collect();
    let world = world_of(&files).await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    for (table, _, fault) in cases {
        let (status, rows) = outcome(&world, table).await;
        match fault {
            "" => assert_eq!((status.trim(), rows.as_str()), ("loaded", loaded), "{table}"),
            fault => {
                assert!(status.starts_with("failed ") && status.contains(fault), "{table}: {status}");
                assert_eq!(rows, "", "{table}");
            }
        }
    }
}

/// A gzip of nothing has no rows, which is said of an empty table and held over one that has some.
#[tokio::test]
async fn an_empty_gzip_loads_nothing_and_is_held_over_rows() {
    let world = world_of(&[("fresh".to_owned(), gz("")), ("full".to_owned(), gz(ROWS))]).await;
    run_once(&world).await.ok();
    assert_eq!(outcome(&world, "fresh").await, ("loaded ".to_owned(), String::new()));
    world.bucket.put_later("full/LOAD00000001.csv.gz", "").await;
    assert_eq!(run_once(&world).await.code, 1);
    let states = world.rows("select status from loader_deliveries where entity = 'full' order by id").await;
    assert_eq!(states, ["loaded", "held"]);
    assert_eq!(world.value("select count(*) from dbo.full").await, "3");
}

#[tokio::test]
async fn a_plain_file_may_be_gzip_and_need_not() {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key)").await;
    world.bucket.put_bytes("e/LOAD00000001.csv", gz("1,a,1\n")).await;
    world.bucket.put_bytes("f/LOAD00000001.csv", b"1\n".to_vec()).await;
    run_once(&world).await.ok();
    let counts = world.value("select (select count(*) from dbo.e) || '/' || (select count(*) from dbo.f)").await;
    assert_eq!(counts, "1/1");
}

/// One bit, anywhere: the file fails, or its rows are what they were. Never other rows.
#[tokio::test]
async fn a_flipped_bit_never_makes_a_wrong_row() {
    let mut rng = StdRng::seed_from_u64(seed());
    let good = gz(ROWS);
    let flips: Vec<_> = (0..number("PEO_FLIPS", 60))
        .map(|flip| {
            let (mut bytes, at) = (good.clone(), rng.random_range(0..good.len()));
            bytes[at] ^= 1 << rng.random_range(0..8);
            (format!("t{flip}"), bytes)
        })
        .collect();
    let world = world_of(&flips).await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    let mut failed = 0;
    for (table, _) in &flips {
        match outcome(&world, table).await {
            (status, rows) if status.starts_with("failed ") && rows.is_empty() => failed += 1,
            loaded => assert_eq!(loaded, ("loaded ".to_owned(), "1|one|1.00 2|two|2.00 3|three|3.00".to_owned())),
        }
    }
    assert!(failed > flips.len() / 2, "most flips are noticed by the checksum: {failed}");
}

/// The same instants, whatever the zones of the machine, the session and the database are.
#[tokio::test]
async fn no_time_zone_shifts_a_time() {
    let mut seen = Vec::new();
    for (machine, database) in [("UTC", "UTC"), ("America/New_York", "Asia/Kolkata"), ("Europe/Berlin", "Asia/Tokyo")] {
        let world = World::new().await;
        world
            .sql(&format!(
                "create schema dbo; create table dbo.e (id int primary key, naive timestamp, zoned timestamptz, day date,
                                                        spans timestamptz[]);
                 alter database \"{}\" set timezone = '{database}'",
                world.database
            ))
            .await;
        // hours that a change of the clock repeats or leaves out
        let rows = "1,2024-03-31 02:30:00,2024-03-31 02:30:00,2024-03-31,{2024-03-31 02:30:00}\n\
                    2,2024-10-27 02:30:00,2024-10-27T02:30:00Z,2024-10-27,NULL\n\
                    3,2024-11-03 01:30:00.123456,2024-11-03 01:30:00+05:30,2024-11-03,NULL\n";
        world.bucket.put("e/LOAD00000001.csv.gz", rows).await;
        let mut command = program(&world);
        command.env("TZ", machine);
        run(command).await.ok();
        seen.push(world.rows("select id, naive, extract(epoch from zoned), day, extract(epoch from spans[1]) from dbo.e order by id").await);
    }
    assert_eq!(
        seen[0],
        [
            "1|2024-03-31 02:30:00|1711852200.000000|2024-03-31|1711852200.000000",
            "2|2024-10-27 02:30:00|1729996200.000000|2024-10-27|∅",
            "3|2024-11-03 01:30:00.123456|1730577600.000000|2024-11-03|∅"
        ]
    );
    assert!(seen.iter().all(|rows| *rows == seen[0]), "{seen:#?}");
}

#[tokio::test]
async fn keys_that_look_alike_are_not_one_and_no_key_is_null() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id text primary key, n int); create table dbo.f (id int primary key)").await;
    // a blank, the case, and the two ways to write an umlaut
    let rows = "a,1\na ,2\n a,3\nA,4\n\u{e4},5\na\u{308},6\n\"\",7\n";
    world.bucket.put("e/LOAD00000001.csv.gz", rows).await;
    world.bucket.put("f/LOAD00000001.csv.gz", "1\nNULL\n").await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert_eq!(world.value("select count(*) || '/' || sum(n) from dbo.e").await, "7/28");
    assert_eq!(world.value("select status from loader_deliveries where entity = 'f'").await, "failed");
    world.bucket.put("e/20991231-120000000.csv.gz", "U,a ,20\nD,A,4\n").await;
    run_once(&world).await;
    let rows = world.rows("select n from dbo.e where id in ('a', 'a ', 'A') order by n").await;
    assert_eq!(rows, ["1", "20"], "only the keys that were named");
}

#[tokio::test]
async fn hostile_names_in_keys_and_headers_are_names() {
    let world = World::with_table().await;
    world.sql("create table dbo.canary (id int primary key); insert into dbo.canary values (1)").await;
    let hostile = "e\"; drop table dbo.canary; --";
    world.sql("create table dbo.\"e\"\"; drop table dbo.canary; --\" (id int primary key, \"x\"\"; drop table dbo.canary; --\" text)").await;
    world.bucket.put(&format!("{hostile}/LOAD00000001.csv.gz"), "id,\"x\"\"; drop table dbo.canary; --\"\n1,a\n").await;
    world.bucket.put("'; drop table dbo.canary; --/LOAD00000001.csv.gz", "1\n").await;
    world.bucket.put("e/LOAD00000001.csv.gz", "id,name,\"price\"\"; drop table dbo.canary; --\"\n1,a,1\n").await;
    let mut command = program(&world);
    command.env("FEED", "header=True");
    let ended = run(command).await;
    assert_eq!(world.value("select count(*) from dbo.canary").await, "1", "{}", ended.log);
    let loaded = world.value("select count(*) from dbo.\"e\"\"; drop table dbo.canary; --\"").await;
    assert_eq!(loaded, "1", "{}", ended.log);
    assert_eq!(world.value("select status from loader_deliveries where entity = 'e'").await, "failed");
}

/// The same content under another name is a delivery of its own that changes nothing, and nobody hears of it.
#[tokio::test]
async fn the_same_content_under_another_name_changes_nothing_and_is_recorded() {
    let world = World::with_table().await;
    let (broker, heard) = crate::kill::stage().await;
    world.bucket.put("e/LOAD00000001.csv.gz", "1,a,1\n").await;
    world.bucket.put("e/20991231-120000000.csv.gz", "I,2,b,1.5\n").await;
    world.bucket.put("e/20991231-120100000.csv.gz", "I,2,b,1.5\n").await;
    run(crate::kill::once(&world, &broker)).await.ok();
    assert_eq!(
        world.ledger().await,
        [
            "LOAD00000001.csv.gz|loaded|1/0/0/0",
            "20991231-120000000.csv.gz|loaded|1/0/0/0",
            "20991231-120100000.csv.gz|loaded|0/0/0/1"
        ]
    );
    crate::support::broker::heard(&heard, 2).await;
}
