//! Tests which rows are replayed, and in which order.

use crate::support::Bench;

const TIES: &str = "create table t (id int primary key, at timestamp not null);
    insert into t select n, timestamp '2020-05-17 13:00' + (n / 1500) * interval '1 second' from generate_series(0, 4499) n;
    create index on t (at);";

#[tokio::test]
async fn ties_longer_than_a_page_come_once_each_in_the_order_of_their_key() {
    let bench = Bench::new(TIES).await;
    let ended = bench.replay(&["--table", "t:at", "--to", "console:", "--pace", "flat"]).await;
    assert_eq!(ended.numbers("id"), (0..4_500).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_at_the_end_are_out_and_a_microsecond_before_it_are_in() {
    let bench = Bench::new(
        "create table t (id int primary key, at timestamptz);
         insert into t values (1, '2020-05-17 12:59:59.999999Z'), (2, '2020-05-17 13:00Z'), (3, '2020-05-17 13:59:59.999999Z'),
             (4, '2020-05-17 14:00Z'), (5, null), (6, 'infinity'), (7, '-infinity');",
    )
    .await;
    let range = ["--start", "2020-05-17T13:00:00", "--end", "2020-05-17T14:00:00"];
    let flat = ["--table", "t:at", "--to", "console:", "--pace", "flat"];
    assert_eq!(bench.replay(&[&range[..], &flat].concat()).await.numbers("id"), [2, 3]);
    assert_eq!(bench.replay(&flat).await.numbers("id"), [1, 2, 3, 4], "without a range the last row is in it");
}

#[tokio::test]
async fn times_come_from_every_kind_of_column() {
    let bench = Bench::new(
        "create table t (id int primary key, s timestamp, z timestamptz, d date, x text, e bigint, m numeric, f float8);
         insert into t select n, t, t at time zone 'UTC', t::date, to_char(t, 'YYYY-MM-DD\"T\"HH24:MI:SS.US'),
             extract(epoch from t)::bigint, extract(epoch from t) * 1000, extract(epoch from t)
         from (select n, timestamp '2020-05-17 13:00:00.123456' + (4 - n) * interval '1 day' t from generate_series(1, 4) n) r;",
    )
    .await;
    for column in ["s", "z", "d", "x", "e@s", "m@ms", "f@s"] {
        let table = format!("t:{column}");
        let ended = bench.replay(&["--table", &table, "--to", "console:", "--pace", "flat"]).await;
        assert_eq!(ended.numbers("id"), [4, 3, 2, 1], "{column}");
        let range = ["--start", "2020-05-18T00:00:00", "--end", "2020-05-19T13:00:00.123457"];
        let ended =
            bench.replay(&[&["--table", &table, "--to", "console:", "--pace", "flat"], &range[..]].concat()).await;
        assert_eq!(ended.numbers("id"), [3, 2], "{column}");
    }
}

#[tokio::test]
async fn a_zone_says_what_times_without_one_mean() {
    let bench =
        Bench::new("create table t (id int primary key, at timestamp); insert into t values (1, '2020-05-17 15:00')")
            .await;
    let range = ["--start", "2020-05-17T13:00:00Z", "--end", "2020-05-17T13:00:00.000001Z"];
    let zone = ["--table", "t:at", "--to", "console:", "--time-zone", "+02:00"];
    assert_eq!(bench.replay(&[&zone[..], &range].concat()).await.numbers("id"), [1]);
}

#[tokio::test]
async fn several_tables_are_merged_in_time_order_and_each_row_says_its_table() {
    let bench = Bench::new(
        "create schema s; create table s.a (id int primary key, at timestamp); create table b (id int primary key, at timestamp);
         insert into s.a select n, timestamp '2020-05-17' + n * interval '2 second' from generate_series(0, 999) n;
         insert into b select n, timestamp '2020-05-17' + n * interval '3 second' from generate_series(0, 999) n;",
    )
    .await;
    let ended = bench.replay(&["--table", "s.a:at", "--table", "b:at", "--to", "console:", "--pace", "flat"]).await;
    let seen: Vec<(String, String)> = ended
        .rows()
        .iter()
        .map(|row| {
            (row["at"].as_str().expect("a time").to_owned(), row["_table"].as_str().expect("a table").to_owned())
        })
        .collect();
    assert_eq!(seen.len(), 2_000);
    let mut sorted = seen.clone();
    sorted.sort_by_key(|(at, table)| (at.clone(), table != "s.a"));
    assert_eq!(seen, sorted);
}

#[tokio::test]
async fn a_condition_and_a_key_of_ones_own() {
    let bench = Bench::new(
        "create table t (id int primary key, grp text not null, at timestamp not null);
         insert into t select n, chr(97 + n % 3), timestamp '2020-05-17' from generate_series(0, 299) n;",
    )
    .await;
    let ended = bench
        .replay(&["--table", "t:at:grp", "--where", "grp <> 'b' -- x", "--to", "console:", "--pace", "flat"])
        .await;
    let expected: Vec<i64> = (0..300).step_by(3).chain((2..300).step_by(3)).collect();
    assert_eq!(ended.numbers("id"), expected, "the table's own key tells apart what KEY does not");
}

#[tokio::test]
async fn a_table_without_a_key_is_read_in_a_snapshot() {
    let bench = Bench::new(
        "create table t (n int, at timestamp); insert into t select n, timestamp '2020-05-17' + (n % 2) * interval '1 s'
         from generate_series(0, 2999) n;",
    )
    .await;
    let without = bench.replay(&["--table", "t:at", "--to", "console:", "--pace", "flat"]).await;
    assert!(without.code == 1 && without.err.contains("--snapshot"), "{without:?}");
    let ended = bench.replay(&["--table", "t:at", "--to", "console:", "--pace", "flat", "--snapshot"]).await;
    assert!(ended.err.contains("VACUUM"));
    let mut seen = ended.numbers("n");
    assert!(seen[..1_500].iter().all(|n| n % 2 == 0) && seen[1_500..].iter().all(|n| n % 2 == 1));
    seen.sort_unstable();
    assert_eq!(seen, (0..3_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_as_large_as_a_mebibyte_pass() {
    let bench = Bench::new(
        "create table t (id int primary key, at timestamp, x text);
         insert into t select n, timestamp '2020-05-17', repeat('x', 1 << 20) from generate_series(0, 39) n;",
    )
    .await;
    let out = bench.path("out");
    let to = format!("file:{}", out.display());
    let ended = bench.replay(&["--table", "t:at", "--to", &to, "--pace", "flat"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(crate::support::lines(&out).iter().all(|line| line.len() > 1 << 20));
    assert_eq!(ended.summary()["rows"], 40);
}
