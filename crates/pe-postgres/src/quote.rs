//! Quotes names and literals for SQL.

/// Returns `name` as a quoted identifier.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns `schema.name`, both quoted.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// Returns quoted names behind a prefix (`t.`), separated by commas.
pub fn list<'a>(prefix: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("{prefix}{}", ident(name))).collect::<Vec<_>>().join(", ")
}

/// Returns `text` as a literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_stays_a_name() {
        assert_eq!(qualified("dbo", "orders\"; drop table x;--"), "\"dbo\".\"orders\"\"; drop table x;--\"");
        assert_eq!(list("t.", ["a", "B c"]), "t.\"a\", t.\"B c\"");
    }
}
