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
