//! The files of `deploy` and the page agree with each other: variables, ports, periods and links.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn page() -> String {
    read("../../docs/timer.md")
}

/// The variables of the page's table.
fn documented() -> BTreeSet<String> {
    let page = page();
    let (_, table) = page.split_once("\n## Variables\n").expect("the variables");
    let (table, _) = table.split_once("\n## ").expect("an end");
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    cells.flat_map(|cell| cell.split(['`', ',', ' '])).filter(|word| is_variable(word)).map(str::to_owned).collect()
}

fn is_variable(word: &str) -> bool {
    word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// The variables that a file gives to the timer.
fn set_in(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches("# ").trim_start_matches("- { name: "));
    lines.filter_map(|line| line.split([':', ',']).next()).filter(|word| is_variable(word)).map(str::to_owned).collect()
}

#[test]
fn every_variable_that_a_deployment_sets_is_documented() {
    let documented = documented();
    assert!(documented.contains("TIMER_DB") && documented.len() > 15, "{documented:?}");
    let compose = read("deploy/compose.yaml");
    let (timer, _) = compose.split_once("\n  mariadb:\n").expect("the timer comes first");
    for text in [read("deploy/kubernetes.yaml"), read("deploy/secret.example.yaml"), timer.to_owned()] {
        let set = set_in(&text);
        assert!(!set.is_empty() && set.is_subset(&documented), "{:?}", set.difference(&documented));
    }
}

#[test]
fn the_sample_has_every_variable_of_the_page() {
    let sample = read("deploy/timer.env.sample");
    let names = sample.lines().filter_map(|line| line.trim_start_matches("# ").split_once('=')).map(|(name, _)| name);
    let sample: BTreeSet<String> = names.filter(|name| is_variable(name)).map(str::to_owned).collect();
    assert_eq!(sample, documented());
}

#[test]
fn every_file_speaks_of_one_port_and_waits_longer_than_a_stop() {
    let kubernetes = read("deploy/kubernetes.yaml");
    for words in
        ["containerPort: 9465", "value: \"0.0.0.0:9465\"", "prometheus.io/port: \"9465\"", "protocol: TCP, port: 9465"]
    {
        assert!(kubernetes.contains(words), "{words}");
    }
    assert!(kubernetes.contains("terminationGracePeriodSeconds: 30\n"));
    assert!(read("deploy/compose.yaml").contains("stop_grace_period: 30s"));
    let image = format!("image: paper-engine-orders:{}\n", env!("CARGO_PKG_VERSION"));
    assert!(kubernetes.contains(&image));
}

#[test]
fn the_page_leads_to_every_file_and_alerts_lead_to_the_page() {
    let page = page();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(page.contains(&format!("](../crates/paper-engine-timer/deploy/{name})")), "{name}");
    }
    let anchors: BTreeSet<String> = page.lines().filter_map(|line| line.strip_prefix("## ")).map(anchor).collect();
    let alerts = read("deploy/alerts.yml");
    let runbooks: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("runbook: ")).collect();
    assert_eq!(runbooks.len(), alerts.matches("- alert: ").count());
    for runbook in runbooks {
        let anchor = runbook.strip_prefix("docs/timer.md#").expect("the timer's page");
        assert!(anchors.contains(anchor), "{runbook}");
    }
}

/// Returns `true` for the words of the page that look like tests and are something else.
fn is_column(word: &str) -> bool {
    word.starts_with("timer_") || word.ends_with("_total") || word.ends_with("_seconds")
}

fn anchor(title: &str) -> String {
    title.to_lowercase().replace(' ', "-")
}

#[test]
fn the_tests_that_the_page_names_are_there() {
    let mut code = String::new();
    let mut folders = ["src", "tests"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => code.push_str(&std::fs::read_to_string(path).expect("text")),
            }
        }
    }
    let page = page();
    let named = page.split('`').filter(|word| {
        word.matches('_').count() >= 3 && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    });
    let named: Vec<&str> = named.collect();
    let named: Vec<&str> = named.into_iter().filter(|word| !is_column(word)).collect();
    assert!(named.len() > 50, "{named:?}");
    for name in named {
        assert!(code.contains(&format!("fn {name}(")) || code.contains(&format!("fn {name}<")), "{name}");
    }
}

#[test]
fn the_dashboard_is_what_its_script_writes() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/dashboard.py");
    let checked = Command::new("python3").arg("-B").arg(script).arg("--check").output().expect("python3");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
