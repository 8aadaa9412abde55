//! Reads `ENDPOINTS=file.toml`: groups of URLs by prefix, with secrets, concurrency and rate.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::gate::Limits;
use crate::attempt::Endpoint;
use crate::http::signature::SigningSecret;
use crate::http::target_url::TargetUrl;

/// The highest rate and concurrency that make sense; more is taken for a slip.
const MOST: usize = 100_000;

/// The groups of a file, the longest prefix first.
#[derive(Clone, Debug, Default)]
pub struct EndpointGroups(Vec<EndpointGroup>);

/// URLs that share secrets and limits.
#[derive(Clone, Debug)]
pub struct EndpointGroup {
    pub endpoint: Endpoint,
    prefix: TargetUrl,
    pub secrets: Vec<SigningSecret>,
    pub limits: Limits,
}

/// Everything that is wrong with the file. No secret is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ENDPOINTS {path}: {}", .faults.join(" "))]
pub struct BadEndpoints {
    path: PathBuf,
    pub faults: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    endpoint: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    prefix: String,
    #[serde(default)]
    secrets: Vec<String>,
    #[serde(default)]
    secret_files: Vec<PathBuf>,
    concurrency: Option<i64>,
    rate: Option<f64>,
}

impl EndpointGroups {
    /// Reads the file and the secrets that it names. A relative path of a secret is relative to the file.
    pub fn load(path: &Path) -> Result<Self, BadEndpoints> {
        let bad = |faults| BadEndpoints { path: path.to_owned(), faults };
        let text = std::fs::read_to_string(path).map_err(|error| bad(vec![format!("cannot be read: {error}.")]))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new(""))).map_err(bad)
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, Vec<String>> {
        let file: File = basic_toml::from_str(text).map_err(|error| vec![without_quotes(&error.to_string())])?;
        let mut faults = Vec::new();
        let mut groups = Vec::new();
        for (number, entry) in file.endpoint.into_iter().enumerate() {
            let group = entry.group(folder);
            match group {
                Ok(group) => groups.push(group),
                Err(found) => {
                    faults.extend(found.into_iter().map(|fault| format!("endpoint {}: {fault}", number + 1)));
                }
            }
        }
        groups.sort_by_key(|group: &EndpointGroup| std::cmp::Reverse(group.endpoint.as_str().len()));
        faults.extend(repeated(&groups));
        if faults.is_empty() { Ok(Self(groups)) } else { Err(faults) }
    }

    /// Returns how many groups there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns `true` if there is no group.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the group with the longest prefix of `url`.
    pub fn of(&self, url: &TargetUrl) -> Option<&EndpointGroup> {
        self.0.iter().find(|group| url.is_below(&group.prefix))
    }

    /// Returns the group that is called `endpoint`.
    pub fn named(&self, endpoint: &Endpoint) -> Option<&EndpointGroup> {
        self.0.iter().find(|group| group.endpoint == *endpoint)
    }
}

/// Returns the parser's message without the text that it quotes: a misplaced value may be a secret.
fn without_quotes(message: &str) -> String {
    let parts = message.split('"').enumerate();
    let shown: String = parts.map(|(number, part)| if number % 2 == 0 { part } else { "…" }).collect();
    format!("{shown}.")
}

fn repeated(groups: &[EndpointGroup]) -> Vec<String> {
    let pairs = groups.iter().zip(groups.iter().skip(1));
    let same = pairs.filter(|(one, next)| one.endpoint == next.endpoint);
    same.map(|(one, _)| format!("the prefix {} stands there twice.", one.endpoint)).collect()
}

impl Entry {
    fn group(self, folder: &Path) -> Result<EndpointGroup, Vec<String>> {
        let mut faults = Vec::new();
        let concurrency = self.concurrency.map(|given| usize::try_from(given).unwrap_or(0));
        if concurrency.is_some_and(|given| !(1..=MOST).contains(&given)) {
            faults.push(format!("concurrency is a number from 1 to {MOST}."));
        }
        if self.rate.is_some_and(|rate| !(0.001..=100_000.0).contains(&rate)) {
            faults.push("rate is a number of requests per second from 0.001 to 100000.0.".to_owned());
        }
        let (secrets, bad) = self.read_secrets(folder);
        faults.extend(bad);
        match TargetUrl::parse(&self.prefix) {
            Ok(prefix) if faults.is_empty() => {
                let endpoint = Endpoint::new(&prefix.to_string());
                Ok(EndpointGroup { endpoint, prefix, secrets, limits: Limits { concurrency, rate: self.rate } })
            }
            Ok(_) => Err(faults),
            Err(reason) => {
                faults.push(format!("prefix: {}", reason.text));
                Err(faults)
            }
        }
    }

    fn read_secrets(&self, folder: &Path) -> (Vec<SigningSecret>, Vec<String>) {
        let (mut secrets, mut faults) = (Vec::new(), Vec::new());
        for (number, text) in self.secrets.iter().enumerate() {
            match SigningSecret::parse(text) {
                Ok(secret) => secrets.push(secret),
                Err(fault) => faults.push(format!("secret {} {fault}.", number + 1)),
            }
        }
        for path in &self.secret_files {
            let path = folder.join(path);
            match std::fs::read_to_string(&path) {
                Ok(text) => match SigningSecret::parse(&text) {
                    Ok(secret) => secrets.push(secret),
                    Err(fault) => faults.push(format!("the secret in {} {fault}.", path.display())),
                },
                Err(error) => faults.push(format!("the secret file {} cannot be read: {error}.", path.display())),
            }
        }
        (secrets, faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn groups(text: &str) -> Result<EndpointGroups, Vec<String>> {
        EndpointGroups::parse(text, Path::new("."))
    }

    fn of(groups: &EndpointGroups, url: &str) -> Option<String> {
        groups.of(&TargetUrl::parse(url).expect(url)).map(|group| group.endpoint.to_string())
    }

    #[test]
    fn the_longest_prefix_at_a_segment_of_the_same_server_decides() {
        let groups = groups(
            "[[endpoint]]\nprefix = \"https://h.example\"\n[[endpoint]]\nprefix = \"https://h.example/a\"\nrate = 5.0",
        );
        let groups = groups.expect("groups");
        assert_eq!(of(&groups, "https://h.example/a/b?x").as_deref(), Some("https://h.example/a"));
        assert_eq!(of(&groups, "https://h.example/ab").as_deref(), Some("https://h.example/"));
        assert_eq!(of(&groups, "https://h.example.evil.example/a"), None);
        assert_eq!(of(&groups, "http://h.example/a"), None);
    }

    #[test]
    fn secrets_are_read_from_the_file_and_from_files_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("old"), format!("{SECRET}\n")).expect("written");
        let path = folder.path().join("endpoints.toml");
        let text =
            format!("[[endpoint]]\nprefix = \"https://h\"\nsecrets = [\"{SECRET}\"]\nsecret_files = [\"old\"]\n");
        std::fs::write(&path, text).expect("written");
        let groups = EndpointGroups::load(&path).expect("groups");
        assert_eq!(groups.0[0].secrets.len(), 2);
        assert!(!format!("{groups:?}").contains("MfKQ"));
    }

    #[test]
    fn all_faults_are_told_at_once_and_no_secret_is_repeated() {
        let faults = groups(
            "[[endpoint]]\nprefix = \"h\"\nsecrets = [\"hunter2hunter2\"]\nconcurrency = 0\nrate = -1.0\n\
             [[endpoint]]\nprefix = \"https://h\"\nsecret_files = [\"/nowhere/secret\"]\nconcurrency = -4\n",
        );
        let faults = faults.expect_err("faults").join("\n");
        for part in [
            "endpoint 1: prefix: the URL has no scheme",
            "endpoint 1: secret 1 does not begin with whsec_",
            "endpoint 1: concurrency is",
            "endpoint 1: rate is",
            "endpoint 2: the secret file /nowhere/secret cannot be read",
            "endpoint 2: concurrency is",
        ] {
            assert!(faults.contains(part), "{part} in {faults}");
        }
        assert!(!faults.contains("hunter2"));
    }

    #[test]
    fn unknown_keys_repeated_prefixes_and_broken_files_are_faults() {
        let faults = |text: &str| groups(text).expect_err(text).join(" ");
        assert!(faults("[[endpoint]]\nprefix = \"https://h\"\nsecret = \"x\"").contains("unknown field `secret`"));
        assert!(
            faults("[[endpoint]]\nprefix = \"https://h\"\n[[endpoint]]\nprefix = \"https://H:443/\"").contains("twice")
        );
        assert!(faults("[[endpoint]]\nprefix = ").contains("line 2"));
        let misplaced = faults(&format!("[[endpoint]]\nprefix = \"https://h\"\nsecrets = \"{SECRET}\""));
        assert!(misplaced.contains("line 3") || misplaced.contains("secrets"), "{misplaced}");
        assert!(!misplaced.contains("MfKQ"), "{misplaced}");
        assert!(faults("[[endpoint]]\nrate = 1.0").contains("missing field `prefix`"));
        let gone = EndpointGroups::load(Path::new("/nowhere/e.toml")).expect_err("gone").to_string();
        assert!(gone.starts_with("ENDPOINTS /nowhere/e.toml: cannot be read"), "{gone}");
    }
}
