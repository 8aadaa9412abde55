//! Files in both layouts.

use std::path::PathBuf;

use bytes::Bytes;
use pe_publish::conformance::{self, Bench, Taken};
use pe_publish::file::{Files, Layout};
use pe_publish::publisher::Publisher;
use pe_publish::record::Record;
use pe_publish::template::Template;
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    fn files(&self, layout: Layout) -> Files {
        Files::new(&Template::parse(&self.0.path().join("out").display().to_string()).expect("path"), layout)
    }

    /// Returns the files below the folder with what they hold, in the order of their names.
    fn contents(&self) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.path().join("out")];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry.expect("entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let text = std::fs::read_to_string(&path).expect("text");
                    found.push((path.strip_prefix(self.0.path().join("out")).expect("below").to_owned(), text));
                }
            }
        }
        found.sort();
        found
    }
}

impl Bench for Folder {
    async fn open(&self) -> Box<dyn Publisher> {
        Box::new(self.files(Layout::Ndjson))
    }

    async fn taken(self) -> Vec<Taken> {
        let lines = |(_, text): &(PathBuf, String)| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let taken = |line| Taken { id: None, payload: Bytes::from(line) };
        self.contents().iter().flat_map(lines).map(taken).collect()
    }
}

#[tokio::test]
async fn check_publishes_nothing() {
    conformance::check_publishes_nothing(Folder::new()).await;
}

#[tokio::test]
async fn order_is_kept() {
    conformance::order_is_kept(Folder::new()).await;
}

#[tokio::test]
async fn a_repeat_keeps_its_id() {
    conformance::a_repeat_keeps_its_id(Folder::new()).await;
}

#[tokio::test]
async fn what_was_flushed_is_there() {
    conformance::what_was_flushed_is_there(Folder::new()).await;
}

fn in_group(number: usize, group: &str) -> Record {
    Record { group: group.into(), ..conformance::record(number) }
}

#[tokio::test]
async fn each_group_has_a_file_of_its_own_and_a_later_run_takes_new_numbers() {
    let folder = Folder::new();
    for _ in 0..2 {
        let mut files = folder.files(Layout::Ndjson);
        let records = [in_group(1, "a"), in_group(2, "a"), in_group(3, "b"), in_group(4, "a")];
        conformance::deliver(&mut files, &records).await;
    }
    let names: Vec<String> = folder.contents().iter().map(|(path, _)| path.display().to_string()).collect();
    assert_eq!(
        names,
        [
            "000001-a.ndjson",
            "000002-b.ndjson",
            "000003-a.ndjson",
            "000004-a.ndjson",
            "000005-b.ndjson",
            "000006-a.ndjson"
        ]
    );
    assert_eq!(folder.contents()[0].1.lines().count(), 2);
}

#[tokio::test]
async fn a_checkpoint_cuts_off_what_came_after_it() {
    let folder = Folder::new();
    let tables = ["t".into()];
    let mut files = folder.files(Layout::Ndjson);
    conformance::deliver(&mut files, &[in_group(0, "earlier run")]).await;
    let mut files = folder.files(Layout::Ndjson);
    files.prepare(&tables).await.expect("prepared");
    let before_the_first = files.position().expect("position");
    conformance::deliver(&mut files, &[in_group(1, "a"), in_group(2, "b")]).await;
    let position = files.position().expect("position");
    conformance::deliver(&mut files, &[in_group(3, "b"), in_group(4, "c")]).await;

    let mut again = folder.files(Layout::Ndjson);
    again.resume_at(&position).await.expect("resumed");
    conformance::deliver(&mut again, &[in_group(3, "b"), in_group(5, "d")]).await;
    let lines: String = folder.contents().iter().map(|(_, text)| text.as_str()).collect();
    let numbers: Vec<&str> = lines.lines().map(|line| &line[5..6]).collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "5"]);

    let mut again = folder.files(Layout::Ndjson);
    again.resume_at(&before_the_first).await.expect("resumed");
    assert_eq!(folder.contents().len(), 1, "only the earlier run's");
    std::fs::write(folder.0.path().join("out/000002-x.ndjson"), "").expect("file");
    assert!(again.resume_at(&position.replace("000003-b", "000002-x")).await.is_err(), "a shorter file is another one");
}

#[tokio::test]
async fn the_legacy_layout_is_the_originals() {
    let folder = Folder::new();
    let mut files = folder.files(Layout::Legacy);
    let records = [
        in_group(0, "2020-05-17T13-00-00.000000"),
        in_group(1, "2020-05-17T13-00-00.000000"),
        in_group(2, "2020-05-17T13-00-00.500000"),
    ];
    conformance::deliver(&mut files, &records).await;
    let shown: Vec<(String, String)> =
        folder.contents().into_iter().map(|(path, text)| (path.display().to_string(), text)).collect();
    let text = |number| format!("{{\n \"n\": {number},\n \"t\": \"\\u00e9\"\n}}");
    assert_eq!(
        shown,
        [
            ("17-05-2020_13-00-00/0.json".to_owned(), text(0)),
            ("17-05-2020_13-00-00/1.json".to_owned(), text(1)),
            ("17-05-2020_13-00-00_2/0.json".to_owned(), text(2)),
        ]
    );
}

#[tokio::test]
async fn a_full_or_missing_disk_is_tried_again() {
    let folder = Folder::new();
    std::fs::write(folder.0.path().join("out"), "in the way").expect("file");
    let mut files = folder.files(Layout::Ndjson);
    assert!(files.check().await.is_err());
    let outcomes = files.publish(&conformance::records(0, 2)).await.expect("not lost");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, pe_publish::Outcome::Retry(_))), "{outcomes:?}");
    std::fs::remove_file(folder.0.path().join("out")).expect("removed");
    assert!(conformance::deliver(&mut files, &conformance::records(0, 2)).await.is_empty());
}
