//! Buffer for tuples: in memory up to a limit, beyond it in an unnamed temporary file that the system removes with
//! the process.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

const IN_MEMORY: usize = 1 << 20;

/// A first-in first-out store of bytes.
#[derive(Default)]
pub struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
    count: u64,
}

impl Spool {
    /// Adds one tuple.
    pub fn push(&mut self, tuple: &[u8]) -> io::Result<()> {
        self.count += 1;
        self.memory.extend_from_slice(tuple);
        if self.memory.len() >= IN_MEMORY {
            self.spill()?;
        }
        Ok(())
    }

    /// Returns the number of tuples.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns all bytes in the order in which they were added.
    pub fn into_reader(mut self) -> io::Result<impl Read> {
        let file = match self.file.take() {
            Some(mut file) => {
                file.rewind()?;
                Some(BufReader::with_capacity(256 << 10, file))
            }
            None => None,
        };
        Ok(Spilled { file, memory: io::Cursor::new(self.memory) })
    }

    /// Returns all bytes; the spool keeps them.
    pub fn reader(&self) -> io::Result<impl Read + '_> {
        let file = match &self.file {
            Some(file) => {
                let mut file = file;
                file.rewind()?;
                Some(BufReader::with_capacity(256 << 10, file))
            }
            None => None,
        };
        Ok(Spilled { file, memory: io::Cursor::new(self.memory.as_slice()) })
    }

    fn spill(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile()?),
        };
        // A reader may have moved the file's position.
        file.seek(SeekFrom::End(0))?;
        file.write_all(&self.memory)?;
        self.memory.clear();
        Ok(())
    }
}

struct Spilled<F, M> {
    file: Option<BufReader<F>>,
    memory: io::Cursor<M>,
}

impl<F: Read, M: AsRef<[u8]>> Read for Spilled<F, M> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.file {
            match file.read(into)? {
                0 if !into.is_empty() => self.file = None,
                count => return Ok(count),
            }
        }
        self.memory.read(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_it_got_in_memory_and_beyond() {
        for count in [0u32, 10, 400_000] {
            let mut spool = Spool::default();
            let (mut bytes, half) = (Vec::new(), count / 2);
            (0..half).for_each(|n| spool.push(&n.to_be_bytes()).expect("pushed"));
            let wanted: Vec<u8> = (0..half).flat_map(u32::to_be_bytes).collect();
            spool.reader().and_then(|mut reader| reader.read_to_end(&mut bytes)).expect("read");
            assert!(bytes == wanted, "half of {count} tuples");
            bytes.clear();
            let _ = spool.reader().and_then(|mut reader| reader.read(&mut [0; 8])).expect("begun to read");
            (half..count).for_each(|n| spool.push(&n.to_be_bytes()).expect("pushed"));
            assert_eq!(spool.count(), u64::from(count));
            spool.into_reader().and_then(|mut reader| reader.read_to_end(&mut bytes)).expect("read");
            let wanted: Vec<u8> = (0..count).flat_map(u32::to_be_bytes).collect();
            assert!(bytes == wanted, "{count} tuples");
        }
    }
}
