//! The first field of a change row: what happened to the row in the source.

/// Operation that a row of a change file claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Insert,
    Update,
    Delete,
}

impl Op {
    /// Parses one letter, upper case as DMS writes it, or the word that older tools write.
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text {
            b"I" | b"INSERT" => Some(Self::Insert),
            b"U" | b"UPDATE" => Some(Self::Update),
            b"D" | b"DELETE" => Some(Self::Delete),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Op;

    #[test]
    fn knows_three_ops_and_nothing_else() {
        assert_eq!(Op::parse(b"I"), Some(Op::Insert));
        assert_eq!(Op::parse(b"UPDATE"), Some(Op::Update));
        assert_eq!(Op::parse(b"D"), Some(Op::Delete));
        for wrong in [&b"X"[..], b"i", b"", b"II", b" I"] {
            assert_eq!(Op::parse(wrong), None);
        }
    }
}
