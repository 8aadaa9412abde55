"""The parts of the measurement. Each returns its piece of Markdown: tables, and the contract's goals beside what was reached."""

import json
import os
import re
import socket
import statistics
import subprocess
import time
import urllib.request

from . import contestants
from .contestants import Boss, Graphile, Original, Procrastinate, Timer, original_folder
from .servers import ROOT, end, free_port, say

MILLIS = 1000
SECOND = 1_000_000
LATE_MS = ["1", "2", "5", "10", "20", "50", "100", "200", "500", "1,000", "2,000", "5,000", "more"]


def now():
    return int(time.time() * SECOND)


def table(names, rows):
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)]) + "\n"


def goal(text, wanted, reached, met):
    return [text, wanted, reached, "met" if met else "**no**"]


def goals(rows):
    return table(["goal", "wanted", "reached", "met?"], rows)


def timed(servers):
    return lambda due: servers.url(f"at/{due}")


# ---- how many a second


def rate(servers, scale):
    """Tasks that are all due already, from the first request to the last."""
    everyone = [(Timer(servers, "postgres"), 1), (Timer(servers, "mariadb"), 1), (Graphile(servers), 1), (Boss(servers), 0.5), (Procrastinate(servers), 0.2)]
    if original_folder():
        everyone += [(Original(servers, 10), 0.05), (Original(servers, 100), 0.1)]
    rows, reached = [], {}
    for who, share in everyone:
        count = max(int(10_000 * scale * share), 200)
        report = attempt(who, lambda: run_due(servers, who, count))
        if report:
            reached[who.name] = report["rate"]
            rows.append([who.name, f"{count:,}", f"{report['seconds']:.2f}", f"**{report['rate']:,.0f}**", report["repeats"]])
        else:
            rows.append([who.name, f"{count:,}", "", "did not end", ""])
    postgres, mariadb = (reached.get(who.name, 0) for who, _ in everyone[:2])
    return "\n".join([
        "### Throughput\n\nNo-op webhooks of tasks that are due, one worker process each, every commit durable.\n",
        table(["", "tasks", "seconds", "webhooks/s", "repeats"], rows),
        goals([
            goal("one pod, Postgres", "≥ 3,000/s", f"{postgres:,.0f}/s", postgres >= 3000),
            goal("one pod, MariaDB", "≥ 2,000/s", f"{mariadb:,.0f}/s", mariadb >= 2000),
        ]),
    ])  # fmt: skip


def run_due(servers, who, count):
    who.prepare()
    due = now() - SECOND
    who.add(0, count, lambda _: servers.url("p"), [due] * count)
    servers.forget()
    process = who.start()
    report = servers.await_distinct(count, 120)
    end(process)
    if report["distinct"] < count:
        raise RuntimeError(f"{report['distinct']} of {count} after two minutes")
    return report


def attempt(who, run):
    """A peer that fails does not keep the others from being measured."""
    try:
        report = run()
        say(f"  {who.name}: {json.dumps(report)}")
        return report
    except Exception as error:
        say(f"  {who.name}: {error}")
        return None


# ---- how late


def late(servers, scale):
    """Tasks added beforehand, due one after the other over twenty seconds."""
    count = max(int(10_000 * scale), 200)
    everyone = [Timer(servers, "postgres"), Timer(servers, "mariadb"), Graphile(servers), Boss(servers), Procrastinate(servers)]
    if original_folder():
        everyone.append(Original(servers, 100))
    rows, histogram, ours = [], [], {}
    for who in everyone:
        report = attempt(who, lambda: run_ahead(servers, who, count))
        if not report:
            rows.append([who.name, "did not end"] + [""] * 5)
            continue
        ours[who.name] = report
        late_ms = report["late_ms"]
        rows.append([who.name, *(f"{late_ms[part]:,.1f}" for part in ("p50", "p99", "p99.9", "max")), report["early"], report["repeats"]])
        histogram.append([who.name, *(f"{number:,}" if number else "" for number in report["histogram"])])
    found = []
    for who in everyone[:2]:
        if report := ours.get(who.name):
            p50, p99 = report["late_ms"]["p50"], report["late_ms"]["p99"]
            found.append(goal(f"{who.kind}: p50", "≤ 3 ms", f"{p50:.1f} ms", p50 <= 3))
            found.append(goal(f"{who.kind}: p99", "≤ 20 ms", f"{p99:.1f} ms", p99 <= 20))
            found.append(goal(f"{who.kind}: early", "0", str(report["early"]), report["early"] == 0))
    return "\n".join([
        f"### Lateness\n\n{count:,} tasks, added 3 s and more before they are due, evenly over 20 s; milliseconds from the due time to the receipt of the request.\n",
        table(["", "p50", "p99", "p99.9", "max", "early", "repeats"], rows),
        "Requests by lateness, up to so many milliseconds (early ones are in the first column; the original's column keeps whole seconds):\n",
        table(["", *LATE_MS], histogram),
        goals(found),
    ])  # fmt: skip


def run_ahead(servers, who, count, seconds=20, more=lambda start: None):
    who.prepare()
    process = who.start()
    time.sleep(3)
    servers.forget()
    start = now() + 3 * SECOND + count * 100
    step = seconds * SECOND // count
    dues = [start + at * step for at in range(count)]
    if isinstance(who, Original):  # its column keeps whole seconds
        dues = [due // SECOND * SECOND for due in dues]
    more(start)
    who.add(0, count, timed(servers), dues)
    report = servers.await_distinct(count, seconds + 60)
    end(process)
    if report["distinct"] < count:
        raise RuntimeError(f"{report['distinct']} of {count} came")
    return report


# ---- one dead URL


def dead(servers, scale):
    """The same with endpoints that take a connection and never answer."""
    count = max(int(1_000 * scale), 200)
    silent = socket.create_server(("127.0.0.1", 0), backlog=512)
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/dead"
    rows, found = [], []
    for who in (Timer(servers, "postgres"), Timer(servers, "mariadb")):
        p99 = {}
        for number in (0, 1, 200):
            def hang(start, who=who, number=number):
                if number:
                    who.add(count, number, lambda _: url, [start + at * 1000 for at in range(number)])

            report = attempt(who, lambda: run_ahead(servers, who, count, 10, hang))
            if report:
                p99[number] = report["late_ms"]["p99"]
                rows.append([who.name, number, f"{report['late_ms']['p50']:.1f}", f"{p99[number]:.1f}", f"{report['late_ms']['max']:.1f}"])
        if {0, 1} <= p99.keys():
            unchanged = p99[1] <= max(p99[0] * 1.2, p99[0] + 2)
            found.append(goal(f"{who.kind}: p99 of the others with one dead URL", f"unchanged ({p99[0]:.1f} ms)", f"{p99[1]:.1f} ms", unchanged))
    if original_folder():
        rows.append(slow_for_the_original(servers, count))
    silent.close()
    return "\n".join([
        f"### A dead URL\n\n{count:,} good tasks over 10 s, and among them tasks of a server that accepts and never answers; milliseconds of lateness of the good ones.\n",
        table(["", "dead", "p50", "p99", "max"], rows),
        goals(found),
    ])  # fmt: skip


def slow_for_the_original(servers, count):
    """The original has no time-out that ends within the run, so its URL answers after 4 s."""
    who = Original(servers, 100)
    slow = lambda start: who.add(count, 1, lambda _: servers.url("slow/4000"), [start])  # noqa: E731
    report = attempt(who, lambda: run_ahead(servers, who, count, 10, slow))
    if not report:
        return [who.name, 1, "did not end", "", ""]
    return [f"{who.name} (answers after 4 s)", 1, *(f"{report['late_ms'][part]:,.1f}" for part in ("p50", "p99", "max"))]


# ---- a million finished rows


def finished(servers, scale):
    """Buffers and time of a claim on an empty table, and on one with a million finished rows while somebody's transaction idles."""
    count, many = max(int(2_000 * scale), 200), int(1_000_000 * scale)
    who = Timer(servers, "postgres")
    rows = {}
    for name, rows_before in (("empty table", 0), (f"{many:,} finished rows, an idle transaction", many)):
        rows[name] = measured_claims(servers, who, count, rows_before)
        say(f"  {name}: {rows[name]}")
    (buffers, p50, _), (buffers_full, p50_full, _) = rows.values()
    return "\n".join([
        f"### A million finished rows\n\nPostgres, {count:,} tasks over 10 s with one pod; what the database's blocks were read for while it claimed, divided by its claims"
        " (completions and the pod's other questions included).\n",
        table(["", "buffers per claim", "p50 of lateness, ms", "claims"], [[name, f"{row[0]:.0f}", f"{row[1]:.2f}", row[2]] for name, row in rows.items()]),
        goals([
            goal("buffers per claim", "≤ 1.5 ×", f"{buffers_full / buffers:.2f} ×", buffers_full <= 1.5 * buffers),
            goal("p50", "≤ 1.2 ×", f"{p50_full / p50:.2f} ×", p50_full <= 1.2 * p50),
        ]),
    ])  # fmt: skip


def measured_claims(servers, who, count, rows_before):
    who.prepare()
    if rows_before:
        who.sql(
            f"insert into timers (timer_url, timer_status, timer_invoke_time) select 'http://h/p', 'done', now() - interval '1 day' + n * interval '1 ms' from generate_series(1, {rows_before}) n;"
            "insert into timer_attempts (timer_id, timer_url, state, wake_at, due_at, token, attempts, status, finished_at)"
            " select timer_id, timer_url, 'done', timer_invoke_time, timer_invoke_time, 1, 1, 200, timer_invoke_time from timers; analyze"
        )
    psql = [f"{servers.settings['PEO_PG_BIN']}/psql", "-XqAt", "-h", "127.0.0.1", "-p", servers.settings["PEO_PG_PORT"], "-U", "postgres", "-d", who.database]
    idle = subprocess.Popen(psql, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) if rows_before else None
    if idle:
        idle.stdin.write("begin isolation level repeatable read; select count(*) from timers where timer_status = 'waiting';\n")
        idle.stdin.flush()
        time.sleep(1)
        run_due_again(servers, who, 5 * count)  # leaves dead entries that the idle transaction keeps
    metrics = f"127.0.0.1:{free_port()}"
    process = who.start(METRICS=metrics)
    time.sleep(3)
    servers.forget()
    start = now() + 3 * SECOND
    who.add(0, count, timed(servers), [start + at * (10 * SECOND // count) for at in range(count)])
    time.sleep(2)
    before = blocks(who), claims(metrics)
    report = servers.await_distinct(count, 60)
    after = blocks(who), claims(metrics)
    end(process)
    if idle:
        idle.kill()
        idle.wait()
    claimed = after[1] - before[1]
    return (after[0] - before[0]) / claimed, report["late_ms"]["p50"], claimed


def run_due_again(servers, who, count):
    servers.forget()
    process = who.start()
    who.add(0, count, lambda _: servers.url("p"), [now() - SECOND] * count)
    servers.await_distinct(count, 120)
    end(process)


def blocks(who):
    """Blocks that the pod's sessions touch: of the tables and indexes of this database, not of the catalog."""
    tables = "sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit + idx_blks_read, 0))"
    time.sleep(1.2)  # sessions report once a second
    return int(who.sql(f"select {tables} from pg_statio_user_tables where relname in ('timers', 'timer_attempts')"))


def claims(address):
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        return int(float(re.search(r"claim_seconds_count (\S+)", answer.read().decode()).group(1)))


# ---- killed pods


def kills(servers, scale):
    """The long form of the test, with its own servers and its own receiver."""
    number = max(int(50 * scale), 3)
    rows = []
    for database in ("postgres", "mariadb"):
        command = ["./justw", "test-timer", "--test", "it", f"kills::{database}::", "--", "--nocapture"]
        env = {**os.environ, "PEO_KILLS": str(number)}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        said = re.search(r"(\d+) pods killed, (\d+) frozen; (\d+) tasks, (\d+) requests, (\d+) repeats, the soonest after (\S+)", done.stdout)
        seed = re.search(r"PEO_SEED=(\d+)", done.stdout)
        verdict = "none lost, every repeat after its lease" if done.returncode == 0 else "**failed**"
        rows.append([database, seed.group(1) if seed else "", *(said.groups() if said else [""] * 6), verdict])
    return "\n".join([
        f"### {number} killed pods\n\nFour pods, one killed by SIGKILL at a time and some frozen beyond their lease (5 s); judged by a receiver that knows each pod by its signature, and by the"
        " table's end.\n",
        table(["", "seed", "killed", "frozen", "tasks", "requests", "repeats", "the soonest after", ""], rows),
    ])  # fmt: skip


# ---- the original beside this program


def beside(servers, scale):
    """A pod of the original and one of this program on one table."""
    if not original_folder():
        return "### Beside the original\n\nNot run: the original was not at hand (TIMER_CONTROLLER).\n"
    count = max(int(2_000 * scale), 200)
    original = Original(servers, 10).prepare("timer_shared")
    ours = Timer(servers, "mariadb", 10, table=False)
    ours.database, ours.db = original.database, f"mysql://root@127.0.0.1:{servers.settings['PEO_MARIADB_PORT']}/{original.database}"
    servers.forget()
    processes = [original.start(), ours.start()]
    time.sleep(3)
    for at in range(0, count, 100):  # not all at once: the quicker would have them before the other looks
        original.add(at, 100, lambda _: servers.url("slow/20"), [now() - 2 * SECOND] * 100)
        time.sleep(0.2)
    report = servers.await_distinct(count, 120)
    time.sleep(1)
    done = original.sql("select timer_status, count(*) from timers group by 1").split()
    share = int(original.sql("select count(*) from timer_attempts where state = 'done'"))
    for process in processes:
        end(process)
    rows = [[f"{count:,}", report["distinct"], report["repeats"], f"{share:,}", f"{count - share:,}", " ".join(done)]]
    return "\n".join([
        "### Beside the original\n\nOne pod of the original and one of this program (both with batches of 10) on one table that neither made, while tasks are added.\n",
        table(["tasks", "arrived", "repeats", "fired by this program", "by the original", "the table's end"], rows),
    ])  # fmt: skip


ALL = {"rate": rate, "late": late, "dead": dead, "finished": finished, "beside": beside, "kills": kills}
