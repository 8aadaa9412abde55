//! Texts become values, and whatever is wrong with them is collected: each variable gets its sentence, with what to
//! write instead. A text itself is never repeated; a password may have landed in the wrong variable.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use crate::pairs;

/// Everything that is wrong with the configuration, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

/// What is wrong with one variable, and what to write there.
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

/// Collects faults while values are read. A value that is at fault becomes a stand-in that nobody will see.
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
                self.fault(variable, format!("neither True nor False. Write {variable}=True or {variable}=False"));
                false
            }
        }
    }

    pub(super) fn seconds(&mut self, variable: &'static str, text: &str, example: &str) -> Duration {
        let seconds: Option<f64> = text.parse().ok();
        let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        seconds.unwrap_or_else(|| {
            self.fault(variable, format!("not a number of seconds from 0 up. Write it like {variable}={example}"));
            Duration::ZERO
        })
    }

    /// A value whose error is the first half of a sentence and `hint` the second.
    pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(
        &mut self,
        variable: &'static str,
        text: &str,
        hint: &str,
    ) -> Option<T> {
        let parsed = text.parse().map_err(|wrong| self.fault(variable, format!("{wrong}. {hint}")));
        parsed.ok()
    }

    /// The settings of a room, which finds its own faults.
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

    /// Like [`Check::room`], for what cannot be left out; `hint` says what to write.
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

    /// `value`, if it is there and nothing was wrong.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Faults> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Faults(self.0)),
        }
    }
}
