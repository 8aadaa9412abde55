//! Reports the progress of a delivery: every three seconds a line in the log, or a bar on a terminal. Drawing never
//! delays the work. The total is an estimate from the bytes read of the bytes listed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::terminal::{Line, Pen, Screen};

const EVERY: Duration = Duration::from_secs(3);
/// A bar comes after this, so that small files do not flicker, and is drawn so often.
const SOON: Duration = Duration::from_millis(400);
const OFTEN: Duration = Duration::from_millis(125);

/// Speaks until it is dropped; then nothing of a bar is left.
pub struct Progress {
    task: JoinHandle<()>,
    _line: Option<Line>,
}

impl Progress {
    pub fn start(screen: &Screen, id: i64, rows: Arc<AtomicU64>, bytes: Arc<AtomicU64>, listed: u64) -> Self {
        let meter = Meter { id, rows, bytes, listed };
        // without INFO lines there is no bar either
        match screen.line().filter(|_| tracing::enabled!(tracing::Level::INFO)) {
            Some(line) => Self { task: tokio::spawn(draw(meter, line.pen())), _line: Some(line) },
            None => Self { task: tokio::spawn(say(meter)), _line: None },
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn say(meter: Meter) {
    loop {
        tokio::time::sleep(EVERY).await;
        let At { id, rows, bytes, listed } = meter.now();
        let total = estimate(rows, bytes, listed);
        tracing::info!(delivery = id, rows, total, "Delivery {id}: processed {rows}/~{total}...");
    }
}

async fn draw(meter: Meter, pen: Pen) {
    let begun = Instant::now();
    let mut ticks = interval_at(begun + SOON, OFTEN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let took = ticks.tick().await - begun;
        let (at, pen) = (meter.now(), pen.clone());
        // a stopped terminal (Ctrl-S) delays the next drawing, but no work
        if tokio::task::spawn_blocking(move || pen.draw(|room| at.bar(took, room))).await.is_err() {
            return;
        }
    }
}

/// Counters of a delivery that is being read.
struct Meter {
    id: i64,
    rows: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
    listed: u64,
}

impl Meter {
    fn now(&self) -> At {
        let (rows, bytes) = (self.rows.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        At { id: self.id, rows, bytes, listed: self.listed }
    }
}

/// Progress at one moment.
struct At {
    id: i64,
    rows: u64,
    bytes: u64,
    listed: u64,
}

/// A bar of fewer cells shows nothing.
const LEAST: usize = 12;

impl At {
    /// Returns `Delivery 26 [=======>      ] 12.3 of 45.6 MB, 123,456 rows/s, 0:12 left`, fitted into `room` columns.
    fn bar(&self, took: Duration, room: usize) -> String {
        let name = format!("Delivery {}", self.id);
        let words = self.words(took);
        let fits = |words: &&String| name.len() + 1 + words.len() <= room;
        let words = words.iter().find(fits).or(words.last()).map_or("", String::as_str);
        match room.saturating_sub(name.len() + words.len() + 2) {
            cells if cells < LEAST => format!("{name} {words}"),
            cells => format!("{name} {} {words}", self.cells(cells)),
        }
    }

    fn share(&self) -> f64 {
        (self.bytes as f64 / self.listed.max(1) as f64).min(1.0)
    }

    /// Returns a bar like `[====>   ]`.
    fn cells(&self, cells: usize) -> String {
        let inner = cells - 2;
        let done = (inner as f64 * self.share()) as usize;
        let head = if done < inner { ">" } else { "" };
        format!("[{}{head}{}]", "=".repeat(done), " ".repeat(inner - done - head.len()))
    }

    /// Returns the text beside the bar in three lengths, longest first.
    fn words(&self, took: Duration) -> [String; 3] {
        let seconds = took.as_secs_f64().max(0.001);
        if self.bytes >= self.listed {
            let (rows, so_far) = (self.rows, clock(seconds));
            let all = [format!("{rows} rows read, applying, {so_far}"), format!("applying, {so_far}")];
            let [long, short] = all;
            return [long, short.clone(), short];
        }
        let unit = [("GB", 1e9), ("MB", 1e6)].into_iter().find(|(_, unit)| self.listed as f64 >= *unit);
        let (name, unit) = unit.unwrap_or(("kB", 1e3));
        let size = format!("{:.1} of {:.1} {name}", self.bytes as f64 / unit, self.listed as f64 / unit);
        let left = clock(seconds * (1.0 / self.share() - 1.0));
        let rate = (self.rows as f64 / seconds).round();
        let percent = (100.0 * self.share()) as u64;
        [
            format!("{size}, {rate} rows/s, {left} left"),
            format!("{size}, {left} left"),
            format!("{percent} %, {left} left"),
        ]
    }
}

/// Returns `0:12` or `1:02:03`, or a dash if the time is unknown.
fn clock(seconds: f64) -> String {
    if !seconds.is_finite() || seconds > 360_000.0 {
        return "-".to_owned();
    }
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, minutes, seconds) => format!("{minutes}:{seconds:02}"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Returns the estimated number of rows of the whole delivery.
fn estimate(rows: u64, bytes: u64, listed: u64) -> u64 {
    let share = listed.max(bytes) as f64 / bytes.max(1) as f64;
    (rows as f64 * share).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rows: u64, bytes: u64) -> At {
        At { id: 26, rows, bytes, listed: 40_000_000 }
    }

    #[test]
    fn the_rest_is_taken_to_be_like_the_beginning() {
        assert_eq!(estimate(0, 0, 1000), 0);
        assert_eq!(estimate(10_000, 250, 1000), 40_000);
        assert_eq!(estimate(40_000, 1000, 1000), 40_000);
    }

    #[test]
    fn a_bar_tells_bytes_rows_and_the_time_left_in_the_room_there_is() {
        let bar = |room| at(500_000, 10_000_000).bar(Duration::from_secs(5), room);
        assert_eq!(bar(79), "Delivery 26 [=====>                 ] 10.0 of 40.0 MB, 100000 rows/s, 0:15 left");
        assert_eq!(bar(59), "Delivery 26 10.0 of 40.0 MB, 100000 rows/s, 0:15 left");
        assert_eq!(bar(48), "Delivery 26 10.0 of 40.0 MB, 0:15 left");
        assert_eq!(bar(30), "Delivery 26 25 %, 0:15 left");
        for room in 30..200 {
            assert!(bar(room).len() <= room, "{room}");
        }
    }

    #[test]
    fn a_bar_at_either_end() {
        let none = at(0, 0).bar(Duration::ZERO, 79);
        assert_eq!(none, "Delivery 26 [>                               ] 0.0 of 40.0 MB, 0 rows/s, - left");
        let all = at(2_000_000, 40_000_000).bar(Duration::from_secs(3723), 79);
        assert_eq!(all, "Delivery 26 [============================] 2000000 rows read, applying, 1:02:03");
        assert_eq!(at(2, 50_000_000).bar(Duration::from_secs(1), 30), "Delivery 26 applying, 0:01");
    }
}
