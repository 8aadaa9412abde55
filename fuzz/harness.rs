//! What is fuzzed: each function takes any bytes, and panics if what reads them breaks a promise. The targets of `cargo fuzz`
//! call these, and so does the test that walks through the corpus (`tests/it/corpus.rs`).

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};

use flate2::{Compression, write::GzEncoder};
use paper_engine_orders::decode::cell::Cell;
use paper_engine_orders::decode::dialect::Dialect;
use paper_engine_orders::decode::limits::{Bytes, Limits};
use paper_engine_orders::decode::{self, Column, Error, File, NullRule, Nulls, Parts, Shape, Watching};
use paper_engine_orders::load::encode::{ColumnEncoding, ServerCast};
use paper_engine_orders::source::key::{self, ParsedKey};
use paper_engine_orders::{notifier, pg, source};

/// Every way to write files that changes how they are read.
const FEEDS: [&str; 16] = [
    "",
    "header=True",
    "delimiter=;",
    "delimiter=||",
    r"delimiter=\x01\x02",
    "rfc4180=False",
    r"rfc4180=False delimiter=\t null=\N",
    "null='' no_supply=?",
    "no_supply=? op=always",
    "op=changes header=False",
    "op=never columns=id,name",
    "columns='Op,id,-,name'",
    "columns=header__change_oper,id,name",
    "header=True before_image_prefix=BI_ timestamp_column=ts",
    "timestamp_column=ts:first",
    "columns='Op,id,name,BI_id' before_image_prefix=BI_",
];

/// In a file's bytes: goes on for a long while, so that a row is longer than a buffer.
const STRETCH: u8 = 0x05;
/// In a file's bytes: here the next object begins.
const NEXT_PART: &[u8] = b"\x06\x06";

/// Objects become rows, and rows tuples. Two bytes say how: the kind of file, and how its rows are written. The third is the
/// size of the pieces in which it comes.
pub fn rows(data: &[u8]) {
    let [how, feed, piece, file @ ..] = data else { return };
    let shape = shape(*how, *feed);
    let parts = parts(file);
    let piece = usize::from(*piece).max(1) * if parts.iter().any(|part| part.len() > 4096) { 97 } else { 1 };
    let must_be_gzip = how & 16 != 0;
    let whole = walk(&shape, &parts, must_be_gzip, usize::MAX);
    encode(&shape, &parts, must_be_gzip);
    // where in a broken gzip the fault shows depends on the pieces
    if !whole.broken_gzip {
        let pieces = walk(&shape, &parts, must_be_gzip, piece);
        assert!(whole == pieces, "in pieces of {piece}: {whole:?} {pieces:?}");
    }
    if !must_be_gzip && parts.iter().all(|part| !part.is_empty() && !part.starts_with(&[0x1f, 0x8b])) {
        let packed: Vec<_> = parts.iter().map(|part| gz_members(part, piece)).collect();
        let members = walk(&shape, &packed, true, 1 + piece);
        assert!(whole == members, "packed in members: {whole:?} {members:?}");
    }
}

/// One cell as a value of one type. Another behind a line end is compared with it: keys are in the order of values.
pub fn cells(data: &[u8]) {
    let [wire, cells @ ..] = data else { return };
    let wires = wires();
    let wire = &wires[usize::from(*wire) % wires.len()];
    let (one, two) = match cells.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&cells[..at], Some(&cells[at + 1..])),
        None => (cells, None),
    };
    let (Some(first), Some(second)) = (value(wire, one), two.and_then(|two| value(wire, two))) else { return };
    let two = two.unwrap_or_default();
    if let (Some(key), Some(other)) = (&first.1, &second.1) {
        if let Some(order) = known_order(wire, one, two) {
            assert_eq!(key.cmp(other), order, "{wire:?}: {one:?} and {two:?}");
        }
        if wire.is_canonical() {
            assert_eq!(key == other, first.0 == second.0, "{wire:?}: {one:?} and {two:?}");
        }
    }
}

/// A path and a key, a line each.
pub fn keys(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (path, below) = text.split_once('\n').unwrap_or(("", &text));
    let named = key::parse("", below);
    if !path.starts_with('/') && !path.ends_with('/') && !path.is_empty() {
        assert_eq!(key::parse(path, &format!("{path}/{below}")), named, "the path says nothing");
        assert!(matches!(key::parse(&format!("{path}!"), &format!("{path}/{below}")), ParsedKey::Ignored(_)));
    }
    if let ParsedKey::Snapshot { entity, .. } | ParsedKey::Changes { entity, .. } = &named {
        assert!(below.starts_with(&format!("{}/{}/", entity.schema, entity.name)), "{below:?}");
        assert!(!entity.schema.is_empty() && !entity.name.is_empty());
        assert!(!format!("{entity}").contains(char::is_control), "it would break a line of the log");
        assert!(below.ends_with(".csv") || below.ends_with(".csv.gz"));
        for other in ["x.tmp", "x.dfm", "/", "_$folder$"] {
            assert!(matches!(key::parse("", &format!("{below}{other}")), ParsedKey::Ignored(_)), "{below:?}");
        }
    }
}

/// A variable of the environment; the first byte says which.
pub fn settings(data: &[u8]) {
    let [which, text @ ..] = data else { return };
    let text = String::from_utf8_lossy(text);
    let faults = match which % 5 {
        0 => text.parse::<Dialect>().err().map(|faults| faults.0),
        1 => text.parse::<Limits>().err().map(|faults| faults.0),
        2 => text.parse::<source::settings::Settings>().err().map(|faults| faults.0),
        3 => text.parse::<pg::settings::Settings>().err().map(|faults| faults.0),
        _ => text.parse::<notifier::settings::Settings>().err().map(|faults| faults.0),
    };
    if let Some(faults) = faults {
        assert!(!faults.is_empty(), "a fault says what it is");
        assert!(faults.iter().all(|fault| !fault.trim().is_empty() && !fault.contains(char::is_control)), "{faults:?}");
    }
    if let Ok(bytes) = text.parse::<Bytes>() {
        assert_eq!(bytes.to_string().parse(), Ok(bytes));
    }
}

struct Objects<'a> {
    left: VecDeque<&'a [u8]>,
    must_be_gzip: bool,
    piece: usize,
}

/// Gives its bytes in pieces.
struct Drip<'a>(&'a [u8], usize);

impl<'a> Parts for Objects<'a> {
    type Bytes = Drip<'a>;

    fn next_part(&mut self) -> io::Result<Option<(Drip<'a>, bool)>> {
        Ok(self.left.pop_front().map(|part| (Drip(part, self.piece), self.must_be_gzip)))
    }
}

impl Read for Drip<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.0.len().min(self.1).min(into.len());
        into[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

fn shape(how: u8, feed: u8) -> Shape {
    let columns = if how & 64 == 0 { 2 } else { wires().len() };
    let name = |index: usize| match index {
        0 => "id".to_owned(),
        1 => "name".to_owned(),
        other => format!("c{other}"),
    };
    let wires = wires();
    let column = |index| Column {
        name: name(index),
        text: wires[index].is_text(),
        key: index == 0,
        not_null: index == 0,
        has_default: false,
    };
    let feed = FEEDS[usize::from(feed) % FEEDS.len()];
    let dialect: Dialect = feed.parse().unwrap_or_else(|faults| panic!("{feed}: {faults}"));
    let limits = Limits { max_row: Bytes(128 << 10), max_fields: 64, max_plain: Bytes(1 << 20), ..Limits::default() };
    let nulls = Nulls { rule: NullRule::given(&dialect).unwrap_or_default(), watch: Watching::Refuse };
    Shape {
        nulls,
        file: if how & 1 == 0 { File::Snapshot } else { File::Changes },
        columns: (0..columns).map(column).collect(),
        generated: Vec::new(),
        table: ("dbo".into(), "e".into()),
        dialect: Dialect { limits, ..dialect },
        had_op: [None, Some(true), Some(false), None][usize::from(how >> 2 & 3)],
        keep_raw: how & 2 != 0,
    }
}

/// The types of the columns, each with and without a modifier; the first is the key's.
fn wires() -> Vec<ColumnEncoding> {
    let asked = ServerCast { type_name: "inet".into(), text: false, scaled: false, canonical: true };
    vec![
        ColumnEncoding::Int8,
        ColumnEncoding::Text,
        ColumnEncoding::Bool,
        ColumnEncoding::Int2,
        ColumnEncoding::Int4,
        ColumnEncoding::Float4,
        ColumnEncoding::Float8,
        ColumnEncoding::Numeric { limit: None },
        ColumnEncoding::Numeric { limit: Some((18, 4)) },
        ColumnEncoding::Numeric { limit: Some((5, -2)) },
        ColumnEncoding::Varchar { max: Some(3) },
        ColumnEncoding::Bpchar { len: Some(3) },
        ColumnEncoding::Bpchar { len: None },
        ColumnEncoding::Date,
        ColumnEncoding::Time { precision: Some(3) },
        ColumnEncoding::Timestamp { precision: None },
        ColumnEncoding::Timestamp { precision: Some(0) },
        ColumnEncoding::Timestamptz { precision: Some(6) },
        ColumnEncoding::Uuid,
        ColumnEncoding::Bytea,
        ColumnEncoding::Json,
        ColumnEncoding::Jsonb,
        ColumnEncoding::ServerCast(asked),
    ]
}

/// The objects of a file's bytes, with what is stretched in them.
fn parts(file: &[u8]) -> Vec<Vec<u8>> {
    let mut stretched = Vec::with_capacity(file.len());
    let mut left = 4;
    for byte in file {
        if *byte == STRETCH && left > 0 {
            left -= 1;
            stretched.resize(stretched.len() + 20_000, b'x');
        } else {
            stretched.push(*byte);
        }
    }
    let mut parts = vec![Vec::new()];
    let mut rest = &stretched[..];
    while let Some((first, behind)) = rest.split_first() {
        if rest.starts_with(NEXT_PART) {
            parts.push(Vec::new());
            rest = &rest[NEXT_PART.len()..];
            continue;
        }
        parts.last_mut().into_iter().for_each(|part| part.push(*first));
        rest = behind;
    }
    parts
}

fn objects(parts: &[Vec<u8>], must_be_gzip: bool, piece: usize) -> Objects<'_> {
    Objects { left: parts.iter().map(Vec::as_slice).collect(), must_be_gzip, piece }
}

/// All that can be said of a file: its rows, what was refused on the way, and how it ended.
#[derive(Default, PartialEq)]
struct Told {
    said: Vec<u8>,
    broken_gzip: bool,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said.escape_ascii().to_string())
    }
}

fn walk(shape: &Shape, parts: &[Vec<u8>], must_be_gzip: bool, piece: usize) -> Told {
    let mut rows = decode::rows(objects(parts, must_be_gzip, piece), shape.clone());
    let (mut told, mut given, mut last, mut at) = (Told::default(), 0, (0, 0), 0);
    loop {
        let (place, start) = match rows.next_row() {
            Ok(Some(row)) => {
                given += 1;
                told.add(&[row.part as u8, row.op as u8]);
                for column in 0..shape.columns.len() {
                    told.cell(Some(row.cell(column)));
                    told.cell(row.before(column));
                }
                let start = told.said.len();
                told.add(row.raw());
                ((row.part, row.line), start)
            }
            Err(error) if error.of_the_row() => {
                told.add(error.to_string().as_bytes());
                let start = told.said.len();
                told.add(rows.raw());
                (rows.place(), start)
            }
            Err(error) => return told.failed(&error),
            Ok(None) => {
                assert_eq!(rows.counted().load(std::sync::atomic::Ordering::Relaxed), given);
                return told;
            }
        };
        assert!(place > last, "lines ascend: {last:?}, {place:?}");
        at = if place.0 == last.0 { at } else { 0 };
        last = place;
        let raw = &told.said[start..];
        assert!(shape.keep_raw || raw.is_empty());
        if shape.keep_raw && !must_be_gzip && !parts[place.0].starts_with(&[0x1f, 0x8b]) {
            at = found(&parts[place.0], raw, at)
                .expect("a row's bytes stand in the file, behind those of the row before");
        }
        told.add(&place.1.to_le_bytes());
    }
}

impl Told {
    fn add(&mut self, bytes: &[u8]) {
        self.said.extend_from_slice(bytes);
    }

    fn cell(&mut self, cell: Option<Cell<'_>>) {
        match cell {
            None => self.add(b" -"),
            Some(Cell::Null) => self.add(b" null"),
            Some(Cell::NotSupplied) => self.add(b" ?"),
            Some(Cell::Value(text)) => {
                self.add(b" =");
                self.add(text);
            }
        }
    }

    fn failed(mut self, error: &Error) -> Self {
        assert!(error.of_the_world().is_none(), "the bytes are at fault, and nothing else: {error}");
        let words = error.to_string();
        assert!(!words.contains('\n'), "a line of the log: {words}");
        self.add(words.as_bytes());
        self.broken_gzip = words.contains("gzip");
        self
    }
}

/// Where `part` ends in `bytes`, from `at` on.
fn found(bytes: &[u8], part: &[u8], at: usize) -> Option<usize> {
    if part.is_empty() {
        return Some(at);
    }
    let start = bytes[at..].windows(part.len()).position(|window| window == part)?;
    Some(at + start + part.len())
}

/// Every cell of every row, as the target writes it.
fn encode(shape: &Shape, parts: &[Vec<u8>], must_be_gzip: bool) {
    let mut rows = decode::rows(objects(parts, must_be_gzip, usize::MAX), shape.clone());
    let wires = wires();
    loop {
        match rows.next_row() {
            Ok(Some(row)) => {
                let cells = (0..shape.columns.len()).map(|column| row.cell(column));
                wires.iter().zip(cells).for_each(|(wire, cell)| match cell {
                    Cell::Value(text) => drop(value(wire, text)),
                    Cell::Null | Cell::NotSupplied => {}
                });
            }
            Err(error) if error.of_the_row() => {}
            _ => return,
        }
    }
}

/// A value's binary form and its sort key, if it is one.
fn value(wire: &ColumnEncoding, cell: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let mut out = b"before".to_vec();
    if wire.encode(cell, &mut out).is_err() {
        assert_eq!(out, b"before", "after a refusal nothing is there");
        return None;
    }
    assert!(out.starts_with(b"before"));
    let binary = out.split_off(6);
    let mut key = Vec::new();
    let has_key = wire.sort_key(&binary, &mut key);
    assert!(has_key || key.is_empty());
    Some((binary, has_key.then_some(key)))
}

/// The order of two values, where it is plain from their texts.
fn known_order(wire: &ColumnEncoding, one: &[u8], two: &[u8]) -> Option<Ordering> {
    let (one, two) = (std::str::from_utf8(one).ok()?, std::str::from_utf8(two).ok()?);
    match wire {
        ColumnEncoding::Int2 | ColumnEncoding::Int4 | ColumnEncoding::Int8 => {
            Some(one.trim().parse::<i64>().ok()?.cmp(&two.trim().parse().ok()?))
        }
        ColumnEncoding::Float8 => one.parse::<f64>().ok()?.partial_cmp(&two.parse().ok()?),
        ColumnEncoding::Numeric { limit: None } => Some(decimal(one)?.cmp(&decimal(two)?)),
        ColumnEncoding::Text => Some(one.cmp(two)),
        ColumnEncoding::Date => (is_day(one) && is_day(two)).then(|| one.cmp(two)),
        _ => None,
    }
}

/// A plain decimal of few digits, scaled to whole numbers.
fn decimal(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.len() <= 15 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || digits.len() > 31 {
        return None;
    }
    Some(sign * format!("{whole}{fraction:0<15}").parse::<i128>().ok()?)
}

fn is_day(text: &str) -> bool {
    text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if [4, 7].contains(&at) { byte == b'-' } else { byte.is_ascii_digit() })
}

/// A gzip of one member, or of several with their ends anywhere.
fn gz_members(bytes: &[u8], member: usize) -> Vec<u8> {
    let member = if member < 16 { bytes.len().max(1) } else { member * 7 };
    bytes.chunks(member).flat_map(gz).collect()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.unwrap_or_else(|error| panic!("into memory: {error}"))
}
