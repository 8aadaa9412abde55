//! Decompresses objects: every member of a gzip, verified to the last one's checksum.
//!
//! Only this module may create a raw `flate2` decoder. An error of the underlying reader (the network) is passed on
//! unchanged; an error in the bytes is reported with the position of the byte.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::GzDecoder;

use super::limits::{Bytes, Limits, RATIO_FROM};

/// Error in the compressed bytes of an object that was received completely.
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
    #[error(
        "a line end after the last gzip member, at byte {at}: whatever copied the object added it, and may have changed more; \
         write it again"
    )]
    LineEnd { at: u64 },
    #[error("not CSV but {format}; {advice}")]
    Format { format: &'static str, advice: &'static str },
    #[error("corrupt gzip at byte {at}: {what}")]
    Corrupt { at: u64, what: String },
    #[error(
        "too large: the object has {size} bytes, more than LIMITS max_object={limit}. If that is right, raise it, then \
         `deliveries retry`"
    )]
    Object { size: u64, limit: Bytes },
    #[error(
        "too large: by byte {at} the object has unpacked to more than LIMITS max_plain={limit}. If that is right, raise \
         it, then `deliveries retry`"
    )]
    Plain { at: u64, limit: Bytes },
    #[error(
        "too large: the first {at} bytes of the object unpack to {plain}, more than LIMITS max_ratio={limit} times as many. \
         If that is right, raise it, then `deliveries retry`"
    )]
    Ratio { at: u64, plain: u64, limit: u64 },
}

/// An object's bytes, plain. `must_be_gzip` is what the key promises (`.gz`); without that promise the first two
/// bytes decide.
pub struct Gunzip<R> {
    inner: Inner<R>,
    started: bool,
    limits: Limits,
    /// Bytes given so far.
    plain: u64,
}

enum Inner<R> {
    /// The member at hand; none while the next one is looked for.
    Gzip(Option<Box<GzDecoder<Counted<R>>>>),
    Plain(Counted<R>),
}

const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Number of bytes that identify the format of an object.
const HEAD: u64 = 5;
const BUFFER: usize = 64 << 10;

impl<R: Read> Gunzip<R> {
    pub fn open(raw: R, must_be_gzip: bool, limits: Limits) -> io::Result<Self> {
        let mut raw = raw;
        let mut head = Vec::new();
        raw.by_ref().take(HEAD).read_to_end(&mut head).map_err(upstream)?;
        let counted =
            |head| Counted { inner: BufReader::with_capacity(BUFFER, Cursor::new(head).chain(raw)), taken: 0 };
        let inner = match head {
            head if head.starts_with(&MAGIC) => Inner::Gzip(Some(member(counted(head)))),
            head if must_be_gzip || head.is_empty() => return Err(not_gzip(&head).into()),
            head => Inner::Plain(counted(head)),
        };
        Ok(Self { inner, started: false, limits, plain: 0 })
    }

    /// Checks once per block that the object is within its limits.
    fn check(&self) -> Result<(), Flaw> {
        let (limits, plain) = (&self.limits, self.plain);
        let at = match &self.inner {
            Inner::Gzip(decoder) => decoder.as_ref().map_or(0, |decoder| decoder.get_ref().taken),
            Inner::Plain(raw) => raw.taken,
        };
        if at > limits.max_object.0 {
            return Err(Flaw::Object { size: at, limit: limits.max_object });
        }
        if plain > limits.max_plain.0 {
            return Err(Flaw::Plain { at, limit: limits.max_plain });
        }
        if plain > RATIO_FROM && plain / limits.max_ratio > at {
            return Err(Flaw::Ratio { at, plain, limit: limits.max_ratio });
        }
        Ok(())
    }

    /// Reads from one member after the other, each to its checksum; 0 after the last.
    fn read_gzip(place: &mut Option<Box<GzDecoder<Counted<R>>>>, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(decoder) = place else { return Ok(0) };
            let count = Self::read_member(decoder, into)?;
            if count > 0 || into.is_empty() {
                return Ok(count);
            }
            // a member ends here: what follows is another one, or nothing
            let raw = decoder.get_mut();
            let at = raw.taken;
            match raw.fill_buf()? {
                [] => return Ok(0),
                [first, ..] if *first == MAGIC[0] => *place = place.take().map(|decoder| member(decoder.into_inner())),
                [b'\r', b'\n'] | [b'\r' | b'\n'] => return Err(Flaw::LineEnd { at }.into()),
                _ => return Err(Flaw::Trailing { at }.into()),
            }
        }
    }

    fn read_member(decoder: &mut GzDecoder<Counted<R>>, into: &mut [u8]) -> io::Result<usize> {
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
            Inner::Plain(raw) => raw.read(into)?,
        };
        self.plain += count as u64;
        self.check()?;
        if !std::mem::replace(&mut self.started, true) {
            let is_gzip = matches!(self.inner, Inner::Gzip(_));
            if is_gzip && into[..count].starts_with(&MAGIC) {
                return Err(Flaw::Twice.into());
            }
            if let Some(flaw) = other_format(&into[..count]) {
                return Err(flaw.into());
            }
        }
        Ok(count)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place for it: all members, errors named")]
fn member<R: Read>(raw: Counted<R>) -> Box<GzDecoder<Counted<R>>> {
    Box::new(GzDecoder::new(raw))
}

/// Returns an error if the first bytes show another format than CSV.
fn other_format(head: &[u8]) -> Option<Flaw> {
    let (format, advice) = match head {
        // behind the four letters a binary length or header comes, which no row of text has
        [b'P', b'A', b'R', b'1', next, ..] if *next < b' ' && !b"\t\r\n".contains(next) => {
            ("Parquet", "let DMS write DataFormat=csv")
        }
        [b'P', b'K', 3, 4, ..] => ("a zip archive", "unpack it, and write gzip or plain CSV"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("packed with zstd", "write gzip or plain CSV"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => ("UTF-16 text", "write UTF-8"),
        _ => return None,
    };
    Some(Flaw::Format { format, advice })
}

fn not_gzip(head: &[u8]) -> Flaw {
    match head {
        [] => Flaw::Empty,
        _ if other_format(head).is_some() => other_format(head).unwrap_or(Flaw::Empty),
        _ => Flaw::NotGzip {
            starts: head.iter().take(MAGIC.len()).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
        },
    }
}

impl From<Flaw> for io::Error {
    fn from(flaw: Flaw) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, flaw)
    }
}

/// Error of the underlying reader: a temporary failure, not a fault of the file. Marked, so that a cut connection is
/// never mistaken for a truncated file.
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
        Gunzip::open(bytes, true, Limits::default())
            .and_then(|mut g| g.read_to_end(&mut out))
            .map_err(|e| e.to_string())?;
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
        for end in [&b"\n"[..], b"\r\n"] {
            let error = plain(&[&good[..], end].concat()).expect_err("a line end");
            assert_eq!(
                error.split(':').next(),
                Some(&*format!("a line end after the last gzip member, at byte {}", good.len()))
            );
        }
        assert!(plain(&[&good[..], b"\n\n"].concat()).expect_err("tail").contains("bytes after the last"));
        assert!(plain(&[&good[..], &[0x1f]].concat()).expect_err("cut").contains("truncated gzip"));
    }

    #[test]
    fn what_is_no_csv_is_named_plain_or_packed() {
        let formats: [(&[u8], &str); 5] = [
            (b"PAR1\x15\x04\x15", "Parquet"),
            (b"PK\x03\x04\x14\0", "a zip archive"),
            (b"\x28\xb5\x2f\xfd\x04\0", "packed with zstd"),
            (b"\xff\xfe1\0,\0", "UTF-16"),
            (b"\xfe\xff\x001\0,", "UTF-16"),
        ];
        for (bytes, name) in formats {
            assert!(plain(bytes).expect_err("plain under .gz").contains(name), "{name}");
            assert!(plain(&gz(bytes)).expect_err("packed").contains(name), "{name}");
            let mut out = Vec::new();
            let read = Gunzip::open(bytes, false, Limits::default()).and_then(|mut plain| plain.read_to_end(&mut out));
            assert!(read.expect_err("plain").to_string().contains(name), "{name}");
        }
        let text = plain(&gz(b"PAR1,a\n")).expect("a text");
        assert_eq!(text, b"PAR1,a\n", "a row may begin with these letters");
    }

    #[test]
    fn a_key_without_gz_may_hold_plain_text_or_gzip() {
        for bytes in [b"1,one\n".to_vec(), gz(b"1,one\n")] {
            let mut out = Vec::new();
            Gunzip::open(&bytes[..], false, Limits::default())
                .and_then(|mut g| g.read_to_end(&mut out))
                .expect("either");
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
        let error = Gunzip::open(Cut(half, 0), true, Limits::default())
            .and_then(|mut g| g.read_to_end(&mut out))
            .expect_err("cut");
        assert!(error.get_ref().is_some_and(|inner| inner.is::<Upstream>()), "{error:?}");
    }

    fn limited(bytes: &[u8], limits: &str) -> Result<u64, String> {
        let limits = limits.parse().expect("limits");
        let read = Gunzip::open(bytes, false, limits).and_then(|mut plain| io::copy(&mut plain, &mut io::sink()));
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn an_object_may_be_as_large_as_its_limits_and_no_larger() {
        let (text, packed) = (b"1,one\n2,two\n", gz(b"1,one\n2,two\n"));
        for (bytes, plain) in [(&text[..], 12), (&packed, 12)] {
            let size = bytes.len();
            assert_eq!(limited(bytes, &format!("max_object={size} max_plain=12")), Ok(plain));
            let object = limited(bytes, &format!("max_object={}", size - 1)).expect_err("its size");
            assert!(object.contains(&format!("too large: the object has {size} bytes, more than LIMITS max_object=")));
            let unpacked = limited(bytes, "max_plain=11").expect_err("unpacked");
            assert!(unpacked.contains("has unpacked to more than LIMITS max_plain=11. If"), "{unpacked}");
        }
    }

    #[test]
    fn a_ratio_counts_only_where_it_may_harm() {
        let member = gz(&vec![b'1'; 1 << 20]);
        let small = member.repeat(64);
        assert_eq!(limited(&small, "max_ratio=2"), Ok(64 << 20));
        let error = limited(&member.repeat(70), "").expect_err("a bomb");
        assert!(
            error.starts_with("too large: the first ") && error.contains("more than LIMITS max_ratio=900 times"),
            "{error}"
        );
        assert_eq!(limited(&member.repeat(70), "max_ratio=1100"), Ok(70 << 20));
    }
}
