"""Puts a file into the benchmarks' bucket, or takes it away: one signed request (AWS Signature Version 4)."""

import datetime
import hashlib
import hmac
import http.client
import urllib.parse


def put(settings, bucket, key, body):
    call(settings, "PUT", f"/{bucket}/{key}", body)


def delete(settings, bucket, key):
    call(settings, "DELETE", f"/{bucket}/{key}", b"")


def call(settings, method, path, body):
    host = f"127.0.0.1:{settings['PEO_S3_PORT']}"
    path = urllib.parse.quote(path)
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
    names = ";".join(headers)
    request = "\n".join([method, path, "", *(f"{k}:{v}" for k, v in headers.items()), "", names, digest])
    scope = [now[:8], "us-east-1", "s3", "aws4_request"]
    text = "\n".join(["AWS4-HMAC-SHA256", now, "/".join(scope), hashlib.sha256(request.encode()).hexdigest()])
    signing = f"AWS4{settings['PEO_S3_KEY']}".encode()
    for part in [*scope, text]:
        signing = hmac.digest(signing, part.encode(), "sha256")
    credential = f"{settings['PEO_S3_ID']}/{'/'.join(scope)}"
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signing.hex()}"
    )
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    if answer.status not in (200, 204):
        raise SystemExit(f"{path}: {answer.status} {answer.read().decode()}")
