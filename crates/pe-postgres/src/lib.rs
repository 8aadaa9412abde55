//! Access to Postgres: a connection pool, transactions, quoting, and the classification of errors.
//!
//! `begin("name")` is the only way to a transaction. In a dry run all transactions are savepoints of one transaction
//! that is never committed; callers see no difference.

mod pool;
pub mod quote;
pub mod settings;
pub mod sqlstate;
pub mod tls;

pub use pool::{AS_PLANNED, BY_INDEX, Call, IDLE_TIMEOUT, LOCK_TIMEOUT, Parameter, Pg, Tx, calls};

/// Error of Postgres, or of the connection to it. The text never contains a cell's value: details and contexts are
/// left out, and so are the messages about data (class 22), which quote it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot reach Postgres at {place}: {why}")]
    Connect { place: String, why: String },
    /// The server is there and does not let this role in, or has no such database.
    #[error("Postgres refuses the connection: {0}. Check user, password and dbname in TARGET")]
    Refused(String),
    #[error("{door}: {}", describe(.source))]
    Query { door: &'static str, source: tokio_postgres::Error },
    /// The connection was lost between sending COMMIT and its answer: only the ledger knows.
    #[error("{door}: the connection was lost while committing")]
    UnknownCommit { door: &'static str },
    #[error("TLS: {0}")]
    Tls(String),
}

impl Error {
    /// Returns `true` if the error is temporary, so that another attempt may succeed.
    pub fn is_world(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Refused(_) | Self::UnknownCommit { .. } => true,
            Self::Tls(_) => false,
            Self::Query { source, .. } => source.code().is_none_or(|code| sqlstate::is_world(code.code())),
        }
    }

    /// Returns the SQLSTATE, if Postgres sent one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Query { source, .. } => source.code().map(tokio_postgres::error::SqlState::code),
            _ => None,
        }
    }
}

/// Returns Postgres' message with its code and the names of objects, without values.
pub fn describe(error: &tokio_postgres::Error) -> String {
    let Some(db) = error.as_db_error() else {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        return format!("{error}{cause}");
    };
    let names = [("table", db.table()), ("column", db.column()), ("constraint", db.constraint())];
    let names = names.iter().filter_map(|(what, name)| name.map(|name| format!(", {what} {name}")));
    let line = db.where_().and_then(copy_line).map(|line| format!(", row {line} of the COPY")).unwrap_or_default();
    let code = db.code().code();
    format!("{} ({code}{}{line})", sqlstate::own_words(code).unwrap_or(db.message()), names.collect::<String>())
}

/// Returns the line number in `COPY entity_2, line 123, column …`.
fn copy_line(context: &str) -> Option<&str> {
    let copy = context.lines().find_map(|line| line.strip_prefix("COPY "))?;
    let (_, rest) = copy.split_once(", line ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next().filter(|digits| !digits.is_empty())
}

#[cfg(test)]
mod tests {
    use super::copy_line;

    #[test]
    fn a_copy_context_gives_its_line_and_nothing_else() {
        assert_eq!(copy_line("COPY entity_2, line 123, column price: \"secret\""), Some("123"));
        assert_eq!(copy_line("PL/pgSQL function x line 3"), None);
        assert_eq!(copy_line("SQL statement \"COPY that, line 7\"\nCOPY e, line 1"), Some("1"));
    }
}
