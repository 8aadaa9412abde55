//! Warnings about change files whose names and times contradict each other, or their full load.

use std::collections::BTreeMap;

use crate::source::{Entity, Plan, TablePlan};

/// The warnings that were given already.
#[derive(Debug, Default)]
pub struct Warned {
    /// The pair of files of each table whose names and times contradict each other.
    pairs: BTreeMap<Entity, (String, String)>,
    /// The change file of each table that is named before its full load and was written after it.
    named_before: BTreeMap<Entity, String>,
}

impl Warned {
    /// Returns the warnings that were not given yet: once for each pair, and for each file.
    pub fn new_of(&mut self, plan: &Plan) -> Vec<String> {
        let mut words = Vec::new();
        for table in &plan.tables {
            if let Some(pair) = &table.regression
                && self.pairs.insert(table.entity.clone(), pair.clone()).as_ref() != Some(pair)
            {
                words.extend(of_a_pair(table));
            }
            if let Some((key, _)) = &table.named_before
                && self.named_before.insert(table.entity.clone(), key.clone()).as_ref() != Some(key)
            {
                words.extend(of_a_load(table));
            }
        }
        words
    }
}

/// Returns all warnings for a table.
pub fn of(table: &TablePlan) -> impl Iterator<Item = String> {
    of_a_pair(table).into_iter().chain(of_a_load(table))
}

fn of_a_pair(table: &TablePlan) -> Option<String> {
    let (first, second) = table.regression.as_ref()?;
    Some(format!(
        "{}: {first} comes before {second} by its name but was written after it; if the names are local time (a partition time \
         zone), write FEED order=modified.",
        table.entity
    ))
}

fn of_a_load(table: &TablePlan) -> Option<String> {
    let (key, minutes) = table.named_before.as_ref()?;
    Some(format!(
        "{}: {key} is named {minutes} minutes before the full load was written but was written after it: it is loaded after \
         the full load, which may have newer values; if the names are local time (a partition time zone), write FEED \
         order=modified.",
        table.entity
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(pair: Option<(&str, &str)>, named_before: Option<&str>) -> Plan {
        let regression = pair.map(|(first, second)| (first.to_owned(), second.to_owned()));
        let named_before = named_before.map(|key| (key.to_owned(), 7));
        let entity = Entity { schema: "dbo".into(), name: "e".into() };
        let table = TablePlan { regression, named_before, ..TablePlan::empty(entity, "e".into()) };
        Plan { tables: vec![table], ..Plan::default() }
    }

    #[test]
    fn names_against_times_are_said_once_for_each_pair() {
        let mut warned = Warned::default();
        let words = "dbo.e: K1 comes before K2 by its name but was written after it; if the names are local time (a \
                     partition time zone), write FEED order=modified.";
        let pair = Some(("K1", "K2"));
        assert_eq!(warned.new_of(&plan(pair, None)), [words]);
        assert!(warned.new_of(&plan(pair, None)).is_empty());
        assert!(warned.new_of(&plan(None, None)).is_empty());
        assert!(warned.new_of(&plan(pair, None)).is_empty());
        assert_eq!(warned.new_of(&plan(Some(("K1", "K3")), None)).len(), 1);
    }

    #[test]
    fn a_file_against_its_full_load_is_said_once() {
        let mut warned = Warned::default();
        let said = warned.new_of(&plan(None, Some("K")));
        assert!(said[0].starts_with("dbo.e: K is named 7 minutes before the full load was written"), "{said:?}");
        assert!(warned.new_of(&plan(None, Some("K"))).is_empty());
        assert_eq!(warned.new_of(&plan(None, Some("L"))).len(), 1);
    }
}
