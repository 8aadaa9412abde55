//! Any legal history of any table: whatever constraints it has, and wherever its history is cut into files, the table equals the
//! end of the history, and no row of another table has changed.
//!
//! The source is Postgres itself: a second table with the same constraints takes one random statement after the other, and only
//! what it accepts becomes part of the history.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_postgres::SimpleQueryMessage;

use crate::kill::{number, seed};
use crate::support::World;
use crate::support::program::run_once;

/// A table as the generator made it: its columns, and the constraints that come after them.
struct Table {
    columns: String,
    /// statements after `create table`, with `$t` for the table
    more: Vec<&'static str>,
    /// rows of another table refer to the key
    child: Option<&'static str>,
    boss: bool,
}

fn pick<'a>(rng: &mut StdRng, among: &[&'a str]) -> &'a str {
    among[rng.random_range(0..among.len())]
}

impl Table {
    fn random(rng: &mut StdRng) -> Self {
        let (u, v) = (pick(rng, &["", "not null"]), pick(rng, &["", "not null"]));
        let later = ["", "", "deferrable", "deferrable initially deferred"];
        let unique = format!("unique {}", pick(rng, &later));
        let u_unique = if rng.random_bool(0.7) { unique.as_str() } else { "" };
        let during = pick(rng, &["", "", "not null"]);
        let boss = rng.random_bool(0.4);
        let action = pick(rng, &["", "", "on delete cascade", "on delete set null", "on delete restrict"]);
        let deferred = if action.ends_with("restrict") { "" } else { pick(rng, &later) };
        let boss_column = if boss { format!(", boss int references $t {action} {deferred}") } else { String::new() };
        let columns = format!(
            "id int primary key, u int {u} {u_unique}, v text {v}, active bool not null, during int4range {during} {boss_column}"
        );
        let all = [
            "create unique index on $t (v)",
            "create unique index on $t (u) where active",
            "create unique index on $t (lower(v))",
            "create unique index on $t (u, v)",
            "create unique index on $t (coalesce(u, -1)) where active",
            "alter table $t add exclude using gist (during with &&)",
            "alter table $t add exclude using gist (during with &&) deferrable",
            "alter table $t add check (u < 1000)",
        ];
        let more = all.into_iter().filter(|_| rng.random_bool(0.25)).collect();
        let actions =
            ["", "on delete cascade on update cascade", "on delete set null", "on delete restrict", "deferrable"];
        let child = rng.random_bool(0.5).then(|| pick(rng, &actions));
        Self { columns, more, child, boss }
    }

    fn create(&self, name: &str, child: &str) -> String {
        let mut sql = format!("create table {name} ({});", self.columns.replace("$t", name));
        for more in &self.more {
            sql += &format!("{};", more.replace("$t", name));
        }
        if let Some(action) = self.child {
            sql += &format!("create table {child} (n serial primary key, e int references {name} {action});");
        }
        sql
    }

    /// A statement about one row.
    fn statement(&self, rng: &mut StdRng, ids: i32) -> String {
        let id = rng.random_range(1..=ids);
        let number = |rng: &mut StdRng| match rng.random_range(0..ids + 2) {
            0 => "null".to_owned(),
            number => number.to_string(),
        };
        let u = number(rng);
        let v = match rng.random_range(0..ids + 2) {
            0 => "null".to_owned(),
            n => format!("'{}{n}'", if rng.random_bool(0.5) { 'a' } else { 'A' }),
        };
        let active = rng.random_bool(0.5);
        let from = rng.random_range(0..ids) * 3;
        let during = if rng.random_bool(0.2) { "null".to_owned() } else { format!("'[{from},{})'", from + 3) };
        let boss = if self.boss { number(rng) } else { String::new() };
        let column = |name: &str, value: &str| format!("update s.e set {name} = {value} where id = {id}");
        match rng.random_range(0..10) {
            0 | 1 => format!("delete from s.e where id = {id}"),
            2..=5 => {
                let boss = if self.boss { format!(", {boss}") } else { String::new() };
                format!("insert into s.e values ({id}, {u}, {v}, {active}, {during}{boss})")
            }
            6 => column("u", &u),
            7 => column("v", &v),
            8 if self.boss => column("boss", &boss),
            8 => column("active", if active { "true" } else { "false" }),
            _ => column("during", &during),
        }
    }
}

/// The rows of the source, with what a file says of them.
async fn rows(world: &World) -> Vec<(String, String)> {
    let messages = world.db.simple_query("select * from s.e order by id").await.expect("rows");
    let cell = |cell: Option<&str>| match cell {
        None => "NULL".to_owned(),
        Some("t") => "true".to_owned(),
        Some("f") => "false".to_owned(),
        Some(text) => format!("\"{text}\""),
    };
    let lines = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let line = (0..row.len()).map(|at| cell(row.get(at))).collect::<Vec<_>>().join(",");
            Some((row.get(0).unwrap_or_default().to_owned(), line))
        }
        _ => None,
    });
    lines.collect()
}

/// One statement after the other, each alone, as far as the source accepts them: lines of change files.
async fn happen(world: &World, table: &Table, rng: &mut StdRng, statements: usize, ids: i32) -> Vec<String> {
    let (mut lines, mut before) = (Vec::new(), rows(world).await);
    for _ in 0..statements {
        if world.db.batch_execute(&table.statement(rng, ids)).await.is_err() {
            continue;
        }
        let after = rows(world).await;
        let has = |rows: &[(String, String)], id: &str| rows.iter().position(|row| row.0 == id);
        // rows that a cascade removes go first, as they do in a log that knows of them
        let gone = before.iter().rev().filter(|(id, _)| has(&after, id).is_none());
        lines.extend(gone.map(|(_, line)| format!("D,{line}\n")));
        for (id, line) in &after {
            match has(&before, id) {
                None => lines.push(format!("I,{line}\n")),
                Some(place) if before[place].1 != *line => lines.push(format!("U,{line}\n")),
                Some(_) => {}
            }
        }
        before = after;
    }
    lines
}

async fn snapshot(world: &World) -> String {
    rows(world).await.into_iter().map(|(_, line)| line + "\n").collect()
}

/// What the source has of rows that other tables refer to: those are never removed there either.
async fn refer(world: &World, table: &Table) {
    if table.child.is_some() {
        let children = "delete from dbo.child; delete from s.child;
             insert into dbo.child (e) select id from dbo.e where id % 2 = 0;
             insert into s.child (e) select id from dbo.e where id % 2 = 0;
             create or replace function s.stay() returns trigger language plpgsql as
                 $$begin raise 'a row that another table refers to'; end$$;
             create or replace trigger stay before update or delete on s.child for each row execute function s.stay()";
        world.sql(children).await;
    }
}

/// `PEO_HISTORIES` tables.
#[tokio::test]
async fn any_legal_history_ends_in_the_same_table() {
    let first = seed();
    for case in 0..number("PEO_HISTORIES", 8) {
        let seed = first.wrapping_add(case);
        let mut rng = StdRng::seed_from_u64(seed);
        let table = Table::random(&mut rng);
        let world = World::new().await;
        let sql = format!("{}{}", table.create("s.e", "s.child"), table.create("dbo.e", "dbo.child"));
        world.sql(&format!("create schema s; create schema dbo; {sql}")).await;
        let ids = rng.random_range(2..6);
        happen(&world, &table, &mut rng, 30, ids).await;
        let mut load = snapshot(&world).await;
        world.bucket.put("e/LOAD00000001.csv.gz", &load).await;
        let mut said = vec![run_once(&world).await];
        refer(&world, &table).await;
        let children = "select * from dbo.child order by n";
        let before = if table.child.is_some() { world.rows(children).await } else { Vec::new() };
        for minute in 0..3 {
            let statements = rng.random_range(1..60);
            let lines = happen(&world, &table, &mut rng, statements, ids).await;
            if rng.random_bool(0.3) {
                let text = snapshot(&world).await;
                // what is empty, or is what it was, is held
                if text.is_empty() || text == load {
                    continue;
                }
                load.clone_from(&text);
                world.bucket.put_later("e/LOAD00000001.csv.gz", &text).await;
            } else {
                let name = format!("e/20991231-23{minute:02}00000.csv.gz");
                world.bucket.put(&name, &lines.concat()).await;
            }
            said.push(run_once(&world).await);
        }
        let log = said.iter().map(|ended| ended.log.as_str()).collect::<String>();
        let about = format!("seed {seed}: {sql}\n{log}");
        assert!(said.iter().all(|ended| ended.code == 0), "{about}");
        let all = |schema: &str| format!("select * from {schema}.e order by id");
        assert_eq!(world.rows(&all("dbo")).await, world.rows(&all("s")).await, "{about}");
        if table.child.is_some() {
            assert_eq!(world.rows(children).await, before, "another table: {about}");
        }
    }
}
