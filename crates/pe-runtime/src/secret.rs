//! Text that must never be shown. Every password is held as a [`Secret`], so that no `Debug`, error or log line can
//! reveal it by accident; only [`Secret::expose`] does.

use std::fmt;

/// Text that prints as `***`. An empty secret prints the same, because even that is information.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Returns the text itself, for the one place that sends it to a server.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_printing_shows_the_text() {
        let secret = Secret::from("hunter2".to_owned());
        for printed in
            [format!("{secret}"), format!("{secret:?}"), format!("{:#?}", Some(&secret)), format!("{secret:>20}")]
        {
            assert!(printed.contains("***"), "{printed}");
            assert!(!printed.contains("hunter2"), "{printed}");
        }
    }

    #[test]
    fn expose_gives_it_back_and_the_default_is_empty() {
        assert_eq!(Secret::from("hunter2".to_owned()).expose(), "hunter2");
        assert_eq!(Secret::default().expose(), "");
    }
}
