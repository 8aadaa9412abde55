//! Triggers that keep a row from being written: whichever way a delivery is written, it fails by name and nothing of it stays.

use crate::support::World;
use crate::support::program::{Ended, program, run, run_once, start};

const LOAD: &str = "e/LOAD00000001.csv.gz";
const CHANGES: &str = "e/20991231-000001000.csv.gz";

/// Makes a trigger function that takes away what is done to the row with this id.
fn taker(id: u32) -> String {
    format!(
        "create function dbo.take() returns trigger language plpgsql as $$
         begin
             if old.id = {id} then return null; end if;
             if tg_op = 'DELETE' then return old; end if;
             return new;
         end $$;"
    )
}

#[track_caller]
fn says(ended: &Ended, code: i32, words: &str) {
    let said = ended.log.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(ended.code, code, "{}", ended.log);
    assert!(said.contains(words), "{words:?} is not in\n{}", ended.log);
}

/// A table, its first load, the trigger, a change file, and what the delivery fails with.
struct Case {
    table: &'static str,
    load: &'static str,
    taken: u32,
    trigger: &'static str,
    change: &'static str,
    words: &'static str,
}

const PEOPLE: &str = "create table dbo.e (id int primary key, email text unique, boss int references dbo.e)";

const CASES: &[Case] = &[
    // values that move between rows are parked, and a row beside them is taken
    Case {
        table: "create table dbo.e (id int primary key, u text unique)",
        load: "1,a\n2,b\n3,c\n",
        taken: 3,
        trigger: "before update on dbo.e",
        change: "U,1,~\nU,2,a\nU,1,b\nU,3,d\n",
        words: "1 of 3 rows were not amended, because a trigger took them away (take)",
    },
    // the same where no null can be written
    Case {
        table: "create table dbo.e (id int primary key, u text not null unique, v text)",
        load: "1,a,x\n2,b,x\n3,c,x\n",
        taken: 3,
        trigger: "before update on dbo.e",
        change: "U,1,~,x\nU,2,a,x\nU,1,b,x\nU,3,c,y\n",
        words: "1 of 3 rows were not amended",
    },
    // rows that refer to each other
    Case {
        table: PEOPLE,
        load: "1,a,\n2,b,1\n3,c,1\n",
        taken: 2,
        trigger: "before delete on dbo.e",
        change: "D,2,b,1\nD,3,c,1\n",
        words: "1 of 2 rows were not removed, because a trigger took them away (take)",
    },
    // the same where a value moves from the removed row to a new one
    Case {
        table: PEOPLE,
        load: "1,a,\n2,b,1\n3,c,1\n",
        taken: 3,
        trigger: "before delete on dbo.e",
        change: "D,2,b,1\nI,4,b,1\nD,3,c,1\n",
        words: "1 of 2 rows were not removed",
    },
    // rows that would be deleted and inserted again, in a partition that has the trigger
    Case {
        table: "create table dbo.e (id int, k int, u bool not null, primary key (id, k), unique (k, u)) partition by list (k);
                create table dbo.e1 partition of dbo.e for values in (1, 2)",
        load: "1,1,true\n2,1,false\n3,2,true\n",
        taken: 3,
        trigger: "before delete on dbo.e1",
        change: "D,1,1,true\nU,2,1,true\nI,1,1,false\nU,3,2,false\n",
        words: "duplicate key value violates unique constraint",
    },
];

#[tokio::test]
async fn a_row_that_a_trigger_takes_away_fails_the_delivery_in_every_way_of_writing() {
    for Case { table, load, taken, trigger, change, words } in CASES {
        let world = World::new().await;
        world.sql(&format!("create schema dbo; {table}; {}", taker(*taken))).await;
        world.bucket.put(LOAD, load).await;
        run_once(&world).await.ok();
        let before = world.rows("select * from dbo.e order by id").await;
        world.sql(&format!("create trigger take {trigger} for each row execute function dbo.take()")).await;
        world.bucket.put(CHANGES, change).await;
        says(&run_once(&world).await, 1, words);
        assert_eq!(world.rows("select * from dbo.e order by id").await, before, "{table}: nothing is half done");

        let (_, of_table) = trigger.rsplit_once(' ').expect("a table");
        world.sql(&format!("drop trigger take on {of_table}")).await;
        let mut retry = program(&world);
        retry.args(["deliveries", "retry", "2"]);
        run(retry).await.ok();
        run_once(&world).await.ok();
        let mut verify = program(&world);
        verify.arg("verify");
        says(&run(verify).await, 0, "dbo.e: equal");
    }
}

/// What a removal does to rows that refer to the removed one is no trigger that takes rows away.
#[tokio::test]
async fn rows_that_a_reference_removes_with_others_count_as_removed() {
    let world = World::new().await;
    let table = "create table dbo.e (id int primary key, boss int references dbo.e on delete cascade)";
    world.sql(&format!("create schema dbo; {table}")).await;
    world.bucket.put(LOAD, "1,\n2,1\n3,2\n4,\n").await;
    run_once(&world).await.ok();
    world.bucket.put(CHANGES, "D,3,2\nD,2,1\nD,1,\n").await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 0, remove: 3)."]);
    assert_eq!(world.rows("select * from dbo.e").await, ["4|∅"]);
}

/// More rows than one statement takes: the first statement's rows take others with them.
#[tokio::test]
async fn rows_that_a_reference_removes_before_their_turn_count_as_removed() {
    let world = World::new().await;
    let table = "create table dbo.e (id int primary key, boss int references dbo.e on delete cascade)";
    world.sql(&format!("create schema dbo; {table}; create index on dbo.e (boss)")).await;
    let load: String = (1..=9_000).map(|id| if id == 1 { "1,\n".to_owned() } else { format!("{id},1\n") }).collect();
    world.bucket.put(LOAD, &load).await;
    run_once(&world).await.ok();
    let change: String = (1..=9_000).map(|id| format!("D,{id},\n")).collect();
    world.bucket.put(CHANGES, &change).await;
    assert_eq!(run_once(&world).await.ok().effects(), ["e (create: 0, amend: 0, remove: 9000)."]);
    assert_eq!(world.value("select count(*) from dbo.e").await, "0");
}

/// The table is remembered from the file before, and only a partition of it has the trigger.
#[tokio::test]
async fn a_trigger_that_a_partition_gets_while_the_loader_runs_is_noticed() {
    let world = World::new().await;
    world
        .sql(
            "create schema dbo;
             create table dbo.e (id int primary key, name text) partition by range (id);
             create table dbo.e1 partition of dbo.e for values from (0) to (10) partition by range (id);
             create table dbo.e11 partition of dbo.e1 for values from (0) to (5)",
        )
        .await;
    world.sql(&taker(2)).await;
    world.bucket.put(LOAD, "1,a\n2,b\n").await;
    let mut service = program(&world);
    service.env("RUN_AS_SERVICE", "True").env("METRICS", "").env("MIN_SLEEP", "0.1").env("MAX_SLEEP", "0.2");
    let running = start(service);
    running.says("Delivery 1: processed (").await;
    world.bucket.put(CHANGES, "U,2,x\n").await;
    running.says("Delivery 2: processed (").await;
    world.sql("create trigger take before update on dbo.e11 for each row execute function dbo.take()").await;
    world.bucket.put("e/20991231-000002000.csv.gz", "U,1,y\nU,2,y\n").await;
    running.says("1 of 2 rows were not amended, because a trigger took them away (take)").await;
    running.signal("TERM");
    running.ends().await;
    assert_eq!(world.rows("select id, name from dbo.e order by id").await, ["1|a", "2|x"]);
}
