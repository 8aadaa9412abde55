//! The same key in two parts of a full load: both places are named.

use crate::support::World;
use crate::support::program::run_once;

const PART_1: &str = "e/LOAD00000001.csv.gz";
const PART_2: &str = "e/LOAD00000002.csv.gz";
const PART_3: &str = "e/LOAD00000003.csv.gz";

const ERROR: &str = "select error from loader_deliveries where status = 'failed'";

#[tokio::test]
async fn a_key_in_two_parts_of_a_first_load_is_named_with_both_places() {
    // in key order, and not; parts that were loaded before, and at once
    for (rows, line) in [("4,d,4\n\"5\",\"e\nf\",5\n2,b,2\n", 4), ("2,again,1\n4,d,4\n", 1)] {
        for before in [true, false] {
            let world = World::with_table().await;
            world.bucket.put(PART_1, "1,a,1\n2,b,1\n3,c,1\n").await;
            world.bucket.put(PART_2, "11,a,1\n").await;
            if before {
                run_once(&world).await.ok();
            }
            world.bucket.put(PART_3, rows).await;
            let ended = run_once(&world).await;
            assert_eq!(ended.code, 1, "{}", ended.log);
            let (first, second) = (world.bucket.key(PART_1), world.bucket.key(PART_3));
            let wanted =
                format!("{second}: line {line}: the same key as {first}, line 2; a snapshot must have each key once");
            assert_eq!(world.value(ERROR).await, wanted, "{}", ended.log);
            assert_eq!(world.value("select count(*) from dbo.e").await, "4", "nothing of it is applied");
        }
    }
}

#[tokio::test]
async fn a_key_that_only_postgres_can_read_is_named_too() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id inet primary key, a int)").await;
    world.bucket.put(PART_1, "10.0.0.1,1\n").await;
    world.bucket.put(PART_2, "10.0.0.2,1\n10.0.0.1,2\n").await;
    let ended = run_once(&world).await;
    let words = format!("line 2: the same key as {}, line 1", world.bucket.key(PART_1));
    assert!(ended.log.contains(&words), "{}", ended.log);
}

#[tokio::test]
async fn a_key_twice_in_a_reload_of_two_parts_is_named_with_both_files() {
    let world = World::with_table().await;
    world.bucket.put(PART_1, "1,a,1\n2,b,1\n").await;
    world.bucket.put(PART_2, "3,c,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(PART_1, "1,a,2\n2,b,2\n").await;
    world.bucket.put_later(PART_2, "3,c,2\n2,b,3\n").await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    let (first, second) = (world.bucket.key(PART_1), world.bucket.key(PART_2));
    let wanted = format!("{second}: line 2: the same key as {first}, line 2; a snapshot must have each key once");
    assert_eq!(world.value(ERROR).await, wanted, "{}", ended.log);
}

#[tokio::test]
async fn a_unique_value_that_is_no_key_is_what_postgres_says() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, email text unique)").await;
    world.bucket.put(PART_1, "1,a\n2,b\n").await;
    run_once(&world).await.ok();
    world.bucket.put(PART_2, "3,b\n").await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(world.value(ERROR).await.contains("e_email_key"), "{}", ended.log);
    assert!(!ended.log.contains("deferrable") && !ended.log.contains("the same key"), "{}", ended.log);
}

#[tokio::test]
async fn where_the_earlier_part_is_gone_its_delivery_is_named() {
    let world = World::with_table().await;
    world.bucket.put(PART_1, "1,a,1\n2,b,1\n").await;
    world.bucket.put(PART_2, "3,c,1\n").await;
    run_once(&world).await.ok();
    world.bucket.delete(PART_1).await;
    world.bucket.put(PART_3, "4,d,4\n\"5\",\"e\nf\",5\n2,b,2\n").await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    let (first, third) = (world.bucket.key(PART_1), world.bucket.key(PART_3));
    let id = world.value("select min(id) from loader_deliveries").await;
    let wanted = format!(
        "{third}: line 4: the table has a row with the same key already; a snapshot must have each key once. It came with \
         delivery {id} ({first}), whose file is not in the bucket any more as it was loaded"
    );
    assert_eq!(world.value(ERROR).await, wanted, "{}", ended.log);
}

#[tokio::test]
async fn a_key_that_somebody_else_wrote_is_said_to_be_so() {
    let world = World::new().await;
    let table = "create schema dbo; create table dbo.e (id int, a int, primary key (id)) partition by range (id);
                 create table dbo.low partition of dbo.e for values from (0) to (5);
                 create table dbo.high partition of dbo.e for values from (5) to (100)";
    world.sql(table).await;
    world.bucket.put(PART_1, "1,1\n2,1\n").await;
    run_once(&world).await.ok();
    world.sql("insert into dbo.e values (9, 9)").await;
    world.bucket.put(PART_2, "8,1\n9,1\n").await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    let error = world.value(ERROR).await;
    let wanted = format!("{}: line 2: the table has a row with the same key already; ", world.bucket.key(PART_2));
    assert!(error.starts_with(&wanted) && error.contains("written by somebody else"), "{error}");
}
