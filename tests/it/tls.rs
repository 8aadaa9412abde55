//! TLS, to Postgres and to NATS: every way to ask for it against every server that one may meet. Between us and the server
//! stands somebody who reads: where TLS was asked for, no password is ever seen.

use std::path::{Path, PathBuf};

use paper_engine_orders::pg::{Pg, settings::Settings};

use crate::support::broker::Broker;
use crate::support::certificates::{Authority, Identity, self_signed};
use crate::support::program::{program, run};
use crate::support::server::Server;
use crate::support::wire::ColumnEncoding;
use crate::support::{World, front, setting};

const HERE: &[&str] = &["localhost", "127.0.0.1"];
const ELSEWHERE: &[&str] = &["elsewhere.example"];

/// How a connection came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Tls,
    None,
}
use Way::{None as No, Plain, Tls};

/// The ways to ask Postgres for it; `CA` stands for the file of the authority that we trust.
const ASKED: [&str; 8] = [
    "sslmode=disable",
    "",
    "sslmode=prefer",
    "sslmode=require",
    "sslmode=require sslrootcert=CA",
    "sslmode=verify-ca sslrootcert=CA",
    "sslmode=verify-full sslrootcert=CA",
    // the authorities of this machine, of which ours is none
    "sslmode=verify-full",
];

/// What only a start of a session in the clear would show.
const GREETING: &str = "paper-engine-orders";

/// A server's name, what it shows, whether it demands TLS, and what becomes of each way to ask.
type Case = (&'static str, Option<Identity>, bool, [Way; 8]);

fn cases(ours: &Authority) -> [Case; 7] {
    let everything = [Plain, Tls, Tls, Tls, Tls, Tls, Tls, No];
    let unknown = [Plain, Tls, Tls, Tls, No, No, No, No];
    let other = Authority::new("another");
    [
        ("good", Some(ours.identity(HERE)), false, everything),
        ("self-signed", Some(self_signed(HERE)), false, unknown),
        ("another authority's", Some(other.identity(HERE)), false, unknown),
        ("for another host", Some(ours.identity(ELSEWHERE)), false, [Plain, Tls, Tls, Tls, Tls, Tls, No, No]),
        ("expired", Some(ours.expired(HERE)), false, unknown),
        ("without TLS", None, false, [Plain, Plain, Plain, No, No, No, No, No]),
        ("demanding TLS", Some(ours.identity(HERE)), true, [No, Tls, Tls, Tls, Tls, Tls, Tls, No]),
    ]
}

#[tokio::test]
async fn postgres_is_met_as_sslmode_says_and_never_in_the_clear_where_it_asks_for_tls() {
    let ours = Authority::new("ours");
    let server = setting("PEO_PG_PORT").parse().expect("a port");
    for (name, identity, demands, wanted) in cases(&ours) {
        let front = front::before(server, identity.as_ref(), demands).await;
        meets(name, front, &setting("PEO_PG_USER"), &ours, wanted).await;
    }
}

/// The same against the TLS of Postgres itself; `just test` passes it over where this machine has no Postgres with it.
#[tokio::test]
async fn so_is_a_postgres_with_tls_of_its_own() {
    let server = Server::with_tls().await.expect("a Postgres in /usr/lib/postgresql");
    let ours = Authority::new("ours");
    for (name, identity, demands, wanted) in cases(&ours) {
        server.write("tls.conf", if identity.is_some() { "ssl = on" } else { "ssl = off" });
        if let Some(identity) = identity {
            server.write("server.crt", &identity.pem);
            server.write("server.key", &identity.key);
        }
        let kind = if demands { "hostssl" } else { "host" };
        server.write("pg_hba.conf", &format!("{kind} all all 127.0.0.1/32 trust\n"));
        server.stop("fast");
        server.start().await;
        meets(name, server.port, "postgres", &ours, wanted).await;
    }
}

async fn meets(name: &str, port: u16, user: &str, ours: &Authority, wanted: [Way; 8]) {
    let place = tempfile::tempdir().expect("a folder");
    let root = file(place.path(), "ca.pem", &ours.pem);
    let wire = ColumnEncoding::before(port).await;
    for (asked, wanted) in ASKED.iter().zip(wanted) {
        let asked = asked.replace("CA", &root.display().to_string());
        let target = format!("user={user} host=127.0.0.1 port={} dbname=postgres {asked}", wire.port);
        let met = connects(&target).await;
        let clear = wire.read(GREETING);
        let found = match (met, clear) {
            (true, true) => Plain,
            (true, false) => Tls,
            (false, _) => No,
        };
        assert_eq!(found, wanted, "{name}: {asked}");
        // who wants no TLS and is sent away was heard as well
        assert_eq!(clear, wanted == Plain || asked.ends_with("disable"), "{name}: {asked}: seen in the clear");
    }
}

async fn connects(target: &str) -> bool {
    let settings: Settings = target.parse().expect("settings");
    let Ok(pg) = Pg::new(&settings) else { return false };
    pg.begin("test").await.is_ok()
}

/// A self-signed certificate may be trusted by naming it.
#[tokio::test]
async fn a_self_signed_postgres_is_trusted_by_its_own_certificate_and_no_other() {
    let (mine, others) = (self_signed(HERE), self_signed(HERE));
    let place = tempfile::tempdir().expect("a folder");
    let port = front::before(setting("PEO_PG_PORT").parse().expect("a port"), Some(&mine), false).await;
    for (root, wanted) in [(&mine, true), (&others, false)] {
        let root = file(place.path(), "root.pem", &root.pem);
        let target = format!("user={} host=localhost port={port} dbname=postgres", setting("PEO_PG_USER"));
        let target = format!("{target} sslmode=verify-full sslrootcert={}", root.display());
        assert_eq!(connects(&target).await, wanted);
    }
}

/// The program says what it was shown, with the exit code of a server that cannot be reached.
#[tokio::test]
async fn a_certificate_that_is_refused_is_told() {
    let world = World::with_table().await;
    let place = tempfile::tempdir().expect("a folder");
    let ours = Authority::new("ours");
    let root = file(place.path(), "ca.pem", &ours.pem);
    let server = setting("PEO_PG_PORT").parse().expect("a port");
    let verified = format!("sslmode=verify-full sslrootcert={}", root.display());
    let cases = [
        (Some(self_signed(HERE)), verified.as_str(), "UnknownIssuer"),
        (Some(ours.expired(HERE)), &verified, "certificate expired"),
        (Some(ours.identity(ELSEWHERE)), &verified, "elsewhere.example"),
        (None, "sslmode=require", "server does not support TLS"),
    ];
    for (identity, asked, words) in cases {
        let port = front::before(server, identity.as_ref(), false).await;
        let mut command = program(&world);
        command.arg("status").env("TARGET", format!("{} {asked}", world.target_at(&port.to_string())));
        let ended = run(command).await;
        assert_eq!(ended.code, 69, "{}", ended.log);
        assert!(ended.log.contains(words), "{words:?} is not in\n{}", ended.log);
    }
}

/// An endpoint without a scheme is HTTPS, and its certificate is verified.
#[tokio::test]
async fn a_bucket_over_tls_is_verified() {
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let place = tempfile::tempdir().expect("a folder");
    let root = file(place.path(), "ca.pem", &ours.pem);
    let world = World::with_table().await;
    world.bucket.put("e/LOAD00000001.csv.gz", "1,a,1\n").await;
    let servers = [
        ("self-signed", self_signed(HERE), 69),
        ("another authority's", other.identity(HERE), 69),
        ("for another host", ours.identity(ELSEWHERE), 69),
        ("expired", ours.expired(HERE), 69),
        ("good", ours.identity(HERE), 0),
    ];
    for (name, identity, code) in servers {
        let front = front::direct(setting("PEO_S3_PORT").parse().expect("a port"), &identity).await;
        let wire = ColumnEncoding::before(front).await;
        let source = world.bucket.source_at(&wire.port.to_string()).replace("http://127.0.0.1", "localhost");
        let mut command = program(&world);
        command.arg("status").env("SOURCE", source).env("SSL_CERT_FILE", &root);
        let ended = run(command).await;
        assert_eq!(ended.code, code, "{name}: {}", ended.log);
        assert!(!wire.read(&world.bucket.path), "{name}: a request was seen in the clear");
    }
}

const PASSWORD: &str = "canary-of-the-wire";

#[tokio::test]
async fn nats_is_met_as_the_scheme_says_and_never_in_the_clear_where_it_asks_for_tls() {
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let place = tempfile::tempdir().expect("a folder");
    let root = file(place.path(), "ca.pem", &ours.pem);
    let world = World::with_table().await;
    let servers = [
        ("without TLS", None, "", [Plain, No, No]),
        ("good", Some(ours.identity(HERE)), "", [Tls, Tls, Tls]),
        ("self-signed", Some(self_signed(HERE)), "", [No, No, No]),
        ("another authority's", Some(other.identity(HERE)), "", [No, No, No]),
        ("for another host", Some(ours.identity(ELSEWHERE)), "", [No, No, No]),
        ("expired", Some(ours.expired(HERE)), "", [No, No, No]),
        ("with TLS for who wants it", Some(ours.identity(HERE)), "allow_non_tls: true", [Plain, Tls, Tls]),
    ];
    let meet = |name: &'static str, identity: Option<Identity>, settings: &'static str, wanted: [Way; 3]| {
        let (place, root, world) = (place.path().join(name), &root, &world);
        async move {
            let tls = identity.map(|identity| tls(&place, &identity)).unwrap_or_default();
            let config = format!("authorization {{user: u, password: {PASSWORD}}}\n{tls}\n{settings}");
            let broker = Broker::with_config(&config);
            broker.listens().await;
            let wire = ColumnEncoding::before(broker.port).await;
            let server = |scheme: &str| format!("{scheme}://u:{PASSWORD}@localhost:{}", wire.port);
            // one of a list that asks for it asks for all
            let asked = [server("nats"), server("tls"), format!("{},{}", server("nats"), server("tls"))];
            for (url, wanted) in asked.iter().zip(wanted) {
                let mut command = program(world);
                command.args(["check", "--json"]).env("NOTIFICATIONS", "True").env("SSL_CERT_FILE", root);
                command.env("NATS", url);
                let log = run(command).await.log;
                let clear = wire.read(PASSWORD);
                let found = if log.contains("cannot reach NATS") {
                    No
                } else if clear {
                    Plain
                } else {
                    Tls
                };
                assert!(found == No || log.contains("NATS 2."), "{name}: {url}: {log}");
                assert_eq!((found, clear), (wanted, wanted == Plain), "{name}: {url}: {log}");
            }
        }
    };
    let all = servers.map(|(name, identity, settings, wanted)| meet(name, identity, settings, wanted));
    futures_util::future::join_all(all).await;
}

fn tls(place: &Path, identity: &Identity) -> String {
    std::fs::create_dir(place).expect("a folder");
    let (pem, key) = (file(place, "server.crt", &identity.pem), file(place, "server.key", &identity.key));
    format!("tls {{cert_file: \"{}\", key_file: \"{}\"}}", pem.display(), key.display())
}

fn file(place: &Path, name: &str, text: &str) -> PathBuf {
    let path = place.join(name);
    std::fs::write(&path, text).expect("written");
    path
}
