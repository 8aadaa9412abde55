//! Formats output for the terminal: wrapped lines, sizes, and bytes that may be anything.

pub(super) use crate::status::words::{count, size};
use crate::terminal::{Colour, Stream};
use crate::visible;

/// Minimum width of a terminal.
pub(super) const WIDTH: usize = 80;

/// Style of the output on stdout.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutputStyle {
    /// Maximum width of a table.
    pub width: usize,
    /// Width of the terminal, if there is one.
    pub columns: Option<usize>,
    pub coloured: bool,
}

impl OutputStyle {
    #[cfg(test)]
    pub(super) const PIPED: Self = Self { width: WIDTH, columns: None, coloured: false };

    /// Returns the style of stdout. Output that is piped has the minimum width and no colour.
    pub(super) fn of_stdout() -> Self {
        let columns = Stream::Out.width();
        Self { width: columns.unwrap_or(WIDTH).max(WIDTH), columns, coloured: Stream::Out.is_coloured() }
    }

    /// Wraps text like [`wrapped`], to the width of a narrower terminal too.
    pub(super) fn wrapped(self, words: &str, indent: usize) -> String {
        self.hanging(words, indent, indent)
    }

    /// Wraps text; all lines but the first are indented by `indent`.
    pub(super) fn hanging(self, words: &str, first: usize, indent: usize) -> String {
        wrapped_to(words, first, indent, self.columns.map_or(WIDTH, |columns| columns.min(WIDTH)))
    }

    /// Wraps text beside something that takes `taken` columns; without a terminal it is one line.
    pub(super) fn beside(self, words: &str, taken: usize, indent: usize) -> String {
        let lines = wrapped_to(words, taken, indent, self.columns.unwrap_or(usize::MAX));
        lines.get(taken..).unwrap_or_default().to_owned()
    }

    /// Colours a status word that has been padded.
    pub(super) fn status(self, word: &str) -> String {
        let colour = match word.trim() {
            "loaded" | "ok" => Colour::Green,
            "failed" | "FAIL" => Colour::Red,
            "held" | "late" | "gone" | "warn" => Colour::Yellow,
            "skipped" | "pending" => Colour::Faint,
            "retry" | "released" => Colour::Blue,
            _ => return word.to_owned(),
        };
        if self.coloured { colour.paint(word) } else { word.to_owned() }
    }
}

/// Escapes control characters and truncates the text to `width` characters.
pub(super) fn line(text: &str, width: usize) -> String {
    cut(&visible::text(text), width)
}

/// Formats bytes like [`line`]; bytes that are not UTF-8 are shown as `\xff`.
pub(super) fn bytes(raw: &[u8], width: usize) -> String {
    let mut shown = String::new();
    for chunk in raw.utf8_chunks() {
        shown.push_str(&line(chunk.valid(), usize::MAX));
        chunk.invalid().iter().for_each(|byte| shown.push_str(&format!("\\x{byte:02x}")));
    }
    cut(&shown, width)
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// Truncates a text in the middle, because a key's end is its file name.
pub(super) fn middle(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let head = (width - 1) / 3;
    let tail = text.chars().skip(length - (width - 1 - head));
    text.chars().take(head).chain(['…']).chain(tail).collect()
}

/// Wraps text to [`WIDTH`], indents each line and escapes control characters. A word that is longer than a line gets
/// its own line.
pub(super) fn wrapped(words: &str, indent: usize) -> String {
    wrapped_to(words, indent, indent, WIDTH)
}

/// Wraps text to `width`, with indents for the first line and for the others.
pub(super) fn wrapped_to(words: &str, first: usize, indent: usize, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in visible::text(words).split(' ') {
        let last = lines.last().map_or(0, |line| line.chars().count());
        let indent = if lines.len() == 1 { first } else { indent };
        match lines.last_mut() {
            Some(line) if last > 0 && indent + last + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(line) if last == 0 => line.push_str(word),
            _ => lines.push(word.to_owned()),
        }
    }
    let indents = std::iter::once(first).chain(std::iter::repeat(indent));
    let lines: Vec<String> = indents.zip(&lines).map(|(indent, line)| format!("{:indent$}{line}", "")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor_and_everything_fits() {
        assert_eq!(line("a\tb\u{1b}[31m\né", 80), "a\\tb\\u{1b}[31m\\né");
        assert_eq!(line("abcdef", 6), "abcdef");
        assert_eq!(line("abcdefg", 6), "abcde…");
        assert_eq!(bytes(b"2,\xff\xfe,\0,\xc3\xa9\n", 80), "2,\\xff\\xfe,\\u{0},é\\n");
        assert_eq!(bytes(b"abcdefg", 3), "ab…");
        assert_eq!((middle("abcdéfghi", 9).as_str(), middle("abcdéfghij", 9).as_str()), ("abcdéfghi", "ab…éfghij"));
    }

    #[test]
    fn words_are_wrapped_and_long_ones_kept() {
        let text = format!("{} {}", "four ".repeat(20).trim(), "k".repeat(90));
        let shown = wrapped(&text, 2);
        let lines: Vec<usize> = shown.lines().map(|line| line.chars().count()).collect();
        assert_eq!(lines, [76, 26, 92], "{shown}");
        assert!(shown.lines().all(|line| line.starts_with("  f") || line.starts_with("  k")));
    }
}
