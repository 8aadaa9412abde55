#!/usr/bin/env python3
"""Prepares a release in dist/, and publishes nothing: checks that the tree is clean and Cargo.toml and changelog speak
of the version; builds; writes the SBOM (CycloneDX, of what is linked in); and packs what a machine needs into an
archive that is the same bytes each time: sorted, of root's, with the commit's time. SHA256SUMS is over both.

    ./justw release 0.2.0
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "paper-engine-orders"
SHELLS = {"bash": NAME, "zsh": f"_{NAME}", "fish": f"{NAME}.fish"}
# Beside the program, its manual page, completions and SBOM.
FILES = ("README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "config.env.sample", "db", "deploy", "docs")


class Fault(Exception):
    """What is not as it should be, and what to do about it."""


def main():
    args = parse_arguments()
    try:
        check(args.version, args.unfinished)
        binary = args.binary or build()
        release = Release(args.version, binary)
        release.write(args.dist)
        return 0
    except Fault as fault:
        print(f"release: {fault}", file=sys.stderr)
        return 1


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="as Cargo.toml has it, like 0.2.0")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where to put it; dist if left out")
    parser.add_argument("--binary", type=Path, help="one that is built already")
    parser.add_argument("--unfinished", action="store_true", help="to try it: whatever the tree and the changelog say")
    return parser.parse_args()


# ---- before


def check(version, unfinished):
    """All that is missing, at once."""
    faults = []
    if changed := output("git", "status", "--porcelain"):
        faults.append(f"the tree is not clean; commit or remove:\n{changed}")
    told = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    if told != version:
        faults.append(f"Cargo.toml has version {told}; write {version} there, and run cargo check for Cargo.lock")
    headings = re.findall(r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    dated = [name for name, rest in headings if re.fullmatch(r" - \d{4}-\d{2}-\d{2}", rest)]
    if dated[:1] != [version]:
        newest = dated[0] if dated else "none"
        faults.append(
            f"the newest dated heading of CHANGELOG.md is {newest}; below Unreleased write: ## [{version}] - {today()}"
        )
    if f"v{version}" in output("git", "tag").split():
        faults.append(f"there is a tag v{version} already")
    for fault in faults:
        print(f"release: {'passed over: ' if unfinished else ''}{fault}", file=sys.stderr)
    if faults and not unfinished:
        raise Fault("nothing was written")


def build():
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    return ROOT / (os.environ.get("CARGO_TARGET_DIR") or "target") / "release" / NAME


# ---- the release


class Release:
    def __init__(self, version, binary):
        self.version, self.binary = version, binary.resolve()
        said = output(self.binary, "--version")
        if said != f"{NAME} {version}":
            raise Fault(f"{binary} says that it is {said!r}")
        target = re.search(r"^host: (.*)$", output("rustc", "-vV"), re.MULTILINE)[1]
        self.title = f"{NAME}-{version}-{target}"
        self.time = int(output("git", "log", "-1", "--format=%ct"))

    def write(self, dist):
        dist.mkdir(parents=True, exist_ok=True)
        for old in dist.glob("*"):
            old.unlink()
        sbom = self.sbom()
        archive = self.packed({**self.content(), "sbom.cdx.json": (sbom, 0o644)})
        made = {f"{self.title}.tar.gz": archive, f"{self.title}.cdx.json": sbom}
        for name, data in made.items():
            (dist / name).write_bytes(data)
        sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(made.items()))
        (dist / "SHA256SUMS").write_text(sums)
        print(f"{sums}In {dist}. What is left to a person:\n{self.left_to_do()}", end="")

    def left_to_do(self):
        version, tag = self.version, f"v{self.version}"
        given = f"--build-arg VERSION={version} --build-arg REVISION=$(git rev-parse HEAD)"
        image = f"docker build -t {NAME}:{version} {given} ."
        return f"  git tag -a {tag} -m {version} && git push origin {tag}\n  {image}\n"

    def content(self):
        """Name in the archive -> bytes and mode. What git does not know stays out."""
        content = {NAME: (self.stripped(), 0o755)}
        for name in output("git", "ls-files", "--", *FILES).splitlines():
            path = ROOT / name
            content[name] = (path.read_bytes(), 0o755 if os.access(path, os.X_OK) else 0o644)
        content[f"man/{NAME}.1"] = (self.says("man"), 0o644)
        for shell, name in SHELLS.items():
            content[f"completions/{name}"] = (self.says("completions", shell), 0o644)
        missing = [name for name, (data, _) in content.items() if data is None]
        if missing:
            print(f"release: left out, for this program cannot write it: {', '.join(missing)}", file=sys.stderr)
        return {name: entry for name, entry in content.items() if entry[0] is not None}

    def stripped(self):
        """Cargo strips it already; another build may not."""
        copy = ROOT / ".run" / "stripped"
        copy.parent.mkdir(exist_ok=True)
        subprocess.run(["strip", "-o", copy, self.binary], check=True)
        return copy.read_bytes()

    def says(self, *args):
        """None if the program has no such command."""
        done = subprocess.run([self.binary, *args], capture_output=True)
        if done.returncode not in (0, 2):
            raise Fault(f"{NAME} {' '.join(args)} ended with {done.returncode}: {done.stderr.decode()}")
        return done.stdout if done.returncode == 0 else None

    def sbom(self):
        """Of the crates that are linked in. Without time and random number, which would make each one another."""
        name = f"{NAME}.release"
        command = ["cargo", "cyclonedx", "--format", "json", "--spec-version", "1.5", "--no-build-deps", "--quiet"]
        done = subprocess.run([*command, "--override-filename", name], cwd=ROOT, capture_output=True, text=True)
        written = ROOT / f"{name}.json"
        if done.returncode != 0 or not written.exists():
            raise Fault(f"cargo cyclonedx failed; ./justw release brings it:\n{done.stderr}")
        try:
            bill = json.loads(written.read_text())
        finally:
            written.unlink()
        bill.pop("serialNumber", None)
        bill["metadata"].pop("timestamp", None)
        # where it was built is nobody's affair
        text = json.dumps(bill, indent=1, sort_keys=True).replace(f"path+file://{ROOT}", f"path+file:///{NAME}")
        return text.encode() + b"\n"

    def packed(self, content):
        unpacked = io.BytesIO()
        with tarfile.open(fileobj=unpacked, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, (data, mode) in sorted(content.items()):
                entry = tarfile.TarInfo(f"{self.title}/{name}")
                entry.size, entry.mode, entry.mtime = len(data), mode, self.time
                entry.uname = entry.gname = "root"
                archive.addfile(entry, io.BytesIO(data))
        return gzip.compress(unpacked.getvalue(), mtime=0)


def output(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def today():
    return output("date", "+%F")


if __name__ == "__main__":
    sys.exit(main())
