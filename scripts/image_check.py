#!/usr/bin/env python3
"""Proves the container image: that the Dockerfile's build has all files it needs, and that what it makes runs as a user
who is not root, on a file system that cannot be written to, is healthy, loads a feed and stops when it is told to.

Where docker has an engine, it builds the image and runs it. Else (as root, with debootstrap) this walks through the
Dockerfile itself, with the same commands: the build's in a folder that has only what COPY puts there, as `cargo check`;
the image's on a fresh Debian, entered with chroot as user 10001 without capabilities. The program is then --binary.

Needs the servers of services.py: `./justw image-check` starts them.
"""

import argparse
import fnmatch
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import services
import signed

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".run" / "image"
SUITE = "bookworm"
IMAGE = "paper-engine-orders:image-check"
BUCKET = "image-check"
PATIENCE = 60


class Fault(Exception):
    """What is not as it should be, in a sentence."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/paper-engine-orders")
    args = parser.parse_args()
    try:
        WORK.mkdir(parents=True, exist_ok=True)
        image = Docker() if has_engine() else Chroot(args.binary)
        try:
            inspect(image)
            serve(image)
        finally:
            image.remove()
        return 0
    except (Fault, services.Fault) as fault:
        print(f"image-check: FAILED: {fault}", file=sys.stderr)
        return 1


def ok(text):
    print(f"ok: {text}", flush=True)


# ---- what is asked of the image


def inspect(image):
    ok(f"--version says {output(image, ['paper-engine-orders', '--version'])}")

    def shell(script):
        return output(image, ["bash", "-c", script])

    expect(shell("id -u"), "10001", "it runs as user 10001")
    expect(shell("grep CapEff /proc/self/status | cut -f2"), "0" * 16, "it has no capabilities")
    expect(
        shell("touch /x /usr/x /etc/x 2>/dev/null; ls /x /usr/x /etc/x 2>/dev/null | wc -l"),
        "0",
        "only /tmp can be written to",
    )
    expect(shell("echo yes >/tmp/x && cat /tmp/x"), "yes", "/tmp can")
    expect(shell("ldd /usr/local/bin/paper-engine-orders | grep -c 'not found'; true"), "0", "no library is missing")
    roots = int(shell("grep -c 'BEGIN CERTIFICATE' /etc/ssl/certs/ca-certificates.crt"))
    if roots < 100:
        raise Fault(f"there are only {roots} authorities")
    ok(f"it trusts {roots} authorities")
    ok(f"what it holds: {image.size()}")


def serve(image):
    """A service loads a feed, on a database of its own."""
    database, port = f"image_check_{os.getpid()}", services.free_ports(1)[0]
    psql(f"drop database if exists {database} with (force)", f"create database {database}")
    try:
        environment = settings(database, port)
        make_bucket()
        run(image, ["migrate", "--model", "/usr/share/paper-engine-orders/model"], environment)
        run(image, ["feed", "make", "--bucket", "--scale", "0.01", "--changes", "2"], environment)
        if image.healthy(environment):
            raise Fault("the health check is content though nobody serves")
        service = image.start(["paper-engine-orders"], environment)
        try:
            until(lambda: image.healthy(environment), "the health check is content while it serves", service)
            until(lambda: ready(port), "/readyz says ready", service)
            loaded = "select count(*) from loader_deliveries where status = 'loaded'"
            until(lambda: psql(loaded, database=database) == "9", "it loaded 3 full loads and 6 change files", service)
            service.send_signal(signal.SIGTERM)
            expect(service.wait(timeout=30), 0, "SIGTERM ends it, with exit code 0")
        finally:
            image.kill(service)
    finally:
        psql(f"drop database if exists {database} with (force)")


def settings(database, port):
    def key(name):
        return os.environ[f"PEO_{name}"]

    return {
        "SOURCE": f"bucket_endpoint=http://127.0.0.1:{key('S3_PORT')} bucket_id={key('S3_ID')} "
        f"bucket_key={key('S3_KEY')} bucket_name={BUCKET} bucket_path={database}",
        "TARGET": f"user={key('PG_USER')} host={key('PG_HOST')} port={key('PG_PORT')} dbname={database}",
        "NATS": f"nats://127.0.0.1:{key('NATS_PORT')}",
        "METRICS": f"0.0.0.0:{port}",
        "MIN_SLEEP": "1",
        "MAX_SLEEP": "2",
        "SETTLE": "1",
    }


def make_bucket():
    port, path = int(os.environ["PEO_S3_PORT"]), f"/{BUCKET}"
    headers = signed.headers("PUT", f"127.0.0.1:{port}", path, b"", os.environ["PEO_S3_ID"], os.environ["PEO_S3_KEY"])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("PUT", path, headers=headers)
    status = connection.getresponse().status
    if status not in (200, 409):
        raise Fault(f"the bucket cannot be made: S3 answered {status}")


def output(image, command, environment=None):
    process = image.start(command, environment or {}, stdout=subprocess.PIPE)
    said = process.communicate(timeout=PATIENCE)[0]
    if process.returncode != 0:
        raise Fault(f"{shlex.join(command)} ended with {process.returncode}: {said}")
    return said.strip()


def run(image, args, environment):
    output(image, ["paper-engine-orders", *args], environment)
    ok(f"{' '.join(args[:2])} runs in it")


def expect(found, wanted, words):
    if found != wanted:
        raise Fault(f"not so: {words}; found {found!r} and not {wanted!r}")
    ok(words)


def until(holds, words, service):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if service.poll() is not None or time.monotonic() > deadline:
            raise Fault(f"not so after a while: {words}; see above for what it said")
        time.sleep(0.2)
    ok(words)


def ready(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(100)
    except OSError:
        return False


def psql(*statements, database="postgres"):
    command = [
        f"{os.environ['PEO_PG_BIN']}/psql",
        "-XAtq",
        "-h",
        os.environ["PEO_PG_HOST"],
        "-p",
        os.environ["PEO_PG_PORT"],
    ]
    command += ["-U", os.environ["PEO_PG_USER"], "-d", database]
    for statement in statements:
        command += ["-c", statement]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Fault(f"psql: {done.stderr}")
    return done.stdout.strip()


# ---- with an engine


def has_engine():
    try:
        return subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    except OSError:
        return False


class Docker:
    def __init__(self):
        subprocess.run(["docker", "build", "--tag", IMAGE, str(ROOT)], check=True)
        ok("docker builds it")
        flags = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        self.run = ["docker", "run", "--rm", "--network", "host", *flags]

    def start(self, command, environment, stdout=None):
        given = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
        return subprocess.Popen(
            [*self.run, *given, "--entrypoint", command[0], IMAGE, *command[1:]], stdout=stdout, text=True
        )

    def healthy(self, environment):
        return self.start(["healthcheck"], environment).wait() == 0

    def kill(self, service):
        service.terminate()

    def size(self):
        return subprocess.check_output(["docker", "image", "ls", "--format", "{{.Size}}", IMAGE], text=True).strip()

    def remove(self):
        subprocess.run(["docker", "image", "rm", "--force", IMAGE], capture_output=True)


# ---- without one


class Chroot:
    def __init__(self, binary):
        if os.geteuid() != 0 or not shutil.which("debootstrap"):
            raise Fault("without a docker engine this needs to be root, and debootstrap")
        if not binary.exists():
            raise Fault(f"there is no {binary}: build it first, or name another with --binary")
        base = debian()
        self.root = WORK / "root"
        shutil.rmtree(self.root, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", base, self.root], check=True)
        self.added, self.environment = [], {}
        stages = read_dockerfile(ROOT / "Dockerfile")
        build = WORK / "build"
        shutil.rmtree(build, ignore_errors=True)
        build_stage(stages[0], build)
        made = {
            "/build/target/release/paper-engine-orders": binary,
            "/etc/ssl/certs/ca-certificates.crt": authorities(),
        }
        self.image_stage(stages[1], made)

    def image_stage(self, steps, made):
        for word, rest in steps:
            if word == "COPY":
                *sources, to = [part for part in rest.split() if not part.startswith("--")]
                for source in sources:
                    self.add(made[source] if "--from=build" in rest else in_context(source), to)
            elif word == "ENV":
                name, _, value = rest.partition("=")
                self.environment[name] = value
            elif word == "USER":
                self.user = rest.split(":")
            elif word == "HEALTHCHECK":
                self.probe = json.loads(rest[rest.index("CMD") + 3 :])
            elif word == "ENTRYPOINT":
                expect(json.loads(rest), ["paper-engine-orders"], "the program is what it starts")
            elif word not in ("FROM", "WORKDIR", "EXPOSE", "ARG", "LABEL"):
                raise Fault(f"the Dockerfile has {word}, which this does not know")

    def add(self, source, to):
        place = self.root / to.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, place, dirs_exist_ok=True) if source.is_dir() else shutil.copy2(source, place)
        self.added.append(place)

    def start(self, command, environment, stdout=None):
        """In a mount namespace of its own: what is mounted there goes with it."""
        root, (user, group) = shlex.quote(str(self.root)), self.user
        enter = (
            f"set -e; mount --bind {root} {root}; mount -t tmpfs -o mode=1777 tmpfs {root}/tmp; "
            f"mount --bind /dev {root}/dev; mount -t proc proc {root}/proc; "
            f"mount -o remount,ro,bind {root}; cd {root}; "
            f"exec chroot . setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs --inh-caps=-all "
            '--bounding-set=-all "$@"'
        )
        inside = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/"}
        inside |= self.environment | environment
        # each becomes the next, so that a signal reaches the program
        whole = ["unshare", "--mount", "sh", "-c", enter, "enter", *command]
        return subprocess.Popen(whole, env=inside, stdout=stdout, text=True)

    def healthy(self, environment):
        return self.start(self.probe, environment).wait() == 0

    def kill(self, service):
        if service.poll() is None:
            service.kill()
            service.wait()

    def size(self):
        sizes = [f"{path.name} {megabytes(path)}" for path in self.added]
        return f"{megabytes(self.root)} in all; above Debian's {SUITE}: {', '.join(sizes)}"

    def remove(self):
        shutil.rmtree(self.root, ignore_errors=True)


def debian():
    """A Debian as the image's base is made from, less what that leaves out (documents, translations); made once."""
    base = ROOT / ".tools" / f"debian-{SUITE}"
    if not base.exists():
        print(f"image-check: making a Debian {SUITE} in .tools (once)", file=sys.stderr)
        new = base.with_name(f"new.{base.name}.{os.getpid()}")
        log = WORK / "debootstrap.log"
        with open(log, "wb") as said:
            done = subprocess.run(["debootstrap", "--variant=minbase", SUITE, new], stdout=said, stderr=said)
        if done.returncode != 0:
            shutil.rmtree(new, ignore_errors=True)
            raise Fault(f"debootstrap failed, see {log}")
        for left_out in (
            "usr/share/doc",
            "usr/share/man",
            "usr/share/info",
            "usr/share/locale",
            "var/cache/apt",
            "var/lib/apt/lists",
        ):
            shutil.rmtree(new / left_out, ignore_errors=True)
        new.rename(base)
    return base


def authorities():
    """Those of this machine stand for those of the build's image: both are Debian's ca-certificates."""
    found = Path("/etc/ssl/certs/ca-certificates.crt")
    if not found.exists():
        raise Fault(f"there is no {found} on this machine: install ca-certificates")
    return found


def build_stage(steps, folder):
    """The steps of the build, in a folder that has nothing else. What is compiled is only checked, and kept."""
    folder.mkdir(parents=True)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(WORK / "target")}
    for word, rest in steps:
        if word == "COPY":
            *sources, to = rest.split()
            for source in [path for pattern in sources for path in matching(pattern)]:
                place = folder / to if to != "./" else folder / source.name
                shutil.copytree(source, place, dirs_exist_ok=True) if source.is_dir() else shutil.copy2(source, place)
        elif word == "RUN":
            command, found = re.subn(r"cargo build --release --locked", "cargo check --locked", rest)
            if not found or subprocess.run(["sh", "-ec", command], cwd=folder, env=environment).returncode != 0:
                raise Fault(f"the build of the Dockerfile failed at: {rest}")
            ok(f"RUN {rest}, with `check` for `build`")
        elif word not in ("FROM", "WORKDIR"):
            raise Fault(f"the Dockerfile's build has {word}, which this does not know")


def read_dockerfile(path):
    """Its stages, each a list of (instruction, rest)."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    steps = [tuple(line.split(None, 1)) for line in lines if line.strip()]
    starts = [at for at, (word, _) in enumerate(steps) if word == "FROM"]
    return [steps[begin:end] for begin, end in zip(starts, [*starts[1:], None])]


def matching(pattern):
    found = [path for path in ROOT.glob(pattern)]
    if not found and "*" not in pattern:
        raise Fault(f"the Dockerfile copies {pattern}, which is not there")
    return [in_context(str(path.relative_to(ROOT))) for path in found]


def in_context(name):
    """A file that .dockerignore lets the build see."""
    path, seen = ROOT / name, True
    for line in (ROOT / ".dockerignore").read_text().split("\n"):
        pattern = line.strip().lstrip("!")
        parts = Path(name).parts
        above = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
        if pattern and not pattern.startswith("#") and any(fnmatch.fnmatch(part, pattern) for part in above):
            seen = line.startswith("!")
    if not path.exists() or not seen:
        raise Fault(f"the Dockerfile copies {name}, which {'.dockerignore hides' if path.exists() else 'is not there'}")
    return path


def megabytes(path):
    kilobytes = int(subprocess.check_output(["du", "-sk", path], text=True).split()[0])
    return f"{kilobytes / 1024:.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
