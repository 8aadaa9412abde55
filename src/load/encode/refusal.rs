//! Reasons for which a cell is refused, as text that follows a column's name. The text never contains the cell's own
//! content, which may be secret and would end up in logs and in the ledger.

/// Reason for which a cell was refused. Bytes are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The text is no value of the type, or a form of it that is not taken.
    #[error("not {0}")]
    Not(&'static str),
    #[error("out of range for {0}")]
    Range(&'static str),
    #[error("out of range for numeric({precision},{scale})")]
    Overflow { precision: u16, scale: i16 },
    /// Postgres would round; a feed that needs rounding has another idea of the column.
    #[error("more than {0} decimal places")]
    Places(u16),
    /// The same for a float, whose digits are binary.
    #[error("more digits than {0} keeps")]
    Digits(&'static str),
    /// The same for a negative scale.
    #[error("not a multiple of 10^{0}")]
    Multiple(u16),
    #[error("longer than {kind}({max})")]
    Long { kind: &'static str, max: u32 },
    #[error("invalid UTF-8 at byte {0}")]
    Utf8(usize),
    /// Postgres cannot store it in any text.
    #[error("U+0000 at byte {0}")]
    Nul(usize),
    /// Postgres would drop the zone without a word, and so shift the instant.
    #[error("has a time zone; the column has none")]
    Zone,
    /// Postgres would drop the time without a word.
    #[error("has a time of day; the column has none")]
    TimeOfDay,
    #[error("invalid JSON at byte {0}")]
    Json(usize),
}
