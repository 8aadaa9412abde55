//! The SQL that is made for a table. Pure: a table in, text out; `tests/golden` keeps examples.

use super::catalog::{Column, Table};
use crate::pg::quote;

/// Rows into the table.
pub fn copy_in(table: &Table) -> String {
    format!("copy {} ({}) from stdin (format binary)", table.quoted(), columns("", table))
}

/// The whole table in key order.
pub fn copy_out(table: &Table) -> String {
    let (columns, from) = (columns("t.", table), table.quoted());
    format!("copy (select {columns} from {from} t order by {}) to stdout (format binary)", key_order(table))
}

/// The rows that have the given keys, in key order. A parameter per key column, each an array.
pub fn rows_of_keys(table: &Table) -> String {
    let (columns, from) = (columns("t.", table), table.quoted());
    let keys = parameters(table.key.len());
    let names = names(table.key.len());
    format!(
        "select {columns} from {from} t join unnest({keys}) as v ({names}) on {} order by {}",
        key_match(table, table.key.iter().copied().enumerate()),
        key_order(table)
    )
}

/// Deletes the given keys. A parameter per key column, each an array.
pub fn delete(table: &Table) -> String {
    let keys = parameters(table.key.len());
    let names = names(table.key.len());
    format!(
        "delete from {} t using unnest({keys}) as v ({names}) where {}",
        table.quoted(),
        key_match(table, table.key.iter().copied().enumerate())
    )
}

/// Writes the given rows over those with their keys, where they differ. A parameter per column, each an array. Not for a
/// table that is all key: nothing of its rows can differ.
pub fn update(table: &Table) -> String {
    let others = || table.columns.iter().enumerate().filter(|(index, _)| !table.key.contains(index));
    let set = others().map(|(index, column)| format!("{} = v.c{}", quote::ident(&column.name), index + 1));
    let differ = others().map(|(index, column)| differs(index, column));
    format!(
        "update {} t set {} from unnest({}) as v ({}) where {} and ({})",
        table.quoted(),
        set.collect::<Vec<_>>().join(", "),
        parameters(table.columns.len()),
        names(table.columns.len()),
        key_match(table, table.key.iter().map(|column| (*column, *column))),
        differ.collect::<Vec<_>>().join(" or ")
    )
}

/// A value differs by its type's equality; a type without one is compared as text.
fn differs(index: usize, column: &Column) -> String {
    let (name, number) = (quote::ident(&column.name), index + 1);
    if column.wire.has_equality() {
        format!("t.{name} is distinct from v.c{number}")
    } else {
        format!("t.{name}::text is distinct from v.c{number}::text")
    }
}

fn columns(prefix: &str, table: &Table) -> String {
    quote::list(prefix, table.columns.iter().map(|column| column.name.as_str()))
}

fn key_order(table: &Table) -> String {
    let order = |column: &usize| {
        let column = &table.columns[*column];
        column.wire.order_by(&format!("t.{}", quote::ident(&column.name)))
    };
    table.key.iter().map(order).collect::<Vec<_>>().join(", ")
}

/// `t.key = v.c1 and …`; each pair is (place among the given arrays, column).
fn key_match(table: &Table, pairs: impl Iterator<Item = (usize, usize)>) -> String {
    let one =
        |(place, column): (usize, usize)| format!("t.{} = v.c{}", quote::ident(&table.columns[column].name), place + 1);
    pairs.map(one).collect::<Vec<_>>().join(" and ")
}

fn parameters(count: usize) -> String {
    (1..=count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

fn names(count: usize) -> String {
    (1..=count).map(|number| format!("c{number}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use tokio_postgres::types::Type;

    use super::super::encode::Wire;
    use super::*;

    fn column(name: &str, wire: Wire, type_oid: u32, array: Type) -> Column {
        Column { name: name.into(), wire, not_null: false, array, type_oid, loose: false }
    }

    fn tables() -> Vec<Table> {
        let id = || column("id", Wire::Int8, 20, Type::INT8_ARRAY);
        let text = |name: &str| column(name, Wire::Text, 25, Type::TEXT_ARRAY);
        let json = column("json", Wire::Json, 114, Type::JSON_ARRAY);
        vec![
            Table::of("dbo", "orders", vec![id(), text("name"), json], &[0]),
            Table::of("Odd \"one\"", "e; drop table x", vec![text("a"), id(), text("b")], &[2, 1]),
        ]
    }

    /// `just bless` writes the file anew; look at the difference.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "BLESS is for this test alone")]
    fn the_statements_are_those_in_the_golden_file() {
        let statements = |table: &Table| {
            [copy_in(table), copy_out(table), rows_of_keys(table), delete(table), update(table)].join(";\n")
        };
        let made = tables().iter().map(statements).collect::<Vec<_>>().join(";\n\n") + ";\n";
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/statements.sql");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(file, &made).expect("written");
        }
        let golden = std::fs::read_to_string(file).expect("the golden file");
        assert_eq!(made, golden, "run `just bless` if this is meant");
    }
}
