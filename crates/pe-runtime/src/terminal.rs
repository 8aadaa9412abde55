//! The terminal: whether there is one, its width, its colours, and the one line at its lower end that shows progress.
//! Piped output gets none of these.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use terminal_size::{Width, terminal_size_of};

/// A way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

impl Stream {
    /// Returns `true` if the stream is a terminal that can move its cursor.
    pub fn is_terminal(self) -> bool {
        let terminal = match self {
            Self::Out => io::stdout().is_terminal(),
            Self::Err => io::stderr().is_terminal(),
        };
        terminal && !matches!(variable("TERM").as_deref(), None | Some("" | "dumb"))
    }

    /// Returns `true` if the output may be coloured: on a terminal, unless NO_COLOR is set.
    pub fn is_coloured(self) -> bool {
        self.is_terminal() && variable("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// Returns the number of columns of the terminal, if there is one.
    pub fn width(self) -> Option<usize> {
        let size = match self {
            Self::Out => terminal_size_of(io::stdout()),
            Self::Err => terminal_size_of(io::stderr()),
        };
        size.map(|(Width(columns), _)| usize::from(columns)).filter(|_| self.is_terminal())
    }
}

#[allow(clippy::disallowed_methods, reason = "TERM and NO_COLOR belong to the terminal, as everywhere")]
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Colour of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Faint,
    Red,
    Green,
    Yellow,
    Blue,
}

impl Colour {
    /// Returns the word in this colour. Its width on the screen stays the same.
    pub fn paint(self, word: &str) -> String {
        let code = match self {
            Self::Faint => 2,
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Blue => 34,
        };
        format!("\u{1b}[{code}m{word}\u{1b}[0m")
    }
}

/// Stderr with one line at the lower end that can be redrawn. All other output to stderr must be written through this
/// type, so that it appears above the line.
#[derive(Clone, Default)]
pub struct Screen(Option<Arc<Mutex<Bottom>>>);

/// Line at the lower end.
#[derive(Default)]
struct Bottom {
    /// Empty if nothing does.
    shown: String,
    /// Owner of the line; only the latest owner may draw.
    owner: u64,
}

/// Control sequence that clears the line.
const WIPE: &str = "\r\u{1b}[K";

impl Screen {
    /// Returns a screen with a line, if stderr is a terminal.
    pub fn of_stderr() -> Self {
        Self(Stream::Err.is_terminal().then(Arc::default))
    }

    /// Returns a new line, if there is a terminal to draw it on.
    pub fn line(&self) -> Option<Line> {
        let mut bottom = lock(self.0.as_ref()?);
        bottom.owner += 1;
        Some(Line { screen: self.clone(), owner: bottom.owner })
    }

    /// Writes whole lines, above the one at the lower end.
    pub fn write(&self, lines: &[u8]) -> io::Result<()> {
        let Some(bottom) = &self.0 else { return io::stderr().write_all(lines) };
        let bottom = lock(bottom);
        match bottom.shown.as_str() {
            "" => io::stderr().write_all(lines),
            shown => io::stderr().write_all(&[WIPE.as_bytes(), lines, shown.as_bytes()].concat()),
        }
    }

    /// Leaves the terminal as it was, for a program that ends at once.
    pub fn leave(&self) {
        drop(self.line());
    }

    /// Draws the owner's line. Errors of a closed terminal are ignored.
    fn draw(&self, owner: u64, shown: String) {
        let Some(bottom) = &self.0 else { return };
        let mut bottom = lock(bottom);
        if bottom.owner == owner && (bottom.shown != shown) {
            drop(io::stderr().write_all(format!("{WIPE}{shown}").as_bytes()));
            bottom.shown = shown;
        }
    }

    /// Takes the owner's line away. Who draws it later draws nothing.
    fn close(&self, owner: u64) {
        self.draw(owner, String::new());
        if let Some(bottom) = &self.0 {
            let mut bottom = lock(bottom);
            bottom.owner += u64::from(bottom.owner == owner);
        }
    }
}

fn lock(bottom: &Mutex<Bottom>) -> MutexGuard<'_, Bottom> {
    bottom.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The line at the lower end, until this is dropped; nothing of it remains.
pub struct Line {
    screen: Screen,
    owner: u64,
}

impl Line {
    /// Returns a pen that draws the line.
    pub fn pen(&self) -> Pen {
        Pen { screen: self.screen.clone(), owner: self.owner }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.screen.close(self.owner);
    }
}

/// Draws a line as long as it is there.
#[derive(Clone)]
pub struct Pen {
    screen: Screen,
    owner: u64,
}

impl Pen {
    /// Draws the text that `line` returns for the terminal's width: without control characters, one column per
    /// character.
    pub fn draw(&self, line: impl FnOnce(usize) -> String) {
        // a full last column would make some terminals go on to the next line
        let room = Stream::Err.width().unwrap_or(80).saturating_sub(1);
        let shown: String = line(room).chars().take(room).collect();
        self.screen.draw(self.owner, shown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen() -> Screen {
        Screen(Some(Arc::default()))
    }

    fn shown(screen: &Screen) -> String {
        screen.0.as_ref().map(|bottom| lock(bottom).shown.clone()).unwrap_or_default()
    }

    #[test]
    fn a_line_is_its_owners_until_the_end_and_nothing_remains() {
        let screen = screen();
        let line = screen.line().expect("a terminal");
        let pen = line.pen();
        pen.draw(|_| "half".to_owned());
        assert_eq!(shown(&screen), "half");
        drop(line);
        assert_eq!(shown(&screen), "");
        pen.draw(|_| "too late".to_owned());
        assert_eq!(shown(&screen), "");
        let next = screen.line().expect("a terminal");
        pen.draw(|_| "still too late".to_owned());
        assert_eq!(shown(&screen), "");
        next.pen().draw(|_| "next".to_owned());
        assert_eq!(shown(&screen), "next");
    }

    #[test]
    fn a_line_fits() {
        let screen = screen();
        let line = screen.line().expect("a terminal");
        line.pen().draw(|room| "x".repeat(room + 5));
        assert_eq!(shown(&screen).len(), Stream::Err.width().unwrap_or(80) - 1);
    }

    #[test]
    fn without_a_terminal_there_is_no_line() {
        assert!(Screen::default().line().is_none());
    }

    #[test]
    fn colour_is_around_a_word() {
        assert_eq!(Colour::Red.paint("failed"), "\u{1b}[31mfailed\u{1b}[0m");
    }
}
