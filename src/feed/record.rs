//! One row between two forms: `Record` takes apart a line of the default form, `Pen` writes cells in any
//! dialect. Only files of another form than the default go this way, so the default stays as fast as it is.

use super::Dialect;

/// The cells of a row. Its buffers live on from row to row.
#[derive(Default)]
pub(super) struct Record {
    bytes: Vec<u8>,
    cells: Vec<Cell>,
}

#[derive(Clone, Copy)]
enum Cell {
    Null,
    NotSupplied,
    /// Range in `bytes`.
    Value(usize, usize),
    /// A quote before it, and none behind it.
    Open(usize, usize),
}

impl Record {
    /// Takes a line apart, as `Cells` wrote it and without its end.
    pub(super) fn read(&mut self, mut line: &[u8]) {
        self.bytes.clear();
        self.cells.clear();
        loop {
            line = match line.strip_prefix(b"\"") {
                Some(quoted) => self.read_quoted(quoted),
                None => self.read_bare(line),
            };
            match line.strip_prefix(b",") {
                Some(next) => line = next,
                None => break,
            }
        }
    }

    fn read_bare<'a>(&mut self, line: &'a [u8]) -> &'a [u8] {
        let (cell, rest) = line.split_at(memchr::memchr(b',', line).unwrap_or(line.len()));
        match cell {
            b"NULL" => self.cells.push(Cell::Null),
            _ => self.push(cell),
        }
        rest
    }

    fn read_quoted<'a>(&mut self, mut line: &'a [u8]) -> &'a [u8] {
        let start = self.bytes.len();
        loop {
            let (piece, rest) = line.split_at(memchr::memchr(b'"', line).unwrap_or(line.len()));
            self.bytes.extend_from_slice(piece);
            match rest.strip_prefix(b"\"\"") {
                Some(next) => {
                    self.bytes.push(b'"');
                    line = next;
                }
                None => {
                    self.cells.push(Cell::Value(start, self.bytes.len()));
                    return rest.strip_prefix(b"\"").unwrap_or(rest);
                }
            }
        }
    }

    fn push(&mut self, cell: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(cell);
        self.cells.push(Cell::Value(start, self.bytes.len()));
    }

    /// Puts another value in a cell's place.
    pub(super) fn set(&mut self, at: usize, value: &[u8]) {
        self.push(value);
        self.cells.swap_remove(at);
    }

    /// Leaves the cell out of what the row supplies.
    pub(super) fn leave_out(&mut self, at: usize) {
        self.cells[at] = Cell::NotSupplied;
    }

    /// Leaves out all that is null.
    pub(super) fn leave_out_nulls(&mut self) {
        self.cells.iter_mut().filter(|cell| matches!(cell, Cell::Null)).for_each(|cell| *cell = Cell::NotSupplied);
    }

    /// Drops the last cell.
    pub(super) fn shorten(&mut self) {
        self.cells.pop();
    }

    /// Opens a quote before the cell that is never closed.
    pub(super) fn open_quote(&mut self, at: usize) {
        self.cells[at] = match self.cells[at] {
            Cell::Value(start, end) => Cell::Open(start, end),
            _ => Cell::Open(0, 0),
        };
    }

    pub(super) fn write(&self, pen: &mut Pen<'_>) {
        for cell in &self.cells {
            match *cell {
                Cell::Null => pen.null(),
                Cell::NotSupplied => pen.not_supplied(),
                Cell::Value(start, end) => pen.value(&self.bytes[start..end]),
                Cell::Open(start, end) => pen.open(&self.bytes[start..end]),
            }
        }
    }
}

/// Writes the cells of one row, without the row's end.
pub(super) struct Pen<'a> {
    dialect: &'a Dialect,
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Pen<'a> {
    pub(super) fn new(dialect: &'a Dialect, out: &'a mut Vec<u8>) -> Self {
        Self { dialect, out, first: true }
    }

    pub(super) fn null(&mut self) {
        let dialect = self.dialect;
        self.cell().extend_from_slice(dialect.null.as_bytes());
    }

    /// Appends a cell that is not supplied, or null if the dialect has no word for it.
    fn not_supplied(&mut self) {
        let word = self.dialect.no_supply.as_ref().unwrap_or(&self.dialect.null);
        self.cell().extend_from_slice(word.as_bytes());
    }

    /// Appends a value, in quotes if necessary.
    pub(super) fn value(&mut self, value: &[u8]) {
        let dialect = self.dialect;
        if !dialect.quotes {
            let blank = |&byte: &u8| if matches!(byte, b'\n' | b'\r') || dialect.delimits(byte) { b' ' } else { byte };
            return self.cell().extend(value.iter().map(blank));
        }
        let is_word =
            value == dialect.null.as_bytes() || dialect.no_supply.as_ref().is_some_and(|w| value == w.as_bytes());
        if !is_word && !dialect.is_special(value) {
            return self.cell().extend_from_slice(value);
        }
        self.open(value);
        self.out.push(b'"');
    }

    /// Appends a quote and the value.
    fn open(&mut self, value: &[u8]) {
        let out = self.cell();
        out.push(b'"');
        for &byte in value {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
    }

    fn cell(&mut self) -> &mut Vec<u8> {
        if !self.first {
            self.out.extend_from_slice(self.dialect.delimiter.as_bytes());
        }
        self.first = false;
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &str, dialect: &Dialect, change: impl FnOnce(&mut Record)) -> String {
        let (mut record, mut out) = (Record::default(), Vec::new());
        record.read(line.as_bytes());
        change(&mut record);
        record.write(&mut Pen::new(dialect, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_read_is_written_again() {
        for line in ["1,a,NULL,,x", "\"NULL\",NULL", "\"a,b\",\"say \"\"x\"\"\",\"\"\"\",\"\n\"", ""] {
            assert_eq!(written(line, &Dialect::default(), |_| {}), line);
        }
    }

    #[test]
    fn a_dialect_quotes_what_it_must() {
        let dialect = Dialect {
            delimiter: "||".to_owned(),
            null: String::new(),
            no_supply: Some("?".to_owned()),
            ..Dialect::default()
        };
        assert_eq!(written("\"a,b\",NULL,,\"NULL\",?,a|", &dialect, |_| {}), "a,b||||\"\"||NULL||\"?\"||\"a|\"");
    }

    #[test]
    fn without_quotes_blanks_stand_for_what_would_end_a_cell() {
        let dialect = Dialect { delimiter: "|".to_owned(), quotes: false, ..Dialect::default() };
        assert_eq!(written("\"a\nb|c\",\"say \"\"x\"\"\",d", &dialect, |_| {}), "a b c|say \"x\"|d");
    }

    #[test]
    fn cells_are_changed_in_their_place() {
        let dialect = Dialect { no_supply: Some("?".to_owned()), ..Dialect::default() };
        let change = |record: &mut Record| {
            record.set(1, b"new");
            record.leave_out(0);
            record.leave_out_nulls();
            record.open_quote(3);
            record.shorten();
        };
        assert_eq!(written("1,2,NULL,4,5", &dialect, change), "?,new,?,\"4");
    }
}
