//! Starts each claimed task at its due time, if the lease outlives the attempt and the endpoint has room, and decides what a
//! failed attempt leads to.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use pe_runtime::clock::Clock;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};

use crate::attempt::{Endpoint, Outcome, Reason, ReasonKind, Sender};
use crate::store::Store;
use crate::task::{Claimed, Completion, End, stored_endpoint};

use super::held::BootInstant;
use super::leased::Leased;
use super::{Batch, Line, Shared, Write};

/// How often rooms are asked for anew, in case a sender does not tell.
const ROOM_TICK: Duration = Duration::from_millis(250);

/// Endpoints that are remembered without a task that waits for them.
const LINES_MAX: usize = 10_000;

/// A claimed task and when it is to be fired.
struct Ready {
    task: Claimed,
    endpoint: Endpoint,
    fire_at: Instant,
}

/// Orders tasks by their time, and among equals by their arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place(Instant, u64);

struct Dispatcher<S, X> {
    shared: Arc<Shared<S, X>>,
    writes: mpsc::UnboundedSender<Write>,
    clock: Clock,
    /// Tasks that are not due yet.
    ahead: BinaryHeap<Reverse<Place>>,
    ready: HashMap<u64, Ready>,
    arrivals: u64,
    /// Due tasks whose endpoint has no room.
    waiting: HashMap<Endpoint, VecDeque<Ready>>,
    attempts: JoinSet<Option<Outcome>>,
    flights: HashMap<Id, Ready>,
}

/// Dispatches until the stopper is set, the claimer has ended, and no attempt is under way.
pub(super) async fn run<S: Store, X: Sender>(
    shared: Arc<Shared<S, X>>,
    mut batches: mpsc::Receiver<Batch>,
    writes: mpsc::UnboundedSender<Write>,
) {
    let mut dispatcher = Dispatcher {
        shared: shared.clone(),
        writes,
        clock: Clock::system(),
        ahead: BinaryHeap::new(),
        ready: HashMap::new(),
        arrivals: 0,
        waiting: HashMap::new(),
        attempts: JoinSet::new(),
        flights: HashMap::new(),
    };
    while !shared.stopper.requested() {
        dispatcher.start_due().await;
        let next = dispatcher.next();
        tokio::select! {
            Some(batch) = batches.recv() => dispatcher.accept(batch),
            Some(ended) = dispatcher.attempts.join_next_with_id() => dispatcher.ended(ended).await,
            () = sleep_until(next) => {}
            () = shared.sender.room_changed() => dispatcher.start_waiting().await,
            () = tokio::time::sleep(ROOM_TICK), if !dispatcher.waiting.is_empty() => {
                dispatcher.start_waiting().await;
                dispatcher.park_stuck();
            }
            () = shared.stopper.wait() => {}
        }
    }
    dispatcher.drain(batches).await;
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

impl<S: Store, X: Sender> Dispatcher<S, X> {
    /// Takes over what was claimed: each task is due so long after the answer arrived.
    fn accept(&mut self, batch: Batch) {
        for task in batch.tasks {
            let wait = Duration::from_micros(u64::try_from(task.due_in_micros).unwrap_or(0));
            let endpoint = self.shared.sender.endpoint_of(&task.url);
            let fire_at = batch.received + wait;
            if task.due_in_micros < 0 {
                self.shared.metrics.overdue.inc();
            }
            self.arrivals += 1;
            self.ahead.push(Reverse(Place(fire_at, self.arrivals)));
            self.ready.insert(self.arrivals, Ready { task, endpoint, fire_at });
        }
    }

    /// Returns when the next task is due, unless so many requests are under way that it has to wait for one of them.
    fn next(&self) -> Option<Instant> {
        let full = self.attempts.len() >= self.shared.options.in_flight_max;
        self.ahead.peek().filter(|_| !full).map(|Reverse(Place(at, _))| *at)
    }

    async fn start_due(&mut self) {
        let now = self.clock.monotonic();
        while self.next().is_some_and(|at| at <= now) {
            let Some(Reverse(Place(_, arrival))) = self.ahead.pop() else { return };
            let Some(ready) = self.ready.remove(&arrival) else { continue };
            self.start_or_wait(ready).await;
        }
    }

    /// Starts a due task, or lets it wait behind others of its endpoint, in memory or, where many wait, in the database.
    async fn start_or_wait(&mut self, ready: Ready) {
        let name = stored_endpoint(ready.endpoint.as_str());
        if self.shared.is_disabled(&name) {
            let words = "the endpoint answered 410 Gone before; `endpoints enable` lets it get requests again";
            let reason = Reason::new(ReasonKind::EndpointGone, words);
            return self.write(&ready, End::Failed { reason });
        }
        let line = self.waiting.get(&ready.endpoint).map_or(0, VecDeque::len);
        if line == 0 && self.shared.sender.has_room(&ready.endpoint) {
            self.note_line(&name, 0, true);
            self.start(ready).await;
        } else if line < self.shared.options.waiting_max {
            self.waiting.entry(ready.endpoint.clone()).or_default().push_back(ready);
            self.note_line(&name, line + 1, false);
        } else {
            self.write(&ready, End::Parked);
        }
    }

    /// Notes how many tasks wait for an endpoint; `moved` if a request to it was just started.
    fn note_line(&self, name: &str, tasks: usize, moved: bool) {
        let now = self.clock.monotonic();
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let line = waiting.entry(name.to_owned()).or_insert(Line { tasks, moved: now });
        if moved || line.tasks == 0 && tasks > 0 {
            line.moved = now;
        }
        line.tasks = tasks;
        if tasks == 0 && waiting.len() > LINES_MAX {
            waiting.retain(|_, line| line.tasks > 0 || line.is_moving(now));
        }
    }

    /// Lets the tasks of endpoints that have had no room for a while wait in the database: what is hopeless takes no place from
    /// others.
    fn park_stuck(&mut self) {
        let now = self.clock.monotonic();
        let stuck = |endpoint: &Endpoint| {
            let name = stored_endpoint(endpoint.as_str());
            !self.shared.line(&name, now).1
        };
        let endpoints: Vec<Endpoint> = self.waiting.keys().filter(|endpoint| stuck(endpoint)).cloned().collect();
        for endpoint in endpoints {
            for ready in self.waiting.remove(&endpoint).into_iter().flatten() {
                self.write(&ready, End::Parked);
            }
            self.note_line(&stored_endpoint(endpoint.as_str()), 0, false);
        }
    }

    /// Sends a request, if the lease is still this pod's and outlives the longest attempt. A task without such a lease is left:
    /// another pod has it, or claims it when the lease has expired.
    async fn start(&mut self, ready: Ready) {
        let options = &self.shared.options;
        if !self.shared.held.outlives(ready.task.lease, BootInstant::now() + options.attempt_timeout) {
            return self.leave(&ready, "not fired, for its lease ends too soon");
        }
        let now = self.clock.monotonic();
        self.shared.metrics.fired(now.saturating_duration_since(ready.fire_at), ready.task.due_in_micros);
        let (shared, request, deadline) = (self.shared.clone(), ready.task.request(), now + options.attempt_timeout);
        let (held, lease) = (self.shared.held.clone(), ready.task.lease);
        let send = async move { shared.sender.send(request, deadline).await };
        let mut attempt = Leased::new(held, lease, send);
        // polled once at once, so that the sender counts the request before it is asked for room again
        match futures_util::poll!(&mut attempt) {
            Poll::Ready(outcome) => self.finished(&ready, outcome),
            Poll::Pending => {
                let id = self.attempts.spawn(attempt).id();
                self.flights.insert(id, ready);
                self.shared.metrics.in_flight.set(i64::try_from(self.flights.len()).unwrap_or(i64::MAX));
            }
        }
    }

    /// Leaves a task whose lease is over, or nearly so, to whoever claims it next.
    fn leave(&self, ready: &Ready, why: &str) {
        self.shared.held.remove(ready.task.lease);
        self.shared.metrics.lost_leases.inc();
        tracing::warn!("Task {}: {why}.", ready.task.lease.id);
    }

    async fn ended(&mut self, ended: Result<(Id, Option<Outcome>), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => {
                tracing::error!("An attempt broke off: {error}.");
                let reason = Reason::new(ReasonKind::BadAnswer, "the attempt broke off by a fault of the program");
                (error.id(), Some(Outcome::Retry { reason, after: None }))
            }
        };
        let Some(ready) = self.flights.remove(&id) else { return };
        self.shared.metrics.in_flight.set(i64::try_from(self.flights.len()).unwrap_or(i64::MAX));
        self.finished(&ready, outcome);
        self.start_waiting_for(&ready.endpoint).await;
    }

    /// Decides what an outcome means for the task.
    fn finished(&self, ready: &Ready, outcome: Option<Outcome>) {
        let Some(outcome) = outcome else { return self.leave(ready, "its lease ended before the attempt did") };
        let end = match outcome {
            Outcome::Done { status } => End::Done { status },
            Outcome::Failed { reason } => End::Failed { reason },
            Outcome::Refused { reason } => End::Refused { reason },
            Outcome::EndpointGone { reason } => {
                self.disable(&ready.endpoint, &reason);
                End::Failed { reason }
            }
            Outcome::Retry { reason, after } => match self.shared.options.schedule.delay(ready.task.attempts + 1) {
                Some(delay) => End::Retry { delay: after.unwrap_or(delay), reason },
                None => End::Failed { reason },
            },
        };
        self.write(ready, end);
    }

    fn disable(&self, endpoint: &Endpoint, reason: &Reason) {
        tracing::warn!(
            "{endpoint} answered 410 Gone: it gets no further requests until `endpoints enable {endpoint}`."
        );
        let name = stored_endpoint(endpoint.as_str());
        self.shared.disabled.write().unwrap_or_else(PoisonError::into_inner).insert(name);
        let _ = self.shared.gone.send((endpoint.clone(), reason.to_string()));
    }

    fn write(&self, ready: &Ready, end: End) {
        let endpoint = stored_endpoint(ready.endpoint.as_str());
        let id = ready.task.lease.id;
        match (&end, end.reason()) {
            (End::Failed { .. } | End::Refused { .. }, Some(reason)) => {
                tracing::warn!(task = %id, endpoint, "Task {id} {}: {reason}", end.state());
            }
            (_, Some(reason)) => tracing::debug!(task = %id, endpoint, "Task {id} is tried again later: {reason}"),
            (_, None) => {}
        }
        // fails only when the writer has ended, and then the lease expires
        let _ = self.writes.send(Write::Complete(Completion { lease: ready.task.lease, endpoint, end }));
    }

    async fn start_waiting(&mut self) {
        let endpoints: Vec<Endpoint> = self.waiting.keys().cloned().collect();
        for endpoint in endpoints {
            self.start_waiting_for(&endpoint).await;
        }
    }

    async fn start_waiting_for(&mut self, endpoint: &Endpoint) {
        let name = stored_endpoint(endpoint.as_str());
        while self.attempts.len() < self.shared.options.in_flight_max && self.shared.sender.has_room(endpoint) {
            let Some(line) = self.waiting.get_mut(endpoint) else { return };
            let (next, left) = (line.pop_front(), line.len());
            if left == 0 {
                self.waiting.remove(endpoint);
            }
            self.note_line(&name, left, true);
            if left < self.shared.options.waiting_max / 2 {
                self.shared.wake.notify_one();
            }
            match next {
                Some(ready) => self.start(ready).await,
                None => return,
            }
        }
    }

    /// Gives back what was not started, and waits for what is under way.
    async fn drain(&mut self, mut batches: mpsc::Receiver<Batch>) {
        self.give_back();
        let mut open = true;
        while open || !self.attempts.is_empty() {
            tokio::select! {
                batch = batches.recv(), if open => match batch {
                    Some(batch) => {
                        self.accept(batch);
                        self.give_back();
                    }
                    None => open = false,
                },
                Some(ended) = self.attempts.join_next_with_id() => self.ended(ended).await,
            }
        }
    }

    fn give_back(&mut self) {
        let now = self.clock.monotonic();
        self.ahead.clear();
        let waiting = self.waiting.drain().flat_map(|(_, line)| line);
        let held = self.ready.drain().map(|(_, ready)| ready).chain(waiting);
        let held: Vec<_> = held.map(|ready| (ready.task.lease, ready.fire_at.saturating_duration_since(now))).collect();
        if !held.is_empty() {
            let _ = self.writes.send(Write::GiveBack(held));
        }
    }
}
