//! What one field of a file means: a value, null, or that the feed does not know.

/// A cell as the file gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    Null,
    Value(&'a [u8]),
    /// the feed does not know the value: the cell keeps what it has
    NotSupplied,
}

/// The words that stand for no value. A column that `keeps_empty` has an empty field as the empty text; for the others it can
/// only mean null.
#[derive(Debug, Clone)]
pub struct Words {
    null: Vec<Vec<u8>>,
    no_supply: Option<Vec<u8>>,
}

impl Words {
    /// `null` are the feed's own words for it; without any it is `NULL`, as the DMS documentation has it.
    pub fn new(null: &[Vec<u8>], no_supply: Option<&[u8]>) -> Self {
        let null = if null.is_empty() { vec![b"NULL".to_vec()] } else { null.to_vec() };
        Self { null, no_supply: no_supply.map(<[u8]>::to_vec) }
    }

    /// A quoted field is a value: whoever quoted it meant the text.
    pub fn cell<'a>(&self, field: &'a [u8], quoted: bool, keeps_empty: bool) -> Cell<'a> {
        let is_null = || if field.is_empty() { !keeps_empty } else { self.null.iter().any(|word| word == field) };
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

    #[test]
    fn null_empty_and_the_text_null_are_three_things() {
        let words = Words::new(&[], None);
        assert_eq!(words.cell(b"NULL", false, true), Cell::Null);
        assert_eq!(words.cell(b"NULL", true, true), Cell::Value(b"NULL"));
        assert_eq!(words.cell(b"", false, true), Cell::Value(b""));
        assert_eq!(words.cell(b"", false, false), Cell::Null);
        assert_eq!(words.cell(b"", true, false), Cell::Value(b""));
        assert_eq!(words.cell(b"null", false, true), Cell::Value(b"null"));
    }

    #[test]
    fn the_feed_may_have_its_own_word() {
        let words = Words::new(&[b"\\N".to_vec(), b"0000-00-00".to_vec()], None);
        assert_eq!(words.cell(b"\\N", false, true), Cell::Null);
        assert_eq!(words.cell(b"0000-00-00", false, true), Cell::Null);
        assert_eq!(words.cell(b"0000-00-00", true, true), Cell::Value(b"0000-00-00"));
        assert_eq!(words.cell(b"NULL", false, true), Cell::Value(b"NULL"));
    }

    #[test]
    fn a_word_may_say_that_nothing_was_supplied() {
        let words = Words::new(&[], Some(b"NOSUP"));
        for text in [true, false] {
            assert_eq!(words.cell(b"NOSUP", false, text), Cell::NotSupplied);
            assert_eq!(words.cell(b"NOSUP", true, text), Cell::Value(b"NOSUP"));
            assert_eq!(words.cell(b"nosup", false, text), Cell::Value(b"nosup"));
            assert_eq!(words.cell(b"NULL", false, text), Cell::Null);
        }
    }
}
