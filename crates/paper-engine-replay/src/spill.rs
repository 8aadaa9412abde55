//! Keeps entries of a full queue in an unnamed file, in their order.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use crate::pacer::Release;
use crate::place::Place;

/// A file that entries are appended to and read back from. It is emptied whenever it has been read to its end.
pub(crate) struct Spill {
    file: File,
    read: u64,
    written: u64,
    entries: usize,
    max: u64,
}

impl Spill {
    /// Makes a file of up to `max` bytes in the folder for temporary files.
    pub(crate) fn new(max: u64) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile()?, read: 0, written: 0, entries: 0, max })
    }

    /// Returns how many entries are in the file.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// Returns how many bytes wait in the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.written - self.read
    }

    /// Appends an entry. Returns `false` if the file is full.
    pub(crate) fn push(&mut self, release: &Release, is_gap: bool) -> io::Result<bool> {
        let entry = encode(release, is_gap);
        let size = entry.len() as u64;
        if self.written + size > self.max {
            return Ok(false);
        }
        self.file.write_all_at(&entry, self.written)?;
        self.written += size;
        self.entries += 1;
        Ok(true)
    }

    /// Reads the next entry.
    pub(crate) fn pop(&mut self) -> io::Result<Option<(Release, bool)>> {
        if self.entries == 0 {
            return Ok(None);
        }
        let mut size = [0; 4];
        self.file.read_exact_at(&mut size, self.read)?;
        let mut entry = vec![0; u32::from_le_bytes(size) as usize];
        self.file.read_exact_at(&mut entry, self.read + 4)?;
        self.read += 4 + entry.len() as u64;
        self.entries -= 1;
        if self.entries == 0 {
            (self.read, self.written) = (0, 0);
            self.file.set_len(0)?;
        }
        let decoded = decode(Bytes::from(entry));
        decoded.map(Some).ok_or_else(|| io::Error::other("an entry of the queue's file is torn"))
    }
}

fn encode(release: &Release, is_gap: bool) -> Vec<u8> {
    let mut out = vec![0; 4];
    let number = |out: &mut Vec<u8>, number: u64| out.extend_from_slice(&number.to_le_bytes());
    number(&mut out, u64::from(is_gap));
    number(&mut out, u64::from(release.place.pass));
    number(&mut out, release.place.time.cast_unsigned());
    number(&mut out, release.place.table as u64);
    number(&mut out, release.published.cast_unsigned());
    number(&mut out, release.due);
    number(&mut out, release.place.key.len() as u64);
    let texts = release.place.key.iter().map(String::as_bytes);
    for text in texts.chain([release.group.as_bytes(), &release.payload]) {
        number(&mut out, text.len() as u64);
        out.extend_from_slice(text);
    }
    let size = u32::try_from(out.len() - 4).unwrap_or(u32::MAX).to_le_bytes();
    out[..4].copy_from_slice(&size);
    out
}

fn decode(mut entry: Bytes) -> Option<(Release, bool)> {
    let [is_gap, pass, time, table, published, due, keys] = {
        let mut head = [0; 7];
        for number in &mut head {
            *number = take_number(&mut entry)?;
        }
        head
    };
    let key: Option<Vec<String>> = (0..keys).map(|_| take_text(&mut entry)).collect();
    let group = take_text(&mut entry)?;
    let payload = take(&mut entry)?;
    let (pass, table) = (u32::try_from(pass).ok()?, usize::try_from(table).ok()?);
    let place = Place { pass, time: time.cast_signed(), table, key: key? };
    let release = Release { place, published: published.cast_signed(), payload, group: Arc::from(group), due };
    Some((release, is_gap == 1))
}

fn take_number(entry: &mut Bytes) -> Option<u64> {
    let bytes = (entry.len() >= 8).then(|| entry.split_to(8))?;
    Some(u64::from_le_bytes(bytes[..].try_into().ok()?))
}

fn take(entry: &mut Bytes) -> Option<Bytes> {
    let size = usize::try_from(take_number(entry)?).ok()?;
    (entry.len() >= size).then(|| entry.split_to(size))
}

fn take_text(entry: &mut Bytes) -> Option<String> {
    String::from_utf8(take(entry)?.into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order(entries in proptest::collection::vec((any::<i64>(), proptest::collection::vec(".*", 0..3), ".*", any::<bool>()), 1..20)) {
            let mut spill = Spill::new(1 << 20).expect("file");
            let made: Vec<(Release, bool)> = entries.into_iter().map(|(time, key, text, gap)| {
                let place = Place { pass: 3, time, table: 1, key };
                let payload = Bytes::from(text.clone());
                (Release { place, published: time, payload, group: text.into(), due: 7 }, gap)
            }).collect();
            for _ in 0..2 {
                for (release, gap) in &made {
                    prop_assert!(spill.push(release, *gap).expect("written"));
                }
                for one in &made {
                    let popped = spill.pop().expect("read");
                    prop_assert_eq!(popped.as_ref(), Some(one));
                }
                prop_assert_eq!(spill.pop().expect("read"), None);
                prop_assert_eq!(spill.bytes(), 0);
            }
        }
    }
}
