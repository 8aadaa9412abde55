#!/usr/bin/env python3
"""Times many small change files for one table, and runs with nothing to do.

    python3 benches/small.py [--files 1000] [--rows 100]
"""

import argparse
import gzip
import pathlib
import statistics
import subprocess
import tempfile
import time

import bucket
import load

COLUMNS = "id bigint primary key, name text, price numeric(12, 2), at timestamp"
TIME = "2024-01-02 00:00:00"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=100)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="peo-bench-") as scratch, load.servers(pathlib.Path(scratch)) as world:
        world.prepare(0.001)
        world.sql(f"create table dbo.small ({COLUMNS}); grant all on dbo.small to loader")
        put(world, "LOAD00000001", (f"{i},name {i},{i}.50,{TIME}" for i in range(args.files * args.rows // 10)))
        world.program("run")
        for file in range(args.files):
            first = file * args.rows
            rows = (f"U,{(first + i) % (args.files * args.rows // 10)},changed {file},{i}.75,{TIME}" for i in range(args.rows))
            put(world, f"20991231-{file // 3600:02}{file // 60 % 60:02}{file % 60:02}000", rows)
        seconds, memory = world.program("run")
        loaded = world.sql("select count(*), sum(rows_amend) from loader_deliveries where kind = 'changes'")
        assert loaded == f"{args.files}|{args.files * args.rows}", loaded
        print(f"{args.files} files of {args.rows} rows: {args.files / seconds:.0f} deliveries/s, {memory:.1f} MiB")
        print(f"nothing to do: {1000 * median(lambda: world.program('run')):.0f} ms")
        print(f"--help: {1000 * median(lambda: subprocess.run([load.PROGRAM, '--help'], stdout=-3)):.1f} ms")


def put(world, name, rows):
    body = gzip.compress("".join(f"{row}\n" for row in rows).encode(), 1)
    bucket.put(world.settings, "bench", f"data/dbo/small/{name}.csv.gz", body)


def median(action, times=9):
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
