"""The segments behind large objects: finding them, copying them, removing them, no one else's.

A static large object (SLO) names its segments in a manifest, a dynamic one (DLO) by a prefix. What
objfs writes lies in `CONTAINER_segments/KEY/UPLOAD/NUMBER`, below an upload's own folder, so no two
objects share segments, and the folder's old contents can go once the new manifest is in place.

Removed with an object are its segments in *other* containers, whoever made them, as the swift
command does. Segments in the mounted container itself are files that people see: they stay.
"""

import hashlib
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote, unquote

from objfs.errors import NotFound, ObjfsError, PreconditionFailed, StoreError
from objfs.store.base import etag_of
from objfs.store.swift import wire
from objfs.store.swift.products import Product
from objfs.store.swift.transport import Call, Transport
from objfs.types import ETag

T = TypeVar("T")
R = TypeVar("R")
log = logging.getLogger(__name__)
AT_ONCE: Final = 8
"""Requests side by side, for the sake of one call."""
LONG_KEY: Final = 900
"""Bytes of a key up to which its segments are named after it; Swift's names end at 1,024."""
_FEW: Final = 4
"""Keys that are removed one by one rather than by a bulk delete."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One object that a large object is made of."""

    container: str
    name: str
    etag: str
    size: int
    nested: bool = False
    """It is a large object itself."""


@dataclass(frozen=True, slots=True)
class Made:
    """What an object is made of besides itself."""

    etag: ETag
    """Of the object that was looked at; "" where there is none."""
    segments: tuple[Segment, ...] = ()
    plain: bool = True
    """Every segment is a whole object: all of them in a row are the content."""
    readable: bool = True
    """False for an SLO of radosgw, which does not give its manifest back."""


NOTHING: Final = Made(ETag(""))


def folder(key: str) -> str:
    """Where the segments of a key's uploads are, in their container; a long name is hashed."""
    if len(key.encode()) <= LONG_KEY:
        return key
    return f".long/{hashlib.sha256(key.encode()).hexdigest()}"


def new_upload() -> str:
    """An upload's id: in the order of time, unique."""
    return f"{time.time_ns():016x}-{secrets.token_hex(8)}"


def at_once(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The work on each item, several side by side, results in order; the first error is raised."""
    if len(items) == 1:
        return [work(items[0])]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)


class Segments:
    """Of the large objects in one container."""

    def __init__(
        self, transport: Transport, container: str, product: Callable[[], Product]
    ) -> None:
        self._transport = transport
        self._container = container
        self._product = product
        self.container = f"{container}_segments"

    # --- finding -------------------------------------------------------------------------------

    def made_of(self, key: str, headers: Mapping[str, str] | None = None) -> Made:
        """What the object is made of now; `headers` are those of a HEAD just made.

        Raises `PreconditionFailed` when it changes while it is looked at.
        """
        if headers is None:
            try:
                headers = self._transport.ask(Call("HEAD", "HEAD", (self._container, key))).headers
            except NotFound:
                return NOTHING
        etag = wire.etag_from(headers)
        if etag.endswith(wire.DLO):
            return self._dynamic(etag, unquote(headers["x-object-manifest"]))
        return self._static(key, etag) if etag.endswith(wire.SLO) else Made(etag)

    def etag_now(self, key: str) -> ETag:
        """Of the object, "" where there is none or the store does not tell."""
        try:
            answer = self._transport.ask(Call("HEAD", "HEAD", (self._container, key)))
        except ObjfsError:
            return ETag("")
        return wire.etag_from(answer.headers)

    def _dynamic(self, etag: ETag, manifest: str) -> Made:
        container, _, prefix = manifest.lstrip("/").partition("/")
        if not prefix:
            return Made(etag, plain=False)  # all of a container: nobody's to remove
        found = tuple(
            Segment(container, entry["name"], etag_of(entry["hash"]), entry["bytes"])
            for entry in self.listed(prefix, container)
        )
        if wire.joined_etag([segment.etag for segment in found]) != wire.bare(etag):
            return Made(etag, found, plain=False)  # segments that are large objects themselves
        return Made(etag, found)

    def _static(self, key: str, etag: ETag) -> Made:
        call = Call("GET", "GET", (self._container, key), query="multipart-manifest=get&format=raw")
        answer = self._transport.ask(call)
        if not answer.body:
            return Made(etag, plain=False, readable=False)
        rows: list[dict[str, Any]] = json.loads(answer.body)
        found = []
        plain = True
        for row in rows:
            if "path" not in row:  # bytes that are in the manifest itself
                plain = False
                continue
            container, _, name = str(row["path"]).lstrip("/").partition("/")
            nested = bool(row.get("sub_slo"))
            plain = plain and not nested and "range" not in row
            segment = Segment(container, name, etag_of(row["etag"]), row["size_bytes"], nested)
            if segment not in found:
                found.append(segment)
            else:
                plain = False
        if plain and wire.joined_etag([segment.etag for segment in found]) != wire.bare(etag):
            raise PreconditionFailed(f"GET {key}: it was replaced while its manifest was read")
        return Made(etag, tuple(found), plain)

    def listed(self, prefix: str, container: str = "") -> Iterator[dict[str, Any]]:
        """All of a container below a prefix, in order; none where there is no such container."""
        marker = ""
        while True:
            query = f"format=json&prefix={quote(prefix, safe='')}&marker={quote(marker, safe='')}"
            call = Call("LIST", "GET", (container or self.container,), query=query)
            try:
                page = wire.entries(self._transport.ask(call).body)
            except NotFound:
                return
            yield from page
            if not page:
                return
            marker = page[-1]["name"]

    # --- replacing and removing ----------------------------------------------------------------

    @contextmanager
    def replacing(self, key: str) -> Iterator[Made]:
        """Inside, another object is put in the place of this one; its segments go afterwards.

        Semantics: readers find the old object, whole, until the new one is there. A manifest that
        cannot be read is kept aside by a copy of it, by which the store itself finds the segments.
        """
        old = self.made_of(key)
        aside = () if old.readable else self._put_aside(key)
        try:
            yield old
        except BaseException:
            if aside:
                self.remove_paths([aside])
            raise
        if aside:
            self.warn(key, self._remove(aside, "multipart-manifest=delete"))
        else:
            self.remove(key, old)

    def _put_aside(self, key: str) -> tuple[str, str]:
        name = f".replaced/{new_upload()}"
        headers = {"Destination": f"{self.container}/{name}"}
        path = (self._container, key)
        call = Call("COPY", "COPY", path, query="multipart-manifest=get", headers=headers)
        self.in_container(lambda: self._transport.ask(call))
        return self.container, name

    def delete(self, key: str) -> None:
        """Remove an object, then what it was made of. Raises `NotFound`."""
        old = self.made_of(key)
        query = "" if old.readable else "multipart-manifest=delete"
        self._transport.ask(Call("DELETE", "DELETE", (self._container, key), query=query))
        self.remove(key, old)

    def remove(self, key: str, old: Made) -> None:
        """Remove the segments of an object that is gone; what stays is logged."""
        ours = [segment for segment in old.segments if segment.container != self._container]
        nested = [segment for segment in ours if segment.nested]
        paths = [(segment.container, segment.name) for segment in ours if not segment.nested]
        failed = self.remove_paths(paths)
        for segment in nested:
            path = (segment.container, segment.name)
            failed += self._remove(path, "multipart-manifest=delete")
        self.warn(key, failed)

    @staticmethod
    def warn(key: str, failed: Sequence[ObjfsError]) -> None:
        """Log what could not be removed, where the object itself is as it should be."""
        if failed:
            log.warning("%d segments of %s stay in the store: %s", len(failed), key, failed[0])

    def remove_paths(self, paths: Sequence[tuple[str, str]]) -> list[ObjfsError]:
        """Remove objects anywhere in the account; what failed. One that is gone is no error."""
        bulk = self._product().bulk
        if not paths:
            return []
        if not bulk or len(paths) <= _FEW:
            return [e for found in at_once(self._remove, paths) for e in found]
        failed: list[ObjfsError] = []
        for at in range(0, len(paths), min(bulk, 1000)):
            failed += self._bulk(paths[at : at + min(bulk, 1000)])
        return failed

    def _remove(self, path: tuple[str, str], query: str = "") -> list[ObjfsError]:
        try:
            self._transport.ask(Call("DELETE", "DELETE", path, query=query, slow=bool(query)))
        except NotFound:
            return []
        except ObjfsError as error:
            return [error]
        return []

    def _bulk(self, paths: Sequence[tuple[str, str]]) -> list[ObjfsError]:
        body = "\n".join(f"/{quote(container)}/{quote(name)}" for container, name in paths)
        headers = {"Content-Type": "text/plain", "Accept": "application/json"}
        call = Call(
            "DELETE", "POST", (), "bulk-delete", headers=headers, body=body.encode(), slow=True
        )
        try:
            told = json.loads(self._transport.ask(call).body)
        except ObjfsError as error:
            return [error] * len(paths)
        return [
            StoreError(f"DELETE {unquote(path)}: the store answered {status}")
            for path, status in told.get("Errors", ())
        ]

    # --- writing -------------------------------------------------------------------------------

    def copied(self, source: Made, prefix: str) -> list[Segment]:
        """Copies of a plain large object's segments, below `prefix` in our container.

        Raises `PreconditionFailed` where a segment is not what the manifest says; nothing stays.
        """

        def copy(item: tuple[int, Segment]) -> Segment:
            number, segment = item
            target = f"{prefix}{number:08}"
            origin = f"{quote(segment.container, safe='')}/{quote(segment.name, safe='')}"
            headers = {"X-Copy-From": origin}
            answer = self._transport.ask(
                Call("COPY", "PUT", (self.container, target), headers=headers, slow=True)
            )
            if etag_of(answer.headers.get("etag", "")) != segment.etag:
                raise PreconditionFailed(f"COPY {segment.name}: the segment was replaced")
            return Segment(self.container, target, segment.etag, segment.size)

        numbered = list(enumerate(source.segments, 1))
        try:
            return self.in_container(lambda: at_once(copy, numbered))
        except BaseException:
            self.drop(prefix)
            raise

    def abandon(self, key: str, prefix: str) -> list[ObjfsError]:
        """Remove all below a prefix, unless the object is made of it by now; what failed.

        INVARIANT: segments of a manifest that is there are never removed. The answer to the PUT of
        a manifest may be lost, and whoever takes that for a failure comes here.
        """
        if any(segment.name.startswith(prefix) for segment in self.made_of(key).segments):
            return []
        return self.drop(prefix)

    def drop(self, prefix: str, keep: Iterable[str] = ()) -> list[ObjfsError]:
        """Remove all below a prefix in our container, but what is to be kept; what failed."""
        kept = set(keep)
        names = [entry["name"] for entry in self.listed(prefix)]
        return self.remove_paths([(self.container, name) for name in names if name not in kept])

    def in_container(self, call: Callable[[], T]) -> T:
        """Make the call; where the segments' container is missing, make that and call again."""
        try:
            return call()
        except NotFound:
            self._make_container()
        return call()

    def _make_container(self) -> None:
        """With the policy of the container that it is for, as the swift command does."""
        there = self._transport.ask(Call("HEAD", "HEAD", (self._container,)))
        policy = there.headers.get("x-storage-policy")
        headers = {"X-Storage-Policy": policy} if policy else {}
        self._transport.ask(Call("MAKE", "PUT", (self.container,), headers=headers))
