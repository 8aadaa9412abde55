//! Parses `columns=`: the column names of files that do not name them, for one table or for all others.
//!
//! Items are separated by semicolons, each `[[schema.]table:]name,name,…`; the name `-` is a field to ignore.

/// One item: the columns of a table's files, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    schema: Option<String>,
    /// None: for every table that no other item is for.
    table: Option<String>,
    pub names: Vec<String>,
}

/// A field that is passed over.
pub const PASSED: &str = "-";

/// Parses all items of a text, or returns its errors as sentences.
pub fn parse(text: &str) -> Result<Vec<Listed>, Vec<String>> {
    let items: Vec<Listed> = text.split(';').filter(|item| !item.trim().is_empty()).map(item).collect();
    let mut faults = Vec::new();
    if items.is_empty() {
        faults.push("columns is empty. Write the files' columns in their order, like columns=Op,id,name or columns='e:id,name; f:id,-,price'".into());
    }
    for (place, item) in (1..).zip(&items) {
        if item.names.iter().any(String::is_empty)
            || [&item.schema, &item.table].into_iter().flatten().any(String::is_empty)
        {
            faults.push(format!(
                "item {place} of columns has an empty name. Write schema.table:name,name and - for a field to pass over"
            ));
        }
        if let Some(first) = items[..place - 1].iter().position(|other| other.is_for_the_same(item)) {
            let first = first + 1;
            faults.push(format!("items {first} and {place} of columns are for the same table. Keep one"));
        }
    }
    if faults.is_empty() { Ok(items) } else { Err(faults) }
}

/// Returns the item for a table, `(schema, table)` as the feed names it: one with its name, else the one without a
/// name. Names match exactly, else ignoring case.
pub fn of_table<'a>(items: &'a [Listed], table: &(String, String)) -> Option<&'a Listed> {
    items.iter().filter_map(|item| Some((item.rank(table)?, item))).max_by_key(|(rank, _)| *rank).map(|(_, item)| item)
}

/// Returns `true` if the names are equal, ignoring case.
pub fn alike(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}

impl Listed {
    /// Returns `true` if the item applies to all tables without an item of their own.
    pub fn is_general(&self) -> bool {
        self.table.is_none()
    }

    /// Returns how well the item matches a table, or `None` if it is for another one.
    fn rank(&self, (schema, table): &(String, String)) -> Option<[u8; 2]> {
        let fit = |mine: &Option<String>, name: &str| match mine {
            None => Some(0),
            Some(mine) if mine == name => Some(2),
            Some(mine) => alike(mine, name).then_some(1),
        };
        Some([fit(&self.table, table)?, fit(&self.schema, schema)?])
    }

    fn is_for_the_same(&self, other: &Self) -> bool {
        (&self.schema, &self.table) == (&other.schema, &other.table)
    }
}

fn item(text: &str) -> Listed {
    let (table, names) = match text.split_once(':') {
        Some((table, names)) => (Some(table.trim()), names),
        None => (None, text),
    };
    let (schema, table) = match table.and_then(|table| table.split_once('.')) {
        Some((schema, table)) => (Some(schema.trim().to_owned()), Some(table.trim().to_owned())),
        None => (None, table.map(str::to_owned)),
    };
    Listed { schema, table, names: names.split(',').map(|name| name.trim().to_owned()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, schema: &str, table: &str) -> Option<String> {
        let items = parse(text).expect(text);
        of_table(&items, &(schema.into(), table.into())).map(|item| item.names.join("+"))
    }

    #[test]
    fn the_item_that_fits_best_counts() {
        let text = "id,name; e: id, - ;b.e:x,y;E:big;;";
        assert_eq!(names(text, "dbo", "e").as_deref(), Some("id+-"));
        assert_eq!(names(text, "dbo", "E").as_deref(), Some("big"));
        assert_eq!(names(text, "b", "e").as_deref(), Some("x+y"));
        assert_eq!(names(text, "B", "e").as_deref(), Some("x+y"), "schemas too may differ in case");
        assert_eq!(names(text, "dbo", "f").as_deref(), Some("id+name"), "the general one");
        assert_eq!(names("e:id", "dbo", "f"), None);
        assert_eq!(names("a.e:id", "dbo", "e"), None);
    }

    #[test]
    fn what_names_nothing_or_twice_is_refused() {
        for (text, count) in [
            ("", 1),
            (" ; ", 1),
            ("a,,b", 1),
            ("e:", 1),
            (":a", 1),
            (".e:a", 1),
            ("a;b", 1),
            ("e:a;e:b", 1),
            ("e:,;e:a;b;c", 3),
        ] {
            assert_eq!(parse(text).expect_err(text).len(), count, "{text}");
        }
        assert!(parse("e:a;E:b;s.e:c;d").is_ok());
    }
}
