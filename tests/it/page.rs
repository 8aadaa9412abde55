//! The status page, asked by a client that is no browser: what it tells, how it is filtered and paged, what it says when
//! something is away, and that looking costs nobody anything.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use crate::service::{get, ops_port};
use crate::support::World;
use crate::support::program::{program, run, run_once, start};
use crate::support::setting;

const LOAD1: &str = "LOAD00000001.csv.gz";

/// A service that listens and looks at the bucket every moment.
pub fn service(world: &World) -> Command {
    let mut command = program(world);
    command.env("RUN_AS_SERVICE", "True").env("METRICS", "127.0.0.1:0");
    command.env("MIN_SLEEP", "0.2").env("MAX_SLEEP", "0.4");
    command
}

/// The same, which looks once and sleeps.
fn sleeper(world: &World) -> Command {
    let mut command = service(world);
    command.env("MIN_SLEEP", "300").env("MAX_SLEEP", "300");
    command
}

/// Tables of which one is loaded and each other one has a trouble of its own, and a folder without a table.
pub async fn troubles() -> World {
    let world = World::with_table().await;
    for table in ["failed", "held", "late"] {
        world.sql(&format!("create table dbo.{table} (id bigint primary key, name text, price numeric(12, 2))")).await;
        let rows: String = (0..200).map(|id| format!("{id},n,1\n")).collect();
        world.bucket.put(&format!("{table}/{LOAD1}"), &rows).await;
    }
    world.bucket.put(&format!("e/{LOAD1}"), "1,a,1\n2,b,2\n").await;
    world.bucket.put("late/20991231-120000000.csv.gz", "U,1,x,1\n").await;
    run_once(&world).await.ok();
    world.bucket.put("failed/20991231-120000000.csv.gz", "I,900,n,much\n").await;
    world.bucket.put("failed/20991231-130000000.csv.gz", "I,901,n,1\n").await;
    world.bucket.put("late/20991231-110000000.csv.gz", "U,1,y,1\n").await;
    world.bucket.put("nowhere/LOAD00000001.csv.gz", "1\n").await;
    world.bucket.put("e/strange.txt", "").await;
    world.bucket.put_later(&format!("held/{LOAD1}"), "1,n,1\n").await;
    world
}

/// Asks until the answer has these words.
pub async fn shows(port: u16, path: &str, words: &str) -> String {
    let mut answer = String::new();
    for _ in 0..100 {
        answer = get(port, path).await;
        if answer.contains(words) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{path} never had {words:?}:\n{answer}");
}

/// The row of a table in a page.
#[track_caller]
fn row<'a>(page: &'a str, table: &str) -> &'a str {
    let start = page.find(&format!("<bdi>{table}</bdi></a></th>")).unwrap_or_else(|| panic!("no {table} in {page}"));
    page[start..].split("</tr>").next().expect("a row")
}

#[track_caller]
fn all_in(page: &str, words: &[&str]) {
    for word in words {
        assert!(page.contains(word), "{word:?} is not in\n{page}");
    }
}

async fn id_of(world: &World, status: &str) -> String {
    world.value(&format!("select id from loader_deliveries where status = '{status}' order by id limit 1")).await
}

#[tokio::test]
async fn the_first_page_tells_how_each_table_stands_and_what_to_do() {
    let world = troubles().await;
    let running = start(service(&world));
    let port = ops_port(&running).await;
    shows(port, "/", "no table").await;
    let page = shows(port, "/", "3 tables wait for a person").await;
    all_in(&page, &["✓</span> bucket reached", "✓</span> database reached", "notifications are off"]);
    for (table, state, files) in [
        ("dbo.e", "up to date", "0"),
        ("dbo.failed", "failed", "2"),
        ("dbo.held", "held", "1"),
        ("dbo.late", "late", "1"),
    ] {
        let row = row(&page, table);
        assert!(row.contains(state), "{table}: {row}");
        let number =
            format!("data-label=\"Pending\" class=\"number{}\">{files}", if files == "0" { " nil" } else { "" });
        assert!(row.contains(&number), "{table}: {row}");
        assert!(row.contains("<time datetime=\"20"), "{table}: {row}");
    }
    assert!(row(&page, "dbo.nowhere").contains("Create it; its files wait until then."), "{page}");
    // as log, metrics and summary count: what is behind a stop is told beside
    let tile = page.split("<dt>Files pending</dt><dd>").nth(1).and_then(|rest| rest.split("</dd>").next());
    assert!(
        tile.is_some_and(|tile| tile.starts_with("1 <") && tile.contains(", 4\u{a0}behind\u{a0}a\u{a0}stop<")),
        "{tile:?}"
    );
    let metrics = get(port, "/metrics").await;
    assert!(metrics.contains("\npaper_engine_pending_objects 1\n"), "{metrics}");
    // a folder without a table has an alarm of its own, and none for a file that nobody takes up
    assert!(metrics.contains("\npaper_engine_oldest_pending_age_seconds{entity=\"nowhere\"} 0\n"), "{metrics}");
    all_in(&page, &["<dt>Foreign objects</dt><dd>1", "strange.txt", "<dt>Without a table</dt><dd>1"]);
    let mut status = program(&world);
    status.args(["status", "--json"]);
    let told: Value = serde_json::from_str(&run(status).await.log).expect("JSON");
    let loaded = told["tables"].as_array().expect("tables").iter().filter(|table| !table["last_loaded"].is_null());
    for table in loaded {
        let row = row(&page, table["table"].as_str().expect("a name"));
        assert!(row.contains(&format!("<time datetime={}", table["last_loaded"])), "{table}: {row}");
        assert!(row.contains(&format!("<a href=\"/deliveries/{}\"", table["last_delivery"])), "{table}: {row}");
    }
    let stopped: Vec<&Value> =
        told["tables"].as_array().expect("tables").iter().map(|table| &table["stopped"]).collect();
    let steps = stopped.iter().flat_map(|stopped| stopped["next"].as_array().into_iter().flatten());
    let steps: Vec<&str> = steps.filter_map(Value::as_str).collect();
    assert_eq!(steps.len(), 8, "{told}");
    for command in steps.iter().filter_map(|step| step.split('`').nth(1)) {
        assert!(page.contains(&format!("<code>paper-engine-orders {command}</code>")), "{command}: {page}");
    }
    running.signal("TERM");
    running.ends().await.ok();
}

#[tokio::test]
async fn what_is_released_waits_for_nobody() {
    let world = World::with_table().await;
    let rows: String = (0..200).map(|id| format!("{id},n,1\n")).collect();
    world.bucket.put(&format!("e/{LOAD1}"), &rows).await;
    run_once(&world).await.ok();
    world.bucket.put_later(&format!("e/{LOAD1}"), "1,n,1\n").await;
    run_once(&world).await;
    let mut command = service(&world);
    command.env("SETTLE", "300");
    let running = start(command);
    let port = ops_port(&running).await;
    all_in(&shows(port, "/", "1 table waits for a person").await, &["What waits for a person", "deliveries release 2"]);
    let mut release = program(&world);
    release.args(["deliveries", "release", "2"]);
    run(release).await.ok();
    let page = shows(port, "/", "1 file pending").await;
    assert!(!page.contains("What waits for a person") && !page.contains("a\u{a0}stop<"), "{page}");
    let state = row(&page, "dbo.e");
    assert!(state.contains("</span> released</span>") && !state.contains("held"), "{state}");
    assert!(state.contains("The next iteration loads it, once it is quiet (SETTLE)."), "{state}");
    all_in(&get(port, "/deliveries/2").await, &["Released: the next iteration loads it, once it is quiet (SETTLE)."]);
    running.signal("TERM");
    running.ends().await.ok();
}

#[tokio::test]
async fn a_delivery_tells_all_that_the_ledger_has_and_what_to_do() {
    let world = troubles().await;
    let running = start(service(&world));
    let port = ops_port(&running).await;
    shows(port, "/", "3 tables wait for a person").await;
    let failed = id_of(&world, "failed").await;
    let page = get(port, &format!("/deliveries/{failed}")).await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let columns = "select etag, host, attempts, generation from loader_deliveries where id = ";
    for cell in world.value(&format!("{columns}{failed}")).await.split('|') {
        assert!(page.contains(&format!("<bdi>{cell}")), "{cell} is not in {page}");
    }
    all_in(
        &page,
        &[
            "failed/20991231-120000000.csv.gz",
            "line 1, column price: not a number",
            "Put a mended file into the bucket",
            &format!("<code>paper-engine-orders deliveries retry {failed}</code>"),
            &format!("<code>paper-engine-orders deliveries skip {failed} --reason …</code>"),
        ],
    );
    assert!(!page.contains("much"), "no cell is shown: {page}");
    let held = id_of(&world, "held").await;
    all_in(&get(port, &format!("/deliveries/{held}")).await, &["<dt>Would remove</dt><dd>199", "deliveries release"]);
    // the loader is told; the page says so and asks for nothing more
    let mut skip = program(&world);
    skip.args(["deliveries", "skip", &failed, "--reason", "half <b>a</b> file", "--actor", "op@x"]);
    run(skip).await.ok();
    let page = shows(port, &format!("/deliveries/{failed}"), "op@x: half &#60;b&#62;a").await;
    assert!(!page.contains("What to do"), "{page}");
    running.signal("TERM");
    running.ends().await.ok();
}

#[tokio::test]
async fn rows_that_were_kept_aside_are_shown_by_their_place_and_a_message_with_its_delivery() {
    let world = World::with_table().await;
    let broker = crate::support::broker::Broker::core().await;
    world.bucket.put(&format!("e/{LOAD1}"), "1,a,1\n2,b,secretive\n3,c,also\n").await;
    let mut command = service(&world);
    command
        .env("NOTIFICATIONS", "True")
        .env("NATS", broker.url())
        .env("ON_BAD_ROW", "quarantine")
        .env("MAX_REJECTS", "9");
    let running = start(command);
    running.says("Delivery 1: messages published.").await;
    let page = shows(ops_port(&running).await, "/deliveries/1", "published").await;
    let line = |number: u32| format!("data-label=\"Line\">{number}</th><td data-label=\"Column\"><bdi>price</bdi>");
    all_in(&page, &[&line(2), &line(3), "not a number", "<code>paper-engine-orders rejects list 1</code>"]);
    assert!(!page.contains("secretive"), "no cell is shown: {page}");
    let message = world.value("select message_id from loader_notifications").await;
    all_in(&page, &[&message, "paper-engine.meta.orders.change", "&#34;CREATE&#34;:1"]);
    running.signal("TERM");
    running.ends().await.ok();
}

/// Rows of a ledger, without their files.
async fn ledger(world: &World, rows: u32) {
    let (bucket, path) = (crate::support::bucket::BUCKET, &world.bucket.path);
    world
        .sql(&format!(
            "create table dbo.t0 (id int primary key); create table dbo.t1 (id int primary key);
             create table dbo.t2 (id int primary key);
             insert into loader_deliveries (bucket, object_key, etag, size_bytes, last_modified, schema_name, entity, kind,
                 generation, status, started_at, host, version, revision)
             select '{bucket}', '{path}/dbo/t' || n % 3 || '/f' || n, n, 1, now(), 'dbo', 't' || n % 3,
                 case when n % 2 = 0 and n % 5 > 0 then 'changes' else 'snapshot' end, 1,
                 case n % 5 when 0 then 'gone' else 'loaded' end, now(), 'h', '1', n
             from generate_series(1, {rows}) n;
             insert into loader_deliveries (bucket, object_key, etag, size_bytes, last_modified, schema_name, entity, kind,
                 generation, status, started_at, host, version, revision)
             values ('{bucket}', 'elsewhere/dbo/x/f', 'x', 1, now(), 'dbo', 'elsewhere', 'changes', 1, 'loaded', now(), 'h', '1', 1)"
        ))
        .await;
}

fn ids(page: &str) -> Vec<u32> {
    let links = page.split("data-label=\"Id\"><a href=\"/deliveries/").skip(1);
    links.map(|rest| rest.split('"').next().expect("an id").parse().expect("a number")).collect()
}

/// The address behind a link.
fn link(page: &str, rel: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("rel=\"{rel}\" href=\""))?;
    Some(rest.split('"').next()?.replace("&#38;", "&"))
}

#[tokio::test]
async fn deliveries_are_listed_newest_first_filtered_and_paged_by_id() {
    let world = World::with_table().await;
    ledger(&world, 120).await;
    let running = start(sleeper(&world));
    let port = ops_port(&running).await;
    running.says("120 ledger rows from before there were scopes belong to this feed now").await;
    for (filter, wanted) in [
        ("", (1..=120).rev().collect::<Vec<u32>>()),
        ("?status=loaded&kind=changes", (1..=120).rev().filter(|n| n % 2 == 0 && n % 5 != 0).collect()),
        ("?table=dbo.t1", (1..=120).rev().filter(|n| n % 3 == 1).collect()),
        ("?table=t1&status=gone", (1..=120).rev().filter(|n| n % 3 == 1 && n % 5 == 0).collect()),
    ] {
        let (mut found, mut pages, mut next) = (Vec::new(), Vec::new(), Some(format!("/deliveries{filter}")));
        while let Some(address) = next {
            let page = get(port, &address).await;
            assert!(page.starts_with("HTTP/1.1 200"), "{address}: {page}");
            found.extend(ids(&page));
            next = link(&page, "next");
            pages.push(page);
        }
        assert_eq!(found, wanted, "{filter}");
        assert_eq!(pages.len(), wanted.len().div_ceil(50), "{filter}");
        // and back
        assert_eq!(link(&pages[0], "prev"), None, "{filter}");
        if let [.., before, last] = &pages[..] {
            let back = get(port, &link(last, "prev").expect("newer ones")).await;
            assert_eq!(ids(&back), ids(before), "{filter}");
            assert!(link(&back, "next").is_some(), "{filter}");
        }
    }
    let page = get(port, "/deliveries?table=dbo.t1&status=gone").await;
    all_in(
        &page,
        &["<option value=\"dbo.t1\" selected>", "<option value=\"gone\" selected>", "<option value=\"dbo.t2\">"],
    );
    assert!(!page.contains("elsewhere"), "another feed's: {page}");
    assert!(get(port, "/deliveries?table=none").await.contains("No delivery is like that"));
    assert!(get(port, "/deliveries/121").await.starts_with("HTTP/1.1 404"), "another feed's");
}

#[tokio::test]
async fn what_is_not_there_is_said_and_no_answer_may_do_anything() {
    let world = World::with_table().await;
    world.bucket.put(&format!("e/{LOAD1}"), "1,a,1\n").await;
    let running = start(service(&world));
    let port = ops_port(&running).await;
    shows(port, "/", "up to date").await;
    for (path, status, words) in [
        ("/", "200", "All tables are up to date"),
        ("/deliveries", "200", "<form"),
        ("/deliveries/1", "200", "Delivery 1"),
        ("/deliveries/2", "404", "no delivery 2"),
        ("/deliveries/x", "404", "There is no such page"),
        ("/deliveries/99999999999999999999", "404", "There is no such page"),
        ("/favicon.ico", "404", "There is no such page"),
        ("/deliveries?status=lost", "400", "names a status that there is not"),
        ("/deliveries?before=-3", "400", "number of a delivery"),
        ("/style.css", "200", "--ground"),
        ("/refresh.js", "200", "use strict"),
        ("/icon.svg", "200", "<svg"),
    ] {
        let answer = get(port, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(words), "{path}: {answer}");
        let head = answer.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'",
            "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header), "{path}: {header} is not in {head}");
        }
        assert!(!answer.contains("style=\"") && !answer.contains("<style") && !answer.contains("onload"), "{path}");
    }
    // what a page names may be kept: its address changes with what is in it
    let page = get(port, "/").await;
    let style = page.split("rel=\"stylesheet\" href=\"").nth(1).and_then(|rest| rest.split('"').next());
    let kept = get(port, style.expect("a style")).await;
    assert!(kept.contains("max-age=31536000, immutable"), "{kept}");
    let asked = Command::new("curl").args(["-sI", &format!("http://127.0.0.1:{port}/deliveries/1")]).output();
    let head = String::from_utf8_lossy(&asked.expect("curl").stdout).into_owned();
    assert!(head.starts_with("HTTP/1.1 200") && !head.contains("<html"), "{head}");
    let asked = Command::new("curl").args(["-si", "-d", "x", &format!("http://127.0.0.1:{port}/")]).output();
    assert!(String::from_utf8_lossy(&asked.expect("curl").stdout).starts_with("HTTP/1.1 405"));
}

/// Turns around, ends a line, and would be an element.
const HOSTILE: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>\u{202e}\u{2066}\u{200b}\"'&";

/// Names, errors and reasons that others chose.
pub async fn hostile() -> World {
    let world = World::with_table().await;
    let table = "t<script>alert(3)<script>\u{202e}\"";
    world.sql(&format!("create table dbo.\"{}\" (id bigint primary key)", table.replace('"', "\"\""))).await;
    world.bucket.put(&format!("{table}/{LOAD1}"), "1\n").await;
    world.bucket.put(&format!("u{HOSTILE}/{LOAD1}"), "1\n").await;
    world.bucket.put(&format!("e/{HOSTILE}.txt"), "").await;
    world.bucket.put(&format!("{}/{LOAD1}", "k".repeat(200)), "1\n").await;
    world.bucket.put(&format!("e/{LOAD1}"), "1,a,1\n").await;
    run_once(&world).await;
    let text = format!("{HOSTILE}\n{}", "e".repeat(1000)).replace('\'', "''");
    world
        .sql(&format!(
            "insert into loader_deliveries (bucket, object_key, etag, size_bytes, last_modified, schema_name, entity, kind,
                 generation, status, started_at, host, version, error, reason, actor, requested)
             select bucket, object_key || '{text}', '{text}', 1, now(), schema_name, entity, 'changes', 1, 'failed', now(),
                 '{text}', '{text}', '{text}', '{text}', '{text}', null
             from loader_deliveries where entity = 'e'"
        ))
        .await;
    world
}

#[tokio::test]
async fn names_and_words_of_others_are_only_words() {
    let world = hostile().await;
    let running = start(sleeper(&world));
    let port = ops_port(&running).await;
    shows(port, "/", "no table").await;
    let failed = id_of(&world, "failed").await;
    let hostile = world.value("select id from loader_deliveries where entity like 't%'").await;
    for path in ["/", "/deliveries", &format!("/deliveries/{failed}"), &format!("/deliveries/{hostile}")] {
        let page = get(port, path).await;
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("&#60;script&#62;"), "{path}: {page}");
        assert_eq!(page.matches("<script").count(), 1, "{path}: {page}");
        assert!(!page.contains("<img") && !page.contains("alert(1)<"), "{path}: {page}");
        // a choice of the filter is sent as it is, and shown otherwise
        let shown: String =
            page.split(" value=\"").map(|part| part.split_once('>').map_or(part, |(_, rest)| rest)).collect();
        let hidden = shown
            .chars()
            .find(|c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
        assert_eq!(hidden, None, "{path}");
    }
    let query = "/deliveries?table=%3Cscript%3Ealert(1)%3C%2Fscript%3E%E2%80%AE";
    let page = get(port, query).await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("&#60;script&#62;"), "{page}");
    assert_eq!(page.matches("<script").count(), 1, "{page}");
}

/// Stands before Postgres until it is told to hang up, or to say nothing more.
struct Gate {
    port: u16,
    task: tokio::task::JoinHandle<()>,
}

async fn gate() -> Gate {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let server: u16 = setting("PEO_PG_PORT").parse().expect("a port");
    let task = tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            open.spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", server)).await.expect("Postgres");
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    Gate { port, task }
}

#[tokio::test]
async fn while_the_database_is_away_the_page_says_so_and_shows_what_is_known() {
    let world = World::with_table().await;
    world.bucket.put(&format!("e/{LOAD1}"), "1,a,1\n").await;
    let gate = gate().await;
    let mut command = service(&world);
    command.env("TARGET", world.target_at(&gate.port.to_string()));
    let running = start(command);
    let port = ops_port(&running).await;
    shows(port, "/", "up to date").await;
    gate.task.abort();
    shows(port, "/", "The database cannot be reached").await;
    let page = shows(port, "/", "The ledger cannot be read").await;
    assert_eq!(page.matches("cannot reach Postgres").count(), 1, "told once: {page}");
    all_in(
        &page,
        &["The ledger cannot be read", "✕</span> database not reached", "What is shown of it is from", "dbo.e"],
    );
    let list = get(port, "/deliveries").await;
    assert!(list.starts_with("HTTP/1.1 503") && list.contains("cannot reach Postgres"), "{list}");
    // there, but silent
    let silent = TcpListener::bind(("127.0.0.1", gate.port)).await.expect("the port is free again");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let begun = Instant::now();
    let page = get(port, "/").await;
    assert!(begun.elapsed() < Duration::from_secs(7), "it waited for {:?}", begun.elapsed());
    all_in(&page, &["The ledger cannot be read:", "it does not answer in time.</bdi>"]);
    drop(silent);
}

#[tokio::test]
async fn before_the_first_look_it_says_that_it_is_starting() {
    let world = World::with_table().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut command = service(&world);
    command.env("SOURCE", world.bucket.source_at(&silent.local_addr().expect("bound").port().to_string()));
    let running = start(command);
    let port = ops_port(&running).await;
    let page = get(port, "/").await;
    all_in(&page, &["Starting", "bucket not tried yet", "The bucket has not been listed yet"]);
}

async fn readings(world: &World) -> i64 {
    // the server tells a second later
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let sql = "select xact_rollback from pg_stat_database where datname = current_database()";
    world.value(sql).await.parse().expect("a number")
}

#[tokio::test]
async fn however_many_look_the_database_is_asked_once_a_second() {
    let world = World::with_table().await;
    world.bucket.put(&format!("e/{LOAD1}"), "1,a,1\n").await;
    let running = start(sleeper(&world));
    let port = ops_port(&running).await;
    shows(port, "/", "up to date").await;
    // a session that is idle says after ten seconds at the latest what it did
    tokio::time::sleep(Duration::from_secs(11)).await;
    let before = readings(&world).await;
    let begun = Instant::now();
    let lookers: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn(async move {
                for _ in 0..25 {
                    assert!(get(port, "/").await.contains("up to date"));
                }
            })
        })
        .collect();
    // and whoever asks what nobody else does
    let wanderers: Vec<_> = (0..8)
        .map(|who| {
            tokio::spawn(async move {
                for step in 0.. {
                    if begun.elapsed() > Duration::from_secs(8) {
                        return;
                    }
                    let answer = get(port, &format!("/deliveries?table=t{who}-{step}")).await;
                    let told = answer.contains("No delivery is like that") || answer.contains("Many are looking");
                    assert!(told && !answer.contains("cannot be read"), "{answer}");
                }
            })
        })
        .collect();
    let mut sessions = 0;
    for looker in lookers.into_iter().chain(wanderers) {
        looker.await.expect("answered");
        let count =
            "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
        sessions = sessions.max(world.value(count).await.parse::<i64>().expect("a number"));
    }
    let seconds = begun.elapsed().as_secs() as i64;
    let read = readings(&world).await - before;
    assert!((1..=seconds + 3).contains(&read), "{read} readings in {seconds} s");
    let others = "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%'";
    assert_eq!(world.value(others).await, "0", "no transaction is left open");
    // the loader's own pool and one more
    assert!(sessions <= 5, "{sessions} sessions");
}

/// One reading that takes too long: the first page keeps what it knows, and blames nobody.
#[tokio::test]
async fn while_others_have_the_ledger_the_first_page_shows_what_is_known() {
    let world = World::with_table().await;
    world.bucket.put(&format!("e/{LOAD1}"), "1,a,1\n").await;
    let running = start(sleeper(&world));
    let port = ops_port(&running).await;
    shows(port, "/", "up to date").await;
    world
        .sql(
            "alter table loader_rejects rename to kept;
             create view loader_rejects as select 1::bigint as delivery_id, 'k' as object_key, 1::bigint as line,
                 null::text as column_name, 'r' as reason from pg_sleep(5);
             grant select on loader_rejects to public",
        )
        .await;
    // what was read before holds for a while, longer on a busy machine
    tokio::time::sleep(Duration::from_secs(4)).await;
    let slow = tokio::spawn(get(port, "/deliveries/1"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    let page = get(port, "/").await;
    assert!(begun.elapsed() < Duration::from_secs(7), "it waited for {:?}", begun.elapsed());
    all_in(&page, &["All tables are up to date", "Many are looking:", "What is shown of it is from", "dbo.e"]);
    assert!(page.starts_with("HTTP/1.1 200") && !page.contains("cannot be read"), "{page}");
    assert!(slow.await.expect("answered").contains("it takes too long to read"));
    world.sql("drop view loader_rejects; alter table kept rename to loader_rejects").await;
    for _ in 0..100 {
        let page = get(port, "/").await;
        assert!(!page.contains("cannot be read"), "{page}");
        if !page.contains("Many are looking") {
            return;
        }
    }
    panic!("it never read again");
}

/// Rows of the ledger that were read until now. The server counts what an idle session did up to ten seconds late.
async fn rows_read(world: &World) -> i64 {
    let sql = "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) from pg_stat_user_tables
               where relname = 'loader_deliveries'";
    let mut before = String::new();
    loop {
        let now = world.value(sql).await;
        if now == before {
            return now.parse().expect("a number");
        }
        before = now;
        tokio::time::sleep(Duration::from_secs(11)).await;
    }
}

/// Hardly anything was loaded: behind thousands of rows it is not looked for.
#[tokio::test]
async fn what_it_reads_does_not_grow_where_all_was_skipped() {
    let world = World::with_table().await;
    ledger(&world, 60_000).await;
    world
        .sql("update loader_deliveries set status = 'skipped', entity = 't0', actor = 'op', reason = 'r' where id > 3")
        .await;
    world.sql("vacuum (full, analyze) loader_deliveries").await;
    let running = start(sleeper(&world));
    let port = ops_port(&running).await;
    running.says("ledger rows from before there were scopes belong to this feed now").await;
    shows(port, "/", "up to date").await;
    let before = rows_read(&world).await;
    let mut rows = 0;
    // what was read before may hold for a while
    for _ in 0..5 {
        assert!(get(port, "/").await.starts_with("HTTP/1.1 200"));
        rows = rows_read(&world).await - before;
        if rows > 0 {
            break;
        }
    }
    assert!((100..12_000).contains(&rows), "{rows} rows of 60,000");
}

#[tokio::test]
async fn what_it_reads_does_not_grow_with_history() {
    let world = World::with_table().await;
    ledger(&world, 60_000).await;
    world.sql("analyze loader_deliveries").await;
    let running = start(sleeper(&world));
    let port = ops_port(&running).await;
    running.says("ledger rows from before there were scopes belong to this feed now").await;
    shows(port, "/", "up to date").await;
    let before = rows_read(&world).await;
    for path in ["/", "/deliveries", "/deliveries/77", "/deliveries?table=dbo.t1"] {
        assert!(get(port, path).await.starts_with("HTTP/1.1 200"), "{path}");
    }
    let rows = rows_read(&world).await - before;
    assert!((100..6_000).contains(&rows), "{rows} rows of 60,000");
}

#[tokio::test]
async fn the_page_of_a_rehearsal_shows_what_is_committed() {
    let world = World::with_table().await;
    let rows: String = (0..300_000).map(|id| format!("{id},name of row {id},1.25\n")).collect();
    world.bucket.put(&format!("e/{LOAD1}"), "1,a,1\n").await;
    world
        .bucket
        .put("e/20991231-120000000.csv.gz", &rows.lines().map(|row| format!("I,{row}\n")).collect::<String>())
        .await;
    let mut command = program(&world);
    command.args(["run", "--dry-run"]).env("METRICS", "127.0.0.1:0");
    let running = start(command);
    let port = ops_port(&running).await;
    running.says("Delivery 1: dry run, nothing persisted").await;
    let page = get(port, "/").await;
    all_in(&page, &["This loader rehearses", "The ledger has none yet", "loading"]);
    assert!(get(port, "/deliveries/1").await.starts_with("HTTP/1.1 404"));
    running.ends().await.ok();
}
