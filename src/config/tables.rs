//! TABLES: a TOML file with settings per table. Each table of the file is headed by a pattern over `schema.table`:
//!
//! ```toml
//! ["dbo.orders"]
//! sole_writer = true
//! ```
//!
//! Everything wrong with the file is reported at once, each with its line and key. A further setting is a field of [`Tables`]
//! and an arm of [`Reader::setting`].

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::{Check, distance};
use crate::per_table::{Pattern, PerTable};

/// Content of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// The file's patterns, in their order.
    pub patterns: Vec<Pattern>,
    /// `true` for tables to which only the loader writes.
    pub sole_writer: PerTable<bool>,
}

/// Settings of tables that the program will have and has not yet.
const LATER: [&str; 10] =
    ["feed", "max_remove", "on_bad_row", "max_rejects", "settle", "include", "exclude", "target", "mode", "pause"];
/// Settings of tables that the program has.
const NOW: [&str; 1] = ["sole_writer"];

/// Reads the file at `path`; without a path no table has settings of its own.
pub(super) fn read(path: &str, check: &mut Check) -> Tables {
    if path.is_empty() {
        return Tables::default();
    }
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, check),
        Err(error) => {
            let like = "Write the path of a TOML file there, like TABLES=/etc/paper-engine-orders/tables.toml";
            check.fault("TABLES", format!("the file cannot be read: {error}. {like}"));
            Tables::default()
        }
    }
}

fn parse(text: &str, check: &mut Check) -> Tables {
    let mut reader = Reader { text, tables: Tables::default(), faults: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().unwrap_or(0..0);
        reader.fault(&at, "", format!("{}. Write it as TOML has it, like sole_writer = true", error.message().trim()));
    }
    // what could not be read would be reported again as what it was taken for
    if errors.is_empty() {
        entries(document.get_ref()).for_each(|(key, value)| reader.table(key, value));
    }
    reader.faults.sort_by_key(|(line, _)| *line);
    reader.faults.into_iter().for_each(|(_, message)| check.fault("TABLES", message));
    reader.tables
}

type Entry<'a, 'i> = (&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>);

/// Returns the entries of a table in the order of the file.
fn entries<'a, 'i>(table: &'a DeTable<'i>) -> impl Iterator<Item = Entry<'a, 'i>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries.into_iter()
}

struct Reader<'t> {
    text: &'t str,
    tables: Tables,
    /// Each with its line.
    faults: Vec<(usize, String)>,
}

impl Reader<'_> {
    /// Takes one table of the file with its settings.
    fn table(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let (name, at) = (key.get_ref().as_ref(), key.span());
        let Some(settings) = value.get_ref().as_table() else {
            let wrong =
                "it belongs to no table. Put it below the pattern of the tables that it is for, like [\"dbo.orders\"]";
            return self.fault(&at, name, wrong);
        };
        let inner = entries(settings).find(|(_, value)| value.get_ref().is_table());
        if let Some((inner, _)) = inner.filter(|_| !name.contains('.')) {
            let inner = inner.get_ref();
            let wrong = format!("a pattern stands in quotes. Write [\"{name}.{inner}\"], not [{name}.{inner}]");
            return self.fault(&at, &format!("{name}.{inner}"), wrong);
        }
        match name.parse::<Pattern>() {
            Ok(pattern) => {
                entries(settings).for_each(|(key, value)| self.setting(&pattern, key, value));
                self.tables.patterns.push(pattern);
            }
            Err(wrong) => self.fault(&at, name, wrong.to_string()),
        }
    }

    /// Takes one setting of the tables that a pattern names.
    fn setting(&mut self, pattern: &Pattern, key: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let (name, at) = (key.get_ref().as_ref(), key.span());
        let place = format!("{pattern}: {name}");
        match name {
            "sole_writer" => match value.get_ref().as_bool() {
                Some(sole) => self.tables.sole_writer.add(pattern.clone(), sole),
                None => {
                    let found = value.get_ref().type_str();
                    let wrong =
                        format!("{found}, neither true nor false. Write sole_writer = true or sole_writer = false");
                    self.fault(&at, &place, wrong);
                }
            },
            _ if LATER.contains(&name) => {
                self.fault(&at, &place, "this version does not have this setting per table yet. Remove the line");
            }
            _ => {
                let near = NOW.iter().find(|known| distance(name, known) <= 3);
                let hint =
                    near.map_or_else(|| format!("Settings are {}", NOW.join(", ")), |near| format!("Write {near}"));
                self.fault(&at, &place, format!("there is no such setting. {hint}"));
            }
        }
    }

    fn fault(&mut self, at: &Range<usize>, place: &str, wrong: impl AsRef<str>) {
        let line =
            self.text.as_bytes()[..at.start.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
        let place = if place.is_empty() { String::new() } else { format!(", {place}") };
        self.faults.push((line, format!("line {line}{place}: {}", wrong.as_ref())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Tables, Vec<String>> {
        let mut check = Check::default();
        let tables = parse(text, &mut check);
        check.finish(Some(tables)).map_err(|faults| faults.0.into_iter().map(|fault| fault.message).collect())
    }

    #[test]
    fn each_table_gets_what_the_last_pattern_says_in_the_files_order() {
        let text = "# ours\n[\"dbo.*\"]\nsole_writer = true\n\n[\"*.orders\"]\nsole_writer = false\n[\"dbo.a\"]\n";
        let tables = parsed(text).expect("a file");
        let sole = |table: &str| *tables.sole_writer.of("dbo", table);
        assert_eq!(
            (sole("events"), sole("orders"), sole("a"), *tables.sole_writer.of("x", "a")),
            (true, false, true, false)
        );
        let patterns: Vec<_> = tables.patterns.iter().map(ToString::to_string).collect();
        assert_eq!(patterns, ["dbo.*", "*.orders", "dbo.a"]);
        // the names' own order would have it the other way round
        let text = "[\"z.*\"]\nsole_writer = true\n[\"*.orders\"]\nsole_writer = false\n";
        assert!(!parsed(text).expect("a file").sole_writer.of("z", "orders"));
        assert_eq!(parsed(""), Ok(Tables::default()));
    }

    #[test]
    fn all_faults_come_at_once_with_line_and_key() {
        let text = "sole_writer = true\n[orders]\n[\"dbo.[a]\"]\n[\"dbo.*\"]\nsole_writer = \"hunter2\"\n\
                    sole_writers = true\nmode = \"append\"\npassword = 'hunter2'\n[dbo.orders]\nsole_writer = true\n";
        let wanted = [
            "line 1, sole_writer: it belongs to no table. Put it below the pattern of the tables that it is for, like [\"dbo.orders\"]",
            "line 2, orders: it names no schema. Write schema and table, like dbo.orders or dbo.*",
            "line 3, dbo.[a]: `[` has no meaning in a pattern, only * and ? have. Write \\[ where a name has it",
            "line 5, dbo.*: sole_writer: string, neither true nor false. Write sole_writer = true or sole_writer = false",
            "line 6, dbo.*: sole_writers: there is no such setting. Write sole_writer",
            "line 7, dbo.*: mode: this version does not have this setting per table yet. Remove the line",
            "line 8, dbo.*: password: there is no such setting. Settings are sole_writer",
            "line 9, dbo.orders: a pattern stands in quotes. Write [\"dbo.orders\"], not [dbo.orders]",
        ];
        assert_eq!(parsed(text).expect_err("faults"), wanted);
    }

    #[test]
    fn settings_to_come_are_refused_by_name() {
        for name in LATER {
            let said = parsed(&format!("[\"dbo.a\"]\n{name} = 1\n")).expect_err(name);
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].starts_with(&format!("line 2, dbo.a: {name}: this version does not have")), "{said:?}");
        }
    }

    #[test]
    fn what_is_no_toml_is_said_with_its_lines_and_without_what_stands_there() {
        let said = parsed("[\"dbo.a\"]\nsole_writer = hunter2\n[\"dbo.a\"]\n[\"dbo.b\"\n").expect_err("no TOML");
        assert!(said.len() >= 2, "{said:?}");
        assert!(said.iter().any(|said| said.starts_with("line 2: ")), "{said:?}");
        assert!(!said.concat().contains("hunter2"), "{said:?}");
    }
}
