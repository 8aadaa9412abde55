//! What is told to somebody who has never seen the program: whose fault it is, all that is wrong at once, and what to write;
//! and that looking needs no more than what is looked at.

use std::process::Command;

use crate::support::World;
use crate::support::program::{Ended, as_owner, program, run, run_once};
use crate::support::screen::on_terminal;

const LOAD: &str = "e/LOAD00000001.csv.gz";
const CHANGE: &str = "e/20991231-235900.csv.gz";
const LATER: &str = "e/20991231-235901.csv.gz";

async fn says(world: &World, args: &[&str]) -> Ended {
    with(world, args, &[]).await
}

async fn with(world: &World, args: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = program(world);
    command.args(args).envs(variables.iter().copied());
    run(command).await
}

/// One table: delivery 1 is loaded, delivery 2 failed.
async fn stopped() -> World {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    world.bucket.put(CHANGE, "U,1,a,bad\n").await;
    assert_eq!(run_once(&world).await.code, 1);
    world
}

#[tokio::test]
async fn a_missing_grant_is_not_the_files_fault() {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    run_once(&world).await.ok();
    let role = format!("r-{}", world.database);
    world
        .sql(&format!(
            "create role \"{role}\" login; grant connect, temporary on database \"{}\" to \"{role}\";
             grant usage on schema public to \"{role}\"; grant select on all tables in schema public to \"{role}\"",
            world.database
        ))
        .await;
    let target = world.target_as(&role);
    let told = with(&world, &["verify"], &[("TARGET", &target)]).await;
    let checked = with(&world, &["check"], &[("TARGET", &target)]).await;
    world.sql(&format!("drop owned by \"{role}\"; drop role \"{role}\"")).await;
    assert_eq!(
        (told.code, told.log.as_str()),
        (
            1,
            "dbo.e: cannot be verified\n  the role lacks a grant: permission denied for schema dbo (42501)\n  \
             `check` names the statement that gives it.\n"
        )
    );
    assert!(checked.log.contains(&format!("grant usage on schema dbo to \"{role}\"")), "{}", checked.log);
    let all =
        format!("as a superuser `paper-engine-orders migrate --roles`, then `grant paper_engine_loader to \"{role}\"`");
    assert!(checked.log.contains(&all), "{}", checked.log);
}

#[tokio::test]
async fn what_only_a_run_needs_keeps_nobody_from_looking_and_steering() {
    let world = stopped().await;
    let production = [
        ("METRICS_FILE", "/no/such/folder/x.prom"),
        ("METRICS", "metrics"),
        ("MIN_SLEEP", "99"),
        ("MAX_REMOVE", "101%"),
        ("ON_BAD_ROW", "quarantin"),
        ("NOTIFICATIONS", "True"),
        ("NATS", ""),
    ];
    for (args, code) in [
        (&["status"][..], 1),
        (&["deliveries", "list"], 0),
        (&["rejects", "list"], 0),
        (&["notifications", "list"], 0),
        (&["verify"], 0),
        (&["deliveries", "retry", "2"], 0),
    ] {
        let ended = with(&world, args, &production).await;
        assert!(ended.code == code && !ended.log.contains("configuration"), "{args:?}: {}", ended.log);
    }
    for args in [&["run", "--once"][..], &["plan"], &["check"]] {
        let ended = with(&world, args, &production).await;
        assert!(ended.code == 78 && ended.log.contains("101%"), "{args:?}: {}", ended.log);
    }
    assert_eq!(with(&world, &["verify"], &[("LIMITS", "none")]).await.code, 78);
    assert_eq!(with(&world, &["status"], &[("FEED", "none")]).await.code, 78);
}

#[tokio::test]
async fn a_reason_says_something() {
    let world = stopped().await;
    for reason in ["", "  \t"] {
        let ended = says(&world, &["deliveries", "skip", "2", "--reason", reason]).await;
        assert!(ended.code == 2 && ended.log.contains("say why, for whoever reads"), "{}", ended.log);
    }
    assert_eq!(world.value("select status from loader_deliveries where id = 2").await, "failed");
    says(&world, &["deliveries", "skip", "2", "--reason", " half an export "]).await.ok();
    assert_eq!(world.value("select reason from loader_deliveries where id = 2").await, "half an export");
}

#[tokio::test]
async fn all_that_cannot_be_done_is_said_at_once() {
    let world = stopped().await;
    for (args, possible) in [
        (&["retry"][..], "failed, is held or is late can be retried"),
        (&["skip", "--reason", "x"], "failed, is held, is late or is gone can be skipped"),
    ] {
        let all = [&["deliveries"], args, &["2", "999", "1", "77"]].concat();
        let ended = says(&world, &all).await;
        let wanted = "delivery 1 is loaded; the ledger has no delivery 77; the ledger has no delivery 999\n";
        let why = format!("why:   only a delivery that {possible}\n");
        assert!(ended.code == 1 && ended.log.contains(wanted) && ended.log.contains(&why), "{}", ended.log);
        assert!(ended.log.contains("Nothing was changed."), "{}", ended.log);
    }
    let alone = says(&world, &["deliveries", "skip", "2", "999", "--reason", "x"]).await;
    assert!(alone.log.contains(": the ledger has no delivery 999\n"), "{}", alone.log);
    assert_eq!(
        world.value("select requested is null and status = 'failed' from loader_deliveries where id = 2").await,
        "t"
    );
}

#[tokio::test]
async fn a_misspelt_table_and_a_number_that_is_none_are_told() {
    let world = stopped().await;
    let list = |table| ["deliveries", "list", "--entity", table];
    let unknown = says(&world, &list("orders")).await.ok();
    assert_eq!(unknown.log, "No deliveries of orders; the ledger knows: dbo.e.\n");
    let held = says(&world, &[&list("dbo.e")[..], &["--status", "held"]].concat()).await.ok();
    assert_eq!(held.log, "No deliveries.\n");
    for args in [&["deliveries", "retry", "two"][..], &["deliveries", "show", "1.0"], &["verify", "--keys", "-"]] {
        let ended = says(&world, args).await;
        assert!(ended.code == 2 && ended.log.contains(": write a whole number, like 20\n"), "{}", ended.log);
    }
    let nowhere = says(&world, &["feed", "make"]).await;
    assert!(nowhere.code == 2 && nowhere.log.contains("<--out <DIR>|--bucket>"), "{}", nowhere.log);
}

#[tokio::test]
async fn a_server_that_is_away_is_named_in_the_log() {
    let world = World::with_table().await;
    let target = world.target_at("1");
    let ended = with(&world, &["run", "--once"], &[("TARGET", &target)]).await;
    let wanted = format!("ERROR [boot.rs:LINE]: cannot reach Postgres at 127.0.0.1:1/{}: ", world.database);
    let wanted = wanted.split_once("LINE]").expect("a place").1;
    assert!(ended.code == 69 && ended.log.contains(wanted), "{}", ended.log);
}

/// Lines that are wider than the terminal though they could be broken.
fn torn(text: &str, columns: usize) -> Vec<&str> {
    // a label and a key stay in one line
    let breaks = |line: &&str| line.get(16..).is_some_and(|words| words.contains(' '));
    text.lines().filter(|line| line.chars().count() > columns).filter(breaks).collect()
}

#[tokio::test]
async fn a_terminal_gets_no_line_that_is_cut_inside_a_word() {
    let world = stopped().await;
    world.bucket.put(LATER, "I,9,z,1\n").await;
    let shown = async |args: &[&str], columns: u16| {
        let mut command: Command = as_owner(&world);
        command.args(args).env("NO_COLOR", "1");
        on_terminal(command, columns).await.text()
    };
    for columns in [50, 80] {
        for args in [&["check"][..], &["deliveries", "show", "2"], &["status"]] {
            let text = shown(args, columns).await;
            assert_eq!(torn(&text, usize::from(columns)), Vec::<&str>::new(), "{columns} {args:?}\n{text}");
        }
    }
    let narrow = shown(&["status"], 50).await;
    assert!(
        narrow.contains(" age pending  state") && narrow.contains("dbo.e") && narrow.contains("  failed"),
        "{narrow}"
    );
    let reason = "half an export, and nobody knows what became of the other half of it";
    says(&world, &["deliveries", "skip", "2", "--reason", reason]).await.ok();
    let (show, piped) =
        (shown(&["deliveries", "show", "2"], 50).await, says(&world, &["deliveries", "show", "2"]).await);
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(&show), words(&piped.log));
    assert!(show.lines().any(|line| line.starts_with("                ")), "what goes on stands below\n{show}");
    assert!(piped.log.lines().any(|line| line.starts_with("reason ") && line.ends_with(reason)), "{}", piped.log);
}

#[tokio::test]
async fn the_manuals_headings_have_no_quotes() {
    let page = says(&World::new().await, &["man"]).await.ok().log;
    assert!(page.contains(".B \"WHERE AND WHAT\"\n") && !page.contains("\n\"WHERE"), "{page}");
}
