//! The SQL that is made for a table. Pure: a table in, text out; `tests/golden` keeps examples. `source` is what the given
//! rows are called: something with the columns `c1`, `c2`, … of an alias `v`.

use std::collections::BTreeMap;

use super::catalog::{Column, Table};
use super::encode::{ColumnEncoding, Comparison};
use super::referrers::{Event, Referrer};
use super::unnest::unnest;
use crate::pg::quote;

/// Copies rows of the given columns into the table.
pub fn copy_in(table: &Table, columns: &[usize]) -> String {
    let names = columns.iter().map(|column| table.columns[*column].name.as_str());
    format!("copy {} ({}) from stdin (format binary)", table.quoted(), quote::list("", names))
}

/// Copies the whole table in key order; without a key, in the order of whole rows, each behind its address.
pub fn copy_out(table: &Table) -> String {
    let value = |column: &Column| match column.is_xml() {
        true => column.sent(&column.value()),
        false => format!("t.{}", quote::ident(&column.name)),
    };
    let columns = table.columns.iter().map(value).collect::<Vec<_>>().join(", ");
    let from = table.quoted();
    let address = if table.is_keyless() { "t.ctid, t.tableoid, " } else { "" };
    format!("copy (select {address}{columns} from {from} t order by {}) to stdout (format binary)", order(table))
}

/// Selects the rows with the given keys, in key order. Types that the driver may not know are requested as bytes.
pub fn rows_of_keys(table: &Table, source: &str) -> String {
    let value = |column: &Column| match column.wire {
        ColumnEncoding::ServerCast(_) => column.sent(&column.value()),
        _ => column.value(),
    };
    let (values, from) = (table.columns.iter().map(value).collect::<Vec<_>>().join(", "), table.quoted());
    let which = match one_array(table, source) {
        Some(which) => format!("where {which}"),
        None => format!("join {source} on {}", key_match(table, table.key.iter().copied().enumerate())),
    };
    format!("select {values} from {from} t {which} order by {}", order(table))
}

/// Deletes the given keys; where there is no key, the given addresses.
pub fn delete(table: &Table, source: &str) -> String {
    let (using, which) = match one_array(table, source) {
        Some(which) => (String::new(), which),
        None if table.is_keyless() => (format!("using {source} "), "t.ctid = v.c1 and t.tableoid = v.c2".to_owned()),
        None => (format!("using {source} "), key_match(table, table.key.iter().copied().enumerate())),
    };
    format!("delete from {} t {using}where {which}", table.quoted())
}

/// Writes the given rows over those with their keys, where they differ. Not for a table that is all key: nothing of its
/// rows can differ.
pub fn update(table: &Table, source: &str) -> String {
    let set = others(table).map(|(index, column)| format!("{} = v.c{}", quote::ident(&column.name), index + 1));
    let differ = others(table).map(|(index, column)| differs(index, column));
    format!(
        "update {} t set {} from {source} where {} and ({})",
        table.quoted(),
        set.collect::<Vec<_>>().join(", "),
        key_match(table, table.key.iter().map(|column| (*column, *column))),
        differ.collect::<Vec<_>>().join(" or ")
    )
}

/// Counts the given rows that differ from the table's rows with the same keys, for each column outside the key.
/// `None` for a table that consists of its key alone.
pub fn differing(table: &Table, source: &str) -> Option<String> {
    let others = others(table).map(|(index, column)| format!("count(*) filter (where {})", differs(index, column)));
    let counts = others.collect::<Vec<_>>().join(", ");
    (!counts.is_empty()).then(|| format!("select {counts} from {}", met(table, source)))
}

/// Selects the keys, as text, of the first of the given rows that differ.
pub fn differing_keys(table: &Table, source: &str, most: usize) -> String {
    let differ = others(table).map(|(index, column)| differs(index, column)).collect::<Vec<_>>().join(" or ");
    let (keys, from) = (key_texts(table).join(", "), met(table, source));
    format!("select {keys} from {from} where {differ} order by {} limit {most}", order(table))
}

fn key_texts(table: &Table) -> Vec<String> {
    table.key.iter().map(|column| format!("t.{}::text", quote::ident(&table.columns[*column].name))).collect()
}

/// Returns the columns outside the key.
fn others(table: &Table) -> impl Iterator<Item = (usize, &Column)> + Clone {
    table.columns.iter().enumerate().filter(|(index, _)| !table.key.contains(index))
}

/// Returns the join of the given rows with the table's rows of the same keys.
fn met(table: &Table, source: &str) -> String {
    let keys = key_match(table, table.key.iter().map(|column| (*column, *column)));
    format!("{} t join {source} on {keys}", table.quoted())
}

/// Updates the rows with the given keys: the given columns get their values, the others their defaults.
pub fn reset(table: &Table, supplied: &[usize], source: &str) -> String {
    let place = |column: usize| supplied.iter().position(|other| *other == column);
    let set = others(table).map(|(index, column)| match place(index) {
        Some(place) => format!("{} = v.c{}", quote::ident(&column.name), place + 1),
        None => format!("{} = default", quote::ident(&column.name)),
    });
    let keys = table.key.iter().filter_map(|column| Some((place(*column)?, *column)));
    format!(
        "update {} t set {} from {source} where {}",
        table.quoted(),
        set.collect::<Vec<_>>().join(", "),
        key_match(table, keys)
    )
}

/// Counts the given rows that differ from the table's rows with the same keys, and those whose keys exist. `None` for
/// a table that consists of its key alone.
pub fn count_differing(table: &Table, source: &str) -> Option<String> {
    let differ = others(table).map(|(index, column)| differs(index, column)).collect::<Vec<_>>().join(" or ");
    let select = || format!("select count(*) filter (where {differ}), count(*) from {}", met(table, source));
    (!differ.is_empty()).then(select)
}

/// Counts the table's rows with the given keys, or with the given addresses if the table has no key.
pub fn count_there(table: &Table, source: &str) -> String {
    let which = match table.is_keyless() {
        true => "t.ctid = v.c1 and t.tableoid = v.c2".to_owned(),
        false => key_match(table, table.key.iter().copied().enumerate()),
    };
    format!("select count(*) from {} t join {source} on {which}", table.quoted())
}

/// Selects the highest and the lowest of the given values, as text, of the columns at `places`.
pub fn extremes(places: &[usize], source: &str) -> String {
    let both = places.iter().map(|place| format!("max(c{0})::text, min(c{0})::text", place + 1));
    format!("select {} from {source}", both.collect::<Vec<_>>().join(", "))
}

/// Selects the highest value, or the lowest, of a column and some literals, as text.
pub fn extreme(table: &Table, column: usize, lowest: bool, literals: &[String]) -> String {
    let (one, all) = if lowest { ("min", "least") } else { ("max", "greatest") };
    let column = &table.columns[column];
    let literals = literals.iter().map(|text| format!(", {}::pg_catalog.{}", quote::literal(text), column.base.name()));
    format!(
        "select {all}({one}(t.{}){})::text from {} t",
        quote::ident(&column.name),
        literals.collect::<String>(),
        table.quoted()
    )
}

/// Writes values into the rows that have the keys of the given rows. `values` are columns with SQL in which `v.n` is the number
/// of the row, beginning after `before`; `supplied` are the columns of the given rows. Only rows are touched in which one of the
/// `watched` columns changes, if there are any.
pub fn park(
    table: &Table,
    supplied: &[usize],
    source: &str,
    (values, watched, before): (&BTreeMap<usize, String>, &[usize], u64),
) -> String {
    let place = |column: usize| supplied.iter().position(|other| *other == column);
    let name = |column: &usize| quote::ident(&table.columns[*column].name);
    let set = values.iter().map(|(column, value)| format!("{} = {value}", name(column))).collect::<Vec<_>>().join(", ");
    let keys = key_match(table, table.key.iter().filter_map(|column| Some((place(*column)?, *column))));
    let changed = watched.iter().filter(|column| place(**column) == Some(**column));
    let changed = changed.map(|column| differs(*column, &table.columns[*column])).collect::<Vec<_>>().join(" or ");
    let changed = if changed.is_empty() { changed } else { format!(" and ({changed})") };
    format!(
        "update {} t set {set} from (select v.*, row_number() over () + {before} as n from {source}) v where {keys}{changed}",
        table.quoted()
    )
}

/// Deletes the rows that have the keys of the given rows and differ from them; the numbers of those given rows.
pub fn delete_differing(table: &Table, source: &str) -> String {
    let differ = others(table).map(|(index, column)| differs(index, column)).collect::<Vec<_>>().join(" or ");
    let keys = key_match(table, table.key.iter().map(|column| (*column, *column)));
    format!(
        "delete from {} t using (select v.*, row_number() over () as n from {source}) v where {keys} and ({differ}) \
         returning v.n",
        table.quoted()
    )
}

/// Selects the given rows that differ from the table's rows with the same keys: the key's columns as text, then for
/// each other column whether it differs.
pub fn differences(table: &Table, source: &str) -> String {
    let differ = others(table).map(|(index, column)| differs(index, column));
    format!(
        "select {} from {} where {} order by {}",
        key_texts(table).into_iter().chain(differ.clone()).collect::<Vec<_>>().join(", "),
        met(table, source),
        differ.collect::<Vec<_>>().join(" or "),
        order(table)
    )
}

/// Selects the given keys, or addresses, of this number of columns as text.
pub fn texts(columns: usize, source: &str) -> String {
    let texts: Vec<_> = (1..=columns).map(|number| format!("c{number}::text")).collect();
    format!("select {} from {source}", texts.join(", "))
}

/// The rows that refer to given rows of a table by one foreign key, as the parts of a query.
pub(super) struct Referred {
    /// the table, quoted
    table: String,
    /// which of its rows are meant
    which: String,
    /// the rows that refer, and how
    refers: String,
    /// the values to which they refer, as text
    values: String,
    /// the key of a row of the table itself, as text
    key: String,
}

/// Returns none if the event cannot touch the columns to which the foreign key refers: they are the key, or generated.
pub(super) fn referred(table: &Table, referrer: &Referrer, event: Event) -> Option<Referred> {
    let changes = referrer.pairs.iter().filter_map(|(_, column)| table.column_named(column));
    let changes = changes.filter(|column| !table.key.contains(column));
    let changes = changes.map(|column| differs(column, &table.columns[column])).collect::<Vec<_>>().join(" or ");
    let which = match event {
        Event::Remove if table.is_keyless() => "t.ctid = v.c1 and t.tableoid = v.c2".to_owned(),
        Event::Remove => key_match(table, table.key.iter().copied().enumerate()),
        Event::Amend if table.is_keyless() || changes.is_empty() => return None,
        Event::Amend => {
            format!("{} and ({changes})", key_match(table, table.key.iter().map(|column| (*column, *column))))
        }
    };
    let pairs = referrer.pairs.iter();
    let refers = pairs.map(|(column, to)| format!("r.{} = t.{}", quote::ident(column), quote::ident(to)));
    let values = referrer.pairs.iter().map(|(_, to)| format!("t.{}::text", quote::ident(to)));
    Some(Referred {
        table: table.quoted(),
        which,
        refers: format!("join {} r on {}", referrer.quoted(), refers.collect::<Vec<_>>().join(" and ")),
        values: format!("pg_catalog.concat_ws(', ', {})", values.collect::<Vec<_>>().join(", ")),
        key: key_text(table, "r"),
    })
}

impl Referred {
    /// What the first of them refers to.
    pub fn first(&self, source: &str) -> String {
        format!("select {} from {} limit 1", self.values, self.rows(source))
    }

    /// All of them, of the table itself: their keys, and what they refer to.
    pub fn own(&self, source: &str) -> String {
        format!("select {}, {} from {}", self.key, self.values, self.rows(source))
    }

    fn rows(&self, source: &str) -> String {
        format!("{} t join {source} on {} {}", self.table, self.which, self.refers)
    }
}

/// The keys of the given keys, addresses or rows, as `Referred::own` has them.
pub(super) fn key_texts_of(table: &Table, source: &str, event: Event) -> String {
    let which = match event {
        Event::Remove if table.is_keyless() => "t.ctid = v.c1 and t.tableoid = v.c2".to_owned(),
        Event::Remove => key_match(table, table.key.iter().copied().enumerate()),
        Event::Amend => key_match(table, table.key.iter().map(|column| (*column, *column))),
    };
    format!("select {} from {} t join {source} on {which}", key_text(table, "t"), table.quoted())
}

/// The key of a row, or its address, as one text.
fn key_text(table: &Table, alias: &str) -> String {
    let texts = match table.is_keyless() {
        true => vec![format!("{alias}.tableoid::text"), format!("{alias}.ctid::text")],
        false => {
            let names = table.key.iter().map(|column| quote::ident(&table.columns[*column].name));
            names.map(|name| format!("{alias}.{name}::text")).collect()
        }
    };
    format!("pg_catalog.array_to_string(array[{}]::text[], chr(1))", texts.join(", "))
}

/// Returns the condition that a value differs. Values differ if their texts do, except for numbers of another scale.
/// Nothing here depends on the session's search path: a type of another schema has its `=` in that schema.
fn differs(index: usize, column: &Column) -> String {
    let (old, new, send) = (column.value(), format!("v.c{}", index + 1), &column.send);
    match column.comparison() {
        Comparison::Equality => format!("{old} is distinct from {new}"),
        Comparison::Bytes => format!("{send}({old}) is distinct from {send}({new})"),
        Comparison::Float => {
            format!("({old} is distinct from {new} or ({old} = 0 and {send}({old}) is distinct from {send}({new})))")
        }
        Comparison::Text => format!("{old}::text is distinct from {new}::text"),
    }
}

fn order(table: &Table) -> String {
    let by_key = |column: &usize| {
        let column = &table.columns[*column];
        column.wire.order_by(&column.value(), &column.sent(&column.value()))
    };
    let by_value = |column: &Column| {
        let order = format!("{} nulls first", column.wire.order_by(&column.value(), &column.sent(&column.value())));
        match column.wire.reads_apart() {
            true => format!("{order}, {}", column.sent(&column.value())),
            false => order,
        }
    };
    let terms: Vec<_> = match table.is_keyless() {
        true => table.columns.iter().map(by_value).collect(),
        false => table.key.iter().map(by_key).collect(),
    };
    terms.join(", ")
}

/// Returns the condition for a key of one column given as one array, which avoids a join and is planned faster.
fn one_array(table: &Table, source: &str) -> Option<String> {
    let [key] = table.key[..] else { return None };
    (source == unnest(1)).then(|| format!("{} = any($1)", table.columns[key].value()))
}

/// Returns `t.key = v.c1 and …`; each pair is (index among the given columns, column).
fn key_match(table: &Table, pairs: impl Iterator<Item = (usize, usize)>) -> String {
    let one = |(place, column): (usize, usize)| format!("{} = v.c{}", table.columns[column].value(), place + 1);
    pairs.map(one).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use tokio_postgres::types::Type;

    use super::super::encode::ServerCast;
    use super::super::unnest::values;
    use super::*;

    fn column(name: &str, wire: ColumnEncoding, base: Type, array: Type) -> Column {
        let send = format!("pg_catalog.{}send", base.name());
        Column {
            name: name.into(),
            wire,
            not_null: false,
            has_default: false,
            base,
            array: Some(array),
            send,
            loose: false,
            cast: None,
        }
    }

    fn tables() -> Vec<Table> {
        let id = || column("id", ColumnEncoding::Int8, Type::INT8, Type::INT8_ARRAY);
        let text = |name: &str| column(name, ColumnEncoding::Text, Type::TEXT, Type::TEXT_ARRAY);
        let json = || column("json", ColumnEncoding::Json, Type::JSON, Type::JSON_ARRAY);
        let asked = ServerCast { type_name: "inet".into(), text: false, scaled: false, canonical: true };
        let inet = column("ip", ColumnEncoding::ServerCast(asked), Type::INET, Type::INET_ARRAY);
        let float = column("f", ColumnEncoding::Float8, Type::FLOAT8, Type::FLOAT8_ARRAY);
        let loose = Column { loose: true, ..text("loose") };
        let own = ServerCast { type_name: "x.mood".into(), text: false, scaled: false, canonical: true };
        let own = Column {
            cast: Some("x.mood".into()),
            ..column("m", ColumnEncoding::ServerCast(own), Type::ANYENUM, Type::ANYARRAY)
        };
        vec![
            Table::of("dbo", "orders", vec![id(), text("name"), json(), inet], &[0]),
            Table::of("dbo", "apart", vec![own, float, loose], &[0]),
            Table::of("Odd \"one\"", "e; drop table x", vec![text("a"), id(), text("b")], &[2, 1]),
        ]
    }

    /// Compares the statements with the golden file. `just bless` rewrites the file; look at the difference.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "BLESS is for this test alone")]
    fn the_statements_are_those_in_the_golden_file() {
        let statements = |table: &Table| {
            let all: Vec<usize> = (0..table.columns.len()).collect();
            let (keys, rows) = (unnest(table.key.len()), unnest(all.len()));
            let statements = [
                copy_in(table, &all),
                copy_out(table),
                rows_of_keys(table, &keys),
                delete(table, &keys),
                update(table, &rows),
                differences(table, &rows),
                texts(table.key.len(), &keys),
                delete(table, &values(table.key.len(), 2)),
                reset(table, &[table.key.as_slice(), &[0]].concat(), &unnest(table.key.len() + 1)),
                differing(table, &rows).unwrap_or_default(),
                differing_keys(table, &rows, 5),
            ];
            statements.join(";\n")
        };
        let made = tables().iter().map(statements).collect::<Vec<_>>().join(";\n\n");
        let [mut keyless, mut apart, _] = <[Table; 3]>::try_from(tables()).expect("three");
        keyless.key.clear();
        apart.key.clear();
        let keyless = [copy_out(&keyless), copy_out(&apart), delete(&keyless, &unnest(2))].join(";\n");
        let made = [made, keyless].join(";\n\n") + ";\n";
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/statements.sql");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(file, &made).expect("written");
        }
        let golden = std::fs::read_to_string(file).expect("the golden file");
        assert_eq!(made, golden, "run `just bless` if this is meant");
    }
}
