"""What one run took, what many did, and who runs against whom."""

import dataclasses
import os
import pathlib
import statistics
import subprocess
import sys
import typing

CHILD = pathlib.Path(__file__).with_name("child.py")


@dataclasses.dataclass
class Sample:
    """What one run took; `server` is CPU of Postgres' backends, `wal` the bytes it wrote to its log."""

    seconds: float
    mib: float | None = None
    cpu: float | None = None
    server: float | None = None
    wal: int | None = None


def run(command, env=None, stdin=subprocess.DEVNULL, text=None, codes=(0,)):
    """Runs a command by a small process of its own."""
    sample = start(command, env, stdin, text)
    return sample(codes)


def start(command, env=None, stdin=subprocess.DEVNULL, text=None):
    """Starts a command; what is given back waits for its end."""
    command = [str(part) for part in command]
    inner, outer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(CHILD), str(outer), *command],
        env={**os.environ, **(env or {})},
        stdin=subprocess.PIPE if text else stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[outer],
    )
    os.close(outer)

    def finish(codes=(0,)):
        said = process.communicate(text.encode() if text else None)[1].decode(errors="replace")
        with open(inner) as report:
            words = report.read().split()
        if not words or int(words[3]) not in codes:
            sys.exit(f"{' '.join(command)[:300]}: {words[3:] or 'did not start'}\n{said[-3000:]}")
        return Sample(*(float(word) for word in words[:3]))

    return finish


@dataclasses.dataclass
class Entrant:
    """Somebody who does the work: `prepare` is not timed, `check` makes sure that it was done."""

    name: str
    run: typing.Callable
    prepare: typing.Callable = lambda: None
    check: typing.Callable = lambda: None
    """seconds are multiplied by this: 100 for one who was given only 1 % of the rows"""
    times: float = 1


@dataclasses.dataclass
class Row:
    """One line of a table."""

    name: str
    samples: list
    """what the seconds are for, to give rates: numbers and their units"""
    amounts: list = dataclasses.field(default_factory=list)

    def median(self, field="seconds"):
        known = [value for sample in self.samples if (value := getattr(sample, field)) is not None]
        return statistics.median(known) if known else None

    def peak(self):
        return max((sample.mib for sample in self.samples if sample.mib), default=None)


@dataclasses.dataclass
class Table:
    """Rows of one contest; ratios are to the row named `reference`."""

    title: str
    rows: list
    reference: str | None = None

    def row(self, name):
        return next((row for row in self.rows if row.name == name), None)

    def ratio(self, name, to):
        row, other = self.row(name), self.row(to)
        return row.median() / other.median() if row and other else None


@dataclasses.dataclass
class Grid:
    """A table of anything else."""

    title: str
    names: list
    rows: list


@dataclasses.dataclass
class Goal:
    """A number of the goals, what it says, what was reached; met if not above (or, `least`, not below) the limit."""

    number: int
    text: str
    limit: float
    reached: float | None
    unit: str = "×"
    least: bool = False

    def met(self):
        if self.reached is None:
            return None
        return self.reached >= self.limit if self.least else self.reached <= self.limit


@dataclasses.dataclass
class Result:
    """What a section found."""

    tables: list
    goals: list
    """sentences under the tables"""
    notes: list = dataclasses.field(default_factory=list)
    """name → [(times the rows, seconds, MiB)], for the plot"""
    growth: dict = dataclasses.field(default_factory=dict)


def together(finishers, codes):
    """Several commands at once, that were started: the time of the longest, the largest peak, all CPU."""
    found = [finish(codes) for finish in finishers]
    return Sample(max(s.seconds for s in found), max(s.mib for s in found), sum(s.cpu for s in found))


def contest(world, entrants, rounds):
    """All entrants in turn, round by round, so that a noisy machine is noisy for all; one row each."""
    samples = {entrant.name: [] for entrant in entrants}
    for number in range(rounds):
        for entrant in entrants:
            entrant.prepare()
            sample = world.watched(entrant.run)
            sample.seconds *= entrant.times
            samples[entrant.name].append(sample)
            entrant.check()
            say(f"  {number + 1}/{rounds} {entrant.name}: {sample.seconds:.3f} s")
    return [Row(name, found) for name, found in samples.items()]


def say(text):
    print(text, file=sys.stderr, flush=True)
