#!/usr/bin/env python3
"""Times the loader against psql on the mission's largest file, in one run on one server, and prints medians and ratios.

    ./justw bench                     1,494,975 rows, five rounds, and the peak memory on ten times as many
    ./justw bench --rounds 1 --scale 0.1 --no-growth

The peers are what people do by hand: zcat FILE | psql -c '\\copy TABLE from stdin csv', into the same keyed table; and for a
change file \\copy into a temporary table, the last row of each key, then delete, update and insert.
Each round runs all contestants in turn, so that a noisy machine is noisy for all.
"""

import argparse
import contextlib
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import bucket

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target" / "release" / "paper-engine-orders"
SERVICES = ROOT / "scripts" / "services.py"
TABLE = "dbo.entity_2"
COLUMNS = ["event_id", "order_id", "kind", "quantity", "price", "happened_at", "note"]
OPERATIONS = 75_000


def main():
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="peo-bench-") as scratch, servers(pathlib.Path(scratch)) as world:
        world.prepare(args.scale)
        results = rounds(world, args.rounds, args.scale, args.duckdb)
        table(results)
        if args.growth:
            growth(world, args.scale)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is 1,494,975 rows")
    parser.add_argument("--duckdb", metavar="PYTHON", help="a Python with duckdb and duckdb-extension-postgres-scanner")
    parser.add_argument("--no-growth", dest="growth", action="store_false", help="leave the ten times larger file out")
    return parser.parse_args()


@contextlib.contextmanager
def servers(scratch):
    """The servers with their default durability, up for as long as the block runs."""
    run = [sys.executable, str(SERVICES)]
    subprocess.run([*run, "up", "--dir", str(scratch / "services")], check=True, stdout=subprocess.DEVNULL)
    try:
        lines = (scratch / "services" / "services.env").read_text().splitlines()
        yield World(scratch, dict(line.split("=", 1) for line in lines if "=" in line))
    finally:
        subprocess.run([*run, "down", "--dir", str(scratch / "services")], check=True, stdout=subprocess.DEVNULL)


class World:
    """A database, a bucket and the program, and how to reset them."""

    def __init__(self, scratch, settings):
        self.scratch, self.settings = scratch, settings
        self.env = {
            "SOURCE": f"bucket_endpoint=http://127.0.0.1:{settings['PEO_S3_PORT']} bucket_id={settings['PEO_S3_ID']} "
            f"bucket_key={settings['PEO_S3_KEY']} bucket_name=bench bucket_path=data",
            "TARGET": f"user=loader host=127.0.0.1 port={settings['PEO_PG_PORT']} dbname=bench",
            "NATS": f"nats://127.0.0.1:{settings['PEO_NATS_PORT']}",
            "RUN_AS_SERVICE": "False",
            "SETTLE": "0",
            "MIGRATE": "False",
        }

    def prepare(self, scale):
        self.sql("create database bench", "postgres")
        self.sql("create role loader login", "postgres")
        owner = {"TARGET": self.env["TARGET"].replace("user=loader", f"user={self.settings['PEO_PG_USER']}")}
        self.program("migrate", "--model", str(ROOT / "db" / "model"), "--roles", env=owner)
        self.sql("grant paper_engine_loader to loader")
        self.feed("--create-bucket", "--scale", str(scale), "--no-snapshot")
        self.files = self.scratch / "files"
        self.program("feed", "make", "--out", str(self.files), "--entity", "entity_2", *self.changes(scale, snapshot=True))

    def changes(self, scale, snapshot=False):
        return [
            "--scale", str(scale), "--changes", "1", "--ops", str(int(OPERATIONS * scale)),
            *([] if snapshot else ["--no-snapshot"]),
        ]

    def program(self, *args, env=None):
        """Runs the program; seconds of wall time and MiB of peak memory."""
        begun = time.perf_counter()
        process = subprocess.Popen(
            [PROGRAM, *args], env={**self.env, **(env or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        said = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"{args}: exit code {process.returncode}\n{said}")
        return time.perf_counter() - begun, usage.ru_maxrss / 1024

    def feed(self, *args):
        self.program("feed", "make", "--bucket", "--entity", "entity_2", *args)

    def psql(self, database="bench"):
        return [
            f"{self.settings['PEO_PG_BIN']}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1",
            "-p", self.settings["PEO_PG_PORT"], "-U", self.settings["PEO_PG_USER"], "-d", database,
        ]

    def sql(self, script, database="bench"):
        done = subprocess.run([*self.psql(database), "-At", "-c", script], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def empty(self):
        """An empty table, an empty ledger, and nothing left to write for the server."""
        self.sql(f"truncate {TABLE}; truncate loader_rejects, loader_notifications, loader_deliveries; checkpoint")

    def forget_changes(self):
        """The next round's change file comes under another name, and this one would be loaded before it."""
        for key in self.sql("select object_key from loader_deliveries where kind = 'changes'").splitlines():
            bucket.delete(self.settings, "bench", key)

    def rows(self):
        return int(self.sql(f"select count(*) from {TABLE}"))

    def copy(self):
        """zcat | psql \\copy into the keyed table; seconds."""
        file = self.files / "dbo" / "entity_2" / "LOAD00000001.csv.gz"
        begun = time.perf_counter()
        with subprocess.Popen(["zcat", str(file)], stdout=subprocess.PIPE) as zcat:
            copy = f"\\copy {TABLE} from stdin csv null 'NULL'"
            subprocess.run([*self.psql(), "-c", copy], stdin=zcat.stdout, check=True)
        return time.perf_counter() - begun


    def merge(self):
        """The change file by hand-written SQL; seconds."""
        (file,) = (self.files / "dbo" / "entity_2").glob("2*.csv.gz")
        columns = ", ".join(COLUMNS)
        mine, new = (", ".join(f"{side}.{column}" for column in COLUMNS[1:]) for side in "tf")
        copy = f"\\copy c (op, {columns}) from program 'zcat {file}' csv null 'NULL'"
        script = f"""
            begin;
            create temp table c on commit drop as select 0::bigint as seq, 'I' as op, t.* from {TABLE} t limit 0;
            create temp sequence s; alter table c alter seq set default nextval('s');
            \\set ON_ERROR_STOP on
            {copy}
            create temp table f on commit drop as select distinct on (event_id) * from c order by event_id, seq desc;
            delete from {TABLE} t using f where f.op = 'D' and t.event_id = f.event_id;
            update {TABLE} t set ({", ".join(COLUMNS[1:])}) = ({new}) from f
            where f.op <> 'D' and t.event_id = f.event_id and ({mine}) is distinct from ({new});
            insert into {TABLE} ({columns}) select {columns} from f
            where f.op <> 'D' and not exists (select from {TABLE} t where t.event_id = f.event_id);
            drop sequence s cascade;
            commit;"""
        begun = time.perf_counter()
        subprocess.run(self.psql(), input=script, text=True, check=True)
        return time.perf_counter() - begun


def duck(world, python, what, file):
    """What DuckDB takes for the same; seconds."""
    dsn = f"host=127.0.0.1 port={world.settings['PEO_PG_PORT']} user={world.settings['PEO_PG_USER']} dbname=bench"
    begun = time.perf_counter()
    subprocess.run([python, str(ROOT / "benches" / "duck.py"), what, str(file), dsn], check=True)
    return time.perf_counter() - begun


def duck_round(world, python, results, scale):
    folder = world.files / "dbo" / "entity_2"
    world.empty()
    results["DuckDB, first load"].append((duck(world, python, "load", folder / "LOAD00000001.csv.gz"), None))
    again = world.scratch / "again"
    if not again.exists():
        world.program(
            "feed", "make", "--out", str(again), "--entity", "entity_2", "--scale", str(scale), "--reload", "0.01,0.01,0.01"
        )
    world.sql("checkpoint")
    file = again / "dbo" / "entity_2" / "LOAD00000001.csv.gz"
    results["DuckDB, reload"].append((duck(world, python, "diff", file), None))


def rounds(world, count, scale, python):
    results = {"psql": [], "first load": [], "reload, 3 % differ": [], "reload, nothing differs": []}
    results |= {"sql": [], "change file": []}
    results |= {"DuckDB, first load": [], "DuckDB, reload": []} if python else {}
    editions = (["--reload", "0.01,0.01,0.01"], [])
    for _ in range(count):
        world.empty()
        results["psql"].append((world.copy(), None))
        expected = world.rows()
        world.sql("checkpoint")
        results["sql"].append((world.merge(), None))
        merged = world.sql(f"select count(*), sum(quantity) from {TABLE}")
        world.empty()
        world.feed("--scale", str(scale))
        results["first load"].append(world.program("run"))
        assert world.rows() == expected, "the first load is incomplete"
        for name, edition in (("reload, 3 % differ", editions[0]), ("reload, nothing differs", editions[0])):
            time.sleep(1.1)
            world.feed("--scale", str(scale), *edition)
            world.sql("checkpoint")
            results[name].append(world.program("run"))
        counts = world.sql("select rows_create + rows_amend + rows_remove > 0 from loader_deliveries order by id")
        assert counts.split() == ["t", "t", "f"], f"not the reloads that were meant: {counts}"
        world.empty()
        world.feed("--scale", str(scale))
        world.program("run")
        world.feed(*world.changes(scale))
        world.sql("checkpoint")
        results["change file"].append(world.program("run"))
        assert world.sql(f"select count(*), sum(quantity) from {TABLE}") == merged, "the change file went wrong"
        world.forget_changes()
        if python:
            duck_round(world, python, results, scale)
    return results


def table(results):
    print(f"{'':28}{'seconds':>9}{'× peer':>9}{'MiB':>7}")
    for name, runs in results.items():
        peer = statistics.median(seconds for seconds, _ in results["sql" if name in ("sql", "change file") else "psql"])
        seconds = statistics.median(run[0] for run in runs)
        memory = max((run[1] for run in runs if run[1]), default=None)
        shown = f"{memory:7.1f}" if memory else f"{'':7}"
        title = {"psql": "zcat | psql \\copy", "sql": "change file, SQL by hand"}.get(name, name)
        print(f"{title:28}{seconds:9.2f}{seconds / peer:9.2f}{shown}")


def growth(world, scale):
    """Peak memory on a file ten times as large, first load and reload."""
    world.empty()
    world.feed("--scale", str(scale * 10))
    first = world.program("run")
    time.sleep(1.1)
    world.feed("--scale", str(scale * 10), "--reload", "0.01,0.01,0.01")
    again = world.program("run")
    print(f"\nten times the rows ({world.rows():,}):")
    for name, (seconds, memory) in (("first load", first), ("reload, 3 % differ", again)):
        print(f"{name:28}{seconds:9.2f}{'':9}{memory:7.1f}")


if __name__ == "__main__":
    main()
