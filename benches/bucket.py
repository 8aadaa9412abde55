"""Puts files into the benchmarks' bucket, takes them away, and lists them."""

import concurrent.futures
import http.client
import os
import pathlib
import sys
import threading
import urllib.parse
import xml.etree.ElementTree

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))
import signed  # noqa: E402, it stands beside what starts the servers

AT_ONCE = 8
LOCAL = threading.local()


def put(settings, bucket, key, body):
    """Writes an object; without a key, makes the bucket."""
    call(settings, "PUT", f"/{bucket}/{key}" if key else f"/{bucket}", body)


def put_all(settings, bucket, objects):
    """Writes (key, body) pairs, many at once: in several processes, because signing is work."""
    objects = list(objects)
    share = -(-len(objects) // (os.cpu_count() or 1)) or 1
    parts = [objects[at : at + share] for at in range(0, len(objects), share)]
    with concurrent.futures.ProcessPoolExecutor() as pool:
        list(pool.map(put_part, [settings] * len(parts), [bucket] * len(parts), parts))


def put_part(settings, bucket, objects):
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(lambda entry: put(settings, bucket, *entry), objects):
            pass


def listing(settings, bucket, prefix):
    """Pages through a listing, reading no more of a page than where the next one begins; how many objects there are."""
    count, token = 0, None
    while True:
        query = {"continuation-token": token} if token else {}
        query = sorted({**query, "list-type": "2", "max-keys": "1000", "prefix": prefix}.items())
        page = call(settings, "GET", f"/{bucket}", b"", urllib.parse.urlencode(query, quote_via=urllib.parse.quote))
        count += page.count(b"<Key>")
        at = page.find(b"<NextContinuationToken>")
        if at < 0:
            return count
        end = page.index(b">", page.index(b"</", at))
        token = xml.etree.ElementTree.fromstring(page[at : end + 1]).text


def call(settings, method, path, body, query=""):
    host, path = f"127.0.0.1:{settings['PEO_S3_PORT']}", urllib.parse.quote(path)
    headers = signed.headers(method, host, path, body, settings["PEO_S3_ID"], settings["PEO_S3_KEY"], query)
    target = f"{path}?{query}" if query else path
    for attempt in (1, 2):
        connection = connected(host)
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            said = answer.read()
            break
        except (OSError, http.client.HTTPException):
            LOCAL.connection = None  # a connection that was idle for too long
            if attempt == 2:
                raise
    if answer.status not in (200, 204):
        raise SystemExit(f"{path}: {answer.status} {said.decode()}")
    return said


def connected(host):
    """This thread's connection, kept from call to call."""
    if getattr(LOCAL, "connection", None) is None or LOCAL.host != host:
        LOCAL.connection, LOCAL.host = http.client.HTTPConnection(host, timeout=60), host
    return LOCAL.connection
