"""Our values to S3's parameters and back. Pure, but for reading a body to hash it."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from objfs.errors import StoreError, Unsupported
from objfs.store import bodies
from objfs.store.base import Body, FileRange, etag_of
from objfs.store.bodies import (
    CHUNK,
    base64_of,
    body_size,
    checked_key,
    md5,
    nanoseconds,
    opened,
    quoted,
)
from objfs.store.s3 import connection
from objfs.store.s3.answers import NO_STORE
from objfs.types import Expect, Headers, ObjectInfo, Page

__all__ = [
    "base64_of",
    "body_size",
    "checked_key",
    "condition",
    "encrypted",
    "feed",
    "in_memory",
    "md5",
    "nanoseconds",
    "object_info",
    "opened",
    "page",
    "quoted",
    "range_size",
    "start_after",
    "stored_headers",
    "supports",
]
IN_MEMORY: Final = 2**20
"""Bytes up to which a body is sent from memory."""
NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (section 2.2) cannot hold, escaped or not."""


def object_info(key: str, answer: Mapping[str, Any], size: int | None) -> ObjectInfo:
    """From the answer to a HEAD or GET. Raises `StoreError` when it lacks size or time."""
    modified = answer.get("LastModified")
    if size is None or modified is None:
        raise StoreError(f"{key}: what answered is no S3 server", remedy=NO_STORE)
    return ObjectInfo(
        key=key,
        size=size,
        etag=etag_of(answer.get("ETag", "")),
        mtime_ns=nanoseconds(modified),
        content_type=answer.get("ContentType", ""),
        metadata=dict(answer.get("Metadata", {})),
        storage_class=answer.get("StorageClass", ""),
    )


def encrypted(answer: Mapping[str, Any]) -> bool:
    """Whether the ETag cannot be the MD5 of the bytes, although it may look like one.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html, ETag: SSE-KMS and SSE-C.
    """
    kms = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms")
    return kms or "SSECustomerAlgorithm" in answer


def page(answer: Mapping[str, Any], after: str) -> Page:
    """From the answer to ListObjectsV2; common prefixes that are not behind `after` are dropped.

    Raises `StoreError` for an answer that is no listing: a proxy's or a router's own page, with
    status 200, must not look like an empty bucket.
    """
    if not {"Name", "IsTruncated"} & answer.keys():
        raise StoreError("LIST: what answered is no S3 server", remedy=NO_STORE)
    objects = tuple(
        ObjectInfo(
            key=item["Key"],
            size=item["Size"],
            etag=etag_of(item["ETag"]),
            mtime_ns=nanoseconds(item["LastModified"]),
            storage_class=item.get("StorageClass", ""),
        )
        for item in answer.get("Contents", ())
    )
    prefixes = tuple(item["Prefix"] for item in answer.get("CommonPrefixes", ()))
    if after:
        low = after.encode()
        prefixes = tuple(prefix for prefix in prefixes if prefix.encode() > low)
    token = answer.get("NextContinuationToken", "") if answer.get("IsTruncated") else ""
    return Page(objects, prefixes, token)


def start_after(prefix: str, delimiter: str, after: str) -> str:
    """What to send for `after`.

    Semantics: AWS lists a common prefix again when one of its keys is behind `after`, and would
    walk all of them. Behind the greatest code point under that prefix it need not.
    """
    cut = after.find(delimiter, len(prefix)) if delimiter and after.startswith(prefix) else -1
    return after if cut < 0 else after[: cut + len(delimiter)] + "\U0010ffff"


def range_size(key: str, answer: Mapping[str, Any], start: int, stop: int) -> int:
    """See `objfs.store.bodies.range_size`."""
    return bodies.range_size(
        key, answer.get("ContentRange", ""), answer.get("ContentLength"), start, stop
    )


def in_memory(body: Body) -> Body:
    """The bytes themselves where they are few.

    botocore sends `Expect: 100-continue` with every file, whatever its size (its handler
    add_expect_header), and waits a round trip for the answer; with bytes it does not.
    """
    if isinstance(body, FileRange) and body.size <= IN_MEMORY:
        with body.open() as file:
            return file.read()
    return body


def supports(operation: str, key: str, expect: Expect, *, absent: bool, match: bool) -> None:
    """Raises `Unsupported` for a condition that this store does not check."""
    if (expect.absent and not absent) or (expect.etag and not match):
        raise Unsupported(f"{operation} {key}: this store does not check the condition")


def condition(expect: Expect, *, bare: bool = False) -> dict[str, str]:
    """Parameters for a condition on the target; with `bare` its etag has no quotes."""
    if expect.absent:
        return {"IfNoneMatch": "*"}
    if expect.etag:
        return {"IfMatch": expect.etag if bare else quoted(expect.etag)}
    return {}


def stored_headers(headers: Headers) -> dict[str, Any]:
    """Parameters for the headers that are kept with an object."""
    return {"ContentType": headers.content_type, "Metadata": dict(headers.metadata)}


def feed(body: Any, sink: Callable[[memoryview], None]) -> None:
    """Give a body, ours or boto3's, to the sink as it comes."""
    if isinstance(body, connection.Body):
        body.feed(sink)
        return
    # urllib3's readinto() reads into new bytes and copies them: read() is one copy less
    while chunk := body.read(CHUNK):
        sink(memoryview(chunk))
