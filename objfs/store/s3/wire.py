"""Our values to S3's parameters and back. Pure, but for reading a body to hash it."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Any, Final

from objfs.errors import (
    Corrupt,
    InvalidArgument,
    InvalidName,
    NameTooLong,
    StoreError,
    Unsupported,
)
from objfs.store.base import Body, FileRange, etag_of
from objfs.store.s3 import connection
from objfs.store.s3.answers import NO_STORE
from objfs.types import ETag, Expect, Headers, ObjectInfo, Page

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CHUNK: Final = 256 * 1024
IN_MEMORY: Final = 2**20
"""Bytes up to which a body is sent from memory."""
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (section 2.2) cannot hold, escaped or not."""


def checked_key(operation: str, key: str, limit: int = 0) -> str:
    """The key itself. Raises `InvalidArgument`, `InvalidName`, and `NameTooLong` above `limit`.

    INVARIANT: no request goes out with an empty key. DELETE of "" would be DELETE of the bucket,
    and botocore's own validation is off.
    """
    if not key:
        raise InvalidArgument(f"{operation}: the key is empty")
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise InvalidName(f"{operation} {key!a}: the key is not Unicode") from error
    if limit and size > limit:
        raise NameTooLong(f"{operation} {key[:80]}...: a key of {size} bytes, above {limit}")
    return key


def nanoseconds(moment: datetime) -> int:
    """Since the epoch; exact, where `timestamp()` would round through a float."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


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
    """The whole object's size, once the answer is found to hold exactly [start, stop).

    The header decides, not the status: `rclone serve s3` answers 200 with a right Content-Range.
    Raises `Corrupt`.
    """
    length = answer.get("ContentLength")
    match = _RANGE.fullmatch(answer.get("ContentRange", ""))
    if match:
        first, last, size = map(int, match.groups())
        if (first, last + 1) == (start, stop) and length in (None, stop - start):
            return size
    elif start == 0 and length == stop:
        return stop
    got = answer.get("ContentRange") or f"{length} bytes without a range"
    raise Corrupt(f"GET {key}: asked for bytes {start}-{stop - 1}, answered {got}")


@contextmanager
def opened(body: Body) -> Iterator["bytes | IO[bytes]"]:
    """What boto3 takes as Body."""
    if isinstance(body, FileRange):
        with body.open() as stream:
            yield stream
    else:
        yield body


def in_memory(body: Body) -> Body:
    """The bytes themselves where they are few.

    botocore sends `Expect: 100-continue` with every file, whatever its size (its handler
    add_expect_header), and waits a round trip for the answer; with bytes it does not.
    """
    if isinstance(body, FileRange) and body.size <= IN_MEMORY:
        with body.open() as file:
            return file.read()
    return body


def body_size(body: Body) -> int:
    """Bytes."""
    return body.size if isinstance(body, FileRange) else len(body)


def md5(body: Body) -> bytes:
    """The digest; a file is read through once. hashlib lets other threads run meanwhile."""
    digest = hashlib.md5(usedforsecurity=False)
    if isinstance(body, FileRange):
        with body.open() as stream:
            buffer = memoryview(bytearray(_CHUNK))
            while count := stream.readinto(buffer):
                digest.update(buffer[:count])
    else:
        digest.update(body)
    return digest.digest()


def supports(operation: str, key: str, expect: Expect, *, absent: bool, match: bool) -> None:
    """Raises `Unsupported` for a condition that this store does not check."""
    if (expect.absent and not absent) or (expect.etag and not match):
        raise Unsupported(f"{operation} {key}: this store does not check the condition")


def quoted(etag: ETag) -> str:
    """As RFC 9110 section 8.8.3 has it."""
    return f'"{etag}"'


def condition(expect: Expect, *, bare: bool = False) -> dict[str, str]:
    """Parameters for a condition on the target; with `bare` its etag has no quotes."""
    if expect.absent:
        return {"IfNoneMatch": "*"}
    if expect.etag:
        return {"IfMatch": expect.etag if bare else quoted(expect.etag)}
    return {}


def base64_of(digest: bytes) -> str:
    """As Content-MD5 wants it (RFC 1864)."""
    return base64.b64encode(digest).decode()


def stored_headers(headers: Headers) -> dict[str, Any]:
    """Parameters for the headers that are kept with an object."""
    return {"ContentType": headers.content_type, "Metadata": dict(headers.metadata)}


def feed(body: Any, sink: Callable[[memoryview], None]) -> None:
    """Give a body, ours or boto3's, to the sink as it comes."""
    if isinstance(body, connection.Body):
        body.feed(sink)
        return
    # urllib3's readinto() reads into new bytes and copies them: read() is one copy less
    while chunk := body.read(_CHUNK):
        sink(memoryview(chunk))
