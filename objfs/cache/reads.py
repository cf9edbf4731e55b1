"""The read cache: disposable copies of object ranges, keyed by (key, etag).

A read names the bytes it needs now and those it will likely need next. Missing blocks are fetched
in ranges, in parallel, conditional on the version (`objfs.cache.fetch`); each block is handed to
whoever waits for it as soon as it is on the disk, not when its range is complete. Readers of one
version share what is under way. What is read from the disk is checked against its checksum on
every read; what is bad is fetched again.

A full disk or cache is no reason to fail a read: what finds no room is read past the cache.
"""

import logging
import os
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path

import trio
import xxhash

from objfs.cache.blockfiles import BlockFiles, file_name
from objfs.cache.blocks import BLOCK, SEGMENT_BLOCKS
from objfs.cache.disk import announce, read_fully, read_now, sums
from objfs.cache.fetch import FETCH_BLOCKS, Fetcher, gone
from objfs.cache.packs import SMALL
from objfs.cache.policy import Shelf
from objfs.cache.spool import Draft
from objfs.cache.version import Version, Versions
from objfs.errors import NoSpace, NotFound, PreconditionFailed, TimedOut
from objfs.store.bucket import Bucket
from objfs.types import ObjectInfo

__all__ = ["ReadCache", "Version"]

log = logging.getLogger(__name__)

TRIES = 3
SUM_AT_ONCE = 8
"""Blocks (1 MiB) whose checksums are made without a thread: some 100 us."""
PAUSE = 0.2
"""Seconds before what failed is fetched again."""
WRITE_EVERY = 0.5
"""Seconds between two writings of the index, and of small objects."""
KEEP_FETCHING = 2**20
"""Bytes of an object whose fetches go on although its last reader has left."""


class ReadCache:
    """Cached reads of one bucket. Fetches run in `nursery`, which outlives all reads."""

    def __init__(self, folder: Path, bucket: Bucket, shelf: Shelf, nursery: trio.Nursery) -> None:
        self._bucket = bucket
        self._shelf = shelf
        self._nursery = nursery
        self._files = BlockFiles(folder, shelf)
        self._versions = Versions(self._files)
        self._fetcher = Fetcher(bucket, shelf, nursery, self._files, self._versions)

    async def run(self) -> None:
        """Write the index, and small objects, now and then; runs until it is cancelled."""
        while True:
            await trio.sleep(WRITE_EVERY)
            while batch := self._files.next_batch():
                try:
                    rows = await trio.to_thread.run_sync(batch.write)
                except OSError as error:  # a full disk: the bytes are in the store
                    log.info("small objects are not kept: %s", error)
                    rows = []
                self._files.packed(batch, rows)
            self._files.write_index()

    def close(self) -> None:
        """Write the index; nothing may be open any more."""
        self._files.close()

    # --- versions ------------------------------------------------------------------------------

    def open(self, info: ObjectInfo) -> Version:
        """Begin to use a version; `release` ends it."""
        version = self._versions.use(info)
        version.readers += 1
        return version

    def release(self, version: Version) -> None:
        """The counterpart of `open`. What was fetched ahead for the last reader is forgone."""
        version.readers -= 1
        if not version.readers and version.info.size > KEEP_FETCHING:
            self._fetcher.forgo(version.file, version)
        self._versions.unuse(version)

    def renamed(self, old: ObjectInfo, new: ObjectInfo) -> None:
        """The same bytes lie under another key or etag now: what is cached stays of use."""
        self._versions.rename(old, new)

    def forget(self, info: ObjectInfo) -> None:
        """The version is gone from the store; its blocks go too unless it is open."""
        self._versions.forget(info)

    def adopt(self, info: ObjectInfo, draft: Draft) -> None:
        """The store has what the draft holds: it becomes the cached copy, its file as it is."""
        file = file_name(info.key, info.etag)
        if file in self._versions or not draft.size:
            draft.discard()
            return
        try:
            if draft.size <= SMALL:
                self._files.packs.put(file, draft.read(0, draft.size))
                draft.discard()
                return
            self._files.drop(file)
            self._files.make_room(draft.size)
            fd = draft.hand_over(self._files.place(file))
        except OSError as error:  # a full disk: the bytes are in the store, so nothing is lost
            log.info("%s is not kept as a cached copy: %s", info.key, error)
            draft.discard()
            return
        version = self._versions.add(info, file, fd)
        count = version.blocks.blocks(0, info.size).stop
        version.blocks.take_off(0, count)
        self._nursery.start_soon(self._adopt, version, count)

    async def _adopt(self, version: Version, count: int) -> None:
        summing = partial(sums, version.fd, version.info.size)
        try:
            found = await trio.to_thread.run_sync(summing) if count > SUM_AT_ONCE else summing()
            self._fetcher.adopted(version, found)
        except OSError as error:  # what cannot be read here is fetched when it is wanted
            log.warning("the cached copy of %s cannot be read: %s", version.info.key, error)
        finally:
            version.blocks.give_up(0, count)
            version.landed.unpark_all()
            self._versions.unuse(version)

    def make_room(self, wanted: int) -> None:
        """Evict clean bytes so that a draft may grow."""
        self._files.make_room(wanted)

    # --- ahead ---------------------------------------------------------------------------------

    def fetch_ahead(self, owner: Hashable, info: ObjectInfo) -> int:
        """Have a whole object here before it is read; bytes that this takes, 0 if it is here."""
        version = self._versions.use(info)
        try:
            return self._fetcher.fetch_ahead(owner, version, version.blocks.blocks(0, info.size))
        finally:
            self._versions.unuse(version)

    def forgo(self, owner: Hashable) -> None:
        """What `owner` wanted ahead, and was not begun yet, is of no use any more."""
        self._fetcher.forgo(owner)

    def strayed(self, version: Version) -> None:
        """A reader went elsewhere: what was fetched ahead for it is of no use, if for nobody."""
        if version.readers == 1:
            self._fetcher.forgo(version.file, version)

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
            if version.verdict is not None:
                await version.verdict.wait()
            if version.damaged:
                raise version.damaged
            return data
        finally:
            self._versions.unuse(version)

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
                self._fetcher.fetch(version, version.blocks.blocks(0, ahead[1]))
            self._fetcher.fetch(version, blocks)
            if ahead:
                self._look_ahead(version, version.blocks.blocks(*ahead))
                ahead = None
            await self._arrived(version, blocks)
            data = await self._cached(version, blocks)
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
            self._versions.unuse(version)

    async def load(self, version: Version) -> None:
        """Have all of the version on the disk, for it is about to vanish from the store."""
        await self.copy_to(version, lambda _offset, _data: None)

    # --- inside --------------------------------------------------------------------------------

    def _look_ahead(self, version: Version, blocks: range) -> None:
        """Have the store fetch what is missing, and the disk read what is here."""
        asked = self._fetcher.fetch_ahead(version.file, version, blocks)
        start, stop = version.blocks.span(blocks.start, blocks.stop)
        if not version.small and asked < stop - start:
            announce(version.fd, start, stop)

    async def _arrived(self, version: Version, blocks: range) -> None:
        """Wait until no request for any of these blocks is under way."""
        waiting = [block for block in blocks if version.blocks.flying(block)]
        if not waiting:
            return
        for block in waiting:
            version.wanted[block] = version.wanted.get(block, 0) + 1
        try:
            self._fetcher.collect(version)
            while any(version.blocks.flying(block) for block in waiting):
                await version.landed.park()
        finally:
            for block in waiting:
                version.wanted[block] -= 1
                if not version.wanted[block]:
                    del version.wanted[block]

    async def _cached(self, version: Version, blocks: range) -> memoryview | None:
        """The bytes of whole blocks, checked; None when one is missing or was bad."""
        if not all(version.blocks.has(block) for block in blocks):
            return None
        if version.small:
            return await self._from_pack(version)
        return await self._from_disk(version, blocks)

    async def _from_pack(self, version: Version) -> memoryview | None:
        packs = self._files.packs
        data: bytes | bytearray | None = packs.get(version.file)
        place = version.place or (packs.find(version.file) if data is None else None)
        if data is None and place:
            fd = packs.open(place)
            if fd is not None:
                try:
                    data = read_now(fd, place.at, place.size)
                    if data is None:
                        call = partial(read_fully, fd, place.at, place.size)
                        data = await trio.to_thread.run_sync(call)
                finally:
                    os.close(fd)
                data = packs.found(version.file, data, place)
        if data is None:  # bad, or evicted since it was opened
            version.blocks.drop(0)
            version.place = None
            return None
        return memoryview(data)

    async def _from_disk(self, version: Version, blocks: range) -> memoryview | None:
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
                self._fetcher.forget(version, block)
                log.info("block %d of %s was bad on the disk", block, version.info.key)
                good = False
        return view if good else None

    async def _past_cache(self, version: Version, start: int, stop: int) -> bytes:
        data = bytearray()
        try:
            await self._bucket.get(version.info, start, stop, data.extend)
        except (PreconditionFailed, NotFound) as error:
            raise gone(error) from error
        return bytes(data)
