#!/usr/bin/env python3
"""Times the loader against psql on the mission's largest file, in one run on one server, and prints medians and ratios.

    ./justw bench                     1,494,975 rows, five rounds, and the peak memory on ten times as many
    ./justw bench --rounds 1 --scale 0.1 --no-growth

The peer is what people do by hand: zcat FILE | psql -c '\\copy TABLE from stdin csv', into the same keyed table.
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

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target" / "release" / "paper-engine-orders"
SERVICES = ROOT / "scripts" / "services.py"
TABLE = "dbo.entity_2"


def main():
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="peo-bench-") as scratch, servers(pathlib.Path(scratch)) as world:
        world.prepare(args.scale)
        results = rounds(world, args.rounds, args.scale)
        table(results)
        if args.growth:
            growth(world, args.scale)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is 1,494,975 rows")
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
        self.program("feed", "make", "--out", str(self.files), "--entity", "entity_2", "--scale", str(scale))

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


def rounds(world, count, scale):
    results = {"psql": [], "first load": [], "reload, 3 % differ": [], "reload, nothing differs": []}
    editions = (["--reload", "0.01,0.01,0.01"], [])
    for _ in range(count):
        world.empty()
        results["psql"].append((world.copy(), None))
        expected = world.rows()
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
    return results


def table(results):
    peer = statistics.median(seconds for seconds, _ in results["psql"])
    print(f"{'':28}{'seconds':>9}{'× psql':>9}{'MiB':>7}")
    for name, runs in results.items():
        seconds = statistics.median(run[0] for run in runs)
        memory = max((run[1] for run in runs if run[1]), default=None)
        shown = f"{memory:7.1f}" if memory else f"{'':7}"
        title = "zcat | psql \\copy" if name == "psql" else name
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
