"""A bucket with 100,000 objects, all but one loaded; and what reading the ledger costs as it grows."""

import gzip
import json
import time

import bucket
from measure import Entrant, Goal, Grid, Result, Sample, Table, contest
from world import FORGET, ROOT

TITLE = "A long history"
OBJECTS = 100_000
HISTORIES = (1_000, 10_000, 100_000, 1_000_000)
PATH, TABLE = "history", "dbo.many"
NAME = "to_char(timestamp '2099-12-31' + i * interval '1 ms', 'YYYYMMDD-HH24MISSMS')"
CHANGE = gzip.compress(b"I,1\n", 1)
STATEMENTS = {
    "entries": (ROOT / "src" / "target" / "ledger_entries.sql").read_text(),
    "head": "select * from public.loader_begin_delivery($1, $2, $3, $4, $5, $6, $7, $8)",
}
TYPES = {"entries": "bigint", "head": "integer, integer, bigint, text, text, text, bigint[], bigint[]"}
VALUES = {"entries": "{scope}", "head": "1, 1, {scope}, 'dbo', 'many', 'changes', '{{}}', '{{}}'"}


def run(world, options):
    objects = max(int(OBJECTS * options.scale), 2_000)
    fill(world, objects)
    found = contest(world, entrants(world, objects), options.rounds)
    for row in found:
        row.amounts = [(objects, "objects")]
    table = Table(f"{objects:,} objects in the bucket", found, found[0].name)
    histories = [count for count in HISTORIES if count <= objects * 10]
    flat = [ledger(world, count) for count in histories]
    names = ["rows in the ledger", "taking stock, ms", "µs a row", "by", "one table again, ms", "blocks", "by"]
    grid = Grid("The ledger's two questions, by `explain (analyze, buffers)`", names, [shown(*line) for line in flat])
    return Result([table, grid], goals(table, flat))


def fill(world, objects):
    """One change file is loaded by the program; its ledger row is the pattern for the others, but for the last."""
    world.sql(f"create table {TABLE} (id bigint primary key)")
    names = world.sql(f"select {NAME} from generate_series(0, {objects - 1}) i").split()
    keys = [f"{PATH}/dbo/many/{name}.csv.gz" for name in names]
    bucket.put(world.settings, "bench", keys[0], CHANGE)
    world.program("run", path=PATH)
    world.keep_ledger("pattern")
    bucket.put_all(world.settings, "bench", [(key, CHANGE) for key in keys[1:]])


def history(world, count):
    """A ledger of so many loaded change files."""
    columns = world.sql(
        "select string_agg(attname, ', ' order by attnum) from pg_attribute where attrelid = 'loader_deliveries'::regclass"
        " and attnum > 0 and attname not in ('id', 'object_key', 'revision')"
    )
    world.bring_back_ledger("pattern")
    world.sql(
        f"truncate loader_deliveries cascade; insert into loader_deliveries (object_key, revision, {columns})"
        f" select '{PATH}/dbo/many/' || {NAME} || '.csv.gz', i + 1, {columns}"
        f" from generate_series(0, {count - 1}) i, kept.pattern_loader_deliveries"
    )
    world.rest(TABLE)


def entrants(world, objects):
    def listed():
        # not by a process of its own: the start of a Python is no part of it
        begun = time.perf_counter()
        assert bucket.listing(world.settings, "bench", f"{PATH}/") == objects, "the bucket has other objects"
        return Sample(time.perf_counter() - begun)

    def loaded():
        assert world.sql("select count(*), max(rows_read) from loader_deliveries") == f"{objects}|1", "not all is loaded"

    def client():
        return world.program("run", path=PATH, env={"TARGET_SCHEMA": "nowhere"})

    return [
        Entrant("bare listing, page after page", listed),
        Entrant("the program, no table to load into", client, lambda: world.sql(FORGET)),
        Entrant("**one object is new**", lambda: world.program("run", path=PATH), lambda: history(world, objects - 1), loaded),
        Entrant("nothing is new", lambda: world.program("run", path=PATH), lambda: history(world, objects), loaded),
    ]


def ledger(world, count):
    history(world, count)
    return count, explained(world, "entries"), explained(world, "head")


def explained(world, name):
    """The plan of one of the program's statements as it was run, the best of three."""
    statement, scope = STATEMENTS[name], world.sql("select distinct scope from loader_deliveries")
    ask = f"explain (analyze, buffers, format json) execute s ({VALUES[name].format(scope=scope)});"
    script = f"prepare s ({TYPES[name]}) as {statement.rstrip().rstrip(';')};\n"
    answers = [json.loads(world.sql(script + ask))[0] for _ in range(3)]
    return min(answers, key=lambda answer: answer["Execution Time"])


def scans(plan):
    """How the ledger is reached, and whether it is sorted; without what only passes rows on."""
    tells = "Sort" in plan["Node Type"] or "Relation Name" in plan
    found = {plan["Node Type"]} if tells else set()
    return found.union(*(scans(child) for child in plan.get("Plans", [])))


def blocks(answer):
    return answer["Plan"]["Shared Hit Blocks"] + answer["Plan"]["Shared Read Blocks"]


def shown(count, entries, head):
    took, again = entries["Execution Time"], head["Execution Time"]
    by, other = (", ".join(sorted(scans(answer["Plan"]))) for answer in (entries, head))
    return [f"{count:,}", f"{took:,.1f}", f"{took * 1e3 / count:.2f}", by, f"{again:.3f}", str(blocks(head)), other or "a function"]


def goals(table, flat):
    bare, _, new, _ = (row.name for row in table.rows)
    first, last = flat[0], flat[-1]
    per_row = [line[1]["Execution Time"] / line[0] for line in (first, last)]
    return [
        Goal(7, "finding one new object, to the bare listing", 1.3, table.ratio(new, bare)),
        Goal(7, f"taking stock, time per row: {last[0]:,} rows to {first[0]:,}", 1.5, per_row[1] / per_row[0]),
        Goal(7, f"one table's question: {last[0]:,} rows to {first[0]:,}, blocks", 2, blocks(last[2]) / blocks(first[2])),
        Goal(6, "peak memory, a long history", 32, table.row(new).peak(), "MiB"),
    ]
