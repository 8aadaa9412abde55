//! The gzip side: one or more members into whatever was handed in, bytes counted on both sides. The
//! header holds no name and no time, so the same rows give the same file.

use flate2::{Compression, write::GzEncoder};
use std::io::{self, Write};

/// How the bytes are packed.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    /// zlib's level, 0 to 9; more is taken as 9.
    pub level: u32,
    /// gzip members in the file, at least one. Members are cut in the middle of a row; more members
    /// than rows make empty ones.
    pub members: u32,
}

impl Default for Packing {
    fn default() -> Self {
        Self { level: 6, members: 1 }
    }
}

/// A gzip file being written.
pub(super) struct Gzip<W: Write> {
    member: GzEncoder<Counted<W>>,
    packing: Packing,
    /// Lines that the file has room for: members are cut by it.
    slots: u64,
    /// Members begun.
    begun: u32,
    csv_bytes: u64,
}

impl<W: Write> Gzip<W> {
    pub(super) fn new(out: W, packing: Packing, slots: u64) -> Self {
        let member = encoder(Counted { out, bytes: 0 }, packing);
        Self { member, packing, slots, begun: 1, csv_bytes: 0 }
    }

    pub(super) fn write(&mut self, csv: &[u8]) -> io::Result<()> {
        self.csv_bytes += csv.len() as u64;
        self.member.write_all(csv)
    }

    /// Whether the next member begins within the line in this slot.
    pub(super) fn cuts_at(&self, slot: u64) -> bool {
        let begun = u64::from(self.begun);
        self.begun < self.packing.members && slot >= self.slots * begun / u64::from(self.packing.members)
    }

    /// Ends this member and begins the next.
    pub(super) fn cut(mut self) -> io::Result<Self> {
        self.member = encoder(self.member.finish()?, self.packing);
        self.begun += 1;
        Ok(self)
    }

    /// Ends the file; returns the bytes put in and the bytes that came out.
    pub(super) fn finish(mut self) -> io::Result<(u64, u64)> {
        while self.begun < self.packing.members {
            self = self.cut()?;
        }
        let mut counted = self.member.finish()?;
        counted.out.flush()?;
        Ok((self.csv_bytes, counted.bytes))
    }
}

fn encoder<W: Write>(out: W, packing: Packing) -> GzEncoder<W> {
    GzEncoder::new(out, Compression::new(packing.level.min(9)))
}

struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.out.write(bytes)?;
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_members_asked_for() {
        for members in [0, 1, 2, 5] {
            let mut out = Vec::new();
            let packing = Packing { members, ..Packing::default() };
            let mut gzip = Gzip::new(&mut out, packing, 2);
            gzip.write(b"one\n").unwrap();
            let (csv, gz) = gzip.finish().unwrap();
            assert_eq!((csv, gz), (4, out.len() as u64));
            assert_eq!(super::super::tests::members(&out), members.max(1));
        }
    }

    #[test]
    fn cuts_are_spread_over_the_slots() {
        let packing = Packing { members: 4, ..Packing::default() };
        let mut gzip = Gzip::new(Vec::new(), packing, 100);
        let mut cuts = Vec::new();
        for slot in 0..100 {
            while gzip.cuts_at(slot) {
                cuts.push(slot);
                gzip = gzip.cut().unwrap();
            }
        }
        assert_eq!(cuts, [25, 50, 75]);
    }

    #[test]
    fn no_level_is_too_high() {
        let packing = Packing { level: 99, ..Packing::default() };
        assert!(Gzip::new(Vec::new(), packing, 0).finish().is_ok());
    }
}
