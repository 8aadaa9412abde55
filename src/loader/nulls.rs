//! Collects evidence of how the feed writes null, before anything is loaded: from the heads of the first files of
//! tables that were never loaded, and of full loads that are compared as a whole. The target decides the rule from
//! it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use futures_util::{StreamExt, stream};

use super::Error;
use super::error_policy::{self, ErrorPolicy};
use crate::decode::dialect::Dialect;
use crate::decode::{self, Evidence, Shape};
use crate::load::{self, DeliveryTx, Target};
use crate::source::{Entity, Listed, Pending, Plan, Source, Step, TablePlan};

/// Number of bytes of a compressed file that are examined.
const HEAD: usize = 64 << 10;
/// Maximum number of a table's files that are examined while none shows any evidence.
const FILES: usize = 4;
/// Number of tables that are examined at the same time.
const AT_ONCE: usize = 8;

/// Evidence from files that are still to be loaded.
#[derive(Debug, Default)]
pub(super) struct NullEvidence {
    seen: Mutex<Looks>,
    /// Lock of the one decoding task. Each thread that decodes keeps memory for its longest row, so only one decodes
    /// at a time.
    decoding: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Looks {
    /// Evidence of the tables of the last plan, with the files that were examined.
    tables: BTreeMap<Entity, Look>,
    /// Tables of which something was loaded, as far as the ledger was asked.
    loaded: HashSet<Entity>,
}

#[derive(Debug, Clone)]
struct Look {
    files: Vec<Listed>,
    found: Evidence,
    /// `true` if nothing of the table was loaded.
    is_new: bool,
}

impl NullEvidence {
    /// Examines files of the plan's tables whose rule is not decided yet. A file that cannot be read provides no
    /// evidence; its delivery will report the error.
    pub async fn look(&self, source: &Source, target: &Target, dialect: &Dialect, plan: &Plan) -> Result<(), Error> {
        if !dialect.null.is_empty() {
            return Ok(());
        }
        let new = self.new_tables(target, plan).await?;
        let before = std::mem::take(&mut self.lock().tables);
        let mut kept: HashMap<Entity, Look> = before.into_iter().collect();
        let undecided = plan.tables.iter().filter_map(|table| Undecided::of(table, new.contains(&table.entity)));
        let undecided: Vec<_> = undecided.collect();
        for some in undecided.chunks(AT_ONCE * 8) {
            let mut wanted = Vec::new();
            for table in some {
                match kept.remove(&table.entity).filter(|look| look.holds_for(&table.files)) {
                    Some(look) => self.keep(&table.entity, Look { is_new: table.is_new, ..look }),
                    None => {
                        // one after the other: a dry run has one connection
                        if let Ok(Some(shape)) = target.shape_of(&table.entity, table.file, dialect).await {
                            wanted.push((table, shape));
                        }
                    }
                }
            }
            let looks = wanted
                .into_iter()
                .map(|(table, shape)| async move { (table, self.first_evidence(source, &table.files, &shape).await) });
            let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
            while let Some((table, found)) = looks.next().await {
                match found {
                    Ok(found) => {
                        let (files, is_new) = (table.files.clone(), table.is_new);
                        self.keep(&table.entity, Look { files, found, is_new });
                    }
                    Err(error) if error_policy::of(&error) == ErrorPolicy::Retry => return Err(error),
                    Err(error) => tracing::debug!("{}: {error}", table.entity),
                }
            }
        }
        Ok(())
    }

    /// Returns the tables of the plan of which nothing was loaded.
    async fn new_tables(&self, target: &Target, plan: &Plan) -> Result<BTreeSet<Entity>, Error> {
        let unknown: Vec<Entity> = {
            let looks = self.lock();
            let tables = plan.tables.iter().filter(|table| !table.pending.is_empty());
            tables.map(|table| &table.entity).filter(|entity| !looks.loaded.contains(*entity)).cloned().collect()
        };
        if unknown.is_empty() {
            return Ok(BTreeSet::new());
        }
        let new = target.never_loaded(&unknown).await?;
        self.lock().loaded.extend(unknown.into_iter().filter(|entity| !new.contains(entity)));
        Ok(new)
    }

    /// Decides how null is written in a delivery's files, if that is to be decided with it.
    pub async fn decide(
        &self,
        source: &Source,
        dialect: &Dialect,
        work: &mut DeliveryTx,
        pending: &Pending,
    ) -> Result<(), Error> {
        if !work.decides_nulls() {
            return Ok(work.check_nulls(dialect)?);
        }
        let mut own = Evidence::default();
        if dialect.null.is_empty() {
            own = match self.found(pending) {
                Some(found) => found,
                None => {
                    let files: Vec<_> =
                        pending.objects.iter().map(|object| object.listed.clone()).take(FILES).collect();
                    self.first_evidence(source, &files, &work.shape(dialect)).await?
                }
            };
        }
        Ok(work.decide_nulls(dialect, &own, &self.of_others(&pending.entity)).await?)
    }

    /// Returns what the first of the files shows that shows anything.
    async fn first_evidence(&self, source: &Source, files: &[Listed], shape: &Shape) -> Result<Evidence, Error> {
        for listed in files {
            let (head, shape) = (source.head(listed, HEAD).await?, shape.clone());
            let _alone = self.decoding.lock().await;
            let look = tokio::task::spawn_blocking(move || decode::evidence(head, shape));
            let found = look.await.map_err(|_| load::Error::Panicked)?;
            if !found.is_none() {
                return Ok(found);
            }
        }
        Ok(Evidence::default())
    }

    fn found(&self, pending: &Pending) -> Option<Evidence> {
        let first = &pending.objects[0].listed;
        let looks = self.lock();
        looks.tables.get(&pending.entity).filter(|look| look.files[0] == *first).map(|look| look.found.clone())
    }

    /// Returns the evidence of the other tables that were never loaded.
    fn of_others(&self, entity: &Entity) -> Evidence {
        let mut all = Evidence::default();
        let looks = self.lock();
        let others = looks.tables.iter().filter(|(other, look)| *other != entity && look.is_new);
        others.for_each(|(_, look)| all.join(&look.found));
        all
    }

    fn keep(&self, entity: &Entity, look: Look) {
        self.lock().tables.insert(entity.clone(), look);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Looks> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Look {
    /// Returns `true` if examining these files again would give the same result.
    fn holds_for(&self, files: &[Listed]) -> bool {
        self.files == files || (self.files[0] == files[0] && !self.found.is_none())
    }
}

/// A table whose rule is to be decided with a delivery of the plan.
struct Undecided {
    entity: Entity,
    file: decode::File,
    /// The first files of that delivery and behind it.
    files: Vec<Listed>,
    is_new: bool,
}

impl Undecided {
    fn of(table: &TablePlan, is_new: bool) -> Option<Self> {
        let never_seen = |pending: &Pending| is_new && pending.step.note().is_none();
        let decides = |pending: &Pending| match pending.step {
            Step::Append { first } => first || never_seen(pending),
            Step::Replace => true,
            _ => never_seen(pending),
        };
        let place = table.pending.iter().position(decides)?;
        let first = &table.pending[place];
        let rest = table.pending[place..].iter().filter(|pending| pending.file == first.file);
        let files = rest.flat_map(|pending| &pending.objects).map(|object| object.listed.clone());
        Some(Self { entity: table.entity.clone(), file: first.file, files: files.take(FILES).collect(), is_new })
    }
}
