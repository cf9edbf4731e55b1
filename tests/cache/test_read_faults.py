"""The read cache when the store, the disk or its index fails: no wrong byte, no dead mount."""

import errno
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from objfs.cache.blockfiles import BlockFiles, file_name
from objfs.cache.blocks import BLOCK
from objfs.cache.policy import MOST_SLOTS, Shelf
from objfs.cache.reads import ReadCache
from objfs.cache.spool import Spool
from objfs.errors import NotFound, ObjfsError, Stale, TimedOut
from objfs.store.bucket import Bucket
from objfs.store.memory import MemoryStore
from objfs.types import Headers, ObjectInfo

MIB = 2**20


class Held(MemoryStore):
    """A store whose GET waits to be let go, after the sink is at hand."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.ended = threading.Event()
        self.error: Exception | None = None

    def get(self, key: str, sink: Any, **rest: Any) -> ObjectInfo:
        """Wait, and then fail or answer."""
        try:
            assert self.go.wait(10)
            if self.error:
                raise self.error
            return super().get(key, sink, **rest)
        finally:
            self.ended.set()


@asynccontextmanager
async def cache(
    folder: Path, store: MemoryStore, *, limit: int = 64 * MIB, patience: float = 10
) -> AsyncIterator[tuple[ReadCache, Bucket, Shelf]]:
    """A read cache over a store."""
    bucket, shelf = Bucket(store, timeout=patience), Shelf(limit)
    async with trio.open_nursery() as nursery:
        reads = ReadCache(folder, bucket, shelf, nursery)
        yield reads, bucket, shelf
        nursery.cancel_scope.cancel()


def content(size: int) -> bytes:
    """Bytes that do not repeat."""
    return os.urandom(size)


async def test_a_thread_that_was_given_up_on_writes_nowhere(tmp_path: Path) -> None:
    """The answer of a GET that timed out comes when its descriptor belongs to another file."""
    store = Held()
    async with cache(tmp_path, store, patience=0.2) as (reads, bucket, _):
        info = await bucket.put("a", content(BLOCK), Headers("x/y"))
        version = reads.open(info)
        with pytest.raises(TimedOut):
            await reads.read(version, 0, BLOCK)
        reads.release(version)
        others = [os.open(tmp_path / f"other{i}", os.O_RDWR | os.O_CREAT) for i in range(16)]
        store.go.set()
        await trio.to_thread.run_sync(store.ended.wait, 10)
        await trio.sleep(0.05)
        sizes = [os.fstat(fd).st_size for fd in others]
        for fd in others:
            os.close(fd)
    assert sizes == [0] * 16


async def test_p24_a_driver_that_fails_oddly_fails_one_read(
    tmp_path: Path, expected_logs: Any
) -> None:
    """P24: an exception that nobody foresaw in a fetch is an error of that read and no more."""
    expected_logs.allow("nobody foresaw")
    store = Held()
    store.go.set()
    store.error = ZeroDivisionError("a bug")
    async with cache(tmp_path, store) as (reads, bucket, shelf):
        data = content(BLOCK)
        version = reads.open(await bucket.put("a", data, Headers("x/y")))
        with pytest.raises(ObjfsError, match="a bug"):
            await reads.read(version, 0, BLOCK)
        assert shelf.flying == 0
        store.error = None
        assert bytes(await reads.read(version, 0, BLOCK)) == data
        reads.release(version)


async def test_a_disk_that_fails_is_read_past(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected_logs: Any
) -> None:
    """A cache disk with I/O errors costs speed and a line in the log."""
    expected_logs.allow("the disk that holds the cache fails")

    def fail(*_: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    async with cache(tmp_path, MemoryStore()) as (reads, bucket, _):
        data = content(3 * BLOCK)
        version = reads.open(await bucket.put("a", data, Headers("x/y")))
        monkeypatch.setattr(os, "pwrite", fail)
        assert bytes(await reads.read(version, 5, 2 * BLOCK)) == data[5 : 2 * BLOCK]
        monkeypatch.undo()
        reads.release(version)


async def test_p20_an_index_without_room_costs_no_byte(tmp_path: Path, expected_logs: Any) -> None:
    """P20: a disk too full for the index is said once; reads and evictions go on."""
    expected_logs.allow("the index of the cache .* fails")
    async with cache(tmp_path, MemoryStore(), limit=2 * MIB) as (reads, bucket, _):
        reads._files._index.execute("PRAGMA max_page_count = 1")
        for number in range(40):
            data = content(BLOCK)
            version = reads.open(await bucket.put(f"k{number}", data, Headers("x/y")))
            assert bytes(await reads.read(version, 0, BLOCK)) == data
            reads.release(version)


async def test_p17_a_read_under_way_survives_a_rename(tmp_path: Path) -> None:
    """P17: the old key is gone while a request for it is under way: the new one is asked."""
    store = Held()
    async with cache(tmp_path, store) as (reads, bucket, _):
        data = content(BLOCK)
        old = await bucket.put("old", data, Headers("x/y"))
        version = reads.open(old)
        got: list[bytes] = []

        async def read() -> None:
            got.append(bytes(await reads.read(version, 0, BLOCK)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked(0.05)
            reads.renamed(old, await bucket.copy(old, "new"))
            await bucket.delete("old")
            store.go.set()
        assert got == [data]
        reads.release(version)


async def test_p9_past_the_cache_a_lost_version_is_stale(tmp_path: Path) -> None:
    """P9: without room in the cache, too, an object that is gone is ESTALE and not ENOENT."""
    async with cache(tmp_path, MemoryStore(), limit=1) as (reads, bucket, _):
        version = reads.open(await bucket.put("a", content(BLOCK), Headers("x/y")))
        await bucket.delete("a")
        with pytest.raises(Stale):
            await reads.read(version, 0, BLOCK)
        reads.release(version)


async def test_a_store_that_refuses_reads_is_told_once(tmp_path: Path) -> None:
    """An old error is not raised again by a read that met none."""
    store = Held()
    store.go.set()
    store.error = NotFound("gone")
    async with cache(tmp_path, store) as (reads, bucket, _):
        data = content(BLOCK)
        version = reads.open(await bucket.put("a", data, Headers("x/y")))
        with pytest.raises(Stale):
            await reads.read(version, 0, BLOCK)
        store.error = None
        assert bytes(await reads.read(version, 0, BLOCK)) == data
        reads.release(version)


def test_p20_a_file_of_a_crash_is_swept(tmp_path: Path) -> None:
    """P20: blocks that the index never heard of do not stay beside the limit."""
    shelf = Shelf(64 * MIB)
    files = BlockFiles(tmp_path, shelf)
    kept, lost = file_name("kept", "e"), file_name("lost", "e")  # type: ignore[arg-type]  # plain text
    blocks = files.map_of(kept, BLOCK)
    os.close(files.open(kept))
    blocks.take_off(0, 1)
    files.landed(kept, 0, blocks.land(0, 7))
    os.close(files.open(lost))
    files.close()
    again = BlockFiles(tmp_path, Shelf(64 * MIB))
    assert again.path(kept).exists()
    assert not again.path(lost).exists()
    assert again.map_of(kept, BLOCK).sum_of(0) == 7
    again.close()


def test_a_torn_index_is_begun_anew(tmp_path: Path) -> None:
    """A power cut may tear pages behind the first: no traceback at the next mount."""
    shelf = Shelf(64 * MIB)
    files = BlockFiles(tmp_path, shelf)
    for number in range(300):
        file = file_name(f"k{number}", "e")  # type: ignore[arg-type]  # plain text
        blocks = files.map_of(file, BLOCK)
        blocks.take_off(0, 1)
        files.landed(file, 0, blocks.land(0, 7))
    files.write_index()
    files._index.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    files.close()
    path = tmp_path / "index.db"
    size = path.stat().st_size
    with path.open("r+b") as index:
        index.seek(8192)
        index.write(os.urandom(size - 8192))
    shelf = Shelf(64 * MIB)
    BlockFiles(tmp_path, shelf).close()
    assert shelf.clean == 0


def test_p21_small_files_do_not_fill_the_memory() -> None:
    """P21: the number of segments that are remembered is limited, too."""
    shelf = Shelf(10 * 2**40)
    for number in range(MOST_SLOTS + 500):
        shelf.put((f"f{number}", 0), 1)
    for slot in shelf.victims(0):
        shelf.drop(slot)
    assert sum(1 for _ in shelf) == MOST_SLOTS


def test_victims_pass_over_what_is_kept() -> None:
    """A slot that the caller does not drop is passed over; the oldest others go."""
    shelf = Shelf(500 * 5000)
    for number in range(1000):
        shelf.put((f"f{number}", 0), 904)
    for slot in shelf.victims(0):
        if int(slot[0][1:]) >= 100:
            shelf.drop(slot)
    assert [int(name[1:]) for name, _ in shelf] == [*range(100), *range(600, 1000)]


async def test_a_draft_that_cannot_be_kept_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk when an uploaded draft becomes the cached copy: dropped, the bytes are stored."""
    async with cache(tmp_path, MemoryStore()) as (reads, bucket, shelf):
        draft = Spool(tmp_path / "spool", shelf).create()
        draft.write(0, b"x" * BLOCK)
        info = await bucket.put("a", draft.body(), Headers("x/y"))

        def fail(*_: Any, **__: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "rename", fail)
        reads.adopt(info, draft)
        assert draft.gone
        assert shelf.dirty == 0
