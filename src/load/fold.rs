//! Folds all records of one key into one row action, cell by cell.
//!
//! Records of one key come in file order. A supplied cell replaces the earlier value, an unset cell keeps it, and a
//! delete clears the row. Rows of a snapshot are never folded, because a key must occur only once.

use super::batch::{Batch, RowAction, Wanted};
use super::sort::{Mark, Record};
use super::{Error, tuple};
use crate::decode::File;

/// Row action that results from the records of one key so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedRow {
    pub wish: RowAction,
    pub tuple: Vec<u8>,
    pub holes: bool,
}

impl MergedRow {
    pub fn of(wish: RowAction, tuple: &[u8], holes: bool) -> Self {
        let wish = match wish {
            RowAction::Away => RowAction::Gone,
            RowAction::Here => RowAction::Put,
            other => other,
        };
        Self { wish, tuple: tuple.to_vec(), holes }
    }

    /// Returns the row with its unset cells filled from another tuple.
    pub fn filled(self, from: &[u8]) -> Self {
        let mut filled = Vec::with_capacity(self.tuple.len() + from.len());
        tuple::fill(&self.tuple, from, &mut filled);
        let holes = tuple::has_hole(&filled);
        Self { wish: self.wish, tuple: filled, holes }
    }

    /// Folds the next record of the key into the row.
    pub fn then(&mut self, wish: RowAction, tuple: &[u8], holes: bool) {
        let mut next = Self::of(wish, tuple, holes);
        if next.wish == RowAction::Put && holes {
            match self.wish {
                RowAction::Gone => next.wish = RowAction::Fresh,
                RowAction::Put | RowAction::Fresh => {
                    next.tuple.clear();
                    tuple::fill(tuple, &self.tuple, &mut next.tuple);
                    next.holes = self.holes && tuple::has_hole(&next.tuple);
                    next.wish = if next.holes { self.wish } else { RowAction::Put };
                }
                RowAction::Leave | RowAction::Away | RowAction::Here => {}
            }
        }
        *self = next;
    }
}

/// Folds records that come in key order.
pub struct Fold {
    file: File,
    /// Rows count as whole rows, and each as often as it comes.
    multiset: bool,
    open: Option<(Mark, Vec<u8>, MergedRow)>,
}

impl Fold {
    pub fn new(file: File, multiset: bool) -> Self {
        Self { file, multiset, open: None }
    }

    /// Takes the next record; the key before it is complete and goes into the batch.
    pub fn take(&mut self, record: &Record<'_>, batch: &mut Batch) -> Result<(), Error> {
        let Record { mark, key, tuple } = *record;
        match &mut self.open {
            Some((first, open, word)) if open == key && !self.multiset => {
                // a rejected row is no duplicate of a good one
                if mark.wish == RowAction::Leave {
                    return Ok(());
                }
                if self.file == File::Snapshot && word.wish != RowAction::Leave {
                    return Err(Error::Duplicate { first: (*first).into(), second: mark.into() });
                }
                word.then(mark.wish, tuple, mark.holes);
                *first = mark;
            }
            _ => {
                self.end(batch);
                self.open = Some((mark, key.to_vec(), MergedRow::of(mark.wish, tuple, mark.holes)));
            }
        }
        Ok(())
    }

    /// Adds the last key's row to the batch.
    pub fn end(&mut self, batch: &mut Batch) {
        if let Some((_, key, MergedRow { wish, tuple, holes })) = self.open.take() {
            batch.push(Wanted { key: &key, tuple: &tuple, wish, holes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a tuple of text cells; `-` is an unset cell.
    fn tuple_of(cells: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        tuple::begin(cells.len(), &mut out);
        for cell in cells {
            match *cell {
                "-" => tuple::hole(&mut out),
                "∅" => tuple::null(&mut out),
                text => tuple::value(text.as_bytes(), &mut out),
            }
        }
        out
    }

    fn fold(
        file: File,
        multiset: bool,
        records: &[(&str, RowAction, &[&str])],
    ) -> Result<Vec<(String, MergedRow)>, Error> {
        let (mut fold, mut batch) = (Fold::new(file, multiset), Batch::default());
        for (line, (key, wish, cells)) in records.iter().enumerate() {
            let tuple = tuple_of(cells);
            let mark = Mark { part: 0, line: line as u64 + 1, wish: *wish, holes: tuple::has_hole(&tuple) };
            fold.take(&Record { mark, key: key.as_bytes(), tuple: &tuple }, &mut batch)?;
        }
        fold.end(&mut batch);
        let word = |row: Wanted<'_>| MergedRow { wish: row.wish, tuple: row.tuple.to_vec(), holes: row.holes };
        Ok(batch.rows().map(|row| (String::from_utf8_lossy(row.key).into_owned(), word(row))).collect())
    }

    fn folds(records: &[(RowAction, &[&str])], wish: RowAction, cells: &[&str]) {
        let records: Vec<_> = records.iter().map(|(wish, cells)| ("k", *wish, *cells)).collect();
        let folded = fold(File::Changes, false, &records).expect("folded");
        let tuple = tuple_of(cells);
        let holes = tuple::has_hole(&tuple);
        assert_eq!(folded, [("k".to_owned(), MergedRow { wish, tuple, holes })], "{records:?}");
    }

    #[test]
    fn the_last_word_counts_cell_by_cell() {
        use RowAction::{Fresh, Gone, Put};
        folds(&[(Put, &["1", "a", "b"]), (Put, &["1", "c", "d"])], Put, &["1", "c", "d"]);
        folds(&[(Put, &["1", "a", "b"]), (Put, &["1", "-", "∅"])], Put, &["1", "a", "∅"]);
        folds(&[(Put, &["1", "-", "b"]), (Put, &["1", "-", "c"])], Put, &["1", "-", "c"]);
        folds(&[(Put, &["1", "a", "-"]), (Put, &["1", "-", "b"])], Put, &["1", "a", "b"]);
        folds(&[(Put, &["1", "a", "b"]), (Gone, &["1", "∅", "∅"])], Gone, &["1", "∅", "∅"]);
        folds(&[(Gone, &["1", "∅", "∅"]), (Put, &["1", "a", "b"])], Put, &["1", "a", "b"]);
        // a deleted row has no old cells to keep
        folds(&[(Put, &["1", "a", "b"]), (Gone, &["1", "∅", "∅"]), (Put, &["1", "-", "c"])], Fresh, &["1", "-", "c"]);
        folds(&[(Gone, &["1", "∅", "∅"]), (Put, &["1", "-", "c"]), (Put, &["1", "-", "d"])], Fresh, &["1", "-", "d"]);
        folds(&[(Gone, &["1", "∅", "∅"]), (Put, &["1", "-", "c"]), (Put, &["1", "a", "-"])], Put, &["1", "a", "c"]);
        folds(&[(RowAction::Away, &["1", "∅", "∅"]), (RowAction::Here, &["1", "x", "y"])], Put, &["1", "x", "y"]);
    }

    #[test]
    fn keys_do_not_touch_each_other() {
        let folded = fold(File::Changes, false, &[("a", RowAction::Put, &["a"]), ("b", RowAction::Gone, &["b"])]);
        let folded: Vec<_> = folded.expect("folded").into_iter().map(|(key, word)| (key, word.wish)).collect();
        assert_eq!(folded, [("a".to_owned(), RowAction::Put), ("b".to_owned(), RowAction::Gone)]);
    }

    #[test]
    fn a_snapshot_has_each_key_once_unless_rows_only_count_as_whole_rows() {
        let twice: [(&str, RowAction, &[&str]); 2] = [("a", RowAction::Put, &["a"]), ("a", RowAction::Put, &["a"])];
        let error = fold(File::Snapshot, false, &twice).expect_err("refused");
        assert_eq!(error.to_string(), "line 2: the same key as line 1; a snapshot must have each key once");
        assert_eq!(fold(File::Snapshot, true, &twice).expect("a multiset").len(), 2);
        for rejected in [0, 1] {
            let mut records = twice;
            records[rejected].1 = RowAction::Leave;
            let folded = fold(File::Snapshot, false, &records).expect("one of them was rejected");
            assert_eq!(folded.iter().map(|(_, word)| word.wish).collect::<Vec<_>>(), [RowAction::Put]);
        }
    }
}
