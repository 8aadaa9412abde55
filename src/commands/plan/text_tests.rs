//! Compares a plan as text and as a page with golden files, with names that contain markup and control characters.

use super::super::page;
use super::*;
use crate::loader::plan_file::{File, Keys, VERSION};

const HOSTILE: &str = "<script>alert(1)</script>\u{202e}\"'&\u{1b}[31m";

fn file(key: &str) -> File {
    File { key: key.into(), etag: "0".into(), modified: 1_790_000_000, size: 1_200, new: true }
}

fn key(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn loaded(name: &str, kind: &str, counts: [u64; 5]) -> Delivery {
    let [create, amend, remove, unchanged, rejected] = counts;
    let counts = Counts { create, amend, remove, unchanged, rejected };
    let (kind, status) = (kind.to_owned(), "loaded".to_owned());
    Delivery { kind, status, counts, files: vec![file(name)], ..Delivery::default() }
}

fn table(entity: &str, deliveries: Vec<Delivery>) -> Table {
    let mut counts = Counts::default();
    deliveries.iter().for_each(|delivery| counts.add(delivery.counts));
    Table { schema: "dbo".into(), entity: entity.into(), counts, deliveries, ..Table::default() }
}

fn orders() -> Table {
    let keys = Keys {
        create: vec![key(&["7000001", "a"]), key(&["7000002", "two words"])],
        amend: vec![key(&["7000009", HOSTILE])],
        remove: Vec::new(),
    };
    let mut load = loaded("data/dbo/orders/LOAD00000001.csv.gz", "snapshot", [1_234_567, 12, 0, 9, 1]);
    load.files.push(file("data/dbo/orders/LOAD00000002.csv.gz"));
    load.settles = true;
    let changes = loaded("data/dbo/orders/20261121-140237123.csv.gz", "changes", [0, 3, 0, 0, 0]);
    let contained = Delivery {
        status: "skipped".into(),
        why: Some("contained in snapshot 2".into()),
        ..loaded("data/dbo/orders/20261121-140000000.csv.gz", "changes", [0; 5])
    };
    let column = |name: &str, rows| Column { name: name.into(), rows };
    Table {
        key: key(&["order_id", "leg"]),
        columns: vec![column("quantity", 15), column(HOSTILE, 1)],
        ..table("orders", vec![Delivery { keys, ..load }, contained, changes])
    }
}

fn plan() -> PlanFile {
    let failed = Delivery {
        status: "failed".into(),
        why: Some("line 2, column price: not a number".into()),
        next: vec!["put a mended file into the bucket".into(), "or `deliveries skip`".into()],
        ..loaded(&format!("data/dbo/{HOSTILE}/20261121-140237123.csv.gz"), "changes", [0; 5])
    };
    let stop = Stop { delivery: 5, status: "held".into(), object_key: "data/dbo/late/LOAD00000001.csv.gz".into() };
    let tables =
        vec![orders(), table(HOSTILE, vec![failed]), Table { stopped: Some(stop), ..table("late", Vec::new()) }];
    let mut counts = Counts::default();
    tables.iter().for_each(|table| counts.add(table.counts));
    PlanFile {
        v: VERSION,
        made_at: "2026-11-21T14:02:37Z".into(),
        made_by: "0.1.0".into(),
        bucket: "feed".into(),
        path: "data".into(),
        database: "paper_engine".into(),
        settings: [("MAX_REMOVE".to_owned(), "50%".to_owned())].into(),
        exit_code: 1,
        counts,
        tables,
        left: vec![Left {
            table: "dbo.customers".into(),
            files: 2,
            bytes: 12_300,
            examples: vec!["data/dbo/customers/LOAD00000001.csv.gz".into(), format!("data/{HOSTILE}")],
            why: "no such table in the target; create it".into(),
        }],
    }
}

fn text_of(plan: &PlanFile, file: Option<&Path>) -> String {
    let mut out = Vec::new();
    print(plan, 5, file, &mut out).expect("written");
    String::from_utf8(out).expect("UTF-8")
}

/// Compares with a golden file. `just bless` rewrites the file; look at the difference.
#[allow(clippy::disallowed_methods, reason = "BLESS is for this test alone")]
fn is_golden(made: &str, name: &str) {
    let file = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, made).expect("written");
    }
    let golden = std::fs::read_to_string(&file).expect("the golden file");
    assert_eq!(made, golden, "run `just bless` if this is meant");
}

#[test]
fn the_plan_as_text_is_that_in_the_golden_file() {
    let text = text_of(&plan(), Some(Path::new("plan.json")));
    is_golden(&text, "plan.txt");
    let wide = text.lines().filter(|line| line.chars().count() > term_format::WIDTH && line.contains(' '));
    assert_eq!(wide.collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(!text.contains(['\u{202e}', '\u{1b}']));
}

#[test]
fn the_plan_as_a_page_is_that_in_the_golden_file() {
    let page = page::html(&plan(), 5).expect("rendered");
    is_golden(&page, "plan.html");
    assert!(!page.contains("<script") && !page.contains(['\u{202e}', '\u{1b}']));
    let outside = ["http:", "https:", "src=", "href=", "url(", "@import", " style=", " on"];
    let markup = page.replace("http-equiv", "").to_lowercase();
    let tags = markup.split('<').filter_map(|tag| tag.split('>').next());
    let wrong: Vec<&str> = tags.filter(|tag| outside.iter().any(|word| tag.contains(word))).collect();
    assert_eq!(wrong, Vec::<&str>::new());
}

#[test]
fn a_plan_of_nothing_says_so() {
    let nothing = PlanFile { bucket: "feed".into(), database: "d".into(), ..PlanFile::default() };
    assert!(text_of(&nothing, None).contains("\nNothing would be loaded.\n"));
    assert!(page::html(&nothing, 5).expect("rendered").contains("Nothing would be loaded."));
}

#[test]
fn many_deliveries_are_summed_up() {
    let name = |number: usize| format!("data/dbo/orders/20261121-1402371{number:02}.csv.gz");
    let many = (0..25).map(|number| loaded(&name(number), "changes", [1, 0, 0, 0, 0])).collect();
    let lines = lines(&table("orders", many));
    assert_eq!(lines.len(), 22);
    assert!(lines[0].starts_with("dbo.orders ") && lines[0].contains(" 25 "), "{}", lines[0]);
    assert_eq!(lines[21], "  and 5 more, which --json and --html show");
}
