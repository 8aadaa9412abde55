//! Handles tables that are no longer what was loaded: each iteration finds them before anything is applied, leaves
//! them unchanged, and carries out an operator's request for them.

use super::{Error, Loader, Outcome, events};
use crate::decode::File;
use crate::health::Part;
use crate::load::{Reloaded, TableStop, Wish};
use crate::source::{Again, Entity, Plan, TablePlan};

impl Loader {
    /// Looks at all tables that were loaded: which of them are not what was left in them.
    pub(super) async fn inspect_tables(&mut self) -> Result<(), Error> {
        let stops = self.corridor.target.inspect().await;
        self.health.reached(Part::Target, stops.as_ref().map(|_| ()).map_err(ToString::to_string));
        let stops = stops?;
        if stops.len() != self.stops.len() {
            self.looked_for.clear();
        }
        self.stops = stops.into_iter().map(|stop| (stop.entity.clone(), stop)).collect();
        let again = self.stops.values().filter(|stop| stop.requested == Some(Wish::Reload));
        self.asked.reload = again.map(|stop| stop.entity.clone()).collect();
        Ok(())
    }

    /// Adds the tables of a plan that another feed has loaded, and logs new stops of tables.
    pub(super) async fn see_stops(&mut self, plan: &Plan, outcome: &mut Outcome) -> Result<(), Error> {
        let with_work = plan.tables.iter().filter(|table| !table.pending.is_empty());
        let new = with_work.filter(|table| !self.looked_for.contains(&table.entity));
        let pending: Vec<Entity> = new.map(|table| table.entity.clone()).collect();
        let rehearsal = self.corridor.target.is_rehearsal();
        if !pending.is_empty() {
            let stops = self.corridor.target.inspect_new(&pending).await?;
            self.stops.extend(stops.into_iter().map(|stop| (stop.entity.clone(), stop)));
            self.looked_for.extend(pending);
        }
        for stop in self.stops.values() {
            if let Some(status) = stop.status.filter(|_| !self.goes_on(stop, plan)) {
                outcome.stopped.insert(stop.entity.clone(), status.as_str());
            }
        }
        events::table_stops(&mut self.said, &self.stops, rehearsal);
        Ok(())
    }

    /// Returns `true` if the plan contains what is needed to load a table again as requested.
    fn goes_on(&self, stop: &TableStop, plan: &Plan) -> bool {
        let table = plan.tables.iter().find(|table| table.entity == stop.entity);
        stop.requested == Some(Wish::Reload)
            && table.is_some_and(|table| matches!(table.again, Some(Again::Rows(_))) || begins_with_load(table))
    }

    /// Returns `true` if a table's deliveries may be run: it is not stopped, or its plan begins with the requested
    /// full load.
    pub(super) async fn may_load(&mut self, table: &TablePlan, outcome: &mut Outcome) -> Result<bool, Error> {
        let Some(stop) = self.stops.get(&table.entity) else { return Ok(true) };
        if stop.requested != Some(Wish::Reload) {
            return Ok(false);
        }
        match &table.again {
            Some(Again::Rows(ids)) => {
                match self.corridor.target.load_again(&table.entity, ids).await? {
                    Reloaded::Pending => {
                        events::loads_again(stop, ids.len());
                        outcome.relist = true;
                    }
                    Reloaded::Busy => outcome.busy += 1,
                }
                Ok(false)
            }
            Some(Again::Refused(why)) => {
                match self.corridor.target.refuse_reload(&table.entity, why).await? {
                    Some(given_back) => {
                        events::not_again(&table.entity, why, given_back);
                        outcome.refused += 1;
                        outcome.relist |= given_back > 0;
                    }
                    None => outcome.busy += 1,
                }
                Ok(false)
            }
            None => Ok(begins_with_load(table)),
        }
    }
}

fn begins_with_load(table: &TablePlan) -> bool {
    table.pending.first().is_some_and(|pending| pending.file == File::Snapshot)
}
