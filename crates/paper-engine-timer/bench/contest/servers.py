"""The servers of one part: Postgres and MariaDB with their default durability, and the receiver of webhooks."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[4]
SERVICES = ROOT / "scripts" / "services.py"
SINK = ROOT / "target" / "release" / "examples" / "webhook_sink"
"""where the original, which knows no other port than 3306, finds MariaDB"""
ORIGINALS_HOST = "127.77.0.1"


def say(text):
    print(text, file=sys.stderr, flush=True)


class Servers:
    def __init__(self, scratch):
        self.scratch, self.running = scratch, contextlib.ExitStack()

    def __enter__(self):
        folder = self.scratch / "services"
        run = [sys.executable, SERVICES]
        up = [*run, "up", "--no-jetstream", "--mariadb", "--dir", folder]
        subprocess.run(up, check=True, stdout=subprocess.DEVNULL)
        self.running.callback(lambda: subprocess.run([*run, "down", "--dir", folder], check=True))
        lines = (folder / "services.env").read_text().splitlines()
        self.settings = dict(line.split("=", 1) for line in lines)
        self.sink_address = f"127.0.0.1:{free_port()}"
        self.start([SINK, self.sink_address])
        forward = [sys.executable, pathlib.Path(__file__).with_name("forward.py"), ORIGINALS_HOST, "3306", self.settings["PEO_MARIADB_PORT"]]
        self.start(forward)
        return self

    def __exit__(self, *_):
        self.running.close()

    def start(self, command, env=None, cwd=None):
        """Starts a program, which is ended with the part, and returns it."""
        log = open(self.scratch / f"{pathlib.Path(str(command[0])).name}.log", "ab")
        environment = {**os.environ, **(env or {})}
        process = subprocess.Popen([str(part) for part in command], env=environment, cwd=cwd, stdout=log, stderr=log)
        self.running.callback(end, process)
        return process

    # ---- databases

    def psql(self, sql, database="postgres"):
        command = [
            f"{self.settings['PEO_PG_BIN']}/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1",
            "-p", self.settings["PEO_PG_PORT"], "-U", "postgres", "-d", database,
        ]  # fmt: skip
        return subprocess.run(command, input=sql, check=True, capture_output=True, text=True).stdout.strip()

    def postgres(self, name):
        """An empty database, and its URL."""
        self.psql(f"drop database if exists {name} with (force)")
        self.psql(f"create database {name}")
        return f"postgres://postgres@127.0.0.1:{self.settings['PEO_PG_PORT']}/{name}"

    def mysql(self, sql, database="mysql"):
        command = ["mariadb", "--no-defaults", "-h", "127.0.0.1", "-P", self.settings["PEO_MARIADB_PORT"], "-u", "root", "-N", "-B", database]
        return subprocess.run(command, input=sql, check=True, capture_output=True, text=True).stdout.strip()

    def mariadb(self, name):
        """An empty database, and its URL."""
        self.mysql(f"drop database if exists {name}; create database {name} character set utf8mb4")
        return f"mysql://root@127.0.0.1:{self.settings['PEO_MARIADB_PORT']}/{name}"

    # ---- the receiver

    def url(self, path):
        return f"http://{self.sink_address}/{path}"

    def forget(self):
        self.ask("POST", "/reset")

    def report(self):
        return json.loads(self.ask("GET", "/report"))

    def ask(self, method, path):
        request = urllib.request.Request(self.url(path.lstrip("/")), method=method, data=b"" if method == "POST" else None)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def await_distinct(self, number, seconds):
        """Waits until so many different ids have arrived, and returns the report; the last one if they do not."""
        deadline = time.monotonic() + seconds
        while (report := self.report())["distinct"] < number and time.monotonic() < deadline:
            time.sleep(0.1)
        return report


def end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=25)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
