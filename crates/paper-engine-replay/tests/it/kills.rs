//! Kills a replay again and again, at any time, and has it resumed: nothing is missing, and what comes twice has its id.
//! PEO_KILLS says how often.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::Config;
use futures_util::StreamExt;
use serde_json::Value;

use crate::support::{Bench, end, env, lines, signal};

const ROWS: i64 = 20_000;

fn kills() -> u64 {
    std::env::var("PEO_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(6)
}

/// A number that nobody foresees, up to a limit.
fn any_up_to(limit: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() % limit
}

fn ids(lines: &[String]) -> Vec<i64> {
    let id = |line: &String| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_i64().expect("an id");
    lines.iter().map(id).collect()
}

async fn stored(context: &jetstream::Context, name: &str) -> Vec<(String, i64)> {
    let mut stream = context.get_stream(name).await.expect("the stream");
    let number = usize::try_from(stream.info().await.expect("info").state.messages).expect("a number");
    let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let messages = consumer.messages().await.expect("messages").take(number).collect::<Vec<_>>().await;
    messages
        .into_iter()
        .map(|message| {
            let message = message.expect("a message").message;
            let id =
                message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id")).expect("an id").to_string();
            (id, serde_json::from_slice::<Value>(&message.payload).expect("JSON")["id"].as_i64().expect("an id"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replay_is_resumed_and_nothing_is_missing() {
    let bench = Bench::new(&format!(
        "create table t (id int primary key, at timestamp not null);
         insert into t select n, timestamp '2020-05-17 13:00' + (n / 7) * interval '1 second' from generate_series(0, {}) n;
         create index on t (at);",
        ROWS - 1
    ))
    .await;
    let server = format!("127.0.0.1:{}", env("PEO_NATS_JS_PORT"));
    let context = jetstream::new(async_nats::connect(&server).await.expect("connected"));
    let name = format!("kills{}", std::process::id());
    let config = Config {
        name: name.clone(),
        subjects: vec![name.clone()],
        duplicate_window: Duration::from_secs(3_600),
        ..Config::default()
    };
    context.create_stream(config).await.expect("a stream");
    let (out, checkpoint) = (bench.path("out"), bench.path("checkpoint").display().to_string());
    let (files, nats) = (format!("file:{}", out.display()), format!("nats://{server}/{name}"));
    // all rows take somewhat longer than all lives together
    let rate = (ROWS as f64 / 7.0 / (0.4 * kills() as f64)).to_string();
    let arguments = [
        "--table",
        "t:at",
        "--window",
        "50ms",
        "--to",
        &files,
        "--to",
        &nats,
        "--checkpoint",
        &checkpoint,
        "--resume",
        "--rate",
    ];
    let (slow, fast) = ([&arguments[..], &[rate.as_str()]].concat(), [&arguments[..], &["100000"]].concat());
    let mut killed = 0;
    for _ in 0..kills() {
        let child = bench.command(&slow).spawn().expect("starts");
        tokio::time::sleep(Duration::from_millis(80 + any_up_to(400))).await;
        signal(&child, "KILL");
        killed += u32::from(end(child).await.code == -1);
    }
    let ended = bench.replay(&fast).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(
        ids(&lines(&out)),
        (0..ROWS).collect::<Vec<_>>(),
        "files have each row once, in order, after {killed} kills"
    );
    let stored = stored(&context, &name).await;
    assert_eq!(
        stored.iter().map(|(_, id)| *id).collect::<Vec<_>>(),
        (0..ROWS).collect::<Vec<_>>(),
        "the stream drops repeats"
    );
    let unique: BTreeMap<&String, i64> = stored.iter().map(|(id, row)| (id, *row)).collect();
    assert_eq!(unique.len(), stored.len());
    let again = bench.replay(&fast).await;
    assert_eq!((again.code, &again.summary()["rows"]), (0, &Value::from(0)), "there is nothing left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_replay_loses_nothing_and_repeats_nothing() {
    let bench = Bench::new(
        "create table t (id int primary key, at timestamp not null);
         insert into t select n, timestamp '2020-05-17 13:00' + n * interval '10 ms' from generate_series(0, 299) n;",
    )
    .await;
    let (out, checkpoint) = (bench.path("out"), bench.path("checkpoint").display().to_string());
    let to = format!("file:{}", out.display());
    let arguments = ["--table", "t:at", "--pace", "event", "--to", &to, "--checkpoint", &checkpoint, "--resume"];
    let child = bench.command(&arguments).spawn().expect("starts");
    crate::support::until("some rows", async || lines(&out).len() > 20).await;
    signal(&child, "TERM");
    let stopped = end(child).await;
    let seen = lines(&out).len();
    assert_eq!((stopped.code, stopped.summary()["rows"].as_u64()), (0, Some(seen as u64)), "{}", stopped.err);
    let ended = bench.replay(&[&arguments[..], &["--rate", "100"]].concat()).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(ids(&lines(&out)), (0..300).collect::<Vec<_>>());
    let other = bench.replay(&["--table", "t:id@s", "--to", &to, "--checkpoint", &checkpoint, "--resume"]).await;
    assert!(other.code == 78 && other.err.contains("another replay"), "{other:?}");
}
