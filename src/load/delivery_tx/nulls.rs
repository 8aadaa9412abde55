//! Format of a delivery's rows, and the rule for null in text columns. The rule is decided with the table's first
//! delivery and with each full load that is compared as a whole.

use super::super::null_rule::{self, Basis, NullDecision};
use super::super::rejects::BadRows;
use super::super::{Error, Target};
use super::DeliveryTx;
use crate::decode::dialect::Dialect;
use crate::decode::{Evidence, File, NullRule, Nulls, Shape};
use crate::source::{Entity, Step};

impl Target {
    /// Returns the format of a table's files before anything is known of them, or `None` if the target has no such
    /// table.
    pub async fn shape_of(&self, entity: &Entity, file: File, dialect: &Dialect) -> Result<Option<Shape>, Error> {
        let tx = self.pg.begin("look at a table").await?;
        let table = self.table(&tx, entity).await;
        tx.rollback().await?;
        Ok(table?.map(|table| Shape {
            nulls: Nulls::default(),
            file,
            columns: table.shape(),
            generated: table.generated.clone(),
            table: (entity.schema.clone(), entity.name.clone()),
            dialect: dialect.clone(),
            had_op: None,
            keep_raw: false,
        }))
    }
}

impl DeliveryTx {
    /// Returns the format of the delivery's rows.
    pub fn shape(&self, dialect: &Dialect) -> Shape {
        let decision = self.decision.as_ref().or(self.nulls.decision.as_ref());
        let nulls = match (NullRule::given(dialect), decision) {
            (Some(rule), _) => NullDecision::given(rule).nulls(false),
            (None, Some(decision)) => decision.nulls(self.table.has_texts()),
            (None, None) => Nulls::default(),
        };
        Shape {
            nulls,
            file: self.docket.pending.file,
            columns: self.table.shape(),
            generated: self.table.generated.clone(),
            table: (self.docket.pending.entity.schema.clone(), self.docket.pending.entity.name.clone()),
            dialect: dialect.clone(),
            had_op: self.had_op,
            keep_raw: self.bad_rows != BadRows::Stop,
        }
    }

    /// Returns `true` if how null is written is decided with this delivery: nothing of the table was loaded, or all of it is
    /// loaded anew.
    pub fn decides_nulls(&self) -> bool {
        self.nulls.decision.is_none()
            || matches!(self.docket.pending.step, Step::Append { first: true } | Step::Replace)
    }

    /// Decides how null is written, by what the table's own files show and what others that were never loaded do.
    pub async fn decide_nulls(&mut self, dialect: &Dialect, own: &Evidence, others: &Evidence) -> Result<(), Error> {
        if let Some(rule) = NullRule::given(dialect) {
            self.decision = Some(NullDecision::given(rule));
            return Ok(());
        }
        // a full load without evidence keeps the rule of the one before
        let shown_before = |decision: &&NullDecision| matches!(decision.basis, Basis::Own | Basis::Feed | Basis::Given);
        if let Some(before) = self.nulls.decision.as_ref().filter(shown_before).filter(|_| own.is_none()) {
            self.decision = Some(before.clone());
            return Ok(());
        }
        let entity = &self.docket.pending.entity;
        let mut all = own.clone();
        all.join(others);
        all.join(&null_rule::of_others(&self.tx, &self.docket.feed, entity).await?);
        let was_loaded = self.nulls.decision.is_some();
        let decided = match NullDecision::by(own, &all, was_loaded) {
            // a table without text columns has no use for the rule
            Err(_) if !self.table.has_texts() => {
                NullDecision::by(own, own, was_loaded).unwrap_or_else(|_| NullDecision::none())
            }
            decided => decided?,
        };
        self.decision = Some(decided);
        Ok(())
    }

    /// Refuses a file of a table whose rule was assumed, if another table shows the contrary.
    pub fn check_nulls(&self, dialect: &Dialect) -> Result<(), Error> {
        match &self.nulls.contrary {
            Some(contrary) if dialect.null.is_empty() && self.table.has_texts() => {
                Err(Error::NullsAssumed { contrary: contrary.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Takes an empty cell that is null, found behind the rows that were looked at first, as the evidence that was lacking.
    /// Returns `true` if the delivery is to be read again for it.
    pub fn learn_nulls(&mut self, error: &Error) -> bool {
        let (Error::Rows(flaw), Some(decision)) = (error, &mut self.decision) else { return false };
        if !flaw.is_empty_null() || decision.basis != Basis::Assumed {
            return false;
        }
        let key = self.docket.pending.objects.get(flaw.part).map(|object| object.listed.key.clone());
        let (line, column) = (flaw.line().unwrap_or(0), flaw.column().unwrap_or_default());
        let empty_at = Some(format!("{}, line {line}, column {column}", key.unwrap_or_default()));
        let own = Evidence { empty: 1, empty_at, ..Evidence::default() };
        *decision = NullDecision { rule: NullRule::Empty, basis: Basis::Own, own };
        true
    }
}
