//! Writes gzip files of one or more members and counts the bytes. The header has no name and no time, so the same
//! rows give the same file. Damage to a file's end is done here too.

use super::anomaly::Damage;
use flate2::{Compression, write::GzEncoder};
use std::io::{self, Write};

/// Compression of a file.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    /// Zlib's level, 0 to 9; more is taken as 9.
    pub level: u32,
    /// Gzip members in the file, at least one. Members are cut in the middle of a row; more members
    /// than rows make empty ones.
    pub members: u32,
    /// No gzip at all.
    pub plain: bool,
}

impl Default for Packing {
    fn default() -> Self {
        Self { level: 6, members: 1, plain: false }
    }
}

/// A file being written.
pub(super) struct Gzip<W: Write> {
    member: Member<W>,
    packing: Packing,
    /// Number of lines for which members are planned.
    slots: u64,
    /// Members begun.
    begun: u32,
    csv_bytes: u64,
}

impl<W: Write> Gzip<W> {
    pub(super) fn new(out: W, packing: Packing, slots: u64, damage: Option<Damage>) -> Self {
        let member = Member::new(Counted { out, bytes: 0, damage, tail: Vec::new() }, packing);
        Self { member, packing, slots, begun: 1, csv_bytes: 0 }
    }

    pub(super) fn write(&mut self, csv: &[u8]) -> io::Result<()> {
        self.csv_bytes += csv.len() as u64;
        match &mut self.member {
            Member::Gzip(encoder) => encoder.write_all(csv),
            Member::Plain(counted) => counted.write_all(csv),
        }
    }

    /// Returns `true` if the next member begins within the line of this slot.
    pub(super) fn cuts_at(&self, slot: u64) -> bool {
        let begun = u64::from(self.begun);
        self.begun < self.packing.members && slot >= self.slots * begun / u64::from(self.packing.members)
    }

    /// Ends this member and begins the next.
    pub(super) fn cut(mut self) -> io::Result<Self> {
        self.member = Member::new(self.member.finish()?, self.packing);
        self.begun += 1;
        Ok(self)
    }

    /// Ends the file; returns the bytes put in and the bytes that came out.
    pub(super) fn finish(mut self) -> io::Result<(u64, u64)> {
        while self.begun < self.packing.members {
            self = self.cut()?;
        }
        let mut counted = self.member.finish()?;
        counted.end()?;
        Ok((self.csv_bytes, counted.bytes))
    }
}

/// The member that is open, or the file itself if it is not packed.
enum Member<W: Write> {
    Gzip(Box<GzEncoder<Counted<W>>>),
    Plain(Counted<W>),
}

impl<W: Write> Member<W> {
    fn new(out: Counted<W>, packing: Packing) -> Self {
        if packing.plain {
            return Self::Plain(out);
        }
        Self::Gzip(Box::new(GzEncoder::new(out, Compression::new(packing.level.min(9)))))
    }

    fn finish(self) -> io::Result<Counted<W>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Plain(counted) => Ok(counted),
        }
    }
}

struct Counted<W> {
    out: W,
    bytes: u64,
    damage: Option<Damage>,
    /// The last bytes, kept back if they are to be damaged.
    tail: Vec<u8>,
}

/// A member's checksum and length, and the last bytes of its rows.
const TAIL: usize = 16;

impl<W: Write> Counted<W> {
    /// Writes what was kept back, as the damage wants it.
    fn end(&mut self) -> io::Result<()> {
        let mut tail = std::mem::take(&mut self.tail);
        match self.damage.take() {
            Some(Damage::Truncated) => tail.truncate(tail.len().saturating_sub(TAIL - 4)),
            // The checksum is eight bytes before the end.
            Some(Damage::Crc) => tail.iter_mut().rev().skip(7).take(1).for_each(|byte| *byte ^= 0x55),
            None => {}
        }
        self.write_all(&tail)?;
        self.out.flush()
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.damage.is_none() {
            let taken = self.out.write(bytes)?;
            self.bytes += taken as u64;
            return Ok(taken);
        }
        self.tail.extend_from_slice(bytes);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.out.write_all(&self.tail[..surplus])?;
        self.bytes += surplus as u64;
        self.tail.drain(..surplus);
        Ok(bytes.len())
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
            let mut gzip = Gzip::new(&mut out, packing, 2, None);
            gzip.write(b"one\n").unwrap();
            let (csv, gz) = gzip.finish().unwrap();
            assert_eq!((csv, gz), (4, out.len() as u64));
            assert_eq!(super::super::tests::members(&out), members.max(1));
        }
    }

    #[test]
    fn cuts_are_spread_over_the_slots() {
        let packing = Packing { members: 4, ..Packing::default() };
        let mut gzip = Gzip::new(Vec::new(), packing, 100, None);
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
        assert!(Gzip::new(Vec::new(), packing, 0, None).finish().is_ok());
    }
}
