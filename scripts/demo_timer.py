#!/usr/bin/env python3
"""Shows paper-engine-timer in half a minute, on servers of its own: a thousand good tasks, a dead URL, a slow one, a killed pod.

    ./justw demo-timer              with the release build
    scripts/demo_timer.py --program target/debug/paper-engine-timer --sink target/debug/examples/webhook_sink

Run by scripts/services.py, which starts Postgres and says where it is.
"""

import argparse
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELEASE = ROOT / "target" / "release"
GOOD, DEAD, SLOW = 1000, 100, 20
LEASE = 5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, default=RELEASE / "paper-engine-timer")
    parser.add_argument("--sink", type=pathlib.Path, default=RELEASE / "examples" / "webhook_sink")
    options = parser.parse_args()
    if "PEO_PG_PORT" not in os.environ:
        sys.exit("demo_timer: run it by ./justw demo-timer, which starts Postgres")
    demo = Demo(options)
    try:
        demo.run()
    finally:
        demo.end()


def say(text):
    print(text, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Demo:
    def __init__(self, options):
        self.options, self.processes = options, []
        self.sink = f"127.0.0.1:{free_port()}"
        self.silent = socket.create_server(("127.0.0.1", 0), backlog=512)  # takes connections and never answers
        self.env = {
            **os.environ,
            "TIMER_DB": f"postgres://{os.environ['PEO_PG_USER']}@127.0.0.1:{os.environ['PEO_PG_PORT']}/timer_demo",
            "ALLOW_PRIVATE": "127.0.0.0/8",
            "TIMEOUT": "2s",
            "LEASE": f"{LEASE}s",
            "RETRIES": "10m",
        }

    def run(self):
        self.start([self.options.sink, self.sink], {})
        self.command("migrate")
        first, second = self.pod(), self.pod()
        say(f"Two pods fire from one table. Their page: http://{first.address}/ (for as long as this runs)")
        self.await_ready(first, second)
        self.add()
        killed = None
        begun = time.monotonic()
        while (seen := self.report())["distinct"] < GOOD + SLOW and time.monotonic() - begun < 40:
            if killed is None and seen["distinct"] > GOOD // 2:
                os.kill(first.pid, signal.SIGKILL)
                killed = time.monotonic()
                say(f"  {seen['distinct']:5,} fired: the first pod is killed (kill -9). What it held is fired when its lease of {LEASE} s has ended.")
            say(f"  {seen['distinct']:5,} fired, {self.states()}")
            time.sleep(1)
        self.conclude()

    def add(self):
        """Tasks are rows: any client may insert them."""
        say(f"Added by SQL: {GOOD:,} good tasks due over five seconds, {DEAD} for a server that never answers, {SLOW} for one that takes a second.")
        due = "extract(epoch from due) * 1000000"
        self.sql(
            "insert into timers (timer_url, timer_invoke_time) select format('http://%s/at/%s', '{sink}', ({due})::bigint), due"
            " from (select now() + interval '2 seconds' + n * interval '5 ms' as due from generate_series(1, {good}) n) t;"
            "insert into timers (timer_url, timer_invoke_time) select 'http://127.0.0.1:{silent}/dead', now() + interval '2 seconds' from generate_series(1, {dead});"
            "insert into timers (timer_url, timer_invoke_time) select 'http://{sink}/slow/1000', now() + interval '2 seconds' from generate_series(1, {slow})".format(
                sink=self.sink, due=due, good=GOOD, silent=self.silent.getsockname()[1], dead=DEAD, slow=SLOW
            )
        )

    def conclude(self):
        seen = self.report()
        late = seen["late_ms"]
        say("")
        say(f"Arrived: {seen['distinct']:,} of {GOOD + SLOW:,} good and slow ones; {seen['repeats']} came twice, with the same id; {seen['early']} early.")
        say(f"Lateness of the {GOOD:,}: half within {late['p50']} ms; those that the killed pod held waited for its lease: at most {late['max'] / 1000:.1f} s.")
        for _ in range(3 * LEASE):
            if "leased" not in self.states():
                break
            time.sleep(1)
        say(f"The table: {self.states()}. The dead server's tasks are tried again in ten minutes.")
        self.command("list", "--state", "retry", "--limit", "2")
        if seen["distinct"] < GOOD + SLOW:
            sys.exit("demo_timer: not everything arrived")

    def states(self):
        rows = self.sql(
            "select string_agg(format('%s %s', n, state), ', ' order by state) from (select coalesce(a.state, t.timer_status::text) as state, count(*) as n"
            " from timers t left join timer_attempts a using (timer_id) group by 1) s"
        )
        return rows.strip() or "nothing in the table"

    def sql(self, text):
        psql = [f"{os.environ['PEO_PG_BIN']}/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", self.env["TIMER_DB"]]
        return subprocess.run(psql, input=text, check=True, capture_output=True, text=True).stdout

    def command(self, *arguments):
        subprocess.run([self.options.program, *arguments], env=self.env, check=True)

    def pod(self):
        address = f"127.0.0.1:{free_port()}"
        pod = self.start([self.options.program, "run"], {"METRICS": address})
        pod.address = address
        return pod

    def await_ready(self, *pods):
        for pod in pods:
            for _ in range(200):
                try:
                    with urllib.request.urlopen(f"http://{pod.address}/readyz"):
                        break
                except OSError:
                    time.sleep(0.05)
            else:
                sys.exit("demo_timer: a pod is not ready after 10 s")

    def start(self, command, env):
        self.processes.append(subprocess.Popen(command, env={**self.env, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return self.processes[-1]

    def report(self):
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"http://{self.sink}/report") as answer:
                    return json.load(answer)
            except OSError:
                time.sleep(0.05)
        sys.exit("demo_timer: the receiver does not answer")

    def end(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=25)
            except subprocess.TimeoutExpired:
                process.kill()


if __name__ == "__main__":
    main()
