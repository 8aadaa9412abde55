//! A listing put into key order, for a store that lists in another one: sorted runs in unnamed temporary files, which the
//! system removes with the process, and merged when they are read. So memory does not grow with the bucket.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use super::entry::Listed;

/// Number of objects that are sorted at once. Tests use a small number, so that they use files too.
const RUN: usize = if cfg!(debug_assertions) { 2 } else { 16 * 1024 };
/// Size of the buffer for reading a run, in bytes.
const PIECE: usize = 16 << 10;

/// Objects in any order.
pub(super) struct Sorter {
    run: usize,
    held: Vec<Listed>,
    files: Vec<File>,
}

impl Default for Sorter {
    fn default() -> Self {
        Self { run: RUN, held: Vec::new(), files: Vec::new() }
    }
}

impl Sorter {
    pub(super) fn push(&mut self, listed: Listed) -> io::Result<()> {
        self.held.push(listed);
        if self.held.len() >= self.run { self.spill() } else { Ok(()) }
    }

    /// Returns all objects in key order.
    pub(super) fn into_sorted(mut self) -> io::Result<Sorted> {
        if !self.held.is_empty() {
            self.spill()?;
        }
        let runs = self.files.into_iter().map(|file| BufReader::with_capacity(PIECE, file)).collect();
        let mut sorted = Sorted { heads: BinaryHeap::new(), runs };
        (0..sorted.runs.len()).try_for_each(|run| sorted.pull(run))?;
        Ok(sorted)
    }

    fn spill(&mut self) -> io::Result<()> {
        self.held.sort_unstable();
        let mut file = BufWriter::new(tempfile::tempfile()?);
        self.held.drain(..).try_for_each(|listed| write(&mut file, &listed))?;
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.files.push(file);
        Ok(())
    }
}

/// The objects in key order.
pub(super) struct Sorted {
    /// The next object of each run.
    heads: BinaryHeap<Reverse<(Listed, usize)>>,
    runs: Vec<BufReader<File>>,
}

impl Sorted {
    /// Returns the next object, or `None` after the last one.
    pub(super) fn pull_next(&mut self) -> io::Result<Option<Listed>> {
        let Some(Reverse((listed, run))) = self.heads.pop() else { return Ok(None) };
        self.pull(run)?;
        Ok(Some(listed))
    }

    fn pull(&mut self, run: usize) -> io::Result<()> {
        let next = read(&mut self.runs[run])?;
        self.heads.extend(next.map(|listed| Reverse((listed, run))));
        Ok(())
    }
}

pub(super) fn write(file: &mut impl Write, listed: &Listed) -> io::Result<()> {
    for text in [&listed.key, &listed.etag] {
        file.write_all(&(text.len() as u64).to_le_bytes())?;
        file.write_all(text.as_bytes())?;
    }
    file.write_all(&listed.size.to_le_bytes())?;
    file.write_all(&listed.modified.to_le_bytes())
}

/// Reads an object, or returns `None` at the end of the run.
pub(super) fn read(file: &mut BufReader<File>) -> io::Result<Option<Listed>> {
    use std::io::BufRead;
    if file.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let (key, etag) = (text(file)?, text(file)?);
    let (size, modified) = (u64::from_le_bytes(number(file)?), i64::from_le_bytes(number(file)?));
    Ok(Some(Listed { key, etag, size, modified }))
}

pub(super) fn number<const BYTES: usize>(file: &mut impl Read) -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(file: &mut impl Read) -> io::Result<String> {
    let mut text = String::new();
    let length = u64::from_le_bytes(number(file)?);
    let read = file.take(length).read_to_string(&mut text)?;
    if read as u64 == length { Ok(text) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_any_order_leaves_in_key_order() {
        for (count, run) in [(0, 3), (1, 3), (3, 3), (100, 3), (100, 7), (100, 1000)] {
            let mut sorter = Sorter { run, ..Sorter::default() };
            let mut wanted = Vec::new();
            for number in 0..count {
                let key = format!("data/é{}", number * 37 % 101);
                let listed = Listed { key, etag: format!("e{number}"), size: number, modified: -1 - number as i64 };
                sorter.push(listed.clone()).expect("pushed");
                wanted.push(listed);
            }
            wanted.sort_by(|a, b| a.key.cmp(&b.key));
            let mut sorted = sorter.into_sorted().expect("sorted");
            let seen: Vec<Listed> = std::iter::from_fn(|| sorted.pull_next().expect("read")).collect();
            assert_eq!(seen, wanted, "{count} in runs of {run}");
        }
    }
}
