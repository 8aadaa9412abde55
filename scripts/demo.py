#!/usr/bin/env python3
"""Shows the program at work, with servers of its own (Postgres, NATS, S3) that nobody else sees:

    Act 0  sets up: the servers, an empty database, a bucket with a feed
    Act 1  loads the feed once, as the container job does
    Act 2  loads change files, then a reload: each as a dry run first, then for real, which must give the same numbers
    Act 3  runs as a service: a file arrives and is loaded; the metrics; a stop

What the program says is indented; `nats >` begins what a subscriber hears. Whatever an `ok:` claims was checked, and
what is not as it should be ends the demo with exit code 1. The program must be built: ./justw demo does that first.
"""

import argparse
import contextlib
import http.client
import json
import math
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import services

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / (os.environ.get("CARGO_TARGET_DIR") or "target") / "release" / "paper-engine-orders"
DATABASE = "paper_engine"
SUBJECT = "paper-engine.meta.orders.change"
TABLES = ("dbo.entity_3", "dbo.entity_1", "dbo.entity_2")
METRICS = ("rows_total", "deliveries_total", "newest_loaded", "outbox_messages")
# Seconds. What is a matter of an instant and takes longer does not happen at all.
PATIENCE = 30


class Failure(Exception):
    """What is not as it should be, in a sentence."""


class Ended(BaseException):
    """Somebody told us to end. Not an Exception, so that nothing on the way takes it for an error."""


# ---- the frame


def main():
    args = parse_arguments()
    show = Show()
    services.on_end(end)
    try:
        if not PROGRAM.exists():
            raise Failure(f"there is no {PROGRAM}; ./justw demo builds it")
        place = services.Place(args.dir)
        with place.locked():
            perform(Demo(args.scale, place, show), args.keep)
        return 0
    except (Failure, services.Fault) as fault:
        show.line(f"\nFAILED: {fault}", "1;31")
        return 1
    except Ended as ended:
        show.line("\nInterrupted; everything is stopped.", "1;31")
        return 128 + ended.args[0]
    except BrokenPipeError:  # whoever read this has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=scale, default=1.0, help="how large the feed is; 0.01 is a hundredth of it")
    parser.add_argument("--keep", action="store_true", help="leave the servers up at the end, and say how to connect")
    parser.add_argument("--dir", default=ROOT / ".run" / "demo", help="where the servers live; .run/demo if left out")
    return parser.parse_args()


def scale(text):
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError
    return number


def end(number, _):
    """Only the first signal counts: cleaning up is not to be stopped."""
    for each in services.ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise Ended(number)


@contextlib.contextmanager
def undisturbed():
    """A signal has to wait until the end of it."""
    received = []
    services.on_end(lambda number, _: received.append(number))
    try:
        yield
    finally:
        services.on_end(end)
    if received:
        end(received[0], None)


def perform(demo, keep):
    """The demo; then its servers are stopped. With `keep` they stay, unless somebody told us to end."""
    if demo.place.running_all():
        raise Failure(f"the servers of an earlier demo are still up; this stops them:\n    {demo.stop_command()}")
    try:
        try:
            demo.play()
        except Exception:
            demo.stop(keep)
            raise
        demo.stop(keep)
    except Ended:  # perhaps while it was being stopped; from now on all is quiet
        demo.stop(keep=False)
        raise
    if not keep:
        demo.show.line("Nothing is left running.")


# ---- the acts


class Demo:
    """One performance. `values` says how to reach the servers, `settings` is that in the program's own variables."""

    def __init__(self, scale, place, show):
        self.scale = scale
        self.place = place
        self.show = show
        self.programs = []
        self.subscriber = None
        self.times = []

    def play(self):
        self.act("Act 0: set up", self.set_up)
        self.act("Act 1: load the feed once, as the container job does", self.load_once)
        self.act("Act 2: change files and a reload, each as a dry run and then for real", self.change_and_reload)
        self.act("Act 3: run as a service", self.serve)
        self.sum_up()

    def stop(self, keep):
        """Leaves nothing running but, if they are to be kept, the servers."""
        for program in self.programs:
            program.kill()
        if self.subscriber:
            self.subscriber.close()
        if keep and self.place.running_all():
            self.say_how_to_connect()
        else:
            services.clear(self.place)

    def act(self, title, play):
        began = time.monotonic()
        self.show.heading(title)
        play()
        name, took = title.split(":")[0], f"{time.monotonic() - began:.1f} s"
        self.times.append(f"{name} {took}")
        self.show.line(f"\n({name} took {took})", "2")

    def set_up(self):
        self.values = services.start(self.place, services.Wanted(jetstream=False))
        self.settings = self.make_settings()
        self.temporary = self.place.data / "tmp"  # goes when the servers go, whatever was killed in the meantime
        self.temporary.mkdir()
        self.psql(f"create database {DATABASE}", database="postgres")
        self.show.line("Postgres, S3 and NATS are up. The program finds them by its environment:")
        self.show.block(f"{name}={value}" for name, value in self.settings.items())
        self.show.step("the loader's own tables, and a table for each entity")
        self.run("migrate", "--model", "db/model")
        self.show.step("a feed as AWS DMS writes it: a full load of each entity")
        self.make_feed("--create-bucket")
        self.subscriber = Subscriber(self.values["PEO_NATS_PORT"], self.show)

    def load_once(self):
        self.run(RUN_AS_SERVICE="False")
        self.check_messages()
        self.show_ledger()

    def change_and_reload(self):
        self.show.step("change files: what was inserted, updated and deleted at the source")
        self.make_changes("--entity=entity_1", "--entity=entity_2", "--changes=2")
        self.make_changes("--entity=entity_3", "--changes=1", ops=20)
        self.rehearse_and_load()
        self.show.step("a reload of entity_2: of the first load's rows 1 % are gone, 1 % changed, 1 % new")
        self.show.line("The change files' changes are not in it, so it takes them back as well.")
        self.show.line("A reload must be quiet for SETTLE seconds before it is loaded: 60 by default, 1 here.")
        self.make_feed("--entity=entity_2", "--reload=0.01,0.01,0.01")
        self.rehearse_and_load(SETTLE="1")

    def rehearse_and_load(self, **settings):
        """What is pending, twice: the dry run must give the real run's numbers and leave nothing behind."""
        self.show.step("the dry run")
        before = self.fingerprint()
        rehearsed = effects(self.run("run", "--once", "--dry-run", **settings))
        if left := self.fingerprint() ^ before:
            raise Failure("\n    ".join(["the dry run left something behind, see where:", *sorted(left)]))
        self.show.ok("the dry run left nothing: rows, ledger, outbox and sequences are as before, no message was heard")
        self.show.step("the real run")
        loaded = effects(self.run("run", "--once", **settings))
        if not loaded or rehearsed != loaded:
            raise Failure("\n    ".join(["the numbers differ. The dry run:", *rehearsed, "The real run:", *loaded]))
        self.show.ok(f"the dry run and the real run gave the same numbers; deliveries compared: {len(loaded)}")
        self.check_messages()

    def serve(self):
        settings = {"MIN_SLEEP": "0.5", "MAX_SLEEP": "1", "METRICS": f"{services.HOST}:0"}
        service = self.start("run", "--service", **settings)
        address = service.await_line(r"served at http://([\d.]+:\d+)")[1]
        self.show.line(f"GET /readyz: {await_ready(address)}")
        self.show.step("a change file arrives")
        self.make_changes("--entity=entity_1", "--changes=1", "--number=3")
        service.await_line(r"Delivery \d+: processed \(")
        self.check_messages()
        self.show.step("GET /metrics, some of it")
        self.show.block(some_metrics(address))
        self.show.step("a stop, by SIGTERM")
        service.process.terminate()
        code = service.wait(PATIENCE)
        if code != 0:
            raise Failure(f"the service ended with exit code {code}")
        self.show.ok("the service ended with exit code 0")

    def sum_up(self):
        self.show.heading("Summary")
        self.show_ledger()
        self.check_messages()
        self.check_tables()
        self.show.line(", ".join(self.times))

    # ---- what the acts are made of

    def make_settings(self):
        """The three variables that the program needs; the others have defaults."""
        values = self.values
        source = {
            "bucket_endpoint": f"http://{services.HOST}:{values['PEO_S3_PORT']}",
            "bucket_id": values["PEO_S3_ID"],
            "bucket_key": values["PEO_S3_KEY"],
            "bucket_name": "feed",
            "bucket_path": "data",
        }
        target = {
            "user": values["PEO_PG_USER"],
            "host": values["PEO_PG_HOST"],
            "port": values["PEO_PG_PORT"],
            "dbname": DATABASE,
        }
        pairs = [" ".join(f"{name}={value}" for name, value in each.items()) for each in (source, target)]
        return {"SOURCE": pairs[0], "TARGET": pairs[1], "NATS": f"nats://{services.HOST}:{values['PEO_NATS_PORT']}"}

    def make_feed(self, *arguments):
        self.run("feed", "make", "--bucket", f"--scale={self.scale:g}", *arguments)

    def make_changes(self, *arguments, ops=1000):
        """A small feed gets small change files, lest a reload that takes them back is held for what it removes."""
        ops = max(20, min(ops, round(ops * self.scale)))
        self.make_feed("--no-snapshot", f"--ops={ops}", *arguments)

    def run(self, *arguments, **settings):
        """Runs the program to its end and returns what it said."""
        program = self.start(*arguments, **settings)
        code = program.wait()
        if code != 0:
            raise Failure(f"{program.name} ended with exit code {code}, see above")
        return program.lines

    def start(self, *arguments, **settings):
        """Starts the program. Its environment is ours alone: no AWS_, PG or RUST_LOG of the caller's."""
        words = [f"{name}={value}" for name, value in settings.items()]
        self.show.line(" ".join(["$", *words, PROGRAM.name, *arguments]), "36")
        env = {"PATH": os.defpath, "TMPDIR": str(self.temporary), **self.settings, **settings}
        with undisturbed():
            program = Program(arguments, env, self.show)
            self.programs.append(program)
        return program

    def psql_command(self, database=DATABASE):
        where = {"-h": "PEO_PG_HOST", "-p": "PEO_PG_PORT", "-U": "PEO_PG_USER"}
        options = [text for option, name in where.items() for text in (option, self.values[name])]
        return [os.path.join(self.values["PEO_PG_BIN"], "psql"), *options, "-d", database]

    def psql(self, sql, *options, database=DATABASE):
        command = [*self.psql_command(database), "-X", "-v", "ON_ERROR_STOP=1", *(options or ["-At"]), "-c", sql]
        done = subprocess.run(command, env={"PATH": os.defpath}, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"psql: {done.stderr.strip()}\n    {sql}")
        return done.stdout.rstrip("\n").splitlines()

    def show_ledger(self):
        self.show.step("the ledger: each file of the feed, and what it changed")
        columns = "rows_read as read, rows_create as create, rows_amend as amend, rows_remove as remove"
        sql = f"select id, object_key, status, {columns}, max_event_id from loader_deliveries order by id"
        self.show.block(self.psql(sql, "-P", "footer=off", "-P", "pager=off"))

    def fingerprint(self):
        """What a run can leave behind, as a set of texts. Instead of a row's values it has the row's version, xmin and
        ctid, which takes a fraction of the time: a row that is written again gets others, even with the same values."""
        tables = ("loader_deliveries", "loader_notifications", *TABLES)
        versions = "xmin::text, count(*), sum(hashtidextended(ctid, 0))"
        parts = [f"select '{table}', {versions} from {table} group by xmin" for table in tables]
        parts.append("select sequencename, '', last_value, 0 from pg_sequences")
        parts.append("select 'tables, indexes and so on', '', count(*), 0 from pg_class")
        return {*self.psql(" union all ".join(parts)), f"messages heard: {len(self.subscriber.lines)}"}

    def check_messages(self):
        """As many messages as ledger rows that changed something, with the same numbers."""
        sql = "select entity, rows_create, rows_amend, rows_remove from loader_deliveries"
        changed = self.psql(f"{sql} where rows_create + rows_amend + rows_remove > 0 order by id")
        heard = self.subscriber.await_messages(len(changed))
        if sorted(changed) != sorted(heard):
            raise Failure("\n    ".join(["ledger and messages differ. The ledger:", *changed, "Heard:", *heard]))
        self.show.ok(f"{len(heard)} messages heard, one for each ledger row that changed something")

    def check_tables(self):
        """As many rows in the tables as the ledger says."""
        counts = [f"(select count(*) from {table})" for table in TABLES]
        [there] = self.psql(f"select {' + '.join(counts)}")
        [created, amended, removed] = self.psql(
            "select unnest(array[sum(rows_create), sum(rows_amend), sum(rows_remove)]) from loader_deliveries"
        )
        if int(there) != int(created) - int(removed):
            raise Failure(f"the tables have {there} rows, but {created} were created and {removed} removed")
        self.show.ok(
            f"{int(created):,} rows created, {int(amended):,} amended, {int(removed):,} removed, "
            f"and so {int(there):,} rows in the tables"
        )

    def say_how_to_connect(self):
        self.show.heading("The servers are still up, for this:")
        self.show.block([shlex.join(self.psql_command())])
        self.show.block(f"export {name}={shlex.quote(value)}" for name, value in self.settings.items())
        self.show.block([f"{shlex.quote(short(PROGRAM))} run --once", f"{self.stop_command()}  # stops them"])

    def stop_command(self):
        return shlex.join(["python3", short(services.__file__), "down", "--dir", short(self.place.dir)])


def short(path):
    """The path as one would type it."""
    path, here = Path(path).resolve(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def effects(lines):
    """What each delivery did, in the program's words: `entity_1 (create: 1, amend: 2, remove: 3).`"""
    found = (re.search(r"Delivery \d+: (\S+ \(create: .*\))\.$", line) for line in lines)
    return [match[1] for match in found if match]


def get(address, path):
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"http://{address}{path} does not answer: {error}") from error
    finally:
        connection.close()


def await_ready(address):
    deadline = time.monotonic() + PATIENCE
    while True:
        status, text = get(address, "/readyz")
        if status == 200:
            return f"{status} {text.strip()}"
        if time.monotonic() > deadline:
            raise Failure(f"the service does not become ready: {text.strip()}")
        time.sleep(0.05)


def some_metrics(address):
    _, text = get(address, "/metrics")
    wanted = tuple(f"paper_engine_{name}" for name in METRICS)
    return [line for line in text.splitlines() if line.startswith(wanted)]


# ---- who speaks


class Show:
    """What is to be seen. Several threads speak, a line at a time."""

    def __init__(self):
        sys.stdout.reconfigure(errors="replace")
        self.colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self.lock = threading.Lock()

    def line(self, text, style=None):
        if self.colour and style:
            text = f"\033[{style}m{text}\033[0m"
        try:
            with self.lock:
                print(text, flush=True)
        except BrokenPipeError:
            if threading.current_thread() is threading.main_thread():
                raise  # the others must go on listening until the main thread stops everything

    def block(self, lines):
        for line in lines:
            self.line(f"    {line}".rstrip())

    def heading(self, text):
        self.line(f"\n=== {text}", "1")

    def step(self, text):
        self.line(f"\n--- {text}", "1")

    def ok(self, text):
        self.line(f"ok: {text}", "32")


class Listener:
    """Lines that a thread collects, and the wait for them."""

    def __init__(self):
        self.lines = []
        self.ended = False
        self.more = threading.Condition()

    def add(self, line):
        with self.more:
            self.lines.append(line)
            self.more.notify_all()

    def end(self):
        with self.more:
            self.ended = True
            self.more.notify_all()

    def wait_for(self, found):
        """Waits until `found` finds something or nothing more can come."""
        with self.more:
            self.more.wait_for(lambda: found() or self.ended, PATIENCE)
            return found()


class Program(Listener):
    """The program while it runs, and what it says."""

    def __init__(self, arguments, env, show):
        super().__init__()
        self.show = show
        self.name = " ".join([PROGRAM.name, *arguments])
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        text = {"encoding": "utf-8", "errors": "replace"}
        # In a session of its own, so that a Ctrl-C reaches only us.
        self.process = subprocess.Popen(
            [PROGRAM, *arguments], cwd=ROOT, env=env, start_new_session=True, **streams, **text
        )
        self.listening = threading.Thread(target=self.listen, daemon=True)
        self.listening.start()

    def listen(self):
        for line in self.process.stdout:
            self.show.block([line.rstrip("\n")])
            self.add(line.rstrip("\n"))
        self.end()

    def wait(self, seconds=None):
        """Its exit code, once all that it said is shown."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} has not ended after {seconds} s") from None
        self.listening.join()
        return code

    def kill(self):
        self.process.kill()
        self.wait()

    def await_line(self, pattern):
        def find():
            return next(filter(None, (re.search(pattern, line) for line in self.lines)), None)

        match = self.wait_for(find)
        if not match:
            raise Failure(f"{self.name} {'ended' if self.ended else 'works on'} and never said {pattern}")
        return match


class Subscriber(Listener):
    """A NATS client that hears the program's messages. The protocol is lines of text."""

    def __init__(self, port, show):
        super().__init__()
        self.show = show
        self.connection = socket.create_connection((services.HOST, int(port)), timeout=PATIENCE)
        self.stream = self.connection.makefile("rb")
        self.send(f'CONNECT {{"verbose":false}}\r\nSUB {SUBJECT} 1\r\nPING')
        while not (line := self.stream.readline()).startswith(b"PONG"):
            if not line.startswith(b"INFO"):
                raise Failure(f"NATS says {line!r}")
        self.connection.settimeout(None)
        show.line(f"nats > a subscriber listens to {SUBJECT}", "35")
        threading.Thread(target=self.listen, daemon=True).start()

    def send(self, line):
        self.connection.sendall(f"{line}\r\n".encode())

    def listen(self):
        while line := self.stream.readline():
            if line.startswith(b"MSG "):
                payload = self.stream.read(int(line.split()[-1]) + 2)[:-2].decode()
                self.show.line(f"nats > {payload}", "35")
                self.add(payload)
            elif line.startswith(b"PING"):
                self.send("PONG")
        self.end()

    def await_messages(self, count):
        """What was heard by the time that `count` messages were, or that they should have been."""
        self.wait_for(lambda: len(self.lines) >= count)
        return [row for payload in self.lines for row in told(payload)]

    def close(self):
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def told(payload):
    """A message's numbers, as psql would write them."""
    stats = json.loads(payload)["stats"]
    return [f"{entity}|{n['CREATE']}|{n['AMEND']}|{n['REMOVE']}" for entity, n in stats.items()]


if __name__ == "__main__":
    sys.exit(main())
