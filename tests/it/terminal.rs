//! What a person sees who sits at a terminal: help, completions, the bar, colour, and errors in their parts; and that what
//! is piped elsewhere has none of it.

use std::process::Command;

use clap::CommandFactory;
use paper_engine_orders::commands::Cli;

use crate::support::World;
use crate::support::broker::free_port;
use crate::support::program::{as_owner, program, run, run_once};
use crate::support::screen::{Shown, on_terminal};

const LOAD: &str = "e/LOAD00000001.csv.gz";
const CHANGE: &str = "e/20991231-235900000.csv.gz";

fn rows(count: u32) -> String {
    (0..count).map(|id| format!("{id},a name of some length {},{}.25\n", id * 7919, id % 9973)).collect()
}

/// One that takes long enough for a bar.
async fn large() -> World {
    let world = World::with_table().await;
    world.bucket.put(LOAD, &rows(400_000)).await;
    world
}

async fn shown(world: &World, args: &[&str], variables: &[(&str, &str)], columns: u16) -> Shown {
    let mut command = program(world);
    command.args(args).envs(variables.iter().copied());
    on_terminal(command, columns).await
}

#[tokio::test]
async fn a_bar_stands_below_the_log_and_nothing_of_it_remains() {
    let world = large().await;
    let shown = shown(&world, &["run"], &[], 80).await;
    assert_eq!(shown.code, 0, "{}", shown.raw);
    let bars: Vec<&str> = shown.drawn().into_iter().filter(|line| line.starts_with("Delivery 1 [")).collect();
    assert!(
        bars.iter().any(|bar| bar.contains(" MB, ") && bar.contains(" rows/s, ") && bar.ends_with(" left")),
        "{bars:?}"
    );
    assert!(bars.iter().all(|bar| bar.len() <= 79), "{bars:?}");
    let text = shown.text();
    let log: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    assert!(log.iter().all(|line| line.starts_with("20") && line.contains("]: ")), "{text}");
    assert!(text.contains("Delivery 1: e (create: 400000, amend: 0, remove: 0)."), "{text}");
    assert!(!shown.raw.contains(": processed 1") && !shown.raw.contains("/~"), "{}", shown.raw);
}

#[tokio::test]
async fn nothing_of_a_bar_remains_when_it_must_end_at_once() {
    let world = large().await;
    let run = program(&world);
    let mut command = Command::new("sh");
    let script =
        format!("{} & sleep 1.2; kill -TERM $!; sleep 0.1; kill -TERM $!; wait $!", run.get_program().display());
    command.args(["-c", &script]).envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let shown = on_terminal(command, 80).await;
    assert_eq!(shown.code, 130, "{}", shown.raw);
    assert!(shown.drawn().iter().any(|line| line.starts_with("Delivery 1 [")), "{}", shown.raw);
    let text = shown.text();
    assert!(text.trim_end().ends_with("SIGTERM again: stopping at once."), "{text}");
}

#[tokio::test]
async fn only_a_terminal_that_wants_text_has_a_bar() {
    let world = large().await;
    for variables in [&[("TERM", "dumb")][..], &[("LOG_FORMAT", "json")], &[("RUST_LOG", "warn")]] {
        let shown = shown(&world, &["run", "--dry-run"], variables, 80).await;
        assert_eq!((shown.code, shown.drawn()), (0, Vec::new()), "{}", shown.raw);
        assert!(!shown.raw.contains('\u{1b}'), "{variables:?}: {}", shown.raw);
    }
    let narrow = shown(&world, &["run", "--dry-run"], &[("NO_COLOR", "1")], 40).await;
    assert!(narrow.drawn().iter().any(|line| line.ends_with(" left") && line.len() <= 39), "{}", narrow.raw);
    assert!(!narrow.raw.contains("\u{1b}[3"), "{}", narrow.raw);
    let ended = run_once(&world).await.ok();
    assert!(!ended.log.contains(['\u{1b}', '\r']), "{}", ended.log);
}

/// One table that is stopped.
async fn stopped() -> World {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    world.bucket.put(CHANGE, "U,1,a,bad\n").await;
    assert_eq!(run_once(&world).await.code, 1);
    world
}

#[tokio::test]
async fn states_have_a_colour_on_a_terminal_only() {
    let world = stopped().await;
    let red = "\u{1b}[31m";
    let cases = [
        (&["status"][..], "\u{1b}[31mfailed\u{1b}[0m"),
        (&["deliveries", "list"], "\u{1b}[31mfailed \u{1b}[0m       –"),
        (&["deliveries", "list"], "\u{1b}[32mloaded \u{1b}[0m       1"),
        (&["run", "--once"], "\u{1b}[33mWARN\u{1b}[0m ["),
        (&["deliveries", "retry", "9"], "\u{1b}[31mpaper-engine-orders\u{1b}[0m: the ledger has no delivery 9"),
        (&["check"], "\u{1b}[32mok   \u{1b}[0m configuration"),
    ];
    for (args, words) in cases {
        let painted = shown(&world, args, &[], 80).await;
        assert!(painted.raw.contains(words), "{words:?} is not in\n{}", painted.raw);
        for variables in [&[("NO_COLOR", "1")][..], &[("TERM", "dumb")]] {
            let plain = shown(&world, args, variables, 80).await;
            assert!(!plain.raw.contains("\u{1b}[3") && plain.code == painted.code, "{}", plain.raw);
        }
        let empty = shown(&world, args, &[("NO_COLOR", "")], 80).await;
        assert!(empty.raw.contains(words), "an empty NO_COLOR says nothing\n{}", empty.raw);
        let mut piped = program(&world);
        piped.args(args);
        assert!(!run(piped).await.log.contains(red), "{args:?}");
    }
}

#[tokio::test]
async fn status_uses_the_width_there_is_and_80_columns_without_one() {
    let world = World::new().await;
    let name = "a_table_whose_name_is_longer_than_its_column";
    world.sql(&format!("create schema dbo; create table dbo.{name} (id int primary key)")).await;
    world.bucket.put(&format!("{name}/LOAD00000001.csv.gz"), "1\n").await;
    let has = |text: &str| text.contains(&format!("dbo.{name}"));
    for (columns, whole) in [(80, false), (120, true)] {
        let text = shown(&world, &["status"], &[], columns).await.text();
        assert_eq!(has(&text), whole, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(columns)), "{text}");
    }
    let mut piped = program(&world);
    piped.arg("status");
    let ended = run(piped).await.ok();
    assert!(!has(&ended.log) && ended.log.contains("dbo.a_table_whose_name…"), "{}", ended.log);
}

/// What a command says that cannot do what was asked, without ports.
async fn complaint(mut command: Command, args: &[&str]) -> String {
    command.args(args);
    let ended = run(command).await;
    let mut text = String::new();
    for part in ended.log.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
        text += &if text.ends_with("127.0.0.1:") { part.replacen(digits, "PORT", 1) } else { part.to_owned() };
    }
    format!("{}\n{text}", ended.code)
}

const UNREACHED: &str = "69
paper-engine-orders: cannot reach Postgres
  where: 127.0.0.1:PORT/DB (TARGET)
  why:   error connecting to server: Connection refused (os error 111)
  next:  Are host and port in TARGET right, and does the server run? Then try again.
";
const REFUSED: &str = "78
paper-engine-orders: Postgres refuses the connection
  where: 127.0.0.1:PORT/DB (TARGET)
  why:   role \"nobody\" does not exist (28000)
  next:  Check user, password and dbname in TARGET.
";
const NO_SCHEMA: &str = "78
paper-engine-orders: the loader's tables are missing, or old
  where: 127.0.0.1:PORT/DB (TARGET)
  why:   ALL migrations not applied
  next:  Run `paper-engine-orders migrate` as their owner, or `run --once` with MIGRATE=True.
";
const NEWER: &str = "78
paper-engine-orders: the loader's tables are newer than this program
  where: 127.0.0.1:PORT/DB (TARGET)
  why:   they are of version 99, it knows LATEST
  next:  Upgrade it: use the version that the other loaders of this database are of.
";
const DENIED: &str = "1
paper-engine-orders: Postgres refuses a statement
  where: 127.0.0.1:PORT/DB (TARGET), read the ledger
  why:   permission denied for table loader_deliveries (42501)
  next:  `check` names the statement that gives it; or use another role in TARGET.
";
const NO_BUCKET: &str = "78
paper-engine-orders: the bucket refuses
  where: bucket missing at http://127.0.0.1:PORT (SOURCE)
  why:   NoSuchBucket: The specified bucket does not exist
  next:  Check bucket_name in SOURCE.
";
const WRONG_KEY: &str = "78
paper-engine-orders: the bucket refuses
  where: bucket tests at http://127.0.0.1:PORT (SOURCE)
  why:   InvalidAccessKeyId: The access key ID you provided does not exist in our records
  next:  Check bucket_id and bucket_key in SOURCE.
";
const NO_DELIVERY: &str = "1
paper-engine-orders: the ledger has no delivery 99
  where: 127.0.0.1:PORT/DB (TARGET)
  next:  `deliveries list` shows those there are. Nothing was changed.
";
const WRONG_STATE: &str = "1
paper-engine-orders: delivery 1 is loaded
  where: 127.0.0.1:PORT/DB (TARGET)
  why:   only a delivery that failed, is held or is late can be retried
  next:  A loaded delivery is final. Nothing was changed.
";
const NO_FOLDER: &str = "1
paper-engine-orders: cannot read the folder /no/such
  why:   No such file or directory (os error 2)
  next:  Is the path right? Write another.
";
const BACKWARDS: &str = "1
paper-engine-orders: --since (2020-01-02 00:00:00) is not before --until (2020-01-01 00:00:00)
  next:  Swap them, or leave --until out.
";

#[tokio::test]
async fn errors_say_what_where_why_and_what_to_do() {
    let world = stopped().await;
    let closed = free_port().to_string();
    let list = ["deliveries", "list"];
    let at = |target: String| {
        let mut command = program(&world);
        command.env("TARGET", target);
        command
    };
    let source = |from: &str, to: &str| {
        let mut command = program(&world);
        command.env("SOURCE", world.bucket.source().replace(from, to));
        command
    };
    let cases = [
        (at(world.target_at(&closed)), &list[..], UNREACHED),
        (at(world.target_as("nobody")), &list, REFUSED),
        (source("bucket_name=tests", "bucket_name=missing"), &["status"], NO_BUCKET),
        (source("bucket_id=", "bucket_id=X"), &["status"], WRONG_KEY),
        (program(&world), &["deliveries", "show", "99"], NO_DELIVERY),
        (program(&world), &["rejects", "list", "99"], NO_DELIVERY),
        (program(&world), &["deliveries", "retry", "2", "1"], WRONG_STATE),
        (program(&world), &["notifications", "republish", "--since", "2020-01-02", "--until", "2020-01-01"], BACKWARDS),
    ];
    for (command, args, wanted) in cases {
        assert_eq!(complaint(command, args).await, wanted.replace("DB", &world.database), "{args:?}");
    }
    let said = complaint(as_owner(&world), &["migrate", "--model", "/no/such"]).await;
    assert!(said.ends_with(NO_FOLDER.split_once('\n').expect("lines").1), "{said}");
    let latest = world.value("select max(version) from loader_schema_history").await;
    world.sql("insert into loader_schema_history (version, name) values (99, 'later')").await;
    assert_eq!(
        complaint(program(&world), &list).await,
        NEWER.replace("DB", &world.database).replace("LATEST", &latest)
    );
    world.sql(&format!("delete from loader_schema_history where version = 99; create role \"r-{0}\" login; grant connect on database \"{0}\" to \"r-{0}\"; grant select on loader_schema_history to \"r-{0}\"", world.database)).await;
    let denied = complaint(at(world.target_as(&format!("r-{}", world.database))), &list).await;
    world.sql(&format!("drop owned by \"r-{0}\"; drop role \"r-{0}\"", world.database)).await;
    assert_eq!(denied, DENIED.replace("DB", &world.database));
    let all = world.value("select count(*) from loader_schema_history where version <> 99").await;
    let bare = World::empty().await;
    let mut command = program(&bare);
    command.env("MIGRATE", "False");
    assert_eq!(complaint(command, &list).await, NO_SCHEMA.replace("DB", &bare.database).replace("ALL", &all));
}

#[tokio::test]
async fn faults_of_the_configuration_are_a_list_that_fits_a_terminal() {
    let world = World::new().await;
    let wrong = [("SOURCE", ""), ("MAX_REMOVE", "101%"), ("METRICS_FILE", "/no/such/x.prom")];
    let mut piped = program(&world);
    piped.envs(wrong).args(["run", "--once"]);
    let ended = run(piped).await;
    let wanted = "paper-engine-orders: the configuration has 3 faults
  SOURCE: empty
    next:  Write which bucket to read, like SOURCE='bucket_endpoint=https://s3.example.com bucket_id=id bucket_key=key bucket_name=feed bucket_path=data'.
  MAX_REMOVE: \"101%\" is neither a percentage from 0% to 100% nor a whole number of rows
    next:  Write it like MAX_REMOVE=50% or MAX_REMOVE=1000.
  METRICS_FILE: its folder is not there
    next:  Make the folder, or write another, like METRICS_FILE=/var/lib/node_exporter/textfile/paper_engine.prom.
";
    assert_eq!((ended.code, ended.log.as_str()), (78, wanted));
    let seen = shown(&world, &["run", "--once"], &wrong, 80).await;
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = seen.text().replace("\u{1b}[31m", "").replace("\u{1b}[33m", "").replace("\u{1b}[2m", "");
    let text = text.replace("\u{1b}[0m", "");
    assert_eq!(words(&text), words(wanted));
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.lines().count() > wanted.lines().count(), "{text}");
}

/// Every command that does something, with its whole name.
fn leaves(command: &clap::Command, path: &str) -> Vec<(String, clap::Command)> {
    let inner = command.get_subcommands().filter(|inner| inner.get_name() != "help");
    let inner: Vec<_> = inner.map(|inner| (format!("{path} {}", inner.get_name()), inner)).collect();
    inner
        .into_iter()
        .flat_map(
            |(path, inner)| if inner.has_subcommands() { leaves(inner, &path) } else { vec![(path, inner.clone())] },
        )
        .collect()
}

/// The words of a line as a shell reads them, as far as one command goes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in line.split("  ").next().unwrap_or_default().chars() {
        match c {
            '\'' => quoted = !quoted,
            '|' | '>' | ')' if !quoted => break,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("a word").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The examples of a help text: lines that call the program, with those that go on.
fn examples(help: &str) -> Vec<Vec<String>> {
    let joined: String =
        help.replace("\\\n", " ").split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let kept = if help.contains("\\\n") { joined } else { help.to_owned() };
    let calls = kept.lines().filter_map(|line| Some(&line[line.find("paper-engine-orders ")?..]));
    calls.map(words).collect()
}

#[test]
fn every_command_has_a_first_line_and_an_example_that_it_understands() {
    let all = leaves(&Cli::command(), "paper-engine-orders");
    assert!(all.len() >= 14, "{all:?}");
    for (path, leaf) in all {
        let about = leaf.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(about.len() > 15 && !about.contains('\n'), "{path}: {about:?}");
        let help = leaf.get_after_help().map(ToString::to_string).unwrap_or_default();
        let own: Vec<Vec<String>> =
            examples(&help).into_iter().filter(|words| words.join(" ").starts_with(&path)).collect();
        assert!(!own.is_empty(), "{path} has no example:\n{help}");
        for words in own {
            let parsed = Cli::command().try_get_matches_from(&words);
            assert!(parsed.is_ok(), "{words:?}: {}", parsed.expect_err("refused"));
        }
        assert!(
            help.lines().all(|line| line.chars().count() <= 80 || !line.contains("paper-engine-orders ")),
            "an example of {path} is wider than a terminal:\n{help}"
        );
        let shown = leaf.clone().term_width(80).render_long_help().to_string();
        let wide = shown.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "the help of {path}");
        let sentences =
            help.split("\n\n").filter(|part| !part.contains("paper-engine-orders") && !part.contains("\n  "));
        let torn = sentences.filter(|part| part.contains('\n')).collect::<Vec<_>>();
        assert!(torn.is_empty(), "the help of {path} breaks lines where the terminal may not: {torn:?}");
    }
}

#[tokio::test]
async fn bash_completes_commands_and_flags() {
    let world = World::new().await;
    let mut command = program(&world);
    let binary = command.get_program().to_string_lossy().into_owned();
    let folder = std::path::Path::new(&binary).parent().expect("a folder").to_owned();
    let ask = |line: &str| {
        format!(
            "words=({line}); COMP_WORDS=(\"${{words[@]}}\"); [[ '{line}' == *' ' ]] && COMP_WORDS+=(''); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=(); \
             $complete paper-engine-orders \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             echo \"${{COMPREPLY[*]}}\"; "
        )
    };
    let asked = [
        "paper-engine-orders del",
        "paper-engine-orders run --on",
        "paper-engine-orders deliveries re",
        "paper-engine-orders deliveries list --status ",
        "paper-engine-orders deliveries list --status l",
    ];
    let script = format!(
        "source <(paper-engine-orders completions bash); complete=$(complete -p paper-engine-orders | grep -o '_[a-z_]*'); {}",
        asked.map(ask).concat()
    );
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").expect("PATH"));
    command = Command::new("bash");
    command.args(["--norc", "-c", &script]).env_clear().env("PATH", path);
    assert_eq!(
        run(command).await.ok().log,
        "deliveries\n--once\nretry release\npending loaded failed held late skipped gone\nloaded late\n"
    );
}

#[tokio::test]
async fn help_is_bold_on_a_terminal_only() {
    let world = World::new().await;
    for args in [&["--help"][..], &["run", "-h"]] {
        let bold = "\u{1b}[1m";
        assert!(shown(&world, args, &[], 80).await.raw.contains(bold), "{args:?}");
        assert!(!shown(&world, args, &[("NO_COLOR", "1")], 80).await.raw.contains('\u{1b}'), "{args:?}");
        let mut piped = program(&world);
        piped.args(args);
        assert!(!run(piped).await.ok().log.contains('\u{1b}'), "{args:?}");
    }
}

#[tokio::test]
async fn every_shell_has_its_script_and_the_manual_is_one_page() {
    for (args, words) in [
        (&["completions", "zsh"][..], "#compdef paper-engine-orders"),
        (&["completions", "fish"], "complete -c paper-engine-orders"),
        (&["completions", "elvish"], "edit:completion:arg-completer"),
        (&["completions", "powershell"], "Register-ArgumentCompleter"),
        (&["man"], ".TH paper-engine-orders 1"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_paper-engine-orders"));
        command.args(args).env_clear();
        let ended = run(command).await.ok();
        assert!(ended.log.contains(words) && ended.log.contains("republish"), "{args:?}\n{}", ended.log);
    }
}
