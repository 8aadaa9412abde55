//! Parses the variables and collects their errors, each with the variable and the correct form. A text is quoted in
//! an error only if it is obviously a slip, because a password may be in the wrong variable.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use crate::pairs;

/// All errors of the configuration, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

/// Error of one variable, with the correct form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub variable: &'static str,
    pub message: String,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            let end = if at > 0 { "\n" } else { "" };
            write!(f, "{end}{}: {}.", fault.variable, fault.message.trim_end_matches('.'))?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Collects errors while values are parsed. An invalid value is replaced by a placeholder that is never used.
#[derive(Default)]
pub(super) struct Check(Vec<Fault>);

impl Check {
    pub(super) fn fault(&mut self, variable: &'static str, message: impl Into<String>) {
        let message = message.into();
        self.0.push(Fault { variable, message });
    }

    pub(super) fn flag(&mut self, variable: &'static str, text: &str) -> bool {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => true,
            "false" | "0" | "no" => false,
            _ => {
                let wrong = told(text, &["true", "false", "yes", "no"], "neither True nor False");
                self.fault(variable, format!("{wrong}. Write {variable}=True or {variable}=False"));
                false
            }
        }
    }

    pub(super) fn seconds(&mut self, variable: &'static str, text: &str, example: &str) -> Duration {
        let seconds: Option<f64> = text.parse().ok();
        let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        seconds.unwrap_or_else(|| {
            let wrong = told(text, &[], "not a number of seconds from 0 up");
            self.fault(variable, format!("{wrong}. Write it like {variable}={example}"));
            Duration::ZERO
        })
    }

    /// Parses a value. If it is invalid, `wrong` describes the error and `hint` the correct form.
    pub(super) fn parsed<T: FromStr>(
        &mut self,
        variable: &'static str,
        text: &str,
        wrong: &str,
        hint: &str,
    ) -> Option<T> {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.fault(variable, format!("{}. {hint}", told(text, &[], wrong)));
        }
        parsed
    }

    /// Parses settings that collect their own errors.
    pub(super) fn room<T: FromStr<Err = pairs::Faults>>(&mut self, variable: &'static str, text: &str) -> Option<T> {
        match text.parse() {
            Ok(settings) => Some(settings),
            Err(pairs::Faults(messages)) => {
                for message in messages {
                    self.fault(variable, message);
                }
                None
            }
        }
    }

    /// Parses settings like [`Check::room`] that are mandatory; `hint` is the correct form.
    pub(super) fn needed<T: FromStr<Err = pairs::Faults>>(
        &mut self,
        variable: &'static str,
        text: &str,
        hint: &str,
    ) -> Option<T> {
        if text.is_empty() {
            self.fault(variable, format!("empty. {hint}"));
            return None;
        }
        self.room(variable, text)
    }

    /// Postgres cuts longer names, and the cut one would be looked for in vain.
    pub(super) fn name(&mut self, variable: &'static str, text: &str) -> String {
        if text.len() > 63 {
            self.fault(variable, "longer than a name in Postgres can be. Write at most 63 bytes");
        }
        text.to_owned()
    }

    pub(super) fn readable(&mut self, variable: &'static str, what: &str, path: Option<&Path>) {
        let opened = path.map(File::open).transpose();
        if let Err(error) = opened {
            self.fault(variable, format!("the file of {what} cannot be read: {error}. Write the path of a file there"));
        }
    }

    /// Returns `value` if it is there and no error was found.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Faults> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Faults(self.0)),
        }
    }
}

/// Returns the error about a text, with the text itself if it cannot be a password.
pub(super) fn told(text: &str, words: &[&str], wrong: &str) -> String {
    if is_slip(text, words) { format!("{text:?} is {wrong}") } else { wrong.to_owned() }
}

/// Returns `true` if the text looks like a misspelt word or number: it is short, similar to a word, or mostly digits.
fn is_slip(text: &str, words: &[&str]) -> bool {
    let lower = text.to_ascii_lowercase();
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let number = |c: char| c.is_ascii_alphanumeric() || ".,:%+-[] ".contains(c);
    let numeric = text.len() <= 21 && 2 * digits >= text.len() && text.chars().all(number);
    let near = |word: &&str| distance(&lower, word) <= 2 && lower.bytes().all(|byte| byte.is_ascii_lowercase());
    text.len() <= 3 || numeric || words.iter().any(near)
}

/// Returns the number of characters by which two words differ.
pub(super) fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (above, a) in one.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], above + 1);
        for (at, b) in other.chars().enumerate() {
            let changed = corner + usize::from(a != b);
            corner = row[at + 1];
            row[at + 1] = changed.min(corner + 1).min(row[at] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{distance, is_slip};

    #[test]
    fn words_differ_in_some_characters() {
        for (one, other, wanted) in [("", "", 0), ("stop", "", 4), ("quarantin", "quarantine", 1), ("jsno", "json", 2)]
        {
            assert_eq!((distance(one, other), distance(other, one)), (wanted, wanted), "{one} {other}");
        }
    }

    #[test]
    fn a_slip_is_told_from_a_password() {
        for slip in ["quarantin", "Stopp", "on", "15s", "101%", "9464", "1_", "127.0.0.1:99999"] {
            assert!(is_slip(slip, &["stop", "quarantine"]), "{slip}");
        }
        for secret in ["hunter2", "stop=1", "nats://1:2@3:4", "correct horse", "1234567890123456789012"] {
            assert!(!is_slip(secret, &["stop", "quarantine"]), "{secret}");
        }
    }
}
