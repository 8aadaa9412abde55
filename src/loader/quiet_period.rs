//! Decides whether a reload is complete: its set of parts must not have changed for some time, as watched by this
//! process.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::decode::File;
use crate::source::{Entity, Pending, Status, Step};

/// Watches the parts of reloads.
pub struct QuietPeriod {
    quiet: Duration,
    clock: Clock,
    /// The parts of each table's pending reload, and since when they are so.
    seen: HashMap<Entity, (Vec<String>, Instant)>,
}

impl QuietPeriod {
    pub fn new(quiet: Duration, clock: Clock) -> Self {
        Self { quiet, clock, seen: HashMap::new() }
    }

    /// Returns the time that a delivery still has to wait, or `None` if it can begin.
    pub fn wait(&mut self, pending: &Pending) -> Option<Duration> {
        let is_reload = matches!(pending.step, Step::Replace | Step::Same | Step::Stop(Status::Held, _));
        if !is_reload || pending.file == File::Changes {
            return None;
        }
        let parts: Vec<String> = pending
            .objects
            .iter()
            .map(|object| format!("{} {} {}", object.listed.key, object.listed.etag, object.listed.modified))
            .collect();
        let now = self.clock.monotonic();
        let (seen, since) = self.seen.entry(pending.entity.clone()).or_insert_with(|| (parts.clone(), now));
        if *seen != parts {
            (*seen, *since) = (parts, now);
        }
        self.quiet.checked_sub(now - *since).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::source::{Listed, Object};

    fn reload(parts: &[(&str, i64)], step: Step) -> Pending {
        let listed = |(key, modified): &(&str, i64)| Listed {
            key: (*key).into(),
            etag: "e".into(),
            size: 1,
            modified: *modified,
        };
        let entity = Entity { schema: "dbo".into(), name: "e".into() };
        let objects = parts.iter().map(listed).map(Object::unknown).collect();
        Pending {
            entity,
            label: "e".into(),
            file: File::Snapshot,
            generation: 2,
            step,
            objects,
            after: 0,
            passes: [].into(),
            remark: None,
            if_same: None,
        }
    }

    #[test]
    fn a_reload_waits_until_its_parts_are_quiet_and_nothing_else_waits() {
        let clock = Clock::fixed(datetime!(2022-09-22 09:58:53 UTC));
        let mut settling = QuietPeriod::new(Duration::from_secs(60), clock.clone());
        let (one, two) = ([("a", 1)], [("a", 1), ("b", 2)]);
        assert_eq!(settling.wait(&reload(&one, Step::Append { first: true })), None);
        assert_eq!(settling.wait(&reload(&one, Step::Replace)), Some(Duration::from_secs(60)));
        clock.advance(Duration::from_secs(50));
        assert_eq!(settling.wait(&reload(&one, Step::Replace)), Some(Duration::from_secs(10)));
        assert_eq!(settling.wait(&reload(&two, Step::Replace)), Some(Duration::from_secs(60)), "a part more");
        clock.advance(Duration::from_secs(60));
        assert_eq!(settling.wait(&reload(&two, Step::Replace)), None);
        assert_eq!(settling.wait(&reload(&[("a", 1), ("b", 3)], Step::Replace)), Some(Duration::from_secs(60)));
    }
}
