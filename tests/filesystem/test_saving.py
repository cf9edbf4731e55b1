"""Promises and names under failures, over one file system in this process."""

import errno
import os
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from objfs.assembly import assembled
from objfs.config import CacheConfig, MountConfig
from objfs.errors import NoSpace, NotFound, Unavailable, Unreachable
from objfs.filesystem import FileSystem
from objfs.store.bucket import Bucket
from objfs.store.memory import MemoryStore
from objfs.types import Fh, Headers, Ino
from tests.doubles import FaultyDriver

ROOT = Ino(1)


@asynccontextmanager
async def mounted(
    driver: FaultyDriver, folder: Path, write_back: str = "async", ttl: float = 0
) -> AsyncIterator[FileSystem]:
    """A mount on this cache folder; leaving it is as sudden as a crash."""
    config = MountConfig("/mnt", write_back=write_back, metadata_ttl=ttl)
    async with assembled(
        Bucket(driver), config, CacheConfig(str(folder)), lambda _: None
    ) as filesystem:
        yield filesystem


async def begin(fs: FileSystem, name: bytes, data: bytes) -> Fh:
    """Open with O_TRUNC and write."""
    fh, _ = await fs.create(ROOT, name, 0o644, os.O_RDWR | os.O_TRUNC, (0, 0))
    await fs.write(fh, 0, data)
    return fh


async def save(fs: FileSystem, name: bytes, data: bytes) -> None:
    """Write a whole file and close it."""
    fh = await begin(fs, name, data)
    await fs.flush(fh)
    await fs.release(fh)


def objects(store: MemoryStore) -> dict[str, bytes]:
    """All that the store holds."""
    found = {}
    for info in store.list_page("").objects:
        data = bytearray()
        store.get(info.key, data.extend, start=0, stop=info.size)
        found[info.key] = bytes(data)
    return found


async def test_a_put_whose_answer_was_lost_is_no_conflict(tmp_path: Path, expected_logs):
    """Trap: PUT applied, answer lost, 412 at the next try: it was ours."""
    expected_logs.allow("not stored yet")
    store = MemoryStore()
    driver = FaultyDriver(store)
    driver.plan("put", Unavailable("the connection was reset"), late=True)
    async with mounted(driver, tmp_path) as fs:
        await save(fs, b"f", b"one")
        await trio.sleep(0.1)
        assert objects(store) == {"f": b"one"}
        assert not await fs.drain()
        await save(fs, b"f", b"two")
        assert not await fs.drain()
    assert objects(store) == {"f": b"two"}


async def test_a_failed_unlink_keeps_what_was_promised(tmp_path: Path, expected_logs):
    """A crash after unlink(2) returned an error: the content is still owed."""
    expected_logs.allow("not stored yet")
    store = MemoryStore()
    driver = FaultyDriver(store)
    driver.plan("put", Unavailable("down"), late=True)
    driver.plan("delete", Unavailable("down"), times=9)
    async with mounted(driver, tmp_path) as fs:
        await save(fs, b"f", b"promised")
        await trio.sleep(0.1)
        with pytest.raises(Unavailable):
            await fs.unlink(ROOT, b"f")
    async with mounted(FaultyDriver(store), tmp_path) as fs:
        assert not await fs.drain()
    assert objects(store) == {"f": b"promised"}


async def test_unlink_removes_an_object_whose_answer_was_lost(tmp_path: Path, expected_logs):
    """The object landed, nobody was told; unlink(2) removes it all the same."""
    expected_logs.allow("not stored yet")
    store = MemoryStore()
    driver = FaultyDriver(store)
    driver.plan("put", Unavailable("reset"), late=True)
    async with mounted(driver, tmp_path) as fs:
        await save(fs, b"f", b"data")
        await trio.sleep(0.1)
        await fs.unlink(ROOT, b"f")
    assert objects(store) == {}


async def test_drain_waits_for_an_upload_under_way(tmp_path: Path):
    """P5: a draft that is being uploaded counts as owed until the store has answered."""
    store = MemoryStore()
    driver = FaultyDriver(store)
    go = threading.Event()
    fault = driver.plan("put", stall=go)
    async with mounted(driver, tmp_path) as fs, trio.open_nursery() as nursery:
        await save(fs, b"f", b"data")
        await trio.to_thread.run_sync(fault.stalled.wait, 5)
        with trio.move_on_after(0.2) as waited:
            await fs.drain()
        assert waited.cancelled_caught
        go.set()
        nursery.start_soon(fs.drain)
    assert objects(store) == {"f": b"data"}


async def test_an_older_draft_that_lands_after_an_fsync_is_ours(tmp_path: Path):
    """Found by kill 170: the older landed, the fsynced one must not become a conflict copy."""
    store = MemoryStore()
    driver = FaultyDriver(store)
    go = threading.Event()
    fault = driver.plan("put", stall=go)
    async with mounted(driver, tmp_path / "1") as fs:
        await save(fs, b"f", b"older")
        await trio.to_thread.run_sync(fault.stalled.wait, 5)
        await fs.fsync(await begin(fs, b"f", b"newer"))
        with fs.saving.ledger._lock:
            shutil.copytree(tmp_path / "1", tmp_path / "2")
        go.set()
    assert objects(store) == {"f": b"older"}
    async with mounted(FaultyDriver(store), tmp_path / "2") as fs:
        assert not await fs.drain()
    assert objects(store) == {"f": b"newer"}


async def test_what_was_fsynced_and_then_closed_in_sync_mode_is_ours_after_a_crash(tmp_path: Path):
    """Found by a power cut: the close landed, its row still said what the fsync had promised."""
    store = MemoryStore()
    driver = FaultyDriver(store)
    go = threading.Event()
    async with mounted(driver, tmp_path / "1", "sync") as fs, trio.open_nursery() as nursery:
        fh = await begin(fs, b"f", b"fsynced")
        await fs.fsync(fh)
        await fs.write(fh, 7, b", closed")
        fault = driver.plan("put", stall=go)
        nursery.start_soon(fs.flush, fh)
        await trio.to_thread.run_sync(fault.stalled.wait, 5)
        with fs.saving.ledger._lock:
            shutil.copytree(tmp_path / "1", tmp_path / "2")
        go.set()
    assert objects(store) == {"f": b"fsynced, closed"}
    async with mounted(FaultyDriver(store), tmp_path / "2") as fs:
        assert not await fs.drain()
    assert objects(store) == {"f": b"fsynced, closed"}


async def test_an_upload_that_fails_on_a_full_disk_waits_for_its_time(
    tmp_path: Path, expected_logs, monkeypatch
):
    """Neither the try nor its failure could be noted: it was tried again without a pause."""
    expected_logs.allow("not stored yet")
    driver = FaultyDriver(MemoryStore())
    tries = [driver.plan("put", Unavailable("down")) for _ in range(9)]
    async with mounted(driver, tmp_path) as fs:
        note = fs.saving.ledger.write

        def full(entries, gone=()):
            if any(entry.tries for entry in entries):
                raise NoSpace("full")
            note(entries, gone)

        monkeypatch.setattr(fs.saving.ledger, "write", full)
        await save(fs, b"f", b"data")
        await trio.sleep(0.3)
        assert sum(not fault.times for fault in tries) == 1
        assert (await fs.drain()).keys() == {"/f"}


async def test_what_is_stored_does_not_go_up_again_while_its_row_cannot_be_removed(
    tmp_path: Path, expected_logs, monkeypatch
):
    """The disk was full just after the upload: the row goes later, and the mount has no haste."""
    expected_logs.allow("not stored yet")
    store = MemoryStore()
    driver = FaultyDriver(store)
    async with mounted(driver, tmp_path) as fs:
        note, refusals = fs.saving.ledger.write, []

        def full(entries, gone=()):
            if gone:
                refusals.append(gone)
                raise NoSpace("full")
            note(entries, gone)

        monkeypatch.setattr(fs.saving.ledger, "write", full)
        await save(fs, b"f", b"data")
        await trio.sleep(0.3)
        assert objects(store) == {"f": b"data"}
        assert len(refusals) == 1
        monkeypatch.setattr(fs.saving.ledger, "write", note)
        fs.saving.ask([entry.number for entry in fs.saving.journal])
        await trio.sleep(0.1)
        assert not list(fs.saving.journal)
        assert not fs.unsaved()


async def test_p24_a_disk_that_fails_during_an_upload_does_not_end_the_mount(
    tmp_path: Path, expected_logs
):
    """Found by a power cut: an OSError in the background took the whole daemon down."""
    expected_logs.allow("not stored yet")
    store = MemoryStore()
    driver = FaultyDriver(store)
    driver.plan("put", OSError(errno.EIO, "Input/output error"))
    async with mounted(driver, tmp_path) as fs:
        await save(fs, b"f", b"one")
        await trio.sleep(0.1)
        await save(fs, b"g", b"two")
        assert not await fs.drain()
    assert objects(store) == {"f": b"one", "g": b"two"}


async def test_new_files_while_the_store_is_down(tmp_path: Path, expected_logs):
    """Made where all names are known, and stored later; an unknown name is not called absent."""
    expected_logs.allow("not stored yet")
    store = MemoryStore()
    driver = FaultyDriver(store)
    async with mounted(driver, tmp_path, ttl=60) as fs:
        fh = await fs.opendir(ROOT)
        await fs.readdir(fh, 0, lambda *_: True)
        down = [
            driver.plan(operation, Unreachable("no connection"), times=99)
            for operation in ("head", "list", "put")
        ]
        with pytest.raises(NotFound):
            await fs.lookup(ROOT, b"new")
        await save(fs, b"new", b"data")
        store.put("elsewhere/f", b"x", Headers())
        fs._mount.tree.nodes.root.complete_until = 0.0
        with pytest.raises(Unreachable):
            await fs.lookup(ROOT, b"elsewhere")
        for fault in down:
            fault.times = 0
        assert not await fs.drain()
    assert objects(store) == {"elsewhere/f": b"x", "new": b"data"}
