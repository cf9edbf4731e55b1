"""The read cache: disposable copies of object ranges, keyed by (key, etag).

A read names the bytes it needs now and those it will likely need next. Missing blocks are fetched
in ranges, in parallel, conditional on the version; each block is handed to whoever waits for it as
soon as it is on the disk, not when its range is complete. Readers of one version share what is
under way. A block is checked against its checksum on every read from the disk; a bad one is
fetched again.

The body of an answer goes from the socket to the disk in its worker thread, a buffer at a time, so
memory does not depend on how much is fetched. The maps are only touched in the trio thread.

The whole is checked too, where its ETag is an MD5 and all of it went by: what comes in one range is
checked before a byte of it is handed out, a larger object as soon as it is complete. If that finds
it bad, readers that have it open get EIO, since they may have been given the bad bytes, and the
next open fetches it anew. A range of an object that is only read in part can be checked by its
length and Content-Range alone: S3 keeps no checksum of it.

A full disk or cache is no reason to fail a read: what finds no room is read past the cache.
"""

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio
import xxhash

from objfs.cache.blockfiles import BlockFiles, file_name
from objfs.cache.blocks import BLOCK, SEGMENT_BLOCKS, BlockMap
from objfs.cache.disk import md5_of, read_fully, read_now, sums
from objfs.cache.policy import Shelf
from objfs.cache.sink import BlockSink
from objfs.cache.spool import Draft
from objfs.errors import (
    Corrupt,
    NoSpace,
    NotFound,
    ObjfsError,
    PreconditionFailed,
    Stale,
    StoreError,
    TimedOut,
    Unavailable,
)
from objfs.store.bucket import Bucket
from objfs.types import ObjectInfo

log = logging.getLogger(__name__)

FETCH_BLOCKS = 64
"""8 MiB: the largest range asked for at once; measured to saturate one connection on loopback."""
TRIES = 3
SUM_AT_ONCE = 8
"""Blocks (1 MiB) whose checksums are made without a thread: some 100 us."""
PAUSE = 0.2
"""Seconds before what failed is fetched again."""
INDEX_EVERY = 2.0
"""Seconds between two writings of the index."""


class Version:
    """One version of one object, while somebody has it open."""

    def __init__(self, info: ObjectInfo, file: str, blocks: BlockMap, fd: int) -> None:
        self.info = info
        self.file = file
        self.blocks = blocks
        self.fd = fd
        self.users = 1
        self.error: ObjfsError | None = None
        """Why the last fetch failed; whoever waits takes it."""
        self.failures = 0
        self.checked = blocks.complete
        """The whole has been compared with its ETag, or was when it was fetched."""
        self.checking: trio.Event | None = None
        self.damaged: Corrupt | None = None
        self.landings = 0
        self.landed = trio.lowlevel.ParkingLot()


class ReadCache:
    """Cached reads of one bucket. Fetches run in `nursery`, which outlives all reads."""

    def __init__(self, folder: Path, bucket: Bucket, shelf: Shelf, nursery: trio.Nursery) -> None:
        self._bucket = bucket
        self._shelf = shelf
        self._nursery = nursery
        self._files = BlockFiles(folder, shelf)
        self._open: dict[str, Version] = {}
        self._token = trio.lowlevel.current_trio_token()

    async def run(self) -> None:
        """Write the index now and then; runs until it is cancelled."""
        while True:
            await trio.sleep(INDEX_EVERY)
            self._files.write_index()

    def close(self) -> None:
        """Write the index; nothing may be open any more."""
        self._files.close()

    # --- versions ------------------------------------------------------------------------------

    def open(self, info: ObjectInfo) -> Version:
        """Begin to use a version; `release` ends it."""
        file = file_name(info.key, info.etag)
        version = self._open.get(file)
        if version is None:
            blocks = self._files.map_of(file, info.size)
            version = self._open[file] = Version(info, file, blocks, self._files.open(file))
        else:
            version.users += 1
        return version

    def release(self, version: Version) -> None:
        """The counterpart of `open`."""
        version.users -= 1
        if not version.users:
            del self._open[version.file]
            os.close(version.fd)
            self._files.close_map(version.file)

    def renamed(self, old: ObjectInfo, new: ObjectInfo) -> None:
        """The same bytes lie under another key or etag now: what is cached stays of use."""
        before, after = file_name(old.key, old.etag), file_name(new.key, new.etag)
        if after in self._open or before == after:
            return
        self._files.rename(before, after)
        if version := self._open.pop(before, None):
            version.info, version.file = new, after
            self._open[after] = version

    def forget(self, info: ObjectInfo) -> None:
        """The version is gone from the store; its blocks go too unless it is open."""
        file = file_name(info.key, info.etag)
        if file not in self._open:
            self._files.drop(file)

    def adopt(self, info: ObjectInfo, draft: Draft) -> None:
        """The store has what the draft holds: its file becomes the cached copy, as it is."""
        file = file_name(info.key, info.etag)
        if file in self._open or not draft.size:
            draft.discard()
            return
        self._files.drop(file)
        self._files.make_room(draft.size)
        try:
            fd = draft.hand_over(self._files.place(file))
        except OSError as error:  # a full disk: the bytes are in the store, so nothing is lost
            log.info("%s is not kept as a cached copy: %s", info.key, error)
            draft.discard()
            return
        version = self._open[file] = Version(info, file, self._files.map_of(file, info.size), fd)
        count = version.blocks.blocks(0, info.size).stop
        version.blocks.take_off(0, count)
        self._nursery.start_soon(self._adopt, version, count)

    async def _adopt(self, version: Version, count: int) -> None:
        summing = partial(sums, version.fd, version.info.size)
        try:
            found = await trio.to_thread.run_sync(summing) if count > SUM_AT_ONCE else summing()
            version.checked = True
            for block, checksum in enumerate(found):
                self._land(version, block, checksum)
        except OSError as error:  # what cannot be read here is fetched when it is wanted
            log.warning("the cached copy of %s cannot be read: %s", version.info.key, error)
        finally:
            version.blocks.give_up(0, count)
            version.landed.unpark_all()
            self.release(version)

    def make_room(self, wanted: int) -> None:
        """Evict clean bytes so that a draft may grow."""
        self._files.make_room(wanted)

    # --- reading -------------------------------------------------------------------------------

    async def read(
        self, version: Version, start: int, stop: int, ahead: tuple[int, int] | None = None
    ) -> bytes | memoryview:
        """Bytes [start, stop) of the version, cut at its end. `ahead` is fetched, not waited for.

        Raises `Stale` when the version is gone from the store and not cached.
        """
        stop = min(stop, version.info.size)
        if start >= stop:
            return b""
        version.users += 1  # a writer may release the version while this waits
        try:
            if version.damaged:
                raise version.damaged
            data = await self._in_time(version, start, stop, ahead)
            if version.checking is not None:
                await version.checking.wait()
            if version.damaged:
                raise version.damaged
            return data
        finally:
            self.release(version)

    async def _in_time(
        self, version: Version, start: int, stop: int, ahead: tuple[int, int] | None
    ) -> bytes | memoryview:
        """All tries together end with `--timeout` (PROMISES P23); fetches go on for others."""
        failures, seconds = version.failures, self._bucket.timeout
        with trio.move_on_after(seconds):
            return await self._read(version, start, stop, ahead)
        if version.error and version.failures != failures:
            raise version.error
        raise TimedOut(f"GET {version.info.key}: no answer in {seconds:g} s")

    async def _read(
        self, version: Version, start: int, stop: int, ahead: tuple[int, int] | None
    ) -> bytes | memoryview:
        blocks = version.blocks.blocks(start, stop)
        failures, error = version.failures, None
        for _ in range(TRIES):
            if ahead and not start and ahead[1] >= version.info.size:
                # in one range, whose content can be checked before it is handed out
                self._fetch_missing(version, version.blocks.blocks(0, ahead[1]))
            self._fetch_missing(version, blocks)
            if ahead:
                self._fetch_missing(version, version.blocks.blocks(*ahead))
                ahead = None
            while any(version.blocks.flying(block) for block in blocks):
                await version.landed.park()
            data = await self._from_disk(version, blocks)
            if data is not None:
                return data[start - blocks.start * BLOCK : stop - blocks.start * BLOCK]
            error = version.error if version.failures != failures else None
            failures = version.failures
            if isinstance(error, NoSpace):
                break
            if error:
                if not error.retry or isinstance(error, TimedOut):
                    raise error
                await trio.sleep(PAUSE)
        if error and not isinstance(error, NoSpace):
            raise error
        # no room, or the blocks were evicted or found bad each time
        return await self._past_cache(version, start, stop)

    async def copy_to(self, version: Version, sink: Callable[[int, memoryview], None]) -> None:
        """Feed the whole version to `sink(offset, bytes)`, in order, reading ahead."""
        size = version.info.size
        at = 0
        version.users += 1
        try:
            while at < size:
                ahead = (at, min(size, at + 4 * FETCH_BLOCKS * BLOCK))
                stop = min(size, at + 8 * BLOCK)
                data = await self.read(version, at, stop, ahead)
                sink(at, memoryview(data))
                at = stop
        finally:
            self.release(version)

    async def load(self, version: Version) -> None:
        """Have all of the version on the disk, for it is about to vanish from the store."""
        await self.copy_to(version, lambda _offset, _data: None)

    # --- inside --------------------------------------------------------------------------------

    def _fetch_missing(self, version: Version, blocks: range) -> None:
        for first, last in version.blocks.missing(blocks, at_most=FETCH_BLOCKS):
            version.blocks.take_off(first, last)
            version.users += 1  # keeps the descriptor while the thread writes to it
            self._nursery.start_soon(self._fetch, version, first, last)

    async def _fetch(self, version: Version, first: int, last: int) -> None:
        info = version.info
        start, stop = version.blocks.span(first, last)
        self._shelf.flying += stop - start
        whole = stop - start == info.size
        version.checked |= whole  # by its sink, before a block of it lands
        try:
            self._find_room()
            md5 = self._bucket.md5_of(info) if whole else ""
            land = self._reporter(version)
            with BlockSink(version.fd, first, start, stop, land, md5=md5) as sink:
                await self._bucket.get(info, start, stop, sink)
        except (PreconditionFailed, NotFound) as error:
            renamed = version.info is not info
            self._failed(version, Unavailable(f"{info.key} moved") if renamed else _gone(error))
        except ObjfsError as error:
            self._failed(version, error)
        except Exception as error:
            # here it would end all background work, and with it the mount (PROMISES P24)
            log.exception("fetching %s failed in a way that nobody foresaw", info.key)
            self._failed(version, StoreError(f"{info.key} cannot be fetched: {error!r}"))
        finally:
            # what the thread posted by run_sync_soon has landed before this task goes on
            self._shelf.flying -= stop - start
            version.blocks.give_up(first, last)
            if whole:
                version.checked = version.blocks.complete
            version.landed.unpark_all()
            self.release(version)

    def _check(self, version: Version) -> None:
        """Compare the whole with its ETag, once, when all of it has come."""
        if version.checked or not version.blocks.complete:
            return
        md5 = self._bucket.md5_of(version.info)
        if md5:
            version.checked = True
            version.checking = trio.Event()
            version.users += 1
            self._nursery.start_soon(self._check_whole, version, md5, version.checking)

    async def _check_whole(self, version: Version, md5: str, done: trio.Event) -> None:
        landings = version.landings
        try:
            found = await trio.to_thread.run_sync(md5_of, version.fd, version.info.size)
            evicted = landings != version.landings or not version.blocks.complete
            if found != md5 and not evicted:
                text = f"{version.info.key}: the bytes that came are not those of its ETag"
                log.warning("%s: fetched again by the next open", text)
                version.damaged = Corrupt(text)
                for block in version.blocks.blocks(0, version.info.size):
                    self._forget(version, block)
        except OSError as error:
            log.warning("the cached copy of %s cannot be read: %s", version.info.key, error)
        finally:
            version.checking = None
            done.set()
            self.release(version)

    def _forget(self, version: Version, block: int) -> None:
        lost = version.blocks.forget(block)
        self._files.shrink(version.file, block // SEGMENT_BLOCKS, lost)

    def _find_room(self) -> None:
        self._files.make_room(0)
        if self._shelf.full:
            raise NoSpace("drafts and reads under way fill the cache")

    def _reporter(self, version: Version) -> Callable[[int, int], None]:
        def landed(block: int, checksum: int) -> None:
            self._token.run_sync_soon(self._land, version, block, checksum)

        return landed

    @staticmethod
    def _failed(version: Version, error: ObjfsError) -> None:
        version.error = error
        version.failures += 1

    def _land(self, version: Version, block: int, checksum: int) -> None:
        if version.blocks.flying(block):
            version.landings += 1
            size = version.blocks.land(block, checksum)
            self._files.landed(version.file, block // SEGMENT_BLOCKS, size)
            self._check(version)  # before anybody can read the block that made it complete
            version.landed.unpark_all()

    async def _from_disk(self, version: Version, blocks: range) -> memoryview | None:
        """The bytes of whole blocks, checked; None when one is missing or was bad."""
        if not all(version.blocks.has(block) for block in blocks):
            return None
        start, stop = version.blocks.span(blocks.start, blocks.stop)
        data = read_now(version.fd, start, stop - start)
        if data is None:
            call = partial(read_fully, version.fd, start, stop - start)
            data = await trio.to_thread.run_sync(call)
        view = memoryview(data)
        good = True
        for block in blocks:
            self._shelf.touch((version.file, block // SEGMENT_BLOCKS))
            if not version.blocks.has(block):
                return None  # evicted while a thread was reading
            at = (block - blocks.start) * BLOCK
            if xxhash.xxh3_64_intdigest(view[at : at + BLOCK]) != version.blocks.sum_of(block):
                self._forget(version, block)
                log.info("block %d of %s was bad on the disk", block, version.info.key)
                good = False
        return view if good else None

    async def _past_cache(self, version: Version, start: int, stop: int) -> bytes:
        data = bytearray()
        try:
            await self._bucket.get(version.info, start, stop, data.extend)
        except (PreconditionFailed, NotFound) as error:
            raise _gone(error) from error
        return bytes(data)


def _gone(error: ObjfsError) -> Stale:
    gone = Stale(
        f"the version that was opened is gone from the store: {error.message}",
        remedy="Open the file again",
    )
    gone.__cause__ = error
    return gone
