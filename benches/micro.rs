//! Bytes per second of decode and encode, so that a slower run of the whole program shows where it is: gunzip, cutting
//! CSV, each encoder by itself, and a file's whole way from gzip to tuples with sort keys. `./justw bench-micro`

use std::hint::black_box;
use std::io::{self, Read};

use divan::Bencher;
use divan::counter::BytesCount;
use flate2::bufread::MultiGzDecoder;
use paper_engine_orders::decode::cell::Cell;
use paper_engine_orders::decode::{self, Column, File, Parts, Rows, Shape};
use paper_engine_orders::feed::{self, Edition, Entity, Layout, Packing};
use paper_engine_orders::load::encode::ColumnEncoding;

/// Enough for a hundred batches, few enough to be measured many times.
const ROWS: u64 = 50_000;
const SEED: u64 = 1;

fn main() {
    divan::main();
}

mod decoding {
    use super::*;

    /// What any reader of such a file must do.
    #[divan::bench]
    #[expect(clippy::disallowed_methods, reason = "the limit: the decoder alone, without our checks")]
    fn gunzip(bencher: Bencher) {
        let (packed, plain) = (packed(), plain());
        let mut out = Vec::with_capacity(plain.len());
        bencher.counter(BytesCount::new(plain.len())).bench_local(|| {
            out.clear();
            MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut out).expect("it was just packed")
        });
    }

    /// Plain bytes to rows; no cell is looked at.
    #[divan::bench]
    fn cut(bencher: Bencher) {
        let plain = plain();
        bencher.counter(BytesCount::new(plain.len())).bench_local(|| walk(&plain, false, |_| {}));
    }

    /// Plain bytes to cells.
    #[divan::bench]
    fn cells(bencher: Bencher) {
        let plain = plain();
        bencher.counter(BytesCount::new(plain.len())).bench_local(|| {
            walk(&plain, false, |cells| {
                black_box(cells.count());
            });
        });
    }

    /// Gzip to tuples with their sort keys: all that is done for a row before it is compared or sent.
    #[divan::bench]
    fn whole(bencher: Bencher) {
        let (packed, plain, wires) = (packed(), plain(), wires());
        let (mut tuple, mut key) = (Vec::new(), Vec::new());
        bencher.counter(BytesCount::new(plain.len())).bench_local(|| {
            walk(&packed, true, |cells| {
                tuple.clear();
                key.clear();
                for (wire, cell) in wires.iter().zip(cells) {
                    encode(wire, cell, &mut tuple);
                }
                assert!(wires[0].sort_key(&tuple[4..12], &mut key), "a bigint has a sort key");
                black_box((&tuple, &key));
            });
        });
    }
}

mod encoding {
    use super::*;

    #[divan::bench]
    fn bigint(bencher: Bencher) {
        column(bencher, ColumnEncoding::Int8, 0);
    }

    #[divan::bench]
    fn varchar(bencher: Bencher) {
        column(bencher, ColumnEncoding::Varchar { max: Some(16) }, 2);
    }

    #[divan::bench]
    fn numeric(bencher: Bencher) {
        column(bencher, ColumnEncoding::Numeric { limit: Some((18, 4)) }, 3);
    }

    #[divan::bench]
    fn numeric_without_limits(bencher: Bencher) {
        column(bencher, ColumnEncoding::Numeric { limit: None }, 4);
    }

    #[divan::bench]
    fn timestamp(bencher: Bencher) {
        column(bencher, ColumnEncoding::Timestamp { precision: Some(6) }, 5);
    }

    #[divan::bench]
    fn text(bencher: Bencher) {
        column(bencher, ColumnEncoding::Text, 6);
    }

    /// One column of the mission's rows, nulls left out.
    fn column(bencher: Bencher, wire: ColumnEncoding, column: usize) {
        let (mut values, mut out) = (Vec::new(), Vec::new());
        walk(&plain(), false, |cells| {
            if let Some(Cell::Value(value)) = cells.nth(column) {
                values.push(value.to_vec());
            }
        });
        let bytes: usize = values.iter().map(Vec::len).sum();
        bencher.counter(BytesCount::new(bytes)).bench_local(|| {
            for value in &values {
                out.clear();
                wire.encode(value, &mut out).expect("the feed's values fit");
                black_box(&out);
            }
        });
    }
}

/// Appends a cell as `COPY` has it: its length, then its bytes.
fn encode(wire: &ColumnEncoding, cell: Cell<'_>, tuple: &mut Vec<u8>) {
    let Cell::Value(value) = cell else { return tuple.extend_from_slice(&(-1i32).to_be_bytes()) };
    let start = tuple.len();
    tuple.extend_from_slice(&[0; 4]);
    wire.encode(value, tuple).expect("the feed's values fit");
    let length = (tuple.len() - start - 4) as u32;
    tuple[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Walks a file's rows, and says how many there were if they were not all.
fn walk(file: &[u8], gzip: bool, mut see: impl FnMut(&mut dyn Iterator<Item = Cell<'_>>)) {
    let mut rows = rows(file, gzip);
    let mut count = 0;
    while let Some(row) = rows.next_row().expect("the feed's rows are well formed") {
        see(&mut (0..COLUMNS.len()).map(|column| row.cell(column)));
        count += 1;
    }
    assert_eq!(count, ROWS);
}

/// `entity_2`: name, whether a text, wire.
const COLUMNS: [(&str, bool); 7] = [
    ("event_id", false),
    ("order_id", false),
    ("kind", true),
    ("quantity", false),
    ("price", false),
    ("happened_at", false),
    ("note", true),
];

fn wires() -> [ColumnEncoding; 7] {
    [
        ColumnEncoding::Int8,
        ColumnEncoding::Int8,
        ColumnEncoding::Varchar { max: Some(16) },
        ColumnEncoding::Numeric { limit: Some((18, 4)) },
        ColumnEncoding::Numeric { limit: Some((18, 6)) },
        ColumnEncoding::Timestamp { precision: Some(6) },
        ColumnEncoding::Text,
    ]
}

fn rows(file: &[u8], gzip: bool) -> Rows<One<'_>> {
    let column = |&(name, text): &(&str, bool)| Column {
        name: name.to_owned(),
        text,
        key: name == "event_id",
        not_null: false,
        has_default: false,
    };
    let shape = Shape {
        nulls: decode::Nulls::default(),
        generated: Vec::new(),
        file: File::Snapshot,
        columns: COLUMNS.iter().map(column).collect(),
        table: (Entity::SCHEMA.to_owned(), Entity::Events.name().to_owned()),
        dialect: "".parse().expect("the default"),
        had_op: None,
        keep_raw: false,
    };
    decode::rows(One(Some((file, gzip))), shape)
}

/// The one object of a delivery.
struct One<'a>(Option<(&'a [u8], bool)>);

impl<'a> Parts for One<'a> {
    type Bytes = &'a [u8];

    fn next_part(&mut self) -> io::Result<Option<(Self::Bytes, bool)>> {
        Ok(self.0.take())
    }
}

fn plain() -> Vec<u8> {
    made(Packing { plain: true, ..Packing::default() })
}

fn packed() -> Vec<u8> {
    made(Packing::default())
}

fn made(packing: Packing) -> Vec<u8> {
    let mut file = Vec::new();
    let edition = Edition::base(Entity::Events, ROWS, SEED);
    feed::snapshot(&edition, Layout::default(), packing, &mut file).expect("memory takes all");
    file
}
