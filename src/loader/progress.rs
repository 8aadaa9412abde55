//! Says every three seconds how far a delivery is. The total is an estimate, from the bytes read of the bytes listed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

const EVERY: Duration = Duration::from_secs(3);

/// Speaks until it is dropped.
pub struct Progress(JoinHandle<()>);

impl Progress {
    pub fn start(id: i64, rows: Arc<AtomicU64>, bytes: Arc<AtomicU64>, listed: u64) -> Self {
        Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let (rows, bytes) = (rows.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed));
                let total = estimate(rows, bytes, listed);
                tracing::info!(delivery = id, rows, total, "Delivery {id}: processed {rows}/~{total}...");
            }
        }))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The rows of the whole delivery, if the rest is like what was read.
fn estimate(rows: u64, bytes: u64, listed: u64) -> u64 {
    let share = listed.max(bytes) as f64 / bytes.max(1) as f64;
    (rows as f64 * share).round() as u64
}

#[cfg(test)]
mod tests {
    use super::estimate;

    #[test]
    fn the_rest_is_taken_to_be_like_the_beginning() {
        assert_eq!(estimate(0, 0, 1000), 0);
        assert_eq!(estimate(10_000, 250, 1000), 40_000);
        assert_eq!(estimate(40_000, 1000, 1000), 40_000);
    }
}
