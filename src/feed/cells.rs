//! Writes one line of CSV, cell by cell, into a reused buffer. Cells are quoted by RFC 4180 only if necessary, with
//! one additional rule: null is the bare word `NULL`, so a text `NULL` is quoted. The csv crate cannot distinguish
//! the two.

use time::{Date, PrimitiveDateTime};

/// The open line. Each call appends one cell; `end` closes it with `\n`.
pub(super) struct Cells<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Cells<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, first: true }
    }

    pub(super) fn end(self) {
        self.out.push(b'\n');
    }

    pub(super) fn null(&mut self) {
        self.plain("NULL");
    }

    pub(super) fn nulls(&mut self, count: usize) {
        (0..count).for_each(|_| self.null());
    }

    /// Appends a cell that needs no quotes.
    pub(super) fn plain(&mut self, cell: &str) {
        self.cell().extend_from_slice(cell.as_bytes());
    }

    /// Appends a text. An empty text is an empty cell, because only the bare `NULL` is null.
    pub(super) fn text(&mut self, text: &str) {
        if !needs_quotes(text) {
            return self.plain(text);
        }
        let out = self.cell();
        out.push(b'"');
        for byte in text.bytes() {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
        out.push(b'"');
    }

    pub(super) fn int(&mut self, value: u64) {
        digits(self.cell(), value, 1);
    }

    /// Appends `value` units of 10^-`places`, with all decimal places: `decimal(12345, 4)` is `1.2345`.
    pub(super) fn decimal(&mut self, value: u64, places: u32) {
        let unit = 10_u64.pow(places);
        let out = self.cell();
        digits(out, value / unit, 1);
        out.push(b'.');
        digits(out, value % unit, places as usize);
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.plain(if value { "true" } else { "false" });
    }

    pub(super) fn date(&mut self, date: Date) {
        put_date(self.cell(), date);
    }

    /// Appends a timestamp without zone, with six decimal places.
    pub(super) fn moment(&mut self, moment: PrimitiveDateTime) {
        put_moment(self.cell(), moment);
    }

    /// Appends a timestamp with its offset from UTC in hours; `moment` is the local time.
    pub(super) fn zoned(&mut self, moment: PrimitiveDateTime, hours: u8) {
        let out = self.cell();
        put_moment(out, moment);
        out.push(b'+');
        digits(out, hours.into(), 2);
        out.extend_from_slice(b":00");
    }

    pub(super) fn uuid(&mut self, bits: u128) {
        let out = self.cell();
        for place in (0..32).rev() {
            out.push(b"0123456789abcdef"[(bits >> (place * 4)) as usize & 15]);
            if matches!(place, 24 | 20 | 16 | 12) {
                out.push(b'-');
            }
        }
    }

    /// Appends `word` and a number, as in `pb-000017`.
    pub(super) fn numbered(&mut self, word: &str, number: u64, width: usize) {
        let out = self.cell();
        out.extend_from_slice(word.as_bytes());
        digits(out, number, width);
    }

    fn cell(&mut self) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out
    }
}

fn needs_quotes(text: &str) -> bool {
    text == "NULL" || text.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'))
}

fn put_moment(out: &mut Vec<u8>, moment: PrimitiveDateTime) {
    let (hour, minute, second, micro) = moment.as_hms_micro();
    put_date(out, moment.date());
    for (before, part) in [(b' ', hour), (b':', minute), (b':', second)] {
        out.push(before);
        digits(out, part.into(), 2);
    }
    out.push(b'.');
    digits(out, micro.into(), 6);
}

fn put_date(out: &mut Vec<u8>, date: Date) {
    let (year, month, day) = date.to_calendar_date();
    digits(out, year.unsigned_abs().into(), 4);
    out.push(b'-');
    digits(out, u8::from(month).into(), 2);
    out.push(b'-');
    digits(out, day.into(), 2);
}

/// Appends a number. `write!` would take most of the time of a row.
fn digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let mut buffer = [b'0'; 20];
    let mut at = buffer.len();
    while value > 0 {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    let from = at.min(buffer.len() - width);
    out.extend_from_slice(&buffer[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::{date, datetime};

    fn line(put: impl FnOnce(&mut Cells<'_>)) -> String {
        let mut out = Vec::new();
        let mut cells = Cells::new(&mut out);
        put(&mut cells);
        cells.end();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers() {
        let row = line(|cells| {
            cells.int(0);
            cells.int(u64::MAX);
            cells.decimal(12_345, 4);
            cells.decimal(7, 6);
            cells.numbered("pb-", 17, 6);
        });
        assert_eq!(row, "0,18446744073709551615,1.2345,0.000007,pb-000017\n");
    }

    #[test]
    fn times_and_the_rest() {
        let row = line(|cells| {
            cells.date(date!(2022 - 09 - 02));
            cells.moment(datetime!(2022-09-22 09:58:53.000123));
            cells.zoned(datetime!(2022-09-22 09:58:53), 2);
            cells.flag(true);
            cells.uuid(0x0123_4567_89ab_4def_8123_4567_89ab_cdef);
        });
        let times = "2022-09-02,2022-09-22 09:58:53.000123,2022-09-22 09:58:53.000000+02:00";
        assert_eq!(row, format!("{times},true,01234567-89ab-4def-8123-456789abcdef\n"));
    }

    #[test]
    fn null_empty_and_the_text_null_are_three_things() {
        let row = line(|cells| {
            cells.null();
            cells.text("");
            cells.text("NULL");
            cells.text("null");
            cells.nulls(2);
        });
        assert_eq!(row, "NULL,,\"NULL\",null,NULL,NULL\n");
    }

    #[test]
    fn only_what_needs_quotes_gets_them() {
        let row = line(|cells| {
            ["a,b", "say \"x\"", "a\nb", "a\rb", " größer 📈 "].into_iter().for_each(|text| cells.text(text));
        });
        assert_eq!(row, "\"a,b\",\"say \"\"x\"\"\",\"a\nb\",\"a\rb\", größer 📈 \n");
    }
}
