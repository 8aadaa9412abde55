#!/usr/bin/env python3
"""Takes the pictures of the status page in docs/pictures: a service over a feed with tables that are loaded, pending, failed,
held, late and missing, in a real browser.

Wants the servers that `services.py exec` starts (PEO_*), chromium and chromedriver, and the program, built.
`./justw screenshots` has all that.
"""

import base64
import collections
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / (os.environ.get("CARGO_TARGET_DIR") or "target")
PICTURES = ROOT / "docs" / "pictures"
BUCKET = "feed"
DATABASE = "paper_engine"
LARGEST = 150_000
PATIENCE = 60
MODEL = """
create schema if not exists sales;
create table if not exists sales.orders (like dbo.entity_1 including all);
create table if not exists sales.fills (like dbo.entity_2 including all);
create table if not exists sales.strategies (like dbo.entity_3 including all);
"""


def main():
    profile = os.environ.get("PROFILE", "release")
    program = BUILT / profile / "paper-engine-orders"
    environment = settings()
    subprocess.run([pg("createdb"), *pg_arguments(), DATABASE], check=True)
    with tempfile.TemporaryDirectory() as folder:
        feed(program, environment, Path(folder))
        with Service(program, {**environment, "SETTLE": "3600"}) as service, Browser(folder) as browser:
            pictures(service, browser)


# ---- what is there to see


def settings():
    e = os.environ
    source = (f"bucket_endpoint=http://127.0.0.1:{e['PEO_S3_PORT']} bucket_id={e['PEO_S3_ID']} bucket_key={e['PEO_S3_KEY']} "
              f"bucket_name={BUCKET} bucket_path=data")
    target = f"host={e['PEO_PG_HOST']} port={e['PEO_PG_PORT']} user={e['PEO_PG_USER']} dbname={DATABASE}"
    return {"PATH": e["PATH"], "SOURCE": source, "TARGET": target, "NATS": f"nats://127.0.0.1:{e['PEO_NATS_PORT']}",
            "SETTLE": "1", "MIN_SLEEP": "0.5", "MAX_SLEEP": "1", "METRICS": "127.0.0.1:0", "LOG_FORMAT": "text"}


def feed(program, environment, folder):
    """Loads that go well, then one thing of each kind that does not."""
    (folder / "sales.sql").write_text(MODEL)

    def run(*arguments, **more):
        done = subprocess.run([program, *arguments], env={**environment, **more}, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            sys.exit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}{done.stdout}")
        return done

    def make(entity, *arguments):
        run("feed", "make", "--bucket", "--entity", entity, *arguments)

    def load(**more):
        run("run", "--once", **more)

    sales = ("--schema", "sales", "--table")
    create_bucket()
    run("migrate", "--model", str(ROOT / "db" / "model"))
    run("migrate", "--model", str(folder))
    for entity in ("entity_1", "entity_2", "entity_3"):
        make(entity, "--scale", "0.2", "--changes", "2", "--time", "2026-11-20 06:00:00", "--every", "3600")
    make("entity_1", *sales, "orders", "--scale", "0.3", "--changes", "2")
    make("entity_3", *sales, "strategies", "--changes", "2", "--time", "2026-11-20 14:00:00", "--every", "60")
    make("entity_2", *sales, "fills", "--scale", "0.1")
    load()
    # kept aside: three bad rows of one file
    bad = ("--changes", "1", "--no-snapshot", "--anomaly", "bad-row", "--time", "2026-11-20 09:00:00")
    make("entity_1", "--scale", "0.2", *bad)
    load(ON_BAD_ROW="quarantine", MAX_REJECTS="10")
    make("entity_2", "--scale", "0.2", *bad)
    make("entity_2", "--scale", "0.2", "--no-snapshot", "--changes", "3", "--time", "2026-11-20 12:00:00", "--every", "600")
    make("entity_1", *sales, "orders", "--scale", "0.1")
    late = ("--no-snapshot", "--anomaly", "late-file", "--time", "2026-11-20 14:00:00", "--every", "60")
    make("entity_3", *sales, "strategies", *late)
    load()
    make("entity_1", "--scale", "0.2", "--no-snapshot", "--changes", "1", "--time", "2026-11-20 15:00:00")
    load()
    make("entity_3", *sales, "customers", "--changes", "1")
    make("entity_2", *sales, "fills", "--scale", "0.1")


def create_bucket():
    """The S3 server makes a bucket on request; signed, for nobody may without."""
    sys.path.insert(0, str(ROOT / "scripts"))
    import signed
    port = os.environ["PEO_S3_PORT"]
    headers = signed.headers("PUT", f"127.0.0.1:{port}", f"/{BUCKET}", b"", os.environ["PEO_S3_ID"], os.environ["PEO_S3_KEY"])
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT", headers=headers))


def pictures(service, browser):
    PICTURES.mkdir(exist_ok=True)
    page = service.page()
    held = re.search(r'<a href="(/deliveries/\d+)">delivery \d+</a></h3>\s*<p class="key"><bdi>data/sales/orders', page)
    if not held:
        sys.exit(f"nothing is held:\n{page}")
    for name, dark in (("page.png", False), ("page-dark.png", True)):
        browser.show(service.address + "/", width=1280, height=1300, dark=dark)
        browser.take(name, whole=False)
    browser.show(service.address + "/", width=360, scale=1.5, height=1500)
    browser.take("page-phone.png", whole=False)
    browser.show(service.address + held[1], width=1280)
    browser.take("page-delivery.png")


class Service:
    """The program as a service, watched until its page shows what is pending."""

    def __init__(self, program, environment):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([program, "run", "--service"], env=environment, stderr=self.log, stdout=self.log)
        self.address = until(self.served, "the service does not say where it serves")
        until(lambda: "no table" in self.page() and "What waits for a person" in self.page(), "the page does not fill")
        time.sleep(2)

    def served(self):
        self.log.seek(0)
        found = re.search(r"served at (http://[\d.]+:\d+)", self.log.read())
        return found and found[1]

    def page(self):
        return urllib.request.urlopen(self.address + "/").read().decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


class Browser:
    """Chromium, without a screen, driven through chromedriver's own protocol."""

    def __init__(self, folder):
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        port = next(found[1] for line in self.driver.stdout if (found := re.search(r"started successfully on port (\d+)", line)))
        self.base = f"http://127.0.0.1:{port}"
        switches = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--disable-lcd-text", f"--user-data-dir={folder}/profile"]
        options = {"binary": os.environ.get("PEO_CHROMIUM", "/usr/bin/chromium"), "args": switches}
        asked = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self.base += f"/session/{self.call('/session', asked)['sessionId']}"

    def show(self, address, width, height=800, scale=1, dark=False):
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
        scheme = "dark" if dark else "light"
        self.devtools("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        self.call("/url", {"url": address})

    def take(self, name, whole=True):
        picture = self.devtools("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole})
        data = smaller(base64.b64decode(picture["data"]))
        if len(data) > LARGEST:
            sys.exit(f"{name} has {len(data)} bytes, more than {LARGEST}")
        (PICTURES / name).write_bytes(data)
        print(f"{(PICTURES / name).relative_to(ROOT)}: {len(data)} bytes")

    def devtools(self, command, parameters):
        return self.call("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def call(self, path, body):
        request = urllib.request.Request(self.base + path, json.dumps(body).encode(), {"content-type": "application/json"})
        return json.load(urllib.request.urlopen(request))["value"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        urllib.request.urlopen(urllib.request.Request(self.base, method="DELETE"))
        self.driver.terminate()
        self.driver.wait()


def smaller(png):
    """The same picture in 256 colours: those that are there most, and for the others the nearest of these."""
    width, height = struct.unpack(">II", png[16:24])
    if png[24:26] not in (b"\x08\x02", b"\x08\x06"):
        sys.exit("the browser's picture is in another form than expected")
    step = 3 if png[25] == 2 else 4
    lines = unfiltered(zlib.decompress(b"".join(body for name, body in chunks(png) if name == b"IDAT")), width * step, height, step)
    pixels = [[line[at:at + 3] for at in range(0, width * step, step)] for line in lines]
    found = collections.Counter(pixel for line in pixels for pixel in line)
    palette = [colour for colour, _ in found.most_common(256)]
    near = {colour: at for at, colour in enumerate(palette)}
    for colour in found.keys() - near.keys():
        near[colour] = min(range(len(palette)), key=lambda at: sum((a - b) ** 2 for a, b in zip(palette[at], colour)))
    rows = b"".join(b"\0" + bytes(near[pixel] for pixel in line) for line in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = [(b"IHDR", head), (b"PLTE", b"".join(palette)), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    sealed = (struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts)
    return png[:8] + b"".join(sealed)


def chunks(png):
    at = 8
    while at < len(png):
        length = struct.unpack(">I", png[at:at + 4])[0]
        yield png[at + 4:at + 8], png[at + 8:at + 8 + length]
        at += 12 + length


def unfiltered(data, width, height, step):
    """The lines of a PNG, each of which says how it was told from the one above and the pixel before."""
    above = bytearray(width)
    for number in range(height):
        start = number * (width + 1)
        kind, line = data[start], bytearray(data[start + 1:start + 1 + width])
        for at in range(width if kind else 0):
            left = line[at - step] if at >= step else 0
            corner = above[at - step] if at >= step else 0
            line[at] = (line[at] + guess(kind, left, above[at], corner)) & 255
        yield bytes(line)
        above = line


def guess(kind, left, up, corner):
    if kind == 4:
        return min((left, up, corner), key=lambda value: abs(left + up - corner - value))
    return (0, left, up, (left + up) // 2)[kind]


def until(found, complaint):
    for _ in range(PATIENCE * 5):
        if value := found():
            return value
        time.sleep(0.2)
    sys.exit(complaint)


def pg(name):
    return f"{os.environ['PEO_PG_BIN']}/{name}"


def pg_arguments():
    return ["-h", os.environ["PEO_PG_HOST"], "-p", os.environ["PEO_PG_PORT"], "-U", os.environ["PEO_PG_USER"]]


if __name__ == "__main__":
    main()
