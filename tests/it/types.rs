//! Every type that a column can have, with Postgres as the oracle: what the loader makes of a cell is what Postgres makes
//! of the same text in an `insert`. (`xml` is missing because the tests' server is built without it.)

use crate::support::World;
use crate::support::program::run_once;

/// A type as SQL names it, and texts of it. No two of them are equal.
const TYPES: [(&str, &[&str]); 77] = [
    // with an encoder of their own
    ("boolean", &["t", "f"]),
    ("smallint", &["1", "-32768", "32767"]),
    ("integer", &["1", "-2147483648"]),
    ("bigint", &["1", "9223372036854775807"]),
    ("real", &["1.5", "-1e-3", "NaN", "Infinity"]),
    ("double precision", &["1.5", "-1e-300", "NaN", "-Infinity"]),
    ("numeric", &["1.50", "-0.000001", "NaN", "Infinity", "12345678901234567890123456789012345678.5"]),
    ("numeric(38,10)", &["1.5", "-9999999999999999999999999999.9999999999"]),
    ("text", &["a", "ä \"quoted\", and\nmore", "", "\\N"]),
    ("varchar(5)", &["a", "äöü", ""]),
    ("char(5)", &["a", "äöü"]),
    ("date", &["2024-02-29", "infinity", "0044-03-15 BC"]),
    ("time", &["00:00:00", "23:59:59.123456"]),
    ("time(2)", &["00:00:00", "23:59:59.12"]),
    ("timestamp", &["2024-02-29 12:00:00.000001", "-infinity"]),
    ("timestamptz", &["2024-02-29 12:00:00+05:30", "2024-02-29 12:00:00"]),
    ("uuid", &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000"]),
    ("json", &[r#"{"a": 1}"#, "[1,  2]"]),
    ("jsonb", &[r#"{"a": 1, "b": [null]}"#, "[1, 2]"]),
    // by Postgres' own text input
    ("inet", &["192.168.0.1/24", "::1", "10.0.0.1"]),
    ("cidr", &["192.168.0.0/24", "2001:db8::/32"]),
    ("macaddr", &["08:00:2b:01:02:03", "08002b-010204"]),
    ("macaddr8", &["08:00:2b:01:02:03:04:05"]),
    ("bit(3)", &["101", "000"]),
    ("bit varying(5)", &["101", "", "11111"]),
    ("bit varying", &["1", "0101010101"]),
    ("money", &["12.34", "-$1,000.00"]),
    ("tsvector", &["a fat cat", "'x':1A 'y':2"]),
    ("tsquery", &["fat & rat", "!a"]),
    ("interval", &["1 day", "1 mon -3 days 04:05:06.789", "P1Y2M"]),
    ("interval(2)", &["1.25 s", "1 day"]),
    ("interval year to month", &["1 year 2 mons", "3 mons"]),
    ("timetz", &["12:00:00+02", "12:00:00.5-03:30"]),
    ("timetz(1)", &["12:00:00.1+02", "12:00:00+00"]),
    ("point", &["(1,2)", "(-1.5,0)"]),
    ("line", &["{1,2,3}", "{0,1,5}"]),
    ("lseg", &["[(0,0),(1,1)]", "[(2,2),(3,3)]"]),
    ("box", &["(1,1),(0,0)", "(9,9),(5,5)"]),
    ("path", &["[(0,0),(1,1)]", "((0,0),(1,1),(2,0))"]),
    ("polygon", &["((0,0),(1,1),(2,0))", "((0,0),(5,1),(2,0))"]),
    ("circle", &["<(0,0),1>", "<(1,1),2>"]),
    ("int4range", &["[1,5)", "empty", "(,7]", "[8,)"]),
    ("int8range", &["[1,5]", "(,)"]),
    ("numrange", &["[1.50,2)", "(0.1,0.2)"]),
    ("daterange", &["[2024-01-01,2024-02-01)", "[2024-03-01,)"]),
    ("tsrange", &["[2024-01-01 10:00,2024-01-01 11:00)", "empty"]),
    ("tstzrange", &["[2024-01-01 10:00+02,2024-01-01 11:00+02)", "(,2024-01-01 11:00]"]),
    ("int4multirange", &["{[1,3),[5,9)}", "{}"]),
    ("tstzmultirange", &["{[2024-01-01 10:00,2024-01-01 11:00)}", "{}"]),
    ("integer[]", &["{1,2,NULL}", "{}", "{{1,2},{3,4}}", "[2:3]={7,8}"]),
    ("text[]", &[r#"{a,"b, c",NULL,"NULL","\"q\""}"#, "{}"]),
    ("numeric(6,2)[]", &["{1.5,2.25}", "{0.10}"]),
    ("varchar(3)[]", &["{abc,d}", "{}"]),
    ("timestamptz[]", &[r#"{"2024-01-01 00:00:00+01"}"#, r#"{"2024-01-01 00:00:00"}"#]),
    ("jsonb[]", &[r#"{"{\"a\": 1}"}"#, "{null}"]),
    ("json[]", &[r#"{"{\"a\": 1}"}"#, "{}"]),
    ("inet[]", &["{10.0.0.1,::1}", "{}"]),
    ("mood[]", &["{happy,sad}", "{so so}"]),
    ("positive[]", &["{1,2}", "{3}"]),
    ("pair[]", &[r#"{"(1,a)","(2,\"b c\")"}"#, "{}"]),
    ("mood", &["happy", "sad", "so so"]),
    ("positive", &["1", "999"]),
    ("small_positive", &["1", "99"]),
    ("short_inet", &["10.0.0.1", "::1"]),
    ("price", &["1.50", "2.25"]),
    ("pair", &["(1,a)", r#"(,"b, c")"#]),
    ("name", &["a", "A name"]),
    ("\"char\"", &["a", "b"]),
    ("oid", &["1", "4294967295"]),
    ("xid8", &["1", "18446744073709551615"]),
    ("pg_lsn", &["16/B374D848", "0/0"]),
    ("regtype", &["integer", "text"]),
    ("jsonpath", &["$.a[*] ? (@ > 1)", "$"]),
    ("int2vector", &["1 2 3", "4"]),
    ("bytea[]", &[r#"{"\\x01ff"}"#, "{}"]),
    ("uuid[]", &["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", "{}"]),
    ("date[]", &["{2024-02-29,infinity}", "{}"]),
];

async fn world() -> World {
    let world = World::new().await;
    let types = "create schema dbo;
        create type mood as enum ('sad', 'so so', 'happy');
        create domain positive as integer check (value > 0);
        create domain small_positive as positive check (value < 100);
        create domain short_inet as inet check (length(value::text) < 12);
        create domain price as numeric(6, 2);
        create type pair as (a integer, b text);";
    world.sql(types).await;
    for (number, (name, texts)) in TYPES.iter().enumerate() {
        let table = format!("create table dbo.t{number} (id integer primary key, v {name})");
        world.sql(&format!("{table}; create table oracle{number} (id integer primary key, v {name})")).await;
        for (id, text) in texts.iter().enumerate() {
            world.sql(&format!("insert into oracle{number} values ({id}, {})", literal(text))).await;
        }
        world.sql(&format!("insert into oracle{number} values (100, null)")).await;
    }
    world
}

pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A full load of the texts, the first one at the id `turn`.
fn load(texts: &[&str], turn: usize) -> String {
    let row = |id: usize| format!("{id},{}\n", quoted(texts[(id + turn) % texts.len()]));
    (0..texts.len()).map(row).collect::<String>() + "100,NULL\n"
}

/// The tables whose rows are not those of the oracle.
async fn differences(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, (name, _)) in TYPES.iter().enumerate() {
        let query = format!(
            "select o.id, o.v::text, e.v::text from oracle{number} o full join dbo.t{number} e using (id)
             where o.v::text is distinct from e.v::text or o.id is null or e.id is null"
        );
        wrong.extend(world.rows(&query).await.into_iter().map(|row| format!("{name}: {row}")));
    }
    wrong
}

#[tokio::test]
async fn every_type_goes_in_as_postgres_reads_it() {
    let world = world().await;
    for (number, (_, texts)) in TYPES.iter().enumerate() {
        world.bucket.put(&format!("t{number}/LOAD00000001.csv.gz"), &load(texts, 0)).await;
    }
    run_once(&world).await.ok();
    assert_eq!(differences(&world).await, Vec::<String>::new(), "a first load");

    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    for (number, (_, texts)) in TYPES.iter().enumerate() {
        world.bucket.put(&format!("t{number}/LOAD00000001.csv.gz"), &load(texts, 0)).await;
    }
    run_once(&world).await.ok();
    let touched = "select entity, rows_amend, rows_create, rows_remove from loader_deliveries
        where generation = 2 and rows_amend + rows_create + rows_remove > 0";
    assert_eq!(world.rows(touched).await, Vec::<String>::new(), "the same again changes nothing");

    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    for (number, (_, texts)) in TYPES.iter().enumerate() {
        world.bucket.put(&format!("t{number}/LOAD00000001.csv.gz"), &load(texts, 1)).await;
    }
    run_once(&world).await.ok();
    let amended = world.rows("select entity, rows_amend from loader_deliveries where generation = 3").await;
    for (number, (name, texts)) in TYPES.iter().enumerate() {
        let differ = if texts.len() > 1 { texts.len() } else { 0 };
        assert!(amended.contains(&format!("t{number}|{differ}")), "{name}: {amended:?}");
    }

    for (number, (_, texts)) in TYPES.iter().enumerate() {
        let rows: String = (0..texts.len()).map(|id| format!("U,{id},{}\n", quoted(texts[id]))).collect();
        world.bucket.put(&format!("t{number}/20991231-235900000.csv.gz"), &rows).await;
    }
    run_once(&world).await.ok();
    assert_eq!(differences(&world).await, Vec::<String>::new(), "a change file");
}

/// The driver looks types up that it does not know, on the connection whose answer it holds back: that must not happen.
#[tokio::test]
async fn many_rows_of_a_type_of_ones_own_come_through() {
    let world = world().await;
    world.sql("create table dbo.many (id integer primary key, m mood, p pair)").await;
    let rows = |op: &str, mood: &str| {
        (0..30_000).map(|id| format!("{op}{id},{mood},\"({id},some text to make it long)\"\n")).collect::<String>()
    };
    world.bucket.put("many/LOAD00000001.csv.gz", &rows("", "sad")).await;
    world.bucket.put("many/20991231-235900000.csv.gz", &rows("U,", "happy")).await;
    let ended = tokio::time::timeout(std::time::Duration::from_secs(60), run_once(&world)).await;
    let effects = ["many (create: 30000, amend: 0, remove: 0).", "many (create: 0, amend: 30000, remove: 0)."];
    assert_eq!(ended.expect("it does not hang").ok().effects(), effects);
}

#[tokio::test]
async fn what_no_type_reads_is_named_by_its_column_and_not_shown() {
    let bad: Vec<_> = TYPES.iter().enumerate().filter(|(_, (name, _))| is_asked(name)).collect();
    let world = world().await;
    for (number, (_, texts)) in &bad {
        let text = format!("0,{}\n1,\"hunter2 is no <value\"\n", quoted(texts[0]));
        world.bucket.put(&format!("t{number}/LOAD00000001.csv.gz"), &text).await;
    }
    let ended = run_once(&world).await;
    assert_eq!(ended.code, 1);
    assert!(!ended.log.contains("hunter2"), "{}", ended.log);
    let errors = world.rows("select entity, error from loader_deliveries").await;
    for (number, (name, _)) in bad {
        let error = errors.iter().find(|error| error.starts_with(&format!("t{number}|"))).expect("a row");
        assert!(error.contains("line 2, column v: no value of "), "{name}: {error}");
        assert_eq!(world.value(&format!("select count(*) from dbo.t{number}")).await, "0", "{name}");
    }
}

/// Types that go by Postgres' text input, and that refuse some texts.
fn is_asked(name: &str) -> bool {
    let from = TYPES.iter().position(|(name, _)| *name == "inet").expect("inet");
    let takes_anything =
        ["tsvector", "name", "\"char\"", "text[]", "price", "positive", "small_positive", "regtype", "tsquery"];
    TYPES[from..].iter().any(|(other, _)| *other == name) && !takes_anything.contains(&name)
}

#[tokio::test]
async fn keys_of_types_without_an_encoder_are_merged_in_the_order_of_their_bytes() {
    let kinds: [(&str, &[&str]); 7] = [
        ("mood", &["happy", "sad", "so so"]),
        ("inet", &["10.0.0.1", "::1", "10.0.0.0/8", "9.9.9.9"]),
        ("int4range", &["[1,5)", "empty", "(,7]", "[8,)"]),
        ("bit varying(5)", &["101", "0", "11111", "1"]),
        ("timetz", &["12:00:00+02", "10:00:00+00", "12:00:00-03"]),
        ("pg_lsn", &["16/B374D848", "0/0", "F/0"]),
        ("short_inet", &["10.0.0.1", "::1"]),
    ];
    let world = world().await;
    for (number, (name, _)) in kinds.iter().enumerate() {
        world.sql(&format!("create table dbo.k{number} (k {name}, n integer, v text, primary key (n, k))")).await;
    }
    let rows = |texts: &[&str], value: &str| {
        texts.iter().map(|text| format!("{},1,{value}\n", quoted(text))).collect::<String>()
    };
    for (number, (_, texts)) in kinds.iter().enumerate() {
        world.bucket.put(&format!("k{number}/LOAD00000001.csv.gz"), &rows(texts, "a")).await;
        world
            .bucket
            .put(&format!("k{number}/20991231-235900000.csv.gz"), &format!("D,{},1,\n", quoted(texts[0])))
            .await;
    }
    run_once(&world).await.ok();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    for (number, (_, texts)) in kinds.iter().enumerate() {
        let mut turned = texts.to_vec();
        turned.reverse();
        world.bucket.put(&format!("k{number}/LOAD00000001.csv.gz"), &rows(&turned, "a")).await;
    }
    run_once(&world).await.ok();
    for (number, (name, texts)) in kinds.iter().enumerate() {
        let ledger = world
            .rows(&format!(
                "select rows_create, rows_amend, rows_remove, rows_unchanged from loader_deliveries
                 where entity = 'k{number}' order by id"
            ))
            .await;
        let all = texts.len();
        assert_eq!(ledger, [format!("{all}|0|0|0"), "0|0|1|0".into(), format!("1|0|0|{}", all - 1)], "{name}");
    }
}

#[tokio::test]
async fn a_table_that_cannot_be_loaded_says_why() {
    let world = world().await;
    world
        .sql(
            "create table dbo.a (k interval primary key);
             create table dbo.b (k text collate \"C\" primary key);
             create table dbo.d (id integer primary key, a aclitem);
             create table dbo.e (id integer primary key, n integer generated always as identity);
             create table dbo.f (id integer);
             create table dbo.g (k jsonb primary key);",
        )
        .await;
    for table in ["a", "b", "d", "e", "f", "g"] {
        world.bucket.put(&format!("{table}/20991231-235900000.csv.gz"), "I,1,1\n").await;
    }
    run_once(&world).await;
    let errors = world.rows("select entity, error from loader_deliveries order by entity").await;
    for (entity, words) in [
        ("a", "column k: interval cannot be a key here"),
        ("d", "column a: the type aclitem cannot be loaded"),
        ("e", "column n is `generated always as identity`"),
        ("f", "needs a key for change files"),
        ("g", "column k: json cannot be a key here"),
    ] {
        let error = errors.iter().find(|error| error.starts_with(&format!("{entity}|"))).expect("a row");
        assert!(error.contains(words), "{error}");
    }
    let wide = errors.iter().find(|error| error.starts_with("b|")).expect("a row");
    assert!(wide.contains("3 fields"), "an ordinary collation is no obstacle: {wide}");
}
