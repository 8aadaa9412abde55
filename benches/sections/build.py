"""A release build into an empty folder, and where its time goes."""

import json
import os
import re
import subprocess
import tempfile
import time

from measure import Goal, Grid, Result, Row, Sample, Table
from world import ROOT

TITLE = "A cold release build"
SHOWN = 12


def run(world, options):
    with tempfile.TemporaryDirectory(prefix="peo-build-") as folder:
        subprocess.run(["cargo", "fetch", "--quiet", "--locked"], cwd=ROOT, check=True)
        begun = time.perf_counter()
        command = ["cargo", "build", "--quiet", "--release", "--locked", "--timings", "--target-dir", folder]
        subprocess.run(command, cwd=ROOT, check=True)
        seconds = time.perf_counter() - begun
        units = timings(folder)
    table = Table("From nothing but the downloaded sources", [Row("cargo build --release", [Sample(seconds)])])
    share = sum(unit["duration"] for unit in units)
    rows = [[f"{unit['name']} {unit['version']}", f"{unit['duration']:.1f}", f"{unit['duration'] / share:.0%}"] for unit in units]
    grid = Grid(f"The longest of {len(units)} units, {share:.0f} s of work", ["crate", "seconds", "share"], rows[:SHOWN])
    return Result([table, grid], [Goal(8, f"cold release build on {os.cpu_count()} cores", 300, seconds, "s")])


def timings(folder):
    """cargo's own report keeps its numbers as a list in a script; longest first."""
    with open(f"{folder}/cargo-timings/cargo-timing.html") as page:
        data = re.search(r"UNIT_DATA = (\[.*?\]);\n", page.read(), re.DOTALL).group(1)
    return sorted(json.loads(data), key=lambda unit: -unit["duration"])
