"""Many small change files: for one table, and for several with one, two and four loaders at once."""

import gzip

import bucket
from measure import Entrant, Goal, Result, Table, contest, together
from world import FORGET

TITLE = "Small files"
COLUMNS = "id bigint primary key, name text, price numeric(12, 2), at timestamp"
TIME = "2024-01-02 00:00:00"
FILES, ROWS, TABLES = 1000, 100, 4


def run(world, options):
    files = max(int(FILES * options.scale), 40)
    one, four = ["one"], [f"of_{number}" for number in range(TABLES)]
    fill(world, "one", one, files)
    fill(world, "four", four, files)
    alone = contest(world, [entrant(world, "**one table**", "one", one, files)], options.rounds)
    shared = [entrant(world, f"{loaders} loader{'s'[: loaders - 1]}", "four", four, files, loaders) for loaders in (1, 2, 4)]
    shared = contest(world, shared, options.rounds)
    for row in alone + shared:
        row.amounts = [(files, "deliveries")]
    tables = [
        Table(f"{files:,} change files of {ROWS} rows for one table", alone),
        Table(f"{files:,} such files for {TABLES} tables, with several loaders at once", shared, shared[0].name),
    ]
    return Result(tables, goals(files, *tables))


def fill(world, path, tables, files):
    """Each table's full load is loaded and kept; the change files, shared out among the tables, are in the bucket."""
    share = files // len(tables)
    rows = share * ROWS // 10
    for table in tables:
        world.sql(f"create table dbo.{table} ({COLUMNS})")
    world.sql(FORGET)
    loads = [(f"{path}/dbo/{table}/LOAD00000001.csv.gz", load(rows)) for table in tables]
    bucket.put_all(world.settings, "bench", loads)
    world.program("run", path=path)
    for table in tables:
        world.keep(f"dbo.{table}")
    names = [(table, file) for file in range(share) for table in tables]
    changes = [(f"{path}/dbo/{table}/{name(file)}.csv.gz", updates(file, rows)) for table, file in names]
    bucket.put_all(world.settings, "bench", changes)


def load(rows):
    return pack(f"{i},name {i},{i}.50,{TIME}" for i in range(rows))


def updates(file, rows):
    return pack(f"U,{(file * ROWS + i) % rows},changed {file},{i}.75,{TIME}" for i in range(ROWS))


def name(file):
    return f"20991231-{file // 3600:02}{file // 60 % 60:02}{file % 60:02}000"


def pack(rows):
    return gzip.compress("".join(f"{row}\n" for row in rows).encode(), 1)


def entrant(world, title, path, tables, files, loaders=1):
    def prepare():
        for table in tables:
            world.bring_back(f"dbo.{table}")

    def load():
        return together([world.start_program("run", path=path) for _ in range(loaders)], (0, 75))

    def check():
        done = world.sql("select count(*), sum(rows_amend) from loader_deliveries where kind = 'changes' and status = 'loaded'")
        assert done == f"{files}|{files * ROWS}", f"not all was loaded: {done}"

    return Entrant(title, load, prepare, check)


def goals(files, alone, shared):
    one, _, four = (row.median() for row in shared.rows)
    return [
        Goal(5, "small files, one table", 300, files / alone.rows[0].median(), "deliveries/s", least=True),
        Goal(5, "four loaders on four tables, to one loader", 1, four / one),
        Goal(6, "peak memory, small files", 32, max(row.peak() for row in alone.rows + shared.rows), "MiB"),
    ]
