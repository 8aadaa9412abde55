"""A change file of 75,000 operations over the mission's largest table."""

import peers
from measure import Entrant, Goal, Result, Table, contest
from world import LOAD, TABLE

TITLE = "Change file"
OPERATIONS = 75_000


def run(world, options):
    operations = int(OPERATIONS * options.scale)
    a = world.feed("a", "--scale", options.scale) / LOAD
    folder = world.feed("c", "--scale", options.scale, "--no-snapshot", "--changes", "1", "--ops", operations)
    (file,) = folder.glob("*.csv.gz")
    world.empty()
    world.upload("changes", a)
    world.program("run", path="changes")
    world.keep(TABLE)
    world.upload("changes", file)
    states = []

    def same():
        states.append(world.sql(f"select count(*), sum(quantity), sum(price) from {TABLE}"))
        assert len(set(states)) == 1, "the program and the SQL by hand differ"

    entrants = [
        Entrant(name, action, lambda: world.bring_back(TABLE), same)
        for name, action in (
            ("\\copy into a temporary table, then SQL", lambda: peers.changes_by_hand(world, file)),
            ("**paper-engine-orders**", lambda: world.program("run", path="changes")),
        )
    ]
    found = contest(world, entrants, options.rounds)
    for row in found:
        row.amounts = [(operations, "operations")]
    table = Table(f"{operations:,} operations over {world.rows():,} rows", found, found[0].name)
    goals = [
        Goal(4, "change file, to SQL by hand", 0.50, table.ratio(found[1].name, found[0].name)),
        Goal(6, "peak memory, change file", 32, found[1].peak(), "MiB"),
    ]
    return Result([table], goals)
