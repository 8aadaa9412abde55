//! Renders a path in which `{table}` may stand: a subject, a topic or a folder.

/// A path with or without `{table}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

const TABLE: &str = "{table}";

impl Template {
    /// Takes a path; braces may only stand around `table`.
    ///
    /// # Errors
    /// Returns what is wrong with other braces.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.replace(TABLE, "").contains(['{', '}']) {
            return Err("only {table} may stand in braces".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns `true` if the path differs from table to table.
    pub fn has_table(&self) -> bool {
        self.0.contains(TABLE)
    }

    /// Returns the path for a table. What is not a letter, a digit, `_`, `-` or `.` becomes `_` in the table's name.
    pub fn render(&self, table: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '_' };
        self.0.replace(TABLE, &table.chars().map(plain).collect::<String>())
    }

    /// Returns the path as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_where_its_braces_were() {
        let template = Template::parse("replay.{table}").expect("template");
        assert_eq!(template.render("public.or ders>"), "replay.public.or_ders_");
        assert!(template.has_table() && !Template::parse("x").expect("template").has_table());
        assert!(Template::parse("a.{b}").is_err());
    }
}
