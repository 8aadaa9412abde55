//! Answers webhooks as fast as it can and keeps count: the receiver of the benchmarks, of the demo, and of whoever tries the timer.
//!
//! ```text
//! cargo run --release -p paper-engine-timer --example webhook_sink -- 127.0.0.1:9800
//! ```
//!
//! What a URL's path begins with decides the answer: `/status/503` answers with that status, `/slow/4000` after so many
//! milliseconds, `/silent` never; everything else gets 200 at once. `/at/1767225600000000` says when the request was due, in
//! microseconds since 1970, and is answered with 200. `GET /report` returns one line of JSON: requests, distinct ids, repeats, the
//! rate between the first and the last request, and how late those with `/at/` came: quantiles, and how many were late by up to
//! 1, 2, 5, … milliseconds. `POST /reset` forgets everything.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The upper ends of the histogram of lateness, in milliseconds; what is later than the last is counted behind it.
const LATE_MS: [i64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];

/// The largest head and the largest body that are read.
const REQUEST_MAX_BYTES: usize = 2 * 1024 * 1024;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9800".to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(&address))
}

async fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    eprintln!("Receiving webhooks at http://{}; GET /report counts them.", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(talk(stream, Arc::clone(&seen)));
    }
}

/// Answers the requests of one connection until it ends.
async fn talk(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::with_capacity(4096);
    while let Some(line) = read_request(&mut stream, &mut buffer).await? {
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let answer = match (method, path) {
            ("GET", "/report") => response(200, &format!("{}\n", lock(&seen).report())),
            ("POST", "/reset") => {
                *lock(&seen) = Seen::default();
                response(200, "")
            }
            (_, path) => {
                lock(&seen).note(path);
                answer(path).await
            }
        };
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns what the path asks for, when it asks for it.
async fn answer(path: &str) -> String {
    let mut segments = path.split('/').skip(1);
    let argument = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    match segments.next() {
        Some("status") => response(argument(segments.next()), ""),
        Some("slow") => {
            tokio::time::sleep(Duration::from_millis(argument(segments.next()))).await;
            response(200, "")
        }
        Some("silent") => std::future::pending().await,
        _ => response(200, ""),
    }
}

fn response(status: u64, body: &str) -> String {
    format!("HTTP/1.1 {status} .\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Reads one request and returns its first line; `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Option<String>> {
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if buffer.len() > REQUEST_MAX_BYTES || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
    let whole = head + body_length(&text).min(REQUEST_MAX_BYTES);
    while buffer.len() < whole {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    buffer.advance(whole);
    Ok(text.lines().next().map(str::to_owned))
}

fn body_length(head: &str) -> usize {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, length)| length.trim().parse().ok()).unwrap_or_default()
}

/// What has come so far.
#[derive(Default)]
struct Seen {
    requests: u64,
    /// how often each id came
    ids: HashMap<Box<str>, u32>,
    first: Option<SystemTime>,
    last: Option<SystemTime>,
    /// microseconds after the due time; negative is early
    late: Vec<i64>,
}

impl Seen {
    #[allow(clippy::disallowed_methods, reason = "the time of arrival is what this program measures")]
    fn note(&mut self, path: &str) {
        let now = SystemTime::now();
        self.requests += 1;
        self.first.get_or_insert(now);
        self.last = Some(now);
        let id = path.split(['?', '#']).next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        *self.ids.entry(id.into()).or_default() += 1;
        let due = path.strip_prefix("/at/").and_then(|rest| rest.split('/').next()?.parse::<i64>().ok());
        self.late.extend(due.map(|due| micros(now) - due));
    }

    fn report(&mut self) -> String {
        self.late.sort_unstable();
        let repeats = self.requests - self.ids.len() as u64;
        let seconds = self.first.zip(self.last).and_then(|(first, last)| last.duration_since(first).ok());
        let seconds = seconds.unwrap_or_default().as_secs_f64();
        let rate = if seconds > 0.0 { self.requests as f64 / seconds } else { 0.0 };
        let early = self.late.iter().filter(|late| **late < 0).count();
        let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(|part| self.quantile_ms(part));
        format!(
            "{{\"requests\":{},\"distinct\":{},\"repeats\":{repeats},\"seconds\":{seconds:.3},\"rate\":{rate:.1},\
             \"timed\":{},\"early\":{early},\"late_ms\":{{\"p50\":{p50},\"p99\":{p99},\"p99.9\":{p999},\"max\":{most}}},\
             \"histogram\":{:?}}}",
            self.requests,
            self.ids.len(),
            self.late.len(),
            self.histogram(),
        )
    }

    /// Counts the requests between two ends of [`LATE_MS`], the first with all that are earlier, the last with all that are later.
    fn histogram(&self) -> Vec<usize> {
        let mut counts = vec![0; LATE_MS.len() + 1];
        for late in &self.late {
            counts[LATE_MS.partition_point(|end| end * 1000 < *late)] += 1;
        }
        counts
    }

    /// Returns a quantile of the lateness in milliseconds, or `null`.
    fn quantile_ms(&self, part: f64) -> String {
        let Some(last) = self.late.len().checked_sub(1) else { return "null".to_owned() };
        let at = (last as f64 * part).ceil() as usize;
        format!("{:.3}", self.late[at.min(last)] as f64 / 1000.0)
    }
}

fn micros(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
