"""What a run costs in which there is nothing to do, and how large the program is."""

import measure
from measure import Entrant, Goal, Result, Table, contest
from world import PROGRAM

TITLE = "Start"


def run(world, options):
    world.program("feed", "make", "--bucket", "--scale", "0.001", "--changes", "1", "--ops", "10", path="idle")
    world.program("run", path="idle")
    entrants = [
        Entrant("psql, `select 1`", lambda: measure.run([*world.psql(), "-c", "select 1"])),
        Entrant("**run, nothing pending**", lambda: world.program("run", path="idle")),
        Entrant("`--help`", lambda: measure.run([PROGRAM, "--help"])),
    ]
    table = Table("Whole processes", contest(world, entrants, options.rounds * 3))
    _, idle, helped = table.rows
    size = PROGRAM.stat().st_size / 1e6
    goals = [
        Goal(8, "run with nothing pending", 150, idle.median() * 1e3, "ms"),
        Goal(8, "`--help`", 10, helped.median() * 1e3, "ms"),
        Goal(8, "release binary", 25, size, "MB"),
    ]
    return Result([table], goals)
