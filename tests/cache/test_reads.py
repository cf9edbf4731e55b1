"""What the read cache asks of the store: how much, when, and until when."""

import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from objfs.cache.ahead import BUDGET
from objfs.cache.blocks import BLOCK
from objfs.cache.packs import SMALL
from objfs.cache.policy import Shelf, Window
from objfs.cache.reads import ReadCache, Version
from objfs.errors import Corrupt
from objfs.store.bucket import Bucket
from objfs.store.memory import MemoryStore
from objfs.types import Headers, ObjectInfo

MIB = 2**20


class Paced(MemoryStore):
    """A store that notes its GETs, and gives each body a block at a time, as `gate` lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.gets: list[tuple[int, int]] = []
        self.gate: Callable[[int], None] = lambda _at: None
        self.spoiled = -1
        """The place of a byte that comes wrong."""
        self.flying = 0
        self.most = 0
        self._lock = threading.Lock()

    def get(self, key: str, sink: Any, *, start: int, stop: int, **rest: Any) -> ObjectInfo:
        """As the store does, in pieces."""
        with self._lock:
            self.gets.append((start, stop))
            self.flying += stop - start
            self.most = max(self.most, self.flying)
        body = bytearray()
        try:
            info = super().get(key, body.extend, start=start, stop=stop, **rest)
            if start <= self.spoiled < stop:
                body[self.spoiled - start] ^= 1
            for at in range(0, stop - start, BLOCK):
                self.gate(start + at)
                sink(memoryview(body)[at : at + BLOCK])
        finally:
            with self._lock:
                self.flying -= stop - start
        return info


@asynccontextmanager
async def cache(
    folder: Path, *, connections: int = 32
) -> AsyncIterator[tuple[ReadCache, Bucket, Paced]]:
    """A read cache over a paced store."""
    store = Paced()
    bucket = Bucket(store, timeout=10, connections=connections)
    async with trio.open_nursery() as nursery:
        reads = ReadCache(folder, bucket, Shelf(2**30), nursery)
        yield reads, bucket, store
        nursery.cancel_scope.cancel()


def files_in(folder: Path) -> list[Path]:
    """The files of blocks."""
    return list(folder.glob("??/*"))


async def opened(reads: ReadCache, bucket: Bucket, size: int) -> tuple[Version, bytes]:
    """A new object of so many bytes, in use."""
    data = os.urandom(BLOCK) * (size // BLOCK) + os.urandom(size % BLOCK)
    return reads.open(await bucket.put("k", data, Headers("x/y"))), data


async def follow(reads: ReadCache, version: Version, size: int, step: int = BLOCK) -> bytearray:
    """Read it from begin to end, as a handle does."""
    window, got = Window(32 * MIB), bytearray()
    for at in range(0, size, step):
        ahead = window.advance(at, at + step)
        got += await reads.read(version, at, at + step, ahead)
    return got


async def test_a_random_read_costs_one_request_of_one_block(tmp_path: Path) -> None:
    """At most 128 KiB each, nothing ahead, and nothing for what is here."""
    async with cache(tmp_path) as (reads, bucket, store):
        version, data = await opened(reads, bucket, 64 * MIB)
        window = Window(32 * MIB)
        places = [47 * MIB + 5, 3 * MIB, 21 * MIB + 4096, 60 * MIB, 47 * MIB + 4096]
        for at in places:
            ahead = window.advance(at, at + 4096)
            assert await reads.read(version, at, at + 4096, ahead) == data[at : at + 4096]
        assert store.gets == [
            (at // BLOCK * BLOCK, at // BLOCK * BLOCK + BLOCK) for at in places[:4]
        ]
        reads.release(version)


async def test_a_block_is_handed_out_before_its_range_is_complete(tmp_path: Path) -> None:
    """Whoever waits for the first block does not wait for the seven behind it."""
    async with cache(tmp_path) as (reads, bucket, store):
        version, data = await opened(reads, bucket, 8 * MIB)
        go = threading.Event()
        store.gate = lambda at: None if at < 3 * BLOCK else (go.wait(10), None)[1]
        ahead = (2 * BLOCK, 2 * MIB)
        with trio.fail_after(5):
            got = await reads.read(version, BLOCK, 2 * BLOCK, ahead)
            assert got == data[BLOCK : 2 * BLOCK]
            assert await reads.read(version, 2 * BLOCK, 3 * BLOCK) == data[2 * BLOCK : 3 * BLOCK]
        go.set()
        reads.release(version)


async def test_a_sequential_read_asks_for_each_byte_once(tmp_path: Path) -> None:
    """In ranges of 1 to 8 MiB, several at once, no more than the budget."""
    async with cache(tmp_path) as (reads, bucket, store):
        size = 96 * MIB + 7
        version, data = await opened(reads, bucket, size)
        assert await follow(reads, version, size) == data
        assert sum(stop - start for start, stop in store.gets) == size
        assert len(store.gets) < 60
        assert max(stop - start for start, stop in store.gets) <= 8 * MIB
        assert store.most <= BUDGET + 8 * MIB
        reads.release(version)


async def test_a_seek_ends_what_was_fetched_ahead(tmp_path: Path) -> None:
    """Queued ranges are not begun, those under way are cut off; the seek's own block comes."""
    async with cache(tmp_path, connections=4) as (reads, bucket, store):
        version, data = await opened(reads, bucket, 64 * MIB)
        go = threading.Event()
        ahead_from = 4 * MIB
        store.gate = lambda at: (go.wait(10), None)[1] if ahead_from <= at < 50 * MIB else None
        await reads.read(version, 0, BLOCK, (BLOCK, 40 * MIB))
        await trio.testing.wait_all_tasks_blocked(0.05)
        reads.strayed(version)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not version.flights
        at = 55 * MIB
        with trio.fail_after(5):
            assert await reads.read(version, at, at + 100) == data[at : at + 100]
        go.set()
        asked = sum(stop - start for start, stop in store.gets)
        assert asked < 40 * MIB
        # what was cut off is fetched again when it is read
        assert await reads.read(version, 30 * MIB, 30 * MIB + 9) == data[30 * MIB : 30 * MIB + 9]
        reads.release(version)


async def test_a_seek_does_not_end_what_somebody_waits_for(tmp_path: Path) -> None:
    """Two reads of one handle: one of them went elsewhere, the other one gets its bytes."""
    async with cache(tmp_path) as (reads, bucket, store):
        version, data = await opened(reads, bucket, 64 * MIB)
        go = threading.Event()
        store.gate = lambda at: (go.wait(10), None)[1] if at >= MIB else None
        await reads.read(version, 0, BLOCK, (BLOCK, 16 * MIB))
        got: list[bytes] = []

        async def read() -> None:
            got.append(bytes(await reads.read(version, 2 * MIB, 3 * MIB)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked(0.05)
            reads.strayed(version)
            go.set()
        assert got == [data[2 * MIB : 3 * MIB]]
        assert sum(start <= 2 * MIB < stop for start, stop in store.gets) == 1
        reads.release(version)


async def test_the_last_reader_ends_what_was_fetched_ahead(tmp_path: Path) -> None:
    """`head -c 1000` of a large file does not download it."""
    async with cache(tmp_path) as (reads, bucket, store):
        version, _ = await opened(reads, bucket, 64 * MIB)
        go = threading.Event()
        store.gate = lambda at: (go.wait(10), None)[1] if at >= MIB else None
        await reads.read(version, 0, BLOCK, (BLOCK, 32 * MIB))
        reads.release(version)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not version.users
        go.set()


async def test_a_demand_does_not_queue_behind_guesses(tmp_path: Path) -> None:
    """Read-ahead has a share of the connections: a read that somebody waits for has the rest."""
    async with cache(tmp_path, connections=4) as (reads, bucket, store):
        version, _ = await opened(reads, bucket, 64 * MIB)
        go = threading.Event()
        other = reads.open(await bucket.put("other", b"x" * 3 * BLOCK, Headers("x/y")))
        store.gate = lambda at: (go.wait(10), None)[1] if at >= 8 * MIB else None
        await reads.read(version, 0, BLOCK, (8 * MIB, 56 * MIB))
        with trio.fail_after(5):
            assert await reads.read(other, BLOCK, BLOCK + 5) == b"xxxxx"
        go.set()
        reads.release(other)
        reads.release(version)


async def test_a_small_object_is_one_request_and_no_file(tmp_path: Path) -> None:
    """Wherever it is read first; read again, or by two at once, it costs nothing."""
    async with cache(tmp_path) as (reads, bucket, store):
        version, data = await opened(reads, bucket, SMALL)

        async def read() -> None:
            assert await reads.read(version, 5000, 5010) == data[5000:5010]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(read)
        await read()
        assert store.gets == [(0, SMALL)]
        assert files_in(tmp_path) == []
        reads.release(version)


async def test_p7_a_large_whole_that_is_not_its_etag(tmp_path: Path, expected_logs: Any) -> None:
    """P7: found while it comes: EIO at the latest for the last read; the next open is clean."""
    expected_logs.allow("not those of its ETag")
    async with cache(tmp_path) as (reads, bucket, store):
        size = 20 * MIB
        version, data = await opened(reads, bucket, size)
        store.spoiled = 9 * MIB
        with pytest.raises(Corrupt):
            await follow(reads, version, size)
        store.spoiled = -1
        again = reads.open(version.info)
        with pytest.raises(Corrupt):  # whoever has it open may have been given the bad byte
            await reads.read(again, 0, 1)
        reads.release(again)
        reads.release(version)
        version = reads.open(version.info)
        assert await follow(reads, version, size) == data
        reads.release(version)


async def test_what_is_read_on_from_the_disk_is_announced_to_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has it in memory by then; what comes from the store is there already."""
    announced: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "objfs.cache.reads.announce", lambda _fd, start, stop: announced.append((start, stop))
    )
    async with cache(tmp_path) as (reads, bucket, store):
        size = 40 * MIB
        version, data = await opened(reads, bucket, size)
        assert await follow(reads, version, size, MIB) == data
        assert announced == []
        asked = len(store.gets)
        assert await follow(reads, version, size, MIB) == data
        assert len(store.gets) == asked
        ahead = {block for span in announced for block in version.blocks.blocks(*span)}
        assert ahead >= set(range(MIB // BLOCK, size // BLOCK))
        reads.release(version)
