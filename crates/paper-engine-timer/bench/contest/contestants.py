"""Who is measured: this program on both databases, graphile_worker, pg-boss, procrastinate, and the original.

Each gives the same calls: `prepare` makes its tables, `add` inserts tasks with one statement, `start` starts a worker.
A task is a path of the receiver with `/at/MICROSECONDS/`, by which the receiver knows how late it was.
"""

import os
import pathlib
import subprocess
import sys
import time

from .servers import ORIGINALS_HOST, ROOT, say

PEERS = pathlib.Path(__file__).resolve().parent.parent / "peers"
HOME = ROOT / ".tools" / "timer-peers"
TIMER = ROOT / "target" / "release" / "paper-engine-timer"
GRAPHILE = HOME / "graphile" / "release" / "graphile-peer"
PYTHON = HOME / "python" / "bin" / "python3"


def build():
    """Builds this program, and installs the peers once."""
    cargo = ["cargo", "build", "--release", "--locked"]
    subprocess.run([*cargo, "-p", "paper-engine-timer", "--bins", "--example", "webhook_sink"], cwd=ROOT, check=True)
    HOME.mkdir(parents=True, exist_ok=True)
    if not PYTHON.exists():
        say("installing the peers into .tools/timer-peers (once)")
        subprocess.run([sys.executable, "-m", "venv", HOME / "python"], check=True)
        subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "-r", PEERS / "requirements.txt"], check=True)
    if not (HOME / "node_modules").exists():
        (HOME / "package.json").write_text((PEERS / "package.json").read_text())
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=HOME, check=True)
    if not GRAPHILE.exists():
        manifest = ["--manifest-path", PEERS / "graphile" / "Cargo.toml", "--target-dir", HOME / "graphile"]
        subprocess.run([*cargo, *manifest], cwd=ROOT, check=True)


def versions():
    pins = [line for line in (PEERS / "requirements.txt").read_text().splitlines() if line.startswith(("procrastinate", "mysql", "aiohttp"))]
    known = ["graphile_worker 0.13.3", "pg-boss 10.4.2", *(pin.replace("==", " ") for pin in pins)]
    return ", ".join([*known, "timer_controller a8a95da" if original_folder() else "the original was not at hand"])


def original_folder():
    folder = os.environ.get("TIMER_CONTROLLER")
    return pathlib.Path(folder) if folder else None


class Timer:
    """This program, on Postgres or on MariaDB; with `original` by the original's variables."""

    def __init__(self, servers, kind, batch=None, table=True):
        self.servers, self.kind, self.batch, self.table = servers, kind, batch, table
        self.name = f"**paper-engine-timer**, {'Postgres' if kind == 'postgres' else 'MariaDB'}"

    def prepare(self, name="timer_ours"):
        self.database = name
        self.db = getattr(self.servers, self.kind)(name)
        if self.table:
            subprocess.run([TIMER, "migrate"], env=self.environment(), check=True, capture_output=True)
        return self

    def environment(self):
        extra = {"BATCH_SIZE": str(self.batch)} if self.batch else {}
        return {**os.environ, "TIMER_DB": self.db, "ALLOW_PRIVATE": "127.0.0.0/8", "METRICS": "", **extra}

    def sql(self, text):
        run = self.servers.psql if self.kind == "postgres" else self.servers.mysql
        return run(text, self.database)

    def add(self, first, count, url_at, dues):
        """Inserts tasks due at so many microseconds since 1970. The path holds the due time too."""
        if self.kind == "postgres":
            rows = (f"('{url_at(due)}', to_timestamp({due}::numeric / 1000000))" for due in dues)
            self.sql("begin; " + "".join(f"insert into timers (timer_url, timer_invoke_time) values {','.join(part)};" for part in parts(rows)) + "commit")
        else:
            epoch = "timestampadd(microsecond, {}, '1970-01-01 00:00:00')"
            rows = (f"(unhex(replace(uuid(), '-', '')), '{url_at(due)}', 'waiting', {epoch.format(due)})" for due in dues)
            columns = "timer_id, timer_url, timer_status, timer_invoke_time"
            self.sql("begin; " + "".join(f"insert into timers ({columns}) values {','.join(part)};" for part in parts(rows)) + "commit")

    def start(self, **more):
        return self.servers.start([TIMER, "run"], {**self.environment(), **more})


class Original(Timer):
    """The original's Python, as it is written, on its own table."""

    def __init__(self, servers, batch):
        super().__init__(servers, "mariadb", batch, table=False)
        self.name = f"the original, batch {batch}"

    def prepare(self, name="timer_db"):
        super().prepare(name)
        self.sql(
            "create table timers (timer_id binary(16) not null, timer_url varchar(2083) not null, timer_status enum('waiting','executing','done','failed')"
            " not null, timer_invoke_time datetime not null) engine=InnoDB;"
            "create function uuid_to_bin(u char(36)) returns binary(16) deterministic return unhex(replace(u, '-', ''));"
            "create function bin_to_uuid(b binary(16)) returns char(36) deterministic return lower(concat_ws('-', substr(hex(b), 1, 8),"
            " substr(hex(b), 9, 4), substr(hex(b), 13, 4), substr(hex(b), 17, 4), substr(hex(b), 21)));"
        )
        return self

    def start(self):
        env = {"DB_HOST": ORIGINALS_HOST, "DB_USER": "root", "DB_PASSWORD": "", "DB_NAME": self.database, "BATCH_SIZE": str(self.batch)}
        return self.servers.start([PYTHON, "main.py"], {**env, "TZ": "UTC", "PYTHONDONTWRITEBYTECODE": "1"}, cwd=original_folder() / "src")


class Graphile:
    name = "graphile_worker (64 at once, local queue of 500)"

    def __init__(self, servers):
        self.servers = servers

    def prepare(self):
        self.db = self.servers.postgres("timer_graphile")
        process = self.start()
        await_true(lambda: self.sql("select to_regprocedure('graphile_worker.add_job(text,json,text,timestamptz,int,text,int,text[],text)') is not null") == "t"
                   or self.sql("select count(*) from pg_proc where proname = 'add_job'") != "0")
        time.sleep(1)
        process.terminate()
        process.wait()
        return self

    def sql(self, text):
        return self.servers.psql(text, "timer_graphile")

    def add(self, first, count, url_at, dues):
        calls = (f"select count(graphile_worker.add_job('hook', json_build_object('url', url), run_at => to_timestamp(due::numeric / 1000000))) from (values {','.join(part)}) as t (url, due);"
                 for part in parts(f"('{url_at(due)}/{first + at}', {due})" for at, due in enumerate(dues)))
        self.sql("begin; " + "".join(calls) + "commit")

    def start(self):
        return self.servers.start([GRAPHILE, self.db, "64"])


class Boss:
    name = "pg-boss (4 workers, batches of 250)"

    def __init__(self, servers):
        self.servers = servers

    def prepare(self):
        self.db = self.servers.postgres("timer_boss")
        process = self.start()
        await_true(lambda: self.sql("select count(*) from pg_tables where schemaname = 'pgboss' and tablename = 'queue'") == "1"
                   and self.sql("select count(*) from pgboss.queue where name = 'hook'") == "1")
        process.terminate()
        process.wait()
        return self

    def sql(self, text):
        return self.servers.psql(text, "timer_boss")

    def add(self, first, count, url_at, dues):
        rows = (f"('hook', json_build_object('url', '{url_at(due)}/{first + at}'), to_timestamp({due}::numeric / 1000000))" for at, due in enumerate(dues))
        self.sql("begin; " + "".join(f"insert into pgboss.job (name, data, start_after) values {','.join(part)};" for part in parts(rows)) + "commit")

    def start(self):
        return self.servers.start(["node", PEERS / "boss.js", self.db, "4", "250"], {"NODE_PATH": str(HOME / "node_modules")})


class Procrastinate:
    name = "procrastinate (64 at once)"

    def __init__(self, servers):
        self.servers = servers

    def prepare(self):
        self.db = self.servers.postgres("timer_procrastinate")
        subprocess.run([PYTHON, PEERS / "procrastinate_peer.py", self.db, "schema"], check=True)
        return self

    def sql(self, text):
        return self.servers.psql(text, "timer_procrastinate")

    def add(self, first, count, url_at, dues):
        rows = (f"('default', 'hook', json_build_object('url', '{url_at(due)}/{first + at}')::jsonb, to_timestamp({due}::numeric / 1000000))" for at, due in enumerate(dues))
        self.sql("begin; " + "".join(f"insert into procrastinate_jobs (queue_name, task_name, args, scheduled_at) values {','.join(part)};" for part in parts(rows)) + "commit")

    def start(self):
        return self.servers.start([PYTHON, PEERS / "procrastinate_peer.py", self.db, "64"])


def parts(rows, size=1000):
    """Lists of so many rows."""
    part = []
    for row in rows:
        part.append(row)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def await_true(asked, seconds=60):
    deadline = time.monotonic() + seconds
    while not asked():
        if time.monotonic() > deadline:
            raise TimeoutError("a peer did not make its tables")
        time.sleep(0.2)
