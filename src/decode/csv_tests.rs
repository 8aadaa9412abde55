//! Records of every form, in pieces of every size, and the csv crate as the oracle.

use proptest::prelude::*;

use super::*;

/// Gives its bytes in pieces of a given size, so that every record meets the end of the buffer somewhere.
struct Drip<'a>(&'a [u8], usize);
impl Read for Drip<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.0.len().min(self.1).min(into.len());
        into[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

type Rows = Vec<(u64, Vec<(String, bool)>)>;

fn read(text: &[u8], piece: usize) -> Result<Rows, String> {
    read_as(&form(",", true), text, piece)
}

fn form(delimiter: &str, quotes: bool) -> Form {
    Form { delimiter: delimiter.into(), quotes, keep_raw: true, limits: Limits::default() }
}

fn read_as(form: &Form, text: &[u8], piece: usize) -> Result<Rows, String> {
    let mut reader = Reader::new(Drip(text, piece), form.clone());
    let mut rows = Vec::new();
    while reader.advance().map_err(|flaw| flaw.to_string())? {
        let record = reader.record();
        let fields = (0..record.width()).map(|index| record.field(index));
        let fields = fields.map(|(text, quoted)| (String::from_utf8_lossy(text).into_owned(), quoted));
        rows.push((record.line, fields.collect()));
    }
    Ok(rows)
}

fn row(line: u64, fields: &[(&str, bool)]) -> (u64, Vec<(String, bool)>) {
    (line, fields.iter().map(|(text, quoted)| ((*text).to_owned(), *quoted)).collect())
}

#[test]
fn reads_rfc_4180_whatever_the_pieces() {
    let text = b"1,plain,NULL\n2,\"a,b\",\"NULL\"\r\n3,\"say \"\"hi\"\"\",\n4,\"two\nlines\",\"\"\n5,lone\rcr,x";
    let wanted = vec![
        row(1, &[("1", false), ("plain", false), ("NULL", false)]),
        row(2, &[("2", false), ("a,b", true), ("NULL", true)]),
        row(3, &[("3", false), ("say \"hi\"", true), ("", false)]),
        row(4, &[("4", false), ("two\nlines", true), ("", true)]),
        row(6, &[("5", false), ("lone\rcr", false), ("x", false)]),
    ];
    for piece in [1, 2, 3, 7, 1000] {
        assert_eq!(read(text, piece).expect("good"), wanted, "pieces of {piece}");
    }
}

#[test]
fn passes_over_a_bom_and_takes_empty_for_no_record() {
    assert_eq!(read(b"\xef\xbb\xbf1,x\n", 1).expect("bom"), vec![row(1, &[("1", false), ("x", false)])]);
    assert!(read(b"", 1).expect("empty").is_empty());
    assert_eq!(read(b"1,\n", 1).expect("trailing"), vec![row(1, &[("1", false), ("", false)])]);
}

#[test]
fn names_the_line_where_a_quote_goes_wrong() {
    let open = read(b"1,a\n2,\"b\n3,c\n4,d\n", 5).expect_err("open");
    assert_eq!(open, "line 2: a quote is opened in field 2 and never closed");
    assert_eq!(
        read(b"1,a\"b\n", 5).expect_err("stray"),
        "line 1: a quote inside field 2, which does not start with one"
    );
    assert_eq!(read(b"1,\"a\"b\n", 5).expect_err("after"), "line 1: text after the closing quote of field 2");
}

#[test]
fn a_record_longer_than_the_buffer_is_read_whole() {
    let long = "x".repeat(3 * FIRST_BUFFER);
    let text = format!("1,\"{long}\"\"\"\n2,y\n");
    let rows = read(text.as_bytes(), 10_000).expect("long");
    assert_eq!(rows[0].1[1].0.len(), long.len() + 1);
    assert_eq!(rows[1].1[1].0, "y");
}

proptest! {
    /// Reads back the text that the csv crate writes, quoted or not.
    #[test]
    fn reads_what_the_csv_crate_writes(
        rows in prop::collection::vec(prop::collection::vec("[a,\"\r\n é]{0,6}", 2..4), 0..8),
        always in any::<bool>(), piece in 1usize..9,
    ) {
        let style = if always { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
        let mut writer = csv::WriterBuilder::new().quote_style(style).flexible(true).from_writer(Vec::new());
        for row in &rows {
            writer.write_record(row).expect("write");
        }
        let text = writer.into_inner().expect("flush");
        let got = read(&text, piece).expect("good csv");
        let got: Vec<Vec<String>> =
            got.into_iter().map(|(_, fields)| fields.into_iter().map(|(text, _)| text).collect()).collect();
        prop_assert_eq!(got, rows);
    }

    /// Reads back rows with a delimiter of any length, quoted where necessary or never.
    #[test]
    fn reads_back_any_delimiter(
        rows in prop::collection::vec(prop::collection::vec("[a|\\x01,\"\r\n é]{0,6}", 2..4), 0..8),
        delimiter in prop::sample::select(vec![",", "|", "||", "\u{1}\u{2}", "|,|", "é", "\t", "||||||||"]),
        quotes in any::<bool>(), always in any::<bool>(), piece in 1usize..9,
    ) {
        let rows: Vec<Vec<String>> = match quotes {
            true => rows,
            false => rows.iter().map(|row| row.iter().map(|cell| bare(cell, delimiter)).collect()).collect(),
        };
        let text: String = rows.iter().map(|row| written(row, delimiter, quotes, always)).collect();
        let got = read_as(&form(delimiter, quotes), text.as_bytes(), piece).expect("good csv");
        let texts: Vec<Vec<&str>> =
            got.iter().map(|(_, fields)| fields.iter().map(|(text, _)| text.as_str()).collect()).collect();
        prop_assert_eq!(texts, rows);
        prop_assert!(quotes || got.iter().all(|(_, fields)| fields.iter().all(|(_, quoted)| !quoted)));
    }

    /// Reads any text that is not refused as the csv crate does.
    #[test]
    fn reads_as_the_csv_crate_does(
        text in "([a\"]{0,2}[;\t]){0,3}[a\"]{0,3}(\n([a\"]{1,2}[;\t]){0,3}[a\"]{1,3}){0,4}",
        delimiter in prop::sample::select(vec![";", "\t"]), quotes in any::<bool>(), piece in 1usize..9,
        returns in 0usize..6,
    ) {
        // where the first row ends with LF alone, a CR is a part of a cell, which the csv crate does not know: so CRLF comes first
        let text = text.replacen('\n', "\r\n", returns);
        let mut peer = csv::ReaderBuilder::new();
        peer.has_headers(false).flexible(true).quoting(quotes).delimiter(delimiter.as_bytes()[0]);
        let peer = peer.from_reader(text.as_bytes()).into_records();
        let peer = peer.map(|row| row.expect("utf-8").iter().map(str::to_owned).collect());
        let peer: Vec<Vec<String>> = peer.filter(|row: &Vec<_>| row != &[""]).collect();
        if let Ok(got) = read_as(&form(delimiter, quotes), text.as_bytes(), piece) {
            let texts = |(_, fields): (u64, Vec<(String, bool)>)| fields.into_iter().map(|(text, _)| text).collect();
            // the csv crate passes over empty lines
            let got: Vec<Vec<String>> = got.into_iter().map(texts).filter(|row: &Vec<_>| row != &[""]).collect();
            prop_assert_eq!(got, peer);
        } else {
            prop_assert!(quotes, "without quotes there is nothing to refuse");
        }
    }
}

/// Returns a cell without the characters that need quotes.
fn bare(cell: &str, delimiter: &str) -> String {
    let kept = |c: &char| !delimiter.contains(*c) && !"\r\n".contains(*c);
    cell.chars().filter(kept).collect()
}

fn written(row: &[String], delimiter: &str, quotes: bool, always: bool) -> String {
    let first = delimiter.chars().next().expect("a delimiter");
    let cell = |cell: &String| match quotes && (always || cell.contains(['"', '\r', '\n', first])) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.clone(),
    };
    row.iter().map(cell).collect::<Vec<_>>().join(delimiter) + "\n"
}

#[test]
fn several_bytes_between_fields_whatever_the_pieces() {
    let text = b"1||\"x||y\"||a|b\r\n2|||\"|||\n3||||z";
    let wanted = vec![
        row(1, &[("1", false), ("x||y", true), ("a|b", false)]),
        row(2, &[("2", false), ("|\"", false), ("|", false)]),
        row(3, &[("3", false), ("", false), ("z", false)]),
    ];
    for piece in [1, 2, 3, 1000] {
        let quoted = read_as(&form("||", true), text, piece).expect_err("a quote inside a field");
        assert_eq!(quoted, "line 2: a quote inside field 2, which does not start with one");
        let text = String::from_utf8_lossy(text).replace("|\"|", "|q|");
        let mut wanted = wanted.clone();
        wanted[1] = row(2, &[("2", false), ("|q", false), ("|", false)]);
        assert_eq!(read_as(&form("||", true), text.as_bytes(), piece).expect("good"), wanted, "pieces of {piece}");
    }
}

#[test]
fn without_quotes_a_line_end_ends_the_row() {
    let wanted = vec![row(1, &[("1", false), ("\"a", false)]), row(2, &[("b\"", false), ("\"\"", false)])];
    assert_eq!(read_as(&form(",", false), b"1,\"a\r\nb\",\"\"\n", 2), Ok(wanted));
}

#[test]
fn a_record_can_be_had_as_it_stood() {
    let text = b"\xef\xbb\xbf1,\"say \"\"hi\"\"\"\r\n2,\"two\nlines\"\n3,x";
    for piece in [1, 5, 1000] {
        let mut reader = Reader::new(Drip(text, piece), form(",", true));
        let (mut raw, mut kept) = (Vec::new(), Kept::default());
        while reader.advance().expect("good") {
            raw.push(String::from_utf8_lossy(reader.record().raw).into_owned());
            kept.keep(reader.record());
        }
        assert_eq!(raw, ["1,\"say \"\"hi\"\"\"", "2,\"two\nlines\"", "3,x"]);
        let last = kept.record();
        assert_eq!((last.line, last.field(1), last.raw), (4, (&b"x"[..], false), &b"3,x"[..]));
    }
    let mut reader = Reader::new(&b"1,x\n"[..], Form { keep_raw: false, ..form(",", true) });
    assert!(reader.advance().expect("good") && reader.record().raw.is_empty(), "not asked for");
}

fn limited(limits: &str, text: &[u8], piece: usize) -> Result<Vec<usize>, String> {
    let mut reader = Reader::new(Drip(text, piece), Form { limits: limits.parse().expect(limits), ..form(",", true) });
    let mut rows = Vec::new();
    while reader.advance().map_err(|flaw| flaw.to_string())? {
        let record = reader.record();
        rows.push((0..record.width()).map(|index| record.field(index).0.len()).sum());
    }
    Ok(rows)
}

#[test]
fn a_row_may_be_as_long_as_its_limit_and_no_longer() {
    for (limit, name) in [(1 << 10, "1KiB"), (100 << 10, "100KiB"), (1 << 20, "1MiB")] {
        let limits = format!("max_row={name}");
        for piece in [9_973, usize::MAX] {
            let fits = format!("1\n{}\n\"{}\"\n2\n", "x".repeat(limit - 1), "\n".repeat(limit - 3));
            assert_eq!(limited(&limits, fits.as_bytes(), piece), Ok(vec![1, limit - 1, limit - 3, 1]), "{name}");
            for long in ["x".repeat(limit) + "\n2\n", "\"".to_owned() + &"x\n".repeat(limit)] {
                let error = limited(&limits, format!("1\n{long}").as_bytes(), piece).expect_err("longer");
                let wanted = format!("line 2: too large: the row is longer than LIMITS max_row={name}; ");
                assert!(error.starts_with(&wanted), "{error}");
            }
        }
    }
}

/// Refuses a long row as soon as it has too many fields, because each field takes memory even if it is empty in the
/// file.
#[test]
fn a_long_row_is_given_up_where_it_has_too_many_fields() {
    let wide = ",".repeat(1 << 20);
    for text in [wide.clone(), format!("1,{}\n{wide}", "x".repeat(1 << 20))] {
        let error = limited("", text.as_bytes(), usize::MAX).expect_err("too wide");
        assert!(error.contains("the row has more fields than LIMITS max_fields=4096; the delimiter may"), "{error}");
    }
    let wide = ",".repeat(99_999);
    assert_eq!(limited("max_fields=100000", wide.as_bytes(), usize::MAX), Ok(vec![0]));
    assert!(limited("max_fields=99999", wide.as_bytes(), usize::MAX).is_err());
}
