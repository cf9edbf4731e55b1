"""What the parts of the driver contract share: quirks as data, and short words for requests."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from objfs.store.base import Body, Driver, FileRange
from objfs.types import ANYTHING, Expect, Headers, ObjectInfo, Page

MIB = 2**20


@dataclass(frozen=True)
class Quirks:
    """Where one product departs from the contract; each field holds the reason, "" for none.

    A quirk narrows the run of the product that declares it and of no other; a test that cannot
    pass there is still run, and must fail (`met`).
    """

    refused_keys: dict[str, str] = field(default_factory=dict)
    """Names of ODD_KEYS that the product refuses or merges, with the reason."""
    no_marker_beside_file: str = ""
    """`a` and `a/` cannot both exist."""
    folder_order: str = ""
    """Listings are not in the order of UTF-8 bytes (`Capabilities.ordered` must say so too)."""
    no_after: str = ""
    """A listing that starts behind a key, without a token, is not right."""
    one_entry_pages: str = ""
    """Pages of one entry lose entries, or hold two."""
    racing_creates: str = ""
    """Of several creates at once that want no object more than one may win."""
    replaced_part: str = ""
    """A part that was replaced is listed beside the one that replaced it, or instead of it."""
    finish_unknown: str = ""
    """To finish an upload that was aborted fails with another error than `NoSuchUpload`."""


@dataclass
class Bucket:
    """A driver under test on a bucket of its own, empty at the start."""

    driver: Driver
    quirks: Quirks = field(default_factory=Quirks)

    def put(
        self, name: str, body: Body = b"", headers: Headers | None = None, expect: Expect = ANYTHING
    ) -> ObjectInfo:
        """Store an object."""
        return self.driver.put(name, body, headers or Headers(), expect=expect)

    def head(self, name: str) -> ObjectInfo:
        """Its facts."""
        return self.driver.head(name)

    def get(self, name: str) -> bytes:
        """All of its bytes."""
        size = self.head(name).size
        return self.read(name, 0, size) if size else b""

    def read(self, name: str, start: int, stop: int, expect: Expect = ANYTHING) -> bytes:
        """Some of its bytes."""
        pieces: list[bytes] = []

        def sink(view: memoryview) -> None:
            pieces.append(bytes(view))

        self.driver.get(name, sink, start=start, stop=stop, expect=expect)
        return b"".join(pieces)

    def copy(
        self,
        source: str,
        target: str,
        *,
        expect: Expect = ANYTHING,
        target_expect: Expect = ANYTHING,
        headers: Headers | None = None,
        size: int = 1,
    ) -> ObjectInfo:
        """Copy inside the bucket."""
        return self.driver.copy(
            source,
            target,
            size=size,
            expect=expect,
            target_expect=target_expect,
            headers=headers,
        )

    def page(
        self, prefix: str = "", *, delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Page:
        """The first page of a listing; `after` is a name, "" for the beginning."""
        return self.driver.list_page(
            prefix,
            delimiter=delimiter,
            after=after,
            limit=limit,
        )

    def pages(
        self, prefix: str = "", *, delimiter: str = "", after: str = "", limit: int = 1000
    ) -> list[Page]:
        """All pages of a listing."""
        pages = [self.page(prefix, delimiter=delimiter, after=after, limit=limit)]
        while token := pages[-1].token:
            assert len(pages) < 5000, "a listing that does not end"
            pages.append(
                self.driver.list_page(prefix, delimiter=delimiter, token=token, limit=limit)
            )
        return pages

    def names(self, pages: list[Page]) -> list[str]:
        """Every entry of those pages, objects and prefixes in one order within each page."""
        names: list[str] = []
        for page in pages:
            entries = [info.key for info in page.objects] + list(page.prefixes)
            names += sorted(entries, key=str.encode)
        return names


def met(request: pytest.FixtureRequest, reason: str) -> None:
    """If there is a reason, the test that asks must fail: a quirk that went away is told."""
    if reason:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))


@contextmanager
def file_range(before: bytes, body: bytes, behind: bytes) -> Iterator[FileRange]:
    """`body` as a range of an open file that has other bytes around it."""
    with tempfile.TemporaryFile() as file:
        file.write(before + body + behind)
        file.flush()
        os.lseek(file.fileno(), 1, os.SEEK_SET)  # a driver must not depend on the position
        yield FileRange(file.fileno(), len(before), len(body))


def expected(names: list[str], prefix: str = "", delimiter: str = "", after: str = "") -> list[str]:
    """What a listing of `names` must give: the contract in five lines."""
    entries: set[str] = set()
    for name in (name for name in names if name.startswith(prefix)):
        head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
        entries.add(prefix + head + found if found else name)
    return sorted((e for e in entries if e.encode() > after.encode()), key=str.encode)
