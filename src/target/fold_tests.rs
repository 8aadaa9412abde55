//! The fold and the chain against an independent reading of the same file: one operation after the other, straight on a
//! table.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::batch::{Batch, Wish};
use super::chain::Chain;
use super::fold::Fold;
use super::sort::{Mark, Record};
use super::tuple;
use crate::decode::File;

/// A row's cells besides its key.
type Cells = [u8; 2];
type Table = BTreeMap<u8, Cells>;

const DEFAULTS: Cells = [b'x', b'y'];

#[derive(Debug, Clone)]
enum Op {
    Put(u8, [Option<u8>; 2]),
    Delete(u8),
    Move(u8, u8, [Option<u8>; 2]),
}

fn with(cells: Cells, supplied: [Option<u8>; 2]) -> Cells {
    [supplied[0].unwrap_or(cells[0]), supplied[1].unwrap_or(cells[1])]
}

/// The plain reading.
fn one_by_one(mut table: Table, ops: &[Op]) -> Table {
    for op in ops {
        match *op {
            Op::Put(key, supplied) => {
                let before = table.get(&key).copied().unwrap_or(DEFAULTS);
                table.insert(key, with(before, supplied));
            }
            Op::Delete(key) => _ = table.remove(&key),
            Op::Move(from, to, supplied) => {
                let before = table.remove(&from).expect("only rows that are there move");
                table.insert(to, with(before, supplied));
            }
        }
    }
    table
}

/// The operations without moves of rows that are not there.
fn possible(table: &Table, ops: Vec<Op>) -> Vec<Op> {
    let mut done = Vec::new();
    for op in ops {
        let table = one_by_one(table.clone(), &done);
        if !matches!(op, Op::Move(from, ..) if !table.contains_key(&from)) {
            done.push(op);
        }
    }
    done
}

fn row(key: u8, supplied: [Option<u8>; 2]) -> Vec<u8> {
    let mut out = Vec::new();
    tuple::begin(3, &mut out);
    tuple::value(&[key], &mut out);
    for cell in supplied {
        match cell {
            Some(value) => tuple::value(&[value], &mut out),
            None => tuple::hole(&mut out),
        }
    }
    out
}

/// The records that the intake makes of the operations.
fn records(ops: &[Op]) -> Vec<(Wish, u8, Vec<u8>)> {
    let key_only = |key: u8| {
        let mut out = Vec::new();
        tuple::begin(3, &mut out);
        tuple::value(&[key], &mut out);
        tuple::null(&mut out);
        tuple::null(&mut out);
        out
    };
    let each = |op: &Op| match *op {
        Op::Put(key, supplied) => vec![(Wish::Put, key, row(key, supplied))],
        Op::Delete(key) => vec![(Wish::Gone, key, key_only(key))],
        Op::Move(from, to, supplied) => {
            vec![(Wish::Away, from, key_only(from)), (Wish::Here, to, row(to, supplied))]
        }
    };
    ops.iter().flat_map(each).collect()
}

fn mark(line: usize, wish: Wish, tuple: &[u8]) -> Mark {
    Mark { part: 0, line: line as u64, wish, holes: tuple::has_hole(tuple) }
}

/// What the table becomes if each folded word is carried out once.
fn carry_out(before: &Table, batch: &Batch) -> Table {
    let mut table = before.clone();
    for (place, word) in batch.rows().enumerate() {
        let cells: Vec<_> = tuple::cells(word.tuple).map(|cell| cell.get().map(|value| value[0])).collect();
        let key = word.key[0];
        let from = batch.elsewhere.iter().find(|(moved, _)| *moved == place);
        let from = from.map_or(key, |(_, from)| tuple::cells(from).next().map_or(key, |cell| cell.value()[0]));
        let holes = match word.wish {
            Wish::Fresh => DEFAULTS,
            _ => before.get(&from).copied().unwrap_or(DEFAULTS),
        };
        match word.wish {
            Wish::Put | Wish::Fresh => _ = table.insert(key, with(holes, [cells[1], cells[2]])),
            _ => _ = table.remove(&key),
        }
    }
    table
}

fn chained(ops: &[Op]) -> Batch {
    let (mut chain, mut batch) = (Chain::default(), Batch::default());
    for (line, (wish, key, tuple)) in records(ops).iter().enumerate() {
        chain.take(&Record { mark: mark(line, *wish, tuple), key: &[*key], tuple });
    }
    let put = chain.end(|word| {
        word(&mut batch);
        Ok::<(), ()>(())
    });
    put.expect("nothing can fail");
    batch
}

fn folded(ops: &[Op]) -> Batch {
    let (mut fold, mut batch) = (Fold::new(File::Changes, false), Batch::default());
    let mut records: Vec<_> = records(ops).into_iter().enumerate().collect();
    records.sort_by_key(|(_, (_, key, _))| *key);
    for (line, (wish, key, tuple)) in &records {
        fold.take(&Record { mark: mark(*line, *wish, tuple), key: &[*key], tuple }, &mut batch).expect("changes fold");
    }
    fold.end(&mut batch);
    batch
}

fn cells() -> impl Strategy<Value = [Option<u8>; 2]> {
    prop::array::uniform2(prop::option::of(b'a'..b'e'))
}

fn table() -> impl Strategy<Value = Table> {
    prop::collection::btree_map(0u8..5, prop::array::uniform2(b'A'..b'E'), 0..5)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0u8..5, cells()).prop_map(|(key, cells)| Op::Put(key, cells)),
        1 => (0u8..5).prop_map(Op::Delete),
    ]
}

fn op_or_move() -> impl Strategy<Value = Op> {
    let moves = (0u8..5, 1u8..5, cells()).prop_map(|(from, by, cells)| Op::Move(from, (from + by) % 5, cells));
    prop_oneof![2 => op(), 1 => moves]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_folded_file_does_what_its_rows_do_one_by_one(table in table(), ops in prop::collection::vec(op(), 0..12)) {
        let wanted = one_by_one(table.clone(), &ops);
        prop_assert_eq!(&carry_out(&table, &folded(&ops)), &wanted);
        prop_assert_eq!(&carry_out(&table, &chained(&ops)), &wanted);
    }

    #[test]
    fn so_does_one_in_which_rows_move(table in table(), ops in prop::collection::vec(op_or_move(), 0..12)) {
        let ops = possible(&table, ops);
        prop_assert_eq!(carry_out(&table, &chained(&ops)), one_by_one(table, &ops));
    }
}
