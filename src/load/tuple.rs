//! A row on its way to or from Postgres: a tuple of binary `COPY`.
//!
//! Two bytes for the number of cells, then each cell as four bytes of length (-1 for null) and its bytes. The same cell
//! form serves in `COPY`, in parameters and in results, so a row is encoded once and then only cut. A cell that the file
//! does not supply is a hole (length -2): it never leaves this program.

use std::io::{self, Read};

/// Beginning of every binary `COPY`: signature, flags, no extension.
pub const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// End of every binary `COPY`.
pub const TRAILER: &[u8; 2] = b"\xff\xff";

const NULL: [u8; 4] = (-1i32).to_be_bytes();
const HOLE: [u8; 4] = (-2i32).to_be_bytes();

/// Begins a tuple of `cells` cells.
pub fn begin(cells: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(cells as u16).to_be_bytes());
}

pub fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(&NULL);
}

pub fn hole(out: &mut Vec<u8>) {
    out.extend_from_slice(&HOLE);
}

/// Appends a value.
pub fn value(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Appends the tuple of some cells of another one.
pub fn pick(tuple: &[u8], columns: &[usize], out: &mut Vec<u8>) {
    begin(columns.len(), out);
    if let [only] = columns {
        cells(tuple).nth(*only).into_iter().for_each(|cell| out.extend_from_slice(cell.0));
        return;
    }
    let all: Vec<_> = cells(tuple).collect();
    columns.iter().for_each(|column| out.extend_from_slice(all[*column].0));
}

/// Appends the tuple with its unset cells filled from another tuple of the same width.
pub fn fill(tuple: &[u8], from: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&tuple[..2]);
    for (cell, other) in cells(tuple).zip(cells(from)) {
        out.extend_from_slice(if cell.is_hole() { other.0 } else { cell.0 });
    }
}

pub fn has_hole(tuple: &[u8]) -> bool {
    cells(tuple).any(Framed::is_hole)
}

/// Returns the positions of the cells that are set.
pub fn supplied(tuple: &[u8]) -> Vec<usize> {
    cells(tuple).enumerate().filter(|(_, cell)| !cell.is_hole()).map(|(place, _)| place).collect()
}

/// Appends one cell whose bytes `write` appends; on an error of `write` the length is left unset.
pub fn cell<E>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let at = out.len();
    null(out);
    write(out)?;
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// The cells of a tuple, each with its length in front.
#[derive(Clone)]
pub struct Cells<'a>(&'a [u8]);

pub fn cells(tuple: &[u8]) -> Cells<'_> {
    Cells(&tuple[2..])
}

impl<'a> Iterator for Cells<'a> {
    type Item = Framed<'a>;

    fn next(&mut self) -> Option<Framed<'a>> {
        let length = cell_length(self.0)?;
        let (cell, rest) = self.0.split_at(4 + length);
        self.0 = rest;
        Some(Framed(cell))
    }
}

/// A cell with its length in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framed<'a>(pub &'a [u8]);

impl<'a> Framed<'a> {
    pub fn is_null(self) -> bool {
        self.0.starts_with(&NULL)
    }

    pub fn is_hole(self) -> bool {
        self.0.starts_with(&HOLE)
    }

    /// Returns the bytes, or `None` for null.
    pub fn get(self) -> Option<&'a [u8]> {
        (self.0[0] & 0x80 == 0).then(|| self.value())
    }

    pub fn value(self) -> &'a [u8] {
        &self.0[4..]
    }
}

/// Returns the value of the cell that starts at `at`, which is empty for null.
pub fn at(bytes: &[u8], at: usize) -> &[u8] {
    let length = cell_length(&bytes[at..]).unwrap_or(0);
    &bytes[at + 4..at + 4 + length]
}

/// Returns the value of a binary integer of two, four or eight bytes.
pub fn integer(bytes: &[u8]) -> i64 {
    match *bytes {
        [a, b] => i16::from_be_bytes([a, b]).into(),
        [a, b, c, d] => i32::from_be_bytes([a, b, c, d]).into(),
        _ => bytes.try_into().map_or(0, i64::from_be_bytes),
    }
}

/// Returns the length of the cell at the beginning of `bytes`, or `None` at the end.
fn cell_length(bytes: &[u8]) -> Option<usize> {
    let length = i32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    Some(usize::try_from(length).unwrap_or(0))
}

/// Reads one tuple into `tuple`; false at the end.
pub fn read(input: &mut impl Read, tuple: &mut Vec<u8>) -> io::Result<bool> {
    tuple.clear();
    let mut count = [0; 2];
    match input.read_exact(&mut count) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        other => other?,
    }
    tuple.extend_from_slice(&count);
    for _ in 0..u16::from_be_bytes(count) {
        let at = tuple.len();
        tuple.resize(at + 4, 0);
        input.read_exact(&mut tuple[at..])?;
        let length = cell_length(&tuple[at..]).unwrap_or(0);
        tuple.resize(at + 4 + length, 0);
        input.read_exact(&mut tuple[at + 4..])?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        begin(3, &mut out);
        let write = |text: &'static [u8]| {
            move |out: &mut Vec<u8>| {
                out.extend_from_slice(text);
                Ok::<(), ()>(())
            }
        };
        cell(&mut out, write(b"ab")).expect("written");
        null(&mut out);
        cell(&mut out, write(b"")).expect("written");
        out
    }

    #[test]
    fn holes_are_filled_and_cells_are_picked() {
        let mut holed = Vec::new();
        begin(3, &mut holed);
        hole(&mut holed);
        value(b"new", &mut holed);
        null(&mut holed);
        assert!(has_hole(&holed) && !has_hole(&sample()));
        assert_eq!(supplied(&holed), [1, 2]);
        let (mut filled, mut picked) = (Vec::new(), Vec::new());
        fill(&holed, &sample(), &mut filled);
        let seen: Vec<_> = cells(&filled).map(Framed::get).collect();
        assert_eq!(seen, [Some(&b"ab"[..]), Some(b"new"), None]);
        pick(&filled, &[2, 0], &mut picked);
        assert_eq!(cells(&picked).map(Framed::get).collect::<Vec<_>>(), [None, Some(&b"ab"[..])]);
    }

    #[test]
    fn what_is_written_is_read() {
        let tuple = sample();
        let seen: Vec<_> = cells(&tuple).map(|cell| (!cell.is_null()).then(|| cell.value().to_vec())).collect();
        assert_eq!(seen, [Some(b"ab".to_vec()), None, Some(Vec::new())]);
        let twice = [tuple.clone(), tuple.clone()].concat();
        let (mut input, mut read_back) = (&twice[..], Vec::new());
        for _ in 0..2 {
            assert!(read(&mut input, &mut read_back).expect("whole"));
            assert_eq!(read_back, tuple);
        }
        assert!(!read(&mut input, &mut read_back).expect("end"));
        assert!(read(&mut &tuple[..tuple.len() - 1], &mut read_back).is_err(), "cut");
    }
}
