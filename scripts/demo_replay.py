#!/usr/bin/env python3
"""Replays a day of orders in 24 seconds (--rate 3600), to console, files, NATS and a websocket at once, on servers of its own.
The console is slow: its reader takes a second per line. The replay is paused and resumed. At the end the summary shows that
the slow reader delayed nobody.

    python3 scripts/services.py exec --fast --no-s3 -- python3 scripts/demo_replay.py PROGRAM
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROWS = 2_000
SQL = f"""create table order_events (id bigint primary key, created_at timestamptz not null, status text, amount numeric(12,2));
insert into order_events select n, timestamptz '2021-12-09 00:00Z' + n * interval '1 day' / {ROWS},
    (array['created','paid','shipped','cancelled'])[1 + n % 4], (n * 7919 % 100000) / 100.0 from generate_series(0, {ROWS - 1}) n;
create index on order_events (created_at);"""


def main():
    program = sys.argv[1]
    host, port, user = (os.environ[f"PEO_PG_{name}"] for name in ("HOST", "PORT", "USER"))
    url = f"postgresql://{user}@{host}:{port}/postgres"
    psql = [f"{os.environ['PEO_PG_BIN']}/psql", "-Xq", "-v", "ON_ERROR_STOP=1", url, "-c", SQL]
    subprocess.run(psql, check=True)
    with tempfile.TemporaryDirectory() as folder:
        metrics = "127.0.0.1:19466"
        command = [program, "run", "--from", url, "--table", "order_events:created_at", "--rate", "3600"]
        command += ["--start", "2021-12-09", "--end", "2021-12-10", "--to", "console:", "--to", f"file:{folder}/out"]
        command += ["--to", f"nats://127.0.0.1:{os.environ['PEO_NATS_PORT']}/orders", "--to", "ws://127.0.0.1:19467/orders"]
        command += ["--metrics", metrics, "--clock", f"nats://127.0.0.1:{os.environ['PEO_NATS_PORT']}/paper-engine.clock"]
        print("$", " ".join(command).replace(url, "…"), flush=True)
        replay = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=read_slowly, args=(replay.stdout,), daemon=True).start()
        threading.Thread(target=steer, args=(metrics,), daemon=True).start()
        summary = None
        for line in replay.stderr:
            if line.startswith("{"):
                summary = json.loads(line)
            else:
                print(line, end="", flush=True)
        code = replay.wait()
        files = list(Path(folder, "out").glob("*.ndjson"))
        print(f"\nexit code {code}; {len(files)} files with {sum(len(f.read_text().splitlines()) for f in files)} rows")
        print("released late (ms):", summary["release_late_ms"])
        for name, part in summary["destinations"].items():
            print(f"{name}: {part['delivered']} delivered, acknowledged late (ms): {part['late_ms']}")
    return code


def read_slowly(rows):
    """Reads a line a second for a while, and the rest at once."""
    for number, _ in enumerate(rows):
        if number < 20:
            time.sleep(1)


def steer(address):
    for wait, act in ((6, "pause"), (3, "resume")):
        time.sleep(wait)
        urllib.request.urlopen(urllib.request.Request(f"http://{address}/control/{act}", data=b"", method="POST"))
        print(f"demo: {act}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
