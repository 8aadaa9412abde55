//! The folds of one file, of rows that move and of late files, against an independent reading of the same files: one operation
//! after the other, straight on a table. The last column is one that the feed does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio_postgres::types::Type;

use super::Error;
use super::batch::{Batch, RowAction};
use super::catalog::{Column, Table as Target};
use super::chain::{Step, follow};
use super::collisions::There;
use super::encode::ColumnEncoding;
use super::fold::Fold;
use super::moves::Moves;
use super::refold::Refold;
use super::row_pipeline::{BatchSender, Message, Stopped};
use super::sort::{Mark, Record};
use super::tuple;
use crate::decode::File;

/// A row's cells besides its key.
type Cells = [u8; 3];
type Supplied = [Option<u8>; 3];
type Table = BTreeMap<u8, Cells>;

const DEFAULTS: Cells = *b"xyz";
const KEYS: u8 = 5;

#[derive(Debug, Clone)]
enum Op {
    Put(u8, Supplied),
    Delete(u8),
    Move(u8, u8, Supplied),
}

fn with(mut cells: Cells, supplied: Supplied) -> Cells {
    cells.iter_mut().zip(supplied).for_each(|(cell, supplied)| *cell = supplied.unwrap_or(*cell));
    cells
}

/// Applies the operations one after the other. A row that does not exist cannot move: its new key is written as by a
/// plain update.
fn one_by_one<'a>(mut table: Table, ops: impl IntoIterator<Item = &'a Op>) -> Table {
    for op in ops {
        let (key, cells, supplied) = match *op {
            Op::Put(key, supplied) => (key, None, supplied),
            Op::Move(from, to, supplied) => (to, table.remove(&from), supplied),
            Op::Delete(key) => {
                table.remove(&key);
                continue;
            }
        };
        let before = cells.or_else(|| table.get(&key).copied()).unwrap_or(DEFAULTS);
        table.insert(key, with(before, supplied));
    }
    table
}

fn target() -> Arc<Target> {
    let column = |name: &str| Column {
        name: name.into(),
        wire: ColumnEncoding::Text,
        not_null: false,
        base: Type::TEXT,
        array: Some(Type::TEXT_ARRAY),
        send: "pg_catalog.textsend".into(),
        loose: false,
        cast: None,
        has_default: true,
    };
    Arc::new(Target::of("dbo", "e", ["id", "a", "b", "not_in_feed"].map(column).into(), &[0]))
}

fn row(key: u8, supplied: Supplied) -> Vec<u8> {
    let mut out = Vec::new();
    tuple::begin(4, &mut out);
    tuple::value(&[b'0' + key], &mut out);
    for cell in supplied {
        match cell {
            Some(value) => tuple::value(&[value], &mut out),
            None => tuple::hole(&mut out),
        }
    }
    out
}

fn key_only(key: u8) -> Vec<u8> {
    let mut out = Vec::new();
    tuple::begin(4, &mut out);
    tuple::value(&[b'0' + key], &mut out);
    (0..3).for_each(|_| tuple::null(&mut out));
    out
}

fn key_of(row: &[u8]) -> u8 {
    tuple::cells(row).next().map_or(0, |cell| cell.value()[0] - b'0')
}

/// Returns the records that the pipeline makes of an operation.
fn records(op: &Op) -> Vec<(RowAction, Vec<u8>)> {
    match *op {
        Op::Put(key, supplied) => vec![(RowAction::Put, row(key, supplied))],
        Op::Delete(key) => vec![(RowAction::Gone, key_only(key))],
        Op::Move(from, to, supplied) => vec![(RowAction::Away, key_only(from)), (RowAction::Here, row(to, supplied))],
    }
}

fn record<'a>(target: &Target, part: u32, (wish, tuple): &'a (RowAction, Vec<u8>), key: &'a mut Vec<u8>) -> Record<'a> {
    key.clear();
    target.sort_key(tuple, key);
    Record { mark: Mark { part, line: 1, wish: *wish, holes: tuple::has_hole(tuple) }, key, tuple }
}

/// Returns the table after each folded row has been applied once.
fn carry_out(before: &Table, batch: &Batch) -> Table {
    let mut table = before.clone();
    for (place, wanted) in batch.rows().enumerate() {
        let key = key_of(wanted.tuple);
        let steps = batch.elsewhere.iter().find(|(moved, _)| *moved == place);
        let own = vec![Step::Row(key_only(key))];
        let steps = match wanted.wish {
            RowAction::Put => steps.map_or(&own, |(_, steps)| steps).as_slice(),
            RowAction::Fresh => &[],
            _ => {
                table.remove(&key);
                continue;
            }
        };
        let rows = steps.iter().enumerate().filter_map(|(place, step)| match step {
            Step::Row(key) => Some((place, row(key_of(key), before.get(&key_of(key))?.map(Some)))),
            Step::Cells(_) => None,
        });
        let found = rows.into_iter().next();
        let word = follow(wanted.tuple, steps, found.as_ref().map(|(place, row)| (*place, row.as_slice())));
        let mut cells = tuple::cells(&word.tuple).skip(1);
        let cells = DEFAULTS.map(|default| cells.next().and_then(|cell| cell.get()).map_or(default, |cell| cell[0]));
        table.insert(key, cells);
    }
    table
}

/// Folds files in which rows move; `loaded` says which of them were loaded before.
fn moved(files: &[Vec<Op>], loaded: &[bool]) -> Result<Batch, Error> {
    let (target, mut batch, mut key) = (target(), Batch::default(), Vec::new());
    let mut moves = Moves::new(target.clone(), loaded);
    for (part, op) in files.iter().enumerate().flat_map(|(part, ops)| ops.iter().map(move |op| (part, op))) {
        records(op).iter().for_each(|each| moves.take(&record(&target, part as u32, each, &mut key)));
    }
    let ended = moves.end(|put| {
        put(&mut batch);
        Ok(())
    });
    match ended {
        Err(Stopped::Error(error)) => Err(error),
        _ => Ok(batch),
    }
}

/// Returns true if the files move a row onto another one that the table has; `now` is the table as it is.
fn displaces(now: &Table, batch: &Batch) -> bool {
    let target = target();
    let sort_key = |key: u8| {
        let mut sort_key = Vec::new();
        target.sort_key(&key_only(key), &mut sort_key);
        sort_key
    };
    let then = carry_out(now, batch);
    let there = |key: &[u8]| match now.iter().find(|(has, _)| sort_key(**has) == key) {
        None => There::Nothing,
        Some((has, cells)) if then.get(has) == Some(cells) => There::Same,
        Some(_) => There::Other,
    };
    batch.arrivals.iter().any(|arrival| arrival.displaces(there))
}

/// The table after one file in which rows may move; none if it is refused, since a row moves onto another one.
fn after_one_file(table: &Table, ops: &[Op]) -> Option<Table> {
    match moved(&[ops.to_vec()], &[]) {
        Err(Error::Displaced { .. }) => None,
        Err(error) => panic!("{error}"),
        Ok(batch) if displaces(table, &batch) => None,
        Ok(batch) => Some(carry_out(table, &batch)),
    }
}

fn folded(ops: &[Op]) -> Batch {
    let (target, mut key) = (target(), Vec::new());
    let (mut fold, mut batch) = (Fold::new(File::Changes, false), Batch::default());
    let mut records: Vec<_> = ops.iter().flat_map(records).collect();
    records.sort_by_key(|(_, tuple)| key_of(tuple));
    for each in &records {
        fold.take(&record(&target, 0, each, &mut key), &mut batch).expect("changes fold");
    }
    fold.end(&mut batch);
    batch
}

fn refolded(ops: &[Op], room: usize) -> Batch {
    let (target, mut key) = (target(), Vec::new());
    let mut refold = Refold::with_room(target.clone(), room);
    for each in ops.iter().flat_map(records) {
        assert!(refold.take(&record(&target, 0, &each, &mut key)).is_ok(), "taken");
    }
    let (sender, mut batches) = mpsc::channel(2);
    refold.finish(BatchSender::new(sender));
    match batches.try_recv() {
        Ok(Message::Batch(batch)) => batch,
        _ => Batch::default(),
    }
}

fn cells() -> impl Strategy<Value = Supplied> {
    prop::array::uniform2(prop::option::of(b'a'..b'e')).prop_map(|[a, b]| [a, b, None])
}

fn table() -> impl Strategy<Value = Table> {
    prop::collection::btree_map(0..KEYS, prop::array::uniform3(b'A'..=b'Z'), 0..5)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..KEYS, cells()).prop_map(|(key, cells)| Op::Put(key, cells)),
        1 => (0..KEYS).prop_map(Op::Delete),
    ]
}

/// Moves onto keys that are taken and from keys where there is nothing are among them, and moves that stay.
fn op_or_move() -> impl Strategy<Value = Op> {
    let moves = (0..KEYS, 0..KEYS, cells()).prop_map(|(from, to, cells)| Op::Move(from, to, cells));
    prop_oneof![2 => op(), 2 => moves]
}

/// Statements of a source: operations on one row, and rows that move at once.
fn statements() -> impl Strategy<Value = Vec<Vec<Op>>> {
    let keys = || Just((0..KEYS).collect::<Vec<_>>()).prop_shuffle();
    let at_once = (keys(), keys(), prop::collection::vec(cells(), 4), 2usize..5).prop_map(|(from, to, cells, rows)| {
        let moves = from.into_iter().zip(to).zip(cells).map(|((from, to), cells)| Op::Move(from, to, cells));
        moves.take(rows).collect()
    });
    let by_one = (keys(), cells()).prop_map(|(from, cells)| {
        from.into_iter().filter(|from| from + 1 < KEYS).map(|from| Op::Move(from, from + 1, cells)).collect()
    });
    let statement = prop_oneof![3 => op_or_move().prop_map(|op| vec![op]), 2 => at_once, 1 => by_one];
    prop::collection::vec(statement, 0..6)
}

/// Does what a source does with each statement: its rows move at once. Returns the end, and the rows as they are written. Of rows
/// that are not there nothing is written; a statement that ends with two rows under one key is none.
fn at_once(mut table: Table, statements: Vec<Vec<Op>>) -> (Table, Vec<Op>) {
    let mut written = Vec::new();
    for statement in statements {
        let there = |op: &Op| !matches!(op, Op::Move(from, ..) if !table.contains_key(from));
        let ops: Vec<Op> = statement.into_iter().filter(there).collect();
        let (mut next, mut arrive) = (table.clone(), Vec::new());
        for op in &ops {
            match *op {
                Op::Move(from, to, supplied) => {
                    next.remove(&from);
                    arrive.push((to, with(table[&from], supplied)));
                }
                _ => next = one_by_one(next, [op]),
            }
        }
        if arrive.iter().any(|(to, _)| next.contains_key(to)) {
            continue;
        }
        next.extend(arrive);
        table = next;
        written.extend(ops);
    }
    (table, written)
}

fn files() -> impl Strategy<Value = Vec<(bool, Vec<Op>)>> {
    prop::collection::vec((any::<bool>(), prop::collection::vec(op_or_move(), 0..4)), 1..5)
}

/// Returns the files without operations that no source can produce: a row moves only from a key that exists to a free
/// key, and is inserted only once.
fn possible(table: &Table, files: Vec<(bool, Vec<Op>)>) -> Vec<(bool, Vec<Op>)> {
    let mut now = table.clone();
    let mut can = |op: &Op| {
        let can = match op {
            Op::Move(from, to, _) => now.contains_key(from) && (from == to || !now.contains_key(to)),
            Op::Put(..) | Op::Delete(_) => true,
        };
        if can {
            now = one_by_one(std::mem::take(&mut now), [op]);
        }
        can
    };
    files.into_iter().map(|(late, ops)| (late, ops.into_iter().filter(&mut can).collect())).collect()
}

/// Returns the operations of the files, or only those of files that were loaded before.
fn ops_of(files: &[(bool, Vec<Op>)], only_loaded: bool) -> impl Iterator<Item = &Op> {
    files.iter().filter(move |(late, _)| !(only_loaded && *late)).flat_map(|(_, ops)| ops)
}

/// Returns all tables that a source can have had before the files: which keys they have, with these cells.
fn tables_before(files: &[(bool, Vec<Op>)], cells: impl Fn(u8) -> Cells) -> impl Iterator<Item = Table> {
    let tables = (0..1u8 << KEYS).map(move |keys| -> Table {
        (0..KEYS).filter(|key| keys >> key & 1 == 1).map(|key| (key, cells(key))).collect()
    });
    tables.filter(move |table| ops_of(&possible(table, files.to_vec()), false).count() == ops_of(files, false).count())
}

/// Returns `true` if the result of the files cannot be known from the table that the loaded files left: other tables
/// that would look the same now lead to another result, or a needed cell exists nowhere any more. Cells from
/// `UNKNOWN` on stand for the cells that a table had before.
fn is_lost(now: &Table, files: &[(bool, Vec<Op>)]) -> bool {
    const UNKNOWN: u8 = 128;
    let mut ends = BTreeSet::new();
    for before in tables_before(files, |key| [0, 1, 2].map(|column| UNKNOWN + key * 3 + column)) {
        let then = one_by_one(before.clone(), ops_of(files, true));
        if !then.keys().eq(now.keys()) {
            continue;
        }
        let (mut known, mut cells) = (BTreeMap::new(), then.values().flatten().zip(now.values().flatten()));
        if cells.any(|(then, now)| *known.entry(*then).or_insert(*now) != *now || *then < UNKNOWN && then != now) {
            continue;
        }
        let mut end = one_by_one(before, ops_of(files, false));
        for cell in end.values_mut().flatten().filter(|cell| **cell >= UNKNOWN) {
            let Some(value) = known.get(cell) else { return true };
            *cell = *value;
        }
        ends.insert(end);
    }
    ends.len() != 1
}

/// Returns `true` if it cannot be known for some table: the fold does not see which one it is.
fn may_be_lost(files: &[(bool, Vec<Op>)]) -> bool {
    let with_cells = tables_before(files, |key| [0, 1, 2].map(|column| b'A' + key * 3 + column));
    let with_defaults = tables_before(files, |_| DEFAULTS);
    with_cells.chain(with_defaults).any(|table| is_lost(&one_by_one(table, ops_of(files, true)), files))
}

/// Returns true if a late file moves a row to a key from which a row moves on later.
fn moves_on(files: &[(bool, Vec<Op>)]) -> bool {
    let ops: Vec<(bool, &Op)> = files.iter().flat_map(|(late, ops)| ops.iter().map(|op| (*late, op))).collect();
    let later = |place: usize, key: u8| {
        ops[place + 1..].iter().any(|(_, op)| matches!(op, Op::Move(from, to, _) if *from == key && from != to))
    };
    ops.iter().enumerate().any(|(place, (late, op))| match **op {
        Op::Move(_, to, _) => *late && later(place, to),
        _ => false,
    })
}

#[test]
fn what_can_be_known_of_late_files_is_not_refused() {
    let none = [None; 3];
    let cells = |cell: u8| [Some(cell), Some(cell), None];
    let table: Table = [(1, *b"ABC"), (4, *b"DEF")].into();
    let chain = vec![Op::Move(4, 3, none), Op::Move(1, 4, none)];
    let cases: [[(bool, Vec<Op>); 2]; 5] = [
        // the late file's cells belong to another row
        [(true, vec![Op::Put(0, cells(b'a'))]), (false, chain.clone())],
        // they belong to the row that moves later
        [(true, vec![Op::Put(1, [Some(b'a'), None, None])]), (false, chain.clone())],
        // there and back
        [(true, vec![Op::Move(1, 2, none)]), (false, vec![Op::Move(2, 1, none)])],
        // the late file deletes what a loaded one moves onto
        [(true, vec![Op::Delete(4)]), (false, vec![Op::Move(1, 4, none)])],
        [(true, vec![Op::Delete(1), Op::Put(1, cells(b'a'))]), (false, chain)],
    ];
    for files in cases {
        let wanted = one_by_one(table.clone(), files.iter().flat_map(|(_, ops)| ops));
        let now = one_by_one(table.clone(), &files[1].1);
        let ops = files.clone().map(|(_, ops)| ops);
        let batch = moved(&ops, &[false, true]).unwrap_or_else(|error| panic!("{files:?}: {error}"));
        assert_eq!(carry_out(&now, &batch), wanted, "{files:?}");
    }
}

/// Returns how many times as many cases are tried, for a long run: it is built in.
fn times() -> u32 {
    option_env!("FOLD_CASES_TIMES").and_then(|times| times.parse().ok()).unwrap_or(1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000 * times(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_folded_file_does_what_its_rows_do_one_by_one(table in table(), ops in prop::collection::vec(op(), 0..12)) {
        let wanted = one_by_one(table.clone(), &ops);
        prop_assert_eq!(&carry_out(&table, &folded(&ops)), &wanted);
        prop_assert_eq!(&carry_out(&table, &moved(&[ops], &[]).expect("folded")), &wanted);
    }

    #[test]
    fn so_does_one_in_which_rows_move(table in table(), ops in prop::collection::vec(op_or_move(), 0..12)) {
        let wanted = one_by_one(table.clone(), &ops);
        let can = ops_of(&possible(&table, vec![(false, ops.clone())]), false).count() == ops.len();
        match after_one_file(&table, &ops) {
            Some(after) => prop_assert_eq!(after, wanted),
            None => prop_assert!(!can, "refused for nothing"),
        }
    }

    /// What a source does at once is written one after the other, and a file may end in between: right, or refused where it cannot
    /// be done row by row.
    #[test]
    fn so_does_one_in_which_rows_move_at_once(table in table(), statements in statements(), cut in 0.0..=1.0f64) {
        let (wanted, written) = at_once(table.clone(), statements);
        let can = ops_of(&possible(&table, vec![(false, written.clone())]), false).count() == written.len();
        let (first, second) = written.split_at((written.len() as f64 * cut) as usize);
        match after_one_file(&table, first).and_then(|table| after_one_file(&table, second)) {
            Some(after) => prop_assert_eq!(after, wanted),
            None => prop_assert!(!can, "refused for nothing"),
        }
    }

    /// Folds all files in their order into a table to which the loaded ones were applied. The result is right, or
    /// refused if it cannot be known.
    #[test]
    fn so_do_late_files_in_which_rows_move(table in table(), files in files()) {
        let files = possible(&table, files);
        let wanted = one_by_one(table.clone(), ops_of(&files, false));
        let loaded: Vec<bool> = files.iter().map(|(late, _)| !late).collect();
        let now = one_by_one(table, ops_of(&files, true));
        let ops: Vec<Vec<Op>> = files.iter().map(|(_, ops)| ops.clone()).collect();
        match moved(&ops, &loaded) {
            Err(Error::Displaced { .. }) => prop_assert!(moves_on(&files), "refused for nothing"),
            Ok(batch) if displaces(&now, &batch) => prop_assert!(false, "refused for nothing"),
            Ok(batch) => prop_assert_eq!(carry_out(&now, &batch), wanted),
            Err(Error::Overwritten { .. }) => prop_assert!(may_be_lost(&files), "refused for nothing"),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    /// Folds all files of a generation, beginning with an empty table and with little memory for rows that move.
    #[test]
    fn so_do_all_files_of_a_generation(ops in prop::collection::vec(op_or_move(), 0..40), room in 0usize..2_000) {
        prop_assert_eq!(carry_out(&Table::new(), &refolded(&ops, room)), one_by_one(Table::new(), &ops));
    }
}
