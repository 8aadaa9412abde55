//! The loader's part of making and enforcing plan files. When a plan is made, each table's definition is recorded.
//! Before a plan is enforced, bucket, ledger and tables are compared with those for which it was made.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::delivery::DeliveryRunner;
use super::plan_drift::{self, Found, Place};
use super::plan_file::Table;
use super::plan_mode::{Enforce, PlanMode};
use super::{Error, Loader, events};
use crate::decode::dialect::Dialect;
use crate::load::{self, Target};
use crate::source::{Entity, Later, Plan, TablePlan};

impl Loader {
    /// Looks at the stock that was taken before anything is done with it. Of a run that is held to a plan only the plan's
    /// deliveries stay in it; and it waits here, with nothing done, until all its reloads are quiet.
    pub(super) async fn hold(&mut self, plan: &mut Plan) -> Result<Option<Duration>, Error> {
        if let PlanMode::Record(_) = self.corridor.book {
            self.see(plan).await?;
        }
        if self.corridor.book.kept().is_none() {
            return Ok(None);
        }
        self.compare(plan).await?;
        let pending = plan.tables.iter().flat_map(|table| &table.pending);
        Ok(pending.filter_map(|pending| self.settling.wait(pending)).max())
    }

    /// Keeps in mind how the tables of a plan in the making are.
    async fn see(&self, plan: &Plan) -> Result<(), Error> {
        for table in plan.tables.iter().filter(|table| !self.corridor.book.has(&table.entity)) {
            let definition = self.definition(&table.entity).await?;
            self.corridor.book.see(table, definition, events::remarks(table));
        }
        Ok(())
    }

    /// Returns the fingerprint of the table's definition. An ambiguous name is reported later, by the delivery.
    async fn definition(&self, entity: &Entity) -> Result<Option<String>, Error> {
        match self.corridor.target.definition(entity).await {
            Err(load::Error::Ambiguous { .. }) => Ok(None),
            other => Ok(other?),
        }
    }

    async fn compare(&mut self, plan: &mut Plan) -> Result<(), Error> {
        let place = self.place().await?;
        let Some(kept) = self.corridor.book.kept() else { return Ok(()) };
        kept.is_for(&place)?;
        let mut words = Vec::new();
        for planned in &kept.agreed.tables {
            words.extend(self.differences(kept, planned, plan).await?);
        }
        if !words.is_empty() {
            return Err(Error::Moved { words, done: kept.all_done() });
        }
        let left: Vec<String> = plan.tables.iter_mut().flat_map(|table| keep_planned(table, kept)).collect();
        events::left(&mut self.said, &left);
        Ok(())
    }

    async fn differences(&self, kept: &Enforce, planned: &Table, plan: &Plan) -> Result<Vec<String>, Error> {
        let entity = planned.entity();
        let now = plan.tables.iter().find(|table| table.entity == entity);
        let (definition, done) = (self.definition(&entity).await?, kept.done(&entity));
        let missing = plan_drift::missing(planned, done, now);
        let accounted = if missing.is_empty() { BTreeMap::new() } else { self.accounted(&missing).await? };
        Ok(plan_drift::table(planned, &Found { done, now, definition: definition.as_deref(), accounted }))
    }

    /// Returns the deliveries and states of files that are no longer pending, as far as the ledger has them.
    async fn accounted(&self, files: &HashSet<(&str, &str)>) -> Result<BTreeMap<String, String>, Error> {
        let keys: Vec<&str> = files.iter().map(|(key, _)| *key).collect();
        let rows = self.corridor.target.accounted(&keys).await?;
        let known = rows.into_iter().filter(|(key, etag, ..)| files.contains(&(key.as_str(), etag.as_str())));
        Ok(known.map(|(key, _, id, status)| (key, format!("delivery {id}, {status}"))).collect())
    }

    /// Returns scope and settings of this loader.
    pub async fn place(&self) -> Result<Place, Error> {
        let DeliveryRunner { source, target, dialect, .. } = &self.corridor;
        Place::find(source.bucket(), source.path(), dialect, target).await
    }

    /// Returns the recorded tables of a plan, and the reasons for which other tables could not be tried.
    pub fn drafted(&self) -> (Vec<Table>, BTreeMap<Entity, String>) {
        self.corridor.book.drafted()
    }
}

impl Place {
    /// Returns the scope and settings of a run with this source and target.
    pub async fn find(bucket: &str, path: &str, dialect: &Dialect, target: &Target) -> Result<Self, Error> {
        let (dialect, limits) = (format!("{dialect:?}"), format!("{:?}", dialect.limits));
        let terms = target.terms().into_iter().map(|(name, value)| (name.to_owned(), value));
        let mut settings: BTreeMap<String, String> = terms.collect();
        settings.insert("FEED".to_owned(), load::digest(&dialect.replace(&limits, "")));
        settings.insert("LIMITS".to_owned(), load::digest(&limits));
        Ok(Self { bucket: bucket.to_owned(), path: path.to_owned(), database: target.database().await?, settings })
    }
}

impl Enforce {
    /// Says it, and is an error, if the plan was made for another place, or other settings: before anything is done there.
    pub fn begin(&self, place: &Place) -> Result<(), Error> {
        self.is_for(place).inspect_err(events::moved)
    }

    fn is_for(&self, place: &Place) -> Result<(), Error> {
        match plan_drift::place(&self.agreed, place) {
            words if words.is_empty() => Ok(()),
            words => Err(Error::Moved { words, done: self.all_done() }),
        }
    }
}

/// Takes from a table's stock what the plan does not have; its files.
fn keep_planned(table: &mut TablePlan, kept: &Enforce) -> Vec<String> {
    let planned = kept.agreed.table(&table.entity).map_or(0, |planned| planned.deliveries.len());
    let rest = planned.saturating_sub(kept.done(&table.entity));
    let left = table.pending.split_off(rest.min(table.pending.len()));
    (table.later, table.wants_history, table.wants_times) = (Later::default(), false, false);
    if planned == 0 {
        [&mut table.superseded, &mut table.gone, &mut table.revived].into_iter().for_each(Vec::clear);
    }
    let objects = left.into_iter().flat_map(|pending| pending.objects).filter(|object| object.new);
    objects.map(|object| object.listed.key).collect()
}
