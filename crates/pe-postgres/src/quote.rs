//! Names as SQL takes them: whatever they hold, they stay names.

/// `name` as a quoted identifier.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.name`, both quoted.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// Quoted names behind a prefix (`t.`), with commas between.
pub fn list<'a>(prefix: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("{prefix}{}", ident(name))).collect::<Vec<_>>().join(", ")
}

/// `text` as a literal.
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
