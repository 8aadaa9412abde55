//! Holds the floor plan: imports point down in the order of `lib.rs`, no circles, every file has its sign and its size, and
//! the documents name tests that are there.
//!
//! The order of the `mod` lines in `src/lib.rs` IS the plan, roof to ground. A module may use what stands below it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// No file is longer.
const LONGEST: usize = 500;
/// Names that say nothing about what a room is for.
const NAMELESS: [&str; 4] = ["utils", "common", "helpers", "types"];

#[test]
fn imports_point_down() {
    let floors = floors(&read(&source("lib.rs")));
    let mut wrong = Vec::new();
    for file in files() {
        let Some(at) = floors.iter().position(|floor| *floor == room_of(&file)) else { continue };
        for (line, used) in imports(&read(&file)) {
            match floors.iter().position(|floor| *floor == used) {
                Some(below) if below < at => wrong.push(format!("{}:{line} uses {used}, which is above", show(&file))),
                Some(_) => {}
                None => wrong.push(format!("{}:{line} uses {used}, which lib.rs does not list", show(&file))),
            }
        }
    }
    assert!(wrong.is_empty(), "imports point down only:\n{}", wrong.join("\n"));
}

#[test]
fn the_ground_knows_nothing_of_the_loader() {
    let lib = read(&source("lib.rs"));
    let (_, ground) = lib.split_once("── ground").expect("lib.rs marks the ground");
    let ground: BTreeSet<String> = floors(ground).into_iter().collect();
    assert!(ground.contains("secret") && !ground.contains("loader"), "the ground is what stands below its mark");
    for file in files().iter().filter(|file| ground.contains(&room_of(file))) {
        for (line, used) in imports(&read(file)) {
            assert!(ground.contains(&used), "{}:{line} uses {used}, which is not on the ground", show(file));
        }
    }
}

#[test]
fn every_file_has_a_sign_and_a_size() {
    for file in files().into_iter().chain(shared_files()) {
        let text = read(&file);
        assert!(text.starts_with("//!"), "{} does not begin with //!: what is this room for?", show(&file));
        let lines = text.lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines; {LONGEST} are enough for one room", show(&file));
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        assert!(!NAMELESS.contains(&name.as_str()), "{}: a name that says nothing", show(&file));
    }
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let everything = [files(), shared_files(), rust_below(&root.join("tests"))].concat();
    let code: String = everything.iter().map(|file| read(file)).collect();
    let documents = ["ARCHITECTURE.md", "docs/coverage.md", "docs/reliability.md", "docs/security.md"]
        .map(|name| (name, read(&root.join(name))));
    let mut named = 0;
    for (document, text) in &documents {
        for name in text.split('`').skip(1).step_by(2).filter(|name| is_test(name)) {
            named += 1;
            assert!(code.contains(&format!("fn {name}(")), "{document} names {name}, which is no test");
        }
    }
    assert!(named > 50, "the documents name their tests");
}

#[test]
fn every_row_of_the_matrix_is_held_or_open() {
    let page = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md"));
    let groups = [('A', 11), ('B', 17), ('C', 14), ('D', 20), ('E', 7), ('F', 9), ('G', 10)];
    for (group, rows) in groups {
        for number in 1..=rows {
            let start = format!("| {group}{number} | ");
            let found: Vec<&str> = page.lines().filter(|line| line.starts_with(&start)).collect();
            assert_eq!(found.len(), 1, "docs/reliability.md has {} rows {group}{number}", found.len());
            let held = found[0].rsplit(" | ").next().unwrap_or_default();
            let said = held.contains('`') || held.starts_with("*open*") || held.starts_with("the same two");
            assert!(said, "{group}{number} is neither held by a test nor open: {held}");
        }
    }
}

/// A name of two underscores or more is a test's, unless it is the database's or the metrics'.
fn is_test(name: &str) -> bool {
    let others = ["paper_engine_", "loader_", "last_success_", "oldest_pending_", "timestamp_", "before_image_"];
    name.matches('_').count() >= 2
        && !others.iter().any(|other| name.starts_with(other))
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[test]
fn a_planted_upward_import_is_found() {
    let text = "//! sign\nuse crate::loader::Loader;\nuse crate::{decode::Row, ops};\nfn f() { crate::app::start() }\n";
    let used: Vec<String> = imports(text).into_iter().map(|(_, used)| used).collect();
    assert_eq!(used, ["loader", "decode", "ops", "app"]);
    let plan =
        floors("pub mod commands;\n\npub mod loader;\nmod decode;\npub use pe_a::b as pg;\npub use pe_a::log;\n");
    assert_eq!(plan, ["commands", "loader", "decode", "pg", "log"]);
}

/// The modules of lib.rs, roof to ground.
fn floors(lib: &str) -> Vec<String> {
    let own = |line: &str| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned);
    // of another crate, under the name that it has here
    let shared = |line: &str| {
        let path = line.strip_prefix("pub use pe_")?.strip_suffix(';')?;
        path.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned)
    };
    lib.lines().map(str::trim).filter_map(|line| own(line).or_else(|| shared(line))).collect()
}

/// The top modules that a file names after `crate::`, with their lines. Tests may look anywhere.
fn imports(text: &str) -> Vec<(usize, String)> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            let rest = &code_from(code, number)[at + "crate::".len()..];
            let names = match rest.strip_prefix('{') {
                Some(list) => top_names(list),
                None => vec![word(rest)],
            };
            found.extend(names.into_iter().map(|name| (number + 1, name)));
        }
    }
    found.retain(|(_, name)| name.chars().next().is_some_and(char::is_lowercase));
    found
}

/// The text from a line on: a list of imports may go over several.
fn code_from(code: &str, number: usize) -> &str {
    let start = code.lines().take(number).map(|line| line.len() + 1).sum::<usize>();
    &code[start.min(code.len())..]
}

/// The names at the top of `a::B, c::{D, e}, f}`.
fn top_names(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut fresh) = (0, Vec::new(), true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                names.push(word(&list[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The top module that a file belongs to.
fn room_of(file: &Path) -> String {
    let below = file.strip_prefix(source("")).expect("a file of src");
    let first = below.components().next().expect("not empty").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn files() -> Vec<PathBuf> {
    let found = rust_below(&source(""));
    assert!(found.len() > 20, "src has files");
    found
}

/// The sources of the shared crates.
fn shared_files() -> Vec<PathBuf> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let found = rust_below(&crates);
    assert!(found.len() > 10, "the shared crates have files");
    found
}

fn rust_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn show(file: &Path) -> String {
    file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(file).display().to_string()
}
