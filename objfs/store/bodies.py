"""Bodies, keys and ranges as every HTTP store needs them; files are read to be hashed."""

import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Final

from objfs.errors import Corrupt, InvalidArgument, InvalidName, NameTooLong
from objfs.store.base import Body, FileRange
from objfs.types import ETag

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
CHUNK: Final = 256 * 1024
"""Bytes that are read, hashed and sent at once."""
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def checked_key(operation: str, key: str, limit: int = 0) -> str:
    """The key itself. Raises `InvalidArgument`, `InvalidName`, and `NameTooLong` above `limit`.

    INVARIANT: no request goes out with an empty key. DELETE of "" would be DELETE of the bucket,
    and no SDK would stop it.
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


def range_size(key: str, content_range: str, length: int | None, start: int, stop: int) -> int:
    """The whole object's size, once an answer is found to hold exactly [start, stop).

    The header decides, not the status: `rclone serve s3` answers 200 with a right Content-Range.
    Raises `Corrupt`.
    """
    match = _RANGE.fullmatch(content_range)
    if match:
        first, last, size = map(int, match.groups())
        if (first, last + 1) == (start, stop) and length in (None, stop - start):
            return size
    elif not content_range and start == 0 and length == stop:
        return stop
    got = content_range or f"{length} bytes without a range"
    raise Corrupt(f"GET {key}: asked for bytes {start}-{stop - 1}, answered {got}")


@contextmanager
def opened(body: Body) -> Iterator["bytes | IO[bytes]"]:
    """The bytes, or a stream over them."""
    if isinstance(body, FileRange):
        with body.open() as stream:
            yield stream
    else:
        yield body


def body_size(body: Body) -> int:
    """Bytes."""
    return body.size if isinstance(body, FileRange) else len(body)


def md5(body: Body) -> bytes:
    """The digest; a file is read through once. hashlib lets other threads run meanwhile."""
    digest = hashlib.md5(usedforsecurity=False)
    if isinstance(body, FileRange):
        with body.open() as stream:
            buffer = memoryview(bytearray(CHUNK))
            while count := stream.readinto(buffer):
                digest.update(buffer[:count])
    else:
        digest.update(body)
    return digest.digest()


def quoted(etag: ETag) -> str:
    """As RFC 9110 section 8.8.3 has it."""
    return f'"{etag}"'


def base64_of(digest: bytes) -> str:
    """As Content-MD5 wants it (RFC 1864)."""
    return base64.b64encode(digest).decode()
