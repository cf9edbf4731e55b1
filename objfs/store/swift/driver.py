"""The Swift driver: `Driver` on one container.

Semantics: before a write that may replace a large object there is a HEAD, since its segments must
go with it, and only the object's own headers tell that it is one. A create that the store checks
(`If-None-Match: *`) needs none.

A listing tells neither size nor etag of a dynamic large object, and on radosgw of no large object:
they look like empty ones. So an empty entry that is no directory's marker is asked by a HEAD, once
for each (name, time).
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from cachetools import LRUCache

from objfs.config import StoreConfig
from objfs.errors import (
    InvalidArgument,
    NoSuchBucket,
    NotFound,
    ObjfsError,
    PreconditionFailed,
    Unavailable,
    Unsupported,
)
from objfs.store.base import Body, Capabilities, Sink, Usage, etag_of
from objfs.store.swift import wire
from objfs.store.swift.access import Access
from objfs.store.swift.copying import Copy
from objfs.store.swift.environment import read_login
from objfs.store.swift.errors import MISSING_CONTAINER, mapped
from objfs.store.swift.parts import Parts
from objfs.store.swift.products import UNKNOWN, Product, recognise
from objfs.store.swift.segments import Segments, at_once
from objfs.store.swift.transport import CHUNK, Answer, Call, Transport, was_repeated
from objfs.types import ANYTHING, ETag, Expect, Headers, ObjectInfo, Page, Part

MANY: Final = 1000
REMEMBERED: Final = 20_000
"""Empty entries of listings whose HEAD is remembered."""


def connect(config: StoreConfig, environ: Mapping[str, str] | None = None) -> Transport:
    """The way to the account that configuration and environment describe; no request is made.

    Raises `UsageError` and `BadCredentials` for a login that is not complete.
    """
    login = read_login(config, os.environ if environ is None else environ)
    return Transport(Access(login, config.timeout), config)


class SwiftStore:
    """One container. Made without a request; which product it is on is learned by `check`.

    Raises `UsageError` and `BadCredentials` for a login that is not complete.
    """

    def __init__(
        self,
        config: StoreConfig,
        environ: Mapping[str, str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        assert config.bucket, "without one SwiftAccount is meant"
        self._container = config.bucket
        self._prefix = config.prefix
        self._segment_size = config.segment_size
        self._transport = transport or connect(config, environ)
        self._shared = transport is not None
        self._lock = threading.Lock()
        self._product: Product | None = None
        self._segments = Segments(self._transport, config.bucket, self._known)
        self._parts = Parts(self._transport, config.bucket, self._segments, self._known)
        self._empty: LRUCache[tuple[str, int], ObjectInfo] = LRUCache(REMEMBERED)

    @property
    def capabilities(self) -> Capabilities:
        """Exact after `check`; conservative before."""
        return (self._product or UNKNOWN).capabilities

    def check(self) -> None:
        """List one key, and ask the cluster what it is."""
        self._known()
        self._page(self._prefix, "", "", 1)

    # --- reading -------------------------------------------------------------------------------

    def list_page(
        self,
        prefix: str,
        *,
        delimiter: str = "",
        after: str = "",
        token: str = "",
        limit: int = 1000,
    ) -> Page:
        """See `Driver.list_page`; the token is the last entry of the page before."""
        if limit < 1:
            raise InvalidArgument(f"LIST {prefix}: a page of {limit} entries was asked for")
        limit = min(limit, (self._product or UNKNOWN).page)
        marker = token or after
        common = _common(marker, prefix, delimiter)
        found = self._page(prefix, delimiter, common or marker, limit)
        last = str(found[-1].get("name") or found[-1].get("subdir")) if found else ""
        prefixes = tuple(entry["subdir"] for entry in found if "subdir" in entry)
        if marker:
            low = marker.encode()
            prefixes = tuple(prefix for prefix in prefixes if prefix.encode() > low)
        objects = self._asked([entry for entry in found if "name" in entry])
        return Page(objects, prefixes, last if len(found) == limit else "")

    def _page(self, prefix: str, delimiter: str, marker: str, limit: int) -> list[dict[str, Any]]:
        query = f"format=json&limit={limit}"
        for name, value in (("prefix", prefix), ("delimiter", delimiter), ("marker", marker)):
            query += f"&{name}={quote(value, safe='')}" if value else ""
        try:
            answer = self._transport.ask(
                Call("LIST", "GET", (self._container,), query), allowed=(204,)
            )
        except NotFound as error:
            raise self._no_container("LIST") from error
        return wire.entries(answer.body)

    def _asked(self, entries: Sequence[dict[str, Any]]) -> tuple[ObjectInfo, ...]:
        """The objects of a page, with the facts of a HEAD for those that may not be what they say.

        One that is gone meanwhile is left out.
        """
        infos: dict[str, ObjectInfo | None] = {e["name"]: wire.listed(e) for e in entries}
        suspects = []
        for entry in entries:
            info = wire.listed(entry)
            if etag_of(entry["hash"]) != wire.EMPTY or wire.is_large(info.etag):
                continue
            if info.is_folder or info.key.endswith("/"):
                continue
            with self._lock:
                known = self._empty.get((info.key, info.mtime_ns))
            if known:
                infos[info.key] = known
            else:
                suspects.append(info)

        def look(info: ObjectInfo) -> None:
            try:
                found = self.head(info.key)
            except NotFound:
                infos[info.key] = None
                return
            told = ObjectInfo(info.key, found.size, found.etag, info.mtime_ns)
            infos[info.key] = told
            with self._lock:
                self._empty[info.key, info.mtime_ns] = told

        if suspects:
            at_once(look, suspects)
        return tuple(info for info in infos.values() if info)

    def head(self, key: str) -> ObjectInfo:
        """See `Driver.head`."""
        headers = self._head("HEAD", key)
        return wire.object_info(key, headers, int(headers.get("content-length") or 0))

    def _head(self, operation: str, key: str) -> Mapping[str, str]:
        wire.checked_key(operation, key)
        return self._transport.ask(Call(operation, "HEAD", (self._container, key))).headers

    def get(
        self, key: str, sink: Sink, *, start: int, stop: int, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver.get`.

        Semantics: radosgw compares If-Match with the etag of the manifest, not of the object, so a
        large object's etag is compared here, before a byte is fed.
        """
        wire.checked_key("GET", key)
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if expect.etag and not wire.is_large(expect.etag):
            headers["If-Match"] = f'"{expect.etag}"'
        call = Call("GET", "GET", (self._container, key), headers=headers)
        with self._transport.open(call) as answer:
            info = wire.object_info(key, answer.headers, 0)
            if expect.etag and info.etag != expect.etag:
                raise PreconditionFailed(f"GET {key}: the store holds another version")
            size = wire.range_size(key, answer.headers, start, stop)
            with mapped("GET", key):
                self._feed(answer, sink)
        return wire.object_info(key, answer.headers, size)

    @staticmethod
    def _feed(answer: Answer, sink: Sink) -> None:
        assert answer.stream is not None, "it was opened"
        while chunk := answer.stream.read(CHUNK):
            sink(memoryview(chunk))

    # --- writing -------------------------------------------------------------------------------

    def put(
        self, key: str, body: Body, headers: Headers, *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver.put`; the store compares the bytes with their MD5."""
        caps = self._known().capabilities
        wire.checked_key("PUT", key, caps.max_key)
        self._supports("PUT", key, expect, absent=caps.put_if_absent, match=caps.put_if_match)
        md5 = wire.md5(body)
        sent = wire.stored_headers(key, headers) | {"ETag": md5}
        call = Call("PUT", "PUT", (self._container, key), headers=sent, body=body)
        try:
            if expect.absent:
                call = replace(call, headers={**call.headers, "If-None-Match": "*"})
                self._put_once(call, ETag(md5))
            else:
                with self._segments.replacing(key):
                    self._put_once(call, ETag(md5))
        except NotFound as error:
            raise self._no_container("PUT") from error
        size = wire.body_size(body)
        return ObjectInfo(
            key, size, ETag(md5), time.time_ns(), headers.content_type, dict(headers.metadata)
        )

    def _put_once(self, call: Call, md5: ETag) -> None:
        """Send the bytes; when the answer was lost, they have landed if the object is made of them.

        Semantics: what was in their place is removed only by whoever knows that they have.
        """
        try:
            self._transport.ask(call)
        except (PreconditionFailed, Unavailable) as error:
            lost = was_repeated(error) or isinstance(error, Unavailable)
            if not lost or self._segments.etag_now(call.key) != md5:
                raise

    def copy(
        self,
        source: str,
        target: str,
        *,
        size: int,
        expect: Expect = ANYTHING,
        target_expect: Expect = ANYTHING,
        headers: Headers | None = None,
        origin: "SwiftStore | None" = None,
    ) -> ObjectInfo:
        """See `Driver.copy`; `origin` is the source's container, if it is another.

        Conditions on the target are `Unsupported`.
        """
        origin = origin or self
        caps = self._known().capabilities
        wire.checked_key("COPY", source)
        wire.checked_key("COPY", target, caps.max_key)
        self._supports("COPY", source, expect, absent=False, match=caps.copy_if_match)
        self._supports("COPY", target, target_expect, absent=False, match=False)
        job = Copy(
            self._transport,
            origin._container,  # noqa: SLF001  # one of us
            origin._segments,  # noqa: SLF001
            self._container,
            self._segments,
            self._parts,
            source,
            target,
            size,
            expect,
            headers,
        )
        return job.run(origin)

    def delete(self, key: str) -> None:
        """See `Driver.delete`: the object, then its segments.

        With a directory's marker `N/` goes the one that other tools keep under `N`.
        """
        wire.checked_key("DELETE", key)
        with suppress(NotFound):
            self._segments.delete(key)
        other = key.removesuffix("/")
        if other not in {"", key} and not other.endswith("/"):
            with suppress(NotFound):
                if self.head(other).is_folder:
                    self._segments.delete(other)

    def delete_many(self, keys: Sequence[str]) -> Mapping[str, Exception]:
        """See `Driver.delete_many`: several side by side.

        Semantics: no bulk delete, which takes a key's manifest and leaves its segments; and with
        the HEAD that each key needs it would save less than half of the requests.
        """
        failed: dict[str, Exception] = {}

        def remove(key: str) -> None:
            try:
                self.delete(key)
            except ObjfsError as error:
                failed[key] = error

        if keys:
            at_once(remove, keys)
        return failed

    # --- parts ---------------------------------------------------------------------------------

    def start_parts(self, key: str, headers: Headers) -> str:
        """See `Driver.start_parts`."""
        wire.checked_key("START", key, self._known().capabilities.max_key)
        try:
            return self._parts.start(key, headers)
        except NotFound as error:
            raise self._no_container("START") from error

    def put_part(self, key: str, upload: str, number: int, body: Body) -> Part:
        """See `Driver.put_part`."""
        wire.checked_key("PART", key)
        return self._parts.put(key, upload, number, body)

    def copy_part(self, *_: object, **__: object) -> Part:
        """Swift copies whole objects only (`Capabilities.part_copy`)."""
        raise Unsupported("COPY: this store makes no parts of objects")

    def list_parts(self, key: str, upload: str, *, limit: int = 1000) -> Sequence[Part]:  # noqa: ARG002  # its pages are what they are
        """The parts that the store has, in order. Raises `NoSuchUpload`."""
        wire.checked_key("LIST", key)
        return self._parts.listed(key, upload)

    def finish_parts(
        self, key: str, upload: str, parts: Sequence[Part], *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver.finish_parts`."""
        wire.checked_key("FINISH", key)
        caps = self._known().capabilities
        self._supports(
            "FINISH", key, expect, absent=caps.finish_if_absent, match=caps.finish_if_match
        )
        return self._parts.finish(key, upload, parts, expect=expect)

    def abort_parts(self, key: str, upload: str) -> None:
        """See `Driver.abort_parts`."""
        wire.checked_key("ABORT", key)
        self._parts.abort(key, upload)

    def usage(self) -> Usage | None:
        """The container's totals; what its large objects hold is counted with their segments'."""
        found = self._transport.ask(Call("HEAD", "HEAD", (self._container,))).headers
        total = int(found.get("x-container-bytes-used") or 0)
        with suppress(NotFound):  # nobody has made a large object here
            other = self._transport.ask(Call("HEAD", "HEAD", (self._segments.container,))).headers
            total += int(other.get("x-container-bytes-used") or 0)
        return Usage(total, int(found.get("x-container-object-count") or 0))

    def close(self) -> None:
        """Close the pooled connections, unless they are the account's."""
        if not self._shared:
            self._transport.close()

    # --- learning ------------------------------------------------------------------------------

    def _known(self) -> Product:
        """The product, asked once."""
        product = self._product
        if product is None:
            answer = self._transport.info()
            product = recognise(answer.body if answer else b"", self._segment_size)
            with self._lock:
                self._product = product
        return product

    @staticmethod
    def _supports(operation: str, key: str, expect: Expect, *, absent: bool, match: bool) -> None:
        if (expect.absent and not absent) or (expect.etag and not match):
            raise Unsupported(f"{operation} {key}: this store does not check the condition")

    def _no_container(self, operation: str) -> NoSuchBucket:
        return NoSuchBucket(
            f"{operation} swift://{self._container}/{self._prefix}: no such container",
            remedy=MISSING_CONTAINER,
        )


def _common(marker: str, prefix: str, delimiter: str) -> str:
    """The common prefix that stands for the marker in a listing, "" for none.

    Swift lists a common prefix again when a key below it is behind the marker, but not when the
    marker is that prefix.
    """
    cut = marker.find(delimiter, len(prefix)) if delimiter and marker.startswith(prefix) else -1
    return "" if cut < 0 else marker[: cut + len(delimiter)]
