//! Tests the program itself, as processes that are killed, frozen and stopped.

use uuid::Uuid;

use crate::support::database::{Database, Pg};
use crate::support::deaf::Deaf;
use crate::support::on_both;
use crate::support::process::{Process, run};
use crate::support::target::Target;

on_both!(
    killed_pods_lose_nothing,
    a_frozen_pod_fires_nothing_that_it_no_longer_holds,
    a_pod_that_was_frozen_while_it_connected_sends_nothing_afterwards,
    a_stopped_pod_ends_its_requests_and_gives_back_the_rest,
    a_dead_url_delays_nobody,
    private_addresses_stop_a_first_start_before_anything_is_touched,
    commands_steer_tasks,
    check_looks_at_what_a_run_needs,
);

/// The environment of a pod whose lease is short.
fn environment(url: &str) -> Vec<(&str, &str)> {
    vec![
        ("TIMER_DB", url),
        ("METRICS", ""),
        ("ALLOW_PRIVATE", "127.0.0.0/8"),
        ("TIMEOUT", "1s"),
        ("LEASE", "3s"),
        ("RETRIES", "none"),
    ]
}

async fn killed_pods_lose_nothing<D: Database>(db: D) {
    db.ready().await;
    let (target, url) = (Target::start().await, db.url());
    let ids = db.insert(&target.url("slow"), &[-10; 400]).await;
    let doomed = Process::start(&environment(&url));
    let _survivors = [Process::start(&environment(&url)), Process::start(&environment(&url))];
    while target.paths().len() < 100 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    doomed.signal("KILL");
    db.await_count("select count(*) from timers where timer_status = 'done'", ids.len()).await;
    let times = target.times();
    assert!(ids.iter().all(|id| times.contains_key(&id.to_string())), "some were lost");
}

async fn a_frozen_pod_fires_nothing_that_it_no_longer_holds<D: Database>(db: D) {
    db.ready().await;
    let (target, url) = (Target::start().await, db.url());
    let frozen = Process::start(&environment(&url));
    db.insert(&target.url("first"), &[-10]).await;
    db.await_count("select count(*) from timers where timer_status = 'done'", 1).await;
    // claimed ahead, and then the pod stands still before the tasks are due
    let ids = db.insert(&target.url("later"), &[1200; 5]).await;
    db.await_count("select count(*) from timer_attempts where state = 'leased'", ids.len()).await;
    frozen.signal("STOP");
    let other = Process::start(&environment(&url));
    db.await_count("select count(*) from timers where timer_status = 'done'", 1 + ids.len()).await;
    other.signal("TERM");
    assert_eq!(other.end().await, Some(0));
    frozen.signal("CONT");
    db.insert(&target.url("last"), &[-10]).await;
    db.await_count("select count(*) from timers where timer_status = 'done'", 2 + ids.len()).await;
    frozen.signal("TERM");
    assert_eq!(frozen.end().await, Some(0));
    let times = target.times();
    assert!(times.values().all(|times| *times == 1), "{times:?}");
}

async fn a_pod_that_was_frozen_while_it_connected_sends_nothing_afterwards<D: Database>(db: D) {
    db.ready().await;
    let (mut deaf, url) = (Deaf::start().await, db.url());
    // long enough for the pod to be frozen before its attempt has timed out
    let patient = [environment(&url), vec![("TIMEOUT", "4s"), ("LEASE", "7s")]].concat();
    let frozen = Process::start(&patient);
    let id = db.insert(&deaf.url("p"), &[-10]).await[0];
    deaf.await_knock().await;
    frozen.signal("STOP");
    deaf.hear();
    let other = Process::start(&patient);
    db.await_count("select count(*) from timers where timer_status = 'done'", 1).await;
    deaf.await_no_knock().await;
    frozen.signal("CONT");
    other.signal("TERM");
    assert_eq!(other.end().await, Some(0));
    // the pod is itself again when it fires the next one
    let last = db.insert(&deaf.url("p"), &[-10]).await[0];
    db.await_count("select count(*) from timers where timer_status = 'done'", 2).await;
    frozen.signal("TERM");
    assert_eq!(frozen.end().await, Some(0));
    assert_eq!(deaf.heard(), [format!("/p/{id}"), format!("/p/{last}")]);
}

async fn a_stopped_pod_ends_its_requests_and_gives_back_the_rest<D: Database>(db: D) {
    db.ready().await;
    let (target, url) = (Target::start().await, db.url());
    let pod = Process::start(&environment(&url));
    db.insert(&target.url("slow"), &[-10; 200]).await;
    while target.paths().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    pod.signal("TERM");
    assert_eq!(pod.end().await, Some(0));
    let (done, waiting) = (db.count_of("done").await, db.count_of("waiting").await);
    assert_eq!((done, done + waiting), (target.times().len(), 200));
    assert_eq!(db.column("select count(*) from timer_attempts where state = 'leased'").await, ["0"]);
}

async fn a_dead_url_delays_nobody<D: Database>(db: D) {
    db.ready().await;
    let (target, url) = (Target::start().await, db.url());
    // accepts connections and never answers
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = format!("http://{}/p", silent.local_addr().unwrap());
    db.insert(&dead, &[-5000; 300]).await;
    db.insert(&target.url("p"), &[-10; 100]).await;
    // the dead ones need more than a minute, 64 at a time
    let _pod = Process::start(&[environment(&url), vec![("TIMEOUT", "15s"), ("LEASE", "30s")]].concat());
    let good = format!("select count(*) from timers where timer_status = 'done' and timer_url = '{}'", target.url("p"));
    db.await_count(&good, 100).await;
    let dead = format!("select count(*) from timers where timer_status in ('done', 'failed') and timer_url = '{dead}'");
    assert_ne!(db.column(&dead).await, ["300"], "the good ones did not wait for the dead ones");
}

async fn private_addresses_stop_a_first_start_before_anything_is_touched<D: Database>(db: D) {
    db.ready().await;
    let url = db.url();
    db.insert("http://127.0.0.1:9/p", &[-10; 3]).await;
    let (code, _, stderr) = run(&["run"], &[("TIMER_DB", &url), ("METRICS", "")]).await;
    assert_eq!(code, 78, "{stderr}");
    assert!(stderr.contains("ALLOW_PRIVATE=127.0.0."), "{stderr}");
    assert_eq!(db.count_of("waiting").await, 3);
}

async fn commands_steer_tasks<D: Database>(db: D) {
    let url = db.url();
    let environment = [("TIMER_DB", url.as_str())];
    let (code, _, stderr) = run(&["list"], &environment).await;
    assert!(code == 1 && stderr.contains("migrate"), "{code}: {stderr}");
    assert_eq!(run(&["migrate"], &environment).await.0, 0);
    assert_eq!(run(&["check"], &environment).await.0, 0);
    let (code, id, _) = run(&["add", "--in", "1h", "--url", "https://example.org/p?token=hunter2"], &environment).await;
    let id: Uuid = id.trim().parse().unwrap();
    assert_eq!(code, 0);
    let id = id.to_string();
    let (_, list, _) = run(&["list"], &environment).await;
    assert!(list.contains(&id) && list.contains("https://example.org/p") && !list.contains("hunter2"), "{list}");
    assert_eq!(run(&["cancel", &id], &environment).await.0, 0);
    assert_eq!(run(&["cancel", &id], &environment).await.0, 1);
    let (_, shown, _) = run(&["show", &id], &environment).await;
    assert!(shown.contains("cancelled"), "{shown}");
    assert_eq!(run(&["purge", "--older", "0s"], &environment).await.1.split(' ').next(), Some("1"));
    for (flag, value) in [("--url", "ftp://h/p"), ("--url", "not a url"), ("--in", "soon"), ("--header", "broken")] {
        let mut arguments = vec!["add"];
        arguments.extend(if flag == "--in" { ["--url", "https://example.org"] } else { ["--in", "1s"] });
        arguments.extend([flag, value]);
        if flag == "--header" {
            arguments.extend(["--url", "https://example.org"]);
        }
        let (code, _, stderr) = run(&arguments, &environment).await;
        assert!(code == 1 || code == 2, "{flag} {value}: {stderr}");
        assert!(!stderr.is_empty() && !stderr.contains("panicked"), "{stderr}");
    }
    assert_eq!(run(&["list", "--json"], &environment).await.1, "");
}

async fn check_looks_at_what_a_run_needs<D: Database>(db: D) {
    db.ready().await;
    let url = db.url();
    let folder = tempfile::tempdir().unwrap();
    let (endpoints, authorities) = (folder.path().join("endpoints.toml"), folder.path().join("ca.pem"));
    std::fs::write(&endpoints, "[[endpoint]]\nprefix = \"https://h/p\"\nrate = 0.0\n").unwrap();
    std::fs::write(&authorities, "no certificate").unwrap();
    let mut environment = vec![
        ("TIMER_DB", url.as_str()),
        ("ENDPOINTS", endpoints.to_str().unwrap()),
        ("CA_FILE", authorities.to_str().unwrap()),
        ("ALLOW_PRIVATE", "10.0.0.0/99"),
        ("BATCH_SIZE", "many"),
    ];
    let (code, _, stderr) = run(&["check"], &environment).await;
    assert_eq!(code, 78, "{stderr}");
    for name in ["ENDPOINTS", "CA_FILE", "ALLOW_PRIVATE", "BATCH_SIZE"] {
        assert!(stderr.contains(name), "{name}: {stderr}");
    }
    environment.truncate(2);
    std::fs::write(&endpoints, "[[endpoint]]\nprefix = \"https://h/p\"\n").unwrap();
    let (code, stdout, stderr) = run(&["check", "--allow-private", "10.0.0.0/8"], &environment).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("1 endpoint groups in") && stdout.contains("10.0.0.0/8 (ALLOW_PRIVATE)"), "{stdout}");
    db.insert("http://127.0.0.1:9/p", &[-10]).await;
    let (code, stdout, _) = run(&["check"], &environment).await;
    assert!(code == 78 && stdout.contains("FAIL  the tasks that are due next"), "{code}: {stdout}");
    assert_eq!(db.count_of("waiting").await, 1, "nothing is changed");
}

#[tokio::test]
async fn sessions_on_postgres_have_the_programs_name_unless_the_url_gives_one() {
    let db = Pg::create().await;
    db.ready().await;
    let names = "select distinct application_name from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    let (url, target) = (db.url(), Target::start().await);
    for (url, name) in [(url.clone(), "paper-engine-timer"), (format!("{url}?application_name=mine"), "mine")] {
        let pod = Process::start(&environment(&url));
        let id = db.insert(&target.url("p"), &[-10]).await[0];
        while !target.paths().contains(&format!("/p/{id}")) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(db.column(names).await, [name]);
        pod.signal("TERM");
        assert_eq!(pod.end().await, Some(0));
        while db.column(names).await.iter().any(|found| found == name) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_ends_with_69_and_a_wrong_configuration_with_78() {
    let unreachable = [("TIMER_DB", "postgres://127.0.0.1:9/x"), ("RETRY_NUMBER", "1"), ("RECONNECT_WAIT_TIME", "0")];
    let (code, _, stderr) = run(&["run"], &[unreachable.as_slice(), &[("METRICS", "")]].concat()).await;
    assert_eq!(code, 69, "{stderr}");
    let (code, _, stderr) = run(&["run"], &[("DB_HOST", "h")]).await;
    assert!(code == 78 && stderr.contains("DB_USER, DB_PASSWORD"), "{code}: {stderr}");
}
