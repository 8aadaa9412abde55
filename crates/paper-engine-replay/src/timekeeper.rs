//! Reads the monotonic clock and sleeps until a point on it. Tests take a clock that moves only when somebody sleeps.

use std::cell::Cell;
use std::rc::Rc;

use pe_runtime::clock::Clock;
use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::Timespec;

use crate::clock::Nanos;
use crate::timestamp::Micros;

/// Tells the time and waits for it.
pub trait Timekeeper {
    /// Returns the monotonic time.
    fn now(&self) -> Nanos;

    /// Returns the time of day, for what people say in it.
    fn wall(&self) -> Micros;

    /// Sleeps until a point of the monotonic clock.
    fn sleep_until(&self, at: Nanos);
}

/// The clock of this machine.
#[derive(Clone, Debug)]
pub struct SystemTime(Clock);

impl SystemTime {
    /// Reads the time of day from `clock`.
    pub fn new(clock: Clock) -> Self {
        Self(clock)
    }

    /// Returns the monotonic time, for whoever shares its zero.
    pub fn monotonic() -> Nanos {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
    }
}

impl Timekeeper for SystemTime {
    fn now(&self) -> Nanos {
        Self::monotonic()
    }

    fn wall(&self) -> Micros {
        Micros::try_from(self.0.utc().unix_timestamp_nanos() / 1_000).unwrap_or(Micros::MAX)
    }

    fn sleep_until(&self, at: Nanos) {
        let second = i64::try_from(at / 1_000_000_000).unwrap_or(i64::MAX);
        let point = Timespec { tv_sec: second, tv_nsec: (at % 1_000_000_000) as _ };
        // a signal may end the sleep; the caller looks at the clock anyway
        let _ = clock_nanosleep_absolute(ClockId::Monotonic, &point);
    }
}

/// A clock that stands still until somebody sleeps. For tests.
#[derive(Clone, Debug, Default)]
pub struct VirtualTime {
    now: Rc<Cell<Nanos>>,
    wall_step: Rc<Cell<Micros>>,
}

impl VirtualTime {
    /// Moves the time of day without the monotonic clock, as an operator or NTP may.
    pub fn step_wall(&self, by: Micros) {
        self.wall_step.set(self.wall_step.get() + by);
    }
}

impl Timekeeper for VirtualTime {
    fn now(&self) -> Nanos {
        self.now.get()
    }

    fn wall(&self) -> Micros {
        Micros::try_from(self.now.get() / 1_000).unwrap_or(Micros::MAX) + self.wall_step.get()
    }

    fn sleep_until(&self, at: Nanos) {
        self.now.set(at.max(self.now.get()));
    }
}
