//! Text form of the report: a mark, the thing and the finding, and below it the advice. On a terminal the lines are
//! wrapped; elsewhere they are not, so that scripts can parse them.

use std::io::{Result, Write};

use super::report::{Line, Mark, Report};
use crate::commands::term_format::{self, OutputStyle};

pub(super) fn print(report: &Report, look: OutputStyle, out: &mut impl Write) -> Result<()> {
    for line in &report.lines {
        writeln!(out, "{} {}", mark(line.mark, look), look.beside(&words(line), MARK, MARK + 2))?;
        if let Some(hint) = &line.hint {
            writeln!(out, "{:MARK$}{}", "", look.beside(hint, MARK, MARK + 2))?;
        }
    }
    let (failed, warned) = (report.count(Mark::Fail) as u64, report.count(Mark::Warn) as u64);
    writeln!(out, "\n{} failed, {}.", term_format::count(failed, "check"), term_format::count(warned, "warning"))
}

fn words(line: &Line) -> String {
    match (line.part.word(), line.thing.as_str()) {
        (part, "") => format!("{part}: {}", line.found),
        (part, thing) => format!("{part}, {thing}: {}", line.found),
    }
}

/// A mark and a blank.
const MARK: usize = 6;

/// Pads the mark to the widest one.
fn mark(mark: Mark, look: OutputStyle) -> String {
    look.status(&format!("{:5}", mark.word()))
}

#[cfg(test)]
mod tests {
    use super::super::report::Part;
    use super::*;
    use crate::loader::service::End;

    fn printed(coloured: bool) -> String {
        let mut report = Report::default();
        report.ok(Part::Configuration, "", "no fault");
        report.warn(Part::Source, "list", "nothing", "wait");
        report.fail(Part::Target, "dbo.e\u{1b}", "no", "do", End::Stopped);
        let mut out = Vec::new();
        print(&report, OutputStyle { coloured, ..OutputStyle::PIPED }, &mut out).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_line_is_a_mark_a_thing_and_what_was_found() {
        let wanted = "ok    configuration: no fault\nwarn  source, list: nothing\n      wait\n\
                      FAIL  target, dbo.e\\u{1b}: no\n      do\n\n1 check failed, 1 warning.\n";
        assert_eq!(printed(false), wanted);
    }

    #[test]
    fn a_terminal_gets_lines_that_fit() {
        let mut report = Report::default();
        report.warn(Part::Target, "dbo.e", "one two three four five", "six seven eight nine");
        let mut out = Vec::new();
        print(&report, OutputStyle { columns: Some(30), ..OutputStyle::PIPED }, &mut out).expect("written");
        let wanted = "warn  target, dbo.e: one two\n        three four five\n      six seven eight nine\n\n";
        assert_eq!(String::from_utf8(out).expect("text"), format!("{wanted}0 checks failed, 1 warning.\n"));
    }

    #[test]
    fn colour_is_only_around_the_mark() {
        let wanted = printed(false)
            .replace("ok   ", "\u{1b}[32mok   \u{1b}[0m")
            .replace("warn ", "\u{1b}[33mwarn \u{1b}[0m")
            .replace("FAIL ", "\u{1b}[31mFAIL \u{1b}[0m");
        assert_eq!(printed(true), wanted);
    }
}
