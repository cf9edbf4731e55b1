"""The bucket: everything clever about a store, once, above every driver.

- Prefix: callers speak keys relative to the mount; the driver gets full keys.
- Threads, time-outs, repetitions, refused credentials: see `objfs.store.requests`.
- Verification: a body of another length than asked for is `Corrupt`, whatever its headers said.
- Sizes: a body above `PART_FROM` goes up in parts: see `objfs.store.multipart`.
- Conditions: where the store has no conditional write, a HEAD just before it stands in.
- Accounting: requests and bytes by operation, for people and for tests.
"""

import hashlib
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

import trio

from objfs.errors import (
    Corrupt,
    NoSuchUpload,
    NotFound,
    PreconditionFailed,
    TimedOut,
    Unsupported,
)
from objfs.store.base import Body, Driver, FileRange, Sink, Usage
from objfs.store.etags import etags_of, sha256_of
from objfs.store.multipart import NOT_NOTED, PART_FROM, Multipart, Notes
from objfs.store.pieces import Derived
from objfs.store.requests import PATIENCE, Requests
from objfs.types import ANYTHING, DELIMITER, ETag, Expect, Headers, ObjectInfo, Page, Part, Upload

T = TypeVar("T")
log = logging.getLogger(__name__)

TELLINGS = 16
"""A body under way tells the event loop so many times in a time-out that bytes still come."""


class Bucket:
    """One prefix of one bucket. All methods raise what the driver raises, and `Corrupt`."""

    def __init__(
        self, driver: Driver, *, prefix: str = "", connections: int = 32, timeout: float = 60.0
    ) -> None:
        """`timeout`: seconds without an answer, or without a byte of one, that a read waits."""
        self._driver = driver
        self._prefix = prefix
        self._requests = Requests(connections, timeout)
        self.connections = connections
        """Requests that may be under way at once."""
        self.timeout = timeout
        """Seconds that one read may take."""
        self.requests = self._requests.sent
        """Requests sent so far, by operation."""
        self.bytes: Counter[str] = Counter()
        """Bytes of bodies, "in" and "out"."""
        self.multipart = Multipart(driver, self._requests.call, self.bytes)

    @property
    def refused(self) -> str:
        """What the store said when it refused the credentials last; "" while it takes them."""
        return self._requests.refused

    @property
    def top_level_objects(self) -> bool:
        """Whether files can be at the top of the mount; see `Capabilities`."""
        return bool(self._prefix) or self._driver.capabilities.top_level_objects

    @property
    def folder_objects(self) -> bool:
        """Whether an object may be a directory's marker by its type; see `Capabilities`."""
        return self._driver.capabilities.folder_objects

    @property
    def max_key(self) -> int:
        """Bytes that a key of this mount may have."""
        return self._driver.capabilities.max_key - len(self._prefix.encode())

    def full(self, key: str) -> str:
        """The key in the bucket, the mount's prefix included."""
        return self._prefix + key

    def mangled(self, key: str) -> str:
        """Why the store would not keep this key as it is; "" when it would."""
        caps = self._driver.capabilities
        return caps.mangles_why if caps.mangles and re.search(caps.mangles, key) else ""

    # --- reading -------------------------------------------------------------------------------

    async def list_page(
        self, prefix: str, *, delimiter: str = DELIMITER, token: str = "", limit: int = 1000
    ) -> Page:
        """One page; see `Driver.list_page`."""
        page = await self._requests.read(
            "list",
            partial(
                self._driver.list_page,
                self._prefix + prefix,
                delimiter=delimiter,
                token=token,
                limit=limit,
            ),
        )
        if not self._prefix:
            return page
        cut = len(self._prefix)
        return replace(
            page,
            objects=tuple(replace(info, key=info.key[cut:]) for info in page.objects),
            prefixes=tuple(common[cut:] for common in page.prefixes),
        )

    async def pages(self, prefix: str, *, delimiter: str = DELIMITER) -> AsyncGenerator[Page, None]:
        """All pages of a listing, one after another; at least one, maybe empty."""
        token = ""
        while True:
            page = await self.list_page(prefix, delimiter=delimiter, token=token)
            yield page
            token = page.token
            if not token:
                return

    async def head(self, key: str, *, quick: bool = False) -> ObjectInfo:
        """The object's facts. Raises `NotFound` only where the bucket itself is there.

        The 404 of a HEAD has no body to say that the bucket is gone: that takes a second request,
        unless the caller sends one that would say so (`quick`).
        """
        try:
            found = await self._requests.read(
                "head", partial(self._driver.head, self._prefix + key)
            )
        except NotFound:
            if not quick:
                await self._requests.read("check", self._driver.check)
            raise
        return self._ours(found)

    async def get(self, info: ObjectInfo, start: int, stop: int, sink: Sink) -> None:
        """Feed bytes [start, stop) of exactly this version to `sink`, in a worker thread.

        Tried once: what the sink has taken, it has taken. Raises `PreconditionFailed` and
        `NotFound` when the version is gone, `Corrupt` when the body is short or long.
        """
        taken = 0
        told = time.monotonic()

        def count(chunk: memoryview) -> None:
            nonlocal taken, told
            taken += len(chunk)
            if taken > stop - start:
                raise Corrupt(f"GET {info.key}: more than the {stop - start} bytes asked for")
            sink(chunk)
            if time.monotonic() > told + self.timeout / TELLINGS:
                told = time.monotonic()
                token.run_sync_soon(go_on)

        def go_on() -> None:
            patience.deadline = trio.current_time() + self.timeout

        call = partial(
            self._driver.get,
            self._prefix + info.key,
            count,
            start=start,
            stop=stop,
            expect=Expect(etag=info.etag),
        )
        token = trio.lowlevel.current_trio_token()
        with trio.move_on_after(self.timeout) as patience:
            await self._requests.call("get", call, abandon=True)
        if patience.cancelled_caught:
            raise TimedOut(f"GET {info.key}: not a byte in {self.timeout:g} s", remedy=PATIENCE)
        self.bytes["in"] += taken
        if taken != stop - start:
            raise Corrupt(f"GET {info.key}: {taken} bytes instead of {stop - start} from {start}")

    def md5_of(self, info: ObjectInfo) -> str:
        """The MD5 of the object's bytes, in hex, as the store tells; "" where it does not."""
        if info.md5:
            return info.md5
        known = self._driver.capabilities.etag_is_md5 and _MD5.fullmatch(info.etag)
        return info.etag if known and "-" not in info.etag else ""

    async def is_same(self, info: ObjectInfo, body: FileRange) -> bool:
        """Whether the object is exactly these bytes: by its ETag where that tells, else by reading.

        An upload above `PART_FROM` has the ETag of its parts (md5 of their md5s, "-N"), which
        tells nothing when they were cut otherwise.
        """
        if info.size != body.size:
            return False
        if info.size == 0:
            return True
        if {info.etag, info.md5} & await self.etags(body):
            return True
        if self.md5_of(info):
            return False
        found = hashlib.sha256()
        await self.get(info, 0, info.size, found.update)
        return found.digest() == await trio.to_thread.run_sync(sha256_of, body)

    async def etags(self, body: FileRange) -> set[ETag]:
        """The ETags that a store may give to these bytes."""
        part = self.multipart.part_size(body.size)
        return await trio.to_thread.run_sync(etags_of, body, part, limiter=self._requests.limiter)

    # --- writing -------------------------------------------------------------------------------

    async def put(
        self,
        key: str,
        body: Body,
        headers: Headers,
        *,
        expect: Expect = ANYTHING,
        notes: Notes = NOT_NOTED,
        base: Derived | None = None,
    ) -> ObjectInfo:
        """Store a whole object, in one request or in parts. Raises `PreconditionFailed`.

        With `notes`, parts that an earlier try has sent are not sent again; with a `base`, of what
        is under the key now only the changes are sent.
        """
        size = body.size if isinstance(body, FileRange) else len(body)
        caps = self._driver.capabilities
        if isinstance(body, FileRange) and size > min(PART_FROM, caps.max_put):
            made = await self._put_derived(
                key, body, headers, expect=expect, notes=notes, base=base
            )
            return made or await self._put_parts(key, body, headers, expect, notes)
        if not self._checks(expect, caps.put_if_absent, caps.put_if_match):
            await self._look_first(key, expect)
            expect = ANYTHING
        call = partial(self._driver.put, self._prefix + key, body, headers, expect=expect)
        try:
            stored = await self._requests.call("put", call)
        except Unsupported:
            if self._checks(
                expect,
                self._driver.capabilities.put_if_absent,
                self._driver.capabilities.put_if_match,
            ):
                raise
            # the driver has just learned that this store takes no conditions
            return await self.put(key, body, headers, expect=expect, notes=notes)
        self.bytes["out"] += size
        return self._ours(stored)

    async def copy(
        self, source: ObjectInfo, target: str, *, headers: Headers | None = None
    ) -> ObjectInfo:
        """Copy exactly this version inside the store. Raises `PreconditionFailed`, `NotFound`."""
        expect = Expect(etag=source.etag)
        if not self._driver.capabilities.copy_if_match:
            await self._look_first(source.key, expect)
            expect = ANYTHING
        call = partial(
            self._driver.copy,
            self._prefix + source.key,
            self._prefix + target,
            size=source.size,
            expect=expect,
            headers=headers,
        )
        return self._ours(await self._requests.call("copy", call))

    async def usage(self) -> Usage | None:
        """The store's totals of the whole bucket, or account; None where it keeps none."""
        return await self._requests.read("usage", self._driver.usage)

    async def delete(self, key: str) -> None:
        """Remove it; a key that is not there is no error."""
        await self._requests.call("delete", partial(self._driver.delete, self._prefix + key))

    async def delete_many(self, keys: Sequence[str]) -> Mapping[str, Exception]:
        """Remove any number of keys, 1,000 in a request; what failed, with its error."""
        failed: dict[str, Exception] = {}
        for at in range(0, len(keys), 1000):
            full = [self._prefix + key for key in keys[at : at + 1000]]
            answer = await self._requests.call(
                "delete_many", partial(self._driver.delete_many, full)
            )
            failed |= {key[len(self._prefix) :]: error for key, error in answer.items()}
        return failed

    # --- inside --------------------------------------------------------------------------------

    async def _put_parts(
        self, key: str, body: FileRange, headers: Headers, expect: Expect, notes: Notes
    ) -> ObjectInfo:
        full = self._prefix + key
        resumed = notes.resumable(full) is not None
        try:
            async with self.multipart.uploaded(full, body, headers, notes) as (upload, parts):
                return await self._finish(key, upload, parts, expect)
        except NoSuchUpload:
            if not resumed:
                raise
        with suppress(NotFound):  # finished by a try whose answer was lost, or thrown away
            found = await self.head(key)
            if await self.is_same(found, body):
                return found
        return await self._put_parts(key, body, headers, expect, notes)

    async def _finish(
        self, key: str, upload: Upload, parts: list[Part], expect: Expect
    ) -> ObjectInfo:
        caps = self._driver.capabilities
        if not self._checks(expect, caps.finish_if_absent, caps.finish_if_match):
            await self._look_first(key, expect)
            expect = ANYTHING
        call = partial(self._driver.finish_parts, upload.key, upload.id, parts, expect=expect)
        return self._ours(await self._requests.call("finish_parts", call))

    async def _put_derived(
        self,
        key: str,
        body: FileRange,
        headers: Headers,
        *,
        expect: Expect,
        notes: Notes,
        base: Derived | None,
    ) -> ObjectInfo | None:
        """Store it out of its older version; None where that is not possible, or no gain."""
        if not (plan := self.multipart.plan(body.size, base, expect)):
            return None
        made = self.multipart.derived(
            self._prefix + key, body, headers, notes=notes, expect=expect, plan=plan
        )
        try:
            async with made as (upload, parts):
                return await self._finish(key, upload, parts, expect)
        except Unsupported as error:
            log.info("%s is sent whole: %s", key, error)
            return None

    @staticmethod
    def _checks(expect: Expect, absent: bool, match: bool) -> bool:  # noqa: FBT001  # two facts
        """Whether the store itself checks this condition, given what it can."""
        return not ((expect.absent and not absent) or (expect.etag and not match))

    async def _look_first(self, key: str, expect: Expect) -> None:
        """Stand in for a condition that this store does not check itself."""
        try:
            found = await self.head(key, quick=True)
        except NotFound:
            if expect.etag:
                raise PreconditionFailed(f"PUT {key}: the opened version is gone") from None
            return
        if expect.absent or found.etag != expect.etag:
            raise PreconditionFailed(f"PUT {key}: the store holds another version by now")

    def _ours(self, info: ObjectInfo) -> ObjectInfo:
        return replace(info, key=info.key[len(self._prefix) :]) if self._prefix else info


_MD5 = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")
