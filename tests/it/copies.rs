//! Buckets that were copied, and files that were rewritten in place: the tables stay what they were, or are stopped.

use crate::support::World;
use crate::support::program::{Ended, program, run, run_once};

const LOAD1: &str = "e/LOAD00000001.csv.gz";

/// The change file that is named so many seconds before now.
fn aged(age: i64) -> String {
    let at = time::OffsetDateTime::now_utc() - time::Duration::seconds(age);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    format!("e/{year:04}{month:02}{day:02}-{:02}{:02}{:02}000.csv.gz", at.hour(), at.minute(), at.second())
}

async fn run_with_feed(world: &World, feed: &str) -> Ended {
    let mut command = program(world);
    command.env("FEED", feed);
    run(command).await
}

/// Copies a feed in key order: the change files of these ages, then the full load.
async fn copied(ages: &[i64]) -> World {
    let world = World::with_table().await;
    for (place, age) in ages.iter().enumerate() {
        world.bucket.put(&aged(*age), &format!("I,{},x,1\nU,1,a{place},1\n", place + 10)).await;
    }
    world.bucket.put_later(LOAD1, "1,a,1\n").await;
    world
}

#[tokio::test]
async fn a_file_that_is_named_before_the_full_load_and_written_after_it_is_told_of() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put_later(&aged(3600), "U,1,b,1\n").await;
    let ended = run_once(&world).await.ok();
    let words = "minutes before the full load was written but was written after it: it is loaded after the full load";
    assert!(ended.log.contains(words) && ended.log.contains("WARN"), "{}", ended.log);
    assert_eq!(world.value("select name from dbo.e").await, "b");
}

const DAY: i64 = 86_400;
const HOUR: i64 = 3600;

#[tokio::test]
async fn a_copied_bucket_follows_its_full_load_as_a_whole() {
    let world = copied(&[3 * DAY, 2 * DAY, 20 * HOUR, 2 * HOUR, 600]).await;
    let ended = run_once(&world).await.ok();
    assert!(ended.log.contains("dbo.e: 5 change files were copied after they were made"), "{}", ended.log);
    assert_eq!(world.value("select name from dbo.e where id = 1").await, "a4");
    assert_eq!(world.value("select count(*) from dbo.e").await, "6");
    assert_eq!(world.value("select count(*) from loader_deliveries where status = 'loaded'").await, "6");
    assert!(run_once(&world).await.ok().effects().is_empty());
}

#[tokio::test]
async fn files_whose_times_disagree_are_held_and_the_order_decides() {
    for (feed, rows, status) in [("order=name", "4", "loaded"), ("order=modified", "1", "skipped")] {
        let world = copied(&[20 * HOUR, 2 * HOUR, 600]).await;
        let ended = run_once(&world).await;
        assert_eq!(ended.code, 1, "{}", ended.log);
        assert!(ended.log.contains("FEED order=name if all change files follow it"), "{}", ended.log);
        assert_eq!(world.value("select count(*) from dbo.e").await, "1");
        assert_eq!(run_once(&world).await.code, 1, "nothing is said or done again");
        let mut command = program(&world);
        command.arg("status");
        let shown = run(command).await;
        assert!(shown.log.contains("FEED order=name or FEED order=modified"), "{}", shown.log);
        assert_eq!(
            world.value("select string_agg(status || attempts, ' ' order by id) from loader_deliveries").await,
            "loaded1 held1 pending0 pending0"
        );
        run_with_feed(&world, feed).await.ok();
        assert_eq!(world.value("select count(*) from dbo.e").await, rows, "{feed}");
        let all = "select string_agg(distinct status, ' ') from loader_deliveries where kind = 'changes'";
        assert_eq!(world.value(all).await, status);
    }
}

#[tokio::test]
async fn files_that_were_copied_within_a_day_are_held_however_few_they_are() {
    let near: Vec<i64> = (0..5).map(|place| 5 * HOUR - place * 180).collect();
    for ages in [&near[..], &[3 * HOUR]] {
        let world = copied(ages).await;
        let ended = run_once(&world).await;
        assert_eq!(ended.code, 1, "{}", ended.log);
        assert!(ended.log.contains("minutes apart from the time"), "{}", ended.log);
        assert_eq!(world.value("select count(*) from loader_deliveries where status = 'skipped'").await, "0");
        assert_eq!(world.value("select name from dbo.e").await, "a");
        let release = format!(
            "deliveries release {}",
            world.value("select id from loader_deliveries where status = 'held'").await
        );
        let mut command = program(&world);
        command.args(release.split(' '));
        run(command).await.ok();
        run_once(&world).await.ok();
        assert_eq!(world.value("select count(*) from dbo.e").await, (ages.len() + 1).to_string());
    }
}

#[tokio::test]
async fn a_later_full_load_that_is_copied_behind_its_change_files_holds_them() {
    for (feed, rows) in [("order=name", "5"), ("order=modified", "3")] {
        let world = World::with_table().await;
        world.bucket.put(LOAD1, "1,old,1\n2,b,1\n").await;
        run_once(&world).await.ok();
        for hours in [60, 59] {
            world.bucket.put(&aged(hours * HOUR), &format!("I,1{hours},new,1\n")).await;
        }
        world.bucket.put_later(LOAD1, "1,y,1\n2,b,1\n3,c,1\n").await;
        let ended = run_once(&world).await;
        assert!(
            ended.code == 1 && ended.log.contains("FEED order=name if all change files follow it"),
            "{}",
            ended.log
        );
        assert_eq!(world.value("select count(*) from dbo.e").await, "3");
        run_with_feed(&world, feed).await.ok();
        assert_eq!(world.value("select count(*) from dbo.e").await, rows, "{feed}");
    }
}

#[tokio::test]
async fn a_service_that_missed_a_full_load_and_what_was_written_before_it_goes_on_by_itself() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,old,1\n").await;
    world.bucket.put(&aged(240), "U,1,x,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put(&aged(180), "U,1,y,1\nI,2,y,1\n").await;
    world.bucket.put(&aged(120), "U,1,z,1\n").await;
    world.bucket.put_later(LOAD1, "1,z,1\n3,c,1\n").await;
    world.bucket.put(&aged(0), "I,4,d,1\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows("select id from dbo.e order by id").await, ["1", "3", "4"]);
    let skipped = "select count(*) from loader_deliveries where reason = 'contained in snapshot 2'";
    assert_eq!(world.value(skipped).await, "2");
}

#[tokio::test]
async fn other_bytes_of_a_loaded_change_file_are_late_after_a_later_full_load_too() {
    let world = World::with_table().await;
    let (one, two) = ("e/20991231-120100000.csv.gz", "e/20991231-120200000.csv.gz");
    world.bucket.put(LOAD1, "1,old,1\n2,b,1\n").await;
    world.bucket.put(one, "U,1,x,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "1,newer,1\n2,b,1\n3,c,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(one, "U,1,stale,1\nD,2,b,1\n").await;
    world.bucket.put(two, "U,3,last,1\n").await;
    let ended = run_once(&world).await;
    let words = "another version of this change file was loaded before, in generation 1";
    assert!(ended.code == 1 && ended.log.contains(words), "{}", ended.log);
    let rows = "select name from dbo.e order by id";
    assert_eq!(world.rows(rows).await, ["newer", "b", "c"]);
    // a full load that contains it ends the stop once somebody looks again
    let mut skip = program(&world);
    skip.args(["deliveries", "skip", "4", "--reason", "stale"]);
    run(skip).await.ok();
    run_once(&world).await.ok();
    assert_eq!(world.rows(rows).await, ["newer", "b", "last"]);
}

/// A full load of two hundred rows and five change files: 205 rows, the last word of each that of a change file.
async fn whole() -> World {
    let world = World::with_table().await;
    put_all(&world, 0, &[0, 1, 2, 3, 4, 5]).await;
    run_once(&world).await.ok();
    assert_eq!(state(&world).await, "205|105");
    world
}

/// Puts some of the feed's files, 0 being the full load, each packed as it is packed for the `packing`th time: the same bytes only
/// within one packing.
async fn put_all(world: &World, packing: u8, which: &[usize]) {
    for file in which {
        let rows = match file {
            0 => (0..200).map(|id| format!("{id},a,1\n")).collect::<String>(),
            file => {
                (0..20).map(|row| format!("U,{},b,1\n", file * 20 + row)).collect::<String>()
                    + &format!("I,{},b,1\n", 200 + file)
            }
        };
        let name = if *file == 0 { LOAD1.to_owned() } else { format!("e/20991231-120{file}00000.csv.gz") };
        let mut bytes = crate::support::gz(&rows);
        // the time in the header of a gzip: other bytes of the same size
        bytes[4] = packing;
        world.bucket.put_bytes(&name, bytes).await;
    }
}

async fn state(world: &World) -> String {
    world.value("select count(*) || '|' || count(*) filter (where name = 'b') from dbo.e").await
}

async fn later() {
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
}

#[tokio::test]
async fn a_feed_that_is_rewritten_with_the_same_bytes_changes_nothing() {
    for order in [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]] {
        let world = whole().await;
        later().await;
        put_all(&world, 0, &order).await;
        let mut rehearsal = program(&world);
        rehearsal.env("DRY_RUN", "True");
        assert!(run(rehearsal).await.ok().log.contains("rewritten with the same bytes"));
        let ended = run_once(&world).await.ok();
        assert!(ended.effects().is_empty(), "{}", ended.log);
        assert_eq!(state(&world).await, "205|105");
        let row =
            "select status, generation, rows_read, rows_create, reason from loader_deliveries order by id desc limit 1";
        assert_eq!(
            world.value(row).await,
            "loaded|1|200|0|rewritten with the same bytes as delivery 1; nothing was applied"
        );
        world.bucket.put("e/20991231-130000000.csv.gz", "U,1,b,1\n").await;
        run_once(&world).await.ok();
        assert_eq!(state(&world).await, "205|106", "the feed goes on");
        assert!(run_once(&world).await.ok().effects().is_empty());
    }
}

#[tokio::test]
async fn a_full_load_that_is_rewritten_alone_is_held_until_the_rest_follows() {
    let world = whole().await;
    later().await;
    put_all(&world, 0, &[0]).await;
    for some in [&[][..], &[1, 2], &[3]] {
        put_all(&world, 0, some).await;
        let ended = run_once(&world).await;
        assert_eq!(ended.code, 1, "{}", ended.log);
        assert_eq!(state(&world).await, "205|105");
    }
    let held = "select status, attempts, error from loader_deliveries where status = 'held'";
    assert!(
        world
            .value(held)
            .await
            .starts_with("held|1|rewritten with the same bytes: comparing the table with it would undo the 5")
    );
    put_all(&world, 0, &[4, 5]).await;
    run_once(&world).await.ok();
    assert_eq!(state(&world).await, "205|105");
    assert_eq!(world.value("select count(*) from loader_deliveries where status <> 'loaded'").await, "0");
}

#[tokio::test]
async fn what_is_rewritten_alone_and_released_is_compared_with_the_table() {
    let world = whole().await;
    later().await;
    put_all(&world, 0, &[0]).await;
    assert_eq!(run_once(&world).await.code, 1);
    let mut release = program(&world);
    release.args(["deliveries", "release", "7"]);
    run(release).await.ok();
    run_once(&world).await.ok();
    assert_eq!(state(&world).await, "200|0");
}

/// An object's etag is another one, its bytes are not: the ledger is told so, as after an encryption.
async fn other_etags(world: &World) {
    world.sql("update loader_deliveries set etag = 'of-before-the-encryption-' || id").await;
}

#[tokio::test]
async fn other_etags_of_the_same_bytes_change_nothing() {
    for order in [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]] {
        let world = whole().await;
        later().await;
        other_etags(&world).await;
        put_all(&world, 0, &order).await;
        let ended = run_once(&world).await.ok();
        assert_eq!(state(&world).await, "205|105", "{}", ended.log);
        assert!(!ended.log.contains("late"), "{}", ended.log);
        let rows = "select count(*), count(*) filter (where reason like 'rewritten with the same bytes%'), max(generation), \
                    count(*) filter (where superseded_by is null), count(content_hash) from loader_deliveries";
        assert_eq!(world.value(rows).await, "12|6|1|6|12");
        assert!(run_once(&world).await.ok().effects().is_empty());
        let mut verify = program(&world);
        verify.arg("verify");
        let ended = run(verify).await;
        assert_eq!(ended.code, 0, "{}", ended.log);
    }
}

#[tokio::test]
async fn other_etags_seen_one_after_the_other_never_undo_anything() {
    let world = whole().await;
    later().await;
    other_etags(&world).await;
    // the ledger's etags of what is not rewritten yet are those of the bucket
    for shown in world.bucket.shown().await {
        world
            .sql(&format!("update loader_deliveries set etag = '{}' where object_key = '{}'", shown.etag, shown.key))
            .await;
    }
    for file in [3, 0, 1, 2, 4, 5] {
        let key = if file == 0 { "%LOAD%".to_owned() } else { format!("%-120{file}%") };
        world.sql(&format!("update loader_deliveries set etag = 'old' where object_key like '{key}'")).await;
        put_all(&world, 0, &[file]).await;
        run_once(&world).await;
        assert_eq!(state(&world).await, "205|105", "{file}");
    }
    run_once(&world).await.ok();
    assert_eq!(state(&world).await, "205|105");
}

#[tokio::test]
async fn other_bytes_are_no_rewrite_and_an_unknown_content_is_held() {
    let world = whole().await;
    later().await;
    put_all(&world, 1, &[1]).await;
    let ended = run_once(&world).await;
    assert!(ended.log.contains("another version of this change file was loaded before"), "{}", ended.log);
    let world = whole().await;
    later().await;
    put_all(&world, 1, &[0]).await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 100, remove: 5)."]);
    let world = whole().await;
    later().await;
    world.sql("update loader_deliveries set content_hash = null").await;
    put_all(&world, 1, &[0]).await;
    let ended = run_once(&world).await;
    assert!(
        ended.code == 1 && ended.log.contains("the ledger does not know whether they are the same"),
        "{}",
        ended.log
    );
    assert_eq!(state(&world).await, "205|105");
}
