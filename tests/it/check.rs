//! `check`: what it finds, that its hints mend it, which exit code tells a script, and that it changes nothing.

use std::process::Command;

use futures_util::StreamExt;
use serde_json::Value;

use crate::support::broker::{Broker, SUBJECT, free_port, heard};
use crate::support::program::{Ended, as_owner, program, run, run_once};
use crate::support::template::LOADER;
use crate::support::{World, pooler, setting};

const LOAD: &str = "e/LOAD00000001.csv.gz";
const CHANGE: &str = "e/20991231-235900.csv.gz";

/// One thing that was looked at.
#[derive(Debug)]
struct Line {
    place: String,
    mark: String,
    found: String,
    hint: String,
}

struct Checked {
    code: i32,
    lines: Vec<Line>,
}

impl Checked {
    /// The line about a thing, like `target, dbo.e`.
    #[track_caller]
    fn line(&self, place: &str) -> &Line {
        let found = self.lines.iter().find(|line| line.place == place);
        found.unwrap_or_else(|| panic!("nothing about {place} in {:#?}", self.lines))
    }

    /// What a thing was found to be.
    #[track_caller]
    fn finds(&self, place: &str, mark: &str, words: &str) -> &Line {
        let line = self.line(place);
        assert!(line.mark == mark && line.found.contains(words), "{mark} {words:?} is not {line:?}");
        line
    }

    #[track_caller]
    fn ends(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{:#?}", self.lines);
        self
    }
}

async fn check(mut command: Command) -> Checked {
    let ended = run(json(&mut command)).await;
    let document: Value = serde_json::from_str(&ended.log).unwrap_or_else(|_| panic!("no JSON: {}", ended.log));
    assert_eq!(document["exit_code"], ended.code);
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let lines = document["checks"].as_array().expect("checks").iter().map(|line| {
        let place = format!("{}, {}", text(line, "part"), text(line, "thing"));
        Line { place, mark: text(line, "mark"), found: text(line, "found"), hint: text(line, "hint") }
    });
    Checked { code: ended.code, lines: lines.collect() }
}

fn json(command: &mut Command) -> Command {
    let mut with = Command::new(command.get_program());
    with.env_clear().args(["check", "--json"]);
    with.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    with
}

async fn check_world(world: &World) -> Checked {
    check(program(world)).await
}

async fn with(world: &World, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Checked {
    let mut command = program(world);
    command.env(name, value);
    check(command).await
}

async fn plain(world: &World, variables: &[(&str, &str)]) -> Ended {
    let mut command = program(world);
    command.arg("check").envs(variables.iter().copied());
    run(command).await
}

/// A table with a full load and a change file, loaded.
async fn loaded() -> World {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    world.bucket.put(CHANGE, "U,1,b,1\n").await;
    run_once(&world).await.ok();
    world
}

/// A role of the world's own that may log in and nothing else.
struct Role<'a> {
    name: String,
    world: &'a World,
}

impl<'a> Role<'a> {
    async fn new(world: &'a World) -> Self {
        let name = format!("role-{}", world.database);
        world.sql(&format!("create role \"{name}\" login")).await;
        Self { name, world }
    }

    async fn check(&self) -> Checked {
        with(self.world, "TARGET", self.world.target_as(&self.name)).await
    }

    async fn drop(self) {
        self.world.sql(&format!("drop owned by \"{0}\"; drop role \"{0}\"", self.name)).await;
    }
}

#[tokio::test]
async fn a_healthy_world_is_ok_from_configuration_to_broker() {
    let world = loaded().await;
    let broker = Broker::jetstream().await;
    let context = async_nats::jetstream::new(broker.client().await);
    let stream = async_nats::jetstream::stream::Config {
        name: "news".into(),
        subjects: vec!["paper-engine.>".into()],
        ..Default::default()
    };
    context.create_stream(stream).await.expect("a stream");
    let mut command = program(&world);
    command.env("NOTIFICATIONS", "True").env("NATS", broker.url()).env("RUN_AS_SERVICE", "True");
    let checked = check(command).await;
    checked.ends(0);
    checked.finds("configuration, ", "ok", "a service that sleeps 15 to 30 s");
    checked.finds("configuration, METRICS", "ok", "http://127.0.0.1:9464, to this machine only");
    checked.finds("source, list", "ok", "2 objects, files of 1 table");
    checked.finds("source, get", "ok", "20991231-235900.csv.gz: gzip");
    checked.finds("target, connect", "ok", "as it_loader, plain text");
    checked.finds("target, version", "ok", "Postgres 1");
    checked.finds("target, writable", "ok", "yes");
    checked.finds("target, role", "ok", "no superuser");
    checked.finds("target, pooler", "ok", "none seen");
    checked.finds("target, the loader's tables", "ok", "version ");
    checked.finds("target, grants", "ok", " tables, sequences and functions");
    checked.finds("target, dbo.e", "ok", "can be loaded");
    checked.finds("broker, connect", "ok", "NATS 2");
    checked.finds("broker, stream", "ok", "is kept by news");
    checked.finds("broker, publish", "ok", "lets the user publish");
    let parts: Vec<&str> = checked.lines.iter().map(|line| line.place.split(',').next().unwrap_or_default()).collect();
    let mut order = parts.clone();
    order.dedup();
    assert_eq!(order, ["configuration", "source", "target", "broker"]);
    let owner = check(as_owner(&world)).await;
    owner.ends(0).finds("target, role", "warn", "postgres is a superuser, which is more than loading needs");
}

#[tokio::test]
async fn a_person_reads_a_line_for_each_thing_and_a_hint_below_and_no_colour() {
    let world = loaded().await;
    world.sql("create table dbo.other (id int primary key)").await;
    let ended = plain(&world, &[]).await.ok();
    let lines: Vec<&str> = ended.log.lines().collect();
    assert!(lines[0].starts_with("ok    configuration: no fault; a start loads once"), "{}", ended.log);
    let at = lines.iter().position(|line| *line == "warn  target, no folder feeds: dbo.other").expect(&ended.log);
    assert!(lines[at + 1].starts_with("      Nothing to do if"), "{}", ended.log);
    assert_eq!(lines.last(), Some(&"0 checks failed, 1 warning."));
    assert!(!ended.log.contains('\u{1b}'));
}

#[tokio::test]
async fn it_changes_nothing_and_nobody_hears_of_it() {
    let broker = Broker::core().await;
    let ears = broker.listen().await;
    for world in [World::with_table().await, loaded().await] {
        let before = world.dump();
        let ended = plain(&world, &[("NOTIFICATIONS", "True"), ("NATS", &broker.url())]).await.ok();
        assert!(ended.log.contains("ok    broker, publish"), "{}", ended.log);
        assert_eq!(world.dump(), before);
    }
    heard(&ears, 0).await;
}

#[tokio::test]
async fn every_fault_of_the_configuration_is_a_line_and_the_rest_is_looked_at() {
    let world = loaded().await;
    let mut command = program(&world);
    command.env("SETTLE", "soon").env("SOURCE", "bucket_key=canary nonsense").env("MAX_REMOVE", "some");
    let checked = check(command).await;
    checked.ends(78).finds("configuration, SETTLE", "fail", "not a number of seconds");
    let hint = &checked.line("configuration, SETTLE").hint;
    assert_eq!(hint, "Write it like SETTLE=60");
    checked.finds("configuration, SOURCE", "fail", "");
    checked.finds("configuration, MAX_REMOVE", "fail", "");
    checked.finds("source, ", "warn", "not looked at");
    checked.finds("target, ", "warn", "not looked at");
    checked.finds("broker, ", "ok", "off");
    assert!(!format!("{:?}", checked.lines).contains("canary"));
    let bare = check(Command::new(env!("CARGO_BIN_EXE_paper-engine-orders"))).await;
    bare.ends(78).finds("configuration, NATS", "fail", "empty");
    bare.finds("broker, ", "warn", "not looked at");
}

#[tokio::test]
async fn a_bucket_that_is_away_or_wrong_does_not_hide_the_target() {
    let world = loaded().await;
    let away = with(&world, "SOURCE", world.bucket.source_at(&free_port().to_string())).await;
    away.ends(69).finds("source, list", "fail", "cannot reach the bucket");
    // another endpoint is another feed, of which the ledger knows no table
    away.finds("target, connect", "ok", "");
    away.finds("target, tables", "warn", "not looked at");
    let wrong = world.bucket.source().replace("bucket_name=tests", "bucket_name=missing");
    let wrong = with(&world, "SOURCE", wrong).await;
    let line = wrong.ends(78).finds("source, list", "fail", "refuses");
    assert_eq!(line.hint, "Check bucket_name in SOURCE");
    let key = setting("PEO_S3_KEY");
    let wrong = with(&world, "SOURCE", world.bucket.source().replace(&key, "canary")).await;
    let line = wrong.ends(78).finds("source, list", "fail", "refuses");
    wrong.finds("target, dbo.e", "ok", "can be loaded");
    assert!(line.hint.contains("bucket_key") && !format!("{:?}", wrong.lines).contains("canary"), "{line:?}");
}

#[tokio::test]
async fn an_empty_path_and_one_that_holds_no_feed_are_warnings() {
    let world = World::with_table().await;
    let empty = check_world(&world).await;
    empty.ends(0).finds("source, list", "warn", "nothing is there");
    empty.finds("source, get", "warn", "not looked at");
    empty.finds("target, tables", "warn", "not looked at");
    world.bucket.put("e/notes.txt", "x").await;
    let foreign = check_world(&world).await;
    foreign.ends(0).finds("source, list", "warn", "1 object, none a file of a table");
    foreign.finds("source, other objects", "ok", "1 object that is no file of a table; it is left alone");
}

#[tokio::test]
async fn a_file_that_is_not_what_its_name_says_is_1() {
    let world = World::with_table().await;
    for (bytes, words) in [(&b"1,a,1\n"[..], "not gzip"), (b"", "the object is empty")] {
        world.bucket.put_bytes(LOAD, bytes.to_vec()).await;
        check_world(&world).await.ends(1).finds("source, get", "fail", words);
    }
}

#[tokio::test]
async fn a_table_far_behind_the_first_page_is_found_by_its_folder() {
    let world = World::with_table().await;
    world.sql("create table dbo.e__ct (id int primary key); create table dbo.f (id int)").await;
    let names: Vec<String> = (0..1100).map(|at| format!("e__ct/20990101-000000{at:04}.csv.gz")).collect();
    let puts = names.iter().map(|name| world.bucket.put_bytes(name, vec![0x1f, 0x8b]));
    futures_util::stream::iter(puts).buffer_unordered(32).collect::<Vec<()>>().await;
    // a full load of its own, behind its change files: it is no folder of another table's changes
    world.bucket.put("e__ct/LOAD00000001.csv.gz", "1\n").await;
    world.bucket.put("f/LOAD00000001.csv.gz", "1\n").await;
    world.bucket.put("f__ct/20990101-000000.csv.gz", "I,1\n").await;
    let checked = check_world(&world).await;
    checked.ends(1).finds("source, list", "ok", "more than 1000 objects, files of 2 tables");
    checked.finds("target, dbo.e__ct", "ok", "can be loaded");
    checked.finds("target, dbo.f", "fail", "has no key, but change files");
}

#[tokio::test]
async fn more_tables_than_a_page_has_are_all_found() {
    let world = World::with_table().await;
    let names: Vec<String> = (0..1010).map(|at| format!("t{at:04}/LOAD00000001.csv.gz")).collect();
    let puts = names.iter().map(|name| world.bucket.put_bytes(name, vec![0x1f, 0x8b]));
    futures_util::stream::iter(puts).buffer_unordered(32).collect::<Vec<()>>().await;
    let checked = with(&world, "TARGET", world.target_at(&free_port().to_string())).await;
    checked.ends(69).finds("source, list", "ok", "more than 1000 objects, files of 1010 tables");
}

#[tokio::test]
async fn a_target_that_is_away_or_says_no_is_told_with_its_code() {
    let world = loaded().await;
    let away = with(&world, "TARGET", world.target_at(&free_port().to_string())).await;
    away.ends(69).finds("target, connect", "fail", "cannot reach Postgres");
    let role = with(&world, "TARGET", world.target().replace("user=", "user=missing-")).await;
    let line = role.ends(78).finds("target, connect", "fail", "Postgres refuses the connection");
    assert_eq!(line.hint, "Check user, password and dbname in TARGET");
    role.finds("broker, ", "ok", "off");
}

#[tokio::test]
async fn the_first_failure_decides_the_exit_code() {
    let world = loaded().await;
    let mut command = program(&world);
    command.env("SOURCE", world.bucket.source_at(&free_port().to_string()));
    command.env("TARGET", world.target().replace("user=", "user=missing-"));
    let checked = check(command).await;
    checked.ends(69).finds("target, connect", "fail", "refuses");
}

#[tokio::test]
async fn a_server_that_does_not_write_is_69() {
    let world = loaded().await;
    world.sql(&format!("alter database \"{}\" set default_transaction_read_only = on", world.database)).await;
    let checked = check_world(&world).await;
    let line = checked.ends(69).finds("target, writable", "fail", "read-only");
    assert!(line.hint.contains("default_transaction_read_only"), "{line:?}");
    checked.finds("target, dbo.e", "ok", "can be loaded");
}

#[tokio::test]
async fn each_grant_that_is_missing_comes_with_the_statement_that_gives_it() {
    let world = loaded().await;
    let role = Role::new(&world).await;
    world.sql("revoke all on schema public from public").await;
    let mut rounds = 0;
    loop {
        let checked = role.check().await;
        let grants: Vec<&str> =
            checked.lines.iter().filter(|line| line.mark == "fail").map(|line| line.hint.as_str()).collect();
        if grants.is_empty() {
            checked.ends(0).finds("target, role", "ok", "no superuser");
            checked.finds("target, grants", "ok", "all on the loader's");
            break;
        }
        checked.ends(1);
        for grant in &grants {
            let sql = grant.split("; or as a superuser `paper-engine-orders migrate --roles`").next().unwrap_or(grant);
            let own = format!(
                "grant usage on schema public to \"{0}\"; grant select on loader_schema_history to \"{0}\"",
                role.name
            );
            world.sql(if sql.starts_with("grant") { sql } else { &own }).await;
        }
        rounds += 1;
        assert!(rounds < 5, "{:#?}", checked.lines);
    }
    assert!(rounds > 1, "it lacked something");
    for (revoked, wanted) in [
        ("update, delete on dbo.e", "grant update, delete on dbo.e to "),
        ("usage on schema dbo", "grant usage on schema dbo to "),
    ] {
        world.sql(&format!("revoke {revoked} from \"{}\"", role.name)).await;
        let checked = role.check().await;
        let line = checked.ends(1).finds("target, dbo.e", "fail", "lacks a grant");
        assert_eq!(line.hint, format!("{wanted}\"{}\"", role.name));
        world.sql(&line.hint).await;
    }
    for (revoked, place) in [
        ("insert on loader_rejects", "target, public.loader_rejects"),
        ("usage on sequence loader_deliveries_id_seq", "target, public.loader_deliveries_id_seq"),
    ] {
        world.sql(&format!("revoke {revoked} from \"{}\"", role.name)).await;
        role.check().await.ends(1).finds(place, "fail", "lacks a grant");
        world.sql(&format!("grant {revoked} to \"{}\"", role.name)).await;
    }
    // everybody may call a function, until somebody forbids it
    world.sql("revoke execute on function loader_begin_delivery from public").await;
    let checked = role.check().await;
    let line = checked.ends(1).finds("target, public.loader_begin_delivery", "fail", "lacks a grant");
    world.sql(line.hint.split("; or").next().expect("a statement")).await;
    // what it calls enough is enough
    world.bucket.put("e/20991231-235901.csv.gz", "D,1,b,1\n").await;
    let mut command = program(&world);
    command.env("TARGET", world.target_as(&role.name));
    run(command).await.ok();
    role.drop().await;
}

#[tokio::test]
async fn tables_that_cannot_be_loaded_say_why() {
    let world = World::with_table().await;
    world
        .sql(
            "create table dbo.keyless (id int);
             create table dbo.both (id int);
             create table dbo.typed (id int primary key, odd pg_lsn, worse aclitem);
             create table dbo.unfed (id int)",
        )
        .await;
    for table in ["keyless", "both", "typed", "missing", "e", "E"] {
        world.bucket.put(&format!("{table}/LOAD00000001.csv.gz"), "1\n").await;
    }
    world.bucket.put("both/20991231-235900.csv.gz", "I,1\n").await;
    let checked = check_world(&world).await;
    checked.ends(1).finds("target, dbo.keyless", "warn", "has no key: it takes full loads only");
    checked.finds("target, dbo.both", "fail", "has no key, but change files");
    checked.finds("target, dbo.typed", "fail", "column worse: the type aclitem cannot be loaded");
    checked.finds("target, dbo.missing", "warn", "no such table");
    checked.finds("target, no folder feeds", "warn", "dbo.unfed");
    let clash = checked.lines.iter().filter(|line| line.place == "target, dbo.e" && line.mark == "fail");
    assert_eq!(clash.map(|line| line.found.as_str()).collect::<Vec<_>>(), ["dbo.e, which is the table of dbo.E too"]);
    let elsewhere = with(&world, "TARGET_SCHEMA", "public").await;
    elsewhere.ends(0).finds("target, dbo.e", "warn", "no such table");
}

#[tokio::test]
async fn row_level_security_that_hides_rows_is_1() {
    let world = loaded().await;
    let role = Role::new(&world).await;
    world
        .sql(&format!(
            "alter table dbo.e enable row level security;
             grant usage on schema dbo, public to \"{0}\"; grant all on all tables in schema dbo, public to \"{0}\";
             grant all on all sequences in schema public to \"{0}\"",
            role.name
        ))
        .await;
    let checked = role.check().await;
    let line = checked.ends(1).finds("target, dbo.e", "fail", "row-level security");
    assert!(line.hint.contains("bypassrls"), "{line:?}");
    check(as_owner(&world)).await.ends(0);
    role.drop().await;
}

#[tokio::test]
async fn the_loaders_tables_are_missing_or_newer() {
    let world = World::empty_with_table().await;
    check_world(&world).await.ends(0).finds("target, the loader's tables", "ok", "the next start applies them");
    let never = with(&world, "MIGRATE", "False").await;
    let line = never.ends(78).finds("target, the loader's tables", "fail", " migrations are missing");
    assert!(line.hint.contains("migrate"), "{line:?}");
    let role = Role::new(&world).await;
    role.check().await.ends(1).finds("target, the loader's tables", "fail", "may not create tables in public");
    role.drop().await;
    run_once(&world).await.ok();
    world.sql("update loader_schema_history set version = 99 where version = (select max(version) from loader_schema_history)").await;
    let newer = check_world(&world).await;
    newer.ends(78).finds("target, the loader's tables", "fail", "version 99, newer than this program");
}

#[tokio::test]
async fn a_pooler_is_told_and_a_run_goes_through_it() {
    let world = loaded().await;
    let port = pooler::before(&setting("PEO_PG_PORT"), LOADER, &world.database).await;
    let target = world.target_at(&port.to_string());
    with(&world, "TARGET", &target).await.ends(0).finds("target, pooler", "ok", "lends a session for each transaction");
    // the second run finds the session as the first one left it
    for (file, name) in [("e/20991231-235901.csv.gz", "c"), ("e/20991231-235902.csv.gz", "d")] {
        world.bucket.put(file, &format!("U,1,{name},1\n")).await;
        let mut command = program(&world);
        command.env("TARGET", &target);
        assert_eq!(run(command).await.ok().effects(), ["e (create: 0, amend: 1, remove: 0)."]);
    }
}

#[tokio::test]
async fn a_broker_that_is_away_keeps_nothing_or_says_no_is_told() {
    let world = loaded().await;
    let told = |url: String| {
        let mut command = program(&world);
        command.env("NOTIFICATIONS", "True").env("NATS", url);
        check(command)
    };
    let away = told(format!("nats://u:canary@127.0.0.1:{}", free_port())).await;
    away.ends(69).finds("broker, connect", "fail", "cannot reach NATS");
    assert!(!format!("{:?}", away.lines).contains("canary"));
    let core = Broker::core().await;
    told(core.url()).await.ends(0).finds("broker, stream", "ok", "no stream covers paper-engine.meta.orders.change");
    let user =
        |name: &str, publish: &str| format!("{{user: {name}, password: p, permissions: {{publish: {publish}}}}}");
    let users = [
        user("mute", &format!("{{deny: [\"{SUBJECT}\"]}}")),
        user("shy", &format!("[\"{SUBJECT}\", \"$JS.API.STREAM.NAMES\"]")),
        user("shyer", &format!("[\"{SUBJECT}\"]")),
    ];
    let strict = Broker::with_config(&format!("authorization {{users: [{}]}}", users.join(",\n")));
    let url = |user: &str| strict.url().replace("//", &format!("//{user}:p@"));
    let mute = told(url("mute")).await;
    mute.ends(69).finds("broker, publish", "fail", "may not publish");
    let shy = told(url("shy")).await;
    shy.ends(0).finds("broker, publish", "warn", "does not say");
    let shyer = told(url("shyer")).await;
    shyer.ends(0).finds("broker, stream", "warn", "may not ask about streams");
}

#[test]
fn the_policy_lets_list_and_get_and_nothing_else() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/s3-policy.json");
    let policy: Value = serde_json::from_str(&std::fs::read_to_string(file).expect(file)).expect("JSON");
    let statements = policy["Statement"].as_array().expect("statements");
    let allowed: Vec<_> = statements.iter().map(|one| (one["Effect"].as_str(), one["Action"].as_str())).collect();
    assert_eq!(allowed, [(Some("Allow"), Some("s3:ListBucket")), (Some("Allow"), Some("s3:GetObject"))]);
    let places: Vec<_> = statements.iter().map(|one| one["Resource"].as_str().unwrap_or_default()).collect();
    assert_eq!(places, ["arn:aws:s3:::my-feed", "arn:aws:s3:::my-feed/data/*"]);
    assert_eq!(statements[0]["Condition"]["StringLike"]["s3:prefix"], "data/*");
}
