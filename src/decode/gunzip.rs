//! Bytes become plain bytes: every member of a gzip, checked to the last one's checksum.
//!
//! The only place where a raw `flate2` decoder may be made. An error of the reader below (the network) passes
//! through as it came; an error of the bytes themselves says what is wrong and at which byte.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

/// What can be wrong with the compressed bytes of an object that was received in full.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("the object is empty (0 bytes); a gzip file of nothing has 20")]
    Empty,
    #[error("not gzip (starts with {starts}); the key ends in .gz")]
    NotGzip { starts: String },
    #[error("gzip inside gzip; the file was compressed twice")]
    Twice,
    #[error("truncated gzip at byte {at}")]
    Truncated { at: u64 },
    #[error("bytes after the last gzip member, at byte {at}")]
    Trailing { at: u64 },
    #[error("corrupt gzip at byte {at}: {what}")]
    Corrupt { at: u64, what: String },
}

/// An object's bytes, plain. `must_be_gzip` is what the key promises (`.gz`); without that promise the first two
/// bytes decide.
pub struct Gunzip<R> {
    inner: Inner<R>,
    started: bool,
}

enum Inner<R> {
    Gzip(Box<MultiGzDecoder<Counted<R>>>),
    Plain(Counted<R>),
}

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const BUFFER: usize = 64 << 10;

impl<R: Read> Gunzip<R> {
    #[expect(clippy::disallowed_methods, reason = "the one place for it: all members, errors named")]
    pub fn open(raw: R, must_be_gzip: bool) -> io::Result<Self> {
        let mut raw = raw;
        let mut head = Vec::new();
        raw.by_ref().take(MAGIC.len() as u64).read_to_end(&mut head).map_err(upstream)?;
        let counted =
            |head| Counted { inner: BufReader::with_capacity(BUFFER, Cursor::new(head).chain(raw)), taken: 0 };
        let inner = match head {
            head if head == MAGIC => Inner::Gzip(Box::new(MultiGzDecoder::new(counted(head)))),
            head if must_be_gzip || head.is_empty() => return Err(not_gzip(&head).into()),
            head => Inner::Plain(counted(head)),
        };
        Ok(Self { inner, started: false })
    }

    fn read_gzip(decoder: &mut MultiGzDecoder<Counted<R>>, into: &mut [u8]) -> io::Result<usize> {
        decoder.read(into).map_err(|error| {
            let at = decoder.get_ref().taken;
            match error.kind() {
                _ if error.get_ref().is_some_and(|inner| inner.is::<Upstream>()) => error,
                io::ErrorKind::Interrupted => error,
                io::ErrorKind::UnexpectedEof => Flaw::Truncated { at }.into(),
                _ if error.to_string().contains("invalid gzip header") => Flaw::Trailing { at }.into(),
                _ => Flaw::Corrupt { at, what: error.to_string() }.into(),
            }
        })
    }
}

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.inner {
            Inner::Gzip(decoder) => Self::read_gzip(decoder, into)?,
            Inner::Plain(raw) => return raw.read(into),
        };
        if !std::mem::replace(&mut self.started, true) && into[..count].starts_with(&MAGIC) {
            return Err(Flaw::Twice.into());
        }
        Ok(count)
    }
}

fn not_gzip(head: &[u8]) -> Flaw {
    match head {
        [] => Flaw::Empty,
        _ => Flaw::NotGzip { starts: head.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ") },
    }
}

impl From<Flaw> for io::Error {
    fn from(flaw: Flaw) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, flaw)
    }
}

/// An error of the reader below: the world's, not the file's. Kept apart so that a cut connection is never taken
/// for a truncated file.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Upstream(pub io::Error);

/// Counts what was taken from the object and marks the errors that come from below.
struct Counted<R> {
    inner: BufReader<io::Chain<Cursor<Vec<u8>>, R>>,
    taken: u64,
}

fn upstream(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Interrupted => error,
        kind => io::Error::new(kind, Upstream(error)),
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into).map_err(upstream)?;
        self.taken += count as u64;
        Ok(count)
    }
}

impl<R: Read> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf().map_err(upstream)
    }

    fn consume(&mut self, amount: usize) {
        self.taken += amount as u64;
        self.inner.consume(amount);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gz(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("write");
        encoder.finish().expect("finish")
    }

    fn plain(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        Gunzip::open(bytes, true).and_then(|mut g| g.read_to_end(&mut out)).map_err(|e| e.to_string())?;
        Ok(out)
    }

    #[test]
    fn reads_every_member_and_passes_over_empty_ones() {
        let many = [gz(b"one\n"), gz(b""), gz(b"two\n")].concat();
        assert_eq!(plain(&many).expect("three members"), b"one\ntwo\n");
    }

    #[test]
    fn a_gzip_cut_at_any_byte_is_never_taken_for_whole() {
        let whole = gz(b"1,one\n2,two\n3,three\n");
        for cut in 0..whole.len() {
            let error = plain(&whole[..cut]).expect_err("cut");
            let named = error.contains("truncated gzip") || error.contains("empty") || error.contains("not gzip");
            assert!(named, "cut at {cut}: {error}");
        }
    }

    #[test]
    fn two_members_cut_in_the_second_fail() {
        let (first, second) = (gz(b"one\n"), gz(b"two\n"));
        for cut in 1..second.len() {
            assert!(plain(&[&first[..], &second[..cut]].concat()).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        let good = gz(b"1,one\n");
        let mut crc = good.clone();
        let at = crc.len() - 6;
        crc[at] ^= 1;
        assert!(plain(&crc).expect_err("crc").contains("corrupt gzip"));
        assert!(plain(&[&good[..], b"garbage and more"].concat()).expect_err("tail").contains("bytes after the last"));
        assert!(plain(b"").expect_err("empty").contains("0 bytes"));
        assert!(plain(b"1,one\n").expect_err("plain").contains("not gzip (starts with 31 2c)"));
        assert!(plain(&gz(&good)).expect_err("twice").contains("compressed twice"));
    }

    #[test]
    fn a_key_without_gz_may_hold_plain_text_or_gzip() {
        for bytes in [b"1,one\n".to_vec(), gz(b"1,one\n")] {
            let mut out = Vec::new();
            Gunzip::open(&bytes[..], false).and_then(|mut g| g.read_to_end(&mut out)).expect("either");
            assert_eq!(out, b"1,one\n");
        }
    }

    #[test]
    fn an_error_from_below_stays_an_error_from_below() {
        struct Cut(Vec<u8>, usize);
        impl Read for Cut {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                if self.1 == self.0.len() {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed"));
                }
                let count = into.len().min(self.0.len() - self.1);
                into[..count].copy_from_slice(&self.0[self.1..self.1 + count]);
                self.1 += count;
                Ok(count)
            }
        }
        let half = gz(b"1,one\n")[..12].to_vec();
        let mut out = Vec::new();
        let error = Gunzip::open(Cut(half, 0), true).and_then(|mut g| g.read_to_end(&mut out)).expect_err("cut");
        assert!(error.get_ref().is_some_and(|inner| inner.is::<Upstream>()), "{error:?}");
    }
}
