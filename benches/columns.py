#!/usr/bin/env python3
"""Times a first load and an unchanged reload of one column of each type, and says which way its cells go.

    python3 benches/columns.py [--rows 300000]

A table (id integer primary key, v TYPE) each; the values are made by Postgres. Rows per second are of the whole program,
its start and the ledger included; `\\copy` of the same file into an empty copy of the table stands beside them.
"""

import argparse
import gzip
import pathlib
import subprocess
import tempfile
import time

import bucket
import measure
import world as place

# type, an expression over i, whether there is an encoder for it
TYPES = [
    ("boolean", "i % 2 = 0", True),
    ("bigint", "i::bigint * 7919", True),
    ("double precision", "sqrt(i)", True),
    ("numeric(18,4)", "(i * 1.2345)::numeric(18,4)", True),
    ("text", "md5(i::text)", True),
    ("date", "date '2000-01-01' + i % 9000", True),
    ("timestamp", "timestamp '2000-01-01' + i * interval '1.5 s'", True),
    ("timestamptz", "timestamptz '2000-01-01 00:00+00' + i * interval '1.5 s'", True),
    ("uuid", "md5(i::text)::uuid", True),
    ("bytea", "decode(md5(i::text), 'hex')", True),
    ("jsonb", "jsonb_build_object('a', i, 'b', md5(i::text))", True),
    ("inet", "('10.0.0.0'::inet + i)", False),
    ("interval", "i * interval '1 min'", False),
    ("money", "(i * 0.01)::money", False),
    ("bit varying", "i::bit(32)::varbit", False),
    ("int4range", "int4range(i, i + 10)", False),
    ("integer[]", "array[i, i + 1, i + 2]", False),
    ("text[]", "array[md5(i::text), 'x']", False),
    ("mood", "(array['sad', 'so so', 'happy'])[1 + i % 3]::mood", False),
    ("pair", "row(i, md5(i::text))::pair", False),
    ("point", "point(i, -i)", False),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="peo-bench-") as scratch, place.servers(pathlib.Path(scratch)) as world:
        pathlib.Path(scratch).chmod(0o755)
        world.prepare()
        world.sql("create type mood as enum ('sad', 'so so', 'happy'); create type pair as (a integer, b text)")
        print(f"{'type':18}{'way':>9}{'first load':>12}{'reload':>10}{'copy':>10}   thousand rows per second")
        for number, (name, expression, own) in enumerate(TYPES):
            line = measure(world, number, name, expression, rows)
            print(f"{name:18}{'encoder' if own else 'text':>9}" + "".join(f"{rows / s / 1e3:>{w}.0f}" for s, w in line))


def measure(world, number, name, expression, rows):
    table, key = f"dbo.t{number}", f"data/dbo/t{number}/LOAD00000001.csv.gz"
    world.sql(f"create table {table} (id integer primary key, v {name}); create table dbo.copied (like {table} including all)")
    query = f"copy (select i, {expression} from generate_series(1, {rows}) i) to stdout csv"
    made = subprocess.run([*world.psql(), "-c", query], check=True, capture_output=True).stdout
    packed = gzip.compress(made, 1)
    bucket.put(world.settings, "bench", key, packed)
    world.sql("checkpoint")
    first = world.program("run").seconds
    time.sleep(1.1)
    bucket.put(world.settings, "bench", key, packed)
    again = world.program("run").seconds
    counts = world.sql(f"select rows_create, rows_unchanged from loader_deliveries where entity = 't{number}' order by id")
    assert counts.split() == [f"{rows}|0", f"0|{rows}"], f"{name}: {counts}"
    begun = time.perf_counter()
    subprocess.run([*world.psql(), "-c", "\\copy dbo.copied from stdin csv"], input=made, check=True)
    copied = time.perf_counter() - begun
    world.sql(f"drop table dbo.copied, {table}")
    return (first, 12), (again, 10), (copied, 10)


if __name__ == "__main__":
    main()
