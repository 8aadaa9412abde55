//! Whole files through `Rows`: one test per line of FEED.

use super::dialect::OpRule;
use super::*;

struct Texts<'a>(std::slice::Iter<'a, &'static str>);

impl Parts for Texts<'_> {
    type Bytes = &'static [u8];
    fn next_part(&mut self) -> io::Result<Option<(Self::Bytes, bool)>> {
        Ok(self.0.next().map(|text| (text.as_bytes(), false)))
    }
}

/// Returns a shape. `columns` are names with marks: `*` key, `'` text, `!'` text that is not null, `+` default.
pub(super) fn shape(file: File, feed: &str, columns: &str) -> Shape {
    let column = |name: &str| Column {
        name: name.trim_end_matches(['*', '\'', '!', '+']).to_owned(),
        text: name.ends_with('\''),
        key: name.contains('*'),
        not_null: name.contains(['*', '!']),
        has_default: name.contains('+'),
    };
    let dialect: Dialect = feed.parse().unwrap_or_else(|faults| panic!("{feed}: {faults}"));
    Shape {
        file,
        columns: columns.split(',').map(column).collect(),
        generated: vec!["total".into()],
        table: ("dbo".into(), "e".into()),
        nulls: Nulls { rule: NullRule::given(&dialect).unwrap_or_default(), watch: Watching::Off },
        dialect,
        had_op: None,
        keep_raw: false,
    }
}

const TABLE: &str = "id*,name'";
use File::{Changes, Snapshot};

fn show(cell: Cell<'_>) -> String {
    match cell {
        Cell::Null => "∅".to_owned(),
        Cell::NotSupplied => "–".to_owned(),
        Cell::Value(text) => String::from_utf8_lossy(text).into_owned(),
    }
}

fn read_as(shape: Shape, parts: &[&'static str]) -> Result<Vec<String>, String> {
    let columns = shape.columns.len();
    let mut rows = rows(Texts(parts.iter()), shape);
    let mut seen = Vec::new();
    while let Some(row) = rows.next_row().map_err(|error| format!("part {}: {error}", error.part))? {
        let cells: Vec<_> = (0..columns).map(|column| show(row.cell(column))).collect();
        let before: Vec<_> = (0..columns).map(|column| row.before(column).map_or(String::new(), show)).collect();
        let before = if before.concat().is_empty() { String::new() } else { format!(" was {}", before.join("|")) };
        seen.push(format!("{}:{} {:?} {}{before}", row.part, row.line, row.op, cells.join("|")));
    }
    Ok(seen)
}

fn read(file: File, feed: &str, text: &'static str) -> Result<Vec<String>, String> {
    read_as(shape(file, feed, TABLE), &[text])
}

#[track_caller]
fn gives(got: Result<Vec<String>, String>, wanted: &[&str]) {
    assert_eq!(got, Ok(wanted.iter().map(|line| (*line).to_owned()).collect()));
}

#[track_caller]
fn fails(got: Result<Vec<String>, String>, words: &str) {
    let error = got.expect_err(words);
    assert!(error.contains(words), "{words:?} is not in {error:?}");
}

#[test]
fn a_snapshot_has_n_columns_or_an_i_in_front() {
    gives(read(Snapshot, "", "1,a\n2,\n"), &["0:1 Insert 1|a", "0:2 Insert 2|"]);
    gives(read(Snapshot, "", "I,1,a\n"), &["0:1 Insert 1|a"]);
    fails(read(Snapshot, "", "U,1,a\n"), "part 0: line 1: an op other than I in a full load");
}

#[test]
fn a_change_file_has_an_op_in_front() {
    let wanted = ["0:1 Insert 1|a", "0:2 Update 1|∅", "0:3 Delete 1|NULL"];
    gives(read(Changes, "", "I,1,a\nU,1,NULL\nD,1,\"NULL\"\n"), &wanted);
    gives(read(Changes, "", "1,a\n"), &["0:1 Insert 1|a"]);
    fails(read(Changes, "", "X,1,a\n"), "line 1: the first field is not an op (I, U or D), and without an op");
    fails(read(Changes, "", "I,1,a\nX,1,a\n"), "line 2: the first field is not an op (I, U or D)");
}

#[test]
fn a_row_of_another_width_is_named() {
    fails(read(Snapshot, "", "1,a\n2\n"), "part 0: line 2: 1 fields where 2 were expected (2 columns)");
    fails(read(Snapshot, "", "1,a\nI,2,b\n"), "part 0: line 2: 3 fields where 2 were expected");
    fails(read(Changes, "", "I,1,a\n2,b\n"), "line 2: 2 fields where 3 were expected (2 columns and the op)");
    fails(read(Snapshot, "", "1,a,b,c\n"), "line 1: 4 fields, but the table has 2 columns to fill (2 fields, or 3");
}

#[test]
fn parts_follow_each_other_and_lines_begin_anew() {
    let parts = |parts: &[&'static str]| read_as(shape(Snapshot, "", TABLE), parts);
    fails(parts(&["1,a\n2,b\n", "", "3,c\n"]), "part 1: the object is empty");
    gives(parts(&["1,a\n2,b\n", "3,c\n"]), &["0:1 Insert 1|a", "0:2 Insert 2|b", "1:1 Insert 3|c"]);
    fails(parts(&["1,a\n", "2\n"]), "part 1: line 1: 1 fields where 2 were expected");
}

/// Checks for each combination of DMS settings which rules read its files.
#[test]
fn every_combination_of_dms_settings_has_a_rule() {
    const BARE: &str = "1,a\n";
    const FRONT: &str = "I,1,a\n";
    const OPS: &str = "I,1,a\nU,1,b\nD,1,b\n";
    const NO_D: &str = "I,1,a\nU,1,b\n";
    // IncludeOpForFullLoad, cdcInsertsOnly, cdcInsertsAndUpdates; full load; changes; the rules that take both
    let cases: [(&str, &str, &str, &[OpRule]); 8] = [
        ("false false false", BARE, OPS, &[OpRule::Auto, OpRule::Changes]),
        ("true false false", FRONT, OPS, &[OpRule::Auto, OpRule::Always]),
        ("false true –", BARE, BARE, &[OpRule::Auto, OpRule::Never]),
        ("true true –", FRONT, FRONT, &[OpRule::Auto, OpRule::Always]),
        ("false – true", BARE, NO_D, &[OpRule::Auto, OpRule::Changes]),
        ("false – true, without an op", BARE, BARE, &[OpRule::Auto, OpRule::Never]),
        ("true – true", FRONT, NO_D, &[OpRule::Auto, OpRule::Always]),
        ("true – true, without an op", FRONT, BARE, &[OpRule::Auto]),
    ];
    for (settings, load, changes, rules) in cases {
        for rule in [OpRule::Auto, OpRule::Always, OpRule::Changes, OpRule::Never] {
            let feed = format!("op={}", format!("{rule:?}").to_lowercase());
            let got = (read(Snapshot, &feed, load), read(Changes, &feed, changes));
            assert_eq!(got.0.is_ok() && got.1.is_ok(), rules.contains(&rule), "{settings}, {feed}: {got:?}");
            if let (Ok(load_rows), Ok(change_rows)) = got {
                assert_eq!(load_rows, ["0:1 Insert 1|a"], "{settings}");
                assert_eq!(change_rows.len(), changes.lines().count(), "{settings}");
            }
        }
    }
}

#[test]
fn a_feed_that_changes_its_habit_is_stopped_until_feed_says_what_is_right() {
    let habit =
        |file, feed: &str, had_op, text| read_as(Shape { had_op: Some(had_op), ..shape(file, feed, TABLE) }, &[text]);
    let lost = "line 1: no op in front, but the change files before it had one; if that is right, write FEED op=never";
    fails(habit(Changes, "", true, "1,a\n"), lost);
    fails(habit(Changes, "header=True", true, "id,name\n1,a\n"), lost);
    let gained =
        "line 1: an op in front, but the full loads before it had none; if that is right, write FEED op=always";
    fails(habit(Snapshot, "", false, "I,1,a\n"), gained);
    fails(
        habit(Snapshot, "", true, "1,a\n"),
        "the full loads before it had one; if that is right, write FEED op=changes",
    );
    fails(
        habit(Changes, "", false, "I,1,a\n"),
        "the change files before it had none; if that is right, write FEED op=changes",
    );
    for (file, feed, had_op, text) in [
        (Changes, "op=never", true, "1,a\n"),
        (Snapshot, "op=always", false, "I,1,a\n"),
        (Snapshot, "op=changes", true, "1,a\n"),
        (Changes, "op=changes", false, "I,1,a\n"),
        (Changes, "", true, "I,1,a\n"),
        (Snapshot, "", false, "1,a\n"),
    ] {
        gives(habit(file, feed, had_op, text), &["0:1 Insert 1|a"]);
    }
}

#[test]
fn a_header_maps_columns_by_name() {
    gives(read(Snapshot, "header=True", "name,id\na,1\n"), &["0:2 Insert 1|a"]);
    gives(read(Snapshot, "header=True", "\u{feff}\"ID\",Name\r\n1,a\r\n2,b"), &["0:2 Insert 1|a", "0:3 Insert 2|b"]);
    gives(read(Changes, "header=True", "Op,name,id\nU,a,1\nD,NULL,2\n"), &["0:2 Update 1|a", "0:3 Delete 2|∅"]);
    gives(read(Changes, "header=True", "id,Op,name\n1,D,a\n"), &["0:2 Delete 1|a"]);
    let parts = ["Op,id,name\nI,1,a\n", "name,Op,id\n", "name,id,Op\nb,2,I\n"];
    gives(read_as(shape(Snapshot, "header=1", TABLE), &parts), &["0:2 Insert 1|a", "2:2 Insert 2|b"]);
    fails(read(Changes, "header=1", "id,Op,name\n1,X,a\n"), "line 2: field 2 is not an op (I, U or D)");
    fails(
        read(Changes, "header=1", "id,Op,name\n1,I\n"),
        "line 2: 2 fields where 3 were expected (2 columns and the op)",
    );
}

#[test]
fn parts_with_other_headers_are_refused() {
    let shape = || shape(Snapshot, "header=1 timestamp_column=ts before_image_prefix=BI_", TABLE);
    let parts = ["id,name,ts\n1,a,t\n", "id,name,BI_id\n2,b,2\n"];
    let words = "part 1: line 1: the header differs from that of the delivery's first file: it has BI_id, which the \
                 first lacks; the first has ts, which it lacks";
    fails(read_as(shape(), &parts), words);
    fails(read_as(shape(), &["id,name\n1,a\n", "id\n2\n"]), "part 1: line 1: the header differs from table dbo.e");
}

#[test]
fn a_first_row_that_looks_like_a_header_is_refused_until_feed_says_what_it_is() {
    let words = "part 0: line 1 looks like a header; write FEED header=True (or header=False if it is a row)";
    for text in ["id,name\n1,a\n", "NAME,ID\n", "Op,id,name\nI,1,a\n", "\"id\",\"name\"\n"] {
        fails(read(Changes, "", text), words);
    }
    fails(read(Changes, "timestamp_column=ts:first", "Op,ts,id,name\nI,t,1,a\n"), words);
    fails(read(Changes, "columns=id,-", "id,whatever\n1,a\n"), words);
    fails(read(Changes, "columns=name,id op=changes", "Op,name,id\nI,a,1\n"), words);
    fails(read_as(shape(Snapshot, "", TABLE), &["1,a\n", "id,name\n2,b\n"]), "part 1: line 1 looks like a header");
    gives(read(Snapshot, "header=False", "id,name\n"), &["0:1 Insert id|name"]);
    gives(read(Snapshot, "", "1,name\nid,name\n"), &["0:1 Insert 1|name", "0:2 Insert id|name"]);
}

#[test]
fn a_list_names_the_columns_that_a_file_does_not() {
    gives(read(Snapshot, "columns=name,-,id", "a,x,1\n"), &["0:1 Insert 1|a"]);
    gives(read(Changes, "columns=name,-,id", "U,a,x,1\n"), &["0:1 Update 1|a"]);
    gives(read(Changes, "columns=Op,ID", "U,1\nD,2\n"), &["0:1 Update 1|–", "0:2 Delete 2|–"]);
    gives(read(Snapshot, "columns='e:id;-,-'", "1\n"), &["0:1 Insert 1|–"]);
    gives(read(Snapshot, "columns='f:id'", "1,a\n"), &["0:1 Insert 1|a"]);
    gives(read(Snapshot, "columns=Op,name,id op=changes", "a,1\n"), &["0:1 Insert 1|a"]);
    gives(read(Changes, "columns=Op,name,id op=changes", "I,a,1\n"), &["0:1 Insert 1|a"]);
    gives(read(Snapshot, "columns=name,id op=always", "I,a,1\n"), &["0:1 Insert 1|a"]);
    gives(read(Snapshot, "columns=name,id header=True", "whatever,1,2,3\na,1\n"), &["0:2 Insert 1|a"]);
    fails(
        read(Snapshot, "columns=name,id,-", "a,1\n"),
        "line 1: 2 fields, but FEED columns= names 3 (3 fields, or 4 with",
    );
    fails(read(Snapshot, "columns=Op,name,id", "a,1\n"), "leave Op out of it or write FEED op=changes");
}

#[test]
fn a_list_that_does_not_fit_the_table_is_refused_with_all_that_is_wrong() {
    let words = "FEED columns= does not fit table dbo.e (id, name): the table lacks size, BI_size and Op; it names name \
                 twice; it lacks id of the table's key. Mend it, then `deliveries retry`";
    fails(read(Changes, "before_image_prefix=BI_ columns=name,size,NAME,BI_size,BI_id,Op", "1\n"), words);
    fails(read(Changes, "before_image_prefix=BI_ columns=id,BI_id,BI_ID", "1,1,1\n"), "it names id twice");
    fails(read(Changes, "columns=id,BI_id", "1,1\n"), "the table lacks BI_id");
}

#[test]
fn before_images_say_what_was() {
    let feed = "before_image_prefix=BI_ no_supply=? header=True";
    let text = "Op,id,name,BI_id,BI_name,BI_gone\nU,2,b,1,a,x\nU,2,c,2,?,x\nI,3,d,NULL,NULL,x\n";
    let wanted = ["0:2 Update 2|b was 1|a", "0:3 Update 2|c was 2|", "0:4 Insert 3|d was ∅|∅"];
    gives(read(Changes, feed, text), &wanted);
    let feed = "before_image_prefix=BI_ columns=Op,id,name,BI_id";
    gives(read(Changes, feed, "U,2,b,1\n"), &["0:1 Update 2|b was 1|"]);
}

#[test]
fn a_before_image_in_a_row_of_its_own_belongs_to_the_update_behind_it() {
    let text =
        "header__change_seq,header__change_oper,id,name\n0,I,1,a\n1,B,1,\"say \"\"a\"\"\"\n1,U,2,b\n2,U,3,c\n3,D,4,d\n";
    let wanted = ["0:2 Insert 1|a", "0:4 Update 2|b was 1|say \"a\"", "0:5 Update 3|c", "0:6 Delete 4|d"];
    gives(read(Changes, "header=True", text), &wanted);
    let listed = "columns=-,header__change_oper,id,name";
    gives(read(Changes, listed, "1,B,1,a\n1,U,2,b\n"), &["0:2 Update 2|b was 1|a"]);
    fails(
        read(Changes, "header=True", "Op,id,name\nB,1,a\nU,2,b\n"),
        "line 2: the first field is not an op (I, U or D)",
    );
    fails(read(Changes, listed, "1,X,1,a\n"), "line 1: field 2 is not an op (I, U, D or B)");
    fails(read(Snapshot, listed, "1,B,1,a\n"), "line 1: field 2 is not an op");
}

#[test]
fn what_is_not_supplied_is_no_fault_in_a_change_file() {
    gives(
        read(Changes, "no_supply=?", "U,1,?\nU,2,\"?\"\nU,3,\n"),
        &["0:1 Update 1|–", "0:2 Update 2|?", "0:3 Update 3|"],
    );
    gives(read(Snapshot, "no_supply=?", "1,\"?\"\n"), &["0:1 Insert 1|?"]);
    fails(read(Snapshot, "no_supply=?", "1,a\n2,?\n"), "line 2, column name: not supplied, in a full load");
}

#[test]
fn a_timestamp_column_stands_where_feed_says_and_is_loaded_if_the_table_has_it() {
    let with = |file, feed: &str, columns: &str, text| read_as(shape(file, feed, columns), &[text]);
    for columns in [TABLE, "id*,ts,name'", "id*,name',TS"] {
        let cells = match columns {
            TABLE => "1|a",
            "id*,ts,name'" => "1|t|a",
            _ => "1|a|t",
        };
        let (insert, update) = (format!("0:1 Insert {cells}"), format!("0:1 Update {cells}"));
        gives(with(Snapshot, "timestamp_column=ts:first", columns, "t,1,a\n"), &[&insert]);
        gives(with(Changes, "timestamp_column=ts:first", columns, "U,t,1,a\n"), &[&update]);
        gives(with(Snapshot, "timestamp_column=ts:last", columns, "1,a,t\n"), &[&insert]);
        gives(with(Changes, "timestamp_column=ts:last", columns, "U,1,a,t\n"), &[&update]);
        gives(with(Changes, "timestamp_column=ts columns=ts,name,id", columns, "U,t,a,1\n"), &[&update]);
        let update = format!("0:2 Update {cells}");
        gives(with(Changes, "timestamp_column=ts header=1", columns, "Op,ts,name,id\nU,t,a,1\n"), &[&update]);
    }
    fails(
        read(Snapshot, "timestamp_column=ts:last", "1,a\n"),
        "2 columns to fill and a timestamp column to pass over (3 fields",
    );
    fails(read(Snapshot, "timestamp_column=ts columns=f:id,ts", "1,a\n"), "has no place in the files of table dbo.e");
}

#[test]
fn delimiters_and_quotes_are_as_feed_says() {
    gives(read(Changes, "delimiter=||", "U||1||\"a||b\"\nU||2||a|b\n"), &["0:1 Update 1|a||b", "0:2 Update 2|a|b"]);
    gives(read(Snapshot, r"delimiter=\x01\x02", "1\u{1}\u{2}a\n"), &["0:1 Insert 1|a"]);
    gives(
        read(Snapshot, "rfc4180=False", "1,\"a\r\n2,\"\"\r\n3,\"NULL\"\n4,NULL\n"),
        &["0:1 Insert 1|\"a", "0:2 Insert 2|\"\"", "0:3 Insert 3|\"NULL\"", "0:4 Insert 4|∅"],
    );
    fails(read(Snapshot, "rfc4180=False", "1,\"a,b\"\n"), "line 1: 3 fields");
}

/// Walks on after each error of a row, as in quarantine: what was given, and what was refused, where.
fn walk(shape: Shape, parts: &[&'static str]) -> (Vec<String>, Vec<String>, Option<Error>) {
    let mut rows = rows(Texts(parts.iter()), Shape { keep_raw: true, ..shape });
    let (mut given, mut refused) = (Vec::new(), Vec::new());
    assert_eq!(rows.has_op(), None, "before the first row");
    loop {
        match rows.next_row() {
            Ok(Some(row)) => given.push(String::from_utf8_lossy(row.raw()).into_owned()),
            Ok(None) => {
                assert_eq!(rows.counted().load(Ordering::Relaxed), given.len() as u64);
                return (given, refused, None);
            }
            Err(error) if error.of_the_row() => {
                let (part, line) = rows.place();
                assert_eq!(part, error.part);
                let raw = String::from_utf8_lossy(rows.raw()).into_owned();
                refused.push(format!("{part}:{line} {raw} [{}]", error.column().unwrap_or_default()));
            }
            Err(error) => return (given, refused, Some(error)),
        }
    }
}

#[test]
fn a_row_that_is_refused_is_walked_past() {
    let shape = |file, feed: &str| shape(file, feed, TABLE);
    let text = "I,1,\"say \"\"a\"\"\"\r\n2,\"b\nc\"\nX,3,\"\"\"\"\nU,4,d\n";
    let (given, refused, end) = walk(shape(Changes, ""), &[text]);
    assert_eq!((given.join(" "), end.is_none()), ("I,1,\"say \"\"a\"\"\" U,4,d".to_owned(), true));
    assert_eq!(refused, ["0:2 2,\"b\nc\" []", "0:4 X,3,\"\"\"\" []"]);
    let (given, refused, end) =
        walk(shape(Snapshot, "no_supply=? op=always"), &["U,1,a\nI,2,?\nI,3,c\n", "I,4,\nD,5,e"]);
    assert_eq!((given.join(" "), end.is_none()), ("I,3,c I,4,".to_owned(), true));
    assert_eq!(refused, ["0:1 U,1,a []", "0:2 I,2,? [name]", "1:2 D,5,e []"]);
    let (_, refused, _) = walk(shape(Changes, "header=True"), &["Op,id,name\nI,1\nI,2,b\n"]);
    assert_eq!(refused, ["0:2 I,1 []"], "the header decides how wide a row is");
}

#[test]
fn a_before_image_without_its_update_is_walked_past_and_nothing_else() {
    let shape = || shape(Changes, "columns=header__change_oper,id,name", TABLE);
    let (given, refused, end) = walk(shape(), &["B,1,a\nI,2,b\nB,3,c\nB,4,d\nU,5,e\nB,6,\"f\"\n", "D,7,g\nB,8,h"]);
    assert!(end.is_none());
    assert_eq!(given, ["I,2,b", "U,5,e", "D,7,g"]);
    assert_eq!(refused, ["0:1 B,1,a []", "0:3 B,3,c []", "0:6 B,6,\"f\" []", "1:2 B,8,h []"]);
    fails(read_as(shape(), &["B,1,a\nI,2,b\n"]), "line 1: a before-image (op B) that no update (op U) follows");
    // bad records behind them: each is refused on its own
    let (given, refused, end) = walk(shape(), &["B,1,a\nX,2,b\nB,3,c\nU,4\nB,5,e\nB,6,f\nU,7,g\n"]);
    assert!(end.is_none());
    assert_eq!(given, ["U,7,g"]);
    assert_eq!(refused, ["0:1 B,1,a []", "0:2 X,2,b []", "0:3 B,3,c []", "0:4 U,4 []", "0:5 B,5,e []"]);
}

#[test]
fn what_the_first_row_decides_is_the_files_fault() {
    for (feed, text) in [("", "1\n2,b\n"), ("", "X,1,a\n"), ("", "1,\"a"), ("header=1", "id\n1\n")] {
        let (given, refused, end) = walk(shape(Changes, feed, TABLE), &[text]);
        assert!(given.is_empty() && refused.is_empty() && end.is_some(), "{feed} {text:?}");
    }
    let error = walk(shape(Changes, "", TABLE), &["1\n"]).2.expect("it decides").to_string();
    assert!(error.ends_with(
        "If only this row is bad: with FEED op= it is kept aside like others; without, the first row decides"
    ));
}

#[test]
fn a_first_row_where_the_width_is_known_is_a_row_like_any_other() {
    for (feed, had_op, text) in [
        ("op=always", None, "1,a\nI,2,b\n"),
        ("op=changes", None, "I,1\nI,2,b\n"),
        ("columns=Op,id,name", None, "I,1\nI,2,b\n"),
        ("columns=id,name", Some(true), "I,1,a,b\nI,2,b\n"),
        ("columns=id,name", Some(true), "I,1\nI,2,b\n"),
        ("columns=id,name", Some(true), "X,1,a\nI,2,b\n"),
        ("columns=id,name", Some(false), "I\n2,b\n"),
        ("columns=id,name", Some(false), "1,a,b\n2,b\n"),
    ] {
        let (given, refused, end) = walk(Shape { had_op, ..shape(Changes, feed, TABLE) }, &[text]);
        assert_eq!((given.len(), refused.len(), end.is_none()), (1, 1, true), "{feed} {had_op:?} {text:?}");
    }
    // what may be another table or another habit is the file's fault all the same
    for (feed, had_op, text) in [
        ("", Some(true), "I,1\n"),
        ("columns=id,name", None, "I,1\n"),
        ("columns=id,name", Some(false), "I,1\n"),
        ("columns=id,name", Some(true), "1,a\n"),
        ("columns=id,name", Some(false), "I,1,a\n"),
    ] {
        let (given, refused, end) = walk(Shape { had_op, ..shape(Changes, feed, TABLE) }, &[text]);
        assert!(given.is_empty() && refused.is_empty() && end.is_some(), "{feed} {had_op:?} {text:?}");
    }
    let (given, refused, end) = walk(shape(Snapshot, "", TABLE), &["1,a\n", "2\n3,c\n"]);
    assert_eq!((given.len(), refused.len(), end.is_none()), (2, 1, true), "a later part of a load");
    let error = read_as(shape(Changes, "op=always", TABLE), &["1,a\n"]).expect_err("no quarantine");
    assert!(error.contains("drop it from the table"), "what may be done about the table is said: {error}");
}

#[test]
fn whether_there_is_an_op_is_known_from_the_first_row_on() {
    for (feed, text, wanted) in [
        ("", "I,1,a\n", Some(true)),
        ("", "1,a\n", Some(false)),
        ("header=1", "id,Op,name\n1,I,a\n", Some(true)),
        ("header=1", "id,name\n1,a\n", Some(false)),
        ("header=1", "id,name\n", None),
    ] {
        let parts = [text];
        let mut rows = rows(Texts(parts.iter()), shape(Changes, feed, TABLE));
        assert_eq!(rows.has_op(), None);
        while rows.next_row().expect("good").is_some() {}
        assert_eq!(rows.has_op(), wanted, "{feed} {text:?}");
    }
}

#[test]
fn the_first_row_may_have_as_many_fields_as_its_limit() {
    let limited = |feed: &str, most| {
        let mut shape = shape(Snapshot, feed, "a*,b,c");
        shape.dialect.limits.max_fields = most;
        read_as(shape, &["a,b,c\n1,2,3\n"])
    };
    assert_eq!(limited("header=True", 3).map(|rows| rows.len()), Ok(1));
    fails(limited("header=True", 2), "line 1: too large: the row has more fields than LIMITS max_fields=2");
    fails(limited("header=False", 2), "line 1: too large");
}

#[test]
fn an_object_whose_size_is_known_is_refused_before_it_is_read() {
    struct Never;
    impl Read for Never {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("it was read"))
        }
    }
    struct Huge(u64);
    impl Parts for Huge {
        type Bytes = Never;
        fn next_part(&mut self) -> io::Result<Option<(Never, bool)>> {
            Ok(Some((Never, true)))
        }
        fn size(&self) -> Option<u64> {
            Some(self.0)
        }
    }
    let error = |size| rows(Huge(size), shape(Snapshot, "", TABLE)).next_row().map(|_| ()).expect_err("either");
    let huge = error((1 << 40) + 1);
    assert!(huge.of_the_world().is_none() && !huge.of_the_row());
    assert!(
        huge.to_string()
            .starts_with("too large: the object has 1099511627777 bytes, more than LIMITS max_object=1TiB.")
    );
    assert!(error(1 << 40).of_the_world().is_some_and(|world| world.to_string() == "it was read"));
}

#[test]
fn a_cr_before_a_line_end_is_the_cells_where_rows_end_with_lf() {
    gives(
        read(Snapshot, "", "1,a\n2,b\r\n3,\"c\"\r\n4,\r\n"),
        &["0:1 Insert 1|a", "0:2 Insert 2|b\r", "0:3 Insert 3|c", "0:4 Insert 4|\r"],
    );
    gives(read(Snapshot, "", "1,a\r\n2,b\n3,c\r"), &["0:1 Insert 1|a", "0:2 Insert 2|b", "0:3 Insert 3|c\r"]);
    gives(read(Snapshot, "rfc4180=False", "1,a\n2,b\r\n"), &["0:1 Insert 1|a", "0:2 Insert 2|b\r"]);
}

#[test]
fn one_blank_line_at_the_end_is_no_row() {
    for end in ["\n", "\r\n"] {
        let text = format!("1,a{end}2,b{end}{end}").leak();
        gives(read(Snapshot, "", text), &["0:1 Insert 1|a", "0:2 Insert 2|b"]);
    }
    fails(read(Snapshot, "", "1,a\n\n\n"), "line 2: 1 fields where 2 were expected");
    fails(read(Snapshot, "", "1,a\n\n2,b\n"), "line 2: 1 fields where 2 were expected");
    let one = |text| read_as(shape(Snapshot, "", "name'"), &[text]);
    gives(one("a\n\n"), &["0:1 Insert a", "0:2 Insert "]);
}

#[test]
fn the_empty_word_is_null_in_texts_that_may_be_null() {
    let all = |feed| read_as(shape(Snapshot, feed, "id*,a!',b',c"), &["1,,,\n2,\"\",\"\",7\n3,NULL,NULL,0000-00-00\n"]);
    gives(all("null=''"), &["0:1 Insert 1||∅|∅", "0:2 Insert 2|||7", "0:3 Insert 3|NULL|NULL|0000-00-00"]);
    gives(all("null='' null=0000-00-00"), &["0:1 Insert 1||∅|∅", "0:2 Insert 2|||7", "0:3 Insert 3|NULL|NULL|∅"]);
    gives(all(""), &["0:1 Insert 1|||∅", "0:2 Insert 2|||7", "0:3 Insert 3|∅|∅|0000-00-00"]);
}

#[test]
fn a_header_may_leave_out_what_the_table_fills_and_not_what_it_generates() {
    let with = |text| read_as(shape(Snapshot, "header=True", "id*,name',loaded_at+"), &[text]);
    gives(with("name,id\na,1\n"), &["0:2 Insert 1|a|–"]);
    fails(with("id,loaded_at\n1,2\n"), "the table has name, which the file lacks");
    fails(with("id,name,loaded_at,total\n1,a,2,3\n"), "total, which the table generates and no file can fill");
    let key = |text| read_as(shape(Snapshot, "header=True", "id*+,name'"), &[text]);
    fails(key("name\na\n"), "the table has id, which the file lacks");
}
