//! Postgres as the oracle of `load::encode`: random cells of every type, whole and damaged, are
//! encoded here and cast there, and the bytes must agree. The same cells then go through a binary
//! COPY, and their sort keys must put them into the order that Postgres gives them.
//!
//! `PEO_PG_HOST`, `PEO_PG_PORT` and `PEO_PG_USER` name a server (database `postgres`, no password);
//! `PEO_ROUNDS` asks for more than the one round of each test.

use futures_util::SinkExt;
use paper_engine_orders::load::encode::{ColumnEncoding, Refusal};
use proptest::prelude::*;
use proptest::strategy::{Union, ValueTree};
use proptest::string::string_regex;
use proptest::test_runner::TestRunner;
use tokio_postgres::{Client, NoTls};

#[tokio::test]
async fn booleans() {
    agree("boolean", "boolsend", &["true|false|t|f|1|0|yes|no|on|off|y|n|TRUE|False|tru|of", " {0,2}[tfyn01] {0,2}"])
        .await;
}

#[tokio::test]
async fn integers() {
    let edges = "-?(32767|32768|32769|2147483647|2147483648|2147483649|9223372036854775807|9223372036854775808)";
    let cells = ["[-+]?[0-9]{1,20}", "-?[0-9]{1,4}", " ?0{0,30}[0-9]{1,19}\t?", edges];
    agree("smallint", "int2send", &cells).await;
    agree("integer", "int4send", &cells).await;
    agree("bigint", "int8send", &cells).await;
}

#[tokio::test]
async fn floats() {
    let cells = [
        "[-+]?[0-9]{1,20}",
        "-?[0-9]{1,18}\\.[0-9]{0,18}",
        "-?\\.[0-9]{1,5}",
        "-?[0-9]\\.[0-9]{1,17}[eE][-+]?[0-9]{1,3}",
        "[+-]?(inf|Infinity)|NaN|nan|-0|-0\\.0|0e999",
        "1\\.797693134862315[789]e308|4\\.9e-324|2\\.[45]e-324|3\\.4028235[67]e38|[17]e-46|1\\.4e-45",
    ];
    agree("real", "float4send", &cells).await;
    agree("double precision", "float8send", &cells).await;
}

#[tokio::test]
async fn numerics() {
    let cells = [
        "[-+]?[0-9]{1,38}",
        "-?[0-9]{0,20}\\.[0-9]{1,20}",
        "-?[0-9]{1,3}\\.[0-9]{1,2}0{0,9}",
        "-?0{0,9}(\\.0{1,9}[0-9]{0,3})?",
        "[0-9]{1,9}\\.",
        " ?-?[0-9]{1,5}0{0,9} ?",
        "-?[0-9]{1,5}(\\.[0-9]{1,5})?[eE][-+]?[0-9]{1,2}",
        "[1-9]{1,3}(\\.[1-9]{1,3})?e(13106[0-9]|13107[0-9]|-1637[0-9]|-1638[0-9])",
        "NaN|nan|[-+]?(Infinity|inf)|1e999999999",
    ];
    for sql in ["numeric", "numeric(18,2)", "numeric(38,10)", "numeric(5)", "numeric(3,-4)", "numeric(2,6)"] {
        agree(sql, "numeric_send", &cells).await;
    }
}

#[tokio::test]
async fn texts() {
    let cells =
        ["\\PC{0,12}", "[ab]{0,4} {0,6}", "[a-cäöü€😀]{0,6} {0,2}", "[ -~]{0,40}", "\\s{0,4}", "[\u{1}-\u{7f}]{0,20}"];
    agree("text", "textsend", &cells).await;
    agree("varchar", "varcharsend", &cells).await;
    agree("varchar(5)", "varcharsend", &cells).await;
    agree("char(5)", "bpcharsend", &cells).await;
    agree("bpchar", "bpcharsend", &cells).await;
}

const DAY: &str = "(19|20)[0-9]{2}-(0[1-9]|1[0-2])-([0-2][0-9]|3[01])";
const ANY_DAY: &str = "([0-9]{4}|[1-9][0-9]{4,6})-[01][0-9]-[0-3][0-9]";
const CLOCK: &str = "([01][0-9]|2[0-4]):[0-5][0-9](:[0-6][0-9](\\.[0-9]{1,15})?)?";
const ZONE: &str = " ?(Z|[-+](0[0-9]|1[0-6])(:?[0-6][0-9]|:[0-5][0-9]:[0-5][0-9])?)";
const EDGES: &str = "-?[Ii]nfinity|INFINITY|0000-00-00|0000-01-01 BC|2023-02-29|1900-02-29|2000-02-29|0001-02-29 BC|\
    4714-11-2[345]( 00:00:00)? BC|294276-12-31( 23:59:59\\.(4|1234[56]))?|294277-01-0[19]( 10:00| 04:00:54\\.775807)?|587489[78]-(01|12)-(01|31)|\
    (1999|2020)-12-31 (24:00(:00)?|23:59:60|23:59:59\\.9999995|24:00:00\\.0000001|24:00:00\\.1)";

#[tokio::test]
async fn dates() {
    let midnight = &format!("{DAY}[ T]00:00(:00(\\.0{{1,7}})?)?");
    let odd =
        [&format!("{ANY_DAY} BC"), &format!(" {DAY} "), &format!("{DAY}[ T]{CLOCK}"), &format!("{DAY} {CLOCK}{ZONE}")];
    let cells = [&[DAY, ANY_DAY, EDGES, midnight], &odd.map(|cell| cell.as_str())[..]].concat();
    agree("date", "date_send", &cells).await;
}

#[tokio::test]
async fn times() {
    let halves = "23:59:59\\.(9|99|99[45]|9999995|99999949)|24:00:00|24:00:00\\.0|2[34]:59:60";
    let cells = [CLOCK, halves, "[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}", &format!("{CLOCK}{ZONE}")];
    agree("time", "time_send", &cells).await;
    agree("time(0)", "time_send", &cells).await;
    agree("time(4)", "time_send", &cells).await;
}

#[tokio::test]
async fn timestamps() {
    let whole = &format!("{DAY} {CLOCK}");
    let zoned = &format!("{DAY}[ T]{CLOCK}{ZONE}");
    let odd = [
        &format!("{DAY}[Tt]{CLOCK}"),
        &format!("{ANY_DAY} {CLOCK}"),
        &format!("{ANY_DAY} {CLOCK} BC"),
        &format!("{ANY_DAY} {CLOCK}({ZONE}) BC"),
    ];
    let halves = &format!("{DAY} [01][0-9]:[0-5][0-9]:[0-5][0-9]\\.[0-9]{{0,5}}5");
    let cells = [&[DAY, EDGES, whole, zoned, halves], &odd.map(|cell| cell.as_str())[..]].concat();
    for precision in ["", "(0)", "(3)", "(6)"] {
        agree(&format!("timestamp{precision}"), "timestamp_send", &cells).await;
        agree(&format!("timestamptz{precision}"), "timestamptz_send", &cells).await;
    }
}

#[tokio::test]
async fn uuids() {
    let hex = "[0-9a-fA-F]";
    let usual = &format!("{hex}{{8}}-{hex}{{4}}-{hex}{{4}}-{hex}{{4}}-{hex}{{12}}");
    let cells =
        [usual, &format!("{hex}{{32}}"), &format!("\\{{{usual}\\}}"), &format!("({hex}{{4}}-?){{7}}{hex}{{4}}")];
    agree("uuid", "uuid_send", &cells.map(|cell| cell.as_str())).await;
}

#[tokio::test]
async fn binaries() {
    agree(
        "bytea",
        "byteasend",
        &["([0-9a-fA-F]{2}){0,20}", "(0x|\\\\x)([0-9a-f]{2}){0,20}", "(00|ff|01){0,6}", "[0-9a-f]{0,5}"],
    )
    .await;
}

#[tokio::test]
async fn documents() {
    let scalar = r#"(null|true|false|0|-?[1-9][0-9]{0,20}(\.[0-9]{1,5})?([eE][-+]?[0-9]{1,6})?|"([a-zä😀 ]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}|\\u0000|\\ud[8-f]00|\\ud83d\\ude00){0,6}")"#;
    let list = &format!("\\[ ?({scalar}(, ?{scalar}){{0,3}})? ?\\]");
    let object = &format!("\\{{\"a\" ?: ?{scalar}, \"\": {list}, \"a\":{list}\\}}");
    let cells = [scalar, list, object, &format!("[ \n\t\r]{{0,2}}{object}[ \n]?")];
    agree("json", "json_send", &cells).await;
    agree("jsonb", "jsonb_send", &cells).await;
}

/// Whether a type's cells fare alike here and in Postgres. `cells` are regular expressions of what
/// must be taken if Postgres takes it; of damaged ones some are refused that Postgres would take.
async fn agree(sql: &str, send: &str, cells: &[&str]) {
    let mut oracle = Oracle::of(sql, send).await;
    let cells = Union::new(cells.iter().map(|cell| string_regex(cell).expect("a regex").boxed()));
    for _ in 0..rounds() {
        let whole = drawn(&cells);
        let damaged = drawn(&(&cells, any::<prop::sample::Index>(), 0..3, FOREIGN).prop_map(damage));
        oracle.compare(&whole, true).await;
        oracle.compare(&damaged, false).await;
        oracle.copy_and_sort(&[whole, damaged].concat()).await;
    }
}

fn drawn(strategy: &impl Strategy<Value = String>) -> Vec<String> {
    let mut runner = TestRunner::default();
    (0..500).map(|_| strategy.new_tree(&mut runner).expect("a cell").current()).collect()
}

const FOREIGN: &str = r#"[0-9a-fxEeZTNBC:.,+\- _{}\[\]\\"'\t\n/]"#;

/// Removes, inserts or replaces one character.
fn damage((cell, place, how, foreign): (String, prop::sample::Index, i32, String)) -> String {
    let mut chars: Vec<char> = cell.chars().collect();
    let at = place.index(chars.len() + 1);
    let end = if how == 1 { at } else { (at + 1).min(chars.len()) };
    let new = foreign.chars().filter(|_| how > 0);
    chars.splice(at..end, new);
    chars.into_iter().collect()
}

/// A session, and in it what tries casts to one type.
struct Oracle {
    client: Client,
    sql: String,
    send: String,
    wire: ColumnEncoding,
}

impl Oracle {
    async fn of(sql: &str, send: &str) -> Oracle {
        let client = connect().await;
        // an integer may come as a decimal: what Postgres says to it as a numeric, if that is exactly an integer
        let other = match sql {
            "smallint" | "integer" | "int" | "bigint" | "int2" | "int4" | "int8" => {
                "n := cell; if n <> trunc(n) then raise 'no'; end if; v := n;"
            }
            _ => "raise;",
        };
        let setup = format!(
            "create temp table copied (n int, v {sql});
             create function pg_temp.sent(cell text) returns bytea language plpgsql as $$
             declare v {sql}; n numeric;
             begin
                 begin v := cell; exception when others then {other} end;
                 return {send}(v);
             exception when others then return null; end $$"
        );
        client.batch_execute(&setup).await.expect("a temporary table and function");
        let column =
            "select atttypid, atttypmod from pg_attribute where attrelid = 'copied'::regclass and attname = 'v'";
        let column = client.query_one(column, &[]).await.expect("the column");
        let wire = ColumnEncoding::of(column.get(0), column.get(1)).expect("a type that is carried");
        Oracle { client, sql: sql.to_owned(), send: send.to_owned(), wire }
    }

    async fn compare(&self, cells: &[String], whole: bool) {
        let asked: Vec<_> = cells.iter().map(|cell| self.as_postgres_writes(cell)).collect();
        let query = "select pg_temp.sent(cell) from unnest($1::text[]) with ordinality as c (cell, n) order by n";
        let rows = self.client.query(query, &[&asked]).await.expect("the oracle");
        let faults: Vec<_> = cells
            .iter()
            .zip(rows.iter().map(|row| row.get(0)))
            .filter_map(|(cell, sent)| self.fault(cell, sent, whole))
            .collect();
        assert!(faults.is_empty(), "{} ({:?}):\n{}", self.sql, self.wire, faults.join("\n"));
    }

    fn fault(&self, cell: &str, sent: Option<Vec<u8>>, whole: bool) -> Option<String> {
        let sent = sent.map(|bytes| if self.wire == ColumnEncoding::Jsonb { verbatim_jsonb(cell) } else { bytes });
        let agreed = match (self.encoded(cell), &sent) {
            (Ok(bytes), Some(sent)) => bytes == *sent,
            (Ok(_), None) => false,
            (Err(refusal), Some(_)) => !whole || is_deliberate(&refusal),
            (Err(_), None) => true,
        };
        (!agreed).then(|| format!("{cell:?}: {:02x?} here, {sent:02x?} there", self.encoded(cell)))
    }

    fn encoded(&self, cell: &str) -> Result<Vec<u8>, Refusal> {
        let mut out = Vec::new();
        self.wire.encode(cell.as_bytes(), &mut out).map(|()| out)
    }

    /// Feeds write binary in three ways, Postgres in one.
    fn as_postgres_writes(&self, cell: &str) -> String {
        if self.wire != ColumnEncoding::Bytea {
            return cell.to_owned();
        }
        let digits = ["\\x", "0x", "0X"].iter().find_map(|prefix| cell.strip_prefix(prefix));
        format!("\\x{}", digits.unwrap_or(cell))
    }

    /// What was encoded must pass a binary COPY unchanged and then sort as its keys do.
    async fn copy_and_sort(&mut self, cells: &[String]) {
        let values: Vec<_> = cells.iter().filter_map(|cell| self.encoded(cell).ok()).collect();
        self.copy(&values).await;
        if self.wire != ColumnEncoding::Jsonb {
            let stored: Vec<Vec<u8>> = self.column(&format!("select {}(v) from copied order by n", self.send)).await;
            assert_eq!(stored, values, "{}", self.sql);
            self.sort(&values).await;
        }
    }

    async fn copy(&self, values: &[Vec<u8>]) {
        self.client.batch_execute("truncate copied").await.expect("truncate");
        let sink = self.client.copy_in("copy copied from stdin (format binary)").await.expect("copy");
        let mut sink = std::pin::pin!(sink);
        sink.send(bytes::Bytes::from(copy_stream(values))).await.expect("copied bytes");
        sink.finish().await.expect("what Postgres takes");
    }

    async fn sort(&self, values: &[Vec<u8>]) {
        let mut keys: Vec<(Vec<u8>, i32)> = values.iter().map(|value| self.key(value)).zip(0..).collect();
        keys.sort();
        let here: Vec<i32> = keys.iter().map(|(_, n)| *n).collect();
        let there: Vec<i32> =
            self.column(&format!("select n from copied order by {}, n", self.wire.order_by("v", "no_send"))).await;
        if let Some(at) = (0..here.len()).find(|at| here[*at] != there[*at]) {
            let [a, b] = [here[at], there[at]].map(|n| &values[n as usize]);
            panic!("{}: {a:02x?} is next here, {b:02x?} there", self.sql);
        }
        if self.wire.is_canonical() {
            let differ = |a: i32, b: i32| values[a as usize] != values[b as usize];
            let twins = keys.windows(2).find(|two| two[0].0 == two[1].0 && differ(two[0].1, two[1].1));
            assert_eq!(twins, None, "{}: one key for two forms", self.sql);
        }
    }

    fn key(&self, value: &[u8]) -> Vec<u8> {
        let mut key = Vec::new();
        assert!(self.wire.sort_key(value, &mut key), "{} has a key", self.sql);
        key
    }

    async fn column<T: for<'a> tokio_postgres::types::FromSql<'a>>(&self, query: &str) -> Vec<T> {
        let rows = self.client.query(query, &[]).await.expect("a query");
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// Refused here on purpose, though Postgres takes it: it would lose something without a word.
fn is_deliberate(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Places(_) | Refusal::Multiple(_) | Refusal::Zone | Refusal::TimeOfDay)
}

fn verbatim_jsonb(cell: &str) -> Vec<u8> {
    [b"\x01", cell.as_bytes()].concat()
}

/// Rows of a number and a value in the format of a binary COPY.
fn copy_stream(values: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for (n, value) in (0i32..).zip(values) {
        stream.extend([0, 2, 0, 0, 0, 4]);
        stream.extend(n.to_be_bytes());
        stream.extend((value.len() as i32).to_be_bytes());
        stream.extend(value);
    }
    stream.extend([0xff, 0xff]);
    stream
}

async fn connect() -> Client {
    let [host, port, user] = ["PEO_PG_HOST", "PEO_PG_PORT", "PEO_PG_USER"].map(|name| variable(name).expect(name));
    let settings =
        format!("host={host} port={port} user={user} dbname=postgres options='-c timezone=UTC -c datestyle=ISO'");
    let (client, connection) = tokio_postgres::connect(&settings, NoTls).await.expect("a Postgres");
    tokio::spawn(connection);
    client
}

fn rounds() -> usize {
    variable("PEO_ROUNDS").map_or(1, |rounds| rounds.parse().expect("a number of rounds"))
}

#[expect(clippy::disallowed_methods, reason = "a test's own settings, not the program's")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
