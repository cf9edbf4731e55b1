"""Blobs that stand for directories, in listings: `d` with hdi_isfolder is shown as `d/`.

Where a listing has the delimiter that is a common prefix, which List Blobs gives by itself, but
later, when something lies in the directory: all of `d-…` and `d.…` may come between. So what was
shown early is remembered from page to page, in the token, until `d/` has been passed.
"""

import json

from objfs.store.azure import wire
from objfs.types import DELIMITER, ETag, ObjectInfo, Page


class Folders:
    """One listing on its way from page to page."""

    def __init__(self, prefix: str, delimiter: str, token: str) -> None:
        self._prefix = prefix
        self._delimiter = delimiter
        self.marker: str = ""
        """Azure's own bookmark of the next page."""
        self._shown: list[str] = []
        if token:
            self.marker, self._shown = json.loads(token)

    def page(self, found: wire.Listing) -> Page:
        """The page for one answer, its directories shown once; it may be empty."""
        objects, prefixes = found.objects, found.prefixes
        early = [name + DELIMITER for name in found.folders]
        if self._delimiter == DELIMITER:
            shown = set(self._shown)
            prefixes = [name for name in dict.fromkeys(early + prefixes) if name not in shown]
            prefixes.sort()
            passed = [*(info.key for info in objects), *found.prefixes, *found.folders]
            last = max(map(_place, passed), default=b"")
            self._shown = [name for name in {*shown, *early} if _place(name) > last]
        elif early:
            # the marker comes in the place of its blob, where nobody can miss it
            objects = sorted(
                [*objects, *(_marker(name) for name in early)], key=lambda info: info.key
            )
        self.marker = found.marker
        token = json.dumps([found.marker, sorted(self._shown)]) if found.marker else ""
        return Page(tuple(objects), tuple(prefixes), token)


def _place(name: str) -> bytes:
    """What Azure sorts by."""
    return name.encode("utf-16-be")


def _marker(key: str) -> ObjectInfo:
    return ObjectInfo(key=key, size=0, etag=ETag("directory"), mtime_ns=0)
