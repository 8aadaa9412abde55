//! What counts as a change of a value, for every type whose equality is coarser than what is read, and types that are
//! nowhere in the search path.

use std::time::Duration;

use crate::support::World;
use crate::support::program::{program, run_once, start};
use crate::types::{literal, quoted};
use crate::verify::with;

/// Types whose equality calls values equal that read differently: a value, one that is equal to it, and the text of the
/// second.
const COARSE: [(&str, &str, &str); 16] = [
    ("interval", "30 days", "1 mon"),
    ("interval[]", "{30 days}", "{1 mon}"),
    ("span", "30 days", "1 mon"),
    ("spell", "(1,30 days)", "(1,1 mon)"),
    ("spells", "[24:00:00,2 days)", "[1 day,2 days)"),
    ("timetz", "12:00:00+02", "10:00:00+00"),
    ("real", "0", "-0"),
    ("double precision", "-0", "0"),
    ("double precision[]", "{0}", "{-0}"),
    ("point", "(0,0)", "(-0,0)"),
    ("bpchar", "a", "a "),
    ("ext.citext", "a", "A"),
    ("ext.citext[]", "{a}", "{A}"),
    ("ext.cube", "(1)", "(1,0)"),
    ("circle", "<(0,0),1>", "<(5,5),1>"),
    ("box", "(1,1),(0,0)", "(9,9),(8,8)"),
];

/// Types whose equality is to be believed: only the scale of numbers differs.
const SCALED: [(&str, &str, &str); 6] = [
    ("numeric", "1.0", "1.00"),
    ("numeric[]", "{1.0}", "{1.00}"),
    ("numrange", "[1.0,2)", "[1.00,2)"),
    ("ext.amount", "(1,1.0)", "(1,1.00)"),
    ("jsonb", r#"{"a": 1.0}"#, r#"{"a": 1.00}"#),
    ("jsonb[]", r#"{"{\"a\": 1.0}"}"#, r#"{"{\"a\": 1.00}"}"#),
];

async fn coarse_world(key: &str) -> World {
    let world = World::new().await;
    world
        .sql(
            "create schema dbo; create schema ext;
             create extension citext schema ext; create extension cube schema ext;
             create domain span as interval; create type spell as (id integer, length interval);
             create type spells as range (subtype = interval); create type ext.amount as (id integer, sum numeric);",
        )
        .await;
    for (number, (name, ..)) in COARSE.iter().chain(&SCALED).enumerate() {
        world.sql(&format!("create table dbo.c{number} (id integer {key}, v {name})")).await;
    }
    world
}

/// The texts of all the values of the tables.
async fn values_of(world: &World) -> Vec<String> {
    let mut values = Vec::new();
    for number in 0..COARSE.len() + SCALED.len() {
        // the cast of a `bpchar` to text drops blanks
        let text =
            if COARSE.get(number).is_some_and(|coarse| coarse.0 == "bpchar") { "bpcharout(v)" } else { "v::text" };
        values.push(world.value(&format!("select quote_literal({text}) from dbo.c{number}")).await);
    }
    values
}

#[tokio::test]
async fn what_is_equal_and_reads_differently_is_an_amend() {
    let world = coarse_world("primary key").await;
    let all = || COARSE.iter().chain(&SCALED).enumerate();
    for (number, (_, old, _)) in all() {
        world.bucket.put(&format!("c{number}/LOAD00000001.csv.gz"), &format!("1,{}\n", quoted(old))).await;
    }
    run_once(&world).await.ok();
    for (number, (_, _, new)) in all() {
        let changes = format!("U,1,{}\n", quoted(new));
        world.bucket.put(&format!("c{number}/20991231-235900000.csv.gz"), &changes).await;
    }
    let ended = run_once(&world).await.ok();
    let amended = world.rows("select entity, rows_amend from loader_deliveries where kind = 'changes'").await;
    for (number, (name, ..)) in all() {
        let expected = usize::from(number < COARSE.len());
        assert!(amended.contains(&format!("c{number}|{expected}")), "{name}: {amended:?}\n{}", ended.log);
    }
    let mut expected = Vec::new();
    for (name, _, new) in COARSE {
        expected.push(literal_of(&world, name, new).await);
    }
    assert_eq!(values_of(&world).await[..COARSE.len()], expected);
    // somebody else's equal value is found by verify too
    world.sql("update dbo.c0 set v = '30 days'; update dbo.c6 set v = '0'; update dbo.c11 set v = 'a'").await;
    let ended = with(program(&world), &["verify"]).await;
    for table in ["dbo.c0", "dbo.c6", "dbo.c11"] {
        assert!(ended.log.contains(&format!("{table}: differs")), "{table}: {}", ended.log);
    }
    assert_eq!(ended.log.matches(": differs").count(), 3, "{}", ended.log);
}

/// How Postgres writes the text of a value.
async fn literal_of(world: &World, name: &str, text: &str) -> String {
    match name {
        "bpchar" => literal(text),
        name => world.value(&format!("select quote_literal({}::{name}::text)", literal(text))).await,
    }
}

/// Waits until so many rows of the ledger are such.
async fn counts(world: &World, which: &str, wanted: usize) {
    let query = format!("select count(*) from loader_deliveries where {which}");
    for _ in 0..400 {
        if world.value(&query).await == wanted.to_string() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!(
        "{query} never gave {wanted}: {:?}",
        world.rows("select entity, status, error from loader_deliveries").await
    );
}

#[tokio::test]
async fn without_a_key_rows_that_are_equal_and_read_differently_are_two() {
    let world = coarse_world("").await;
    for (number, (_, old, _)) in COARSE.iter().enumerate() {
        world.bucket.put(&format!("c{number}/LOAD00000001.csv.gz"), &format!("1,{}\n", quoted(old))).await;
    }
    run_once(&world).await.ok();
    let before = values_of(&world).await;
    for (number, (_, _, new)) in COARSE.iter().enumerate() {
        world.bucket.put_later(&format!("c{number}/LOAD00000001.csv.gz"), &format!("1,{}\n", quoted(new))).await;
    }
    run_once(&world).await.ok();
    let after = values_of(&world).await;
    for (number, (name, ..)) in COARSE.iter().enumerate() {
        assert_ne!(before[number], after[number], "{name}");
    }
    run_once(&world).await.ok();
    let ended = with(program(&world), &["verify"]).await.ok();
    assert_eq!(ended.log.matches(": equal").count(), COARSE.len(), "{}", ended.log);
}

/// The schema of the types is not searched, so nothing that is generated may count on it.
#[tokio::test]
async fn types_of_a_schema_that_is_not_searched_are_loaded_amended_and_verified() {
    let world = World::new().await;
    world
        .sql(
            "create schema dbo; create schema \"own Types\";
             create extension hstore schema \"own Types\"; create extension ltree schema \"own Types\";
             create extension citext schema \"own Types\"; create extension cube schema \"own Types\";
             create type \"own Types\".mood as enum ('sad', 'happy');
             create type \"own Types\".pair as (a \"own Types\".mood, b \"own Types\".hstore);
             create domain \"own Types\".tags as \"own Types\".hstore;
             create domain \"own Types\".key as \"own Types\".mood;
             create domain \"own Types\".positive as integer check (value > 0);",
        )
        .await;
    let types: [(&str, &str, &str); 14] = [
        ("hstore", "a=>1", "a=>2"),
        ("hstore[]", r#"{"a=>1"}"#, r#"{"a=>2","b=>NULL"}"#),
        ("tags", "a=>1", "b=>1"),
        ("ltree", "a.b", "a.c"),
        ("ltree[]", "{a.b}", "{a.c}"),
        ("lquery", "a.*", "b.*"),
        ("citext", "a", "A"),
        ("cube", "(1,2)", "(1,3)"),
        ("mood", "sad", "happy"),
        ("mood[]", "{sad}", "{happy,NULL}"),
        ("pair", r#"(sad,"a=>1")"#, r#"(sad,"a=>2")"#),
        ("pair[]", r#"{"(sad,a=>1)"}"#, r#"{"(sad,a=>2)"}"#),
        ("positive[]", "{1}", "{2}"),
        ("tags[]", r#"{"a=>1"}"#, r#"{"a=>2"}"#),
    ];
    let names = types.map(|(name, ..)| match name.strip_suffix("[]") {
        Some(name) => format!("\"own Types\".{name}[]"),
        None => format!("\"own Types\".{name}"),
    });
    let columns: Vec<_> = names.iter().enumerate().map(|(number, name)| format!("v{number} {name}")).collect();
    let columns = columns.join(", ");
    let key = "m \"own Types\".mood, k \"own Types\".key, primary key (k, m)";
    world.sql(&format!("create table dbo.t ({columns}, {key}); create table dbo.w ({columns})")).await;
    let old: Vec<_> = types.iter().map(|(_, old, _)| quoted(old)).collect();
    let new: Vec<_> = types.iter().map(|(_, _, new)| quoted(new)).collect();
    let (old, new) = (old.join(","), new.join(","));
    world.bucket.put("t/LOAD00000001.csv.gz", &format!("{old},sad,sad\n{old},happy,sad\n")).await;
    world.bucket.put("w/LOAD00000001.csv.gz", &format!("{old}\n{old}\n")).await;
    run_once(&world).await.ok();
    let changes = format!("U,{new},sad,sad\nD,{old},happy,sad\nI,{new},happy,happy\n");
    world.bucket.put("t/20991231-235900000.csv.gz", &changes).await;
    world.bucket.put_later("w/LOAD00000001.csv.gz", &format!("{old}\n{new}\n")).await;
    let ended = run_once(&world).await.ok();
    assert!(ended.log.contains("t (create: 1, amend: 1, remove: 1)"), "{}", ended.log);
    assert!(ended.log.contains("w (create: 1, amend: 0, remove: 1)"), "{}", ended.log);
    world.bucket.put_later("t/LOAD00000001.csv.gz", &format!("{old},happy,happy\n{new},sad,sad\n")).await;
    let ended = run_once(&world).await.ok();
    assert!(ended.log.contains("t (create: 0, amend: 1, remove: 0)"), "{}", ended.log);
    with(program(&world), &["verify"]).await.ok();
}

/// What a service remembers of a table is read anew when a type that it is made of changes.
#[tokio::test]
async fn a_service_sees_that_a_type_was_altered() {
    let world = World::new().await;
    world
        .sql(
            "create schema dbo; create type mood as enum ('sad');
             create domain word as text not null; create domain inner_number as integer not null;
             create domain number as inner_number; create type pair as (a integer);
             create table dbo.t (id integer primary key, w word, n number);
             create table dbo.p (id integer primary key, m mood, p pair, ps pair[])",
        )
        .await;
    let mut service = program(&world);
    service.env("RUN_AS_SERVICE", "True").env("MIN_SLEEP", "0.1").env("MAX_SLEEP", "0.2");
    world.bucket.put("t/LOAD00000001.csv.gz", "1,a,1\n").await;
    world.bucket.put("p/LOAD00000001.csv.gz", "1,sad,(1),{(1)}\n").await;
    let service = start(service);
    counts(&world, "status = 'loaded'", 2).await;
    world
        .sql(
            "alter domain word drop not null; alter domain inner_number drop not null; alter type mood add value 'happy';
             alter type pair add attribute b text",
        )
        .await;
    world.bucket.put("t/20991231-235900000.csv.gz", "I,2,NULL,NULL\n").await;
    world.bucket.put("p/20991231-235900000.csv.gz", "U,1,happy,\"(1,b)\",\"{\"\"(1,b)\"\"}\"\n").await;
    counts(&world, "status = 'loaded'", 4).await;
    world.sql("delete from dbo.t where id = 2; alter domain inner_number set not null").await;
    world.bucket.put("t/20991231-235901000.csv.gz", "I,3,c,NULL\n").await;
    counts(&world, "error like '%line 1, column n: null, and the column is not null%'", 1).await;
    world
        .sql(
            "alter domain inner_number drop not null; alter domain word add constraint short check (length(value) < 3)",
        )
        .await;
    world.bucket.put("t/20991231-235901000.csv.gz", "I,3,long,NULL\n").await;
    counts(&world, "status = 'failed' and error like '%short%'", 1).await;
    world.bucket.put("t/20991231-235901000.csv.gz", "I,3,c,NULL\n").await;
    counts(&world, "status = 'loaded'", 5).await;
    service.signal("TERM");
    assert_eq!(service.ends().await.code, 0);
}
