//! Holds what flags and environment variables say, by the flag's name. `--from` is REPLAY_FROM, and `REPLAY_FROM_FILE` names a
//! file with it.

use std::collections::HashMap;

/// Values by name. There is no `Debug`: some hold passwords.
#[derive(Clone, Default)]
pub struct Env {
    given: HashMap<String, Vec<String>>,
    variables: HashMap<String, String>,
}

/// Variables that all programs share.
const SHARED: [&str; 3] = ["METRICS", "LOG_FORMAT", "KAFKA_OPTIONS"];

impl Env {
    /// Reads the variables of this process. What is not UTF-8 cannot be one of ours.
    #[allow(clippy::disallowed_methods, reason = "this is where the environment is read")]
    pub fn of_this_process() -> Self {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        Self::from_pairs(std::env::vars_os().map(|(name, value)| (text(name), text(value))))
    }

    /// Takes variables.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { given: HashMap::new(), variables: pairs.into_iter().collect() }
    }

    /// Sets what a flag says; a flag may come several times.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.given.entry(name.to_owned()).or_default().push(value.to_string());
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let plain = name.to_uppercase().replace('-', "_");
        let key = if SHARED.contains(&plain.as_str()) { plain } else { format!("REPLAY_{plain}") };
        self.variables.get(&key).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Returns a value that is given and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        match self.given.get(name).and_then(|values| values.last()) {
            Some(value) => Some(value.as_str()).filter(|value| !value.is_empty()),
            None => self.variable(name),
        }
    }

    /// Returns a value that may stand in a file.
    ///
    /// # Errors
    /// Fails if both are given, or the file cannot be read.
    pub fn secret(&self, name: &str) -> Result<Option<String>, String> {
        if let Some(flag) = self.given.get(name).and_then(|values| values.last()) {
            return Ok(Some(flag.clone()));
        }
        match (self.variable(name), self.variable(&format!("{name}-file"))) {
            (Some(_), Some(_)) => Err("both the variable and its _FILE are given: leave one out".to_owned()),
            (value, None) => Ok(value.map(str::to_owned)),
            (None, Some(path)) => {
                let read = std::fs::read_to_string(path);
                read.map(|text| Some(text.trim_end_matches(['\n', '\r']).to_owned()))
                    .map_err(|error| format!("cannot read {path}: {error}"))
            }
        }
    }

    /// Returns a list: a flag that came several times, or a variable with blanks between its parts.
    ///
    /// # Errors
    /// Fails as [`Env::secret`] does.
    pub fn list(&self, name: &str) -> Result<Vec<String>, String> {
        match self.given.get(name) {
            Some(values) => Ok(values.clone()),
            None => Ok(self.secret(name)?.unwrap_or_default().split_whitespace().map(str::to_owned).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        Env::from_pairs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn flags_win_over_variables() {
        let mut env = env(&[("REPLAY_RATE", "2"), ("REPLAY_TO", "console: file:x"), ("METRICS", "127.0.0.1:1")]);
        assert_eq!((env.get("rate"), env.get("metrics")), (Some("2"), Some("127.0.0.1:1")));
        assert_eq!(env.list("to"), Ok(vec!["console:".to_owned(), "file:x".to_owned()]));
        env.set("rate", 3);
        env.set("to", "nats://h/s");
        assert_eq!(env.get("rate"), Some("3"));
        assert_eq!(env.list("to"), Ok(vec!["nats://h/s".to_owned()]));
    }

    #[test]
    fn a_secret_stands_in_the_variable_or_in_a_file() {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), "url\n").expect("written");
        let path = file.path().display().to_string();
        assert_eq!(env(&[("REPLAY_FROM_FILE", &path)]).secret("from"), Ok(Some("url".to_owned())));
        assert!(env(&[("REPLAY_FROM_FILE", &path), ("REPLAY_FROM", "x")]).secret("from").is_err());
        assert!(env(&[("REPLAY_FROM_FILE", "/nowhere")]).secret("from").is_err());
    }
}
