//! Rule for null in the files of a table (`loader_null_rules`). It is decided with the table's first delivery, by the
//! evidence of columns that are not text, and kept until a full load is compared as a whole.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::{Error, Feed, Target};
use crate::decode::{Evidence, NullRule, Nulls, Watching};
use crate::pg::{self, Tx};
use crate::source::Entity;

/// A table's rule, and how it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NullDecision {
    pub rule: NullRule,
    pub basis: Basis,
    /// Evidence of the table's own files.
    pub own: Evidence,
}

/// Evidence on which a rule is based.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The table's own files show it.
    Own,
    /// Evidence of other tables of the feed.
    Feed,
    /// No evidence.
    Assumed,
    /// Set by FEED null=.
    Given,
    /// The table was loaded before it was decided by evidence.
    Before,
}

/// Knowledge about a table's rule, read under its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// None if nothing of the table was loaded.
    pub decision: Option<NullDecision>,
    /// Evidence of another table that contradicts an assumed rule.
    pub contrary: Option<String>,
}

impl Known {
    /// Reads the columns of `loader_null_rule`.
    pub(super) fn read(row: &Row) -> Result<Self, Error> {
        let decision = NullDecision::of(row)?.or_else(|| row.get::<_, bool>("is_loaded").then(NullDecision::before));
        Ok(Self { decision, contrary: row.get("contrary") })
    }
}

impl Basis {
    fn parse(text: &str) -> Option<Self> {
        [Self::Own, Self::Feed, Self::Assumed, Self::Given].into_iter().find(|basis| basis.as_str() == text)
    }

    /// Returns the name under which the basis is stored in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Feed => "feed",
            Self::Assumed => "assumed",
            Self::Given => "given",
            Self::Before => "before",
        }
    }
}

impl NullDecision {
    /// Returns the rule of a table without any evidence.
    pub(super) fn none() -> Self {
        Self { rule: NullRule::Words, basis: Basis::Assumed, own: Evidence::default() }
    }

    /// Returns the rule of a table that was loaded before rules were decided by evidence.
    pub fn before() -> Self {
        Self { rule: NullRule::Words, basis: Basis::Before, own: Evidence::default() }
    }

    /// Returns the rule as the ledger has it.
    pub fn rule_word(&self) -> &'static str {
        match self.rule {
            NullRule::Words => "words",
            NullRule::Empty => "empty",
            NullRule::Given(_) => "given",
        }
    }

    /// Returns the rule set by FEED.
    pub fn given(rule: NullRule) -> Self {
        Self { rule, basis: Basis::Given, own: Evidence::default() }
    }

    /// Decides by what the table's own files show, and what all tables of the feed that were never loaded show together, its own
    /// among them. A reload counts alone: the feed may write null in another way than before. `Err` if both ways occur.
    pub fn by(own: &Evidence, all: &Evidence, was_loaded: bool) -> Result<Self, Error> {
        let shown = if was_loaded && !own.is_none() { own } else { all };
        let rule = match (shown.empty, shown.word) {
            (0, _) => NullRule::Words,
            (_, 0) => NullRule::Empty,
            _ => {
                let place = |at: &Option<String>| at.clone().unwrap_or_default();
                return Err(Error::NullsMixed { empty: place(&shown.empty_at), word: place(&shown.word_at) });
            }
        };
        let basis = match () {
            () if !own.is_none() => Basis::Own,
            () if !shown.is_none() => Basis::Feed,
            () => Basis::Assumed,
        };
        let mut own = own.clone();
        if basis == Basis::Feed {
            (own.empty_at, own.word_at) = (shown.empty_at.clone(), shown.word_at.clone());
        }
        Ok(Self { rule, basis, own })
    }

    /// Returns how files are read by it. Only tables with texts are watched, and only where evidence decides.
    pub(super) fn nulls(&self, has_texts: bool) -> Nulls {
        let watch = match self.basis {
            Basis::Own | Basis::Feed | Basis::Assumed if has_texts => Watching::Refuse,
            _ => Watching::Off,
        };
        Nulls { rule: self.rule.clone(), watch }
    }

    fn example(&self) -> Option<&String> {
        self.own.empty_at.as_ref().or(self.own.word_at.as_ref())
    }

    fn of(row: &Row) -> Result<Option<Self>, Error> {
        let count = |name: &str| row.get::<_, Option<i64>>(name).unwrap_or(0) as u64;
        let words = || row.get::<_, Option<Vec<String>>>("words").unwrap_or_default();
        let rule = match row.get::<_, Option<&str>>("rule") {
            None => return Ok(None),
            Some("empty") => NullRule::Empty,
            Some("given") => NullRule::Given(words().into_iter().map(String::into_bytes).collect()),
            Some(_) => NullRule::Words,
        };
        let basis = row.get::<_, Option<&str>>("basis").and_then(Basis::parse).ok_or(Error::Garbled)?;
        let example: Option<String> = row.get("example");
        let (empty_at, word_at) = if rule == NullRule::Empty { (example, None) } else { (None, example) };
        let own = Evidence { empty: count("empty_cells"), word: count("null_words"), empty_at, word_at };
        Ok(Some(Self { rule, basis, own }))
    }
}

/// The rule in words, and how it is known.
impl std::fmt::Display for NullDecision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.rule {
            NullRule::Words => write!(f, "NULL")?,
            NullRule::Empty => write!(f, "an empty cell")?,
            NullRule::Given(words) => {
                let words = words.iter().map(|word| String::from_utf8_lossy(word).into_owned());
                let words = words.map(|word| if word.is_empty() { "an empty cell".to_owned() } else { word });
                write!(f, "{}", words.collect::<Vec<_>>().join(" or "))?;
            }
        }
        let place = self.example().map(|place| format!(", like {place}")).unwrap_or_default();
        match self.basis {
            Basis::Own => write!(f, " (shown by {} nulls{place})", self.own.empty + self.own.word),
            Basis::Feed => write!(f, " (shown by other tables{place})"),
            Basis::Assumed => write!(f, " (assumed: no file shows it)"),
            Basis::Given => write!(f, " (FEED null=)"),
            Basis::Before => write!(f, " (loaded before it was decided by what files show)"),
        }
    }
}

/// Reads what is known of a table's rule.
pub(super) async fn known(tx: &Tx, feed: &Feed, entity: &Entity) -> Result<Known, Error> {
    let scope = feed.id();
    let sql = "select rule, basis, words, empty_cells, null_words, example, is_loaded, contrary
        from public.loader_null_rule($1, $2, $3)";
    let row = tx.query_typed_one(sql, &table(&scope, entity)).await.map_err(|error| tx.error(error))?;
    Known::read(&row)
}

/// Reads what the files of the feed's other tables showed when they were loaded.
pub(super) async fn of_others(tx: &Tx, feed: &Feed, entity: &Entity) -> Result<Evidence, Error> {
    let scope = feed.id();
    let sql = "select rule, basis, words, empty_cells, null_words, example from public.loader_null_rules
        where scope = $1 and (schema_name, entity) <> ($2, $3) and basis = 'own'
        order by delivery_id limit 10000";
    let rows = tx.query_typed(sql, &table(&scope, entity)).await.map_err(|error| tx.error(error))?;
    let mut all = Evidence::default();
    for row in &rows {
        if let Some(decision) = NullDecision::of(row)? {
            all.join(&decision.own);
        }
    }
    Ok(all)
}

/// Replaces a rule that was assumed by what another table shows: null is an empty cell.
pub(super) async fn follow(tx: &Tx, feed: &Feed, entity: &Entity, example: &str) -> Result<(), Error> {
    let scope = feed.id();
    let sql = "update public.loader_null_rules set rule = 'empty', basis = 'feed', example = $4
        where scope = $1 and schema_name = $2 and entity = $3 and basis = 'assumed'";
    let mut parameters = table(&scope, entity);
    parameters.push((&example, Type::TEXT));
    tx.execute_typed(sql, &parameters).await.map_err(|error| tx.error(error))?;
    Ok(())
}

/// Writes a table's rule, in the transaction of the delivery with which it was decided.
pub(super) async fn write(
    tx: &Tx,
    feed: &Feed,
    entity: &Entity,
    delivery: i64,
    decision: &NullDecision,
) -> Result<(), Error> {
    let (scope, basis) = (feed.id(), decision.basis.as_str());
    let rule = decision.rule_word();
    let words: Option<Vec<String>> = match &decision.rule {
        NullRule::Words | NullRule::Empty => None,
        NullRule::Given(words) => Some(words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()),
    };
    let (empty, word) = (decision.own.empty as i64, decision.own.word as i64);
    let example = decision.example();
    let mut parameters = table(&scope, entity);
    let values: [pg::Parameter<'_>; 7] = [
        (&rule, Type::TEXT),
        (&basis, Type::TEXT),
        (&words, Type::TEXT_ARRAY),
        (&empty, Type::INT8),
        (&word, Type::INT8),
        (&example, Type::TEXT),
        (&delivery, Type::INT8),
    ];
    parameters.extend(values);
    let sql = "insert into public.loader_null_rules
            (scope, schema_name, entity, rule, basis, words, empty_cells, null_words, example, delivery_id)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict (scope, schema_name, entity) do update set
            rule = excluded.rule, basis = excluded.basis, words = excluded.words, empty_cells = excluded.empty_cells,
            null_words = excluded.null_words, example = excluded.example, delivery_id = excluded.delivery_id,
            decided_at = clock_timestamp()";
    tx.execute_typed(sql, &parameters).await.map_err(|error| tx.error(error))?;
    Ok(())
}

fn table<'a>(scope: &'a i64, entity: &'a Entity) -> Vec<pg::Parameter<'a>> {
    vec![(scope, Type::INT8), (&entity.schema, Type::TEXT), (&entity.name, Type::TEXT)]
}

impl Target {
    /// Returns those of the tables of which nothing was loaded.
    pub async fn never_loaded(&self, tables: &[Entity]) -> Result<BTreeSet<Entity>, Error> {
        let scope = self.feed.id();
        let (schemas, names): (Vec<_>, Vec<_>) =
            tables.iter().map(|table| (table.schema.as_str(), table.name.as_str())).unzip();
        let parameters: [pg::Parameter<'_>; 3] =
            [(&scope, Type::INT8), (&schemas, Type::TEXT_ARRAY), (&names, Type::TEXT_ARRAY)];
        let sql = "select t.schema_name, t.entity from unnest($2, $3) t (schema_name, entity)
            where not exists (select from public.loader_null_rules r
                              where (r.scope, r.schema_name, r.entity) = ($1, t.schema_name, t.entity))
              and not exists (select from public.loader_deliveries l
                              where l.scope = $1 and l.schema_name = t.schema_name and l.entity = t.entity
                                and l.status = 'loaded')";
        let tx = self.pg.begin("look for new tables").await?;
        let rows = tx.query_typed(sql, &parameters).await.map_err(|error| tx.error(error));
        tx.rollback().await?;
        let entity = |row: &Row| Entity { schema: row.get(0), name: row.get(1) };
        Ok(rows?.iter().map(entity).collect())
    }

    /// Returns the rules of the feed's tables; none where the loader's tables are of an older version.
    pub async fn null_rules(&self) -> Result<BTreeMap<Entity, NullDecision>, Error> {
        let tx = self.pg.begin("read how null is written").await?;
        let there = tx.query_typed_one("select to_regclass('public.loader_null_rules') is not null", &[]).await;
        let mut rules = BTreeMap::new();
        if there.map_err(|error| tx.error(error))?.get::<_, bool>(0) {
            let scope = self.feed.id();
            let sql = "select schema_name, entity, rule, basis, words, empty_cells, null_words, example
                from public.loader_null_rules where scope = $1";
            let rows = tx.query_typed(sql, &[(&scope, Type::INT8)]).await.map_err(|error| tx.error(error))?;
            for row in &rows {
                let entity = Entity { schema: row.get("schema_name"), name: row.get("entity") };
                rules.extend(NullDecision::of(row)?.map(|decision| (entity, decision)));
            }
        }
        tx.rollback().await?;
        Ok(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(empty: u64, word: u64, name: &str) -> Evidence {
        let at = |count: u64, what: &str| (count > 0).then(|| format!("{name} {what}"));
        Evidence { empty, word, empty_at: at(empty, "empty"), word_at: at(word, "word") }
    }

    fn decided(own: &Evidence, others: &Evidence, was_loaded: bool) -> Result<(NullRule, Basis), String> {
        let mut all = own.clone();
        all.join(others);
        let decision = NullDecision::by(own, &all, was_loaded);
        decision.map(|decision| (decision.rule, decision.basis)).map_err(|error| error.to_string())
    }

    #[test]
    fn evidence_decides_and_both_ways_are_a_contradiction() {
        use Basis::{Assumed, Feed, Own};
        use NullRule::{Empty, Words};
        let none = Evidence::default();
        let (empty, word) = (shows(3, 0, "t"), shows(0, 2, "t"));
        let (others_empty, others_word) = (shows(1, 0, "o"), shows(0, 1, "o"));
        assert_eq!(decided(&none, &none, false), Ok((Words, Assumed)));
        assert_eq!(decided(&empty, &none, false), Ok((Empty, Own)));
        assert_eq!(decided(&word, &none, false), Ok((Words, Own)));
        assert_eq!(decided(&none, &others_empty, false), Ok((Empty, Feed)));
        assert_eq!(decided(&none, &others_word, true), Ok((Words, Feed)));
        assert_eq!(decided(&empty, &others_empty, false), Ok((Empty, Own)));
        // a table that is loaded again is decided by its own evidence
        assert_eq!(decided(&empty, &others_word, true), Ok((Empty, Own)));
        for (own, others, was_loaded) in [
            (&empty, &others_word, false),
            (&word, &others_empty, false),
            (&shows(1, 1, "t"), &none, true),
            (&none, &shows(1, 1, "o"), false),
        ] {
            let words = decided(own, others, was_loaded).expect_err("both");
            assert!(words.contains("FEED null=''") && words.contains(" empty") && words.contains(" word"), "{words}");
        }
    }
}
