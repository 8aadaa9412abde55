//! Holds the environment as it is: names and texts. Quotes around a value, which some readers of env-files keep, are taken off.

use std::collections::HashMap;

/// Variables by name. There is no `Debug`: some hold passwords.
#[derive(Clone, Default)]
pub struct Env(HashMap<String, String>);

impl Env {
    /// Reads the variables of this process. What is not UTF-8 cannot be a variable of the timer, so it need not be whole.
    #[allow(clippy::disallowed_methods, reason = "this is where the environment is read")]
    pub fn of_this_process() -> Self {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        Self::from_pairs(std::env::vars_os().map(|(name, value)| (text(name), text(value))))
    }

    /// Takes pairs of name and value.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name, plain(&value).to_owned())).collect())
    }

    /// Sets what a flag says.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.0.insert(name.to_owned(), value.to_string());
    }

    /// Returns a variable that is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    /// Returns a variable that is there, be it empty.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns a variable, or what stands in the file that `NAME_FILE` names.
    pub fn secret(&self, name: &str) -> Result<Option<String>, String> {
        let file = format!("{name}_FILE");
        match (self.given(name), self.get(&file)) {
            (Some(_), Some(_)) => Err(format!("{name} and {file} are both given: leave one out")),
            (Some(value), None) => Ok(Some(value.to_owned())),
            (None, None) => Ok(None),
            (None, Some(path)) => {
                let read = std::fs::read_to_string(path);
                read.map(|text| Some(text.trim_end_matches(['\n', '\r']).to_owned()))
                    .map_err(|error| format!("{file}: cannot read {path}: {error}"))
            }
        }
    }
}

fn plain(value: &str) -> &str {
    let value = value.trim();
    let within = |quote| value.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    within('"').or_else(|| within('\'')).unwrap_or(value).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_stands_in_the_variable_or_in_a_file() {
        let folder = std::env::temp_dir().join(format!("timer-env-{}", std::process::id()));
        std::fs::write(&folder, "hunter2\n").expect("file");
        let path = folder.display().to_string();
        let env = |pairs: &[(&str, &str)]| {
            Env::from_pairs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
        };
        assert_eq!(env(&[("P", "'x'")]).secret("P"), Ok(Some("x".to_owned())));
        assert_eq!(env(&[("P_FILE", &path)]).secret("P"), Ok(Some("hunter2".to_owned())));
        assert_eq!(env(&[]).secret("P"), Ok(None));
        assert!(env(&[("P", "x"), ("P_FILE", &path)]).secret("P").is_err());
        std::fs::remove_file(&folder).expect("removed");
        assert!(env(&[("P_FILE", &path)]).secret("P").expect_err("gone").contains("P_FILE"));
    }
}
