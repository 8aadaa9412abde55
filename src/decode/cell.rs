//! Interprets one field of a file as a value, null, or a cell that the feed did not supply.

/// A cell of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    Null,
    Value(&'a [u8]),
    /// The feed does not know the value: the cell keeps what it has.
    NotSupplied,
}

/// Interpretation of a column's unquoted fields that may stand for no value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reads {
    /// An empty field is the empty text; elsewhere it can only mean null.
    pub keeps_empty: bool,
    /// A word for null is a text like any other.
    pub keeps_words: bool,
}

/// Words that stand for no value.
#[derive(Debug, Clone)]
pub struct Words {
    null: Vec<Vec<u8>>,
    no_supply: Option<Vec<u8>>,
}

impl Words {
    /// Creates the words; `null` are those for null.
    pub fn new(null: Vec<Vec<u8>>, no_supply: Option<&[u8]>) -> Self {
        Self { null, no_supply: no_supply.map(<[u8]>::to_vec) }
    }

    /// Returns the cell of a field. A quoted field is always a value.
    pub fn cell<'a>(&self, field: &'a [u8], quoted: bool, reads: Reads) -> Cell<'a> {
        let is_null = || match field {
            [] => !reads.keeps_empty,
            _ => !reads.keeps_words && self.null.iter().any(|word| word == field),
        };
        if quoted || !is_null() {
            if self.no_supply.is_some() && !quoted && self.is_no_supply(field) {
                return Cell::NotSupplied;
            }
            Cell::Value(field)
        } else {
            Cell::Null
        }
    }

    pub fn has_no_supply(&self) -> bool {
        self.no_supply.is_some()
    }

    fn is_no_supply(&self, field: &[u8]) -> bool {
        self.no_supply.as_deref() == Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Reads = Reads { keeps_empty: true, keeps_words: false };
    const OTHER: Reads = Reads { keeps_empty: false, keeps_words: false };

    #[test]
    fn null_empty_and_the_text_null_are_three_things() {
        let words = Words::new(vec![b"NULL".to_vec()], None);
        assert_eq!(words.cell(b"NULL", false, TEXT), Cell::Null);
        assert_eq!(words.cell(b"NULL", true, TEXT), Cell::Value(b"NULL"));
        assert_eq!(words.cell(b"", false, TEXT), Cell::Value(b""));
        assert_eq!(words.cell(b"", false, OTHER), Cell::Null);
        assert_eq!(words.cell(b"", true, OTHER), Cell::Value(b""));
        assert_eq!(words.cell(b"null", false, TEXT), Cell::Value(b"null"));
        let words_are_texts = Reads { keeps_empty: false, keeps_words: true };
        assert_eq!(words.cell(b"NULL", false, words_are_texts), Cell::Value(b"NULL"));
        assert_eq!(words.cell(b"", false, words_are_texts), Cell::Null);
    }

    #[test]
    fn the_feed_may_have_its_own_word() {
        let words = Words::new(vec![b"\\N".to_vec(), b"0000-00-00".to_vec()], None);
        assert_eq!(words.cell(b"\\N", false, TEXT), Cell::Null);
        assert_eq!(words.cell(b"0000-00-00", false, TEXT), Cell::Null);
        assert_eq!(words.cell(b"0000-00-00", true, TEXT), Cell::Value(b"0000-00-00"));
        assert_eq!(words.cell(b"NULL", false, TEXT), Cell::Value(b"NULL"));
    }

    #[test]
    fn a_word_may_say_that_nothing_was_supplied() {
        let words = Words::new(vec![b"NULL".to_vec()], Some(b"NOSUP"));
        for text in [TEXT, OTHER] {
            assert_eq!(words.cell(b"NOSUP", false, text), Cell::NotSupplied);
            assert_eq!(words.cell(b"NOSUP", true, text), Cell::Value(b"NOSUP"));
            assert_eq!(words.cell(b"nosup", false, text), Cell::Value(b"nosup"));
            assert_eq!(words.cell(b"NULL", false, text), Cell::Null);
        }
    }
}
