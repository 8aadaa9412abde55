//! Rows that have some columns of their table, brought together by the columns that they have: each set of columns is a
//! statement of its own. Memory does not grow with the number of sets.

use std::io::{self, Read};

use super::batch::RowAction;
use super::sort::{Mark, Record, Sorter};
use super::spool::Spool;
use super::tuple;

/// Takes rows in any order, and returns them grouped by their columns.
#[derive(Default)]
pub struct Parts {
    sorter: Sorter,
    /// All rows, each behind its columns, once `settle` was called.
    sorted: Spool,
    count: u64,
}

impl Parts {
    /// Takes a row of which only the cells that are no holes are kept.
    pub fn push(&mut self, row: &[u8]) -> io::Result<()> {
        let (columns, mut picked) = (tuple::supplied(row), Vec::new());
        tuple::pick(row, &columns, &mut picked);
        let key: Vec<u8> = columns.iter().flat_map(|column| (*column as u16).to_be_bytes()).collect();
        let mark = Mark { part: 0, line: self.count, wish: RowAction::Put, holes: false };
        self.count += 1;
        self.sorter.push(Record { mark, key: &key, tuple: &picked })
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Brings rows with the same columns together, in the order in which they came.
    pub fn settle(&mut self) -> io::Result<()> {
        let mut sorted = std::mem::take(&mut self.sorter).sorted()?;
        let mut bytes = Vec::new();
        while let Some(record) = sorted.next_record()? {
            bytes.clear();
            bytes.extend_from_slice(&(record.key.len() as u16).to_be_bytes());
            bytes.extend_from_slice(record.key);
            bytes.extend_from_slice(record.tuple);
            self.sorted.push(&bytes)?;
        }
        Ok(())
    }

    /// Returns `true` if there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the sorted rows, grouped by their set of columns. The rows remain stored.
    pub fn groups(&self) -> io::Result<Groups<impl Read + '_>> {
        Ok(Groups { rows: self.sorted.reader()?, next: None })
    }
}

/// Reads settled rows.
pub struct Groups<R> {
    rows: R,
    /// The columns and the row that were read last.
    next: Option<(Vec<usize>, Vec<u8>)>,
}

impl<R: Read> Groups<R> {
    /// Returns the columns of the next group, in the order of the table, and its rows, or `None` after the last
    /// group.
    pub fn next_group(&mut self) -> io::Result<Option<(Vec<usize>, Spool)>> {
        let Some((columns, row)) = self.take()? else { return Ok(None) };
        let mut rows = Spool::default();
        rows.push(&row)?;
        while let Some((other, row)) = self.take()? {
            if other != columns {
                self.next = Some((other, row));
                break;
            }
            rows.push(&row)?;
        }
        Ok(Some((columns, rows)))
    }

    fn take(&mut self) -> io::Result<Option<(Vec<usize>, Vec<u8>)>> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        let mut length = [0; 2];
        match self.rows.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let (mut key, mut row) = (vec![0; u16::from_be_bytes(length).into()], Vec::new());
        self.rows.read_exact(&mut key)?;
        tuple::read(&mut self.rows, &mut row)?;
        let columns = key.chunks_exact(2).map(|pair| usize::from(u16::from_be_bytes([pair[0], pair[1]])));
        Ok(Some((columns.collect(), row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[Option<&str>]) -> Vec<u8> {
        let mut out = Vec::new();
        tuple::begin(cells.len(), &mut out);
        for cell in cells {
            match cell {
                Some(text) => tuple::value(text.as_bytes(), &mut out),
                None => tuple::hole(&mut out),
            }
        }
        out
    }

    #[test]
    fn rows_with_the_same_columns_come_together_and_keep_their_order() {
        let mut parts = Parts::default();
        let rows = [[Some("1"), None, Some("a")], [Some("2"), Some("b"), None], [Some("3"), None, Some("c")]];
        rows.iter().for_each(|cells| parts.push(&row(cells)).expect("pushed"));
        parts.settle().expect("settled");
        assert_eq!(parts.count(), 3);
        let (mut read, mut groups) = (Vec::new(), parts.groups().expect("groups"));
        while let Some((columns, rows)) = groups.next_group().expect("read") {
            let mut bytes = Vec::new();
            rows.into_reader().and_then(|mut rows| rows.read_to_end(&mut bytes)).expect("read");
            read.push((columns, bytes));
        }
        let row = |cells: [&str; 2]| row(&cells.map(Some));
        assert_eq!(read, [(vec![0, 1], row(["2", "b"])), (vec![0, 2], [row(["1", "a"]), row(["3", "c"])].concat())]);
    }
}
