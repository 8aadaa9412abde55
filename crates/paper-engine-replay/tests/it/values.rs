//! Tests that every type of Postgres comes out with its exact value. BLESS=1 rewrites the expected output.

use crate::support::Bench;

const TYPES: &str = "create type mood as enum ('sad', 'happy'); create type pair as (a int, b text);
create domain positive as numeric check (value > 0);
create table t (id int primary key, at timestamptz not null, small int2, big int8, num numeric, num_scale numeric(12,4), single float4,
    double float8, yes bool, word text, fixed char(5), short varchar(9), raw bytea, day date, clock time, clock_zone timetz,
    stamp timestamp, stamp_zone timestamptz, span interval, ident uuid, doc json, docb jsonb, ints int[], texts text[], deep int[][],
    addr inet, net cidr, mac macaddr, bits bit varying, money money, dot point, ranged int4range, multi int4multirange,
    feeling mood, two pair, dom positive, search tsvector, nothing text, \"Odd \"\" Name\" int);
insert into t values (1, '2020-05-17 13:00:00.000001+02', -32768, 9223372036854775807, 123456789012345678901234567890.123456789012345678901234567890,
    1.5, 1.1, 0.1, true, e'quote \" slash \\\\ tab \\t line\\nend é 😀 \\u0001', 'ab', 'x', '\\x00ff', '2020-02-29', '23:59:59.999999', '12:00:00.5+05:30',
    '2020-05-17 13:00:00.123456', '2020-05-17 13:00:00.5+02', '1 year 2 mons 3 days 04:05:06.789', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
    e'{\"b\": 1.0,\\n \"a\": [1e400, 12345678901234567890]}', '{\"b\": 1.0, \"a\": [1e40, 12345678901234567890]}', '{1,NULL,3}', '{a,\"b,c\",NULL}', '{{1,2},{3,4}}',
    '10.1.2.3/8', '10.0.0.0/8', '08:00:2b:01:02:03', '10101', '1234.50', '(1.5,-2)', '[1,10)', '{[1,3),[5,7)}',
    'happy', '(7,\"x y\")', 42, 'fat:1 cat:2', null, 7);
insert into t (id, at, num, single, double, day, stamp, stamp_zone, span, ints, big)
    values (2, '2020-05-17 14:00+00', 'NaN', 'NaN', 'Infinity', 'infinity', '-infinity', 'infinity', '-00:00:01', '{}', -9223372036854775808);
insert into t (id, at, num, double, day, stamp, span) values (3, '2020-05-17 14:00+00', 1e-30, 5e-324, '0044-03-15 BC', '0044-03-15 12:00 BC', '0');";

#[tokio::test]
async fn every_type_of_postgres_has_its_exact_value() {
    let bench = Bench::new(TYPES).await;
    // settings of a role must not change what is written
    let set = "alter database current_name set datestyle = 'German'; alter database current_name set timezone = 'Asia/Tokyo';
        alter database current_name set intervalstyle = 'sql_standard'; alter database current_name set bytea_output = 'escape';
        alter database current_name set extra_float_digits = -3;";
    let name = bench.url.rsplit('/').next().expect("a name").to_owned();
    bench.client.batch_execute(&set.replace("current_name", &name)).await.expect("set");
    let ended = bench.replay(&["--table", "t:at", "--to", "console:", "--pace", "flat"]).await;
    // JSON has numbers that no float holds, so the lines are compared as they are
    assert_eq!((ended.code, ended.out.lines().count()), (0, 3), "{}", ended.err);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden/postgres.ndjson");
    if std::env::var("BLESS").is_ok() {
        std::fs::write(path, &ended.out).expect("written");
    }
    assert_eq!(ended.out, std::fs::read_to_string(path).expect("the golden file"));
}

#[tokio::test]
async fn times_in_the_rows_are_shifted_too_if_asked_for() {
    let bench = Bench::new("create table t (id int primary key, at timestamp); insert into t values (1, '2020-05-17 13:00'), (2, '2020-05-17 13:00:01.5')").await;
    let rows = bench.replay(&["--table", "t:at", "--to", "console:", "--pace", "flat", "--retime", "now"]).await.rows();
    let at = |row: usize| rows[row]["at"].as_str().expect("a time").to_owned();
    assert!(at(0).as_str() > "2026", "{}", at(0));
    let seconds = |text: &str| text[17..].parse::<f64>().expect("seconds");
    assert!(((seconds(&at(1)) - seconds(&at(0))).rem_euclid(60.0) - 1.5).abs() < 1e-6, "{} {}", at(0), at(1));
}
