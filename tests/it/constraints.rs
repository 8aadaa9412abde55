//! Constraints beyond the key: whatever the source could do with its rows is loaded, though in between the rows would stand in
//! each other's way.

use crate::support::World;
use crate::support::program::{Ended, program, run, run_once, start};

const LOAD1: &str = "e/LOAD00000001.csv.gz";
const LOAD2: &str = "e/LOAD00000002.csv.gz";

fn change(minute: usize) -> String {
    format!("e/20991231-23{minute:02}00000.csv.gz")
}

async fn with(table: &str) -> World {
    let world = World::new().await;
    world.sql(&format!("create schema dbo; {table}")).await;
    world
}

/// A table, its first load, a change file, what the loader says of it, and the table's rows then.
struct Case {
    table: &'static str,
    load: &'static str,
    change: &'static str,
    effect: &'static str,
    rows: &'static [&'static str],
}

const PEOPLE: &str = "create table dbo.e (id int primary key, email text unique, boss int references dbo.e)";
const UNIQUE: &str = "create table dbo.e (id int primary key, u text unique)";
const NOT_NULL: &str = "create table dbo.e (id int primary key, u int not null unique)";

const CASES: &[Case] = &[
    Case {
        table: PEOPLE,
        load: "1,alice,\n",
        change: "D,1,alice,\nI,2,alice,\n",
        effect: "e (create: 1, amend: 0, remove: 1).",
        rows: &["2|alice|∅"],
    },
    Case {
        table: "create table dbo.e (id int primary key, email text not null unique check (email like '%a%'),
                                    boss int references dbo.e)",
        load: "1,alice,\n",
        change: "D,1,alice,\nI,2,alice,\n",
        effect: "e (create: 1, amend: 0, remove: 1).",
        rows: &["2|alice|∅"],
    },
    Case {
        table: "create table dbo.e (id int primary key, email text unique, boss int references dbo.e on delete cascade)",
        load: "1,alice,\n2,bob,1\n3,carl,2\n",
        change: "D,1,alice,\nI,4,alice,\nU,2,bob,4\n",
        effect: "e (create: 1, amend: 1, remove: 1).",
        rows: &["2|bob|4", "3|carl|2", "4|alice|∅"],
    },
    Case {
        table: UNIQUE,
        load: "1,a\n2,b\n",
        change: "U,2,c\nU,1,b\n",
        effect: "e (create: 0, amend: 2, remove: 0).",
        rows: &["1|b", "2|c"],
    },
    Case {
        table: UNIQUE,
        load: "1,a\n2,b\n3,c\n",
        change: "U,1,~\nU,2,a\nU,1,b\nU,3,c\n",
        effect: "e (create: 0, amend: 2, remove: 0).",
        rows: &["1|b", "2|a", "3|c"],
    },
    Case {
        table: NOT_NULL,
        load: "1,10\n2,20\n",
        change: "U,1,30\nU,2,10\nU,1,20\n",
        effect: "e (create: 0, amend: 2, remove: 0).",
        rows: &["1|20", "2|10"],
    },
    Case {
        table: "create table dbo.e (id int primary key, u int not null unique check (u < 100 and u > 0));
                create table dbo.child (e int references dbo.e on delete cascade on update cascade);",
        load: "1,99\n2,98\n",
        change: "U,1,97\nU,2,99\nU,1,98\n",
        effect: "e (create: 0, amend: 2, remove: 0).",
        rows: &["1|98", "2|99"],
    },
    Case {
        table: "create table dbo.e (id int primary key, u varchar(1) not null unique)",
        load: "1,a\n2,b\n",
        change: "U,1,c\nU,2,a\nU,1,b\n",
        effect: "e (create: 0, amend: 2, remove: 0).",
        rows: &["1|b", "2|a"],
    },
    Case {
        table: "create table dbo.e (id int primary key, u bool not null unique)",
        load: "1,true\n2,false\n",
        change: "D,1,true\nU,2,true\nI,1,false\n",
        effect: "e (create: 0, amend: 2, remove: 0).",
        rows: &["1|f", "2|t"],
    },
    Case {
        table: "create table dbo.e (id int primary key, g int not null, active bool not null);
                create unique index on dbo.e (g) where active",
        load: "1,7,true\n2,7,false\n",
        change: "U,1,7,false\nU,2,7,true\n",
        effect: "e (create: 0, amend: 2, remove: 0).",
        rows: &["1|7|f", "2|7|t"],
    },
    Case {
        table: "create table dbo.e (id int primary key, u text); create unique index on dbo.e (lower(u))",
        load: "1,A\n2,b\n",
        change: "U,1,x\nU,2,a\nU,1,B\n",
        effect: "e (create: 0, amend: 2, remove: 0).",
        rows: &["1|B", "2|a"],
    },
    Case {
        table: "create table dbo.e (id int primary key, u text not null); create unique index on dbo.e (lower(u))",
        load: "1,A\n2,b\n",
        change: "U,1,x\nU,2,a\nU,1,B\n",
        effect: "e (create: 0, amend: 2, remove: 0).",
        rows: &["1|B", "2|a"],
    },
    Case {
        table: "create table dbo.e (id int primary key, during int4range not null, exclude using gist (during with &&))",
        load: "1,\"[1,5)\"\n2,\"[5,9)\"\n",
        change: "D,1,\nU,2,\"[1,5)\"\nI,1,\"[5,9)\"\n",
        effect: "e (create: 0, amend: 2, remove: 0).",
        rows: &["1|[5,9)", "2|[1,5)"],
    },
    Case {
        table: "create table dbo.e (id int primary key, u bool not null unique deferrable);
                create table dbo.child (e int references dbo.e on delete cascade);",
        load: "1,true\n2,false\n",
        change: "D,1,true\nU,2,true\nI,1,false\n",
        effect: "e (create: 0, amend: 2, remove: 0).",
        rows: &["1|f", "2|t"],
    },
    Case {
        table: "create table dbo.e (id int primary key, u int not null unique deferrable initially deferred)",
        load: "1,10\n2,20\n",
        change: "U,1,20\nU,2,10\n",
        effect: "e (create: 0, amend: 2, remove: 0).",
        rows: &["1|20", "2|10"],
    },
];

#[tokio::test]
async fn values_that_move_between_rows_are_loaded() {
    for Case { table, load, change: text, effect, rows } in CASES {
        let world = with(table).await;
        world.bucket.put(LOAD1, load).await;
        run_once(&world).await.ok();
        world.bucket.put(&change(1), text).await;
        let ended = run_once(&world).await;
        assert_eq!(ended.code, 0, "{table}\n{text}{}", ended.log);
        assert_eq!(ended.effects(), [*effect], "{table}");
        assert_eq!(world.rows("select * from dbo.e order by id").await, *rows, "{table}");
    }
}

/// The same as full loads: what the change files make of the table is written as a second full load.
#[tokio::test]
async fn values_that_move_between_rows_of_a_reload_are_loaded() {
    for Case { table, load, rows, effect, .. } in CASES {
        let world = with(table).await;
        world.bucket.put(LOAD1, load).await;
        run_once(&world).await.ok();
        let quote = |cell: &str| match cell {
            "∅" => String::new(),
            cell if cell.contains(',') => format!("\"{cell}\""),
            cell => cell.to_owned(),
        };
        let line = |row: &&str| row.split('|').map(quote).collect::<Vec<_>>().join(",") + "\n";
        world.bucket.put_later(LOAD1, &rows.iter().map(line).collect::<String>()).await;
        let ended = run_once(&world).await;
        assert_eq!(ended.code, 0, "{table}\n{}", ended.log);
        assert_eq!(ended.effects(), [*effect], "{table}");
        assert_eq!(world.rows("select * from dbo.e order by id").await, *rows, "{table}");
    }
}

/// More rows than one statement takes.
#[tokio::test]
async fn values_that_move_up_by_one_are_loaded() {
    let children = "create table dbo.child (e int references dbo.e on delete cascade);
                    insert into dbo.child select id from dbo.e";
    for (column, more) in
        [("u int not null unique", ""), ("u int unique", children), ("u int not null unique", children)]
    {
        let world = with(&format!("create table dbo.e (id int primary key, {column}, note text)")).await;
        let load: String = (1..=9_000).map(|id| format!("{id},{id},n\n")).collect();
        world.bucket.put(LOAD1, &load).await;
        run_once(&world).await.ok();
        world.sql(more).await;
        let shift: String = (1..=9_000).rev().map(|id| format!("U,{id},{},n\n", id + 1)).collect();
        world.bucket.put(&change(1), &(shift + "I,9001,1,new\n")).await;
        let ended = run_once(&world).await.ok();
        assert_eq!(ended.effects(), ["e (create: 1, amend: 9000, remove: 0)."]);
        assert_eq!(world.value("select count(*) from dbo.e where u = id % 9001 + 1").await, "9001");
        if !more.is_empty() {
            assert_eq!(world.value("select count(*) from dbo.child").await, "9000");
        }
    }
}

#[tokio::test]
async fn rows_of_a_first_load_may_refer_to_rows_of_a_later_part() {
    let world = with("create table dbo.e (name text primary key, boss text references dbo.e)").await;
    world.bucket.put(LOAD1, "bart,omer\n").await;
    world.bucket.put(LOAD2, "omer,NULL\n").await;
    let ended = run_once(&world).await.ok();
    assert_eq!(world.rows("select * from dbo.e order by name").await, ["bart|omer", "omer|∅"], "{}", ended.log);
    assert_eq!(ended.effects(), ["e (create: 2, amend: 0, remove: 0)."]);
}

#[tokio::test]
async fn the_same_parts_written_again_are_loaded_again() {
    let world = with("create table dbo.e (name text primary key, boss text not null references dbo.e)").await;
    world.bucket.put(LOAD1, "bart,omer\n").await;
    world.bucket.put(LOAD2, "omer,omer\n").await;
    run_once(&world).await.ok();
    world.bucket.put_later(LOAD1, "lisa,marge\n").await;
    world.bucket.put_later(LOAD2, "marge,marge\n").await;
    let ended = run_once(&world).await.ok();
    assert_eq!(world.rows("select * from dbo.e order by name").await, ["lisa|marge", "marge|marge"], "{}", ended.log);
}

/// What the file says of the end is against a constraint: nothing is applied, and the constraint is named.
#[tokio::test]
async fn an_end_that_is_against_a_constraint_is_refused() {
    let world = with(UNIQUE).await;
    world.bucket.put(LOAD1, "1,a\n2,b\n").await;
    run_once(&world).await.ok();
    world.bucket.put(&change(1), "U,1,b\nU,2,b\n").await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains("constraint e_u_key"), "{}", ended.log);
    assert_eq!(world.rows("select * from dbo.e order by id").await, ["1|a", "2|b"]);
}

/// What `status` says, however its lines are broken.
async fn status_of(world: &World) -> Ended {
    let mut command = program(world);
    command.arg("status");
    let mut ended = run(command).await;
    ended.log = ended.log.split_whitespace().collect::<Vec<_>>().join(" ");
    ended
}

const FAMILY: &str = "create table dbo.p (id int primary key);
                      create table dbo.c (id int primary key, p int not null references dbo.p)";

async fn family() -> World {
    let world = with(FAMILY).await;
    world.bucket.put("p/LOAD00000001.csv.gz", "1\n").await;
    world.bucket.put("c/LOAD00000001.csv.gz", "1,1\n").await;
    run_once(&world).await.ok();
    world
}

/// `c` comes first, by its name at least.
#[tokio::test]
async fn a_child_that_comes_before_its_parent_waits_for_it() {
    let world = with(FAMILY).await;
    world.bucket.put("c/LOAD00000001.csv.gz", "1,1\n2,2\n").await;
    world.bucket.put("p/LOAD00000001.csv.gz", "1\n2\n").await;
    let ended = run_once(&world).await.ok();
    assert!(ended.log.contains("It stays pending and is tried again after dbo.p"), "{}", ended.log);
    assert_eq!(ended.effects().len(), 2, "{}", ended.log);
    assert_eq!(world.rows("select * from dbo.c order by id").await, ["1|1", "2|2"]);
    assert_eq!(world.value("select count(*) from loader_deliveries where status <> 'loaded'").await, "0");

    world.bucket.put("c/20991231-230100000.csv.gz", "D,1,1\nI,3,3\n").await;
    world.bucket.put("p/20991231-230000000.csv.gz", "I,3\n").await;
    world.bucket.put("p/20991231-230200000.csv.gz", "D,1\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows("select * from dbo.c order by id").await, ["2|2", "3|3"]);
    assert_eq!(world.rows("select * from dbo.p order by id").await, ["2", "3"]);
}

#[tokio::test]
async fn without_a_parent_a_delivery_stays_pending() {
    let world = family().await;
    world.bucket.put_later("c/20991231-230100000.csv.gz", "I,2,2\n").await;
    let ended = run_once(&world).await.ok();
    let words = "a row refers to the row (p)=(2) of dbo.p, which is not there (constraint c_p_fkey)";
    assert!(ended.log.contains(words), "{}", ended.log);
    assert_eq!(world.value("select count(*) from loader_deliveries where status = 'failed'").await, "0");
    let status = status_of(&world).await.ok();
    assert!(status.log.contains("c/20991231-230100000.csv.gz waits for dbo.p: "), "{}", status.log);
    world.bucket.put_later("p/20991231-230100000.csv.gz", "I,2\n").await;
    run_once(&world).await.ok();
    assert!(!status_of(&world).await.ok().log.contains("waits for dbo.p"));
    assert_eq!(world.rows("select * from dbo.c order by id").await, ["1|1", "2|2"]);
}

/// The ten minutes begin with the first try, whichever run that was of.
#[tokio::test]
async fn a_delivery_that_has_waited_ten_minutes_over_several_runs_fails() {
    let world = family().await;
    world.bucket.put_later("c/20991231-230100000.csv.gz", "I,2,2\n").await;
    run_once(&world).await.ok();
    run_once(&world).await.ok();
    world
        .sql("update loader_deliveries set started_at = started_at - interval '10 minutes' where status = 'pending'")
        .await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains("it waited 10 minutes for dbo.p"), "{}", ended.log);
    world.bucket.put_later("p/20991231-230100000.csv.gz", "I,2\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows("select * from dbo.c order by id").await, ["1|1", "2|2"]);
}

#[tokio::test]
async fn it_fails_once_the_other_table_has_something_newer_and_is_tried_again_by_itself() {
    let world = family().await;
    world.bucket.put("c/20991231-230100000.csv.gz", "I,2,2\n").await;
    world.bucket.put_later("p/20991231-230200000.csv.gz", "I,3\n").await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains("dbo.p has loaded a newer file meanwhile"), "{}", ended.log);
    assert_eq!(world.value("select count(*) from loader_deliveries where status = 'failed'").await, "1");
    world.bucket.put_later("p/20991231-230300000.csv.gz", "I,2\n").await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert_eq!(world.rows("select * from dbo.c order by id").await, ["1|1", "2|2"]);
}

#[tokio::test]
async fn tables_that_wait_for_each_other_fail_at_once() {
    let world = family().await;
    world.sql("alter table dbo.p add c int references dbo.c").await;
    world.bucket.put("c/20991231-230100000.csv.gz", "I,2,2\n").await;
    world.bucket.put("p/20991231-230100000.csv.gz", "I,2,2\n").await;
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert!(ended.log.contains("dbo.p and dbo.c wait for each other"), "{}", ended.log);
    assert!(ended.log.contains("dbo.c and dbo.p wait for each other"), "{}", ended.log);
    assert_eq!(world.value("select count(*) from loader_deliveries where status = 'failed'").await, "2");
}

/// A parent is removed whose children are removed by a later delivery of their table, and the other way round: what comes first in
/// one table comes last in the other.
#[tokio::test]
async fn deliveries_of_two_tables_take_turns() {
    let world = family().await;
    world.bucket.put("c/20991231-230100000.csv.gz", "I,2,2\n").await;
    world.bucket.put("c/20991231-230300000.csv.gz", "D,2,2\n").await;
    world.bucket.put("p/20991231-230100000.csv.gz", "I,2\n").await;
    world.bucket.put("p/20991231-230400000.csv.gz", "D,2\n").await;
    run_once(&world).await.ok();
    assert_eq!(world.rows("select * from dbo.c order by id").await, ["1|1"]);
    assert_eq!(world.rows("select * from dbo.p order by id").await, ["1"]);
}

/// What a foreign key may do to the rows that refer to a row which goes.
const ACTIONS: [&str; 3] = ["on delete cascade", "on delete set null", "on delete set default"];

/// A parent whose children are not removed yet waits for them, as without an action: what the action would do is in no file.
#[tokio::test]
async fn a_parent_with_children_waits_whatever_the_foreign_key_would_do_to_them() {
    for action in ACTIONS {
        let world = with(&format!(
            "create table dbo.p (id int primary key, name text);
             create table dbo.c (id int primary key, p int default 2 references dbo.p {action}, name text)"
        ))
        .await;
        world.bucket.put("p/LOAD00000001.csv.gz", "1,a\n2,b\n").await;
        world.bucket.put("c/LOAD00000001.csv.gz", "1,1,x\n2,1,y\n3,2,z\n").await;
        run_once(&world).await.ok();
        world.bucket.put("p/20991231-230100000.csv.gz", "D,1,a\n").await;
        let ended = run_once(&world).await;
        assert_eq!(ended.code, 0, "{action}\n{}", ended.log);
        let words = "its row (id)=(1) is to be removed, and dbo.c still refers to it (constraint c_p_fkey)";
        assert!(ended.log.contains(words), "{action}\n{}", ended.log);
        assert_eq!(world.rows("select * from dbo.c order by id").await, ["1|1|x", "2|1|y", "3|2|z"], "{action}");
        assert_eq!(world.rows("select id from dbo.p order by id").await, ["1", "2"], "{action}");
        world.bucket.put("c/20991231-230200000.csv.gz", "D,1,1,x\nU,2,2,y\n").await;
        let ended = run_once(&world).await.ok();
        assert_eq!(ended.effects(), ["c (create: 0, amend: 1, remove: 1).", "p (create: 0, amend: 0, remove: 1)."]);
        assert_eq!(world.rows("select * from dbo.c order by id").await, ["2|2|y", "3|2|z"], "{action}");
        world.bucket.put_later("p/LOAD00000001.csv.gz", "3,c\n").await;
        let ended = run_once(&world).await;
        assert!(ended.log.contains("its row (id)=(2) is to be removed, and dbo.c still refers to it"), "{}", ended.log);
        assert_eq!(world.rows("select * from dbo.c order by id").await, ["2|2|y", "3|2|z"], "{action}");
    }
}

/// The same where a value changes that others refer to.
#[tokio::test]
async fn a_value_that_others_refer_to_waits_whatever_the_foreign_key_would_do_to_them() {
    for action in ["on update cascade", "on update set null", "on update set default"] {
        let world = with(&format!(
            "create table dbo.p (id int primary key, code text not null unique, name text);
             create table dbo.c (id int primary key, p text references dbo.p (code) {action})"
        ))
        .await;
        world.bucket.put("p/LOAD00000001.csv.gz", "1,a,x\n2,b,y\n").await;
        world.bucket.put("c/LOAD00000001.csv.gz", "1,a\n").await;
        run_once(&world).await.ok();
        world.bucket.put("p/20991231-230000000.csv.gz", "U,1,a,other\nU,2,d,other\n").await;
        run_once(&world).await.ok();
        assert_eq!(world.rows("select * from dbo.p order by id").await, ["1|a|other", "2|d|other"], "{action}");
        world.bucket.put("p/20991231-230100000.csv.gz", "U,1,z,other\n").await;
        let ended = run_once(&world).await;
        assert!(ended.log.contains("dbo.c still refers to it (constraint c_p_fkey)"), "{action}\n{}", ended.log);
        assert_eq!(world.rows("select * from dbo.c").await, ["1|a"], "{action}");
        assert_eq!(world.value("select code from dbo.p where id = 1").await, "a", "{action}");
        world.bucket.put("c/20991231-230200000.csv.gz", "D,1,a\n").await;
        run_once(&world).await.ok();
        assert_eq!(world.value("select code from dbo.p where id = 1").await, "z", "{action}");
    }
}

/// Rows of its own that would go or change without a word in the file: the end is against the constraint.
#[tokio::test]
async fn a_row_that_others_of_its_table_refer_to_is_not_removed_whatever_the_foreign_key_would_do() {
    for action in ACTIONS {
        let world = with(&format!(
            "create table dbo.e (id int primary key, boss int default 3 references dbo.e {action}, name text)"
        ))
        .await;
        world.bucket.put(LOAD1, "1,,a\n2,1,b\n3,,c\n4,2,d\n").await;
        run_once(&world).await.ok();
        let before = world.rows("select * from dbo.e order by id").await;
        world.bucket.put(&change(1), "D,1,,a\nU,4,2,dd\n").await;
        let ended = run_once(&world).await;
        assert_eq!(ended.code, 1, "{action}\n{}", ended.log);
        assert!(ended.log.contains("constraint e_boss_fkey"), "{action}\n{}", ended.log);
        assert_eq!(world.rows("select * from dbo.e order by id").await, before, "{action}");
        // those that refer to it go too, or refer to another one by then
        world.bucket.put(&change(1), "U,4,3,d\nD,1,,a\nD,2,1,b\n").await;
        let ended = run_once(&world).await;
        assert_eq!(ended.effects(), ["e (create: 0, amend: 1, remove: 2)."], "{action}\n{}", ended.log);
        assert_eq!(world.rows("select * from dbo.e order by id").await, ["3|∅|c", "4|3|d"], "{action}");
    }
}

/// More rows than one statement takes, each of which refers to one far away that goes too.
#[tokio::test]
async fn many_rows_that_refer_to_each_other_go_together() {
    for action in ACTIONS {
        let world =
            with(&format!("create table dbo.e (id int primary key, boss int default 20001 references dbo.e {action}); create index on dbo.e (boss)"))
                .await;
        let boss = |id: i32| if id > 20_000 { String::new() } else { format!("{}", (id + 9_000) % 20_000 + 1) };
        let load: String = (1..=20_002).map(|id| format!("{id},{}\n", boss(id))).collect();
        world.bucket.put(LOAD1, &load).await;
        run_once(&world).await.ok();
        let gone: String = (1..=20_000).map(|id| format!("D,{id},\n")).collect();
        world.bucket.put(&change(1), &gone).await;
        let ended = run_once(&world).await;
        assert_eq!(ended.effects(), ["e (create: 0, amend: 0, remove: 20000)."], "{action}\n{}", ended.log);
        assert_eq!(world.value("select count(*) from dbo.e").await, "2", "{action}");
    }
}

/// A foreign key with an action that comes while a service knows the table already.
#[tokio::test]
async fn a_foreign_key_that_comes_between_two_files_is_noticed() {
    let world =
        with("create table dbo.p (id int primary key, name text); create table dbo.c (id int primary key, p int)")
            .await;
    world.bucket.put("p/LOAD00000001.csv.gz", "1,a\n2,b\n").await;
    world.sql("insert into dbo.c values (1, 1)").await;
    let mut service = program(&world);
    service.env("RUN_AS_SERVICE", "True").env("METRICS", "").env("MIN_SLEEP", "0.1").env("MAX_SLEEP", "0.2");
    let running = start(service);
    running.says("Delivery 1: processed (").await;
    world.bucket.put("p/20991231-230100000.csv.gz", "U,1,aa\n").await;
    running.says("Delivery 2: processed (").await;
    world.sql("alter table dbo.c add foreign key (p) references dbo.p on delete cascade").await;
    world.sql("grant select on dbo.c to public").await;
    world.bucket.put("p/20991231-230200000.csv.gz", "D,1,aa\n").await;
    running.says("constraint c_p_fkey").await;
    assert_eq!(world.rows("select * from dbo.c").await, ["1|1"]);
    assert_eq!(world.rows("select id from dbo.p order by id").await, ["1", "2"]);
    running.signal("TERM");
    running.ends().await;
}
