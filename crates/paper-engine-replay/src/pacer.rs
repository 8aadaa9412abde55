//! Releases each row at its time. The pacer has a thread of its own, sleeps until absolute deadlines and never waits for a
//! destination: a release only puts rows into queues.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Nanos, ReplayClock};
use crate::control::{Command, RATE_MAX, RATE_MIN, State, Status};
use crate::place::{Place, Row};
use crate::schedule::{Pace, Schedule};
use crate::timekeeper::Timekeeper;
use crate::timestamp::{self, Micros};

/// What is known of the next row.
#[derive(Debug)]
pub enum Head {
    /// It is being read.
    Waiting,
    Time(Micros),
    /// There is no further row.
    End,
    Failed(String),
}

/// Rows in time order.
pub trait Rows {
    /// Returns the time of the next row.
    fn head(&mut self) -> Head;

    /// Takes the row whose time [`Rows::head`] returned.
    fn take(&mut self) -> Option<Row>;

    /// Begins anew at a time. Times are published `shift` later than they were.
    fn seek(&mut self, from: Micros, shift: Micros);
}

/// A row that is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    pub place: Place,
    /// The time under which the row is published.
    pub published: Micros,
    pub payload: Bytes,
    pub group: Arc<str>,
    /// When the row was due.
    pub due: Nanos,
}

/// Takes released rows.
pub trait Sink {
    /// Takes a row for every destination. Returns `false` if a queue is full: the row is to be offered again, and is then put
    /// only where it is missing.
    fn offer(&mut self, release: &Release) -> bool;

    /// Notes how late a row was released.
    fn released(&mut self, late: Nanos);

    /// Returns `true` if the destinations have everything that was released.
    fn is_drained(&self) -> bool;

    /// Passes on what was held back. Called once, at the end.
    fn finish(&mut self) {}
}

/// What is to be replayed, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    pub start: Micros,
    /// Exclusive.
    pub end: Micros,
    /// Empty windows up to the end keep time only if somebody asked for that end.
    pub end_given: bool,
    pub pace: Pace,
    pub rate: f64,
    pub window: Duration,
    pub max_gap: Option<Duration>,
    pub repeat: bool,
    /// The wall time of the first release.
    pub start_at: Option<Micros>,
    pub retime: bool,
    /// The pass in which a resumed replay goes on; the first unsent row is then due at once.
    pub resumed: Option<u32>,
}

/// How a replay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The last row was released.
    Complete,
    /// Somebody asked for it.
    Stopped,
}

/// The longest sleep without looking for commands.
const SLICE: Nanos = 20_000_000;
/// The wait for rows that are being read, and for room in a full queue.
const NAP: Nanos = 250_000;
/// How long a seek waits for the destinations.
const DRAIN_MAX: Nanos = 10_000_000_000;

/// Releases rows by the clock.
pub struct Pacer<T, R, S> {
    time: T,
    rows: R,
    sink: S,
    plan: Plan,
    schedule: Schedule,
    clock: ReplayClock,
    commands: Receiver<Command>,
    /// Commands that came while something else was waited for.
    kept: VecDeque<Command>,
    status: Arc<Status>,
    pass: u32,
    shift: Micros,
    /// From when on a wait counts as a gap.
    gap_from: Nanos,
    window: Option<i64>,
    group: (i64, Arc<str>),
}

impl<T: Timekeeper, R: Rows, S: Sink> Pacer<T, R, S> {
    /// Prepares a replay. Nothing is released before [`Pacer::run`].
    pub fn new(time: T, rows: R, sink: S, plan: Plan, commands: Receiver<Command>, status: Arc<Status>) -> Self {
        let schedule = Schedule::new(plan.pace, plan.window, plan.start, plan.rate);
        let clock = ReplayClock::start(plan.start, time.now(), plan.rate);
        let pass = plan.resumed.unwrap_or(0);
        let shift = if plan.retime { time.wall() - plan.start } else { 0 };
        let group = (i64::MIN, Arc::from(""));
        let kept = VecDeque::new();
        Self {
            time,
            rows,
            sink,
            plan,
            schedule,
            clock,
            commands,
            kept,
            status,
            pass,
            shift,
            gap_from: 0,
            window: None,
            group,
        }
    }

    /// Releases all rows.
    ///
    /// # Errors
    /// Returns why rows cannot be read.
    pub fn run(&mut self) -> Result<End, String> {
        let ended = self.begin().and_then(|begun| if begun { self.release_all() } else { Ok(End::Stopped) });
        self.status.show(State::Ended, Some(self.clock));
        ended
    }

    /// Passes on what the sink holds back.
    pub fn finish(&mut self) {
        self.sink.finish();
    }

    /// Waits for the first row and the time of the start, and starts the clock. Returns `false` if it was stopped before.
    fn begin(&mut self) -> Result<bool, String> {
        self.status.pass.store(u64::from(self.pass), Ordering::Relaxed);
        let first = loop {
            match self.rows.head() {
                Head::Waiting => self.nap(),
                Head::Failed(why) => return Err(why),
                Head::Time(time) => break Some(time),
                Head::End => break None,
            }
            if self.stop_is_asked() {
                return Ok(false);
            }
        };
        while let Some(left) = self.plan.start_at.map(|at| at - self.time.wall()).filter(|left| *left > 0) {
            // the wall clock may be set meanwhile, so no sleep is long
            let left = u64::try_from(left).unwrap_or(0).saturating_mul(1_000);
            self.time.sleep_until(self.time.now() + left.min(SLICE));
            if self.stop_is_asked() {
                return Ok(false);
            }
        }
        let now = self.time.now();
        let from = match (self.plan.resumed, first) {
            (Some(_), Some(time)) => self.schedule.release_of(time),
            (Some(_), None) => self.plan.end,
            (None, _) => self.plan.start,
        };
        if self.plan.resumed.is_some() {
            let next = first
                .map_or_else(|| self.schedule.window_of(self.plan.end - 1) + 2, |time| self.schedule.window_of(time));
            self.window = Some(next - 1);
        }
        self.clock = ReplayClock::start(from, now, self.plan.rate);
        self.gap_from = now;
        self.show();
        Ok(true)
    }

    fn release_all(&mut self) -> Result<End, String> {
        loop {
            if self.obey() {
                return Ok(End::Stopped);
            }
            match self.rows.head() {
                Head::Waiting => self.nap(),
                Head::Failed(why) => return Err(why),
                Head::Time(time) => {
                    if let Some(due) = self.due(self.schedule.release_of(time))
                        && !self.release(due)
                    {
                        return Ok(End::Stopped);
                    }
                }
                Head::End if self.is_over() => {
                    self.count_windows(self.schedule.window_of(self.plan.end - 1) + 1);
                    if !self.plan.repeat {
                        return Ok(End::Complete);
                    }
                    self.begin_pass();
                }
                Head::End => {}
            }
        }
    }

    /// Returns when a source time was due, if it has come; else sleeps towards it.
    fn due(&mut self, source: Micros) -> Option<Nanos> {
        let now = self.time.now();
        if self.schedule.pace() == Pace::Flat {
            if self.clock.is_paused() {
                self.time.sleep_until(now + SLICE);
                return None;
            }
            return Some(now);
        }
        let Some(due) = self.clock.due(source) else {
            self.time.sleep_until(now + SLICE);
            return None;
        };
        // what belongs to a window of before a change of rate is due from then on
        let mut due = due.max(self.gap_from);
        if let Some(gap) = self.plan.max_gap {
            let cut = self.gap_from.saturating_add(u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX));
            if due > cut && !self.clock.is_paused() {
                due = cut.max(now);
                self.clock.seek(source, due);
                self.show();
            }
        }
        if due > now {
            self.time.sleep_until(due.min(now + SLICE));
            return None;
        }
        Some(due)
    }

    /// Releases the next row. Returns `false` if it was stopped while a queue was full.
    fn release(&mut self, due: Nanos) -> bool {
        let Some(row) = self.rows.take() else { return true };
        self.count_windows(self.schedule.window_of(row.time));
        let place = Place { pass: self.pass, time: row.time, table: row.table, key: row.key };
        let group = self.group_of(row.time);
        let release = Release { published: row.time + self.shift, place, payload: row.payload, group, due };
        while !self.sink.offer(&release) {
            if !self.status.held_up.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "A destination's queue is full: the replay waits for it, and every destination with it."
                );
            }
            self.nap();
            if self.stop_is_asked() {
                return false;
            }
        }
        let now = self.time.now();
        self.status.held_up.store(false, Ordering::Relaxed);
        self.status.last_time.store(release.place.time, Ordering::Relaxed);
        self.status.released.fetch_add(1, Ordering::Relaxed);
        self.sink.released(now.saturating_sub(due));
        self.gap_from = if self.schedule.pace() == Pace::Flat { now } else { due };
        true
    }

    /// Returns the group's name, which is made once for the rows of a window or day.
    fn group_of(&mut self, time: Micros) -> Arc<str> {
        let number = match self.schedule.pace() {
            Pace::Flat => time.div_euclid(86_400 * timestamp::SECOND),
            _ => self.schedule.start_of(self.schedule.window_of(time)),
        };
        if self.group.0 != number {
            self.group = (number, self.schedule.group_of(time).into());
        }
        self.group.1.clone()
    }

    /// Counts windows up to one that has a row, and those between that had none.
    fn count_windows(&mut self, window: i64) {
        let last = self.window.unwrap_or(-1);
        if window <= last {
            return;
        }
        let (passed, complete) =
            (u64::try_from(window - last).unwrap_or(0), window > self.schedule.window_of(self.plan.end - 1));
        self.status.windows.fetch_add(passed - u64::from(complete), Ordering::Relaxed);
        self.status.empty_windows.fetch_add(passed - 1, Ordering::Relaxed);
        self.window = Some(window);
    }

    /// Returns `true` once the last window has been released, be it empty; else sleeps towards it.
    fn is_over(&mut self) -> bool {
        let last = self.schedule.start_of(self.schedule.window_of(self.plan.end - 1));
        if self.schedule.pace() != Pace::Window || !self.plan.end_given || last <= self.clock.source_at(self.time.now())
        {
            return true;
        }
        self.due(last).is_some()
    }

    /// Begins the range anew, right behind the pass that has ended.
    fn begin_pass(&mut self) {
        let now = self.time.now();
        let behind = match self.schedule.pace() {
            Pace::Window => self.schedule.start_of(self.schedule.window_of(self.plan.end - 1) + 1),
            Pace::Event | Pace::Flat => self.plan.end,
        };
        let at = match self.schedule.pace() {
            Pace::Flat => now,
            _ => self.clock.due(behind).unwrap_or(now),
        };
        let cut = self.plan.max_gap.map_or(at, |gap| self.gap_from + u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX));
        self.turn_to(self.plan.start, at.min(cut.max(now)), true);
    }

    /// Goes on at another source time.
    fn turn_to(&mut self, to: Micros, at: Nanos, new_pass: bool) {
        if new_pass {
            self.pass = self.pass.saturating_add(1);
            self.status.pass.store(u64::from(self.pass), Ordering::Relaxed);
        }
        if self.plan.retime {
            self.shift = self.time.wall() - to;
        }
        self.rows.seek(to, self.shift);
        self.clock.seek(to, at);
        self.schedule.rebase(to, self.clock.rate());
        self.window = None;
        self.gap_from = at;
        self.show();
    }

    /// Does what was asked. Returns `true` if it was asked to stop.
    fn obey(&mut self) -> bool {
        loop {
            if self.stop_is_asked() {
                return true;
            }
            let Some(command) = self.kept.pop_front() else { return false };
            if self.carry_out(command) {
                return true;
            }
        }
    }

    /// Carries out a command. Returns `true` if it was asked to stop meanwhile.
    fn carry_out(&mut self, command: Command) -> bool {
        let now = self.time.now();
        match command {
            Command::Toggle if self.clock.is_paused() => return self.carry_out(Command::Resume),
            Command::Toggle => return self.carry_out(Command::Pause),
            Command::Pause => self.clock.pause(now),
            Command::Resume => {
                self.clock.resume(now);
                self.gap_from = now;
            }
            Command::Scale(factor) => return self.carry_out(Command::Rate(self.clock.rate() * factor)),
            Command::Rate(rate) => self.set_rate(rate, now),
            Command::Skip(by) => return self.carry_out(Command::Seek(self.clock.source_at(now).saturating_add(by))),
            Command::Seek(to) => return self.seek(to),
            Command::Stop => return true,
        }
        self.show();
        false
    }

    /// Changes the rate. Windows that were not yet released get the new width.
    fn set_rate(&mut self, rate: f64, now: Nanos) {
        let rate = if rate.is_finite() { rate.clamp(RATE_MIN, RATE_MAX) } else { return };
        let current = self.schedule.window_of(self.clock.source_at(now)).max(self.window.unwrap_or(i64::MIN));
        self.clock.set_rate(rate, now);
        self.schedule.rebase(self.schedule.start_of(current + 1), rate);
        self.window = None;
        self.gap_from = now;
    }

    /// Goes to another source time, after the destinations have what was released, so that a checkpoint knows one pass only.
    fn seek(&mut self, to: Micros) -> bool {
        let begun = self.time.now();
        while !self.sink.is_drained() && self.time.now() < begun + DRAIN_MAX {
            self.nap();
            if self.stop_is_asked() {
                return true;
            }
        }
        let now = self.time.now();
        let to = to.clamp(self.plan.start, self.plan.end - 1);
        let back = to <= self.clock.source_at(now).max(self.status.last_time.load(Ordering::Relaxed));
        self.turn_to(to, now, back);
        false
    }

    /// Keeps commands for later. Returns `true` if one of them is to stop.
    fn stop_is_asked(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return true,
                Err(TryRecvError::Empty) => return false,
                Ok(command) => self.kept.push_back(command),
            }
        }
    }

    fn show(&self) {
        let state = if self.clock.is_paused() { State::Paused } else { State::Running };
        self.status.show(state, Some(self.clock));
    }

    fn nap(&self) {
        self.time.sleep_until(self.time.now() + NAP);
    }
}

#[cfg(test)]
#[path = "pacer_tests.rs"]
mod tests;
