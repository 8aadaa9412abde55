//! The service: it sleeps, wakes, serves its numbers, survives what it cannot reach, and stops when it is told to.

use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::World;
use crate::support::broker::free_port;
use crate::support::program::{Running, program, run, start};
use crate::support::setting;

const LOAD1: &str = "e/LOAD00000001.csv.gz";

fn service(world: &World) -> Command {
    let mut command = program(world);
    command.env("RUN_AS_SERVICE", "True").env("METRICS", "127.0.0.1:0");
    command.env("MIN_SLEEP", "0.2").env("MAX_SLEEP", "0.4");
    command
}

/// Where the program serves its numbers: the system chose the port.
pub async fn ops_port(running: &Running) -> u16 {
    let served = "served at http://127.0.0.1:";
    running.says(served).await;
    let log = running.log();
    let (_, rest) = log.split_once(served).expect("said");
    rest.split('.').next().and_then(|port| port.parse().ok()).expect("a port")
}

pub async fn get(port: u16, path: &str) -> String {
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("ops answers");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("asked");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("answered");
    answer
}

/// Waits for as long as a service may wait between two tries.
async fn waits_for(world: &World, query: &str, wanted: &str) {
    for _ in 0..1200 {
        if world.value(query).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{query} never gave {wanted}");
}

#[tokio::test]
async fn a_service_picks_up_what_arrives_counts_it_and_stops_on_sigterm() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,2\n").await;
    let running = start(service(&world));
    let port = ops_port(&running).await;
    running.says("Delivery 1: processed (").await;
    world.bucket.put("e/20991231-235900.csv.gz", "U,1,c,1\nD,2,NULL,NULL\nI,3,x,1\nU,9,y,1\n").await;
    running.says("Delivery 2: processed (").await;
    let metrics = get(port, "/metrics").await;
    for line in [
        r#"paper_engine_rows_total{entity="e",op="create"} 4"#,
        r#"paper_engine_rows_total{entity="e",op="amend"} 1"#,
        r#"paper_engine_rows_total{entity="e",op="remove"} 1"#,
        r#"paper_engine_deliveries_total{entity="e",kind="changes",status="loaded"} 1"#,
        "paper_engine_outbox_messages 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(get(port, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(port, "/readyz").await.starts_with("HTTP/1.1 200"));
    running.signal("TERM");
    let ended = running.ends().await.ok();
    assert!(ended.log.contains("SIGTERM"), "{}", ended.log);
}

/// What a table looks like is kept from one delivery to the next; the lock tells when that does not hold any more.
#[tokio::test]
async fn a_table_that_changes_between_two_files_is_looked_up_again() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let running = start(service(&world));
    running.says("Delivery 1: processed (").await;
    let changes = [
        ("alter table dbo.e add note text", "U,1,a,1,noted\n", "1|a|1.00|noted"),
        ("alter table dbo.e drop price", "U,1,b,kept\n", "1|b|kept"),
        // another table is taken for the one that was loaded if it holds as many rows
        ("drop table dbo.e; create table dbo.e (id bigint primary key); insert into dbo.e values (1)", "I,7\n", "7"),
        (
            "alter table dbo.e rename to old; create table dbo.e (id bigint primary key, up bigint references dbo.e);
             insert into dbo.e values (1), (7)",
            "I,9,8\nI,8,NULL\n",
            "9|8",
        ),
    ];
    for (number, (change, file, row)) in changes.into_iter().enumerate() {
        world.sql(change).await;
        world.bucket.put(&format!("e/20991231-12000{number}000.csv.gz"), file).await;
        waits_for(&world, "select count(*) from loader_deliveries where status = 'loaded'", &(number + 2).to_string())
            .await;
        assert_eq!(world.rows("select * from dbo.e order by 1 desc").await[0], row, "{change}");
    }
    assert_eq!(
        world.value("select count(*) from loader_deliveries where status <> 'loaded' or attempts > 1").await,
        "0"
    );
    running.says("the table is not what it was when it was loaded last; taking stock again").await;
    running.signal("TERM");
    running.ends().await.ok();
}

#[tokio::test]
async fn sigint_while_asleep_ends_it_at_once() {
    let world = World::with_table().await;
    let mut command = service(&world);
    command.env("MIN_SLEEP", "300").env("MAX_SLEEP", "300");
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let running = start(command);
    running.says("processed (").await;
    running.signal("INT");
    running.ends().await.ok();
}

#[tokio::test]
async fn sigterm_in_the_middle_of_a_load_finishes_it_or_leaves_nothing() {
    let world = World::with_table().await;
    let rows: String = (0..400_000).map(|id| format!("{id},name of row {id},1.25\n")).collect();
    world.bucket.put(LOAD1, &rows).await;
    let running = start(service(&world));
    running.says("process_dbo").await;
    running.signal("TERM");
    running.ends().await.ok();
    let (rows, ledger) = (world.value("select count(*) from dbo.e").await, world.ledger().await);
    assert_eq!((rows.as_str(), ledger.len()), ("400000", 1), "the delivery in hand is finished within the grace");
}

#[tokio::test]
async fn killed_in_the_middle_of_a_load_it_loses_nothing() {
    let world = World::with_table().await;
    let rows: String = (0..400_000).map(|id| format!("{id},name of row {id},1.25\n")).collect();
    world.bucket.put(LOAD1, &rows).await;
    let running = start(service(&world));
    running.says("process_dbo").await;
    running.signal("KILL");
    assert_eq!(running.ends().await.code, -1);
    assert_eq!(world.value("select count(*) from dbo.e").await, "0");
    let running = start(service(&world));
    running.says("processed (0:").await;
    assert_eq!(world.value("select count(*) from dbo.e").await, "400000");
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|loaded|400000/0/0/0"]);
}

#[tokio::test]
async fn while_the_target_is_away_it_says_so_once_and_comes_back_by_itself() {
    let world = World::with_table().await;
    let port = free_port();
    let mut command = service(&world);
    command.env("TARGET", world.target_at(&port.to_string()));
    let running = start(command);
    running.says("cannot reach Postgres").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(running.log().matches("cannot reach Postgres").count(), 1, "{}", running.log());
    let ready = get(ops_port(&running).await, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("target: "), "{ready}");
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port is still free");
    let server: u16 = setting("PEO_PG_PORT").parse().expect("a port");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = tokio::net::TcpStream::connect(("127.0.0.1", server)).await.expect("Postgres");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    waits_for(&world, "select count(*) from dbo.e", "1").await;
    running.signal("TERM");
    running.ends().await.ok();
}

#[tokio::test]
async fn two_loaders_at_once_load_each_file_once() {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key)").await;
    let (one, two) = (start(service(&world)), start(service(&world)));
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put("f/LOAD00000001.csv.gz", "1\n").await;
    for number in 0..20 {
        world.bucket.put(&format!("e/20991231-2359{number:02}.csv.gz"), &format!("I,{},n,1\n", number + 10)).await;
    }
    waits_for(&world, "select count(*) from dbo.e", "21").await;
    for running in [one, two] {
        running.signal("TERM");
        let log = running.ends().await.ok().log;
        assert!(!log.contains("ERROR") && !log.contains("failed"), "{log}");
    }
    let states = world.rows("select status, count(*) from loader_deliveries group by status").await;
    assert_eq!(states, ["loaded|22"]);
    let order = "select string_agg(object_key, ',' order by id) = string_agg(object_key, ',' order by object_key)
                 from loader_deliveries where kind = 'changes'";
    assert_eq!(world.value(order).await, "t", "in feed order");
}

#[tokio::test]
async fn many_starters_on_an_empty_database_migrate_it_once() {
    let world = World::empty_with_table().await;
    for _ in 0..5 {
        let starters: Vec<_> = (0..6).map(|_| tokio::spawn(run(program(&world)))).collect();
        for starter in starters {
            starter.await.expect("joined").ok();
        }
        let applied = world.value("select count(*) from loader_schema_history").await;
        assert_eq!(applied, crate::support::template::migrations().to_string());
        let tables = "select string_agg(relname, ', ') from pg_class where relname like 'loader\\_%' and relkind = 'r'";
        world.sql(&format!("drop table {}", world.value(tables).await)).await;
    }
}

#[tokio::test]
async fn sigterm_while_the_bucket_does_not_answer_ends_it() {
    let world = World::with_table().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let mut command = service(&world);
    command.env("SOURCE", world.bucket.source_at(&port.to_string()));
    let running = start(command);
    running.says("metrics and health").await;
    let (_connection, _) = tokio::task::spawn_blocking(move || silent.accept()).await.expect("joined").expect("asked");
    running.signal("TERM");
    running.ends().await.ok();
}
