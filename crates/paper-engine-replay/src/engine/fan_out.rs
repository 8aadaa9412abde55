//! Puts each released row into the queue of each destination that does not have it yet.

use std::sync::Arc;

use crate::clock::Nanos;
use crate::histogram::Histogram;
use crate::pacer::{Release, Sink};
use crate::place::{Place, Position};
use crate::queue::Queue;

/// The queues of all destinations.
pub struct FanOut {
    targets: Vec<Target>,
    late: Arc<Histogram>,
}

struct Target {
    queue: Arc<Queue>,
    /// Rows up to this place are there already: of a resumed replay.
    filter: Option<Filter>,
    /// The row that is being offered is in the queue.
    has_it: bool,
}

struct Filter {
    done: Place,
    /// Rows of the place's tie. Whether they come behind it is known once the place's own row has come, or not.
    tie: Vec<Release>,
}

impl FanOut {
    /// Makes a sink. `dones` are the places that destinations have; rows behind `behind` are missing everywhere.
    pub fn new(
        queues: Vec<Arc<Queue>>,
        dones: Vec<Option<Place>>,
        behind: Option<&Place>,
        late: Arc<Histogram>,
    ) -> Self {
        let filter =
            |done: Option<Place>| done.filter(|done| Some(done) != behind).map(|done| Filter { done, tie: Vec::new() });
        let targets = queues.into_iter().zip(dones);
        let targets = targets.map(|(queue, done)| Target { queue, filter: filter(done), has_it: false }).collect();
        Self { targets, late }
    }
}

impl Target {
    /// Returns `false` if there is no room.
    fn offer(&mut self, release: &Release) -> bool {
        let Some(filter) = &mut self.filter else { return self.queue.push(release) };
        match release.place.position_to(&filter.done) {
            Position::Before => true,
            Position::Tie if release.place.key == filter.done.key => {
                self.filter = None;
                true
            }
            Position::Tie => {
                filter.tie.push(release.clone());
                true
            }
            Position::After => self.pass_tie() && self.queue.push(release),
        }
    }

    /// Publishes a tie whose acknowledged row is gone: better some rows twice than one never.
    fn pass_tie(&mut self) -> bool {
        let Some(filter) = &mut self.filter else { return true };
        while let Some(release) = filter.tie.first() {
            if !self.queue.push(release) {
                return false;
            }
            filter.tie.remove(0);
        }
        self.filter = None;
        true
    }
}

impl Sink for FanOut {
    fn offer(&mut self, release: &Release) -> bool {
        let mut all = true;
        for target in &mut self.targets {
            target.has_it = target.has_it || target.offer(release);
            all &= target.has_it;
        }
        if all {
            self.targets.iter_mut().for_each(|target| target.has_it = false);
        }
        all
    }

    fn released(&mut self, late: Nanos) {
        self.late.add(late);
    }

    fn is_drained(&self) -> bool {
        self.targets.iter().all(|target| target.queue.is_drained())
    }

    fn finish(&mut self) {
        for target in &mut self.targets {
            target.pass_tie();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Limits, OnLag};
    use bytes::Bytes;

    fn release(time: i64, key: &str) -> Release {
        let place = Place { pass: 0, time, table: 0, key: vec![key.to_owned()] };
        Release { place, published: time, payload: Bytes::new(), group: Arc::from(""), due: 0 }
    }

    async fn passed(done: Option<Release>, rows: &[Release]) -> Vec<String> {
        let queue = Arc::new(Queue::new(OnLag::Queue, Limits::default(), vec!["t".to_owned()]));
        let mut sink = FanOut::new(vec![queue.clone()], vec![done.map(|done| done.place)], None, Arc::default());
        rows.iter().for_each(|row| assert!(sink.offer(row)));
        sink.finish();
        queue.close();
        queue.pop(100, usize::MAX).await.into_iter().map(|entry| entry.release.place.key[0].clone()).collect()
    }

    #[tokio::test]
    async fn a_destination_gets_what_comes_behind_its_place() {
        let rows = [release(1, "a"), release(2, "b"), release(2, "c"), release(2, "d"), release(3, "e")];
        assert_eq!(passed(None, &rows).await, ["a", "b", "c", "d", "e"]);
        assert_eq!(passed(Some(release(2, "c")), &rows).await, ["d", "e"]);
        assert_eq!(passed(Some(release(3, "e")), &rows).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_tie_whose_row_is_gone_comes_again() {
        let rows = [release(1, "a"), release(2, "b"), release(2, "d"), release(3, "e")];
        assert_eq!(passed(Some(release(2, "c")), &rows).await, ["b", "d", "e"]);
        assert_eq!(passed(Some(release(2, "c")), &rows[..3]).await, ["b", "d"], "at the end too");
    }
}
