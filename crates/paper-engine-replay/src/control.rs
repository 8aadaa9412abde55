//! Defines what a person can ask of a running replay, and what the replay shows of itself.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::clock::ReplayClock;
use crate::timestamp::Micros;

/// What the pacer is asked to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command {
    Pause,
    Resume,
    /// Pauses, or goes on if it is paused.
    Toggle,
    Rate(f64),
    /// Multiplies the rate.
    Scale(f64),
    Seek(Micros),
    /// Seeks by a distance from the present source time.
    Skip(Micros),
    Stop,
}

/// The slowest and the fastest rate.
pub const RATE_MIN: f64 = 0.000_001;
pub const RATE_MAX: f64 = 1_000_000_000.0;

/// What the replay does at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Reads ahead, or waits for the time of its start.
    #[default]
    Starting,
    Running,
    Paused,
    Ended,
}

impl State {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Ended => "ended",
        }
    }
}

/// What the pacer shows to everybody else. The pacer alone writes it.
#[derive(Debug, Default)]
pub struct Status {
    shown: Mutex<(State, Option<ReplayClock>)>,
    /// Grows whenever clock or state change.
    changes: AtomicU64,
    pub released: AtomicU64,
    pub last_time: AtomicI64,
    pub pass: AtomicU64,
    pub windows: AtomicU64,
    pub empty_windows: AtomicU64,
    /// The pacer waits for a full queue.
    pub held_up: AtomicBool,
}

impl Status {
    /// Shows a change of the clock.
    pub fn show(&self, state: State, clock: Option<ReplayClock>) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = (state, clock);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Returns what is shown.
    pub fn shown(&self) -> (State, Option<ReplayClock>) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a number that grows with each change.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}
