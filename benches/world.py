"""The servers, a database, a bucket and the program, and how to bring them into a state."""

import contextlib
import os
import pathlib
import subprocess
import sys
import time

import bucket
import measure

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target" / "release" / "paper-engine-orders"
SERVICES = ROOT / "scripts" / "services.py"
TABLE = "dbo.entity_2"
COLUMNS = ["event_id", "order_id", "kind", "quantity", "price", "happened_at", "note"]
LOAD = "LOAD00000001.csv.gz"


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
    """Each section uses a path of its own in the one bucket, so none sees another's objects."""

    def __init__(self, scratch, settings):
        self.scratch, self.settings = scratch, settings
        self.dsn = f"host=127.0.0.1 port={settings['PEO_PG_PORT']} user={settings['PEO_PG_USER']} dbname=bench"
        self.env = {
            "TARGET": f"user=loader host=127.0.0.1 port={settings['PEO_PG_PORT']} dbname=bench",
            "NATS": f"nats://127.0.0.1:{settings['PEO_NATS_PORT']}",
            "RUN_AS_SERVICE": "False",
            "SETTLE": "0",
            "MIGRATE": "False",
        }
        (pid,) = [int(line.split()[0]) for line in (scratch / "services/pids/postgres").read_text().splitlines()]
        self.postgres = pid

    def prepare(self):
        """The database with the loader's role and the mission's tables, and an empty bucket."""
        self.sql("create database bench", "postgres")
        self.sql("create role loader login", "postgres")
        owner = {"TARGET": self.dsn}
        self.program("migrate", "--model", ROOT / "db" / "model", "--roles", env=owner)
        self.sql("grant paper_engine_loader to loader; create schema kept")
        self.sql("alter default privileges in schema dbo grant all on tables to loader")
        bucket.put(self.settings, "bench", "", b"")

    def source(self, path):
        return (
            f"bucket_endpoint=http://127.0.0.1:{self.settings['PEO_S3_PORT']} bucket_id={self.settings['PEO_S3_ID']} "
            f"bucket_key={self.settings['PEO_S3_KEY']} bucket_name=bench bucket_path={path}"
        )

    def program(self, *args, path="data", env=None, codes=(0,)):
        """Runs the program; a sample."""
        return self.start_program(*args, path=path, env=env)(codes)

    def start_program(self, *args, path="data", env=None):
        return measure.start([PROGRAM, *args], {**self.env, "SOURCE": self.source(path), **(env or {})})

    def feed(self, name, *args, entity="entity_2"):
        """A folder of files, made once; where entity_2's are."""
        folder = self.scratch / "files" / name
        if not folder.exists():
            self.program("feed", "make", "--out", folder, "--entity", entity, *args)
        return folder / "dbo" / entity

    def upload(self, path, file, table="entity_2", name=None):
        bucket.put(self.settings, "bench", f"{path}/dbo/{table}/{name or file.name}", file.read_bytes())

    def psql(self, database="bench"):
        return [
            f"{self.settings['PEO_PG_BIN']}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1",
            "-p", self.settings["PEO_PG_PORT"], "-U", self.settings["PEO_PG_USER"], "-d", database,
        ]  # fmt: skip

    def sql(self, script, database="bench"):
        """Runs statements, each in a transaction of its own; what the last gave."""
        done = subprocess.run([*self.psql(database), "-At"], input=script, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def empty(self, table=TABLE):
        """An empty table, an empty ledger, and nothing left to write for the server."""
        self.sql(f"truncate {table}; {FORGET}; checkpoint")

    def rows(self, table=TABLE):
        return int(self.sql(f"select count(*) from {table}"))

    def keep(self, table):
        """Keeps a table and the ledger aside, to begin each round from. Both are vacuumed: else autovacuum does it
        within a minute, while somebody is measured."""
        name = table.split(".")[1]
        self.sql(f"create unlogged table kept.{name} as table {table}")
        self.keep_ledger(name)
        self.sql(f"vacuum (analyze) kept.{name}; vacuum (analyze) {table}")

    def keep_ledger(self, name):
        """Keeps the ledger aside under a name, with what it notes of the tables."""
        self.sql("".join(f"create unlogged table kept.{name}_{own} as table {own};" for own in LEDGER))

    def bring_back(self, table, rows=True):
        """The table and the ledger as they were kept, at rest: as autovacuum leaves them soon after a load."""
        name = table.split(".")[1]
        if rows:
            self.sql(f"truncate {table}; insert into {table} select * from kept.{name}")
        self.bring_back_ledger(name)
        self.rest(table)

    def bring_back_ledger(self, name):
        """The ledger as it was kept. The tables are stored anew, and the loader must not notice."""
        back = (f"insert into {own} overriding system value select * from kept.{name}_{own};" for own in LEDGER)
        self.sql(f"{FORGET}; {''.join(back)} update loader_tables set storage = loader_storage(table_oid)")

    def rest(self, table):
        self.sql(f"vacuum (analyze) {table}; vacuum (analyze) loader_deliveries; checkpoint")

    def watched(self, action):
        """The action's sample, with what Postgres did meanwhile."""
        wal, cpu = self.wal(), self.server_cpu()
        sample = action()
        time.sleep(0.05)  # a backend ends soon after its client has
        sample.server = self.server_cpu() - cpu
        sample.wal = self.wal() - wal
        return sample

    def wal(self):
        return int(self.sql("select pg_current_wal_lsn() - '0/0'::pg_lsn"))

    def server_cpu(self):
        """CPU seconds of the backends that have ended (of Linux; elsewhere 0)."""
        try:
            fields = pathlib.Path(f"/proc/{self.postgres}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


LEDGER = ("loader_deliveries", "loader_tables", "loader_null_rules")
FORGET = f"truncate loader_rejects, loader_notifications, {', '.join(LEDGER)}"
