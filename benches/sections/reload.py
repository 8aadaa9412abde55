"""The full load of a later day over the table: 1 % of the rows new, 1 % changed, 1 % gone; and one in which nothing differs."""

import time

import peers
from measure import Entrant, Goal, Result, Table, contest
from world import LOAD, TABLE

TITLE = "Reload"
EDITION = ["--reload", "0.01,0.01,0.01"]
TEXTS, SHUFFLED = "dbo.texts", "dbo.shuffled"


def run(world, options):
    scale = ["--scale", options.scale]
    a, b = (world.feed(name, *scale, *more) / LOAD for name, more in (("a", []), ("b", EDITION)))
    shuffled = world.feed("shuffled", *scale, *EDITION, "--shuffled") / LOAD
    world.upload("before", a)
    world.sql(f"create table {SHUFFLED} (like {TABLE} including all)")
    world.sql(f"create table {TEXTS} (like {TABLE}); alter table {TEXTS} alter event_id type text, add primary key (event_id)")
    for path, table, files in (
        ("reload", TABLE, (a, b)),
        ("shuffled", SHUFFLED, (a, shuffled)),
        ("texts", TEXTS, [with_text_keys(world, file, name) for file, name in ((a, "a"), (b, "b"))]),
    ):
        begin(world, path, table, *files)
    found = contest(world, entrants(world, a, b), options.rounds)
    rows = world.rows()
    for row in found:
        row.amounts = [(rows, "rows")]
    table = Table(f"{rows:,} rows; 1 % new, 1 % changed, 1 % gone", found, found[0].name)
    return Result([table], goals(table))


def with_text_keys(world, file, name):
    """The file with a text for a key, of small and large letters, in the order of the database's collation."""
    path = world.scratch / f"texts-{name}.csv.gz"
    world.sql(f"create temp table t (like {TABLE});" + f"""
        \\copy t from program 'zcat {file}' csv null 'NULL'
        create temp view v as select case when event_id % 3 = 0 then upper(k) else k end as event_id, order_id, kind,
            quantity, price, happened_at, note from (select md5(event_id::text) as k, * from t) t order by 1;
        \\copy (select * from v) to program 'gzip -1 >{path}' csv null 'NULL'""")
    return path


def begin(world, path, table, before, after):
    """Loads `before`, keeps table and ledger aside, and puts `after` in its place."""
    name = table.split(".")[1]
    world.empty(table)
    world.upload(path, before, name, LOAD)
    world.program("run", path=path)
    world.keep(table)
    time.sleep(1.1)  # the store's clock has seconds
    world.upload(path, after, name, LOAD)


def entrants(world, a, b):
    def loaded(changed):
        what = "count(*) filter (where rows_create + rows_amend + rows_remove > 0)"
        last = "select * from loader_deliveries order by id desc limit 1"
        assert world.sql(f"select {what} from ({last}) t") == str(int(changed)), "not the reload that was meant"

    def program(name, path, table, changed=True, prepare=None):
        prepare = prepare or (lambda: world.bring_back(table))
        return Entrant(name, lambda: world.program("run", path=path), prepare, lambda: loaded(changed))

    def fresh():
        world.empty()
        world.program("run", path="before")
        world.bring_back_ledger("entity_2")
        world.sql("checkpoint")

    def peer(name, action):
        return Entrant(name, action, lambda: world.bring_back(TABLE))

    return [
        Entrant("\\copy of the file into an empty table", lambda: peers.copy(world, b), world.empty),
        program("**paper-engine-orders**", "reload", TABLE),
        program("**nothing differs**", "reload", TABLE, False, lambda: world.bring_back(TABLE, rows=False)),
        program("file not in key order", "shuffled", SHUFFLED),
        program("text keys with a collation", "texts", TEXTS),
        program("straight after a load", "reload", TABLE, True, fresh),
        peer("DuckDB, diff by hand", lambda: peers.duck(world, "diff", b)),
        peer("SQL by hand over a temporary table", lambda: peers.reload_by_hand(world, b)),
        peer("limit: the table in key order, alone", lambda: peers.stream_out(world)),
    ]


def goals(table):
    copied, mine, same, shuffled, texts, _, duck, *_ = (row.name for row in table.rows)
    wal = table.row(same).median("wal")
    return [
        Goal(2, "reload, to DuckDB's diff", 0.32, table.ratio(mine, duck)),
        Goal(2, "reload, to \\copy of the file", 0.55, table.ratio(mine, copied)),
        Goal(2, "file not in key order, to the sorted one", 2, table.ratio(shuffled, mine)),
        Goal(2, "text keys with a collation, to numbers", 2, table.ratio(texts, mine)),
        Goal(3, "nothing differs, to \\copy", 0.40, table.ratio(same, copied)),
        Goal(3, "nothing differs: WAL", 1, wal / 1e6, "MB"),
        Goal(6, "peak memory, any reload", 32, max(row.peak() for row in table.rows[1:6]), "MiB"),
    ]
