"""Tables of other shapes: a hundred columns, a thousand tables, texts of a megabyte."""

import gzip

import bucket
import measure
from measure import Entrant, Result, Table, contest
from world import FORGET, LOAD

TITLE = "Other shapes"
WIDE, WIDE_ROWS = 100, 60_000
LONG, LONG_ROWS = 2**20, 200
TABLES, TABLE_ROWS = 1_000, 100
KINDS = [
    ("bigint", "i * {n}::bigint"),
    ("text", "md5((i + {n})::text)"),
    ("numeric(18,4)", "(i * 1.{n})::numeric(18,4)"),
    ("timestamp", "timestamp '2000-01-01' + (i + {n}) * interval '1.5 s'"),
]


def run(world, options):
    shapes = [wide(world, options.scale), long(world, options.scale), many(world, options.scale)]
    return Result([measured(world, *shape, options.rounds) for shape in shapes], [])


def wide(world, scale):
    rows = max(int(WIDE_ROWS * scale), 100)
    kinds = [KINDS[n % len(KINDS)] for n in range(1, WIDE)]
    columns = ", ".join(f"c{n} {kind}" for n, (kind, _) in enumerate(kinds, 1))
    world.sql(f"create table dbo.wide (id integer primary key, {columns})")
    cells = ", ".join(cell.replace("{n}", str(n)) for n, (_, cell) in enumerate(kinds, 1))
    return f"{rows:,} rows of {WIDE} columns", {"wide": made(world, "wide", f"i, {cells}", rows)}, rows


def long(world, scale):
    rows = max(int(LONG_ROWS * scale), 10)
    world.sql("create table dbo.long (id integer primary key, body text)")
    # of letters that do not compress well, and a line break now and then
    words = f"(select string_agg(md5((i * 100000 + w)::text), e'\\n') from generate_series(1, {LONG // 33}) w)"
    return f"{rows:,} rows with a text of 1 MiB", {"long": made(world, "long", f"i, {words}", rows)}, rows


def many(world, scale):
    tables = max(int(TABLES * scale), 20)
    names = [f"small_{number}" for number in range(tables)]
    world.sql("".join(f"create table dbo.{name} (id bigint primary key, name text);" for name in names))
    body = "".join(f"{i},name {i}\n" for i in range(TABLE_ROWS)).encode()
    return f"{tables:,} tables of {TABLE_ROWS} rows, a first load each", dict.fromkeys(names, body), tables * TABLE_ROWS


def made(world, name, cells, rows):
    """The rows as CSV; made by Postgres."""
    path = world.scratch / f"{name}.csv"
    world.sql(f"\\copy (select {cells} from generate_series(1, {rows}) i) to '{path}' csv")
    return path.read_bytes()


def measured(world, title, files, rows, rounds):
    path = next(iter(files))
    packed = {name: gzip.compress(body, 1) for name, body in files.items()}
    bucket.put_all(world.settings, "bench", ((f"{path}/dbo/{name}/{LOAD}", body) for name, body in packed.items()))
    copies = "".join(on_disk(world, name, body) for name, body in packed.items())
    size, names = sum(map(len, files.values())), [f"dbo.{name}" for name in files]

    def fresh():
        world.sql(f"{FORGET}; truncate {', '.join(names)}; checkpoint")

    def whole():
        counts = " + ".join(f"(select count(*) from {name})" for name in names)
        assert int(world.sql(f"select {counts}")) == rows, "not all rows are there"

    entrants = [
        Entrant("zcat \\| psql \\copy", lambda: measure.run(world.psql(), text=copies), fresh, whole),
        Entrant("**paper-engine-orders**", lambda: world.program("run", path=path), fresh, whole),
    ]
    found = contest(world, entrants, rounds)
    for row in found:
        row.amounts = [(size / 1e6, "MB"), (rows, "rows")] + ([(len(names), "tables")] if len(names) > 1 else [])
    return Table(f"{title}, {size / 1e6:.0f} MB of CSV", found, found[0].name)


def on_disk(world, name, packed):
    """Writes the file for psql, and gives the line that loads it."""
    file = world.scratch / f"{name}.csv.gz"
    file.write_bytes(packed)
    return f"\\copy dbo.{name} from program 'zcat {file}' csv\n"
