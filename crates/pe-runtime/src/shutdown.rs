//! Cooperative shutdown: a [`Stopper`] is passed in, checked between steps and awaited while waiting. It is set by
//! SIGINT and SIGTERM, by tests, or after fatal errors.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that did not wait for its drain: 128 + SIGINT, as shells have it.
const IMPATIENT: i32 = 130;

/// Request to stop, shared by all clones. It cannot be withdrawn.
#[derive(Clone, Debug, Default)]
pub struct Stopper(CancellationToken);

impl Stopper {
    /// Returns a stopper that only [`Stopper::request`] sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a stopper that SIGINT and SIGTERM set; a second signal ends the process at once with 130, after
    /// `leave`. Must be called inside the runtime; fails if the signals cannot be listened to.
    pub fn on_signals(leave: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let stopper = Self::new();
        let signals = Signals::listen()?;
        tokio::spawn(obey(signals, stopper.clone(), leave));
        Ok(stopper)
    }

    /// Requests the stop. Repeating the request is harmless.
    pub fn request(&self) {
        self.0.cancel();
    }

    /// Returns `true` if a stop was requested.
    pub fn requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until a stop is requested.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// Waits until `grace` has passed since the request; work that is unfinished then must be aborted.
    pub async fn overdue(&self, grace: Duration) {
        self.wait().await;
        tokio::time::sleep(grace).await;
    }
}

async fn obey(mut signals: Signals, stopper: Stopper, leave: impl FnOnce()) {
    let name = signals.next().await;
    tracing::info!(signal = name, "{name}: ending what is under way, then stopping; a second signal stops at once.");
    stopper.request();
    let name = signals.next().await;
    tracing::warn!(signal = name, "{name} again: stopping at once.");
    leave();
    std::process::exit(IMPATIENT);
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use std::process::Command;
    use tokio::time::timeout;

    const SHORT: Duration = Duration::from_millis(40);
    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_request_reaches_every_clone_and_stays() {
        let stopper = Stopper::new();
        let other = stopper.clone();
        assert!(!other.requested());
        assert!(timeout(SHORT, other.wait()).await.is_err());
        stopper.request();
        stopper.request();
        assert!(other.requested());
        timeout(LONG, other.wait()).await.expect("waited in vain");
    }

    #[tokio::test]
    async fn overdue_comes_a_grace_after_the_request() {
        let clock = Clock::system();
        let stopper = Stopper::new();
        assert!(timeout(SHORT, stopper.overdue(Duration::ZERO)).await.is_err());
        stopper.request();
        let begun = clock.monotonic();
        stopper.overdue(SHORT).await;
        assert!(clock.monotonic() - begun >= SHORT);
    }

    #[tokio::test]
    async fn a_signal_requests_the_stop() {
        let stopper = Stopper::on_signals(|| ()).expect("signals");
        let me = std::process::id().to_string();
        let sent = Command::new("kill").args(["-TERM", &me]).status();
        assert!(sent.expect("kill").success());
        timeout(LONG, stopper.wait()).await.expect("signal not heard");
    }
}
