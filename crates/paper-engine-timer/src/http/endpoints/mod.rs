//! Keeps endpoints apart, so that a slow or dead one delays nobody else: concurrency, rate and a circuit breaker for each server
//! and each endpoint, and one cap on everything that is under way.

mod breaker;
mod config;
mod gate;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

#[cfg(test)]
pub(super) use breaker::FAILURES_TO_OPEN;
pub use breaker::{OPEN_FIRST, Verdict};
pub use config::{BadEndpoints, EndpointGroup, EndpointGroups};
use gate::{Gate, Limits};

use super::target_url::TargetUrl;
use crate::attempt::Endpoint;

/// So many failing endpoints are remembered; those that have been idle longest are not.
const REMEMBERED_MAX: usize = 10_000;
/// The endpoint of URLs that cannot be parsed.
const UNUSABLE: &str = "unusable URL";

/// How much is sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Requests under way in this process.
    pub total: usize,
    /// Requests under way at one server: scheme, host and port.
    pub per_host: usize,
    /// Leaves failing servers alone. Without retries it is off: a task then fails by its own attempt, as in the original.
    pub breaker: Breaking,
}

/// Says if circuit breakers are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Breaking {
    #[default]
    On,
    Off,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { total: 1024, per_host: 64, breaker: Breaking::On }
    }
}

/// All endpoints of a process. Clones share one state.
#[derive(Clone)]
pub struct Endpoints(Arc<Shared>);

struct Shared {
    groups: EndpointGroups,
    concurrency: Concurrency,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    in_flight: usize,
    hosts: HashMap<Box<str>, Gate>,
    endpoints: HashMap<Endpoint, Gate>,
    disabled: HashSet<Endpoint>,
}

/// Why a request cannot start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Places or the rate are used up; some place will be free again.
    Full,
    /// A breaker is open, until the instant if that is known.
    Broken(Option<Instant>),
}

impl Endpoints {
    /// Starts with nothing known about any endpoint.
    pub fn new(groups: EndpointGroups, concurrency: Concurrency) -> Self {
        Self(Arc::new(Shared { groups, concurrency, state: Mutex::default(), changed: Notify::new() }))
    }

    /// Returns the endpoint of a task's URL: its group, else scheme, host, port and path.
    pub fn endpoint_of(&self, url: &str) -> Endpoint {
        match TargetUrl::parse(url) {
            Ok(url) => {
                self.0.groups.of(&url).map_or_else(|| Endpoint::new(&url.to_string()), |group| group.endpoint.clone())
            }
            Err(_) => Endpoint::new(UNUSABLE),
        }
    }

    /// Returns the configuration of an endpoint, if it is a group.
    pub fn group(&self, endpoint: &Endpoint) -> Option<&EndpointGroup> {
        self.0.groups.named(endpoint)
    }

    /// Returns `true` if a request to the endpoint can start at `now`.
    pub fn has_room(&self, endpoint: &Endpoint, now: Instant) -> bool {
        self.room(&self.lock(), endpoint, now).is_ok()
    }

    /// Takes a place for one request, which ends with the permit.
    pub fn start(&self, endpoint: &Endpoint, now: Instant) -> Result<Permit, NoRoom> {
        let mut state = self.lock();
        self.room(&state, endpoint, now)?;
        let (host, own) = self.limits(endpoint);
        state.in_flight += 1;
        state.hosts.entry(origin(endpoint).into()).or_default().start(host, now);
        state.endpoints.entry(endpoint.clone()).or_default().start(own, now);
        Ok(Permit { endpoints: self.clone(), endpoint: endpoint.clone(), finished: false })
    }

    /// Replaces the set of disabled endpoints by what the database says.
    pub fn set_disabled(&self, disabled: HashSet<Endpoint>) {
        self.lock().disabled = disabled;
    }

    /// Adds one endpoint to the disabled ones, before the database has been asked again.
    pub fn disable(&self, endpoint: &Endpoint) {
        self.lock().disabled.insert(endpoint.clone());
    }

    /// Returns `true` if the endpoint gets no requests because it answered 410.
    pub fn is_disabled(&self, endpoint: &Endpoint) -> bool {
        self.lock().disabled.contains(endpoint)
    }

    /// Returns the number of requests under way.
    pub fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    /// Returns the servers and endpoints whose breakers keep requests back at `now`, in order of their names.
    pub fn broken(&self, now: Instant) -> Vec<String> {
        let state = self.lock();
        let hosts = state.hosts.iter().filter(|(_, gate)| gate.is_broken(now)).map(|(name, _)| name.to_string());
        let endpoints =
            state.endpoints.iter().filter(|(_, gate)| gate.is_broken(now)).map(|(name, _)| name.to_string());
        let mut names: Vec<String> = hosts.chain(endpoints).collect();
        names.sort();
        names
    }

    /// Resolves when a request has ended.
    pub fn request_ended(&self) -> Notified<'_> {
        self.0.changed.notified()
    }

    /// Returns the earliest time after `now` at which a breaker or a rate lets a request through.
    pub fn next_opening(&self, now: Instant) -> Option<Instant> {
        let state = self.lock();
        let gates = state.hosts.values().chain(state.endpoints.values());
        gates.filter_map(Gate::opens_at).filter(|at| *at > now).min()
    }

    fn room(&self, state: &State, endpoint: &Endpoint, now: Instant) -> Result<(), NoRoom> {
        let (host, own) = self.limits(endpoint);
        let gates = [(state.hosts.get(origin(endpoint)), host), (state.endpoints.get(endpoint), own)];
        let gates = gates.into_iter().filter_map(|(gate, limits)| gate.map(|gate| (gate, limits)));
        let mut room = if state.in_flight < self.0.concurrency.total { Ok(()) } else { Err(NoRoom::Full) };
        for (gate, limits) in gates {
            if gate.is_broken(now) {
                return Err(NoRoom::Broken(gate.opens_at()));
            }
            if !gate.admits(limits, now) {
                room = Err(NoRoom::Full);
            }
        }
        room
    }

    /// Returns the limits of the endpoint's server and its own. A group that names its concurrency is not held to the server's.
    fn limits(&self, endpoint: &Endpoint) -> (Limits, Limits) {
        let own = self.group(endpoint).map(|group| group.limits).unwrap_or_default();
        let per_host = self.0.concurrency.per_host.max(own.concurrency.unwrap_or(0));
        (Limits { concurrency: Some(per_host), rate: None }, own)
    }

    fn finish(&self, endpoint: &Endpoint, host: Verdict, own: Verdict, now: Instant) {
        let broken = self.0.concurrency.breaker == Breaking::On;
        let counted = |verdict| if broken { verdict } else { Verdict::Unknown };
        let mut state = self.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        if let Some(gate) = state.hosts.get_mut(origin(endpoint)) {
            gate.finish(counted(host), now);
        }
        if let Some(gate) = state.endpoints.get_mut(endpoint) {
            gate.finish(counted(own), now);
        }
        state.forget(endpoint, now);
        drop(state);
        self.0.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets what says nothing any more, so that a URL of its own for each task does not fill the memory.
    fn forget(&mut self, endpoint: &Endpoint, now: Instant) {
        if self.endpoints.get(endpoint).is_some_and(|gate| gate.is_blank(now)) {
            self.endpoints.remove(endpoint);
        }
        if self.hosts.get(origin(endpoint)).is_some_and(|gate| gate.is_blank(now)) {
            self.hosts.remove(origin(endpoint));
        }
        if self.endpoints.len() > REMEMBERED_MAX {
            self.endpoints.retain(|_, gate| !gate.is_idle());
        }
        if self.hosts.len() > REMEMBERED_MAX {
            self.hosts.retain(|_, gate| !gate.is_idle());
        }
    }
}

/// Returns `scheme://host:port` of an endpoint's name.
fn origin(endpoint: &Endpoint) -> &str {
    let name = endpoint.as_str();
    let host = name.find("://").map_or(0, |at| at + 3);
    let end = name[host..].find('/').map_or(name.len(), |at| host + at);
    &name[..end]
}

/// A place that one request takes. Dropped without [`Permit::finish`], it says nothing about the server.
pub struct Permit {
    endpoints: Endpoints,
    endpoint: Endpoint,
    finished: bool,
}

impl Permit {
    /// Gives the place back and notes what the attempt says about the server and about the endpoint.
    pub fn finish(mut self, host: Verdict, endpoint: Verdict, now: Instant) {
        self.finished = true;
        self.endpoints.finish(&self.endpoint, host, endpoint, now);
    }
}

impl Drop for Permit {
    #[allow(
        clippy::disallowed_methods,
        reason = "a dropped future hands in no clock, and the time decides nothing here"
    )]
    fn drop(&mut self) {
        if !self.finished {
            self.endpoints.finish(&self.endpoint, Verdict::Unknown, Verdict::Unknown, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
