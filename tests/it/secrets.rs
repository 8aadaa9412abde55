//! Canary secrets: a word of its own in every place where a secret can be given, and every output there is searched for it,
//! as it is and encoded, with the log as talkative as it can be.

use std::path::Path;
use std::process::Command;

use paper_engine_orders::config::{Config, Overrides};

use crate::support::broker::{Broker, free_port};
use crate::support::canary::Canaries;
use crate::support::program::{as_owner, program, run, start};
use crate::support::server::Server;
use crate::support::store::{Act, before, lists};
use crate::support::{World, bucket::BUCKET, setting};

const LOAD: &str = "e/LOAD00000001.csv.gz";

/// Everything that any crate says, whatever the default thinks of it.
const ALL: &str = "trace,aws=trace,aws_sigv4=trace,aws_config=trace,aws_smithy_runtime=trace,aws_runtime=trace,\
                   async_nats=trace,hyper=trace,hyper_util=trace,h2=trace,rustls=trace,tokio_postgres=trace,\
                   deadpool=trace,refinery=trace,tokio_util=trace";

/// And with the fields of each event, which only this format shows.
const LOUD: [(&str, &str); 2] = [("RUST_LOG", ALL), ("LOG_FORMAT", "json")];

/// Bare of anything but what is needed to fail in the way that is meant.
fn bare(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paper-engine-orders"));
    command.env_clear().envs(LOUD).env("RUN_AS_SERVICE", "False").env("AWS_EC2_METADATA_DISABLED", "true");
    command.envs(variables.iter().copied());
    command
}

/// A world whose program knows three secrets, and a broker that asks for one.
async fn knowing(pg: &str, nats: &str) -> (World, Broker, impl Fn(&World, &[&str]) -> Command) {
    let world = World::with_table().await;
    world.bucket.put(LOAD, "1,a,1\n").await;
    let broker = Broker::with_config(&format!("authorization {{user: u, password: {nats}}}"));
    broker.listens().await;
    let url = format!("nats://u:{nats}@127.0.0.1:{}", broker.port);
    let pg = pg.to_owned();
    let command = move |world: &World, args: &[&str]| {
        let mut command = program(world);
        command.args(args).env("NOTIFICATIONS", "True").env("NATS", &url).envs(LOUD);
        command.env("TARGET", format!("{} password='{pg}'", world.target())).env("PGPASSWORD", &pg);
        command
    };
    (world, broker, command)
}

#[tokio::test]
async fn no_secret_is_ever_said() {
    let (canaries, [pg, nats]) = Canaries::new(["pg", "nats"]);
    let canaries = canaries.and(setting("PEO_S3_KEY"));
    let (world, broker, command) = knowing(&pg, &nats).await;
    let heard = broker.listen_as("u", &nats).await;
    let commands = [
        "check",
        "check --json",
        "run --dry-run",
        "run --once",
        "status",
        "status --json",
        "deliveries list",
        "deliveries list --json",
        "deliveries show 1",
        "deliveries retry 1",
        "deliveries skip 1 --reason none",
        "rejects list",
        "notifications list",
        "notifications republish --since 2020-01-01",
        "feed make --bucket --entity entity_1 --scale 0.001",
        "migrate",
        "--help",
        "run --help",
        "--version",
        "no-such-command",
    ];
    for format in ["text", "json"] {
        for words in commands {
            let args: Vec<&str> = words.split(' ').collect();
            let mut command = command(&world, &args);
            command.env("LOG_FORMAT", format);
            let ended = run(command).await;
            assert!(!ended.log.is_empty(), "{words} says something");
            canaries.are_silent_in(&ended.log, words);
        }
    }
    let mut roles = as_owner(&world);
    roles.args(["migrate", "--roles"]).envs(LOUD);
    canaries.are_silent_in(&run(roles).await.ok().log, "migrate --roles");
    canaries.are_silent_in(&world.dump(), "the database");
    let messages = crate::support::broker::heard(&heard, 2).await;
    canaries.are_silent_in(&format!("{messages:?}"), "the messages");
    assert_eq!(world.ledger().await.first().map(String::as_str), Some("LOAD00000001.csv.gz|loaded|1/0/0/0"));
}

/// What a service shows to who asks, and to who looks at its process, while all goes well and while nothing does.
#[tokio::test]
async fn a_service_shows_no_secret_to_who_asks_it_or_looks_at_it() {
    let (canaries, [pg, nats, wrong]) = Canaries::new(["pg", "nats", "wrong"]);
    let canaries = canaries.and(setting("PEO_S3_KEY"));
    let (world, broker, command) = knowing(&pg, &nats).await;
    let well = String::new();
    let key = format!("bucket_key={}", setting("PEO_S3_KEY"));
    let away = world.bucket.source_at(&free_port().to_string()).replace(&key, &format!("bucket_key={wrong}"));
    let log_in = format!("nats://u:{wrong}@127.0.0.1:{}", broker.port);
    for (variable, value) in [("EMPTY", well), ("SOURCE", away), ("NATS", log_in)] {
        let address = format!("127.0.0.1:{}", free_port());
        world.bucket.put(LOAD, &format!("1,{variable},1\n")).await;
        let mut command = command(&world, &["run", "--service"]);
        command.env("METRICS", &address).env(variable, value).env("MIN_SLEEP", "0.1").env("MAX_SLEEP", "0.1");
        let running = start(command);
        running.says("metrics and health are served").await;
        // a few iterations
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        for path in ["metrics", "healthz", "readyz", "none", "", "deliveries", "deliveries/1", "deliveries?status=x"] {
            let asked = Command::new("curl").args(["-s", "-i", &format!("http://{address}/{path}")]).output();
            let answer = String::from_utf8_lossy(&asked.expect("curl").stdout).into_owned();
            assert!(answer.starts_with("HTTP/1.1"), "{path}: {answer}");
            canaries.are_silent_in(&answer, path);
        }
        canaries.are_silent_in(&command_lines(running.id()), "the command line");
        canaries.are_silent_in(&sessions(&world).await, "the sessions of Postgres");
        canaries.are_silent_in(&running.log(), "the log of a service");
        running.signal("TERM");
        canaries.are_silent_in(&running.ends().await.log, "the log of a service that ends");
    }
    canaries.are_silent_in(&world.dump(), "the database");
}

/// Of a process and its children.
fn command_lines(process: u32) -> String {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let all = children.split_whitespace().map(str::to_owned).chain([process.to_string()]);
    let line = |id: String| std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let lines: String = all.map(line).collect();
    assert!(lines.contains("paper-engine-orders"), "{lines}");
    lines
}

async fn sessions(world: &World) -> String {
    world.rows("select application_name, query, usename from pg_stat_activity").await.join("\n")
}

#[tokio::test]
async fn no_secret_is_said_when_postgres_does_not_let_us_in() {
    let (canaries, [pg]) = Canaries::new(["pg"]);
    let (world, server) = (World::with_table().await, Server::new().await);
    server.client().await.batch_execute("create role u login password 'right'").await.expect("a role");
    server.write("pg_hba.conf", "host all all 127.0.0.1/32 scram-sha-256\n");
    server.stop("fast");
    server.start().await;
    for (target, words) in &targets(&pg, server.port) {
        for args in [&["run", "--once"][..], &["check"], &["status"], &["migrate"]] {
            let mut command = bare(&[("TARGET", target), ("NOTIFICATIONS", "False")]);
            command.args(args).env("SOURCE", world.bucket.source());
            let log = run(command).await.log;
            assert!(log.contains(words), "{args:?}: {words:?} is not in\n{log}");
            canaries.are_silent_in(&log, words);
        }
    }
    let log = std::fs::read_to_string(server.log()).expect("the server's log");
    canaries.are_silent_in(&log, "the log of Postgres");
}

/// Ways to write a password, and what is wrong beside it.
fn targets(pg: &str, port: u16) -> Vec<(String, &'static str)> {
    let away = free_port();
    let encoded: String = pg.bytes().map(|byte| format!("%{byte:02X}")).collect();
    vec![
        (format!("user=u password={pg} host=127.0.0.1 port={port} dbname=postgres"), "refuses the connection"),
        (format!("user=u password='{pg} \\' x' host=127.0.0.1 port={port} dbname=postgres"), "refuses the connection"),
        (format!("postgres://u:{pg}@127.0.0.1:{port}/postgres"), "refuses the connection"),
        (format!("postgres://u:{encoded}@127.0.0.1:{port}/postgres"), "refuses the connection"),
        (format!("postgres://u@127.0.0.1:{port}/postgres?password={pg}"), "refuses the connection"),
        (format!("user=u password={pg} host=127.0.0.1 port={away} dbname=postgres"), "cannot reach Postgres"),
        (format!("user=u password={pg} host=127.0.0.1 port={port} sslmode=require"), "does not support TLS"),
        (format!("user=u password={pg} host=127.0.0.1 port=x{pg} dbname=postgres"), "port has a value"),
        (format!("user=u password={pg} {pg} host=127.0.0.1"), "word 3 is not of the form"),
        (format!("user=u password='{pg} host=127.0.0.1"), "the quote in word 2"),
        (format!("user=u {pg}=x sslpassword={pg} host=127.0.0.1"), "is not known"),
        (format!("password={pg} password={pg} host=127.0.0.1"), "have the same key"),
        (format!("postgres://u:{pg}/x@127.0.0.1:{port}/postgres"), "a host of the URL"),
        (format!("postgres://u:{pg}%@127.0.0.1:{port}/postgres"), "hex digits"),
        (format!("postgres://u:{pg}@127.0.0.1:{port}/postgres?{pg}=1"), "is not known"),
        (format!("host=127.0.0.1 sslmode=verify-full password={pg} sslrootcert=/nowhere"), "cannot be read"),
    ]
}

#[tokio::test]
async fn no_secret_is_said_when_nats_does_not_let_us_in() {
    let (canaries, [word]) = Canaries::new(["nats"]);
    let world = World::with_table().await;
    let broker = Broker::with_config("authorization {user: u, password: right}");
    broker.listens().await;
    let (port, away) = (broker.port, free_port());
    let place = tempfile::tempdir().expect("a folder");
    let creds = |name: &str, text: String| {
        let file = place.path().join(name);
        std::fs::write(&file, text).expect("written");
        format!("nats://127.0.0.1:{port}?credentials={}", file.display())
    };
    let dashes = "-----";
    let both = format!(
        "{dashes}BEGIN NATS USER JWT{dashes}\n{word}\n{dashes}END NATS USER JWT{dashes}\n\n\
         {dashes}BEGIN USER NKEY SEED{dashes}\n{word}\n{dashes}END USER NKEY SEED{dashes}\n"
    );
    let right_seed = both.replace(&format!("SEED{dashes}\n{word}"), &format!("SEED{dashes}\n{SEED}"));
    let urls = [
        (format!("nats://u:{word}@127.0.0.1:{port}"), "cannot reach NATS"),
        (format!("nats://u:{}@127.0.0.1:{port}", word.replace('K', "%4B")), "cannot reach NATS"),
        (format!("nats://{word}@127.0.0.1:{port}"), "cannot reach NATS"),
        (format!("nats://u:{word}@127.0.0.1:{away}"), "cannot reach NATS"),
        (format!("nats://u:{word}@127.0.0.1:{away},nats://127.0.0.1:{port}"), "cannot reach NATS"),
        (format!("tls://u:{word}@127.0.0.1:{port}"), "cannot reach NATS"),
        (creds("both.creds", both), "cannot reach NATS"),
        (creds("right.creds", right_seed), "cannot reach NATS"),
        (creds("none.creds", word.clone()), "cannot reach NATS"),
        (format!("nats://u:{word}@127.0.0.1:x{word}"), "server 1: a host"),
        (format!("http://u:{word}@127.0.0.1"), "server 1: the scheme"),
        (format!("nats://u:{word}@127.0.0.1/{word}"), "server 1: it is not a host"),
        (format!("nats://u:{word}@127.0.0.1?password={word}"), "server 1: only credentials"),
        (format!("nats://127.0.0.1,nats://u:{word}@a,nats://u:2{word}@b"), "different logins"),
        (format!("nats://u:{word}%@127.0.0.1"), "server 1: a %"),
    ];
    world.bucket.put(LOAD, "1,a,1\n").await;
    for (url, words) in &urls {
        for args in [&["run", "--once"][..], &["check"]] {
            let mut command = program(&world);
            command.args(args).env("NOTIFICATIONS", "True").env("NATS", url).envs(LOUD);
            let log = run(command).await.log;
            assert!(log.contains(words), "{args:?}: {words:?} is not in\n{log}");
            canaries.are_silent_in(&log, words);
        }
    }
    canaries.are_silent_in(&world.dump(), "the database");
}

/// A seed of a key of nobody's, which is well formed.
const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

/// Every way of the AWS default chain, to a store that says no and repeats what it was sent, as S3 does.
#[tokio::test]
async fn no_secret_is_said_when_the_bucket_does_not_let_us_in() {
    let names = ["id", "key", "token", "identity", "process", "container"];
    let (canaries, [id, key, token, identity, process, container]) = Canaries::new(names);
    let world = World::with_table().await;
    let repeated = format!("<CanonicalRequest>GET x-amz-security-token:{token} {id}</CanonicalRequest>");
    let port = before(&setting("PEO_S3_PORT"), {
        let (id, key, token) = (id.clone(), key.clone(), token.clone());
        move |first, _| match first {
            _ if lists(first) => Act::refusal(403, "SignatureDoesNotMatch", &repeated),
            _ if first.starts_with("GET /container") => Act::answer(200, &given(&id, &key, &token)),
            _ => Act::answer(200, &assumed(&id, &key, &token)),
        }
    })
    .await;
    let place = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let file = place.path().join(name);
        std::fs::write(&file, text).expect("written");
        file.display().to_string()
    };
    let keys = format!("aws_access_key_id={id}\naws_secret_access_key={key}\naws_session_token={token}\n");
    let said = write("said.json", &given(&id, &key, &token));
    let calls =
        |what: &str| write(&format!("{}.config", what.len()), &format!("[default]\ncredential_process = {what}\n"));
    let (region, url) = (("AWS_REGION", "eu-west-1".to_owned()), format!("http://127.0.0.1:{port}"));
    let ways: [Vec<(&str, String)>; 7] = [
        vec![
            ("AWS_ACCESS_KEY_ID", id.clone()),
            ("AWS_SECRET_ACCESS_KEY", key.clone()),
            ("AWS_SESSION_TOKEN", token.clone()),
        ],
        vec![("AWS_SHARED_CREDENTIALS_FILE", write("credentials", &format!("[default]\n{keys}")))],
        vec![("AWS_CONFIG_FILE", calls(&format!("cat {said}")))],
        vec![("AWS_CONFIG_FILE", calls(&format!("echo {process}")))],
        vec![("AWS_CONFIG_FILE", calls("sh -c 'echo why >&2; exit 3'"))],
        vec![
            ("AWS_WEB_IDENTITY_TOKEN_FILE", write("identity", &identity)),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r".to_owned()),
            ("AWS_ENDPOINT_URL_STS", url.clone()),
        ],
        vec![
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{url}/container")),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", container.clone()),
        ],
    ];
    for (at, way) in ways.into_iter().enumerate() {
        for args in [&["run", "--once"][..], &["check"], &["status"]] {
            let mut command = program(&world);
            command.args(args).envs(LOUD).env("AWS_EC2_METADATA_DISABLED", "true").env("PATH", PATH);
            command.env("SOURCE", format!("bucket_endpoint={url} bucket_name={BUCKET} bucket_path=p"));
            command.envs(way.iter().cloned()).env(region.0, &region.1);
            let ended = run(command).await;
            assert!([69, 78].contains(&ended.code), "{way:?}: {}: {}", ended.code, ended.log);
            // two of them get no credentials, the others are refused by the store
            let refused = ended.log.contains("SignatureDoesNotMatch") || ended.log.contains("bucket_key in SOURCE");
            assert_eq!(refused, ![3, 4].contains(&at), "{way:?}: {}", ended.log);
            canaries.are_silent_in(&ended.log, &format!("{args:?} with {}", way[0].0));
        }
    }
}

#[tokio::test]
async fn no_secret_is_said_when_source_has_faults() {
    let (canaries, [id, key]) = Canaries::new(["id", "key"]);
    let world = World::with_table().await;
    let source = format!("bucket_endpoint=http://127.0.0.1:9 bucket_id={id} bucket_key={key} bucket_name={BUCKET}");
    for (source, words) in [
        (source.replace("bucket_key", "bucket_secret"), "is not known"),
        (format!("{source} {key}"), "not of the form"),
        (format!("bucket_name=x bucket_endpoint=https://{id}:{key}@host"), "more than scheme, host and port"),
    ] {
        let mut command = program(&world);
        command.env("SOURCE", source).envs(LOUD);
        let log = run(command).await.log;
        assert!(log.contains(words), "{words:?} is not in\n{log}");
        canaries.are_silent_in(&log, words);
    }
}

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Credentials as a process or a container's host tells them.
fn given(id: &str, key: &str, token: &str) -> String {
    format!(
        r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"{key}","SessionToken":"{token}","Token":"{token}","Expiration":"2099-01-01T00:00:00Z"}}"#
    )
}

/// And as STS does.
fn assumed(id: &str, key: &str, token: &str) -> String {
    format!(
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
         <AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{key}</SecretAccessKey><SessionToken>{token}</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
         </AssumeRoleWithWebIdentityResponse>"
    )
}

/// A password that landed in another variable is not repeated either.
#[tokio::test]
async fn a_secret_in_the_wrong_variable_is_not_repeated() {
    let (canaries, [word]) = Canaries::new(["wrong"]);
    let world = World::with_table().await;
    let variables = [
        "RUN_AS_SERVICE",
        "MIN_SLEEP",
        "MAX_SLEEP",
        "DRY_RUN",
        "NOTIFICATIONS",
        "NATS",
        "SOURCE",
        "TARGET",
        "FEED",
        "SETTLE",
        "MAX_REMOVE",
        "ON_BAD_ROW",
        "MAX_REJECTS",
        "METRICS",
        "LOG_FORMAT",
        "MIGRATE",
        "KEEP_MESSAGES",
    ];
    for variable in variables {
        for value in [word.clone(), format!("password={word}"), format!("nats://u:{word}@h:x")] {
            let mut command = program(&world);
            command.envs(LOUD).env(variable, &value);
            let ended = run(command).await;
            assert!(variable == "NATS" || ended.code == 78, "{variable}={value}: {}", ended.log);
            canaries.are_silent_in(&ended.log, variable);
        }
    }
    for level in [word.clone(), format!("info,[{word}")] {
        let mut command = program(&world);
        command.env("RUST_LOG", &level);
        canaries.are_silent_in(&run(command).await.log, "RUST_LOG");
    }
}

#[test]
fn no_debug_of_the_configuration_shows_a_secret() {
    let (canaries, [pg, nats, key]) = Canaries::new(["pg", "nats", "key"]);
    for (target, nats) in [
        (format!("user=u password={pg} host=h"), format!("nats://u:{nats}@h")),
        (format!("postgres://u:{pg}@h/d"), format!("nats://{nats}@h")),
    ] {
        let source = format!("bucket_name=b bucket_id=i bucket_key={key}");
        let pairs = [("TARGET", target), ("NATS", nats), ("SOURCE", source)];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value));
        let config = Config::from_pairs(pairs, Overrides::default()).expect("a configuration");
        canaries.are_silent_in(&format!("{config:?}{config:#?}{}", config.target.postgres), "Debug");
    }
}

#[tokio::test]
async fn a_panic_says_no_secret() {
    let (canaries, [pg, nats]) = Canaries::new(["pg", "nats"]);
    let canaries = canaries.and(setting("PEO_S3_KEY"));
    let (world, _broker, command) = knowing(&pg, &nats).await;
    for point in ["after_list", "before_commit", "before_publish"] {
        world.bucket.put(LOAD, &format!("1,{point},1\n")).await;
        let mut command = command(&world, &["run", "--once"]);
        command.env("FAILPOINTS", format!("{point}=panic")).env("RUST_BACKTRACE", "full");
        let log = run(command).await.log;
        assert!(log.contains(&format!("failpoint {point}")), "{log}");
        canaries.are_silent_in(&log, point);
    }
}

/// The file that holds the variables is the user's own; what we make is nobody's: no file is left that tells a secret.
#[tokio::test]
async fn no_secret_is_left_in_a_file() {
    let (canaries, [pg, nats]) = Canaries::new(["pg", "nats"]);
    let (world, _broker, command) = knowing(&pg, &nats).await;
    let place = tempfile::tempdir().expect("a folder");
    let mut command = command(&world, &["run", "--once"]);
    command.env("TMPDIR", place.path()).env("HOME", place.path()).current_dir(place.path());
    canaries.are_silent_in(&run(command).await.ok().log, "the log");
    assert_eq!(left(place.path()), 0, "files");
}

fn left(place: &Path) -> usize {
    std::fs::read_dir(place).expect("a folder").count()
}
