//! Keys, and addresses of rows without a key, for display: as Postgres prints them, truncated.

use tokio_postgres::Row;

use super::catalog::Table;
use super::unnest::UnnestParams;
use super::{Error, sql};
use crate::pg::Tx;

/// Cells of a key as text, in the key's order; for a table without a key, the row's address (`ctid`).
pub type Key = Vec<String>;

/// Number of keys that one query formats.
const PIECE: usize = 1000;
/// Maximum number of characters of a cell that are shown.
const SHOWN: usize = 120;

/// Returns keys as Postgres prints them.
pub(super) async fn keys(tx: &Tx, table: &Table, keys: &[Vec<u8>]) -> Result<Vec<Key>, Error> {
    let arrays = UnnestParams::new(table, table.key.iter().copied());
    texts(tx, arrays, table.key.len(), keys).await
}

/// Returns row addresses as Postgres prints them.
pub(super) async fn addresses(tx: &Tx, addresses: &[Vec<u8>]) -> Result<Vec<Key>, Error> {
    texts(tx, UnnestParams::of_addresses(), 1, addresses).await
}

/// Returns the first cells of an answer, which are those of a key.
pub(super) fn key(answer: &Row, width: usize) -> Key {
    (0..width).map(|place| cut(answer.get::<_, Option<&str>>(place).unwrap_or_default())).collect()
}

async fn texts(tx: &Tx, mut arrays: UnnestParams, width: usize, tuples: &[Vec<u8>]) -> Result<Vec<Key>, Error> {
    let mut all = Vec::with_capacity(tuples.len());
    for piece in tuples.chunks(PIECE) {
        arrays.clear();
        piece.iter().for_each(|tuple| arrays.push(tuple));
        let answers = tx.query_typed(&sql::texts(width, &arrays.source()), &arrays.parameters()).await;
        all.extend(answers.map_err(|error| tx.error(error))?.iter().map(|answer| key(answer, width)));
    }
    Ok(all)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
