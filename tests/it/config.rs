//! What a user meets first: faults of the configuration, all at once, with exit codes and without secrets.

use std::process::Command;

use crate::support::World;
use crate::support::program::{program, run};

fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paper-engine-orders"));
    command.env_clear();
    command
}

#[tokio::test]
async fn an_empty_environment_says_all_that_is_missing_with_examples() {
    let ended = run(bare()).await;
    assert_eq!(ended.code, 78);
    for words in ["SOURCE: ", "bucket_name=", "TARGET: ", "dbname=paper_engine", "NATS: ", "NOTIFICATIONS=False"] {
        assert!(ended.log.contains(words), "{words:?} is not in\n{}", ended.log);
    }
}

#[tokio::test]
async fn help_and_version_answer() {
    for (args, words) in [
        (&["--help"][..], "Usage:"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
        (&["feed", "make", "--help"], "--scale"),
    ] {
        let mut command = bare();
        command.args(args);
        let ended = run(command).await.ok();
        assert!(ended.log.contains(words), "{}", ended.log);
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_and_wrong_credentials_say_what_to_check() {
    let world = World::with_table().await;
    let source = world.bucket.source();
    let cases = [
        (source.replace("bucket_name=tests", "bucket_name=missing"), "Check bucket_name"),
        (source.replace("bucket_key=", "bucket_key=canary"), "bucket_key in SOURCE"),
    ];
    for (source, words) in cases {
        let mut command = program(&world);
        command.env("SOURCE", source);
        let ended = run(command).await;
        assert_eq!(ended.code, 78, "{}", ended.log);
        assert!(ended.log.contains(words), "{words:?} is not in\n{}", ended.log);
        assert!(!ended.log.contains("canary"), "{}", ended.log);
    }
}

#[tokio::test]
async fn an_address_in_use_is_told() {
    let world = World::with_table().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let mut command = program(&world);
    command.env("METRICS", &address);
    let ended = run(command).await;
    assert_eq!(ended.code, 78, "{}", ended.log);
    assert!(ended.log.contains("METRICS") && ended.log.contains(&address), "{}", ended.log);
}
