//! Puts the parts of a replay together: checks everything, starts pacer and lanes, and waits for their end.

mod fan_out;
mod prepare;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pe_publish::Publisher;
use pe_runtime::clock::Clock;
use pe_runtime::shutdown::Stopper;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::checkpoint::{Checkpoint, CheckpointFile, Done, Resume};
use crate::clock_feed::ClockFeed;
use crate::config::Config;
use crate::control::{Command, Status};
use crate::histogram::Histogram;
use crate::lane::{Lane, Names, Tally};
use crate::pacer::{End, Pacer, Plan};
use crate::place::Place;
use crate::queue::{Limits, Queue};
use crate::reader::{Range, Readers};
use crate::report::{Lateness, Part, Report};
use crate::timekeeper::SystemTime;
use crate::timestamp::SECOND;

use fan_out::FanOut;

pub use prepare::{Failure, Prepared, check};

/// How long destinations may take after a stop was asked for.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// A destination's name, and what its lane and queue have counted.
pub type LaneView = (String, Arc<Tally>, Arc<Queue>);

/// What others see of a running replay, and how they steer it.
#[derive(Clone)]
pub struct Handle {
    pub status: Arc<Status>,
    pub late: Arc<Histogram>,
    pub lanes: Arc<Vec<LaneView>>,
    commands: Arc<Mutex<Sender<Command>>>,
}

impl Handle {
    /// Asks the pacer to do something.
    pub fn send(&self, command: Command) {
        let commands = self.commands.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // a pacer that has ended needs no commands
        let _ = commands.send(command);
    }
}

/// Where a replay begins.
struct Begin {
    file: Option<Arc<CheckpointFile>>,
    /// The last row of each destination.
    places: Vec<Option<Place>>,
    resume: Option<Resume>,
}

/// A replay that is about to begin.
pub struct Engine {
    config: Config,
    prepared: Prepared,
    stopper: Stopper,
    handle: Handle,
    commands: mpsc::Receiver<Command>,
    run: String,
}

impl Engine {
    /// Makes a replay of what was prepared. Nothing is published before [`Engine::run`].
    pub fn new(config: Config, prepared: Prepared, stopper: Stopper) -> Self {
        let (sender, commands) = mpsc::channel();
        let tables: Vec<String> = prepared.tables.iter().map(|table| table.facts.name.clone()).collect();
        let lane = |(name, _): &(String, Box<dyn Publisher>)| {
            let queue = Queue::new(config.on_lag, Limits::default(), tables.clone());
            (name.clone(), Arc::<Tally>::default(), Arc::new(queue))
        };
        let lanes = Arc::new(prepared.publishers.iter().map(lane).collect());
        let handle =
            Handle { status: Arc::default(), late: Arc::default(), lanes, commands: Arc::new(Mutex::new(sender)) };
        let run = prepared.checkpoint.as_ref().map_or_else(new_run, |checkpoint| checkpoint.run.clone());
        Self { config, prepared, stopper, handle, commands, run }
    }

    /// Returns what others steer the replay by.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Replays everything, and returns what it came to.
    ///
    /// # Errors
    /// Fails if a destination or the checkpoint cannot be used. What fails later is in the report.
    pub async fn run(mut self) -> Result<(Report, Option<Failure>), Failure> {
        let begun = SystemTime::monotonic();
        let Begin { file, places, resume } = self.checkpoint().await?;
        let mut lanes = self.start_lanes(file.as_ref(), &places);
        let (ended, pacer_ended) = oneshot::channel();
        let feed = self.start_clock_feed();
        self.start_pacer(resume, places, ended)?;
        let (end, failure) = self.wait(&mut lanes, pacer_ended).await;
        self.handle.lanes.iter().for_each(|(_, _, queue)| queue.close());
        let failure = failure.or(self.drain(&mut lanes, end).await);
        if let Some(feed) = feed {
            let _ = tokio::time::timeout(Duration::from_secs(2), feed).await;
        }
        let report = self.report(end, failure.as_ref(), SystemTime::monotonic() - begun);
        Ok((report, failure))
    }

    /// Sets destinations to where they are to begin, and opens the checkpoint.
    async fn checkpoint(&mut self) -> Result<Begin, Failure> {
        let names: Vec<Arc<str>> = self.prepared.tables.iter().map(|table| table.facts.name.as_str().into()).collect();
        let mut said = self.prepared.checkpoint.take();
        let resume = said.as_ref().and_then(Checkpoint::resume);
        let mut places = Vec::new();
        let fresh = said.is_none();
        let checkpoint = said.get_or_insert_with(|| Checkpoint::new(self.run.clone(), self.prepared.replay.clone()));
        for (name, publisher) in &mut self.prepared.publishers {
            let done = checkpoint.destinations.get(name.as_str()).cloned().unwrap_or_default();
            if let Some(position) = done.position.as_ref().filter(|_| !fresh) {
                publisher.resume_at(position).await?;
            }
            publisher.prepare(&names).await?;
            places.push(done.place.clone());
            checkpoint.destinations.insert(name.clone(), Done { position: publisher.position(), ..done });
        }
        let file = match (&self.config.checkpoint, said) {
            (Some(path), Some(said)) => {
                let file = CheckpointFile::create(path.clone(), said);
                let why = |error: std::io::Error| {
                    Failure::Misconfigured(format!("the checkpoint {} cannot be written: {error}", path.display()))
                };
                Some(Arc::new(file.map_err(why)?))
            }
            _ => None,
        };
        Ok(Begin { file, places, resume })
    }

    fn start_lanes(
        &mut self,
        file: Option<&Arc<CheckpointFile>>,
        places: &[Option<Place>],
    ) -> JoinSet<Result<(), String>> {
        let tables =
            self.prepared.tables.iter().map(|table| (table.facts.name.as_str().into(), table.facts.key_columns));
        let names = Arc::new(Names { source: self.prepared.source.name(), tables: tables.collect() });
        let mut lanes = JoinSet::new();
        let publishers = std::mem::take(&mut self.prepared.publishers);
        for (number, (name, publisher)) in publishers.into_iter().enumerate() {
            let (_, tally, queue) = &self.handle.lanes[number];
            let lane = Lane {
                name,
                publisher,
                queue: queue.clone(),
                names: names.clone(),
                tally: tally.clone(),
                checkpoint: file.cloned(),
                pack: 1,
                done: places[number].clone(),
                saved: SystemTime::monotonic(),
                is_unsaved: false,
            };
            lanes.spawn(lane.run());
        }
        lanes
    }

    fn start_clock_feed(&self) -> Option<tokio::task::JoinHandle<()>> {
        let destination = self.config.clock.clone()?;
        let feed = ClockFeed { destination, status: self.handle.status.clone(), run: self.run.clone() };
        Some(tokio::spawn(feed.run()))
    }

    /// Starts the thread that releases rows.
    fn start_pacer(
        &mut self,
        resume: Option<Resume>,
        places: Vec<Option<Place>>,
        ended: oneshot::Sender<Result<End, String>>,
    ) -> Result<(), Failure> {
        let replay = &self.prepared.replay;
        let resumed_pass = resume.as_ref().map(|resume| match resume {
            Resume::Behind(place) | Resume::InTie(place) => place.pass,
        });
        let plan = Plan {
            start: replay.start,
            end: replay.end,
            end_given: replay.end_given,
            pace: self.config.pace,
            rate: self.config.rate,
            window: self.config.window,
            max_gap: self.config.max_gap,
            repeat: self.config.repeat,
            start_at: self.config.start_at,
            retime: self.config.retime,
            resumed: resumed_pass,
        };
        let range = Range {
            source: self.prepared.source.clone(),
            tables: self.prepared.tables.clone(),
            end: replay.end,
            snapshot: self.config.snapshot,
        };
        let time = SystemTime::new(Clock::system());
        let shift = if plan.retime { crate::timekeeper::Timekeeper::wall(&time) - plan.start } else { 0 };
        let runtime = tokio::runtime::Handle::current();
        let (from, behind) = match &resume {
            None => (plan.start, None),
            Some(Resume::Behind(place)) => (place.time, Some(place)),
            Some(Resume::InTie(place)) => (place.time, None),
        };
        let rows = Readers::start(runtime, range, from, behind, shift);
        let queues = self.handle.lanes.iter().map(|(_, _, queue)| queue.clone()).collect();
        let sink = FanOut::new(queues, places, behind, self.handle.late.clone());
        let (_, unused) = mpsc::channel();
        let commands = std::mem::replace(&mut self.commands, unused);
        let mut pacer = Pacer::new(time, rows, sink, plan, commands, self.handle.status.clone());
        let thread = std::thread::Builder::new().name("pacer".to_owned());
        let started = thread.spawn(move || {
            let end = pacer.run();
            pacer.finish();
            let _ = ended.send(end);
        });
        started.map(|_| ()).map_err(|error| Failure::Unavailable(format!("cannot start a thread: {error}")))
    }

    /// Waits for the pacer's end, a signal, or the loss of a destination.
    async fn wait(
        &self,
        lanes: &mut JoinSet<Result<(), String>>,
        mut ended: oneshot::Receiver<Result<End, String>>,
    ) -> (End, Option<Failure>) {
        let mut failure = None;
        let mut asked = false;
        loop {
            tokio::select! {
                end = &mut ended => return match end {
                    Ok(Ok(end)) => (end, failure),
                    Ok(Err(why)) => (End::Stopped, failure.or(Some(Failure::Failed(why)))),
                    Err(_) => (End::Stopped, failure.or(Some(Failure::Failed("the pacer ended without a word".to_owned())))),
                },
                Some(lane) = lanes.join_next() => {
                    failure = failure.or(lost(lane));
                    self.handle.send(Command::Stop);
                }
                () = self.stopper.wait(), if !asked => {
                    asked = true;
                    self.handle.send(Command::Stop);
                }
            }
        }
    }

    /// Waits until the destinations have everything; after a stop only for a while.
    async fn drain(&self, lanes: &mut JoinSet<Result<(), String>>, end: End) -> Option<Failure> {
        let overdue = async {
            if end == End::Complete {
                self.stopper.wait().await;
            }
            tokio::time::sleep(STOP_GRACE).await;
        };
        let mut overdue = std::pin::pin!(overdue);
        let mut failure = None;
        loop {
            tokio::select! {
                lane = lanes.join_next() => match lane {
                    None => return failure,
                    Some(lane) => failure = failure.or(lost(lane)),
                },
                () = &mut overdue => {
                    lanes.abort_all();
                    let rows: usize = self.handle.lanes.iter().map(|(_, _, queue)| queue.marks().rows).sum();
                    let hint = match self.config.checkpoint {
                        Some(_) => "--resume goes on with them",
                        None => "without --checkpoint nothing remembers them",
                    };
                    return failure.or(Some(Failure::Unavailable(format!(
                        "{rows} released rows were not taken by their destinations in time; {hint}"
                    ))));
                }
            }
        }
    }

    fn report(&self, end: End, failure: Option<&Failure>, nanos: u64) -> Report {
        let status = &self.handle.status;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let seconds = nanos as f64 / 1e9;
        let passes = count(&status.pass) + 1;
        let covered = match end {
            End::Complete => self.prepared.replay.end - self.prepared.replay.start,
            End::Stopped => (status.last_time.load(Ordering::Relaxed) - self.prepared.replay.start).max(0),
        };
        let part = |(name, tally, queue): &LaneView| (name.clone(), Part::of(tally, queue));
        Report {
            program: "paper-engine-replay",
            version: env!("CARGO_PKG_VERSION"),
            end: match (failure, end) {
                (Some(_), _) => "failed",
                (None, End::Complete) => "complete",
                (None, End::Stopped) => "stopped",
            },
            error: failure.map(ToString::to_string),
            source: self.prepared.source.place(),
            tables: self.prepared.tables.iter().map(|table| table.facts.name.clone()).collect(),
            run: self.run.clone(),
            rows: count(&status.released),
            passes,
            windows: count(&status.windows),
            empty_windows: count(&status.empty_windows),
            seconds: (seconds * 1e6).round() / 1e6,
            effective_rate: covered as f64 / SECOND as f64 / seconds.max(1e-9),
            release_late_ms: Lateness::of(&self.handle.late),
            destinations: self.handle.lanes.iter().map(part).collect::<BTreeMap<_, _>>(),
        }
    }
}

fn lost(lane: Result<Result<(), String>, tokio::task::JoinError>) -> Option<Failure> {
    match lane {
        Ok(Ok(())) => None,
        // nobody reads the rows any more, like `head`
        Ok(Err(why)) if why.starts_with("console:") && why.contains("Broken pipe") => Some(Failure::Closed),
        Ok(Err(why)) => Some(Failure::Unavailable(why)),
        Err(error) => Some(Failure::Failed(format!("a lane ended: {error}"))),
    }
}

/// Returns a name for a run that no other has.
fn new_run() -> String {
    let at = Clock::system().utc().unix_timestamp_nanos();
    format!("{at:x}-{:x}", std::process::id())
}
