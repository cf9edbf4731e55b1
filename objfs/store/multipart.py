"""Uploads in parts: parallel, remembered beyond a crash, gone on with where they were.

An upload is noted (`Notes`) before its first part is sent, so that a process that dies leaves
nothing in the store that nobody knows of: the next one goes on with it or aborts it. Between the
store's answer to its beginning and the note there is an instant in which a crash leaves an upload
without any part: it costs nothing, and no list tells whose it is.

What happens to the parts when an upload fails:

- the failure may pass (the network, a throttle, refused credentials): they stay, and the next try
  sends what is missing. A part counts as sent only if its number, size and MD5 are those of the
  local bytes, so it does not matter what was written meanwhile. Where the store's etag of a part is
  no MD5, all parts are sent again.
- it will not pass (a condition that does not hold, an answer that makes no sense), or nobody took
  the note: they are aborted.

An object of which most is unchanged is made of its older version (`derived`): the store copies the
unchanged parts, and only the changes travel. Each copied part's etag is compared with the local
bytes.

The condition of a write is on its finish, so it holds at the instant at which the object appears.
"""

import hashlib
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import trio

from objfs.errors import (
    Forbidden,
    InvalidRange,
    NoSuchUpload,
    NotFound,
    ObjfsError,
    PreconditionFailed,
    Unsupported,
)
from objfs.store.base import Driver, FileRange, parts_etag
from objfs.store.pieces import Derived, Piece, pieces
from objfs.types import ANYTHING, ETag, Expect, Headers, Part, Upload

T = TypeVar("T")
log = logging.getLogger(__name__)

MIB = 2**20
PART_FROM = 16 * MIB
"""A body above this goes up in parts."""
PART_SIZE = 8 * MIB
PARTS_AT_ONCE = 8
ABORT_SECONDS = 5.0
"""How long a failed upload's parts may delay the news of its failure."""


class Ends(Protocol):
    """Hears of uploads that come to an end."""

    def ended(self, upload: Upload) -> None:
        """It was finished, or the store does not know it any more."""

    def unwanted(self, upload: Upload) -> None:
        """It could not be aborted now: somebody has to, later."""


class Notes(Ends, Protocol):
    """Remembers the uploads of one body."""

    def resumable(self, key: str) -> Upload | None:
        """The upload to this full key that an earlier try has begun, if it is not ended."""

    async def begun(self, upload: Upload) -> bool:
        """Parts will be sent: on the disk on return; False if it cannot be remembered."""

    async def expects(self, etag: ETag) -> None:
        """The object will have this etag, which does not follow from its bytes alone."""


class Forgetful:
    """Notes that nobody takes: a failed upload is aborted at once."""

    def resumable(self, key: str) -> Upload | None:  # noqa: ARG002  # the protocol's
        """Nothing is ever gone on with."""
        return None

    async def begun(self, upload: Upload) -> bool:  # noqa: ARG002  # the protocol's
        """Not remembered."""
        return False

    async def expects(self, etag: ETag) -> None:
        """Nobody asks."""

    def ended(self, upload: Upload) -> None:
        """Nobody asks."""

    def unwanted(self, upload: Upload) -> None:
        """Its parts are left to the bucket's own rules, if it has some."""
        log.warning("parts of %s stay in the store until it expires them", upload.key)


NOT_NOTED: Final = Forgetful()


class Multipart:
    """Uploads in parts to one bucket; `call` runs a driver's method in a thread, and counts it."""

    def __init__(
        self, driver: Driver, call: Callable[..., Awaitable[Any]], sent: Counter[str]
    ) -> None:
        self._driver = driver
        self._call = call
        self._sent = sent

    def part_size(self, size: int) -> int:
        """Bytes of each part but the last, for a body of this size."""
        caps = self._driver.capabilities
        return max(PART_SIZE, caps.min_part, math.ceil(size / caps.max_parts))

    @asynccontextmanager
    async def uploaded(
        self, key: str, body: FileRange, headers: Headers, notes: Notes
    ) -> AsyncIterator[tuple[Upload, list[Part]]]:
        """The upload with all its parts in the store; the block finishes it, or fails.

        Raises `NoSuchUpload` when an upload that was gone on with turns out to be unknown: it may
        have been finished by a try whose answer was lost.
        """
        upload, parts = await self._found(key, body, notes)
        kept = upload is not None
        if upload is None:
            begin = partial(self._driver.start_parts, key, headers)
            number = await self._call("start_parts", begin)
            upload = Upload(key, number, self.part_size(body.size))
        try:
            kept = kept or await notes.begun(upload)
            yield upload, await self._send(upload, body, parts)
        except BaseException as error:
            if isinstance(error, NoSuchUpload):
                notes.ended(upload)
            elif not kept or (isinstance(error, Exception) and not _may_pass(error)):
                with trio.CancelScope(shield=True):
                    await self.abort(upload, notes)
            raise
        notes.ended(upload)

    async def abort(self, upload: Upload, ends: Ends) -> None:
        """Drop its parts. If that fails, whoever hears of its end is told; nothing is raised."""
        call = partial(self._driver.abort_parts, upload.key, upload.id)
        try:
            with trio.fail_after(ABORT_SECONDS):
                await self._call("abort_parts", call, abandon=True)
        except (ObjfsError, trio.TooSlowError) as error:
            log.info("the parts of %s cannot be removed now: %r", upload.key, error)
            ends.unwanted(upload)
        else:
            ends.ended(upload)

    async def _found(
        self, key: str, body: FileRange, notes: Notes
    ) -> tuple[Upload | None, Sequence[Part]]:
        """The upload to go on with, and what the store has of it."""
        upload = notes.resumable(key)
        if upload is None:
            return None, ()
        if upload.part_size != self.part_size(body.size):  # of another version of objfs
            with trio.CancelScope(shield=True):
                await self.abort(upload, notes)
            return None, ()
        call = partial(self._driver.list_parts, key, upload.id)
        try:
            return upload, await self._call("list_parts", call)
        except NoSuchUpload:
            notes.ended(upload)
            raise

    async def _send(self, upload: Upload, body: FileRange, there: Sequence[Part]) -> list[Part]:
        """Send what is not `there`; all parts, by number."""
        numbers = range(1, math.ceil(body.size / upload.part_size) + 1)
        return await _side_by_side([partial(self._part, upload, body, n, there) for n in numbers])

    async def _part(
        self, upload: Upload, body: FileRange, number: int, there: Sequence[Part]
    ) -> Part:
        start = (number - 1) * upload.part_size
        piece = FileRange(body.fd, body.start + start, min(upload.part_size, body.size - start))
        same = [part for part in there if (part.number, part.size) == (number, piece.size)]
        if same:
            md5 = await trio.to_thread.run_sync(md5_of, piece)
            if part := next((part for part in same if part.etag == md5), None):
                return part
        return await self._put_part(upload, number, piece)

    async def _put_part(self, upload: Upload, number: int, piece: FileRange) -> Part:
        call = partial(self._driver.put_part, upload.key, upload.id, number, piece)
        part: Part = await self._call("put_part", call)
        self._sent["out"] += piece.size
        return part

    # --- out of an older version ----------------------------------------------------------------

    def plan(self, size: int, base: Derived | None, expect: Expect) -> list[Piece]:
        """The parts of a body out of its older version; none where that cannot be, or no gain."""
        caps = self._driver.capabilities
        if base is None or base.etag != expect.etag or not caps.part_copy:
            return []
        return pieces(size, base, min_part=caps.min_part, max_parts=caps.max_parts)

    @asynccontextmanager
    async def derived(
        self,
        key: str,
        body: FileRange,
        headers: Headers,
        *,
        notes: Notes,
        expect: Expect,
        plan: Sequence[Piece],
    ) -> AsyncIterator[tuple[Upload, list[Part]]]:
        """Like `uploaded`, with what is unchanged copied from the object as it is in the store.

        It is not gone on with after a failure: what was copied is quickly copied again. Raises
        `PreconditionFailed` when the object is not that version any more, `Unsupported` when the
        store cannot copy parts, or not so that it can be seen that the right bytes were copied.
        """
        if old := notes.resumable(key):
            await self.abort(old, notes)
        number = await self._call("start_parts", partial(self._driver.start_parts, key, headers))
        upload = Upload(key, number, 0)
        try:
            await notes.begun(upload)
            numbered = enumerate(plan, 1)
            jobs = [partial(self._piece, upload, body, *each, expect) for each in numbered]
            parts = await _side_by_side(jobs)
            if etag := parts_etag(parts):
                await notes.expects(etag)
            yield upload, parts
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.abort(upload, notes)
            raise
        notes.ended(upload)

    async def _piece(
        self, upload: Upload, body: FileRange, number: int, piece: Piece, expect: Expect
    ) -> Part:
        local = FileRange(body.fd, body.start + piece.start, piece.size)
        if not piece.copied:
            return await self._put_part(upload, number, local)
        if not self._driver.capabilities.copy_if_match:
            expect = ANYTHING
        copy = partial(self._driver.copy_part, upload.key, upload.id, number, upload.key)
        try:
            part: Part = await self._call(
                "copy_part", partial(copy, start=piece.start, stop=piece.stop, expect=expect)
            )
        except (NotFound, InvalidRange) as error:
            raise PreconditionFailed(f"COPY {upload.key}: the opened version is gone") from error
        # a version that came and went meanwhile is seen here, also where no condition was checked
        if part.etag != await trio.to_thread.run_sync(md5_of, local):
            raise Unsupported(f"COPY {upload.key}: the store's copy cannot be told to be right")
        return part


async def _side_by_side(jobs: Sequence[Callable[[], Awaitable[Part]]]) -> list[Part]:
    """All parts, by number; the first error ends all that has not begun."""
    parts: list[Part] = []
    errors: list[ObjfsError] = []
    slots = trio.CapacityLimiter(PARTS_AT_ONCE)

    async def do(job: Callable[[], Awaitable[Part]]) -> None:
        async with slots:
            try:
                parts.append(await job())
            except ObjfsError as error:
                errors.append(error)
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(do, job)
    if errors:
        raise errors[0]
    return sorted(parts, key=lambda part: part.number)


def _may_pass(error: Exception) -> bool:
    """Whether the parts are worth keeping for another try."""
    return isinstance(error, ObjfsError) and (error.retry or isinstance(error, Forbidden))


def md5_of(body: FileRange) -> ETag:
    """The etag of a part with these bytes."""
    with body.open() as file:
        return ETag(hashlib.file_digest(file, _md5).hexdigest())


_md5 = partial(hashlib.md5, usedforsecurity=False)
