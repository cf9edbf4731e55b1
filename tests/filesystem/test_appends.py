"""Small changes of large objects: the store copies what is unchanged, the change alone travels."""

import os
import threading
from collections import Counter
from pathlib import Path

import pytest
import trio

from objfs.errors import Stale, TimedOut, Unavailable
from objfs.filesystem import FileSystem
from objfs.store.base import Capabilities
from objfs.store.memory import MemoryStore
from objfs.types import Fh, Headers, Part
from tests.filesystem.test_uploads import ROOT, WEATHER, Place, failing

MIB = 2**20
LARGE = 64 * MIB
LINE = b"one line more\n"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A store that has one object of 64 MiB, and wants parts of 5 MiB."""
    place = Place(tmp_path)
    place.store = MemoryStore(Capabilities())
    place.seen.inner = place.store
    return place


def stored(place: Place) -> bytes:
    """Its bytes, as somebody has stored them."""
    data = os.urandom(LARGE)
    place.store.put("p/f", data, Headers())
    return data


async def opened(fs: FileSystem) -> Fh:
    """For reading and writing."""
    return await fs.open((await fs.lookup(ROOT, b"f")).ino, os.O_RDWR)


def traffic(place: Place, fs: FileSystem) -> tuple[Counter[str], int]:
    """Writing requests and bytes out since the last call."""
    count = place.seen.count()
    place.seen.clear()
    bucket = fs._mount.bucket
    out, bucket.bytes["out"] = bucket.bytes["out"], 0
    reading = ("list", "head", "get")
    return Counter({name: n for name, n in count.items() if name not in reading}), out


@pytest.mark.parametrize("write_back", ["sync", "async"])
async def test_an_appended_line_is_all_that_is_sent(place: Place, write_back):
    """64 MiB are copied by the store; again on the same handle, and on the next one."""
    data = stored(place)
    one = Counter(start_parts=1, copy_part=4, put_part=1, finish_parts=1)
    async with place.mounted(write_back) as fs:
        fh = await opened(fs)
        for _ in range(3):
            await fs.write(fh, len(data), LINE)
            data += LINE
            await fs.flush(fh)
            assert not await fs.drain()
            assert traffic(place, fs) == (one, len(LINE))
            assert place.get("p/f") == data
        await fs.release(fh)
        fh = await opened(fs)
        await fs.write(fh, len(data), LINE)
        await fs.flush(fh)
        await fs.release(fh)
        assert not await fs.drain()
        assert traffic(place, fs) == (one, len(LINE))
    assert place.get("p/f") == data + LINE
    assert place.store.uploads() == []


async def test_an_edit_in_place_sends_one_part(place: Place):
    """The smallest part that the store takes, and no byte more."""
    data = bytearray(stored(place))
    async with place.mounted("sync") as fs:
        fh = await opened(fs)
        await fs.write(fh, 30 * MIB, LINE)
        data[30 * MIB : 30 * MIB + len(LINE)] = LINE
        await fs.flush(fh)
        count, out = traffic(place, fs)
        assert (count["put_part"], out) == (1, 5 * MIB)
        await fs.release(fh)
    assert place.get("p/f") == data


async def test_cut_and_extended(place: Place):
    """What was cut off and came back as zeros is not what the store has there."""
    data = stored(place)
    async with place.mounted("sync") as fs:
        fh = await opened(fs)
        file = fs._mount.handles.get(fh).file
        await fs.contents.truncate(file, 60 * MIB)
        await fs.contents.truncate(file, 62 * MIB)
        await fs.flush(fh)
        assert traffic(place, fs)[1] == 2 * MIB
        await fs.release(fh)
    assert place.get("p/f") == data[: 60 * MIB] + bytes(2 * MIB)


async def test_somebody_else_was_faster(place: Place):
    """The object was replaced since it was opened: both contents are kept, whole."""
    data = stored(place)
    async with place.mounted("sync", on_conflict="keep-both") as fs:
        fh = await opened(fs)
        await fs.write(fh, len(data), LINE)
        theirs = os.urandom(LARGE)
        place.store.put("p/f", theirs, Headers())
        with pytest.raises(Stale):
            await fs.flush(fh)
        await fs.release(fh)
        [copy] = fs.saving.conflicts.copies
        await fs.saving.uploads.sweep()
    assert place.get("p/f") == theirs
    assert place.get("p" + copy) == data + LINE
    assert place.store.uploads() == []


async def test_replaced_in_the_middle_of_the_copy(place: Place):
    """No object is made of two versions, on a store that checks no condition on copies either."""
    place.store = MemoryStore(Capabilities(copy_if_match=False, finish_if_match=False))
    place.seen.inner = place.store
    data = stored(place)
    gate = threading.Event()
    fault = place.faults.plan("copy_part", stall=gate)
    async with place.mounted("sync", on_conflict="keep-both") as fs, trio.open_nursery() as nursery:

        async def close() -> None:
            with pytest.raises(Stale):
                await fs.flush(fh)

        fh = await opened(fs)
        await fs.write(fh, len(data), LINE)
        nursery.start_soon(close)
        await trio.to_thread.run_sync(fault.stalled.wait, 5)
        theirs = os.urandom(LARGE)
        place.store.put("p/f", theirs, Headers())
        gate.set()
    assert place.get("p/f") == theirs
    assert sorted(info.size for info in place.store.list_page("").objects) == [
        LARGE,
        LARGE + len(LINE),
    ]


@pytest.mark.parametrize("refuse", ["refused", "unlike"])
async def test_a_store_that_cannot_copy_parts_is_sent_all(place: Place, monkeypatch, refuse):
    """It says so, or its copies are not the bytes that lie here: the whole is sent."""
    data = stored(place)
    if refuse == "refused":
        monkeypatch.setattr(place.store, "_capabilities", Capabilities(part_copy=False))
    else:
        right = place.store.put_part

        def wrong(key: str, upload: str, number: int, *_: object, **__: object) -> Part:
            return right(key, upload, number, b"w" * LARGE)

        monkeypatch.setattr(place.store, "copy_part", wrong)
    async with place.mounted("sync") as fs:
        fh = await opened(fs)
        await fs.write(fh, len(data), LINE)
        await fs.flush(fh)
        await fs.release(fh)
        assert traffic(place, fs)[1] >= LARGE + len(LINE)
    assert place.get("p/f") == data + LINE
    assert place.store.uploads() == []


async def test_an_append_whose_answer_was_lost_is_ours(place: Place, expected_logs):
    """Its etag follows from how it was cut: it is remembered, also beyond a crash."""
    expected_logs.allow(WEATHER)
    data = stored(place)
    place.faults.plan("finish_parts", TimedOut("lost"), late=True)
    async with place.mounted() as fs:
        fh = await opened(fs)
        await fs.write(fh, len(data), LINE)
        await fs.flush(fh)
        await fs.release(fh)
        await failing(fs)
        place.crash(fs)
        traffic(place, fs)
        assert not await fs.drain()
        assert traffic(place, fs)[1] == len(LINE)  # refused, and then known as ours
    async with place.mounted() as fs:
        assert not await fs.drain()
        assert fs.saving.conflicts.copies == []
    assert place.get("p/f") == data + LINE


async def test_a_crash_in_the_middle_of_an_append(place: Place, expected_logs):
    """P3: the next mount stores it from the local copy, and no part is left."""
    expected_logs.allow(WEATHER)
    data = stored(place)
    place.faults.plan("put_part", Unavailable("down"), times=9)
    place.faults.plan("abort_parts", Unavailable("down"), times=9)
    async with place.mounted() as fs:
        fh = await opened(fs)
        await fs.write(fh, len(data), LINE)
        await fs.flush(fh)
        await fs.release(fh)
        await failing(fs)
        place.crash(fs)
    assert place.store.uploads() != []
    place.faults._faults.clear()
    async with place.mounted() as fs:
        assert not await fs.drain()
    assert place.get("p/f") == data + LINE
    assert place.store.uploads() == []
