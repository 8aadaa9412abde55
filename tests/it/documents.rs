//! The documents against the program and against each other: pictures, printed guide, notebook, links, tables of columns.

use tokio::process::Command;

use crate::support::World;
use crate::support::program::{program, run};

/// Runs one of `scripts/` and fails with what it says.
async fn script(words: &[&str]) {
    let mut command = Command::new("python3");
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts")).args(words);
    let ended = command.output().await.expect("python3");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[tokio::test]
async fn the_pictures_show_the_live_schema() {
    let world = World::with_model().await;
    script(&["diagrams.py", "check", &world.database]).await;
}

#[tokio::test]
async fn the_data_specification_has_every_column_as_it_is() {
    let world = World::with_model().await;
    script(&["documents.py", "columns", &world.database]).await;
}

#[tokio::test]
async fn no_document_points_at_nothing_and_all_are_current() {
    script(&["documents.py", "check"]).await;
}

#[tokio::test]
async fn the_reference_names_every_command() {
    let world = World::new().await;
    let mut command = program(&world);
    command.arg("--help");
    let help = run(command).await.ok().log;
    let list = help.split("Commands:").nth(1).and_then(|rest| rest.split("\n\n").next()).expect(&help);
    let page = include_str!("../../docs/reference.md");
    // what is set in deeper goes on from the line above
    let own = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<_> = own.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"run"), "{help}");
    for name in names.into_iter().filter(|&name| name != "help") {
        assert!(page.contains(&format!("| `{name}")) || page.contains(&format!(", `{name}`")), "{name}");
    }
}
