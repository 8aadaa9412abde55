//! Shows on a terminal that a file is being written: its name and how large it is by now.

use std::fs::File;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at};

use crate::commands::term_format;
use crate::terminal::{Line, Pen, Screen};
use crate::visible;

const SOON: Duration = Duration::from_millis(400);
const OFTEN: Duration = Duration::from_millis(125);

/// Progress line that is shown until it is dropped.
pub(super) struct Busy {
    task: Option<JoinHandle<()>>,
    _line: Option<Line>,
}

impl Busy {
    pub(super) fn start(key: &str, file: &File) -> Self {
        let line = Screen::of_stderr().line();
        let pen = line.as_ref().map(Line::pen).zip(file.try_clone().ok());
        let task = pen.map(|(pen, file)| tokio::spawn(draw(pen, visible::text(key).into_owned(), file)));
        Self { task, _line: line }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

async fn draw(pen: Pen, key: String, file: File) {
    let begun = Instant::now();
    let mut ticks = interval_at(begun + SOON, OFTEN);
    loop {
        let seconds = (ticks.tick().await - begun).as_secs();
        let size = term_format::size(file.metadata().map_or(0, |metadata| metadata.len()));
        pen.draw(|_| format!("Writing {size}, {}:{:02}: {key}", seconds / 60, seconds % 60));
    }
}
