"""The reference driver: a dict of objects in memory, as strict as a store may be.

It exists for tests, so it is the plainest code that keeps every rule of `objfs.store.base`; the
embedded store and the remote ones are compared with it. Bodies are copied at the call, ETags are
S3's (MD5; for a multipart object the MD5 of the parts' MD5s and their count). A capability that is
switched off makes the driver refuse with `Unsupported`, as the protocol demands of a product that
lacks it.
"""

import bisect
import hashlib
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from objfs.errors import (
    InvalidArgument,
    InvalidName,
    InvalidRange,
    NameTooLong,
    NoSuchUpload,
    NotFound,
    PreconditionFailed,
    StoreError,
    TooLarge,
    Unsupported,
)
from objfs.store.base import Body, Capabilities, Sink, Usage
from objfs.types import ANYTHING, ETag, Expect, Headers, ObjectInfo, Page, Part

CHUNK: Final = 256 * 1024
"""Bytes that one call of a sink gets, so that tests see bodies in more than one piece."""
MANY: Final = 1000
"""Keys that one `delete_many` takes (S3's DeleteObjects)."""


@dataclass(frozen=True, slots=True)
class _Object:
    info: ObjectInfo
    body: bytes


@dataclass(slots=True)
class _Upload:
    key: str
    headers: Headers
    parts: dict[int, tuple[ETag, bytes]] = field(default_factory=dict)


class MemoryStore:
    """A bucket in memory, shared by all threads of the process; it is gone with the object."""

    def __init__(self, capabilities: Capabilities | None = None) -> None:
        self._capabilities = capabilities or Capabilities(min_part=1)
        self._lock = threading.Lock()
        self._objects: dict[bytes, _Object] = {}
        self._order: list[bytes] = []
        self._uploads: dict[str, _Upload] = {}

    @property
    def capabilities(self) -> Capabilities:
        """What this one was told to honour."""
        return self._capabilities

    def check(self) -> None:
        """Always well."""

    def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        after: str = "",
        token: str = "",
        limit: int = 1000,
    ) -> Page:
        """One page in the order of UTF-8 bytes. Raises `InvalidArgument` for a limit below 1."""
        if limit < 1:
            raise InvalidArgument(f"list {prefix!r}: a page of {limit} entries was asked for")
        # A token is the last entry of the page before; to go on behind an entry is the same as to
        # start after it, since a common prefix that is <= `after` is not repeated.
        last = (token or after).encode()
        wanted, cut = prefix.encode(), delimiter.encode()
        objects: list[ObjectInfo] = []
        prefixes: list[str] = []
        newest = ""
        with self._lock:
            for key in self._order[bisect.bisect_left(self._order, max(wanted, last)) :]:
                if not key.startswith(wanted):
                    break
                common = _common(key, wanted, cut)
                entry = common or key
                if entry <= last or (common and prefixes and prefixes[-1] == common.decode()):
                    continue
                if len(objects) + len(prefixes) == limit:
                    return Page(tuple(objects), tuple(prefixes), token=newest)
                newest = entry.decode()
                if common:
                    prefixes.append(newest)
                else:
                    info = self._objects[key].info
                    objects.append(replace(info, content_type=None, metadata=None))
        return Page(tuple(objects), tuple(prefixes))

    def head(self, key: str) -> ObjectInfo:
        """The object's facts. Raises `NotFound`."""
        with self._lock:
            return self._find("head", key).info

    def get(
        self, key: str, sink: Sink, *, start: int, stop: int, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """Feed the range of one version, in pieces, without holding the lock."""
        with self._lock:
            found = self._find("get", key)
        _met("get", key, expect, found)
        if not 0 <= start < stop <= found.info.size:
            raise InvalidRange(f"get {key!r}: [{start}, {stop}) is not in {found.info.size} bytes")
        for at in range(start, stop, CHUNK):
            sink(memoryview(found.body)[at : min(at + CHUNK, stop)])
        return found.info

    def put(
        self, key: str, body: Body, headers: Headers, *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """Store a copy of `body`."""
        able = self._capabilities
        _offered("put", key, expect, absent=able.put_if_absent, match=able.put_if_match)
        content = _content(body)
        if len(content) > able.max_put:
            raise TooLarge(f"put {key!r}: {len(content)} bytes are over {able.max_put}")
        with self._lock:
            return self._store(
                "put", key, body=content, etag=_md5(content), headers=headers, expect=expect
            )

    def copy(
        self,
        source: str,
        target: str,
        *,
        size: int,  # noqa: ARG002 - the protocol's; one step copies any size
        expect: Expect = ANYTHING,
        target_expect: Expect = ANYTHING,
        headers: Headers | None = None,
    ) -> ObjectInfo:
        """Copy in one step; the ETag stays the source's. `size` is not needed here."""
        able = self._capabilities
        _offered("copy", source, expect, absent=False, match=able.copy_if_match)
        _offered(
            "copy to", target, target_expect, absent=able.copy_if_absent, match=able.copy_if_absent
        )
        with self._lock:
            found = self._find("copy", source)
            _met("copy", source, expect, found)
            kept = Headers(found.info.content_type or "", dict(found.info.metadata or {}))
            return self._store(
                "copy to",
                target,
                body=found.body,
                etag=found.info.etag,
                headers=headers or kept,
                expect=target_expect,
            )

    def delete(self, key: str) -> None:
        """Remove it, if it is there."""
        with self._lock:
            name = self._name("delete", key)
            if self._objects.pop(name, None) is not None:
                del self._order[bisect.bisect_left(self._order, name)]

    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Exception]:
        """Remove them; nothing fails here. Raises `InvalidArgument` for more than 1,000."""
        if len(keys) > MANY:
            raise InvalidArgument(f"delete {len(keys)} keys: one request takes {MANY}")
        for key in keys:
            self.delete(key)
        return {}

    def start_parts(self, key: str, headers: Headers) -> str:
        """Begin a multipart upload."""
        self._name("start an upload of", key)
        upload = secrets.token_hex(16)
        with self._lock:
            self._uploads[upload] = _Upload(key, headers)
        return upload

    def put_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        """Keep one part; a number that is there already is replaced."""
        if not 1 <= number <= self._capabilities.max_parts:
            raise InvalidArgument(f"put part {number} of {key!r}: numbers start at 1")
        content = _content(body)
        etag = _md5(content)
        with self._lock:
            self._find_upload("put a part of", key, upload).parts[number] = (etag, content)
        return Part(number, etag, len(content))

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
        """A part out of an object."""
        able = self._capabilities
        if not able.part_copy:
            raise Unsupported(f"copy a part of {source!r}: this store does not")
        _offered("copy a part of", source, expect, absent=False, match=able.copy_if_match)
        with self._lock:
            found = self._find("copy a part of", source)
        _met("copy a part of", source, expect, found)
        if not 0 <= start < stop <= found.info.size:
            raise InvalidRange(f"copy a part of {source!r}: [{start}, {stop}) is not in it")
        return self.put_part(key, upload, number, found.body[start:stop])

    def list_parts(
        self,
        key: str,
        upload: str,
        *,
        limit: int = 1000,  # noqa: ARG002 - the protocol's; there are no pages here
    ) -> Sequence[Part]:
        """The parts so far, by number."""
        with self._lock:
            found = self._find_upload("list the parts of", key, upload).parts
            return [Part(n, etag, len(body)) for n, (etag, body) in sorted(found.items())]

    def uploads(self) -> list[tuple[str, str]]:
        """Key and id of every upload that was begun and not ended; for tests."""
        with self._lock:
            return sorted((upload.key, number) for number, upload in self._uploads.items())

    def finish_parts(
        self, key: str, upload: str, parts: Sequence[Part], *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """Join the parts. After `PreconditionFailed` the upload is still there, as on S3."""
        able = self._capabilities
        _offered("finish", key, expect, absent=able.finish_if_absent, match=able.finish_if_match)
        with self._lock:
            pending = self._find_upload("finish", key, upload)
            numbers = [part.number for part in parts]
            if not parts or numbers != sorted(set(numbers)):
                raise StoreError(f"finish {key!r}: part numbers {numbers} do not go up")
            for part in parts:
                if pending.parts.get(part.number, ("", b""))[0] != part.etag:
                    raise StoreError(f"finish {key!r}: part {part.number} was never uploaded so")
            bodies = [pending.parts[number][1] for number in numbers]
            if any(len(body) < able.min_part for body in bodies[:-1]):
                raise StoreError(f"finish {key!r}: a part is under {able.min_part} bytes")
            digest = _md5(b"".join(bytes.fromhex(part.etag) for part in parts))
            etag = ETag(f"{digest}-{len(parts)}")
            info = self._store(
                "finish",
                key,
                body=b"".join(bodies),
                etag=etag,
                headers=pending.headers,
                expect=expect,
            )
            del self._uploads[upload]
            return info

    def abort_parts(self, key: str, upload: str) -> None:  # noqa: ARG002 - the protocol's
        """Drop the upload, if it is there."""
        with self._lock:
            self._uploads.pop(upload, None)

    def usage(self) -> Usage:
        """Counted anew each time."""
        with self._lock:
            return Usage(sum(o.info.size for o in self._objects.values()), len(self._objects))

    def close(self) -> None:
        """Nothing to give back; the contents stay, so that a test may look at them."""

    def _name(self, operation: str, key: str) -> bytes:
        try:
            name = key.encode()
        except UnicodeEncodeError as error:
            raise InvalidName(f"{operation} {key!r}: the key is not UTF-8") from error
        if not 0 < len(name) <= self._capabilities.max_key:
            raise NameTooLong(f"{operation} {key!r}: a key has 1 to {self._capabilities.max_key} B")
        return name

    def _find(self, operation: str, key: str) -> _Object:
        found = self._objects.get(self._name(operation, key))
        if found is None:
            raise NotFound(f"{operation} {key!r}: no such object")
        return found

    def _find_upload(self, operation: str, key: str, upload: str) -> _Upload:
        found = self._uploads.get(upload)
        if found is None or found.key != key:
            raise NoSuchUpload(f"{operation} {key!r}: no such upload")
        return found

    def _store(
        self,
        operation: str,
        key: str,
        *,
        body: bytes,
        etag: ETag,
        headers: Headers,
        expect: Expect,
    ) -> ObjectInfo:
        name = self._name(operation, key)
        _met(operation, key, expect, self._objects.get(name))
        info = ObjectInfo(
            key,
            len(body),
            etag,
            time.time_ns(),
            headers.content_type,
            dict(headers.metadata),
        )
        if name not in self._objects:
            bisect.insort(self._order, name)
        self._objects[name] = _Object(info, body)
        return info


def _common(key: bytes, prefix: bytes, delimiter: bytes) -> bytes:
    """The common prefix that stands for `key` in a listing; empty when the key itself does."""
    end = key.find(delimiter, len(prefix)) if delimiter else -1
    return b"" if end < 0 else key[: end + len(delimiter)]


def _content(body: Body) -> bytes:
    if isinstance(body, bytes):
        return body
    with body.open() as stream:
        content = stream.read()
    if len(content) != body.size:
        raise StoreError(f"the body's file has {len(content)} of {body.size} bytes")
    return content


def _md5(content: bytes) -> ETag:
    return ETag(hashlib.md5(content, usedforsecurity=False).hexdigest())


def _offered(operation: str, key: str, expect: Expect, *, absent: bool, match: bool) -> None:
    if (expect.absent and not absent) or (expect.etag is not None and not match):
        raise Unsupported(f"{operation} {key!r}: this store does not honour {expect}")


def _met(operation: str, key: str, expect: Expect, found: _Object | None) -> None:
    if expect.absent and found is not None:
        raise PreconditionFailed(f"{operation} {key!r}: it exists, and was expected not to")
    if expect.etag is not None and (found is None or found.info.etag != expect.etag):
        raise PreconditionFailed(f"{operation} {key!r}: it is not version {expect.etag}")
