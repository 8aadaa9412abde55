//! Puts records into key order with bounded memory: sorted runs in an unnamed temporary file, merged at the end.
//!
//! Records with one key come out in the order in which they went in. Needed for change files (to fold what happened to a
//! key) and for snapshots that are not in key order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use super::batch::Wish;

/// What is held in memory before a run is written.
const RUN: usize = 4 << 20;
/// What is held of all runs together while merging, and of one at most.
const MERGE: usize = 3 << 20;
const PIECE: usize = 64 << 10;

/// One record: where it came from, its key, its tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub mark: Mark,
    pub key: &'a [u8],
    pub tuple: &'a [u8],
}

/// Where a record came from and what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub part: u32,
    pub line: u64,
    pub wish: Wish,
    /// whether the tuple has holes
    pub holes: bool,
}

const FIXED: usize = 4 + 4 + 4 + 8 + 2;

impl<'a> Record<'a> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.key.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.tuple.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.mark.part.to_le_bytes());
        out.extend_from_slice(&self.mark.line.to_le_bytes());
        out.extend_from_slice(&[self.mark.wish.as_byte(), u8::from(self.mark.holes)]);
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.tuple);
    }

    /// The length of the record that `bytes` begins with, if its head is there.
    fn length(bytes: &[u8]) -> Option<usize> {
        Some(FIXED + u32_at(bytes, 0)? as usize + u32_at(bytes, 4)? as usize)
    }

    /// The record that `bytes`, which holds all of it, begins with.
    fn parse(bytes: &'a [u8]) -> Self {
        let key_length = u32_at(bytes, 0).map_or(0, |length| length as usize);
        let length = Self::length(bytes).unwrap_or(0);
        let line = bytes[12..20].try_into().map_or(0, u64::from_le_bytes);
        let (wish, holes) = (Wish::from_byte(bytes[20]), bytes[21] == 1);
        let mark = Mark { part: u32_at(bytes, 8).unwrap_or(0), line, wish, holes };
        let (key, tuple) = bytes[FIXED..length].split_at(key_length);
        Self { mark, key, tuple }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// Takes records in any order.
#[derive(Default)]
pub struct Sorter {
    arena: Vec<u8>,
    /// the key's first bytes, then where the record lies: most comparisons end with the first bytes
    index: Vec<(u64, u32)>,
    file: Option<File>,
    /// where each run ends in the file
    runs: Vec<u64>,
}

impl Sorter {
    pub fn push(&mut self, record: Record<'_>) -> io::Result<()> {
        if self.arena.capacity() == 0 {
            // growing by steps would need the old room and the new at once
            self.arena.reserve_exact(RUN);
        }
        self.index.push((leading(record.key), self.arena.len() as u32));
        record.write(&mut self.arena);
        if self.arena.len() + self.index.len() * size_of::<(u64, u32)>() >= RUN {
            self.write_run()?;
        }
        Ok(())
    }

    /// Everything that was pushed, in key order.
    pub fn sorted(mut self) -> io::Result<Sorted> {
        let Some(_) = &self.file else {
            self.sort();
            return Ok(Sorted::Memory { arena: self.arena, index: self.index, next: 0 });
        };
        if !self.index.is_empty() {
            self.write_run()?;
        }
        // the merge needs the room that the last run took
        (self.arena, self.index) = (Vec::new(), Vec::new());
        let file = self.file.take().ok_or(io::ErrorKind::NotFound)?;
        Merge::new(file, &self.runs).map(Sorted::Merge)
    }

    fn sort(&mut self) {
        let arena = &self.arena;
        // records with one key stay in their order; a stable sort would take more room
        self.index.sort_unstable_by(|a, b| {
            let key = |at: u32| Record::parse(&arena[at as usize..]).key;
            a.0.cmp(&b.0).then_with(|| key(a.1).cmp(key(b.1))).then(a.1.cmp(&b.1))
        });
    }

    fn write_run(&mut self) -> io::Result<()> {
        self.sort();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile()?),
        };
        let mut out = io::BufWriter::with_capacity(PIECE, file);
        let mut end = self.runs.last().copied().unwrap_or(0);
        for (_, at) in &self.index {
            let bytes = &self.arena[*at as usize..];
            let length = Record::length(bytes).unwrap_or(0);
            out.write_all(&bytes[..length])?;
            end += length as u64;
        }
        out.flush()?;
        self.runs.push(end);
        self.arena.clear();
        self.index.clear();
        Ok(())
    }
}

fn leading(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = key.len().min(8);
    bytes[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(bytes)
}

/// Records in key order, to be walked once.
pub enum Sorted {
    Memory { arena: Vec<u8>, index: Vec<(u64, u32)>, next: usize },
    Merge(Merge),
}

impl Sorted {
    pub fn next_record(&mut self) -> io::Result<Option<Record<'_>>> {
        match self {
            Self::Memory { arena, index, next } => {
                *next += 1;
                Ok(index.get(*next - 1).map(|(_, at)| Record::parse(&arena[*at as usize..])))
            }
            Self::Merge(merge) => merge.next_record(),
        }
    }
}

/// The runs of the file, merged.
pub struct Merge {
    runs: Vec<Run>,
    /// the key each run stands on, then the run: earlier runs first, which keeps the order of one key
    heads: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
}

impl Merge {
    fn new(file: File, ends: &[u64]) -> io::Result<Self> {
        let file = std::sync::Arc::new(file);
        let starts = std::iter::once(&0).chain(ends);
        let piece = (MERGE / ends.len().max(1)).clamp(PIECE / 16, PIECE);
        let runs = starts.zip(ends).map(|(start, end)| Run::new(file.clone(), *start, *end, piece));
        let mut merge = Self { runs: runs.collect(), heads: BinaryHeap::new() };
        for run in 0..merge.runs.len() {
            merge.enter(run, Vec::new())?;
        }
        Ok(merge)
    }

    fn next_record(&mut self) -> io::Result<Option<Record<'_>>> {
        let Some(Reverse((mut key, run))) = self.heads.pop() else { return Ok(None) };
        self.runs[run].step()?;
        key.clear();
        self.enter(run, key)?;
        Ok(Some(Record::parse(self.runs[run].given())))
    }

    /// Puts the head of a run into the heap, in the buffer of the key that it replaces.
    fn enter(&mut self, run: usize, mut key: Vec<u8>) -> io::Result<()> {
        if let Some(head) = self.runs[run].head()? {
            key.extend_from_slice(head);
            self.heads.push(Reverse((key, run)));
        }
        Ok(())
    }
}

/// One sorted run, read piece by piece.
struct Run {
    file: std::sync::Arc<File>,
    /// what of the file was not read yet
    at: u64,
    end: u64,
    /// what is read at once
    piece: usize,
    buffer: Vec<u8>,
    /// the record given last, and the start of the one after it
    last: usize,
    next: usize,
}

impl Run {
    fn new(file: std::sync::Arc<File>, at: u64, end: u64, piece: usize) -> Self {
        Self { file, at, end, piece, buffer: Vec::new(), last: 0, next: 0 }
    }

    /// Steps over the head, which becomes the given record.
    fn step(&mut self) -> io::Result<()> {
        let length = self.fill()?;
        self.last = self.next;
        self.next += length;
        Ok(())
    }

    fn given(&self) -> &[u8] {
        &self.buffer[self.last..self.next]
    }

    /// The key of the record after the given one.
    fn head(&mut self) -> io::Result<Option<&[u8]>> {
        if self.next == self.buffer.len() && self.at == self.end {
            return Ok(None);
        }
        self.fill()?;
        Ok(Some(Record::parse(&self.buffer[self.next..]).key))
    }

    /// Makes sure that the whole record at `next` is in the buffer; its length. Keeps the given record.
    fn fill(&mut self) -> io::Result<usize> {
        loop {
            let bytes = &self.buffer[self.next..];
            if let Some(length) = Record::length(bytes).filter(|length| *length <= bytes.len()) {
                return Ok(length);
            }
            self.buffer.drain(..self.last);
            self.next -= self.last;
            self.last = 0;
            self.read_piece()?;
        }
    }

    fn read_piece(&mut self) -> io::Result<()> {
        let length = self.piece.min((self.end - self.at) as usize);
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let start = self.buffer.len();
        self.buffer.resize(start + length, 0);
        self.file.read_exact_at(&mut self.buffer[start..], self.at)?;
        self.at += length as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort(keys: &[String], tuple: &[u8]) -> Vec<(String, u64)> {
        let mut sorter = Sorter::default();
        for (line, key) in keys.iter().enumerate() {
            let wish = if line % 2 == 0 { Wish::Put } else { Wish::Gone };
            let mark = Mark { part: 0, line: line as u64, wish, holes: line % 3 == 0 };
            sorter.push(Record { mark, key: key.as_bytes(), tuple }).expect("pushed");
        }
        let (mut sorted, mut seen) = (sorter.sorted().expect("sorted"), Vec::new());
        while let Some(record) = sorted.next_record().expect("read") {
            let mark = record.mark;
            assert_eq!((record.tuple, mark.wish == Wish::Put), (tuple, mark.line % 2 == 0));
            assert_eq!(mark.holes, mark.line % 3 == 0);
            seen.push((String::from_utf8_lossy(record.key).into_owned(), record.mark.line));
        }
        seen
    }

    /// Few keys, so that one key comes often and in every run.
    fn keys(count: u64) -> Vec<String> {
        (0..count).map(|n| format!("key-{:05}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50)).collect()
    }

    #[test]
    fn sorts_and_keeps_the_order_of_one_key_in_memory_and_in_runs() {
        for (count, tuple) in [(0, vec![7; 3]), (1_000, vec![7; 30]), (60_000, vec![7; 900])] {
            let keys = keys(count);
            let mut wanted: Vec<_> = keys.iter().cloned().zip(0..).collect();
            wanted.sort();
            assert!(sort(&keys, &tuple) == wanted, "{count} records");
        }
    }

    #[test]
    fn a_record_larger_than_a_piece_comes_through() {
        let keys = keys(40);
        assert_eq!(sort(&keys, &vec![1; 3 * PIECE + (RUN / 10)]).len(), 40);
    }
}
