//! Draws one line on a terminal while a replay runs, and reads keys: space, ←/→, +/− and q.

use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pe_runtime::shutdown::Stopper;
use pe_runtime::terminal::{Line, Pen, Screen};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr};

use crate::control::Command;
use crate::engine::Handle;
use crate::report::Lateness;
use crate::timekeeper::SystemTime;
use crate::timestamp::{self, SECOND};

/// How often the line is drawn.
const EVERY: Duration = Duration::from_millis(200);
/// How far the arrows go, in source time at rate 1.
const STEP_SECONDS: f64 = 10.0;

/// The terminal as it was before keys were read.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Draws and listens until it is dropped.
pub(super) struct Live {
    _line: Line,
    drawing: tokio::task::JoinHandle<()>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.drawing.abort();
        restore_terminal();
    }
}

/// Begins to draw, if stderr is a terminal, and to read keys, if stdin is one.
pub(super) fn start(screen: &Screen, handle: Handle, stopper: Stopper) -> Option<Live> {
    let line = screen.line()?;
    let pen = line.pen();
    if let Some(before) = raw_mode() {
        *BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(before);
        let keys = handle.clone();
        std::thread::spawn(move || read_keys(&keys, &stopper));
    }
    Some(Live { _line: line, drawing: tokio::spawn(draw(pen, handle)) })
}

/// Gives the terminal back as it was.
pub(super) fn restore_terminal() {
    let before = BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(before) = before {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
}

/// Has keys come one by one and unseen. Ctrl-C stays what it is.
fn raw_mode() -> Option<Termios> {
    let stdin = std::io::stdin();
    if !isatty(&stdin) {
        return None;
    }
    let before = tcgetattr(&stdin).ok()?;
    let mut raw = before.clone();
    raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
    Some(before)
}

fn read_keys(handle: &Handle, stopper: &Stopper) {
    let (mut stdin, mut key) = (std::io::stdin().lock(), [0; 8]);
    while let Ok(size @ 1..) = stdin.read(&mut key) {
        let rate = handle.status.shown().1.map_or(1.0, |clock| clock.rate());
        let step = (STEP_SECONDS * rate * SECOND as f64) as i64;
        match &key[..size] {
            b" " => handle.send(Command::Toggle),
            b"\x1b[D" => handle.send(Command::Skip(-step)),
            b"\x1b[C" => handle.send(Command::Skip(step)),
            b"+" => handle.send(Command::Scale(2.0)),
            b"-" => handle.send(Command::Scale(0.5)),
            b"q" => return stopper.request(),
            _ => {}
        }
    }
}

async fn draw(pen: Pen, handle: Handle) {
    loop {
        pen.draw(|width| text(&handle, width));
        tokio::time::sleep(EVERY).await;
    }
}

fn text(handle: &Handle, width: usize) -> String {
    let (state, clock) = handle.status.shown();
    let at = clock.map_or_else(String::new, |clock| timestamp::show(clock.source_at(SystemTime::monotonic())));
    let rate = clock.map_or(1.0, |clock| clock.rate());
    let late = Lateness::of(&handle.late);
    let rows = handle.status.released.load(Ordering::Relaxed);
    let mut line =
        format!("{} {} ×{rate} · {rows} rows · late p99 {} ms", state.as_str(), at.get(..19).unwrap_or(&at), late.p99);
    for (name, tally, queue) in handle.lanes.iter() {
        let away = if tally.is_away.load(Ordering::Relaxed) { " (away)" } else { "" };
        line.push_str(&format!(" · {} {}{away}", name.split(':').next().unwrap_or(name), queue.marks().rows));
    }
    line.chars().take(width).collect()
}
