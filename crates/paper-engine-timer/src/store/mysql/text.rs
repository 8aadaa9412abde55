//! Writes values as SQL text. Bytes and texts go as hexadecimal literals, so that nothing in them can be read as SQL.

use std::fmt::Write;

use uuid::Uuid;

/// Returns bytes as a literal.
pub(super) fn bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2 + 3);
    text.push_str("x'");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\'');
    text
}

/// Returns a text as a literal.
pub(super) fn text(words: &str) -> String {
    format!("convert({} using utf8mb4)", bytes(words.as_bytes()))
}

/// Returns a text as a literal, or null.
pub(super) fn optional(words: Option<&str>) -> String {
    words.map_or_else(|| "null".to_owned(), text)
}

/// Returns an id as a literal.
pub(super) fn id(id: Uuid) -> String {
    bytes(id.as_bytes())
}

/// Returns ids as a list for `in (…)`.
pub(super) fn ids(list: impl IntoIterator<Item = Uuid>) -> String {
    list.into_iter().map(id).collect::<Vec<_>>().join(", ")
}

/// Returns the name of a database or a table as an identifier.
pub(super) fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_be_read_as_sql() {
        assert_eq!(text("a'"), "convert(x'6127' using utf8mb4)");
        assert_eq!(bytes(&[]), "x''");
        assert_eq!(optional(None), "null");
        assert_eq!(name("a`b"), "`a``b`");
        assert_eq!(id(Uuid::from_u128(1)), "x'00000000000000000000000000000001'");
    }
}
