//! The words of the rows: names, remarks, parameters. Most remarks are plain; a few are what breaks a
//! reader: the empty text, the text `NULL`, commas, quotes, line ends, letters beyond ASCII.

use super::{cells::Cells, mix::Draws};

/// Appends a remark: mostly null, sometimes a text, sometimes an unusual one.
pub(super) fn remark(draws: &mut Draws, cells: &mut Cells<'_>) {
    match draws.below(64) {
        0 | 1 => cells.text(draws.pick(ODD)),
        2..12 => cells.text(draws.pick(PLAIN)),
        _ => cells.null(),
    }
}

/// Appends one of the remarks that break careless readers.
pub(super) fn odd(draws: &mut Draws, cells: &mut Cells<'_>) {
    cells.text(draws.pick(ODD));
}

pub(super) const BROKERS: &[&str] = &["paper-asia", "paper-eu", "paper-us", "simulated"];

pub(super) const STYLES: &[&str] = &[
    "breakout",
    "calendar spread",
    "carry",
    "index basket",
    "market making",
    "mean reversion",
    "momentum",
    "pairs",
    "volatility",
];

const PLAIN: &[&str] = &["by hand", "end of day", "filled in parts", "hedge", "rebalance", "roll to next month"];

const ODD: &[&str] = &[
    "",
    "",
    "NULL",
    "null",
    "\\N",
    "stop, then limit",
    "\"fill or kill\" asked for",
    "\"",
    "first line\nsecond line",
    "sent\r\nagain",
    "Stückzahl geprüft",
    "größer als üblich 📈",
    " kept as it is ",
    "a\ttab; a semicolon | a bar",
];
