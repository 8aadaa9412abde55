//! Replays rows of a list in virtual time: the clock moves only when the pacer sleeps.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc::{self, Sender};

use proptest::prelude::*;

use super::*;
use crate::timekeeper::VirtualTime;
use crate::timestamp::SECOND;

const NANOS: Nanos = 1_000_000_000;

/// Rows with the times of a list.
struct List {
    times: Vec<Micros>,
    next: usize,
}

impl Rows for List {
    fn head(&mut self) -> Head {
        self.times.get(self.next).map_or(Head::End, |time| Head::Time(*time))
    }

    fn take(&mut self) -> Option<Row> {
        let time = *self.times.get(self.next)?;
        self.next += 1;
        Some(Row { time, table: 0, key: vec![(self.next - 1).to_string()], payload: Bytes::new() })
    }

    fn seek(&mut self, from: Micros, _: Micros) {
        self.next = self.times.partition_point(|time| *time < from);
    }
}

/// What was released, and when.
#[derive(Clone, Debug)]
struct Seen {
    at: Nanos,
    release: Release,
}

/// A sink that notes everything, and may be full for a while.
#[derive(Clone)]
struct Notes {
    time: VirtualTime,
    seen: Rc<RefCell<Vec<Seen>>>,
    full: Option<(Nanos, Nanos)>,
}

impl Sink for Notes {
    fn offer(&mut self, release: &Release) -> bool {
        let at = self.time.now();
        if self.full.is_some_and(|(from, to)| from <= at && at < to) {
            return false;
        }
        self.seen.borrow_mut().push(Seen { at, release: release.clone() });
        true
    }

    fn released(&mut self, _: Nanos) {}

    fn is_drained(&self) -> bool {
        true
    }
}

/// Time that hands out commands when their moment has come.
struct Scripted {
    time: VirtualTime,
    script: RefCell<Vec<(Nanos, Act)>>,
    commands: Sender<Command>,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Command(Command),
    StepWall(Micros),
}

impl Timekeeper for Scripted {
    fn now(&self) -> Nanos {
        self.time.now()
    }

    fn wall(&self) -> Micros {
        self.time.wall()
    }

    fn sleep_until(&self, at: Nanos) {
        self.time.sleep_until(at);
        let mut script = self.script.borrow_mut();
        while script.first().is_some_and(|(when, _)| *when <= self.time.now()) {
            match script.remove(0).1 {
                Act::Command(command) => drop(self.commands.send(command)),
                Act::StepWall(by) => self.time.step_wall(by),
            }
        }
    }
}

fn plan(pace: Pace, rate: f64, end: Micros) -> Plan {
    Plan {
        start: 0,
        end,
        end_given: true,
        pace,
        rate,
        window: Duration::from_secs(1),
        max_gap: None,
        repeat: false,
        start_at: None,
        retime: false,
        resumed: None,
    }
}

struct Outcome {
    seen: Vec<Seen>,
    end: Result<End, String>,
    ended_at: Nanos,
    status: Arc<Status>,
}

impl Outcome {
    /// When rows were released, in milliseconds.
    fn millis(&self) -> Vec<u64> {
        self.seen.iter().map(|seen| seen.at / 1_000_000).collect()
    }
}

fn replay(plan: Plan, times: &[Micros], script: &[(Nanos, Act)], full: Option<(Nanos, Nanos)>) -> Outcome {
    let (commands, receiver) = mpsc::channel();
    let time = VirtualTime::default();
    let scripted = Scripted { time: time.clone(), script: RefCell::new(script.to_vec()), commands: commands.clone() };
    let notes = Notes { time: time.clone(), seen: Rc::default(), full };
    let status = Arc::<Status>::default();
    let rows = List { times: times.to_vec(), next: 0 };
    let mut pacer = Pacer::new(scripted, rows, notes.clone(), plan, receiver, status.clone());
    let end = pacer.run();
    let seen = notes.seen.borrow().clone();
    drop(commands);
    Outcome { seen, end, ended_at: time.now(), status }
}

fn seconds(list: &[f64]) -> Vec<Micros> {
    list.iter().map(|second| (second * SECOND as f64) as Micros).collect()
}

#[test]
fn the_n_th_window_comes_n_seconds_after_the_start_at_every_rate() {
    for rate in [0.5, 1.0, 2.0, 8.0] {
        // a row in the middle of each window
        let times: Vec<Micros> = (0..6).map(|n| ((f64::from(n) + 0.5) * rate * SECOND as f64) as Micros).collect();
        let outcome = replay(plan(Pace::Window, rate, (6.0 * rate * SECOND as f64) as Micros), &times, &[], None);
        assert_eq!(outcome.millis(), [0, 1_000, 2_000, 3_000, 4_000, 5_000], "{rate}");
        assert_eq!(outcome.end, Ok(End::Complete));
    }
}

#[test]
fn events_come_at_their_own_time() {
    let outcome = replay(plan(Pace::Event, 2.0, 10 * SECOND), &seconds(&[0.0, 0.5, 0.5, 7.0]), &[], None);
    assert_eq!(outcome.millis(), [0, 250, 250, 3_500]);
}

#[test]
fn flat_does_not_wait() {
    let outcome = replay(plan(Pace::Flat, 1.0, 1_000 * SECOND), &seconds(&[0.0, 100.0, 900.0]), &[], None);
    assert_eq!((outcome.millis(), outcome.ended_at), (vec![0, 0, 0], 0));
}

#[test]
fn empty_windows_keep_time_up_to_an_end_that_was_asked_for() {
    let times = seconds(&[0.2, 4.0]);
    let asked = replay(plan(Pace::Window, 1.0, 8 * SECOND), &times, &[], None);
    assert_eq!((asked.millis(), asked.ended_at / NANOS), (vec![0, 4_000], 7));
    let counts = |outcome: &Outcome| {
        (outcome.status.windows.load(Ordering::Relaxed), outcome.status.empty_windows.load(Ordering::Relaxed))
    };
    assert_eq!(counts(&asked), (8, 6));
    let open = replay(Plan { end_given: false, end: 4 * SECOND + 1, ..plan(Pace::Window, 1.0, 0) }, &times, &[], None);
    assert_eq!((open.millis(), open.ended_at / NANOS), (vec![0, 4_000], 4));
    assert_eq!(counts(&open), (5, 3));
}

#[test]
fn a_row_on_a_boundary_and_one_a_microsecond_before_it() {
    let outcome = replay(plan(Pace::Window, 1.0, 3 * SECOND), &[SECOND - 1, SECOND, SECOND, 2 * SECOND - 1], &[], None);
    assert_eq!(outcome.millis(), [0, 1_000, 1_000, 1_000]);
}

#[test]
fn a_pause_moves_everything_behind_it() {
    let script = [(NANOS, Act::Command(Command::Pause)), (11 * NANOS, Act::Command(Command::Resume))];
    let outcome = replay(plan(Pace::Event, 1.0, 10 * SECOND), &seconds(&[0.0, 1.0, 2.0, 3.0]), &script, None);
    assert_eq!(outcome.millis()[..2], [0, 1_000]);
    assert!(
        outcome.millis()[2].abs_diff(12_000) <= 20 && outcome.millis()[3].abs_diff(13_000) <= 20,
        "{:?}",
        outcome.millis()
    );
}

#[test]
fn a_new_rate_counts_from_where_it_was_set() {
    let script = [(2 * NANOS, Act::Command(Command::Rate(4.0)))];
    let outcome = replay(plan(Pace::Event, 1.0, 20 * SECOND), &seconds(&[0.0, 2.0, 6.0, 10.0]), &script, None);
    assert_eq!(outcome.millis(), [0, 2_000, 3_000, 4_000]);
}

#[test]
fn a_seek_back_begins_a_new_pass_and_one_ahead_does_not() {
    let script = [(2_500_000_000, Act::Command(Command::Seek(0)))];
    let outcome = replay(plan(Pace::Event, 1.0, 10 * SECOND), &seconds(&[0.0, 1.0, 2.0, 3.0]), &script, None);
    let passes: Vec<(u32, Micros)> =
        outcome.seen.iter().map(|seen| (seen.release.place.pass, seen.release.place.time / SECOND)).collect();
    assert_eq!(passes, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)]);
    let script = [(1_500_000_000, Act::Command(Command::Seek(8 * SECOND)))];
    let outcome = replay(plan(Pace::Event, 1.0, 10 * SECOND), &seconds(&[0.0, 1.0, 2.0, 8.5]), &script, None);
    let places: Vec<(u32, Micros)> =
        outcome.seen.iter().map(|seen| (seen.release.place.pass, seen.release.place.time)).collect();
    assert_eq!(places, [(0, 0), (0, SECOND), (0, 8_500_000)]);
    assert!(outcome.millis()[2].abs_diff(2_000) <= 20, "{:?}", outcome.millis());
}

#[test]
fn long_waits_are_cut() {
    let cut = Plan { max_gap: Some(Duration::from_secs(5)), ..plan(Pace::Window, 1.0, 10_001 * SECOND) };
    let outcome = replay(cut.clone(), &seconds(&[0.0, 3.0, 9_000.0, 9_001.0, 10_000.0]), &[], None);
    assert_eq!(outcome.millis(), [0, 3_000, 8_000, 9_000, 14_000]);
    let events = Plan { pace: Pace::Event, ..cut };
    assert_eq!(replay(events, &seconds(&[100.0, 100.5, 9_000.0]), &[], None).millis(), [5_000, 5_500, 10_500]);
}

#[test]
fn a_loop_goes_on_at_the_same_cadence_until_it_is_stopped() {
    let endless = Plan { repeat: true, ..plan(Pace::Window, 1.0, 2 * SECOND) };
    let script = [(5_500_000_000, Act::Command(Command::Stop))];
    let outcome = replay(endless, &seconds(&[0.0, 1.0]), &script, None);
    assert_eq!(outcome.millis(), [0, 1_000, 2_000, 3_000, 4_000, 5_000]);
    assert_eq!(outcome.end, Ok(End::Stopped));
    let passes: Vec<u32> = outcome.seen.iter().map(|seen| seen.release.place.pass).collect();
    assert_eq!(passes, [0, 0, 1, 1, 2, 2]);
}

#[test]
fn a_start_waits_for_its_wall_time_and_a_step_of_the_wall_clock_later_changes_nothing() {
    let late = Plan { start_at: Some(60 * SECOND), ..plan(Pace::Event, 1.0, 10 * SECOND) };
    let steps = [(10 * NANOS, Act::StepWall(30 * SECOND)), (31 * NANOS, Act::StepWall(-3_600 * SECOND))];
    let outcome = replay(late, &seconds(&[0.0, 1.0, 2.0]), &steps, None);
    assert_eq!(outcome.millis(), [30_000, 31_000, 32_000]);
}

#[test]
fn times_are_published_as_if_the_first_were_now() {
    let now = Plan { retime: true, ..plan(Pace::Event, 1.0, 10 * SECOND) };
    let outcome = replay(Plan { start: 5 * SECOND, ..now }, &seconds(&[5.0, 6.0]), &[], None);
    let published: Vec<Micros> = outcome.seen.iter().map(|seen| seen.release.published).collect();
    assert_eq!(published, [0, SECOND]);
}

#[test]
fn a_full_queue_delays_and_the_cadence_is_caught_up() {
    let outcome = replay(
        plan(Pace::Window, 1.0, 5 * SECOND),
        &seconds(&[0.0, 1.0, 2.0, 3.0, 4.0]),
        &[],
        Some((NANOS, 3 * NANOS + 5)),
    );
    assert_eq!(outcome.millis(), [0, 3_000, 3_000, 3_000, 4_000]);
    let dues: Vec<Nanos> = outcome.seen.iter().map(|seen| seen.release.due / NANOS).collect();
    assert_eq!(dues, [0, 1, 2, 3, 4], "lateness is told from when rows were due");
}

#[test]
fn a_resumed_replay_is_due_at_once_and_keeps_its_windows() {
    let resumed = Plan { resumed: Some(3), ..plan(Pace::Window, 2.0, 10 * SECOND) };
    let outcome = replay(resumed, &seconds(&[5.0, 5.9, 6.0]), &[], None);
    assert_eq!(outcome.millis(), [0, 0, 1_000]);
    assert!(outcome.seen.iter().all(|seen| seen.release.place.pass == 3));
}

fn command() -> impl Strategy<Value = Act> {
    prop_oneof![
        Just(Act::Command(Command::Pause)),
        Just(Act::Command(Command::Resume)),
        Just(Act::Command(Command::Toggle)),
        (0.1_f64..50.0).prop_map(|rate| Act::Command(Command::Rate(rate))),
        (-10_000_000_000_i64..10_000_000_000).prop_map(Act::StepWall),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever is asked of the clock and whatever happens to the wall clock: every row of the range is released once, in
    /// order, never early, and at once when it is due.
    #[test]
    fn every_row_once_in_order_and_never_early(
        mut times in proptest::collection::vec(0_i64..30_000_000, 0..60),
        script in proptest::collection::vec((0_u64..20_000_000_000, command()), 0..8),
        rate in 0.5_f64..20.0,
        is_event in any::<bool>(),
    ) {
        times.sort_unstable();
        let mut script = script;
        script.sort_by_key(|(at, _)| *at);
        // whatever was paused goes on
        script.push((25 * NANOS, Act::Command(Command::Resume)));
        let pace = if is_event { Pace::Event } else { Pace::Window };
        let outcome = replay(plan(pace, rate, 30 * SECOND), &times, &script, None);
        prop_assert_eq!(outcome.end, Ok(End::Complete));
        let released: Vec<Micros> = outcome.seen.iter().map(|seen| seen.release.place.time).collect();
        prop_assert_eq!(released, times);
        for seen in &outcome.seen {
            prop_assert!(seen.at >= seen.release.due, "early: {:?}", seen);
            prop_assert!(seen.at - seen.release.due <= SLICE, "late: {:?}", seen);
        }
    }

    /// With seeks: within a pass rows stay in order, and after the last seek every row behind it is released.
    #[test]
    fn seeks_lose_nothing_behind_them(
        mut times in proptest::collection::vec(0_i64..10_000_000, 1..40),
        seeks in proptest::collection::vec((0_u64..8_000_000_000, 0_i64..10_000_000), 1..5),
    ) {
        times.sort_unstable();
        let mut seeks = seeks;
        seeks.sort_by_key(|(at, _)| *at);
        let script: Vec<(Nanos, Act)> = seeks.iter().map(|(at, to)| (*at, Act::Command(Command::Seek(*to)))).collect();
        let outcome = replay(plan(Pace::Event, 1.0, 10 * SECOND), &times, &script, None);
        prop_assert_eq!(outcome.end.clone(), Ok(End::Complete));
        for pair in outcome.seen.windows(2) {
            let of = |seen: &Seen| (seen.release.place.pass, seen.release.place.time);
            prop_assert!(of(&pair[0]) <= of(&pair[1]), "{:?}", pair);
        }
        // seeks that came while the replay ran
        if let Some((_, to)) = seeks.iter().rfind(|(at, _)| *at <= outcome.ended_at) {
            let expected = times.iter().filter(|time| *time >= to).count();
            let last_pass: Vec<&Seen> = outcome.seen.iter().rev().take(expected).collect();
            prop_assert!(last_pass.iter().all(|seen| seen.release.place.time >= *to), "{to}");
        }
    }
}
