"""The headers of a request to S3, signed as AWS has it (Signature Version 4)."""

import datetime
import hashlib
import hmac


def headers(method, host, path, body, id, key, query=""):
    """`path` and `query` as they are sent: escaped, and the query's names sorted."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
    names = ";".join(headers)
    request = "\n".join([method, path, query, *(f"{k}:{v}" for k, v in headers.items()), "", names, digest])
    scope = [now[:8], "us-east-1", "s3", "aws4_request"]
    text = "\n".join(["AWS4-HMAC-SHA256", now, "/".join(scope), hashlib.sha256(request.encode()).hexdigest()])
    signing = f"AWS4{key}".encode()
    for part in [*scope, text]:
        signing = hmac.digest(signing, part.encode(), "sha256")
    credential = f"{id}/{'/'.join(scope)}"
    signature = f"Credential={credential}, SignedHeaders={names}, Signature={signing.hex()}"
    return {**headers, "authorization": f"AWS4-HMAC-SHA256 {signature}"}
