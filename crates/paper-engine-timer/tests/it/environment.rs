//! Tests what a pod finds in the environment that it is started in: proxies, and a low limit of open files.

use tokio::process::Command;

use crate::support::database::Database;
use crate::support::on_both;
use crate::support::process::Process;
use crate::support::target::Target;

on_both!(proxies_of_the_environment_are_not_used, a_low_limit_of_open_files_fails_no_task);

async fn proxies_of_the_environment_are_not_used<D: Database>(db: D) {
    db.ready().await;
    let (target, proxy, url) = (Target::start().await, Target::start().await, db.url());
    let proxy_url = proxy.url("");
    let mut environment =
        vec![("TIMER_DB", url.as_str()), ("METRICS", ""), ("ALLOW_PRIVATE", "127.0.0.0/8"), ("RETRIES", "none")];
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        environment.push((name, &proxy_url));
    }
    let _pod = Process::start(&environment);
    let ids = db.insert(&target.url("direct"), &[-10]).await;
    db.await_count("select count(*) from timers where timer_status = 'done'", ids.len()).await;
    assert_eq!(target.paths(), [format!("/direct/{}", ids[0])]);
    assert!(proxy.paths().is_empty());
}

async fn a_low_limit_of_open_files_fails_no_task<D: Database>(db: D) {
    db.ready().await;
    let (target, url) = (Target::start().await, db.url());
    let ids = db.insert(&target.url("slow"), &[-10; 200]).await;
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_paper-engine-timer");
    command.args(["-c", "ulimit -Sn 40 && exec \"$0\" run", program]).env_clear().kill_on_drop(true);
    command.env("TIMER_DB", &url).env("METRICS", "").env("ALLOW_PRIVATE", "127.0.0.0/8").env("RETRIES", "none");
    let _pod = command.spawn().expect("a shell");
    db.await_count("select count(*) from timers where timer_status in ('done', 'failed')", ids.len()).await;
    assert_eq!(db.count_of("failed").await, 0);
    assert_eq!(target.times().len(), ids.len());
}
