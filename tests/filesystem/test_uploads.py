"""Multipart uploads of a mount: gone on with where they were, and none left in the store."""

import os
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from objfs.assembly import assembled
from objfs.cache.ledger import Ledger
from objfs.config import CacheConfig, MountConfig
from objfs.errors import (
    Forbidden,
    NoSpace,
    NoSuchUpload,
    ObjfsError,
    Stale,
    StoreError,
    TimedOut,
    Unavailable,
)
from objfs.filesystem import FileSystem
from objfs.store.bucket import Bucket
from objfs.store.memory import MemoryStore
from objfs.store.multipart import PART_SIZE
from objfs.types import Fh, Headers, Ino
from tests.doubles import FaultyDriver, RecordingDriver

ROOT = Ino(1)
PARTS = 8
LARGE = 64 * 2**20
WEATHER = "not stored yet"
DOWN = Unavailable("down")


class Place:
    """A store with its faults and its record, and the cache folder of mounts of it."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        self.seen = RecordingDriver(self.store)
        self.faults = FaultyDriver(self.seen)
        self.folder = folder
        self.lives = 0

    @asynccontextmanager
    async def mounted(self, write_back: str = "async", **how: str) -> AsyncIterator[FileSystem]:
        """A mount under a prefix, on this cache folder as it is."""
        config = MountConfig("/mnt", write_back=write_back, metadata_ttl=0, **how)  # type: ignore[arg-type]  # on_conflict only
        cache = CacheConfig(str(self.folder / str(self.lives)))
        bucket = Bucket(self.faults, prefix="p/")
        async with assembled(bucket, config, cache, lambda _: None) as filesystem:
            yield filesystem

    def crash(self, fs: FileSystem) -> None:
        """The cache folder as a kill -9 leaves it at this instant: the next mount is on that."""
        with fs.saving.ledger._lock:
            old, self.lives = self.lives, self.lives + 1
            shutil.copytree(self.folder / str(old), self.folder / str(self.lives))

    def get(self, key: str) -> bytes:
        """An object."""
        data = bytearray()
        size = self.store.head(key).size
        self.store.get(key, data.extend, start=0, stop=size)
        return bytes(data)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty one."""
    return Place(tmp_path)


async def begin(fs: FileSystem, data: bytes, name: bytes = b"f") -> Fh:
    """Open with O_TRUNC and write."""
    fh, _ = await fs.create(ROOT, name, 0o644, os.O_RDWR | os.O_TRUNC, (0, 0))
    await fs.write(fh, 0, data)
    return fh


async def save(fs: FileSystem, data: bytes, name: bytes = b"f") -> None:
    """Write a whole file and close it."""
    fh = await begin(fs, data, name)
    try:
        await fs.flush(fh)
    finally:
        await fs.release(fh)


async def failing(fs: FileSystem) -> None:
    """Wait until the upload under way has failed."""
    with trio.fail_after(20):
        while not any(entry.error for entry in fs.saving.journal):  # noqa: ASYNC110  # no event
            await trio.sleep(0.01)


async def test_a_failed_upload_sends_only_what_is_missing(place: Place, expected_logs):
    """64 MiB, the sixth part fails: the next try asks for the parts and sends the others."""
    expected_logs.allow(WEATHER)
    data = os.urandom(LARGE)
    async with place.mounted() as fs:
        place.faults.plan("put_part", DOWN, skip=5, times=99)
        await save(fs, data)
        await failing(fs)
        there = place.seen.count()["put_part"]
        assert there == 5
        place.faults._faults.clear()
        place.seen.clear()
        assert not await fs.drain()
        sent = place.seen.count()
    assert sent == {"list_parts": 1, "put_part": PARTS - there, "finish_parts": 1, **_head(sent)}
    assert place.get("p/f") == data
    assert place.store.uploads() == []


def _head(sent: dict[str, int]) -> dict[str, int]:
    """A lookup's requests are not what these tests count."""
    return {name: sent[name] for name in ("head", "list") if name in sent}


async def test_a_crash_in_the_middle_of_an_upload_sends_only_what_is_missing(
    place: Place, expected_logs, caplog
):
    """Kill -9 after five parts: the next mount says so, goes on, and leaves nothing."""
    expected_logs.allow(WEATHER)
    caplog.set_level("INFO", "objfs")
    data = os.urandom(LARGE)
    place.faults.plan("put_part", DOWN, skip=5, times=99)
    async with place.mounted() as fs:
        await save(fs, data)
        await failing(fs)
        place.crash(fs)
    place.faults._faults.clear()
    place.seen.clear()
    async with place.mounted() as fs:
        assert not await fs.drain()
    assert place.seen.count()["put_part"] == PARTS - 5
    assert "recovery: 1 drafts of an earlier mount will be uploaded, 1 of them from" in caplog.text
    assert place.get("p/f") == data
    assert place.store.uploads() == []


async def test_a_sync_close_that_was_killed_leaves_no_parts(place: Place, expected_logs, caplog):
    """Nothing was promised, so nothing is uploaded; the parts that were sent are removed."""
    caplog.set_level("INFO", "objfs")
    gate = threading.Event()
    fault = place.faults.plan("put_part", stall=gate, skip=5, times=99)
    async with place.mounted("sync") as fs, trio.open_nursery() as nursery:

        async def close() -> None:
            with pytest.raises(NoSuchUpload):
                await fs.flush(fh)

        fh = await begin(fs, os.urandom(LARGE))
        nursery.start_soon(close)
        await trio.to_thread.run_sync(fault.stalled.wait, 5)
        place.crash(fs)
        assert len(place.store.uploads()) == 1
        async with place.mounted("sync") as after:
            assert place.store.uploads() == []
            assert not await after.drain()
        gate.set()  # what the dead daemon had sent arrives late
    assert place.store.list_page("").objects == ()
    assert "1 unfinished uploads that nobody owes were removed" in caplog.text


async def test_the_note_is_on_the_disk_before_the_first_part(place: Place):
    """A crash at any part finds the upload in the journal, with its full key."""
    gate = threading.Event()
    fault = place.faults.plan("put_part", stall=gate, times=99)
    async with place.mounted() as fs:
        await save(fs, os.urandom(LARGE))
        await trio.to_thread.run_sync(fault.stalled.wait, 5)
        assert not place.seen.count()["put_part"]
        place.crash(fs)
        noted = Ledger(place.folder / str(place.lives))
        [(upload, draft)] = noted.uploads()
        noted.close()
        gate.set()
        assert (upload.key, upload.id) == place.store.uploads()[0]
        assert upload.part_size == PART_SIZE
        assert [entry.number for entry in fs.saving.journal] == [draft]
        assert not await fs.drain()
        assert fs.saving.ledger.uploads() == []


Deed = Callable[[Place, FileSystem], Awaitable[object]]
ENDS: dict[str, Deed] = {
    "superseded by a small file": lambda _, fs: save(fs, b"new"),
    "superseded by a large file": lambda _, fs: save(fs, b"new" * 2**23),
    "unlinked": lambda _, fs: fs.unlink(ROOT, b"f"),
    "renamed": lambda _, fs: fs.rename(ROOT, b"f", ROOT, b"g"),
    "renamed over": lambda _, fs: save(fs, b"g", b"g"),
    "discarded": lambda _, fs: fs.operator.discard("/f"),
}


@pytest.mark.parametrize("end", ENDS)
async def test_an_upload_that_nobody_wants_is_aborted(place: Place, expected_logs, end):
    """However the draft ends, none of its parts stay."""
    expected_logs.allow(WEATHER)
    async with place.mounted() as fs:
        place.faults.plan("put_part", DOWN, skip=5, times=99)
        await save(fs, os.urandom(LARGE))
        await failing(fs)
        assert len(place.store.uploads()) == 1
        await ENDS[end](place, fs)
        if end == "renamed over":
            await fs.rename(ROOT, b"g", ROOT, b"f")
        place.faults._faults.clear()
        assert not await fs.drain()
        assert place.store.uploads() == []
        assert fs.saving.ledger.uploads() == []


@pytest.mark.parametrize("on_conflict", ["fail", "keep-both", "overwrite"])
async def test_a_conflict_leaves_no_parts(place: Place, expected_logs, on_conflict):
    """Somebody else was faster: the parts go, whatever becomes of the content."""
    expected_logs.allow(WEATHER)
    data = os.urandom(LARGE)
    async with place.mounted("sync", on_conflict=on_conflict) as fs:
        fh = await begin(fs, data)
        theirs = place.store.put("p/f", b"theirs", Headers())
        if on_conflict == "overwrite":
            await fs.flush(fh)
        else:
            with pytest.raises(Stale):
                await fs.flush(fh)
        await fs.saving.uploads.sweep()
        assert place.store.uploads() == []
    mine = {"keep-both": 1, "overwrite": 1, "fail": 0}[on_conflict]
    sizes = [info.size for info in place.store.list_page("").objects]
    assert sizes.count(LARGE) == mine
    assert sizes.count(theirs.size) == (on_conflict != "overwrite")


@pytest.mark.parametrize(
    ("error", "kept"),
    [(DOWN, 1), (TimedOut("slow"), 1), (Forbidden("expired"), 1), (StoreError("broken"), 0)],
    ids=lambda value: type(value).__name__,
)
async def test_parts_stay_only_where_trying_again_may_help(
    place: Place, expected_logs, error: ObjfsError, kept
):
    """An outage, a throttle or credentials that expired pass; an answer without sense does not."""
    expected_logs.allow(WEATHER)
    async with place.mounted() as fs:
        place.faults.plan("finish_parts", error)
        await save(fs, os.urandom(LARGE))
        await failing(fs)
        await fs.saving.uploads.sweep()
        assert len(place.store.uploads()) == kept
        assert not await fs.drain()
        assert place.store.uploads() == []


async def test_a_finish_whose_answer_was_lost_sends_nothing_again(place: Place, expected_logs):
    """The object is there, byte for byte: that is found out by asking, not by another upload."""
    expected_logs.allow(WEATHER)
    data = os.urandom(LARGE)
    async with place.mounted() as fs:
        place.faults.plan("finish_parts", TimedOut("lost"), late=True)
        await save(fs, data)
        await failing(fs)
        assert not await fs.drain()
    sent = place.seen.count()
    assert (sent["start_parts"], sent["put_part"], sent["finish_parts"]) == (1, PARTS, 1)
    assert place.get("p/f") == data


async def test_an_upload_that_the_store_threw_away_begins_anew(place: Place, expected_logs):
    """A lifecycle rule removed the parts: all are sent once more."""
    expected_logs.allow(WEATHER)
    data = os.urandom(LARGE)
    async with place.mounted() as fs:
        place.faults.plan("put_part", DOWN, skip=5, times=99)
        await save(fs, data)
        await failing(fs)
        [(key, upload)] = place.store.uploads()
        place.store.abort_parts(key, upload)
        place.faults._faults.clear()
        assert not await fs.drain()
        assert fs.saving.ledger.uploads() == []
    assert place.get("p/f") == data
    assert place.seen.count()["start_parts"] == 2


async def test_an_abort_that_failed_is_made_up_for_by_the_next_mount(place: Place, expected_logs):
    """The store is down when the draft is discarded; nothing is forgotten."""
    expected_logs.allow(WEATHER)
    async with place.mounted() as fs:
        place.faults.plan("put_part", DOWN, skip=5, times=99)
        place.faults.plan("abort_parts", DOWN, times=99)
        await save(fs, os.urandom(LARGE))
        await failing(fs)
        await fs.operator.discard("/f")
        assert await fs.saving.uploads.sweep() == 1
    place.faults._faults.clear()
    async with place.mounted():
        assert place.store.uploads() == []
    async with place.mounted() as fs:
        assert fs.saving.ledger.uploads() == []


async def test_a_full_disk_does_not_keep_an_upload_from_making_room(
    place: Place, expected_logs, monkeypatch
):
    """Without a note the upload goes on, and is aborted at once when it fails."""
    expected_logs.allow(WEATHER)
    expected_logs.allow("not noted")

    def full(*_: object) -> None:
        raise NoSpace("full")

    async with place.mounted() as fs:
        monkeypatch.setattr(fs.saving.ledger, "begin_upload", full)
        place.faults.plan("put_part", DOWN, skip=5, times=99)
        await save(fs, os.urandom(LARGE))
        await failing(fs)
        assert place.store.uploads() == []
        place.faults._faults.clear()
        assert not await fs.drain()
    assert place.store.head("p/f").size == LARGE
