#!/usr/bin/env python3
"""Measures the program side by side with its peers and its limits, in one run, and writes docs/benchmarks.md.

    ./justw bench                                       everything, five rounds: about 20 minutes
    ./justw bench --rounds 1 --scale 0.1                everything, small: about two minutes
    ./justw bench --only first,reload                   some sections
    ./justw bench --build                               also how long a cold release build takes

In each round all contestants run in turn, so that a noisy machine is noisy for all; shown are medians. Only a whole run
of full size writes docs/benchmarks.md, any other target/bench/benchmarks.md.
"""

import argparse
import importlib
import pathlib
import sys
import tempfile
import time
import traceback

import measure
import peers
import report
import world

SECTIONS = ["first", "reload", "changes", "small", "listing", "start", "growth", "shapes"]


def main():
    options = arguments()
    if not world.PROGRAM.exists():
        sys.exit(f"there is no {world.PROGRAM}: cargo build --release --locked")
    peers.install()
    begun, results, failed = time.time(), {}, []
    for name in options.only:
        section = importlib.import_module(f"sections.{name}")
        try:
            results[name] = (section.TITLE, alone(section, options))
            print(report.section(*results[name]), flush=True)
        except (Exception, SystemExit) as error:  # the others can still be measured
            traceback.print_exc()
            failed.append(f"{name}: {error}")
    options.whole = options.whole and not failed
    write(options, results, begun)
    sys.exit("\n".join(["these sections failed:", *failed]) if failed else 0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is 1,494,975 rows")
    parser.add_argument("--only", type=sections, default=SECTIONS, metavar="SECTION,…", help=", ".join([*SECTIONS, "build"]))
    parser.add_argument("--build", action="store_true", help="also a cold release build")
    options = parser.parse_args()
    options.whole = options.only == SECTIONS and options.scale == 1 and options.rounds >= 5
    if options.build:
        options.only = [*options.only, "build"]
    return options


def sections(text):
    names = text.split(",")
    unknown = sorted(set(names) - {*SECTIONS, "build"})
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join([*SECTIONS, 'build'])}")
    return names


def alone(section, options):
    """One section, with servers of its own, so that none inherits what another has left."""
    measure.say(f"{section.TITLE}:")
    with tempfile.TemporaryDirectory(prefix="peo-bench-") as scratch, world.servers(pathlib.Path(scratch)) as place:
        pathlib.Path(scratch).chmod(0o755)
        place.prepare()
        return section.run(place, options)


def write(options, results, begun):
    home = world.ROOT / ("docs" if options.whole else "target/bench")
    home.mkdir(parents=True, exist_ok=True)
    report.write(home, results, options, begun)
    measure.say(f"written: {home / 'benchmarks.md'}, after {(time.time() - begun) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
