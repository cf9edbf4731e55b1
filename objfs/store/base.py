"""What a store driver must do: small, synchronous, dumb.

A driver speaks one product's API and nothing else. Everything clever (prefixes, paging, threads,
limits, retries, multipart, verification of lengths) is in `objfs.store.bucket`, once. The rules
below hold both ways, and `tests/store/contract.py` checks them on every driver:

- A driver is made in one thread and then used from many at once.
- Keys are full keys in the bucket, any legal one: `a//b`, `/x`, `dir/` and `..` included.
- Every error is an `objfs.errors` class, chosen once, with the key and the operation in it.
- A put or a finished multipart upload is atomic: a reader sees the old object or the new one.
- An `Expect` is honoured by the store itself where `capabilities` says so; where it does not, the
  driver raises `Unsupported` rather than ignore it.
- ETags carry no quotes.
"""

import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from objfs.types import ANYTHING, ETag, Expect, Headers, ObjectInfo, Page, Part

Sink = Callable[[memoryview], None]
"""Takes the next bytes of a body, in order, in the thread that reads the network. It may raise."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store honours. Everything here is a fact of the product, probed or known."""

    put_if_absent: bool = True
    put_if_match: bool = True
    finish_if_absent: bool = True
    """`finish_parts` honours `Expect(absent=True)`."""
    finish_if_match: bool = True
    copy_if_match: bool = True
    """`copy` honours the expected etag of its source."""
    copy_if_absent: bool = True
    """`copy` honours `Expect(absent=True)` on its target."""
    part_copy: bool = True
    """`copy_part` is offered."""
    etag_is_md5: bool = True
    """The ETag of an object stored by one put is the MD5 of its bytes."""
    ordered: bool = True
    """Listings are in the order of the keys' UTF-8 bytes."""
    folder_objects: bool = False
    """An empty object may be the marker of the directory named like it (`ObjectInfo.is_folder`)."""
    top_level_objects: bool = True
    """A key without a delimiter can be an object; in a whole account it can only be a bucket."""
    max_key: int = 1024
    """Bytes in a key."""
    max_put: int = 5 * 2**30
    """Bytes in one put, and in one server-side copy."""
    min_part: int = 5 * 2**20
    max_parts: int = 10_000
    mangles: str = ""
    """A regular expression: keys with a match would be stored under another name …"""
    mangles_why: str = ""
    """… and what to tell who tries."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a bucket or an account holds, by the store's own books (which may lag behind)."""

    bytes: int
    objects: int


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes of an open local file; reading moves no file position, so threads may share the fd."""

    fd: int
    start: int
    size: int

    def open(self) -> "io.BufferedReader":
        """A seekable binary stream over exactly these bytes; closing it leaves the fd open."""
        return io.BufferedReader(_RangeReader(self), buffer_size=256 * 1024)


Body = bytes | FileRange


class _RangeReader(io.RawIOBase):
    """The raw stream behind `FileRange.open`."""

    def __init__(self, source: FileRange) -> None:
        super().__init__()
        self._source = source
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]  # typeshed's parameter type is private
        left = self._source.size - self._at
        view = memoryview(buffer)[: max(0, left)]
        count = os.preadv(self._source.fd, [view], self._source.start + self._at) if view else 0
        self._at += count
        return count


class Driver(Protocol):
    """One bucket of one store. Methods block.

    All of them may raise `NoSuchBucket`, `Forbidden`, `BadCredentials` and `Unavailable`.
    """

    @property
    def capabilities(self) -> Capabilities:
        """May become more exact while the driver is used; read it at each decision."""

    def check(self) -> None:
        """One cheap request that fails as the mount would: no bucket, no access, no connection."""

    def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        after: str = "",
        token: str = "",
        limit: int = 1000,
    ) -> Page:
        """At most `limit` objects and common prefixes under `prefix`; `token` goes on where it was.

        Without a token it starts behind the key `after` ("" for the beginning). Common prefixes
        that are <= `after` are not repeated.
        """

    def head(self, key: str) -> ObjectInfo:
        """The object's facts, content type and metadata included. Raises `NotFound`."""

    def get(
        self, key: str, sink: Sink, *, start: int, stop: int, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """Feed bytes [start, stop) to `sink`; `stop` is within the object and above `start`.

        Raises `NotFound`, `PreconditionFailed` (not that etag), `InvalidRange`, `ArchivedObject`,
        and `Corrupt` when the answer's own headers name another range than was asked for. The
        caller counts the bytes: a short body is its business.
        """

    def put(
        self, key: str, body: Body, headers: Headers, *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """Store a whole object in one request, with a checksum that the store verifies.

        Raises `PreconditionFailed`, also for a version that was expected and is gone.
        """

    def copy(
        self,
        source: str,
        target: str,
        *,
        size: int,
        expect: Expect = ANYTHING,
        target_expect: Expect = ANYTHING,
        headers: Headers | None = None,
    ) -> ObjectInfo:
        """Copy inside the store, of any size, with the source's headers unless new ones are given.

        `size` is the source's (above `max_put` a driver copies by parts). `expect` is on the
        source. Raises `NotFound`, `PreconditionFailed`.
        """

    def delete(self, key: str) -> None:
        """Remove it; a key that is not there is no error."""

    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Exception]:
        """Remove up to 1,000 keys; what failed, with its error."""

    def start_parts(self, key: str, headers: Headers) -> str:
        """Begin a multipart upload; the upload's id."""

    def put_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        """Upload one part, with a checksum that the store verifies. Raises `NoSuchUpload`."""

    def copy_part(
        self,
        key: str,
        upload: str,
        number: int,
        source: str,
        *,
        start: int,
        stop: int,
        expect: Expect = ANYTHING,
    ) -> Part:
        """Make a part of bytes [start, stop) of an object of the bucket, inside the store.

        `expect` is on the source, honoured where `copy` honours it. Raises `NotFound`,
        `PreconditionFailed`, `NoSuchUpload`, and `Unsupported` where there is no `part_copy`.
        """

    def list_parts(self, key: str, upload: str, *, limit: int = 1000) -> Sequence[Part]:
        """All parts that the store has of an upload, by number, asked for `limit` at a time.

        A part that was replaced may be listed beside the one that replaced it, or instead of it:
        its etag tells. Raises `NoSuchUpload`, also for one that was finished or aborted.
        """

    def finish_parts(
        self, key: str, upload: str, parts: Sequence[Part], *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """Make the object of its parts, in order. Raises `PreconditionFailed`, `NoSuchUpload`."""

    def abort_parts(self, key: str, upload: str) -> None:
        """Drop the upload and its parts; one that is not there is no error."""

    def usage(self) -> Usage | None:
        """The store's own totals of the bucket; None where it keeps none."""

    def close(self) -> None:
        """Give back connections and files. Nothing is called afterwards."""


def etag_of(text: str) -> ETag:
    """An ETag header without its quotes (RFC 9110 section 8.8.3); a weak mark is dropped."""
    return ETag(text.strip().removeprefix("W/").strip('"'))


def parts_etag(parts: Sequence[Part]) -> ETag:
    """The ETag that S3 gives an object of these parts: the MD5 of their MD5s, and their number.

    "" when a part's own ETag is no MD5 (encryption with KMS keys).
    """
    try:
        joined = b"".join(bytes.fromhex(part.etag) for part in parts)
    except ValueError:
        return ETag("")
    return ETag(f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}")
