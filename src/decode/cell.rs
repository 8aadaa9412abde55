//! What one field of a file means: a value, null, or that the feed does not know.

/// A cell as the file gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    Null,
    Value(&'a [u8]),
    /// the feed does not know the value: the cell keeps what it has
    NotSupplied,
}

/// What reads as null. `text` columns keep an empty field as the empty text; for the others it can only mean null.
#[derive(Debug, Clone)]
pub struct Nulls {
    null: Vec<u8>,
}

impl Nulls {
    /// `null` is the feed's own word for it; without one it is `NULL`, as the DMS documentation has it.
    pub fn new(null: Option<&[u8]>) -> Self {
        Self { null: null.unwrap_or(b"NULL").to_vec() }
    }

    /// A quoted field is never null: whoever quoted it meant the text.
    pub fn cell<'a>(&self, field: &'a [u8], quoted: bool, text: bool) -> Cell<'a> {
        if quoted || (field != self.null.as_slice() && (text || !field.is_empty())) {
            Cell::Value(field)
        } else {
            Cell::Null
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_empty_and_the_text_null_are_three_things() {
        let nulls = Nulls::new(None);
        assert_eq!(nulls.cell(b"NULL", false, true), Cell::Null);
        assert_eq!(nulls.cell(b"NULL", true, true), Cell::Value(b"NULL"));
        assert_eq!(nulls.cell(b"", false, true), Cell::Value(b""));
        assert_eq!(nulls.cell(b"", false, false), Cell::Null);
        assert_eq!(nulls.cell(b"", true, false), Cell::Value(b""));
        assert_eq!(nulls.cell(b"null", false, true), Cell::Value(b"null"));
    }

    #[test]
    fn the_feed_may_have_its_own_word() {
        let nulls = Nulls::new(Some(b"\\N"));
        assert_eq!(nulls.cell(b"\\N", false, true), Cell::Null);
        assert_eq!(nulls.cell(b"NULL", false, true), Cell::Value(b"NULL"));
    }
}
