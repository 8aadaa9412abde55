//! Tables whose rows refer to rows of other tables of the feed. A delivery that lacks a row of another table, or removes one
//! that another table still refers to, stays pending and is tried again after each delivery of the other table.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::delivery::Next;
use super::error_policy::{self, ErrorPolicy};
use super::{Error, Loader, Outcome, events};
use crate::load::{Missing, Why};
use crate::source::{Entity, Pending, Plan, TablePlan};
use crate::status::WaitReason;

/// Time for which a delivery waits for another table.
const PATIENCE: Duration = Duration::from_secs(600);

/// Tables that wait for other tables.
#[derive(Debug, Default)]
pub struct Waiting(BTreeMap<Entity, Wait>);

/// A table that waits for another one.
#[derive(Debug)]
struct Wait {
    on: Entity,
    /// The other table loaded something since the last try.
    due: bool,
}

/// State of the other table, of which a delivery lacks a row.
pub struct Other {
    pub entity: Entity,
    /// Files of it are still to be loaded.
    pub has_pending: bool,
    /// Time at which the newest of its loaded files was written, in seconds since 1970.
    pub newest: Option<i64>,
}

impl Waiting {
    /// Notes a try that failed, of a delivery that has waited so long. Returns why it must not wait any longer, if so.
    fn tried(&mut self, pending: &Pending, other: &Other, waited: Duration) -> Option<String> {
        let wait = Wait { on: other.entity.clone(), due: false };
        self.0.insert(pending.entity.clone(), wait);
        if let Some(circle) = self.circle(&pending.entity) {
            circle.iter().skip(1).for_each(|entity| self.rouse(entity));
            let names: Vec<String> = circle.iter().map(ToString::to_string).collect();
            return Some(format!("{} wait for each other", names.join(" and ")));
        }
        let modified = pending.objects.iter().map(|object| object.listed.modified).max();
        if !other.has_pending && other.newest > modified {
            return Some(format!("{} has loaded a newer file meanwhile", other.entity));
        }
        (waited >= PATIENCE).then(|| format!("it waited {} minutes for {}", PATIENCE.as_secs() / 60, other.entity))
    }

    /// Returns the tables that wait for each other, beginning with this one.
    fn circle(&self, entity: &Entity) -> Option<Vec<Entity>> {
        let mut seen = vec![entity.clone()];
        let mut on = &self.0.get(entity)?.on;
        while on != entity {
            let next = self.0.get(on).filter(|wait| !wait.due && !seen.contains(on))?;
            seen.push(on.clone());
            on = &next.on;
        }
        (seen.len() > 1).then_some(seen)
    }

    fn rouse(&mut self, entity: &Entity) {
        self.0.entry(entity.clone()).and_modify(|wait| wait.due = true);
    }

    /// Records that a table has loaded something, so that it no longer waits, and tables that wait for it can be
    /// tried again. Returns `true` if there are such tables.
    pub fn loaded(&mut self, entity: &Entity) -> bool {
        self.0.remove(entity);
        let mut others = self.0.values_mut().filter(|wait| wait.on == *entity).peekable();
        let any = others.peek().is_some();
        others.for_each(|wait| wait.due = true);
        any
    }

    /// Returns the tables that are to be tried again.
    fn take_due(&mut self) -> Vec<Entity> {
        let due = self.0.iter_mut().filter_map(|(entity, wait)| std::mem::take(&mut wait.due).then(|| entity.clone()));
        due.collect()
    }
}

impl Loader {
    /// Walks all tables of a plan. Those that wait for another one are tried again after each delivery of it.
    pub(super) async fn tables(&mut self, plan: &Plan, outcome: &mut Outcome) -> Result<(), Error> {
        // tables whose files may have killed loaders come last
        let mut places: Vec<usize> = (0..plan.tables.len()).collect();
        places.sort_by_key(|place| self.corridor.process.suspects(&plan.tables[*place].entity));
        let mut queue = VecDeque::from(places);
        while let Some(place) = queue.pop_front() {
            if self.stopper.requested() {
                break;
            }
            let table = &plan.tables[place];
            let done = outcome.done.get(&table.entity).copied().unwrap_or(0);
            let rest = (done > 0).then(|| rest_of(table, done, outcome.revisions.get(&table.entity).copied()));
            match self.table(rest.as_ref().unwrap_or(table), plan, outcome).await {
                Err(error) if error_policy::of(&error) == ErrorPolicy::RetryTable => {
                    self.trouble(&table.entity, error, outcome)
                }
                other => other?,
            }
            self.noted.left(table, self.done_of(table, outcome), &outcome.remarks);
            if outcome.paused.take().is_some() {
                queue.push_front(place);
            }
            for due in self.waiting.take_due() {
                let place = plan.tables.iter().position(|table| table.entity == due);
                let Some(place) = place.filter(|_| !outcome.stopped.contains_key(&due)) else { continue };
                queue.retain(|other| *other != place);
                queue.push_front(place);
                outcome.remarks.remove(&due);
            }
        }
        self.retry_what_failed(outcome).await
    }

    fn trouble(&mut self, entity: &Entity, error: Error, outcome: &mut Outcome) {
        self.corridor.metrics.retry(error_policy::reason(&error));
        self.corridor.book.trouble(entity, &events::sentence(&error));
        events::table_waits(&mut self.said, entity, &error);
        outcome.remarks.insert(entity.clone(), WaitReason::Trouble(error.to_string()));
        outcome.error = Some(error);
    }

    /// Decides about a delivery that lacks something in another table: it waits or it failed.
    pub(super) async fn blocked(
        &mut self,
        pending: &Pending,
        after: i64,
        missing: Missing,
        plan: &Plan,
        outcome: &mut Outcome,
    ) -> Result<Next, Error> {
        let Missing { words, refused, .. } = &missing;
        let Some(other) = self.other(&missing, plan, outcome) else {
            return self.corridor.fail(pending, after, &Why::of(refused)).await;
        };
        let reason = format!("waits for {}: {words}", other.entity);
        let waited = match pending.carrier().entry {
            Some(id) => self.corridor.target.note_wait(id, &reason).await?,
            None => Duration::ZERO,
        };
        if let Some(why) = self.waiting.tried(pending, &other, waited) {
            let words = format!("{words}; {why}. {} {}", RETRIED, other.entity);
            return self.corridor.fail(pending, after, &Why::of(&words)).await;
        }
        let words = format!("{}: {words}", pending.objects[0].listed.key);
        events::waits_for(&mut self.said, &pending.entity, &other.entity, &words);
        self.corridor.book.trouble(&pending.entity, &words);
        Ok(Next::Waits(words))
    }

    /// Returns the other table, if it belongs to the feed.
    fn other(&self, missing: &Missing, plan: &Plan, outcome: &Outcome) -> Option<Other> {
        let planned = plan.tables.iter().find(|table| match &missing.entity {
            Some(entity) => table.entity == *entity,
            None => self.corridor.target.is_named(&table.entity, &missing.schema, &missing.table),
        });
        let entity = planned.map(|table| table.entity.clone()).or_else(|| missing.entity.clone())?;
        let done = outcome.done.get(&entity).copied().unwrap_or(0);
        let has_pending = planned.is_some_and(|table| table.pending.len() > done || table.later.objects > 0);
        Some(Other { entity, has_pending, newest: missing.newest })
    }

    /// Retries deliveries that failed because of a table that has loaded something since.
    async fn retry_what_failed(&mut self, outcome: &mut Outcome) -> Result<(), Error> {
        if outcome.stopped.is_empty() || outcome.revisions.is_empty() || self.corridor.target.is_rehearsal() {
            return Ok(());
        }
        let endings: Vec<String> = outcome.revisions.keys().map(|entity| format!("{RETRIED} {entity}")).collect();
        let again = self.corridor.target.retry_what_ends_with(&endings).await?;
        if again > 0 {
            outcome.relist = true;
        }
        Ok(())
    }
}

/// Last sentence of the reason of a delivery that failed because of another table, before that table's name. Such
/// deliveries are found again in the ledger by this sentence.
const RETRIED: &str = "It is tried again when something is loaded into";

/// Returns the table's plan without its first `done` deliveries; `revision` is that of the last one.
fn rest_of(table: &TablePlan, done: usize, revision: Option<i64>) -> TablePlan {
    let mut rest = table.clone();
    (rest.superseded, rest.gone, rest.revived) = (Vec::new(), Vec::new(), Vec::new());
    rest.pending.drain(..done.min(rest.pending.len()));
    if let (Some(first), Some(revision)) = (rest.pending.first_mut(), revision) {
        first.after = revision;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Listed, Object, Step};

    fn entity(name: &str) -> Entity {
        Entity { schema: "dbo".into(), name: name.into() }
    }

    fn pending(name: &str, modified: i64) -> Pending {
        let listed = Listed { key: format!("{name}/x"), etag: "a".into(), size: 1, modified };
        let objects = vec![Object {
            listed,
            entry: None,
            occurrence: 1,
            untried: true,
            new: true,
            replaces: Vec::new(),
            before: None,
            content: None,
        }];
        let (label, file, step) = (name.to_owned(), crate::decode::File::Changes, Step::Changes);
        Pending {
            entity: entity(name),
            label,
            file,
            generation: 1,
            step,
            objects,
            after: 0,
            passes: Default::default(),
            remark: None,
            if_same: None,
        }
    }

    fn other(name: &str, has_pending: bool, newest: Option<i64>) -> Other {
        Other { entity: entity(name), has_pending, newest }
    }

    #[test]
    fn a_delivery_waits_ten_minutes_or_until_the_other_table_has_something_newer() {
        let (mut waiting, now) = (Waiting::default(), Duration::ZERO);
        assert_eq!(waiting.tried(&pending("c", 5), &other("p", true, Some(9)), now), None, "more is to come");
        assert_eq!(waiting.tried(&pending("c", 5), &other("p", false, Some(5)), now), None, "as old");
        let why = waiting.tried(&pending("c", 5), &other("p", false, Some(6)), now);
        assert_eq!(why.as_deref(), Some("dbo.p has loaded a newer file meanwhile"));
        let later = Duration::from_secs(599);
        assert_eq!(waiting.tried(&pending("c", 5), &other("p", false, None), later), None);
        let why = waiting.tried(&pending("c", 5), &other("p", false, None), later + Duration::from_secs(1));
        assert_eq!(why.as_deref(), Some("it waited 10 minutes for dbo.p"));
    }

    #[test]
    fn what_waits_for_each_other_is_named_by_both() {
        let (mut waiting, now) = (Waiting::default(), Duration::ZERO);
        assert_eq!(waiting.tried(&pending("c", 5), &other("p", true, None), now), None);
        let why = waiting.tried(&pending("p", 5), &other("c", true, None), now);
        assert_eq!(why.as_deref(), Some("dbo.p and dbo.c wait for each other"));
        assert_eq!(waiting.take_due(), [entity("c")]);
        let why = waiting.tried(&pending("c", 5), &other("p", true, None), now);
        assert_eq!(why.as_deref(), Some("dbo.c and dbo.p wait for each other"));
    }

    #[test]
    fn who_waits_is_due_once_the_other_table_has_loaded() {
        let (mut waiting, now) = (Waiting::default(), Duration::ZERO);
        assert!(!waiting.loaded(&entity("p")));
        assert_eq!(waiting.tried(&pending("c", 5), &other("p", true, None), now), None);
        assert!(waiting.loaded(&entity("p")));
        let why = waiting.tried(&pending("p", 5), &other("c", true, None), now);
        assert_eq!(why, None, "the other one may go on now");
        assert_eq!(waiting.take_due(), [entity("c")]);
        assert_eq!(waiting.take_due(), []);
    }
}
