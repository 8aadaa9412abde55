#!/usr/bin/env python3
"""Makes a feed, loads it with the real program, and runs notebooks/eda.ipynb on it from the top.

    notebook.py run     keeps the outputs in the notebook and writes its conclusions into README.md
    notebook.py check   keeps nothing, and fails if a cell does, or prints other numbers than the notebook shows

Wants the servers of services.py (PEO_… variables) and the program (see schema.py). Cells with the tag `measured`, and
the sentence that says so, tell of times, which are never the same: those are not compared.
"""

import argparse
import collections
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import documents
import schema
import wheels

ROOT = Path(__file__).resolve().parent.parent
NAME = "eda"
DAY = "2022-09-22"
# The day's change files: (table, first, seconds between, files, operations in each). The night is quiet, the day busy.
HOURS = [
    ("entity_3", "06:00:00", 43200, 2, 20),
    *((table, *part) for table in ("entity_1", "entity_2") for part in (
        ("00:10:00", 3600, 7, 40), ("07:05:00", 900, 12, 600), ("10:05:00", 1200, 12, 250), ("14:05:00", 900, 12, 450),
        ("17:10:00", 3600, 6, 90),
    )),
]  # fmt: skip
LIVE = [("entity_1", f"23:{minute:02}:00", 60) for minute in range(0, 60, 8)]
PATIENCE = 60


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "check"))
    args = parser.parse_args()
    wheels.use()
    feed = Feed()
    feed.load()
    executed = execute(feed.settings)
    return keep(executed) if args.what == "run" else compare(executed)


# ---- the feed


class Feed:
    """A day of a made-up feed, and what the loader made of it."""

    def __init__(self):
        values = os.environ
        self.settings = {
            "SOURCE": f"bucket_endpoint=http://127.0.0.1:{values['PEO_S3_PORT']} bucket_id={values['PEO_S3_ID']} "
            f"bucket_key={values['PEO_S3_KEY']} bucket_name={NAME} bucket_path=data",
            "TARGET": f"user={values['PEO_PG_USER']} host={values['PEO_PG_HOST']} port={values['PEO_PG_PORT']} "
            f"dbname={NAME}",
        }
        self.made = collections.Counter()

    def load(self):
        schema.psql("postgres", f"create database {NAME}")
        self.program("migrate", "--model", "db/model")
        self.make("--create-bucket")
        self.program("run", "--once")
        time.sleep(1.1)  # S3 counts in seconds: a full load of the same second is no other one
        self.make("--entity=entity_2", "--reload=0.01,0.01,0.01")
        self.program("run", "--once", SETTLE="1")
        for part in HOURS:
            self.changes(*part)
        self.program("run", "--once")
        self.serve()

    def serve(self):
        """The last hour's files come one by one, to a service."""
        self.settings["EDA_SINCE"] = datetime.datetime.now(datetime.timezone.utc).isoformat()
        env = self.environment(MIN_SLEEP="0.5", MAX_SLEEP="1", METRICS="")
        with subprocess.Popen([schema.PROGRAM, "run", "--service"], env=env, stderr=subprocess.PIPE) as service:
            try:
                for table, at, ops in LIVE:
                    self.changes(table, at, 1, 1, ops)
                    time.sleep(0.5)
                self.await_ledger()
            finally:
                service.terminate()
                said = service.communicate()[1]
            if service.returncode != 0:
                sys.exit(f"the service ended with exit code {service.returncode}:\n{said.decode(errors='replace')}")

    def await_ledger(self):
        wanted = sum(self.made.values())
        deadline = time.monotonic() + PATIENCE
        query = "select count(*) from loader_deliveries where kind = 'changes' and status = 'loaded'"
        while int(schema.psql(NAME, query)) < wanted:
            if time.monotonic() > deadline:
                sys.exit(f"not all of {wanted} change files are loaded after {PATIENCE} s")
            time.sleep(0.2)

    def changes(self, table, first, every, files, ops):
        """The generator numbers a table's change files: another number, other changes."""
        number = self.made[table] + 1
        self.made[table] = number + files - 1
        self.make(
            "--no-snapshot", f"--entity={table}", f"--changes={files}", f"--ops={ops}", f"--number={number}",
            "--time", f"{DAY} {first}", f"--every={every}",
        )  # fmt: skip

    def make(self, *words):
        self.program("feed", "make", "--bucket", "--scale=0.1", "--seed=1", *words)

    def program(self, *words, **settings):
        done = subprocess.run(
            [schema.PROGRAM, *words], cwd=ROOT, env=self.environment(**settings), capture_output=True, text=True
        )
        if done.returncode != 0:
            sys.exit(f"paper-engine-orders {' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")

    def environment(self, **settings):
        return {"PATH": os.defpath, "NOTIFICATIONS": "False", **self.settings, **settings}


# ---- the notebook


def execute(settings):
    """The notebook with the outputs of a run from the top. A cell that fails ends this program."""
    import nbformat
    from nbclient import NotebookClient
    from traitlets.config import Config

    notebook = nbformat.read(documents.NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    # Sockets of the file system, in a folder of our own: nobody else can speak to the kernel.
    with tempfile.TemporaryDirectory(prefix="peo-") as folder:
        own = {name: folder for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR")}
        os.environ.update(own)
        config = Config(KernelManager={"transport": "ipc"})
        client = NotebookClient(notebook, timeout=120, kernel_name="python3", record_timing=False, config=config)
        client.execute(env={**os.environ, **settings, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}, cwd=ROOT)
    notebook.metadata["language_info"] = {"name": "python"}  # without the version of this machine's Python
    return json.loads(nbformat.writes(notebook))


def keep(executed):
    for cell in executed["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
    documents.NOTEBOOK.write_text(json.dumps(executed, indent=1, ensure_ascii=False) + "\n")
    documents.README.write_text(documents.readme_with(documents.conclusions(executed)))
    print(
        f"notebooks/eda.ipynb: {documents.NOTEBOOK.stat().st_size:,} bytes\n{documents.conclusions(executed)}", end=""
    )
    return 0


def compare(executed):
    """What it prints now against what it shows."""
    differing = 0
    for now, shown in zip(executed["cells"], json.loads(documents.NOTEBOOK.read_text())["cells"]):
        if now["cell_type"] == "code" and "measured" not in now["metadata"].get("tags", ()):
            before, after = steady(shown), steady(now)
            differing += before != after
            for old, new in zip(before, after):
                if old != new:
                    print(f"notebooks/eda.ipynb shows  {old}\nbut this run printed       {new}", file=sys.stderr)
    if differing:
        print(
            f"{differing} cells print other numbers than the notebook shows: `just notebook` runs it again",
            file=sys.stderr,
        )
    return 1 if differing else 0


def steady(cell):
    """The lines that a cell prints, without those that were measured."""
    return [line for line in documents.printed(cell).splitlines() if not re.search(r"\bmeasured\b", line)]


if __name__ == "__main__":
    sys.exit(main())
