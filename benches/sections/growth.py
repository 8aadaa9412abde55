"""A tenth of the rows, all of them, ten times as many: how time and memory grow."""

import time

from measure import Goal, Result, Row, Table, say
from world import LOAD, TABLE

TITLE = "Growth"
TIMES = (0.1, 1, 10)
LARGE_ROUNDS = 2
WORKS = ("first load", "reload")


def run(world, options):
    tables, growth = [], {work: [] for work in WORKS}
    for times in TIMES:
        rounds = min(options.rounds, LARGE_ROUNDS if times > 1 else 5)
        rows = measured(world, options.scale * times, rounds)
        tables.append(Table(f"{times:g} × the rows: {world.rows():,}", rows))
        for row in rows:
            row.amounts = [(world.rows(), "rows")]
            growth[row.name].append((times, row.median(), row.peak()))
        world.empty()
    note = "The line through the origin is that of the full size; what a tenth lies above it is the cost of a start."
    return Result(tables, goals(growth), [note], growth)


def measured(world, scale, rounds):
    """First loads and reloads in turn, in one path of the bucket; made anew, the files of one size at a time."""
    a, b = (world.feed(f"{scale}{name}", "--scale", scale, *more) / LOAD for name, more in EDITIONS)
    samples = {work: [] for work in WORKS}
    for _ in range(rounds):
        world.empty()
        for work, file in zip(WORKS, (a, b)):
            time.sleep(1.1)  # the store's clock has seconds
            world.upload("growth", file)
            world.rest(TABLE)
            samples[work].append(world.watched(lambda: world.program("run", path="growth")))
            say(f"  {scale:g} {work}: {samples[work][-1].seconds:.2f} s")
    a.unlink()
    b.unlink()
    return [Row(work, found) for work, found in samples.items()]


EDITIONS = (("a", []), ("b", ["--reload", "0.01,0.01,0.01"]))


def goals(growth):
    found = []
    for work, points in growth.items():
        _, (_, seconds, mib), (_, more_seconds, more_mib) = points
        found.append(Goal(6, f"memory of {work}, ten times the rows to all", 1.1, more_mib / mib))
        found.append(Goal(9, f"time per row of {work}, ten times the rows to all", 1.1, more_seconds / seconds / 10))
    return found
