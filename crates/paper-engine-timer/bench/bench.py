#!/usr/bin/env python3
"""Measures paper-engine-timer beside its peers and the original, and writes a section of docs/benchmarks.md.

    ./justw bench --only timer                      everything: about a quarter of an hour
    ./justw bench --only timer --scale 0.1          small: a few minutes; writes target/bench/timer.md
    ./justw bench --only timer --parts rate,late    some parts

Builds this program and graphile_worker's, and installs the other peers into .tools/timer-peers, once.
TIMER_CONTROLLER=FOLDER is a checkout of the original (ozRnDs/timer_controller, a8a95da); without it the original is not measured.
All receive the same tasks on the same servers, with the durability that the servers have by default. The receiver is
the example webhook_sink.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from contest import contestants, parts
from contest.servers import ROOT, Servers, say

BEGIN, END = "<!-- timer: written by `./justw bench --only timer` -->", "<!-- end of timer -->"


def main():
    options = arguments()
    contestants.build()
    pieces, failed = [], []
    for name in options.parts:
        say(f"{name}:")
        try:
            with tempfile.TemporaryDirectory(prefix="peo-timer-") as scratch:
                pathlib.Path(scratch).chmod(0o755)
                with Servers(pathlib.Path(scratch)) as servers:
                    pieces.append(parts.ALL[name](servers, options.scale))
                    print(pieces[-1], flush=True)
        except Exception as error:  # the others can still be measured
            traceback.print_exc()
            failed.append(f"{name}: {error}")
    write(head(options) + "\n".join(pieces), options.whole and not failed)
    sys.exit("\n".join(["these parts failed:", *failed]) if failed else 0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["timer"], default="timer", help=argparse.SUPPRESS)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is 10,000 tasks in each part")
    parser.add_argument("--parts", default=",".join(parts.ALL), help=", ".join(parts.ALL))
    options = parser.parse_args()
    options.parts = options.parts.split(",")
    options.whole = options.parts == list(parts.ALL) and options.scale == 1
    if unknown := set(options.parts) - set(parts.ALL):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(parts.ALL)}")
    return options


def head(options):
    done = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    load = os.getloadavg()[0]
    small = "" if options.whole else f" Not a whole run: scale {options.scale:g}, parts {', '.join(options.parts)}."
    return f"""## paper-engine-timer

Written by `./justw bench --only timer` on {time.strftime("%Y-%m-%d %H:%M", time.gmtime())} UTC at commit {done.stdout.strip()}; {os.cpu_count()} cores,
load average {load:.1f} at the end (what others did on the machine meanwhile is in all figures alike).{small}
Versions: {contestants.versions()}.

"""


def write(text, whole):
    if not whole:
        path = ROOT / "target" / "bench" / "timer.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    else:
        path = ROOT / "docs" / "benchmarks.md"
        path.write_text(replaced(path.read_text(), text))
    say(f"written: {path}")


def replaced(page, text):
    """The page with this section in the place of the one that it has, or at its end."""
    section = f"{BEGIN}\n\n{text.rstrip()}\n\n{END}\n"
    if BEGIN in page:
        return re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}\n", lambda _: section, page, flags=re.DOTALL)
    return f"{page.rstrip()}\n\n{section}"


if __name__ == "__main__":
    main()
