//! The console, with a file in the place of stdout.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use bytes::Bytes;
use pe_publish::conformance::{self, Bench, Taken};
use pe_publish::console::Console;
use pe_publish::publisher::{Error, Publisher};

struct Stdout(PathBuf);

fn path() -> PathBuf {
    std::env::temp_dir().join(format!("pe-console-{}", std::process::id()))
}

fn open_file() -> Box<dyn Write> {
    Box::new(OpenOptions::new().append(true).create(true).open(path()).expect("file"))
}

impl Bench for Stdout {
    async fn open(&self) -> Box<dyn Publisher> {
        Box::new(Console::to(open_file))
    }

    async fn taken(self) -> Vec<Taken> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let _ = std::fs::remove_file(&self.0);
        text.lines().map(|line| Taken { id: None, payload: Bytes::from(line.to_owned()) }).collect()
    }
}

/// One test, because there is one stdout.
#[tokio::test]
async fn conforms() {
    let bench = || Stdout(path());
    conformance::check_publishes_nothing(bench()).await;
    conformance::order_is_kept(bench()).await;
    conformance::a_repeat_keeps_its_id(bench()).await;
    conformance::what_was_flushed_is_there(bench()).await;
}

struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_closed_stdout_is_the_end() {
    let mut console = Console::to(|| Box::new(Closed));
    let fault = console.publish(&conformance::records(0, 3)).await.expect_err("lost");
    assert!(matches!(fault, Error::Fatal(_)), "{fault}");
}
