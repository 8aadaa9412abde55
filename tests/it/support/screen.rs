//! A terminal for the program: what it would show to a person who sits there. `script` makes it, as wide as is wished.

use std::process::Command;

/// What a terminal showed.
#[derive(Debug)]
pub struct Shown {
    pub code: i32,
    /// every byte that came
    pub raw: String,
}

impl Shown {
    /// What stands on the screen in the end: a line that was wiped is gone.
    pub fn text(&self) -> String {
        let mut lines: Vec<String> = vec![String::new()];
        for part in self.raw.replace("\r\n", "\n").split_inclusive('\n') {
            let seen = part.rsplit("\r\u{1b}[K").next().unwrap_or_default();
            if seen.len() < part.len() {
                lines.last_mut().expect("a line").clear();
            }
            lines.last_mut().expect("a line").push_str(seen.trim_end_matches('\n'));
            if seen.ends_with('\n') {
                lines.push(String::new());
            }
        }
        lines.join("\n")
    }

    /// The lines that were drawn over others.
    pub fn drawn(&self) -> Vec<&str> {
        let after = self.raw.split("\r\u{1b}[K").skip(1);
        after.map(|part| part.split(['\r', '\n']).next().unwrap_or_default()).collect()
    }
}

/// Runs it on a terminal of so many columns.
pub async fn on_terminal(command: Command, columns: u16) -> Shown {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted: Vec<String> =
        words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))).collect();
    let typed = tempfile::NamedTempFile::new().expect("a file");
    let path = typed.path().to_owned();
    let mut script = Command::new("script");
    script.args([
        "--quiet",
        "--return",
        "--command",
        &format!("stty cols {columns} rows 24; exec {}", quoted.join(" ")),
    ]);
    script.arg(&path).env_clear().env("PATH", std::env::var("PATH").expect("PATH")).env("TERM", "xterm");
    // sh, not the shell of whoever runs the tests
    script.env("SHELL", "/bin/sh").stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => _ = script.env(name, value),
            None => _ = script.env_remove(name),
        }
    }
    let out =
        tokio::task::spawn_blocking(move || script.output().expect("script, of util-linux")).await.expect("joined");
    Shown { code: out.status.code().unwrap_or(-1), raw: String::from_utf8_lossy(&out.stdout).into_owned() }
}
