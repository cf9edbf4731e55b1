"""Copies inside the store, by what the source is.

- A plain object: one COPY.
- A large one: a copy of each segment and a manifest of its own. The manifest alone would be
  quicker, but then two objects would share segments, and whoever deletes one (rename does, and so
  do Swift's own tools) would take the other's bytes.
- A large one whose manifest cannot be read, or that is not simply its segments in a row (ranges,
  manifests within manifests): through this machine, part by part.
- Onto itself, which is how headers are changed: a POST. No byte moves and the etag stays.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from objfs.errors import Corrupt, ObjfsError, PreconditionFailed
from objfs.store.base import Driver, etag_of
from objfs.store.swift import wire
from objfs.store.swift.parts import Parts, Upload
from objfs.store.swift.segments import Made, Segments, new_upload
from objfs.store.swift.transport import Call, Transport
from objfs.types import ETag, Expect, Headers, ObjectInfo

THROUGH: Final = 8 * 2**20
"""Bytes of a part that is copied through this machine."""
_KEPT: Final = ("x-delete-at", "content-encoding", "content-disposition", "x-object-manifest")
"""What a POST removes unless it is sent again."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy: from where, to where, of which version, with which headers."""

    transport: Transport
    origin: str
    """The source's container."""
    origin_segments: Segments
    container: str
    segments: Segments
    parts: Parts
    source: str
    target: str
    size: int
    expect: Expect
    headers: Headers | None

    def run(self, source: Driver) -> ObjectInfo:
        """Do it; `source` reads from the source's container.

        Raises `NotFound` and `PreconditionFailed`.
        """
        if (self.origin, self.source) == (self.container, self.target):
            return self._renew()
        if self.expect.etag and not wire.is_large(self.expect.etag):
            return self._plain(self.expect.etag)
        found = self._look()
        if not wire.is_large(wire.etag_from(found)):
            return self._plain(self.expect.etag)
        made = self.origin_segments.made_of(self.source, found)
        return self._large(made, found) if made.plain else self._through(source, found)

    def _look(self) -> Mapping[str, str]:
        found = self.transport.ask(Call("COPY", "HEAD", (self.origin, self.source))).headers
        if self.expect.etag and wire.etag_from(found) != self.expect.etag:
            raise PreconditionFailed(f"COPY {self.source}: the store holds another version")
        return found

    def _renew(self) -> ObjectInfo:
        found = self._look()
        if self.headers is not None:
            sent = wire.stored_headers(self.source, self.headers)
            sent |= {name: found[name] for name in _KEPT if name in found}
            self.transport.ask(Call("COPY", "POST", (self.origin, self.source), headers=sent))
            found = self.transport.ask(Call("COPY", "HEAD", (self.origin, self.source))).headers
        return wire.object_info(self.source, found, int(found.get("content-length") or 0))

    def _plain(self, etag: ETag | None) -> ObjectInfo:
        origin = f"{quote(self.origin, safe='')}/{quote(self.source, safe='')}"
        sent: dict[str, Any] = {"X-Copy-From": origin}
        if self.headers is not None:
            sent |= wire.stored_headers(self.target, self.headers) | {"X-Fresh-Metadata": "true"}
        if etag:
            sent["If-Match"] = f'"{etag}"'
        with self.segments.replacing(self.target):
            answer = self.transport.ask(
                Call("COPY", "PUT", (self.container, self.target), headers=sent, slow=True)
            )
        return ObjectInfo(
            self.target,
            self.size,
            etag_of(answer.headers.get("etag", "")),
            wire.mtime_from(answer.headers),
            self.headers.content_type if self.headers else None,
            dict(self.headers.metadata) if self.headers else None,
        )

    def _large(self, made: Made, found: Mapping[str, str]) -> ObjectInfo:
        if made.etag != wire.etag_from(found):
            raise PreconditionFailed(f"COPY {self.source}: it changed during the copy")
        prefix = Upload(self.target, new_upload()).prefix
        copies = self.segments.copied(made, prefix)
        try:
            return self.parts.write_manifest(self.target, copies, prefix, self._headers(found))
        except BaseException:
            with suppress(ObjfsError):  # the first error is the one to report
                self.segments.abandon(self.target, prefix)
            raise

    def _through(self, source: Driver, found: Mapping[str, str]) -> ObjectInfo:
        size = int(found["content-length"])
        expect = Expect(etag=wire.etag_from(found))
        part_size = max(THROUGH, math.ceil(size / source.capabilities.max_parts))
        upload = self.parts.start(self.target, self._headers(found))
        sent = []
        try:
            for number, start in enumerate(range(0, size, part_size), 1):
                stop = min(start + part_size, size)
                piece = self._piece(source, start, stop, expect)
                sent.append(self.parts.put(self.target, upload, number, piece))
            return self.parts.finish(self.target, upload, sent)
        except BaseException:
            with suppress(ObjfsError):  # the first error is the one to report
                self.parts.abort(self.target, upload)
            raise

    def _piece(self, source: Driver, start: int, stop: int, expect: Expect) -> bytes:
        piece = bytearray()
        source.get(self.source, piece.extend, start=start, stop=stop, expect=expect)
        if len(piece) != stop - start:
            raise Corrupt(f"COPY {self.source}: {len(piece)} bytes of {stop - start}")
        return bytes(piece)

    def _headers(self, found: Mapping[str, str]) -> Headers:
        if self.headers is not None:
            return self.headers
        info = wire.object_info(self.source, found, 0)
        return Headers(info.content_type or "application/octet-stream", dict(info.metadata or {}))
