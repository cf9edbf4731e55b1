"""Copies inside the account: Copy Blob, which may go on after its answer.

Within one account it is nearly always done at once; if not, the target tells how it goes. Copy
Blob takes new metadata, though not none, and keeps the content type. So that goes into a second
request, which has to repeat all other properties: Set Blob Properties clears what it is not told.
Put Blob From URL could do it in one, but Azurite and other emulators do not have it.
"""

import time
from collections.abc import Mapping
from typing import Final

from objfs.errors import PreconditionFailed, StoreError
from objfs.store.azure import wire
from objfs.store.azure.client import Service
from objfs.store.base import etag_of
from objfs.types import Expect, Headers, ObjectInfo

PAUSE: Final = 0.1
"""Seconds before the first look at a copy that goes on; doubled each time up to `LONGEST`."""
LONGEST: Final = 5.0
_KEPT: Final = {
    "Content-Encoding": "x-ms-blob-content-encoding",
    "Content-Language": "x-ms-blob-content-language",
    "Content-Disposition": "x-ms-blob-content-disposition",
    "Cache-Control": "x-ms-blob-cache-control",
    "Content-MD5": "x-ms-blob-content-md5",
}


class Copy:
    """One copy: from where, to where, with which headers."""

    def __init__(
        self,
        service: Service,
        source_url: str,
        target: str,
        headers: Headers | None,
        *,
        folder: bool = False,
    ) -> None:
        """`folder`: the target is the marker of a directory."""
        self._service = service
        self._source_url = source_url
        self._target = target
        self._headers = headers
        self._folder = folder
        self._name = f"to {target}"

    def run(self, expect: Expect, target: Expect) -> ObjectInfo:
        """Copy, wait, set the content type. Raises `NotFound` and `PreconditionFailed`."""
        sent = {"x-ms-copy-source": self._source_url}
        if expect.etag:
            sent["x-ms-source-if-match"] = f'"{expect.etag}"'
        if target.absent:
            sent["If-None-Match"] = "*"
        elif target.etag:
            sent["If-Match"] = f'"{target.etag}"'
        if self._headers is not None:
            sent |= self._metadata(self._headers)
        answer = self._service.send("COPY", self._target, "PUT", headers=sent)
        found = self._wait(answer.headers)
        if self._headers is not None:
            found = self._retype(found, self._headers)
        size = int(found.get("Content-Length", "0"))
        return wire.object_info(self._target, found, size, found.get("Content-MD5", ""))

    def _wait(self, answer: Mapping[str, str]) -> Mapping[str, str]:
        """The target's headers once the copy is done."""
        copy = answer.get("x-ms-copy-id", "")
        pause = PAUSE
        while True:
            found: Mapping[str, str] = self._service.send("COPY", self._target, "HEAD").headers
            if found.get("x-ms-copy-id", "") != copy:
                raise PreconditionFailed(f"COPY {self._name}: somebody else wrote the target")
            status = found.get("x-ms-copy-status", "")
            if status == "success":
                return found
            if status != "pending":
                why = found.get("x-ms-copy-status-description", "")
                raise StoreError(f"COPY {self._name}: {status} {why}".rstrip())
            time.sleep(pause)
            pause = min(LONGEST, 2 * pause)

    def _metadata(self, headers: Headers) -> dict[str, str]:
        items = wire.metadata_headers(headers.metadata)
        return items | ({wire.META + wire.FOLDER: "true"} if self._folder else {})

    def _retype(self, found: Mapping[str, str], headers: Headers) -> Mapping[str, str]:
        """Give the copy what Copy Blob could not, unless somebody replaced it meanwhile."""
        if not headers.metadata and wire.metadata_of(found):
            found = self._set("metadata", found, self._metadata(headers))
        if found.get("Content-Type") != headers.content_type:
            sent = {name: found[header] for header, name in _KEPT.items() if header in found}
            sent["x-ms-blob-content-type"] = headers.content_type
            found = self._set("properties", found, sent)
        return found

    def _set(
        self, what: str, found: Mapping[str, str], sent: Mapping[str, str]
    ) -> Mapping[str, str]:
        headers = {**sent, "If-Match": f'"{etag_of(found.get("ETag", ""))}"'}
        done = self._service.send(
            "COPY", self._target, "PUT", params={"comp": what}, headers=headers
        ).headers
        again: Mapping[str, str] = self._service.send("COPY", self._target, "HEAD").headers
        if again.get("ETag") != done.get("ETag"):
            raise PreconditionFailed(f"COPY {self._name}: somebody else wrote the target")
        return again
