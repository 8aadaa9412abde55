//! A store on a bad day: it is overloaded, sends less than it said, other bytes than were asked for, or lists what is not so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::bucket::Shown;
use crate::support::program::{Ended, program, run, start};
use crate::support::store::{Act, before, body_at, lists, with_field};
use crate::support::{World, gz, setting};

const LOAD1: &str = "e/LOAD00000001.csv.gz";
const AT_1: &str = "e/20991231-120100000.csv.gz";
const AT_2: &str = "e/20991231-120200000.csv.gz";

/// Runs once against a store whose answers `plan` decides.
async fn run_at(world: &World, plan: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Ended {
    let port = before(&setting("PEO_S3_PORT"), plan).await;
    let mut command = program(world);
    command.env("SOURCE", world.bucket.source_at(&port));
    world.leave_ledger_to_next_feed().await;
    run(command).await
}

/// Does something to the first `times` requests that `which` picks, and nothing to the others.
fn at_first(
    times: usize,
    which: impl Fn(&str) -> bool + Send + Sync + 'static,
    act: impl Fn() -> Act + Send + Sync + 'static,
) -> impl Fn(&str, usize) -> Act + Send + Sync + 'static {
    let seen = Arc::new(AtomicUsize::new(0));
    move |request, _| if which(request) && seen.fetch_add(1, Ordering::SeqCst) < times { act() } else { Act::Pass }
}

/// Returns true for the download of a full load; its head is looked at before.
fn downloads(request: &str) -> bool {
    request.contains("/LOAD") && !request.contains("bytes=0-65535")
}

async fn names(world: &World) -> Vec<String> {
    world.rows("select id, name from dbo.e order by id").await
}

/// The lines of a listing for what the bucket shows.
fn contents(shown: &[Shown], size: impl Fn(&Shown) -> usize) -> String {
    let one = |object: &Shown| {
        let time = time::OffsetDateTime::from_unix_timestamp(object.modified).expect("a time");
        let time = time.format(&time::format_description::well_known::Rfc3339).expect("a format");
        format!(
            "<Contents><Key>{}</Key><LastModified>{time}</LastModified><ETag>&quot;{}&quot;</ETag><Size>{}</Size></Contents>",
            object.key,
            object.etag,
            size(object)
        )
    };
    shown.iter().map(one).collect()
}

fn size_in(world: &World) -> impl Fn(&Shown) -> usize + Send + Sync + 'static {
    let versions = world.bucket.versions.lock().expect("versions").clone();
    move |shown: &Shown| versions[&(shown.key.clone(), shown.etag.clone())].len()
}

#[tokio::test]
async fn a_store_that_is_overloaded_is_asked_again_until_it_answers() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let ended = run_at(&world, |_, number| match number {
        0 => Act::error(503, "SlowDown"),
        1 => Act::error(500, "InternalError"),
        3 => Act::error(429, "TooManyRequests"),
        4 => Act::Reset,
        5 => Act::error(503, "ServiceUnavailable"),
        _ => Act::Pass,
    })
    .await
    .ok();
    assert_eq!(names(&world).await, ["1|a"], "{}", ended.log);
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|loaded|1/0/0/0"]);
}

#[tokio::test]
async fn a_token_that_expired_in_the_middle_is_waited_out() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let expired = at_first(2, |_| true, || Act::error(400, "ExpiredToken"));
    let ended = run_at(&world, expired).await.ok();
    assert!(ended.log.contains("ExpiredToken"), "{}", ended.log);
    assert_eq!(names(&world).await, ["1|a"]);
}

/// Whoever keeps the credentials changes them while a service runs. They are read again by and by.
#[tokio::test]
async fn credentials_that_change_are_read_again() {
    let (world, place) = (World::with_table().await, tempfile::tempdir().expect("a folder"));
    let file = place.path().join("credentials");
    let write = |key: &str| {
        let text = format!("[default]\naws_access_key_id = {}\naws_secret_access_key = {key}\n", setting("PEO_S3_ID"));
        std::fs::write(&file, text).expect("written");
    };
    write("of yesterday");
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let source = world.bucket.source();
    let source: Vec<&str> =
        source.split(' ').filter(|word| !word.starts_with("bucket_id=") && !word.starts_with("bucket_key=")).collect();
    let mut command = program(&world);
    command.env("SOURCE", source.join(" ")).env("AWS_SHARED_CREDENTIALS_FILE", &file).env("AWS_REGION", "us-east-1");
    command.env("RUN_AS_SERVICE", "True").env("METRICS", "").env("MIN_SLEEP", "0.1").env("MAX_SLEEP", "0.2");
    let running = start(command);
    running.says("SignatureDoesNotMatch").await;
    write(&setting("PEO_S3_KEY"));
    let begun = Instant::now();
    while world.value("select exists (select from dbo.e)").await != "t" {
        assert!(begun.elapsed() < Duration::from_secs(90), "{}", running.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    running.signal("TERM");
    running.ends().await.ok();
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_told_with_by_how_much() {
    let world = World::with_table().await;
    let body = "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message>\
                <RequestTime>20240101T000000Z</RequestTime><ServerTime>2024-01-01T01:00:00Z</ServerTime></Error>";
    let said = format!("HTTP/1.1 403 Said\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let ended = run_at(&world, at_first(2, lists, move || Act::Say(said.clone().into_bytes()))).await.ok();
    assert!(ended.log.contains("this machine's clock is 3600 s behind the store's"), "{}", ended.log);
}

#[tokio::test]
async fn without_authorities_a_store_with_tls_is_an_error_with_a_word() {
    let world = World::with_table().await;
    let mut command = program(&world);
    command.env("SOURCE", world.bucket.source().replace("http://", "https://"));
    command.env("SSL_CERT_FILE", "/nowhere").env("SSL_CERT_DIR", "/nowhere");
    let ended = run(command).await;
    assert_eq!(ended.code, 69, "{}", ended.log);
    assert!(ended.log.contains("cannot read the certificates of the authorities"), "{}", ended.log);
    assert!(!ended.log.contains("panicked"), "{}", ended.log);
}

#[tokio::test]
async fn one_object_that_may_not_be_read_keeps_no_other_table_from_loading() {
    let world = World::with_table().await;
    world.sql("create table dbo.f (id int primary key)").await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put("f/LOAD00000001.csv.gz", "1\n").await;
    let refused = |request: &str, _: usize| match request.contains("/e/LOAD") {
        true => Act::error(403, "AccessDenied"),
        false => Act::Pass,
    };
    let ended = run_at(&world, refused).await;
    assert_eq!(ended.code, 69, "{}", ended.log);
    assert!(ended.log.contains("AccessDenied"), "{}", ended.log);
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|pending|0/0/0/0", "LOAD00000001.csv.gz|loaded|1/0/0/0"]);
    assert_eq!(world.value("select count(*) from dbo.f").await, "1");
}

/// The first of two members is a whole gzip: only the size tells that something is missing.
#[tokio::test]
async fn a_body_that_ends_where_a_member_ends_is_not_taken_for_whole() {
    let world = World::with_table().await;
    let (first, second) = (gz("1,a,1\n"), gz("2,b,2\n"));
    let cut = first.len();
    world.bucket.put_bytes(LOAD1, [first, second].concat()).await;
    let short = move || {
        Act::edit(move |answer| {
            let at = body_at(&answer);
            with_field(&answer[..at + cut], "content-length", &cut.to_string())
        })
    };
    let ended = run_at(&world, at_first(2, downloads, short)).await.ok();
    assert!(ended.log.contains("the body ended after"), "{}", ended.log);
    assert_eq!(names(&world).await, ["1|a", "2|b"]);
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|loaded|2/0/0/0"]);
}

#[tokio::test]
async fn a_body_that_is_cut_below_its_length_is_tried_again() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,2\n").await;
    for left in [0, 1, 20] {
        world.bucket.put_later(LOAD1, &format!("1,a,1\n2,cut at {left},2\n")).await;
        let cut = move || Act::edit(move |answer| answer[..body_at(&answer) + left].to_vec());
        run_at(&world, at_first(1, downloads, cut)).await.ok();
        assert_eq!(names(&world).await, ["1|a".to_owned(), format!("2|cut at {left}")]);
    }
    assert_eq!(world.value("select count(*) from loader_deliveries where status <> 'loaded'").await, "0");
}

/// `If-Match` is a wish, and some stores do not know it.
#[tokio::test]
async fn a_store_that_sends_another_version_than_was_listed_is_not_believed() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,mine,1\n").await;
    let other = || {
        Act::edit(|answer| {
            let mut bytes = gz("1,none,1\n");
            let at = body_at(&answer);
            // of the same length, so that the size does not tell
            assert_eq!(bytes.len(), answer.len() - at);
            let mut changed = with_field(&answer[..at], "etag", "\"of another version\"");
            changed.append(&mut bytes);
            changed
        })
    };
    let ended = run_at(&world, at_first(1, downloads, other)).await.ok();
    assert!(ended.log.contains("changed since it was listed"), "{}", ended.log);
    assert_eq!(names(&world).await, ["1|mine"]);
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|loaded|1/0/0/0"]);
}

#[tokio::test]
async fn an_object_that_two_pages_show_is_loaded_once() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put(AT_1, "I,2,b,2\n").await;
    let (shown, size) = (world.bucket.shown().await, size_in(&world));
    let ended = run_at(&world, move |request, _| match (lists(request), request.contains("continuation-token")) {
        (true, false) => Act::page(&contents(&shown, &size), Some("more")),
        (true, true) => Act::page(&contents(&shown[1..], &size), None),
        _ => Act::Pass,
    })
    .await
    .ok();
    assert_eq!(names(&world).await, ["1|a", "2|b"], "{}", ended.log);
    assert_eq!(world.value("select count(*) from loader_deliveries").await, "2");
}

#[tokio::test]
async fn a_listing_that_never_ends_is_noticed() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    for tokens in [1, 2, usize::MAX] {
        let (shown, size) = (world.bucket.shown().await, size_in(&world));
        let endless = move |request: &str, number: usize| match lists(request) {
            true => Act::page(&contents(&shown, &size), Some(&format!("page{}", number % tokens))),
            false => Act::Pass,
        };
        let ended = tokio::time::timeout(Duration::from_secs(20), run_at(&world, endless)).await.expect("an end");
        assert!(ended.log.contains("the listing goes round in a circle"), "{tokens}: {}", ended.log);
        assert_eq!(world.value("select count(*) from loader_deliveries").await, "0");
    }
}

/// What a stale page hides comes with the next; if it comes too late for its place, the table stops and says so.
#[tokio::test]
async fn what_a_stale_listing_hides_is_loaded_later_or_is_late() {
    let world = World::with_table().await;
    for file in [LOAD1, AT_1, AT_2] {
        let text = if file == LOAD1 { "1,a,1\n".to_owned() } else { format!("U,1,{},1\n", &file[11..17]) };
        world.bucket.put(file, &text).await;
    }
    let (mut shown, size) = (world.bucket.shown().await, size_in(&world));
    shown.retain(|object| !object.key.ends_with(AT_2));
    let page = contents(&shown, &size);
    run_at(&world, move |request, _| if lists(request) { Act::page(&page, None) } else { Act::Pass }).await.ok();
    run_at(&world, |_, _| Act::Pass).await.ok();
    assert_eq!(world.value("select count(*) from loader_deliveries where status = 'loaded'").await, "3");
    world.bucket.put("e/20991231-120400000.csv.gz", "U,1,four,1\n").await;
    world.bucket.put("e/20991231-120300000.csv.gz", "U,1,three,1\n").await;
    let (mut shown, size) = (world.bucket.shown().await, size_in(&world));
    shown.retain(|object| !object.key.contains("1203"));
    let page = contents(&shown, &size);
    run_at(&world, move |request, _| if lists(request) { Act::page(&page, None) } else { Act::Pass }).await.ok();
    let ended = run_at(&world, |_, _| Act::Pass).await;
    assert_eq!(ended.code, 1, "{}", ended.log);
    assert_eq!(world.value("select status from loader_deliveries order by id desc limit 1").await, "late");
    assert_eq!(names(&world).await, ["1|four"]);
}

/// Slow is not silent, and what waits for Postgres is not the store's fault.
#[tokio::test]
async fn a_body_that_comes_drop_by_drop_is_waited_for() {
    let world = World::with_table().await;
    let rows: String = (0..400).map(|id| format!("{id},{:x},1\n", id * 0x9e37_79b9_u64)).collect();
    world.bucket.put(LOAD1, &rows).await;
    let slow = |request: &str, _: usize| match request.contains("/LOAD") {
        true => Act::Drip(256, Duration::from_millis(100)),
        false => Act::Pass,
    };
    let begun = Instant::now();
    let ended = run_at(&world, slow).await.ok();
    assert!(begun.elapsed() > Duration::from_secs(1), "it was slow");
    assert!(!ended.log.contains("Trying again"), "{}", ended.log);
    assert_eq!(world.value("select count(*) from dbo.e").await, "400");
}

/// Takes a minute, in which the other tests go on.
#[tokio::test]
async fn a_body_that_stalls_is_given_up_after_a_minute_and_fetched_again() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n2,b,2\n").await;
    let stalls = at_first(1, downloads, || Act::Stall(10));
    let port = before(&setting("PEO_S3_PORT"), stalls).await;
    let mut command = program(&world);
    command.env("SOURCE", world.bucket.source_at(&port)).env("RUN_AS_SERVICE", "True").env("METRICS", "");
    command.env("MIN_SLEEP", "0.1").env("MAX_SLEEP", "0.2");
    let running = start(command);
    let begun = Instant::now();
    while world.value("select to_regclass('dbo.e') is not null and exists (select from dbo.e)").await != "t" {
        assert!(begun.elapsed() < Duration::from_secs(100), "{}", running.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(begun.elapsed() > Duration::from_secs(50), "that was no stall");
    running.says("no byte for 60 s").await;
    running.signal("TERM");
    running.ends().await.ok();
    assert_eq!(world.ledger().await, ["LOAD00000001.csv.gz|loaded|2/0/0/0"]);
}
