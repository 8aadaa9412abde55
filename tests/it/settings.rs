//! Settings of a role or a database that would change what a value means, or make a message speak of what a crash undoes.

use std::time::Duration;

use crate::faults::before_get;
use crate::support::World;
use crate::support::broker::{Broker, heard};
use crate::support::program::{as_owner, program, run, run_once};

const LOAD: &str = "e/LOAD00000001.csv.gz";

async fn set(world: &World, setting: &str) {
    world.sql(&format!("alter database \"{}\" set {setting}", world.database)).await;
}

#[tokio::test]
async fn no_setting_of_the_database_changes_what_a_value_means() {
    let world = World::new().await;
    world.sql("create schema dbo; create table dbo.e (id int primary key, a text[], m money, i interval)").await;
    for setting in [
        "array_nulls = off",
        "lc_monetary = 'C'",
        "intervalstyle = 'sql_standard'",
        "datestyle = 'SQL, DMY'",
        "transform_null_equals = on",
        "standard_conforming_strings = off",
    ] {
        set(&world, setting).await;
    }
    world.bucket.put(LOAD, "1,\"{a,NULL}\",1.50,-1 days +02:03:00\n").await;
    run_once(&world).await.ok();
    let row = "select a[2] is null, m::numeric, extract(epoch from i)::int from dbo.e";
    assert_eq!(world.value(row).await, "t|1.50|-79020");
}

/// Asserts what a setting is in the transaction of a delivery, for each value that the database asks for: (asked, had).
async fn has(setting: &str, cases: &[(&str, &str)]) {
    let world = World::with_table().await;
    world
        .sql(&format!(
            "create function dbo.shows() returns trigger language plpgsql as
               $$ begin new.name := current_setting('{setting}'); return new; end $$;
             create trigger shows before insert on dbo.e for each row execute function dbo.shows()"
        ))
        .await;
    for (id, (asked, had)) in cases.iter().enumerate() {
        set(&world, &format!("{setting} = '{asked}'")).await;
        world.bucket.put(&format!("e/20991231-12000{id}000.csv.gz"), &format!("I,{id},a,1\n")).await;
        run_once(&world).await.ok();
        assert_eq!(world.value(&format!("select name from dbo.e where id = {id}")).await, *had, "{asked}");
    }
}

#[tokio::test]
async fn what_is_committed_is_on_disk_whatever_the_database_says() {
    has("synchronous_commit", &[("off", "on"), ("local", "on")]).await;
}

#[tokio::test]
async fn a_database_that_could_not_be_kept_equal_is_refused_by_name() {
    let world = World::empty_with_table().await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    let other = format!("{}-latin", world.database);
    world
        .sql(&format!("create database \"{other}\" encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0"))
        .await;
    let at_other = world.target().replace(&world.database, &other);
    set(&world, "session_replication_role = replica").await;
    for (target, words) in [(at_other, "encoding is LATIN1"), (world.target(), "session_replication_role is replica")] {
        for (args, code) in [(["run", "--once"].as_slice(), 78), (&["check"], 78)] {
            let mut command = as_owner(&world);
            command.args(args).env("TARGET", &target);
            let ended = run(command).await;
            assert_eq!(ended.code, code, "{args:?}: {}", ended.log);
            let log = ended.log.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(log.contains(words), "{args:?}: {log}");
        }
    }
    assert_eq!(world.value("select count(*) from dbo.e").await, "0");
    world.sql(&format!("drop database \"{other}\"")).await;
}

#[tokio::test]
async fn a_download_or_a_broker_that_takes_its_time_ends_no_transaction() {
    let world = World::with_table().await;
    let broker = Broker::core().await;
    let ears = broker.listen().await;
    set(&world, "idle_in_transaction_session_timeout = '500ms'").await;
    for (file, rows) in [("LOAD00000001.csv.gz", "1,a,1\n"), ("20991231-120000000.csv.gz", "U,1,b,1\n")] {
        world.bucket.put(&format!("e/{file}"), rows).await;
        world.leave_ledger_to_next_feed().await;
        let ended = before_get(&world, file, async || tokio::time::sleep(Duration::from_millis(1500)).await).await.ok();
        assert!(!ended.log.contains("Trying again"), "{}", ended.log);
    }
    world.leave_ledger_to_next_feed().await;
    let mut command = program(&world);
    command.env("NOTIFICATIONS", "True").env("NATS", broker.url());
    command.env("FAILPOINTS", "before_outbox_mark=sleep(1500)");
    world.bucket.put("e/20991231-120001000.csv.gz", "U,1,c,1\n").await;
    run(command).await.ok();
    heard(&ears, 1).await;
}

#[tokio::test]
async fn the_time_that_a_transaction_may_stand_still_is_raised_and_never_switched_off() {
    let cases = [("0", "0"), ("500ms", "10min"), ("90s", "10min"), ("10min", "10min"), ("1d", "1d")];
    has("idle_in_transaction_session_timeout", &cases).await;
}
