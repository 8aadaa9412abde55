//! The corpus of the fuzzers, and what they once found, walked through on every run: the same functions, without a fuzzer.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/harness.rs"]
mod harness;

#[test]
fn the_corpus_of_the_fuzzers_breaks_no_promise() {
    type Target = (&'static str, fn(&[u8]));
    let targets: [Target; 4] =
        [("rows", harness::rows), ("cells", harness::cells), ("keys", harness::keys), ("settings", harness::settings)];
    for (target, read) in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let files: Vec<_> = fs::read_dir(folder).expect("a corpus").map(|file| file.expect("a file").path()).collect();
        assert!(files.len() >= 10, "{target} has {} files", files.len());
        for file in files {
            eprintln!("{}", file.display());
            read(&fs::read(&file).expect("its bytes"));
        }
    }
}
