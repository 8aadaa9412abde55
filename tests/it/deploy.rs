//! The files of `deploy/` and the program agree: variables, ports, paths, arguments and exit codes that they name are the
//! program's own. Whether they are well formed is `just pack`'s affair.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use paper_engine_orders::loader::service::End;

use crate::service::{get, ops_port};
use crate::support::World;
use crate::support::program::{program, run, start};

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below, as `deploy/…`; those that begin with a dot are not the repository's.
fn files_below(folder: &str) -> Vec<PathBuf> {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(whole).expect("a folder").map(|entry| entry.expect("an entry"));
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{folder}/{name}");
        if name.starts_with('.') {
            continue;
        }
        match entry.file_type().expect("a type").is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(PathBuf::from(path)),
        }
    }
    found
}

/// A file's lines without those that only comment.
fn said(path: impl AsRef<Path>) -> String {
    let text = read(path);
    text.lines().filter(|line| !line.trim_start().starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// The variables of config.env.sample, which is compared with the program's elsewhere.
fn variables() -> BTreeSet<String> {
    let sample = read("config.env.sample");
    let names = sample.lines().filter_map(|line| line.trim_start_matches('#').split_once('='));
    names.map(|(name, _)| name.to_owned()).filter(|name| is_variable(name)).collect()
}

fn is_variable(word: &str) -> bool {
    word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// The number behind these words.
#[track_caller]
fn number(text: &str, words: &str) -> u32 {
    let (_, rest) = text.split_once(words).unwrap_or_else(|| panic!("{words:?} is not in\n{text}"));
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number behind {words:?} in\n{text}"))
}

#[test]
fn each_variable_that_a_deployment_sets_is_one_of_the_programs() {
    let known = variables();
    assert!(known.contains("SOURCE") && known.contains("METRICS") && known.len() > 15, "{known:?}");
    let mut set = BTreeSet::new();
    for file in files_below("deploy/kubernetes") {
        for line in said(&file).lines() {
            let name = line.trim_start().trim_start_matches("- ").trim_start_matches("{ name: ");
            set.extend(name.split([':', ',']).next().filter(|name| is_variable(name)).map(str::to_owned));
        }
    }
    let loader = said("deploy/compose.yaml");
    let (loader, _) = loader.split_once("\n  postgres:\n").expect("the loader's services come first");
    let names = loader.lines().filter_map(|line| line.trim_start().split_once(':')).map(|(name, _)| name.to_owned());
    set.extend(names.filter(|name| is_variable(name)));
    assert!(set.contains("MIGRATE") && set.contains("NATS") && set.len() > 5, "{set:?}");
    assert!(set.is_subset(&known), "no variables of the program: {:?}", set.difference(&known));
}

#[tokio::test]
async fn probes_and_health_check_ask_what_the_program_answers() {
    let world = World::with_table().await;
    world.bucket.put("e/LOAD00000001.csv.gz", "1,a,1\n").await;
    let mut command = program(&world);
    command.env("RUN_AS_SERVICE", "True").env("METRICS", "127.0.0.1:0");
    let running = start(command);
    running.says("Delivery 1: processed (").await;
    let port = ops_port(&running).await;
    let deployment = said("deploy/kubernetes/deployment.yaml");
    let probes: Vec<&str> = deployment.split("httpGet: { path: ").skip(1).collect();
    assert_eq!(probes.len(), 2, "{deployment}");
    for probe in probes {
        let path = probe.split(',').next().expect("a path");
        assert!(get(port, path).await.starts_with("HTTP/1.1 200"), "{path}");
        assert!(probe.contains("port: metrics"), "{probe}");
    }
    let metrics = said("deploy/kubernetes/podmonitor.yaml");
    assert!(metrics.contains("path: /metrics") && get(port, "/metrics").await.contains("paper_engine_build_info"));
    let healthy = |metrics: String| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/docker/healthcheck");
        Command::new("bash").arg(script).env("METRICS", metrics).output().expect("bash").status.success()
    };
    assert!(healthy(format!("0.0.0.0:{port}")) && healthy(format!("127.0.0.1:{port}")), "while it serves");
    assert!(healthy(String::new()), "with nobody to ask");
    running.signal("TERM");
    running.ends().await.ok();
    assert!(!healthy(format!("0.0.0.0:{port}")), "when it has ended");
}

#[test]
fn everybody_speaks_of_one_port_one_user_and_one_version() {
    let port = number(&read("config.env.sample"), "#METRICS=127.0.0.1:");
    let deployment = said("deploy/kubernetes/deployment.yaml");
    for (file, words) in [
        ("Dockerfile", "EXPOSE "),
        ("Dockerfile", "ENV METRICS=0.0.0.0:"),
        ("deploy/kubernetes/deployment.yaml", "containerPort: "),
        ("deploy/kubernetes/deployment.yaml", "METRICS, value: \"0.0.0.0:"),
        ("deploy/kubernetes/deployment.yaml", "prometheus.io/port: \""),
        ("deploy/kubernetes/service.yaml", "port: "),
        ("deploy/compose.yaml", "ports: [\"127.0.0.1:"),
        ("deploy/monitoring/prometheus.yml", "targets: [loader:"),
    ] {
        assert_eq!(number(&said(file), words), port, "{file}: {words}");
    }
    let policy = said("deploy/kubernetes/networkpolicy.yaml");
    let (let_in, _) = policy.split_once("egress:").expect("who may be asked");
    assert!(let_in.contains(&format!("port: {port} }}")), "{let_in}");
    let user = number(&said("Dockerfile"), "USER ");
    let version = env!("CARGO_PKG_VERSION");
    for file in ["deployment", "cronjob", "migrate-job"].map(|name| format!("deploy/kubernetes/{name}.yaml")) {
        assert_eq!(number(&said(&file), "runAsUser: "), user, "{file}");
        assert!(said(&file).contains(&format!("image: paper-engine-orders:{version}\n")), "{file}: not {version}");
    }
    assert!(read("deploy/kubernetes/kustomization.yaml").contains(&format!("newTag: {version}\n")));
    assert!(deployment.contains("prometheus.io/scrape: \"true\""));
}

/// The delivery in hand has 20 seconds; who kills sooner makes another loader do it again.
#[test]
fn everybody_waits_longer_than_the_grace_of_a_stop() {
    let mut asked = 0;
    for file in files_below("deploy") {
        let text = said(&file);
        for words in ["terminationGracePeriodSeconds: ", "TimeoutStopSec=", "stop_grace_period: "] {
            if text.contains(words) {
                asked += 1;
                assert_eq!(number(&text, words), 30, "{}", file.display());
            }
        }
    }
    assert_eq!(asked, 5, "deployment, cron job, two units, compose");
}

#[test]
fn exit_codes_are_taken_for_what_they_mean() {
    let [stopped, busy, misconfigured] = [End::Stopped, End::Busy, End::Misconfigured].map(End::code);
    let cronjob = said("deploy/kubernetes/cronjob.yaml");
    // 2 is clap's: the command line is not understood
    let hopeless = format!(
        "action: FailJob\n            onExitCodes: {{ containerName: loader, operator: In, values: [{stopped}, 2, {misconfigured}] }}"
    );
    assert!(cronjob.contains(&hopeless), "{hopeless}\nis not in\n{cronjob}");
    let another =
        format!("action: Ignore\n            onExitCodes: {{ containerName: loader, operator: In, values: [{busy}] }}");
    assert!(cronjob.contains(&another), "{another}\nis not in\n{cronjob}");
    let service = said("deploy/systemd/paper-engine-orders.service");
    assert_eq!(number(&service, "RestartPreventExitStatus="), u32::from(misconfigured));
    assert_eq!(number(&said("deploy/systemd/paper-engine-orders-once.service"), "SuccessExitStatus="), u32::from(busy));
}

/// `--help` behind them makes the program look at all arguments and do nothing.
#[tokio::test]
async fn the_program_knows_the_arguments_that_it_is_started_with() {
    let mut lines = BTreeSet::new();
    for file in files_below("deploy").iter().filter(|file| !file.starts_with("deploy/monitoring")) {
        let text = said(file);
        for line in text.lines() {
            let line = line.trim();
            let list = line.strip_prefix("args: [").or_else(|| line.strip_prefix("command: [migrate"));
            let list = list.or_else(|| line.strip_prefix("command: [feed"));
            if let Some(list) = list.and_then(|list| list.strip_suffix(']')) {
                let first = line.strip_prefix("command: [").and_then(|rest| rest.split(',').next());
                let rest = list.split(',').map(|word| word.trim().trim_matches('"').to_owned());
                lines
                    .insert(first.map(str::to_owned).into_iter().chain(rest.filter(|word| !word.is_empty())).collect());
            }
            let unit = line.strip_prefix("ExecStart=/usr/local/bin/paper-engine-orders ");
            lines.extend(unit.map(|rest| rest.split(' ').map(str::to_owned).collect::<Vec<_>>()));
        }
    }
    assert_eq!(lines.len(), 5, "run --service, run --once, migrate, migrate --model, feed make: {lines:?}");
    for line in lines {
        let mut command = Command::new(env!("CARGO_BIN_EXE_paper-engine-orders"));
        command.env_clear().args(&line).arg("--help");
        let ended = run(command).await;
        assert!(ended.code == 0 && ended.log.contains("Usage:"), "{line:?}: {}", ended.log);
    }
}

#[test]
fn the_page_on_deploying_leads_to_every_file() {
    let page = read("docs/deploying.md");
    for file in files_below("deploy") {
        let file = file.display().to_string();
        let led_to = page.contains(&format!("](../{file})")) || file == "deploy/docker/healthcheck";
        assert!(led_to, "docs/deploying.md does not lead to {file}");
    }
}
