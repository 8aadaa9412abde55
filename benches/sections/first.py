"""The first load into the empty keyed table."""

import peers
from measure import Entrant, Goal, Result, Table, contest
from world import LOAD, TABLE

TITLE = "First load"


def run(world, options):
    folder = world.feed("a", "--scale", options.scale)
    file = folder / LOAD
    headed = world.feed("headed", "--scale", options.scale, "--header") / LOAD
    world.upload("first", file)
    world.empty()
    peers.copy(world, file)
    rows, encoded = world.rows(), world.scratch / "encoded"
    world.sql(f"\\copy (select * from {TABLE} order by event_id) to '{encoded}' (format binary)")
    world.sql(f"create table dbo.nokey (like {TABLE})")

    def whole():
        assert world.rows() == rows, "not all rows are there"

    def entrant(name, action, check=whole, times=1):
        return Entrant(name, action, world.empty, check, times)

    share = max(rows // 100, 1)
    entrants = [
        entrant("zcat \\| psql \\copy", lambda: peers.copy(world, file)),
        entrant("**paper-engine-orders**", lambda: world.program("run", path="first")),
        entrant("DuckDB, file in S3", lambda: peers.duck(world, "load", f"s3://bench/first/dbo/entity_2/{LOAD}")),
        entrant("DuckDB, file on disk", lambda: peers.duck(world, "load", file)),
        *([entrant("Sling, mode truncate", lambda: peers.sling_load(world, headed))] if peers.sling() else []),
        entrant("upserts row by row, 1 % × 100", lambda: peers.upserts(world, file, share), lambda: None, rows / share),
        entrant("limit: binary COPY of encoded rows", lambda: peers.binary(world, encoded)),
        Entrant("binary COPY without the key …", lambda: peers.binary(world, encoded, "dbo.nokey"), fresh(world)),
        Entrant("… and building it", lambda: peers.index(world, "dbo.nokey")),
    ]
    found = contest(world, entrants, options.rounds)
    for row in found:
        row.amounts = [(rows, "rows")]
    table = Table(f"{rows:,} rows, {file.stat().st_size / 1e6:.1f} MB gzip", found, found[0].name)
    return Result([table], goals(table))


def fresh(world):
    return lambda: world.sql(f"drop table dbo.nokey; create table dbo.nokey (like {TABLE}); checkpoint")


def goals(table):
    mine, psql = table.rows[1].name, table.rows[0].name
    return [
        Goal(1, "first load, to \\copy", 0.72, table.ratio(mine, psql)),
        Goal(1, "first load, to DuckDB from S3", 0.65, table.ratio(mine, "DuckDB, file in S3")),
        Goal(1, "first load, to \\copy: beyond the goal", 0.55, table.ratio(mine, psql)),
        Goal(6, "peak memory, first load", 32, table.rows[1].peak(), "MiB"),
    ]
