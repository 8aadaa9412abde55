"""The Python packages that the documents are made with: pinned in docs.txt, installed into .tools/docs, once.

`use()` puts them on the path of this process and of those that it starts. There is no venv: Debian's Python has none
without a further package, and root must not be needed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PINS = Path(__file__).with_name("docs.txt")
# .tools may be a link to one that several checkouts share.
TOOLS = PINS.parent.parent / ".tools"
OLDEST = (3, 11)


def use():
    """Makes the packages importable; returns the folder that they are in."""
    if sys.version_info < OLDEST:
        sys.exit(f"the documents are made with Python {'.'.join(map(str, OLDEST))} or later; this is {sys.version}")
    home = TOOLS / "docs" / f"{stamp()}-{sys.implementation.cache_tag}"
    if not home.exists():
        install(home)
    sys.path.insert(0, str(home))
    os.environ["PYTHONPATH"] = str(home)
    os.environ["JUPYTER_PATH"] = str(home / "share" / "jupyter")
    return home


def stamp():
    return hashlib.sha256(PINS.read_bytes()).hexdigest()[:16]


def install(home):
    """Whole or not at all: two at once, or one that is stopped, do no harm."""
    print("installing what the documents are made with into .tools/docs (once)", file=sys.stderr, flush=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="new.") as new:
        pip = [*find_pip(new), "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]
        pip += ["--only-binary", ":all:", "--require-hashes", "--target", f"{new}/pinned", "-r", str(PINS)]
        env = {**os.environ, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_ROOT_USER_ACTION": "ignore"}
        done = subprocess.run(pip, env=env, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"pip could not install what scripts/docs.txt pins:\n{done.stdout}{done.stderr}")
        os.chmod(f"{new}/pinned", 0o755)
        try:
            os.rename(f"{new}/pinned", home)
        except OSError:
            if not home.exists():  # else another process was faster
                raise
    for old in home.parent.iterdir():
        if old != home and old.stat().st_mtime < time.time() - 86400:  # another checkout may use it today
            shutil.rmtree(old, ignore_errors=True)


def find_pip(folder):
    """A pip that works; where Python has none, one of a venv in `folder`, as justw does it."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return [sys.executable, "-m", "pip"]
    made = subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], capture_output=True)
    if made.returncode != 0:
        sys.exit("this Python 3 has neither pip nor venv: install one of them (Debian: apt-get install python3-pip)")
    return [f"{folder}/venv/bin/python3", "-m", "pip"]
