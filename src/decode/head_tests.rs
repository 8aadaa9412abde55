//! Names become roles: headers and lists of every kind against tables of every kind.

use super::Role::{Before, Column as Col, Op, Passed};
use super::*;
use crate::decode::tests::shape;

const FEED: &str = "header=True timestamp_column=ts before_image_prefix=BI_";

fn header(file: File, feed: &str, columns: &str, names: &str) -> Result<Vec<Role>, String> {
    let names: Vec<String> = names.split(',').map(str::to_owned).collect();
    from_header(&shape(file, feed, columns), 1, &names).map_err(|flaw| flaw.to_string())
}

fn op() -> Role {
    Op { befores: false }
}

#[test]
fn names_find_their_columns() {
    let cases: [(&str, &str, Vec<Role>); 8] = [
        ("id*,name", "name,id", vec![Col(1), Col(0)]),
        ("id*,name", "Op,ID,Name", vec![op(), Col(0), Col(1)]),
        ("id*,ID", "ID,id", vec![Col(1), Col(0)]),
        ("id*,Straße", "id,STRASSE", vec![]),
        ("id*,Größe", "id,GRÖSSE", vec![]),
        ("id*,grün", "id,GRÜN", vec![Col(0), Col(1)]),
        ("id*", "Op,ts,id,BI_id,BI_other,header__stream", vec![op(), Passed, Col(0), Before(0), Passed, Passed]),
        ("id*,ts,BI_id,header__x", "id,ts,BI_id,header__x", vec![Col(0), Col(1), Col(2), Col(3)]),
    ];
    for (columns, names, wanted) in cases {
        let got = header(File::Changes, FEED, columns, names);
        assert_eq!(got.as_ref().ok(), Some(&wanted).filter(|wanted| !wanted.is_empty()), "{columns}: {names}: {got:?}");
    }
}

#[test]
fn drift_names_all_differences_at_once() {
    let drift = |columns, names| header(File::Changes, FEED, columns, names).expect_err(names);
    assert_eq!(
        drift("id*,price,old,older", "Op,id,colour,size,Id"),
        "line 1: the header differs from table dbo.e: the file has colour, size and Id, which the table lacks; the table has price, \
         old and older, which the file lacks. Add or drop the columns (alter table), or name the file's columns with FEED columns=, then \
         `deliveries retry`"
    );
    assert!(
        drift("id*,price", "id,price,colour").contains("table dbo.e: the file has colour, which the table lacks. Add")
    );
    assert!(drift("id*,price", "id").contains("table dbo.e: the table has price, which the file lacks. Add"));
    assert!(drift("id*,ts", "id").contains("the table has ts, which the file lacks"), "the table wants it");
    assert!(drift("id*,name", "id,name,bi_id").contains("the file has bi_id"), "prefixes count as they are written");
}

#[test]
fn where_few_names_are_known_the_others_are_told_by_their_places() {
    let error = |columns, names| header(File::Snapshot, "header=True", columns, names).expect_err(names);
    assert!(
        error("id*,name,price", "secret,name,1").contains(": the file has field 1 and field 3, which the table lacks;")
    );
    assert!(error("id*,name,price", "secret,name,secret").contains(": the header has field 1 twice."));
    assert!(error("id*,name,price", "name,name,secret,secret").contains(": the header has name and field 3 twice."));
    assert!(error("id*,name,price", "id,secret").contains("the file has field 2, which"), "one of two");
    assert!(error("id*,name,price", "id,name,colour,colour,price").contains(": the header has colour twice."));
}

#[test]
fn what_is_no_header_is_not_repeated() {
    for (feed, row) in [(FEED, "42,secret"), (FEED, "42,secret,42"), ("header=True op=always", "42,secret")] {
        let error = header(File::Snapshot, feed, "id*,name", row).expect_err("a row");
        let words = "line 1: no header: no column of table dbo.e (id, name) is named in it. Write FEED header=False";
        assert!(error.starts_with(words), "{error}");
        assert!(!error.contains("42") && !error.contains("secret"), "{error}");
    }
}

#[test]
fn names_that_come_twice_are_refused() {
    let error = header(File::Changes, FEED, "id*,name", "id,name,name,x,x,id").expect_err("twice");
    assert!(error.starts_with("line 1: the header has id, name and x twice. Name"), "{error}");
    let error = header(File::Changes, FEED, "id*", "Op,id,Op,Op").expect_err("two more");
    assert!(error.contains("has Op twice"), "{error}");
}

#[test]
fn an_op_in_the_header_is_where_the_rule_says() {
    let with = |file, rule: &str, columns, names| header(file, &format!("header=True op={rule}"), columns, names);
    for (file, rule, has) in [
        (File::Changes, "auto", None),
        (File::Snapshot, "auto", None),
        (File::Changes, "always", Some(true)),
        (File::Snapshot, "always", Some(true)),
        (File::Changes, "changes", Some(true)),
        (File::Snapshot, "changes", Some(false)),
        (File::Changes, "never", Some(false)),
        (File::Snapshot, "never", Some(false)),
    ] {
        let (without, named) = (with(file, rule, "id*", "id"), with(file, rule, "id*", "Op,id"));
        assert_eq!(without.is_ok(), has != Some(true), "{file:?} {rule}: {without:?}");
        assert_eq!(named.is_ok(), has != Some(false), "{file:?} {rule}: {named:?}");
        let error = without.err().or(named.err()).unwrap_or_default();
        assert!(has.is_none() || error.contains(&format!("but FEED op={rule} says that it has")), "{error}");
    }
}

#[test]
fn a_table_may_have_a_column_called_op() {
    let with = |rule: &str, names| header(File::Changes, &format!("header=True op={rule}"), "id*,op", names).ok();
    assert_eq!(with("auto", "id,op"), Some(vec![Col(0), Col(1)]));
    assert_eq!(with("auto", "Op,id,op"), Some(vec![op(), Col(0), Col(1)]));
    assert_eq!(with("auto", "Op,id,Op"), Some(vec![op(), Col(0), Col(1)]));
    assert_eq!(with("never", "id,Op"), Some(vec![Col(0), Col(1)]));
    assert_eq!(with("always", "Op,id"), None, "the table's own is lacking");
}

#[test]
fn qliks_op_column_knows_before_images() {
    let qlik = |columns, names| header(File::Changes, "header=True", columns, names);
    assert_eq!(
        qlik("id*", "header__change_seq,header__change_oper,id"),
        Ok(vec![Passed, Op { befores: true }, Col(0)])
    );
    assert_eq!(qlik("id*,header__change_oper", "header__change_oper,id"), Ok(vec![Col(1), Col(0)]));
}

#[test]
fn only_exactly_the_columns_look_like_a_header() {
    let looks = |feed: &str, names: &str| {
        let names: Vec<String> = names.split(',').map(str::to_owned).collect();
        looks_like_header(&shape(File::Changes, feed, "id*,name"), &names)
    };
    for names in ["id,name", "Op,id,name", "op,name,id", "NAME,id"] {
        assert!(looks("", names), "{names}");
    }
    for names in ["id", "id,name,x", "1,name", "I,id,name", "id,Op,name", ""] {
        assert!(!looks("", names), "{names}");
    }
    assert!(!looks("columns=id,-,-", "1,id,name"), "passed over is anything, but a column must have its name");
    assert!(!looks("columns='id;f:-'", "x"));
}
