"""Puts a file into the benchmarks' bucket, or takes it away."""

import http.client
import pathlib
import sys
import urllib.parse

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))
import signed  # noqa: E402, it stands beside what starts the servers


def put(settings, bucket, key, body):
    call(settings, "PUT", f"/{bucket}/{key}", body)


def delete(settings, bucket, key):
    call(settings, "DELETE", f"/{bucket}/{key}", b"")


def call(settings, method, path, body):
    host, path = f"127.0.0.1:{settings['PEO_S3_PORT']}", urllib.parse.quote(path)
    headers = signed.headers(method, host, path, body, settings["PEO_S3_ID"], settings["PEO_S3_KEY"])
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    if answer.status not in (200, 204):
        raise SystemExit(f"{path}: {answer.status} {answer.read().decode()}")
