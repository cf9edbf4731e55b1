"""Uploads in parts: segments, then one manifest that makes the object in one step.

    CONTAINER_segments/KEY/UPLOAD            the upload itself: empty, with the object's headers
    CONTAINER_segments/KEY/UPLOAD/00000001   its parts

The upload's own object is what `start_parts` leaves behind: an upload is known as long as it is
there, also to the next process. It goes last, so that what a crash leaves can be found by it.
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from objfs.errors import NoSuchUpload, NotFound, PreconditionFailed, StoreError, Unavailable
from objfs.store.base import Body, etag_of
from objfs.store.swift import wire
from objfs.store.swift.products import Product
from objfs.store.swift.segments import Segment, Segments, folder, new_upload
from objfs.store.swift.transport import Call, Transport, was_repeated
from objfs.types import ANYTHING, ETag, Expect, Headers, ObjectInfo, Part

_NAMED: Final = "a part that was not sent so, or is gone"


@dataclass(frozen=True, slots=True)
class Upload:
    """Where the parts of one upload are."""

    key: str
    id: str

    @property
    def name(self) -> str:
        """Of the upload's own object."""
        return f"{folder(self.key)}/{self.id}"

    @property
    def prefix(self) -> str:
        """Of its parts' names."""
        return f"{self.name}/"

    def part(self, number: int) -> str:
        """A part's name; the names are in the order of the numbers."""
        return f"{self.prefix}{number:08}"


class Parts:
    """All uploads into one container."""

    def __init__(
        self,
        transport: Transport,
        container: str,
        segments: Segments,
        product: Callable[[], Product],
    ) -> None:
        self._transport = transport
        self._container = container
        self._segments = segments
        self._product = product
        self._lock = threading.Lock()
        self._known: set[str] = set()

    def start(self, key: str, headers: Headers) -> str:
        """See `Driver.start_parts`."""
        upload = Upload(key, new_upload())
        call = Call(
            "START",
            "PUT",
            (self._segments.container, upload.name),
            headers=wire.stored_headers(key, headers),
        )
        self._segments.in_container(lambda: self._transport.ask(call))
        with self._lock:
            self._known.add(upload.id)
        return upload.id

    def put(self, key: str, id_: str, number: int, body: Body) -> Part:
        """See `Driver.put_part`; the store checks the MD5."""
        upload = Upload(key, id_)
        with self._lock:
            known = id_ in self._known
        if not known:
            self._headers(upload)
        md5 = wire.md5(body)
        path = (self._segments.container, upload.part(number))
        self._transport.ask(Call("PART", "PUT", path, headers={"ETag": md5}, body=body))
        return Part(number, ETag(md5), wire.body_size(body))

    def listed(self, key: str, id_: str) -> list[Part]:
        """See `SwiftStore.list_parts`."""
        upload = Upload(key, id_)
        self._headers(upload)
        return [
            Part(
                int(entry["name"].rpartition("/")[2]), ETag(etag_of(entry["hash"])), entry["bytes"]
            )
            for entry in self._segments.listed(upload.prefix)
        ]

    def finish(
        self, key: str, id_: str, parts: Sequence[Part], *, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """See `Driver.finish_parts`."""
        upload = Upload(key, id_)
        headers = self._headers(upload)
        numbers = [part.number for part in parts]
        if not parts or numbers != sorted(set(numbers)):
            raise StoreError(f"FINISH {key}: part numbers {numbers} do not go up")
        named = [
            Segment(self._segments.container, upload.part(p.number), p.etag, p.size) for p in parts
        ]
        info = self.write_manifest(key, named, upload.prefix, headers, expect)
        failed = self._segments.drop(upload.prefix, {segment.name for segment in named})
        failed += self._segments.remove_paths([(self._segments.container, upload.name)])
        self._segments.warn(key, failed)
        self._forget(id_)
        return info

    def abort(self, key: str, id_: str) -> None:
        """See `Driver.abort_parts`. The upload's own object goes last."""
        upload = Upload(key, id_)
        self._forget(id_)
        failed = self._segments.abandon(key, upload.prefix)
        failed += self._segments.remove_paths([(self._segments.container, upload.name)])
        if failed:
            raise failed[0]

    def write_manifest(
        self,
        key: str,
        named: Sequence[Segment],
        prefix: str,
        headers: Headers,
        expect: Expect = ANYTHING,
    ) -> ObjectInfo:
        """Make the object of its segments, in one step, in the place of what was there."""
        slo = self._product().slo
        if not slo:
            self._check_dynamic(key, named, prefix)
        joined = wire.joined_etag([segment.etag for segment in named])
        etag = ETag(joined + (wire.SLO if slo else wire.DLO))
        call = self._static(key, named, headers) if slo else self._dynamic(key, prefix, headers)
        if expect.absent:
            self._put(replace(call, headers={**call.headers, "If-None-Match": "*"}), etag)
        else:
            with self._segments.replacing(key):
                self._put(call, etag)
        size = sum(segment.size for segment in named)
        return ObjectInfo(
            key, size, etag, time.time_ns(), headers.content_type, dict(headers.metadata)
        )

    def _put(self, call: Call, etag: ETag) -> None:
        """Send a manifest; one whose answer was lost has landed if the object is what it makes."""
        try:
            self._transport.ask(call)
        except (PreconditionFailed, Unavailable) as error:
            lost = was_repeated(error) or isinstance(error, Unavailable)
            if not lost or self._segments.etag_now(call.key) != etag:
                raise

    def _static(self, key: str, named: Sequence[Segment], headers: Headers) -> Call:
        rows: list[dict[str, Any]] = [
            {"path": f"/{s.container}/{s.name}", "etag": s.etag, "size_bytes": s.size}
            for s in named
        ]
        return Call(
            "FINISH",
            "PUT",
            (self._container, key),
            query="multipart-manifest=put",
            headers=wire.stored_headers(key, headers),
            body=json.dumps(rows).encode(),
            slow=True,
        )

    def _dynamic(self, key: str, prefix: str, headers: Headers) -> Call:
        manifest = f"{quote(self._segments.container, safe='')}/{quote(prefix)}"
        stored = wire.stored_headers(key, headers) | {"X-Object-Manifest": manifest}
        return Call("FINISH", "PUT", (self._container, key), headers=stored)

    def _check_dynamic(self, key: str, named: Sequence[Segment], prefix: str) -> None:
        """A dynamic manifest is whatever lies below the prefix: so that is what was sent.

        Raises `StoreError`.
        """
        wanted = {segment.name: segment for segment in named}
        surplus = []
        for entry in self._segments.listed(prefix):
            segment = wanted.pop(entry["name"], None)
            if segment is None:
                surplus.append((self._segments.container, entry["name"]))
            elif (etag_of(entry["hash"]), entry["bytes"]) != (segment.etag, segment.size):
                raise StoreError(f"FINISH {key}: {_NAMED}")
        if wanted:
            raise StoreError(f"FINISH {key}: {_NAMED}")
        if failed := self._segments.remove_paths(surplus):
            raise failed[0]

    def _headers(self, upload: Upload) -> Headers:
        """What the object is to carry. Raises `NoSuchUpload`."""
        call = Call("HEAD", "HEAD", (self._segments.container, upload.name))
        try:
            found = self._transport.ask(call).headers
        except NotFound as error:
            raise NoSuchUpload(
                f"FINISH {upload.key}: the store does not know this upload any more"
            ) from error
        with self._lock:
            self._known.add(upload.id)
        info = wire.object_info(upload.key, found, 0)
        return Headers(info.content_type or "application/octet-stream", dict(info.metadata or {}))

    def _forget(self, id_: str) -> None:
        with self._lock:
            self._known.discard(id_)
