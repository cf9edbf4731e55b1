"""From the store into the cache: what somebody waits for at once, what was guessed in its turn.

The body of an answer goes from the socket to the disk in its worker thread, a buffer at a time, so
memory does not depend on how much is fetched; a small object stays in memory and is written behind
(`objfs.cache.packs`). The maps are only touched in the trio thread.

The whole is checked where its ETag is an MD5 and all of it went by: what comes in one range is
checked before a byte of it is handed out, a larger object while it comes. If that finds it bad,
readers that have it open get EIO, since they may have been given the bad bytes, and the next open
fetches it anew. A range of an object that is only read in part can be checked by its length and
Content-Range alone: S3 keeps no checksum of it.

What is fetched ahead is cancelled when its reader goes elsewhere, unless somebody waits for it.

What was tried for a cold read of 1 GiB from loopback (1.5 s of the daemon's CPU, two thirds of it
the kernel's copies: 0.3 s to answer FUSE, 0.25 to write, 0.2 to receive, 0.2 to read back), and did
not pay: to hand out what came from the network without reading it back costs a buffer of 64 MiB,
which is too large for the processor's caches: what was saved in reading was lost in page faults and
in answering. Receiving 1 MiB at once (MSG_WAITALL) and ranges of 8 instead of 4 MiB: no difference.
"""

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import trio

from objfs.cache.ahead import AheadQueue
from objfs.cache.blockfiles import BlockFiles
from objfs.cache.blocks import SEGMENT_BLOCKS
from objfs.cache.policy import Shelf
from objfs.cache.sink import BlockSink, SmallSink
from objfs.cache.version import Version, Versions
from objfs.cache.whole import WholeSum
from objfs.errors import (
    Corrupt,
    NoSpace,
    NotFound,
    ObjfsError,
    PreconditionFailed,
    Stale,
    StoreError,
    Unavailable,
)
from objfs.store.bucket import Bucket
from objfs.types import ObjectInfo

log = logging.getLogger(__name__)

FETCH_BLOCKS = 64
"""8 MiB: the largest range asked for at once; measured to saturate one connection on loopback."""
LEAST_AHEAD = 8
"""Blocks (1 MiB) of the smallest range that is fetched ahead, where there is more."""
SPREAD = 4
"""Requests that a stretch to be fetched ahead is spread over."""

Job = tuple[ObjectInfo, range]


class Fetcher:
    """All fetches of one bucket. They run in `nursery`, which outlives all reads."""

    def __init__(
        self,
        bucket: Bucket,
        shelf: Shelf,
        nursery: trio.Nursery,
        files: BlockFiles,
        versions: Versions,
    ) -> None:
        self._bucket = bucket
        self._shelf = shelf
        self._nursery = nursery
        self._files = files
        self._versions = versions
        self._queue: AheadQueue[Job] = AheadQueue(bucket.connections)
        self._token = trio.lowlevel.current_trio_token()

    def fetch(self, version: Version, blocks: range) -> None:
        """Begin at once with what is missing of these blocks: somebody waits for them."""
        for first, last in version.blocks.missing(blocks, at_most=FETCH_BLOCKS):
            version.blocks.take_off(first, last)
            version.users += 1  # keeps the descriptor while the thread writes to it
            self._nursery.start_soon(self._fetch, version, first, last)

    def fetch_ahead(self, owner: Hashable, version: Version, blocks: range) -> int:
        """Fetch what is missing of these blocks when it is its turn; bytes that were asked for."""
        at_most = min(FETCH_BLOCKS, max(LEAST_AHEAD, len(blocks) // SPREAD))
        asked = 0
        for first, last in version.blocks.missing(blocks, at_most=at_most):
            start, stop = version.blocks.span(first, last)
            self._queue.add(owner, (version.info, range(first, last)), stop - start)
            asked += stop - start
        self._begin()
        return asked

    def forgo(self, owner: Hashable, version: Version | None = None) -> None:
        """Nobody needs ahead what `owner` asked for; requests for `version` end unless awaited."""
        self._queue.forget(owner)
        if version is not None:
            for scope, blocks in list(version.flights.items()):
                if not any(block in version.wanted for block in blocks):
                    scope.cancel()

    def collect(self, version: Version) -> None:
        """Take over what has landed by now."""
        found = False
        for sink in version.sinks:
            while sink.landed:
                self._land(version, *sink.landed.popleft())
                found = True
        if found:
            self._sum_up(version)  # before anybody can read the block that made it complete
            version.landed.unpark_all()

    def adopted(self, version: Version, sums: list[int]) -> None:
        """All blocks of a version are in its file, and these are their checksums."""
        version.checked = True
        self._land(version, 0, sums)

    # --- inside --------------------------------------------------------------------------------

    def _begin(self) -> None:
        while found := self._queue.take():
            (info, blocks), size = found
            try:
                version = self._versions.use(info)
            except OSError as error:  # the disk takes no further file: who reads it will hear of it
                log.info("%s is not fetched ahead: %s", info.key, error)
                self._queue.done(size)
                continue
            runs = list(version.blocks.missing(blocks, at_most=FETCH_BLOCKS))
            for first, last in runs:
                version.blocks.take_off(first, last)
            self._nursery.start_soon(self._fly, version, blocks, runs, size)

    async def _fly(
        self, version: Version, blocks: range, runs: list[tuple[int, int]], size: int
    ) -> None:
        try:
            with trio.CancelScope() as scope:
                version.flights[scope] = blocks
                while runs:
                    first, last = runs.pop(0)
                    version.users += 1
                    await self._fetch(version, first, last)
        finally:
            version.flights.pop(scope)
            for first, last in runs:
                version.blocks.give_up(first, last)
            version.landed.unpark_all()
            self._versions.unuse(version)
            self._queue.done(size)
            self._begin()

    async def _fetch(self, version: Version, first: int, last: int) -> None:
        info = version.info
        try:
            if version.small:
                await self._get_small(version)
            else:
                await self._get_blocks(version, first, last)
        except (PreconditionFailed, NotFound) as error:
            renamed = version.info is not info
            _failed(version, Unavailable(f"{info.key} moved") if renamed else gone(error))
        except ObjfsError as error:
            _failed(version, error)
        except Exception as error:
            # here it would end all background work, and with it the mount (PROMISES P24)
            log.exception("fetching %s failed in a way that nobody foresaw", info.key)
            _failed(version, StoreError(f"{info.key} cannot be fetched: {error!r}"))
        finally:
            version.blocks.give_up(first, last)
            version.landed.unpark_all()
            self._versions.unuse(version)

    async def _get_small(self, version: Version) -> None:
        info = version.info
        sink = SmallSink(info.size, self._bucket.md5_of(info))
        await self._bucket.get(info, 0, info.size, sink)
        self._files.packs.put(version.file, bytes(sink.data))
        version.blocks.land(0, 0)

    async def _get_blocks(self, version: Version, first: int, last: int) -> None:
        info = version.info
        start, stop = version.blocks.span(first, last)
        self._shelf.flying += stop - start
        whole = stop - start == info.size
        md5 = "" if version.checked and not whole else self._bucket.md5_of(info)
        if whole:
            version.checked = True  # by its sink, before a block of it lands
        elif md5 and version.whole is None:
            version.whole = WholeSum(version.blocks, md5)
        try:
            self._find_room()
            sink = BlockSink(
                version.fd,
                first,
                start,
                stop,
                self._teller(version),
                wanted=version.wanted,
                md5=md5 if whole else "",
            )
            version.sinks.add(sink)
            try:
                with sink:
                    await self._bucket.get(info, start, stop, sink)
            finally:
                self.collect(version)
                version.sinks.remove(sink)
        finally:
            self._shelf.flying -= stop - start
            if whole:
                version.checked = version.blocks.complete

    def _find_room(self) -> None:
        self._files.make_room(0)
        if self._shelf.full:
            raise NoSpace("drafts and reads under way fill the cache")

    def _teller(self, version: Version) -> Callable[[], None]:
        def tell() -> None:
            self._token.run_sync_soon(self.collect, version)

        return tell

    def _land(self, version: Version, first: int, sums: Sequence[int]) -> None:
        sizes: Counter[int] = Counter()
        for block, checksum in enumerate(sums, first):
            if version.blocks.flying(block):
                sizes[block // SEGMENT_BLOCKS] += version.blocks.land(block, checksum)
        for segment, size in sizes.items():
            self._files.landed(version.file, segment, size)

    # --- the whole -----------------------------------------------------------------------------

    def _sum_up(self, version: Version) -> None:
        """Sum up what has come of the whole, a thread's stretch at a time."""
        whole = version.whole
        if whole is not None and not version.checked:
            if version.verdict is None and version.blocks.complete:
                version.verdict = trio.Event()
            if version.summing:
                return
            due = whole.due()
            if due:
                if whole.last and version.verdict is None:
                    version.verdict = trio.Event()
                version.summing = True
                version.users += 1
                self._nursery.start_soon(self._take, version, whole, *due)
                return
        if version.verdict is not None and not version.summing:
            version.verdict.set()
            version.verdict = None

    async def _take(self, version: Version, whole: WholeSum, start: int, stop: int) -> None:
        try:
            await trio.to_thread.run_sync(whole.take, version.fd, start, stop)
            version.checked = whole.taken(stop)
        except LookupError:  # evicted meanwhile: what is read again is only checked by its length
            version.checked = True
        except OSError as error:
            version.checked = True
            log.warning("the cached copy of %s cannot be read: %s", version.info.key, error)
        except Corrupt as error:
            text = f"{version.info.key}: {error.message}"
            log.warning("%s: fetched again by the next open", text)
            version.checked, version.damaged = True, Corrupt(text)
            for block in version.blocks.blocks(0, version.info.size):
                self.forget(version, block)
        finally:
            version.summing = False
            self._sum_up(version)
            self._versions.unuse(version)

    def forget(self, version: Version, block: int) -> None:
        """A block is bad, if it is there at all."""
        if version.blocks.has(block):
            lost = version.blocks.forget(block)
            self._files.shrink(version.file, block // SEGMENT_BLOCKS, lost)


def _failed(version: Version, error: ObjfsError) -> None:
    version.error = error
    version.failures += 1


def gone(error: ObjfsError) -> Stale:
    """What a reader is told when the version that it has open is not in the store any more."""
    told = Stale(
        f"the version that was opened is gone from the store: {error.message}",
        remedy="Open the file again",
    )
    told.__cause__ = error
    return told
