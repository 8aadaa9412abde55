#!/usr/bin/env python3
"""Looks over what is shipped in deploy/ without running it: Kubernetes' files against its schemas, the compose file
against its own, the systemd units with systemd's tools, Dockerfile and shell scripts with their linters. The tools are
pinned in pack-tools.txt and installed into .tools once. Of what cannot be had here a line says that it was passed over.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
PINS = Path(__file__).with_name("pack-tools.txt")
# What the cluster may bring itself has no schema here.
FOREIGN = {"PodMonitor", "Kustomization"}
# Of systemd-analyze security, in tenths; 12 is what the units have.
EXPOSURE = 15


def main():
    if tools := installed():
        sys.path.insert(0, str(tools))
        looks = [kubernetes, compose, dockerfile, scripts, units, composed]
    else:
        passed_over(
            "Kubernetes, compose file, Dockerfile, scripts", "pip cannot install the tools of pack-tools.txt from here"
        )
        looks = [units, composed]
    faults = [f"{look.__name__}: {fault}" for look in looks for fault in look(tools)]
    for fault in faults:
        print(f"pack: {fault}", file=sys.stderr)
    return 1 if faults else 0


def passed_over(what, why):
    print(f"pack: PASSED OVER: {what}: {why}", file=sys.stderr)


def installed():
    """The folder of the tools; None if there are none. Whole or not there, like justw's."""
    home = ROOT / ".tools" / f"pack-{hashlib.sha256(PINS.read_bytes()).hexdigest()[:12]}"
    if not home.exists():
        print("pack: installing the tools of pack-tools.txt into .tools (once)", file=sys.stderr)
        home.parent.mkdir(exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=home.parent, prefix="new."))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-deps", "--no-compile"]
        pip += ["--only-binary", ":all:", "--require-hashes", "--target", str(new), "-r", str(PINS)]
        free = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_ROOT_USER_ACTION": "ignore"}
        done = subprocess.run(pip, env=os.environ | free, capture_output=True, text=True)
        if done.returncode != 0:
            shutil.rmtree(new)
            print(done.stderr, file=sys.stderr)
            return None
        new.chmod(0o755)
        new.rename(home)
    return home


def kubernetes(_):
    import kubernetes_validate
    import yaml

    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for data in yaml.safe_load_all(path.read_text()):
            if data["kind"] in FOREIGN:
                continue
            try:
                kubernetes_validate.validate(data, kubernetes_validate.latest_version(), strict=True)
            except Exception as error:
                yield f"{path.name}: {str(error).splitlines()[0]}"


def compose(tools):
    import jsonschema
    import yaml

    schema = json.loads((tools / "check_jsonschema/builtin_schemas/vendor/compose-spec.json").read_text())
    data = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for error in jsonschema.validators.validator_for(schema)(schema).iter_errors(data):
        yield f"compose.yaml, {error.json_path}: {error.message}"
    for mounted in re.findall(r"- (\.[^:]*):", (DEPLOY / "compose.yaml").read_text()):
        if not (DEPLOY / mounted).exists():
            yield f"compose.yaml mounts {mounted}, which is not there"
    for path in (DEPLOY / "compose").glob("*.yml"):
        yaml.safe_load(path.read_text())


def dockerfile(tools):
    yield from complaints([tools / "bin/hadolint", ROOT / "Dockerfile"])


def scripts(tools):
    shells = [ROOT / "justw", ROOT / ".ci/run", DEPLOY / "docker/healthcheck", *DEPLOY.rglob("*.sh")]
    yield from complaints([tools / "bin/shellcheck", *shells])


def units(_):
    """With a program that is there, and no manual page."""
    if not shutil.which("systemd-analyze"):
        return passed_over("the systemd units", "there is no systemd-analyze")
    with tempfile.TemporaryDirectory() as folder:
        for path in (DEPLOY / "systemd").iterdir():
            text = path.read_text().replace("/usr/local/bin/paper-engine-orders", "/bin/true")
            (Path(folder) / path.name).write_text(text)
        for path in sorted(Path(folder).iterdir()):
            yield from complaints(["systemd-analyze", "verify", "--man=no", path], silent=True)
            if path.suffix == ".service":
                security = ["systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE}", path]
                yield from complaints([*security, "--no-pager"])


def composed(_):
    """What Compose makes of it, with the example's passwords."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode != 0:
        return passed_over("docker compose config", "there is no docker compose; the schema was enough")
    command = ["docker", "compose", "--env-file", DEPLOY / "compose/example.env", "--file", DEPLOY / "compose.yaml"]
    yield from complaints([*command, "--profile", "monitoring", "config", "--quiet"])


def complaints(command, silent=False):
    """What it says if it fails; with `silent`, if it says anything."""
    done = subprocess.run(command, capture_output=True, text=True)
    said = (done.stdout + done.stderr).strip()
    if done.returncode != 0 or silent and said:
        yield f"{Path(command[0]).name}: {said}"


if __name__ == "__main__":
    sys.exit(main())
