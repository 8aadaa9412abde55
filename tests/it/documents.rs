//! The documents against the program and against each other: pictures, printed guide, notebook, links, tables of columns.

use tokio::process::Command;

use crate::support::World;

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
