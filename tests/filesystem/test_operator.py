"""What a person asks of a mount: drafts, retry, discard, refresh, drain; without a kernel."""

import os
import threading
from functools import partial

import pytest
import trio
import trio.testing

from objfs.errors import Busy, IsADirectory, NotFound, Unavailable, UsageError
from tests.filesystem.rig import Rig, mounted


async def ask(rig: Rig, command: str, **more: object):
    """The last line of the answer."""
    lines = [line async for line in rig.fs.operator.answer({"command": command, **more})]
    return lines[-1]


async def write(rig: Rig, path: bytes, data: bytes) -> None:
    """A file whose upload fails."""
    file = await rig.kernel.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    await rig.kernel.write(file, 0, data)
    rig.faults.plan("put", Unavailable("PUT: the store is down"), key=path.decode(), times=99)
    with pytest.raises(Unavailable):
        await rig.kernel.close(file)


async def test_an_open_file_is_pending_but_owes_nothing():
    """What is being written is listed as such, is not retried, and cannot be discarded."""
    async with mounted() as rig:
        file = await rig.kernel.open(b"a", os.O_WRONLY | os.O_CREAT)
        await rig.kernel.write(file, 0, b"12")
        (draft,) = (await ask(rig, "pending"))["drafts"]
        assert (draft["path"], draft["bytes"], draft["state"]) == ("/a", 2, "writing")
        assert await ask(rig, "retry") == {"asked": 0}
        assert (await ask(rig, "drain", seconds=0))["done"]
        with pytest.raises(Busy):
            await ask(rig, "discard", path="/a")
        await rig.kernel.close(file)
        assert (await ask(rig, "pending"))["drafts"] == []
        assert rig.objects() == {"a": b"12"}


async def test_a_failed_upload_has_its_facts(expected_logs):
    """Path, bytes, tries, the error, the next try; below a directory or not."""
    expected_logs.allow("/d/a is not stored yet")
    async with mounted() as rig:
        await rig.kernel.mkdir(b"d")
        await write(rig, b"d/a", b"123")
        (draft,) = (await ask(rig, "pending", path="/d"))["drafts"]
        assert (draft["key"], draft["bytes"], draft["state"]) == ("d/a", 3, "failing")
        assert draft["tries"] == 1
        assert draft["error"] == "PUT: the store is down"
        assert (await ask(rig, "pending", path="/da"))["drafts"] == []
        assert (await ask(rig, "status"))["uploads"]["failing"] == 1
        with pytest.raises(NotFound):
            await ask(rig, "retry", path="/other")
        assert await ask(rig, "retry", path="/d") == {"asked": 1}


async def test_discard_of_a_new_file():
    """It is gone, here and in the journal, and its name is free."""
    async with mounted() as rig:
        await write(rig, b"a", b"123")
        with pytest.raises(IsADirectory):
            await ask(rig, "discard", path="/")
        assert await ask(rig, "discard", path="/a") == {"path": "/a", "bytes": 3}
        assert await rig.kernel.listdir() == {}
        assert not list((rig.cache / "spool").iterdir())
        assert (await ask(rig, "pending"))["drafts"] == []
        with pytest.raises(NotFound):
            await ask(rig, "discard", path="/a")


async def test_discard_while_it_is_tried_again(expected_logs):
    """The try under way ends first; it was taken for a file that owes nothing."""
    expected_logs.allow("/a is not stored yet")
    async with mounted() as rig:
        await write(rig, b"a", b"123")
        rig.faults._faults.clear()
        go = threading.Event()
        try_ = rig.faults.plan("put", Unavailable("still down"), stall=go)
        await ask(rig, "retry", path="/a")
        await trio.to_thread.run_sync(try_.stalled.wait, 5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(ask, rig, "discard", path="/a"))
            await trio.testing.wait_all_tasks_blocked()
            go.set()
        assert await rig.kernel.listdir() == {}
        assert rig.objects() == {}


async def test_discard_of_a_change():
    """The file shows what the store has by now."""
    async with mounted() as rig:
        rig.put("a", b"one")
        await write(rig, b"a", b"mine")
        rig.put("a", b"three")
        await ask(rig, "discard", path="/a")
        file = await rig.kernel.open(b"a", os.O_RDONLY)
        assert await rig.kernel.read(file, 0, 9) == b"three"
        await rig.kernel.close(file)
        assert (await rig.kernel.stat(b"a")).size == 5


async def test_refresh_hears_of_deep_and_new_names():
    """Names nobody asked about before are found on the way; what is known below is asked anew."""
    async with mounted() as rig:
        rig.put("x/y/a", b"one")
        assert set(await rig.kernel.listdir(b"x/y")) == {b"a"}
        rig.put("x/y/b", b"two")
        rig.put("new/deep/c", b"c")
        assert set(await rig.kernel.listdir(b"x/y")) == {b"a"}
        assert await ask(rig, "refresh", path="/") == {"path": "/", "exists": True, "asked": 3}
        assert set(await rig.kernel.listdir(b"x/y")) == {b"a", b"b"}
        assert (await ask(rig, "refresh", path="/new/deep/c"))["exists"]
        assert not (await ask(rig, "refresh", path="/new/none/c"))["exists"]


async def test_a_command_nobody_knows():
    """An older daemon says that it is older."""
    async with mounted() as rig:
        with pytest.raises(UsageError, match="no command 'dance'"):
            await ask(rig, "dance")
