//! Puts records into key order with bounded memory: sorted runs in an unnamed temporary file, merged at the end.
//!
//! Records with one key come out in the order in which they went in. Needed for change files (to fold what happened to a
//! key) and for snapshots that are not in key order.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use super::batch::RowAction;

/// Maximum size of the rows in memory before a run is written, in bytes.
const RUN: usize = 4 << 20;
/// Maximum size of all runs' buffers together while merging, in bytes.
const MERGE: usize = 3 << 20;
const PIECE: usize = 64 << 10;
/// Maximum size of a record's key that is kept in memory while merging, in bytes; the rest is read if two keys begin
/// alike. Less than the smallest buffer.
const KEY_HEAD: usize = 1 << 10;

/// One record: its origin, its key and its tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub mark: Mark,
    pub key: &'a [u8],
    pub tuple: &'a [u8],
}

/// Origin of a record, and its action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub part: u32,
    pub line: u64,
    pub wish: RowAction,
    /// `true` if the tuple has unset cells.
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

    /// Returns the length of the record at the beginning of `bytes`, if its head is complete.
    fn length(bytes: &[u8]) -> Option<usize> {
        Some(FIXED + u32_at(bytes, 0)? as usize + u32_at(bytes, 4)? as usize)
    }

    /// Parses the record at the beginning of `bytes`, which contains all of it.
    fn parse(bytes: &'a [u8]) -> Self {
        let key_length = u32_at(bytes, 0).map_or(0, |length| length as usize);
        let length = Self::length(bytes).unwrap_or(0);
        let line = bytes[12..20].try_into().map_or(0, u64::from_le_bytes);
        let (wish, holes) = (RowAction::from_byte(bytes[20]), bytes[21] == 1);
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
    /// The key's first bytes and the record's position. Most comparisons end with the first bytes.
    index: Vec<(u64, u32)>,
    file: Option<File>,
    /// End of each run in the file.
    runs: Vec<u64>,
}

impl Sorter {
    pub fn push(&mut self, record: Record<'_>) -> io::Result<()> {
        let length = FIXED + record.key.len() + record.tuple.len();
        if self.arena.len() + length > RUN && !self.index.is_empty() {
            self.write_run()?;
        }
        if self.arena.capacity() < RUN.max(length) {
            // growing step by step would need old and new memory at once
            self.arena.reserve_exact(RUN.max(length));
        }
        self.index.push((leading(record.key), self.arena.len() as u32));
        record.write(&mut self.arena);
        if self.arena.len() + self.index.len() * size_of::<(u64, u32)>() >= RUN {
            self.write_run()?;
        }
        Ok(())
    }

    /// Returns all records in key order.
    pub fn sorted(mut self) -> io::Result<Sorted> {
        let Some(_) = &self.file else {
            self.sort();
            return Ok(Sorted::Memory { arena: self.arena, index: self.index, next: 0 });
        };
        if !self.index.is_empty() {
            self.write_run()?;
        }
        // the merge needs the memory of the last run
        (self.arena, self.index) = (Vec::new(), Vec::new());
        let file = self.file.take().ok_or(io::ErrorKind::NotFound)?;
        Merge::new(file, &self.runs).map(Sorted::Merge)
    }

    fn sort(&mut self) {
        let arena = &self.arena;
        // records with the same key keep their order; a stable sort would take more memory
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
        self.arena.shrink_to(RUN);
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

/// The runs of the file, merged. A run keeps one piece in memory, and not a whole record: the runs are many, and records may be
/// large.
pub struct Merge {
    runs: Vec<Run>,
    /// The runs that have a record left, as a heap: the one with the least key comes first.
    heap: Vec<usize>,
    /// The record of the first run was given.
    given: bool,
    /// A given record that is larger than a piece.
    large: Vec<u8>,
}

impl Merge {
    fn new(file: File, ends: &[u64]) -> io::Result<Self> {
        let file = std::sync::Arc::new(file);
        let starts = std::iter::once(&0).chain(ends);
        let piece = (MERGE / ends.len().max(1)).clamp(PIECE / 16, PIECE);
        let runs: Vec<Run> = starts.zip(ends).map(|(start, end)| Run::new(file.clone(), *start, *end, piece)).collect();
        let mut merge = Self { heap: (0..runs.len()).collect(), runs, given: false, large: Vec::new() };
        for run in &mut merge.runs {
            run.read_head()?;
        }
        for place in (0..merge.heap.len() / 2).rev() {
            merge.sink(place)?;
        }
        Ok(merge)
    }

    fn next_record(&mut self) -> io::Result<Option<Record<'_>>> {
        if std::mem::replace(&mut self.given, true) {
            self.step()?;
        }
        let Some(first) = self.heap.first() else { return Ok(None) };
        self.runs[*first].record(&mut self.large).map(Some)
    }

    /// Steps over the record that was given, and finds the run that comes first now.
    fn step(&mut self) -> io::Result<()> {
        let Some(first) = self.heap.first() else { return Ok(()) };
        if !self.runs[*first].step()? {
            self.heap.swap_remove(0);
        }
        self.sink(0)
    }

    /// Moves a run down the heap to its place.
    fn sink(&mut self, mut place: usize) -> io::Result<()> {
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            if left >= self.heap.len() {
                return Ok(());
            }
            let least = if right < self.heap.len() && self.precedes(right, left)? { right } else { left };
            if !self.precedes(least, place)? {
                return Ok(());
            }
            self.heap.swap(least, place);
            place = least;
        }
    }

    /// Returns `true` if the run at a place of the heap comes before the one at another: by key, then earlier runs first, which
    /// keeps the order of one key.
    fn precedes(&self, place: usize, other: usize) -> io::Result<bool> {
        let (one, two) = (self.heap[place], self.heap[other]);
        Ok(self.runs[one].compare_keys(&self.runs[two])?.then(one.cmp(&two)).is_lt())
    }
}

/// One sorted run, read through a buffer.
struct Run {
    file: std::sync::Arc<File>,
    /// Position of the current record in the file, and the end of the run.
    at: u64,
    end: u64,
    /// Size of the buffer in bytes.
    piece: usize,
    /// A part of the file, and where it begins there: the record's head is in it.
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl Run {
    fn new(file: std::sync::Arc<File>, at: u64, end: u64, piece: usize) -> Self {
        Self { file, at, end, piece, buffer: Vec::new(), buffer_at: at }
    }

    /// Returns the buffered bytes from the current record on.
    fn bytes(&self) -> &[u8] {
        self.buffer.get((self.at - self.buffer_at) as usize..).unwrap_or_default()
    }

    fn length(&self) -> usize {
        Record::length(self.bytes()).unwrap_or(0)
    }

    fn key_length(&self) -> usize {
        u32_at(self.bytes(), 0).map_or(0, |length| length as usize)
    }

    /// Returns the first bytes of the key, with which most comparisons end.
    fn key_head(&self) -> &[u8] {
        &self.bytes()[FIXED..FIXED + self.key_length().min(KEY_HEAD)]
    }

    /// Makes sure that the head of the record at hand is in memory.
    fn read_head(&mut self) -> io::Result<()> {
        let wanted = (FIXED + KEY_HEAD).min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let has = self.bytes().len();
        // the key of most records is shorter
        if has >= wanted || (has >= FIXED && has >= FIXED + self.key_length().min(KEY_HEAD)) {
            return Ok(());
        }
        let length = (self.end - self.at).min(self.piece as u64) as usize;
        self.buffer.resize(length, 0);
        self.buffer_at = self.at;
        self.file.read_exact_at(&mut self.buffer, self.at)?;
        if self.bytes().len() < FIXED + self.key_length().min(KEY_HEAD) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Steps to the next record; false behind the last one.
    fn step(&mut self) -> io::Result<bool> {
        self.at += self.length() as u64;
        if self.at >= self.end {
            return Ok(false);
        }
        self.read_head()?;
        Ok(true)
    }

    /// Returns the current record, reading the part that is not buffered into `large`.
    fn record<'a>(&'a self, large: &'a mut Vec<u8>) -> io::Result<Record<'a>> {
        let (bytes, length) = (self.bytes(), self.length());
        if length <= bytes.len() {
            return Ok(Record::parse(&bytes[..length]));
        }
        large.clear();
        large.reserve_exact(length);
        large.extend_from_slice(bytes);
        large.resize(length, 0);
        self.file.read_exact_at(&mut large[bytes.len()..], self.at + bytes.len() as u64)?;
        Ok(Record::parse(large))
    }

    /// Compares the keys of the records at hand, as far as needed in the file.
    fn compare_keys(&self, other: &Self) -> io::Result<Ordering> {
        let by_head = self.key_head().cmp(other.key_head());
        let (length, other_length) = (self.key_length(), other.key_length());
        if by_head.is_ne() || length.min(other_length) <= KEY_HEAD {
            return Ok(by_head.then(length.cmp(&other_length)));
        }
        let (mut place, mut one, mut two) = (KEY_HEAD, [0; PIECE / 16], [0; PIECE / 16]);
        while place < length.min(other_length) {
            let some = (length.min(other_length) - place).min(one.len());
            self.read_key(place, &mut one[..some])?;
            other.read_key(place, &mut two[..some])?;
            let order = one[..some].cmp(&two[..some]);
            if order.is_ne() {
                return Ok(order);
            }
            place += some;
        }
        Ok(length.cmp(&other_length))
    }

    /// Reads some bytes of the key of the record at hand.
    fn read_key(&self, from: usize, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, self.at + (FIXED + from) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort(keys: &[String], tuple: &[u8]) -> Vec<(String, u64)> {
        let mut sorter = Sorter::default();
        for (line, key) in keys.iter().enumerate() {
            let wish = if line % 2 == 0 { RowAction::Put } else { RowAction::Gone };
            let mark = Mark { part: 0, line: line as u64, wish, holes: line % 3 == 0 };
            sorter.push(Record { mark, key: key.as_bytes(), tuple }).expect("pushed");
        }
        let (mut sorted, mut seen) = (sorter.sorted().expect("sorted"), Vec::new());
        while let Some(record) = sorted.next_record().expect("read") {
            let mark = record.mark;
            assert_eq!((record.tuple, mark.wish == RowAction::Put), (tuple, mark.line % 2 == 0));
            assert_eq!(mark.holes, mark.line % 3 == 0);
            seen.push((String::from_utf8_lossy(record.key).into_owned(), record.mark.line));
        }
        seen
    }

    /// Returns keys of which each occurs often and in every run.
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

    /// Uses keys with long common prefixes, some of which are whole keys, so that they differ only in the part that
    /// is not buffered.
    #[test]
    fn long_keys_are_compared_to_their_end() {
        let long = "k".repeat(3 * PIECE);
        let key = |n: u64| match n % 4 {
            0 => long[..KEY_HEAD + (n % 7) as usize].to_owned(),
            1 => format!("{}{}", &long[..KEY_HEAD], n % 11),
            2 => format!("{long}{}", n % 5),
            _ => format!("{}{}", &long[..KEY_HEAD - 1], n % 3),
        };
        let keys: Vec<String> = (0..120).map(key).collect();
        let mut wanted: Vec<_> = keys.iter().cloned().zip(0..).collect();
        wanted.sort();
        assert!(sort(&keys, &vec![1; RUN / 12]) == wanted);
    }

    #[test]
    fn large_records_are_not_kept_for_each_run() {
        let mut sorter = Sorter::default();
        let (large, count) = (vec![9; RUN / 2], 60u32);
        for n in 0..count {
            let (key, mark) =
                (n.to_be_bytes(), Mark { part: 0, line: u64::from(n), wish: RowAction::Put, holes: false });
            sorter.push(Record { mark, key: &key, tuple: &large }).expect("pushed");
            assert!(sorter.arena.capacity() <= RUN, "{} bytes", sorter.arena.capacity());
        }
        let Sorted::Merge(mut merge) = sorter.sorted().expect("sorted") else { panic!("in memory") };
        for _ in 0..count {
            merge.next_record().expect("read").expect("a record");
            let held = |run: &Run| run.buffer.capacity();
            let all = merge.runs.iter().map(held).sum::<usize>() + merge.large.capacity();
            assert!(all <= MERGE + RUN, "{all} bytes");
        }
        assert!(merge.next_record().expect("read").is_none());
    }
}
