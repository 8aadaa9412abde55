//! PgBouncer itself, in transaction mode: a story goes through it, with deaths. `support/pooler.rs` stands in for it where it is not
//! there; `just test` says so then, and this test is counted as skipped.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::kill::{holds_at_rest, once, seed, service, stage};
use crate::support::broker::free_port;
use crate::support::program::{program, run, start};
use crate::support::story::Story;
use crate::support::{World, setting};

struct Bouncer {
    server: Child,
    port: u16,
    _place: tempfile::TempDir,
}

impl Bouncer {
    fn new() -> Self {
        let (port, place) = (free_port(), tempfile::tempdir().expect("a folder"));
        let file = place.path().join("pgbouncer.ini");
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={} user={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n",
            setting("PEO_PG_PORT"),
            setting("PEO_PG_USER")
        );
        std::fs::write(&file, config).expect("written");
        let mut command = Command::new(std::env::var("PEO_PGBOUNCER").unwrap_or("pgbouncer".into()));
        // it refuses to run as root, and reads its settings before it becomes somebody else
        let root = std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("Uid:\t0\t"));
        if root {
            command.args(["-u", "nobody"]);
        }
        let server = command.arg("-q").arg(file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self { server: server.expect("pgbouncer"), port, _place: place }
    }

    async fn is_there(&self) {
        for _ in 0..100 {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("pgbouncer does not answer");
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[tokio::test]
async fn a_story_goes_through_pgbouncer_in_transaction_mode() {
    let (world, (broker, heard)) = (World::new().await, stage().await);
    let mut story = Story::begin(&world, seed()).await;
    let bouncer = Bouncer::new();
    bouncer.is_there().await;
    let target = world.target_at(&bouncer.port.to_string());
    for round in 0..4 {
        let mut command = service(&world, &broker);
        command.env("TARGET", &target);
        let running = start(command);
        for _ in 0..4 {
            story.go_on(&world).await;
            tokio::time::sleep(story.pause(150)).await;
        }
        running.signal(if round % 2 == 0 { "KILL" } else { "TERM" });
        let ended = running.ends().await;
        assert_eq!(ended.code, if round % 2 == 0 { -1 } else { 0 }, "{}", ended.log);
    }
    story.catch_up(&world).await;
    let mut command = once(&world, &broker);
    let ended = run({
        command.env("TARGET", &target);
        command
    })
    .await;
    assert!([0, 1].contains(&ended.code), "{}", ended.log);
    let mut check = program(&world);
    check.arg("check").env("TARGET", &target);
    let checked = run(check).await;
    assert!(checked.log.contains("lends a session for each transaction"), "{}", checked.log);
    // its sessions are none of ours
    drop(bouncer);
    holds_at_rest(&world, &broker, &heard, &story).await;
}
