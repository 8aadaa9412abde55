//! A setting that may differ from table to table: patterns over `schema.table`, of which the last that matches decides.

use std::fmt;
use std::str::FromStr;

/// Setting with a value for each table: a default, and values for patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerTable<T> {
    default: T,
    rules: Vec<(Pattern, T)>,
}

impl<T> PerTable<T> {
    /// Adds a pattern behind the others: where several match a table, the last one decides.
    pub fn add(&mut self, pattern: Pattern, value: T) {
        self.rules.push((pattern, value));
    }

    /// Returns the value for a table of the feed.
    pub fn of(&self, schema: &str, table: &str) -> &T {
        let name = format!("{schema}.{table}");
        self.rules.iter().rev().find(|(pattern, _)| pattern.matches(&name)).map_or(&self.default, |(_, value)| value)
    }
}

/// Pattern over `schema.table`: `*` matches any characters, `?` one, and `\` escapes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// Any number of characters.
    Many,
    /// One character, whichever.
    One,
    Is(char),
}

/// Reason for which a text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    #[error("it names no schema. Write schema and table, like dbo.orders or dbo.*")]
    NoDot,
    #[error("`{0}` has no meaning in a pattern, only * and ? have. Write \\{0} where a name has it")]
    Bracket(char),
    #[error("it ends with a single \\. Write \\\\ where a name has one")]
    OpenEnd,
}

impl FromStr for Pattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let (mut pieces, mut chars) = (Vec::new(), text.chars());
        while let Some(next) = chars.next() {
            pieces.push(match next {
                '*' => Piece::Many,
                '?' => Piece::One,
                '\\' => Piece::Is(chars.next().ok_or(BadPattern::OpenEnd)?),
                '[' | ']' | '{' | '}' => return Err(BadPattern::Bracket(next)),
                other => Piece::Is(other),
            });
        }
        match pieces.contains(&Piece::Is('.')) || pieces == [Piece::Many] {
            true => Ok(Self { text: text.to_owned(), pieces }),
            false => Err(BadPattern::NoDot),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    /// Returns `true` if the pattern matches the whole name.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut at, mut piece) = (0, 0);
        // Position of the last `*`, and the end of the characters that it has matched.
        let mut star: Option<(usize, usize)> = None;
        while at < name.len() {
            match self.pieces.get(piece) {
                Some(Piece::Many) => {
                    star = Some((piece, at));
                    piece += 1;
                }
                Some(Piece::One) => (at, piece) = (at + 1, piece + 1),
                Some(Piece::Is(wanted)) if *wanted == name[at] => (at, piece) = (at + 1, piece + 1),
                _ => match star {
                    Some((place, taken)) => {
                        star = Some((place, taken + 1));
                        (at, piece) = (taken + 1, place + 1);
                    }
                    None => return false,
                },
            }
        }
        self.pieces[piece..].iter().all(|piece| *piece == Piece::Many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn patterns_match_whole_names() {
        for (text, yes, no) in [
            ("dbo.orders", &["dbo.orders"][..], &["dbo.orders2", "xdbo.orders", "dbo.Orders", "dboxorders"][..]),
            ("dbo.*", &["dbo.", "dbo.a", "dbo.a.b"], &["db.a", "xdbo.a"]),
            ("*.orders", &["dbo.orders", "a.b.orders"], &["orders", "dbo.orders_"]),
            ("dbo.?", &["dbo.a", "dbo.ä"], &["dbo.", "dbo.ab"]),
            ("dbo.*_*_log", &["dbo.a_b_log", "dbo.a_b_c_log", "dbo.___log"], &["dbo.a_log", "dbo.a_b_logs"]),
            ("*.*", &["a.b"], &["ab"]),
            ("*", &["a.b"], &[]),
            (r"dbo.\*\[1\]", &["dbo.*[1]"], &["dbo.x[1]"]),
        ] {
            yes.iter().for_each(|name| assert!(pattern(text).matches(name), "{text} matches {name}"));
            no.iter().for_each(|name| assert!(!pattern(text).matches(name), "{text} does not match {name}"));
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, wanted) in [
            ("", BadPattern::NoDot),
            ("orders", BadPattern::NoDot),
            ("or*", BadPattern::NoDot),
            ("dbo.[ab]", BadPattern::Bracket('[')),
            ("dbo.{a,b}", BadPattern::Bracket('{')),
            ("dbo.a\\", BadPattern::OpenEnd),
        ] {
            assert_eq!(text.parse::<Pattern>(), Err(wanted), "{text}");
        }
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        let mut setting = PerTable::default();
        for (text, value) in [("dbo.*", 1), ("*.orders", 2), ("dbo.a*", 3)] {
            setting.add(pattern(text), value);
        }
        let of = |table: &str| *setting.of("dbo", table);
        assert_eq!((of("events"), of("orders"), of("a"), *setting.of("x", "y")), (1, 2, 3, 0));
    }
}
